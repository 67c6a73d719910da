/*
 * The other storage nodes as this one sees them. Owner thread.
 */
#ifndef STORAGE_NEIGHBOUR_H
#define STORAGE_NEIGHBOUR_H

#include "storage.h"

/* An entry about a member, in the cluster's name; the first leader of all gives it one. */
void storage_member_entry(struct storage *node, enum member_op op, struct member_entry *entry);
/* What sets the row of this node. */
void storage_member_self(struct storage *node, struct member_entry *entry);
/* BB_BAD_REQUEST when a text is too long. */
int storage_member_take(struct bb_ctx *ctx, const Bb__Proto__Member *from, struct member *to);
/* What the log's configuration says of it; is_there: whether that lists it. */
enum bb_replog_role storage_member_role(const struct storage *node, uint64_t id, bool *is_there);

#endif
