#include <criterion/criterion.h>

#include "snapshot_map.h"

/* Script 7 was written in a.ts, ten lines above where it is. */
static bool place(void *arg, uint32_t script_id, uint32_t line, uint32_t column,
                  struct vm_position *found)
{
    (void)arg;
    *found = (struct vm_position){ .source = "a\"b.ts", .line = line + 10, .column = column + 1 };
    return script_id == 7;
}

static struct bb_buf mapped(const char *json, bool *is_mapped)
{
    struct bb_buf to;

    bb_buf_init(&to);
    *is_mapped = vm_snapshot_map(bb_slice_str(json), place, NULL, &to);
    bb_buf_append_byte(&to, '\0');
    return to;
}

static const char snapshot[] =
    "{\"snapshot\":{\"meta\":{\"node_fields\":[\"type\",\"name\",\"id\"],\"edge_fields\":[\"x\"]}},\n"
    "\"nodes\":[9,0,1\n,5,1,3\n,5,2,5\n,5,1,7\n],\n\"edges\":[1,2,3\n],\n\"trace_function_infos\":[\n],"
    "\"trace_tree\":[\n],\"samples\":[\n],\"locations\":[6,7,4,2\n,3,8,1,1\n,9,7,0,0\n],\n"
    "\"strings\":[\"<dummy>\",\n\"f\\\"]\",\n\"list\"]}";

Test(snapshot_map, functions_have_the_places_where_they_were_written)
{
    bool is_mapped;
    struct bb_buf to = mapped(snapshot, &is_mapped);

    cr_assert(is_mapped);
    cr_expect_str_eq(
        (const char *)to.data,
        "{\"snapshot\":{\"meta\":{\"node_fields\":[\"type\",\"name\",\"id\"],\"edge_fields\":[\"x\"]}},\n"
        "\"nodes\":[9,0,1\n,5,1,3\n,5,3,5\n,5,4,7\n],\n\"edges\":[1,2,3\n],\n\"trace_function_infos\":[\n],"
        "\"trace_tree\":[\n],\"samples\":[\n],\"locations\":[3,8,1,1,\n6,7,14,3,\n9,7,10,1],\n"
        "\"strings\":[\"<dummy>\",\n\"f\\\"]\",\n\"list\",\n\"list (a\\\"b.ts:15)\",\n\"f\\\"] (a\\\"b.ts:11)\"]}");
    bb_buf_fini(&to);
}

Test(snapshot_map, what_is_no_snapshot_stays_as_it_is)
{
    static const char *const cases[] = {
        "", "{}", "{\"nodes\":[",
        "{\"node_fields\":[\"a\",\"b\"],\"nodes\":[1,2],\"locations\":[0,1,2],\"strings\":[\"a\"]}",
        "{\"node_fields\":[\"a\",\"b\"],\"nodes\":[1,99],\"locations\":[0,7,2,1],\"strings\":["
    };

    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        bool is_mapped;
        struct bb_buf to = mapped(cases[i], &is_mapped);
        cr_expect(!is_mapped, "case %zu", i);
        cr_expect_str_eq((const char *)to.data, cases[i], "case %zu", i);
        bb_buf_fini(&to);
    }
}

Test(snapshot_map, a_name_that_is_not_there_is_not_read)
{
    bool is_mapped;
    struct bb_buf to = mapped(
        "{\"node_fields\":[\"a\",\"b\"],\"nodes\":[1,99],\"locations\":[0,7,2,1],\"strings\":[\"a\"]}",
        &is_mapped);

    cr_assert(is_mapped);
    cr_expect(strstr((const char *)to.data, "\"nodes\":[1,99]") != NULL);
    bb_buf_fini(&to);
}
