#include "wanted.h"

#define SETS 64u
#define WAYS 8u
/* An index of which no range was asked for so long is not wanted any more. */
#define WANTED_US 60000000u

struct index {
    uint32_t number; /* the first bytes of its keys */
    bool is_there;
    uint64_t from, used; /* when it was asked for: first, and last */
};
struct wanted {
    struct index sets[SETS][WAYS];
};

struct wanted *worker_wanted_new(void)
{
    return bb_alloc_zero(1, sizeof(struct wanted));
}

void worker_wanted_free(struct wanted *wanted)
{
    bb_free(wanted);
}

static size_t set_of(uint32_t number)
{
    return (number ^ number >> 8) % SETS;
}

static const struct index *find(const struct wanted *wanted, struct bb_slice key)
{
    uint32_t number = key.size < 4 ? 0 : bb_get_be32(key.data);
    const struct index *set = wanted->sets[set_of(number)];
    for (size_t i = 0; key.size >= 4 && i < WAYS; i++) {
        if (set[i].is_there && set[i].number == number) {
            return &set[i];
        }
    }
    return NULL;
}

void worker_wanted_add(struct wanted *wanted, struct bb_slice key, uint64_t newest)
{
    if (key.size < 4) {
        return;
    }
    uint32_t number = bb_get_be32(key.data);
    struct index *set = wanted->sets[set_of(number)];
    struct index *place = set;
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].is_there && set[i].number == number) {
            place = &set[i];
            break;
        }
        if (place->is_there && (!set[i].is_there || set[i].used < place->used)) {
            place = &set[i];
        }
    }
    bool is_kept = place->is_there && place->number == number && newest <= place->used + WANTED_US;
    if (!is_kept) {
        *place = (struct index){ .number = number, .is_there = true, .from = newest };
    }
    place->used = newest;
}

bool worker_wanted_has(const struct wanted *wanted, struct bb_slice key, uint64_t tx)
{
    const struct index *index = find(wanted, key);
    return index != NULL && tx <= index->used + WANTED_US;
}

uint64_t worker_wanted_from(const struct wanted *wanted, struct bb_slice low, struct bb_slice high,
                            uint64_t newest)
{
    const struct index *index = find(wanted, low);
    if (index == NULL || newest > index->used + WANTED_US || high.size < 4) {
        return UINT64_MAX;
    }
    uint32_t end = bb_get_be32(high.data);
    bool is_of_one = end == index->number || (high.size == 4 && end == index->number + 1);
    return is_of_one ? index->from : UINT64_MAX;
}
