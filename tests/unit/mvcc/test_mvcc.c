/* The promises of bb/mvcc.h, one by one, and then all at once against a naive model. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#include "model.h"

#define KEY(text) bb_slice_str(text)

static void put(struct bb_mvcc *map, const char *key, const char *value, uint64_t tx)
{
    struct bb_ctx ctx = { 0 };
    cr_assert_eq(bb_mvcc_put(&ctx, map, KEY(key), KEY(value), BB_MVCC_PUT, BB_TX(tx)), BB_OK);
}

static bool value_is(const struct bb_mvcc *map, const char *key, uint64_t at, const char *value)
{
    struct bb_mvcc_version version;
    return bb_mvcc_get(map, KEY(key), BB_TX(at), &version) &&
           bb_slice_equal_str(version.value, value);
}

Test(mvcc, get_gives_the_newest_version_at_or_before)
{
    struct bb_mvcc *map = bb_mvcc_new(0);
    struct bb_mvcc_version version;
    put(map, "a", "one", 10);
    put(map, "a", "two", 20);
    cr_assert(!bb_mvcc_get(map, KEY("a"), BB_TX(9), &version));
    cr_assert(value_is(map, "a", 10, "one"));
    cr_assert(value_is(map, "a", 19, "one"));
    cr_assert(value_is(map, "a", 20, "two"));
    cr_assert(value_is(map, "a", UINT64_MAX, "two"));
    cr_assert(!bb_mvcc_get(map, KEY("b"), BB_TX_MAX, &version));
    cr_assert(!bb_mvcc_get(map, KEY(""), BB_TX_MAX, &version));
    cr_assert_eq(bb_mvcc_keys(map), 1);
    bb_mvcc_free(map);
}

Test(mvcc, a_second_write_of_one_transaction_replaces_the_first)
{
    struct bb_mvcc *map = bb_mvcc_new(0);
    put(map, "a", "one", 10);
    put(map, "a", "first", 20);
    size_t bytes = bb_mvcc_bytes(map);
    put(map, "a", "again", 20);
    cr_assert_eq(bb_mvcc_bytes(map), bytes);
    cr_assert(value_is(map, "a", 20, "again"));
    cr_assert(value_is(map, "a", 19, "one"));
    bb_mvcc_free(map);
}

Test(mvcc, a_replaced_version_stays_for_its_readers_in_a_growing_map)
{
    struct bb_mvcc *map = bb_mvcc_new_growing();
    struct bb_mvcc_version seen;
    put(map, "a", "one", 10);
    put(map, "a", "first", 20);
    cr_assert(bb_mvcc_get(map, KEY("a"), BB_TX(20), &seen));
    put(map, "a", "again", 20);
    cr_assert(bb_slice_equal_str(seen.value, "first"), "what a reader holds is still there");
    cr_assert(value_is(map, "a", 20, "again"));
    cr_assert(value_is(map, "a", 19, "one"));
    bb_mvcc_free(map);
}

Test(mvcc, a_growing_map_takes_little_more_than_what_is_in_it)
{
    struct bb_ctx ctx = { 0 };
    struct bb_mvcc *map = bb_mvcc_new_growing();
    static uint8_t value[400000];
    size_t content = 0;
    char key[16];
    cr_assert_eq(bb_mvcc_bytes(map), 0, "nothing is in it");
    for (size_t i = 0; i < 4000; i++) {
        size_t size = i % 1000 == 0 ? sizeof(value) - i : i % 300;
        memset(value, (int)(i & 0xff), size);
        (void)snprintf(key, sizeof(key), "key %zu", i * 7919 % 4000);
        cr_assert_eq(
            bb_mvcc_put(&ctx, map, KEY(key), bb_slice(value, size), BB_MVCC_PUT, BB_TX(i + 1)),
            BB_OK);
        content += size + 96;
    }
    cr_assert_lt(bb_mvcc_bytes(map), content + content / 4);
    cr_assert_gt(bb_mvcc_bytes(map), content - content / 4);
    for (size_t i = 0; i < 4000; i++) {
        struct bb_mvcc_version version;
        size_t size = i % 1000 == 0 ? sizeof(value) - i : i % 300;
        (void)snprintf(key, sizeof(key), "key %zu", i * 7919 % 4000);
        cr_assert(bb_mvcc_get(map, KEY(key), BB_TX(4000), &version));
        cr_assert_eq(version.value.size, size);
        cr_assert(size == 0 || (version.value.data[0] == (i & 0xff) &&
                                version.value.data[size - 1] == (i & 0xff)));
    }
    bb_mvcc_free(map);
}

Test(mvcc, nothing_leaves_a_growing_map, .signal = SIGABRT)
{
    struct bb_mvcc *map = bb_mvcc_new_growing();
    put(map, "a", "one", 10);
    bb_mvcc_prune(map, BB_TX(20), true);
}

Test(mvcc, a_write_with_an_older_tx_is_a_bug, .signal = SIGABRT)
{
    struct bb_mvcc *map = bb_mvcc_new(0);
    put(map, "a", "two", 20);
    put(map, "a", "one", 10);
}

Test(mvcc, a_removal_is_a_version_like_any_other)
{
    struct bb_ctx ctx = { 0 };
    struct bb_mvcc *map = bb_mvcc_new(0);
    struct bb_mvcc_version version;
    put(map, "a", "one", 10);
    bb_mvcc_put(&ctx, map, KEY("a"), BB_SLICE_EMPTY, BB_MVCC_REMOVE, BB_TX(20));
    cr_assert(bb_mvcc_get(map, KEY("a"), BB_TX(20), &version));
    cr_assert_eq(version.kind, BB_MVCC_REMOVE);
    cr_assert_eq(version.tx.us, 20);
    cr_assert_eq(version.value.size, 0);
    cr_assert(bb_mvcc_get(map, KEY("a"), BB_TX(15), &version));
    cr_assert_eq(version.kind, BB_MVCC_PUT);
    bb_mvcc_free(map);
}

Test(mvcc, a_full_map_refuses_and_stays_as_it_was)
{
    struct bb_ctx ctx = { 0 };
    struct bb_mvcc *map = bb_mvcc_new(400);
    char key[] = "key 0";
    int rc = BB_OK;
    size_t bytes = 0, keys = 0;
    while (rc == BB_OK) {
        bytes = bb_mvcc_bytes(map);
        keys = bb_mvcc_keys(map);
        rc = bb_mvcc_put(&ctx, map, KEY(key), KEY("value"), BB_MVCC_PUT, BB_TX(1));
        key[4]++;
    }
    cr_assert_eq(rc, BB_TOO_LARGE);
    cr_assert(strlen(ctx.error) > 0);
    cr_assert_gt(keys, 1);
    cr_assert_eq(bb_mvcc_bytes(map), bytes);
    cr_assert_eq(bb_mvcc_keys(map), keys);
    cr_assert_eq(bb_mvcc_put_older(&ctx, map, KEY("zzz"), KEY("value"), BB_MVCC_PUT, BB_TX(1)),
                 BB_TOO_LARGE);
    /* A replacement of the same size needs no room. */
    cr_assert_eq(bb_mvcc_put(&ctx, map, KEY("key 0"), KEY("eulav"), BB_MVCC_PUT, BB_TX(1)), BB_OK);
    cr_assert(value_is(map, "key 0", 1, "eulav"));
    bb_mvcc_free(map);
}

Test(mvcc, a_cache_fill_goes_below_what_is_there)
{
    struct bb_ctx ctx = { 0 };
    struct bb_mvcc *map = bb_mvcc_new(0);
    put(map, "a", "twenty", 20);
    bb_mvcc_put_older(&ctx, map, KEY("a"), KEY("ten"), BB_MVCC_PUT, BB_TX(10));
    cr_assert(value_is(map, "a", 10, "ten"));
    cr_assert(value_is(map, "a", 20, "twenty"));
    bb_mvcc_put_older(&ctx, map, KEY("a"), KEY("late"), BB_MVCC_PUT, BB_TX(15));
    cr_assert(value_is(map, "a", 15, "ten"), "a version <= 15 was there");
    bb_mvcc_put_older(&ctx, map, KEY("b"), KEY("new"), BB_MVCC_PUT, BB_TX(15));
    cr_assert(value_is(map, "b", 15, "new"));
    bb_mvcc_free(map);
}

Test(mvcc, a_cursor_skips_keys_that_have_no_version_yet)
{
    struct bb_mvcc *map = bb_mvcc_new(0);
    put(map, "a", "1", 10);
    put(map, "b", "2", 30);
    put(map, "c", "3", 10);
    struct bb_mvcc_cursor cursor;
    bb_mvcc_cursor_init(&cursor, map, BB_TX(20));
    cr_assert(bb_mvcc_seek(&cursor, KEY("")));
    cr_assert(bb_slice_equal_str(cursor.version.key, "a"));
    cr_assert(bb_mvcc_next(&cursor));
    cr_assert(bb_slice_equal_str(cursor.version.key, "c"));
    cr_assert(!bb_mvcc_next(&cursor));
    cr_assert(!bb_mvcc_next(&cursor), "it stays at the end");
    cr_assert(bb_mvcc_seek_before(&cursor, KEY("zz")));
    cr_assert(bb_slice_equal_str(cursor.version.key, "c"));
    cr_assert(bb_mvcc_prev(&cursor));
    cr_assert(bb_slice_equal_str(cursor.version.key, "a"));
    cr_assert(!bb_mvcc_prev(&cursor));
    cr_assert(!bb_mvcc_seek_before(&cursor, KEY("a")));
    bb_mvcc_free(map);
}

Test(mvcc, a_prefix_sorts_before_what_it_begins)
{
    struct bb_mvcc *map = bb_mvcc_new(0);
    put(map, "ab", "2", 1);
    put(map, "a", "1", 1);
    put(map, "abc", "3", 1);
    struct bb_mvcc_cursor cursor;
    bb_mvcc_cursor_init(&cursor, map, BB_TX_MAX);
    cr_assert(bb_mvcc_seek(&cursor, KEY("a")) && cursor.version.value.data[0] == '1');
    cr_assert(bb_mvcc_next(&cursor) && cursor.version.value.data[0] == '2');
    cr_assert(bb_mvcc_next(&cursor) && cursor.version.value.data[0] == '3');
    bb_mvcc_free(map);
}

Test(mvcc, prune_gives_the_memory_back)
{
    struct bb_ctx ctx = { 0 };
    struct bb_mvcc *map = bb_mvcc_new(0);
    for (uint64_t tx = 1; tx <= 1000; tx++) {
        uint64_t key = tx % 10;
        bb_mvcc_put(&ctx, map, bb_slice(&key, sizeof(key)), bb_slice(&tx, sizeof(tx)), BB_MVCC_PUT,
                    BB_TX(tx));
    }
    size_t full = bb_mvcc_bytes(map);
    bb_mvcc_prune(map, BB_TX(1000), true);
    cr_assert_lt(bb_mvcc_bytes(map), full / 10);
    cr_assert_eq(bb_mvcc_keys(map), 10);
    bb_mvcc_prune(map, BB_TX(1000), false);
    cr_assert_eq(bb_mvcc_keys(map), 0);
    cr_assert_eq(bb_mvcc_bytes(map), 0);
    bb_mvcc_free(map);
}

/* Of this test's own process, however busy the machine is: what is quadratic takes many times as
 * much, and is ended. */
static void may_compute_for(rlim_t seconds)
{
    struct rlimit limit = { .rlim_cur = seconds, .rlim_max = seconds };
    cr_assert_eq(setrlimit(RLIMIT_CPU, &limit), 0);
}

Test(mvcc, what_goes_of_a_hot_key_costs_what_it_is_and_not_what_stays)
{
    may_compute_for(30);
    struct bb_ctx ctx = { 0 };
    struct bb_mvcc *map = bb_mvcc_new(0);
    struct bb_mvcc_version version;
    const uint64_t count = 300000;
    bb_mvcc_index_keys(map);
    for (uint64_t tx = 1; tx <= count; tx++) {
        bb_mvcc_put(&ctx, map, KEY("hot"), bb_slice(&tx, sizeof(tx)), BB_MVCC_PUT, BB_TX(tx));
    }
    for (uint64_t tx = 1; tx <= count; tx++) {
        if (tx % 2 == 0) {
            bb_mvcc_settle_key(map, KEY("hot"), BB_TX(tx));
        } else {
            bb_mvcc_drop_key(map, KEY("hot"), BB_TX(tx));
        }
    }
    cr_assert(bb_mvcc_get(map, KEY("hot"), BB_TX(count), &version), "the newest stays");
    cr_assert_eq(version.tx.us, count);
    cr_assert_not(bb_mvcc_get(map, KEY("hot"), BB_TX(count - 1), &version));
    bb_mvcc_drop_key(map, KEY("hot"), BB_TX(count));
    cr_assert_eq(bb_mvcc_keys(map), 0);
    cr_assert_eq(bb_mvcc_bytes(map), 0);
    bb_mvcc_free(map);
}

/* ---- everything at once, against the model ---- */

static uint64_t random_state;
static uint64_t random_below(uint64_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % limit;
}

static struct bb_slice random_key(uint8_t key[12])
{
    size_t size = random_below(4);
    for (size_t i = 0; i < size; i++) {
        key[i] = (uint8_t)(random_below(5) * 63);
    }
    return bb_slice(key, size);
}

static bool same(const struct bb_mvcc_version *real, const struct model_version *model)
{
    return bb_slice_equal(real->key, bb_slice(model->key, model->key_size)) &&
           real->tx.us == model->tx && real->kind == model->kind && real->value.size == 8 &&
           bb_get_le64(real->value.data) == model->value;
}

static void compare_get(const struct bb_mvcc *map, const struct model *model, uint64_t at,
                        uint64_t seed)
{
    uint8_t key[12];
    struct bb_slice wanted = random_key(key);
    struct bb_mvcc_version version;
    bool found = bb_mvcc_get(map, wanted, BB_TX(at), &version);
    const struct model_version *expected = model_get(model, wanted, at);
    cr_assert_eq(found, expected != NULL, "seed %" PRIu64, seed);
    cr_assert(!found || same(&version, expected), "seed %" PRIu64, seed);
    cr_assert(!found || version.newest.us == model_get(model, wanted, UINT64_MAX)->tx,
              "seed %" PRIu64, seed);
}

static void compare_scan(const struct bb_mvcc *map, const struct model *model, uint64_t at,
                         uint64_t seed)
{
    uint8_t key[12];
    struct bb_slice start = random_key(key);
    bool backward = random_below(2) == 1;
    struct bb_mvcc_cursor cursor;
    bb_mvcc_cursor_init(&cursor, map, BB_TX(at));
    bool found = backward ? bb_mvcc_seek_before(&cursor, start) : bb_mvcc_seek(&cursor, start);
    const struct model_version *expected = model_seek(model, start, !backward, backward, at);
    for (int steps = 0; steps < 12; steps++) {
        cr_assert_eq(found, expected != NULL, "seed %" PRIu64, seed);
        if (!found) {
            return;
        }
        cr_assert(same(&cursor.version, expected), "seed %" PRIu64, seed);
        expected =
            model_seek(model, bb_slice(expected->key, expected->key_size), false, backward, at);
        found = backward ? bb_mvcc_prev(&cursor) : bb_mvcc_next(&cursor);
    }
}

static void change(struct bb_mvcc *map, bool is_indexed, struct model *model, uint64_t *tx)
{
    struct bb_ctx ctx = { 0 };
    uint8_t key[12], other[12], value[8];
    struct bb_slice wanted = random_key(key);
    enum bb_mvcc_kind kind = BB_MVCC_PUT + (enum bb_mvcc_kind)random_below(3);
    uint64_t what = random_below(100);
    if (what < 80) {
        *tx += random_below(3);
        bb_put_le64(value, random_state);
        bb_mvcc_put(&ctx, map, wanted, bb_slice(value, 8), kind, BB_TX(*tx));
        model_put(model, wanted, *tx, kind, bb_get_le64(value));
    } else if (what < 92) {
        uint64_t older = random_below(*tx) + 1;
        bb_put_le64(value, random_state);
        bb_mvcc_put_older(&ctx, map, wanted, bb_slice(value, 8), kind, BB_TX(older));
        model_put_older(model, wanted, older, kind, bb_get_le64(value));
    } else if (what < 94) {
        uint64_t newest = *tx - random_below(5);
        bb_mvcc_drop_after(map, BB_TX(newest));
        model_drop_after(model, newest);
    } else if (what < 96) {
        uint64_t oldest = *tx - random_below(*tx < 20 ? *tx : 20);
        bool keep_last = random_below(2) == 1;
        bb_mvcc_prune(map, BB_TX(oldest), keep_last);
        model_prune(model, oldest, keep_last);
    } else if (what < 98) {
        struct bb_slice high = random_key(other);
        uint64_t upto = *tx - random_below(10);
        bb_mvcc_drop_range(map, wanted, high, BB_TX(upto), NULL, NULL);
        model_drop_range(model, wanted, high, upto);
    } else if (what < 99 && random_below(2) == 0) {
        uint64_t oldest = *tx - random_below(10);
        bb_mvcc_settle_key(map, wanted, BB_TX(oldest));
        model_settle_key(model, wanted, oldest);
    } else if (what < 99) {
        uint64_t newest = *tx - random_below(5);
        bb_mvcc_drop_key_after(map, wanted, BB_TX(newest));
        model_drop_key_after(model, wanted, newest);
    } else {
        uint64_t upto = *tx - random_below(10);
        uint8_t after[16] = { 0 };
        cr_assert_lt(wanted.size, sizeof(after));
        memcpy(after, wanted.data, wanted.size);
        bb_mvcc_drop_key(map, wanted, BB_TX(upto));
        model_drop_range(model, wanted, bb_slice(after, wanted.size + 1), upto);
    }
    if (is_indexed) {
        bb_mvcc_order(map, wanted);
    }
}

Test(mvcc, behaves_as_the_naive_model_under_random_use)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        random_state = seed * 0x9e3779b97f4a7c15u;
        struct bb_mvcc *map = bb_mvcc_new(0);
        if (seed % 2 == 0) {
            bb_mvcc_index_keys(map);
        }
        struct model model = { 0 };
        uint64_t tx = 10;
        for (int i = 0; i < 400; i++) {
            change(map, seed % 2 == 0, &model, &tx);
            uint64_t at = tx - random_below(tx < 30 ? tx : 30) + random_below(3);
            compare_get(map, &model, at, seed);
            compare_scan(map, &model, at, seed);
        }
        bb_mvcc_drop_after(map, BB_TX_NONE);
        cr_assert_eq(bb_mvcc_keys(map), 0);
        cr_assert_eq(bb_mvcc_bytes(map), 0, "seed %" PRIu64 ": all memory is accounted for", seed);
        bb_mvcc_free(map);
        model_free(&model);
    }
}

static uint64_t now_and_then(uint64_t i)
{
    return i * 2654435761u % 20000;
}

Test(mvcc, keys_are_found_by_their_hash_while_others_come_and_go)
{
    struct bb_ctx ctx = { 0 };
    struct bb_mvcc *map = bb_mvcc_new(0);
    uint8_t key[12] = { 1 }, after[13] = { 1 };
    static bool is_there[20000];
    struct bb_mvcc_version version;
    bb_mvcc_index_keys(map);
    for (uint64_t i = 1; i < 60000; i++) {
        uint64_t n = now_and_then(i);
        bb_put_be64(key + 4, n);
        memcpy(after, key, sizeof(key));
        cr_assert_eq(bb_mvcc_get(map, bb_slice(key, 12), BB_TX_MAX, &version), is_there[n]);
        /* It grows for a while, then shrinks to a few. */
        if (is_there[n] || (i > 30000 && n > 50)) {
            if (i % 2 == 0) {
                bb_mvcc_order(map, bb_slice(key, 12));
                bb_mvcc_drop_range(map, bb_slice(key, 12), bb_slice(after, 13), BB_TX(i), NULL,
                                   NULL);
            } else {
                bb_mvcc_drop_key(map, bb_slice(key, 12), BB_TX(i));
            }
            is_there[n] = false;
        } else {
            bb_mvcc_put(&ctx, map, bb_slice(key, 12), BB_SLICE_EMPTY, BB_MVCC_PUT, BB_TX(i));
            is_there[n] = true;
        }
    }
    size_t count = 0;
    for (uint64_t n = 0; n < BB_COUNT_OF(is_there); n++) {
        bb_put_be64(key + 4, n);
        cr_assert_eq(bb_mvcc_get(map, bb_slice(key, 12), BB_TX_MAX, &version), is_there[n]);
        count += is_there[n] ? 1 : 0;
    }
    cr_assert_eq(bb_mvcc_keys(map), count);
    bb_mvcc_free(map);
}

Test(mvcc, a_loose_key_has_no_place_until_it_is_put_in_order)
{
    struct bb_ctx ctx = { 0 };
    struct bb_mvcc *map = bb_mvcc_new(0);
    struct bb_mvcc_version version;
    struct bb_mvcc_cursor cursor;
    bb_mvcc_index_keys(map);
    bb_mvcc_put(&ctx, map, KEY("a"), KEY("1"), BB_MVCC_PUT, BB_TX(10));
    bb_mvcc_put(&ctx, map, KEY("b"), KEY("1"), BB_MVCC_PUT, BB_TX(10));
    bb_mvcc_put(&ctx, map, KEY("b"), KEY("2"), BB_MVCC_PUT, BB_TX(20));
    bb_mvcc_put(&ctx, map, KEY("c"), KEY("1"), BB_MVCC_PUT, BB_TX(30));
    bb_mvcc_order(map, KEY("c"));
    bb_mvcc_cursor_init(&cursor, map, BB_TX(30));
    cr_assert(bb_mvcc_seek(&cursor, BB_SLICE_EMPTY));
    cr_assert(bb_slice_equal(cursor.version.key, KEY("c")));
    bb_mvcc_drop_range(map, KEY("a"), KEY("z"), BB_TX(10), NULL, NULL);
    bb_mvcc_order(map, KEY("b"));
    bb_mvcc_order(map, KEY("b"));
    bb_mvcc_order(map, KEY("nowhere"));
    bb_mvcc_cursor_init(&cursor, map, BB_TX(15));
    cr_assert(bb_mvcc_seek(&cursor, BB_SLICE_EMPTY));
    cr_assert(bb_slice_equal(cursor.version.key, KEY("b")), "with all its versions");
    cr_assert(bb_slice_equal(cursor.version.value, KEY("1")));
    cr_assert_not(bb_mvcc_next(&cursor));
    cr_assert(bb_mvcc_get(map, KEY("a"), BB_TX(15), &version));
    bb_mvcc_drop_after(map, BB_TX(9));
    cr_assert_eq(bb_mvcc_keys(map), 0, "loose ones as well");
    cr_assert_eq(bb_mvcc_bytes(map), 0);
    bb_mvcc_put(&ctx, map, KEY("d"), KEY("1"), BB_MVCC_PUT, BB_TX(40));
    bb_mvcc_free(map); /* and none is leaked */
}

Test(mvcc, keeps_a_hundred_thousand_keys_in_order)
{
    struct bb_ctx ctx = { 0 };
    struct bb_mvcc *map = bb_mvcc_new(0);
    uint8_t key[8];
    for (uint64_t i = 0; i < 100000; i++) {
        bb_put_be64(key, i * 7919 % 100000);
        bb_mvcc_put(&ctx, map, bb_slice(key, 8), BB_SLICE_EMPTY, BB_MVCC_PUT, BB_TX(i + 1));
    }
    struct bb_mvcc_cursor cursor;
    bb_mvcc_cursor_init(&cursor, map, BB_TX_MAX);
    uint64_t count = 0;
    for (bool more = bb_mvcc_seek(&cursor, BB_SLICE_EMPTY); more; more = bb_mvcc_next(&cursor)) {
        cr_assert_eq(bb_get_be64(cursor.version.key.data), count);
        count++;
    }
    cr_assert_eq(count, 100000);
    memset(key, 0xff, 8);
    for (bool more = bb_mvcc_seek_before(&cursor, bb_slice(key, 8)); more;
         more = bb_mvcc_prev(&cursor)) {
        count--;
        cr_assert_eq(bb_get_be64(cursor.version.key.data), count);
    }
    cr_assert_eq(count, 0);
    bb_mvcc_free(map);
}
