/* What nng gives between processes must hold inside of one, too. */
#include <criterion/criterion.h>

#include "sequencer.pb-c.h"

#include "bb/env.h"
#include "bb/wire.h"

#define URL "inproc://local-test"

struct stage {
    struct bb_loop *loop;
    struct bb_server *server;
    struct bb_peer *peer;
    struct bb_exchange *kept[16];
    size_t kept_count, replied;
    int ended, statuses[16];
    int wanted;
};

static void keep(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
{
    struct stage *stage = arg;

    (void)bytes;
    stage->kept[stage->kept_count++] = exchange;
}

static void ended(void *arg, int status, struct bb_slice bytes)
{
    struct stage *stage = arg;

    (void)bytes;
    stage->statuses[stage->ended++] = status;
    if (stage->ended == stage->wanted)
        bb_loop_stop(stage->loop);
}

static void serve(struct stage *stage)
{
    struct bb_server_options options = {
        .url = URL, .context_count = 2, .handle = keep, .arg = stage
    };

    cr_assert_eq(bb_server_open(bb_loop_ctx(stage->loop), stage->loop, &options, &stage->server),
                 BB_OK);
}

static void stage_open(struct stage *stage)
{
    struct bb_peer_options options = { .url = URL };

    *stage = (struct stage){ .loop = bb_loop_new(bb_env_real(), NULL, "test") };
    cr_assert_eq(bb_peer_open(bb_loop_ctx(stage->loop), stage->loop, &options, &stage->peer),
                 BB_OK);
}

static void ask(struct stage *stage, uint32_t timeout_ms)
{
    Bb__Proto__SequencerRequest message;

    bb__proto__sequencer_request__init(&message);
    cr_assert_eq(bb_peer_request(bb_loop_ctx(stage->loop), stage->peer, &message.base, timeout_ms,
                                 ended, stage),
                 BB_OK);
}

static void reply(struct stage *stage)
{
    Bb__Proto__SequencerReply message;

    bb__proto__sequencer_reply__init(&message);
    bb_exchange_reply(stage->kept[stage->replied++], &message.base);
}

static void run_until(struct stage *stage, int wanted)
{
    stage->wanted = wanted;
    if (stage->ended < wanted)
        bb_loop_run(stage->loop);
}

static void stage_close(struct stage *stage)
{
    bb_peer_close(stage->peer);
    bb_server_close(stage->server);
    while (stage->replied < stage->kept_count)
        reply(stage); /* after close: only frees */
    bb_loop_free(stage->loop);
}

Test(local, a_server_takes_no_more_at_once_than_it_has_contexts, .timeout = 20)
{
    struct stage stage;

    stage_open(&stage);
    serve(&stage);
    for (int i = 0; i < 5; i++)
        ask(&stage, 5000);
    for (int i = 1; i <= 5; i++) {
        bb_loop_drain(stage.loop);
        cr_assert_leq(stage.kept_count, (size_t)i + 1, "two at a time");
        reply(&stage);
        run_until(&stage, i);
        cr_assert_eq(stage.statuses[i - 1], BB_OK);
    }
    cr_assert_eq(stage.kept_count, 5);
    stage_close(&stage);
}

Test(local, a_server_that_closes_ends_what_it_has_and_what_waits_as_peer_gone, .timeout = 20)
{
    struct stage stage;

    stage_open(&stage);
    serve(&stage);
    for (int i = 0; i < 4; i++)
        ask(&stage, 15000);
    bb_loop_drain(stage.loop);
    cr_assert_eq(stage.kept_count, 2);
    bb_server_close(stage.server);
    stage.server = NULL;
    run_until(&stage, 4);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(stage.statuses[i], BB_PEER_GONE);
    stage_close(&stage);
}

static void open_server(void *arg)
{
    serve(arg);
}

Test(local, a_request_waits_a_little_for_a_server_that_is_not_there_yet, .timeout = 20)
{
    struct stage stage;

    stage_open(&stage);
    struct bb_timer *timer = bb_timer_new(stage.loop, open_server, &stage);
    bb_timer_start(timer, 100, 0);
    ask(&stage, 10000);
    while (stage.kept_count == 0) {
        ask(&stage, 300); /* its end lets the loop look */
        run_until(&stage, stage.ended + 1);
    }
    int before = stage.ended;
    reply(&stage);
    run_until(&stage, before + 1);
    cr_assert_eq(stage.statuses[before], BB_OK, "the first one, in time");
    bb_timer_free(timer);
    stage_close(&stage);
}

Test(local, an_answer_after_the_timeout_is_dropped, .timeout = 20)
{
    struct stage stage;

    stage_open(&stage);
    serve(&stage);
    ask(&stage, 30);
    run_until(&stage, 1);
    cr_assert_eq(stage.statuses[0], BB_TIMEOUT);
    cr_assert_eq(bb_peer_outstanding(stage.peer), 0);
    reply(&stage);
    ask(&stage, 5000);
    bb_loop_drain(stage.loop);
    reply(&stage);
    run_until(&stage, 2);
    cr_assert_eq(stage.statuses[1], BB_OK);
    cr_assert_eq(stage.ended, 2, "the late one told nobody");
    stage_close(&stage);
}

Test(local, an_address_is_one_servers_until_it_closes, .timeout = 20)
{
    struct stage stage;
    struct bb_server *second = NULL;
    struct bb_server_options options = { .url = URL, .handle = keep, .arg = &stage };

    stage_open(&stage);
    serve(&stage);
    cr_assert_eq(bb_server_open(bb_loop_ctx(stage.loop), stage.loop, &options, &second),
                 BB_ADDRESS_IN_USE);
    bb_server_close(stage.server);
    serve(&stage);
    stage_close(&stage);
}
