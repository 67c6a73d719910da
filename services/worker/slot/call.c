#include "call.h"

#include <string.h>

#include "bb/env.h"

enum {
    ANSWER_KEPT_MAX = 1 << 20,
    ROW_US = 50000
};

static ProtobufCBinaryData pb(struct bb_slice slice)
{
    union {
        const uint8_t *in;
        uint8_t *out;
    } cast = { .in = slice.data };

    return (ProtobufCBinaryData){ .len = slice.size, .data = cast.out };
}

static struct bb_slice of_pb(ProtobufCBinaryData data)
{
    return bb_slice(data.data, data.len);
}

static bool is_mutation(const struct slot_call *call)
{
    return call->start->kind == BB__PROTO__FUNCTION_KIND__KIND_MUTATION;
}

/* ---- the end ---- */

struct outcome {
    int status;
    struct bb_slice error, error_data, stack, value;
    struct bb_vm_result vm;
};

/* Flags decide before what the script says; see docs/formats/slot.md. */
static struct outcome judge(struct slot *slot, const struct bb_vm_result *vm, bool has_expired)
{
    const struct slot_call *call = slot->call;
    struct outcome outcome = { .status = vm->status, .error = vm->message, .vm = *vm };

    if ((has_expired || vm->end == BB_VM_TIMEOUT) && vm->loading.size > 0) {
        outcome.status = BB_FUNCTION_TIMEOUT;
        outcome.error = bb_slice_str(bb_arena_printf(
            slot->call_arena,
            "Function %s did not end within the %" PRIu32
            " ms that it had, as the module %.*s was still being loaded: look for an endless loop or "
            "slow work outside of its functions.",
            call->start->path, call->start->timeout_ms, BB_SLICE_ARG(vm->loading)));
        return outcome;
    }
    if ((has_expired || vm->end == BB_VM_TIMEOUT) &&
        strcmp(call->start->path, "_system:deploy") == 0) {
        outcome.status = BB_FUNCTION_TIMEOUT;
        outcome.error = bb_slice_str(bb_arena_printf(
            slot->call_arena,
            "The deploy did not end within the %" PRIu32
            " ms that it had: its modules took too long to load, or the machine has too much to do. "
            "Do less outside of functions, or deploy again.",
            call->start->timeout_ms));
        return outcome;
    }
    if (has_expired || vm->end == BB_VM_TIMEOUT) {
        outcome.status = BB_FUNCTION_TIMEOUT;
        outcome.error = bb_slice_str(bb_arena_printf(
            slot->call_arena,
            "Function %s did not end within the %" PRIu32
            " ms that it had (a transaction has 5 s, with waiting and all attempts). Do less in one "
            "call, or use an action.",
            call->start->path, call->start->timeout_ms));
        return outcome;
    }
    if (call->sticky_status != BB_OK && (vm->end == BB_VM_VALUE || vm->end == BB_VM_ERROR)) {
        outcome.status = call->sticky_status;
        outcome.error = bb_slice_str(call->sticky_error);
        outcome.stack = vm->stack;
        return outcome;
    }
    if (vm->end == BB_VM_NEVER_RESOLVED) {
        outcome.error = bb_slice_str(bb_arena_printf(
            slot->call_arena,
            "Function %s awaits a promise that nothing will ever resolve: no read, write or call of "
            "it is left, so look for a new Promise whose resolve is never called.",
            call->start->path));
        return outcome;
    }
    if (vm->end != BB_VM_VALUE) {
        outcome.stack = vm->stack;
        outcome.error_data = vm->error_data;
        if (outcome.status == BB_OK)
            outcome.status = BB_INTERNAL;
        return outcome;
    }
    outcome.status = BB_OK;
    if (vm->value.size > slot->limits.result_bytes) {
        outcome.status = BB_RESULT_TOO_LARGE;
        outcome.error = bb_slice_str(
            bb_arena_printf(slot->call_arena,
                            "The result of %s has %zu bytes, the limit is %" PRIu64
                            ". Return less: paginate, or only the fields that are needed.",
                            call->start->path, vm->value.size, slot->limits.result_bytes));
        return outcome;
    }
    outcome.value = vm->value;
    return outcome;
}

static void set_ranges(struct slot *slot, Bb__Proto__SlotDone *done,
                       const struct bb_txn_output *output)
{
    Bb__Proto__Range *ranges =
        bb_arena_alloc(slot->call_arena, (output->range_count + 1) * sizeof *ranges);

    done->reads = bb_arena_alloc(slot->call_arena, (output->range_count + 1) * sizeof *done->reads);
    for (size_t i = 0; i < output->range_count; i++) {
        bb__proto__range__init(&ranges[i]);
        ranges[i].low = pb(output->ranges[i].low);
        ranges[i].high = pb(output->ranges[i].high);
        done->reads[i] = &ranges[i];
    }
    done->n_reads = output->range_count;
}

static void free_pending(struct slot_call *call)
{
    while (call->pending != NULL) {
        struct slot_pending *gone = call->pending;
        call->pending = gone->next;
        slot_free_copy(gone->args);
        bb_free(gone);
    }
    call->pending_end = &call->pending;
}

static char *text_of(struct slot *slot, struct bb_slice from)
{
    return bb_arena_str(slot->call_arena, from);
}

/* Answers and makes the slot free again. */
static void finish(struct slot *slot, struct outcome outcome)
{
    struct slot_call *call = slot->call;
    const Bb__Proto__SlotStart *start = call->start;
    Bb__Proto__FromSlot frame;
    Bb__Proto__SlotDone done;
    struct bb_buf trace;
    struct bb_txn_output output;
    const struct bb_txn_finish how = { .request_id = of_pb(start->request_id),
                                       .function = bb_slice_str(start->path),
                                       .identity = of_pb(start->identity),
                                       .value = outcome.value,
                                       .client_key = of_pb(start->client_key),
                                       .client_digest = of_pb(start->client_digest),
                                       .is_rolled_back = outcome.status != BB_OK };

    bb_buf_init(&trace);
    int rc = bb_txn_end(&slot->ctx, slot->txn, &how, &output);
    slot->last_call = start->call;
    if (rc != BB_OK) {
        outcome = (struct outcome){ .status = rc,
                                    .error = bb_slice_str(slot->ctx.error),
                                    .vm = outcome.vm };
        output.body = BB_SLICE_EMPTY;
    }
    bb__proto__slot_done__init(&done);
    done.call = start->call;
    done.status = (uint32_t)outcome.status;
    done.error = text_of(slot, bb_txn_redact(slot->txn, slot->call_arena, outcome.error));
    done.stack = text_of(slot, bb_txn_redact(slot->txn, slot->call_arena, outcome.stack));
    done.error_data = pb(outcome.error_data);
    done.value = pb(outcome.value);
    done.body = pb(output.body);
    set_ranges(slot, &done, &output);
    done.logs = call->logs;
    done.n_logs = call->log_count;
    if (call->name != NULL)
        done.path = call->name;
    done.saw_identity = call->saw_identity;
    done.saw_random = outcome.vm.saw_random;
    done.saw_time = outcome.vm.saw_time;
    done.cpu_us = outcome.vm.cpu_us;
    done.took_us = bb_now_us(&slot->ctx) - call->started_us;
    done.heap_bytes = outcome.vm.heap_bytes;
    done.must_recycle = outcome.vm.must_recycle;
    done.recalled = call->recalled;
    done.rows = output.rows;
    done.bytes = output.bytes;
    done.profile = pb(outcome.vm.profile);
    if (start->wants_trace) {
        bb_buf_printf(&trace, "{\"jsMs\":%.3f,\"isolation\":\"%s\",",
                      (double)outcome.vm.cpu_us / 1000, call->isolation);
        bb_txn_trace(slot->txn, &trace);
        done.trace = text_of(slot, bb_buf_slice(&trace));
    }
    bb__proto__from_slot__init(&frame);
    frame.op_case = BB__PROTO__FROM_SLOT__OP_DONE;
    frame.done = &done;
    slot_frames_add(&slot->frames, &frame.base);
    bb_buf_fini(&trace);
}

void slot_call_release(struct slot *slot)
{
    free_pending(slot->call);
    slot->call = NULL;
    bb_arena_reset(slot->call_arena);
    if (slot->answer.capacity > ANSWER_KEPT_MAX)
        bb_buf_fini(&slot->answer);
}

static const char *isolation_text(enum bb_vm_isolation isolation)
{
    switch (isolation) {
    case BB_VM_SHARED:
        return "shared";
    case BB_VM_PER_CALL:
        return "perCall";
    case BB_VM_CONTEXT:
        return "context";
    }
    BB_UNREACHABLE("isolation");
}

/* For the trace, before the engine forgets the call. */
static void note_isolation(struct slot_call *call)
{
    if (call->start->wants_trace)
        call->isolation = isolation_text(bb_vm_call_isolation(call->vm));
}

static void conclude(struct slot *slot, bool has_expired)
{
    struct bb_vm_call *vm_call = slot->call->vm;
    struct bb_vm_result result;

    bb_vm_call_result(vm_call, &result);
    note_isolation(slot->call);
    finish(slot, judge(slot, &result, has_expired));
    bb_vm_call_end(vm_call);
    slot->must_end = result.must_recycle;
    slot_call_release(slot);
}

/* Ends a call while it waits. */
static void give_up(struct slot *slot, int status, const char *error)
{
    struct bb_vm_result result = { .end = BB_VM_INTERNAL };

    note_isolation(slot->call);
    bb_vm_call_end(slot->call->vm);
    result.must_recycle = slot->must_end = bb_vm_must_recycle(slot->vm);
    finish(slot,
           (struct outcome){ .status = status,
                             .error = bb_slice_str(bb_arena_printf(slot->call_arena, "%s", error)),
                             .vm = result });
    slot_call_release(slot);
}

void slot_call_expire(struct slot *slot)
{
    const struct bb_vm_result nothing = { .end = BB_VM_TIMEOUT };
    struct outcome outcome = judge(slot, &nothing, true);

    give_up(slot, outcome.status, (const char *)outcome.error.data);
}

/* ---- waiting and going on ---- */

static void send_reads(struct slot *slot, const struct bb_txn_read *wanted, size_t count)
{
    struct slot_call *call = slot->call;
    Bb__Proto__FromSlot frame;
    Bb__Proto__SlotReads message;
    Bb__Proto__SlotReadOp *ops = bb_arena_alloc(slot->frame_arena, count * sizeof *ops);

    bb__proto__from_slot__init(&frame);
    bb__proto__slot_reads__init(&message);
    message.call = call->start->call;
    message.batch = call->batch = ++call->batch_count;
    call->asked_count = count;
    message.n_ops = count;
    message.ops = bb_arena_alloc(slot->frame_arena, count * sizeof *message.ops);
    for (size_t i = 0; i < count; i++) {
        const struct bb_txn_read *read = &wanted[call->asked[i]];
        bb__proto__slot_read_op__init(&ops[i]);
        ops[i].low = pb(read->low);
        ops[i].high = pb(read->high);
        ops[i].is_descending = read->is_descending;
        ops[i].limit = read->limit;
        ops[i].doc_index = read->doc_index;
        message.ops[i] = &ops[i];
    }
    frame.op_case = BB__PROTO__FROM_SLOT__OP_READS;
    frame.reads = &message;
    slot_frames_add(&slot->frames, &frame.base);
}

/* Runs what waited again, in the order it came; what still waits stays in the list. */
static bool retry_pending(struct slot *slot)
{
    struct slot_call *call = slot->call;
    struct slot_pending **at = &call->pending;
    bool has_settled = false;

    while (*at != NULL) {
        struct slot_pending *pending = *at;
        bb_buf_clear(&slot->answer);
        int rc = slot_host_again(&slot->ctx, slot, pending, &slot->answer);
        if (rc == BB_PENDING) {
            at = &pending->next;
            continue;
        }
        has_settled = true;
        if (rc == BB_OK) {
            (void)bb_vm_resolve(call->vm, pending->ticket, bb_buf_slice(&slot->answer));
        } else {
            (void)bb_vm_reject(call->vm, pending->ticket, rc, bb_slice_str(slot->ctx.error));
        }
        *at = pending->next;
        slot_free_copy(pending->args);
        bb_free(pending);
    }
    call->pending_end = at;
    return has_settled;
}

/* Answers what can be answered by what is kept; the rest is in call->asked. */
static int recall(struct slot *slot, size_t wanted, size_t *missing)
{
    struct slot_call *call = slot->call;
    uint64_t at = call->start->snapshot;

    call->asked = bb_arena_alloc(slot->call_arena, wanted * sizeof *call->asked);
    if (at <= slot->coherent) {
        int rc = bb_txn_recall(&slot->ctx, slot->txn, slot->kept, at, call->asked, missing);
        call->recalled += (uint32_t)(wanted - *missing);
        return rc;
    }
    for (size_t i = 0; i < wanted; i++)
        call->asked[i] = (uint32_t)i;
    *missing = wanted;
    return BB_OK;
}

/* The answers are in; true: the deadline has passed. */
static bool go_on(struct slot *slot)
{
    slot_watchdog_enter(slot->watchdog, slot->call->deadline_us);
    if (retry_pending(slot))
        bb_vm_run(slot->call->vm);
    bool has_fired = slot_watchdog_leave(slot->watchdog);
    return has_fired || bb_now_us(&slot->ctx) >= slot->call->deadline_us;
}

/* JavaScript has run to its end or to a wait. Reads that the slot can answer itself are answered as
 * those of the supervisor are, all of a wait together: what a function sees of their order does not
 * depend on what is kept. */
static void step(struct slot *slot, bool has_expired)
{
    const struct bb_txn_read *reads;
    size_t missing = 0;

    while (!bb_vm_call_is_done(slot->call->vm)) {
        if (has_expired) {
            slot_call_expire(slot);
            return;
        }
        size_t count = bb_txn_wanted(slot->txn, &reads);
        /* A call that is not done has an open ticket, and every ticket wants a read. */
        bb_assert(count > 0 && slot->call->pending != NULL);
        int rc = recall(slot, count, &missing);
        if (rc != BB_OK) {
            give_up(slot, rc, slot->ctx.error);
            return;
        }
        if (missing > 0) {
            send_reads(slot, reads, missing);
            return;
        }
        has_expired = go_on(slot);
    }
    conclude(slot, has_expired);
}

/* A call that cannot even begin. */
static void refuse(struct slot *slot, const Bb__Proto__SlotStart *start, int status,
                   const char *error)
{
    Bb__Proto__FromSlot frame;
    Bb__Proto__SlotDone done;

    bb__proto__from_slot__init(&frame);
    bb__proto__slot_done__init(&done);
    done.call = start->call;
    done.status = (uint32_t)status;
    done.error = bb_arena_str(slot->call_arena, bb_slice_str(error));
    frame.op_case = BB__PROTO__FROM_SLOT__OP_DONE;
    frame.done = &done;
    slot_frames_add(&slot->frames, &frame.base);
    bb_arena_reset(slot->call_arena);
}

/* Whatever becomes of the call: what it brings of news is true. */
static void hear_news(struct slot *slot, const Bb__Proto__SlotStart *start)
{
    if (start->forgets)
        bb_txn_kept_forget(slot->kept);
    for (size_t i = 0; i < start->n_hints; i++) {
        const Bb__Proto__SlotHint *hint = start->hints[i];
        bb_txn_kept_put(slot->kept, of_pb(hint->key), of_pb(hint->value), hint->since);
    }
    for (size_t i = 0; i < start->n_ended_keys && i < start->n_ended_at; i++)
        bb_txn_kept_end(slot->kept, of_pb(start->ended_keys[i]), start->ended_at[i]);
    for (size_t i = 0; i < start->n_ended_ranges && i < start->n_ended_ranges_at; i++)
        bb_txn_kept_end_range(slot->kept, start->ended_ranges[i], start->ended_ranges_at[i]);
    slot->coherent = start->coherent;
}

/* A start without a seed has no data at all. */
static void copy_seed(uint8_t *to, size_t size, const ProtobufCBinaryData *seed)
{
    if (seed->len > 0) {
        memcpy(to, seed->data, seed->len < size ? seed->len : size);
    }
}

static void begin_txn(struct slot *slot, const struct slot_deployment *deployment)
{
    const Bb__Proto__SlotStart *start = slot->call->start;
    struct bb_txn_options options = { .catalog = deployment->catalog,
                                      .limits = slot->limits.txn,
                                      .now_ms = start->now_ms,
                                      .is_mutation = is_mutation(slot->call),
                                      .is_traced = start->wants_trace };

    copy_seed(options.seed, sizeof options.seed, &start->seed);
    if (start->after != 0) {
        bb_txn_begin_after(slot->txn, &options);
    } else {
        bb_txn_begin(slot->txn, &options);
    }
    slot->last_call = 0; /* until it has ended */
    slot->last_deployment = deployment;
}

void slot_call_prepare(struct slot *slot, const Bb__Proto__SlotStart *start,
                       const struct slot_deployment *deployment)
{
    struct slot_call *call = &slot->call_memory;
    uint32_t timeout_ms = start->timeout_ms == 0 ? 5000 : start->timeout_ms;

    uint64_t now_us = bb_now_us(&slot->ctx);

    *call = (struct slot_call){ .start = start,
                                .started_us = now_us,
                                .deadline_us = now_us + (uint64_t)timeout_ms * 1000 };
    call->pending_end = &call->pending;
    slot->call = call;
    begin_txn(slot, deployment);
}

/* A call on top of another one: that one was the last here, and did not keep those behind it
 * waiting. */
static bool may_begin(struct slot *slot, const Bb__Proto__SlotStart *start,
                      const struct slot_deployment *deployment)
{
    uint64_t now = bb_now_us(&slot->ctx);

    if (start->after == 0) {
        slot->row_until_us = now + ROW_US;
        return true;
    }
    return start->after == slot->last_call && deployment == slot->last_deployment &&
           now <= slot->row_until_us;
}

static enum bb_vm_profile profile_of(Bb__Proto__Profile asked)
{
    return asked == BB__PROTO__PROFILE__PROFILE_CPU        ? BB_VM_PROFILE_CPU
           : asked == BB__PROTO__PROFILE__PROFILE_HEAP     ? BB_VM_PROFILE_HEAP
           : asked == BB__PROTO__PROFILE__PROFILE_SNAPSHOT ? BB_VM_PROFILE_SNAPSHOT
                                                           : BB_VM_PROFILE_NONE;
}

void slot_call_begin(struct slot *slot, const Bb__Proto__SlotStart *start)
{
    struct slot_deployment *deployment =
        slot_deployment_find(&slot->deployments, start->deployment);
    struct slot_call *call;
    struct bb_vm_call_options options = { .path = bb_slice_str(start->path),
                                          .args = of_pb(start->args),
                                          .snapshot = start->snapshot,
                                          .now_ms = start->now_ms,
                                          .arg = slot };

    hear_news(slot, start);
    if (deployment == NULL) {
        refuse(slot, start, BB_INTERNAL, "the slot does not have the deployment of the call");
        return;
    }
    if (bb_value_validate(&slot->ctx, options.args) != BB_OK) {
        refuse(slot, start, BB_BAD_REQUEST, slot->ctx.error);
        return;
    }
    if (!may_begin(slot, start, deployment)) {
        refuse(slot, start, BB_CONFLICT, "the call before it did not end here, or was slow");
        return;
    }
    slot_call_prepare(slot, start, deployment);
    call = slot->call;
    options.is_mutation = is_mutation(call);
    options.profile = profile_of(start->profile);
    copy_seed(options.seed, sizeof options.seed, &start->seed);
    slot_watchdog_enter(slot->watchdog, call->deadline_us);
    int rc = bb_vm_call_begin(&slot->ctx, slot->vm, slot_deployment_bundle(deployment), &options,
                              &call->vm);
    bool has_fired = slot_watchdog_leave(slot->watchdog);
    if (rc != BB_OK) {
        refuse(slot, start, rc, slot->ctx.error);
        slot->call = NULL;
        return;
    }
    step(slot, has_fired);
}

/* The first of the answers that cannot be used fails the call. */
static int feed_results(struct slot *slot, const Bb__Proto__SlotReadResults *results)
{
    const struct slot_call *call = slot->call;
    const struct bb_txn_read *reads;
    size_t wanted = bb_txn_wanted(slot->txn, &reads);

    if (results->n_results != call->asked_count || call->asked_count > wanted) {
        return bb_fail(&slot->ctx, BB_INTERNAL, "%zu answers to a batch of reads of another size",
                       results->n_results);
    }
    for (size_t i = 0; i < results->n_results; i++) {
        const Bb__Proto__SlotReadResult *result = results->results[i];
        struct bb_txn_entry *entries =
            bb_arena_alloc(slot->frame_arena, (result->n_entries + 1) * sizeof *entries);
        for (size_t j = 0; j < result->n_entries; j++) {
            entries[j] = (struct bb_txn_entry){ .key = of_pb(result->entries[j]->key),
                                                .value = of_pb(result->entries[j]->value) };
        }
        uint32_t at = call->asked[i];
        int rc =
            bb_txn_feed(&slot->ctx, slot->txn, at, entries, result->n_entries, result->is_complete);
        if (rc != BB_OK)
            return rc;
        const struct bb_txn_answer answer = { .entries = entries,
                                              .entry_count = result->n_entries,
                                              .is_complete = result->is_complete,
                                              .since = result->since,
                                              .number = result->range };
        bb_txn_kept_answer(slot->kept, &reads[at], &answer);
    }
    bb_txn_fed(slot->txn);
    return BB_OK;
}

int slot_call_feed(struct slot *slot, const Bb__Proto__SlotReadResults *results)
{
    struct slot_call *call = slot->call;

    /* Answers to a call that was given up. */
    if (call == NULL || results->call != call->start->call || results->batch != call->batch)
        return BB_OK;
    call->batch = 0;
    if (results->status != BB_OK) {
        give_up(slot, (int)results->status, results->error);
        return BB_OK;
    }
    int rc = feed_results(slot, results);
    if (rc != BB_OK) {
        give_up(slot, rc, slot->ctx.error);
        return BB_OK;
    }
    step(slot, go_on(slot));
    return BB_OK;
}
