/*
 * What of a data folder the system itself must give: one process at a time, and a folder that is
 * gone with its process.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "bb/env.h"
#include "bb/obs.h"

#include "folder.h"

#define TEMPORARY_NAME "bitbend-memory-"
/* A killed process may need this long to die: it holds its locks until then. */
#define LOCK_WAIT_MS 3000
#define LOCK_STEP_MS 50
/* A temporary folder this old whose lock nobody holds belonged to a process that was killed. */
#define TEMPORARY_AGE_S 60
#define MEMORY_DISK_MIN (1ull << 30)

/* ---- temporary folders ---- */

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    (void)remove(path); /* what stays is in a folder for temporary files */
    return 0;
}

static void remove_tree(const char *dir)
{
    (void)nftw(dir, remove_one, 16,
               FTW_DEPTH | FTW_PHYS); /* NOLINT(concurrency-mt-unsafe): one thread walks */
}

static void remove_if_dead(void *arg, const char *name)
{
    char dir[FOLDER_PATH_MAX], lock[FOLDER_PATH_MAX + 8];
    struct stat info;
    int fd;

    if (strncmp(name, TEMPORARY_NAME, strlen(TEMPORARY_NAME)) != 0) {
        return;
    }
    (void)snprintf(dir, sizeof dir, "%s/%s", (const char *)arg, name);
    (void)snprintf(lock, sizeof lock, "%s/LOCK", dir);
    fd = open(lock, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    if (fstat(fd, &info) == 0 && info.st_uid == geteuid() &&
        time(NULL) - info.st_mtime > TEMPORARY_AGE_S && flock(fd, LOCK_EX | LOCK_NB) == 0) {
        remove_tree(dir);
    }
    (void)close(fd); /* nothing was written to it */
}

/* In memory where there is room for it, so that a run without durability does not touch a disk. */
static const char *temporary_base(void)
{
    struct statvfs disk;

    if (statvfs("/dev/shm", &disk) == 0 && access("/dev/shm", W_OK | X_OK) == 0 &&
        (uint64_t)disk.f_bavail * disk.f_frsize > MEMORY_DISK_MIN) {
        return "/dev/shm";
    }
    return "/tmp";
}

int storage_folder_temporary(struct bb_ctx *ctx, struct folder *folder)
{
    union {
        const char *in;
        void *out;
    } base = { .in = temporary_base() };
    char text[128];

    (void)ctx->env->ops->list_dir(ctx, ctx->env, base.in, remove_if_dead, base.out);
    (void)snprintf(folder->dir, sizeof folder->dir, "%s/" TEMPORARY_NAME "XXXXXX", base.in);
    if (mkdtemp(folder->dir) == NULL) {
        return bb_fail(ctx, BB_IO, "no temporary folder in %s: %s", base.in,
                       bb_strerror(errno, text, sizeof text));
    }
    folder->is_temporary = true;
    return BB_OK;
}

/* ---- lock ---- */

/* Only while starting, when nothing else runs on this thread. */
static bool lock_in_time(struct bb_ctx *ctx, const struct folder *folder)
{
    struct timespec step = { .tv_nsec = LOCK_STEP_MS * 1000000L };

    for (int waited_ms = 0; flock(folder->lock_fd, LOCK_EX | LOCK_NB) != 0;
         waited_ms += LOCK_STEP_MS) {
        if (errno != EWOULDBLOCK || waited_ms >= LOCK_WAIT_MS) {
            return false;
        }
        if (waited_ms == 0) {
            bb_info(ctx, "storage.waits", "dir=%s why=\"another process has it open\"",
                    folder->dir);
        }
        (void)nanosleep(&step, NULL); /* woken early it looks early */
    }
    return true;
}

int storage_folder_lock(struct bb_ctx *ctx, struct folder *folder)
{
    char path[FOLDER_PATH_MAX + 16], text[128];

    storage_folder_path(folder, "LOCK", path, sizeof path);
    folder->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (folder->lock_fd < 0) {
        bool is_denied = errno == EACCES || errno == EPERM;
        return bb_fail(ctx, errno == ENOSPC ? BB_NO_SPACE : BB_IO, "%s cannot be written: %s%s",
                       path, bb_strerror(errno, text, sizeof text),
                       is_denied ? "; name a folder of this user with --data"
                                 : "; check the disk, or name another folder with --data");
    }
    if (!lock_in_time(ctx, folder)) {
        return bb_fail(ctx, BB_BUSY,
                       "the data folder %s is in use by another process: stop that one, or name "
                       "another folder with --data",
                       folder->dir);
    }
    return BB_OK;
}

void storage_folder_close(struct folder *folder)
{
    if (folder->is_temporary) {
        remove_tree(folder->dir);
    }
    if (folder->lock_fd >= 0) {
        (void)close(folder->lock_fd); /* nothing was written to it */
    }
    *folder = (struct folder){ .lock_fd = -1 };
}
