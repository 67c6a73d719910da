/* Jobs: none is lost, none runs more often than was promised, none before its time. */
#include <stdlib.h>

#include "checkers.h"

static int job_by_id(const void *a, const void *b)
{
    return bb_slice_compare(((const struct check_job *)a)->id, ((const struct check_job *)b)->id);
}

static int run_by_job(const void *a, const void *b)
{
    const struct check_run *left = a;
    const struct check_run *right = b;
    int order = bb_slice_compare(left->job, right->job);

    return order != 0 ? order : (left->attempt > right->attempt) - (left->attempt < right->attempt);
}

static bool is_state(const struct check_job *job, const char *state)
{
    return bb_slice_equal_str(job->state, state);
}

/* The runs of a mutation are what its transactions left: as many as its state says. */
static void check_mutation(const struct check_job *job, size_t count, struct check_report *report)
{
    size_t wanted = is_state(job, "done") ? 1 : 0;

    if (count > wanted) {
        check_found(report, "job-twice", "mutation %.*s is %.*s and has run %zu times",
                    BB_SLICE_ARG(job->id), BB_SLICE_ARG(job->state), count);
    } else if (count < wanted) {
        check_found(report, "job-lost", "mutation %.*s is done and nothing of it is there",
                    BB_SLICE_ARG(job->id));
    }
}

static void check_action(const struct check_job *job, const struct check_run *runs, size_t count,
                         struct check_report *report)
{
    for (size_t i = 1; i < count; i++) {
        if (runs[i].attempt == runs[i - 1].attempt) {
            check_found(report, "job-twice", "attempt %" PRIu64 " of action %.*s has run twice",
                        runs[i].attempt, BB_SLICE_ARG(job->id));
        }
    }
    if (count > job->attempts_max) {
        check_found(report, "job-twice",
                    "action %.*s has run %zu times, at most %" PRIu64 " were promised",
                    BB_SLICE_ARG(job->id), count, job->attempts_max);
    }
    if (is_state(job, "done") && count == 0) {
        check_found(report, "job-lost", "action %.*s is done and has never run",
                    BB_SLICE_ARG(job->id));
    }
}

static void check_job(const struct check_job *job, const struct check_run *runs, size_t count,
                      struct check_report *report)
{
    bool has_ended = is_state(job, "done") || is_state(job, "failed") || is_state(job, "cancelled");

    if (!has_ended) {
        check_found(report, "job-lost", "job %.*s has not ended: it is %.*s", BB_SLICE_ARG(job->id),
                    BB_SLICE_ARG(job->state));
    }
    if (job->is_mutation) {
        check_mutation(job, count, report);
    } else {
        check_action(job, runs, count, report);
    }
    for (size_t i = 0; i < count; i++) {
        if (runs[i].start_us < job->due_us) {
            check_found(report, "job-early",
                        "job %.*s began at %" PRIu64 " us and is due at %" PRIu64,
                        BB_SLICE_ARG(job->id), runs[i].start_us, job->due_us);
        }
    }
}

/* What clients were told: a job that was scheduled is there, one that was not is not. */
static void check_told(const struct check_history *history, const struct check_job *jobs,
                       struct check_report *report)
{
    for (size_t i = 0; i < history->scheduled_count; i++) {
        const struct check_scheduled *told = &history->scheduled[i];
        struct check_job wanted = { .id = told->id };
        bool is_there = history->job_count > 0 &&
                        bsearch(&wanted, jobs, history->job_count, sizeof *jobs, job_by_id) != NULL;
        if (told->outcome == CHECK_OK && !is_there) {
            check_found(report, "job-lost", "job %.*s was acknowledged and is not there",
                        BB_SLICE_ARG(told->id));
        } else if (told->outcome == CHECK_FAILED && is_there) {
            check_found(report, "job-phantom", "job %.*s is there, its transaction failed",
                        BB_SLICE_ARG(told->id));
        }
    }
}

void check_jobs(const struct check_history *history, struct check_report *report)
{
    struct check_job *jobs = bb_alloc((history->job_count + 1) * sizeof *jobs);
    struct check_run *runs = bb_alloc((history->run_count + 1) * sizeof *runs);
    size_t at = 0;

    if (history->job_count > 0)
        memcpy(jobs, history->jobs, history->job_count * sizeof *jobs);
    if (history->run_count > 0)
        memcpy(runs, history->runs, history->run_count * sizeof *runs);
    qsort(jobs, history->job_count, sizeof *jobs, job_by_id);
    qsort(runs, history->run_count, sizeof *runs, run_by_job);
    for (size_t i = 0; i < history->job_count; i++) {
        for (; at < history->run_count && bb_slice_compare(runs[at].job, jobs[i].id) < 0; at++) {
            check_found(report, "job-phantom", "job %.*s has run and is not there",
                        BB_SLICE_ARG(runs[at].job));
        }
        size_t from = at;
        while (at < history->run_count && bb_slice_equal(runs[at].job, jobs[i].id))
            at++;
        check_job(&jobs[i], runs + from, at - from, report);
    }
    for (; at < history->run_count; at++) {
        check_found(report, "job-phantom", "job %.*s has run and is not there",
                    BB_SLICE_ARG(runs[at].job));
    }
    check_told(history, jobs, report);
    bb_free(jobs);
    bb_free(runs);
}
