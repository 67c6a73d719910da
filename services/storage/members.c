/*
 * The other storage nodes: telling the leader where this one is reached, the operator's changes,
 * and whether all of them hold the same state.
 *
 * A change of the members is a few steps of the log, each of which may end it: to add a node is an
 * entry that names it, then a change of the log's configuration that lists it, then one by which it
 * gets the log. An operator who repeats a change that ended half way finishes it.
 */
#include <inttypes.h>
#include <stdio.h>

#include "storage.h"

#define ASK_TIMEOUT_MS   1000
#define ANNOUNCE_US      1000000u
#define COMPARE_US       2000000u
#define PEER_OUTSTANDING 32

/* ---- who is where ---- */

const char *storage_member_url(const struct storage *node, uint64_t id)
{
    const struct member *member = storage_member_find(&node->fence.members, id);

    if (member == NULL || member->url[0] == 0) {
        member = storage_member_find(&node->seen, id);
    }
    return member == NULL || member->url[0] == 0 ? NULL : member->url;
}

/* A connection to another node, made when first needed and anew when it has moved. */
static struct bb_peer *peer_of(struct storage *node, uint64_t id)
{
    struct bb_ctx ctx = { .env = node->ctx->env, .log = node->ctx->log };
    const char *url = storage_member_url(node, id);
    struct storage_peer *peer = NULL;

    for (size_t i = 0; i < node->peer_count && peer == NULL; i++) {
        if (node->peers[i].id == id) {
            peer = &node->peers[i];
        }
    }
    if (url == NULL || (peer == NULL && node->peer_count == MEMBER_MAX)) {
        return NULL;
    }
    if (peer == NULL) {
        peer = &node->peers[node->peer_count++];
        *peer = (struct storage_peer){ .id = id };
    }
    if (peer->peer != NULL && strcmp(bb_peer_url(peer->peer), url) != 0) {
        struct bb_peer *old = peer->peer;
        peer->peer = NULL; /* first: what was under way ends inside, and may come here again */
        bb_peer_close(old);
    }
    if (peer->peer == NULL) {
        struct bb_peer_options options = { .url = url, .outstanding_max = PEER_OUTSTANDING };
        if (bb_peer_open(&ctx, node->loop, &options, &peer->peer) != BB_OK) {
            bb_warn(node->ctx, "storage.peer", "node=%" PRIu64 " why=\"%s\"", id, ctx.error);
        }
    }
    return peer->peer;
}

void storage_members_close(struct storage *node)
{
    for (size_t i = 0; i < node->peer_count; i++) {
        bb_peer_close(node->peers[i].peer);
    }
    node->peer_count = 0;
}

/* ---- the log's questions ---- */

void storage_identity(void *arg, struct bb_replog_identity *self)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);

    self->id = node->folder.node;
    memcpy(self->cluster, node->fence.cluster, sizeof self->cluster);
    memcpy(self->incarnation, node->folder.incarnation, sizeof self->incarnation);
}

bool storage_admit(void *arg, const struct bb_replog_identity *peer, char *why, size_t size)
{
    static const uint8_t nothing[FENCE_CLUSTER];
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);

    if (storage_fence_has_cluster(&node->fence) &&
        memcmp(peer->cluster, nothing, FENCE_CLUSTER) != 0 &&
        memcmp(peer->cluster, node->fence.cluster, FENCE_CLUSTER) != 0) {
        (void)snprintf(why, size, "node %" PRIu64 " belongs to another cluster", peer->id);
        return false;
    }
    return storage_member_admits(&node->fence.members, peer->id, peer->incarnation, why, size);
}

void storage_refused(void *arg, uint64_t peer, const char *why)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);
    uint64_t now = bb_loop_now_us(node->loop);
    char text[BB_ERROR_MAX];

    if (node->refused_us != 0 && now < node->refused_us + COMPARE_US) {
        return;
    }
    node->refused_us = now;
    bb_error(node->ctx, "storage.refused_by_peer", "peer=%" PRIu64 " why=%s", peer,
             bb_log_quote(why, text, sizeof text));
    if (!node->is_current) {
        bb_service_not_ready(node->service, why);
    }
}

const char *storage_address(void *arg, uint64_t id)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);
    const struct member *member = storage_member_find(&node->fence.members, id);

    return member == NULL || member->address[0] == 0 ? NULL : member->address;
}

/* ---- announcing this node ---- */

static void fill_entry(struct storage *node, enum member_op op, struct member_entry *entry)
{
    *entry = (struct member_entry){ .op = op };
    if (storage_fence_has_cluster(&node->fence)) {
        memcpy(entry->cluster, node->fence.cluster, FENCE_CLUSTER);
    } else {
        bb_random(node->ctx, entry->cluster, FENCE_CLUSTER); /* the first leader of all names it */
    }
}

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
    struct bb_peer *leader = peer_of(node, node->leader);

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
    if (!node->is_ready) {
        node->announce_us = now;
        if (node->leader != 0) {
            ask_leader(node);
        }
        return;
    }
    fill_entry(node, MEMBER_SET, &entry);
    entry.member.id = node->folder.node;
    memcpy(entry.member.url, node->self.url, sizeof entry.member.url);
    memcpy(entry.member.address, node->self.address, sizeof entry.member.address);
    memcpy(entry.member.incarnation, node->folder.incarnation, MEMBER_INCARNATION);
    node->is_announcing = true;
    storage_propose_member(node, &entry, on_announced, node);
}

/* ---- changes ---- */

struct change {
    struct storage *node;
    struct bb_exchange *exchange;
    Bb__Proto__MemberChange kind;
    struct member member;
};

static enum bb_replog_role role_in_log(const struct storage *node, uint64_t id, bool *is_there)
{
    struct bb_replog_member list[BB_REPLOG_MEMBERS_MAX];
    size_t count = bb_replog_members(node->replog, list, BB_REPLOG_MEMBERS_MAX);

    for (size_t i = 0; i < count; i++) {
        if (list[i].id == id) {
            *is_there = true;
            return list[i].role;
        }
    }
    *is_there = false;
    return BB_REPLOG_SPARE;
}

static Bb__Proto__MemberRole wire_role(const struct storage *node, const struct member *member)
{
    bool is_there;
    enum bb_replog_role role = role_in_log(node, member->id, &is_there);

    if (!is_there) {
        return member->is_removed ? BB__PROTO__MEMBER_ROLE__MEMBER_REMOVED
                                  : BB__PROTO__MEMBER_ROLE__MEMBER_NONE;
    }
    switch (role) {
    case BB_REPLOG_SPARE:
        return BB__PROTO__MEMBER_ROLE__MEMBER_SPARE;
    case BB_REPLOG_STANDBY:
        return BB__PROTO__MEMBER_ROLE__MEMBER_STANDBY;
    case BB_REPLOG_VOTER:
        return BB__PROTO__MEMBER_ROLE__MEMBER_VOTER;
    }
    BB_UNREACHABLE("all roles are listed");
}

/* Those in the table and those that only the log's configuration knows, by number. */
static size_t gather_members(const struct storage *node, struct members *to)
{
    struct bb_replog_member list[BB_REPLOG_MEMBERS_MAX];
    size_t count = bb_replog_members(node->replog, list, BB_REPLOG_MEMBERS_MAX);
    struct bb_ctx ctx = { .status = BB_OK };

    *to = node->fence.members;
    for (size_t i = 0; i < count; i++) {
        struct member_entry entry = { .op = MEMBER_SET, .member = { .id = list[i].id } };
        if (storage_member_find(to, list[i].id) == NULL) {
            (void)snprintf(entry.member.address, sizeof entry.member.address, "%.*s",
                           MEMBER_TEXT_MAX, list[i].address);
            (void)storage_member_apply(&ctx, to, &entry); /* a full table shows what it holds */
        }
    }
    return to->count;
}

static void reply_members(struct storage *node, struct bb_exchange *exchange)
{
    Bb__Proto__MembersReply reply = BB__PROTO__MEMBERS_REPLY__INIT;
    Bb__Proto__StorageReply answer = storage_new_reply();
    Bb__Proto__Member members[MEMBER_MAX];
    Bb__Proto__Member *list[MEMBER_MAX];
    struct members *all = bb_alloc_zero(1, sizeof *all);
    size_t count = gather_members(node, all);

    for (size_t i = 0; i < count; i++) {
        struct member *from = &all->list[i];
        bb__proto__member__init(&members[i]);
        members[i].id = from->id;
        members[i].url = from->url;
        members[i].address = from->address;
        members[i].incarnation = bb_slice_pb(bb_slice(from->incarnation, MEMBER_INCARNATION));
        members[i].role = wire_role(node, from);
        members[i].is_leader = from->id == node->leader;
        list[i] = &members[i];
    }
    reply.n_members = count;
    reply.members = list;
    reply.node = node->folder.node;
    reply.term = node->term;
    answer.op_case = BB__PROTO__STORAGE_REPLY__OP_MEMBERS;
    answer.members = &reply;
    storage_reply(exchange, &answer);
    bb_free(all);
}

static void end_change(struct change *change, int status, const char *error)
{
    struct storage *node = change->node;

    node->is_changing = false;
    bb_info(node->ctx, "storage.members", "change=%d node=%" PRIu64 " status=%s", change->kind,
            change->member.id, bb_status_name(status));
    if (status == BB_OK) {
        reply_members(node, change->exchange);
    } else if (status == BB_NOT_LEADER) {
        storage_refuse_not_leader(node, change->exchange);
    } else {
        storage_refuse(change->exchange, status, error);
    }
    bb_free(change);
    storage_stop_if_idle(node);
}

static void on_step(void *arg, int status)
{
    struct change *change = arg;
    bool is_there;
    enum bb_replog_role role = role_in_log(change->node, change->member.id, &is_there);

    if (status == BB_PEER_GONE) {
        end_change(change, status,
                   "the node cannot be reached or does not keep up: nothing was "
                   "changed; is it running?");
    } else if (status != BB_OK) {
        end_change(change, status, "the leader changed meanwhile: list the members and try again");
    } else if (change->kind == BB__PROTO__MEMBER_CHANGE__MEMBER_ADD && is_there &&
               role == BB_REPLOG_SPARE) {
        struct bb_ctx ctx = { .env = change->node->ctx->env };
        int rc = bb_replog_assign(&ctx, change->node->replog, change->member.id, BB_REPLOG_STANDBY,
                                  on_step, change);
        if (rc != BB_OK) {
            end_change(change, rc, ctx.error);
        }
    } else {
        end_change(change, BB_OK, "");
    }
}

static void on_table_removed(void *arg, int status, const char *error)
{
    end_change(arg, status, error);
}

static void forget(struct change *change)
{
    struct member_entry entry;

    fill_entry(change->node, MEMBER_REMOVE, &entry);
    entry.member.id = change->member.id;
    storage_propose_member(change->node, &entry, on_table_removed, change);
}

static void on_removed(void *arg, int status)
{
    struct change *change = arg;

    if (status == BB_OK) {
        forget(change);
    } else {
        on_step(change, status);
    }
}

/* The table knows the new node: now the log gets it. */
static void on_named(void *arg, int status, const char *error)
{
    struct change *change = arg;
    struct storage *node = change->node;
    struct bb_ctx ctx = { .env = node->ctx->env };
    bool is_there;
    int rc;

    (void)role_in_log(node, change->member.id, &is_there);
    if (status != BB_OK) {
        end_change(change, status, error);
    } else if (is_there) {
        on_step(change, BB_OK);
    } else {
        rc = bb_replog_add(&ctx, node->replog, change->member.id, change->member.address, on_step,
                           change);
        if (rc != BB_OK) {
            end_change(change, rc, ctx.error);
        }
    }
}

static int begin_add(struct bb_ctx *ctx, struct change *change)
{
    struct storage *node = change->node;
    struct member_entry entry;
    bool is_there;
    enum bb_replog_role role = role_in_log(node, change->member.id, &is_there);
    static const uint8_t nothing[MEMBER_INCARNATION];
    char why[MEMBER_TEXT_MAX + 1];

    if (is_there && role != BB_REPLOG_SPARE) {
        return bb_fail(ctx, BB_EXISTS, "there is a node %" PRIu64 " already", change->member.id);
    }
    if (change->member.url[0] == 0 || strchr(change->member.address, ':') == NULL) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "a new node needs its url for clients and HOST:PORT for the log");
    }
    if (!storage_member_admits(&node->fence.members, change->member.id, nothing, why, sizeof why)) {
        return bb_fail(ctx, BB_EXISTS, "%s", why);
    }
    fill_entry(node, MEMBER_SET, &entry);
    entry.member = change->member;
    storage_propose_member(node, &entry, on_named, change);
    return BB_OK;
}

static int begin_remove(struct bb_ctx *ctx, struct change *change)
{
    struct storage *node = change->node;
    const struct member *known = storage_member_find(&node->fence.members, change->member.id);
    bool is_there;

    (void)role_in_log(node, change->member.id, &is_there);
    if (change->member.id == node->folder.node) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "node %" PRIu64 " leads: stop it, another one takes over, then remove it",
                       change->member.id);
    }
    if (is_there) {
        return bb_replog_remove(ctx, node->replog, change->member.id, on_removed, change);
    }
    if (known == NULL || known->is_removed) {
        return bb_fail(ctx, BB_NOT_FOUND, "there is no node %" PRIu64, change->member.id);
    }
    forget(change);
    return BB_OK;
}

static int begin_change(struct bb_ctx *ctx, struct change *change)
{
    switch (change->kind) {
    case BB__PROTO__MEMBER_CHANGE__MEMBER_ADD:
        return begin_add(ctx, change);
    case BB__PROTO__MEMBER_CHANGE__MEMBER_PROMOTE:
        return bb_replog_assign(ctx, change->node->replog, change->member.id, BB_REPLOG_VOTER,
                                on_step, change);
    case BB__PROTO__MEMBER_CHANGE__MEMBER_REMOVE:
        return begin_remove(ctx, change);
    case BB__PROTO__MEMBER_CHANGE__MEMBER_LIST:
    case _BB__PROTO__MEMBER_CHANGE_IS_INT_SIZE:
        break;
    }
    BB_UNREACHABLE("validated");
}

static int take_member(struct bb_ctx *ctx, const Bb__Proto__Member *from, struct member *to)
{
    if (strlen(from->url) > MEMBER_TEXT_MAX || strlen(from->address) > MEMBER_TEXT_MAX) {
        return bb_fail(ctx, BB_BAD_REQUEST, "an address of more than %d characters",
                       MEMBER_TEXT_MAX);
    }
    *to = (struct member){ .id = from->id };
    (void)snprintf(to->url, sizeof to->url, "%s", from->url);             /* they fit */
    (void)snprintf(to->address, sizeof to->address, "%s", from->address); /* it fits */
    if (from->incarnation.len == MEMBER_INCARNATION) {
        memcpy(to->incarnation, from->incarnation.data, MEMBER_INCARNATION);
    }
    return BB_OK;
}

void storage_members(struct storage *node, struct bb_exchange *exchange,
                     const Bb__Proto__StorageRequest *request)
{
    const Bb__Proto__Members *members = request->members;
    struct bb_ctx ctx = { .env = node->ctx->env };
    struct change *change;
    int rc;

    if (members->change == BB__PROTO__MEMBER_CHANGE__MEMBER_LIST) {
        reply_members(node, exchange);
        return;
    }
    if (!node->is_ready) {
        storage_refuse_not_leader(node, exchange);
        return;
    }
    if (node->is_changing) {
        storage_refuse(exchange, BB_BUSY, "another change of the members is under way");
        return;
    }
    change = bb_alloc_zero(1, sizeof *change);
    change->node = node;
    change->exchange = exchange;
    change->kind = members->change;
    rc = take_member(&ctx, members->member, &change->member);
    memset(change->member.incarnation, 0, sizeof change->member.incarnation);
    node->is_changing = true;
    if (rc == BB_OK) {
        rc = begin_change(&ctx, change);
    }
    if (rc != BB_OK) {
        end_change(change, rc, ctx.error);
    }
}

/* ---- a node that announces itself here ---- */

static void on_other_announced(void *arg, int status, const char *error)
{
    struct change *change = arg;
    Bb__Proto__AnnounceReply announced = BB__PROTO__ANNOUNCE_REPLY__INIT;
    Bb__Proto__StorageReply reply = storage_new_reply();

    if (status == BB_OK) {
        reply.op_case = BB__PROTO__STORAGE_REPLY__OP_ANNOUNCE;
        reply.announce = &announced;
        storage_reply(change->exchange, &reply);
    } else {
        storage_refuse(change->exchange, status, error);
    }
    bb_free(change);
}

void storage_announce(struct storage *node, struct bb_exchange *exchange,
                      const Bb__Proto__StorageRequest *request)
{
    const Bb__Proto__Member *from = request->announce->member;
    struct bb_ctx ctx = { .env = node->ctx->env };
    struct member_entry entry;
    struct change *change;
    bool is_there;
    int rc;

    if (!node->is_ready) {
        storage_refuse_not_leader(node, exchange);
        return;
    }
    fill_entry(node, MEMBER_SET, &entry);
    rc = take_member(&ctx, from, &entry.member);
    (void)role_in_log(node, from->id, &is_there);
    if (rc == BB_OK && !is_there && storage_member_find(&node->fence.members, from->id) == NULL) {
        rc = bb_fail(&ctx, BB_NOT_FOUND, "there is no node %" PRIu64 ": add it first", from->id);
    }
    if (rc != BB_OK) {
        storage_refuse(exchange, rc, ctx.error);
        return;
    }
    change = bb_alloc_zero(1, sizeof *change);
    change->node = node;
    change->exchange = exchange;
    storage_propose_member(node, &entry, on_other_announced, change);
}

void storage_members_tick(struct storage *node)
{
    uint64_t now = bb_loop_now_us(node->loop);

    if (!node->is_stopping) {
        announce(node, now);
        storage_compare_tick(node, now);
    }
}

struct bb_peer *storage_member_peer(struct storage *node, uint64_t id)
{
    return peer_of(node, id);
}
