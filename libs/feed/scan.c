/*
 * Older records, from the segment files, on a reader thread. One scan reads one segment: a cursor
 * that wants more asks again.
 */
#include "feed_internal.h"

#include <stdio.h>

#define SCAN_BYTES_MAX (16u << 20)

struct feed_scan_work {
    struct bb_job job;
    struct bb_list link;
    struct bb_feed *feed; /* NULL: closed meanwhile */
    struct bb_feed_scan *scan;
    uint64_t first;         /* names the segment */
    uint64_t offset, limit; /* of its file */
    uint64_t max_bytes;
    bool builds_index;
    struct feed_index index;
    struct bb_buf records; /* in the form of the file */
    int status;
    char error[BB_ERROR_MAX];
};

/* ---- on a reader thread ---- */

static bool take_record(void *arg, const struct feed_record *record, struct bb_slice raw)
{
    struct feed_scan_work *work = arg;

    if (record->number > work->scan->after.us && work->records.size < work->max_bytes) {
        bb_buf_append_slice(&work->records, raw);
    }
    return work->builds_index || work->records.size < work->max_bytes;
}

static void scan_work(struct bb_job *job, size_t thread_index)
{
    struct feed_scan_work *work = bb_container(job, struct feed_scan_work, job);
    struct bb_ctx ctx = { .env = work->feed->env };
    char path[4096];
    struct feed_walk walk = { .path = path,
                              .offset = work->offset,
                              .limit = work->limit,
                              .index = work->builds_index ? &work->index : NULL,
                              .each = take_record,
                              .arg = work };

    (void)thread_index;
    feed_segment_path(work->feed->dir, work->first, path, sizeof path);
    work->status = feed_walk(&ctx, &walk);
    if (work->status == BB_OK && walk.is_torn) {
        work->status =
            bb_fail(&ctx, BB_CORRUPT, "%s is damaged at byte %" PRIu64, path, walk.offset);
    }
    if (work->status == BB_NOT_FOUND) {
        work->status = bb_fail(&ctx, BB_TX_TRUNCATED, "the feed has just dropped that position");
    }
    if (work->status != BB_OK) {
        (void)snprintf(work->error, sizeof work->error, "%s", ctx.error); /* both have one size */
    }
}

/* ---- on the owner thread ---- */

static void work_free(struct feed_scan_work *work)
{
    feed_index_fini(&work->index);
    bb_buf_fini(&work->records);
    bb_free(work);
}

void feed_scans_orphan(struct bb_feed *feed)
{
    bb_list_each_safe(item, &feed->scans) {
        struct feed_scan_work *work = bb_container(item, struct feed_scan_work, link);
        bb_list_remove(&work->link);
        work->feed = NULL;
    }
}

/* Where the file ends that begins with `first`; from there on the next one, or memory, has it. One
 * that was dropped during the scan was the oldest. */
static struct bb_txtime end_of(const struct bb_feed *feed, uint64_t first)
{
    bb_list_each(item, &feed->segments) {
        if (bb_container(item, struct feed_segment, link)->first != first)
            continue;
        if (item->next == &feed->segments)
            return BB_TX(feed->tail_prev);
        return BB_TX(bb_container(item->next, struct feed_segment, link)->prev);
    }
    return bb_feed_earliest(feed);
}

static void scan_done(struct bb_job *job)
{
    struct feed_scan_work *work = bb_container(job, struct feed_scan_work, job);
    struct bb_feed *feed = work->feed;

    if (feed == NULL) {
        work_free(work);
        return;
    }
    bb_list_remove(&work->link);
    if (work->builds_index && work->status == BB_OK) {
        bb_list_each(item, &feed->segments) {
            struct feed_segment *segment = bb_container(item, struct feed_segment, link);
            if (segment->first == work->first && !segment->has_index) {
                segment->index = work->index;
                segment->has_index = true;
                work->index = (struct feed_index){ 0 };
                break;
            }
        }
    }
    work->scan->goes_on = end_of(feed, work->first);
    work->scan->done(work->scan, work->status, work->error);
    work_free(work);
}

/* The segment that holds the first record after `after`; its end is where the next one begins. */
static struct feed_segment *segment_after(struct bb_feed *feed, uint64_t after)
{
    bb_list_each(item, &feed->segments) {
        struct feed_segment *segment = bb_container(item, struct feed_segment, link);
        uint64_t last = item->next == &feed->segments
                            ? segment->last
                            : bb_container(item->next, struct feed_segment, link)->prev;
        if (last > after) {
            return segment;
        }
    }
    return NULL;
}

int bb_feed_scan_start(struct bb_ctx *ctx, struct bb_feed *feed, struct bb_feed_scan *scan)
{
    struct feed_segment *segment = segment_after(feed, scan->after.us);
    struct feed_scan_work *work;
    int rc;

    if (segment == NULL || scan->after.us < bb_feed_earliest(feed).us) {
        return bb_fail(ctx, BB_TX_TRUNCATED,
                       "position %" PRIu64 " is older than the feed keeps; start at %" PRIu64
                       " or later",
                       scan->after.us, bb_feed_earliest(feed).us);
    }
    work = bb_alloc_zero(1, sizeof *work);
    work->feed = feed;
    work->scan = scan;
    work->first = segment->first;
    work->limit = segment->bytes;
    work->max_bytes = scan->max_bytes > SCAN_BYTES_MAX ? SCAN_BYTES_MAX : scan->max_bytes;
    if (work->max_bytes == 0) {
        work->max_bytes = 1;
    }
    work->builds_index = !segment->has_index;
    work->offset = segment->has_index ? feed_index_find(&segment->index, scan->after.us) : 0;
    bb_buf_init(&work->records);
    work->job.work = scan_work;
    work->job.done = scan_done;
    work->job.loop = feed->loop;
    scan->work = work;
    rc = bb_pool_submit(ctx, feed->readers, &work->job);
    if (rc != BB_OK) {
        bb_free(work);
        return rc;
    }
    bb_list_push_back(&feed->scans, &work->link);
    return BB_OK;
}

void bb_feed_scan_each(const struct bb_feed_scan *scan, bb_feed_each_fn *each, void *arg)
{
    struct bb_slice left = bb_buf_slice(&scan->work->records);
    struct feed_record record;
    size_t used, needed;

    while (feed_record_decode(left, &record, &used, &needed) == BB_OK) {
        if (!each(arg, BB_TX(record.prev), BB_TX(record.number), record.bytes)) {
            return;
        }
        left = bb_slice(left.data + used, left.size - used);
    }
}
