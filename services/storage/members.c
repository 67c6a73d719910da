/*
 * The operator's changes of the members, and who they are.
 *
 * A change is a few steps of the log, each of which may end it: to add a node is an
 * entry that names it, then a change of the log's configuration that lists it, then one by which it
 * gets the log. An operator who repeats a change that ended half way finishes it.
 */
#include "neighbour.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- changes ---- */

struct change {
    struct storage *node;
    struct bb_exchange *exchange;
    Bb__Proto__MemberChange kind;
    struct member member;
};

static Bb__Proto__MemberRole wire_role(const struct storage *node, const struct member *member)
{
    bool is_there;
    enum bb_replog_role role = storage_member_role(node, member->id, &is_there);

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
    enum bb_replog_role role = storage_member_role(change->node, change->member.id, &is_there);

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

    storage_member_entry(change->node, MEMBER_REMOVE, &entry);
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

    (void)storage_member_role(node, change->member.id, &is_there);
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

/* Asked again by who did not hear that it was done. */
static bool is_as_asked(const struct change *change)
{
    const struct member *known =
        storage_member_find(&change->node->fence.members, change->member.id);

    return known != NULL && !known->is_removed && strcmp(known->url, change->member.url) == 0 &&
           strcmp(known->address, change->member.address) == 0;
}

static int begin_add(struct bb_ctx *ctx, struct change *change)
{
    struct storage *node = change->node;
    struct member_entry entry;
    bool is_there;
    enum bb_replog_role role = storage_member_role(node, change->member.id, &is_there);
    static const uint8_t nothing[MEMBER_INCARNATION];
    char why[MEMBER_TEXT_MAX + 1];

    if (is_there && role != BB_REPLOG_SPARE && is_as_asked(change)) {
        end_change(change, BB_OK, "");
        return BB_OK;
    }
    if (is_there && role != BB_REPLOG_SPARE) {
        return bb_fail(ctx, BB_EXISTS, "there is a node %" PRIu64 " already", change->member.id);
    }
    if (strstr(change->member.url, "://") == NULL || strchr(change->member.address, ':') == NULL ||
        strstr(change->member.address, "//") != NULL) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "a new node needs its url for clients, tcp://HOST:PORT, and HOST:PORT for "
                       "the log");
    }
    if (!storage_member_admits(&node->fence.members, change->member.id, nothing, why, sizeof why)) {
        return bb_fail(ctx, BB_EXISTS, "%s", why);
    }
    storage_member_entry(node, MEMBER_SET, &entry);
    entry.member = change->member;
    storage_propose_member(node, &entry, on_named, change);
    return BB_OK;
}

static int begin_remove(struct bb_ctx *ctx, struct change *change)
{
    struct storage *node = change->node;
    const struct member *known = storage_member_find(&node->fence.members, change->member.id);
    bool is_there;

    (void)storage_member_role(node, change->member.id, &is_there);
    if (change->member.id == node->folder.node) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "node %" PRIu64 " leads: stop it, another one takes over, then remove it",
                       change->member.id);
    }
    if (is_there) {
        return bb_replog_remove(ctx, node->replog, change->member.id, on_removed, change);
    }
    if (known == NULL) {
        return bb_fail(ctx, BB_NOT_FOUND, "there is no node %" PRIu64, change->member.id);
    }
    if (known->is_removed) {
        end_change(change, BB_OK, ""); /* asked again by who did not hear that it was done */
    } else {
        forget(change);
    }
    return BB_OK;
}

static int begin_change(struct bb_ctx *ctx, struct change *change)
{
    bool is_there;

    switch (change->kind) {
    case BB__PROTO__MEMBER_CHANGE__MEMBER_ADD:
        return begin_add(ctx, change);
    case BB__PROTO__MEMBER_CHANGE__MEMBER_PROMOTE:
        if (storage_member_role(change->node, change->member.id, &is_there) == BB_REPLOG_VOTER &&
            is_there) {
            end_change(change, BB_OK, "");
            return BB_OK;
        }
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
    rc = storage_member_take(&ctx, members->member, &change->member);
    memset(change->member.incarnation, 0, sizeof change->member.incarnation);
    node->is_changing = true;
    if (rc == BB_OK) {
        rc = begin_change(&ctx, change);
    }
    if (rc != BB_OK) {
        end_change(change, rc, ctx.error);
    }
}
