#include "copy_ranges.h"

struct copy_ranges {
    struct copy_range *list[COPY_RANGES_MAX]; /* by low, then high */
    size_t count, hand;
    uint64_t made;
};

struct copy_ranges *worker_copy_ranges_new(void)
{
    return bb_alloc_zero(1, sizeof(struct copy_ranges));
}

void worker_copy_ranges_clear(struct copy_ranges *ranges)
{
    for (size_t i = 0; i < ranges->count; i++) {
        bb_free(ranges->list[i]);
    }
    ranges->count = 0;
}

void worker_copy_ranges_free(struct copy_ranges *ranges)
{
    if (ranges != NULL) {
        worker_copy_ranges_clear(ranges);
        bb_free(ranges);
    }
}

size_t worker_copy_ranges_count(const struct copy_ranges *ranges)
{
    return ranges->count;
}

/* ---- order ---- */

static int compare(const struct copy_range *range, struct bb_slice low, struct bb_slice high)
{
    int order = bb_slice_compare(range->low, low);
    return order != 0 ? order : bb_slice_compare(range->high, high);
}

/* Position of the first one that is not below (low, high). */
static size_t position_of(const struct copy_ranges *ranges, struct bb_slice low,
                          struct bb_slice high)
{
    size_t from = 0;
    size_t to = ranges->count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (compare(ranges->list[middle], low, high) < 0) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return from;
}

struct copy_range *worker_copy_ranges_find(const struct copy_ranges *ranges, struct bb_slice low,
                                           struct bb_slice high)
{
    size_t at = position_of(ranges, low, high);
    bool is_there = at < ranges->count && compare(ranges->list[at], low, high) == 0;
    return is_there ? ranges->list[at] : NULL;
}

struct copy_range *worker_copy_ranges_at(const struct copy_ranges *ranges, struct bb_slice key)
{
    size_t from = 0;
    size_t to = ranges->count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (bb_slice_compare(ranges->list[middle]->low, key) <= 0) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    if (from == 0) {
        return NULL;
    }
    const struct copy_range *farthest = ranges->list[from - 1]->reach;
    bool is_inside = bb_slice_compare(key, farthest->high) < 0;
    return is_inside ? worker_copy_ranges_find(ranges, farthest->low, farthest->high) : NULL;
}

/* ---- who reaches farthest ---- */

static const struct copy_range *farther(const struct copy_range *a, const struct copy_range *b)
{
    return a == NULL || bb_slice_compare(a->high, b->high) < 0 ? b : a;
}

static const struct copy_range *reach_before(const struct copy_ranges *ranges, size_t at)
{
    return at == 0 ? NULL : ranges->list[at - 1]->reach;
}

/* ---- changes ---- */

static struct copy_range *range_new(struct copy_ranges *ranges, struct bb_slice low,
                                    struct bb_slice high)
{
    struct copy_range *range = bb_alloc_zero(1, sizeof(*range) + low.size + high.size);
    uint8_t *keys = (uint8_t *)(range + 1);
    if (low.size > 0) {
        memcpy(keys, low.data, low.size);
    }
    if (high.size > 0) {
        memcpy(keys + low.size, high.data, high.size);
    }
    range->low = bb_slice(keys, low.size);
    range->high = bb_slice(keys + low.size, high.size);
    range->number = ++ranges->made;
    range->is_used = true;
    return range;
}

struct copy_range *worker_copy_ranges_add(struct copy_ranges *ranges, struct bb_slice low,
                                          struct bb_slice high)
{
    size_t at = position_of(ranges, low, high);
    bb_assert(ranges->count < COPY_RANGES_MAX && bb_slice_compare(low, high) < 0);
    bb_assert(at == ranges->count || compare(ranges->list[at], low, high) != 0);
    struct copy_range *range = range_new(ranges, low, high);
    memmove(&ranges->list[at + 1], &ranges->list[at],
            (ranges->count - at) * sizeof(ranges->list[0]));
    ranges->list[at] = range;
    ranges->count++;
    range->reach = farther(reach_before(ranges, at), range);
    /* Reaches only grow along the list: behind the first that goes as far nothing changes. */
    for (size_t i = at + 1;
         i < ranges->count && bb_slice_compare(ranges->list[i]->reach->high, high) < 0; i++) {
        ranges->list[i]->reach = range;
    }
    return range;
}

void worker_copy_ranges_remove(struct copy_ranges *ranges, struct copy_range *range)
{
    size_t at = position_of(ranges, range->low, range->high);
    bb_assert(at < ranges->count && ranges->list[at] == range);
    ranges->count--;
    memmove(&ranges->list[at], &ranges->list[at + 1],
            (ranges->count - at) * sizeof(ranges->list[0]));
    for (size_t i = at; i < ranges->count && ranges->list[i]->reach == range; i++) {
        ranges->list[i]->reach = farther(reach_before(ranges, i), ranges->list[i]);
    }
    bb_free(range);
}

struct copy_range *worker_copy_ranges_victim(struct copy_ranges *ranges)
{
    bb_assert(ranges->count > 0);
    for (;;) {
        ranges->hand = (ranges->hand + 1) % ranges->count;
        struct copy_range *range = ranges->list[ranges->hand];
        if (!range->is_used) {
            return range;
        }
        range->is_used = false;
    }
}
