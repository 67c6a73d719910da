/*
 * Which generation and which chunks answer a read, and how long they stay. Decisions only.
 */
#include "bb/env.h"

#include "store.h"

struct store_chunk *store_chunk_new(struct bb_txtime base)
{
    struct store_chunk *chunk = bb_alloc(sizeof(*chunk));
    *chunk = (struct store_chunk){ .map = bb_mvcc_new_growing(), .base = base };
    return chunk;
}

void store_chunk_free(struct store_chunk *chunk)
{
    if (chunk == NULL) {
        return;
    }
    bb_mvcc_free(chunk->map);
    bb_free(chunk);
}

int store_generation_new(struct bb_ctx *ctx, struct bb_store *store, struct store_base *base,
                         struct bb_txtime flushed, struct store_generation **out)
{
    struct store_generation *generation = bb_alloc_zero(1, sizeof(*generation));
    bb_list_init(&generation->link);
    bb_mutex_lock(store->view);
    base->users++;
    bb_mutex_unlock(store->view);
    generation->base = base;
    generation->runs = base->runs;
    generation->flushed = flushed;
    generation->opened_us = bb_now_us(ctx);
    for (size_t i = 0; i < store->options.reader_count; i++) {
        int rc = bb_kv_read_open(ctx, base->kv, &generation->reads[i]);
        if (rc != BB_OK) {
            store_generation_free(store, generation);
            return rc;
        }
        bb_assert(bb_kv_read_version(generation->reads[i]) ==
                  bb_kv_read_version(generation->reads[0]));
    }
    *out = generation;
    return BB_OK;
}

void store_generation_free(struct bb_store *store, struct store_generation *generation)
{
    if (generation == NULL) {
        return;
    }
    bb_assert(generation->pins == 0);
    for (size_t i = 0; i < store->options.reader_count; i++) {
        bb_kv_read_close(generation->reads[i]);
    }
    store_base_release(store, generation->base);
    store_chunk_free(generation->chunk);
    bb_free(generation);
}

struct store_generation *store_newest(const struct bb_store *store)
{
    return bb_list_is_empty(&store->generations)
               ? NULL
               : bb_container(store->generations.prev, struct store_generation, link);
}

struct store_generation *store_oldest(const struct bb_store *store)
{
    return bb_list_is_empty(&store->generations)
               ? NULL
               : bb_container(store->generations.next, struct store_generation, link);
}

/* The oldest one that answers reads. */
struct store_generation *store_oldest_open(const struct bb_store *store)
{
    bb_list_each(item, &store->generations) {
        struct store_generation *generation = bb_container(item, struct store_generation, link);
        if (!generation->is_ended) {
            return generation;
        }
    }
    BB_UNREACHABLE("the newest is never ended");
}

void store_supersede(struct bb_store *store, struct store_chunk *chunk,
                     struct store_generation *newer, uint64_t now_us)
{
    struct store_generation *older = store_newest(store);
    bb_assert(older != NULL && older->chunk == NULL && chunk != NULL);
    bb_assert(older->flushed.us <= newer->flushed.us);
    older->chunk = chunk;
    older->superseded_us = now_us;
    bb_list_push_back(&store->generations, &newer->link);
}

size_t store_unflushed(const struct bb_store *store)
{
    size_t sealed = store->sealed == NULL ? 0 : bb_mvcc_bytes(store->sealed->map);
    return sealed + bb_mvcc_bytes(store->active->map);
}

size_t store_memory(const struct bb_store *store)
{
    size_t bytes = store_unflushed(store);
    bb_list_each(item, &store->generations) {
        const struct store_chunk *chunk = bb_container(item, struct store_generation, link)->chunk;
        bytes += chunk == NULL ? 0 : bb_mvcc_bytes(chunk->map);
    }
    return bytes;
}

static uint64_t end_us(const struct bb_store *store, const struct store_generation *generation)
{
    if (generation->is_ended) {
        return 0;
    }
    return generation->superseded_us + store->options.generation_ms * 1000ull;
}

struct store_generation *store_take_expired(struct bb_store *store, uint64_t now_us)
{
    struct store_generation *oldest = store_oldest(store);
    if (oldest == NULL || oldest->chunk == NULL || oldest->pins > 0) {
        return NULL;
    }
    if (end_us(store, oldest) > now_us && store_memory(store) <= store->options.memory_max) {
        return NULL;
    }
    bb_list_remove(&oldest->link);
    return oldest;
}

/* From the oldest on: whose time is over takes no new reads; one that nobody uses, and that stays
 * only because an older one is pinned, need not hold its readers of LMDB, which are few. */
bool store_take_idle_reads(struct bb_store *store, uint64_t now_us,
                           struct bb_kv_read *reads[STORE_READERS_MAX])
{
    bb_list_each(item, &store->generations) {
        struct store_generation *generation = bb_container(item, struct store_generation, link);
        if (generation->chunk == NULL || end_us(store, generation) > now_us) {
            return false;
        }
        generation->is_ended = true;
        if (generation->pins == 0 && generation->reads[0] != NULL) {
            memcpy(reads, generation->reads, sizeof(generation->reads));
            memset(generation->reads, 0, sizeof(generation->reads));
            return true;
        }
    }
    return false;
}

uint64_t store_expiry_us(const struct bb_store *store)
{
    const struct store_generation *oldest = store_oldest(store);
    return oldest == NULL || oldest->chunk == NULL ? UINT64_MAX : end_us(store, oldest);
}

static void add_chunk(struct bb_store_snapshot *snapshot, const struct store_chunk *chunk)
{
    bool can_answer =
        chunk != NULL && chunk->base.us < snapshot->at.us && bb_mvcc_keys(chunk->map) > 0;
    if (can_answer) {
        bb_assert(snapshot->chunk_count < 2);
        snapshot->chunks[snapshot->chunk_count++] = chunk;
    }
}

/* Fills generation and chunks of the snapshot for reads at `at`, which is applied. */
int store_choose(struct bb_ctx *ctx, const struct bb_store *store, struct bb_txtime at,
                 struct bb_store_snapshot *snapshot)
{
    struct store_generation *chosen = NULL;
    for (struct bb_list *item = store->generations.prev; item != &store->generations;
         item = item->prev) {
        struct store_generation *generation = bb_container(item, struct store_generation, link);
        if (generation->flushed.us <= at.us && !generation->is_ended) {
            chosen = generation;
            break;
        }
    }
    const struct store_generation *oldest = store_oldest_open(store);
    if (chosen == NULL) {
        return bb_fail(ctx, BB_TOO_OLD,
                       "tx %" PRIu64 " is gone: the oldest that can be read is %" PRIu64, at.us,
                       oldest->flushed.us);
    }
    snapshot->generation = chosen;
    snapshot->at = at;
    snapshot->chunk_count = 0;
    if (chosen->chunk != NULL) {
        add_chunk(snapshot, chosen->chunk);
    } else {
        add_chunk(snapshot, store->active);
        add_chunk(snapshot, store->sealed);
    }
    return BB_OK;
}
