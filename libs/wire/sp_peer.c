/* The asker's side of a TCP address. */
#include "bb/env.h"

#include "sp.h"

/* As in nng_peer.c: a request that no connection takes within this time has no peer. */
#define SEND_MS_MAX      1500
#define SEND_LOST_MS_MAX 60
#define DIAL_MS_MIN      20
#define DIAL_MS_MAX      500
#define DIAL_LATE_MS     2000       /* one that has not greeted by then is given up */
#define LOOK_MS          20         /* the precision of deadlines */
#define UNSENT_MAX       (8u << 20) /* requests beyond wait, as without a connection */
#define WORD             4
#define WORD_LAST        0x80000000u

struct call {
    struct bb_list link; /* of `free`, `unsent` or `asked` */
    uint32_t id;
    uint64_t send_by_us, deadline_us;
    struct bb_buf request; /* while it is unsent */
    bb_peer_reply_fn *done;
    void *arg;
};

struct wire_sp_peer {
    char *url;
    struct bb_loop *loop;
    struct wire_sp_stream *stream;
    bool is_up, was_up, is_closing;
    uint64_t
        dial_at_us; /* when the next attempt begins, or the present one is given up; 0: never */
    uint32_t dial_ms;
    size_t attempt; /* grows with each that brought no connection */
    struct bb_timer *timer;
    uint64_t look_at_us; /* when the timer fires; UINT64_MAX: it does not */
    bool is_second_look;
    struct call *calls;
    size_t call_count, outstanding;
    struct bb_list free, unsent, asked;
    /* A reply that comes after its time finds nobody: ids come again after 2^31 requests only. */
    struct call **by_id;
    uint32_t mask, last_id;
};

static void look_at(struct wire_sp_peer *peer, uint64_t at_us)
{
    uint64_t now_us = bb_loop_now_us(peer->loop);

    if (at_us >= peer->look_at_us)
        return;
    uint64_t wait_ms = at_us > now_us ? (at_us - now_us) / 1000 + 1 : 1;
    wait_ms = wait_ms < LOOK_MS ? LOOK_MS : wait_ms;
    peer->look_at_us = now_us + wait_ms * 1000;
    bb_timer_start(peer->timer, wait_ms, 0);
}

/* ---- calls ---- */

/* Give the call back first: `done` may send the next request with it. */
static void finish(struct wire_sp_peer *peer, struct call *call, int status, struct bb_slice reply)
{
    bb_peer_reply_fn *done = call->done;
    void *arg = call->arg;

    if (call->id != 0)
        peer->by_id[call->id & peer->mask] = NULL;
    call->id = 0;
    bb_buf_fini(&call->request);
    bb_buf_init(&call->request);
    bb_list_remove(&call->link);
    bb_list_push_front(&peer->free, &call->link);
    peer->outstanding--;
    done(arg, status, reply);
}

static void finish_all(struct wire_sp_peer *peer, struct bb_list *calls, int status)
{
    struct bb_list these;

    bb_list_init(&these);
    while (!bb_list_is_empty(calls)) {
        struct bb_list *first = calls->next;
        bb_list_remove(first);
        bb_list_push_back(&these, first);
    }
    while (!bb_list_is_empty(&these))
        finish(peer, bb_container(these.next, struct call, link), status, BB_SLICE_EMPTY);
}

static uint8_t *add_request(struct wire_sp_peer *peer, struct call *call, size_t size)
{
    do {
        peer->last_id = (peer->last_id + 1) & ~WORD_LAST;
    } while (peer->last_id == 0 || peer->by_id[peer->last_id & peer->mask] != NULL);
    call->id = peer->last_id;
    peer->by_id[call->id & peer->mask] = call;
    bb_list_remove(&call->link);
    bb_list_push_back(&peer->asked, &call->link);
    uint8_t *at = wire_sp_stream_add(peer->stream, WORD + size);
    bb_put_be32(at, call->id | WORD_LAST);
    return at + WORD;
}

/* ---- the connection ---- */

static void dial(struct wire_sp_peer *peer);

static bool takes_more(const struct wire_sp_peer *peer)
{
    return peer->is_up && wire_sp_stream_unsent(peer->stream) < UNSENT_MAX;
}

static void on_drained(void *arg)
{
    struct wire_sp_peer *peer = arg;

    while (!bb_list_is_empty(&peer->unsent) && takes_more(peer)) {
        struct call *call = bb_container(peer->unsent.next, struct call, link);
        memcpy(add_request(peer, call, call->request.size), call->request.data, call->request.size);
        bb_buf_fini(&call->request);
        bb_buf_init(&call->request);
    }
}

static void on_up(void *arg)
{
    struct wire_sp_peer *peer = arg;

    peer->is_up = peer->was_up = true;
    peer->dial_ms = DIAL_MS_MIN;
    peer->dial_at_us = 0;
    on_drained(peer);
}

static bool on_message(void *arg, struct bb_slice bytes)
{
    struct wire_sp_peer *peer = arg;

    if (bytes.size < WORD)
        return true;
    uint32_t id = bb_get_be32(bytes.data) & ~WORD_LAST;
    struct call *call = peer->by_id[id & peer->mask];
    if (call != NULL && call->id == id)
        finish(peer, call, BB_OK, bb_slice(bytes.data + WORD, bytes.size - WORD));
    return true;
}

static void dial_later(struct wire_sp_peer *peer)
{
    peer->attempt += peer->is_up ? 0 : 1;
    peer->stream = NULL;
    peer->is_up = false;
    peer->dial_at_us = bb_loop_now_us(peer->loop) + (uint64_t)peer->dial_ms * 1000;
    peer->dial_ms = peer->dial_ms * 2 > DIAL_MS_MAX ? DIAL_MS_MAX : peer->dial_ms * 2;
    look_at(peer, peer->dial_at_us);
}

/* How long a request may wait until a connection takes it. */
static uint32_t send_ms_max(const struct wire_sp_peer *peer, uint32_t timeout_ms)
{
    uint32_t most_ms = peer->was_up ? SEND_LOST_MS_MAX : SEND_MS_MAX;

    return peer->is_up || timeout_ms < most_ms ? timeout_ms : most_ms;
}

static void on_gone(void *arg)
{
    struct wire_sp_peer *peer = arg;
    uint64_t lost_us = bb_loop_now_us(peer->loop) + SEND_LOST_MS_MAX * UINT64_C(1000);

    dial_later(peer);
    bb_list_each(item, &peer->unsent) {
        struct call *call = bb_container(item, struct call, link);
        if (peer->was_up && call->send_by_us > lost_us)
            call->send_by_us = lost_us;
    }
    look_at(peer, lost_us);
    finish_all(peer, &peer->asked, BB_PEER_GONE);
}

static const struct wire_sp_user user = {
    .up = on_up, .message = on_message, .drained = on_drained, .gone = on_gone
};

static void dial(struct wire_sp_peer *peer)
{
    peer->stream = wire_sp_stream_dial(peer->loop, peer->url, peer->attempt, &user, peer);
    if (peer->stream == NULL) {
        dial_later(peer);
        return;
    }
    peer->dial_at_us = bb_loop_now_us(peer->loop) + DIAL_LATE_MS * UINT64_C(1000);
    look_at(peer, peer->dial_at_us);
}

/* ---- time ---- */

static void end_late(struct wire_sp_peer *peer, struct bb_list *calls, uint64_t now_us, int status,
                     uint64_t *next_us)
{
    struct bb_list late;

    bb_list_init(&late);
    bb_list_each_safe(item, calls) {
        struct call *call = bb_container(item, struct call, link);
        uint64_t until_us = call->id == 0 ? call->send_by_us : call->deadline_us;
        if (now_us >= until_us) {
            bb_list_remove(item);
            bb_list_push_back(&late, item);
        } else if (until_us < *next_us) {
            *next_us = until_us;
        }
    }
    finish_all(peer, &late, status);
}

/*
 * A thread that did not run for a while finds timers that are due before it finds what came
 * meanwhile. So sockets are looked at once more before anything ends.
 */
static bool look_again(struct wire_sp_peer *peer, uint64_t now_us)
{
    peer->is_second_look = !peer->is_second_look;
    if (peer->is_second_look) {
        peer->look_at_us = now_us + 1000;
        bb_timer_start(peer->timer, 1, 0);
    }
    return peer->is_second_look;
}

static void on_timer(void *arg)
{
    struct wire_sp_peer *peer = arg;
    uint64_t now_us = bb_loop_now_us(peer->loop);
    uint64_t next_us = UINT64_MAX;

    if (look_again(peer, now_us))
        return;
    peer->look_at_us = UINT64_MAX;
    if (peer->dial_at_us != 0 && now_us >= peer->dial_at_us) {
        if (peer->stream != NULL) {
            wire_sp_stream_close(peer->stream);
            dial_later(peer);
        } else {
            dial(peer);
        }
    }
    if (peer->dial_at_us != 0)
        next_us = peer->dial_at_us;
    end_late(peer, &peer->unsent, now_us, peer->is_up ? BB_TIMEOUT : BB_PEER_GONE, &next_us);
    end_late(peer, &peer->asked, now_us, BB_TIMEOUT, &next_us);
    if (next_us != UINT64_MAX)
        look_at(peer, next_us);
}

/* ---- the rest ---- */

static void open_calls(struct wire_sp_peer *peer, size_t count)
{
    size_t cells = 16;

    while (cells < 4 * count)
        cells *= 2;
    peer->mask = (uint32_t)cells - 1;
    peer->by_id = bb_alloc_zero(cells, sizeof(struct call *));
    bb_random(bb_loop_ctx(peer->loop), &peer->last_id, sizeof peer->last_id);
    peer->call_count = count;
    peer->calls = bb_alloc_zero(count, sizeof *peer->calls);
    for (size_t i = 0; i < count; i++) {
        bb_buf_init(&peer->calls[i].request);
        bb_list_push_back(&peer->free, &peer->calls[i].link);
    }
}

int wire_sp_peer_open(struct bb_ctx *ctx, struct bb_loop *loop,
                      const struct bb_peer_options *options, struct wire_sp_peer **peer)
{
    struct wire_sp_peer *opened = bb_alloc_zero(1, sizeof *opened);

    opened->url = bb_strdup(options->url);
    opened->loop = loop;
    opened->look_at_us = UINT64_MAX;
    opened->dial_ms = DIAL_MS_MIN;
    bb_list_init(&opened->free);
    bb_list_init(&opened->unsent);
    bb_list_init(&opened->asked);
    opened->timer = bb_timer_new(loop, on_timer, opened);
    open_calls(opened,
               options->outstanding_max == 0 ? WIRE_OUTSTANDING_DEFAULT : options->outstanding_max);
    if (!wire_sp_is_well_formed(options->url)) {
        int rc = bb_fail(ctx, BB_BAD_REQUEST, "connection to %s: it is no tcp://HOST:PORT",
                         options->url);
        wire_sp_peer_close(opened);
        return rc;
    }
    dial(opened);
    *peer = opened;
    return BB_OK;
}

void wire_sp_peer_close(struct wire_sp_peer *peer)
{
    if (peer == NULL)
        return;
    bb_assert(!peer->is_closing);
    peer->is_closing = true;
    wire_sp_stream_close(peer->stream);
    peer->is_up = false;
    bb_timer_free(peer->timer);
    finish_all(peer, &peer->asked, BB_CANCELLED);
    finish_all(peer, &peer->unsent, BB_CANCELLED);
    bb_free(peer->calls);
    bb_free(peer->by_id);
    bb_free(peer->url);
    bb_free(peer);
}

size_t wire_sp_peer_outstanding(const struct wire_sp_peer *peer)
{
    return peer->outstanding;
}

bool wire_sp_peer_is_connected(const struct wire_sp_peer *peer)
{
    return peer->is_up;
}

int wire_sp_peer_request(struct bb_ctx *ctx, struct wire_sp_peer *peer,
                         const ProtobufCMessage *message, uint32_t timeout_ms,
                         bb_peer_reply_fn *done, void *arg)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint64_t now_us = bb_loop_now_us(peer->loop);

    if (peer->is_closing)
        return bb_fail(ctx, BB_CANCELLED, "the connection to %s is closing", peer->url);
    if (bb_list_is_empty(&peer->free)) {
        return bb_fail(ctx, BB_OVERLOADED, "%zu requests to %s are under way, no more fit",
                       peer->call_count, peer->url);
    }
    if (size > BB_WIRE_MESSAGE_MAX)
        return wire_fail_too_large(ctx, size);
    struct call *call = bb_container(peer->free.next, struct call, link);
    peer->outstanding++;
    call->done = done;
    call->arg = arg;
    call->deadline_us = now_us + (uint64_t)timeout_ms * 1000;
    call->send_by_us = now_us + (uint64_t)send_ms_max(peer, timeout_ms) * 1000;
    bool goes_now = takes_more(peer) && bb_list_is_empty(&peer->unsent);
    uint8_t *at;
    if (goes_now) {
        at = add_request(peer, call, size);
    } else {
        bb_list_remove(&call->link);
        bb_list_push_back(&peer->unsent, &call->link);
        at = bb_buf_reserve(&call->request, size);
        call->request.size = size;
    }
    size_t packed = protobuf_c_message_pack(message, at);
    bb_assert(packed == size);
    look_at(peer, goes_now ? call->deadline_us : call->send_by_us);
    return BB_OK;
}
