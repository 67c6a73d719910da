/* Everything at once, against the model of world.h. */
#include <criterion/criterion.h>

#include "world.h"

static void step(struct world *world)
{
    uint64_t what = world_random(world, 100);
    if (what < 60) {
        world_apply(world);
    } else if (what < 80) {
        cr_assert_eq(bb_store_flush(&world->ctx, world->store), BB_OK);
    } else if (what < 90) {
        world->now_us += 1000 * world_random(world, 4000);
    } else if (what < 94) {
        world_crash(world);
    } else if (what < 97) {
        world_restart(world);
    } else {
        cr_assert_eq(bb_store_sync(&world->ctx, world->store), BB_OK);
    }
}

Test(store, answers_as_the_model_over_flushes_crashes_and_restarts)
{
    struct world *world = bb_alloc(sizeof(*world));
    for (uint64_t seed = 1; seed <= 15; seed++) {
        world_init(world, seed);
        world_apply(world);
        for (int i = 0; i < 150; i++) {
            step(world);
            uint64_t oldest = bb_store_oldest(world->store).us;
            world_check(world, world_random_tx(world, oldest == 0 ? 1 : oldest));
            world_check(world, bb_store_applied(world->store).us);
        }
        world_fini(world);
    }
    bb_free(world);
}

Test(store, a_copy_taken_between_flushes_is_a_whole_store)
{
    struct world *world = bb_alloc(sizeof(*world));
    world_init(world, 77);
    for (int i = 0; i < 20; i++) {
        world_apply(world);
        if (i % 6 == 5) {
            cr_assert_eq(bb_store_flush(&world->ctx, world->store), BB_OK);
        }
    }
    /* The files as a killed process leaves them; the lock goes with the process. */
    struct folder copy;
    folder_make(&copy, NULL);
    folder_copy(&world->folder, &copy);
    struct bb_store *original = world->store;
    world->options.dir = copy.path;
    cr_assert_eq(bb_store_open(&world->ctx, &world->options, &world->store), BB_OK);
    struct bb_store_state state;
    bb_store_state(&world->ctx, world->store, &state);
    cr_assert_eq(state.index, 1 + 18, "the third flush was after 18 batches");
    world_check(world, state.last_tx.us);
    world_replay(world);
    world_check(world, bb_store_applied(world->store).us);
    bb_store_abandon(world->store);
    world->store = original;
    world->options.dir = world->folder.path;
    folder_remove(&copy);
    world_fini(world);
    bb_free(world);
}
