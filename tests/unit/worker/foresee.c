/* What arguments lead to is read before a call has a slot. */
#include <criterion/criterion.h>

#include "bb/env.h"
#include "bb/value.h"

#include "worker.h"

#define TABLE BB_TABLE_USER_MIN
#define NOW   1000000u

struct world {
    struct bb_env env;
    struct bb_env_ops env_ops;
    struct bb_ctx ctx;
    struct worker worker;
    Bb__Proto__Call request;
    uint8_t key[COPIES_KEY_SIZE];
};

/* No time goes by, however busy the machine is. */
static uint64_t still(struct bb_env *env)
{
    (void)env;
    return NOW;
}

static void set_key(struct world *w, const char *name)
{
    struct bb_id id;
    bb_id_of_key(TABLE, bb_slice_str(name), &id);
    bb_put_be32(w->key, BB_INDEX_BY_ID(TABLE));
    memcpy(w->key + 4, id.bytes, sizeof(id.bytes));
}

static struct bb_slice key(const struct world *w)
{
    return bb_slice(w->key, sizeof(w->key));
}

static void make(struct world *w)
{
    static uint8_t id[16];
    static char path[] = "counters:increment";
    *w = (struct world){ .env_ops = *bb_env_real()->ops,
                         .worker = { .feed = { .epoch = 1, .cursor = 100, .durable = 100 },
                                     .queue_max = 1000 } };
    struct worker *worker = &w->worker;
    w->env_ops.now_us = still;
    w->env.ops = &w->env_ops;
    w->ctx.env = &w->env;
    worker->ctx = &w->ctx;
    worker->cache = worker_cache_new(1 << 20);
    worker->patterns = worker_patterns_new();
    worker->scratch = bb_arena_new(0);
    worker->count.foreseen = bb_metric("foreseen", BB_COUNTER, "");
    worker->count.calls = bb_metric("calls", BB_COUNTER, "");
    worker->count.call_time = bb_histogram("call", "");
    bb_list_init(&worker->readings);
    bb_list_init(&worker->fetches);
    bb_list_init(&worker->call_pool);
    for (size_t i = 0; i < CALL_STATE_COUNT; i++) {
        bb_list_init(&worker->calls[i]);
    }
    bb__proto__call__init(&w->request);
    w->request.request_id = w->request.seed = bb_slice_pb(bb_slice(id, sizeof(id)));
    w->request.path = path;
    w->request.kind = BB__PROTO__FUNCTION_KIND__KIND_MUTATION;
}

static void done(struct world *w)
{
    struct worker *worker = &w->worker;
    for (size_t i = 0; i < CALL_STATE_COUNT; i++) {
        while (!bb_list_is_empty(&worker->calls[i])) {
            struct call *call = bb_container(worker->calls[i].next, struct call, link);
            worker_reading_free(call->reading);
            call->reading = NULL;
            worker_call_release(worker, call);
        }
    }
    worker_reads_turn(worker); /* what nobody waits for any more goes */
    while (!bb_list_is_empty(&worker->call_pool)) {
        struct call *call = bb_container(worker->call_pool.next, struct call, link);
        bb_list_remove(&call->link);
        bb_arena_free(call->arena);
        bb_free(call);
    }
    worker_cache_free(worker->cache);
    worker_patterns_free(worker->patterns);
    bb_arena_free(worker->scratch);
    bb_free(worker->pending);
}

/* { field: text }, for as long as a test lives. */
static struct bb_slice object(const char *field, const char *text)
{
    struct bb_value_builder *builder = bb_value_builder_new();
    static uint8_t bytes[16][128];
    static size_t next;
    uint8_t *to = bytes[next++ % 16];
    bb_value_begin_object(builder);
    bb_value_field_name(builder, bb_slice_str(field));
    bb_value_put_string(builder, bb_slice_str(text));
    bb_value_end_object(builder);
    struct bb_slice made = bb_value_finish(builder);
    cr_assert_leq(made.size, sizeof(bytes[0]));
    memcpy(to, made.data, made.size);
    bb_value_builder_free(builder);
    return bb_slice(to, made.size);
}

/* A call with { counter: name } arrives. */
static struct call *arrive(struct world *w, const char *name)
{
    w->request.args = bb_slice_pb(object("counter", name));
    worker_call_arrive(&w->worker, NULL, &w->request);
    for (size_t i = 0; i < CALL_STATE_COUNT; i++) {
        bb_list_each(item, &w->worker.calls[i]) {
            struct call *call = bb_container(item, struct call, link);
            if (call->id == w->worker.next_call) {
                return call;
            }
        }
    }
    cr_assert_fail("it is nowhere");
    return NULL;
}

/* Its run has read the document, or something else. */
static void ran(struct world *w, struct call *call, bool has_read)
{
    uint8_t after[COPIES_KEY_SIZE + 1] = { 0 };
    Bb__Proto__SlotDone slot_done;
    Bb__Proto__Range range, *ranges = &range;
    memcpy(after, w->key, sizeof(w->key));
    bb__proto__slot_done__init(&slot_done);
    bb__proto__range__init(&range);
    range.low = bb_slice_pb(has_read ? key(w) : bb_slice(after, 3));
    range.high = bb_slice_pb(has_read ? bb_slice(after, sizeof(after)) : key(w));
    slot_done.n_reads = 1;
    slot_done.reads = &ranges;
    worker_foreseen_judge(&w->worker, call, &slot_done);
}

/* Calls by which the supervisor learns that they get what has the key "c/" and the argument. */
static void teach(struct world *w)
{
    struct read_entry entry = { .key = key(w), .value = object("_key", "c/one") };
    struct cache_read read = { .low = key(w), .entries = &entry, .entry_count = 1 };
    set_key(w, "c/one");
    for (unsigned i = 0; i < 4; i++) {
        struct call *call = arrive(w, "one");
        cr_assert_eq(call->state, CALL_QUEUED, "nothing is sure yet");
        worker_foreseen_learn(&w->worker, call, &read);
        ran(w, call, true);
    }
}

Test(foresee, a_document_that_the_arguments_name_is_read_before_the_call_is_queued)
{
    struct world w;
    make(&w);
    teach(&w);
    struct call *call = arrive(&w, "two");
    cr_assert_eq(call->state, CALL_PREPARING);
    cr_assert_eq(w.worker.pending_count, 1);
    const struct reading *reading = call->reading;
    set_key(&w, "c/two");
    cr_assert(bb_slice_equal(reading->reads[0].low, key(&w)));
    done(&w);
}

Test(foresee, what_is_known_is_not_waited_for)
{
    struct world w;
    make(&w);
    teach(&w);
    set_key(&w, "c/two");
    struct bb_arena *arena = bb_arena_new(0);
    struct cache_read read = { .arena = arena, .low = key(&w), .snapshot = 100 };
    struct fill_entry entry = { .key = key(&w), .value = bb_slice_str("value"), .tx = 50 };
    struct cache_fill fill = { .at = 100, .entries = &entry, .count = 1, .is_complete = true };
    cr_assert_not(worker_cache_step(w.worker.cache, &read));
    worker_cache_fill(&w.ctx, w.worker.cache, &read, &read.needs[0], &fill);
    cr_assert_eq(arrive(&w, "two")->state, CALL_QUEUED);
    cr_assert_eq(w.worker.pending_count, 0);
    bb_arena_free(arena);
    done(&w);
}

Test(foresee, a_call_runs_without_when_storage_is_silent)
{
    struct world w;
    make(&w);
    teach(&w);
    struct call *call = arrive(&w, "two");
    worker_reads_overdue(&w.worker, NOW + 99999);
    cr_assert_eq(call->state, CALL_PREPARING);
    worker_reads_overdue(&w.worker, NOW + 100000);
    cr_assert_eq(call->state, CALL_QUEUED);
    cr_assert_null(call->reading);
    done(&w);
}

Test(foresee, functions_that_do_not_read_it_any_more_do_not_wait_for_it)
{
    struct world w;
    make(&w);
    teach(&w);
    struct call *call = arrive(&w, "two");
    cr_assert_eq(call->state, CALL_PREPARING);
    set_key(&w, "c/two");
    ran(&w, call, false);
    cr_assert_eq(arrive(&w, "three")->state, CALL_QUEUED);
    done(&w);
}
