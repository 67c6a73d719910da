#include "slot.h"

#include <errno.h>
#include <stdio.h>

#include "bb/env.h"
#include "call.h"
#include "rlimits.h"
#include "warm.h"
#include "zygote.h"

enum {
    IDLE_AFTER_MS = 50, /* without work: the engine gets some time for itself */
    IDLE_BUDGET_US = 1000,
    CALLS_BETWEEN_IDLE = 256,
    DOCUMENT_BYTES = 1 << 20,
    RESULT_BYTES = 16 << 20,
    LOG_LINES = 256,
    KEPT_BYTES = 4 << 20 /* of documents, and as much of ranges, from call to call */
};

/* Calls that came while one runs, as frames. */
struct waiting {
    struct waiting *next;
    struct bb_slice frame;
};

struct program {
    struct slot slot;
    const struct bb_slot_options *options;
    struct bb_vm *born_with; /* that a zygote has opened, until the hello; may be NULL */
    struct waiting *waiting, **waiting_end;
    uint64_t call_count;
    bool may_idle, has_stopped;
    int exit_code;
};

/* ---- messages, unpacked into an arena ---- */

static void *arena_alloc(void *arena, size_t size)
{
    return bb_arena_alloc(arena, size);
}

static void arena_free(void *arena, void *pointer)
{
    (void)arena; /* goes with the arena */
    (void)pointer;
}

static Bb__Proto__ToSlot *unpack(struct bb_arena *arena, struct bb_slice frame)
{
    ProtobufCAllocator allocator = { .alloc = arena_alloc,
                                     .free = arena_free,
                                     .allocator_data = arena };

    return bb__proto__to_slot__unpack(&allocator, frame.size, frame.data);
}

static void notice(struct slot *slot, const char *level, const char *text)
{
    Bb__Proto__FromSlot frame;
    Bb__Proto__SlotNotice message;

    bb__proto__from_slot__init(&frame);
    bb__proto__slot_notice__init(&message);
    message.level = bb_arena_str(slot->frame_arena, bb_slice_str(level));
    message.text = bb_arena_str(slot->frame_arena, bb_slice_str(text));
    frame.op_case = BB__PROTO__FROM_SLOT__OP_NOTICE;
    frame.notice = &message;
    slot_frames_add(&slot->frames, &frame.base);
}

/* ---- starting ---- */

static uint64_t or_default(uint32_t value, uint64_t otherwise)
{
    return value == 0 ? otherwise : value;
}

static void set_limits(struct slot_limits *limits, const Bb__Proto__SlotHello *hello)
{
    bb_txn_limits_default(&limits->txn);
    limits->txn.document_bytes = or_default(hello->document_bytes, DOCUMENT_BYTES);
    limits->txn.read_bytes = or_default(hello->read_bytes, limits->txn.read_bytes);
    limits->txn.read_documents = or_default(hello->read_documents, limits->txn.read_documents);
    limits->txn.read_ranges = or_default(hello->read_ranges, limits->txn.read_ranges);
    limits->txn.write_bytes = or_default(hello->write_bytes, limits->txn.write_bytes);
    limits->txn.write_documents = or_default(hello->write_documents, limits->txn.write_documents);
    limits->result_bytes = or_default(hello->result_bytes, RESULT_BYTES);
    limits->log_lines = (uint32_t)or_default(hello->log_lines, LOG_LINES);
}

static int open_vm(struct program *program, uint32_t heap_mb, struct bb_vm **vm)
{
    const struct bb_vm_options options = { .heap_bytes = (size_t)heap_mb << 20,
                                           .is_jitless = program->options->is_jitless,
                                           .runtime = program->options->runtime,
                                           .runtime_count = program->options->runtime_count };

    return bb_vm_open(&program->slot.ctx, &options, slot_host, vm);
}

/* Gives up what is not needed from here on. */
static int seal(struct program *program, uint32_t heap_mb, char *what, size_t what_size)
{
    struct slot *slot = &program->slot;

    if (program->options->seal == NULL)
        return BB_OK;
    slot_rlimits_set((size_t)heap_mb << 20);
    int rc = program->options->seal(&slot->ctx, what, what_size);
    if (rc == BB_UNSUPPORTED) {
        notice(slot, "warn", slot->ctx.error);
        return BB_OK;
    }
    return rc;
}

static int get_ready(struct program *program, const Bb__Proto__SlotHello *hello)
{
    struct slot *slot = &program->slot;
    Bb__Proto__FromSlot frame;
    Bb__Proto__SlotReady ready;
    char what[128] = "";
    int rc = BB_OK;

    slot->vm = program->born_with;
    if (slot->vm == NULL)
        rc = open_vm(program, hello->heap_mb, &slot->vm);
    if (rc != BB_OK)
        return rc;
    slot_watchdog_attach(slot->watchdog, slot->vm);
    rc = seal(program, hello->heap_mb, what, sizeof what);
    if (rc != BB_OK)
        return rc;
    bb__proto__from_slot__init(&frame);
    bb__proto__slot_ready__init(&ready);
    ready.v8_version = bb_arena_str(slot->frame_arena, bb_slice_str(bb_vm_version()));
    ready.sandbox = bb_arena_str(slot->frame_arena, bb_slice_str(what));
    frame.op_case = BB__PROTO__FROM_SLOT__OP_READY;
    frame.ready = &ready;
    slot_frames_add(&slot->frames, &frame.base);
    return BB_OK;
}

static int hello(struct program *program, const Bb__Proto__SlotHello *message)
{
    int rc;

    if (program->slot.vm != NULL)
        return bb_fail(&program->slot.ctx, BB_BAD_REQUEST, "a second hello");
    set_limits(&program->slot.limits, message);
    program->slot.no_warm = message->no_warm;
    rc = get_ready(program, message);
    if (rc != BB_OK)
        program->exit_code = BB_SLOT_EXIT_START;
    return rc;
}

/* ---- frames ---- */

/* `start` lives in slot->call_arena. */
static void begin_call(struct program *program, const Bb__Proto__SlotStart *start)
{
    struct slot *slot = &program->slot;

    /* What is done must not wait for one of which nobody knows how long it takes. Those of a row
     * are heard of together; an error shows when the rest is written. */
    if (start->after == 0)
        (void)slot_frames_publish(&slot->ctx, &slot->frames, start->expected_us);
    slot_call_begin(slot, start);
    program->may_idle = true;
    if (++program->call_count % CALLS_BETWEEN_IDLE == 0 && slot->call == NULL && !slot->must_end)
        bb_vm_idle(slot->vm, IDLE_BUDGET_US);
}

static void keep_waiting(struct program *program, struct bb_slice frame)
{
    struct waiting *waiting = bb_alloc(sizeof *waiting);

    *waiting = (struct waiting){ .frame = bb_slice_dup(frame) };
    *program->waiting_end = waiting;
    program->waiting_end = &waiting->next;
}

static void begin_waiting(struct program *program)
{
    struct slot *slot = &program->slot;

    while (program->waiting != NULL && slot->call == NULL && !slot->must_end) {
        struct waiting *first = program->waiting;
        program->waiting = first->next;
        if (program->waiting == NULL)
            program->waiting_end = &program->waiting;
        /* It was unpacked once before it was kept. */
        begin_call(program, unpack(slot->call_arena, first->frame)->start);
        slot_free_copy(first->frame);
        bb_free(first);
    }
}

static int add_deployment(struct slot *slot, const Bb__Proto__SlotDeployment *message)
{
    if (slot_deployment_add(&slot->ctx, &slot->deployments, slot->vm, message) != BB_OK) {
        /* Its calls will say that it is not here; the reason is told once, here. */
        notice(slot, "error", slot->ctx.error);
    } else if (message->same_code_as == 0 && !slot->no_warm) {
        slot_warm_begin(slot, message->deployment);
    }
    return BB_OK;
}

static int handle(struct program *program, struct bb_slice frame)
{
    struct slot *slot = &program->slot;
    struct bb_arena *arena = slot->call == NULL ? slot->call_arena : slot->frame_arena;
    Bb__Proto__ToSlot *message = unpack(arena, frame);

    if (message == NULL)
        return bb_fail(&slot->ctx, BB_BAD_REQUEST, "a frame that is no message");
    if (slot->vm == NULL && message->op_case != BB__PROTO__TO_SLOT__OP_HELLO &&
        message->op_case != BB__PROTO__TO_SLOT__OP_STOP)
        return bb_fail(&slot->ctx, BB_BAD_REQUEST, "the first frame is no hello");
    switch (message->op_case) {
    case BB__PROTO__TO_SLOT__OP_HELLO:
        return hello(program, message->hello);
    case BB__PROTO__TO_SLOT__OP_DEPLOYMENT:
        slot->last_deployment = NULL;
        return add_deployment(slot, message->deployment);
    case BB__PROTO__TO_SLOT__OP_START:
        if (slot->call == NULL && program->waiting == NULL) {
            begin_call(program, message->start);
        } else {
            keep_waiting(program, frame);
        }
        return BB_OK;
    case BB__PROTO__TO_SLOT__OP_READS:
        return slot_call_feed(slot, message->reads);
    case BB__PROTO__TO_SLOT__OP_RETIRE:
        slot->last_deployment = NULL;
        slot_deployment_retire(&slot->deployments, message->retire->deployment);
        return BB_OK;
    case BB__PROTO__TO_SLOT__OP_STOP:
        program->has_stopped = true;
        return BB_OK;
    case BB__PROTO__TO_SLOT__OP__NOT_SET:
    case _BB__PROTO__TO_SLOT__OP__CASE_IS_INT_SIZE:
        break;
    }
    return bb_fail(&slot->ctx, BB_BAD_REQUEST, "a frame of an unknown kind");
}

static bool is_over(const struct program *program)
{
    return program->has_stopped || program->slot.must_end;
}

/* All that was read, and the calls that waited for each other. */
static int drain(struct program *program)
{
    struct slot *slot = &program->slot;
    struct bb_slice frame;
    int rc = BB_OK;

    while (rc == BB_OK && !is_over(program)) {
        rc = slot_frames_next(&slot->ctx, &slot->frames, &frame);
        if (rc == BB_OK)
            rc = handle(program, frame);
        if (rc == BB_OK)
            begin_waiting(program);
        if (slot->call == NULL)
            bb_arena_reset(slot->call_arena);
        /* With a call that waits, what it asks for has to be written first. */
        if (rc == BB_PENDING && slot->call == NULL && slot_frames_more(&slot->frames))
            rc = BB_OK;
    }
    return rc == BB_PENDING ? BB_OK : rc;
}

static int left_ms(struct slot *slot)
{
    uint64_t now = bb_now_us(&slot->ctx);

    return slot->call->deadline_us <= now ? 0 : (int)((slot->call->deadline_us - now + 999) / 1000);
}

/* To be done while nothing else is. */
static bool has_work(const struct slot *slot)
{
    return slot_warm_has_more(slot) || (slot->vm != NULL && bb_vm_can_prepare(slot->vm));
}

static void work(struct program *program)
{
    struct slot *slot = &program->slot;

    program->may_idle = true;
    if (!slot_warm_has_more(slot)) {
        bb_vm_prepare(slot->vm);
        slot->must_end = bb_vm_must_recycle(slot->vm);
        return;
    }
    slot_warm_step(slot);
    if (!slot_warm_has_more(slot)) {
        notice(slot, "debug",
               bb_arena_printf(slot->frame_arena, "%" PRIu32 " modules are ready", slot->warm_at));
    }
}

static int wait_for_more(struct program *program)
{
    struct slot *slot = &program->slot;
    int timeout_ms = slot->call != NULL  ? left_ms(slot)
                     : has_work(slot)    ? 0
                     : program->may_idle ? IDLE_AFTER_MS
                                         : -1;
    int rc = slot_frames_fill(&slot->ctx, &slot->frames, timeout_ms);

    if (rc != BB_TIMEOUT)
        return rc;
    if (slot->call == NULL && has_work(slot)) {
        work(program);
    } else if (slot->call == NULL) {
        program->may_idle = false;
        bb_vm_idle(slot->vm, IDLE_BUDGET_US);
    } else if (left_ms(slot) == 0) {
        slot_call_expire(slot);
        begin_waiting(program);
    }
    return BB_OK;
}

static int serve(struct program *program)
{
    struct slot *slot = &program->slot;
    int rc = BB_OK;

    while (rc == BB_OK) {
        rc = drain(program);
        int written = slot_frames_flush(&slot->ctx, &slot->frames);
        bb_arena_reset(slot->frame_arena);
        if (rc == BB_OK)
            rc = written;
        if (rc != BB_OK || is_over(program))
            break;
        rc = wait_for_more(program);
    }
    return rc;
}

static int exit_code(const struct program *program, int rc)
{
    if (rc == BB_OK || rc == BB_PEER_GONE)
        return BB_SLOT_EXIT_OK;
    (void)fprintf(stderr, "slot: %s: %s\n", bb_status_name(rc), program->slot.ctx.error);
    (void)fflush(stderr);
    return program->exit_code != 0 ? program->exit_code : BB_SLOT_EXIT_PROTOCOL;
}

/* Comes back as a slot with its own socket, or not with BB_OK. */
static int be_zygote(struct program *program)
{
    uint32_t heap_mb = program->options->zygote_heap_mb;
    int rc = BB_OK;

    if (heap_mb == 0)
        return BB_OK;
    rc = open_vm(program, heap_mb, &program->born_with);
    if (rc == BB_OK) {
        bb_vm_settle(program->born_with);
        rc = slot_zygote_serve(&program->slot.ctx, program->options->fd);
    }
    if (rc != BB_OK)
        program->exit_code = BB_SLOT_EXIT_START;
    return rc;
}

int bb_slot_main(const struct bb_slot_options *options)
{
    struct program *program = bb_alloc_zero(1, sizeof *program);
    struct slot *slot = &program->slot;
    int rc;

    /* Nothing of this is given back: the process ends with this function. */
    program->options = options;
    program->waiting_end = &program->waiting;
    slot->ctx.env = bb_env_real();
    slot->call_arena = bb_arena_new(0);
    slot->frame_arena = bb_arena_new(0);
    slot->ctx.arena = slot->frame_arena;
    slot->txn = bb_txn_new();
    slot->kept = bb_txn_kept_new(KEPT_BYTES);
    slot->builder = bb_value_builder_new();
    bb_buf_init(&slot->answer);
    rc = be_zygote(program);
    if (rc != BB_OK)
        return exit_code(program, rc);
    slot_frames_init(&slot->frames, options->fd);
    rc = slot_watchdog_open(&slot->ctx, options->fd, &slot->watchdog);
    if (rc != BB_OK) {
        program->exit_code = BB_SLOT_EXIT_START;
    } else {
        rc = serve(program);
    }
    return exit_code(program, rc);
}
