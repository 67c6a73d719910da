/*
 * Is this process still the sequencer? The lease of PROTOCOL.md, section 7: until 0.6 s after
 * *sending* the last RENEW that a majority of the voters, the leader among them, answered with one
 * term and leader. A storage leader lets another one claim only 0.9 s after the last RENEW it saw.
 */
#ifndef SEQUENCER_LEASE_H
#define SEQUENCER_LEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEQUENCER_LEASE_US  600000
#define SEQUENCER_VOTER_MAX 16

struct sequencer_lease {
    size_t voter_count;
    uint64_t start_us; /* of the lease; 0: none */
    struct {
        uint64_t sent_us, term, leader; /* of the youngest RENEW that this voter answered */
    } answers[SEQUENCER_VOTER_MAX];
};

void sequencer_lease_init(struct sequencer_lease *lease, size_t voter_count);
/* `voter` answered the RENEW that was sent at `sent_us`; `leader_voter`: who takes our batches. */
void sequencer_lease_answer(struct sequencer_lease *lease, size_t voter, size_t leader_voter,
                            uint64_t sent_us, uint64_t term, uint64_t leader);
bool sequencer_lease_holds(const struct sequencer_lease *lease, uint64_t now_us);

#endif
