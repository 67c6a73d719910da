/*
 * The zygote: a process that has Node.js, the add-on, the isolate and the realm, runs nothing, and
 * is copied for each slot. Started, watched and replaced here; slots that it made are children of
 * this process and outlive it.
 */
#ifndef WORKER_ZYGOTE_H
#define WORKER_ZYGOTE_H

#include "bb/base.h"

struct slot;
struct worker;
struct zygote;

enum zygote_help {
    ZYGOTE_READY_TO_FORK,
    ZYGOTE_SOON, /* it starts: worker_slots_watch is called when it is ready, or not */
    ZYGOTE_NEVER /* slots are started without */
};

/* `mode` is --slot-start: fork or exec. Starts the first one. BB_BAD_REQUEST: the mode. */
int worker_zygote_new(struct worker *worker, const char *mode, struct zygote **zygote);
void worker_zygote_free(struct zygote *zygote); /* accepts NULL */
enum zygote_help worker_zygote_help(const struct zygote *zygote);
/* Asks for a copy whose socket is `fd`, which stays the caller's. worker_slot_born or
 * worker_slot_unborn follows. BB_IO: it is being ended, and help comes soon. */
int worker_zygote_fork(struct zygote *zygote, const struct slot *slot, int fd);
/* How a slot's process ended that never was ready, or that it is ready: after some in a row that
 * never were, slots are started without a zygote for a while. */
void worker_zygote_judge(struct zygote *zygote, bool was_ready);
/* Starts what is not there, ends what hangs. */
void worker_zygote_watch(struct zygote *zygote, uint64_t now_us);
void worker_zygote_stop(struct zygote *zygote);
bool worker_zygote_is_gone(const struct zygote *zygote);

#endif
