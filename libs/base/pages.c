#include "bb/pages.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define LARGE_MIN ((size_t)4 << 20) /* holds a large page wherever it begins */

static void *map(size_t size, int more)
{
    void *pages =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | more, -1, 0);
    if (pages == MAP_FAILED) {
        (void)fprintf(stderr,
                      "out of memory: %zu bytes of pages could not be had; the process stops\n",
                      size);
        _exit(79);
    }
    return pages;
}

void *bb_pages_new(size_t size)
{
    bb_assert(size > 0 && size % BB_PAGE_SIZE == 0);
    /* All of it at once: a fault for each page costs far more. */
    return map(size, MAP_POPULATE);
}

void *bb_pages_new_untouched(size_t size)
{
    size_t before, room = size + BB_PAGE_LARGE;
    uint8_t *pages;

    bb_assert(size > 0 && size % BB_PAGE_SIZE == 0);
    if (size < BB_PAGE_LARGE)
        return map(size, 0);
    pages = map(room, 0);
    before = -(uintptr_t)pages % BB_PAGE_LARGE;
    if (before > 0)
        bb_pages_free(pages, before);
    if (room - before > size)
        bb_pages_free(pages + before + size, room - before - size);
    (void)madvise(pages + before, size, MADV_HUGEPAGE); /* nothing rests on it */
    return pages + before;
}

void bb_pages_let_go(void *pages, size_t size)
{
    int rc = madvise(pages, size, MADV_DONTNEED);
    bb_assert(rc == 0);
}

void bb_pages_advise_large(void *memory, size_t size)
{
    uintptr_t start = (uintptr_t)memory;
    uintptr_t first = (start + BB_PAGE_SIZE - 1) & ~(uintptr_t)(BB_PAGE_SIZE - 1);
    uintptr_t end = (start + size) & ~(uintptr_t)(BB_PAGE_SIZE - 1);

    if (size >= LARGE_MIN) {
        /* NOLINTNEXTLINE(performance-no-int-to-ptr): rounded to pages */
        (void)madvise((void *)first, end - first, MADV_HUGEPAGE); /* nothing rests on it */
    }
}

void bb_pages_free(void *pages, size_t size)
{
    int rc = munmap(pages, size);
    bb_assert(rc == 0);
}
