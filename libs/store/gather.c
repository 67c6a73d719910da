/*
 * How a chunk gets into the file with few pages.
 *
 * Each key that a flush writes into the data costs a page of it, unless others lie beside it. So a
 * chunk whose keys are scattered over more data than that goes into a run, where all of it lies
 * together, and runs are merged into the data when many have come: then several keys share each
 * page (O'Neil et al., "The log-structured merge-tree", 1996). A pass merges all runs that there
 * are when it begins, in the order of keys and a part with each flush, so that no flush is long;
 * when it has come to the end they are emptied.
 *
 * What a run has is newer than the data, and the newer of two runs is right. So a key goes past the
 * runs only when none of them has it.
 */
#include "store.h"

enum {
    KEYS_MIN = 256, /* fewer of a chunk are not worth a run */
    SAMPLES = 32,   /* pairs of neighbours that are looked at */
    /* A run of larger entries costs about the pages that it saves: it is half a page for each. */
    ENTRY_MAX = 2048,
    /* A pass needs a key for so many leaf pages, one of all data, to be worth it: fewer share a
     * leaf then, but nearly all that are written still share the pages above. */
    LEAVES_TO_BEGIN = 4,
    LEAVES_TO_STAY = 8,
    KEYS_A_LEAF = 6 /* of a pass at most */
};

struct gather {
    struct bb_store *store;
    struct store_base *base;
    struct bb_kv_batch *batch;
    uint64_t leaves; /* of the data; 0: nobody asked */
    bool gathers;    /* all goes into a run; else what is in one already */
    bool has_number; /* for a run of this flush: */
    uint32_t number;
    struct store_run run;
};

/* ---- is it worth a run? ---- */

static int count_near(struct bb_ctx *ctx, struct gather *gather, const struct store_chunk *chunk,
                      size_t *near, size_t *asked)
{
    size_t every = bb_mvcc_keys(chunk->map) / SAMPLES, at = 0;
    struct bb_slice last = BB_SLICE_EMPTY;
    struct bb_mvcc_cursor cursor;
    bb_mvcc_cursor_init(&cursor, chunk->map, BB_TX_MAX);
    int rc = BB_OK;
    for (bool more = bb_mvcc_seek(&cursor, BB_SLICE_EMPTY); more && rc == BB_OK;
         more = bb_mvcc_next(&cursor)) {
        if (at % every == 1) {
            bool is_near = false;
            rc = bb_kv_are_near(ctx, gather->batch, last, cursor.version.key, &is_near);
            *near += is_near;
            ++*asked;
        }
        last = cursor.version.key;
        at++;
    }
    return rc;
}

/* As many pages as keys now, and fewer when so many chunks like this come together? */
static int is_scattered(struct bb_ctx *ctx, struct gather *gather, const struct store_chunk *chunk,
                        bool *scattered)
{
    uint64_t keys = bb_mvcc_keys(chunk->map);
    size_t near = 0, asked = 0;
    *scattered = false;
    if (keys < KEYS_MIN || bb_mvcc_bytes(chunk->map) > keys * ENTRY_MAX) {
        return BB_OK;
    }
    int rc = bb_kv_leaves(ctx, gather->batch, &gather->leaves);
    uint64_t share = gather->base->runs.count > 0 ? LEAVES_TO_STAY : LEAVES_TO_BEGIN;
    if (rc != BB_OK || keys * gather->store->options.gather_runs < gather->leaves / share) {
        return rc;
    }
    rc = count_near(ctx, gather, chunk, &near, &asked);
    *scattered = near * 2 < asked;
    return rc;
}

static int decide(struct bb_ctx *ctx, struct gather *gather, const struct store_chunk *chunk)
{
    switch (gather->store->options.gather) {
    case BB_STORE_GATHER_NEVER:
        return BB_OK;
    case BB_STORE_GATHER_ALWAYS:
        gather->gathers = true;
        return BB_OK;
    case BB_STORE_GATHER_AUTO:
        return is_scattered(ctx, gather, chunk, &gather->gathers);
    }
    BB_UNREACHABLE("a way to gather");
}

static bool may_be_read(const struct store_generation *generation)
{
    return !generation->is_ended || generation->pins > 0;
}

/* A number that no run has, also none that somebody may still read. */
static void choose_number(struct gather *gather)
{
    uint64_t taken = gather->base->runs.numbers;
    bb_mutex_lock(gather->store->view);
    bb_list_each(item, &gather->store->generations) {
        const struct store_generation *generation =
            bb_container(item, struct store_generation, link);
        if (generation->base == gather->base && may_be_read(generation)) {
            taken |= generation->runs.numbers;
        }
    }
    bb_mutex_unlock(gather->store->view);
    gather->has_number = taken != UINT64_MAX;
    gather->number = gather->has_number ? (uint32_t)__builtin_ctzll(~taken) : 0;
}

/* ---- merging runs into the data ---- */

struct source {
    struct bb_kv_cursor *cursor;
    size_t age; /* 0: the newest */
};

/* A binary heap over the runs of a pass: the smallest key first, of equal ones the newest. */
struct heap {
    struct source source[BB_KV_RUNS];
    size_t count;
};

static bool comes_before(const struct source *a, const struct source *b)
{
    int order = bb_slice_compare(bb_kv_cursor_key(a->cursor), bb_kv_cursor_key(b->cursor));
    return order != 0 ? order < 0 : a->age < b->age;
}

static void sink(struct heap *heap, size_t at)
{
    struct source moved = heap->source[at];
    for (;;) {
        size_t child = at * 2 + 1;
        if (child + 1 < heap->count &&
            comes_before(&heap->source[child + 1], &heap->source[child])) {
            child++;
        }
        if (child >= heap->count || !comes_before(&heap->source[child], &moved)) {
            heap->source[at] = moved;
            return;
        }
        heap->source[at] = heap->source[child];
        at = child;
    }
}

static int heap_open(struct bb_ctx *ctx, const struct store_base *base,
                     const struct bb_kv_read *read, struct heap *heap)
{
    const struct store_runs *runs = &base->runs;
    for (size_t i = runs->count - base->pass.count; i < runs->count; i++) {
        struct source *source = &heap->source[heap->count];
        int rc = bb_kv_run_cursor_open(ctx, read, runs->run[i].number, &source->cursor);
        if (rc != BB_OK) {
            return rc;
        }
        source->age = i;
        rc = bb_kv_seek(ctx, source->cursor, bb_buf_slice(&base->pass.at));
        if (rc == BB_OK) {
            heap->count++;
        } else {
            bb_kv_cursor_close(source->cursor);
        }
        if (rc != BB_OK && rc != BB_NOT_FOUND) {
            return rc;
        }
    }
    for (size_t i = heap->count / 2; i > 0; i--) {
        sink(heap, i - 1);
    }
    return BB_OK;
}

static void heap_close(struct heap *heap)
{
    for (size_t i = 0; i < heap->count; i++) {
        bb_kv_cursor_close(heap->source[i].cursor);
    }
}

/* The first source goes on by one entry. */
static int heap_next(struct bb_ctx *ctx, struct heap *heap)
{
    int rc = bb_kv_next(ctx, heap->source[0].cursor);
    if (rc == BB_NOT_FOUND) {
        bb_kv_cursor_close(heap->source[0].cursor);
        heap->source[0] = heap->source[--heap->count];
        rc = BB_OK;
    }
    if (rc == BB_OK && heap->count > 0) {
        sink(heap, 0);
    }
    return rc;
}

/* The newest entry of the first key into the data; all of that key are passed. */
static int merge_key(struct bb_ctx *ctx, struct gather *gather, struct heap *heap, uint64_t *passed)
{
    struct bb_slice key = bb_kv_cursor_key(heap->source[0].cursor);
    enum bb_mvcc_kind kind;
    struct bb_slice value;
    int rc = store_run_entry(ctx, bb_kv_cursor_value(heap->source[0].cursor), &kind, &value);
    if (rc == BB_OK) {
        rc = kind == BB_MVCC_REMOVE ? bb_kv_delete(ctx, gather->batch, key)
                                    : bb_kv_put(ctx, gather->batch, key, value);
    }
    store_touched(gather->store, 1, 0);
    while (rc == BB_OK && heap->count > 0 &&
           bb_slice_equal(bb_kv_cursor_key(heap->source[0].cursor), key)) {
        ++*passed;
        rc = heap_next(ctx, heap);
    }
    return rc;
}

static int end_pass(struct bb_ctx *ctx, struct gather *gather)
{
    struct store_base *base = gather->base;
    int rc = BB_OK;
    for (size_t i = 0; i < base->pass.count && rc == BB_OK; i++) {
        uint32_t number = base->runs.run[base->runs.count - 1 - i].number;
        rc = bb_kv_run_clear(ctx, gather->batch, number);
    }
    store_runs_drop_oldest(&base->runs, base->pass.count);
    base->pass.count = 0;
    return rc;
}

static int merge_part(struct bb_ctx *ctx, struct gather *gather, const struct bb_kv_read *read,
                      uint64_t entries)
{
    struct store_pass *pass = &gather->base->pass;
    struct heap heap = { .count = 0 };
    uint64_t passed = 0;
    int rc = heap_open(ctx, gather->base, read, &heap);
    while (rc == BB_OK && heap.count > 0 && passed < entries) {
        rc = merge_key(ctx, gather, &heap, &passed);
    }
    pass->left -= passed < pass->left ? passed : pass->left;
    bb_buf_clear(&pass->at);
    bool is_done = heap.count == 0;
    if (!is_done && rc == BB_OK) {
        bb_buf_append_slice(&pass->at, bb_kv_cursor_key(heap.source[0].cursor));
    }
    heap_close(&heap);
    return rc == BB_OK && is_done ? end_pass(ctx, gather) : rc;
}

static void begin_pass(struct store_base *base)
{
    base->pass.count = base->runs.count;
    base->pass.total = 0;
    bb_buf_clear(&base->pass.at);
    for (size_t i = 0; i < base->runs.count; i++) {
        base->pass.total += base->runs.run[i].keys;
    }
    base->pass.left = base->pass.total;
}

static uint64_t divide_up(uint64_t a, uint64_t b)
{
    return (a + b - 1) / b;
}

/* How many entries are merged now. A pass is over when as many runs have come as make one. When
 * keys that runs have are written again and again, more is merged than comes, or no end would. */
static uint64_t part_of_pass(const struct gather *gather)
{
    const struct store_base *base = gather->base;
    size_t newer = base->runs.count - base->pass.count;
    size_t flushes = gather->store->options.gather_runs;
    /* After a start in the middle of a pass it has more runs than it should, and a number must be
     * there for each that comes meanwhile. */
    size_t room = (BB_KV_RUNS - base->pass.count) * 2 / 3;
    flushes = flushes < room ? flushes : room > 0 ? room : 1;
    uint64_t part = divide_up(base->pass.total, flushes);
    uint64_t needed = divide_up(base->pass.left, flushes > newer ? flushes - newer : 1);
    part = part > needed ? part : needed;
    return part > base->strays * 2 ? part : base->strays * 2;
}

/* More keys than that share a page hardly more. */
static bool is_enough(const struct gather *gather)
{
    const struct store_runs *runs = &gather->base->runs;
    uint64_t keys = 0;
    for (size_t i = 0; i < runs->count; i++) {
        keys += runs->run[i].keys;
    }
    return runs->count >= gather->store->options.gather_runs ||
           (gather->leaves > 0 && keys >= gather->leaves * KEYS_A_LEAF);
}

/* `drains`: no runs come any more, so those that there are go. */
static int go_on_with_pass(struct bb_ctx *ctx, struct gather *gather, bool drains)
{
    struct store_base *base = gather->base;
    bool all_at_once = !gather->has_number && base->runs.count > 0;
    uint64_t part = UINT64_MAX;
    struct bb_kv_read *read = NULL;
    if (base->pass.count == 0 && base->runs.count > 0 && (drains || is_enough(gather))) {
        begin_pass(base);
    }
    if (all_at_once) {
        /* Again from the beginning: what is there already is only written again. */
        begin_pass(base);
    } else {
        part = part_of_pass(gather);
    }
    if (base->pass.count == 0) {
        return BB_OK;
    }
    int rc = bb_kv_read_open(ctx, base->kv, &read);
    if (rc == BB_OK) {
        rc = merge_part(ctx, gather, read, part);
    }
    bb_kv_read_close(read);
    return rc;
}

/* ---- a chunk ---- */

static int put_into_run(struct bb_ctx *ctx, struct gather *gather,
                        const struct bb_mvcc_version *version)
{
    if (gather->run.keys == 0) {
        gather->run = store_run_begin(gather->base, gather->number);
    }
    store_run_add(gather->base, &gather->run, version->key, version->value);
    uint8_t mark = version->kind == BB_MVCC_REMOVE ? BB_MVCC_REMOVE : BB_MVCC_PUT;
    return bb_kv_run_put(ctx, gather->batch, gather->number, version->key, mark, version->value);
}

static int put_into_data(struct bb_ctx *ctx, struct gather *gather,
                         const struct bb_mvcc_version *version)
{
    store_touched(gather->store, 1, 0);
    return version->kind == BB_MVCC_REMOVE
               ? bb_kv_delete(ctx, gather->batch, version->key)
               : bb_kv_put(ctx, gather->batch, version->key, version->value);
}

static int write_chunk(struct bb_ctx *ctx, struct gather *gather, const struct store_chunk *chunk)
{
    const struct store_base *base = gather->base;
    struct bb_mvcc_cursor cursor;
    bb_mvcc_cursor_init(&cursor, chunk->map, BB_TX_MAX);
    int rc = BB_OK;
    for (bool more = bb_mvcc_seek(&cursor, BB_SLICE_EMPTY); more && rc == BB_OK;
         more = bb_mvcc_next(&cursor)) {
        bool into_run =
            gather->gathers || store_runs_with(base, &base->runs, cursor.version.key) != 0;
        rc = into_run ? put_into_run(ctx, gather, &cursor.version)
                      : put_into_data(ctx, gather, &cursor.version);
    }
    return rc;
}

int store_gather(struct bb_ctx *ctx, struct bb_store *store, struct store_base *base,
                 struct bb_kv_batch *batch, const struct store_chunk *chunk)
{
    struct gather gather = { .store = store, .base = base, .batch = batch };
    bool had_runs = base->runs.count > 0;
    int rc = chunk == NULL ? BB_OK : decide(ctx, &gather, chunk);
    choose_number(&gather);
    if (rc == BB_OK) {
        rc = go_on_with_pass(ctx, &gather, !gather.gathers);
    }
    gather.gathers = gather.gathers && gather.has_number;
    if (rc == BB_OK && chunk != NULL) {
        rc = write_chunk(ctx, &gather, chunk);
    }
    base->strays = gather.gathers ? 0 : gather.run.keys;
    if (rc == BB_OK && gather.run.keys > 0) {
        store_runs_push(&base->runs, &gather.run);
    }
    return rc == BB_OK && (had_runs || base->runs.count > 0)
               ? store_runs_save(ctx, batch, &base->runs)
               : rc;
}
