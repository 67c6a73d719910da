#include "bb/interval.h"

void bb_interval_index_init(struct bb_interval_index *index)
{
    *index = (struct bb_interval_index){ .random = 0x9e3779b97f4a7c15u };
}

/* splitmix64: the same sequence in every run, so that a run can be repeated. */
static uint64_t next_random(struct bb_interval_index *index)
{
    uint64_t z = index->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int order(const struct bb_interval *a, const struct bb_interval *b)
{
    int c = bb_slice_compare(a->low, b->low);

    if (c == 0)
        c = a->number < b->number ? -1 : a->number > b->number;
    return c;
}

static void refresh(struct bb_interval *node)
{
    node->high_max = node->high;
    if (node->left != NULL && bb_slice_compare(node->left->high_max, node->high_max) > 0)
        node->high_max = node->left->high_max;
    if (node->right != NULL && bb_slice_compare(node->right->high_max, node->high_max) > 0)
        node->high_max = node->right->high_max;
}

/* `tree` into what sorts before `at` and the rest. */
static void split(struct bb_interval *tree, const struct bb_interval *at,
                  struct bb_interval **before, struct bb_interval **after)
{
    if (tree == NULL) {
        *before = *after = NULL;
    } else if (order(tree, at) < 0) {
        split(tree->right, at, &tree->right, after);
        *before = tree;
        refresh(tree);
    } else {
        split(tree->left, at, before, &tree->left);
        *after = tree;
        refresh(tree);
    }
}

static struct bb_interval *merge(struct bb_interval *before, struct bb_interval *after)
{
    if (before == NULL)
        return after;
    if (after == NULL)
        return before;
    if (before->priority > after->priority) {
        before->right = merge(before->right, after);
        refresh(before);
        return before;
    }
    after->left = merge(before, after->left);
    refresh(after);
    return after;
}

static struct bb_interval *insert(struct bb_interval *tree, struct bb_interval *node)
{
    if (tree == NULL || node->priority > tree->priority) {
        split(tree, node, &node->left, &node->right);
        refresh(node);
        return node;
    }
    if (order(node, tree) < 0) {
        tree->left = insert(tree->left, node);
    } else {
        tree->right = insert(tree->right, node);
    }
    refresh(tree);
    return tree;
}

void bb_interval_insert(struct bb_interval_index *index, struct bb_interval *node)
{
    bb_assert(bb_slice_compare(node->low, node->high) < 0);
    node->left = node->right = NULL;
    node->priority = next_random(index);
    node->number = index->numbers++;
    index->root = insert(index->root, node);
    index->count++;
}

static struct bb_interval *take_out(struct bb_interval *tree, const struct bb_interval *node)
{
    int c;

    bb_assert(tree != NULL);
    if (tree == node)
        return merge(tree->left, tree->right);
    c = order(node, tree);
    bb_assert(c != 0);
    if (c < 0) {
        tree->left = take_out(tree->left, node);
    } else {
        tree->right = take_out(tree->right, node);
    }
    refresh(tree);
    return tree;
}

void bb_interval_remove(struct bb_interval_index *index, struct bb_interval *node)
{
    index->root = take_out(index->root, node);
    index->count--;
    node->left = node->right = NULL;
}

static void stab(struct bb_interval *node, struct bb_slice key,
                 void (*each)(void *arg, struct bb_interval *node), void *arg)
{
    while (node != NULL && bb_slice_compare(node->high_max, key) > 0) {
        stab(node->left, key, each, arg);
        if (bb_slice_compare(node->low, key) > 0)
            return;
        if (bb_slice_compare(key, node->high) < 0)
            each(arg, node);
        node = node->right;
    }
}

void bb_interval_stab(const struct bb_interval_index *index, struct bb_slice key,
                      void (*each)(void *arg, struct bb_interval *node), void *arg)
{
    stab(index->root, key, each, arg);
}
