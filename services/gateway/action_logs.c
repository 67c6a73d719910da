/* POST /api/runner/logs: log lines of actions, from a runner, handed to a worker that keeps them.
 */
#include "call.h"
#include "routes.h"

#include "bb/wire.h"

#define ENTRIES_MAX 1000u
#define LINES_MAX   4096u
#define TIMEOUT_MS  2000u

/* ---- decoding ---- */

static struct bb_slice text_field(struct bb_slice object, const char *name)
{
    struct bb_slice field = bb_value_field_str(object, name);

    return field.data != NULL && bb_value_tag(field) == BB_TAG_STRING ? bb_value_bytes(field)
                                                                      : BB_SLICE_EMPTY;
}

static uint64_t number_field(struct bb_slice object, const char *name)
{
    struct bb_slice field = bb_value_field_str(object, name);
    double number =
        field.data != NULL && bb_value_tag(field) == BB_TAG_FLOAT64 ? bb_value_float64(field) : 0;

    return number > 0 && number < 9e15 ? (uint64_t)number : 0;
}

static char *copy(struct bb_arena *arena, struct bb_slice text)
{
    char *to = bb_arena_printf(arena, "%.*s", BB_SLICE_ARG(text));

    bb_assert(to != NULL);
    return to;
}

static void take_lines(struct bb_arena *arena, struct bb_slice lines, Bb__Proto__CallLog *entry)
{
    size_t count = bb_value_count(lines) < LINES_MAX ? bb_value_count(lines) : LINES_MAX;

    entry->lines = bb_arena_zero(arena, count + 1, sizeof(*entry->lines));
    for (size_t i = 0; i < count; i++) {
        struct bb_slice from = bb_value_at(lines, i);
        Bb__Proto__LogLine *line;

        if (bb_value_tag(from) != BB_TAG_OBJECT)
            continue;
        line = bb_arena_zero(arena, 1, sizeof(*line));
        bb__proto__log_line__init(line);
        line->level = copy(arena, text_field(from, "level"));
        line->text = copy(arena, text_field(from, "text"));
        line->time_us = number_field(from, "time") * 1000;
        entry->lines[entry->n_lines++] = line;
    }
}

static Bb__Proto__CallLog *take_entry(struct bb_ctx *ctx, struct bb_arena *arena,
                                      struct bb_slice from)
{
    Bb__Proto__CallLog *entry = bb_arena_zero(arena, 1, sizeof(*entry));
    struct bb_slice lines = bb_value_field_str(from, "lines");
    struct bb_slice status = text_field(from, "status");
    struct bb_buf id;
    int code;

    bb__proto__call_log__init(entry);
    entry->time_us = number_field(from, "time") * 1000;
    entry->path = copy(arena, text_field(from, "path"));
    entry->kind = BB__PROTO__FUNCTION_KIND__KIND_ACTION;
    entry->error = copy(arena, text_field(from, "error"));
    entry->duration_us = number_field(from, "durationUs");
    code = status.size > 0 ? bb_status_by_name(copy(arena, status)) : BB_OK;
    entry->status = (uint32_t)(code < 0 ? BB_SERVER_ERROR : code);
    bb_buf_init(&id);
    if (bb_hex_decode(ctx, text_field(from, "requestId"), &id) == BB_OK)
        entry->request_id = bb_slice_pb(bb_arena_dup(arena, bb_buf_slice(&id)));
    bb_buf_fini(&id);
    if (lines.data != NULL && bb_value_tag(lines) == BB_TAG_ARRAY)
        take_lines(arena, lines, entry);
    return entry;
}

static int decode(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice body,
                  Bb__Proto__AddLogs *logs)
{
    struct bb_slice entries =
        bb_value_tag(body) == BB_TAG_OBJECT ? bb_value_field_str(body, "entries") : BB_SLICE_EMPTY;

    if (entries.data == NULL || bb_value_tag(entries) != BB_TAG_ARRAY ||
        bb_value_count(entries) > ENTRIES_MAX) {
        return bb_fail(ctx, BB_BAD_REQUEST, "the body must be {entries: [..]}, with at most %u",
                       ENTRIES_MAX);
    }
    logs->entries = bb_arena_zero(arena, bb_value_count(entries) + 1, sizeof(*logs->entries));
    for (size_t i = 0; i < bb_value_count(entries); i++) {
        if (bb_value_tag(bb_value_at(entries, i)) == BB_TAG_OBJECT)
            logs->entries[logs->n_entries++] = take_entry(ctx, arena, bb_value_at(entries, i));
    }
    return BB_OK;
}

/* ---- handing over ---- */

static void on_added(void *arg, int status, struct bb_slice bytes)
{
    struct bb_http_request *request = arg;

    (void)bytes;
    if (status == BB_OK) {
        gateway_respond_json(request, 200, bb_slice_str("{}"));
    } else {
        bb_http_respond_error(request, 503, "Unavailable", "No worker takes log lines now.");
    }
}

static struct bb_peer *any_worker(struct gateway *gateway)
{
    for (size_t i = 0; i < gateway_workers_count(gateway->workers); i++) {
        struct worker_view view;

        gateway_workers_view(gateway->workers, i, &view);
        if (view.is_up)
            return gateway_workers_peer(gateway->workers, i);
    }
    return NULL;
}

void gateway_api_runner_logs(struct gateway *gateway, struct bb_http_request *request)
{
    struct bb_ctx ctx = *gateway->ctx;
    Bb__Proto__WorkerRequest message = BB__PROTO__WORKER_REQUEST__INIT;
    Bb__Proto__AddLogs logs = BB__PROTO__ADD_LOGS__INIT;
    struct bb_peer *peer = any_worker(gateway);
    struct bb_buf body;
    int rc = gateway_require_admin(&ctx, gateway, request);

    bb_buf_init(&body);
    if (rc == BB_OK)
        rc = gateway_body_value(&ctx, request, &body);
    if (rc == BB_OK)
        rc = decode(&ctx, bb_http_arena(request), bb_buf_slice(&body), &logs);
    if (rc == BB_OK && peer == NULL)
        rc = bb_fail(&ctx, BB_UNAVAILABLE, "No worker takes log lines now.");
    if (rc == BB_OK) {
        message.op_case = BB__PROTO__WORKER_REQUEST__OP_ADD_LOGS;
        message.add_logs = &logs;
        rc = bb_peer_request(&ctx, peer, &message.base, TIMEOUT_MS, on_added, request);
    }
    bb_buf_fini(&body);
    if (rc != BB_OK)
        gateway_refuse(&ctx, request, rc);
}
