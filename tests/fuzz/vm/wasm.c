/*
 * A WebAssembly module comes from a deployment or is made by a function: any bytes must be refused
 * or rewritten within bounds, and what was rewritten must be a module again.
 */
#include "wasm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t HEAD[] = { 0, 'a', 's', 'm', 1, 0, 0, 0 };
    struct bb_ctx ctx = { 0 };
    struct bb_buf module, first, second;
    uint32_t count = 0;

    bb_buf_init(&module);
    bb_buf_init(&first);
    bb_buf_init(&second);
    if (size % 16 != 0)
        bb_buf_append(&module, HEAD, sizeof HEAD);
    bb_buf_append(&module, data, size);
    if (vm_wasm_harden(&ctx, bb_buf_slice(&module), &first, &count) == BB_OK) {
        int rc = vm_wasm_harden(&ctx, bb_buf_slice(&first), &second, &count);
        bb_assert(rc == BB_OK || strstr(ctx.error, "locals") != NULL);
    }
    bb_buf_fini(&module);
    bb_buf_fini(&first);
    bb_buf_fini(&second);
    return 0;
}
