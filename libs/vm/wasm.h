/*
 * A WebAssembly module made deterministic before V8 compiles it.
 *
 * What a module computes must not depend on the processor or on V8's optimizer: the bits of a NaN
 * do. So after each instruction that may make one, and wherever a float comes from JavaScript, the
 * value is replaced by the canonical NaN when it is one. Threads, SIMD, exceptions, garbage
 * collection, 64-bit and several memories are refused by name. V8 validates what comes out.
 *
 * Pure; `out` is the caller's. Does not block.
 */
#ifndef VM_WASM_H
#define VM_WASM_H

#include "bb/base.h"

/* Appends to `out`. BB_BAD_REQUEST: ctx->error says what is wrong and at which byte. `memory_count`
 * is how many memories an instance makes. */
int vm_wasm_harden(struct bb_ctx *ctx, struct bb_slice module, struct bb_buf *out,
                   uint32_t *memory_count);

#endif
