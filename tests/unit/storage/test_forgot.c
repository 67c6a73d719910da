/* When a node holds what its leader remembers of it against its own log. */
#include <criterion/criterion.h>

#include "storage.h"

static enum forgot_verdict judge(struct forgot *forgot, uint64_t term, uint64_t own_term,
                                 uint64_t acknowledged)
{
    return storage_forgot_judge(forgot, &(struct forgot_facts){ .term = term,
                                                                .acknowledged = acknowledged,
                                                                .own_term = own_term,
                                                                .last_index = 100 });
}

Test(forgot, b22_third_answer_in_a_row_is_believed)
{
    struct forgot forgot = { 0 };
    cr_assert_eq(judge(&forgot, 7, 7, 101), FORGOT_MAYBE);
    cr_assert_eq(judge(&forgot, 7, 7, 101), FORGOT_MAYBE);
    cr_assert_eq(judge(&forgot, 7, 7, 101), FORGOT_SURELY);
}

Test(forgot, who_has_all_forgot_nothing)
{
    struct forgot forgot = { 0 };
    cr_assert_eq(judge(&forgot, 7, 7, 100), FORGOT_NOTHING);
    cr_assert_eq(judge(&forgot, 7, 7, 0), FORGOT_NOTHING);
    cr_assert_eq(judge(&forgot, 7, 7, 101), FORGOT_MAYBE);
    cr_assert_eq(judge(&forgot, 7, 7, 100), FORGOT_NOTHING, "it was brought forward meanwhile");
}

Test(forgot, answers_of_another_term_do_not_count)
{
    struct forgot forgot = { 0 };
    cr_assert_eq(judge(&forgot, 0, 0, 101), FORGOT_NOT_TOLD, "of a version that does not say");
    cr_assert_eq(judge(&forgot, 6, 7, 101), FORGOT_NOT_TOLD, "it leads no more");
    cr_assert_eq(judge(&forgot, 7, 7, 101), FORGOT_MAYBE);
    cr_assert_eq(judge(&forgot, 7, 7, 101), FORGOT_MAYBE);
    cr_assert_eq(judge(&forgot, 8, 8, 101), FORGOT_MAYBE, "another leads, and counts anew");
    cr_assert_eq(judge(&forgot, 8, 8, 101), FORGOT_MAYBE);
    cr_assert_eq(judge(&forgot, 7, 8, 101), FORGOT_NOT_TOLD);
    cr_assert_eq(judge(&forgot, 8, 8, 101), FORGOT_MAYBE, "not in a row");
    cr_assert_eq(judge(&forgot, 8, 8, 101), FORGOT_MAYBE);
    cr_assert_eq(judge(&forgot, 8, 8, 101), FORGOT_SURELY);
}
