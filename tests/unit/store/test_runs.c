/* Runs beside the data: that answers do not depend on where a key lies, and when which is used. */
#include <criterion/criterion.h>

#include <time.h>

#include "common.pb-c.h"

#include "world.h"

static struct world world;

enum {
    ALWAYS_3 = 7 /* a seed: all is gathered, and three runs are merged together */
};

static void begin(void)
{
    world_init(&world, ALWAYS_3);
    cr_assert_eq(world.options.gather, BB_STORE_GATHER_ALWAYS);
    cr_assert_eq(world.options.gather_runs, 3);
}

static void end(void)
{
    world_fini(&world);
}

static struct bb_store_stats stats_now(void)
{
    struct bb_store_stats stats;
    bb_store_stats(&world.ctx, world.store, &stats);
    return stats;
}

static void flush(void)
{
    cr_assert_eq(bb_store_flush(&world.ctx, world.store), BB_OK, "%s", world.ctx.error);
}

static void check_now(void)
{
    world_check(&world, bb_store_applied(world.store).us);
}

static void write_one(uint32_t doc, const char *text, const char *field)
{
    struct change change = { .doc = doc, .text = text, .field = field };
    (void)world_write(&world, &change, 1);
}

Test(store_runs, runs_come_are_merged_in_parts_and_go, .init = begin, .fini = end)
{
    uint64_t most = 0;
    bool has_shrunk = false, was_partly = false;
    for (int i = 0; i < 40; i++) {
        uint64_t before = stats_now().runs;
        world_apply(&world);
        flush();
        world.now_us += 7000000; /* old generations end */
        uint64_t runs = stats_now().runs;
        most = runs > most ? runs : most;
        has_shrunk = has_shrunk || runs < before;
        was_partly = was_partly || runs > 3;
        check_now();
    }
    cr_assert_geq(most, 3);
    cr_assert_leq(most, 7, "%" PRIu64 " runs at once", most);
    cr_assert(has_shrunk);
    cr_assert(was_partly, "a pass goes on while new runs come");
}

Test(store_runs, a_removal_in_a_run_hides_what_the_data_and_older_runs_have, .init = begin,
     .fini = end)
{
    write_one(1, "in the data in the end", "a");
    flush();
    for (int i = 0; i < 6; i++) {
        write_one(2, "other", "b");
        flush();
    }
    write_one(1, "in a run", NULL);
    flush();
    write_one(1, NULL, NULL);
    flush();
    cr_assert_null(world_text(&world, 1, 0));
    check_now();
    write_one(1, "again", "c");
    flush();
    cr_assert_str_eq(world_text(&world, 1, 0), "again");
    check_now();
    for (int i = 0; i < 8; i++) {
        write_one(2, "more", "b");
        flush();
        check_now();
    }
}

Test(store_runs, snapshots_keep_the_runs_that_they_began_with, .init = begin, .fini = end)
{
    struct bb_ctx ctx = { .env = &world.env, .arena = bb_arena_new(0) };
    struct bb_store_snapshot *snapshot;
    struct bb_store_result result;
    uint8_t key[20];
    size_t bytes = 1 << 20;
    write_one(1, "old", "a");
    flush();
    uint64_t at = bb_store_applied(world.store).us;
    cr_assert_eq(bb_store_snapshot_open(&ctx, world.store, 0, BB_TX(at), &snapshot), BB_OK);
    for (int i = 0; i < 100; i++) {
        write_one(1, "new", i % 2 == 0 ? "b" : "a");
        flush();
        world.now_us += 10000000;
    }
    struct bb_store_op op = { .low = world_doc_key(1, key) };
    cr_assert_eq(bb_store_read(&ctx, snapshot, &op, &bytes, &result), BB_OK);
    cr_assert_eq(result.count, 1);
    cr_assert(bb_slice_equal_str(result.entries[0].value, "old"));
    bb_store_snapshot_close(snapshot);
    bb_arena_free(ctx.arena);
}

/* A snapshot stays open for long; what came behind it is over and only waits for it. */
Test(store_runs, generations_that_only_wait_for_an_older_one_take_no_numbers, .init = begin,
     .fini = end)
{
    struct bb_ctx ctx = { .env = &world.env, .arena = bb_arena_new(0) };
    struct bb_store_snapshot *snapshot;
    write_one(1, "old", "a");
    flush();
    uint64_t at = bb_store_applied(world.store).us;
    cr_assert_eq(bb_store_snapshot_open(&ctx, world.store, 0, BB_TX(at), &snapshot), BB_OK);
    for (int i = 0; i < 100; i++) {
        world_apply(&world);
        flush();
        world.now_us += 7000000;
        cr_assert_gt(stats_now().runs, 0, "flush %d found no number", i);
        check_now();
    }
    bb_store_snapshot_close(snapshot);
    bb_arena_free(ctx.arena);
}

/* All numbers of runs are taken when none of 100 generations ends. */
Test(store_runs, without_a_free_number_all_runs_are_merged_at_once, .init = begin, .fini = end)
{
    bool has_gone = false;
    for (int i = 0; i < 100; i++) {
        world_apply(&world);
        flush();
        has_gone = has_gone || (i > 0 && stats_now().runs == 0);
        check_now();
        world_check(&world, world_random_tx(&world, bb_store_oldest(world.store).us));
    }
    cr_assert(has_gone);
    world.now_us += 60000000;
    world_apply(&world);
    flush();
    world_apply(&world);
    flush();
    cr_assert_gt(stats_now().runs, 0, "there are numbers again");
    check_now();
}

Test(store_runs, what_lies_in_runs_is_there_after_a_start, .init = begin, .fini = end)
{
    for (int i = 0; i < 30; i++) {
        world_apply(&world);
        flush();
        uint64_t runs = stats_now().runs, entries = stats_now().run_entries;
        world_crash(&world);
        cr_assert_eq(stats_now().runs, runs);
        cr_assert_eq(stats_now().run_entries, entries);
        check_now();
    }
}

/* A key that a run has must not be written past it. */
Test(store_runs, who_does_not_gather_any_more_still_respects_the_runs, .init = begin, .fini = end)
{
    for (int round = 0; round < 6; round++) {
        world.options.gather = BB_STORE_GATHER_ALWAYS;
        world_restart(&world);
        write_one(1, "gathered", "a");
        write_one(2, "gathered", "b");
        flush();
        cr_assert_gt(stats_now().runs, 0);
        world.options.gather = BB_STORE_GATHER_NEVER;
        world_restart(&world);
        write_one(1, "straight", "c");
        write_one(2, NULL, NULL);
        write_one(3, "straight", "d");
        flush();
        cr_assert_str_eq(world_text(&world, 1, 0), "straight");
        cr_assert_null(world_text(&world, 2, 0));
        check_now();
    }
    for (int i = 0; i < 20 && stats_now().runs > 0; i++) {
        write_one(4, "more", i % 2 == 0 ? "e" : "f");
        flush();
        check_now();
    }
}

Test(store_runs, runs_end_also_when_the_same_keys_are_written_on_and_on, .init = begin, .fini = end)
{
    world.options.gather_runs = 20;
    world_restart(&world);
    for (int i = 0; i < 30; i++) {
        world_apply(&world);
        flush();
        world.now_us += 7000000;
    }
    cr_assert_gt(stats_now().runs, 20);
    world.options.gather = BB_STORE_GATHER_NEVER;
    world_restart(&world);
    bool has_ended = false;
    for (int i = 0; i < 60 && !has_ended; i++) {
        for (uint32_t doc = 0; doc < DOCS; doc++) {
            write_one(doc, "again", "a");
        }
        flush();
        world.now_us += 7000000;
        has_ended = stats_now().runs == 0;
    }
    cr_assert(has_ended);
    check_now();
}

/* ---- the store's own thread ---- */

static void begin_with_a_thread(void)
{
    begin();
    cr_assert_eq(bb_store_close(&world.ctx, world.store), BB_OK);
    world.ops.now_us = bb_env_real()->ops->now_us;
    world.options.has_no_thread = false;
    world.options.flush_ms = 20;
    world.options.generation_ms = 20;
    cr_assert_eq(bb_store_open(&world.ctx, &world.options, &world.store), BB_OK);
    world_apply(&world);
    flush();
    cr_assert_gt(stats_now().runs, 0);
}

static void wait_a_moment(void)
{
    struct timespec moment = { .tv_nsec = 20000000 };
    (void)nanosleep(&moment, NULL);
}

static void wait_until_no_run_is_left(void)
{
    while (stats_now().runs > 0) {
        wait_a_moment();
        check_now();
    }
    check_now();
}

Test(store_runs, while_nothing_is_written_runs_go_into_the_data, .init = begin_with_a_thread,
     .fini = end, .timeout = 60)
{
    wait_until_no_run_is_left();
}

Test(store_runs, runs_that_waited_for_a_copy_go_when_it_has_ended, .init = begin_with_a_thread,
     .fini = end, .timeout = 60)
{
    struct bb_store_copy *copy;
    struct bb_store_state state;
    cr_assert_eq(bb_store_copy_open(&world.ctx, world.store, 0, &copy, &state), BB_OK, "%s",
                 world.ctx.error);
    /* Until the thread has nothing else to do. */
    while (stats_now().durable_index < stats_now().flushed_index || stats_now().generations > 1) {
        wait_a_moment();
    }
    for (int i = 0; i < 10; i++) {
        wait_a_moment();
    }
    cr_assert_gt(stats_now().runs, 0);
    bb_store_copy_close(copy);
    wait_until_no_run_is_left();
}

/* ---- when it is worth it ---- */

enum {
    MANY = 60000, /* documents, on some 2,000 pages */
    SOME = 512
};

static size_t doc_size;

static void add_write(Bb__Proto__Write *write, uint8_t *key, uint32_t number)
{
    static uint8_t doc[3000];
    bb__proto__write__init(write);
    memset(key, 0, 20);
    bb_put_be32(key, DOC_INDEX);
    bb_put_be32(key + 16, number);
    write->doc_key = (ProtobufCBinaryData){ 20, key };
    write->doc = (ProtobufCBinaryData){ doc_size, doc };
    write->doc_op = BB__PROTO__KEY_OP__KEY_PUT;
}

/* Documents first, first + stride, .. in one transaction, without the model; then a flush. */
static void put_numbers(uint32_t first, uint32_t count, uint32_t stride)
{
    static uint8_t keys[MANY][20];
    static Bb__Proto__Write writes[MANY], *list[MANY];
    struct bb_store_state state;
    Bb__Proto__TxBody body;
    Bb__Proto__TxRecord record;
    for (uint32_t i = 0; i < count; i++) {
        add_write(&writes[i], keys[i], first + i * stride);
        list[i] = &writes[i];
    }
    bb__proto__tx_body__init(&body);
    bb__proto__tx_record__init(&record);
    body.writes = list;
    body.n_writes = count;
    uint8_t *bytes = bb_alloc(bb__proto__tx_body__get_packed_size(&body));
    bb_store_state(&world.ctx, world.store, &state);
    record.prev = state.last_tx.us;
    record.tx = ++world.tx;
    record.body = (ProtobufCBinaryData){ bb__proto__tx_body__pack(&body, bytes), bytes };
    struct bb_buf batch;
    bb_buf_init(&batch);
    size_t packed = bb__proto__tx_record__get_packed_size(&record);
    bb_put_le32(bb_buf_reserve(&batch, 4), (uint32_t)packed);
    batch.size += 4;
    (void)bb__proto__tx_record__pack(&record, bb_buf_reserve(&batch, packed));
    batch.size += packed;
    state.index++;
    state.last_seq++;
    state.last_tx = BB_TX(world.tx);
    cr_assert_eq(bb_store_apply(&world.ctx, world.store, &state, bb_buf_slice(&batch)), BB_OK, "%s",
                 world.ctx.error);
    bb_free(bytes);
    bb_buf_fini(&batch);
    flush();
    world.now_us += 7000000;
}

Test(store_runs, only_what_is_scattered_over_much_is_gathered)
{
    doc_size = 90;
    world_init(&world, 9); /* auto */
    cr_assert_eq(world.options.gather, BB_STORE_GATHER_AUTO);
    put_numbers(0, MANY, 1);
    cr_assert_eq(stats_now().runs, 0, "a load");
    put_numbers(MANY / 2, SOME, 1);
    cr_assert_eq(stats_now().runs, 0, "neighbours");
    put_numbers(0, 100, 600);
    cr_assert_eq(stats_now().runs, 0, "few");
    put_numbers(7, SOME, 117);
    cr_assert_eq(stats_now().runs, 1, "scattered");
    cr_assert_eq(stats_now().run_entries, SOME);
    for (uint32_t i = 0; i < 12; i++) {
        put_numbers(i, SOME, 117);
    }
    cr_assert_gt(stats_now().runs, 1);
    for (int i = 0; i < 12 && stats_now().runs > 0; i++) {
        put_numbers(MANY, SOME, 1);
    }
    cr_assert_eq(stats_now().runs, 0, "when nothing is gathered any more they go");
    world_fini(&world);
}

/* They have pages of their own, which would be written twice. */
Test(store_runs, large_documents_are_not_gathered)
{
    doc_size = 3000;
    world_init(&world, 9); /* auto */
    put_numbers(0, MANY / 2, 1);
    put_numbers(7, SOME, 57);
    cr_assert_eq(stats_now().runs, 0);
    doc_size = 90;
    put_numbers(9, SOME, 57);
    cr_assert_eq(stats_now().runs, 1, "small ones beside them are");
    world_fini(&world);
}

/* Starts in the middle of passes do not add runs up until there is no number. */
Test(store_runs, starts_in_the_middle_of_passes_do_not_use_up_the_numbers, .init = begin,
     .fini = end)
{
    world.options.gather_runs = 24;
    world_restart(&world);
    for (int i = 0; i < 300; i++) {
        world_apply(&world);
        flush();
        world.now_us += 7000000;
        uint64_t runs = stats_now().runs;
        cr_assert_gt(runs, 0, "flush %d found no number", i);
        cr_assert_lt(runs, 64);
        if (i % 47 == 46) {
            world_crash(&world);
        }
        check_now();
    }
}
