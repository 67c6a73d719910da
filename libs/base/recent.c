#include "bb/recent.h"

struct record {
    struct bb_list link;
    uint64_t tx;
    size_t size;     /* of bytes */
    uint8_t bytes[]; /* u32 size, key; .. */
};

void bb_recent_init(struct bb_recent *ring, size_t bytes_max)
{
    *ring = (struct bb_recent){ .bytes_max = bytes_max };
    bb_list_init(&ring->records);
}

static void pop(struct bb_recent *ring)
{
    struct record *record = bb_container(ring->records.next, struct record, link);

    bb_list_remove(&record->link);
    ring->bytes -= sizeof(*record) + record->size;
    ring->floor_tx = record->tx;
    bb_free(record);
}

void bb_recent_clear(struct bb_recent *ring, uint64_t tx)
{
    while (!bb_list_is_empty(&ring->records))
        pop(ring);
    ring->floor_tx = tx;
    ring->newest_tx = tx;
}

void bb_recent_fini(struct bb_recent *ring)
{
    bb_recent_clear(ring, 0);
}

void bb_recent_add(struct bb_recent *ring, uint64_t tx, const struct bb_slice *keys, size_t count,
                   bool is_wanted)
{
    struct record *record;
    size_t size = 0;
    uint8_t *at;

    bb_assert(tx > ring->newest_tx);
    ring->newest_tx = tx;
    for (size_t i = 0; i < count; i++)
        size += 4 + keys[i].size;
    if (!is_wanted || sizeof(*record) + size > ring->bytes_max) {
        bb_recent_clear(ring, tx);
        return;
    }
    record = bb_alloc(sizeof(*record) + size);
    record->tx = tx;
    record->size = size;
    at = record->bytes;
    for (size_t i = 0; i < count; i++) {
        bb_put_le32(at, (uint32_t)keys[i].size);
        memcpy(at + 4, keys[i].data, keys[i].size);
        at += 4 + keys[i].size;
    }
    bb_list_push_back(&ring->records, &record->link);
    ring->bytes += sizeof(*record) + size;
    while (ring->bytes > ring->bytes_max)
        pop(ring);
}

static bool record_hits(const struct record *record, bool (*hits)(void *arg, struct bb_slice key),
                        void *arg)
{
    size_t at = 0;

    while (at < record->size) {
        size_t size = bb_get_le32(record->bytes + at);

        if (hits(arg, bb_slice(record->bytes + at + 4, size)))
            return true;
        at += 4 + size;
    }
    return false;
}

bool bb_recent_hits(const struct bb_recent *ring, uint64_t tx,
                    bool (*hits)(void *arg, struct bb_slice key), void *arg, uint64_t *hit_tx)
{
    bool is_hit = false;

    if (tx < ring->floor_tx) {
        *hit_tx = tx + 1;
        return true;
    }
    for (const struct bb_list *item = ring->records.prev; item != &ring->records;
         item = item->prev) {
        const struct record *record =
            (const void *)((const uint8_t *)(const void *)item - offsetof(struct record, link));

        if (record->tx <= tx)
            break;
        if (record_hits(record, hits, arg)) {
            *hit_tx = record->tx;
            is_hit = true;
        }
    }
    return is_hit;
}
