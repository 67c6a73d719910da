/* Shared inside libs/wire: requests between the services of one process, see local.c. */
#ifndef WIRE_LOCAL_H
#define WIRE_LOCAL_H

#include "wire.h"

/* An address of this process; one server listens there, at most. */
struct wire_host;

/* One request on its way: the asker's, then the host's, then the asker's again. */
struct wire_errand {
    struct wire_item item;  /* in the host's door, then in the desk's */
    struct bb_list link;    /* of the peer's lists; the peer's at all times */
    struct bb_list waits;   /* at a server that has too much to do */
    struct wire_desk *desk; /* retained */
    struct bb_buf request;  /* the server takes it, and leaves its old one */
    struct bb_buf reply;
    int status;
    bool is_abandoned; /* the asker has its answer already: late replies are dropped */
    uint64_t send_by_us, deadline_us;
    bb_peer_reply_fn *done;
    void *arg;
};

/* Where an asker hears of the ends of its errands; it outlives the peer while hosts have some. */
struct wire_desk;
struct wire_desk *wire_desk_new(struct wire_door *door);
/* The door is not touched any more. From then on hosts free what they have: `detach` runs before,
 * under the lock, and takes those errands out of all lists. */
void wire_desk_close(struct wire_desk *desk, void (*detach)(void *arg), void *arg);
void wire_desk_retain(struct wire_desk *desk);
void wire_desk_release(struct wire_desk *desk);
/* Any thread: the errand has ended with errand->status. */
void wire_errand_end(struct wire_errand *errand, int status);
void wire_errand_free(struct wire_errand *errand);

/* BB_ADDRESS_IN_USE. Retained by the one who opens. */
int wire_host_open(const char *url, struct wire_door *door, struct wire_host **host);
/* The address is free; door and loop are not touched any more. The reference stays. */
void wire_host_close(struct wire_host *host);
struct wire_host *wire_host_find(const char *url); /* retained; NULL: nobody listens */
void wire_host_release(struct wire_host *host);    /* accepts NULL */
/* False: it has closed meanwhile. */
bool wire_host_post(struct wire_host *host, struct bb_loop *loop, struct bb_task *task);
bool wire_host_send(struct wire_host *host, struct wire_errand *errand);

/* Into a buffer that may have kept its memory. BB_TOO_LARGE. */
int wire_pack_into(struct bb_ctx *ctx, const ProtobufCMessage *message, struct bb_buf *to);

/* ---- local_peer.c, local_server.c: as the functions of bb/wire.h ---- */

struct wire_local_peer;
struct wire_local_peer *wire_local_peer_open(struct bb_loop *loop,
                                             const struct bb_peer_options *options);
void wire_local_peer_close(struct wire_local_peer *peer);
size_t wire_local_peer_outstanding(const struct wire_local_peer *peer);
int wire_local_peer_request(struct bb_ctx *ctx, struct wire_local_peer *peer,
                            const ProtobufCMessage *message, uint32_t timeout_ms,
                            bb_peer_reply_fn *done, void *arg);

struct wire_local_server;
int wire_local_server_open(struct bb_ctx *ctx, struct bb_loop *loop,
                           const struct bb_server_options *options,
                           struct wire_local_server **opened);
void wire_local_server_close(struct wire_local_server *server);
void wire_local_reply(struct bb_exchange *exchange, const ProtobufCMessage *message);

#endif
