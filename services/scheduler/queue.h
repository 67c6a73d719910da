/*
 * The work queue of action jobs: a JetStream stream that runners take from. It is not the record of
 * anything: a message that is lost is put there again, one that comes twice is run once.
 *
 * Threads: the owner's, but for a thread inside that talks to NATS.
 */
#ifndef SCHEDULER_QUEUE_H
#define SCHEDULER_QUEUE_H

#include "scheduler.h"

/* Sets scheduler->queue, or leaves it NULL without the option. BB_BAD_REQUEST. */
int scheduler_queue_open(struct bb_ctx *ctx, struct scheduler *scheduler,
                         const struct bb_conf *conf);
void scheduler_queue_close(struct scheduler *scheduler);
bool scheduler_queue_is_up(struct scheduler_queue *queue);
/* When the queue is away or full the message is dropped, to be put there again when its time is
 * over. */
void scheduler_queue_push(struct scheduler_queue *queue, struct bb_slice job_id, int64_t attempt);
/* Called on the owner when it came up (its messages may be gone) or went away: of scheduler.c. */
void scheduler_queue_changed(struct scheduler *scheduler, bool is_up, const char *why);

#endif
