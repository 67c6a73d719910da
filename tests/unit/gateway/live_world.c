#include "live_world.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "session.h"

uint64_t clock_us;

static uint64_t fake_now(struct bb_env *env)
{
    (void)env;
    return clock_us;
}

static struct world *the_world;

static void evaluate(void *arg, struct live_entry *entry, uint64_t min_tx)
{
    struct world *world = arg;

    cr_assert_lt(world->run_count, RUNS_MAX);
    world->runs[world->run_count] = entry;
    world->min_txs[world->run_count++] = min_tx;
    world->asked_count++;
}

static void deliver(void *arg, struct session *session, const struct session_event *event)
{
    struct world *world = arg;
    struct reader *reader = gateway_session_owner(session);

    cr_assert_not(reader->is_blocked);
    if (event->is_resync) {
        world->resync_count++;
        reader->last_tx = 0;
    }
    cr_assert_geq(event->tx, reader->last_tx, "time went back from %" PRIu64 " to %" PRIu64,
                  reader->last_tx, event->tx);
    reader->last_tx = event->tx;
    for (size_t i = 0; i < event->change_count; i++) {
        const struct live_result *result = event->changes[i].result;

        reader->event_count++;
        reader->last_is_failure = result->is_failure;
        (void)snprintf(reader->last, sizeof(reader->last), "%.*s",
                       BB_SLICE_ARG(bb_buf_slice(&result->payload)));
    }
}

static bool is_blocked(void *arg, const struct session *session)
{
    const struct reader *reader = gateway_session_owner(session);

    (void)arg;
    return reader->is_blocked;
}

static const struct session_ops ops = { .evaluate = evaluate,
                                        .deliver = deliver,
                                        .is_blocked = is_blocked };

void world_init(struct world *world, uint64_t cursor, size_t running_max, size_t ring_bytes)
{
    memset(world, 0, sizeof(*world));
    clock_us = 1000000;
    world->env_ops.now_us = fake_now;
    world->env.ops = &world->env_ops;
    world->ctx.env = &world->env;
    the_world = world;
    world->sessions =
        gateway_sessions_new(&world->ctx, &(struct sessions_options){ .ops = &ops,
                                                                      .arg = world,
                                                                      .running_max = running_max,
                                                                      .bytes_max = 1 << 20,
                                                                      .ring_bytes_max = ring_bytes,
                                                                      .idle_us = 10000000,
                                                                      .queries_max = 4,
                                                                      .query_bytes_max = 100,
                                                                      .wait_us = 5000000 });
    gateway_sessions_skip(world->sessions, cursor);
}

void subscribe_as(struct world *world, struct reader *reader, const char *path,
                  const char *identity, uint64_t after)
{
    memset(reader, 0, sizeof(*reader));
    reader->last_tx = after;
    reader->session = gateway_session_new(
        world->sessions, &(struct session_options){ .identity = bb_slice_str(identity),
                                                    .after_tx = after,
                                                    .owner = reader });
    cr_assert_eq(
        gateway_session_add(&world->ctx, reader->session, 1, path, bb_slice_str("args"), NULL),
        BB_OK);
    (void)gateway_session_go(reader->session);
}

void subscribe(struct world *world, struct reader *reader, const char *path)
{
    subscribe_as(world, reader, path, "", 0);
}

struct live_entry *take_run(struct world *world)
{
    struct live_entry *entry;

    cr_assert_gt(world->run_count, 0u, "nothing was asked to run");
    entry = world->runs[0];
    world->run_count--;
    memmove(world->runs, world->runs + 1, world->run_count * sizeof(world->runs[0]));
    memmove(world->min_txs, world->min_txs + 1, world->run_count * sizeof(world->min_txs[0]));
    return entry;
}

void answer_end(struct live_entry *entry, enum live_end end, uint64_t tx, const char *value,
                const char *low, const char *high)
{
    struct live_range range = { bb_slice_str(low), bb_slice_str(high) };
    struct bb_slice payload = bb_slice_str(value);

    cr_expect(end != LIVE_VALUE || entry->run_tx == tx, "it ran at %" PRIu64, entry->run_tx);
    gateway_sessions_answered(
        the_world->sessions, entry,
        &(struct live_answer){ .end = end,
                               .hash = { bb_hash64(payload, 0), bb_hash64(payload, 1) },
                               .payload = payload,
                               .ranges = &range,
                               .range_count = low[0] == '\0' ? 0 : 1 });
}

void answer(struct world *world, uint64_t tx, const char *value, const char *low, const char *high)
{
    answer_end(take_run(world), LIVE_VALUE, tx, value, low, high);
}

void write_key(struct world *world, uint64_t tx, const char *key)
{
    struct bb_slice keys[] = { bb_slice_str(key) };

    gateway_sessions_write(world->sessions, tx, keys, 1);
    gateway_sessions_advance(world->sessions, tx);
}

void expect(const struct reader *reader, size_t count, const char *value, uint64_t tx)
{
    cr_expect_eq(reader->event_count, count, "events: %zu, wanted %zu", reader->event_count, count);
    cr_expect_str_eq(reader->last, value);
    cr_expect_eq(reader->last_tx, tx, "tx: %" PRIu64 ", wanted %" PRIu64, reader->last_tx, tx);
}
