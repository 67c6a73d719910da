#include "clock.h"

#define SLEW_PART 2000 /* 500 ppm, as adjtime(3) does */

void sequencer_clock_init(struct sequencer_clock *clock, uint64_t now_us, uint64_t wall_us)
{
    clock->offset_us = (int64_t)(wall_us - now_us);
    clock->slewed_at_us = now_us;
}

uint64_t sequencer_clock_read(const struct sequencer_clock *clock, uint64_t now_us)
{
    return now_us + (uint64_t)clock->offset_us;
}

void sequencer_clock_slew(struct sequencer_clock *clock, uint64_t now_us, uint64_t wall_us)
{
    int64_t wrong_us = (int64_t)(wall_us - sequencer_clock_read(clock, now_us));
    int64_t step_max = (int64_t)((now_us - clock->slewed_at_us) / SLEW_PART);

    if (wrong_us > step_max)
        wrong_us = step_max;
    if (wrong_us < -step_max)
        wrong_us = -step_max;
    clock->offset_us += wrong_us;
    clock->slewed_at_us = now_us;
}
