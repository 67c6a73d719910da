#include "result_ranges.h"

#include "bb/interval.h"
#include "bb/key_index.h"

struct result_range {
    struct bb_list uses;
    struct bb_interval span; /* its ends; in the tree only if it is not a single key */
    bool is_point;
    size_t bytes;
    Bb__Proto__Range message;
    size_t name_size;
    uint8_t name[]; /* size of low, low, high */
};

struct result_ranges {
    struct bb_key_index points; /* by low */
    struct bb_key_index names;  /* the others, by both ends */
    struct bb_interval_index spans;
    struct bb_buf name; /* of the one that is looked for */
    size_t bytes;
};

static struct bb_slice low_of(const void *thing)
{
    const struct result_range *range = thing;
    return range->span.low;
}

static struct bb_slice name_of(const void *thing)
{
    const struct result_range *range = thing;
    return bb_slice(range->name, range->name_size);
}

struct result_ranges *worker_result_ranges_new(void)
{
    struct result_ranges *ranges = bb_alloc_zero(1, sizeof(*ranges));
    bb_key_index_init(&ranges->points, low_of);
    bb_key_index_init(&ranges->names, name_of);
    bb_interval_index_init(&ranges->spans);
    bb_buf_init(&ranges->name);
    return ranges;
}

void worker_result_ranges_free(struct result_ranges *ranges)
{
    if (ranges == NULL) {
        return;
    }
    bb_assert(worker_result_ranges_count(ranges) == 0 && ranges->bytes == 0);
    bb_key_index_fini(&ranges->points);
    bb_key_index_fini(&ranges->names);
    bb_buf_fini(&ranges->name);
    bb_free(ranges);
}

/* The key and nothing behind it. */
static bool is_point(struct bb_slice low, struct bb_slice high)
{
    return high.size == low.size + 1 && high.data[low.size] == 0 && bb_slice_starts_with(high, low);
}

static void put_name(struct bb_buf *name, struct bb_slice low, struct bb_slice high)
{
    uint8_t size[4];
    bb_put_le32(size, (uint32_t)low.size);
    bb_buf_clear(name);
    bb_buf_append(name, size, sizeof(size));
    bb_buf_append_slice(name, low);
    bb_buf_append_slice(name, high);
}

static struct result_range *range_new(struct result_ranges *ranges, struct bb_slice low,
                                      struct bb_slice high)
{
    struct bb_slice name = bb_buf_slice(&ranges->name);
    struct result_range *range = bb_alloc(sizeof(*range) + name.size);
    *range = (struct result_range){ .is_point = is_point(low, high),
                                    .name_size = name.size,
                                    .bytes = sizeof(*range) + name.size + BB_KEY_INDEX_BYTES };
    memcpy(range->name, name.data, name.size);
    range->span = (struct bb_interval){ .low = bb_slice(range->name + 4, low.size),
                                        .high = bb_slice(range->name + 4 + low.size, high.size),
                                        .owner = range };
    bb_list_init(&range->uses);
    bb__proto__range__init(&range->message);
    range->message.low = (ProtobufCBinaryData){ .len = low.size, .data = range->name + 4 };
    range->message.high =
        (ProtobufCBinaryData){ .len = high.size, .data = range->name + 4 + low.size };
    ranges->bytes += range->bytes;
    return range;
}

void worker_result_ranges_add(struct result_ranges *ranges, struct result_use *use,
                              struct bb_slice low, struct bb_slice high)
{
    bb_assert(bb_slice_compare(low, high) < 0);
    put_name(&ranges->name, low, high);
    bool is_single = is_point(low, high);
    struct bb_key_index *index = is_single ? &ranges->points : &ranges->names;
    use->range = bb_key_index_find(index, is_single ? low : bb_buf_slice(&ranges->name));
    if (use->range == NULL) {
        use->range = range_new(ranges, low, high);
        bb_key_index_add(index, use->range);
        if (!is_single) {
            bb_interval_insert(&ranges->spans, &use->range->span);
        }
    }
    bb_list_push_back(&use->range->uses, &use->link);
}

void worker_result_ranges_remove(struct result_ranges *ranges, struct result_use *use)
{
    struct result_range *range = use->range;
    bb_list_remove(&use->link);
    use->range = NULL;
    if (!bb_list_is_empty(&range->uses)) {
        return;
    }
    if (range->is_point) {
        bb_key_index_remove(&ranges->points, range);
    } else {
        bb_key_index_remove(&ranges->names, range);
        bb_interval_remove(&ranges->spans, &range->span);
    }
    ranges->bytes -= range->bytes;
    bb_free(range);
}

Bb__Proto__Range *worker_result_range_message(const struct result_use *use)
{
    return &use->range->message;
}

/* ---- what a key ends ---- */

struct visit {
    void (*each)(void *arg, struct result *result);
    void *arg;
};

static void visit_all(const struct visit *visit, const struct result_range *range)
{
    for (const struct bb_list *item = range->uses.next; item != &range->uses; item = item->next) {
        const struct result_use *use =
            (const void *)((const uint8_t *)(const void *)item - offsetof(struct result_use, link));
        visit->each(visit->arg, use->result);
    }
}

static void on_span(void *arg, struct bb_interval *span)
{
    visit_all(arg, span->owner);
}

void worker_result_ranges_at(struct result_ranges *ranges, struct bb_slice key,
                             void (*each)(void *arg, struct result *result), void *arg)
{
    struct visit visit = { .each = each, .arg = arg };
    const struct result_range *point = bb_key_index_find(&ranges->points, key);
    if (point != NULL) {
        visit_all(&visit, point);
    }
    bb_interval_stab(&ranges->spans, key, on_span, &visit);
}

size_t worker_result_ranges_count(const struct result_ranges *ranges)
{
    return ranges->points.count + ranges->names.count;
}

size_t worker_result_ranges_bytes(const struct result_ranges *ranges)
{
    return ranges->bytes;
}
