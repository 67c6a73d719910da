#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "core.h"

#define SECOND 1000000ull

static struct scheduler_job job_of(unsigned number, double wake)
{
    struct scheduler_job job = { .wake = wake, .attempt = 0 };

    memset(&job.id, 0, sizeof job.id);
    bb_put_be32(job.id.bytes, number);
    return job;
}

static unsigned number_of(const struct scheduler_job *job)
{
    return bb_get_be32(job->id.bytes);
}

static struct scheduler_now at(double ms)
{
    return (struct scheduler_now){ .wall_us = (uint64_t)(ms * 1000),
                                   .mono_us = (uint64_t)(ms * 1000) };
}

/* All lanes known and empty. */
static struct scheduler_core *empty_core(size_t known_max)
{
    struct scheduler_core *core = scheduler_core_new(
        &(struct scheduler_options){ .known_max = known_max, .lease_us = 60 * SECOND });

    for (unsigned i = 0; i < LANE_COUNT; i++) {
        double from;
        uint32_t limit;
        cr_assert(scheduler_core_wants_page(core, (enum scheduler_lane)i, &from, &limit));
        cr_assert_lt(from, 0);
        scheduler_core_page(core, (enum scheduler_lane)i, NULL, 0, true, at(0));
    }
    return core;
}

Test(core, a_job_is_handed_out_when_it_is_due_and_once)
{
    struct scheduler_core *core = empty_core(0);
    struct scheduler_job job = job_of(1, 500);
    struct scheduler_job taken;

    scheduler_core_see(core, LANE_MUTATION, &job, at(100));
    cr_assert_eq(scheduler_core_wait(core, LANE_MUTATION, at(100)), 400000);
    cr_assert_eq(scheduler_core_take(core, LANE_MUTATION, at(499), 1, &taken), 0);
    cr_assert_eq(scheduler_core_take(core, LANE_MUTATION, at(500), 1, &taken), 1);
    cr_assert_eq(scheduler_core_take(core, LANE_MUTATION, at(500), 1, &taken), 0);
    /* The feed repeats what was so: the job is out already. */
    scheduler_core_see(core, LANE_MUTATION, &job, at(501));
    cr_assert_eq(scheduler_core_take(core, LANE_MUTATION, at(501), 1, &taken), 0);
    scheduler_core_end(core, LANE_MUTATION, &job.id, 0, at(502));
    cr_assert_eq(scheduler_core_wait(core, LANE_MUTATION, at(502)), UINT64_MAX);
    scheduler_core_free(core);
}

Test(core, a_job_that_is_cancelled_is_not_handed_out)
{
    struct scheduler_core *core = empty_core(0);
    struct scheduler_job job = job_of(1, 500);
    struct scheduler_job taken;

    scheduler_core_see(core, LANE_MUTATION, &job, at(0));
    scheduler_core_gone(core, &job.id);
    cr_assert_eq(scheduler_core_take(core, LANE_MUTATION, at(1000), 1, &taken), 0);
    scheduler_core_free(core);
}

Test(core, a_failure_that_passes_is_tried_again_later)
{
    struct scheduler_core *core = empty_core(0);
    struct scheduler_job job = job_of(1, 500);
    struct scheduler_job taken;

    scheduler_core_see(core, LANE_MUTATION, &job, at(0));
    cr_assert_eq(scheduler_core_take(core, LANE_MUTATION, at(500), 1, &taken), 1);
    scheduler_core_end(core, LANE_MUTATION, &job.id, 50000, at(500));
    cr_assert_eq(scheduler_core_tries(core, LANE_MUTATION, &job.id), 1);
    cr_assert_eq(scheduler_core_take(core, LANE_MUTATION, at(549), 1, &taken), 0);
    cr_assert_eq(scheduler_core_take(core, LANE_MUTATION, at(550), 1, &taken), 1);
    /* It ended meanwhile, as the feed says: not again. */
    scheduler_core_gone(core, &job.id);
    scheduler_core_end(core, LANE_MUTATION, &job.id, 50000, at(551));
    cr_assert_eq(scheduler_core_take(core, LANE_MUTATION, at(9999), 1, &taken), 0);
    scheduler_core_free(core);
}

Test(core, a_cron_that_moved_while_it_was_out_is_due_at_its_next_time)
{
    struct scheduler_core *core = empty_core(0);
    struct scheduler_job cron = job_of(1, 1000);
    struct scheduler_job next = job_of(1, 2000);
    struct scheduler_job taken;

    scheduler_core_see(core, LANE_CRON, &cron, at(0));
    cr_assert_eq(scheduler_core_take(core, LANE_CRON, at(1000), 1, &taken), 1);
    scheduler_core_see(core, LANE_CRON, &next, at(1001));
    scheduler_core_end(core, LANE_CRON, &cron.id, 0, at(1002));
    cr_assert_eq(scheduler_core_take(core, LANE_CRON, at(1999), 1, &taken), 0);
    cr_assert_eq(scheduler_core_take(core, LANE_CRON, at(2000), 1, &taken), 1);
    cr_assert_eq(taken.wake, 2000);
    scheduler_core_free(core);
}

Test(core, a_job_that_changes_its_lane_is_in_one_only)
{
    struct scheduler_core *core = empty_core(0);
    struct scheduler_job job = job_of(1, 500);
    struct scheduler_job queued = job_of(1, 9000);
    struct scheduler_job taken;

    scheduler_core_see(core, LANE_ACTION, &job, at(0));
    scheduler_core_see(core, LANE_QUEUED, &queued, at(0));
    cr_assert_eq(scheduler_core_take(core, LANE_ACTION, at(1000), 1, &taken), 0);
    cr_assert_eq(scheduler_core_take(core, LANE_QUEUED, at(1000), 1, &taken), 0);
    scheduler_core_hurry(core, LANE_QUEUED, at(1000));
    cr_assert_eq(scheduler_core_take(core, LANE_QUEUED, at(1000), 1, &taken), 1);
    scheduler_core_free(core);
}

Test(core, a_runner_is_lost_by_the_monotonic_clock_alone)
{
    struct scheduler_core *core = empty_core(0);
    struct scheduler_job job = job_of(1, 60000);
    struct scheduler_job renewed = job_of(1, 80000);
    struct scheduler_job taken;
    struct scheduler_now now = { .wall_us = 5 * SECOND, .mono_us = 5 * SECOND };

    scheduler_core_see(core, LANE_RUNNING, &job, now);
    now.wall_us += 100000 * SECOND; /* the clock was put forward by a day */
    cr_assert_eq(scheduler_core_take(core, LANE_RUNNING, now, 1, &taken), 0);
    now.mono_us = 64 * SECOND;
    scheduler_core_see(core, LANE_RUNNING, &renewed, now);
    now.mono_us = 123 * SECOND;
    cr_assert_eq(scheduler_core_take(core, LANE_RUNNING, now, 1, &taken), 0);
    now.mono_us = 124 * SECOND;
    cr_assert_eq(scheduler_core_take(core, LANE_RUNNING, now, 1, &taken), 1);
    cr_assert_eq(taken.wake, 80000);
    scheduler_core_free(core);
}

/* ---- an index of rows, as pages show it, against what the core hands out ---- */

enum {
    ROWS_MAX = 20000
};
struct index {
    struct scheduler_job rows[ROWS_MAX];
    bool is_there[ROWS_MAX];
    unsigned runs[ROWS_MAX];
    unsigned count;
};

static int compare_jobs(const void *a, const void *b)
{
    const struct scheduler_job *left = a;
    const struct scheduler_job *right = b;

    return left->wake != right->wake ? (left->wake < right->wake ? -1 : 1)
                                     : memcmp(&left->id, &right->id, sizeof left->id);
}

static void answer_page(struct scheduler_core *core, const struct index *index, double from,
                        uint32_t limit, struct scheduler_now now)
{
    struct scheduler_job *page = bb_alloc_zero(ROWS_MAX, sizeof *page);
    size_t count = 0;

    for (unsigned i = 0; i < index->count; i++) {
        if (index->is_there[i] && !(index->rows[i].wake < from))
            page[count++] = index->rows[i];
    }
    qsort(page, count, sizeof *page, compare_jobs);
    bool is_done = count < limit;
    scheduler_core_page(core, LANE_MUTATION, page, is_done ? count : limit, is_done, now);
    bb_free(page);
}

/* Runs until nothing is due; returns the highest number of rows that were known. */
static size_t run_all(struct scheduler_core *core, struct index *index, struct scheduler_now now,
                      unsigned width)
{
    struct scheduler_lane_view view;
    double last = -HUGE_VAL;
    size_t most = 0;

    for (unsigned round = 0; round < 10 * ROWS_MAX; round++) {
        struct scheduler_job jobs[64];
        double from;
        uint32_t limit;
        if (scheduler_core_wants_page(core, LANE_MUTATION, &from, &limit))
            answer_page(core, index, from, limit, now);
        size_t count = scheduler_core_take(core, LANE_MUTATION, now, width, jobs);
        scheduler_core_view(core, LANE_MUTATION, now, &view);
        most = view.known > most ? view.known : most;
        if (count == 0 && view.is_complete)
            return most;
        for (size_t i = 0; i < count; i++) {
            unsigned number = number_of(&jobs[i]);
            cr_assert_geq(jobs[i].wake, last, "job %u is out of turn", number);
            last = jobs[i].wake;
            index->runs[number]++;
            index->is_there[number] = false;
            scheduler_core_end(core, LANE_MUTATION, &jobs[i].id, 0, now);
        }
    }
    cr_assert_fail("the lane does not come to an end");
    return 0;
}

static void fill(struct index *index, unsigned count, unsigned moments)
{
    index->count = count;
    for (unsigned i = 0; i < count; i++) {
        index->rows[i] = job_of(i, 1 + (i * 2654435761u) % moments);
        index->is_there[i] = true;
    }
}

Test(core, any_number_of_due_jobs_comes_in_time_order_within_bounded_memory)
{
    static const unsigned moments[] = { 1, 7, 100000 };

    for (unsigned i = 0; i < BB_COUNT_OF(moments); i++) {
        struct index *index = bb_alloc_zero(1, sizeof *index);
        struct scheduler_core *core = scheduler_core_new(
            &(struct scheduler_options){ .known_max = 1000, .lease_us = SECOND });

        fill(index, ROWS_MAX, moments[i]);
        size_t most = run_all(core, index, at(200000), 64);
        for (unsigned k = 0; k < ROWS_MAX; k++)
            cr_assert_eq(index->runs[k], 1, "job %u ran %u times", k, index->runs[k]);
        cr_assert_leq(most, 2200, "%zu rows in mind", most);
        scheduler_core_free(core);
        bb_free(index);
    }
}

Test(core, rows_that_come_with_the_feed_while_a_page_is_read_are_not_passed_over)
{
    struct index *index = bb_alloc_zero(1, sizeof *index);
    struct scheduler_core *core =
        scheduler_core_new(&(struct scheduler_options){ .known_max = 1000, .lease_us = SECOND });
    double from;
    uint32_t limit;

    fill(index, 3000, 3000);
    cr_assert(scheduler_core_wants_page(core, LANE_MUTATION, &from, &limit));
    answer_page(core, index, from, limit, at(0));
    /* The next page is read at this moment: the row that comes then is not in it. */
    struct scheduler_job jobs[1000];
    size_t count = scheduler_core_take(core, LANE_MUTATION, at(200000), 900, jobs);
    for (size_t i = 0; i < count; i++) {
        index->runs[number_of(&jobs[i])]++;
        index->is_there[number_of(&jobs[i])] = false;
        scheduler_core_end(core, LANE_MUTATION, &jobs[i].id, 0, at(200000));
    }
    cr_assert(scheduler_core_wants_page(core, LANE_MUTATION, &from, &limit));
    struct scheduler_job late = job_of(3000, 1500.5);
    scheduler_core_see(core, LANE_MUTATION, &late, at(200000));
    answer_page(core, index, from, limit, at(200000));
    index->rows[3000] = late;
    index->is_there[3000] = true;
    index->count = 3001;
    (void)run_all(core, index, at(200000), 64);
    for (unsigned k = 0; k < index->count; k++)
        cr_assert_eq(index->runs[k], 1, "job %u ran %u times", k, index->runs[k]);
    scheduler_core_free(core);
    bb_free(index);
}

Test(core, a_page_that_is_too_large_is_read_in_smaller_ones)
{
    struct scheduler_core *core =
        scheduler_core_new(&(struct scheduler_options){ .lease_us = SECOND });
    double from;
    uint32_t limit;
    uint32_t before;

    cr_assert(scheduler_core_wants_page(core, LANE_MUTATION, &from, &before));
    scheduler_core_page_failed(core, LANE_MUTATION, true);
    cr_assert(scheduler_core_wants_page(core, LANE_MUTATION, &from, &limit));
    cr_assert_eq(limit, before / 2);
    scheduler_core_free(core);
}

Test(core, jobs_of_the_far_future_are_left_to_the_database)
{
    struct scheduler_core *core = empty_core(100);
    struct scheduler_lane_view view;

    for (unsigned i = 0; i < 5000; i++) {
        struct scheduler_job job = job_of(i, 1e9 + i);
        scheduler_core_see(core, LANE_MUTATION, &job, at(0));
    }
    scheduler_core_view(core, LANE_MUTATION, at(0), &view);
    cr_assert_leq(view.known, 201);
    cr_assert_not(view.is_complete);
    /* One that is due before all of them is known at once. */
    struct scheduler_job soon = job_of(9999, 5);
    struct scheduler_job taken;
    scheduler_core_see(core, LANE_MUTATION, &soon, at(0));
    cr_assert_eq(scheduler_core_take(core, LANE_MUTATION, at(6), 1, &taken), 1);
    cr_assert_eq(number_of(&taken), 9999);
    scheduler_core_free(core);
}

Test(core, an_answer_that_comes_late_does_not_undo_what_the_feed_has_told)
{
    struct scheduler_core *core = empty_core(0);
    struct scheduler_job job = job_of(1, 500);
    struct scheduler_job queued = { .id = job.id, .wake = 60000, .attempt = 1 };
    struct scheduler_job again = { .id = job.id, .wake = 700, .attempt = 1 };
    struct scheduler_job taken;

    scheduler_core_see(core, LANE_ACTION, &job, at(0));
    cr_assert_eq(scheduler_core_take(core, LANE_ACTION, at(500), 1, &taken), 1);
    /* It was queued, run, and is to be tried again; then the answer of the queueing comes. */
    scheduler_core_see(core, LANE_QUEUED, &queued, at(510));
    scheduler_core_see(core, LANE_ACTION, &again, at(600));
    scheduler_core_moved(core, LANE_ACTION, LANE_QUEUED, &queued, at(601));
    cr_assert_eq(scheduler_core_take(core, LANE_ACTION, at(700), 1, &taken), 1);
    cr_assert_eq(taken.attempt, 1);
    scheduler_core_free(core);
}

Test(core, a_page_that_is_older_than_the_feed_changes_nothing_that_is_known)
{
    struct scheduler_core *core =
        scheduler_core_new(&(struct scheduler_options){ .lease_us = 60 * SECOND });
    struct scheduler_job old = job_of(1, 500);
    struct scheduler_job renewed = job_of(1, 800);
    struct scheduler_job taken;
    double from;
    uint32_t limit;

    cr_assert(scheduler_core_wants_page(core, LANE_MUTATION, &from, &limit));
    scheduler_core_page(core, LANE_MUTATION, &old, 1, false, at(0));
    cr_assert(scheduler_core_wants_page(core, LANE_MUTATION, &from, &limit));
    scheduler_core_see(core, LANE_MUTATION, &renewed, at(10));
    scheduler_core_page(core, LANE_MUTATION, &old, 1, true, at(20));
    cr_assert_eq(scheduler_core_take(core, LANE_MUTATION, at(500), 1, &taken), 0);
    cr_assert_eq(scheduler_core_take(core, LANE_MUTATION, at(800), 1, &taken), 1);
    cr_assert_eq(taken.wake, 800);
    scheduler_core_free(core);
}
