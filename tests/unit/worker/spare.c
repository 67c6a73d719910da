#include "spare.h"

#include <criterion/criterion.h>

static struct spare_view view(size_t slots, size_t held, size_t spares, size_t used)
{
    return (
        struct spare_view){ .slots = slots, .held = held, .spares = spares, .spares_used = used };
}

static bool may_take(size_t slots, size_t held, size_t spares, size_t used, enum spare_class call)
{
    struct spare_view now = view(slots, held, spares, used);
    return worker_spare_may_take(&now, call);
}

static size_t wanted(size_t slots, size_t held, size_t spares)
{
    struct spare_view now = view(slots, held, spares, 0);
    return worker_spare_wanted(&now);
}

Test(spare, none_is_used_while_no_slot_is_held)
{
    for (size_t used = 0; used < 3; used++) {
        cr_assert_not(may_take(2, 0, 2, used, SPARE_SHORT));
        cr_assert_not(may_take(2, 0, 2, used, SPARE_UNKNOWN));
    }
}

Test(spare, a_function_that_takes_long_gets_none)
{
    for (size_t held = 0; held < 5; held++) {
        cr_assert_not(may_take(2, held, 2, 0, SPARE_LONG));
    }
}

Test(spare, the_last_one_is_for_functions_that_are_known_to_be_short)
{
    cr_assert(may_take(2, 2, 2, 0, SPARE_UNKNOWN), "new code is not shut out");
    cr_assert_not(may_take(2, 2, 2, 1, SPARE_UNKNOWN));
    cr_assert(may_take(2, 3, 2, 1, SPARE_SHORT));
    cr_assert_not(may_take(2, 4, 2, 2, SPARE_SHORT), "all have a call");
    cr_assert_not(may_take(2, 2, 1, 0, SPARE_UNKNOWN), "there is but one");
    cr_assert(may_take(2, 2, 1, 0, SPARE_SHORT));
    cr_assert_not(may_take(2, 2, 0, 0, SPARE_SHORT), "there is none");
}

Test(spare, they_are_used_while_slots_that_were_killed_start_again)
{
    struct spare_view now = { .slots = 2, .spares = 2, .away = 2 };
    cr_assert(worker_spare_may_take(&now, SPARE_SHORT));
    cr_assert(worker_spare_may_take(&now, SPARE_UNKNOWN));
    cr_assert_not(worker_spare_may_take(&now, SPARE_LONG));
    cr_assert_eq(worker_spare_wanted(&now), 0, "none is started when all start");
    now.held = now.away = 1;
    cr_assert_eq(worker_spare_wanted(&now), 2);
}

Test(spare, functions_that_take_long_fill_half_of_the_room)
{
    cr_assert(worker_spare_has_room(9, 20, SPARE_LONG));
    cr_assert_not(worker_spare_has_room(10, 20, SPARE_LONG));
    cr_assert(worker_spare_has_room(19, 20, SPARE_UNKNOWN));
    cr_assert(worker_spare_has_room(19, 20, SPARE_SHORT));
    cr_assert_not(worker_spare_has_room(20, 20, SPARE_SHORT));
}

Test(spare, two_places_that_are_not_held_are_kept)
{
    cr_assert_eq(wanted(2, 0, 2), 0);
    cr_assert_eq(wanted(2, 1, 2), 1);
    cr_assert_eq(wanted(2, 2, 2), 2);
    cr_assert_eq(wanted(2, 3, 2), 2, "not more than there may be");
    cr_assert_eq(wanted(4, 2, 2), 0, "the other slots go on");
    cr_assert_eq(wanted(4, 3, 2), 1);
    cr_assert_eq(wanted(1, 0, 2), 0);
    cr_assert_eq(wanted(1, 1, 4), 2);
    cr_assert_eq(wanted(2, 2, 0), 0);
}
