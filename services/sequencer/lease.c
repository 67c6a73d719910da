#include "lease.h"

#include "bb/base.h"

void sequencer_lease_init(struct sequencer_lease *lease, size_t node_count)
{
    bb_assert(node_count > 0 && node_count <= SEQUENCER_VOTER_MAX);
    *lease = (struct sequencer_lease){ .node_count = node_count };
}

/* Insert into the times, youngest first. */
static void keep_sorted(uint64_t *times, size_t count, uint64_t time)
{
    size_t i = count;

    for (; i > 0 && times[i - 1] < time; i--)
        times[i] = times[i - 1];
    times[i] = time;
}

/* The youngest answer of that node that says what `answer` says; 0: none. A node may be asked under
 * two names, and has one vote. */
static uint64_t answered_us(const struct sequencer_lease *lease, uint64_t node,
                            const struct sequencer_renewed *answer)
{
    uint64_t sent_us = 0;

    for (size_t i = 0; i < lease->node_count; i++) {
        const struct sequencer_renewed *other = &lease->answers[i];
        if (other->node == node && other->term == answer->term && other->leader == answer->leader &&
            other->sent_us > sent_us)
            sent_us = other->sent_us;
    }
    return sent_us;
}

/* Of an older version of storage: each that is asked votes. */
static void count_all(const struct sequencer_lease *lease, const struct sequencer_renewed *answer,
                      uint64_t *times, size_t *count)
{
    for (size_t i = 0; i < lease->node_count; i++) {
        const struct sequencer_renewed *other = &lease->answers[i];
        if (other->sent_us != 0 && other->term == answer->term && other->leader == answer->leader)
            keep_sorted(times, (*count)++, other->sent_us);
    }
}

void sequencer_lease_grow(struct sequencer_lease *lease)
{
    bb_assert(lease->node_count < SEQUENCER_VOTER_MAX);
    lease->node_count++;
}

void sequencer_lease_forget(struct sequencer_lease *lease, size_t index)
{
    bb_assert(index < lease->node_count);
    lease->answers[index] = (struct sequencer_renewed){ 0 };
}

void sequencer_lease_answer(struct sequencer_lease *lease, size_t index, size_t leader_index,
                            const struct sequencer_renewed *answer)
{
    uint64_t times[SEQUENCER_VOTER_MAX] = { 0 };
    size_t count = 0;
    const struct sequencer_renewed *leader = &lease->answers[leader_index];

    bb_assert(index < lease->node_count && leader_index < lease->node_count);
    if (answer->sent_us < lease->answers[index].sent_us)
        return; /* overtaken by a younger one */
    lease->answers[index] = *answer;
    if (leader->term != answer->term || leader->leader != answer->leader)
        return;
    /* Who leads may not be known here yet: what another one answers is no word of the leader. */
    if (leader->node != 0 && leader->node != leader->leader)
        return;
    size_t voters = leader->voter_count == 0 ? lease->node_count : leader->voter_count;
    size_t majority = voters / 2 + 1;
    for (size_t i = 0; i < leader->voter_count; i++) {
        uint64_t sent_us = answered_us(lease, leader->voters[i], answer);
        if (sent_us != 0)
            keep_sorted(times, count++, sent_us);
    }
    if (leader->voter_count == 0)
        count_all(lease, answer, times, &count);
    if (count < majority)
        return;
    /* A majority answered what was sent at this time or later, and so did the leader. */
    uint64_t start_us = times[majority - 1];
    if (leader->sent_us < start_us)
        start_us = leader->sent_us;
    if (start_us > lease->start_us)
        lease->start_us = start_us;
}

bool sequencer_lease_holds(const struct sequencer_lease *lease, uint64_t now_us)
{
    return lease->start_us != 0 && now_us < lease->start_us + SEQUENCER_LEASE_US;
}
