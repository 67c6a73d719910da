/*
 * Giving free pages back to the disk while reads and writes go on.
 *
 * LMDB's file never shrinks. So a compacted copy is written beside it, gets what was flushed since
 * it began (the chunks behind the generations, which are kept meanwhile), and takes the file's
 * place in one turn. Generations on the old file end as always, and it with them.
 */
#include <stdio.h>

#include "bb/env.h"
#include "bb/obs.h"

#include "store.h"

enum {
    COPY_CHUNK = 1 << 20,
    COPY_SYNC_BYTES = 8 << 20
};
/* What must stay free on the disk beside the copy. */
#define RESERVE_BYTES (64u << 20)

struct compaction {
    struct bb_store *store;
    char dir[4096];
    struct bb_kv *next;
    struct store_base *base;     /* of `next`; of the old file once they have changed places */
    struct store_generation *at; /* pinned: `next` has what was flushed up to it */
    uint64_t before_bytes;
};

/* ---- the copy ---- */

static int check_space(struct bb_ctx *ctx, struct compaction *work)
{
    struct bb_kv_stat stat;
    uint64_t disk_bytes;
    struct bb_kv *kv = work->at->base->kv;
    int rc = bb_kv_stat(ctx, kv, &stat);
    if (rc == BB_OK) {
        rc = ctx->env->ops->free_bytes(ctx, ctx->env, work->store->dir, &disk_bytes);
    }
    if (rc != BB_OK) {
        return rc;
    }
    work->before_bytes = stat.used_bytes;
    uint64_t free_bytes;
    rc = bb_kv_free_bytes(ctx, kv, &free_bytes);
    uint64_t needed = stat.used_bytes - free_bytes + RESERVE_BYTES;
    if (rc == BB_OK && disk_bytes < needed) {
        return bb_fail(ctx, BB_NO_SPACE,
                       "the copy needs %" PRIu64 " MB beside the file and the disk has %" PRIu64
                       " MB free",
                       needed >> 20, disk_bytes >> 20);
    }
    return rc;
}

static int write_stream(struct bb_ctx *ctx, struct compaction *work, struct bb_kv_stream *stream,
                        struct bb_file *file)
{
    struct bb_store *store = work->store;
    const struct bb_env_ops *ops = ctx->env->ops;
    uint64_t total = 0, synced = 0, start_us = bb_now_us(ctx);
    uint8_t *chunk = bb_alloc(COPY_CHUNK);
    size_t done = COPY_CHUNK;
    int rc = BB_OK;
    while (rc == BB_OK && done == COPY_CHUNK) {
        rc = bb_kv_stream_read(ctx, stream, chunk, COPY_CHUNK, &done);
        if (rc == BB_OK) {
            rc = ops->write(ctx, file, total, chunk, done);
        }
        total += done;
        store_touched(store, 0, done);
        if (rc == BB_OK && total - synced >= COPY_SYNC_BYTES && !store->options.is_volatile) {
            synced = total;
            rc = ops->sync(ctx, file);
        }
        if (rc == BB_OK) {
            rc = store_copy_pace(ctx, store, stream, total, start_us);
        }
        bb_mutex_lock(store->view);
        bool is_much = store_memory(store) > store->options.memory_max;
        bb_mutex_unlock(store->view);
        if (rc == BB_OK && is_much) {
            rc = bb_fail(ctx, BB_OVERLOADED,
                         "the copy was given up: more is written than it can follow; try again "
                         "when less is written");
        }
    }
    bb_free(chunk);
    return rc;
}

static int copy_file(struct bb_ctx *ctx, struct compaction *work)
{
    char path[4200];
    struct bb_kv_stream *stream = NULL;
    struct bb_file *file = NULL;
    (void)snprintf(path, sizeof(path), "%s/data.mdb", work->dir); /* has room for both */
    int rc = ctx->env->ops->open(ctx, ctx->env, path, BB_OPEN_CREATE, &file);
    if (rc == BB_OK) {
        rc = bb_kv_stream_open(ctx, work->at->base->kv, &stream);
    }
    if (rc == BB_OK) {
        rc = write_stream(ctx, work, stream, file);
    }
    bb_kv_stream_close(stream);
    ctx->env->ops->close(file);
    return rc;
}

/* ---- what came since ---- */

static struct store_generation *next_of(struct compaction *work)
{
    return bb_container(work->at->link.next, struct store_generation, link);
}

/* Writes what was flushed after `at` until nothing is left; chunks may be in the copy already. */
static int catch_up(struct bb_ctx *ctx, struct compaction *work)
{
    struct bb_store *store = work->store;
    int rc = BB_OK;
    for (;;) {
        bb_mutex_lock(store->view);
        const struct store_chunk *chunk = work->at->chunk;
        bb_mutex_unlock(store->view);
        if (chunk == NULL || rc != BB_OK) {
            return rc; /* it is the newest */
        }
        struct store_written since = { .chunk = chunk };
        rc = store_write(ctx, store, work->base, &since);
        bb_mutex_lock(store->view);
        struct store_generation *newer = next_of(work);
        newer->pins++;
        work->at->pins--;
        work->at = newer;
        bb_mutex_unlock(store->view);
    }
}

/* ---- the change of places ---- */

static void publish(struct bb_ctx *ctx, struct compaction *work,
                    struct store_generation *generation)
{
    struct bb_store *store = work->store;
    bb_mutex_lock(store->view);
    struct store_generation *older = store_newest(store);
    bb_assert(older == work->at && older->chunk == NULL);
    /* Less: transactions that changed nothing were flushed since, without a generation. */
    bb_assert(older->flushed.us <= generation->flushed.us);
    older->chunk = store_chunk_new(older->flushed); /* nothing lies between the two */
    older->superseded_us = bb_now_us(ctx);
    bb_list_push_back(&store->generations, &generation->link);
    struct store_base *old = store->base;
    store->base = work->base;
    work->base = old; /* released by the caller */
    store_mark_copy(&store->durable, &store->flushed);
    store->unsynced_since_us = 0;
    store->run_bytes_most = store_runs_bytes(&generation->runs);
    store->counters.compactions++;
    bb_cond_signal(store->wake);
    bb_mutex_unlock(store->view);
}

/* With the turn. After the first rename an error leaves two stores half: then all stops. */
static int change_places(struct bb_ctx *ctx, struct compaction *work)
{
    struct bb_store *store = work->store;
    struct store_generation *generation = NULL;
    struct store_written what = { .mark = &store->flushed }; /* only the turn changes it */
    int rc = catch_up(ctx, work);
    if (rc == BB_OK) {
        rc = store_write(ctx, store, work->base, &what);
    }
    if (rc == BB_OK && !store->options.is_volatile) {
        rc = bb_kv_sync(ctx, work->next);
    }
    if (rc != BB_OK) {
        return rc;
    }
    rc = store_generation_new(ctx, store, work->base, store->flushed.last_tx, &generation);
    if (rc != BB_OK) {
        return rc;
    }
    rc = bb_kv_take_place(ctx, work->next, store->base->kv);
    if (rc != BB_OK) {
        store_generation_free(store, generation);
        return store_fail_stop(ctx, store, rc);
    }
    publish(ctx, work, generation);
    return BB_OK;
}

static int replace(struct bb_ctx *ctx, struct compaction *work)
{
    int rc = store_kv_open(ctx, work->store, work->dir, &work->next);
    if (rc != BB_OK) {
        return rc;
    }
    rc = store_base_new(ctx, work->next, &work->base);
    if (rc != BB_OK) {
        bb_kv_close(work->next);
        return rc;
    }
    rc = catch_up(ctx, work); /* most of it while flushes go on */
    if (rc == BB_OK) {
        store_turn_take(work->store);
        rc = store_check(ctx, work->store);
        if (rc == BB_OK) {
            rc = change_places(ctx, work);
        }
        store_turn_give(work->store);
    }
    store_base_release(work->store, work->base); /* the old one; after a failure the new one */
    return rc;
}

static void pin_newest(struct compaction *work)
{
    bb_mutex_lock(work->store->view);
    work->at = store_newest(work->store);
    work->at->pins++;
    bb_mutex_unlock(work->store->view);
}

static void unpin(struct compaction *work)
{
    bb_mutex_lock(work->store->view);
    work->at->pins--;
    bb_mutex_unlock(work->store->view);
}

int bb_store_compact(struct bb_ctx *ctx, struct bb_store *store,
                     struct bb_store_compaction *compaction)
{
    struct compaction work = { .store = store };
    struct bb_kv_stat stat = { 0 };
    int rc = store_check(ctx, store);
    if (rc == BB_OK) {
        rc = store_copy_begin(ctx, store);
    }
    if (rc != BB_OK) {
        return rc;
    }
    uint64_t start_us = bb_now_us(ctx);
    pin_newest(&work);
    store_beside_path(store, STORE_NEXT_DIR, work.dir, sizeof(work.dir));
    rc = check_space(ctx, &work);
    if (rc == BB_OK) {
        rc = ctx->env->ops->make_dir(ctx, ctx->env, work.dir);
    }
    if (rc == BB_OK) {
        rc = copy_file(ctx, &work);
    }
    if (rc == BB_OK) {
        rc = replace(ctx, &work);
    }
    unpin(&work);
    struct bb_ctx own = { .env = ctx->env, .log = ctx->log };
    (void)store_beside_clear(&own, store, STORE_NEXT_DIR); /* else at the next start */
    store_copy_end(store);
    store_expire(store);
    if (rc == BB_OK) {
        struct store_base *base = store_base_use(store);
        rc = bb_kv_stat(ctx, base->kv, &stat);
        store_base_release(store, base);
    }
    *compaction = (struct bb_store_compaction){ .before_bytes = work.before_bytes,
                                                .after_bytes = stat.used_bytes,
                                                .took_us = bb_now_us(ctx) - start_us };
    return rc;
}

int bb_store_free_bytes(struct bb_ctx *ctx, struct bb_store *store, uint64_t *used_bytes,
                        uint64_t *free_bytes)
{
    struct bb_kv_stat stat = { 0 };
    struct store_base *base = store_base_use(store);
    int rc = bb_kv_stat(ctx, base->kv, &stat);
    if (rc == BB_OK) {
        rc = bb_kv_free_bytes(ctx, base->kv, free_bytes);
    }
    *used_bytes = stat.used_bytes;
    store_base_release(store, base);
    /* What runs leave when they are emptied is for those that come, as long as any come. */
    bb_mutex_lock(store->view);
    uint64_t now = store_runs_bytes(&store_newest(store)->runs), most = store->run_bytes_most;
    bb_mutex_unlock(store->view);
    uint64_t kept = most > now ? most - now : 0;
    *free_bytes -= kept < *free_bytes ? kept : *free_bytes;
    return rc;
}
