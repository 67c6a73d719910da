/*
 * Going through the map in key order, both ways, at one tx.
 */
#include "bb/mvcc.h"

#include "node.h"

enum direction {
    FORWARD,
    BACKWARD
};

static const struct mvcc_node *step(const struct mvcc_node *node, enum direction direction)
{
    return direction == FORWARD ? atomic_load_explicit(&node->next[0], memory_order_acquire)
                                : atomic_load_explicit(&node->prev, memory_order_acquire);
}

/* Come to rest at `node` or the first one beyond it that has a version to show. */
static bool settle(struct bb_mvcc_cursor *cursor, const struct mvcc_node *node,
                   enum direction direction)
{
    while (node != NULL) {
        const struct mvcc_version *version = mvcc_node_visible(node, cursor->at);
        if (version != NULL) {
            cursor->node = node;
            mvcc_version_out(node, version, &cursor->version);
            return true;
        }
        const struct mvcc_version *newest =
            atomic_load_explicit(&node->newest, memory_order_acquire);
        if (newest != NULL && newest->tx.us > cursor->skipped.us) {
            cursor->skipped = newest->tx;
        }
        node = step(node, direction);
    }
    cursor->node = NULL;
    return false;
}

void bb_mvcc_cursor_init(struct bb_mvcc_cursor *cursor, const struct bb_mvcc *map,
                         struct bb_txtime at)
{
    *cursor = (struct bb_mvcc_cursor){ .map = map, .at = at };
}

bool bb_mvcc_seek(struct bb_mvcc_cursor *cursor, struct bb_slice key)
{
    return settle(cursor, mvcc_find(cursor->map, key), FORWARD);
}

bool bb_mvcc_seek_before(struct bb_mvcc_cursor *cursor, struct bb_slice key)
{
    return settle(cursor, mvcc_find_before(cursor->map, key), BACKWARD);
}

bool bb_mvcc_next(struct bb_mvcc_cursor *cursor)
{
    const struct mvcc_node *node = cursor->node;
    return node != NULL && settle(cursor, step(node, FORWARD), FORWARD);
}

bool bb_mvcc_prev(struct bb_mvcc_cursor *cursor)
{
    const struct mvcc_node *node = cursor->node;
    return node != NULL && settle(cursor, step(node, BACKWARD), BACKWARD);
}

void bb_mvcc_each(const struct bb_mvcc *map, struct bb_txtime at,
                  void (*each)(void *arg, const struct bb_mvcc_version *version), void *arg)
{
    struct bb_mvcc_cursor cursor;
    bb_mvcc_cursor_init(&cursor, map, at);
    for (bool more = bb_mvcc_seek(&cursor, BB_SLICE_EMPTY); more; more = bb_mvcc_next(&cursor)) {
        each(arg, &cursor.version);
    }
}
