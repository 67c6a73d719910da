#include "pace.h"

#define WEIGHT 8 /* of the past, to one for the newest call */
#define US_MAX 10000000u

uint32_t worker_pace_of(const struct pace *pace, uint64_t key)
{
    const struct pace_place *place = &pace->places[key % PACE_PLACES];
    return place->key == key ? place->average_us : 0;
}

void worker_pace_observe(struct pace *pace, uint64_t key, uint64_t us)
{
    struct pace_place *place = &pace->places[key % PACE_PLACES];
    uint32_t newest = us < 1 ? 1 : us > US_MAX ? US_MAX : (uint32_t)us;
    bool is_known = place->key == key && place->average_us > 0;
    place->key = key;
    place->average_us =
        is_known ? (place->average_us * (WEIGHT - 1) + newest + WEIGHT / 2) / WEIGHT : newest;
}
