/*
 * The slots' processes: the supervisor's frames in, scripts over libs/txn, frames out. Replaces
 * services/worker/slot_io.c and bb_child.
 */
#include "slot.h"

#include <unistd.h>

#include "parts.h"
#include "script.h"

#define READY_US        3000
#define DEPLOYMENTS_MAX 64
#define SEEDS           4096

/* Frames wait here until the supervisor's turn is over. */
struct slot_io {
    struct slot *slot; /* NULL: closed */
    struct sim_slot *process;
    struct bb_list frames;
};
struct frame {
    struct bb_list link;
    struct sim_slot *process;
    struct slot_io *io; /* to the supervisor */
    struct bb_slice bytes;
};
struct deployment {
    uint64_t number;
    struct bb_txn_catalog *catalog;
};
struct sim_slot {
    struct bb_list link;
    struct sim_node *node;
    struct slot_io *io;
    void (*on_exit)(void *arg, int exit_code, int signal);
    void *arg;
    bool is_dead;
    int exit_code, signal;
    uint64_t last_in_us, last_out_us; /* frames keep their order */
    struct deployment deployments[DEPLOYMENTS_MAX];
    size_t deployment_count;
    struct bb_txn *txn;
    struct bb_txn_kept *kept;
    uint32_t *asked; /* which of the wanted reads a batch is about */
    size_t asked_count;
    struct bb_arena *arena; /* of the call */
    struct bb_value_builder *log, *doc;
    struct bb_ctx ctx;
    struct sim_fiber *fiber; /* of the call; NULL: free */
    const Bb__Proto__SlotStart *start;
    uint64_t batch;
    const Bb__Proto__SlotReadResults *results;
    struct bb_list waiting; /* calls that came while one runs */
    uint64_t last_call;     /* whose transaction `txn` still is; 0: nobody's */
};
struct waiting {
    struct bb_list link;
    struct bb_buf frame;
};
struct bb_child {
    struct sim_slot process;
};

static struct bb_list slots;

static struct bb_list *all_slots(void)
{
    if (slots.next == NULL)
        bb_list_init(&slots);
    return &slots;
}

/* ---- from the slot ---- */

static void take_frame(void *arg)
{
    struct frame *frame = arg;
    struct slot_io *io = frame->io;

    if (io->slot != NULL && worker_slot_frame(io->slot, frame->bytes) != BB_OK) {
        sim_fail("the supervisor refuses a frame of a slot: %s", io->slot->worker->ctx->error);
    }
    if (io->slot != NULL)
        sim_loop_touch(io->process->node);
    bb_free(frame);
}

static void say(struct sim_slot *process, const Bb__Proto__FromSlot *message)
{
    struct frame *frame = bb_alloc_zero(1, sizeof *frame);
    struct bb_buf packed;

    bb_buf_init(&packed);
    bb_pack_append(&packed, &message->base);
    frame->io = process->io;
    frame->bytes = bb_buf_slice(&packed);
    uint64_t at_us = sim.now_us + 10 + sim_below(40);
    process->last_out_us = at_us > process->last_out_us ? at_us : process->last_out_us + 1;
    (void)sim_at(process->node, process->last_out_us, take_frame, frame);
}

static void say_ready(struct sim_slot *process)
{
    Bb__Proto__FromSlot message = BB__PROTO__FROM_SLOT__INIT;
    Bb__Proto__SlotReady ready;
    static char version[] = "simulated";

    bb__proto__slot_ready__init(&ready);
    ready.v8_version = ready.sandbox = version;
    message.op_case = BB__PROTO__FROM_SLOT__OP_READY;
    message.ready = &ready;
    say(process, &message);
}

/* ---- a call ---- */

/* A call runs with the same seed and arguments however often it is run. */
static void check_same(const Bb__Proto__SlotStart *start)
{
    static struct {
        uint8_t id[16];
        uint64_t what;
    } seen[SEEDS];
    uint64_t at = bb_hash64(bb_pb_slice(start->request_id), 0) % SEEDS;
    uint64_t what = bb_hash64(bb_pb_slice(start->args), bb_hash64(bb_pb_slice(start->seed), 1));

    if (memcmp(seen[at].id, start->request_id.data, 16) == 0 && seen[at].what != what)
        sim_fail("b15: a run was repeated with another seed or other arguments");
    memcpy(seen[at].id, start->request_id.data, 16);
    seen[at].what = what;
}

static int feed(struct sim_slot *process)
{
    const Bb__Proto__SlotReadResults *results = process->results;
    const struct bb_txn_read *reads;

    (void)bb_txn_wanted(process->txn, &reads);
    process->results = NULL;
    if (results->status != BB_OK)
        return bb_fail(&process->ctx, (int)results->status, "%s", results->error);
    bb_assert(results->n_results == process->asked_count);
    for (size_t i = 0; i < results->n_results; i++) {
        const Bb__Proto__SlotReadResult *result = results->results[i];
        uint32_t at = process->asked[i];
        struct bb_txn_entry *entries =
            bb_arena_alloc(process->arena, (result->n_entries + 1) * sizeof *entries);
        for (size_t k = 0; k < result->n_entries; k++) {
            entries[k] = (struct bb_txn_entry){ .key = bb_pb_slice(result->entries[k]->key),
                                                .value = bb_pb_slice(result->entries[k]->value) };
        }
        int rc = bb_txn_feed(&process->ctx, process->txn, at, entries, result->n_entries,
                             result->is_complete);
        if (rc != BB_OK)
            return rc;
        const struct bb_txn_answer answer = { .entries = entries,
                                              .entry_count = result->n_entries,
                                              .is_complete = result->is_complete,
                                              .since = result->since,
                                              .number = result->range };
        bb_txn_kept_answer(process->kept, &reads[at], &answer);
    }
    bb_txn_fed(process->txn);
    return BB_OK;
}

int sim_slot_fetch(struct sim_slot *process)
{
    Bb__Proto__FromSlot message = BB__PROTO__FROM_SLOT__INIT;
    Bb__Proto__SlotReads reads = BB__PROTO__SLOT_READS__INIT;
    const struct bb_txn_read *wanted;
    size_t count = bb_txn_wanted(process->txn, &wanted);
    uint64_t at = process->start->snapshot;

    bb_assert(count > 0 && at <= process->start->coherent);
    process->asked = bb_arena_alloc(process->arena, count * sizeof *process->asked);
    int rc = bb_txn_recall(&process->ctx, process->txn, process->kept, at, process->asked,
                           &process->asked_count);
    if (rc != BB_OK || process->asked_count == 0)
        return rc;
    count = process->asked_count;
    Bb__Proto__SlotReadOp *ops = bb_arena_alloc(process->arena, count * sizeof *ops);
    reads.call = process->start->call;
    reads.batch = ++process->batch;
    reads.n_ops = count;
    reads.ops = bb_arena_alloc(process->arena, count * sizeof *reads.ops);
    for (size_t i = 0; i < count; i++) {
        bb__proto__slot_read_op__init(&ops[i]);
        const struct bb_txn_read *read = &wanted[process->asked[i]];
        ops[i].low = bb_slice_pb(read->low);
        ops[i].high = bb_slice_pb(read->high);
        ops[i].is_descending = read->is_descending;
        ops[i].limit = read->limit;
        ops[i].doc_index = read->doc_index;
        reads.ops[i] = &ops[i];
    }
    message.op_case = BB__PROTO__FROM_SLOT__OP_READS;
    message.reads = &reads;
    say(process, &message);
    while (process->results == NULL)
        sim_fiber_wait();
    return feed(process);
}

static void set_ranges(struct sim_slot *process, Bb__Proto__SlotDone *done,
                       const struct bb_txn_output *output)
{
    Bb__Proto__Range *ranges =
        bb_arena_alloc(process->arena, (output->range_count + 1) * sizeof *ranges);

    done->reads = bb_arena_alloc(process->arena, (output->range_count + 1) * sizeof *done->reads);
    for (size_t i = 0; i < output->range_count; i++) {
        bb__proto__range__init(&ranges[i]);
        ranges[i].low = bb_slice_pb(output->ranges[i].low);
        ranges[i].high = bb_slice_pb(output->ranges[i].high);
        done->reads[i] = &ranges[i];
    }
    done->n_reads = output->range_count;
}

static void say_done(struct sim_slot *process, int status, struct bb_slice value)
{
    const Bb__Proto__SlotStart *start = process->start;
    Bb__Proto__FromSlot message = BB__PROTO__FROM_SLOT__INIT;
    Bb__Proto__SlotDone done;
    struct bb_txn_output output;
    const struct bb_txn_finish how = { .request_id = bb_pb_slice(start->request_id),
                                       .function = bb_slice_str(start->path),
                                       .identity = bb_pb_slice(start->identity),
                                       .value = status == BB_OK ? value : BB_SLICE_EMPTY,
                                       .client_key = bb_pb_slice(start->client_key),
                                       .client_digest = bb_pb_slice(start->client_digest),
                                       .is_rolled_back = status != BB_OK };
    int rc = bb_txn_end(&process->ctx, process->txn, &how, &output);

    bb__proto__slot_done__init(&done);
    if (rc != BB_OK) {
        status = rc;
        output.body = BB_SLICE_EMPTY;
    }
    done.call = start->call;
    done.status = (uint32_t)status;
    done.error =
        bb_arena_str(process->arena, bb_slice_str(status == BB_OK ? "" : process->ctx.error));
    done.stack = bb_arena_str(process->arena, BB_SLICE_EMPTY);
    if (status == BB_USER_ERROR)
        done.error_data = bb_slice_pb(value);
    if (status == BB_OK)
        done.value = bb_slice_pb(value);
    done.body = bb_slice_pb(output.body);
    set_ranges(process, &done, &output);
    message.op_case = BB__PROTO__FROM_SLOT__OP_DONE;
    message.done = &done;
    say(process, &message);
}

static struct bb_txn_catalog *find_catalog(const struct sim_slot *process, uint64_t number)
{
    for (size_t i = 0; i < process->deployment_count; i++) {
        if (process->deployments[i].number == number)
            return process->deployments[i].catalog;
    }
    BB_UNREACHABLE("a call names a deployment that the slot was not given");
}

static void begin_waiting(void *arg);

static void run_call(void *arg)
{
    struct sim_slot *process = arg;
    const Bb__Proto__SlotStart *start = process->start;
    bool is_mutation = start->kind == BB__PROTO__FUNCTION_KIND__KIND_MUTATION;
    struct bb_txn_options options = { .catalog = find_catalog(process, start->deployment),
                                      .now_ms = start->now_ms,
                                      .is_mutation = is_mutation };
    struct script script = { .ctx = &process->ctx,
                             .txn = process->txn,
                             .slot = process,
                             .log = process->log,
                             .doc = process->doc,
                             .args = bb_pb_slice(start->args),
                             .now_ms = start->now_ms,
                             .is_mutation = is_mutation };
    struct bb_slice value = BB_SLICE_EMPTY;

    bb_txn_limits_default(&options.limits);
    memcpy(options.seed, start->seed.data, start->seed.len < 16 ? start->seed.len : 16);
    if (start->after != 0) {
        bb_txn_begin_after(process->txn, &options);
    } else {
        bb_txn_begin(process->txn, &options);
    }
    process->last_call = 0;
    sim_fiber_sleep(20 + sim_below(300));
    int rc = sim_script_run(&script, start->path, &value);
    /* A builder that a failed function left open is of no use any more. */
    if (rc != BB_OK) {
        process->log = bb_value_builder_new();
        process->doc = bb_value_builder_new();
    }
    say_done(process, rc, value);
    process->last_call = start->call;
    process->fiber = NULL;
    (void)sim_after(process->node, 1, begin_waiting, process);
}

/* ---- to the slot ---- */

static void add_deployment(struct sim_slot *process, const Bb__Proto__SlotDeployment *message)
{
    struct deployment *made = &process->deployments[process->deployment_count++];

    bb_assert(process->deployment_count < DEPLOYMENTS_MAX);
    made->number = message->deployment;
    int rc = bb_txn_catalog_new(&process->ctx, bb_pb_slice(message->catalog), &made->catalog);
    if (rc != BB_OK)
        sim_fail("the slot cannot use the catalog: %s", process->ctx.error);
}

/* The call before it is not the one that it builds on. */
static void say_conflict(struct sim_slot *process, const Bb__Proto__SlotStart *start)
{
    Bb__Proto__FromSlot message = BB__PROTO__FROM_SLOT__INIT;
    Bb__Proto__SlotDone done;

    bb__proto__slot_done__init(&done);
    done.call = start->call;
    done.status = BB_CONFLICT;
    message.op_case = BB__PROTO__FROM_SLOT__OP_DONE;
    message.done = &done;
    say(process, &message);
    process->last_call = 0;
    (void)sim_after(process->node, 1, begin_waiting, process);
}

static void hear_news(struct sim_slot *process, const Bb__Proto__SlotStart *start)
{
    if (start->forgets)
        bb_txn_kept_forget(process->kept);
    for (size_t i = 0; i < start->n_hints; i++) {
        const Bb__Proto__SlotHint *hint = start->hints[i];
        bb_txn_kept_put(process->kept, bb_pb_slice(hint->key), bb_pb_slice(hint->value),
                        hint->since);
    }
    for (size_t i = 0; i < start->n_ended_keys; i++)
        bb_txn_kept_end(process->kept, bb_pb_slice(start->ended_keys[i]), start->ended_at[i]);
    for (size_t i = 0; i < start->n_ended_ranges; i++)
        bb_txn_kept_end_range(process->kept, start->ended_ranges[i], start->ended_ranges_at[i]);
}

static void begin_call(struct sim_slot *process, struct bb_slice bytes)
{
    Bb__Proto__ToSlot *message = NULL;

    bb_assert(process->fiber == NULL);
    bb_arena_free(process->arena);
    process->arena = bb_arena_new(0);
    process->ctx.arena = process->arena;
    int rc =
        bb_unpack(&process->ctx, process->arena, &bb__proto__to_slot__descriptor, bytes, &message);
    bb_assert(rc == BB_OK);
    hear_news(process, message->start);
    if (message->start->after != 0 && message->start->after != process->last_call) {
        say_conflict(process, message->start);
        return;
    }
    process->start = message->start;
    check_same(message->start);
    process->fiber = sim_fiber_new(run_call, process);
    sim_fiber_wake(process->fiber, 1);
}

static void wait_call(struct sim_slot *process, struct bb_slice bytes)
{
    struct waiting *waiting = bb_alloc_zero(1, sizeof *waiting);

    bb_buf_init(&waiting->frame);
    bb_buf_append_slice(&waiting->frame, bytes);
    bb_list_push_back(&process->waiting, &waiting->link);
}

static void begin_waiting(void *arg)
{
    struct sim_slot *process = arg;

    if (process->is_dead || process->fiber != NULL || bb_list_is_empty(&process->waiting))
        return;
    struct waiting *waiting = bb_container(process->waiting.next, struct waiting, link);
    bb_list_remove(&waiting->link);
    begin_call(process, bb_buf_slice(&waiting->frame));
    bb_buf_fini(&waiting->frame);
    bb_free(waiting);
}

static void give_results(struct sim_slot *process, struct bb_slice bytes)
{
    Bb__Proto__ToSlot *message = NULL;

    if (process->fiber == NULL)
        return;
    int rc =
        bb_unpack(&process->ctx, process->arena, &bb__proto__to_slot__descriptor, bytes, &message);
    bb_assert(rc == BB_OK);
    if (message->reads->call != process->start->call || message->reads->batch != process->batch)
        return;
    process->results = message->reads;
    sim_fiber_wake(process->fiber, 0);
}

static void on_gone(void *arg)
{
    struct sim_slot *process = arg;

    process->on_exit(process->arg, process->exit_code, process->signal);
    sim_loop_touch(process->node);
}

static void end_process(struct sim_slot *process, int exit_code, int signal)
{
    if (process->is_dead)
        return;
    process->is_dead = true;
    process->exit_code = exit_code;
    process->signal = signal;
    bb_list_remove(&process->link);
    (void)sim_after(process->node, 500, on_gone, process);
}

static void hear_frame(void *arg)
{
    struct frame *frame = arg;
    struct sim_slot *process = frame->process;
    Bb__Proto__ToSlot *message = NULL;
    struct bb_arena *arena = bb_arena_new(0);
    int rc =
        bb_unpack(&process->ctx, arena, &bb__proto__to_slot__descriptor, frame->bytes, &message);

    bb_assert(rc == BB_OK);
    if (process->is_dead) {
        bb_arena_free(arena);
        return;
    }
    switch (message->op_case) {
    case BB__PROTO__TO_SLOT__OP_HELLO:
        say_ready(process);
        break;
    case BB__PROTO__TO_SLOT__OP_DEPLOYMENT:
        add_deployment(process, message->deployment);
        break;
    case BB__PROTO__TO_SLOT__OP_START:
        if (process->fiber == NULL && bb_list_is_empty(&process->waiting)) {
            begin_call(process, frame->bytes);
        } else {
            wait_call(process, frame->bytes);
        }
        break;
    case BB__PROTO__TO_SLOT__OP_READS:
        give_results(process, frame->bytes);
        break;
    case BB__PROTO__TO_SLOT__OP_STOP:
        end_process(process, 0, 0);
        break;
    case BB__PROTO__TO_SLOT__OP_RETIRE: /* its catalog may stay */
    case BB__PROTO__TO_SLOT__OP__NOT_SET:
    case _BB__PROTO__TO_SLOT__OP__CASE_IS_INT_SIZE:
        break;
    }
    bb_arena_free(arena);
}

/* ---- bb_child ---- */

int bb_child_start(struct bb_ctx *ctx, struct bb_loop *loop, const struct bb_child_options *options,
                   struct bb_child **child)
{
    struct bb_child *started = bb_alloc_zero(1, sizeof *started);
    struct sim_slot *process = &started->process;

    (void)loop;
    *process = (struct sim_slot){ .node = sim.current,
                                  .on_exit = options->on_exit,
                                  .arg = options->arg,
                                  .last_in_us = sim.now_us + READY_US,
                                  .ctx = { .env = ctx->env },
                                  .txn = bb_txn_new(),
                                  .kept = bb_txn_kept_new(64 << 10),
                                  .arena = bb_arena_new(0),
                                  .log = bb_value_builder_new(),
                                  .doc = bb_value_builder_new() };
    bb_list_init(&process->waiting);
    bb_list_push_back(all_slots(), &process->link);
    *child = started;
    return BB_OK;
}

int64_t bb_child_pid(const struct bb_child *child)
{
    (void)child;
    return 0x7ffffff0; /* nobody's */
}

void bb_child_kill(struct bb_child *child, int signal)
{
    end_process(&child->process, -1, signal);
}

void bb_child_free(struct bb_child *child)
{
    (void)child; /* frames on their way may still name it */
}

void sim_slots_died(struct sim_node *node)
{
    bb_list_each_safe(item, all_slots()) {
        struct sim_slot *process = bb_container(item, struct sim_slot, link);
        if (process->node == node)
            bb_list_remove(item);
    }
}

void sim_slot_kill(struct sim_node *node)
{
    bb_list_each(item, all_slots()) {
        struct sim_slot *process = bb_container(item, struct sim_slot, link);
        if (process->node == node && process->fiber != NULL) {
            sim_trace("%s: a slot is killed", node->name);
            end_process(process, -1, 9);
            return;
        }
    }
}

/* ---- services/worker/slot.h: the supervisor's end ---- */

int worker_slot_io_open(struct slot *slot, int fd)
{
    struct slot_io *io = bb_alloc_zero(1, sizeof *io);

    (void)close(fd); /* the real slot.c made a pair of sockets */
    io->slot = slot;
    io->process = &slot->child->process;
    io->process->io = io;
    bb_list_init(&io->frames);
    slot->io = io;
    return BB_OK;
}

void worker_slot_io_close(struct slot *slot)
{
    if (slot->io != NULL)
        slot->io->slot = NULL;
    slot->io = NULL;
}

void worker_slot_io_drain(struct slot *slot)
{
    (void)slot; /* a frame that was said arrives before the end is told */
}

void worker_slot_send(struct slot *slot, const Bb__Proto__ToSlot *message)
{
    struct bb_buf packed;

    if (slot->io == NULL)
        return;
    struct frame *frame = bb_alloc_zero(1, sizeof *frame);
    bb_buf_init(&packed);
    bb_pack_append(&packed, &message->base);
    frame->process = slot->io->process;
    frame->bytes = bb_buf_slice(&packed);
    bb_list_push_back(&slot->io->frames, &frame->link);
}

void worker_slots_hear(struct worker *worker)
{
    (void)worker; /* each frame comes as an event of its own */
}

bool worker_slots_may_sleep(struct worker *worker)
{
    (void)worker;
    return true;
}

void worker_slots_turn(struct worker *worker)
{
    for (size_t i = 0; i < worker->slot_count; i++) {
        struct slot_io *io = worker->slots[i].io;
        while (io != NULL && !bb_list_is_empty(&io->frames)) {
            struct frame *frame = bb_container(io->frames.next, struct frame, link);
            struct sim_slot *process = frame->process;
            bb_list_remove(&frame->link);
            uint64_t at_us = sim.now_us + 10 + sim_below(40);
            process->last_in_us = at_us > process->last_in_us ? at_us : process->last_in_us + 1;
            (void)sim_at(process->node, process->last_in_us, hear_frame, frame);
        }
    }
}
