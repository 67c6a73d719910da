/* What happens to a call, event by event. What follows from an event is decided in call.c. */
#include "worker.h"

#define CALL_POOL_MAX 256u
#define OWN_MS_MAX    5000u
/* Calls that need a slot of their own and wait in front of some that can go ahead. */
#define PASSED_OVER_MAX 64u
#define HELD_UP_US      2000u /* until a commit that is held up is offered again */

void worker_call_to(struct worker *worker, struct call *call, enum call_state state)
{
    worker_call_move(call, state);
    bb_list_remove(&call->lane_link);
    bb_list_remove(&call->link);
    bb_list_push_back(&worker->calls[state], &call->link);
}

void worker_call_requeue(struct worker *worker, struct call *call)
{
    worker_call_move(call, CALL_QUEUED);
    bb_list_remove(&call->lane_link);
    bb_list_remove(&call->link);
    bb_list_push_front(&worker->calls[CALL_QUEUED], &call->link);
}

/* ---- arrival ---- */

static struct call *call_new(struct worker *worker, const Bb__Proto__Call *request)
{
    struct call *call;
    struct bb_arena *arena;
    if (bb_list_is_empty(&worker->call_pool)) {
        call = bb_alloc_zero(1, sizeof(*call));
        arena = bb_arena_new(64u << 20);
    } else {
        call = bb_container(worker->call_pool.next, struct call, link);
        bb_list_remove(&call->link);
        worker->call_pool_count--;
        arena = call->arena;
    }
    uint64_t now = worker_now(worker);
    struct bb_slice path = bb_slice_str(request->path);
    uint32_t timeout_ms = worker_call_time_ms(path, request->timeout_ms);
    uint64_t path_key = bb_hash64(path, 1);
    *call = (struct call){
        .magic = CALL_MAGIC,
        .state = CALL_ARRIVED,
        .id = ++worker->next_call,
        .request = request,
        .kind = (enum function_kind)request->kind,
        .is_system = bb_slice_starts_with(path, bb_slice_str("_system:")),
        .started_us = now,
        .deadline_us = now + timeout_ms * 1000ull,
        .lane_keys = { bb_hash64(bb_pb_slice(request->args), path_key), path_key },
        .arena = arena,
    };
    bb_list_init(&call->link);
    bb_list_init(&call->lane_link);
    bb_list_init(&call->slot_link);
    worker->call_count++;
    worker->call_total++;
    return call;
}

void worker_call_release(struct worker *worker, struct call *call)
{
    bb_assert(!call->is_in_flight && call->slot == NULL && call->reading == NULL);
    bb_assert(!call->is_in_lane && call->chain == NULL);
    bb_list_remove(&call->link);
    bb_list_remove(&call->lane_link);
    worker_catalog_release(call->catalog);
    bb_arena_free(call->own_arena);
    bb_arena_reset(call->arena);
    worker->call_count--;
    call->magic = 0;
    if (worker->call_pool_count < CALL_POOL_MAX) {
        bb_list_push_front(&worker->call_pool, &call->link);
        worker->call_pool_count++;
    } else {
        bb_arena_free(call->arena);
        bb_free(call);
    }
}

static void enter(struct worker *worker, struct call *call)
{
    bool is_plain_query =
        call->kind == FUNCTION_QUERY && !call->request->is_live && call->request->at_tx == 0;
    if (is_plain_query) {
        worker_call_to(worker, call, CALL_WAIT_MARK);
    } else if (!worker_recall_early(worker, call)) {
        worker_call_queue(worker, call);
    }
}

/*
 * Beyond this host's clock and beyond what the feed has shown: the sequencer runs on a clock of its
 * own, which may be ahead of this one.
 */
static bool is_in_future(struct worker *worker, uint64_t tx)
{
    uint64_t wall_us = bb_wall_us(worker->ctx);
    uint64_t newest = worker->feed.cursor > wall_us ? worker->feed.cursor : wall_us;

    return tx > newest + CALL_US_MAX;
}

static const char *refusal(struct worker *worker, const Bb__Proto__Call *request, int *status)
{
    *status = BB_BAD_REQUEST;
    if (request->request_id.len != 16 || request->seed.len != 16) {
        return "a call needs a request id and a seed of 16 bytes";
    }
    if (request->path[0] == '\0') {
        return "the path of the function is empty";
    }
    if (request->client_key.len != 0 && request->client_key.len < 16) {
        return "a client key has at least 16 bytes";
    }
    if (strncmp(request->path, "_system:", 8) == 0 && !request->is_admin) {
        *status = BB_FUNCTION_NOT_FOUND;
        return "Could not find this function: system functions need the admin key";
    }
    if (is_in_future(worker, request->at_tx) || is_in_future(worker, request->min_tx)) {
        *status = BB_TX_IN_FUTURE;
        return "this tx lies in the future";
    }
    if (worker->is_stopping) {
        *status = BB_UNAVAILABLE;
        return "this worker is ending";
    }
    enum spare_class call =
        worker_pace_class(&worker->pace, bb_hash64(bb_slice_str(request->path), 1));
    if (!worker_spare_has_room(worker->call_count, worker->queue_max, call)) {
        *status = BB_OVERLOADED;
        bb_metric_add(worker->count.overloaded, 1);
        return call == SPARE_LONG ? "too many calls are waiting on this worker for one more of a "
                                    "function whose calls take long"
                                  : "too many calls are waiting on this worker";
    }
    return NULL;
}

void worker_call_arrive(struct worker *worker, struct bb_exchange *exchange,
                        const Bb__Proto__Call *request)
{
    int status;
    const char *why = refusal(worker, request, &status);
    if (why != NULL) {
        worker_refuse(exchange, status, why);
        return;
    }
    struct call *call = call_new(worker, request);
    call->exchange = exchange;
    enter(worker, call);
}

void worker_call_own(struct worker *worker, const char *path, struct bb_slice args,
                     void (*on_end)(struct worker *, struct call *, int status, const char *error))
{
    struct bb_arena *arena = bb_arena_new(0);
    Bb__Proto__Call *request = bb_arena_alloc(arena, sizeof(*request));
    uint8_t *random = bb_arena_alloc(arena, 32);
    bb_random(worker->ctx, random, 32);
    bb__proto__call__init(request);
    request->request_id = bb_slice_pb(bb_slice(random, 16));
    request->seed = bb_slice_pb(bb_slice(random + 16, 16));
    request->kind = BB__PROTO__FUNCTION_KIND__KIND_MUTATION;
    request->path = bb_arena_str(arena, bb_slice_str(path));
    request->args = bb_slice_pb(bb_arena_dup(arena, args));
    request->is_admin = true;
    request->timeout_ms = OWN_MS_MAX;
    struct call *call = call_new(worker, request);
    call->own_arena = arena;
    call->on_end = on_end;
    call->is_low_priority = true;
    enter(worker, call);
}

/* ---- to a slot ---- */

bool worker_call_may_go_ahead(const struct worker *worker, const struct call *call)
{
    return !call->is_low_priority && !call->is_in_lane &&
           worker_slot_is_quick(worker_pace_of(&worker->pace, call->lane_keys[1])) &&
           worker_call_class(worker, call) == SPARE_SHORT;
}

enum spare_class worker_call_class(const struct worker *worker, const struct call *call)
{
    return worker_pace_class(&worker->pace, call->lane_keys[1]);
}

void worker_dispatch(struct worker *worker)
{
    size_t passed_over = 0;
    struct bb_list *queue = &worker->calls[CALL_QUEUED];
    if (bb_list_is_empty(queue)) {
        return;
    }
    for (int pass = 0; pass < 2; pass++) {
        bb_list_each_safe(item, queue) {
            bool has_idle = worker_slot_free(worker, NULL, SPARE_SHORT) != NULL;
            if (!has_idle &&
                (worker_slot_ahead(worker, NULL, false) == NULL || passed_over > PASSED_OVER_MAX)) {
                return;
            }
            struct call *call = bb_container(item, struct call, link);
            if (call->is_low_priority == (pass == 0)) {
                continue;
            }
            bool has_place =
                has_idle && worker_slot_free(worker, NULL, worker_call_class(worker, call)) != NULL;
            if (!has_place && !worker_call_may_go_ahead(worker, call)) {
                /* Those that pass where slots are held take nothing from the ones in front. */
                struct spare_view view = worker_slots_view(worker);
                passed_over += view.held + view.away == 0;
                continue;
            }
            if (!worker_call_is_late(worker, call)) {
                (void)worker_prepare(worker, call); /* it left the queue, or no slot has its code */
            }
        }
    }
}

void worker_call_marked(struct worker *worker, struct call *call, uint64_t mark)
{
    call->has_mark = true;
    call->mark = mark;
    if (!worker_recall_early(worker, call)) {
        worker_call_queue(worker, call);
    }
}

void worker_call_again(struct worker *worker, struct call *call, uint64_t epoch, uint64_t tx)
{
    worker->retry_total++;
    bb_metric_add(worker->count.retries, 1);
    worker_chain_leave(worker, call);
    call->follows = 0;
    call->offers = 0;
    call->done = NULL;
    call->has_value = call->is_void = call->is_duplicate = call->is_maybe_sequenced = false;
    call->tx = 0;
    bb_arena_reset(call->arena);
    call->wait_epoch = epoch;
    call->wait_tx = tx;
    call->waits_for_durable = false;
    if (worker_call_has_come(call, &worker->feed) || call->state == CALL_TO_SUBMIT ||
        call->state == CALL_WAIT_DURABLE) {
        worker_call_requeue(worker, call);
        return;
    }
    worker_call_to(worker, call, CALL_WAIT_TX);
}

/* ---- after a run ---- */

void worker_call_ran(struct worker *worker, struct call *call, const Bb__Proto__SlotDone *done)
{
    call->done = done;
    call->attempts++;
    bb_histogram_observe(worker->count.run_time, worker_now(worker) - call->run_started_us);
    int status = (int)done->status;
    if (status == BB_TOO_OLD && call->request->at_tx != 0 && !call->is_void) {
        worker_answer(worker, call, BB_TX_TRUNCATED, WORKER_TOO_OLD_TEXT);
        return;
    }
    switch (worker_call_after_run(call, status, done->body.len > 0)) {
    case RUN_SUBMIT:
    case RUN_FINISH:
        worker_call_to(worker, call, CALL_TO_SUBMIT);
        worker_chain_ran(worker, call);
        break;
    case RUN_ANSWER:
        if (status == BB_FUNCTION_TIMEOUT && worker_call_had_no_time(call)) {
            worker_answer(worker, call, BB_OVERLOADED,
                          "a slot became free when most of the time was over; what was left was "
                          "too little for the function");
        } else {
            worker_recall_keep(worker, call);
            worker_answer(worker, call, status, NULL);
        }
        break;
    case RUN_AGAIN:
        if (worker_now(worker) >= call->deadline_us) {
            worker_answer(worker, call, BB_UNAVAILABLE, "the database could not be read in time");
        } else {
            worker_call_again(worker, call, 0, 0);
        }
        break;
    }
}

/* Whoever kills slots from outside should fail nobody; a function that ends them all must not go
 * on. */
#define CRASHES_MAX 4

void worker_call_crashed(struct worker *worker, struct call *call, int status, const char *error)
{
    call->attempts++;
    if (status != BB_OK) {
        worker_answer(worker, call, status, error);
    } else if (++call->crashes > CRASHES_MAX) {
        worker_answer(
            worker, call, BB_INTERNAL,
            "the processes that ran this function ended one after the other; the worker's log "
            "says how");
    } else {
        worker_call_again(worker, call, 0, 0);
    }
}

/* ---- after a commit ---- */

void worker_call_outcome(struct worker *worker, struct call *call, uint64_t epoch,
                         const Bb__Proto__Outcome *outcome)
{
    int status = (int)outcome->status;
    uint64_t tx = outcome->tx;
    call->is_in_flight = false;
    if (call->state == CALL_DONE) {
        worker_call_release(worker, call); /* was answered while nobody knew */
        return;
    }
    enum outcome_verdict verdict = worker_call_after_outcome(call, &worker->feed, status);
    bool is_told = verdict != OUTCOME_RESUBMIT && verdict != OUTCOME_VOID;
    if (is_told && epoch == worker->feed.epoch) {
        call->is_outcome_open = false; /* it has looked for the request id */
    }
    switch (verdict) {
    case OUTCOME_WAIT:
    case OUTCOME_DUPLICATE:
        call->tx = tx;
        call->tx_epoch = epoch;
        worker_chain_leave(worker, call);
        call->is_duplicate = verdict == OUTCOME_DUPLICATE;
        worker_call_to(worker, call, CALL_WAIT_DURABLE);
        if (epoch < worker->feed.epoch) {
            worker_call_epoch(worker, call);
        }
        break;
    case OUTCOME_AGAIN:
        call->losses++;
        worker_chain_lost(worker, call, epoch == call->epoch ? outcome->lost : 0);
        worker_call_again(worker, call, epoch, tx);
        break;
    case OUTCOME_VOID:
        worker_call_again(worker, call, 0, 0);
        break;
    case OUTCOME_HELD_UP:
        call->offers++;
        call->offer_at_us = worker_now(worker) + HELD_UP_US;
        worker_call_to(worker, call, CALL_TO_SUBMIT);
        break;
    case OUTCOME_RESUBMIT:
        worker->submit_at_us = worker_now(worker) + 5000;
        worker_call_to(worker, call, CALL_TO_SUBMIT);
        break;
    case OUTCOME_FAILED:
        worker_answer(worker, call, status,
                      status == BB_TOO_LARGE
                          ? "the transaction is larger than 20 MiB; write less in "
                            "one mutation"
                          : bb_status_name(status));
        break;
    }
}

void worker_call_unanswered(struct worker *worker, struct call *call)
{
    call->is_in_flight = false;
    if (call->state == CALL_DONE) {
        worker_call_release(worker, call);
        return;
    }
    call->is_maybe_sequenced = call->done->status == BB_OK && call->done->body.len > 0;
    call->is_outcome_open |= call->is_maybe_sequenced;
    if (worker_call_after_outcome(call, &worker->feed, BB_UNAVAILABLE) == OUTCOME_VOID) {
        worker_call_again(worker, call, 0, 0); /* its epoch died while it was under way */
    } else {
        worker_call_to(worker, call, CALL_TO_SUBMIT);
    }
}
