/*
 * Code is made ready before a call needs it: while a slot has nothing to do, the modules of a new
 * deployment are compiled, judged and run once, one at a time, so that a call that comes meanwhile
 * waits for one of them at most. Nothing of it is seen: instances that are not shared go as they do
 * after a call.
 */
#ifndef SLOT_WARM_H
#define SLOT_WARM_H

#include "call.h"

void slot_warm_begin(struct slot *slot, uint64_t deployment);
static inline bool slot_warm_has_more(const struct slot *slot)
{
    return slot->warming != 0;
}
/* Between two calls. */
void slot_warm_step(struct slot *slot);

#endif
