#include <criterion/criterion.h>

#include "bb/env.h"

#include "manifest.h"
#include "storage.h"

static bool covers(struct storage *node, const struct storage_manifest_of *manifest)
{
    struct bb_buf bytes;
    bool is_covered;

    bb_buf_init(&bytes);
    storage_manifest_encode(manifest, &bytes);
    is_covered = storage_covers(node, bb_buf_slice(&bytes));
    bb_buf_fini(&bytes);
    return is_covered;
}

Test(manifest, a_state_covers_what_it_includes_of_its_own_history)
{
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct storage *node = bb_alloc_zero(1, sizeof *node);
    struct storage_manifest_of *manifest = bb_alloc_zero(1, sizeof *manifest);

    node->magic = STORAGE_MAGIC;
    node->ctx = &ctx;
    node->fence.index = 10;
    node->fence.chain = 77;
    memset(node->fence.cluster, 1, FENCE_CLUSTER);
    memset(manifest->cluster, 1, FENCE_CLUSTER);
    manifest->index = 10;
    manifest->chain = 77;
    cr_assert(covers(node, manifest));
    manifest->chain = 78;
    cr_assert_not(covers(node, manifest), "another history");
    manifest->index = 9;
    cr_assert(covers(node, manifest));
    manifest->index = 11;
    cr_assert_not(covers(node, manifest));
    manifest->index = 9;
    memset(manifest->cluster, 2, FENCE_CLUSTER);
    cr_assert_not(covers(node, manifest), "another cluster");
    bb_free(manifest);
    bb_free(node);
}

Test(manifest, one_of_before_the_cluster_was_named_is_covered_after_that)
{
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct storage *node = bb_alloc_zero(1, sizeof *node);
    struct storage_manifest_of *manifest = bb_alloc_zero(1, sizeof *manifest);

    node->magic = STORAGE_MAGIC;
    node->ctx = &ctx;
    node->fence.index = 10;
    manifest->index = 9;
    cr_assert(covers(node, manifest));
    memset(node->fence.cluster, 1, FENCE_CLUSTER);
    cr_assert(covers(node, manifest));
    bb_free(manifest);
    bb_free(node);
}

static void set_self(struct storage *node)
{
    node->folder.node = node->self.id = 1;
    memcpy(node->self.url, "tcp://one:1", sizeof "tcp://one:1");
    memcpy(node->self.address, "one:2", sizeof "one:2");
    node->fence.members.count = 1;
    node->fence.members.list[0] = (struct member){ .id = 2, .url = "tcp://two:1" };
}

Test(manifest, on_its_way_it_says_where_its_sender_is_that_has_not_been_able_to_announce_itself)
{
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct storage *node = bb_alloc_zero(1, sizeof *node);
    struct storage_manifest_of *manifest = bb_alloc_zero(1, sizeof *manifest);
    struct bb_buf old;
    struct bb_buf renewed;

    node->magic = STORAGE_MAGIC;
    node->ctx = &ctx;
    node->fence.index = 12;
    memset(node->fence.cluster, 1, FENCE_CLUSTER);
    set_self(node);
    memset(manifest->cluster, 1, FENCE_CLUSTER);
    manifest->index = 10;
    manifest->chain = 77;
    bb_buf_init(&old);
    bb_buf_init(&renewed);
    storage_manifest_encode(manifest, &old);
    storage_manifest_renew(node, bb_buf_slice(&old), &renewed);
    cr_assert_eq(storage_manifest_decode(&ctx, bb_buf_slice(&renewed), manifest), BB_OK);
    cr_assert_eq(manifest->index, 10, "the same state");
    cr_assert_eq(manifest->chain, 77);
    cr_assert_eq(manifest->members.count, 2);
    cr_assert_str_eq(storage_member_find(&manifest->members, 1)->url, "tcp://one:1");
    cr_assert_str_eq(storage_member_find(&manifest->members, 2)->url, "tcp://two:1");
    cr_assert_eq(node->fence.members.count, 1, "the table is the log's");
    bb_buf_fini(&renewed);
    bb_buf_fini(&old);
    bb_free(manifest);
    bb_free(node);
}

Test(manifest, who_is_behind_it_asks_at_the_addresses_that_it_names)
{
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct storage *node = bb_alloc_zero(1, sizeof *node);
    struct storage_manifest_of *manifest = bb_alloc_zero(1, sizeof *manifest);

    node->magic = STORAGE_MAGIC;
    node->ctx = &ctx;
    node->fence.index = 10;
    set_self(node);
    manifest->index = 11;
    manifest->members.count = 1;
    manifest->members.list[0] = (struct member){ .id = 2, .url = "tcp://moved:1" };
    cr_assert_not(covers(node, manifest));
    cr_assert_str_eq(storage_member_url(node, 2), "tcp://moved:1");
    node->fence.index = 11;
    cr_assert_str_eq(storage_member_url(node, 2), "tcp://two:1", "the table is as new");
    bb_free(manifest);
    bb_free(node);
}
