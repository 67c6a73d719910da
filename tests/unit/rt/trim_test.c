/* Memory goes back to the system while there is little to do. */
#include <criterion/criterion.h>

#include "rt.h"

#define LOOK_US 10000000u

/* Looks that follow each other, in each of which the process used so much; how many were due. */
static unsigned due_of(struct rt_trim *trim, unsigned looks, uint64_t used_us)
{
    unsigned due = 0;

    for (unsigned i = 0; i < looks; i++)
        due += rt_trim_is_due(trim, trim->at_us + LOOK_US, trim->cpu_us + used_us);
    return due;
}

Test(trim, a_process_that_does_little_gives_memory_back_each_time)
{
    struct rt_trim trim = { .at_us = 1 };

    cr_assert_eq(due_of(&trim, 5, 0), 5);
    cr_assert_eq(due_of(&trim, 5, LOOK_US / 100), 5);
}

Test(trim, a_busy_process_is_not_stopped_for_it)
{
    struct rt_trim trim = { .at_us = 1 };

    cr_assert_eq(due_of(&trim, 60, LOOK_US / 10), 0);
    cr_assert_eq(due_of(&trim, 1, LOOK_US / 100), 1); /* at the first look that finds it idle */
}

Test(trim, a_process_that_is_always_busy_gives_memory_back_each_ten_minutes)
{
    struct rt_trim trim = { .at_us = 1 };

    cr_assert_eq(due_of(&trim, 60, 2 * LOOK_US), 0); /* two cores */
    cr_assert_eq(due_of(&trim, 1, 2 * LOOK_US), 1);
    cr_assert_eq(due_of(&trim, 60, 2 * LOOK_US), 0);
    cr_assert_eq(due_of(&trim, 1, 2 * LOOK_US), 1);
}
