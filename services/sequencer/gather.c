#include "gather.h"

void sequencer_gather_begin(struct sequencer_gather *gather, const struct sequencer_gathered *batch,
                            uint64_t now_us)
{
    size_t known = batch->commits + batch->pending;
    uint64_t wait_us = batch->took_us / 2;

    if (wait_us > SEQUENCER_GATHER_US)
        wait_us = SEQUENCER_GATHER_US;
    *gather = (struct sequencer_gather){ .wanted = known, .until_us = now_us + wait_us };
    if (batch->storages < 2 || known < SEQUENCER_GATHER_FEW)
        *gather = (struct sequencer_gather){ .wanted = 0 };
}

bool sequencer_gather_waits(const struct sequencer_gather *gather, size_t pending, uint64_t now_us)
{
    return pending < gather->wanted && now_us < gather->until_us;
}
