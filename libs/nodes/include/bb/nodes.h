/*
 * The storage nodes that a service asks: those of its option `storage` are where it begins, then
 * those that have a vote, as the nodes themselves say every two seconds.
 *
 * A node keeps its place while a request to it is under way. One that is no member any more is not
 * chosen when a member is there, and is closed half a minute later, when nothing is under way to
 * it: nothing is cancelled by a change of the members. Who hears of no members keeps what it had.
 * All on the owner loop's thread; holds at most BB_NODES_MAX connections.
 */
#ifndef BB_NODES_H
#define BB_NODES_H

#include "bb/base.h"
#include "bb/rt.h"
#include "bb/wire.h"

#define BB_NODES_MAX 16u /* places */

struct bb_nodes;
struct bb_nodes_options {
    const char *urls;       /* comma list */
    size_t outstanding_max; /* of each connection; 0: 256 */
    /* The place is empty now, and may become another node's. May be NULL. */
    void (*left)(void *arg, size_t place);
    void *arg;
};
/* Nothing needs to be there yet; the first place is the current one. BB_BAD_REQUEST names the
 * option. On failure `nodes` may be set and is to be closed all the same. */
int bb_nodes_open(struct bb_ctx *ctx, struct bb_loop *loop, const struct bb_nodes_options *options,
                  struct bb_nodes **nodes);
/* Requests under way end with BB_CANCELLED. Accepts NULL. */
void bb_nodes_close(struct bb_nodes *nodes);

/* NULL: the place is empty. The current one never is. */
struct bb_peer *bb_nodes_peer(const struct bb_nodes *nodes, size_t place);
size_t bb_nodes_current(const struct bb_nodes *nodes);
static inline struct bb_peer *bb_nodes_current_peer(const struct bb_nodes *nodes)
{
    return bb_nodes_peer(nodes, bb_nodes_current(nodes));
}
/* How many are members as far as is known here; at least 1. */
size_t bb_nodes_count(const struct bb_nodes *nodes);
/* False: others have its vote, or the place is empty. */
bool bb_nodes_is_member(const struct bb_nodes *nodes, size_t place);

/* The next one that is there, a member if one is; the next one when none is there. */
void bb_nodes_pass_over(struct bb_nodes *nodes);
/* Of many questions to one that has died the first one's end decides where to go. */
void bb_nodes_failed(struct bb_nodes *nodes, size_t asked);
/* Make this one current, which is not empty. */
void bb_nodes_choose(struct bb_nodes *nodes, size_t place);
/* When the current one is no member any more: one that is, and is there. */
void bb_nodes_leave(struct bb_nodes *nodes);

#endif
