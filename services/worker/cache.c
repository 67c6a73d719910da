#include "cache.h"

#include "bb/mvcc.h"
#include "bb/value.h"

#include "coverage.h"

/* A scan without a limit is answered in pieces of this many entries. */
#define SCAN_ENTRIES_MAX 4096u

/* The keys of one feed record, until no reader needs what they replaced. */
struct trail {
    struct trail *next;
    uint64_t tx;
    size_t size, capacity;
    uint8_t keys[]; /* (u32 size, key) */
};
struct cache {
    struct bb_mvcc *map;
    struct coverage *covered;
    struct trail *oldest, *newest;
    size_t bytes_max, trail_bytes;
    uint64_t floor;       /* reads below it bypass the cache */
    struct bb_buf hand;   /* where eviction goes on */
    uint64_t hits, misses;
};

struct cache *worker_cache_new(size_t bytes_max)
{
    struct cache *cache = bb_alloc_zero(1, sizeof(*cache));
    cache->map = bb_mvcc_new(0);
    cache->covered = worker_coverage_new();
    cache->bytes_max = bytes_max;
    bb_buf_init(&cache->hand);
    return cache;
}

static void trail_pop(struct cache *cache)
{
    struct trail *trail = cache->oldest;
    cache->oldest = trail->next;
    if (cache->oldest == NULL) {
        cache->newest = NULL;
    }
    cache->trail_bytes -= sizeof(*trail) + trail->capacity;
    bb_free(trail);
}

static void trail_clear(struct cache *cache)
{
    while (cache->oldest != NULL) {
        trail_pop(cache);
    }
}

void worker_cache_free(struct cache *cache)
{
    if (cache == NULL) {
        return;
    }
    trail_clear(cache);
    bb_mvcc_free(cache->map);
    worker_coverage_free(cache->covered);
    bb_buf_fini(&cache->hand);
    bb_free(cache);
}

void worker_cache_reset(struct cache *cache, uint64_t base)
{
    trail_clear(cache);
    bb_mvcc_free(cache->map);
    cache->map = bb_mvcc_new(0);
    worker_coverage_clear(cache->covered);
    cache->floor = base;
}

struct cache_stats worker_cache_stats(const struct cache *cache)
{
    return (struct cache_stats){
        .hits = cache->hits,
        .misses = cache->misses,
        .bytes = bb_mvcc_bytes(cache->map) + worker_coverage_bytes(cache->covered) +
                 cache->trail_bytes,
        .intervals = worker_coverage_count(cache->covered),
    };
}

uint64_t worker_cache_floor(const struct cache *cache)
{
    return cache->floor;
}

/* ---- the feed ---- */

static void trail_append(struct trail *trail, struct bb_slice key)
{
    bb_assert(trail->size + 4 + key.size <= trail->capacity);
    bb_put_le32(trail->keys + trail->size, (uint32_t)key.size);
    memcpy(trail->keys + trail->size + 4, key.data, key.size);
    trail->size += 4 + key.size;
}

static struct bb_slice pb(ProtobufCBinaryData bytes)
{
    return bb_slice(bytes.data, bytes.len);
}

static size_t trail_size_of(const Bb__Proto__TxBody *body)
{
    size_t size = 0;
    for (size_t i = 0; i < body->n_writes; i++) {
        const Bb__Proto__Write *write = body->writes[i];
        size += 4 + write->doc_key.len;
        for (size_t k = 0; k < write->n_keys; k++) {
            size += 4 + write->keys[k]->key.len;
        }
    }
    return size;
}

static void apply_key(struct bb_ctx *ctx, struct cache *cache, struct trail *trail,
                      struct bb_slice key, struct bb_slice value, bool is_removed, uint64_t tx)
{
    enum bb_mvcc_kind kind = is_removed ? BB_MVCC_REMOVE : BB_MVCC_PUT;
    int rc = bb_mvcc_put(ctx, cache->map, key, value, kind, BB_TX(tx));
    bb_assert(rc == BB_OK); /* the map has no limit of its own */
    trail_append(trail, key);
}

uint32_t worker_cache_apply(struct bb_ctx *ctx, struct cache *cache, const Bb__Proto__TxBody *body,
                            uint64_t tx)
{
    uint32_t system_tables = 0;
    size_t capacity = trail_size_of(body);
    if (capacity == 0) {
        return 0;
    }
    struct trail *trail = bb_alloc(sizeof(*trail) + capacity);
    *trail = (struct trail){ .tx = tx, .capacity = capacity };
    for (size_t i = 0; i < body->n_writes; i++) {
        const Bb__Proto__Write *write = body->writes[i];
        if (!write->is_index_only && write->doc_key.len > 0) {
            bool is_removed = write->doc_op == BB__PROTO__KEY_OP__KEY_REMOVE;
            struct bb_slice doc = is_removed ? BB_SLICE_EMPTY : pb(write->doc);
            apply_key(ctx, cache, trail, pb(write->doc_key), doc, is_removed, tx);
            if (write->table < BB_TABLE_COUNT_SYSTEM) {
                system_tables |= 1u << write->table;
            }
        }
        for (size_t k = 0; k < write->n_keys; k++) {
            const Bb__Proto__IndexKey *key = write->keys[k];
            if (key->op != BB__PROTO__KEY_OP__KEY_TOUCH) {
                apply_key(ctx, cache, trail, pb(key->key), BB_SLICE_EMPTY,
                          key->op == BB__PROTO__KEY_OP__KEY_REMOVE, tx);
            }
        }
    }
    if (cache->newest != NULL) {
        cache->newest->next = trail;
    } else {
        cache->oldest = trail;
    }
    cache->newest = trail;
    cache->trail_bytes += sizeof(*trail) + capacity;
    return system_tables;
}

void worker_cache_drop_after(struct cache *cache, uint64_t newest)
{
    bb_mvcc_drop_after(cache->map, BB_TX(newest));
    struct trail *last = NULL;
    for (struct trail *trail = cache->oldest; trail != NULL && trail->tx <= newest;
         trail = trail->next) {
        last = trail;
    }
    struct trail *dead = last == NULL ? cache->oldest : last->next;
    while (dead != NULL) {
        struct trail *next = dead->next;
        cache->trail_bytes -= sizeof(*dead) + dead->capacity;
        bb_free(dead);
        dead = next;
    }
    cache->newest = last;
    if (last == NULL) {
        cache->oldest = NULL;
    } else {
        last->next = NULL;
    }
    bb_assert(cache->floor <= newest);
}

/* ---- letting go ---- */

static void key_after(struct bb_buf *buf, struct bb_slice key)
{
    bb_buf_clear(buf);
    bb_buf_append_slice(buf, key);
    bb_buf_append_byte(buf, 0);
}

/* Of one key: nobody reads below `horizon`. */
static void prune_key(struct cache *cache, struct bb_slice key, struct bb_buf *after,
                      uint64_t horizon)
{
    key_after(after, key);
    uint64_t upto = horizon;
    if (worker_coverage_at(cache->covered, key) != NULL) {
        struct bb_mvcc_version version;
        bool is_there = bb_mvcc_get(cache->map, key, BB_TX(horizon), &version);
        if (!is_there || version.tx.us == 0) {
            return;
        }
        /* An absent key in a covered interval needs no version that says so. */
        upto = version.kind == BB_MVCC_REMOVE ? version.tx.us : version.tx.us - 1;
    }
    bb_mvcc_drop_range(cache->map, key, bb_buf_slice(after), BB_TX(upto));
}

static void evict(struct cache *cache, uint64_t horizon)
{
    while (worker_coverage_count(cache->covered) > 0 &&
           worker_cache_stats(cache).bytes > cache->bytes_max) {
        struct cover *cover = worker_coverage_next(cache->covered, bb_buf_slice(&cache->hand));
        if (cover == NULL) {
            bb_buf_clear(&cache->hand);
            continue;
        }
        key_after(&cache->hand, cover->low);
        if (cover->is_used) {
            cover->is_used = false;
            continue;
        }
        bb_mvcc_drop_range(cache->map, cover->low, cover->high, BB_TX(horizon));
        worker_coverage_remove(cache->covered, cover);
    }
}

void worker_cache_prune(struct cache *cache, uint64_t horizon)
{
    if (horizon < cache->floor) {
        return;
    }
    cache->floor = horizon;
    struct bb_buf after;
    bb_buf_init(&after);
    while (cache->oldest != NULL && cache->oldest->tx <= horizon) {
        struct trail *trail = cache->oldest;
        for (size_t at = 0; at < trail->size;) {
            uint32_t size = bb_get_le32(trail->keys + at);
            prune_key(cache, bb_slice(trail->keys + at + 4, size), &after, horizon);
            at += 4 + size;
        }
        trail_pop(cache);
    }
    bb_buf_fini(&after);
    evict(cache, horizon);
}

/* ---- reading ---- */

enum known { KNOWN_FOUND, KNOWN_ABSENT, KNOWN_NOT };

static enum known point(struct cache *cache, struct bb_slice key, uint64_t snapshot,
                        struct bb_mvcc_version *version)
{
    struct cover *cover = worker_coverage_at(cache->covered, key);
    if (cover != NULL) {
        cover->is_used = true;
    }
    /* Writes are in the map without a gap, so the newest version there is the newest there is. */
    if (bb_mvcc_get(cache->map, key, BB_TX(snapshot), version)) {
        return version->kind == BB_MVCC_REMOVE ? KNOWN_ABSENT : KNOWN_FOUND;
    }
    return cover != NULL && cover->from <= snapshot ? KNOWN_ABSENT : KNOWN_NOT;
}

/* Room for one more in an arena array; false: the arena is full. */
static bool grow(struct cache_read *read, void **array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) {
        return true;
    }
    size_t more = *capacity == 0 ? 8 : *capacity * 2;
    void *bigger = bb_arena_alloc(read->arena, more * size);
    if (bigger == NULL) {
        read->status = BB_TOO_LARGE;
        return false;
    }
    if (count > 0) {
        memcpy(bigger, *array, count * size);
    }
    *array = bigger;
    *capacity = more;
    return true;
}

static struct bb_slice keep(struct cache_read *read, struct bb_slice from)
{
    if (from.size == 0) {
        return BB_SLICE_EMPTY;
    }
    struct bb_slice copy = bb_arena_dup(read->arena, from);
    if (copy.data == NULL) {
        read->status = BB_TOO_LARGE;
    }
    return copy;
}

static void need(struct cache_read *read, struct read_need what)
{
    void *array = read->needs;
    if (grow(read, &array, read->need_count, &read->need_capacity, sizeof(what))) {
        read->needs = array;
        read->needs[read->need_count++] = what;
    }
}

static struct bb_slice doc_key_of(struct cache_read *read, struct bb_slice index_key)
{
    uint8_t *key = bb_arena_alloc(read->arena, 20);
    if (key == NULL || index_key.size < 20) {
        read->status = key == NULL ? BB_TOO_LARGE : BB_CORRUPT;
        return BB_SLICE_EMPTY;
    }
    bb_put_be32(key, read->doc_index);
    memcpy(key + 4, index_key.data + index_key.size - 16, 16);
    return bb_slice(key, 20);
}

/* The document behind an entry: from the map, or it becomes a need. */
static void join(struct cache *cache, struct cache_read *read, struct read_entry *entry)
{
    struct bb_slice key = doc_key_of(read, entry->key);
    struct bb_mvcc_version version;
    if (read->status != BB_OK) {
        return;
    }
    switch (point(cache, key, read->snapshot, &version)) {
    case KNOWN_FOUND:
        entry->value = keep(read, version.value);
        entry->tx = version.tx.us;
        entry->is_waiting = false;
        read->bytes += version.value.size;
        break;
    case KNOWN_ABSENT:
        read->status = BB_CORRUPT; /* an index entry without its document */
        break;
    case KNOWN_NOT:
        entry->is_waiting = true;
        need(read, (struct read_need){ .low = key });
        break;
    }
}

static void add_entry(struct cache *cache, struct cache_read *read,
                      const struct bb_mvcc_version *version)
{
    void *array = read->entries;
    if (!grow(read, &array, read->entry_count, &read->entry_capacity, sizeof(struct read_entry))) {
        return;
    }
    read->entries = array;
    struct read_entry *entry = &read->entries[read->entry_count++];
    *entry = (struct read_entry){ .key = keep(read, version->key),
                                  .value = keep(read, version->value),
                                  .tx = version->value.size > 0 ? version->tx.us : 0 };
    read->bytes += version->key.size + version->value.size + 32;
    if (read->doc_index != 0 && read->status == BB_OK) {
        join(cache, read, entry);
    }
}

static bool is_full(const struct cache_read *read)
{
    return read->status != BB_OK || (read->limit > 0 && read->entry_count >= read->limit) ||
           (read->limit == 0 && read->entry_count >= SCAN_ENTRIES_MAX) ||
           (read->bytes_max > 0 && read->bytes >= read->bytes_max);
}

static uint32_t limit_left(const struct cache_read *read)
{
    return read->limit == 0 ? 0 : read->limit - (uint32_t)read->entry_count;
}

static struct bb_slice lesser(struct bb_slice a, struct bb_slice b)
{
    return bb_slice_compare(a, b) <= 0 ? a : b;
}
static struct bb_slice greater(struct bb_slice a, struct bb_slice b)
{
    return bb_slice_compare(a, b) >= 0 ? a : b;
}

/* What is left, from `left_low` up; false: the part at its start is unknown and became a need. */
static bool walk_up(struct cache *cache, struct cache_read *read)
{
    while (!is_full(read) && bb_slice_compare(read->left_low, read->left_high) < 0) {
        struct cover *cover = worker_coverage_at(cache->covered, read->left_low);
        if (cover == NULL || cover->from > read->snapshot) {
            struct cover *next = worker_coverage_next(cache->covered, read->left_low);
            struct bb_slice end = cover != NULL ? cover->high
                                  : next != NULL ? next->low
                                                 : read->left_high;
            end = lesser(end, read->left_high);
            read->left_low = keep(read, read->left_low);
            need(read, (struct read_need){ .low = read->left_low,
                                           .high = keep(read, end),
                                           .limit = limit_left(read),
                                           .doc_index = read->doc_index });
            return false;
        }
        cover->is_used = true;
        struct bb_slice end = lesser(cover->high, read->left_high);
        struct bb_mvcc_cursor cursor;
        bb_mvcc_cursor_init(&cursor, cache->map, BB_TX(read->snapshot));
        bool is_there = bb_mvcc_seek(&cursor, read->left_low);
        while (is_there && bb_slice_compare(cursor.version.key, end) < 0) {
            if (is_full(read)) {
                return true;
            }
            if (cursor.version.kind != BB_MVCC_REMOVE) {
                add_entry(cache, read, &cursor.version);
            }
            is_there = bb_mvcc_next(&cursor);
        }
        read->left_low = end;
    }
    return true;
}

/* The same from `left_high` down. */
static bool walk_down(struct cache *cache, struct cache_read *read)
{
    while (!is_full(read) && bb_slice_compare(read->left_low, read->left_high) < 0) {
        struct cover *cover = worker_coverage_before(cache->covered, read->left_high);
        bool is_covered = cover != NULL && bb_slice_compare(cover->high, read->left_high) >= 0;
        if (!is_covered || cover->from > read->snapshot) {
            struct bb_slice start = is_covered      ? cover->low
                                    : cover != NULL ? cover->high
                                                    : read->left_low;
            start = greater(start, read->left_low);
            read->left_high = keep(read, read->left_high);
            need(read, (struct read_need){ .low = keep(read, start),
                                           .high = read->left_high,
                                           .is_descending = true,
                                           .limit = limit_left(read),
                                           .doc_index = read->doc_index });
            return false;
        }
        cover->is_used = true;
        struct bb_slice start = greater(cover->low, read->left_low);
        struct bb_mvcc_cursor cursor;
        bb_mvcc_cursor_init(&cursor, cache->map, BB_TX(read->snapshot));
        bool is_there = bb_mvcc_seek_before(&cursor, read->left_high);
        while (is_there && bb_slice_compare(cursor.version.key, start) >= 0) {
            if (is_full(read)) {
                return true;
            }
            if (cursor.version.kind != BB_MVCC_REMOVE) {
                add_entry(cache, read, &cursor.version);
            }
            is_there = bb_mvcc_prev(&cursor);
        }
        read->left_high = start;
    }
    return true;
}

static void step_get(struct cache *cache, struct cache_read *read)
{
    struct bb_mvcc_version version;
    switch (point(cache, read->low, read->snapshot, &version)) {
    case KNOWN_FOUND:
        add_entry(cache, read, &version);
        read->is_complete = read->is_walked = true;
        break;
    case KNOWN_ABSENT:
        read->is_complete = read->is_walked = true;
        break;
    case KNOWN_NOT:
        need(read, (struct read_need){ .low = read->low });
        break;
    }
}

static void step_scan(struct cache *cache, struct cache_read *read)
{
    if (read->is_descending ? walk_down(cache, read) : walk_up(cache, read)) {
        read->is_walked = true;
        read->is_complete = bb_slice_compare(read->left_low, read->left_high) >= 0;
    }
}

static void step_bypass(struct cache_read *read)
{
    if (!read->is_walked) {
        need(read, (struct read_need){ .low = read->low,
                                       .high = read->high,
                                       .is_descending = read->is_descending,
                                       .limit = read->limit,
                                       .doc_index = read->doc_index });
    }
}

bool worker_cache_step(struct cache *cache, struct cache_read *read)
{
    bool is_first = !read->is_started;
    if (is_first) {
        read->is_started = true;
        read->left_low = read->low;
        read->left_high = read->high;
    }
    read->need_count = 0;
    if (!read->is_bypass && read->snapshot < cache->floor) {
        /* Too old for the cache, or fallen behind while it waited: start over without it. */
        read->is_bypass = true;
        read->is_walked = read->is_complete = false;
        read->entry_count = read->bytes = 0;
    }
    if (read->is_bypass) {
        step_bypass(read);
    } else {
        for (size_t i = 0; i < read->entry_count && read->status == BB_OK; i++) {
            if (read->entries[i].is_waiting) {
                join(cache, read, &read->entries[i]);
            }
        }
        if (!read->is_walked && read->status == BB_OK) {
            read->high.size == 0 ? step_get(cache, read) : step_scan(cache, read);
        }
    }
    bool is_done = read->status != BB_OK || (read->is_walked && read->need_count == 0);
    if (is_first) {
        is_done ? cache->hits++ : cache->misses++;
    }
    return is_done;
}

/* ---- fills ---- */

static void fill_bypass(struct cache_read *read, const struct fill_entry *entries,
                        size_t entry_count, bool is_complete)
{
    if (entry_count == 0 && !is_complete) {
        return; /* did not fit beside others: is asked for again */
    }
    for (size_t i = 0; i < entry_count; i++) {
        void *array = read->entries;
        if (!grow(read, &array, read->entry_count, &read->entry_capacity,
                  sizeof(struct read_entry))) {
            return;
        }
        read->entries = array;
        read->entries[read->entry_count++] = (struct read_entry){
            .key = keep(read, entries[i].key),
            .value = keep(read, entries[i].value),
            .tx = entries[i].tx,
        };
        read->bytes += entries[i].key.size + entries[i].value.size + 32;
    }
    read->is_complete = is_complete;
    read->is_walked = true;
}

static void fill_point(struct bb_ctx *ctx, struct cache *cache, struct bb_slice key,
                       struct bb_slice value, uint64_t tx, struct bb_buf *after)
{
    int rc = bb_mvcc_put_older(ctx, cache->map, key, value, BB_MVCC_PUT, BB_TX(tx));
    bb_assert(rc == BB_OK);
    key_after(after, key);
    worker_coverage_add(cache->covered, key, bb_buf_slice(after), tx);
}

static void fill_scan(struct bb_ctx *ctx, struct cache *cache, const struct read_need *need,
                      uint64_t at, const struct fill_entry *entries, size_t entry_count,
                      bool is_complete, struct bb_buf *after)
{
    for (size_t i = 0; i < entry_count; i++) {
        const struct fill_entry *entry = &entries[i];
        bool is_joined = need->doc_index != 0;
        bool is_document = !is_joined && entry->tx > 0;
        int rc = bb_mvcc_put_older(ctx, cache->map, entry->key,
                                   is_joined ? BB_SLICE_EMPTY : entry->value, BB_MVCC_PUT,
                                   BB_TX(is_document ? entry->tx : at));
        bb_assert(rc == BB_OK);
        if (is_joined && entry->key.size >= 20) {
            uint8_t key[20];
            bb_put_be32(key, need->doc_index);
            memcpy(key + 4, entry->key.data + entry->key.size - 16, 16);
            fill_point(ctx, cache, bb_slice(key, 20), entry->value, entry->tx > 0 ? entry->tx : at,
                       after);
        }
    }
    struct bb_slice low = need->low;
    struct bb_slice high = need->high;
    if (!is_complete && entry_count == 0) {
        return;
    }
    if (!is_complete && need->is_descending) {
        low = entries[entry_count - 1].key;
    } else if (!is_complete) {
        key_after(after, entries[entry_count - 1].key);
        high = bb_buf_slice(after);
    }
    worker_coverage_add(cache->covered, low, high, at);
}

void worker_cache_fill(struct bb_ctx *ctx, struct cache *cache, struct cache_read *read,
                       const struct read_need *need, uint64_t at, const struct fill_entry *entries,
                       size_t entry_count, bool is_complete)
{
    if (read->is_bypass) {
        fill_bypass(read, entries, entry_count, is_complete);
        return;
    }
    if (at < cache->floor) {
        return; /* the cache was dropped meanwhile; the read will bypass it */
    }
    struct bb_buf after;
    bb_buf_init(&after);
    if (need->high.size > 0) {
        fill_scan(ctx, cache, need, at, entries, entry_count, is_complete, &after);
    } else if (entry_count > 0) {
        const struct fill_entry *entry = &entries[0];
        fill_point(ctx, cache, entry->key, entry->value, entry->tx > 0 ? entry->tx : at, &after);
    } else if (is_complete) {
        key_after(&after, need->low);
        worker_coverage_add(cache->covered, need->low, bb_buf_slice(&after), at);
    }
    bb_buf_fini(&after);
}
