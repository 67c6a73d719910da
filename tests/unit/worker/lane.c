#include <criterion/criterion.h>

#include "lane.h"

Test(lane, calls_that_never_lost_run_side_by_side)
{
    uint64_t least;
    struct lanes *lanes = worker_lanes_new();
    uint64_t keys[2] = { 7, 9 };
    cr_assert(worker_lanes_enter(lanes, 1, keys, 100, &least));
    cr_assert(worker_lanes_enter(lanes, 2, keys, 100, &least));
    worker_lanes_free(lanes);
}

Test(lane, after_a_loss_calls_of_the_same_kind_run_one_by_one)
{
    uint64_t least;
    struct lanes *lanes = worker_lanes_new();
    uint64_t keys[2] = { 7, 9 };
    uint64_t other[2] = { 8, 9 };
    worker_lanes_lost(lanes, 1, keys, 1, 100);
    cr_assert_not(worker_lanes_enter(lanes, 2, keys, 200, &least));
    cr_assert(worker_lanes_enter(lanes, 3, other, 200, &least)); /* other arguments */
    cr_assert(worker_lanes_enter(lanes, 1, keys, 200, &least));  /* who lost goes first */
    worker_lanes_leave(lanes, 1, keys, 77);
    cr_assert(worker_lanes_enter(lanes, 2, keys, 300, &least));
    cr_assert_eq(least, 77); /* older snapshots would lose to the one before */
    cr_assert_not(worker_lanes_enter(lanes, 4, keys, 300, &least));
    cr_assert(worker_lanes_enter(lanes, 4, keys, 5000000, &least)); /* cold again */
    worker_lanes_free(lanes);
}

Test(lane, a_second_loss_widens_the_lane_to_the_function)
{
    uint64_t least;
    struct lanes *lanes = worker_lanes_new();
    uint64_t keys[2] = { 7, 9 };
    uint64_t other[2] = { 8, 9 };
    worker_lanes_lost(lanes, 1, keys, 2, 100);
    cr_assert_not(worker_lanes_enter(lanes, 3, other, 200, &least));
    worker_lanes_leave(lanes, 1, keys, 77);
    cr_assert(worker_lanes_enter(lanes, 3, other, 200, &least));
    worker_lanes_free(lanes);
}
