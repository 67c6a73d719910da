/*
 * One applying thread, the store's own flushing thread, three readers: each read sees one whole
 * moment, whether its entries lie in the active chunk, the sealed one or LMDB. To be run under the
 * thread sanitizer (make race-programs MODE=tsan).
 *
 * Transaction N writes document N % 64 and moves its index entry from N - 64 to N. So at T >= 64
 * the index has exactly the entries T - 63 .. T, in this order, and each joins to the document
 * written by the transaction of that number.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bb/env.h"
#include "bb/store.h"

#include "common.pb-c.h"

enum {
    TRANSACTIONS = 20000,
    READERS = 3,
    DOCS = 64,
    BY_ID = 40,
    BY_NUMBER = 41
};

struct shared {
    struct bb_store *store;
    _Atomic size_t next_reader;
    _Atomic uint64_t checks;
};

static void fail(const char *what, uint64_t at)
{
    (void)fprintf(stderr, "readers: %s at %" PRIu64 "\n", what, at);
    exit(1);
}

static ProtobufCBinaryData doc_key(uint64_t number, uint8_t key[20])
{
    memset(key, 0, 20);
    bb_put_be32(key, BY_ID);
    bb_put_be64(key + 12, number % DOCS);
    return (ProtobufCBinaryData){ .len = 20, .data = key };
}

static ProtobufCBinaryData number_key(uint64_t number, uint8_t key[28])
{
    memset(key, 0, 28);
    bb_put_be32(key, BY_NUMBER);
    bb_put_be64(key + 4, number);
    bb_put_be64(key + 20, number % DOCS);
    return (ProtobufCBinaryData){ .len = 28, .data = key };
}

static void append_transaction(struct bb_buf *batch, uint64_t number)
{
    uint8_t doc[20], old_key[28], new_key[28], content[8], body_bytes[512], size[4];
    Bb__Proto__IndexKey removed, added, *keys[2] = { &added, &removed };
    Bb__Proto__Write write, *writes[1] = { &write };
    Bb__Proto__TxBody body;
    Bb__Proto__TxRecord record;
    bb__proto__index_key__init(&removed);
    bb__proto__index_key__init(&added);
    bb__proto__write__init(&write);
    bb__proto__tx_body__init(&body);
    bb__proto__tx_record__init(&record);
    added.op = BB__PROTO__KEY_OP__KEY_PUT;
    added.key = number_key(number, new_key);
    removed.op = BB__PROTO__KEY_OP__KEY_REMOVE;
    removed.key = number_key(number - DOCS, old_key);
    bb_put_le64(content, number);
    write.doc_key = doc_key(number, doc);
    write.doc_op = BB__PROTO__KEY_OP__KEY_TOUCH;
    write.doc = (ProtobufCBinaryData){ .len = 8, .data = content };
    write.keys = keys;
    write.n_keys = number > DOCS ? 2 : 1;
    body.writes = writes;
    body.n_writes = 1;
    record.tx = number;
    record.prev = number - 1;
    record.body.len = bb__proto__tx_body__pack(&body, body_bytes);
    record.body.data = body_bytes;
    size_t packed = bb__proto__tx_record__get_packed_size(&record);
    bb_put_le32(size, (uint32_t)packed);
    bb_buf_append(batch, size, 4);
    (void)bb__proto__tx_record__pack(&record, bb_buf_reserve(batch, packed));
    batch->size += packed;
}

static void apply_all(void *arg)
{
    struct shared *shared = arg;
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct bb_buf batch;
    bb_buf_init(&batch);
    uint64_t index = 0;
    for (uint64_t number = 1; number <= TRANSACTIONS;) {
        bb_buf_clear(&batch);
        for (int i = 0; i < 5; i++) {
            append_transaction(&batch, number++);
        }
        struct bb_store_state state = { .index = ++index, .last_tx = BB_TX(number - 1) };
        if (bb_store_apply(&ctx, shared->store, &state, bb_buf_slice(&batch)) != BB_OK) {
            fail(ctx.error, number);
        }
    }
    bb_buf_fini(&batch);
}

static void check_moment(struct bb_ctx *ctx, struct bb_store_snapshot *snapshot, uint64_t at,
                         bool is_descending)
{
    uint8_t low[4], high[4], key[20];
    struct bb_store_result result;
    size_t bytes = 1 << 20;
    bb_put_be32(low, BY_NUMBER);
    bb_put_be32(high, BY_NUMBER + 1);
    struct bb_store_op op = { .low = bb_slice(low, 4),
                              .high = bb_slice(high, 4),
                              .is_descending = is_descending,
                              .doc_index = BY_ID };
    if (bb_store_read(ctx, snapshot, &op, &bytes, &result) != BB_OK) {
        fail(ctx->error, at);
    }
    if (result.count != DOCS || !result.is_complete) {
        fail("an incomplete index", at);
    }
    for (uint64_t i = 0; i < DOCS; i++) {
        uint64_t expected = is_descending ? at - i : at - (DOCS - 1) + i;
        const struct bb_store_entry *entry = &result.entries[i];
        if (bb_get_be64(entry->key.data + 4) != expected || entry->tx.us != expected ||
            bb_get_le64(entry->value.data) != expected) {
            fail("an entry of another moment", at);
        }
    }
    struct bb_store_op get = { .low = bb_slice(doc_key(at, key).data, 20) };
    if (bb_store_read(ctx, snapshot, &get, &bytes, &result) != BB_OK || result.count != 1 ||
        result.entries[0].tx.us != at) {
        fail("a document of another moment", at);
    }
}

static void read_all(void *arg)
{
    struct shared *shared = arg;
    size_t reader = atomic_fetch_add(&shared->next_reader, 1);
    struct bb_ctx ctx = { .env = bb_env_real(), .arena = bb_arena_new(0) };
    uint64_t newest = 0;
    for (uint64_t round = 0; newest < TRANSACTIONS; round++) {
        struct bb_store_snapshot *snapshot;
        bb_arena_reset(ctx.arena);
        newest = bb_store_applied(shared->store).us;
        if (newest < 2 * DOCS) {
            continue;
        }
        uint64_t back = round % 3 == 0 ? 0 : (round * 37) % (newest - DOCS);
        int rc =
            bb_store_snapshot_open(&ctx, shared->store, reader, BB_TX(newest - back), &snapshot);
        if (rc == BB_TOO_OLD) {
            continue;
        }
        if (rc != BB_OK) {
            fail(ctx.error, newest - back);
        }
        check_moment(&ctx, snapshot, newest - back, round % 2 == 0);
        bb_store_snapshot_close(snapshot);
        atomic_fetch_add(&shared->checks, 1);
    }
    bb_arena_free(ctx.arena);
}

static void remove_file(void *arg, const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", (const char *)arg, name);
    (void)unlink(path);
}

int main(void)
{
    char dir[] = "/tmp/bb-race-XXXXXX";
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct shared shared = { 0 };
    if (mkdtemp(dir) == NULL) {
        fail("no folder", 0);
    }
    struct bb_store_options options = {
        .dir = dir,
        .reader_count = READERS,
        .flush_ms = 3,
        .generation_ms = 20,
        .gather = BB_STORE_GATHER_ALWAYS,
        .gather_runs = 3,
    };
    if (bb_store_open(&ctx, &options, &shared.store) != BB_OK) {
        fail(ctx.error, 0);
    }
    struct bb_thread *readers[READERS];
    for (int i = 0; i < READERS; i++) {
        readers[i] = bb_thread_start("reader", read_all, &shared);
    }
    struct bb_thread *writer = bb_thread_start("writer", apply_all, &shared);
    bb_thread_join(writer);
    for (int i = 0; i < READERS; i++) {
        bb_thread_join(readers[i]);
    }
    struct bb_store_stats stats;
    bb_store_stats(&ctx, shared.store, &stats);
    (void)printf("%" PRIu64 " moments checked over %" PRIu64 " flushes\n",
                 atomic_load(&shared.checks), stats.flushes);
    int rc = bb_store_close(&ctx, shared.store);
    (void)ctx.env->ops->list_dir(&ctx, ctx.env, dir, remove_file, dir);
    (void)rmdir(dir);
    return rc == BB_OK ? 0 : 1;
}
