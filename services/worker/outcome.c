#include "outcome.h"

/* Beyond `kept_ms`, of which clocks of clients may be ahead by half. */
static uint64_t slack_ms(uint64_t kept_ms)
{
    return kept_ms / 8;
}

enum outcome_key_age worker_outcome_key_age(uint64_t key_ms, uint64_t snapshot_us, uint64_t wall_us,
                                            uint64_t kept_ms)
{
    uint64_t newest_ms = (snapshot_us > wall_us ? snapshot_us : wall_us) / 1000;

    if (key_ms == 0)
        return OUTCOME_KEY_USABLE;
    if (key_ms > newest_ms + slack_ms(kept_ms) / 2)
        return OUTCOME_KEY_EARLY;
    return key_ms + kept_ms < snapshot_us / 1000 ? OUTCOME_KEY_OLD : OUTCOME_KEY_USABLE;
}

uint64_t worker_outcome_remove_before_ms(uint64_t snapshot_us, uint64_t kept_ms)
{
    uint64_t snapshot_ms = snapshot_us / 1000, whole_ms = kept_ms + slack_ms(kept_ms);

    return snapshot_ms > whole_ms ? snapshot_ms - whole_ms : 0;
}
