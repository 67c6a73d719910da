/*
 * Reservations: who may write into a contended range next (PROTOCOL.md, section 5). A supervisor
 * reserves ranges before it runs calls that would lose there; reservations whose ranges meet are
 * held one after the other, in order of arrival. Only orders: what is committed is the core's
 * decision.
 *
 * An older one is never held up by a younger one, and a commit without a hold is youngest of all,
 * so waits form no cycle. A hold ends when it is not renewed for 100 ms; after 1 s it goes behind
 * those that wait. Ranges that lost are named to the supervisors.
 *
 * Decisions only; time comes in. Threads: one. Ranges are copied.
 */
#ifndef SEQUENCER_LANES_H
#define SEQUENCER_LANES_H

#include "common.pb-c.h"

#include "bb/base.h"

#define SEQUENCER_HOLD_US        100000  /* without a word of its supervisor */
#define SEQUENCER_HOLD_MAX_US    1000000 /* in all, while others wait */
#define SEQUENCER_QUEUED_US      300000  /* a waiting one, without a word */
#define SEQUENCER_RESERVES_MAX   256
#define SEQUENCER_RANGES_MAX     128 /* of one reservation */
#define SEQUENCER_HOT_MAX        64
#define SEQUENCER_HOT_REPEAT_US  400000 /* a range is named again only after this */
#define SEQUENCER_RANGE_SIZE_MAX 4096   /* longer ones are neither held nor named */

enum sequencer_hold {
    SEQUENCER_HOLD_GONE,
    SEQUENCER_HOLD_QUEUED,
    SEQUENCER_HOLD_HELD
};

struct sequencer_lanes {
    struct bb_list reserves; /* in order of arrival */
    size_t count, held_count;
    uint64_t order;   /* of the newest */
    uint64_t version; /* counts what was granted: followers hear of it */
    struct {
        struct bb_slice low, high; /* one allocation */
        uint64_t number, at_us;
    } hot[SEQUENCER_HOT_MAX]; /* number n is at n % SEQUENCER_HOT_MAX */
    uint64_t hot_number;      /* of the newest */
};

void sequencer_lanes_init(struct sequencer_lanes *lanes);
void sequencer_lanes_fini(struct sequencer_lanes *lanes);

/* A new reservation, or more ranges for one that is there. Refused silently when there are too
 * many: its state is GONE then. */
void sequencer_lanes_reserve(struct sequencer_lanes *lanes, uint64_t session, uint64_t number,
                             Bb__Proto__Range *const *ranges, size_t count, uint64_t now_us);
void sequencer_lanes_keep(struct sequencer_lanes *lanes, uint64_t session, uint64_t number,
                          uint64_t now_us);
void sequencer_lanes_end(struct sequencer_lanes *lanes, uint64_t session, uint64_t number);
/* Ends what is dead and grants what can be. After anything above, and from time to time. */
void sequencer_lanes_turn(struct sequencer_lanes *lanes, uint64_t now_us);

struct sequencer_reserve {
    struct bb_list link;
    uint64_t session, number, order;
    bool is_held, is_wanted; /* is_wanted: a younger one waits for it */
    uint64_t until_us, held_at_us;
    struct {
        struct bb_slice low, high;
    } ranges[SEQUENCER_RANGES_MAX];
    size_t count;
};
/* NULL: it is gone. */
const struct sequencer_reserve *sequencer_lanes_find(const struct sequencer_lanes *lanes,
                                                     uint64_t session, uint64_t number);
/* Must a commit under (session, number; 0: no hold) wait before it writes `key`? */
bool sequencer_lanes_block(const struct sequencer_lanes *lanes, uint64_t session, uint64_t number,
                           struct bb_slice key);
/* A commit lost here. */
void sequencer_lanes_heat(struct sequencer_lanes *lanes, const Bb__Proto__Range *range,
                          uint64_t now_us);

#endif
