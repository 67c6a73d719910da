/* What a call gets is sent along with the next one like it. That it is right: supervisor.c and the
 * simulator. */
#include <criterion/criterion.h>

#include "hints.h"

static struct bb_slice document(uint32_t n)
{
    static uint8_t bytes[8][COPIES_KEY_SIZE];
    static size_t next;
    uint8_t *to = bytes[next++ % 8];

    bb_put_le32(to, n);
    return bb_slice(to, COPIES_KEY_SIZE);
}

Test(hints, the_newest_documents_of_calls_with_the_same_arguments)
{
    struct hints *hints = worker_hints_new();
    struct bb_slice found[HINTS_MAX];

    cr_assert_eq(worker_hints_of(hints, 1, found), 0);
    worker_hints_learn(hints, 1, document(10));
    worker_hints_learn(hints, 1, document(10));
    worker_hints_learn(hints, 2, document(20));
    cr_assert_eq(worker_hints_of(hints, 1, found), 1);
    cr_assert(bb_slice_equal(found[0], document(10)));
    for (uint32_t n = 11; n < 15; n++)
        worker_hints_learn(hints, 1, document(n));
    cr_assert_eq(worker_hints_of(hints, 1, found), HINTS_MAX);
    cr_assert(bb_slice_equal(found[0], document(14)), "the oldest one has made room");
    worker_hints_learn(hints, 3, bb_slice("an entry of an index", 19));
    cr_assert_eq(worker_hints_of(hints, 3, found), 0, "only documents");
    worker_hints_free(hints);
}

Test(hints, what_was_used_least_lately_goes_first)
{
    struct hints *hints = worker_hints_new();
    struct bb_slice found[HINTS_MAX];
    const uint64_t set = 8192; /* keys that meet in one set */

    for (uint32_t n = 1; n <= 4; n++)
        worker_hints_learn(hints, n * set, document(n));
    cr_assert_eq(worker_hints_of(hints, 1 * set, found), 1);
    worker_hints_learn(hints, 5 * set, document(5));
    cr_assert_eq(worker_hints_of(hints, 2 * set, found), 0);
    cr_assert_eq(worker_hints_of(hints, 1 * set, found), 1);
    cr_assert_eq(worker_hints_of(hints, 5 * set, found), 1);
    worker_hints_free(hints);
}
