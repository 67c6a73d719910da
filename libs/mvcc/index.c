#include "index.h"

#include "node.h"

#define CAPACITY_MIN 256u

struct mvcc_index {
    struct mvcc_node **places; /* a power of two of them */
    size_t capacity, count;
    uint64_t seed;
};

struct mvcc_index *mvcc_index_new(void)
{
    struct mvcc_index *index = bb_alloc_zero(1, sizeof(*index));
    index->capacity = CAPACITY_MIN;
    index->places = bb_alloc_zero(index->capacity, sizeof(struct mvcc_node *));
    /* Keys are made by users: nobody outside should know which ones meet. Nothing depends on it. */
    index->seed = (uint64_t)(uintptr_t)index->places ^ (uint64_t)(uintptr_t)index;
    return index;
}

void mvcc_index_free(struct mvcc_index *index)
{
    if (index != NULL) {
        bb_free(index->places);
        bb_free(index);
    }
}

static size_t home_of(const struct mvcc_index *index, struct bb_slice key)
{
    return bb_hash64(key, index->seed) & (index->capacity - 1);
}

static size_t next_of(const struct mvcc_index *index, size_t at)
{
    return (at + 1) & (index->capacity - 1);
}

struct mvcc_node *mvcc_index_find(const struct mvcc_index *index, struct bb_slice key)
{
    size_t at = home_of(index, key);
    while (index->places[at] != NULL && mvcc_node_compare(index->places[at], key) != 0) {
        at = next_of(index, at);
    }
    return index->places[at];
}

static void place(struct mvcc_index *index, struct mvcc_node *node)
{
    size_t at = home_of(index, mvcc_node_key(node));
    while (index->places[at] != NULL) {
        at = next_of(index, at);
    }
    index->places[at] = node;
}

static void resize(struct mvcc_index *index, size_t capacity)
{
    struct mvcc_node **old = index->places;
    size_t old_capacity = index->capacity;
    index->places = bb_alloc_zero(capacity, sizeof(struct mvcc_node *));
    index->capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i] != NULL) {
            place(index, old[i]);
        }
    }
    bb_free(old);
}

void mvcc_index_add(struct mvcc_index *index, struct mvcc_node *node)
{
    if (2 * (index->count + 1) > index->capacity) {
        resize(index, 2 * index->capacity);
    }
    place(index, node);
    index->count++;
}

void mvcc_index_remove(struct mvcc_index *index, const struct mvcc_node *node)
{
    size_t hole = home_of(index, mvcc_node_key(node));
    while (index->places[hole] != node) {
        bb_assert(index->places[hole] != NULL);
        hole = next_of(index, hole);
    }
    index->places[hole] = NULL;
    for (size_t at = next_of(index, hole); index->places[at] != NULL; at = next_of(index, at)) {
        /* What has its home behind the hole is found without it. */
        size_t home = home_of(index, mvcc_node_key(index->places[at]));
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
