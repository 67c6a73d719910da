/*
 * Several queries at one moment: the first runs at the newest tx, the others at exactly that one.
 */
#include "answer.h"
#include "call.h"
#include "known.h"
#include "routes.h"

struct batch;
struct part {
    struct call call;
    struct batch *batch;
    enum bb_json_format format;
    struct bb_buf answer; /* its envelope */
    bool is_done;
};

struct batch {
    struct gateway *gateway;
    struct bb_http_request *request;
    struct bb_buf body;
    struct caller caller;
    struct part *parts;
    size_t count, done_count, started_count;
    uint64_t tx;
    int failure; /* of the suite, not of one query: the whole batch fails */
    char failure_text[BB_ERROR_MAX];
};

/* Answers, and with that ends the memory of the batch. */
static void batch_answer(struct batch *batch)
{
    struct bb_buf *json = &batch->gateway->json;
    struct bb_ctx ctx = *batch->gateway->ctx;

    bb_buf_clear(json);
    bb_buf_append_str(json, "{\"results\":[");
    for (size_t i = 0; i < batch->count; i++) {
        if (i > 0)
            bb_buf_append_byte(json, ',');
        bb_buf_append_slice(json, bb_buf_slice(&batch->parts[i].answer));
        bb_buf_fini(&batch->parts[i].answer);
    }
    bb_buf_append_str(json, "]}");
    bb_buf_fini(&batch->body);
    if (batch->failure == BB_OK) {
        gateway_respond_json(batch->request, 200, bb_buf_slice(json));
    } else {
        int failure = bb_fail(&ctx, batch->failure, "%s", batch->failure_text);

        gateway_refuse(&ctx, batch->request, failure);
    }
}

static void fail(struct batch *batch, int status, const char *text)
{
    struct bb_ctx ctx = *batch->gateway->ctx;

    if (batch->failure != BB_OK)
        return;
    batch->failure = bb_fail(&ctx, status, "%s", text == NULL ? "" : text);
    memcpy(batch->failure_text, ctx.error, sizeof(batch->failure_text));
}

/* Start what can run: everything once the moment is known, else one query that finds it. */
static void start_more(struct batch *batch)
{
    struct bb_ctx ctx = *batch->gateway->ctx;
    size_t limit = batch->tx != 0 ? batch->count : batch->done_count + 1;

    while (batch->failure == BB_OK && batch->started_count < limit &&
           batch->started_count < batch->count) {
        struct part *part = &batch->parts[batch->started_count];
        int rc;

        part->call.at_tx = batch->tx;
        if (batch->tx != 0)
            part->call.min_tx = 0;
        rc = gateway_call_start(&ctx, batch->gateway, &part->call);
        if (rc != BB_OK) {
            fail(batch, rc, ctx.error);
        } else {
            batch->started_count++;
        }
    }
    if (batch->failure != BB_OK ? batch->done_count == batch->started_count
                                : batch->done_count == batch->count)
        batch_answer(batch);
}

static void on_done(struct call *call, int status, const char *error,
                    const Bb__Proto__CallReply *reply)
{
    struct part *part = call->arg;
    struct batch *batch = part->batch;
    struct bb_ctx ctx = *batch->gateway->ctx;
    struct outcome outcome = { .status = status,
                               .error = error,
                               .reply = reply,
                               .kind = call->kind,
                               .request_id = call->request_id,
                               .format = part->format,
                               .shows_errors =
                                   batch->gateway->shows_errors || batch->caller.is_admin };

    struct bb_http_buffer *json = status == BB_OK ? gateway_known_json(call, reply) : NULL;

    if (json != NULL)
        outcome.json = bb_slice(json->data, json->size);
    batch->done_count++;
    part->is_done = true;
    if (status == BB_OK && json == NULL && reply->value.len > 0 &&
        bb_value_validate(&ctx, bb_pb_slice(reply->value)) != BB_OK) {
        fail(batch, BB_INTERNAL, "A worker's answer could not be read.");
    } else if (status != BB_OK && bb_status_http(status) >= 500) {
        fail(batch, status, error);
    } else {
        (void)gateway_envelope(&part->answer, &outcome, true);
    }
    bb_http_buffer_release(json);
    if (batch->tx == 0 && reply != NULL)
        batch->tx = reply->tx != 0 ? reply->tx : reply->read_tx;
    start_more(batch);
}

/* What has begun ends, and nothing new begins. */
static void on_gone(void *arg)
{
    struct batch *batch = arg;

    fail(batch, BB_UNAVAILABLE, "the client left");
    for (size_t i = 0; i < batch->started_count; i++) {
        if (!batch->parts[i].is_done)
            gateway_call_leave(&batch->parts[i].call);
    }
}

static int take_parts(struct bb_ctx *ctx, struct batch *batch)
{
    struct bb_arena *arena = bb_http_arena(batch->request);
    struct bb_slice queries = BB_SLICE_EMPTY;
    int rc = gateway_body_value(ctx, batch->request, &batch->body);

    if (rc != BB_OK)
        return rc;
    if (bb_value_tag(bb_buf_slice(&batch->body)) == BB_TAG_OBJECT)
        queries = bb_value_field_str(bb_buf_slice(&batch->body), "queries");
    if (queries.data == NULL || bb_value_tag(queries) != BB_TAG_ARRAY)
        return bb_fail(ctx, BB_BAD_REQUEST, "the body must be {queries: [{path, args}, ..]}");
    batch->count = bb_value_count(queries);
    if (batch->count > GATEWAY_BRANCHES_MAX) {
        return bb_fail(ctx, BB_BAD_REQUEST, "a batch has at most %u queries, this one has %zu",
                       GATEWAY_BRANCHES_MAX, batch->count);
    }
    batch->parts = bb_arena_zero(arena, batch->count + 1, sizeof(struct part));
    bb_assert(batch->parts != NULL);
    for (size_t i = 0; i < batch->count && rc == BB_OK; i++) {
        struct part *part = &batch->parts[i];
        struct ask ask = { .path = NULL };

        rc = gateway_ask_envelope(ctx, arena, bb_value_at(queries, i), NULL, &ask);
        if (rc == BB_OK && ask.path[0] == '_' && !batch->caller.is_admin)
            rc = bb_fail(ctx, BB_FORBIDDEN, "System functions need the admin key.");
        part->batch = batch;
        part->format = ask.format;
        part->call = (struct call){ .kind = BB__PROTO__FUNCTION_KIND__KIND_QUERY,
                                    .path = ask.path,
                                    .args = ask.args,
                                    .identity = batch->caller.identity,
                                    .is_admin = batch->caller.is_admin,
                                    .wants_json = true,
                                    .format = ask.format,
                                    .done = on_done,
                                    .arg = part };
        bb_buf_init(&part->answer);
    }
    return rc;
}

void gateway_api_query_batch(struct gateway *gateway, struct bb_http_request *request)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct batch *batch = bb_arena_zero(bb_http_arena(request), 1, sizeof(*batch));
    uint64_t after = 0;
    int rc;

    bb_assert(batch != NULL);
    batch->gateway = gateway;
    batch->request = request;
    bb_buf_init(&batch->body);
    rc = gateway_caller(&ctx, gateway, request, &batch->caller);
    if (rc == BB_OK)
        rc = take_parts(&ctx, batch);
    if (rc == BB_OK) {
        rc = gateway_parse_tx(&ctx, gateway, bb_http_header(request, "bitbend-after"),
                              "BitBend-After", &after);
    }
    if (rc != BB_OK) {
        bb_buf_fini(&batch->body);
        gateway_refuse(&ctx, request, rc);
        return;
    }
    for (size_t i = 0; i < batch->count; i++)
        batch->parts[i].call.min_tx = after;
    bb_http_on_gone(request, on_gone, batch);
    start_more(batch);
}
