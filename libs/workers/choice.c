/* Which workers may get a call. */
#include "choice.h"

#define CUT_COUNT 2u

static bool is_whole(const struct workers_row *row)
{
    return row->is_up && !row->is_cut;
}

static bool has_whole(const struct workers_choice *choice)
{
    for (size_t i = 0; i < choice->count; i++) {
        if (is_whole(&choice->rows[i]))
            return true;
    }
    return false;
}

bool workers_choice_any_up(const struct workers_choice *choice)
{
    for (size_t i = 0; i < choice->count; i++) {
        if (choice->rows[i].is_up)
            return true;
    }
    return false;
}

bool workers_choice_may_call(const struct workers_choice *choice, size_t worker)
{
    const struct workers_row *row = &choice->rows[worker];

    return row->is_up && (!row->is_cut || !has_whole(choice));
}

static size_t least_busy(const struct workers_choice *choice, size_t except)
{
    bool needs_whole = has_whole(choice);
    size_t best = BB_WORKERS_NONE;

    for (size_t i = 0; i < choice->count; i++) {
        const struct workers_row *row = &choice->rows[i];

        if (!row->is_up || i == except || (needs_whole && row->is_cut))
            continue;
        if (best == BB_WORKERS_NONE || row->outstanding < choice->rows[best].outstanding)
            best = i;
    }
    return best;
}

size_t workers_choice_least_busy(const struct workers_choice *choice, size_t except)
{
    size_t best = least_busy(choice, except);

    return best == BB_WORKERS_NONE ? least_busy(choice, BB_WORKERS_NONE) : best;
}

bool workers_choice_hear(struct workers_choice *choice, size_t worker, enum workers_heard heard)
{
    struct workers_row *row = &choice->rows[worker];

    bb_assert(worker < choice->count);
    row->is_up = heard == WORKERS_WHOLE || heard == WORKERS_CUT;
    row->is_cut = heard == WORKERS_CUT || (!row->is_up && row->is_cut);
    /*
     * When the sequencer itself is gone, the first worker to say so looks as if it alone were cut,
     * until the others are asked again, and the last to hear the next one as well.
     */
    row->cut_count = heard == WORKERS_CUT && has_whole(choice) ? row->cut_count + 1 : 0;
    return heard == WORKERS_HANGS ? workers_choice_any_up(choice) : row->cut_count >= CUT_COUNT;
}
