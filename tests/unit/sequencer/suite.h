/* The whole service against a storage node that follows a script: it grants the claim, answers
 * RENEW, keeps what it is given, and does once what `trouble` says. Nothing else of it is real.
 */
#ifndef TEST_SEQUENCER_SUITE_H
#define TEST_SEQUENCER_SUITE_H

#include <criterion/criterion.h>

#include <stdatomic.h>
#include <stdio.h>

#include "storage.pb-c.h"

#include "bb/sequencer_service.h"
#include "bb/wire_validate.h"

#include "lease.h"
#include "world.h"

enum trouble {
    NO_TROUBLE,
    LOSE_THE_ANSWER,
    HOLD_THE_ANSWER, /* until release_append */
    REFUSE_ONCE,
    NOT_READY_ONCE, /* it was elected a moment ago */
    FENCE
};

/* Who votes, as a RENEW is told. */
struct naming {
    size_t count;
    Bb__Proto__Voter voters[SEQUENCER_VOTER_MAX];
    char urls[SEQUENCER_VOTER_MAX][96];
};

struct storage {
    uint64_t node;          /* its number; 0: it does not say */
    _Atomic uint64_t leads; /* who leads as it says, in the term of that number; 0: 1 */
    _Atomic(const struct naming *) names; /* NULL: it does not say */
    atomic_uint renewals;
    struct bb_loop *loop;
    struct bb_thread *thread;
    struct bb_server *server;
    const char *url;
    atomic_bool is_open;
    _Atomic enum trouble trouble;
    atomic_uint empty_tails;         /* so many of the next Tails find nothing */
    atomic_bool has_hole;            /* Tail leaves out what came second */
    atomic_bool has_lost_all;        /* the feed begins behind the newest tx */
    uint32_t lost_status;            /* what it says then; 0: BB_TX_TRUNCATED */
    atomic_uint unread_tails;        /* so many of the next Tails meet an error of the disk */
    atomic_bool is_deaf;             /* refuses every Append */
    atomic_uint unanswered_renewals; /* so many of the next RENEWs get no lease */
    atomic_bool is_held;             /* another sequencer holds the epoch and renews */
    atomic_bool is_unnamed;          /* and storage does not say which */
    atomic_uint tails;
    atomic_uint appends, distinct;
    atomic_uint renewals_at_append; /* that had come when the first batch came */
    _Atomic uint64_t last_seq, last_tx;
    struct bb_exchange *lost;           /* never answered in time */
    _Atomic(struct bb_exchange *) held; /* of an Append that is taken and not answered yet */
};

struct suite {
    struct storage storage;
    struct bb_conf *conf;
    struct bb_service *service;
    struct bb_loop *loop; /* the asker's */
    struct bb_peer *peer;
    struct bb_arena *arena;
    Bb__Proto__SequencerReply *reply;
    bool is_answered;
    atomic_int stopped;
    size_t doc_bytes; /* of the documents that submit writes; 0: 1 */
};

/* Any thread: the answer that was held. */
void release_append(struct storage *storage);
void storage_start(struct storage *storage);
void storage_stop(struct storage *storage);
/* The service, its storage node and one who asks; `name` is used once in a program. */
void suite_start(struct suite *suite, const char *name);
void suite_stop(struct suite *suite);
/* A request whose answer comes with ask_end. */
void ask_begin(struct suite *suite, const Bb__Proto__SequencerRequest *request);
const Bb__Proto__SequencerReply *ask_end(struct suite *suite);
const Bb__Proto__SequencerReply *ask(struct suite *suite,
                                     const Bb__Proto__SequencerRequest *request);
/* What the sequencer's feed says now. */
const Bb__Proto__FollowReply *follow(struct suite *suite, uint64_t epoch, uint64_t after,
                                     uint64_t durable_seen);
/* One commit of the request id `number`, which writes one key; its status. */
uint32_t submit(struct suite *suite, unsigned number, uint64_t snapshot, uint64_t *tx);
/* It is active, and this is epoch 1. */
void first_contact(struct suite *suite);
void wait_durable(struct suite *suite, uint64_t tx);
/* A Finish of a call without writes; its status. */
uint32_t finish(struct suite *suite);

#endif
