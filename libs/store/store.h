/*
 * What the files of libs/store share. Internal.
 *
 * Chunks and generations in time: generation g reads LMDB as of flush F(g); the chunk behind it
 * holds what was applied in (F(g), F(g+1)]. The newest generation has no chunk of its own yet:
 * behind it are the sealed chunk (while a flush writes it) and the active one.
 *
 *     F1 ---- chunk ---- F2 ---- chunk ---- F3 ---- sealed ---- . ---- active ---- applied
 *     generation 1       generation 2       generation 3 (newest)
 *
 * Generations end from the oldest on, and a chunk ends with the generation before it; so what a
 * pinned generation may need stays.
 *
 * In the file a key is in the data, and maybe in runs, which are newer (gather.c).
 *
 * A generation reads the LMDB file that was the store's when it began. When another file takes its
 * place (a compaction, a checkpoint of another replica), the old one goes on without a name until
 * the last generation on it has ended.
 *
 * Whoever writes the file or replaces it has the *turn*: one at a time, for a whole flush. Locks,
 * taken in this order: `applying` while versions are put into the active chunk or it is sealed;
 * `view` for moments, over everything that is marked so below.
 */
#ifndef BB_STORE_INTERNAL_H
#define BB_STORE_INTERNAL_H

#include <stdatomic.h>

#include "bb/kv.h"
#include "bb/mvcc.h"
#include "bb/store.h"

#define STORE_READERS_MAX 66
#define STORE_OPAQUE_MAX  (64u << 10)

/* ---- state: where the machine stands ---- */

struct store_mark {
    uint64_t index, epoch, last_seq;
    struct bb_txtime last_tx;
    struct bb_buf opaque;
};
void store_mark_init(struct store_mark *mark);
void store_mark_fini(struct store_mark *mark);
void store_mark_copy(struct store_mark *to, const struct store_mark *from);
void store_mark_set(struct store_mark *mark, const struct bb_store_state *state);
/* Borrows mark->opaque. */
struct bb_store_state store_mark_state(const struct store_mark *mark);
void store_mark_encode(const struct store_mark *mark, struct bb_buf *to);
int store_mark_decode(struct bb_ctx *ctx, struct bb_slice from, struct store_mark *mark);

/* ---- chunks and generations ---- */

struct store_chunk {
    struct bb_mvcc *map;
    struct bb_txtime base; /* its versions are newer than this */
};

/* A run of the file: its entries are a mark, which is a kind of bb_mvcc, and the value. */
struct store_run {
    uint32_t number;
    uint64_t keys, bytes;
    uint64_t indexes; /* a bit for each index that it may reach */
};
struct store_runs {
    size_t count;
    uint64_t numbers;                 /* a bit for each run's number */
    struct store_run run[BB_KV_RUNS]; /* newest first */
};

struct store_filter; /* runs.c */

/* Runs that are being merged into the data. */
struct store_pass {
    size_t count;     /* the oldest so many; 0: none */
    uint64_t total;   /* entries of them */
    uint64_t left;    /* those that are still to come */
    struct bb_buf at; /* the first key of those */
};

/* An LMDB file: the store's own, or one that a generation still reads. */
struct store_base {
    struct bb_kv *kv;
    uint32_t users; /* under `view` */
    /* Changed by whoever has the turn. */
    struct store_runs runs;
    struct store_pass pass;
    uint64_t strays;             /* keys of the last chunk in a run only as older ones had them */
    uint64_t numbers_used;       /* numbers whose bits may be set in: */
    struct store_filter *filter; /* NULL: there was no run yet; read by all */
};

struct store_generation {
    struct bb_list link; /* in store->generations, oldest first */
    struct store_base *base;
    struct store_runs runs;    /* of the file as it reads it */
    struct bb_txtime flushed;  /* F */
    struct store_chunk *chunk; /* (F, next F]; NULL: this is the newest */
    uint64_t superseded_us;    /* monotonic; when the next one came */
    uint64_t opened_us;
    bool is_ended;                               /* a checkpoint came after it: no new reads */
    uint32_t pins;                               /* snapshots open on it */
    struct bb_kv_read *reads[STORE_READERS_MAX]; /* one a reader thread */
};

struct store_counters {
    uint64_t flushes, flush_keys, flush_us, flush_us_max;
    uint64_t compactions;
};

/* What reads and flushes may have mapped since the last look, an upper estimate. */
struct store_resident {
    _Atomic size_t touched;
    atomic_flag is_looking; /* one thread looks, the others go on */
    _Atomic size_t bytes;   /* at the last look */
    _Atomic uint64_t trims;
};

struct bb_store {
    struct bb_store_options options; /* defaults filled in */
    char *dir;
    struct bb_env *env;
    struct bb_log *log;
    struct store_base *base; /* changed by whoever has the turn, under `view` */
    struct bb_thread *thread;
    struct bb_mutex *applying, *view;
    struct bb_cond *wake; /* of the store's thread; with `view` */
    struct bb_cond *idle; /* the turn is free; with `view` */

    struct bb_buf value; /* the owner thread's */

    _Atomic uint64_t applied_us;
    struct store_resident resident;

    /* Under `view`. */
    struct bb_list generations;
    struct store_chunk *active; /* put into under `applying` */
    struct store_chunk *sealed; /* NULL: no flush is writing one */
    struct store_mark applied, flushed, durable;
    uint64_t run_bytes_most;    /* of all runs together since there were none */
    uint64_t dirty_since_us;    /* monotonic; 0: LMDB has all */
    uint64_t unsynced_since_us; /* monotonic; 0: all that LMDB has is durable */
    bool is_stopping;
    bool has_turn;   /* somebody flushes or replaces the file */
    bool is_copying; /* a compaction, a checkpoint to another replica or one from there */
    int failed;      /* status of the disk's first error */
    char error[BB_ERROR_MAX];
    struct store_counters counters;
};

struct bb_store_snapshot {
    struct bb_store *store;
    struct store_generation *generation;
    size_t reader_index;
    struct bb_txtime at;
    const struct store_chunk *chunks[2]; /* newest first */
    size_t chunk_count;
    struct bb_kv_cursor *cursor;       /* opened by the first range */
    struct bb_kv_cursor **run_cursors; /* by place among the generation's runs; NULL: none yet */
    bool has_delivered;
    size_t lookups, bytes; /* what its reads took from the file, at most */
};

/* Folders beside the file, made and removed by the store; leftovers go at the start. */
#define STORE_NEXT_DIR     "next"     /* a compaction writes there */
#define STORE_INCOMING_DIR "incoming" /* a checkpoint of another replica */

/* view.c; all under `view` unless said */
struct store_chunk *store_chunk_new(struct bb_txtime base);
void store_chunk_free(struct store_chunk *chunk); /* no lock; accepts NULL */
/* The generation uses `base`. No lock. */
int store_generation_new(struct bb_ctx *ctx, struct bb_store *store, struct store_base *base,
                         struct bb_txtime flushed, struct store_generation **generation);
void store_generation_free(struct bb_store *store,
                           struct store_generation *generation); /* no lock */
struct store_generation *store_newest(const struct bb_store *store);
struct store_generation *store_oldest(const struct bb_store *store);
struct store_generation *store_oldest_open(const struct bb_store *store);
/* What lies between the newest one and `newer` is `chunk`. */
void store_supersede(struct bb_store *store, struct store_chunk *chunk,
                     struct store_generation *newer, uint64_t now_us);
size_t store_memory(const struct bb_store *store);
size_t store_unflushed(const struct bb_store *store);
/* Takes one generation that is at its end out of the list; NULL: there is none. */
struct store_generation *store_take_expired(struct bb_store *store, uint64_t now_us);
/* The LMDB reads of one that has ended and stays behind a pinned one, to be closed without the
 * lock; false: there is none. */
bool store_take_idle_reads(struct bb_store *store, uint64_t now_us,
                           struct bb_kv_read *reads[STORE_READERS_MAX]);
/* When the oldest will be at its end; UINT64_MAX: not before the next flush. */
uint64_t store_expiry_us(const struct bb_store *store);
int store_choose(struct bb_ctx *ctx, const struct bb_store *store, struct bb_txtime at,
                 struct bb_store_snapshot *snapshot);

/* base.c */
/* Used once; takes the kv, but not when it fails. */
int store_base_new(struct bb_ctx *ctx, struct bb_kv *kv, struct store_base **base);
/* Of one that only this caller uses; leaves the kv open. Accepts NULL. */
void store_base_free(struct store_base *base);
/* The store's present one. Takes `view`. */
struct store_base *store_base_use(struct bb_store *store);
/* Closes the file with its last user, which may take long. Takes `view`; accepts NULL. */
void store_base_release(struct bb_store *store, struct store_base *base);
/* Removes the folder beside the file with all that is in it. */
int store_beside_clear(struct bb_ctx *ctx, const struct bb_store *store, const char *name);
void store_beside_path(const struct bb_store *store, const char *name, char *path, size_t size);
int store_kv_open(struct bb_ctx *ctx, const struct bb_store *store, const char *dir,
                  struct bb_kv **kv);
/* The state record of `kv`; none: as it was. */
int store_load_mark(struct bb_ctx *ctx, struct bb_kv *kv, struct store_mark *mark);

/* turn.c; all take `view` */
void store_turn_take(struct bb_store *store); /* waits */
bool store_turn_try(struct bb_store *store);
void store_turn_give(struct bb_store *store);
/* BB_BUSY: there is one already. */
int store_copy_begin(struct bb_ctx *ctx, struct bb_store *store);
void store_copy_end(struct bb_store *store);
/* Whether a copy whose stream is `stream` may go on, and not too fast: `total` bytes since
 * `start_us`. BB_OVERLOADED: it costs too much; BB_CANCELLED. */
int store_copy_pace(struct bb_ctx *ctx, struct bb_store *store, const struct bb_kv_stream *stream,
                    uint64_t total, uint64_t start_us);

/* resident.c; any thread, no lock held */
/* The bound that is kept when `wanted` is asked for; 0: nothing was. */
size_t store_resident_max(size_t wanted);
/* So many keys were looked up in the file, and so many bytes of it delivered: looks when it is
 * time. */
void store_touched(struct bb_store *store, size_t lookups, size_t bytes);
/* The same, and leaves the look to others. */
void store_touched_quickly(struct bb_store *store, size_t lookups, size_t bytes);

/* flush.c */
void store_thread(void *arg);
void store_expire(struct bb_store *store);
/* One batch: the newest version of each key of the chunk (NULL: none), with a part of the runs into
 * the data if `goes_on`, and the mark (NULL: as it was). */
struct store_written {
    const struct store_chunk *chunk;
    const struct store_mark *mark;
    bool goes_on;
};
int store_write(struct bb_ctx *ctx, struct bb_store *store, struct store_base *base,
                const struct store_written *what);
int store_fail_stop(struct bb_ctx *ctx, struct bb_store *store, int rc);
/* The status with which the disk failed before, with its text; BB_OK. Takes `view`. */
int store_check(struct bb_ctx *ctx, const struct bb_store *store);

/* gather.c: the chunk (NULL: none) into the file, in runs or in the data, and a part of the runs
 * into the data. `base` knows the new state at once: after an error, also of the commit, it must
 * not be used to write again. */
int store_gather(struct bb_ctx *ctx, struct bb_store *store, struct store_base *base,
                 struct bb_kv_batch *batch, const struct store_chunk *chunk);

/* runs.c */
int store_runs_load(struct bb_ctx *ctx, struct store_base *base);
int store_runs_save(struct bb_ctx *ctx, struct bb_kv_batch *batch, const struct store_runs *runs);
/* A bit for each of `runs` that may have the key. */
uint64_t store_runs_with(const struct store_base *base, const struct store_runs *runs,
                         struct bb_slice key);
void store_runs_push(struct store_runs *runs, const struct store_run *run);
void store_runs_drop_oldest(struct store_runs *runs, size_t count);
struct store_run store_run_begin(struct store_base *base, uint32_t number);
void store_run_add(struct store_base *base, struct store_run *run, struct bb_slice key,
                   struct bb_slice value);
uint64_t store_runs_bytes(const struct store_runs *runs);
/* May it have keys from low to high? */
bool store_run_reaches(const struct store_run *run, struct bb_slice low, struct bb_slice high);
/* Kind and value of what lies in a run. */
int store_run_entry(struct bb_ctx *ctx, struct bb_slice stored, enum bb_mvcc_kind *kind,
                    struct bb_slice *value);

/* merge.c: one range over chunks, runs and data */
struct store_merge {
    const struct bb_store_op *op;
    struct bb_mvcc_cursor chunks[2];
    bool has_chunk[2];
    size_t chunk_count;
    struct bb_kv_cursor *runs[BB_KV_RUNS]; /* those inside the range, newest first */
    size_t run_count;
    struct bb_kv_cursor *kv;
    bool has_kv;
    struct bb_slice key, value; /* of the entry that the last step came to */
};
int store_merge_begin(struct bb_ctx *ctx, struct store_merge *merge,
                      struct bb_store_snapshot *snapshot, const struct bb_store_op *op);
/* BB_NOT_FOUND: the end. */
int store_merge_step(struct bb_ctx *ctx, struct store_merge *merge);
void store_merge_cursors_close(struct bb_store_snapshot *snapshot);
/* One key; BB_NOT_FOUND without a text. */
int store_lookup(struct bb_ctx *ctx, const struct bb_store_snapshot *snapshot, struct bb_slice key,
                 struct bb_slice *value);

/* decode.c: through a batch, its bodies and their writes, borrowing from it. False: the end, and
 * the slice is empty then, or something malformed, which it begins with. */
struct store_record {
    struct bb_txtime tx, prev;
    struct bb_slice body;
};
struct store_write {
    struct bb_slice doc, doc_key;
    uint64_t doc_op; /* Bb__Proto__KeyOp, as far as it was checked */
    bool is_index_only;
    struct bb_slice keys; /* for store_next_key */
};
struct store_key {
    struct bb_slice key;
    uint64_t op;
};
bool store_next_record(struct bb_slice *batch, struct store_record *record);
bool store_next_write(struct bb_slice *body, struct store_write *write);
bool store_next_key(struct bb_slice *keys, struct store_key *key);

#endif
