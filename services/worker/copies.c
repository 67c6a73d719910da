#include "copies.h"

enum {
    WAYS = 4,
    PLACES_PER_SLOT = 2048 /* as many as a slot keeps */
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
};

struct copies {
    struct place *places; /* sets of WAYS */
    size_t set_count, slot_count;
    uint32_t clock;
    struct slot_news slots[COPIES_SLOTS_MAX];
};

struct copies *worker_copies_new(size_t slot_count)
{
    struct copies *copies = bb_alloc_zero(1, sizeof(*copies));
    copies->slot_count = slot_count < COPIES_SLOTS_MAX ? slot_count : COPIES_SLOTS_MAX;
    copies->set_count = copies->slot_count * PLACES_PER_SLOT / WAYS;
    copies->places = bb_alloc_zero(copies->set_count * WAYS + 1, sizeof(struct place));
    for (size_t i = 0; i < copies->slot_count; i++) {
        copies->slots[i].ends = bb_alloc(COPIES_ENDS_MAX * sizeof(struct copies_end));
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
    }
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

static void tell_later(struct slot_news *news, const uint8_t *key, uint64_t tx)
{
    if (news->forgets) {
        return;
    }
    if (news->end_count == COPIES_ENDS_MAX) {
        news->forgets = true;
        news->end_count = 0;
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

void worker_copies_written(struct copies *copies, struct bb_slice key, uint64_t tx)
{
    struct place *place = place_of(copies, key);
    if (place != NULL) {
        end(copies, place, tx);
    }
}

void worker_copies_forget(struct copies *copies)
{
    for (size_t i = 0; i < copies->slot_count; i++) {
        copies->slots[i].forgets = true;
        copies->slots[i].end_count = 0;
    }
    for (size_t i = 0; i < copies->set_count * WAYS; i++) {
        copies->places[i].slots = 0;
    }
}

void worker_copies_restarted(struct copies *copies, size_t slot)
{
    if (slot < copies->slot_count) {
        /* Places may still name it: what is told of them then means nothing to it. */
        copies->slots[slot].forgets = false;
        copies->slots[slot].end_count = 0;
    }
}

struct copies_news worker_copies_tell(struct copies *copies, size_t slot)
{
    if (slot >= copies->slot_count) {
        return (struct copies_news){ .keeps = false };
    }
    struct slot_news *news = &copies->slots[slot];
    struct copies_news told = {
        .keeps = true, .forgets = news->forgets, .ends = news->ends, .end_count = news->end_count
    };
    news->forgets = false;
    news->end_count = 0;
    return told;
}
