#include <criterion/criterion.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bb/replog_look.h"

#include "log.h"

Test(replog, single_voter_is_ready_at_once_and_applies_what_was_acknowledged, .timeout = 20)
{
    struct log_world world;
    log_init(&world);
    uint64_t start = bb_now_us(&world.ctx);
    cr_assert_eq(log_start(&world), BB_OK, "%s", world.ctx.error);
    cr_log_info("ready after %d ms", (int)((bb_now_us(&world.ctx) - start) / 1000));
    cr_assert(world.role.is_leader && world.role.is_ready);
    for (uint64_t value = 1; value <= 20; value++)
        log_propose(&world, value, 100 + value);
    log_run(&world, 20);
    cr_assert_eq(world.done_status, BB_OK);
    cr_assert_eq(world.applied_count, 20);
    cr_assert_eq(world.tagged_count, 20);
    for (uint64_t i = 0; i < 20; i++)
        cr_assert_eq(world.applied[i], i + 1);
    log_stop(&world);
    log_fini(&world);
}

Test(replog, first_start_that_was_killed_half_way_is_done_again, .timeout = 20)
{
    struct log_world world;
    char pattern[300];
    glob_t found;
    log_init(&world);
    cr_assert_eq(log_start(&world), BB_OK, "%s", world.ctx.error);
    log_stop(&world);
    /* The term was written, the segment with the first voter was not. */
    snprintf(pattern, sizeof pattern, "%s/*", world.dir);
    cr_assert_eq(glob(pattern, 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        if (strstr(found.gl_pathv[i], "/metadata") == NULL)
            cr_assert_eq(unlink(found.gl_pathv[i]), 0);
    }
    globfree(&found);
    world.role.is_ready = false;
    cr_assert_eq(log_start(&world), BB_OK, "%s", world.ctx.error);
    log_propose(&world, 1, 64);
    log_run(&world, 1);
    cr_assert_eq(world.applied_count, 1);
    log_stop(&world);
    log_fini(&world);
}

Test(replog, restart_replays_only_what_the_application_lacks, .timeout = 20)
{
    struct log_world world;
    log_init(&world);
    cr_assert_eq(log_start(&world), BB_OK);
    for (uint64_t value = 1; value <= 30; value++)
        log_propose(&world, value, 64);
    log_run(&world, 30);
    uint64_t eleventh = world.indexes[10];
    log_stop(&world);

    world.options.applied = eleventh;
    cr_assert_eq(log_start(&world), BB_OK, "%s", world.ctx.error);
    cr_assert_eq(world.applied_count, 19);
    cr_assert_eq(world.applied[0], 12);
    cr_assert_eq(world.applied[18], 30);
    cr_assert_eq(world.tagged_count, 0);
    log_stop(&world);
    log_fini(&world);
}

Test(replog, log_is_cut_by_bytes_and_keeps_what_the_data_lacks, .timeout = 60)
{
    struct log_world world;
    log_init(&world);
    world.options.snapshot_bytes = 1 << 20;
    cr_assert_eq(log_start(&world), BB_OK);
    /* 600 entries of 16 KB: about nine cuts. The application's disk is 100 entries behind. */
    for (uint64_t value = 1; value <= 600; value++) {
        log_propose(&world, value, 16 << 10);
        log_run(&world, value);
        if (value > 100)
            world.durable_index = world.indexes[value - 101];
    }
    uint64_t covered = world.manifest_index, durable = world.durable_index;
    cr_assert_gt(covered, durable, "the snapshot must promise more than the disk has");
    log_stop(&world);

    world.options.applied = durable;
    cr_assert_eq(log_start(&world), BB_OK, "%s", world.ctx.error);
    cr_assert_eq(world.applied_count, 100);
    for (uint64_t i = 0; i < 100; i++)
        cr_assert_eq(world.applied[i], 501 + i);
    log_propose(&world, 601, 64);
    log_run(&world, 1);
    cr_assert_eq(world.applied[100], 601);
    log_stop(&world);

    /* Data that is older than the log reaches back is refused with a sentence. */
    world.options.applied = 3;
    cr_assert_eq(log_start(&world), BB_CORRUPT);
    cr_assert(strstr(world.ctx.error, "the data ends at entry 3") != NULL, "%s", world.ctx.error);
    log_fini(&world);
}

struct log_content {
    uint64_t entries, bytes;
};

static void count_entry(void *arg, const struct bb_replog_look_entry *entry)
{
    struct log_content *content = arg;
    content->entries++;
    content->bytes += entry->bytes;
}

/* How much lies in the log after 40 entries of this size and a cut with each of them. */
static struct log_content content_after_cuts(size_t size)
{
    struct log_world world;
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct log_content content = { 0 };
    struct bb_replog_look look = { .entry = count_entry, .arg = &content };
    log_init(&world);
    world.options.snapshot_bytes = 4096;
    cr_assert_eq(log_start(&world), BB_OK);
    for (uint64_t value = 1; value <= 40; value++) {
        log_propose(&world, value, size);
        log_run(&world, value);
        world.durable_index = world.indexes[value - 1];
    }
    log_stop(&world);
    cr_assert_eq(bb_replog_look(&ctx, world.dir, &look), BB_OK, "%s", ctx.error);
    log_fini(&world);
    return content;
}

Test(replog, cut_log_keeps_many_small_entries_for_others_and_few_large_ones, .timeout = 60)
{
    struct log_content small = content_after_cuts(8 << 10);
    struct log_content large = content_after_cuts(2 << 20);
    cr_assert_geq(small.entries, 40);
    cr_assert_leq(large.bytes, 48u << 20, "%" PRIu64 " bytes of 80 MB are left", large.bytes);
    cr_assert_geq(large.entries, 4);
}

Test(replog, missing_log_is_refused, .timeout = 20)
{
    struct log_world world;
    log_init(&world);
    world.options.applied = 17;
    cr_assert_eq(log_start(&world), BB_CORRUPT);
    cr_assert(strstr(world.ctx.error, "backup") != NULL, "%s", world.ctx.error);
    log_fini(&world);
}

Test(replog, damaged_segment_is_refused_and_left_as_it_is, .timeout = 20)
{
    struct log_world world;
    char pattern[512];
    glob_t found;
    log_init(&world);
    cr_assert_eq(log_start(&world), BB_OK);
    for (uint64_t value = 1; value <= 50; value++)
        log_propose(&world, value, 400);
    log_run(&world, 50);
    log_stop(&world);

    snprintf(pattern, sizeof pattern, "%s/0*-0*", world.dir);
    cr_assert_eq(glob(pattern, 0, NULL, &found), 0);
    FILE *file = fopen(found.gl_pathv[found.gl_pathc - 1], "r+b");
    fseek(file, 3000, SEEK_SET);
    fwrite("damage", 1, 6, file);
    fclose(file);
    cr_assert_eq(log_start(&world), BB_CORRUPT);
    cr_assert(strstr(world.ctx.error, world.dir) != NULL, "%s", world.ctx.error);
    cr_assert_eq(access(found.gl_pathv[found.gl_pathc - 1], F_OK), 0);
    globfree(&found);
    log_fini(&world);
}

Test(replog, full_disk_is_refused_with_what_to_do, .timeout = 20)
{
    struct log_world world;
    log_init(&world);
    world.options.free_bytes_min = 1ull << 60;
    cr_assert_eq(log_start(&world), BB_NO_SPACE);
    cr_assert(strstr(world.ctx.error, "--data") != NULL, "%s", world.ctx.error);
    log_fini(&world);
}

Test(replog, proposal_before_ready_is_refused_without_effect, .timeout = 20)
{
    struct log_world world;
    log_init(&world);
    cr_assert_eq(log_open(&world), BB_OK);
    uint8_t *entry = bb_replog_entry_new(64);
    memset(entry, 0, 64);
    cr_assert_eq(bb_replog_propose_take(&world.ctx, world.replog, entry, 64, NULL, &world),
                 BB_NOT_LEADER);
    bb_replog_free(world.replog);
    bb_loop_free(world.loop);
    log_fini(&world);
}

static int append_never(struct raft_io *io, struct raft_io_append *request,
                        const struct raft_entry entries[], unsigned count, raft_io_append_cb done)
{
    (void)io, (void)request, (void)entries, (void)count, (void)done;
    return 0;
}

Test(replog, hanging_write_ends_the_process, .timeout = 30, .exit_code = REPLOG_EXIT_HANG)
{
    struct log_world world;
    log_init(&world);
    cr_assert_eq(log_start(&world), BB_OK);
    world.replog->real.append = append_never;
    log_propose(&world, 1, 64);
    log_fini(&world);
    log_run_ms(&world, 10000);
}

static void on_nothing(void *tag, int status)
{
    (void)tag, (void)status;
}

/* A leader whose own disk hangs: others commit what comes. */
Test(replog, hanging_write_ends_the_process_though_entries_keep_coming, .timeout = 60,
     .exit_code = REPLOG_EXIT_HANG)
{
    struct log_world world;
    log_init(&world);
    cr_assert_eq(log_start(&world), BB_OK);
    world.replog->real.append = append_never;
    log_fini(&world);
    for (uint64_t value = 1; value <= 1500; value++) {
        log_propose(&world, value, 128 << 10);
        log_run_ms(&world, 20);
    }
}

/* As with files that cannot be made ahead: libraft takes nothing, and tries again after a minute.
 */
static void propose_without_room(struct log_world *world)
{
    raft_set_capacity_threshold(&world->replog->raft, UINT16_MAX);
    log_propose(world, 1, 64);
    cr_assert_eq(world->under_way, 1);
}

Test(replog, an_entry_waits_for_room_in_the_log, .timeout = 60)
{
    struct log_world world;
    log_init(&world);
    cr_assert_eq(log_start(&world), BB_OK);
    propose_without_room(&world);
    log_propose(&world, 2, 64);
    while (world.replog->room.refused_ticks < 2)
        log_run_ms(&world, 20);
    cr_assert_eq(world.applied_count, 0);
    raft_set_capacity_threshold(&world.replog->raft, 0);
    log_run(&world, 2);
    cr_assert_eq(world.done_status, BB_OK);
    cr_assert_eq(world.applied[0], 1);
    cr_assert_eq(world.applied[1], 2);
    cr_assert_eq(world.replog->room.refused_ticks, 0);
    log_stop(&world);
    log_fini(&world);
}

Test(replog, entries_that_find_no_room_are_given_back_and_then_refused, .timeout = 60)
{
    struct log_world world;
    log_init(&world);
    cr_assert_eq(log_start(&world), BB_OK);
    propose_without_room(&world);
    log_propose(&world, 2, 64);
    log_run(&world, 2);
    cr_assert_eq(world.done_status, BB_NO_SPACE);
    uint8_t *entry = bb_replog_entry_new(64);
    memset(entry, 0, 64);
    cr_assert_eq(bb_replog_propose_take(&world.ctx, world.replog, entry, 64, NULL, &world),
                 BB_NO_SPACE);
    raft_set_capacity_threshold(&world.replog->raft, 0);
    log_propose(&world, 3, 64);
    log_run(&world, 3);
    cr_assert_eq(world.done_status, BB_OK);
    cr_assert_eq(world.applied_count, 1);
    log_stop(&world);
    log_fini(&world);
}

Test(replog, close_gives_back_what_waits_for_room, .timeout = 20)
{
    struct log_world world;
    log_init(&world);
    cr_assert_eq(log_start(&world), BB_OK);
    propose_without_room(&world);
    bb_replog_free(world.replog);
    cr_assert_eq(world.under_way, 0);
    cr_assert_eq(world.done_status, BB_NOT_LEADER);
    bb_loop_free(world.loop);
    log_fini(&world);
}

Test(replog, a_log_without_room_ends_the_process, .timeout = 60, .exit_code = REPLOG_EXIT_HANG)
{
    struct log_world world;
    log_init(&world);
    cr_assert_eq(log_start(&world), BB_OK);
    propose_without_room(&world);
    log_fini(&world);
    for (int i = 0; i < 1500; i++) {
        uint8_t *entry = bb_replog_entry_new(64);
        memset(entry, 0, 64);
        (void)bb_replog_propose_take(&world.ctx, world.replog, entry, 64, on_nothing, &world);
        log_run_ms(&world, 20);
    }
}

static int append_fails(struct raft_io *io, struct raft_io_append *request,
                        const struct raft_entry entries[], unsigned count, raft_io_append_cb done)
{
    (void)io, (void)entries, (void)count;
    done(request, RAFT_IOERR);
    return 0;
}

Test(replog, failed_write_ends_the_process, .timeout = 30, .exit_code = REPLOG_EXIT_APPEND)
{
    struct log_world world;
    log_init(&world);
    cr_assert_eq(log_start(&world), BB_OK);
    world.replog->real.append = append_fails;
    log_fini(&world);
    log_propose(&world, 1, 64);
}

static int snapshot_fails(struct raft_io *io, unsigned trailing,
                          struct raft_io_snapshot_put *request,
                          const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb done)
{
    (void)io, (void)trailing, (void)snapshot;
    done(request, RAFT_IOERR);
    return 0;
}

Test(replog, snapshot_that_cannot_be_written_ends_the_process, .timeout = 30,
     .exit_code = REPLOG_EXIT_IO)
{
    struct log_world world;
    log_init(&world);
    world.options.snapshot_bytes = 4096;
    cr_assert_eq(log_start(&world), BB_OK);
    world.replog->real.snapshot_put = snapshot_fails;
    log_fini(&world);
    for (uint64_t value = 1; value <= 1500; value++) {
        log_propose(&world, value, 8192);
        log_run_ms(&world, 20);
    }
}

static int term_fails(struct raft_io *io, raft_term term)
{
    (void)io, (void)term;
    return RAFT_IOERR;
}

Test(replog, failed_write_of_the_term_ends_the_process, .timeout = 30, .exit_code = REPLOG_EXIT_IO)
{
    struct log_world world;
    log_init(&world);
    cr_assert_eq(log_start(&world), BB_OK);
    world.replog->real.set_term = term_fails;
    log_fini(&world);
    world.replog->io.set_term(&world.replog->io, 5);
}

Test(replog, close_ends_what_is_under_way_as_unknown, .timeout = 20)
{
    struct log_world world;
    log_init(&world);
    cr_assert_eq(log_start(&world), BB_OK);
    log_propose(&world, 1, 64);
    bb_replog_free(world.replog);
    cr_assert_eq(world.under_way, 0);
    cr_assert_eq(world.done_status, BB_OUTCOME_UNKNOWN);
    bb_loop_free(world.loop);
    log_fini(&world);
}

/* The folder as kill -9 would leave it now. */
static void copy_folder(const struct log_world *world, const char *to)
{
    char command[1024];
    snprintf(command, sizeof command, "rm -rf %s && cp -r %s %s", to, world->dir, to);
    cr_assert_eq(system(command), 0);
}

static void flip(const char *dir, const char *file, long at)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    FILE *open = fopen(path, "r+b");
    cr_assert_not_null(open, "%s", path);
    fseek(open, at, SEEK_SET);
    int byte = fgetc(open);
    fseek(open, at, SEEK_SET);
    fputc(byte ^ 0x10, open);
    fclose(open);
}

Test(replog, b22_damage_before_the_end_of_the_file_that_was_written_is_refused, .timeout = 30)
{
    struct log_world world;
    char crashed[64], kept[64];
    log_init(&world);
    cr_assert_eq(log_start(&world), BB_OK);
    for (uint64_t value = 1; value <= 50; value++)
        log_propose(&world, value, 400);
    log_run(&world, 50);
    snprintf(crashed, sizeof crashed, "%.40s.crashed", world.dir);
    snprintf(kept, sizeof kept, "%.40s", world.dir);
    static const long places[] = { 8, 20, 300, 5000, 12000 };
    for (size_t i = 0; i < BB_COUNT_OF(places); i++) {
        struct bb_replog *replog = NULL;
        struct bb_replog_options options = world.options;
        copy_folder(&world, crashed);
        options.dir = crashed;
        flip(crashed, "open-1", places[i]);
        struct bb_ctx ctx = { .env = world.ctx.env };
        cr_assert_eq(bb_replog_open(&ctx, world.loop, &options, &replog), BB_CORRUPT, "at %ld: %s",
                     places[i], ctx.error);
        cr_assert(strstr(ctx.error, "open-1 is damaged at byte") != NULL, "%s", ctx.error);
    }
    copy_folder(&world, crashed);
    log_stop(&world);
    snprintf(world.dir, sizeof world.dir, "%s", crashed); /* undamaged: all is there */
    world.applied_count = 0;
    cr_assert_eq(log_start(&world), BB_OK, "%s", world.ctx.error);
    cr_assert_eq(world.applied_count, 50);
    log_stop(&world);
    log_fini(&world);
    snprintf(world.dir, sizeof world.dir, "%s", kept);
    char command[300];
    snprintf(command, sizeof command, "rm -rf %s", kept);
    cr_assert_eq(system(command), 0);
}

Test(replog, bytes_of_users_are_not_taken_for_whole_batches)
{
    uint8_t file[4096] = { 1 };
    uint64_t broken_at;
    for (size_t at = 8; at + 8 <= sizeof file; at += 8)
        bb_put_le64(file + at, 1 + at % 64);
    cr_assert(replog_tail_is_sound(bb_slice(file, sizeof file), &broken_at));
    cr_assert_eq(broken_at, 8);
    cr_assert(replog_tail_is_sound(bb_slice(file, 0), &broken_at));
}
