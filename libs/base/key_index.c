#include "bb/key_index.h"

#include "bb/pages.h"

#define CAPACITY_MIN 256u

void bb_key_index_init(struct bb_key_index *index, struct bb_slice (*key_of)(const void *thing))
{
    *index = (struct bb_key_index){ .capacity = CAPACITY_MIN, .key_of = key_of };
    index->places = bb_alloc_zero(index->capacity, sizeof(*index->places));
    /* Keys are made by users: nobody outside should know which ones meet. Nothing depends on it. */
    index->seed = (uint64_t)(uintptr_t)index->places;
}

void bb_key_index_fini(struct bb_key_index *index)
{
    bb_free(index->places);
}

static size_t home_of(const struct bb_key_index *index, uint64_t hash)
{
    return hash & (index->capacity - 1);
}

static size_t next_of(const struct bb_key_index *index, size_t at)
{
    return (at + 1) & (index->capacity - 1);
}

void *bb_key_index_find(const struct bb_key_index *index, struct bb_slice key)
{
    uint64_t hash = bb_hash64(key, index->seed);
    const struct bb_key_place *place;

    for (size_t at = home_of(index, hash); (place = &index->places[at])->thing != NULL;
         at = next_of(index, at)) {
        if (place->hash == hash && bb_slice_equal(index->key_of(place->thing), key))
            return place->thing;
    }
    return NULL;
}

static void put(struct bb_key_index *index, struct bb_key_place place)
{
    size_t at = home_of(index, place.hash);

    while (index->places[at].thing != NULL)
        at = next_of(index, at);
    index->places[at] = place;
}

static void resize(struct bb_key_index *index, size_t capacity)
{
    struct bb_key_place *old = index->places;
    size_t old_capacity = index->capacity;

    index->places = bb_alloc_zero(capacity, sizeof(*index->places));
    bb_pages_advise_large(index->places, capacity * sizeof(*index->places));
    index->capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].thing != NULL)
            put(index, old[i]);
    }
    bb_free(old);
}

void bb_key_index_add(struct bb_key_index *index, void *thing)
{
    if (4 * (index->count + 1) > 3 * index->capacity)
        resize(index, 2 * index->capacity);
    put(index, (struct bb_key_place){ .thing = thing,
                                      .hash = bb_hash64(index->key_of(thing), index->seed) });
    index->count++;
}

void bb_key_index_remove(struct bb_key_index *index, const void *thing)
{
    struct bb_key_place *places = index->places;
    size_t hole = home_of(index, bb_hash64(index->key_of(thing), index->seed));

    while (places[hole].thing != thing) {
        bb_assert(places[hole].thing != NULL);
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
    index->count--;
    if (index->capacity > CAPACITY_MIN && 8 * index->count < index->capacity)
        resize(index, index->capacity / 2);
}
