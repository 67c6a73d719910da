/*
 * What was written lately, in the order of keys: of those indexes alone of which somebody asks
 * ranges, so that whoever only gets documents pays nothing for it. A range that becomes known finds
 * what was written into it without looking at all the rest.
 *
 * Ownership: keys are copied. Threads: one. Durability: none. An index that is not asked for again
 * while hundreds of others are may be forgotten: then it is asked for as if for the first time.
 */
#ifndef WORKER_WRITTEN_H
#define WORKER_WRITTEN_H

#include "bb/mvcc.h"

struct written;

struct written *worker_written_new(void);
void worker_written_free(struct written *written); /* accepts NULL */
/* Forgets what was written; its memory is the caller's to free. */
struct bb_mvcc *worker_written_leave(struct written *written);
size_t worker_written_bytes(const struct written *written);

/* Somebody asks for ranges of the index of `key`: its writes are kept from now on, when the newest
 * one was at `newest`. */
void worker_written_want(struct written *written, struct bb_slice key, uint64_t newest);
/* Is the index of `key` wanted, at `tx`? */
bool worker_written_wants(const struct written *written, struct bb_slice key, uint64_t tx);
/* All writes of the range after this moment are kept, when the newest one was at `newest`;
 * UINT64_MAX: that is not known of any. */
uint64_t worker_written_from(const struct written *written, struct bb_slice low,
                             struct bb_slice high, uint64_t newest);

void worker_written_add(struct bb_ctx *ctx, struct written *written, struct bb_slice key,
                        uint64_t tx);
/* Nobody needs to know any more that it was written at `tx` or before; */
void worker_written_drop(struct written *written, struct bb_slice key, uint64_t tx);
/* that happened after `tx` never did. */
void worker_written_drop_after(struct written *written, struct bb_slice key, uint64_t tx);

/* Calls `each` for the keys in [low, high) that were written after `since`; returns how many keys
 * were looked at. */
size_t worker_written_each(const struct written *written, struct bb_slice low, struct bb_slice high,
                           uint64_t since, void (*each)(void *arg, struct bb_slice key), void *arg);

#endif
