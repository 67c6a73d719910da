#include "wire.h"

#include <stdatomic.h>

#include <nng/protocol/reqrep0/req.h>

#include "bb/env.h"

#define RECONNECT_MIN_MS 20
#define RECONNECT_MAX_MS 500
/* A request that no connection takes within this time has no peer. One that was there and is gone
 * is not waited for as long as one that may still start: whoever asks goes elsewhere. */
#define SEND_MS_MAX      1500
#define SEND_LOST_MS_MAX 60
/* nng ends a request at its deadline, and now and then, when the other side was killed and came
 * back at once, it forgets to. What is this much later is ended here. */
#define LATE_US  1000000u
#define WATCH_MS 500u

struct call {
    struct wire_item item;
    struct wire_nng_peer *peer;
    nng_ctx ctx;
    nng_aio *aio;
    struct call *next_free;
    bool is_used;     /* owner thread */
    bool is_given_up; /* owner thread: `done` was called, nng may still come back with it */
    bool is_sending;  /* the aio's thread; before and after: the owner's */
    bool is_unsent;   /* no connection took it in time */
    uint64_t deadline_us;
    int status;
    nng_msg *reply;
    bb_peer_reply_fn *done;
    void *arg;
};

struct wire_nng_peer {
    char *url;
    struct bb_loop *loop;
    nng_socket socket;
    nng_dialer dialer;
    uint64_t dialed_us;
    _Atomic int connection_count;
    _Atomic uint64_t lost_us; /* when the last connection ended; 0: there never was one */
    _Atomic bool is_lost; /* a request ended with it, before nng says that the connection is gone */
    struct wire_door *door;
    struct call *calls;
    size_t call_count;
    struct call *free;
    size_t outstanding;
    struct bb_timer *watch; /* runs while requests are under way */
    bool is_watching;
    bool is_closing;
};

static void complete(struct call *call, int status)
{
    call->status = status;
    wire_door_push(call->peer->door, &call->item);
}

/* On a thread of nng: first the send ends, then the receive. */
static void on_aio(void *arg)
{
    struct call *call = arg;
    int rc = nng_aio_result(call->aio);

    if (call->is_sending) {
        call->is_sending = false;
        if (rc != 0) {
            nng_msg_free(nng_aio_get_msg(call->aio)); /* a failed send leaves it with us */
            nng_aio_set_msg(call->aio, NULL);
            call->is_unsent = rc == NNG_ETIMEDOUT;
            complete(call, call->is_unsent ? BB_PEER_GONE : wire_status(rc));
            return;
        }
        uint64_t now_us = bb_loop_now_us(call->peer->loop);
        uint64_t left_ms = call->deadline_us > now_us ? (call->deadline_us - now_us) / 1000 : 0;
        nng_aio_set_timeout(call->aio, left_ms == 0 ? 1 : (nng_duration)left_ms);
        nng_ctx_recv(call->ctx, call->aio);
        return;
    }
    if (rc == 0) {
        call->reply = nng_aio_get_msg(call->aio);
        nng_aio_set_msg(call->aio, NULL);
    }
    complete(call, wire_status(rc));
}

static void give_back(struct wire_nng_peer *peer, struct call *call)
{
    call->reply = NULL;
    call->is_used = false;
    call->is_given_up = false;
    call->next_free = peer->free;
    peer->free = call;
}

/* nng came back with what was given up. */
static void drop(struct wire_nng_peer *peer, struct call *call)
{
    if (call->reply != NULL)
        nng_msg_free(call->reply);
    give_back(peer, call);
}

/* Give the call back first: `done` may send the next request with it. */
static void finish(struct wire_nng_peer *peer, struct call *call, int status)
{
    bb_peer_reply_fn *done = call->done;
    void *arg = call->arg;
    nng_msg *reply = call->reply;

    if (peer->is_closing && status != BB_OK)
        status = BB_CANCELLED; /* nng reports a closed pipe first */
    if (status == BB_OK || (status == BB_PEER_GONE && !call->is_unsent))
        atomic_store(&peer->is_lost, status != BB_OK);
    give_back(peer, call);
    peer->outstanding--;
    done(arg, status,
         reply == NULL ? BB_SLICE_EMPTY : bb_slice(nng_msg_body(reply), nng_msg_len(reply)));
    if (reply != NULL)
        nng_msg_free(reply);
}

static int dial(struct wire_nng_peer *peer)
{
    peer->dialed_us = bb_loop_now_us(peer->loop);
    int rc = nng_dialer_create(&peer->dialer, peer->socket, peer->url);

    if (rc != 0)
        return rc;
    (void)nng_dialer_set_size(peer->dialer, NNG_OPT_RECVMAXSZ, BB_WIRE_MESSAGE_MAX);
    (void)nng_dialer_set_bool(peer->dialer, NNG_OPT_TCP_KEEPALIVE,
                              true); /* fails where there is no TCP */
    return nng_dialer_start(peer->dialer, NNG_FLAG_NONBLOCK);
}

/*
 * A dialer of nng 1.5 may stop for ever when the other side dies while they greet each other. So
 * when no connection came for as long as a request may wait for a first one, a new dialer takes
 * over.
 */
static void dial_again(struct wire_nng_peer *peer)
{
    uint64_t lost_us = atomic_load(&peer->lost_us);
    uint64_t since_us = lost_us > peer->dialed_us ? lost_us : peer->dialed_us;
    uint64_t now_us = bb_loop_now_us(peer->loop);
    uint64_t waited_us = now_us > since_us ? now_us - since_us : 0;

    if (peer->is_closing || atomic_load(&peer->connection_count) > 0 ||
        waited_us < SEND_MS_MAX * 1000u)
        return;
    if (nng_dialer_id(peer->dialer) > 0)
        (void)nng_dialer_close(peer->dialer);
    peer->dialer = (nng_dialer)NNG_DIALER_INITIALIZER;
    (void)dial(peer); /* failed: the next request that finds no connection tries again */
}

static void take(void *arg, struct wire_item *oldest)
{
    struct wire_nng_peer *peer = arg;
    bool is_any_unsent = false;

    for (struct wire_item *item = oldest; item != NULL; item = item->next)
        is_any_unsent |= bb_container(item, struct call, item)->is_unsent;
    if (is_any_unsent)
        dial_again(peer);
    while (oldest != NULL) {
        struct call *call = bb_container(oldest, struct call, item);
        oldest = oldest->next;
        if (call->is_given_up) {
            drop(peer, call);
        } else {
            finish(peer, call, call->status);
        }
    }
}

/* The call stays nng's until it comes back, if it ever does. */
static void give_up(struct wire_nng_peer *peer, struct call *call)
{
    bb_peer_reply_fn *done = call->done;
    void *arg = call->arg;

    call->is_given_up = true;
    peer->outstanding--;
    nng_aio_abort(call->aio, NNG_ETIMEDOUT);
    done(arg, BB_TIMEOUT, BB_SLICE_EMPTY);
}

static void on_watch(void *arg)
{
    struct wire_nng_peer *peer = arg;
    uint64_t now_us = bb_loop_now_us(peer->loop);

    if (peer->outstanding == 0) {
        bb_timer_stop(peer->watch);
        peer->is_watching = false;
        return;
    }
    for (size_t i = 0; i < peer->call_count; i++) {
        struct call *call = &peer->calls[i];
        if (call->is_used && !call->is_given_up && now_us > call->deadline_us + LATE_US)
            give_up(peer, call);
    }
}

/* On a thread of nng. */
static void on_connection(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct wire_nng_peer *peer = arg;

    (void)pipe;
    if (event != NNG_PIPE_EV_ADD_PRE)
        atomic_store(&peer->lost_us, bb_loop_now_us(peer->loop));
    (void)atomic_fetch_add(&peer->connection_count, event == NNG_PIPE_EV_ADD_PRE ? 1 : -1);
    if (event == NNG_PIPE_EV_ADD_PRE)
        atomic_store(&peer->is_lost, false);
}

static int fail_nng(struct bb_ctx *ctx, int rc, const char *what, const char *url)
{
    return bb_fail(ctx, rc == NNG_EADDRINVAL || rc == NNG_EINVAL ? BB_BAD_REQUEST : BB_IO,
                   "%s %s: %s", what, url, nng_strerror(rc));
}

static int open_calls(struct wire_nng_peer *peer, size_t count)
{
    peer->calls = bb_alloc_zero(count, sizeof *peer->calls);
    for (size_t i = 0; i < count; i++) {
        struct call *call = &peer->calls[i];
        call->peer = peer;
        int rc = nng_ctx_open(&call->ctx, peer->socket);
        if (rc == 0)
            rc = nng_aio_alloc(&call->aio, on_aio, call);
        if (rc != 0)
            return rc;
        peer->call_count++;
        call->next_free = peer->free;
        peer->free = call;
    }
    return 0;
}

int wire_nng_peer_open(struct bb_ctx *ctx, struct bb_loop *loop,
                       const struct bb_peer_options *options, struct wire_nng_peer **peer)
{
    struct wire_nng_peer *opened = bb_alloc_zero(1, sizeof *opened);
    size_t count =
        options->outstanding_max == 0 ? WIRE_OUTSTANDING_DEFAULT : options->outstanding_max;

    opened->url = bb_strdup(options->url);
    opened->loop = loop;
    opened->door = wire_door_new(loop, take, opened);
    opened->watch = bb_timer_new(loop, on_watch, opened);
    int rc = nng_req0_open(&opened->socket);
    if (rc == 0) {
        /* Before the contexts, which inherit. Sending again is the caller's decision. */
        rc = nng_socket_set_ms(opened->socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
        if (rc == 0)
            rc = nng_socket_set_size(opened->socket, NNG_OPT_RECVMAXSZ, BB_WIRE_MESSAGE_MAX);
        if (rc == 0)
            rc = nng_socket_set_ms(opened->socket, NNG_OPT_RECONNMINT, RECONNECT_MIN_MS);
        if (rc == 0)
            rc = nng_socket_set_ms(opened->socket, NNG_OPT_RECONNMAXT, RECONNECT_MAX_MS);
        if (rc == 0)
            rc = nng_pipe_notify(opened->socket, NNG_PIPE_EV_ADD_PRE, on_connection, opened);
        if (rc == 0)
            rc = nng_pipe_notify(opened->socket, NNG_PIPE_EV_REM_POST, on_connection, opened);
        if (rc == 0)
            rc = open_calls(opened, count);
        if (rc == 0)
            rc = dial(opened);
        if (rc == 0) {
            *peer = opened;
            return BB_OK;
        }
    }
    rc = fail_nng(ctx, rc, "connection to", options->url);
    wire_nng_peer_close(opened);
    return rc;
}

void wire_nng_peer_close(struct wire_nng_peer *peer)
{
    if (peer == NULL)
        return;
    bb_assert(!peer->is_closing);
    peer->is_closing = true;
    bb_timer_free(peer->watch);
    /* Before the socket is closed: no thread of nng may begin to receive while that happens. */
    for (size_t i = 0; i < peer->call_count; i++)
        nng_aio_stop(peer->calls[i].aio);
    if (nng_socket_id(peer->socket) > 0)
        (void)nng_close(peer->socket);
    /* No thread of nng is in here any more. What had completed keeps its status; the rest is over.
     */
    take(peer, wire_door_close(peer->door));
    for (size_t i = 0; i < peer->call_count; i++) {
        struct call *call = &peer->calls[i];
        if (call->is_used && !call->is_given_up)
            finish(peer, call, BB_CANCELLED);
    }
    for (size_t i = 0; i < peer->call_count; i++) {
        nng_msg_free(nng_aio_get_msg(peer->calls[i].aio)); /* a send that never began */
        nng_aio_free(peer->calls[i].aio);
    }
    bb_free(peer->calls);
    bb_free(peer->url);
    bb_free(peer);
}

bool wire_nng_peer_is_connected(const struct wire_nng_peer *peer)
{
    return atomic_load(&peer->connection_count) > 0 && !atomic_load(&peer->is_lost);
}

size_t wire_nng_peer_outstanding(const struct wire_nng_peer *peer)
{
    return peer->outstanding;
}

/* How long a request may wait for a connection that takes it. */
static uint32_t send_ms_max(const struct wire_nng_peer *peer, uint32_t timeout_ms)
{
    bool was_there = atomic_load(&peer->is_lost) || atomic_load(&peer->lost_us) > 0;
    bool is_gone = was_there && !wire_nng_peer_is_connected(peer);
    uint32_t most_ms = is_gone ? SEND_LOST_MS_MAX : SEND_MS_MAX;

    return timeout_ms < most_ms ? timeout_ms : most_ms;
}

int wire_nng_peer_request(struct bb_ctx *ctx, struct wire_nng_peer *peer,
                          const ProtobufCMessage *message, uint32_t timeout_ms,
                          bb_peer_reply_fn *done, void *arg)
{
    struct call *call = peer->free;
    nng_msg *packed = NULL;

    if (peer->is_closing)
        return bb_fail(ctx, BB_CANCELLED, "the connection to %s is closing", peer->url);
    if (call == NULL) {
        return bb_fail(ctx, BB_OVERLOADED, "%zu requests to %s are under way, no more fit",
                       peer->call_count, peer->url);
    }
    int rc = wire_pack(ctx, message, &packed);
    if (rc != BB_OK)
        return rc;
    peer->free = call->next_free;
    peer->outstanding++;
    if (!peer->is_watching) {
        peer->is_watching = true;
        bb_timer_start(peer->watch, WATCH_MS, WATCH_MS);
    }
    call->is_used = true;
    call->is_sending = true;
    call->is_unsent = false;
    call->done = done;
    call->arg = arg;
    call->deadline_us = bb_loop_now_us(peer->loop) + (uint64_t)timeout_ms * 1000;
    nng_aio_set_msg(call->aio, packed);
    nng_aio_set_timeout(call->aio, (nng_duration)send_ms_max(peer, timeout_ms));
    nng_ctx_send(call->ctx, call->aio);
    return BB_OK;
}
