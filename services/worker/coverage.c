#include "coverage.h"

#include "bb/key_index.h"

/* A point's key is followed by a zero: that is its end. */
struct point {
    struct cover cover; /* first: a cover is its point */
    uint8_t key[];
};
/* Priorities come from a counter's hash: the same inputs give the same tree. */
struct node {
    struct cover cover; /* first: a cover is its node */
    struct node *left, *right;
    uint64_t priority;
    size_t bytes;
};
struct coverage {
    struct bb_key_index points;
    struct node *root;
    size_t range_count, bytes;
    uint64_t made, made_points;
    struct bb_key_walk point_hand; /* where going around goes on: among the points; */
    struct bb_buf range_hand;
    bool is_among_ranges, is_leaving;
};

static uint64_t priority_of(uint64_t n)
{
    n += 0x9e3779b97f4a7c15u; /* splitmix64 */
    n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9u;
    n = (n ^ (n >> 27)) * 0x94d049bb133111ebu;
    return n ^ (n >> 31);
}

static struct node *node_new(struct coverage *set, struct bb_slice low, struct bb_slice high,
                             uint64_t from)
{
    size_t bytes = sizeof(struct node) + low.size + high.size;
    struct node *node = bb_alloc(bytes);
    uint8_t *keys = (uint8_t *)(node + 1);
    if (low.size > 0) {
        memcpy(keys, low.data, low.size);
    }
    if (high.size > 0) {
        memcpy(keys + low.size, high.data, high.size);
    }
    *node = (struct node){
        .cover = { .low = bb_slice(keys, low.size),
                   .high = bb_slice(keys + low.size, high.size),
                   .from = from,
                   .is_used = true },
        .priority = priority_of(set->made++),
        .bytes = bb_alloc_cost(bytes),
    };
    return node;
}

/* Nodes with low < key go left, the others right. */
static void split(struct node *tree, struct bb_slice key, struct node **left, struct node **right)
{
    while (tree != NULL) {
        if (bb_slice_compare(tree->cover.low, key) < 0) {
            *left = tree;
            left = &tree->right;
            tree = tree->right;
        } else {
            *right = tree;
            right = &tree->left;
            tree = tree->left;
        }
    }
    *left = *right = NULL;
}

static struct node *merge(struct node *left, struct node *right)
{
    struct node *root = NULL;
    struct node **link = &root;
    while (left != NULL && right != NULL) {
        if (left->priority > right->priority) {
            *link = left;
            link = &left->right;
            left = left->right;
        } else {
            *link = right;
            link = &right->left;
            right = right->left;
        }
    }
    *link = left != NULL ? left : right;
    return root;
}

static void insert(struct coverage *set, struct bb_slice low, struct bb_slice high, uint64_t from)
{
    if (bb_slice_compare(low, high) >= 0) {
        return;
    }
    struct node *node = node_new(set, low, high, from);
    struct node **link = &set->root;
    while (*link != NULL && (*link)->priority >= node->priority) {
        bool goes_right = bb_slice_compare((*link)->cover.low, low) < 0;
        link = goes_right ? &(*link)->right : &(*link)->left;
    }
    split(*link, low, &node->left, &node->right);
    *link = node;
    set->range_count++;
    set->bytes += node->bytes;
}

static void remove_range(struct coverage *set, struct cover *cover)
{
    struct node **link = &set->root;
    while (*link != NULL && &(*link)->cover != cover) {
        bool goes_right = bb_slice_compare((*link)->cover.low, cover->low) < 0;
        link = goes_right ? &(*link)->right : &(*link)->left;
    }
    struct node *node = *link;
    bb_assert(node != NULL);
    *link = merge(node->left, node->right);
    set->range_count--;
    set->bytes -= node->bytes;
    bb_free(node);
}

struct cover *worker_coverage_before(struct coverage *set, struct bb_slice key)
{
    struct node *best = NULL;
    for (struct node *node = set->root; node != NULL;) {
        if (bb_slice_compare(node->cover.low, key) < 0) {
            best = node;
            node = node->right;
        } else {
            node = node->left;
        }
    }
    return best == NULL ? NULL : &best->cover;
}

struct cover *worker_coverage_next(struct coverage *set, struct bb_slice key)
{
    struct node *best = NULL;
    for (struct node *node = set->root; node != NULL;) {
        if (bb_slice_compare(node->cover.low, key) >= 0) {
            best = node;
            node = node->left;
        } else {
            node = node->right;
        }
    }
    return best == NULL ? NULL : &best->cover;
}

struct cover *worker_coverage_range_at(struct coverage *set, struct bb_slice key)
{
    struct node *best = NULL;
    for (struct node *node = set->root; node != NULL;) {
        if (bb_slice_compare(node->cover.low, key) <= 0) {
            best = node;
            node = node->right;
        } else {
            node = node->left;
        }
    }
    bool is_inside = best != NULL && bb_slice_compare(key, best->cover.high) < 0;
    return is_inside ? &best->cover : NULL;
}

struct cover *worker_coverage_at(struct coverage *set, struct bb_slice key)
{
    struct cover *point = bb_key_index_find(&set->points, key);
    struct cover *range = worker_coverage_range_at(set, key);
    if (point == NULL || range == NULL) {
        return point != NULL ? point : range;
    }
    return point->from < range->from ? point : range;
}

bool worker_coverage_has(struct coverage *set, struct bb_slice key)
{
    return worker_coverage_has_point(set, key) || worker_coverage_range_at(set, key) != NULL;
}

bool worker_coverage_has_point(const struct coverage *set, struct bb_slice key)
{
    return bb_key_index_find(&set->points, key) != NULL;
}

/* ---- points ---- */

static size_t point_cost(size_t key_size)
{
    return bb_alloc_cost(sizeof(struct point) + key_size + 1) + BB_KEY_INDEX_BYTES;
}

void worker_coverage_add_point(struct coverage *set, struct bb_slice key, uint64_t from)
{
    struct cover *old = bb_key_index_find(&set->points, key);
    struct cover *range = worker_coverage_range_at(set, key);
    if (range != NULL && range->from <= from) {
        range->is_used = true;
        return;
    }
    if (old != NULL) {
        old->is_used = true;
        old->from = from < old->from ? from : old->from;
        return;
    }
    struct point *point = bb_alloc(sizeof(*point) + key.size + 1);
    if (key.size > 0) {
        memcpy(point->key, key.data, key.size);
    }
    point->key[key.size] = 0;
    point->cover = (struct cover){ .low = bb_slice(point->key, key.size),
                                   .high = bb_slice(point->key, key.size + 1),
                                   .from = from,
                                   .is_used = true,
                                   .is_point = true };
    bb_key_index_add(&set->points, &point->cover);
    set->bytes += point_cost(key.size);
    set->made_points++;
}

static void remove_point(struct coverage *set, struct cover *cover)
{
    bb_key_index_remove(&set->points, cover);
    set->bytes -= point_cost(cover->low.size);
    bb_free(bb_container(cover, struct point, cover));
}

void worker_coverage_remove(struct coverage *set, struct cover *cover)
{
    if (cover->is_point) {
        remove_point(set, cover);
    } else {
        remove_range(set, cover);
    }
}

/* ---- ranges ---- */

/* Cut [low, high) out of an interval; what lies outside stays as it was. */
static void cut_out(struct coverage *set, struct cover *old, struct bb_slice low,
                    struct bb_slice high)
{
    struct bb_slice old_low = bb_slice_dup(old->low);
    struct bb_slice old_high = bb_slice_dup(old->high);
    uint64_t from = old->from;
    remove_range(set, old);
    insert(set, old_low, bb_slice_compare(old_high, low) < 0 ? old_high : low, from);
    insert(set, bb_slice_compare(old_low, high) > 0 ? old_low : high, old_high, from);
    union {
        const uint8_t *in;
        void *out;
    } a = { .in = old_low.data }, b = { .in = old_high.data };
    bb_free(a.out);
    bb_free(b.out);
}

void worker_coverage_add(struct coverage *set, struct bb_slice low, struct bb_slice high,
                         uint64_t from)
{
    struct bb_buf place;
    bb_buf_init(&place);
    bb_buf_append_slice(&place, low);
    while (bb_slice_compare(bb_buf_slice(&place), high) < 0) {
        struct cover *old = worker_coverage_range_at(set, bb_buf_slice(&place));
        if (old != NULL && old->from <= from) {
            old->is_used = true;
            bb_buf_clear(&place);
            bb_buf_append_slice(&place, old->high);
            continue;
        }
        if (old != NULL) {
            /* Known, but only later: this part becomes known from the older moment on. */
            cut_out(set, old, bb_buf_slice(&place), high);
        }
        struct cover *next = worker_coverage_next(set, bb_buf_slice(&place));
        bool is_clipped = next != NULL && bb_slice_compare(next->low, high) < 0;
        struct bb_buf end;
        bb_buf_init(&end);
        bb_buf_append_slice(&end, is_clipped ? next->low : high);
        insert(set, bb_buf_slice(&place), bb_buf_slice(&end), from);
        bb_buf_fini(&place);
        place = end;
    }
    bb_buf_fini(&place);
}

/* Together: a removal moves others to other places. */
static void drop_points(struct coverage *set, uint64_t least)
{
    struct cover **late = bb_alloc((set->points.count + 1) * sizeof(struct cover *));
    size_t count = 0;
    struct bb_key_walk walk = { 0 };
    struct cover *cover;
    while ((cover = bb_key_index_next(&set->points, &walk)) != NULL) {
        if (cover->from >= least) {
            late[count++] = cover;
        }
    }
    for (size_t i = 0; i < count; i++) {
        remove_point(set, late[i]);
    }
    bb_free(late);
}

void worker_coverage_drop_point_after(struct coverage *set, struct bb_slice key, uint64_t tx)
{
    struct cover *point = bb_key_index_find(&set->points, key);
    if (point != NULL && point->from > tx) {
        remove_point(set, point);
    }
}

void worker_coverage_drop_after(struct coverage *set, uint64_t tx)
{
    drop_points(set, tx + 1);
    struct cover *cover = worker_coverage_next(set, BB_SLICE_EMPTY);
    struct bb_buf place;
    bb_buf_init(&place);
    while (cover != NULL) {
        bb_buf_clear(&place);
        bb_buf_append_slice(&place, cover->high);
        if (cover->from > tx) {
            remove_range(set, cover);
        }
        cover = worker_coverage_next(set, bb_buf_slice(&place));
    }
    bb_buf_fini(&place);
}

/* ---- going around ---- */

static struct cover *next_range(struct coverage *set)
{
    struct cover *cover = worker_coverage_next(set, bb_buf_slice(&set->range_hand));
    bb_buf_clear(&set->range_hand);
    if (cover != NULL) {
        bb_buf_append_slice(&set->range_hand, cover->low);
        bb_buf_append_byte(&set->range_hand, 0);
    }
    return cover;
}

struct cover *worker_coverage_around(struct coverage *set)
{
    bb_assert(worker_coverage_count(set) > 0);
    for (;;) {
        struct cover *cover = set->is_among_ranges
                                  ? next_range(set)
                                  : bb_key_index_next(&set->points, &set->point_hand);
        if (cover != NULL) {
            return cover;
        }
        set->is_among_ranges = !set->is_among_ranges;
    }
}

static struct bb_slice low_of(const void *cover)
{
    return ((const struct cover *)cover)->low;
}

struct coverage *worker_coverage_new(void)
{
    struct coverage *set = bb_alloc_zero(1, sizeof(*set));
    bb_key_index_init(&set->points, low_of);
    bb_buf_init(&set->range_hand);
    return set;
}

bool worker_coverage_free_some(struct coverage *set, size_t count)
{
    if (!set->is_leaving) {
        set->is_leaving = true;
        set->point_hand = (struct bb_key_walk){ 0 };
    }
    for (; count > 0 && set->root != NULL; count--) {
        remove_range(set, &set->root->cover);
    }
    for (; count > 0; count--) {
        struct cover *point = bb_key_index_next(&set->points, &set->point_hand);
        if (point == NULL) {
            bb_assert(set->bytes == 0);
            bb_key_index_fini(&set->points);
            bb_buf_fini(&set->range_hand);
            bb_free(set);
            return true;
        }
        set->bytes -= point_cost(point->low.size);
        bb_free(bb_container(point, struct point, cover));
    }
    return false;
}

void worker_coverage_free(struct coverage *set)
{
    if (set != NULL) {
        bool is_gone = worker_coverage_free_some(set, SIZE_MAX);
        bb_assert(is_gone);
    }
}

size_t worker_coverage_count(const struct coverage *set)
{
    return set->points.count + set->range_count;
}

size_t worker_coverage_bytes(const struct coverage *set)
{
    return set->bytes;
}

uint64_t worker_coverage_added(const struct coverage *set)
{
    return set->made + set->made_points;
}
