/*
 * Key intervals [low, high), each with the tx from which on its content is known: ranges, which are
 * disjoint, and points, which hold one key each and may lie in a range.
 *
 * Most are points, and only found by their key or let go, so they are in a hash alone: what they
 * cost does not depend on how many there are.
 *
 * Ownership: keys are copied. Threads: one. Durability: none. Ranges: a treap ordered by `low`.
 */
#ifndef WORKER_COVERAGE_H
#define WORKER_COVERAGE_H

#include "bb/base.h"

struct coverage;
struct cover {
    struct bb_slice low, high;
    uint64_t from; /* every key inside is exactly known for all tx >= from */
    bool is_used;  /* since the eviction's hand passed */
    bool is_point;
};

struct coverage *worker_coverage_new(void);
void worker_coverage_free(struct coverage *set); /* accepts NULL */
/* The same bit by bit, of one that nobody uses any more: so many intervals at most. True: it is
 * gone. */
bool worker_coverage_free_some(struct coverage *set, size_t count);
size_t worker_coverage_count(const struct coverage *set);
size_t worker_coverage_bytes(const struct coverage *set);
/* How many were ever added. */
uint64_t worker_coverage_added(const struct coverage *set);

/* Of the point and the range that hold `key` the one that is known from the older tx; NULL: none.
 * Results live until the set changes. */
struct cover *worker_coverage_at(struct coverage *set, struct bb_slice key);
/* Is there any? */
bool worker_coverage_has(struct coverage *set, struct bb_slice key);
bool worker_coverage_has_point(const struct coverage *set, struct bb_slice key);
/* The range that holds `key`; NULL: none. */
struct cover *worker_coverage_range_at(struct coverage *set, struct bb_slice key);
/* The first range with low >= key; the last one with low < key. NULL: none. */
struct cover *worker_coverage_next(struct coverage *set, struct bb_slice key);
struct cover *worker_coverage_before(struct coverage *set, struct bb_slice key);
/* The next one when going around all of them, points and ranges, for ever. The set is not empty. */
struct cover *worker_coverage_around(struct coverage *set);
/* [low, high) is known from `from` on, as a range: a scan finds it. Parts that are known from an
 * older tx keep it. */
void worker_coverage_add(struct coverage *set, struct bb_slice low, struct bb_slice high,
                         uint64_t from);
/* The same of one key. Whoever goes down a range does not find it. */
void worker_coverage_add_point(struct coverage *set, struct bb_slice key, uint64_t from);
void worker_coverage_remove(struct coverage *set, struct cover *cover);
/* Intervals whose content is known from a later tx only are forgotten. */
void worker_coverage_drop_after(struct coverage *set, uint64_t tx);
/* The same of the point of `key`. */
void worker_coverage_drop_point_after(struct coverage *set, struct bb_slice key, uint64_t tx);

#endif
