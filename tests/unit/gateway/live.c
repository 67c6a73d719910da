/* Live queries with scripted workers: what runs, what is sent, and at which tx. */
#include <criterion/criterion.h>

#include "live_world.h"

Test(live, b18_a_write_into_a_read_range_pushes_the_new_result)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    cr_expect_eq(world.min_txs[0], 100u);
    answer(&world, 100, "one", "k1", "k3");
    expect(&a, 1, "one", 100);
    write_key(&world, 101, "k2");
    cr_expect_eq(world.min_txs[0], 101u);
    answer(&world, 101, "two", "k1", "k3");
    expect(&a, 2, "two", 101);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, b19_a_write_elsewhere_runs_nothing)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "one", "k1", "k3");
    write_key(&world, 101, "k3");
    write_key(&world, 102, "k0");
    write_key(&world, 103, "j");
    cr_expect_eq(world.asked_count, 1u);
    expect(&a, 1, "one", 100);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, subscribers_of_one_query_share_one_run)
{
    struct world world;
    struct reader a;
    struct reader b;
    struct reader c;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    subscribe(&world, &b, "m:list");
    cr_expect_eq(world.asked_count, 1u);
    answer(&world, 100, "one", "k1", "k3");
    expect(&a, 1, "one", 100);
    expect(&b, 1, "one", 100);
    /* A late one gets the result at once, at the newest moment at which it is known to hold. */
    write_key(&world, 105, "zzz");
    subscribe(&world, &c, "m:list");
    expect(&c, 1, "one", 105);
    cr_expect_eq(world.asked_count, 1u);
    cr_expect_eq(gateway_live_entry_count(gateway_sessions_live(world.sessions)), 1u);
    gateway_session_free(a.session);
    gateway_session_free(b.session);
    gateway_session_free(c.session);
    gateway_sessions_free(world.sessions);
}

Test(live, equal_results_are_not_sent_again)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "one", "k1", "k3");
    write_key(&world, 101, "k1");
    answer(&world, 101, "one", "k1", "k3");
    expect(&a, 1, "one", 100);
    write_key(&world, 102, "k1");
    answer(&world, 102, "two", "k1", "k3");
    expect(&a, 2, "two", 102);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_write_between_run_and_registration_is_not_lost)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    /* While it runs nothing is registered yet. */
    write_key(&world, 101, "k2");
    cr_expect_eq(world.run_count, 1u);
    answer(&world, 100, "old", "k1", "k3");
    expect(&a, 1, "old", 100);
    cr_assert_eq(world.run_count, 1u, "the write at 101 was lost");
    cr_expect_geq(world.min_txs[0], 101u);
    answer(&world, 101, "new", "k1", "k3");
    expect(&a, 2, "new", 101);
    cr_expect_eq(world.run_count, 0u);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, writes_up_to_the_run_do_not_hit_it)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    /* It has seen 105 on another gateway: nothing runs before that is here. */
    subscribe_as(&world, &a, "m:list", "", 105);
    write_key(&world, 103, "k2");
    cr_expect_eq(world.asked_count, 0u);
    write_key(&world, 105, "k2");
    cr_expect_eq(world.asked_count, 1u);
    answer(&world, 105, "one", "k1", "k3");
    cr_expect_eq(world.asked_count, 1u);
    write_key(&world, 106, "k2");
    cr_expect_eq(world.asked_count, 2u);
    answer(&world, 106, "two", "k1", "k3");
    expect(&a, 2, "two", 106);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_ring_that_does_not_reach_back_means_run_again)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 200);
    subscribe(&world, &a, "m:list");
    for (uint64_t tx = 101; tx < 120; tx++)
        write_key(&world, tx, "somewhere else, but the ring is too small to know");
    answer(&world, 100, "old", "k1", "k3");
    cr_expect_eq(world.run_count, 1u);
    cr_expect_eq(world.min_txs[0], 119u);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, writes_faster_than_runs_coalesce)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "v100", "k1", "k3");
    for (uint64_t tx = 101; tx <= 150; tx++)
        write_key(&world, tx, "k1");
    cr_expect_eq(world.asked_count, 2u);
    answer(&world, 101, "v101", "k1", "k3");
    cr_expect_eq(world.asked_count, 3u);
    cr_expect_geq(world.min_txs[0], 150u);
    expect(&a, 2, "v101", 101);
    answer(&world, 150, "v150", "k1", "k3");
    cr_expect_eq(world.asked_count, 3u);
    expect(&a, 3, "v150", 150);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, old_ranges_stay_until_new_ones_replace_them)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "one", "k1", "k3");
    write_key(&world, 101, "k1");
    answer(&world, 101, "two", "p1", "p3");
    write_key(&world, 102, "k1");
    cr_expect_eq(world.asked_count, 2u, "the old range is gone");
    write_key(&world, 103, "p1");
    cr_expect_eq(world.asked_count, 3u);
    answer(&world, 103, "three", "p1", "p3");
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, an_error_is_sent_and_recovers)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer_end(take_run(&world), LIVE_FAILURE, 100, "boom", "k1", "k3");
    expect(&a, 1, "boom", 100);
    cr_expect(a.last_is_failure);
    write_key(&world, 101, "k1");
    answer(&world, 101, "fine", "k1", "k3");
    expect(&a, 2, "fine", 101);
    cr_expect_not(a.last_is_failure);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

static void deploy(struct world *world, uint64_t tx)
{
    struct bb_buf key = { 0 };
    struct bb_slice keys[1];
    struct bb_id id;

    bb_id_of_key(BB_TABLE_DEPLOYMENT, bb_slice_str("current"), &id);
    bb_key_by_id(&key, BB_TABLE_DEPLOYMENT, &id);
    keys[0] = bb_buf_slice(&key);
    gateway_sessions_write(world->sessions, tx, keys, 1);
    gateway_sessions_advance(world->sessions, tx);
    bb_buf_fini(&key);
}

Test(live, a_deploy_runs_everything_again)
{
    struct world world;
    struct reader a;
    struct reader b;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    subscribe(&world, &b, "m:missing");
    answer(&world, 100, "one", "k1", "k3");
    /* A function that does not exist has read nothing. */
    answer_end(take_run(&world), LIVE_FAILURE, 100, "not found", "", "");
    deploy(&world, 101);
    cr_expect_eq(world.run_count, 2u);
    for (int i = 0; i < 2; i++) {
        struct live_entry *run = take_run(&world);

        answer_end(run, LIVE_VALUE, 101, strcmp(run->key.path, "m:list") == 0 ? "one" : "here now",
                   "k1", "k3");
    }
    expect(&a, 1, "one", 100);
    expect(&b, 2, "here now", 101);
    gateway_session_free(a.session);
    gateway_session_free(b.session);
    gateway_sessions_free(world.sessions);
}

Test(live, who_comes_between_a_hit_and_the_end_of_its_batch_is_not_forgotten)
{
    struct world world;
    struct bb_slice keys[] = { bb_slice_str("k1") };
    struct reader a;
    struct reader b;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "one", "k1", "k3");
    gateway_session_free(a.session);
    /* A record that does not follow on the last one ends the batch: the cursor stays. */
    gateway_sessions_write(world.sessions, 101, keys, 1);
    subscribe(&world, &b, "m:list");
    expect(&b, 1, "one", 100);
    gateway_sessions_skip(world.sessions, 110);
    while (world.run_count > 0)
        answer(&world, 110, "two", "k1", "k3");
    expect(&b, 2, "two", 110);
    gateway_session_free(b.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_failure_that_may_pass_is_shown_and_tried_again_without_a_write)
{
    struct world world;
    struct reader a;
    struct live_answer slow = { .end = LIVE_FAILURE,
                                .hash = { 1, 2 },
                                .payload = bb_slice_str("too slow"),
                                .is_passing = true };

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    gateway_sessions_answered(world.sessions, take_run(&world), &slow);
    expect(&a, 1, "too slow", 100);
    cr_expect(a.last_is_failure);
    clock_us += 29000000;
    gateway_sessions_tick(world.sessions, true);
    cr_expect_eq(world.run_count, 0u, "a function that never ends must not run all the time");
    clock_us += 2000000;
    gateway_sessions_tick(world.sessions, true);
    answer(&world, 100, "one", "k1", "k3");
    expect(&a, 2, "one", 100);
    clock_us += 60000000;
    gateway_sessions_tick(world.sessions, true);
    cr_expect_eq(world.run_count, 0u);
    /* One that nobody watches any more is not run for nobody. */
    write_key(&world, 101, "k1");
    gateway_sessions_answered(world.sessions, take_run(&world), &slow);
    gateway_session_free(a.session);
    clock_us += 31000000;
    gateway_sessions_tick(world.sessions, true);
    cr_expect_eq(world.run_count, 0u);
    cr_expect_eq(gateway_live_entry_count(gateway_sessions_live(world.sessions)), 0u);
    gateway_sessions_free(world.sessions);
}
