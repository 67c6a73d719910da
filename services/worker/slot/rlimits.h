/* What the kernel lets the slot's process have, set by itself before it gives up the right to. */
#ifndef SLOT_RLIMITS_H
#define SLOT_RLIMITS_H

#include "bb/base.h"

/*
 * From here on: no core files, few descriptors, and memory for `heap_bytes` of JavaScript, what a
 * script may have besides it, and room to unwind. V8 lets one huge allocation pass its own limit;
 * it does not pass this one. What cannot be set stays as it is: V8's limits hold all the same.
 */
void slot_rlimits_set(size_t heap_bytes);

#endif
