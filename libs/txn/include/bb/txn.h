/*
 * One transaction inside a slot: what it reads at its snapshot, what it writes, and what of both
 * the sequencer must know.
 *
 * - Ask, feed, ask again: an operation either completes from what is known or returns BB_PENDING
 * and leaves reads in bb_txn_wanted. The owner fetches them all in one batch, gives each answer to
 *   bb_txn_feed, calls bb_txn_fed, and runs the pending operations again, in the order they came.
 * - Reads see the transaction's own writes, ranges included. Read ranges cover what was consumed,
 * no more. Writes are buffered; savepoints undo them, never the reads.
 * - Deterministic: the same options, operations and answers give the same bytes.
 *
 * Ownership: slices that come out live until the next bb_txn_begin. Threads: one. No I/O.
 */
#ifndef BB_TXN_H
#define BB_TXN_H

#include "bb/base.h"
#include "bb/value.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the catalog: tables and indexes of one deployment (docs/formats/catalog.md) ---- */

struct bb_txn_catalog;
/* Copies `catalog` (BBV). BB_CORRUPT names what is wrong. An empty slice: system tables only. */
int bb_txn_catalog_new(struct bb_ctx *ctx, struct bb_slice catalog, struct bb_txn_catalog **out);
void bb_txn_catalog_free(struct bb_txn_catalog *catalog); /* accepts NULL */

/* ---- a transaction ---- */

struct bb_txn_limits {
    uint64_t document_bytes;
    uint64_t read_bytes;
    uint64_t read_documents;
    uint64_t read_ranges;
    uint64_t write_bytes;
    uint64_t write_documents;
};
void bb_txn_limits_default(struct bb_txn_limits *limits);

/* Who asks. System tables: hidden, some readable, or open in both ways. */
enum bb_txn_access {
    BB_TXN_USER = 0,
    BB_TXN_SYSTEM = 1,
    BB_TXN_PRIVILEGED = 2
};

struct bb_txn_options {
    const struct bb_txn_catalog *catalog; /* lives as long as the transaction */
    struct bb_txn_limits limits;
    uint64_t now_ms;
    uint8_t seed[16];
    bool is_mutation; /* else writing is BB_READ_ONLY */
    bool is_traced;   /* bb_txn_trace tells what each scan was asked for */
};

struct bb_txn;
struct bb_txn *bb_txn_new(void);
void bb_txn_free(struct bb_txn *txn); /* accepts NULL */
/* Forget everything and start anew. */
void bb_txn_begin(struct bb_txn *txn, const struct bb_txn_options *options);
/*
 * Start on top of the transaction that bb_txn_end was called for last: at the same snapshot, with
 * what it wrote (unless it was rolled back) as if that had been committed, and with what it had
 * read. The catalog is the same. Its memory is kept, so a row of such transactions has to have an
 * end.
 */
void bb_txn_begin_after(struct bb_txn *txn, const struct bb_txn_options *options);

/* ---- reads that are wanted ---- */

struct bb_txn_read {
    struct bb_slice low, high; /* a get: high is empty */
    bool is_descending;
    uint32_t limit;     /* entries; never 0 for a range */
    uint32_t doc_index; /* by_id index whose documents are joined; 0: none */
};
struct bb_txn_entry {
    struct bb_slice key, value;
};
size_t bb_txn_wanted(const struct bb_txn *txn, const struct bb_txn_read **reads);
/* The answer of wanted[index]; copies. BB_BAD_REQUEST when it does not fit the question. */
int bb_txn_feed(struct bb_ctx *ctx, struct bb_txn *txn, size_t index,
                const struct bb_txn_entry *entries, size_t entry_count, bool is_complete);
void bb_txn_fed(struct bb_txn *txn); /* all answers are in; the list is empty again */

/*
 * ---- what is kept from transaction to transaction ----
 *
 * Documents, that there is none, and ranges of an index, as answers of earlier reads gave them,
 * each with the moments at which it holds. Bounded; the supervisor says when something ends
 * (docs/formats/slot.md).
 */
struct bb_txn_kept;
struct bb_txn_kept *bb_txn_kept_new(size_t bytes_max);
void bb_txn_kept_free(struct bb_txn_kept *kept); /* accepts NULL */
void bb_txn_kept_forget(struct bb_txn_kept *kept);
size_t bb_txn_kept_bytes(const struct bb_txn_kept *kept); /* of documents, at most bytes_max */
size_t bb_txn_kept_range_bytes(const struct bb_txn_kept *kept); /* as many at most, beside them */

struct bb_txn_answer {
    const struct bb_txn_entry *entries;
    size_t entry_count;
    bool is_complete;
    uint64_t since;  /* the tx since when it holds, and no end is known; 0: it must not be kept */
    uint64_t number; /* of a range: how its end will be told */
};
/* What answered `read`, after bb_txn_feed has taken it. Copies, or does not keep it. */
void bb_txn_kept_answer(struct bb_txn_kept *kept, const struct bb_txn_read *read,
                        const struct bb_txn_answer *answer);
/* Something was written in the range with this number at that tx. */
void bb_txn_kept_end_range(struct bb_txn_kept *kept, uint64_t number, uint64_t at);
/* `value` (empty: no such document) holds since that tx, and no end is known. Copies, or does not
 * keep it. `since` 0: it must not be kept. */
void bb_txn_kept_put(struct bb_txn_kept *kept, struct bb_slice key, struct bb_slice value,
                     uint64_t since);
/* `key` was written at that tx: what was kept before it holds up to there. */
void bb_txn_kept_end(struct bb_txn_kept *kept, struct bb_slice key, uint64_t at);
/* What is known to hold at `at`, valid until the next change; false: nothing is. */
bool bb_txn_kept_find(struct bb_txn_kept *kept, struct bb_slice key, uint64_t at,
                      struct bb_slice *value);
/* Feed all wanted reads that `kept` knows at `at`; the others are listed in `missing` (room for all
 * of them). None missing: bb_txn_fed was called, and the pending operations can run again. */
int bb_txn_recall(struct bb_ctx *ctx, struct bb_txn *txn, struct bb_txn_kept *kept, uint64_t at,
                  uint32_t *missing, size_t *missing_count);

/* ---- reading: BB_OK, BB_PENDING or an IN status ---- */

/* `table` may be empty, else the id must belong to it (BB_BAD_ID). document->data == NULL: there is
 * none. */
int bb_txn_get(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
               struct bb_slice table, struct bb_slice id, struct bb_slice *document);
int bb_txn_get_by_key(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
                      struct bb_slice table, struct bb_slice key, struct bb_slice *document);
/* Whether `id` is an id of that table. Never pending. */
int bb_txn_normalize_id(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
                        struct bb_slice table, struct bb_slice id, bool *is_id);

struct bb_txn_scan_options {
    enum bb_txn_access access;
    struct bb_slice table;
    struct bb_slice index; /* empty: by_creation_time */
    struct bb_slice range; /* BBV array of [op, field, value], op eq gt gte lt lte; empty: all */
    bool is_descending;
    bool is_keys_only;          /* rows carry no documents (count) */
    bool is_untracked;          /* not in the read ranges; privileged callers only */
    struct bb_slice filter;     /* text that stands for the filter, goes into cursors */
    struct bb_slice cursor;     /* go on after this one; empty: from the start */
    struct bb_slice end_cursor; /* stop at this one; empty: no */
};
/* Never pending. Scans are numbered from 0 in a transaction. */
int bb_txn_scan_open(struct bb_ctx *ctx, struct bb_txn *txn,
                     const struct bb_txn_scan_options *options, uint32_t *scan);
/*
 * Consume up to `want` rows (0: 1,000; at most 1 MB of them) and append their documents to an array
 * that is open in `to`. BB_OK with no row means the end. `prefetch`: how many entries to ask for
 * when something must be fetched, at least `want`. `is_done` is set when the end of the range was
 * seen.
 */
int bb_txn_scan_next(struct bb_ctx *ctx, struct bb_txn *txn, uint32_t scan, uint32_t want,
                     uint32_t prefetch, struct bb_value_builder *to, uint32_t *row_count,
                     bool *is_done);
/* Has this transaction opened the scan, for documents? */
bool bb_txn_has_scan(const struct bb_txn *txn, uint32_t scan);
/* Counts the rest of a keys-only scan; pending until all is counted. */
int bb_txn_scan_count(struct bb_ctx *ctx, struct bb_txn *txn, uint32_t scan, uint64_t count_max,
                      uint64_t *count);
/* Text that continues the same query after the last consumed row. `is_end`: nothing comes after. */
int bb_txn_scan_cursor(struct bb_ctx *ctx, struct bb_txn *txn, uint32_t scan, struct bb_buf *text,
                       bool *is_end);

/* ---- the deployment's environment variables, as the catalog has them: never pending ---- */

/* value->data == NULL: there is none of that name. The variable's row is in the read ranges, of
 * which there may be too many (BB_READ_LIMIT). */
int bb_txn_environment(struct bb_ctx *ctx, struct bb_txn *txn, struct bb_slice name,
                       struct bb_slice *value);
/* Appends all names to an array that is open in `to`. All rows are in the read ranges. */
void bb_txn_environment_names(struct bb_txn *txn, struct bb_value_builder *to);
/*
 * `text` with each value that this transaction has read (of 8 bytes or more) replaced by its name
 * in brackets, also where the text was cut inside of it (at the end, or at "..."): for what goes to
 * logs. A copy in `arena`, or `text` itself when there is nothing.
 */
struct bb_slice bb_txn_redact(const struct bb_txn *txn, struct bb_arena *arena,
                              struct bb_slice text);

/* ---- writing: BB_OK, BB_PENDING or an IN status; nothing has changed unless BB_OK ---- */

/* `id` gets the text of the new document's id. */
int bb_txn_insert(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
                  struct bb_slice table, struct bb_slice document, struct bb_buf *id);
int bb_txn_patch(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
                 struct bb_slice table, struct bb_slice id, struct bb_slice changes);
int bb_txn_replace(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
                   struct bb_slice table, struct bb_slice id, struct bb_slice document);
int bb_txn_delete(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
                  struct bb_slice table, struct bb_slice id);
/* Insert or change the document with this key; `is_whole`: fields that are missing are removed. */
int bb_txn_put(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
               struct bb_slice table, struct bb_slice key, struct bb_slice document, bool is_whole,
               struct bb_buf *id);
/* Delete those of `names` that exist: ids, or keys of `table` when is_keys. */
int bb_txn_retract(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
                   struct bb_slice table, bool is_keys,
                   struct bb_slice names /* BBV array of strings */, uint64_t *count);
/* Consume up to `want` rows of an open scan over by_id and add the entries that `index` of its
 * table lacks for them; privileged callers only. BB_KEY_TOO_LARGE names the document. */
int bb_txn_backfill(struct bb_ctx *ctx, struct bb_txn *txn, uint32_t scan, struct bb_slice index,
                    uint32_t want, uint32_t *row_count, bool *is_done);
/* A scan over the entries after `after` (empty: all) of an index that the catalog does not have any
 * more; `table` and `index` are numbers. Privileged callers only. Never pending. */
int bb_txn_clean_open(struct bb_ctx *ctx, struct bb_txn *txn, uint32_t table, uint32_t index,
                      struct bb_slice after, uint32_t *scan);
/* Consume up to `want` entries of it and remove them; `last`: the last one, or what the scan began
 * after. */
int bb_txn_clean(struct bb_ctx *ctx, struct bb_txn *txn, uint32_t scan, uint32_t want,
                 uint32_t *row_count, struct bb_slice *last, bool *is_done);

/* Savepoints nest; `mark` comes from bb_txn_savepoint. */
size_t bb_txn_savepoint(const struct bb_txn *txn);
void bb_txn_rollback(struct bb_txn *txn, size_t mark);

/* ---- the end ---- */

struct bb_txn_range {
    struct bb_slice low, high;
};
struct bb_txn_finish {
    struct bb_slice request_id, function, identity;
    struct bb_slice value;                     /* kept up to 64 KB */
    struct bb_slice client_key, client_digest; /* a row of _requests when set */
    bool is_rolled_back;                       /* the function threw: ranges only */
};
struct bb_txn_output {
    const struct bb_txn_range *ranges; /* sorted, disjoint */
    size_t range_count;
    struct bb_slice body; /* packed TxBody; empty when nothing changed */
    uint64_t rows, bytes; /* read */
};
int bb_txn_end(struct bb_ctx *ctx, struct bb_txn *txn, const struct bb_txn_finish *finish,
               struct bb_txn_output *output);
/* What was read and written, as the fields of a JSON object and its end ("scans":[..],..}): each
 * scan with table, index, range, order, rows and bytes, each document that was read or written by
 * itself, and sums. After bb_txn_end. */
void bb_txn_trace(const struct bb_txn *txn, struct bb_buf *json);

#ifdef __cplusplus
}
#endif

#endif
