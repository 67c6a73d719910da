/*
 * Requests from one loop to a server on another, answered by pool threads, with peers that come and
 * go: every request ends exactly once. Meant for MODE=tsan; exits with 0.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "bb/env.h"
#include "bb/wire.h"

#include "sequencer.pb-c.h"

#define REQUESTS 2000
#define AT_ONCE  64

struct server_side {
    const char *url;
    struct bb_loop *loop;
    struct bb_pool *pool;
    struct bb_server *server;
    atomic_bool is_open;
};

struct answer {
    struct bb_job job;
    struct bb_exchange *exchange;
};

static void work(struct bb_job *job, size_t thread_index)
{
    struct answer *answer = bb_container(job, struct answer, job);
    Bb__Proto__SequencerReply reply;
    Bb__Proto__MarkReply mark;

    (void)thread_index;
    bb__proto__sequencer_reply__init(&reply);
    bb__proto__mark_reply__init(&mark);
    mark.durable = 7;
    reply.mark = &mark;
    reply.op_case = BB__PROTO__SEQUENCER_REPLY__OP_MARK;
    bb_exchange_reply(answer->exchange, &reply.base);
    bb_free(answer);
}

static void handle(void *arg, struct bb_exchange *exchange, struct bb_slice request)
{
    struct server_side *side = arg;
    struct answer *answer = bb_alloc_zero(1, sizeof *answer);
    struct bb_ctx ctx = { .env = bb_env_real() };
    Bb__Proto__SequencerRequest *parsed = NULL;

    bb_assert(bb_unpack(&ctx, bb_exchange_arena(exchange),
                        &bb__proto__sequencer_request__descriptor, request, &parsed) == BB_OK);
    answer->job.work = work;
    answer->exchange = exchange;
    bb_assert(bb_pool_submit(&ctx, side->pool, &answer->job) == BB_OK);
}

static void run_server(void *arg)
{
    struct server_side *side = arg;
    struct bb_ctx *ctx = bb_loop_ctx(side->loop);
    struct bb_server_options options = {
        .url = side->url, .context_count = 32, .handle = handle, .arg = side
    };

    side->pool = bb_pool_new("answer", 2, 1000);
    bb_assert(bb_server_open(ctx, side->loop, &options, &side->server) == BB_OK);
    atomic_store(&side->is_open, true);
    bb_loop_run(side->loop);
    bb_server_close(side->server);
    bb_pool_free(side->pool);
    bb_loop_free(side->loop);
}

struct client_side {
    struct bb_loop *loop;
    struct bb_peer *peer;
    int sent, ended, failed;
    bool is_closing;
};

static void send_some(struct client_side *side);

static void on_reply(void *arg, int status, struct bb_slice reply)
{
    struct client_side *side = arg;

    side->ended++;
    if (side->is_closing)
        return;
    if (status != BB_OK || reply.size == 0)
        side->failed++;
    if (side->ended == REQUESTS)
        bb_loop_stop(side->loop);
    else
        send_some(side);
}

static void send_some(struct client_side *side)
{
    Bb__Proto__SequencerRequest request;
    Bb__Proto__Mark mark;

    bb__proto__sequencer_request__init(&request);
    bb__proto__mark__init(&mark);
    request.mark = &mark;
    request.op_case = BB__PROTO__SEQUENCER_REQUEST__OP_MARK;
    while (side->sent < REQUESTS && side->sent - side->ended < AT_ONCE) {
        bb_assert(bb_peer_request(bb_loop_ctx(side->loop), side->peer, &request.base, 20000,
                                  on_reply, side) == BB_OK);
        side->sent++;
    }
}

static void client_round(const char *url)
{
    struct client_side side = { .loop = bb_loop_new(bb_env_real(), NULL, "client") };
    struct bb_peer_options options = { .url = url };

    bb_assert(bb_peer_open(bb_loop_ctx(side.loop), side.loop, &options, &side.peer) == BB_OK);
    send_some(&side);
    bb_loop_run(side.loop);
    bb_assert(side.failed == 0 && side.ended == REQUESTS);
    /* Some more, that close has to end. */
    side.sent = 0;
    side.ended = 0;
    side.is_closing = true;
    send_some(&side);
    bb_peer_close(side.peer);
    bb_assert(side.ended == side.sent && side.sent == AT_ONCE);
    bb_loop_free(side.loop);
}

static void both_sides(const char *url)
{
    struct server_side server = { .url = url, .loop = bb_loop_new(bb_env_real(), NULL, "server") };
    struct bb_thread *thread = bb_thread_start("server", run_server, &server);

    while (!atomic_load(&server.is_open))
        continue;
    client_round(url);
    client_round(url);
    bb_loop_stop(server.loop);
    bb_thread_join(thread);
}

int main(void)
{
    char url[64];

    both_sides("inproc://race-requests");
    /* Below the ephemeral ports; no two runs at once take the same one. */
    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%d", 12000 + (int)getpid() % 20000);
    both_sides(url);
    (void)printf("ok\n");
    return 0;
}
