#include <criterion/criterion.h>

#include "storage.h"

Test(compare, only_a_majority_that_agrees_proves_a_replica_wrong)
{
    uint64_t two_same[] = { 7, 7 }, two_other[] = { 7, 8 }, one[] = { 7 };
    uint64_t four[] = { 7, 7, 7, 5 }, split[] = { 7, 7, 5, 5 };
    /* Three voters: both others contradict, and alike. */
    cr_assert(storage_compare_is_wrong(two_same, 2, 5, 3));
    cr_assert_not(storage_compare_is_wrong(two_other, 2, 5, 3));
    cr_assert_not(storage_compare_is_wrong(one, 1, 5, 3), "one against one proves nothing");
    cr_assert_not(storage_compare_is_wrong(two_same, 2, 7, 3));
    /* Five voters. */
    cr_assert(storage_compare_is_wrong(four, 4, 5, 5));
    cr_assert_not(storage_compare_is_wrong(split, 4, 5, 5));
    cr_assert_not(storage_compare_is_wrong(split, 4, 7, 5));
    cr_assert_not(storage_compare_is_wrong(NULL, 0, 5, 1));
}

Test(compare, mark_is_the_chain_before_the_first_entry_at_or_after_it)
{
    struct storage *node = bb_alloc_zero(1, sizeof *node);
    node->fence.index = 1022;
    node->fence.chain = 11;
    storage_compare_note(node, 1023);
    cr_assert_eq(node->compare.next, 0);
    node->fence.index = 1023;
    node->fence.chain = 12;
    storage_compare_note(node, 1026); /* entries of the log itself have no index here */
    cr_assert_eq(node->compare.next, 1);
    cr_assert_eq(node->compare.marks[0].mark, 1);
    cr_assert_eq(node->compare.marks[0].chain, 12);
    bb_free(node);
}
