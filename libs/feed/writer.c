/*
 * Writing the feed: one job at a time takes all that was appended, writes it, ends with a mark and
 * syncs. A segment that has grown enough is followed by a new one at the start of a job, when all
 * before it is synced. Files beyond retention are removed by the next job.
 */
#include "feed_internal.h"

#include "bb/failpoint.h"

#include <stdio.h>

void feed_sync_free(struct feed_sync *sync)
{
    bb_free(sync->spans);
    bb_free(sync->doomed);
    bb_buf_fini(&sync->mark);
    bb_buf_fini(&sync->mark_state);
    feed_index_fini(&sync->index);
    bb_free(sync);
}

/* ---- on the writing thread ---- */

static int new_segment(struct bb_ctx *ctx, struct feed_sync *sync)
{
    struct bb_feed *feed = sync->feed;
    struct feed_header header = { .prev = sync->prev,
                                  .first = sync->first,
                                  .begins_anew = sync->begins_anew };
    uint8_t bytes[FEED_SEGMENT_HEADER];
    char path[4096];
    int rc;

    bb_failpoint(ctx->env, BB_FAILPOINT_FEED_SEGMENT_BEFORE);
    ctx->env->ops->close(feed->file);
    feed->file = NULL;
    feed_segment_path(feed->dir, sync->first, path, sizeof path);
    rc = ctx->env->ops->open(ctx, ctx->env, path, BB_OPEN_READ_WRITE, &feed->file);
    if (rc != BB_OK) {
        return rc;
    }
    feed_header_encode(&header, bytes);
    rc = ctx->env->ops->truncate(ctx, feed->file, 0);
    if (rc == BB_OK) {
        rc = ctx->env->ops->write(ctx, feed->file, 0, bytes, sizeof bytes);
    }
    if (rc == BB_OK && !feed->is_volatile) {
        rc = ctx->env->ops->sync_dir(ctx, ctx->env, feed->dir);
    }
    bb_failpoint(ctx->env, BB_FAILPOINT_FEED_SEGMENT_AFTER);
    sync->segment_bytes = FEED_SEGMENT_HEADER;
    return rc;
}

static int write_all(struct bb_ctx *ctx, struct feed_sync *sync)
{
    struct bb_feed *feed = sync->feed;
    int rc;

    bb_failpoint(ctx->env, BB_FAILPOINT_FEED_WRITE_BEFORE);
    for (size_t i = 0; i < sync->span_count; i++) {
        const struct feed_span *span = &sync->spans[i];
        if (i == 0 || span->starts_block) {
            feed_index_add(&sync->index, i == 0 ? sync->prev : span->prev, sync->segment_bytes);
        }
        rc = ctx->env->ops->write(ctx, feed->file, sync->segment_bytes, span->data, span->size);
        if (rc != BB_OK) {
            return rc;
        }
        sync->segment_bytes += span->size;
    }
    bb_failpoint(ctx->env, BB_FAILPOINT_FEED_MARK_BEFORE);
    rc = ctx->env->ops->write(ctx, feed->file, sync->segment_bytes, sync->mark.data,
                              sync->mark.size);
    if (rc != BB_OK) {
        return rc;
    }
    sync->segment_bytes += sync->mark.size;
    bb_failpoint(ctx->env, BB_FAILPOINT_FEED_SYNC_BEFORE);
    rc = feed->is_volatile ? BB_OK : ctx->env->ops->sync(ctx, feed->file);
    bb_failpoint(ctx->env, BB_FAILPOINT_FEED_SYNC_AFTER);
    return rc;
}

static void remove_doomed(struct feed_sync *sync)
{
    struct bb_ctx ctx = { .env = sync->feed->env };
    char path[4096];

    for (size_t i = 0; i < sync->doomed_count; i++) {
        feed_segment_path(sync->feed->dir, sync->doomed[i], path, sizeof path);
        (void)ctx.env->ops->remove(&ctx, ctx.env, path); /* tried again at the next start */
    }
}

static void sync_work(struct bb_job *job, size_t thread_index)
{
    struct feed_sync *sync = bb_container(job, struct feed_sync, job);
    struct bb_ctx ctx = { .env = sync->feed->env };

    (void)thread_index;
    if (!sync->begins_anew) {
        remove_doomed(sync);
    }
    sync->status = sync->is_new_segment ? new_segment(&ctx, sync) : BB_OK;
    if (sync->status == BB_OK) {
        sync->status = write_all(&ctx, sync);
    }
    if (sync->status == BB_OK && sync->begins_anew) {
        remove_doomed(sync);
    }
    if (sync->status != BB_OK) {
        (void)snprintf(sync->error, sizeof sync->error, "%s", ctx.error); /* both have one size */
    }
}

/* ---- on the owner thread ---- */

/* What was written becomes what the files hold. */
static void take_over(struct bb_feed *feed, struct feed_sync *sync)
{
    struct feed_segment *segment;

    if (sync->is_new_segment) {
        segment = bb_alloc_zero(1, sizeof *segment);
        segment->first = sync->first;
        segment->prev = segment->last = sync->prev;
        segment->is_known = segment->has_index = true;
        bb_list_push_back(&feed->segments, &segment->link);
    }
    segment = feed_last_segment(feed);
    feed->segments_bytes += sync->segment_bytes - segment->bytes;
    segment->bytes = sync->segment_bytes;
    if (sync->first != 0) {
        segment->last = sync->last;
    }
    if (segment->has_index) {
        for (size_t i = 0; i < sync->index.count; i++) {
            feed_index_add(&segment->index, sync->index.points[i].prev,
                           sync->index.points[i].offset);
        }
    }
    for (size_t i = 0; i < sync->span_count; i++) {
        feed->unsynced_bytes -= sync->spans[i].size;
    }
    bb_list_each(item, &feed->blocks) {
        struct feed_block *block = bb_container(item, struct feed_block, link);
        for (size_t i = 0; i < sync->span_count; i++) {
            if (sync->spans[i].data == block->data + block->written) {
                block->written += sync->spans[i].size;
                break;
            }
        }
    }
    feed->mark_index = sync->mark_index;
    bb_buf_clear(&feed->mark_state);
    bb_buf_append_slice(&feed->mark_state, bb_buf_slice(&sync->mark_state));
}

static void doom(struct bb_feed *feed, struct feed_segment *segment)
{
    feed->doomed = bb_realloc(feed->doomed, (feed->doomed_count + 1) * sizeof *feed->doomed);
    feed->doomed[feed->doomed_count++] = segment->first;
    feed->segments_bytes -= segment->bytes;
    bb_list_remove(&segment->link);
    feed_segment_free(segment);
}

void feed_retain(struct bb_feed *feed)
{
    uint64_t now = bb_wall_us(&feed->ctx);

    while (feed->segments.next != feed->segments.prev) {
        struct feed_segment *segment = bb_container(feed->segments.next, struct feed_segment, link);
        struct feed_segment *next = bb_container(segment->link.next, struct feed_segment, link);
        bool is_old = feed->retention_us != 0 && now > feed->retention_us &&
                      next->prev < now - feed->retention_us;
        bool is_much = feed->retention_bytes != 0 && feed->segments_bytes > feed->retention_bytes;
        if (!is_old && !is_much) {
            break;
        }
        doom(feed, segment);
    }
}

static void sync_done(struct bb_job *job)
{
    struct feed_sync *sync = bb_container(job, struct feed_sync, job);
    struct bb_feed *feed = sync->feed;
    void (*synced)(void *arg) = sync->synced;
    void *arg = sync->synced_arg;

    if (feed == NULL) { /* it was closed meanwhile */
        feed_sync_free(sync);
        return;
    }
    feed->sync = NULL;
    if (sync->status != BB_OK) {
        feed->is_failed = true;
        feed->on_error(feed->arg, sync->status, sync->error);
        feed_sync_free(sync);
        return;
    }
    take_over(feed, sync);
    feed_tail_trim(feed);
    feed_retain(feed);
    feed_sync_free(sync);
    if (synced != NULL) {
        synced(arg);
    }
}

/* All that memory holds and the files do not. */
static void collect_spans(struct bb_feed *feed, struct feed_sync *sync)
{
    size_t count = 0;

    bb_list_each(item, &feed->blocks) {
        struct feed_block *block = bb_container(item, struct feed_block, link);
        count += block->written < block->size;
    }
    sync->spans = bb_alloc_zero(count == 0 ? 1 : count, sizeof *sync->spans);
    bb_list_each(item, &feed->blocks) {
        struct feed_block *block = bb_container(item, struct feed_block, link);
        struct feed_span *span = &sync->spans[sync->span_count];
        if (block->written == block->size) {
            continue;
        }
        *span = (struct feed_span){ .data = block->data + block->written,
                                    .size = block->size - block->written,
                                    .prev = block->prev,
                                    .starts_block = block->written == 0 };
        if (sync->span_count++ == 0) {
            sync->first = bb_get_le64(span->data + 16); /* the tx of its first record */
            sync->prev = bb_get_le64(span->data + 24);
        }
        sync->last = block->last;
    }
}

/* A job that ends with the mark; what it writes before is the caller's. */
static struct feed_sync *sync_new(struct bb_feed *feed, const struct bb_feed_mark *mark,
                                  void (*synced)(void *arg), void *arg)
{
    struct feed_record record = {
        .kind = FEED_KIND_MARK, .number = mark->index, .prev = feed->newest, .bytes = mark->state
    };
    struct feed_sync *sync = bb_alloc_zero(1, sizeof *sync);

    sync->feed = feed;
    sync->synced = synced;
    sync->synced_arg = arg;
    sync->mark_index = mark->index;
    bb_buf_init(&sync->mark);
    bb_buf_init(&sync->mark_state);
    bb_buf_append_slice(&sync->mark_state, mark->state);
    feed_record_encode(&record,
                       bb_buf_reserve(&sync->mark, FEED_RECORD_HEADER + record.bytes.size));
    sync->mark.size = FEED_RECORD_HEADER + record.bytes.size;
    sync->doomed = feed->doomed;
    sync->doomed_count = feed->doomed_count;
    feed->doomed = NULL;
    feed->doomed_count = 0;
    return sync;
}

static int submit(struct bb_ctx *ctx, struct bb_feed *feed, struct feed_sync *sync)
{
    int rc;

    sync->job.work = sync_work;
    sync->job.done = sync_done;
    sync->job.loop = feed->loop;
    rc = bb_pool_submit(ctx, feed->writer, &sync->job);
    if (rc != BB_OK) {
        feed_sync_free(sync);
        return rc;
    }
    feed->sync = sync;
    return BB_OK;
}

int bb_feed_sync(struct bb_ctx *ctx, struct bb_feed *feed, const struct bb_feed_mark *mark,
                 void (*synced)(void *arg), void *arg)
{
    struct feed_segment *segment = feed_last_segment(feed);
    struct feed_sync *sync;

    if (feed->sync != NULL || feed->is_failed) {
        return bb_fail(ctx, BB_BUSY, "the feed is being written");
    }
    if (segment == NULL && feed->unsynced_bytes == 0) {
        return bb_fail(ctx, BB_NOT_FOUND, "the feed has no record yet");
    }
    sync = sync_new(feed, mark, synced, arg);
    collect_spans(feed, sync);
    sync->segment_bytes = segment == NULL ? 0 : segment->bytes;
    sync->is_new_segment =
        segment == NULL || (sync->span_count > 0 && segment->bytes >= feed->segment_bytes_max);
    return submit(ctx, feed, sync);
}

int bb_feed_begin_anew(struct bb_ctx *ctx, struct bb_feed *feed, struct bb_txtime tx,
                       const struct bb_feed_mark *mark, void (*synced)(void *arg), void *arg)
{
    struct feed_sync *sync;

    if (feed->sync != NULL || feed->is_failed) {
        return bb_fail(ctx, BB_BUSY, "the feed is being written");
    }
    if (!feed->is_empty && tx.us <= feed->newest) {
        return BB_DUPLICATE;
    }
    bb_list_each_safe(item, &feed->segments) {
        doom(feed, bb_container(item, struct feed_segment, link));
    }
    feed_tail_free(feed);
    feed->tail_bytes = feed->unsynced_bytes = 0;
    feed->newest = feed->tail_prev = tx.us;
    feed->is_empty = false;
    sync = sync_new(feed, mark, synced, arg);
    sync->is_new_segment = sync->begins_anew = true;
    sync->first = tx.us + 1; /* the least that can follow */
    sync->prev = sync->last = tx.us;
    return submit(ctx, feed, sync);
}
