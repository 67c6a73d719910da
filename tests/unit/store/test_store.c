/* The promises of bb/store.h, one by one. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "world.h"

static struct world world;

static void begin(void)
{
    world_init(&world, 1);
}

static void end(void)
{
    world_fini(&world);
}

static uint64_t put(uint32_t doc, const char *text, const char *field)
{
    struct change change = { .doc = doc, .text = text, .field = field };
    return world_write(&world, &change, 1);
}

static void flush(void)
{
    cr_assert_eq(bb_store_flush(&world.ctx, world.store), BB_OK, "%s", world.ctx.error);
}

static int open_at(uint64_t at)
{
    struct bb_store_snapshot *snapshot;
    int rc = bb_store_snapshot_open(&world.ctx, world.store, 0, BB_TX(at), &snapshot);
    bb_store_snapshot_close(snapshot);
    return rc;
}

#define cr_assert_text(doc, at, expected) cr_assert_str_eq(world_text(&world, doc, at), expected)

Test(store, each_moment_of_the_window_can_be_read, .init = begin, .fini = end)
{
    uint64_t first = put(1, "one", "f"), second = put(1, "two", "f");
    flush();
    uint64_t third = put(1, "three", "f");
    flush();
    uint64_t gone = put(1, NULL, NULL), back = put(1, "back", "f");
    cr_assert_null(world_text(&world, 1, first - 1));
    cr_assert_text(1, first, "one");
    cr_assert_text(1, second, "two");
    cr_assert_text(1, third, "three");
    cr_assert_null(world_text(&world, 1, gone));
    cr_assert_text(1, back, "back");
    cr_assert_text(1, 0, "back");
    flush();
    cr_assert_text(1, first, "one");
    cr_assert_null(world_text(&world, 1, gone));
    cr_assert_text(1, back, "back");
}

Test(store, a_moment_that_is_not_applied_is_not_yet, .init = begin, .fini = end)
{
    uint64_t tx = put(1, "one", "f");
    cr_assert_eq(open_at(tx), BB_OK);
    cr_assert_eq(open_at(tx + 1), BB_NOT_YET);
    cr_assert_eq(bb_store_applied(world.store).us, tx);
}

Test(store, a_moment_beyond_its_generation_is_too_old, .init = begin, .fini = end)
{
    uint64_t first = put(1, "one", "f");
    flush();
    uint64_t second = put(1, "two", "f");
    flush();
    put(1, "three", "f");
    flush();
    world.now_us += 5999999;
    flush();
    cr_assert_text(1, first, "one");
    cr_assert_text(1, second, "two");
    world.now_us += 1;
    flush();
    cr_assert_eq(open_at(first), BB_TOO_OLD);
    cr_assert_eq(open_at(second), BB_TOO_OLD);
    cr_assert(strstr(world.ctx.error, "the oldest that can be read") != NULL);
    cr_assert_text(1, 0, "three");
}

Test(store, an_open_snapshot_keeps_its_moment, .init = begin, .fini = end)
{
    struct bb_store_snapshot *snapshot;
    struct bb_store_result result;
    uint8_t key[20];
    size_t bytes = 1000;
    uint64_t first = put(1, "one", "f");
    cr_assert_eq(bb_store_snapshot_open(&world.ctx, world.store, 0, BB_TX(first), &snapshot),
                 BB_OK);
    /* The arena of this test is reset by each write. */
    struct bb_arena *kept = world.ctx.arena;
    world.ctx.arena = bb_arena_new(0);
    for (int i = 0; i < 5; i++) {
        put(1, "later", "f");
        flush();
        world.now_us += 10000000;
        flush();
    }
    bb_arena_free(world.ctx.arena);
    world.ctx.arena = kept;
    struct bb_store_op op = { .low = world_doc_key(1, key) };
    cr_assert_eq(bb_store_read(&world.ctx, snapshot, &op, &bytes, &result), BB_OK);
    cr_assert(bb_slice_equal_str(result.entries[0].value, "one"));
    bb_store_snapshot_close(snapshot);
    flush();
    cr_assert_eq(open_at(first), BB_TOO_OLD, "and gives it back");
}

Test(store, memory_is_given_back_when_generations_end, .init = begin, .fini = end)
{
    struct bb_store_stats stats;
    for (int i = 0; i < 10; i++) {
        put(1, "some text", "f");
        flush();
    }
    bb_store_stats(&world.ctx, world.store, &stats);
    cr_assert_eq(stats.generations, 11);
    cr_assert_gt(stats.memory_bytes, 0);
    cr_assert_eq(stats.unflushed_bytes, 0);
    world.now_us += 6000001;
    flush();
    bb_store_stats(&world.ctx, world.store, &stats);
    cr_assert_eq(stats.generations, 1);
    cr_assert_eq(stats.memory_bytes, 0);
    cr_assert_eq(stats.entries, 2);
    cr_assert_eq(stats.flushes, 10, "the idle one cost nothing");
}

Test(store, beyond_the_memory_bound_old_generations_end_early)
{
    static char text[60000];
    begin();
    bb_store_abandon(world.store);
    world.options.memory_max = 200000;
    cr_assert_eq(bb_store_open(&world.ctx, &world.options, &world.store), BB_OK);
    world_replay(&world);
    memset(text, 't', sizeof(text) - 1);
    uint64_t first = put(1, text, "f");
    flush();
    for (int i = 0; i < 5; i++) {
        put(1, text, "f");
        flush();
    }
    struct bb_store_stats stats;
    bb_store_stats(&world.ctx, world.store, &stats);
    cr_assert_leq(stats.memory_bytes, 200000);
    cr_assert_gt(stats.memory_bytes, 0);
    cr_assert_eq(open_at(first), BB_TOO_OLD);
    end();
}

Test(store, it_says_when_too_much_waits_to_be_flushed)
{
    static char text[60000];
    begin();
    bb_store_abandon(world.store);
    world.options.unflushed_max = 100000;
    cr_assert_eq(bb_store_open(&world.ctx, &world.options, &world.store), BB_OK);
    world_replay(&world);
    memset(text, 't', sizeof(text) - 1);
    put(1, text, "f");
    cr_assert(!bb_store_is_full(world.store));
    put(2, text, "f");
    cr_assert(bb_store_is_full(world.store));
    flush();
    cr_assert(!bb_store_is_full(world.store));
    end();
}

Test(store, a_commit_makes_the_flush_before_it_durable, .init = begin, .fini = end)
{
    struct bb_store_state durable;
    put(1, "one", "f"); /* index 2; index 1 was the claim */
    flush();
    bb_store_durable(&world.ctx, world.store, &durable);
    cr_assert_eq(durable.index, 0);
    put(1, "two", "f");
    flush();
    bb_store_durable(&world.ctx, world.store, &durable);
    cr_assert_eq(durable.index, 2);
    cr_assert_eq(bb_store_sync(&world.ctx, world.store), BB_OK);
    bb_store_durable(&world.ctx, world.store, &durable);
    cr_assert_eq(durable.index, 3);
    cr_assert(bb_slice_equal_str(durable.opaque, "digests"));
}

Test(store, an_entry_is_applied_once, .init = begin, .fini = end)
{
    put(1, "one", "f");
    const struct entry *last = &world.log[world.log_count - 1];
    cr_assert_eq(bb_store_apply(&world.ctx, world.store, &last->state, bb_buf_slice(&last->batch)),
                 BB_DUPLICATE);
    cr_assert_text(1, 0, "one");
}

Test(store, an_entry_without_transactions_moves_the_state, .init = begin, .fini = end)
{
    struct bb_store_state state, now;
    uint64_t tx = put(1, "one", "f");
    bb_store_state(&world.ctx, world.store, &state);
    state.index++;
    state.epoch = 7;
    state.opaque = bb_slice_str("another holder");
    cr_assert_eq(bb_store_apply(&world.ctx, world.store, &state, BB_SLICE_EMPTY), BB_OK);
    flush();
    bb_store_abandon(world.store);
    cr_assert_eq(bb_store_open(&world.ctx, &world.options, &world.store), BB_OK);
    bb_store_state(&world.ctx, world.store, &now);
    cr_assert_eq(now.index, state.index);
    cr_assert_eq(now.epoch, 7);
    cr_assert_eq(now.last_tx.us, tx);
    cr_assert(bb_slice_equal_str(now.opaque, "another holder"));
}

Test(store, a_malformed_batch_changes_nothing, .init = begin, .fini = end)
{
    put(1, "one", "f");
    put(1, "two", "f");
    struct entry *last = &world.log[world.log_count - 1];
    struct bb_store_state state = last->state, now;
    struct bb_slice batch = bb_buf_slice(&last->batch);
    uint64_t tx = state.last_tx.us;
    state.index++;
    /* Its prev names the transaction before the last: it does not follow. */
    cr_assert_eq(bb_store_apply(&world.ctx, world.store, &state, batch), BB_CORRUPT);
    cr_assert_eq(bb_store_check_batch(&world.ctx, batch, BB_TX(tx - 1), BB_TX(tx)), BB_OK);
    cr_assert_eq(bb_store_check_batch(&world.ctx, batch, BB_TX(tx), BB_TX(tx)), BB_BAD_REQUEST);
    cr_assert_eq(bb_store_check_batch(&world.ctx, batch, BB_TX(tx - 1), BB_TX(tx + 1)),
                 BB_BAD_REQUEST);
    for (size_t size = 1; size < batch.size; size++) {
        cr_assert_eq(
            bb_store_check_batch(&world.ctx, bb_slice(batch.data, size), BB_TX(tx - 1), BB_TX(tx)),
            BB_BAD_REQUEST);
    }
    bb_store_state(&world.ctx, world.store, &now);
    cr_assert_eq(now.index, last->state.index);
    cr_assert_text(1, 0, "two");
}

Test(store, a_reply_is_bounded_but_always_moves_on, .init = begin, .fini = end)
{
    struct bb_store_snapshot *snapshot;
    struct bb_store_result result;
    for (uint32_t doc = 0; doc < 20; doc++) {
        put(doc, "a document of some length, to fill a reply", "f");
    }
    flush();
    uint8_t low[4], high[4], key[20];
    bb_put_be32(low, BY_FIELD);
    bb_put_be32(high, BY_FIELD + 1);
    struct bb_store_op range = { .low = bb_slice(low, 4),
                                 .high = bb_slice(high, 4),
                                 .doc_index = DOC_INDEX };
    struct bb_store_op get = { .low = world_doc_key(3, key) }, miss = { .low = bb_slice(low, 4) };
    cr_assert_eq(bb_store_snapshot_open(&world.ctx, world.store, 0, BB_TX_NONE, &snapshot), BB_OK);
    size_t bytes = 1;
    cr_assert_eq(bb_store_read(&world.ctx, snapshot, &range, &bytes, &result), BB_OK);
    cr_assert_eq(result.count, 1, "the first entry always fits");
    cr_assert(!result.is_complete);
    cr_assert_eq(bb_store_read(&world.ctx, snapshot, &get, &bytes, &result), BB_OK);
    cr_assert_eq(result.count, 0);
    cr_assert(!result.is_complete);
    cr_assert_eq(bb_store_read(&world.ctx, snapshot, &miss, &bytes, &result), BB_OK);
    cr_assert(result.is_complete, "that there is nothing needs no room");
    bytes = 1000;
    cr_assert_eq(bb_store_read(&world.ctx, snapshot, &range, &bytes, &result), BB_OK);
    cr_assert_gt(result.count, 5);
    cr_assert_lt(result.count, 20);
    cr_assert_eq(bytes, 0);
    bytes = 100000;
    cr_assert_eq(bb_store_read(&world.ctx, snapshot, &range, &bytes, &result), BB_OK);
    cr_assert_eq(result.count, 20);
    cr_assert(result.is_complete);
    cr_assert_gt(bytes, 90000);
    bb_store_snapshot_close(snapshot);
}

Test(store, an_arena_at_its_limit_is_an_error_of_the_request, .init = begin, .fini = end)
{
    struct bb_store_snapshot *snapshot;
    struct bb_store_result result;
    for (uint32_t doc = 0; doc < DOCS; doc++) {
        put(doc, "text", "f");
    }
    struct bb_ctx ctx = { .env = world.ctx.env, .arena = bb_arena_new(1000) };
    uint8_t low[4], high[4];
    bb_put_be32(low, BY_FIELD);
    bb_put_be32(high, BY_FIELD + 1);
    struct bb_store_op range = { .low = bb_slice(low, 4), .high = bb_slice(high, 4) };
    size_t bytes = 1 << 20;
    cr_assert_eq(bb_store_snapshot_open(&ctx, world.store, 0, BB_TX_NONE, &snapshot), BB_OK);
    cr_assert_eq(bb_store_read(&ctx, snapshot, &range, &bytes, &result), BB_TOO_LARGE);
    bb_store_snapshot_close(snapshot);
    bb_arena_free(ctx.arena);
}

Test(store, an_entry_without_its_document_is_corruption_and_not_silence, .init = begin, .fini = end)
{
    struct bb_store_snapshot *snapshot;
    struct bb_store_result result;
    put(1, "one", "f");
    uint8_t low[4], high[4];
    bb_put_be32(low, BY_FIELD);
    bb_put_be32(high, BY_FIELD + 1);
    struct bb_store_op op = { .low = bb_slice(low, 4),
                              .high = bb_slice(high, 4),
                              .doc_index = DOC_INDEX + 1 };
    size_t bytes = 1000;
    cr_assert_eq(bb_store_snapshot_open(&world.ctx, world.store, 0, BB_TX_NONE, &snapshot), BB_OK);
    cr_assert_eq(bb_store_read(&world.ctx, snapshot, &op, &bytes, &result), BB_CORRUPT);
    bb_store_snapshot_close(snapshot);
}

Test(store, a_checkpoint_opens_with_the_state_that_it_names, .init = begin, .fini = end)
{
    struct folder target;
    struct bb_store_state state;
    char path[256];
    put(1, "one", "f");
    put(2, "two", "g");
    folder_make(&target, NULL);
    (void)snprintf(path, sizeof(path), "%s/data.mdb", target.path);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    cr_assert_eq(bb_store_checkpoint(&world.ctx, world.store, fd, &state), BB_OK);
    (void)close(fd);
    struct bb_store *original = world.store;
    world.options.dir = target.path;
    cr_assert_eq(bb_store_open(&world.ctx, &world.options, &world.store), BB_OK);
    cr_assert_eq(bb_store_applied(world.store).us, state.last_tx.us);
    world_check(&world, state.last_tx.us);
    bb_store_abandon(world.store);
    world.store = original;
    folder_remove(&target);
}

/* ---- what can go wrong ---- */

static int errors_told;
static void on_error(void *arg, int status, const char *error)
{
    (void)arg;
    cr_assert_eq(status, BB_NO_SPACE);
    cr_assert(strstr(error, "reserved size") != NULL, "%s", error);
    errors_told++;
}

Test(store, a_full_disk_is_told_once_and_stops_applying_but_loses_nothing)
{
    static char text[60000];
    struct bb_store_state state;
    begin();
    bb_store_abandon(world.store);
    world.options.map_bytes = 1u << 20;
    world.options.on_error = on_error;
    cr_assert_eq(bb_store_open(&world.ctx, &world.options, &world.store), BB_OK);
    world_replay(&world);
    memset(text, 't', sizeof(text) - 1);
    int rc = BB_OK;
    uint64_t last = 0, flushed = 0;
    for (uint32_t doc = 0; doc < DOCS && rc == BB_OK; doc++) {
        last = put(doc, text, "f");
        rc = bb_store_flush(&world.ctx, world.store);
        flushed = rc == BB_OK ? last : flushed;
    }
    cr_assert_eq(rc, BB_NO_SPACE);
    cr_assert_eq(errors_told, 1);
    cr_assert_eq(bb_store_flush(&world.ctx, world.store), BB_NO_SPACE);
    cr_assert_eq(errors_told, 1);
    state = world.log[world.log_count - 1].state;
    state.index++;
    cr_assert_eq(bb_store_apply(&world.ctx, world.store, &state, BB_SLICE_EMPTY), BB_NO_SPACE);
    world_check(&world, last); /* what was applied can still be read */
    bb_store_abandon(world.store);
    /* More room: everything is there, from LMDB and from the log. */
    world.options.map_bytes = 1u << 30;
    cr_assert_eq(bb_store_open(&world.ctx, &world.options, &world.store), BB_OK);
    cr_assert_eq(bb_store_applied(world.store).us, flushed);
    world_replay(&world);
    world_check(&world, last);
    end();
}

Test(store, a_damaged_state_record_is_refused_with_advice)
{
    begin();
    put(1, "one", "f");
    bb_store_close(&world.ctx, world.store);
    /* Flip one bit of the caller's part, wherever it lies in the file. */
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/data.mdb", world.folder.path);
    struct bb_buf file;
    bb_buf_init(&file);
    cr_assert_eq(bb_file_read_all(&world.ctx, path, &file), BB_OK);
    for (size_t i = 0; i + 7 < file.size; i++) {
        if (memcmp(file.data + i, "digests", 7) == 0) {
            file.data[i] ^= 1;
        }
    }
    cr_assert_eq(bb_file_write_all(&world.ctx, path, bb_buf_slice(&file), 0600), BB_OK);
    bb_buf_fini(&file);
    cr_assert_eq(bb_store_open(&world.ctx, &world.options, &world.store), BB_CORRUPT);
    cr_assert(strstr(world.ctx.error, "restore the folder") != NULL, "%s", world.ctx.error);
    folder_remove(&world.folder);
}

/* ---- with its own thread ---- */

static void sleep_ms(long ms)
{
    struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
    (void)nanosleep(&time, NULL);
}

static struct bb_store_stats stats_now(void)
{
    struct bb_store_stats stats;
    bb_store_stats(&world.ctx, world.store, &stats);
    return stats;
}

static void use_thread(void)
{
    bb_store_abandon(world.store);
    world.ops.now_us = bb_env_real()->ops->now_us;
    world.options.has_no_thread = false;
    world.options.flush_ms = 30;
    world.options.generation_ms = 100;
    cr_assert_eq(bb_store_open(&world.ctx, &world.options, &world.store), BB_OK);
    world_replay(&world);
}

Test(store, the_thread_flushes_ends_generations_syncs_and_then_rests, .timeout = 30)
{
    begin();
    use_thread();
    uint64_t first = put(1, "one", "f");
    for (int i = 0; i < 1000 && stats_now().flushed_tx.us != first; i++) {
        sleep_ms(2);
    }
    cr_assert_eq(stats_now().flushed_tx.us, first);
    for (int i = 0; i < 2000 && (stats_now().generations > 1 ||
                                 stats_now().durable_index != stats_now().applied_index);
         i++) {
        sleep_ms(2);
    }
    cr_assert_eq(stats_now().generations, 1);
    cr_assert_eq(stats_now().memory_bytes, 0);
    cr_assert_eq(stats_now().durable_index, stats_now().applied_index);
    uint64_t flushes = stats_now().flushes;
    sleep_ms(200);
    cr_assert_eq(stats_now().flushes, flushes, "an idle store writes nothing");
    end();
}

Test(store, a_full_chunk_is_flushed_at_once, .timeout = 30)
{
    static char text[60000];
    memset(text, 't', sizeof(text) - 1);
    begin();
    bb_store_abandon(world.store);
    world.ops.now_us = bb_env_real()->ops->now_us;
    world.options.has_no_thread = false;
    world.options.flush_ms = 3600000;
    world.options.flush_bytes = 100000;
    cr_assert_eq(bb_store_open(&world.ctx, &world.options, &world.store), BB_OK);
    world_replay(&world);
    put(1, text, "f");
    sleep_ms(50);
    cr_assert_eq(stats_now().flushes, 0);
    put(2, text, "f");
    for (int i = 0; i < 2000 && stats_now().flushes == 0; i++) {
        sleep_ms(2);
    }
    cr_assert_eq(stats_now().flushes, 1);
    end();
}

/* The child: writes all documents in each transaction, until it is killed; tells when some of it
 * will stay. */
static void write_without_end(int out)
{
    bool has_told = false;
    use_thread();
    for (;;) {
        struct change changes[DOCS];
        char text[32];
        (void)snprintf(text, sizeof(text), "%" PRIu64, world.tx + 1);
        for (uint32_t doc = 0; doc < DOCS; doc++) {
            changes[doc] = (struct change){ .doc = doc, .text = text, .field = text };
        }
        (void)world_write(&world, changes, DOCS);
        world.version_count = 0; /* the model is not asked */
        if (!has_told && stats_now().durable_index > 0) {
            has_told = true;
            cr_assert_eq(write(out, "x", 1), 1);
        }
    }
}

/* All documents are those of the last transaction, and the index has one entry for each. */
static void check_whole(const struct folder *folder)
{
    struct bb_store_snapshot *snapshot;
    struct bb_store_result result;
    struct bb_store *store;
    struct bb_ctx ctx = { .env = bb_env_real(), .arena = bb_arena_new(0) };
    struct bb_store_options options = { .dir = folder->path, .reader_count = 1 };
    int rc = bb_store_open(&ctx, &options, &store);
    cr_assert_eq(rc, BB_OK, "%s", ctx.error);
    cr_assert_gt(bb_store_applied(store).us, 1000);
    uint8_t low[4], high[4];
    bb_put_be32(low, BY_FIELD);
    bb_put_be32(high, BY_FIELD + 1);
    struct bb_store_op op = { .low = bb_slice(low, 4),
                              .high = bb_slice(high, 4),
                              .doc_index = DOC_INDEX };
    size_t bytes = 1 << 20;
    cr_assert_eq(bb_store_snapshot_open(&ctx, store, 0, BB_TX_NONE, &snapshot), BB_OK);
    cr_assert_eq(bb_store_read(&ctx, snapshot, &op, &bytes, &result), BB_OK, "%s", ctx.error);
    cr_assert_eq(result.count, DOCS);
    for (size_t i = 0; i < result.count; i++) {
        cr_assert_eq(result.entries[i].tx.us, bb_store_applied(store).us);
    }
    bb_store_snapshot_close(snapshot);
    cr_assert_eq(bb_store_close(&ctx, store), BB_OK);
    bb_arena_free(ctx.arena);
}

Test(store, a_killed_process_leaves_one_whole_moment, .timeout = 60)
{
    for (int round = 0; round < 3; round++) {
        int ends[2];
        struct folder folder;
        cr_assert_eq(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0) {
            begin();
            cr_assert_eq(write(ends[1], &world.folder, sizeof(world.folder)), sizeof(world.folder));
            write_without_end(ends[1]);
        }
        cr_assert_eq(read(ends[0], &folder, sizeof(folder)), sizeof(folder));
        char told;
        cr_assert_eq(read(ends[0], &told, 1), 1);
        sleep_ms(200 + 37 * round);
        cr_assert_eq(kill(child, SIGKILL), 0);
        cr_assert_eq(waitpid(child, NULL, 0), child);
        (void)close(ends[0]);
        (void)close(ends[1]);
        check_whole(&folder);
        folder_remove(&folder);
    }
}
