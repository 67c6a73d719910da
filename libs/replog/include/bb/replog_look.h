/*
 * Looking at a log that no process has open: terms, segments, entries. Reads the files of libraft's
 * format 1 by itself and changes nothing; what is damaged is told and ends the look at that file.
 *
 * Threads: any; blocks. Memory: one segment at a time.
 */
#ifndef BB_REPLOG_LOOK_H
#define BB_REPLOG_LOOK_H

#include "bb/base.h"
#include "bb/replog.h"

enum bb_replog_look_kind {
    BB_REPLOG_LOOK_ENTRY, /* one of ours: frame is set, or `damage` says why not */
    BB_REPLOG_LOOK_BARRIER,
    BB_REPLOG_LOOK_CHANGE, /* of the members */
    BB_REPLOG_LOOK_UNKNOWN
};
struct bb_replog_look_entry {
    const char *file;
    uint64_t index, term;
    enum bb_replog_look_kind kind;
    size_t bytes;
    bool has_frame;
    struct bb_replog_frame frame; /* its payload lives during the call */
    const char *damage;           /* NULL: none */
};
struct bb_replog_look_segment {
    const char *file;
    bool is_open;                /* still written to when the process ended */
    uint64_t bytes, first, last; /* indexes; last < first: no entry */
    const char *damage;
};
struct bb_replog_look_snapshot {
    const char *file;
    uint64_t term, index;
};
struct bb_replog_look {
    uint64_t term, voted_for; /* of the newer metadata file; 0: there is none */
    char ballot_damage[160];  /* what is wrong with the file ballot, or "" */
    /* Any of these may be NULL. In order. */
    void (*snapshot)(void *arg, const struct bb_replog_look_snapshot *snapshot);
    void (*segment)(void *arg,
                    const struct bb_replog_look_segment *segment); /* after its entries */
    void (*entry)(void *arg, const struct bb_replog_look_entry *entry);
    void *arg;
};
/* BB_NOT_FOUND (no such folder), BB_WRONG_VERSION, BB_IO. Damage is no error. */
int bb_replog_look(struct bb_ctx *ctx, const char *dir, struct bb_replog_look *look);

/* One batch as it lies in a segment; pure, for the look and its fuzz target. `first`
 * says file and index of its first entry; `each` may be NULL. BB_OK: `used` bytes of `from` were
 * one; BB_NOT_FOUND: zeros, nothing was written here; BB_CORRUPT with the reason. */
int bb_replog_look_batch(struct bb_ctx *ctx, struct bb_slice from,
                         const struct bb_replog_look_entry *first, size_t *used, uint64_t *count,
                         void (*each)(void *arg, const struct bb_replog_look_entry *entry),
                         void *arg);

#endif
