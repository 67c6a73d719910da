/* Removes outcomes of client keys that were kept long enough: one `_system:forget` after the other
 * while there are more, then one now and then. They are ordinary mutations of at most 128 rows
 * under the ordinary conflict check, so several workers that do this at once cost time and nothing
 * else. */
#include "bb/value.h"

#include "worker.h"

#define PAUSE_US    20000u
#define IDLE_US_MAX 60000000u
#define IDLE_US_MIN 1000000u
#define FIRST_US    5000000u
#define BATCH_MAX   128.0 /* of the function: fewer means that there are no more */

struct forget {
    bool is_running;
    uint64_t not_before_us;
};

struct forget *worker_forget_new(uint64_t now_us)
{
    struct forget *forget = bb_alloc_zero(1, sizeof(*forget));
    forget->not_before_us = now_us + FIRST_US;
    return forget;
}

void worker_forget_free(struct forget *forget)
{
    bb_free(forget);
}

/* Often enough that little more than what is promised is kept. */
static uint64_t idle_us(const struct worker *worker)
{
    uint64_t part_us = worker->outcomes_ms * 1000 / 64;
    return part_us > IDLE_US_MAX ? IDLE_US_MAX : part_us < IDLE_US_MIN ? IDLE_US_MIN : part_us;
}

/* What the batch removed; as much as one can, when that is not known any more: then there may be
 * more. */
static double removed_by(const struct call *call)
{
    struct bb_slice value = worker_call_value(call);
    if (value.size == 0) {
        return BATCH_MAX;
    }
    struct bb_slice removed = bb_value_field_str(value, "removed");
    bb_assert(removed.data != NULL && bb_value_tag(removed) == BB_TAG_FLOAT64);
    return bb_value_float64(removed);
}

static void batch_ended(struct worker *worker, struct call *call, int status, const char *error)
{
    struct forget *forget = worker->forget;
    bool is_end = true;
    if (status == BB_OK) {
        double removed = removed_by(call);
        is_end = removed < BATCH_MAX;
        bb_metric_add(worker->count.forgotten, (int64_t)removed);
    } else {
        bb_warn(worker->ctx, "worker.forget_failed", "call=%" PRIu64 " status=%s what=\"%s\"",
                call->id, bb_status_name(status), error == NULL ? "" : error);
    }
    forget->is_running = false;
    forget->not_before_us = worker_now(worker) + (is_end ? idle_us(worker) : PAUSE_US);
}

void worker_forget_watch(struct worker *worker, uint64_t now_us)
{
    struct forget *forget = worker->forget;
    const struct catalog *catalog = worker_catalogs_newest(worker->catalogs);
    if (forget->is_running || worker->is_stopping || now_us < forget->not_before_us ||
        catalog == NULL || catalog->to != UINT64_MAX) {
        return;
    }
    uint64_t before_ms = worker_outcome_remove_before_ms(worker->feed.cursor, worker->outcomes_ms);
    struct bb_value_builder *to = bb_value_builder_new();
    bb_value_begin_object(to);
    bb_value_field_name(to, bb_slice_str("before"));
    bb_value_put_float64(to, (double)before_ms);
    bb_value_end_object(to);
    forget->is_running = true;
    worker_call_own(worker, "_system:forget", bb_value_finish(to), batch_ended);
    bb_value_builder_free(to);
}
