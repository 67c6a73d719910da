#include "txn_internal.h"

/* Cursors of paginate: docs/formats/catalog.md. */
enum {
    CURSOR_VERSION = 1,
    CURSOR_KEY = 0,   /* after this key */
    CURSOR_END = 1,   /* nothing comes after */
    CURSOR_START = 2, /* nothing was consumed */
    CURSOR_HEAD = 10  /* version, hash, kind */
};

static int bad_cursor(struct bb_ctx *ctx, const struct txn_scan *scan)
{
    return bb_fail(ctx, BB_BAD_QUERY,
                   "paginate on \"%.*s\": this cursor was not made by exactly this query (table, "
                   "index, range, order and filter). Start again with cursor: null.",
                   BB_SLICE_ARG(scan->table->name));
}

/* The cursor's kind and key (which lives in the transaction's memory). */
static int parse_cursor(struct bb_ctx *ctx, struct bb_txn *txn, const struct txn_scan *scan,
                        struct bb_slice text, uint8_t *kind, struct bb_slice *key)
{
    bb_buf_clear(&txn->scratch);
    if (bb_base64_decode(ctx, text, &txn->scratch) != BB_OK || txn->scratch.size < CURSOR_HEAD ||
        txn->scratch.data[0] != CURSOR_VERSION ||
        bb_get_le64(txn->scratch.data + 1) != scan->query_hash)
        return bad_cursor(ctx, scan);
    *kind = txn->scratch.data[9];
    *key = txn_dup(txn, bb_slice(txn->scratch.data + CURSOR_HEAD, txn->scratch.size - CURSOR_HEAD));
    if (*kind == CURSOR_KEY
            ? bb_slice_compare(*key, scan->low) < 0 || bb_slice_compare(*key, scan->high) >= 0
            : *kind > CURSOR_START)
        return bad_cursor(ctx, scan);
    return BB_OK;
}

static void append_cursor(const struct txn_scan *scan, uint8_t kind, struct bb_slice key,
                          struct bb_buf *text)
{
    struct bb_buf raw;

    bb_buf_init(&raw);
    bb_buf_append_byte(&raw, CURSOR_VERSION);
    bb_put_le64(bb_buf_reserve(&raw, 8), scan->query_hash);
    raw.size += 8;
    bb_buf_append_byte(&raw, kind);
    bb_buf_append_slice(&raw, key);
    bb_base64_append(text, bb_buf_slice(&raw));
    bb_buf_fini(&raw);
}

int txn_cursor_apply(struct bb_ctx *ctx, struct bb_txn *txn, struct txn_scan *scan,
                     const struct bb_txn_scan_options *options)
{
    struct bb_slice key = BB_SLICE_EMPTY;
    uint8_t kind = CURSOR_START;
    int rc;

    if (options->end_cursor.size > 0) {
        rc = parse_cursor(ctx, txn, scan, options->end_cursor, &kind, &key);
        if (rc != BB_OK)
            return rc;
        if (kind == CURSOR_KEY) {
            scan->end_key = key;
            if (scan->is_descending) {
                scan->low = key;
            } else {
                scan->high = txn_next_key(txn, key);
            }
        }
    }
    if (options->cursor.size > 0) {
        rc = parse_cursor(ctx, txn, scan, options->cursor, &kind, &key);
        if (rc != BB_OK)
            return rc;
        if (kind == CURSOR_END)
            scan->is_ended = true;
        if (kind == CURSOR_KEY) {
            scan->position = key;
            if (scan->is_descending) {
                scan->high = key;
            } else {
                scan->low = txn_next_key(txn, key);
            }
        }
    }
    return BB_OK;
}

int bb_txn_scan_cursor(struct bb_ctx *ctx, struct bb_txn *txn, uint32_t number, struct bb_buf *text,
                       bool *is_end)
{
    const struct txn_scan *scan = txn_scan(txn, number);

    (void)ctx; /* cannot fail today */
    *is_end = scan->is_ended && scan->end_key.data == NULL;
    if (*is_end) {
        append_cursor(scan, CURSOR_END, BB_SLICE_EMPTY, text);
    } else if (scan->is_ended) {
        append_cursor(scan, CURSOR_KEY, scan->end_key, text);
    } else if (scan->position.data != NULL) {
        append_cursor(scan, CURSOR_KEY, scan->position, text);
    } else {
        append_cursor(scan, CURSOR_START, BB_SLICE_EMPTY, text);
    }
    return BB_OK;
}
