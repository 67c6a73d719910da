/* JSON that is kept: what is found is what was kept there last, in bounded memory, and lives as
 * long as somebody sends it. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "memo.h"

static struct bb_http_buffer *bytes_of(uint64_t number, size_t size)
{
    struct bb_buf text = { 0 };
    struct bb_http_buffer *buffer;

    bb_buf_printf(&text, "%" PRIu64 ":", number);
    while (text.size < size)
        bb_buf_append_byte(&text, (uint8_t)('a' + number % 26));
    buffer = bb_http_buffer_new(bb_buf_slice(&text));
    bb_buf_fini(&text);
    return buffer;
}

static void keep(struct memo *memo, uint64_t hash, uint64_t number, enum bb_json_format format,
                 size_t size)
{
    struct memo_json json = { 7, number, format, bytes_of(number, size) };

    gateway_memo_keep(memo, hash, &json);
    bb_http_buffer_release(json.bytes);
}

/* The number of what lies there; 0: nothing. Its bytes are those of the number. */
static uint64_t number_at(struct memo *memo, uint64_t hash, enum bb_json_format format)
{
    struct memo_json json = gateway_memo_find(memo, hash, format);

    if (json.bytes == NULL)
        return 0;
    struct bb_http_buffer *wanted = bytes_of(json.number, json.bytes->size);
    cr_assert_eq(json.source, 7u);
    cr_assert_eq(json.format, format);
    cr_assert_eq(json.bytes->size, wanted->size);
    cr_assert_eq(memcmp(json.bytes->data, wanted->data, wanted->size), 0);
    bb_http_buffer_release(wanted);
    bb_http_buffer_release(json.bytes);
    return json.number;
}

Test(memo, what_was_kept_last_is_found_in_its_format)
{
    struct memo *memo = gateway_memo_new(1u << 20);

    cr_expect_eq(number_at(memo, 1, BB_JSON_CLEAN), 0u);
    keep(memo, 1, 10, BB_JSON_CLEAN, 100);
    keep(memo, 1, 11, BB_JSON_ENCODED, 100);
    cr_expect_eq(number_at(memo, 1, BB_JSON_CLEAN), 10u);
    cr_expect_eq(number_at(memo, 1, BB_JSON_ENCODED), 11u);
    keep(memo, 1, 12, BB_JSON_CLEAN, 5000);
    cr_expect_eq(number_at(memo, 1, BB_JSON_CLEAN), 12u);
    cr_expect_eq(number_at(memo, 1, BB_JSON_ENCODED), 11u);
    cr_expect_eq(gateway_memo_stats(memo).count, 2u);
    gateway_memo_free(memo);
}

Test(memo, what_was_not_asked_for_the_longest_goes_first)
{
    struct memo *memo = gateway_memo_new(10000);

    for (uint64_t i = 1; i <= 8; i++)
        keep(memo, i, i, BB_JSON_CLEAN, 1000);
    cr_assert_eq(gateway_memo_stats(memo).count, 8u);
    cr_expect_eq(number_at(memo, 1, BB_JSON_CLEAN), 1u);
    keep(memo, 9, 9, BB_JSON_CLEAN, 1500);
    cr_expect_eq(number_at(memo, 1, BB_JSON_CLEAN), 1u);
    cr_expect_eq(number_at(memo, 2, BB_JSON_CLEAN), 0u);
    cr_expect_leq(gateway_memo_stats(memo).bytes, 10000u);
    keep(memo, 10, 10, BB_JSON_CLEAN, 20000); /* it can never fit */
    cr_expect_eq(gateway_memo_stats(memo).count, 0u);
    cr_expect_eq(gateway_memo_stats(memo).bytes, 0u);
    gateway_memo_free(memo);
}

Test(memo, what_is_sent_outlives_its_place)
{
    struct memo *memo = gateway_memo_new(10000);

    keep(memo, 1, 1, BB_JSON_CLEAN, 3000);
    struct memo_json sent = gateway_memo_find(memo, 1, BB_JSON_CLEAN);
    keep(memo, 1, 2, BB_JSON_CLEAN, 3000); /* replaced */
    struct memo_json more = gateway_memo_find(memo, 1, BB_JSON_CLEAN);
    keep(memo, 2, 3, BB_JSON_CLEAN, 9000); /* no room */
    cr_expect_eq(number_at(memo, 1, BB_JSON_CLEAN), 0u);
    gateway_memo_free(memo);
    struct bb_http_buffer *wanted[] = { bytes_of(1, 3000), bytes_of(2, 3000) };
    cr_expect_eq(memcmp(sent.bytes->data, wanted[0]->data, 3000), 0);
    cr_expect_eq(memcmp(more.bytes->data, wanted[1]->data, 3000), 0);
    cr_expect_eq(sent.bytes->reference_count, 1u);
    cr_expect_eq(more.bytes->reference_count, 1u);
    bb_http_buffer_release(sent.bytes);
    bb_http_buffer_release(more.bytes);
    bb_http_buffer_release(wanted[0]);
    bb_http_buffer_release(wanted[1]);
}

Test(memo, random_queries_find_what_was_kept_or_nothing)
{
    struct memo *memo = gateway_memo_new(64u << 10);
    uint64_t last[64][2] = { { 0 } };
    uint64_t state = 42;
    size_t found = 0;

    for (uint64_t i = 1; i <= 20000; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t key = state >> 33 & 63;
        enum bb_json_format format = state >> 40 & 1 ? BB_JSON_CLEAN : BB_JSON_ENCODED;
        uint64_t there = number_at(memo, key << 56 | key, format);

        cr_assert(there == 0 || there == last[key][format]);
        found += there != 0;
        if (there == 0 || (state >> 50 & 3) == 0) {
            keep(memo, key << 56 | key, i, format, state >> 45 & 2047);
            last[key][format] = i;
        }
        cr_assert_leq(gateway_memo_stats(memo).bytes, 64u << 10);
    }
    cr_expect_gt(found, 1000u);
    gateway_memo_free(memo);
}
