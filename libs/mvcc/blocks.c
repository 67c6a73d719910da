/*
 * Memory of a growing map: blocks that are filled from front to back and go back to the kernel as a
 * whole. So a map of many small versions costs what it says, and leaves no holes in the heap.
 */
#include "bb/mvcc.h"

#include <assert.h>

#include "bb/pages.h"

#include "node.h"

#define BLOCK_FIRST ((size_t)16 << 10) /* many maps stay small */
#define BLOCK_MAX   ((size_t)256 << 10)

#define ALIGNMENT ((size_t)8)

struct mvcc_block {
    struct mvcc_block *next;
    size_t size, fill; /* the head included */
};
static_assert(sizeof(struct mvcc_block) % ALIGNMENT == 0, "what follows is aligned too");

static struct mvcc_block *block_new(struct bb_mvcc *map, size_t size)
{
    struct mvcc_block *block = bb_pages_new(size);
    *block = (struct mvcc_block){ .size = size, .fill = sizeof(*block) };
    mvcc_account(map, (ptrdiff_t)size, 0);
    return block;
}

static void *take(struct mvcc_block *block, size_t size)
{
    void *bytes = (uint8_t *)block + block->fill;
    block->fill += size;
    return bytes;
}

/* One that would leave half of a block empty gets a block of its own, behind the one in use. */
static void *take_alone(struct bb_mvcc *map, size_t size)
{
    struct mvcc_block *block =
        block_new(map, (sizeof(*block) + size + BB_PAGE_SIZE - 1) / BB_PAGE_SIZE * BB_PAGE_SIZE);
    struct mvcc_block **link = map->blocks == NULL ? &map->blocks : &map->blocks->next;
    block->next = *link;
    *link = block;
    return take(block, size);
}

void *mvcc_alloc(struct bb_mvcc *map, size_t size)
{
    if (!map->is_growing) {
        return bb_alloc(size);
    }
    size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    struct mvcc_block *block = map->blocks;
    if (block != NULL && block->size - block->fill >= size) {
        return take(block, size);
    }
    if (size > BLOCK_MAX / 2 || (block == NULL && size > BLOCK_FIRST / 2)) {
        return take_alone(map, size);
    }
    size_t next = block == NULL ? BLOCK_FIRST : block->size * 2;
    while (next < size + sizeof(*block)) {
        next *= 2;
    }
    block = block_new(map, next > BLOCK_MAX ? BLOCK_MAX : next);
    block->next = map->blocks;
    map->blocks = block;
    return take(block, size);
}

void mvcc_blocks_free(struct bb_mvcc *map)
{
    while (map->blocks != NULL) {
        struct mvcc_block *block = map->blocks;
        map->blocks = block->next;
        bb_pages_free(block, block->size);
    }
}
