#include <criterion/criterion.h>

#include "timers.h"

static struct bb_id id_of(uint64_t number)
{
    struct bb_id id = { { 0 } };

    bb_put_be32(id.bytes, (uint32_t)number);
    return id;
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

Test(timers, come_in_order_of_their_moments_and_then_of_their_ids)
{
    struct timers *timers = scheduler_timers_new();
    static const unsigned order[] = { 7, 3, 9, 1, 5 };

    for (unsigned i = 0; i < BB_COUNT_OF(order); i++) {
        struct bb_id id = id_of(order[i]);
        (void)scheduler_timers_add(timers, &id, order[i], 0, order[i] / 2);
    }
    uint64_t last = 0;
    for (unsigned i = 0; i < BB_COUNT_OF(order); i++) {
        struct timer *first = scheduler_timers_first(timers);
        cr_assert_geq(first->at_us, last);
        last = first->at_us;
        scheduler_timers_remove(timers, first);
    }
    cr_assert_null(scheduler_timers_first(timers));
    cr_assert_eq(scheduler_timers_count(timers), 0);
    scheduler_timers_free(timers);
}

Test(timers, one_that_is_out_is_found_and_is_not_the_first)
{
    struct timers *timers = scheduler_timers_new();
    struct bb_id id = id_of(1);
    struct timer *timer = scheduler_timers_add(timers, &id, 1, 0, 1);

    scheduler_timers_take(timers, timer);
    cr_assert_null(scheduler_timers_first(timers));
    cr_assert_eq(scheduler_timers_find(timers, &id), timer);
    scheduler_timers_put(timers, timer, 2);
    cr_assert_eq(scheduler_timers_first(timers), timer);
    scheduler_timers_free(timers);
}

Test(timers, trim_keeps_those_with_the_lowest_wake)
{
    struct timers *timers = scheduler_timers_new();

    for (unsigned i = 0; i < 100; i++) {
        struct bb_id id = id_of(i);
        (void)scheduler_timers_add(timers, &id, 99 - i, 0,
                                   i); /* the earliest moment has the highest wake */
    }
    cr_assert_eq(scheduler_timers_trim(timers, 10), 10);
    cr_assert_eq(scheduler_timers_count(timers), 10);
    cr_assert_eq(scheduler_timers_first(timers)->wake, 9);
    scheduler_timers_free(timers);
}

enum {
    MODEL_IDS = 200
};

/* What a plain array would say. */
struct model {
    bool is_there, is_out;
    uint64_t at_us;
};

static void check(const struct timers *timers, const struct model *model)
{
    size_t ready = 0;
    uint64_t earliest = UINT64_MAX;

    for (unsigned i = 0; i < MODEL_IDS; i++) {
        struct bb_id id = id_of(i);
        const struct timer *timer = scheduler_timers_find(timers, &id);
        cr_assert_eq(timer != NULL, model[i].is_there, "id %u", i);
        if (!model[i].is_there || model[i].is_out)
            continue;
        ready++;
        earliest = model[i].at_us < earliest ? model[i].at_us : earliest;
    }
    cr_assert_eq(scheduler_timers_ready(timers), ready);
    cr_assert_eq(scheduler_timers_first(timers) == NULL ? UINT64_MAX
                                                        : scheduler_timers_first(timers)->at_us,
                 earliest);
}

static void step(struct timers *timers, struct model *model, uint64_t *seed)
{
    uint64_t number = next_random(seed) % MODEL_IDS;
    uint64_t at = next_random(seed) % 1000;
    struct bb_id id = id_of(number);
    struct timer *timer = scheduler_timers_find(timers, &id);

    if (timer == NULL) {
        (void)scheduler_timers_add(timers, &id, (double)at, 0, at);
        model[number] = (struct model){ .is_there = true, .at_us = at };
    } else if (at % 3 == 0) {
        scheduler_timers_remove(timers, timer);
        model[number] = (struct model){ .is_there = false };
    } else if (at % 3 == 1 && !model[number].is_out) {
        scheduler_timers_take(timers, timer);
        model[number].is_out = true;
    } else {
        scheduler_timers_put(timers, timer, at);
        model[number] = (struct model){ .is_there = true, .at_us = at };
    }
}

Test(timers, agree_with_a_model_over_random_steps)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct timers *timers = scheduler_timers_new();
        struct model model[MODEL_IDS] = { { false, false, 0 } };
        uint64_t state = seed;
        for (unsigned i = 0; i < 2000; i++) {
            step(timers, model, &state);
            if (i % 50 == 0)
                check(timers, model);
        }
        scheduler_timers_hurry(timers, 10);
        for (unsigned i = 0; i < MODEL_IDS; i++)
            model[i].at_us = model[i].at_us < 10 ? model[i].at_us : 10;
        check(timers, model);
        scheduler_timers_free(timers);
    }
}
