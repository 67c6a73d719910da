/*
 * Requests between services: protobuf-c messages, one deadline a request; between processes over
 * TCP on the owner's loop, in nng's protocol (nng itself for ipc), between the loops of one process
 * by a mailbox.
 *
 * - A peer never resends by itself (resend time is infinite): when the other side dies, a request
 *   ends with BB_PEER_GONE at once, and the caller knows whether sending again is safe.
 * - Callbacks run on the owner loop that was named at open. Replies may be sent from any thread.
 * - Messages: largest 48 MB. An unpacked message lives in the arena it was unpacked into.
 */
#ifndef BB_WIRE_H
#define BB_WIRE_H

#include <protobuf-c/protobuf-c.h>

#include "bb/base.h"
#include "bb/rt.h"

#define BB_WIRE_MESSAGE_MAX (48u << 20)

/* ---- client side ---- */

struct bb_peer;
struct bb_peer_options {
    const char *url;        /* inproc://name, ipc:///path, tcp://host:port; a copy is kept */
    size_t outstanding_max; /* beyond: BB_OVERLOADED; 0: 256 */
};
/* Dials in the background and keeps trying; never blocks. */
int bb_peer_open(struct bb_ctx *ctx, struct bb_loop *loop, const struct bb_peer_options *options,
                 struct bb_peer **peer);
/* Requests under way end with BB_CANCELLED, before close returns. Accepts NULL. */
void bb_peer_close(struct bb_peer *peer);
const char *bb_peer_url(const struct bb_peer *peer);
size_t bb_peer_outstanding(const struct bb_peer *peer);
/* Whether the other side was there a moment ago. A request to one that never was waits up to 1.5 s
 * for it, to one that was and is gone 60 ms: who can choose asks another one, who cannot asks
 * again. */
bool bb_peer_is_connected(const struct bb_peer *peer);

/* `reply` lives during the call only. status: BB_OK, BB_TIMEOUT, BB_PEER_GONE (the peer died or was
 * never there: outcome unknown), BB_TOO_LARGE, BB_CANCELLED. Called exactly once, never from inside
 * bb_peer_request. */
typedef void bb_peer_reply_fn(void *arg, int status, struct bb_slice reply);
/* Packs `message` now (it may be freed after the call). BB_OVERLOADED or BB_TOO_LARGE: `done` will
 * not be called. */
int bb_peer_request(struct bb_ctx *ctx, struct bb_peer *peer, const ProtobufCMessage *message,
                    uint32_t timeout_ms, bb_peer_reply_fn *done, void *arg);

/* ---- server side ---- */

struct bb_server;
struct bb_exchange; /* one request that must be answered exactly once */
struct bb_server_options {
    const char *url;
    size_t context_count; /* requests that may be under way at once; 0: 64 */
    /* On the owner loop; `request` lives until the exchange is answered. */
    void (*handle)(void *arg, struct bb_exchange *exchange, struct bb_slice request);
    void *arg;
};
/* BB_ADDRESS_IN_USE names the url. */
int bb_server_open(struct bb_ctx *ctx, struct bb_loop *loop,
                   const struct bb_server_options *options, struct bb_server **server);
void bb_server_close(struct bb_server *server); /* answers nothing more; accepts NULL */
/* Any thread. Packs and sends; the exchange is gone afterwards. */
void bb_exchange_reply(struct bb_exchange *exchange, const ProtobufCMessage *message);
/* The arena of this exchange, reset after the reply. One thread at a time. */
struct bb_arena *bb_exchange_arena(struct bb_exchange *exchange);

/* ---- packing ---- */

/* Unpack into `arena`. BB_BAD_REQUEST: malformed; BB_TOO_LARGE: the arena's limit. The caller then
 * runs the message's validate function before it reads anything. */
int bb_unpack(struct bb_ctx *ctx, struct bb_arena *arena, const ProtobufCMessageDescriptor *type,
              struct bb_slice from, void *message_out /* T ** */);
void bb_pack_append(struct bb_buf *to, const ProtobufCMessage *message);
static inline struct bb_slice bb_pb_slice(ProtobufCBinaryData bytes)
{
    return bb_slice(bytes.data, bytes.len);
}
/* Borrow: the slice must outlive the message. */
static inline ProtobufCBinaryData bb_slice_pb(struct bb_slice slice)
{
    union {
        const uint8_t *in;
        uint8_t *out;
    } cast = { .in = slice.data };
    return (ProtobufCBinaryData){ .len = slice.size, .data = cast.out };
}

/* ---- frames on a stream (supervisor and slot): u32 little-endian length, then the message ---- */

/* Bytes of the first whole frame in `bytes` (without its length), the total to skip in `used`.
 * BB_PENDING: not whole yet; BB_TOO_LARGE. */
int bb_frame_next(struct bb_ctx *ctx, struct bb_slice bytes, struct bb_slice *frame, size_t *used);
void bb_frame_append(struct bb_buf *to, const ProtobufCMessage *message);

#endif
