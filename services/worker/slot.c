/* The slots: processes that run functions, started, watched and replaced. Frames: slot_io.c. */
#include "slot.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define KILL_AFTER_US 1000000u /* over the deadline of its call */
#define AHEAD_US      2000u    /* a call that runs longer holds up what was sent behind it */
#define QUICK_US      1000u    /* a function whose calls take less may be sent ahead */
/* A slot has so much to do before another one is woken, which takes as long; and at most, when all
 * are busy. Where the supervisor, the gateway and one slot fill the cores, what a second slot runs
 * it takes from them: there it is woken for more only. */
#define AHEAD_WORK_US     200u
#define AHEAD_WORK_US_FEW 1000u
#define AHEAD_WORK_US_MAX 2000u
#define FEW_CORES         2
#define END_MAX_US        2000000u  /* from its last answer to its end */
#define START_MAX_US      30000000u /* from exec to SlotReady */
#define BACKOFF_FIRST_US  100000u
#define BACKOFF_MAX_US    10000000u
#define CGROUP_BESIDE_MB  768u      /* of a slot's memory that is no JavaScript heap */
#define HEALTHY_US        1000000u  /* a slot that lived this long is replaced at once */
#define SPARE_IDLE_US     30000000u /* without a call; a spare ends then */

/* Exit codes: facts of the slot program. */
#define EXIT_START      1
#define EXIT_BAD_OPTION 9
#define EXIT_FATAL      77
#define EXIT_MEMORY     78

static void start(struct worker *worker, struct slot *slot);

/* ---- the end of a process ---- */

/* The engine ended the process; nobody else did. It gives up over sizes that it cannot count. */
static bool is_engine_fault(int exit_code, int signal)
{
    return exit_code == EXIT_FATAL || signal == SIGTRAP || signal == SIGILL || signal == SIGABRT ||
           signal == SIGSEGV || signal == SIGBUS;
}

/* Its function has ended its slot: the next call of it may do so, too. */
static void hold_against(struct worker *worker, const struct call *call)
{
    uint64_t us = worker_now(worker) - call->run_started_us;
    worker_pace_held(&worker->pace, call->lane_keys[1], us < SPARE_HELD_US ? SPARE_HELD_US : us);
}

static void say_overdue(const struct call *call, char *text, size_t size)
{
    bool is_deploy = strcmp(call->request->path, "_system:deploy") == 0;
    uint64_t seconds = (call->deadline_us - call->started_us) / 1000000;
    if (is_deploy) {
        (void)snprintf(text, size,
                       "The deploy did not end within the %" PRIu64
                       " s that it has, and could not be stopped: its process was ended. Its "
                       "modules took too long to load: do less outside of functions.",
                       seconds);
    } else {
        (void)snprintf(text, size,
                       "Function %s did not end within the %" PRIu64
                       " s that it has, with waiting and all attempts, and could not be stopped: "
                       "its process was ended. Do less in one call, or use an action.",
                       call->request->path, seconds);
    }
}

static void fail_call(struct slot *slot, int exit_code, int signal)
{
    struct call *call = slot->call;
    char text[1024];
    if (call == NULL) {
        return;
    }
    slot->call = NULL;
    call->slot = NULL;
    if (slot->reading != NULL) {
        worker_reading_free(slot->reading);
        slot->reading = NULL;
    }
    if (call->state == CALL_PREPARING) {
        worker_reading_free(call->reading);
        call->reading = NULL;
        worker_call_requeue(slot->worker, call);
    } else if (slot->is_overdue) {
        say_overdue(call, text, sizeof(text));
        hold_against(slot->worker, call);
        worker_call_crashed(slot->worker, call, BB_FUNCTION_TIMEOUT, text);
    } else if (exit_code == EXIT_MEMORY ||
               (signal == SIGKILL &&
                worker_cgroup_was_killed(slot->worker->cgroups, slot->index))) {
        (void)snprintf(text, sizeof(text),
                       "Function %s needed more than the %u MB of memory that a slot has: its "
                       "process was ended. Read and keep less at once.",
                       call->request->path, (unsigned)slot->worker->heap_mb);
        hold_against(slot->worker, call);
        worker_call_crashed(slot->worker, call, BB_OUT_OF_MEMORY, text);
    } else if (is_engine_fault(exit_code, signal) && call->crashes > 0) {
        hold_against(slot->worker, call);
        worker_call_crashed(
            slot->worker, call, BB_OUT_OF_MEMORY,
            "the JavaScript engine gave up on this function twice, most likely over one huge string "
            "or array in memory; its process was ended, and the worker's log has the engine's words");
    } else {
        bb_warn(slot->worker->ctx, "worker.call_lost", "slot=%zu exit=%d signal=%d path=%s",
                slot->index, exit_code, signal, call->request->path);
        worker_call_crashed(slot->worker, call, BB_OK, NULL);
    }
}

/* They had not begun. */
static void run_elsewhere(struct slot *slot)
{
    while (!bb_list_is_empty(&slot->behind)) {
        struct call *call = bb_container(slot->behind.prev, struct call, slot_link);
        worker_slot_drop(slot, call);
        worker_call_again(slot->worker, call, 0, 0);
    }
    slot->expected_us = 0;
}

static void log_end(struct slot *slot, int exit_code, int signal, bool was_ready)
{
    struct bb_ctx *ctx = slot->worker->ctx;
    if (slot->worker->is_stopping || (slot->state == SLOT_ENDING && exit_code == 0)) {
        return;
    }
    bb_metric_add(slot->worker->count.slot_deaths, 1);
    if (!was_ready && (exit_code == EXIT_START || exit_code == EXIT_BAD_OPTION)) {
        bb_error(
            ctx, "worker.slot_refused",
            "slot=%zu exit=%d hint=\"the line above says why; if Node.js refuses the add-on or an "
            "option, the build does not fit this Node.js: run make again, or name the pinned "
            "Node.js with --node\"",
            slot->index, exit_code);
    } else {
        bb_warn(ctx, "worker.slot_ended", "slot=%zu exit=%d signal=%d", slot->index, exit_code,
                signal);
    }
}

static void on_exit_of_child(void *arg, int exit_code, int signal)
{
    struct slot *slot = bb_cast(struct slot, arg, SLOT_MAGIC);
    struct worker *worker = slot->worker;
    worker_slot_io_drain(slot); /* its last words may be an answer */
    bool was_ready = slot->state != SLOT_STARTING;
    if (was_ready && slot->state != SLOT_ENDING && exit_code == 0 && signal == 0) {
        worker_warm_ended(worker);
    }
    uint64_t now = worker_now(worker);
    log_end(slot, exit_code, signal, was_ready);
    if (!was_ready && slot->is_forked) {
        worker_zygote_judge(worker->zygote, false);
    }
    bb_child_free(slot->child);
    slot->child = NULL;
    worker_slot_io_close(slot);
    bool was_ending = slot->state == SLOT_ENDING;
    slot->state = SLOT_OFF;
    slot->revoked_count = 0;
    slot->is_held = false;
    fail_call(slot, exit_code, signal);
    run_elsewhere(slot);
    if (was_ready && (was_ending || now - slot->started_us > HEALTHY_US)) {
        slot->backoff_us = 0;
        slot->start_at_us = now;
    } else {
        slot->backoff_us = slot->backoff_us == 0 ? BACKOFF_FIRST_US : slot->backoff_us * 2;
        slot->backoff_us = slot->backoff_us > BACKOFF_MAX_US ? BACKOFF_MAX_US : slot->backoff_us;
        slot->start_at_us = now + slot->backoff_us;
    }
    if (!worker->is_stopping && slot->start_at_us <= now && !slot_is_spare(slot)) {
        start(worker, slot);
    }
}

/* ---- the start of a process ---- */

void worker_raise_oom_score(int64_t pid)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%" PRId64 "/oom_score_adj", pid);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, "500", 3); /* as far as we may */
        (void)close(fd);
    }
}

static void send_hello(struct worker *worker, struct slot *slot)
{
    Bb__Proto__SlotHello hello;
    bb__proto__slot_hello__init(&hello);
    hello.heap_mb = worker->heap_mb;
    hello.show_errors = worker->show_errors;
    hello.no_warm = worker_warm_is_off(worker->warm);
    Bb__Proto__ToSlot message;
    bb__proto__to_slot__init(&message);
    message.op_case = BB__PROTO__TO_SLOT__OP_HELLO;
    message.hello = &hello;
    worker_slot_send(slot, &message);
}

static int start_by_exec(struct worker *worker, struct slot *slot, int fd)
{
    const char *const *argv =
        worker_cgroup_argv(worker->cgroups, slot->index, worker_sandbox_argv(worker->sandbox));
    struct bb_child_options options = { .argv = argv,
                                        .envp = worker_sandbox_envp(worker->sandbox),
                                        .inherit_fd = fd,
                                        .log_fd = STDERR_FILENO,
                                        .on_exit = on_exit_of_child,
                                        .arg = slot };
    int rc = bb_child_start(worker->ctx, worker->loop, &options, &slot->child);
    slot->is_forked = false;
    if (rc == BB_OK) {
        worker_raise_oom_score(bb_child_pid(slot->child));
    }
    return rc;
}

void worker_slot_born(struct slot *slot, int64_t pid)
{
    struct worker *worker = slot->worker;
    bb_assert(slot->state == SLOT_STARTING && slot->child == NULL);
    slot->child = bb_child_adopt(worker->loop, pid, on_exit_of_child, slot);
    slot->is_forked = true;
    if (worker->are_slots_stopped) {
        bb_child_kill(slot->child, SIGKILL);
    } else {
        send_hello(worker, slot);
    }
}

void worker_slot_unborn(struct slot *slot, uint64_t after_us)
{
    bb_assert(slot->state == SLOT_STARTING && slot->child == NULL);
    worker_slot_io_close(slot);
    slot->state = SLOT_OFF;
    slot->start_at_us = worker_now(slot->worker) + after_us;
}

/* Its process is there, or asked for. */
static int start_process(struct worker *worker, struct slot *slot, int fd)
{
    return worker_zygote_help(worker->zygote) == ZYGOTE_READY_TO_FORK
               ? worker_zygote_fork(worker->zygote, slot, fd)
               : start_by_exec(worker, slot, fd);
}

static void start(struct worker *worker, struct slot *slot)
{
    int ends[2];
    if (worker_zygote_help(worker->zygote) == ZYGOTE_SOON) {
        return; /* the look that follows its start comes back here */
    }
    slot->started_us = slot->used_us = worker_now(worker);
    slot->known_count = 0;
    worker_copies_restarted(worker->copies, slot->index);
    slot->end_by_us = 0;
    slot->is_overdue = false;
    slot->expected_us = 0;
    slot->revoked_count = 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        char text[128];
        bb_error(worker->ctx, "worker.slot_failed", "what=\"socketpair: %s\"",
                 bb_strerror(errno, text, sizeof(text)));
        slot->start_at_us = slot->started_us + BACKOFF_MAX_US;
        return;
    }
    int rc = start_process(worker, slot, ends[1]);
    (void)close(ends[1]);
    if (rc != BB_OK) {
        (void)close(ends[0]);
        bool is_soon = worker_zygote_help(worker->zygote) == ZYGOTE_SOON;
        bb_log_event(worker->ctx, is_soon ? BB_LOG_WARN : BB_LOG_ERROR, "worker.slot_failed",
                     "what=\"%s\"", worker->ctx->error);
        slot->start_at_us = slot->started_us + (is_soon ? 0 : BACKOFF_MAX_US);
        return;
    }
    slot->state = SLOT_STARTING;
    if (worker_slot_io_open(slot, ends[0]) != BB_OK) {
        (void)close(ends[0]); /* a copy that comes finds nobody there, and ends */
        bb_error(worker->ctx, "worker.slot_failed", "what=\"%s\"", worker->ctx->error);
    }
    if (slot->child != NULL && slot->io == NULL) {
        bb_child_kill(slot->child, SIGKILL); /* its end starts the next one, a little later */
    } else if (slot->child != NULL) {
        send_hello(worker, slot);
    }
}

/* ---- the pool ---- */

/* Beyond what a slot's own limits leave it (slot/rlimits.c), so that those speak first. */
static void open_cgroups(struct worker *worker, bool is_off)
{
    const struct cgroup_options options = {
        .mount = "/sys/fs/cgroup",
        .self = "/proc/self/cgroup",
        .pid = getpid(),
        .bytes_max = is_off ? 0 : ((uint64_t)worker->heap_mb * 2 + CGROUP_BESIDE_MB) << 20
    };
    worker->cgroups = worker_cgroups_new(&options);
}

int worker_slots_open(struct worker *worker)
{
    struct bb_conf *conf = bb_service_conf(worker->service);
    struct sandbox_options options = { .mode = bb_conf_text(conf, "sandbox"),
                                       .node = bb_conf_text(conf, "node"),
                                       .addon = bb_conf_text(conf, "addon"),
                                       .slot_js = bb_conf_text(conf, "slot-js"),
                                       .heap_mb = worker->heap_mb };
    int rc = worker_sandbox_new(worker->ctx, &options, &worker->sandbox);
    if (rc != BB_OK) {
        return rc;
    }
    open_cgroups(worker, strcmp(options.mode, "off") == 0);
    const char *lacks = worker_sandbox_lacks(worker->sandbox);
    bool has_cgroups = worker_cgroups_holds(worker->cgroups)[0] != '\0';
    bb_log_event(worker->ctx, lacks[0] == '\0' ? BB_LOG_INFO : BB_LOG_WARN, "worker.sandbox",
                 "holds=%s lacks=\"%s\" memory_cgroup=\"%s\"",
                 worker_sandbox_holds(worker->sandbox), lacks,
                 has_cgroups ? "yes" : worker_cgroups_lacks(worker->cgroups));
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t count = (size_t)bb_conf_number(conf, "slots");
    worker->spare_count = (size_t)bb_conf_number(conf, "spare-slots");
    worker->slot_count =
        worker->spare_count + (count > 0 ? count : (cores < 1 ? 1 : (size_t)cores) + 1);
    worker->ahead_work_us = cores <= FEW_CORES ? AHEAD_WORK_US_FEW : AHEAD_WORK_US;
    worker->slots = bb_alloc_zero(worker->slot_count, sizeof(struct slot));
    worker->copies = worker_copies_new(worker->slot_count);
    worker->hints = worker_hints_new();
    worker->patterns = worker_patterns_new();
    rc = worker_zygote_new(worker, bb_conf_text(conf, "slot-start"), &worker->zygote);
    if (rc != BB_OK) {
        return rc;
    }
    for (size_t i = 0; i < worker->slot_count; i++) {
        worker->slots[i] = (struct slot){ .magic = SLOT_MAGIC, .worker = worker, .index = i };
        bb_list_init(&worker->slots[i].behind);
        if (!slot_is_spare(&worker->slots[i])) {
            start(worker, &worker->slots[i]);
        }
    }
    return BB_OK;
}

static void stop(struct slot *slot)
{
    Bb__Proto__SlotStop stop;
    bb__proto__slot_stop__init(&stop);
    Bb__Proto__ToSlot message;
    bb__proto__to_slot__init(&message);
    message.op_case = BB__PROTO__TO_SLOT__OP_STOP;
    message.stop = &stop;
    worker_slot_send(slot, &message);
    slot->state = SLOT_ENDING;
}

/* ---- spares ---- */

/* Slots that have been with their call for long. What the slots have said is heard. */
static void watch_held(struct worker *worker, uint64_t now_us)
{
    for (size_t i = 0; i < worker->slot_count; i++) {
        struct slot *slot = &worker->slots[i];
        uint64_t to_us = slot->reading != NULL ? slot->reading_from_us : now_us;
        if (slot->state != SLOT_BUSY || slot->is_held ||
            to_us < slot->held_from_us + SPARE_HELD_US) {
            continue;
        }
        slot->is_held = true;
        if (slot->call != NULL) {
            worker_pace_held(&worker->pace, slot->call->lane_keys[1], to_us - slot->held_from_us);
        }
    }
}

struct spare_view worker_slots_view(const struct worker *worker)
{
    struct spare_view view = { .slots = worker->slot_count - worker->spare_count,
                               .spares = worker->spare_count };
    for (size_t i = 0; i < worker->slot_count; i++) {
        const struct slot *slot = &worker->slots[i];
        bool is_away = slot->state < SLOT_IDLE || slot->state > SLOT_BUSY;
        view.held += slot->state == SLOT_BUSY && slot->is_held;
        view.away += is_away && !slot_is_spare(slot);
        bool is_used = slot->state == SLOT_RESERVED || slot->state == SLOT_BUSY;
        view.spares_used += slot_is_spare(slot) && is_used;
    }
    return view;
}

size_t worker_slots_spare(const struct worker *worker)
{
    size_t count = 0;
    for (size_t i = worker->slot_count - worker->spare_count; i < worker->slot_count; i++) {
        count += worker->slots[i].child != NULL || worker->slots[i].state == SLOT_STARTING;
    }
    return count;
}

/* As many as are wanted; those that had nothing to do for a while end. */
static void watch_spares(struct worker *worker, uint64_t now_us)
{
    struct spare_view view = worker_slots_view(worker);
    size_t wanted = worker_spare_wanted(&view);
    size_t running = worker_slots_spare(worker);
    for (size_t i = view.slots; i < worker->slot_count; i++) {
        struct slot *slot = &worker->slots[i];
        bool is_off = slot->state == SLOT_OFF && slot->child == NULL;
        if (is_off && running < wanted && !worker->is_stopping && now_us >= slot->start_at_us) {
            start(worker, slot);
            running++;
        } else if (slot->state == SLOT_IDLE && running > wanted &&
                   now_us > slot->used_us + SPARE_IDLE_US) {
            stop(slot);
        }
    }
}

/* ---- the pool under watch ---- */

void worker_slots_watch(struct worker *worker, uint64_t now_us)
{
    worker_zygote_watch(worker->zygote, now_us);
    watch_held(worker, now_us);
    watch_spares(worker, now_us);
    for (size_t i = 0; i < worker->slot_count; i++) {
        struct slot *slot = &worker->slots[i];
        bool is_stuck = slot->state == SLOT_STARTING && now_us > slot->started_us + START_MAX_US;
        bool is_over = slot->state == SLOT_BUSY && slot->call != NULL &&
                       now_us > slot->call->deadline_us + KILL_AFTER_US;
        if (slot->state == SLOT_ENDING && slot->end_by_us == 0) {
            slot->end_by_us = now_us + END_MAX_US;
        }
        bool is_held = slot->state == SLOT_BUSY && slot->call == NULL; /* by revoked calls */
        is_stuck |= (slot->state == SLOT_ENDING || is_held) && now_us > slot->end_by_us;
        if (slot->child != NULL && (is_stuck || (is_over && !slot->is_overdue))) {
            slot->is_overdue = is_over;
            bb_child_kill(slot->child, SIGKILL);
        }
        if (slot->state == SLOT_OFF && slot->child == NULL && !worker->is_stopping &&
            !slot_is_spare(slot) && now_us >= slot->start_at_us) {
            start(worker, slot);
        }
    }
}

static struct slot *free_of(struct worker *worker, size_t from, size_t to,
                            const struct catalog *catalog)
{
    struct slot *any = NULL;
    for (size_t i = from; i < to; i++) {
        struct slot *slot = &worker->slots[i];
        if (slot->state != SLOT_IDLE) {
            continue;
        }
        if (catalog == NULL || worker_slot_knows_code(slot, catalog)) {
            return slot;
        }
        any = any == NULL ? slot : any;
    }
    return any;
}

struct slot *worker_slot_free(struct worker *worker, const struct catalog *catalog,
                              enum spare_class call)
{
    size_t slots = worker->slot_count - worker->spare_count;
    struct slot *slot = free_of(worker, 0, slots, catalog);
    if (slot == NULL && worker->spare_count > 0) {
        slot = free_of(worker, slots, worker->slot_count, catalog);
        struct spare_view view = worker_slots_view(worker);
        slot = slot != NULL && worker_spare_may_take(&view, call) ? slot : NULL;
    }
    return slot;
}

static size_t count_state(const struct worker *worker, enum slot_state from, enum slot_state to)
{
    size_t count = 0;
    for (size_t i = 0; i < worker->slot_count; i++) {
        count += worker->slots[i].state >= from && worker->slots[i].state <= to;
    }
    return count;
}

size_t worker_slots_ready(const struct worker *worker)
{
    return count_state(worker, SLOT_IDLE, SLOT_BUSY);
}

size_t worker_slots_busy(const struct worker *worker)
{
    return count_state(worker, SLOT_RESERVED, SLOT_BUSY);
}

bool worker_slot_snapshot(const struct worker *worker, size_t index, uint64_t *tx)
{
    struct slot *slot = &worker->slots[index];
    bool has_one = slot->call != NULL && !slot->call->is_void;
    if (has_one) {
        *tx = slot->call->snapshot;
    }
    bb_list_each(item, &slot->behind) {
        const struct call *call = bb_container(item, struct call, slot_link);
        if (!call->is_void && (!has_one || call->snapshot < *tx)) {
            *tx = call->snapshot;
            has_one = true;
        }
    }
    return has_one;
}

bool worker_slot_is_quick(uint32_t expected_us)
{
    return expected_us > 0 && expected_us <= QUICK_US;
}

static bool may_have_more(const struct slot *slot, uint64_t now_us, uint64_t work_us_max,
                          bool has_idle)
{
    const struct call *call = slot->call;
    return slot->state == SLOT_BUSY && call != NULL && !call->is_in_lane &&
           worker_slot_is_quick(call->expected_us) && slot->revoked_count == 0 &&
           slot->behind_count < SLOT_AHEAD_MAX && slot->expected_us < work_us_max &&
           (has_idle || slot->ahead_count < SLOT_AHEAD_ROW) &&
           now_us < call->run_started_us + AHEAD_US;
}

struct slot *worker_slot_ahead(struct worker *worker, const struct catalog *catalog, bool has_idle)
{
    struct slot *best = NULL;
    uint64_t now = worker_now(worker);
    uint64_t work_us_max = has_idle ? worker->ahead_work_us : AHEAD_WORK_US_MAX;
    for (size_t i = 0; i < worker->slot_count; i++) {
        struct slot *slot = &worker->slots[i];
        if (may_have_more(slot, now, work_us_max, has_idle) &&
            (catalog == NULL || worker_slot_has_deployment(slot, catalog)) &&
            (best == NULL || slot->expected_us < best->expected_us)) {
            best = slot;
        }
    }
    return best;
}

/* One that waits there is not its any more. */
void worker_slot_drop(struct slot *slot, struct call *call)
{
    bb_list_remove(&call->slot_link);
    call->slot = NULL;
    slot->behind_count--;
    slot->expected_us -= call->expected_us;
}

static void take_back(struct slot *slot)
{
    while (!bb_list_is_empty(&slot->behind)) {
        struct call *call = bb_container(slot->behind.prev, struct call, slot_link);
        worker_slot_drop(slot, call);
        slot->revoked[slot->revoked_count++] = call->id;
        worker_call_requeue(slot->worker, call);
    }
}

void worker_slots_even_out(struct worker *worker)
{
    bool has_idle = worker_slot_free(worker, NULL, SPARE_SHORT) != NULL;
    uint64_t now = worker_now(worker);
    for (size_t i = 0; i < worker->slot_count; i++) {
        struct slot *slot = &worker->slots[i];
        if (slot->call == NULL || bb_list_is_empty(&slot->behind)) {
            continue;
        }
        uint64_t patience_us = has_idle ? AHEAD_US : 2 * AHEAD_US;
        if (!slot->call->is_in_lane && now > slot->call->run_started_us + patience_us) {
            take_back(slot);
        }
    }
}

bool worker_slots_have_waiting(const struct worker *worker)
{
    for (size_t i = 0; i < worker->slot_count; i++) {
        const struct slot *slot = &worker->slots[i];
        if (slot->behind_count > 0 || slot->revoked_count > 0) {
            return true;
        }
    }
    return false;
}

void worker_slot_reserve(struct slot *slot, struct call *call)
{
    bb_assert(slot != NULL && slot->state == SLOT_IDLE && slot->call == NULL && call->slot == NULL);
    slot->state = SLOT_RESERVED;
    slot->call = call;
    call->slot = slot;
}

void worker_slot_unreserve(struct slot *slot)
{
    bb_assert(slot->state == SLOT_RESERVED && slot->call != NULL);
    slot->state = SLOT_IDLE;
    slot->call->slot = NULL;
    slot->call = NULL;
}

void worker_slots_stop(struct worker *worker)
{
    worker_zygote_stop(worker->zygote);
    for (size_t i = 0; i < worker->slot_count; i++) {
        struct slot *slot = &worker->slots[i];
        if (slot->child == NULL) {
            continue;
        }
        if (slot->io != NULL && slot->state != SLOT_STARTING) {
            stop(slot);
        } else {
            slot->state = SLOT_ENDING;
            bb_child_kill(slot->child, SIGKILL);
        }
    }
    worker_slots_turn(worker);
}

bool worker_slots_gone(const struct worker *worker)
{
    for (size_t i = 0; i < worker->slot_count; i++) {
        if (worker->slots[i].child != NULL) {
            return false;
        }
    }
    return worker_zygote_is_gone(worker->zygote);
}

void worker_slots_close(struct worker *worker)
{
    for (size_t i = 0; i < worker->slot_count; i++) {
        struct slot *slot = &worker->slots[i];
        if (slot->child != NULL) {
            bb_child_kill(slot->child, SIGKILL);
            bb_child_free(slot->child);
        }
        worker_slot_io_close(slot);
    }
    bb_free(worker->slots);
    worker_copies_free(worker->copies);
    worker->copies = NULL;
    worker_hints_free(worker->hints);
    worker_patterns_free(worker->patterns);
    worker->hints = NULL;
    worker->patterns = NULL;
    worker->slots = NULL;
    worker->slot_count = 0;
    worker_zygote_free(worker->zygote);
    worker->zygote = NULL;
    worker_sandbox_free(worker->sandbox);
    worker_cgroups_free(worker->cgroups);
}
