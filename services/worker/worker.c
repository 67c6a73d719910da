/* The supervisor as a service: options, requests of gateways, the turn of the loop, the end. */
#include "bb/worker_service.h"

#include <stdio.h>

#include "options.h"
#include "worker.h"

#define TICK_MS          50u
#define RETRY_MS         5u
#define LOOK_MS          2u
#define STOP_MAX_US      9000000u
#define CUT_US           1500000u /* a Follow takes 0.4 s, a take-over 1.2 s */
#define LOG_ENTRIES      4096u
#define LOG_BYTES        (8u << 20)
#define PULL_ENTRIES_MAX 512u
#define PULL_CONTEXTS    64u

/* ---- PullLogs ---- */

struct pull {
    struct bb_list link;
    struct bb_exchange *exchange;
    uint64_t cursor, until_us;
};

static void answer_pull(struct worker *worker, struct bb_exchange *exchange, uint64_t cursor)
{
    struct bb_slice packed[PULL_ENTRIES_MAX];
    struct bb_arena *arena = bb_exchange_arena(exchange);
    size_t count = worker_logs_after(worker->logs, &cursor, packed, PULL_ENTRIES_MAX);
    Bb__Proto__PullLogsReply pulled;
    bb__proto__pull_logs_reply__init(&pulled);
    pulled.cursor = cursor;
    pulled.entries = bb_arena_alloc(arena, (count + 1) * sizeof(void *));
    for (size_t i = 0; i < count && pulled.entries != NULL; i++) {
        if (bb_unpack(worker->ctx, arena, &bb__proto__call_log__descriptor, packed[i],
                      &pulled.entries[pulled.n_entries]) == BB_OK) {
            pulled.n_entries++;
        }
    }
    Bb__Proto__WorkerReply reply;
    bb__proto__worker_reply__init(&reply);
    reply.op_case = BB__PROTO__WORKER_REPLY__OP_LOGS;
    reply.logs = &pulled;
    bb_exchange_reply(exchange, &reply.base);
}

static void on_pull(struct worker *worker, struct bb_exchange *exchange,
                    const Bb__Proto__PullLogs *request)
{
    uint64_t newest = worker_logs_newest(worker->logs);
    if (request->wait_ms == 0 || request->cursor != newest || worker->is_stopping) {
        answer_pull(worker, exchange, request->cursor);
        return;
    }
    struct pull *pull = bb_alloc(sizeof(*pull));
    *pull = (struct pull){ .exchange = exchange,
                           .cursor = request->cursor,
                           .until_us = worker_now(worker) + request->wait_ms * 1000ull };
    bb_list_push_back(&worker->pulls, &pull->link);
}

static void answer_pulls(struct worker *worker, uint64_t now_us)
{
    uint64_t newest = worker_logs_newest(worker->logs);
    bb_list_each_safe(item, &worker->pulls) {
        struct pull *pull = bb_container(item, struct pull, link);
        if (pull->cursor != newest || now_us >= pull->until_us || worker->is_stopping) {
            bb_list_remove(&pull->link);
            answer_pull(worker, pull->exchange, pull->cursor);
            bb_free(pull);
        }
    }
}

/* ---- requests ---- */

static void on_info(struct worker *worker, struct bb_exchange *exchange)
{
    struct cache_stats cache = worker_cache_stats(worker->cache);
    Bb__Proto__WorkerInfoReply info;
    bb__proto__worker_info_reply__init(&info);
    info.slots = (uint32_t)(worker->slot_count - worker->spare_count);
    info.spare_slots = (uint32_t)worker_slots_spare(worker);
    info.slots_busy = (uint32_t)worker_slots_busy(worker);
    info.is_cut = worker_now(worker) >= worker->heard_us + CUT_US;
    info.epoch = worker->feed.epoch;
    info.sequenced = worker->feed.cursor;
    info.durable = worker->feed.durable;
    info.calls = worker->call_total;
    info.retries = worker->retry_total;
    info.cache_hits = cache.hits;
    info.cache_misses = cache.misses;
    info.cache_bytes = cache.bytes;
    if (worker->results != NULL) {
        struct results_stats results = worker_results_stats(worker->results);
        info.result_hits = results.hits;
        info.result_bytes = results.bytes;
    }
    const char *holds = worker_sandbox_holds(worker->sandbox);
    info.isolation = bb_arena_str(bb_exchange_arena(exchange), bb_slice_str(holds));
    Bb__Proto__WorkerReply reply;
    bb__proto__worker_reply__init(&reply);
    reply.op_case = BB__PROTO__WORKER_REPLY__OP_INFO;
    reply.info = &info;
    bb_exchange_reply(exchange, &reply.base);
}

static void on_cancel(struct worker *worker, struct bb_exchange *exchange,
                      const Bb__Proto__Cancel *request)
{
    Bb__Proto__CancelReply cancel;
    bb__proto__cancel_reply__init(&cancel);
    cancel.dropped = (uint32_t)worker_calls_drop(worker, request);
    Bb__Proto__WorkerReply reply;
    bb__proto__worker_reply__init(&reply);
    reply.op_case = BB__PROTO__WORKER_REPLY__OP_CANCEL;
    reply.cancel = &cancel;
    bb_exchange_reply(exchange, &reply.base);
}

static void on_add_logs(struct worker *worker, struct bb_exchange *exchange,
                        const Bb__Proto__AddLogs *request)
{
    for (size_t i = 0; i < request->n_entries; i++)
        worker_logs_add(worker->logs, request->entries[i]);
    Bb__Proto__AddLogsReply added;
    bb__proto__add_logs_reply__init(&added);
    Bb__Proto__WorkerReply reply;
    bb__proto__worker_reply__init(&reply);
    reply.op_case = BB__PROTO__WORKER_REPLY__OP_ADD_LOGS;
    reply.add_logs = &added;
    bb_exchange_reply(exchange, &reply.base);
}

static void on_request(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
{
    struct worker *worker = arg;
    Bb__Proto__WorkerRequest *request;
    int rc = bb_unpack(worker->ctx, bb_exchange_arena(exchange),
                       &bb__proto__worker_request__descriptor, bytes, &request);
    if (rc != BB_OK) {
        worker_refuse(exchange, rc, "this is no request to a worker");
        return;
    }
    switch (request->op_case) {
    case BB__PROTO__WORKER_REQUEST__OP_CALL:
        worker_call_arrive(worker, exchange, request->call);
        break;
    case BB__PROTO__WORKER_REQUEST__OP_INFO:
        on_info(worker, exchange);
        break;
    case BB__PROTO__WORKER_REQUEST__OP_LOGS:
        on_pull(worker, exchange, request->logs);
        break;
    case BB__PROTO__WORKER_REQUEST__OP_CANCEL:
        on_cancel(worker, exchange, request->cancel);
        break;
    case BB__PROTO__WORKER_REQUEST__OP_ADD_LOGS:
        on_add_logs(worker, exchange, request->add_logs);
        break;
    case BB__PROTO__WORKER_REQUEST__OP__NOT_SET:
    case _BB__PROTO__WORKER_REQUEST__OP__CASE_IS_INT_SIZE:
        worker_refuse(exchange, BB_BAD_REQUEST, "this request asks for nothing");
        break;
    }
}

/* ---- the turn of the loop ---- */

static void check_ready(struct worker *worker)
{
    bool is_ready = worker_slots_ready(worker) > 0 && worker_feed_is_usable(&worker->feed) &&
                    !worker->is_stopping;
    if (is_ready == worker->is_ready) {
        return;
    }
    worker->is_ready = is_ready;
    if (is_ready) {
        bb_service_ready(worker->service);
    } else if (!worker->is_stopping) {
        bb_service_not_ready(worker->service, worker_slots_ready(worker) == 0
                                                  ? "no slot is ready"
                                                  : "the sequencer's feed is not there");
    }
}

static void set_result_metrics(struct worker *worker)
{
    if (worker->results == NULL) {
        return;
    }
    struct results_stats results = worker_results_stats(worker->results);
    bb_metric_set(worker->count.result_count, (int64_t)results.count);
    bb_metric_set(worker->count.result_bytes, (int64_t)results.bytes);
    bb_metric_set(worker->count.results_dropped, (int64_t)results.dropped);
}

static void set_metrics(struct worker *worker)
{
    struct cache_stats cache = worker_cache_stats(worker->cache);
    bb_metric_set(worker->count.cache_hits, (int64_t)cache.hits);
    bb_metric_set(worker->count.cache_misses, (int64_t)cache.misses);
    bb_metric_set(worker->count.cache_bytes, (int64_t)cache.bytes);
    set_result_metrics(worker);
    bb_metric_set(worker->count.slots_busy, (int64_t)worker_slots_busy(worker));
    bb_metric_set(worker->count.slots_held, (int64_t)worker_slots_view(worker).held);
    bb_metric_set(worker->count.spare_slots, (int64_t)worker_slots_spare(worker));
    bb_metric_set(worker->count.queue, (int64_t)worker->call_count);
}

/* Something failed and is to be tried again soon. */
static bool has_retry(const struct worker *worker)
{
    return (worker->pending_count > 0 && !worker_reads_are_held(worker)) || !worker->is_following ||
           (!worker->is_marking && worker->mark_at_us > 0 &&
            !bb_list_is_empty(&worker->calls[CALL_WAIT_MARK])) ||
           (!worker->is_submitting && !bb_list_is_empty(&worker->calls[CALL_TO_SUBMIT]));
}

/* Once after each batch of events: hand out calls, then send all that has gathered. */
static void on_batch(void *arg)
{
    struct worker *worker = arg;
    if (worker->is_stopped) {
        return;
    }
    worker_slots_hear(worker);
    worker_want_catalog(worker);
    worker_slots_even_out(worker);
    /* Neither those in lanes nor the others take all slots for ever. */
    if (worker->turns++ % 2 == 0) {
        worker_chains_turn(worker);
        worker_dispatch(worker);
    } else {
        worker_dispatch(worker);
        worker_chains_turn(worker);
    }
    worker_link_turn(worker);
    worker_reads_turn(worker);
    /* A slot need not ring at once for an answer when it has more to do. */
    if (!worker->is_looking && worker_slots_have_waiting(worker)) {
        worker->is_looking = true;
        bb_timer_start(worker->look, LOOK_MS, 0);
    }
    worker_slots_turn(worker);
    check_ready(worker);
    if (has_retry(worker)) {
        bb_timer_start(worker->retry, RETRY_MS, 0);
    }
    if (!worker_slots_may_sleep(worker)) {
        bb_loop_again(worker->loop);
    }
}

static void on_look(void *arg)
{
    struct worker *worker = arg;
    worker->is_looking = false; /* the turn that follows does the work */
}

static void on_retry(void *arg)
{
    (void)arg; /* the turn that follows does the work */
}

static void finish_stop(struct worker *worker, uint64_t now_us)
{
    bool is_idle = worker->call_count == 0 || now_us >= worker->stop_by_us;
    if (is_idle && !worker->are_slots_stopped) {
        worker->are_slots_stopped = true;
        worker_slots_stop(worker);
    }
    if (worker->are_slots_stopped &&
        (worker_slots_gone(worker) || now_us >= worker->stop_by_us + 500000)) {
        worker->is_stopped = true;
        bb_timer_stop(worker->tick);
        bb_timer_stop(worker->retry);
        bb_timer_stop(worker->look);
        bb_service_stopped(worker->service);
    }
}

static void on_tick(void *arg)
{
    struct worker *worker = arg;
    uint64_t now = worker_now(worker);
    worker_chains_watch(worker, now);
    worker_reads_overdue(worker, now);
    worker_calls_overdue(worker, now);
    worker_slots_hear(worker); /* before it looks who takes long */
    worker_slots_watch(worker, now);
    worker_backfill_watch(worker, now);
    worker_warm_watch(worker, now);
    worker_forget_watch(worker, now);
    worker_cache_prune(worker->cache, worker_horizon(worker)); /* also when nothing comes */
    answer_pulls(worker, now);
    set_metrics(worker);
    if (worker->is_stopping) {
        finish_stop(worker, now);
    }
}

/* ---- life ---- */

static void make_metrics(struct worker_counters *count)
{
    *count = (struct worker_counters){
        .calls = bb_metric("bb_worker_calls_total", BB_COUNTER, "Calls that were answered."),
        .retries = bb_metric("bb_worker_retries_total", BB_COUNTER, "Runs after the first."),
        .queued = bb_metric("bb_worker_queued_total", BB_COUNTER,
                            "Calls that waited in line before they ran."),
        .chained = bb_metric("bb_worker_chained_total", BB_COUNTER,
                             "Runs on top of the run before, without waiting for its commit."),
        .overloaded = bb_metric("bb_worker_refused_total", BB_COUNTER,
                                "Calls refused because too many were waiting."),
        .cache_hits = bb_metric("bb_worker_cache_hits", BB_GAUGE, "Reads answered by the cache."),
        .cache_misses = bb_metric("bb_worker_cache_misses", BB_GAUGE, "Reads that asked storage."),
        .slot_reads = bb_metric("bb_worker_slot_reads_total", BB_COUNTER,
                                "Reads that slots asked their supervisor for."),
        .slot_recalled = bb_metric("bb_worker_slot_recalled_total", BB_COUNTER,
                                   "Reads that slots answered from what they keep."),
        .slot_hints = bb_metric("bb_worker_slot_hints_total", BB_COUNTER,
                                "Documents that were sent along with calls."),
        .foreseen = bb_metric("bb_worker_read_ahead_total", BB_COUNTER,
                              "Documents that were asked of storage before their call had a slot."),
        .cache_bytes = bb_metric("bb_worker_cache_bytes", BB_GAUGE, "Memory of the cache."),
        .result_hits = bb_metric("bb_worker_result_hits_total", BB_COUNTER,
                                 "Queries that were answered by a result that was kept."),
        .result_misses = bb_metric("bb_worker_result_misses_total", BB_COUNTER,
                                   "Queries that no kept result answered."),
        .result_count = bb_metric("bb_worker_results", BB_GAUGE, "Results that are kept."),
        .result_bytes =
            bb_metric("bb_worker_result_bytes", BB_GAUGE, "Memory of the results that are kept."),
        .results_dropped = bb_metric("bb_worker_results_dropped_total", BB_COUNTER,
                                     "Kept results that a write into what they read has ended."),
        .slots_busy = bb_metric("bb_worker_slots_busy", BB_GAUGE, "Slots that run a call."),
        .slots_held = bb_metric("bb_worker_slots_held", BB_GAUGE,
                                "Slots that run a call that takes long, more than 100 ms."),
        .spare_slots = bb_metric("bb_worker_spare_slots", BB_GAUGE,
                                 "Slots beyond --slots, as calls that take long hold those."),
        .slot_deaths =
            bb_metric("bb_worker_slot_deaths_total", BB_COUNTER, "Slots that ended unasked."),
        .slot_forks = bb_metric("bb_worker_slot_forks_total", BB_COUNTER,
                                "Slots that were made as copies of the zygote."),
        .submits = bb_metric("bb_worker_submits_total", BB_COUNTER, "Submit messages."),
        .fetches = bb_metric("bb_worker_fetches_total", BB_COUNTER, "Read messages to storage."),
        .hedges = bb_metric("bb_worker_hedges_total", BB_COUNTER,
                            "Of these, sent to a second node, as the first was slow."),
        .forgotten = bb_metric("bb_worker_outcomes_removed_total", BB_COUNTER,
                               "Outcomes of client keys that were removed, kept long enough."),
        .queue = bb_metric("bb_worker_calls_open", BB_GAUGE, "Calls that are not answered yet."),
        .call_time = bb_histogram("bb_worker_call", "From a call's arrival to its answer."),
        .run_time = bb_histogram("bb_worker_run", "One run in a slot."),
        .row_time = bb_histogram("bb_worker_row", "A row of calls of one lane, all its runs."),
    };
}

static struct worker *worker_new(struct bb_service *service)
{
    struct worker *worker = bb_alloc_zero(1, sizeof(*worker));
    struct bb_conf *conf = bb_service_conf(service);
    worker->service = service;
    worker->loop = bb_service_loop(service);
    worker->ctx = bb_loop_ctx(worker->loop);
    worker->name = bb_conf_text(conf, "listen");
    bb_random(worker->ctx, &worker->session, sizeof(worker->session));
    worker->heard_us = worker_now(worker);
    worker->show_errors = bb_conf_bool(conf, "show-errors");
    worker->heap_mb = (uint32_t)bb_conf_number(conf, "heap-mb");
    worker->queue_max = (size_t)bb_conf_number(conf, "queue-max");
    worker->cache_bytes_max = (size_t)bb_conf_number(conf, "cache-bytes");
    worker->cache = worker_cache_new(worker->cache_bytes_max);
    size_t results_bytes = (size_t)bb_conf_number(conf, "results-bytes");
    worker->results =
        results_bytes == 0 ? NULL : worker_results_new(results_bytes, worker->session);
    worker->catalogs = worker_catalogs_new();
    worker->lanes = worker_lanes_new();
    worker->logs = worker_logs_new(LOG_ENTRIES, LOG_BYTES);
    worker->scratch = bb_arena_new(0);
    worker->backfill = worker_backfill_new();
    worker->warm = worker_warm_new();
    worker->forget = worker_forget_new(worker_now(worker));
    worker->outcomes_ms = bb_conf_number(conf, "outcome-seconds") * 1000;
    worker->wants_catalog = true;
    bb_list_init(&worker->chains);
    for (size_t i = 0; i < CALL_STATE_COUNT; i++) {
        bb_list_init(&worker->calls[i]);
    }
    bb_list_init(&worker->marking);
    bb_list_init(&worker->readings);
    bb_list_init(&worker->fetches);
    bb_list_init(&worker->call_pool);
    bb_list_init(&worker->pulls);
    make_metrics(&worker->count);
    return worker;
}

static int worker_start(struct bb_ctx *ctx, struct bb_service *service, void **state)
{
    struct worker *worker = worker_new(service);
    *state = worker;
    int rc = worker_slots_open(worker); /* first: they start while the rest is built */
    if (rc == BB_OK) {
        rc = worker_link_open(worker);
    }
    if (rc == BB_OK) {
        struct bb_server_options options = { .url = worker->name,
                                             .context_count = worker->queue_max + PULL_CONTEXTS,
                                             .handle = on_request,
                                             .arg = worker };
        rc = bb_server_open(worker->ctx, worker->loop, &options, &worker->server);
    }
    if (rc != BB_OK) {
        return ctx == worker->ctx ? rc : bb_fail(ctx, rc, "%s", worker->ctx->error);
    }
    worker->tick = bb_timer_new(worker->loop, on_tick, worker);
    worker->retry = bb_timer_new(worker->loop, on_retry, worker);
    worker->look = bb_timer_new(worker->loop, on_look, worker);
    bb_timer_start(worker->tick, TICK_MS, TICK_MS);
    bb_timer_start(worker->retry, 0, 0);
    bb_loop_on_batch(worker->loop, on_batch, worker);
    return BB_OK;
}

static void worker_stop(struct bb_service *service, void *state)
{
    struct worker *worker = state;
    (void)service;
    worker->is_stopping = true;
    worker->stop_by_us = worker_now(worker) + STOP_MAX_US;
    bb_timer_start(worker->tick, 0, TICK_MS / 5);
}

static void free_calls(struct worker *worker)
{
    for (enum call_state state = CALL_ARRIVED; state < CALL_STATE_COUNT; state++) {
        while (!bb_list_is_empty(&worker->calls[state])) {
            struct call *call = bb_container(worker->calls[state].next, struct call, link);
            call->is_in_flight = false;
            call->slot = NULL;
            call->reading = NULL;
            worker_call_release(worker, call);
        }
    }
    while (!bb_list_is_empty(&worker->call_pool)) {
        struct call *call = bb_container(worker->call_pool.next, struct call, link);
        bb_list_remove(&call->link);
        bb_arena_free(call->arena);
        bb_free(call);
    }
}

static void worker_close(struct bb_service *service, void *state)
{
    struct worker *worker = state;
    (void)service;
    if (worker == NULL) {
        return;
    }
    worker->is_stopped = true;
    bb_server_close(worker->server);
    worker_link_close(worker);
    worker_slots_close(worker);
    bb_timer_free(worker->tick);
    bb_timer_free(worker->retry);
    bb_timer_free(worker->look);
    free_calls(worker);
    worker_backfill_free(worker->backfill);
    worker_forget_free(worker->forget);
    worker_warm_free(worker->warm);
    worker_cache_free(worker->cache);
    worker_results_free(worker->results);
    worker_catalogs_free(worker->catalogs);
    worker_lanes_free(worker->lanes);
    worker_logs_free(worker->logs);
    bb_arena_free(worker->scratch);
    bb_free(worker->pending);
    bb_free(worker);
}

const struct bb_service_def bb_worker_service = {
    .name = "worker",
    .summary = "runs queries and mutations in slots, each a process with one V8",
    .options = worker_options,
    .start = worker_start,
    .stop = worker_stop,
    .close = worker_close,
};
