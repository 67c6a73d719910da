#include <criterion/criterion.h>

#include "lane.h"

#define SECOND UINT64_C(1000000)

static struct bb_slice s(const char *text)
{
    return bb_slice_str(text);
}

struct waiter {
    struct bb_list link;
};

static void wait_in(struct lanes *lanes, unsigned lane, struct waiter *waiter)
{
    bb_list_push_back(worker_lane_queue(lanes, lane), &waiter->link);
}

Test(lane, nothing_is_hot_before_somebody_lost)
{
    struct lanes *lanes = worker_lanes_new();
    uint64_t keys[2] = { 7, 9 };
    cr_assert_not(worker_lanes_any(lanes, 100));
    cr_assert_eq(worker_lanes_meet(lanes, s("a"), s("z"), 100), 0);
    cr_assert_eq(worker_lanes_guess(lanes, keys, 100), 0);
    worker_lanes_free(lanes);
}

Test(lane, a_range_that_lost_is_hot_for_a_second)
{
    struct lanes *lanes = worker_lanes_new();
    unsigned lane = worker_lanes_heat(lanes, s("k"), s("m"), 0, 100);
    cr_assert_neq(lane, 0);
    cr_assert_eq(worker_lanes_meet(lanes, s("k"), BB_SLICE_EMPTY, 200), lane, "a get");
    cr_assert_eq(worker_lanes_meet(lanes, s("l"), s("z"), 200), lane, "a range");
    cr_assert_eq(worker_lanes_meet(lanes, s("m"), BB_SLICE_EMPTY, 200), 0, "its end is not in it");
    cr_assert_eq(worker_lanes_meet(lanes, s("a"), s("k"), 200), 0);
    cr_assert_eq(worker_lanes_meet(lanes, s("k"), BB_SLICE_EMPTY, 100 + SECOND), 0);
    worker_lanes_tick(lanes, 100 + SECOND);
    cr_assert_eq(worker_lanes_root(lanes, lane), 0, "the lane is over");
    worker_lanes_free(lanes);
}

Test(lane, a_hot_key_is_met_by_itself_and_by_ranges_around_it)
{
    static const uint8_t next[] = "table/key-of-some-length"; /* with the zero behind it */
    struct bb_slice key = bb_slice(next, sizeof next - 1), end = bb_slice(next, sizeof next);
    struct lanes *lanes = worker_lanes_new();
    unsigned lane = worker_lanes_heat(lanes, key, end, 0, 100);

    cr_assert_eq(worker_lanes_meet(lanes, key, BB_SLICE_EMPTY, 200), lane, "a get");
    cr_assert_eq(worker_lanes_meet(lanes, key, end, 200), lane, "the same as a range");
    cr_assert_eq(worker_lanes_meet(lanes, s("table/"), s("table0"), 200), lane, "all of the table");
    cr_assert_eq(worker_lanes_meet(lanes, s("other/key-of-some-length"), BB_SLICE_EMPTY, 200), 0,
                 "one with the same end");
    cr_assert_eq(worker_lanes_meet(lanes, s("key-of-some-length"), BB_SLICE_EMPTY, 200), 0);
    cr_assert_eq(worker_lanes_meet(lanes, s("length"), BB_SLICE_EMPTY, 200), 0, "a short one");
    cr_assert_eq(worker_lanes_meet(lanes, s("table/"), key, 200), 0, "what ends before it");
    cr_assert_eq(worker_lanes_heat(lanes, s("table/"), s("table0"), 0, 300), lane,
                 "a range that holds it");
    cr_assert_eq(worker_lanes_meet(lanes, s("table/other"), BB_SLICE_EMPTY, 400), lane);
    worker_lanes_free(lanes);
}

Test(lane, what_calls_wait_for_stays_hot_when_it_is_read)
{
    struct lanes *lanes = worker_lanes_new();
    struct waiter waiter;
    unsigned lane = worker_lanes_heat(lanes, s("k"), s("m"), 0, 0);
    cr_assert_eq(worker_lanes_touch(lanes, s("k"), s("l"), SECOND / 2), lane);
    cr_assert_eq(worker_lanes_meet(lanes, s("k"), s("l"), SECOND), 0, "nobody waited");
    lane = worker_lanes_heat(lanes, s("k"), s("m"), 0, 0);
    wait_in(lanes, lane, &waiter);
    cr_assert_eq(worker_lanes_touch(lanes, s("k"), s("l"), SECOND / 2), lane);
    cr_assert_eq(worker_lanes_meet(lanes, s("k"), s("l"), SECOND), lane);
    worker_lanes_tick(lanes, 9 * SECOND);
    cr_assert_eq(worker_lanes_root(lanes, lane), lane, "somebody waits in it");
    worker_lanes_free(lanes);
}

/* Says what is to be said; the sequencer grants at once what is asked for. */
static void have_hold(struct lanes *lanes, unsigned lane, uint64_t tx, uint64_t now)
{
    struct lane_talk talk;
    cr_assert(worker_lane_talk(lanes, lane, now, &talk));
    cr_assert_neq(talk.reserve, 0);
    worker_lanes_heard(lanes, talk.reserve, LANE_HOLD_HAS, false, tx, now);
}

Test(lane, a_lane_runs_under_a_reservation)
{
    struct lanes *lanes = worker_lanes_new();
    struct waiter waiter;
    struct lane_talk talk;
    struct bb_slice low, high;
    unsigned lane = worker_lanes_heat(lanes, s("k"), s("m"), 0, 0);
    cr_assert_not(worker_lane_talk(lanes, lane, 0, &talk), "nobody waits");
    wait_in(lanes, lane, &waiter);
    cr_assert(worker_lanes_have_talk(lanes, 0));
    cr_assert_not(worker_lane_may_run(lanes, lane, 0), "it is not reserved");
    cr_assert(worker_lane_talk(lanes, lane, 0, &talk));
    cr_assert_neq(talk.reserve, 0);
    cr_assert(worker_lane_range(lanes, lane, 0, &low, &high));
    cr_assert(bb_slice_equal(low, s("k")) && bb_slice_equal(high, s("m")));
    cr_assert_not(worker_lane_range(lanes, lane, 1, &low, &high));
    cr_assert_not(worker_lane_talk(lanes, lane, 0, &talk), "once");
    uint64_t number = 1;
    worker_lanes_heard(lanes, number, LANE_HOLD_ASKED, false, 0, 10);
    cr_assert_not(worker_lane_may_run(lanes, lane, 20), "it is queued");
    worker_lanes_heard(lanes, number, LANE_HOLD_HAS, false, 50, 10);
    cr_assert(worker_lane_may_run(lanes, lane, 20));
    cr_assert_eq(worker_lane_least(lanes, lane), 50);
    cr_assert_eq(worker_lane_number(lanes, lane), number);
    cr_assert(worker_lane_talk(lanes, lane, 30000, &talk));
    cr_assert_eq(talk.keep, number, "it is renewed");
    worker_lane_enter(lanes, lane);
    worker_lanes_heard(lanes, number, LANE_HOLD_HAS, true, 50, 30000);
    cr_assert_not(worker_lane_talk(lanes, lane, 30001, &talk), "others wait, but one runs");
    worker_lane_leave(lanes, lane, 60);
    cr_assert(worker_lane_talk(lanes, lane, 30002, &talk));
    cr_assert_eq(talk.end, number, "its turn is over");
    cr_assert_eq(talk.reserve, number + 1, "somebody waits still: to the end of the line");
    cr_assert_not(worker_lane_may_run(lanes, lane, 30003));
    worker_lanes_heard(lanes, number, LANE_HOLD_HAS, false, 0, 30004);
    cr_assert_not(worker_lane_may_run(lanes, lane, 30005), "an old answer");
    worker_lanes_free(lanes);
}

Test(lane, a_reservation_that_is_lost_is_asked_for_again)
{
    struct lanes *lanes = worker_lanes_new();
    struct waiter waiter;
    struct lane_talk talk;
    unsigned lane = worker_lanes_heat(lanes, s("k"), s("m"), 0, 0);
    wait_in(lanes, lane, &waiter);
    have_hold(lanes, lane, 5, 0);
    worker_lanes_heard(lanes, 1, LANE_HOLD_NONE, false, 0, 10);
    cr_assert(worker_lane_talk(lanes, lane, 10, &talk));
    cr_assert_eq(talk.reserve, 2);
    cr_assert_not(worker_lane_may_run(lanes, lane, 10));
    cr_assert(worker_lane_may_run(lanes, lane, 2 * SECOND), "nobody answers: order is not needed");
    worker_lanes_forget(lanes);
    cr_assert(worker_lane_talk(lanes, lane, 2 * SECOND, &talk));
    cr_assert_eq(talk.reserve, 3, "the epoch is over");
    worker_lanes_free(lanes);
}

Test(lane, those_of_one_lane_run_one_row_at_a_time)
{
    struct lanes *lanes = worker_lanes_new();
    struct waiter waiter;
    unsigned lane = worker_lanes_heat(lanes, s("k"), s("m"), 0, 0);
    cr_assert_not(worker_lane_may_run(lanes, lane, 0), "nobody waits");
    wait_in(lanes, lane, &waiter);
    have_hold(lanes, lane, 0, 0);
    cr_assert(worker_lane_may_run(lanes, lane, 0));
    worker_lane_enter(lanes, lane);
    worker_lane_enter(lanes, lane);
    cr_assert_not(worker_lane_may_run(lanes, lane, 0));
    worker_lane_leave(lanes, lane, 70);
    cr_assert_not(worker_lane_may_run(lanes, lane, 0));
    worker_lane_leave(lanes, lane, 77);
    cr_assert(worker_lane_may_run(lanes, lane, 0));
    cr_assert_eq(worker_lane_least(lanes, lane), 77, "an older snapshot would lose");
    worker_lanes_forget(lanes);
    cr_assert_eq(worker_lane_least(lanes, lane), 0);
    worker_lanes_free(lanes);
}

Test(lane, ranges_that_one_call_needs_become_one_lane)
{
    struct lanes *lanes = worker_lanes_new();
    struct waiter first, second;
    unsigned a = worker_lanes_heat(lanes, s("a"), s("b"), 0, 0);
    unsigned x = worker_lanes_heat(lanes, s("x"), s("y"), 0, 0);
    cr_assert_neq(a, x);
    wait_in(lanes, a, &first);
    wait_in(lanes, x, &second);
    worker_lane_enter(lanes, x);
    cr_assert_eq(worker_lanes_heat(lanes, s("a"), s("b"), x, 10), worker_lanes_root(lanes, a));
    cr_assert_eq(worker_lanes_root(lanes, a), worker_lanes_root(lanes, x));
    unsigned one = worker_lanes_root(lanes, a);
    have_hold(lanes, one, 0, 10);
    cr_assert_not(worker_lane_may_run(lanes, one, 10), "one of it runs");
    worker_lane_leave(lanes, x, 5); /* by its old number */
    cr_assert(worker_lane_may_run(lanes, one, 10));
    cr_assert_eq(worker_lanes_meet(lanes, s("x"), BB_SLICE_EMPTY, 20), one);
    bb_list_remove(&first.link);
    bb_list_remove(&second.link);
    worker_lanes_tick(lanes, 9 * SECOND);
    cr_assert_eq(worker_lanes_root(lanes, a), 0);
    cr_assert_eq(worker_lanes_root(lanes, x), 0);
    worker_lanes_free(lanes);
}

Test(lane, calls_alike_are_expected_to_meet_what_the_last_ones_met)
{
    struct lanes *lanes = worker_lanes_new();
    uint64_t same[2] = { 7, 9 };
    uint64_t other[2] = { 8, 9 };
    unsigned lane = worker_lanes_heat(lanes, s("k"), s("m"), 0, 0);
    worker_lanes_learn(lanes, same, lane, 0);
    cr_assert_eq(worker_lanes_guess(lanes, same, 10), lane, "the very same call");
    cr_assert_eq(worker_lanes_guess(lanes, other, 10), 0, "one loss says nothing of the function");
    for (int i = 0; i < 8; i++) {
        worker_lanes_learn(lanes, same, lane, 0);
    }
    cr_assert_eq(worker_lanes_guess(lanes, other, 10), lane, "most of its calls meet it");
    for (int i = 0; i < 8; i++) {
        worker_lanes_learn(lanes, other, 0, 0);
    }
    cr_assert_eq(worker_lanes_guess(lanes, other, 10), 0, "most of them do not");
    cr_assert_eq(worker_lanes_guess(lanes, same, 2 * SECOND), 0);
    worker_lanes_free(lanes);
}

Test(lane, a_row_is_as_long_as_its_runs_are_short)
{
    struct lanes *lanes = worker_lanes_new();
    unsigned lane = worker_lanes_heat(lanes, s("k"), s("m"), 0, 0);
    for (int i = 0; i < 30; i++) {
        worker_lane_took(lanes, lane, 60, 50);
    }
    size_t quick = worker_lane_length(lanes, lane);
    cr_assert_geq(quick, 16);
    for (int i = 0; i < 30; i++) {
        worker_lane_took(lanes, lane, 20000, 50);
    }
    cr_assert_lt(worker_lane_length(lanes, lane), quick, "its reads take long");
    for (int i = 0; i < 30; i++) {
        worker_lane_took(lanes, lane, 100000, 100000);
    }
    cr_assert_eq(worker_lane_length(lanes, lane), 1);
    worker_lanes_free(lanes);
}

/* Whatever happens, a lane that somebody is in goes on to exist, and joined ones stay joined. */
Test(lane, random_lives_keep_those_who_wait)
{
    enum {
        WAITERS = 40
    };
    struct waiter waiters[WAITERS];
    unsigned of[WAITERS];
    uint64_t random = 88172645463325252u;
    uint64_t now = 0;
    for (int life = 0; life < 50; life++) {
        struct lanes *lanes = worker_lanes_new();
        memset(of, 0, sizeof(of));
        for (int step = 0; step < 2000; step++) {
            random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            uint32_t roll = (uint32_t)(random >> 33);
            unsigned i = roll % WAITERS;
            char key[8] = { (char)('a' + (roll >> 6) % 20), (char)('a' + (roll >> 12) % 20) };
            now += roll % 50000;
            if (of[i] == 0) {
                of[i] = worker_lanes_heat(lanes, s(key), s("~"), 0, now);
                wait_in(lanes, of[i], &waiters[i]);
            } else if (roll % 3 == 0) {
                of[i] = worker_lanes_join(lanes, of[i], of[(i + 1) % WAITERS]);
            } else {
                cr_assert_neq(worker_lanes_root(lanes, of[i]), 0, "somebody waits in it");
                bb_list_remove(&waiters[i].link);
                of[i] = 0;
            }
            worker_lanes_tick(lanes, now);
            for (int k = 0; k < WAITERS; k++) {
                cr_assert(of[k] == 0 || worker_lanes_root(lanes, of[k]) != 0);
            }
        }
        worker_lanes_free(lanes);
    }
}
