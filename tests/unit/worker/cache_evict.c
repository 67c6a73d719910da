/* What eviction takes, it takes wholly. */
#include <criterion/criterion.h>

#include "bb/value.h"

#include "cache.h"

#define TABLE 10u

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

/* The feed brings document 1, written at `tx`. */
static void write_one(struct bb_ctx *ctx, struct cache *cache, uint64_t tx)
{
    uint8_t key[20];
    uint8_t content[8] = { 0 };
    Bb__Proto__Write write;
    Bb__Proto__Write *writes[1] = { &write };
    Bb__Proto__TxBody body;
    key_of(key, 1);
    bb__proto__write__init(&write);
    bb__proto__tx_body__init(&body);
    write.table = TABLE;
    write.doc_key = (ProtobufCBinaryData){ .data = key, .len = sizeof(key) };
    write.doc = (ProtobufCBinaryData){ .data = content, .len = sizeof(content) };
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
