/*
 * The state machine of a storage node: committed transactions in, versioned reads out.
 *
 * What is applied goes into a multi-version chunk in memory. A flush writes the newest version of
 * each changed key to LMDB, into the data or a run beside it, in key order and in one transaction
 * together with the state, and opens a generation: one LMDB read for each reader thread. A read at
 * T takes the newest generation flushed at or before T and the chunks after it (one; two while a
 * flush runs). Generations, and the chunks that belong to them, live for `generation_ms`; reads
 * below the oldest get BB_TOO_OLD.
 *
 * Threads: apply is called by one owner thread; reads by reader threads, each with its own index;
 * flush, sync and stats by any thread. The store has one thread of its own, which flushes.
 * Durability: what was applied and not flushed is lost with the process and is applied again from
 * the log; `bb_store_durable` says from where. Validity (epoch, sequence) is the caller's decision.
 * Errors of the disk are reported, once by `on_error` and by all later calls; the caller stops.
 */
#ifndef BB_STORE_H
#define BB_STORE_H

#include "bb/base.h"

struct bb_store;

/* Where the state machine stands; travels with the data in one LMDB transaction. */
struct bb_store_state {
    uint64_t index; /* of the log entry applied last */
    uint64_t epoch;
    uint64_t last_seq;
    struct bb_txtime last_tx;
    struct bb_slice opaque; /* the caller's own (holder, chain, digests, ..), up to 64 KB */
};

/* When a flush puts changes into sorted runs, out of which they are merged into the data. */
enum bb_store_gather {
    BB_STORE_GATHER_AUTO, /* when they are so scattered that it saves pages */
    BB_STORE_GATHER_ALWAYS,
    BB_STORE_GATHER_NEVER
};

struct bb_store_options {
    const char *dir;        /* created when missing */
    size_t reader_count;    /* reader threads have indexes 0 .. reader_count - 1; at most 66 */
    uint32_t flush_ms;      /* after the first change since the last flush; 0: 3000 */
    size_t flush_bytes;     /* of memory, then flush at once; 0: 64 MB */
    uint32_t generation_ms; /* how long a superseded generation stays; 0: 6000 */
    enum bb_store_gather gather;
    uint32_t gather_runs; /* so many are merged together; 0: 24; at most 28 */
    size_t memory_max;    /* of all chunks; beyond, old generations end early; 0: 384 MB */
    size_t unflushed_max; /* bb_store_is_full beyond; 0: 192 MB */
    uint64_t map_bytes;   /* the largest LMDB file; 0: 256 GiB */
    /* Pages of files that this process has mapped, 32 MB or more; 0: a quarter of the machine's
     * memory, at least 512 MB. */
    size_t resident_max;
    uint64_t copy_rate;       /* bytes a second of a copy; 0: 100 MB */
    uint64_t copy_pinned_max; /* a copy that makes the file grow by more is given up; 0: 1 GB */
    bool has_quick_reader;    /* the last reader's thread is one that nothing should hold up */
    bool is_volatile;         /* never sync (option `memory`) */
    bool has_no_thread;       /* flush only when bb_store_flush is called: tests, simulation */
    /* Any of these may be NULL. On the flushing thread, without locks held. */
    void (*on_flushed)(void *arg, const struct bb_store_state *flushed);
    void (*on_error)(void *arg, int status, const char *error); /* once; the store serves no more */
    void *arg;
};

/* BB_WRONG_VERSION, BB_NO_SPACE, BB_CORRUPT, BB_BUSY, BB_IO: the text says what to do. */
int bb_store_open(struct bb_ctx *ctx, const struct bb_store_options *options,
                  struct bb_store **store);
/* Flushes and syncs (a failure is reported), ends the thread, frees. No snapshot may be open. */
int bb_store_close(struct bb_ctx *ctx, struct bb_store *store); /* accepts NULL */
/* As if the process had died here: no flush. For tests, and after an error. */
void bb_store_abandon(struct bb_store *store);

/* ---- applying; owner thread ---- */

/*
 * Is `batch` (concatenation of u32 LE length and TxRecord) well-formed, with tx rising, the first
 * one's prev == base_tx and the last one's tx == last_tx? BB_BAD_REQUEST. Pure; any thread; also
 * for the leader before it proposes.
 */
int bb_store_check_batch(struct bb_ctx *ctx, struct bb_slice batch, struct bb_txtime base_tx,
                         struct bb_txtime last_tx);
/*
 * Apply the entry at state->index and take over `state` (copied). `batch` may be empty: only the
 * state moves on (a claim, a refused entry). All of the batch becomes readable at once, when this
 * returns. BB_DUPLICATE: index <= the applied one, nothing was done. BB_CORRUPT: malformed, nothing
 * was done. Never waits for the disk. Needs no arena in ctx.
 */
int bb_store_apply(struct bb_ctx *ctx, struct bb_store *store, const struct bb_store_state *state,
                   struct bb_slice batch);
/* Too much memory waits to be flushed: take no new proposals until it is false again. Any thread.
 */
bool bb_store_is_full(const struct bb_store *store);

/* Newest applied tx; any thread. */
struct bb_txtime bb_store_applied(const struct bb_store *store);
/* `opaque` is duplicated into ctx->arena. Any thread. */
void bb_store_state(struct bb_ctx *ctx, const struct bb_store *store, struct bb_store_state *state);
/* What survives a power loss now: the log is needed from durable.index + 1. Any thread. */
void bb_store_durable(struct bb_ctx *ctx, const struct bb_store *store,
                      struct bb_store_state *state);
/* Oldest tx at which a read is still possible. Any thread. */
struct bb_txtime bb_store_oldest(const struct bb_store *store);

/* ---- flushing; any thread but the owner if it must not wait for the disk ---- */

int bb_store_flush(struct bb_ctx *ctx,
                   struct bb_store *store); /* what was applied before the call */
int bb_store_sync(struct bb_ctx *ctx, struct bb_store *store); /* flush, and all of it is durable */

/* ---- copies; any thread but the owner, and one at a time: else BB_BUSY ---- */

/*
 * A flush, then the data as a stream, not faster than `copy_rate`. `state` is at most what it holds
 * (its `opaque` is in ctx->arena). BB_NOT_YET: the data does not reach entry `index_min`;
 * BB_OVERLOADED, also from read: the file grew by more than `copy_pinned_max` meanwhile, or memory
 * is full; BB_CANCELLED. At the end `done` < `size`.
 */
struct bb_store_copy;
int bb_store_copy_open(struct bb_ctx *ctx, struct bb_store *store, uint64_t index_min,
                       struct bb_store_copy **copy, struct bb_store_state *state);
int bb_store_copy_read(struct bb_ctx *ctx, struct bb_store_copy *copy, void *to, size_t size,
                       size_t *done);
void bb_store_copy_close(struct bb_store_copy *copy); /* accepts NULL */
/* The same in one call, into `fd`; a folder with it as "data.mdb" opens as a store. */
int bb_store_checkpoint(struct bb_ctx *ctx, struct bb_store *store, int fd,
                        struct bb_store_state *state);

/* Pages of the file that hold nothing, without those that runs will take again, and all of it. */
int bb_store_free_bytes(struct bb_ctx *ctx, struct bb_store *store, uint64_t *used_bytes,
                        uint64_t *free_bytes);
/*
 * Writes the file anew without them, while reads and writes go on; the old file goes with the last
 * generation that reads it. On failure nothing has changed: BB_BUSY, BB_NO_SPACE, BB_OVERLOADED,
 * BB_CANCELLED (ctx, or the store is closed).
 */
struct bb_store_compaction {
    uint64_t before_bytes, after_bytes, took_us;
};
int bb_store_compact(struct bb_ctx *ctx, struct bb_store *store,
                     struct bb_store_compaction *compaction);

/*
 * A checkpoint of another replica, in three steps. Begin names the file to write (and counts as a
 * copy until discard). Open looks at it when it is complete and was checked; `state` lives as long
 * as `incoming`. Install, on the owner thread, makes it what this store has. BB_DUPLICATE: the
 * store is as far already, nothing was done; BB_BUSY: a flush is under way, try again soon; any
 * other error has stopped the store. Close, on any thread but the owner's (it may take long), then
 * discard, in any case.
 */
struct bb_store_incoming;
int bb_store_incoming_begin(struct bb_ctx *ctx, struct bb_store *store, char *path, size_t size);
int bb_store_incoming_open(struct bb_ctx *ctx, struct bb_store *store,
                           struct bb_store_incoming **incoming, struct bb_store_state *state);
int bb_store_install(struct bb_ctx *ctx, struct bb_store *store,
                     struct bb_store_incoming *incoming);
void bb_store_incoming_close(struct bb_store_incoming *incoming); /* accepts NULL */
void bb_store_incoming_discard(struct bb_ctx *ctx, struct bb_store *store);

/* ---- reading; reader threads ---- */

struct bb_store_snapshot;
struct bb_store_op {
    struct bb_slice low, high; /* a get: low is the key, high is empty */
    bool is_descending;
    uint32_t limit;     /* entries; 0: as many as fit */
    uint32_t doc_index; /* by_id index whose documents are joined to the entries; 0: none */
};
struct bb_store_entry {
    struct bb_slice key;
    struct bb_slice value; /* the document of a by_id entry or the joined one; else empty */
    struct bb_txtime tx;   /* of the document: the transaction that wrote it last; 0 without one */
};
struct bb_store_result {
    struct bb_store_entry *entries; /* in ctx->arena, in the order of the op */
    size_t count;
    bool is_complete; /* nothing of the range is missing; a get: it was answered */
};

/*
 * Pins the moment `at` (0: the newest applied) for reader `reader_index`; the snapshot lives in
 * ctx->arena. BB_NOT_YET: not applied yet; BB_TOO_OLD: that moment is gone. At most some
 * milliseconds: an open snapshot keeps memory and disk pages from being reused.
 */
int bb_store_snapshot_open(struct bb_ctx *ctx, struct bb_store *store, size_t reader_index,
                           struct bb_txtime at, struct bb_store_snapshot **snapshot);
void bb_store_snapshot_close(struct bb_store_snapshot *snapshot); /* accepts NULL */
struct bb_txtime bb_store_snapshot_tx(const struct bb_store_snapshot *snapshot);
/*
 * One op. Keys and values borrow from the store and live until the snapshot is closed. `bytes_left`
 * is lowered by what was delivered; an entry that does not fit any more is left out (is_complete =
 * false), except that a snapshot's very first entry always fits. All of a snapshot is read with the
 * arena that it lives in. BB_TOO_LARGE: the arena's limit; BB_CORRUPT: an entry without its
 * document.
 */
int bb_store_read(struct bb_ctx *ctx, struct bb_store_snapshot *snapshot,
                  const struct bb_store_op *op, size_t *bytes_left, struct bb_store_result *result);

/* ---- what a person wants to know ---- */

/*
 * A hash of the content at a moment: of each key in order and its value. Two replicas with one hash
 * at one tx hold the same. Reads all of it.
 */
struct bb_store_sum {
    struct bb_txtime tx;
    uint64_t hash, entries, bytes;
};
/* A reader thread's. Statuses of bb_store_snapshot_open; BB_CANCELLED, BB_TIMEOUT by ctx. */
int bb_store_hash(struct bb_ctx *ctx, struct bb_store *store, size_t reader_index,
                  struct bb_txtime at, struct bb_store_sum *sum);

/* The same from a folder that nobody has open, without a change to it; each index apart. */
struct bb_store_look {
    bool has_state; /* something was applied once; `opaque` is in ctx->arena */
    struct bb_store_state state;
    uint64_t file_bytes, used_bytes, free_bytes; /* of data.mdb; free: pages without content */
    struct bb_store_sum sum;
};
/* `each`: one index, in order; may be NULL. */
int bb_store_look(struct bb_ctx *ctx, const char *dir, struct bb_store_look *look,
                  void (*each)(void *arg, uint32_t index, uint64_t entries, uint64_t bytes),
                  void *arg);

struct bb_store_stats {
    struct bb_txtime applied_tx, flushed_tx, oldest_tx;
    uint64_t applied_index, flushed_index, durable_index;
    uint64_t memory_bytes, unflushed_bytes;
    uint64_t data_bytes, entries; /* of the LMDB file */
    uint64_t resident_bytes;      /* pages of files that the process had mapped at the last look */
    uint64_t resident_max;        /* their bound */
    uint64_t trims;               /* how often pages were let go since start */
    uint64_t generations, oldest_generation_us;
    uint64_t flushes, flush_keys, flush_us, flush_us_max; /* since start; keys and us are sums */
    uint64_t compactions;
    uint64_t runs, run_entries; /* that wait to be merged into the data */
    bool is_copying;
};
void bb_store_stats(struct bb_ctx *ctx, struct bb_store *store, struct bb_store_stats *stats);
/* Another than the quick reader should read now, as some mapped pages may have to go. Any thread.
 */
bool bb_store_wants_look(const struct bb_store *store);
/* Its runs alone. Any thread. */
uint64_t bb_store_runs(const struct bb_store *store);
/* Its resident_bytes alone, at once. */
uint64_t bb_store_resident(const struct bb_store *store);

#endif
