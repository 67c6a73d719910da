/*
 * The service: start in the order of dependency, hand requests out, stop when nothing is under way.
 */
#include "bb/storage_service.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bb/kv.h"

#include "options.h"
#include "storage.h"

#define DAY_US 86400000000ull

void storage_die(struct storage *node, const char *what, const char *why, const char *then)
{
    struct bb_ctx ctx = { .env = node->ctx->env, .log = node->ctx->log };

    bb_error(&ctx, "storage.fatal", "dir=%s what=\"%s\" why=\"%s\" exit=%d", node->folder.dir, what,
             why, STORAGE_EXIT_DATA);
    (void)fprintf(
        stderr,
        "bitbend: the data in %s cannot go on: %s failed (%s). The process ends here; %s.\n",
        node->folder.dir, what, why, then);
    _exit(STORAGE_EXIT_DATA);
}

/* On the thread that read, maybe in a signal handler. */
static void on_damage(const char *what)
{
    (void)dprintf(
        STDERR_FILENO,
        "bitbend: %s. The process ends here. bb-ctl inspect says more; restore the folder "
        "from a backup, or replace this node by one with an empty folder and a new number.\n",
        what);
    _exit(STORAGE_EXIT_DATA);
}

/* ---- requests ---- */

static void storage_info(struct storage *node, struct bb_exchange *exchange)
{
    Bb__Proto__InfoReply info;
    Bb__Proto__StorageReply reply = storage_new_reply();
    struct bb_ctx ctx = { .env = node->ctx->env, .arena = node->scratch };
    struct bb_replog_status log;
    struct bb_store_stats stats;
    struct storage_voter_list voters;

    bb__proto__info_reply__init(&info);
    if (!node->has_been_ready) {
        storage_refuse(exchange, BB_NOT_YET, "this storage node is starting");
        return;
    }
    bb_store_stats(&ctx, node->store, &stats);
    bb_arena_reset(node->scratch);
    bb_replog_status(node->replog, &log);
    info.epoch = node->fence.epoch;
    info.last_seq = node->fence.last_seq;
    info.last_tx = node->fence.last_tx.us;
    info.applied_index = node->fence.index;
    info.flushed_tx = stats.flushed_tx.us;
    info.is_leader = node->is_ready;
    info.sequencer = node->fence.address;
    info.earliest = bb_feed_earliest(node->feed).us;
    info.wall_us = bb_wall_us(node->ctx);
    info.data_bytes = stats.data_bytes;
    info.log_bytes = log.log_bytes + bb_feed_bytes(node->feed);
    if (storage_fence_has_cluster(&node->fence)) {
        info.cluster_id = bb_slice_pb(bb_slice(node->fence.cluster, FENCE_CLUSTER));
    }
    info.node = node->folder.node;
    info.term = log.term;
    info.leader = log.leader;
    info.is_voter = log.is_voter;
    info.is_current = log.is_current;
    info.n_voters = storage_list_voters(node, &voters);
    info.voters = voters.pointers;
    reply.op_case = BB__PROTO__STORAGE_REPLY__OP_INFO;
    reply.info = &info;
    storage_reply(exchange, &reply);
}

static void on_request(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);
    struct bb_ctx ctx = { .env = node->ctx->env, .log = node->ctx->log };
    Bb__Proto__StorageRequest *request;
    int rc = bb_unpack(&ctx, bb_exchange_arena(exchange), &bb__proto__storage_request__descriptor,
                       bytes, &request);

    if (rc == BB_OK) {
        rc = storage_validate(&ctx, request);
    }
    if (rc == BB_OK && node->is_stopping &&
        (request->op_case == BB__PROTO__STORAGE_REQUEST__OP_APPEND ||
         request->op_case == BB__PROTO__STORAGE_REQUEST__OP_CLAIM)) {
        storage_refuse_not_leader(node, exchange); /* another one takes it, perhaps already */
        return;
    }
    if (rc == BB_OK && node->is_stopping) {
        rc = bb_fail(&ctx, BB_UNAVAILABLE, "this storage node is stopping");
    }
    if (rc != BB_OK) {
        storage_refuse(exchange, rc, ctx.error);
        return;
    }
    switch (request->op_case) {
    case BB__PROTO__STORAGE_REQUEST__OP_APPEND:
        storage_append(node, exchange, request);
        return;
    case BB__PROTO__STORAGE_REQUEST__OP_CLAIM:
        storage_claim(node, exchange, request);
        return;
    case BB__PROTO__STORAGE_REQUEST__OP_RENEW:
        storage_renew(node, exchange, request);
        return;
    case BB__PROTO__STORAGE_REQUEST__OP_READ:
        storage_read(node, exchange, request);
        return;
    case BB__PROTO__STORAGE_REQUEST__OP_TAIL:
        storage_tail(node, exchange, request);
        return;
    case BB__PROTO__STORAGE_REQUEST__OP_INFO:
        storage_info(node, exchange);
        return;
    case BB__PROTO__STORAGE_REQUEST__OP_CHECKPOINT:
        storage_send(node, exchange, request);
        return;
    case BB__PROTO__STORAGE_REQUEST__OP_COMPACT:
        storage_compact(node, exchange);
        return;
    case BB__PROTO__STORAGE_REQUEST__OP_STATE_HASH:
        storage_state_hash(node, exchange, request);
        return;
    case BB__PROTO__STORAGE_REQUEST__OP_ANNOUNCE:
        storage_announce(node, exchange, request);
        return;
    case BB__PROTO__STORAGE_REQUEST__OP_MEMBERS:
        storage_members(node, exchange, request);
        return;
    case BB__PROTO__STORAGE_REQUEST__OP_COMPARE:
        storage_compare(node, exchange, request);
        return;
    case BB__PROTO__STORAGE_REQUEST__OP__NOT_SET:
    case _BB__PROTO__STORAGE_REQUEST__OP__CASE_IS_INT_SIZE:
        break;
    }
    BB_UNREACHABLE("validated");
}

/* ---- what the parts tell ---- */

static void on_role(void *arg, const struct bb_replog_status *status)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);

    node->term = status->term;
    node->leader = status->leader;
    node->is_current = status->is_current;
    if (status->is_ready && !node->is_ready) {
        /* Whoever held the epoch may have renewed at another leader until just now. */
        node->lease_us = node->is_lease_local ? 0 : bb_loop_now_us(node->loop);
    }
    node->is_ready = status->is_ready && !node->is_stopping;
    if (status->is_current && !node->has_been_ready) {
        bb_info(node->ctx, "storage.replayed", "entries=%" PRIu64 " bytes=%" PRIu64, node->replayed,
                node->replayed_bytes);
        node->has_been_ready = true;
        node->has_news = true;
    }
    if (status->leader == 0) {
        bb_service_not_ready(node->service, "no storage node leads");
    } else if (!node->has_been_ready) {
        bb_service_not_ready(node->service, "what was committed meanwhile is being applied");
    } else if (status->is_ready || !status->is_leader) {
        bb_service_ready(node->service);
    }
}

static const char *then_of(int status)
{
    return status == BB_NO_SPACE ? STORAGE_THEN_SPACE : STORAGE_THEN_CHECK;
}

static void on_store_error(void *arg, int status, const char *error)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);

    storage_die(node, "write of the data", error, then_of(status));
}

static void on_feed_error(void *arg, int status, const char *error)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);

    storage_die(node, "write of the feed", error, then_of(status));
}

static void on_batch(void *arg)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);

    if (node->has_news) {
        node->has_news = false;
        storage_wake(node);
    }
}

static void on_wait_timer(void *arg)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);

    node->wait_timer_us = 0;
    storage_wake(node);
}

static void on_tick(void *arg)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);
    bb_metric_set(node->mapped, (int64_t)bb_store_resident(node->store));
    bb_metric_set(node->runs, (int64_t)bb_store_runs(node->store));
    storage_sync_feed(node, false);
    storage_care_tick(node);
    storage_members_tick(node);
}

/* ---- life ---- */

static void find_metrics(struct storage *node)
{
    node->appends = bb_metric("bb_storage_append_total", BB_COUNTER, "Batches applied");
    node->append_bytes =
        bb_metric("bb_storage_append_bytes_total", BB_COUNTER, "Bytes of the batches applied");
    node->append_refused = bb_metric("bb_storage_append_refused_total", BB_COUNTER,
                                     "Batches and claims refused or repeated");
    node->reads = bb_metric("bb_storage_read_total", BB_COUNTER, "Read requests answered");
    node->reads_here = bb_metric("bb_storage_read_here_total", BB_COUNTER,
                                 "Of them, small ones that needed no reader thread");
    node->read_entries =
        bb_metric("bb_storage_read_entries_total", BB_COUNTER, "Entries delivered by reads");
    node->tails = bb_metric("bb_storage_tail_total", BB_COUNTER, "Feed requests answered");
    node->tails_waiting = bb_metric("bb_storage_tails_waiting", BB_GAUGE, "Feed requests waiting");
    node->passed_on = bb_metric("bb_storage_passed_on_total", BB_COUNTER,
                                "Requests of a sequencer passed on to the leader");
    node->applied_tx = bb_metric("bb_storage_applied_tx", BB_GAUGE, "Newest applied transaction");
    node->runs =
        bb_metric("bb_storage_runs", BB_GAUGE, "Runs that wait to be merged into the data");
    node->mapped = bb_metric("bb_storage_mapped_bytes", BB_GAUGE,
                             "Pages of files that the process had mapped at the last look");
    node->append_time = bb_histogram("bb_storage_append", "From a batch's arrival to its answer");
    node->read_time = bb_histogram("bb_storage_read", "From a read's arrival to its answer");
}

static int read_gather(struct bb_ctx *ctx, const struct bb_conf *conf, enum bb_store_gather *gather)
{
    static const char *const names[] = { [BB_STORE_GATHER_AUTO] = "auto",
                                         [BB_STORE_GATHER_ALWAYS] = "always",
                                         [BB_STORE_GATHER_NEVER] = "never" };
    const char *text = bb_conf_text(conf, "gather");

    for (size_t i = 0; i < BB_COUNT_OF(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *gather = (enum bb_store_gather)i;
            return BB_OK;
        }
    }
    return bb_fail(ctx, BB_BAD_REQUEST, "option gather: %s is none of auto, always, never", text);
}

static int open_data(struct bb_ctx *ctx, struct storage *node, struct bb_conf *conf)
{
    char path[FOLDER_PATH_MAX + 16];
    uint64_t days = bb_conf_number(conf, "retention-days");
    size_t memory = bb_conf_number(conf, "memtable-bytes");
    struct bb_store_options store = { .dir = path,
                                      .reader_count =
                                          node->reader_count + 2, /* the hash; this thread */
                                      .has_quick_reader = true,
                                      .flush_ms = (uint32_t)bb_conf_number(conf, "flush-ms"),
                                      .gather_runs = (uint32_t)bb_conf_number(conf, "gather-runs"),
                                      .flush_bytes = memory / 3,
                                      .memory_max = memory * 2,
                                      .unflushed_max = memory,
                                      .map_bytes = bb_conf_number(conf, "map-bytes"),
                                      .resident_max = bb_conf_number(conf, "map-resident-bytes"),
                                      .copy_rate = bb_conf_number(conf, "copy-rate"),
                                      .copy_pinned_max = bb_conf_number(conf, "copy-pinned-max"),
                                      .is_volatile = node->is_volatile,
                                      .on_error = on_store_error,
                                      .arg = node };
    struct bb_feed_options feed = { .dir = path,
                                    .readers = node->readers,
                                    .retention_us = days * DAY_US,
                                    .retention_bytes = bb_conf_number(conf, "retention-bytes"),
                                    .is_volatile = node->is_volatile,
                                    .on_error = on_feed_error,
                                    .arg = node };
    int rc;

    rc = read_gather(ctx, conf, &store.gather);
    if (rc != BB_OK) {
        return rc;
    }
    storage_folder_path(&node->folder, "store", path, sizeof path);
    bb_kv_at_damage(on_damage);
    rc = bb_store_open(ctx, &store, &node->store);
    if (rc != BB_OK) {
        return rc;
    }
    storage_folder_path(&node->folder, "feed", path, sizeof path);
    return bb_feed_open(ctx, node->loop, &feed, &node->feed);
}

static int open_log(struct bb_ctx *ctx, struct storage *node, const struct bb_conf *conf)
{
    char path[FOLDER_PATH_MAX + 16];
    const struct peers *self = &node->self;
    bool has_peers = self->listen[0] != 0;
    struct bb_replog_options options = {
        .dir = path,
        .id = self->id,
        .address = has_peers ? self->address : NULL,
        .listen = has_peers ? self->listen : NULL,
        .voters = self->voters,
        .voter_count = self->voter_count,
        .is_joining = self->is_joining,
        .hold_bytes_max = bb_conf_number(conf, "log-hold-bytes"),
        .secret = bb_buf_slice(&self->secret),
        .callbacks = { .apply = storage_apply,
                       .durable_index = storage_durable_index,
                       .manifest = storage_manifest,
                       .renew = storage_manifest_renew,
                       .covers = storage_covers,
                       .fetch = storage_fetch_checkpoint,
                       .role = on_role,
                       .identity = storage_identity,
                       .admit = storage_admit,
                       .refused = storage_refused,
                       .address = storage_address,
                       .arg = node },
    };
    int rc = storage_recover(ctx, node, &options.applied, &options.logged);

    if (rc != BB_OK) {
        return rc;
    }
    storage_folder_path(&node->folder, "raft", path, sizeof path);
    return bb_replog_open(ctx, node->loop, &options, &node->replog);
}

/*
 * A log that was lost or cut gives its indexes away once more, and what is acknowledged under them
 * would not reach the data, which believes to have it. With peers the data may be ahead for a
 * moment: it has what a majority has.
 */
static int check_log_end(struct bb_ctx *ctx, const struct storage *node)
{
    struct bb_replog_member members[2];
    bool has_peers = bb_replog_members(node->replog, members, 2) != 1;
    struct bb_replog_status log;

    bb_replog_status(node->replog, &log);
    if (has_peers || log.last_index >= node->store_index) {
        return BB_OK;
    }
    return bb_fail(ctx, BB_CORRUPT,
                   "the log in %s ends at entry %" PRIu64 ", the data at entry %" PRIu64
                   ": restore the folder as a whole from a backup",
                   node->folder.dir, log.last_index, node->store_index);
}

static int start_parts(struct bb_ctx *ctx, struct storage *node, struct bb_conf *conf)
{
    const char *url = bb_conf_text(conf, "listen");
    struct bb_server_options server = {
        .url = url, .context_count = STORAGE_CONTEXTS, .handle = on_request, .arg = node
    };
    int rc = storage_peers_init(ctx, conf, &node->self);

    if (rc == BB_OK) {
        rc = storage_folder_open(ctx, bb_conf_text(conf, "data"), node->is_volatile, &node->folder);
    }
    if (rc == BB_OK) {
        rc = storage_folder_own(ctx, &node->folder, node->self.id);
    }
    if (rc == BB_OK && node->folder.is_new &&
        (node->self.voter_count > 1 || node->self.is_joining)) {
        storage_folder_set_cluster(&node->folder, (const uint8_t[FOLDER_CLUSTER]){ 0 });
    }
    if (rc == BB_OK) {
        rc = open_data(ctx, node, conf);
    }
    if (rc == BB_OK) {
        rc = open_log(ctx, node, conf);
    }
    if (rc == BB_OK) {
        rc = storage_folder_seal(ctx, &node->folder);
    }
    if (rc == BB_OK) {
        node->is_lease_local = strncmp(url, "inproc://", 9) == 0;
        rc = bb_server_open(ctx, node->loop, &server, &node->server);
    }
    if (rc == BB_OK) {
        rc = bb_replog_start(ctx, node->replog);
    }
    if (rc == BB_OK) {
        rc = check_log_end(ctx, node);
    }
    if (rc == BB_OK && node->self.listen[0] != 0) {
        storage_members_changed(node); /* perhaps just before the last process ended */
    }
    return rc;
}

static void storage_close(struct bb_service *service, void *state);

static int storage_start(struct bb_ctx *ctx, struct bb_service *service, void **state)
{
    struct bb_conf *conf = bb_service_conf(service);
    struct storage *node = bb_alloc_zero(1, sizeof *node);
    int rc;

    node->magic = STORAGE_MAGIC;
    node->service = service;
    node->loop = bb_service_loop(service);
    node->ctx = bb_loop_ctx(node->loop);
    node->folder.lock_fd = -1;
    node->is_volatile = bb_conf_bool(conf, "memory");
    node->reader_count = bb_conf_number(conf, "readers");
    bb_list_init(&node->waiters);
    bb_buf_init(&node->encoded);
    find_metrics(node);
    node->scratch = bb_arena_new(0);
    node->reader_arenas = bb_alloc_zero(node->reader_count, sizeof(struct bb_arena *));
    for (size_t i = 0; i < node->reader_count; i++) {
        node->reader_arenas[i] = bb_arena_new((size_t)256 << 20);
    }
    node->readers = bb_pool_new("reader", node->reader_count, STORAGE_READ_QUEUE_MAX);
    node->care = bb_pool_new("care", 2, 16);
    node->compact_percent = bb_conf_number(conf, "compact-percent");
    node->compact_look_us = bb_loop_now_us(node->loop);
    bb_buf_init(&node->sender.piece);
    node->wait_timer = bb_timer_new(node->loop, on_wait_timer, node);
    node->tick = bb_timer_new(node->loop, on_tick, node);
    bb_service_not_ready(service, bb_conf_bool(conf, "join")
                                      ? "no storage node that leads has reached this one: "
                                        "bb-ctl members add tells it where this one is"
                                      : "the log is being read");

    rc = start_parts(ctx, node, conf);
    if (rc != BB_OK) {
        storage_close(service, node);
        return rc;
    }
    bb_loop_on_batch(node->loop, on_batch, node);
    bb_timer_start(node->tick, STORAGE_TICK_MS, STORAGE_TICK_MS);
    *state = node;
    return BB_OK;
}

static void on_log_closed(void *arg)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);

    node->is_log_closed = true;
    bb_service_stopped(node->service);
}

/* Stopping goes on whenever something that was under way has ended. */
void storage_stop_if_idle(struct storage *node)
{
    bool is_clean = node->feed_dirty_us == 0;

    if (!node->is_stopping || node->is_told_stopped || node->is_changing || node->proposals > 0 ||
        node->scans > 0 || node->cares > 0) {
        return;
    }
    if (!is_clean && !bb_feed_is_syncing(node->feed)) {
        storage_sync_feed(node, true);
    }
    if (bb_feed_is_syncing(node->feed)) {
        return;
    }
    node->is_told_stopped = true;
    bb_replog_close(node->replog, on_log_closed, node);
}

static void stop_serving(struct storage *node)
{
    node->is_stopping = true;
    node->is_ready = false;
    bb_timer_stop(node->tick);
    node->is_care_cancelled = true;
    storage_reseed_cancel(node);
    storage_wake(node); /* all that wait are answered */
    storage_stop_if_idle(node);
}

static void on_handed_over(void *arg, int status)
{
    struct storage *node = bb_cast(struct storage, arg, STORAGE_MAGIC);

    (void)status; /* without another leader now there will be one after an election's time */
    stop_serving(node);
}

/* A leader hands over first, so that writes go on at once; it serves until then. */
static void storage_stop(struct bb_service *service, void *state)
{
    struct storage *node = bb_cast(struct storage, state, STORAGE_MAGIC);
    struct bb_ctx ctx = { .env = node->ctx->env };

    (void)service;
    if (!node->is_ready ||
        bb_replog_transfer(&ctx, node->replog, 0, on_handed_over, node) != BB_OK) {
        stop_serving(node);
    }
}

static void storage_close(struct bb_service *service, void *state)
{
    struct storage *node = bb_cast(struct storage, state, STORAGE_MAGIC);
    struct bb_ctx ctx = { .env = node->ctx->env, .log = node->ctx->log };

    (void)service;
    node->is_care_cancelled = true;
    storage_members_close(node);
    bb_server_close(node->server);
    bb_pool_free(node->care);
    bb_loop_drain(node->loop); /* what ended on it just now */
    storage_send_fini(node);
    bb_timer_free(node->wait_timer);
    bb_timer_free(node->tick);
    bb_replog_free(node->replog);
    bb_pool_free(node->readers);
    bb_feed_close(node->feed);
    if (bb_store_close(&ctx, node->store) != BB_OK) {
        bb_error(&ctx, "storage.close", "why=\"%s\"", ctx.error);
    }
    storage_folder_close(&node->folder);
    storage_peers_fini(&node->self);
    for (size_t i = 0; i < node->reader_count; i++) {
        bb_arena_free(node->reader_arenas[i]);
    }
    bb_free(node->reader_arenas);
    bb_arena_free(node->scratch);
    bb_buf_fini(&node->encoded);
    bb_free(node->records);
    bb_free(node);
}

const struct bb_service_def bb_storage_service = {
    .name = "storage",
    .summary = "Keeps the replicated log, the data and the durable transaction feed.",
    .options = storage_options,
    .start = storage_start,
    .stop = storage_stop,
    .close = storage_close,
};
