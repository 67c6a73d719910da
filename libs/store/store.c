/*
 * The store as a whole: opening and closing it, applying, and where it stands.
 */
#include "bb/store.h"

#include "bb/env.h"

#include "common.pb-c.h"

#include "store.h"

/* A buffer for one value that had to grow beyond this is not kept. */
#define VALUE_KEPT ((size_t)1 << 20)
enum {
    GATHER_RUNS = 24,
    /* Twice as many and some more are there at most, as what was emptied is still read for a while.
     */
    GATHER_RUNS_MAX = 28
};

/* ---- open and close ---- */

static void fill_defaults(struct bb_store_options *options)
{
    options->flush_ms = options->flush_ms == 0 ? 3000 : options->flush_ms;
    options->flush_bytes = options->flush_bytes == 0 ? 64u << 20 : options->flush_bytes;
    options->generation_ms = options->generation_ms == 0 ? 6000 : options->generation_ms;
    options->memory_max = options->memory_max == 0 ? 384u << 20 : options->memory_max;
    options->unflushed_max = options->unflushed_max == 0 ? 192u << 20 : options->unflushed_max;
    options->resident_max = store_resident_max(options->resident_max);
    options->copy_rate = options->copy_rate == 0 ? 100u << 20 : options->copy_rate;
    options->copy_pinned_max = options->copy_pinned_max == 0 ? 1u << 30 : options->copy_pinned_max;
    options->gather_runs = options->gather_runs == 0 ? GATHER_RUNS : options->gather_runs;
    options->dir = NULL;
}

static int open_data(struct bb_ctx *ctx, struct bb_store *store)
{
    struct bb_kv *kv = NULL;
    int rc = ctx->env->ops->make_dir(ctx, ctx->env, store->dir);
    if (rc == BB_OK) {
        rc = store_kv_open(ctx, store, store->dir, &kv);
    }
    if (rc == BB_OK) {
        rc = store_base_new(ctx, kv, &store->base);
    }
    if (rc != BB_OK) {
        bb_kv_close(kv);
        return rc;
    }
    rc = store_beside_clear(ctx, store, STORE_NEXT_DIR);
    if (rc == BB_OK) {
        rc = store_beside_clear(ctx, store, STORE_INCOMING_DIR);
    }
    /* What a killed process committed last is in the page cache only. */
    if (rc == BB_OK && !store->options.is_volatile) {
        rc = bb_kv_sync(ctx, kv);
    }
    if (rc == BB_OK) {
        rc = store_load_mark(ctx, kv, &store->applied);
    }
    if (rc != BB_OK) {
        return rc;
    }
    struct store_generation *generation = NULL;
    rc = store_generation_new(ctx, store, store->base, store->applied.last_tx, &generation);
    if (rc != BB_OK) {
        return rc;
    }
    bb_list_push_back(&store->generations, &generation->link);
    store->run_bytes_most = store_runs_bytes(&generation->runs);
    store->active = store_chunk_new(store->applied.last_tx);
    store_mark_copy(&store->flushed, &store->applied);
    store_mark_copy(&store->durable, &store->applied);
    atomic_store_explicit(&store->applied_us, store->applied.last_tx.us, memory_order_release);
    return BB_OK;
}

int bb_store_open(struct bb_ctx *ctx, const struct bb_store_options *options, struct bb_store **out)
{
    bb_assert(options->reader_count > 0 && options->reader_count <= STORE_READERS_MAX);
    bb_assert(options->gather_runs <= GATHER_RUNS_MAX);
    struct bb_store *store = bb_alloc_zero(1, sizeof(*store));
    store->options = *options;
    fill_defaults(&store->options);
    store->env = ctx->env;
    store->log = ctx->log;
    store->dir = bb_strdup(options->dir);
    store->applying = bb_mutex_new();
    store->view = bb_mutex_new();
    store->wake = bb_cond_new();
    store->idle = bb_cond_new();
    bb_buf_init(&store->value);
    bb_list_init(&store->generations);
    atomic_flag_clear(&store->resident.is_looking);
    store_mark_init(&store->applied);
    store_mark_init(&store->flushed);
    store_mark_init(&store->durable);
    int rc = open_data(ctx, store);
    if (rc != BB_OK) {
        bb_store_abandon(store);
        return rc;
    }
    if (!store->options.has_no_thread) {
        store->thread = bb_thread_start("store-flush", store_thread, store);
    }
    *out = store;
    return BB_OK;
}

static void stop_thread(struct bb_store *store)
{
    if (store->thread == NULL) {
        return;
    }
    bb_mutex_lock(store->view);
    store->is_stopping = true;
    bb_cond_signal(store->wake);
    bb_mutex_unlock(store->view);
    bb_thread_join(store->thread);
    store->thread = NULL;
}

void bb_store_abandon(struct bb_store *store)
{
    if (store == NULL) {
        return;
    }
    stop_thread(store);
    for (struct store_generation *oldest = store_oldest(store); oldest != NULL;
         oldest = store_oldest(store)) {
        bb_list_remove(&oldest->link);
        store_generation_free(store, oldest);
    }
    store_chunk_free(store->active);
    store_chunk_free(store->sealed);
    store_base_release(store, store->base);
    store_mark_fini(&store->applied);
    store_mark_fini(&store->flushed);
    store_mark_fini(&store->durable);
    bb_buf_fini(&store->value);
    bb_cond_free(store->wake);
    bb_cond_free(store->idle);
    bb_mutex_free(store->view);
    bb_mutex_free(store->applying);
    bb_free(store->dir);
    bb_free(store);
}

int bb_store_close(struct bb_ctx *ctx, struct bb_store *store)
{
    if (store == NULL) {
        return BB_OK;
    }
    stop_thread(store);
    int rc = bb_store_sync(ctx, store);
    bb_store_abandon(store);
    return rc;
}

/* ---- apply ---- */

static void put(struct bb_ctx *ctx, struct bb_store *store, struct bb_slice key,
                struct bb_slice value, enum bb_mvcc_kind kind, struct bb_txtime tx)
{
    int rc = bb_mvcc_put(ctx, store->active->map, key, value, kind, tx);
    bb_assert(rc == BB_OK); /* a chunk has no limit of its own */
}

static void apply_document(struct bb_ctx *ctx, struct bb_store *store,
                           const struct store_write *write, struct bb_txtime tx)
{
    if (write->doc_op == BB__PROTO__KEY_OP__KEY_REMOVE) {
        put(ctx, store, write->doc_key, BB_SLICE_EMPTY, BB_MVCC_REMOVE, tx);
        return;
    }
    uint8_t header[8];
    bb_put_le64(header, tx.us);
    bb_buf_clear(&store->value);
    bb_buf_append(&store->value, header, sizeof(header));
    bb_buf_append_slice(&store->value, write->doc);
    put(ctx, store, write->doc_key, bb_buf_slice(&store->value), BB_MVCC_PUT, tx);
    if (store->value.capacity > VALUE_KEPT) {
        bb_buf_fini(&store->value);
    }
}

static void apply_body(struct bb_ctx *ctx, struct bb_store *store, struct bb_slice body,
                       struct bb_txtime tx)
{
    struct store_write write;
    struct store_key key;
    while (store_next_write(&body, &write)) {
        if (!write.is_index_only) {
            apply_document(ctx, store, &write, tx);
        }
        while (store_next_key(&write.keys, &key)) {
            if (key.op == BB__PROTO__KEY_OP__KEY_TOUCH) {
                continue; /* the entry stands as it was */
            }
            put(ctx, store, key.key, BB_SLICE_EMPTY,
                key.op == BB__PROTO__KEY_OP__KEY_PUT ? BB_MVCC_PUT : BB_MVCC_REMOVE, tx);
        }
    }
}

/* The new moment can be read from here on. Under `applying`. */
static void publish_applied(struct bb_ctx *ctx, struct bb_store *store,
                            const struct bb_store_state *state)
{
    bb_mutex_lock(store->view);
    store_mark_set(&store->applied, state);
    bool was_clean = store->dirty_since_us == 0;
    if (was_clean) {
        store->dirty_since_us = bb_now_us(ctx);
    }
    if (was_clean || bb_mvcc_bytes(store->active->map) >= store->options.flush_bytes) {
        bb_cond_signal(store->wake);
    }
    bb_mutex_unlock(store->view);
    atomic_store_explicit(&store->applied_us, state->last_tx.us, memory_order_release);
}

int bb_store_apply(struct bb_ctx *ctx, struct bb_store *store, const struct bb_store_state *state,
                   struct bb_slice batch)
{
    int rc = store_check(ctx, store);
    if (rc != BB_OK) {
        return rc;
    }
    bb_assert(state->opaque.size <= STORE_OPAQUE_MAX);
    /* Only this thread changes `applied`. */
    if (state->index <= store->applied.index) {
        return BB_DUPLICATE;
    }
    rc = bb_store_check_batch(ctx, batch, store->applied.last_tx, state->last_tx);
    if (rc == BB_BAD_REQUEST) {
        return bb_fail(ctx, BB_CORRUPT, "entry %" PRIu64 " of the log: %s", state->index,
                       ctx->error);
    }
    if (rc != BB_OK) {
        return rc;
    }
    bb_mutex_lock(store->applying);
    struct store_record record;
    while (store_next_record(&batch, &record)) {
        apply_body(ctx, store, record.body, record.tx);
    }
    publish_applied(ctx, store, state);
    bb_mutex_unlock(store->applying);
    return BB_OK;
}

/* ---- where it stands ---- */

bool bb_store_is_full(const struct bb_store *store)
{
    bb_mutex_lock(store->view);
    bool is_full = store_unflushed(store) > store->options.unflushed_max;
    bb_mutex_unlock(store->view);
    return is_full;
}

struct bb_txtime bb_store_applied(const struct bb_store *store)
{
    return BB_TX(atomic_load_explicit(&store->applied_us, memory_order_acquire));
}

static void state_of(struct bb_ctx *ctx, const struct bb_store *store,
                     const struct store_mark *mark, struct bb_store_state *state)
{
    bb_mutex_lock(store->view);
    *state = store_mark_state(mark);
    state->opaque = bb_arena_dup(ctx->arena, state->opaque);
    bb_mutex_unlock(store->view);
}

void bb_store_state(struct bb_ctx *ctx, const struct bb_store *store, struct bb_store_state *state)
{
    state_of(ctx, store, &store->applied, state);
}

void bb_store_durable(struct bb_ctx *ctx, const struct bb_store *store,
                      struct bb_store_state *state)
{
    state_of(ctx, store, &store->durable, state);
}

struct bb_txtime bb_store_oldest(const struct bb_store *store)
{
    bb_mutex_lock(store->view);
    struct bb_txtime flushed = store_oldest_open(store)->flushed;
    bb_mutex_unlock(store->view);
    return flushed;
}

uint64_t bb_store_runs(const struct bb_store *store)
{
    bb_mutex_lock(store->view);
    uint64_t count = store_newest(store)->runs.count;
    bb_mutex_unlock(store->view);
    return count;
}

void bb_store_stats(struct bb_ctx *ctx, struct bb_store *store, struct bb_store_stats *stats)
{
    struct bb_kv_stat kv = { 0 };
    struct store_base *base = store_base_use(store);
    (void)bb_kv_stat(ctx, base->kv, &kv); /* numbers for a person: zeros say that there are none */
    store_base_release(store, base);
    uint64_t now_us = bb_now_us(ctx);
    bb_mutex_lock(store->view);
    const struct store_generation *oldest = store_oldest_open(store), *newest = store_newest(store);
    *stats = (struct bb_store_stats){
        .applied_tx = store->applied.last_tx,
        .flushed_tx = store->flushed.last_tx,
        .oldest_tx = oldest->flushed,
        .applied_index = store->applied.index,
        .flushed_index = store->flushed.index,
        .durable_index = store->durable.index,
        .memory_bytes = store_memory(store),
        .unflushed_bytes = store_unflushed(store),
        .data_bytes = kv.used_bytes,
        .entries = kv.entries,
        .resident_bytes = bb_store_resident(store),
        .resident_max = store->options.resident_max,
        .trims = atomic_load_explicit(&store->resident.trims, memory_order_relaxed),
        .oldest_generation_us = now_us - oldest->opened_us,
        .flushes = store->counters.flushes,
        .flush_keys = store->counters.flush_keys,
        .flush_us = store->counters.flush_us,
        .flush_us_max = store->counters.flush_us_max,
        .compactions = store->counters.compactions,
        .runs = newest->runs.count,
        .is_copying = store->is_copying,
    };
    bb_list_each(item, &store->generations) {
        stats->generations++;
    }
    for (size_t i = 0; i < newest->runs.count; i++) {
        stats->run_entries += newest->runs.run[i].keys;
    }
    bb_mutex_unlock(store->view);
}
