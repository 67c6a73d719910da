/*
 * bb/kv.h in memory: each commit is sorted arrays of shared entries. A commit survives the
 * process; the one before it survives the power. A copy is a stream of the entries, and a file with
 * such a stream opens as a store.
 */
#include "bb/kv.h"

#include <stdio.h>

#include "parts.h"

enum {
    LEAF_ENTRIES = 16 /* few, so that little data is scattered too */
};

struct entry {
    struct bb_slice key, value;
    bool is_deleted; /* in a batch only */
};
struct sorted {
    const struct entry **items;
    size_t count;
};
struct version {
    uint64_t number;
    struct sorted entries, metas; /* by key; by name */
    struct sorted runs[BB_KV_RUNS];
};
/* A data file. */
struct sim_disk_state {
    struct bb_list link; /* of the disk */
    char *path;          /* "DIR/data.mdb" */
    struct version *newest, *safe;
};
struct bb_kv {
    struct sim_node *node;
    struct sim_disk_state *state;
};
struct list {
    const struct entry **items;
    size_t count, capacity;
};
struct bb_kv_batch {
    struct bb_kv *kv;
    struct list entries, metas, run_entries;
    unsigned run; /* of run_entries */
    bool is_cleared[BB_KV_RUNS];
};
struct bb_kv_read {
    const struct version *version;
};
struct bb_kv_cursor {
    const struct sorted *through;
    size_t at; /* count: nowhere */
};

/* ---- sorted arrays ---- */

static size_t lower_bound(const struct entry *const *items, size_t count, struct bb_slice key)
{
    size_t low = 0;

    while (low < count) {
        size_t middle = low + (count - low) / 2;
        if (bb_slice_compare(items[middle]->key, key) < 0) {
            low = middle + 1;
        } else {
            count = middle;
        }
    }
    return low;
}

static int find(const struct sorted *among, struct bb_slice key, struct bb_slice *value)
{
    size_t at = lower_bound(among->items, among->count, key);

    if (at == among->count || !bb_slice_equal(among->items[at]->key, key))
        return BB_NOT_FOUND;
    *value = among->items[at]->value;
    return BB_OK;
}

/* The last of equal keys wins. */
static void insert(struct list *list, struct bb_slice key, struct bb_slice value, bool is_deleted)
{
    struct entry *entry = bb_alloc(sizeof *entry);
    size_t at = lower_bound(list->items, list->count, key);

    *entry = (struct entry){ .key = bb_slice_dup(key),
                             .value = bb_slice_dup(value),
                             .is_deleted = is_deleted };
    if (at < list->count && bb_slice_equal(list->items[at]->key, key)) {
        list->items[at] = entry;
        return;
    }
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 32 : list->capacity * 2;
        list->items = bb_realloc(list->items, list->capacity * sizeof *list->items);
    }
    memmove(list->items + at + 1, list->items + at, (list->count - at) * sizeof *list->items);
    list->items[at] = entry;
    list->count++;
}

static struct sorted merge(const struct sorted *old, const struct list *changes)
{
    struct sorted merged = { .count = 0 };
    size_t i = 0;
    size_t k = 0;

    merged.items = bb_alloc((old->count + changes->count + 1) * sizeof *merged.items);
    while (i < old->count || k < changes->count) {
        int order = i == old->count ? 1
                    : k == changes->count
                        ? -1
                        : bb_slice_compare(old->items[i]->key, changes->items[k]->key);
        if (order < 0) {
            merged.items[merged.count++] = old->items[i++];
            continue;
        }
        if (!changes->items[k]->is_deleted)
            merged.items[merged.count++] = changes->items[k];
        k++;
        i += order == 0;
    }
    return merged;
}

/* ---- opening ---- */

static struct version *empty_version(void)
{
    return bb_alloc_zero(1, sizeof(struct version));
}

static struct sim_disk_state *state_at(struct sim_disk *disk, const char *path)
{
    bb_list_each(item, &disk->kvs) {
        struct sim_disk_state *state = bb_container(item, struct sim_disk_state, link);
        if (strcmp(state->path, path) == 0)
            return state;
    }
    return NULL;
}

/* ---- a store as bytes: magic, numbers of entries, of records and of runs that hold something,
 * each, padding, checksum ---- */

#define STREAM_MAGIC   0x766b6d73u /* "smkv" */
#define STREAM_HEADER  20u
#define STREAM_PADDING (3u << 20) /* so that it comes in several pieces */

static void append_entry(struct bb_buf *to, const struct entry *entry)
{
    uint8_t sizes[8];

    bb_put_le32(sizes, (uint32_t)entry->key.size);
    bb_put_le32(sizes + 4, (uint32_t)entry->value.size);
    bb_buf_append(to, sizes, sizeof sizes);
    bb_buf_append_slice(to, entry->key);
    bb_buf_append_slice(to, entry->value);
}

static void append_entries(struct bb_buf *to, const struct sorted *entries)
{
    for (size_t i = 0; i < entries->count; i++)
        append_entry(to, entries->items[i]);
}

static void append_run(struct bb_buf *to, unsigned run, const struct sorted *entries)
{
    uint8_t head[8];

    bb_put_le32(head, run);
    bb_put_le32(head + 4, (uint32_t)entries->count);
    bb_buf_append(to, head, sizeof head);
    append_entries(to, entries);
}

static uint32_t runs_that_hold(const struct version *version)
{
    uint32_t count = 0;

    for (unsigned i = 0; i < BB_KV_RUNS; i++)
        count += version->runs[i].count > 0;
    return count;
}

static void encode(const struct version *version, struct bb_buf *to)
{
    uint8_t header[STREAM_HEADER];
    uint8_t crc[4];

    bb_put_le32(header, STREAM_MAGIC);
    bb_put_le32(header + 4, (uint32_t)version->entries.count);
    bb_put_le32(header + 8, (uint32_t)version->metas.count);
    bb_put_le32(header + 12, (uint32_t)version->number);
    bb_put_le32(header + 16, runs_that_hold(version));
    bb_buf_append(to, header, sizeof header);
    append_entries(to, &version->entries);
    append_entries(to, &version->metas);
    for (unsigned i = 0; i < BB_KV_RUNS; i++) {
        if (version->runs[i].count > 0)
            append_run(to, i, &version->runs[i]);
    }
    size_t padding = sim_chance(500000) ? (size_t)sim_below(STREAM_PADDING) : 0;
    memset(bb_buf_reserve(to, padding), 0, padding);
    to->size += padding;
    bb_put_le32(crc, bb_crc32c(0, to->data, to->size));
    bb_buf_append(to, crc, sizeof crc);
}

static struct sorted decode_entries(struct bb_slice from, size_t *at, size_t count)
{
    struct sorted entries = { .items = bb_alloc((count + 1) * sizeof *entries.items),
                              .count = count };

    for (size_t i = 0; i < count; i++) {
        struct entry *entry = bb_alloc(sizeof *entry);
        size_t key = bb_get_le32(from.data + *at);
        size_t value = bb_get_le32(from.data + *at + 4);
        *entry =
            (struct entry){ .key = bb_slice_dup(bb_slice(from.data + *at + 8, key)),
                            .value = bb_slice_dup(bb_slice(from.data + *at + 8 + key, value)) };
        *at += 8 + key + value;
        entries.items[i] = entry;
    }
    return entries;
}

static struct version *decode(struct bb_slice from)
{
    size_t at = STREAM_HEADER;

    if (from.size < STREAM_HEADER + 4 || bb_get_le32(from.data) != STREAM_MAGIC ||
        bb_get_le32(from.data + from.size - 4) != bb_crc32c(0, from.data, from.size - 4))
        return NULL;
    struct version *version = empty_version();
    version->number = bb_get_le32(from.data + 12);
    version->entries = decode_entries(from, &at, bb_get_le32(from.data + 4));
    version->metas = decode_entries(from, &at, bb_get_le32(from.data + 8));
    for (uint32_t left = bb_get_le32(from.data + 16); left > 0; left--) {
        const uint8_t *head = from.data + at;
        at += 8;
        version->runs[bb_get_le32(head)] = decode_entries(from, &at, bb_get_le32(head + 4));
    }
    return version;
}

static int open_state(struct bb_ctx *ctx, struct sim_disk *disk, const char *path,
                      struct sim_disk_state **out)
{
    struct sim_disk_state *state = state_at(disk, path);
    struct bb_slice bytes;

    if (state == NULL) {
        struct version *version = empty_version();
        if (sim_disk_file(disk, path, &bytes))
            version = decode(bytes);
        if (version == NULL)
            return bb_fail(ctx, BB_CORRUPT, "%s is no store", path);
        state = bb_alloc_zero(1, sizeof *state);
        state->path = bb_strdup(path);
        state->newest = state->safe = version;
        bb_list_push_back(&disk->kvs, &state->link);
    }
    *out = state;
    return BB_OK;
}

int bb_kv_open(struct bb_ctx *ctx, const struct bb_kv_options *options, struct bb_kv **kv)
{
    struct bb_kv *opened = bb_alloc_zero(1, sizeof *opened);
    char path[256];

    (void)snprintf(path, sizeof path, "%s/data.mdb", options->dir); /* short names */
    opened->node = sim.current;
    *kv = opened;
    return open_state(ctx, sim.current->disk, path, &opened->state);
}

void bb_kv_close(struct bb_kv *kv)
{
    bb_free(kv);
}

/* The name of a file that is open beside the data is gone, or its bytes are what the disk has. */
static bool is_beside(const char *path)
{
    return strstr(path, "/incoming/") != NULL || strstr(path, "/next/") != NULL;
}

void sim_kv_power_loss(struct sim_disk *disk)
{
    bb_list_each_safe(item, &disk->kvs) {
        struct sim_disk_state *state = bb_container(item, struct sim_disk_state, link);
        if (is_beside(state->path)) {
            bb_list_remove(item);
            continue;
        }
        if (sim_chance(700000))
            state->newest = state->safe;
        state->safe = state->newest;
    }
}

void sim_kv_removed(struct sim_disk *disk, const char *path)
{
    struct sim_disk_state *state = state_at(disk, path);

    if (state != NULL)
        bb_list_remove(&state->link);
}

/* ---- writing ---- */

int bb_kv_begin(struct bb_ctx *ctx, struct bb_kv *kv, struct bb_kv_batch **batch)
{
    (void)ctx;
    *batch = bb_alloc_zero(1, sizeof **batch);
    (*batch)->kv = kv;
    return BB_OK;
}

int bb_kv_put(struct bb_ctx *ctx, struct bb_kv_batch *batch, struct bb_slice key,
              struct bb_slice value)
{
    (void)ctx;
    insert(&batch->entries, key, value, false);
    return BB_OK;
}

int bb_kv_delete(struct bb_ctx *ctx, struct bb_kv_batch *batch, struct bb_slice key)
{
    (void)ctx;
    insert(&batch->entries, key, BB_SLICE_EMPTY, true);
    return BB_OK;
}

int bb_kv_put_meta(struct bb_ctx *ctx, struct bb_kv_batch *batch, const char *name,
                   struct bb_slice value)
{
    (void)ctx;
    insert(&batch->metas, bb_slice_str(name), value, false);
    return BB_OK;
}

int bb_kv_run_put(struct bb_ctx *ctx, struct bb_kv_batch *batch, unsigned run, struct bb_slice key,
                  uint8_t mark, struct bb_slice value)
{
    struct list *list = &batch->run_entries;
    struct bb_buf stored;

    (void)ctx;
    bb_assert(run < BB_KV_RUNS && batch->kv->state->newest->runs[run].count == 0);
    bb_assert(list->count == 0 || batch->run == run);
    bb_assert(list->count == 0 || bb_slice_compare(list->items[list->count - 1]->key, key) < 0);
    batch->run = run;
    bb_buf_init(&stored);
    bb_buf_append_byte(&stored, mark);
    bb_buf_append_slice(&stored, value);
    insert(list, key, bb_buf_slice(&stored), false);
    bb_buf_fini(&stored);
    return BB_OK;
}

int bb_kv_run_clear(struct bb_ctx *ctx, struct bb_kv_batch *batch, unsigned run)
{
    (void)ctx;
    bb_assert(run < BB_KV_RUNS);
    bb_assert(batch->run_entries.count == 0 || batch->run != run);
    batch->is_cleared[run] = true;
    return BB_OK;
}

int bb_kv_leaves(struct bb_ctx *ctx, struct bb_kv_batch *batch, uint64_t *leaves)
{
    (void)ctx;
    *leaves = (batch->kv->state->newest->entries.count + LEAF_ENTRIES - 1) / LEAF_ENTRIES;
    return BB_OK;
}

int bb_kv_are_near(struct bb_ctx *ctx, struct bb_kv_batch *batch, struct bb_slice low,
                   struct bb_slice high, bool *are_near)
{
    const struct sorted *entries = &batch->kv->state->newest->entries;

    (void)ctx;
    bb_assert(batch->entries.count == 0 && bb_slice_compare(low, high) <= 0);
    *are_near = lower_bound(entries->items, entries->count, low) / LEAF_ENTRIES ==
                lower_bound(entries->items, entries->count, high) / LEAF_ENTRIES;
    return BB_OK;
}

static void commit_runs(const struct version *old, const struct bb_kv_batch *batch,
                        struct version *version)
{
    for (unsigned i = 0; i < BB_KV_RUNS; i++) {
        if (!batch->is_cleared[i])
            version->runs[i] = old->runs[i];
    }
    if (batch->run_entries.count > 0)
        version->runs[batch->run] = merge(&old->runs[batch->run], &batch->run_entries);
}

int bb_kv_commit(struct bb_ctx *ctx, struct bb_kv_batch *batch)
{
    struct bb_kv *kv = batch->kv;
    struct version *old = kv->state->newest;
    struct version *version = empty_version();

    sim_failpoint("kv.commit");
    sim_fiber_sleep(sim_sync_time(kv->node));
    if (kv->node->disk->is_full)
        return bb_fail(ctx, BB_NO_SPACE, "the data file: no space left on device");
    version->number = old->number + 1;
    version->entries = merge(&old->entries, &batch->entries);
    version->metas = merge(&old->metas, &batch->metas);
    commit_runs(old, batch, version);
    kv->state->newest = version;
    kv->state->safe = old;
    sim_failpoint("kv.committed");
    bb_kv_abort(batch);
    return BB_OK;
}

void bb_kv_abort(struct bb_kv_batch *batch)
{
    if (batch == NULL)
        return;
    bb_free(batch->entries.items);
    bb_free(batch->metas.items);
    bb_free(batch->run_entries.items);
    bb_free(batch);
}

int bb_kv_sync(struct bb_ctx *ctx, struct bb_kv *kv)
{
    (void)ctx;
    sim_failpoint("kv.sync");
    sim_fiber_sleep(sim_sync_time(kv->node));
    kv->state->safe = kv->state->newest;
    return BB_OK;
}

/* ---- reading ---- */

int bb_kv_read_open(struct bb_ctx *ctx, struct bb_kv *kv, struct bb_kv_read **read)
{
    (void)ctx;
    *read = bb_alloc_zero(1, sizeof **read);
    (*read)->version = kv->state->newest;
    return BB_OK;
}

void bb_kv_read_close(struct bb_kv_read *read)
{
    bb_free(read);
}

uint64_t bb_kv_read_version(const struct bb_kv_read *read)
{
    return read->version->number;
}

int bb_kv_get(struct bb_ctx *ctx, const struct bb_kv_read *read, struct bb_slice key,
              struct bb_slice *value)
{
    (void)ctx;
    return find(&read->version->entries, key, value);
}

int bb_kv_get_meta(struct bb_ctx *ctx, const struct bb_kv_read *read, const char *name,
                   struct bb_slice *value)
{
    (void)ctx;
    return find(&read->version->metas, bb_slice_str(name), value);
}

int bb_kv_run_get(struct bb_ctx *ctx, const struct bb_kv_read *read, unsigned run,
                  struct bb_slice key, struct bb_slice *stored)
{
    (void)ctx;
    bb_assert(run < BB_KV_RUNS);
    return find(&read->version->runs[run], key, stored);
}

static struct bb_kv_cursor *new_cursor(const struct sorted *through)
{
    struct bb_kv_cursor *cursor = bb_alloc_zero(1, sizeof *cursor);

    cursor->through = through;
    cursor->at = through->count;
    return cursor;
}

int bb_kv_cursor_open(struct bb_ctx *ctx, const struct bb_kv_read *read,
                      struct bb_kv_cursor **cursor)
{
    (void)ctx;
    *cursor = new_cursor(&read->version->entries);
    return BB_OK;
}

int bb_kv_run_cursor_open(struct bb_ctx *ctx, const struct bb_kv_read *read, unsigned run,
                          struct bb_kv_cursor **cursor)
{
    (void)ctx;
    bb_assert(run < BB_KV_RUNS);
    *cursor = new_cursor(&read->version->runs[run]);
    return BB_OK;
}

void bb_kv_cursor_close(struct bb_kv_cursor *cursor)
{
    bb_free(cursor);
}

static int rest_at(struct bb_kv_cursor *cursor, size_t at)
{
    cursor->at = at;
    return at < cursor->through->count ? BB_OK : BB_NOT_FOUND;
}

int bb_kv_seek(struct bb_ctx *ctx, struct bb_kv_cursor *cursor, struct bb_slice key)
{
    (void)ctx;
    return rest_at(cursor, lower_bound(cursor->through->items, cursor->through->count, key));
}

int bb_kv_seek_before(struct bb_ctx *ctx, struct bb_kv_cursor *cursor, struct bb_slice key)
{
    size_t at = lower_bound(cursor->through->items, cursor->through->count, key);

    (void)ctx;
    return rest_at(cursor, at == 0 ? cursor->through->count : at - 1);
}

int bb_kv_next(struct bb_ctx *ctx, struct bb_kv_cursor *cursor)
{
    (void)ctx;
    return rest_at(cursor, cursor->at < cursor->through->count ? cursor->at + 1 : cursor->at);
}

int bb_kv_prev(struct bb_ctx *ctx, struct bb_kv_cursor *cursor)
{
    size_t count = cursor->through->count;

    (void)ctx;
    return rest_at(cursor, cursor->at == 0 || cursor->at >= count ? count : cursor->at - 1);
}

struct bb_slice bb_kv_cursor_key(const struct bb_kv_cursor *cursor)
{
    return cursor->through->items[cursor->at]->key;
}

struct bb_slice bb_kv_cursor_value(const struct bb_kv_cursor *cursor)
{
    return cursor->through->items[cursor->at]->value;
}

/* ---- care ---- */

int bb_kv_copy(struct bb_ctx *ctx, struct bb_kv *kv, int fd)
{
    (void)kv;
    (void)fd;
    return bb_fail(ctx, BB_UNSUPPORTED, "there are no descriptors in the simulator");
}

struct bb_kv_stream {
    struct bb_kv *kv;
    struct bb_buf bytes;
    size_t at;
};

int bb_kv_stream_open(struct bb_ctx *ctx, struct bb_kv *kv, struct bb_kv_stream **stream)
{
    (void)ctx;
    *stream = bb_alloc_zero(1, sizeof **stream);
    (*stream)->kv = kv;
    bb_buf_init(&(*stream)->bytes);
    encode(kv->state->newest, &(*stream)->bytes);
    return BB_OK;
}

int bb_kv_stream_read(struct bb_ctx *ctx, struct bb_kv_stream *stream, void *to, size_t size,
                      size_t *done)
{
    size_t left = stream->bytes.size - stream->at;

    (void)ctx;
    sim_fiber_sleep(sim_sync_time(stream->kv->node));
    *done = left < size ? left : size;
    if (*done > 0)
        memcpy(to, stream->bytes.data + stream->at, *done);
    stream->at += *done;
    return BB_OK;
}

uint64_t bb_kv_stream_pinned(const struct bb_kv_stream *stream)
{
    (void)stream;
    return 0;
}

void bb_kv_stream_close(struct bb_kv_stream *stream)
{
    if (stream == NULL)
        return;
    bb_buf_fini(&stream->bytes);
    bb_free(stream);
}

int bb_kv_take_place(struct bb_ctx *ctx, struct bb_kv *kv, struct bb_kv *other)
{
    struct sim_disk_state *old = other->state;

    (void)ctx;
    sim_failpoint("kv.replace");
    sim_disk_forget(kv->node->disk, kv->state->path); /* the bytes that it came in */
    bb_list_remove(&old->link);
    kv->state->path = old->path;
    old->path = bb_strdup("");
    sim_failpoint("kv.replaced");
    return BB_OK;
}

int bb_kv_free_bytes(struct bb_ctx *ctx, struct bb_kv *kv, uint64_t *bytes)
{
    (void)ctx;
    (void)kv;
    *bytes = 0;
    return BB_OK;
}

int bb_kv_verify(struct bb_ctx *ctx, const char *dir)
{
    (void)dir;
    return bb_fail(ctx, BB_UNSUPPORTED, "there are no pages in the simulator");
}

void bb_kv_at_damage(void (*end)(const char *what))
{
    (void)end;
}

int bb_kv_reader_check(struct bb_ctx *ctx, struct bb_kv *kv)
{
    (void)ctx;
    (void)kv;
    return BB_OK;
}

int bb_kv_stat(struct bb_ctx *ctx, struct bb_kv *kv, struct bb_kv_stat *stat)
{
    (void)ctx;
    *stat = (struct bb_kv_stat){ .entries = kv->state->newest->entries.count,
                                 .last_version = kv->state->newest->number };
    return BB_OK;
}

/* Now and then a page is not in memory. */
uint64_t bb_kv_waits(void)
{
    static uint64_t waits; /* nobody takes two looks that must agree */
    waits += sim_below(200) == 0;
    return waits;
}

/* Nothing is mapped here. */
size_t bb_kv_resident(void)
{
    return 0;
}

size_t bb_kv_trim(struct bb_kv *kv, size_t bytes_max)
{
    (void)kv;
    (void)bytes_max;
    return 0;
}
