#include "bb/value.h"

#include <math.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "value_internal.h"

enum {
    FIELDS_MAX = 32,
    NAMES_MAX = 512
};

/* The names of an object's fields as JSON, each with what stands before and after it, for the next
 * object of the same array: most have the same fields. */
struct names {
    bool is_of_no_use; /* there were too many */
    size_t count;
    const uint8_t *ends; /* of the object that they were made of: pairs, as there */
    struct bb_slice bytes;
    uint16_t text_ends[FIELDS_MAX];
    uint8_t text[NAMES_MAX];
};

static void encode(struct bb_slice value, enum bb_json_format format, struct names *names,
                   struct bb_buf *to);

/* How many bytes at the start are copied as they are. */
static size_t plain_size(struct bb_slice utf8)
{
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    size_t at = 0;

#if defined(__SSE2__)
    for (; at + 16 <= utf8.size; at += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i_u *)(utf8.data + at));
        __m128i special =
            _mm_or_si128(_mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes),
                         _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')),
                                      _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'))));
        unsigned found = (unsigned)_mm_movemask_epi8(special);
        if (found != 0)
            return at + (unsigned)__builtin_ctz(found);
    }
#endif
    /* Eight at a time ("hasless" and "haszero" of Anderson's Bit Twiddling Hacks). */
    for (; at + 8 <= utf8.size; at += 8) {
        uint64_t word;
        memcpy(&word, utf8.data + at, 8);
        uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
        if ((((word - ones * 0x20) & ~word) | ((quote - ones) & ~quote) |
             ((backslash - ones) & ~backslash)) &
            highs)
            break;
    }
    while (at < utf8.size && utf8.data[at] >= 0x20 && utf8.data[at] != '"' && utf8.data[at] != '\\')
        at++;
    return at;
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

void bb_json_string(struct bb_buf *to, struct bb_slice utf8)
{
    uint8_t *out = bb_buf_reserve(to, utf8.size + 2);
    size_t plain = plain_size(utf8);

    *out = '"';
    if (plain > 0)
        memcpy(out + 1, utf8.data, plain);
    to->size += 1 + plain;
    while (plain < utf8.size) {
        append_escape(to, utf8.data[plain]);
        utf8 = bb_slice(utf8.data + plain + 1, utf8.size - plain - 1);
        plain = plain_size(utf8);
        bb_buf_append(to, utf8.data, plain);
    }
    bb_buf_append_byte(to, '"');
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

static void encode_array(struct bb_slice value, enum bb_json_format format, struct bb_buf *to)
{
    struct names names;
    size_t count = bb_value_count(value);
    const uint8_t *ends = value.data + VALUE_HEAD, *items = ends + 4 * count;
    uint32_t start = 0;

    names.is_of_no_use = false;
    names.count = 0;
    bb_buf_append_byte(to, '[');
    for (size_t i = 0; i < count; i++) {
        uint32_t end = bb_get_le32(ends + 4 * i);
        if (i > 0)
            bb_buf_append_byte(to, ',');
        encode(bb_slice(items + start, end - start), format, &names, to);
        start = end;
    }
    bb_buf_append_byte(to, ']');
}

/* Where the parts of an object lie. */
struct parts {
    size_t count;
    const uint8_t *ends; /* pairs: of the name, of the value */
    struct bb_slice names;
    const uint8_t *values;
};

static struct parts parts_of(struct bb_slice value)
{
    struct parts parts = { .count = bb_value_count(value), .ends = value.data + VALUE_HEAD };
    const uint8_t *names = parts.ends + 8 * parts.count + 4;

    parts.names = bb_slice(names, bb_get_le32(names - 4));
    parts.values = names + parts.names.size;
    return parts;
}

static bool is_same(const struct names *names, const struct parts *parts)
{
    if (names->count != parts->count || names->bytes.size != parts->names.size ||
        memcmp(names->bytes.data, parts->names.data, parts->names.size) != 0)
        return false;
    for (size_t i = 0; i < parts->count; i++) {
        if (bb_get_le32(names->ends + 8 * i) != bb_get_le32(parts->ends + 8 * i))
            return false;
    }
    return true;
}

static struct bb_slice name_at(const struct parts *parts, size_t at)
{
    uint32_t start = at == 0 ? 0 : bb_get_le32(parts->ends + 8 * (at - 1));

    return bb_slice(parts->names.data + start, bb_get_le32(parts->ends + 8 * at) - start);
}

/* False: there is no room for so many, or so long ones. */
static bool make_names(struct names *names, const struct parts *parts, struct bb_buf *scratch)
{
    size_t begin = scratch->size;
    bool is_good = parts->count <= FIELDS_MAX;

    for (size_t i = 0; is_good && i < parts->count; i++) {
        bb_buf_append_byte(scratch, i == 0 ? '{' : ',');
        bb_json_string(scratch, name_at(parts, i));
        bb_buf_append_byte(scratch, ':');
        is_good = scratch->size - begin <= NAMES_MAX;
        if (is_good)
            names->text_ends[i] = (uint16_t)(scratch->size - begin);
    }
    names->count = 0;
    if (is_good && parts->count > 0) {
        names->count = parts->count;
        names->ends = parts->ends;
        names->bytes = parts->names;
        memcpy(names->text, scratch->data + begin, scratch->size - begin);
    }
    scratch->size = begin;
    names->is_of_no_use = !is_good;
    return names->count > 0;
}

/* Fields whose names are known as text; none is undefined. */
static void encode_fields(const struct parts *parts, enum bb_json_format format,
                          struct names *names, struct bb_buf *to)
{
    uint32_t text = 0, start = 0;

    for (size_t i = 0; i < parts->count; i++) {
        uint32_t text_end = names->text_ends[i], end = bb_get_le32(parts->ends + 8 * i + 4);
        bb_buf_append(to, names->text + text, text_end - text);
        encode(bb_slice(parts->values + start, end - start), format, NULL, to);
        text = text_end;
        start = end;
    }
    bb_buf_append_byte(to, '}');
}

static bool has_undefined(const struct parts *parts)
{
    uint32_t start = 0;

    for (size_t i = 0; i < parts->count; i++) {
        if (parts->values[start] == BB_TAG_UNDEFINED)
            return true;
        start = bb_get_le32(parts->ends + 8 * i + 4);
    }
    return false;
}

static void encode_object(struct bb_slice value, enum bb_json_format format, struct names *known,
                          struct bb_buf *to)
{
    const struct parts parts = parts_of(value);

    if (known != NULL && !known->is_of_no_use && !has_undefined(&parts) &&
        (is_same(known, &parts) || make_names(known, &parts, to))) {
        encode_fields(&parts, format, known, to);
        return;
    }
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
        bb_buf_append_byte(to, separator);
        bb_json_string(to, name);
        bb_buf_append_byte(to, ':');
        encode(child, format, NULL, to);
        separator = ',';
    }
    if (separator == '{')
        bb_buf_append_byte(to, '{');
    bb_buf_append_byte(to, '}');
}

void bb_json_encode(struct bb_slice value, enum bb_json_format format, struct bb_buf *to)
{
    encode(value, format, NULL, to);
}

static void encode(struct bb_slice value, enum bb_json_format format, struct names *names,
                   struct bb_buf *to)
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
        encode_array(value, format, to);
        return;
    case BB_TAG_OBJECT:
        encode_object(value, format, names, to);
        return;
    }
    BB_UNREACHABLE("a validated value has one of the tags");
}
