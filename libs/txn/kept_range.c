#include "txn_internal.h"

/*
 * Answers to scans, found by what was asked: the range, its order and what is joined to it. How
 * many entries were asked for is not part of that: a shorter answer is the beginning of a longer
 * one.
 */
enum {
    BUCKETS = 512,
    RANGES_MAX = 1024,
    SHARE_MAX = 8 /* one range takes at most this part of the memory */
};

struct kept_range {
    struct bb_list used;     /* most lately used last */
    struct kept_range *next; /* with the same hash of the question */
    struct kept_range *next_number;
    struct bb_txn_read read; /* its keys lie behind the struct */
    struct txn_page *page;
    uint64_t hash, number;
    uint64_t from, to; /* holds at `from` up to before `to` */
};
struct txn_kept_ranges {
    struct kept_range *by_question[BUCKETS], *by_number[BUCKETS];
    struct bb_list used;
    size_t count, bytes, bytes_max;
};

struct txn_kept_ranges *txn_kept_ranges_new(size_t bytes_max)
{
    struct txn_kept_ranges *ranges = bb_alloc_zero(1, sizeof *ranges);

    ranges->bytes_max = bytes_max;
    bb_list_init(&ranges->used);
    return ranges;
}

void txn_page_release(struct txn_page *page)
{
    bb_assert(page->refs > 0);
    if (--page->refs == 0)
        bb_free(page);
}

static size_t bytes_of(const struct kept_range *range)
{
    return sizeof *range + range->read.low.size + range->read.high.size + range->page->bytes;
}

static void unlink_from(struct kept_range **at, const struct kept_range *range)
{
    while (*at != range)
        at = &(*at)->next;
    *at = range->next;
}

static void unlink_number(struct kept_range **at, const struct kept_range *range)
{
    while (*at != range)
        at = &(*at)->next_number;
    *at = range->next_number;
}

static void drop(struct txn_kept_ranges *ranges, struct kept_range *range)
{
    unlink_from(&ranges->by_question[range->hash % BUCKETS], range);
    unlink_number(&ranges->by_number[range->number % BUCKETS], range);
    bb_list_remove(&range->used);
    ranges->bytes -= bytes_of(range);
    ranges->count--;
    txn_page_release(range->page);
    bb_free(range);
}

static struct kept_range *least_used(struct txn_kept_ranges *ranges)
{
    return bb_container(ranges->used.next, struct kept_range, used);
}

void txn_kept_ranges_forget(struct txn_kept_ranges *ranges)
{
    while (!bb_list_is_empty(&ranges->used))
        drop(ranges, least_used(ranges));
    bb_assert(ranges->bytes == 0 && ranges->count == 0);
}

void txn_kept_ranges_free(struct txn_kept_ranges *ranges)
{
    txn_kept_ranges_forget(ranges);
    bb_free(ranges);
}

size_t txn_kept_ranges_bytes(const struct txn_kept_ranges *ranges)
{
    return ranges->bytes;
}

static uint64_t hash_of(const struct bb_txn_read *read)
{
    uint64_t hash = bb_hash64(read->low, read->is_descending);

    return bb_hash64(read->high, hash ^ read->doc_index);
}

static struct kept_range *range_of(const struct txn_kept_ranges *ranges,
                                   const struct bb_txn_read *read, uint64_t hash)
{
    struct kept_range *range = ranges->by_question[hash % BUCKETS];

    while (range != NULL &&
           !(range->hash == hash && range->read.is_descending == read->is_descending &&
             range->read.doc_index == read->doc_index &&
             bb_slice_equal(range->read.low, read->low) &&
             bb_slice_equal(range->read.high, read->high)))
        range = range->next;
    return range;
}

static size_t page_bytes(const struct bb_txn_answer *answer)
{
    size_t bytes = sizeof(struct txn_page) + answer->entry_count * sizeof(struct txn_page_row);

    for (size_t i = 0; i < answer->entry_count; i++)
        bytes += answer->entries[i].key.size + answer->entries[i].value.size;
    return bytes;
}

static struct bb_slice put_bytes(uint8_t **at, struct bb_slice from)
{
    struct bb_slice copy = bb_slice(*at, from.size);

    if (from.size == 0)
        return BB_SLICE_EMPTY;
    memcpy(*at, from.data, from.size);
    *at += from.size;
    return copy;
}

static struct txn_page *page_new(const struct bb_txn_answer *answer, size_t bytes)
{
    struct txn_page *page = bb_alloc(bytes);
    uint8_t *at = (uint8_t *)&page->rows[answer->entry_count];

    *page = (struct txn_page){
        .refs = 1, .bytes = bytes, .count = answer->entry_count, .is_complete = answer->is_complete
    };
    for (size_t i = 0; i < answer->entry_count; i++) {
        page->rows[i].key = put_bytes(&at, answer->entries[i].key);
        page->rows[i].value = put_bytes(&at, answer->entries[i].value);
    }
    return page;
}

static void add(struct txn_kept_ranges *ranges, const struct bb_txn_read *read, uint64_t hash,
                const struct bb_txn_answer *answer, struct txn_page *page)
{
    struct kept_range *range = bb_alloc(sizeof *range + read->low.size + read->high.size);
    uint8_t *at = (uint8_t *)(range + 1);

    *range = (struct kept_range){ .read = *read,
                                  .page = page,
                                  .hash = hash,
                                  .number = answer->number,
                                  .from = answer->since,
                                  .to = UINT64_MAX };
    range->read.low = put_bytes(&at, read->low);
    range->read.high = put_bytes(&at, read->high);
    bb_list_init(&range->used);
    range->next = ranges->by_question[hash % BUCKETS];
    ranges->by_question[hash % BUCKETS] = range;
    range->next_number = ranges->by_number[range->number % BUCKETS];
    ranges->by_number[range->number % BUCKETS] = range;
    bb_list_push_back(&ranges->used, &range->used);
    ranges->bytes += bytes_of(range);
    ranges->count++;
}

void txn_kept_ranges_put(struct txn_kept_ranges *ranges, const struct bb_txn_read *read,
                         const struct bb_txn_answer *answer)
{
    size_t bytes = page_bytes(answer);
    uint64_t hash = hash_of(read);

    /* What was cut for want of room would be cut elsewhere another time. */
    if (answer->since == 0 || answer->number == 0 || bytes > ranges->bytes_max / SHARE_MAX ||
        (!answer->is_complete && answer->entry_count < read->limit))
        return;
    struct kept_range *old = range_of(ranges, read, hash);
    if (old != NULL)
        drop(ranges, old);
    size_t more = sizeof(struct kept_range) + read->low.size + read->high.size + bytes;
    while (ranges->count == RANGES_MAX ||
           (ranges->count > 0 && ranges->bytes + more > ranges->bytes_max))
        drop(ranges, least_used(ranges));
    if (more <= ranges->bytes_max)
        add(ranges, read, hash, answer, page_new(answer, bytes));
}

void txn_kept_ranges_end(struct txn_kept_ranges *ranges, uint64_t number, uint64_t at)
{
    struct kept_range *range = ranges->by_number[number % BUCKETS];

    while (range != NULL) {
        if (range->number == number && at < range->to) {
            range->to = at;
            /* Soon nobody asks for that moment any more. */
            bb_list_remove(&range->used);
            bb_list_push_front(&ranges->used, &range->used);
        }
        range = range->next_number;
    }
}

struct txn_page *txn_kept_ranges_find(struct txn_kept_ranges *ranges,
                                      const struct bb_txn_read *read, uint64_t at, size_t *count,
                                      bool *is_complete)
{
    struct kept_range *range = range_of(ranges, read, hash_of(read));

    if (range == NULL || at < range->from || at >= range->to)
        return NULL;
    struct txn_page *page = range->page;
    if (page->count < read->limit && !page->is_complete)
        return NULL;
    *count = page->count < read->limit ? page->count : read->limit;
    *is_complete = page->is_complete && page->count <= read->limit;
    bb_list_remove(&range->used);
    bb_list_push_back(&ranges->used, &range->used);
    return page;
}
