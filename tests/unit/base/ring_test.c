/* A ring between two sides, of which one may be hostile. Races: tests/race/base/ring.c. */
#include <criterion/criterion.h>

#include "bb/ring.h"

#define CAPACITY 64

/* Where the marks are in the memory: each on a cache line of its own. */
#define WRITTEN_AT 0
#define READ_AT    64

static _Alignas(64) uint8_t memory[1024];
static struct bb_ring writer, reader;
static struct bb_buf got;

static void make(void)
{
    cr_assert_leq(bb_ring_memory_size(CAPACITY), sizeof memory);
    memset(memory, 0, sizeof memory);
    bb_ring_attach(&writer, memory, CAPACITY);
    bb_ring_attach(&reader, memory, CAPACITY);
    bb_buf_init(&got);
}

static size_t put(const char *bytes, size_t size)
{
    size_t written;

    cr_assert_eq(bb_ring_write(&writer, bb_slice(bytes, size), &written), BB_OK);
    return written;
}

static size_t take(void)
{
    size_t before = got.size;

    cr_assert_eq(bb_ring_read(&reader, &got), BB_OK);
    return got.size - before;
}

Test(ring, bytes_come_out_as_they_went_in_also_across_the_end)
{
    char bytes[50];

    make();
    for (int round = 0; round < 1000; round++) {
        size_t size = (size_t)(round % 50) + 1;
        memset(bytes, round, sizeof bytes);
        bytes[size - 1] = 'e';
        cr_assert_eq(put(bytes, size), size);
        bb_buf_clear(&got);
        cr_assert_eq(take(), size);
        cr_assert_eq(memcmp(got.data, bytes, size), 0);
    }
    cr_assert_eq(take(), 0);
    bb_buf_fini(&got);
}

Test(ring, a_full_one_takes_a_part_and_its_writer_is_woken_once_for_room)
{
    char bytes[CAPACITY + 10];

    make();
    memset(bytes, 'x', sizeof bytes);
    cr_assert_eq(put(bytes, sizeof bytes), CAPACITY);
    cr_assert_eq(put(bytes, 10), 0);
    cr_assert_not(bb_ring_must_wake_writer(&reader), "it has not said that it waits");
    cr_assert(bb_ring_wait_for_room(&writer));
    cr_assert_eq(take(), CAPACITY);
    cr_assert(bb_ring_must_wake_writer(&reader));
    cr_assert_not(bb_ring_must_wake_writer(&reader));
    cr_assert_not(bb_ring_wait_for_room(&writer), "there is room by now");
    cr_assert_not(bb_ring_must_wake_writer(&reader));
    cr_assert_eq(put(bytes, 10), 10);
    bb_buf_fini(&got);
}

Test(ring, a_reader_is_woken_once_and_only_when_it_sleeps)
{
    make();
    (void)put("a", 1);
    cr_assert_not(bb_ring_must_wake_reader(&writer));
    cr_assert_not(bb_ring_may_sleep(&reader), "something has come");
    cr_assert_not(bb_ring_must_wake_reader(&writer));
    (void)take();
    cr_assert(bb_ring_may_sleep(&reader));
    (void)put("b", 1);
    cr_assert(bb_ring_must_wake_reader(&writer));
    cr_assert_not(bb_ring_must_wake_reader(&writer));
    (void)take();
    cr_assert(bb_ring_may_sleep(&reader));
    bb_ring_awake(&reader);
    (void)put("c", 1);
    cr_assert_not(bb_ring_must_wake_reader(&writer));
    bb_buf_fini(&got);
}

static void set_mark(size_t at, uint64_t mark)
{
    memcpy(memory + at, &mark, sizeof mark);
}

Test(ring, a_mark_of_the_other_side_that_makes_no_sense_is_refused)
{
    static const uint64_t written[] = { CAPACITY + 11, UINT64_MAX, 1ull << 63, 9 };
    static const uint64_t read[] = { 11, UINT64_MAX, 1ull << 63, 3 };
    size_t count;

    for (size_t i = 0; i < BB_COUNT_OF(written); i++) {
        make();
        (void)put("0123456789", 10);
        (void)take();
        set_mark(WRITTEN_AT, written[i]);
        cr_assert_eq(bb_ring_read(&reader, &got), BB_CORRUPT, "%zu", i);
        cr_assert_eq(got.size, 10);
        bb_buf_fini(&got);
    }
    for (size_t i = 0; i < BB_COUNT_OF(read); i++) {
        make();
        (void)put("01234", 5);
        (void)take();
        set_mark(READ_AT, 5);
        cr_assert_eq(
            put("0123456789012345678901234567890123456789012345678901234567890123", CAPACITY),
            CAPACITY);
        set_mark(READ_AT, read[i] == 11 ? writer.at + 1 : read[i]);
        cr_assert_eq(bb_ring_write(&writer, bb_slice("x", 1), &count), BB_CORRUPT, "%zu", i);
        cr_assert_eq(count, 0);
        cr_assert_not(bb_ring_wait_for_room(&writer), "the next write says what is wrong");
        bb_buf_fini(&got);
    }
}

Test(ring, what_was_read_does_not_change_any_more)
{
    make();
    (void)put("safe", 4);
    (void)take();
    memset(memory + bb_ring_memory_size(CAPACITY) - CAPACITY, 'X', CAPACITY);
    cr_assert_eq(memcmp(got.data, "safe", 4), 0);
    bb_buf_fini(&got);
}

Test(ring, a_message_larger_than_the_ring_goes_through_in_parts)
{
    static char large[10000];
    size_t at = 0;

    make();
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (char)(i * 7 % 251);
    while (at < sizeof large) {
        at += put(large + at, sizeof large - at);
        cr_assert(at == sizeof large || bb_ring_wait_for_room(&writer));
        (void)take();
    }
    cr_assert_eq(got.size, sizeof large);
    cr_assert_eq(memcmp(got.data, large, sizeof large), 0);
    bb_buf_fini(&got);
}
