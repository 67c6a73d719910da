#include "result.h"

struct kept_event {
    struct bb_http_buffer *bytes;
    uint32_t query_id;
    uint64_t tx;
};

/* What live_result.cache points to. */
struct encoded {
    struct bb_buf json[2];
    struct kept_event events[RESULT_EVENTS][2];
};

static struct encoded *encoded_of(struct live_result *result)
{
    if (result->cache == NULL)
        result->cache = bb_alloc_zero(1, sizeof(struct encoded));
    return result->cache;
}

static void account(struct live_result *result)
{
    const struct encoded *encoded = result->cache;
    size_t size = sizeof(*encoded) + encoded->json[0].capacity + encoded->json[1].capacity;

    for (int kind = 0; kind < RESULT_EVENTS; kind++) {
        for (int format = 0; format < 2; format++) {
            if (encoded->events[kind][format].bytes != NULL)
                size += encoded->events[kind][format].bytes->size;
        }
    }
    gateway_live_result_grew(result, size);
}

struct bb_slice gateway_result_json(struct live_result *result, enum bb_json_format format)
{
    struct encoded *encoded = encoded_of(result);
    struct bb_buf *json = &encoded->json[format];

    if (json->size == 0) {
        bb_json_encode(bb_buf_slice(&result->payload), format, json);
        account(result);
    }
    return bb_buf_slice(json);
}

struct bb_http_buffer *gateway_result_event(const struct live_result *result,
                                            enum result_event kind, enum bb_json_format format,
                                            uint32_t query_id, uint64_t tx)
{
    const struct encoded *encoded = result->cache;
    const struct kept_event *event;

    if (encoded == NULL)
        return NULL;
    event = &encoded->events[kind][format];
    return event->bytes != NULL && event->query_id == query_id && event->tx == tx ? event->bytes
                                                                                  : NULL;
}

void gateway_result_keep_event(struct live_result *result, enum result_event kind,
                               enum bb_json_format format, uint32_t query_id, uint64_t tx,
                               struct bb_http_buffer *event)
{
    struct kept_event *kept = &encoded_of(result)->events[kind][format];

    bb_http_buffer_release(kept->bytes);
    *kept = (struct kept_event){ bb_http_buffer_retain(event), query_id, tx };
    account(result);
}

void gateway_result_forget(void *arg, struct live_result *result)
{
    struct encoded *encoded = result->cache;

    (void)arg;
    if (encoded == NULL)
        return;
    for (int format = 0; format < 2; format++) {
        bb_buf_fini(&encoded->json[format]);
        for (int kind = 0; kind < RESULT_EVENTS; kind++)
            bb_http_buffer_release(encoded->events[kind][format].bytes);
    }
    bb_free(encoded);
    result->cache = NULL;
    gateway_live_result_grew(result, 0);
}
