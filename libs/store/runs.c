/*
 * What lies in runs: which ones there are, what they may hold, and the record that names them.
 *
 * A Bloom filter (Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970) whose
 * every place is a word with a bit for each run: two words say which of all runs may have a key.
 *
 * The record "runs", format 1: u32 format, u32 count, that many bytes, the runs' numbers, newest
 * first, u32 CRC-32C of all before.
 */
#include "store.h"

enum {
    FILTER_BITS = 20,
    ENTRY_OVERHEAD = 10, /* of LMDB, about */
    RECORD_FORMAT = 1,
    RECORD_HEADER = 8,
    RECORD_CRC = 4
};
#define FILTER_WORDS ((size_t)1 << FILTER_BITS)

struct store_filter {
    _Atomic uint64_t word[FILTER_WORDS];
};

/* ---- the filter ---- */

struct places {
    size_t first, second;
};

static struct places places_of(struct bb_slice key)
{
    uint64_t hash = bb_hash64(key, 0);
    return (struct places){ .first = (size_t)hash & (FILTER_WORDS - 1),
                            .second = (size_t)(hash >> 32) & (FILTER_WORDS - 1) };
}

static void set_bit(_Atomic uint64_t *word, uint64_t bit)
{
    /* One writer; a generation gets its bits, which stay as long as it does, with `view`. */
    uint64_t was = atomic_load_explicit(word, memory_order_relaxed);
    if ((was & bit) == 0) {
        atomic_store_explicit(word, was | bit, memory_order_relaxed);
    }
}

uint64_t store_runs_with(const struct store_base *base, const struct store_runs *runs,
                         struct bb_slice key)
{
    if (runs->count == 0) {
        return 0;
    }
    struct places places = places_of(key);
    return runs->numbers &
           atomic_load_explicit(&base->filter->word[places.first], memory_order_relaxed) &
           atomic_load_explicit(&base->filter->word[places.second], memory_order_relaxed);
}

/* Bits of a run that had the number before, which nobody reads any more, are taken away. */
static void filter_begin(struct store_base *base, uint32_t number)
{
    uint64_t bit = (uint64_t)1 << number;
    if (base->filter == NULL) {
        base->filter = bb_alloc_zero(1, sizeof(*base->filter));
    }
    for (size_t i = 0; (base->numbers_used & bit) != 0 && i < FILTER_WORDS; i++) {
        uint64_t was = atomic_load_explicit(&base->filter->word[i], memory_order_relaxed);
        if ((was & bit) != 0) {
            atomic_store_explicit(&base->filter->word[i], was & ~bit, memory_order_relaxed);
        }
    }
    base->numbers_used |= bit;
}

/* ---- one run ---- */

struct store_run store_run_begin(struct store_base *base, uint32_t number)
{
    filter_begin(base, number);
    return (struct store_run){ .number = number };
}

/* Indexes with the same bit are told apart by looking. */
static uint64_t index_bit(struct bb_slice key)
{
    uint32_t index = key.size < 4 ? 0 : bb_get_be32(key.data);
    return (uint64_t)1 << index % 64;
}

void store_run_add(struct store_base *base, struct store_run *run, struct bb_slice key,
                   struct bb_slice value)
{
    struct places places = places_of(key);
    uint64_t bit = (uint64_t)1 << run->number;
    set_bit(&base->filter->word[places.first], bit);
    set_bit(&base->filter->word[places.second], bit);
    run->indexes |= index_bit(key);
    run->keys++;
    run->bytes += key.size + value.size + ENTRY_OVERHEAD;
}

uint64_t store_runs_bytes(const struct store_runs *runs)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < runs->count; i++) {
        bytes += runs->run[i].bytes;
    }
    return bytes;
}

int store_run_entry(struct bb_ctx *ctx, struct bb_slice stored, enum bb_mvcc_kind *kind,
                    struct bb_slice *value)
{
    uint8_t mark = stored.size == 0 ? 0 : stored.data[0];
    if (mark != BB_MVCC_PUT && mark != BB_MVCC_REMOVE) {
        return bb_fail(ctx, BB_CORRUPT, "an entry of a run has the mark %u", mark);
    }
    *kind = mark;
    *value = bb_slice(stored.data + 1, stored.size - 1);
    return BB_OK;
}

bool store_run_reaches(const struct store_run *run, struct bb_slice low, struct bb_slice high)
{
    bool is_one_index = low.size >= 4 && high.size >= 4 && memcmp(low.data, high.data, 4) == 0;
    return !is_one_index || (run->indexes & index_bit(low)) != 0;
}

void store_runs_push(struct store_runs *runs, const struct store_run *run)
{
    bb_assert(runs->count < BB_KV_RUNS);
    memmove(runs->run + 1, runs->run, runs->count * sizeof(runs->run[0]));
    runs->run[0] = *run;
    runs->count++;
    runs->numbers |= (uint64_t)1 << run->number;
}

void store_runs_drop_oldest(struct store_runs *runs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        runs->numbers &= ~((uint64_t)1 << runs->run[--runs->count].number);
    }
}

/* ---- the record ---- */

int store_runs_save(struct bb_ctx *ctx, struct bb_kv_batch *batch, const struct store_runs *runs)
{
    uint8_t record[RECORD_HEADER + BB_KV_RUNS + RECORD_CRC];
    bb_put_le32(record, RECORD_FORMAT);
    bb_put_le32(record + 4, (uint32_t)runs->count);
    for (size_t i = 0; i < runs->count; i++) {
        record[RECORD_HEADER + i] = (uint8_t)runs->run[i].number;
    }
    size_t size = RECORD_HEADER + runs->count;
    bb_put_le32(record + size, bb_crc32c(0, record, size));
    return bb_kv_put_meta(ctx, batch, "runs", bb_slice(record, size + RECORD_CRC));
}

static int decode(struct bb_ctx *ctx, struct bb_slice from, uint8_t *numbers, size_t *count)
{
    size_t size = from.size < RECORD_HEADER + RECORD_CRC ? 0 : from.size - RECORD_CRC;
    bool is_whole = size > 0 && bb_get_le32(from.data + size) == bb_crc32c(0, from.data, size) &&
                    bb_get_le32(from.data) == RECORD_FORMAT;
    *count = is_whole ? bb_get_le32(from.data + 4) : 0;
    if (!is_whole || *count > BB_KV_RUNS || *count != size - RECORD_HEADER) {
        return bb_fail(ctx, BB_CORRUPT,
                       "the record of the store's runs is damaged; restore the folder from a "
                       "backup or from another replica");
    }
    uint64_t seen = 0;
    for (size_t i = 0; i < *count; i++) {
        numbers[i] = from.data[RECORD_HEADER + i];
        if (numbers[i] >= BB_KV_RUNS || (seen & (uint64_t)1 << numbers[i]) != 0) {
            return bb_fail(ctx, BB_CORRUPT, "the record of the store's runs names one twice");
        }
        seen |= (uint64_t)1 << numbers[i];
    }
    return BB_OK;
}

static int load_run(struct bb_ctx *ctx, struct store_base *base, const struct bb_kv_read *read,
                    uint32_t number)
{
    struct bb_kv_cursor *cursor = NULL;
    struct store_run run = store_run_begin(base, number);
    int rc = bb_kv_run_cursor_open(ctx, read, number, &cursor);
    if (rc != BB_OK) {
        return rc;
    }
    for (rc = bb_kv_seek(ctx, cursor, BB_SLICE_EMPTY); rc == BB_OK; rc = bb_kv_next(ctx, cursor)) {
        store_run_add(base, &run, bb_kv_cursor_key(cursor), bb_kv_cursor_value(cursor));
    }
    bb_kv_cursor_close(cursor);
    store_runs_push(&base->runs, &run);
    return rc == BB_NOT_FOUND ? BB_OK : rc;
}

int store_runs_load(struct bb_ctx *ctx, struct store_base *base)
{
    uint8_t numbers[BB_KV_RUNS];
    size_t count = 0;
    struct bb_kv_read *read = NULL;
    struct bb_slice record;
    int rc = bb_kv_read_open(ctx, base->kv, &read);
    if (rc != BB_OK) {
        return rc;
    }
    rc = bb_kv_get_meta(ctx, read, "runs", &record);
    if (rc == BB_OK) {
        rc = decode(ctx, record, numbers, &count);
    } else if (rc == BB_NOT_FOUND) {
        rc = BB_OK; /* nothing was ever gathered */
    }
    for (size_t i = count; i > 0 && rc == BB_OK; i--) {
        rc = load_run(ctx, base, read, numbers[i - 1]);
    }
    bb_kv_read_close(read);
    return rc;
}
