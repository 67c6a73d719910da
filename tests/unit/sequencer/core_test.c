#include <criterion/criterion.h>

#include "world.h"

Test(sequencer, a_commit_gets_the_clock_as_tx_and_the_next_one_at_least_one_more)
{
    struct world w;
    uint64_t a = 0;
    uint64_t b = 0;

    world_init(&w, 5);
    cr_assert_eq(world_commit(&w, (struct want){ .id = 1, .snapshot = 5, .writes = "a" }, &a),
                 BB_OK);
    cr_assert_eq(world_commit(&w, (struct want){ .id = 2, .snapshot = a, .writes = "b" }, &b),
                 BB_OK);
    cr_assert_eq(a, WALL_START);
    cr_assert_eq(b, a + 1);
    world_fini(&w);
}

Test(sequencer, a_tx_is_above_the_claims_last_tx_even_when_the_clock_is_behind)
{
    struct world w;
    uint64_t a = 0;

    world_init(&w, WALL_START + 1000000);
    cr_assert_eq(
        world_commit(&w, (struct want){ .id = 1, .snapshot = WALL_START + 1000000, .writes = "a" },
                     &a),
        BB_OK);
    cr_assert_eq(a, WALL_START + 1000001);
    world_fini(&w);
}

Test(sequencer, k17_tx_rises_by_time_gone_whatever_the_wall_clock_does)
{
    static const int64_t steps_s[] = { 3600, -3600, -3600, 3600, 1, -1, -7200, 7200 };
    struct world w;
    uint64_t last = 5;
    unsigned id = 1;

    world_init(&w, last);
    for (size_t i = 0; i < BB_COUNT_OF(steps_s); i++) {
        w.wall_us += (uint64_t)(steps_s[i] * 1000000);
        for (int tick = 0; tick < 10; tick++) {
            uint64_t tx = 0;
            world_advance(&w, 100000);
            sequencer_core_tick(&w.ctx, &w.core);
            struct want want = { .id = id++, .snapshot = last, .reads = "a", .writes = "a" };
            cr_assert_eq(world_commit(&w, want, &tx), BB_OK, "%s", w.ctx.error);
            cr_assert(last == 5 || (tx > last && tx < last + 200000), "step %zu", i);
            want = (struct want){ .id = id++, .snapshot = last, .reads = "a", .writes = "a" };
            cr_assert_eq(world_commit(&w, want, NULL), BB_CONFLICT, "the moment before is gone");
            last = tx;
            while (sequencer_core_next_append(&w.core) != NULL)
                world_storage_done(&w);
        }
    }
    world_fini(&w);
}

Test(sequencer, a_read_that_was_overwritten_is_a_conflict_with_the_head)
{
    struct world w;
    uint64_t a = 0;
    uint64_t head = 0;

    world_init(&w, 5);
    cr_assert_eq(world_commit(&w, (struct want){ .id = 1, .snapshot = 5, .writes = "a" }, &a),
                 BB_OK);
    cr_assert_eq(world_commit(&w,
                              (struct want){ .id = 2, .snapshot = 5, .reads = "xa", .writes = "b" },
                              &head),
                 BB_CONFLICT);
    cr_assert_eq(head, a);
    cr_assert_eq(world_commit(&w,
                              (struct want){ .id = 2, .snapshot = a, .reads = "xa", .writes = "b" },
                              &head),
                 BB_OK);
    cr_assert_eq(world_commit(&w, (struct want){ .id = 3, .snapshot = a, .reads = "xa" }, NULL),
                 BB_OK, "b is not in what was read");
    world_fini(&w);
}

Test(sequencer, the_request_id_is_looked_up_before_the_conflict_check)
{
    struct world w;
    struct want want = { .id = 1, .snapshot = 5, .reads = "a", .writes = "a" };
    uint64_t first = 0;
    uint64_t again = 0;

    world_init(&w, 5);
    cr_assert_eq(world_commit(&w, want, &first), BB_OK);
    cr_assert_eq(world_commit(&w, want, &again), BB_DUPLICATE, "its own write is no conflict");
    cr_assert_eq(again, first);
    want.epoch = 9;
    cr_assert_eq(world_commit(&w, want, &again), BB_DUPLICATE, "nor is another epoch");
    want.writes = NULL;
    want.epoch = 1;
    cr_assert_eq(world_commit(&w, want, &again), BB_DUPLICATE,
                 "nor that the retry changed nothing");
    cr_assert_eq(again, first);
    world_fini(&w);
}

Test(sequencer, what_a_row_wrote_is_no_conflict_for_those_that_follow)
{
    struct world w;
    Bb__Proto__Outcome outcomes[4];
    uint64_t a = 0;

    world_init(&w, 5);
    cr_assert_eq(world_commit(&w, (struct want){ .id = 1, .snapshot = 5, .writes = "z" }, &a),
                 BB_OK);
    struct want row[] = {
        { .id = 2, .snapshot = 5, .reads = "a", .writes = "a" },
        { .id = 3, .snapshot = 5, .reads = "a", .writes = "a" },
        { .id = 4, .snapshot = 5, .reads = "ab" },
        { .id = 5, .snapshot = 5, .reads = "a", .writes = "a" },
    };
    world_commit_row(&w, row, 4, outcomes);
    for (size_t i = 0; i < 4; i++)
        cr_assert_eq(outcomes[i].status, BB_OK, "commit %zu", i);
    cr_assert_eq(outcomes[0].tx, a + 1);
    cr_assert_eq(outcomes[2].tx, 0, "it changed nothing");
    cr_assert_eq(outcomes[3].tx, a + 3);
    cr_assert_eq(world_commit(&w, (struct want){ .id = 6, .snapshot = 5, .reads = "a" }, NULL),
                 BB_CONFLICT, "for others it is");
    world_fini(&w);
}

Test(sequencer, who_read_what_a_failed_one_of_its_row_wrote_has_lost_and_the_others_have_not)
{
    struct world w;
    Bb__Proto__Outcome outcomes[4];

    world_init(&w, 5);
    cr_assert_eq(world_commit(&w, (struct want){ .id = 1, .snapshot = 5, .writes = "z" }, NULL),
                 BB_OK);
    struct want row[] = {
        { .id = 2, .snapshot = 5, .reads = "za", .writes = "a" }, /* z was written meanwhile */
        { .id = 3, .snapshot = 5, .reads = "ba", .writes = "b" },
        { .id = 4, .snapshot = 5, .reads = "b" },
        { .id = 5, .snapshot = 5, .reads = "c", .writes = "c" },
    };
    world_commit_row(&w, row, 4, outcomes);
    cr_assert_eq(outcomes[0].status, BB_CONFLICT);
    cr_assert_eq(outcomes[0].lost, 1);
    cr_assert_eq(outcomes[1].status, BB_CONFLICT);
    cr_assert_eq(outcomes[1].lost, 2);
    cr_assert_eq(outcomes[2].status, BB_CONFLICT);
    cr_assert_eq(outcomes[3].status, BB_OK);
    world_fini(&w);
}

Test(sequencer, nothing_that_follows_a_repeated_or_a_missing_commit_counts)
{
    struct world w;
    Bb__Proto__Outcome outcomes[2];

    world_init(&w, 5);
    struct want row[] = { { .id = 1, .snapshot = 5, .reads = "a", .writes = "a" },
                          { .id = 2, .snapshot = 5, .reads = "a", .writes = "a" } };
    world_commit_row(&w, row, 1, outcomes);
    cr_assert_eq(outcomes[0].status, BB_OK);
    world_commit_row(&w, row, 2, outcomes);
    cr_assert_eq(outcomes[0].status, BB_DUPLICATE);
    cr_assert_eq(outcomes[1].status, BB_CONFLICT, "it ran on top of another run of the first");
    world_commit_row(&w, row + 1, 1, outcomes);
    cr_assert_eq(outcomes[0].status, BB_CONFLICT);
    world_fini(&w);
}

Test(sequencer, one_call_twice_in_a_row_of_commits_happens_once)
{
    struct world w;
    Bb__Proto__Outcome outcomes[3];

    world_init(&w, 5);
    struct want row[] = { { .id = 1, .snapshot = 5, .reads = "a", .writes = "a" },
                          { .id = 1, .snapshot = 5, .reads = "a", .writes = "a" },
                          { .id = 2, .snapshot = 5, .reads = "a", .writes = "a" } };
    world_commit_row(&w, row, 3, outcomes);
    cr_assert_eq(outcomes[0].status, BB_OK);
    cr_assert_eq(outcomes[1].status, BB_DUPLICATE);
    cr_assert_eq(outcomes[1].tx, outcomes[0].tx);
    cr_assert_eq(outcomes[2].status, BB_CONFLICT, "it ran on top of what did not happen twice");
    world_fini(&w);
}

Test(sequencer, what_was_told_to_have_changed_nothing_changes_nothing_later)
{
    struct world w;
    struct want finish = { .id = 1, .snapshot = 5, .reads = "a" };
    struct want commit = { .id = 1, .snapshot = 5, .reads = "b", .writes = "b" };

    world_init(&w, 5);
    cr_assert_eq(world_commit(&w, finish, NULL), BB_OK);
    cr_assert_eq(world_commit(&w, commit, NULL), BB_CANCELLED, "a late twin");
    cr_assert_eq(world_commit(&w, finish, NULL), BB_OK, "the answer may have been lost");
    world_fini(&w);

    world_init(&w, 5);
    Bb__Proto__Outcome outcomes[2];
    struct want row[] = { finish, commit };
    world_commit_row(&w, row, 2, outcomes);
    cr_assert_eq(outcomes[0].status, BB_OK);
    cr_assert_eq(outcomes[1].status, BB_CANCELLED);
    world_fini(&w);
}

Test(sequencer, ids_of_earlier_epochs_are_known)
{
    struct world w;
    struct sequencer_limits limits = { .window_us = 1, .batch_bytes = 1000, .ids_max = 100 };
    uint8_t id[16];
    uint64_t tx = 0;

    world_init(&w, 5);
    sequencer_core_fini(&w.core);
    sequencer_core_init(&w.core, &limits);
    sequencer_core_claimed(&w.ctx, &w.core, 2, 10, 50);
    world_id(77, id);
    sequencer_core_load_id(&w.core, bb_slice(id, 16), BB_TX(40));
    sequencer_core_activate(&w.core);
    cr_assert_eq(
        world_commit(&w, (struct want){ .id = 77, .snapshot = 50, .writes = "a", .epoch = 2 }, &tx),
        BB_DUPLICATE);
    cr_assert_eq(tx, 40);
    world_fini(&w);
}

Test(sequencer, a_snapshot_of_another_epoch_of_the_future_or_below_the_floor_is_a_conflict)
{
    struct world w;

    world_init(&w, 100);
    struct want cases[] = {
        { .id = 1, .snapshot = 100, .writes = "a", .epoch = 2 },
        { .id = 1, .snapshot = 101, .writes = "a" },
        { .id = 1, .snapshot = 99, .writes = "a" },
        { .id = 1, .snapshot = 99 },
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        uint64_t head = 0;
        cr_assert_eq(world_commit(&w, cases[i], &head), BB_CONFLICT, "case %zu", i);
        cr_assert_eq(head, 100);
    }
    world_fini(&w);
}

Test(sequencer, the_newest_snapshot_stays_good_however_long_nothing_is_written)
{
    struct world w;
    uint64_t a = 0;

    world_init(&w, 5);
    cr_assert_eq(world_commit(&w, (struct want){ .id = 1, .snapshot = 5, .writes = "a" }, &a),
                 BB_OK);
    cr_assert_not_null(sequencer_core_next_append(&w.core));
    world_storage_done(&w);
    for (int i = 0; i < 100; i++) {
        world_advance(&w, 1000000);
        sequencer_core_tick(&w.ctx, &w.core);
    }
    cr_assert_eq(bb_occ_keys(w.core.window), 0);
    cr_assert_eq(world_commit(&w,
                              (struct want){ .id = 2, .snapshot = a, .reads = "a", .writes = "a" },
                              NULL),
                 BB_OK);
    cr_assert_eq(world_commit(&w,
                              (struct want){ .id = 3, .snapshot = 5, .reads = "z", .writes = "a" },
                              NULL),
                 BB_CONFLICT, "the window does not reach back to 5");
    world_fini(&w);
}

Test(sequencer, a_finish_is_checked_takes_no_tx_and_needs_the_lease)
{
    struct world w;
    uint64_t a = 0;
    uint64_t tx = 1;

    world_init(&w, 5);
    cr_assert_eq(world_commit(&w, (struct want){ .id = 1, .snapshot = 5, .writes = "a" }, &a),
                 BB_OK);
    cr_assert_eq(world_commit(&w, (struct want){ .id = 2, .snapshot = 5, .reads = "a" }, &tx),
                 BB_CONFLICT);
    cr_assert_eq(world_commit(&w, (struct want){ .id = 2, .snapshot = 5, .reads = "b" }, &tx),
                 BB_OK);
    cr_assert_eq(tx, 0);
    cr_assert_eq(w.core.sequenced, a);
    cr_assert_eq(
        world_commit(&w, (struct want){ .id = 2, .snapshot = 5, .reads = "b", .lacks_lease = true },
                     &tx),
        BB_OVERLOADED);
    world_fini(&w);
}

Test(sequencer, a_body_that_no_log_entry_can_hold_is_refused_before_it_has_a_tx)
{
    struct world w;

    world_init(&w, 5);
    cr_assert_eq(
        world_commit(
            &w, (struct want){ .id = 1, .snapshot = 5, .writes = "a", .padding = 21u << 20 }, NULL),
        BB_TOO_LARGE);
    cr_assert_eq(w.core.sequenced, 5);
    cr_assert_eq(world_commit(&w, (struct want){ .id = 1, .snapshot = 5, .writes = "a" }, NULL),
                 BB_OK, "the id is still free");
    world_fini(&w);
}

Test(sequencer, a_body_that_is_no_body_or_of_another_id_is_refused)
{
    struct world w;
    Bb__Proto__Commit commit;
    Bb__Proto__Outcome outcome;
    uint8_t id[16];

    world_init(&w, 5);
    world_id(1, id);
    bb__proto__commit__init(&commit);
    bb__proto__outcome__init(&outcome);
    commit.request_id = bb_slice_pb(bb_slice(id, 16));
    commit.snapshot = 5;
    commit.body = bb_slice_pb(bb_slice("\xff\xff\xff", 3));
    sequencer_core_commit(&w.ctx, &w.core, 1, 1, &(Bb__Proto__Commit *){ &commit }, 1, true,
                          &(Bb__Proto__Outcome *){ &outcome });
    cr_assert_eq(outcome.status, BB_BAD_REQUEST);
    cr_assert_eq(w.core.sequenced, 5);
    world_fini(&w);
}

Test(sequencer, a_key_that_storage_would_refuse_for_ever_gets_no_tx)
{
    struct world w;

    world_init(&w, 5);
    for (size_t size = 1; size < 4; size++) {
        struct want want = { .id = 1, .snapshot = 5, .writes = "a", .key_bytes = size };
        cr_assert_eq(world_commit(&w, want, NULL), BB_BAD_REQUEST, "a key of %zu bytes", size);
    }
    cr_assert_eq(w.core.sequenced, 5);
    world_fini(&w);
}

Test(sequencer, more_than_one_second_beyond_durable_is_overload)
{
    struct world w;

    world_init(&w, 5);
    cr_assert_eq(world_commit(&w, (struct want){ .id = 1, .snapshot = 5, .writes = "a" }, NULL),
                 BB_OK);
    cr_assert_not_null(sequencer_core_next_append(&w.core));
    world_advance(&w, 1000001);
    cr_assert_eq(world_commit(&w, (struct want){ .id = 2, .snapshot = 5, .writes = "b" }, NULL),
                 BB_OVERLOADED);
    world_storage_done(&w);
    cr_assert_eq(world_commit(&w, (struct want){ .id = 2, .snapshot = 5, .writes = "b" }, NULL),
                 BB_OK);
    world_fini(&w);
}

Test(sequencer, at_most_64_megabytes_are_sequenced_beyond_durable)
{
    struct world w;
    unsigned done = 0;

    world_init(&w, 5);
    while (world_commit(
               &w,
               (struct want){ .id = done + 1, .snapshot = 5, .writes = "a", .padding = 1 << 20 },
               NULL) == BB_OK)
        done++;
    cr_assert_eq(done, 63);
    cr_assert_leq(w.core.pending_bytes, (size_t)64 << 20);
    world_fini(&w);
}

Test(sequencer, status_of_an_unknown_id_kills_it)
{
    struct world w;
    struct bb_txtime tx;
    uint8_t id[16];
    uint64_t sequenced = 0;

    world_init(&w, 5);
    world_id(1, id);
    cr_assert_eq(sequencer_core_status_of(&w.ctx, &w.core, bb_slice(id, 16), &tx), BB_NOT_FOUND);
    cr_assert_eq(sequencer_core_status_of(&w.ctx, &w.core, bb_slice(id, 16), &tx), BB_NOT_FOUND);
    cr_assert_eq(world_commit(&w, (struct want){ .id = 1, .snapshot = 5, .writes = "a" }, NULL),
                 BB_CANCELLED);
    cr_assert_eq(
        world_commit(&w, (struct want){ .id = 2, .snapshot = 5, .writes = "a" }, &sequenced),
        BB_OK);
    world_id(2, id);
    cr_assert_eq(sequencer_core_status_of(&w.ctx, &w.core, bb_slice(id, 16), &tx), BB_OK);
    cr_assert_eq(tx.us, sequenced);
    world_fini(&w);
}

Test(sequencer, a_clock_ahead_of_the_majority_does_not_claim)
{
    struct world w;

    world_init(&w, 5);
    uint64_t behind = WALL_START - 5000001;
    uint64_t walls[3] = { WALL_START, behind, behind };
    cr_assert_eq(sequencer_core_check_clock(&w.ctx, walls, 3, 3), BB_UNAVAILABLE);
    walls[1] = WALL_START - 5000000;
    cr_assert_eq(sequencer_core_check_clock(&w.ctx, walls, 3, 3), BB_OK);
    cr_assert_eq(sequencer_core_check_clock(&w.ctx, walls, 1, 3), BB_UNAVAILABLE,
                 "one is no majority");
    world_fini(&w);
}
