#include "wasm_read.h"

enum {
    LOCALS_MAX = 50000,
    DEPTH_MAX = 10000,
    OP_END = 0x0b,
    OP_RETURN = 0x0f,
    OP_CALL = 0x10,
    OP_CALL_INDIRECT = 0x11,
    OP_RETURN_CALL = 0x12,
    OP_RETURN_CALL_INDIRECT = 0x13,
    OP_SELECT = 0x1b,
    OP_LOCAL_GET = 0x20,
    OP_LOCAL_SET = 0x21,
    OP_LOCAL_TEE = 0x22,
    OP_GLOBAL_GET = 0x23,
    OP_F32_CONST = 0x43,
    OP_F64_CONST = 0x44,
    OP_F32_EQ = 0x5b,
    OP_F64_EQ = 0x61
};

/* A function under way. Its two locals behind those of its own hold a float for a moment. */
struct body {
    struct wasm_reader *reader;
    const struct wasm_module *module;
    struct bb_buf code;
    uint32_t local_count; /* parameters and its own */
    bool has_f32, has_f64;
};

static void put_nan(struct body *body, uint8_t type)
{
    static const uint8_t f32[] = { OP_F32_CONST, 0, 0, 0xc0, 0x7f };
    static const uint8_t f64[] = { OP_F64_CONST, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f };

    if (type == WASM_F32) {
        bb_buf_append(&body->code, f32, sizeof f32);
    } else {
        bb_buf_append(&body->code, f64, sizeof f64);
    }
}

static void put_local(struct body *body, uint8_t op, uint32_t local)
{
    bb_buf_append_byte(&body->code, op);
    vm_wasm_put_u32(&body->code, local);
}

/* The local's value, or NaN when it is not equal to itself. */
static void put_choice(struct body *body, uint8_t type, uint32_t local)
{
    put_nan(body, type);
    put_local(body, OP_LOCAL_GET, local);
    put_local(body, OP_LOCAL_GET, local);
    bb_buf_append_byte(&body->code, type == WASM_F32 ? OP_F32_EQ : OP_F64_EQ);
    bb_buf_append_byte(&body->code, OP_SELECT);
}

/* The float on top of the stack becomes canonical. The locals for it are told apart at the end:
 * the f32 is the first, the f64 the second. */
static void canonicalise(struct body *body, uint8_t type)
{
    uint32_t local = body->local_count + (type == WASM_F64);

    if (type == WASM_F32) {
        body->has_f32 = true;
    } else {
        body->has_f64 = true;
    }
    put_local(body, OP_LOCAL_TEE, local);
    put_choice(body, type, local);
}

static bool is_float(uint8_t type)
{
    return type == WASM_F32 || type == WASM_F64;
}

/* What a call of this type left on the stack may come from JavaScript. */
static void canonicalise_results(struct body *body, uint32_t type)
{
    struct bb_slice results;

    if (type >= body->module->type_count) {
        vm_wasm_refuse(body->reader, "a call of type %" PRIu32 ", which is not there", type);
        return;
    }
    results = body->module->types[type].results;
    for (size_t i = 0; i < results.size && results.size > 1; i++) {
        if (is_float(results.data[i])) {
            vm_wasm_refuse(body->reader,
                           "an imported function that returns several values with "
                           "floats among them is not available in queries and mutations");
        }
    }
    if (results.size == 1 && is_float(results.data[0]))
        canonicalise(body, results.data[0]);
}

static bool has_float_results(const struct wasm_module *module, uint32_t type)
{
    if (type >= module->type_count)
        return false;
    for (size_t i = 0; i < module->types[type].results.size; i++) {
        if (is_float(module->types[type].results.data[i]))
            return true;
    }
    return false;
}

/* ---- instructions: `reader` is behind the opcode ---- */

static void skip_memory_argument(struct wasm_reader *reader)
{
    if ((vm_wasm_u32(reader) & 0x40) != 0)
        vm_wasm_refuse(reader, "more than one memory is not available in queries and mutations");
    (void)vm_wasm_u32(reader);
}

static void skip_branch_table(struct wasm_reader *reader)
{
    uint32_t count = vm_wasm_u32(reader);

    for (uint32_t i = 0; i < count && reader->rc == BB_OK; i++)
        (void)vm_wasm_u32(reader);
    (void)vm_wasm_u32(reader);
}

static void skip_select_types(struct wasm_reader *reader)
{
    uint32_t count = vm_wasm_u32(reader);

    for (uint32_t i = 0; i < count && reader->rc == BB_OK; i++)
        (void)vm_wasm_value_type(reader);
}

static void skip_block_type(struct wasm_reader *reader)
{
    uint8_t first = reader->at < reader->end ? reader->data[reader->at] : 0;

    if (first == 0x40) {
        (void)vm_wasm_byte(reader);
    } else if ((first & 0xc0) == 0x40) {
        (void)vm_wasm_value_type(reader); /* a negative number of one byte */
    } else {
        vm_wasm_skip_number(reader, 5);
    }
}

/* Behind 0xfc: conversions that saturate, memory and tables as a whole. */
static void skip_bulk(struct wasm_reader *reader)
{
    static const uint8_t numbers[] = { 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2, 1, 2, 1, 2, 1, 1, 1 };
    uint32_t op = vm_wasm_u32(reader);

    if (op >= sizeof numbers) {
        vm_wasm_refuse(reader, "the instruction 0xfc %" PRIu32 " is not known", op);
        return;
    }
    for (uint8_t i = 0; i < numbers[op]; i++)
        (void)vm_wasm_u32(reader);
}

static void refuse_opcode(struct wasm_reader *reader, uint8_t op)
{
    const char *what = op == 0xfe                 ? "threads"
                       : op == 0xfd               ? "SIMD"
                       : op == 0xfb               ? "garbage collection"
                       : op >= 0x14 && op <= 0x15 ? "typed function references"
                       : op >= 0x06 && op <= 0x1f ? "exceptions"
                                                  : NULL;
    if (what == NULL) {
        vm_wasm_refuse(reader, "the instruction 0x%02x is not known", op);
    } else {
        vm_wasm_refuse(reader,
                       "%s are not available in queries and mutations: compile without them", what);
    }
}

static void skip_immediates(struct wasm_reader *reader, uint8_t op)
{
    if ((op >= 0x45 && op <= 0xc4) || op <= 0x01 || op == 0x05 || op == OP_END || op == OP_RETURN ||
        op == 0x1a || op == OP_SELECT || op == 0xd1) {
        return;
    }
    if (op >= 0x28 && op <= 0x3e) {
        skip_memory_argument(reader);
    } else if (op >= 0x02 && op <= 0x04) {
        skip_block_type(reader);
    } else if (op == 0x0c || op == 0x0d || op == OP_CALL || op == OP_RETURN_CALL ||
               (op >= OP_LOCAL_GET && op <= 0x26) || op == 0x3f || op == 0x40 || op == 0xd2) {
        (void)vm_wasm_u32(reader);
    } else if (op == 0x0e) {
        skip_branch_table(reader);
    } else if (op == OP_CALL_INDIRECT || op == OP_RETURN_CALL_INDIRECT) {
        (void)vm_wasm_u32(reader);
        (void)vm_wasm_u32(reader);
    } else if (op == 0x1c) {
        skip_select_types(reader);
    } else if (op == 0x41 || op == 0x42) {
        vm_wasm_skip_number(reader, op == 0x41 ? 5 : 10);
    } else if (op == OP_F32_CONST || op == OP_F64_CONST) {
        vm_wasm_skip(reader, op == OP_F32_CONST ? 4 : 8);
    } else if (op == 0xd0) {
        (void)vm_wasm_value_type(reader);
    } else if (op == 0xfc) {
        skip_bulk(reader);
    } else {
        refuse_opcode(reader, op);
    }
}

/* The type of the float that this instruction computes, whose bits the processor chooses when it is
 * a NaN; 0: none. Signs and absolute values are exact. */
static uint8_t computed_float(uint8_t op)
{
    if ((op >= 0x8d && op <= 0x97) || op == 0xb6)
        return WASM_F32;
    return (op >= 0x9b && op <= 0xa5) || op == 0xbb ? WASM_F64 : 0;
}

/* The first number behind an opcode: a function, a type, a global. */
static uint32_t first_number(const struct wasm_reader *reader, size_t at)
{
    struct wasm_reader copy = *reader;

    copy.at = at;
    return vm_wasm_u32(&copy);
}

static bool is_import(const struct wasm_module *module, uint32_t function)
{
    return function < module->import_count;
}

static void harden_call(struct body *body, uint8_t op, size_t from)
{
    const struct wasm_module *module = body->module;
    const bool is_indirect = op == OP_CALL_INDIRECT || op == OP_RETURN_CALL_INDIRECT;
    const bool is_tail = op == OP_RETURN_CALL || op == OP_RETURN_CALL_INDIRECT;
    uint32_t target = first_number(body->reader, from + 1);
    uint32_t type = is_indirect                 ? target
                    : is_import(module, target) ? module->functions[target]
                                                : 0;
    bool is_outside = is_indirect || is_import(module, target);

    if (is_tail && is_outside && has_float_results(module, type)) {
        /* An ordinary call, so that there is something to look at before it returns. */
        bb_buf_append_byte(&body->code, is_indirect ? OP_CALL_INDIRECT : OP_CALL);
        bb_buf_append(&body->code, body->reader->data + from + 1, body->reader->at - from - 1);
        canonicalise_results(body, type);
        bb_buf_append_byte(&body->code, OP_RETURN);
        return;
    }
    bb_buf_append(&body->code, body->reader->data + from, body->reader->at - from);
    if (is_outside && !is_tail)
        canonicalise_results(body, type);
}

static void harden_instruction(struct body *body, uint8_t op, size_t from)
{
    const struct wasm_module *module = body->module;
    uint8_t type = computed_float(op);

    if (op >= OP_CALL && op <= OP_RETURN_CALL_INDIRECT) {
        harden_call(body, op, from);
        return;
    }
    bb_buf_append(&body->code, body->reader->data + from, body->reader->at - from);
    if (op == OP_GLOBAL_GET) {
        uint32_t global = first_number(body->reader, from + 1);
        type = global < module->global_count && is_float(module->globals[global])
                   ? module->globals[global]
                   : 0;
    }
    if (type != 0)
        canonicalise(body, type);
}

static void read_instructions(struct wasm_reader *reader, struct body *body)
{
    for (uint32_t depth = 1; depth > 0 && reader->rc == BB_OK;) {
        size_t from = reader->at;
        uint8_t op = vm_wasm_byte(reader);
        skip_immediates(reader, op);
        if (op >= 0x02 && op <= 0x04 && ++depth > DEPTH_MAX)
            vm_wasm_refuse(reader, "blocks are nested too deeply");
        depth -= op == OP_END;
        if (reader->rc == BB_OK && body != NULL)
            harden_instruction(body, op, from);
    }
}

void vm_wasm_skip_expression(struct wasm_reader *reader, const struct wasm_module *module)
{
    (void)module;
    read_instructions(reader, NULL);
}

/* ---- bodies ---- */

/* Copies the groups of locals; `groups` is how many there are. */
static void read_locals(struct body *body, struct bb_buf *locals, uint32_t *groups)
{
    struct wasm_reader *reader = body->reader;

    *groups = vm_wasm_u32(reader);
    size_t from = reader->at;
    for (uint32_t i = 0; i < *groups && reader->rc == BB_OK; i++) {
        uint32_t count = vm_wasm_u32(reader);
        (void)vm_wasm_value_type(reader);
        if (count > LOCALS_MAX || (body->local_count += count) > LOCALS_MAX)
            vm_wasm_refuse(reader, "a function has more than 50,000 locals");
    }
    if (reader->rc == BB_OK)
        bb_buf_append(locals, reader->data + from, reader->at - from);
}

/* Floats that JavaScript passes. */
static void canonicalise_parameters(struct body *body, struct bb_slice params)
{
    for (uint32_t i = 0; i < params.size; i++) {
        if (is_float(params.data[i])) {
            put_local(body, OP_LOCAL_GET, i);
            put_choice(body, params.data[i], i);
            put_local(body, OP_LOCAL_SET, i);
        }
    }
}

static void put_body(const struct body *body, struct bb_slice locals, uint32_t groups,
                     struct bb_buf *out)
{
    const bool has_float = body->has_f32 || body->has_f64;
    struct bb_buf whole;

    bb_buf_init(&whole);
    vm_wasm_put_u32(&whole, groups + (has_float ? 2 : 0));
    bb_buf_append_slice(&whole, locals);
    if (has_float) {
        static const uint8_t more[] = { 1, WASM_F32, 1, WASM_F64 };
        bb_buf_append(&whole, more, sizeof more);
    }
    bb_buf_append_slice(&whole, bb_buf_slice(&body->code));
    vm_wasm_put_u32(out, (uint32_t)whole.size);
    bb_buf_append_slice(out, bb_buf_slice(&whole));
    bb_buf_fini(&whole);
}

void vm_wasm_harden_body(struct wasm_reader *reader, const struct wasm_module *module,
                         uint32_t function, struct bb_buf *out)
{
    uint32_t size = vm_wasm_u32(reader), groups = 0;
    struct wasm_reader inside = *reader;
    struct body body = { .reader = &inside, .module = module };
    struct bb_slice params = module->types[module->functions[function]].params;
    struct bb_buf locals;

    vm_wasm_skip(reader, size);
    inside.end = reader->at;
    if (reader->rc != BB_OK)
        return;
    bb_buf_init(&locals);
    bb_buf_init(&body.code);
    body.local_count = (uint32_t)params.size;
    read_locals(&body, &locals, &groups);
    canonicalise_parameters(&body, params);
    read_instructions(&inside, &body);
    if (inside.at != inside.end)
        vm_wasm_refuse(&inside, "a function's body is longer than its code");
    if (inside.rc == BB_OK) {
        put_body(&body, bb_buf_slice(&locals), groups, out);
    } else {
        reader->rc = inside.rc;
    }
    bb_buf_fini(&locals);
    bb_buf_fini(&body.code);
}
