/*
 * Jobs in a small world: the scheduler's decisions (core, timers, lease) as they are, with a
 * simulated database, workers, queue, runners and clocks around them. Schedulers and runners are
 * killed, requests and answers get lost or late, the queue loses and repeats messages and is wiped,
 * wall clocks jump. Then the checkers judge what happened.
 *
 * The transactions on rows are those of services/worker/runtime/77_jobs.js, each at one moment.
 *
 * sim_jobs [--seed N] [--seeds COUNT]: the same seed, the same run.
 */
#include <stdio.h>
#include <stdlib.h>

#include "checkers.h"
#include "core.h"
#include "lease.h"

#define JOBS_MAX   3000u
#define CALLS_MAX  4096u
#define SCHEDULERS 2u
#define RUNNERS    3u
#define STEP_US    10000ull
#define SECOND     1000000ull
#define LEASE_US   (3 * SECOND)
#define RUNNER_US  (2 * SECOND)
#define REQUEUE_US (1 * SECOND)
#define FAULTS_US  (40 * SECOND)
#define SETTLE_US  (400 * SECOND)
#define FEED_MAX   200000u
#define MESSAGES   8192u

enum state {
    PENDING,
    RUNNING,
    DONE,
    FAILED
};
struct row {
    enum state state;
    enum scheduler_lane lane; /* LANE_COUNT: none */
    bool is_mutation;
    int64_t attempt, attempts_max;
    double due, wake;
    unsigned runner; /* number of the process */
    char id[16];
};
struct call {
    bool is_used, is_lost, is_answer_lost, has_run;
    unsigned owner, life; /* whose, and of which of its lives; SCHEDULERS: of a runner */
    enum scheduler_lane lane;
    struct scheduler_job job;
    uint64_t run_us, answer_us;
    bool is_page, is_lease, has_seen, is_held;
    double from;
    uint32_t limit;
    struct scheduler_job *page; /* as it was when the call ran */
    size_t page_count;
    uint64_t seen, beat;
    bool is_queued; /* the answer: the job is in the queue with this attempt and wake */
    int64_t attempt;
    double wake;
};
struct message {
    unsigned job;
    int64_t attempt;
};
struct process {
    unsigned life;
    struct scheduler_core *core;
    struct scheduler_lease lease;
    size_t cursor; /* in the feed */
    uint64_t feed_us;
    bool was_active;
};
struct runner {
    unsigned life;
    bool is_busy;
    struct message message;
    uint64_t until_us, renew_us;
};
static struct {
    uint64_t random, mono_us, wall_max_us;
    int64_t wall_offset_us;
    bool has_faults, is_queue_up;
    struct row rows[JOBS_MAX];
    unsigned row_count;
    unsigned feed[FEED_MAX];
    struct row feed_rows[FEED_MAX];
    size_t feed_count;
    struct call calls[CALLS_MAX];
    struct message queue[MESSAGES];
    size_t queue_count;
    struct process schedulers[SCHEDULERS];
    struct runner runners[RUNNERS];
    int holder; /* of the lease row; 0: nobody */
    uint64_t beat;
    struct check_history history;
    uint64_t hash;
    unsigned kills, losses, jumps, wipes;
} w;

/* ---- chance and clocks ---- */

static uint64_t below(uint64_t limit)
{
    w.random = w.random * 6364136223846793005u + 1442695040888963407u;
    return (w.random >> 33) % limit;
}

static bool in(unsigned of)
{
    return w.has_faults && below(of) == 0;
}

static struct scheduler_now now(void)
{
    return (struct scheduler_now){ .wall_us = (uint64_t)((int64_t)w.mono_us + w.wall_offset_us),
                                   .mono_us = w.mono_us };
}

static double wall_ms(void)
{
    return (double)now().wall_us / 1000;
}

/* ---- rows ---- */

static struct bb_id id_of(unsigned number)
{
    struct bb_id id = { { 0 } };

    bb_put_be32(id.bytes, number);
    return id;
}

static unsigned number_of(const struct bb_id *id)
{
    return bb_get_be32(id->bytes);
}

static void put_feed(unsigned number)
{
    bb_assert(w.feed_count < FEED_MAX);
    w.feed_rows[w.feed_count] = w.rows[number];
    w.feed[w.feed_count++] = number;
}

static void note_run(unsigned number, int64_t attempt)
{
    check_add_run(&w.history, &(struct check_run){ .job = bb_slice_str(w.rows[number].id),
                                                   .attempt = (uint64_t)attempt,
                                                   .start_us = w.wall_max_us });
    w.hash = w.hash * 31 + number * 7 + (uint64_t)attempt;
}

static void end_row(struct row *row, enum state state)
{
    row->state = state;
    row->lane = LANE_COUNT;
}

static void end_attempt(struct row *row)
{
    if (row->attempt < row->attempts_max) {
        row->state = PENDING;
        row->lane = LANE_ACTION;
        row->wake = wall_ms() + 50;
    } else {
        end_row(row, FAILED);
    }
}

/* The transaction of a scheduler's call; each checks its row. */
static void run_mark(struct call *call)
{
    unsigned number = number_of(&call->job.id);
    struct row *row = &w.rows[number];
    enum scheduler_lane lane = row->lane;
    bool is_attempt = row->attempt == call->job.attempt;

    if (call->lane == LANE_MUTATION && row->state == PENDING && row->is_mutation) {
        note_run(number, 1);
        end_row(row, DONE);
    } else if (call->lane == LANE_ACTION && lane == LANE_ACTION && row->state == PENDING) {
        row->attempt++;
        row->lane = LANE_QUEUED;
        row->wake = wall_ms() + (double)REQUEUE_US / 1000;
        call->is_queued = true;
    } else if (call->lane == LANE_QUEUED && lane == LANE_QUEUED && is_attempt) {
        row->wake = wall_ms() + (double)REQUEUE_US / 1000;
        call->is_queued = true;
    } else if (call->lane == LANE_RUNNING && lane == LANE_RUNNING && is_attempt &&
               row->wake == call->job.wake) {
        end_attempt(row);
    } else {
        return;
    }
    call->attempt = row->attempt;
    call->wake = row->wake;
    put_feed(number);
}

static bool start_action(const struct message *message, unsigned runner)
{
    struct row *row = &w.rows[message->job];

    if (row->lane != LANE_QUEUED || row->attempt != message->attempt)
        return false;
    row->state = RUNNING;
    row->lane = LANE_RUNNING;
    row->runner = runner;
    row->wake = wall_ms() + (double)RUNNER_US / 1000;
    put_feed(message->job);
    return true;
}

static bool is_mine(const struct message *message, unsigned runner)
{
    const struct row *row = &w.rows[message->job];

    return row->lane == LANE_RUNNING && row->attempt == message->attempt && row->runner == runner;
}

/* ---- calls: late, lost, answered or not ---- */

static struct call *send_call(unsigned owner)
{
    for (unsigned i = 0; i < CALLS_MAX; i++) {
        struct call *call = &w.calls[i];
        if (call->is_used)
            continue;
        *call = (struct call){ .is_used = true,
                               .owner = owner,
                               .life = w.schedulers[owner].life,
                               .is_lost = in(30),
                               .is_answer_lost = in(30) };
        call->run_us = w.mono_us + below(in(20) ? 3 * SECOND : 30000);
        call->answer_us = call->run_us + below(30000);
        if (call->is_lost || call->is_answer_lost)
            call->answer_us = w.mono_us + 4 * SECOND;
        w.losses += call->is_lost || call->is_answer_lost;
        return call;
    }
    bb_assert(false);
    return NULL;
}

static int by_wake(const void *a, const void *b)
{
    const struct scheduler_job *left = a;
    const struct scheduler_job *right = b;

    return left->wake != right->wake ? (left->wake < right->wake ? -1 : 1)
                                     : memcmp(&left->id, &right->id, sizeof left->id);
}

static void read_page(struct call *call)
{
    struct scheduler_job *jobs = bb_alloc_zero(w.row_count + 1, sizeof *jobs);
    size_t count = 0;

    for (unsigned i = 0; i < w.row_count; i++) {
        const struct row *row = &w.rows[i];
        if (row->lane == call->lane && !(row->wake < call->from)) {
            jobs[count++] = (struct scheduler_job){ .id = id_of(i),
                                                    .wake = row->wake,
                                                    .attempt = row->attempt };
        }
    }
    qsort(jobs, count, sizeof *jobs, by_wake);
    call->page = jobs;
    call->page_count = count;
}

static void run_call(struct call *call)
{
    call->has_run = true;
    if (call->is_lost)
        return;
    if (call->is_page) {
        read_page(call);
        return;
    }
    if (!call->is_lease) {
        run_mark(call);
        return;
    }
    int me = (int)call->owner + 1;
    if (w.holder == 0 || w.holder == me || (call->has_seen && call->seen == w.beat)) {
        w.holder = me;
        w.beat++;
    }
    call->is_held = w.holder == me;
    call->beat = w.beat;
}

static void answer_page(struct process *process, const struct call *call)
{
    bool is_done = call->page_count < call->limit;

    scheduler_core_page(process->core, call->lane, call->page,
                        is_done ? call->page_count : call->limit, is_done, now());
}

static void publish(unsigned number, int64_t attempt)
{
    unsigned times = in(20) ? 0 : in(20) ? 2 : 1;

    for (unsigned i = 0; w.is_queue_up && i < times && w.queue_count < MESSAGES; i++)
        w.queue[w.queue_count++] = (struct message){ number, attempt };
}

static void answer_mark(struct process *process, const struct call *call, bool is_known)
{
    struct scheduler_job queued = { .id = call->job.id,
                                    .wake = call->wake,
                                    .attempt = call->attempt };

    if (is_known && call->is_queued) {
        scheduler_core_moved(process->core, call->lane, LANE_QUEUED, &queued, now());
        publish(number_of(&call->job.id), call->attempt);
    } else {
        scheduler_core_end(process->core, call->lane, &call->job.id, is_known ? 0 : 50000, now());
    }
}

static void answer(struct call *call)
{
    struct process *process = &w.schedulers[call->owner];
    bool is_known = !call->is_lost && !call->is_answer_lost;

    call->is_used = false;
    if (call->life != process->life) {
        bb_free(call->page);
        return;
    }
    if (call->is_lease && is_known) {
        scheduler_lease_answer(&process->lease, w.mono_us, call->is_held, call->beat);
    } else if (call->is_lease) {
        scheduler_lease_failed(&process->lease, w.mono_us);
    } else if (call->is_page && is_known) {
        answer_page(process, call);
    } else if (call->is_page) {
        scheduler_core_page_failed(process->core, call->lane, false);
    } else {
        answer_mark(process, call, is_known);
    }
    bb_free(call->page);
}

static void step_calls(void)
{
    for (unsigned i = 0; i < CALLS_MAX; i++) {
        struct call *call = &w.calls[i];
        if (call->is_used && !call->has_run && w.mono_us >= call->run_us)
            run_call(call);
        if (call->is_used && call->has_run && w.mono_us >= call->answer_us)
            answer(call);
    }
}

/* ---- schedulers ---- */

static void begin_anew(struct process *process)
{
    scheduler_core_reset(process->core);
    process->life++;
    process->cursor = w.feed_count;
    process->lease.is_asking = false;
}

static void follow(struct process *process)
{
    if (w.mono_us < process->feed_us)
        return;
    for (; process->cursor < w.feed_count; process->cursor++) {
        const struct row *row = &w.feed_rows[process->cursor];
        struct scheduler_job job = { .id = id_of(w.feed[process->cursor]),
                                     .wake = row->wake,
                                     .attempt = row->attempt };
        if (row->lane == LANE_COUNT) {
            scheduler_core_gone(process->core, &job.id);
        } else {
            scheduler_core_see(process->core, row->lane, &job, now());
        }
    }
    process->feed_us = w.mono_us + below(in(40) ? SECOND : 20000);
}

static void work(struct process *process, unsigned owner)
{
    for (unsigned i = 0; i < LANE_CRON; i++) {
        enum scheduler_lane lane = (enum scheduler_lane)i;
        struct scheduler_job jobs[16];
        double from;
        uint32_t limit;
        if (scheduler_core_wants_page(process->core, lane, &from, &limit)) {
            struct call *call = send_call(owner);
            call->is_page = true;
            call->lane = lane;
            call->from = from;
            call->limit = limit;
        }
        if ((lane == LANE_ACTION || lane == LANE_QUEUED) && !w.is_queue_up)
            continue;
        size_t count = scheduler_core_take(process->core, lane, now(), 16, jobs);
        for (size_t k = 0; k < count; k++) {
            struct call *call = send_call(owner);
            call->lane = lane;
            call->job = jobs[k];
        }
    }
}

static void step_scheduler(unsigned number)
{
    struct process *process = &w.schedulers[number];
    bool has_seen;
    uint64_t seen;

    if (in(1500)) {
        w.kills++;
        begin_anew(process);
        scheduler_lease_init(&process->lease, LEASE_US);
    }
    if (scheduler_lease_ask(&process->lease, w.mono_us, &has_seen, &seen)) {
        struct call *call = send_call(number);
        call->is_lease = true;
        call->has_seen = has_seen;
        call->seen = seen;
    }
    bool is_active = scheduler_lease_is_active(&process->lease, w.mono_us);
    if (is_active != process->was_active) {
        process->was_active = is_active;
        begin_anew(process);
    }
    follow(process);
    if (is_active)
        work(process, number);
}

/* ---- runners ---- */

static void take_message(struct runner *runner, unsigned process)
{
    if (w.queue_count == 0)
        return;
    size_t at = below(w.queue_count);
    runner->message = w.queue[at];
    w.queue[at] = w.queue[--w.queue_count];
    if (in(15) || !start_action(&runner->message, process))
        return;
    note_run(runner->message.job, runner->message.attempt);
    runner->is_busy = true;
    runner->until_us = w.mono_us + below(in(10) ? 8 * SECOND : 200000);
    runner->renew_us = w.mono_us + SECOND / 2;
}

static void step_runner(unsigned number)
{
    struct runner *runner = &w.runners[number];
    unsigned process = number + RUNNERS * runner->life;
    struct row *row = &w.rows[runner->message.job];

    if (in(800)) {
        w.kills++;
        runner->life++;
        runner->is_busy = false;
        return;
    }
    if (!runner->is_busy) {
        take_message(runner, process);
        return;
    }
    if (w.mono_us >= runner->renew_us && is_mine(&runner->message, process) && !in(4)) {
        row->wake = wall_ms() + (double)RUNNER_US / 1000;
        runner->renew_us = w.mono_us + SECOND / 2;
        put_feed(runner->message.job);
    }
    if (w.mono_us < runner->until_us)
        return;
    runner->is_busy = false;
    if (!is_mine(&runner->message, process))
        return;
    if (below(5) == 0) {
        end_attempt(row);
    } else {
        end_row(row, DONE);
    }
    put_feed(runner->message.job);
}

/* ---- the world ---- */

static void schedule(void)
{
    unsigned number = w.row_count;
    struct row *row = &w.rows[number];

    if (!w.has_faults || number == JOBS_MAX || below(2) != 0)
        return;
    bool is_mutation = below(2) == 0;
    double due = wall_ms() + (double)below(below(4) == 0 ? 20000 : 200);
    *row = (struct row){ .lane = is_mutation ? LANE_MUTATION : LANE_ACTION,
                         .is_mutation = is_mutation,
                         .attempts_max = is_mutation || below(2) == 0 ? 1 : 3,
                         .due = due,
                         .wake = due };
    (void)snprintf(row->id, sizeof row->id, "j%u", number);
    w.row_count++;
    put_feed(number);
    check_add_scheduled(&w.history, &(struct check_scheduled){ bb_slice_str(row->id), CHECK_OK });
}

static void befall(void)
{
    if (in(700)) {
        w.jumps++;
        w.wall_offset_us += (int64_t)below(20 * SECOND) - (int64_t)(10 * SECOND);
    }
    if (in(600)) {
        w.wipes++;
        w.queue_count = 0;
    }
    if (in(400) || (!w.has_faults && !w.is_queue_up)) {
        w.is_queue_up = !w.is_queue_up;
        for (unsigned i = 0; w.is_queue_up && i < SCHEDULERS; i++)
            scheduler_core_hurry(w.schedulers[i].core, LANE_QUEUED, now());
    }
}

static bool is_over(void)
{
    for (unsigned i = 0; i < w.row_count; i++) {
        if (w.rows[i].lane != LANE_COUNT)
            return false;
    }
    return true;
}

static void step(void)
{
    w.mono_us += STEP_US;
    if (now().wall_us > w.wall_max_us)
        w.wall_max_us = now().wall_us;
    befall();
    schedule();
    step_calls();
    for (unsigned i = 0; i < SCHEDULERS; i++)
        step_scheduler(i);
    for (unsigned i = 0; i < RUNNERS; i++)
        step_runner(i);
}

static void begin(uint64_t seed)
{
    memset(&w, 0, sizeof w);
    w.random = seed * 2654435761u + 1;
    w.wall_offset_us = 1700000000ll * (int64_t)SECOND;
    w.has_faults = w.is_queue_up = true;
    for (unsigned i = 0; i < SCHEDULERS; i++) {
        w.schedulers[i].core = scheduler_core_new(
            &(struct scheduler_options){ .known_max = 64, .lease_us = RUNNER_US });
        scheduler_lease_init(&w.schedulers[i].lease, LEASE_US);
    }
}

static void judge(struct check_report *report)
{
    static const char *const names[] = { "pending", "running", "done", "failed" };

    for (unsigned i = 0; i < w.row_count; i++) {
        const struct row *row = &w.rows[i];
        check_add_job(&w.history, &(struct check_job){ .id = bb_slice_str(row->id),
                                                       .state = bb_slice_str(names[row->state]),
                                                       .is_mutation = row->is_mutation,
                                                       .attempts_max = (uint64_t)row->attempts_max,
                                                       .due_us = (uint64_t)(row->due * 1000) });
    }
    check_jobs(&w.history, report);
}

static bool run(uint64_t seed)
{
    struct check_report report = { .count = 0 };

    begin(seed);
    while (w.mono_us < FAULTS_US)
        step();
    w.has_faults = false;
    while (w.mono_us < SETTLE_US && !is_over())
        step();
    judge(&report);
    (void)printf("jobs seed %" PRIu64 ": hash %016" PRIx64 ", %u jobs, %zu runs, %u kills, %u lost "
                 "calls, %u jumps, %u wipes, %.0f s\n",
                 seed, w.hash, w.row_count, w.history.run_count, w.kills, w.losses, w.jumps,
                 w.wipes, (double)w.mono_us / (double)SECOND);
    if (report.count > 0)
        (void)fwrite(report.text.data, 1, report.text.size, stdout);
    bb_buf_fini(&report.text);
    check_free(&w.history);
    for (unsigned i = 0; i < SCHEDULERS; i++)
        scheduler_core_free(w.schedulers[i].core);
    return report.count == 0;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    uint64_t count = 1;
    bool is_right = true;

    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t number = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--seed") == 0)
            seed = number;
        if (strcmp(argv[i], "--seeds") == 0)
            count = number;
    }
    for (uint64_t i = 0; i < count; i++)
        is_right &= run(seed + i);
    return is_right ? 0 : 1;
}
