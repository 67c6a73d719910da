#include "workers.h"

#define TICK_MS      20u
#define TICK_IDLE_MS 500u
#define PREFER_SLACK 8u /* how much busier the preferred worker of a query may be */

/* ---- which worker ---- */

static uint64_t query_score(const struct worker *worker, uint64_t hash)
{
    uint8_t both[16];

    bb_put_le64(both, worker->hash);
    bb_put_le64(both + 8, hash);
    return bb_hash64(bb_slice(both, sizeof(both)), 0);
}

/*
 * The least busy worker; for queries the one that rendezvous hashing prefers, whose cache has what
 * they read, unless it is clearly busier. A worker that just failed the call is avoided if there is
 * another; one that no sequencer answers gets calls only if that is so for all.
 */
struct worker *gateway_workers_choose(struct workers *workers, const struct call *call)
{
    size_t except = call->worker == NULL ? BB_WORKERS_NONE : call->worker->index;
    size_t index = bb_workers_least_busy(workers->known, except);
    struct worker *preferred = NULL;
    uint64_t best = 0;
    uint64_t hash;

    if (index == BB_WORKERS_NONE)
        return NULL;
    struct worker *least = &workers->items[index];
    if (workers->count == 1 || call->kind != BB__PROTO__FUNCTION_KIND__KIND_QUERY)
        return least;
    hash = bb_hash64(call->args, bb_hash64(bb_slice_str(call->path), 0));
    for (size_t i = 0; i < workers->count; i++) {
        struct worker *worker = &workers->items[i];
        uint64_t score = query_score(worker, hash);

        if (worker != call->worker && bb_workers_may_call(workers->known, i) &&
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

/* ---- calls that wait ---- */

void gateway_workers_tick_at(struct workers *workers, bool is_fast)
{
    if (workers->is_tick_fast == is_fast)
        return;
    workers->is_tick_fast = is_fast;
    bb_timer_start(workers->tick, is_fast ? 1 : TICK_IDLE_MS, is_fast ? TICK_MS : TICK_IDLE_MS);
}

static void on_tick(void *arg)
{
    struct workers *workers = arg;

    gateway_calls_kick(workers, false);
    gateway_calls_cancel(workers);
    gateway_workers_tick_at(workers, !bb_list_is_empty(&workers->waiting) ||
                                         !bb_list_is_empty(&workers->leaving));
}

static void on_up(void *arg, size_t worker)
{
    (void)worker;
    gateway_calls_kick(arg, true);
}

static void on_useless(void *arg, size_t worker)
{
    struct workers *workers = arg;

    gateway_calls_move(&workers->items[worker]);
}

/* ---- what others ask ---- */

bool gateway_workers_any_up(const struct workers *workers)
{
    return bb_workers_is_any_up(workers->known);
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
    const Bb__Proto__WorkerInfoReply *info = bb_workers_info(workers->known, index);

    *view = (struct worker_view){ .url = bb_peer_url(worker->peer),
                                  .is_up = bb_workers_is_up(workers->known, index),
                                  .outstanding = bb_peer_outstanding(worker->peer),
                                  .info = *info,
                                  .isolation = info->isolation };
}

/* ---- open and close ---- */

int gateway_workers_open(struct bb_ctx *ctx, struct gateway *gateway, const char *urls,
                         size_t calls_max)
{
    struct workers *workers = bb_alloc_zero(1, sizeof(*workers));
    struct bb_workers_options options = {
        .urls = urls, .up = on_up, .useless = on_useless, .arg = workers
    };

    gateway->workers = workers;
    workers->gateway = gateway;
    workers->calls_max = calls_max;
    workers->arena = bb_arena_new(0);
    bb_list_init(&workers->waiting);
    bb_list_init(&workers->leaving);
    int rc = bb_workers_open(ctx, gateway->loop, &options, &workers->known);
    if (rc != BB_OK)
        return rc;
    workers->count = bb_workers_count(workers->known);
    for (size_t i = 0; i < workers->count; i++) {
        struct worker *worker = &workers->items[i];

        *worker = (struct worker){ .workers = workers,
                                   .index = i,
                                   .peer = bb_workers_peer(workers->known, i) };
        worker->hash = bb_hash64(bb_slice_str(bb_peer_url(worker->peer)), 0);
        bb_list_init(&worker->errands);
    }
    workers->tick = bb_timer_new(gateway->loop, on_tick, workers);
    gateway_workers_tick_at(workers, true);
    return BB_OK;
}

void gateway_workers_close(struct workers *workers)
{
    if (workers == NULL)
        return;
    workers->is_closing = true;
    bb_workers_close(workers->known);
    gateway_calls_give_up(workers);
    bb_timer_free(workers->tick);
    bb_arena_free(workers->arena);
    bb_free(workers);
}
