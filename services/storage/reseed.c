/*
 * Taking over a checkpoint when the log cannot bring this replica up any more: it fell behind what
 * its leader still has, or its disk is new.
 *
 *     fetch     the file is written beside the data and checked; this replica serves on meanwhile
 *     feed      begins anew behind the checkpoint's last tx, with the checkpoint's mark
 *     install   the file takes the place of the data, at a moment without a flush
 *     end       the log is told, and goes on behind it
 *
 * A process that ends in between starts again from what it had: the data changes last, in one
 * rename, and a feed that is ahead of the data is what replay expects. Entries may be applied
 * during all of it; a checkpoint that has become older than this replica is dropped.
 */
#include "manifest.h"
#include "storage.h"

enum {
    AGAIN_MS = 5,   /* a flush or a sync is under way */
    PAUSE_MS = 500, /* after a fetch that failed: the sender may be busy, or be starting */
};

enum reseed_step {
    RESEED_FETCH,
    RESEED_FEED,
    RESEED_INSTALL,
    RESEED_END
};

struct storage_reseed {
    struct storage *node;
    enum reseed_step step;
    struct storage_fetch *fetch;
    struct bb_store_incoming *incoming;
    const struct fence *fence; /* of the checkpoint; the fetch's */
    struct bb_timer *timer;
    struct bb_buf state; /* the fence as the mark holds it */
    struct checkpoint_head wanted;
    uint64_t from, start_us;
    int status;
};

static void step(struct storage_reseed *reseed);

static void tell(struct storage_reseed *reseed)
{
    struct storage *node = reseed->node;
    int status = reseed->status;

    bb_timer_free(reseed->timer);
    bb_buf_fini(&reseed->state);
    bb_free(reseed);
    node->reseed = NULL;
    if (!node->is_stopping) {
        bb_replog_fetched(node->replog, status, node->fence.index);
    }
    storage_care_ended(node);
}

static void ended(void *arg)
{
    struct storage_reseed *reseed = arg;

    if (reseed->status == BB_OK || reseed->node->is_stopping) {
        tell(reseed);
    } else {
        bb_timer_start(reseed->timer, PAUSE_MS, 0);
    }
}

static void end(struct storage_reseed *reseed, int status)
{
    reseed->step = RESEED_END;
    reseed->status = status;
    if (reseed->fetch == NULL) {
        ended(reseed);
    } else {
        storage_fetch_free(reseed->fetch, ended, reseed);
    }
}

static void again(struct storage_reseed *reseed)
{
    bb_timer_start(reseed->timer, AGAIN_MS, 0);
}

static void on_timer(void *arg)
{
    step(arg);
}

/* ---- the feed ---- */

static void on_feed(void *arg)
{
    struct storage_reseed *reseed = arg;

    reseed->step = RESEED_INSTALL;
    step(reseed);
}

static void begin_feed(struct storage_reseed *reseed)
{
    struct storage *node = reseed->node;
    struct bb_ctx ctx = { .env = node->ctx->env };
    struct bb_feed_mark mark = { .index = reseed->fence->index };
    int rc;

    if (bb_feed_is_syncing(node->feed)) {
        again(reseed);
        return;
    }
    bb_buf_clear(&reseed->state);
    storage_fence_encode(reseed->fence, &reseed->state);
    mark.state = bb_buf_slice(&reseed->state);
    rc = bb_feed_begin_anew(&ctx, node->feed, reseed->fence->last_tx, &mark, on_feed, reseed);
    if (rc == BB_DUPLICATE) { /* only claims lie between */
        rc = bb_feed_sync(&ctx, node->feed, &mark, on_feed, reseed);
    }
    if (rc != BB_OK) {
        storage_die(node, "taking over a checkpoint", ctx.error, STORAGE_THEN_CHECK);
    }
    node->feed_dirty_us = 0;
}

/* ---- the data ---- */

static void take_over(struct storage_reseed *reseed)
{
    struct storage *node = reseed->node;

    node->fence = *reseed->fence;
    node->store_index = node->fence.index;
    node->store_chain = node->fence.chain;
    node->has_news = true;
    storage_fence_replaced(node);
    bb_info(
        node->ctx, "storage.reseeded",
        "from=%" PRIu64 " index=%" PRIu64 " last_tx=%" PRIu64 " bytes=%" PRIu64 " took_ms=%" PRIu64,
        reseed->from, node->fence.index, node->fence.last_tx.us, storage_fetch_bytes(reseed->fetch),
        (bb_loop_now_us(node->loop) - reseed->start_us) / 1000);
    storage_wake(node);
}

/*
 * The log went on by itself meanwhile: nothing is taken over. If this replica has at that entry
 * what its leader has not, another copy would end here again, so it is not asked for at once; which
 * of the two is wrong a comparison with the others tells (compare.c).
 */
static void drop(struct storage_reseed *reseed)
{
    const struct fence *own = &reseed->node->fence;
    bool differs = own->index == reseed->wanted.index && own->chain != reseed->wanted.chain;

    if (differs) {
        bb_warn(reseed->node->ctx, "storage.reseed_differs", "from=%" PRIu64 " index=%" PRIu64,
                reseed->from, own->index);
    }
    end(reseed, differs ? BB_CORRUPT : BB_OK);
}

static void install(struct storage_reseed *reseed)
{
    struct storage *node = reseed->node;
    struct bb_ctx ctx = { .env = node->ctx->env, .log = node->ctx->log };
    int rc = bb_store_install(&ctx, node->store, reseed->incoming);

    if (rc == BB_BUSY) {
        again(reseed);
    } else if (rc == BB_OK) {
        take_over(reseed);
        end(reseed, BB_OK);
    } else if (rc == BB_DUPLICATE) {
        drop(reseed);
    } else {
        storage_die(node, "taking over a checkpoint", ctx.error, STORAGE_THEN_CHECK);
    }
}

static void step(struct storage_reseed *reseed)
{
    struct storage *node = reseed->node;

    if (reseed->step == RESEED_END) {
        tell(reseed); /* the pause is over */
        return;
    }
    if (node->is_stopping) {
        end(reseed, BB_CANCELLED);
        return;
    }
    switch (reseed->step) {
    case RESEED_FETCH:
    case RESEED_END:
        return;
    case RESEED_FEED:
        begin_feed(reseed);
        return;
    case RESEED_INSTALL:
        install(reseed);
        return;
    }
}

/* ---- the fetch ---- */

static void on_fetched(void *arg, int status, const char *error, struct bb_store_incoming *incoming,
                       const struct fence *fence)
{
    struct storage_reseed *reseed = arg;
    struct storage *node = reseed->node;

    if (status != BB_OK) {
        bb_warn(node->ctx, "storage.reseed_failed", "from=%" PRIu64 " status=%s why=\"%s\"",
                reseed->from, bb_status_name(status), error);
        end(reseed, status);
        return;
    }
    if (fence->index <= node->fence.index) {
        drop(reseed);
        return;
    }
    reseed->incoming = incoming;
    reseed->fence = fence;
    reseed->step = RESEED_FEED;
    step(reseed);
}

static struct bb_peer *find_peer(void *arg)
{
    struct storage_reseed *reseed = arg;
    return storage_member_peer(reseed->node, reseed->from);
}

void storage_reseed_start(struct storage *node, uint64_t from, const struct checkpoint_head *wanted)
{
    struct bb_ctx ctx = { .env = node->ctx->env, .log = node->ctx->log };
    struct storage_reseed *reseed = bb_alloc_zero(1, sizeof *reseed);
    struct storage_fetch_options options = { .loop = node->loop,
                                             .pool = node->care,
                                             .store = node->store,
                                             .find_peer = find_peer,
                                             .wanted = *wanted,
                                             .is_volatile = node->is_volatile,
                                             .done = on_fetched,
                                             .arg = reseed };
    int rc;

    bb_assert(node->reseed == NULL);
    reseed->node = node;
    reseed->from = from;
    reseed->wanted = *wanted;
    reseed->start_us = bb_loop_now_us(node->loop);
    bb_buf_init(&reseed->state);
    node->reseed = reseed;
    node->cares += 1;
    reseed->timer = bb_timer_new(node->loop, on_timer, reseed);
    rc = storage_fetch_start(&ctx, &options, &reseed->fetch);
    if (rc != BB_OK) {
        end(reseed, rc); /* the log hears of it after the pause */
    }
}

void storage_fetch_checkpoint(void *arg, uint64_t from, struct bb_slice bytes)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);
    struct bb_ctx ctx = { .env = node->ctx->env, .log = node->ctx->log };
    struct storage_manifest_of manifest = { .index = 0 };
    struct checkpoint_head wanted;
    int rc = storage_manifest_decode(&ctx, bytes, &manifest);

    if (rc != BB_OK) {
        storage_die(node, "reading the leader's snapshot", ctx.error, STORAGE_THEN_CHECK);
    }
    wanted = (struct checkpoint_head){ .index = manifest.index, .chain = manifest.chain };
    memcpy(wanted.cluster, manifest.cluster, FENCE_CLUSTER);
    storage_reseed_start(node, from, &wanted);
}

void storage_reseed_cancel(struct storage *node)
{
    if (node->reseed != NULL && node->reseed->step == RESEED_FETCH && node->reseed->fetch != NULL) {
        storage_fetch_cancel(node->reseed->fetch);
    }
}

void storage_fence_replaced(struct storage *node)
{
    node->announce_us = 0; /* the table may not have this node, or not as it is */
}
