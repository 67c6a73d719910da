/*
 * Ordered bytes to bytes in a folder: LMDB behind a small face, with keys of up to 8 KB.
 *
 * Keys up to 467 bytes are stored whole. A longer one is stored as its first 450 bytes, 0xff and 16
 * bytes of its SHA-256, with the whole key in front of the value; a cursor takes all keys that
 * share 450 bytes as one group and sorts it by the whole key, so the order seen here is always
 * memcmp's.
 *
 * Beside the data there are runs, ordered maps of the same kind: each is filled by one batch and
 * emptied as a whole, which costs a page for many entries where the data costs one for each.
 *
 * Ownership: slices that come out of a read borrow from the map and live until that read is closed.
 * Threads: one writer at a time; a read and its cursors serve one thread at a time (it may be
 * opened by another). Durability: a commit makes the one *before* it safe against power loss (and
 * itself against the death of the process); bb_kv_sync makes all safe. Nothing here guesses on
 * after an error: any status but BB_OK of begin, put, delete, commit or sync is for the caller to
 * stop on. Never open one folder twice in a process; never fork while one is open.
 */
#ifndef BB_KV_H
#define BB_KV_H

#include "bb/base.h"

#define BB_KV_KEY_MAX 8192
#define BB_KV_FORMAT  2u
#define BB_KV_RUNS    64u

struct bb_kv;
struct bb_kv_batch;
struct bb_kv_read;
struct bb_kv_cursor;

struct bb_kv_options {
    const char *dir;      /* must exist */
    uint64_t map_bytes;   /* reserved address space, the upper bound of the file; 0: 256 GiB */
    uint32_t readers_max; /* reads open at once; 0: 1024 */
    bool is_volatile;     /* never sync: for data that need not survive the machine */
    bool is_larger_than_memory; /* no read-ahead */
    bool
        is_read_only; /* looks at a store that nobody has open, and changes nothing in the folder */
};
/*
 * Opens or creates. BB_WRONG_VERSION: written by another format version or no store at all, the
 * text says what to do; BB_CORRUPT, BB_NO_SPACE, BB_BUSY (another process has it open), BB_IO.
 */
int bb_kv_open(struct bb_ctx *ctx, const struct bb_kv_options *options, struct bb_kv **kv);
/* All reads and batches must be closed. Does not sync. Accepts NULL. */
void bb_kv_close(struct bb_kv *kv);

/* ---- writing: one transaction, fastest in key order ---- */

int bb_kv_begin(struct bb_ctx *ctx, struct bb_kv *kv, struct bb_kv_batch **batch);
/* BB_NO_SPACE (disk or map is full), BB_TOO_LARGE (key), BB_IO. After an error only abort. */
int bb_kv_put(struct bb_ctx *ctx, struct bb_kv_batch *batch, struct bb_slice key,
              struct bb_slice value);
/* BB_OK also when there is no such key. */
int bb_kv_delete(struct bb_ctx *ctx, struct bb_kv_batch *batch, struct bb_slice key);
/* A named record beside the data; `name` up to 64 characters. */
int bb_kv_put_meta(struct bb_ctx *ctx, struct bb_kv_batch *batch, const char *name,
                   struct bb_slice value);
/*
 * Into run `run` (below BB_KV_RUNS), which was empty when the batch began; keys in rising order, of
 * one run in a batch. What is read later is the byte `mark`, then `value`.
 */
int bb_kv_run_put(struct bb_ctx *ctx, struct bb_kv_batch *batch, unsigned run, struct bb_slice key,
                  uint8_t mark, struct bb_slice value);
int bb_kv_run_clear(struct bb_ctx *ctx, struct bb_kv_batch *batch, unsigned run);
/* Leaf pages of the data. */
int bb_kv_leaves(struct bb_ctx *ctx, struct bb_kv_batch *batch, uint64_t *leaves);
/* Would `low` and `high`, which comes behind it, be written into one leaf page of the data? To be
 * asked before the batch has written anything. */
int bb_kv_are_near(struct bb_ctx *ctx, struct bb_kv_batch *batch, struct bb_slice low,
                   struct bb_slice high, bool *are_near);
/* Writes and syncs the data pages. The batch is gone, whatever the result. */
int bb_kv_commit(struct bb_ctx *ctx, struct bb_kv_batch *batch);
void bb_kv_abort(struct bb_kv_batch *batch); /* accepts NULL */
/* All that was committed is on the disk afterwards. */
int bb_kv_sync(struct bb_ctx *ctx, struct bb_kv *kv);

/* ---- reading: the state of the last commit, for as long as the read is open ---- */

int bb_kv_read_open(struct bb_ctx *ctx, struct bb_kv *kv, struct bb_kv_read **read);
void bb_kv_read_close(struct bb_kv_read *read); /* its cursors must be closed; accepts NULL */
uint64_t bb_kv_read_version(const struct bb_kv_read *read); /* equal for reads of the same commit */
/* BB_NOT_FOUND (without a text), BB_CORRUPT, BB_IO. */
int bb_kv_get(struct bb_ctx *ctx, const struct bb_kv_read *read, struct bb_slice key,
              struct bb_slice *value);
int bb_kv_get_meta(struct bb_ctx *ctx, const struct bb_kv_read *read, const char *name,
                   struct bb_slice *value);

/* The same of a run; `stored` is its mark and the value. */
int bb_kv_run_get(struct bb_ctx *ctx, const struct bb_kv_read *read, unsigned run,
                  struct bb_slice key, struct bb_slice *stored);

/* A position in key order. The functions give BB_OK, BB_NOT_FOUND (no such entry; without a text;
 * the cursor is then nowhere) or BB_CORRUPT, BB_IO. Moving on from nowhere stays nowhere. */
int bb_kv_cursor_open(struct bb_ctx *ctx, const struct bb_kv_read *read,
                      struct bb_kv_cursor **cursor);
/* Through a run; its values begin with their marks. */
int bb_kv_run_cursor_open(struct bb_ctx *ctx, const struct bb_kv_read *read, unsigned run,
                          struct bb_kv_cursor **cursor);
void bb_kv_cursor_close(struct bb_kv_cursor *cursor); /* accepts NULL */
int bb_kv_seek(struct bb_ctx *ctx, struct bb_kv_cursor *cursor,
               struct bb_slice key); /* first >= key */
int bb_kv_seek_before(struct bb_ctx *ctx, struct bb_kv_cursor *cursor,
                      struct bb_slice key); /* last < */
int bb_kv_next(struct bb_ctx *ctx, struct bb_kv_cursor *cursor);
int bb_kv_prev(struct bb_ctx *ctx, struct bb_kv_cursor *cursor);
/* Of the entry where the last call came to rest; valid while that read is open. */
struct bb_slice bb_kv_cursor_key(const struct bb_kv_cursor *cursor);
struct bb_slice bb_kv_cursor_value(const struct bb_kv_cursor *cursor);

/* ---- care ---- */

/* A compacted copy of the last commit into `fd`; a folder with it as "data.mdb" opens as a store.
 * Blocks for as long as the stream takes and keeps that state from being reused meanwhile. */
int bb_kv_copy(struct bb_ctx *ctx, struct bb_kv *kv, int fd);
/*
 * The same as a stream, no faster than it is read. The state that is copied is of some commit after
 * the call; its pages stay as they are until the stream has ended or is closed. At the end `done`
 * is less than `size`, and BB_OK says that all of it came. One thread at a time; read blocks.
 */
struct bb_kv_stream;
int bb_kv_stream_open(struct bb_ctx *ctx, struct bb_kv *kv, struct bb_kv_stream **stream);
int bb_kv_stream_read(struct bb_ctx *ctx, struct bb_kv_stream *stream, void *to, size_t size,
                      size_t *done);
/* By how much the file has grown since the stream was opened: what the copy costs at most. */
uint64_t bb_kv_stream_pinned(const struct bb_kv_stream *stream);
void bb_kv_stream_close(struct bb_kv_stream *stream); /* gives up what has not come; accepts NULL */
/*
 * `kv`, open in a folder of its own on the same file system and synced, takes the place of `other`:
 * its files get the names of the other's, for good when this returns. `other` stays open, on files
 * without a name, until it is closed; it must not be written to. On failure both folders may hold
 * either: stop.
 */
int bb_kv_take_place(struct bb_ctx *ctx, struct bb_kv *kv, struct bb_kv *other);
/* Reads all pages that the newest commit reaches, without LMDB, which trusts what it maps.
 * BB_CORRUPT: the text names the first one that is damaged by its byte in the file. Values have no
 * checksum. For a store that nobody has open. */
int bb_kv_verify(struct bb_ctx *ctx, const char *dir);
/* What LMDB meets and cannot answer for: a file that was cut short or that its disk does not give
 * (SIGBUS), a page that is damaged (an assertion). `end` gets a sentence that names file and place,
 * on the thread that read, maybe in a signal handler; it ends the process. For all stores of it. */
void bb_kv_at_damage(void (*end)(const char *what));
/*
 * Pages of files that this process has mapped, in bytes: those of all its stores, and of its
 * programs. Some ten microseconds. Any thread. 0: the system does not say.
 */
size_t bb_kv_resident(void);
/* How often this thread had to wait for the disk because memory was not there, since it began. */
uint64_t bb_kv_waits(void);
/*
 * Lets go of mapped pages of `kv` until the process has at most `bytes_max` of files mapped; they
 * stay in the kernel's cache and are mapped again by whoever reads them. Gives what is mapped then.
 * One thread at a time, beside reads and a batch of others; at most 64 steps, each of which costs
 * what it lets go.
 */
size_t bb_kv_trim(struct bb_kv *kv, size_t bytes_max);
/* Frees reader slots of processes that died. */
int bb_kv_reader_check(struct bb_ctx *ctx, struct bb_kv *kv);

struct bb_kv_stat {
    uint64_t used_bytes; /* of the file: all pages that were ever used */
    uint64_t map_bytes;
    uint64_t entries;
    uint64_t last_version;
    uint32_t readers; /* slots taken */
};
int bb_kv_stat(struct bb_ctx *ctx, struct bb_kv *kv, struct bb_kv_stat *stat);
/* Pages that hold nothing, in bytes: what a compaction would give back at least. Reads the list of
 * them. */
int bb_kv_free_bytes(struct bb_ctx *ctx, struct bb_kv *kv, uint64_t *bytes);

#endif
