#include <criterion/criterion.h>

#include "key.h"

Test(client_key, the_time_of_a_client_of_ours_is_read)
{
    static const struct {
        const char *key;
        uint64_t ms;
    } cases[] = {
        { "mi2cz5kg-123e4567-e89b-42d3-a456-426614174000-1", 1763336420080 },
        { "mi2cz5kg-123e4567-e89b-42d3-a456-426614174000-9007199254740991", 1763336420080 },
        { "1-123e4567-e89b-42d3-a456-426614174000-1", 1 },
        { "", 0 },
        { "mi2cz5kg", 0 },
        { "order-17", 0 },
        { "123e4567-e89b-42d3-a456-426614174000", 0 },
        { "mi2cz5kg-123e4567-e89b-42d3-a456-426614174000", 0 },
        { "mi2cz5kg-123e4567-e89b-42d3-a456-426614174000-", 0 },
        { "mi2cz5kg-123e4567-e89b-42d3-a456-426614174000-1x", 0 },
        { "mi2cz5kg-123e4567-e89b-42d3-a456-426614174000-90071992547409911", 0 },
        { "MI2CZ5KG-123e4567-e89b-42d3-a456-426614174000-1", 0 },
        { "mi2cz5kg-123e4567-e89b-42d3-a456-42661417400g-1", 0 },
        { "-123e4567-e89b-42d3-a456-426614174000-1", 0 },
        { "mi2cz5kgmi-123e4567-e89b-42d3-a456-426614174000-1", 0 },
    };

    for (size_t i = 0; i < BB_COUNT_OF(cases); i++)
        cr_assert_eq(gateway_key_ms(bb_slice_str(cases[i].key)), cases[i].ms, "%s: %llu",
                     cases[i].key, (unsigned long long)gateway_key_ms(bb_slice_str(cases[i].key)));
}
