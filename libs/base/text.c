#include "bb/base.h"

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void bb_base64_append(struct bb_buf *to, struct bb_slice from)
{
    uint8_t *out = bb_buf_reserve(to, (from.size + 2) / 3 * 4);
    size_t at = 0;

    while (at < from.size) {
        size_t left = from.size - at;
        uint32_t bits = (uint32_t)from.data[at] << 16;
        if (left > 1)
            bits |= (uint32_t)from.data[at + 1] << 8;
        if (left > 2)
            bits |= from.data[at + 2];
        *out++ = (uint8_t)base64_digits[bits >> 18 & 63];
        *out++ = (uint8_t)base64_digits[bits >> 12 & 63];
        *out++ = left > 1 ? (uint8_t)base64_digits[bits >> 6 & 63] : '=';
        *out++ = left > 2 ? (uint8_t)base64_digits[bits & 63] : '=';
        at += 3;
    }
    to->size += (from.size + 2) / 3 * 4;
}

static int base64_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

int bb_base64_decode(struct bb_ctx *ctx, struct bb_slice from, struct bb_buf *to)
{
    if (from.size % 4 != 0) {
        return bb_fail(ctx, BB_BAD_REQUEST, "base64 text of %zu characters: not a multiple of 4",
                       from.size);
    }
    for (size_t at = 0; at < from.size; at += 4) {
        bool is_last = at + 4 == from.size;
        size_t count = 4;
        uint32_t bits = 0;

        if (is_last && from.data[at + 3] == '=')
            count = from.data[at + 2] == '=' ? 2 : 3;
        for (size_t i = 0; i < count; i++) {
            int digit = base64_digit(from.data[at + i]);
            if (digit < 0)
                return bb_fail(ctx, BB_BAD_REQUEST, "base64 text: bad character at %zu", at + i);
            bits |= (uint32_t)digit << (18 - 6 * i);
        }
        if (count < 4 && (bits & (count == 3 ? 0xffu : 0xffffu)) != 0)
            return bb_fail(ctx, BB_BAD_REQUEST, "base64 text: bits after the end");
        uint8_t bytes[3] = { (uint8_t)(bits >> 16), (uint8_t)(bits >> 8), (uint8_t)bits };
        bb_buf_append(to, bytes, count - 1);
    }
    return BB_OK;
}

void bb_hex_append(struct bb_buf *to, struct bb_slice from)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < from.size; i++) {
        bb_buf_append_byte(to, (uint8_t)digits[from.data[i] >> 4]);
        bb_buf_append_byte(to, (uint8_t)digits[from.data[i] & 15]);
    }
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int bb_hex_decode(struct bb_ctx *ctx, struct bb_slice from, struct bb_buf *to)
{
    if (from.size % 2 != 0)
        return bb_fail(ctx, BB_BAD_REQUEST, "hexadecimal text of odd length");
    for (size_t i = 0; i < from.size; i += 2) {
        int high = hex_digit(from.data[i]);
        int low = hex_digit(from.data[i + 1]);
        if (high < 0 || low < 0)
            return bb_fail(ctx, BB_BAD_REQUEST, "hexadecimal text: bad character at %zu", i);
        bb_buf_append_byte(to, (uint8_t)(high << 4 | low));
    }
    return BB_OK;
}

/* How many ASCII characters it starts with. */
static size_t ascii_size(struct bb_slice text)
{
    size_t at = 0;

    for (; at + 8 <= text.size; at += 8) {
        uint64_t word;
        memcpy(&word, text.data + at, sizeof word);
        if ((word & 0x8080808080808080u) != 0)
            break;
    }
    while (at < text.size && text.data[at] < 0x80)
        at++;
    return at;
}

bool bb_utf8_is_valid(struct bb_slice text)
{
    size_t i = 0;

    while (i < text.size) {
        uint8_t c = text.data[i];
        size_t more;
        uint32_t point;

        if (c < 0x80) {
            i += ascii_size(bb_slice(text.data + i, text.size - i));
            continue;
        }
        if (c >= 0xc2 && c <= 0xdf) {
            more = 1;
            point = c & 0x1fu;
        } else if (c >= 0xe0 && c <= 0xef) {
            more = 2;
            point = c & 0x0fu;
        } else if (c >= 0xf0 && c <= 0xf4) {
            more = 3;
            point = c & 0x07u;
        } else {
            return false;
        }
        if (text.size - i <= more)
            return false;
        for (size_t k = 1; k <= more; k++) {
            uint8_t next = text.data[i + k];
            if ((next & 0xc0u) != 0x80)
                return false;
            point = point << 6 | (next & 0x3fu);
        }
        if ((more == 2 && (point < 0x800 || (point >= 0xd800 && point <= 0xdfff))) ||
            (more == 3 && (point < 0x10000 || point > 0x10ffff)))
            return false;
        i += more + 1;
    }
    return true;
}
