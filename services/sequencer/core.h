/*
 * The decisions of the sequencer: which commit is still valid, which tx it gets, what goes to
 * storage next, what a follower sees. No sockets, no threads; time comes from ctx->env.
 *
 * Life: init, claimed (an epoch is ours), load_id for the ids of the last minutes, activate, then
 * commits.
 */
#ifndef SEQUENCER_CORE_H
#define SEQUENCER_CORE_H

#include "sequencer.pb-c.h"

#include "bb/base.h"
#include "bb/occ.h"

#include "clock.h"
#include "ids.h"
#include "lanes.h"
#include "ring.h"

#define SEQUENCER_BODY_MAX     (20u << 20)        /* a TxBody; a log entry has room for it */
#define SEQUENCER_KEY_MIN      4                  /* a key begins with its index */
#define SEQUENCER_PENDING_MAX  ((size_t)64 << 20) /* bytes sequenced beyond durable */
#define SEQUENCER_PENDING_US   1000000            /* and for how long */
#define SEQUENCER_WINDOW_BYTES ((size_t)64 << 20) /* of the conflict window */
#define SEQUENCER_RING_BYTES   ((size_t)64 << 20) /* of records kept for followers */
#define SEQUENCER_IDS_MAX      1000000
#define SEQUENCER_IDS_US       (UINT64_C(600) * 1000000)
/* How far back ids are read at a take-over. A key of a client's choice has a row of its own, kept
 * for days; all others are made by a gateway, which gives up on a call long before. */
#define SEQUENCER_IDS_LOAD_US    (UINT64_C(30) * 1000000)
#define SEQUENCER_CLOCK_AHEAD_US (UINT64_C(5) * 1000000)

struct sequencer_limits {
    uint64_t window_us; /* how long the conflict window reaches back */
    size_t batch_bytes; /* about, for one Append */
    size_t ids_max;
    uint64_t seed;
};

/* One Append; the batch is the core's and stays until it was answered. */
struct sequencer_append {
    uint64_t epoch, seq, base_tx, last_tx;
    struct bb_slice batch;
};

struct sequencer_core {
    struct sequencer_limits limits;
    bool is_active;
    uint64_t epoch, claim_tx;    /* claim_tx: last tx before the epoch */
    uint64_t sequenced, durable; /* tx */
    struct sequencer_clock clock;
    struct bb_occ *window;
    struct sequencer_ids *ids;
    struct sequencer_ring ring;
    struct sequencer_lanes lanes;
    uint64_t durable_number; /* of the first record in the ring that is not durable */
    uint64_t append_number;  /* of the first record that is in no Append yet */
    size_t pending_bytes;    /* of the records that are not durable */
    uint64_t seq;            /* of the last Append that was made */
    bool is_appending;
    struct sequencer_append append;
    struct bb_buf batch;
    uint64_t commits, conflicts, held_up;
};

void sequencer_core_init(struct sequencer_core *core, const struct sequencer_limits *limits);
void sequencer_core_fini(struct sequencer_core *core);

/* May this process claim? BB_UNAVAILABLE with the reason when its clock is more than 5 s ahead of
 * what the majority says; `walls_us` are the answers of `count` of `voters`. */
int sequencer_core_check_clock(struct bb_ctx *ctx, const uint64_t *walls_us, size_t count,
                               size_t voters);
void sequencer_core_claimed(struct bb_ctx *ctx, struct sequencer_core *core, uint64_t epoch,
                            uint64_t last_seq, uint64_t last_tx);
/* An id of an earlier epoch, in order of tx. */
void sequencer_core_load_id(struct sequencer_core *core, struct bb_slice id, struct bb_txtime tx);
void sequencer_core_activate(struct sequencer_core *core);

/*
 * Decide a row of commits of `epoch`: one, and those that follow it (sequencer.proto, Commit).
 * ctx->arena is used for it. The outcomes as sequencer.proto says.
 */
void sequencer_core_commit(struct bb_ctx *ctx, struct sequencer_core *core, uint64_t epoch,
                           uint64_t session, Bb__Proto__Commit *const *commits, size_t count,
                           bool has_lease, Bb__Proto__Outcome *const *outcomes);

/* The next batch to send; NULL while one is under way or nothing waits. */
const struct sequencer_append *sequencer_core_next_append(struct sequencer_core *core);
enum sequencer_verdict {
    SEQUENCER_DONE,         /* durable: the mark has moved */
    SEQUENCER_AGAIN,        /* the same Append again, a little later */
    SEQUENCER_OTHER_LEADER, /* again, to another voter */
    SEQUENCER_OVER          /* the epoch is dead: nothing may be answered any more */
};
/* Is this the Append under way? There may be several copies of it. */
bool sequencer_core_is_under_way(const struct sequencer_core *core, uint64_t epoch, uint64_t seq);
/* Does the answer to a copy of it say that it is durable? As below. */
bool sequencer_core_is_done(const struct sequencer_core *core, int status, bool has_last_seq,
                            uint64_t last_seq);
/* What the answer to the Append under way means. `last_seq`: of the reply, when it has one. */
enum sequencer_verdict sequencer_core_appended(struct bb_ctx *ctx, struct sequencer_core *core,
                                               int status, bool has_last_seq, uint64_t last_seq);

/* BB_OK: answer with the records [*first, *end) of the ring (none: only the mark moved);
 * BB_PENDING: nothing to say yet; BB_TOO_OLD: the position is gone or of another epoch. */
int sequencer_core_follow(const struct sequencer_core *core, uint64_t epoch, uint64_t after,
                          uint64_t durable_seen, size_t max_bytes, uint64_t *first, uint64_t *end);
/* BB_OK and the tx; or BB_NOT_FOUND, and a commit of this id will be refused. */
int sequencer_core_status_of(struct bb_ctx *ctx, struct sequencer_core *core, struct bb_slice id,
                             struct bb_txtime *tx);
/* From time to time: slew the clock, forget what is too old. */
void sequencer_core_tick(struct bb_ctx *ctx, struct sequencer_core *core);

#endif
