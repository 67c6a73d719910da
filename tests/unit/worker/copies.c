/* Which slots keep what, and what they are told. That it is exact: cache_model.c. */
#include <criterion/criterion.h>

#include "copies.h"

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
