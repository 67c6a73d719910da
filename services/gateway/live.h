/*
 * Live queries: who watches what, what each result was read from, and what must run again after a
 * write. Decisions only; running queries and sending results are the table `live_ops`.
 *
 * An entry is one query (path, arguments, caller) however many subscribers watch it. Its life:
 *   a subscriber comes -> due -> running -> answered at T: its read ranges are registered and
 * checked against the writes in (T, cursor]; a hit makes it due again -> a later write into a range
 * makes it due -> .. -> the last subscriber leaves -> kept for 10 s, then freed. While an entry
 * runs, its old ranges stay registered. Writes <= T never concern a result read at T. Writes that
 * come while it is due or runs are covered by one more run: it never queues up.
 *
 * A shared entry runs without an identity. When the function asks for one, the run ends with
 * NEEDS_IDENTITY and its subscribers move to entries of their own identity, before anything is
 * sent.
 *
 * Sessions with many queries at one tx can hold one subscriber for each query: a subscriber knows
 * what it has been sent, and nothing here sends by itself.
 *
 * Ownership: keys, payloads and ranges are copied. Threads: one. Durability: none.
 */
#ifndef GATEWAY_LIVE_H
#define GATEWAY_LIVE_H

#include "bb/base.h"
#include "interval.h"

struct live;

struct live_key {
    const char *path;
    struct bb_slice args;     /* BBV */
    struct bb_slice identity; /* JSON; empty: anonymous */
    bool is_admin;
};

struct live_entry {
    struct live *live;
    struct live_entry *next; /* in its bucket */
    struct live_key key;     /* copies; a shared entry has no identity */
    bool is_shared;          /* run without an identity, and refuse to look at one */
    bool is_split;           /* the function looked: nobody watches this entry any more */
    uint64_t key_hash;
    /* the newest result */
    bool has_result;
    bool is_failure;
    uint64_t version; /* rises with each result that differs from the one before */
    uint64_t tx;      /* the moment of the newest run */
    uint64_t hash[2];
    struct bb_buf payload;
    /* what it was read from */
    struct interval *ranges;
    size_t range_count;
    uint8_t *range_bytes;
    size_t size_bytes; /* accounted */
    /* what is to come */
    bool is_running, is_due;
    uint32_t history;   /* in which the present run began, see gateway_live_restart */
    uint64_t due_tx;    /* the next run must see this tx */
    struct bb_list due; /* in live->due or live->later, or alone */
    uint64_t retry_us;
    uint32_t failures;    /* of the suite, in a row */
    struct bb_list again; /* in live->again after a failure that may pass by itself, or alone */
    uint64_t again_us;
    /* who watches */
    struct bb_list subscribers;
    size_t subscriber_count;
    struct bb_list idle; /* in live->idle while nobody does */
    uint64_t idle_us;
    void *running; /* the owner's, while is_running */
};

struct live_subscriber {
    struct bb_list link;
    struct live_entry *entry;
    struct bb_slice identity; /* its own; borrowed from the owner */
    uint64_t version;         /* of the entry's result that it was sent; 0: none */
    uint64_t tx;              /* the newest it has heard of; never goes back */
};

struct live_range {
    struct bb_slice low, high;
};

enum live_end {
    LIVE_VALUE,          /* payload is the value */
    LIVE_FAILURE,        /* payload says what is wrong with function or request */
    LIVE_NEEDS_IDENTITY, /* only of a shared entry */
    LIVE_AWAY            /* the suite could not run it now: again after a pause */
};

struct live_answer {
    enum live_end end;
    uint64_t tx;
    uint64_t hash[2]; /* equal: the same result */
    struct bb_slice payload;
    const struct live_range *ranges;
    size_t range_count;
    bool is_passing; /* a failure of time or memory: may pass without any write */
};

struct live_ops {
    /* Run the entry at a tx >= min_tx; gateway_live_answered follows, now or later. */
    void (*evaluate)(void *arg, struct live_entry *entry, uint64_t min_tx);
    /* The entry's result, or the moment it was read at, changed, or somebody new watches it: send
     * it to subscribers for whom gateway_live_can_send holds, and tell with gateway_live_sent. */
    void (*publish)(void *arg, struct live_entry *entry);
    /* The subscriber's past is void: its next result may be older. */
    void (*resync)(void *arg, struct live_subscriber *subscriber);
};

struct live_options {
    const struct live_ops *ops;
    void *arg;
    size_t running_max; /* evaluations at once */
    size_t bytes_max;   /* entries; beyond: no new ones */
    size_t ring_bytes_max;
    uint64_t idle_us; /* how long an unwatched entry is kept */
};

struct live *gateway_live_new(struct bb_ctx *ctx, const struct live_options *options);
/* All subscribers must have left. Accepts NULL. Entries that run are freed, too. */
void gateway_live_free(struct live *live);

/*
 * Begin to watch. `after_tx`: what the subscriber has seen already; nothing older is sent to it.
 * `subscriber->identity` is set. BB_OVERLOADED: memory for live queries is used up.
 */
int gateway_live_subscribe(struct bb_ctx *ctx, struct live *live, const struct live_key *key,
                           struct live_subscriber *subscriber, uint64_t after_tx);
void gateway_live_unsubscribe(struct live_subscriber *subscriber);
/* What it has seen does not exist here: it takes any result. */
void gateway_live_forget(struct live_subscriber *subscriber);
/* May the subscriber be sent its entry's result now? */
bool gateway_live_can_send(const struct live_subscriber *subscriber);
/* The moment that goes with the result: the result holds there, and nothing newer is known to
 * differ. */
uint64_t gateway_live_result_tx(const struct live_entry *entry);
void gateway_live_sent(struct live_subscriber *subscriber, uint64_t tx);

void gateway_live_answered(struct live_entry *entry, const struct live_answer *answer);

/* The feed: each record's keys in order of tx, then gateway_live_advance once for what gathered. */
void gateway_live_write(struct live *live, uint64_t tx, const struct bb_slice *keys,
                        size_t key_count);
void gateway_live_advance(struct live *live, uint64_t cursor);
/* The feed goes on from `cursor` and what lies between is unknown: everything runs again. */
void gateway_live_skip(struct live *live, uint64_t cursor);
/* Another history began (another cluster, or the data went back): forget all moments. */
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

#endif
