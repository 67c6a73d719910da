#include "behind.h"

static size_t count_behind(const struct behind *behind)
{
    size_t count = 0;

    for (size_t i = 0; i < BEHIND_NODES_MAX; i++)
        count += behind->is_behind[i];
    return count;
}

enum behind_verdict follow_behind_say(struct behind *behind, size_t node, uint64_t last_tx,
                                      uint64_t cursor, uint64_t now_us)
{
    bb_assert(node < BEHIND_NODES_MAX && behind->count <= BEHIND_NODES_MAX);
    if (last_tx >= cursor) {
        *behind = (struct behind){ .count = behind->count };
        return BEHIND_NOT;
    }
    if (behind->since_us == 0)
        behind->since_us = now_us;
    behind->is_behind[node] = true;
    if (behind->count > 1 &&
        (count_behind(behind) <= behind->count / 2 || now_us < behind->since_us + BEHIND_WAIT_US))
        return BEHIND_LAGS;
    *behind = (struct behind){ .count = behind->count };
    return BEHIND_HISTORY;
}

void follow_behind_leave(struct behind *behind, size_t node)
{
    bb_assert(node < BEHIND_NODES_MAX);
    behind->is_behind[node] = false;
    if (count_behind(behind) == 0)
        behind->since_us = 0;
}
