/* Which workers may get a call: choice.h. */
#include <criterion/criterion.h>

#include "choice.h"

#define NONE BB_WORKERS_NONE

/* Three that are there, the first one the least busy. */
static struct workers_choice three(void)
{
    struct workers_choice choice = { .count = 3 };

    for (size_t i = 0; i < 3; i++) {
        choice.rows[i].outstanding = 10 * (i + 1);
        (void)workers_choice_hear(&choice, i, WORKERS_WHOLE);
    }
    return choice;
}

Test(choice, is_the_least_busy_one_that_is_there)
{
    struct workers_choice choice = three();

    cr_assert_eq(workers_choice_least_busy(&choice, NONE), 0);
    cr_assert_eq(workers_choice_least_busy(&choice, 0), 1);
    choice.rows[2].outstanding = 0;
    cr_assert_eq(workers_choice_least_busy(&choice, NONE), 2);
    (void)workers_choice_hear(&choice, 2, WORKERS_GONE);
    cr_assert_eq(workers_choice_least_busy(&choice, NONE), 0);
    (void)workers_choice_hear(&choice, 0, WORKERS_HANGS);
    cr_assert_eq(workers_choice_least_busy(&choice, 1), 1, "there is no other one");
    (void)workers_choice_hear(&choice, 1, WORKERS_GONE);
    cr_assert_eq(workers_choice_least_busy(&choice, NONE), NONE);
    cr_assert_not(workers_choice_any_up(&choice));
}

Test(choice, leaves_one_that_is_cut_while_another_one_is_whole)
{
    struct workers_choice choice = three();

    (void)workers_choice_hear(&choice, 0, WORKERS_CUT);
    cr_assert_not(workers_choice_may_call(&choice, 0));
    cr_assert_eq(workers_choice_least_busy(&choice, NONE), 1);
    (void)workers_choice_hear(&choice, 1, WORKERS_CUT);
    cr_assert_eq(workers_choice_least_busy(&choice, 2), 2, "rather the same one again");
    (void)workers_choice_hear(&choice, 2, WORKERS_CUT);
    cr_assert_eq(workers_choice_least_busy(&choice, NONE), 0, "the sequencer is gone");
    cr_assert(workers_choice_may_call(&choice, 0));
    (void)workers_choice_hear(&choice, 2, WORKERS_WHOLE);
    cr_assert_eq(workers_choice_least_busy(&choice, NONE), 2);
    (void)workers_choice_hear(&choice, 2, WORKERS_GONE);
    cr_assert_eq(workers_choice_least_busy(&choice, NONE), 0, "a dead one is not whole");
}

Test(choice, says_that_a_worker_is_useless_when_it_is_cut_twice_in_a_row)
{
    struct workers_choice choice = three();

    cr_assert_not(workers_choice_hear(&choice, 0, WORKERS_CUT));
    cr_assert_not(workers_choice_hear(&choice, 0, WORKERS_WHOLE));
    cr_assert_not(workers_choice_hear(&choice, 0, WORKERS_CUT), "not in a row");
    cr_assert(workers_choice_hear(&choice, 0, WORKERS_CUT));
    cr_assert(workers_choice_hear(&choice, 0, WORKERS_CUT));
}

Test(choice, says_nothing_of_the_kind_when_the_sequencer_is_gone)
{
    struct workers_choice choice = three();

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 3; i++)
            cr_assert_not(workers_choice_hear(&choice, i, WORKERS_CUT), "%d", round);
    }
    cr_assert_not(workers_choice_hear(&choice, 0, WORKERS_WHOLE), "the next one is there");
    cr_assert_not(workers_choice_hear(&choice, 1, WORKERS_CUT), "it is the last one to hear it");
}

Test(choice, says_that_one_that_hangs_is_useless_if_another_one_is_there)
{
    struct workers_choice choice = three();

    cr_assert(workers_choice_hear(&choice, 0, WORKERS_HANGS));
    cr_assert_not(workers_choice_hear(&choice, 1, WORKERS_GONE), "its calls have ended");
    (void)workers_choice_hear(&choice, 2, WORKERS_GONE);
    cr_assert_not(workers_choice_hear(&choice, 0, WORKERS_HANGS));
}
