#include "bb/sequencer_service.h"

#include <stdio.h>

#include "bb/env.h"
#include "bb/failpoint.h"
#include "bb/wire_validate.h"

#include "sequencer.h"

#define CONTEXTS    256
#define TICK_MS     50
#define SCRATCH_MAX ((size_t)256 << 20)

/* ---- requests ---- */

static bool has_finish(const Bb__Proto__Submit *submit)
{
    for (size_t i = 0; i < submit->n_commits; i++) {
        if (submit->commits[i]->body.len == 0)
            return true;
    }
    return false;
}

/* What a Submit says of reservations: before its commits, and after them. */
static void reserve(struct sequencer *sequencer, const Bb__Proto__Submit *submit)
{
    struct sequencer_lanes *lanes = &sequencer->core.lanes;
    uint64_t now_us = bb_now_us(sequencer->ctx);

    for (size_t i = 0; i < submit->n_reserves; i++) {
        const Bb__Proto__Reserve *reserve = submit->reserves[i];
        sequencer_lanes_reserve(lanes, submit->session, reserve->number, reserve->ranges,
                                reserve->n_ranges, now_us);
    }
    for (size_t i = 0; i < submit->n_keeps; i++)
        sequencer_lanes_keep(lanes, submit->session, submit->keeps[i], now_us);
}

static void end_holds(struct sequencer *sequencer, const Bb__Proto__Submit *submit)
{
    struct sequencer_lanes *lanes = &sequencer->core.lanes;
    uint64_t before = lanes->version;

    for (size_t i = 0; i < submit->n_ends; i++)
        sequencer_lanes_end(lanes, submit->session, submit->ends[i]);
    sequencer_lanes_turn(lanes, bb_now_us(sequencer->ctx));
    if (lanes->version != before)
        sequencer_wake_waiters(sequencer, false);
}

/* The states of those that it named. NULL: no memory. */
static bool add_holds(struct sequencer *sequencer, struct bb_arena *arena,
                      const Bb__Proto__Submit *submit, Bb__Proto__SubmitReply *answer)
{
    size_t count = submit->n_reserves + submit->n_keeps;
    Bb__Proto__Hold *holds = bb_arena_zero(arena, count + 1, sizeof *holds);

    answer->holds = bb_arena_zero(arena, count + 1, sizeof(void *));
    if (holds == NULL || answer->holds == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        uint64_t number = i < submit->n_reserves ? submit->reserves[i]->number
                                                 : submit->keeps[i - submit->n_reserves];
        sequencer_describe_hold(
            &sequencer->core, sequencer_lanes_find(&sequencer->core.lanes, submit->session, number),
            number, &holds[i]);
        answer->holds[i] = &holds[i];
    }
    answer->n_holds = count;
    return true;
}

void sequencer_submit(struct sequencer *sequencer, struct bb_exchange *exchange,
                      const Bb__Proto__Submit *submit, bool may_wait)
{
    struct sequencer_metrics *metrics = &sequencer->metrics;
    struct bb_arena *arena = bb_exchange_arena(exchange);
    size_t count = submit->n_commits;
    bool has_lease = sequencer_has_lease(sequencer);
    struct bb_ctx ctx = *sequencer->ctx;
    Bb__Proto__SequencerReply reply;
    Bb__Proto__SubmitReply answer;

    if (sequencer->phase != SEQUENCER_ACTIVE) {
        if (!sequencer_refer(sequencer, exchange))
            sequencer_reply_error(exchange, BB_UNAVAILABLE, sequencer->waits_for);
        return;
    }
    if (may_wait && !has_lease && has_finish(submit)) {
        sequencer_submit_later(sequencer, exchange, submit);
        return;
    }
    Bb__Proto__Outcome *outcomes = bb_arena_zero(arena, count, sizeof *outcomes);
    Bb__Proto__Outcome **list = bb_arena_zero(arena, count, sizeof(void *));
    if (outcomes == NULL || list == NULL) {
        sequencer_reply_error(exchange, BB_TOO_LARGE, "too many commits in one message");
        return;
    }
    ctx.arena = sequencer->scratch;
    reserve(sequencer, submit);
    for (size_t i = 0; i < count; i++) {
        bb__proto__outcome__init(&outcomes[i]);
        list[i] = &outcomes[i];
    }
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && submit->commits[end]->follows;)
            end++;
        bb_arena_reset(sequencer->scratch);
        sequencer_core_commit(&ctx, &sequencer->core, submit->epoch, submit->session,
                              submit->commits + i, end - i, has_lease, list + i);
    }
    for (size_t i = 0; i < count; i++) {
        if (outcomes[i].status == BB_CONFLICT) {
            bb_metric_add(metrics->conflicts, 1);
        } else if (outcomes[i].status == BB_DUPLICATE) {
            bb_metric_add(metrics->duplicates, 1);
        } else if (outcomes[i].status == BB_OK && outcomes[i].tx != 0) {
            bb_metric_add(metrics->commits, 1);
        } else if (outcomes[i].status != BB_OK) {
            bb_metric_add(metrics->refused, 1);
        }
    }
    end_holds(sequencer, submit);
    bb__proto__sequencer_reply__init(&reply);
    bb__proto__submit_reply__init(&answer);
    if (!add_holds(sequencer, arena, submit, &answer))
        answer.n_holds = 0;
    answer.epoch = sequencer->core.epoch;
    answer.n_outcomes = count;
    answer.outcomes = list;
    reply.op_case = BB__PROTO__SEQUENCER_REPLY__OP_SUBMIT;
    reply.submit = &answer;
    bb_failpoint(ctx.env, BB_FAILPOINT_SEQUENCER_SUBMIT_AFTER);
    bb_exchange_reply(exchange, &reply.base);
    bb_failpoint(ctx.env, BB_FAILPOINT_SEQUENCER_REPLY_AFTER);
}

/* What an id became is known only to the one sequencer, hence the lease. */
static void handle_status_of(struct sequencer *sequencer, struct bb_exchange *exchange,
                             const Bb__Proto__StatusOf *status_of)
{
    Bb__Proto__SequencerReply reply;
    Bb__Proto__StatusOfReply answer;
    struct bb_txtime tx = BB_TX_NONE;

    if (sequencer_refer(sequencer, exchange))
        return;
    if (sequencer->phase < SEQUENCER_ACTIVE || !sequencer_has_lease(sequencer)) {
        sequencer_reply_error(exchange, BB_UNAVAILABLE, "the sequencer is not active");
        return;
    }
    bb__proto__sequencer_reply__init(&reply);
    bb__proto__status_of_reply__init(&answer);
    answer.status = (uint32_t)sequencer_core_status_of(sequencer->ctx, &sequencer->core,
                                                       bb_pb_slice(status_of->request_id), &tx);
    answer.tx = tx.us;
    reply.op_case = BB__PROTO__SEQUENCER_REPLY__OP_STATUS_OF;
    reply.status_of = &answer;
    bb_exchange_reply(exchange, &reply.base);
}

static void handle_info(struct sequencer *sequencer, struct bb_exchange *exchange)
{
    struct sequencer_core *core = &sequencer->core;
    Bb__Proto__SequencerReply reply;
    Bb__Proto__SequencerInfoReply info;

    bb__proto__sequencer_reply__init(&reply);
    bb__proto__sequencer_info_reply__init(&info);
    info.epoch = core->epoch;
    info.claim_tx = core->claim_tx;
    info.sequenced = core->sequenced;
    info.durable = core->durable;
    info.is_active = sequencer->phase == SEQUENCER_ACTIVE && sequencer_has_lease(sequencer);
    info.window_keys = bb_occ_keys(core->window);
    info.commits = core->commits;
    info.conflicts = core->conflicts;
    info.is_standby = sequencer->is_standby;
    info.holder =
        sequencer->phase >= SEQUENCER_LOADING ? sequencer->address : sequencer->holder_address;
    info.ids = sequencer_ids_count(core->ids);
    reply.op_case = BB__PROTO__SEQUENCER_REPLY__OP_INFO;
    reply.info = &info;
    bb_exchange_reply(exchange, &reply.base);
}

static void handle(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
{
    struct sequencer *sequencer = bb_cast(struct sequencer, arg, SEQUENCER_MAGIC);
    Bb__Proto__SequencerRequest *request = NULL;

    int rc = bb_unpack(sequencer->ctx, bb_exchange_arena(exchange),
                       &bb__proto__sequencer_request__descriptor, bytes, &request);
    if (rc == BB_OK)
        rc = bb_sequencer_request_validate(sequencer->ctx, request);
    if (rc != BB_OK) {
        bb_metric_add(sequencer->metrics.refused, 1);
        sequencer_reply_error(exchange, rc, sequencer->ctx->error);
        return;
    }
    switch (request->op_case) {
    case BB__PROTO__SEQUENCER_REQUEST__OP_SUBMIT:
        sequencer_submit(sequencer, exchange, request->submit, true);
        break;
    case BB__PROTO__SEQUENCER_REQUEST__OP_MARK:
        sequencer_mark(sequencer, exchange);
        break;
    case BB__PROTO__SEQUENCER_REQUEST__OP_FOLLOW:
        sequencer_follow(sequencer, exchange, request->follow);
        break;
    case BB__PROTO__SEQUENCER_REQUEST__OP_STATUS_OF:
        handle_status_of(sequencer, exchange, request->status_of);
        break;
    case BB__PROTO__SEQUENCER_REQUEST__OP_INFO:
        handle_info(sequencer, exchange);
        break;
    case BB__PROTO__SEQUENCER_REQUEST__OP__NOT_SET:
    case _BB__PROTO__SEQUENCER_REQUEST__OP__CASE_IS_INT_SIZE:
        BB_UNREACHABLE("an operation that did not pass the check");
    }
}

/* ---- the owner loop ---- */

/* All that came in one turn of the loop goes to storage and to the followers together. */
static void on_batch(void *arg)
{
    struct sequencer *sequencer = bb_cast(struct sequencer, arg, SEQUENCER_MAGIC);
    bool has_news = sequencer->core.append_number < sequencer->core.ring.next;

    if (sequencer->phase < SEQUENCER_ACTIVE)
        return;
    if (has_news)
        sequencer_append_next(sequencer);
    if (!bb_list_is_empty(&sequencer->followers))
        sequencer_wake_waiters(sequencer, false);
    if (sequencer->phase == SEQUENCER_DRAINING &&
        sequencer->core.durable == sequencer->core.sequenced) {
        sequencer_wake_waiters(sequencer, true);
        bb_service_stopped(sequencer->service);
    }
}

/* Storage is away. What it did not take nobody has heard of: it never happened. */
static void give_up_draining(struct sequencer *sequencer)
{
    bb_warn(sequencer->ctx, "sequencer.drain_ended", "why=\"storage takes nothing\" bytes=%zu",
            sequencer->core.pending_bytes);
    sequencer->phase = SEQUENCER_LOOKING; /* an answer that comes now changes nothing */
    bb_timer_stop(sequencer->resend_timer);
    bb_timer_stop(sequencer->renew_timer);
    bb_timer_stop(sequencer->tick_timer);
    sequencer_wake_waiters(sequencer, true);
    bb_service_stopped(sequencer->service);
}

static void on_tick(void *arg)
{
    struct sequencer *sequencer = bb_cast(struct sequencer, arg, SEQUENCER_MAGIC);

    if (sequencer->phase == SEQUENCER_DRAINING &&
        bb_now_us(sequencer->ctx) >= sequencer->drain_until_us) {
        give_up_draining(sequencer);
        return;
    }
    sequencer_core_tick(sequencer->ctx, &sequencer->core);
    bb_metric_set(sequencer->metrics.holds, (int64_t)sequencer->core.lanes.held_count);
    if (sequencer->core.is_active) {
        uint64_t clock_us = sequencer_clock_read(&sequencer->core.clock, bb_now_us(sequencer->ctx));
        uint64_t floor = bb_occ_floor(sequencer->core.window).us;
        bb_metric_set(sequencer->metrics.floor_age,
                      clock_us > floor ? (int64_t)(clock_us - floor) : 0);
    }
    bb_metric_set(sequencer->metrics.held_up, (int64_t)sequencer->core.held_up);
    sequencer_wake_waiters(sequencer, false);
    bb_metric_set(sequencer->metrics.window_keys, (int64_t)bb_occ_keys(sequencer->core.window));
    bb_metric_set(sequencer->metrics.pending_bytes, (int64_t)sequencer->core.pending_bytes);
    bb_metric_set(sequencer->metrics.followers, (int64_t)sequencer->follower_count);
}

static void on_claim_timer(void *arg)
{
    sequencer_claim_begin(bb_cast(struct sequencer, arg, SEQUENCER_MAGIC));
}

static void on_load_timer(void *arg)
{
    sequencer_load_again(bb_cast(struct sequencer, arg, SEQUENCER_MAGIC));
}

static void on_renew_timer(void *arg)
{
    sequencer_renew(bb_cast(struct sequencer, arg, SEQUENCER_MAGIC));
}

static void on_gathered(void *arg)
{
    struct sequencer *sequencer = bb_cast(struct sequencer, arg, SEQUENCER_MAGIC);

    sequencer->is_gathering = false;
    if (sequencer->phase >= SEQUENCER_ACTIVE)
        sequencer_append_next(sequencer);
}

static void on_resend_timer(void *arg)
{
    struct sequencer *sequencer = bb_cast(struct sequencer, arg, SEQUENCER_MAGIC);

    bb_metric_add(sequencer->metrics.resends, 1);
    sequencer_append_again(sequencer);
}

void sequencer_became_active(struct sequencer *sequencer)
{
    sequencer_core_activate(&sequencer->core);
    sequencer->phase = SEQUENCER_ACTIVE;
    (void)snprintf(sequencer->waits_for, sizeof sequencer->waits_for, "storage does not answer");
    bb_info(sequencer->ctx, "sequencer.active", "epoch=%" PRIu64 " claim_tx=%" PRIu64 " ids=%zu",
            sequencer->core.epoch, sequencer->core.claim_tx,
            sequencer_ids_count(sequencer->core.ids));
    bb_service_ready(sequencer->service);
    sequencer_wake_waiters(sequencer, false);
}

/* ---- life ---- */

static void register_metrics(struct sequencer_metrics *metrics)
{
    *metrics = (struct sequencer_metrics){
        .commits = bb_metric("bb_sequencer_commits_total", BB_COUNTER, "Transactions sequenced."),
        .conflicts = bb_metric("bb_sequencer_conflicts_total", BB_COUNTER,
                               "Commits that have to run again."),
        .duplicates = bb_metric("bb_sequencer_duplicates_total", BB_COUNTER,
                                "Commits of an id that was sequenced before."),
        .refused = bb_metric("bb_sequencer_refused_total", BB_COUNTER,
                             "Commits and messages that were refused."),
        .batches = bb_metric("bb_sequencer_batches_total", BB_COUNTER, "Batches made durable."),
        .gathers = bb_metric("bb_sequencer_gathers_total", BB_COUNTER,
                             "Batches that waited for more commits."),
        .resends = bb_metric("bb_sequencer_resends_total", BB_COUNTER,
                             "Batches that were sent to storage again."),
        .passed_on = bb_metric("bb_sequencer_passed_on_total", BB_COUNTER,
                               "Batches that a follower took to the storage node that leads."),
        .window_keys =
            bb_metric("bb_sequencer_window_keys", BB_GAUGE, "Keys in the conflict window."),
        .pending_bytes = bb_metric("bb_sequencer_pending_bytes", BB_GAUGE,
                                   "Bytes sequenced and not durable yet."),
        .followers = bb_metric("bb_sequencer_followers", BB_GAUGE, "Long polls that wait."),
        .holds = bb_metric("bb_sequencer_holds", BB_GAUGE, "Reservations that are held."),
        .held_up = bb_metric("bb_sequencer_held_up_total", BB_COUNTER,
                             "Commits that waited for the hold of another one."),
        .floor_age = bb_metric("bb_sequencer_window_us", BB_GAUGE,
                               "How far the conflict window reaches back."),
        .epoch = bb_metric("bb_sequencer_epoch", BB_GAUGE, "The epoch of this sequencer."),
        .append_seconds = bb_histogram("bb_sequencer_append_seconds",
                                       "From sending a batch to its being durable."),
    };
}

static int start(struct bb_ctx *ctx, struct bb_service *service, void **state)
{
    struct sequencer *sequencer = bb_alloc_zero(1, sizeof *sequencer);
    struct bb_conf *conf = bb_service_conf(service);
    struct sequencer_limits limits = {
        .window_us = bb_conf_number(conf, "window-ms") * 1000,
        .batch_bytes = (size_t)bb_conf_number(conf, "batch-bytes"),
        .ids_max = SEQUENCER_IDS_MAX,
    };

    *state = sequencer;
    sequencer->magic = SEQUENCER_MAGIC;
    sequencer->service = service;
    sequencer->loop = bb_service_loop(service);
    sequencer->ctx = bb_loop_ctx(sequencer->loop);
    sequencer->phase = SEQUENCER_LOOKING;
    sequencer->via = SEQUENCER_STRAIGHT;
    bb_list_init(&sequencer->followers);
    bb_list_init(&sequencer->marks);
    bb_list_init(&sequencer->submits);
    bb_random(ctx, &limits.seed, sizeof limits.seed);
    bb_random(ctx, sequencer->holder, sizeof sequencer->holder);
    const char *advertised = bb_conf_text(conf, "advertise");
    (void)snprintf(sequencer->address, sizeof sequencer->address, "%s",
                   advertised[0] != '\0' ? advertised : bb_conf_text(conf, "listen"));
    sequencer_core_init(&sequencer->core, &limits);
    register_metrics(&sequencer->metrics);
    sequencer->scratch = bb_arena_new(SCRATCH_MAX);
    sequencer->answers = bb_arena_new(SCRATCH_MAX);
    sequencer->claim_timer = bb_timer_new(sequencer->loop, on_claim_timer, sequencer);
    sequencer->load_timer = bb_timer_new(sequencer->loop, on_load_timer, sequencer);
    sequencer->resend_timer = bb_timer_new(sequencer->loop, on_resend_timer, sequencer);
    sequencer->gather_alarm = bb_alarm_new(sequencer->loop, on_gathered, sequencer);
    sequencer->renew_timer = bb_timer_new(sequencer->loop, on_renew_timer, sequencer);
    sequencer->tick_timer = bb_timer_new(sequencer->loop, on_tick, sequencer);
    (void)snprintf(sequencer->waits_for, sizeof sequencer->waits_for, "looking for storage");
    bb_service_not_ready(service, sequencer->waits_for);
    int rc = sequencer_voters_open(ctx, sequencer, bb_conf_text(conf, "storage"));
    if (rc != BB_OK)
        return rc;
    sequencer_lease_init(&sequencer->lease, sequencer->voter_count);
    struct bb_server_options options = {
        .url = bb_conf_text(conf, "listen"),
        .context_count = CONTEXTS,
        .handle = handle,
        .arg = sequencer,
    };
    rc = bb_server_open(ctx, sequencer->loop, &options, &sequencer->server);
    if (rc != BB_OK)
        return rc;
    bb_loop_on_batch(sequencer->loop, on_batch, sequencer);
    bb_timer_start(sequencer->tick_timer, TICK_MS, TICK_MS);
    sequencer_claim_begin(sequencer);
    return BB_OK;
}

static void stop(struct bb_service *service, void *state)
{
    struct sequencer *sequencer = bb_cast(struct sequencer, state, SEQUENCER_MAGIC);

    (void)snprintf(sequencer->waits_for, sizeof sequencer->waits_for, "the sequencer is stopping");
    if (sequencer->phase == SEQUENCER_ACTIVE) {
        sequencer->drain_until_us = bb_now_us(sequencer->ctx) + SEQUENCER_DRAIN_US;
        sequencer->phase = SEQUENCER_DRAINING; /* the batch hook ends it when all is durable */
        return;
    }
    sequencer_wake_waiters(sequencer, true);
    bb_service_stopped(service);
}

static void close_sequencer(struct bb_service *service, void *state)
{
    struct sequencer *sequencer = bb_cast(struct sequencer, state, SEQUENCER_MAGIC);

    (void)service;
    /* Answers that come while the connections close one by one must not ask the others again. */
    sequencer->phase = SEQUENCER_LOOKING;
    sequencer->questions = 0;
    sequencer->is_standby = false;
    sequencer_wake_waiters(sequencer, true);
    bb_server_close(sequencer->server);
    for (size_t i = 0; i < sequencer->voter_count; i++)
        bb_peer_close(sequencer->voters[i].peer);
    bb_timer_free(sequencer->claim_timer);
    bb_timer_free(sequencer->load_timer);
    bb_timer_free(sequencer->resend_timer);
    bb_alarm_free(sequencer->gather_alarm);
    bb_timer_free(sequencer->renew_timer);
    bb_timer_free(sequencer->tick_timer);
    sequencer_core_fini(&sequencer->core);
    bb_arena_free(sequencer->scratch);
    bb_arena_free(sequencer->answers);
    sequencer->magic = 0;
    bb_free(sequencer);
}

const struct bb_service_def bb_sequencer_service = {
    .name = "sequencer",
    .summary = "gives transactions their order and checks that they are serializable",
    .options = sequencer_options,
    .start = start,
    .stop = stop,
    .close = close_sequencer,
};
