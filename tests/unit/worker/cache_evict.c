/* What eviction takes, it takes wholly. */
#include <criterion/criterion.h>
#include <sys/resource.h>

#include "bb/value.h"

#include "cache.h"

#define TABLE 10u
#define INDEX 0x80000000u

static void key_of(uint8_t key[20], uint8_t number)
{
    memset(key, 0, 20);
    bb_put_be32(key, BB_INDEX_BY_ID(TABLE));
    key[4] = number;
}

/* Read one document at `snapshot`, which storage delivers as written at `tx`. */
static void read_one(struct bb_ctx *ctx, struct cache *cache, uint8_t number, uint64_t snapshot,
                     uint64_t tx)
{
    uint8_t key[20];
    uint8_t content[4096] = { 0 };
    struct bb_arena *arena = bb_arena_new(0);
    key_of(key, number);
    struct cache_read read = { .arena = arena, .low = bb_slice(key, 20), .snapshot = snapshot };
    cr_assert_not(worker_cache_step(cache, &read));
    struct read_need need = read.needs[0];
    struct fill_entry entry = { .key = need.low,
                                .value = bb_slice(content, sizeof(content)),
                                .tx = tx };
    struct cache_fill fill = { .at = snapshot, .entries = &entry, .count = 1, .is_complete = true };
    worker_cache_fill(ctx, cache, &read, &need, &fill);
    cr_assert(worker_cache_step(cache, &read));
    cr_assert_eq(read.entry_count, 1u);
    bb_arena_free(arena);
}

/* The place of document 1 in an index. */
static void place_of(uint8_t place[30])
{
    memset(place, 0, 30);
    bb_put_be32(place, INDEX);
    place[14] = 1;
}

/* The feed brings document 1, written at `tx`. */
static void write_one(struct bb_ctx *ctx, struct cache *cache, uint64_t tx)
{
    uint8_t key[20];
    uint8_t place[30];
    uint8_t content[8] = { 0 };
    Bb__Proto__IndexKey index_key;
    Bb__Proto__IndexKey *index_keys[1] = { &index_key };
    Bb__Proto__Write write;
    Bb__Proto__Write *writes[1] = { &write };
    Bb__Proto__TxBody body;
    key_of(key, 1);
    bb__proto__write__init(&write);
    bb__proto__tx_body__init(&body);
    write.table = TABLE;
    write.doc_op = BB__PROTO__KEY_OP__KEY_PUT;
    write.doc_key = (ProtobufCBinaryData){ .data = key, .len = sizeof(key) };
    write.doc = (ProtobufCBinaryData){ .data = content, .len = sizeof(content) };
    bb__proto__index_key__init(&index_key);
    index_key.op = BB__PROTO__KEY_OP__KEY_PUT;
    place_of(place);
    index_key.key = (ProtobufCBinaryData){ .data = place, .len = sizeof(place) };
    write.keys = index_keys;
    write.n_keys = 1;
    body.writes = writes;
    body.n_writes = 1;
    (void)worker_cache_apply(ctx, cache, &body, tx);
}

/* Does the cache know document 1 at `snapshot`? */
static bool knows(struct cache *cache, uint64_t snapshot)
{
    uint8_t key[20];
    struct bb_arena *arena = bb_arena_new(0);
    key_of(key, 1);
    struct cache_read read = { .arena = arena, .low = bb_slice(key, 20), .snapshot = snapshot };
    bool is_known = worker_cache_step(cache, &read);
    bb_arena_free(arena);
    return is_known;
}

Test(cache, what_was_written_and_then_read_stays)
{
    struct bb_ctx ctx = { 0 };
    struct cache *cache = worker_cache_new(1u << 20);
    worker_cache_reset(cache, 10);
    write_one(&ctx, cache, 20);
    worker_cache_prune(cache, 30);
    cr_expect_not(knows(cache, 30), "nobody had read it");
    write_one(&ctx, cache, 40);
    cr_expect(knows(cache, 40));
    worker_cache_prune(cache, 50);
    cr_expect(knows(cache, 50));
    worker_cache_free(cache);
}

/* A document that is written all the time, and the cache lets go of what it was a while ago. */
static void write_and_prune(struct cache *cache, uint64_t count, uint64_t kept)
{
    struct bb_ctx ctx = { 0 };
    for (uint64_t tx = 100; tx < 100 + count; tx++) {
        write_one(&ctx, cache, tx);
        if (tx >= 100 + kept) {
            worker_cache_prune(cache, tx - kept);
        }
    }
}

/* Of this test's own process, however busy the machine is: what is quadratic takes many times as
 * much, and is ended. */
static void may_compute_for(rlim_t seconds)
{
    struct rlimit limit = { .rlim_cur = seconds, .rlim_max = seconds };
    cr_assert_eq(setrlimit(RLIMIT_CPU, &limit), 0);
}

/* It goes bit by bit. */
static void prune_until(struct cache *cache, uint64_t horizon, uint64_t bytes)
{
    for (int i = 0; i < 10000 && worker_cache_stats(cache).bytes >= bytes; i++) {
        worker_cache_prune(cache, horizon);
    }
}

Test(cache, letting_go_of_what_a_hot_document_was_does_not_depend_on_how_hot_it_is)
{
    may_compute_for(30);
    for (int is_read = 0; is_read < 2; is_read++) {
        struct bb_ctx ctx = { 0 };
        struct cache *cache = worker_cache_new(1u << 30);
        worker_cache_reset(cache, 10);
        write_one(&ctx, cache, 20);
        cr_expect(is_read == 0 || knows(cache, 20), "it is kept since");
        write_and_prune(cache, 300000, 150000);
        cr_expect(knows(cache, 250100));
        prune_until(cache, 400000, 2048);
        cr_expect_lt(worker_cache_stats(cache).bytes, 2048, "its newest version at most");
        worker_cache_free(cache);
    }
}

/* All of the index with its documents at `snapshot`. False: storage must be asked. */
static bool scans(struct bb_ctx *ctx, struct cache *cache, uint64_t snapshot, bool may_fill,
                  size_t expected)
{
    uint8_t low[4];
    uint8_t high[4];
    struct bb_arena *arena = bb_arena_new(0);
    bb_put_be32(low, INDEX);
    bb_put_be32(high, INDEX + 1);
    struct cache_read read = { .arena = arena,
                               .low = bb_slice(low, 4),
                               .high = bb_slice(high, 4),
                               .doc_index = BB_INDEX_BY_ID(TABLE),
                               .snapshot = snapshot };
    bool is_known = worker_cache_step(cache, &read);
    if (!is_known && may_fill) {
        struct read_need need = read.needs[0];
        struct cache_fill fill = { .at = snapshot, .is_complete = true };
        worker_cache_fill(ctx, cache, &read, &need, &fill);
        is_known = worker_cache_step(cache, &read);
    }
    if (is_known) {
        cr_expect_eq(read.entry_count, expected);
    }
    bb_arena_free(arena);
    return is_known;
}

Test(cache, a_document_stays_as_long_as_its_place_in_an_index)
{
    struct bb_ctx ctx = { 0 };
    struct cache *cache = worker_cache_new(1u << 20);
    worker_cache_reset(cache, 10);
    cr_expect(scans(&ctx, cache, 10, true, 0));
    for (uint64_t tx = 20; tx < 100; tx += 20) {
        write_one(&ctx, cache, tx);
        worker_cache_prune(cache, tx + 5);
        cr_expect(scans(&ctx, cache, tx + 10, false, 1), "written at %" PRIu64, tx);
    }
    /* Two writes that go at once: the older one must not take the newer one with it. */
    write_one(&ctx, cache, 120);
    write_one(&ctx, cache, 140);
    worker_cache_prune(cache, 150);
    cr_expect(scans(&ctx, cache, 150, false, 1));
    cr_expect(knows(cache, 150));
    worker_cache_free(cache);
}

Test(cache, what_was_read_of_an_epoch_that_died_is_not_known)
{
    struct bb_ctx ctx = { 0 };
    struct cache *cache = worker_cache_new(1u << 20);
    worker_cache_reset(cache, 10);
    write_one(&ctx, cache, 20);
    cr_expect(knows(cache, 20));
    worker_cache_drop_after(cache, 15);
    cr_expect_not(knows(cache, 30));
    worker_cache_free(cache);
}

Test(cache, what_was_read_after_the_horizon_can_be_evicted_when_the_horizon_has_passed)
{
    struct bb_ctx ctx = { 0 };
    struct cache *cache = worker_cache_new(1024);
    worker_cache_reset(cache, 10);
    for (uint8_t i = 0; i < 8; i++) {
        read_one(&ctx, cache, i, 100, 90);
    }
    /* A slow call still reads at 50: nothing after that may be dropped. */
    for (int i = 0; i < 4; i++) {
        worker_cache_prune(cache, 50);
    }
    for (uint64_t horizon = 200; horizon < 204; horizon++) {
        worker_cache_prune(cache, horizon);
    }
    cr_expect_leq(worker_cache_stats(cache).bytes, 1024u, "%" PRIu64 " bytes are lost",
                  worker_cache_stats(cache).bytes);
    worker_cache_free(cache);
}

/* ---- bit by bit: no single step takes a time that grows with what there is ---- */

static void fill_many(struct bb_ctx *ctx, struct cache *cache, uint32_t count)
{
    struct bb_arena *arena = bb_arena_new(0);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t key[20] = { 0 };
        bb_put_be32(key, BB_INDEX_BY_ID(TABLE));
        bb_put_be32(key + 4, i);
        struct cache_read read = { .arena = arena, .low = bb_slice(key, 20), .snapshot = 100 };
        cr_assert_not(worker_cache_step(cache, &read));
        struct fill_entry entry = { .key = read.low, .value = bb_slice(key, 20), .tx = 90 };
        struct cache_fill fill = { .at = 100, .entries = &entry, .count = 1, .is_complete = true };
        worker_cache_fill(ctx, cache, &read, &read.needs[0], &fill);
        bb_arena_reset(arena);
    }
    bb_arena_free(arena);
}

Test(cache, room_is_made_without_looking_at_all_there_is)
{
    struct bb_ctx ctx = { 0 };
    uint64_t bytes_max = 1u << 20;
    struct cache *cache = worker_cache_new(bytes_max);
    worker_cache_reset(cache, 10);
    fill_many(&ctx, cache, 50000);
    worker_cache_prune(cache, 200); /* what came is paid for */
    cr_expect_gt(worker_cache_stats(cache).bytes, bytes_max);
    unsigned turns = 0;
    for (; worker_cache_stats(cache).bytes > bytes_max; turns++) {
        uint64_t before = worker_cache_stats(cache).looks;
        worker_cache_prune(cache, 200);
        cr_assert_leq(worker_cache_stats(cache).looks - before, 1000u);
        cr_assert_lt(turns, 1000u);
    }
    /* Who reads all the time has the room that was asked for, or nearly. */
    for (uint32_t i = 0; i < 20; i++) {
        worker_cache_prune(cache, 200);
    }
    cr_expect_leq(worker_cache_stats(cache).bytes, bytes_max);
    worker_cache_free(cache);
}

/* Nothing may go, as somebody still reads at an old moment: that costs little, again and again. */
Test(cache, what_may_not_go_is_not_looked_through_each_time)
{
    struct bb_ctx ctx = { 0 };
    struct cache *cache = worker_cache_new(1024);
    worker_cache_reset(cache, 10);
    fill_many(&ctx, cache, 5000);
    worker_cache_prune(cache, 50);
    uint64_t before = worker_cache_stats(cache).looks;
    for (int i = 0; i < 10; i++) {
        worker_cache_prune(cache, 50);
    }
    cr_expect_leq(worker_cache_stats(cache).looks - before, 10000u);
    worker_cache_free(cache);
}

/* Somebody held back what was written, and is gone. */
Test(cache, what_was_held_back_goes_bit_by_bit_and_nothing_is_wrong_meanwhile)
{
    struct bb_ctx ctx = { 0 };
    struct cache *cache = worker_cache_new(1u << 30);
    worker_cache_reset(cache, 10);
    cr_expect(scans(&ctx, cache, 10, true, 0));
    uint64_t tx = 100;
    for (; tx < 20100; tx++) {
        write_one(&ctx, cache, tx);
        worker_cache_prune(cache, 50);
    }
    uint64_t held = worker_cache_stats(cache).bytes;
    unsigned turns = 0;
    for (uint64_t bytes = held; turns < 1000; turns++) {
        worker_cache_prune(cache, tx);
        uint64_t now = worker_cache_stats(cache).bytes;
        if (now == bytes) {
            break;
        }
        cr_assert_geq(now + held / 10, bytes, "a part of it each time");
        cr_assert(scans(&ctx, cache, tx, false, 1));
        cr_assert(knows(cache, tx));
        bytes = now;
    }
    cr_expect_gt(turns, 10u);
    cr_expect_lt(worker_cache_stats(cache).bytes, 4096u);
    worker_cache_free(cache);
}

Test(cache, what_was_forgotten_goes_bit_by_bit)
{
    struct bb_ctx ctx = { 0 };
    struct cache *cache = worker_cache_new(1u << 30);
    worker_cache_reset(cache, 10);
    fill_many(&ctx, cache, 20000);
    write_one(&ctx, cache, 120);
    uint64_t all = worker_cache_stats(cache).bytes;
    worker_cache_reset(cache, 200);
    cr_expect_eq(worker_cache_stats(cache).bytes, all, "not yet");
    cr_expect_gt(worker_cache_stats(cache).leaving, all / 2);
    cr_expect_not(knows(cache, 200), "but it is forgotten");
    write_one(&ctx, cache, 220);
    cr_expect(knows(cache, 220));
    unsigned turns = 0;
    for (; worker_cache_stats(cache).bytes > 4096; turns++) {
        uint64_t before = worker_cache_stats(cache).bytes;
        worker_cache_prune(cache, 210);
        cr_assert_leq(before - worker_cache_stats(cache).bytes, all / 10);
        cr_assert_lt(turns, 1000u);
    }
    cr_expect_gt(turns, 20u);
    cr_expect_eq(worker_cache_stats(cache).leaving, 0u);
    cr_expect(knows(cache, 220));
    /* And with what is left of it at the end. */
    fill_many(&ctx, cache, 0);
    worker_cache_reset(cache, 300);
    worker_cache_free(cache);
}
