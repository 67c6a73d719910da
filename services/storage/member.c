#include "member.h"

#include <stdio.h>

enum {
    ENTRY_OP_AT = 0,
    ENTRY_CLUSTER_AT = 8,
    ENTRY_MEMBER_AT = 24
};
enum {
    MEMBER_ID_AT = 0,
    MEMBER_FLAGS_AT = 8, /* 1: removed */
    MEMBER_URL_SIZE_AT = 12,
    MEMBER_ADDRESS_SIZE_AT = 14,
    MEMBER_INCARNATION_AT = 16,
    MEMBER_TEXTS_AT = 32
};

static const uint8_t nothing[MEMBER_INCARNATION];

static bool is_zero(const uint8_t bytes[MEMBER_INCARNATION])
{
    return memcmp(bytes, nothing, MEMBER_INCARNATION) == 0;
}

/* ---- bytes ---- */

static void member_encode(const struct member *member, struct bb_buf *to)
{
    size_t url_size = strlen(member->url), address_size = strlen(member->address);
    uint8_t *at = bb_buf_reserve(to, MEMBER_TEXTS_AT + url_size + address_size);

    bb_put_le64(at + MEMBER_ID_AT, member->id);
    bb_put_le32(at + MEMBER_FLAGS_AT, member->is_removed ? 1 : 0);
    bb_put_le32(at + MEMBER_URL_SIZE_AT, (uint32_t)(url_size | address_size << 16));
    memcpy(at + MEMBER_INCARNATION_AT, member->incarnation, MEMBER_INCARNATION);
    memcpy(at + MEMBER_TEXTS_AT, member->url, url_size);
    memcpy(at + MEMBER_TEXTS_AT + url_size, member->address, address_size);
    to->size += MEMBER_TEXTS_AT + url_size + address_size;
}

static int member_decode(struct bb_ctx *ctx, struct bb_slice *from, struct member *member)
{
    const uint8_t *at = from->data;
    size_t url_size, address_size, size;

    if (from->size < MEMBER_TEXTS_AT) {
        return bb_fail(ctx, BB_CORRUPT, "a member of %zu bytes", from->size);
    }
    url_size = bb_get_le32(at + MEMBER_URL_SIZE_AT) & 0xffff;
    address_size = bb_get_le32(at + MEMBER_URL_SIZE_AT) >> 16;
    size = MEMBER_TEXTS_AT + url_size + address_size;
    if (url_size > MEMBER_TEXT_MAX || address_size > MEMBER_TEXT_MAX || size > from->size ||
        memchr(at + MEMBER_TEXTS_AT, 0, url_size + address_size) != NULL) {
        return bb_fail(ctx, BB_CORRUPT, "a member with texts of %zu and %zu bytes", url_size,
                       address_size);
    }
    *member = (struct member){ .id = bb_get_le64(at + MEMBER_ID_AT),
                               .is_removed = (bb_get_le32(at + MEMBER_FLAGS_AT) & 1) != 0 };
    memcpy(member->incarnation, at + MEMBER_INCARNATION_AT, MEMBER_INCARNATION);
    memcpy(member->url, at + MEMBER_TEXTS_AT, url_size);
    memcpy(member->address, at + MEMBER_TEXTS_AT + url_size, address_size);
    *from = bb_slice(at + size, from->size - size);
    return BB_OK;
}

void storage_member_entry_encode(const struct member_entry *entry, struct bb_buf *to)
{
    uint8_t *at = bb_buf_reserve(to, ENTRY_MEMBER_AT);

    bb_put_le64(at + ENTRY_OP_AT, entry->op);
    memcpy(at + ENTRY_CLUSTER_AT, entry->cluster, MEMBER_CLUSTER);
    to->size += ENTRY_MEMBER_AT;
    member_encode(&entry->member, to);
}

int storage_member_entry_decode(struct bb_ctx *ctx, struct bb_slice from,
                                struct member_entry *entry)
{
    struct bb_slice rest;
    uint64_t op;
    int rc;

    if (from.size < ENTRY_MEMBER_AT) {
        return bb_fail(ctx, BB_CORRUPT, "an entry about a member of %zu bytes", from.size);
    }
    op = bb_get_le64(from.data + ENTRY_OP_AT);
    memcpy(entry->cluster, from.data + ENTRY_CLUSTER_AT, MEMBER_CLUSTER);
    rest = bb_slice(from.data + ENTRY_MEMBER_AT, from.size - ENTRY_MEMBER_AT);
    rc = member_decode(ctx, &rest, &entry->member);
    if (rc == BB_OK && (rest.size > 0 || op < MEMBER_SET || op > MEMBER_REMOVE)) {
        rc = bb_fail(ctx, BB_CORRUPT, "an entry about a member with operation %" PRIu64, op);
    }
    entry->op = rc == BB_OK ? (enum member_op)op : MEMBER_SET;
    return rc;
}

void storage_members_encode(const struct members *members, struct bb_buf *to)
{
    uint8_t *at = bb_buf_reserve(to, 4);

    bb_put_le32(at, (uint32_t)members->count);
    to->size += 4;
    for (size_t i = 0; i < members->count; i++) {
        member_encode(&members->list[i], to);
    }
}

int storage_members_decode(struct bb_ctx *ctx, struct bb_slice *from, struct members *members)
{
    size_t count;

    if (from->size < 4 || bb_get_le32(from->data) > MEMBER_MAX) {
        return bb_fail(ctx, BB_CORRUPT, "a list of members that is none");
    }
    count = bb_get_le32(from->data);
    *from = bb_slice(from->data + 4, from->size - 4);
    members->count = 0;
    for (size_t i = 0; i < count; i++) {
        int rc = member_decode(ctx, from, &members->list[i]);
        if (rc != BB_OK) {
            return rc;
        }
        if (i > 0 && members->list[i].id <= members->list[i - 1].id) {
            return bb_fail(ctx, BB_CORRUPT, "members out of order");
        }
        members->count += 1;
    }
    return BB_OK;
}

/* ---- decisions ---- */

static size_t position_of(const struct members *members, uint64_t id)
{
    size_t at = 0;

    while (at < members->count && members->list[at].id < id) {
        at++;
    }
    return at;
}

const struct member *storage_member_find(const struct members *members, uint64_t id)
{
    size_t at = position_of(members, id);

    return at < members->count && members->list[at].id == id ? &members->list[at] : NULL;
}

/* Zeros on either side say nothing: such a node is named before it comes. */
static bool is_other_folder(const struct member *known, const uint8_t *incarnation)
{
    return !is_zero(known->incarnation) && !is_zero(incarnation) &&
           memcmp(known->incarnation, incarnation, MEMBER_INCARNATION) != 0;
}

bool storage_member_admits(const struct members *members, uint64_t id,
                           const uint8_t incarnation[MEMBER_INCARNATION], char *why, size_t size)
{
    const struct member *known = storage_member_find(members, id);

    if (known == NULL) {
        return true;
    }
    if (known->is_removed) {
        (void)snprintf(why, size, "node %" PRIu64 " was removed; a number is not used again", id);
        return false;
    }
    if (is_other_folder(known, incarnation)) {
        (void)snprintf(why, size,
                       "node %" PRIu64 " had another data folder: add this one under a new number",
                       id);
        return false;
    }
    return true;
}

/* The row of a node, a new one if it has none; NULL: there is no room. */
static struct member *row_of(struct members *members, uint64_t id)
{
    size_t at = position_of(members, id);
    struct member *row = &members->list[at];

    if (at < members->count && row->id == id) {
        return row;
    }
    if (members->count == MEMBER_MAX) {
        return NULL;
    }
    memmove(row + 1, row, (members->count - at) * sizeof *row);
    *row = (struct member){ .id = id };
    members->count += 1;
    return row;
}

int storage_member_apply(struct bb_ctx *ctx, struct members *members,
                         const struct member_entry *entry)
{
    const struct member *from = &entry->member;
    char why[MEMBER_TEXT_MAX + 1];

    if (entry->op != MEMBER_REMOVE &&
        !storage_member_admits(members, from->id, from->incarnation, why, sizeof why)) {
        return bb_fail(ctx, BB_FENCED, "%s", why);
    }
    struct member *to = row_of(members, from->id);
    if (to == NULL) {
        return bb_fail(ctx, BB_FENCED, "there have been %d nodes already", MEMBER_MAX);
    }
    if (entry->op == MEMBER_REMOVE) { /* one that never came to say where it is, too */
        *to = (struct member){ .id = from->id, .is_removed = true };
        return BB_OK;
    }
    if (!is_zero(from->incarnation)) {
        memcpy(to->incarnation, from->incarnation, MEMBER_INCARNATION);
    }
    memcpy(to->url, from->url, sizeof to->url);
    memcpy(to->address, from->address, sizeof to->address);
    return BB_OK;
}
