/* The cache as cache.c (feed, letting go) and cache_read.c (reads, fills) see it. */
#ifndef WORKER_CACHE_INTERNAL_H
#define WORKER_CACHE_INTERNAL_H

#include "bb/mvcc.h"

#include "cache.h"
#include "coverage.h"

struct trail;
struct cache {
    uint64_t found_count; /* points that the map answered */
    struct bb_mvcc *map;
    struct coverage *covered;
    struct trail *oldest, *newest;
    size_t bytes_max, trail_bytes;
    uint64_t floor;   /* reads below it bypass the cache */
    uint64_t changes; /* records that were applied or dropped */
    uint64_t hits, misses;
};

#endif
