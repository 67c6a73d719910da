/* What the feed and the clock do to calls that wait. Decided in call.c and feed.c. */
#include "worker.h"

/* Less than this is no time to run in. */
#define START_US 2000u
/* A live query that waited for most of its time is run later rather than shown as too slow. */
#define LIVE_START_US 2500000u

/* ---- the feed moved ---- */

static void confirm(struct worker *worker, struct call *call)
{
    const struct feed *feed = &worker->feed;
    uint64_t epoch = call->tx != 0 ? call->tx_epoch : call->epoch;
    uint64_t tx = call->tx != 0 ? call->tx : call->snapshot;
    if (worker_feed_fate(feed, epoch, tx) != FATE_DURABLE) {
        return;
    }
    if (call->is_duplicate) {
        worker_call_to(worker, call, CALL_WAIT_VALUE);
        worker_link_value(worker, call);
        return;
    }
    worker_answer(worker, call, call->done == NULL ? BB_OK : (int)call->done->status, NULL);
}

void worker_progress(struct worker *worker)
{
    bb_list_each_safe(item, &worker->calls[CALL_WAIT_DURABLE]) {
        confirm(worker, bb_container(item, struct call, link));
    }
    /* From the last to the first: each goes to the head of the queue, so they keep their order. */
    struct bb_list *head = &worker->calls[CALL_WAIT_TX];
    for (struct bb_list *item = head->prev, *before; item != head; item = before) {
        before = item->prev;
        struct call *call = bb_container(item, struct call, link);
        if (worker_call_has_come(call, &worker->feed) && !worker_recall_early(worker, call)) {
            worker_call_requeue(worker, call);
        }
    }
    worker_cache_prune(worker->cache, worker_horizon(worker));
}

void worker_call_epoch(struct worker *worker, struct call *call)
{
    bool was_sequenced = call->tx != 0;
    switch (worker_call_after_epoch(call, &worker->feed)) {
    case EPOCH_KEEPS:
        break;
    case EPOCH_RESUBMIT:
        call->is_maybe_sequenced = call->is_outcome_open = true;
        call->tx = 0;
        worker_call_to(worker, call, CALL_TO_SUBMIT);
        break;
    case EPOCH_AGAIN:
        call->is_outcome_open |= was_sequenced;
        worker_call_again(worker, call, 0, 0);
        break;
    }
}

/* What calls that have not started yet read was read at moments that may be gone. */
static void prepare_anew(struct worker *worker)
{
    struct bb_list *head = &worker->calls[CALL_PREPARING];
    worker_warm_reset(worker->warm);
    worker_reading_free(worker->catalog_reading);
    worker->catalog_reading = NULL;
    while (!bb_list_is_empty(head)) {
        struct call *call = bb_container(head->prev, struct call, link);
        worker_reading_free(call->reading);
        call->reading = NULL;
        if (call->slot != NULL) {
            worker_slot_unreserve(call->slot);
        }
        worker_call_requeue(worker, call);
    }
}

void worker_epoch_changed(struct worker *worker)
{
    const struct feed *feed = &worker->feed;
    bb_list_each_safe(item, &worker->calls[CALL_WAIT_DURABLE]) {
        worker_call_epoch(worker, bb_container(item, struct call, link));
    }
    bb_list_each_safe(item, &worker->calls[CALL_TO_SUBMIT]) {
        worker_call_epoch(worker, bb_container(item, struct call, link));
    }
    prepare_anew(worker);
    worker_lanes_forget(worker->lanes);
    bb_list_each(item, &worker->calls[CALL_RUNNING]) {
        struct call *call = bb_container(item, struct call, link);
        call->is_void |= !worker_feed_snapshot_holds(feed, call->epoch, call->snapshot);
    }
    bb_list_each(item, &worker->calls[CALL_WAIT_TX]) {
        worker_call_wait_anew(bb_container(item, struct call, link));
    }
}

/* ---- the client left ---- */

static bool is_named(const struct call *call, const Bb__Proto__Cancel *request)
{
    struct bb_slice id = bb_pb_slice(call->request->request_id);
    for (size_t i = 0; i < request->n_request_ids; i++) {
        if (bb_slice_equal(bb_pb_slice(request->request_ids[i]), id)) {
            return true;
        }
    }
    return false;
}

static size_t drop_in(struct worker *worker, struct bb_list *list, const Bb__Proto__Cancel *request)
{
    size_t dropped = 0;
    bb_list_each_safe(item, list) {
        struct call *call = bb_container(item, struct call, link);
        if (worker_call_may_drop(call) && is_named(call, request)) {
            worker_answer(worker, call, BB_CANCELLED,
                          "the client left before this call had begun, so it did not run");
            dropped++;
        }
    }
    return dropped;
}

size_t worker_calls_drop(struct worker *worker, const Bb__Proto__Cancel *request)
{
    static const enum call_state states[] = { CALL_ARRIVED, CALL_WAIT_MARK, CALL_WAIT_TX,
                                              CALL_QUEUED,  CALL_BLOCKED,   CALL_PREPARING };
    size_t dropped = drop_in(worker, &worker->marking, request);
    for (size_t i = 0; i < BB_COUNT_OF(states); i++) {
        dropped += drop_in(worker, &worker->calls[states[i]], request);
    }
    return dropped;
}

/* ---- time ---- */

static const char *overdue_text(const struct worker *worker, const struct call *call, int status)
{
    if (status == BB_OVERLOADED && worker_slots_ready(worker) == 0) {
        return "no slot is running on this worker: all are being started again (if that goes on, its "
               "log says why)";
    }
    if (status == BB_OUTCOME_UNKNOWN) {
        return "nobody knows yet whether this mutation has happened; send it again with the same key";
    }
    if (status == BB_TIMEOUT) {
        return "no transaction with the tx that was asked for, or a later one, came within the time";
    }
    if (status == BB_UNAVAILABLE) {
        return "the database did not answer in time: its sequencer or storage cannot be reached";
    }
    return call->losses > 0
               ? "other mutations of the same documents came first until the time was over"
               : "no slot became free before the time was over";
}

bool worker_call_is_late(struct worker *worker, struct call *call)
{
    uint64_t needed_us = call->request->is_live ? LIVE_START_US : START_US;
    if (worker_now(worker) + needed_us < call->deadline_us) {
        return false;
    }
    worker_answer(worker, call, BB_OVERLOADED, overdue_text(worker, call, BB_OVERLOADED));
    return true;
}

void worker_calls_overdue(struct worker *worker, uint64_t now_us)
{
    for (enum call_state state = CALL_ARRIVED; state < CALL_DONE; state++) {
        bb_list_each_safe(item, &worker->calls[state]) {
            struct call *call = bb_container(item, struct call, link);
            int status = worker_call_overdue(call, now_us);
            if (status != BB_OK) {
                worker_answer(worker, call, status, overdue_text(worker, call, status));
            }
        }
    }
    bb_list_each_safe(item, &worker->marking) {
        struct call *call = bb_container(item, struct call, link);
        int status = worker_call_overdue(call, now_us);
        if (status != BB_OK) {
            worker_answer(worker, call, status, overdue_text(worker, call, status));
        }
    }
}
