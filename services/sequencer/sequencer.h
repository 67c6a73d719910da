/*
 * The parts of the sequencer's owner loop: its storage nodes, its claim, what it sends to them and
 * who waits. Everything here runs on the owner thread; decisions are in core.h and lease.h.
 */
#ifndef SEQUENCER_SEQUENCER_H
#define SEQUENCER_SEQUENCER_H

#include "sequencer.pb-c.h"
#include "storage.pb-c.h"

#include "bb/obs.h"
#include "bb/rt.h"
#include "bb/wire.h"

#include "core.h"
#include "gather.h"
#include "lease.h"
#include "way.h"

#define SEQUENCER_MAGIC       0x53455143u
#define SEQUENCER_DRAIN_US    2000000 /* a stop waits this long for storage to take something */
#define SEQUENCER_ADDRESS_MAX 256

extern const struct bb_option sequencer_options[];

enum sequencer_phase {
    SEQUENCER_LOOKING,  /* asks all storage nodes who leads */
    SEQUENCER_CLAIMING, /* has asked the leader for the next epoch */
    SEQUENCER_LOADING,  /* owns the epoch, reads the ids of the last minutes */
    SEQUENCER_ACTIVE,
    SEQUENCER_DRAINING /* refuses new work, brings what is sequenced to storage */
};

struct sequencer;

struct sequencer_voter {
    struct sequencer *owner;
    size_t index;
    struct bb_peer *peer;
    bool is_option; /* it was named at the start: its place is its own */
    /* Of the round of questions under way. */
    bool has_answered, is_leader, is_voter;
    size_t voters;     /* that there are, as it says */
    uint64_t node;     /* its number, as it said last; 0: it has not answered */
    uint64_t named;    /* the number of the one at its url, as others say; 0: they have not */
    uint64_t asked_us; /* the way to it: see struct sequencer_line */
    uint32_t answers;
    uint64_t term, leader; /* of that round: who leads, as it says */
    uint64_t wall_us, epoch, last_tx;
    char holder[SEQUENCER_ADDRESS_MAX]; /* where the epoch's sequencer listens */
};

/* A Follow, Mark or Submit that cannot be answered yet. */
struct sequencer_waiter {
    struct bb_list link;
    struct bb_exchange *exchange;
    const Bb__Proto__Submit *submit; /* in the exchange's arena */
    uint64_t until_us;
    uint64_t epoch, after, durable_seen;
    uint64_t session, hot_seen, lanes_seen;
    size_t max_bytes;
};

/* Supervisors that have followed lately. */
struct sequencer_supervisor {
    uint64_t session, at_us;
};
#define SEQUENCER_SUPERVISORS_MAX 64

struct sequencer_metrics {
    struct bb_metric *commits, *conflicts, *duplicates, *refused, *batches, *gathers, *resends,
        *passed_on, *window_keys, *pending_bytes, *followers, *epoch, *holds, *held_up, *floor_age;
    struct bb_histogram *append_seconds;
};

struct sequencer {
    uint32_t magic;
    struct bb_service *service;
    struct bb_loop *loop;
    struct bb_ctx *ctx; /* the loop's */
    enum sequencer_phase phase;
    struct sequencer_core core;
    struct sequencer_lease lease;
    struct sequencer_metrics metrics;
    struct bb_server *server;
    struct bb_arena *scratch; /* of one commit */
    struct bb_arena *answers; /* of one answer of storage */

    struct sequencer_voter voters[SEQUENCER_VOTER_MAX];
    size_t voter_count;
    size_t leader;    /* the voter that takes Appends, as far as we know */
    size_t via;       /* the voter that passes them on to it, or SEQUENCER_STRAIGHT */
    bool is_by_other; /* the log says that one does */

    uint8_t holder[16];
    char address[SEQUENCER_ADDRESS_MAX];        /* where workers reach this one */
    char holder_address[SEQUENCER_ADDRESS_MAX]; /* and the one that holds the epoch; "": none */
    bool is_standby;                            /* that is another one */
    size_t questions;                           /* answers that the round still waits for */
    uint64_t want;       /* the epoch of a claim whose outcome is unknown; 0: none */
    char waits_for[160]; /* what was said last about not being active */
    struct bb_timer *claim_timer;

    uint64_t load_after;  /* up to here all ids are known; see has_load_begun */
    uint64_t load_number; /* of the Tail whose answer counts */
    uint64_t ids_lost_us; /* some ids up to this tx are in no feed any more; 0: none */
    bool has_load_begun, is_load_asked;
    unsigned load_io_count; /* so many answers in a row told of an error of the disk */
    struct bb_timer *load_timer;

    uint64_t append_sent_us;
    uint64_t append_tries; /* batches that were sent, each time counted */
    size_t append_target;  /* the voter that got the last one */
    uint64_t leader_term;  /* in which the voters named `leader`; 0: they have not yet */
    struct sequencer_gather gather;
    struct bb_alarm *gather_alarm;
    bool is_gathering;       /* a batch waits for more; the alarm is set */
    uint64_t drain_until_us; /* while draining: then what storage did not take is given up */
    struct bb_timer *resend_timer;
    struct bb_timer *renew_timer;
    struct bb_timer *tick_timer;

    struct sequencer_supervisor supervisors[SEQUENCER_SUPERVISORS_MAX];
    struct bb_list followers;
    size_t follower_count;
    struct bb_list marks;
    struct bb_list submits; /* with a Finish, until there is a lease */
};

/* claim.c: from nothing to an epoch with its ids; calls sequencer_became_active. */
void sequencer_claim_begin(struct sequencer *sequencer);
void sequencer_became_active(struct sequencer *sequencer);

/* load.c: the ids of the last minutes. A standby follows storage's feed all the time. */
void sequencer_load_stand_by(struct sequencer *sequencer, uint64_t last_tx);
/* The epoch is ours: read what is missing up to the claim. */
void sequencer_load_claimed(struct sequencer *sequencer);
void sequencer_load_again(struct sequencer *sequencer); /* the timer's */

/* append.c: batches and RENEW. */
/* If something waits, none is under way, and it need not wait for more. */
void sequencer_append_next(struct sequencer *sequencer);
/* The storage node at the url `named`, by the voter `by` if it is not reached otherwise, or the
 * next one that is there. */
void sequencer_other_leader(struct sequencer *sequencer, size_t by, const char *named);
/* The voter that gets what is for the leader. */
static inline struct sequencer_voter *sequencer_target(struct sequencer *sequencer)
{
    bool is_straight = sequencer->via == SEQUENCER_STRAIGHT;

    return &sequencer->voters[is_straight ? sequencer->leader : sequencer->via];
}
void sequencer_append_again(struct sequencer *sequencer); /* the one under way */
void sequencer_renew(struct sequencer *sequencer);
/* voters.c: who is asked */
int sequencer_voters_open(struct bb_ctx *ctx, struct sequencer *sequencer, const char *urls);
/* `from` leads and says who votes: those that are not asked yet are from now on. */
void sequencer_voters_learn(struct sequencer_voter *from, Bb__Proto__Voter **voters, size_t count);
/* A follower's word: of its voters, the one that leads. That one names the others itself. */
void sequencer_voters_learn_leader(struct sequencer_voter *from, Bb__Proto__Voter **voters,
                                   size_t count, uint64_t leader);
/* Its number as it said, or as others say until it has; 0: not known. */
uint64_t sequencer_voters_number(const struct sequencer_voter *voter);
/* The one of that number that answers, or answered last. False: 0, or nobody. */
bool sequencer_voters_find(const struct sequencer *sequencer, uint64_t node, size_t *index);
/* The same; nobody: the one that gets batches. */
size_t sequencer_voters_index(const struct sequencer *sequencer, uint64_t node);
/* The epoch is over: a last line, and the service ends without another answer. */
void sequencer_fenced(struct sequencer *sequencer, const char *why);
/* Unpack and check an answer into sequencer->answers. `status`: how the request went. Gives the
 * BB_* status of the operation; *reply is NULL when nothing readable came. */
int sequencer_read_answer(struct sequencer *sequencer, int status, struct bb_slice bytes,
                          Bb__Proto__StorageReply **reply);

/* sequencer.c: decide all commits and answer. `may_wait`: not yet, if a Finish lacks the lease. */
void sequencer_submit(struct sequencer *sequencer, struct bb_exchange *exchange,
                      const Bb__Proto__Submit *submit, bool may_wait);

/* `reserve` NULL: it is gone. */
void sequencer_describe_hold(const struct sequencer_core *core,
                             const struct sequencer_reserve *reserve, uint64_t number,
                             Bb__Proto__Hold *hold);

/* wait.c: long polls, marks and what needs a lease. */
void sequencer_follow(struct sequencer *sequencer, struct bb_exchange *exchange,
                      const Bb__Proto__Follow *follow);
void sequencer_mark(struct sequencer *sequencer, struct bb_exchange *exchange);
/* Decided with a lease as soon as there is one, without it after a moment. */
void sequencer_submit_later(struct sequencer *sequencer, struct bb_exchange *exchange,
                            const Bb__Proto__Submit *submit);
/* Answer all that can be answered now; with `refuse`, all the others too, by BB_UNAVAILABLE. */
void sequencer_wake_waiters(struct sequencer *sequencer, bool refuse);
void sequencer_reply_error(struct bb_exchange *exchange, int status, const char *error);
/* True: another one is active, as far as this one knows, and the answer says so. */
bool sequencer_refer(struct sequencer *sequencer, struct bb_exchange *exchange);
bool sequencer_has_lease(struct sequencer *sequencer);

#endif
