/*
 * A world for tests of libs/txn: an ordered map that stands for storage, a catalog, one
 * transaction.
 */
#ifndef TXN_FIXTURE_H
#define TXN_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "bb/txn.h"
#include "common.pb-c.h"

struct world_row {
    struct bb_slice key, value;
};
struct world_range {
    struct bb_slice low, high;
    uint64_t number;
};
struct world {
    struct bb_ctx ctx;
    struct bb_txn_catalog *catalog;
    struct bb_txn *txn;
    struct world_row *rows;
    size_t row_count, row_capacity;
    struct bb_txn_options options;
    uint32_t page_max;  /* answers hold at most so many entries; 0: as many as asked for */
    size_t hop_count;   /* batches of reads since begin */
    size_t entry_count; /* entries that were answered since begin */
    /* Of world_keep: answers are kept from transaction to transaction, and end when the world
     * changes. */
    struct bb_txn_kept *kept;
    uint64_t moment;                 /* one more with each world_apply */
    struct world_range *kept_ranges; /* whose end was not told */
    size_t kept_count, recalled;
    uint64_t numbers;
};

/* Tables "messages" (indexes by_channel [channel], by_author [author, n]; `slow` [n] is
 * backfilling) and "users". */
void world_init(struct world *world);
/* Another catalog, in which `slow` has these JSON fields; the transaction begins anew. */
void world_slow_index(struct world *world, const char *fields);
void world_fini(struct world *world);
/* From now on what was read is kept, and answers in place of the world. */
void world_keep(struct world *world, size_t bytes_max);
void world_begin(struct world *world, uint8_t seed);
/* Answers all that is wanted. */
void world_answer(struct world *world);
/* Runs an operation until it is not pending. */
#define WORLD_RUN(world, call)      \
    ({                              \
        int rc_ = (call);           \
        while (rc_ == BB_PENDING) { \
            world_answer(world);    \
            rc_ = (call);           \
        }                           \
        rc_;                        \
    })
/* Ends the transaction; the body lives until the next begin. */
void world_end(struct world *world, struct bb_txn_output *output);
void world_apply(struct world *world, struct bb_slice body);
/* Ends and applies; whether there was a body. */
bool world_commit(struct world *world);
Bb__Proto__TxBody *world_unpack(
    struct bb_slice body); /* free with bb__proto__tx_body__free_unpacked */
/* The snapshot as it is, copied and compared. */
void world_copy(struct world *to, const struct world *from);
void world_free_copy(struct world *copy);

/* BBV of JSON; lives until world_fini. */
struct bb_slice value_of(const char *json);
const char *json_of(struct bb_slice value);

/* Shorthands that must succeed. */
const char *must_insert(struct world *world, const char *table, const char *json);
struct bb_slice must_get(struct world *world, const char *id);
/* JSON array of documents without system fields; `range` JSON, `want` 0: all. */
const char *must_scan(struct world *world, const char *table, const char *index, const char *range,
                      bool is_descending, uint32_t want);
/* `{"a":1,"_id":..}` -> `{"a":1}` */
const char *plain(struct bb_slice document);

#define S(text) bb_slice_str(text)

#endif
