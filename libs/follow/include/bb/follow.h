/*
 * Following the durable feed of storage from another service: a long poll to one storage node,
 * another one when that is away or lags behind what was seen.
 *
 * Every record comes once, in order, without a gap, from the position where a beginning was told;
 * what does not follow (a gap, a position that storage has truncated, a history that went back)
 * leads to another beginning at the newest transaction. All on the owner loop's thread.
 */
#ifndef BB_FOLLOW_H
#define BB_FOLLOW_H

#include "common.pb-c.h"
#include "storage.pb-c.h"

#include "bb/base.h"
#include "bb/rt.h"

struct bb_follow;

/* What the follower's owner is told. Nothing is called from within open or close. */
struct bb_follow_user {
    void *arg;
    /* The records behind `cursor` come next. What was known is of an older moment, or, with
     * `is_new_history`, of data that is no more. */
    void (*begin)(void *arg, uint64_t cursor, bool is_new_history);
    /* Whether records that write to this table are of interest. The others only move the cursor and
     * are not unpacked. NULL: all are. */
    bool (*wants)(void *arg, uint32_t table);
    /* One record: as storage sent it, and unpacked and validated. They live during the call. */
    void (*record)(void *arg, struct bb_slice bytes, const Bb__Proto__TxRecord *record,
                   const Bb__Proto__TxBody *body);
    /* All records of one answer were told; there may have been none. May be NULL. */
    void (*advance)(void *arg, uint64_t cursor);
    /* A node answers now, or none does any more. May be NULL. */
    void (*changed)(void *arg, bool is_following);
};

/* `urls`: comma list of storage nodes, at most 16, where it begins; then those that are members
 * (bb/nodes.h). Nothing needs to be there yet. BB_BAD_REQUEST names the option. On failure `follow`
 * may be set and is to be closed all the same. */
int bb_follow_open(struct bb_ctx *ctx, struct bb_loop *loop, const char *urls,
                   const struct bb_follow_user *user, struct bb_follow **follow);
/* Questions under way end with BB_CANCELLED. Accepts NULL. */
void bb_follow_close(struct bb_follow *follow);

bool bb_follow_is_following(const struct bb_follow *follow);
/* False: where the feed begins (anew) is still being asked. */
bool bb_follow_has_begun(const struct bb_follow *follow);
uint64_t bb_follow_cursor(const struct bb_follow *follow);
/* 16 bytes; empty: not known yet. */
struct bb_slice bb_follow_cluster(const struct bb_follow *follow);

/* One request to the node that is followed; `done` is called once, later, with a reply that lives
 * during the call (NULL unless status is BB_OK). Its own status is in the reply. Not BB_OK: `done`
 * will not be called. */
int bb_follow_ask(struct bb_ctx *ctx, struct bb_follow *follow,
                  const Bb__Proto__StorageRequest *request, uint32_t timeout_ms,
                  void (*done)(void *arg, int status, const Bb__Proto__StorageReply *reply),
                  void *arg);
/* Ask every node for its Info; `done` is called once for each that could be asked, later. `info` is
 * NULL unless status is BB_OK. Returns how many calls will come. */
size_t bb_follow_ask_info(struct bb_follow *follow,
                          void (*done)(void *arg, const char *url, int status,
                                       const Bb__Proto__InfoReply *info),
                          void *arg);

#endif
