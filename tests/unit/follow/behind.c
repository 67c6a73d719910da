/* Storage nodes behind what was seen: who lags, and when the history is another one. */
#include "behind.h"

#include <criterion/criterion.h>

#define NOW    50000000u
#define CURSOR 1000u

static enum behind_verdict say(struct behind *behind, size_t node, uint64_t last_tx, uint64_t at_us)
{
    return follow_behind_say(behind, node, last_tx, CURSOR, NOW + at_us);
}

Test(behind, a_node_that_lags_is_passed_over_however_long)
{
    struct behind behind = { .count = 3 };

    cr_expect_eq(say(&behind, 0, CURSOR, 0), BEHIND_NOT);
    cr_expect_eq(say(&behind, 1, CURSOR - 1, 0), BEHIND_LAGS);
    cr_expect_eq(say(&behind, 1, CURSOR - 1, 100 * BEHIND_WAIT_US), BEHIND_LAGS, "one of three");
    cr_expect_eq(say(&behind, 1, CURSOR + 5, 101 * BEHIND_WAIT_US), BEHIND_NOT);
}

Test(behind, a_majority_that_stays_behind_is_another_history)
{
    struct behind behind = { .count = 3 };

    cr_expect_eq(say(&behind, 1, 10, 0), BEHIND_LAGS);
    cr_expect_eq(say(&behind, 2, 10, 1), BEHIND_LAGS);
    cr_expect_eq(say(&behind, 1, 20, BEHIND_WAIT_US - 1), BEHIND_LAGS, "not long enough");
    cr_expect_eq(say(&behind, 2, 20, BEHIND_WAIT_US), BEHIND_HISTORY);
    cr_expect_eq(say(&behind, 2, 20, BEHIND_WAIT_US + 1), BEHIND_LAGS, "all begins anew");
}

Test(behind, one_that_is_not_behind_clears_all)
{
    struct behind behind = { .count = 3 };

    cr_expect_eq(say(&behind, 1, 10, 0), BEHIND_LAGS);
    cr_expect_eq(say(&behind, 2, 10, 1), BEHIND_LAGS);
    cr_expect_eq(say(&behind, 0, CURSOR, BEHIND_WAIT_US - 1), BEHIND_NOT);
    cr_expect_eq(say(&behind, 1, 10, 2 * BEHIND_WAIT_US), BEHIND_LAGS);
    cr_expect_eq(say(&behind, 2, 10, 2 * BEHIND_WAIT_US + 1), BEHIND_LAGS);
}

Test(behind, who_does_not_answer_says_nothing)
{
    struct behind behind = { .count = 3 };

    cr_expect_eq(say(&behind, 1, 10, 0), BEHIND_LAGS);
    follow_behind_leave(&behind, 1);
    cr_expect_eq(say(&behind, 2, 10, BEHIND_WAIT_US), BEHIND_LAGS);
    cr_expect_eq(say(&behind, 2, 10, 3 * BEHIND_WAIT_US), BEHIND_LAGS, "it is alone");
}

Test(behind, a_single_node_is_believed_at_once)
{
    struct behind behind = { .count = 1 };

    cr_expect_eq(say(&behind, 0, CURSOR - 1, 0), BEHIND_HISTORY);
    cr_expect_eq(say(&behind, 0, CURSOR, 0), BEHIND_NOT);
}
