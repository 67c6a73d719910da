#include "rt.h"

#define BUSY_PERCENT 5u  /* of one core, since the last look */
#define PUT_OFF_MAX  60u /* looks in a row */

bool rt_trim_is_due(struct rt_trim *trim, uint64_t now_us, uint64_t cpu_us)
{
    uint64_t used_us = cpu_us - trim->cpu_us, passed_us = now_us - trim->at_us;
    bool is_busy = used_us * 100 > passed_us * BUSY_PERCENT;

    trim->at_us = now_us;
    trim->cpu_us = cpu_us;
    trim->put_off = is_busy && trim->put_off < PUT_OFF_MAX ? trim->put_off + 1 : 0;
    return trim->put_off == 0;
}
