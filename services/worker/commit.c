/* Durable marks and commits, each with one request under way, and values of repeated mutations. */
#include "link.h"

#include "bb/failpoint.h"

#define SUBMIT_BYTES_MAX (8u << 20)
#define MARKED_LOOK_MAX  64u
#define MARK_MS          1000u
#define SUBMIT_MS        1500u /* it may wait for a lease; sent again, it is known by its ids */
#define VALUE_WAIT_MS    1000u /* the node that is asked may lag behind what is durable */

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
    status =
        worker_link_open_reply(worker, status, bytes, BB__PROTO__SEQUENCER_REPLY__OP_MARK, &reply);
    bool is_mark = status == BB_OK && reply->status == BB_OK &&
                   worker_feed_durable(&worker->feed, reply->mark->epoch, reply->mark->durable);
    if (!is_mark) {
        worker->mark_at_us = worker_now(worker) + LINK_RETRY_US / 4;
        if (reply == NULL || reply->status == BB_NOT_LEADER) {
            worker_link_failed(worker, worker->mark_asked, reply);
        }
        marks_end(worker, false, 0);
        return;
    }
    uint64_t mark = reply->mark->durable;
    marks_end(worker, true, mark);
    worker_progress(worker);
}

bool worker_mark_is_due(const struct worker *worker)
{
    if (bb_list_is_empty(&worker->calls[CALL_WAIT_MARK])) {
        return false;
    }
    struct spare_view view = worker_slots_view(worker);
    if (view.held + view.away > 0) {
        return true; /* those in front may wait for seconds, others need not */
    }
    size_t marked = 0;
    size_t looked_at = 0;
    bb_list_each(item, &worker->calls[CALL_QUEUED]) {
        const struct call *call = bb_container(item, struct call, link);
        marked += call->has_mark && call->kind == FUNCTION_QUERY;
        if (marked >= worker->slot_count || ++looked_at == MARKED_LOOK_MAX) {
            break;
        }
    }
    return marked < worker->slot_count;
}

void worker_mark_send(struct worker *worker)
{
    Bb__Proto__Mark mark;
    bb__proto__mark__init(&mark);
    Bb__Proto__SequencerRequest request;
    bb__proto__sequencer_request__init(&request);
    request.op_case = BB__PROTO__SEQUENCER_REQUEST__OP_MARK;
    request.mark = &mark;
    if (worker_link_ask(worker, &request, MARK_MS, &worker->mark_asked, marked) != BB_OK) {
        worker->mark_at_us = worker_now(worker) + LINK_RETRY_US;
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
    status = worker_link_open_reply(worker, status, bytes, BB__PROTO__SEQUENCER_REPLY__OP_SUBMIT,
                                    &reply);
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
        bb_log_event(worker->ctx, worker->has_submit_failed ? BB_LOG_DEBUG : BB_LOG_WARN,
                     "worker.submit_failed", "status=%s commits=%zu", bb_status_name(status),
                     count);
        worker->has_submit_failed = true; /* said once, until one succeeds */
        worker->submit_at_us = worker_now(worker) + LINK_RETRY_US;
        if (reply == NULL || status == BB_NOT_LEADER) {
            worker_link_failed(worker, worker->submit_asked, reply);
        }
        for (size_t i = 0; i < count; i++) {
            worker_call_unanswered(worker, worker->submitted[i]);
        }
        return;
    }
    bb_failpoint(worker->ctx->env, BB_FAILPOINT_WORKER_OUTCOME_BEFORE);
    worker->has_submit_failed = false;
    worker_chains_heard(worker, reply->submit->holds, reply->submit->n_holds, true);
    uint64_t row_tx = 0; /* newest of the row of commits that this one belongs to */
    for (size_t i = 0; i < count; i++) {
        const Bb__Proto__Outcome *outcome = reply->submit->outcomes[i];
        struct call *call = worker->submitted[i];
        row_tx = call->follows == 0 ? 0 : row_tx;
        if (call->follows != 0 && call->snapshot < row_tx && outcome->status == BB_OK) {
            call->snapshot = row_tx; /* it has seen what those before it wrote */
            call->epoch = reply->submit->epoch;
        }
        row_tx = outcome->tx > row_tx && outcome->status == BB_OK ? outcome->tx : row_tx;
        worker_call_outcome(worker, call, reply->submit->epoch, outcome);
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
    commit->follows = call->follows != 0;
    commit->hold = call->is_in_lane ? worker_lane_number(worker->lanes, call->lane) : 0;
    if (call->request->client_key.len < 16) {
        return;
    }
    /* "Nobody used this key before" is something that the run has read. */
    Bb__Proto__Range *range = bb_arena_alloc(worker->scratch, sizeof(*range));
    Bb__Proto__Range **reads =
        bb_arena_alloc(worker->scratch, (done->n_reads + 1) * sizeof(void *));
    bb_assert(range != NULL && reads != NULL);
    bb__proto__range__init(range);
    range->low = bb_slice_pb(worker_key_point(worker->scratch, call->request, false));
    range->high = bb_slice_pb(worker_key_point(worker->scratch, call->request, true));
    if (done->n_reads > 0) {
        memcpy(reads, done->reads, done->n_reads * sizeof(void *));
    }
    reads[done->n_reads] = range;
    commit->reads = reads;
    commit->n_reads = done->n_reads + 1;
}

void worker_submit_send(struct worker *worker)
{
    struct bb_list *list = &worker->calls[CALL_TO_SUBMIT];
    bb_arena_reset(worker->scratch);
    size_t most = worker->call_count < LINK_SUBMIT_MAX ? worker->call_count : LINK_SUBMIT_MAX;
    Bb__Proto__Commit *commits = bb_arena_alloc(worker->scratch, most * sizeof(*commits));
    Bb__Proto__Commit **pointers = bb_arena_alloc(worker->scratch, most * sizeof(void *));
    bb_assert(commits != NULL && pointers != NULL);
    size_t count = 0;
    size_t bytes = 0;
    bb_list_each_safe(item, list) {
        struct call *call = bb_container(item, struct call, link);
        if (call->chain != NULL || worker_now(worker) < call->offer_at_us) {
            continue; /* others of its chain still run, or it is too early to offer it again */
        }
        size_t size = call->done->body.len + call->done->n_reads * 64;
        if (call->follows != 0 &&
            (count == 0 || worker->submitted[count - 1]->id != call->follows)) {
            /* What it ran on top of is not submitted any more, or was without it. */
            worker_call_again(worker, call, 0, 0);
            continue;
        }
        bool is_full = count + LINK_ROW_MAX > LINK_SUBMIT_MAX || bytes + size > SUBMIT_BYTES_MAX;
        if (count == most || (count > 0 && is_full && call->follows == 0)) {
            break;
        }
        fill_commit(worker, call, &commits[count]);
        pointers[count] = &commits[count];
        worker->submitted[count++] = call;
        bytes += size;
    }
    Bb__Proto__Submit submit;
    bb__proto__submit__init(&submit);
    worker_chains_talk(worker, &submit);
    if (count == 0 && submit.n_reserves + submit.n_keeps + submit.n_ends == 0) {
        return;
    }
    submit.epoch = worker->feed.epoch;
    submit.n_commits = count;
    submit.commits = pointers;
    Bb__Proto__SequencerRequest request;
    bb__proto__sequencer_request__init(&request);
    request.op_case = BB__PROTO__SEQUENCER_REQUEST__OP_SUBMIT;
    request.submit = &submit;
    bb_failpoint(worker->ctx->env, BB_FAILPOINT_WORKER_SUBMIT_BEFORE);
    int rc = worker_link_ask(worker, &request, SUBMIT_MS, &worker->submit_asked, submitted);
    if (rc != BB_OK) {
        worker->submit_at_us = worker_now(worker) + LINK_RETRY_US;
        return;
    }
    bb_failpoint(worker->ctx->env, BB_FAILPOINT_WORKER_SUBMIT_AFTER);
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
    size_t asked; /* which storage node */
};

static struct call *waiting_call(struct worker *worker, uint64_t id)
{
    bb_list_each(item, &worker->calls[CALL_WAIT_VALUE]) {
        struct call *call = bb_container(item, struct call, link);
        if (call->id == id) {
            return call;
        }
    }
    return NULL;
}

/* The record's body, empty when the log no longer has it. */
static struct bb_slice body_of(struct worker *worker, const Bb__Proto__StorageReply *reply,
                               uint64_t tx)
{
    Bb__Proto__TxRecord *record;
    bool has_record = reply->status == BB_OK &&
                      reply->op_case == BB__PROTO__STORAGE_REPLY__OP_TAIL &&
                      reply->tail->n_records > 0;
    if (!has_record ||
        bb_unpack(worker->ctx, worker->scratch, &bb__proto__tx_record__descriptor,
                  bb_pb_slice(reply->tail->records[0]), &record) != BB_OK ||
        record->tx != tx) {
        return BB_SLICE_EMPTY;
    }
    return bb_pb_slice(record->body);
}

/* The run that counted is this call's own when it wrote the same; else only its value is known. */
static void take_value(struct worker *worker, struct call *call, struct bb_slice bytes)
{
    Bb__Proto__TxBody *body = NULL;
    bool is_own = call->done != NULL && bytes.size > 0 &&
                  bb_slice_equal(bytes, bb_pb_slice(call->done->body));
    if (is_own) {
        return;
    }
    bool is_kept = bytes.size > 0 &&
                   bb_unpack(worker->ctx, worker->scratch, &bb__proto__tx_body__descriptor, bytes,
                             &body) == BB_OK &&
                   body->value.len > 0;
    call->value = is_kept ? bb_arena_dup(call->arena, bb_pb_slice(body->value)) : BB_SLICE_EMPTY;
    call->has_value = true;
    call->done = NULL; /* neither its lines nor its trace are those of the run that counted */
}

static void value_came(void *arg, int status, struct bb_slice bytes)
{
    struct value_wait *wait = arg;
    struct worker *worker = wait->worker;
    struct call *call = waiting_call(worker, wait->call_id);
    uint64_t tx = wait->tx;
    size_t asked = wait->asked;
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
    if (status == BB_OK) {
        bool is_tail = reply->op_case == BB__PROTO__STORAGE_REPLY__OP_TAIL;
        size_t record_count = is_tail ? reply->tail->n_records : 0;
        if (!worker_call_is_value_known((int)reply->status, record_count)) {
            status = BB_NOT_YET; /* another node, or the same a little later, has it */
            bb_nodes_failed(worker->storage, asked);
        }
    }
    if (status != BB_OK) {
        worker_answer(worker, call, BB_OUTCOME_UNKNOWN,
                      "the mutation has committed, and its result could not be read; send it again "
                      "with the same key");
        return;
    }
    take_value(worker, call, body_of(worker, reply, tx));
    worker_answer(worker, call, BB_OK, NULL);
}

void worker_link_value(struct worker *worker, struct call *call)
{
    Bb__Proto__Tail tail;
    bb__proto__tail__init(&tail);
    tail.after = call->tx - 1;
    tail.max_bytes = 1;
    tail.wait_ms = VALUE_WAIT_MS;
    Bb__Proto__StorageRequest request;
    bb__proto__storage_request__init(&request);
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_TAIL;
    request.tail = &tail;
    bb_nodes_leave(worker->storage);
    struct value_wait *wait = bb_alloc(sizeof(*wait));
    *wait = (struct value_wait){
        .worker = worker,
        .call_id = call->id,
        .tx = call->tx,
        .asked = bb_nodes_current(worker->storage),
    };
    if (bb_peer_request(worker->ctx, bb_nodes_current_peer(worker->storage), &request.base,
                        CALL_MS_MAX, value_came, wait) != BB_OK) {
        bb_free(wait);
        worker_answer(worker, call, BB_OUTCOME_UNKNOWN,
                      "the mutation has committed, and its result could not be read");
    }
}
