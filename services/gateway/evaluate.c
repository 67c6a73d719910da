#include "evaluate.h"

#include "answer.h"
#include "call.h"
#include "subscribe.h"

/* One run of a live query on a worker. */
struct evaluation {
    struct call call;
    struct live_entry *entry;
    struct gateway *gateway;
};

static void hash_bytes(struct bb_slice bytes, uint64_t seed, uint64_t hash[2])
{
    hash[0] = bb_hash64(bytes, seed);
    hash[1] = bb_hash64(bytes, ~seed);
}

/* What a failed query shows, as a BBV object; its hash leaves out the request's id. */
static struct bb_slice failure_payload(struct bb_value_builder *builder,
                                       const struct outcome *outcome, uint64_t hash[2])
{
    struct bb_buf text;
    struct bb_slice data = outcome->reply != NULL && outcome->status == BB_USER_ERROR
                               ? bb_pb_slice(outcome->reply->error_data)
                               : BB_SLICE_EMPTY;

    hash_bytes(bb_slice_str(outcome->error), (uint64_t)outcome->status, hash);
    hash[0] ^= bb_hash64(data, 1);
    hash[1] ^= bb_hash64(data, 2);
    bb_buf_init(&text);
    gateway_error_message(&text, outcome);
    bb_value_begin_object(builder);
    bb_value_field_name(builder, bb_slice_str("code"));
    bb_value_put_string(builder, bb_slice_str(bb_status_name(outcome->status)));
    bb_value_field_name(builder, bb_slice_str("errorMessage"));
    if (bb_utf8_is_valid(bb_buf_slice(&text)))
        bb_value_put_string(builder, bb_buf_slice(&text));
    else
        bb_value_put_string(builder, bb_slice_str("Server Error"));
    if (data.size > 0) {
        bb_value_field_name(builder, bb_slice_str("errorData"));
        bb_value_put_value(builder, data);
    }
    bb_value_end_object(builder);
    bb_buf_fini(&text);
    return bb_value_finish(builder);
}

/* What the function or the request is to blame for is shown; the rest is tried again. */
static bool is_shown(int status)
{
    return bb_status_in_function(status) ||
           (bb_status_http(status) >= 400 && bb_status_http(status) < 500 &&
            status != BB_TX_TRUNCATED && status != BB_TX_IN_FUTURE);
}

static void on_evaluated(struct call *call, int status, const char *error,
                         const Bb__Proto__CallReply *reply)
{
    struct evaluation *evaluation = call->arg;
    struct gateway *gateway = evaluation->gateway;
    struct live_entry *entry = evaluation->entry;
    struct bb_ctx ctx = *gateway->ctx;
    struct bb_value_builder *builder = bb_value_builder_new();
    struct live_answer answer = { .end = LIVE_AWAY };
    struct live_range *ranges = NULL;
    struct outcome outcome = { .status = status,
                               .error = error == NULL ? "" : error,
                               .reply = reply,
                               .kind = BB__PROTO__FUNCTION_KIND__KIND_QUERY,
                               .request_id = call->request_id,
                               .shows_errors = gateway->shows_errors || entry->key.is_admin };

    if (reply != NULL && reply->n_ranges > 0) {
        ranges = bb_alloc(reply->n_ranges * sizeof(*ranges));
        for (size_t i = 0; i < reply->n_ranges; i++)
            ranges[i] = (struct live_range){ bb_pb_slice(reply->ranges[i]->low),
                                             bb_pb_slice(reply->ranges[i]->high) };
        answer.ranges = ranges;
        answer.range_count = reply->n_ranges;
    }
    if (status == BB_NEEDS_IDENTITY && entry->is_shared) {
        answer.end = LIVE_NEEDS_IDENTITY;
    } else if (status == BB_OK && reply->value.len > 0 &&
               bb_value_validate(&ctx, bb_pb_slice(reply->value)) == BB_OK) {
        answer.end = LIVE_VALUE;
        answer.payload = bb_pb_slice(reply->value);
        hash_bytes(answer.payload, 0, answer.hash);
    } else if (status == BB_OK) {
        answer.end = LIVE_VALUE; /* a function that returns nothing */
        bb_value_null(builder);
        answer.payload = bb_value_finish(builder);
        hash_bytes(answer.payload, 0, answer.hash);
    } else if (status == BB_TX_TRUNCATED) {
        answer.end = LIVE_TOO_OLD;
    } else if (is_shown(status)) {
        answer.end = LIVE_FAILURE;
        answer.is_passing = status == BB_FUNCTION_TIMEOUT || status == BB_OUT_OF_MEMORY;
        answer.payload = failure_payload(builder, &outcome, answer.hash);
    }
    gateway_subscriptions_answered(gateway, entry, &answer);
    bb_value_builder_free(builder);
    bb_free(ranges);
    bb_free(evaluation);
}

void gateway_evaluate(struct gateway *gateway, struct live_entry *entry, uint64_t tx)
{
    struct evaluation *evaluation;
    struct bb_ctx ctx = *gateway->ctx;

    evaluation = bb_alloc_zero(1, sizeof(*evaluation));
    evaluation->entry = entry;
    evaluation->gateway = gateway;
    evaluation->call = (struct call){ .kind = BB__PROTO__FUNCTION_KIND__KIND_QUERY,
                                      .path = entry->key.path,
                                      .args = entry->key.args,
                                      .identity = entry->key.identity,
                                      .at_tx = tx,
                                      .is_admin = entry->key.is_admin,
                                      .is_live = true,
                                      .is_shared = entry->is_shared,
                                      .done = on_evaluated,
                                      .arg = evaluation };
    if (gateway_call_start(&ctx, gateway, &evaluation->call) != BB_OK) {
        gateway_subscriptions_answered(gateway, entry, &(struct live_answer){ .end = LIVE_AWAY });
        bb_free(evaluation);
    }
}
