#include "suite.h"

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
void release_append(struct storage *storage)
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
        reply->status = storage->lost_status != 0 ? storage->lost_status : BB_TX_TRUNCATED;
        tail.earliest = storage->last_tx;
    }
    if (storage->has_lost_all)
        tail.n_records = 0;
    if (storage->unread_tails > 0) {
        atomic_fetch_sub(&storage->unread_tails, 1);
        tail.n_records = 0;
        reply->status = BB_IO;
        tail.earliest = storage->last_tx;
    }
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
        if (storage->is_held && !storage->is_unnamed)
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

static void on_event(void *arg, enum bb_service_state state)
{
    struct suite *suite = arg;

    if (state == BB_SERVICE_STOPPED)
        atomic_fetch_add(&suite->stopped, 1);
}

void storage_start(struct storage *storage)
{
    storage->loop = bb_loop_new(bb_env_real(), NULL, "storage");
    storage->thread = bb_thread_start("storage", run_storage, storage);
    while (!storage->is_open)
        continue;
}

void storage_stop(struct storage *storage)
{
    bb_loop_stop(storage->loop);
    bb_thread_join(storage->thread);
}

void suite_start(struct suite *suite, const char *name)
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

void suite_stop(struct suite *suite)
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

void ask_begin(struct suite *suite, const Bb__Proto__SequencerRequest *request)
{
    suite->is_answered = false;
    cr_assert_eq(bb_peer_request(bb_loop_ctx(suite->loop), suite->peer, &request->base, 8000,
                                 on_reply, suite),
                 BB_OK);
}

const Bb__Proto__SequencerReply *ask_end(struct suite *suite)
{
    if (!suite->is_answered)
        bb_loop_run(suite->loop);
    bb_assert(suite->reply != NULL);
    return suite->reply;
}

const Bb__Proto__SequencerReply *ask(struct suite *suite,
                                     const Bb__Proto__SequencerRequest *request)
{
    ask_begin(suite, request);
    return ask_end(suite);
}

const Bb__Proto__FollowReply *follow(struct suite *suite, uint64_t epoch, uint64_t after,
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
uint32_t submit(struct suite *suite, unsigned number, uint64_t snapshot, uint64_t *tx)
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
    size_t size = suite->doc_bytes == 0 ? 1 : suite->doc_bytes;
    uint8_t *doc = bb_alloc(size);
    memset(doc, 'x', size);
    write.doc = bb_slice_pb(bb_slice(doc, size));
    write.doc_key = bb_slice_pb(bb_slice_str(key));
    write.doc_op = BB__PROTO__KEY_OP__KEY_PUT;
    body.n_writes = 1;
    body.writes = writes;
    body.request_id = write.id;
    bb_buf_init(&packed);
    bb_pack_append(&packed, &body.base);
    bb_free(doc);
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
void first_contact(struct suite *suite)
{
    const Bb__Proto__FollowReply *reply = follow(suite, 0, 0, 0);

    cr_assert_eq(suite->reply->status, BB_TOO_OLD);
    cr_assert_eq(reply->epoch, 1);
    cr_assert_eq(reply->claim_tx, 0);
}

void wait_durable(struct suite *suite, uint64_t tx)
{
    uint64_t durable = 0;

    while (durable < tx) {
        const Bb__Proto__FollowReply *reply = follow(suite, 1, tx, durable);
        durable = reply->durable;
    }
}

uint32_t finish(struct suite *suite)
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
