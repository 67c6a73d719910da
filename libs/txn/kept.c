#include "txn_internal.h"

/*
 * A table of sets: a document is in one of the four places of its set. Who comes takes the place of
 * one that has ended, else of the one that was used least lately.
 */
enum {
    SETS = 512,
    WAYS = 4,
    KEY_SIZE = 20,
    VALUE_MAX = 32 << 10
};

struct kept {
    uint8_t key[KEY_SIZE];
    uint32_t size;     /* of the document */
    uint8_t *value;    /* NULL: there is no such document */
    uint64_t from, to; /* what holds at `from` up to before `to`; from == 0: the place is free */
    uint64_t used;     /* tick of the last use */
};

struct bb_txn_kept {
    struct txn_kept_ranges *ranges;
    struct kept places[SETS][WAYS];
    size_t bytes, bytes_max;
    uint64_t tick;
    size_t hand; /* where room is made */
};

struct bb_txn_kept *bb_txn_kept_new(size_t bytes_max)
{
    struct bb_txn_kept *kept = bb_alloc_zero(1, sizeof *kept);

    kept->bytes_max = bytes_max;
    kept->ranges = txn_kept_ranges_new(bytes_max);
    return kept;
}

static void clear(struct bb_txn_kept *kept, struct kept *place)
{
    kept->bytes -= place->size;
    bb_free(place->value);
    *place = (struct kept){ .from = 0 };
}

void bb_txn_kept_forget(struct bb_txn_kept *kept)
{
    for (size_t i = 0; i < (size_t)SETS * WAYS; i++)
        clear(kept, &kept->places[i / WAYS][i % WAYS]);
    bb_assert(kept->bytes == 0);
    txn_kept_ranges_forget(kept->ranges);
}

void bb_txn_kept_free(struct bb_txn_kept *kept)
{
    if (kept == NULL)
        return;
    bb_txn_kept_forget(kept);
    txn_kept_ranges_free(kept->ranges);
    bb_free(kept);
}

size_t bb_txn_kept_bytes(const struct bb_txn_kept *kept)
{
    return kept->bytes;
}

size_t bb_txn_kept_range_bytes(const struct bb_txn_kept *kept)
{
    return txn_kept_ranges_bytes(kept->ranges);
}

static struct kept *set_of(struct bb_txn_kept *kept, struct bb_slice key)
{
    /* Ids are random or a hash: their bytes spread by themselves. */
    return kept->places[(bb_get_le32(key.data + 4) ^ bb_get_be32(key.data)) % SETS];
}

static struct kept *place_of(struct bb_txn_kept *kept, struct bb_slice key)
{
    if (key.size != KEY_SIZE)
        return NULL;
    struct kept *set = set_of(kept, key);
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].from != 0 && memcmp(set[i].key, key.data, KEY_SIZE) == 0)
            return &set[i];
    }
    return NULL;
}

static struct kept *worst_of(struct kept *set)
{
    struct kept *worst = &set[0];

    for (size_t i = 0; i < WAYS; i++) {
        bool has_ended = set[i].to != UINT64_MAX, worst_has_ended = worst->to != UINT64_MAX;
        if (set[i].from == 0)
            return &set[i];
        if (has_ended != worst_has_ended ? has_ended : set[i].used < worst->used)
            worst = &set[i];
    }
    return worst;
}

static void make_room(struct bb_txn_kept *kept, size_t size)
{
    while (kept->bytes + size > kept->bytes_max) {
        kept->hand = (kept->hand + 1) % ((size_t)SETS * WAYS);
        clear(kept, &kept->places[kept->hand / WAYS][kept->hand % WAYS]);
    }
}

void bb_txn_kept_put(struct bb_txn_kept *kept, struct bb_slice key, struct bb_slice value,
                     uint64_t since)
{
    if (since == 0 || key.size != KEY_SIZE || value.size > VALUE_MAX ||
        value.size > kept->bytes_max)
        return;
    struct kept *place = place_of(kept, key);
    if (place != NULL)
        clear(kept, place);
    make_room(kept, value.size);
    if (place == NULL) {
        place = worst_of(set_of(kept, key));
        clear(kept, place);
    }
    place->size = (uint32_t)value.size;
    if (value.size > 0) {
        place->value = bb_alloc(value.size);
        memcpy(place->value, value.data, value.size);
    }
    memcpy(place->key, key.data, KEY_SIZE);
    place->from = since;
    place->to = UINT64_MAX;
    place->used = ++kept->tick;
    kept->bytes += value.size;
}

void bb_txn_kept_end(struct bb_txn_kept *kept, struct bb_slice key, uint64_t at)
{
    struct kept *place = place_of(kept, key);

    /* What holds since then is what was written then. */
    if (place != NULL && place->from < at && at < place->to)
        place->to = at;
}

bool bb_txn_kept_find(struct bb_txn_kept *kept, struct bb_slice key, uint64_t at,
                      struct bb_slice *value)
{
    struct kept *place = place_of(kept, key);

    if (place == NULL || at < place->from || at >= place->to)
        return false;
    place->used = ++kept->tick;
    *value = bb_slice(place->value, place->size);
    return true;
}

void bb_txn_kept_answer(struct bb_txn_kept *kept, const struct bb_txn_read *read,
                        const struct bb_txn_answer *answer)
{
    if (read->high.size > 0) {
        txn_kept_ranges_put(kept->ranges, read, answer);
    } else if (answer->entry_count <= 1 && answer->is_complete) {
        bb_txn_kept_put(kept, read->low,
                        answer->entry_count == 0 ? BB_SLICE_EMPTY : answer->entries[0].value,
                        answer->since);
    }
}

void bb_txn_kept_end_range(struct bb_txn_kept *kept, uint64_t number, uint64_t at)
{
    txn_kept_ranges_end(kept->ranges, number, at);
}

static bool recall_range(struct bb_txn *txn, struct bb_txn_kept *kept, size_t index, uint64_t at)
{
    size_t count;
    bool is_complete;
    struct txn_page *page =
        txn_kept_ranges_find(kept->ranges, &txn->reads[index], at, &count, &is_complete);

    if (page == NULL)
        return false;
    txn_scan_feed_page(txn, txn->wants[index].scan, page, count, is_complete);
    return true;
}

int bb_txn_recall(struct bb_ctx *ctx, struct bb_txn *txn, struct bb_txn_kept *kept, uint64_t at,
                  uint32_t *missing, size_t *missing_count)
{
    *missing_count = 0;
    for (size_t i = 0; i < txn->want_count; i++) {
        const struct bb_txn_read *read = &txn->reads[i];
        struct bb_slice value;
        if (read->high.size > 0 && recall_range(txn, kept, i, at))
            continue;
        if (read->high.size > 0 || !bb_txn_kept_find(kept, read->low, at, &value)) {
            missing[(*missing_count)++] = (uint32_t)i;
            continue;
        }
        const struct bb_txn_entry entry = { .key = read->low, .value = value };
        int rc = bb_txn_feed(ctx, txn, i, &entry, value.size == 0 ? 0 : 1, true);
        if (rc != BB_OK)
            return rc;
    }
    if (*missing_count == 0)
        bb_txn_fed(txn);
    return BB_OK;
}
