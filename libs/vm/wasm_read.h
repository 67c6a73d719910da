/* Reading WebAssembly's binary format: shared by wasm.c and wasm_code.c. */
#ifndef VM_WASM_READ_H
#define VM_WASM_READ_H

#include "bb/base.h"

enum {
    WASM_I32 = 0x7f,
    WASM_I64 = 0x7e,
    WASM_F32 = 0x7d,
    WASM_F64 = 0x7c,
    WASM_FUNCREF = 0x70,
    WASM_EXTERNREF = 0x6f
};

/* A place in the module. The first failure stays; after it everything reads as 0. */
struct wasm_reader {
    struct bb_ctx *ctx;
    const uint8_t *data;
    size_t at, end;
    int rc;
};

struct wasm_type {
    struct bb_slice params, results; /* one byte a value */
};

struct wasm_module {
    struct wasm_type *types;
    uint32_t type_count;
    uint32_t *functions; /* their types; imported ones first */
    uint32_t function_count, import_count;
    uint8_t *globals; /* their value types; imported ones first */
    uint32_t global_count;
    uint32_t memory_count; /* made by an instance */
    uint32_t memory_any;   /* imported ones, too */
    uint32_t code_count;
};

void vm_wasm_refuse(struct wasm_reader *reader, const char *format, ...) BB_PRINTF(2, 3);
uint8_t vm_wasm_byte(struct wasm_reader *reader);
uint32_t vm_wasm_u32(struct wasm_reader *reader);
void vm_wasm_skip_number(struct wasm_reader *reader, unsigned bytes_max); /* a signed LEB128 */
void vm_wasm_skip(struct wasm_reader *reader, size_t size);
uint8_t vm_wasm_value_type(struct wasm_reader *reader);
void vm_wasm_put_u32(struct bb_buf *to, uint32_t value);

/* wasm_code.c */
/* One function's body with its size, from `reader` to `out`. */
void vm_wasm_harden_body(struct wasm_reader *reader, const struct wasm_module *module,
                         uint32_t function, struct bb_buf *out);
/* To the end of a constant expression, which is nowhere changed. */
void vm_wasm_skip_expression(struct wasm_reader *reader, const struct wasm_module *module);

#endif
