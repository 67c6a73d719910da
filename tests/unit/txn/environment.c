/* The deployment's variables: what is found, what is put into the read ranges, what logs may show.
 */
#include "fixture.h"

static struct world w;

static void with_variables(void)
{
    world_init(&w);
    bb_txn_catalog_free(w.catalog);
    struct bb_slice from = value_of("{\"tables\":[],\"environment\":["
                                    "{\"name\":\"SECRET\",\"value\":\"correct horse\"},"
                                    "{\"name\":\"A\",\"value\":\"short\"},"
                                    "{\"name\":\"EMPTY\",\"value\":\"\"}]}");
    cr_assert_eq(bb_txn_catalog_new(&w.ctx, from, &w.catalog), BB_OK, "%s", w.ctx.error);
    w.options.catalog = w.catalog;
    world_begin(&w, 1);
}
static void fini(void)
{
    world_fini(&w);
}
TestSuite(txn_environment, .init = with_variables, .fini = fini);

static bool has_row(const struct bb_txn_output *output, const char *name)
{
    uint8_t row[20];
    struct bb_id id;

    bb_id_of_key(BB_TABLE_ENVIRONMENT, S(name), &id);
    bb_put_be32(row, BB_INDEX_BY_ID(BB_TABLE_ENVIRONMENT));
    memcpy(row + 4, id.bytes, sizeof id.bytes);
    for (size_t i = 0; i < output->range_count; i++) {
        if (bb_slice_compare(output->ranges[i].low, bb_slice(row, sizeof row)) <= 0 &&
            bb_slice_compare(bb_slice(row, sizeof row), output->ranges[i].high) < 0)
            return true;
    }
    return false;
}

Test(txn_environment, what_is_looked_at_is_in_the_read_ranges_once)
{
    struct bb_txn_output output;
    struct bb_slice value;

    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(bb_txn_environment(&w.ctx, w.txn, S("SECRET"), &value), BB_OK);
        cr_assert(bb_slice_equal_str(value, "correct horse"));
        cr_assert_eq(bb_txn_environment(&w.ctx, w.txn, S("NONE"), &value), BB_OK);
        cr_assert_null(value.data);
    }
    world_end(&w, &output);
    cr_assert(has_row(&output, "SECRET"));
    cr_assert(has_row(&output, "NONE"), "its absence was seen, too");
    cr_assert_not(has_row(&output, "A"));
    cr_assert_eq(output.range_count, 3, "the deployment's row, and two variables'");
}

Test(txn_environment, a_list_of_names_depends_on_all_rows)
{
    struct bb_value_builder *builder = bb_value_builder_new();
    struct bb_txn_output output;

    bb_value_begin_array(builder);
    bb_txn_environment_names(w.txn, builder);
    bb_value_end_array(builder);
    cr_assert_str_eq(json_of(bb_value_finish(builder)), "[\"A\",\"EMPTY\",\"SECRET\"]");
    world_end(&w, &output);
    cr_assert(has_row(&output, "A") && has_row(&output, "WHATEVER"));
    bb_value_builder_free(builder);
}

Test(txn_environment, distinct_names_are_read_ranges_and_limited_as_such)
{
    struct bb_slice value;
    char name[32];
    int rc = BB_OK;

    w.options.limits.read_ranges = 10;
    world_begin(&w, 1);
    for (int i = 0; i < 11 && rc == BB_OK; i++) {
        (void)snprintf(name, sizeof name, "NAME%d", i);
        rc = bb_txn_environment(&w.ctx, w.txn, S(name), &value);
    }
    cr_assert_eq(rc, BB_READ_LIMIT);
}

Test(txn_environment, a_value_that_was_read_is_redacted)
{
    struct bb_slice text = S("correct horse, correct horse! short");
    struct bb_slice value;

    cr_assert_eq(bb_txn_redact(w.txn, w.ctx.arena, text).data, text.data,
                 "nobody has read it, so it is not there but by chance");
    cr_assert_eq(bb_txn_environment(&w.ctx, w.txn, S("SECRET"), &value), BB_OK);
    cr_assert_eq(bb_txn_environment(&w.ctx, w.txn, S("A"), &value), BB_OK);
    cr_assert_eq(bb_txn_environment(&w.ctx, w.txn, S("EMPTY"), &value), BB_OK);
    struct bb_slice redacted = bb_txn_redact(w.txn, w.ctx.arena, text);
    cr_assert(bb_slice_equal_str(redacted, "[SECRET], [SECRET]! short"));
}

Test(txn_environment, a_value_that_was_cut_is_redacted)
{
    static const struct {
        const char *text, *shown;
    } cases[] = { { "it is correct hor... (9 bytes more)", "it is [SECRET]... (9 bytes more)" },
                  { "\"correct horse...\"", "\"[SECRET]...\"" },
                  { "it is correct ho", "it is [SECRET]" },
                  { "correct correct horse", "correct [SECRET]" },
                  { "correct house", "correct house" },
                  { "correct... it is", "correct... it is" } };
    struct bb_slice value;

    cr_assert_eq(bb_txn_environment(&w.ctx, w.txn, S("SECRET"), &value), BB_OK);
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        struct bb_slice shown = bb_txn_redact(w.txn, w.ctx.arena, bb_slice_str(cases[i].text));
        cr_assert(bb_slice_equal_str(shown, cases[i].shown), "%s: %.*s", cases[i].text,
                  BB_SLICE_ARG(shown));
    }
}

Test(txn_environment, a_damaged_environment_is_refused)
{
    static const char *const bad[] = { "{\"tables\":[],\"environment\":1}",
                                       "{\"tables\":[],\"environment\":[1]}",
                                       "{\"tables\":[],\"environment\":[{\"name\":\"A\"}]}" };
    struct bb_txn_catalog *catalog;

    for (size_t i = 0; i < BB_COUNT_OF(bad); i++)
        cr_assert_eq(bb_txn_catalog_new(&w.ctx, value_of(bad[i]), &catalog), BB_CORRUPT, "%s",
                     bad[i]);
}
