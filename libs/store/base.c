/*
 * LMDB files: opening one, the folders beside it, and how long one that was replaced lives on.
 */
#include <stdio.h>
#include <unistd.h>

#include "bb/env.h"

#include "store.h"

/* Reads open at once: a generation for each flush while one lives, one more, and what others open.
 */
static uint32_t readers_needed(const struct bb_store_options *options)
{
    uint64_t generations = options->generation_ms / options->flush_ms + 4;
    uint64_t readers = generations * options->reader_count + 64;
    return readers < 1024 ? 1024 : readers > 65536 ? 65536 : (uint32_t)readers;
}

static uint64_t file_bytes(struct bb_ctx *ctx, const char *dir)
{
    char path[4096];
    struct bb_file *file = NULL;
    uint64_t bytes = 0;
    (void)snprintf(path, sizeof(path), "%s/data.mdb",
                   dir); /* too long is found when it is opened */
    if (ctx->env->ops->open(ctx, ctx->env, path, BB_OPEN_READ, &file) == BB_OK) {
        (void)ctx->env->ops->size(ctx, file, &bytes); /* 0: none yet */
    }
    ctx->env->ops->close(file);
    return bytes;
}

/* Reading ahead only evicts what is needed when the file does not fit into memory anyway. */
static bool is_larger_than_memory(uint64_t bytes)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 && bytes > (uint64_t)pages * (uint64_t)size / 2;
}

int store_kv_open(struct bb_ctx *ctx, const struct bb_store *store, const char *dir,
                  struct bb_kv **kv)
{
    uint64_t bytes = file_bytes(ctx, dir);
    uint64_t map_bytes = store->options.map_bytes;
    /* A file that has come near its bound starts again with a higher one. */
    if (map_bytes != 0 && bytes > map_bytes / 4 * 3) {
        map_bytes = bytes * 2;
    }
    struct bb_kv_options options = {
        .dir = dir,
        .map_bytes = map_bytes,
        .readers_max = readers_needed(&store->options),
        .is_volatile = store->options.is_volatile,
        .is_larger_than_memory = is_larger_than_memory(bytes),
    };
    return bb_kv_open(ctx, &options, kv);
}

int store_load_mark(struct bb_ctx *ctx, struct bb_kv *kv, struct store_mark *mark)
{
    struct bb_kv_read *read = NULL;
    struct bb_slice bytes;
    int rc = bb_kv_read_open(ctx, kv, &read);
    if (rc != BB_OK) {
        return rc;
    }
    rc = bb_kv_get_meta(ctx, read, "state", &bytes);
    if (rc == BB_OK) {
        rc = store_mark_decode(ctx, bytes, mark);
    } else if (rc == BB_NOT_FOUND) {
        rc = BB_OK; /* new */
    }
    bb_kv_read_close(read);
    return rc;
}

/* ---- users of a file ---- */

void store_base_free(struct store_base *base)
{
    if (base == NULL) {
        return;
    }
    bb_buf_fini(&base->pass.at);
    bb_free(base->filter);
    bb_free(base);
}

int store_base_new(struct bb_ctx *ctx, struct bb_kv *kv, struct store_base **out)
{
    struct store_base *base = bb_alloc_zero(1, sizeof(*base));
    base->kv = kv;
    base->users = 1;
    bb_buf_init(&base->pass.at);
    int rc = store_runs_load(ctx, base);
    if (rc != BB_OK) {
        store_base_free(base);
        return rc;
    }
    *out = base;
    return BB_OK;
}

struct store_base *store_base_use(struct bb_store *store)
{
    bb_mutex_lock(store->view);
    struct store_base *base = store->base;
    base->users++;
    bb_mutex_unlock(store->view);
    return base;
}

void store_base_release(struct bb_store *store, struct store_base *base)
{
    if (base == NULL) {
        return;
    }
    bb_mutex_lock(store->view);
    bb_assert(base->users > 0);
    bool is_last = --base->users == 0;
    bb_mutex_unlock(store->view);
    if (is_last) {
        bb_kv_close(base->kv);
        store_base_free(base);
    }
}

/* ---- folders beside the file ---- */

void store_beside_path(const struct bb_store *store, const char *name, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/%s", store->dir, name); /* the folder could be opened */
}

struct clearing {
    struct bb_ctx *ctx;
    const char *dir;
    int rc;
};

static void remove_one(void *arg, const char *name)
{
    struct clearing *clearing = arg;
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", clearing->dir, name);
    int rc = clearing->ctx->env->ops->remove(clearing->ctx, clearing->ctx->env, path);
    clearing->rc = clearing->rc == BB_OK ? rc : clearing->rc;
}

int store_beside_clear(struct bb_ctx *ctx, const struct bb_store *store, const char *name)
{
    char dir[4096];
    struct clearing clearing = { .ctx = ctx, .dir = dir };
    store_beside_path(store, name, dir, sizeof(dir));
    int rc = ctx->env->ops->list_dir(ctx, ctx->env, dir, remove_one, &clearing);
    if (rc == BB_NOT_FOUND) {
        return BB_OK;
    }
    rc = rc == BB_OK ? clearing.rc : rc;
    return rc == BB_OK ? ctx->env->ops->remove(ctx, ctx->env, dir) : rc;
}
