/*
 * A set of disjoint key intervals [low, high), each with the tx from which on its content is known.
 *
 * Ownership: keys are copied. Threads: one. Durability: none. A treap ordered by `low`,
 * and a hash of it.
 */
#ifndef WORKER_COVERAGE_H
#define WORKER_COVERAGE_H

#include "bb/base.h"

struct coverage;
struct cover {
    struct bb_slice low, high;
    uint64_t from; /* every key inside is exactly known for all tx >= from */
    bool is_used;  /* since the eviction's hand passed */
};

struct coverage *worker_coverage_new(void);
void worker_coverage_free(struct coverage *set); /* accepts NULL */
void worker_coverage_clear(struct coverage *set);
size_t worker_coverage_count(const struct coverage *set);
size_t worker_coverage_bytes(const struct coverage *set);

/* The interval that holds `key`; NULL: none. Results live until the set changes. */
struct cover *worker_coverage_at(struct coverage *set, struct bb_slice key);
/* The first interval with low >= key; the last one with low < key. NULL: none. */
struct cover *worker_coverage_next(struct coverage *set, struct bb_slice key);
struct cover *worker_coverage_before(struct coverage *set, struct bb_slice key);
/* [low, high) is known from `from` on. Parts that are known from an older tx keep it. */
void worker_coverage_add(struct coverage *set, struct bb_slice low, struct bb_slice high,
                         uint64_t from);
void worker_coverage_remove(struct coverage *set, struct cover *cover);
/* Intervals whose content is known from a later tx only are forgotten. */
void worker_coverage_drop_after(struct coverage *set, uint64_t tx);

#endif
