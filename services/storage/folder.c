#include "folder.h"

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

#define TEMPORARY_NAME "bitbend-memory-"
/* A killed process may need this long to die: it holds its locks until then. */
#define LOCK_WAIT_MS 3000
#define LOCK_STEP_MS 50
/* A temporary folder this old whose lock nobody holds belonged to a process that was killed. */
#define TEMPORARY_AGE_S     60
#define MEMORY_DISK_MIN     (1ull << 30)
#define VERSION_TEXT_FORMAT "bitbend-data %d\ncluster "
#define NODE_TEXT           "node "

void storage_folder_path(const struct folder *folder, const char *name, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/%s", folder->dir, name); /* open checked the length */
}

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

static int make_temporary(struct bb_ctx *ctx, struct folder *folder)
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

/* ---- lock and version ---- */

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

static int lock_folder(struct bb_ctx *ctx, struct folder *folder)
{
    char path[FOLDER_PATH_MAX + 16], text[128];

    storage_folder_path(folder, "LOCK", path, sizeof path);
    folder->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (folder->lock_fd < 0) {
        return bb_fail(ctx, errno == ENOSPC ? BB_NO_SPACE : BB_IO,
                       "%s cannot be written: %s; name a folder of this user with --data", path,
                       bb_strerror(errno, text, sizeof text));
    }
    if (!lock_in_time(ctx, folder)) {
        return bb_fail(ctx, BB_BUSY,
                       "the data folder %s is in use by another process: stop that one, or name "
                       "another folder with --data",
                       folder->dir);
    }
    return BB_OK;
}

/* "node 2 HEX", the third line; folders of before do not have it. */
static int read_node(struct bb_ctx *ctx, struct folder *folder, struct bb_slice text)
{
    struct bb_buf id;
    char *end = NULL;
    int rc = BB_CORRUPT;

    if (!bb_slice_starts_with(text, bb_slice_str(NODE_TEXT))) {
        return BB_OK;
    }
    folder->node = strtoull((const char *)text.data + strlen(NODE_TEXT), &end, 10);
    text = bb_slice(end, (size_t)((const char *)text.data + text.size - end));
    bb_buf_init(&id);
    if (folder->node > 0 && text.size >= 1 + 2 * FOLDER_INCARNATION) {
        rc = bb_hex_decode(ctx, bb_slice(text.data + 1, 2 * FOLDER_INCARNATION), &id);
    }
    if (rc == BB_OK) {
        memcpy(folder->incarnation, id.data, FOLDER_INCARNATION);
    }
    bb_buf_fini(&id);
    return rc;
}

static int read_version(struct bb_ctx *ctx, struct folder *folder, struct bb_slice text)
{
    char head[64];
    struct bb_buf id;
    size_t size = (size_t)snprintf(head, sizeof head, VERSION_TEXT_FORMAT, FOLDER_FORMAT);
    int rc = BB_CORRUPT;

    if (!bb_slice_starts_with(text, bb_slice(head, size))) {
        return bb_fail(ctx, BB_WRONG_VERSION,
                       "the folder %s holds data of another version (%.*s; this program reads "
                       "bitbend-data %d): start the version of BitBend that wrote it, or name "
                       "another folder with --data",
                       folder->dir, (int)strcspn((const char *)text.data, "\n"),
                       (const char *)text.data, FOLDER_FORMAT);
    }
    bb_buf_init(&id);
    if (text.size >= size + 32) {
        rc = bb_hex_decode(ctx, bb_slice(text.data + size, 32), &id);
    }
    if (rc == BB_OK) {
        memcpy(folder->cluster, id.data, FOLDER_CLUSTER);
        text = bb_slice(text.data + size + 32, text.size - size - 32);
        rc =
            text.size == 0 ? BB_OK : read_node(ctx, folder, bb_slice(text.data + 1, text.size - 1));
    }
    if (rc != BB_OK) {
        rc = bb_fail(ctx, BB_CORRUPT, "the file VERSION in %s is damaged", folder->dir);
    }
    bb_buf_fini(&id);
    return rc;
}

static int load_version(struct bb_ctx *ctx, struct folder *folder)
{
    char path[FOLDER_PATH_MAX + 16];
    struct bb_buf text;
    int rc;

    storage_folder_path(folder, "VERSION", path, sizeof path);
    bb_buf_init(&text);
    rc = bb_file_read_all(ctx, path, &text);
    if (rc == BB_NOT_FOUND) {
        folder->is_new = folder->is_dirty = true;
        bb_random(ctx, folder->cluster, FOLDER_CLUSTER);
        rc = BB_OK;
    } else if (rc == BB_OK) {
        bb_buf_append_byte(&text, 0);
        text.size -= 1;
        rc = read_version(ctx, folder, bb_buf_slice(&text));
    }
    bb_buf_fini(&text);
    return rc;
}

int storage_folder_open(struct bb_ctx *ctx, const char *dir, bool is_temporary,
                        struct folder *folder)
{
    int rc;

    *folder = (struct folder){ .lock_fd = -1 };
    if (is_temporary) {
        rc = make_temporary(ctx, folder);
    } else if (dir == NULL || dir[0] == 0 || strlen(dir) >= FOLDER_PATH_MAX) {
        rc = bb_fail(ctx, BB_BAD_REQUEST, "name the data folder with --data");
    } else {
        (void)snprintf(folder->dir, sizeof folder->dir, "%s", dir); /* its length was checked */
        rc = ctx->env->ops->make_dir(ctx, ctx->env, dir);
    }
    if (rc == BB_OK) {
        rc = lock_folder(ctx, folder);
    }
    if (rc == BB_OK) {
        rc = load_version(ctx, folder);
    }
    if (rc != BB_OK) {
        storage_folder_close(folder);
    }
    return rc;
}

int storage_folder_own(struct bb_ctx *ctx, struct folder *folder, uint64_t node)
{
    if (folder->node == 0) {
        folder->node = node;
        bb_random(ctx, folder->incarnation, FOLDER_INCARNATION);
        folder->is_dirty = true;
    }
    if (folder->node != node) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "the folder %s belongs to storage node %" PRIu64 ", not to node %" PRIu64
                       ": start it with --raft-id %" PRIu64 ", or name another folder with --data",
                       folder->dir, folder->node, node, folder->node);
    }
    return BB_OK;
}

void storage_folder_set_cluster(struct folder *folder, const uint8_t *cluster)
{
    if (memcmp(folder->cluster, cluster, FOLDER_CLUSTER) != 0) {
        memcpy(folder->cluster, cluster, FOLDER_CLUSTER);
        folder->is_dirty = true;
    }
}

int storage_folder_seal(struct bb_ctx *ctx, struct folder *folder)
{
    char path[FOLDER_PATH_MAX + 16];
    struct bb_buf text;
    int rc;

    if (!folder->is_dirty) {
        return BB_OK;
    }
    storage_folder_path(folder, "VERSION", path, sizeof path);
    bb_buf_init(&text);
    bb_buf_printf(&text, VERSION_TEXT_FORMAT, FOLDER_FORMAT);
    bb_hex_append(&text, bb_slice(folder->cluster, FOLDER_CLUSTER));
    bb_buf_printf(&text, "\n" NODE_TEXT "%" PRIu64 " ", folder->node);
    bb_hex_append(&text, bb_slice(folder->incarnation, FOLDER_INCARNATION));
    bb_buf_append_byte(&text, '\n');
    rc = bb_file_write_all(ctx, path, bb_buf_slice(&text), 0600);
    bb_buf_fini(&text);
    if (rc == BB_OK) {
        folder->is_new = folder->is_dirty = false;
    }
    return rc;
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
