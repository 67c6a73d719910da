/* How long a batch waits for more commits: gather.h. */
#include <criterion/criterion.h>

#include "gather.h"

#define NOW 5000000

static struct sequencer_gather after(size_t commits, size_t pending, uint64_t took_us,
                                     size_t storages)
{
    struct sequencer_gather gather = { .wanted = 0 };

    sequencer_gather_begin(
        &gather,
        &(struct sequencer_gathered){
            .took_us = took_us, .commits = commits, .pending = pending, .storages = storages },
        NOW);
    return gather;
}

Test(gather, waits_for_those_that_were_just_answered_and_those_behind_them)
{
    struct sequencer_gather gather = after(20, 15, 1000, 3);

    cr_assert(sequencer_gather_waits(&gather, 15, NOW));
    cr_assert(sequencer_gather_waits(&gather, 34, NOW + 100));
    cr_assert_not(sequencer_gather_waits(&gather, 35, NOW + 100), "all that it knows of are there");
}

Test(gather, lasts_half_as_long_as_the_last_batch_took)
{
    struct sequencer_gather gather = after(20, 15, 1000, 3);

    cr_assert(sequencer_gather_waits(&gather, 15, NOW + 499));
    cr_assert_not(sequencer_gather_waits(&gather, 15, NOW + 500));
}

Test(gather, is_short_however_long_a_batch_took)
{
    struct sequencer_gather gather = after(20, 15, UINT64_C(3600000000), 3);

    cr_assert(sequencer_gather_waits(&gather, 15, NOW + SEQUENCER_GATHER_US - 1));
    cr_assert_not(sequencer_gather_waits(&gather, 15, NOW + SEQUENCER_GATHER_US));
}

Test(gather, whoever_is_alone_or_almost_waits_for_nobody)
{
    for (size_t known = 1; known < SEQUENCER_GATHER_FEW; known++) {
        for (size_t commits = 1; commits <= known; commits++) {
            struct sequencer_gather gather = after(commits, known - commits, 1000, 3);
            cr_assert_not(sequencer_gather_waits(&gather, 1, NOW), "%zu of %zu", commits, known);
        }
    }
}

Test(gather, an_entry_for_one_storage_node_waits_for_nobody)
{
    struct sequencer_gather gather = after(20, 15, 1000, 1);

    cr_assert_not(sequencer_gather_waits(&gather, 15, NOW));
}

Test(gather, nothing_waits_before_the_first_batch)
{
    struct sequencer_gather gather = { .wanted = 0 };

    cr_assert_not(sequencer_gather_waits(&gather, 1, 0));
}
