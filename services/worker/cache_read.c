/* Reads and fills of the cache. */
#include "bb/value.h"

#include "cache_internal.h"

/* A scan without a limit is answered in pieces of this many entries. */
#define SCAN_ENTRIES_MAX 4096u
#define MARK_EVERY       13u /* a prime: scans of one length mark other documents each time */

/* ---- reading ---- */

enum known {
    KNOWN_FOUND,
    KNOWN_ABSENT,
    KNOWN_NOT
};

/* The cover over `key` has been of use: it stays longer. */
static const struct cover *mark(struct cache *cache, struct bb_slice key)
{
    struct cover *cover = worker_coverage_at(cache->covered, key);
    if (cover != NULL) {
        cover->is_used = true;
    }
    return cover;
}

static enum known point(struct cache *cache, struct bb_slice key, uint64_t snapshot,
                        struct bb_mvcc_version *version)
{
    /* Writes are in the map without a gap, so the newest version there is the newest there is. */
    if (bb_mvcc_get(cache->map, key, BB_TX(snapshot), version)) {
        /* What is read often is marked often enough when one read in some does it. */
        if (++cache->found_count % MARK_EVERY == 0) {
            (void)mark(cache, key);
        }
        return version->kind == BB_MVCC_REMOVE ? KNOWN_ABSENT : KNOWN_FOUND;
    }
    const struct cover *cover = mark(cache, key);
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

/* Whoever asks for a range will want to know what was written into it meanwhile. */
static void need_range(struct cache *cache, struct cache_read *read, struct read_need what)
{
    worker_wanted_add(cache->wanted, what.low, cache->applied);
    need(read, what);
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

/* What the answer depends on. */
static void rest_on(struct cache_read *read, const struct bb_mvcc_version *version)
{
    if (version->tx.us > read->since) {
        read->since = version->tx.us;
    }
    if (version->newest.us > read->newest) {
        read->newest = version->newest.us;
    }
}

static void rest_on_cover(struct cache_read *read, struct cover *cover)
{
    cover->is_used = true;
    if (cover->from > read->since) {
        read->since = cover->from;
    }
}

static void rest_on_skipped(struct cache_read *read, const struct bb_mvcc_cursor *cursor)
{
    if (cursor->skipped.us > read->newest) {
        read->newest = cursor->skipped.us;
    }
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
        rest_on(read, &version);
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
        struct cover *cover = worker_coverage_range_at(cache->covered, read->left_low);
        if (cover == NULL || cover->from > read->snapshot) {
            struct cover *next = worker_coverage_next(cache->covered, read->left_low);
            struct bb_slice end = cover != NULL  ? cover->high
                                  : next != NULL ? next->low
                                                 : read->left_high;
            end = lesser(end, read->left_high);
            read->left_low = keep(read, read->left_low);
            need_range(cache, read,
                       (struct read_need){ .low = read->left_low,
                                           .high = keep(read, end),
                                           .limit = limit_left(read),
                                           .doc_index = read->doc_index });
            return false;
        }
        rest_on_cover(read, cover);
        struct bb_slice end = lesser(cover->high, read->left_high);
        struct bb_mvcc_cursor cursor;
        bb_mvcc_cursor_init(&cursor, cache->map, BB_TX(read->snapshot));
        bool is_there = bb_mvcc_seek(&cursor, read->left_low);
        while (is_there && bb_slice_compare(cursor.version.key, end) < 0) {
            if (is_full(read)) {
                return true;
            }
            rest_on(read, &cursor.version);
            rest_on_skipped(read, &cursor);
            if (cursor.version.kind != BB_MVCC_REMOVE) {
                add_entry(cache, read, &cursor.version);
            }
            is_there = bb_mvcc_next(&cursor);
        }
        rest_on_skipped(read, &cursor);
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
            need_range(cache, read,
                       (struct read_need){ .low = keep(read, start),
                                           .high = read->left_high,
                                           .is_descending = true,
                                           .limit = limit_left(read),
                                           .doc_index = read->doc_index });
            return false;
        }
        rest_on_cover(read, cover);
        struct bb_slice start = greater(cover->low, read->left_low);
        struct bb_mvcc_cursor cursor;
        bb_mvcc_cursor_init(&cursor, cache->map, BB_TX(read->snapshot));
        bool is_there = bb_mvcc_seek_before(&cursor, read->left_high);
        while (is_there && bb_slice_compare(cursor.version.key, start) >= 0) {
            if (is_full(read)) {
                return true;
            }
            rest_on(read, &cursor.version);
            rest_on_skipped(read, &cursor);
            if (cursor.version.kind != BB_MVCC_REMOVE) {
                add_entry(cache, read, &cursor.version);
            }
            is_there = bb_mvcc_prev(&cursor);
        }
        rest_on_skipped(read, &cursor);
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

/*
 * What was written a moment ago is in the map only until no reader needs what it replaced. When
 * somebody reads it, it stays: since that write the feed has told all there is.
 */
static void keep_written(struct cache *cache, struct bb_slice key, uint64_t tx)
{
    if (tx <= cache->pruned || worker_coverage_at(cache->covered, key) != NULL) {
        return;
    }
    worker_coverage_add_point(cache->covered, key, tx);
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
        read->is_first = is_done;
        read->changes = cache->changes;
    }
    if (is_done && !read->is_bypass && read->high.size == 0 && read->entry_count > 0) {
        keep_written(cache, read->low, read->entries[0].tx);
    }
    return is_done;
}

uint64_t worker_cache_since(const struct cache *cache, struct bb_slice key, uint64_t snapshot)
{
    struct bb_mvcc_version version;
    if (snapshot < cache->floor) {
        return 0;
    }
    if (bb_mvcc_get(cache->map, key, BB_TX(UINT64_MAX), &version)) {
        return version.tx.us <= snapshot ? version.tx.us : 0;
    }
    const struct cover *cover = worker_coverage_at(cache->covered, key);
    if (cover == NULL || cover->from > snapshot) {
        return 0;
    }
    /* That it was removed is not remembered below the floor. */
    return cover->from > cache->floor ? cover->from : cache->floor;
}

/* The keys that the answer is about. */
static void covered_by(struct cache_read *read, struct bb_slice *low, struct bb_slice *high)
{
    *low = read->low;
    *high = read->high;
    if (read->is_complete) {
        return;
    }
    struct bb_slice last = read->entries[read->entry_count - 1].key;
    if (read->is_descending) {
        *low = last;
        return;
    }
    uint8_t *after = bb_arena_alloc(read->arena, last.size + 1);
    if (after == NULL) {
        *high = last; /* nothing is kept */
        *low = last;
        return;
    }
    memcpy(after, last.data, last.size);
    after[last.size] = 0;
    *high = bb_slice(after, last.size + 1);
}

uint64_t worker_cache_since_range(const struct cache *cache, struct cache_read *read,
                                  struct bb_slice *low, struct bb_slice *high)
{
    bool has_answer = read->is_complete || read->entry_count > 0;
    if (!read->is_first || read->is_bypass || !has_answer || read->changes != cache->changes ||
        read->newest > read->snapshot) {
        return 0;
    }
    covered_by(read, low, high);
    /* That something was removed is not remembered below the floor. */
    return read->since > cache->floor ? read->since : cache->floor;
}

/* ---- fills ---- */

static void fill_bypass(struct cache_read *read, const struct cache_fill *fill)
{
    if (fill->count == 0 && !fill->is_complete) {
        return; /* did not fit beside others: is asked for again */
    }
    for (size_t i = 0; i < fill->count; i++) {
        const struct fill_entry *entry = &fill->entries[i];
        void *array = read->entries;
        if (!grow(read, &array, read->entry_count, &read->entry_capacity,
                  sizeof(struct read_entry))) {
            return;
        }
        read->entries = array;
        read->entries[read->entry_count++] = (struct read_entry){ .key = keep(read, entry->key),
                                                                  .value = keep(read, entry->value),
                                                                  .tx = entry->tx };
        read->bytes += entry->key.size + entry->value.size + 32;
    }
    read->is_complete = fill->is_complete;
    read->is_walked = true;
}

/* One key as it has been since `tx`. */
static void fill_key(struct bb_ctx *ctx, struct cache *cache, struct bb_slice key,
                     struct bb_slice value, uint64_t tx)
{
    int rc = bb_mvcc_put_older(ctx, cache->map, key, value, BB_MVCC_PUT, BB_TX(tx));
    bb_assert(rc == BB_OK); /* the map has no limit of its own */
    if (worker_coverage_range_at(cache->covered, key) != NULL) {
        bb_mvcc_order(cache->map, key);
    }
}

static void fill_point(struct bb_ctx *ctx, struct cache *cache, struct bb_slice key,
                       struct bb_slice value, uint64_t tx)
{
    fill_key(ctx, cache, key, value, tx);
    worker_coverage_add_point(cache->covered, key, tx);
}

/* The part of the need's range that was delivered is known from now on. */
static void cover_scan(struct cache *cache, const struct read_need *need,
                       const struct cache_fill *fill)
{
    struct bb_slice low = need->low;
    struct bb_slice high = need->high;
    struct bb_buf after;
    bb_buf_init(&after);
    if (!fill->is_complete) {
        if (fill->count == 0) {
            return;
        }
        struct bb_slice last = fill->entries[fill->count - 1].key;
        bb_buf_append_slice(&after, last);
        bb_buf_append_byte(&after, 0); /* the smallest key above it */
        low = need->is_descending ? last : low;
        high = need->is_descending ? high : bb_buf_slice(&after);
    }
    worker_coverage_add(cache->covered, low, high, fill->at);
    for (size_t i = 0; i < fill->count; i++) {
        bb_mvcc_order(cache->map, fill->entries[i].key);
    }
    /* And what came into the range before it was one, but after what was delivered. */
    worker_cache_order(cache, low, high, fill->at);
    bb_buf_fini(&after);
}

static void fill_scan(struct bb_ctx *ctx, struct cache *cache, const struct read_need *need,
                      const struct cache_fill *fill)
{
    for (size_t i = 0; i < fill->count; i++) {
        const struct fill_entry *entry = &fill->entries[i];
        uint64_t document_tx = entry->tx > 0 ? entry->tx : fill->at;
        if (need->doc_index == 0) {
            fill_key(ctx, cache, entry->key, entry->value, document_tx);
        } else if (entry->key.size >= 20) {
            uint8_t key[20];
            bb_put_be32(key, need->doc_index);
            memcpy(key + 4, entry->key.data + entry->key.size - 16, 16);
            fill_key(ctx, cache, entry->key, BB_SLICE_EMPTY, fill->at);
            fill_point(ctx, cache, bb_slice(key, 20), entry->value, document_tx);
        }
    }
    cover_scan(cache, need, fill);
}

static void fill_get(struct bb_ctx *ctx, struct cache *cache, const struct read_need *need,
                     const struct cache_fill *fill)
{
    if (fill->count > 0) {
        const struct fill_entry *entry = &fill->entries[0];
        fill_point(ctx, cache, entry->key, entry->value, entry->tx > 0 ? entry->tx : fill->at);
    } else if (fill->is_complete) {
        worker_coverage_add_point(cache->covered, need->low, fill->at);
    }
}

void worker_cache_fill(struct bb_ctx *ctx, struct cache *cache, struct cache_read *read,
                       const struct read_need *need, const struct cache_fill *fill)
{
    if (read->is_bypass) {
        fill_bypass(read, fill);
        return;
    }
    if (fill->at < cache->floor) {
        return; /* the cache was dropped meanwhile; the read will bypass it */
    }
    cache->filled = fill->at > cache->filled ? fill->at : cache->filled;
    if (need->high.size > 0) {
        fill_scan(ctx, cache, need, fill);
    } else {
        fill_get(ctx, cache, need, fill);
    }
}
