#include "bb/occ.h"

/* A span takes writes until it has this many keys, and a SPANS-th part of the whole window. */
#define SPAN_KEYS 1024u
#define SPANS     16u
/* Looking through writes one by one may cost so much for each key before its tree is built. */
#define WALK_STEPS   4u
#define PLACES_LEAST 8u

struct node {
    struct node *left, *right; /* in the tree, once there is one */
    struct bb_list link;       /* in `writes` of its span */
    struct node *next;         /* in its place of the table */
    uint64_t hash;
    uint64_t tx;       /* newest write of this key */
    uint64_t newest;   /* of this node and all below it */
    uint32_t priority; /* not below that of its children */
    uint32_t key_size;
    uint8_t key[];
};

/* The writes of some transactions in a row. No transaction lies in two spans. */
struct span {
    struct bb_list link;
    struct bb_list writes; /* nodes, the one that was written last first */
    struct node **places;  /* by hash */
    size_t place_count;    /* a power of two */
    bool has_tree;
    struct node *root;
    size_t walked;          /* nodes that were looked at one by one */
    struct bb_arena *arena; /* of its nodes */
    uint64_t last;          /* its newest transaction */
    size_t keys;
};

struct bb_occ {
    struct bb_list spans; /* oldest first; the last one takes writes */
    uint64_t floor, last;
    size_t bytes, bytes_max, keys;
    uint64_t random, seed;
};

static struct bb_slice key_of(const struct node *node)
{
    return bb_slice(node->key, node->key_size);
}

static uint64_t newest_of(const struct node *node)
{
    return node == NULL ? 0 : node->newest;
}

static void refresh(struct node *node)
{
    uint64_t left = newest_of(node->left);
    uint64_t right = newest_of(node->right);
    uint64_t below = left > right ? left : right;

    node->newest = node->tx > below ? node->tx : below;
}

/* xorshift64*: the tree's shape must not follow from keys that somebody chooses. */
static uint32_t next_priority(struct bb_occ *occ)
{
    occ->random ^= occ->random >> 12;
    occ->random ^= occ->random << 25;
    occ->random ^= occ->random >> 27;
    return (uint32_t)((occ->random * UINT64_C(0x2545f4914f6cdd1d)) >> 32);
}

/* ---- spans ---- */

static struct span *oldest(const struct bb_occ *occ)
{
    return bb_list_is_empty(&occ->spans) ? NULL : bb_container(occ->spans.next, struct span, link);
}

static struct span *newest(const struct bb_occ *occ)
{
    return bb_list_is_empty(&occ->spans) ? NULL : bb_container(occ->spans.prev, struct span, link);
}

static size_t bytes_of(const struct span *span)
{
    return bb_arena_used(span->arena) + span->place_count * sizeof(struct node *);
}

static void drop(struct bb_occ *occ, struct span *span)
{
    occ->bytes -= bytes_of(span);
    occ->keys -= span->keys;
    bb_list_remove(&span->link);
    bb_free(span->places);
    bb_arena_free(span->arena);
    bb_free(span);
}

static bool is_full(const struct bb_occ *occ, const struct span *span)
{
    return (span->keys >= SPAN_KEYS && span->keys >= occ->keys / SPANS) ||
           bytes_of(span) >= occ->bytes_max / SPANS;
}

/* The one that takes the writes of `tx`. */
static struct span *span_for(struct bb_occ *occ, uint64_t tx)
{
    struct span *span = newest(occ);

    if (span == NULL || (span->last < tx && is_full(occ, span))) {
        span = bb_alloc_zero(1, sizeof *span);
        span->arena = bb_arena_new(0);
        span->place_count = PLACES_LEAST;
        span->places = bb_alloc_zero(PLACES_LEAST, sizeof(struct node *));
        bb_list_init(&span->writes);
        occ->bytes += bytes_of(span);
        bb_list_push_back(&occ->spans, &span->link);
    }
    span->last = tx;
    return span;
}

/* ---- the table of a span ---- */

static struct node *find(const struct span *span, struct bb_slice key, uint64_t hash)
{
    struct node *node = span->places[hash & (span->place_count - 1)];

    while (node != NULL && (node->hash != hash || !bb_slice_equal(key_of(node), key)))
        node = node->next;
    return node;
}

static void put_in_place(struct span *span, struct node *node)
{
    struct node **place = &span->places[node->hash & (span->place_count - 1)];

    node->next = *place;
    *place = node;
}

static void widen(struct span *span)
{
    bb_free(span->places);
    span->place_count *= 2;
    span->places = bb_alloc_zero(span->place_count, sizeof(struct node *));
    bb_list_each(item, &span->writes) {
        put_in_place(span, bb_container(item, struct node, link));
    }
}

/* ---- the tree of a span ---- */

/* The write of `tx` is the newest of every subtree on the way to `key`, which the tree has. */
static void renew_path(struct node *node, struct bb_slice key, uint64_t tx)
{
    int order = 1;

    while (order != 0) {
        bb_assert(node != NULL);
        order = bb_slice_compare(key, key_of(node));
        node->newest = tx;
        node = order < 0 ? node->left : node->right;
    }
}

/* What is below `key`, which the tree does not have, and what is above it. As deep as the tree. */
static void split(struct node *tree, struct bb_slice key, struct node **below, struct node **above)
{
    if (tree == NULL) {
        *below = *above = NULL;
    } else if (bb_slice_compare(key_of(tree), key) < 0) {
        split(tree->right, key, &tree->right, above);
        refresh(tree);
        *below = tree;
    } else {
        split(tree->left, key, below, &tree->left);
        refresh(tree);
        *above = tree;
    }
}

static void insert(struct span *span, struct node *node)
{
    struct bb_slice key = key_of(node);
    struct node **link = &span->root;

    while (*link != NULL && (*link)->priority >= node->priority) {
        if ((*link)->newest < node->tx)
            (*link)->newest = node->tx;
        link = bb_slice_compare(key, key_of(*link)) < 0 ? &(*link)->left : &(*link)->right;
    }
    split(*link, key, &node->left, &node->right);
    refresh(node);
    *link = node;
}

static void build_tree(struct span *span)
{
    bb_list_each(item, &span->writes) {
        insert(span, bb_container(item, struct node, link));
    }
    span->has_tree = true;
}

static uint64_t newest_below(const struct node *node, struct bb_slice low, struct bb_slice high)
{
    uint64_t newest;

    /* Down to the first node inside the range: everything else of the range is below it. */
    while (node != NULL) {
        if (bb_slice_compare(key_of(node), low) < 0) {
            node = node->right;
        } else if (bb_slice_compare(key_of(node), high) >= 0) {
            node = node->left;
        } else {
            break;
        }
    }
    if (node == NULL)
        return 0;
    newest = node->tx;
    for (const struct node *left = node->left; left != NULL;) {
        if (bb_slice_compare(key_of(left), low) < 0) {
            left = left->right;
            continue;
        }
        if (left->tx > newest)
            newest = left->tx;
        if (newest_of(left->right) > newest)
            newest = left->right->newest;
        left = left->left;
    }
    for (const struct node *right = node->right; right != NULL;) {
        if (bb_slice_compare(key_of(right), high) >= 0) {
            right = right->left;
            continue;
        }
        if (right->tx > newest)
            newest = right->tx;
        if (newest_of(right->left) > newest)
            newest = right->left->newest;
        right = right->right;
    }
    return newest;
}

/* ---- a span ---- */

static void add_new(struct bb_occ *occ, struct span *span, struct bb_slice key, uint64_t hash,
                    uint64_t tx)
{
    size_t before = bytes_of(span);
    struct node *node = bb_arena_alloc(span->arena, sizeof *node + key.size);

    bb_assert(node != NULL);
    *node = (struct node){
        .hash = hash, .tx = tx, .priority = next_priority(occ), .key_size = (uint32_t)key.size
    };
    if (key.size > 0)
        memcpy(node->key, key.data, key.size);
    bb_list_push_front(&span->writes, &node->link);
    span->keys++;
    occ->keys++;
    if (span->keys > span->place_count) {
        widen(span); /* the new one with the others */
    } else {
        put_in_place(span, node);
    }
    if (span->has_tree)
        insert(span, node);
    occ->bytes += bytes_of(span) - before;
}

static void add_again(struct span *span, struct node *node, uint64_t tx)
{
    node->tx = tx;
    bb_list_remove(&node->link);
    bb_list_push_front(&span->writes, &node->link);
    if (span->has_tree)
        renew_path(span->root, key_of(node), tx);
}

/* The newest write in the range, the writes gone through from the last one to the first above
 * `least`. */
static uint64_t walk(struct span *span, struct bb_slice low, struct bb_slice high, uint64_t least)
{
    bb_list_each(item, &span->writes) {
        const struct node *node = bb_container(item, struct node, link);
        if (node->tx <= least)
            break;
        span->walked++;
        if (bb_slice_compare(key_of(node), low) >= 0 && bb_slice_compare(key_of(node), high) < 0)
            return node->tx;
    }
    return 0;
}

static uint64_t newest_in_range(struct span *span, struct bb_slice low, struct bb_slice high,
                                uint64_t least)
{
    if (!span->has_tree && span->walked < WALK_STEPS * span->keys)
        return walk(span, low, high, least);
    if (!span->has_tree)
        build_tree(span);
    return newest_below(span->root, low, high);
}

/* A range that one key alone lies in: [key, key + 0x00). */
static bool is_point(struct bb_slice low, struct bb_slice high)
{
    return high.size == low.size + 1 && high.data[low.size] == 0 &&
           (low.size == 0 || memcmp(low.data, high.data, low.size) == 0);
}

/* ---- the window ---- */

struct bb_occ *bb_occ_new(struct bb_txtime floor, size_t bytes_max, uint64_t seed)
{
    struct bb_occ *occ = bb_alloc_zero(1, sizeof *occ);

    bb_list_init(&occ->spans);
    occ->floor = floor.us;
    occ->last = floor.us;
    occ->bytes_max = bytes_max;
    occ->random = seed | 1; /* 0 would stay 0 */
    occ->seed = seed;
    return occ;
}

void bb_occ_free(struct bb_occ *occ)
{
    if (occ == NULL)
        return;
    while (!bb_list_is_empty(&occ->spans))
        drop(occ, oldest(occ));
    bb_free(occ);
}

void bb_occ_add(struct bb_occ *occ, struct bb_slice key, struct bb_txtime tx)
{
    bb_assert(tx.us > occ->floor && tx.us >= occ->last);
    bb_assert(key.size <= UINT32_MAX);
    occ->last = tx.us;
    struct span *span = span_for(occ, tx.us);
    uint64_t hash = bb_hash64(key, occ->seed);
    struct node *node = find(span, key, hash);
    if (node != NULL) {
        add_again(span, node, tx.us);
        return;
    }
    add_new(occ, span, key, hash, tx.us);
    for (const struct span *first = oldest(occ);
         first != NULL && first != span && occ->bytes > occ->bytes_max; first = oldest(occ))
        bb_occ_raise_floor(occ, BB_TX(first->last));
}

struct bb_txtime bb_occ_newest_in(struct bb_occ *occ, struct bb_slice low, struct bb_slice high,
                                  struct bb_txtime after)
{
    uint64_t least = after.us > occ->floor ? after.us : occ->floor;
    bool is_of_one = is_point(low, high);
    uint64_t hash = is_of_one ? bb_hash64(low, occ->seed) : 0;

    /* What a younger span has is newer than all that older ones have. */
    for (struct bb_list *item = occ->spans.prev; item != &occ->spans; item = item->prev) {
        struct span *span = bb_container(item, struct span, link);
        if (span->last <= least)
            break;
        const struct node *one = is_of_one ? find(span, low, hash) : NULL;
        uint64_t of_one = one == NULL ? 0 : one->tx;
        uint64_t found = is_of_one ? of_one : newest_in_range(span, low, high, least);
        if (found != 0)
            return found > least ? BB_TX(found) : BB_TX_NONE;
    }
    return BB_TX_NONE;
}

struct bb_txtime bb_occ_floor(const struct bb_occ *occ)
{
    return BB_TX(occ->floor);
}

void bb_occ_raise_floor(struct bb_occ *occ, struct bb_txtime floor)
{
    if (floor.us <= occ->floor)
        return;
    occ->floor = floor.us;
    if (occ->last < floor.us)
        occ->last = floor.us;
    for (struct span *span = oldest(occ); span != NULL && span->last <= floor.us;
         span = oldest(occ))
        drop(occ, span);
}

size_t bb_occ_bytes(const struct bb_occ *occ)
{
    return occ->bytes;
}

size_t bb_occ_keys(const struct bb_occ *occ)
{
    return occ->keys;
}
