#include <criterion/criterion.h>

#include "outcome.h"

#define DAY  86400000ull
#define KEPT (7 * DAY)
#define NOW  (20000 * DAY)

static enum outcome_key_age age(uint64_t key_ms)
{
    return worker_outcome_key_age(key_ms, NOW * 1000, NOW * 1000, KEPT);
}

Test(outcome, a_key_is_refused_when_its_outcome_may_be_gone)
{
    cr_assert_eq(age(0), OUTCOME_KEY_USABLE, "it does not say when it was made");
    cr_assert_eq(age(NOW), OUTCOME_KEY_USABLE);
    cr_assert_eq(age(NOW - KEPT), OUTCOME_KEY_USABLE);
    cr_assert_eq(age(NOW - KEPT - 1), OUTCOME_KEY_OLD);
    cr_assert_eq(age(NOW + DAY / 4), OUTCOME_KEY_USABLE, "a client's clock may be ahead a little");
    cr_assert_eq(age(NOW + DAY), OUTCOME_KEY_EARLY);
}

Test(outcome, a_database_where_nobody_wrote_for_long_takes_new_keys)
{
    cr_assert_eq(worker_outcome_key_age(NOW, (NOW - 30 * DAY) * 1000, NOW * 1000, KEPT),
                 OUTCOME_KEY_USABLE);
    cr_assert_eq(worker_outcome_key_age(NOW, 0, NOW * 1000, KEPT), OUTCOME_KEY_USABLE);
}

/* Whatever the clocks say: no key that is still usable has lost its row. */
Test(outcome, what_a_usable_key_could_have_is_still_there)
{
    for (uint64_t made = NOW - 20 * DAY; made < NOW + DAY; made += DAY / 24) {
        for (uint64_t ahead = 0; ahead < 20 * DAY; ahead += DAY / 24) {
            /* It was taken at `made - ahead`, when a client's clock showed `made`. */
            uint64_t taken = made - ahead;
            bool was_taken =
                taken <= NOW && worker_outcome_key_age(made, taken * 1000, taken * 1000, KEPT) ==
                                    OUTCOME_KEY_USABLE;
            bool is_removed = taken < worker_outcome_remove_before_ms(NOW * 1000, KEPT);
            cr_assert(!was_taken || !is_removed || age(made) == OUTCOME_KEY_OLD,
                      "made %llu, ahead %llu", (unsigned long long)made, (unsigned long long)ahead);
        }
    }
    cr_assert_eq(worker_outcome_remove_before_ms(5, KEPT), 0);
}
