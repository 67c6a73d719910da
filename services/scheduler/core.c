#include "core.h"

#include <math.h>

#define KNOWN_MAX  4096u
#define PAGE_LIMIT 1000u
#define PAGE_LOW   200u /* rows left when the next page is read */

struct lane {
    struct timers *timers;
    double horizon; /* all rows with a lower wake are known */
    double missed;  /* lowest wake that was passed over while a page was under way */
    bool is_paging;
    bool is_stuck; /* the last page had nothing new: not again before some of it is done */
    uint32_t limit;
};

struct scheduler_core {
    struct scheduler_options options;
    struct lane lanes[LANE_COUNT];
};

static const char *const lane_names[LANE_COUNT] = {
    [LANE_MUTATION] = "mutation", [LANE_ACTION] = "action", [LANE_QUEUED] = "queued",
    [LANE_RUNNING] = "running",   [LANE_CRON] = "cron",
};

const char *scheduler_lane_name(enum scheduler_lane lane)
{
    return lane_names[lane];
}

enum scheduler_lane scheduler_lane_of(struct bb_slice name)
{
    for (unsigned i = 0; i < LANE_CRON; i++) {
        if (bb_slice_equal_str(name, lane_names[i]))
            return (enum scheduler_lane)i;
    }
    return LANE_COUNT;
}

/* ---- clocks ---- */

static uint64_t clock_of(enum scheduler_lane lane, struct scheduler_now now)
{
    return lane == LANE_RUNNING ? now.mono_us : now.wall_us;
}

/* When to look at a row that has come to have this wake. */
static uint64_t moment_of(const struct scheduler_core *core, enum scheduler_lane lane, double wake,
                          struct scheduler_now now)
{
    if (lane == LANE_RUNNING)
        return now.mono_us + core->options.lease_us;
    if (!(wake > 0))
        return 0;
    return wake >= 9e15 ? UINT64_MAX / 2 : (uint64_t)(wake * 1000);
}

/* ---- what is known ---- */

static void lane_reset(struct lane *lane)
{
    scheduler_timers_clear(lane->timers);
    lane->horizon = -HUGE_VAL;
    lane->missed = HUGE_VAL;
    lane->is_paging = lane->is_stuck = false;
    lane->limit = PAGE_LIMIT;
}

struct scheduler_core *scheduler_core_new(const struct scheduler_options *options)
{
    struct scheduler_core *core = bb_alloc_zero(1, sizeof *core);

    core->options = *options;
    if (core->options.known_max == 0)
        core->options.known_max = KNOWN_MAX;
    for (unsigned i = 0; i < LANE_COUNT; i++) {
        core->lanes[i].timers = scheduler_timers_new();
        lane_reset(&core->lanes[i]);
    }
    return core;
}

void scheduler_core_free(struct scheduler_core *core)
{
    for (unsigned i = 0; core != NULL && i < LANE_COUNT; i++)
        scheduler_timers_free(core->lanes[i].timers);
    bb_free(core);
}

void scheduler_core_reset(struct scheduler_core *core)
{
    for (unsigned i = 0; i < LANE_COUNT; i++)
        lane_reset(&core->lanes[i]);
}

static void lower_horizon(struct lane *lane, double wake)
{
    if (wake < lane->horizon)
        lane->horizon = wake;
}

/* Keeps the lowest when there are twice as many as the lane keeps in mind. */
static void bound(struct scheduler_core *core, struct lane *lane)
{
    if (scheduler_timers_ready(lane->timers) <= 2 * core->options.known_max)
        return;
    double lowest = scheduler_timers_trim(lane->timers, core->options.known_max);
    lower_horizon(lane, lowest);
    /* A page that is under way begins behind them. */
    if (lowest < lane->missed)
        lane->missed = lowest;
}

static bool is_as(const struct timer *timer, const struct scheduler_job *job)
{
    return timer->wake == job->wake && timer->attempt == job->attempt;
}

static void change(struct scheduler_core *core, enum scheduler_lane id, struct timer *timer,
                   const struct scheduler_job *job, struct scheduler_now now)
{
    if (timer->place == TIMER_OUT) {
        timer->has_news = true;
        timer->is_gone = false;
        timer->news_wake = job->wake;
        timer->news_attempt = job->attempt;
        return;
    }
    if (is_as(timer, job))
        return;
    timer->wake = job->wake;
    timer->attempt = job->attempt;
    timer->tries = 0;
    scheduler_timers_put(core->lanes[id].timers, timer, moment_of(core, id, job->wake, now));
}

static void leave(struct lane *lane, const struct bb_id *id)
{
    struct timer *timer = scheduler_timers_find(lane->timers, id);

    if (timer == NULL)
        return;
    lane->is_stuck = false;
    if (timer->place == TIMER_OUT) {
        timer->has_news = timer->is_gone = true;
    } else {
        scheduler_timers_remove(lane->timers, timer);
    }
}

void scheduler_core_gone(struct scheduler_core *core, const struct bb_id *id)
{
    for (unsigned i = 0; i < LANE_COUNT; i++)
        leave(&core->lanes[i], id);
}

void scheduler_core_see(struct scheduler_core *core, enum scheduler_lane id,
                        const struct scheduler_job *job, struct scheduler_now now)
{
    struct lane *lane = &core->lanes[id];
    struct timer *timer = scheduler_timers_find(lane->timers, &job->id);

    for (unsigned i = 0; i < LANE_COUNT; i++) {
        if (i != id)
            leave(&core->lanes[i], &job->id);
    }
    if (timer != NULL) {
        change(core, id, timer, job, now);
        return;
    }
    if (job->wake >= lane->horizon) {
        if (job->wake < lane->missed)
            lane->missed = job->wake;
        return;
    }
    (void)scheduler_timers_add(lane->timers, &job->id, job->wake, job->attempt,
                               moment_of(core, id, job->wake, now));
    bound(core, lane);
}

/* ---- pages ---- */

bool scheduler_core_wants_page(struct scheduler_core *core, enum scheduler_lane id, double *from,
                               uint32_t *limit)
{
    struct lane *lane = &core->lanes[id];
    const struct timer *first = scheduler_timers_first(lane->timers);

    if (lane->is_paging || lane->horizon == HUGE_VAL)
        return false;
    if (lane->is_stuck && scheduler_timers_count(lane->timers) > 0)
        return false;
    bool is_short = scheduler_timers_ready(lane->timers) <= PAGE_LOW;
    bool is_beyond = first != NULL && first->wake > lane->horizon;
    if (!is_short && !is_beyond)
        return false;
    lane->is_paging = true;
    lane->missed = HUGE_VAL;
    *from = lane->horizon;
    *limit = lane->limit;
    return true;
}

void scheduler_core_page(struct scheduler_core *core, enum scheduler_lane id,
                         const struct scheduler_job *jobs, size_t count, bool is_done,
                         struct scheduler_now now)
{
    struct lane *lane = &core->lanes[id];
    size_t added = 0;

    /* Of a row that is known the feed has told as much, or tells it soon: the page may be older. */
    for (size_t i = 0; i < count; i++) {
        if (scheduler_timers_find(lane->timers, &jobs[i].id) == NULL) {
            (void)scheduler_timers_add(lane->timers, &jobs[i].id, jobs[i].wake, jobs[i].attempt,
                                       moment_of(core, id, jobs[i].wake, now));
            added++;
        }
    }
    lane->is_paging = false;
    lane->horizon = is_done || count == 0 ? HUGE_VAL : jobs[count - 1].wake;
    lane->is_stuck = !is_done && added == 0;
    lower_horizon(lane, lane->missed);
    lane->missed = HUGE_VAL;
    if (lane->limit < PAGE_LIMIT)
        lane->limit *= 2;
    bound(core, lane);
}

void scheduler_core_page_failed(struct scheduler_core *core, enum scheduler_lane id,
                                bool is_too_large)
{
    struct lane *lane = &core->lanes[id];

    lane->is_paging = false;
    if (is_too_large && lane->limit > 1)
        lane->limit /= 2;
}

/* ---- what wants attention ---- */

/* The earliest one, unless rows that are not known may come before it: a page of them is wanted
 * then, or would be if the last one had shown any. */
static struct timer *next_of(const struct lane *lane)
{
    struct timer *first = scheduler_timers_first(lane->timers);

    bool is_held = first != NULL && first->wake > lane->horizon && !lane->is_stuck;

    return is_held ? NULL : first;
}

size_t scheduler_core_take(struct scheduler_core *core, enum scheduler_lane id,
                           struct scheduler_now now, size_t max, struct scheduler_job *jobs)
{
    struct lane *lane = &core->lanes[id];
    size_t count = 0;

    while (count < max) {
        struct timer *timer = next_of(lane);
        if (timer == NULL || timer->at_us > clock_of(id, now))
            break;
        scheduler_timers_take(lane->timers, timer);
        timer->has_news = timer->is_gone = false;
        jobs[count++] = (struct scheduler_job){ timer->id, timer->wake, timer->attempt };
    }
    return count;
}

void scheduler_core_end(struct scheduler_core *core, enum scheduler_lane id,
                        const struct bb_id *job, uint64_t retry_us, struct scheduler_now now)
{
    struct lane *lane = &core->lanes[id];
    struct timer *timer = scheduler_timers_find(lane->timers, job);

    if (timer == NULL || timer->place != TIMER_OUT)
        return; /* of before a reset */
    lane->is_stuck = false;
    struct scheduler_job news = { timer->id, timer->news_wake, timer->news_attempt };
    bool is_another = timer->has_news && !timer->is_gone && !is_as(timer, &news);
    if (is_another) {
        timer->wake = news.wake;
        timer->attempt = news.attempt;
        timer->tries = 0;
        scheduler_timers_put(lane->timers, timer, moment_of(core, id, news.wake, now));
    } else if (retry_us > 0 && !(timer->has_news && timer->is_gone)) {
        timer->tries++;
        scheduler_timers_put(lane->timers, timer, clock_of(id, now) + retry_us);
    } else {
        scheduler_timers_remove(lane->timers, timer);
    }
    bound(core, lane);
}

void scheduler_core_moved(struct scheduler_core *core, enum scheduler_lane from,
                          enum scheduler_lane to, const struct scheduler_job *job,
                          struct scheduler_now now)
{
    struct timer *timer = scheduler_timers_find(core->lanes[from].timers, &job->id);
    bool is_known = timer == NULL || timer->place != TIMER_OUT || timer->has_news;

    scheduler_core_end(core, from, &job->id, 0, now);
    if (!is_known)
        scheduler_core_see(core, to, job, now);
}

uint32_t scheduler_core_tries(const struct scheduler_core *core, enum scheduler_lane id,
                              const struct bb_id *job)
{
    const struct timer *timer = scheduler_timers_find(core->lanes[id].timers, job);

    return timer == NULL ? 0 : timer->tries;
}

void scheduler_core_hurry(struct scheduler_core *core, enum scheduler_lane id,
                          struct scheduler_now now)
{
    scheduler_timers_hurry(core->lanes[id].timers, clock_of(id, now));
}

uint64_t scheduler_core_wait(const struct scheduler_core *core, enum scheduler_lane id,
                             struct scheduler_now now)
{
    const struct timer *timer = next_of(&core->lanes[id]);
    uint64_t clock = clock_of(id, now);

    if (timer == NULL)
        return UINT64_MAX;
    return timer->at_us <= clock ? 0 : timer->at_us - clock;
}

void scheduler_core_view(const struct scheduler_core *core, enum scheduler_lane id,
                         struct scheduler_now now, struct scheduler_lane_view *view)
{
    const struct lane *lane = &core->lanes[id];
    const struct timer *first = scheduler_timers_first(lane->timers);
    uint64_t clock = clock_of(id, now);

    *view = (struct scheduler_lane_view){
        .known = scheduler_timers_count(lane->timers),
        .out = scheduler_timers_count(lane->timers) - scheduler_timers_ready(lane->timers),
        .is_complete = lane->horizon == HUGE_VAL,
        .late_us = first != NULL && first->at_us < clock ? clock - first->at_us : 0,
    };
}
