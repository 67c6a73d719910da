/* Which workers a scheduler calls, and what becomes of its calls; against workers that follow a
 * script. */
#include <criterion/criterion.h>

#include <unistd.h>

#include "bb/wire_validate.h"

#include "scheduler.h"

struct world;
struct fake {
    struct world *world;
    struct bb_server *server;
    bool is_cut, is_silent; /* it keeps its calls */
    unsigned calls, probes; /* probes since it is cut */
    struct bb_exchange *kept[64];
    size_t kept_count;
};
struct world {
    struct bb_loop *loop;
    struct scheduler scheduler;
    struct bb_timer *look;
    struct fake fakes[2];
    unsigned ended, failed;
    bool (*is_over)(struct world *world);
};

static void reply_value(struct bb_exchange *exchange)
{
    struct bb_value_builder *builder = bb_value_builder_new();
    Bb__Proto__WorkerReply reply;
    Bb__Proto__CallReply call;

    bb__proto__worker_reply__init(&reply);
    bb__proto__call_reply__init(&call);
    bb_value_put_bool(builder, true);
    call.value = bb_slice_pb(bb_value_finish(builder));
    reply.op_case = BB__PROTO__WORKER_REPLY__OP_CALL;
    reply.call = &call;
    bb_exchange_reply(exchange, &reply.base);
    bb_value_builder_free(builder);
}

static void handle(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
{
    struct fake *fake = arg;
    Bb__Proto__WorkerRequest *request = NULL;
    Bb__Proto__WorkerInfoReply info;
    Bb__Proto__WorkerReply reply;

    cr_assert_eq(bb_unpack(bb_loop_ctx(fake->world->loop), bb_exchange_arena(exchange),
                           &bb__proto__worker_request__descriptor, bytes, &request),
                 BB_OK);
    if (request->op_case == BB__PROTO__WORKER_REQUEST__OP_CALL) {
        fake->calls++;
        if (!fake->is_silent) {
            reply_value(exchange);
            return;
        }
        cr_assert_lt(fake->kept_count, BB_COUNT_OF(fake->kept));
        fake->kept[fake->kept_count++] = exchange;
        return;
    }
    fake->probes += fake->is_cut;
    bb__proto__worker_reply__init(&reply);
    bb__proto__worker_info_reply__init(&info);
    info.is_cut = fake->is_cut;
    reply.op_case = BB__PROTO__WORKER_REPLY__OP_INFO;
    reply.info = &info;
    bb_exchange_reply(exchange, &reply.base);
}

static void on_look(void *arg)
{
    struct world *world = arg;

    if (world->is_over(world))
        bb_loop_stop(world->loop);
}

static void run_until(struct world *world, bool (*is_over)(struct world *world))
{
    world->is_over = is_over;
    bb_timer_start(world->look, 1, 5);
    bb_loop_run(world->loop);
    bb_timer_stop(world->look);
}

static void on_done(struct scheduler_call *call, int status, const char *error,
                    struct bb_slice value)
{
    struct world *world = bb_container(call->scheduler, struct world, scheduler);

    (void)error;
    cr_assert_eq(status == BB_OK, value.size > 0);
    cr_assert_neq(status, BB_TIMEOUT);
    world->ended++;
    world->failed += status != BB_OK;
}

static void start(struct world *world, unsigned count)
{
    struct bb_value_builder *builder = bb_value_builder_new();

    bb_value_begin_object(builder);
    bb_value_end_object(builder);
    struct bb_slice args = bb_value_finish(builder);
    for (unsigned i = 0; i < count; i++) {
        struct scheduler_call *call = scheduler_call_new(&world->scheduler, LANE_COUNT, 0);

        call->done = on_done;
        scheduler_call_start(call, "takeLease", true, args);
    }
    bb_value_builder_free(builder);
}

static bool is_answered(struct world *world)
{
    return world->scheduler.calls == 0;
}

static bool is_known_to_be_cut(struct world *world)
{
    return world->fakes[0].probes > 1; /* the answer before was read */
}

static void world_begin(struct world *world)
{
    static const char *const urls[] = { "inproc://scheduler-test-1", "inproc://scheduler-test-2" };
    struct bb_ctx ctx = { .env = bb_env_real() };

    *world = (struct world){ .loop = bb_loop_new(ctx.env, NULL, "test") };
    world->scheduler.loop = world->loop;
    world->scheduler.ctx = bb_loop_ctx(world->loop);
    world->look = bb_timer_new(world->loop, on_look, world);
    for (size_t i = 0; i < 2; i++) {
        world->fakes[i].world = world;
        cr_assert_eq(bb_server_open(&ctx, world->loop,
                                    &(struct bb_server_options){
                                        .url = urls[i], .handle = handle, .arg = &world->fakes[i] },
                                    &world->fakes[i].server),
                     BB_OK, "%s", ctx.error);
    }
    cr_assert_eq(scheduler_workers_open(&ctx, &world->scheduler,
                                        "inproc://scheduler-test-1,inproc://scheduler-test-2"),
                 BB_OK, "%s", ctx.error);
}

static void world_end(struct world *world)
{
    scheduler_workers_close(&world->scheduler);
    for (size_t i = 0; i < 2; i++) {
        for (size_t k = 0; k < world->fakes[i].kept_count; k++)
            reply_value(world->fakes[i].kept[k]);
        bb_server_close(world->fakes[i].server);
    }
    bb_timer_free(world->look);
    bb_loop_free(world->loop);
}

/* Both have been called: each is known to be there. */
static bool are_both_known(struct world *world)
{
    return world->fakes[0].calls > 0 && world->fakes[1].calls > 0 && world->scheduler.calls == 0;
}

static bool calls_both(struct world *world)
{
    if (world->scheduler.calls == 0 && !are_both_known(world))
        start(world, 4);
    return are_both_known(world);
}

Test(workers, that_no_sequencer_answers_are_left_by_the_scheduler, .timeout = 30)
{
    struct world world;

    world_begin(&world);
    run_until(&world, calls_both);
    world.fakes[0].is_cut = true;
    run_until(&world, is_known_to_be_cut);
    unsigned calls[] = { world.fakes[0].calls, world.fakes[1].calls };
    start(&world, 20);
    run_until(&world, is_answered);
    cr_assert_eq(world.fakes[0].calls, calls[0]);
    cr_assert_eq(world.fakes[1].calls, calls[1] + 20);
    cr_assert_eq(world.failed, 0);
    world_end(&world);
}

Test(workers, that_are_cut_twice_lose_the_calls_that_they_have, .timeout = 30)
{
    struct world world;

    world_begin(&world);
    run_until(&world, calls_both);
    world.fakes[0].is_silent = true;
    unsigned ended = world.ended, calls = world.fakes[0].calls;
    start(&world, 10);
    world.fakes[0].is_cut = true;
    run_until(&world, is_answered);
    cr_assert_eq(world.ended, ended + 10);
    cr_assert_gt(world.failed, 0);
    cr_assert_eq(world.failed, world.fakes[0].calls - calls, "what the other one had is done");
    cr_assert_geq(world.fakes[0].probes, 2);
    cr_assert_eq(world.fakes[0].kept_count, world.failed, "none was answered");
    world_end(&world);
}

Test(workers, that_die_are_left_at_once, .timeout = 30)
{
    struct world world;

    world_begin(&world);
    run_until(&world, calls_both);
    bb_server_close(world.fakes[0].server);
    world.fakes[0].server = NULL;
    unsigned calls = world.fakes[1].calls;
    start(&world, 4);
    run_until(&world, is_answered);
    start(&world, 8);
    run_until(&world, is_answered);
    cr_assert_geq(world.fakes[1].calls, calls + 8);
    world_end(&world);
}
