/* Ranges: bounds, order, own writes, pages, cursors, and what enters the read set. */
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

TestSuite(txn_scan, .init = setup, .fini = teardown);

/* Documents n = 0 .. count - 1 of author "me", committed. */
static void fill(int count)
{
    for (int i = 0; i < count; i++) {
        char json[64];
        (void)snprintf(json, sizeof json, "{\"author\":\"me\",\"n\":%d}", i);
        must_insert(&w, "messages", json);
    }
    cr_assert(world_commit(&w));
    world_begin(&w, 2);
}

static const char *numbers(const char *documents)
{
    static char text[4096];
    size_t size = 0;

    for (const char *at = documents; (at = strstr(at, "\"n\":")) != NULL; at += 4)
        size += (size_t)snprintf(text + size, sizeof text - size, "%d ", atoi(at + 4));
    text[size] = '\0';
    return text;
}

static const char *by_author(const char *range, bool is_descending, uint32_t want)
{
    return numbers(must_scan(&w, "messages", "by_author", range, is_descending, want));
}

Test(txn_scan, b10_bounds_and_order)
{
    static const struct {
        const char *range, *up;
    } cases[] = {
        { "[[\"eq\",\"author\",\"me\"]]", "0 1 2 3 4 " },
        { "[[\"eq\",\"author\",\"me\"],[\"eq\",\"n\",2]]", "2 " },
        { "[[\"eq\",\"author\",\"me\"],[\"gt\",\"n\",2]]", "3 4 " },
        { "[[\"eq\",\"author\",\"me\"],[\"gte\",\"n\",2]]", "2 3 4 " },
        { "[[\"eq\",\"author\",\"me\"],[\"lt\",\"n\",2]]", "0 1 " },
        { "[[\"eq\",\"author\",\"me\"],[\"lte\",\"n\",2]]", "0 1 2 " },
        { "[[\"eq\",\"author\",\"me\"],[\"gt\",\"n\",0],[\"lt\",\"n\",3]]", "1 2 " },
        { "[[\"eq\",\"author\",\"me\"],[\"gt\",\"n\",3],[\"lt\",\"n\",1]]", "" },
        { "[[\"gte\",\"author\",\"a\"],[\"lt\",\"author\",\"z\"]]", "0 1 2 3 4 " },
        { "[[\"eq\",\"author\",\"m\"]]", "" },
        { "[[\"eq\",\"author\",\"me\"],[\"eq\",\"n\",2],[\"gte\",\"_creationTime\",0]]", "2 " },
        { "[[\"eq\",\"author\",\"me\"],[\"eq\",\"n\",2],[\"lt\",\"_creationTime\",5]]", "" },
        { "[]", "0 1 2 3 4 " },
    };

    fill(5);
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        char down[64] = "";
        cr_assert_str_eq(by_author(cases[i].range, false, 0), cases[i].up, "%s", cases[i].range);
        for (int n = 4; n >= 0; n--) {
            char one[16];
            (void)snprintf(one, sizeof one, "%d ", n);
            if (strstr(cases[i].up, one) != NULL)
                strcat(down, one);
        }
        cr_assert_str_eq(by_author(cases[i].range, true, 0), down, "%s", cases[i].range);
    }
}

Test(txn_scan, a_string_does_not_match_what_it_begins)
{
    must_insert(&w, "messages", "{\"channel\":\"a\",\"n\":1}");
    must_insert(&w, "messages", "{\"channel\":\"a\\u0000\",\"n\":2}");
    must_insert(&w, "messages", "{\"channel\":\"ab\",\"n\":3}");
    must_insert(&w, "messages", "{\"n\":4}");
    must_insert(&w, "messages", "{\"channel\":null,\"n\":5}");
    for (int round = 0; round < 2; round++) {
        cr_assert_str_eq(numbers(must_scan(&w, "messages", "by_channel",
                                           "[[\"eq\",\"channel\",\"a\"]]", false, 0)),
                         "1 ");
        cr_assert_str_eq(numbers(must_scan(&w, "messages", "by_channel",
                                           "[[\"gt\",\"channel\",\"a\"]]", false, 0)),
                         "2 3 ");
        cr_assert_str_eq(numbers(must_scan(&w, "messages", "by_channel",
                                           "[[\"lte\",\"channel\",\"a\"]]", false, 0)),
                         "4 5 1 ");
        cr_assert_str_eq(
            numbers(must_scan(&w, "messages", "by_channel",
                              "[[\"eq\",\"channel\",{\"$undefined\":null}]]", false, 0)),
            "4 ");
        if (round == 0)
            cr_assert(world_commit(&w));
        world_begin(&w, 2);
    }
}

static int open_range(const char *index, const char *range)
{
    const struct bb_txn_scan_options options = { .table = S("messages"),
                                                 .index = S(index),
                                                 .range = value_of(range) };
    uint32_t scan;

    return bb_txn_scan_open(&w.ctx, w.txn, &options, &scan);
}

Test(txn_scan, b11_what_does_not_fit_the_index_is_an_error_with_names)
{
    cr_assert_eq(open_range("by_nothing", "[]"), BB_INDEX_NOT_FOUND);
    cr_assert_not_null(strstr(w.ctx.error, "messages.by_nothing"), "%s", w.ctx.error);
    cr_assert_not_null(strstr(w.ctx.error, "by_channel"), "%s", w.ctx.error);
    cr_assert_eq(open_range("slow", "[]"), BB_INDEX_NOT_READY);
    cr_assert_not_null(strstr(w.ctx.error, "3 of 9"), "%s", w.ctx.error);
    static const char *const bad[] = {
        "[[\"eq\",\"n\",1]]",
        "[[\"gt\",\"author\",1],[\"eq\",\"n\",1]]",
        "[[\"gt\",\"author\",1],[\"gte\",\"author\",1]]",
        "[[\"lt\",\"author\",1],[\"lte\",\"author\",1]]",
        "[[\"gt\",\"author\",1],[\"lt\",\"n\",1]]",
        "[[\"eq\",\"author\",1],[\"eq\",\"author\",1]]",
        "[[\"eq\",\"author\",1],[\"eq\",\"n\",1],[\"eq\",\"other\",1]]",
        "[[\"like\",\"author\",1]]",
        "[[\"eq\",7,1]]",
    };
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        cr_assert_eq(open_range("by_author", bad[i]), BB_BAD_QUERY, "%s", bad[i]);
        cr_assert_not_null(strstr(w.ctx.error, "messages.by_author"), "%s", w.ctx.error);
    }
}

Test(txn_scan, own_writes_are_merged_in_both_directions)
{
    fill(6);
    struct bb_value_builder *rows = bb_value_builder_new();
    struct bb_txn_scan_options options = { .table = S("messages"), .index = S("by_author") };
    uint32_t scan, count;
    bool is_done;
    const char *ids[6];

    bb_value_begin_array(rows);
    cr_assert_eq(bb_txn_scan_open(&w.ctx, w.txn, &options, &scan), BB_OK);
    cr_assert_eq(bb_txn_scan_next(&w.ctx, w.txn, scan, 6, 0, rows, &count, &is_done), BB_PENDING);
    world_answer(&w);
    cr_assert_eq(bb_txn_scan_next(&w.ctx, w.txn, scan, 6, 0, rows, &count, &is_done), BB_OK);
    bb_value_end_array(rows);
    for (size_t i = 0; i < 6; i++) {
        struct bb_slice document = bb_value_at(bb_value_finish(rows), i);
        struct bb_slice id = bb_value_bytes(bb_value_field_str(document, "_id"));
        ids[i] = bb_arena_str(w.ctx.arena, id);
    }
    cr_assert_eq(
        bb_txn_patch(&w.ctx, w.txn, BB_TXN_USER, BB_SLICE_EMPTY, S(ids[1]), value_of("{\"n\":10}")),
        BB_OK, "what a scan brought is known");
    cr_assert_eq(bb_txn_delete(&w.ctx, w.txn, BB_TXN_USER, BB_SLICE_EMPTY, S(ids[3])), BB_OK);
    must_insert(&w, "messages", "{\"author\":\"me\",\"n\":2.5}");
    for (uint32_t page = 0; page < 4; page++) {
        w.page_max = page;
        cr_assert_str_eq(by_author(NULL, false, 0), "0 2 2 4 5 10 ");
        cr_assert_str_eq(by_author(NULL, true, 0), "10 5 4 2 2 0 ");
        cr_assert_str_eq(by_author(NULL, false, 2), "0 2 ");
        cr_assert_str_eq(by_author(NULL, true, 1), "10 ");
    }
    bb_value_builder_free(rows);
}

Test(txn_scan, pages_go_on_when_own_deletes_empty_them)
{
    fill(50);
    uint64_t count;
    struct bb_buf list;

    bb_buf_init(&list);
    for (size_t i = 0; i < w.row_count; i++) {
        struct bb_slice key = w.rows[i].key;
        if (key.size != 20 || bb_get_be32(key.data) != BB_INDEX_BY_ID(10001))
            continue;
        struct bb_slice document = w.rows[i].value;
        if (bb_value_float64(bb_value_field_str(document, "n")) < 40)
            bb_buf_printf(&list, "%s\"%.*s\"", list.size == 0 ? "[" : ",",
                          BB_SLICE_ARG(bb_value_bytes(bb_value_field_str(document, "_id"))));
    }
    bb_buf_append(&list, "]", 2);
    cr_assert_eq(WORLD_RUN(&w, bb_txn_retract(&w.ctx, w.txn, BB_TXN_USER, BB_SLICE_EMPTY, false,
                                              value_of((const char *)list.data), &count)),
                 BB_OK);
    cr_assert_eq(count, 40);
    w.page_max = 7;
    cr_assert_str_eq(by_author(NULL, false, 2), "40 41 ");
    cr_assert_str_eq(by_author("[[\"eq\",\"author\",\"me\"],[\"lt\",\"n\",40]]", false, 0), "");
    bb_buf_fini(&list);
}

/* The range of an index in the output, or NULL. */
static const struct bb_txn_range *range_of(const struct bb_txn_output *output, uint32_t index)
{
    for (size_t i = 0; i < output->range_count; i++) {
        if (bb_get_be32(output->ranges[i].low.data) == index)
            return &output->ranges[i];
    }
    return NULL;
}

Test(txn_scan, only_what_was_consumed_is_in_the_read_set)
{
    struct bb_txn_output output;

    fill(10);
    size_t before = 0, inside = 0;
    cr_assert_str_eq(by_author("[[\"eq\",\"author\",\"me\"]]", false, 3), "0 1 2 ");
    cr_assert_eq(w.entry_count, 3, "and only that was fetched");
    world_end(&w, &output);
    const struct bb_txn_range *range = range_of(&output, 0x80000001u);
    cr_assert_not_null(range);
    for (size_t i = 0; i < w.row_count; i++) {
        if (bb_get_be32(w.rows[i].key.data) != 0x80000001u)
            continue;
        before++;
        inside += bb_slice_compare(w.rows[i].key, range->low) >= 0 &&
                  bb_slice_compare(w.rows[i].key, range->high) < 0;
    }
    cr_assert_eq(before, 10);
    cr_assert_eq(inside, 3);
    world_begin(&w, 3);
    cr_assert_str_eq(by_author("[[\"eq\",\"author\",\"me\"]]", false, 0), "0 1 2 3 4 5 6 7 8 9 ");
    world_end(&w, &output);
    range = range_of(&output, 0x80000001u);
    cr_assert_eq(range->high.data[range->high.size - 1], 0xff, "to the end of the equality");
}

Test(txn_scan, overlapping_ranges_are_merged)
{
    struct bb_txn_output output;

    fill(10);
    (void)by_author("[[\"eq\",\"author\",\"me\"],[\"lt\",\"n\",5]]", false, 0);
    (void)by_author("[[\"eq\",\"author\",\"me\"],[\"gte\",\"n\",3]]", true, 0);
    (void)by_author("[[\"eq\",\"author\",\"me\"],[\"eq\",\"n\",4]]", true, 0);
    world_end(&w, &output);
    cr_assert_eq(output.range_count, 3, "deployment, table, one range");
}

struct page {
    char text[256], cursor[512];
    bool is_end;
};

static struct page paginate(const char *cursor, const char *end_cursor, uint32_t want,
                            bool is_descending)
{
    struct bb_txn_scan_options options = { .table = S("messages"),
                                           .index = S("by_author"),
                                           .is_descending = is_descending,
                                           .cursor = S(cursor),
                                           .end_cursor = S(end_cursor) };
    struct bb_value_builder *rows = bb_value_builder_new();
    struct page page = { .is_end = false };
    struct bb_buf text;
    uint32_t scan, count, total = 0;
    bool is_done = false;

    bb_buf_init(&text);
    cr_assert_eq(bb_txn_scan_open(&w.ctx, w.txn, &options, &scan), BB_OK, "%s", w.ctx.error);
    while (!is_done && (want == 0 || total < want)) {
        cr_assert_eq(
            WORLD_RUN(&w, (bb_value_builder_clear(rows), bb_value_begin_array(rows),
                           bb_txn_scan_next(&w.ctx, w.txn, scan, want == 0 ? 0 : want - total, 0,
                                            rows, &count, &is_done))),
            BB_OK);
        bb_value_end_array(rows);
        strcat(page.text, numbers(json_of(bb_value_finish(rows))));
        total += count;
    }
    cr_assert_eq(bb_txn_scan_cursor(&w.ctx, w.txn, scan, &text, &page.is_end), BB_OK);
    cr_assert_lt(text.size, sizeof page.cursor);
    memcpy(page.cursor, text.data, text.size);
    bb_buf_fini(&text);
    bb_value_builder_free(rows);
    return page;
}

Test(txn_scan, cursors_continue_without_gap_in_both_directions)
{
    fill(10);
    struct page first = paginate("", "", 4, false);
    cr_assert_str_eq(first.text, "0 1 2 3 ");
    cr_assert_not(first.is_end);
    must_insert(&w, "messages", "{\"author\":\"me\",\"n\":3.5}");
    struct page second = paginate(first.cursor, "", 4, false);
    cr_assert_str_eq(second.text, "3 4 5 6 ");
    struct page third = paginate(second.cursor, "", 100, false);
    cr_assert_str_eq(third.text, "7 8 9 ");
    cr_assert(third.is_end);
    cr_assert_str_eq(paginate(third.cursor, "", 4, false).text, "");
    /* A page that ends at a cursor grows with what came into it. */
    must_insert(&w, "messages", "{\"author\":\"me\",\"n\":1.5}");
    struct page again = paginate("", first.cursor, 0, false);
    cr_assert_str_eq(again.text, "0 1 1 2 3 ");
    cr_assert_str_eq(again.cursor, first.cursor);
    cr_assert_not(again.is_end);
    struct page down = paginate("", "", 3, true);
    cr_assert_str_eq(down.text, "9 8 7 ");
    cr_assert_str_eq(paginate(down.cursor, "", 3, true).text, "6 5 4 ");
    cr_assert_str_eq(paginate("", down.cursor, 0, true).text, "9 8 7 ");
}

Test(txn_scan, a_cursor_of_another_query_is_refused)
{
    fill(5);
    struct page page = paginate("", "", 2, false);
    struct bb_txn_scan_options options = { .table = S("messages"),
                                           .index = S("by_author"),
                                           .is_descending = true,
                                           .cursor = S(page.cursor) };
    uint32_t scan;

    cr_assert_eq(bb_txn_scan_open(&w.ctx, w.txn, &options, &scan), BB_BAD_QUERY);
    cr_assert_not_null(strstr(w.ctx.error, "cursor"), "%s", w.ctx.error);
    options.is_descending = false;
    options.filter = S("eq(a,b)");
    cr_assert_eq(bb_txn_scan_open(&w.ctx, w.txn, &options, &scan), BB_BAD_QUERY);
    options.filter = BB_SLICE_EMPTY;
    cr_assert_eq(bb_txn_scan_open(&w.ctx, w.txn, &options, &scan), BB_OK);
    options.cursor = S("AAAA");
    cr_assert_eq(bb_txn_scan_open(&w.ctx, w.txn, &options, &scan), BB_BAD_QUERY);
    options.cursor = S("not base64!");
    cr_assert_eq(bb_txn_scan_open(&w.ctx, w.txn, &options, &scan), BB_BAD_QUERY);
}

Test(txn_scan, count_reads_keys_and_its_range_is_in_the_read_set)
{
    struct bb_txn_scan_options options = { .table = S("messages"), .is_keys_only = true };
    struct bb_txn_output output;
    uint64_t count;
    uint32_t scan;

    fill(30);
    must_insert(&w, "messages", "{}");
    w.page_max = 4;
    cr_assert_eq(bb_txn_scan_open(&w.ctx, w.txn, &options, &scan), BB_OK);
    cr_assert_eq(WORLD_RUN(&w, bb_txn_scan_count(&w.ctx, w.txn, scan, UINT64_MAX, &count)), BB_OK);
    cr_assert_eq(count, 31);
    world_end(&w, &output);
    cr_assert_not_null(range_of(&output, BB_INDEX_BY_CREATION_TIME(10001)));
    cr_assert_eq(output.rows, 0, "no document was read");
}

Test(txn_scan, limits_name_themselves)
{
    struct bb_txn_scan_options options = { .table = S("messages") };
    struct bb_value_builder *rows = bb_value_builder_new();
    uint32_t scan, count;
    bool is_done;

    fill(20);
    w.options.limits.read_documents = 10;
    world_begin(&w, 3);
    cr_assert_eq(bb_txn_scan_open(&w.ctx, w.txn, &options, &scan), BB_OK);
    bb_value_begin_array(rows);
    cr_assert_eq(WORLD_RUN(&w, bb_txn_scan_next(&w.ctx, w.txn, scan, 0, 0, rows, &count, &is_done)),
                 BB_READ_LIMIT);
    cr_assert_not_null(strstr(w.ctx.error, "10 documents"), "%s", w.ctx.error);
    w.options.limits.read_ranges = 5;
    world_begin(&w, 3);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(bb_txn_scan_open(&w.ctx, w.txn, &options, &scan), BB_OK);
    cr_assert_eq(bb_txn_scan_open(&w.ctx, w.txn, &options, &scan), BB_READ_LIMIT);
    cr_assert_not_null(strstr(w.ctx.error, "5 reads"), "%s", w.ctx.error);
    bb_value_builder_free(rows);
}

Test(txn_scan, answers_that_do_not_fit_are_refused)
{
    struct bb_txn_scan_options options = { .table = S("messages") };
    struct bb_value_builder *rows = bb_value_builder_new();
    uint32_t scan, count;
    bool is_done;
    const struct bb_txn_entry wrong = { .key = S("\1\2\3\4"), .value = value_of("{}") };

    cr_assert_eq(bb_txn_scan_open(&w.ctx, w.txn, &options, &scan), BB_OK);
    bb_value_begin_array(rows);
    cr_assert_eq(bb_txn_scan_next(&w.ctx, w.txn, scan, 5, 0, rows, &count, &is_done), BB_PENDING);
    cr_assert_eq(bb_txn_feed(&w.ctx, w.txn, 0, &wrong, 1, true), BB_BAD_REQUEST);
    bb_value_builder_free(rows);
}
