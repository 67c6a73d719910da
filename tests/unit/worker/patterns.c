/* What documents a call gets, by its arguments. That it is right: supervisor.c and the simulator.
 */
#include <criterion/criterion.h>

#include "bb/value.h"

#include "patterns.h"

#define TABLE (BB_TABLE_USER_MIN + 3)
#define PATH  77u

static struct bb_value_builder *builder;
static uint8_t key_bytes[COPIES_KEY_SIZE];

static struct bb_slice copy(struct bb_slice value)
{
    static uint8_t bytes[16][512];
    static size_t next;
    uint8_t *to = bytes[next++ % 16];
    cr_assert_leq(value.size, 512);
    memcpy(to, value.data, value.size);
    return bb_slice(to, value.size);
}

static void begin(void)
{
    builder = builder == NULL ? bb_value_builder_new() : builder;
    bb_value_builder_clear(builder);
    bb_value_begin_object(builder);
}

static struct bb_slice finish(void)
{
    bb_value_end_object(builder);
    return copy(bb_value_finish(builder));
}

static void text(const char *name, const char *value)
{
    bb_value_field_name(builder, bb_slice_str(name));
    bb_value_put_string(builder, bb_slice_str(value));
}

/* { key: number, day: text } */
static struct bb_slice arguments(double key, const char *day)
{
    begin();
    bb_value_field_name(builder, bb_slice_str("key"));
    bb_value_put_float64(builder, key);
    text("day", day);
    return finish();
}

static struct bb_slice named(const char *name)
{
    begin();
    text("_key", name);
    return finish();
}

static struct bb_slice key_of(const char *name)
{
    struct bb_id id;
    bb_id_of_key(TABLE, bb_slice_str(name), &id);
    bb_put_be32(key_bytes, BB_INDEX_BY_ID(TABLE));
    memcpy(key_bytes + 4, id.bytes, sizeof(id.bytes));
    return bb_slice(key_bytes, sizeof(key_bytes));
}

static void got(struct patterns *patterns, struct bb_slice args, const char *name)
{
    worker_patterns_learn(patterns, PATH, args, key_of(name), named(name));
}

static bool foresees(struct patterns *patterns, struct bb_slice args, struct bb_slice key,
                     struct foreseen *which)
{
    struct foreseen all[PATTERNS_MAX];
    size_t count = worker_patterns_of(patterns, PATH, args, all);
    for (size_t i = 0; i < count; i++) {
        if (memcmp(all[i].key, key.data, COPIES_KEY_SIZE) == 0) {
            *which = all[i];
            return true;
        }
    }
    return false;
}

static void was_right(struct patterns *patterns, struct bb_slice args, const char *name,
                      unsigned times)
{
    struct foreseen which;
    for (unsigned i = 0; i < times; i++) {
        cr_assert(foresees(patterns, args, key_of(name), &which));
        worker_patterns_judge(patterns, PATH, &which, true);
    }
}

Test(patterns, a_key_made_of_texts_and_arguments_is_foreseen_of_others)
{
    struct patterns *patterns = worker_patterns_new();
    struct foreseen which, none[PATTERNS_MAX];
    got(patterns, arguments(123, "monday"), "counter/123/of monday");
    cr_assert(foresees(patterns, arguments(7, "friday"), key_of("counter/7/of friday"), &which));
    cr_assert_not(which.is_sure, "one call proves nothing");
    was_right(patterns, arguments(50, "sunday"), "counter/50/of sunday", 3);
    cr_assert(
        foresees(patterns, arguments(4e15, "x"), key_of("counter/4000000000000000/of x"), &which));
    cr_assert(which.is_sure);
    cr_assert_eq(worker_patterns_of(patterns, PATH + 1, arguments(7, "friday"), none), 0,
                 "another function");
    worker_patterns_free(patterns);
}

Test(patterns, an_argument_that_is_the_id_is_foreseen_also_of_what_is_not_there)
{
    struct patterns *patterns = worker_patterns_new();
    struct foreseen which, none[PATTERNS_MAX];
    char id_text[BB_ID_TEXT_MAX + 1] = { 0 };
    struct bb_id id = { .bytes = { 1, 2, 3 } };
    bb_put_be32(key_bytes, BB_INDEX_BY_ID(TABLE));
    memcpy(key_bytes + 4, id.bytes, sizeof(id.bytes));
    struct bb_slice key = bb_slice(key_bytes, sizeof(key_bytes));
    (void)bb_id_text(TABLE, &id, id_text);
    begin();
    text("user", id_text);
    struct bb_slice args = finish();
    worker_patterns_learn(patterns, PATH, args, key, BB_SLICE_EMPTY);
    cr_assert(foresees(patterns, args, key, &which));
    begin();
    text("user", "not an id");
    cr_assert_eq(worker_patterns_of(patterns, PATH, finish(), none), 0);
    (void)bb_id_text(TABLE + 1, &id, id_text);
    begin();
    text("user", id_text);
    cr_assert_eq(worker_patterns_of(patterns, PATH, finish(), none), 0, "of another table");
    worker_patterns_free(patterns);
}

Test(patterns, what_fails_is_not_used_and_goes)
{
    struct patterns *patterns = worker_patterns_new();
    struct foreseen which, none[PATTERNS_MAX];
    struct bb_slice args = arguments(123, "monday");
    got(patterns, args, "counter/123");
    was_right(patterns, args, "counter/123", 4);
    cr_assert(foresees(patterns, args, key_of("counter/123"), &which) && which.is_sure);
    worker_patterns_judge(patterns, PATH, &which, false);
    cr_assert(foresees(patterns, args, key_of("counter/123"), &which));
    cr_assert_not(which.is_sure);
    worker_patterns_judge(patterns, PATH, &which, false);
    cr_assert_eq(worker_patterns_of(patterns, PATH, args, none), 0);
    got(patterns, args, "counter/123");
    cr_assert_eq(worker_patterns_of(patterns, PATH, args, none), 0, "not learnt at once again");
    got(patterns, args, "counter/123");
    cr_assert_eq(worker_patterns_of(patterns, PATH, args, none), 1);
    worker_patterns_free(patterns);
}

Test(patterns, nothing_is_learnt_where_the_document_does_not_follow)
{
    struct patterns *patterns = worker_patterns_new();
    struct foreseen none[PATTERNS_MAX];
    struct bb_slice args = arguments(123, "monday");
    got(patterns, args, "a document of somebody");
    cr_assert_eq(worker_patterns_of(patterns, PATH, args, none), 0);
    worker_patterns_free(patterns);

    patterns = worker_patterns_new();
    worker_patterns_learn(patterns, PATH, args, key_of("counter/123"), named("counter/123 of old"));
    cr_assert_eq(worker_patterns_of(patterns, PATH, args, none), 0, "its id is no hash of that");
    worker_patterns_free(patterns);

    patterns = worker_patterns_new();
    got(patterns, bb_slice("\x0a\xff\xff\xff", 4), "counter/123");
    cr_assert_eq(worker_patterns_of(patterns, PATH, args, none), 0, "arguments that are damaged");
    got(patterns, args, "counter/123");
    got(patterns, args, "counter/123");
    cr_assert_eq(worker_patterns_of(patterns, PATH, args, none), 1);
    cr_assert_eq(worker_patterns_of(patterns, PATH, bb_slice("\x0a\xff\xff\xff", 4), none), 0);
    worker_patterns_free(patterns);
}
