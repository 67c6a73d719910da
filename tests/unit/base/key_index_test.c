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
    cr_assert_eq(walk.first_bits + walk.place + walk.overflow, 0, "it begins again");
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
    if (index->overflow != NULL) {
        in_parts += index->overflow->count;
        check_shape(index->overflow);
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

/* ---- keys that are made to meet ---- */

#define P1       0x9E3779B185EBCA87u /* of XXH64 */
#define P2       0xC2B2AE3D27D4EB4Fu
#define PAIRS    13
#define MEETING  (1u << PAIRS)
#define MEETINGS (MEETING + 1) /* one more, of which nothing is in there */

/* Each pair of words, 32 bytes apart, feeds one of the hash's four lanes twice. */
struct meeting {
    uint64_t words[(PAIRS + 3) / 4 * 8];
};

static struct bb_slice words_of(const void *thing)
{
    return bb_slice(thing, sizeof(struct meeting));
}

static uint64_t inverse(uint64_t odd)
{
    uint64_t x = odd;

    for (int i = 0; i < 6; i++)
        x *= 2 - odd * x;
    return x;
}

/*
 * The highest bit of a lane's word is bit 30 of the lane, times P1, after a round; the next word
 * takes that away again, by an addition or a subtraction: the seed only decides which.
 */
static void toggle(struct meeting *meeting, int pair, bool is_added)
{
    uint64_t *word = &meeting->words[pair / 4 * 8 + pair % 4];
    uint64_t difference = ((uint64_t)1 << 30) * P1 * inverse(P2);

    word[0] ^= (uint64_t)1 << 63;
    word[4] += is_added ? difference : 0 - difference;
}

/* All with one hash, under this seed. */
static void make_meet(struct meeting *meetings, uint64_t seed)
{
    bool is_added[PAIRS];
    uint64_t hash;

    memset(meetings, 0, MEETINGS * sizeof(*meetings));
    hash = bb_hash64(words_of(&meetings[0]), seed);
    for (int pair = 0; pair < PAIRS; pair++) {
        struct meeting attempt = meetings[0];
        toggle(&attempt, pair, true);
        is_added[pair] = bb_hash64(words_of(&attempt), seed) == hash;
    }
    for (uint32_t i = 0; i < MEETING; i++) {
        for (int pair = 0; pair < PAIRS; pair++) {
            if ((i >> pair & 1) != 0)
                toggle(&meetings[i], pair, is_added[pair]);
        }
        cr_assert_eq(bb_hash64(words_of(&meetings[i]), seed), hash);
    }
}

static void walk_meetings(const struct bb_key_index *index, const struct meeting *meetings)
{
    uint8_t is_met[MEETINGS] = { 0 };
    struct bb_key_walk walk = { 0 };
    const struct meeting *thing;
    size_t count = 0;

    for (; (thing = bb_key_index_next(index, &walk)) != NULL; count++) {
        cr_assert_eq(is_met[thing - meetings], 0);
        is_met[thing - meetings] = 1;
    }
    cr_assert_eq(count, index->count);
}

Test(key_index, keys_that_are_made_to_meet_do_not_make_the_directory_grow)
{
    static struct meeting meetings[MEETINGS];
    struct bb_key_index index;
    struct bb_key_walk walk = { 0 };

    bb_key_index_init(&index, words_of);
    make_meet(meetings, index.seed);
    for (uint32_t i = 0; i < MEETING; i++) {
        meetings[MEETING] = meetings[i];
        cr_assert_null(bb_key_index_find(&index, words_of(&meetings[MEETING])));
        bb_key_index_add(&index, &meetings[i]);
        cr_assert_eq(bb_key_index_find(&index, words_of(&meetings[MEETING])), &meetings[i]);
    }
    cr_assert_eq(index.overflow->count, MEETING - 8, "few are looked through for one");
    cr_assert_null(index.overflow->overflow);
    check_shape(&index);
    walk_meetings(&index, meetings);
    for (uint32_t i = 0; i < MEETING / 2; i++)
        cr_assert_not_null(bb_key_index_next(&index, &walk));
    for (uint32_t i = 0; i < MEETING; i++) {
        struct meeting *thing = &meetings[(i * 5 + 3) % MEETING];
        bb_key_index_remove(&index, thing);
        cr_assert_null(bb_key_index_find(&index, words_of(thing)));
        if (i % 1024 == 1023) {
            check_shape(&index);
            walk_meetings(&index, meetings);
        }
    }
    cr_assert_null(bb_key_index_next(&index, &walk), "where it was is gone");
    cr_assert_eq(walk.first_bits + walk.place + walk.overflow, 0);
    cr_assert_null(index.overflow);
    cr_assert_eq(index.depth, 0);
    bb_key_index_fini(&index);
}

Test(key_index, hashes_that_are_alike_do_not_make_the_directory_grow)
{
    static uint32_t numbers[MANY];
    const uint32_t alike = 8000, count = 60000;
    struct bb_key_index index;
    uint32_t number = 0;

    bb_key_index_init(&index, number_of);
    for (uint32_t i = 0; i < alike; i++) {
        do {
            numbers[i] = number++;
        } while (bb_hash64(number_of(&numbers[i]), index.seed) >> 54 != 0);
        bb_key_index_add(&index, &numbers[i]);
        if (i % 64 == 0)
            check_shape(&index);
    }
    cr_assert_not_null(index.overflow);
    walk_all(&index, numbers);
    for (uint32_t i = alike; i < count; i++) {
        numbers[i] = UINT32_MAX - i;
        bb_key_index_add(&index, &numbers[i]);
    }
    check_shape(&index);
    walk_all(&index, numbers);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t *thing = &numbers[(i + alike / 2) % count];
        bb_key_index_remove(&index, thing);
        cr_assert_null(bb_key_index_find(&index, number_of(thing)));
        if (i % 8192 == 0)
            walk_all(&index, numbers);
    }
    cr_assert_eq(index.count, 0);
    cr_assert_null(index.overflow);
    cr_assert_eq(index.depth, 0);
    bb_key_index_fini(&index);
}
