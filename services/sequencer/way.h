/*
 * Which way requests go to the storage node that leads: straight, or, while nothing comes through
 * there, by a follower that passes them on. Decisions only.
 *
 * The straight way is tried all the time, as each RENEW goes to all. It is left when its connection
 * has ended or a RENEW has had no answer for a while, and only for a follower that answers and
 * names the same leader; it is taken again after a few answers in a row.
 */
#ifndef SEQUENCER_WAY_H
#define SEQUENCER_WAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEQUENCER_STRAIGHT   SIZE_MAX
#define SEQUENCER_BACK_COUNT 3 /* answers in a row, 0.3 s apart */
/* Two RENEWs without an answer; a paused leader has lost its place a little later. */
#define SEQUENCER_SILENT_US 550000

/* What this process knows of one storage node. */
struct sequencer_line {
    uint64_t asked_us; /* when the first RENEW was sent that nothing has followed; 0: none */
    uint64_t busy_us;  /* it may be silent for so much longer: a large batch is on its way there */
    uint32_t answers;  /* in a row */
    bool is_connected;
    uint64_t node;         /* its number; 0: not known */
    uint64_t term, leader; /* as it said last; 0: nothing */
};

bool sequencer_line_is_silent(const struct sequencer_line *line, uint64_t now_us,
                              uint64_t patience_us);
/*
 * The index of the follower by which to go, or SEQUENCER_STRAIGHT. `via`: the way until now.
 * `patience_us`: how long the leader may be silent.
 */
size_t sequencer_way_choose(const struct sequencer_line *lines, size_t count, size_t leader,
                            size_t via, uint64_t now_us, uint64_t patience_us);
/* Is a batch that one node has better sent to the target of now too? The former is silent. */
bool sequencer_way_is_other(const struct sequencer_line *has_batch,
                            const struct sequencer_line *target, uint64_t now_us);
/* Another follower than `via`, which could not pass on; `via`: there is none. */
size_t sequencer_way_next(const struct sequencer_line *lines, size_t count, size_t leader,
                          size_t via, uint64_t now_us);

#endif
