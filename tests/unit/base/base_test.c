#include <signal.h>

#include <criterion/criterion.h>

#include "bb/base.h"
#include "bb/field.h"

Test(base, status_table_names_each_status_once)
{
    cr_assert_str_eq(bb_status_name(BB_FUNCTION_NOT_FOUND), "FunctionNotFound");
    cr_assert_eq(bb_status_http(BB_FUNCTION_NOT_FOUND), 404);
    cr_assert_eq(bb_status_http(BB_USER_ERROR), 200);
    cr_assert(bb_status_in_function(BB_USER_ERROR));
    cr_assert_not(bb_status_in_function(BB_OVERLOADED));
    cr_assert(bb_status_retry_helps(BB_OVERLOADED));
    cr_assert_eq(bb_status_by_name("Overloaded"), BB_OVERLOADED);
    cr_assert_eq(bb_status_by_name("NoSuchStatus"), -1);
    cr_assert_str_eq(bb_status_name(9999), "InternalError");
#define ONE_NAME(constant, ...) cr_expect_eq(bb_status_by_name(bb_status_name(constant)), constant);
    BB_STATUS_TABLE(ONE_NAME)
#undef ONE_NAME
}

Test(base, slices_compare_like_memcmp_and_a_prefix_sorts_first)
{
    cr_assert_lt(bb_slice_compare(bb_slice_str("a"), bb_slice_str("ab")), 0);
    cr_assert_gt(bb_slice_compare(bb_slice_str("b"), bb_slice_str("ab")), 0);
    cr_assert_eq(bb_slice_compare(BB_SLICE_EMPTY, bb_slice_str("")), 0);
    cr_assert(bb_slice_starts_with(bb_slice_str("abc"), bb_slice_str("ab")));
    cr_assert_not(bb_slice_starts_with(bb_slice_str("a"), bb_slice_str("ab")));
}

Test(base, varints_round_trip_and_refuse_long_forms)
{
    static const uint64_t cases[] = { 0, 1, 127, 128, 300, 1ull << 32, UINT64_MAX };

    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        uint8_t bytes[10];
        uint64_t back = 0;
        size_t size = bb_varint_put(bytes, cases[i]);
        cr_assert_eq(bb_varint_get(bb_slice(bytes, size), &back), size, "case %zu", i);
        cr_assert_eq(back, cases[i]);
        if (size > 1)
            cr_assert_eq(bb_varint_get(bb_slice(bytes, size - 1), &back), 0);
    }
    uint64_t v;
    cr_assert_eq(bb_varint_get(bb_slice("\x80\x00", 2), &v), 0);
    cr_assert_eq(bb_varint_get(bb_slice("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10), &v), 0);
}

static void hex(struct bb_buf *to, struct bb_slice bytes)
{
    bb_buf_clear(to);
    bb_hex_append(to, bytes);
    bb_buf_append_byte(to, 0);
}

Test(base, hashes_equal_published_vectors)
{
    struct bb_buf text = { 0 };
    uint8_t digest[32];

    cr_assert_eq(bb_crc32c(0, "123456789", 9), 0xe3069283u);
    cr_assert_eq(bb_crc32c(bb_crc32c(0, "1234", 4), "56789", 5), 0xe3069283u);
    cr_assert_eq(bb_hash64(BB_SLICE_EMPTY, 0), 0xEF46DB3751D8E999ull);
    cr_assert_eq(bb_hash64(bb_slice_str("abc"), 0), 0x44BC2CF5AD770999ull);
    bb_sha256(bb_slice_str("abc"), digest);
    hex(&text, bb_slice(digest, 32));
    cr_assert_str_eq((char *)text.data,
                     "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    bb_sha256(bb_slice_str("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"), digest);
    hex(&text, bb_slice(digest, 32));
    cr_assert_str_eq((char *)text.data,
                     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    bb_hmac_sha256(bb_slice_str("Jefe"), bb_slice_str("what do ya want for nothing?"), digest);
    hex(&text, bb_slice(digest, 32));
    cr_assert_str_eq((char *)text.data,
                     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    bb_buf_fini(&text);
}

/* The digest of the digests of all lengths; Node.js's crypto says the same. */
Test(base, sha256_is_right_at_every_length_and_however_it_is_cut)
{
    uint8_t data[1000], digest[32], cut[32];
    struct bb_sha256 all, parts;
    struct bb_buf text = { 0 };

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7);
    bb_sha256_init(&all);
    for (size_t size = 0; size < sizeof data; size++) {
        bb_sha256(bb_slice(data, size), digest);
        bb_sha256_init(&parts);
        bb_sha256_update(&parts, data, size / 3);
        bb_sha256_update(&parts, data + size / 3, size - size / 3);
        bb_sha256_final(&parts, cut);
        cr_assert_arr_eq(digest, cut, sizeof digest, "%zu bytes", size);
        bb_sha256_update(&all, digest, sizeof digest);
    }
    bb_sha256_final(&all, digest);
    hex(&text, bb_slice(digest, 32));
    cr_assert_str_eq((char *)text.data,
                     "5d627ea013b4f60bb79c057eaf24163dc21c429a226ba2c34b2895355337400c");
    bb_buf_fini(&text);
}

Test(base, base64_and_hex_round_trip_and_refuse_junk)
{
    struct bb_ctx ctx = { 0 };
    struct bb_buf text = { 0 };
    struct bb_buf back = { 0 };
    uint8_t bytes[70];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37);
    for (size_t size = 0; size < sizeof bytes; size++) {
        bb_buf_clear(&text);
        bb_buf_clear(&back);
        bb_base64_append(&text, bb_slice(bytes, size));
        cr_assert_eq(bb_base64_decode(&ctx, bb_buf_slice(&text), &back), BB_OK);
        cr_assert(bb_slice_equal(bb_buf_slice(&back), bb_slice(bytes, size)), "size %zu", size);
        bb_buf_clear(&text);
        bb_buf_clear(&back);
        bb_hex_append(&text, bb_slice(bytes, size));
        cr_assert_eq(bb_hex_decode(&ctx, bb_buf_slice(&text), &back), BB_OK);
        cr_assert(bb_slice_equal(bb_buf_slice(&back), bb_slice(bytes, size)));
    }
    static const char *const bad[] = { "A",     "AA",   "AAA",  "AA=A", "A===",
                                       "AA\nA", "AB==", "AAB=", "====" };
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++)
        cr_assert_eq(bb_base64_decode(&ctx, bb_slice_str(bad[i]), &back), BB_BAD_REQUEST, "%s",
                     bad[i]);
    cr_assert_eq(bb_hex_decode(&ctx, bb_slice_str("0g"), &back), BB_BAD_REQUEST);
    cr_assert_eq(bb_hex_decode(&ctx, bb_slice_str("0"), &back), BB_BAD_REQUEST);
    bb_buf_fini(&text);
    bb_buf_fini(&back);
}

Test(base, utf8_is_checked_strictly)
{
    static const char *const good[] = { "", "a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80" };
    static const char *const bad[] = { "\x80",     "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                       "\xe2\x82", "\xff" };

    for (size_t i = 0; i < BB_COUNT_OF(good); i++)
        cr_assert(bb_utf8_is_valid(bb_slice_str(good[i])), "%zu", i);
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++)
        cr_assert_not(bb_utf8_is_valid(bb_slice_str(bad[i])), "%zu", i);
    /* At each place of texts of all lengths. */
    for (size_t size = 1; size < 40; size++) {
        for (size_t at = 0; at < size; at++) {
            uint8_t text[48];
            memset(text, 'x', sizeof text);
            text[at] = 0x80;
            cr_assert_not(bb_utf8_is_valid(bb_slice(text, size)), "%zu of %zu", at, size);
            text[at] = 0xc3;
            cr_assert_not(bb_utf8_is_valid(bb_slice(text, size)), "%zu of %zu", at, size);
            text[at + 1] = 0xa9;
            cr_assert(bb_utf8_is_valid(bb_slice(text, size < at + 2 ? at + 2 : size)));
        }
    }
}

Test(base, arena_keeps_its_limit_and_reuses_memory_after_reset)
{
    struct bb_arena *arena = bb_arena_new(100000);

    for (int round = 0; round < 3; round++) {
        size_t got = 0;
        while (bb_arena_alloc(arena, 1000) != NULL)
            got++;
        cr_assert_eq(got, 99, "round %d: %zu", round, got);
        bb_arena_reset(arena);
    }
    char *text = bb_arena_printf(arena, "%d and %s", 7, "eight");
    cr_assert_str_eq(text, "7 and eight");
    cr_assert_eq((uintptr_t)bb_arena_alloc(arena, 3) % 16, 0);
    bb_arena_free(arena);
}

Test(base, fail_may_quote_the_error_before)
{
    struct bb_ctx ctx = { 0 };

    cr_assert_eq(bb_fail(&ctx, BB_IO, "inner %d", 1), BB_IO);
    cr_assert_eq(bb_fail(&ctx, BB_CORRUPT, "outer: %s", ctx.error), BB_CORRUPT);
    cr_assert_str_eq(ctx.error, "outer: inner 1");
    cr_assert_eq(ctx.status, BB_CORRUPT);
}

Test(base, lists_keep_order_and_may_lose_items_while_walked)
{
    struct bb_list head;
    struct bb_list items[5];
    size_t seen = 0;

    bb_list_init(&head);
    for (size_t i = 0; i < 5; i++)
        bb_list_push_back(&head, &items[i]);
    bb_list_each_safe(item, &head) {
        cr_assert_eq(item, &items[seen]);
        bb_list_remove(item);
        seen++;
    }
    cr_assert_eq(seen, 5);
    cr_assert(bb_list_is_empty(&head));
}

Test(base, fields_of_a_message_are_found_where_they_lie)
{
    /* 1: varint 300, 2: "abc", 3: fixed32, 4: fixed64, 5: varint 0 in two bytes */
    static const uint8_t bytes[] = { 0x08, 0xac, 0x02, 0x12, 3,    'a',  'b', 'c', 0x1d,
                                     1,    2,    3,    4,    0x21, 1,    2,   3,   4,
                                     5,    6,    7,    8,    0x28, 0x80, 0 };
    struct bb_slice rest = bb_slice(bytes, sizeof(bytes));
    struct bb_field field;

    cr_assert(bb_field_next(&rest, &field));
    cr_assert(field.number == 1 && field.is_varint && field.value == 300);
    cr_assert(bb_field_next(&rest, &field));
    cr_assert(field.number == 2 && field.is_bytes && bb_slice_equal_str(field.bytes, "abc"));
    cr_assert_eq(field.bytes.data, bytes + 5);
    for (uint64_t number = 3; number <= 5; number++) {
        cr_assert(bb_field_next(&rest, &field));
        cr_assert_eq(field.number, number);
    }
    cr_assert_not(bb_field_next(&rest, &field));
    cr_assert_eq(rest.size, 0);
    for (size_t size = 1; size < sizeof(bytes); size++) {
        rest = bb_slice(bytes, size);
        while (bb_field_next(&rest, &field)) {}
        bool is_whole = size == 3 || size == 8 || size == 13 || size == 22;
        cr_assert_eq(rest.size == 0, is_whole, "of %zu bytes", size);
    }
    rest = bb_slice("\x0b", 1);
    cr_assert_not(bb_field_next(&rest, &field), "groups are not known");
    rest = bb_slice("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11);
    cr_assert_not(bb_field_next(&rest, &field), "longer than what is there");
}

static void set_flag(void *arg)
{
    *(int *)arg = 7;
}

Test(base, threads_start_and_join_and_conditions_time_out)
{
    int flag = 0;
    struct bb_mutex *mutex = bb_mutex_new();
    struct bb_cond *cond = bb_cond_new();

    bb_thread_join(bb_thread_start("test", set_flag, &flag));
    cr_assert_eq(flag, 7);
    bb_mutex_lock(mutex);
    cr_assert_not(bb_cond_wait_ms(cond, mutex, 5));
    bb_mutex_unlock(mutex);
    bb_cond_free(cond);
    bb_mutex_free(mutex);
}

Test(base, assert_stops_the_process, .signal = SIGABRT)
{
    bb_assert(1 + 1 == 3);
}

Test(base, lists_have_their_items_in_order_and_no_empty_ones)
{
    struct bb_slice list = bb_slice_str(",one,,two,three,");
    struct bb_slice item;

    cr_assert(bb_slice_next_item(&list, &item) && bb_slice_equal_str(item, "one"));
    cr_assert(bb_slice_next_item(&list, &item) && bb_slice_equal_str(item, "two"));
    cr_assert(bb_slice_next_item(&list, &item) && bb_slice_equal_str(item, "three"));
    cr_assert_not(bb_slice_next_item(&list, &item));
    cr_assert_not(bb_slice_next_item(&list, &item), "and again");
    list = bb_slice_str(",,");
    cr_assert_not(bb_slice_next_item(&list, &item));
    list = BB_SLICE_EMPTY;
    cr_assert_not(bb_slice_next_item(&list, &item));
}
