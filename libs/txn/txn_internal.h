/*
 * What the files of libs/txn share: the catalog's and the transaction's state.
 */
#ifndef TXN_INTERNAL_H
#define TXN_INTERNAL_H

#include "bb/txn.h"

enum txn_index_kind {
    TXN_BY_ID,
    TXN_BY_CREATION_TIME,
    TXN_BY_KEY,
    TXN_DECLARED
};

struct txn_index {
    struct bb_slice name;
    uint32_t id;
    enum txn_index_kind kind;
    bool is_ready;
    bool is_failed;                /* has not all documents and never will: nobody writes it */
    struct bb_slice error;         /* why it failed, and what to do */
    int64_t done, total;           /* of a backfill */
    const struct bb_slice *fields; /* paths; of built-in indexes the system field */
    size_t field_count;
};

/* The key of a document by its id, and behind it the zero that makes it the key after that one:
 * both ends of the range of one document. */
struct txn_point {
    uint8_t key[21];
};
enum {
    TXN_DOC_KEY_SIZE = 20
};

struct txn_table {
    struct bb_slice name;
    uint32_t number;
    struct txn_point version;        /* of its row in _tables: another one when the table changes */
    size_t slot;                     /* position in the catalog */
    const struct txn_index *indexes; /* built-in ones first: by_id, by_creation_time, by_key */
    size_t index_count;
    size_t field_count_max; /* of any of its indexes */
};

struct txn_variable {
    struct bb_slice name, value;
};

struct bb_txn_catalog {
    struct bb_arena *arena;
    struct txn_table *tables; /* sorted by name */
    size_t table_count;
    struct txn_variable *variables; /* sorted by name */
    size_t variable_count;
    struct txn_point deployment; /* the row of what runs */
};

/* catalog.c */
void txn_point_set(struct txn_point *point, uint32_t table, const struct bb_id *id);
const struct txn_table *txn_table_by_number(const struct bb_txn_catalog *catalog, uint32_t number);
const struct txn_table *txn_table_by_name(const struct bb_txn_catalog *catalog,
                                          struct bb_slice name);
const struct txn_index *txn_index_by_name(const struct txn_table *table, struct bb_slice name);
static inline bool txn_table_is_system(const struct txn_table *table)
{
    return table->number < BB_TABLE_COUNT_SYSTEM;
}

/* One document that the transaction knows something about. */
struct txn_doc {
    struct txn_doc *next; /* in its hash chain */
    const struct txn_table *table;
    struct bb_id id;
    struct txn_point point;
    bool is_known;     /* `base` holds what the snapshot has, or nobody can have written it */
    bool is_wanted;    /* its read is in the list */
    bool is_point;     /* its read range is recorded */
    bool is_dirty;     /* `current` takes the place of `base` */
    bool is_listed;    /* it is in txn->written */
    bool is_inherited; /* `base` is what a transaction before this one wrote; in txn->inherited */
    struct bb_slice base, current; /* data == NULL: absent */
};

/* The rows that own writes give an index, in key order: merged into scans of it. */
struct txn_overlay_row {
    struct bb_slice key;
    struct txn_doc *doc;
};
struct txn_overlay {
    struct txn_overlay *next;
    const struct txn_table *table;
    const struct txn_index *index;
    struct txn_overlay_row *rows;
    size_t count, capacity;
};

/* One entry of an answer to a scan. */
struct txn_page_row {
    struct bb_slice key, value; /* value: the document, empty in a keys-only scan */
};
/* An answer to a scan that may outlive the transaction: in one block, and held by a count. */
struct txn_page {
    size_t refs, bytes;
    size_t count;
    bool is_complete;
    struct txn_page_row rows[]; /* what they point to lies behind them */
};
/* A page that the transaction has read. */
struct txn_held {
    struct txn_held *next, *next_unread;
    struct txn_page *page; /* NULL: its rows live in the transaction's memory */
    const struct txn_table *table;
    const struct txn_page_row *rows;
    size_t count;
};

struct txn_row {
    struct bb_slice key, value;
    struct txn_doc *doc; /* of an own write, else NULL: `value` is what the snapshot has */
};

struct txn_scan {
    const struct txn_table *table;
    const struct txn_index *index;
    struct bb_slice low, high; /* the range that is left to the scan when it opens */
    struct bb_slice asked;     /* of a traced transaction: BBV array of steps */
    uint64_t query_hash;       /* what a cursor must fit */
    bool is_descending, is_keys_only, is_untracked;
    struct bb_slice end_key; /* of an end cursor; data == NULL: no bound but the range */
    bool is_wanted;
    bool is_snapshot_done;    /* no more rows beyond those buffered */
    bool is_ended;            /* consumed to its end */
    bool is_touched;          /* something was asked of it: it has a range */
    struct bb_slice covered;  /* ascending: next low; descending: next high, for the next page */
    struct bb_slice position; /* key of the last consumed row; data == NULL: none */
    const struct txn_page_row *rows; /* of the page */
    size_t row_at, row_count;
    uint64_t rows_total, bytes_total, counted;
};

struct txn_want {
    struct txn_doc *doc;   /* a get */
    struct txn_scan *scan; /* or a page */
};

struct txn_undo {
    struct txn_doc *doc;
    bool was_dirty;
    struct bb_slice old;
};

/* An entry that is written without its document: an index is being filled, or cleaned. */
struct txn_index_only {
    struct txn_doc *doc;
    struct bb_slice key;
    bool is_removal;
};

struct bb_txn {
    struct bb_arena *arena;
    struct bb_txn_options options;
    struct bb_value_builder *builder;
    struct bb_buf scratch;

    struct txn_doc **buckets;
    size_t bucket_count, doc_count;

    struct bb_txn_read *reads;
    struct txn_want *wants;
    size_t want_count, want_capacity;

    struct bb_txn_range *ranges; /* points, version rows */
    size_t range_count, range_capacity;
    bool *used_tables;
    bool *used_variables;
    bool is_environment_listed;

    struct txn_scan **scans;
    size_t scan_count, scan_capacity;
    struct txn_held *held;   /* all pages */
    struct txn_held *unread; /* those whose documents have no txn_doc yet */

    struct txn_doc *request_row; /* of the client's key, when the end has written one */
    struct txn_doc **written;
    size_t written_count, written_capacity;
    struct txn_doc **inherited;
    size_t inherited_count, inherited_capacity;
    bool has_ended, is_rolled_back;
    struct txn_undo *undo;
    size_t undo_count, undo_capacity;
    struct txn_overlay *overlays;
    struct txn_index_only *index_only;
    size_t index_only_count, index_only_capacity;

    uint64_t id_count;
    double creation_time; /* of the last insert */
    uint64_t read_bytes, read_documents, read_ranges, write_bytes;
};

/* txn.c */
struct bb_slice txn_dup(struct bb_txn *txn, struct bb_slice from);
/* The smallest key after `key`. */
struct bb_slice txn_next_key(struct bb_txn *txn, struct bb_slice key);
/* Room for one more in an array that lives in the transaction's memory. */
void *txn_grow(struct bb_txn *txn, void *array, size_t *capacity, size_t count, size_t item_size);
struct txn_doc *txn_doc(struct bb_txn *txn, const struct txn_table *table, const struct bb_id *id);
/* NULL when nothing is known about it. */
struct txn_doc *txn_doc_find(const struct bb_txn *txn, const struct txn_table *table,
                             const struct bb_id *id);
/* Until the document's state is known BB_PENDING; records the point. A read that comes before a
 * write does not count as one of the ranges that are limited. */
int txn_doc_read(struct bb_ctx *ctx, struct bb_txn *txn, struct txn_doc *doc, bool is_for_write);
void txn_doc_know(struct bb_txn *txn, struct txn_doc *doc, struct bb_slice value);
/* Notes that the transaction reads from a page; takes a reference when it is a counted one. */
void txn_hold(struct bb_txn *txn, const struct txn_scan *scan, struct txn_page *page);
/* Its rows in the snapshot say nothing any more: the overlays have those that count. */
static inline bool txn_doc_is_overlaid(const struct txn_doc *doc)
{
    return doc->is_dirty || doc->is_inherited;
}
static inline struct bb_slice txn_doc_key(const struct txn_doc *doc)
{
    return bb_slice(doc->point.key, TXN_DOC_KEY_SIZE);
}
static inline struct bb_slice txn_doc_now(const struct txn_doc *doc)
{
    return doc->is_dirty ? doc->current : doc->base;
}
static inline struct bb_slice txn_row_value(const struct txn_row *row)
{
    return row->doc != NULL ? txn_doc_now(row->doc) : row->value;
}
void txn_want_page(struct bb_txn *txn, struct txn_scan *scan, uint32_t limit);
void txn_range_add(struct bb_txn *txn, struct bb_slice low, struct bb_slice high);
void txn_range_point(struct bb_txn *txn, struct txn_doc *doc);
/* `point` lives as long as the transaction. */
void txn_range_add_point(struct bb_txn *txn, const struct txn_point *point);
int txn_count_read(struct bb_ctx *ctx, struct bb_txn *txn, const struct txn_table *table,
                   uint64_t documents, uint64_t bytes);
int txn_count_range(struct bb_ctx *ctx, struct bb_txn *txn, const struct txn_table *table);

/* environment.c */
int txn_variables_parse(struct bb_ctx *ctx, struct bb_txn_catalog *catalog, struct bb_slice from);

/* lookup.c */
/* Finds the table and puts its version row into the read ranges. */
int txn_table(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
              struct bb_slice name, const struct txn_table **table);
/* BB_READ_ONLY: of a system table that users may read. */
int txn_check_writable(struct bb_ctx *ctx, enum bb_txn_access access,
                       const struct txn_table *table);
/* Parses an id; `*doc` is NULL when its table is unknown. `name` empty: any table. */
int txn_doc_by_id(struct bb_ctx *ctx, struct bb_txn *txn, enum bb_txn_access access,
                  struct bb_slice name, struct bb_slice id, struct txn_doc **doc);

/* keys.c */
/* Appends the document's key in the index; false when it has none there (by_key without _key). */
bool txn_index_key(const struct txn_table *table, const struct txn_index *index,
                   const struct bb_id *id, struct bb_slice document, struct bb_buf *key);
int txn_index_range(struct bb_ctx *ctx, const struct txn_table *table,
                    const struct txn_index *index, struct bb_slice range, struct bb_buf *low,
                    struct bb_buf *high);

/* cursor.c */
/* Narrows a scan that opens to what its cursors leave. BB_BAD_QUERY. */
int txn_cursor_apply(struct bb_ctx *ctx, struct bb_txn *txn, struct txn_scan *scan,
                     const struct bb_txn_scan_options *options);

/* scan.c */
struct txn_scan *txn_scan(struct bb_txn *txn, uint32_t number);
int txn_scan_feed(struct bb_ctx *ctx, struct bb_txn *txn, struct txn_scan *scan,
                  const struct bb_txn_read *read, const struct bb_txn_entry *entries,
                  size_t entry_count, bool is_complete);
int txn_index_not_found(struct bb_ctx *ctx, const struct txn_table *table, struct bb_slice name);
void txn_scan_add(struct bb_txn *txn, struct txn_scan *scan, uint32_t *number);
/* The first `count` rows of a page answer it. */
void txn_scan_feed_page(struct bb_txn *txn, struct txn_scan *scan, struct txn_page *page,
                        size_t count, bool is_complete);
struct bb_id txn_id_of_key(struct bb_slice key);
/* The next row in order; not consumed yet. BB_OK with key.data == NULL: the end, or no page for it
 * yet and `has_rows`: what was consumed so far can be given. */
int txn_scan_peek_more(struct bb_txn *txn, struct txn_scan *scan, uint32_t fetch, bool has_rows,
                       struct txn_row *row);
int txn_scan_consume(struct bb_ctx *ctx, struct bb_txn *txn, struct txn_scan *scan,
                     const struct txn_row *row);
/* What the scan has consumed; false when nothing. */
bool txn_scan_range(struct bb_txn *txn, const struct txn_scan *scan, struct bb_txn_range *range);

/* kept_range.c */
struct txn_kept_ranges;
struct txn_kept_ranges *txn_kept_ranges_new(size_t bytes_max);
void txn_kept_ranges_free(struct txn_kept_ranges *ranges);
void txn_kept_ranges_forget(struct txn_kept_ranges *ranges);
size_t txn_kept_ranges_bytes(const struct txn_kept_ranges *ranges);
void txn_kept_ranges_put(struct txn_kept_ranges *ranges, const struct bb_txn_read *read,
                         const struct bb_txn_answer *answer);
void txn_kept_ranges_end(struct txn_kept_ranges *ranges, uint64_t number, uint64_t at);
/* The page whose first `*count` rows answer `read` at `at`; NULL: it is not known. */
struct txn_page *txn_kept_ranges_find(struct txn_kept_ranges *ranges,
                                      const struct bb_txn_read *read, uint64_t at, size_t *count,
                                      bool *is_complete);
void txn_page_release(struct txn_page *page);

/* overlay.c */
struct txn_overlay *txn_overlay(struct bb_txn *txn, const struct txn_table *table,
                                const struct txn_index *index);
/* The first row beyond the scan's position and inside its range, or NULL. */
const struct txn_overlay_row *txn_overlay_after(const struct txn_overlay *overlay,
                                                const struct txn_scan *scan);
/* Makes `value` (already in the transaction's memory) the document's state. */
void txn_doc_set(struct bb_txn *txn, struct txn_doc *doc, bool is_dirty, struct bb_slice value);

/* document.c */
enum txn_shape {
    TXN_INSERT,
    TXN_REPLACE,
    TXN_PATCH
};
/* The whole document from what the caller gave; checks it. `key`: of a put, else empty. The result
 * is in txn->scratch. */
int txn_document(struct bb_ctx *ctx, struct bb_txn *txn, enum txn_shape shape,
                 const struct txn_doc *doc, struct bb_slice given, struct bb_slice key);

#endif
