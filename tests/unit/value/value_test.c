#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "bb/value.h"

static void from_json(const char *json, struct bb_buf *to)
{
    struct bb_ctx ctx = { 0 };

    bb_buf_clear(to);
    cr_assert_eq(bb_json_decode(&ctx, bb_slice_str(json), true, to), BB_OK, "%s: %s", json,
                 ctx.error);
    cr_assert_eq(bb_value_validate(&ctx, bb_buf_slice(to)), BB_OK, "%s: %s", json, ctx.error);
}

static const char *to_json(struct bb_slice value, enum bb_json_format format, struct bb_buf *text)
{
    bb_buf_clear(text);
    bb_json_encode(value, format, text);
    bb_buf_append_byte(text, 0);
    return (const char *)text->data;
}

Test(value, json_round_trips_with_special_encodings)
{
    static const char *const cases[] = {
        "null",
        "true",
        "false",
        "0",
        "1.5",
        "-3",
        "1e+21",
        "1e-7",
        "123456789.125",
        "0.1",
        "5e-324",
        "1.7976931348623157e+308",
        "\"\"",
        "\"a\\u0000b\\n\\\"\\\\\"",
        "\"\xf0\x9f\x98\x80\"",
        "[]",
        "{}",
        "[1,[2,[3]]]",
        "{\"a\":{\"b\":[null,true]},\"c\":\"d\"}",
        "{\"$integer\":\"AQAAAAAAAAA=\"}",
        "{\"$integer\":\"AAAAAAAAAIA=\"}",
        "{\"$float\":\"AAAAAAAA+H8=\"}",
        "{\"$float\":\"AAAAAAAAAIA=\"}",
        "{\"$float\":\"AAAAAAAA8H8=\"}",
        "{\"$bytes\":\"\"}",
        "{\"$bytes\":\"AQID\"}",
        "{\"$undefined\":null}",
    };
    struct bb_buf value = { 0 };
    struct bb_buf text = { 0 };

    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        from_json(cases[i], &value);
        cr_assert_str_eq(to_json(bb_buf_slice(&value), BB_JSON_ENCODED, &text), cases[i]);
    }
    from_json("{\"$integer\":\"//////////8=\"}", &value);
    cr_assert_str_eq(to_json(bb_buf_slice(&value), BB_JSON_CLEAN, &text), "\"-1\"");
    from_json("[{\"$float\":\"AAAAAAAA+H8=\"},{\"$bytes\":\"AQID\"}]", &value);
    cr_assert_str_eq(to_json(bb_buf_slice(&value), BB_JSON_CLEAN, &text), "[\"NaN\",\"AQID\"]");
    from_json("{\"b\":1,\"a\":2,\"b\":3}", &value);
    cr_assert_str_eq(to_json(bb_buf_slice(&value), BB_JSON_ENCODED, &text), "{\"a\":2,\"b\":3}");
    bb_buf_fini(&value);
    bb_buf_fini(&text);
}

/* ["\u0061",TEXT] is not plain, so jansson reads it. True: TEXT alone is what it is in there, and
 * wrong when that is. */
static bool is_read_alike(struct bb_slice text)
{
    struct bb_ctx ctx = { 0 };
    struct bb_buf wrapped = { 0 }, plain = { 0 }, other = { 0 };

    bb_buf_append_str(&wrapped, "[\"\\u0061\",");
    bb_buf_append_slice(&wrapped, text);
    bb_buf_append_byte(&wrapped, ']');
    int rc = bb_json_decode(&ctx, text, false, &plain);
    int other_rc = bb_json_decode(&ctx, bb_buf_slice(&wrapped), false, &other);
    bool is_list = other_rc == BB_OK && bb_value_count(bb_buf_slice(&other)) != 2; /* of "1,2" */
    bool is_alike = (rc == BB_OK) == (other_rc == BB_OK && !is_list);
    if (rc == BB_OK && is_alike)
        is_alike = bb_slice_equal(bb_buf_slice(&plain), bb_value_at(bb_buf_slice(&other), 1));
    bb_buf_fini(&wrapped);
    bb_buf_fini(&plain);
    bb_buf_fini(&other);
    return is_alike;
}

static void random_json(struct bb_buf *to, uint64_t *random, unsigned depth)
{
    static const char *const leaves[] = {
        "0",
        "-0",
        "7",
        "-12",
        "120",
        "0.5",
        "-0.25",
        "3.14159",
        "123456789012345",
        "0.1",
        "1234567890123456",
        "9007199254740993",
        "0.30000000000000004",
        "1e3",
        "-1.5E-2",
        "12.",
        "01",
        ".5",
        "-",
        "00",
        "1.0",
        "-0.0",
        "99999999.9999999",
        "true",
        "false",
        "null",
        "nul",
        "\"\"",
        "\"a\"",
        "\"two words\"",
        "\"\\n\"",
        "\"\xc3\xa9\"",
        "\"\xff\"",
        "\"a\tb\"",
        "\"$a\"",
        "",
        "x",
    };
    static const char *const names[] = { "a", "b", "", "zebra", "a", "\\u0061", "$x" };

    *random = *random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    unsigned what = (unsigned)(*random >> 59), which = (unsigned)(*random >> 33);
    bool is_object = what < 8;
    if (depth > 3 || what > 15) {
        bb_buf_append_str(to, leaves[which % (which & 64 ? BB_COUNT_OF(leaves) : 10)]);
        return;
    }
    bb_buf_append_byte(to, is_object ? '{' : '[');
    for (unsigned i = 0, count = which % 4; i < count; i++) {
        bb_buf_append_str(to, i == 0 ? which & 128 ? " " : "" : which & 256 ? ",\n" : ",");
        if (is_object)
            bb_buf_printf(to, "\"%s\" :", names[(which >> i) % (which & 1024 ? 7 : 5)]);
        random_json(to, random, depth + 1);
    }
    bb_buf_append_byte(to, is_object == ((which & 0x7000) != 0) ? '}' : ']');
}

Test(value, plain_json_means_what_the_same_text_means_to_jansson)
{
    struct bb_buf text = { 0 };
    uint64_t random = 42;

    for (int i = 0; i < 20000; i++) {
        bb_buf_clear(&text);
        random_json(&text, &random, 0);
        cr_assert(is_read_alike(bb_buf_slice(&text)), "%.*s", BB_SLICE_ARG(bb_buf_slice(&text)));
    }
    bb_buf_fini(&text);
}

Test(value, bad_json_is_refused_with_a_reason)
{
    static const char *const cases[] = {
        "",
        "{",
        "[1,]",
        "nul",
        "\"\\ud800\"",
        "{\"$integer\":\"AQ==\"}",
        "{\"$integer\":1}",
        "{\"$float\":\"AAAAAAAA8D8=\"}",
        "{\"$set\":[]}",
        "{\"$map\":[]}",
        "{\"a\":1,\"$b\":2}",
        "1 2",
        "{\"$bytes\":\"A\"}",
        "\"\xff\"",
        "1e999",
        "{a:1}",
    };
    struct bb_buf value = { 0 };

    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        struct bb_ctx ctx = { 0 };
        cr_assert_eq(bb_json_decode(&ctx, bb_slice_str(cases[i]), false, &value), BB_BAD_JSON, "%s",
                     cases[i]);
        cr_assert_gt(strlen(ctx.error), 5, "%s", cases[i]);
    }
    struct bb_ctx ctx = { 0 };
    cr_assert_eq(bb_json_decode(&ctx, bb_slice_str("{\"$undefined\":null}"), false, &value),
                 BB_BAD_JSON);
    struct bb_buf deep = { 0 };
    for (int i = 0; i < 200; i++)
        bb_buf_append_byte(&deep, '[');
    for (int i = 0; i < 200; i++)
        bb_buf_append_byte(&deep, ']');
    cr_assert_eq(bb_json_decode(&ctx, bb_buf_slice(&deep), false, &value), BB_BAD_JSON);
    bb_buf_fini(&deep);
    bb_buf_fini(&value);
}

static void key_hex(const char *json, struct bb_buf *text)
{
    struct bb_buf value = { 0 };
    struct bb_buf key = { 0 };

    from_json(json, &value);
    bb_key_append_value(&key, bb_buf_slice(&value));
    bb_buf_clear(text);
    bb_hex_append(text, bb_buf_slice(&key));
    bb_buf_append_byte(text, 0);
    bb_buf_fini(&value);
    bb_buf_fini(&key);
}

Test(value, keys_equal_the_golden_vectors)
{
    static const struct {
        const char *json, *key;
    } cases[] = {
        { "{\"$undefined\":null}", "01" },
        { "null", "02" },
        { "{\"$integer\":\"AQAAAAAAAAA=\"}", "038000000000000001" },
        { "{\"$integer\":\"//////////8=\"}", "037fffffffffffffff" },
        { "{\"$integer\":\"LAEAAAAAAAA=\"}", "03800000000000012c" },
        { "1.5", "04bff8000000000000" },
        { "{\"$float\":\"AAAAAAAAAIA=\"}", "047fffffffffffffff" },
        { "false", "05" },
        { "true", "06" },
        { "\"a\\u0000b\"", "076100ff6200" },
        { "{\"$bytes\":\"AA==\"}", "0800ff00" },
        { "[{\"$integer\":\"AQAAAAAAAAA=\"},\"x\"]", "0903800000000000000107780000" },
        { "{\"a\":null}", "0a0761000200" },
        { "{}", "0a00" },
    };
    struct bb_buf text = { 0 };

    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        key_hex(cases[i].json, &text);
        cr_assert_str_eq((char *)text.data, cases[i].key, "%s", cases[i].json);
    }
    bb_buf_fini(&text);
}

/* A deterministic generator of random nested values with many near-equal ones. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void random_text(uint64_t *state, struct bb_buf *to)
{
    static const uint8_t bytes[] = { 0, 0, 1, 'a', 'b', 0x7f };
    size_t size = next_random(state) % 4;

    bb_buf_clear(to);
    while (size-- > 0)
        bb_buf_append_byte(to, bytes[next_random(state) % sizeof bytes]);
}

static void random_value(uint64_t *state, struct bb_value_builder *builder, unsigned depth)
{
    static const double numbers[] = { 0.0, -0.0, 1, -1, 1.5, -1.5, 1e300, -1e300, 5e-324 };
    static const int64_t integers[] = { 0, 1, -1, INT64_MAX, INT64_MIN, 255, 256 };
    struct bb_buf text = { 0 };

    switch (next_random(state) % (depth > 3 ? 7 : 10)) {
    case 0:
        bb_value_null(builder);
        break;
    case 1:
        bb_value_put_bool(builder, next_random(state) & 1);
        break;
    case 2:
        bb_value_put_int64(builder, integers[next_random(state) % BB_COUNT_OF(integers)]);
        break;
    case 3: {
        size_t which = next_random(state) % (BB_COUNT_OF(numbers) + 3);
        double number = which < BB_COUNT_OF(numbers)    ? numbers[which]
                        : which == BB_COUNT_OF(numbers) ? NAN
                        : which % 2                     ? INFINITY
                                                        : -INFINITY;
        bb_value_put_float64(builder, number);
        break;
    }
    case 4:
        random_text(state, &text);
        bb_value_put_string(builder, bb_buf_slice(&text));
        break;
    case 5:
        random_text(state, &text);
        bb_value_put_bytes(builder, bb_buf_slice(&text));
        break;
    case 6:
        bb_value_undefined(builder);
        break;
    case 7:
        bb_value_begin_array(builder);
        for (size_t n = next_random(state) % 4; n > 0; n--)
            random_value(state, builder, depth + 1);
        bb_value_end_array(builder);
        break;
    default:
        bb_value_begin_object(builder);
        for (size_t n = next_random(state) % 4; n > 0; n--) {
            random_text(state, &text);
            bb_value_field_name(builder, bb_buf_slice(&text));
            random_value(state, builder, depth + 1);
        }
        bb_value_end_object(builder);
        break;
    }
    bb_buf_fini(&text);
}

static int sign(int v)
{
    return (v > 0) - (v < 0);
}

Test(value, key_order_equals_value_order)
{
    uint64_t state = 88172645463325252ull;
    struct bb_ctx ctx = { 0 };
    struct bb_value_builder *builder = bb_value_builder_new();
    struct bb_buf values[2] = { 0 };
    struct bb_buf keys[2] = { 0 };
    struct bb_buf back = { 0 };
    size_t equal = 0;

    for (size_t i = 0; i < 40000; i++) {
        for (size_t k = 0; k < 2; k++) {
            bb_value_builder_clear(builder);
            random_value(&state, builder, 0);
            bb_buf_clear(&values[k]);
            bb_buf_clear(&keys[k]);
            bb_buf_append_slice(&values[k], bb_value_finish(builder));
            cr_assert_eq(bb_value_validate(&ctx, bb_buf_slice(&values[k])), BB_OK, "%s", ctx.error);
            bb_key_append_value(&keys[k], bb_buf_slice(&values[k]));
            size_t used = 0;
            bb_buf_clear(&back);
            cr_assert_eq(bb_key_decode_value(&ctx, bb_buf_slice(&keys[k]), &back, &used), BB_OK);
            cr_assert_eq(used, keys[k].size);
            cr_assert(bb_slice_equal(bb_buf_slice(&back), bb_buf_slice(&values[k])));
        }
        int by_value = sign(bb_value_compare(bb_buf_slice(&values[0]), bb_buf_slice(&values[1])));
        int by_key = sign(bb_slice_compare(bb_buf_slice(&keys[0]), bb_buf_slice(&keys[1])));
        cr_assert_eq(by_value, by_key, "round %zu", i);
        cr_assert_eq(by_value == 0,
                     bb_slice_equal(bb_buf_slice(&values[0]), bb_buf_slice(&values[1])));
        equal += by_value == 0;
    }
    cr_assert_gt(equal, 100);
    bb_value_builder_free(builder);
    for (size_t k = 0; k < 2; k++) {
        bb_buf_fini(&values[k]);
        bb_buf_fini(&keys[k]);
    }
    bb_buf_fini(&back);
}

Test(value, validate_refuses_every_cut_and_never_reads_beyond)
{
    uint64_t state = 1234567;
    struct bb_ctx ctx = { 0 };
    struct bb_value_builder *builder = bb_value_builder_new();

    for (size_t i = 0; i < 2000; i++) {
        bb_value_builder_clear(builder);
        random_value(&state, builder, 0);
        struct bb_slice value = bb_value_finish(builder);
        for (size_t size = 0; size < value.size; size++) {
            uint8_t *copy = malloc(size == 0 ? 1 : size);
            memcpy(copy, value.data, size);
            cr_assert_neq(bb_value_validate(&ctx, bb_slice(copy, size)), BB_OK);
            free(copy);
        }
        uint8_t *changed = malloc(value.size);
        memcpy(changed, value.data, value.size);
        changed[next_random(&state) % value.size] ^= (uint8_t)(1u << (next_random(&state) % 8));
        if (bb_value_validate(&ctx, bb_slice(changed, value.size)) == BB_OK) {
            struct bb_buf text = { 0 };
            bb_json_encode(bb_slice(changed, value.size), BB_JSON_ENCODED, &text);
            bb_key_append_value(&text, bb_slice(changed, value.size));
            bb_buf_fini(&text);
        }
        free(changed);
    }
    bb_value_builder_free(builder);
}

Test(value, an_object_is_looked_at_as_closely_as_the_one_before_it)
{
    struct bb_ctx ctx = { 0 };
    struct bb_buf value = { 0 };

    from_json("[{\"ab\":1,\"c\":2},{\"ab\":3,\"c\":4}]", &value);
    cr_assert_eq(bb_value_validate(&ctx, bb_buf_slice(&value)), BB_OK);
    uint8_t *table = value.data + 17 + bb_get_le32(value.data + 9) + 9; /* of the second object */
    cr_assert_eq(bb_get_le32(table), 2u);
    for (uint32_t end = 0; end < 6; end++) {
        /* The same names, cut elsewhere: "" and "abc", "a" and "bc", "abc" and "". */
        bool is_right = end <= 2;

        bb_put_le32(table, end);
        cr_expect_eq(bb_value_validate(&ctx, bb_buf_slice(&value)) == BB_OK, is_right, "%u", end);
    }
    bb_put_le32(table, 2);
    uint8_t *names = table + 2 * 8 + 4;
    cr_assert_eq(memcmp(names, "abc", 3), 0);
    names[2] = 'a'; /* out of order */
    cr_expect_neq(bb_value_validate(&ctx, bb_buf_slice(&value)), BB_OK);
    names[2] = 0xff; /* not UTF-8 */
    cr_expect_neq(bb_value_validate(&ctx, bb_buf_slice(&value)), BB_OK);
    names[2] = 'd';
    cr_expect_eq(bb_value_validate(&ctx, bb_buf_slice(&value)), BB_OK);
    bb_buf_fini(&value);
}

Test(value, fields_are_found_by_name_and_path)
{
    struct bb_buf value = { 0 };

    from_json("{\"z\":1,\"a\":{\"b\":{\"c\":\"deep\"}},\"m\":[1,2]}", &value);
    struct bb_slice object = bb_buf_slice(&value);
    cr_assert_eq(bb_value_float64(bb_value_field_str(object, "z")), 1.0);
    cr_assert_null(bb_value_field_str(object, "y").data);
    cr_assert(
        bb_slice_equal_str(bb_value_bytes(bb_value_path(object, bb_slice_str("a.b.c"))), "deep"));
    cr_assert_null(bb_value_path(object, bb_slice_str("a.x.c")).data);
    cr_assert_null(bb_value_path(object, bb_slice_str("m.b")).data);
    struct bb_buf changes = { 0 };
    struct bb_buf merged = { 0 };
    struct bb_buf text = { 0 };
    from_json("{\"z\":{\"$undefined\":null},\"n\":2,\"m\":null}", &changes);
    bb_value_merge(object, bb_buf_slice(&changes), &merged);
    cr_assert_str_eq(to_json(bb_buf_slice(&merged), BB_JSON_ENCODED, &text),
                     "{\"a\":{\"b\":{\"c\":\"deep\"}},\"m\":null,\"n\":2}");
    bb_buf_fini(&value);
    bb_buf_fini(&changes);
    bb_buf_fini(&merged);
    bb_buf_fini(&text);
}

Test(value, ids_equal_the_published_vector_and_parse_strictly)
{
    struct bb_ctx ctx = { 0 };
    struct bb_id id;
    struct bb_id back;
    uint32_t table = 0;
    char text[BB_ID_TEXT_MAX + 1];

    for (uint8_t i = 0; i < 14; i++)
        id.bytes[i] = i;
    id.bytes[14] = 20000 >> 8;
    id.bytes[15] = 20000 & 255;
    size_t length = bb_id_text(10001, &id, text);
    text[length] = 0;
    cr_assert_str_eq(text, "j57000820c20a1g7104gm2rc1n721a4s");
    cr_assert_eq(bb_id_parse(&ctx, bb_slice_str(text), &table, &back), BB_OK);
    cr_assert_eq(table, 10001);
    cr_assert_arr_eq(back.bytes, id.bytes, 16);
    for (size_t i = 0; i < length; i++) {
        char damaged[BB_ID_TEXT_MAX + 1];
        memcpy(damaged, text, length + 1);
        damaged[i] = damaged[i] == '0' ? '1' : '0';
        cr_assert_eq(bb_id_parse(&ctx, bb_slice_str(damaged), &table, &back), BB_BAD_ID, "at %zu",
                     i);
    }
    cr_assert_eq(bb_id_parse(&ctx, bb_slice_str("J57000820C20A1G7104GM2RC1N721A4S"), &table, &back),
                 BB_BAD_ID);
    cr_assert_eq(bb_id_parse(&ctx, bb_slice_str(""), &table, &back), BB_BAD_ID);
    static const uint32_t tables[] = { 1, 127, 128, 10001, 1u << 20, UINT32_MAX };
    for (size_t i = 0; i < BB_COUNT_OF(tables); i++) {
        length = bb_id_text(tables[i], &id, text);
        cr_assert_eq(bb_id_parse(&ctx, bb_slice(text, length), &table, &back), BB_OK);
        cr_assert_eq(table, tables[i]);
    }
    bb_id_of_key(10001, bb_slice_str("user/1"), &id);
    bb_id_of_key(10002, bb_slice_str("user/1"), &back);
    cr_assert_neq(memcmp(&id, &back, sizeof id), 0);
}

Test(value, documents_are_checked_for_representability_only)
{
    static const struct {
        const char *json;
        int status;
        const char *text;
    } cases[] = {
        { "{\"a\":1,\"b\":[{\"c\":null}]}", BB_OK, "" },
        { "[1]", BB_NOT_ENCODABLE, "must be an object" },
        { "{\"_a\":1}", BB_NOT_ENCODABLE, "_a: " },
        { "{\"a\":{\"_b\":1}}", BB_OK, "" },
        { "{\"\":1}", BB_NOT_ENCODABLE, "may not be empty" },
        { "{\"a\":[{\"\xc3\xa9\":1}]}", BB_NOT_ENCODABLE, "a[0]." },
        { "{\"a\":{\"b\":{\"$undefined\":null}}}", BB_NOT_ENCODABLE, "a.b: undefined" },
        { "{\"a\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}", BB_NOT_ENCODABLE, "16 levels" },
    };
    struct bb_buf value = { 0 };

    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        struct bb_ctx ctx = { 0 };
        from_json(cases[i].json, &value);
        cr_assert_eq(bb_document_check(&ctx, bb_buf_slice(&value), 1 << 20), cases[i].status, "%s",
                     cases[i].json);
        cr_assert_not_null(strstr(ctx.error, cases[i].text), "%s: %s", cases[i].json, ctx.error);
    }
    struct bb_ctx ctx = { 0 };
    from_json("{\"a\":\"0123456789\"}", &value);
    cr_assert_eq(bb_value_accounted_size(bb_buf_slice(&value)), 2 + 1 + 1 + 12);
    cr_assert_eq(bb_document_check(&ctx, bb_buf_slice(&value), 15), BB_DOCUMENT_TOO_LARGE);
    cr_assert_not_null(strstr(ctx.error, "16 bytes, the limit is 15"), "%s", ctx.error);
    bb_buf_fini(&value);
}

Test(value, prefix_end_is_the_first_key_after_all_with_the_prefix)
{
    struct bb_buf end = { 0 };

    cr_assert(bb_key_prefix_end(bb_slice("a\xff\xff", 3), &end));
    cr_assert(bb_slice_equal_str(bb_buf_slice(&end), "b"));
    bb_buf_clear(&end);
    cr_assert_not(bb_key_prefix_end(bb_slice("\xff\xff", 2), &end));
    cr_assert_not(bb_key_prefix_end(BB_SLICE_EMPTY, &end));
    bb_buf_fini(&end);
}

/* The first count of decimals that reads back; empty: written with an exponent, or none of these
 * does. */
static void plain_digits(double value, char *to, size_t size)
{
    for (int decimals = 0; decimals <= 18 && fabs(value) < 1e15 && fabs(value) >= 1e-6;
         decimals++) {
        (void)snprintf(to, size, "%.*f", decimals, value);
        if (strtod(to, NULL) == value)
            return;
    }
    to[0] = '\0';
}

Test(json, numbers_have_their_shortest_digits)
{
    struct bb_buf text = { 0 };
    static const double units[] = { 1000, 1024, 1e6, 3, 10 };
    uint64_t random = 88172645463325252u;

    for (int i = 0; i < 200000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        double value = (double)(int64_t)(random >> (11 + random % 40)) / units[i % 5];
        char expected[40];
        value = i % 2 == 0 ? value : -value;
        value = i % 3 == 0 ? nextafter(value, 1e300) : value;
        bb_buf_clear(&text);
        bb_json_number(&text, value);
        bb_buf_append_byte(&text, 0);
        cr_assert_eq(strtod((const char *)text.data, NULL), value, "%.17g", value);
        plain_digits(value, expected, sizeof expected);
        if (expected[0] != '\0' && value != 0)
            cr_assert_str_eq((const char *)text.data, expected, "%.17g", value);
    }
    bb_buf_fini(&text);
}

/* One character after the other. */
static void naive_string(struct bb_slice text, struct bb_buf *to)
{
    bb_buf_append_byte(to, '"');
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c == '"' || c == '\\')
            bb_buf_printf(to, "\\%c", c);
        else if (c == '\n' || c == '\r' || c == '\t')
            bb_buf_printf(to, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        else if (c < 0x20)
            bb_buf_printf(to, "\\u%04x", c);
        else
            bb_buf_append_byte(to, c);
    }
    bb_buf_append_byte(to, '"');
}

Test(json, strings_are_escaped_wherever_a_character_stands)
{
    struct bb_buf expected, text;

    bb_buf_init(&expected);
    bb_buf_init(&text);
    for (size_t size = 0; size < 26; size++) {
        for (size_t at = 0; at < size; at++) {
            for (unsigned c = 0; c < 256; c++) {
                uint8_t bytes[26];
                memset(bytes, c % 3 == 0 ? 0xff : 'a', sizeof bytes);
                bytes[at] = (uint8_t)c;
                bytes[(at * 7 + c) % size] = (uint8_t)(c % 2 == 0 ? '!' : '#');
                bb_buf_clear(&expected);
                bb_buf_clear(&text);
                naive_string(bb_slice(bytes, size), &expected);
                bb_json_string(&text, bb_slice(bytes, size));
                cr_assert(bb_slice_equal(bb_buf_slice(&text), bb_buf_slice(&expected)),
                          "%u at %zu of %zu", c, at, size);
            }
        }
    }
    bb_json_string(&text, BB_SLICE_EMPTY);
    cr_assert(bb_slice_equal_str(bb_slice(text.data + text.size - 2, 2), "\"\""));
    bb_buf_fini(&expected);
    bb_buf_fini(&text);
}

Test(json, whole_numbers_are_written_as_printf_writes_them)
{
    struct bb_buf text;
    uint64_t random = 88172645463325252u;

    bb_buf_init(&text);
    for (int i = 0; i < 20000; i++) {
        char expected[32];
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        int64_t number = (int64_t)(random >> 11 >> (random % 53));
        number = random & 64 ? -number : number;
        bb_buf_clear(&text);
        bb_json_number(&text, (double)number);
        (void)snprintf(expected, sizeof expected, "%" PRId64, number);
        cr_assert(bb_slice_equal_str(bb_buf_slice(&text), expected), "%s", expected);
    }
    bb_buf_fini(&text);
}

Test(json, a_field_that_is_undefined_leaves_no_comma)
{
    static const char *const cases[][2] = {
        { "{\"a\":{\"$undefined\":null}}", "{}" },
        { "{\"a\":{\"$undefined\":null},\"b\":1}", "{\"b\":1}" },
        { "{\"a\":1,\"b\":{\"$undefined\":null},\"c\":{}}", "{\"a\":1,\"c\":{}}" },
        { "{}", "{}" },
        { "[]", "[]" },
    };
    struct bb_buf value, text;

    bb_buf_init(&value);
    bb_buf_init(&text);
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        from_json(cases[i][0], &value);
        cr_assert_str_eq(to_json(bb_buf_slice(&value), BB_JSON_CLEAN, &text), cases[i][1]);
    }
    bb_buf_fini(&value);
    bb_buf_fini(&text);
}
