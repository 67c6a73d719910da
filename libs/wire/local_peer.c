/* The asker's side of an address of this process. */
#include "local.h"

#define SEND_MS_MAX 1500 /* a request that finds nobody listening within this time has no peer */
#define LOOK_MS     20   /* how often those are tried; the clock's precision, too */
#define POOL_MAX    256

struct wire_local_peer {
    char *url;
    struct bb_loop *loop;
    struct wire_door *door;
    struct wire_desk *desk;
    struct wire_host *host; /* where requests go; NULL: nobody was there */
    struct bb_timer *timer;
    uint64_t look_at_us;          /* when the timer fires; UINT64_MAX: it does not */
    struct bb_list asked, unsent; /* errands: the host has them; nobody was there yet */
    struct bb_list pool;
    size_t pool_count, outstanding, outstanding_max;
    bool is_closing;
};

/* ---- errands ---- */

static struct wire_errand *errand_take(struct wire_local_peer *peer)
{
    struct wire_errand *errand;

    if (bb_list_is_empty(&peer->pool)) {
        errand = bb_alloc_zero(1, sizeof *errand);
        bb_list_init(&errand->link);
        bb_list_init(&errand->waits);
        bb_buf_init(&errand->request);
        bb_buf_init(&errand->reply);
        errand->desk = peer->desk;
        wire_desk_retain(peer->desk);
        return errand;
    }
    errand = bb_container(peer->pool.next, struct wire_errand, link);
    bb_list_remove(&errand->link);
    peer->pool_count--;
    return errand;
}

static void errand_give_back(struct wire_local_peer *peer, struct wire_errand *errand)
{
    errand->is_abandoned = false;
    if (peer->pool_count == POOL_MAX) {
        wire_errand_free(errand);
    } else {
        bb_list_push_front(&peer->pool, &errand->link);
        peer->pool_count++;
    }
}

/* The errand stays with the host when `is_kept`; it comes back later and is then dropped. */
static void finish(struct wire_local_peer *peer, struct wire_errand *errand, int status,
                   bool is_kept)
{
    bb_peer_reply_fn *done = errand->done;
    void *arg = errand->arg;

    bb_list_remove(&errand->link);
    peer->outstanding--;
    errand->is_abandoned = is_kept;
    if (is_kept) {
        done(arg, status, BB_SLICE_EMPTY);
        return;
    }
    done(arg, status, status == BB_OK ? bb_buf_slice(&errand->reply) : BB_SLICE_EMPTY);
    errand_give_back(peer, errand);
}

static void take(void *arg, struct wire_item *oldest)
{
    struct wire_local_peer *peer = arg;

    while (oldest != NULL) {
        struct wire_errand *errand = bb_container(oldest, struct wire_errand, item);
        oldest = oldest->next;
        if (errand->is_abandoned) {
            errand_give_back(peer, errand);
        } else {
            finish(peer, errand, errand->status, false);
        }
    }
}

/* ---- sending ---- */

/* False: nobody listens there now. */
static bool send_now(struct wire_local_peer *peer, struct wire_errand *errand)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        if (peer->host == NULL)
            peer->host = wire_host_find(peer->url);
        if (peer->host == NULL)
            return false;
        bb_list_remove(&errand->link);
        bb_list_push_back(&peer->asked, &errand->link);
        if (wire_host_send(peer->host, errand))
            return true;
        wire_host_release(peer->host); /* it has closed: another may listen there */
        peer->host = NULL;
    }
    return false;
}

/* Fires at `at_us` or a little later, never more often than the clock looks. */
static void look_at(struct wire_local_peer *peer, uint64_t at_us)
{
    uint64_t now_us = bb_loop_now_us(peer->loop);

    if (at_us >= peer->look_at_us)
        return;
    uint64_t wait_ms = at_us > now_us ? (at_us - now_us) / 1000 + 1 : 1;
    peer->look_at_us = at_us;
    bb_timer_start(peer->timer, wait_ms < LOOK_MS ? LOOK_MS : wait_ms, 0);
}

static uint64_t expire(struct wire_local_peer *peer, uint64_t now_us)
{
    uint64_t next_us = UINT64_MAX;
    struct bb_list due;

    bb_list_init(&due);
    bb_list_each_safe(item, &peer->asked) {
        struct wire_errand *errand = bb_container(item, struct wire_errand, link);
        if (now_us >= errand->deadline_us) {
            bb_list_remove(item);
            bb_list_push_back(&due, item);
        } else if (errand->deadline_us < next_us) {
            next_us = errand->deadline_us;
        }
    }
    while (!bb_list_is_empty(&due))
        finish(peer, bb_container(due.next, struct wire_errand, link), BB_TIMEOUT, true);
    return next_us;
}

static void try_unsent(struct wire_local_peer *peer, uint64_t now_us)
{
    struct bb_list tried, due;

    bb_list_init(&tried);
    bb_list_init(&due);
    while (!bb_list_is_empty(&peer->unsent)) {
        struct wire_errand *errand = bb_container(peer->unsent.next, struct wire_errand, link);
        if (send_now(peer, errand))
            continue;
        bb_list_remove(&errand->link);
        bb_list_push_back(now_us >= errand->send_by_us ? &due : &tried, &errand->link);
    }
    while (!bb_list_is_empty(&tried)) {
        struct bb_list *first = tried.next;
        bb_list_remove(first);
        bb_list_push_back(&peer->unsent, first);
    }
    while (!bb_list_is_empty(&due))
        finish(peer, bb_container(due.next, struct wire_errand, link), BB_PEER_GONE, false);
}

static void on_timer(void *arg)
{
    struct wire_local_peer *peer = arg;
    uint64_t now_us = bb_loop_now_us(peer->loop);

    peer->look_at_us = UINT64_MAX;
    try_unsent(peer, now_us); /* first: what it sends has a deadline, too */
    uint64_t next_us = expire(peer, now_us);
    if (!bb_list_is_empty(&peer->unsent))
        next_us = now_us + LOOK_MS * 1000u;
    if (next_us != UINT64_MAX)
        look_at(peer, next_us);
}

int wire_local_peer_request(struct bb_ctx *ctx, struct wire_local_peer *peer,
                            const ProtobufCMessage *message, uint32_t timeout_ms,
                            bb_peer_reply_fn *done, void *arg)
{
    if (peer->is_closing)
        return bb_fail(ctx, BB_CANCELLED, "the connection to %s is closing", peer->url);
    if (peer->outstanding == peer->outstanding_max) {
        return bb_fail(ctx, BB_OVERLOADED, "%zu requests to %s are under way, no more fit",
                       peer->outstanding, peer->url);
    }
    struct wire_errand *errand = errand_take(peer);
    int rc = wire_pack_into(ctx, message, &errand->request);
    if (rc != BB_OK) {
        errand_give_back(peer, errand);
        return rc;
    }
    uint64_t now_us = bb_loop_now_us(peer->loop);
    errand->done = done;
    errand->arg = arg;
    errand->deadline_us = now_us + (uint64_t)timeout_ms * 1000;
    errand->send_by_us = now_us + (timeout_ms < SEND_MS_MAX ? timeout_ms : SEND_MS_MAX) * 1000ull;
    peer->outstanding++;
    if (send_now(peer, errand)) {
        look_at(peer, errand->deadline_us);
    } else {
        bb_list_remove(&errand->link);
        bb_list_push_back(&peer->unsent, &errand->link);
        look_at(peer, now_us);
    }
    return BB_OK;
}

/* ---- open and close ---- */

struct wire_local_peer *wire_local_peer_open(struct bb_loop *loop,
                                             const struct bb_peer_options *options)
{
    struct wire_local_peer *peer = bb_alloc_zero(1, sizeof *peer);

    peer->url = bb_strdup(options->url);
    peer->loop = loop;
    peer->outstanding_max =
        options->outstanding_max == 0 ? WIRE_OUTSTANDING_DEFAULT : options->outstanding_max;
    peer->door = wire_door_new(loop, take, peer);
    peer->desk = wire_desk_new(peer->door);
    peer->look_at_us = UINT64_MAX;
    peer->timer = bb_timer_new(loop, on_timer, peer);
    bb_list_init(&peer->asked);
    bb_list_init(&peer->unsent);
    bb_list_init(&peer->pool);
    return peer;
}

/* What to tell whom of errands that are the hosts' from now on. */
struct closing {
    struct wire_local_peer *peer;
    struct wire_item *answered; /* in the door; ours */
    struct waiting {
        bb_peer_reply_fn *done;
        void *arg;
    } * waiting;
    size_t waiting_count;
};

/* Under the desk's lock: no host frees an errand meanwhile. */
static void detach(void *arg)
{
    struct closing *closing = arg;
    struct wire_local_peer *peer = closing->peer;

    closing->answered = wire_door_close(peer->door);
    for (struct wire_item *item = closing->answered; item != NULL; item = item->next)
        bb_list_remove(&bb_container(item, struct wire_errand, item)->link);
    while (!bb_list_is_empty(&peer->asked)) {
        struct wire_errand *errand = bb_container(peer->asked.next, struct wire_errand, link);
        bb_list_remove(&errand->link);
        closing->waiting[closing->waiting_count++] =
            (struct waiting){ .done = errand->done, .arg = errand->arg };
    }
}

void wire_local_peer_close(struct wire_local_peer *peer)
{
    struct closing closing = { .peer = peer };

    bb_assert(!peer->is_closing);
    peer->is_closing = true;
    closing.waiting = bb_alloc_zero(peer->outstanding + 1, sizeof *closing.waiting);
    wire_desk_retain(peer->desk); /* until the pool is empty */
    wire_desk_close(peer->desk, detach, &closing);
    /* What has an answer keeps it; the hosts free the rest. */
    take(peer, closing.answered);
    while (!bb_list_is_empty(&peer->unsent))
        finish(peer, bb_container(peer->unsent.next, struct wire_errand, link), BB_CANCELLED,
               false);
    for (size_t i = 0; i < closing.waiting_count; i++) {
        peer->outstanding--;
        closing.waiting[i].done(closing.waiting[i].arg, BB_CANCELLED, BB_SLICE_EMPTY);
    }
    bb_free(closing.waiting);
    while (!bb_list_is_empty(&peer->pool)) {
        struct wire_errand *errand = bb_container(peer->pool.next, struct wire_errand, link);
        bb_list_remove(&errand->link);
        wire_errand_free(errand);
    }
    wire_desk_release(peer->desk);
    wire_host_release(peer->host);
    bb_timer_free(peer->timer);
    bb_free(peer->url);
    bb_free(peer);
}

size_t wire_local_peer_outstanding(const struct wire_local_peer *peer)
{
    return peer->outstanding;
}
