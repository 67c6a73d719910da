/*
 * The other storage nodes as this one sees them: where each is reached, whether the log may talk to
 * it, what it is in the log's configuration.
 */
#include "neighbour.h"

#include <stdio.h>

#define REFUSED_US       2000000u
#define PEER_OUTSTANDING 32

/* ---- who is where ---- */

const char *storage_member_url(const struct storage *node, uint64_t id)
{
    /* Who fell behind may know an address that is no more. */
    bool is_behind = node->seen_index > node->fence.index;
    const struct members *first = is_behind ? &node->seen : &node->fence.members;
    const struct members *second = is_behind ? &node->fence.members : &node->seen;
    const struct member *member = storage_member_find(first, id);

    if (member == NULL || member->url[0] == 0) {
        member = storage_member_find(second, id);
    }
    return member == NULL || member->url[0] == 0 ? NULL : member->url;
}

struct bb_peer *storage_member_peer(struct storage *node, uint64_t id)
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

    if (node->refused_us != 0 && now < node->refused_us + REFUSED_US) {
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

/* ---- entries about members ---- */

void storage_member_entry(struct storage *node, enum member_op op, struct member_entry *entry)
{
    *entry = (struct member_entry){ .op = op };
    if (storage_fence_has_cluster(&node->fence)) {
        memcpy(entry->cluster, node->fence.cluster, FENCE_CLUSTER);
    } else {
        bb_random(node->ctx, entry->cluster, FENCE_CLUSTER); /* the first leader of all names it */
    }
}

void storage_member_self(struct storage *node, struct member_entry *entry)
{
    storage_member_entry(node, MEMBER_SET, entry);
    entry->member.id = node->folder.node;
    memcpy(entry->member.url, node->self.url, sizeof entry->member.url);
    memcpy(entry->member.address, node->self.address, sizeof entry->member.address);
    memcpy(entry->member.incarnation, node->folder.incarnation, MEMBER_INCARNATION);
}

int storage_member_take(struct bb_ctx *ctx, const Bb__Proto__Member *from, struct member *to)
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

enum bb_replog_role storage_member_role(const struct storage *node, uint64_t id, bool *is_there)
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
size_t storage_voters(const struct storage *node, uint64_t voters[BB_REPLOG_MEMBERS_MAX])
{
    struct bb_replog_member list[BB_REPLOG_MEMBERS_MAX];
    size_t count = bb_replog_members(node->replog, list, BB_REPLOG_MEMBERS_MAX), found = 0;

    for (size_t i = 0; i < count; i++) {
        if (list[i].role == BB_REPLOG_VOTER) {
            voters[found++] = list[i].id;
        }
    }
    return found;
}

size_t storage_list_voters(const struct storage *node, struct storage_voter_list *list)
{
    uint64_t ids[BB_REPLOG_MEMBERS_MAX];
    size_t count = storage_voters(node, ids);

    for (size_t i = 0; i < count; i++) {
        const char *url = storage_member_url(node, ids[i]);
        bb__proto__voter__init(&list->rows[i]);
        (void)snprintf(list->urls[i], sizeof list->urls[i], "%s", url == NULL ? "" : url);
        list->rows[i].id = ids[i];
        list->rows[i].url = list->urls[i];
        list->pointers[i] = &list->rows[i];
    }
    return count;
}
