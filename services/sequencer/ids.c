#include "ids.h"

/*
 * Memory comes and goes in blocks of the ring, and the index is many small tables: none of them is
 * ever large enough for its growth to be felt.
 */
#define BLOCK_ENTRIES 1024u
#define TABLES        1024u
#define SLOTS_FIRST   8u
#define EMPTY         0u

struct entry {
    uint8_t id[SEQUENCER_ID_BYTES];
    uint64_t tx;
    enum sequencer_id_state state;
};
struct block {
    struct entry entries[BLOCK_ENTRIES];
};
/* Open addressing, at most half full. */
struct table {
    uint32_t *slots; /* EMPTY or place in the ring + 1 */
    uint32_t mask;   /* a power of two of them, less one */
    uint32_t count;
};

struct sequencer_ids {
    struct block **blocks; /* the ring; NULL: nothing is there */
    uint64_t first, next;  /* numbers of the oldest entry and of the next one */
    size_t block_count, count_max;
    struct table tables[TABLES];
};

static size_t count_of(const struct sequencer_ids *ids)
{
    return (size_t)(ids->next - ids->first);
}

/* ---- the ring ---- */

/* Entry n is at n % its places. */
static uint32_t place_of(const struct sequencer_ids *ids, uint64_t number)
{
    return (uint32_t)(number % (ids->block_count * BLOCK_ENTRIES));
}

static struct entry *at(const struct sequencer_ids *ids, uint32_t place)
{
    return &ids->blocks[place / BLOCK_ENTRIES]->entries[place % BLOCK_ENTRIES];
}

static const struct entry *oldest(const struct sequencer_ids *ids)
{
    return at(ids, place_of(ids, ids->first));
}

static uint32_t ring_push(struct sequencer_ids *ids)
{
    uint32_t place = place_of(ids, ids->next++);
    struct block **block = &ids->blocks[place / BLOCK_ENTRIES];

    if (*block == NULL)
        *block = bb_alloc(sizeof(struct block));
    return place;
}

static void ring_pop(struct sequencer_ids *ids)
{
    uint32_t place = place_of(ids, ids->first++);
    struct block **block = &ids->blocks[place / BLOCK_ENTRIES];

    if (place % BLOCK_ENTRIES == BLOCK_ENTRIES - 1) {
        bb_free(*block);
        *block = NULL;
    }
}

/* ---- the index ---- */

static uint64_t hash_of(const uint8_t *id)
{
    return bb_hash64(bb_slice(id, SEQUENCER_ID_BYTES), 0);
}

static struct table *table_of(struct sequencer_ids *ids, uint64_t hash)
{
    return &ids->tables[hash % TABLES];
}

static uint32_t home_of(const struct table *table, uint64_t hash)
{
    return (uint32_t)(hash / TABLES) & table->mask;
}

static uint32_t next_slot(const struct table *table, uint32_t slot)
{
    return (slot + 1) & table->mask;
}

/* The slot that holds the id, or the empty one where it would go. */
static uint32_t find_slot(const struct sequencer_ids *ids, const struct table *table, uint64_t hash,
                          const uint8_t *id)
{
    uint32_t slot = home_of(table, hash);

    while (table->slots[slot] != EMPTY &&
           memcmp(at(ids, table->slots[slot] - 1)->id, id, SEQUENCER_ID_BYTES) != 0)
        slot = next_slot(table, slot);
    return slot;
}

/* Close the hole that a removed entry leaves, so that probing needs no marks (Knuth 6.4, R). */
static void empty_slot(const struct sequencer_ids *ids, struct table *table, uint32_t hole)
{
    uint32_t slot = hole;

    for (;;) {
        slot = next_slot(table, slot);
        if (table->slots[slot] == EMPTY)
            break;
        uint32_t home = home_of(table, hash_of(at(ids, table->slots[slot] - 1)->id));
        if (((slot - home) & table->mask) >= ((slot - hole) & table->mask)) {
            table->slots[hole] = table->slots[slot];
            hole = slot;
        }
    }
    table->slots[hole] = EMPTY;
    table->count--;
}

static void table_init(struct table *table, uint32_t slot_count)
{
    table->slots = bb_alloc_zero(slot_count, sizeof(*table->slots));
    table->mask = slot_count - 1;
}

static void grow(const struct sequencer_ids *ids, struct table *table)
{
    struct table old = *table;

    table_init(table, 2 * (old.mask + 1));
    for (uint32_t i = 0; i <= old.mask; i++) {
        if (old.slots[i] == EMPTY)
            continue;
        const uint8_t *id = at(ids, old.slots[i] - 1)->id;
        table->slots[find_slot(ids, table, hash_of(id), id)] = old.slots[i];
    }
    bb_free(old.slots);
}

static void drop_oldest(struct sequencer_ids *ids)
{
    bb_assert(count_of(ids) > 0);
    const uint8_t *id = oldest(ids)->id;
    uint64_t hash = hash_of(id);
    struct table *table = table_of(ids, hash);
    empty_slot(ids, table, find_slot(ids, table, hash, id));
    ring_pop(ids);
}

/* ---- ids ---- */

struct sequencer_ids *sequencer_ids_new(size_t count_max)
{
    struct sequencer_ids *ids = bb_alloc_zero(1, sizeof *ids);

    bb_assert(count_max > 0 && count_max <= UINT32_MAX / 2);
    ids->count_max = count_max;
    ids->block_count = count_max / BLOCK_ENTRIES + 2; /* the first and the last are in part */
    ids->blocks = bb_alloc_zero(ids->block_count, sizeof(struct block *));
    for (size_t i = 0; i < TABLES; i++)
        table_init(&ids->tables[i], SLOTS_FIRST);
    return ids;
}

void sequencer_ids_free(struct sequencer_ids *ids)
{
    if (ids == NULL)
        return;
    for (size_t i = 0; i < ids->block_count; i++)
        bb_free(ids->blocks[i]);
    for (size_t i = 0; i < TABLES; i++)
        bb_free(ids->tables[i].slots);
    bb_free((void *)ids->blocks);
    bb_free(ids);
}

size_t sequencer_ids_count(const struct sequencer_ids *ids)
{
    return count_of(ids);
}

enum sequencer_id_state sequencer_ids_find(const struct sequencer_ids *ids, const uint8_t *id,
                                           struct bb_txtime *tx)
{
    uint64_t hash = hash_of(id);
    const struct table *table = &ids->tables[hash % TABLES];
    uint32_t slot = table->slots[find_slot(ids, table, hash, id)];

    if (slot == EMPTY)
        return SEQUENCER_ID_UNKNOWN;
    const struct entry *entry = at(ids, slot - 1);
    *tx = BB_TX(entry->tx);
    return entry->state;
}

void sequencer_ids_add(struct sequencer_ids *ids, const uint8_t *id, enum sequencer_id_state state,
                       struct bb_txtime tx)
{
    uint64_t hash = hash_of(id);
    struct table *table = table_of(ids, hash);

    bb_assert(state != SEQUENCER_ID_UNKNOWN);
    if (count_of(ids) == ids->count_max)
        drop_oldest(ids);
    if (2 * (table->count + 1) > table->mask + 1)
        grow(ids, table);
    uint32_t slot = find_slot(ids, table, hash, id);
    bb_assert(table->slots[slot] == EMPTY);
    uint32_t place = ring_push(ids);
    struct entry *entry = at(ids, place);
    memcpy(entry->id, id, SEQUENCER_ID_BYTES);
    entry->tx = tx.us;
    entry->state = state;
    table->slots[slot] = place + 1;
    table->count++;
}

void sequencer_ids_expire(struct sequencer_ids *ids, struct bb_txtime oldest_kept)
{
    while (count_of(ids) > 0 && oldest(ids)->tx < oldest_kept.us)
        drop_oldest(ids);
}
