/* The interval index against a plain list, and the ring of recent writes. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "bb/interval.h"
#include "bb/recent.h"

#define NODES 500

static uint64_t random_state = 7;

static uint64_t next(uint64_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (random_state >> 33) % below;
}

struct item {
    struct bb_interval node;
    char low[8], high[8];
    bool is_in;
    size_t hits;
};

static void on_hit(void *arg, struct bb_interval *node)
{
    struct item *item = node->owner;

    (void)arg;
    item->hits++;
}

Test(interval, stab_finds_exactly_the_ranges_that_hold_the_key)
{
    static struct item items[NODES];
    struct bb_interval_index index;

    bb_interval_index_init(&index);
    for (int round = 0; round < 4000; round++) {
        struct item *item = &items[next(NODES)];
        char key[8];

        if (item->is_in) {
            bb_interval_remove(&index, &item->node);
            item->is_in = false;
        } else {
            uint64_t low = next(900);

            (void)snprintf(item->low, sizeof(item->low), "%03u", (unsigned)low);
            (void)snprintf(item->high, sizeof(item->high), "%03u",
                           (unsigned)(low + 1 + next(next(5) == 0 ? 90 : 4)));
            item->node = (struct bb_interval){ .low = bb_slice_str(item->low),
                                               .high = bb_slice_str(item->high),
                                               .owner = item };
            bb_interval_insert(&index, &item->node);
            item->is_in = true;
        }
        (void)snprintf(key, sizeof(key), "%03u", (unsigned)next(1000));
        for (size_t i = 0; i < NODES; i++)
            items[i].hits = 0;
        bb_interval_stab(&index, bb_slice_str(key), on_hit, NULL);
        for (size_t i = 0; i < NODES; i++) {
            bool holds =
                items[i].is_in && strcmp(items[i].low, key) <= 0 && strcmp(key, items[i].high) < 0;

            cr_assert_eq(items[i].hits, holds ? 1u : 0u, "round %d key %s range %s-%s", round, key,
                         items[i].low, items[i].high);
        }
    }
}

Test(interval, equal_ranges_are_kept_apart)
{
    struct item items[3] = { { .is_in = true } };
    struct bb_interval_index index;

    bb_interval_index_init(&index);
    for (size_t i = 0; i < 3; i++) {
        items[i].hits = 0;
        items[i].node = (struct bb_interval){ .low = bb_slice_str("a"),
                                              .high = bb_slice_str("b"),
                                              .owner = &items[i] };
        bb_interval_insert(&index, &items[i].node);
    }
    bb_interval_remove(&index, &items[1].node);
    bb_interval_stab(&index, bb_slice_str("a"), on_hit, NULL);
    cr_expect_eq(items[0].hits, 1u);
    cr_expect_eq(items[1].hits, 0u);
    cr_expect_eq(items[2].hits, 1u);
    cr_expect_eq(index.count, 2u);
}

static bool is_wanted(void *arg, struct bb_slice key)
{
    return bb_slice_equal_str(key, arg);
}

Test(recent, knows_what_was_written_after_a_tx)
{
    struct bb_slice keys[] = { bb_slice_str("a"), bb_slice_str("b") };
    char a[] = "a";
    char c[] = "c";
    uint64_t hit = 0;
    struct bb_recent ring;

    bb_recent_init(&ring, 10000);
    bb_recent_clear(&ring, 10);
    bb_recent_add(&ring, 11, keys, 2, true);
    bb_recent_add(&ring, 12, keys + 1, 1, true);
    cr_expect(bb_recent_hits(&ring, 10, is_wanted, a, &hit));
    cr_expect_eq(hit, 11u);
    cr_expect_not(bb_recent_hits(&ring, 11, is_wanted, a, &hit));
    cr_expect_not(bb_recent_hits(&ring, 10, is_wanted, c, &hit));
    cr_expect(bb_recent_hits(&ring, 9, is_wanted, c, &hit), "before the floor nothing is known");
    cr_expect_eq(hit, 10u, "the first that may be");
    bb_recent_fini(&ring);
}

Test(recent, forgets_the_oldest_under_its_bound)
{
    struct bb_slice keys[] = { bb_slice_str("0123456789") };
    char c[] = "c";
    uint64_t hit = 0;
    struct bb_recent ring;

    bb_recent_init(&ring, 1000);
    for (uint64_t tx = 1; tx < 1000; tx++) {
        bb_recent_add(&ring, tx, keys, 1, true);
        cr_assert_leq(ring.bytes, 1000u);
    }
    cr_expect(bb_recent_hits(&ring, 900, is_wanted, c, &hit));
    cr_expect_not(bb_recent_hits(&ring, 998, is_wanted, c, &hit));
    bb_recent_fini(&ring);
}
