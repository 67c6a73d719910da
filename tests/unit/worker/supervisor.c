/* The supervisor's own steps on a slot without a process: what it is sent, and what its answers do.
 */
#include <criterion/criterion.h>

#include "bb/value.h"

#include "slot.h"

struct world {
    struct bb_env env;
    struct bb_env_ops env_ops;
    struct bb_ctx ctx;
    struct worker worker;
    struct slot slot;
    struct catalog *catalog;
    Bb__Proto__Call request;
};

/* No time goes by by itself, however busy the machine is. */
static uint64_t clock_us = 1000000;
static uint64_t still(struct bb_env *env)
{
    (void)env;
    return clock_us;
}

static void make_metrics(struct worker_counters *count)
{
    count->calls = bb_metric("calls", BB_COUNTER, "");
    count->retries = bb_metric("retries", BB_COUNTER, "");
    count->slot_recalled = bb_metric("recalled", BB_COUNTER, "");
    count->slot_hints = bb_metric("hints", BB_COUNTER, "");
    count->foreseen = bb_metric("foreseen", BB_COUNTER, "");
    count->slot_reads = bb_metric("reads", BB_COUNTER, "");
    count->forgotten = bb_metric("forgotten", BB_COUNTER, "");
    count->call_time = bb_histogram("call", "");
    count->run_time = bb_histogram("run", "");
    count->row_time = bb_histogram("row", "");
}

static void know_code(struct world *w)
{
    struct cache_read reads[CATALOG_READS] = { { .status = BB_OK } };
    cr_assert_eq(worker_catalogs_add(&w->ctx, w->worker.catalogs, 100, true, reads, &w->catalog),
                 BB_OK);
    w->slot.known[w->slot.known_count].deployment = w->catalog->id;
    w->slot.known[w->slot.known_count++].code = w->catalog->code;
}

static void make_request(Bb__Proto__Call *request)
{
    static uint8_t id[16];
    static char path[] = "_system:status";
    bb__proto__call__init(request);
    request->request_id = request->seed = bb_slice_pb(bb_slice(id, sizeof(id)));
    request->path = path;
    request->kind = BB__PROTO__FUNCTION_KIND__KIND_QUERY;
    request->is_live = request->is_admin = true;
}

static void make(struct world *w)
{
    *w = (struct world){ .env_ops = *bb_env_real()->ops,
                         .worker = { .feed = { .epoch = 1, .cursor = 100, .durable = 100 },
                                     .queue_max = 1000,
                                     .slot_count = 1,
                                     .outcomes_ms = 7 * 86400000ull } };
    w->env_ops.now_us = still;
    w->env.ops = &w->env_ops;
    w->ctx.env = &w->env;
    struct worker *worker = &w->worker;
    worker->ctx = &w->ctx;
    worker->slots = &w->slot;
    worker->cache = worker_cache_new(1 << 20);
    worker->copies = worker_copies_new(1);
    worker->hints = worker_hints_new();
    worker->patterns = worker_patterns_new();
    worker->catalogs = worker_catalogs_new();
    worker->lanes = worker_lanes_new();
    worker->scratch = bb_arena_new(0);
    worker->forget = worker_forget_new(0);
    cr_assert_eq(worker_zygote_new(worker, "exec", &worker->zygote), BB_OK);
    for (size_t i = 0; i < CALL_STATE_COUNT; i++) {
        bb_list_init(&worker->calls[i]);
    }
    bb_list_init(&worker->chains);
    bb_list_init(&worker->readings);
    bb_list_init(&worker->call_pool);
    make_metrics(&worker->count);
    w->slot = (struct slot){ .magic = SLOT_MAGIC, .worker = worker, .state = SLOT_IDLE };
    bb_list_init(&w->slot.behind);
    know_code(w);
    make_request(&w->request);
}

static void free_calls(struct worker *worker)
{
    while (!bb_list_is_empty(&worker->calls[CALL_QUEUED])) {
        worker_call_release(worker,
                            bb_container(worker->calls[CALL_QUEUED].next, struct call, link));
    }
    while (!bb_list_is_empty(&worker->call_pool)) {
        struct call *call = bb_container(worker->call_pool.next, struct call, link);
        bb_list_remove(&call->link);
        bb_arena_free(call->arena);
        bb_free(call);
    }
}

static void done(struct world *w)
{
    struct worker *worker = &w->worker;
    free_calls(worker);
    worker_zygote_free(worker->zygote);
    worker_forget_free(worker->forget);
    worker_cache_free(worker->cache);
    worker_copies_free(worker->copies);
    worker_hints_free(worker->hints);
    worker_patterns_free(worker->patterns);
    worker_catalogs_free(worker->catalogs);
    worker_lanes_free(worker->lanes);
    bb_arena_free(worker->scratch);
}

/* The slot says that it has run this call. */
static void answer(struct world *w, uint64_t call)
{
    Bb__Proto__FromSlot frame;
    Bb__Proto__SlotDone message;
    uint8_t bytes[256];
    bb__proto__from_slot__init(&frame);
    bb__proto__slot_done__init(&message);
    message.call = call;
    frame.op_case = BB__PROTO__FROM_SLOT__OP_DONE;
    frame.done = &message;
    size_t size = bb__proto__from_slot__pack(&frame, bytes);
    cr_assert_eq(worker_slot_frame(&w->slot, bb_slice(bytes, size)), BB_OK, "%s", w->ctx.error);
}

/* Two slots, and calls that take so long; how many each of them was sent. */
static void send_out_with(uint64_t ahead_work_us, uint64_t took_us, size_t calls, size_t sent[2])
{
    struct world w;
    struct slot two[2];
    make(&w);
    for (size_t i = 0; i < 2; i++) {
        two[i] = w.slot;
        two[i].index = i;
        bb_list_init(&two[i].behind);
    }
    w.worker.slots = two;
    w.worker.slot_count = 2;
    w.worker.ahead_work_us = ahead_work_us;
    if (took_us > 0) {
        worker_pace_observe(&w.worker.pace, bb_hash64(bb_slice_str(w.request.path), 1), took_us);
    }
    for (size_t i = 0; i < calls; i++) {
        worker_call_arrive(&w.worker, NULL, &w.request);
    }
    worker_dispatch(&w.worker);
    for (size_t i = 0; i < 2; i++) {
        sent[i] = (two[i].call != NULL) + two[i].behind_count;
        cr_assert_eq(two[i].expected_us, sent[i] * took_us);
        bb_list_each_safe(item, &two[i].behind) {
            struct call *call = bb_container(item, struct call, slot_link);
            worker_slot_drop(&two[i], call);
            worker_call_requeue(&w.worker, call);
        }
        if (two[i].call != NULL) {
            two[i].call->slot = NULL;
            worker_call_requeue(&w.worker, two[i].call);
        }
    }
    done(&w);
}

static void send_out(uint64_t took_us, size_t calls, size_t sent[2])
{
    send_out_with(200, took_us, calls, sent);
}

Test(supervisor, where_cores_are_few_a_second_slot_is_woken_for_more_work_only)
{
    size_t sent[2];
    send_out_with(200, 60, 6, sent);
    cr_assert(sent[0] == 4 && sent[1] == 2, "%zu %zu", sent[0], sent[1]);
    send_out_with(1000, 60, 6, sent);
    cr_assert(sent[0] == 6 && sent[1] == 0, "%zu %zu", sent[0], sent[1]);
}

Test(supervisor, short_calls_gather_on_one_slot_and_long_ones_spread)
{
    size_t sent[2];
    send_out(30, 4, sent);
    cr_assert(sent[0] == 4 && sent[1] == 0, "%zu %zu", sent[0], sent[1]);
    send_out(30, 100, sent);
    cr_assert(sent[0] == 49 && sent[1] == 49, "%zu %zu: bounded by number", sent[0], sent[1]);
    send_out(400, 3, sent);
    cr_assert(sent[0] == 2 && sent[1] == 1, "%zu %zu", sent[0], sent[1]);
    send_out(400, 100, sent);
    cr_assert(sent[0] == 5 && sent[1] == 5, "%zu %zu: bounded by time", sent[0], sent[1]);
    send_out(5000, 100, sent);
    cr_assert(sent[0] == 1 && sent[1] == 1, "%zu %zu: none waits behind a long one", sent[0],
              sent[1]);
    send_out(0, 100, sent);
    cr_assert(sent[0] == 1 && sent[1] == 1, "%zu %zu: of these nothing is known", sent[0], sent[1]);
}

Test(supervisor, a_slot_that_is_sent_calls_ahead_is_free_now_and_then)
{
    struct world w;
    unsigned ran = 0;
    make(&w);
    do {
        while (w.worker.call_count < 8) {
            worker_call_arrive(&w.worker, NULL, &w.request);
        }
        worker_dispatch(&w.worker);
        cr_assert_eq(w.slot.state, SLOT_BUSY);
        answer(&w, w.slot.call->id);
        ran++;
    } while (ran == 1 || (w.slot.state != SLOT_IDLE && ran < 10000));
    cr_assert_eq(w.slot.state, SLOT_IDLE, "others wait, and a lane would get it");
    cr_assert_leq(ran, 2 * SLOT_AHEAD_ROW);
    done(&w);
}

/* While a lane's calls take long, they go one by one. What each of them took is noted all the same:
 * else they would for as long as the lane is hot. */
Test(supervisor, a_lane_whose_calls_were_slow_runs_in_rows_again)
{
    struct world w;
    Bb__Proto__SlotDone message;
    make(&w);
    struct lanes *lanes = w.worker.lanes;
    struct call call = { .is_system = true, .is_in_lane = true, .done = &message };
    call.lane = worker_lanes_heat(lanes, bb_slice_str("k"), bb_slice_str("l"), 0, 1000000);
    bb__proto__slot_done__init(&message);
    message.took_us = message.cpu_us = 40000;
    for (int i = 0; i < 3; i++) {
        worker_chain_ran(&w.worker, &call);
    }
    cr_assert_eq(worker_lane_length(lanes, call.lane), 1);
    message.took_us = message.cpu_us = 60;
    for (int i = 0; i < 50; i++) {
        worker_chain_ran(&w.worker, &call);
    }
    cr_assert_geq(worker_lane_length(lanes, call.lane), 16);
    done(&w);
}

Test(supervisor, a_slot_that_still_runs_what_was_taken_back_is_looked_at)
{
    struct world w;
    make(&w);
    worker_pace_observe(&w.worker.pace, bb_hash64(bb_slice_str(w.request.path), 1), 30);
    worker_call_arrive(&w.worker, NULL, &w.request);
    worker_call_arrive(&w.worker, NULL, &w.request);
    worker_dispatch(&w.worker);
    cr_assert(w.slot.call != NULL && w.slot.behind_count == 1);
    cr_assert(worker_slots_have_waiting(&w.worker));
    struct call *behind = bb_container(w.slot.behind.next, struct call, slot_link);
    uint64_t taken_back = behind->id;
    w.slot.call->run_started_us = 0; /* long ago */
    worker_slots_even_out(&w.worker);
    cr_assert_eq(w.slot.behind_count, 0);
    cr_assert(worker_slots_have_waiting(&w.worker), "it has more to do, and need not ring");
    answer(&w, w.slot.call->id);
    cr_assert(worker_slots_have_waiting(&w.worker));
    answer(&w, taken_back);
    cr_assert_not(worker_slots_have_waiting(&w.worker));
    cr_assert_eq(w.slot.state, SLOT_IDLE);
    done(&w);
}

/* ---- spare slots ---- */

#define SLOTS  2
#define SPARES 2

struct pool {
    struct world w;
    struct slot slots[SLOTS + SPARES];
};

/* All of them run, the spares too: no process is started. */
static void make_pool(struct pool *pool)
{
    make(&pool->w);
    for (size_t i = 0; i < SLOTS + SPARES; i++) {
        pool->slots[i] = pool->w.slot;
        pool->slots[i].index = i;
        bb_list_init(&pool->slots[i].behind);
    }
    worker_copies_free(pool->w.worker.copies);
    pool->w.worker.copies = worker_copies_new(SLOTS + SPARES);
    pool->w.worker.slots = pool->slots;
    pool->w.worker.slot_count = SLOTS + SPARES;
    pool->w.worker.spare_count = SPARES;
}

static void done_pool(struct pool *pool)
{
    for (size_t i = 0; i < SLOTS + SPARES; i++) {
        if (pool->slots[i].call != NULL) {
            pool->slots[i].call->slot = NULL;
            worker_call_requeue(&pool->w.worker, pool->slots[i].call);
        }
    }
    done(&pool->w);
}

/* A call of this function arrives. */
static void call_of(struct pool *pool, char *path)
{
    Bb__Proto__Call *request = bb_alloc(sizeof(*request)); /* as long as the call */
    make_request(request);
    request->path = path;
    worker_call_arrive(&pool->w.worker, NULL, request);
    worker_dispatch(&pool->w.worker);
}

static const char *runs(const struct pool *pool, size_t slot)
{
    const struct call *call = pool->slots[slot].call;
    return call == NULL ? "" : call->request->path;
}

static void after_ms(struct pool *pool, uint64_t ms)
{
    clock_us += ms * 1000;
    for (size_t i = 0; i < SLOTS + SPARES; i++) {
        pool->slots[i].used_us = clock_us; /* nothing has ended for want of work */
    }
    worker_slots_watch(&pool->w.worker, clock_us);
    worker_dispatch(&pool->w.worker);
}

Test(supervisor, short_calls_go_to_spares_while_long_ones_hold_the_slots)
{
    struct pool pool;
    char endless[] = "_system:endless", quick[] = "_system:quick", fresh[] = "_system:fresh";
    make_pool(&pool);
    worker_pace_observe(&pool.w.worker.pace, bb_hash64(bb_slice_str(quick), 1), 2000);
    for (size_t i = 0; i < 100; i++) {
        call_of(&pool, endless);
    }
    call_of(&pool, quick);
    cr_assert_eq(pool.slots[0].state, SLOT_BUSY);
    cr_assert_eq(pool.slots[1].state, SLOT_BUSY);
    cr_assert_eq(pool.slots[2].state, SLOT_IDLE, "no slot is held yet");
    after_ms(&pool, 50);
    cr_assert_eq(pool.slots[2].state, SLOT_IDLE);
    after_ms(&pool, 100);
    cr_assert_str_eq(runs(&pool, 2), quick, "past 98 that wait");
    cr_assert_str_eq(runs(&pool, 3), "", "and none of those is let in");
    call_of(&pool, fresh);
    cr_assert_str_eq(runs(&pool, 3), "", "nobody knows it, and one is left");
    call_of(&pool, quick);
    cr_assert_str_eq(runs(&pool, 3), quick);
    done_pool(&pool);
}

Test(supervisor, of_new_functions_one_at_a_time_has_a_spare)
{
    struct pool pool;
    char endless[] = "_system:endless", fresh[] = "_system:fresh", other[] = "_system:other";
    make_pool(&pool);
    call_of(&pool, endless);
    call_of(&pool, endless);
    after_ms(&pool, 150);
    call_of(&pool, fresh);
    call_of(&pool, other);
    cr_assert_str_eq(runs(&pool, 2), fresh);
    cr_assert_str_eq(runs(&pool, 3), "");
    done_pool(&pool);
}

Test(supervisor, a_slot_that_waits_for_reads_is_not_held)
{
    struct pool pool;
    char path[] = "_system:reads";
    make_pool(&pool);
    call_of(&pool, path);
    struct reading reading = { .count = 0 };
    pool.slots[0].reading = &reading;
    pool.slots[0].reading_from_us = clock_us;
    after_ms(&pool, 1000);
    cr_assert_eq(worker_slots_view(&pool.w.worker).held, 0);
    pool.slots[0].reading = NULL; /* as if it had asked just now, and been answered at once */
    after_ms(&pool, 1);
    cr_assert_eq(worker_slots_view(&pool.w.worker).held, 1);
    done_pool(&pool);
}

Test(supervisor, a_spare_ends_when_nothing_has_needed_it_for_a_while)
{
    struct pool pool;
    uint8_t process;
    make_pool(&pool);
    for (size_t i = 0; i < SLOTS + SPARES; i++) {
        pool.slots[i].child = (struct bb_child *)(void *)&process; /* not looked into */
        pool.slots[i].used_us = clock_us;
    }
    clock_us += 29000000;
    worker_slots_watch(&pool.w.worker, clock_us);
    cr_assert_eq(pool.slots[2].state, SLOT_IDLE);
    clock_us += 2000000;
    worker_slots_watch(&pool.w.worker, clock_us);
    cr_assert_eq(pool.slots[0].state, SLOT_IDLE, "it is none");
    cr_assert_eq(pool.slots[1].state, SLOT_IDLE);
    cr_assert_eq(pool.slots[2].state, SLOT_ENDING);
    cr_assert_eq(pool.slots[3].state, SLOT_ENDING);
    done_pool(&pool);
}

/* ---- outcomes of client keys are removed ---- */

/* The worker's own call, whose value is not that of its own run. */
static void end_with(struct world *w, struct bb_slice value)
{
    struct bb_list *queue = &w->worker.calls[CALL_QUEUED];
    cr_assert_not(bb_list_is_empty(queue), "a batch is under way");
    struct call *call = bb_container(queue->next, struct call, link);
    cr_assert_str_eq(call->request->path, "_system:forget");
    call->has_value = true;
    call->value = value;
    worker_answer(&w->worker, call, BB_OK, NULL);
}

static void watch_soon(struct world *w)
{
    worker_forget_watch(&w->worker, worker_now(&w->worker) + 1000000);
}

Test(supervisor, a_batch_that_an_earlier_run_removed_counts)
{
    struct world w;
    struct bb_value_builder *value = bb_value_builder_new();
    make(&w);
    watch_soon(&w);
    worker_forget_watch(&w.worker, UINT64_MAX);
    end_with(&w, BB_SLICE_EMPTY); /* the log does not have it any more */
    worker_forget_watch(&w.worker, UINT64_MAX);
    for (int removed = 128; removed > 0; removed -= 127) {
        bb_value_builder_clear(value);
        bb_value_begin_object(value);
        bb_value_field_name(value, bb_slice_str("removed"));
        bb_value_put_float64(value, removed);
        bb_value_end_object(value);
        end_with(&w, bb_value_finish(value));
        watch_soon(&w);
    }
    cr_assert(bb_list_is_empty(&w.worker.calls[CALL_QUEUED]), "there were no more");
    bb_value_builder_free(value);
    done(&w);
}

/* As it happens when a module takes longer to load than a slot may take to make it ready. */
Test(supervisor, slots_that_end_by_themselves_leave_modules_to_the_calls)
{
    struct world w;
    make(&w);
    w.worker.warm = worker_warm_new();
    for (int i = 0; i < 3; i++) {
        cr_expect_not(worker_warm_is_off(w.worker.warm), "after %d", i);
        worker_warm_ended(&w.worker);
    }
    cr_expect(worker_warm_is_off(w.worker.warm));
    worker_warm_free(w.worker.warm);
    done(&w);
}
