/* Live queries when the feed, the suite or the history breaks off: nothing is missed, nothing goes
 * back unannounced. */
#include <criterion/criterion.h>

#include "live_world.h"

Test(live, the_suite_being_away_is_silent_and_tried_again)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "one", "k1", "k3");
    write_key(&world, 101, "k1");
    answer_end(take_run(&world), LIVE_AWAY, 0, "", "", "");
    cr_expect_eq(world.run_count, 0u);
    expect(&a, 1, "one", 100);
    clock_us += 60000;
    gateway_sessions_tick(world.sessions, true);
    cr_assert_eq(world.run_count, 1u);
    answer_end(take_run(&world), LIVE_AWAY, 0, "", "", "");
    gateway_sessions_tick(world.sessions, true);
    cr_expect_eq(world.run_count, 0u, "the second pause is longer");
    gateway_sessions_retry_now(world.sessions);
    answer(&world, 101, "two", "k1", "k3");
    expect(&a, 2, "two", 101);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_lost_feed_position_runs_everything_again)
{
    struct world world;
    struct reader a;
    struct reader b;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    subscribe(&world, &b, "m:other");
    answer(&world, 100, "one", "k1", "k3");
    gateway_sessions_skip(world.sessions, 500);
    /* The one that was running cannot know what happened in between. */
    answer(&world, 100, "other", "p", "q");
    cr_assert_eq(world.run_count, 2u);
    answer(&world, 500, "uno", "k1", "k3");
    answer(&world, 500, "otro", "p", "q");
    expect(&a, 2, "uno", 500);
    expect(&b, 2, "otro", 500);
    gateway_session_free(a.session);
    gateway_session_free(b.session);
    gateway_sessions_free(world.sessions);
}

Test(live, another_history_resyncs_subscribers)
{
    struct world world;
    struct reader a;
    struct live_entry *run;

    world_init(&world, 1000, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 1000, "one", "k1", "k3");
    write_key(&world, 1001, "k1");
    run = take_run(&world); /* still under way when the world changes */
    gateway_sessions_restart(world.sessions, 50);
    answer_end(run, LIVE_VALUE, 1001, "of the old world", "k1", "k3");
    expect(&a, 1, "one", 1000);
    answer(&world, 50, "new", "k1", "k3");
    expect(&a, 2, "new", 50);
    cr_expect_eq(world.resync_count, 1u);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, another_history_sends_an_equal_result_to_who_holds_no_hash)
{
    struct world world;
    struct reader a;
    struct reader b;

    world_init(&world, 1000, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    memset(&b, 0, sizeof(b));
    b.session = gateway_session_new(world.sessions,
                                    &(struct session_options){ .resends = true, .owner = &b });
    cr_assert_eq(
        gateway_session_add(&world.ctx, b.session, 1, "m:list", bb_slice_str("args"), NULL), BB_OK);
    (void)gateway_session_go(b.session);
    answer(&world, 1000, "one", "k1", "k3");
    gateway_sessions_restart(world.sessions, 50);
    answer(&world, 50, "one", "k1", "k3");
    expect(&a, 1, "one", 50);
    expect(&b, 2, "one", 50);
    cr_expect_eq(world.resync_count, 2u);
    gateway_session_free(a.session);
    gateway_session_free(b.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_resuming_subscriber_never_sees_an_older_moment)
{
    struct world world;
    struct reader a;
    struct reader b;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "one", "k1", "k3");
    /* It saw 200 on another gateway, whose feed is ahead of ours. */
    subscribe_as(&world, &b, "m:list", "", 200);
    expect(&b, 0, "", 200);
    cr_expect_eq(world.run_count, 0u);
    write_key(&world, 200, "k2");
    cr_assert_eq(world.run_count, 1u, "one run for both");
    answer(&world, 200, "two", "k1", "k3");
    expect(&b, 1, "two", 200);
    expect(&a, 2, "two", 200);
    gateway_session_free(a.session);
    gateway_session_free(b.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_moment_that_does_not_exist_can_be_forgotten)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe_as(&world, &a, "m:list", "", 900);
    cr_expect_eq(world.run_count, 0u);
    clock_us += 5000001;
    gateway_sessions_tick(world.sessions, false);
    cr_expect_eq(world.run_count, 0u, "who does not follow the feed cannot know");
    gateway_sessions_tick(world.sessions, true);
    cr_assert_eq(world.run_count, 1u);
    cr_expect_eq(world.min_txs[0], 100u);
    answer(&world, 100, "one", "k1", "k3");
    expect(&a, 1, "one", 100);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, nothing_runs_before_the_feed_names_a_moment)
{
    struct world world;
    struct reader a;

    world_init(&world, 0, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    clock_us += 60000000;
    gateway_sessions_tick(world.sessions, true);
    cr_expect_eq(world.run_count, 0u);
    gateway_sessions_skip(world.sessions, 100);
    answer(&world, 100, "one", "k1", "k3");
    expect(&a, 1, "one", 100);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_moment_that_is_gone_is_not_asked_for_all_the_time)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer_end(take_run(&world), LIVE_TOO_OLD, 0, "", "", "");
    cr_expect_eq(world.run_count, 0u, "the feed knows no newer moment");
    clock_us += 250000;
    gateway_sessions_tick(world.sessions, true);
    cr_expect_eq(world.run_count, 1u);
    answer(&world, 100, "one", "k1", "k3");
    expect(&a, 1, "one", 100);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}