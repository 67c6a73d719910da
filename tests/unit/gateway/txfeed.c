/* The transaction feed's decisions: what a record looks like, what the ring keeps. */
#include <criterion/criterion.h>

#include "bb/value.h"
#include "bb/wire.h"
#include "txfeed_record.h"
#include "txfeed_ring.h"

/* The initialisers that protoc-c makes for messages with texts cast const away. */
#pragma GCC diagnostic ignored "-Wcast-qual"

/* ---- names of tables ---- */

static void put_row(struct bb_buf *row, const char *json)
{
    struct bb_ctx ctx = { .status = BB_OK };

    bb_buf_clear(row);
    cr_assert_eq(bb_json_decode(&ctx, bb_slice_str(json), false, row), BB_OK, "%s", ctx.error);
}

Test(txfeed, tables_are_known_by_number_for_ever)
{
    struct txfeed_tables tables;
    struct bb_buf row = { 0 };

    gateway_txfeed_tables_init(&tables);
    cr_assert_str_eq(gateway_txfeed_table_name(&tables, BB_TABLE_TABLES), "_tables");
    cr_assert_null(gateway_txfeed_table_name(&tables, 10001));
    for (int i = 40; i > 0; i--) {
        struct bb_value_builder *builder = bb_value_builder_new();

        bb_value_begin_object(builder);
        bb_value_field_name(builder, bb_slice_str("name"));
        bb_value_put_string(builder, bb_slice_str(i == 7 ? "seven" : "other"));
        bb_value_field_name(builder, bb_slice_str("number"));
        bb_value_put_int64(builder, 10000 + i);
        bb_value_end_object(builder);
        gateway_txfeed_tables_learn(&tables, bb_value_finish(builder));
        gateway_txfeed_tables_learn(&tables, bb_value_finish(builder));
        bb_value_builder_free(builder);
    }
    cr_assert_str_eq(gateway_txfeed_table_name(&tables, 10007), "seven");
    cr_assert_str_eq(gateway_txfeed_table_name(&tables, 10040), "other");
    cr_assert_null(gateway_txfeed_table_name(&tables, 10041));
    cr_assert(gateway_txfeed_table_known(&tables, bb_slice_str("seven")));
    cr_assert_not(gateway_txfeed_table_known(&tables, bb_slice_str("eight")));
    cr_assert_eq(tables.count, 40 + BB_TABLE_COUNT_SYSTEM - 1);
    put_row(&row, "{\"name\":\"x\"}");
    gateway_txfeed_tables_learn(&tables, bb_buf_slice(&row));
    put_row(&row, "{\"name\":1,\"number\":{\"$integer\":\"AQAAAAAAAAA=\"}}");
    gateway_txfeed_tables_learn(&tables, bb_buf_slice(&row));
    gateway_txfeed_tables_learn(&tables, BB_SLICE_EMPTY);
    cr_assert_eq(tables.count, 40 + BB_TABLE_COUNT_SYSTEM - 1);
    bb_buf_fini(&row);
    gateway_txfeed_tables_fini(&tables);
}

/* ---- records ---- */

/* A transaction with one write for each of `count`; freed by nobody but the test's end. */
struct record_maker {
    Bb__Proto__TxRecord record;
    Bb__Proto__TxBody body;
    Bb__Proto__Write writes[4];
    Bb__Proto__Write *list[4];
    struct bb_buf docs[8];
    uint8_t ids[4][16];
    struct txfeed_tables tables;
};

static char function_name[] = "items:add";

static void make(struct record_maker *maker)
{
    bb__proto__tx_record__init(&maker->record);
    bb__proto__tx_body__init(&maker->body);
    maker->record.tx = 2000000;
    maker->record.prev = 1999999;
    maker->body.function = function_name;
    maker->body.writes = maker->list;
    gateway_txfeed_tables_init(&maker->tables);
}

static void add_write(struct record_maker *maker, uint32_t table, Bb__Proto__KeyOp op,
                      const char *before, const char *after)
{
    size_t i = maker->body.n_writes++;
    Bb__Proto__Write *write = &maker->writes[i];

    bb__proto__write__init(write);
    maker->list[i] = write;
    maker->ids[i][15] = (uint8_t)i;
    write->table = table;
    write->id = bb_slice_pb(bb_slice(maker->ids[i], 16));
    write->doc_op = op;
    if (before != NULL) {
        put_row(&maker->docs[2 * i], before);
        write->before = bb_slice_pb(bb_buf_slice(&maker->docs[2 * i]));
    }
    if (after != NULL) {
        put_row(&maker->docs[2 * i + 1], after);
        write->doc = bb_slice_pb(bb_buf_slice(&maker->docs[2 * i + 1]));
    }
}

static void expect(const struct record_maker *maker, const struct txfeed_view *view,
                   const char *changes)
{
    struct bb_buf json = { 0 };
    const char *at;

    bb_buf_append_str(&json, "keep");
    if (gateway_txfeed_encode(&json, &maker->record, &maker->body, &maker->tables, view)) {
        bb_buf_append_byte(&json, '\0');
        at = strstr((const char *)json.data, "\"changes\":");
        cr_assert_not_null(at);
        cr_assert_not_null(changes, "shown: %s", at);
        cr_assert_str_eq(at + strlen("\"changes\":"), changes);
        cr_assert_eq(strncmp((const char *)json.data,
                             "keep{\"tx\":2000000,\"prev\":1999999,"
                             "\"time\":2000,\"fn\":\"items:add\","
                             "\"identity\":null,\"requestId\":\"\",",
                             90),
                     0, "%s", (const char *)json.data);
    } else {
        cr_assert_null(changes);
        cr_assert_eq(json.size, 4);
    }
    bb_buf_fini(&json);
}

static void done(struct record_maker *maker)
{
    for (size_t i = 0; i < BB_COUNT_OF(maker->docs); i++)
        bb_buf_fini(&maker->docs[i]);
    gateway_txfeed_tables_fini(&maker->tables);
}

Test(txfeed, p6_a_record_shows_changes_as_the_view_asks)
{
    struct record_maker maker = { .ids = { { 0 } } };
    struct bb_id id = { { 0 } };
    char text[BB_ID_TEXT_MAX + 1] = { 0 };
    struct bb_buf want = { 0 };
    static const char *const tails[] = {
        [TXFEED_KEYS] = "",
        [TXFEED_AFTER] = ",\"after\":{\"a\":2,\"c\":3}",
        [TXFEED_DIFF] = ",\"fields\":{\"a\":2,\"c\":3},\"removed\":[\"b\"]",
        [TXFEED_BOTH] = ",\"before\":{\"a\":1,\"b\":1},\"after\":{\"a\":2,\"c\":3}",
    };

    make(&maker);
    add_write(&maker, 10001, BB__PROTO__KEY_OP__KEY_TOUCH, "{\"a\":1,\"b\":1}",
              "{\"a\":2,\"c\":3}");
    (void)bb_id_text(10001, &id, text);
    for (unsigned i = 0; i < BB_COUNT_OF(tails); i++) {
        struct txfeed_view view = { .include = (enum txfeed_include)i, .format = BB_JSON_CLEAN };

        bb_buf_clear(&want);
        bb_buf_printf(&want, "[{\"table\":\"#10001\",\"id\":\"%s\",\"op\":\"update\"%s}]}", text,
                      tails[i]);
        bb_buf_append_byte(&want, '\0');
        expect(&maker, &view, (const char *)want.data);
    }
    bb_buf_fini(&want);
    done(&maker);
}

Test(txfeed, a_filter_hides_transactions_without_a_change_in_its_tables)
{
    struct record_maker maker = { .ids = { { 0 } } };
    struct txfeed_view all = { .include = TXFEED_KEYS };
    struct txfeed_view filtered = { .include = TXFEED_KEYS,
                                    .tables = bb_slice("_environment", 13) };
    struct txfeed_view other = { .include = TXFEED_KEYS, .tables = bb_slice("items\0_tables", 14) };

    make(&maker);
    /* What the system keeps for itself is shown to nobody who does not name it. */
    add_write(&maker, BB_TABLE_ENVIRONMENT, BB__PROTO__KEY_OP__KEY_PUT, NULL, "{\"a\":1}");
    expect(&maker, &all, "[]}");
    expect(&maker, &other, NULL);
    struct bb_buf json = { 0 };
    cr_assert(gateway_txfeed_encode(&json, &maker.record, &maker.body, &maker.tables, &filtered));
    bb_buf_append_byte(&json, '\0');
    cr_assert_not_null(strstr((const char *)json.data, "\"table\":\"_environment\""));
    bb_buf_fini(&json);
    /* The filling of an index changes no document. */
    maker.writes[0].is_index_only = true;
    expect(&maker, &filtered, NULL);
    expect(&maker, &all, "[]}");
    done(&maker);
}

Test(txfeed, values_of_environment_variables_are_shown_to_nobody)
{
    struct record_maker maker = { .ids = { { 0 } } };
    struct txfeed_view view = { .tables = bb_slice("_environment", 13) };

    make(&maker);
    add_write(&maker, BB_TABLE_ENVIRONMENT, BB__PROTO__KEY_OP__KEY_TOUCH,
              "{\"value\":\"old secret\"}", "{\"value\":\"new secret\"}");
    for (unsigned include = TXFEED_KEYS; include <= TXFEED_BOTH; include++) {
        struct bb_buf json = { 0 };
        view.include = (enum txfeed_include)include;
        cr_assert(gateway_txfeed_encode(&json, &maker.record, &maker.body, &maker.tables, &view));
        bb_buf_append_byte(&json, '\0');
        cr_assert_not_null(strstr((const char *)json.data, "\"op\":\"update\""));
        cr_assert_null(strstr((const char *)json.data, "secret"), "%s", (const char *)json.data);
        bb_buf_fini(&json);
    }
    done(&maker);
}

Test(txfeed, acknowledgements_are_hidden_from_consumers)
{
    struct record_maker maker = { .ids = { { 0 } } };
    struct txfeed_view plain = { .include = TXFEED_KEYS };
    struct txfeed_view consumer = { .include = TXFEED_KEYS, .hides_acks = true };

    make(&maker);
    expect(&maker, &consumer, "[]}");
    add_write(&maker, BB_TABLE_CONSUMERS, BB__PROTO__KEY_OP__KEY_TOUCH, "{}", "{}");
    expect(&maker, &plain, "[]}");
    expect(&maker, &consumer, NULL);
    /* A function that does more than that is shown. */
    add_write(&maker, BB_TABLE_REQUESTS, BB__PROTO__KEY_OP__KEY_PUT, NULL, "{}");
    expect(&maker, &consumer, "[]}");
    done(&maker);
}

Test(txfeed, options_are_read_strictly)
{
    struct bb_ctx ctx = { .status = BB_OK };
    struct bb_buf tables = { 0 };
    enum txfeed_include include;

    cr_assert_eq(gateway_txfeed_parse_include(&ctx, BB_SLICE_EMPTY, &include), BB_OK);
    cr_assert_eq(include, TXFEED_AFTER);
    cr_assert_eq(gateway_txfeed_parse_include(&ctx, bb_slice_str("both"), &include), BB_OK);
    cr_assert_eq(include, TXFEED_BOTH);
    cr_assert_eq(gateway_txfeed_parse_include(&ctx, bb_slice_str("Both"), &include),
                 BB_BAD_REQUEST);
    cr_assert_eq(gateway_txfeed_parse_tables(&ctx, bb_slice_str("a,bc"), &tables), BB_OK);
    cr_assert(bb_slice_equal(bb_buf_slice(&tables), bb_slice("a\0bc", 5)));
    cr_assert_eq(gateway_txfeed_parse_tables(&ctx, bb_slice_str("a,,b"), &tables), BB_BAD_REQUEST);
    cr_assert_eq(gateway_txfeed_parse_tables(&ctx, bb_slice_str(",a"), &tables), BB_BAD_REQUEST);
    cr_assert_eq(gateway_txfeed_parse_tables(&ctx, bb_slice("a\0b", 3), &tables), BB_BAD_REQUEST);
    bb_buf_fini(&tables);
}

/* ---- the ring ---- */

static void add(struct txfeed_ring *ring, uint64_t prev, uint64_t tx)
{
    gateway_txfeed_ring_add(ring, prev, tx, bb_slice_str("record"));
}

Test(txfeed, the_ring_gives_what_comes_after_a_position)
{
    struct txfeed_ring ring;

    gateway_txfeed_ring_init(&ring, 1 << 20);
    gateway_txfeed_ring_clear(&ring, 10);
    cr_assert_null(gateway_txfeed_ring_after(&ring, 10));
    for (uint64_t tx = 20; tx <= 2000; tx += 10)
        add(&ring, tx - 10, tx);
    cr_assert_eq(gateway_txfeed_ring_after(&ring, 10)->tx, 20);
    cr_assert_eq(gateway_txfeed_ring_after(&ring, 25)->tx, 30);
    cr_assert_eq(gateway_txfeed_ring_after(&ring, 1990)->tx, 2000);
    cr_assert_null(gateway_txfeed_ring_after(&ring, 2000));
    cr_assert_null(gateway_txfeed_ring_after(&ring, 9), "before the floor");
    /* A record that does not follow: nothing is known of what lies between. */
    add(&ring, 3000, 3010);
    cr_assert_null(gateway_txfeed_ring_after(&ring, 2000));
    cr_assert_eq(gateway_txfeed_ring_after(&ring, 3000)->tx, 3010);
    gateway_txfeed_ring_fini(&ring);
}

Test(txfeed, p7_the_ring_is_bounded_and_texts_count)
{
    struct txfeed_ring ring;
    struct txfeed_view views[2] = { { .include = TXFEED_KEYS }, { .include = TXFEED_BOTH } };

    gateway_txfeed_ring_init(&ring, 4096);
    gateway_txfeed_ring_clear(&ring, 0);
    for (uint64_t tx = 1; tx <= 500; tx++) {
        struct txfeed_item *item;
        struct txfeed_text *text;

        add(&ring, tx - 1, tx);
        cr_assert_leq(ring.bytes, 4096);
        item = gateway_txfeed_ring_after(&ring, tx - 1);
        cr_assert_null(gateway_txfeed_ring_text(item, &views[tx % 2]));
        text = gateway_txfeed_ring_keep(&ring, item, &views[tx % 2],
                                        bb_http_buffer_new(bb_slice_str("id: 1\ndata: {}\n\n")), 12,
                                        2);
        cr_assert_eq(gateway_txfeed_ring_text(item, &views[tx % 2]), text);
        cr_assert_null(gateway_txfeed_ring_text(item, &views[(tx + 1) % 2]));
        cr_assert_leq(ring.bytes, 4096);
    }
    cr_assert_gt(ring.count, 5);
    cr_assert_eq(gateway_txfeed_ring_after(&ring, ring.floor_tx)->prev, ring.floor_tx);
    size_t before = ring.bytes;
    gateway_txfeed_ring_drop_view(&ring, &views[0]);
    cr_assert_lt(ring.bytes, before);
    for (uint64_t tx = ring.floor_tx; tx < 500; tx++)
        cr_assert_null(gateway_txfeed_ring_text(gateway_txfeed_ring_after(&ring, tx), &views[0]));
    /* One record larger than all of the ring is not kept: consumers read it from storage. */
    uint8_t *large = bb_alloc_zero(1, 8192);
    gateway_txfeed_ring_add(&ring, 500, 501, bb_slice(large, 8192));
    cr_assert_eq(ring.count, 0);
    cr_assert_eq(ring.floor_tx, 501);
    cr_assert_null(gateway_txfeed_ring_after(&ring, 500));
    bb_free(large);
    gateway_txfeed_ring_fini(&ring);
}
