/*
 * A source map comes with a deployment: any bytes must be refused or read within bounds.
 */
#include "source_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char HEAD[] = "{\"version\":3,\"sources\":[\"a\",\"b\"],\"mappings\":\"";
    struct vm_position found;
    struct bb_buf json;

    bb_buf_init(&json);
    /* Mostly the mappings: the JSON around them has a fuzz target of its own. */
    bb_buf_append_str(&json, size % 4 == 0 ? "" : HEAD);
    bb_buf_append(&json, data, size);
    bb_buf_append_str(&json, size % 4 == 0 ? "" : "\"}");
    struct vm_source_map *map = vm_source_map_parse(bb_buf_slice(&json));
    if (map != NULL) {
        for (uint32_t line = 0; line < 8; line++) {
            for (uint32_t column = 0; column < 64; column += 7) {
                (void)vm_source_map_find(map, line, column, &found);
            }
        }
    }
    vm_source_map_free(map);
    bb_buf_fini(&json);
    return 0;
}
