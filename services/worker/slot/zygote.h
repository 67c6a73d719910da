/*
 * The zygote's loop: a process that has everything a slot needs before it knows its deployment, and
 * never runs code of users. Each request of the supervisor makes a slot of a copy of it.
 */
#ifndef SLOT_ZYGOTE_H
#define SLOT_ZYGOTE_H

#include "bb/base.h"

/* Serves `fd` until a fork: BB_OK in the child, whose descriptor 3 is its supervisor's socket by
 * then. BB_PEER_GONE: the supervisor is gone. Else: it cannot be a zygote here, or a child cannot
 * be made what it shall be. Blocks. */
int slot_zygote_serve(struct bb_ctx *ctx, int fd);

#endif
