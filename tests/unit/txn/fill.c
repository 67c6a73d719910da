/* Entries that are written without their documents: new indexes are filled, removed ones cleaned.
 */
#include "fixture.h"

static struct world w;

static void setup(void)
{
    world_init(&w);
}

static void teardown(void)
{
    world_fini(&w);
}

TestSuite(txn_fill, .init = setup, .fini = teardown);

/* `count` messages, committed. */
static void fill(int count)
{
    for (int n = 0; n < count; n++) {
        char json[64];
        (void)snprintf(json, sizeof json, "{\"author\":\"me\",\"n\":%d}", n);
        must_insert(&w, "messages", json);
    }
    cr_assert(world_commit(&w));
    world_begin(&w, 9);
}

static const struct bb_txn_range *range_of(const struct bb_txn_output *output, uint32_t index)
{
    for (size_t i = 0; i < output->range_count; i++) {
        if (bb_get_be32(output->ranges[i].low.data) == index)
            return &output->ranges[i];
    }
    return NULL;
}

Test(txn_fill, a_backfill_writes_entries_only)
{
    struct bb_txn_scan_options options = { .access = BB_TXN_PRIVILEGED,
                                           .table = S("messages"),
                                           .index = S("by_id") };
    struct bb_txn_output output;
    uint32_t scan, rows, total = 0;
    bool is_done = false;

    fill(5);
    cr_assert_eq(bb_txn_scan_open(&w.ctx, w.txn, &options, &scan), BB_OK);
    w.page_max = 2;
    while (!is_done) {
        cr_assert_eq(
            WORLD_RUN(&w, bb_txn_backfill(&w.ctx, w.txn, scan, S("slow"), 10, &rows, &is_done)),
            BB_OK, "%s", w.ctx.error);
        total += rows;
    }
    cr_assert_eq(total, 5);
    world_end(&w, &output);
    Bb__Proto__TxBody *body = world_unpack(output.body);
    cr_assert_eq(body->n_writes, 5);
    for (size_t i = 0; i < 5; i++) {
        cr_assert(body->writes[i]->is_index_only);
        cr_assert_eq(body->writes[i]->doc.len, 0);
        cr_assert_eq(body->writes[i]->n_keys, 1);
        cr_assert_eq(bb_get_be32(body->writes[i]->keys[0]->key.data), 0x80000002u);
    }
    bb__proto__tx_body__free_unpacked(body, NULL);
    cr_assert_not_null(range_of(&output, BB_INDEX_BY_ID(10001)), "what it saw is in the read set");
}

static uint32_t clean_step(uint32_t index, struct bb_slice after, uint32_t want,
                           struct bb_slice *last, bool *is_done)
{
    uint32_t scan, rows;

    cr_assert_eq(bb_txn_clean_open(&w.ctx, w.txn, 10001, index, after, &scan), BB_OK, "%s",
                 w.ctx.error);
    cr_assert_eq(WORLD_RUN(&w, bb_txn_clean(&w.ctx, w.txn, scan, want, &rows, last, is_done)),
                 BB_OK, "%s", w.ctx.error);
    return rows;
}

static size_t entries_of(uint32_t index)
{
    size_t count = 0;

    for (size_t i = 0; i < w.row_count; i++)
        count += bb_get_be32(w.rows[i].key.data) == index;
    return count;
}

Test(txn_fill, cleaning_removes_the_entries_of_one_index_and_nothing_else)
{
    struct bb_txn_output output;
    struct bb_slice last;
    bool is_done = false;
    char key[64];

    fill(5);
    cr_assert_eq(entries_of(0x80000001u), 5);
    size_t before = w.row_count;
    cr_assert_eq(clean_step(0x80000001u, BB_SLICE_EMPTY, 3, &last, &is_done), 3);
    cr_assert(!is_done);
    cr_assert_lt(last.size, sizeof key);
    memcpy(key, last.data, last.size);
    struct bb_slice cursor = bb_slice(key, last.size);
    world_end(&w, &output);
    Bb__Proto__TxBody *body = world_unpack(output.body);
    cr_assert_eq(body->n_writes, 3);
    for (size_t i = 0; i < 3; i++) {
        cr_assert(body->writes[i]->is_index_only);
        cr_assert_eq(body->writes[i]->doc.len, 0);
        cr_assert_eq(body->writes[i]->table, 10001);
        cr_assert_eq(body->writes[i]->keys[0]->op, BB__PROTO__KEY_OP__KEY_REMOVE);
    }
    bb__proto__tx_body__free_unpacked(body, NULL);
    cr_assert_not_null(range_of(&output, 0x80000001u), "what it saw is in the read set");
    world_apply(&w, output.body);
    world_begin(&w, 2);
    cr_assert_eq(clean_step(0x80000001u, cursor, 3, &last, &is_done), 2);
    cr_assert(is_done);
    cr_assert(world_commit(&w));
    cr_assert_eq(entries_of(0x80000001u), 0);
    cr_assert_eq(w.row_count, before - 5);
    world_begin(&w, 3);
    cr_assert_eq(clean_step(0x80000001u, BB_SLICE_EMPTY, 3, &last, &is_done), 0);
    cr_assert(is_done);
    cr_assert(!world_commit(&w));
}

Test(txn_fill, cleaning_takes_declared_indexes_and_their_own_keys_only)
{
    uint32_t scan;

    cr_assert_eq(
        bb_txn_clean_open(&w.ctx, w.txn, 10001, BB_INDEX_BY_ID(10001), BB_SLICE_EMPTY, &scan),
        BB_BAD_REQUEST);
    cr_assert_eq(
        bb_txn_clean_open(&w.ctx, w.txn, BB_TABLE_TABLES, 0x80000001u, BB_SLICE_EMPTY, &scan),
        BB_BAD_REQUEST);
    cr_assert_eq(bb_txn_clean_open(&w.ctx, w.txn, 10001, 0x80000001u, S("\x80\0\0\2"), &scan),
                 BB_BAD_REQUEST);
}

Test(txn_fill, a_backfill_that_meets_too_long_a_key_names_the_document)
{
    struct bb_txn_scan_options options = { .access = BB_TXN_PRIVILEGED,
                                           .table = S("messages"),
                                           .index = S("by_id") };
    static char json[20000];
    uint32_t scan, rows;
    bool is_done;

    const struct bb_txn_scan_options by_slow = { .table = S("messages"), .index = S("slow") };
    world_slow_index(&w, "\"fields\":[\"note\"],\"state\":\"failed\",\"error\":\"No way.\"");
    (void)snprintf(json, sizeof json, "{\"note\":\"%09000d\"}", 1);
    const char *id = must_insert(&w, "messages", json);
    cr_assert(world_commit(&w));
    cr_assert_eq(entries_of(0x80000002u), 0, "nobody writes an index that failed");
    cr_assert_eq(bb_txn_scan_open(&w.ctx, w.txn, &by_slow, &scan), BB_INDEX_NOT_READY);
    cr_assert_str_eq(w.ctx.error, "No way.");
    world_slow_index(&w, "\"fields\":[\"note\"],\"state\":\"backfilling\"");
    cr_assert_eq(bb_txn_scan_open(&w.ctx, w.txn, &options, &scan), BB_OK);
    cr_assert_eq(
        WORLD_RUN(&w, bb_txn_backfill(&w.ctx, w.txn, scan, S("slow"), 10, &rows, &is_done)),
        BB_KEY_TOO_LARGE);
    cr_assert_not_null(strstr(w.ctx.error, id), "%s", w.ctx.error);
    cr_assert_not_null(strstr(w.ctx.error, "9031 bytes"), "%s", w.ctx.error);
}
