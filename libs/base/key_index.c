#include "bb/key_index.h"

#define CAPACITY_MIN 256u

void bb_key_index_init(struct bb_key_index *index, struct bb_slice (*key_of)(const void *thing))
{
    *index = (struct bb_key_index){ .capacity = CAPACITY_MIN, .key_of = key_of };
    index->places = bb_alloc_zero(index->capacity, sizeof(void *));
    /* Keys are made by users: nobody outside should know which ones meet. Nothing depends on it. */
    index->seed = (uint64_t)(uintptr_t)index->places;
}

void bb_key_index_fini(struct bb_key_index *index)
{
    bb_free(index->places);
}

static size_t home_of(const struct bb_key_index *index, struct bb_slice key)
{
    return bb_hash64(key, index->seed) & (index->capacity - 1);
}

static size_t next_of(const struct bb_key_index *index, size_t at)
{
    return (at + 1) & (index->capacity - 1);
}

void *bb_key_index_find(const struct bb_key_index *index, struct bb_slice key)
{
    size_t at = home_of(index, key);

    while (index->places[at] != NULL && !bb_slice_equal(index->key_of(index->places[at]), key))
        at = next_of(index, at);
    return index->places[at];
}

static void place(struct bb_key_index *index, void *thing)
{
    size_t at = home_of(index, index->key_of(thing));

    while (index->places[at] != NULL)
        at = next_of(index, at);
    index->places[at] = thing;
}

static void resize(struct bb_key_index *index, size_t capacity)
{
    void **old = index->places;
    size_t old_capacity = index->capacity;

    index->places = bb_alloc_zero(capacity, sizeof(void *));
    index->capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i] != NULL)
            place(index, old[i]);
    }
    bb_free(old);
}

void bb_key_index_add(struct bb_key_index *index, void *thing)
{
    if (2 * (index->count + 1) > index->capacity)
        resize(index, 2 * index->capacity);
    place(index, thing);
    index->count++;
}

void bb_key_index_remove(struct bb_key_index *index, const void *thing)
{
    size_t hole = home_of(index, index->key_of(thing));

    while (index->places[hole] != thing) {
        bb_assert(index->places[hole] != NULL);
        hole = next_of(index, hole);
    }
    index->places[hole] = NULL;
    for (size_t at = next_of(index, hole); index->places[at] != NULL; at = next_of(index, at)) {
        /* What has its home behind the hole is found without it. */
        size_t home = home_of(index, index->key_of(index->places[at]));
        size_t distance = (at - home) & (index->capacity - 1);

        if (distance >= ((at - hole) & (index->capacity - 1))) {
            index->places[hole] = index->places[at];
            index->places[at] = NULL;
            hole = at;
        }
    }
    index->count--;
    if (index->capacity > CAPACITY_MIN && 8 * index->count < index->capacity)
        resize(index, index->capacity / 2);
}
