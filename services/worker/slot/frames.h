/*
 * Frames between the slot and its supervisor: u32 little-endian length, then a message of
 * proto/slot.proto. Reads take what is there; writes gather until they are flushed.
 *
 * The bytes go through two rings in memory that the supervisor gives with its first message; the
 * socket is left to wake each other then. A supervisor that gives none gets all on the socket.
 */
#ifndef SLOT_FRAMES_H
#define SLOT_FRAMES_H

#include <protobuf-c/protobuf-c.h>

#include "bb/ring.h"

struct slot_frames {
    int fd;
    bool has_begun; /* something was read from the socket */
    bool has_rings;
    struct bb_ring from, to;
    struct bb_buf in, out;
    size_t in_at; /* bytes of `in` that are done with */
    /* Answers that were written and not rung for, by how long the oldest has waited. */
    uint64_t unrung_us;
    bool is_unrung;
};

void slot_frames_init(struct slot_frames *frames, int fd);
void slot_frames_fini(struct slot_frames *frames);
/* The next whole frame that was read; valid until the next fill. BB_PENDING: none. BB_TOO_LARGE. */
int slot_frames_next(struct bb_ctx *ctx, struct slot_frames *frames, struct bb_slice *frame);
/* Blocks for at most `timeout_ms` (negative: for ever) and reads what is there. BB_TIMEOUT;
 * BB_PEER_GONE at the end of the stream; BB_IO. */
int slot_frames_fill(struct bb_ctx *ctx, struct slot_frames *frames, int timeout_ms);
/* Reads what is there without a wait and without the kernel; false: nothing is. */
bool slot_frames_more(struct slot_frames *frames);
void slot_frames_add(struct slot_frames *frames, const ProtobufCMessage *message);
/* Before a call that is expected to take so long, 0: not known: the supervisor can read what was
 * added, and is woken for it unless more will follow soon. BB_PEER_GONE or BB_IO. */
int slot_frames_publish(struct bb_ctx *ctx, struct slot_frames *frames, uint32_t expected_us);
/* Writes all that was added, and wakes the supervisor. BB_PEER_GONE or BB_IO. */
int slot_frames_flush(struct bb_ctx *ctx, struct slot_frames *frames);

#endif
