/*
 * Writing what was applied to LMDB, ending old generations, and the thread that does both in time.
 */
#include "bb/env.h"
#include "bb/failpoint.h"
#include "bb/obs.h"

#include "store.h"

/* How long nothing may happen before the last flush is made durable too. */
enum {
    SYNC_IDLE_MS = 1000,
    /* And before a part of the runs goes into the data, and the next one. */
    DRAIN_IDLE_MS = 1500
};

int store_check(struct bb_ctx *ctx, const struct bb_store *store)
{
    bb_mutex_lock(store->view);
    int failed = store->failed;
    bb_mutex_unlock(store->view);
    /* `error` does not change any more once `failed` is set. */
    return failed == BB_OK ? BB_OK : bb_fail(ctx, failed, "the store has failed: %s", store->error);
}

/* Remember the first failure and tell it once. */
int store_fail_stop(struct bb_ctx *ctx, struct bb_store *store, int rc)
{
    bb_mutex_lock(store->view);
    bool is_first = store->failed == BB_OK;
    if (is_first) {
        memcpy(store->error, ctx->error, sizeof(store->error));
        store->failed = rc;
    }
    bb_mutex_unlock(store->view);
    if (is_first && store->options.on_error != NULL) {
        store->options.on_error(store->options.arg, rc, ctx->error);
    }
    return rc;
}

/* ---- one flush ---- */

struct flush {
    struct store_mark mark;    /* what LMDB will hold */
    struct store_chunk *chunk; /* NULL: only the state moved on, or: */
    bool drains;               /* nothing did, and runs go into the data */
    uint64_t started_us;
};

/* Close the active chunk; false: LMDB has all. */
static bool seal(struct bb_store *store, struct flush *flush)
{
    bb_mutex_lock(store->applying);
    bb_mutex_lock(store->view);
    bool has_work = store->applied.index != store->flushed.index;
    if (has_work) {
        store_mark_copy(&flush->mark, &store->applied);
        bb_assert(store->sealed == NULL);
        if (bb_mvcc_keys(store->active->map) > 0) {
            store->sealed = store->active;
            store->active = store_chunk_new(store->applied.last_tx);
        }
        flush->chunk = store->sealed;
        store->dirty_since_us = 0;
    }
    bb_mutex_unlock(store->view);
    bb_mutex_unlock(store->applying);
    return has_work;
}

int store_write(struct bb_ctx *ctx, struct bb_store *store, struct store_base *base,
                const struct store_written *what)
{
    struct bb_kv_batch *batch = NULL;
    bb_failpoint(ctx->env, BB_FAILPOINT_STORE_FLUSH_BEFORE);
    int rc = bb_kv_begin(ctx, base->kv, &batch);
    if (rc != BB_OK) {
        return rc;
    }
    if (what->chunk != NULL || what->goes_on) {
        rc = store_gather(ctx, store, base, batch, what->chunk);
    }
    if (rc == BB_OK && what->mark != NULL) {
        struct bb_buf state;
        bb_buf_init(&state);
        store_mark_encode(what->mark, &state);
        rc = bb_kv_put_meta(ctx, batch, "state", bb_buf_slice(&state));
        bb_buf_fini(&state);
    }
    if (rc != BB_OK) {
        bb_kv_abort(batch);
        return rc;
    }
    bb_failpoint(ctx->env, BB_FAILPOINT_STORE_COMMIT_BEFORE);
    rc = bb_kv_commit(ctx, batch);
    bb_failpoint(ctx->env, BB_FAILPOINT_STORE_COMMIT_AFTER);
    return rc;
}

/* LMDB holds it: let readers see the new generation, and the marks move on. */
static void publish(struct bb_ctx *ctx, struct bb_store *store, const struct flush *flush,
                    struct store_generation *generation)
{
    uint64_t now_us = bb_now_us(ctx), took_us = now_us - flush->started_us;
    bb_mutex_lock(store->view);
    struct store_counters *counters = &store->counters;
    if (generation != NULL) {
        uint64_t run_bytes = store_runs_bytes(&generation->runs);
        store->run_bytes_most =
            run_bytes > store->run_bytes_most || run_bytes == 0 ? run_bytes : store->run_bytes_most;
        struct store_chunk *between =
            flush->drains ? store_chunk_new(flush->mark.last_tx) : flush->chunk;
        counters->flush_keys += bb_mvcc_keys(between->map);
        store_supersede(store, between, generation, now_us);
        store->sealed = NULL;
    }
    /* A commit makes the one before it durable (MDB_NOMETASYNC). */
    store_mark_copy(&store->durable, store->options.is_volatile ? &flush->mark : &store->flushed);
    store_mark_copy(&store->flushed, &flush->mark);
    store->unsynced_since_us = store->options.is_volatile ? 0 : now_us;
    counters->flushes++;
    counters->flush_us += took_us;
    if (took_us > counters->flush_us_max) {
        counters->flush_us_max = took_us;
    }
    bb_cond_signal(store->wake); /* whoever flushed: there is something to sync now */
    bb_mutex_unlock(store->view);
}

static int write_flush(struct bb_ctx *ctx, struct bb_store *store, const struct flush *flush)
{
    struct store_written what = { .chunk = flush->chunk,
                                  .mark = &flush->mark,
                                  .goes_on = flush->drains };
    struct store_generation *generation = NULL;
    int rc = store_write(ctx, store, store->base, &what);
    if (rc == BB_OK && (flush->chunk != NULL || flush->drains)) {
        rc = store_generation_new(ctx, store, store->base, flush->mark.last_tx, &generation);
    }
    if (rc != BB_OK) {
        return store_fail_stop(ctx, store, rc);
    }
    publish(ctx, store, flush, generation);
    return BB_OK;
}

/* With the turn. */
static int flush_once(struct bb_ctx *ctx, struct bb_store *store)
{
    struct flush flush = { .started_us = bb_now_us(ctx) };
    store_mark_init(&flush.mark);
    int rc = store_check(ctx, store);
    if (rc == BB_OK && seal(store, &flush)) {
        rc = write_flush(ctx, store, &flush);
        if (rc == BB_OK && store->options.on_flushed != NULL) {
            struct bb_store_state state = store_mark_state(&flush.mark);
            store->options.on_flushed(store->options.arg, &state);
        }
    }
    store_mark_fini(&flush.mark);
    return rc;
}

/* With the turn: a part of the runs goes into the data while nothing else is to be done. */
static int drain_once(struct bb_ctx *ctx, struct bb_store *store)
{
    struct flush flush = { .started_us = bb_now_us(ctx), .drains = true };
    store_mark_init(&flush.mark);
    int rc = store_check(ctx, store);
    if (rc == BB_OK && store->base->runs.count > 0) {
        store_mark_copy(&flush.mark, &store->flushed); /* only the turn changes it */
        rc = write_flush(ctx, store, &flush);
    }
    store_mark_fini(&flush.mark);
    return rc;
}

/* With the turn: what LMDB has becomes durable. */
static int sync_once(struct bb_ctx *ctx, struct bb_store *store)
{
    int rc = store_check(ctx, store);
    if (rc != BB_OK) {
        return rc;
    }
    rc = store->options.is_volatile ? BB_OK : bb_kv_sync(ctx, store->base->kv);
    bb_failpoint(ctx->env, BB_FAILPOINT_STORE_SYNC_AFTER);
    if (rc != BB_OK) {
        return store_fail_stop(ctx, store, rc);
    }
    bb_mutex_lock(store->view);
    store_mark_copy(&store->durable, &store->flushed);
    store->unsynced_since_us = 0;
    bb_mutex_unlock(store->view);
    return BB_OK;
}

void store_expire(struct bb_store *store)
{
    struct bb_ctx ctx = { .env = store->env, .log = store->log };
    for (;;) {
        bb_mutex_lock(store->view);
        struct store_generation *expired = store_take_expired(store, bb_now_us(&ctx));
        bb_mutex_unlock(store->view);
        if (expired == NULL) {
            break;
        }
        store_generation_free(store, expired);
    }
    struct bb_kv_read *reads[STORE_READERS_MAX];
    bb_mutex_lock(store->view);
    while (store_take_idle_reads(store, bb_now_us(&ctx), reads)) {
        bb_mutex_unlock(store->view);
        for (size_t i = 0; i < STORE_READERS_MAX; i++) {
            bb_kv_read_close(reads[i]);
        }
        bb_mutex_lock(store->view);
    }
    bb_mutex_unlock(store->view);
}

int bb_store_flush(struct bb_ctx *ctx, struct bb_store *store)
{
    store_turn_take(store);
    int rc = flush_once(ctx, store);
    store_turn_give(store);
    store_expire(store);
    return rc;
}

int bb_store_sync(struct bb_ctx *ctx, struct bb_store *store)
{
    store_turn_take(store);
    int rc = flush_once(ctx, store);
    if (rc == BB_OK) {
        rc = sync_once(ctx, store);
    }
    store_turn_give(store);
    return rc;
}

/* ---- the thread ---- */

struct plan {
    bool flushes, syncs, drains, expires;
    uint64_t wake_us; /* when none of them is due yet; UINT64_MAX: only when told */
};

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What is due now, and when to look again. Under `view`. */
static struct plan make_plan(const struct bb_store *store, uint64_t now_us)
{
    struct plan plan = { .wake_us = UINT64_MAX };
    if (store->failed == BB_OK && store->dirty_since_us != 0) {
        uint64_t due_us = store->dirty_since_us + store->options.flush_ms * 1000ull;
        bool is_large = store_unflushed(store) >= store->options.flush_bytes;
        plan.flushes = is_large || due_us <= now_us;
        plan.wake_us = earlier(plan.wake_us, due_us);
    } else if (store->failed == BB_OK && store->unsynced_since_us != 0) {
        uint64_t due_us = store->unsynced_since_us + SYNC_IDLE_MS * 1000ull;
        plan.syncs = due_us <= now_us;
        plan.wake_us = earlier(plan.wake_us, due_us);
    } else if (store->failed == BB_OK && store_newest(store)->runs.count > 0 &&
               !store->is_copying) {
        uint64_t due_us = store_newest(store)->opened_us + DRAIN_IDLE_MS * 1000ull;
        plan.drains = due_us <= now_us;
        plan.wake_us = earlier(plan.wake_us, due_us);
    }
    uint64_t expiry_us = store_expiry_us(store);
    if (expiry_us <= now_us) {
        plan.expires = true;
        expiry_us = now_us + 50000; /* it may be pinned: look again soon */
    }
    plan.wake_us = earlier(plan.wake_us, expiry_us);
    return plan;
}

static void wait_until(struct bb_store *store, uint64_t now_us, uint64_t wake_us)
{
    if (wake_us == UINT64_MAX) {
        bb_cond_wait(store->wake, store->view);
        return;
    }
    uint64_t ms = wake_us <= now_us ? 1 : (wake_us - now_us + 999) / 1000;
    (void)bb_cond_wait_ms(store->wake, store->view, (uint32_t)ms); /* the plan is made anew */
}

void store_thread(void *arg)
{
    struct bb_store *store = arg;
    struct bb_ctx ctx = { .env = store->env, .log = store->log };
    bb_mutex_lock(store->view);
    while (!store->is_stopping) {
        uint64_t now_us = bb_now_us(&ctx);
        struct plan plan = make_plan(store, now_us);
        if (!plan.flushes && !plan.syncs && !plan.drains && !plan.expires) {
            wait_until(store, now_us, plan.wake_us);
            continue;
        }
        bb_mutex_unlock(store->view);
        int rc = BB_OK;
        store_turn_take(store);
        if (plan.flushes) {
            rc = flush_once(&ctx, store);
        } else if (plan.syncs) {
            rc = sync_once(&ctx, store);
        } else if (plan.drains) {
            rc = drain_once(&ctx, store);
        }
        store_turn_give(store);
        if (rc != BB_OK) {
            bb_error(&ctx, "store.failed", "status=%s", bb_status_name(rc));
        }
        store_expire(store);
        bb_mutex_lock(store->view);
        if (!plan.flushes && !plan.syncs && !plan.drains &&
            store_expiry_us(store) <= bb_now_us(&ctx)) {
            wait_until(store, 0, 50000); /* pinned */
        }
    }
    bb_mutex_unlock(store->view);
}
