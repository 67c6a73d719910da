/*
 * Looking at a feed's files that no process has open, without a change to them.
 */
#include <stdio.h>
#include <stdlib.h>

#include "feed_internal.h"

struct looking {
    struct bb_ctx *ctx;
    const char *dir;
    const struct bb_feed_look *look;
    char newest[32];  /* name of the last segment */
    uint64_t last;    /* tx at which the segment before ends */
    bool has_before;  /* there is one, and it is whole */
    uint64_t records; /* of the present segment */
    int rc;
};

static bool is_segment(const char *name)
{
    return strlen(name) == 25 && strcmp(name + 20, ".feed") == 0;
}

/* Names come in order. */
static void note_newest(void *arg, const char *name)
{
    struct looking *looking = arg;

    if (is_segment(name)) {
        memcpy(looking->newest, name, 26);
    }
}

static bool count_record(void *arg, const struct feed_record *record, struct bb_slice raw)
{
    struct looking *looking = arg;

    (void)raw;
    looking->records += 1;
    if (looking->look->record != NULL) {
        looking->look->record(looking->look->arg, BB_TX(record->prev), BB_TX(record->number),
                              record->bytes);
    }
    return true;
}

/*
 * What a process that was killed leaves is at the end of the newest segment only: the one before it
 * was written and synced as a whole, and goes on where its own one before ended.
 */
static bool has_damage(const struct looking *looking, const struct feed_walk *walk, bool is_newest,
                       char *damage, size_t size)
{
    if (walk->is_torn && !is_newest) {
        (void)snprintf(damage, size, "no record at byte %" PRIu64 ", and a newer segment follows",
                       walk->offset);
        return true;
    }
    if (looking->has_before && !walk->begins_anew && walk->prev != looking->last) {
        (void)snprintf(damage, size,
                       "it follows tx %" PRIu64 ", the segment before it ends at tx %" PRIu64,
                       walk->prev, looking->last);
        return true;
    }
    return false;
}

static void look_segment(void *arg, const char *name)
{
    struct looking *looking = arg;
    struct bb_feed_look_segment segment = { .file = name };
    struct bb_file *file = NULL;
    struct bb_ctx ctx = { .env = looking->ctx->env };
    char path[4096];
    struct feed_walk walk = { .path = path, .each = count_record, .arg = looking };
    char damage[160];
    int rc;

    if (looking->rc != BB_OK || !is_segment(name)) {
        return;
    }
    looking->records = 0;
    (void)snprintf(path, sizeof path, "%s/%s", looking->dir, name); /* too long is not found */
    rc = feed_walk(&ctx, &walk);
    if (rc != BB_OK && rc != BB_CORRUPT && rc != BB_WRONG_VERSION) {
        looking->rc = bb_fail(looking->ctx, rc, "%s", ctx.error);
        return;
    }
    if (ctx.env->ops->open(&ctx, ctx.env, path, BB_OPEN_READ, &file) == BB_OK) {
        (void)ctx.env->ops->size(&ctx, file, &segment.bytes); /* 0: not known */
    }
    ctx.env->ops->close(file);
    segment.prev = BB_TX(walk.prev);
    segment.last = BB_TX(walk.last);
    segment.records = looking->records;
    segment.mark_index = walk.mark_index;
    segment.begins_anew = walk.begins_anew;
    segment.damage = rc != BB_OK ? ctx.error : NULL;
    segment.torn_at = rc == BB_OK && walk.is_torn ? walk.offset : 0;
    if (rc == BB_OK &&
        has_damage(looking, &walk, strcmp(name, looking->newest) == 0, damage, sizeof damage)) {
        segment.damage = damage;
    }
    looking->has_before = rc == BB_OK && !walk.is_torn;
    looking->last = walk.last == 0 ? walk.prev : walk.last;
    if (looking->look->segment != NULL) {
        looking->look->segment(looking->look->arg, &segment);
    }
}

int bb_feed_look(struct bb_ctx *ctx, const char *dir, const struct bb_feed_look *look)
{
    struct looking looking = { .ctx = ctx, .dir = dir, .look = look };
    int rc = ctx->env->ops->list_dir(ctx, ctx->env, dir, note_newest, &looking);

    if (rc == BB_OK) {
        rc = ctx->env->ops->list_dir(ctx, ctx->env, dir, look_segment, &looking);
    }
    return rc == BB_OK ? looking.rc : rc;
}
