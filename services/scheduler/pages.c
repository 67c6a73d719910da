/* Pages of the lanes' indexes, read through a worker. */
#include "scheduler.h"

#define AGAIN_US 200000u /* after a page that could not be read */

static bool read_row(struct bb_slice row, struct scheduler_job *job)
{
    struct bb_slice id = bb_value_field_str(row, "id");
    struct bb_slice wake = bb_value_field_str(row, "wake");
    struct bb_slice attempt = bb_value_field_str(row, "attempt");
    uint32_t table;

    if (id.data == NULL || bb_value_tag(id) != BB_TAG_STRING || wake.data == NULL ||
        bb_value_tag(wake) != BB_TAG_FLOAT64 || attempt.data == NULL ||
        bb_value_tag(attempt) != BB_TAG_FLOAT64)
        return false;
    job->wake = bb_value_float64(wake);
    job->attempt = (int64_t)bb_value_float64(attempt);
    return bb_id_parse(NULL, bb_value_bytes(id), &table, &job->id) == BB_OK;
}

static void take_page(struct scheduler_call *call, struct bb_slice value)
{
    struct scheduler *scheduler = call->scheduler;
    struct bb_slice rows = bb_value_field_str(value, "jobs");
    struct bb_slice done = bb_value_field_str(value, "isDone");
    size_t count = bb_value_count(rows);
    size_t read = 0;
    struct scheduler_job *jobs = bb_alloc_zero(count + 1, sizeof *jobs);

    for (size_t i = 0; i < count; i++) {
        if (read_row(bb_value_at(rows, i), &jobs[read]))
            read++;
    }
    scheduler_core_page(scheduler->core, call->lane, jobs, read, bb_value_bool(done),
                        scheduler_now(scheduler));
    bb_free(jobs);
}

static void on_page(struct scheduler_call *call, int status, const char *error,
                    struct bb_slice value)
{
    struct scheduler *scheduler = call->scheduler;

    if (call->generation != scheduler->generation)
        return;
    bool has_page = status == BB_OK && bb_value_tag(value) == BB_TAG_OBJECT &&
                    bb_value_field_str(value, "jobs").data != NULL &&
                    bb_value_field_str(value, "isDone").data != NULL;
    if (has_page) {
        take_page(call, value);
        return;
    }
    scheduler_core_page_failed(scheduler->core, call->lane, status == BB_READ_LIMIT);
    scheduler->page_at_us[call->lane] = bb_loop_now_us(scheduler->loop) + AGAIN_US;
    bb_debug(scheduler->ctx, "scheduler.page_failed", "lane=%s status=%s error=\"%s\"",
             scheduler_lane_name(call->lane), bb_status_name(status), error);
}

static void ask(struct scheduler *scheduler, enum scheduler_lane lane, double from, uint32_t limit)
{
    struct bb_value_builder *to = scheduler->builder;
    struct scheduler_call *call = scheduler_call_new(scheduler, lane, 0);

    bb_value_builder_clear(to);
    bb_value_begin_object(to);
    bb_value_field_name(to, bb_slice_str("lane"));
    bb_value_put_string(to, bb_slice_str(scheduler_lane_name(lane)));
    bb_value_field_name(to, bb_slice_str("from"));
    if (from > 0) {
        bb_value_put_float64(to, from);
    } else {
        bb_value_null(to);
    }
    bb_value_field_name(to, bb_slice_str("limit"));
    bb_value_put_float64(to, limit);
    bb_value_end_object(to);
    call->done = on_page;
    scheduler_call_start(call, lane == LANE_CRON ? "dueCrons" : "dueJobs", false,
                         bb_value_finish(to));
}

void scheduler_pages(struct scheduler *scheduler)
{
    uint64_t now = bb_loop_now_us(scheduler->loop);

    if (!bb_follow_has_begun(scheduler->feed))
        return;
    for (unsigned i = 0; i < LANE_COUNT; i++) {
        enum scheduler_lane lane = (enum scheduler_lane)i;
        double from;
        uint32_t limit;
        if (now >= scheduler->page_at_us[lane] &&
            scheduler_core_wants_page(scheduler->core, lane, &from, &limit))
            ask(scheduler, lane, from, limit);
    }
}
