/*
 * Results of queries that hold still: the same query is answered without a run.
 *
 * A result that was evaluated at a durable moment S holds at every moment from S to the cursor of
 * the feed, as long as no record behind S names a key inside of what it read; the record that does
 * ends it at once. So what is found here is what a run at the moment that is asked for would give,
 * byte for byte: a run depends on code and data, which it reads (the version rows of both are among
 * its ranges), on path, arguments and caller, which the result is found by, and on time and chance;
 * what looked at the clock is not kept, and what used chance is found by its seed.
 *
 * A result is kept when its query comes for the second time. What lies between its moment and the
 * cursor is looked through before: the newest keys are remembered as long as somebody may ask.
 *
 * Ownership: everything is copied. Threads: one. Durability: none. No clock, no I/O.
 */
#ifndef WORKER_RESULTS_H
#define WORKER_RESULTS_H

#include "slot.pb-c.h"

#include "bb/base.h"

#define RESULT_VALUE_MAX  (64u << 10)
#define RESULT_RANGES_MAX 64u
#define RESULT_KEYS_MAX   (16u << 10) /* bytes of all ends of its ranges */

struct results;

/* `seed`: of hashes; nobody outside should know it. */
struct results *worker_results_new(size_t bytes_max, uint64_t seed);
void worker_results_free(struct results *results); /* accepts NULL */
/* History was rewritten, or records are missing: nothing is known, the next record is the one after
 * `cursor`. */
void worker_results_forget(struct results *results, uint64_t cursor);
/* The next record of the feed, with all keys that it names. */
void worker_results_written(struct results *results, uint64_t tx, const struct bb_slice *keys,
                            size_t count);

/* What a result depends on, beside the moment. */
struct result_query {
    struct bb_slice path, args, identity, seed;
    bool is_shared; /* it may not look at the identity */
    bool is_admin;  /* may run what is not public */
};
/* What is remembered of one call's query, zero at first. */
struct result_sight {
    uint64_t hash, own_hash;     /* without and with the identity */
    bool was_seen, was_own_seen; /* it came before */
    uint64_t number;             /* of what was found: no other result ever has it; 0: none */
};

/* What the query gives at `snapshot`, which is not after the cursor; NULL: it must be run. Valid
 * until the next change. */
const Bb__Proto__SlotDone *worker_results_find(struct results *results,
                                               const struct result_query *query,
                                               struct result_sight *sight, uint64_t snapshot);
/* A run at `snapshot`, a moment of this line of history, has ended like that: keep it, if it came
 * before, may be kept, and holds still. */
void worker_results_add(struct results *results, const struct result_query *query,
                        const struct result_sight *sight, uint64_t snapshot,
                        const Bb__Proto__SlotDone *done);

struct results_stats {
    uint64_t hits, misses, kept, dropped; /* kept: ever; dropped: of these, by writes */
    size_t count, bytes;
};
struct results_stats worker_results_stats(const struct results *results);

#endif
