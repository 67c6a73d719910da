/* Which indexes are asked for ranges; and that a range of them which becomes known looks at nothing
 * else that was written. */
#include <criterion/criterion.h>

#include "bb/value.h"

#include "cache.h"
#include "wanted.h"

#define TABLE 10u
#define INDEX 0x80000000u

static struct bb_slice in_index(uint8_t key[6], uint32_t index, uint16_t number)
{
    bb_put_be32(key, index);
    key[4] = (uint8_t)(number >> 8);
    key[5] = (uint8_t)number;
    return bb_slice(key, 6);
}

Test(wanted, an_index_is_wanted_from_when_somebody_asked_and_as_long_as_somebody_does)
{
    struct wanted *wanted = worker_wanted_new();
    uint8_t key[6], low[6], high[6];
    uint64_t second = 1000000;
    struct bb_slice from = in_index(low, 40, 0), to = in_index(high, 40, 9);
    cr_expect_not(worker_wanted_has(wanted, from, 10));
    cr_expect_eq(worker_wanted_from(wanted, from, to, 10), UINT64_MAX);
    worker_wanted_add(wanted, from, 10);
    cr_expect(worker_wanted_has(wanted, in_index(key, 40, 77), 11));
    cr_expect_not(worker_wanted_has(wanted, in_index(key, 41, 77), 11));
    cr_expect_eq(worker_wanted_from(wanted, from, to, 11), 10u);
    worker_wanted_add(wanted, from, 50 * second);
    cr_expect_eq(worker_wanted_from(wanted, from, to, 100 * second), 10u);
    /* Nobody asked for a while: a write was not kept, so what is kept begins anew. */
    cr_expect_not(worker_wanted_has(wanted, from, 111 * second));
    cr_expect_eq(worker_wanted_from(wanted, from, to, 111 * second), UINT64_MAX);
    worker_wanted_add(wanted, from, 111 * second);
    cr_expect_eq(worker_wanted_from(wanted, from, to, 112 * second), 111 * second);
    /* A range of two indexes, and the whole of one. */
    cr_expect_eq(worker_wanted_from(wanted, from, in_index(high, 41, 0), 112 * second), UINT64_MAX);
    bb_put_be32(high, 41);
    cr_expect_eq(worker_wanted_from(wanted, from, bb_slice(high, 4), 112 * second), 111 * second);
    worker_wanted_free(wanted);
}

Test(wanted, of_too_many_indexes_those_stay_that_were_asked_for_last)
{
    struct wanted *wanted = worker_wanted_new();
    uint8_t key[6], high[6];
    for (uint32_t i = 0; i < 5000; i++) {
        worker_wanted_add(wanted, in_index(key, i * 4, 0), i);
        worker_wanted_add(wanted, in_index(key, 8, 0), i);
        cr_assert(worker_wanted_has(wanted, in_index(key, i * 4, 0), i));
    }
    struct bb_slice hot = in_index(key, 8, 0);
    cr_expect_leq(worker_wanted_from(wanted, hot, in_index(high, 8, 1), 5000), 2u);
    cr_expect_not(worker_wanted_has(wanted, in_index(key, 12, 0), 5000));
    worker_wanted_free(wanted);
}

/* ---- in the cache ---- */

static struct bb_slice place_of(uint8_t place[30], uint8_t field, uint32_t number)
{
    memset(place, 0, 30);
    bb_put_be32(place, INDEX);
    place[4] = field;
    bb_put_be32(place + 14, number);
    return bb_slice(place, 30);
}

/* A new document, with its place in the index. */
static void write_one(struct cache *cache, uint8_t field, uint32_t number, uint64_t tx)
{
    struct bb_ctx ctx = { 0 };
    uint8_t key[20] = { 0 };
    uint8_t place[30];
    uint8_t content[8] = { 0 };
    Bb__Proto__IndexKey index_key;
    Bb__Proto__IndexKey *index_keys[1] = { &index_key };
    Bb__Proto__Write write;
    Bb__Proto__Write *writes[1] = { &write };
    Bb__Proto__TxBody body;
    bb__proto__index_key__init(&index_key);
    bb__proto__write__init(&write);
    bb__proto__tx_body__init(&body);
    bb_put_be32(key, BB_INDEX_BY_ID(TABLE));
    bb_put_be32(key + 4, number);
    write.table = TABLE;
    write.doc_op = BB__PROTO__KEY_OP__KEY_PUT;
    write.doc_key = (ProtobufCBinaryData){ .data = key, .len = sizeof(key) };
    write.doc = (ProtobufCBinaryData){ .data = content, .len = sizeof(content) };
    index_key.op = BB__PROTO__KEY_OP__KEY_PUT;
    index_key.key = (ProtobufCBinaryData){ .data = place, .len = sizeof(place) };
    (void)place_of(place, field, number);
    write.keys = index_keys;
    write.n_keys = 1;
    body.writes = writes;
    body.n_writes = 1;
    (void)worker_cache_apply(&ctx, cache, &body, tx);
}

struct asked {
    struct bb_arena *arena;
    uint8_t low[30], high[30];
    struct cache_read read;
};

/* All with `field`, of which storage must be asked. */
static void ask(struct asked *asked, struct cache *cache, uint8_t field, uint64_t snapshot)
{
    asked->arena = bb_arena_new(0);
    asked->read = (struct cache_read){ .arena = asked->arena,
                                       .low = place_of(asked->low, field, 0),
                                       .high = place_of(asked->high, field + 1, 0),
                                       .snapshot = snapshot };
    cr_assert_not(worker_cache_step(cache, &asked->read));
}

/* Storage found nothing at `at`. Returns how many there are at `snapshot` then. */
static size_t answer(struct asked *asked, struct cache *cache, uint64_t at, uint64_t snapshot)
{
    struct bb_ctx ctx = { 0 };
    struct read_need need = asked->read.needs[0];
    struct cache_fill fill = { .at = at, .is_complete = true };
    worker_cache_fill(&ctx, cache, &asked->read, &need, &fill);
    struct cache_read again = { .arena = asked->arena,
                                .low = asked->read.low,
                                .high = asked->read.high,
                                .snapshot = snapshot };
    cr_assert(worker_cache_step(cache, &again));
    bb_arena_free(asked->arena);
    return again.entry_count;
}

/* Three of `others` writes are of the range that becomes known. Returns the steps that took. */
static uint64_t steps_beside(uint32_t others, bool is_first)
{
    struct cache *cache = worker_cache_new(1u << 30);
    struct asked earlier, asked;
    worker_cache_reset(cache, 10);
    if (!is_first) {
        ask(&earlier, cache, 1, 10);
        cr_assert_eq(answer(&earlier, cache, 10, 10), 0u);
    }
    for (uint32_t i = 0; i < others; i++) {
        uint8_t field = i % (others / 3) == 1 ? 5 : 7;
        write_one(cache, field, i, 100 + i);
    }
    ask(&asked, cache, 5, 100 + others);
    uint64_t before = worker_cache_stats(cache).ordered;
    cr_expect_eq(answer(&asked, cache, 50, 100 + others), 3u, "%u others, the first: %d", others,
                 is_first);
    uint64_t steps = worker_cache_stats(cache).ordered - before;
    worker_cache_prune(cache, 200 + others);
    worker_cache_free(cache);
    return steps;
}

Test(cache, a_range_that_becomes_known_looks_at_what_was_written_into_it)
{
    cr_expect_eq(steps_beside(30, false), 0u);
    cr_expect_eq(steps_beside(30000, false), 0u);
    /* The first one of an index goes through all. */
    cr_expect_eq(steps_beside(30, true), 60u);
}

Test(cache, nothing_is_put_in_order_for_whoever_gets_documents)
{
    struct cache *cache = worker_cache_new(1u << 30);
    struct asked asked;
    worker_cache_reset(cache, 10);
    write_one(cache, 5, 1, 20);
    uint64_t loose = worker_cache_stats(cache).bytes;
    ask(&asked, cache, 5, 20);
    (void)answer(&asked, cache, 10, 20);
    worker_cache_reset(cache, 20);
    ask(&asked, cache, 5, 20);
    write_one(cache, 5, 1, 30);
    cr_expect_gt(worker_cache_stats(cache).bytes, loose, "its place is");
    worker_cache_prune(cache, 40);
    cr_expect_eq(answer(&asked, cache, 40, 40), 0u);
    worker_cache_free(cache);
}

/* What never happened is in no range, though it had its place and a document was got since. */
Test(cache, a_range_that_becomes_known_has_nothing_of_an_epoch_that_died)
{
    struct cache *cache = worker_cache_new(1u << 30);
    struct asked asked;
    worker_cache_reset(cache, 10);
    ask(&asked, cache, 5, 10);
    write_one(cache, 5, 1, 20);
    write_one(cache, 5, 2, 30);
    worker_cache_drop_after(cache, 20);
    write_one(cache, 5, 3, 25);
    cr_expect_eq(answer(&asked, cache, 10, 40), 2u);
    worker_cache_free(cache);
}
