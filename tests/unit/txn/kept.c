/* What is kept from transaction to transaction, and when it answers. */
#include "fixture.h"

static struct bb_slice key(uint32_t n)
{
    static uint8_t bytes[4][20];
    static size_t next;
    uint8_t *to = bytes[next++ % 4];

    memset(to, 0, 20);
    bb_put_be32(to, 40004);
    bb_put_le32(to + 4, n * 2654435761u);
    bb_put_le32(to + 8, n);
    return bb_slice(to, 20);
}

static bool finds(struct bb_txn_kept *kept, uint32_t n, uint64_t at, const char *text)
{
    struct bb_slice value = BB_SLICE_EMPTY;

    return bb_txn_kept_find(kept, key(n), at, &value) && bb_slice_equal(value, S(text));
}

static bool knows(struct bb_txn_kept *kept, uint32_t n, uint64_t at)
{
    struct bb_slice value;

    return bb_txn_kept_find(kept, key(n), at, &value);
}

Test(txn_kept, a_document_holds_from_its_write_to_its_end)
{
    struct bb_txn_kept *kept = bb_txn_kept_new(1 << 20);

    bb_txn_kept_put(kept, key(1), S("one"), 10);
    cr_assert_not(knows(kept, 1, 9));
    cr_assert(finds(kept, 1, 10, "one"));
    cr_assert(finds(kept, 1, 1000, "one"));
    bb_txn_kept_end(kept, key(1), 20);
    cr_assert(finds(kept, 1, 19, "one"), "a call at an older moment may still use it");
    cr_assert_not(knows(kept, 1, 20));
    bb_txn_kept_put(kept, key(1), S("two"), 20);
    bb_txn_kept_end(kept, key(1), 20);
    cr_assert(finds(kept, 1, 20, "two"), "that end was told of what was there before");
    bb_txn_kept_forget(kept);
    cr_assert_not(knows(kept, 1, 20));
    cr_assert_eq(bb_txn_kept_bytes(kept), 0);
    bb_txn_kept_free(kept);
}

Test(txn_kept, that_there_is_none_is_known_too)
{
    struct bb_txn_kept *kept = bb_txn_kept_new(1 << 20);

    bb_txn_kept_put(kept, key(1), BB_SLICE_EMPTY, 10);
    cr_assert(finds(kept, 1, 11, ""));
    bb_txn_kept_put(kept, key(2), S("must not"), 0);
    cr_assert_not(knows(kept, 2, 11));
    bb_txn_kept_free(kept);
}

Test(txn_kept, memory_and_count_are_bounded)
{
    enum {
        MAX = 64 << 10
    };
    struct bb_txn_kept *kept = bb_txn_kept_new(MAX);
    uint8_t big[1000] = { 1 };
    size_t found = 0;

    for (uint32_t n = 1; n <= 10000; n++) {
        bb_txn_kept_put(kept, key(n), bb_slice(big, n % sizeof big), 10);
        cr_assert_leq(bb_txn_kept_bytes(kept), MAX);
        cr_assert(knows(kept, n, 10), "the newest is there");
    }
    for (uint32_t n = 1; n <= 10000; n++)
        found += knows(kept, n, 10) ? 1 : 0;
    cr_assert_gt(found, 50);
    cr_assert_leq(found, 2048);
    static uint8_t huge[40 << 10];
    bb_txn_kept_put(kept, key(1), bb_slice(huge, sizeof huge), 10);
    cr_assert_leq(bb_txn_kept_bytes(kept), MAX);
    bb_txn_kept_free(kept);
}

Test(txn_kept, gets_that_are_known_are_fed_and_the_others_are_named)
{
    struct world w;
    struct bb_txn_kept *kept = bb_txn_kept_new(1 << 20);
    const struct bb_txn_read *reads;
    struct bb_slice found;
    uint32_t missing[4];
    size_t missing_count = 9;

    world_init(&w);
    cr_assert_eq(bb_txn_get_by_key(&w.ctx, w.txn, BB_TXN_USER, S("messages"), S("a"), &found),
                 BB_PENDING);
    cr_assert_eq(bb_txn_get_by_key(&w.ctx, w.txn, BB_TXN_USER, S("messages"), S("b"), &found),
                 BB_PENDING);
    cr_assert_eq(bb_txn_wanted(w.txn, &reads), 2);
    bb_txn_kept_put(kept, reads[0].low, BB_SLICE_EMPTY, 5);
    cr_assert_eq(bb_txn_recall(&w.ctx, w.txn, kept, 4, missing, &missing_count), BB_OK);
    cr_assert_eq(missing_count, 2, "nothing is known of that moment");
    cr_assert_eq(bb_txn_recall(&w.ctx, w.txn, kept, 5, missing, &missing_count), BB_OK);
    cr_assert_eq(missing_count, 1);
    cr_assert_eq(missing[0], 1);
    bb_txn_kept_put(kept, reads[1].low, BB_SLICE_EMPTY, 5);
    cr_assert_eq(bb_txn_recall(&w.ctx, w.txn, kept, 5, missing, &missing_count), BB_OK);
    cr_assert_eq(missing_count, 0);
    cr_assert_eq(bb_txn_wanted(w.txn, &reads), 0);
    cr_assert_eq(bb_txn_get_by_key(&w.ctx, w.txn, BB_TXN_USER, S("messages"), S("b"), &found),
                 BB_OK);
    cr_assert_null(found.data);
    world_fini(&w);
    bb_txn_kept_free(kept);
}

/* ---- ranges ---- */

static struct bb_txn_read question(const char *low, const char *high, bool is_descending,
                                   uint32_t limit)
{
    return (struct bb_txn_read){
        .low = S(low), .high = S(high), .is_descending = is_descending, .limit = limit
    };
}

/* Opens a scan of all of by_channel and consumes `want` rows of it; true: what is kept answered. */
static bool is_recalled(struct world *w, struct bb_txn_kept *kept, bool is_descending,
                        uint32_t want, uint64_t at)
{
    const struct bb_txn_scan_options options = { .table = S("messages"),
                                                 .index = S("by_channel"),
                                                 .is_descending = is_descending };
    struct bb_value_builder *builder = bb_value_builder_new();
    uint32_t scan, count, missing[4];
    size_t missing_count = 0;
    bool is_done;

    world_begin(w, 9);
    cr_assert_eq(bb_txn_scan_open(&w->ctx, w->txn, &options, &scan), BB_OK);
    bb_value_begin_array(builder);
    cr_assert_eq(bb_txn_scan_next(&w->ctx, w->txn, scan, want, 0, builder, &count, &is_done),
                 BB_PENDING);
    cr_assert_eq(bb_txn_recall(&w->ctx, w->txn, kept, at, missing, &missing_count), BB_OK);
    bb_value_builder_free(builder);
    return missing_count == 0;
}

static void keep(struct bb_txn_kept *kept, const struct bb_txn_read *read, size_t count,
                 bool is_complete, uint64_t since, uint64_t number)
{
    static struct bb_txn_entry entries[100];
    static uint8_t keys[100][24];

    for (size_t i = 0; i < count; i++) {
        bb_put_be32(keys[i] + 4, (uint32_t)i);
        entries[i] = (struct bb_txn_entry){ .key = bb_slice(keys[i], sizeof keys[i]),
                                            .value = S("some text that stands for a document") };
    }
    const struct bb_txn_answer answer = { .entries = entries,
                                          .entry_count = count,
                                          .is_complete = is_complete,
                                          .since = since,
                                          .number = number };
    bb_txn_kept_answer(kept, read, &answer);
}

Test(txn_kept, a_range_answers_what_asks_for_no_more_and_holds_to_its_end)
{
    struct world w;
    struct bb_txn_kept *kept = bb_txn_kept_new(1 << 20);
    const struct bb_txn_read *reads;

    world_init(&w);
    cr_assert_not(is_recalled(&w, kept, false, 5, 10));
    cr_assert_eq(bb_txn_wanted(w.txn, &reads), 1);
    struct bb_txn_read read = reads[0];
    read.low = bb_arena_dup(w.ctx.arena, read.low);
    read.high = bb_arena_dup(w.ctx.arena, read.high);
    keep(kept, &read, 5, false, 10, 7);
    cr_assert_not(is_recalled(&w, kept, false, 5, 9), "it is not known of an older moment");
    cr_assert(is_recalled(&w, kept, false, 5, 10));
    cr_assert(is_recalled(&w, kept, false, 3, 1000));
    cr_assert_not(is_recalled(&w, kept, false, 6, 10), "the sixth is not known");
    cr_assert_not(is_recalled(&w, kept, true, 5, 10), "the other end of the range is not known");
    bb_txn_kept_end_range(kept, 8, 15);
    bb_txn_kept_end_range(kept, 7, 20);
    cr_assert(is_recalled(&w, kept, false, 5, 19));
    cr_assert_not(is_recalled(&w, kept, false, 5, 20));
    keep(kept, &read, 5, true, 20, 9);
    bb_txn_kept_end_range(kept, 7, 21);
    cr_assert(is_recalled(&w, kept, false, 6, 21), "there is no sixth");
    bb_txn_kept_forget(kept);
    cr_assert_not(is_recalled(&w, kept, false, 5, 21));
    cr_assert_eq(bb_txn_kept_range_bytes(kept), 0);
    world_fini(&w);
    bb_txn_kept_free(kept);
}

Test(txn_kept, a_page_lives_as_long_as_the_transaction_that_reads_from_it)
{
    struct world w;
    char first[2000] = "";

    world_init(&w);
    for (int i = 0; i < 20; i++)
        must_insert(&w, "messages", "{\"channel\":\"a\",\"author\":\"x\"}");
    cr_assert(world_commit(&w));
    world_keep(&w, 1 << 20);
    for (int round = 0; round < 3; round++) {
        world_begin(&w, 3);
        const char *found =
            must_scan(&w, "messages", "by_channel", "[[\"eq\",\"channel\",\"a\"]]", false, 20);
        cr_assert(first[0] == '\0' || strcmp(first, found) == 0);
        (void)snprintf(first, sizeof first, "%s", found);
        /* Under its feet, as a call that waits behind this one may do. */
        bb_txn_kept_forget(w.kept);
        world_end(&w, &(struct bb_txn_output){ .rows = 0 });
        cr_assert_eq(w.recalled, round == 2 ? 1 : 0);
        if (round == 0)
            continue;
        world_begin(&w, 3);
        must_scan(&w, "messages", "by_channel", "[[\"eq\",\"channel\",\"a\"]]", false, 20);
    }
    world_fini(&w);
}

Test(txn_kept, ranges_are_bounded_too)
{
    enum {
        MAX = 64 << 10
    };
    struct bb_txn_kept *kept = bb_txn_kept_new(MAX);

    for (uint64_t n = 1; n <= 5000; n++) {
        char low[16];
        (void)snprintf(low, sizeof low, "a%" PRIu64, n);
        const struct bb_txn_read read = question(low, "b", n % 2 == 0, 100);
        keep(kept, &read, n % 100, true, 10, n);
        cr_assert_leq(bb_txn_kept_range_bytes(kept), MAX);
        cr_assert_gt(bb_txn_kept_range_bytes(kept), 0);
        bb_txn_kept_end_range(kept, n / 2, 11);
    }
    bb_txn_kept_free(kept);
}
