#include "cover_index.h"

#define CAPACITY_MIN 256u

void worker_cover_index_init(struct cover_index *index)
{
    *index = (struct cover_index){ .capacity = CAPACITY_MIN };
    index->places = bb_alloc_zero(index->capacity, sizeof(struct cover *));
    /* Keys are made by users: nobody outside should know which ones meet. Nothing depends on it. */
    index->seed = (uint64_t)(uintptr_t)index->places;
}

void worker_cover_index_fini(struct cover_index *index)
{
    bb_free(index->places);
}

static size_t home_of(const struct cover_index *index, struct bb_slice low)
{
    return bb_hash64(low, index->seed) & (index->capacity - 1);
}

static size_t next_of(const struct cover_index *index, size_t at)
{
    return (at + 1) & (index->capacity - 1);
}

struct cover *worker_cover_index_find(const struct cover_index *index, struct bb_slice low)
{
    size_t at = home_of(index, low);
    while (index->places[at] != NULL && !bb_slice_equal(index->places[at]->low, low)) {
        at = next_of(index, at);
    }
    return index->places[at];
}

static void place(struct cover_index *index, struct cover *cover)
{
    size_t at = home_of(index, cover->low);
    while (index->places[at] != NULL) {
        at = next_of(index, at);
    }
    index->places[at] = cover;
}

static void resize(struct cover_index *index, size_t capacity)
{
    struct cover **old = index->places;
    size_t old_capacity = index->capacity;
    index->places = bb_alloc_zero(capacity, sizeof(struct cover *));
    index->capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i] != NULL) {
            place(index, old[i]);
        }
    }
    bb_free(old);
}

void worker_cover_index_add(struct cover_index *index, struct cover *cover)
{
    if (2 * (index->count + 1) > index->capacity) {
        resize(index, 2 * index->capacity);
    }
    place(index, cover);
    index->count++;
}

void worker_cover_index_remove(struct cover_index *index, const struct cover *cover)
{
    size_t hole = home_of(index, cover->low);
    while (index->places[hole] != cover) {
        bb_assert(index->places[hole] != NULL);
        hole = next_of(index, hole);
    }
    index->places[hole] = NULL;
    for (size_t at = next_of(index, hole); index->places[at] != NULL; at = next_of(index, at)) {
        /* What has its home behind the hole is found without it. */
        size_t home = home_of(index, index->places[at]->low);
        size_t distance = (at - home) & (index->capacity - 1);
        if (distance >= ((at - hole) & (index->capacity - 1))) {
            index->places[hole] = index->places[at];
            index->places[at] = NULL;
            hole = at;
        }
    }
    index->count--;
    if (index->capacity > CAPACITY_MIN && 8 * index->count < index->capacity) {
        resize(index, index->capacity / 2);
    }
}
