#include <criterion/criterion.h>

#include "pace.h"

Test(pace, it_follows_what_calls_take)
{
    static struct pace pace;

    cr_assert_eq(worker_pace_of(&pace, 7), 0, "nothing is known");
    worker_pace_observe(&pace, 7, 0);
    cr_assert_eq(worker_pace_of(&pace, 7), 1, "known, and short");
    for (int i = 0; i < 100; i++)
        worker_pace_observe(&pace, 7, 400);
    cr_assert(worker_pace_of(&pace, 7) > 390 && worker_pace_of(&pace, 7) <= 400);
    worker_pace_observe(&pace, 7, 4000000);
    cr_assert_gt(worker_pace_of(&pace, 7), 100000, "one that takes long counts");
    for (int i = 0; i < 100; i++)
        worker_pace_observe(&pace, 7, 30);
    cr_assert_lt(worker_pace_of(&pace, 7), 40);
    worker_pace_observe(&pace, 7, UINT64_MAX);
    cr_assert_gt(worker_pace_of(&pace, 7), 1000000);
}

Test(pace, of_two_functions_in_one_place_the_later_one_has_it)
{
    static struct pace pace;

    worker_pace_observe(&pace, 3, 100);
    worker_pace_observe(&pace, 3 + PACE_PLACES, 5000);
    cr_assert_eq(worker_pace_of(&pace, 3), 0);
    cr_assert_eq(worker_pace_of(&pace, 3 + PACE_PLACES), 5000);
}

Test(pace, a_function_is_long_while_a_call_holds_a_slot_and_after_one_was_stopped)
{
    static struct pace pace;

    cr_assert_eq(worker_pace_class(&pace, 7), SPARE_UNKNOWN);
    worker_pace_observe(&pace, 7, 400);
    cr_assert_eq(worker_pace_class(&pace, 7), SPARE_SHORT);
    worker_pace_held(&pace, 7, SPARE_HELD_US);
    cr_assert_eq(worker_pace_class(&pace, 7), SPARE_LONG, "it goes on");
    worker_pace_observe(&pace, 7, 300000);
    cr_assert_eq(worker_pace_class(&pace, 7), SPARE_SHORT, "it ended, and most calls are short");
    worker_pace_held(&pace, 7, 5000000);
    cr_assert_eq(worker_pace_class(&pace, 7), SPARE_LONG, "it was stopped");
    worker_pace_observe(&pace, 7, 400);
    cr_assert_eq(worker_pace_class(&pace, 7), SPARE_UNKNOWN, "another call of it was short");
    worker_pace_held(&pace, 8, 30);
    cr_assert_eq(worker_pace_class(&pace, 8), SPARE_SHORT,
                 "its time was over when it began: the fault is not its own");
    cr_assert_eq(worker_pace_class(&pace, 7 + PACE_PLACES), SPARE_UNKNOWN, "another function");
}
