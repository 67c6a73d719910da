#include "live_entry.h"

/* ---- entries ---- */

static uint64_t hash_key(const struct live_key *key, bool is_shared)
{
    uint64_t hash = bb_hash64(bb_slice_str(key->path), (uint64_t)key->is_admin << 1 | is_shared);

    hash = bb_hash64(key->args, hash);
    return is_shared ? hash : bb_hash64(key->identity, hash);
}

static bool is_key(const struct live_entry *entry, const struct live_key *key, bool is_shared)
{
    return entry->is_shared == is_shared && entry->key.is_admin == key->is_admin &&
           strcmp(entry->key.path, key->path) == 0 && bb_slice_equal(entry->key.args, key->args) &&
           (is_shared || bb_slice_equal(entry->key.identity, key->identity));
}

struct live_entry *gateway_live_entry_find(struct live *live, const struct live_key *key,
                                           bool is_shared)
{
    uint64_t hash = hash_key(key, is_shared);
    struct live_entry *entry = live->buckets[hash % live->bucket_count];

    while (entry != NULL && (entry->key_hash != hash || !is_key(entry, key, is_shared)))
        entry = entry->next;
    return entry;
}

static void grow(struct live *live)
{
    size_t count = live->bucket_count * 2;
    struct live_entry **buckets = bb_alloc_zero(count, sizeof(struct live_entry *));

    for (size_t i = 0; i < live->bucket_count; i++) {
        struct live_entry *entry = live->buckets[i];

        while (entry != NULL) {
            struct live_entry *next = entry->next;

            entry->next = buckets[entry->key_hash % count];
            buckets[entry->key_hash % count] = entry;
            entry = next;
        }
    }
    bb_free(live->buckets);
    live->buckets = buckets;
    live->bucket_count = count;
}

struct live_entry *gateway_live_entry_add(struct live *live, const struct live_key *key,
                                          bool is_shared)
{
    struct live_entry *entry = bb_alloc_zero(1, sizeof(*entry));

    if (live->entry_count >= live->bucket_count)
        grow(live);
    entry->live = live;
    entry->key.path = bb_strdup(key->path);
    entry->key.args = bb_slice_dup(key->args);
    entry->key.identity = is_shared ? BB_SLICE_EMPTY : bb_slice_dup(key->identity);
    entry->key.is_admin = key->is_admin;
    entry->is_shared = is_shared;
    entry->key_hash = hash_key(key, is_shared);
    bb_list_init(&entry->due);
    bb_list_init(&entry->again);
    bb_list_init(&entry->watches);
    bb_list_init(&entry->waiting);
    bb_list_init(&entry->idle);
    bb_list_init(&entry->run);
    entry->size_bytes = sizeof(*entry) + key->args.size + entry->key.identity.size;
    live->bytes += entry->size_bytes;
    entry->next = live->buckets[entry->key_hash % live->bucket_count];
    live->buckets[entry->key_hash % live->bucket_count] = entry;
    live->entry_count++;
    return entry;
}

static void drop_ranges(struct live_entry *entry)
{
    for (size_t i = 0; i < entry->range_count; i++)
        bb_interval_remove(&entry->live->ranges, &entry->ranges[i]);
    bb_free(entry->ranges);
    bb_free(entry->range_bytes);
    entry->ranges = NULL;
    entry->range_bytes = NULL;
    entry->range_count = 0;
}

static void free_bytes(struct bb_slice slice)
{
    union {
        const uint8_t *in;
        uint8_t *out;
    } cast = { .in = slice.data };

    bb_free(cast.out);
}

static void free_path(const char *path)
{
    free_bytes(bb_slice(path, 0));
}

void gateway_live_entry_free(struct live_entry *entry)
{
    struct live *live = entry->live;
    struct live_entry **at = &live->buckets[entry->key_hash % live->bucket_count];

    bb_assert(bb_list_is_empty(&entry->watches) && !entry->is_running);
    while (*at != entry)
        at = &(*at)->next;
    *at = entry->next;
    live->entry_count--;
    live->bytes -= entry->size_bytes;
    bb_list_remove(&entry->due);
    bb_list_remove(&entry->again);
    bb_list_remove(&entry->idle);
    bb_list_remove(&entry->run);
    drop_ranges(entry);
    gateway_live_release(entry->result);
    free_path(entry->key.path);
    free_bytes(entry->key.args);
    free_bytes(entry->key.identity);
    bb_free(entry);
}

/* ---- what a result was read from ---- */

static size_t ranges_size(const struct live_range *ranges, size_t count)
{
    size_t size = 0;

    for (size_t i = 0; i < count; i++)
        size += ranges[i].low.size + ranges[i].high.size;
    return size;
}

static struct bb_slice copy_bytes(uint8_t **at, struct bb_slice from)
{
    struct bb_slice to = bb_slice(*at, from.size);

    if (from.size > 0)
        memcpy(*at, from.data, from.size);
    *at += from.size;
    return to;
}

/* What the entry takes of the memory of all, after its ranges changed. */
static void account(struct live_entry *entry)
{
    size_t size = sizeof(*entry) + entry->key.args.size + entry->key.identity.size +
                  entry->range_count * sizeof(struct bb_interval);

    for (size_t i = 0; i < entry->range_count; i++)
        size += entry->ranges[i].low.size + entry->ranges[i].high.size;
    entry->live->bytes += size - entry->size_bytes;
    entry->size_bytes = size;
}

void gateway_live_entry_register(struct live_entry *entry, const struct live_range *ranges,
                                 size_t count, bool is_failure)
{
    struct live *live = entry->live;
    struct bb_interval *nodes = bb_alloc_zero(count + 1, sizeof(*nodes));
    uint8_t *bytes = bb_alloc(ranges_size(ranges, count) + 1);
    uint8_t *at = bytes;
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        if (bb_slice_compare(ranges[i].low, ranges[i].high) >= 0)
            continue;
        nodes[kept++] = (struct bb_interval){ .low = copy_bytes(&at, ranges[i].low),
                                              .high = copy_bytes(&at, ranges[i].high),
                                              .owner = entry };
    }
    nodes[kept++] = (struct bb_interval){
        .low = bb_buf_slice(is_failure ? &live->catalog_low : &live->deployment_low),
        .high = bb_buf_slice(is_failure ? &live->catalog_high : &live->deployment_high),
        .owner = entry
    };
    drop_ranges(entry);
    for (size_t i = 0; i < kept; i++)
        bb_interval_insert(&live->ranges, &nodes[i]);
    entry->ranges = nodes;
    entry->range_count = kept;
    entry->range_bytes = bytes;
    account(entry);
}

/* ---- results ---- */

struct live_result *gateway_live_result_new(struct live *live, const struct live_answer *answer)
{
    struct live_result *result = bb_alloc_zero(1, sizeof(*result));

    result->live = live;
    result->reference_count = 1;
    result->is_failure = answer->end == LIVE_FAILURE;
    result->hash[0] = answer->hash[0];
    result->hash[1] = answer->hash[1];
    bb_buf_init(&result->payload);
    bb_buf_append_slice(&result->payload, answer->payload);
    result->size_bytes = sizeof(*result) + result->payload.capacity;
    live->bytes += result->size_bytes;
    return result;
}

struct live_result *gateway_live_retain(struct live_result *result)
{
    result->reference_count++;
    return result;
}

void gateway_live_release(struct live_result *result)
{
    struct live *live;

    if (result == NULL)
        return;
    bb_assert(result->reference_count > 0);
    if (--result->reference_count > 0)
        return;
    live = result->live;
    if (live->ops->forget != NULL)
        live->ops->forget(live->arg, result);
    live->bytes -= result->size_bytes;
    bb_buf_fini(&result->payload);
    bb_free(result);
}

void gateway_live_result_grew(struct live_result *result, size_t size)
{
    size_t now = sizeof(*result) + result->payload.capacity + size;

    result->live->bytes += now - result->size_bytes;
    result->size_bytes = now;
}
