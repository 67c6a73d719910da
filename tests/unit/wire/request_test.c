#include <stdio.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "sequencer.pb-c.h"

#include "bb/env.h"
#include "bb/wire.h"

#include "port.h"

/* One loop with both sides on it. */
struct pair {
    struct bb_loop *loop;
    struct bb_server *server;
    struct bb_peer *peer;
    bool is_silent; /* the server keeps what comes */
    struct bb_exchange *kept[8];
    size_t kept_count;
    int replies, statuses[300];
    int wanted; /* replies after which the loop stops */
};

/* A port of this process, below the ephemeral ones: each test is a process of its own. */
static const char *tcp_url(void)
{
    static char url[64];

    if (url[0] == '\0')
        (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", test_free_port());
    return url;
}

static void handle(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
{
    struct pair *pair = arg;
    Bb__Proto__SequencerRequest *request = NULL;
    Bb__Proto__SequencerReply reply;

    if (pair->is_silent) {
        bb_assert(pair->kept_count < BB_COUNT_OF(pair->kept));
        pair->kept[pair->kept_count++] = exchange;
        return;
    }
    cr_assert_eq(bb_unpack(bb_loop_ctx(pair->loop), bb_exchange_arena(exchange),
                           &bb__proto__sequencer_request__descriptor, bytes, &request),
                 BB_OK);
    bb__proto__sequencer_reply__init(&reply);
    reply.status = (uint32_t)request->trace_id;
    bb_exchange_reply(exchange, &reply.base);
}

static void on_reply(void *arg, int status, struct bb_slice bytes)
{
    struct pair *pair = arg;

    (void)bytes;
    pair->statuses[pair->replies++] = status;
    if (pair->replies == pair->wanted)
        bb_loop_stop(pair->loop);
}

static void pair_open(struct pair *pair, const char *url, bool has_server)
{
    struct bb_peer_options peer = { .url = url, .outstanding_max = 4 };
    struct bb_server_options server = {
        .url = url, .context_count = 8, .handle = handle, .arg = pair
    };

    *pair = (struct pair){ .loop = bb_loop_new(bb_env_real(), NULL, "test") };
    if (has_server)
        cr_assert_eq(bb_server_open(bb_loop_ctx(pair->loop), pair->loop, &server, &pair->server),
                     BB_OK, "%s", bb_loop_ctx(pair->loop)->error);
    cr_assert_eq(bb_peer_open(bb_loop_ctx(pair->loop), pair->loop, &peer, &pair->peer), BB_OK);
}

static void pair_close(struct pair *pair)
{
    Bb__Proto__SequencerReply reply;

    bb__proto__sequencer_reply__init(&reply);
    bb_peer_close(pair->peer);
    bb_server_close(pair->server);
    for (size_t i = 0; i < pair->kept_count; i++)
        bb_exchange_reply(pair->kept[i], &reply.base); /* after close: only frees */
    bb_loop_free(pair->loop);
}

static int request(struct pair *pair, uint32_t timeout_ms)
{
    Bb__Proto__SequencerRequest message;

    bb__proto__sequencer_request__init(&message);
    message.trace_id = 7;
    return bb_peer_request(bb_loop_ctx(pair->loop), pair->peer, &message.base, timeout_ms, on_reply,
                           pair);
}

Test(peer, a_request_is_answered_over_every_transport, .timeout = 20)
{
    char ipc[64];
    (void)snprintf(ipc, sizeof ipc, "ipc:///tmp/bb-wire-%d", (int)getpid());
    const char *urls[] = { "inproc://wire-test", ipc, tcp_url() };

    for (size_t i = 0; i < BB_COUNT_OF(urls); i++) {
        struct pair pair;
        pair_open(&pair, urls[i], true);
        for (int round = 1; round <= 50; round++) {
            pair.wanted = round;
            cr_assert_eq(request(&pair, 5000), BB_OK);
            bb_loop_run(pair.loop);
            cr_assert_eq(pair.statuses[round - 1], BB_OK);
        }
        cr_assert_eq(bb_peer_outstanding(pair.peer), 0);
        cr_assert_str_eq(bb_peer_url(pair.peer), urls[i]);
        pair_close(&pair);
    }
}

Test(peer, no_peer_ends_as_peer_gone_and_silence_as_timeout, .timeout = 20)
{
    struct pair pair;

    pair_open(&pair, "inproc://nobody", false);
    pair.wanted = 1;
    cr_assert_eq(request(&pair, 100), BB_OK);
    bb_loop_run(pair.loop);
    cr_assert_eq(pair.statuses[0], BB_PEER_GONE);
    pair_close(&pair);
    pair_open(&pair, "inproc://silent", true);
    pair.is_silent = true;
    pair.wanted = 1;
    cr_assert_eq(request(&pair, 200), BB_OK);
    bb_loop_run(pair.loop);
    cr_assert_eq(pair.statuses[0], BB_TIMEOUT);
    pair_close(&pair);
}

Test(peer, more_than_may_be_outstanding_is_refused_and_close_ends_the_rest, .timeout = 20)
{
    struct pair pair;

    pair_open(&pair, "inproc://many", true);
    pair.is_silent = true;
    for (int i = 0; i < 4; i++)
        cr_assert_eq(request(&pair, 5000), BB_OK);
    cr_assert_eq(bb_peer_outstanding(pair.peer), 4);
    cr_assert_eq(request(&pair, 5000), BB_OVERLOADED);
    cr_assert_eq(pair.replies, 0, "never from inside the request");
    pair_close(&pair);
    cr_assert_eq(pair.replies, 4);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pair.statuses[i], BB_CANCELLED);
}

Test(peer, a_message_beyond_the_limit_is_refused, .timeout = 20)
{
    struct pair pair;
    Bb__Proto__StatusOf message;

    pair_open(&pair, "inproc://large", true);
    bb__proto__status_of__init(&message);
    message.request_id.len = BB_WIRE_MESSAGE_MAX;
    message.request_id.data = bb_alloc_zero(1, BB_WIRE_MESSAGE_MAX);
    cr_assert_eq(
        bb_peer_request(bb_loop_ctx(pair.loop), pair.peer, &message.base, 1000, on_reply, &pair),
        BB_TOO_LARGE);
    bb_free(message.request_id.data);
    pair_close(&pair);
}

Test(server, an_address_that_is_taken_is_named, .timeout = 20)
{
    struct pair pair;
    struct bb_server *second = NULL;
    struct bb_server_options options = { .url = tcp_url(), .handle = handle };
    struct bb_ctx *ctx;

    pair_open(&pair, tcp_url(), true);
    ctx = bb_loop_ctx(pair.loop);
    cr_assert_eq(bb_server_open(ctx, pair.loop, &options, &second), BB_ADDRESS_IN_USE);
    char taken[96];
    (void)snprintf(taken, sizeof taken, "%s is taken", tcp_url());
    cr_assert_not_null(strstr(ctx->error, taken), "%s", ctx->error);
    options.url = "nonsense";
    cr_assert_neq(bb_server_open(ctx, pair.loop, &options, &second), BB_OK);
    pair_close(&pair);
}

static void close_server(void *arg)
{
    struct pair *pair = arg;

    bb_server_close(pair->server);
    pair->server = NULL;
}

static void too_late(void *arg)
{
    (void)arg;
    cr_assert_fail("requests to a peer that is gone wait for it");
}

/* Whoever has a second one to ask must hear soon that the first one is gone. */
Test(peer, one_that_was_there_and_is_gone_is_not_waited_for, .timeout = 60)
{
    struct pair pair;

    pair_open(&pair, tcp_url(), true);
    struct bb_timer *timer = bb_timer_new(pair.loop, too_late, NULL);
    pair.wanted = 1;
    cr_assert_eq(request(&pair, 5000), BB_OK);
    bb_loop_run(pair.loop);
    cr_assert_eq(pair.statuses[0], BB_OK);
    close_server(&pair);
    bb_timer_start(timer, 15000, 0);
    for (int i = 1; i <= 20; i++) {
        pair.wanted = i + 1;
        cr_assert_eq(request(&pair, 5000), BB_OK);
        bb_loop_run(pair.loop);
        cr_assert_eq(pair.statuses[i], BB_PEER_GONE);
    }
    bb_timer_free(timer);
    pair_close(&pair);
}

/* The kernel closes a dead process's connections just as this does. */
Test(peer, a_peer_that_dies_at_work_is_noticed_at_once_and_nothing_is_sent_again, .timeout = 20)
{
    struct pair pair;

    pair_open(&pair, tcp_url(), true);
    pair.is_silent = true;
    pair.wanted = 1;
    uint64_t before = bb_loop_now_us(pair.loop);
    cr_assert_eq(request(&pair, 15000), BB_OK);
    struct bb_timer *timer = bb_timer_new(pair.loop, close_server, &pair);
    bb_timer_start(timer, 300, 0);
    bb_loop_run(pair.loop);
    cr_assert_eq(pair.statuses[0], BB_PEER_GONE);
    cr_assert_lt(bb_loop_now_us(pair.loop) - before, 12000000,
                 "long before the time of the request");
    struct bb_server_options options = { .url = tcp_url(), .handle = handle, .arg = &pair };
    cr_assert_eq(bb_server_open(bb_loop_ctx(pair.loop), pair.loop, &options, &pair.server), BB_OK);
    pair.is_silent = false;
    do {
        pair.wanted = pair.replies + 1;
        cr_assert_eq(request(&pair, 5000), BB_OK);
        bb_loop_run(pair.loop);
    } while (pair.statuses[pair.replies - 1] != BB_OK); /* it connects again by itself */
    cr_assert_eq(pair.kept_count, 1, "the first request came once");
    bb_timer_free(timer);
    pair_close(&pair);
}
