/* Straight to the leader, or by a follower: way.h. */
#include <criterion/criterion.h>

#include "way.h"

#define NOW      9000000
#define STRAIGHT SEQUENCER_STRAIGHT
#define PATIENCE SEQUENCER_SILENT_US

/* Node 1 leads at index 0; 2 and 3 follow. All is well. */
struct nodes {
    struct sequencer_line lines[3];
};

static struct nodes healthy(void)
{
    struct nodes nodes;

    for (uint64_t i = 0; i < 3; i++) {
        nodes.lines[i] = (struct sequencer_line){
            .is_connected = true, .answers = 9, .node = i + 1, .term = 4, .leader = 1
        };
    }
    return nodes;
}

static size_t choose(const struct nodes *nodes, size_t via)
{
    return sequencer_way_choose(nodes->lines, 3, 0, via, NOW, PATIENCE);
}

Test(way, is_straight_while_the_leader_answers)
{
    struct nodes nodes = healthy();

    cr_assert_eq(choose(&nodes, STRAIGHT), STRAIGHT);
    nodes.lines[0].asked_us = NOW - PATIENCE + 1;
    cr_assert_eq(choose(&nodes, STRAIGHT), STRAIGHT, "an answer may take its time");
}

Test(way, goes_by_a_follower_when_the_leader_is_not_connected_or_silent)
{
    struct nodes gone = healthy(), silent = healthy();

    gone.lines[0].is_connected = false;
    cr_assert_eq(choose(&gone, STRAIGHT), 1);
    cr_assert_eq(choose(&gone, 2), 2, "one that serves is kept");
    silent.lines[0].asked_us = NOW - PATIENCE;
    cr_assert_eq(choose(&silent, STRAIGHT), 1);
}

Test(way, is_no_follower_that_is_silent_or_names_another_leader)
{
    struct nodes nodes = healthy();

    nodes.lines[0].is_connected = false;
    nodes.lines[1].is_connected = false;
    cr_assert_eq(choose(&nodes, 1), 2);
    nodes.lines[2].leader = 3;
    nodes.lines[2].term = 5;
    cr_assert_eq(choose(&nodes, STRAIGHT), STRAIGHT, "node 3 was elected");
    nodes.lines[1] = healthy().lines[1];
    cr_assert_eq(choose(&nodes, STRAIGHT), STRAIGHT, "the word of an older term");
}

Test(way, is_straight_again_after_some_answers_in_a_row)
{
    struct nodes nodes = healthy();

    for (uint32_t answers = 0; answers < SEQUENCER_BACK_COUNT; answers++) {
        nodes.lines[0].answers = answers;
        cr_assert_eq(choose(&nodes, 1), 1);
    }
    nodes.lines[0].answers = SEQUENCER_BACK_COUNT;
    cr_assert_eq(choose(&nodes, 1), STRAIGHT);
    nodes.lines[0].answers = 0;
    nodes.lines[1].is_connected = nodes.lines[2].is_connected = false;
    cr_assert_eq(choose(&nodes, 1), STRAIGHT, "there is no other way");
}

Test(way, of_the_claim_is_kept_until_somebody_has_answered)
{
    struct nodes nodes = healthy();

    for (size_t i = 0; i < 3; i++)
        nodes.lines[i].term = nodes.lines[i].leader = nodes.lines[i].answers = 0;
    nodes.lines[0].is_connected = false;
    cr_assert_eq(choose(&nodes, 2), 2);
    cr_assert_eq(choose(&nodes, STRAIGHT), STRAIGHT);
}

Test(way, of_one_that_cannot_pass_on_is_followed_by_another)
{
    struct nodes nodes = healthy();

    cr_assert_eq(sequencer_way_next(nodes.lines, 3, 0, 1, NOW), 2);
    cr_assert_eq(sequencer_way_next(nodes.lines, 3, 0, 2, NOW), 1);
    nodes.lines[2].is_connected = false;
    cr_assert_eq(sequencer_way_next(nodes.lines, 3, 0, 1, NOW), 1, "there is no other one");
}

Test(way, is_kept_while_a_large_batch_is_on_it)
{
    struct nodes nodes = healthy();

    nodes.lines[0].is_connected = false;
    nodes.lines[1].asked_us = NOW - PATIENCE;
    cr_assert_eq(choose(&nodes, 1), 2);
    nodes.lines[1].busy_us = 1;
    cr_assert_eq(choose(&nodes, 1), 1);
    nodes.lines[1].asked_us--;
    cr_assert_eq(choose(&nodes, 1), 2, "it takes longer than the batch");
}

Test(way, that_is_straight_again_takes_a_batch_from_a_follower_that_hangs)
{
    struct nodes nodes = healthy();
    const struct sequencer_line *leader = &nodes.lines[0], *follower = &nodes.lines[1];

    cr_assert_not(sequencer_way_is_other(follower, leader, NOW), "it is as good as there");
    nodes.lines[1].asked_us = NOW - PATIENCE;
    cr_assert(sequencer_way_is_other(follower, leader, NOW));
    cr_assert_not(sequencer_way_is_other(follower, follower, NOW));
    nodes.lines[0].asked_us = NOW - PATIENCE;
    cr_assert_not(sequencer_way_is_other(follower, leader, NOW), "nobody would take it");
}
