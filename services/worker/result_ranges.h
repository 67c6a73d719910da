/*
 * Which kept results rest on which ranges of keys: what a write ends.
 *
 * A range is here once, however many results read it (all of a deployment read its version row),
 * with a list of them. Single documents are found by a hash, the others in a tree of intervals: a
 * key that nobody read costs a look into each, and one that somebody read what it ends.
 *
 * Ownership: keys are copied, the uses are the caller's. Threads: one. Durability: none.
 */
#ifndef WORKER_RESULT_RANGES_H
#define WORKER_RESULT_RANGES_H

#include "common.pb-c.h"

#include "bb/base.h"

struct result;
struct result_range;
struct result_ranges;

/* That `result` read the range. */
struct result_use {
    struct bb_list link; /* of the range's results */
    struct result_range *range;
    struct result *result;
};

struct result_ranges *worker_result_ranges_new(void);
/* No result uses any. Accepts NULL. */
void worker_result_ranges_free(struct result_ranges *ranges);
/* `low` is below `high`; `use->result` is set. */
void worker_result_ranges_add(struct result_ranges *ranges, struct result_use *use,
                              struct bb_slice low, struct bb_slice high);
void worker_result_ranges_remove(struct result_ranges *ranges, struct result_use *use);
/* As it goes into a reply; lives as long as the use. */
Bb__Proto__Range *worker_result_range_message(const struct result_use *use);
/* Calls `each` for each result that read `key`, for some more than once. It must not change what is
 * here. */
void worker_result_ranges_at(struct result_ranges *ranges, struct bb_slice key,
                             void (*each)(void *arg, struct result *result), void *arg);
size_t worker_result_ranges_count(const struct result_ranges *ranges);
size_t worker_result_ranges_bytes(const struct result_ranges *ranges);

#endif
