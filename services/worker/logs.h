/*
 * The newest log lines of function calls on this worker, for `bitbend logs`: a ring that forgets.
 * Ownership: entries are copied. Threads: one.
 */
#ifndef WORKER_LOGS_H
#define WORKER_LOGS_H

#include "worker.pb-c.h"

#include "bb/base.h"

struct logs;
struct logs *worker_logs_new(size_t entries_max, size_t bytes_max);
void worker_logs_free(struct logs *logs); /* accepts NULL */
void worker_logs_add(struct logs *logs, const Bb__Proto__CallLog *entry);
/* Number of the newest entry; the first one is 1. */
uint64_t worker_logs_newest(const struct logs *logs);
/* Entries after `cursor`, at most about 1 MB, packed as CallLog messages; sets the new cursor. */
size_t worker_logs_after(struct logs *logs, uint64_t *cursor, struct bb_slice *packed,
                         size_t packed_max);

#endif
