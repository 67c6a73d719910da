/*
 * Live queries: who watches what, what each result was read from, and what must run again after a
 * write. Decisions only; running queries and using results are the table `live_ops`.
 *
 * An entry is one query (path, arguments, caller) however many watch it. Its newest result holds in
 * an interval of moments that begins at `from_tx` and ends at the first write into what was read
 * (`hit_tx`), or is still open. Nothing runs by itself: whoever watches wants the result at one
 * exact moment, and gets it at once when the newest result holds there; else the entry runs at
 * exactly that moment. One run at a time for an entry, the oldest wanted moment first.
 *
 * An answer at T is registered (its read ranges replace the old) and checked against the writes in
 * (T, cursor]: a hit closes its interval at once. While an entry runs, its old ranges stay
 * registered. Writes <= T never concern a result read at T. An answer older than the newest result
 * serves those who wanted that moment and changes nothing else.
 *
 * A shared entry runs without an identity. When the function asks for one, the run ends with
 * NEEDS_IDENTITY and those who watch move to entries of their own identity, before anything is
 * sent.
 *
 * Ownership: keys, payloads and ranges are copied; results are counted. Threads: one. Durability:
 * none.
 */
#ifndef GATEWAY_LIVE_H
#define GATEWAY_LIVE_H

#include "bb/base.h"
#include "bb/interval.h"

struct live;

struct live_key {
    const char *path;
    struct bb_slice args;     /* BBV */
    struct bb_slice identity; /* JSON; empty: anonymous */
    bool is_admin;
};

/* Immutable but for `cache`. Lives as long as somebody holds it. */
struct live_result {
    struct live *live;
    uint32_t reference_count;
    bool is_failure;
    uint64_t hash[2]; /* equal: the same result */
    struct bb_buf payload;
    size_t size_bytes; /* accounted, gateway_live_result_grew */
    void *cache;       /* the owner's, for encoded forms; see live_ops.forget */
};

struct live_entry {
    struct live *live;
    struct live_entry *next; /* in its bucket */
    struct live_key key;     /* copies; a shared entry has no identity */
    bool is_shared;          /* run without an identity, and refuse to look at one */
    bool is_split;           /* the function looked: nobody watches this entry any more */
    uint64_t key_hash;
    /* the newest result */
    struct live_result *result; /* NULL: none yet */
    uint64_t from_tx, hit_tx;   /* where it holds; hit_tx 0: to the cursor and on */
    bool is_void;               /* it holds nowhere any more */
    /* what it was read from */
    struct bb_interval *ranges;
    size_t range_count;
    uint8_t *range_bytes;
    size_t size_bytes; /* accounted, without the result */
    /* what is to come */
    bool is_running, runs_long;
    struct bb_list run;   /* in live->runs, or alone */
    uint64_t run_us;      /* when it began */
    uint64_t run_tx;      /* the moment of the present run */
    uint32_t history;     /* in which it began, see gateway_live_restart */
    struct bb_list due;   /* in live->due or live->later, or alone */
    struct bb_list again; /* in live->again after a failure that may pass by itself, or alone */
    uint64_t retry_us, again_us;
    uint32_t failures; /* of the suite, in a row */
    /* who watches, and who of them waits for a result */
    struct bb_list watches, waiting;
    size_t watch_count;
    struct bb_list idle; /* in live->idle while nobody does */
    uint64_t idle_us;
};

/* Embedded in what watches. */
struct live_watch {
    struct bb_list link;    /* in entry->watches */
    struct bb_list waiting; /* in entry->waiting, or alone */
    uint64_t wait_tx;
    struct live_entry *entry;
    struct bb_slice identity; /* its own; borrowed from the owner */
};

struct live_range {
    struct bb_slice low, high;
};

enum live_end {
    LIVE_VALUE,          /* payload is the value */
    LIVE_FAILURE,        /* payload says what is wrong with function or request */
    LIVE_NEEDS_IDENTITY, /* only of a shared entry */
    LIVE_TOO_OLD,        /* the moment cannot be read any more */
    LIVE_AWAY            /* the suite could not run it now: again after a pause */
};

struct live_answer {
    enum live_end end;
    uint64_t hash[2];
    struct bb_slice payload;
    const struct live_range *ranges;
    size_t range_count;
    bool is_passing; /* a failure of time or memory: may pass without any write */
};

struct live_ops {
    /* Run the entry at exactly `tx`; gateway_live_answered follows, now or later. */
    void (*evaluate)(void *arg, struct live_entry *entry, uint64_t tx);
    /* What this one watches does not hold any more: it may have changed. Once until the next
     * result. Nothing of live.h may be called from inside. */
    void (*hit)(void *arg, struct live_watch *watch);
    /* What was wanted. `result` is retained by whoever keeps it. */
    void (*came)(void *arg, struct live_watch *watch, struct live_result *result);
    /* What was wanted cannot be had at that moment. */
    void (*too_old)(void *arg, struct live_watch *watch);
    /* Nobody holds the result any more: free its cache. May be NULL. */
    void (*forget)(void *arg, struct live_result *result);
};

struct live_options {
    const struct live_ops *ops;
    void *arg;
    size_t running_max; /* evaluations at once; those that take long do not count */
    size_t bytes_max;   /* entries and results; beyond: no new ones */
    size_t ring_bytes_max;
    uint64_t idle_us; /* how long an unwatched entry is kept */
};

struct live *gateway_live_new(struct bb_ctx *ctx, const struct live_options *options);
/* All watches and results must be gone. Accepts NULL. Entries that run are freed, too. */
void gateway_live_free(struct live *live);
void gateway_live_set_running_max(struct live *live, size_t running_max);

/* ---- watching ---- */

/* `watch->identity` is set. BB_OVERLOADED: memory for live queries is used up. */
int gateway_live_watch(struct bb_ctx *ctx, struct live *live, const struct live_key *key,
                       struct live_watch *watch);
/* The same watch under another identity; it stops waiting. Never refused. */
void gateway_live_rewatch(struct live_watch *watch, const struct live_key *key);
void gateway_live_unwatch(struct live_watch *watch);
/* The result at `tx` (at most the cursor) when it is known, else NULL. Not retained. */
struct live_result *gateway_live_get(const struct live_watch *watch, uint64_t tx);
/* Is this result the newest, and does it hold to the cursor? If not, a hit was told or is due. */
bool gateway_live_is_current(const struct live_watch *watch, const struct live_result *result);
/* Want it: `came` or `too_old` follows, never from inside. One wish at a time. */
void gateway_live_want(struct live_watch *watch, uint64_t tx);
void gateway_live_unwant(struct live_watch *watch);
/* The newest moment that somebody wants this result at and that has not begun to run; 0: none. Who
 * wants the same moment shares the run. */
uint64_t gateway_live_wanted_tx(const struct live_watch *watch);
/* Start what is wanted, as far as the bound allows. After gateway_live_want. */
void gateway_live_go(struct live *live);

struct live_result *gateway_live_retain(struct live_result *result);
void gateway_live_release(struct live_result *result); /* accepts NULL */
/* Its cache takes `size` bytes now. */
void gateway_live_result_grew(struct live_result *result, size_t size);

/* ---- what happens ---- */

void gateway_live_answered(struct live_entry *entry, const struct live_answer *answer);
/* The feed: each record's keys in order of tx, then gateway_live_advance once for what gathered. */
void gateway_live_write(struct live *live, uint64_t tx, const struct bb_slice *keys,
                        size_t key_count);
void gateway_live_advance(struct live *live, uint64_t cursor);
/* The feed goes on from `cursor` and what lies between is unknown: no result holds any more. */
void gateway_live_skip(struct live *live, uint64_t cursor);
/* Another history began (another cluster, or the data went back): all results and wishes are void.
 * Wishes are dropped without a word; whoever had some knows. */
void gateway_live_restart(struct live *live, uint64_t cursor);
/* Workers are there again: what waited for a retry need not wait longer. */
void gateway_live_retry_now(struct live *live);
/* Some times a second. */
void gateway_live_tick(struct live *live);

bool gateway_live_has_room(const struct live *live); /* for one more entry */
uint64_t gateway_live_cursor(const struct live *live);
size_t gateway_live_entry_count(const struct live *live);
size_t gateway_live_range_count(const struct live *live);
size_t gateway_live_bytes(const struct live *live);
size_t gateway_live_running(const struct live *live);

#endif
