#include "pieces.h"

#include "bb/pages.h"

#define BLOCK_BYTES_MAX BB_PAGE_LARGE

struct spare {
    struct spare *next;
};
struct block {
    void *memory;
    size_t size;
};
struct base_pieces {
    size_t size, taken;
    struct spare *spare;  /* given back: zero but for what it needs of its first page */
    struct block *blocks; /* the last one is cut */
    size_t block_count, block_capacity, cut;
};

struct base_pieces *base_pieces_new(size_t size)
{
    struct base_pieces *pieces = bb_alloc_zero(1, sizeof(*pieces));

    bb_assert(size > 0 && size % BB_PAGE_SIZE == 0 && size <= BLOCK_BYTES_MAX);
    pieces->size = size;
    return pieces;
}

static void blocks_free(struct base_pieces *pieces)
{
    for (size_t i = 0; i < pieces->block_count; i++)
        bb_pages_free(pieces->blocks[i].memory, pieces->blocks[i].size);
    pieces->block_count = pieces->cut = 0;
    pieces->spare = NULL;
}

void base_pieces_free(struct base_pieces *pieces)
{
    if (pieces == NULL)
        return;
    blocks_free(pieces);
    bb_free(pieces->blocks);
    bb_free(pieces);
}

/* As much as there is already, so that few pieces take no large page. */
static void block_add(struct base_pieces *pieces)
{
    size_t size = pieces->taken == 0 ? pieces->size : pieces->taken * pieces->size;

    if (size > BLOCK_BYTES_MAX)
        size = BLOCK_BYTES_MAX / pieces->size * pieces->size;
    if (pieces->block_count == pieces->block_capacity) {
        pieces->block_capacity = pieces->block_capacity == 0 ? 8 : pieces->block_capacity * 2;
        pieces->blocks =
            bb_realloc(pieces->blocks, pieces->block_capacity * sizeof(*pieces->blocks));
    }
    pieces->blocks[pieces->block_count++] =
        (struct block){ .memory = bb_pages_new_untouched(size), .size = size };
    pieces->cut = 0;
}

void *base_pieces_take(struct base_pieces *pieces)
{
    void *piece = pieces->spare;

    if (piece != NULL) {
        pieces->spare = pieces->spare->next;
        memset(piece, 0, sizeof(struct spare));
    } else {
        if (pieces->block_count == 0 || pieces->cut == pieces->blocks[pieces->block_count - 1].size)
            block_add(pieces);
        piece = (uint8_t *)pieces->blocks[pieces->block_count - 1].memory + pieces->cut;
        pieces->cut += pieces->size;
    }
    pieces->taken++;
    return piece;
}

void base_pieces_give(struct base_pieces *pieces, void *piece)
{
    struct spare *spare = piece;

    bb_assert(pieces->taken > 0);
    if (--pieces->taken == 0) {
        blocks_free(pieces);
        return;
    }
    bb_pages_let_go(piece, pieces->size);
    spare->next = pieces->spare;
    pieces->spare = spare;
}
