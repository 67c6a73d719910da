#include "ids.h"

#define CAPACITY_FIRST 1024
#define EMPTY          0

struct entry {
    uint8_t id[SEQUENCER_ID_BYTES];
    uint64_t tx;
    enum sequencer_id_state state;
};

struct sequencer_ids {
    struct entry *ring;   /* `capacity` is a power of two; entry n is at n % capacity */
    uint64_t first, next; /* numbers of the oldest entry and of the next one */
    size_t capacity, count_max;
    uint32_t *index; /* twice the capacity; EMPTY or place in the ring + 1 */
};

static size_t count_of(const struct sequencer_ids *ids)
{
    return (size_t)(ids->next - ids->first);
}

static size_t slot_of(const struct sequencer_ids *ids, const uint8_t *id)
{
    return (size_t)bb_hash64(bb_slice(id, SEQUENCER_ID_BYTES), 0) & (ids->capacity * 2 - 1);
}

static size_t next_slot(const struct sequencer_ids *ids, size_t slot)
{
    return (slot + 1) & (ids->capacity * 2 - 1);
}

/* The slot that holds the id, or the empty one where it would go. */
static size_t find_slot(const struct sequencer_ids *ids, const uint8_t *id)
{
    size_t slot = slot_of(ids, id);

    while (ids->index[slot] != EMPTY &&
           memcmp(ids->ring[ids->index[slot] - 1].id, id, SEQUENCER_ID_BYTES) != 0)
        slot = next_slot(ids, slot);
    return slot;
}

/* Close the hole that a removed entry leaves, so that probing needs no marks (Knuth 6.4, R). */
static void empty_slot(struct sequencer_ids *ids, size_t hole)
{
    size_t mask = ids->capacity * 2 - 1;
    size_t slot = hole;

    for (;;) {
        slot = next_slot(ids, slot);
        if (ids->index[slot] == EMPTY)
            break;
        size_t home = slot_of(ids, ids->ring[ids->index[slot] - 1].id);
        if (((slot - home) & mask) >= ((slot - hole) & mask)) {
            ids->index[hole] = ids->index[slot];
            hole = slot;
        }
    }
    ids->index[hole] = EMPTY;
}

static void drop_oldest(struct sequencer_ids *ids)
{
    bb_assert(count_of(ids) > 0);
    empty_slot(ids, find_slot(ids, ids->ring[ids->first & (ids->capacity - 1)].id));
    ids->first++;
}

static void grow(struct sequencer_ids *ids)
{
    struct entry *old = ids->ring;
    size_t old_capacity = ids->capacity;

    ids->capacity = old_capacity == 0 ? CAPACITY_FIRST : old_capacity * 2;
    ids->ring = bb_alloc(ids->capacity * sizeof *ids->ring);
    bb_free(ids->index);
    ids->index = bb_alloc_zero(ids->capacity * 2, sizeof *ids->index);
    for (uint64_t number = ids->first; number < ids->next; number++) {
        size_t place = (size_t)number & (ids->capacity - 1);
        ids->ring[place] = old[number & (old_capacity - 1)];
        ids->index[find_slot(ids, ids->ring[place].id)] = (uint32_t)place + 1;
    }
    bb_free(old);
}

struct sequencer_ids *sequencer_ids_new(size_t count_max)
{
    struct sequencer_ids *ids = bb_alloc_zero(1, sizeof *ids);

    bb_assert(count_max > 0 && count_max <= UINT32_MAX / 2);
    ids->count_max = count_max;
    grow(ids);
    return ids;
}

void sequencer_ids_free(struct sequencer_ids *ids)
{
    if (ids == NULL)
        return;
    bb_free(ids->ring);
    bb_free(ids->index);
    bb_free(ids);
}

size_t sequencer_ids_count(const struct sequencer_ids *ids)
{
    return count_of(ids);
}

enum sequencer_id_state sequencer_ids_find(const struct sequencer_ids *ids, const uint8_t *id,
                                           struct bb_txtime *tx)
{
    uint32_t place = ids->index[find_slot(ids, id)];

    if (place == EMPTY)
        return SEQUENCER_ID_UNKNOWN;
    const struct entry *entry = &ids->ring[place - 1];
    *tx = BB_TX(entry->tx);
    return entry->state;
}

void sequencer_ids_add(struct sequencer_ids *ids, const uint8_t *id, enum sequencer_id_state state,
                       struct bb_txtime tx)
{
    bb_assert(state != SEQUENCER_ID_UNKNOWN);
    if (count_of(ids) == ids->count_max)
        drop_oldest(ids);
    if (count_of(ids) == ids->capacity)
        grow(ids);
    size_t slot = find_slot(ids, id);
    bb_assert(ids->index[slot] == EMPTY);
    size_t place = (size_t)ids->next & (ids->capacity - 1);
    struct entry *entry = &ids->ring[place];
    memcpy(entry->id, id, SEQUENCER_ID_BYTES);
    entry->tx = tx.us;
    entry->state = state;
    ids->index[slot] = (uint32_t)place + 1;
    ids->next++;
}

void sequencer_ids_expire(struct sequencer_ids *ids, struct bb_txtime oldest)
{
    while (count_of(ids) > 0 && ids->ring[ids->first & (ids->capacity - 1)].tx < oldest.us)
        drop_oldest(ids);
}
