/* What the files that talk to the sequencer share: link.c, follow.c, commit.c. */
#ifndef WORKER_LINK_H
#define WORKER_LINK_H

#include "worker.h"

#define LINK_RETRY_US   20000u
#define LINK_SUBMIT_MAX 512u
#define LINK_ROW_MAX    32u /* calls that run on top of each other */

/* Send to the sequencer that is in use; `done` gets the worker. `*asked` is which one that was. */
int worker_link_ask(struct worker *worker, Bb__Proto__SequencerRequest *request,
                    uint32_t timeout_ms, size_t *asked, bb_peer_reply_fn *done);
/* The one that was asked is not the active one, or does not answer: use the one that `reply` (NULL:
 * none came) names, or the next. */
void worker_link_failed(struct worker *worker, size_t asked,
                        const Bb__Proto__SequencerReply *reply);
/* The one that was asked may have a successor: use the next one that is there, if one is. */
void worker_link_look(struct worker *worker, size_t asked);
/* Unpack a reply of the sequencer into the scratch arena; its own status when it has no such op. */
int worker_link_open_reply(struct worker *worker, int status, struct bb_slice bytes,
                           Bb__Proto__SequencerReply__OpCase op, Bb__Proto__SequencerReply **reply);

void worker_follow_send(struct worker *worker);
void worker_mark_send(struct worker *worker);
/* A mark serves all that have arrived: as long as enough marked calls wait for a slot, let others
 * gather. */
bool worker_mark_is_due(const struct worker *worker);
void worker_submit_send(struct worker *worker);

#endif
