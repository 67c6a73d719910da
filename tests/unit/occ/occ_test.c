#include <criterion/criterion.h>

#include "bb/occ.h"

#include <stdio.h>

static struct bb_slice key(unsigned number, char text[16])
{
    (void)snprintf(text, 16, "%05u", number);
    return bb_slice(text, 5);
}

static void add(struct bb_occ *occ, unsigned number, uint64_t tx)
{
    char text[16];

    bb_occ_add(occ, key(number, text), BB_TX(tx));
}

static uint64_t newest(struct bb_occ *occ, unsigned low, unsigned high)
{
    char a[16];
    char b[16];

    return bb_occ_newest_in(occ, key(low, a), key(high, b), BB_TX_NONE).us;
}

Test(occ, an_empty_window_knows_no_write)
{
    struct bb_occ *occ = bb_occ_new(BB_TX(10), 1 << 20, 1);

    cr_assert_eq(newest(occ, 0, 99999), 0);
    cr_assert_eq(bb_occ_floor(occ).us, 10);
    bb_occ_free(occ);
}

Test(occ, a_range_includes_low_and_excludes_high)
{
    struct bb_occ *occ = bb_occ_new(BB_TX_NONE, 1 << 20, 1);

    add(occ, 5, 100);
    cr_assert_eq(newest(occ, 5, 6), 100);
    cr_assert_eq(newest(occ, 4, 5), 0);
    cr_assert_eq(newest(occ, 6, 7), 0);
    bb_occ_free(occ);
}

Test(occ, a_key_that_is_written_again_is_as_young_as_its_last_write)
{
    struct bb_occ *occ = bb_occ_new(BB_TX_NONE, 1 << 20, 1);

    add(occ, 1, 10);
    add(occ, 2, 20);
    add(occ, 1, 30);
    bb_occ_raise_floor(occ, BB_TX(20));
    cr_assert_eq(newest(occ, 1, 2), 30);
    cr_assert_eq(newest(occ, 2, 3), 0);
    bb_occ_free(occ);
}

Test(occ, writes_up_to_what_is_asked_for_are_not_found)
{
    struct bb_occ *occ = bb_occ_new(BB_TX_NONE, 1 << 20, 1);
    char a[16];
    char b[16];

    add(occ, 1, 10);
    add(occ, 2, 20);
    cr_assert_eq(bb_occ_newest_in(occ, key(0, a), key(9, b), BB_TX(19)).us, 20);
    cr_assert_eq(bb_occ_newest_in(occ, key(0, a), key(9, b), BB_TX(20)).us, 0);
    cr_assert_eq(bb_occ_newest_in(occ, key(0, a), key(2, b), BB_TX(9)).us, 10);
    cr_assert_eq(bb_occ_newest_in(occ, key(0, a), key(2, b), BB_TX(10)).us, 0);
    bb_occ_free(occ);
}

/* [key, key + 0x00) is looked up, other ranges are gone through or asked of a tree. */
static uint64_t newest_of_key(struct bb_occ *occ, unsigned number, uint64_t after)
{
    char text[16] = { 0 };
    struct bb_slice low = key(number, text);

    return bb_occ_newest_in(occ, low, bb_slice(low.data, low.size + 1), BB_TX(after)).us;
}

Test(occ, a_single_key_is_told_from_keys_that_begin_like_it)
{
    struct bb_occ *occ = bb_occ_new(BB_TX_NONE, 1 << 20, 1);

    bb_occ_add(occ, bb_slice_str("00001x"), BB_TX(10));
    cr_assert_eq(newest_of_key(occ, 1, 0), 0);
    bb_occ_add(occ, bb_slice("00001\0", 6), BB_TX(11));
    cr_assert_eq(newest_of_key(occ, 1, 0), 0);
    add(occ, 1, 12);
    cr_assert_eq(newest_of_key(occ, 1, 0), 12);
    cr_assert_eq(newest_of_key(occ, 1, 12), 0);
    cr_assert_eq(newest(occ, 1, 2), 12);
    bb_occ_free(occ);
}

/* So many ranges that the span gets a tree; what is written from then on must come into it. */
Test(occ, ranges_are_answered_the_same_before_and_after_there_is_a_tree)
{
    enum {
        KEYS = 500
    };
    struct bb_occ *occ = bb_occ_new(BB_TX_NONE, 1 << 20, 7);

    for (uint64_t tx = 1; tx <= 4000; tx++) {
        unsigned number = (unsigned)(tx * 7919 % KEYS);
        add(occ, number, tx);
        cr_assert_eq(newest(occ, number, KEYS), tx);
        cr_assert_eq(newest(occ, 0, number + 1), tx);
        uint64_t before = tx >= KEYS ? tx - KEYS + 1 : 0; /* the keys take turns: the oldest */
        unsigned oldest = (unsigned)(before * 7919 % KEYS);
        cr_assert_eq(newest(occ, oldest, oldest + 1), before, "tx %d", (int)tx);
        cr_assert_eq(newest_of_key(occ, oldest, 0), before);
    }
    bb_occ_free(occ);
}

/* Far more than one tree holds, most of them keys that earlier trees have as well. */
Test(occ, a_key_is_found_at_its_last_write_however_much_was_written_since)
{
    enum {
        KEYS = 5000,
        WRITES = 60000
    };
    struct bb_occ *occ = bb_occ_new(BB_TX_NONE, 64 << 20, 3);
    uint64_t last[KEYS] = { 0 };

    for (unsigned i = 0; i < WRITES; i++) {
        unsigned number = i % 3 == 0 ? i % KEYS : (i * 7919u) % (KEYS / 10);
        add(occ, number, 10 + i / 4);
        last[number] = 10 + i / 4;
    }
    for (uint64_t floor = 1; floor < 10 + WRITES / 4; floor += 1700) {
        bb_occ_raise_floor(occ, BB_TX(floor));
        for (unsigned i = 0; i < KEYS; i++) {
            uint64_t expected = last[i] > floor ? last[i] : 0;
            cr_assert_eq(newest(occ, i, i + 1), expected, "key %u", i);
        }
    }
    bb_occ_raise_floor(occ, BB_TX(WRITES));
    cr_assert_eq(bb_occ_bytes(occ), 0);
    bb_occ_free(occ);
}

Test(occ, full_memory_raises_the_floor_by_whole_transactions)
{
    struct bb_occ *occ = bb_occ_new(BB_TX_NONE, 4000, 1);

    for (unsigned i = 0; i < 1000; i++)
        add(occ, i, 10 + i / 3);
    cr_assert_leq(bb_occ_bytes(occ), 4000);
    uint64_t floor = bb_occ_floor(occ).us;
    cr_assert_gt(floor, 10);
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t tx = 10 + i / 3;
        cr_assert_eq(newest(occ, i, i + 1), tx > floor ? tx : 0, "key %u", i);
    }
    bb_occ_free(occ);
}

Test(occ, all_goes_when_the_floor_passes_all)
{
    struct bb_occ *occ = bb_occ_new(BB_TX_NONE, 1 << 20, 1);

    for (unsigned i = 0; i < 1000; i++)
        add(occ, (i * 7919) % 1000, 10 + i);
    bb_occ_raise_floor(occ, BB_TX(5000));
    cr_assert_eq(bb_occ_keys(occ), 0);
    cr_assert_eq(bb_occ_bytes(occ), 0);
    add(occ, 1, 5001);
    cr_assert_eq(newest(occ, 0, 10), 5001);
    bb_occ_free(occ);
}

/* The same operations on the window and on an array; every answer must be equal. */
Test(occ, answers_as_a_plain_array_would)
{
    enum {
        KEYS = 300
    };
    uint64_t random = 12345;

    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint64_t model[KEYS] = { 0 };
        uint64_t floor = 0;
        uint64_t tx = 1;
        /* Little memory: trees of a few keys each. */
        struct bb_occ *occ = bb_occ_new(BB_TX_NONE, seed % 2 == 0 ? 1 << 20 : 40000, seed);
        for (int step = 0; step < 4000; step++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
            unsigned number = (unsigned)(random >> 40) % KEYS;
            unsigned other = (unsigned)(random >> 20) % KEYS;
            unsigned what = (unsigned)(random >> 60);
            if (what < 6) {
                tx += (random >> 50) & 1;
                if (tx <= floor)
                    tx = floor + 1;
                add(occ, number, tx);
                model[number] = tx;
            } else if (what < 15) {
                unsigned low = number < other ? number : other;
                unsigned high = number < other ? other : number;
                uint64_t expected = 0;
                for (unsigned i = low; i < high; i++) {
                    if (model[i] > floor && model[i] > expected)
                        expected = model[i];
                }
                cr_assert_eq(newest(occ, low, high), expected, "seed %d step %d", (int)seed, step);
                uint64_t own = model[number] > floor ? model[number] : 0;
                cr_assert_eq(newest_of_key(occ, number, 0), own, "seed %d step %d", (int)seed,
                             step);
                uint64_t after = tx > 9 ? tx - (random >> 30) % 10 : 0;
                char a[16];
                char b[16];
                cr_assert_eq(bb_occ_newest_in(occ, key(low, a), key(high, b), BB_TX(after)).us,
                             expected > after ? expected : 0, "seed %d step %d", (int)seed, step);
            } else if (tx > 40) {
                floor = floor > tx - 40 ? floor : tx - 40;
                bb_occ_raise_floor(occ, BB_TX(floor));
            }
        }
        bb_occ_free(occ);
    }
}
