/*
 * What a document costs the worker's cache that is read and then written, among so many that most
 * of them come into it and push others out: the cache alone, without storage.
 * bench_worker_cache DOCUMENTS MEGABYTES [READS_BEFORE] [READS]
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cache.h"

enum {
    KEY_BYTES = 20,
    DOC_BYTES = 70,
    BATCH = 32,  /* calls between two moments at which the cache lets go */
    KEPT_TX = 64 /* versions that a reader may still ask for */
};

struct bench {
    struct bb_ctx ctx;
    struct bb_arena *arena;
    struct cache *cache;
    uint64_t random, documents, tx;
};

static double cpu_us(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (double)used.tv_sec * 1e6 + (double)used.tv_nsec / 1e3;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static void read_one(struct bench *bench, struct bb_slice key, struct bb_slice document)
{
    struct cache_read read = { .arena = bench->arena, .low = key, .snapshot = bench->tx };
    if (worker_cache_step(bench->cache, &read)) {
        return;
    }
    struct read_need need = read.needs[0];
    struct fill_entry entry = { .key = key, .value = document, .tx = 1 };
    struct cache_fill fill = {
        .at = bench->tx, .entries = &entry, .count = 1, .is_complete = true
    };
    worker_cache_fill(&bench->ctx, bench->cache, &read, &need, &fill);
    bb_assert(worker_cache_step(bench->cache, &read));
}

static void write_one(struct bench *bench, uint8_t key[KEY_BYTES], uint8_t document[DOC_BYTES])
{
    Bb__Proto__Write write;
    Bb__Proto__Write *writes[] = { &write };
    Bb__Proto__TxBody body;
    bb__proto__write__init(&write);
    bb__proto__tx_body__init(&body);
    write.table = 10;
    write.doc_op = BB__PROTO__KEY_OP__KEY_PUT;
    write.doc_key = (ProtobufCBinaryData){ .data = key, .len = KEY_BYTES };
    write.doc = (ProtobufCBinaryData){ .data = document, .len = DOC_BYTES };
    body.writes = writes;
    body.n_writes = 1;
    (void)worker_cache_apply(&bench->ctx, bench->cache, &body, ++bench->tx);
}

static void run(struct bench *bench, uint64_t calls)
{
    uint8_t key[KEY_BYTES], document[DOC_BYTES] = { 1 };
    for (uint64_t i = 0; i < calls; i++) {
        uint64_t number = mix(++bench->random) % bench->documents;
        bb_put_be32(key, 40);
        bb_put_be64(key + 4, mix(number + 1));
        bb_put_be64(key + 12, number);
        read_one(bench, bb_slice(key, sizeof(key)), bb_slice(document, sizeof(document)));
        write_one(bench, key, document);
        if (i % BATCH == 0) {
            worker_cache_prune(bench->cache, bench->tx - KEPT_TX);
            bb_arena_reset(bench->arena);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: %s DOCUMENTS MEGABYTES [READS_BEFORE] [READS]\n", argv[0]);
        return 2;
    }
    uint64_t before = argc > 3 ? strtoull(argv[3], NULL, 10) : 2500000;
    uint64_t calls = argc > 4 ? strtoull(argv[4], NULL, 10) : 400000;
    struct bench bench = { .arena = bb_arena_new(1u << 20),
                           .cache = worker_cache_new(strtoull(argv[2], NULL, 10) << 20),
                           .documents = strtoull(argv[1], NULL, 10),
                           .tx = 1000 };
    run(&bench, before);
    struct cache_stats old = worker_cache_stats(bench.cache);
    double start = cpu_us();
    run(&bench, calls);
    double used = cpu_us() - start;
    struct cache_stats new = worker_cache_stats(bench.cache);
    printf("%.2f us of CPU a call, %.0f %% of them not found, %.0f MB of the cache\n",
           used / (double)calls, (double)(new.misses - old.misses) * 100 / (double)calls,
           (double)new.bytes / 1048576);
    worker_cache_free(bench.cache);
    bb_arena_free(bench.arena);
    return 0;
}
