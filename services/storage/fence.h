/*
 * Who may write, and which batch comes next: decided when an entry of the log is applied, never
 * when it is proposed, so that all replicas decide alike.
 *
 * A sequencer claims an epoch; its batches count up `seq` without a gap and each names the last tx
 * of the one before. A batch that comes again is recognised by its digest. A chain hash over all
 * entries shows whether two replicas applied the same log.
 */
#ifndef STORAGE_FENCE_H
#define STORAGE_FENCE_H

#include "bb/base.h"
#include "bb/replog.h"

#include "member.h"

enum {
    FENCE_DIGESTS = 64,
    FENCE_ADDRESS_MAX = 255,
    FENCE_HOLDER = 16,
    FENCE_CLUSTER = 16
};

struct fence {
    uint8_t cluster[FENCE_CLUSTER]; /* the same on all replicas; zeros: not known yet */
    uint64_t index;                 /* of the entry that was decided last */
    uint64_t chain;                 /* hash over (index, entry) of all entries */
    uint64_t epoch, last_seq;
    struct bb_txtime last_tx;
    uint8_t holder[FENCE_HOLDER];
    char address[FENCE_ADDRESS_MAX + 1]; /* where the holder listens */
    uint64_t digests[FENCE_DIGESTS];     /* of batch `seq`, at seq % FENCE_DIGESTS */
    uint64_t digest_count;               /* how many of the last batches have one here */
    struct members members;
    /*
     * No part of what replicas agree on: the node whose state this is, and how far its own log had
     * these entries when it was written (bb_replog_logged).
     */
    uint64_t log_node, logged;
};

/* What an entry does. `status` is BB_OK, BB_FENCED or BB_GAP with `error`. */
struct fence_answer {
    int status;
    bool is_new; /* an append whose transactions are to be applied */
    uint64_t epoch, last_seq;
    struct bb_txtime last_tx;
    char error[BB_ERROR_MAX];
};

/* Decide the entry at `index` (> fence->index) whose bytes are `entry`, decoded as `frame`. */
void storage_fence_apply(struct fence *fence, uint64_t index, struct bb_slice entry,
                         const struct bb_replog_frame *frame, struct fence_answer *answer);
bool storage_fence_has_cluster(const struct fence *fence);
/* What an append would get now, without an effect: spares the log an entry that says nothing new.
 * False: it is the next batch, or too far ahead to say. */
bool storage_fence_foresee(const struct fence *fence, const struct bb_replog_frame *frame,
                           struct fence_answer *answer);

/* A claim's payload: holder, then the address. */
void storage_fence_claim_encode(struct bb_slice holder, struct bb_slice address, struct bb_buf *to);

/* docs/formats/log.md: "state of the machine". */
void storage_fence_encode(const struct fence *fence, struct bb_buf *to);
int storage_fence_decode(struct bb_ctx *ctx, struct bb_slice from, struct fence *fence);

#endif
