/*
 * What is deployed: tables, indexes and functions, as the system tables say at one moment, and how
 * long that stays true.
 *
 * Ownership: a catalog is counted; the set holds the newest ones. Threads: one. No I/O: the rows
 * come from reads through the cache.
 */
#ifndef WORKER_CATALOG_H
#define WORKER_CATALOG_H

#include "bb/base.h"

#include "cache.h"

enum function_kind {
    FUNCTION_QUERY = 1,
    FUNCTION_MUTATION = 2,
    FUNCTION_ACTION = 3
};
struct function {
    struct bb_slice path; /* as the `_functions` row names it */
    enum function_kind kind;
    bool is_internal;
    uint64_t hash;
};

struct catalog {
    uint64_t from, to; /* true for snapshots in [from, to) */
    uint64_t id;       /* the slots' name for it */
    uint64_t code;     /* equal for catalogs with the same modules */
    bool has_deployment;
    struct bb_slice value;                          /* BBV for the slots */
    struct bb_slice backfill_table, backfill_index; /* data NULL: nothing to do */
    uint64_t backfill_done;
    struct bb_slice clean_table, clean_index; /* of a removed index; data NULL: nothing to do */
    int64_t clean_id;
    size_t function_count;
    /* Private. */
    struct bb_arena *arena;
    struct function *functions; /* open addressing by hash of the path */
    size_t bucket_count;
    unsigned references;
};

/* The reads whose answers make a catalog: deployment row, tables, indexes, functions, environment.
 */
#define CATALOG_READS 5
void worker_catalog_reads(struct bb_arena *arena, uint64_t snapshot,
                          struct cache_read reads[CATALOG_READS]);
/* One read for the modules' rows at `snapshot`. */
struct cache_read worker_catalog_modules_read(struct bb_arena *arena, uint64_t snapshot);

struct catalogs;
struct catalogs *worker_catalogs_new(void);
void worker_catalogs_free(struct catalogs *set); /* accepts NULL */
/* The one that holds at `snapshot`; NULL: it must be loaded. */
struct catalog *worker_catalogs_at(struct catalogs *set, uint64_t snapshot);
/* The newest one, for hints only; may be NULL. */
const struct catalog *worker_catalogs_newest(const struct catalogs *set);
/* Take in what the reads at `snapshot` found. `newest`: it stays true until the feed says
 * otherwise. BB_CORRUPT: a system row is not what it should be. */
int worker_catalogs_add(struct bb_ctx *ctx, struct catalogs *set, uint64_t snapshot, bool is_newest,
                        const struct cache_read reads[CATALOG_READS], struct catalog **catalog);
/* The feed's record `tx` wrote these system tables (bits). */
void worker_catalogs_written(struct catalogs *set, uint64_t tx, uint32_t tables);
/* History was cut, or records are missing: nothing is known any more. */
void worker_catalogs_forget(struct catalogs *set);
struct catalog *worker_catalog_retain(struct catalog *catalog);
void worker_catalog_release(struct catalog *catalog); /* accepts NULL */

/* NULL: there is no such function. "a/b.js:f" and "a/b:f" are the same; no name means "default". */
const struct function *worker_catalog_find(const struct catalog *catalog, struct bb_slice path);
/* Up to three public functions whose names are near, as "a:b, c:d"; empty when none is. */
void worker_catalog_near(const struct catalog *catalog, struct bb_slice path, struct bb_buf *to);

#endif
