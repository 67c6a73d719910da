/* The admin API for the command line: what runs, and the log lines of function calls. */
#include <stdio.h>
#include <stdlib.h>

#include "action.h"
#include "answer.h"
#include "call.h"
#include "feed.h"
#include "nats.h"
#include "routes.h"
#include "subscribe.h"
#include "txfeed.h"
#include "websocket.h"

#include "bb/conf.h"
#include "bb/wire_validate.h"

#define LOGS_WAIT_MAX_MS 30000u
#define LOGS_GRACE_MS    20u /* after the first lines came, for those of the other workers */

/* ---- GET /api/admin/status ---- */

static void append_hex_field(struct bb_buf *json, const char *name, struct bb_slice bytes)
{
    bb_buf_printf(json, "\"%s\":\"", name);
    bb_hex_append(json, bytes);
    bb_buf_append_str(json, "\"");
}

static void append_workers(struct gateway *gateway, struct bb_buf *json)
{
    bb_buf_append_str(json, "\"workers\":[");
    for (size_t i = 0; i < gateway_workers_count(gateway->workers); i++) {
        struct worker_view view;

        gateway_workers_view(gateway->workers, i, &view);
        bb_buf_append_str(json, i > 0 ? ",{\"url\":" : "{\"url\":");
        bb_json_string(json, bb_slice_str(view.url));
        bb_buf_printf(json,
                      ",\"isUp\":%s,\"isCut\":%s,\"outstanding\":%zu,\"slots\":%" PRIu32
                      ",\"slotsBusy\":%" PRIu32 ",\"spareSlots\":%" PRIu32 ",\"epoch\":%" PRIu64
                      ",\"sequenced\":%" PRIu64 ",\"durable\":%" PRIu64 ",\"calls\":%" PRIu64
                      ",\"retries\":%" PRIu64 ",\"cacheHits\":%" PRIu64 ",\"cacheMisses\":%" PRIu64
                      ",\"cacheBytes\":%" PRIu64 ",\"resultHits\":%" PRIu64
                      ",\"resultBytes\":%" PRIu64 ",\"isolation\":",
                      view.is_up ? "true" : "false", view.info.is_cut ? "true" : "false",
                      view.outstanding, view.info.slots, view.info.slots_busy,
                      view.info.spare_slots, view.info.epoch, view.info.sequenced,
                      view.info.durable, view.info.calls, view.info.retries, view.info.cache_hits,
                      view.info.cache_misses, view.info.cache_bytes, view.info.result_hits,
                      view.info.result_bytes);
        bb_json_string(json, bb_slice_str(view.isolation));
        bb_buf_append_byte(json, '}');
    }
    bb_buf_append_byte(json, ']');
}

static void append_storage(struct bb_buf *json, const char *url, int status,
                           const Bb__Proto__InfoReply *info)
{
    bb_buf_append_str(json, "{\"url\":");
    bb_json_string(json, bb_slice_str(url));
    bb_buf_printf(json, ",\"isUp\":%s", status == BB_OK ? "true" : "false");
    if (info != NULL) {
        bb_buf_printf(json,
                      ",\"epoch\":%" PRIu64 ",\"lastSeq\":%" PRIu64 ",\"lastTx\":%" PRIu64
                      ",\"appliedIndex\":%" PRIu64 ",\"flushedTx\":%" PRIu64 ",\"isLeader\":%s"
                      ",\"earliest\":%" PRIu64 ",\"dataBytes\":%" PRIu64 ",\"logBytes\":%" PRIu64
                      ",\"sequencer\":",
                      info->epoch, info->last_seq, info->last_tx, info->applied_index,
                      info->flushed_tx, info->is_leader ? "true" : "false", info->earliest,
                      info->data_bytes, info->log_bytes);
        bb_json_string(json, bb_slice_str(info->sequencer));
        bb_buf_append_byte(json, ',');
        append_hex_field(json, "clusterId", bb_pb_slice(info->cluster_id));
    }
    bb_buf_append_byte(json, '}');
}

/* A request for the status, while storage nodes are asked. */
struct status_work {
    struct gateway *gateway;
    struct bb_http_request *request;
    struct bb_buf storages;
    size_t open_count, answered;
};

static void status_answer(struct status_work *work)
{
    struct gateway *gateway = work->gateway;
    struct bb_buf *json = &gateway->json;

    bb_buf_clear(json);
    bb_buf_append_str(json, "{\"version\":");
    bb_json_string(json, bb_slice_str(bb_version()));
    bb_buf_printf(
        json,
        ",\"gateway\":{\"calls\":%zu,\"connections\":%zu,\"subscribers\":%zu,\"liveQueries\":%zu,"
        "\"feedTx\":%" PRIu64
        ",\"isFollowing\":%s,\"websockets\":%zu,\"feedReaders\":%zu,\"feedQueuedBytes\":%zu",
        gateway_workers_calls(gateway->workers), bb_http_connections(gateway->http),
        gateway_subscriptions_count(gateway), gateway_subscriptions_entry_count(gateway),
        bb_follow_cursor(gateway->feed), bb_follow_is_following(gateway->feed) ? "true" : "false",
        gateway_websockets_count(gateway), gateway_txfeed_reader_count(gateway),
        gateway_txfeed_queued_bytes(gateway));
    gateway_nats_append_status(gateway, json);
    gateway_actions_append_status(gateway, json);
    bb_buf_append_str(json, "},");
    append_workers(gateway, json);
    bb_buf_append_str(json, ",\"storage\":[");
    bb_buf_append_slice(json, bb_buf_slice(&work->storages));
    bb_buf_append_str(json, "]}");
    bb_buf_fini(&work->storages);
    gateway_respond_json(work->request, 200, bb_buf_slice(json));
    bb_free(work);
}

static void on_info(void *arg, const char *url, int status, const Bb__Proto__InfoReply *info)
{
    struct status_work *work = arg;

    if (work->answered++ > 0)
        bb_buf_append_byte(&work->storages, ',');
    append_storage(&work->storages, url, status, info);
    if (work->answered == work->open_count)
        status_answer(work);
}

void gateway_admin_status(struct gateway *gateway, struct bb_http_request *request)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct status_work *work;
    int rc = gateway_require_admin(&ctx, gateway, request);

    if (rc != BB_OK) {
        gateway_refuse(&ctx, request, rc);
        return;
    }
    work = bb_alloc_zero(1, sizeof(*work));
    work->gateway = gateway;
    work->request = request;
    bb_buf_init(&work->storages);
    /* Answers never come from inside the question, so the count is right before the first. */
    work->open_count = bb_follow_ask_info(gateway->feed, on_info, work);
    if (work->open_count == 0)
        status_answer(work);
}

/* ---- GET /api/admin/logs?cursor=&wait= ---- */

/* A reader of log lines, while workers are asked. The cursor is one number a worker, in order. */
struct logs_work {
    struct bb_list link;
    struct gateway *gateway;
    struct bb_http_request *request;
    struct bb_timer *timer;
    struct bb_arena *arena;
    struct logs_part {
        struct logs_work *work;
        uint64_t cursor;
        Bb__Proto__PullLogsReply *reply;
    } * parts;
    size_t part_count, open_count;
    bool is_answered;
};

static int by_time(const void *a, const void *b)
{
    const Bb__Proto__CallLog *x = *(Bb__Proto__CallLog *const *)a;
    const Bb__Proto__CallLog *y = *(Bb__Proto__CallLog *const *)b;

    return x->time_us < y->time_us ? -1 : x->time_us > y->time_us;
}

static const char *kind_name(Bb__Proto__FunctionKind kind)
{
    switch (kind) {
    case BB__PROTO__FUNCTION_KIND__KIND_QUERY:
        return "query";
    case BB__PROTO__FUNCTION_KIND__KIND_MUTATION:
        return "mutation";
    case BB__PROTO__FUNCTION_KIND__KIND_ACTION:
        return "action";
    case BB__PROTO__FUNCTION_KIND__KIND_ANY:
    case _BB__PROTO__FUNCTION_KIND_IS_INT_SIZE:
        break;
    }
    return "function";
}

static void append_call_log(struct bb_buf *json, const Bb__Proto__CallLog *entry)
{
    bb_buf_printf(json, "{\"time\":%" PRIu64 ",\"path\":", entry->time_us / 1000);
    bb_json_string(json, bb_slice_str(entry->path));
    bb_buf_printf(json, ",\"kind\":\"%s\",\"durationUs\":%" PRIu64 ",", kind_name(entry->kind),
                  entry->duration_us);
    append_hex_field(json, "requestId", bb_slice(entry->request_id.data, entry->request_id.len));
    bb_buf_printf(json, ",\"status\":\"%s\",\"error\":", bb_status_name((int)entry->status));
    if (entry->error[0] == '\0') {
        bb_buf_append_str(json, "null");
    } else {
        bb_json_string(json, bb_slice_str(entry->error));
    }
    bb_buf_append_str(json, ",\"lines\":[");
    for (size_t i = 0; i < entry->n_lines; i++) {
        bb_buf_append_str(json, i > 0 ? ",{\"level\":" : "{\"level\":");
        bb_json_string(json, bb_slice_str(entry->lines[i]->level));
        bb_buf_append_str(json, ",\"text\":");
        bb_json_string(json, bb_slice_str(entry->lines[i]->text));
        bb_buf_printf(json, ",\"time\":%" PRIu64 "}", entry->lines[i]->time_us / 1000);
    }
    bb_buf_append_str(json, "]}");
}

static void logs_answer(struct logs_work *work)
{
    struct bb_buf *json = &work->gateway->json;
    Bb__Proto__CallLog **all;
    size_t count = 0;

    work->is_answered = true;
    bb_timer_stop(work->timer);
    for (size_t i = 0; i < work->part_count; i++)
        count += work->parts[i].reply == NULL ? 0 : work->parts[i].reply->n_entries;
    all = bb_alloc_zero(count + 1, sizeof(Bb__Proto__CallLog *));
    count = 0;
    bb_buf_clear(json);
    bb_buf_append_str(json, "{\"cursor\":\"");
    for (size_t i = 0; i < work->part_count; i++) {
        const Bb__Proto__PullLogsReply *reply = work->parts[i].reply;

        for (size_t k = 0; reply != NULL && k < reply->n_entries; k++)
            all[count++] = reply->entries[k];
        bb_buf_printf(json, "%s%" PRIu64, i > 0 ? "." : "",
                      reply != NULL ? reply->cursor : work->parts[i].cursor);
    }
    qsort(all, count, sizeof(Bb__Proto__CallLog *), by_time);
    bb_buf_append_str(json, "\",\"entries\":[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            bb_buf_append_byte(json, ',');
        append_call_log(json, all[i]);
    }
    bb_buf_append_str(json, "]}");
    bb_free(all);
    gateway_respond_json(work->request, 200, bb_buf_slice(json));
}

static void logs_free(struct logs_work *work)
{
    bb_list_remove(&work->link);
    bb_timer_free(work->timer);
    bb_arena_free(work->arena);
    bb_free(work->parts);
    bb_free(work);
}

static void on_logs_grace(void *arg)
{
    struct logs_work *work = arg;

    if (!work->is_answered)
        logs_answer(work);
}

static void on_logs(void *arg, int status, struct bb_slice bytes)
{
    struct logs_part *part = arg;
    struct logs_work *work = part->work;
    struct bb_ctx ctx = *work->gateway->ctx;
    Bb__Proto__WorkerReply *reply = NULL;

    work->open_count--;
    /* An answer that comes late is dropped: its lines come again with the next request. */
    if (status == BB_OK && !work->is_answered)
        status = bb_unpack(&ctx, work->arena, &bb__proto__worker_reply__descriptor, bytes, &reply);
    if (status == BB_OK && reply != NULL && bb_worker_reply_validate(&ctx, reply) == BB_OK &&
        reply->status == BB_OK && reply->op_case == BB__PROTO__WORKER_REPLY__OP_LOGS) {
        part->reply = reply->logs;
        if (part->reply->n_entries > 0 && work->open_count > 0)
            bb_timer_start(work->timer, LOGS_GRACE_MS, 0);
    }
    if (work->open_count > 0)
        return;
    if (!work->is_answered)
        logs_answer(work);
    logs_free(work);
}

/* "12.7.9": one number a worker; missing ones are 0. */
static void parse_cursor(struct logs_work *work, struct bb_slice text)
{
    size_t part = 0;

    for (size_t i = 0; i < text.size && part < work->part_count; i++) {
        if (text.data[i] == '.') {
            part++;
        } else if (text.data[i] >= '0' && text.data[i] <= '9') {
            work->parts[part].cursor =
                work->parts[part].cursor * 10 + (uint64_t)(text.data[i] - '0');
        }
    }
}

static void logs_ask(struct logs_work *work, uint32_t wait_ms)
{
    struct gateway *gateway = work->gateway;

    for (size_t i = 0; i < work->part_count; i++) {
        Bb__Proto__WorkerRequest request = BB__PROTO__WORKER_REQUEST__INIT;
        Bb__Proto__PullLogs pull = BB__PROTO__PULL_LOGS__INIT;
        struct bb_ctx ctx = *gateway->ctx;

        request.op_case = BB__PROTO__WORKER_REQUEST__OP_LOGS;
        request.logs = &pull;
        pull.cursor = work->parts[i].cursor;
        pull.wait_ms = wait_ms;
        if (bb_peer_request(&ctx, gateway_workers_peer(gateway->workers, i), &request.base,
                            wait_ms + 2000, on_logs, &work->parts[i]) == BB_OK)
            work->open_count++;
    }
    if (work->open_count == 0) {
        logs_answer(work);
        logs_free(work);
    }
}

void gateway_admin_logs(struct gateway *gateway, struct bb_http_request *request)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct bb_slice cursor = BB_SLICE_EMPTY;
    struct bb_slice wait = BB_SLICE_EMPTY;
    uint64_t wait_ms = 0;
    struct logs_work *work;
    int rc = gateway_require_admin(&ctx, gateway, request);

    if (rc == BB_OK)
        rc = bb_http_parameter(&ctx, request, "cursor", &cursor);
    if (rc == BB_OK)
        rc = bb_http_parameter(&ctx, request, "wait", &wait);
    for (size_t i = 0; rc == BB_OK && i < wait.size; i++) {
        if (wait.data[i] < '0' || wait.data[i] > '9' || wait.size > 9)
            rc = bb_fail(&ctx, BB_BAD_REQUEST, "`wait` must be a number of milliseconds");
        wait_ms = wait_ms * 10 + (uint64_t)(wait.data[i] - '0');
    }
    if (rc != BB_OK) {
        gateway_refuse(&ctx, request, rc);
        return;
    }
    if (gateway->is_stopping)
        wait_ms = 0;
    work = bb_alloc_zero(1, sizeof(*work));
    work->gateway = gateway;
    bb_list_push_back(&gateway->logs, &work->link);
    work->request = request;
    work->part_count = gateway_workers_count(gateway->workers);
    work->parts = bb_alloc_zero(work->part_count, sizeof(struct logs_part));
    for (size_t i = 0; i < work->part_count; i++)
        work->parts[i].work = work;
    work->arena = bb_arena_new(0);
    work->timer = bb_timer_new(gateway->loop, on_logs_grace, work);
    parse_cursor(work, cursor);
    logs_ask(work, (uint32_t)(wait_ms < LOGS_WAIT_MAX_MS ? wait_ms : LOGS_WAIT_MAX_MS));
}

void gateway_admin_bye(struct gateway *gateway)
{
    bb_list_each(item, &gateway->logs)
        on_logs_grace(bb_container(item, struct logs_work, link));
}
