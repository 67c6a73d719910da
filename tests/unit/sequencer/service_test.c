#include <criterion/criterion.h>

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "storage.pb-c.h"

#include "bb/sequencer_service.h"
#include "bb/wire_validate.h"

#include "lease.h"
#include "world.h"

/*
 * The whole service against a storage node that follows a script: it grants the claim, answers
 * RENEW, keeps what it is given, and does once what `trouble` says. Nothing else of it is real.
 */
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
    atomic_bool is_deaf;             /* refuses every Append */
    atomic_uint unanswered_renewals; /* so many of the next RENEWs get no lease */
    atomic_bool is_held;             /* another sequencer holds the epoch and renews */
    atomic_uint tails;
    atomic_uint appends, distinct;
    atomic_uint renewals_at_append; /* that had come when the first batch came */
    _Atomic uint64_t last_seq, last_tx;
    struct bb_exchange *lost;           /* never answered in time */
    _Atomic(struct bb_exchange *) held; /* of an Append that is taken and not answered yet */
};

static void answer(struct bb_exchange *exchange, Bb__Proto__StorageReply *reply)
{
    bb_exchange_reply(exchange, &reply->base);
}

static void answer_append(struct storage *storage, struct bb_exchange *exchange)
{
    Bb__Proto__StorageReply reply;
    Bb__Proto__AppendReply done;

    bb__proto__storage_reply__init(&reply);
    bb__proto__append_reply__init(&done);
    done.last_seq = storage->last_seq;
    done.last_tx = storage->last_tx;
    reply.op_case = BB__PROTO__STORAGE_REPLY__OP_APPEND;
    reply.append = &done;
    answer(exchange, &reply);
}

/* Any thread. */
static void release_append(struct storage *storage)
{
    struct bb_exchange *held = atomic_exchange(&storage->held, NULL);

    if (held != NULL)
        answer_append(storage, held);
}

static void take_append(struct storage *storage, const Bb__Proto__Append *append,
                        struct bb_exchange *exchange, Bb__Proto__StorageReply *reply)
{
    enum trouble trouble = atomic_exchange(&storage->trouble, NO_TROUBLE);

    if (atomic_fetch_add(&storage->appends, 1) == 0)
        storage->renewals_at_append = storage->renewals;
    if (trouble == NOT_READY_ONCE) {
        reply->status = BB_NOT_YET;
        answer(exchange, reply);
        return;
    }
    if (trouble == FENCE || trouble == REFUSE_ONCE || storage->is_deaf) {
        reply->status = trouble == FENCE ? BB_FENCED : BB_OVERLOADED;
        answer(exchange, reply);
        return;
    }
    if (append->seq == storage->last_seq + 1) {
        cr_assert_eq(append->base_tx, storage->last_tx);
        storage->last_seq = append->seq;
        storage->last_tx = append->last_tx;
        atomic_fetch_add(&storage->distinct, 1);
    } else {
        cr_assert_eq(append->seq, storage->last_seq, "the same batch again, and no other");
    }
    if (trouble == LOSE_THE_ANSWER) {
        storage->lost = exchange;
    } else if (trouble == HOLD_THE_ANSWER) {
        storage->held = exchange;
    } else {
        answer_append(storage, exchange);
    }
}

/* The feed of an earlier epoch: ids 1, 2 and 3 at tx 10, 20 and 30. */
static void take_tail(struct storage *storage, const Bb__Proto__Tail *asked,
                      struct bb_exchange *exchange, Bb__Proto__StorageReply *reply)
{
    Bb__Proto__TailReply tail;
    Bb__Proto__TxRecord record;
    Bb__Proto__TxBody body;
    ProtobufCBinaryData list[3];
    struct bb_buf packed[3], bodies;
    uint8_t id[16];

    atomic_fetch_add(&storage->tails, 1);
    bb__proto__tail_reply__init(&tail);
    tail.last_tx = storage->last_tx;
    tail.records = list;
    for (unsigned n = 1; n <= 3; n++) {
        bb_buf_init(&packed[n - 1]);
        bb_buf_init(&bodies);
        world_id(n, id);
        bb__proto__tx_body__init(&body);
        body.request_id = bb_slice_pb(bb_slice(id, 16));
        bb_pack_append(&bodies, &body.base);
        bb__proto__tx_record__init(&record);
        record.tx = (uint64_t)10 * n;
        record.prev = record.tx - 10;
        record.body = bb_slice_pb(bb_buf_slice(&bodies));
        bb_pack_append(&packed[n - 1], &record.base);
        bb_buf_fini(&bodies);
        if (record.tx > asked->after && !(storage->has_hole && n == 2))
            list[tail.n_records++] = bb_slice_pb(bb_buf_slice(&packed[n - 1]));
    }
    if (storage->has_lost_all && asked->after < storage->last_tx) {
        reply->status = BB_TX_TRUNCATED;
        tail.earliest = storage->last_tx;
    }
    if (storage->has_lost_all)
        tail.n_records = 0;
    if (storage->empty_tails > 0) {
        atomic_fetch_sub(&storage->empty_tails, 1);
        tail.n_records = 0;
    }
    reply->op_case = BB__PROTO__STORAGE_REPLY__OP_TAIL;
    reply->tail = &tail;
    answer(exchange, reply);
    for (size_t n = 0; n < 3; n++)
        bb_buf_fini(&packed[n]);
}

static void take_renew(struct storage *storage, const Bb__Proto__Renew *asked,
                       struct bb_exchange *exchange, Bb__Proto__StorageReply *reply)
{
    const struct naming *names = storage->names;
    Bb__Proto__Voter voters[SEQUENCER_VOTER_MAX];
    Bb__Proto__Voter *list[SEQUENCER_VOTER_MAX];
    Bb__Proto__RenewReply renew;

    atomic_fetch_add(&storage->renewals, 1);
    bb__proto__renew_reply__init(&renew);
    renew.term = renew.leader = storage->leads == 0 ? 1 : storage->leads;
    renew.epoch = asked->epoch;
    renew.node = storage->node;
    renew.voters = list;
    for (; names != NULL && renew.n_voters < names->count; renew.n_voters++) {
        voters[renew.n_voters] = names->voters[renew.n_voters];
        list[renew.n_voters] = &voters[renew.n_voters];
    }
    reply->op_case = BB__PROTO__STORAGE_REPLY__OP_RENEW;
    reply->renew = &renew;
    answer(exchange, reply);
}

static void handle(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
{
    struct storage *storage = arg;
    struct bb_ctx *ctx = bb_loop_ctx(storage->loop);
    Bb__Proto__StorageRequest *request = NULL;
    Bb__Proto__StorageReply reply;
    Bb__Proto__InfoReply info;
    Bb__Proto__ClaimReply claim;
    static char holder[] = "inproc://the-other-one";

    cr_assert_eq(bb_unpack(ctx, bb_exchange_arena(exchange),
                           &bb__proto__storage_request__descriptor, bytes, &request),
                 BB_OK);
    cr_assert_eq(bb_storage_request_validate(ctx, request), BB_OK);
    bb__proto__storage_reply__init(&reply);
    if (request->op_case == BB__PROTO__STORAGE_REQUEST__OP_INFO) {
        bb__proto__info_reply__init(&info);
        info.is_leader = true;
        info.wall_us = bb_wall_us(ctx);
        info.epoch = storage->is_held ? 7 : 0;
        info.last_tx = storage->last_tx;
        if (storage->is_held)
            info.sequencer = holder;
        reply.op_case = BB__PROTO__STORAGE_REPLY__OP_INFO;
        reply.info = &info;
    } else if (request->op_case == BB__PROTO__STORAGE_REQUEST__OP_CLAIM && storage->is_held) {
        reply.status = BB_NOT_YET;
    } else if (request->op_case == BB__PROTO__STORAGE_REQUEST__OP_CLAIM) {
        bb__proto__claim_reply__init(&claim);
        claim.epoch = request->claim->want;
        claim.last_seq = storage->last_seq;
        claim.last_tx = storage->last_tx;
        reply.op_case = BB__PROTO__STORAGE_REPLY__OP_CLAIM;
        reply.claim = &claim;
    } else if (request->op_case == BB__PROTO__STORAGE_REQUEST__OP_RENEW &&
               storage->unanswered_renewals > 0) {
        atomic_fetch_sub(&storage->unanswered_renewals, 1);
        reply.status = BB_NOT_YET;
    } else if (request->op_case == BB__PROTO__STORAGE_REQUEST__OP_RENEW) {
        take_renew(storage, request->renew, exchange, &reply);
        return;
    } else if (request->op_case == BB__PROTO__STORAGE_REQUEST__OP_TAIL) {
        take_tail(storage, request->tail, exchange, &reply);
        return;
    } else {
        take_append(storage, request->append, exchange, &reply);
        return;
    }
    answer(exchange, &reply);
}

static void run_storage(void *arg)
{
    struct storage *storage = arg;
    struct bb_server_options options = { .url = storage->url, .handle = handle, .arg = storage };
    Bb__Proto__StorageReply reply;

    cr_assert_eq(
        bb_server_open(bb_loop_ctx(storage->loop), storage->loop, &options, &storage->server),
        BB_OK);
    storage->is_open = true;
    bb_loop_run(storage->loop);
    bb__proto__storage_reply__init(&reply);
    if (storage->lost != NULL)
        answer(storage->lost, &reply);
    release_append(storage);
    bb_server_close(storage->server);
    bb_loop_free(storage->loop);
}

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
};

static void on_event(void *arg, enum bb_service_state state)
{
    struct suite *suite = arg;

    if (state == BB_SERVICE_STOPPED)
        atomic_fetch_add(&suite->stopped, 1);
}

static void storage_start(struct storage *storage)
{
    storage->loop = bb_loop_new(bb_env_real(), NULL, "storage");
    storage->thread = bb_thread_start("storage", run_storage, storage);
    while (!storage->is_open)
        continue;
}

static void storage_stop(struct storage *storage)
{
    bb_loop_stop(storage->loop);
    bb_thread_join(storage->thread);
}

static void suite_start(struct suite *suite, const char *name)
{
    static char program[] = "sequencer";
    char *argv[] = { program, NULL };
    const struct bb_option *const tables[] = { bb_sequencer_service.options, bb_service_options,
                                               NULL };
    static char storage_url[64];
    static char url[64];
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct bb_peer_options options = { .url = url };

    (void)snprintf(storage_url, sizeof storage_url, "inproc://storage-%s", name);
    (void)snprintf(url, sizeof url, "inproc://sequencer-%s", name);
    suite->storage.url = storage_url;
    storage_start(&suite->storage);
    cr_assert_eq(bb_conf_parse(&ctx, "sequencer", "", tables, 1, argv, &suite->conf), BB_OK);
    cr_assert_eq(bb_conf_set(&ctx, suite->conf, "listen", url), BB_OK);
    cr_assert_eq(bb_conf_set(&ctx, suite->conf, "storage", storage_url), BB_OK);
    cr_assert_eq(bb_service_start(&ctx, &bb_sequencer_service, suite->conf, ctx.env, NULL, on_event,
                                  suite, &suite->service),
                 BB_OK, "%s", ctx.error);
    suite->loop = bb_loop_new(ctx.env, NULL, "asker");
    suite->arena = bb_arena_new(0);
    cr_assert_eq(bb_peer_open(&ctx, suite->loop, &options, &suite->peer), BB_OK);
}

static void suite_stop(struct suite *suite)
{
    bb_service_stop(suite->service);
    bb_service_join(suite->service);
    cr_assert_eq(suite->stopped, 1);
    bb_conf_free(suite->conf);
    bb_peer_close(suite->peer);
    bb_loop_free(suite->loop);
    bb_arena_free(suite->arena);
    storage_stop(&suite->storage);
}

static void on_reply(void *arg, int status, struct bb_slice bytes)
{
    struct suite *suite = arg;
    struct bb_ctx *ctx = bb_loop_ctx(suite->loop);

    suite->reply = NULL;
    suite->is_answered = true;
    if (status == BB_OK) {
        bb_arena_reset(suite->arena);
        cr_assert_eq(bb_unpack(ctx, suite->arena, &bb__proto__sequencer_reply__descriptor, bytes,
                               &suite->reply),
                     BB_OK);
        cr_assert_eq(bb_sequencer_reply_validate(ctx, suite->reply), BB_OK, "%s", ctx->error);
    }
    bb_loop_stop(suite->loop);
}

static void ask_begin(struct suite *suite, const Bb__Proto__SequencerRequest *request)
{
    suite->is_answered = false;
    cr_assert_eq(bb_peer_request(bb_loop_ctx(suite->loop), suite->peer, &request->base, 8000,
                                 on_reply, suite),
                 BB_OK);
}

static const Bb__Proto__SequencerReply *ask_end(struct suite *suite)
{
    if (!suite->is_answered)
        bb_loop_run(suite->loop);
    bb_assert(suite->reply != NULL);
    return suite->reply;
}

static const Bb__Proto__SequencerReply *ask(struct suite *suite,
                                            const Bb__Proto__SequencerRequest *request)
{
    ask_begin(suite, request);
    return ask_end(suite);
}

static const Bb__Proto__FollowReply *follow(struct suite *suite, uint64_t epoch, uint64_t after,
                                            uint64_t durable_seen)
{
    Bb__Proto__SequencerRequest request;
    Bb__Proto__Follow message;

    bb__proto__sequencer_request__init(&request);
    bb__proto__follow__init(&message);
    message.epoch = epoch;
    message.after = after;
    message.durable_seen = durable_seen;
    message.wait_ms = 5000;
    request.op_case = BB__PROTO__SEQUENCER_REQUEST__OP_FOLLOW;
    request.follow = &message;
    const Bb__Proto__SequencerReply *reply = ask(suite, &request);
    bb_assert(reply != NULL && reply->follow != NULL);
    return reply->follow;
}

/* One commit that writes a document of key "key<number>"; the status and tx of its outcome. */
static uint32_t submit(struct suite *suite, unsigned number, uint64_t snapshot, uint64_t *tx)
{
    Bb__Proto__SequencerRequest request;
    Bb__Proto__Submit message;
    Bb__Proto__Commit commit;
    Bb__Proto__Commit *list[] = { &commit };
    Bb__Proto__TxBody body;
    Bb__Proto__Write write;
    Bb__Proto__Write *writes[] = { &write };
    struct bb_buf packed;
    uint8_t id[16];
    char key[16];

    world_id(number, id);
    (void)snprintf(key, sizeof key, "key%u", number);
    bb__proto__tx_body__init(&body);
    bb__proto__write__init(&write);
    write.table = 10001;
    write.id = bb_slice_pb(bb_slice(id, 16));
    write.doc = bb_slice_pb(bb_slice("x", 1));
    write.doc_key = bb_slice_pb(bb_slice_str(key));
    write.doc_op = BB__PROTO__KEY_OP__KEY_PUT;
    body.n_writes = 1;
    body.writes = writes;
    body.request_id = write.id;
    bb_buf_init(&packed);
    bb_pack_append(&packed, &body.base);
    bb__proto__sequencer_request__init(&request);
    bb__proto__submit__init(&message);
    bb__proto__commit__init(&commit);
    commit.request_id = body.request_id;
    commit.snapshot = snapshot;
    commit.body = bb_slice_pb(bb_buf_slice(&packed));
    message.epoch = 1;
    message.n_commits = 1;
    message.commits = list;
    request.op_case = BB__PROTO__SEQUENCER_REQUEST__OP_SUBMIT;
    request.submit = &message;
    const Bb__Proto__SequencerReply *reply = ask(suite, &request);
    bb_buf_fini(&packed);
    cr_assert_eq(reply->status, BB_OK, "%s", reply->error);
    *tx = reply->submit->outcomes[0]->tx;
    return reply->submit->outcomes[0]->status;
}

/* First contact: the epoch and where to start. Also waits until the sequencer is active. */
static void first_contact(struct suite *suite)
{
    const Bb__Proto__FollowReply *reply = follow(suite, 0, 0, 0);

    cr_assert_eq(suite->reply->status, BB_TOO_OLD);
    cr_assert_eq(reply->epoch, 1);
    cr_assert_eq(reply->claim_tx, 0);
}

static void wait_durable(struct suite *suite, uint64_t tx)
{
    uint64_t durable = 0;

    while (durable < tx) {
        const Bb__Proto__FollowReply *reply = follow(suite, 1, tx, durable);
        durable = reply->durable;
    }
}

Test(service, what_is_submitted_becomes_durable_and_is_followed, .timeout = 20)
{
    struct suite suite = { .stopped = 0 };
    uint64_t tx = 0;

    suite_start(&suite, "plain");
    first_contact(&suite);
    cr_assert_eq(submit(&suite, 1, 0, &tx), BB_OK);
    const Bb__Proto__FollowReply *reply = follow(&suite, 1, 0, 0);
    cr_assert_eq(reply->n_records, 1);
    cr_assert_eq(reply->sequenced, tx);
    wait_durable(&suite, tx);
    cr_assert_eq(suite.storage.last_tx, tx);
    suite_stop(&suite);
}

static void mark_begin(struct suite *suite)
{
    Bb__Proto__SequencerRequest request;
    Bb__Proto__Mark mark;

    bb__proto__sequencer_request__init(&request);
    bb__proto__mark__init(&mark);
    request.op_case = BB__PROTO__SEQUENCER_REQUEST__OP_MARK;
    request.mark = &mark;
    ask_begin(suite, &request);
}

/* The tx of the mark that was asked for. */
static uint64_t mark_end(struct suite *suite)
{
    const Bb__Proto__SequencerReply *reply = ask_end(suite);

    cr_assert_eq(reply->status, BB_OK, "%s", reply->error);
    return reply->mark->durable;
}

static void on_moment(void *arg)
{
    struct suite *suite = arg;

    bb_loop_stop(suite->loop);
}

/* Does nothing come within a moment that is long beside an answer's way? */
static bool is_silent(struct suite *suite)
{
    struct bb_timer *timer = bb_timer_new(suite->loop, on_moment, suite);

    bb_timer_start(timer, 200, 0);
    bb_loop_run(suite->loop);
    bb_timer_free(timer);
    return !suite->is_answered;
}

/* A commit that storage has, without an answer to the Append that brought it. */
static uint64_t submit_held(struct suite *suite, unsigned number, uint64_t snapshot)
{
    uint64_t tx = 0;

    suite->storage.trouble = HOLD_THE_ANSWER;
    cr_assert_eq(submit(suite, number, snapshot, &tx), BB_OK);
    while (suite->storage.held == NULL)
        continue;
    cr_assert_eq(suite->storage.last_tx, tx);
    return tx;
}

Test(service, a_mark_is_the_durable_tx_under_a_lease, .timeout = 20)
{
    struct suite suite = { .stopped = 0 };
    uint64_t tx = 0;

    suite_start(&suite, "mark");
    first_contact(&suite);
    cr_assert_eq(submit(&suite, 1, 0, &tx), BB_OK);
    wait_durable(&suite, tx);
    mark_begin(&suite);
    cr_assert_eq(mark_end(&suite), tx);
    suite_stop(&suite);
}

/* Storage's own feed may have told of the commit by then: a mark is not older than that. */
Test(service, a_mark_is_not_older_than_what_storage_took_before_it, .timeout = 20)
{
    struct suite suite = { .stopped = 0 };

    suite_start(&suite, "mark-held");
    first_contact(&suite);
    uint64_t tx = submit_held(&suite, 1, 0);
    mark_begin(&suite);
    cr_assert(is_silent(&suite), "answered while the Append is under way");
    release_append(&suite.storage);
    cr_assert_eq(mark_end(&suite), tx);
    suite_stop(&suite);
}

Test(service, a_mark_waits_for_no_append_that_began_after_it, .timeout = 20)
{
    struct suite suite = { .stopped = 0 };
    uint64_t second = 0;

    suite_start(&suite, "mark-load");
    first_contact(&suite);
    uint64_t first = submit_held(&suite, 1, 0);
    cr_assert_eq(submit(&suite, 2, first, &second), BB_OK);
    mark_begin(&suite);
    cr_assert(is_silent(&suite));
    suite.storage.trouble = HOLD_THE_ANSWER;
    release_append(&suite.storage);
    cr_assert_eq(mark_end(&suite), first);
    while (suite.storage.held == NULL)
        continue;
    release_append(&suite.storage);
    wait_durable(&suite, second);
    suite_stop(&suite);
}

Test(service, a_mark_is_refused_when_storage_takes_nothing_for_long, .timeout = 20)
{
    struct suite suite = { .stopped = 0 };
    struct bb_ctx ctx = { .env = bb_env_real() };
    uint64_t tx = 0;

    suite_start(&suite, "mark-deaf");
    first_contact(&suite);
    suite.storage.is_deaf = true;
    cr_assert_eq(submit(&suite, 1, 0, &tx), BB_OK);
    while (suite.storage.appends == 0)
        continue;
    uint64_t start_us = bb_now_us(&ctx);
    mark_begin(&suite);
    const Bb__Proto__SequencerReply *reply = ask_end(&suite);
    cr_assert_eq(reply->status, BB_UNAVAILABLE);
    cr_assert_str_eq(reply->error, "storage does not answer");
    cr_assert_lt(bb_now_us(&ctx) - start_us, 12000000);
    suite.storage.is_deaf = false;
    mark_begin(&suite);
    cr_assert_eq(mark_end(&suite), tx);
    suite_stop(&suite);
}

Test(service, a_batch_of_unknown_outcome_is_sent_again_and_counts_once, .timeout = 20)
{
    static const enum trouble troubles[] = { REFUSE_ONCE, LOSE_THE_ANSWER };

    for (size_t i = 0; i < BB_COUNT_OF(troubles); i++) {
        struct suite suite = { .stopped = 0 };
        uint64_t tx = 0;
        suite_start(&suite, i == 0 ? "refused" : "lost");
        first_contact(&suite);
        suite.storage.trouble = troubles[i];
        cr_assert_eq(submit(&suite, 1, 0, &tx), BB_OK);
        wait_durable(&suite, tx);
        cr_assert_eq(suite.storage.appends, 2);
        cr_assert_eq(suite.storage.distinct, 1);
        suite_stop(&suite);
    }
}

Test(service, a_fenced_sequencer_ends_without_another_answer, .timeout = 20)
{
    struct suite suite = { .stopped = 0 };
    uint64_t tx = 0;

    suite_start(&suite, "fenced");
    first_contact(&suite);
    suite.storage.trouble = FENCE;
    cr_assert_eq(submit(&suite, 1, 0, &tx), BB_OK, "sequenced only; nobody has heard of it");
    while (suite.stopped == 0)
        continue;
    suite_stop(&suite);
}

Test(service, junk_gets_a_bad_request, .timeout = 20)
{
    struct suite suite = { .stopped = 0 };
    Bb__Proto__SequencerRequest request;

    suite_start(&suite, "junk");
    bb__proto__sequencer_request__init(&request);
    const Bb__Proto__SequencerReply *reply = ask(&suite, &request);
    cr_assert_eq(reply->status, BB_BAD_REQUEST);
    suite_stop(&suite);
}

Test(service, a_stop_brings_what_is_sequenced_to_storage, .timeout = 20)
{
    struct suite suite = { .stopped = 0 };
    uint64_t tx = 0;

    suite_start(&suite, "drain");
    first_contact(&suite);
    for (unsigned i = 1; i <= 100; i++)
        cr_assert_eq(submit(&suite, i, tx, &tx), BB_OK);
    suite.storage.trouble = REFUSE_ONCE;
    cr_assert_eq(submit(&suite, 101, tx, &tx), BB_OK);
    bb_service_stop(suite.service);
    while (suite.stopped == 0)
        continue;
    cr_assert_eq(suite.storage.last_tx, tx);
    suite_stop(&suite);
}

/* The outcome of a Finish that read nothing. */
static uint32_t finish(struct suite *suite)
{
    Bb__Proto__SequencerRequest request;
    Bb__Proto__Submit message;
    Bb__Proto__Commit commit;
    Bb__Proto__Commit *list[] = { &commit };
    uint8_t id[16];

    world_id(1, id);
    bb__proto__sequencer_request__init(&request);
    bb__proto__submit__init(&message);
    bb__proto__commit__init(&commit);
    commit.request_id = bb_slice_pb(bb_slice(id, 16));
    message.epoch = 1;
    message.n_commits = 1;
    message.commits = list;
    request.op_case = BB__PROTO__SEQUENCER_REQUEST__OP_SUBMIT;
    request.submit = &message;
    const Bb__Proto__SequencerReply *reply = ask(suite, &request);
    cr_assert_eq(reply->status, BB_OK, "%s", reply->error);
    return reply->submit->outcomes[0]->status;
}

Test(service, a_finish_waits_a_moment_for_the_lease, .timeout = 20)
{
    struct suite suite = { .storage.unanswered_renewals = 1 };

    suite_start(&suite, "finish"); /* it is active with the first lease still to come */
    first_contact(&suite);
    cr_assert_eq(finish(&suite), BB_OK);
    suite_stop(&suite);
}

Test(service, a_finish_without_a_lease_is_refused_in_the_end, .timeout = 20)
{
    struct suite suite = { .storage.unanswered_renewals = 1000 };

    suite_start(&suite, "leaseless");
    first_contact(&suite);
    cr_assert_eq(finish(&suite), BB_OVERLOADED);
    suite_stop(&suite);
}

Test(service, a_stop_does_not_wait_long_for_a_storage_that_takes_nothing, .timeout = 20)
{
    struct suite suite = { .stopped = 0 };
    struct bb_ctx ctx = { .env = bb_env_real() };
    uint64_t tx = 0;

    suite_start(&suite, "deaf");
    first_contact(&suite);
    suite.storage.is_deaf = true;
    cr_assert_eq(submit(&suite, 1, 0, &tx), BB_OK);
    uint64_t start_us = bb_now_us(&ctx);
    suite_stop(&suite);
    cr_assert_lt(bb_now_us(&ctx) - start_us, 12000000);
}

Test(service, after_a_take_over_every_id_of_the_log_is_known, .timeout = 20)
{
    struct suite suite = { .storage = { .last_seq = 3, .last_tx = 30, .empty_tails = 2 } };
    uint64_t tx = 0;

    suite_start(&suite, "ids");
    const Bb__Proto__FollowReply *reply = follow(&suite, 0, 0, 0);
    cr_assert_eq(reply->claim_tx, 30);
    for (unsigned n = 1; n <= 3; n++) {
        cr_assert_eq(submit(&suite, n, 30, &tx), BB_DUPLICATE, "id %u", n);
        cr_assert_eq(tx, 10 * n);
    }
    cr_assert_eq(submit(&suite, 4, 30, &tx), BB_OK);
    suite_stop(&suite);
}

/* Asks until the answer is as it should be: the service looks for storage at its own pace. */
static const Bb__Proto__SequencerInfoReply *info_when(struct suite *suite, bool is_standby)
{
    Bb__Proto__SequencerRequest request;
    Bb__Proto__SequencerInfo info;

    bb__proto__sequencer_request__init(&request);
    bb__proto__sequencer_info__init(&info);
    request.op_case = BB__PROTO__SEQUENCER_REQUEST__OP_INFO;
    request.info = &info;
    for (;;) {
        const Bb__Proto__SequencerReply *reply = ask(suite, &request);
        if (reply->info->is_standby == is_standby && reply->info->ids == 3)
            return reply->info;
    }
}

Test(service, p13_a_standby_refers_to_the_active_one_and_knows_its_ids_before_it_claims,
     .timeout = 20)
{
    struct suite suite = { .storage = { .last_seq = 3, .last_tx = 30, .is_held = true } };
    Bb__Proto__SequencerRequest request;
    Bb__Proto__Follow message;
    uint64_t tx = 0;

    suite_start(&suite, "standby");
    cr_assert_str_eq(info_when(&suite, true)->holder, "inproc://the-other-one");
    bb__proto__sequencer_request__init(&request);
    bb__proto__follow__init(&message);
    message.wait_ms = 5000;
    request.op_case = BB__PROTO__SEQUENCER_REQUEST__OP_FOLLOW;
    request.follow = &message;
    cr_assert_eq(ask(&suite, &request)->status, BB_NOT_LEADER);
    cr_assert_str_eq(suite.reply->holder, "inproc://the-other-one");
    suite.storage.is_held = false; /* it died */
    (void)info_when(&suite, false);
    cr_assert_eq(follow(&suite, 0, 0, 0)->claim_tx, 30);
    cr_assert_str_eq(info_when(&suite, false)->holder, "inproc://sequencer-standby");
    for (unsigned n = 1; n <= 3; n++)
        cr_assert_eq(submit(&suite, n, 30, &tx), BB_DUPLICATE, "id %u", n);
    suite_stop(&suite);
}

/* Whoever has one of the ids that nobody knows any more sends it for 30 s. */
Test(service, p13_a_take_over_without_the_newest_ids_waits_until_they_are_old, .timeout = 30)
{
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct suite suite = {
        .storage = { .last_seq = 3, .last_tx = bb_wall_us(&ctx) - 28000000, .has_lost_all = true }
    };
    uint64_t lost_us = suite.storage.last_tx;

    suite_start(&suite, "lost");
    cr_assert_eq(follow(&suite, 0, 0, 0)->claim_tx, lost_us);
    cr_assert_geq(bb_wall_us(&ctx), lost_us + 30000000);
    suite_stop(&suite);
}

Test(service, a_hole_in_the_feed_at_a_take_over_ends_the_service, .timeout = 20)
{
    struct suite suite = { .storage = { .last_seq = 3, .last_tx = 30, .has_hole = true } };

    suite_start(&suite, "hole");
    while (suite.stopped == 0)
        continue;
    suite_stop(&suite);
}

static void name_voter(struct naming *naming, uint64_t id, const char *url)
{
    size_t n = naming->count++;

    (void)snprintf(naming->urls[n], sizeof naming->urls[n], "%s", url);
    bb__proto__voter__init(&naming->voters[n]);
    naming->voters[n].id = id;
    naming->voters[n].url = naming->urls[n];
}

/* Wait until a RENEW came that was sent after this call: two begin and the second one comes. */
static void wait_renewed(struct storage *storage)
{
    unsigned before = storage->renewals;

    while (storage->renewals < before + 2)
        continue;
}

Test(service, a_voter_is_asked_where_it_is_however_often_others_came_and_went, .timeout = 20)
{
    struct suite suite = { .storage.node = 1 };
    struct storage moved = { .node = 9, .url = "inproc://storage-moved" };
    struct naming many = { .count = 0 }, later = { .count = 0 };
    char url[64];

    suite_start(&suite, "voters");
    storage_start(&moved);
    name_voter(&many, 1, suite.storage.url);
    for (uint64_t id = 2; many.count < SEQUENCER_VOTER_MAX; id++) {
        (void)snprintf(url, sizeof url, "inproc://storage-gone-%" PRIu64, id);
        name_voter(&many, id, url);
    }
    suite.storage.names = &many;
    first_contact(&suite);
    wait_renewed(&suite.storage);
    cr_assert_eq(moved.renewals, 0);
    name_voter(&later, 1, suite.storage.url);
    name_voter(&later, 9, moved.url);
    suite.storage.names = &later;
    wait_renewed(&moved);
    cr_assert_eq(finish(&suite), BB_OK, "the lease is that of the two that vote now");
    suite_stop(&suite);
    storage_stop(&moved);
}

Test(service, a_voter_that_was_moved_is_asked_at_its_new_url, .timeout = 20)
{
    struct suite suite = { .storage.node = 1 };
    char urls[2][96];
    struct storage old = { .node = 2, .url = urls[0] }, moved = { .node = 2, .url = urls[1] };
    struct naming before = { .count = 0 }, after = { .count = 0 };

    for (int i = 0; i < 2; i++)
        (void)snprintf(urls[i], sizeof urls[i], "ipc:///tmp/bb-voter-%d-%d", (int)getpid(), i);
    suite_start(&suite, "moves");
    storage_start(&old);
    name_voter(&before, 1, suite.storage.url);
    name_voter(&before, 2, old.url);
    suite.storage.names = &before;
    first_contact(&suite);
    wait_renewed(&old);
    storage_stop(&old);
    storage_start(&moved);
    name_voter(&after, 1, suite.storage.url);
    name_voter(&after, 2, moved.url);
    suite.storage.names = &after;
    wait_renewed(&moved);
    cr_assert_eq(finish(&suite), BB_OK);
    suite_stop(&suite);
    storage_stop(&moved);
}

Test(service, a_batch_that_a_hung_leader_has_goes_to_the_next_one, .timeout = 20)
{
    struct suite suite = { .storage.node = 1 };
    struct storage next = { .node = 2, .url = "inproc://storage-next" };
    struct naming both = { .count = 0 };
    uint64_t tx = 0;

    suite_start(&suite, "hung");
    storage_start(&next);
    name_voter(&both, 1, suite.storage.url);
    name_voter(&both, 2, next.url);
    suite.storage.names = &both;
    first_contact(&suite);
    wait_renewed(&next);
    next.last_seq = suite.storage.last_seq;
    next.last_tx = suite.storage.last_tx;
    suite.storage.trouble = HOLD_THE_ANSWER; /* until the end: no timeout helps here */
    cr_assert_eq(submit(&suite, 1, 0, &tx), BB_OK);
    while (suite.storage.held == NULL)
        continue;
    next.leads = 2;
    unsigned renewals = next.renewals;
    wait_durable(&suite, tx);
    /* As soon as a RENEW names it: after 2 s, when the first copy is given up, there were six. */
    cr_assert_leq(next.renewals_at_append, renewals + 4);
    release_append(&suite.storage); /* it wakes up: its answer is that of nobody's question */
    cr_assert_eq(submit(&suite, 2, tx, &tx), BB_OK);
    wait_durable(&suite, tx);
    cr_assert_eq(suite.storage.appends, 1);
    cr_assert_eq(next.distinct, 2);
    suite_stop(&suite);
    storage_stop(&next);
}

Test(service, a_new_leader_that_is_not_ready_does_not_send_the_batch_back_to_the_hung_one,
     .timeout = 20)
{
    struct suite suite = { .storage.node = 1 };
    struct storage next = { .node = 2, .url = "inproc://storage-elected" };
    struct naming both = { .count = 0 };
    uint64_t tx = 0;

    suite_start(&suite, "unready");
    storage_start(&next);
    name_voter(&both, 1, suite.storage.url);
    name_voter(&both, 2, next.url);
    suite.storage.names = &both;
    first_contact(&suite);
    wait_renewed(&next);
    next.last_seq = suite.storage.last_seq;
    next.last_tx = suite.storage.last_tx;
    suite.storage.trouble = HOLD_THE_ANSWER;
    cr_assert_eq(submit(&suite, 1, 0, &tx), BB_OK);
    while (suite.storage.held == NULL)
        continue;
    next.trouble = NOT_READY_ONCE;
    suite.storage.trouble = LOSE_THE_ANSWER; /* of a second copy */
    next.leads = 2;
    unsigned renewals = next.renewals;
    wait_durable(&suite, tx);
    /* Two words of the leader: after 2 s, when the second copy is given up, there were six. */
    cr_assert_leq(next.renewals, renewals + 4);
    suite_stop(&suite);
    storage_stop(&next);
}
