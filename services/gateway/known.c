#include "known.h"

#define VALUE_MIN 2048u /* bytes; encoding a smaller one is cheaper than looking for it */

/* Where the JSON of a query's result lies; its own for each caller if it depends on who asks. */
static uint64_t hash_of(const struct call *call, bool is_own)
{
    uint64_t hash = bb_hash64(bb_slice_str(call->path), call->known_worker);

    hash = bb_hash64(call->args, hash);
    return is_own ? bb_hash64(call->identity, hash) : hash;
}

static void drop(struct call *call)
{
    bb_http_buffer_release(call->known.bytes);
    call->known.bytes = NULL;
}

void gateway_known_find(struct call *call, uint64_t worker)
{
    struct memo *memo = call->gateway->memo;

    drop(call);
    call->known_worker = worker ^ call->gateway->memo_seed;
    if (memo == NULL || !call->wants_json || gateway_memo_stats(memo).count == 0 ||
        call->kind == BB__PROTO__FUNCTION_KIND__KIND_MUTATION)
        return;
    call->known = gateway_memo_find(memo, hash_of(call, false), call->format);
    if (call->known.bytes == NULL && call->identity.size > 0)
        call->known = gateway_memo_find(memo, hash_of(call, true), call->format);
}

bool gateway_known_is_bad(const struct call *call, const Bb__Proto__CallReply *reply)
{
    return reply->is_known &&
           (call->known.bytes == NULL || reply->result_source != call->known.source ||
            reply->result_number != call->known.number);
}

static void count_bytes(struct gateway *gateway)
{
    struct memo_stats stats = gateway_memo_stats(gateway->memo);

    bb_metric_set(gateway->json_bytes, (int64_t)stats.bytes);
}

struct bb_http_buffer *gateway_known_json(struct call *call, const Bb__Proto__CallReply *reply)
{
    struct gateway *gateway = call->gateway;
    struct bb_ctx ctx = *gateway->ctx;
    struct memo_json json = { reply->result_source, reply->result_number, call->format, NULL };

    if (reply->is_known) {
        bb_metric_add(gateway->json_hits, 1);
        return bb_http_buffer_retain(call->known.bytes);
    }
    if (reply->result_number == 0 || gateway->memo == NULL || !call->wants_json ||
        reply->value.len < VALUE_MIN || bb_value_validate(&ctx, bb_pb_slice(reply->value)) != BB_OK)
        return NULL;
    bb_buf_clear(&gateway->json);
    bb_json_encode(bb_pb_slice(reply->value), call->format, &gateway->json);
    json.bytes = bb_http_buffer_new(bb_buf_slice(&gateway->json));
    gateway_memo_keep(gateway->memo, hash_of(call, reply->saw_identity), &json);
    count_bytes(gateway);
    return json.bytes;
}
