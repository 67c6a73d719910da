#include "copies.h"

#include "copy_ranges.h"

enum {
    WAYS = 4,
    PLACES_PER_SLOT = 2048, /* as many as a slot keeps */
    SEEN = 4096
};

struct place {
    uint8_t key[COPIES_KEY_SIZE];
    uint32_t age;   /* of the set: the lowest one goes first */
    uint64_t slots; /* bits; 0: the place is free */
};

struct slot_news {
    bool forgets;
    struct copies_end *ends;
    size_t end_count;
    struct copies_range_end *range_ends;
    size_t range_end_count;
};

struct copies {
    struct place *places; /* sets of WAYS */
    size_t set_count, slot_count;
    uint32_t clock;
    struct copy_ranges *ranges;
    uint32_t seen[SEEN]; /* hashes of ranges that were read */
    struct slot_news slots[COPIES_SLOTS_MAX];
};

struct copies *worker_copies_new(size_t slot_count)
{
    struct copies *copies = bb_alloc_zero(1, sizeof(*copies));
    copies->slot_count = slot_count < COPIES_SLOTS_MAX ? slot_count : COPIES_SLOTS_MAX;
    copies->set_count = copies->slot_count * PLACES_PER_SLOT / WAYS;
    copies->places = bb_alloc_zero(copies->set_count * WAYS + 1, sizeof(struct place));
    copies->ranges = worker_copy_ranges_new();
    for (size_t i = 0; i < copies->slot_count; i++) {
        copies->slots[i].ends = bb_alloc(COPIES_ENDS_MAX * sizeof(struct copies_end));
        copies->slots[i].range_ends = bb_alloc(COPIES_ENDS_MAX * sizeof(struct copies_range_end));
    }
    return copies;
}

void worker_copies_free(struct copies *copies)
{
    if (copies == NULL) {
        return;
    }
    for (size_t i = 0; i < copies->slot_count; i++) {
        bb_free(copies->slots[i].ends);
        bb_free(copies->slots[i].range_ends);
    }
    worker_copy_ranges_free(copies->ranges);
    bb_free(copies->places);
    bb_free(copies);
}

static struct place *set_of(const struct copies *copies, struct bb_slice key)
{
    /* Ids are random or a hash: their bytes spread by themselves. */
    uint32_t hash = bb_get_le32(key.data + 4) ^ bb_get_be32(key.data);
    return copies->places + hash % copies->set_count * WAYS;
}

static struct place *place_of(const struct copies *copies, struct bb_slice key)
{
    if (key.size != COPIES_KEY_SIZE || copies->set_count == 0) {
        return NULL;
    }
    struct place *set = set_of(copies, key);
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].slots != 0 && memcmp(set[i].key, key.data, COPIES_KEY_SIZE) == 0) {
            return &set[i];
        }
    }
    return NULL;
}

static void forget_all(struct slot_news *news)
{
    news->forgets = true;
    news->end_count = news->range_end_count = 0;
}

static void tell_later(struct slot_news *news, const uint8_t *key, uint64_t tx)
{
    if (news->forgets) {
        return;
    }
    if (news->end_count == COPIES_ENDS_MAX) {
        forget_all(news);
        return;
    }
    struct copies_end *end = &news->ends[news->end_count++];
    memcpy(end->key, key, COPIES_KEY_SIZE);
    end->tx = tx;
}

/* Nobody keeps what is here from `tx` on. */
static void end(struct copies *copies, struct place *place, uint64_t tx)
{
    for (uint64_t left = place->slots; left != 0; left &= left - 1) {
        tell_later(&copies->slots[__builtin_ctzll(left)], place->key, tx);
    }
    place->slots = 0;
}

static struct place *oldest_of(struct place *set)
{
    struct place *oldest = &set[0];
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].slots == 0) {
            return &set[i];
        }
        if ((int32_t)(set[i].age - oldest->age) < 0) {
            oldest = &set[i];
        }
    }
    return oldest;
}

bool worker_copies_add(struct copies *copies, size_t slot, struct bb_slice key, uint64_t cursor)
{
    if (slot >= copies->slot_count || key.size != COPIES_KEY_SIZE) {
        return false;
    }
    struct place *place = place_of(copies, key);
    if (place == NULL) {
        place = oldest_of(set_of(copies, key));
        /* What the slots keep holds as far as this supervisor knows, and not for sure after it. */
        end(copies, place, cursor + 1);
        memcpy(place->key, key.data, COPIES_KEY_SIZE);
    }
    place->age = ++copies->clock;
    place->slots |= UINT64_C(1) << slot;
    return true;
}

bool worker_copies_has(struct copies *copies, size_t slot, struct bb_slice key)
{
    struct place *place = place_of(copies, key);
    if (place == NULL || slot >= copies->slot_count || (place->slots >> slot & 1) == 0) {
        return false;
    }
    place->age = ++copies->clock;
    return true;
}

/* ---- ranges ---- */

static void tell_range_later(struct slot_news *news, uint64_t number, uint64_t tx)
{
    if (news->forgets) {
        return;
    }
    if (news->range_end_count == COPIES_ENDS_MAX) {
        forget_all(news);
        return;
    }
    news->range_ends[news->range_end_count++] =
        (struct copies_range_end){ .number = number, .tx = tx };
}

static void end_range(struct copies *copies, struct copy_range *range, uint64_t tx)
{
    for (uint64_t left = range->slots; left != 0; left &= left - 1) {
        tell_range_later(&copies->slots[__builtin_ctzll(left)], range->number, tx);
    }
    worker_copy_ranges_remove(copies->ranges, range);
}

static uint32_t *seen_of(struct copies *copies, struct bb_slice low, struct bb_slice high,
                         uint32_t *mark)
{
    uint64_t hash = bb_hash64(high, bb_hash64(low, 0));
    *mark = (uint32_t)(hash >> 32) | 1;
    return &copies->seen[hash % SEEN];
}

/* Whether it was read before, since it was written last. */
static bool is_seen(struct copies *copies, struct bb_slice low, struct bb_slice high)
{
    uint32_t mark;
    uint32_t *seen = seen_of(copies, low, high, &mark);
    bool was_seen = *seen == mark;
    *seen = mark;
    return was_seen;
}

uint64_t worker_copies_add_range(struct copies *copies, size_t slot, struct bb_slice low,
                                 struct bb_slice high, uint64_t cursor)
{
    if (slot >= copies->slot_count || low.size + high.size > COPY_RANGE_KEY_MAX ||
        bb_slice_compare(low, high) >= 0) {
        return 0;
    }
    struct copy_range *range = worker_copy_ranges_find(copies->ranges, low, high);
    if (range == NULL) {
        if (!is_seen(copies, low, high)) {
            return 0;
        }
        if (worker_copy_ranges_count(copies->ranges) == COPY_RANGES_MAX) {
            end_range(copies, worker_copy_ranges_victim(copies->ranges), cursor + 1);
        }
        range = worker_copy_ranges_add(copies->ranges, low, high);
    }
    range->is_used = true;
    range->slots |= UINT64_C(1) << slot;
    return range->number;
}

static void end_ranges_at(struct copies *copies, struct bb_slice key, uint64_t tx)
{
    struct copy_range *range;
    while ((range = worker_copy_ranges_at(copies->ranges, key)) != NULL) {
        uint32_t mark;
        *seen_of(copies, range->low, range->high, &mark) = 0;
        end_range(copies, range, tx);
    }
}

void worker_copies_written(struct copies *copies, struct bb_slice key, uint64_t tx)
{
    struct place *place = place_of(copies, key);
    if (place != NULL) {
        end(copies, place, tx);
    }
    if (worker_copy_ranges_count(copies->ranges) > 0) {
        end_ranges_at(copies, key, tx);
    }
}

void worker_copies_forget(struct copies *copies)
{
    for (size_t i = 0; i < copies->slot_count; i++) {
        forget_all(&copies->slots[i]);
    }
    worker_copy_ranges_clear(copies->ranges);
    for (size_t i = 0; i < copies->set_count * WAYS; i++) {
        copies->places[i].slots = 0;
    }
}

void worker_copies_restarted(struct copies *copies, size_t slot)
{
    if (slot < copies->slot_count) {
        /* Places may still name it: what is told of them then means nothing to it. */
        copies->slots[slot].forgets = false;
        copies->slots[slot].end_count = copies->slots[slot].range_end_count = 0;
    }
}

struct copies_news worker_copies_tell(struct copies *copies, size_t slot)
{
    if (slot >= copies->slot_count) {
        return (struct copies_news){ .keeps = false };
    }
    struct slot_news *news = &copies->slots[slot];
    struct copies_news told = {
        .keeps = true,
        .forgets = news->forgets,
        .ends = news->ends,
        .end_count = news->end_count,
        .range_ends = news->range_ends,
        .range_end_count = news->range_end_count,
    };
    news->forgets = false;
    news->end_count = news->range_end_count = 0;
    return told;
}
