/*
 * One writer, three readers: whatever a reader sees at a published tx stays what it was. To be run
 * under the thread sanitizer (make race-programs MODE=tsan).
 *
 * The writer's transaction N puts N under N % 64 and under 64 + N % 7, and publishes N. So at T the
 * value of key K < 64 is the largest N <= T with N % 64 == K, and the keys are complete and in
 * order.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "bb/mvcc.h"

enum {
    TRANSACTIONS = 100000,
    READERS = 3
};

struct shared {
    struct bb_mvcc *map;
    _Atomic uint64_t published;
};

static void fail(const char *what, uint64_t at)
{
    (void)fprintf(stderr, "readers: %s at %" PRIu64 "\n", what, at);
    exit(1);
}

static void write_all(void *arg)
{
    struct shared *shared = arg;
    struct bb_ctx ctx = { 0 };
    for (uint64_t tx = 1; tx <= TRANSACTIONS; tx++) {
        uint8_t low = (uint8_t)(tx % 64), high = (uint8_t)(64 + tx % 7);
        (void)bb_mvcc_put(&ctx, shared->map, bb_slice(&low, 1), bb_slice(&tx, sizeof(tx)),
                          BB_MVCC_PUT, BB_TX(tx));
        (void)bb_mvcc_put(&ctx, shared->map, bb_slice(&high, 1), bb_slice(&tx, sizeof(tx)),
                          BB_MVCC_PUT, BB_TX(tx));
        atomic_store_explicit(&shared->published, tx, memory_order_release);
    }
}

static uint64_t expected(uint8_t key, uint64_t at)
{
    uint64_t modulus = key < 64 ? 64 : 7, rest = key < 64 ? key : key - 64u;
    return at - (at + modulus - rest) % modulus;
}

static void check_scan(const struct shared *shared, uint64_t at, bool backward)
{
    struct bb_mvcc_cursor cursor;
    bb_mvcc_cursor_init(&cursor, shared->map, BB_TX(at));
    uint8_t end = 255;
    int previous = backward ? 256 : -1;
    size_t count = 0;
    bool more = backward ? bb_mvcc_seek_before(&cursor, bb_slice(&end, 1))
                         : bb_mvcc_seek(&cursor, BB_SLICE_EMPTY);
    while (more) {
        int key = cursor.version.key.data[0];
        if (backward ? key >= previous : key <= previous) {
            fail("keys out of order", at);
        }
        if (bb_get_le64(cursor.version.value.data) != expected((uint8_t)key, at)) {
            fail("a wrong version in a scan", at);
        }
        previous = key;
        count++;
        more = backward ? bb_mvcc_prev(&cursor) : bb_mvcc_next(&cursor);
    }
    if (at >= 64 && count != 64 + 7) {
        fail("a key is missing", at);
    }
}

static void read_all(void *arg)
{
    struct shared *shared = arg;
    uint64_t at = 0;
    for (uint64_t round = 0; at < TRANSACTIONS; round++) {
        at = atomic_load_explicit(&shared->published, memory_order_acquire);
        if (at == 0) {
            continue;
        }
        uint64_t past = at - round % (at < 1000 ? at : 1000);
        uint8_t key = (uint8_t)(past % 64);
        struct bb_mvcc_version version;
        if (!bb_mvcc_get(shared->map, bb_slice(&key, 1), BB_TX(past), &version) ||
            bb_get_le64(version.value.data) != past) {
            fail("a wrong version", past);
        }
        if (round % 8 == 0) {
            check_scan(shared, past, round % 16 == 0);
        }
    }
}

int main(void)
{
    struct shared shared = { .map = bb_mvcc_new(0) };
    struct bb_thread *readers[READERS];
    for (int i = 0; i < READERS; i++) {
        readers[i] = bb_thread_start("reader", read_all, &shared);
    }
    struct bb_thread *writer = bb_thread_start("writer", write_all, &shared);
    bb_thread_join(writer);
    for (int i = 0; i < READERS; i++) {
        bb_thread_join(readers[i]);
    }
    bb_mvcc_free(shared.map);
    return 0;
}
