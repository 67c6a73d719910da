#include "lease.h"

#include "bb/base.h"

void sequencer_lease_init(struct sequencer_lease *lease, size_t voter_count)
{
    bb_assert(voter_count > 0 && voter_count <= SEQUENCER_VOTER_MAX);
    *lease = (struct sequencer_lease){ .voter_count = voter_count };
}

/* Insert into the times, youngest first. */
static void keep_sorted(uint64_t *times, size_t count, uint64_t time)
{
    size_t i = count;

    for (; i > 0 && times[i - 1] < time; i--)
        times[i] = times[i - 1];
    times[i] = time;
}

void sequencer_lease_answer(struct sequencer_lease *lease, size_t voter, size_t leader_voter,
                            uint64_t sent_us, uint64_t term, uint64_t leader)
{
    uint64_t times[SEQUENCER_VOTER_MAX] = { 0 };
    size_t count = 0;
    size_t majority = lease->voter_count / 2 + 1;

    bb_assert(voter < lease->voter_count && leader_voter < lease->voter_count);
    if (sent_us < lease->answers[voter].sent_us)
        return; /* overtaken by a younger one */
    lease->answers[voter].sent_us = sent_us;
    lease->answers[voter].term = term;
    lease->answers[voter].leader = leader;
    if (lease->answers[leader_voter].term != term || lease->answers[leader_voter].leader != leader)
        return;
    for (size_t i = 0; i < lease->voter_count; i++) {
        if (lease->answers[i].sent_us != 0 && lease->answers[i].term == term &&
            lease->answers[i].leader == leader)
            keep_sorted(times, count++, lease->answers[i].sent_us);
    }
    if (count < majority)
        return;
    /* A majority answered what was sent at this time or later, and so did the leader. */
    uint64_t start_us = times[majority - 1];
    if (lease->answers[leader_voter].sent_us < start_us)
        start_us = lease->answers[leader_voter].sent_us;
    if (start_us > lease->start_us)
        lease->start_us = start_us;
}

bool sequencer_lease_holds(const struct sequencer_lease *lease, uint64_t now_us)
{
    return lease->start_us != 0 && now_us < lease->start_us + SEQUENCER_LEASE_US;
}
