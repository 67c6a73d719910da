#include "bb/value.h"

#include <math.h>

#include "value_internal.h"

/*
 * Most JSON that comes is plain: ASCII strings without escapes, numbers of a few digits, no key
 * that begins with `$`. It goes from the text into the builder, without a tree of its values in
 * between. Whatever is not plain, mistakes first of all, is left to jansson, which begins anew:
 * what is taken here means the same there.
 */

enum {
    DIGITS_MAX = 15, /* whole numbers of so many digits, and powers of ten, are exact doubles */
    DEPTH_MAX = BB_VALUE_DEPTH_MAX
};

struct text {
    const uint8_t *at, *end;
    struct bb_value_builder *builder;
};

static void skip_space(struct text *text)
{
    while (text->at < text->end &&
           (*text->at == ' ' || *text->at == '\n' || *text->at == '\r' || *text->at == '\t'))
        text->at++;
}

/* Space, then this character; false: something else. */
static bool take(struct text *text, char wanted)
{
    skip_space(text);
    if (text->at == text->end || *text->at != (uint8_t)wanted)
        return false;
    text->at++;
    return true;
}

static bool take_word(struct text *text, const char *word, size_t size)
{
    if ((size_t)(text->end - text->at) < size || memcmp(text->at, word, size) != 0)
        return false;
    text->at += size;
    return true;
}

/* The opening quote is behind. */
static bool take_string(struct text *text, struct bb_slice *string)
{
    const uint8_t *start = text->at;

    for (; text->at < text->end; text->at++) {
        uint8_t byte = *text->at;
        if (byte == '"') {
            *string = bb_slice(start, (size_t)(text->at - start));
            text->at++;
            return true;
        }
        if (byte < 0x20 || byte >= 0x80 || byte == '\\')
            return false;
    }
    return false;
}

/* How many there are; `*value` grows by them. */
static size_t take_digits(struct text *text, uint64_t *value)
{
    size_t count = 0;

    for (; text->at < text->end && *text->at >= '0' && *text->at <= '9'; text->at++) {
        if (++count > DIGITS_MAX)
            break;
        *value = *value * 10 + (uint64_t)(*text->at - '0');
    }
    return count;
}

static bool take_number(struct text *text)
{
    static const double powers[DIGITS_MAX + 1] = { 1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                   1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15 };
    bool is_negative = take_word(text, "-", 1);
    const uint8_t *first = text->at;
    uint64_t digits = 0;
    size_t whole = take_digits(text, &digits);
    size_t decimals = 0;

    if (whole == 0 || (whole > 1 && *first == '0'))
        return false;
    if (text->at < text->end && *text->at == '.') {
        text->at++;
        decimals = take_digits(text, &digits);
        if (decimals == 0)
            return false;
    }
    bool has_exponent = text->at < text->end && (*text->at == 'e' || *text->at == 'E');
    if (whole + decimals > DIGITS_MAX || has_exponent)
        return false;
    double value = (double)digits / powers[decimals]; /* both exact, so this is the nearest one */
    bb_value_put_float64(text->builder, is_negative ? -value : value);
    return true;
}

static bool take_value(struct text *text, unsigned depth);

static bool take_array(struct text *text, unsigned depth)
{
    bb_value_begin_array(text->builder);
    if (!take(text, ']')) {
        do {
            if (!take_value(text, depth + 1))
                return false;
        } while (take(text, ','));
        if (!take(text, ']'))
            return false;
    }
    bb_value_end_array(text->builder);
    return true;
}

static bool take_field(struct text *text, unsigned depth)
{
    struct bb_slice name;

    if (!take(text, '"') || !take_string(text, &name) || !take(text, ':'))
        return false;
    if (name.size > 0 && name.data[0] == '$')
        return false;
    bb_value_field_name(text->builder, name);
    return take_value(text, depth + 1);
}

static bool take_object(struct text *text, unsigned depth)
{
    bb_value_begin_object(text->builder);
    if (!take(text, '}')) {
        do {
            if (!take_field(text, depth))
                return false;
        } while (take(text, ','));
        if (!take(text, '}'))
            return false;
    }
    bb_value_end_object(text->builder);
    return true;
}

static bool take_bool(struct text *text, bool value)
{
    if (!(value ? take_word(text, "true", 4) : take_word(text, "false", 5)))
        return false;
    bb_value_put_bool(text->builder, value);
    return true;
}

static bool take_null(struct text *text)
{
    if (!take_word(text, "null", 4))
        return false;
    bb_value_null(text->builder);
    return true;
}

static bool take_value(struct text *text, unsigned depth)
{
    struct bb_slice string;

    skip_space(text);
    if (text->at == text->end || depth > DEPTH_MAX)
        return false;
    switch (*text->at) {
    case '{':
        text->at++;
        return take_object(text, depth);
    case '[':
        text->at++;
        return take_array(text, depth);
    case '"':
        text->at++;
        if (!take_string(text, &string))
            return false;
        bb_value_put_string(text->builder, string);
        return true;
    case 't':
        return take_bool(text, true);
    case 'f':
        return take_bool(text, false);
    case 'n':
        return take_null(text);
    default:
        return take_number(text);
    }
}

bool value_json_plain(struct bb_value_builder *builder, struct bb_slice json)
{
    struct text text = { .at = json.data, .end = json.data + json.size, .builder = builder };

    if (!take_value(&text, 0))
        return false;
    skip_space(&text);
    return text.at == text.end;
}
