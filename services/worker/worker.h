/*
 * The supervisor of a worker: what its files share. All of it belongs to the owner thread.
 *
 *   worker.c    the service: options, requests of gateways, the turn of the loop
 *   flow.c      what happens to a call, event by event       (decisions: call.c, lane.c)
 *   chain.c     calls that meet hot ranges, in a row on one slot     (decisions: lane.c)
 *   recall.c    queries that are answered without a run        (decisions: results.c)
 *   settle.c    what the feed and the clock do to calls that wait
 *   prepare.c   what must be known before a call can run     (decisions: catalog.c)
 *   answer.c    replies to gateways
 *   link.c      the sequencer: follow.c the feed, commit.c marks and commits (decisions: feed.c)
 *   reads.c     storage                            (decisions: cache.c, coverage.c, copies.c)
 *   slot.c      slot processes; slot_frames.c, slot_io.c what they say; sandbox.c, zygote.c
 *               their start                                                  (decisions: spare.c)
 *   backfill.c  fills new indexes; forget.c removes old outcomes      (decisions: outcome.c)
 */
#ifndef WORKER_H
#define WORKER_H

#include "sequencer.pb-c.h"
#include "slot.pb-c.h"
#include "storage.pb-c.h"
#include "worker.pb-c.h"

#include "bb/env.h"
#include "bb/nodes.h"
#include "bb/obs.h"
#include "bb/rt.h"
#include "bb/wire.h"

#include "cache.h"
#include "call.h"
#include "catalog.h"
#include "cgroup.h"
#include "copies.h"
#include "feed.h"
#include "hints.h"
#include "lane.h"
#include "logs.h"
#include "outcome.h"
#include "pace.h"
#include "results.h"
#include "sandbox.h"
#include "spare.h"
#include "zygote.h"

#define CALL_US_MAX      5000000ull
#define WORKER_PEERS_MAX 8
#define WORKER_TOO_OLD_TEXT \
    "this tx is too long ago: reads at a tx work for some seconds after it; ask for a fresh one"

struct slot;
struct reading;
struct fetch_item;
struct backfill;
struct warm;
struct forget;

struct peers {
    struct bb_peer *peer[WORKER_PEERS_MAX];
    size_t count, current;
};

struct worker_counters {
    struct bb_metric *calls, *retries, *queued, *chained, *overloaded, *cache_hits, *cache_misses,
        *cache_bytes, *slots_busy, *slot_deaths, *slot_forks, *submits, *fetches, *hedges, *queue,
        *slot_reads, *slot_recalled, *slot_hints, *foreseen, *forgotten, *result_hits,
        *result_misses, *result_count, *result_bytes, *results_dropped, *slots_held, *spare_slots;
    struct bb_histogram *call_time, *run_time, *row_time;
};

struct worker {
    struct bb_service *service;
    struct bb_loop *loop;
    struct bb_ctx *ctx;
    const char *name;
    struct bb_server *server;
    struct bb_timer *tick, *retry, *look;
    bool is_looking; /* the last of them runs */
    bool is_ready, is_stopping, are_slots_stopped, is_stopped;
    bool show_errors;
    uint64_t stop_by_us;

    struct bb_nodes *storage;
    struct peers sequencer;
    struct feed feed;
    struct cache *cache;
    size_t cache_bytes_max;
    struct copies *copies;   /* what the slots keep of it */
    struct results *results; /* of queries; NULL: none are kept */
    struct catalogs *catalogs;
    struct lanes *lanes;
    struct logs *logs;
    struct bb_arena *scratch; /* one message; reset before each use */
    struct worker_counters count;

    /* link.c */
    bool is_following, is_marking, is_submitting, has_submit_failed;
    uint64_t follow_at_us, mark_at_us, submit_at_us; /* not before */
    size_t follow_asked, mark_asked, submit_asked;   /* which sequencer */
    struct bb_list marking;                          /* calls that the Mark under way is for */
    struct call **submitted; /* calls of the Submit under way, in its order */
    size_t submitted_count;

    /* reads.c */
    struct bb_list readings, fetches;
    struct fetch_item
        *pending; /* to be asked at the end of this turn, or when others are answered */
    size_t pending_count, pending_capacity;
    size_t small_fetches; /* of the fetches under way */
    uint64_t fetch_at_us; /* a fetch failed: not before */

    /* flow.c */
    struct bb_list calls[CALL_STATE_COUNT];
    size_t call_count, queue_max;
    uint64_t next_call, call_total, retry_total;
    struct bb_list chains; /* under way */
    uint64_t session;      /* of reservations */
    uint64_t
        heard_us; /* when a sequencer with a lease has answered a Follow; at first: the start */
    uint64_t looked_us;   /* when another one was asked, for lack of it */
    uint64_t hot_seen;    /* newest hot range that the sequencer has named */
    uint32_t supervisors; /* that follow the sequencer, this one included */
    uint64_t turns;
    struct reading *catalog_reading;
    bool wants_catalog;
    struct bb_list call_pool;
    size_t call_pool_count;

    /* slot.c */
    struct slot *slots;
    size_t slot_count;      /* with the spares, which are the last ones */
    size_t spare_count;     /* of these (spare.h) */
    uint64_t ahead_work_us; /* what a slot has to do before another one is woken */
    struct pace pace;       /* how long calls take */
    struct hints *hints;
    struct patterns *patterns;
    struct sandbox *sandbox;
    struct zygote *zygote;
    struct cgroups *cgroups;
    uint32_t heap_mb;

    struct backfill *backfill;
    struct warm *warm;
    struct forget *forget;
    uint64_t outcomes_ms; /* how long an outcome answers its key */
    struct bb_list pulls; /* PullLogs that wait */
};

/* ---- flow.c ---- */

void worker_call_arrive(struct worker *worker, struct bb_exchange *exchange,
                        const Bb__Proto__Call *request);
/* A mutation of the worker itself, as admin; copies `args`, a BBV object. */
void worker_call_own(struct worker *worker, const char *path, struct bb_slice args,
                     void (*on_end)(struct worker *, struct call *, int status, const char *error));
/* Its function is quick enough to be sent to a slot that is busy. */
bool worker_call_may_go_ahead(const struct worker *worker, const struct call *call);
enum spare_class worker_call_class(const struct worker *worker, const struct call *call);
/* Give queued calls to free slots. */
void worker_dispatch(struct worker *worker);
void worker_call_to(struct worker *worker, struct call *call, enum call_state state);
/* Back to the head of the queue. */
void worker_call_requeue(struct worker *worker, struct call *call);
/* Run it once more, when the feed has reached (epoch, tx). */
void worker_call_again(struct worker *worker, struct call *call, uint64_t epoch, uint64_t tx);
void worker_call_ran(struct worker *worker, struct call *call, const Bb__Proto__SlotDone *done);
/* The slot died while it ran the call. `status`: what the call's function did to it, or BB_OK when
 * it did nothing. */
void worker_call_crashed(struct worker *worker, struct call *call, int status, const char *error);
void worker_call_outcome(struct worker *worker, struct call *call, uint64_t epoch,
                         const Bb__Proto__Outcome *outcome);
/* A Submit ended without an answer: nobody knows. */
void worker_call_unanswered(struct worker *worker, struct call *call);
void worker_call_marked(struct worker *worker, struct call *call, uint64_t mark);

/* ---- foresee.c ---- */

/* To the queue, by way of reading ahead what it will most likely get. */
void worker_call_queue(struct worker *worker, struct call *call);
/* A get of its run was answered. */
void worker_foreseen_learn(struct worker *worker, const struct call *call,
                           const struct cache_read *read);
/* Its run has ended. */
void worker_foreseen_judge(struct worker *worker, const struct call *call,
                           const Bb__Proto__SlotDone *done);

/* ---- recall.c ---- */

/* The call's moment is known. True: it is answered. */
bool worker_recall(struct worker *worker, struct call *call);
/* The same for a call of which nothing was prepared yet. */
bool worker_recall_early(struct worker *worker, struct call *call);
/* The run of a query has ended, and is about to be answered. */
void worker_recall_keep(struct worker *worker, struct call *call);

/* ---- chain.c ---- */

/* Puts a mutation that would lose behind others into its lane's queue; false: it may run. */
bool worker_chain_queue(struct worker *worker, struct call *call);
/* A call whose turn it is has been sent to its slot: those that wait behind it go there too. */
void worker_chain_started(struct worker *worker, struct call *first);
/* Lanes whose turn it is go to free slots. */
void worker_chains_turn(struct worker *worker);
/* From time to time: chains that take long are cut, lanes that are cold end. */
void worker_chains_watch(struct worker *worker, uint64_t now_us);
/* The run of a mutation has ended; when it waits to be submitted, the others of its chain are
 * waited for. */
void worker_chain_ran(struct worker *worker, struct call *call);
/* It is answered, sequenced, or runs again: its lane and its chain go on without it. */
void worker_chain_leave(struct worker *worker, struct call *call);
/* A run that is in no lane asks for this: must it stop and queue? */
bool worker_chain_meets(struct worker *worker, struct call *call,
                        const Bb__Proto__SlotReads *reads);
/* What is to be said of reservations goes into a Submit; its arrays live in the scratch arena. */
void worker_chains_talk(struct worker *worker, Bb__Proto__Submit *submit);
/* What the sequencer says of them, in answer to that or by itself, and of ranges that are hot. */
void worker_chains_heard(struct worker *worker, Bb__Proto__Hold *const *holds, size_t count,
                         bool is_answer);
void worker_chains_hot(struct worker *worker, const Bb__Proto__FollowReply *follow);
/* It has lost: the range is hot, and the call queues there. */
void worker_chain_lost(struct worker *worker, struct call *call, uint32_t lost);

/* ---- settle.c ---- */

/* The cursor or the durable mark moved. */
void worker_progress(struct worker *worker);
/* Another epoch, or the feed was entered anew. */
void worker_epoch_changed(struct worker *worker);
/* The same for one call that was submitted or sequenced in an epoch that is over. */
void worker_call_epoch(struct worker *worker, struct call *call);
/* Answers a queued call that has no time left to run in. */
bool worker_call_is_late(struct worker *worker, struct call *call);
void worker_calls_overdue(struct worker *worker, uint64_t now_us);
/* Ends those of the named calls that have not begun; how many. */
size_t worker_calls_drop(struct worker *worker, const Bb__Proto__Cancel *request);

/* ---- answer.c ---- */

/* Ends the call. `error` NULL: the status is BB_OK or the slot's own text is used. */
void worker_answer(struct worker *worker, struct call *call, int status, const char *error);
void worker_refuse(struct bb_exchange *exchange, int status, const char *error);
void worker_call_release(struct worker *worker, struct call *call);

/* ---- prepare.c ---- */

enum prepared {
    PREPARED_RUNS, /* a slot has it, or will when its code has come */
    PREPARED_MOVED /* it waits for something else, or is answered */
};
enum prepared worker_prepare(struct worker *worker, struct call *call);
/* The same for a call that can run on top of `before`, on its slot; false: it cannot, and is where
 * it was, or is answered or waits for something. */
bool worker_prepare_after(struct worker *worker, struct call *call, const struct call *before);
/* Have the newest catalog loaded, if it is not. */
void worker_want_catalog(struct worker *worker);
struct bb_slice worker_key_point(struct bb_arena *arena, const Bb__Proto__Call *request,
                                 bool is_end);

/* ---- link.c ---- */

int worker_link_open(struct worker *worker);
void worker_link_close(struct worker *worker);
void worker_link_turn(struct worker *worker); /* send what has gathered */
/* Read from the log what the transaction `call->tx` returned. */
void worker_link_value(struct worker *worker, struct call *call);

/* ---- reads.c ---- */

struct reading {
    struct bb_list link;
    struct worker *worker;
    struct bb_arena *arena; /* the reading's own */
    struct cache_read *reads;
    size_t count;
    uint64_t snapshot, deadline_us;
    int status; /* when done is called */
    void (*done)(struct reading *reading, void *arg);
    void *arg;
    /* Private. */
    size_t outstanding;
    bool is_cancelled;
};
struct reading *worker_reading_new(struct worker *worker, uint64_t snapshot, uint64_t deadline_us);
/* Room for `count` reads, all zero, to be filled in by the caller. NULL: there are too many. */
struct cache_read *worker_reading_reads(struct reading *reading, size_t count);
/* True: all is answered (or failed) already, and `done` is not called. */
bool worker_reading_start(struct reading *reading);
/* Any time; `done` is not called any more. Accepts NULL. */
void worker_reading_free(struct reading *reading);
/* Ends readings whose time is over. */
void worker_reads_overdue(struct worker *worker, uint64_t now_us);
void worker_reads_turn(struct worker *worker);
/* What is pending waits for an answer, not for another try. */
bool worker_reads_are_held(const struct worker *worker);
uint64_t worker_horizon(const struct worker *worker);

/* ---- slot.c ---- */

int worker_slots_open(struct worker *worker);
void worker_slots_stop(struct worker *worker); /* ask them to end */
bool worker_slots_gone(const struct worker *worker);
void worker_slots_close(struct worker *worker); /* free; their processes are gone or killed */
void worker_slots_hear(struct worker *worker);  /* handle what slots have said */
void worker_slots_turn(struct worker *worker);  /* write frames that have gathered */
/* From here on slots ring when they say something. False: one of them has, listen first. */
bool worker_slots_may_sleep(struct worker *worker);
void worker_slots_watch(struct worker *worker, uint64_t now_us); /* kill, restart */
/* One that may be given such a call; best, one that knows the code. */
struct slot *worker_slot_free(struct worker *worker, const struct catalog *catalog,
                              enum spare_class call);
struct spare_view worker_slots_view(const struct worker *worker);
size_t worker_slots_ready(const struct worker *worker);
size_t worker_slots_busy(const struct worker *worker);
size_t worker_slots_spare(const struct worker *worker); /* spares that have a process */
/* The moment that the call of slot `index` reads at; false: it has none. */
bool worker_slot_snapshot(const struct worker *worker, size_t index, uint64_t *tx);
/* A slot is reserved for a call before it starts; a call runs on one slot at a time. */
void worker_slot_reserve(struct slot *slot, struct call *call);
void worker_slot_unreserve(struct slot *slot);
/* Does it know the catalog's code? `modules` NULL then; else the answer of the modules' read. */
bool worker_slot_knows_code(const struct slot *slot, const struct catalog *catalog);
bool worker_slot_has_deployment(const struct slot *slot, const struct catalog *catalog);
/* Are calls that take so long, 0 for unknown, sent to slots that are busy? */
bool worker_slot_is_quick(uint32_t expected_us);
/* A busy slot that may be given one more call; NULL: none. `has_idle`: a slot is free, so it must
 * be one where the call hardly waits. `catalog` NULL: of any code. */
struct slot *worker_slot_ahead(struct worker *worker, const struct catalog *catalog, bool has_idle);
void worker_slot_start_ahead(struct worker *worker, struct slot *slot, struct call *call);
/* Calls that wait behind one that takes long go back to the queue. */
void worker_slots_even_out(struct worker *worker);
/* Some wait behind others. */
bool worker_slots_have_waiting(const struct worker *worker);
void worker_slot_start(struct worker *worker, struct slot *slot, struct call *call,
                       const struct cache_read *modules);
/* `call` runs when `before`, the last one that this slot has, is done, and on top of it. */
void worker_slot_start_after(struct worker *worker, struct call *call, const struct call *before);

/* ---- warm.c ---- */

struct warm *worker_warm_new(void);
void worker_warm_free(struct warm *warm); /* accepts NULL */
/* A slot ended by itself, as one does that could not make a module ready. Where several did so with
 * the newest code, slots that start from then on leave modules to the calls that need them: slow
 * code must cost its own callers, and never those of other functions. */
void worker_warm_ended(struct worker *worker);
bool worker_warm_is_off(const struct warm *warm);
/* The epoch changed: what is read may be of a moment that is gone. */
void worker_warm_reset(struct warm *warm);
/* From time to time: code that is new goes to slots that have nothing to do. */
void worker_warm_watch(struct worker *worker, uint64_t now_us);

/* ---- backfill.c ---- */

struct backfill *worker_backfill_new(void);
void worker_backfill_free(struct backfill *backfill);
void worker_backfill_watch(struct worker *worker, uint64_t now_us);

/* ---- forget.c ---- */

struct forget *worker_forget_new(uint64_t now_us);
void worker_forget_free(struct forget *forget);
/* Removes a batch of outcomes that were kept long enough when it is time. */
void worker_forget_watch(struct worker *worker, uint64_t now_us);

static inline uint64_t worker_now(struct worker *worker)
{
    return bb_now_us(worker->ctx);
}
static inline struct bb_peer *worker_peer(const struct peers *peers)
{
    return peers->peer[peers->current];
}
/* To the next one that is there. */
static inline void worker_peer_rotate(struct peers *peers)
{
    size_t next = peers->current;
    for (size_t i = 1; i < peers->count; i++) {
        next = (peers->current + i) % peers->count;
        if (bb_peer_is_connected(peers->peer[next])) {
            break;
        }
    }
    peers->current = next;
}
/* Of many questions to one that has died the first one's end decides where to go. */
static inline void worker_peer_failed(struct peers *peers, size_t asked)
{
    if (peers->current == asked) {
        worker_peer_rotate(peers);
    }
}

#endif
