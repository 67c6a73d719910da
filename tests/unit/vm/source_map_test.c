#include <stdio.h>

#include <criterion/criterion.h>

#include "source_map.h"

static struct vm_source_map *parse(const char *mappings)
{
    char json[512];
    (void)snprintf(
        json, sizeof(json),
        "{\"version\":3,\"sources\":[\"../../bitbend/a.ts\",\"./b.ts\"],\"names\":[\"n\"],"
        "\"mappings\":\"%s\"}",
        mappings);
    return vm_source_map_parse(bb_slice_str(json));
}

static void expect(const struct vm_source_map *map, uint32_t line, uint32_t column,
                   const char *source, uint32_t source_line, uint32_t source_column)
{
    struct vm_position found;

    cr_assert(vm_source_map_find(map, line, column, &found), "%u:%u", line, column);
    cr_assert_str_eq(found.source, source);
    cr_assert_eq(found.line, source_line, "%u:%u gives line %u", line, column, found.line);
    cr_assert_eq(found.column, source_column, "%u:%u gives column %u", line, column, found.column);
}

Test(source_map, finds_the_last_mapping_before_the_place)
{
    /* Line 1: column 0 = a.ts 1:1, column 8 = a.ts 1:5. Line 3: column 4 = b.ts 3:2 with a name. */
    struct vm_source_map *map = parse("AAAA,QAAI;;ICEHA");

    cr_assert_not_null(map);
    expect(map, 1, 1, "bitbend/a.ts", 1, 1);
    expect(map, 1, 8, "bitbend/a.ts", 1, 1);
    expect(map, 1, 9, "bitbend/a.ts", 1, 5);
    expect(map, 1, 1000, "bitbend/a.ts", 1, 5);
    expect(map, 3, 5, "b.ts", 3, 2);
    vm_source_map_free(map);
}

Test(source_map, a_place_without_mapping_is_nobodys)
{
    struct vm_source_map *map = parse("IAAA,EACA,C;;");
    struct vm_position found;

    cr_assert_not_null(map);
    cr_assert_not(vm_source_map_find(map, 1, 1, &found), "before the first");
    cr_assert(vm_source_map_find(map, 1, 5, &found));
    cr_assert_not(vm_source_map_find(map, 1, 8, &found), "a mapping of one number: no source");
    cr_assert_not(vm_source_map_find(map, 2, 1, &found), "an empty line");
    cr_assert_not(vm_source_map_find(map, 9, 1, &found), "behind the end");
    cr_assert_not(vm_source_map_find(map, 0, 0, &found));
    vm_source_map_free(map);
}

Test(source_map, negative_differences_and_long_numbers)
{
    /* Line numbers 1000 and back: 1000 = "w+B", -1000 = "x+B". */
    struct vm_source_map *map = parse("AAw+BA;AAx+BA");

    cr_assert_not_null(map);
    expect(map, 1, 1, "bitbend/a.ts", 1001, 1);
    expect(map, 2, 1, "bitbend/a.ts", 1, 1);
    vm_source_map_free(map);
}

Test(source_map, garbage_is_no_map)
{
    static const char *const BAD[] = { "A?A", "AADA", "AA", "gggggggggggggg", "DAAA", "A\\u0000" };

    for (size_t i = 0; i < BB_COUNT_OF(BAD); i++) {
        struct vm_source_map *map = parse(BAD[i]);
        cr_assert_null(map, "%s", BAD[i]);
    }
    cr_assert_null(vm_source_map_parse(BB_SLICE_EMPTY));
    cr_assert_null(vm_source_map_parse(bb_slice_str("[]")));
    cr_assert_null(vm_source_map_parse(bb_slice_str("{\"mappings\":\"\"}")));
    struct vm_source_map *map = parse("AEAA");
    struct vm_position found;
    cr_assert_not_null(map);
    cr_assert_not(vm_source_map_find(map, 1, 1, &found), "source 2 of 2");
    vm_source_map_free(map);
    vm_source_map_free(NULL);
}
