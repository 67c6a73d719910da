#include "bb/env.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#define PATH_TEXT_MAX 4096
#define READ_STEP     ((size_t)64 * 1024)

int bb_check(struct bb_ctx *ctx)
{
    if (ctx->is_cancelled != NULL && *ctx->is_cancelled)
        return bb_fail(ctx, BB_CANCELLED, "the work was cancelled");
    if (ctx->deadline_us != 0 && bb_now_us(ctx) >= ctx->deadline_us)
        return bb_fail(ctx, BB_TIMEOUT, "the deadline of the work has passed");
    return BB_OK;
}

int bb_file_read_all(struct bb_ctx *ctx, const char *path, struct bb_buf *to)
{
    const struct bb_env_ops *ops = ctx->env->ops;
    struct bb_file *file = NULL;
    uint64_t offset = 0;

    int rc = ops->open(ctx, ctx->env, path, BB_OPEN_READ, &file);
    while (rc == BB_OK) {
        size_t done = 0;
        rc = ops->read(ctx, file, offset, bb_buf_reserve(to, READ_STEP), READ_STEP, &done);
        if (rc != BB_OK || done == 0)
            break;
        to->size += done;
        offset += done;
    }
    ops->close(file);
    return rc;
}

/* The folder part of a path, "." when it has none. */
static void folder_of(const char *path, char *folder, size_t size)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL) {
        (void)snprintf(folder, size, ".");
    } else if (slash == path) {
        (void)snprintf(folder, size, "/");
    } else {
        (void)snprintf(folder, size, "%.*s", (int)(slash - path), path);
    }
}

static int set_mode(struct bb_ctx *ctx, const char *path, uint32_t mode)
{
    char text[128];

    /* Permission bits exist in the real world only; there a new file starts as 0600. */
    if (mode == 0600 || ctx->env != bb_env_real() || chmod(path, (mode_t)mode) == 0)
        return BB_OK;
    return bb_fail(ctx, BB_IO, "permissions of %s: %s", path,
                   bb_strerror(errno, text, sizeof text));
}

int bb_file_write_all(struct bb_ctx *ctx, const char *path, struct bb_slice content, uint32_t mode)
{
    const struct bb_env_ops *ops = ctx->env->ops;
    struct bb_file *file = NULL;
    char aside[PATH_TEXT_MAX];
    char folder[PATH_TEXT_MAX];

    if (strlen(path) + sizeof ".new" > sizeof aside)
        return bb_fail(ctx, BB_BAD_REQUEST, "a path of %zu bytes is too long", strlen(path));
    (void)snprintf(aside, sizeof aside, "%s.new", path);
    folder_of(path, folder, sizeof folder);
    int rc = ops->open(ctx, ctx->env, aside, BB_OPEN_READ_WRITE, &file);
    if (rc == BB_OK)
        rc = ops->truncate(ctx, file, 0);
    if (rc == BB_OK)
        rc = set_mode(ctx, aside, mode);
    if (rc == BB_OK)
        rc = ops->write(ctx, file, 0, content.data, content.size);
    if (rc == BB_OK)
        rc = ops->sync(ctx, file);
    ops->close(file);
    if (rc == BB_OK)
        rc = ops->rename(ctx, ctx->env, aside, path);
    if (rc == BB_OK)
        rc = ops->sync_dir(ctx, ctx->env, folder);
    return rc;
}
