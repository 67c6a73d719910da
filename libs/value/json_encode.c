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

/*
 * Numbers of at most three decimals, as times in milliseconds are; true: it was one. Below 2^42
 * doubles lie closer than a thousandth, so one that is a thousandth's nearest double has no shorter
 * digits.
 */
static bool append_thousandths(struct bb_buf *to, double value)
{
    if (fabs(value) >= 4398046511104.0)
        return false;
    int64_t thousandths = (int64_t)llround(value * 1000);
    if ((double)thousandths / 1000 != value || (thousandths < 1000 && thousandths > -1000))
        return false;
    append_integer(to, thousandths / 1000);
    unsigned rest = (unsigned)llabs(thousandths % 1000);
    char digits[4] = { '.', (char)('0' + rest / 100), (char)('0' + rest / 10 % 10),
                       (char)('0' + rest % 10) };
    bb_buf_append(to, digits, rest % 10 != 0 ? 4 : rest % 100 != 0 ? 3 : 2);
    return true;
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
    if (append_thousandths(to, value))
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
