/*
 * The durable transaction feed: every applied transaction in order, kept for days, read by cursors.
 *
 * A position is a tx; a reader asks for what came after it. Recent records are answered from
 * memory, older ones from segment files. Each record names the one before it, so a gap shows.
 *
 * Ownership: records are copied in; what `each` gets lives during the call. Threads: all functions
 * on the owner thread of the loop; files are written by a thread of the feed's own and read on the
 * pool given at open. Durability: what was appended is durable when bb_feed_sync with its index has
 * ended; until then the log must keep it, and it is appended again after a restart (BB_DUPLICATE if
 * there).
 */
#ifndef BB_FEED_H
#define BB_FEED_H

#include "bb/base.h"
#include "bb/rt.h"

struct bb_feed;

struct bb_feed_options {
    const char *dir;          /* made when missing */
    struct bb_pool *readers;  /* reads segment files; outlives the feed */
    uint64_t tail_bytes;      /* recent records in memory; 0: 16 MB */
    uint64_t segment_bytes;   /* a file grows to about this; 0: 16 MB */
    uint64_t retention_us;    /* older files go; 0: no limit by age */
    uint64_t retention_bytes; /* oldest files go beyond; 0: no limit by size */
    bool is_volatile;         /* never sync */
    /* On the owner thread. A failed write ends the feed's work: the caller stops the process. */
    void (*on_error)(void *arg, int status, const char *error);
    void *arg;
};

/* Where the caller's state machine stood when the feed was synced; `state` is the caller's own. */
struct bb_feed_mark {
    uint64_t index; /* of the log */
    struct bb_slice state;
};

/* Cuts a torn end off the newest file. BB_CORRUPT, BB_WRONG_VERSION, BB_NO_SPACE, BB_IO. */
int bb_feed_open(struct bb_ctx *ctx, struct bb_loop *loop, const struct bb_feed_options *options,
                 struct bb_feed **feed);
/* Ends the writing thread; unsynced records are lost to the feed. Nothing may be under way unless
 * the loop does not run any more. Accepts NULL. */
void bb_feed_close(struct bb_feed *feed);

/* BB_DUPLICATE: tx <= the newest, nothing was done. BB_GAP: `prev` is not the newest. */
int bb_feed_append(struct bb_ctx *ctx, struct bb_feed *feed, struct bb_txtime prev,
                   struct bb_txtime tx, struct bb_slice record);

/*
 * Write and sync all that was appended, then the mark; `synced` hears of it. BB_BUSY: one is under
 * way. Without a record in the feed a mark cannot be kept: BB_NOT_FOUND, `synced` is not called.
 */
int bb_feed_sync(struct bb_ctx *ctx, struct bb_feed *feed, const struct bb_feed_mark *mark,
                 void (*synced)(void *arg), void *arg);
/*
 * The feed continues after `tx`, which is newer than all it has: a checkpoint was taken over that
 * includes what lies between. All records and files before go. As bb_feed_sync; records may be
 * appended at once. BB_DUPLICATE: it has `tx`, nothing was done.
 */
int bb_feed_begin_anew(struct bb_ctx *ctx, struct bb_feed *feed, struct bb_txtime tx,
                       const struct bb_feed_mark *mark, void (*synced)(void *arg), void *arg);
bool bb_feed_is_syncing(const struct bb_feed *feed);
uint64_t bb_feed_unsynced_bytes(const struct bb_feed *feed);
/* The newest mark that is durable; index 0 and an empty state when there is none. Valid until the
 * next sync ends. */
struct bb_feed_mark bb_feed_mark(const struct bb_feed *feed);

struct bb_txtime bb_feed_newest(const struct bb_feed *feed);
struct bb_txtime bb_feed_earliest(const struct bb_feed *feed); /* the first position one may name */
uint64_t bb_feed_bytes(const struct bb_feed *feed);            /* of the files */

/* One record. Returns false to stop after this one. */
typedef bool bb_feed_each_fn(void *arg, struct bb_txtime prev, struct bb_txtime tx,
                             struct bb_slice record);

/*
 * Records after `after` from memory, until `each` returns false. BB_OK, also for none (nothing came
 * yet, or `after` lies beyond the newest). BB_PENDING: older than memory holds, use a scan.
 * BB_TX_TRUNCATED: older than the feed, see bb_feed_earliest.
 */
int bb_feed_read(struct bb_ctx *ctx, struct bb_feed *feed, struct bb_txtime after,
                 bb_feed_each_fn *each, void *arg);

/* Records from the files. The caller's struct lives until `done` was called. */
struct bb_feed_scan {
    struct bb_txtime after;
    uint64_t max_bytes; /* of records, about; at least one is delivered; at most 16 MB */
    /* On the owner thread, once. BB_OK, BB_TX_TRUNCATED, BB_CORRUPT, BB_IO; read the records with
     * bb_feed_scan_each during the call. */
    void (*done)(struct bb_feed_scan *scan, int status, const char *error);
    void *arg;
    struct bb_txtime goes_on; /* when a file cannot be read: what follows it begins behind this */
    struct feed_scan_work *work; /* the feed's */
};
/* BB_OVERLOADED: the readers are busy; BB_TX_TRUNCATED. Then `done` is not called. */
int bb_feed_scan_start(struct bb_ctx *ctx, struct bb_feed *feed, struct bb_feed_scan *scan);
void bb_feed_scan_each(const struct bb_feed_scan *scan, bb_feed_each_fn *each, void *arg);

/* ---- looking at files that no process has open; any thread, blocks, changes nothing ---- */

struct bb_feed_look_segment {
    const char *file;
    uint64_t bytes, records;
    struct bb_txtime prev, last; /* before the first record, and of the last; 0: none */
    uint64_t mark_index;         /* of the log, in the last mark; 0: none */
    bool begins_anew;
    uint64_t torn_at;   /* bytes from here on are no record; 0: all are */
    const char *damage; /* NULL: none */
};
struct bb_feed_look {
    /* Either may be NULL. In order. */
    void (*segment)(void *arg, const struct bb_feed_look_segment *segment); /* after its records */
    void (*record)(void *arg, struct bb_txtime prev, struct bb_txtime tx, struct bb_slice record);
    void *arg;
};
/* BB_NOT_FOUND (no such folder), BB_IO. Damage is no error. */
int bb_feed_look(struct bb_ctx *ctx, const char *dir, const struct bb_feed_look *look);

#endif
