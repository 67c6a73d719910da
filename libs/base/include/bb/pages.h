/*
 * Whole pages from the kernel, for what is large and goes as a whole: they leave no holes in the
 * heap, and what is given back is free for others at once.
 *
 * Threads: any; given back by any.
 */
#ifndef BB_PAGES_H
#define BB_PAGES_H

#include "bb/base.h"

#define BB_PAGE_SIZE  ((size_t)4096)
#define BB_PAGE_LARGE ((size_t)2 << 20)

/* Zeroed and present. `size` is a multiple of BB_PAGE_SIZE. The process stops when memory is gone.
 */
void *bb_pages_new(size_t size);
void bb_pages_free(void *pages, size_t size);
/* Zeroed, each present when it is touched first: for memory that is taken into use bit by bit. In
 * large pages where the system has them and `size` holds one. */
void *bb_pages_new_untouched(size_t size);
/* The memory goes back, the place stays: zeroed, each present when it is touched. */
void bb_pages_let_go(void *pages, size_t size);

/*
 * Memory of the heap that will be written soon, all of it: megabytes come in a few large pages
 * instead of thousands of small ones, each with a fault of its own. Advice; small memory is left
 * alone.
 */
void bb_pages_advise_large(void *memory, size_t size);

#endif
