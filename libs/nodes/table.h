/*
 * Which storage nodes are asked, by what they say about the members. Decisions only.
 *
 * The list of members is part of what the log decides: of two lists the one of the node that has
 * applied more is newer. So a node that was removed, and still believes in the members of then, is
 * not listened to. A node is known by its url or by the number with which it answers: it may be
 * reached here under another url than it tells.
 */
#ifndef NODES_TABLE_H
#define NODES_TABLE_H

#include "bb/nodes.h"
#include "storage.pb-c.h"

#define NODES_URL_MAX 512u
/* Changes of the members that follow on each other, and elections, are over by then. */
#define NODES_KEEP_US 30000000u

struct nodes_row {
    char url[NODES_URL_MAX];
    uint64_t id;       /* 0: not known yet */
    uint64_t since_us; /* it is no member since then; 0: it is, or nobody knows */
    bool is_used;
    bool is_connected, is_idle; /* what the owner saw last */
};
struct nodes_table {
    struct nodes_row rows[BB_NODES_MAX];
    uint64_t index; /* of the log: what the newest list's node had applied */
};

/* What a node said. `voters` may be none. */
struct nodes_said {
    uint64_t id, index;
    Bb__Proto__Voter *const *voters;
    size_t voter_count;
};

/* BB_BAD_REQUEST: too long, or all places are taken. */
int nodes_table_add(struct bb_ctx *ctx, struct nodes_table *table, struct bb_slice url,
                    size_t *place);
/* The node at `place` said so: rows for members that are not asked come, others begin to go. */
void nodes_table_hear(struct nodes_table *table, size_t place, const struct nodes_said *said,
                      uint64_t now_us);
/* Takes away one that has been no member for long, and has nothing under way. False: there is
 * none. */
bool nodes_table_drop(struct nodes_table *table, uint64_t now_us, size_t *place);
bool nodes_table_is_member(const struct nodes_table *table, size_t place);
/* The next one behind `place` that is there, members first; of those that are not there the next
 * member. `place` when it is alone. */
size_t nodes_table_next(const struct nodes_table *table, size_t place);

#endif
