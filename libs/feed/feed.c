/*
 * The feed as a whole: opening the folder, appending, where it begins and ends.
 */
#include "feed_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define TAIL_BYTES    (16ull << 20)
#define SEGMENT_BYTES (16ull << 20)

struct feed_segment *feed_last_segment(const struct bb_feed *feed)
{
    if (bb_list_is_empty(&feed->segments)) {
        return NULL;
    }
    return bb_container(feed->segments.prev, struct feed_segment, link);
}

void feed_segment_free(struct feed_segment *segment)
{
    feed_index_fini(&segment->index);
    bb_free(segment);
}

/* ---- opening ---- */

/* `NUMBER.feed` in the folder; other names are left alone. */
static void note_segment(void *arg, const char *name)
{
    struct bb_feed *feed = arg;
    struct feed_segment *segment;
    char *end;
    unsigned long long first = strtoull(name, &end, 10);

    if (end - name != 20 || strcmp(end, ".feed") != 0) {
        return;
    }
    segment = bb_alloc_zero(1, sizeof *segment);
    segment->first = first;
    bb_list_push_back(&feed->segments, &segment->link); /* names come in order */
}

/* Cuts what is no record off the newest file, or sets it aside when it holds no record at all. */
static int open_newest(struct bb_ctx *ctx, struct bb_feed *feed, struct feed_segment *segment,
                       bool *is_gone)
{
    char path[4096], aside[4200];
    struct feed_walk walk = { .path = path,
                              .index = &segment->index,
                              .mark_state = &feed->mark_state };
    int rc;

    *is_gone = false;
    feed_segment_path(feed->dir, segment->first, path, sizeof path);
    rc = feed_walk(ctx, &walk);
    if (rc == BB_CORRUPT || (rc == BB_OK && walk.last == 0 && walk.mark_index == 0)) {
        /* It was being made when the process ended; the log still has what belongs into it. */
        bb_warn(&feed->ctx, "feed.set_aside", "path=%s", path);
        *is_gone = true;
        (void)snprintf(aside, sizeof aside, "%s.damaged", path); /* has room for both */
        return ctx->env->ops->rename(ctx, ctx->env, path, aside);
    }
    if (rc != BB_OK) {
        return rc;
    }
    segment->prev = walk.prev;
    segment->last = walk.last == 0 ? walk.prev : walk.last; /* begun anew, and nothing came */
    segment->bytes = walk.offset;
    segment->is_known = segment->has_index = true;
    segment->begins_anew = walk.begins_anew;
    feed->mark_index = walk.mark_index;
    rc = ctx->env->ops->open(ctx, ctx->env, path, BB_OPEN_READ_WRITE, &feed->file);
    if (rc == BB_OK && walk.is_torn) {
        bb_warn(&feed->ctx, "feed.cut", "path=%s at=%" PRIu64, path, walk.offset);
        rc = ctx->env->ops->truncate(ctx, feed->file, walk.offset);
        if (rc == BB_OK && !feed->is_volatile) {
            rc = ctx->env->ops->sync(ctx, feed->file);
        }
    }
    return rc;
}

/* Older files: their header and size. The newest mark may be in the one before the last. */
static int open_older(struct bb_ctx *ctx, struct bb_feed *feed, struct feed_segment *segment)
{
    char path[4096];
    struct feed_walk walk = { .path = path };
    struct bb_file *file = NULL;
    bool wants_mark = feed->mark_index == 0 && segment->link.next == &feed_last_segment(feed)->link;
    int rc;

    feed_segment_path(feed->dir, segment->first, path, sizeof path);
    rc = ctx->env->ops->open(ctx, ctx->env, path, BB_OPEN_READ, &file);
    if (rc == BB_OK) {
        rc = ctx->env->ops->size(ctx, file, &segment->bytes);
    }
    ctx->env->ops->close(file);
    if (rc != BB_OK) {
        return rc;
    }
    walk.limit = wants_mark ? 0 : FEED_SEGMENT_HEADER;
    walk.mark_state = wants_mark ? &feed->mark_state : NULL;
    rc = feed_walk(ctx, &walk);
    segment->prev = walk.prev;
    segment->begins_anew = walk.begins_anew;
    if (wants_mark) {
        feed->mark_index = walk.mark_index;
    }
    return rc;
}

/* What a segment that begins anew left behind when the process ended before it was removed. */
static int remove_older(struct bb_ctx *ctx, struct bb_feed *feed, struct feed_segment *anew)
{
    char path[4096];
    int rc = BB_OK;

    while (feed->segments.next != &anew->link && rc == BB_OK) {
        struct feed_segment *segment = bb_container(feed->segments.next, struct feed_segment, link);
        feed_segment_path(feed->dir, segment->first, path, sizeof path);
        rc = ctx->env->ops->remove(ctx, ctx->env, path);
        bb_list_remove(&segment->link);
        feed_segment_free(segment);
    }
    return rc;
}

static int open_segments(struct bb_ctx *ctx, struct bb_feed *feed)
{
    struct feed_segment *newest;
    bool is_gone = true;
    int rc = ctx->env->ops->list_dir(ctx, ctx->env, feed->dir, note_segment, feed);

    for (newest = feed_last_segment(feed); rc == BB_OK && newest != NULL && is_gone;) {
        rc = open_newest(ctx, feed, newest, &is_gone);
        if (is_gone) {
            bb_list_remove(&newest->link);
            feed_segment_free(newest);
            newest = feed_last_segment(feed);
        }
    }
    if (rc != BB_OK || newest == NULL) {
        return rc;
    }
    for (struct bb_list *item = feed->segments.prev; item != &feed->segments && rc == BB_OK;
         item = item->prev) {
        struct feed_segment *segment = bb_container(item, struct feed_segment, link);
        if (!segment->is_known) {
            rc = open_older(ctx, feed, segment);
        }
        feed->segments_bytes += segment->bytes;
        if (rc == BB_OK && segment->begins_anew) {
            rc = remove_older(ctx, feed, segment);
        }
    }
    feed->newest = feed->tail_prev = newest->last;
    feed->is_empty = false;
    return rc;
}

int bb_feed_open(struct bb_ctx *ctx, struct bb_loop *loop, const struct bb_feed_options *options,
                 struct bb_feed **out)
{
    struct bb_feed *feed = bb_alloc_zero(1, sizeof *feed);
    int rc;

    feed->magic = FEED_MAGIC;
    feed->loop = loop;
    feed->env = ctx->env;
    feed->ctx = (struct bb_ctx){ .env = ctx->env, .log = ctx->log };
    feed->dir = bb_strdup(options->dir);
    feed->readers = options->readers;
    feed->tail_bytes_max = options->tail_bytes == 0 ? TAIL_BYTES : options->tail_bytes;
    feed->segment_bytes_max = options->segment_bytes == 0 ? SEGMENT_BYTES : options->segment_bytes;
    feed->retention_us = options->retention_us;
    feed->retention_bytes = options->retention_bytes;
    feed->is_volatile = options->is_volatile;
    feed->on_error = options->on_error;
    feed->arg = options->arg;
    feed->is_empty = true;
    bb_list_init(&feed->segments);
    bb_list_init(&feed->blocks);
    bb_list_init(&feed->scans);
    bb_buf_init(&feed->mark_state);
    bb_assert(strlen(feed->dir) < 4000);

    rc = ctx->env->ops->make_dir(ctx, ctx->env, feed->dir);
    if (rc == BB_OK) {
        rc = open_segments(ctx, feed);
    }
    if (rc != BB_OK) {
        bb_feed_close(feed);
        return rc;
    }
    feed_retain(feed);
    feed->writer = bb_pool_new("feed", 1, 4);
    *out = feed;
    return BB_OK;
}

void bb_feed_close(struct bb_feed *feed)
{
    if (feed == NULL) {
        return;
    }
    bb_pool_free(feed->writer);
    /* What has ended and could not say so yet finds nobody to tell when the loop drains. */
    if (feed->sync != NULL) {
        feed->sync->feed = NULL;
    }
    feed_scans_orphan(feed);
    feed->env->ops->close(feed->file);
    feed_tail_free(feed);
    bb_list_each_safe(item, &feed->segments) {
        feed_segment_free(bb_container(item, struct feed_segment, link));
    }
    bb_buf_fini(&feed->mark_state);
    bb_free(feed->doomed);
    bb_free(feed->dir);
    bb_free(feed);
}

/* ---- appending and asking ---- */

int bb_feed_append(struct bb_ctx *ctx, struct bb_feed *feed, struct bb_txtime prev,
                   struct bb_txtime tx, struct bb_slice record)
{
    struct feed_record made = {
        .kind = FEED_KIND_RECORD, .number = tx.us, .prev = prev.us, .bytes = record
    };

    bb_assert(tx.us > prev.us);
    if (!feed->is_empty && tx.us <= feed->newest) {
        return BB_DUPLICATE;
    }
    if (feed->is_empty) {
        feed->newest = feed->tail_prev = prev.us;
        feed->is_empty = false;
    }
    if (prev.us != feed->newest) {
        return bb_fail(ctx, BB_GAP,
                       "the feed ends at %" PRIu64 ", the next record follows %" PRIu64,
                       feed->newest, prev.us);
    }
    feed_tail_append(feed, &made);
    feed->newest = tx.us;
    return BB_OK;
}

struct bb_txtime bb_feed_newest(const struct bb_feed *feed)
{
    return BB_TX(feed->newest);
}

struct bb_txtime bb_feed_earliest(const struct bb_feed *feed)
{
    if (bb_list_is_empty(&feed->segments)) {
        return BB_TX(feed->tail_prev);
    }
    return BB_TX(bb_container(feed->segments.next, struct feed_segment, link)->prev);
}

uint64_t bb_feed_bytes(const struct bb_feed *feed)
{
    return feed->segments_bytes;
}

bool bb_feed_is_syncing(const struct bb_feed *feed)
{
    return feed->sync != NULL;
}

uint64_t bb_feed_unsynced_bytes(const struct bb_feed *feed)
{
    return feed->unsynced_bytes;
}

struct bb_feed_mark bb_feed_mark(const struct bb_feed *feed)
{
    return (struct bb_feed_mark){ .index = feed->mark_index,
                                  .state = bb_buf_slice(&feed->mark_state) };
}
