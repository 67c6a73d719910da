#include "sync.h"

#include <math.h>

#include "forward.h"

#define IDS_MAX 2147483647.0

/* A change of the set, decoded. Borrows from the body and the arena. */
struct change {
    struct addition *additions;
    size_t addition_count;
    uint32_t *removals;
    size_t removal_count;
    uint64_t reach;
    bool has_refresh, authenticates;
    uint32_t refresh_us;
};

struct addition {
    uint32_t id;
    const char *path;
    struct bb_slice args;
    bool has_hash;
    uint64_t hash[2];
};

/* ---- decoding ---- */

static bool is_missing(struct bb_slice value)
{
    return value.data == NULL || bb_value_tag(value) == BB_TAG_NULL;
}

static int take_number(struct bb_ctx *ctx, struct bb_slice value, const char *what, double max,
                       double *number)
{
    if (!is_missing(value) && bb_value_tag(value) == BB_TAG_FLOAT64) {
        *number = bb_value_float64(value);
        if (*number >= 0 && *number <= max && floor(*number) == *number)
            return BB_OK;
    }
    return bb_fail(ctx, BB_BAD_REQUEST, "`%s` must be a whole number from 0 to %.0f", what, max);
}

static int take_id(struct bb_ctx *ctx, struct bb_slice value, uint32_t *id)
{
    double number = 0;
    int rc = take_number(ctx, value, "id", IDS_MAX, &number);

    *id = (uint32_t)number;
    return rc;
}

static int take_hash(struct bb_ctx *ctx, struct bb_slice value, struct addition *addition)
{
    struct bb_buf bytes;
    int rc = BB_OK;

    if (is_missing(value))
        return BB_OK;
    bb_buf_init(&bytes);
    if (bb_value_tag(value) == BB_TAG_STRING && bb_value_bytes(value).size == 32)
        rc = bb_hex_decode(ctx, bb_value_bytes(value), &bytes);
    if (rc != BB_OK || bytes.size != 16) {
        rc = bb_fail(ctx, BB_BAD_REQUEST, "`hash` must be the text that came with the result");
    } else {
        addition->has_hash = true;
        for (int i = 0; i < 16; i++)
            addition->hash[i / 8] = addition->hash[i / 8] << 8 | bytes.data[i];
    }
    bb_buf_fini(&bytes);
    return rc;
}

static int take_addition(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice value,
                         const struct caller *caller, struct addition *addition)
{
    struct ask ask;
    int rc;

    if (bb_value_tag(value) != BB_TAG_OBJECT)
        return bb_fail(ctx, BB_BAD_REQUEST, "a query must be an object {id, path, args}");
    rc = take_id(ctx, bb_value_field_str(value, "id"), &addition->id);
    if (rc == BB_OK)
        rc = gateway_ask_envelope(ctx, arena, value, NULL, &ask);
    if (rc == BB_OK && ask.path[0] == '_' && !caller->is_admin)
        rc = bb_fail(ctx, BB_FORBIDDEN, "System functions need the admin key.");
    if (rc == BB_OK)
        rc = take_hash(ctx, bb_value_field_str(value, "hash"), addition);
    if (rc != BB_OK)
        return rc;
    addition->path = ask.path;
    addition->args = ask.args;
    return BB_OK;
}

static int take_list(struct bb_ctx *ctx, struct bb_slice list, const char *name, size_t *count)
{
    *count = 0;
    if (is_missing(list))
        return BB_OK;
    if (bb_value_tag(list) != BB_TAG_ARRAY)
        return bb_fail(ctx, BB_BAD_REQUEST, "`%s` must be a list", name);
    *count = bb_value_count(list);
    return BB_OK;
}

static int take_additions(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice list,
                          const char *name, const struct caller *caller, struct change *change)
{
    int rc = take_list(ctx, list, name, &change->addition_count);

    if (rc != BB_OK || change->addition_count == 0)
        return rc;
    change->additions = bb_arena_alloc(arena, change->addition_count * sizeof(struct addition));
    if (change->additions == NULL)
        return bb_fail(ctx, BB_TOO_LARGE, "the request is too large");
    memset(change->additions, 0, change->addition_count * sizeof(struct addition));
    for (size_t i = 0; i < change->addition_count && rc == BB_OK; i++)
        rc = take_addition(ctx, arena, bb_value_at(list, i), caller, &change->additions[i]);
    return rc;
}

static int take_removals(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice list,
                         struct change *change)
{
    int rc = take_list(ctx, list, "remove", &change->removal_count);

    if (rc != BB_OK || change->removal_count == 0)
        return rc;
    change->removals = bb_arena_alloc(arena, change->removal_count * sizeof(uint32_t));
    if (change->removals == NULL)
        return bb_fail(ctx, BB_TOO_LARGE, "the request is too large");
    for (size_t i = 0; i < change->removal_count && rc == BB_OK; i++)
        rc = take_id(ctx, bb_value_at(list, i), &change->removals[i]);
    return rc;
}

static int take_tx(struct bb_ctx *ctx, const struct gateway *gateway, struct bb_slice value,
                   const char *what, uint64_t *tx)
{
    double number = 0;
    int rc;

    *tx = 0;
    if (is_missing(value))
        return BB_OK;
    rc = take_number(ctx, value, what, 9007199254740991.0, &number);
    *tx = (uint64_t)number;
    return rc == BB_OK ? gateway_check_tx(ctx, gateway, what, *tx) : rc;
}

static int take_refresh(struct bb_ctx *ctx, struct bb_slice value, struct change *change)
{
    double number = 0;
    int rc;

    if (is_missing(value))
        return BB_OK;
    rc = take_number(ctx, value, "refreshMs", 60000.0, &number);
    change->has_refresh = true;
    change->refresh_us = (uint32_t)number * 1000u;
    return rc;
}

/* ---- changing ---- */

static int add_all(struct bb_ctx *ctx, struct session *session, const struct change *change)
{
    size_t done = 0;
    int rc = BB_OK;

    while (done < change->addition_count && rc == BB_OK) {
        const struct addition *addition = &change->additions[done];

        rc = gateway_session_add(ctx, session, addition->id, addition->path, addition->args,
                                 addition->has_hash ? addition->hash : NULL);
        done += rc == BB_OK;
    }
    if (rc == BB_OK)
        return BB_OK;
    while (done-- > 0)
        (void)gateway_session_remove(session, change->additions[done].id);
    return rc;
}

static int apply(struct bb_ctx *ctx, struct stream *stream, const struct change *change,
                 const struct caller *caller)
{
    struct session *session = stream->session;
    int rc = add_all(ctx, session, change);

    if (rc != BB_OK)
        return rc;
    for (size_t i = 0; i < change->removal_count; i++)
        (void)gateway_session_remove(session, change->removals[i]);
    if (change->has_refresh)
        gateway_session_set_refresh(session, change->refresh_us);
    if (change->authenticates)
        gateway_session_become(session, caller->identity, caller->is_admin, caller->expires_us);
    if (change->reach > 0)
        gateway_session_reach(session, change->reach);
    return BB_OK;
}

static int decode_change(struct bb_ctx *ctx, const struct gateway *gateway, struct bb_arena *arena,
                         struct bb_slice value, const struct caller *caller, struct change *change)
{
    struct bb_slice authenticate;
    int rc;

    if (bb_value_tag(value) != BB_TAG_OBJECT)
        return bb_fail(ctx, BB_BAD_REQUEST, "the body must be a JSON object {add, remove, ..}");
    rc = take_additions(ctx, arena, bb_value_field_str(value, "add"), "add", caller, change);
    if (rc == BB_OK)
        rc = take_removals(ctx, arena, bb_value_field_str(value, "remove"), change);
    if (rc == BB_OK)
        rc = take_tx(ctx, gateway, bb_value_field_str(value, "reach"), "reach", &change->reach);
    if (rc == BB_OK)
        rc = take_refresh(ctx, bb_value_field_str(value, "refreshMs"), change);
    authenticate = bb_value_field_str(value, "authenticate");
    change->authenticates = authenticate.data != NULL && bb_value_tag(authenticate) == BB_TAG_TRUE;
    return rc;
}

int gateway_sync_change(struct bb_ctx *ctx, struct gateway *gateway,
                        const uint8_t id[STREAM_ID_SIZE], struct bb_slice body,
                        const struct caller *caller, struct bb_buf *answer)
{
    struct stream *stream = gateway_stream_find(gateway, id);
    struct bb_arena *arena;
    struct change change = { .reach = 0 };
    struct caller acts_as;
    struct bb_buf value;
    int rc;

    if (stream == NULL || stream->session == NULL)
        return bb_fail(ctx, BB_NOT_FOUND, "This session is over; open a new one at /api/sync.");
    /* Whoever knows the session's name may change its set; what it may see is the session's. */
    acts_as.is_admin = caller->is_admin || gateway_session_is_admin(stream->session);
    acts_as.identity = BB_SLICE_EMPTY;
    arena = bb_arena_new(0);
    bb_buf_init(&value);
    rc = bb_json_decode(ctx, body, false, &value);
    if (rc == BB_OK)
        rc = decode_change(ctx, gateway, arena, bb_buf_slice(&value), &acts_as, &change);
    /* Each one looks through the set. */
    if (rc == BB_OK && change.removal_count > gateway->session_queries_max) {
        rc = bb_fail(ctx, BB_TOO_LARGE, "`remove` names %zu queries, a session has at most %zu",
                     change.removal_count, gateway->session_queries_max);
    }
    if (rc == BB_OK)
        rc = apply(ctx, stream, &change, caller);
    if (rc == BB_OK) {
        bb_buf_printf(answer, "{\"set\":%" PRIu32 "}", gateway_session_go(stream->session));
    }
    bb_buf_fini(&value);
    bb_arena_free(arena);
    return rc;
}

/* ---- opening ---- */

/* From the body of a POST, or from the parameters of a GET, which an EventSource can send. */
struct opening {
    struct bb_buf body; /* BBV */
    struct change change;
    struct caller caller;
    struct stream_options options;
};

static int take_after(struct bb_ctx *ctx, const struct gateway *gateway, struct bb_slice value,
                      struct stream_options *options)
{
    uint64_t tx = 0;
    int rc = take_tx(ctx, gateway, value, "after", &tx);

    if (rc == BB_TX_IN_FUTURE) {
        options->is_resync = true; /* of another history: it starts afresh */
        options->after_tx = 0;
        return BB_OK;
    }
    if (tx > options->after_tx)
        options->after_tx = tx;
    return rc;
}

static int decode_body(struct bb_ctx *ctx, const struct gateway *gateway,
                       struct bb_http_request *request, struct opening *opening)
{
    struct bb_slice value;
    struct bb_slice format;
    int rc = gateway_body_value(ctx, request, &opening->body);

    value = bb_buf_slice(&opening->body);
    if (rc != BB_OK)
        return rc;
    if (bb_value_tag(value) != BB_TAG_OBJECT)
        return bb_fail(ctx, BB_BAD_REQUEST, "the body must be a JSON object {queries, ..}");
    format = bb_value_field_str(value, "format");
    if (!is_missing(format) && bb_value_tag(format) != BB_TAG_STRING)
        return bb_fail(ctx, BB_BAD_REQUEST, "`format` must be a text");
    rc = gateway_ask_format(ctx, is_missing(format) ? BB_SLICE_EMPTY : bb_value_bytes(format),
                            &opening->options.format);
    if (rc == BB_OK)
        rc = take_refresh(ctx, bb_value_field_str(value, "refreshMs"), &opening->change);
    if (rc == BB_OK)
        rc = take_after(ctx, gateway, bb_value_field_str(value, "after"), &opening->options);
    if (rc == BB_OK)
        rc = take_additions(ctx, bb_http_arena(request), bb_value_field_str(value, "queries"),
                            "queries", &opening->caller, &opening->change);
    opening->options.refresh_us = opening->change.refresh_us;
    return rc;
}

static int decode_parameters(struct bb_ctx *ctx, struct bb_http_request *request,
                             struct opening *opening)
{
    struct bb_slice queries = BB_SLICE_EMPTY;
    struct bb_slice format;
    struct bb_slice refresh;
    int rc = bb_http_parameter(ctx, request, "format", &format);

    if (rc == BB_OK)
        rc = gateway_ask_format(ctx, format, &opening->options.format);
    if (rc == BB_OK)
        rc = bb_http_parameter(ctx, request, "refreshMs", &refresh);
    if (rc == BB_OK)
        rc = gateway_stream_refresh(ctx, refresh, &opening->options.refresh_us);
    if (rc == BB_OK)
        rc = bb_http_parameter(ctx, request, "queries", &queries);
    if (rc != BB_OK || queries.size == 0)
        return rc;
    rc = bb_json_decode(ctx, queries, false, &opening->body);
    if (rc == BB_OK)
        rc = take_additions(ctx, bb_http_arena(request), bb_buf_slice(&opening->body), "queries",
                            &opening->caller, &opening->change);
    return rc;
}

static int check_limits(struct bb_ctx *ctx, const struct gateway *gateway,
                        const struct change *change)
{
    size_t bytes = 0;

    for (size_t i = 0; i < change->addition_count; i++)
        bytes += strlen(change->additions[i].path) + change->additions[i].args.size;
    if (change->addition_count > gateway->session_queries_max) {
        return bb_fail(ctx, BB_TOO_LARGE,
                       "%zu queries, the limit of a session is %zu (--session-queries): open "
                       "another session for the rest",
                       change->addition_count, gateway->session_queries_max);
    }
    if (bytes > gateway->session_bytes_max) {
        return bb_fail(ctx, BB_TOO_LARGE,
                       "paths and arguments take %zu bytes, the limit of a session is %zu "
                       "(--session-bytes): send less",
                       bytes, gateway->session_bytes_max);
    }
    return BB_OK;
}

static void send_name(struct stream *stream)
{
    struct bb_buf text;

    bb_buf_init(&text);
    bb_buf_append_str(&text, "event: session\ndata: {\"session\":\"");
    gateway_forward_name(stream->gateway, stream->id, &text);
    bb_buf_append_str(&text, "\"}\n\n");
    gateway_stream_send(stream, bb_buf_slice(&text));
    bb_buf_fini(&text);
}

/* An addition that is refused now (the same id twice, memory) ends what has hardly begun. */
static void refuse_stream(struct bb_ctx *ctx, struct stream *stream, int rc)
{
    struct bb_buf text;

    bb_buf_init(&text);
    bb_buf_printf(&text, "event: refused\ndata: {\"status\":%d,\"code\":", bb_status_http(rc));
    bb_json_string(&text, bb_slice_str(bb_status_name(rc)));
    bb_buf_append_str(&text, ",\"message\":");
    bb_json_string(&text, bb_slice_str(ctx->error));
    bb_buf_append_str(&text, "}\n\n");
    gateway_stream_send(stream, bb_buf_slice(&text));
    bb_buf_fini(&text);
    bb_http_stream_close(stream->http);
}

/* The request ends when the stream begins: what it holds is copied before. */
static struct change keep(const struct change *change, struct bb_arena *arena)
{
    struct change kept = *change;

    kept.additions = NULL;
    if (change->addition_count > 0) {
        kept.additions = bb_arena_alloc(arena, change->addition_count * sizeof(struct addition));
        bb_assert(kept.additions != NULL);
        memcpy(kept.additions, change->additions, change->addition_count * sizeof(struct addition));
        for (size_t i = 0; i < change->addition_count; i++) {
            kept.additions[i].path = bb_arena_printf(arena, "%s", change->additions[i].path);
            bb_assert(kept.additions[i].path != NULL);
        }
    }
    return kept;
}

static void begin(struct bb_ctx *ctx, struct gateway *gateway, struct bb_http_request *request,
                  const struct opening *opening)
{
    struct bb_arena *arena = bb_arena_new(0);
    struct change change = keep(&opening->change, arena);
    struct stream *stream = gateway_stream_begin(gateway, request, &opening->options);
    int rc = BB_OK;

    if (stream != NULL) {
        send_name(stream);
        rc = add_all(ctx, stream->session, &change);
        if (rc == BB_OK)
            (void)gateway_session_go(stream->session);
        else
            refuse_stream(ctx, stream, rc);
    }
    bb_arena_free(arena);
}

static void open_session(struct gateway *gateway, struct bb_http_request *request)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct opening opening = { .options = { .kind = RESULT_SYNC } };
    int rc;

    bb_buf_init(&opening.body);
    opening.options.caller = &opening.caller;
    rc = gateway_stream_caller(&ctx, gateway, request, &opening.caller);
    if (rc == BB_OK)
        rc = gateway_stream_after(&ctx, gateway, request, &opening.options);
    if (rc == BB_OK) {
        rc = bb_http_method(request) == BB_HTTP_POST ? decode_body(&ctx, gateway, request, &opening)
                                                     : decode_parameters(&ctx, request, &opening);
    }
    if (rc == BB_OK)
        rc = check_limits(&ctx, gateway, &opening.change);
    if (rc == BB_OK)
        rc = gateway_stream_check_room(&ctx, gateway);
    if (rc == BB_OK)
        begin(&ctx, gateway, request, &opening);
    else
        gateway_refuse(&ctx, request, rc);
    bb_buf_fini(&opening.body);
}

void gateway_api_sync(struct gateway *gateway, struct bb_http_request *request)
{
    open_session(gateway, request);
}

/* `POST /api/sync/<session>`: here, or wherever the session is. */
void gateway_api_sync_change(struct gateway *gateway, struct bb_http_request *request)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct bb_slice path = bb_http_path(request);
    struct bb_slice name =
        bb_slice(path.data + strlen("/api/sync/"), path.size - strlen("/api/sync/"));
    struct caller caller = { .is_admin = false };
    struct session_name parsed;
    struct bb_buf answer;
    int rc = gateway_caller(&ctx, gateway, request, &caller);

    bb_buf_init(&answer);
    if (rc == BB_OK)
        rc = gateway_forward_parse(&ctx, gateway, name, &parsed);
    if (rc == BB_OK && !parsed.is_here) {
        gateway_forward(gateway, request, &parsed, &caller); /* answers */
        bb_buf_fini(&answer);
        return;
    }
    if (rc == BB_OK) {
        rc = gateway_sync_change(&ctx, gateway, parsed.id, bb_http_body(request), &caller, &answer);
    }
    if (rc == BB_OK)
        gateway_respond_json(request, 200, bb_buf_slice(&answer));
    else
        gateway_refuse(&ctx, request, rc);
    bb_buf_fini(&answer);
}
