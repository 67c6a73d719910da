/*
 * What went wrong, as a status and as a sentence that says what to do.
 */
#include <errno.h>
#include <sys/statvfs.h>

#include "kv.h"

static int status_of(int rc)
{
    switch (rc) {
    case MDB_NOTFOUND:
        return BB_NOT_FOUND;
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return BB_NO_SPACE;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_PANIC:
        return BB_CORRUPT;
    case MDB_VERSION_MISMATCH:
    case MDB_INVALID:
    case MDB_INCOMPATIBLE:
        return BB_WRONG_VERSION;
    case MDB_BAD_VALSIZE:
        return BB_TOO_LARGE;
    case EAGAIN:
    case EBUSY:
        return BB_BUSY;
    case ENOENT:
        return BB_NOT_FOUND;
    default:
        return BB_IO;
    }
}

/* What a person can do about it. */
static const char *advice(int rc, int status)
{
    if (rc == EFBIG)
        return "; a limit of the size of files, or a damaged page: bb-ctl inspect tells damage";
    if (rc == MDB_INVALID) {
        return "; the first pages of data.mdb are damaged, or another program wrote it. Nothing was "
               "changed; restore the folder from a backup, or replace the node: an empty folder, "
               "and a new number";
    }
    switch (status) {
    case BB_NO_SPACE:
        return "; free disk space on that file system and start again: nothing was lost";
    case BB_CORRUPT:
        return "; restore the folder from a backup or from another replica";
    case BB_WRONG_VERSION:
        return "; this program cannot read it: start the version that wrote it, or name an empty "
               "folder";
    case BB_BUSY:
        return "; another process has it open: stop that one first";
    default:
        return "";
    }
}

/*
 * A write that the disk took only in part is EIO to LMDB. It is nearly always the write that filled
 * the disk.
 */
static bool is_disk_full(const struct bb_kv *kv)
{
    struct statvfs vfs;
    return statvfs(kv->dir, &vfs) == 0 && (uint64_t)vfs.f_bavail * vfs.f_frsize < 1u << 20;
}

int kv_fail(struct bb_ctx *ctx, const struct bb_kv *kv, int rc, const char *what)
{
    if (rc == 0) {
        return BB_OK;
    }
    if (rc == EIO && is_disk_full(kv)) {
        rc = ENOSPC;
    }
    char text[128];
    const char *why = rc == MDB_MAP_FULL ? "the reserved size is used up"
                      : rc < 0           ? mdb_strerror(rc)
                                         : bb_strerror(rc, text, sizeof(text));
    int status = status_of(rc);
    return bb_fail(ctx, status, "%s in %s: %s%s", what, kv->dir, why, advice(rc, status));
}
