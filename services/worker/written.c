#include "written.h"

#define SETS 64u
#define WAYS 8u
/* An index of which no range was asked for so long is not wanted any more. */
#define WANTED_US 60000000u

struct wanted {
    uint32_t index; /* the first bytes of its keys */
    bool is_there;
    uint64_t from, used; /* when it was asked for: first, and last */
};
struct written {
    struct bb_mvcc *keys; /* a version for each write, without a value */
    struct wanted wanted[SETS][WAYS];
};

struct written *worker_written_new(void)
{
    struct written *written = bb_alloc_zero(1, sizeof(*written));
    written->keys = bb_mvcc_new(0);
    return written;
}

void worker_written_free(struct written *written)
{
    if (written == NULL) {
        return;
    }
    bb_mvcc_free(written->keys);
    bb_free(written);
}

struct bb_mvcc *worker_written_leave(struct written *written)
{
    struct bb_mvcc *keys = written->keys;
    written->keys = bb_mvcc_new(0);
    return keys;
}

size_t worker_written_bytes(const struct written *written)
{
    return bb_mvcc_bytes(written->keys);
}

/* ---- which indexes ---- */

static size_t set_of(uint32_t index)
{
    return (index ^ index >> 8) % SETS;
}

static const struct wanted *find(const struct written *written, struct bb_slice key)
{
    uint32_t index = key.size < 4 ? 0 : bb_get_be32(key.data);
    const struct wanted *set = written->wanted[set_of(index)];
    for (size_t i = 0; key.size >= 4 && i < WAYS; i++) {
        if (set[i].is_there && set[i].index == index) {
            return &set[i];
        }
    }
    return NULL;
}

void worker_written_want(struct written *written, struct bb_slice key, uint64_t newest)
{
    if (key.size < 4) {
        return;
    }
    uint32_t index = bb_get_be32(key.data);
    struct wanted *set = written->wanted[set_of(index)];
    struct wanted *place = set;
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].is_there && set[i].index == index) {
            place = &set[i];
            break;
        }
        if (place->is_there && (!set[i].is_there || set[i].used < place->used)) {
            place = &set[i];
        }
    }
    bool is_kept = place->is_there && place->index == index && newest <= place->used + WANTED_US;
    if (!is_kept) {
        *place = (struct wanted){ .index = index, .is_there = true, .from = newest };
    }
    place->used = newest;
}

bool worker_written_wants(const struct written *written, struct bb_slice key, uint64_t tx)
{
    const struct wanted *wanted = find(written, key);
    return wanted != NULL && tx <= wanted->used + WANTED_US;
}

uint64_t worker_written_from(const struct written *written, struct bb_slice low,
                             struct bb_slice high, uint64_t newest)
{
    const struct wanted *wanted = find(written, low);
    if (wanted == NULL || newest > wanted->used + WANTED_US || high.size < 4) {
        return UINT64_MAX;
    }
    uint32_t end = bb_get_be32(high.data);
    bool is_of_one = end == wanted->index || (high.size == 4 && end == wanted->index + 1);
    return is_of_one ? wanted->from : UINT64_MAX;
}

/* ---- what was written ---- */

void worker_written_add(struct bb_ctx *ctx, struct written *written, struct bb_slice key,
                        uint64_t tx)
{
    int rc = bb_mvcc_put(ctx, written->keys, key, BB_SLICE_EMPTY, BB_MVCC_PUT, BB_TX(tx));
    bb_assert(rc == BB_OK); /* the map has no limit of its own */
}

void worker_written_drop(struct written *written, struct bb_slice key, uint64_t tx)
{
    bb_mvcc_drop_key(written->keys, key, BB_TX(tx));
}

void worker_written_drop_after(struct written *written, struct bb_slice key, uint64_t tx)
{
    bb_mvcc_drop_key_after(written->keys, key, BB_TX(tx));
}

size_t worker_written_each(const struct written *written, struct bb_slice low, struct bb_slice high,
                           uint64_t since, void (*each)(void *arg, struct bb_slice key), void *arg)
{
    struct bb_mvcc_cursor cursor;
    size_t steps = 0;
    bb_mvcc_cursor_init(&cursor, written->keys, BB_TX(UINT64_MAX));
    for (bool is_there = bb_mvcc_seek(&cursor, low);
         is_there && bb_slice_compare(cursor.version.key, high) < 0;
         is_there = bb_mvcc_next(&cursor)) {
        steps++;
        if (cursor.version.tx.us > since) {
            each(arg, cursor.version.key);
        }
    }
    return steps;
}
