#include "bb/env.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

struct bb_file {
    int fd;
    bool is_append;
    char *path; /* for the texts of errors */
};

static int status_of(int errnum)
{
    switch (errnum) {
    case ENOENT:
        return BB_NOT_FOUND;
    case EEXIST:
        return BB_EXISTS;
    case ENOSPC:
    case EDQUOT:
        return BB_NO_SPACE;
    default:
        return BB_IO;
    }
}

static int fail_errno(struct bb_ctx *ctx, int errnum, const char *what, const char *path)
{
    char text[128];

    return bb_fail(ctx, status_of(errnum), "%s %s: %s", what, path,
                   bb_strerror(errnum, text, sizeof text));
}

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now;

    bb_assert(clock_gettime(clock, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t real_now_us(struct bb_env *env)
{
    (void)env;
    return read_clock(CLOCK_MONOTONIC);
}

static uint64_t real_wall_us(struct bb_env *env)
{
    (void)env;
    return read_clock(CLOCK_REALTIME);
}

static void real_random(struct bb_env *env, void *to, size_t size)
{
    uint8_t *at = to;

    (void)env;
    while (size > 0) {
        ssize_t done = getrandom(at, size, 0);
        if (done < 0) {
            bb_assert(errno == EINTR);
            continue;
        }
        at += done;
        size -= (size_t)done;
    }
}

static int open_flags(enum bb_open_mode mode)
{
    switch (mode) {
    case BB_OPEN_READ:
        return O_RDONLY;
    case BB_OPEN_READ_WRITE:
        return O_RDWR | O_CREAT;
    case BB_OPEN_CREATE:
        return O_RDWR | O_CREAT | O_EXCL;
    case BB_OPEN_APPEND:
        return O_RDWR | O_CREAT | O_APPEND;
    }
    BB_UNREACHABLE("an open mode outside the enum");
}

static int real_open(struct bb_ctx *ctx, struct bb_env *env, const char *path,
                     enum bb_open_mode mode, struct bb_file **file)
{
    (void)env;
    int fd = open(path, open_flags(mode) | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_errno(ctx, errno, "open", path);
    struct bb_file *opened = bb_alloc(sizeof *opened);
    opened->fd = fd;
    opened->is_append = mode == BB_OPEN_APPEND;
    opened->path = bb_strdup(path);
    *file = opened;
    return BB_OK;
}

static int real_read(struct bb_ctx *ctx, struct bb_file *file, uint64_t offset, void *to,
                     size_t size, size_t *done)
{
    size_t have = 0;

    while (have < size) {
        ssize_t got = pread(file->fd, (uint8_t *)to + have, size - have, (off_t)(offset + have));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno(ctx, errno, "read of", file->path);
        if (got == 0)
            break;
        have += (size_t)got;
    }
    *done = have;
    return BB_OK;
}

static int real_write(struct bb_ctx *ctx, struct bb_file *file, uint64_t offset, const void *from,
                      size_t size)
{
    const uint8_t *at = from;

    while (size > 0) {
        ssize_t done =
            file->is_append ? write(file->fd, at, size) : pwrite(file->fd, at, size, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return fail_errno(ctx, errno, "write to", file->path);
        at += done;
        size -= (size_t)done;
        offset += (uint64_t)done;
    }
    return BB_OK;
}

static int real_sync(struct bb_ctx *ctx, struct bb_file *file)
{
    if (fdatasync(file->fd) != 0)
        return fail_errno(ctx, errno, "sync of", file->path);
    return BB_OK;
}

static int real_truncate(struct bb_ctx *ctx, struct bb_file *file, uint64_t size)
{
    if (ftruncate(file->fd, (off_t)size) != 0)
        return fail_errno(ctx, errno, "truncate of", file->path);
    return BB_OK;
}

static int real_size(struct bb_ctx *ctx, struct bb_file *file, uint64_t *size)
{
    struct stat found;

    if (fstat(file->fd, &found) != 0)
        return fail_errno(ctx, errno, "size of", file->path);
    *size = (uint64_t)found.st_size;
    return BB_OK;
}

static void real_close(struct bb_file *file)
{
    if (file == NULL)
        return;
    (void)close(file->fd); /* what had to be kept was synced */
    bb_free(file->path);
    bb_free(file);
}

static int real_rename(struct bb_ctx *ctx, struct bb_env *env, const char *from, const char *to)
{
    (void)env;
    if (rename(from, to) != 0)
        return fail_errno(ctx, errno, "rename to", to);
    return BB_OK;
}

static int real_remove(struct bb_ctx *ctx, struct bb_env *env, const char *path)
{
    (void)env;
    if (remove(path) != 0)
        return fail_errno(ctx, errno, "remove", path);
    return BB_OK;
}

static int real_make_dir(struct bb_ctx *ctx, struct bb_env *env, const char *path)
{
    char *part = bb_strdup(path);
    size_t size = strlen(part);
    int rc = BB_OK;

    (void)env;
    for (size_t i = 1; i <= size && rc == BB_OK; i++) {
        if (part[i] != '/' && part[i] != '\0')
            continue;
        char kept = part[i];
        part[i] = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            rc = fail_errno(ctx, errno, "make folder", part);
        part[i] = kept;
    }
    struct stat found;
    if (rc == BB_OK && stat(path, &found) != 0) {
        rc = fail_errno(ctx, errno, "make folder", path);
    } else if (rc == BB_OK && !S_ISDIR(found.st_mode)) {
        rc = bb_fail(ctx, BB_EXISTS, "make folder %s: a file of this name is in the way", path);
    }
    bb_free(part);
    return rc;
}

static int real_sync_dir(struct bb_ctx *ctx, struct bb_env *env, const char *path)
{
    (void)env;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(ctx, errno, "open folder", path);
    int rc = BB_OK;
    if (fsync(fd) != 0)
        rc = fail_errno(ctx, errno, "sync of folder", path);
    (void)close(fd); /* only read */
    return rc;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int real_list_dir(struct bb_ctx *ctx, struct bb_env *env, const char *path,
                         void (*each)(void *arg, const char *name), void *arg)
{
    (void)env;
    DIR *dir = opendir(path);
    if (dir == NULL)
        return fail_errno(ctx, errno, "list folder", path);
    char **names = NULL;
    size_t count = 0;
    size_t room = 0;
    struct dirent *entry;
    errno = 0;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): glibc's is safe for a DIR of our own */
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (count == room) {
            room = room == 0 ? 16 : room * 2;
            names = bb_realloc(names, room * sizeof *names);
        }
        names[count++] = bb_strdup(entry->d_name);
    }
    int errnum = errno;
    (void)closedir(dir); /* only read */
    if (errnum == 0 && count > 0)
        qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count; i++) {
        if (errnum == 0)
            each(arg, names[i]);
        bb_free(names[i]);
    }
    bb_free(names);
    return errnum == 0 ? BB_OK : fail_errno(ctx, errnum, "list folder", path);
}

static int real_free_bytes(struct bb_ctx *ctx, struct bb_env *env, const char *path,
                           uint64_t *bytes)
{
    struct statvfs found;

    (void)env;
    if (statvfs(path, &found) != 0)
        return fail_errno(ctx, errno, "free space of", path);
    *bytes = (uint64_t)found.f_bavail * found.f_frsize;
    return BB_OK;
}

static const struct bb_env_ops real_ops = {
    .now_us = real_now_us,
    .wall_us = real_wall_us,
    .random = real_random,
    .open = real_open,
    .read = real_read,
    .write = real_write,
    .sync = real_sync,
    .truncate = real_truncate,
    .size = real_size,
    .close = real_close,
    .rename = real_rename,
    .remove = real_remove,
    .make_dir = real_make_dir,
    .sync_dir = real_sync_dir,
    .list_dir = real_list_dir,
    .free_bytes = real_free_bytes,
};

struct bb_env *bb_env_real(void)
{
    static struct bb_env real = { .ops = &real_ops };

    return &real;
}
