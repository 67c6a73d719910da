/* The cache as cache.c (feed, letting go) and cache_read.c (reads, fills) see it. */
#ifndef WORKER_CACHE_INTERNAL_H
#define WORKER_CACHE_INTERNAL_H

#include "bb/mvcc.h"

#include "cache.h"
#include "coverage.h"
#include "wanted.h"

struct trail;
/* What was forgotten as a whole and goes bit by bit. NULL: is gone. */
struct leaving {
    struct leaving *next;
    struct bb_mvcc *map;
    struct coverage *covered;
    struct trail *oldest;
};
struct cache {
    uint64_t found_count; /* points that the map answered */
    /* A key is in order if a covered range holds it, else loose: single documents, which are
     * most, need no place among millions. So whoever goes through a covered range finds all there
     * is of it since it is known. */
    struct bb_mvcc *map;
    struct coverage *covered;
    struct trail *oldest, *newest;
    struct wanted *wanted; /* indexes whose keys are in order when they are written, too */
    struct leaving *leaving;
    size_t bytes_max, trail_bytes;
    uint64_t applied; /* the newest record */
    uint64_t filled;  /* the newest moment of a fill */
    uint64_t looks;   /* covers that were looked at to make room */
    uint64_t ordered; /* keys that were looked at for ranges that became known */
    uint64_t floor;   /* reads below it bypass the cache */
    uint64_t pruned;  /* not above the floor: what was written until then is there if covered */
    uint64_t pending; /* keys that were applied since it let go of some, */
    uint64_t paid;    /* and what it had done when it last made room */
    uint64_t changes; /* records that were applied or dropped */
    uint64_t hits, misses;
};

/* What was written in [low, high) after `since` has its place in the order. */
void worker_cache_order(struct cache *cache, struct bb_slice low, struct bb_slice high,
                        uint64_t since);

#endif
