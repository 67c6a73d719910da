#include <criterion/criterion.h>

#include "clock.h"
#include "ids.h"
#include "lease.h"
#include "world.h"

Test(ids, the_oldest_leaves_when_the_table_is_full)
{
    struct sequencer_ids *ids = sequencer_ids_new(5000);
    struct bb_txtime tx;
    uint8_t id[16];

    for (unsigned i = 0; i < 20000; i++) {
        world_id(i, id);
        sequencer_ids_add(ids, id, SEQUENCER_ID_SEQUENCED, BB_TX(i + 1));
    }
    cr_assert_eq(sequencer_ids_count(ids), 5000);
    for (unsigned i = 0; i < 20000; i++) {
        world_id(i, id);
        enum sequencer_id_state state = sequencer_ids_find(ids, id, &tx);
        cr_assert_eq(state, i < 15000 ? SEQUENCER_ID_UNKNOWN : SEQUENCER_ID_SEQUENCED, "id %u", i);
        if (state == SEQUENCER_ID_SEQUENCED)
            cr_assert_eq(tx.us, i + 1);
    }
    sequencer_ids_free(ids);
}

/* As many as come, through tables and blocks that grow, empty, and are used again. */
Test(ids, each_is_found_as_long_as_it_is_kept)
{
    struct sequencer_ids *ids = sequencer_ids_new(40000);
    struct bb_txtime tx;
    uint8_t id[16];

    for (unsigned round = 0, next = 0; round < 6; round++) {
        unsigned first = next, upto = next + (round % 2 == 0 ? 30000 : 70000);
        for (; next < upto; next++) {
            world_id(next, id);
            cr_assert_eq(sequencer_ids_find(ids, id, &tx), SEQUENCER_ID_UNKNOWN);
            sequencer_ids_add(ids, id, SEQUENCER_ID_SEQUENCED, BB_TX(next + 1));
        }
        unsigned kept = next > 40000 ? next - 40000 : 0;
        for (unsigned i = first; i < next; i++) {
            world_id(i, id);
            cr_assert_eq(sequencer_ids_find(ids, id, &tx) == SEQUENCER_ID_SEQUENCED, i >= kept);
            cr_assert(i < kept || tx.us == i + 1);
        }
        /* Some stay, none, all. */
        sequencer_ids_expire(ids, BB_TX(round % 3 == 0   ? next - 99
                                        : round % 3 == 1 ? next + 1
                                                         : 0));
        if (round % 3 < 2)
            cr_assert_eq(sequencer_ids_count(ids), round % 3 == 0 ? 100 : 0);
    }
    sequencer_ids_free(ids);
}

Test(ids, what_is_too_old_is_forgotten)
{
    struct sequencer_ids *ids = sequencer_ids_new(100);
    struct bb_txtime tx;
    uint8_t id[16];

    for (unsigned i = 0; i < 50; i++) {
        world_id(i, id);
        sequencer_ids_add(ids, id, i % 2 == 0 ? SEQUENCER_ID_SEQUENCED : SEQUENCER_ID_DEAD,
                          BB_TX(100 + i));
    }
    sequencer_ids_expire(ids, BB_TX(120));
    cr_assert_eq(sequencer_ids_count(ids), 30);
    world_id(19, id);
    cr_assert_eq(sequencer_ids_find(ids, id, &tx), SEQUENCER_ID_UNKNOWN);
    world_id(21, id);
    cr_assert_eq(sequencer_ids_find(ids, id, &tx), SEQUENCER_ID_DEAD);
    sequencer_ids_free(ids);
}

static void answer(struct sequencer_lease *lease, size_t index, size_t leader_index,
                   uint64_t sent_us, uint64_t term, uint64_t leader)
{
    struct sequencer_renewed renewed = { .sent_us = sent_us, .term = term, .leader = leader };

    sequencer_lease_answer(lease, index, leader_index, &renewed);
}

Test(lease, one_voter_gives_a_lease_from_the_time_of_sending)
{
    struct sequencer_lease lease;

    sequencer_lease_init(&lease, 1);
    cr_assert_not(sequencer_lease_holds(&lease, 1000));
    answer(&lease, 0, 0, 1000, 1, 1);
    cr_assert(sequencer_lease_holds(&lease, 600999));
    cr_assert_not(sequencer_lease_holds(&lease, 601000));
}

Test(lease, a_majority_must_name_one_term_and_leader_and_the_leader_must_be_among_it)
{
    struct sequencer_lease lease;

    sequencer_lease_init(&lease, 3);
    answer(&lease, 1, 0, 1000, 4, 7);
    answer(&lease, 2, 0, 1000, 4, 7);
    cr_assert_not(sequencer_lease_holds(&lease, 1001), "the leader has not answered");
    answer(&lease, 0, 0, 2000, 5, 7);
    cr_assert_not(sequencer_lease_holds(&lease, 2001), "another term");
    answer(&lease, 0, 0, 3000, 4, 7);
    cr_assert(sequencer_lease_holds(&lease, 600999), "as old as the majority's oldest answer");
    cr_assert_not(sequencer_lease_holds(&lease, 601000));
    answer(&lease, 2, 0, 5000, 4, 7);
    cr_assert(sequencer_lease_holds(&lease, 602999));
    cr_assert_not(sequencer_lease_holds(&lease, 603000));
}

/* Node i answers, who leads is node 1; the leader says who votes. */
static void answer_of(struct sequencer_lease *lease, uint64_t node, uint64_t sent_us,
                      uint64_t last_voter)
{
    struct sequencer_renewed renewed = {
        .sent_us = sent_us, .term = 4, .leader = 1, .node = node, .voter_count = last_voter
    };

    for (uint64_t i = 0; i < last_voter; i++)
        renewed.voters[i] = i + 1;
    sequencer_lease_answer(lease, node - 1, 0, &renewed);
}

Test(lease, a_majority_is_one_of_the_voters_and_not_of_the_nodes_that_were_named)
{
    struct sequencer_lease lease;

    sequencer_lease_init(&lease, 3); /* the group has grown to five since */
    answer_of(&lease, 2, 1000, 5);
    answer_of(&lease, 1, 1000, 5);
    cr_assert_not(sequencer_lease_holds(&lease, 1001), "three others may have elected one");
    answer_of(&lease, 3, 1000, 5);
    cr_assert(sequencer_lease_holds(&lease, 1001));

    sequencer_lease_init(&lease, 5); /* or it is smaller: what was removed has no say */
    answer_of(&lease, 4, 1000, 3);
    answer_of(&lease, 5, 1000, 3);
    answer_of(&lease, 1, 1000, 3);
    cr_assert_not(sequencer_lease_holds(&lease, 1001));
    answer_of(&lease, 2, 1000, 3);
    cr_assert(sequencer_lease_holds(&lease, 1001));
}

Test(lease, an_answer_of_a_node_that_does_not_lead_is_none_of_the_leader)
{
    struct sequencer_lease lease;

    sequencer_lease_init(&lease, 3);
    for (uint64_t node = 2; node <= 4; node++) { /* node 1 leads, of five, and does not answer */
        struct sequencer_renewed renewed = { .sent_us = 1000,
                                             .term = 4,
                                             .leader = 1,
                                             .node = node,
                                             .voter_count = 5,
                                             .voters = { 1, 2, 3, 4, 5 } };
        sequencer_lease_answer(&lease, node - 2, 0, &renewed); /* node 2 was asked to append */
    }
    cr_assert_not(sequencer_lease_holds(&lease, 1001));
}

Test(lease, a_node_that_is_asked_under_two_names_has_one_vote)
{
    struct sequencer_lease lease;
    struct sequencer_renewed again = { .sent_us = 1000, .term = 4, .leader = 1, .node = 1 };

    sequencer_lease_init(&lease, 2);
    sequencer_lease_grow(&lease);
    answer_of(&lease, 1, 1000, 3);
    sequencer_lease_answer(&lease, 2, 0, &again);
    cr_assert_not(sequencer_lease_holds(&lease, 1001));
    answer_of(&lease, 2, 1000, 3);
    cr_assert(sequencer_lease_holds(&lease, 1001));
}

Test(clock, a_step_of_the_wall_clock_is_followed_slowly)
{
    struct sequencer_clock clock;

    sequencer_clock_init(&clock, 1000, 5000000);
    cr_assert_eq(sequencer_clock_read(&clock, 1000), 5000000);
    cr_assert_eq(sequencer_clock_read(&clock, 2000), 5001000);
    /* One second later the wall clock is an hour ahead. */
    sequencer_clock_slew(&clock, 1001000, 6000000 + UINT64_C(3600000000));
    cr_assert_eq(sequencer_clock_read(&clock, 1001000), 6000500);
    sequencer_clock_slew(&clock, 2001000, 1);
    cr_assert_eq(sequencer_clock_read(&clock, 2001000), 7000000);
}
