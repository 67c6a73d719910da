/*
 * How long a batch waits for more commits. An entry of the log costs each storage node the same few
 * wake-ups for one commit as for fifty. Where there are several nodes, whoever was just answered
 * and comes again soon had better share an entry with those that came meanwhile. So the batch after
 * an answer waits until as many commits are there as were in the last one and behind it, for half
 * of the time that one took at most. Few commits never wait. No clock: the caller tells the time.
 */
#ifndef SEQUENCER_GATHER_H
#define SEQUENCER_GATHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEQUENCER_GATHER_FEW 4    /* commits that are known of; fewer wait for nobody */
#define SEQUENCER_GATHER_US  2000 /* however long the last batch took */

/* A batch that storage has. */
struct sequencer_gathered {
    uint64_t took_us;
    size_t commits; /* in it */
    size_t pending; /* that came meanwhile */
    size_t storages;
};

struct sequencer_gather {
    size_t wanted;     /* commits */
    uint64_t until_us; /* then what is there must do */
};

void sequencer_gather_begin(struct sequencer_gather *gather, const struct sequencer_gathered *batch,
                            uint64_t now_us);
/* Shall the next batch wait, with `pending` commits for it? Then until gather->until_us. */
bool sequencer_gather_waits(const struct sequencer_gather *gather, size_t pending, uint64_t now_us);

#endif
