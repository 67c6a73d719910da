/* Shared by the files of this library only. */
#ifndef FOLLOW_INTERNAL_H
#define FOLLOW_INTERNAL_H

#include "bb/follow.h"
#include "bb/nodes.h"
#include "bb/obs.h"
#include "bb/wire.h"
#include "bb/wire_validate.h"

#include "behind.h"

#define FOLLOW_INFO_MS 2000u

struct bb_follow {
    struct bb_loop *loop;
    struct bb_ctx *ctx; /* the loop's */
    struct bb_follow_user user;
    struct bb_nodes *nodes; /* another one is current only when nothing is awaited here */
    unsigned late;          /* Tails in a row that nobody answered in time */
    struct bb_timer *pause;
    struct bb_arena *arena;
    uint64_t cursor;
    struct behind behind;
    bool has_begun, is_following, is_closing;
    bool is_void; /* what was seen is of another history: it begins anew */
    uint8_t cluster_id[16];
    bool has_cluster_id;
};

/* Into the follower's arena, which the caller resets. The reply's own status is left to him. */
int follow_unpack(struct bb_follow *follow, int status, struct bb_slice bytes,
                  Bb__Proto__StorageReply **reply);

/* peek.c: what a record is, without unpacking it. */
struct follow_peek {
    uint64_t tx, prev;
    bool is_wanted;
};
/* False: it is malformed; unpacking says how. */
bool follow_peek(struct bb_slice record, const struct bb_follow_user *user,
                 struct follow_peek *peek);

#endif
