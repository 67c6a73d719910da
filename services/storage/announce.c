/*
 * Telling the leader where a storage node is reached: each node sees to it that its own row of the
 * table is right, so one that moved is found again.
 */
#include "neighbour.h"

#define ASK_TIMEOUT_MS 1000
#define ANNOUNCE_US    1000000u
#define CUT_US         2000000u /* after the last change: one under way is not to be disturbed */

/* ---- announcing this node ---- */

static bool is_announced(const struct storage *node)
{
    const struct member *self = storage_member_find(&node->fence.members, node->folder.node);

    return self != NULL && (self->is_removed || (strcmp(self->url, node->self.url) == 0 &&
                                                 strcmp(self->address, node->self.address) == 0 &&
                                                 memcmp(self->incarnation, node->folder.incarnation,
                                                        MEMBER_INCARNATION) == 0));
}

static void on_announced(void *arg, int status, const char *error)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);

    (void)error;
    node->is_announcing = false;
    if (status != BB_OK) {
        bb_info(node->ctx, "storage.announce", "status=%s", bb_status_name(status));
    }
}

static void on_announce_reply(void *arg, int status, struct bb_slice bytes)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);

    (void)status; /* the table tells whether it worked */
    (void)bytes;
    node->is_announcing = false;
}

static void ask_leader(struct storage *node)
{
    struct bb_ctx ctx = { .env = node->ctx->env };
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Announce announce = BB__PROTO__ANNOUNCE__INIT;
    Bb__Proto__Member member;
    struct bb_peer *leader = storage_member_peer(node, node->leader);

    if (leader == NULL) {
        return;
    }
    bb__proto__member__init(&member);
    member.id = node->folder.node;
    member.url = node->self.url;
    member.address = node->self.address;
    member.incarnation = bb_slice_pb(bb_slice(node->folder.incarnation, FOLDER_INCARNATION));
    announce.member = &member;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_ANNOUNCE;
    request.announce = &announce;
    node->is_announcing = bb_peer_request(&ctx, leader, &request.base, ASK_TIMEOUT_MS,
                                          on_announce_reply, node) == BB_OK;
}

static void announce(struct storage *node, uint64_t now)
{
    struct member_entry entry;

    if (node->self.listen[0] == 0 || node->is_announcing || is_announced(node) ||
        now < node->announce_us + ANNOUNCE_US) {
        return;
    }
    node->announce_us = now;
    if (!node->is_ready) {
        if (node->leader != 0) {
            ask_leader(node);
        }
        return;
    }
    storage_member_self(node, &entry);
    node->is_announcing = true;
    storage_propose_member(node, &entry, on_announced, node);
}

/* ---- a node that announces itself here ---- */

static void on_other_announced(void *arg, int status, const char *error)
{
    struct bb_exchange *exchange = arg;
    Bb__Proto__AnnounceReply announced = BB__PROTO__ANNOUNCE_REPLY__INIT;
    Bb__Proto__StorageReply reply = storage_new_reply();

    if (status == BB_OK) {
        reply.op_case = BB__PROTO__STORAGE_REPLY__OP_ANNOUNCE;
        reply.announce = &announced;
        storage_reply(exchange, &reply);
    } else {
        storage_refuse(exchange, status, error);
    }
}

void storage_announce(struct storage *node, struct bb_exchange *exchange,
                      const Bb__Proto__StorageRequest *request)
{
    const Bb__Proto__Member *from = request->announce->member;
    struct bb_ctx ctx = { .env = node->ctx->env };
    struct member_entry entry;
    bool is_there;
    int rc;

    if (!node->is_ready) {
        storage_refuse_not_leader(node, exchange);
        return;
    }
    storage_member_entry(node, MEMBER_SET, &entry);
    rc = storage_member_take(&ctx, from, &entry.member);
    (void)storage_member_role(node, from->id, &is_there);
    if (rc == BB_OK && !is_there && storage_member_find(&node->fence.members, from->id) == NULL) {
        rc = bb_fail(&ctx, BB_NOT_FOUND, "there is no node %" PRIu64 ": add it first", from->id);
    }
    if (rc != BB_OK) {
        storage_refuse(exchange, rc, ctx.error);
        return;
    }
    storage_propose_member(node, &entry, on_other_announced, exchange);
}

/*
 * A node that fell behind finds who has a checkpoint in the manifest that its leader sends, which
 * is the one of the last cut of the log. That may be of before the leader had told where it is
 * reached, and the next one be far away.
 */
void storage_members_changed(struct storage *node)
{
    node->cut_us = bb_loop_now_us(node->loop) + CUT_US;
}

static void cut(struct storage *node, uint64_t now)
{
    if (node->cut_us != 0 && now >= node->cut_us && !node->is_changing) {
        node->cut_us = 0;
        bb_replog_cut(node->replog);
    }
}

void storage_members_tick(struct storage *node)
{
    uint64_t now = bb_loop_now_us(node->loop);

    if (!node->is_stopping) {
        announce(node, now);
        cut(node, now);
        storage_compare_tick(node, now);
        storage_forgot_tick(node, now);
    }
}
