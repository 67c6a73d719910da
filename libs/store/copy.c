/*
 * A checkpoint as a stream: the data as of a flush, for another replica, a backup, a test.
 */
#include <errno.h>
#include <unistd.h>

#include "bb/env.h"

#include "store.h"

enum {
    COPY_CHUNK = 1 << 20
};

struct bb_store_copy {
    struct bb_store *store;
    struct store_base *base;
    struct bb_kv_stream *stream;
    uint64_t total, start_us;
};

static void copy_state(struct bb_ctx *ctx, const struct bb_store *store,
                       struct bb_store_state *state)
{
    bb_mutex_lock(store->view);
    *state = store_mark_state(&store->flushed);
    state->opaque = bb_arena_dup(ctx->arena, state->opaque);
    bb_mutex_unlock(store->view);
}

int bb_store_copy_open(struct bb_ctx *ctx, struct bb_store *store, uint64_t index_min,
                       struct bb_store_copy **out, struct bb_store_state *state)
{
    int rc = store_copy_begin(ctx, store);
    if (rc != BB_OK) {
        return rc;
    }
    struct bb_store_copy *copy = bb_alloc_zero(1, sizeof(*copy));
    copy->store = store;
    rc = bb_store_flush(ctx, store);
    if (rc == BB_OK) {
        copy_state(ctx, store, state);
        copy->base = store_base_use(store);
        copy->start_us = bb_now_us(ctx);
        if (state->index < index_min) {
            rc = bb_fail(ctx, BB_NOT_YET,
                         "the data reaches entry %" PRIu64 " of the log, %" PRIu64 " is asked for",
                         state->index, index_min);
        }
    }
    if (rc == BB_OK) {
        rc = bb_kv_stream_open(ctx, copy->base->kv, &copy->stream);
    }
    if (rc != BB_OK) {
        bb_store_copy_close(copy);
        return rc;
    }
    *out = copy;
    return BB_OK;
}

int bb_store_copy_read(struct bb_ctx *ctx, struct bb_store_copy *copy, void *to, size_t size,
                       size_t *done)
{
    int rc = bb_kv_stream_read(ctx, copy->stream, to, size, done);
    copy->total += *done;
    store_touched(copy->store, 0, *done);
    if (rc != BB_OK) {
        return rc;
    }
    return store_copy_pace(ctx, copy->store, copy->stream, copy->total, copy->start_us);
}

void bb_store_copy_close(struct bb_store_copy *copy)
{
    if (copy == NULL) {
        return;
    }
    bb_kv_stream_close(copy->stream);
    store_base_release(copy->store, copy->base);
    store_copy_end(copy->store);
    bb_free(copy);
}

static int write_all(struct bb_ctx *ctx, int fd, const uint8_t *from, size_t size)
{
    char text[128];
    while (size > 0) {
        ssize_t written = write(fd, from, size);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0) {
            return bb_fail(ctx, errno == ENOSPC ? BB_NO_SPACE : BB_IO, "writing the copy: %s",
                           bb_strerror(errno, text, sizeof(text)));
        }
        from += written;
        size -= (size_t)written;
    }
    return BB_OK;
}

int bb_store_checkpoint(struct bb_ctx *ctx, struct bb_store *store, int fd,
                        struct bb_store_state *state)
{
    struct bb_store_copy *copy = NULL;
    size_t done = COPY_CHUNK;
    int rc = bb_store_copy_open(ctx, store, 0, &copy, state);
    if (rc != BB_OK) {
        return rc;
    }
    uint8_t *chunk = bb_alloc(COPY_CHUNK);
    while (rc == BB_OK && done == COPY_CHUNK) {
        rc = bb_store_copy_read(ctx, copy, chunk, COPY_CHUNK, &done);
        if (rc == BB_OK) {
            rc = write_all(ctx, fd, chunk, done);
        }
    }
    bb_free(chunk);
    bb_store_copy_close(copy);
    return rc;
}
