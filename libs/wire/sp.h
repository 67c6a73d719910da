/*
 * Shared inside libs/wire: TCP between processes, without nng's threads.
 *
 * What goes over the connection is nng's own protocol (SP over TCP, request and reply), so either
 * side may be nng. A greeting of 8 bytes each way, then messages: u64 length, big-endian, and that
 * many bytes. A request begins with words of 4 bytes, of which the last one has its highest bit
 * set; its reply begins with the same words.
 */
#ifndef WIRE_SP_H
#define WIRE_SP_H

#include "wire.h"

enum {
    SP_REQUESTER = 0x30,
    SP_REPLIER = 0x31
};
#define SP_WORDS_MAX 32 /* bytes: as many hops as nng allows, and the request's own word */

/* ---- sp_stream.c: one connection, on the owner's loop ---- */

struct wire_sp_stream;
struct wire_sp_user {
    void (*up)(void *arg); /* the other side has greeted: messages may be added */
    /* `bytes` live during the call. False: not now; it comes again after wire_sp_stream_resume. */
    bool (*message)(void *arg, struct bb_slice bytes);
    void (*drained)(void *arg); /* the kernel has all that was added */
    void (*gone)(void *arg);    /* it has ended, or never came to be; it frees itself */
};
/* Dials HOST:PORT; of a name with several addresses one, in turn by `attempt`. Nothing is called
 * from inside. */
struct wire_sp_stream *wire_sp_stream_dial(struct bb_loop *loop, const char *url, size_t attempt,
                                           const struct wire_sp_user *user, void *arg);
/* One that `listener` has accepted; NULL: it is gone already. `listener`: a uv_stream_t. */
struct wire_sp_stream *wire_sp_stream_accept(struct bb_loop *loop, void *listener,
                                             const struct wire_sp_user *user, void *arg);
/* No callback any more. What was added goes out as far as the kernel takes it now. Accepts NULL. */
void wire_sp_stream_close(struct wire_sp_stream *stream);
/* Room for a message of `size` bytes, to be filled before anything else happens to the stream. What
 * one turn of the loop adds goes out together before the loop sleeps. */
uint8_t *wire_sp_stream_add(struct wire_sp_stream *stream, size_t size);
size_t wire_sp_stream_unsent(const struct wire_sp_stream *stream);
/* Go on with what `message` has refused. Nothing is called from inside. */
void wire_sp_stream_resume(struct wire_sp_stream *stream);

bool wire_sp_is_url(const char *url);         /* tcp:// */
bool wire_sp_is_well_formed(const char *url); /* tcp://HOST:PORT */
/* The address to listen at, as a struct sockaddr_storage; names are looked up here and now. */
int wire_sp_resolve(struct bb_loop *loop, const char *url, void *address);

/* ---- sp_peer.c, sp_server.c: as the functions of bb/wire.h ---- */

struct wire_sp_peer;
int wire_sp_peer_open(struct bb_ctx *ctx, struct bb_loop *loop,
                      const struct bb_peer_options *options, struct wire_sp_peer **peer);
void wire_sp_peer_close(struct wire_sp_peer *peer);
size_t wire_sp_peer_outstanding(const struct wire_sp_peer *peer);
bool wire_sp_peer_is_connected(const struct wire_sp_peer *peer);
int wire_sp_peer_request(struct bb_ctx *ctx, struct wire_sp_peer *peer,
                         const ProtobufCMessage *message, uint32_t timeout_ms,
                         bb_peer_reply_fn *done, void *arg);

struct wire_sp_server;
int wire_sp_server_open(struct bb_ctx *ctx, struct bb_loop *loop,
                        const struct bb_server_options *options, struct wire_sp_server **server);
void wire_sp_server_close(struct wire_sp_server *server);
void wire_sp_reply(struct bb_exchange *exchange, const ProtobufCMessage *message);

#endif
