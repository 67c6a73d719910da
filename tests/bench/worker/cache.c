/*
 * What a document costs the worker's cache that is read and then written, among so many that most
 * of them come into it and push others out: the cache alone, without storage. And how long the
 * longest single steps take on the way there, when a reader who held back much is gone, and when an
 * epoch is.
 * bench_worker_cache DOCUMENTS MEGABYTES [READS_BEFORE] [READS]
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cache.h"

enum {
    KEY_BYTES = 20,
    DOC_BYTES = 70,
    BATCH = 32,         /* calls between two moments at which the cache lets go */
    DELAY_TX = 20,      /* what is durable is behind what is sequenced */
    KEPT_TX = 64,       /* versions that a reader may still ask for */
    HELD_CALLS = 100000 /* while one reader stays at its moment */
};

enum what {
    READ,
    WRITE,
    PRUNE,
    WHAT_COUNT
};

struct bench {
    struct bb_ctx ctx;
    struct bb_arena *arena;
    struct cache *cache;
    uint64_t random, documents, tx;
    uint64_t held; /* a reader is there; 0: none is */
    bool is_timed;
    double longest_us[WHAT_COUNT];
};

static double cpu_us(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (double)used.tv_sec * 1e6 + (double)used.tv_nsec / 1e3;
}

static double begin(const struct bench *bench)
{
    return bench->is_timed ? cpu_us() : 0;
}

static void end(struct bench *bench, enum what what, double start)
{
    double us = bench->is_timed ? cpu_us() - start : 0;
    bench->longest_us[what] = us > bench->longest_us[what] ? us : bench->longest_us[what];
}

static void show_longest(struct bench *bench, const char *when)
{
    printf("longest %s: read %.0f us, write %.0f us, letting go %.0f us\n", when,
           bench->longest_us[READ], bench->longest_us[WRITE], bench->longest_us[PRUNE]);
    memset(bench->longest_us, 0, sizeof(bench->longest_us));
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
        .at = bench->tx - DELAY_TX, .entries = &entry, .count = 1, .is_complete = true
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
        double start = begin(bench);
        read_one(bench, bb_slice(key, sizeof(key)), bb_slice(document, sizeof(document)));
        end(bench, READ, start);
        start = begin(bench);
        write_one(bench, key, document);
        end(bench, WRITE, start);
        if (i % BATCH == 0) {
            start = begin(bench);
            worker_cache_prune(bench->cache, bench->held != 0 ? bench->held : bench->tx - KEPT_TX);
            end(bench, PRUNE, start);
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
    bench.is_timed = true;
    run(&bench, before);
    bench.is_timed = false;
    struct cache_stats old = worker_cache_stats(bench.cache);
    double start = cpu_us();
    run(&bench, calls);
    double used = cpu_us() - start;
    struct cache_stats new = worker_cache_stats(bench.cache);
    printf("%.2f us of CPU a call, %.0f %% of them not found, %.0f MB of the cache\n",
           used / (double)calls, (double)(new.misses - old.misses) * 100 / (double)calls,
           (double)new.bytes / 1048576);
    show_longest(&bench, "before");
    bench.is_timed = true;
    bench.held = bench.tx - KEPT_TX;
    run(&bench, HELD_CALLS);
    show_longest(&bench, "with a reader who stays");
    bench.held = 0;
    run(&bench, HELD_CALLS);
    show_longest(&bench, "when it is gone");
    start = cpu_us();
    worker_cache_drop_after(bench.cache, bench.tx - DELAY_TX / 2);
    printf("an epoch that dies: %.0f us; ", cpu_us() - start);
    start = cpu_us();
    worker_cache_reset(bench.cache, bench.tx - KEPT_TX);
    printf("all that is forgotten: %.0f us\n", cpu_us() - start);
    run(&bench, HELD_CALLS);
    show_longest(&bench, "after it");
    worker_cache_free(bench.cache);
    bb_arena_free(bench.arena);
    return 0;
}
