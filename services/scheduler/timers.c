#include "timers.h"

#include <stdlib.h>

struct timers {
    struct timer **heap;
    size_t ready, heap_capacity;
    struct timer **table; /* open addressing; a power of two */
    size_t count, table_size;
};

enum {
    TABLE_MIN = 64
};

/* ---- by id ---- */

static size_t hash(const struct timers *timers, const struct bb_id *id)
{
    return (size_t)bb_hash64(bb_slice(id->bytes, sizeof id->bytes), 0) & (timers->table_size - 1);
}

static size_t slot_of(const struct timers *timers, const struct bb_id *id)
{
    size_t at = hash(timers, id);

    while (timers->table[at] != NULL && memcmp(&timers->table[at]->id, id, sizeof *id) != 0)
        at = (at + 1) & (timers->table_size - 1);
    return at;
}

static void grow_table(struct timers *timers)
{
    struct timer **old = timers->table;
    size_t size = timers->table_size;

    timers->table_size = size * 2;
    timers->table = bb_alloc_zero(timers->table_size, sizeof(*old));
    for (size_t i = 0; i < size; i++) {
        if (old[i] != NULL)
            timers->table[slot_of(timers, &old[i]->id)] = old[i];
    }
    bb_free(old);
}

/* Moves those behind a removed one to where they are found. */
static void forget(struct timers *timers, const struct timer *timer)
{
    size_t mask = timers->table_size - 1;
    size_t hole = slot_of(timers, &timer->id);

    for (size_t at = (hole + 1) & mask; timers->table[at] != NULL; at = (at + 1) & mask) {
        size_t home = hash(timers, &timers->table[at]->id);
        bool may_move = ((at - home) & mask) >= ((at - hole) & mask);
        if (may_move) {
            timers->table[hole] = timers->table[at];
            hole = at;
        }
    }
    timers->table[hole] = NULL;
    timers->count--;
}

/* ---- by moment ---- */

/* Those of one moment in the order of their ids: the same rows, the same order. */
static bool is_before(const struct timer *a, const struct timer *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : memcmp(&a->id, &b->id, sizeof a->id) < 0;
}

static void set(struct timers *timers, size_t place, struct timer *timer)
{
    timers->heap[place] = timer;
    timer->place = place;
}

static void rise(struct timers *timers, struct timer *timer)
{
    size_t place = timer->place;

    while (place > 0 && is_before(timer, timers->heap[(place - 1) / 2])) {
        set(timers, place, timers->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    set(timers, place, timer);
}

static void sink(struct timers *timers, struct timer *timer)
{
    size_t place = timer->place;

    for (size_t child = 2 * place + 1; child < timers->ready; child = 2 * place + 1) {
        if (child + 1 < timers->ready && is_before(timers->heap[child + 1], timers->heap[child]))
            child++;
        if (!is_before(timers->heap[child], timer))
            break;
        set(timers, place, timers->heap[child]);
        place = child;
    }
    set(timers, place, timer);
}

void scheduler_timers_put(struct timers *timers, struct timer *timer, uint64_t at_us)
{
    timer->at_us = at_us;
    if (timer->place == TIMER_OUT) {
        if (timers->ready == timers->heap_capacity) {
            timers->heap_capacity = timers->heap_capacity == 0 ? 64 : timers->heap_capacity * 2;
            timers->heap = bb_realloc(timers->heap, timers->heap_capacity * sizeof(timer));
        }
        set(timers, timers->ready++, timer);
    }
    rise(timers, timer);
    sink(timers, timer);
}

void scheduler_timers_take(struct timers *timers, struct timer *timer)
{
    size_t place = timer->place;

    bb_assert(place < timers->ready && timers->heap[place] == timer);
    timer->place = TIMER_OUT;
    struct timer *last = timers->heap[--timers->ready];
    if (last == timer)
        return;
    set(timers, place, last);
    rise(timers, last);
    sink(timers, last);
}

/* ---- the set ---- */

struct timers *scheduler_timers_new(void)
{
    struct timers *timers = bb_alloc_zero(1, sizeof *timers);

    timers->table_size = TABLE_MIN;
    timers->table = bb_alloc_zero(TABLE_MIN, sizeof(struct timer *));
    return timers;
}

void scheduler_timers_clear(struct timers *timers)
{
    for (size_t i = 0; i < timers->table_size; i++) {
        bb_free(timers->table[i]);
        timers->table[i] = NULL;
    }
    timers->count = timers->ready = 0;
}

void scheduler_timers_free(struct timers *timers)
{
    if (timers == NULL)
        return;
    scheduler_timers_clear(timers);
    bb_free(timers->table);
    bb_free(timers->heap);
    bb_free(timers);
}

size_t scheduler_timers_count(const struct timers *timers)
{
    return timers->count;
}

size_t scheduler_timers_ready(const struct timers *timers)
{
    return timers->ready;
}

struct timer *scheduler_timers_find(const struct timers *timers, const struct bb_id *id)
{
    return timers->table[slot_of(timers, id)];
}

struct timer *scheduler_timers_first(const struct timers *timers)
{
    return timers->ready == 0 ? NULL : timers->heap[0];
}

struct timer *scheduler_timers_add(struct timers *timers, const struct bb_id *id, double wake,
                                   int64_t attempt, uint64_t at_us)
{
    struct timer *timer = bb_alloc_zero(1, sizeof *timer);

    if ((timers->count + 1) * 2 > timers->table_size)
        grow_table(timers);
    *timer = (struct timer){ .id = *id, .wake = wake, .attempt = attempt, .place = TIMER_OUT };
    size_t slot = slot_of(timers, id);
    bb_assert(timers->table[slot] == NULL);
    timers->table[slot] = timer;
    timers->count++;
    scheduler_timers_put(timers, timer, at_us);
    return timer;
}

void scheduler_timers_remove(struct timers *timers, struct timer *timer)
{
    if (timer->place != TIMER_OUT)
        scheduler_timers_take(timers, timer);
    forget(timers, timer);
    bb_free(timer);
}

void scheduler_timers_hurry(struct timers *timers, uint64_t at_us)
{
    for (size_t i = 0; i < timers->ready; i++) {
        if (timers->heap[i]->at_us > at_us)
            timers->heap[i]->at_us = at_us;
    }
    for (size_t i = timers->ready / 2; i-- > 0;)
        sink(timers, timers->heap[i]);
}

static int compare_wakes(const void *a, const void *b)
{
    const struct timer *left = *(struct timer *const *)a;
    const struct timer *right = *(struct timer *const *)b;

    return left->wake != right->wake ? (left->wake < right->wake ? -1 : 1)
                                     : memcmp(&left->id, &right->id, sizeof left->id);
}

double scheduler_timers_trim(struct timers *timers, size_t keep)
{
    size_t count = timers->ready;

    bb_assert(keep < count);
    struct timer **all = bb_alloc_zero(count, sizeof(*all));
    memcpy(all, timers->heap, count * sizeof(*all));
    qsort(all, count, sizeof(*all), compare_wakes);
    double lowest = all[keep]->wake;
    for (size_t i = keep; i < count; i++)
        scheduler_timers_remove(timers, all[i]);
    bb_free(all);
    return lowest;
}
