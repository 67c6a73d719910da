/* Which tables a record writes to, seen without unpacking it. */
#include <criterion/criterion.h>

#include "follow_internal.h"

static bool wants_second(void *arg, uint32_t table)
{
    (void)arg;
    return table == 2;
}

static bool peek(const uint8_t *bytes, size_t size, struct follow_peek *seen)
{
    const struct bb_follow_user user = { .wants = wants_second };

    return follow_peek(bb_slice(bytes, size), &user, seen);
}

Test(peek, a_table_that_is_named_twice_is_the_last_one_as_where_it_is_unpacked)
{
    const uint8_t to_second[] = { 0x08, 7, 0x10, 6, 0x1a, 6, 0x0a, 4, 0x08, 9, 0x08, 2 };
    const uint8_t to_ninth[] = { 0x08, 7, 0x10, 6, 0x1a, 6, 0x0a, 4, 0x08, 2, 0x08, 9 };
    struct follow_peek seen;

    cr_assert(peek(to_second, sizeof to_second, &seen));
    cr_expect(seen.tx == 7 && seen.prev == 6 && seen.is_wanted);
    cr_assert(peek(to_ninth, sizeof to_ninth, &seen));
    cr_expect_not(seen.is_wanted);
}

Test(peek, what_is_malformed_is_left_to_unpacking)
{
    const uint8_t text_for_table[] = { 0x08, 7, 0x10, 6, 0x1a, 5, 0x0a, 3, 0x0a, 1, 9 };
    const uint8_t cut[] = { 0x08, 7, 0x10, 6, 0x1a, 9, 0x0a, 4, 0x08, 9 };
    struct follow_peek seen;

    cr_expect_not(peek(text_for_table, sizeof text_for_table, &seen));
    cr_expect_not(peek(cut, sizeof cut, &seen));
}
