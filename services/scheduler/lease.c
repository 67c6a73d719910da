#include "lease.h"

#define ASK_AGAIN_US 200000u /* after a request that failed */

void scheduler_lease_init(struct scheduler_lease *lease, uint64_t lease_us)
{
    *lease = (struct scheduler_lease){ .lease_us = lease_us };
}

bool scheduler_lease_is_active(const struct scheduler_lease *lease, uint64_t now_us)
{
    return lease->lease_us == 0 || (lease->is_held && now_us < lease->held_until_us);
}

bool scheduler_lease_ask(struct scheduler_lease *lease, uint64_t now_us, bool *has_seen,
                         uint64_t *seen)
{
    if (lease->lease_us == 0 || lease->is_asking || now_us < lease->ask_at_us)
        return false;
    lease->is_asking = true;
    lease->asked_us = now_us;
    *has_seen =
        !lease->is_held && lease->has_beat && now_us >= lease->beat_since_us + lease->lease_us;
    *seen = lease->beat;
    return true;
}

void scheduler_lease_answer(struct scheduler_lease *lease, uint64_t now_us, bool is_held,
                            uint64_t beat)
{
    bb_assert(lease->is_asking);
    lease->is_asking = false;
    lease->is_held = is_held;
    lease->ask_at_us = lease->asked_us + lease->lease_us / 3;
    if (is_held) {
        lease->held_until_us = lease->asked_us + lease->lease_us;
        lease->has_beat = false;
    } else if (!lease->has_beat || lease->beat != beat) {
        lease->has_beat = true;
        lease->beat = beat;
        lease->beat_since_us = now_us;
    }
}

void scheduler_lease_failed(struct scheduler_lease *lease, uint64_t now_us)
{
    bb_assert(lease->is_asking);
    lease->is_asking = false;
    lease->ask_at_us = now_us + ASK_AGAIN_US;
}

uint64_t scheduler_lease_next_us(const struct scheduler_lease *lease, uint64_t now_us)
{
    uint64_t next = lease->is_asking ? UINT64_MAX : lease->ask_at_us;

    if (lease->lease_us == 0)
        return UINT64_MAX;
    if (lease->is_held && now_us < lease->held_until_us && lease->held_until_us < next)
        next = lease->held_until_us;
    return next;
}
