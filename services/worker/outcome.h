/*
 * How long outcomes of client keys are kept, and what a key without an outcome may still do. Pure.
 *
 * An outcome is a row of _requests. It answers its key for `kept_ms` and is removed an eighth of
 * that later: keys carry the time of the client's clock, rows that of the suite, and a key that is
 * not refused must find its row. Time is the snapshot's: the order's own clock, which no machine
 * alone can set wrong, and which stands still while nobody writes.
 */
#ifndef WORKER_OUTCOME_H
#define WORKER_OUTCOME_H

#include <stdint.h>

enum outcome_key_age {
    OUTCOME_KEY_USABLE,
    OUTCOME_KEY_OLD,  /* its outcome may have been removed */
    OUTCOME_KEY_EARLY /* from the future: its outcome would be removed too early */
};

/* `key_ms` 0: the key does not say when it was made. */
enum outcome_key_age worker_outcome_key_age(uint64_t key_ms, uint64_t snapshot_us, uint64_t wall_us,
                                            uint64_t kept_ms);
/* Rows made before this (ms) can go. */
uint64_t worker_outcome_remove_before_ms(uint64_t snapshot_us, uint64_t kept_ms);

#endif
