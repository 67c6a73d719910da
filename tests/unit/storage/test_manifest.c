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
