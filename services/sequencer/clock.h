/*
 * The sequencer's clock: the wall clock as it was when the epoch began, carried on by the monotonic
 * clock and slewed slowly towards the wall clock, so that a step of the wall clock never becomes a
 * jump of transaction times.
 */
#ifndef SEQUENCER_CLOCK_H
#define SEQUENCER_CLOCK_H

#include <stdint.h>

struct sequencer_clock {
    int64_t offset_us; /* what is added to the monotonic clock */
    uint64_t slewed_at_us;
};

void sequencer_clock_init(struct sequencer_clock *clock, uint64_t now_us, uint64_t wall_us);
uint64_t sequencer_clock_read(const struct sequencer_clock *clock, uint64_t now_us);
/* Move at most 1/2000 of the time since the last call towards the wall clock. */
void sequencer_clock_slew(struct sequencer_clock *clock, uint64_t now_us, uint64_t wall_us);

#endif
