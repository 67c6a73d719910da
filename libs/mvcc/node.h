/*
 * How the map lies in memory: a skip list of nodes, one a key, each with a chain of versions,
 * newest first. Internal to libs/mvcc.
 *
 * Links and chains are published with release stores by the one writer and followed with acquire
 * loads by readers. `prev` of the lowest level may lag behind while a node is being linked in: a
 * reader that steps over such a node misses nothing, because the node's versions are newer than
 * what it reads at.
 */
#ifndef BB_MVCC_NODE_H
#define BB_MVCC_NODE_H

#include <stdatomic.h>

#include "bb/key_index.h"
#include "bb/mvcc.h"

/* 4^12 keys before a search degrades beyond a chain of four a level. */
#define MVCC_LEVELS 12

/* The chain is a circle for its writer: what nobody reads any more is taken off its old end,
 * however many newer versions there are. */
struct mvcc_version {
    _Atomic(struct mvcc_version *) older;
    struct mvcc_version *newer; /* of the newest one: the oldest; the writer's */
    struct bb_txtime tx;
    enum bb_mvcc_kind kind;
    uint32_t value_size;
    uint8_t value[];
};

struct mvcc_node {
    _Atomic(struct mvcc_version *) newest;
    _Atomic(struct mvcc_node *) prev; /* NULL: this is the first */
    uint32_t key_size;
    uint32_t level_count;               /* 0: it is loose, in the index alone */
    _Atomic(struct mvcc_node *) next[]; /* level_count of them, then the key's bytes */
};

struct mvcc_block;

struct bb_mvcc {
    size_t bytes_max;
    bool is_growing;            /* nothing leaves before the map does: */
    struct mvcc_block *blocks;  /* all its memory, the one in use first */
    _Atomic size_t bytes, keys; /* changed by the writer only */
    uint64_t height_seed;       /* the writer's; fixed at start, so runs are repeatable */
    struct bb_key_index *index; /* NULL: keys are found by their order alone */
    struct bb_key_walk leaving; /* what is freed next when all is freed bit by bit, */
    struct mvcc_node *begun;    /* and a key some of whose versions are gone already */
    _Atomic(struct mvcc_node *) head[MVCC_LEVELS];
};

static inline const uint8_t *mvcc_node_key_data(const struct mvcc_node *node)
{
    return (const uint8_t *)node + offsetof(struct mvcc_node, next) +
           node->level_count * sizeof(node->next[0]);
}
static inline struct bb_slice mvcc_node_key(const struct mvcc_node *node)
{
    return bb_slice(mvcc_node_key_data(node), node->key_size);
}
/* Order of the node's key and `key`. */
static inline int mvcc_node_compare(const struct mvcc_node *node, struct bb_slice key)
{
    size_t common = node->key_size < key.size ? node->key_size : key.size;
    int order = common == 0 ? 0 : memcmp(mvcc_node_key_data(node), key.data, common);
    if (order != 0) {
        return order;
    }
    return node->key_size < key.size ? -1 : node->key_size > key.size ? 1 : 0;
}

static inline size_t mvcc_node_bytes(size_t key_size, uint32_t level_count)
{
    return offsetof(struct mvcc_node, next) + level_count * sizeof(_Atomic(struct mvcc_node *)) +
           key_size;
}
/* What a node costs beside itself. */
static inline size_t mvcc_indexed_bytes(const struct bb_mvcc *map)
{
    return map->index == NULL ? 0 : BB_KEY_INDEX_BYTES;
}
static inline size_t mvcc_version_bytes(size_t value_size)
{
    return sizeof(struct mvcc_version) + value_size;
}

/* The same with what the allocator adds: what a map accounts for that is not growing. */
static inline size_t mvcc_node_cost(const struct bb_mvcc *map, size_t key_size,
                                    uint32_t level_count)
{
    return bb_alloc_cost(mvcc_node_bytes(key_size, level_count)) + mvcc_indexed_bytes(map);
}
static inline size_t mvcc_version_cost(size_t value_size)
{
    return bb_alloc_cost(mvcc_version_bytes(value_size));
}

static inline struct mvcc_version *mvcc_node_newest(const struct mvcc_node *node)
{
    return atomic_load_explicit(&node->newest, memory_order_relaxed);
}
/* Newest version <= at, or NULL, looked for from the oldest one on: by the writer. */
static inline struct mvcc_version *mvcc_node_visible_old(const struct mvcc_node *node,
                                                         struct bb_txtime at)
{
    struct mvcc_version *newest = mvcc_node_newest(node);
    struct mvcc_version *version = newest == NULL ? NULL : newest->newer;
    if (version == NULL || version->tx.us > at.us) {
        return NULL;
    }
    while (version != newest && version->newer->tx.us <= at.us) {
        version = version->newer;
    }
    return version;
}
/* Newest version <= at, or NULL. */
static inline const struct mvcc_version *mvcc_node_visible(const struct mvcc_node *node,
                                                           struct bb_txtime at)
{
    const struct mvcc_version *version = atomic_load_explicit(&node->newest, memory_order_acquire);
    while (version != NULL && version->tx.us > at.us) {
        version = atomic_load_explicit(&version->older, memory_order_acquire);
    }
    return version;
}

/* First node with key >= `key`, or NULL. */
const struct mvcc_node *mvcc_find(const struct bb_mvcc *map, struct bb_slice key);
/* Last node with key < `key`, or NULL. */
const struct mvcc_node *mvcc_find_before(const struct bb_mvcc *map, struct bb_slice key);
/* Fill what the caller sees of a version. */
void mvcc_version_out(const struct mvcc_node *node, const struct mvcc_version *version,
                      struct bb_mvcc_version *out);
void mvcc_account(struct bb_mvcc *map, ptrdiff_t bytes, ptrdiff_t keys);

/* blocks.c */
void *mvcc_alloc(struct bb_mvcc *map, size_t size); /* for a node or a version */
void mvcc_blocks_free(struct bb_mvcc *map);

#endif
