/* Live queries with scripted workers: what runs, what is sent, and at which tx. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "bb/env.h"
#include "bb/value.h"
#include "session.h"

#define RUNS_MAX 64

static uint64_t clock_us;

static uint64_t fake_now(struct bb_env *env)
{
    (void)env;
    return clock_us;
}

/* A world without HTTP and without workers. */
struct world {
    struct bb_env_ops env_ops;
    struct bb_env env;
    struct bb_ctx ctx;
    struct sessions *sessions;
    struct live_entry *runs[RUNS_MAX]; /* asked for and not answered */
    uint64_t min_txs[RUNS_MAX];
    size_t run_count, asked_count;
    size_t resync_count;
};

/* A session of one query that keeps what it was sent. */
struct reader {
    struct session *session;
    bool is_blocked;
    size_t event_count;
    char last[64];
    bool last_is_failure;
    uint64_t last_tx;
};

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

static void world_init(struct world *world, uint64_t cursor, size_t running_max, size_t ring_bytes)
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

static void subscribe_as(struct world *world, struct reader *reader, const char *path,
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

static void subscribe(struct world *world, struct reader *reader, const char *path)
{
    subscribe_as(world, reader, path, "", 0);
}

static struct live_entry *take_run(struct world *world)
{
    struct live_entry *entry;

    cr_assert_gt(world->run_count, 0u, "nothing was asked to run");
    entry = world->runs[0];
    world->run_count--;
    memmove(world->runs, world->runs + 1, world->run_count * sizeof(world->runs[0]));
    memmove(world->min_txs, world->min_txs + 1, world->run_count * sizeof(world->min_txs[0]));
    return entry;
}

static void answer_end(struct live_entry *entry, enum live_end end, uint64_t tx, const char *value,
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

/* The oldest run ends with `value`, having read [low, high). */
static void answer(struct world *world, uint64_t tx, const char *value, const char *low,
                   const char *high)
{
    answer_end(take_run(world), LIVE_VALUE, tx, value, low, high);
}

static void write_key(struct world *world, uint64_t tx, const char *key)
{
    struct bb_slice keys[] = { bb_slice_str(key) };

    gateway_sessions_write(world->sessions, tx, keys, 1);
    gateway_sessions_advance(world->sessions, tx);
}

static void expect(const struct reader *reader, size_t count, const char *value, uint64_t tx)
{
    cr_expect_eq(reader->event_count, count, "events: %zu, wanted %zu", reader->event_count, count);
    cr_expect_str_eq(reader->last, value);
    cr_expect_eq(reader->last_tx, tx, "tx: %" PRIu64 ", wanted %" PRIu64, reader->last_tx, tx);
}

Test(live, b18_a_write_into_a_read_range_pushes_the_new_result)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    cr_expect_eq(world.min_txs[0], 100u);
    answer(&world, 100, "one", "k1", "k3");
    expect(&a, 1, "one", 100);
    write_key(&world, 101, "k2");
    cr_expect_eq(world.min_txs[0], 101u);
    answer(&world, 101, "two", "k1", "k3");
    expect(&a, 2, "two", 101);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, b19_a_write_elsewhere_runs_nothing)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "one", "k1", "k3");
    write_key(&world, 101, "k3");
    write_key(&world, 102, "k0");
    write_key(&world, 103, "j");
    cr_expect_eq(world.asked_count, 1u);
    expect(&a, 1, "one", 100);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, subscribers_of_one_query_share_one_run)
{
    struct world world;
    struct reader a;
    struct reader b;
    struct reader c;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    subscribe(&world, &b, "m:list");
    cr_expect_eq(world.asked_count, 1u);
    answer(&world, 100, "one", "k1", "k3");
    expect(&a, 1, "one", 100);
    expect(&b, 1, "one", 100);
    /* A late one gets the result at once, at the newest moment at which it is known to hold. */
    write_key(&world, 105, "zzz");
    subscribe(&world, &c, "m:list");
    expect(&c, 1, "one", 105);
    cr_expect_eq(world.asked_count, 1u);
    cr_expect_eq(gateway_live_entry_count(gateway_sessions_live(world.sessions)), 1u);
    gateway_session_free(a.session);
    gateway_session_free(b.session);
    gateway_session_free(c.session);
    gateway_sessions_free(world.sessions);
}

Test(live, equal_results_are_not_sent_again)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "one", "k1", "k3");
    write_key(&world, 101, "k1");
    answer(&world, 101, "one", "k1", "k3");
    expect(&a, 1, "one", 100);
    write_key(&world, 102, "k1");
    answer(&world, 102, "two", "k1", "k3");
    expect(&a, 2, "two", 102);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_write_between_run_and_registration_is_not_lost)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    /* While it runs nothing is registered yet. */
    write_key(&world, 101, "k2");
    cr_expect_eq(world.run_count, 1u);
    answer(&world, 100, "old", "k1", "k3");
    expect(&a, 1, "old", 100);
    cr_assert_eq(world.run_count, 1u, "the write at 101 was lost");
    cr_expect_geq(world.min_txs[0], 101u);
    answer(&world, 101, "new", "k1", "k3");
    expect(&a, 2, "new", 101);
    cr_expect_eq(world.run_count, 0u);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, writes_up_to_the_run_do_not_hit_it)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    /* It has seen 105 on another gateway: nothing runs before that is here. */
    subscribe_as(&world, &a, "m:list", "", 105);
    write_key(&world, 103, "k2");
    cr_expect_eq(world.asked_count, 0u);
    write_key(&world, 105, "k2");
    cr_expect_eq(world.asked_count, 1u);
    answer(&world, 105, "one", "k1", "k3");
    cr_expect_eq(world.asked_count, 1u);
    write_key(&world, 106, "k2");
    cr_expect_eq(world.asked_count, 2u);
    answer(&world, 106, "two", "k1", "k3");
    expect(&a, 2, "two", 106);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_ring_that_does_not_reach_back_means_run_again)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 200);
    subscribe(&world, &a, "m:list");
    for (uint64_t tx = 101; tx < 120; tx++)
        write_key(&world, tx, "somewhere else, but the ring is too small to know");
    answer(&world, 100, "old", "k1", "k3");
    cr_expect_eq(world.run_count, 1u);
    cr_expect_eq(world.min_txs[0], 119u);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, writes_faster_than_runs_coalesce)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "v100", "k1", "k3");
    for (uint64_t tx = 101; tx <= 150; tx++)
        write_key(&world, tx, "k1");
    cr_expect_eq(world.asked_count, 2u);
    answer(&world, 101, "v101", "k1", "k3");
    cr_expect_eq(world.asked_count, 3u);
    cr_expect_geq(world.min_txs[0], 150u);
    expect(&a, 2, "v101", 101);
    answer(&world, 150, "v150", "k1", "k3");
    cr_expect_eq(world.asked_count, 3u);
    expect(&a, 3, "v150", 150);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, old_ranges_stay_until_new_ones_replace_them)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "one", "k1", "k3");
    write_key(&world, 101, "k1");
    answer(&world, 101, "two", "p1", "p3");
    write_key(&world, 102, "k1");
    cr_expect_eq(world.asked_count, 2u, "the old range is gone");
    write_key(&world, 103, "p1");
    cr_expect_eq(world.asked_count, 3u);
    answer(&world, 103, "three", "p1", "p3");
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, an_error_is_sent_and_recovers)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer_end(take_run(&world), LIVE_FAILURE, 100, "boom", "k1", "k3");
    expect(&a, 1, "boom", 100);
    cr_expect(a.last_is_failure);
    write_key(&world, 101, "k1");
    answer(&world, 101, "fine", "k1", "k3");
    expect(&a, 2, "fine", 101);
    cr_expect_not(a.last_is_failure);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

static void deploy(struct world *world, uint64_t tx)
{
    struct bb_buf key = { 0 };
    struct bb_slice keys[1];
    struct bb_id id;

    bb_id_of_key(BB_TABLE_DEPLOYMENT, bb_slice_str("current"), &id);
    bb_key_by_id(&key, BB_TABLE_DEPLOYMENT, &id);
    keys[0] = bb_buf_slice(&key);
    gateway_sessions_write(world->sessions, tx, keys, 1);
    gateway_sessions_advance(world->sessions, tx);
    bb_buf_fini(&key);
}

Test(live, a_deploy_runs_everything_again)
{
    struct world world;
    struct reader a;
    struct reader b;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    subscribe(&world, &b, "m:missing");
    answer(&world, 100, "one", "k1", "k3");
    /* A function that does not exist has read nothing. */
    answer_end(take_run(&world), LIVE_FAILURE, 100, "not found", "", "");
    deploy(&world, 101);
    cr_expect_eq(world.run_count, 2u);
    for (int i = 0; i < 2; i++) {
        struct live_entry *run = take_run(&world);

        answer_end(run, LIVE_VALUE, 101, strcmp(run->key.path, "m:list") == 0 ? "one" : "here now",
                   "k1", "k3");
    }
    expect(&a, 1, "one", 100);
    expect(&b, 2, "here now", 101);
    gateway_session_free(a.session);
    gateway_session_free(b.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_query_that_looks_at_identity_splits_before_anything_is_sent)
{
    struct world world;
    struct reader ann;
    struct reader bob;
    struct reader eve;
    struct live_entry *run;

    world_init(&world, 100, 8, 1 << 20);
    subscribe_as(&world, &ann, "m:mine", "ann", 0);
    subscribe_as(&world, &bob, "m:mine", "bob", 0);
    cr_expect_eq(world.asked_count, 1u);
    run = take_run(&world);
    cr_expect(run->is_shared);
    answer_end(run, LIVE_NEEDS_IDENTITY, 0, "", "", "");
    cr_expect_eq(ann.event_count + bob.event_count, 0u);
    cr_assert_eq(world.run_count, 2u);
    for (int i = 0; i < 2; i++) {
        run = take_run(&world);
        cr_expect_not(run->is_shared);
        answer_end(run, LIVE_VALUE, 100,
                   bb_slice_equal_str(run->key.identity, "ann") ? "of ann" : "of bob", "k1", "k3");
    }
    expect(&ann, 1, "of ann", 100);
    expect(&bob, 1, "of bob", 100);
    /* The next one does not even ask the shared entry. */
    subscribe_as(&world, &eve, "m:mine", "eve", 0);
    run = take_run(&world);
    cr_expect_not(run->is_shared);
    answer_end(run, LIVE_VALUE, 100, "of eve", "k1", "k3");
    expect(&eve, 1, "of eve", 100);
    gateway_session_free(ann.session);
    gateway_session_free(bob.session);
    gateway_session_free(eve.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_query_that_looks_at_identity_later_splits_then)
{
    struct world world;
    struct reader ann;
    struct live_entry *run;

    world_init(&world, 100, 8, 1 << 20);
    subscribe_as(&world, &ann, "m:mine", "ann", 0);
    answer(&world, 100, "for all", "k1", "k3");
    expect(&ann, 1, "for all", 100);
    write_key(&world, 101, "k1");
    answer_end(take_run(&world), LIVE_NEEDS_IDENTITY, 0, "", "", "");
    run = take_run(&world);
    cr_expect_not(run->is_shared);
    answer_end(run, LIVE_VALUE, 101, "of ann", "k1", "k3");
    expect(&ann, 2, "of ann", 101);
    gateway_session_free(ann.session);
    gateway_sessions_free(world.sessions);
}

Test(live, the_suite_being_away_is_silent_and_tried_again)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "one", "k1", "k3");
    write_key(&world, 101, "k1");
    answer_end(take_run(&world), LIVE_AWAY, 0, "", "", "");
    cr_expect_eq(world.run_count, 0u);
    expect(&a, 1, "one", 100);
    clock_us += 60000;
    gateway_sessions_tick(world.sessions, true);
    cr_assert_eq(world.run_count, 1u);
    answer_end(take_run(&world), LIVE_AWAY, 0, "", "", "");
    gateway_sessions_tick(world.sessions, true);
    cr_expect_eq(world.run_count, 0u, "the second pause is longer");
    gateway_sessions_retry_now(world.sessions);
    answer(&world, 101, "two", "k1", "k3");
    expect(&a, 2, "two", 101);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_lost_feed_position_runs_everything_again)
{
    struct world world;
    struct reader a;
    struct reader b;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    subscribe(&world, &b, "m:other");
    answer(&world, 100, "one", "k1", "k3");
    gateway_sessions_skip(world.sessions, 500);
    /* The one that was running cannot know what happened in between. */
    answer(&world, 100, "other", "p", "q");
    cr_assert_eq(world.run_count, 2u);
    answer(&world, 500, "uno", "k1", "k3");
    answer(&world, 500, "otro", "p", "q");
    expect(&a, 2, "uno", 500);
    expect(&b, 2, "otro", 500);
    gateway_session_free(a.session);
    gateway_session_free(b.session);
    gateway_sessions_free(world.sessions);
}

Test(live, another_history_resyncs_subscribers)
{
    struct world world;
    struct reader a;
    struct live_entry *run;

    world_init(&world, 1000, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 1000, "one", "k1", "k3");
    write_key(&world, 1001, "k1");
    run = take_run(&world); /* still under way when the world changes */
    gateway_sessions_restart(world.sessions, 50);
    answer_end(run, LIVE_VALUE, 1001, "of the old world", "k1", "k3");
    expect(&a, 1, "one", 1000);
    answer(&world, 50, "new", "k1", "k3");
    expect(&a, 2, "new", 50);
    cr_expect_eq(world.resync_count, 1u);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_resuming_subscriber_never_sees_an_older_moment)
{
    struct world world;
    struct reader a;
    struct reader b;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "one", "k1", "k3");
    /* It saw 200 on another gateway, whose feed is ahead of ours. */
    subscribe_as(&world, &b, "m:list", "", 200);
    expect(&b, 0, "", 200);
    cr_expect_eq(world.run_count, 0u);
    write_key(&world, 200, "k2");
    cr_assert_eq(world.run_count, 1u, "one run for both");
    answer(&world, 200, "two", "k1", "k3");
    expect(&b, 1, "two", 200);
    expect(&a, 2, "two", 200);
    gateway_session_free(a.session);
    gateway_session_free(b.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_moment_that_does_not_exist_can_be_forgotten)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe_as(&world, &a, "m:list", "", 900);
    cr_expect_eq(world.run_count, 0u);
    clock_us += 5000001;
    gateway_sessions_tick(world.sessions, false);
    cr_expect_eq(world.run_count, 0u, "who does not follow the feed cannot know");
    gateway_sessions_tick(world.sessions, true);
    cr_assert_eq(world.run_count, 1u);
    cr_expect_eq(world.min_txs[0], 100u);
    answer(&world, 100, "one", "k1", "k3");
    expect(&a, 1, "one", 100);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_blocked_reader_gets_the_newest_result_only)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "one", "k1", "k3");
    a.is_blocked = true;
    for (uint64_t tx = 101; tx < 110; tx++)
        write_key(&world, tx, "k1");
    cr_expect_eq(world.run_count, 0u, "nothing runs for who does not read");
    expect(&a, 1, "one", 100);
    a.is_blocked = false;
    gateway_session_wake(a.session);
    answer(&world, 109, "v109", "k1", "k3");
    expect(&a, 2, "v109", 109);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, runs_at_once_are_bounded_and_none_is_forgotten)
{
    struct world world;
    struct reader readers[6];
    char path[16];

    world_init(&world, 100, 2, 1 << 20);
    for (size_t i = 0; i < BB_COUNT_OF(readers); i++) {
        (void)snprintf(path, sizeof(path), "m:q%zu", i);
        subscribe(&world, &readers[i], path);
        cr_expect_leq(world.run_count, 2u);
    }
    while (world.run_count > 0) {
        cr_expect_leq(world.run_count, 2u);
        answer(&world, 100, "one", "k1", "k3");
    }
    for (size_t i = 0; i < BB_COUNT_OF(readers); i++) {
        expect(&readers[i], 1, "one", 100);
        gateway_session_free(readers[i].session);
    }
    gateway_sessions_free(world.sessions);
}

Test(live, an_entry_goes_some_time_after_its_last_subscriber)
{
    struct world world;
    struct reader a;
    struct reader b;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "one", "k1", "k3");
    gateway_session_free(a.session);
    clock_us += 5000000;
    gateway_sessions_tick(world.sessions, true);
    subscribe(&world, &b, "m:list");
    cr_expect_eq(world.asked_count, 1u, "it was kept");
    expect(&b, 1, "one", 100);
    gateway_session_free(b.session);
    clock_us += 10000001;
    gateway_sessions_tick(world.sessions, true);
    cr_expect_eq(gateway_live_entry_count(gateway_sessions_live(world.sessions)), 0u);
    cr_expect_eq(gateway_live_range_count(gateway_sessions_live(world.sessions)), 0u);
    cr_expect_eq(gateway_live_bytes(gateway_sessions_live(world.sessions)), 0u);
    gateway_sessions_free(world.sessions);
}

Test(live, an_unwatched_entry_that_is_hit_is_freed_and_not_run)
{
    struct world world;
    struct reader a;
    struct reader b;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "one", "k1", "k3");
    gateway_session_free(a.session);
    write_key(&world, 101, "k1");
    cr_expect_eq(world.asked_count, 1u);
    cr_expect_eq(gateway_live_entry_count(gateway_sessions_live(world.sessions)), 0u);
    subscribe(&world, &b, "m:list");
    answer(&world, 101, "two", "k1", "k3");
    expect(&b, 1, "two", 101);
    /* Leaves while its next run is under way. */
    write_key(&world, 102, "k1");
    gateway_session_free(b.session);
    answer(&world, 102, "three", "k1", "k3");
    cr_expect_eq(gateway_live_entry_count(gateway_sessions_live(world.sessions)), 0u);
    gateway_sessions_free(world.sessions);
}

Test(live, who_comes_between_a_hit_and_the_end_of_its_batch_is_not_forgotten)
{
    struct world world;
    struct bb_slice keys[] = { bb_slice_str("k1") };
    struct reader a;
    struct reader b;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer(&world, 100, "one", "k1", "k3");
    gateway_session_free(a.session);
    /* A record that does not follow on the last one ends the batch: the cursor stays. */
    gateway_sessions_write(world.sessions, 101, keys, 1);
    subscribe(&world, &b, "m:list");
    expect(&b, 1, "one", 100);
    gateway_sessions_skip(world.sessions, 110);
    while (world.run_count > 0)
        answer(&world, 110, "two", "k1", "k3");
    expect(&b, 2, "two", 110);
    gateway_session_free(b.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_failure_that_may_pass_is_shown_and_tried_again_without_a_write)
{
    struct world world;
    struct reader a;
    struct live_answer slow = { .end = LIVE_FAILURE,
                                .hash = { 1, 2 },
                                .payload = bb_slice_str("too slow"),
                                .is_passing = true };

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    gateway_sessions_answered(world.sessions, take_run(&world), &slow);
    expect(&a, 1, "too slow", 100);
    cr_expect(a.last_is_failure);
    clock_us += 29000000;
    gateway_sessions_tick(world.sessions, true);
    cr_expect_eq(world.run_count, 0u, "a function that never ends must not run all the time");
    clock_us += 2000000;
    gateway_sessions_tick(world.sessions, true);
    answer(&world, 100, "one", "k1", "k3");
    expect(&a, 2, "one", 100);
    clock_us += 60000000;
    gateway_sessions_tick(world.sessions, true);
    cr_expect_eq(world.run_count, 0u);
    /* One that nobody watches any more is not run for nobody. */
    write_key(&world, 101, "k1");
    gateway_sessions_answered(world.sessions, take_run(&world), &slow);
    gateway_session_free(a.session);
    clock_us += 31000000;
    gateway_sessions_tick(world.sessions, true);
    cr_expect_eq(world.run_count, 0u);
    cr_expect_eq(gateway_live_entry_count(gateway_sessions_live(world.sessions)), 0u);
    gateway_sessions_free(world.sessions);
}

Test(live, memory_is_bounded)
{
    struct world world;
    struct reader readers[1];
    static char big[1 << 20];

    world_init(&world, 100, 8, 1 << 20);
    memset(big, 'x', sizeof(big) - 1);
    subscribe(&world, &readers[0], "m:list");
    answer(&world, 100, big, "k1", "k3");
    cr_expect_not(gateway_live_has_room(gateway_sessions_live(world.sessions)));
    cr_expect_eq(
        gateway_session_add(&world.ctx, readers[0].session, 2, "m:more", bb_slice_str("a"), NULL),
        BB_OVERLOADED);
    gateway_session_free(readers[0].session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_session_has_bounds_that_name_themselves)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    cr_expect_eq(gateway_session_add(&world.ctx, a.session, 1, "m:other", bb_slice_str(""), NULL),
                 BB_BAD_REQUEST, "the id is taken");
    cr_expect_eq(gateway_session_add(&world.ctx, a.session, 2, "m:long",
                                     bb_slice_str("12345678901234567890123456789012345678901234567"
                                                  "8901234567890123456789012345678901234567890"),
                                     NULL),
                 BB_TOO_LARGE);
    cr_expect_not_null(strstr(world.ctx.error, "--session-bytes"));
    for (uint32_t id = 2; id <= 4; id++)
        cr_expect_eq(gateway_session_add(&world.ctx, a.session, id, "m:l", bb_slice_str(""), NULL),
                     BB_OK);
    cr_expect_eq(gateway_session_add(&world.ctx, a.session, 5, "m:l", bb_slice_str(""), NULL),
                 BB_TOO_LARGE);
    cr_expect_not_null(strstr(world.ctx.error, "--session-queries"));
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, p14_a_session_may_ask_for_fewer_events)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    gateway_session_set_refresh(a.session, 500000);
    answer(&world, 100, "one", "k1", "k3");
    for (uint64_t tx = 101; tx < 110; tx++)
        write_key(&world, tx, "k1");
    cr_expect_eq(world.run_count, 0u, "too early");
    clock_us += 499999;
    gateway_sessions_tick(world.sessions, true);
    cr_expect_eq(world.run_count, 0u);
    clock_us += 1;
    gateway_sessions_tick(world.sessions, true);
    answer(&world, 109, "ten", "k1", "k3");
    expect(&a, 2, "ten", 109);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, two_queries_of_a_session_move_together)
{
    struct world world;
    struct reader a;
    struct live_entry *first;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    cr_expect_eq(gateway_session_add(&world.ctx, a.session, 2, "m:count", bb_slice_str(""), NULL),
                 BB_OK);
    (void)gateway_session_go(a.session);
    answer(&world, 100, "one", "k1", "k3");
    expect(&a, 0, "", 0);
    answer(&world, 100, "1", "k1", "k3");
    cr_expect_eq(a.event_count, 2u);
    write_key(&world, 101, "k1");
    first = take_run(&world);
    answer(&world, 101, "2", "k1", "k3");
    /* A write that comes while the first still runs is for the next round. */
    write_key(&world, 102, "k1");
    cr_expect_eq(a.event_count, 2u);
    cr_expect_eq(world.run_count, 0u);
    answer_end(first, LIVE_VALUE, 101, "two", "k1", "k3");
    cr_expect_eq(a.event_count, 4u);
    cr_expect_eq(a.last_tx, 101u);
    cr_assert_eq(world.run_count, 2u);
    cr_expect_eq(world.min_txs[0], 102u);
    answer(&world, 102, "three", "k1", "k3");
    answer(&world, 102, "3", "k1", "k3");
    cr_expect_eq(a.last_tx, 102u);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_moment_that_is_too_old_twice_is_run_first_and_alone)
{
    struct world world;
    struct reader a;
    struct live_entry *slow;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:slow");
    cr_expect_eq(gateway_session_add(&world.ctx, a.session, 2, "m:quick", bb_slice_str(""), NULL),
                 BB_OK);
    (void)gateway_session_go(a.session);
    for (uint64_t tx = 101; tx < 103; tx++) {
        slow = take_run(&world);
        while (world.run_count > 0)
            answer(&world, tx - 1, "quick", "q1", "q3");
        write_key(&world, tx, "q1");
        answer_end(slow, LIVE_TOO_OLD, 0, "", "", "");
        cr_expect_eq(a.event_count, 0u);
    }
    cr_assert_eq(world.run_count, 1u, "the slow one alone");
    answer(&world, 102, "slow", "k1", "k3");
    answer(&world, 102, "quick", "q1", "q3");
    cr_expect_eq(a.event_count, 2u);
    cr_expect_eq(a.last_tx, 102u);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, who_comes_back_gets_only_what_differs)
{
    struct world world;
    struct reader a;
    struct bb_slice held_payload = bb_slice_str("one");
    uint64_t held[2] = { bb_hash64(held_payload, 0) & ~(uint64_t)1, bb_hash64(held_payload, 1) };

    world_init(&world, 100, 8, 1 << 20);
    memset(&a, 0, sizeof(a));
    a.session = gateway_session_new(world.sessions,
                                    &(struct session_options){ .after_tx = 90, .owner = &a });
    cr_expect_eq(gateway_session_add(&world.ctx, a.session, 1, "m:list", bb_slice_str(""), held),
                 BB_OK);
    cr_expect_eq(gateway_session_add(&world.ctx, a.session, 2, "m:count", bb_slice_str(""), held),
                 BB_OK);
    (void)gateway_session_go(a.session);
    answer(&world, 100, "one", "k1", "k3");
    answer(&world, 100, "2", "k1", "k3");
    expect(&a, 1, "2", 100);
    gateway_session_reach(a.session, 101);
    cr_expect_eq(a.last_tx, 100u);
    write_key(&world, 101, "elsewhere");
    cr_expect_eq(a.last_tx, 101u, "a moment that was promised comes, though nothing differs");
    cr_expect_eq(a.event_count, 1u);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, nothing_runs_before_the_feed_names_a_moment)
{
    struct world world;
    struct reader a;

    world_init(&world, 0, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    clock_us += 60000000;
    gateway_sessions_tick(world.sessions, true);
    cr_expect_eq(world.run_count, 0u);
    gateway_sessions_skip(world.sessions, 100);
    answer(&world, 100, "one", "k1", "k3");
    expect(&a, 1, "one", 100);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}

Test(live, a_moment_that_is_gone_is_not_asked_for_all_the_time)
{
    struct world world;
    struct reader a;

    world_init(&world, 100, 8, 1 << 20);
    subscribe(&world, &a, "m:list");
    answer_end(take_run(&world), LIVE_TOO_OLD, 0, "", "", "");
    cr_expect_eq(world.run_count, 0u, "the feed knows no newer moment");
    clock_us += 250000;
    gateway_sessions_tick(world.sessions, true);
    cr_expect_eq(world.run_count, 1u);
    answer(&world, 100, "one", "k1", "k3");
    expect(&a, 1, "one", 100);
    gateway_session_free(a.session);
    gateway_sessions_free(world.sessions);
}
