/*
 * Keys of any length in the order of memcmp: against a sorted array that never heard of LMDB. Most
 * keys are made to agree in their first 448 to 460 bytes, so that groups, their edges and their
 * neighbours all occur.
 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "bb/kv.h"

#include "folder.h"

enum {
    KEYS_MAX = 600
};

struct pair {
    uint8_t key[1200];
    size_t size;
    uint64_t value;
};
struct model {
    struct pair pairs[KEYS_MAX];
    size_t count;
};

static uint64_t random_state;
static uint64_t random_below(uint64_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % limit;
}

static struct bb_slice key_of(const struct pair *pair)
{
    return bb_slice(pair->key, pair->size);
}

static void random_key(struct pair *pair)
{
    static const size_t sizes[] = { 1, 5, 449, 450, 451, 452, 460, 466, 467, 468, 480, 700, 1100 };
    pair->size = sizes[random_below(BB_COUNT_OF(sizes))];
    memset(pair->key, 'a', pair->size);
    pair->key[0] = (uint8_t)('a' + random_below(3));
    if (pair->size > 440) {
        pair->key[440] = (uint8_t)('a' + random_below(2));
        static const uint8_t marks[] = { 0x00, 0x01, 'a', 0xfe, 0xff };
        for (size_t i = 449; i < pair->size && i < 454; i++) {
            if (random_below(2) == 0) {
                pair->key[i] = marks[random_below(BB_COUNT_OF(marks))];
            }
        }
        pair->key[pair->size - 1] = (uint8_t)(random_below(4) * 85);
    }
}

static size_t find(const struct model *model, struct bb_slice key)
{
    size_t at = 0;
    while (at < model->count && bb_slice_compare(key_of(&model->pairs[at]), key) < 0) {
        at++;
    }
    return at;
}

static bool stands_at(const struct model *model, size_t at, struct bb_slice key)
{
    return at < model->count && bb_slice_equal(key_of(&model->pairs[at]), key);
}

static void model_put(struct model *model, const struct pair *pair)
{
    size_t at = find(model, key_of(pair));
    if (!stands_at(model, at, key_of(pair))) {
        cr_assert_lt(model->count, KEYS_MAX);
        memmove(&model->pairs[at + 1], &model->pairs[at],
                (model->count - at) * sizeof(model->pairs[0]));
        model->count++;
    }
    model->pairs[at] = *pair;
}

static void model_delete(struct model *model, const struct pair *pair)
{
    size_t at = find(model, key_of(pair));
    if (stands_at(model, at, key_of(pair))) {
        model->count--;
        memmove(&model->pairs[at], &model->pairs[at + 1],
                (model->count - at) * sizeof(model->pairs[0]));
    }
}

static void change(struct bb_kv *kv, struct model *model)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv_batch *batch;
    cr_assert_eq(bb_kv_begin(&ctx, kv, &batch), BB_OK);
    for (int i = 0; i < 40; i++) {
        struct pair pair;
        random_key(&pair);
        uint8_t value[8];
        pair.value = random_state;
        bb_put_le64(value, pair.value);
        if (random_below(3) == 0 || model->count + 1 == KEYS_MAX) {
            cr_assert_eq(bb_kv_delete(&ctx, batch, key_of(&pair)), BB_OK);
            model_delete(model, &pair);
        } else {
            /* A value may be empty: an index entry's is. */
            size_t size = pair.value % 3 == 0 ? 0 : 8;
            cr_assert_eq(bb_kv_put(&ctx, batch, key_of(&pair), bb_slice(value, size)), BB_OK);
            model_put(model, &pair);
        }
    }
    cr_assert_eq(bb_kv_commit(&ctx, batch), BB_OK);
}

static bool value_is(struct bb_slice value, const struct pair *pair)
{
    return pair->value % 3 == 0 ? value.size == 0
                                : value.size == 8 && bb_get_le64(value.data) == pair->value;
}

static void compare_get(const struct bb_kv_read *read, const struct model *model)
{
    struct bb_ctx ctx = { 0 };
    struct pair wanted;
    struct bb_slice value;
    random_key(&wanted);
    size_t at = find(model, key_of(&wanted));
    int rc = bb_kv_get(&ctx, read, key_of(&wanted), &value);
    cr_assert_eq(rc, stands_at(model, at, key_of(&wanted)) ? BB_OK : BB_NOT_FOUND);
    cr_assert(rc != BB_OK || value_is(value, &model->pairs[at]));
}

/* The cursor stands where the model stands, or both stand nowhere. */
static bool same_place(int rc, const struct bb_kv_cursor *cursor, const struct model *model,
                       size_t at)
{
    if (at >= model->count) { /* also when it went below zero */
        return rc == BB_NOT_FOUND;
    }
    return rc == BB_OK && bb_slice_equal(bb_kv_cursor_key(cursor), key_of(&model->pairs[at])) &&
           value_is(bb_kv_cursor_value(cursor), &model->pairs[at]);
}

static void compare_walk(struct bb_kv_cursor *cursor, const struct model *model, uint64_t seed)
{
    struct bb_ctx ctx = { 0 };
    struct pair start;
    random_key(&start);
    size_t at = find(model, key_of(&start));
    int rc;
    if (random_below(2) == 0) {
        rc = bb_kv_seek(&ctx, cursor, key_of(&start));
    } else {
        rc = bb_kv_seek_before(&ctx, cursor, key_of(&start));
        at--;
    }
    for (int i = 0; i < 30; i++) {
        cr_assert(same_place(rc, cursor, model, at), "seed %" PRIu64 ", step %d", seed, i);
        if (rc != BB_OK) {
            cr_assert_eq(bb_kv_next(&ctx, cursor), BB_NOT_FOUND);
            cr_assert_eq(bb_kv_prev(&ctx, cursor), BB_NOT_FOUND);
            return;
        }
        if (random_below(8) < 5) {
            rc = bb_kv_next(&ctx, cursor);
            at++;
        } else {
            rc = bb_kv_prev(&ctx, cursor);
            at--;
        }
    }
}

static void compare_whole(struct bb_kv_cursor *cursor, const struct model *model, uint64_t seed)
{
    struct bb_ctx ctx = { 0 };
    size_t at = 0;
    int rc = bb_kv_seek(&ctx, cursor, BB_SLICE_EMPTY);
    for (; rc == BB_OK; rc = bb_kv_next(&ctx, cursor)) {
        cr_assert(same_place(rc, cursor, model, at), "seed %" PRIu64 ", entry %zu", seed, at);
        at++;
    }
    cr_assert_eq(at, model->count);
    uint8_t end = 0xff;
    rc = bb_kv_seek_before(&ctx, cursor, bb_slice(&end, 1));
    for (; rc == BB_OK; rc = bb_kv_prev(&ctx, cursor)) {
        at--;
        cr_assert(same_place(rc, cursor, model, at), "seed %" PRIu64 ", entry %zu", seed, at);
    }
    cr_assert_eq(at, 0);
}

Test(kv, keys_of_all_lengths_stay_in_the_order_of_their_bytes)
{
    struct model *model = bb_alloc(sizeof(*model));
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct bb_ctx ctx = { 0 };
        struct folder folder;
        struct bb_kv *kv = NULL;
        struct bb_kv_cursor *cursor;
        struct bb_kv_read *read;
        random_state = seed * 0x9e3779b97f4a7c15u;
        model->count = 0;
        folder_make(&folder, NULL);
        struct bb_kv_options options = { .dir = folder.path,
                                         .map_bytes = 1u << 30,
                                         .is_volatile = true };
        cr_assert_eq(bb_kv_open(&ctx, &options, &kv), BB_OK);
        for (int round = 0; round < 30; round++) {
            change(kv, model);
            cr_assert_eq(bb_kv_read_open(&ctx, kv, &read), BB_OK);
            cr_assert_eq(bb_kv_cursor_open(&ctx, read, &cursor), BB_OK);
            for (int i = 0; i < 40; i++) {
                compare_get(read, model);
                compare_walk(cursor, model, seed);
            }
            compare_whole(cursor, model, seed);
            bb_kv_cursor_close(cursor);
            bb_kv_read_close(read);
        }
        bb_kv_close(kv);
        folder_remove(&folder);
    }
    bb_free(model);
}

Test(kv, a_long_key_never_answers_for_another_with_the_same_beginning)
{
    struct bb_ctx ctx = { 0 };
    struct folder folder;
    folder_make(&folder, NULL);
    struct bb_kv *kv = NULL;
    struct bb_kv_options options = { .dir = folder.path, .map_bytes = 1u << 30 };
    struct bb_kv_batch *batch;
    struct bb_kv_read *read;
    struct bb_slice value;
    uint8_t a[2000], b[2000];
    memset(a, 'k', sizeof(a));
    memset(b, 'k', sizeof(b));
    b[1999] = 'l';
    cr_assert_eq(bb_kv_open(&ctx, &options, &kv), BB_OK);
    cr_assert_eq(bb_kv_begin(&ctx, kv, &batch), BB_OK);
    cr_assert_eq(bb_kv_put(&ctx, batch, bb_slice(a, 2000), bb_slice_str("a")), BB_OK);
    cr_assert_eq(bb_kv_commit(&ctx, batch), BB_OK);
    cr_assert_eq(bb_kv_read_open(&ctx, kv, &read), BB_OK);
    cr_assert_eq(bb_kv_get(&ctx, read, bb_slice(a, 2000), &value), BB_OK);
    cr_assert(bb_slice_equal_str(value, "a"));
    cr_assert_eq(bb_kv_get(&ctx, read, bb_slice(b, 2000), &value), BB_NOT_FOUND);
    cr_assert_eq(bb_kv_get(&ctx, read, bb_slice(a, 1999), &value), BB_NOT_FOUND);
    cr_assert_eq(bb_kv_get(&ctx, read, bb_slice(a, 450), &value), BB_NOT_FOUND);
    bb_kv_read_close(read);
    bb_kv_close(kv);
    folder_remove(&folder);
}
