/*
 * A source map (version 3): from a place in generated JavaScript to the place in what was written.
 *
 * Ownership: the map owns all it names. Threads: one at a time. Does not block.
 */
#ifndef BB_VM_SOURCE_MAP_H
#define BB_VM_SOURCE_MAP_H

#include "bb/base.h"

struct vm_source_map;
struct vm_position {
    const char *source;    /* as the map names it, without leading "./" and "../" */
    uint32_t line, column; /* from 1 */
};

/* NULL when the text is no source map. */
struct vm_source_map *vm_source_map_parse(struct bb_slice json);
void vm_source_map_free(struct vm_source_map *map); /* accepts NULL */
/* The last mapping at or before the place (from 1), on its line. False: none. */
bool vm_source_map_find(const struct vm_source_map *map, uint32_t line, uint32_t column,
                        struct vm_position *position);

#endif
