#include "call.h"

/* An answer of the sequencer or the disk may be this late after the deadline of running. */
#define COMMIT_SLACK_US 1000000u
#define OFFERS_MAX      8u

#define TO(state) (1u << CALL_##state)
static const unsigned allowed[CALL_STATE_COUNT] = {
    [CALL_ARRIVED] = TO(WAIT_MARK) | TO(PREPARING) | TO(QUEUED) | TO(DONE),
    [CALL_WAIT_MARK] = TO(WAIT_TX) | TO(PREPARING) | TO(QUEUED) | TO(DONE),
    [CALL_WAIT_TX] = TO(QUEUED) | TO(DONE),
    [CALL_BLOCKED] = TO(QUEUED) | TO(DONE),
    [CALL_QUEUED] = TO(PREPARING) | TO(BLOCKED) | TO(WAIT_MARK) | TO(WAIT_TX) | TO(RUNNING) |
                    TO(WAIT_DURABLE) | TO(DONE),
    [CALL_PREPARING] = TO(QUEUED) | TO(RUNNING) | TO(DONE),
    [CALL_RUNNING] = TO(QUEUED) | TO(WAIT_TX) | TO(TO_SUBMIT) | TO(DONE),
    [CALL_TO_SUBMIT] = TO(SUBMITTED) | TO(QUEUED) | TO(DONE),
    [CALL_SUBMITTED] = TO(TO_SUBMIT) | TO(WAIT_TX) | TO(QUEUED) | TO(WAIT_DURABLE) | TO(DONE),
    [CALL_WAIT_DURABLE] = TO(TO_SUBMIT) | TO(QUEUED) | TO(WAIT_VALUE) | TO(DONE),
    [CALL_WAIT_VALUE] = TO(QUEUED) | TO(DONE),
};

void worker_call_move(struct call *call, enum call_state state)
{
    bb_assert((allowed[call->state] & 1u << state) != 0);
    call->state = state;
}

enum run_verdict worker_call_after_run(const struct call *call, int status, bool has_body)
{
    bool is_stale = status == BB_TOO_OLD || status == BB_CONFLICT || status == BB_NOT_YET ||
                    status == BB_FENCED;
    if (call->is_void || is_stale) {
        return RUN_AGAIN;
    }
    if (call->kind == FUNCTION_QUERY) {
        return RUN_ANSWER;
    }
    if (status == BB_OK) {
        return has_body ? RUN_SUBMIT : RUN_FINISH;
    }
    /* Out of time or memory says nothing about the database, and there is no time to ask. */
    bool is_own = status == BB_FUNCTION_TIMEOUT || status == BB_OUT_OF_MEMORY;
    return bb_status_in_function(status) && !is_own ? RUN_FINISH : RUN_ANSWER;
}

bool worker_call_had_no_time(const struct call *call)
{
    if (call->attempts != 1 || call->losses > 0 || call->run_started_us >= call->deadline_us) {
        return false;
    }
    uint64_t waited_us = call->run_started_us - call->started_us;
    return waited_us / 4 > call->deadline_us - call->run_started_us;
}

enum outcome_verdict worker_call_after_outcome(const struct call *call, const struct feed *feed,
                                               int status)
{
    switch (status) {
    case BB_OK:
        return OUTCOME_WAIT;
    case BB_DUPLICATE:
        /* Even if it was sent before: another worker may have run the same request. */
        return OUTCOME_DUPLICATE;
    case BB_CONFLICT:
        return OUTCOME_AGAIN;
    case BB_BUSY:
        /* A few times: then it takes its own place in line. */
        return call->offers >= OFFERS_MAX || call->is_in_lane ? OUTCOME_AGAIN : OUTCOME_HELD_UP;
    case BB_OVERLOADED:
    case BB_UNAVAILABLE:
    case BB_NOT_LEADER:
    case BB_FENCED:
        return worker_feed_snapshot_holds(feed, call->epoch, call->snapshot) ? OUTCOME_RESUBMIT
                                                                             : OUTCOME_VOID;
    default:
        return OUTCOME_FAILED;
    }
}

bool worker_call_is_value_known(int status, size_t record_count)
{
    return status == BB_TX_TRUNCATED || status == BB_CORRUPT ||
           (status == BB_OK && record_count > 0);
}

struct bb_slice worker_call_value(const struct call *call)
{
    if (call->has_value) {
        return call->value;
    }
    return call->done == NULL ? BB_SLICE_EMPTY
                              : bb_slice(call->done->value.data, call->done->value.len);
}

int worker_call_tells(const struct call *call, int status)
{
    return call->is_outcome_open && status != BB_OK ? BB_OUTCOME_UNKNOWN : status;
}

enum epoch_verdict worker_call_after_epoch(const struct call *call, const struct feed *feed)
{
    /* A body whose snapshot was rolled back must never be offered again: its numbers mean nothing
     * in the new epoch. If it did happen, the run that follows learns so by its request id. */
    enum epoch_verdict again = worker_feed_snapshot_holds(feed, call->epoch, call->snapshot)
                                   ? EPOCH_RESUBMIT
                                   : EPOCH_AGAIN;
    if (call->state == CALL_TO_SUBMIT) {
        return again == EPOCH_AGAIN ? EPOCH_AGAIN : EPOCH_KEEPS;
    }
    if (call->tx == 0) {
        return again == EPOCH_AGAIN ? EPOCH_AGAIN : EPOCH_KEEPS;
    }
    if (worker_feed_fate(feed, call->tx_epoch, call->tx) != FATE_UNKNOWN) {
        return EPOCH_KEEPS;
    }
    bool has_own_body = call->done != NULL && !call->has_value && !call->is_duplicate;
    return has_own_body ? again : EPOCH_AGAIN;
}

uint32_t worker_call_time_ms(struct bb_slice path, uint32_t asked_ms)
{
    bool is_deploy = bb_slice_equal_str(path, "_system:deploy");
    uint32_t most_ms = is_deploy ? DEPLOY_MS_MAX : CALL_MS_MAX;
    return asked_ms == 0 || asked_ms > most_ms ? most_ms : asked_ms;
}

int worker_call_overdue(const struct call *call, uint64_t now_us)
{
    if (now_us < call->deadline_us) {
        return BB_OK;
    }
    bool has_slack = now_us < call->deadline_us + COMMIT_SLACK_US;
    switch (call->state) {
    case CALL_ARRIVED:
    case CALL_QUEUED:
    case CALL_BLOCKED:
        return BB_OVERLOADED;
    case CALL_WAIT_TX:
        if (call->request->at_tx != 0 || call->request->min_tx != 0) {
            return BB_TIMEOUT; /* the caller named a tx that did not come */
        }
        return call->losses > 0 ? BB_OVERLOADED : BB_UNAVAILABLE;
    case CALL_WAIT_MARK:
    case CALL_PREPARING:
        return BB_UNAVAILABLE;
    case CALL_RUNNING:
    case CALL_DONE:
        return BB_OK; /* the slot watches itself, and slots.c the slot */
    case CALL_TO_SUBMIT:
        if (call->is_maybe_sequenced) {
            return has_slack ? BB_OK : BB_OUTCOME_UNKNOWN;
        }
        return has_slack ? BB_OK : BB_UNAVAILABLE;
    case CALL_SUBMITTED:
    case CALL_WAIT_DURABLE:
        if (has_slack) {
            return BB_OK;
        }
        return call->tx != 0 || (call->done != NULL && call->done->body.len > 0)
                   ? BB_OUTCOME_UNKNOWN
                   : BB_UNAVAILABLE;
    case CALL_WAIT_VALUE:
        return has_slack ? BB_OK : BB_OUTCOME_UNKNOWN;
    case CALL_STATE_COUNT:
        break;
    }
    BB_UNREACHABLE("call state");
}

bool worker_call_may_drop(const struct call *call)
{
    switch (call->state) {
    case CALL_ARRIVED:
    case CALL_WAIT_MARK:
    case CALL_WAIT_TX:
    case CALL_QUEUED:
    case CALL_BLOCKED:
    case CALL_PREPARING:
        return call->exchange != NULL && !call->is_outcome_open;
    case CALL_RUNNING:
    case CALL_TO_SUBMIT:
    case CALL_SUBMITTED:
    case CALL_WAIT_DURABLE:
    case CALL_WAIT_VALUE:
    case CALL_DONE:
        return false;
    case CALL_STATE_COUNT:
        break;
    }
    BB_UNREACHABLE("call state");
}

bool worker_call_has_come(const struct call *call, const struct feed *feed)
{
    uint64_t durable = feed->durable < feed->cursor ? feed->durable : feed->cursor;
    if (call->wait_epoch != 0 && feed->epoch > call->wait_epoch) {
        return worker_feed_is_usable(feed); /* a number of an epoch that is over says nothing */
    }
    return worker_feed_is_usable(feed) && feed->epoch >= call->wait_epoch &&
           (call->waits_for_durable ? durable : feed->cursor) >= call->wait_tx;
}

void worker_call_wait_anew(struct call *call)
{
    call->wait_tx = 0;
}

static enum moment_verdict wait_until(struct call *call, uint64_t tx, bool for_durable)
{
    call->wait_tx = tx;
    call->waits_for_durable = for_durable;
    return MOMENT_WAIT;
}

enum moment_verdict worker_call_moment(struct call *call, const struct feed *feed)
{
    const Bb__Proto__Call *request = call->request;
    if (!worker_feed_is_usable(feed)) {
        return wait_until(call, feed->base, true);
    }
    call->epoch = feed->epoch;
    if (call->kind != FUNCTION_QUERY) {
        uint64_t least = call->has_mark ? call->mark : 0;
        call->snapshot = feed->cursor;
        return feed->cursor < least ? wait_until(call, least, false) : MOMENT_OK;
    }
    uint64_t newest = feed->durable < feed->cursor ? feed->durable : feed->cursor;
    if (request->at_tx != 0) {
        call->snapshot = request->at_tx;
        return newest < request->at_tx ? wait_until(call, request->at_tx, true) : MOMENT_OK;
    }
    if (!request->is_live && !call->has_mark) {
        return MOMENT_MARK;
    }
    uint64_t least = call->has_mark ? call->mark : 0;
    least = request->min_tx > least ? request->min_tx : least;
    if (newest < least) {
        return wait_until(call, least, true);
    }
    call->snapshot = newest;
    return MOMENT_OK;
}
