#include <criterion/criterion.h>

#include "coverage.h"

static struct bb_slice key(uint8_t *byte, unsigned value)
{
    *byte = (uint8_t)value;
    return bb_slice(byte, 1);
}

static void add(struct coverage *set, unsigned low, unsigned high, uint64_t from)
{
    uint8_t a, b;
    worker_coverage_add(set, key(&a, low), key(&b, high), from);
}

static uint64_t from_at(struct coverage *set, unsigned at)
{
    uint8_t a;
    struct cover *cover = worker_coverage_at(set, key(&a, at));
    return cover == NULL ? UINT64_MAX : cover->from;
}

Test(coverage, parts_known_from_an_older_moment_keep_it)
{
    struct coverage *set = worker_coverage_new();
    add(set, 10, 20, 5);
    add(set, 5, 30, 9);
    cr_assert_eq(from_at(set, 4), UINT64_MAX);
    cr_assert_eq(from_at(set, 5), 9);
    cr_assert_eq(from_at(set, 10), 5);
    cr_assert_eq(from_at(set, 19), 5);
    cr_assert_eq(from_at(set, 20), 9);
    cr_assert_eq(from_at(set, 30), UINT64_MAX);
    worker_coverage_free(set);
}

Test(coverage, an_older_fill_lowers_the_part_that_it_covers)
{
    struct coverage *set = worker_coverage_new();
    add(set, 10, 40, 9);
    add(set, 20, 30, 4);
    cr_assert_eq(from_at(set, 19), 9);
    cr_assert_eq(from_at(set, 20), 4);
    cr_assert_eq(from_at(set, 29), 4);
    cr_assert_eq(from_at(set, 30), 9);
    cr_assert_eq(worker_coverage_count(set), 3);
    worker_coverage_free(set);
}

/* The point of `value`. */
static void add_point(struct coverage *set, unsigned value, uint64_t from)
{
    uint8_t byte;
    worker_coverage_add_point(set, key(&byte, value), from);
}

static struct cover *at(struct coverage *set, unsigned value)
{
    uint8_t byte;
    return worker_coverage_at(set, key(&byte, value));
}

Test(coverage, a_point_in_a_range_is_known_from_the_older_of_both)
{
    struct coverage *set = worker_coverage_new();
    uint8_t byte;
    add_point(set, 15, 7);
    add_point(set, 16, 3);
    add(set, 10, 20, 5);
    cr_assert_eq(from_at(set, 15), 5);
    cr_assert_eq(from_at(set, 16), 3);
    add_point(set, 17, 9);
    cr_assert_not(worker_coverage_has_point(set, key(&byte, 17)), "the range says more");
    worker_coverage_remove(set, at(set, 17));
    cr_assert_eq(from_at(set, 17), UINT64_MAX);
    cr_assert_eq(from_at(set, 15), 7, "points stay when their range goes");
    add_point(set, 15, 2);
    cr_assert_eq(from_at(set, 15), 2);
    add(set, 10, 20, 1);
    cr_assert_eq(from_at(set, 15), 1);
    worker_coverage_remove(set, at(set, 12));
    cr_assert_eq(from_at(set, 15), 2);
    worker_coverage_remove(set, at(set, 15));
    cr_assert_eq(from_at(set, 15), UINT64_MAX);
    cr_assert_eq(worker_coverage_count(set), 1);
    worker_coverage_free(set);
}

Test(coverage, what_is_known_since_later_goes_points_and_ranges)
{
    struct coverage *set = worker_coverage_new();
    for (unsigned i = 0; i < 200; i++) {
        add_point(set, i, i);
    }
    add(set, 220, 230, 99);
    add(set, 240, 250, 101);
    worker_coverage_drop_after(set, 100);
    cr_assert_eq(worker_coverage_count(set), 102);
    for (unsigned i = 0; i < 200; i++) {
        cr_assert_eq(from_at(set, i), i <= 100 ? i : UINT64_MAX);
    }
    /* Bit by bit: a range and 101 points, seven at a time. */
    unsigned steps = 1;
    for (; !worker_coverage_free_some(set, 7); steps++) {
        cr_assert_gt(worker_coverage_bytes(set), 0);
    }
    cr_assert_eq(steps, 15);
}

Test(coverage, going_around_comes_by_all)
{
    struct coverage *set = worker_coverage_new();
    unsigned seen[256] = { 0 };
    for (unsigned i = 0; i < 100; i++) {
        add_point(set, i, 1);
    }
    add(set, 150, 160, 1);
    add(set, 170, 180, 1);
    for (unsigned i = 0; i < 3 * 102; i++) {
        seen[worker_coverage_around(set)->low.data[0]]++;
    }
    for (unsigned i = 0; i < 256; i++) {
        cr_assert_eq(seen[i], i < 100 || i == 150 || i == 170 ? 3 : 0);
    }
    worker_coverage_free(set);
}

Test(coverage, equals_an_array_of_moments)
{
    struct coverage *set = worker_coverage_new();
    uint64_t model[256];
    uint64_t random = 12345;
    memset(model, 0xff, sizeof(model));
    for (int round = 0; round < 20000; round++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        unsigned low = (unsigned)(random >> 33) % 250;
        unsigned high = low + 1 + (unsigned)(random >> 45) % 6;
        uint64_t from = (random >> 20) % 1000;
        if ((random >> 60) < 4) {
            uint8_t a;
            struct cover *cover = worker_coverage_at(set, key(&a, low));
            if (cover != NULL) {
                for (unsigned k = cover->low.data[0]; k < cover->high.data[0]; k++) {
                    model[k] = UINT64_MAX;
                }
                worker_coverage_remove(set, cover);
            }
        } else {
            add(set, low, high, from);
            for (unsigned k = low; k < high; k++) {
                model[k] = from < model[k] ? from : model[k];
            }
        }
        for (unsigned k = 0; k < 256; k++) {
            cr_assert_eq(from_at(set, k), model[k]);
        }
        uint8_t a;
        unsigned at = (unsigned)(random >> 25) % 255;
        struct cover *next = worker_coverage_next(set, key(&a, at));
        struct cover *before = worker_coverage_before(set, key(&a, at));
        cr_assert(next == NULL || next->low.data[0] >= at);
        cr_assert(before == NULL || before->low.data[0] < at);
    }
    worker_coverage_free(set);
}
