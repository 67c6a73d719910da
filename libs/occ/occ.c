#include "bb/occ.h"

struct node {
    struct node *parent, *left, *right;
    struct bb_list age; /* by tx, oldest first */
    uint64_t tx;        /* newest write of this key */
    uint64_t newest;    /* of this node and all below it */
    uint32_t priority;  /* not below that of its children */
    uint32_t key_size;
    uint8_t key[];
};

struct bb_occ {
    struct node *root;
    struct bb_list ages;
    uint64_t floor, last;
    size_t bytes, bytes_max, keys;
    uint64_t random;
};

static struct bb_slice key_of(const struct node *node)
{
    return bb_slice(node->key, node->key_size);
}

static size_t bytes_of(const struct node *node)
{
    return sizeof *node + node->key_size + 16; /* 16: what an allocation costs besides */
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

static struct node **link_to(struct bb_occ *occ, struct node *node)
{
    if (node->parent == NULL)
        return &occ->root;
    return node->parent->left == node ? &node->parent->left : &node->parent->right;
}

/* Put the child in its parent's place, the parent below it. */
static void rotate_up(struct bb_occ *occ, struct node *child)
{
    struct node *parent = child->parent;
    struct node **link = link_to(occ, parent);

    if (parent->left == child) {
        parent->left = child->right;
        if (parent->left != NULL)
            parent->left->parent = parent;
        child->right = parent;
    } else {
        parent->right = child->left;
        if (parent->right != NULL)
            parent->right->parent = parent;
        child->left = parent;
    }
    child->parent = parent->parent;
    parent->parent = child;
    *link = child;
    refresh(parent);
    refresh(child);
}

/* A write is the newest of all, so it is the newest of every subtree that holds it. */
static void mark_newest(struct node *node, uint64_t tx)
{
    node->tx = tx;
    for (; node != NULL; node = node->parent)
        node->newest = tx;
}

static void remove_node(struct bb_occ *occ, struct node *node)
{
    while (node->left != NULL || node->right != NULL) {
        struct node *up = node->left;
        if (up == NULL || (node->right != NULL && node->right->priority > up->priority))
            up = node->right;
        rotate_up(occ, up);
    }
    *link_to(occ, node) = NULL;
    for (struct node *above = node->parent; above != NULL; above = above->parent)
        refresh(above);
    bb_list_remove(&node->age);
    occ->bytes -= bytes_of(node);
    occ->keys--;
    bb_free(node);
}

static struct node *oldest(struct bb_occ *occ)
{
    return bb_list_is_empty(&occ->ages) ? NULL : bb_container(occ->ages.next, struct node, age);
}

static void insert(struct bb_occ *occ, struct node *parent, struct node **link, struct bb_slice key,
                   uint64_t tx)
{
    struct node *node = bb_alloc(sizeof *node + key.size);

    *node = (struct node){ .parent = parent,
                           .priority = next_priority(occ),
                           .key_size = (uint32_t)key.size };
    if (key.size > 0)
        memcpy(node->key, key.data, key.size);
    *link = node;
    bb_list_push_back(&occ->ages, &node->age);
    occ->bytes += bytes_of(node);
    occ->keys++;
    mark_newest(node, tx);
    while (node->parent != NULL && node->parent->priority < node->priority)
        rotate_up(occ, node);
}

struct bb_occ *bb_occ_new(struct bb_txtime floor, size_t bytes_max, uint64_t seed)
{
    struct bb_occ *occ = bb_alloc_zero(1, sizeof *occ);

    bb_list_init(&occ->ages);
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
    bb_list_each_safe(item, &occ->ages)
        bb_free(bb_container(item, struct node, age));
    bb_free(occ);
}

void bb_occ_add(struct bb_occ *occ, struct bb_slice key, struct bb_txtime tx)
{
    struct node *parent = NULL;
    struct node **link = &occ->root;

    bb_assert(tx.us > occ->floor && tx.us >= occ->last);
    bb_assert(key.size <= UINT32_MAX);
    occ->last = tx.us;
    while (*link != NULL) {
        int order = bb_slice_compare(key, key_of(*link));
        if (order == 0) {
            struct node *node = *link;
            bb_list_remove(&node->age);
            bb_list_push_back(&occ->ages, &node->age);
            mark_newest(node, tx.us);
            return;
        }
        parent = *link;
        link = order < 0 ? &parent->left : &parent->right;
    }
    insert(occ, parent, link, key, tx.us);
    /* The writes of one transaction leave together: half a transaction would be a gap. */
    while (occ->bytes > occ->bytes_max) {
        const struct node *first = oldest(occ);
        if (first == NULL || first->tx == tx.us)
            break;
        bb_occ_raise_floor(occ, BB_TX(first->tx));
    }
}

struct bb_txtime bb_occ_newest_in(const struct bb_occ *occ, struct bb_slice low,
                                  struct bb_slice high)
{
    const struct node *node = occ->root;
    uint64_t newest = 0;

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
        return BB_TX_NONE;
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
    return BB_TX(newest);
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
    for (struct node *node = oldest(occ); node != NULL && node->tx <= floor.us; node = oldest(occ))
        remove_node(occ, node);
}

size_t bb_occ_bytes(const struct bb_occ *occ)
{
    return occ->bytes;
}

size_t bb_occ_keys(const struct bb_occ *occ)
{
    return occ->keys;
}
