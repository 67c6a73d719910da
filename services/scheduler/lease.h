/*
 * Which of several schedulers is the active one: the holder of a row of _leases. Pure.
 *
 * The holder raises the row's beat every third of a lease. A standby that has watched one beat for
 * a whole lease takes the row over, if the beat is still that one. Both measure by their own
 * monotonic clocks: the holder counts from when it sent its last renewal, a standby from when it
 * saw the beat, which was later. So the holder has stopped before another one begins, whatever wall
 * clocks say.
 *
 *   state     may become
 *   STANDBY   ACTIVE      the row is ours
 *   ACTIVE    STANDBY     not renewed for a lease, or the row is another's
 */
#ifndef SCHEDULER_LEASE_H
#define SCHEDULER_LEASE_H

#include "bb/base.h"

struct scheduler_lease {
    uint64_t lease_us; /* 0: there is no other scheduler, and always ours */
    bool is_held;
    uint64_t held_until_us;
    bool has_beat;
    uint64_t beat, beat_since_us; /* standby: the beat that was seen, and since when */
    bool is_asking;
    uint64_t asked_us, ask_at_us;
};

void scheduler_lease_init(struct scheduler_lease *lease, uint64_t lease_us);
bool scheduler_lease_is_active(const struct scheduler_lease *lease, uint64_t now_us);
/* Whether to ask now; `has_seen`: take it over if the beat is still `seen`. */
bool scheduler_lease_ask(struct scheduler_lease *lease, uint64_t now_us, bool *has_seen,
                         uint64_t *seen);
/* The answer of the row. */
void scheduler_lease_answer(struct scheduler_lease *lease, uint64_t now_us, bool is_held,
                            uint64_t beat);
void scheduler_lease_failed(struct scheduler_lease *lease, uint64_t now_us);
/* When to look again. */
uint64_t scheduler_lease_next_us(const struct scheduler_lease *lease, uint64_t now_us);

#endif
