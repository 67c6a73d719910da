/*
 * Zeroed pieces of memory, all of one size, cut from whole pages: large ones as soon as there are
 * many, so that a look at any place of megabytes seldom misses the address cache.
 *
 * Ownership: who takes a piece gives it back or frees all. Threads: one.
 */
#ifndef BASE_PIECES_H
#define BASE_PIECES_H

#include "bb/base.h"

struct base_pieces;

struct base_pieces *base_pieces_new(size_t size);  /* in whole pages */
void base_pieces_free(struct base_pieces *pieces); /* with all that were taken; accepts NULL */
void *base_pieces_take(struct base_pieces *pieces);
/* Its memory is the system's again but for a page; with the last one all is. */
void base_pieces_give(struct base_pieces *pieces, void *piece);

#endif
