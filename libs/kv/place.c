/*
 * One store takes the place of another while both are open: its files get the other's names.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "kv.h"

enum {
    PATH_MAX_BYTES = 4096
};

static void path_in(const char *dir, const char *name, char *path)
{
    (void)snprintf(path, PATH_MAX_BYTES, "%s/%s", dir, name); /* the folder could be opened */
}

static int move_file(struct bb_ctx *ctx, const struct bb_kv *from, const struct bb_kv *to,
                     const char *name)
{
    char old_path[PATH_MAX_BYTES], new_path[PATH_MAX_BYTES];
    path_in(from->dir, name, old_path);
    path_in(to->dir, name, new_path);
    return kv_fail(ctx, to, rename(old_path, new_path) == 0 ? 0 : errno, "replacing the data");
}

static int sync_folder(struct bb_ctx *ctx, const struct bb_kv *kv)
{
    int fd = open(kv->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return kv_fail(ctx, kv, errno, "sync of the folder");
    }
    int error = fsync(fd) == 0 ? 0 : errno;
    (void)close(fd); /* nothing was written through it */
    return kv_fail(ctx, kv, error, "sync of the folder");
}

int bb_kv_take_place(struct bb_ctx *ctx, struct bb_kv *kv, struct bb_kv *other)
{
    char path[PATH_MAX_BYTES];
    /* The data first: without a table of readers it opens too. The copied file has its reader
     * table beside it; the other's goes on without a name. */
    int rc = move_file(ctx, kv, other, "data.mdb");
    if (rc == BB_OK) {
        rc = move_file(ctx, kv, other, "lock.mdb");
    }
    if (rc == BB_OK && !other->is_volatile) {
        rc = sync_folder(ctx, other);
    }
    if (rc != BB_OK) {
        return rc;
    }
    path_in(kv->dir, "owner.lock", path);
    (void)unlink(path);   /* what stays of the folder is removed at the next start, */
    (void)rmdir(kv->dir); /* by whoever opens the store */
    char *dir = kv->dir;
    int lock_fd = kv->lock_fd;
    kv->dir = bb_strdup(other->dir);
    kv->lock_fd = other->lock_fd;
    other->lock_fd = lock_fd;
    bb_free(dir);
    return BB_OK;
}
