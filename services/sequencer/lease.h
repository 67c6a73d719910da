/*
 * Is this process still the sequencer? The lease of PROTOCOL.md, section 7: until 0.6 s after
 * *sending* the last RENEW that a majority of the voters, the leader among them, answered with one
 * term and leader. A storage leader lets another one claim only 0.9 s after the last RENEW it saw.
 *
 * Who votes is what the leader says, not the list of nodes that this process was started with: that
 * one may be older than the last change of the members.
 */
#ifndef SEQUENCER_LEASE_H
#define SEQUENCER_LEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEQUENCER_LEASE_US  600000
#define SEQUENCER_VOTER_MAX 16

/* What a storage node answered to a RENEW. */
struct sequencer_renewed {
    uint64_t sent_us; /* when the RENEW was sent; 0: never */
    uint64_t term, leader;
    uint64_t node; /* that answered */
    size_t voter_count;
    uint64_t voters[SEQUENCER_VOTER_MAX]; /* none: an older version, all that are asked vote */
};

struct sequencer_lease {
    size_t node_count;                                     /* that are asked */
    uint64_t start_us;                                     /* of the lease; 0: none */
    struct sequencer_renewed answers[SEQUENCER_VOTER_MAX]; /* the youngest of each */
};

void sequencer_lease_init(struct sequencer_lease *lease, size_t node_count);
void sequencer_lease_grow(struct sequencer_lease *lease);                 /* one more is asked */
void sequencer_lease_forget(struct sequencer_lease *lease, size_t index); /* another one is there */
/* The node at `index` answered; `leader`: the index of the one that takes our batches. */
void sequencer_lease_answer(struct sequencer_lease *lease, size_t index, size_t leader,
                            const struct sequencer_renewed *answer);
bool sequencer_lease_holds(const struct sequencer_lease *lease, uint64_t now_us);

#endif
