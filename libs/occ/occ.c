#include "bb/occ.h"

/* A span takes writes until it has this many keys, and a SPANS-th part of the whole window. */
#define SPAN_KEYS 1024u
#define SPANS     16u

struct node {
    struct node *left, *right;
    uint64_t tx;       /* newest write of this key */
    uint64_t newest;   /* of this node and all below it */
    uint32_t priority; /* not below that of its children */
    uint32_t key_size;
    uint8_t key[];
};

/* The writes of some transactions in a row. No transaction lies in two spans. */
struct span {
    struct bb_list link;
    struct node *root;
    struct bb_arena *arena; /* of its nodes */
    uint64_t last;          /* its newest transaction */
    size_t keys;
};

struct bb_occ {
    struct bb_list spans; /* oldest first; the last one takes writes */
    uint64_t floor, last;
    size_t bytes, bytes_max, keys;
    uint64_t random;
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

static void drop(struct bb_occ *occ, struct span *span)
{
    occ->bytes -= bb_arena_used(span->arena);
    occ->keys -= span->keys;
    bb_list_remove(&span->link);
    bb_arena_free(span->arena);
    bb_free(span);
}

static bool is_full(const struct bb_occ *occ, const struct span *span)
{
    return (span->keys >= SPAN_KEYS && span->keys >= occ->keys / SPANS) ||
           bb_arena_used(span->arena) >= occ->bytes_max / SPANS;
}

/* The one that takes the writes of `tx`. */
static struct span *span_for(struct bb_occ *occ, uint64_t tx)
{
    struct span *span = newest(occ);

    if (span == NULL || (span->last < tx && is_full(occ, span))) {
        span = bb_alloc_zero(1, sizeof *span);
        span->arena = bb_arena_new(0);
        bb_list_push_back(&occ->spans, &span->link);
    }
    span->last = tx;
    return span;
}

/* ---- the tree of a span ---- */

/* The node of `key`. The write that follows is the newest of every subtree on the way to it. */
static struct node *find_to_write(struct node *node, struct bb_slice key, uint64_t tx)
{
    while (node != NULL) {
        int order = bb_slice_compare(key, key_of(node));
        node->newest = tx;
        if (order == 0)
            return node;
        node = order < 0 ? node->left : node->right;
    }
    return NULL;
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

static void insert(struct bb_occ *occ, struct span *span, struct bb_slice key, uint64_t tx)
{
    size_t before = bb_arena_used(span->arena);
    struct node *node = bb_arena_alloc(span->arena, sizeof *node + key.size);
    struct node **link = &span->root;

    bb_assert(node != NULL);
    *node =
        (struct node){ .tx = tx, .priority = next_priority(occ), .key_size = (uint32_t)key.size };
    if (key.size > 0)
        memcpy(node->key, key.data, key.size);
    while (*link != NULL && (*link)->priority >= node->priority)
        link = bb_slice_compare(key, key_of(*link)) < 0 ? &(*link)->left : &(*link)->right;
    split(*link, key, &node->left, &node->right);
    refresh(node);
    *link = node;
    occ->bytes += bb_arena_used(span->arena) - before;
    occ->keys++;
    span->keys++;
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

/* ---- the window ---- */

struct bb_occ *bb_occ_new(struct bb_txtime floor, size_t bytes_max, uint64_t seed)
{
    struct bb_occ *occ = bb_alloc_zero(1, sizeof *occ);

    bb_list_init(&occ->spans);
    occ->floor = floor.us;
    occ->last = floor.us;
    occ->bytes_max = bytes_max;
    occ->random = seed | 1; /* 0 would stay 0 */
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
    struct node *node = find_to_write(span->root, key, tx.us);
    if (node != NULL) {
        node->tx = tx.us;
        return;
    }
    insert(occ, span, key, tx.us);
    for (const struct span *first = oldest(occ);
         first != NULL && first != span && occ->bytes > occ->bytes_max; first = oldest(occ))
        bb_occ_raise_floor(occ, BB_TX(first->last));
}

struct bb_txtime bb_occ_newest_in(const struct bb_occ *occ, struct bb_slice low,
                                  struct bb_slice high, struct bb_txtime after)
{
    uint64_t least = after.us > occ->floor ? after.us : occ->floor;

    /* What a younger span has is newer than all that older ones have. */
    for (struct bb_list *item = occ->spans.prev; item != &occ->spans; item = item->prev) {
        const struct span *span = bb_container(item, struct span, link);
        if (span->last <= least)
            break;
        uint64_t found = newest_below(span->root, low, high);
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
