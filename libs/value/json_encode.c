#include "bb/value.h"

#include <math.h>

#include "value_internal.h"

/* Not zero: one of eight bytes needs an escape ("hasless" and "haszero" of Anderson's Bit
 * Twiddling Hacks). */
static inline uint64_t escapes_in(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';

    return (((word - ones * 0x20) & ~word) | ((quote - ones) & ~quote) |
            ((backslash - ones) & ~backslash)) &
           highs;
}

static inline bool is_plain(uint8_t c)
{
    return c >= 0x20 && c != '"' && c != '\\';
}

/* How many bytes at the start are copied as they are. */
static size_t plain_size(struct bb_slice utf8)
{
    size_t at = 0;

    for (; at + 8 <= utf8.size; at += 8) {
        uint64_t word;
        memcpy(&word, utf8.data + at, 8);
        if (escapes_in(word) != 0)
            break;
    }
    while (at < utf8.size && is_plain(utf8.data[at]))
        at++;
    return at;
}

/* Copies all; false: some of it needs escapes. */
static inline bool copy_plain(uint8_t *to, struct bb_slice utf8)
{
    uint64_t found = 0, word;
    size_t at = 0;

    for (; at + 8 <= utf8.size; at += 8) {
        memcpy(&word, utf8.data + at, 8);
        memcpy(to + at, &word, 8);
        found |= escapes_in(word);
    }
    if (at > 0 && at < utf8.size) {
        at = utf8.size - 8; /* some of them once more */
        memcpy(&word, utf8.data + at, 8);
        memcpy(to + at, &word, 8);
        return (found | escapes_in(word)) == 0;
    }
    if (utf8.size >= 4 && utf8.size < 8) {
        uint32_t first, last;
        memcpy(&first, utf8.data, 4);
        memcpy(&last, utf8.data + utf8.size - 4, 4);
        memcpy(to, &first, 4);
        memcpy(to + utf8.size - 4, &last, 4);
        return escapes_in(first | (uint64_t)last << 32) == 0;
    }
    for (; at < utf8.size; at++) {
        to[at] = utf8.data[at];
        found |= !is_plain(utf8.data[at]);
    }
    return found == 0;
}

/* bb_buf_reserve without a call where there is room. */
static inline uint8_t *room_for(struct bb_buf *to, size_t more)
{
    if (to->capacity - to->size >= more)
        return to->data + to->size;
    return bb_buf_reserve(to, more);
}

static inline void put_byte(struct bb_buf *to, uint8_t c)
{
    *room_for(to, 1) = c;
    to->size++;
}

static inline void put_text(struct bb_buf *to, const char *text, size_t size)
{
    memcpy(room_for(to, size), text, size);
    to->size += size;
}

static void append_escape(struct bb_buf *to, uint8_t c)
{
    static const char hex[] = "0123456789abcdef";
    char escape[6] = { '\\' };
    size_t size = 2;

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
    bb_buf_append(to, escape, size);
}

__attribute__((noinline)) static void escape_string(struct bb_buf *to, struct bb_slice utf8)
{
    size_t plain = plain_size(utf8);

    put_byte(to, '"');
    bb_buf_append(to, utf8.data, plain);
    while (plain < utf8.size) {
        append_escape(to, utf8.data[plain]);
        utf8 = bb_slice(utf8.data + plain + 1, utf8.size - plain - 1);
        plain = plain_size(utf8);
        bb_buf_append(to, utf8.data, plain);
    }
    put_byte(to, '"');
}

/* With one more byte behind it, unless that is 0. */
static inline void put_string(struct bb_buf *to, struct bb_slice utf8, uint8_t after)
{
    uint8_t *out = room_for(to, utf8.size + 3);

    if (copy_plain(out + 1, utf8)) {
        out[0] = out[utf8.size + 1] = '"';
        out[utf8.size + 2] = after;
        to->size += utf8.size + 2 + (after != 0);
        return;
    }
    escape_string(to, utf8);
    if (after != 0)
        put_byte(to, after);
}

void bb_json_string(struct bb_buf *to, struct bb_slice utf8)
{
    put_string(to, utf8, 0);
}

static void encode_string(struct bb_slice value, struct bb_buf *to)
{
    struct bb_slice utf8 = value_short_bytes(value);

    put_string(to, utf8.data != NULL ? utf8 : bb_value_bytes(value), 0);
}

static void append_base64_of(struct bb_buf *to, const char *before, struct bb_slice bytes,
                             const char *after)
{
    bb_buf_append_str(to, before);
    bb_base64_append(to, bytes);
    bb_buf_append_str(to, after);
}

/* What JSON has no number for. */
__attribute__((noinline)) static void encode_special(double value, enum bb_json_format format,
                                                     struct bb_buf *to)
{
    uint8_t bytes[8];

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

__attribute__((noinline)) static void encode_int64(int64_t value, enum bb_json_format format,
                                                   struct bb_buf *to)
{
    uint8_t bytes[8];

    if (format == BB_JSON_CLEAN) {
        bb_buf_printf(to, "\"%" PRId64 "\"", value);
        return;
    }
    bb_put_le64(bytes, (uint64_t)value);
    append_base64_of(to, "{\"$integer\":\"", bb_slice(bytes, 8), "\"}");
}

static void encode_float(double value, enum bb_json_format format, struct bb_buf *to)
{
    if (isfinite(value) && (value != 0 || !signbit(value))) {
        bb_json_number(to, value);
    } else {
        encode_special(value, format, to);
    }
}

static void encode_array(struct bb_slice value, enum bb_json_format format, struct bb_buf *to)
{
    size_t count = bb_value_count(value);
    const uint8_t *ends = value.data + VALUE_HEAD, *items = ends + 4 * count;
    uint32_t start = 0;

    put_byte(to, '[');
    for (size_t i = 0; i < count; i++) {
        uint32_t end = bb_get_le32(ends + 4 * i);
        if (i > 0)
            put_byte(to, ',');
        bb_json_encode(bb_slice(items + start, end - start), format, to);
        start = end;
    }
    put_byte(to, ']');
}

static void encode_object(struct bb_slice value, enum bb_json_format format, struct bb_buf *to)
{
    size_t count = bb_value_count(value);
    const uint8_t *ends = value.data + VALUE_HEAD;
    const uint8_t *names = ends + 8 * count + 4, *values = names + bb_get_le32(names - 4);
    uint32_t name_start = 0, start = 0;
    uint8_t separator = '{';

    for (size_t i = 0; i < count; i++) {
        uint32_t name_end = bb_get_le32(ends + 8 * i), end = bb_get_le32(ends + 8 * i + 4);
        struct bb_slice name = bb_slice(names + name_start, name_end - name_start);
        struct bb_slice child = bb_slice(values + start, end - start);
        name_start = name_end;
        start = end;
        if (bb_value_tag(child) == BB_TAG_UNDEFINED && format == BB_JSON_CLEAN)
            continue;
        put_byte(to, separator);
        put_string(to, name, ':');
        bb_json_encode(child, format, to);
        separator = ',';
    }
    if (separator == '{')
        put_byte(to, '{');
    put_byte(to, '}');
}

void bb_json_encode(struct bb_slice value, enum bb_json_format format, struct bb_buf *to)
{
    switch (bb_value_tag(value)) {
    case BB_TAG_UNDEFINED:
        bb_buf_append_str(to, format == BB_JSON_ENCODED ? "{\"$undefined\":null}" : "null");
        return;
    case BB_TAG_NULL:
        put_text(to, "null", 4);
        return;
    case BB_TAG_FALSE:
        put_text(to, "false", 5);
        return;
    case BB_TAG_TRUE:
        put_text(to, "true", 4);
        return;
    case BB_TAG_INT64:
        encode_int64(bb_value_int64(value), format, to);
        return;
    case BB_TAG_FLOAT64:
        encode_float(bb_value_float64(value), format, to);
        return;
    case BB_TAG_STRING:
        encode_string(value, to);
        return;
    case BB_TAG_BYTES:
        if (format == BB_JSON_ENCODED) {
            append_base64_of(to, "{\"$bytes\":\"", bb_value_bytes(value), "\"}");
        } else {
            append_base64_of(to, "\"", bb_value_bytes(value), "\"");
        }
        return;
    case BB_TAG_ARRAY:
        encode_array(value, format, to);
        return;
    case BB_TAG_OBJECT:
        encode_object(value, format, to);
        return;
    }
    BB_UNREACHABLE("a validated value has one of the tags");
}
