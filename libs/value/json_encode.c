#include "bb/value.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "value_internal.h"

void bb_json_string(struct bb_buf *to, struct bb_slice utf8)
{
    static const char hex[] = "0123456789abcdef";
    size_t start = 0;

    bb_buf_append_byte(to, '"');
    for (size_t i = 0; i < utf8.size; i++) {
        uint8_t c = utf8.data[i];
        char escape[6] = { '\\' };
        size_t size = 2;

        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        switch (c) {
        case '"':
        case '\\':
            escape[1] = (char)c;
            break;
        case '\n':
            escape[1] = 'n';
            break;
        case '\r':
            escape[1] = 'r';
            break;
        case '\t':
            escape[1] = 't';
            break;
        default:
            memcpy(escape + 1, "u00", 3);
            escape[4] = hex[c >> 4];
            escape[5] = hex[c & 15];
            size = 6;
            break;
        }
        bb_buf_append(to, utf8.data + start, i - start);
        bb_buf_append(to, escape, size);
        start = i + 1;
    }
    bb_buf_append(to, utf8.data + start, utf8.size - start);
    bb_buf_append_byte(to, '"');
}

enum {
    DECIMALS_MAX = 15
};
__extension__ typedef unsigned __int128 wide_uint;

static void append_integer(struct bb_buf *to, int64_t value)
{
    char text[24];
    size_t at = sizeof text;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

    do {
        text[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0)
        text[--at] = '-';
    bb_buf_append(to, text + at, sizeof text - at);
}

static void append_fraction(struct bb_buf *to, uint64_t parts, unsigned decimals)
{
    char text[DECIMALS_MAX + 1] = { '.' };

    for (unsigned at = decimals; at > 0; at--, parts /= 10)
        text[at] = (char)('0' + parts % 10);
    bb_buf_append(to, text, decimals + 1);
}

/*
 * Numbers with few decimals, as most that people and clocks make: the first count of decimals with
 * which the nearest decimal number is less than half a step of the double away, in whole numbers.
 * True: it was one.
 */
static bool append_decimals(struct bb_buf *to, double value)
{
    double size = fabs(value);
    int exponent;

    if (size < 0.001 || size >= 4503599627370496.0) /* beyond, all are whole */
        return false;
    uint64_t mantissa = (uint64_t)ldexp(frexp(size, &exponent), 53);
    unsigned shift = (unsigned)(53 - exponent); /* size == mantissa / 2^shift */
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

/* ECMA-262 Number::toString: the shortest digits that read back, placed by the exponent. */
void bb_json_number(struct bb_buf *to, double value)
{
    char text[40];
    char digits[24];
    size_t count = 0;
    int exponent = 0;

    bb_assert(isfinite(value));
    if (value == 0) {
        bb_buf_append_str(to, signbit(value) ? "-0" : "0");
        return;
    }
    if (fabs(value) < 9007199254740992.0 && value == (double)(int64_t)value) {
        append_integer(to, (int64_t)value);
        return;
    }
    if (append_decimals(to, value))
        return;
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

static void append_base64_of(struct bb_buf *to, const char *before, struct bb_slice bytes,
                             const char *after)
{
    bb_buf_append_str(to, before);
    bb_base64_append(to, bytes);
    bb_buf_append_str(to, after);
}

static void encode_float(double value, enum bb_json_format format, struct bb_buf *to)
{
    uint8_t bytes[8];

    if (isfinite(value) && (value != 0 || !signbit(value))) {
        bb_json_number(to, value);
        return;
    }
    if (format == BB_JSON_ENCODED) {
        bb_put_le64(bytes, value_float_bits(value));
        append_base64_of(to, "{\"$float\":\"", bb_slice(bytes, 8), "\"}");
    } else if (isnan(value)) {
        bb_buf_append_str(to, "\"NaN\"");
    } else if (isinf(value)) {
        bb_buf_append_str(to, value < 0 ? "\"-Infinity\"" : "\"Infinity\"");
    } else {
        bb_buf_append_str(to, "-0.0");
    }
}

static void encode_int64(int64_t value, enum bb_json_format format, struct bb_buf *to)
{
    uint8_t bytes[8];

    if (format == BB_JSON_CLEAN) {
        bb_buf_printf(to, "\"%" PRId64 "\"", value);
        return;
    }
    bb_put_le64(bytes, (uint64_t)value);
    append_base64_of(to, "{\"$integer\":\"", bb_slice(bytes, 8), "\"}");
}

static void encode_children(struct bb_slice value, enum bb_json_format format, struct bb_buf *to)
{
    bool is_object = bb_value_tag(value) == BB_TAG_OBJECT;
    bool is_first = true;

    bb_buf_append_byte(to, is_object ? '{' : '[');
    for (size_t i = 0; i < bb_value_count(value); i++) {
        struct bb_slice child = bb_value_at(value, i);
        if (is_object && bb_value_tag(child) == BB_TAG_UNDEFINED && format == BB_JSON_CLEAN)
            continue;
        if (!is_first)
            bb_buf_append_byte(to, ',');
        is_first = false;
        if (is_object) {
            bb_json_string(to, bb_value_name_at(value, i));
            bb_buf_append_byte(to, ':');
        }
        bb_json_encode(child, format, to);
    }
    bb_buf_append_byte(to, is_object ? '}' : ']');
}

void bb_json_encode(struct bb_slice value, enum bb_json_format format, struct bb_buf *to)
{
    switch (bb_value_tag(value)) {
    case BB_TAG_UNDEFINED:
        bb_buf_append_str(to, format == BB_JSON_ENCODED ? "{\"$undefined\":null}" : "null");
        return;
    case BB_TAG_NULL:
        bb_buf_append_str(to, "null");
        return;
    case BB_TAG_FALSE:
        bb_buf_append_str(to, "false");
        return;
    case BB_TAG_TRUE:
        bb_buf_append_str(to, "true");
        return;
    case BB_TAG_INT64:
        encode_int64(bb_value_int64(value), format, to);
        return;
    case BB_TAG_FLOAT64:
        encode_float(bb_value_float64(value), format, to);
        return;
    case BB_TAG_STRING:
        bb_json_string(to, bb_value_bytes(value));
        return;
    case BB_TAG_BYTES:
        if (format == BB_JSON_ENCODED) {
            append_base64_of(to, "{\"$bytes\":\"", bb_value_bytes(value), "\"}");
        } else {
            append_base64_of(to, "\"", bb_value_bytes(value), "\"");
        }
        return;
    case BB_TAG_ARRAY:
    case BB_TAG_OBJECT:
        encode_children(value, format, to);
        return;
    }
    BB_UNREACHABLE("a validated value has one of the tags");
}
