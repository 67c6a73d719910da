/*
 * Requests to runners over NATS, under `--nats`: one connection, made again by the library whenever
 * it is lost, and one subject for all replies to this gateway.
 *
 * Threads: the library's threads put what arrives into an inbox; everything else, the callbacks
 * here included, is on the owner thread. Durability: none.
 */
#ifndef GATEWAY_BUS_H
#define GATEWAY_BUS_H

#include "gateway.h"

/* Lives with whoever asks, from gateway_bus_request to gateway_bus_forget. */
struct bus_request {
    struct bb_list link;
    uint64_t id;
    /* Any number of messages may come; `is_no_one`: nobody has subscribed. Not from inside of
     * gateway_bus_request. `data` lives during the call. */
    void (*on_reply)(struct bus_request *request, bool is_no_one, struct bb_slice data);
};

/* An empty url: no bus, actions are refused. BB_BAD_REQUEST. */
int gateway_bus_open(struct bb_ctx *ctx, struct gateway *gateway, const struct bb_conf *conf);
/* No callback comes after it. */
void gateway_bus_close(struct gateway *gateway);
void gateway_bus_free(struct gateway *gateway);

bool gateway_bus_is_up(const struct gateway *gateway);
/* To the subject "bb.<deployment>.<what>". BB_UNAVAILABLE: NATS is away; nothing was sent. */
int gateway_bus_request(struct bb_ctx *ctx, struct gateway *gateway, const char *what,
                        struct bus_request *request, struct bb_slice payload);
/* No reply to it will be heard. Safe when it was forgotten before, or never sent but initialised
 * with gateway_bus_init. */
void gateway_bus_init(struct bus_request *request);
void gateway_bus_forget(struct bus_request *request);
/* Nobody answers. What cannot be sent is dropped. */
void gateway_bus_publish(struct gateway *gateway, const char *what, struct bb_slice payload);
/* Without what opens it. */
const char *gateway_bus_url(const struct gateway *gateway);

#endif
