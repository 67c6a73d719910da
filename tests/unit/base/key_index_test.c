#include <criterion/criterion.h>

#include "bb/key_index.h"

#define THINGS 3000

struct thing {
    uint8_t key[4];
    bool is_in;
};
static struct thing things[THINGS];

static struct bb_slice key_of(const void *thing)
{
    const struct thing *from = thing;
    return bb_slice(from->key, 1 + from->key[0] % 4);
}

Test(key_index, finds_what_is_in_it_and_nothing_else_while_it_grows_and_shrinks)
{
    struct bb_key_index index;
    uint64_t state = 7;
    size_t count = 0;

    bb_key_index_init(&index, key_of);
    for (uint32_t i = 0; i < THINGS; i++)
        things[i] = (struct thing){ .key = { 3, (uint8_t)i, (uint8_t)(i >> 8), 9 } };
    for (int step = 0; step < 40000; step++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        struct thing *thing = &things[(state >> 33) % THINGS];
        bool is_filling = step / 10000 % 2 == 0;
        cr_assert_eq(bb_key_index_find(&index, key_of(thing)), thing->is_in ? thing : NULL);
        if (thing->is_in != is_filling) {
            thing->is_in = is_filling;
            if (is_filling)
                bb_key_index_add(&index, thing);
            else
                bb_key_index_remove(&index, thing);
            count = is_filling ? count + 1 : count - 1;
        }
        cr_assert_eq(index.count, count);
    }
    for (size_t i = 0; i < THINGS; i++)
        cr_assert_eq(bb_key_index_find(&index, key_of(&things[i])),
                     things[i].is_in ? &things[i] : NULL);
    bb_key_index_fini(&index);
}

/* ---- many: a directory of parts ---- */

#define MANY 200000

static struct bb_slice number_of(const void *thing)
{
    return bb_slice(thing, sizeof(uint32_t));
}

/* Each that is in is met once, and there are no others. */
static void walk_all(const struct bb_key_index *index, const uint32_t *numbers)
{
    static uint8_t is_met[MANY];
    struct bb_key_walk walk = { 0 };
    const uint32_t *thing;
    size_t count = 0;

    memset(is_met, 0, sizeof(is_met));
    for (; (thing = bb_key_index_next(index, &walk)) != NULL; count++) {
        cr_assert_eq(is_met[thing - numbers], 0);
        is_met[thing - numbers] = 1;
        cr_assert_eq(bb_key_index_find(index, number_of(thing)), thing);
    }
    cr_assert_eq(count, index->count);
    cr_assert_eq(walk.first_bits + walk.place, 0, "it begins again");
}

/* No part is larger than what may be moved at once, and the directory grows with the parts. */
static void check_shape(const struct bb_key_index *index)
{
    size_t in_parts = 0, entries = (size_t)1 << index->depth;

    cr_assert_leq(index->capacity, 4096);
    for (size_t i = 0; i < entries; i++) {
        size_t shared = (size_t)1 << (index->depth - index->parts[i].depth);
        if (i % shared == 0)
            in_parts += index->parts[i].count;
        cr_assert_eq(index->places[i], index->places[i - i % shared]);
        cr_assert_leq(4 * (size_t)index->parts[i - i % shared].count, 3 * index->capacity);
    }
    cr_assert_eq(in_parts, index->count);
    cr_assert(index->depth == 0 || entries <= 16 * (1 + index->count / 512), "%zu entries for %zu",
              entries, index->count);
}

Test(key_index, parts_become_two_and_one_again_and_nothing_is_lost)
{
    static uint32_t numbers[MANY];
    struct bb_key_index index;

    bb_key_index_init(&index, number_of);
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < MANY; i++) {
            numbers[i] = i * 2654435761u;
            bb_key_index_add(&index, &numbers[i]);
        }
        cr_assert_gt(index.depth, 4);
        check_shape(&index);
        walk_all(&index, numbers);
        for (uint32_t i = 0; i < MANY; i++) {
            if (i % 20 == 7)
                continue;
            bb_key_index_remove(&index, &numbers[i]);
            cr_assert_null(bb_key_index_find(&index, number_of(&numbers[i])));
        }
        check_shape(&index);
        walk_all(&index, numbers);
        for (uint32_t i = 7; i < MANY; i += 20)
            bb_key_index_remove(&index, &numbers[i]);
        cr_assert_eq(index.count, 0);
        cr_assert_eq(index.depth, 0);
        cr_assert_eq(index.capacity, 256, "it takes no more than at first");
    }
    bb_key_index_fini(&index);
}

/* Going around while things come and go: what stays is met, unless parts become one. */
Test(key_index, a_walk_meets_what_stays_while_parts_become_two)
{
    static uint32_t numbers[MANY];
    static uint8_t is_met[MANY];
    struct bb_key_index index;
    struct bb_key_walk walk = { 0 };
    const uint32_t *thing;
    uint32_t added = MANY / 10;

    bb_key_index_init(&index, number_of);
    for (uint32_t i = 0; i < MANY; i++)
        numbers[i] = i * 2654435761u;
    for (uint32_t i = 0; i < added; i++)
        bb_key_index_add(&index, &numbers[i]);
    for (uint32_t first = added; (thing = bb_key_index_next(&index, &walk)) != NULL;) {
        is_met[thing - numbers] = 1;
        for (int more = 0; more < 4 && added < MANY; more++)
            bb_key_index_add(&index, &numbers[added++]);
        cr_assert_leq(first, added);
    }
    /* A place that was passed may be taken over by one that had wrapped around: a few. */
    size_t missed_count = 0;
    for (uint32_t i = 0; i < MANY / 10; i++)
        missed_count += is_met[i] == 0;
    cr_assert_leq(missed_count, MANY / 10 / 1000);
    bb_key_index_fini(&index);
}
