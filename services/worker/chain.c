/*
 * Calls that meet hot ranges: they wait in the queue of their lane, and go to one slot in a row.
 * There each runs on top of the one before, at one snapshot, before anything of it is committed;
 * when all have run, they are submitted together (sequencer.proto, Commit.follows).
 */
#include "slot.h"

#include "link.h"

/* A chain that takes longer is submitted as far as it is; the rest runs again. */
#define CUT_US 50000u

struct chain {
    struct bb_list link;
    unsigned lane;
    size_t count, open; /* open: have not run yet */
    size_t trusted;     /* the first so many saw nothing but what is submitted before them */
    uint64_t started_us;
    struct call *calls[LINK_ROW_MAX]; /* NULL: has left */
};

/* ---- the queue ---- */

bool worker_chain_queue(struct worker *worker, struct call *call)
{
    if (call->kind != FUNCTION_MUTATION || call->is_in_lane) {
        return false;
    }
    struct lanes *lanes = worker->lanes;
    unsigned lane = worker_lanes_root(lanes, call->lane);
    if (lane == 0 && !call->is_system) {
        lane = worker_lanes_guess(lanes, call->lane_keys, worker_now(worker));
    }
    call->lane = lane;
    if (lane == 0) {
        return false;
    }
    bb_metric_add(worker->count.queued, 1);
    worker_call_to(worker, call, CALL_BLOCKED);
    struct bb_list *queue = worker_lane_queue(lanes, lane);
    if (call->attempts > 0) {
        bb_list_push_front(queue, &call->lane_link); /* it has waited before */
    } else {
        bb_list_push_back(queue, &call->lane_link);
    }
    return true;
}

/* ---- a chain begins ---- */

/* The same key, or the same call once more: a gateway that lost its connection sends it again. */
static bool shares_key(const struct chain *chain, const struct call *call)
{
    struct bb_slice key = bb_pb_slice(call->request->client_key);
    struct bb_slice id = bb_pb_slice(call->request->request_id);
    for (size_t i = 0; i < chain->count; i++) {
        const Bb__Proto__Call *other = chain->calls[i]->request;
        if (bb_slice_equal(id, bb_pb_slice(other->request_id)) ||
            (key.size > 0 && bb_slice_equal(key, bb_pb_slice(other->client_key)))) {
            return true;
        }
    }
    return false;
}

static void add(struct chain *chain, struct call *call)
{
    call->chain = chain;
    call->chain_at = chain->count;
    call->has_chain_run = false;
    chain->calls[chain->count++] = call;
    chain->open++;
    chain->trusted = chain->count;
}

static void enter(struct worker *worker, struct call *call, unsigned lane)
{
    bb_list_remove(&call->lane_link);
    call->lane = lane;
    call->is_in_lane = true;
    worker_lane_enter(worker->lanes, lane);
}

void worker_chain_started(struct worker *worker, struct call *first)
{
    /* Its lane may have been joined to another one while its code or its moment was waited for. */
    unsigned lane = worker_lanes_root(worker->lanes, first->lane);
    bb_assert(lane != 0); /* a call of it runs */
    struct bb_list *queue = worker_lane_queue(worker->lanes, lane);
    size_t length = worker_lane_length(worker->lanes, lane);
    length = length < LINK_ROW_MAX ? length : LINK_ROW_MAX;
    if (length < 2 || bb_list_is_empty(queue) || first->is_system) {
        return;
    }
    struct chain *chain = bb_alloc_zero(1, sizeof(*chain));
    *chain = (struct chain){ .lane = lane, .started_us = worker_now(worker) };
    bb_list_push_back(&worker->chains, &chain->link);
    add(chain, first);
    while (chain->count < length && !bb_list_is_empty(queue)) {
        struct call *call = bb_container(queue->next, struct call, lane_link);
        bool is_early = call->has_mark && call->mark > first->snapshot;
        if (shares_key(chain, call) || is_early || call->is_system) {
            break; /* it would not see the row that the other one writes, or what it must */
        }
        if (slot_is_spare(first->slot) && worker_call_class(worker, call) != SPARE_SHORT) {
            break;
        }
        enter(worker, call, lane);
        if (!worker_prepare_after(worker, call, chain->calls[chain->count - 1])) {
            break;
        }
        bb_metric_add(worker->count.chained, 1);
        add(chain, call);
    }
}

static void run_lane(struct worker *worker, unsigned lane)
{
    struct bb_list *queue = worker_lane_queue(worker->lanes, lane);
    struct call *first = bb_container(queue->next, struct call, lane_link);
    enter(worker, first, lane);
    worker_call_requeue(worker, first);
    if (worker_call_is_late(worker, first)) {
        return;
    }
    (void)worker_prepare(worker, first); /* worker_chain_started takes the others along */
}

/* A slot that its first call may have. */
static bool has_place(struct worker *worker, unsigned lane)
{
    struct bb_list *queue = worker_lane_queue(worker->lanes, lane);
    const struct call *first = bb_container(queue->next, struct call, lane_link);
    return worker_slot_free(worker, NULL, worker_call_class(worker, first)) != NULL;
}

void worker_chains_turn(struct worker *worker)
{
    if (!worker_lanes_any(worker->lanes, 0)) {
        return;
    }
    uint64_t now = worker_now(worker);
    for (unsigned lane = 1; lane <= LANES_MAX; lane++) {
        if (!worker_lane_may_run(worker->lanes, lane, now) ||
            worker_lane_least(worker->lanes, lane) > worker->feed.cursor) {
            continue;
        }
        if (worker_slot_free(worker, NULL, SPARE_SHORT) == NULL) {
            return;
        }
        if (has_place(worker, lane)) {
            run_lane(worker, lane);
        }
    }
}

/* ---- a chain ends ---- */

/* From `from` on they have seen writes of one that is not submitted before them. */
static void distrust(struct chain *chain, size_t from)
{
    chain->trusted = from < chain->trusted ? from : chain->trusted;
}

/* Those that have run are submitted, in their order. */
static void submit(struct worker *worker, struct chain *chain)
{
    uint64_t before = 0;
    for (size_t i = 0; i < chain->count; i++) {
        struct call *call = chain->calls[i];
        if (call == NULL || !call->has_chain_run) {
            continue;
        }
        bool is_trusted = i < chain->trusted;
        chain->calls[i] = NULL;
        call->chain = NULL;
        if (!is_trusted) {
            worker_call_again(worker, call, 0, 0);
            continue;
        }
        bb_list_remove(&call->link);
        bb_list_push_back(&worker->calls[CALL_TO_SUBMIT], &call->link);
        call->follows = before;
        before = call->id;
    }
}

static void end_if_over(struct worker *worker, struct chain *chain)
{
    if (chain->open > 0) {
        return;
    }
    bb_histogram_observe(worker->count.row_time, worker_now(worker) - chain->started_us);
    bb_list_remove(&chain->link);
    submit(worker, chain);
    bb_free(chain);
}

static void learn(struct worker *worker, const struct call *call)
{
    uint64_t now = worker_now(worker);
    if (call->is_system || !worker_lanes_any(worker->lanes, now)) {
        return;
    }
    unsigned lane = 0;
    for (size_t i = 0; i < call->done->n_reads; i++) {
        const Bb__Proto__Range *range = call->done->reads[i];
        unsigned met = worker_lanes_touch(worker->lanes, bb_pb_slice(range->low),
                                          bb_pb_slice(range->high), now);
        if (call->is_in_lane && met != 0) {
            met = worker_lanes_join(worker->lanes, call->lane, met);
        }
        lane = lane == 0 ? met : lane;
    }
    worker_lanes_learn(worker->lanes, call->lane_keys, lane, now);
}

void worker_chain_ran(struct worker *worker, struct call *call)
{
    learn(worker, call);
    if (call->is_in_lane) { /* alone, too: rows that were one call long may be longer again */
        worker_lane_took(worker->lanes, call->lane, call->done->took_us, call->done->cpu_us);
    }
    struct chain *chain = call->chain;
    if (chain != NULL) {
        call->has_chain_run = true;
        chain->open--;
        end_if_over(worker, chain);
    }
}

static void leave_chain(struct worker *worker, struct call *call)
{
    struct chain *chain = call->chain;
    if (chain == NULL) {
        return;
    }
    bool has_written =
        call->done != NULL && call->done->status == BB_OK && call->done->body.len > 0;
    if (has_written) {
        distrust(chain, call->chain_at + 1);
    }
    chain->open -= !call->has_chain_run;
    chain->calls[call->chain_at] = NULL;
    call->chain = NULL;
    end_if_over(worker, chain);
}

void worker_chain_leave(struct worker *worker, struct call *call)
{
    leave_chain(worker, call);
    if (call->is_in_lane) {
        call->is_in_lane = false;
        /* A number of an epoch that is over may never come with the feed. */
        uint64_t tx = call->tx_epoch == worker->feed.epoch ? call->tx : 0;
        worker_lane_leave(worker->lanes, call->lane, tx);
    }
}

void worker_chains_watch(struct worker *worker, uint64_t now_us)
{
    bb_list_each_safe(item, &worker->chains) {
        struct chain *chain = bb_container(item, struct chain, link);
        if (now_us > chain->started_us + CUT_US && chain->open > 0) {
            size_t done = chain->count - chain->open;
            submit(worker, chain);
            distrust(chain, done);
        }
    }
    worker_lanes_tick(worker->lanes, now_us);
}

/* ---- hot ranges ---- */

bool worker_chain_meets(struct worker *worker, struct call *call, const Bb__Proto__SlotReads *reads)
{
    uint64_t now = worker_now(worker);
    bool is_free = call->kind == FUNCTION_MUTATION && !call->is_in_lane && !call->is_system;
    if (!is_free || !worker_lanes_any(worker->lanes, now)) {
        return false;
    }
    for (size_t i = 0; i < reads->n_ops; i++) {
        const Bb__Proto__SlotReadOp *op = reads->ops[i];
        unsigned lane =
            worker_lanes_meet(worker->lanes, bb_pb_slice(op->low), bb_pb_slice(op->high), now);
        /* Where others write too, it waits for its turn there; alone, only behind its own. */
        if (lane != 0 && (worker->supervisors > 1 || worker_lane_is_busy(worker->lanes, lane))) {
            call->lane = lane;
            worker_lanes_learn(worker->lanes, call->lane_keys, lane, now);
            return true;
        }
    }
    return false;
}

void worker_chain_lost(struct worker *worker, struct call *call, uint32_t lost)
{
    const Bb__Proto__SlotDone *done = call->done;
    if (lost == 0 || lost > done->n_reads) {
        return;
    }
    const Bb__Proto__Range *range = done->reads[lost - 1];
    uint64_t now = worker_now(worker);
    call->lane = worker_lanes_heat(worker->lanes, bb_pb_slice(range->low), bb_pb_slice(range->high),
                                   call->lane, now);
    if (!call->is_system) {
        worker_lanes_learn(worker->lanes, call->lane_keys, call->lane, now);
    }
}

/* ---- reservations ---- */

static Bb__Proto__Reserve *make_reserve(struct worker *worker, unsigned lane, uint64_t number)
{
    struct bb_arena *arena = worker->scratch;
    struct bb_slice low, high;
    size_t count = 0;
    while (worker_lane_range(worker->lanes, lane, count, &low, &high)) {
        count++;
    }
    Bb__Proto__Reserve *reserve = bb_arena_alloc(arena, sizeof(*reserve));
    Bb__Proto__Range *ranges = bb_arena_alloc(arena, (count + 1) * sizeof(*ranges));
    bb_assert(reserve != NULL && ranges != NULL);
    bb__proto__reserve__init(reserve);
    reserve->number = number;
    reserve->ranges = bb_arena_alloc(arena, (count + 1) * sizeof(void *));
    bb_assert(reserve->ranges != NULL);
    for (; worker_lane_range(worker->lanes, lane, reserve->n_ranges, &low, &high);
         reserve->n_ranges++) {
        Bb__Proto__Range *range = &ranges[reserve->n_ranges];
        bb__proto__range__init(range);
        range->low = bb_slice_pb(low);
        range->high = bb_slice_pb(high);
        reserve->ranges[reserve->n_ranges] = range;
    }
    return reserve;
}

void worker_chains_talk(struct worker *worker, Bb__Proto__Submit *submit)
{
    uint64_t now = worker_now(worker);
    submit->session = worker->session;
    if (!worker_lanes_have_talk(worker->lanes, now)) {
        return;
    }
    submit->reserves = bb_arena_alloc(worker->scratch, LANES_MAX * sizeof(void *));
    submit->keeps = bb_arena_alloc(worker->scratch, LANES_MAX * sizeof(uint64_t));
    submit->ends = bb_arena_alloc(worker->scratch, 2 * LANES_MAX * sizeof(uint64_t));
    bb_assert(submit->reserves != NULL && submit->keeps != NULL && submit->ends != NULL);
    for (uint64_t number; (number = worker_lanes_joined(worker->lanes)) != 0;) {
        submit->ends[submit->n_ends++] = number;
    }
    for (unsigned lane = 1; lane <= LANES_MAX; lane++) {
        struct lane_talk talk;
        if (!worker_lane_talk(worker->lanes, lane, now, &talk)) {
            continue;
        }
        if (talk.end != 0) {
            submit->ends[submit->n_ends++] = talk.end;
        }
        if (talk.keep != 0) {
            submit->keeps[submit->n_keeps++] = talk.keep;
        }
        if (talk.reserve != 0) {
            submit->reserves[submit->n_reserves++] = make_reserve(worker, lane, talk.reserve);
        }
    }
}

void worker_chains_heard(struct worker *worker, Bb__Proto__Hold *const *holds, size_t count,
                         bool is_answer)
{
    uint64_t now = worker_now(worker);
    for (size_t i = 0; i < count; i++) {
        const Bb__Proto__Hold *hold = holds[i];
        enum lane_hold state = hold->state == BB__PROTO__HOLD_STATE__HOLD_HELD     ? LANE_HOLD_HAS
                               : hold->state == BB__PROTO__HOLD_STATE__HOLD_QUEUED ? LANE_HOLD_ASKED
                                                                                   : LANE_HOLD_NONE;
        if (!is_answer && state != LANE_HOLD_HAS) {
            continue; /* it may be older than the last answer */
        }
        worker_lanes_heard(worker->lanes, hold->number, state, hold->is_wanted, hold->tx, now);
    }
}

void worker_chains_hot(struct worker *worker, const Bb__Proto__FollowReply *follow)
{
    uint64_t now = worker_now(worker);
    worker->supervisors = follow->supervisors;
    worker->hot_seen = follow->hot_seen;
    for (size_t i = 0; i < follow->n_hot; i++) {
        const Bb__Proto__Range *range = follow->hot[i];
        (void)worker_lanes_heat(worker->lanes, bb_pb_slice(range->low), bb_pb_slice(range->high), 0,
                                now);
    }
}
