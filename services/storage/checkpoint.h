/*
 * What travels when a replica is seeded by another one: head, the data file in pieces, tail.
 * docs/formats/checkpoint.md.
 */
#ifndef STORAGE_CHECKPOINT_H
#define STORAGE_CHECKPOINT_H

#include "fence.h"

enum {
    CHECKPOINT_HEAD = 72,
    CHECKPOINT_TAIL = 32,
    CHECKPOINT_PIECE = 1 << 20
};

/* The moment that the data reaches at least. */
struct checkpoint_head {
    uint8_t cluster[FENCE_CLUSTER];
    uint64_t index, chain; /* of the log entry applied last, and the hash over all up to there */
    uint64_t epoch, last_seq;
    struct bb_txtime last_tx;
};
void storage_checkpoint_head_encode(const struct checkpoint_head *head, uint8_t *to);
/* BB_CORRUPT, BB_WRONG_VERSION. */
int storage_checkpoint_head_decode(struct bb_ctx *ctx, struct bb_slice from,
                                   struct checkpoint_head *head);

/* How much it was: a sender that died looks like one that has finished, but for this. */
struct checkpoint_tail {
    uint64_t total; /* bytes of data */
    uint64_t hash;  /* of all pieces: see below */
};
void storage_checkpoint_tail_encode(const struct checkpoint_tail *tail, uint8_t *to);
int storage_checkpoint_tail_decode(struct bb_ctx *ctx, struct bb_slice from,
                                   struct checkpoint_tail *tail);

/* The hash over the pieces so far and one more. */
uint64_t storage_checkpoint_hash(uint64_t hash, struct bb_slice piece);

/* Whether the state that came, `fence`, is what the head promised and `wanted` asks for: never of
 * another cluster or history, never older. BB_CORRUPT says what is wrong. Zeros as wanted cluster:
 * any. */
int storage_checkpoint_check(struct bb_ctx *ctx, const struct fence *fence,
                             const struct checkpoint_head *head,
                             const struct checkpoint_head *wanted);

#endif
