#include <criterion/criterion.h>
#include <stdio.h>

#include "fence.h"

static struct member_entry entry_of(enum member_op op, uint64_t id, uint8_t folder, const char *url)
{
    struct member_entry entry = { .op = op, .member = { .id = id } };
    memset(entry.cluster, 5, sizeof entry.cluster);
    memset(entry.member.incarnation, folder, sizeof entry.member.incarnation);
    snprintf(entry.member.url, sizeof entry.member.url, "%s", url);
    snprintf(entry.member.address, sizeof entry.member.address, "host-%d:3502", (int)id);
    return entry;
}

static int apply(struct bb_ctx *ctx, struct members *members, enum member_op op, uint64_t id,
                 uint8_t folder)
{
    struct member_entry entry = entry_of(op, id, folder, "tcp://a:1");
    return storage_member_apply(ctx, members, &entry);
}

Test(member, table_is_kept_by_number_and_comes_back_from_its_bytes)
{
    struct bb_ctx ctx = { 0 };
    struct members members = { 0 }, back;
    struct bb_buf bytes;
    cr_assert_eq(apply(&ctx, &members, MEMBER_SET, 3, 3), BB_OK);
    cr_assert_eq(apply(&ctx, &members, MEMBER_SET, 1, 1), BB_OK);
    cr_assert_eq(apply(&ctx, &members, MEMBER_SET, 2, 2), BB_OK);
    cr_assert_eq(apply(&ctx, &members, MEMBER_REMOVE, 1, 0), BB_OK);
    bb_buf_init(&bytes);
    storage_members_encode(&members, &bytes);
    struct bb_slice rest = bb_buf_slice(&bytes);
    cr_assert_eq(storage_members_decode(&ctx, &rest, &back), BB_OK, "%s", ctx.error);
    cr_assert_eq(rest.size, 0);
    cr_assert_eq(back.count, 3);
    cr_assert(back.list[0].is_removed);
    cr_assert_str_eq(back.list[1].url, "tcp://a:1");
    cr_assert_str_eq(back.list[2].address, "host-3:3502");
    cr_assert_eq(storage_member_find(&back, 3), &back.list[2]);
    cr_assert_null(storage_member_find(&back, 4));
    /* Cut anywhere it is refused. */
    for (size_t size = 0; size < bytes.size; size++) {
        rest = bb_slice(bytes.data, size);
        cr_assert_eq(storage_members_decode(&ctx, &rest, &back), BB_CORRUPT, "%zu", size);
    }
    bb_buf_fini(&bytes);
}

Test(member, number_is_never_used_for_another_folder)
{
    struct bb_ctx ctx = { 0 };
    struct members members = { 0 };
    uint8_t folder[MEMBER_INCARNATION], none[MEMBER_INCARNATION] = { 0 };
    char why[128] = "";
    /* An operator names it before it comes: then its folder is not known yet. */
    cr_assert_eq(apply(&ctx, &members, MEMBER_SET, 2, 0), BB_OK);
    memset(folder, 9, sizeof folder);
    cr_assert(storage_member_admits(&members, 2, folder, why, sizeof why));
    cr_assert_eq(apply(&ctx, &members, MEMBER_SET, 2, 9), BB_OK);
    cr_assert_eq(apply(&ctx, &members, MEMBER_SET, 2, 9), BB_OK, "it says so again");
    cr_assert(storage_member_admits(&members, 2, folder, why, sizeof why));
    cr_assert(storage_member_admits(&members, 2, none, why, sizeof why));
    folder[0] = 8;
    cr_assert_not(storage_member_admits(&members, 2, folder, why, sizeof why));
    cr_assert(strstr(why, "new number") != NULL);
    cr_assert_eq(apply(&ctx, &members, MEMBER_SET, 2, 8), BB_FENCED);
    cr_assert_eq(apply(&ctx, &members, MEMBER_REMOVE, 2, 0), BB_OK);
    cr_assert_eq(apply(&ctx, &members, MEMBER_SET, 2, 9), BB_FENCED, "not even by its old one");
    cr_assert_eq(apply(&ctx, &members, MEMBER_REMOVE, 7, 0), BB_OK, "it never came");
    cr_assert_eq(apply(&ctx, &members, MEMBER_SET, 7, 7), BB_FENCED);
    cr_assert(storage_member_admits(&members, 8, folder, why, sizeof why), "a stranger may come");
}

Test(member, table_has_a_bound)
{
    struct bb_ctx ctx = { 0 };
    struct members members = { 0 };
    for (uint64_t id = 1; id <= MEMBER_MAX; id++)
        cr_assert_eq(apply(&ctx, &members, MEMBER_SET, id, 1), BB_OK);
    cr_assert_eq(apply(&ctx, &members, MEMBER_SET, MEMBER_MAX + 1, 1), BB_FENCED);
    cr_assert_eq(apply(&ctx, &members, MEMBER_SET, MEMBER_MAX, 1), BB_OK);
}

static struct fence_answer decide(struct fence *fence, const struct member_entry *entry)
{
    struct fence_answer answer;
    struct bb_buf payload;
    uint8_t bytes[512];
    bb_buf_init(&payload);
    storage_member_entry_encode(entry, &payload);
    struct bb_replog_frame frame = { .kind = BB_REPLOG_MEMBER, .payload = bb_buf_slice(&payload) };
    bb_replog_frame_encode(&frame, bytes);
    storage_fence_apply(fence, fence->index + 1,
                        bb_slice(bytes, bb_replog_frame_size(payload.size)), &frame, &answer);
    bb_buf_fini(&payload);
    return answer;
}

Test(member, first_entry_tells_the_cluster_and_another_cluster_is_refused)
{
    struct fence fence = { 0 }, back;
    struct bb_ctx ctx = { 0 };
    struct bb_buf state;
    struct member_entry entry = entry_of(MEMBER_SET, 1, 1, "tcp://one:3501");
    cr_assert_not(storage_fence_has_cluster(&fence));
    cr_assert_eq(decide(&fence, &entry).status, BB_OK);
    cr_assert(storage_fence_has_cluster(&fence));
    cr_assert_eq(fence.cluster[3], 5);
    entry = entry_of(MEMBER_SET, 2, 2, "tcp://two:3501");
    entry.cluster[0] = 6;
    cr_assert_eq(decide(&fence, &entry).status, BB_FENCED);
    cr_assert_eq(fence.members.count, 1);
    cr_assert_eq(fence.index, 2, "it is decided all the same");
    bb_buf_init(&state);
    storage_fence_encode(&fence, &state);
    cr_assert_eq(storage_fence_decode(&ctx, bb_buf_slice(&state), &back), BB_OK, "%s", ctx.error);
    cr_assert_str_eq(storage_member_find(&back.members, 1)->url, "tcp://one:3501");
    cr_assert_eq(back.chain, fence.chain);
    cr_assert_eq(storage_fence_decode(&ctx, bb_slice(state.data, state.size - 1), &back),
                 BB_CORRUPT);
    /* Version 2 ends with the members, version 1 with the address. */
    bb_put_le32(state.data, 2);
    cr_assert_eq(storage_fence_decode(&ctx, bb_slice(state.data, state.size - 16), &back), BB_OK);
    cr_assert_eq(back.logged, 0);
    bb_put_le32(state.data, 1);
    cr_assert_eq(storage_fence_decode(&ctx, bb_slice(state.data, 600), &back), BB_OK, "%s",
                 ctx.error);
    cr_assert_eq(back.members.count, 0);
    cr_assert_eq(back.index, 2);
    bb_buf_fini(&state);
}
