#include "cache.h"

#include "bb/value.h"

#include "cache_internal.h"

/* However much there is to let go of, each time it lets go of so much at least: of covers that are
 * looked at to make room, and for each that came since, and of keys that only older reads need, and
 * for each that was written since. */
#define LOOKS_LEAST 256u
#define LOOKS_EACH  16u
#define KEYS_LEAST  256u
#define KEYS_EACH   4u

/* The keys of one feed record, until no reader needs what they replaced. */
struct trail {
    struct trail *next, *prev;
    uint64_t tx;
    size_t size, capacity;
    uint8_t keys[]; /* (u32 size, key) */
};

/* Goes through the keys of a record. */
struct trail_walk {
    const struct trail *trail;
    size_t at;
    struct bb_slice key;
};

static bool trail_next(struct trail_walk *walk)
{
    if (walk->at == walk->trail->size) {
        return false;
    }
    const uint8_t *bytes = walk->trail->keys + walk->at;
    walk->key = bb_slice(bytes + 4, bb_get_le32(bytes));
    walk->at += 4 + walk->key.size;
    return true;
}

static struct bb_mvcc *map_new(void)
{
    struct bb_mvcc *map = bb_mvcc_new(0);
    bb_mvcc_index_keys(map);
    return map;
}

struct cache *worker_cache_new(size_t bytes_max)
{
    struct cache *cache = bb_alloc_zero(1, sizeof(*cache));
    cache->map = map_new();
    cache->covered = worker_coverage_new();
    cache->wanted = worker_wanted_new();
    cache->bytes_max = bytes_max;
    return cache;
}

static void trail_pop(struct cache *cache)
{
    struct trail *trail = cache->oldest;
    cache->oldest = trail->next;
    if (cache->oldest == NULL) {
        cache->newest = NULL;
    } else {
        cache->oldest->prev = NULL;
    }
    cache->trail_bytes -= sizeof(*trail) + trail->capacity;
    bb_free(trail);
}

/* ---- what was forgotten ---- */

static void leave(struct cache *cache)
{
    struct leaving *leaving = bb_alloc(sizeof(*leaving));
    *leaving = (struct leaving){ .next = cache->leaving,
                                 .map = cache->map,
                                 .covered = cache->covered,
                                 .oldest = cache->oldest };
    cache->leaving = leaving;
    cache->map = map_new();
    cache->covered = worker_coverage_new();
    cache->oldest = cache->newest = NULL;
}

/* False: there are more records. */
static bool free_records(struct cache *cache, struct trail **oldest, size_t count)
{
    for (; count > 0 && *oldest != NULL; count--) {
        struct trail *trail = *oldest;
        *oldest = trail->next;
        cache->trail_bytes -= sizeof(*trail) + trail->capacity;
        bb_free(trail);
    }
    return *oldest == NULL;
}

/* Frees so much of it at most. */
static void leave_some(struct cache *cache, size_t count)
{
    struct leaving *leaving = cache->leaving;
    if (leaving == NULL || !free_records(cache, &leaving->oldest, count)) {
        return;
    }
    if (leaving->covered != NULL) {
        bool is_gone = worker_coverage_free_some(leaving->covered, count);
        leaving->covered = is_gone ? NULL : leaving->covered;
    } else if (bb_mvcc_free_some(leaving->map, count)) {
        cache->leaving = leaving->next;
        bb_free(leaving);
    }
}

static size_t leaving_bytes(const struct cache *cache)
{
    size_t bytes = 0;
    for (const struct leaving *leaving = cache->leaving; leaving != NULL; leaving = leaving->next) {
        bytes += bb_mvcc_bytes(leaving->map);
        bytes += leaving->covered == NULL ? 0 : worker_coverage_bytes(leaving->covered);
    }
    return bytes;
}

void worker_cache_free(struct cache *cache)
{
    if (cache == NULL) {
        return;
    }
    leave(cache);
    while (cache->leaving != NULL) {
        leave_some(cache, SIZE_MAX);
    }
    bb_mvcc_free(cache->map);
    worker_coverage_free(cache->covered);
    worker_wanted_free(cache->wanted);
    bb_free(cache);
}

void worker_cache_reset(struct cache *cache, uint64_t base)
{
    leave(cache);
    cache->floor = cache->pruned = cache->applied = cache->filled = base;
    cache->changes++;
}

struct cache_stats worker_cache_stats(const struct cache *cache)
{
    size_t leaving = leaving_bytes(cache);
    return (struct cache_stats){
        .hits = cache->hits,
        .misses = cache->misses,
        .bytes = bb_mvcc_bytes(cache->map) + worker_coverage_bytes(cache->covered) +
                 cache->trail_bytes + leaving,
        .intervals = worker_coverage_count(cache->covered),
        .leaving = leaving,
        .looks = cache->looks,
        .ordered = cache->ordered,
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
    if (worker_coverage_range_at(cache->covered, key) != NULL ||
        worker_wanted_has(cache->wanted, key, tx)) {
        bb_mvcc_order(cache->map, key);
    }
    trail_append(trail, key);
    cache->pending++;
}

uint32_t worker_cache_apply(struct bb_ctx *ctx, struct cache *cache, const Bb__Proto__TxBody *body,
                            uint64_t tx)
{
    uint32_t system_tables = 0;
    size_t capacity = trail_size_of(body);
    cache->changes++;
    cache->applied = tx;
    if (capacity == 0) {
        return 0;
    }
    struct trail *trail = bb_alloc(sizeof(*trail) + capacity);
    *trail = (struct trail){ .prev = cache->newest, .tx = tx, .capacity = capacity };
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

void worker_cache_order(struct cache *cache, struct bb_slice low, struct bb_slice high,
                        uint64_t since)
{
    if (since >= worker_wanted_from(cache->wanted, low, high, cache->applied)) {
        return; /* it has, since it was written */
    }
    for (const struct trail *trail = cache->newest; trail != NULL && trail->tx > since;
         trail = trail->prev) {
        struct trail_walk walk = { .trail = trail };
        while (trail_next(&walk)) {
            cache->ordered++;
            if (bb_slice_compare(low, walk.key) <= 0 && bb_slice_compare(walk.key, high) < 0) {
                bb_mvcc_order(cache->map, walk.key);
            }
        }
    }
}

/* Of what the record wrote: it never happened. */
static void drop_record(struct cache *cache, const struct trail *trail, uint64_t newest)
{
    struct trail_walk walk = { .trail = trail };
    while (trail_next(&walk)) {
        bb_mvcc_drop_key_after(cache->map, walk.key, BB_TX(newest));
        worker_coverage_drop_point_after(cache->covered, walk.key, newest);
    }
}

void worker_cache_drop_after(struct cache *cache, uint64_t newest)
{
    bb_assert(cache->floor <= newest);
    cache->changes++;
    while (cache->newest != NULL && cache->newest->tx > newest) {
        struct trail *dead = cache->newest;
        drop_record(cache, dead, newest);
        cache->newest = dead->prev;
        if (cache->newest == NULL) {
            cache->oldest = NULL;
        } else {
            cache->newest->next = NULL;
        }
        cache->trail_bytes -= sizeof(*dead) + dead->capacity;
        bb_free(dead);
    }
    cache->applied = cache->applied < newest ? cache->applied : newest;
    /* What is durable lives on, and storage delivers nothing else; if it ever did, all is looked
     * through. Known since a write that never happened: not known. */
    if (cache->filled > newest) {
        bb_mvcc_drop_after(cache->map, BB_TX(newest));
        worker_coverage_drop_after(cache->covered, newest);
        cache->filled = newest;
    }
}

/* ---- letting go ---- */

/* Of one key, written at `tx`: nobody reads below that. Is it in a covered interval? What was
 * written later has its own turn, as it may be kept. */
static bool prune_key(struct cache *cache, struct bb_slice key, uint64_t tx)
{
    if (!worker_coverage_has(cache->covered, key)) {
        bb_mvcc_drop_key(cache->map, key, BB_TX(tx));
        return false;
    }
    /* An absent key in a covered interval needs no version that says so. */
    bb_mvcc_settle_key(cache->map, key, BB_TX(tx));
    return true;
}

/*
 * What nobody needs any more of the keys of one record. A document whose place in an index somebody
 * keeps is known since its write, and stays as the place does: a query over the newest rows would
 * ask storage for each of them. Returns how many keys there are, about.
 */
static size_t prune_record(struct cache *cache, const struct trail *trail)
{
    size_t count = 0;
    struct bb_slice document = BB_SLICE_EMPTY; /* the last one, whose index keys follow it */
    bool is_kept = false;
    struct trail_walk walk = { .trail = trail };
    for (bool is_there = true; is_there; count++) {
        is_there = trail_next(&walk);
        struct bb_slice key = is_there ? walk.key : BB_SLICE_EMPTY;
        bool is_index_key = key.size > 20 && document.size == 20 &&
                            memcmp(document.data + 4, key.data + key.size - 16, 16) == 0;
        if (is_index_key) {
            is_kept |= prune_key(cache, key, trail->tx);
        } else {
            if (is_kept) {
                worker_coverage_add_point(cache->covered, document, trail->tx);
            }
            if (document.size > 0) {
                (void)prune_key(cache, document, trail->tx);
            }
            document = key;
            is_kept = false;
        }
    }
    return count;
}

static bool is_kept_by_point(void *arg, struct bb_slice key)
{
    return worker_coverage_has_point(arg, key);
}

/* What lies there, but for what another cover says is known. */
static void let_go(struct cache *cache, struct cover *cover, uint64_t horizon)
{
    if (!cover->is_point) {
        bb_mvcc_drop_range(cache->map, cover->low, cover->high, BB_TX(horizon), is_kept_by_point,
                           cache->covered);
    } else if (worker_coverage_range_at(cache->covered, cover->low) == NULL) {
        bb_mvcc_drop_key(cache->map, cover->low, BB_TX(horizon));
    }
    worker_coverage_remove(cache->covered, cover);
}

/* What it did since it made room last pays for looks: to take away the marks that it left, and to
 * find twice over what goes for what came. */
static size_t looks_paid(struct cache *cache)
{
    uint64_t done = LOOKS_EACH * worker_coverage_added(cache->covered) + cache->hits +
                    cache->misses + cache->found_count;
    uint64_t paid = done > cache->paid ? done - cache->paid : 0;
    cache->paid = done;
    return LOOKS_LEAST + (size_t)paid;
}

static void evict(struct cache *cache, uint64_t horizon)
{
    size_t looks = looks_paid(cache);
    if (cache->leaving != NULL && worker_cache_stats(cache).bytes > cache->bytes_max) {
        leave_some(cache, looks);
        return;
    }
    while (looks-- > 0 && worker_coverage_count(cache->covered) > 0 &&
           worker_cache_stats(cache).bytes > cache->bytes_max) {
        struct cover *cover = worker_coverage_around(cache->covered);
        cache->looks++;
        if (cover->is_used || cover->from > horizon) {
            /* What was filled after the horizon could not be dropped with it: nothing would ever
             * find it again. It may go when the horizon has passed. */
            cover->is_used = false;
            continue;
        }
        let_go(cache, cover, horizon);
    }
}

/* What only reads below the horizon needed. */
static void prune_records(struct cache *cache, uint64_t horizon)
{
    size_t keys = KEYS_LEAST + KEYS_EACH * cache->pending;
    cache->pending = 0;
    while (cache->oldest != NULL && cache->oldest->tx <= horizon && keys > 0) {
        size_t count = prune_record(cache, cache->oldest);
        keys -= count < keys ? count : keys;
        cache->pruned = cache->oldest->tx;
        trail_pop(cache);
    }
    if (cache->oldest == NULL || cache->oldest->tx > horizon) {
        cache->pruned = horizon;
    }
}

void worker_cache_prune(struct cache *cache, uint64_t horizon)
{
    leave_some(cache, LOOKS_LEAST);
    if (horizon < cache->floor) {
        return;
    }
    cache->floor = horizon;
    prune_records(cache, horizon);
    /* Not what its record will look for: it may keep a document for its place in an index. */
    evict(cache, cache->pruned);
}
