#include "lane.h"

/* Slots of the table; two hot keys that meet in one share a lane, which only costs parallelism. */
#define LANES  512u
#define HOT_US 1000000u

struct lane {
    uint64_t hot_until_us;
    uint64_t holder; /* call id; 0: free */
    uint64_t tx;     /* newest that a holder was sequenced as */
};
struct lanes {
    struct lane lane[LANES];
};

struct lanes *worker_lanes_new(void)
{
    return bb_alloc_zero(1, sizeof(struct lanes));
}

void worker_lanes_free(struct lanes *lanes)
{
    bb_free(lanes);
}

static struct lane *lane_of(struct lanes *lanes, uint64_t key)
{
    return &lanes->lane[key % LANES];
}

static bool is_closed(const struct lane *lane, uint64_t id, uint64_t now_us)
{
    return lane->hot_until_us > now_us && lane->holder != 0 && lane->holder != id;
}

bool worker_lanes_enter(struct lanes *lanes, uint64_t id, const uint64_t keys[2], uint64_t now_us,
                        uint64_t *least)
{
    *least = 0;
    for (size_t i = 0; i < 2; i++) {
        if (is_closed(lane_of(lanes, keys[i]), id, now_us)) {
            return false;
        }
    }
    for (size_t i = 0; i < 2; i++) {
        struct lane *lane = lane_of(lanes, keys[i]);
        if (lane->hot_until_us > now_us) {
            lane->holder = id;
            *least = lane->tx > *least ? lane->tx : *least;
        }
    }
    return true;
}

void worker_lanes_leave(struct lanes *lanes, uint64_t id, const uint64_t keys[2], uint64_t tx)
{
    for (size_t i = 0; i < 2; i++) {
        struct lane *lane = lane_of(lanes, keys[i]);
        if (lane->holder == id) {
            lane->holder = 0;
            lane->tx = tx > lane->tx ? tx : lane->tx;
        }
    }
}

bool worker_lanes_meet(const uint64_t a[2], const uint64_t b[2])
{
    for (size_t i = 0; i < 4; i++) {
        if (a[i / 2] % LANES == b[i % 2] % LANES) {
            return true;
        }
    }
    return false;
}

void worker_lanes_forget(struct lanes *lanes)
{
    for (size_t i = 0; i < LANES; i++) {
        lanes->lane[i].tx = 0;
    }
}

void worker_lanes_lost(struct lanes *lanes, uint64_t id, const uint64_t keys[2], unsigned losses,
                       uint64_t now_us)
{
    for (size_t i = 0; i < 2; i++) {
        struct lane *lane = lane_of(lanes, keys[i]);
        if (i == 0 || losses >= 2) {
            lane->hot_until_us = now_us + HOT_US;
            if (lane->holder == 0) {
                lane->holder = id;
            }
        }
    }
}
