/*
 * The content as one number, so that replicas can be compared, and a look at a store that is
 * stopped.
 */
#include <stdio.h>

#include "bb/env.h"

#include "store.h"

enum {
    CHECK_EVERY = 4096, /* entries */
    CHECK_BYTES = 1 << 20
};

/* Order and lengths are part of it: XXH64 of the key, seeded with the hash so far and the sizes,
 * then of the value, seeded with that. */
static void sum_add(struct bb_store_sum *sum, struct bb_slice key, struct bb_slice value)
{
    uint64_t sizes = (uint64_t)key.size << 40 ^ value.size;
    sum->hash = bb_hash64(value, bb_hash64(key, sum->hash + sizes));
    sum->entries++;
    sum->bytes += key.size + value.size;
}

/* Of all keys. */
static struct bb_store_op whole(void)
{
    static const uint8_t low[1] = { 0 };
    static const uint8_t high[4] = { 0xff, 0xff, 0xff, 0xff }; /* no index has this number */
    return (struct bb_store_op){ .low = bb_slice(low, sizeof(low)),
                                 .high = bb_slice(high, sizeof(high)) };
}

int bb_store_hash(struct bb_ctx *ctx, struct bb_store *store, size_t reader_index,
                  struct bb_txtime at, struct bb_store_sum *sum)
{
    struct bb_store_op op = whole();
    struct bb_store_snapshot *snapshot = NULL;
    struct store_merge merge;
    size_t touched = 0;
    int rc = bb_store_snapshot_open(ctx, store, reader_index, at, &snapshot);
    if (rc != BB_OK) {
        return rc;
    }
    *sum = (struct bb_store_sum){ .tx = bb_store_snapshot_tx(snapshot) };
    rc = store_merge_begin(ctx, &merge, snapshot, &op);
    while (rc == BB_OK) {
        rc = store_merge_step(ctx, &merge);
        if (rc == BB_OK) {
            sum_add(sum, merge.key, merge.value);
        }
        if (rc == BB_OK &&
            (sum->entries % CHECK_EVERY == 0 || sum->bytes - touched >= CHECK_BYTES)) {
            store_touched(store, 0, sum->bytes - touched);
            touched = sum->bytes;
            rc = bb_check(ctx);
        }
    }
    bb_store_snapshot_close(snapshot);
    return rc == BB_NOT_FOUND ? BB_OK : rc;
}

/* ---- a stopped store ---- */

struct group {
    uint32_t index;
    uint64_t entries, bytes;
};

static void look_entry(struct bb_store_look *look, struct group *group,
                       void (*each)(void *arg, uint32_t index, uint64_t entries, uint64_t bytes),
                       void *arg, const struct store_merge *merge)
{
    uint32_t index = merge->key.size < 4 ? 0 : bb_get_be32(merge->key.data);
    if (each != NULL && group->entries > 0 && index != group->index) {
        each(arg, group->index, group->entries, group->bytes);
        *group = (struct group){ 0 };
    }
    group->index = index;
    group->entries++;
    group->bytes += merge->key.size + merge->value.size;
    sum_add(&look->sum, merge->key, merge->value);
}

/* A snapshot of the file alone. */
static int look_entries(struct bb_ctx *ctx, struct store_base *base, struct bb_kv_read *read,
                        struct bb_store_look *look,
                        void (*each)(void *arg, uint32_t index, uint64_t entries, uint64_t bytes),
                        void *arg)
{
    struct bb_store_op op = whole();
    struct store_generation generation = { .base = base, .runs = base->runs, .reads = { read } };
    struct bb_store_snapshot snapshot = { .generation = &generation, .at = BB_TX_MAX };
    struct store_merge merge;
    struct group group = { 0 };
    int rc = store_merge_begin(ctx, &merge, &snapshot, &op);
    while (rc == BB_OK) {
        rc = store_merge_step(ctx, &merge);
        if (rc == BB_OK) {
            look_entry(look, &group, each, arg, &merge);
        }
    }
    store_merge_cursors_close(&snapshot);
    if (each != NULL && group.entries > 0 && rc == BB_NOT_FOUND) {
        each(arg, group.index, group.entries, group.bytes);
    }
    return rc == BB_NOT_FOUND ? BB_OK : rc;
}

static int look_state(struct bb_ctx *ctx, struct bb_kv *kv, struct bb_store_look *look)
{
    struct store_mark mark;
    store_mark_init(&mark);
    int rc = store_load_mark(ctx, kv, &mark);
    if (rc == BB_OK) {
        look->state = store_mark_state(&mark);
        look->has_state = mark.index > 0;
        look->state.opaque = bb_arena_dup(ctx->arena, look->state.opaque);
        look->sum.tx = mark.last_tx;
    }
    store_mark_fini(&mark);
    return rc;
}

static int look_numbers(struct bb_ctx *ctx, const char *dir, struct bb_kv *kv,
                        struct bb_store_look *look)
{
    char path[4096];
    struct bb_kv_stat stat;
    struct bb_file *file = NULL;
    int rc = bb_kv_stat(ctx, kv, &stat);
    if (rc == BB_OK) {
        look->used_bytes = stat.used_bytes;
        rc = bb_kv_free_bytes(ctx, kv, &look->free_bytes);
    }
    if (rc == BB_OK) {
        (void)snprintf(path, sizeof(path), "%s/data.mdb", dir); /* it could be opened */
        rc = ctx->env->ops->open(ctx, ctx->env, path, BB_OPEN_READ, &file);
    }
    if (rc == BB_OK) {
        rc = ctx->env->ops->size(ctx, file, &look->file_bytes);
    }
    ctx->env->ops->close(file);
    return rc;
}

int bb_store_look(struct bb_ctx *ctx, const char *dir, struct bb_store_look *look,
                  void (*each)(void *arg, uint32_t index, uint64_t entries, uint64_t bytes),
                  void *arg)
{
    struct bb_kv_options options = { .dir = dir, .is_read_only = true };
    struct bb_kv *kv = NULL;
    struct bb_kv_read *read = NULL;
    struct store_base *base = NULL;
    *look = (struct bb_store_look){ .has_state = false };
    int rc = bb_kv_verify(ctx, dir);
    if (rc == BB_OK) {
        rc = bb_kv_open(ctx, &options, &kv);
    }
    if (rc == BB_OK) {
        rc = look_state(ctx, kv, look);
    }
    if (rc == BB_OK) {
        rc = look_numbers(ctx, dir, kv, look);
    }
    if (rc == BB_OK) {
        rc = store_base_new(ctx, kv, &base);
    }
    if (rc == BB_OK) {
        rc = bb_kv_read_open(ctx, kv, &read);
    }
    if (rc == BB_OK) {
        rc = look_entries(ctx, base, read, look, each, arg);
    }
    bb_kv_read_close(read);
    store_base_free(base);
    bb_kv_close(kv);
    return rc;
}
