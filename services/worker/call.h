/*
 * One call of a function: its states, and what follows from each event. Decisions only; flow.c
 * acts.
 *
 *   state          may become
 *   ARRIVED        WAIT_MARK, PREPARING, QUEUED, DONE
 *   WAIT_MARK      WAIT_TX, PREPARING, QUEUED, DONE   the sequencer is asked for the mark
 *   WAIT_TX        QUEUED, DONE                the feed must reach a tx first
 *   QUEUED         PREPARING, BLOCKED, WAIT_MARK, WAIT_TX, RUNNING, WAIT_DURABLE, DONE
 *   BLOCKED        QUEUED, DONE                a call like it must go first (lane.h)
 *   PREPARING      QUEUED, RUNNING, DONE       catalog, documents, request row or modules come
 *   RUNNING        QUEUED, WAIT_TX, TO_SUBMIT, DONE
 *   TO_SUBMIT      SUBMITTED, QUEUED, DONE
 *   SUBMITTED      TO_SUBMIT, WAIT_TX, QUEUED, WAIT_DURABLE, DONE
 *   WAIT_DURABLE   TO_SUBMIT, QUEUED, WAIT_VALUE, DONE
 *   WAIT_VALUE     QUEUED, DONE                the first run's value is read from the log
 */
#ifndef WORKER_CALL_H
#define WORKER_CALL_H

#include "slot.pb-c.h"
#include "worker.pb-c.h"

#include "bb/base.h"

#include "catalog.h"
#include "feed.h"
#include "patterns.h"
#include "results.h"

#define CALL_MS_MAX   5000u
#define DEPLOY_MS_MAX 30000u /* it loads every module of the application */

#define CALL_MAGIC 0x43414c4cu

enum call_state {
    CALL_ARRIVED,
    CALL_WAIT_MARK,
    CALL_WAIT_TX,
    CALL_QUEUED,
    CALL_BLOCKED,
    CALL_PREPARING,
    CALL_RUNNING,
    CALL_TO_SUBMIT,
    CALL_SUBMITTED,
    CALL_WAIT_DURABLE,
    CALL_WAIT_VALUE,
    CALL_DONE,
    CALL_STATE_COUNT
};

struct worker;
struct slot;
struct chain;
struct bb_exchange;
struct call {
    uint32_t magic;
    enum call_state state;
    enum function_kind kind; /* 0: not known yet */
    unsigned attempts, losses, crashes;
    struct bb_list link; /* in the list of its state */
    uint64_t id;
    struct bb_exchange *exchange; /* NULL: of the worker itself, or answered already */
    const Bb__Proto__Call *request;
    void (*on_end)(struct worker *worker, struct call *call, int status, const char *error);
    struct bb_arena *own_arena; /* of a request of the worker itself */
    struct bb_slice path;       /* as the slot knows it */
    uint64_t started_us, deadline_us, run_started_us;
    uint64_t lane_keys[2];

    /* Calls that meet hot ranges (lane.h, chain.c). */
    unsigned lane;            /* the lane that it belongs to; 0: none */
    bool is_in_lane;          /* and whose turn it is: nobody else of the lane runs */
    struct bb_list lane_link; /* BLOCKED: in the lane's queue */
    struct chain *chain;      /* until all that run in a row with it have run */
    size_t chain_at;
    bool has_chain_run;
    struct bb_list slot_link; /* RUNNING: behind another one on its slot */
    uint32_t expected_us;     /* RUNNING: what it will take, as its slot counts it; 0: not known */
    uint64_t offer_at_us;     /* TO_SUBMIT: not before, a hold is in the way */
    unsigned offers;          /* that a hold was in the way of */
    uint64_t follows;         /* id of the call that it ran on top of, submitted just before it */

    /* The moment it runs at. */
    uint64_t mark;                /* durable tx obtained after the call arrived; see has_mark */
    uint64_t wait_epoch, wait_tx; /* WAIT_TX: until the feed is there */
    uint64_t epoch, snapshot;
    struct catalog *catalog; /* while it runs */
    struct slot *slot;
    void *reading; /* what PREPARING waits for; cancelled with the call */

    struct foreseen foreseen[PATTERNS_MAX]; /* documents that it will most likely get */
    size_t foreseen_count;

    /* What the newest run gave; in `arena`. */
    struct bb_arena *arena;
    const Bb__Proto__SlotDone *done;
    struct bb_slice value; /* a value from elsewhere: a request row, the log; see has_value */
    uint64_t tx, tx_epoch; /* sequenced as; 0: a Finish */

    struct result_sight sight; /* of a query: what results.c remembers of it */

    bool is_system, is_low_priority;
    bool has_mark, has_value;
    bool waits_for_durable;  /* WAIT_TX: for the durable mark, not the cursor */
    bool is_void;            /* its snapshot was rolled back while it ran */
    bool is_maybe_sequenced; /* this body was sent and nobody knows what became of it */
    bool is_outcome_open;    /* so was an earlier one: no failure may be told, see call_tells */
    bool is_duplicate;       /* an earlier run under this id is the one that counts */
    bool is_in_flight;       /* a Submit under way names it */
};

/* Moves the state; asserts that the table above allows it. */
void worker_call_move(struct call *call, enum call_state state);

/* A slot has finished a run. */
enum run_verdict {
    RUN_SUBMIT, /* it has writes: a commit */
    RUN_FINISH, /* no writes, or thrown: checked like a commit, and answered then */
    RUN_ANSWER, /* a query, or nothing that the database must confirm */
    RUN_AGAIN   /* its moment is gone */
};
enum run_verdict worker_call_after_run(const struct call *call, int status, bool has_body);
/* Its only run was ended for lack of time, most of which it had waited for a slot: the fault is
 * that of the load, not of the function. */
bool worker_call_had_no_time(const struct call *call);

/* How long a call of `path` may take, when its gateway allows `asked_ms` (0: says nothing). */
uint32_t worker_call_time_ms(struct bb_slice path, uint32_t asked_ms);

/* The sequencer has answered a commit or a Finish. */
enum outcome_verdict {
    OUTCOME_WAIT,      /* answer when durable */
    OUTCOME_DUPLICATE, /* the same, with the first run's value */
    OUTCOME_AGAIN,     /* run again at `tx` or later */
    OUTCOME_RESUBMIT,  /* the same body once more */
    OUTCOME_HELD_UP,   /* the same, when others have had their turn */
    OUTCOME_VOID,      /* it would be, but its snapshot was rolled back meanwhile: run again */
    OUTCOME_FAILED     /* answer with the status */
};
/* `feed` as it is now, not as it was when the call was sent. A request that was never answered has
 * the status BB_UNAVAILABLE. */
enum outcome_verdict worker_call_after_outcome(const struct call *call, const struct feed *feed,
                                               int status);
/* WAIT_VALUE: storage answered with `status` and `record_count` records. False: its log has no
 * place for the transaction yet, though that is durable, and says nothing about its value. */
bool worker_call_is_value_known(int status, size_t record_count);
/* What the run that counted returned; empty: that is not known any more. It need not be a run of
 * this call: `done` is NULL then. */
struct bb_slice worker_call_value(const struct call *call);
/* What the caller hears when the call ends with `status`: a failure says nothing about a body that
 * was sent before and may have happened. */
int worker_call_tells(const struct call *call, int status);

/* The feed has entered another epoch: what becomes of a call that was submitted or sequenced. */
enum epoch_verdict {
    EPOCH_KEEPS,
    EPOCH_RESUBMIT,
    EPOCH_AGAIN
};
enum epoch_verdict worker_call_after_epoch(const struct call *call, const struct feed *feed);

/* The status that a call gets whose time is over, by what it waits for; 0: it may wait on. */
int worker_call_overdue(const struct call *call, uint64_t now_us);

/* Nobody waits for it any more: it can go, as no slot has begun it and no body of it is under way.
 */
bool worker_call_may_drop(const struct call *call);
/* WAIT_TX: the feed is where the call waits for. */
bool worker_call_has_come(const struct call *call, const struct feed *feed);
/* WAIT_TX, and the feed has entered another epoch: the number that it waits for may be one that is
 * gone, so it looks again when the feed can be used. */
void worker_call_wait_anew(struct call *call);

/* May it run at the feed's present state, and at what snapshot? `wait`: not yet, until the feed is
 * there (set in the call). */
enum moment_verdict {
    MOMENT_OK,
    MOMENT_WAIT,
    MOMENT_MARK
};
enum moment_verdict worker_call_moment(struct call *call, const struct feed *feed);

#endif
