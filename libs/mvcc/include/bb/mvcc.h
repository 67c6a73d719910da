/*
 * An ordered map in which a key has versions: what storage knows and LMDB does not yet, and what
 * overlays the worker's cache.
 *
 * A version is (tx, kind, value); kind PUT, TOUCH (the index entry stands, its document changed) or
 * REMOVE. Of one key versions are added with rising tx. A read at T sees the newest version <= T.
 *
 * Ownership: keys and values are copied. Threads: one writer, any number of readers at once as long
 * as nothing is removed (bb_mvcc_prune, bb_mvcc_drop: only while no other thread reads). What a
 * reader may see is what was put before the tx it reads at was published to it. Durability: none.
 * A skip list (Pugh 1990) whose links are published with release stores; a chain of versions a key.
 */
#ifndef BB_MVCC_H
#define BB_MVCC_H

#include "bb/base.h"

enum bb_mvcc_kind {
    BB_MVCC_PUT = 1,
    BB_MVCC_TOUCH = 2,
    BB_MVCC_REMOVE = 3
};

struct bb_mvcc;
struct bb_mvcc_version {
    struct bb_slice key, value; /* live as long as the map and the version */
    struct bb_txtime tx;
    struct bb_txtime newest; /* of all versions of the key, whatever the read is at */
    enum bb_mvcc_kind kind;
};

struct bb_mvcc *bb_mvcc_new(size_t bytes_max); /* 0: no limit */
void bb_mvcc_free(struct bb_mvcc *map);        /* accepts NULL */
/* The same bit by bit, of a map that nobody uses any more: so many versions at most. True: that was
 * all, and the map is gone. One that only grows goes at once. */
bool bb_mvcc_free_some(struct bb_mvcc *map, size_t versions);
/* Of an empty map that one thread alone uses: single keys are found by a hash, which costs the same
 * however many there are. A new key is loose: no cursor and no range comes to it until it has been
 * put in order. */
void bb_mvcc_index_keys(struct bb_mvcc *map);
/* From now on `key` has its place in the order, as long as it has versions. What is not there or
 * has its place already stays as it is. Of a map whose keys are indexed. */
void bb_mvcc_order(struct bb_mvcc *map, struct bb_slice key);
/* One that only grows, until it goes as a whole: nothing may be pruned or dropped, and a version
 * that its own transaction replaces keeps its memory, so that a replacement is safe while others
 * read. */
struct bb_mvcc *bb_mvcc_new_growing(void);
/* What the versions take; of a growing map, its blocks. */
size_t bb_mvcc_bytes(const struct bb_mvcc *map);
size_t bb_mvcc_keys(const struct bb_mvcc *map);

/* `tx` is higher than any version of this key (equal: the same transaction writes again, the newer
 * value wins; single-threaded use only). BB_TOO_LARGE when full: nothing has changed. */
int bb_mvcc_put(struct bb_ctx *ctx, struct bb_mvcc *map, struct bb_slice key, struct bb_slice value,
                enum bb_mvcc_kind kind, struct bb_txtime tx);
/* A version older than those that are there (a cache fill); kept unless one with tx <= `tx` exists.
 */
int bb_mvcc_put_older(struct bb_ctx *ctx, struct bb_mvcc *map, struct bb_slice key,
                      struct bb_slice value, enum bb_mvcc_kind kind, struct bb_txtime tx);
/* Newest version <= at. False: none (which says nothing about older storage). */
bool bb_mvcc_get(const struct bb_mvcc *map, struct bb_slice key, struct bb_txtime at,
                 struct bb_mvcc_version *version);

/* A cursor over keys in order, newest version <= at of each; keys without one are skipped. */
struct bb_mvcc_cursor {
    const struct bb_mvcc *map;
    struct bb_txtime at;
    const void *node;
    struct bb_mvcc_version version; /* valid when the last call returned true */
    struct bb_txtime skipped;       /* newest version of any key that was skipped so far */
};
void bb_mvcc_cursor_init(struct bb_mvcc_cursor *cursor, const struct bb_mvcc *map,
                         struct bb_txtime at);
bool bb_mvcc_seek(struct bb_mvcc_cursor *cursor, struct bb_slice key);        /* first key >= key */
bool bb_mvcc_seek_before(struct bb_mvcc_cursor *cursor, struct bb_slice key); /* last key < key */
bool bb_mvcc_next(struct bb_mvcc_cursor *cursor);
bool bb_mvcc_prev(struct bb_mvcc_cursor *cursor);

/* Drop versions that no read at >= `oldest` can see: of each key all but the newest with tx <=
 * oldest; `keep_last`: also drop that newest one when it is false and nothing newer needs it. */
void bb_mvcc_prune(struct bb_mvcc *map, struct bb_txtime oldest, bool keep_last);
/* Drop every version with tx > `newest` (an epoch died). */
void bb_mvcc_drop_after(struct bb_mvcc *map, struct bb_txtime newest);
/* Drop all versions of keys in [low, high) with tx <= `upto` (a cache range is evicted), but for
 * keys of which `stays` (may be NULL) says so. */
void bb_mvcc_drop_range(struct bb_mvcc *map, struct bb_slice low, struct bb_slice high,
                        struct bb_txtime upto, bool (*stays)(void *arg, struct bb_slice key),
                        void *arg);
/* The same of one key, which is fast where keys are indexed: it costs what it drops. */
void bb_mvcc_drop_key(struct bb_mvcc *map, struct bb_slice key, struct bb_txtime upto);
/* Drop what no read of the key at >= `oldest` needs to know that it is there: all versions but the
 * newest with tx <= oldest, and that one as well if it is a removal. Costs what it drops. */
void bb_mvcc_settle_key(struct bb_mvcc *map, struct bb_slice key, struct bb_txtime oldest);
/* Drop the versions of one key with tx > `newest`; costs what it drops, too. */
void bb_mvcc_drop_key_after(struct bb_mvcc *map, struct bb_slice key, struct bb_txtime newest);
/* Calls `each` for each key's newest version with tx <= at, in key order, REMOVE and TOUCH
 * included. */
void bb_mvcc_each(const struct bb_mvcc *map, struct bb_txtime at,
                  void (*each)(void *arg, const struct bb_mvcc_version *version), void *arg);

#endif
