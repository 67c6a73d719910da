/*
 * A transaction as consumers of the feed see it: JSON of one record, for one view. Pure.
 *
 * {tx, prev, time, fn, identity, requestId, changes: [{table, id, op, ..}]}: `tx` is the database
 * after the transaction, `prev` the one before it.
 */
#ifndef GATEWAY_TXFEED_RECORD_H
#define GATEWAY_TXFEED_RECORD_H

#include "common.pb-c.h"
#include "txfeed_tables.h"

#include "bb/value.h"

enum txfeed_include {
    TXFEED_KEYS, /* table, id and op only */
    TXFEED_AFTER,
    TXFEED_DIFF, /* of an update: `fields` that have a new value, `removed` names */
    TXFEED_BOTH
};

/* What a consumer wants to see. Equal views share the encoded text. */
struct txfeed_view {
    enum txfeed_include include;
    enum bb_json_format format;
    bool hides_acks;        /* leaves out transactions that only moved positions of consumers */
    bool hides_identity;    /* does not show who made a transaction */
    struct bb_slice tables; /* names, each ended by a NUL; empty: all tables of the application */
};

bool gateway_txfeed_view_equal(const struct txfeed_view *a, const struct txfeed_view *b);
/* Is a table of this name, with this number, in the view? */
bool gateway_txfeed_view_has(const struct txfeed_view *view, uint32_t number, const char *name);
/* "keys", "after", "diff", "both"; empty: after. BB_BAD_REQUEST. */
int gateway_txfeed_parse_include(struct bb_ctx *ctx, struct bb_slice text,
                                 enum txfeed_include *include);
/* "a,b" as view.tables, appended to `to`. BB_BAD_REQUEST: an empty name, more than 100. */
int gateway_txfeed_parse_tables(struct bb_ctx *ctx, struct bb_slice text, struct bb_buf *to);

/* Unpacks and checks one TxRecord of the feed. BB_CORRUPT or BB_BAD_REQUEST; slices of the result
 * live in `arena`. */
int gateway_txfeed_unpack(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice bytes,
                          Bb__Proto__TxRecord **record, Bb__Proto__TxBody **body);
/* Remember the tables that the transaction made or dropped. */
void gateway_txfeed_learn(struct txfeed_tables *tables, const Bb__Proto__TxBody *body);
/* Appends the JSON object; false, and nothing appended: the view does not show this transaction.
 * With a filter these are the ones without a change in its tables, without one there are none. */
bool gateway_txfeed_encode(struct bb_buf *to, const Bb__Proto__TxRecord *record,
                           const Bb__Proto__TxBody *body, const struct txfeed_tables *tables,
                           const struct txfeed_view *view);

#endif
