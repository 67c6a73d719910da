/*
 * Named moments at which a test can end a process, as kill -9 would: before and after what is
 * written, synced and sent. Disarmed, which is how every process starts, reaching one costs a load
 * and a branch.
 *
 * Threads: any thread may reach a point; arm before other threads run. Durability: none; the
 * process ends without a goodbye, which is the purpose.
 */
#ifndef BB_FAILPOINT_H
#define BB_FAILPOINT_H

#include <stdatomic.h>

#include "bb/base.h"
#include "bb/env.h"

/* X(name in code, name outside). Numbers are not kept anywhere; names are what tests use. */
#define BB_FAILPOINTS(X)                                                                          \
    X(LOG_APPEND_BEFORE, "log.append.before")       /* an entry is about to be written */         \
    X(LOG_APPEND_AFTER, "log.append.after")         /* it is synced, and nobody knows yet */      \
    X(LOG_SNAPSHOT_BEFORE, "log.snapshot.before")   /* the log is about to be cut */              \
    X(LOG_SNAPSHOT_AFTER, "log.snapshot.after")     /* the manifest is written */                 \
    X(STORAGE_APPLY_BEFORE, "storage.apply.before") /* committed, not applied */                  \
    X(STORAGE_APPLY_AFTER, "storage.apply.after")   /* applied, not answered */                   \
    X(STORAGE_REPLY_BEFORE, "storage.reply.before") /* an append is about to be answered */       \
    X(STORAGE_REPLY_AFTER, "storage.reply.after")   /* the answer is handed to the network */     \
    X(FEED_SEGMENT_BEFORE, "feed.segment.before")   /* a new segment is about to be made */       \
    X(FEED_SEGMENT_AFTER, "feed.segment.after")     /* it is there and empty */                   \
    X(FEED_WRITE_BEFORE, "feed.write.before")       /* records are about to be written */         \
    X(FEED_MARK_BEFORE, "feed.mark.before")         /* records are written, their mark is not */  \
    X(FEED_SYNC_BEFORE, "feed.sync.before")         /* all is written, nothing synced */          \
    X(FEED_SYNC_AFTER, "feed.sync.after")           /* synced, and nobody knows yet */            \
    X(STORE_FLUSH_BEFORE, "store.flush.before")     /* memory is about to go to the data file */  \
    X(STORE_COMMIT_BEFORE, "store.commit.before")   /* all keys are put, not committed */         \
    X(STORE_COMMIT_AFTER, "store.commit.after")     /* committed, not yet published */            \
    X(STORE_SYNC_AFTER, "store.sync.after")         /* the data file is synced */                 \
    X(SEQUENCER_CLAIM_BEFORE, "sequencer.claim.before") /* the next epoch is about to be asked */ \
    X(SEQUENCER_CLAIM_AFTER, "sequencer.claim.after")   /* it was given, nothing is served */     \
    X(SEQUENCER_SUBMIT_AFTER, "sequencer.submit.after") /* sequenced, not answered */             \
    X(SEQUENCER_REPLY_AFTER, "sequencer.reply.after")   /* the worker may know its tx */          \
    X(SEQUENCER_APPEND_BEFORE, "sequencer.append.before") /* a batch is about to be sent */       \
    X(SEQUENCER_APPEND_AFTER, "sequencer.append.after")   /* it is durable, and nobody knows */   \
    X(WORKER_SUBMIT_BEFORE, "worker.submit.before")       /* commits are about to be sent */      \
    X(WORKER_SUBMIT_AFTER, "worker.submit.after")         /* they are on their way */             \
    X(WORKER_OUTCOME_BEFORE, "worker.outcome.before") /* their outcome came, nothing is done */   \
    X(WORKER_REPLY_BEFORE, "worker.reply.before")     /* a call is about to be answered */        \
    X(WORKER_REPLY_AFTER, "worker.reply.after")       /* its answer is handed to the network */   \
    X(GATEWAY_CALL_BEFORE, "gateway.call.before")     /* a call is about to go to a worker */     \
    X(GATEWAY_CALL_AFTER, "gateway.call.after")       /* it is on its way */                      \
    X(GATEWAY_ANSWER_BEFORE, "gateway.answer.before") /* a worker answered, the client waits */   \
    X(GATEWAY_ANSWER_AFTER, "gateway.answer.after")   /* the client was answered */

enum bb_failpoint {
#define BB_FAILPOINT_MEMBER(name, text) BB_FAILPOINT_##name,
    BB_FAILPOINTS(BB_FAILPOINT_MEMBER)
#undef BB_FAILPOINT_MEMBER
    BB_FAILPOINT_COUNT
};

/* The name outside, "log.append.before". Static. */
const char *bb_failpoint_name(enum bb_failpoint point);

/*
 * From now on the process ends when the point `text` is reached; with "name:n" when it is reached
 * for the n-th time. BB_BAD_REQUEST names what is allowed.
 */
int bb_failpoint_arm(struct bb_ctx *ctx, struct bb_env *env, const char *text);

/* For the inline function below: counts, and ends the process when it is time. */
void bb_failpoint_reached(struct bb_env *env);

static inline void bb_failpoint(struct bb_env *env, enum bb_failpoint point)
{
    if (atomic_load_explicit(&env->failpoint, memory_order_relaxed) == (unsigned)point + 1) {
        bb_failpoint_reached(env);
    }
}

#endif
