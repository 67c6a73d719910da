#include "bb/base.h"

#include <stdio.h>
#include <stdlib.h>

void bb_assert_failed(const char *file, int line, const char *function, const char *text)
{
    (void)fprintf(stderr, "assertion failed: %s (%s:%d, %s)\n", text, file, line, function);
    (void)fflush(stderr);
    abort();
}

int bb_slice_compare(struct bb_slice a, struct bb_slice b)
{
    size_t shorter = a.size < b.size ? a.size : b.size;
    int order = shorter == 0 ? 0 : memcmp(a.data, b.data, shorter);

    if (order != 0)
        return order;
    return (a.size > b.size) - (a.size < b.size);
}

bool bb_slice_equal(struct bb_slice a, struct bb_slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

bool bb_slice_equal_str(struct bb_slice a, const char *text)
{
    return bb_slice_equal(a, bb_slice_str(text));
}

bool bb_slice_next_item(struct bb_slice *list, struct bb_slice *item)
{
    do {
        const uint8_t *comma = list->size == 0 ? NULL : memchr(list->data, ',', list->size);
        size_t size = comma == NULL ? list->size : (size_t)(comma - list->data);
        size_t used = size + (comma != NULL);

        *item = bb_slice(list->data, size);
        *list = bb_slice(list->data + used, list->size - used);
    } while (item->size == 0 && list->size > 0);
    return item->size > 0;
}

bool bb_slice_starts_with(struct bb_slice a, struct bb_slice prefix)
{
    return a.size >= prefix.size &&
           (prefix.size == 0 || memcmp(a.data, prefix.data, prefix.size) == 0);
}

int bb_fail(struct bb_ctx *ctx, int status, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    if (ctx != NULL) {
        /* The new text may quote the old one, so it is made aside. */
        char text[BB_ERROR_MAX];

        (void)vsnprintf(text, sizeof text, format, arguments);
        memcpy(ctx->error, text, sizeof text);
        ctx->status = status;
    }
    va_end(arguments);
    return status;
}

const char *bb_strerror(int errnum, char *text, size_t size)
{
    bb_assert(size > 0);
    text[0] = '\0';
    /* The GNU form returns either `text` or a constant. */
    const char *found = strerror_r(errnum, text, size);
    if (found != text)
        (void)snprintf(text, size, "%s", found);
    return text;
}

size_t bb_varint_put(uint8_t *to, uint64_t v)
{
    size_t size = 0;

    while (v >= 0x80) {
        to[size++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    to[size++] = (uint8_t)v;
    return size;
}

size_t bb_varint_get(struct bb_slice from, uint64_t *v)
{
    uint64_t value = 0;

    for (size_t i = 0; i < from.size && i < 10; i++) {
        uint64_t bits = from.data[i] & 0x7fu;
        if (i == 9 && bits > 1)
            return 0;
        value |= bits << (7 * i);
        if ((from.data[i] & 0x80u) == 0) {
            if (i > 0 && bits == 0)
                return 0; /* not the shortest form */
            *v = value;
            return i + 1;
        }
    }
    return 0;
}
