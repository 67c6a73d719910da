/*
 * A checkpoint of another replica takes the place of what this one has: for one that fell behind
 * the log, or lost its disk. It never moves the store backwards.
 */
#include <stdio.h>

#include "bb/env.h"

#include "store.h"

struct bb_store_incoming {
    struct bb_store *store;
    struct bb_kv *kv;
    struct store_base *base;
    struct store_generation *generation; /* reads it */
    struct store_mark mark;
};

int bb_store_incoming_begin(struct bb_ctx *ctx, struct bb_store *store, char *path, size_t size)
{
    char dir[4096];
    int rc = store_copy_begin(ctx, store);
    if (rc != BB_OK) {
        return rc;
    }
    store_beside_path(store, STORE_INCOMING_DIR, dir, sizeof(dir));
    rc = store_beside_clear(ctx, store, STORE_INCOMING_DIR);
    if (rc == BB_OK) {
        rc = ctx->env->ops->make_dir(ctx, ctx->env, dir);
    }
    if (rc != BB_OK) {
        store_copy_end(store);
        return rc;
    }
    (void)snprintf(path, size, "%s/data.mdb", dir);
    return BB_OK;
}

void bb_store_incoming_discard(struct bb_ctx *ctx, struct bb_store *store)
{
    struct bb_ctx own = { .env = ctx->env, .log = ctx->log };
    (void)store_beside_clear(&own, store, STORE_INCOMING_DIR); /* else at the next start */
    store_copy_end(store);
}

int bb_store_incoming_open(struct bb_ctx *ctx, struct bb_store *store,
                           struct bb_store_incoming **out, struct bb_store_state *state)
{
    char dir[4096];
    struct bb_store_incoming *incoming = bb_alloc_zero(1, sizeof(*incoming));
    incoming->store = store;
    store_mark_init(&incoming->mark);
    store_beside_path(store, STORE_INCOMING_DIR, dir, sizeof(dir));
    int rc = store_kv_open(ctx, store, dir, &incoming->kv);
    if (rc == BB_OK && !store->options.is_volatile) {
        rc = bb_kv_sync(ctx, incoming->kv);
    }
    if (rc == BB_OK) {
        rc = store_load_mark(ctx, incoming->kv, &incoming->mark);
    }
    if (rc == BB_OK && incoming->mark.index == 0) {
        rc = bb_fail(ctx, BB_CORRUPT, "the checkpoint has no state record");
    }
    if (rc == BB_OK) {
        rc = store_base_new(ctx, incoming->kv, &incoming->base);
    }
    if (rc == BB_OK) {
        rc = store_generation_new(ctx, store, incoming->base, incoming->mark.last_tx,
                                  &incoming->generation);
    }
    if (rc != BB_OK) {
        bb_store_incoming_close(incoming);
        return rc;
    }
    *state = store_mark_state(&incoming->mark);
    *out = incoming;
    return BB_OK;
}

void bb_store_incoming_close(struct bb_store_incoming *incoming)
{
    if (incoming == NULL) {
        return;
    }
    store_generation_free(incoming->store, incoming->generation);
    if (incoming->base != NULL) {
        store_base_release(incoming->store, incoming->base);
    } else {
        bb_kv_close(incoming->kv);
    }
    store_mark_fini(&incoming->mark);
    bb_free(incoming);
}

/* All that was readable ends with those who read it now; the new moment is the only one. */
static void publish(struct bb_store *store, struct bb_store_incoming *incoming)
{
    bb_mutex_lock(store->applying);
    bb_mutex_lock(store->view);
    bb_assert(store->sealed == NULL);
    bb_list_each(item, &store->generations) {
        bb_container(item, struct store_generation, link)->is_ended = true;
    }
    store_newest(store)->chunk = store->active;
    store->active = store_chunk_new(incoming->mark.last_tx);
    bb_list_push_back(&store->generations, &incoming->generation->link);
    store->run_bytes_most = store_runs_bytes(&incoming->generation->runs);
    incoming->generation = NULL;
    struct store_base *old = store->base;
    store->base = incoming->base;
    incoming->base = old; /* released when `incoming` is closed */
    store_mark_copy(&store->applied, &incoming->mark);
    store_mark_copy(&store->flushed, &incoming->mark);
    store_mark_copy(&store->durable, &incoming->mark);
    store->dirty_since_us = store->unsynced_since_us = 0;
    bb_cond_signal(store->wake); /* the old ones are freed on the store's thread */
    bb_mutex_unlock(store->view);
    bb_mutex_unlock(store->applying);
    atomic_store_explicit(&store->applied_us, incoming->mark.last_tx.us, memory_order_release);
}

int bb_store_install(struct bb_ctx *ctx, struct bb_store *store, struct bb_store_incoming *incoming)
{
    int rc = store_check(ctx, store);
    if (rc != BB_OK) {
        return rc;
    }
    /* Only this thread changes `applied`. */
    if (incoming->mark.index <= store->applied.index) {
        return BB_DUPLICATE;
    }
    if (!store_turn_try(store)) {
        return bb_fail(ctx, BB_BUSY, "the store is being written");
    }
    rc = bb_kv_take_place(ctx, incoming->kv, store->base->kv);
    if (rc == BB_OK) {
        publish(store, incoming);
    } else {
        rc = store_fail_stop(ctx, store, rc);
    }
    store_turn_give(store);
    return rc;
}
