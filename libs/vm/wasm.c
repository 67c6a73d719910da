#include "wasm.h"

#include <stdarg.h>
#include <stdio.h>

#include "wasm_read.h"

enum {
    MODULE_BYTES_MAX = 16 << 20,
    ITEMS_MAX = 1000000,
    SECTION_CUSTOM = 0,
    SECTION_TYPE = 1,
    SECTION_IMPORT = 2,
    SECTION_FUNCTION = 3,
    SECTION_TABLE = 4,
    SECTION_MEMORY = 5,
    SECTION_GLOBAL = 6,
    SECTION_CODE = 10,
    SECTION_DATA_COUNT = 12
};

static const uint8_t head[8] = { 0, 'a', 's', 'm', 1, 0, 0, 0 };

/* ---- reading ---- */

void vm_wasm_refuse(struct wasm_reader *reader, const char *format, ...)
{
    char text[160];
    va_list arguments;

    if (reader->rc != BB_OK)
        return;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    reader->rc = bb_fail(reader->ctx, BB_BAD_REQUEST, "%s (at byte %zu)", text, reader->at);
}

uint8_t vm_wasm_byte(struct wasm_reader *reader)
{
    if (reader->rc != BB_OK)
        return 0;
    if (reader->at >= reader->end) {
        vm_wasm_refuse(reader, "the module ends too early");
        return 0;
    }
    return reader->data[reader->at++];
}

uint32_t vm_wasm_u32(struct wasm_reader *reader)
{
    uint32_t value = 0;

    for (unsigned shift = 0; shift < 35; shift += 7) {
        uint8_t byte = vm_wasm_byte(reader);
        if (shift == 28 && (byte & 0xf0) != 0)
            break;
        value |= (uint32_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0)
            return value;
    }
    vm_wasm_refuse(reader, "a number is too long");
    return 0;
}

void vm_wasm_skip_number(struct wasm_reader *reader, unsigned bytes_max)
{
    for (unsigned i = 0; i < bytes_max; i++) {
        if ((vm_wasm_byte(reader) & 0x80) == 0)
            return;
    }
    vm_wasm_refuse(reader, "a number is too long");
}

void vm_wasm_skip(struct wasm_reader *reader, size_t size)
{
    if (reader->rc != BB_OK)
        return;
    if (size > reader->end - reader->at) {
        vm_wasm_refuse(reader, "the module ends too early");
    } else {
        reader->at += size;
    }
}

void vm_wasm_put_u32(struct bb_buf *to, uint32_t value)
{
    for (; value >= 0x80; value >>= 7)
        bb_buf_append_byte(to, (uint8_t)(value | 0x80));
    bb_buf_append_byte(to, (uint8_t)value);
}

static uint32_t read_count(struct wasm_reader *reader)
{
    uint32_t count = vm_wasm_u32(reader);

    /* Every item has at least a byte. */
    if (reader->rc == BB_OK && (count > ITEMS_MAX || count > reader->end - reader->at))
        vm_wasm_refuse(reader, "a list has more items than the module has bytes");
    return reader->rc == BB_OK ? count : 0;
}

uint8_t vm_wasm_value_type(struct wasm_reader *reader)
{
    uint8_t type = vm_wasm_byte(reader);

    switch (type) {
    case WASM_I32:
    case WASM_I64:
    case WASM_F32:
    case WASM_F64:
    case WASM_FUNCREF:
    case WASM_EXTERNREF:
        return type;
    case 0x7b:
        vm_wasm_refuse(reader,
                       "SIMD is not available in queries and mutations: compile without it");
        return type;
    default:
        vm_wasm_refuse(reader,
                       "the value type 0x%02x is not available in queries and mutations: compile "
                       "without garbage collection and typed function references",
                       type);
        return type;
    }
}

static struct bb_slice read_types(struct wasm_reader *reader)
{
    uint32_t count = read_count(reader);
    size_t from = reader->at;

    for (uint32_t i = 0; i < count; i++)
        (void)vm_wasm_value_type(reader);
    return reader->rc == BB_OK ? bb_slice(reader->data + from, count) : BB_SLICE_EMPTY;
}

static void read_limits(struct wasm_reader *reader)
{
    uint8_t flags = vm_wasm_byte(reader);

    if ((flags & 2) != 0) {
        vm_wasm_refuse(reader, "shared memory is not available in queries and mutations: compile "
                               "without threads");
    } else if (flags > 1) {
        vm_wasm_refuse(reader, "64-bit memory is not available in queries and mutations");
    }
    (void)vm_wasm_u32(reader);
    if ((flags & 1) != 0)
        (void)vm_wasm_u32(reader);
}

static void read_memory(struct wasm_reader *reader, struct wasm_module *module)
{
    read_limits(reader);
    if (++module->memory_any > 1)
        vm_wasm_refuse(reader, "more than one memory is not available in queries and mutations");
}

/* ---- sections ---- */

static void read_type_section(struct wasm_reader *reader, struct wasm_module *module)
{
    module->type_count = read_count(reader);
    module->types = bb_alloc_zero((size_t)module->type_count + 1, sizeof *module->types);
    for (uint32_t i = 0; i < module->type_count && reader->rc == BB_OK; i++) {
        uint8_t form = vm_wasm_byte(reader);
        if (form != 0x60) {
            vm_wasm_refuse(
                reader,
                "the type form 0x%02x is not available in queries and mutations: compile "
                "without garbage collection",
                form);
        }
        module->types[i].params = read_types(reader);
        module->types[i].results = read_types(reader);
    }
}

static void add_function(struct wasm_reader *reader, struct wasm_module *module, uint32_t index)
{
    uint32_t type = vm_wasm_u32(reader);

    if (reader->rc == BB_OK && type >= module->type_count)
        vm_wasm_refuse(reader, "a function is of type %" PRIu32 ", which is not there", type);
    module->functions[index] = reader->rc == BB_OK ? type : 0;
}

static void read_import(struct wasm_reader *reader, struct wasm_module *module)
{
    vm_wasm_skip(reader, vm_wasm_u32(reader));
    vm_wasm_skip(reader, vm_wasm_u32(reader));
    switch (vm_wasm_byte(reader)) {
    case 0:
        add_function(reader, module, module->import_count++);
        break;
    case 1:
        (void)vm_wasm_value_type(reader);
        read_limits(reader);
        break;
    case 2:
        read_memory(reader, module);
        break;
    case 3:
        module->globals[module->global_count++] = vm_wasm_value_type(reader);
        (void)vm_wasm_byte(reader);
        break;
    default:
        vm_wasm_refuse(reader,
                       "an import of an unknown kind; exceptions are not available in queries "
                       "and mutations");
    }
}

static void read_import_section(struct wasm_reader *reader, struct wasm_module *module)
{
    uint32_t count = read_count(reader);

    module->functions = bb_alloc_zero((size_t)count + 1, sizeof *module->functions);
    module->globals = bb_alloc_zero((size_t)count + 1, 1);
    for (uint32_t i = 0; i < count && reader->rc == BB_OK; i++)
        read_import(reader, module);
    module->function_count = module->import_count;
}

static void read_function_section(struct wasm_reader *reader, struct wasm_module *module)
{
    uint32_t count = read_count(reader);

    module->functions = bb_realloc(module->functions, ((size_t)module->import_count + count + 1) *
                                                          sizeof *module->functions);
    for (uint32_t i = 0; i < count && reader->rc == BB_OK; i++)
        add_function(reader, module, module->function_count++);
}

static void read_table_section(struct wasm_reader *reader)
{
    uint32_t count = read_count(reader);

    for (uint32_t i = 0; i < count && reader->rc == BB_OK; i++) {
        (void)vm_wasm_value_type(reader);
        read_limits(reader);
    }
}

static void read_memory_section(struct wasm_reader *reader, struct wasm_module *module)
{
    module->memory_count = read_count(reader);
    for (uint32_t i = 0; i < module->memory_count && reader->rc == BB_OK; i++)
        read_memory(reader, module);
}

static void read_global_section(struct wasm_reader *reader, struct wasm_module *module)
{
    uint32_t count = read_count(reader);

    module->globals = bb_realloc(module->globals, (size_t)module->global_count + count + 1);
    for (uint32_t i = 0; i < count && reader->rc == BB_OK; i++) {
        uint8_t type = vm_wasm_value_type(reader);
        (void)vm_wasm_byte(reader);
        vm_wasm_skip_expression(reader, module);
        module->globals[module->global_count++] = type;
    }
}

static void harden_code(struct wasm_reader *reader, struct wasm_module *module, struct bb_buf *out)
{
    uint32_t count = read_count(reader);
    struct bb_buf body;

    if (count != module->function_count - module->import_count) {
        vm_wasm_refuse(reader, "%" PRIu32 " functions are declared and %" PRIu32 " are there",
                       module->function_count - module->import_count, count);
    }
    bb_buf_init(&body);
    vm_wasm_put_u32(&body, count);
    for (uint32_t i = 0; i < count && reader->rc == BB_OK; i++)
        vm_wasm_harden_body(reader, module, module->import_count + i, &body);
    bb_buf_append_byte(out, SECTION_CODE);
    vm_wasm_put_u32(out, (uint32_t)body.size);
    bb_buf_append_slice(out, bb_buf_slice(&body));
    bb_buf_fini(&body);
    module->code_count = count;
}

/* What names offsets in the code is wrong afterwards. */
static bool names_offsets(struct wasm_reader section)
{
    uint32_t size = vm_wasm_u32(&section);

    return size >= 9 && size <= section.end - section.at &&
           memcmp(section.data + section.at, "metadata.", 9) == 0;
}

static void harden_section(struct wasm_reader *reader, struct wasm_module *module, uint8_t id,
                           struct wasm_reader *section, struct bb_buf *out)
{
    size_t from = section->at;

    switch (id) {
    case SECTION_CUSTOM:
        if (names_offsets(*section))
            return;
        break;
    case SECTION_TYPE:
        read_type_section(section, module);
        break;
    case SECTION_IMPORT:
        read_import_section(section, module);
        break;
    case SECTION_FUNCTION:
        read_function_section(section, module);
        break;
    case SECTION_TABLE:
        read_table_section(section);
        break;
    case SECTION_MEMORY:
        read_memory_section(section, module);
        break;
    case SECTION_GLOBAL:
        read_global_section(section, module);
        break;
    case SECTION_CODE:
        harden_code(section, module, out);
        break;
    default:
        if (id > SECTION_DATA_COUNT)
            vm_wasm_refuse(reader, "a section of the unknown kind %u", id);
        break;
    }
    if (id == SECTION_CODE)
        return;
    bb_buf_append_byte(out, id);
    vm_wasm_put_u32(out, (uint32_t)(section->end - from));
    bb_buf_append(out, section->data + from, section->end - from);
}

/* Where each kind of section stands among the others; the count of data comes before the code. */
static unsigned rank_of(uint8_t id)
{
    return id < SECTION_CODE ? id : id == SECTION_DATA_COUNT ? SECTION_CODE : id + 1u;
}

int vm_wasm_harden(struct bb_ctx *ctx, struct bb_slice bytes, struct bb_buf *out,
                   uint32_t *memory_count)
{
    struct wasm_reader reader = { .ctx = ctx, .data = bytes.data, .end = bytes.size };
    struct wasm_module module = { 0 };
    unsigned last = 0;

    if (bytes.size < sizeof head || memcmp(bytes.data, head, sizeof head) != 0) {
        return bb_fail(ctx, BB_BAD_REQUEST, "these bytes are no WebAssembly module of version 1");
    }
    if (bytes.size > MODULE_BYTES_MAX)
        return bb_fail(ctx, BB_BAD_REQUEST, "the module has more than 16 MiB");
    reader.at = sizeof head;
    bb_buf_append(out, head, sizeof head);
    while (reader.at < reader.end && reader.rc == BB_OK) {
        uint8_t id = vm_wasm_byte(&reader);
        uint32_t size = vm_wasm_u32(&reader);
        struct wasm_reader section = reader;
        vm_wasm_skip(&reader, size);
        section.end = reader.at;
        if (id != SECTION_CUSTOM && rank_of(id) <= last)
            vm_wasm_refuse(&reader, "sections are out of order");
        last = id == SECTION_CUSTOM ? last : rank_of(id);
        if (reader.rc == BB_OK) {
            harden_section(&reader, &module, id, &section, out);
            reader.rc = reader.rc == BB_OK ? section.rc : reader.rc;
        }
    }
    if (module.code_count != module.function_count - module.import_count)
        vm_wasm_refuse(&reader, "functions have no code");
    *memory_count = module.memory_count;
    bb_free(module.types);
    bb_free(module.functions);
    bb_free(module.globals);
    return reader.rc;
}
