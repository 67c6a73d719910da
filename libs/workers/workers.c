/* Connections to the workers, and the question how they are. */
#include <stdio.h>

#include "bb/obs.h"
#include "bb/wire_validate.h"

#include "choice.h"

#define OUTSTANDING_MAX 2048u
#define TICK_MS         20u
#define TICK_IDLE_MS    500u
#define PROBE_DOWN_US   40000u
#define PROBE_UP_US     1000000u
#define PROBE_MS        1500u
#define URL_BYTES       512u

struct worker {
    struct bb_workers *owner;
    struct bb_peer *peer;
    uint64_t probed_us;
    bool is_probing;
    Bb__Proto__WorkerInfoReply info;
    char isolation[128];
};
struct bb_workers {
    struct bb_loop *loop;
    struct bb_ctx *ctx; /* the loop's */
    struct bb_workers_options options;
    struct worker list[BB_WORKERS_MAX];
    struct workers_choice choice;
    struct bb_timer *tick;
    bool is_tick_fast;
    struct bb_arena *arena; /* replies are unpacked here */
    bool is_closing;
};

static void tick_at(struct bb_workers *workers, bool is_fast)
{
    if (workers->is_tick_fast == is_fast)
        return;
    workers->is_tick_fast = is_fast;
    bb_timer_start(workers->tick, is_fast ? 1 : TICK_IDLE_MS, is_fast ? TICK_MS : TICK_IDLE_MS);
}

/* ---- how they are ---- */

/* What it says of itself is kept; the text in the arena is not. */
static void keep(struct worker *worker, const Bb__Proto__WorkerInfoReply *info)
{
    worker->info = *info;
    (void)snprintf(worker->isolation, sizeof worker->isolation, "%s", info->isolation);
    worker->info.isolation = worker->isolation;
}

static void tell(struct worker *worker, const struct workers_row *before)
{
    const struct bb_workers *workers = worker->owner;
    const struct workers_row *row = &workers->choice.rows[worker - workers->list];

    if (row->is_up != before->is_up)
        bb_info(workers->ctx, row->is_up ? "worker.up" : "worker.down", "url=%s",
                bb_peer_url(worker->peer));
    if (row->is_cut != before->is_cut)
        bb_info(workers->ctx, row->is_cut ? "worker.cut" : "worker.whole", "url=%s",
                bb_peer_url(worker->peer));
}

static void hear(struct worker *worker, enum workers_heard heard)
{
    struct bb_workers *workers = worker->owner;
    const struct bb_workers_options *options = &workers->options;
    size_t index = (size_t)(worker - workers->list);
    struct workers_row *row = &workers->choice.rows[index];
    struct workers_row before = *row;

    bool is_useless = workers_choice_hear(&workers->choice, index, heard);
    tell(worker, &before);
    if (!row->is_up)
        tick_at(workers, true);
    if (row->is_up && !before.is_up && options->up != NULL)
        options->up(options->arg, index);
    if (is_useless && options->useless != NULL)
        options->useless(options->arg, index);
}

static void on_info(void *arg, int status, struct bb_slice bytes)
{
    struct worker *worker = arg;
    struct bb_workers *workers = worker->owner;
    struct bb_ctx ctx = *workers->ctx;
    Bb__Proto__WorkerReply *reply = NULL;
    enum workers_heard heard = status == BB_TIMEOUT ? WORKERS_HANGS : WORKERS_GONE;

    worker->is_probing = false;
    if (workers->is_closing)
        return;
    if (status == BB_OK) {
        status =
            bb_unpack(&ctx, workers->arena, &bb__proto__worker_reply__descriptor, bytes, &reply);
    }
    if (status == BB_OK)
        status = bb_worker_reply_validate(&ctx, reply);
    if (status == BB_OK && reply->status == BB_OK &&
        reply->op_case == BB__PROTO__WORKER_REPLY__OP_INFO) {
        keep(worker, reply->info);
        heard = worker->info.is_cut ? WORKERS_CUT : WORKERS_WHOLE;
    }
    bb_arena_reset(workers->arena);
    hear(worker, heard);
}

static void probe(struct worker *worker, bool is_up, uint64_t now)
{
    Bb__Proto__WorkerRequest request = BB__PROTO__WORKER_REQUEST__INIT;
    Bb__Proto__WorkerInfo info = BB__PROTO__WORKER_INFO__INIT;
    struct bb_ctx ctx = *worker->owner->ctx;

    if (worker->is_probing || now < worker->probed_us + (is_up ? PROBE_UP_US : PROBE_DOWN_US))
        return;
    request.op_case = BB__PROTO__WORKER_REQUEST__OP_INFO;
    request.info = &info;
    worker->probed_us = now;
    worker->is_probing =
        bb_peer_request(&ctx, worker->peer, &request.base, PROBE_MS, on_info, worker) == BB_OK;
}

static void on_tick(void *arg)
{
    struct bb_workers *workers = arg;
    uint64_t now = bb_loop_now_us(workers->loop);
    bool is_any_down = false;

    for (size_t i = 0; i < workers->choice.count; i++) {
        bool is_up = workers->choice.rows[i].is_up;
        probe(&workers->list[i], is_up, now);
        is_any_down |= !is_up;
    }
    tick_at(workers, is_any_down);
}

/* ---- who gets a call ---- */

size_t bb_workers_count(const struct bb_workers *workers)
{
    return workers->choice.count;
}

struct bb_peer *bb_workers_peer(const struct bb_workers *workers, size_t worker)
{
    bb_assert(worker < workers->choice.count);
    return workers->list[worker].peer;
}

bool bb_workers_is_up(const struct bb_workers *workers, size_t worker)
{
    bb_assert(worker < workers->choice.count);
    return workers->choice.rows[worker].is_up;
}

bool bb_workers_is_any_up(const struct bb_workers *workers)
{
    return workers_choice_any_up(&workers->choice);
}

const Bb__Proto__WorkerInfoReply *bb_workers_info(const struct bb_workers *workers, size_t worker)
{
    bb_assert(worker < workers->choice.count);
    return &workers->list[worker].info;
}

bool bb_workers_may_call(const struct bb_workers *workers, size_t worker)
{
    bb_assert(worker < workers->choice.count);
    return workers_choice_may_call(&workers->choice, worker);
}

size_t bb_workers_least_busy(struct bb_workers *workers, size_t except)
{
    for (size_t i = 0; i < workers->choice.count; i++)
        workers->choice.rows[i].outstanding = bb_peer_outstanding(workers->list[i].peer);
    return workers_choice_least_busy(&workers->choice, except);
}

void bb_workers_gone(struct bb_workers *workers, size_t worker)
{
    bb_assert(worker < workers->choice.count);
    if (workers->is_closing)
        return;
    workers->list[worker].probed_us = 0;
    hear(&workers->list[worker], WORKERS_GONE);
}

/* ---- open and close ---- */

static int add(struct bb_ctx *ctx, struct bb_workers *workers, struct bb_slice url)
{
    struct worker *worker = &workers->list[workers->choice.count];
    char text[URL_BYTES];

    if (workers->choice.count == BB_WORKERS_MAX || url.size >= sizeof text) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "option workers: at most %u urls of at most 511 characters", BB_WORKERS_MAX);
    }
    (void)snprintf(text, sizeof text, "%.*s", BB_SLICE_ARG(url));
    int rc =
        bb_peer_open(ctx, workers->loop,
                     &(struct bb_peer_options){ .url = text, .outstanding_max = OUTSTANDING_MAX },
                     &worker->peer);
    if (rc != BB_OK)
        return rc;
    worker->owner = workers;
    bb__proto__worker_info_reply__init(&worker->info);
    worker->info.isolation = worker->isolation;
    workers->choice.count++;
    return BB_OK;
}

int bb_workers_open(struct bb_ctx *ctx, struct bb_loop *loop,
                    const struct bb_workers_options *options, struct bb_workers **out)
{
    struct bb_workers *workers = bb_alloc_zero(1, sizeof *workers);
    struct bb_slice rest = bb_slice_str(options->urls);
    struct bb_slice url;

    *out = workers;
    workers->loop = loop;
    workers->ctx = bb_loop_ctx(loop);
    workers->options = *options;
    workers->options.urls = NULL; /* the caller's */
    workers->arena = bb_arena_new(0);
    workers->tick = bb_timer_new(loop, on_tick, workers);
    while (bb_slice_next_item(&rest, &url)) {
        int rc = add(ctx, workers, url);

        if (rc != BB_OK)
            return rc;
    }
    if (workers->choice.count == 0)
        return bb_fail(ctx, BB_BAD_REQUEST, "option workers: names no worker");
    tick_at(workers, true);
    return BB_OK;
}

void bb_workers_close(struct bb_workers *workers)
{
    if (workers == NULL)
        return;
    workers->is_closing = true;
    for (size_t i = 0; i < workers->choice.count; i++)
        bb_peer_close(workers->list[i].peer);
    bb_timer_free(workers->tick);
    bb_arena_free(workers->arena);
    bb_free(workers);
}
