/*
 * The folder of a log before the library sees it: is there room, and did a first start get through?
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
