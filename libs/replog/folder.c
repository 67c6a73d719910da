/*
 * The folder of a log before the library sees it: is there room, and did a first start get through?
 * And the file that says which entries behind the data are the log's own.
 */
#include "replog_internal.h"

#include <stdio.h>

int replog_check_free_space(struct bb_ctx *ctx, const struct bb_replog *replog, uint64_t needed)
{
    uint64_t found;
    int rc = ctx->env->ops->free_bytes(ctx, ctx->env, replog->dir, &found);

    if (rc != BB_OK) {
        return rc;
    }
    if (found < needed) {
        return bb_fail(ctx, BB_NO_SPACE,
                       "the disk of %s has %" PRIu64 " MB free and the log needs %" PRIu64
                       " MB to start: free some space, or name another folder with --data",
                       replog->dir, found >> 20, needed >> 20);
    }
    return BB_OK;
}

struct leftovers {
    bool has_metadata, has_more;
};

static void note_leftover(void *arg, const char *name)
{
    struct leftovers *found = arg;

    if (strcmp(name, "metadata1") == 0 || strcmp(name, "metadata2") == 0) {
        found->has_metadata = true;
    } else {
        found->has_more = true;
    }
}

/*
 * A first start that was killed after it wrote the term and before it wrote the entry that names
 * the first voter: the library would take the folder for a log and never find a voter in it. Such a
 * node has no data and, without peers, has promised nothing, so it begins anew.
 */
int replog_clear_half_start(struct bb_ctx *ctx, const struct bb_replog *replog)
{
    static const char *const names[] = { "metadata1", "metadata2" };
    struct leftovers found = { .has_more = false };
    char path[4096];
    int rc;

    if (replog->applied > 0 || replog->listen != NULL) {
        return BB_OK;
    }
    rc = ctx->env->ops->list_dir(ctx, ctx->env, replog->dir, note_leftover, &found);
    if (rc != BB_OK || !found.has_metadata || found.has_more) {
        return rc;
    }
    for (size_t i = 0; i < BB_COUNT_OF(names) && (rc == BB_OK || rc == BB_NOT_FOUND); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", replog->dir, names[i]); /* raft allows less */
        rc = ctx->env->ops->remove(ctx, ctx->env, path);
    }
    return rc == BB_NOT_FOUND ? BB_OK : rc;
}

/* ---- entries of the log's own ---- */

enum {
    OWN_MAGIC_AT = 0,
    OWN_VERSION_AT = 4,
    OWN_AFTER_AT = 8,
    OWN_LAST_AT = 16,
    OWN_CRC_AT = 24,
    OWN_END = 28
};
#define OWN_MAGIC   0x4f4c4242u /* "BBLO" */
#define OWN_VERSION 1u

static void own_path(const struct bb_replog *replog, char *to, size_t size)
{
    (void)snprintf(to, size, "%s/own", replog->dir); /* raft allows less */
}

int replog_write_own(struct bb_ctx *ctx, const struct bb_replog *replog, uint64_t after,
                     uint64_t last)
{
    uint8_t bytes[OWN_END];
    char path[4096];

    bb_put_le32(bytes + OWN_MAGIC_AT, OWN_MAGIC);
    bb_put_le32(bytes + OWN_VERSION_AT, OWN_VERSION);
    bb_put_le64(bytes + OWN_AFTER_AT, after);
    bb_put_le64(bytes + OWN_LAST_AT, last);
    bb_put_le32(bytes + OWN_CRC_AT, bb_crc32c(0, bytes, OWN_CRC_AT));
    own_path(replog, path, sizeof path);
    return bb_file_write_all(ctx, path, bb_slice(bytes, sizeof bytes), 0600);
}

int replog_read_own(struct bb_ctx *ctx, struct bb_replog *replog)
{
    struct bb_buf bytes;
    char path[4096];
    int rc;

    own_path(replog, path, sizeof path);
    bb_buf_init(&bytes);
    rc = bb_file_read_all(ctx, path, &bytes);
    if (rc == BB_NOT_FOUND) {
        rc = BB_OK;
    } else if (rc == BB_OK &&
               (bytes.size != OWN_END || bb_get_le32(bytes.data + OWN_MAGIC_AT) != OWN_MAGIC ||
                bb_get_le32(bytes.data + OWN_CRC_AT) != bb_crc32c(0, bytes.data, OWN_CRC_AT))) {
        rc = bb_fail(
            ctx, BB_CORRUPT,
            "%s is damaged. Nothing was changed; restore the data folder from a backup, or replace the node",
            path);
    } else if (rc == BB_OK && bb_get_le32(bytes.data + OWN_VERSION_AT) != OWN_VERSION) {
        rc = bb_fail(ctx, BB_WRONG_VERSION, "%s has format %" PRIu32, path,
                     bb_get_le32(bytes.data + OWN_VERSION_AT));
    } else if (rc == BB_OK) {
        uint64_t after = bb_get_le64(bytes.data + OWN_AFTER_AT);
        uint64_t last = bb_get_le64(bytes.data + OWN_LAST_AT);
        if (replog->applied >= after && replog->applied < last) {
            replog->applied = last;
        }
    }
    bb_buf_fini(&bytes);
    return rc;
}
