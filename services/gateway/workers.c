#include "workers.h"

#include <stdio.h>

#include "bb/wire_validate.h"

#define OUTSTANDING_MAX 2048u
#define TICK_MS         20u
#define TICK_IDLE_MS    500u
#define PROBE_DOWN_US   40000u
#define PROBE_UP_US     1000000u
#define PROBE_MS        1500u
#define CUT_PROBES      2u
#define PREFER_SLACK    8u /* how much busier the preferred worker of a query may be */

/* ---- which worker ---- */

static uint64_t query_score(const struct worker *worker, const struct call *call, uint64_t hash)
{
    uint8_t both[16];

    (void)call;
    bb_put_le64(both, worker->hash);
    bb_put_le64(both + 8, hash);
    return bb_hash64(bb_slice(both, sizeof(both)), 0);
}

static bool is_whole(const struct worker *worker)
{
    return worker->is_up && !worker->info.is_cut;
}

static bool has_whole(const struct workers *workers)
{
    for (size_t i = 0; i < workers->count; i++) {
        if (is_whole(&workers->items[i]))
            return true;
    }
    return false;
}

/* `whole`: only those that hear a sequencer. */
static struct worker *least_busy(struct workers *workers, const struct worker *except, bool whole)
{
    struct worker *best = NULL;

    for (size_t i = 0; i < workers->count; i++) {
        struct worker *worker = &workers->items[i];

        if (!worker->is_up || worker == except || (whole && !is_whole(worker)))
            continue;
        if (best == NULL || bb_peer_outstanding(worker->peer) < bb_peer_outstanding(best->peer))
            best = worker;
    }
    return best;
}

/*
 * The least busy worker; for queries the one that rendezvous hashing prefers, whose cache has what
 * they read, unless it is clearly busier. A worker that just failed the call is avoided if there is
 * another; one that no sequencer answers gets calls only if that is so for all.
 */
struct worker *gateway_workers_choose(struct workers *workers, const struct call *call)
{
    bool whole = has_whole(workers);
    struct worker *least = least_busy(workers, call->worker, whole);
    struct worker *preferred = NULL;
    uint64_t best = 0;
    uint64_t hash;

    if (least == NULL)
        least = least_busy(workers, NULL, whole);
    if (least == NULL || workers->count == 1 || call->kind != BB__PROTO__FUNCTION_KIND__KIND_QUERY)
        return least;
    hash = bb_hash64(call->args, bb_hash64(bb_slice_str(call->path), 0));
    for (size_t i = 0; i < workers->count; i++) {
        struct worker *worker = &workers->items[i];
        uint64_t score = query_score(worker, call, hash);

        if (worker->is_up && worker != call->worker && (!whole || is_whole(worker)) &&
            (preferred == NULL || score > best)) {
            preferred = worker;
            best = score;
        }
    }
    if (preferred != NULL &&
        bb_peer_outstanding(preferred->peer) <= bb_peer_outstanding(least->peer) + PREFER_SLACK)
        return preferred;
    return least;
}

/* ---- are they there? ---- */

void gateway_workers_tick_at(struct workers *workers, bool is_fast)
{
    if (workers->is_tick_fast == is_fast)
        return;
    workers->is_tick_fast = is_fast;
    bb_timer_start(workers->tick, is_fast ? 1 : TICK_IDLE_MS, is_fast ? TICK_MS : TICK_IDLE_MS);
}

static void on_probe_reply(void *arg, int status, struct bb_slice bytes)
{
    struct worker *worker = arg;
    struct workers *workers = worker->workers;
    struct bb_ctx ctx = *workers->gateway->ctx;
    Bb__Proto__WorkerReply *reply = NULL;
    bool was_up = worker->is_up;
    bool was_cut = worker->info.is_cut;

    worker->is_probing = false;
    if (workers->is_closing)
        return;
    if (status == BB_OK) {
        status =
            bb_unpack(&ctx, workers->arena, &bb__proto__worker_reply__descriptor, bytes, &reply);
    }
    if (status == BB_OK)
        status = bb_worker_reply_validate(&ctx, reply);
    worker->is_up = status == BB_OK && reply->status == BB_OK &&
                    reply->op_case == BB__PROTO__WORKER_REPLY__OP_INFO;
    if (worker->is_up) {
        worker->info = *reply->info;
        (void)snprintf(worker->isolation, sizeof(worker->isolation), "%s", reply->info->isolation);
        worker->info.isolation = worker->isolation;
    }
    bb_arena_reset(workers->arena);
    if (worker->is_up != was_up) {
        bb_info(workers->gateway->ctx, worker->is_up ? "gateway.worker_up" : "gateway.worker_down",
                "url=%s", bb_peer_url(worker->peer));
    }
    if (worker->is_up && !was_up)
        gateway_calls_kick(workers, true);
    if (worker->is_up && worker->info.is_cut != was_cut) {
        bb_info(workers->gateway->ctx,
                worker->info.is_cut ? "gateway.worker_cut" : "gateway.worker_whole", "url=%s",
                bb_peer_url(worker->peer));
    }
    /*
     * When the sequencer itself is gone, the first worker to say so looks as if it alone were cut,
     * until the others are asked again, and the last to hear the next one as well.
     */
    worker->cut_count =
        worker->is_up && worker->info.is_cut && has_whole(workers) ? worker->cut_count + 1 : 0;
    bool is_useless =
        status == BB_TIMEOUT ? gateway_workers_any_up(workers) : worker->cut_count >= CUT_PROBES;
    if (is_useless)
        gateway_calls_move(worker);
}

static void probe(struct worker *worker, uint64_t now)
{
    Bb__Proto__WorkerRequest request = BB__PROTO__WORKER_REQUEST__INIT;
    Bb__Proto__WorkerInfo info = BB__PROTO__WORKER_INFO__INIT;
    struct bb_ctx ctx = *worker->workers->gateway->ctx;

    if (worker->is_probing ||
        now < worker->probed_us + (worker->is_up ? PROBE_UP_US : PROBE_DOWN_US))
        return;
    request.op_case = BB__PROTO__WORKER_REQUEST__OP_INFO;
    request.info = &info;
    worker->probed_us = now;
    worker->is_probing = bb_peer_request(&ctx, worker->peer, &request.base, PROBE_MS,
                                         on_probe_reply, worker) == BB_OK;
}

static void on_tick(void *arg)
{
    struct workers *workers = arg;
    uint64_t now = bb_loop_now_us(workers->gateway->loop);
    bool is_any_down = false;

    for (size_t i = 0; i < workers->count; i++) {
        probe(&workers->items[i], now);
        is_any_down |= !workers->items[i].is_up;
    }
    gateway_calls_kick(workers, false);
    gateway_calls_cancel(workers);
    gateway_workers_tick_at(workers, is_any_down || !bb_list_is_empty(&workers->waiting) ||
                                         !bb_list_is_empty(&workers->leaving));
}

bool gateway_workers_any_up(const struct workers *workers)
{
    for (size_t i = 0; i < workers->count; i++) {
        if (workers->items[i].is_up)
            return true;
    }
    return false;
}

size_t gateway_workers_calls(const struct workers *workers)
{
    return workers->calls;
}

size_t gateway_workers_count(const struct workers *workers)
{
    return workers->count;
}

struct bb_peer *gateway_workers_peer(const struct workers *workers, size_t index)
{
    return workers->items[index].peer;
}

void gateway_workers_view(const struct workers *workers, size_t index, struct worker_view *view)
{
    const struct worker *worker = &workers->items[index];

    *view = (struct worker_view){ .url = bb_peer_url(worker->peer),
                                  .is_up = worker->is_up,
                                  .outstanding = bb_peer_outstanding(worker->peer),
                                  .info = worker->info,
                                  .isolation = worker->isolation };
}

/* ---- open and close ---- */

static int add_worker(struct bb_ctx *ctx, struct workers *workers, struct bb_slice url)
{
    struct worker *worker = &workers->items[workers->count];
    char text[512];
    int rc;

    if (workers->count == WORKERS_MAX || url.size >= sizeof(text)) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "option workers: at most %u urls of at most 511 characters", WORKERS_MAX);
    }
    (void)snprintf(text, sizeof(text), "%.*s", BB_SLICE_ARG(url));
    rc = bb_peer_open(ctx, workers->gateway->loop,
                      &(struct bb_peer_options){ .url = text, .outstanding_max = OUTSTANDING_MAX },
                      &worker->peer);
    if (rc != BB_OK)
        return rc;
    worker->workers = workers;
    bb_list_init(&worker->errands);
    worker->hash = bb_hash64(url, 0);
    worker->isolation[0] = '\0';
    bb__proto__worker_info_reply__init(&worker->info);
    worker->info.isolation = worker->isolation;
    workers->count++;
    return BB_OK;
}

int gateway_workers_open(struct bb_ctx *ctx, struct gateway *gateway, const char *urls,
                         size_t calls_max)
{
    struct workers *workers = bb_alloc_zero(1, sizeof(*workers));
    struct bb_slice rest = bb_slice_str(urls);
    struct bb_slice url;

    gateway->workers = workers;
    workers->gateway = gateway;
    workers->calls_max = calls_max;
    workers->arena = bb_arena_new(0);
    bb_list_init(&workers->waiting);
    bb_list_init(&workers->leaving);
    while (bb_slice_next_item(&rest, &url)) {
        int rc = add_worker(ctx, workers, url);

        if (rc != BB_OK)
            return rc;
    }
    if (workers->count == 0)
        return bb_fail(ctx, BB_BAD_REQUEST, "option workers: names no worker");
    workers->tick = bb_timer_new(gateway->loop, on_tick, workers);
    gateway_workers_tick_at(workers, true);
    return BB_OK;
}

void gateway_workers_close(struct workers *workers)
{
    if (workers == NULL)
        return;
    workers->is_closing = true;
    for (size_t i = 0; i < workers->count; i++)
        bb_peer_close(workers->items[i].peer);
    gateway_calls_give_up(workers);
    bb_timer_free(workers->tick);
    bb_arena_free(workers->arena);
    bb_free(workers);
}
