#include "bb/base.h"
#include "bb/pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Nobody can act on it inside the process: say so and let a supervisor start us again. */
_Noreturn static void out_of_memory(size_t size)
{
    (void)fprintf(stderr, "out of memory: %zu bytes could not be had; the process stops\n", size);
    (void)fflush(stderr);
    _exit(79);
}

void *bb_alloc(size_t size)
{
    void *pointer = malloc(size == 0 ? 1 : size);
    if (pointer == NULL)
        out_of_memory(size);
    bb_pages_advise_large(pointer, size);
    return pointer;
}

void *bb_alloc_zero(size_t count, size_t size)
{
    void *pointer = calloc(count == 0 ? 1 : count, size == 0 ? 1 : size);
    if (pointer == NULL)
        out_of_memory(count * size);
    return pointer;
}

void *bb_realloc(void *old, size_t size)
{
    void *pointer = realloc(old, size == 0 ? 1 : size);
    if (pointer == NULL)
        out_of_memory(size);
    bb_pages_advise_large(pointer, size);
    return pointer;
}

void bb_free(void *pointer)
{
    free(pointer);
}

char *bb_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = bb_alloc(size);

    memcpy(copy, text, size);
    return copy;
}

struct bb_slice bb_slice_dup(struct bb_slice from)
{
    uint8_t *copy = bb_alloc(from.size);

    if (from.size > 0)
        memcpy(copy, from.data, from.size);
    return bb_slice(copy, from.size);
}

void bb_buf_init(struct bb_buf *buf)
{
    *buf = (struct bb_buf){ .data = NULL, .size = 0, .capacity = 0 };
}

void bb_buf_fini(struct bb_buf *buf)
{
    bb_free(buf->data);
    bb_buf_init(buf);
}

void bb_buf_clear(struct bb_buf *buf)
{
    buf->size = 0;
}

uint8_t *bb_buf_reserve(struct bb_buf *buf, size_t more)
{
    size_t wanted = buf->size + more;

    bb_assert(wanted >= more);
    if (wanted > buf->capacity || buf->data == NULL) {
        size_t capacity = buf->capacity < 32 ? 64 : buf->capacity * 2;
        if (capacity < wanted)
            capacity = wanted;
        buf->data = bb_realloc(buf->data, capacity);
        buf->capacity = capacity;
    }
    return buf->data + buf->size;
}

void bb_buf_append(struct bb_buf *buf, const void *data, size_t size)
{
    if (size == 0)
        return;
    memcpy(bb_buf_reserve(buf, size), data, size);
    buf->size += size;
}

void bb_buf_append_slice(struct bb_buf *buf, struct bb_slice slice)
{
    bb_buf_append(buf, slice.data, slice.size);
}

void bb_buf_append_str(struct bb_buf *buf, const char *text)
{
    bb_buf_append(buf, text, strlen(text));
}

void bb_buf_append_byte(struct bb_buf *buf, uint8_t byte)
{
    *bb_buf_reserve(buf, 1) = byte;
    buf->size++;
}

void bb_buf_printf(struct bb_buf *buf, const char *format, ...)
{
    va_list arguments;
    va_list again;

    va_start(arguments, format);
    va_copy(again, arguments);
    uint8_t *to = bb_buf_reserve(buf, 128);
    size_t room = buf->capacity - buf->size;
    int length = vsnprintf((char *)to, room, format, arguments);
    bb_assert(length >= 0);
    if ((size_t)length >= room) {
        to = bb_buf_reserve(buf, (size_t)length + 1);
        (void)vsnprintf((char *)to, (size_t)length + 1, format, again);
    }
    buf->size += (size_t)length;
    va_end(again);
    va_end(arguments);
}

/* ---- arena: blocks that grow; the first one stays over a reset ---- */

#define ARENA_FIRST     ((size_t)16 * 1024)
#define ARENA_BLOCK_MAX ((size_t)1024 * 1024)

struct block {
    struct block *next;
    size_t capacity, fill;
    _Alignas(16) uint8_t bytes[];
};

struct bb_arena {
    struct block *first, *last;
    size_t limit, used;
};

static struct block *block_new(size_t capacity)
{
    struct block *block = bb_alloc(sizeof *block + capacity);

    block->next = NULL;
    block->capacity = capacity;
    block->fill = 0;
    return block;
}

struct bb_arena *bb_arena_new(size_t limit)
{
    struct bb_arena *arena = bb_alloc(sizeof *arena);

    *arena = (struct bb_arena){ .first = NULL, .last = NULL, .limit = limit, .used = 0 };
    return arena;
}

void bb_arena_free(struct bb_arena *arena)
{
    if (arena == NULL)
        return;
    for (struct block *block = arena->first; block != NULL;) {
        struct block *next = block->next;
        bb_free(block);
        block = next;
    }
    bb_free(arena);
}

void bb_arena_reset(struct bb_arena *arena)
{
    arena->used = 0;
    if (arena->first == NULL)
        return;
    for (struct block *block = arena->first->next; block != NULL;) {
        struct block *next = block->next;
        bb_free(block);
        block = next;
    }
    arena->first->next = NULL;
    arena->last = arena->first;
    if (arena->first->capacity > ARENA_FIRST) {
        bb_free(arena->first);
        arena->first = arena->last = NULL;
    } else {
        arena->first->fill = 0;
    }
}

void *bb_arena_alloc(struct bb_arena *arena, size_t size)
{
    size_t rounded = (size + 15) & ~(size_t)15;

    if (rounded < size || (arena->limit != 0 && arena->used + rounded > arena->limit))
        return NULL;
    if (arena->last == NULL || arena->last->capacity - arena->last->fill < rounded) {
        size_t capacity = arena->last == NULL ? ARENA_FIRST : arena->last->capacity * 2;
        if (capacity > ARENA_BLOCK_MAX)
            capacity = ARENA_BLOCK_MAX;
        struct block *block = block_new(rounded > capacity ? rounded : capacity);
        if (arena->last == NULL) {
            arena->first = block;
        } else {
            arena->last->next = block;
        }
        arena->last = block;
    }
    void *found = arena->last->bytes + arena->last->fill;
    arena->last->fill += rounded;
    arena->used += rounded;
    return found;
}

void *bb_arena_zero(struct bb_arena *arena, size_t count, size_t size)
{
    bb_assert(size == 0 || count <= SIZE_MAX / size);
    void *found = bb_arena_alloc(arena, count * size);
    if (found != NULL)
        memset(found, 0, count * size);
    return found;
}

struct bb_slice bb_arena_dup(struct bb_arena *arena, struct bb_slice from)
{
    if (from.size == 0)
        return BB_SLICE_EMPTY;
    uint8_t *copy = bb_arena_alloc(arena, from.size);
    if (copy == NULL)
        return BB_SLICE_EMPTY;
    memcpy(copy, from.data, from.size);
    return bb_slice(copy, from.size);
}

char *bb_arena_str(struct bb_arena *arena, struct bb_slice from)
{
    char *copy = bb_arena_alloc(arena, from.size + 1);

    if (copy == NULL)
        return NULL;
    if (from.size > 0)
        memcpy(copy, from.data, from.size);
    copy[from.size] = '\0';
    return copy;
}

char *bb_arena_printf(struct bb_arena *arena, const char *format, ...)
{
    va_list arguments;
    va_list again;

    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    bb_assert(length >= 0);
    char *text = bb_arena_alloc(arena, (size_t)length + 1);
    if (text != NULL)
        (void)vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(arguments);
    return text;
}

size_t bb_arena_used(const struct bb_arena *arena)
{
    return arena->used;
}
