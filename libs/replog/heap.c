/*
 * The memory of libraft: that of libc, and large pages for large entries, of which it makes a copy
 * to keep, one to write, and one of what comes over a connection.
 */
#include "replog_internal.h"

#include <stdlib.h>

#include "bb/pages.h"

static void *with_advice(void *memory, size_t size)
{
    if (memory != NULL)
        bb_pages_advise_large(memory, size);
    return memory;
}

static void *heap_malloc(void *data, size_t size)
{
    (void)data;
    return with_advice(malloc(size), size);
}

static void heap_free(void *data, void *memory)
{
    (void)data;
    free(memory);
}

static void *heap_calloc(void *data, size_t count, size_t size)
{
    (void)data;
    return calloc(count, size);
}

static void *heap_realloc(void *data, void *memory, size_t size)
{
    (void)data;
    return with_advice(realloc(memory, size), size);
}

static void *heap_aligned_alloc(void *data, size_t alignment, size_t size)
{
    (void)data;
    return with_advice(aligned_alloc(alignment, size), size);
}

static void heap_aligned_free(void *data, size_t alignment, void *memory)
{
    (void)data;
    (void)alignment;
    free(memory);
}

/* Only read: the library takes it as something to write to. */
static struct raft_heap heap = { .malloc = heap_malloc,
                                 .free = heap_free,
                                 .calloc = heap_calloc,
                                 .realloc = heap_realloc,
                                 .aligned_alloc = heap_aligned_alloc,
                                 .aligned_free = heap_aligned_free };

void replog_heap_start(void)
{
    raft_heap_set(&heap);
}
