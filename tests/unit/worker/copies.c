/* Which slots keep what, and what they are told. That it is exact: cache_model.c. */
#include <stdio.h>

#include <criterion/criterion.h>

#include "copies.h"
#include "copy_ranges.h"

static struct bb_slice key(uint32_t n)
{
    static uint8_t bytes[4][COPIES_KEY_SIZE];
    static size_t next;
    uint8_t *to = bytes[next++ % 4];
    memset(to, 0, COPIES_KEY_SIZE);
    bb_put_be32(to, 40004);
    bb_put_le32(to + 4, n * 2654435761u);
    bb_put_le32(to + 8, n);
    return bb_slice(to, COPIES_KEY_SIZE);
}

static bool is_end_of(const struct copies_end *end, uint32_t n, uint64_t tx)
{
    return end->tx == tx && memcmp(end->key, key(n).data, COPIES_KEY_SIZE) == 0;
}

Test(copies, a_write_is_told_once_to_those_who_keep_the_document)
{
    struct copies *copies = worker_copies_new(3);
    cr_assert(worker_copies_add(copies, 0, key(1), 10));
    cr_assert(worker_copies_add(copies, 2, key(1), 10));
    worker_copies_written(copies, key(1), 11);
    worker_copies_written(copies, key(1), 12);
    worker_copies_written(copies, key(2), 12);
    struct copies_news news = worker_copies_tell(copies, 0);
    cr_assert(news.keeps && !news.forgets);
    cr_assert_eq(news.end_count, 1);
    cr_assert(is_end_of(&news.ends[0], 1, 11));
    cr_assert_eq(worker_copies_tell(copies, 0).end_count, 0, "it is told once");
    cr_assert_eq(worker_copies_tell(copies, 1).end_count, 0, "it keeps nothing");
    cr_assert_eq(worker_copies_tell(copies, 2).end_count, 1);
    worker_copies_free(copies);
}

Test(copies, who_would_have_to_be_told_too_much_forgets_all)
{
    struct copies *copies = worker_copies_new(1);
    for (uint32_t n = 0; n < COPIES_ENDS_MAX + 1; n++) {
        cr_assert(worker_copies_add(copies, 0, key(n), 10));
        worker_copies_written(copies, key(n), 11 + n);
    }
    struct copies_news news = worker_copies_tell(copies, 0);
    cr_assert(news.forgets);
    cr_assert_eq(news.end_count, 0);
    cr_assert_not(worker_copies_tell(copies, 0).forgets);
    worker_copies_free(copies);
}

Test(copies, a_document_that_falls_out_of_the_table_ends_in_the_slots)
{
    struct copies *copies = worker_copies_new(1);
    size_t kept = 0, ended = 0;
    for (uint32_t n = 1; n <= 40000; n++) {
        kept += worker_copies_add(copies, 0, key(n), 100);
        struct copies_news news = worker_copies_tell(copies, 0);
        cr_assert_not(news.forgets);
        ended += news.end_count;
        for (size_t i = 0; i < news.end_count; i++) {
            cr_assert_eq(news.ends[i].tx, 101, "it holds as far as is known");
        }
    }
    cr_assert_eq(kept, 40000);
    cr_assert_leq(kept - ended, 2048, "as many are known as a slot keeps");
    cr_assert_gt(kept - ended, 1500);
    worker_copies_free(copies);
}

Test(copies, another_process_keeps_nothing)
{
    struct copies *copies = worker_copies_new(2);
    cr_assert(worker_copies_add(copies, 1, key(1), 10));
    worker_copies_written(copies, key(1), 11);
    worker_copies_forget(copies);
    worker_copies_restarted(copies, 1);
    cr_assert_not(worker_copies_tell(copies, 1).forgets);
    cr_assert(worker_copies_tell(copies, 0).forgets);
    worker_copies_written(copies, key(1), 12);
    cr_assert_eq(worker_copies_tell(copies, 1).end_count, 0);
    worker_copies_free(copies);
}

Test(copies, slots_beyond_the_table_and_other_keys_keep_nothing)
{
    struct copies *copies = worker_copies_new(100);
    cr_assert(worker_copies_add(copies, 63, key(1), 10));
    cr_assert_not(worker_copies_add(copies, 64, key(1), 10));
    cr_assert_not(worker_copies_add(copies, 0, bb_slice_str("an index key, longer than that"), 10));
    cr_assert_not(worker_copies_tell(copies, 64).keeps);
    worker_copies_free(copies);
}

/* ---- ranges ---- */

static uint64_t keep(struct copies *copies, size_t slot, const char *low, const char *high)
{
    return worker_copies_add_range(copies, slot, bb_slice_str(low), bb_slice_str(high), 10);
}

static void write_key(struct copies *copies, const char *name, uint64_t tx)
{
    worker_copies_written(copies, bb_slice_str(name), tx);
}

Test(copies, a_range_is_kept_when_it_is_read_again)
{
    struct copies *copies = worker_copies_new(2);
    cr_assert_eq(keep(copies, 0, "b", "d"), 0, "it may never be read again");
    uint64_t number = keep(copies, 0, "b", "d");
    cr_assert_neq(number, 0);
    cr_assert_eq(keep(copies, 1, "b", "d"), number);
    write_key(copies, "a", 11);
    write_key(copies, "d", 12);
    cr_assert_eq(worker_copies_tell(copies, 0).range_end_count, 0);
    write_key(copies, "c", 13);
    write_key(copies, "c", 14);
    for (size_t slot = 0; slot < 2; slot++) {
        struct copies_news news = worker_copies_tell(copies, slot);
        cr_assert_eq(news.range_end_count, 1);
        cr_assert_eq(news.range_ends[0].number, number);
        cr_assert_eq(news.range_ends[0].tx, 13);
        cr_assert_eq(worker_copies_tell(copies, slot).range_end_count, 0, "it is told once");
    }
    cr_assert_eq(keep(copies, 0, "b", "d"), 0, "it may be written before each read");
    cr_assert_gt(keep(copies, 0, "b", "d"), number);
    worker_copies_free(copies);
}

Test(copies, ranges_that_fall_out_of_the_table_end_in_the_slots)
{
    struct copies *copies = worker_copies_new(1);
    size_t kept = 0, ended = 0;
    for (int n = 0; n < 5000; n++) {
        char low[16], high[16];
        (void)snprintf(low, sizeof(low), "k%05d", n);
        (void)snprintf(high, sizeof(high), "k%05d!", n);
        (void)keep(copies, 0, low, high);
        kept += keep(copies, 0, low, high) != 0 ? 1 : 0;
        ended += worker_copies_tell(copies, 0).range_end_count;
    }
    cr_assert_eq(kept, 5000);
    cr_assert_eq(kept - ended, COPY_RANGES_MAX);
    worker_copies_forget(copies);
    struct copies_news news = worker_copies_tell(copies, 0);
    cr_assert(news.forgets && news.range_end_count == 0);
    static char long_key[COPY_RANGE_KEY_MAX + 1];
    memset(long_key, 'x', sizeof(long_key) - 1);
    cr_assert_eq(keep(copies, 0, "a", long_key), 0);
    cr_assert_eq(keep(copies, 0, "a", long_key), 0, "its keys are too long");
    worker_copies_free(copies);
}

Test(copies, who_would_have_to_be_told_of_too_many_ranges_forgets_all)
{
    struct copies *copies = worker_copies_new(1);
    for (int n = 0; n < COPIES_ENDS_MAX + 1; n++) {
        char low[16], high[16];
        (void)snprintf(low, sizeof(low), "k%05d", n);
        (void)snprintf(high, sizeof(high), "k%05d!", n);
        (void)keep(copies, 0, low, high);
        cr_assert_neq(keep(copies, 0, low, high), 0);
        write_key(copies, low, 20);
    }
    struct copies_news news = worker_copies_tell(copies, 0);
    cr_assert(news.forgets);
    cr_assert_eq(news.range_end_count, 0);
    worker_copies_free(copies);
}

/* Ranges of all kinds of overlap, against a list that is looked through. */
Test(copies, the_ranges_that_hold_a_key_are_found)
{
    struct copy_ranges *ranges = worker_copy_ranges_new();
    struct copy_range *list[200];
    size_t count = 0, found = 0;
    uint64_t random = 88172645463325252u;
    for (int step = 0; step < 20000; step++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        uint8_t low[2] = { (uint8_t)(random >> 8), 1 };
        uint8_t high[2] = { (uint8_t)(low[0] + (random >> 16) % 30), 2 };
        struct bb_slice a = bb_slice(low, 1 + random % 2), b = bb_slice(high, 2);
        if (bb_slice_compare(a, b) >= 0) {
            continue;
        }
        struct copy_range *old = worker_copy_ranges_find(ranges, a, b);
        if (old == NULL && count < BB_COUNT_OF(list)) {
            list[count++] = worker_copy_ranges_add(ranges, a, b);
        } else if (count > 0) {
            size_t at = (random >> 24) % count;
            worker_copy_ranges_remove(ranges, list[at]);
            list[at] = list[--count];
        }
        cr_assert_eq(worker_copy_ranges_count(ranges), count);
        uint8_t key_bytes[2] = { (uint8_t)(random >> 40), (uint8_t)((random >> 48) % 3) };
        struct bb_slice at_key = bb_slice(key_bytes, 1 + (random >> 60) % 2);
        struct copy_range *hit = worker_copy_ranges_at(ranges, at_key);
        bool is_held = false;
        for (size_t i = 0; i < count; i++) {
            is_held |= bb_slice_compare(list[i]->low, at_key) <= 0 &&
                       bb_slice_compare(at_key, list[i]->high) < 0;
        }
        cr_assert_eq(hit != NULL, is_held);
        cr_assert(hit == NULL || (bb_slice_compare(hit->low, at_key) <= 0 &&
                                  bb_slice_compare(at_key, hit->high) < 0));
        found += hit != NULL ? 1 : 0;
    }
    cr_assert_gt(found, 1000);
    worker_copy_ranges_free(ranges);
}

Test(copies, a_slot_has_what_it_was_given_until_it_is_written)
{
    struct copies *copies = worker_copies_new(2);
    cr_assert_not(worker_copies_has(copies, 0, key(1)));
    cr_assert(worker_copies_add(copies, 0, key(1), 10));
    cr_assert(worker_copies_has(copies, 0, key(1)));
    cr_assert_not(worker_copies_has(copies, 1, key(1)));
    cr_assert_not(worker_copies_has(copies, 7, key(1)));
    worker_copies_written(copies, key(1), 11);
    cr_assert_not(worker_copies_has(copies, 0, key(1)));
    worker_copies_free(copies);
}
