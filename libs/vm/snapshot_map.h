/*
 * A heap snapshot as V8 writes it names places in bundled code: here its functions get the places
 * where they were written.
 *
 * Threads: any. Does not block.
 */
#ifndef BB_VM_SNAPSHOT_MAP_H
#define BB_VM_SNAPSHOT_MAP_H

#include "bb/base.h"
#include "source_map.h"

/* The place of what lies at `line` and `column` (from 1) of a script of V8; false: not known. What
 * `found` names lives as long as the mapping. */
typedef bool vm_place_fn(void *arg, uint32_t script_id, uint32_t line, uint32_t column,
                         struct vm_position *found);

/* Appends the snapshot with each function named "name (file:line)", and its location moved there.
 * What is no snapshot as V8 13 writes it is appended as it is, and false returned. */
bool vm_snapshot_map(struct bb_slice json, vm_place_fn *place, void *arg, struct bb_buf *to);

#endif
