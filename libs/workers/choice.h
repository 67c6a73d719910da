/*
 * Which workers may get a call, by what they say of themselves. Pure: what they say and how busy
 * they are comes in.
 */
#ifndef WORKERS_CHOICE_H
#define WORKERS_CHOICE_H

#include "bb/workers.h"

struct workers_row {
    bool is_up, is_cut;
    unsigned cut_count; /* how often in a row it said so while another one was whole */
    size_t outstanding;
};
struct workers_choice {
    struct workers_row rows[BB_WORKERS_MAX];
    size_t count;
};

bool workers_choice_any_up(const struct workers_choice *choice);
bool workers_choice_may_call(const struct workers_choice *choice, size_t worker);
size_t workers_choice_least_busy(const struct workers_choice *choice, size_t except);

enum workers_heard {
    WORKERS_WHOLE,
    WORKERS_CUT,   /* it says that no sequencer answers it */
    WORKERS_HANGS, /* it has its connection and did not answer */
    WORKERS_GONE
};
/* What became of a question; true: the calls that it has are better off elsewhere. */
bool workers_choice_hear(struct workers_choice *choice, size_t worker, enum workers_heard heard);

#endif
