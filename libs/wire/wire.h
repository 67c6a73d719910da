/* Shared inside libs/wire: completions of nng's threads on their way to the owner loop. */
#ifndef WIRE_WIRE_H
#define WIRE_WIRE_H

#include <nng/nng.h>

#include "bb/wire.h"

struct wire_item {
    struct wire_item *next;
};

/*
 * A door: foreign threads push items, the owner loop gets them in order, as a batch, with one
 * wake-up. When it is closed, what was pushed and not yet taken is given to the one who closes.
 */
struct wire_door;
struct wire_door *wire_door_new(struct bb_loop *loop,
                                void (*take)(void *arg, struct wire_item *oldest), void *arg);
void wire_door_push(struct wire_door *door, struct wire_item *item); /* any thread */
/* On the owner thread, when no thread pushes any more. The door frees itself. */
struct wire_item *wire_door_close(struct wire_door *door);

/* Which server it belongs to. */
enum wire_exchange_kind {
    WIRE_EXCHANGE_NNG,
    WIRE_EXCHANGE_LOCAL,
    WIRE_EXCHANGE_SP
};

struct bb_exchange {
    enum wire_exchange_kind kind;
    struct bb_arena *arena;
};
#define WIRE_CONTEXTS_DEFAULT    64
#define WIRE_OUTSTANDING_DEFAULT 256

void wire_trim(struct bb_buf *buf); /* empty, and small enough to be kept */
int wire_fail_too_large(struct bb_ctx *ctx, size_t size);
int wire_fail_in_use(struct bb_ctx *ctx, const char *url);

/* Is it an address of this process? */
static inline bool wire_is_local(const char *url)
{
    return strncmp(url, "inproc://", 9) == 0;
}

/* ---- nng_peer.c, nng_server.c: as the functions of bb/wire.h ---- */

struct wire_nng_peer;
int wire_nng_peer_open(struct bb_ctx *ctx, struct bb_loop *loop,
                       const struct bb_peer_options *options, struct wire_nng_peer **peer);
void wire_nng_peer_close(struct wire_nng_peer *peer);
size_t wire_nng_peer_outstanding(const struct wire_nng_peer *peer);
bool wire_nng_peer_is_connected(const struct wire_nng_peer *peer);
int wire_nng_peer_request(struct bb_ctx *ctx, struct wire_nng_peer *peer,
                          const ProtobufCMessage *message, uint32_t timeout_ms,
                          bb_peer_reply_fn *done, void *arg);

struct wire_nng_server;
int wire_nng_server_open(struct bb_ctx *ctx, struct bb_loop *loop,
                         const struct bb_server_options *options, struct wire_nng_server **server);
void wire_nng_server_close(struct wire_nng_server *server);
void wire_nng_reply(struct bb_exchange *exchange, const ProtobufCMessage *message);

/* The BB_* status of a failed nng operation. */
int wire_status(int nng_error);
/* Pack into a new nng message. BB_TOO_LARGE. */
int wire_pack(struct bb_ctx *ctx, const ProtobufCMessage *message, nng_msg **packed);

#endif
