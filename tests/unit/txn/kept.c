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
