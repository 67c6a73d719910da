#include "bb/pages.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

void *bb_pages_new(size_t size)
{
    bb_assert(size > 0 && size % BB_PAGE_SIZE == 0);
    /* All of it at once: a fault for each page costs far more. */
    void *pages =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (pages == MAP_FAILED) {
        (void)fprintf(stderr,
                      "out of memory: %zu bytes of pages could not be had; the process stops\n",
                      size);
        _exit(79);
    }
    return pages;
}

void bb_pages_free(void *pages, size_t size)
{
    int rc = munmap(pages, size);
    bb_assert(rc == 0);
}
