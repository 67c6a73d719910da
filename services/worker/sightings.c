#include "sightings.h"

enum {
    PLACES = 1 << 16
};

struct sightings {
    uint16_t marks[2][PLACES]; /* 0: free */
    unsigned young;
    size_t count; /* of the younger generation */
};

struct sightings *worker_sightings_new(void)
{
    return bb_alloc_zero(1, sizeof(struct sightings));
}

void worker_sightings_free(struct sightings *sightings)
{
    bb_free(sightings);
}

static uint16_t mark_of(uint64_t hash)
{
    return (uint16_t)(hash >> 48 | 1);
}

bool worker_sightings_add(struct sightings *sightings, uint64_t hash)
{
    size_t place = (hash >> 8) % PLACES;
    uint16_t mark = mark_of(hash);
    uint16_t *young = &sightings->marks[sightings->young][place];
    bool was_seen = *young == mark || sightings->marks[1 - sightings->young][place] == mark;
    if (*young == mark) {
        return was_seen;
    }
    *young = mark;
    if (++sightings->count == PLACES / 2) {
        sightings->young = 1 - sightings->young;
        sightings->count = 0;
        memset(sightings->marks[sightings->young], 0, sizeof(sightings->marks[0]));
    }
    return was_seen;
}

void worker_sightings_forget(struct sightings *sightings, uint64_t hash)
{
    size_t place = (hash >> 8) % PLACES;
    for (size_t i = 0; i < 2; i++) {
        if (sightings->marks[i][place] == mark_of(hash)) {
            sightings->marks[i][place] = 0;
        }
    }
}
