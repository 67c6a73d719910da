/*
 * The keys of recent writes, newest last, under a bound: what was written while a query ran.
 * Ownership: keys are copied. Threads: one.
 */
#ifndef BB_RECENT_H
#define BB_RECENT_H

#include "bb/base.h"

struct bb_recent {
    struct bb_list records; /* oldest first */
    uint64_t floor_tx;      /* everything after this is here */
    uint64_t newest_tx;
    size_t bytes, bytes_max;
};

void bb_recent_init(struct bb_recent *ring, size_t bytes_max);
void bb_recent_fini(struct bb_recent *ring);
/* Forget all; writes up to `tx` are unknown from now on. */
void bb_recent_clear(struct bb_recent *ring, uint64_t tx);
/* `is_wanted` false: nobody will ask, do not keep it. */
void bb_recent_add(struct bb_recent *ring, uint64_t tx, const struct bb_slice *keys, size_t count,
                   bool is_wanted);
/* Does any write after `tx` have a key that `hits` says yes to, or is that unknown? `hit_tx`: the
 * oldest such write (the first that may be, when unknown). */
bool bb_recent_hits(const struct bb_recent *ring, uint64_t tx,
                    bool (*hits)(void *arg, struct bb_slice key), void *arg, uint64_t *hit_tx);

#endif
