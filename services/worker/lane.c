#include "lane.h"

#define HOT_MAX    128u /* ranges */
#define HOT_US     1000000u
#define LIKES      1024u  /* slots of the table of what calls are like */
#define LIKE_MOST  256u   /* a call alike was met for certain */
#define LIKE_STEP  8u     /* how fast what was met counts: one in so many */
#define CHAIN_US   4000u  /* of work in a slot that runs in a row */
#define WAIT_US    20000u /* and how long that may take with all its reads */
#define CHAIN_MAX  32u
#define KEEP_US    25000u   /* a reservation is renewed each so often */
#define IDLE_US    5000u    /* and kept so long when nobody waits */
#define UNUSED_US  50000u   /* others wait, and it cannot run */
#define ALONE_US   1500000u /* without an answer: run all the same, the sequencer decides */
#define RUN_US     200u     /* taken for a run of which nothing is known */
#define RUN_WEIGHT 8u       /* the newest run counts one in so many */

struct hot {
    uint8_t *bytes; /* low, then high */
    size_t low_size, high_size;
    uint64_t until_us;
    unsigned lane;
    bool is_point; /* one key, from itself to the next possible one */
    uint64_t tail; /* of low */
};
struct lane {
    bool is_used;
    unsigned joined; /* the lane that took this one over; 0: none */
    uint64_t until_us;
    struct bb_list queue;
    size_t running;
    uint64_t tx;
    uint64_t run_us, cpu_us; /* of one call, about */
    enum lane_hold hold;
    uint64_t number; /* of the reservation; 0: none */
    uint64_t asked_us, kept_us, busy_us;
    bool is_wanted;  /* by others */
    bool has_run;    /* since it has the reservation */
    bool has_ranges; /* that are not reserved yet */
};
/* What calls with one hash met: the newest lane, and how many of them do. */
struct like {
    uint64_t key, until_us;
    unsigned lane;
    unsigned share; /* of LIKE_MOST */
};
struct lanes {
    struct lane lane[LANES_MAX + 1];
    struct hot hot[HOT_MAX];
    size_t hot_count;
    uint64_t until_us;        /* the last hot range is hot until then */
    uint64_t next_number;     /* of reservations */
    uint64_t ends[LANES_MAX]; /* reservations of lanes that were joined */
    size_t end_count;
    struct like likes[LIKES];
};

struct lanes *worker_lanes_new(void)
{
    struct lanes *lanes = bb_alloc_zero(1, sizeof(*lanes));
    for (size_t i = 0; i <= LANES_MAX; i++) {
        bb_list_init(&lanes->lane[i].queue);
    }
    return lanes;
}

void worker_lanes_free(struct lanes *lanes)
{
    for (size_t i = 0; lanes != NULL && i < lanes->hot_count; i++) {
        bb_free(lanes->hot[i].bytes);
    }
    bb_free(lanes);
}

unsigned worker_lanes_root(const struct lanes *lanes, unsigned lane)
{
    while (lanes->lane[lane].joined != 0) {
        lane = lanes->lane[lane].joined;
    }
    return lanes->lane[lane].is_used ? lane : 0;
}

static struct lane *lane_at(struct lanes *lanes, unsigned lane)
{
    bb_assert(lane > 0 && lane <= LANES_MAX && lanes->lane[lane].is_used);
    return &lanes->lane[lane];
}

/* ---- ranges ---- */

static struct bb_slice low_of(const struct hot *hot)
{
    return bb_slice(hot->bytes, hot->low_size);
}

static struct bb_slice high_of(const struct hot *hot)
{
    return bb_slice(hot->bytes + hot->low_size, hot->high_size);
}

/* The last bytes of a key, in which keys of one table differ. */
static uint64_t tail_of(struct bb_slice key)
{
    uint64_t tail = 0;
    size_t size = key.size < sizeof tail ? key.size : sizeof tail;

    if (size > 0) {
        memcpy(&tail, key.data + key.size - size, size);
    }
    return tail;
}

/* As most are, for which looking at a range's bytes is the exception; `high` empty: one key. */
static bool is_point(struct bb_slice low, struct bb_slice high)
{
    return high.size == 0 || (high.size == low.size + 1 && high.data[low.size] == 0 &&
                              memcmp(low.data, high.data, low.size) == 0);
}

struct sought {
    struct bb_slice low, high;
    bool is_point;
    uint64_t tail;
};

static struct sought seek(struct bb_slice low, struct bb_slice high)
{
    return (struct sought){
        .low = low, .high = high, .is_point = is_point(low, high), .tail = tail_of(low)
    };
}

static bool meets(const struct hot *hot, const struct sought *sought)
{
    if (hot->is_point && sought->is_point) {
        return hot->tail == sought->tail && bb_slice_equal(low_of(hot), sought->low);
    }
    if (bb_slice_compare(sought->low, high_of(hot)) >= 0) {
        return false;
    }
    return sought->high.size == 0 ? bb_slice_compare(low_of(hot), sought->low) <= 0
                                  : bb_slice_compare(low_of(hot), sought->high) < 0;
}

static void forget_hot(struct lanes *lanes, size_t i)
{
    bb_free(lanes->hot[i].bytes);
    lanes->hot[i] = lanes->hot[--lanes->hot_count];
}

/* Every range has a place; when there is none left, the one that will be cold first makes room. */
static struct hot *new_hot(struct lanes *lanes)
{
    if (lanes->hot_count == HOT_MAX) {
        size_t first = 0;
        for (size_t i = 1; i < HOT_MAX; i++) {
            first = lanes->hot[i].until_us < lanes->hot[first].until_us ? i : first;
        }
        forget_hot(lanes, first);
    }
    return &lanes->hot[lanes->hot_count++];
}

/* When all are taken, ranges share one: that costs parallelism only. */
static unsigned new_lane(struct lanes *lanes, struct bb_slice low)
{
    for (unsigned i = 1; i <= LANES_MAX; i++) {
        struct lane *lane = &lanes->lane[i];
        if (!lane->is_used && lane->joined == 0) {
            lane->is_used = true;
            lane->tx = 0;
            lane->running = 0;
            lane->run_us = lane->cpu_us = RUN_US;
            lane->hold = LANE_HOLD_NONE;
            lane->number = 0;
            lane->is_wanted = lane->has_ranges = false;
            return i;
        }
    }
    unsigned shared = 1 + (unsigned)(bb_hash64(low, 0) % LANES_MAX);
    return worker_lanes_root(lanes, shared);
}

static void keep_hot(struct lanes *lanes, unsigned lane, uint64_t now_us)
{
    lanes->lane[lane].until_us = now_us + HOT_US;
    lanes->until_us = now_us + HOT_US;
}

unsigned worker_lanes_heat(struct lanes *lanes, struct bb_slice low, struct bb_slice high,
                           unsigned own, uint64_t now_us)
{
    unsigned lane = worker_lanes_root(lanes, own);
    struct sought sought = seek(low, high);
    for (size_t i = 0; i < lanes->hot_count; i++) {
        struct hot *hot = &lanes->hot[i];
        if (!meets(hot, &sought)) {
            continue;
        }
        lane = worker_lanes_join(lanes, lane, hot->lane);
        if (bb_slice_equal(low_of(hot), low) && bb_slice_equal(high_of(hot), high)) {
            hot->until_us = now_us + HOT_US;
            keep_hot(lanes, lane, now_us);
            return lane;
        }
    }
    if (lane == 0) {
        lane = new_lane(lanes, low);
    }
    struct hot *hot = new_hot(lanes);
    *hot = (struct hot){ .bytes = bb_alloc(low.size + high.size + 1),
                         .low_size = low.size,
                         .high_size = high.size,
                         .until_us = now_us + HOT_US,
                         .lane = lane,
                         .is_point = sought.is_point,
                         .tail = sought.tail };
    memcpy(hot->bytes, low.data, low.size);
    memcpy(hot->bytes + low.size, high.data, high.size);
    lanes->lane[lane].has_ranges = true;
    keep_hot(lanes, lane, now_us);
    return lane;
}

static struct hot *find_hot(struct lanes *lanes, struct bb_slice low, struct bb_slice high,
                            uint64_t now_us)
{
    struct sought sought = seek(low, high);
    for (size_t i = 0; i < lanes->hot_count; i++) {
        if (lanes->hot[i].until_us > now_us && meets(&lanes->hot[i], &sought)) {
            return &lanes->hot[i];
        }
    }
    return NULL;
}

unsigned worker_lanes_meet(struct lanes *lanes, struct bb_slice low, struct bb_slice high,
                           uint64_t now_us)
{
    const struct hot *hot = find_hot(lanes, low, high, now_us);
    return hot == NULL ? 0 : worker_lanes_root(lanes, hot->lane);
}

unsigned worker_lanes_touch(struct lanes *lanes, struct bb_slice low, struct bb_slice high,
                            uint64_t now_us)
{
    struct hot *hot = find_hot(lanes, low, high, now_us);
    unsigned lane = hot == NULL ? 0 : worker_lanes_root(lanes, hot->lane);
    if (lane != 0 && !bb_list_is_empty(&lanes->lane[lane].queue)) {
        hot->until_us = now_us + HOT_US;
        keep_hot(lanes, lane, now_us);
    }
    return lane;
}

unsigned worker_lanes_join(struct lanes *lanes, unsigned a, unsigned b)
{
    a = worker_lanes_root(lanes, a);
    b = worker_lanes_root(lanes, b);
    if (a == 0 || b == 0 || a == b) {
        return a == 0 ? b : a;
    }
    struct lane *to = &lanes->lane[a];
    struct lane *from = &lanes->lane[b];
    while (!bb_list_is_empty(&from->queue)) {
        struct bb_list *item = from->queue.next;
        bb_list_remove(item);
        bb_list_push_back(&to->queue, item);
    }
    to->running += from->running;
    to->tx = from->tx > to->tx ? from->tx : to->tx;
    to->run_us = from->run_us > to->run_us ? from->run_us : to->run_us;
    to->cpu_us = from->cpu_us > to->cpu_us ? from->cpu_us : to->cpu_us;
    to->until_us = from->until_us > to->until_us ? from->until_us : to->until_us;
    to->has_ranges = true;
    if (from->hold != LANE_HOLD_NONE && lanes->end_count < LANES_MAX) {
        lanes->ends[lanes->end_count++] = from->number; /* else it ends unrenewed */
    }
    from->hold = LANE_HOLD_NONE;
    from->running = 0;
    from->is_used = false;
    from->joined = a;
    return a;
}

bool worker_lanes_any(const struct lanes *lanes, uint64_t now_us)
{
    return lanes->until_us > now_us;
}

/* Numbers of lanes that were joined to one that ends may be given out again. */
static void end_lane(struct lanes *lanes, unsigned lane)
{
    lanes->lane[lane].is_used = false;
    for (size_t i = lanes->hot_count; i-- > 0;) {
        if (worker_lanes_root(lanes, lanes->hot[i].lane) == 0) {
            forget_hot(lanes, i);
        }
    }
    for (unsigned i = 1; i <= LANES_MAX; i++) {
        if (lanes->lane[i].joined != 0 && worker_lanes_root(lanes, i) == 0) {
            lanes->lane[i].until_us = 0;
        }
    }
    for (unsigned i = 1; i <= LANES_MAX; i++) {
        if (lanes->lane[i].joined != 0 && lanes->lane[i].until_us == 0) {
            lanes->lane[i].joined = 0;
        }
    }
}

void worker_lanes_tick(struct lanes *lanes, uint64_t now_us)
{
    for (unsigned i = 1; i <= LANES_MAX; i++) {
        const struct lane *lane = &lanes->lane[i];
        if (lane->is_used && lane->until_us <= now_us && !worker_lane_is_busy(lanes, i)) {
            end_lane(lanes, i);
        }
    }
}

void worker_lanes_forget(struct lanes *lanes)
{
    for (size_t i = 1; i <= LANES_MAX; i++) {
        lanes->lane[i].tx = 0;
        lanes->lane[i].hold = LANE_HOLD_NONE;
    }
}

/* ---- what calls are like ---- */

static const struct like *like_of(const struct lanes *lanes, uint64_t key)
{
    return &lanes->likes[key % LIKES];
}

unsigned worker_lanes_guess(const struct lanes *lanes, const uint64_t keys[2], uint64_t now_us)
{
    for (size_t i = 0; i < 2 && worker_lanes_any(lanes, now_us); i++) {
        const struct like *like = like_of(lanes, keys[i]);
        if (like->key == keys[i] && like->until_us > now_us && like->share > LIKE_MOST / 2) {
            unsigned lane = worker_lanes_root(lanes, like->lane);
            if (lane != 0) {
                return lane;
            }
        }
    }
    return 0;
}

void worker_lanes_learn(struct lanes *lanes, const uint64_t keys[2], unsigned lane, uint64_t now_us)
{
    for (size_t i = 0; i < 2; i++) {
        struct like *like = &lanes->likes[keys[i] % LIKES];
        if (like->key != keys[i]) {
            if (lane == 0 || (like->until_us > now_us && like->share > LIKE_MOST / 2)) {
                continue; /* nothing to say, or the place is in good use */
            }
            /* The very same call will meet it again; of others with its path nobody knows. */
            *like = (struct like){ .key = keys[i], .share = i == 0 ? LIKE_MOST : 0 };
        }
        unsigned met = lane != 0 ? LIKE_MOST : 0;
        like->share = (like->share * (LIKE_STEP - 1) + met) / LIKE_STEP;
        if (lane != 0) {
            like->share += like->share < LIKE_MOST; /* what division takes away */
            like->lane = lane;
            like->until_us = now_us + HOT_US;
        }
    }
}

/* ---- calls ---- */

struct bb_list *worker_lane_queue(struct lanes *lanes, unsigned lane)
{
    return &lane_at(lanes, lane)->queue;
}

bool worker_lane_may_run(const struct lanes *lanes, unsigned lane, uint64_t now_us)
{
    const struct lane *at = &lanes->lane[lane];
    if (!at->is_used || at->running > 0 || bb_list_is_empty(&at->queue)) {
        return false;
    }
    bool is_alone = at->hold == LANE_HOLD_ASKED && now_us > at->asked_us + ALONE_US;
    return at->hold == LANE_HOLD_HAS || is_alone;
}

bool worker_lane_is_busy(const struct lanes *lanes, unsigned lane)
{
    const struct lane *at = &lanes->lane[lane];
    return at->is_used && (at->running > 0 || !bb_list_is_empty(&at->queue));
}

void worker_lane_enter(struct lanes *lanes, unsigned lane)
{
    struct lane *at = lane_at(lanes, lane);
    at->running++;
    at->has_run = true;
}

void worker_lane_leave(struct lanes *lanes, unsigned lane, uint64_t tx)
{
    struct lane *at = lane_at(lanes, worker_lanes_root(lanes, lane));
    bb_assert(at->running > 0);
    at->running--;
    at->tx = tx > at->tx ? tx : at->tx;
}

uint64_t worker_lane_least(const struct lanes *lanes, unsigned lane)
{
    return lanes->lane[worker_lanes_root(lanes, lane)].tx;
}

size_t worker_lane_length(const struct lanes *lanes, unsigned lane)
{
    const struct lane *at = &lanes->lane[lane];
    uint64_t fit = CHAIN_US / (at->cpu_us + 1);
    uint64_t in_time = WAIT_US / (at->run_us + 1);
    fit = in_time < fit ? in_time : fit;
    return fit < 1 ? 1 : fit > CHAIN_MAX ? CHAIN_MAX : (size_t)fit;
}

void worker_lane_took(struct lanes *lanes, unsigned lane, uint64_t us, uint64_t cpu_us)
{
    unsigned root = worker_lanes_root(lanes, lane);
    if (root != 0) {
        struct lane *at = &lanes->lane[root];
        at->run_us = (at->run_us * (RUN_WEIGHT - 1) + us) / RUN_WEIGHT;
        at->cpu_us = (at->cpu_us * (RUN_WEIGHT - 1) + cpu_us) / RUN_WEIGHT;
    }
}

/* ---- reservations ---- */

static bool is_busy(const struct lane *at)
{
    return at->running > 0 || !bb_list_is_empty(&at->queue);
}

/* Its turn is over: others wait, or nobody has needed it for a while. */
static bool is_turn_over(const struct lane *at, uint64_t now_us)
{
    if (at->hold == LANE_HOLD_NONE || at->running > 0) {
        return false;
    }
    if (at->hold == LANE_HOLD_ASKED) {
        return !is_busy(at);
    }
    if (at->is_wanted) {
        return at->has_run || now_us > at->busy_us + UNUSED_US;
    }
    return !is_busy(at) && now_us > at->busy_us + IDLE_US;
}

bool worker_lane_talk(struct lanes *lanes, unsigned lane, uint64_t now_us, struct lane_talk *talk)
{
    struct lane *at = &lanes->lane[lane];
    *talk = (struct lane_talk){ .reserve = 0 };
    if (!at->is_used) {
        return false;
    }
    if (at->running > 0) {
        at->busy_us = now_us;
    }
    if (is_turn_over(at, now_us)) {
        talk->end = at->number;
        at->hold = LANE_HOLD_NONE;
        at->is_wanted = false;
    }
    if (is_busy(at) && (at->hold == LANE_HOLD_NONE || at->has_ranges)) {
        if (at->hold == LANE_HOLD_NONE) {
            at->number = ++lanes->next_number;
            at->asked_us = at->busy_us = now_us;
            at->hold = LANE_HOLD_ASKED;
        }
        at->has_ranges = false;
        talk->reserve = at->number;
        at->kept_us = now_us;
    } else if (at->hold != LANE_HOLD_NONE && now_us >= at->kept_us + KEEP_US) {
        talk->keep = at->number;
        at->kept_us = now_us;
    }
    return talk->reserve != 0 || talk->keep != 0 || talk->end != 0;
}

uint64_t worker_lanes_joined(struct lanes *lanes)
{
    return lanes->end_count == 0 ? 0 : lanes->ends[--lanes->end_count];
}

bool worker_lanes_have_talk(struct lanes *lanes, uint64_t now_us)
{
    if (lanes->end_count > 0) {
        return true;
    }
    for (unsigned i = 1; i <= LANES_MAX; i++) {
        const struct lane *at = &lanes->lane[i];
        if (!at->is_used) {
            continue;
        }
        bool is_due = at->hold != LANE_HOLD_NONE && now_us >= at->kept_us + KEEP_US;
        bool wants = is_busy(at) && (at->hold == LANE_HOLD_NONE || at->has_ranges);
        if (is_due || wants || is_turn_over(at, now_us)) {
            return true;
        }
    }
    return false;
}

bool worker_lane_range(const struct lanes *lanes, unsigned lane, size_t i, struct bb_slice *low,
                       struct bb_slice *high)
{
    for (size_t k = 0; k < lanes->hot_count; k++) {
        const struct hot *hot = &lanes->hot[k];
        if (worker_lanes_root(lanes, hot->lane) == lane && i-- == 0) {
            *low = low_of(hot);
            *high = high_of(hot);
            return true;
        }
    }
    return false;
}

void worker_lanes_heard(struct lanes *lanes, uint64_t number, enum lane_hold hold, bool is_wanted,
                        uint64_t tx, uint64_t now_us)
{
    for (unsigned i = 1; i <= LANES_MAX; i++) {
        struct lane *at = &lanes->lane[i];
        if (!at->is_used || at->number != number || at->hold == LANE_HOLD_NONE) {
            continue;
        }
        if (hold == LANE_HOLD_HAS && at->hold != LANE_HOLD_HAS) {
            at->busy_us = now_us;
            at->has_run = at->running > 0;
            at->tx = tx > at->tx ? tx : at->tx;
        }
        at->asked_us = hold == LANE_HOLD_ASKED ? now_us : at->asked_us;
        at->hold = hold;
        at->is_wanted = is_wanted;
    }
}

uint64_t worker_lane_number(const struct lanes *lanes, unsigned lane)
{
    const struct lane *at = &lanes->lane[worker_lanes_root(lanes, lane)];
    return at->hold == LANE_HOLD_HAS ? at->number : 0;
}
