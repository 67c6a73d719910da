/* What the durable feed says about rows of _jobs and _crons. */
#include "bb/wire.h"

#include "scheduler.h"

/* ---- rows ---- */

static bool number_of(struct bb_slice row, const char *name, double *number)
{
    struct bb_slice value = bb_value_field_str(row, name);

    if (value.data == NULL || bb_value_tag(value) != BB_TAG_FLOAT64)
        return false;
    *number = bb_value_float64(value);
    return true;
}

static void take_job(struct scheduler *scheduler, const struct bb_id *id, struct bb_slice row)
{
    struct bb_slice name = bb_value_field_str(row, "lane");
    struct bb_slice attempt = bb_value_field_str(row, "attempt");
    struct scheduler_job job = { .id = *id };
    enum scheduler_lane lane = LANE_COUNT;

    if (name.data != NULL && bb_value_tag(name) == BB_TAG_STRING)
        lane = scheduler_lane_of(bb_value_bytes(name));
    if (attempt.data != NULL && bb_value_tag(attempt) == BB_TAG_INT64)
        job.attempt = bb_value_int64(attempt);
    if (lane == LANE_COUNT || !number_of(row, "wake", &job.wake)) {
        scheduler_core_gone(scheduler->core, id);
    } else {
        scheduler_core_see(scheduler->core, lane, &job, scheduler_now(scheduler));
    }
}

static void take_cron(struct scheduler *scheduler, const struct bb_id *id, struct bb_slice row)
{
    struct scheduler_job job = { .id = *id };

    if (number_of(row, "next", &job.wake))
        scheduler_core_see(scheduler->core, LANE_CRON, &job, scheduler_now(scheduler));
}

static void take_write(struct scheduler *scheduler, const Bb__Proto__Write *write)
{
    struct bb_ctx ctx = *scheduler->ctx;
    struct bb_slice row = bb_pb_slice(write->doc);
    struct bb_id id;

    if ((write->table != BB_TABLE_JOBS && write->table != BB_TABLE_CRONS) || write->is_index_only ||
        write->id.len != sizeof id.bytes)
        return;
    memcpy(id.bytes, write->id.data, sizeof id.bytes);
    bool is_there =
        row.size > 0 && bb_value_validate(&ctx, row) == BB_OK && bb_value_tag(row) == BB_TAG_OBJECT;
    if (!is_there) {
        scheduler_core_gone(scheduler->core, &id);
    } else if (write->table == BB_TABLE_JOBS) {
        take_job(scheduler, &id, row);
    } else {
        take_cron(scheduler, &id, row);
    }
    scheduler_turn(scheduler);
}

/* ---- following ---- */

/* What is known was true at an older moment, or of another history: begin with pages. */
static void begin(void *arg, uint64_t cursor, bool is_new_history)
{
    struct scheduler *scheduler = arg;

    (void)cursor;
    (void)is_new_history;
    scheduler->generation++;
    scheduler_core_reset(scheduler->core);
    scheduler_turn(scheduler);
}

static bool wants(void *arg, uint32_t table)
{
    (void)arg;
    return table == BB_TABLE_JOBS || table == BB_TABLE_CRONS;
}

static void take_record(void *arg, struct bb_slice bytes, const Bb__Proto__TxRecord *record,
                        const Bb__Proto__TxBody *body)
{
    (void)bytes;
    (void)record;
    for (size_t i = 0; i < body->n_writes; i++)
        take_write(arg, body->writes[i]);
}

static void changed(void *arg, bool is_following)
{
    (void)is_following;
    scheduler_tell_health(arg);
}

int scheduler_feed_open(struct bb_ctx *ctx, struct scheduler *scheduler, const char *urls)
{
    const struct bb_follow_user user = {
        .arg = scheduler,
        .begin = begin,
        .wants = wants,
        .record = take_record,
        .changed = changed,
    };

    return bb_follow_open(ctx, scheduler->loop, urls, &user, &scheduler->feed);
}
