/*
 * The coherent cache of a worker: what is known of the database, as an ordered map of versions and
 * a set of intervals in which everything is known.
 *
 * The sequenced feed is applied for all keys, so the map holds every write since the oldest moment
 * that a reader may ask for (the overlay); what lies in a covered interval stays when that need is
 * over. A read at S walks the covered parts and names the parts that storage must deliver. Storage
 * delivers them at B <= S, and every write in (B, S] is in the map already: the fill is coherent at
 * once.
 *
 * Ownership: everything is copied. Threads: one. Durability: none, all can be read again.
 * No I/O here: worker.c asks storage for what is needed.
 */
#ifndef WORKER_CACHE_H
#define WORKER_CACHE_H

#include "common.pb-c.h"

#include "bb/base.h"

struct cache;

struct cache *worker_cache_new(size_t bytes_max);
void worker_cache_free(struct cache *cache); /* accepts NULL */
/* Forget everything; the memory goes with what is pruned. The feed goes on after `base`: reads
 * below it bypass the cache. */
void worker_cache_reset(struct cache *cache, uint64_t base);
/* One record of the feed, in order. Returns a bit (1 << table) for each system table that it wrote.
 */
uint32_t worker_cache_apply(struct bb_ctx *ctx, struct cache *cache, const Bb__Proto__TxBody *body,
                            uint64_t tx);
/* An epoch died: what came after `newest` never happened. */
void worker_cache_drop_after(struct cache *cache, uint64_t newest);
/* Nobody will read below `horizon` any more, nothing above it that is not durable is touched: drop
 * what only older reads need, and evict down to the bound. Each time a part, however much there is;
 * more than comes between two times, so what is over the bound is a small part of it. */
void worker_cache_prune(struct cache *cache, uint64_t horizon);

/* Reads below it bypass the cache. */
uint64_t worker_cache_floor(const struct cache *cache);

struct cache_stats {
    uint64_t hits, misses, bytes, intervals;
    uint64_t leaving; /* of the bytes: was forgotten, and goes */
    uint64_t looks;   /* at intervals, to make room */
    uint64_t ordered; /* keys that were looked at when ranges became known */
};
struct cache_stats worker_cache_stats(const struct cache *cache);

/* ---- one read ---- */

struct read_entry {
    struct bb_slice key, value;
    uint64_t tx;     /* of the document; 0: none, or not known */
    bool is_waiting; /* its document is asked for */
};
/* A part that storage must deliver. */
struct read_need {
    struct bb_slice low, high; /* high empty: a get */
    bool is_descending;
    uint32_t limit, doc_index;
};
struct cache_read {
    /* Set by the caller; slices outlive the read. */
    struct bb_arena *arena;
    struct bb_slice low, high; /* high empty: a get */
    bool is_descending;
    uint32_t limit, doc_index;
    uint64_t snapshot;
    size_t bytes_max; /* stop (not complete) when this much is collected */
    /* The answer, when step has returned true. */
    struct read_entry *entries;
    size_t entry_count, bytes;
    bool is_complete;
    int status; /* BB_OK, BB_CORRUPT, BB_TOO_LARGE (the arena) */
    /* The cache's. */
    size_t entry_capacity;
    struct bb_slice left_low, left_high;
    bool is_started, is_bypass, is_walked;
    bool is_first; /* answered by the first step */
    uint64_t since,
        newest;       /* of what the answer is made of: where it begins to hold; what is known */
    uint64_t changes; /* of the cache, when it was answered */
    struct read_need *needs; /* when step has returned false */
    size_t need_count, need_capacity;
};
/* Go as far as the cache knows. True: answered. False: read->needs name what is missing. */
bool worker_cache_step(struct cache *cache, struct cache_read *read);

/* Since when the document `key` is what it was at `snapshot`, when nothing newer is known up to the
 * newest record of the feed; 0: there is something newer, or it is not known. */
uint64_t worker_cache_since(const struct cache *cache, struct bb_slice key, uint64_t snapshot);

/* The same for the answer of a scan, of a read that its first step answered: the keys in [low,
 * high), and the documents behind them. The slices live as long as the read. */
uint64_t worker_cache_since_range(const struct cache *cache, struct cache_read *read,
                                  struct bb_slice *low, struct bb_slice *high);

/* What storage said at `at` to a need. */
struct fill_entry {
    struct bb_slice key, value;
    uint64_t tx; /* of the document; 0: none came with it */
};
struct cache_fill {
    uint64_t at;
    const struct fill_entry *entries;
    size_t count;
    bool is_complete; /* all of the need's range */
};
void worker_cache_fill(struct bb_ctx *ctx, struct cache *cache, struct cache_read *read,
                       const struct read_need *need, const struct cache_fill *fill);

#endif
