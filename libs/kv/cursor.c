/*
 * Going through the entries in key order, both ways.
 *
 * Outside of groups (key.h) this is LMDB's own order. When the LMDB cursor comes to an entry of a
 * group, the whole group is taken into a list and sorted by key, and the cursor walks the list;
 * beyond either end of it, LMDB is placed beyond the group. A group costs its size on each entry
 * into it; groups are rare (two keys must agree in 450 bytes).
 */
#include <stdlib.h>

#include "kv.h"

struct entry {
    struct bb_slice key, value;
};

enum place {
    NOWHERE,
    SINGLE,
    GROUP
};

struct bb_kv_cursor {
    struct bb_kv *kv;
    MDB_cursor *lmdb; /* NULL: there is nothing to go through */
    enum place place;
    struct entry entry; /* what the caller sees when the place is not NOWHERE */
    struct entry *group;
    size_t group_count, group_capacity, group_at;
    uint8_t prefix[KV_PREFIX_SIZE]; /* of the group */
};

static int open_in(struct bb_ctx *ctx, const struct bb_kv_read *read, MDB_dbi dbi,
                   struct bb_kv_cursor **out)
{
    MDB_cursor *lmdb = NULL;
    int rc = mdb_cursor_open(read->txn, dbi, &lmdb);
    if (rc != 0) {
        return kv_fail(ctx, read->kv, rc, "beginning to scan");
    }
    struct bb_kv_cursor *cursor = bb_alloc_zero(1, sizeof(*cursor));
    cursor->kv = read->kv;
    cursor->lmdb = lmdb;
    *out = cursor;
    return BB_OK;
}

int bb_kv_cursor_open(struct bb_ctx *ctx, const struct bb_kv_read *read, struct bb_kv_cursor **out)
{
    return open_in(ctx, read, read->kv->data, out);
}

int bb_kv_run_cursor_open(struct bb_ctx *ctx, const struct bb_kv_read *read, unsigned run,
                          struct bb_kv_cursor **out)
{
    bb_assert(run < BB_KV_RUNS);
    if (!read->kv->has_runs) {
        *out = bb_alloc_zero(1, sizeof(**out));
        (*out)->kv = read->kv;
        return BB_OK;
    }
    return open_in(ctx, read, read->kv->runs[run], out);
}

void bb_kv_cursor_close(struct bb_kv_cursor *cursor)
{
    if (cursor == NULL) {
        return;
    }
    if (cursor->lmdb != NULL) {
        mdb_cursor_close(cursor->lmdb);
    }
    bb_free(cursor->group);
    bb_free(cursor);
}

struct bb_slice bb_kv_cursor_key(const struct bb_kv_cursor *cursor)
{
    bb_assert(cursor->place != NOWHERE);
    return cursor->entry.key;
}

struct bb_slice bb_kv_cursor_value(const struct bb_kv_cursor *cursor)
{
    bb_assert(cursor->place != NOWHERE);
    return cursor->entry.value;
}

static int nowhere(struct bb_ctx *ctx, struct bb_kv_cursor *cursor, int rc)
{
    cursor->place = NOWHERE;
    return rc == MDB_NOTFOUND ? BB_NOT_FOUND : kv_fail(ctx, cursor->kv, rc, "scanning");
}

/* ---- groups ---- */

static int compare_entries(const void *a, const void *b)
{
    return bb_slice_compare(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

static bool is_of_group(const struct bb_kv_cursor *cursor, struct bb_slice stored)
{
    return kv_key_in_group(stored) && memcmp(stored.data, cursor->prefix, KV_PREFIX_SIZE) == 0;
}

static int group_add(struct bb_ctx *ctx, struct bb_kv_cursor *cursor, MDB_val key, MDB_val value)
{
    if (cursor->group_count == cursor->group_capacity) {
        cursor->group_capacity = cursor->group_capacity * 2 + 16;
        cursor->group =
            bb_realloc(cursor->group, cursor->group_capacity * sizeof(cursor->group[0]));
    }
    struct entry *entry = &cursor->group[cursor->group_count];
    if (!kv_entry_load(kv_slice(key), kv_slice(value), &entry->key, &entry->value)) {
        return nowhere(ctx, cursor, MDB_CORRUPTED);
    }
    cursor->group_count++;
    return BB_OK;
}

/* Place LMDB at the first entry that sorts at or after the group's prefix with one more byte. */
static int lmdb_to_group(struct bb_kv_cursor *cursor, MDB_val *key, MDB_val *value)
{
    uint8_t first[KV_PREFIX_SIZE + 1];
    memcpy(first, cursor->prefix, KV_PREFIX_SIZE);
    first[KV_PREFIX_SIZE] = 0;
    *key = kv_val(bb_slice(first, sizeof(first)));
    return mdb_cursor_get(cursor->lmdb, key, value, MDB_SET_RANGE);
}

/* Load the group with `prefix`; it may turn out empty. */
static int group_load(struct bb_ctx *ctx, struct bb_kv_cursor *cursor, const uint8_t *prefix)
{
    MDB_val key, value;
    memmove(cursor->prefix, prefix, KV_PREFIX_SIZE);
    cursor->group_count = 0;
    int rc = lmdb_to_group(cursor, &key, &value);
    while (rc == 0 && is_of_group(cursor, kv_slice(key))) {
        int status = group_add(ctx, cursor, key, value);
        if (status != BB_OK) {
            return status;
        }
        rc = mdb_cursor_get(cursor->lmdb, &key, &value, MDB_NEXT);
    }
    if (rc != 0 && rc != MDB_NOTFOUND) {
        return nowhere(ctx, cursor, rc);
    }
    if (cursor->group_count > 1) {
        qsort(cursor->group, cursor->group_count, sizeof(cursor->group[0]), compare_entries);
    }
    return BB_OK;
}

static int show_group(struct bb_kv_cursor *cursor, size_t at)
{
    cursor->place = GROUP;
    cursor->group_at = at;
    cursor->entry = cursor->group[at];
    return BB_OK;
}

/* Number of the first entry of the group with key >= `key`. */
static size_t group_find(const struct bb_kv_cursor *cursor, struct bb_slice key)
{
    size_t low = 0, high = cursor->group_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (bb_slice_compare(cursor->group[middle].key, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* ---- coming to rest ---- */

/* Where LMDB stands now; coming from the front or from the back. */
static int arrive(struct bb_ctx *ctx, struct bb_kv_cursor *cursor, int rc, const MDB_val *key,
                  const MDB_val *value, bool is_backward)
{
    if (rc != 0) {
        return nowhere(ctx, cursor, rc);
    }
    struct bb_slice stored = kv_slice(*key);
    if (kv_key_in_group(stored)) {
        int status = group_load(ctx, cursor, stored.data);
        if (status != BB_OK) {
            return status;
        }
        bb_assert(cursor->group_count > 0);
        return show_group(cursor, is_backward ? cursor->group_count - 1 : 0);
    }
    cursor->place = SINGLE;
    cursor->entry = (struct entry){ .key = stored, .value = kv_slice(*value) };
    return BB_OK;
}

/* The entry after the group. */
static int leave_forward(struct bb_ctx *ctx, struct bb_kv_cursor *cursor)
{
    uint8_t last[KV_STORED_MAX + 1];
    memcpy(last, cursor->prefix, KV_PREFIX_SIZE);
    memset(last + KV_PREFIX_SIZE, 0xff, sizeof(last) - KV_PREFIX_SIZE);
    MDB_val key = kv_val(bb_slice(last, sizeof(last))), value;
    int rc = mdb_cursor_get(cursor->lmdb, &key, &value, MDB_SET_RANGE);
    return arrive(ctx, cursor, rc, &key, &value, false);
}

/* The last entry with a stored key < `stored`. */
static int lmdb_before(struct bb_ctx *ctx, struct bb_kv_cursor *cursor, struct bb_slice stored)
{
    MDB_val key = kv_val(stored), value;
    int rc = mdb_cursor_get(cursor->lmdb, &key, &value, MDB_SET_RANGE);
    if (rc == 0) {
        rc = mdb_cursor_get(cursor->lmdb, &key, &value, MDB_PREV);
    } else if (rc == MDB_NOTFOUND) {
        rc = mdb_cursor_get(cursor->lmdb, &key, &value, MDB_LAST);
    }
    return arrive(ctx, cursor, rc, &key, &value, true);
}

static int leave_backward(struct bb_ctx *ctx, struct bb_kv_cursor *cursor)
{
    uint8_t first[KV_PREFIX_SIZE + 1];
    memcpy(first, cursor->prefix, KV_PREFIX_SIZE);
    first[KV_PREFIX_SIZE] = 0;
    return lmdb_before(ctx, cursor, bb_slice(first, sizeof(first)));
}

/* ---- the public moves ---- */

int bb_kv_seek(struct bb_ctx *ctx, struct bb_kv_cursor *cursor, struct bb_slice key)
{
    if (cursor->lmdb == NULL) {
        return nowhere(ctx, cursor, MDB_NOTFOUND);
    }
    if (kv_key_in_group(key)) {
        int status = group_load(ctx, cursor, key.data);
        if (status != BB_OK) {
            return status;
        }
        size_t at = group_find(cursor, key);
        return at < cursor->group_count ? show_group(cursor, at) : leave_forward(ctx, cursor);
    }
    MDB_val at = kv_val(key), value;
    int rc = key.size == 0 ? mdb_cursor_get(cursor->lmdb, &at, &value, MDB_FIRST)
                           : mdb_cursor_get(cursor->lmdb, &at, &value, MDB_SET_RANGE);
    return arrive(ctx, cursor, rc, &at, &value, false);
}

int bb_kv_seek_before(struct bb_ctx *ctx, struct bb_kv_cursor *cursor, struct bb_slice key)
{
    if (key.size == 0 || cursor->lmdb == NULL) {
        return nowhere(ctx, cursor, MDB_NOTFOUND);
    }
    if (kv_key_in_group(key)) {
        int status = group_load(ctx, cursor, key.data);
        if (status != BB_OK) {
            return status;
        }
        size_t at = group_find(cursor, key);
        return at > 0 ? show_group(cursor, at - 1) : leave_backward(ctx, cursor);
    }
    return lmdb_before(ctx, cursor, key);
}

int bb_kv_next(struct bb_ctx *ctx, struct bb_kv_cursor *cursor)
{
    MDB_val key, value;
    switch (cursor->place) {
    case NOWHERE:
        return BB_NOT_FOUND;
    case SINGLE:
        return arrive(ctx, cursor, mdb_cursor_get(cursor->lmdb, &key, &value, MDB_NEXT), &key,
                      &value, false);
    case GROUP:
        return cursor->group_at + 1 < cursor->group_count ? show_group(cursor, cursor->group_at + 1)
                                                          : leave_forward(ctx, cursor);
    }
    BB_UNREACHABLE("a place");
}

int bb_kv_prev(struct bb_ctx *ctx, struct bb_kv_cursor *cursor)
{
    MDB_val key, value;
    switch (cursor->place) {
    case NOWHERE:
        return BB_NOT_FOUND;
    case SINGLE:
        return arrive(ctx, cursor, mdb_cursor_get(cursor->lmdb, &key, &value, MDB_PREV), &key,
                      &value, true);
    case GROUP:
        return cursor->group_at > 0 ? show_group(cursor, cursor->group_at - 1)
                                    : leave_backward(ctx, cursor);
    }
    BB_UNREACHABLE("a place");
}
