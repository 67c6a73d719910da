#include "way.h"

#include "bb/base.h"

bool sequencer_line_is_silent(const struct sequencer_line *line, uint64_t now_us,
                              uint64_t patience_us)
{
    return !line->is_connected ||
           (line->asked_us != 0 && now_us >= line->asked_us + patience_us + line->busy_us);
}

static uint64_t newest_term(const struct sequencer_line *lines, size_t count)
{
    uint64_t term = 0;

    for (size_t i = 0; i < count; i++)
        term = lines[i].term > term ? lines[i].term : term;
    return term;
}

size_t sequencer_way_choose(const struct sequencer_line *lines, size_t count, size_t leader,
                            size_t via, uint64_t now_us, uint64_t patience_us)
{
    const struct sequencer_line *straight = &lines[leader];
    uint64_t term = newest_term(lines, count);
    size_t found = SEQUENCER_STRAIGHT;

    bb_assert(leader < count && (via < count || via == SEQUENCER_STRAIGHT));
    if (!sequencer_line_is_silent(straight, now_us, patience_us) &&
        (via == SEQUENCER_STRAIGHT || straight->answers >= SEQUENCER_BACK_COUNT))
        return SEQUENCER_STRAIGHT;
    for (size_t i = 0; i < count; i++) {
        const struct sequencer_line *line = &lines[i];
        bool names_it = line->leader != 0 && line->leader == straight->node && line->term == term;
        /* After a claim the follower that passed it on has not said anything else yet. */
        bool is_way = i == via && term == 0;
        if (i == leader || (!names_it && !is_way) ||
            sequencer_line_is_silent(line, now_us, SEQUENCER_SILENT_US))
            continue;
        if (i == via)
            return via;
        if (found == SEQUENCER_STRAIGHT)
            found = i;
    }
    return found;
}

bool sequencer_way_is_other(const struct sequencer_line *has_batch,
                            const struct sequencer_line *target, uint64_t now_us)
{
    return has_batch != target &&
           sequencer_line_is_silent(has_batch, now_us, SEQUENCER_SILENT_US) &&
           !sequencer_line_is_silent(target, now_us, SEQUENCER_SILENT_US);
}

size_t sequencer_way_next(const struct sequencer_line *lines, size_t count, size_t leader,
                          size_t via, uint64_t now_us)
{
    for (size_t i = 1; i < count; i++) {
        size_t next = (via + i) % count;
        if (next != leader && !sequencer_line_is_silent(&lines[next], now_us, SEQUENCER_SILENT_US))
            return next;
    }
    return via;
}
