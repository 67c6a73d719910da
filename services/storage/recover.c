/*
 * Starting from what the disk holds. The data and the feed are each durable up to a point of the
 * log and carry the fence of that point. Replay begins at the earlier one, decides every entry
 * again, and gives each part what it does not have yet.
 */
#include "manifest.h"
#include "neighbour.h"
#include "storage.h"

static bool has_cluster(const struct storage *node)
{
    static const uint8_t nothing[FENCE_CLUSTER];

    return memcmp(node->folder.cluster, nothing, FENCE_CLUSTER) != 0;
}

static int check_cluster(struct bb_ctx *ctx, const struct storage *node, const struct fence *fence,
                         const char *part)
{
    if (storage_fence_has_cluster(fence) && has_cluster(node) &&
        memcmp(fence->cluster, node->folder.cluster, FENCE_CLUSTER) != 0) {
        return bb_fail(ctx, BB_CORRUPT,
                       "the %s in %s belongs to another cluster than its file VERSION says: "
                       "restore the folder as a whole",
                       part, node->folder.dir);
    }
    return BB_OK;
}

/* A state that came with a checkpoint says how far another node's log was. */
static uint64_t logged_of(const struct storage *node, const struct fence *state)
{
    return state->log_node == node->folder.node ? state->logged : 0;
}

void storage_state_encode(struct storage *node, struct bb_buf *to)
{
    node->fence.log_node = node->folder.node;
    node->fence.logged = bb_replog_logged(node->replog);
    storage_fence_encode(&node->fence, to);
}

int storage_recover(struct bb_ctx *ctx, struct storage *node, uint64_t *applied, uint64_t *logged)
{
    struct bb_ctx own = { .env = ctx->env, .log = ctx->log, .arena = node->scratch };
    struct bb_feed_mark mark = bb_feed_mark(node->feed);
    struct bb_store_state state;
    struct fence stored = { 0 }, fed = { 0 };
    int rc = BB_OK;

    bb_store_state(&own, node->store, &state);
    if (state.index > 0) {
        rc = storage_fence_decode(ctx, state.opaque, &stored);
        if (rc == BB_OK) {
            rc = check_cluster(ctx, node, &stored, "data");
        }
    }
    if (rc == BB_OK && mark.index > 0) {
        rc = storage_fence_decode(ctx, mark.state, &fed);
        if (rc == BB_OK) {
            rc = check_cluster(ctx, node, &fed, "feed");
        }
    }
    bb_arena_reset(node->scratch);
    if (rc != BB_OK) {
        return rc;
    }
    if (stored.index != state.index || fed.index != mark.index) {
        return bb_fail(ctx, BB_CORRUPT, "the data in %s and its state are of different moments",
                       node->folder.dir);
    }
    node->fence = stored.index < fed.index ? stored : fed;
    if (!storage_fence_has_cluster(&node->fence)) {
        memcpy(node->fence.cluster, node->folder.cluster, FENCE_CLUSTER);
    } else {
        storage_folder_set_cluster(&node->folder, node->fence.cluster);
    }
    node->store_index = stored.index;
    node->store_chain = stored.chain;
    *applied = node->fence.index;
    *logged = logged_of(node, &stored) > logged_of(node, &fed) ? logged_of(node, &stored)
                                                               : logged_of(node, &fed);
    bb_info(ctx, "storage.recover",
            "dir=%s data_index=%" PRIu64 " feed_index=%" PRIu64 " epoch=%" PRIu64
            " last_tx=%" PRIu64,
            node->folder.dir, stored.index, fed.index, stored.epoch, stored.last_tx.us);
    return BB_OK;
}

uint64_t storage_durable_index(void *arg)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);
    struct bb_ctx ctx = { .env = node->ctx->env, .arena = node->scratch };
    struct bb_store_state state;
    uint64_t fed = bb_feed_mark(node->feed).index;

    bb_store_durable(&ctx, node->store, &state);
    bb_arena_reset(node->scratch);
    return state.index < fed ? state.index : fed;
}

void storage_manifest(void *arg, struct bb_buf *to)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);
    struct storage_manifest_of manifest = { .index = node->fence.index,
                                            .chain = node->fence.chain };

    memcpy(manifest.cluster, node->fence.cluster, FENCE_CLUSTER);
    manifest.members = node->fence.members;
    storage_manifest_encode(&manifest, to);
}

void storage_manifest_renew(void *arg, struct bb_slice bytes, struct bb_buf *to)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);
    struct bb_ctx ctx = { .env = node->ctx->env };
    struct storage_manifest_of manifest;
    struct member_entry self;

    if (storage_manifest_decode(&ctx, bytes, &manifest) != BB_OK) {
        bb_buf_append_slice(to, bytes);
        return;
    }
    manifest.members = node->fence.members;
    storage_member_self(node, &self);
    (void)storage_member_apply(&ctx, &manifest.members, &self); /* a full table goes as it is */
    storage_manifest_encode(&manifest, to);
}

/* A manifest of before the first leader named the cluster names none. */
static bool is_of_cluster(const struct storage *node, const struct storage_manifest_of *manifest)
{
    static const uint8_t nothing[FENCE_CLUSTER];

    return memcmp(manifest->cluster, nothing, FENCE_CLUSTER) == 0 ||
           memcmp(manifest->cluster, node->fence.cluster, FENCE_CLUSTER) == 0;
}

bool storage_covers(void *arg, struct bb_slice bytes)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);
    struct bb_ctx ctx = { .env = node->ctx->env };
    struct storage_manifest_of manifest;

    bool is_covered;

    if (storage_manifest_decode(&ctx, bytes, &manifest) != BB_OK) {
        return false;
    }
    is_covered = is_of_cluster(node, &manifest) &&
                 (node->fence.index > manifest.index ||
                  (node->fence.index == manifest.index && node->fence.chain == manifest.chain));
    if (!is_covered) {
        node->seen = manifest.members;
        node->seen_index = manifest.index;
    }
    return is_covered;
}

static void on_feed_synced(void *arg)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);
    storage_stop_if_idle(node);
}

void storage_sync_feed(struct storage *node, bool is_forced)
{
    struct bb_ctx ctx = { .env = node->ctx->env };
    struct bb_feed_mark mark = { .index = node->fence.index };
    struct bb_buf state;
    bool is_due =
        node->feed_dirty_us != 0 &&
        (bb_feed_unsynced_bytes(node->feed) >= STORAGE_FEED_SYNC_BYTES ||
         bb_loop_now_us(node->loop) - node->feed_dirty_us >= (uint64_t)STORAGE_FEED_SYNC_MS * 1000);
    int rc;

    /* While a checkpoint is taken over, the feed's mark is the checkpoint's. */
    if (bb_feed_is_syncing(node->feed) || node->reseed != NULL || (!is_forced && !is_due)) {
        return;
    }
    bb_buf_init(&state);
    storage_state_encode(node, &state);
    mark.state = bb_buf_slice(&state);
    rc = bb_feed_sync(&ctx, node->feed, &mark, on_feed_synced, node);
    bb_buf_fini(&state);
    if (rc == BB_OK) {
        node->feed_dirty_us = 0;
    }
}
