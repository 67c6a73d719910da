/*
 * The map: making it, adding versions, finding one.
 *
 * A skip list (Pugh, "Skip lists: a probabilistic alternative to balanced trees", 1990): a node of
 * level n has n forward links; a search goes along the highest level and steps down where it would
 * pass the key. One node in four reaches the next level.
 */
#include "bb/mvcc.h"

#include "node.h"

/* ---- life ---- */

struct bb_mvcc *bb_mvcc_new(size_t bytes_max)
{
    struct bb_mvcc *map = bb_alloc_zero(1, sizeof(*map));
    map->bytes_max = bytes_max;
    map->height_seed = 0x9e3779b97f4a7c15u;
    return map;
}

struct bb_mvcc *bb_mvcc_new_growing(void)
{
    struct bb_mvcc *map = bb_mvcc_new(0);
    map->is_growing = true;
    return map;
}

/* At most `left` versions, newest first; false: there are more. */
static bool free_versions(struct bb_mvcc *map, struct mvcc_node *node, size_t *left)
{
    struct mvcc_version *version = mvcc_node_newest(node);
    while (version != NULL && *left > 0) {
        struct mvcc_version *older = atomic_load_explicit(&version->older, memory_order_relaxed);
        mvcc_account(map, -(ptrdiff_t)mvcc_version_cost(version->value_size), 0);
        bb_free(version);
        version = older;
        --*left;
    }
    atomic_store_explicit(&node->newest, version, memory_order_relaxed);
    return version == NULL;
}

/* All are in the index, if there is one, in their order or not. */
static struct mvcc_node *next_to_free(struct bb_mvcc *map)
{
    if (map->index != NULL) {
        return bb_key_index_next(map->index, &map->leaving);
    }
    struct mvcc_node *node = atomic_load_explicit(&map->head[0], memory_order_relaxed);
    if (node != NULL) {
        struct mvcc_node *next = atomic_load_explicit(&node->next[0], memory_order_relaxed);
        atomic_store_explicit(&map->head[0], next, memory_order_relaxed);
    }
    return node;
}

/* False: there are more nodes. */
static bool free_nodes(struct bb_mvcc *map, size_t left)
{
    for (;;) {
        if (map->begun == NULL) {
            map->begun = next_to_free(map);
        }
        if (map->begun == NULL) {
            return true;
        }
        if (!free_versions(map, map->begun, &left)) {
            return false;
        }
        mvcc_account(map,
                     -(ptrdiff_t)mvcc_node_cost(map, map->begun->key_size, map->begun->level_count),
                     -1);
        bb_free(map->begun);
        map->begun = NULL;
    }
}

bool bb_mvcc_free_some(struct bb_mvcc *map, size_t versions)
{
    if (map->is_growing) {
        mvcc_blocks_free(map);
    } else if (!free_nodes(map, versions)) {
        return false;
    }
    if (map->index != NULL) {
        bb_key_index_fini(map->index);
        bb_free(map->index);
    }
    bb_free(map);
    return true;
}

void bb_mvcc_free(struct bb_mvcc *map)
{
    bool is_gone = map == NULL || bb_mvcc_free_some(map, SIZE_MAX);
    bb_assert(is_gone);
}

static struct bb_slice key_of(const void *node)
{
    return mvcc_node_key(node);
}

void bb_mvcc_index_keys(struct bb_mvcc *map)
{
    bb_assert(bb_mvcc_keys(map) == 0 && map->index == NULL && !map->is_growing);
    map->index = bb_alloc(sizeof(*map->index));
    bb_key_index_init(map->index, key_of);
}

size_t bb_mvcc_bytes(const struct bb_mvcc *map)
{
    return atomic_load_explicit(&map->bytes, memory_order_relaxed);
}

size_t bb_mvcc_keys(const struct bb_mvcc *map)
{
    return atomic_load_explicit(&map->keys, memory_order_relaxed);
}

void mvcc_account(struct bb_mvcc *map, ptrdiff_t bytes, ptrdiff_t keys)
{
    atomic_store_explicit(&map->bytes, bb_mvcc_bytes(map) + (size_t)bytes, memory_order_relaxed);
    atomic_store_explicit(&map->keys, bb_mvcc_keys(map) + (size_t)keys, memory_order_relaxed);
}

/* ---- finding ---- */

/* The last link before `key` at each level (links of `head` for the start of the list). */
static struct mvcc_node *search(const struct bb_mvcc *map, struct bb_slice key,
                                struct mvcc_node *before[MVCC_LEVELS])
{
    struct mvcc_node *at = NULL; /* NULL: the head */
    const struct mvcc_node *passed = NULL;
    struct mvcc_node *next = NULL;
    for (uint32_t level = MVCC_LEVELS; level-- > 0;) {
        for (;;) {
            next = at == NULL ? atomic_load_explicit(&map->head[level], memory_order_acquire)
                              : atomic_load_explicit(&at->next[level], memory_order_acquire);
            /* What was found too far on the level above is too far here. */
            if (next == NULL || next == passed) {
                break;
            }
            if (mvcc_node_compare(next, key) >= 0) {
                passed = next;
                break;
            }
            at = next;
        }
        if (before != NULL) {
            before[level] = at;
        }
    }
    return before != NULL ? next : at;
}

const struct mvcc_node *mvcc_find(const struct bb_mvcc *map, struct bb_slice key)
{
    struct mvcc_node *before[MVCC_LEVELS];
    return search(map, key, before);
}

const struct mvcc_node *mvcc_find_before(const struct bb_mvcc *map, struct bb_slice key)
{
    return search(map, key, NULL);
}

void mvcc_version_out(const struct mvcc_node *node, const struct mvcc_version *version,
                      struct bb_mvcc_version *out)
{
    out->key = mvcc_node_key(node);
    out->value = bb_slice(version->value, version->value_size);
    out->tx = version->tx;
    out->newest = atomic_load_explicit(&node->newest, memory_order_acquire)->tx;
    out->kind = version->kind;
}

static const struct mvcc_node *find_key(const struct bb_mvcc *map, struct bb_slice key)
{
    if (map->index != NULL) {
        return bb_key_index_find(map->index, key);
    }
    const struct mvcc_node *node = mvcc_find(map, key);
    return node != NULL && mvcc_node_compare(node, key) == 0 ? node : NULL;
}

bool bb_mvcc_get(const struct bb_mvcc *map, struct bb_slice key, struct bb_txtime at,
                 struct bb_mvcc_version *version)
{
    const struct mvcc_node *node = find_key(map, key);
    const struct mvcc_version *visible = node == NULL ? NULL : mvcc_node_visible(node, at);
    if (visible == NULL) {
        return false;
    }
    mvcc_version_out(node, visible, version);
    return true;
}

/* ---- adding ---- */

static uint32_t next_height(struct bb_mvcc *map)
{
    uint64_t x = map->height_seed; /* xorshift64 (Marsaglia 2003) */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    map->height_seed = x;
    uint32_t height = 1;
    while (height < MVCC_LEVELS && (x & 3) == 0) {
        height++;
        x >>= 2;
    }
    return height;
}

/* A growing map has counted its blocks. */
static void account_added(struct bb_mvcc *map, ptrdiff_t bytes, ptrdiff_t keys)
{
    mvcc_account(map, map->is_growing ? 0 : bytes, keys);
}

static struct mvcc_version *version_new(struct bb_mvcc *map, struct bb_slice value,
                                        enum bb_mvcc_kind kind, struct bb_txtime tx,
                                        struct mvcc_version *older)
{
    struct mvcc_version *version = mvcc_alloc(map, mvcc_version_bytes(value.size));
    atomic_init(&version->older, older);
    version->newer = version;
    version->tx = tx;
    version->kind = kind;
    version->value_size = (uint32_t)value.size;
    if (value.size > 0) {
        memcpy(version->value, value.data, value.size);
    }
    return version;
}

static struct mvcc_node *node_new(struct bb_mvcc *map, struct bb_slice key,
                                  struct mvcc_version *newest, uint32_t height)
{
    struct mvcc_node *node = mvcc_alloc(map, mvcc_node_bytes(key.size, height));
    atomic_init(&node->newest, newest);
    atomic_init(&node->prev, NULL);
    node->key_size = (uint32_t)key.size;
    node->level_count = height;
    if (key.size > 0) {
        memcpy((uint8_t *)node + mvcc_node_bytes(0, height), key.data, key.size);
    }
    return node;
}

static void link_node(struct bb_mvcc *map, struct mvcc_node *before[MVCC_LEVELS],
                      struct mvcc_node *after, struct mvcc_node *node)
{
    uint32_t height = node->level_count;
    atomic_init(&node->prev, before[0]);
    for (uint32_t level = 0; level < height; level++) {
        _Atomic(struct mvcc_node *) *link =
            before[level] == NULL ? &map->head[level] : &before[level]->next[level];
        atomic_init(&node->next[level], atomic_load_explicit(link, memory_order_relaxed));
    }
    /* The node is whole: let readers find it, the lowest level first. */
    for (uint32_t level = 0; level < height; level++) {
        _Atomic(struct mvcc_node *) *link =
            before[level] == NULL ? &map->head[level] : &before[level]->next[level];
        atomic_store_explicit(link, node, memory_order_release);
    }
    if (after != NULL) {
        atomic_store_explicit(&after->prev, node, memory_order_release);
    }
}

void bb_mvcc_order(struct bb_mvcc *map, struct bb_slice key)
{
    bb_assert(map->index != NULL);
    struct mvcc_node *loose = bb_key_index_find(map->index, key);
    if (loose == NULL || loose->level_count > 0) {
        return;
    }
    struct mvcc_node *before[MVCC_LEVELS];
    struct mvcc_node *after = search(map, key, before);
    struct mvcc_node *node = node_new(map, key, mvcc_node_newest(loose), next_height(map));
    bb_key_index_remove(map->index, loose);
    bb_key_index_add(map->index, node);
    link_node(map, before, after, node);
    mvcc_account(map,
                 (ptrdiff_t)mvcc_node_cost(map, key.size, node->level_count) -
                     (ptrdiff_t)mvcc_node_cost(map, key.size, 0),
                 0);
    bb_free(loose);
}

/* The node of `key`; else, where keys are not indexed, the one behind its place, or NULL, and what
 * lies before it. */
static struct mvcc_node *node_of(const struct bb_mvcc *map, struct bb_slice key,
                                 struct mvcc_node *before[MVCC_LEVELS])
{
    return map->index != NULL ? bb_key_index_find(map->index, key) : search(map, key, before);
}

static int check_room(struct bb_ctx *ctx, const struct bb_mvcc *map, size_t more)
{
    if (map->bytes_max != 0 && bb_mvcc_bytes(map) + more > map->bytes_max) {
        return bb_fail(ctx, BB_TOO_LARGE, "the map is full: %zu of %zu bytes, %zu more are needed",
                       bb_mvcc_bytes(map), map->bytes_max, more);
    }
    return BB_OK;
}

/* NOLINTNEXTLINE(readability-function-size): each argument has another type */
static int put_new_key(struct bb_ctx *ctx, struct bb_mvcc *map, struct mvcc_node **before,
                       struct mvcc_node *after, struct bb_slice key, struct bb_slice value,
                       enum bb_mvcc_kind kind, struct bb_txtime tx)
{
    bool is_indexed = map->index != NULL;
    uint32_t height = is_indexed ? 0 : next_height(map);
    size_t more = mvcc_node_cost(map, key.size, height) + mvcc_version_cost(value.size);
    int rc = check_room(ctx, map, more);
    if (rc != BB_OK) {
        return rc;
    }
    struct mvcc_node *node = node_new(map, key, version_new(map, value, kind, tx, NULL), height);
    if (is_indexed) {
        bb_key_index_add(map->index, node);
    } else {
        link_node(map, before, after, node);
    }
    account_added(map, (ptrdiff_t)more, 1);
    return BB_OK;
}

int bb_mvcc_put(struct bb_ctx *ctx, struct bb_mvcc *map, struct bb_slice key, struct bb_slice value,
                enum bb_mvcc_kind kind, struct bb_txtime tx)
{
    bb_assert(key.size <= UINT32_MAX && value.size <= UINT32_MAX);
    struct mvcc_node *before[MVCC_LEVELS];
    struct mvcc_node *node = node_of(map, key, before);
    if (node == NULL || mvcc_node_compare(node, key) != 0) {
        return put_new_key(ctx, map, before, node, key, value, kind, tx);
    }
    size_t more = mvcc_version_cost(value.size);
    struct mvcc_version *newest = mvcc_node_newest(node);
    bb_assert(newest->tx.us <= tx.us);
    /* A kept one stays in the chain behind the new one of the same tx, where no read comes to it.
     */
    bool replaces = newest->tx.us == tx.us && !map->is_growing;
    size_t less = replaces ? mvcc_version_cost(newest->value_size) : 0;
    int rc = check_room(ctx, map, more > less ? more - less : 0);
    if (rc != BB_OK) {
        return rc;
    }
    struct mvcc_version *older =
        replaces ? atomic_load_explicit(&newest->older, memory_order_relaxed) : newest;
    struct mvcc_version *version = version_new(map, value, kind, tx, older);
    if (older != NULL) {
        version->newer = newest->newer; /* the oldest */
        older->newer = version;
    }
    atomic_store_explicit(&node->newest, version, memory_order_release);
    if (replaces) {
        bb_free(newest);
    }
    account_added(map, (ptrdiff_t)more - (ptrdiff_t)less, 0);
    return BB_OK;
}

int bb_mvcc_put_older(struct bb_ctx *ctx, struct bb_mvcc *map, struct bb_slice key,
                      struct bb_slice value, enum bb_mvcc_kind kind, struct bb_txtime tx)
{
    bb_assert(key.size <= UINT32_MAX && value.size <= UINT32_MAX);
    struct mvcc_node *before[MVCC_LEVELS];
    struct mvcc_node *node = node_of(map, key, before);
    if (node == NULL || mvcc_node_compare(node, key) != 0) {
        return put_new_key(ctx, map, before, node, key, value, kind, tx);
    }
    struct mvcc_version *newest = mvcc_node_newest(node);
    struct mvcc_version *oldest = newest->newer;
    if (oldest->tx.us <= tx.us) {
        return BB_OK;
    }
    size_t more = mvcc_version_cost(value.size);
    int rc = check_room(ctx, map, more);
    if (rc != BB_OK) {
        return rc;
    }
    struct mvcc_version *version = version_new(map, value, kind, tx, NULL);
    version->newer = oldest;
    newest->newer = version;
    atomic_store_explicit(&oldest->older, version, memory_order_release);
    account_added(map, (ptrdiff_t)more, 0);
    return BB_OK;
}
