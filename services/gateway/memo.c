#include "memo.h"

#define BUCKET_BYTES 2048u /* of memory for each */
#define BUCKETS_MIN  64u

struct entry {
    struct entry *next;  /* in its bucket */
    struct bb_list used; /* the one that was not used the longest is first */
    uint64_t hash;
    struct memo_json json;
};

struct memo {
    struct entry **buckets;
    size_t bucket_count; /* a power of two */
    struct bb_list used;
    size_t bytes_max;
    struct memo_stats stats;
};

struct memo *gateway_memo_new(size_t bytes_max)
{
    struct memo *memo = bb_alloc_zero(1, sizeof(*memo));

    memo->bytes_max = bytes_max;
    memo->bucket_count = BUCKETS_MIN;
    while (memo->bucket_count < bytes_max / BUCKET_BYTES)
        memo->bucket_count *= 2;
    memo->buckets = bb_alloc_zero(memo->bucket_count, sizeof(struct entry *));
    bb_list_init(&memo->used);
    return memo;
}

static size_t size_of(const struct entry *entry)
{
    return sizeof(*entry) + sizeof(struct bb_http_buffer) + entry->json.bytes->size;
}

/* The place that holds it, or would. */
static struct entry **place_of(struct memo *memo, uint64_t hash, enum bb_json_format format)
{
    struct entry **at = &memo->buckets[hash & (memo->bucket_count - 1)];

    while (*at != NULL && ((*at)->hash != hash || (*at)->json.format != format))
        at = &(*at)->next;
    return at;
}

static void drop(struct memo *memo, struct entry **at)
{
    struct entry *entry = *at;

    *at = entry->next;
    bb_list_remove(&entry->used);
    memo->stats.bytes -= size_of(entry);
    memo->stats.count--;
    bb_http_buffer_release(entry->json.bytes);
    bb_free(entry);
}

static void make_room(struct memo *memo, size_t bytes_max)
{
    while (memo->stats.bytes > bytes_max) {
        struct entry *entry = bb_container(memo->used.next, struct entry, used);

        drop(memo, place_of(memo, entry->hash, entry->json.format));
    }
}

void gateway_memo_free(struct memo *memo)
{
    if (memo == NULL)
        return;
    make_room(memo, 0);
    bb_assert(memo->stats.count == 0);
    bb_free(memo->buckets);
    bb_free(memo);
}

struct memo_json gateway_memo_find(struct memo *memo, uint64_t hash, enum bb_json_format format)
{
    struct entry *entry = *place_of(memo, hash, format);

    if (entry == NULL)
        return (struct memo_json){ .format = format };
    bb_list_remove(&entry->used);
    bb_list_push_back(&memo->used, &entry->used);
    (void)bb_http_buffer_retain(entry->json.bytes);
    return entry->json;
}

void gateway_memo_keep(struct memo *memo, uint64_t hash, const struct memo_json *json)
{
    struct entry **at = place_of(memo, hash, json->format);
    struct entry *entry;

    if (*at != NULL)
        drop(memo, at);
    at = &memo->buckets[hash & (memo->bucket_count - 1)];
    entry = bb_alloc(sizeof(*entry));
    *entry = (struct entry){ .next = *at, .hash = hash, .json = *json };
    (void)bb_http_buffer_retain(entry->json.bytes);
    bb_list_init(&entry->used);
    bb_list_push_back(&memo->used, &entry->used);
    *at = entry;
    memo->stats.bytes += size_of(entry);
    memo->stats.count++;
    make_room(memo, memo->bytes_max);
}

struct memo_stats gateway_memo_stats(const struct memo *memo)
{
    return memo->stats;
}
