#include "key.h"

enum {
    TIME_DIGITS_MAX = 9, /* of base 36: the year 5188 */
    UUID_SIZE = 36,
    NUMBER_DIGITS_MAX = 16
};

/* The value of a lower-case digit; 36 or more: it is none. */
static uint64_t digit_of(uint8_t byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    return byte >= 'a' && byte <= 'z' ? (uint64_t)byte - 'a' + 10 : 36;
}

static bool is_uuid(const uint8_t *text)
{
    for (size_t i = 0; i < UUID_SIZE; i++) {
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (is_dash ? text[i] != '-' : digit_of(text[i]) >= 16)
            return false;
    }
    return true;
}

static bool is_number(struct bb_slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (digit_of(text.data[i]) >= 10)
            return false;
    }
    return text.size > 0 && text.size <= NUMBER_DIGITS_MAX;
}

uint64_t gateway_key_ms(struct bb_slice key)
{
    uint64_t ms = 0;
    size_t at = 0;

    while (at < key.size && at < TIME_DIGITS_MAX && digit_of(key.data[at]) < 36)
        ms = ms * 36 + digit_of(key.data[at++]);
    if (at == 0 || key.size < at + UUID_SIZE + 3 || key.data[at] != '-' ||
        !is_uuid(key.data + at + 1) || key.data[at + 1 + UUID_SIZE] != '-')
        return 0;
    at += UUID_SIZE + 2;
    return is_number(bb_slice(key.data + at, key.size - at)) ? ms : 0;
}
