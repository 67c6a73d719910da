/*
 * The jobs of one lane that the scheduler knows: a heap by the moment at which each wants
 * attention, and a table by id. An entry that somebody works on is out of the heap and stays in the
 * table.
 *
 * Ownership: entries are the set's; a pointer is valid until the entry is removed. Pure.
 */
#ifndef SCHEDULER_TIMERS_H
#define SCHEDULER_TIMERS_H

#include "bb/value.h"

#define TIMER_OUT SIZE_MAX

struct timer {
    struct bb_id id;
    double wake;     /* as the row says, in milliseconds; what the index is ordered by */
    int64_t attempt; /* as the row says */
    uint64_t at_us;  /* when to look at it, by the lane's clock */
    uint32_t tries;  /* that failed for reasons that pass */
    size_t place;    /* in the heap; TIMER_OUT: somebody works on it */
    /* While it is out: what the row has become. */
    bool has_news, is_gone;
    double news_wake;
    int64_t news_attempt;
};

struct timers;
struct timers *scheduler_timers_new(void);
void scheduler_timers_free(struct timers *timers); /* accepts NULL */
void scheduler_timers_clear(struct timers *timers);

size_t scheduler_timers_count(const struct timers *timers); /* all of them */
size_t scheduler_timers_ready(const struct timers *timers); /* those in the heap */
struct timer *scheduler_timers_find(const struct timers *timers, const struct bb_id *id);
/* A new one, in the heap; there is none with this id yet. */
struct timer *scheduler_timers_add(struct timers *timers, const struct bb_id *id, double wake,
                                   int64_t attempt, uint64_t at_us);
/* Into the heap, or to another place in it. */
void scheduler_timers_put(struct timers *timers, struct timer *timer, uint64_t at_us);
/* The earliest one, or NULL. */
struct timer *scheduler_timers_first(const struct timers *timers);
/* Out of the heap. */
void scheduler_timers_take(struct timers *timers, struct timer *timer);
void scheduler_timers_remove(struct timers *timers, struct timer *timer);
/* None of the heap waits for longer than until `at_us`. */
void scheduler_timers_hurry(struct timers *timers, uint64_t at_us);
/* Removes those of the heap that lie behind the `keep` with the lowest `wake`; the lowest wake that
 * was removed. */
double scheduler_timers_trim(struct timers *timers, size_t keep);

#endif
