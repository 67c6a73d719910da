/*
 * Whose turn it is to write the file or to replace it, and what a copy of it may cost.
 */
#include <time.h>

#include "bb/env.h"

#include "store.h"

/* So that a copy that is given up ends soon. */
#define PAUSE_US_MAX 100000u

void store_turn_take(struct bb_store *store)
{
    bb_mutex_lock(store->view);
    while (store->has_turn) {
        bb_cond_wait(store->idle, store->view);
    }
    store->has_turn = true;
    bb_mutex_unlock(store->view);
}

bool store_turn_try(struct bb_store *store)
{
    bb_mutex_lock(store->view);
    bool is_free = !store->has_turn;
    store->has_turn = true; /* somebody has it in any case */
    bb_mutex_unlock(store->view);
    return is_free;
}

void store_turn_give(struct bb_store *store)
{
    bb_mutex_lock(store->view);
    bb_assert(store->has_turn);
    store->has_turn = false;
    bb_cond_signal(store->idle);
    bb_mutex_unlock(store->view);
}

int store_copy_begin(struct bb_ctx *ctx, struct bb_store *store)
{
    bb_mutex_lock(store->view);
    bool is_first = !store->is_copying;
    store->is_copying = true;
    bb_mutex_unlock(store->view);
    return is_first ? BB_OK : bb_fail(ctx, BB_BUSY, "a copy of the data is under way already");
}

void store_copy_end(struct bb_store *store)
{
    bb_mutex_lock(store->view);
    bb_assert(store->is_copying);
    store->is_copying = false;
    bb_cond_signal(store->wake); /* runs may wait for the end of it */
    bb_mutex_unlock(store->view);
}

static void pause_us(uint64_t us)
{
    uint64_t capped = us > PAUSE_US_MAX ? PAUSE_US_MAX : us;
    struct timespec pause = { .tv_nsec = (long)(capped * 1000) };
    (void)nanosleep(&pause, NULL); /* woken early it is a little faster */
}

int store_copy_pace(struct bb_ctx *ctx, struct bb_store *store, const struct bb_kv_stream *stream,
                    uint64_t total, uint64_t start_us)
{
    int rc = store_check(ctx, store);
    if (rc == BB_OK) {
        rc = bb_check(ctx);
    }
    if (rc != BB_OK) {
        return rc;
    }
    bb_mutex_lock(store->view);
    bool is_stopping = store->is_stopping;
    bb_mutex_unlock(store->view);
    if (is_stopping) {
        return bb_fail(ctx, BB_CANCELLED, "the store is being closed");
    }
    uint64_t pinned = bb_kv_stream_pinned(stream);
    if (pinned > store->options.copy_pinned_max) {
        return bb_fail(ctx, BB_OVERLOADED,
                       "the copy was given up: the file grew by %" PRIu64
                       " MB while it was copied; try again when less is written",
                       pinned >> 20);
    }
    uint64_t due_us = start_us + total * 1000000u / store->options.copy_rate;
    uint64_t now_us = bb_now_us(ctx);
    if (due_us > now_us) {
        pause_us(due_us - now_us);
    }
    return BB_OK;
}
