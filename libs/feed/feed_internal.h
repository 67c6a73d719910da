/*
 * The parts of a feed, shared by the files of this library.
 */
#ifndef FEED_INTERNAL_H
#define FEED_INTERNAL_H

#include "bb/env.h"
#include "bb/feed.h"
#include "bb/obs.h"

/* ---- the format; docs/formats/feed.md ---- */

enum {
    FEED_SEGMENT_HEADER = 32,
    FEED_RECORD_HEADER = 32,
    FEED_RECORD_MAX = 48 << 20,
    FEED_INDEX_STEP = 128 << 10, /* one sparse index entry per this many bytes */
    FEED_BLOCK_BYTES = 128 << 10,
    FEED_CHUNK_BYTES = 256 << 10 /* one read of a file */
};
enum feed_kind {
    FEED_KIND_RECORD = 1,
    FEED_KIND_MARK = 2
};

struct feed_record {
    enum feed_kind kind;
    uint64_t number; /* tx; of a mark the log's index */
    uint64_t prev;   /* tx of the record before; of a mark the newest tx */
    struct bb_slice bytes;
};
/* Appends header and bytes at `to`, which has FEED_RECORD_HEADER + bytes.size bytes. */
void feed_record_encode(const struct feed_record *record, uint8_t *to);
/* BB_PENDING: not whole (`needed` bytes would be); BB_CORRUPT. `used`: bytes to skip. */
int feed_record_decode(struct bb_slice from, struct feed_record *record, size_t *used,
                       size_t *needed);
struct feed_header {
    uint64_t prev, first; /* txs before the first record and of it */
    bool begins_anew;     /* no segment before this one belongs to it */
};
void feed_header_encode(const struct feed_header *header, uint8_t *to);
int feed_header_decode(struct bb_ctx *ctx, struct bb_slice from, const char *path,
                       struct feed_header *header);

/* ---- segments: one file each ---- */

struct feed_point {
    uint64_t prev; /* the record at `offset` comes after this tx */
    uint64_t offset;
};
struct feed_index {
    struct feed_point *points; /* rising */
    size_t count, capacity;
    uint64_t next; /* no point below this offset */
};
void feed_index_fini(struct feed_index *index);
/* A record that follows `prev` starts at `offset`; kept when the last point is far enough. */
void feed_index_add(struct feed_index *index, uint64_t prev, uint64_t offset);
/* Where to start reading for what comes after `after`. */
uint64_t feed_index_find(const struct feed_index *index, uint64_t after);

struct feed_segment {
    struct bb_list link;
    uint64_t first, prev, last; /* txs of the first record, before it, of the last record */
    uint64_t bytes;             /* complete and written */
    bool is_known;              /* last and bytes were read from the file or written by us */
    bool has_index;
    bool begins_anew;
    struct feed_index index;
};

/* What a walk over a segment file found; the records go to `each` (may be NULL). */
struct feed_walk {
    const char *path;
    uint64_t offset; /* in: start, 0: the first record; out: end of the last whole record */
    uint64_t limit;  /* in: read no further; 0: to the end of the file */
    uint64_t first, prev, last; /* out; last 0: no record. prev and first only from the header */
    uint64_t mark_index;        /* out: newest mark; 0: none */
    struct bb_buf *mark_state;  /* may be NULL */
    struct feed_index *index;   /* may be NULL */
    bool begins_anew;           /* out */
    bool is_torn;               /* out: bytes after the last whole record are no record */
    bool (*each)(void *arg, const struct feed_record *record, struct bb_slice raw);
    void *arg;
};
/* BB_OK also with a torn end; BB_NOT_FOUND, BB_CORRUPT (header), BB_WRONG_VERSION, BB_IO. */
int feed_walk(struct bb_ctx *ctx, struct feed_walk *walk);
void feed_segment_path(const char *dir, uint64_t first, char *path, size_t size);

/* ---- memory: recent records, in the form of the file ---- */

struct feed_block {
    struct bb_list link;
    uint64_t prev, last; /* txs before the first record and of the last */
    size_t size, capacity, written;
    uint8_t data[];
};

/* ---- the feed ---- */

struct feed_span {
    const uint8_t *data;
    size_t size;
    uint64_t prev;
    bool starts_block;
};
/* One write and sync; the job owns all of it while it is under way. */
struct feed_sync {
    struct bb_job job;
    struct bb_feed *feed;
    struct feed_span *spans;
    size_t span_count;
    struct bb_buf mark; /* encoded */
    uint64_t mark_index;
    struct bb_buf mark_state;
    bool is_new_segment;
    bool begins_anew;           /* the files before are removed when the new one is there */
    uint64_t first, prev, last; /* of the records to write; first 0: none */
    uint64_t segment_bytes;     /* before and after */
    struct feed_index index;    /* points of what was written */
    uint64_t *doomed;           /* first tx of segments to remove */
    size_t doomed_count;
    int status;
    char error[BB_ERROR_MAX];
    void (*synced)(void *arg);
    void *synced_arg;
};

#define FEED_MAGIC 0x64656566u /* "feed" */
struct bb_feed {
    uint32_t magic;
    struct bb_loop *loop;
    struct bb_env *env;
    struct bb_ctx ctx;
    struct bb_pool *writer, *readers;
    char *dir;
    uint64_t tail_bytes_max, segment_bytes_max, retention_us, retention_bytes;
    bool is_volatile, is_failed;
    void (*on_error)(void *arg, int status, const char *error);
    void *arg;

    struct bb_list segments; /* oldest first; the last one is written to */
    uint64_t segments_bytes;
    struct bb_file *file; /* of the last segment; the writer's while a sync is under way */

    struct bb_list blocks; /* oldest first */
    uint64_t tail_prev;    /* memory answers from this position on */
    uint64_t tail_bytes, unsynced_bytes;
    uint64_t newest;
    bool is_empty; /* no record ever: the first one may follow anything */

    struct feed_sync *sync;
    uint64_t *doomed;
    size_t doomed_count;
    uint64_t mark_index;
    struct bb_buf mark_state;
    struct bb_list scans; /* under way */
};

/* tail.c */
void feed_tail_append(struct bb_feed *feed, const struct feed_record *record);
void feed_tail_trim(struct bb_feed *feed);
void feed_tail_free(struct bb_feed *feed);

/* writer.c */
void feed_sync_free(struct feed_sync *sync);
void feed_retain(struct bb_feed *feed);

/* scan.c */
void feed_scans_orphan(struct bb_feed *feed);

/* feed.c */
struct feed_segment *feed_last_segment(const struct bb_feed *feed);
void feed_segment_free(struct feed_segment *segment);

#endif
