#include <criterion/criterion.h>

#include "world.h"

/* Check the framing of a batch and the chain of its records; returns how many there are. */
static unsigned walk(const struct sequencer_append *append, uint64_t *prev)
{
    struct bb_arena *arena = bb_arena_new(0);
    struct bb_ctx ctx = { .arena = arena };
    size_t at = 0;
    unsigned count = 0;

    while (at < append->batch.size) {
        uint32_t size = bb_get_le32(append->batch.data + at);
        Bb__Proto__TxRecord *record = NULL;
        cr_assert_leq(at + 4 + size, append->batch.size);
        cr_assert_eq(bb_unpack(&ctx, arena, &bb__proto__tx_record__descriptor,
                               bb_slice(append->batch.data + at + 4, size), &record),
                     BB_OK);
        cr_assert_eq(record->prev, *prev);
        cr_assert_gt(record->tx, record->prev);
        *prev = record->tx;
        at += 4 + size;
        count++;
    }
    bb_arena_free(arena);
    return count;
}

static void commits(struct world *w, unsigned first, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        cr_assert_eq(
            world_commit(w, (struct want){ .id = first + i, .snapshot = 5, .writes = "a" }, NULL),
            BB_OK);
}

Test(append, batches_chain_all_records_and_stay_near_their_size)
{
    struct world w;
    uint64_t prev = 5;
    unsigned seen = 0;
    uint64_t seq = 10;

    world_init(&w, 5);
    commits(&w, 1, 90);
    const struct sequencer_append *append;
    while ((append = sequencer_core_next_append(&w.core)) != NULL) {
        cr_assert_null(sequencer_core_next_append(&w.core), "one at a time");
        cr_assert_eq(append->seq, ++seq);
        cr_assert_eq(append->base_tx, prev);
        cr_assert_leq(append->batch.size, 1000);
        seen += walk(append, &prev);
        cr_assert_eq(append->last_tx, prev);
        cr_assert_lt(w.core.durable, prev, "durable moves with the answer only");
        world_storage_done(&w);
        cr_assert_eq(w.core.durable, prev);
    }
    cr_assert_eq(seen, 90);
    cr_assert_eq(w.core.durable, w.core.sequenced);
    cr_assert_eq(w.core.pending_bytes, 0);
    world_fini(&w);
}

Test(append, k13_what_comes_while_a_batch_is_under_way_goes_out_as_one)
{
    struct world w;
    uint64_t prev = 5;

    world_init(&w, 5);
    commits(&w, 1, 1);
    const struct sequencer_append *append = sequencer_core_next_append(&w.core);
    cr_assert_eq(walk(append, &prev), 1, "nothing is waited for");
    commits(&w, 2, 5);
    cr_assert_null(sequencer_core_next_append(&w.core), "one at a time");
    world_storage_done(&w);
    append = sequencer_core_next_append(&w.core);
    cr_assert_eq(walk(append, &prev), 5);
    cr_assert_null(sequencer_core_next_append(&w.core));
    world_storage_done(&w);
    cr_assert_eq(w.core.durable, prev);
    cr_assert_null(sequencer_core_next_append(&w.core));
    world_fini(&w);
}

Test(append, a_record_above_the_batch_size_goes_alone)
{
    struct world w;
    uint64_t prev = 5;

    world_init(&w, 5);
    commits(&w, 1, 1);
    cr_assert_eq(
        world_commit(&w, (struct want){ .id = 50, .snapshot = 5, .writes = "b", .padding = 5000 },
                     NULL),
        BB_OK);
    commits(&w, 2, 1);
    for (int i = 0; i < 3; i++) {
        const struct sequencer_append *append = sequencer_core_next_append(&w.core);
        cr_assert_not_null(append);
        cr_assert_eq(walk(append, &prev), 1);
        world_storage_done(&w);
    }
    world_fini(&w);
}

Test(append, an_unknown_outcome_keeps_the_same_batch)
{
    struct world w;
    static const int unknown[] = { BB_TIMEOUT,    BB_PEER_GONE, BB_NOT_LEADER,
                                   BB_OVERLOADED, BB_NO_SPACE,  BB_BAD_REQUEST };

    world_init(&w, 5);
    commits(&w, 1, 3);
    const struct sequencer_append *append = sequencer_core_next_append(&w.core);
    struct bb_buf before;
    bb_buf_init(&before);
    bb_buf_append_slice(&before, append->batch);
    commits(&w, 10, 3);
    for (size_t i = 0; i < BB_COUNT_OF(unknown); i++) {
        enum sequencer_verdict verdict =
            sequencer_core_appended(&w.ctx, &w.core, unknown[i], false, 0);
        cr_assert(verdict == SEQUENCER_AGAIN || verdict == SEQUENCER_OTHER_LEADER);
        cr_assert_eq(w.core.durable, 5);
        cr_assert_eq(append->seq, 11);
        cr_assert(bb_slice_equal(bb_buf_slice(&before), append->batch));
    }
    bb_buf_fini(&before);
    world_storage_done(&w);
    cr_assert_gt(w.core.durable, 5);
    world_fini(&w);
}

Test(append, a_gap_tells_whether_it_was_done)
{
    struct world w;

    world_init(&w, 5);
    commits(&w, 1, 1);
    (void)sequencer_core_next_append(&w.core);
    cr_assert_eq(sequencer_core_appended(&w.ctx, &w.core, BB_GAP, true, 10), SEQUENCER_AGAIN);
    cr_assert_eq(sequencer_core_appended(&w.ctx, &w.core, BB_GAP, true, 11), SEQUENCER_DONE);
    cr_assert_eq(w.core.durable, w.core.sequenced);
    commits(&w, 2, 1);
    (void)sequencer_core_next_append(&w.core);
    cr_assert_eq(sequencer_core_appended(&w.ctx, &w.core, BB_GAP, true, 9), SEQUENCER_OVER,
                 "storage lost what it acknowledged");
    world_fini(&w);
}

Test(append, a_node_that_is_not_ready_may_follow_another_one)
{
    struct world w;

    world_init(&w, 5);
    commits(&w, 1, 1);
    (void)sequencer_core_next_append(&w.core);
    cr_assert_eq(sequencer_core_appended(&w.ctx, &w.core, BB_NOT_YET, false, 0),
                 SEQUENCER_OTHER_LEADER);
    cr_assert_eq(w.core.durable, 5);
    world_fini(&w);
}

Test(append, a_fenced_epoch_is_over)
{
    struct world w;
    uint64_t durable;

    world_init(&w, 5);
    commits(&w, 1, 1);
    (void)sequencer_core_next_append(&w.core);
    durable = w.core.durable;
    cr_assert_eq(sequencer_core_appended(&w.ctx, &w.core, BB_FENCED, false, 0), SEQUENCER_OVER);
    cr_assert_eq(w.core.durable, durable);
    world_fini(&w);
}

Test(follow, a_cursor_sees_every_record_once_in_order)
{
    struct world w;
    uint64_t after = 5;
    unsigned seen = 0;
    uint64_t first = 0;
    uint64_t end = 0;

    world_init(&w, 5);
    commits(&w, 1, 50);
    while (sequencer_core_follow(&w.core, 1, after, 5, 300, &first, &end) == BB_OK) {
        cr_assert_gt(end, first);
        for (uint64_t i = first; i < end; i++) {
            cr_assert_gt(sequencer_ring_at(&w.core.ring, i)->tx, after);
            after = sequencer_ring_at(&w.core.ring, i)->tx;
            seen++;
        }
    }
    cr_assert_eq(seen, 50);
    cr_assert_eq(after, w.core.sequenced);
    world_fini(&w);
}

Test(follow, a_cursor_wakes_when_only_the_durable_mark_moves)
{
    struct world w;
    uint64_t first = 0;
    uint64_t end = 0;

    world_init(&w, 5);
    commits(&w, 1, 1);
    (void)sequencer_core_next_append(&w.core);
    uint64_t head = w.core.sequenced;
    cr_assert_eq(sequencer_core_follow(&w.core, 1, head, 5, 300, &first, &end), BB_PENDING);
    world_storage_done(&w);
    cr_assert_eq(sequencer_core_follow(&w.core, 1, head, 5, 300, &first, &end), BB_OK);
    cr_assert_eq(first, end);
    world_fini(&w);
}

Test(follow, a_position_of_another_epoch_or_beyond_the_window_is_too_old)
{
    struct world w;
    uint64_t first = 0;
    uint64_t end = 0;

    world_init(&w, 100);
    commits(&w, 1, 0);
    cr_assert_eq(sequencer_core_follow(&w.core, 0, 100, 0, 300, &first, &end), BB_TOO_OLD);
    cr_assert_eq(sequencer_core_follow(&w.core, 2, 100, 0, 300, &first, &end), BB_TOO_OLD);
    cr_assert_eq(sequencer_core_follow(&w.core, 1, 99, 0, 300, &first, &end), BB_TOO_OLD);
    cr_assert_eq(sequencer_core_follow(&w.core, 1, 101, 0, 300, &first, &end), BB_TOO_OLD);
    cr_assert_eq(sequencer_core_follow(&w.core, 1, 100, 100, 300, &first, &end), BB_PENDING);
    world_fini(&w);
}

Test(follow, records_leave_with_the_window_but_never_before_they_are_durable)
{
    struct world w;
    uint64_t a = 0;
    uint64_t first = 0;
    uint64_t end = 0;

    world_init(&w, 5);
    cr_assert_eq(world_commit(&w, (struct want){ .id = 1, .snapshot = 5, .writes = "a" }, &a),
                 BB_OK);
    (void)sequencer_core_next_append(&w.core);
    world_advance(&w, 20000000);
    sequencer_core_tick(&w.ctx, &w.core);
    cr_assert_eq(sequencer_core_follow(&w.core, 1, 5, 5, 300, &first, &end), BB_OK);
    world_storage_done(&w);
    sequencer_core_tick(&w.ctx, &w.core);
    cr_assert_eq(sequencer_core_follow(&w.core, 1, 5, 5, 300, &first, &end), BB_TOO_OLD);
    cr_assert_eq(sequencer_core_follow(&w.core, 1, a, a, 300, &first, &end), BB_PENDING);
    world_fini(&w);
}
