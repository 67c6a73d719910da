/* Sessions: queries that move together, readers that are behind, what comes back. */
#include <criterion/criterion.h>

#include "live_world.h"

Test(live, a_blocked_reader_gets_the_newest_result_only)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "one", "k1", "k3");
    a.is_blocked = true;
    for (uint64_t tx = 101; tx < 110; tx++)
        write_key(&world, tx, "k1");
    cr_expect_eq(world.run_count, 0u, "nothing runs for who does not read");
    expect(&a, 1, "one", 100);
    a.is_blocked = false;
    gateway_session_wake(a.session);
    answer(&world, 109, "v109", "k1", "k3");
    expect(&a, 2, "v109", 109);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_session_has_bounds_that_name_themselves)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    cr_expect_eq(gateway_session_add(&world.ctx, a.session, 1, "m:other", bb_slice_str(""), NULL),
                 BB_BAD_REQUEST, "the id is taken");
    cr_expect_eq(gateway_session_add(&world.ctx, a.session, 2, "m:long",
                                     bb_slice_str("12345678901234567890123456789012345678901234567"
                                                  "8901234567890123456789012345678901234567890"),
                                     NULL),
                 BB_TOO_LARGE);
    cr_expect_not_null(strstr(world.ctx.error, "--session-bytes"));
    for (uint32_t id = 2; id <= 4; id++)
        cr_expect_eq(gateway_session_add(&world.ctx, a.session, id, "m:l", bb_slice_str(""), NULL),
                     BB_OK);
    cr_expect_eq(gateway_session_add(&world.ctx, a.session, 5, "m:l", bb_slice_str(""), NULL),
                 BB_TOO_LARGE);
    cr_expect_not_null(strstr(world.ctx.error, "--session-queries"));
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, p14_a_session_may_ask_for_fewer_events)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    gateway_session_set_refresh(a.session, 500000);
    answer(&world, 100, "one", "k1", "k3");
    for (uint64_t tx = 101; tx < 110; tx++)
        write_key(&world, tx, "k1");
    cr_expect_eq(world.run_count, 0u, "too early");
    clock_us += 499999;
    gateway_sessions_tick(world.sessions, true);
    cr_expect_eq(world.run_count, 0u);
    clock_us += 1;
    gateway_sessions_tick(world.sessions, true);
    answer(&world, 109, "ten", "k1", "k3");
    expect(&a, 2, "ten", 109);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, two_queries_of_a_session_move_together)
{
    struct world world;
    struct reader a;
    struct live_entry *first;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    cr_expect_eq(gateway_session_add(&world.ctx, a.session, 2, "m:count", bb_slice_str(""), NULL),
                 BB_OK);
    (void)gateway_session_go(a.session);
    answer(&world, 100, "one", "k1", "k3");
    expect(&a, 0, "", 0);
    answer(&world, 100, "1", "k1", "k3");
    cr_expect_eq(a.event_count, 2u);
    write_key(&world, 101, "k1");
    first = take_run(&world);
    answer(&world, 101, "2", "k1", "k3");
    /* A write that comes while the first still runs is for the next round. */
    write_key(&world, 102, "k1");
    cr_expect_eq(a.event_count, 2u);
    cr_expect_eq(world.run_count, 0u);
    answer_end(first, LIVE_VALUE, 101, "two", "k1", "k3");
    cr_expect_eq(a.event_count, 4u);
    cr_expect_eq(a.last_tx, 101u);
    cr_assert_eq(world.run_count, 2u);
    cr_expect_eq(world.min_txs[0], 102u);
    answer(&world, 102, "three", "k1", "k3");
    answer(&world, 102, "3", "k1", "k3");
    cr_expect_eq(a.last_tx, 102u);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_moment_that_is_too_old_twice_is_run_first_and_alone)
{
    struct world world;
    struct reader a;
    struct live_entry *slow;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:slow");
    cr_expect_eq(gateway_session_add(&world.ctx, a.session, 2, "m:quick", bb_slice_str(""), NULL),
                 BB_OK);
    (void)gateway_session_go(a.session);
    for (uint64_t tx = 101; tx < 103; tx++) {
        slow = take_run(&world);
        while (world.run_count > 0)
            answer(&world, tx - 1, "quick", "q1", "q3");
        write_key(&world, tx, "q1");
        answer_end(slow, LIVE_TOO_OLD, 0, "", "", "");
        cr_expect_eq(a.event_count, 0u);
    }
    cr_assert_eq(world.run_count, 1u, "the slow one alone");
    answer(&world, 102, "slow", "k1", "k3");
    answer(&world, 102, "quick", "q1", "q3");
    cr_expect_eq(a.event_count, 2u);
    cr_expect_eq(a.last_tx, 102u);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, who_comes_back_gets_only_what_differs)
{
    struct world world;
    struct reader a;
    struct bb_slice held_payload = bb_slice_str("one");
    uint64_t held[2] = { bb_hash64(held_payload, 0) & ~(uint64_t)1, bb_hash64(held_payload, 1) };

    world_init(&world, 100, 8, 1 << 20);
    memset(&a, 0, sizeof(a));
    a.session = gateway_session_new(world.sessions,
                                    &(struct session_options){ .after_tx = 90, .owner = &a });
    cr_expect_eq(gateway_session_add(&world.ctx, a.session, 1, "m:list", bb_slice_str(""), held),
                 BB_OK);
    cr_expect_eq(gateway_session_add(&world.ctx, a.session, 2, "m:count", bb_slice_str(""), held),
                 BB_OK);
    (void)gateway_session_go(a.session);
    answer(&world, 100, "one", "k1", "k3");
    answer(&world, 100, "2", "k1", "k3");
    expect(&a, 1, "2", 100);
    gateway_session_reach(a.session, 101);
    cr_expect_eq(a.last_tx, 100u);
    write_key(&world, 101, "elsewhere");
    cr_expect_eq(a.last_tx, 101u, "a moment that was promised comes, though nothing differs");
    cr_expect_eq(a.event_count, 1u);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}
