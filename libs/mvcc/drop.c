/*
 * Taking versions out again, and keys that have none left. Only while no other thread reads.
 */
#include "bb/mvcc.h"

#include "node.h"

/*
 * A walk over the lowest level that remembers, for each level, the last node that stays: that is
 * what a removed node's successors must be linked to.
 */
struct walk {
    struct bb_mvcc *map;
    struct mvcc_node *before[MVCC_LEVELS]; /* NULL: the head */
    struct mvcc_node *node;                /* the one looked at; NULL at the end */
};

static void walk_begin(struct walk *walk, struct bb_mvcc *map)
{
    bb_assert(!map->is_growing);
    *walk = (struct walk){ .map = map };
    walk->node = atomic_load_explicit(&map->head[0], memory_order_relaxed);
}

static void walk_seek(struct walk *walk, struct bb_mvcc *map, struct bb_slice key)
{
    bb_assert(!map->is_growing);
    *walk = (struct walk){ .map = map };
    struct mvcc_node *at = NULL;
    for (uint32_t level = MVCC_LEVELS; level-- > 0;) {
        struct mvcc_node *next;
        for (;;) {
            next = atomic_load_explicit(at == NULL ? &map->head[level] : &at->next[level],
                                        memory_order_relaxed);
            if (next == NULL || mvcc_node_compare(next, key) >= 0) {
                break;
            }
            at = next;
        }
        walk->before[level] = at;
        walk->node = next;
    }
}

static void walk_keep(struct walk *walk)
{
    for (uint32_t level = 0; level < walk->node->level_count; level++) {
        walk->before[level] = walk->node;
    }
    walk->node = atomic_load_explicit(&walk->node->next[0], memory_order_relaxed);
}

static void node_free(struct bb_mvcc *map, struct mvcc_node *node)
{
    if (map->index != NULL) {
        bb_key_index_remove(map->index, node);
    }
    mvcc_account(map, -(ptrdiff_t)mvcc_node_cost(map, node->key_size, node->level_count), -1);
    bb_free(node);
}

static void walk_remove(struct walk *walk)
{
    struct bb_mvcc *map = walk->map;
    struct mvcc_node *node = walk->node;
    for (uint32_t level = 0; level < node->level_count; level++) {
        struct mvcc_node *before = walk->before[level];
        struct mvcc_node *next = atomic_load_explicit(&node->next[level], memory_order_relaxed);
        atomic_store_explicit(before == NULL ? &map->head[level] : &before->next[level], next,
                              memory_order_relaxed);
    }
    struct mvcc_node *next = atomic_load_explicit(&node->next[0], memory_order_relaxed);
    if (next != NULL) {
        atomic_store_explicit(&next->prev, walk->before[0], memory_order_relaxed);
    }
    node_free(map, node);
    walk->node = next;
}

/* The node goes when it has no versions any more. */
static void walk_on(struct walk *walk)
{
    if (mvcc_node_newest(walk->node) == NULL) {
        walk_remove(walk);
    } else {
        walk_keep(walk);
    }
}

static void free_version(struct bb_mvcc *map, struct mvcc_version *version)
{
    mvcc_account(map, -(ptrdiff_t)mvcc_version_cost(version->value_size), 0);
    bb_free(version);
}

/* Drop the versions with tx <= upto: from the oldest on, so it costs what it drops. */
static void drop_upto(struct bb_mvcc *map, struct mvcc_node *node, struct bb_txtime upto)
{
    struct mvcc_version *newest = mvcc_node_newest(node);
    struct mvcc_version *oldest = newest == NULL ? NULL : newest->newer;
    while (oldest != NULL && oldest->tx.us <= upto.us) {
        struct mvcc_version *newer = oldest == newest ? NULL : oldest->newer;
        free_version(map, oldest);
        oldest = newer;
    }
    if (oldest == NULL) {
        atomic_store_explicit(&node->newest, NULL, memory_order_relaxed);
    } else {
        atomic_store_explicit(&oldest->older, NULL, memory_order_relaxed);
        newest->newer = oldest;
    }
}

/* Takes versions of a node. */
struct trim {
    void (*of)(struct bb_mvcc *map, struct mvcc_node *node, const struct trim *trim);
    struct bb_txtime at;
    bool keep_last;
};

/* Together at the end: a removal from the index moves others to other places. */
static void trim_loose(struct bb_mvcc *map, const struct trim *trim)
{
    struct bb_key_index *index = map->index;
    struct mvcc_node **empty = bb_alloc((index->count + 1) * sizeof(struct mvcc_node *));
    size_t count = 0;
    struct bb_key_walk walk = { 0 };
    struct mvcc_node *node;
    while ((node = bb_key_index_next(index, &walk)) != NULL) {
        if (node->level_count == 0) {
            trim->of(map, node, trim);
            if (mvcc_node_newest(node) == NULL) {
                empty[count++] = node;
            }
        }
    }
    while (count > 0) {
        node_free(map, empty[--count]);
    }
    bb_free((void *)empty);
}

static void trim_all(struct bb_mvcc *map, const struct trim *trim)
{
    struct walk walk;
    for (walk_begin(&walk, map); walk.node != NULL; walk_on(&walk)) {
        trim->of(map, walk.node, trim);
    }
    if (map->index != NULL) {
        trim_loose(map, trim);
    }
}

static void trim_old(struct bb_mvcc *map, struct mvcc_node *node, const struct trim *trim)
{
    const struct mvcc_version *last = mvcc_node_visible_old(node, trim->at);
    if (last == NULL) {
        return;
    }
    /* Under a newer version the last one still answers reads between the two. */
    bool keeps = trim->keep_last || last != mvcc_node_newest(node);
    if (!keeps) {
        drop_upto(map, node, last->tx);
    } else if (last->tx.us > 0) {
        drop_upto(map, node, BB_TX(last->tx.us - 1));
    }
}

void bb_mvcc_prune(struct bb_mvcc *map, struct bb_txtime oldest, bool keep_last)
{
    trim_all(map, &(struct trim){ .of = trim_old, .at = oldest, .keep_last = keep_last });
}

static void trim_new(struct bb_mvcc *map, struct mvcc_node *node, const struct trim *trim)
{
    struct mvcc_version *version = mvcc_node_newest(node);
    struct mvcc_version *oldest = version->newer;
    while (version != NULL && version->tx.us > trim->at.us) {
        struct mvcc_version *older = atomic_load_explicit(&version->older, memory_order_relaxed);
        free_version(map, version);
        version = older;
    }
    if (version != NULL) {
        version->newer = oldest;
    }
    atomic_store_explicit(&node->newest, version, memory_order_relaxed);
}

void bb_mvcc_drop_after(struct bb_mvcc *map, struct bb_txtime newest)
{
    trim_all(map, &(struct trim){ .of = trim_new, .at = newest });
}

void bb_mvcc_drop_range(struct bb_mvcc *map, struct bb_slice low, struct bb_slice high,
                        struct bb_txtime upto, bool (*stays)(void *arg, struct bb_slice key),
                        void *arg)
{
    struct walk walk;
    walk_seek(&walk, map, low);
    while (walk.node != NULL && mvcc_node_compare(walk.node, high) < 0) {
        if (stays == NULL || !stays(arg, mvcc_node_key(walk.node))) {
            drop_upto(map, walk.node, upto);
        }
        walk_on(&walk);
    }
}

/* Take versions of one key. */
static void trim_key(struct bb_mvcc *map, struct bb_slice key, const struct trim *trim)
{
    struct walk walk = { .node = NULL };
    struct mvcc_node *node;
    bb_assert(!map->is_growing);
    if (map->index != NULL) {
        node = bb_key_index_find(map->index, key);
    } else {
        walk_seek(&walk, map, key);
        node = walk.node != NULL && mvcc_node_compare(walk.node, key) == 0 ? walk.node : NULL;
    }
    if (node == NULL) {
        return;
    }
    trim->of(map, node, trim);
    if (mvcc_node_newest(node) != NULL) {
        return;
    }
    if (node->level_count == 0) {
        node_free(map, node);
        return;
    }
    if (map->index != NULL) {
        walk_seek(&walk, map, key);
    }
    walk_remove(&walk);
}

static void trim_upto(struct bb_mvcc *map, struct mvcc_node *node, const struct trim *trim)
{
    drop_upto(map, node, trim->at);
}

void bb_mvcc_drop_key(struct bb_mvcc *map, struct bb_slice key, struct bb_txtime upto)
{
    trim_key(map, key, &(struct trim){ .of = trim_upto, .at = upto });
}

static void trim_settled(struct bb_mvcc *map, struct mvcc_node *node, const struct trim *trim)
{
    const struct mvcc_version *last = mvcc_node_visible_old(node, trim->at);
    if (last != NULL && last->kind == BB_MVCC_REMOVE) {
        drop_upto(map, node, last->tx);
    } else if (last != NULL && last->tx.us > 0) {
        drop_upto(map, node, BB_TX(last->tx.us - 1));
    }
}

void bb_mvcc_settle_key(struct bb_mvcc *map, struct bb_slice key, struct bb_txtime oldest)
{
    trim_key(map, key, &(struct trim){ .of = trim_settled, .at = oldest });
}

void bb_mvcc_drop_key_after(struct bb_mvcc *map, struct bb_slice key, struct bb_txtime newest)
{
    trim_key(map, key, &(struct trim){ .of = trim_new, .at = newest });
}
