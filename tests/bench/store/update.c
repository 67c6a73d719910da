/*
 * What an update of one of many small documents costs the store, by thread: the flush above all.
 * bench_store_update DIR DOCUMENTS SECONDS [updates a second] [flush-ms]. Fills DIR when it is new.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bb/env.h"
#include "bb/obs.h"
#include "bb/store.h"

#include "common.pb-c.h"

enum {
    LOAD_BATCH = 1000,
    ENTRY = 24, /* transactions of a log entry, as with 64 connections */
    DOC_BYTES = 90,
    KEY_BYTES = 20
};

struct bench {
    struct bb_ctx ctx;
    struct bb_store *store;
    struct bb_store_state state;
    struct bb_buf batch;
    uint64_t random;
    uint64_t documents;
};

static void check(struct bench *bench, int rc)
{
    if (rc != BB_OK) {
        fprintf(stderr, "%s: %s\n", bb_status_name(rc), bench->ctx.error);
        exit(1);
    }
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static void doc_key(uint64_t number, uint8_t *key)
{
    bb_put_be32(key, 40);
    bb_put_be64(key + 4, mix(number));
    bb_put_be64(key + 12, number);
}

static void field_key(uint64_t number, uint32_t index, uint8_t *key)
{
    bb_put_be32(key, index);
    bb_put_be64(key + 4, number);
    bb_put_be64(key + 12, mix(number));
    bb_put_be64(key + 20, number);
}

struct made {
    Bb__Proto__Write write, *writes[1];
    Bb__Proto__IndexKey key[2], *keys[2];
    uint8_t doc_key[KEY_BYTES], keys_bytes[2][28], doc[DOC_BYTES];
};

static void make_write(struct made *made, uint64_t number, uint64_t tx, bool is_new)
{
    bb__proto__write__init(&made->write);
    doc_key(number, made->doc_key);
    memset(made->doc, 'd', DOC_BYTES);
    bb_put_be64(made->doc, tx);
    made->write.doc_key = (ProtobufCBinaryData){ KEY_BYTES, made->doc_key };
    made->write.doc = (ProtobufCBinaryData){ DOC_BYTES, made->doc };
    made->write.doc_op = is_new ? BB__PROTO__KEY_OP__KEY_PUT : BB__PROTO__KEY_OP__KEY_TOUCH;
    made->write.keys = made->keys;
    made->write.n_keys = 2;
    for (uint32_t i = 0; i < 2; i++) {
        field_key(number, 100 + i, made->keys_bytes[i]);
        bb__proto__index_key__init(&made->key[i]);
        made->key[i].key = (ProtobufCBinaryData){ 28, made->keys_bytes[i] };
        made->key[i].op = made->write.doc_op;
        made->keys[i] = &made->key[i];
    }
    made->writes[0] = &made->write;
}

static void append_record(struct bench *bench, Bb__Proto__Write **writes, size_t count)
{
    Bb__Proto__TxBody body;
    Bb__Proto__TxRecord record;
    bb__proto__tx_body__init(&body);
    bb__proto__tx_record__init(&record);
    body.writes = writes;
    body.n_writes = count;
    uint8_t *bytes = bb_alloc(bb__proto__tx_body__get_packed_size(&body) + 1);
    record.prev = bench->state.last_tx.us;
    record.tx = ++bench->state.last_tx.us;
    record.body = (ProtobufCBinaryData){ bb__proto__tx_body__pack(&body, bytes), bytes };
    size_t packed = bb__proto__tx_record__get_packed_size(&record);
    uint8_t size[4];
    bb_put_le32(size, (uint32_t)packed);
    bb_buf_append(&bench->batch, size, 4);
    (void)bb__proto__tx_record__pack(&record, bb_buf_reserve(&bench->batch, packed));
    bench->batch.size += packed;
    bb_free(bytes);
}

static void apply(struct bench *bench)
{
    bench->state.index++;
    check(bench,
          bb_store_apply(&bench->ctx, bench->store, &bench->state, bb_buf_slice(&bench->batch)));
    bb_buf_clear(&bench->batch);
    while (bb_store_is_full(bench->store)) {
        (void)usleep(1000);
    }
}

static void load(struct bench *bench)
{
    struct made *made = calloc(LOAD_BATCH, sizeof(*made));
    Bb__Proto__Write *writes[LOAD_BATCH];
    for (uint64_t from = 0; from < bench->documents; from += LOAD_BATCH) {
        for (uint64_t i = 0; i < LOAD_BATCH; i++) {
            make_write(&made[i], from + i, bench->state.last_tx.us + 1, true);
            writes[i] = &made[i].write;
        }
        append_record(bench, writes, LOAD_BATCH);
        apply(bench);
    }
    free(made);
    check(bench, bb_store_sync(&bench->ctx, bench->store));
}

static uint64_t now_us(clockid_t clock)
{
    struct timespec at;
    (void)clock_gettime(clock, &at);
    return (uint64_t)at.tv_sec * 1000000u + (uint64_t)at.tv_nsec / 1000;
}

static void update(struct bench *bench, uint64_t seconds, uint64_t rate)
{
    struct made made;
    uint64_t start = now_us(CLOCK_MONOTONIC), own = now_us(CLOCK_THREAD_CPUTIME_ID),
             all = now_us(CLOCK_PROCESS_CPUTIME_ID), done = 0, now = start;
    struct bb_store_stats before, after;
    bb_store_stats(&bench->ctx, bench->store, &before);
    uint64_t longest = 0;
    while (now - start < seconds * 1000000) {
        if ((now - start) * rate / 1000000 < done) {
            (void)usleep(500);
            now = now_us(CLOCK_MONOTONIC);
            continue;
        }
        for (int i = 0; i < ENTRY; i++, done++) {
            bench->random = mix(bench->random + 0x9e3779b97f4a7c15u);
            make_write(&made, bench->random % bench->documents, bench->state.last_tx.us + 1, false);
            append_record(bench, made.writes, 1);
        }
        uint64_t began = now_us(CLOCK_MONOTONIC);
        apply(bench);
        now = now_us(CLOCK_MONOTONIC);
        longest = now - began > longest ? now - began : longest;
    }
    own = now_us(CLOCK_THREAD_CPUTIME_ID) - own;
    check(bench, bb_store_flush(&bench->ctx, bench->store));
    all = now_us(CLOCK_PROCESS_CPUTIME_ID) - all;
    bb_store_stats(&bench->ctx, bench->store, &after);
    uint64_t keys = after.flush_keys - before.flush_keys;
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    printf("%" PRIu64 " documents: %" PRIu64 " updates a second, owner %.1f us, flush %.1f us "
           "each; %" PRIu64 " flushes of %" PRIu64 " keys, the longest %" PRIu64
           " ms; longest apply %" PRIu64 " us; data %" PRIu64
           " MB; faults %ld, %ld of the disk, trims %" PRIu64 "\n",
           bench->documents, done * 1000000 / (now - start), (double)own / (double)done,
           (double)(all - own) / (double)done, after.flushes - before.flushes,
           keys / (after.flushes - before.flushes), after.flush_us_max / 1000, longest,
           after.data_bytes >> 20, usage.ru_minflt, usage.ru_majflt, after.trims - before.trims);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "bench_store_update DIR DOCUMENTS SECONDS [rate] [flush-ms]\n");
        return 2;
    }
    struct bench bench = { .ctx = { .env = bb_env_real(), .arena = bb_arena_new(0) },
                           .random = now_us(CLOCK_MONOTONIC),
                           .documents = strtoull(argv[2], NULL, 10) / LOAD_BATCH * LOAD_BATCH };
    struct bb_store_options options = {
        .dir = argv[1],
        .reader_count = 3,
        .resident_max = (size_t)8 << 30,
        .flush_ms = argc > 5 ? (uint32_t)strtoul(argv[5], NULL, 10) : 0,
    };
    bb_buf_init(&bench.batch);
    check(&bench, bb_store_open(&bench.ctx, &options, &bench.store));
    bb_store_state(&bench.ctx, bench.store, &bench.state);
    if (bench.state.index == 0) {
        bench.state.epoch = 1;
        apply(&bench); /* from here on transactions count */
        load(&bench);
    }
    update(&bench, strtoull(argv[3], NULL, 10), argc > 4 ? strtoull(argv[4], NULL, 10) : 6000);
    check(&bench, bb_store_close(&bench.ctx, bench.store));
    bb_buf_fini(&bench.batch);
    bb_arena_free(bench.ctx.arena);
    return 0;
}
