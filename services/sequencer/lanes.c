#include "lanes.h"

void sequencer_lanes_init(struct sequencer_lanes *lanes)
{
    *lanes = (struct sequencer_lanes){ .version = 1 };
    bb_list_init(&lanes->reserves);
}

static struct sequencer_reserve *reserve_at(struct bb_list *item)
{
    return bb_container(item, struct sequencer_reserve, link);
}

/* Both ends in one allocation, which the low one names. */
static void copy_range(const Bb__Proto__Range *range, struct bb_slice *low, struct bb_slice *high)
{
    uint8_t *bytes = bb_alloc(range->low.len + range->high.len + 1);

    memcpy(bytes, range->low.data, range->low.len);
    memcpy(bytes + range->low.len, range->high.data, range->high.len);
    *low = bb_slice(bytes, range->low.len);
    *high = bb_slice(bytes + range->low.len, range->high.len);
}

static void free_range(struct bb_slice low)
{
    union {
        const uint8_t *in;
        void *out;
    } cast = { .in = low.data };

    bb_free(cast.out);
}

static bool is_range(const Bb__Proto__Range *range)
{
    return range->low.len > 0 && range->high.len > 0 &&
           range->low.len + range->high.len <= SEQUENCER_RANGE_SIZE_MAX;
}

static void remove_reserve(struct sequencer_lanes *lanes, struct sequencer_reserve *reserve)
{
    for (size_t i = 0; i < reserve->count; i++)
        free_range(reserve->ranges[i].low);
    lanes->held_count -= reserve->is_held;
    lanes->count--;
    bb_list_remove(&reserve->link);
    bb_free(reserve);
}

void sequencer_lanes_fini(struct sequencer_lanes *lanes)
{
    while (!bb_list_is_empty(&lanes->reserves))
        remove_reserve(lanes, reserve_at(lanes->reserves.next));
    for (size_t i = 0; i < SEQUENCER_HOT_MAX; i++)
        free_range(lanes->hot[i].low);
}

static struct sequencer_reserve *find(const struct sequencer_lanes *lanes, uint64_t session,
                                      uint64_t number)
{
    bb_list_each(item, &lanes->reserves) {
        struct sequencer_reserve *reserve = reserve_at(item);
        if (reserve->session == session && reserve->number == number)
            return reserve;
    }
    return NULL;
}

const struct sequencer_reserve *sequencer_lanes_find(const struct sequencer_lanes *lanes,
                                                     uint64_t session, uint64_t number)
{
    return find(lanes, session, number);
}

static bool has_range(const struct sequencer_reserve *reserve, const Bb__Proto__Range *range)
{
    for (size_t i = 0; i < reserve->count; i++) {
        struct bb_slice low = bb_slice(range->low.data, range->low.len);
        struct bb_slice high = bb_slice(range->high.data, range->high.len);
        if (bb_slice_equal(reserve->ranges[i].low, low) &&
            bb_slice_equal(reserve->ranges[i].high, high))
            return true;
    }
    return false;
}

void sequencer_lanes_reserve(struct sequencer_lanes *lanes, uint64_t session, uint64_t number,
                             Bb__Proto__Range *const *ranges, size_t count, uint64_t now_us)
{
    struct sequencer_reserve *reserve = find(lanes, session, number);

    if (reserve == NULL) {
        if (lanes->count == SEQUENCER_RESERVES_MAX || number == 0)
            return;
        reserve = bb_alloc_zero(1, sizeof *reserve);
        reserve->session = session;
        reserve->number = number;
        reserve->order = ++lanes->order;
        reserve->until_us = now_us + SEQUENCER_QUEUED_US;
        bb_list_push_back(&lanes->reserves, &reserve->link);
        lanes->count++;
    }
    for (size_t i = 0; i < count && reserve->count < SEQUENCER_RANGES_MAX; i++) {
        if (!is_range(ranges[i]) || has_range(reserve, ranges[i]))
            continue;
        copy_range(ranges[i], &reserve->ranges[reserve->count].low,
                   &reserve->ranges[reserve->count].high);
        reserve->count++;
    }
}

void sequencer_lanes_keep(struct sequencer_lanes *lanes, uint64_t session, uint64_t number,
                          uint64_t now_us)
{
    struct sequencer_reserve *reserve = find(lanes, session, number);

    if (reserve == NULL)
        return;
    reserve->until_us = now_us + (reserve->is_held ? SEQUENCER_HOLD_US : SEQUENCER_QUEUED_US);
    if (!reserve->is_held || !reserve->is_wanted ||
        now_us < reserve->held_at_us + SEQUENCER_HOLD_MAX_US)
        return;
    reserve->is_held = false;
    lanes->held_count--;
    reserve->order = ++lanes->order;
    reserve->until_us = now_us + SEQUENCER_QUEUED_US;
    bb_list_remove(&reserve->link);
    bb_list_push_back(&lanes->reserves, &reserve->link);
}

void sequencer_lanes_end(struct sequencer_lanes *lanes, uint64_t session, uint64_t number)
{
    struct sequencer_reserve *reserve = find(lanes, session, number);

    if (reserve != NULL)
        remove_reserve(lanes, reserve);
}

static bool meet(const struct sequencer_reserve *a, const struct sequencer_reserve *b)
{
    for (size_t i = 0; i < a->count; i++) {
        for (size_t k = 0; k < b->count; k++) {
            if (bb_slice_compare(a->ranges[i].low, b->ranges[k].high) < 0 &&
                bb_slice_compare(b->ranges[k].low, a->ranges[i].high) < 0)
                return true;
        }
    }
    return false;
}

/* Nobody older is on its ranges. Those that are hear that they are wanted. */
static bool is_first(struct sequencer_lanes *lanes, const struct sequencer_reserve *reserve)
{
    bool is_free = true;

    bb_list_each(item, &lanes->reserves) {
        struct sequencer_reserve *older = reserve_at(item);
        if (older == reserve)
            break;
        if (meet(older, reserve)) {
            older->is_wanted = true;
            is_free = false;
        }
    }
    return is_free;
}

void sequencer_lanes_turn(struct sequencer_lanes *lanes, uint64_t now_us)
{
    if (lanes->count == 0)
        return;
    bb_list_each_safe(item, &lanes->reserves) {
        struct sequencer_reserve *reserve = reserve_at(item);
        if (reserve->until_us < now_us)
            remove_reserve(lanes, reserve);
        else
            reserve->is_wanted = false;
    }
    bb_list_each(item, &lanes->reserves) {
        struct sequencer_reserve *reserve = reserve_at(item);
        bool is_free = is_first(lanes, reserve);
        if (reserve->is_held || !is_free)
            continue;
        reserve->is_held = true;
        reserve->held_at_us = now_us;
        reserve->until_us = now_us + SEQUENCER_HOLD_US;
        lanes->held_count++;
        lanes->version++;
    }
}

static bool holds_key(const struct sequencer_reserve *reserve, struct bb_slice key)
{
    for (size_t i = 0; i < reserve->count; i++) {
        if (bb_slice_compare(reserve->ranges[i].low, key) <= 0 &&
            bb_slice_compare(key, reserve->ranges[i].high) < 0)
            return true;
    }
    return false;
}

bool sequencer_lanes_block(const struct sequencer_lanes *lanes, uint64_t session, uint64_t number,
                           struct bb_slice key)
{
    if (lanes->held_count == 0)
        return false;
    const struct sequencer_reserve *own = number == 0 ? NULL : find(lanes, session, number);
    bb_list_each(item, &lanes->reserves) {
        const struct sequencer_reserve *reserve = reserve_at(item);
        if (reserve == own)
            return false; /* only older ones are in its way */
        if (reserve->is_held && holds_key(reserve, key))
            return true;
    }
    return false;
}

void sequencer_lanes_heat(struct sequencer_lanes *lanes, const Bb__Proto__Range *range,
                          uint64_t now_us)
{
    struct bb_slice low = bb_slice(range->low.data, range->low.len);
    struct bb_slice high = bb_slice(range->high.data, range->high.len);

    if (!is_range(range))
        return;
    for (size_t i = 0; i < SEQUENCER_HOT_MAX; i++) {
        if (lanes->hot[i].number != 0 && now_us < lanes->hot[i].at_us + SEQUENCER_HOT_REPEAT_US &&
            bb_slice_equal(lanes->hot[i].low, low) && bb_slice_equal(lanes->hot[i].high, high))
            return;
    }
    uint64_t number = ++lanes->hot_number;
    size_t at = (size_t)(number % SEQUENCER_HOT_MAX);
    free_range(lanes->hot[at].low);
    copy_range(range, &lanes->hot[at].low, &lanes->hot[at].high);
    lanes->hot[at].number = number;
    lanes->hot[at].at_us = now_us;
}
