/* The sequencer's side: the feed, durable marks, and commits, each with one request under way. */
#include "worker.h"

#define FOLLOW_WAIT_MS 10000u
#define FOLLOW_BYTES (4u << 20)
#define RETRY_US 20000u
#define SUBMIT_BYTES_MAX (8u << 20)
#define SUBMIT_COUNT_MAX 512u

static int open_peers(struct worker *worker, const char *urls, struct peers *peers)
{
    const char *next = urls;
    while (*next != '\0' && peers->count < WORKER_PEERS_MAX) {
        size_t size = strcspn(next, ", ");
        if (size > 0) {
            char url[256];
            if (size >= sizeof(url)) {
                return bb_fail(worker->ctx, BB_BAD_REQUEST, "the address %s is too long", next);
            }
            memcpy(url, next, size);
            url[size] = '\0';
            struct bb_peer_options options = { .url = url, .outstanding_max = 1024 };
            int rc = bb_peer_open(worker->ctx, worker->loop, &options, &peers->peer[peers->count]);
            if (rc != BB_OK) {
                return rc;
            }
            peers->count++;
        }
        next += size;
        next += strspn(next, ", ");
    }
    return peers->count > 0 ? BB_OK : bb_fail(worker->ctx, BB_BAD_REQUEST, "no address given");
}

int worker_link_open(struct worker *worker)
{
    struct bb_conf *conf = bb_service_conf(worker->service);
    worker->submitted = bb_alloc_zero(SUBMIT_COUNT_MAX, sizeof(struct call *));
    int rc = open_peers(worker, bb_conf_text(conf, "sequencer"), &worker->sequencer);
    return rc != BB_OK ? rc : open_peers(worker, bb_conf_text(conf, "storage"), &worker->storage);
}

void worker_link_close(struct worker *worker)
{
    for (size_t i = 0; i < worker->sequencer.count; i++) {
        bb_peer_close(worker->sequencer.peer[i]);
    }
    for (size_t i = 0; i < worker->storage.count; i++) {
        bb_peer_close(worker->storage.peer[i]);
    }
    worker->sequencer.count = worker->storage.count = 0;
    bb_free(worker->submitted);
}

/* Unpack a reply of the sequencer into the scratch arena; its own status when it has no such op. */
static int open_reply(struct worker *worker, int status, struct bb_slice bytes,
                      Bb__Proto__SequencerReply__OpCase op, Bb__Proto__SequencerReply **reply)
{
    bb_arena_reset(worker->scratch);
    if (status == BB_OK) {
        status = bb_unpack(worker->ctx, worker->scratch, &bb__proto__sequencer_reply__descriptor,
                           bytes, reply);
    }
    if (status != BB_OK) {
        return status;
    }
    if ((*reply)->op_case != op) {
        return (*reply)->status != BB_OK ? (int)(*reply)->status : BB_UNAVAILABLE;
    }
    return BB_OK;
}

/* ---- the feed ---- */

static bool apply_record(struct worker *worker, struct bb_arena *arena, ProtobufCBinaryData bytes)
{
    Bb__Proto__TxRecord *record;
    Bb__Proto__TxBody *body;
    if (bb_unpack(worker->ctx, arena, &bb__proto__tx_record__descriptor, bb_pb_slice(bytes),
                  &record) != BB_OK ||
        bb_unpack(worker->ctx, arena, &bb__proto__tx_body__descriptor, bb_pb_slice(record->body),
                  &body) != BB_OK) {
        bb_error(worker->ctx, "worker.feed_corrupt", "after=%" PRIu64, worker->feed.cursor);
        return false;
    }
    if (!worker_feed_applied(&worker->feed, record->tx, record->prev)) {
        bb_warn(worker->ctx, "worker.feed_gap", "cursor=%" PRIu64 " prev=%" PRIu64,
                worker->feed.cursor, record->prev);
        return false;
    }
    uint32_t tables = worker_cache_apply(worker->ctx, worker->cache, body, record->tx);
    if (tables != 0) {
        worker_catalogs_written(worker->catalogs, record->tx, tables);
        worker->wants_catalog = true;
    }
    return true;
}

static void apply_records(struct worker *worker, const Bb__Proto__FollowReply *reply)
{
    for (size_t i = 0; i < reply->n_records; i++) {
        if (!apply_record(worker, worker->scratch, reply->records[i])) {
            worker_feed_lost(&worker->feed);
            return;
        }
    }
}

static void enter_epoch(struct worker *worker, enum feed_verdict verdict)
{
    const struct feed *feed = &worker->feed;
    if (verdict == FEED_RESET) {
        worker_cache_reset(worker->cache, feed->base);
    } else {
        worker_cache_drop_after(worker->cache, feed->claim_tx);
    }
    worker_catalogs_forget(worker->catalogs);
    worker->wants_catalog = true;
    bb_info(worker->ctx, "worker.epoch", "epoch=%" PRIu64 " claim=%" PRIu64 " cursor=%" PRIu64
            " kept=%s", feed->epoch, feed->claim_tx, feed->cursor,
            verdict == FEED_RESET ? "nothing" : "cache");
    worker_epoch_changed(worker);
}

/* The first record names its predecessor; the others are checked one by one. */
static uint64_t first_prev(struct worker *worker, const Bb__Proto__FollowReply *reply)
{
    Bb__Proto__TxRecord *record;
    if (reply->n_records == 0 ||
        bb_unpack(worker->ctx, worker->scratch, &bb__proto__tx_record__descriptor,
                  bb_pb_slice(reply->records[0]), &record) != BB_OK) {
        return UINT64_MAX;
    }
    return record->prev;
}

static void followed(void *arg, int status, struct bb_slice bytes)
{
    struct worker *worker = arg;
    Bb__Proto__SequencerReply *reply = NULL;
    worker->is_following = false;
    status = open_reply(worker, status, bytes, BB__PROTO__SEQUENCER_REPLY__OP_FOLLOW, &reply);
    bool is_answer = status == BB_OK && (reply->status == BB_OK || reply->status == BB_TOO_OLD);
    if (!is_answer) {
        if (status != BB_CANCELLED) {
            worker->follow_at_us = worker_now(worker) + RETRY_US;
            worker_peer_rotate(&worker->sequencer);
        }
        return;
    }
    const Bb__Proto__FollowReply *follow = reply->follow;
    struct feed_reply marks = {
        .status = (int)reply->status,
        .epoch = follow->epoch,
        .claim_tx = follow->claim_tx,
        .sequenced = follow->sequenced,
        .durable = follow->durable,
        .has_records = follow->n_records > 0,
        .first_prev = first_prev(worker, follow),
    };
    enum feed_verdict verdict = worker_feed_reply(&worker->feed, &marks);
    switch (verdict) {
    case FEED_STALE:
        worker->follow_at_us = worker_now(worker) + RETRY_US;
        worker_peer_rotate(&worker->sequencer);
        break;
    case FEED_GOES_ON:
        apply_records(worker, follow);
        worker_progress(worker);
        break;
    case FEED_NEW_EPOCH:
    case FEED_RESET:
        enter_epoch(worker, verdict);
        worker_progress(worker);
        break;
    }
}

static int ask(struct worker *worker, Bb__Proto__SequencerRequest *request, uint32_t timeout_ms,
               bb_peer_reply_fn *done)
{
    return bb_peer_request(worker->ctx, worker_peer(&worker->sequencer), &request->base, timeout_ms,
                           done, worker);
}

static void send_follow(struct worker *worker)
{
    Bb__Proto__Follow follow;
    bb__proto__follow__init(&follow);
    union {
        const char *in;
        char *out;
    } name = { .in = worker->name };
    follow.epoch = worker->feed.epoch;
    follow.after = worker->feed.cursor;
    follow.durable_seen = worker->feed.durable;
    follow.max_bytes = FOLLOW_BYTES;
    follow.wait_ms = FOLLOW_WAIT_MS;
    follow.worker = name.out;
    Bb__Proto__SequencerRequest request;
    bb__proto__sequencer_request__init(&request);
    request.op_case = BB__PROTO__SEQUENCER_REQUEST__OP_FOLLOW;
    request.follow = &follow;
    if (ask(worker, &request, FOLLOW_WAIT_MS + 5000, followed) == BB_OK) {
        worker->is_following = true;
    } else {
        worker->follow_at_us = worker_now(worker) + RETRY_US;
    }
}

/* ---- marks ---- */

/* The calls of the Mark under way: marked, or asked for again. */
static void marks_end(struct worker *worker, bool is_marked, uint64_t mark)
{
    worker->is_marking = false;
    while (!bb_list_is_empty(&worker->marking)) {
        struct call *call = bb_container(worker->marking.next, struct call, link);
        bb_list_remove(&call->link);
        bb_list_push_back(&worker->calls[CALL_WAIT_MARK], &call->link);
        if (is_marked) {
            worker_call_marked(worker, call, mark);
        }
    }
}

static void marked(void *arg, int status, struct bb_slice bytes)
{
    struct worker *worker = arg;
    Bb__Proto__SequencerReply *reply = NULL;
    status = open_reply(worker, status, bytes, BB__PROTO__SEQUENCER_REPLY__OP_MARK, &reply);
    bool is_mark = status == BB_OK && reply->status == BB_OK &&
                   worker_feed_durable(&worker->feed, reply->mark->epoch, reply->mark->durable);
    if (!is_mark) {
        worker->mark_at_us = worker_now(worker) + RETRY_US / 4;
        marks_end(worker, false, 0);
        return;
    }
    uint64_t mark = reply->mark->durable;
    marks_end(worker, true, mark);
    worker_progress(worker);
}

static void send_mark(struct worker *worker)
{
    Bb__Proto__Mark mark;
    bb__proto__mark__init(&mark);
    Bb__Proto__SequencerRequest request;
    bb__proto__sequencer_request__init(&request);
    request.op_case = BB__PROTO__SEQUENCER_REQUEST__OP_MARK;
    request.mark = &mark;
    if (ask(worker, &request, 1000, marked) != BB_OK) {
        worker->mark_at_us = worker_now(worker) + RETRY_US;
        return;
    }
    worker->is_marking = true;
    struct bb_list *waiting = &worker->calls[CALL_WAIT_MARK];
    while (!bb_list_is_empty(waiting)) {
        struct bb_list *item = waiting->next;
        bb_list_remove(item);
        bb_list_push_back(&worker->marking, item);
    }
}

/* ---- commits ---- */

static void submitted(void *arg, int status, struct bb_slice bytes)
{
    struct worker *worker = arg;
    Bb__Proto__SequencerReply *reply = NULL;
    status = open_reply(worker, status, bytes, BB__PROTO__SEQUENCER_REPLY__OP_SUBMIT, &reply);
    if (status == BB_OK && reply->status != BB_OK) {
        status = (int)reply->status;
    }
    if (status == BB_OK && reply->submit->n_outcomes != worker->submitted_count) {
        status = BB_CORRUPT;
    }
    worker->is_submitting = false;
    size_t count = worker->submitted_count;
    worker->submitted_count = 0;
    if (status != BB_OK) {
        bb_warn(worker->ctx, "worker.submit_failed", "status=%s commits=%zu", bb_status_name(status),
                count);
        worker->submit_at_us = worker_now(worker) + RETRY_US;
        worker_peer_rotate(&worker->sequencer);
        for (size_t i = 0; i < count; i++) {
            worker_call_unanswered(worker, worker->submitted[i]);
        }
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const Bb__Proto__Outcome *outcome = reply->submit->outcomes[i];
        worker_call_outcome(worker, worker->submitted[i], reply->submit->epoch,
                            (int)outcome->status, outcome->tx);
    }
    worker_progress(worker);
}

static void fill_commit(struct worker *worker, const struct call *call, Bb__Proto__Commit *commit)
{
    const Bb__Proto__SlotDone *done = call->done;
    bb__proto__commit__init(commit);
    commit->request_id = call->request->request_id;
    commit->snapshot = call->snapshot;
    commit->body = done->status == BB_OK ? done->body : (ProtobufCBinaryData){ 0, NULL };
    commit->n_reads = done->n_reads;
    commit->reads = done->reads;
    if (call->request->client_key.len < 16) {
        return;
    }
    /* "Nobody used this key before" is something that the run has read. */
    Bb__Proto__Range *range = bb_arena_alloc(worker->scratch, sizeof(*range));
    Bb__Proto__Range **reads = bb_arena_alloc(worker->scratch, (done->n_reads + 1) * sizeof(*reads));
    bb_assert(range != NULL && reads != NULL);
    bb__proto__range__init(range);
    range->low = bb_slice_pb(worker_key_point(worker->scratch, call->request, false));
    range->high = bb_slice_pb(worker_key_point(worker->scratch, call->request, true));
    if (done->n_reads > 0) {
        memcpy(reads, done->reads, done->n_reads * sizeof(*reads));
    }
    reads[done->n_reads] = range;
    commit->reads = reads;
    commit->n_reads = done->n_reads + 1;
}

static void send_submit(struct worker *worker)
{
    struct bb_list *list = &worker->calls[CALL_TO_SUBMIT];
    bb_arena_reset(worker->scratch);
    size_t most = worker->call_count < SUBMIT_COUNT_MAX ? worker->call_count : SUBMIT_COUNT_MAX;
    Bb__Proto__Commit *commits = bb_arena_alloc(worker->scratch, most * sizeof(*commits));
    Bb__Proto__Commit **pointers = bb_arena_alloc(worker->scratch, most * sizeof(*pointers));
    bb_assert(commits != NULL && pointers != NULL);
    size_t count = 0;
    size_t bytes = 0;
    bb_list_each (item, list) {
        struct call *call = bb_container(item, struct call, link);
        size_t size = call->done->body.len + call->done->n_reads * 64;
        if (count == most || (count > 0 && bytes + size > SUBMIT_BYTES_MAX)) {
            break;
        }
        fill_commit(worker, call, &commits[count]);
        pointers[count] = &commits[count];
        worker->submitted[count++] = call;
        bytes += size;
    }
    Bb__Proto__Submit submit;
    bb__proto__submit__init(&submit);
    submit.epoch = worker->feed.epoch;
    submit.n_commits = count;
    submit.commits = pointers;
    Bb__Proto__SequencerRequest request;
    bb__proto__sequencer_request__init(&request);
    request.op_case = BB__PROTO__SEQUENCER_REQUEST__OP_SUBMIT;
    request.submit = &submit;
    int rc = ask(worker, &request, CALL_MS_MAX, submitted);
    if (rc != BB_OK) {
        worker->submit_at_us = worker_now(worker) + RETRY_US;
        return;
    }
    bb_metric_add(worker->count.submits, 1);
    worker->is_submitting = true;
    worker->submitted_count = count;
    for (size_t i = 0; i < count; i++) {
        worker->submitted[i]->is_in_flight = true;
        worker_call_to(worker, worker->submitted[i], CALL_SUBMITTED);
    }
}

/* ---- the value of a transaction that an earlier run made ---- */

struct value_wait {
    struct worker *worker;
    uint64_t call_id, tx;
};

static struct call *waiting_call(struct worker *worker, uint64_t id)
{
    bb_list_each (item, &worker->calls[CALL_WAIT_VALUE]) {
        struct call *call = bb_container(item, struct call, link);
        if (call->id == id) {
            return call;
        }
    }
    return NULL;
}

/* The record's body, or NULL when the log no longer has it. */
static const Bb__Proto__TxBody *body_of(struct worker *worker, const Bb__Proto__StorageReply *reply,
                                        uint64_t tx)
{
    Bb__Proto__TxRecord *record;
    Bb__Proto__TxBody *body;
    bool has_record = reply->status == BB_OK &&
                      reply->op_case == BB__PROTO__STORAGE_REPLY__OP_TAIL &&
                      reply->tail->n_records > 0;
    if (!has_record ||
        bb_unpack(worker->ctx, worker->scratch, &bb__proto__tx_record__descriptor,
                  bb_pb_slice(reply->tail->records[0]), &record) != BB_OK ||
        record->tx != tx ||
        bb_unpack(worker->ctx, worker->scratch, &bb__proto__tx_body__descriptor,
                  bb_pb_slice(record->body), &body) != BB_OK) {
        return NULL;
    }
    return body;
}

static void value_came(void *arg, int status, struct bb_slice bytes)
{
    struct value_wait *wait = arg;
    struct worker *worker = wait->worker;
    struct call *call = waiting_call(worker, wait->call_id);
    uint64_t tx = wait->tx;
    bb_free(wait);
    if (call == NULL) {
        return;
    }
    Bb__Proto__StorageReply *reply = NULL;
    bb_arena_reset(worker->scratch);
    if (status == BB_OK) {
        status = bb_unpack(worker->ctx, worker->scratch, &bb__proto__storage_reply__descriptor,
                           bytes, &reply);
    }
    if (status != BB_OK) {
        worker_answer(worker, call, BB_OUTCOME_UNKNOWN,
                      "the mutation has committed, and its result could not be read; send it again "
                      "with the same key");
        return;
    }
    const Bb__Proto__TxBody *body = body_of(worker, reply, tx);
    bool is_kept = body != NULL && body->value.len > 0;
    call->value = is_kept ? bb_arena_dup(call->arena, bb_pb_slice(body->value)) : BB_SLICE_EMPTY;
    call->has_value = true;
    worker_answer(worker, call, BB_OK, NULL);
}

void worker_link_value(struct worker *worker, struct call *call)
{
    Bb__Proto__Tail tail;
    bb__proto__tail__init(&tail);
    tail.after = call->tx - 1;
    tail.max_bytes = 1;
    Bb__Proto__StorageRequest request;
    bb__proto__storage_request__init(&request);
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_TAIL;
    request.tail = &tail;
    struct value_wait *wait = bb_alloc(sizeof(*wait));
    *wait = (struct value_wait){ .worker = worker, .call_id = call->id, .tx = call->tx };
    if (bb_peer_request(worker->ctx, worker_peer(&worker->storage), &request.base, CALL_MS_MAX,
                        value_came, wait) != BB_OK) {
        bb_free(wait);
        worker_answer(worker, call, BB_OUTCOME_UNKNOWN,
                      "the mutation has committed, and its result could not be read");
    }
}

void worker_link_turn(struct worker *worker)
{
    uint64_t now = worker_now(worker);
    if (!worker->is_following && now >= worker->follow_at_us) {
        send_follow(worker);
    }
    if (!worker->is_marking && worker->feed.epoch != 0 && now >= worker->mark_at_us &&
        !bb_list_is_empty(&worker->calls[CALL_WAIT_MARK])) {
        send_mark(worker);
    }
    if (!worker->is_submitting && worker->feed.epoch != 0 && now >= worker->submit_at_us &&
        !bb_list_is_empty(&worker->calls[CALL_TO_SUBMIT])) {
        send_submit(worker);
    }
}
