/*
 * bb/kv.h in memory: each commit is a sorted array of shared entries. A commit survives the
 * process; the one before it survives the power. A copy is a stream of the entries, and a file with
 * such a stream opens as a store.
 */
#include "bb/kv.h"

#include <stdio.h>

#include "parts.h"

struct entry {
    struct bb_slice key, value;
    bool is_deleted; /* in a batch only */
};
struct version {
    uint64_t number;
    const struct entry **entries; /* by key; metas under their names in a second array */
    size_t count;
    const struct entry **metas;
    size_t meta_count;
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
    struct list entries, metas;
};
struct bb_kv_read {
    const struct version *version;
};
struct bb_kv_cursor {
    const struct version *version;
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

static const struct entry *find(const struct entry *const *items, size_t count, struct bb_slice key)
{
    size_t at = lower_bound(items, count, key);

    return at < count && bb_slice_equal(items[at]->key, key) ? items[at] : NULL;
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

static const struct entry **merge(const struct entry *const *old, size_t old_count,
                                  const struct list *changes, size_t *count)
{
    const struct entry **merged = bb_alloc((old_count + changes->count + 1) * sizeof *merged);
    size_t i = 0;
    size_t k = 0;

    *count = 0;
    while (i < old_count || k < changes->count) {
        int order = i == old_count        ? 1
                    : k == changes->count ? -1
                                          : bb_slice_compare(old[i]->key, changes->items[k]->key);
        if (order < 0) {
            merged[(*count)++] = old[i++];
            continue;
        }
        if (!changes->items[k]->is_deleted)
            merged[(*count)++] = changes->items[k];
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

/* ---- a store as bytes: magic, numbers of entries and of records, each, padding, checksum ---- */

#define STREAM_MAGIC   0x766b6d73u /* "smkv" */
#define STREAM_HEADER  16u
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

static void encode(const struct version *version, struct bb_buf *to)
{
    uint8_t header[STREAM_HEADER];
    uint8_t crc[4];

    bb_put_le32(header, STREAM_MAGIC);
    bb_put_le32(header + 4, (uint32_t)version->count);
    bb_put_le32(header + 8, (uint32_t)version->meta_count);
    bb_put_le32(header + 12, (uint32_t)version->number);
    bb_buf_append(to, header, sizeof header);
    for (size_t i = 0; i < version->count; i++)
        append_entry(to, version->entries[i]);
    for (size_t i = 0; i < version->meta_count; i++)
        append_entry(to, version->metas[i]);
    size_t padding = sim_chance(500000) ? (size_t)sim_below(STREAM_PADDING) : 0;
    memset(bb_buf_reserve(to, padding), 0, padding);
    to->size += padding;
    bb_put_le32(crc, bb_crc32c(0, to->data, to->size));
    bb_buf_append(to, crc, sizeof crc);
}

static const struct entry **decode_entries(struct bb_slice from, size_t *at, size_t count)
{
    const struct entry **entries = bb_alloc((count + 1) * sizeof *entries);

    for (size_t i = 0; i < count; i++) {
        struct entry *entry = bb_alloc(sizeof *entry);
        size_t key = bb_get_le32(from.data + *at);
        size_t value = bb_get_le32(from.data + *at + 4);
        *entry =
            (struct entry){ .key = bb_slice_dup(bb_slice(from.data + *at + 8, key)),
                            .value = bb_slice_dup(bb_slice(from.data + *at + 8 + key, value)) };
        *at += 8 + key + value;
        entries[i] = entry;
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
    version->count = bb_get_le32(from.data + 4);
    version->meta_count = bb_get_le32(from.data + 8);
    version->number = bb_get_le32(from.data + 12);
    version->entries = decode_entries(from, &at, version->count);
    version->metas = decode_entries(from, &at, version->meta_count);
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
    version->entries = merge(old->entries, old->count, &batch->entries, &version->count);
    version->metas = merge(old->metas, old->meta_count, &batch->metas, &version->meta_count);
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
    const struct entry *entry = find(read->version->entries, read->version->count, key);

    (void)ctx;
    if (entry == NULL)
        return BB_NOT_FOUND;
    *value = entry->value;
    return BB_OK;
}

int bb_kv_get_meta(struct bb_ctx *ctx, const struct bb_kv_read *read, const char *name,
                   struct bb_slice *value)
{
    const struct entry *entry =
        find(read->version->metas, read->version->meta_count, bb_slice_str(name));

    (void)ctx;
    if (entry == NULL)
        return BB_NOT_FOUND;
    *value = entry->value;
    return BB_OK;
}

int bb_kv_cursor_open(struct bb_ctx *ctx, const struct bb_kv_read *read,
                      struct bb_kv_cursor **cursor)
{
    (void)ctx;
    *cursor = bb_alloc_zero(1, sizeof **cursor);
    (*cursor)->version = read->version;
    (*cursor)->at = read->version->count;
    return BB_OK;
}

void bb_kv_cursor_close(struct bb_kv_cursor *cursor)
{
    bb_free(cursor);
}

static int rest_at(struct bb_kv_cursor *cursor, size_t at)
{
    cursor->at = at;
    return at < cursor->version->count ? BB_OK : BB_NOT_FOUND;
}

int bb_kv_seek(struct bb_ctx *ctx, struct bb_kv_cursor *cursor, struct bb_slice key)
{
    (void)ctx;
    return rest_at(cursor, lower_bound(cursor->version->entries, cursor->version->count, key));
}

int bb_kv_seek_before(struct bb_ctx *ctx, struct bb_kv_cursor *cursor, struct bb_slice key)
{
    size_t at = lower_bound(cursor->version->entries, cursor->version->count, key);

    (void)ctx;
    return rest_at(cursor, at == 0 ? cursor->version->count : at - 1);
}

int bb_kv_next(struct bb_ctx *ctx, struct bb_kv_cursor *cursor)
{
    (void)ctx;
    return rest_at(cursor, cursor->at < cursor->version->count ? cursor->at + 1 : cursor->at);
}

int bb_kv_prev(struct bb_ctx *ctx, struct bb_kv_cursor *cursor)
{
    size_t count = cursor->version->count;

    (void)ctx;
    return rest_at(cursor, cursor->at == 0 || cursor->at >= count ? count : cursor->at - 1);
}

struct bb_slice bb_kv_cursor_key(const struct bb_kv_cursor *cursor)
{
    return cursor->version->entries[cursor->at]->key;
}

struct bb_slice bb_kv_cursor_value(const struct bb_kv_cursor *cursor)
{
    return cursor->version->entries[cursor->at]->value;
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
    *stat = (struct bb_kv_stat){ .entries = kv->state->newest->count,
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
