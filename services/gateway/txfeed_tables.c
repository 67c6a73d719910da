#include "txfeed_tables.h"

#include "bb/value.h"

/* Where the number is, or would be. */
static size_t position_of(const struct txfeed_tables *tables, uint32_t number)
{
    size_t low = 0;
    size_t high = tables->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (tables->items[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void add(struct txfeed_tables *tables, uint32_t number, struct bb_slice name)
{
    size_t at = position_of(tables, number);
    char *text;

    if (at < tables->count && tables->items[at].number == number)
        return;
    if (tables->count == tables->capacity) {
        tables->capacity = tables->capacity == 0 ? 16 : tables->capacity * 2;
        tables->items = bb_realloc(tables->items, tables->capacity * sizeof(*tables->items));
    }
    text = bb_alloc(name.size + 1);
    memcpy(text, name.data, name.size);
    text[name.size] = '\0';
    memmove(tables->items + at + 1, tables->items + at,
            (tables->count - at) * sizeof(*tables->items));
    tables->items[at] = (struct txfeed_table){ .number = number, .name = text };
    tables->count++;
}

void gateway_txfeed_tables_init(struct txfeed_tables *tables)
{
    *tables = (struct txfeed_tables){ .count = 0 };
    for (uint32_t i = 0; i < BB_TABLE_COUNT_SYSTEM; i++) {
        if (bb_system_table_name(i) != NULL)
            add(tables, i, bb_slice_str(bb_system_table_name(i)));
    }
}

void gateway_txfeed_tables_fini(struct txfeed_tables *tables)
{
    for (size_t i = 0; i < tables->count; i++)
        bb_free(tables->items[i].name);
    bb_free(tables->items);
}

const char *gateway_txfeed_table_name(const struct txfeed_tables *tables, uint32_t number)
{
    size_t at = position_of(tables, number);

    return at < tables->count && tables->items[at].number == number ? tables->items[at].name : NULL;
}

bool gateway_txfeed_table_known(const struct txfeed_tables *tables, struct bb_slice name)
{
    for (size_t i = 0; i < tables->count; i++) {
        if (bb_slice_equal_str(name, tables->items[i].name))
            return true;
    }
    return false;
}

void gateway_txfeed_tables_learn(struct txfeed_tables *tables, struct bb_slice row)
{
    struct bb_slice name;
    struct bb_slice number;

    if (row.size == 0 || bb_value_tag(row) != BB_TAG_OBJECT)
        return;
    name = bb_value_field_str(row, "name");
    number = bb_value_field_str(row, "number");
    if (name.data == NULL || bb_value_tag(name) != BB_TAG_STRING || number.data == NULL ||
        bb_value_tag(number) != BB_TAG_INT64)
        return;
    if (bb_value_int64(number) > 0 && bb_value_int64(number) <= UINT32_MAX)
        add(tables, (uint32_t)bb_value_int64(number), bb_value_bytes(name));
}
