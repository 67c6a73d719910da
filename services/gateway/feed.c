#include "feed.h"

#include "bb/wire.h"

#include "nats.h"
#include "subscribe.h"
#include "txfeed.h"
#include "websocket.h"

static void begin(void *arg, uint64_t cursor, bool is_new_history)
{
    struct gateway *gateway = arg;

    gateway_txfeed_skip(gateway, cursor, is_new_history);
    if (is_new_history) {
        gateway_subscriptions_restart(gateway, cursor);
    } else {
        gateway_subscriptions_skip(gateway, cursor);
    }
}

static void add_key(struct gateway *gateway, ProtobufCBinaryData key)
{
    if (gateway->key_count == gateway->key_capacity) {
        gateway->key_capacity = gateway->key_capacity == 0 ? 64 : gateway->key_capacity * 2;
        gateway->keys = bb_realloc(gateway->keys, gateway->key_capacity * sizeof(struct bb_slice));
    }
    gateway->keys[gateway->key_count++] = bb_pb_slice(key);
}

static void take_record(void *arg, struct bb_slice bytes, const Bb__Proto__TxRecord *record,
                        const Bb__Proto__TxBody *body)
{
    struct gateway *gateway = arg;

    gateway->key_count = 0;
    for (size_t i = 0; i < body->n_writes; i++) {
        const Bb__Proto__Write *write = body->writes[i];

        if (!write->is_index_only && write->doc_key.len > 0)
            add_key(gateway, write->doc_key);
        for (size_t k = 0; k < write->n_keys; k++)
            add_key(gateway, write->keys[k]->key);
    }
    gateway_txfeed_record(gateway, bytes, record, body);
    gateway_websockets_record(gateway, record->tx, bb_pb_slice(body->request_id));
    gateway_subscriptions_write(gateway, record->tx, gateway->keys, gateway->key_count);
}

static void advance(void *arg, uint64_t cursor)
{
    struct gateway *gateway = arg;

    gateway_subscriptions_advance(gateway, cursor);
    gateway_txfeed_advance(gateway, cursor);
    gateway_nats_advance(gateway);
}

int gateway_feed_open(struct bb_ctx *ctx, struct gateway *gateway, const char *urls)
{
    const struct bb_follow_user user = {
        .arg = gateway,
        .begin = begin,
        .record = take_record,
        .advance = advance,
    };

    return bb_follow_open(ctx, gateway->loop, urls, &user, &gateway->feed);
}

void gateway_feed_close(struct gateway *gateway)
{
    bb_follow_close(gateway->feed);
    bb_free(gateway->keys);
}
