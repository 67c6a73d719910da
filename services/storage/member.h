/*
 * The storage nodes of the cluster by their numbers: where clients and peers reach them and which
 * folder each has. Part of the state that all replicas agree on; changed by entries of the log.
 *
 * Whether a node has a vote is not here: that is the log's own configuration.
 */
#ifndef STORAGE_MEMBER_H
#define STORAGE_MEMBER_H

#include "bb/base.h"

enum {
    MEMBER_MAX = 64, /* removed ones are remembered: a number is never used again */
    MEMBER_TEXT_MAX = 127,
    MEMBER_INCARNATION = 16,
    MEMBER_CLUSTER = 16
};

struct member {
    uint64_t id;
    uint8_t incarnation[MEMBER_INCARNATION]; /* of its folder; zeros: it has not come yet */
    char url[MEMBER_TEXT_MAX + 1];           /* for clients; empty: not known yet */
    char address[MEMBER_TEXT_MAX + 1];       /* "name:port" for peers; empty: it has none */
    bool is_removed;
};
struct members {
    size_t count;
    struct member list[MEMBER_MAX]; /* by id */
};

enum member_op {
    MEMBER_SET = 1,
    MEMBER_REMOVE = 2
};
/* What an entry of kind MEMBER says. */
struct member_entry {
    enum member_op op;
    uint8_t cluster[MEMBER_CLUSTER];
    struct member member;
};
void storage_member_entry_encode(const struct member_entry *entry, struct bb_buf *to);
/* BB_CORRUPT. */
int storage_member_entry_decode(struct bb_ctx *ctx, struct bb_slice from,
                                struct member_entry *entry);

const struct member *storage_member_find(const struct members *members, uint64_t id);
/* BB_OK; BB_FENCED with `error`: the number belongs to another folder, or was removed. */
int storage_member_apply(struct bb_ctx *ctx, struct members *members,
                         const struct member_entry *entry);
/* Whether a node of this number and folder may take part; zeros as incarnation: it is new. */
bool storage_member_admits(const struct members *members, uint64_t id,
                           const uint8_t incarnation[MEMBER_INCARNATION], char *why, size_t size);

/* docs/formats/log.md: "members". */
void storage_members_encode(const struct members *members, struct bb_buf *to);
/* Takes what it reads off `from`. BB_CORRUPT. */
int storage_members_decode(struct bb_ctx *ctx, struct bb_slice *from, struct members *members);

#endif
