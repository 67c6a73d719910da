/*
 * Frames on the slot's socket: u32 little-endian length, then a message of proto/slot.proto. Reads
 * take what is there; writes gather until they are flushed.
 */
#ifndef SLOT_FRAMES_H
#define SLOT_FRAMES_H

#include <protobuf-c/protobuf-c.h>

#include "bb/base.h"

struct slot_frames {
    int fd;
    struct bb_buf in, out;
    size_t in_at; /* bytes of `in` that are done with */
};

void slot_frames_init(struct slot_frames *frames, int fd);
void slot_frames_fini(struct slot_frames *frames);
/* The next whole frame that was read; valid until the next fill. BB_PENDING: none. BB_TOO_LARGE. */
int slot_frames_next(struct bb_ctx *ctx, struct slot_frames *frames, struct bb_slice *frame);
/* Blocks for at most `timeout_ms` (negative: for ever) and reads what is there. BB_TIMEOUT;
 * BB_PEER_GONE at the end of the stream; BB_IO. */
int slot_frames_fill(struct bb_ctx *ctx, struct slot_frames *frames, int timeout_ms);
void slot_frames_add(struct slot_frames *frames, const ProtobufCMessage *message);
/* Writes all that was added. BB_PEER_GONE or BB_IO. */
int slot_frames_flush(struct bb_ctx *ctx, struct slot_frames *frames);

#endif
