#include <criterion/criterion.h>
#include <ftw.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "feed_internal.h"

/* A feed in a temporary folder; record `n` has tx 1000 + 10 n, follows 1000 + 10 (n - 1). */
struct world {
    char dir[128];
    struct bb_ctx ctx;
    struct bb_loop *loop;
    struct bb_pool *readers;
    struct bb_feed *feed;
    struct bb_feed_options options;
    bool is_done;
    int status;
    uint64_t next_tx; /* what a reader must see next; 0: anything */
    size_t seen, seen_max;
};

static uint64_t tx_of(uint64_t n)
{
    return 1000 + 10 * n;
}

static void on_error(void *arg, int status, const char *error)
{
    (void)arg;
    cr_assert_fail("feed failed with %d: %s", status, error);
}

static void world_open(struct world *world)
{
    world->loop = bb_loop_new(world->ctx.env, NULL, "feed");
    world->readers = bb_pool_new("reader", 1, 16);
    world->options.dir = world->dir;
    world->options.readers = world->readers;
    world->options.on_error = on_error;
    cr_assert_eq(bb_feed_open(&world->ctx, world->loop, &world->options, &world->feed), BB_OK, "%s",
                 world->ctx.error);
}

static void world_init(struct world *world)
{
    memset(world, 0, sizeof *world);
    snprintf(world->dir, sizeof world->dir, "/tmp/bb-feed-XXXXXX");
    cr_assert_not_null(mkdtemp(world->dir));
    world->ctx.env = bb_env_real();
    world_open(world);
}

static void world_close(struct world *world)
{
    bb_pool_free(world->readers);
    bb_feed_close(world->feed);
    bb_loop_free(world->loop);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

static void world_fini(struct world *world)
{
    world_close(world);
    nftw(world->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int append(struct world *world, uint64_t n, size_t size)
{
    uint8_t *bytes = bb_alloc_zero(1, size + 8);
    bb_put_le64(bytes, n);
    int rc = bb_feed_append(&world->ctx, world->feed, BB_TX(tx_of(n - 1)), BB_TX(tx_of(n)),
                            bb_slice(bytes, size + 8));
    bb_free(bytes);
    return rc;
}

static void on_synced(void *arg)
{
    struct world *world = arg;
    world->is_done = true;
    uv_stop(bb_loop_uv(world->loop));
}

static void sync_feed(struct world *world, uint64_t index)
{
    struct bb_feed_mark mark = { .index = index, .state = bb_slice_str("machine state") };
    world->is_done = false;
    cr_assert_eq(bb_feed_sync(&world->ctx, world->feed, &mark, on_synced, world), BB_OK, "%s",
                 world->ctx.error);
    while (!world->is_done)
        uv_run(bb_loop_uv(world->loop), UV_RUN_ONCE);
}

static bool see(void *arg, struct bb_txtime prev, struct bb_txtime tx, struct bb_slice record)
{
    struct world *world = arg;
    if (world->next_tx != 0) {
        cr_assert_eq(tx.us, world->next_tx);
        cr_assert_eq(prev.us, world->next_tx - 10);
    }
    cr_assert_eq(tx_of(bb_get_le64(record.data)), tx.us);
    world->next_tx = tx.us + 10;
    return ++world->seen != world->seen_max;
}

static void on_scanned(struct bb_feed_scan *scan, int status, const char *error)
{
    struct world *world = scan->arg;
    (void)error;
    world->status = status;
    if (status == BB_OK)
        bb_feed_scan_each(scan, see, world);
    world->is_done = true;
    uv_stop(bb_loop_uv(world->loop)); /* else the loop may sleep once more before it returns */
}

/* Reads from `after` to the end as a cursor would, from memory and files. */
static size_t read_all(struct world *world, uint64_t after)
{
    world->seen = 0;
    world->next_tx = after + 10;
    for (;;) {
        uint64_t at = world->next_tx - 10;
        int rc = bb_feed_read(&world->ctx, world->feed, BB_TX(at), see, world);
        if (rc == BB_OK)
            return world->seen;
        cr_assert_eq(rc, BB_PENDING, "%s", world->ctx.error);
        struct bb_feed_scan scan = {
            .after = BB_TX(at), .max_bytes = 50000, .done = on_scanned, .arg = world
        };
        world->is_done = false;
        cr_assert_eq(bb_feed_scan_start(&world->ctx, world->feed, &scan), BB_OK, "%s",
                     world->ctx.error);
        while (!world->is_done)
            uv_run(bb_loop_uv(world->loop), UV_RUN_ONCE);
        cr_assert_eq(world->status, BB_OK);
        cr_assert_gt(world->next_tx - 10, at);
    }
}

Test(feed, p2_cursor_gets_every_record_in_order_from_any_position, .timeout = 30)
{
    struct world world;
    world_init(&world);
    for (uint64_t n = 1; n <= 500; n++)
        cr_assert_eq(append(&world, n, 100), BB_OK);
    for (uint64_t n = 0; n <= 500; n += 7)
        cr_assert_eq(read_all(&world, tx_of(n)), 500 - n);
    cr_assert_eq(bb_feed_newest(world.feed).us, tx_of(500));
    cr_assert_eq(bb_feed_earliest(world.feed).us, tx_of(0));
    world_fini(&world);
}

Test(feed, replayed_record_is_not_appended_again_and_a_gap_is_refused, .timeout = 30)
{
    struct world world;
    world_init(&world);
    for (uint64_t n = 1; n <= 10; n++)
        cr_assert_eq(append(&world, n, 10), BB_OK);
    cr_assert_eq(append(&world, 4, 10), BB_DUPLICATE);
    cr_assert_eq(append(&world, 10, 10), BB_DUPLICATE);
    cr_assert_eq(append(&world, 12, 10), BB_GAP);
    cr_assert_eq(append(&world, 11, 10), BB_OK);
    cr_assert_eq(read_all(&world, tx_of(0)), 11);
    world_fini(&world);
}

Test(feed, position_beyond_the_newest_waits_and_none_comes, .timeout = 30)
{
    struct world world;
    world_init(&world);
    cr_assert_eq(append(&world, 1, 10), BB_OK);
    cr_assert_eq(bb_feed_read(&world.ctx, world.feed, BB_TX(tx_of(9)), see, &world), BB_OK);
    cr_assert_eq(bb_feed_read(&world.ctx, world.feed, BB_TX(tx_of(1)), see, &world), BB_OK);
    cr_assert_eq(world.seen, 0);
    world_fini(&world);
}

Test(feed, synced_records_are_there_after_a_restart_with_their_mark, .timeout = 30)
{
    struct world world;
    world_init(&world);
    world.options.segment_bytes = 64 << 10;
    world_close(&world);
    world_open(&world);
    for (uint64_t n = 1; n <= 3000; n++) {
        cr_assert_eq(append(&world, n, 200), BB_OK);
        if (n % 300 == 0)
            sync_feed(&world, n);
    }
    cr_assert_eq(append(&world, 3001, 200), BB_OK);
    world_close(&world); /* as if it had died: the last one was never written */
    world_open(&world);
    cr_assert_eq(bb_feed_newest(world.feed).us, tx_of(3000));
    cr_assert_eq(bb_feed_mark(world.feed).index, 3000);
    cr_assert(bb_slice_equal_str(bb_feed_mark(world.feed).state, "machine state"));
    for (uint64_t n = 0; n <= 3000; n += 271)
        cr_assert_eq(read_all(&world, tx_of(n)), 3000 - n);
    cr_assert_eq(append(&world, 3001, 200), BB_OK);
    cr_assert_eq(read_all(&world, tx_of(0)), 3001);
    world_fini(&world);
}

/* ---- looking ---- */

struct looked {
    size_t segments, torn, damaged;
    char damage[200];
};

static void see_segment(void *arg, const struct bb_feed_look_segment *segment)
{
    struct looked *looked = arg;
    looked->segments++;
    looked->torn += segment->torn_at != 0;
    looked->damaged += segment->damage != NULL;
    if (segment->damage != NULL)
        snprintf(looked->damage, sizeof looked->damage, "%s: %s", segment->file, segment->damage);
}

static struct looked look(struct world *world)
{
    struct looked looked = { 0 };
    struct bb_feed_look look = { .segment = see_segment, .arg = &looked };
    cr_assert_eq(bb_feed_look(&world->ctx, world->dir, &look), BB_OK, "%s", world->ctx.error);
    return looked;
}

Test(feed, a_torn_end_is_damage_unless_it_is_the_newest, .timeout = 30)
{
    struct world world;
    char pattern[300];
    glob_t found;
    struct stat info;
    world_init(&world);
    world.options.segment_bytes = 4 << 10;
    world_close(&world);
    world_open(&world);
    for (uint64_t n = 1; n <= 300; n++) {
        cr_assert_eq(append(&world, n, 100), BB_OK);
        if (n % 30 == 0)
            sync_feed(&world, n);
    }
    snprintf(pattern, sizeof pattern, "%s/*.feed", world.dir);
    cr_assert_eq(glob(pattern, 0, NULL, &found), 0);
    cr_assert_geq(found.gl_pathc, 4);
    cr_assert_eq(look(&world).damaged, 0, "%s", look(&world).damage);

    const char *newest = found.gl_pathv[found.gl_pathc - 1];
    cr_assert_eq(stat(newest, &info), 0);
    cr_assert_eq(truncate(newest, info.st_size - 3), 0);
    cr_assert(look(&world).torn == 1 && look(&world).damaged == 0, "%s", look(&world).damage);

    cr_assert_eq(stat(found.gl_pathv[1], &info), 0);
    cr_assert_eq(truncate(found.gl_pathv[1], info.st_size - 3), 0);
    struct looked looked = look(&world);
    cr_assert(looked.torn == 2 && looked.damaged == 1);
    cr_assert_not_null(strstr(looked.damage, "a newer segment follows"), "%s", looked.damage);

    cr_assert_eq(unlink(found.gl_pathv[1]), 0);
    looked = look(&world);
    cr_assert(looked.torn == 1 && looked.damaged == 1);
    cr_assert_not_null(strstr(looked.damage, "the segment before it ends at tx"), "%s",
                       looked.damage);
    globfree(&found);
    world_fini(&world);
}

Test(feed, torn_end_is_cut_at_every_byte, .timeout = 60)
{
    struct world world;
    char path[512];
    uint8_t *whole = bb_alloc(1 << 20);
    world_init(&world);
    for (uint64_t n = 1; n <= 5; n++)
        cr_assert_eq(append(&world, n, 20), BB_OK);
    sync_feed(&world, 5);
    cr_assert_eq(append(&world, 6, 20), BB_OK);
    sync_feed(&world, 6);
    feed_segment_path(world.dir, tx_of(1), path, sizeof path);
    FILE *file = fopen(path, "rb");
    size_t size = fread(whole, 1, 1 << 20, file);
    fclose(file);
    size_t second = FEED_RECORD_HEADER + 28 + FEED_RECORD_HEADER + strlen("machine state");
    for (size_t cut = 1; cut <= second; cut++) {
        world_close(&world);
        cr_assert_eq(truncate(path, (long)(size - cut)), 0);
        world_open(&world);
        bool has_sixth = cut <= FEED_RECORD_HEADER + strlen("machine state");
        cr_assert_eq(bb_feed_newest(world.feed).us, tx_of(has_sixth ? 6 : 5), "cut of %zu", cut);
        cr_assert_eq(bb_feed_mark(world.feed).index, 5);
        cr_assert_eq(append(&world, 6, 20), has_sixth ? BB_DUPLICATE : BB_OK);
        cr_assert_eq(append(&world, 7, 20), BB_OK);
        cr_assert_eq(read_all(&world, tx_of(0)), 7);
        file = fopen(path, "wb");
        fwrite(whole, 1, size, file);
        fclose(file);
    }
    bb_free(whole);
    world_fini(&world);
}

Test(feed, p3_too_old_position_is_an_error_that_names_the_earliest, .timeout = 30)
{
    struct world world;
    world_init(&world);
    world.options.segment_bytes = 32 << 10;
    world.options.retention_bytes = 100 << 10;
    world.options.tail_bytes = 1;
    world_close(&world);
    world_open(&world);
    for (uint64_t n = 1; n <= 2000; n++) {
        cr_assert_eq(append(&world, n, 400), BB_OK);
        if (n % 100 == 0)
            sync_feed(&world, n);
    }
    uint64_t earliest = bb_feed_earliest(world.feed).us;
    cr_assert_gt(earliest, tx_of(0));
    cr_assert_lt(bb_feed_bytes(world.feed), 300 << 10);
    cr_assert_eq(bb_feed_read(&world.ctx, world.feed, BB_TX(earliest - 10), see, &world),
                 BB_TX_TRUNCATED);
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)earliest);
    cr_assert(strstr(world.ctx.error, text) != NULL, "%s", world.ctx.error);
    cr_assert_eq(read_all(&world, earliest), 2000 - (earliest - tx_of(0)) / 10);
    sync_feed(&world, 2001); /* removes the files */
    char pattern[256];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/*.feed", world.dir);
    glob(pattern, 0, NULL, &found);
    cr_assert_leq(found.gl_pathc, 6);
    globfree(&found);
    world_close(&world);
    world_open(&world);
    cr_assert_eq(bb_feed_earliest(world.feed).us, earliest);
    world_fini(&world);
}

Test(feed, old_segments_go_by_age, .timeout = 30)
{
    struct world world;
    world_init(&world);
    world.options.segment_bytes = 1;
    world.options.retention_us = 1; /* every tx of this test is of 1970 */
    world_close(&world);
    world_open(&world);
    for (uint64_t n = 1; n <= 5; n++) {
        cr_assert_eq(append(&world, n, 10), BB_OK);
        sync_feed(&world, n);
    }
    cr_assert_eq(bb_feed_earliest(world.feed).us, tx_of(4));
    world_fini(&world);
}

Test(feed, memory_is_bounded_and_older_records_come_from_the_files, .timeout = 30)
{
    struct world world;
    world_init(&world);
    world.options.tail_bytes = 256 << 10;
    world_close(&world);
    world_open(&world);
    for (uint64_t n = 1; n <= 3000; n++) {
        cr_assert_eq(append(&world, n, 1000), BB_OK);
        if (n % 200 == 0)
            sync_feed(&world, n);
    }
    cr_assert_leq(world.feed->tail_bytes, (256 << 10) + FEED_BLOCK_BYTES);
    cr_assert_eq(bb_feed_read(&world.ctx, world.feed, BB_TX(tx_of(0)), see, &world), BB_PENDING);
    cr_assert_eq(read_all(&world, tx_of(0)), 3000);
    cr_assert_eq(read_all(&world, tx_of(2990)), 10);
    world_fini(&world);
}

Test(feed, scan_starts_at_the_first_record_of_a_segment_that_began_within_a_block, .timeout = 30)
{
    struct world world;
    world_init(&world);
    world.options.segment_bytes = 40000;
    world.options.tail_bytes = 1;
    world_close(&world);
    world_open(&world);
    /* Many syncs a block: segments begin wherever the block stands, and hold the start of one. */
    for (uint64_t n = 1; n <= 1000; n++) {
        cr_assert_eq(append(&world, n, 1000), BB_OK);
        if (n % 30 == 0 || n == 1000)
            sync_feed(&world, n);
    }
    cr_assert_eq(read_all(&world, tx_of(0)), 1000);
    for (uint64_t n = 0; n < 1000; n += 13)
        cr_assert_eq(read_all(&world, tx_of(n)), 1000 - n);
    world_fini(&world);
}

Test(feed, segment_that_begins_within_a_block_is_read_from_its_first_record, .timeout = 120)
{
    struct world world;
    world_init(&world);
    world.options.segment_bytes = 200 << 10;
    world.options.tail_bytes = 1;
    world_close(&world);
    world_open(&world);
    for (uint64_t n = 1; n <= 2000; n++) {
        cr_assert_eq(append(&world, n, 1000), BB_OK);
        if (n % 30 == 0)
            sync_feed(&world, n);
    }
    for (uint64_t n = 0; n < 2000; n += 13)
        cr_assert_eq(read_all(&world, tx_of(n)), 2000 - n);
    world_fini(&world);
}

static void damage(const struct world *world, uint64_t n)
{
    char path[512];
    feed_segment_path(world->dir, tx_of(n), path, sizeof path);
    FILE *file = fopen(path, "r+b");
    cr_assert_not_null(file);
    fseek(file, 5000, SEEK_SET);
    fwrite("damage", 1, 6, file);
    fclose(file);
}

/* Records 1 to `count`, each in a file of its own, and none in memory. */
static void write_segments(struct world *world, uint64_t count)
{
    world_init(world);
    world->options.segment_bytes = 1;
    world->options.tail_bytes = 1;
    world_close(world);
    world_open(world);
    for (uint64_t n = 1; n <= count; n++) {
        cr_assert_eq(append(world, n, 10000), BB_OK);
        sync_feed(world, n);
    }
}

Test(feed, damage_in_an_older_segment_is_an_error_not_a_gap, .timeout = 30)
{
    struct world world;
    write_segments(&world, 4);
    damage(&world, 2);
    struct bb_feed_scan scan = {
        .after = BB_TX(tx_of(1)), .max_bytes = 1000, .done = on_scanned, .arg = &world
    };
    world.is_done = false;
    cr_assert_eq(bb_feed_scan_start(&world.ctx, world.feed, &scan), BB_OK);
    while (!world.is_done)
        uv_run(bb_loop_uv(world.loop), UV_RUN_ONCE);
    cr_assert_eq(world.status, BB_CORRUPT);
    cr_assert_eq(scan.goes_on.us, tx_of(2));
    world_fini(&world);
}

Test(feed, a_damaged_segment_that_is_dropped_while_it_is_read_takes_no_other_with_it, .timeout = 30)
{
    struct world world;
    write_segments(&world, 5);
    damage(&world, 1);
    struct bb_feed_scan scan = {
        .after = BB_TX(tx_of(0)), .max_bytes = 1000, .done = on_scanned, .arg = &world
    };
    world.is_done = false;
    cr_assert_eq(bb_feed_scan_start(&world.ctx, world.feed, &scan), BB_OK);
    world.feed->retention_bytes = world.feed->segments_bytes - 1;
    feed_retain(world.feed); /* the next sync removes the file */
    cr_assert_eq(bb_feed_earliest(world.feed).us, tx_of(1));
    while (!world.is_done)
        uv_run(bb_loop_uv(world.loop), UV_RUN_ONCE);
    cr_assert_eq(world.status, BB_CORRUPT);
    cr_assert_eq(scan.goes_on.us, tx_of(1));
    world_fini(&world);
}

Test(feed, mark_without_any_record_cannot_be_kept, .timeout = 30)
{
    struct world world;
    struct bb_feed_mark mark = { .index = 1 };
    world_init(&world);
    cr_assert_eq(bb_feed_sync(&world.ctx, world.feed, &mark, on_synced, &world), BB_NOT_FOUND);
    cr_assert_eq(bb_feed_mark(world.feed).index, 0);
    world_fini(&world);
}

/* ---- beginning anew behind a checkpoint ---- */

static int begin_anew(struct world *world, uint64_t n, uint64_t index)
{
    struct bb_feed_mark mark = { .index = index, .state = bb_slice_str("state of a checkpoint") };
    world->is_done = false;
    int rc = bb_feed_begin_anew(&world->ctx, world->feed, BB_TX(tx_of(n)), &mark, on_synced, world);
    if (rc != BB_OK)
        return rc;
    while (!world->is_done)
        uv_run(bb_loop_uv(world->loop), UV_RUN_ONCE);
    return BB_OK;
}

static size_t segment_count(const struct world *world)
{
    char pattern[256];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/*.feed", world->dir);
    size_t count = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    if (count > 0)
        globfree(&found);
    return count;
}

Test(feed, a_feed_that_begins_anew_has_no_gap_and_says_where_it_begins, .timeout = 30)
{
    struct world world;
    world_init(&world);
    world.options.segment_bytes = 20000;
    world_close(&world);
    world_open(&world);
    for (uint64_t n = 1; n <= 50; n++) {
        cr_assert_eq(append(&world, n, 1000), BB_OK);
        if (n % 10 == 0)
            sync_feed(&world, n);
    }
    cr_assert_gt(segment_count(&world), 1);
    cr_assert_eq(append(&world, 51, 1000), BB_OK);
    cr_assert_eq(begin_anew(&world, 51, 99), BB_DUPLICATE, "it has that");
    cr_assert_eq(begin_anew(&world, 80, 99), BB_OK, "%s", world.ctx.error);
    for (int round = 0; round < 2; round++) { /* the second one after a restart */
        cr_assert_eq(segment_count(&world), 1);
        cr_assert_eq(bb_feed_newest(world.feed).us, tx_of(80));
        cr_assert_eq(bb_feed_earliest(world.feed).us, tx_of(80));
        cr_assert_eq(bb_feed_mark(world.feed).index, 99);
        cr_assert(bb_slice_equal_str(bb_feed_mark(world.feed).state, "state of a checkpoint"));
        cr_assert_eq(bb_feed_read(&world.ctx, world.feed, BB_TX(tx_of(50)), see, &world),
                     BB_TX_TRUNCATED);
        cr_assert_eq(append(&world, 80, 10), BB_DUPLICATE);
        cr_assert_eq(append(&world, 82, 10), BB_GAP);
        world_close(&world);
        world_open(&world);
    }
    for (uint64_t n = 81; n <= 90; n++)
        cr_assert_eq(append(&world, n, 1000), BB_OK);
    sync_feed(&world, 120);
    cr_assert_eq(segment_count(&world), 1, "what follows goes into the same file");
    world_close(&world);
    world_open(&world);
    cr_assert_eq(read_all(&world, tx_of(80)), 10);
    cr_assert_eq(read_all(&world, tx_of(85)), 5);
    cr_assert_eq(bb_feed_mark(world.feed).index, 120);
    world_fini(&world);
}

Test(feed, files_before_a_new_beginning_go_at_the_start_if_not_before, .timeout = 30)
{
    struct world world;
    char left[256], aside[256];
    world_init(&world);
    for (uint64_t n = 1; n <= 5; n++)
        cr_assert_eq(append(&world, n, 100), BB_OK);
    sync_feed(&world, 5);
    snprintf(left, sizeof left, "%s/%020d.feed", world.dir, (int)tx_of(1));
    snprintf(aside, sizeof aside, "%s/kept", world.dir);
    cr_assert_eq(link(left, aside), 0);
    cr_assert_eq(begin_anew(&world, 80, 99), BB_OK);
    world_close(&world);
    cr_assert_eq(rename(aside, left), 0); /* as if it had ended before */
    world_open(&world);
    cr_assert_eq(segment_count(&world), 1);
    cr_assert_eq(bb_feed_earliest(world.feed).us, tx_of(80));

    /* It ended before the mark was there: the feed is what it was. */
    world_close(&world);
    snprintf(left, sizeof left, "%s/%020d.feed", world.dir, (int)tx_of(99));
    FILE *file = fopen(left, "w");
    uint8_t header[FEED_SEGMENT_HEADER];
    feed_header_encode(
        &(struct feed_header){ .prev = tx_of(99) - 1, .first = tx_of(99), .begins_anew = true },
        header);
    fwrite(header, 1, sizeof header, file);
    fclose(file);
    world_open(&world);
    cr_assert_eq(bb_feed_newest(world.feed).us, tx_of(80));
    world_fini(&world);
}
Test(feed, golden_segment_is_read_as_it_was_written)
{
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct bb_buf state;
    bb_buf_init(&state);
    struct feed_walk walk = { .path = "tests/golden/feed/00000000000000001001.1.feed",
                              .mark_state = &state };
    cr_assert_eq(feed_walk(&ctx, &walk), BB_OK, "%s", ctx.error);
    cr_assert(!walk.is_torn);
    cr_assert_eq(walk.prev, 1000);
    cr_assert_eq(walk.first, 1001);
    cr_assert_eq(walk.last, 1005);
    cr_assert_eq(walk.mark_index, 77);
    cr_assert(bb_slice_equal_str(bb_buf_slice(&state), "state"));
    bb_buf_fini(&state);
}

Test(feed, golden_segment_is_what_is_written)
{
    uint8_t made[256], golden[256];
    struct feed_record records[] = {
        { FEED_KIND_RECORD, 1001, 1000, bb_slice_str("first record") },
        { FEED_KIND_RECORD, 1005, 1001, bb_slice_str("second") },
        { FEED_KIND_MARK, 77, 1005, bb_slice_str("state") },
    };
    size_t at = FEED_SEGMENT_HEADER;
    feed_header_encode(&(struct feed_header){ .prev = 1000, .first = 1001 }, made);
    for (size_t i = 0; i < BB_COUNT_OF(records); i++) {
        feed_record_encode(&records[i], made + at);
        at += FEED_RECORD_HEADER + records[i].bytes.size;
    }
    FILE *file = fopen("tests/golden/feed/00000000000000001001.1.feed", "rb");
    cr_assert_not_null(file);
    cr_assert_eq(fread(golden, 1, sizeof golden, file), at);
    fclose(file);
    cr_assert_eq(memcmp(made, golden, at), 0);
}
