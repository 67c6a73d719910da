/* Live queries that look at who asks: one result for each identity, from before the first is sent.
 */
#include <criterion/criterion.h>

#include "live_world.h"

Test(live, a_query_that_looks_at_identity_splits_before_anything_is_sent)
{
    struct world world;
    struct reader ann;
    struct reader bob;
    struct reader eve;
    struct live_entry *run;

    world_init(&world, 100, 8, 1 << 20);
    subscribe_as(&world, &ann, "m:mine", "ann", 0);
    subscribe_as(&world, &bob, "m:mine", "bob", 0);
    cr_expect_eq(world.asked_count, 1u);
    run = take_run(&world);
    cr_expect(run->is_shared);
    answer_end(run, LIVE_NEEDS_IDENTITY, 0, "", "", "");
    cr_expect_eq(ann.event_count + bob.event_count, 0u);
    cr_assert_eq(world.run_count, 2u);
    for (int i = 0; i < 2; i++) {
        run = take_run(&world);
        cr_expect_not(run->is_shared);
        answer_end(run, LIVE_VALUE, 100,
                   bb_slice_equal_str(run->key.identity, "ann") ? "of ann" : "of bob", "k1", "k3");
    }
    expect(&ann, 1, "of ann", 100);
    expect(&bob, 1, "of bob", 100);
    /* The next one does not even ask the shared entry. */
    subscribe_as(&world, &eve, "m:mine", "eve", 0);
    run = take_run(&world);
    cr_expect_not(run->is_shared);
    answer_end(run, LIVE_VALUE, 100, "of eve", "k1", "k3");
    expect(&eve, 1, "of eve", 100);
    gateway_session_free(ann.session);
    gateway_session_free(bob.session);
    gateway_session_free(eve.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_query_that_looks_at_identity_later_splits_then)
{
    struct world world;
    struct reader ann;
    struct live_entry *run;

    world_init(&world, 100, 8, 1 << 20);
    subscribe_as(&world, &ann, "m:mine", "ann", 0);
    answer(&world, 100, "for all", "k1", "k3");
    expect(&ann, 1, "for all", 100);
    write_key(&world, 101, "k1");
    answer_end(take_run(&world), LIVE_NEEDS_IDENTITY, 0, "", "", "");
    run = take_run(&world);
    cr_expect_not(run->is_shared);
    answer_end(run, LIVE_VALUE, 101, "of ann", "k1", "k3");
    expect(&ann, 2, "of ann", 101);
    gateway_session_free(ann.session);
    gateway_sessions_free(world.sessions);
}
