#include "bb/key_index.h"

#include <assert.h>

#include "bb/pages.h"

#include "pieces.h"

#define CAPACITY_MIN 256u
#define CAPACITY_MAX 4096u /* moving that many takes tens of microseconds */
#define SAME_MAX     8u    /* things in a part with one and the same hash: by chance not even two */

static_assert(CAPACITY_MAX * sizeof(struct bb_key_place) % BB_PAGE_SIZE == 0, "whole pages");

void bb_key_index_init(struct bb_key_index *index, struct bb_slice (*key_of)(const void *thing))
{
    *index =
        (struct bb_key_index){ .capacity = CAPACITY_MIN, .deepest_count = 1, .key_of = key_of };
    index->places = bb_alloc(sizeof(*index->places));
    index->parts = bb_alloc_zero(1, sizeof(*index->parts));
    index->places[0] = bb_alloc_zero(index->capacity, sizeof(struct bb_key_place));
    /*
     * Keys are made by users: nobody outside should know which ones meet. But some meet whatever
     * the seed is, as XXH64 was not made against that; the overflow is there for them.
     */
    index->seed = (uint64_t)(uintptr_t)index->places[0];
}

static void overflow_free(struct bb_key_index *index)
{
    if (index->overflow != NULL)
        bb_key_index_fini(index->overflow);
    bb_free(index->overflow);
    index->overflow = NULL;
}

void bb_key_index_fini(struct bb_key_index *index)
{
    overflow_free(index);
    base_pieces_free(index->pieces);
    bb_free(index->places[0]);
    bb_free((void *)index->places);
    bb_free(index->parts);
}

/* Slow, but nobody can make keys that meet. */
static uint64_t overflow_hash(struct bb_slice key, uint64_t seed)
{
    struct bb_sha256 sha;
    uint8_t digest[32];

    bb_sha256_init(&sha);
    bb_sha256_update(&sha, &seed, sizeof(seed));
    bb_sha256_update(&sha, key.data, key.size);
    bb_sha256_final(&sha, digest);
    return bb_get_le64(digest);
}

static uint64_t hash_of(const struct bb_key_index *index, struct bb_slice key)
{
    return index->is_overflow ? overflow_hash(key, index->seed) : bb_hash64(key, index->seed);
}

/* ---- one part ---- */

static size_t home_of(const struct bb_key_index *index, uint64_t hash)
{
    return hash & (index->capacity - 1);
}

static size_t next_of(const struct bb_key_index *index, size_t at)
{
    return (at + 1) & (index->capacity - 1);
}

static void put(const struct bb_key_index *index, struct bb_key_place *places,
                struct bb_key_place place)
{
    size_t at = home_of(index, place.hash);

    while (places[at].thing != NULL)
        at = next_of(index, at);
    places[at] = place;
}

/* As `put`, but not beside too many with the same hash: false. */
static bool put_new(const struct bb_key_index *index, struct bb_key_place *places,
                    struct bb_key_place place)
{
    size_t at = home_of(index, place.hash), same_count = 0;

    for (; places[at].thing != NULL; at = next_of(index, at))
        same_count += places[at].hash == place.hash;
    if (same_count >= SAME_MAX)
        return false;
    places[at] = place;
    return true;
}

/* False: it is not in there. */
static bool take(const struct bb_key_index *index, struct bb_key_place *places, const void *thing,
                 uint64_t hash)
{
    size_t hole = home_of(index, hash);

    while (places[hole].thing != thing) {
        if (places[hole].thing == NULL)
            return false;
        hole = next_of(index, hole);
    }
    places[hole].thing = NULL;
    for (size_t at = next_of(index, hole); places[at].thing != NULL; at = next_of(index, at)) {
        /* What has its home behind the hole is found without it. */
        size_t home = home_of(index, places[at].hash);
        size_t distance = (at - home) & (index->capacity - 1);

        if (distance >= ((at - hole) & (index->capacity - 1))) {
            places[hole] = places[at];
            places[at].thing = NULL;
            hole = at;
        }
    }
    return true;
}

/* The only part, in a table of another size. */
static void resize(struct bb_key_index *index, size_t capacity)
{
    struct bb_key_place *old = index->places[0];
    size_t old_capacity = index->capacity;

    index->places[0] = bb_alloc_zero(capacity, sizeof(*old));
    index->capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].thing != NULL)
            put(index, index->places[0], old[i]);
    }
    bb_free(old);
}

/* ---- the directory ---- */

/* In two steps, as a shift by all bits is none. */
static size_t entry_of(const struct bb_key_index *index, uint64_t hash)
{
    return (size_t)(hash >> 1 >> (63 - index->depth));
}

static size_t entry_count(const struct bb_key_index *index, unsigned depth)
{
    return (size_t)1 << (index->depth - depth);
}

/* The first entry of the same part. */
static size_t first_of(const struct bb_key_index *index, size_t entry)
{
    return entry & ~(entry_count(index, index->parts[entry].depth) - 1);
}

static void double_directory(struct bb_key_index *index)
{
    size_t old_count = (size_t)1 << index->depth;
    struct bb_key_place **places = bb_alloc(2 * old_count * sizeof(*places));
    struct bb_key_part *parts = bb_alloc(2 * old_count * sizeof(*parts));

    for (size_t i = 0; i < 2 * old_count; i++) {
        places[i] = index->places[i / 2];
        parts[i] = index->parts[i / 2];
    }
    bb_free((void *)index->places);
    bb_free(index->parts);
    index->places = places;
    index->parts = parts;
    index->depth++;
    index->deepest_count = 0;
}

static void halve_directory(struct bb_key_index *index)
{
    size_t count = (size_t)1 << --index->depth;

    index->deepest_count = 0;
    for (size_t i = 0; i < count; i++) {
        index->places[i] = index->places[2 * i];
        index->parts[i] = index->parts[2 * i];
        index->deepest_count += index->parts[i].depth == index->depth;
    }
    index->places = bb_realloc((void *)index->places, count * sizeof(struct bb_key_place *));
    index->parts = bb_realloc(index->parts, count * sizeof(*index->parts));
}

static void set_depth(struct bb_key_index *index, size_t first, size_t count, uint8_t depth)
{
    for (size_t i = first; i < first + count; i++)
        index->parts[i].depth = depth;
}

/* ---- parts become two, and one ---- */

/*
 * What belongs to `upper` goes there, the rest to where it would lie without that: from behind a
 * free place on, so whatever is before the one looked at lies right already.
 */
static size_t divide(const struct bb_key_index *index, struct bb_key_place *lower,
                     struct bb_key_place *upper, uint64_t bit)
{
    size_t start = 0, moved_count = 0;

    while (lower[start].thing != NULL)
        start = next_of(index, start);
    for (size_t at = next_of(index, start); at != start; at = next_of(index, at)) {
        struct bb_key_place place = lower[at];
        bool is_moved = (place.hash & bit) != 0;

        if (place.thing == NULL)
            continue;
        lower[at].thing = NULL;
        put(index, is_moved ? upper : lower, place);
        moved_count += is_moved;
    }
    return moved_count;
}

/* The directory grows in proportion to what is in the parts. Hashes by chance need far less. */
static bool may_split(const struct bb_key_index *index, size_t entry)
{
    size_t count = index->count - (index->overflow != NULL ? index->overflow->count : 0);

    return index->parts[entry].depth < index->depth ||
           (size_t)2 << index->depth <= 16 * (1 + count / 512);
}

static void split(struct bb_key_index *index, size_t entry)
{
    unsigned depth = index->parts[entry].depth + 1u;
    struct bb_key_place *places;
    size_t first, second, count, moved_count;

    if (depth > index->depth) {
        double_directory(index);
        entry *= 2;
    }
    first = first_of(index, entry);
    count = entry_count(index, depth);
    second = first + count;
    if (index->pieces == NULL)
        index->pieces = base_pieces_new(CAPACITY_MAX * sizeof(struct bb_key_place));
    places = base_pieces_take(index->pieces);
    moved_count = divide(index, index->places[first], places, (uint64_t)1 << (64 - depth));
    for (size_t i = second; i < second + count; i++)
        index->places[i] = places;
    set_depth(index, first, 2 * count, (uint8_t)depth);
    index->parts[second].count = (uint16_t)moved_count;
    index->parts[first].count = (uint16_t)(index->parts[first].count - moved_count);
    if (depth == index->depth)
        index->deepest_count += 2;
}

static void unite(struct bb_key_index *index, size_t first, size_t second)
{
    unsigned depth = index->parts[first].depth;
    size_t count = entry_count(index, depth);
    struct bb_key_place *from = index->places[second], *into = index->places[first];

    for (size_t i = 0; i < index->capacity; i++) {
        if (from[i].thing != NULL)
            put(index, into, from[i]);
    }
    base_pieces_give(index->pieces, from);
    for (size_t i = second; i < second + count; i++)
        index->places[i] = into;
    index->parts[first].count = (uint16_t)(index->parts[first].count + index->parts[second].count);
    set_depth(index, first, 2 * count, (uint8_t)(depth - 1));
    if (depth == index->depth)
        index->deepest_count -= 2;
    while (index->depth > 0 && index->deepest_count == 0)
        halve_directory(index);
}

/* The part has become nearly empty. */
static void shrink(struct bb_key_index *index, size_t first)
{
    unsigned depth = index->parts[first].depth;
    size_t other = first ^ entry_count(index, depth);

    if (index->depth == 0) {
        if (index->capacity > CAPACITY_MIN)
            resize(index, index->capacity / 2);
        return;
    }
    if (index->parts[other].depth != depth ||
        4 * (size_t)(index->parts[first].count + index->parts[other].count) > index->capacity)
        return;
    unite(index, first < other ? first : other, first < other ? other : first);
}

/* ---- things ---- */

/* What has the first bits of too many others in common goes where the hash is another one. */
static void overflow_add(struct bb_key_index *index, void *thing)
{
    if (index->overflow == NULL) {
        index->overflow = bb_alloc(sizeof(*index->overflow));
        bb_key_index_init(index->overflow, index->key_of);
        index->overflow->is_overflow = true;
    }
    bb_key_index_add(index->overflow, thing);
}

static void overflow_remove(struct bb_key_index *index, const void *thing)
{
    bb_assert(index->overflow != NULL);
    bb_key_index_remove(index->overflow, thing);
    if (index->overflow->count == 0)
        overflow_free(index);
}

void *bb_key_index_find(const struct bb_key_index *index, struct bb_slice key)
{
    for (; index != NULL; index = index->overflow) {
        uint64_t hash = hash_of(index, key);
        const struct bb_key_place *places = index->places[entry_of(index, hash)];
        const struct bb_key_place *place;

        for (size_t at = home_of(index, hash); (place = &places[at])->thing != NULL;
             at = next_of(index, at)) {
            if (place->hash == hash && bb_slice_equal(index->key_of(place->thing), key))
                return place->thing;
        }
    }
    return NULL;
}

/* In the part that a hash leads to, which is `first` then; false: it cannot be had. */
static bool make_room(struct bb_key_index *index, uint64_t hash, size_t *first)
{
    for (;;) {
        *first = first_of(index, entry_of(index, hash));
        if (4 * ((size_t)index->parts[*first].count + 1) <= 3 * index->capacity)
            return true;
        if (index->capacity < CAPACITY_MAX)
            resize(index, 2 * index->capacity);
        else if (may_split(index, *first))
            split(index, *first);
        else
            return false;
    }
}

void bb_key_index_add(struct bb_key_index *index, void *thing)
{
    struct bb_key_place place = { .thing = thing, .hash = hash_of(index, index->key_of(thing)) };
    size_t first;

    if (make_room(index, place.hash, &first) && put_new(index, index->places[first], place))
        index->parts[first].count++;
    else
        overflow_add(index, thing);
    index->count++;
}

void bb_key_index_remove(struct bb_key_index *index, const void *thing)
{
    uint64_t hash = hash_of(index, index->key_of(thing));
    size_t first = first_of(index, entry_of(index, hash));

    index->count--;
    if (!take(index, index->places[first], thing, hash)) {
        overflow_remove(index, thing);
        return;
    }
    index->parts[first].count--;
    if (8 * (size_t)index->parts[first].count < index->capacity)
        shrink(index, first);
}

static void *next_in_parts(const struct bb_key_index *index, struct bb_key_walk *walk)
{
    do {
        size_t entry = entry_of(index, walk->first_bits);
        const struct bb_key_place *places = index->places[entry];
        unsigned depth = index->parts[entry].depth;

        while (walk->place < index->capacity) {
            void *thing = places[walk->place++].thing;
            if (thing != NULL)
                return thing;
        }
        walk->place = 0;
        /* In two steps again; it wraps around behind the last part. */
        walk->first_bits = ((walk->first_bits >> 1 >> (63 - depth)) + 1) << 1 << (63 - depth);
    } while (walk->first_bits != 0);
    return NULL;
}

void *bb_key_index_next(const struct bb_key_index *index, struct bb_key_walk *walk)
{
    for (unsigned i = 0; i < walk->overflow && index != NULL; i++)
        index = index->overflow;
    for (; index != NULL; index = index->overflow) {
        void *thing = next_in_parts(index, walk);
        if (thing != NULL)
            return thing;
        walk->overflow++;
    }
    *walk = (struct bb_key_walk){ 0 };
    return NULL;
}
