/* A file that is damaged is told by its place, and is not followed. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "bb/kv.h"

#include "folder.h"

/* Small values, values with pages of their own, more than one level, pages that are free. */
static void fill(const struct folder *folder)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv *kv = NULL;
    struct bb_kv_batch *batch;
    struct bb_kv_options options = { .dir = folder->path, .map_bytes = 1u << 30 };
    static uint8_t value[20000];
    uint8_t key[8];

    cr_assert_eq(bb_kv_open(&ctx, &options, &kv), BB_OK, "%s", ctx.error);
    for (unsigned round = 0; round < 3; round++) {
        cr_assert_eq(bb_kv_begin(&ctx, kv, &batch), BB_OK);
        for (uint64_t i = 0; i < 4000; i += 1 + round) {
            bb_put_be64(key, i);
            struct bb_slice bytes = bb_slice(value, i % 100 == 0 ? sizeof(value) : 60);
            cr_assert_eq(bb_kv_put(&ctx, batch, bb_slice(key, 8), bytes), BB_OK);
        }
        cr_assert_eq(bb_kv_commit(&ctx, batch), BB_OK, "%s", ctx.error);
    }
    cr_assert_eq(bb_kv_sync(&ctx, kv), BB_OK);
    bb_kv_close(kv);
}

static int file_of(const struct folder *folder)
{
    char path[256];

    (void)snprintf(path, sizeof(path), "%s/data.mdb", folder->path);
    int fd = open(path, O_RDWR);
    cr_assert_geq(fd, 0);
    return fd;
}

Test(kv_verify, a_whole_file_is_whole_and_nothing_is_not)
{
    struct folder folder;
    struct bb_ctx ctx = { 0 };

    folder_make(&folder, NULL);
    cr_assert_eq(bb_kv_verify(&ctx, folder.path), BB_NOT_FOUND);
    fill(&folder);
    cr_assert_eq(bb_kv_verify(&ctx, folder.path), BB_OK, "%s", ctx.error);
    folder_remove(&folder);
}

Test(kv_verify, a_file_that_was_cut_short_is_told_with_the_place)
{
    struct folder folder;
    struct bb_ctx ctx = { 0 };

    folder_make(&folder, NULL);
    fill(&folder);
    int fd = file_of(&folder);
    cr_assert_eq(ftruncate(fd, lseek(fd, 0, SEEK_END) / 2), 0);
    cr_assert_eq(bb_kv_verify(&ctx, folder.path), BB_CORRUPT);
    cr_assert(strstr(ctx.error, "damaged at byte") != NULL, "%s", ctx.error);
    cr_assert_eq(ftruncate(fd, 0), 0);
    cr_assert_eq(bb_kv_verify(&ctx, folder.path), BB_CORRUPT);
    (void)close(fd);
    folder_remove(&folder);
}

/* Each page in turn: it is found at its place, or it was free. Nothing is read out of bounds. */
Test(kv_verify, a_page_of_rubbish_is_found_wherever_it_is, .timeout = 60)
{
    struct folder folder;
    struct bb_ctx ctx = { 0 };
    uint8_t rubbish[4096], kept[4096];
    unsigned found = 0, pages = 0;

    folder_make(&folder, NULL);
    fill(&folder);
    int fd = file_of(&folder);
    for (size_t i = 0; i < sizeof(rubbish); i++) {
        rubbish[i] = (uint8_t)(i * 37 + 11);
    }
    for (off_t at = 8192; pread(fd, kept, sizeof(kept), at) == (ssize_t)sizeof(kept); at += 4096) {
        char place[64];
        bool is_ours = bb_get_le64(kept) == (uint64_t)at / 4096;
        (void)snprintf(place, sizeof(place), "damaged at byte %lld ", (long long)at);
        cr_assert_eq(pwrite(fd, rubbish, sizeof(rubbish), at), (ssize_t)sizeof(rubbish));
        int rc = bb_kv_verify(&ctx, folder.path);
        cr_assert(rc == BB_OK || rc == BB_CORRUPT);
        if (rc == BB_CORRUPT) {
            cr_assert(strstr(ctx.error, place) != NULL, "%s, not %s", ctx.error, place);
            found++;
        }
        pages += is_ours;
        cr_assert_eq(pwrite(fd, kept, sizeof(kept), at), (ssize_t)sizeof(kept));
    }
    cr_assert_gt(found, pages / 3, "%u of %u pages, the others are free", found, pages);
    cr_assert_eq(bb_kv_verify(&ctx, folder.path), BB_OK, "%s", ctx.error);
    (void)close(fd);
    folder_remove(&folder);
}

static struct folder cut; /* of the test below; its process ends in on_damage */

static void on_damage(const char *what)
{
    bool is_told = strstr(what, "data.mdb cannot be read at byte ") != NULL;
    folder_remove(&cut);
    _exit(is_told ? 9 : 10);
}

/* As storage does, which reads on threads of its own. */
static void seek(void *arg)
{
    struct bb_kv_cursor *cursor = arg;
    struct bb_ctx ctx = { 0 };

    (void)bb_kv_seek(&ctx, cursor, bb_slice("a", 1)); /* does not come back */
}

Test(kv_verify, a_page_that_is_not_there_any_more_is_a_sentence_and_no_signal, .exit_code = 9)
{
    struct bb_ctx ctx = { 0 };
    struct bb_kv *kv = NULL;
    struct bb_kv_read *read = NULL;
    struct bb_kv_cursor *cursor = NULL;

    folder_make(&cut, NULL);
    fill(&cut);
    struct bb_kv_options options = { .dir = cut.path, .map_bytes = 1u << 30 };
    bb_kv_at_damage(on_damage);
    cr_assert_eq(bb_kv_open(&ctx, &options, &kv), BB_OK);
    cr_assert_eq(bb_kv_read_open(&ctx, kv, &read), BB_OK);
    cr_assert_eq(bb_kv_cursor_open(&ctx, read, &cursor), BB_OK);
    int fd = file_of(&cut);
    cr_assert_eq(ftruncate(fd, 3 * 4096), 0);
    bb_thread_join(bb_thread_start("reader", seek, cursor));
    cr_assert_fail("the cursor went on");
}

/* Any byte: an answer, never a crash. */
Test(kv_verify, a_byte_that_changed_never_ends_the_process, .timeout = 60)
{
    struct folder folder;
    struct bb_ctx ctx = { 0 };
    uint64_t random = 88172645463325252u;
    unsigned found = 0;

    folder_make(&folder, NULL);
    fill(&folder);
    int fd = file_of(&folder);
    uint64_t size = (uint64_t)lseek(fd, 0, SEEK_END);
    for (unsigned i = 0; i < 300; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        off_t at =
            (off_t)(i % 3 == 0 ? random % 8192 : (random % (size / 4096) * 4096 + random % 64));
        uint8_t kept, other;
        cr_assert_eq(pread(fd, &kept, 1, at), 1);
        other = (uint8_t)(kept ^ (1u << random % 8));
        cr_assert_eq(pwrite(fd, &other, 1, at), 1);
        int rc = bb_kv_verify(&ctx, folder.path);
        cr_assert(rc == BB_OK || rc == BB_CORRUPT);
        found += rc == BB_CORRUPT;
        cr_assert_eq(pwrite(fd, &kept, 1, at), 1);
    }
    cr_assert_gt(found, 20);
    (void)close(fd);
    folder_remove(&folder);
}
