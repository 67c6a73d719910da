#include "pace.h"

#define WEIGHT 8 /* of the past, to one for the newest call */
#define US_MAX 10000000u
/* Calls of functions that take more may have a spare slot as those do of which nothing is known. */
#define SHORT_US 250000u

uint32_t worker_pace_of(const struct pace *pace, uint64_t key)
{
    const struct pace_place *place = &pace->places[key % PACE_PLACES];
    return place->key == key ? place->average_us : 0;
}

enum spare_class worker_pace_class(const struct pace *pace, uint64_t key)
{
    const struct pace_place *place = &pace->places[key % PACE_PLACES];
    uint32_t average_us = worker_pace_of(pace, key);
    if (average_us > 0 && place->is_long) {
        return SPARE_LONG;
    }
    return average_us > 0 && average_us <= SHORT_US ? SPARE_SHORT : SPARE_UNKNOWN;
}

void worker_pace_held(struct pace *pace, uint64_t key, uint64_t us)
{
    worker_pace_observe(pace, key, us);
    pace->places[key % PACE_PLACES].is_long = us >= SPARE_HELD_US;
}

void worker_pace_observe(struct pace *pace, uint64_t key, uint64_t us)
{
    struct pace_place *place = &pace->places[key % PACE_PLACES];
    uint32_t newest = us < 1 ? 1 : us > US_MAX ? US_MAX : (uint32_t)us;
    bool is_known = place->key == key && place->average_us > 0;
    place->key = key;
    place->is_long = false;
    place->average_us =
        is_known ? (place->average_us * (WEIGHT - 1) + newest + WEIGHT / 2) / WEIGHT : newest;
}
