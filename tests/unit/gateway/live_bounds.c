/* Bounds of live queries: runs at once, entries, memory. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "live_world.h"

Test(live, runs_at_once_are_bounded_and_none_is_forgotten)
{
    struct world world;
    struct reader readers[6];
    char path[16];

    world_init(&world, 100, 2, 1 << 20);
    for (size_t i = 0; i < BB_COUNT_OF(readers); i++) {
        (void)snprintf(path, sizeof(path), "m:q%zu", i);
        subscribe(&world, &readers[i], path);
        cr_expect_leq(world.run_count, 2u);
    }
    while (world.run_count > 0) {
        cr_expect_leq(world.run_count, 2u);
        answer(&world, 100, "one", "k1", "k3");
    }
    for (size_t i = 0; i < BB_COUNT_OF(readers); i++) {
        expect(&readers[i], 1, "one", 100);
        gateway_session_free(readers[i].session);
    }
    gateway_sessions_free(world.sessions);
}

Test(live, runs_that_take_long_leave_their_places_to_others)
{
    struct world world;
    struct reader readers[70];
    char path[16];

    world_init(&world, 100, 1, 1 << 20);
    for (size_t i = 0; i < BB_COUNT_OF(readers); i++) {
        (void)snprintf(path, sizeof(path), "m:q%zu", i);
        subscribe(&world, &readers[i], path);
    }
    cr_expect_eq(world.run_count, 1u);
    gateway_sessions_tick(world.sessions, true);
    cr_expect_eq(world.run_count, 1u, "it has not taken long");
    for (size_t runs = 2; runs <= 65; runs++) {
        clock_us += 600000;
        gateway_sessions_tick(world.sessions, true);
        gateway_sessions_advance(world.sessions, 100);
        cr_expect_eq(world.run_count, runs, "%zu", world.run_count);
    }
    clock_us += 600000;
    gateway_sessions_tick(world.sessions, true);
    gateway_sessions_advance(world.sessions, 100);
    cr_expect_eq(world.run_count, 65u, "these are bounded, too");
    while (world.run_count > 0) {
        cr_expect_leq(gateway_live_running(gateway_sessions_live(world.sessions)), 65u);
        answer(&world, 100, "one", "k1", "k3");
    }
    cr_expect_eq(gateway_live_running(gateway_sessions_live(world.sessions)), 0u);
    for (size_t i = 0; i < BB_COUNT_OF(readers); i++) {
        expect(&readers[i], 1, "one", 100);
        gateway_session_free(readers[i].session);
    }
    gateway_sessions_free(world.sessions);
}

Test(live, an_entry_goes_some_time_after_its_last_subscriber)
{
    struct world world;
    struct reader a;
    struct reader b;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "one", "k1", "k3");
    gateway_session_free(a.session);
    clock_us += 5000000;
    gateway_sessions_tick(world.sessions, true);
    subscribe(&world, &b, "m:list");
    cr_expect_eq(world.asked_count, 1u, "it was kept");
    expect(&b, 1, "one", 100);
    gateway_session_free(b.session);
    clock_us += 10000001;
    gateway_sessions_tick(world.sessions, true);
    cr_expect_eq(gateway_live_entry_count(gateway_sessions_live(world.sessions)), 0u);
    cr_expect_eq(gateway_live_range_count(gateway_sessions_live(world.sessions)), 0u);
    cr_expect_eq(gateway_live_bytes(gateway_sessions_live(world.sessions)), 0u);
    gateway_sessions_free(world.sessions);
}

Test(live, an_unwatched_entry_that_is_hit_is_freed_and_not_run)
{
    struct world world;
    struct reader a;
    struct reader b;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "one", "k1", "k3");
    gateway_session_free(a.session);
    write_key(&world, 101, "k1");
    cr_expect_eq(world.asked_count, 1u);
    cr_expect_eq(gateway_live_entry_count(gateway_sessions_live(world.sessions)), 0u);
    subscribe(&world, &b, "m:list");
    answer(&world, 101, "two", "k1", "k3");
    expect(&b, 1, "two", 101);
    /* Leaves while its next run is under way. */
    write_key(&world, 102, "k1");
    gateway_session_free(b.session);
    answer(&world, 102, "three", "k1", "k3");
    cr_expect_eq(gateway_live_entry_count(gateway_sessions_live(world.sessions)), 0u);
    gateway_sessions_free(world.sessions);
}

Test(live, memory_is_bounded)
{
    struct world world;
    struct reader readers[1];
    static char big[1 << 20];

    world_init(&world, 100, 8, 1 << 20);
    memset(big, 'x', sizeof(big) - 1);
    subscribe(&world, &readers[0], "m:list");
    answer(&world, 100, big, "k1", "k3");
    cr_expect_not(gateway_live_has_room(gateway_sessions_live(world.sessions)));
    cr_expect_eq(
        gateway_session_add(&world.ctx, readers[0].session, 2, "m:more", bb_slice_str("a"), NULL),
        BB_OVERLOADED);
    gateway_session_free(readers[0].session);
    gateway_sessions_free(world.sessions);
}
