/*
 * Storage nodes whose newest transaction lies before what the follower has seen: each one lags, or
 * the data went back and another history began. Decisions only.
 *
 * A node that lags is passed over: another one goes on. The history is another one only when every
 * node that was there said so for a while, and these are a majority, as what was durable is in the
 * log of one of them at least. A single node has nobody beside it: what it says is so.
 */
#ifndef FOLLOW_BEHIND_H
#define FOLLOW_BEHIND_H

#include "bb/base.h"

#define BEHIND_NODES_MAX 16u
#define BEHIND_WAIT_US                                                         \
    10000000u /* an election, and the new leader's first commits, fit in twice \
               */

struct behind {
    size_t count;                     /* of the nodes whose word counts */
    bool is_behind[BEHIND_NODES_MAX]; /* by place */
    uint64_t since_us; /* the first one was behind and none was not since; 0: none is behind */
};

enum behind_verdict {
    BEHIND_NOT,     /* the node is where we are, or beyond */
    BEHIND_LAGS,    /* ask another one */
    BEHIND_HISTORY, /* another history */
};

/* Node `node` says that its newest transaction is `last_tx`; we have seen `cursor`. */
enum behind_verdict follow_behind_say(struct behind *behind, size_t node, uint64_t last_tx,
                                      uint64_t cursor, uint64_t now_us);
/* Node `node` does not answer, or is no member any more: it says nothing about the history. */
void follow_behind_leave(struct behind *behind, size_t node);

#endif
