/*
 * Names of tables by number, as the transaction feed shows them. Numbers are never given twice, so
 * what was once known stays true, also for a table that has been dropped.
 *
 * Ownership: names are copied. Threads: one. Durability: none; rows of `_tables` bring it all back.
 */
#ifndef GATEWAY_TXFEED_TABLES_H
#define GATEWAY_TXFEED_TABLES_H

#include "bb/base.h"

struct txfeed_table {
    uint32_t number;
    char *name;
};

struct txfeed_tables {
    struct txfeed_table *items; /* in order of number */
    size_t count, capacity;
};

/* Knows the system's own tables. */
void gateway_txfeed_tables_init(struct txfeed_tables *tables);
void gateway_txfeed_tables_fini(struct txfeed_tables *tables);
/* NULL: never heard of it. */
const char *gateway_txfeed_table_name(const struct txfeed_tables *tables, uint32_t number);
bool gateway_txfeed_table_known(const struct txfeed_tables *tables, struct bb_slice name);
/* A row of `_tables` (BBV, validated); rows without name or number are ignored. */
void gateway_txfeed_tables_learn(struct txfeed_tables *tables, struct bb_slice row);

#endif
