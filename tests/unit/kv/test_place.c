/* Copies as streams, a store that takes another one's place, and looking without touching. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bb/kv.h"

#include "folder.h"

#define S(text) bb_slice_str(text)

static struct bb_kv *open_in(const char *dir)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv *kv = NULL;
    struct bb_kv_options options = { .dir = dir, .map_bytes = 1u << 30 };
    cr_assert_eq(bb_kv_open(&ctx, &options, &kv), BB_OK, "%s", ctx.error);
    return kv;
}

/* Keys first .. first + count - 1, each with 1 KB that tells its key and `mark`. */
static void fill(struct bb_kv *kv, uint64_t first, uint64_t count, uint8_t mark)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv_batch *batch;
    uint8_t key[8], value[1024];
    cr_assert_eq(bb_kv_begin(&ctx, kv, &batch), BB_OK);
    for (uint64_t i = first; i < first + count; i++) {
        bb_put_be64(key, i);
        memset(value, mark, sizeof(value));
        bb_put_be64(value, i);
        cr_assert_eq(bb_kv_put(&ctx, batch, bb_slice(key, 8), bb_slice(value, sizeof(value))),
                     BB_OK);
    }
    cr_assert_eq(bb_kv_commit(&ctx, batch), BB_OK, "%s", ctx.error);
}

static uint8_t mark_of(struct bb_kv *kv, uint64_t number)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv_read *read;
    struct bb_slice value;
    uint8_t key[8], mark = 0;
    bb_put_be64(key, number);
    cr_assert_eq(bb_kv_read_open(&ctx, kv, &read), BB_OK, "%s", ctx.error);
    if (bb_kv_get(&ctx, read, bb_slice(key, 8), &value) == BB_OK) {
        mark = value.data[value.size - 1];
    }
    bb_kv_read_close(read);
    return mark;
}

/* Streams into dir/data.mdb; between chunks `mark` is written over the first keys. */
static uint64_t stream_into(struct bb_kv *kv, const char *dir, uint8_t mark)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv_stream *stream;
    char path[300];
    static uint8_t chunk[100000];
    size_t done = sizeof(chunk);
    uint64_t total = 0;
    (void)snprintf(path, sizeof(path), "%s/data.mdb", dir);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    cr_assert_eq(bb_kv_stream_open(&ctx, kv, &stream), BB_OK, "%s", ctx.error);
    for (bool is_first = true; done == sizeof(chunk); is_first = false) {
        cr_assert_eq(bb_kv_stream_read(&ctx, stream, chunk, sizeof(chunk), &done), BB_OK, "%s",
                     ctx.error);
        cr_assert_eq(write(fd, chunk, done), (ssize_t)done);
        total += done;
        if (is_first) {
            fill(kv, 0, 10, mark);
        }
    }
    bb_kv_stream_close(stream);
    (void)close(fd);
    return total;
}

Test(kv_place, a_stream_is_one_whole_moment_and_leaves_out_what_is_free)
{
    struct folder folder, target;
    struct bb_kv_stat stat;
    struct bb_ctx ctx = { 0 };
    uint64_t free_bytes;
    folder_make(&folder, NULL);
    folder_make(&target, NULL);
    struct bb_kv *kv = open_in(folder.path);
    fill(kv, 0, 4000, 1);
    for (uint64_t i = 0; i < 4000; i += 100) {
        fill(kv, i, 90, 2);
    }
    cr_assert_eq(bb_kv_free_bytes(&ctx, kv, &free_bytes), BB_OK, "%s", ctx.error);
    cr_assert_eq(bb_kv_stat(&ctx, kv, &stat), BB_OK);
    uint64_t total = stream_into(kv, target.path, 3);
    cr_assert_eq(mark_of(kv, 0), 3);
    struct bb_kv *copy = open_in(target.path);
    cr_assert_eq(mark_of(copy, 0), 2, "what was written meanwhile is not in it");
    cr_assert_eq(mark_of(copy, 3989), 2);
    cr_assert_eq(mark_of(copy, 3999), 1);
    cr_assert_gt(free_bytes, 0);
    cr_assert_leq(total, stat.used_bytes - free_bytes + 65536);
    bb_kv_close(copy);
    bb_kv_close(kv);
    folder_remove(&folder);
    folder_remove(&target);
}

Test(kv_place, a_stream_that_is_given_up_ends_at_once_and_pins_nothing, .timeout = 20)
{
    struct folder folder;
    struct bb_ctx ctx = { 0 };
    struct bb_kv_stream *stream;
    struct bb_kv_stat stat;
    uint8_t some[1000];
    size_t done;
    folder_make(&folder, NULL);
    struct bb_kv *kv = open_in(folder.path);
    fill(kv, 0, 8000, 1);
    cr_assert_eq(bb_kv_stream_open(&ctx, kv, &stream), BB_OK);
    cr_assert_eq(bb_kv_stream_read(&ctx, stream, some, sizeof(some), &done), BB_OK);
    cr_assert_eq(done, sizeof(some));
    for (uint8_t round = 2; round < 12; round++) {
        fill(kv, 0, 8000, round);
    }
    uint64_t pinned = bb_kv_stream_pinned(stream);
    cr_assert_gt(pinned, 8u << 20, "its pages may not be used again: %d", (int)pinned);
    bb_kv_stream_close(stream);
    cr_assert_eq(bb_kv_stat(&ctx, kv, &stat), BB_OK);
    uint64_t before = stat.used_bytes;
    for (uint8_t round = 2; round < 12; round++) {
        fill(kv, 0, 8000, round);
    }
    cr_assert_eq(bb_kv_stat(&ctx, kv, &stat), BB_OK);
    cr_assert_eq(stat.used_bytes, before, "now they are");
    bb_kv_close(kv);
    folder_remove(&folder);
}

Test(kv_place, a_store_takes_the_place_of_another_while_that_is_read)
{
    struct folder folder;
    struct bb_ctx ctx = { 0 };
    struct bb_kv_read *read;
    struct bb_slice value;
    uint8_t key[8] = { 0 };
    char beside[200], path[300];
    folder_make(&folder, NULL);
    (void)snprintf(beside, sizeof(beside), "%s/next", folder.path);
    cr_assert_eq(mkdir(beside, 0700), 0);
    struct bb_kv *old = open_in(folder.path);
    fill(old, 0, 100, 1);
    (void)stream_into(old, beside, 2);
    struct bb_kv *new = open_in(beside);
    fill(new, 1, 1, 7);
    cr_assert_eq(bb_kv_sync(&ctx, new), BB_OK);
    cr_assert_eq(bb_kv_read_open(&ctx, old, &read), BB_OK);
    cr_assert_eq(bb_kv_take_place(&ctx, new, old), BB_OK, "%s", ctx.error);
    cr_assert_eq(access(beside, F_OK), -1, "the folder beside is gone");
    cr_assert_eq(bb_kv_get(&ctx, read, bb_slice(key, 8), &value), BB_OK);
    cr_assert_eq(value.data[value.size - 1], 2, "who reads the old one goes on");
    cr_assert_eq(mark_of(new, 1), 7);
    fill(new, 2, 1, 8);

    /* The folder is still one store's, and nobody else's. */
    struct bb_kv *second = NULL;
    struct bb_kv_options options = { .dir = folder.path, .map_bytes = 1u << 30 };
    bb_kv_read_close(read);
    bb_kv_close(old);
    cr_assert_eq(bb_kv_open(&ctx, &options, &second), BB_BUSY);
    bb_kv_close(new);
    new = open_in(folder.path);
    cr_assert_eq(mark_of(new, 0), 1, "the moment of the copy");
    cr_assert_eq(mark_of(new, 1), 7);
    cr_assert_eq(mark_of(new, 2), 8);
    bb_kv_close(new);
    (void)snprintf(path, sizeof(path), "%s/next", folder.path);
    (void)rmdir(path);
    folder_remove(&folder);
}

Test(kv_place, looking_changes_nothing_and_waits_for_nobody)
{
    struct folder folder;
    struct bb_ctx ctx = { 0 };
    struct bb_kv *look = NULL;
    char path[300];
    folder_make(&folder, NULL);
    struct bb_kv *kv = open_in(folder.path);
    fill(kv, 0, 10, 5);
    struct bb_kv_options options = { .dir = folder.path, .is_read_only = true };
    cr_assert_eq(bb_kv_open(&ctx, &options, &look), BB_BUSY);
    cr_assert(strstr(ctx.error, "stop that one first") != NULL, "%s", ctx.error);
    bb_kv_close(kv);
    /* A copy of the data alone is enough. */
    (void)snprintf(path, sizeof(path), "%s/lock.mdb", folder.path);
    cr_assert_eq(unlink(path), 0);
    (void)snprintf(path, sizeof(path), "%s/owner.lock", folder.path);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(bb_kv_open(&ctx, &options, &look), BB_OK, "%s", ctx.error);
    cr_assert_eq(mark_of(look, 3), 5);
    bb_kv_close(look);
    cr_assert_eq(access(path, F_OK), -1);
    (void)snprintf(path, sizeof(path), "%s/data.mdb", folder.path);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(bb_kv_open(&ctx, &options, &look), BB_NOT_FOUND);
    cr_assert_eq(access(path, F_OK), -1, "nothing is created");
    folder_remove(&folder);
}
