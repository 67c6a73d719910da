/*
 * Snapshots, gets and ranges with their documents, under bounds.
 *
 * A document is stored behind the 8 bytes (LE) of the tx that wrote it; an index entry has no
 * value. So a value with bytes is a document's.
 */
#include "store.h"

enum {
    DOCUMENT_HEADER = 8,
    ID_SIZE = 16,
    ENTRIES_FIRST = 16
};
/* What an entry costs in a reply beside key and document. */
enum {
    ENTRY_OVERHEAD = 24
};

int bb_store_snapshot_open(struct bb_ctx *ctx, struct bb_store *store, size_t reader_index,
                           struct bb_txtime at, struct bb_store_snapshot **out)
{
    bb_assert(reader_index < store->options.reader_count);
    struct bb_store_snapshot *snapshot = bb_arena_zero(ctx->arena, 1, sizeof(*snapshot));
    if (snapshot == NULL) {
        return bb_fail(ctx, BB_TOO_LARGE, "no memory is left for this request");
    }
    snapshot->store = store;
    snapshot->reader_index = reader_index;
    bb_mutex_lock(store->view);
    struct bb_txtime applied = store->applied.last_tx;
    int rc = BB_OK;
    if (at.us > applied.us) {
        rc = bb_fail(ctx, BB_NOT_YET, "tx %" PRIu64 " is not applied yet, the newest is %" PRIu64,
                     at.us, applied.us);
    } else {
        rc = store_choose(ctx, store, at.us == 0 ? applied : at, snapshot);
    }
    if (rc == BB_OK) {
        snapshot->generation->pins++;
    }
    bb_mutex_unlock(store->view);
    *out = rc == BB_OK ? snapshot : NULL;
    return rc;
}

void bb_store_snapshot_close(struct bb_store_snapshot *snapshot)
{
    if (snapshot == NULL) {
        return;
    }
    struct bb_store *store = snapshot->store;
    store_merge_cursors_close(snapshot);
    if (store->options.has_quick_reader &&
        snapshot->reader_index == store->options.reader_count - 1) {
        store_touched_quickly(store, snapshot->lookups, snapshot->bytes);
    } else {
        store_touched(store, snapshot->lookups, snapshot->bytes);
    }
    bb_mutex_lock(store->view);
    bb_assert(snapshot->generation->pins > 0);
    snapshot->generation->pins--;
    bb_mutex_unlock(store->view);
}

struct bb_txtime bb_store_snapshot_tx(const struct bb_store_snapshot *snapshot)
{
    return snapshot->at;
}

/* ---- entries of a result ---- */

struct collector {
    struct bb_store_snapshot *snapshot;
    struct bb_store_result *result;
    size_t capacity;
    size_t *bytes_left;
};

static int grow(struct bb_ctx *ctx, struct collector *collector, uint32_t limit)
{
    struct bb_store_result *result = collector->result;
    size_t capacity = collector->capacity == 0 ? ENTRIES_FIRST : collector->capacity * 2;
    if (limit != 0 && capacity > limit) {
        capacity = limit;
    }
    struct bb_store_entry *entries =
        bb_arena_alloc(ctx->arena, capacity * sizeof(result->entries[0]));
    if (entries == NULL) {
        return bb_fail(ctx, BB_TOO_LARGE, "a result of %zu entries is too large for one reply",
                       capacity);
    }
    if (result->count > 0) {
        memcpy(entries, result->entries, result->count * sizeof(entries[0]));
    }
    result->entries = entries;
    collector->capacity = capacity;
    return BB_OK;
}

/* A snapshot's first entry always fits; once one did not, nothing fits any more. */
static bool fits(struct collector *collector, const struct bb_store_entry *entry)
{
    size_t size = entry->key.size + entry->value.size + ENTRY_OVERHEAD;
    if (size > *collector->bytes_left && collector->snapshot->has_delivered) {
        *collector->bytes_left = 0;
        return false;
    }
    collector->snapshot->has_delivered = true;
    collector->snapshot->bytes += size;
    *collector->bytes_left -= size < *collector->bytes_left ? size : *collector->bytes_left;
    return true;
}

static int set_document(struct bb_ctx *ctx, struct bb_store_entry *entry, struct bb_slice stored)
{
    if (stored.size < DOCUMENT_HEADER) {
        return bb_fail(ctx, BB_CORRUPT, "a stored document has %zu bytes", stored.size);
    }
    entry->tx = BB_TX(bb_get_le64(stored.data));
    entry->value = bb_slice(stored.data + DOCUMENT_HEADER, stored.size - DOCUMENT_HEADER);
    return BB_OK;
}

static int join(struct bb_ctx *ctx, struct bb_store_snapshot *snapshot, uint32_t doc_index,
                struct bb_store_entry *entry)
{
    uint8_t key[4 + ID_SIZE];
    if (entry->key.size < sizeof(key)) {
        return bb_fail(ctx, BB_CORRUPT, "an index entry of %zu bytes names no document",
                       entry->key.size);
    }
    bb_put_be32(key, doc_index);
    memcpy(key + 4, entry->key.data + entry->key.size - ID_SIZE, ID_SIZE);
    struct bb_slice stored;
    snapshot->lookups++;
    int rc = store_lookup(ctx, snapshot, bb_slice(key, sizeof(key)), &stored);
    if (rc == BB_NOT_FOUND) {
        return bb_fail(ctx, BB_CORRUPT,
                       "index %" PRIu32 " has an entry whose document is missing at tx %" PRIu64,
                       bb_get_be32(entry->key.data), snapshot->at.us);
    }
    return rc == BB_OK ? set_document(ctx, entry, stored) : rc;
}

static int fill(struct bb_ctx *ctx, struct bb_store_snapshot *snapshot, uint32_t doc_index,
                struct bb_slice stored, struct bb_store_entry *entry)
{
    if (stored.size > 0) {
        return set_document(ctx, entry, stored);
    }
    return doc_index == 0 ? BB_OK : join(ctx, snapshot, doc_index, entry);
}

/* ---- ops ---- */

static int read_get(struct bb_ctx *ctx, const struct bb_store_op *op, struct collector *collector)
{
    struct bb_store_result *result = collector->result;
    struct bb_store_entry entry = { .key = op->low };
    struct bb_slice stored;
    int rc = store_lookup(ctx, collector->snapshot, op->low, &stored);
    if (rc == BB_NOT_FOUND) {
        result->is_complete = true;
        return BB_OK;
    }
    if (rc == BB_OK) {
        rc = fill(ctx, collector->snapshot, op->doc_index, stored, &entry);
    }
    if (rc != BB_OK || !fits(collector, &entry)) {
        return rc;
    }
    rc = grow(ctx, collector, 1);
    if (rc == BB_OK) {
        result->entries[result->count++] = entry;
        result->is_complete = true;
    }
    return rc;
}

static int read_range(struct bb_ctx *ctx, const struct bb_store_op *op, struct collector *collector)
{
    struct bb_store_result *result = collector->result;
    struct store_merge merge;
    int rc = store_merge_begin(ctx, &merge, collector->snapshot, op);
    while (rc == BB_OK) {
        rc = store_merge_step(ctx, &merge);
        if (rc == BB_NOT_FOUND) {
            result->is_complete = true;
            return BB_OK;
        }
        if (rc != BB_OK || (op->limit != 0 && result->count == op->limit)) {
            break;
        }
        struct bb_store_entry entry = { .key = merge.key };
        rc = fill(ctx, collector->snapshot, op->doc_index, merge.value, &entry);
        if (rc != BB_OK || !fits(collector, &entry)) {
            break;
        }
        if (result->count == collector->capacity) {
            rc = grow(ctx, collector, op->limit);
            if (rc != BB_OK) {
                break;
            }
        }
        result->entries[result->count++] = entry;
    }
    return rc;
}

int bb_store_read(struct bb_ctx *ctx, struct bb_store_snapshot *snapshot,
                  const struct bb_store_op *op, size_t *bytes_left, struct bb_store_result *result)
{
    *result = (struct bb_store_result){ .entries = NULL };
    struct collector collector = { .snapshot = snapshot,
                                   .result = result,
                                   .bytes_left = bytes_left };
    snapshot->lookups++;
    return op->high.size == 0 ? read_get(ctx, op, &collector) : read_range(ctx, op, &collector);
}
