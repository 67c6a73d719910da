#include "bb/value.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "value_internal.h"

enum {
    DECIMALS_MAX = 15
};
__extension__ typedef unsigned __int128 wide_uint;

/* The digits of a number, from its end backwards. */
static char *digits_before(char *end, uint64_t rest)
{
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233"
        "34353637383940414243444546474849505152535455565758596061626364656667"
        "6869707172737475767778798081828384858687888990919293949596979899";

    while (rest >= 100) {
        end -= 2;
        memcpy(end, pairs + rest % 100 * 2, 2);
        rest /= 100;
    }
    if (rest >= 10) {
        end -= 2;
        memcpy(end, pairs + rest * 2, 2);
    } else {
        *--end = (char)('0' + rest);
    }
    return end;
}

static size_t digit_count(uint64_t value)
{
    size_t count = 1;

    for (; value >= 10000; value /= 10000)
        count += 4;
    return count + (value >= 10) + (value >= 100) + (value >= 1000);
}

static void append_integer(struct bb_buf *to, int64_t value)
{
    uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    size_t count = digit_count(size) + (value < 0);
    char *end = (char *)bb_buf_reserve(to, count) + count;
    char *at = digits_before(end, size);

    if (value < 0)
        *--at = '-';
    to->size += count;
}

static void append_fraction(struct bb_buf *to, uint64_t parts, unsigned decimals)
{
    uint8_t *text = bb_buf_reserve(to, decimals + 1);

    text[0] = '.';
    for (unsigned at = decimals; at > 0; at--, parts /= 10)
        text[at] = (uint8_t)('0' + parts % 10);
    to->size += decimals + 1;
}

/*
 * Numbers with few decimals, as most that people and clocks make: the first count of decimals with
 * which the nearest decimal number is less than half a step of the double away, in whole numbers.
 * True: it was one.
 */
static bool append_decimals(struct bb_buf *to, double value)
{
    double size = fabs(value);

    if (size < 0.001 || size >= 4503599627370496.0) /* beyond, all are whole */
        return false;
    uint64_t bits = value_float_bits(size);
    uint64_t mantissa = (bits & ((1ull << 52) - 1)) | 1ull << 52;
    unsigned shift = 1075 - (unsigned)(bits >> 52); /* size == mantissa / 2^shift */
    uint64_t scale = 10;
    if (mantissa == 1ull << 52)
        return false; /* the step below it is half as large */
    for (unsigned decimals = 1; decimals <= DECIMALS_MAX; decimals++, scale *= 10) {
        wide_uint product = (wide_uint)mantissa * scale, whole = product >> shift;
        uint64_t rest = (uint64_t)product & ((1ull << shift) - 1), half = 1ull << (shift - 1);
        if (whole >> 62 != 0)
            return false;
        /* The nearest one; the even one of two, as ECMA-262 wants it. */
        uint64_t parts = (uint64_t)whole;
        bool is_up = rest > half || (rest == half && parts % 2 == 1);
        uint64_t distance = is_up ? (1ull << shift) - rest : rest;
        if (2 * distance > scale || (2 * distance == scale && mantissa % 2 == 1))
            continue;
        parts += is_up;
        if (value < 0)
            bb_buf_append_byte(to, '-');
        append_integer(to, (int64_t)(parts / scale));
        append_fraction(to, parts % scale, decimals);
        return true;
    }
    return false;
}

__attribute__((noinline)) static void append_shortest(struct bb_buf *to, double value)
{
    char text[40];
    char digits[24];
    size_t count = 0;
    int exponent = 0;
    /* 15 digits always suffice for a decimal that had at most 15; subnormal numbers have fewer. */
    for (int precision = fabs(value) < DBL_MIN ? 0 : 14; precision <= 16; precision++) {
        (void)snprintf(text, sizeof text, "%.*e", precision, value);
        if (strtod(text, NULL) == value)
            break;
    }
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == 'e') {
            exponent = (int)strtol(at + 1, NULL, 10);
            break;
        }
        if (*at >= '0' && *at <= '9')
            digits[count++] = *at;
    }
    while (count > 1 && digits[count - 1] == '0')
        count--;
    if (value < 0)
        bb_buf_append_byte(to, '-');
    int point = exponent + 1; /* digits before the decimal point */
    if (point > 21 || point < -5) {
        bb_buf_append_byte(to, (uint8_t)digits[0]);
        if (count > 1) {
            bb_buf_append_byte(to, '.');
            bb_buf_append(to, digits + 1, count - 1);
        }
        bb_buf_printf(to, "e%+d", exponent);
    } else if (point <= 0) {
        bb_buf_append_str(to, "0.");
        for (int i = point; i < 0; i++)
            bb_buf_append_byte(to, '0');
        bb_buf_append(to, digits, count);
    } else {
        for (size_t i = 0; i < (size_t)point || i < count; i++) {
            if (i == (size_t)point)
                bb_buf_append_byte(to, '.');
            bb_buf_append_byte(to, i < count ? (uint8_t)digits[i] : '0');
        }
    }
}

/* ECMA-262 Number::toString: the shortest digits that read back, placed by the exponent. */
void bb_json_number(struct bb_buf *to, double value)
{
    bb_assert(isfinite(value));
    if (value == 0 && signbit(value)) {
        bb_buf_append_str(to, "-0");
    } else if (fabs(value) < 9007199254740992.0 && value == (double)(int64_t)value) {
        append_integer(to, (int64_t)value);
    } else if (!append_decimals(to, value)) {
        append_shortest(to, value);
    }
}
