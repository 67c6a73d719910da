/* Runs: what one batch puts into them comes back with its marks, in order, until they are emptied.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bb/kv.h"

#include "folder.h"

#define S(text) bb_slice_str(text)

enum {
    PUT = 1,
    REMOVE = 3
};

static struct bb_kv *open_kv(const struct folder *folder)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv *kv = NULL;
    struct bb_kv_options options = { .dir = folder->path, .map_bytes = 1u << 30 };
    cr_assert_eq(bb_kv_open(&ctx, &options, &kv), BB_OK, "%s", ctx.error);
    return kv;
}

static struct bb_kv_batch *begin(struct bb_kv *kv)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv_batch *batch = NULL;
    cr_assert_eq(bb_kv_begin(&ctx, kv, &batch), BB_OK, "%s", ctx.error);
    return batch;
}

static void commit(struct bb_kv_batch *batch)
{
    struct bb_ctx ctx = { 0 };
    cr_assert_eq(bb_kv_commit(&ctx, batch), BB_OK, "%s", ctx.error);
}

static void run_put(struct bb_kv_batch *batch, unsigned run, struct bb_slice key, uint8_t mark,
                    struct bb_slice value)
{
    struct bb_ctx ctx = { 0 };
    cr_assert_eq(bb_kv_run_put(&ctx, batch, run, key, mark, value), BB_OK, "%s", ctx.error);
}

static void run_clear(struct bb_kv_batch *batch, unsigned run)
{
    struct bb_ctx ctx = { 0 };
    cr_assert_eq(bb_kv_run_clear(&ctx, batch, run), BB_OK, "%s", ctx.error);
}

static struct bb_kv_read *open_read(struct bb_kv *kv)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv_read *read = NULL;
    cr_assert_eq(bb_kv_read_open(&ctx, kv, &read), BB_OK, "%s", ctx.error);
    return read;
}

static bool stored_is(struct bb_slice stored, uint8_t mark, struct bb_slice value)
{
    return stored.size == 1 + value.size && stored.data[0] == mark &&
           bb_slice_equal(bb_slice(stored.data + 1, value.size), value);
}

/* `mark` 0: the run has no such key. */
static bool run_has(const struct bb_kv_read *read, unsigned run, const char *key, uint8_t mark,
                    const char *value)
{
    struct bb_ctx ctx = { 0 };
    struct bb_slice stored;
    int rc = bb_kv_run_get(&ctx, read, run, S(key), &stored);
    return mark == 0 ? rc == BB_NOT_FOUND : rc == BB_OK && stored_is(stored, mark, S(value));
}

static size_t run_count(const struct bb_kv_read *read, unsigned run)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv_cursor *cursor;
    size_t count = 0;
    cr_assert_eq(bb_kv_run_cursor_open(&ctx, read, run, &cursor), BB_OK, "%s", ctx.error);
    int rc = bb_kv_seek(&ctx, cursor, BB_SLICE_EMPTY);
    for (; rc == BB_OK; rc = bb_kv_next(&ctx, cursor)) {
        count++;
    }
    cr_assert_eq(rc, BB_NOT_FOUND, "%s", ctx.error);
    bb_kv_cursor_close(cursor);
    return count;
}

/* Keys 0 .. count - 1, each with `size` bytes of `fill`. */
static void fill_run(struct bb_kv *kv, unsigned run, uint64_t count, size_t size, uint8_t fill)
{
    static uint8_t value[8000];
    uint8_t key[8];
    struct bb_kv_batch *batch = begin(kv);
    memset(value, fill, sizeof(value));
    for (uint64_t i = 0; i < count; i++) {
        bb_put_be64(key, i);
        run_put(batch, run, bb_slice(key, 8), PUT, bb_slice(value, size));
    }
    commit(batch);
}

static void clear_run(struct bb_kv *kv, unsigned run)
{
    struct bb_kv_batch *batch = begin(kv);
    run_clear(batch, run);
    commit(batch);
}

/* ---- what comes back ---- */

Test(kv_runs, each_run_gives_back_what_went_in_with_its_mark)
{
    struct folder folder;
    struct bb_ctx ctx = { 0 };
    struct bb_slice value;
    folder_make(&folder, NULL);
    struct bb_kv *kv = open_kv(&folder);
    struct bb_kv_batch *batch = begin(kv);
    run_put(batch, 0, S("a"), PUT, S("one"));
    run_put(batch, 0, S("b"), REMOVE, BB_SLICE_EMPTY);
    run_put(batch, 0, S("c"), PUT, BB_SLICE_EMPTY);
    cr_assert_eq(bb_kv_put(&ctx, batch, S("a"), S("data")), BB_OK);
    cr_assert_eq(bb_kv_put_meta(&ctx, batch, "runs", S("meta")), BB_OK);
    commit(batch);
    batch = begin(kv);
    run_put(batch, BB_KV_RUNS - 1, S("a"), 255, S("other"));
    commit(batch);
    struct bb_kv_read *read = open_read(kv);
    cr_assert(run_has(read, 0, "a", PUT, "one"));
    cr_assert(run_has(read, 0, "b", REMOVE, ""));
    cr_assert(run_has(read, 0, "c", PUT, ""));
    cr_assert(run_has(read, 0, "d", 0, NULL));
    cr_assert(run_has(read, 0, "", 0, NULL));
    cr_assert(run_has(read, 1, "a", 0, NULL));
    cr_assert(run_has(read, BB_KV_RUNS - 1, "a", 255, "other"));
    cr_assert_eq(bb_kv_get(&ctx, read, S("a"), &value), BB_OK);
    cr_assert(bb_slice_equal_str(value, "data"), "the data is apart from the runs");
    cr_assert_eq(bb_kv_get(&ctx, read, S("b"), &value), BB_NOT_FOUND);
    cr_assert_eq(run_count(read, 0), 3);
    cr_assert_eq(run_count(read, 1), 0);
    bb_kv_read_close(read);
    bb_kv_close(kv);
    folder_remove(&folder);
}

Test(kv_runs, empty_and_oversized_keys_are_refused)
{
    struct folder folder;
    struct bb_ctx ctx = { 0 };
    struct bb_slice stored;
    static uint8_t big[BB_KV_KEY_MAX + 1];
    folder_make(&folder, NULL);
    struct bb_kv *kv = open_kv(&folder);
    struct bb_kv_batch *batch = begin(kv);
    cr_assert_eq(bb_kv_run_put(&ctx, batch, 7, BB_SLICE_EMPTY, PUT, S("x")), BB_TOO_LARGE);
    cr_assert_eq(bb_kv_run_put(&ctx, batch, 7, bb_slice(big, sizeof(big)), PUT, S("x")),
                 BB_TOO_LARGE);
    run_put(batch, 7, bb_slice(big, BB_KV_KEY_MAX), PUT, S("x"));
    commit(batch);
    struct bb_kv_read *read = open_read(kv);
    cr_assert_eq(bb_kv_run_get(&ctx, read, 7, bb_slice(big, sizeof(big)), &stored), BB_NOT_FOUND);
    cr_assert_eq(bb_kv_run_get(&ctx, read, 7, bb_slice(big, BB_KV_KEY_MAX), &stored), BB_OK);
    cr_assert(stored_is(stored, PUT, S("x")));
    bb_kv_read_close(read);
    bb_kv_close(kv);
    folder_remove(&folder);
}

Test(kv_runs, a_batch_fills_one_run, .signal = SIGABRT)
{
    struct folder folder;
    folder_make(&folder, NULL);
    struct bb_kv_batch *batch = begin(open_kv(&folder));
    folder_remove(&folder); /* what is open stays */
    run_put(batch, 1, S("a"), PUT, S("x"));
    run_put(batch, 2, S("b"), PUT, S("x"));
}

Test(kv_runs, what_a_batch_fills_it_does_not_empty, .signal = SIGABRT)
{
    struct folder folder;
    folder_make(&folder, NULL);
    struct bb_kv_batch *batch = begin(open_kv(&folder));
    folder_remove(&folder);
    run_put(batch, 1, S("a"), PUT, S("x"));
    run_clear(batch, 1);
}

/* ---- keys of all lengths, values of all sizes: against a sorted array ---- */

enum {
    PAIRS_MAX = 700,
    LARGE = 100000
};
struct pair {
    uint8_t key[1200];
    size_t key_size, value_size;
    uint8_t mark;
};
static uint8_t large[LARGE]; /* each value is its beginning */
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
    return bb_slice(pair->key, pair->key_size);
}

/* Most keys agree in their first 449 or 450 bytes, so that groups, their edges and their neighbours
 * all occur. */
static void random_pair(struct pair *pair)
{
    static const size_t sizes[] = { 1, 5, 449, 450, 451, 452, 460, 466, 467, 468, 480, 700, 1100 };
    static const uint8_t marks[] = { 0x00, 0x01, 'a', 0xfe, 0xff };
    pair->key_size = sizes[random_below(BB_COUNT_OF(sizes))];
    memset(pair->key, 'a', pair->key_size);
    pair->key[0] = (uint8_t)('a' + random_below(3));
    for (size_t i = 449; i < pair->key_size && i < 454; i++) {
        if (random_below(2) == 0) {
            pair->key[i] = marks[random_below(BB_COUNT_OF(marks))];
        }
    }
    pair->key[pair->key_size - 1] =
        pair->key_size < 10 ? (uint8_t)random_below(256) : (uint8_t)(random_below(4) * 85);
    pair->mark = random_below(4) == 0 ? REMOVE : PUT;
    uint64_t size = random_below(40);
    pair->value_size = pair->mark == REMOVE || size < 10 ? 0 : size == 39 ? LARGE : size * 7;
}

static int compare_pairs(const void *a, const void *b)
{
    return bb_slice_compare(key_of(a), key_of(b));
}

static size_t make_pairs(struct pair *pairs)
{
    size_t count = 1;
    for (size_t i = 0; i < PAIRS_MAX; i++) {
        random_pair(&pairs[i]);
    }
    qsort(pairs, PAIRS_MAX, sizeof(pairs[0]), compare_pairs);
    for (size_t i = 1; i < PAIRS_MAX; i++) {
        if (compare_pairs(&pairs[count - 1], &pairs[i]) != 0) {
            pairs[count++] = pairs[i];
        }
    }
    return count;
}

static bool stands_at(const struct bb_kv_cursor *cursor, const struct pair *pair)
{
    return bb_slice_equal(bb_kv_cursor_key(cursor), key_of(pair)) &&
           stored_is(bb_kv_cursor_value(cursor), pair->mark, bb_slice(large, pair->value_size));
}

static void compare_run(const struct bb_kv_read *read, unsigned run, const struct pair *pairs,
                        size_t count)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv_cursor *cursor;
    struct bb_slice stored;
    uint8_t end = 0xff;
    cr_assert_eq(bb_kv_run_cursor_open(&ctx, read, run, &cursor), BB_OK, "%s", ctx.error);
    int rc = bb_kv_seek(&ctx, cursor, BB_SLICE_EMPTY);
    for (size_t i = 0; i < count; i++, rc = bb_kv_next(&ctx, cursor)) {
        cr_assert(rc == BB_OK && stands_at(cursor, &pairs[i]), "forward, entry %zu", i);
    }
    cr_assert_eq(rc, BB_NOT_FOUND);
    cr_assert_eq(bb_kv_prev(&ctx, cursor), BB_NOT_FOUND, "from nowhere");
    rc = bb_kv_seek_before(&ctx, cursor, bb_slice(&end, 1));
    for (size_t i = count; i-- > 0 && pairs[i].key[0] == 0xff;) {
        count--; /* behind where the walk begins */
    }
    for (size_t i = count; i-- > 0; rc = bb_kv_prev(&ctx, cursor)) {
        cr_assert(rc == BB_OK && stands_at(cursor, &pairs[i]), "backward, entry %zu", i);
    }
    cr_assert_eq(rc, BB_NOT_FOUND);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(bb_kv_run_get(&ctx, read, run, key_of(&pairs[i]), &stored), BB_OK, "%zu", i);
        cr_assert(stored_is(stored, pairs[i].mark, bb_slice(large, pairs[i].value_size)));
        cr_assert_eq(bb_kv_seek(&ctx, cursor, key_of(&pairs[i])), BB_OK);
        cr_assert(stands_at(cursor, &pairs[i]), "seek, entry %zu", i);
        rc = bb_kv_seek_before(&ctx, cursor, key_of(&pairs[i]));
        cr_assert(i == 0 ? rc == BB_NOT_FOUND : stands_at(cursor, &pairs[i - 1]),
                  "seek before, entry %zu", i);
    }
    bb_kv_cursor_close(cursor);
}

Test(kv_runs, keys_of_all_lengths_stay_in_the_order_of_their_bytes, .timeout = 60)
{
    struct pair *pairs = bb_alloc(PAIRS_MAX * sizeof(*pairs));
    struct folder folder;
    for (size_t i = 0; i < LARGE; i++) {
        large[i] = (uint8_t)(i * 7 + i / 256);
    }
    folder_make(&folder, NULL);
    struct bb_kv *kv = open_kv(&folder);
    for (unsigned seed = 1; seed <= 8; seed++) {
        random_state = seed * 0x9e3779b97f4a7c15u;
        size_t count = make_pairs(pairs);
        cr_assert_gt(count, 200);
        struct bb_kv_batch *batch = begin(kv);
        for (size_t i = 0; i < count; i++) {
            run_put(batch, seed, key_of(&pairs[i]), pairs[i].mark,
                    bb_slice(large, pairs[i].value_size));
        }
        commit(batch);
        struct bb_kv_read *read = open_read(kv);
        compare_run(read, seed, pairs, count);
        bb_kv_read_close(read);
    }
    bb_kv_close(kv);
    folder_remove(&folder);
    bb_free(pairs);
}

/* ---- commits ---- */

Test(kv_runs, an_aborted_batch_leaves_nothing_behind)
{
    struct folder folder;
    folder_make(&folder, NULL);
    struct bb_kv *kv = open_kv(&folder);
    fill_run(kv, 4, 100, 60, 'k');
    struct bb_kv_batch *batch = begin(kv);
    run_put(batch, 5, S("gone"), PUT, S("x"));
    run_clear(batch, 4);
    bb_kv_abort(batch);
    struct bb_kv_read *read = open_read(kv);
    cr_assert_eq(run_count(read, 4), 100);
    cr_assert_eq(run_count(read, 5), 0);
    bb_kv_read_close(read);
    batch = begin(kv);
    run_put(batch, 5, S("came"), PUT, S("x"));
    commit(batch);
    read = open_read(kv);
    cr_assert_eq(run_count(read, 5), 1);
    bb_kv_read_close(read);
    bb_kv_close(kv);
    folder_remove(&folder);
}

static void check_fill(const struct bb_kv_read *read, unsigned run, uint64_t count, uint8_t fill)
{
    struct bb_ctx ctx = { 0 };
    struct bb_slice stored;
    uint8_t key[8];
    for (uint64_t i = 0; i < count; i++) {
        bb_put_be64(key, i);
        cr_assert_eq(bb_kv_run_get(&ctx, read, run, bb_slice(key, 8), &stored), BB_OK);
        cr_assert(stored.size > 1 && stored.data[0] == PUT && stored.data[1] == fill &&
                  stored.data[stored.size - 1] == fill);
    }
    cr_assert_eq(run_count(read, run), count);
}

Test(kv_runs, a_read_keeps_the_runs_that_it_was_opened_at)
{
    struct folder folder;
    folder_make(&folder, NULL);
    struct bb_kv *kv = open_kv(&folder);
    struct bb_kv_read *empty = open_read(kv);
    fill_run(kv, 9, 1000, 200, 'a');
    struct bb_kv_read *first = open_read(kv);
    clear_run(kv, 9);
    struct bb_kv_read *cleared = open_read(kv);
    for (uint8_t fill = 'b'; fill < 'h'; fill++) { /* into pages that are free, and no others */
        fill_run(kv, 9, 1500, 200, fill);
        clear_run(kv, 9);
    }
    fill_run(kv, 9, 500, 200, 'z');
    struct bb_kv_read *last = open_read(kv);
    cr_assert_eq(run_count(empty, 9), 0);
    check_fill(first, 9, 1000, 'a');
    cr_assert_eq(run_count(cleared, 9), 0);
    check_fill(last, 9, 500, 'z');
    bb_kv_read_close(empty);
    bb_kv_read_close(first);
    bb_kv_read_close(cleared);
    bb_kv_read_close(last);
    bb_kv_close(kv);
    folder_remove(&folder);
}

static uint64_t used_bytes(struct bb_kv *kv)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv_stat stat;
    cr_assert_eq(bb_kv_stat(&ctx, kv, &stat), BB_OK);
    return stat.used_bytes;
}

/* What a run is for: its pages are filled to the end. */
Test(kv_runs, the_pages_of_a_run_are_full)
{
    enum {
        COUNT = 20000,
        ENTRY = 8 + 1 + 61 + 10 /* key, mark, value, LMDB's own */
    };
    struct folder folder;
    folder_make(&folder, NULL);
    struct bb_kv *kv = open_kv(&folder);
    uint64_t before = used_bytes(kv);
    fill_run(kv, 0, COUNT, 61, 'x');
    cr_assert_lt(used_bytes(kv) - before, COUNT * ENTRY * 11 / 10);
    bb_kv_close(kv);
    folder_remove(&folder);
}

/* Values beside their keys and values with pages of their own; a run is emptied alone, and by the
 * batch that fills the next one. */
Test(kv_runs, the_pages_of_an_emptied_run_are_used_again, .timeout = 60)
{
    static const size_t sizes[] = { 100, 8000 };
    for (size_t k = 0; k < BB_COUNT_OF(sizes); k++) {
        struct folder folder;
        uint64_t early = 0;
        folder_make(&folder, NULL);
        struct bb_kv *kv = open_kv(&folder);
        for (unsigned round = 0; round < 50; round++) {
            fill_run(kv, round % 3, 800000 / (sizes[k] + 20), sizes[k], 'x');
            clear_run(kv, round % 3);
            struct bb_kv_batch *batch = begin(kv);
            run_put(batch, 40 + round % 2, S("a"), PUT, S("x"));
            run_clear(batch, 41 - round % 2);
            commit(batch);
            early = round == 5 ? used_bytes(kv) : early;
        }
        struct bb_kv_read *read = open_read(kv);
        for (unsigned run = 0; run < 3; run++) {
            cr_assert_eq(run_count(read, run), 0);
        }
        cr_assert_eq(run_count(read, 40) + run_count(read, 41), 1);
        bb_kv_read_close(read);
        cr_assert_lt(early, 5000000, "values of %zu bytes", sizes[k]);
        cr_assert_leq(used_bytes(kv), early + 65536, "values of %zu bytes", sizes[k]);
        bb_kv_close(kv);
        folder_remove(&folder);
    }
}

/* ---- the file ---- */

static void check_all(struct bb_kv *kv)
{
    struct bb_kv_read *read = open_read(kv);
    check_fill(read, 3, 2000, 'r');
    check_fill(read, 63, 30, 'R');
    cr_assert(run_has(read, 8, "removed", REMOVE, ""));
    cr_assert_eq(run_count(read, 8), 1);
    cr_assert_eq(run_count(read, 5), 0, "it was emptied");
    cr_assert_eq(run_count(read, 6), 0);
    bb_kv_read_close(read);
}

static struct bb_kv *open_filled(const struct folder *folder)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv *kv = open_kv(folder);
    fill_run(kv, 5, 300, 500, 'g');
    fill_run(kv, 3, 2000, 100, 'r');
    fill_run(kv, 63, 30, 8000, 'R');
    struct bb_kv_batch *batch = begin(kv);
    run_put(batch, 8, S("removed"), REMOVE, BB_SLICE_EMPTY);
    run_clear(batch, 5);
    commit(batch);
    cr_assert_eq(bb_kv_sync(&ctx, kv), BB_OK);
    return kv;
}

Test(kv_runs, a_store_that_is_opened_again_has_them)
{
    struct folder folder;
    struct bb_ctx ctx = { 0 };
    struct bb_kv *kv = NULL;
    folder_make(&folder, NULL);
    bb_kv_close(open_filled(&folder));
    struct bb_kv_options options = { .dir = folder.path, .is_read_only = true };
    cr_assert_eq(bb_kv_open(&ctx, &options, &kv), BB_OK, "%s", ctx.error);
    check_all(kv);
    bb_kv_close(kv);
    kv = open_kv(&folder);
    check_all(kv);
    bb_kv_close(kv);
    folder_remove(&folder);
}

static void stream_into(struct bb_kv *kv, int fd)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv_stream *stream;
    static uint8_t chunk[100000];
    size_t done = sizeof(chunk);
    cr_assert_eq(bb_kv_stream_open(&ctx, kv, &stream), BB_OK, "%s", ctx.error);
    while (done == sizeof(chunk)) {
        cr_assert_eq(bb_kv_stream_read(&ctx, stream, chunk, sizeof(chunk), &done), BB_OK, "%s",
                     ctx.error);
        cr_assert_eq(write(fd, chunk, done), (ssize_t)done);
    }
    bb_kv_stream_close(stream);
}

Test(kv_runs, copies_and_streams_have_them)
{
    struct folder folder;
    struct bb_ctx ctx = { 0 };
    folder_make(&folder, NULL);
    struct bb_kv *kv = open_filled(&folder);
    for (int is_stream = 0; is_stream < 2; is_stream++) {
        struct folder target;
        char path[300];
        folder_make(&target, NULL);
        (void)snprintf(path, sizeof(path), "%s/data.mdb", target.path);
        int fd = open(path, O_CREAT | O_WRONLY, 0600);
        if (is_stream) {
            stream_into(kv, fd);
        } else {
            cr_assert_eq(bb_kv_copy(&ctx, kv, fd), BB_OK, "%s", ctx.error);
        }
        (void)close(fd);
        cr_assert_eq(bb_kv_verify(&ctx, target.path), BB_OK, "%s", ctx.error);
        struct bb_kv *copy = open_kv(&target);
        check_all(copy);
        clear_run(copy, 3);
        fill_run(copy, 3, 100, 50, 'n');
        struct bb_kv_read *read = open_read(copy);
        check_fill(read, 3, 100, 'n');
        bb_kv_read_close(read);
        bb_kv_close(copy);
        folder_remove(&target);
    }
    check_all(kv);
    bb_kv_close(kv);
    folder_remove(&folder);
}

Test(kv_runs, damage_in_a_run_is_told_by_its_place)
{
    struct folder folder;
    struct bb_ctx ctx = { 0 };
    char path[300], place[64];
    uint8_t page[4096], wanted[100];
    unsigned found = 0;
    folder_make(&folder, NULL);
    bb_kv_close(open_filled(&folder));
    cr_assert_eq(bb_kv_verify(&ctx, folder.path), BB_OK, "%s", ctx.error);
    (void)snprintf(path, sizeof(path), "%s/data.mdb", folder.path);
    int fd = open(path, O_RDWR);
    memset(wanted, 'r', sizeof(wanted)); /* a value of run 3, written once */
    for (off_t at = 8192; pread(fd, page, sizeof(page), at) == (ssize_t)sizeof(page); at += 4096) {
        size_t upper = page[14] | (size_t)page[15] << 8; /* entries are behind, rubbish before */
        if (upper > sizeof(page) ||
            memmem(page + upper, sizeof(page) - upper, wanted, sizeof(wanted)) == NULL) {
            continue;
        }
        uint8_t other = page[0] ^ 1;
        cr_assert_eq(pwrite(fd, &other, 1, at), 1);
        (void)snprintf(place, sizeof(place), "damaged at byte %lld ", (long long)at);
        cr_assert_eq(bb_kv_verify(&ctx, folder.path), BB_CORRUPT, "page at %lld", (long long)at);
        cr_assert(strstr(ctx.error, place) != NULL, "%s, not %s", ctx.error, place);
        cr_assert_eq(pwrite(fd, page, 1, at), 1);
        found++;
    }
    cr_assert_gt(found, 20);
    (void)close(fd);
    folder_remove(&folder);
}

/* ---- is a batch scattered? ---- */

static bool are_near(struct bb_kv_batch *batch, uint64_t low, uint64_t high)
{
    struct bb_ctx ctx = { 0 };
    uint8_t keys[16];
    bool are = false;
    bb_put_be64(keys, low);
    bb_put_be64(keys + 8, high);
    cr_assert_eq(bb_kv_are_near(&ctx, batch, bb_slice(keys, 8), bb_slice(keys + 8, 8), &are), BB_OK,
                 "%s", ctx.error);
    return are;
}

static uint64_t leaves_of(struct bb_kv_batch *batch)
{
    struct bb_ctx ctx = { 0 };
    uint64_t leaves = 0;
    cr_assert_eq(bb_kv_leaves(&ctx, batch, &leaves), BB_OK, "%s", ctx.error);
    return leaves;
}

Test(kv_runs, keys_of_one_page_are_near_and_scattered_ones_are_not)
{
    enum {
        COUNT = 20000
    };
    struct folder folder;
    struct bb_ctx ctx = { 0 };
    uint8_t key[8], value[60] = { 0 };
    uint64_t steps = 0;
    folder_make(&folder, NULL);
    struct bb_kv *kv = open_kv(&folder);
    struct bb_kv_batch *batch = begin(kv);
    cr_assert_eq(leaves_of(batch), 0);
    cr_assert(are_near(batch, 1, 1000000), "nothing is there yet");
    for (uint64_t i = 0; i < COUNT; i++) {
        bb_put_be64(key, 2 * i);
        cr_assert_eq(bb_kv_put(&ctx, batch, bb_slice(key, 8), bb_slice(value, sizeof(value))),
                     BB_OK);
    }
    commit(batch);
    fill_run(kv, 0, 1000, 100, 'x');
    batch = begin(kv);
    uint64_t leaves = leaves_of(batch);
    cr_assert(leaves > COUNT / 60 && leaves < COUNT / 20, "%" PRIu64 " pages", leaves);
    for (uint64_t i = 0; i + 1 < COUNT; i++) {
        steps += !are_near(batch, 2 * i, 2 * i + 2);
    }
    cr_assert_eq(steps, leaves - 1, "%" PRIu64 " steps, %" PRIu64 " pages", steps, leaves);
    for (uint64_t i = 0; i + 200 < COUNT; i += 77) {
        cr_assert(!are_near(batch, 2 * i + 1, 2 * i + 401), "new keys far from each other");
    }
    cr_assert(are_near(batch, 2 * COUNT, 4 * COUNT), "both behind all");
    cr_assert(!are_near(batch, 1, 4 * COUNT));
    /* Asking changes nothing about what is written then. */
    bb_put_be64(key, 4 * COUNT);
    cr_assert_eq(bb_kv_put(&ctx, batch, bb_slice(key, 8), S("new")), BB_OK);
    commit(batch);
    struct bb_kv_stat stat;
    cr_assert_eq(bb_kv_stat(&ctx, kv, &stat), BB_OK);
    cr_assert_eq(stat.entries, COUNT + 1);
    cr_assert_eq(bb_kv_sync(&ctx, kv), BB_OK);
    bb_kv_close(kv);
    cr_assert_eq(bb_kv_verify(&ctx, folder.path), BB_OK, "%s", ctx.error);
    folder_remove(&folder);
}
