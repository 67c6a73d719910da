/*
 * The engine without a slot: reads {heapMb, seal, modules, calls} as JSON from standard input and
 * writes one line of JSON for each call.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "bb/value.h"
#include "bb/vm.h"

enum {
    OP_ECHO = 1,
    OP_LATER = 2,
    OP_FAIL = 3,
    OP_NEVER = 4,
    OP_KERNEL = 5
};

/* A host that answers later: what it owes. */
struct owed {
    struct bb_vm_ticket tickets[1024];
    struct bb_slice values[1024];
    size_t count;
};

struct watch {
    struct bb_vm *vm;
    pthread_mutex_t mutex;
    uint64_t due_ms; /* 0: nothing runs */
    uint64_t fired_ms;
};

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void *watch_main(void *arg)
{
    struct watch *watch = arg;

    for (;;) {
        (void)usleep(1000);
        pthread_mutex_lock(&watch->mutex);
        if (watch->due_ms != 0 && now_ms() >= watch->due_ms) {
            watch->due_ms = 0;
            watch->fired_ms = now_ms();
            bb_vm_terminate(watch->vm, BB_VM_TIMEOUT);
        }
        pthread_mutex_unlock(&watch->mutex);
    }
    return NULL;
}

static void put_outcome(struct bb_value_builder *builder, const char *name, bool is_denied)
{
    bb_value_field_name(builder, bb_slice_str(name));
    bb_value_put_bool(builder, is_denied);
}

/* Asks the kernel for it with harmless arguments; true: it does not even look at them. */
static void put_refused(struct bb_value_builder *builder, const char *name, long number, long a,
                        long b, long c)
{
    put_outcome(builder, name, syscall(number, a, b, c, 0L, 0L, 0L) < 0 && errno == EPERM);
}

static void try_more(struct bb_value_builder *builder)
{
    struct stat status;

    put_refused(builder, "kill", SYS_kill, getppid(), 0, 0);
    put_refused(builder, "tgkillOfAnother", SYS_tgkill, getppid(), getppid(), 0);
    put_refused(builder, "ptrace", SYS_ptrace, 16, getppid(), 0);
    put_refused(builder, "processMemory", SYS_process_vm_readv, getppid(), 0, 0);
    put_refused(builder, "memfd", SYS_memfd_create, (long)"x", 0, 0);
    put_refused(builder, "unlink", SYS_unlinkat, AT_FDCWD, (long)"/nowhere", 0);
    put_refused(builder, "limits", SYS_prlimit64, 0, 7, 0);
    put_refused(builder, "unshare", SYS_unshare, 0, 0, 0);
    put_refused(builder, "ioUring", SYS_io_uring_setup, 1, 0, 0);
    put_refused(builder, "bpf", SYS_bpf, 0, 0, 0);
    put_refused(builder, "userfaultfd", SYS_userfaultfd, 0, 0, 0);
    put_refused(builder, "ioctl", SYS_ioctl, 0, 0, 0);
    put_refused(builder, "duplicate", SYS_dup, 0, 0, 0);
    put_refused(builder, "bind", SYS_bind, 3, 0, 0);
    put_outcome(builder, "stat", stat("/etc/passwd", &status) < 0 && errno == EPERM);
    put_outcome(builder, "dumpable", prctl(PR_SET_DUMPABLE, 1) < 0 && errno == EPERM);
    put_outcome(builder, "parentDeath", prctl(PR_SET_PDEATHSIG, 0) < 0 && errno == EPERM);
}

/* What a native exploit would try: true means refused with EPERM. */
static void try_kernel(struct bb_buf *out)
{
    struct bb_value_builder *builder = bb_value_builder_new();

    bb_value_begin_object(builder);
    put_outcome(builder, "open", open("/etc/passwd", O_RDONLY) < 0 && errno == EPERM);
    put_outcome(builder, "socket", socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == EPERM);
    put_outcome(builder, "execve", execl("/bin/true", "true", (char *)NULL) < 0 && errno == EPERM);
    const pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    put_outcome(builder, "fork", pid < 0 && errno == EPERM);
    if (pid > 0) {
        (void)waitpid(pid, NULL, 0);
    }
    try_more(builder);
    bb_value_end_object(builder);
    bb_buf_append_slice(out, bb_value_finish(builder));
    bb_value_builder_free(builder);
}

static int host(struct bb_ctx *ctx, void *arg, struct bb_vm_call *call, uint32_t op,
                struct bb_slice args, struct bb_vm_ticket ticket, struct bb_buf *out)
{
    struct owed *owed = arg;

    (void)call;
    if (bb_value_validate(ctx, args) != BB_OK) {
        return ctx->status;
    }
    switch (op) {
    case OP_ECHO:
        bb_buf_append_slice(out, bb_value_at(args, 0));
        return BB_OK;
    case OP_LATER:
        if (owed->count == BB_COUNT_OF(owed->tickets)) {
            return bb_fail(ctx, BB_READ_LIMIT, "too many at once");
        }
        owed->tickets[owed->count] = ticket;
        owed->values[owed->count++] = bb_slice_dup(bb_value_at(args, 0));
        return BB_PENDING;
    case OP_FAIL: {
        const struct bb_slice code = bb_value_bytes(bb_value_at(args, 0));
        char name[64] = "";
        memcpy(name, code.data, code.size < sizeof(name) ? code.size : sizeof(name) - 1);
        return bb_fail(ctx, bb_status_by_name(name), "%.*s",
                       BB_SLICE_ARG(bb_value_bytes(bb_value_at(args, 1))));
    }
    case OP_NEVER:
        return BB_PENDING;
    case OP_KERNEL:
        try_kernel(out);
        return BB_OK;
    default:
        return bb_fail(ctx, BB_INTERNAL, "unknown op %u", op);
    }
}

/* Answers what the call waits for; false when it waits for what never comes. */
static bool answer(struct bb_vm_call *call, struct owed *owed)
{
    const size_t count = owed->count;

    owed->count = 0;
    for (size_t i = 0; i < count; i++) {
        if (bb_value_tag(owed->values[i]) == BB_TAG_STRING &&
            bb_slice_equal_str(bb_value_bytes(owed->values[i]), "reject")) {
            (void)bb_vm_reject(call, owed->tickets[i], BB_INDEX_NOT_FOUND,
                               bb_slice_str("no index"));
        } else {
            (void)bb_vm_resolve(call, owed->tickets[i], owed->values[i]);
        }
        bb_free((void *)(uintptr_t)owed->values[i].data);
    }
    bb_vm_run(call);
    return count > 0;
}

static void put_text(struct bb_buf *line, const char *name, struct bb_slice text)
{
    bb_buf_printf(line, ",\"%s\":", name);
    bb_json_string(line, text);
}

static void print_result(const struct bb_vm_result *result, uint64_t late_ms)
{
    static const char *const ENDS[] = { "VALUE",         "ERROR",          "TIMEOUT",
                                        "OUT_OF_MEMORY", "NEVER_RESOLVED", "INTERNAL" };
    struct bb_buf line;

    bb_buf_init(&line);
    bb_buf_printf(&line, "{\"end\":\"%s\",\"lateMs\":%" PRIu64 ",\"cpuUs\":%" PRIu64,
                  ENDS[result->end], late_ms, result->cpu_us);
    bb_buf_printf(&line, ",\"sawRandom\":%d,\"sawTime\":%d,\"mustRecycle\":%d", result->saw_random,
                  result->saw_time, result->must_recycle);
    put_text(&line, "code", bb_slice_str(bb_status_name(result->status)));
    put_text(&line, "message", result->message);
    put_text(&line, "stack", result->stack);
    if (result->value.size > 0) {
        bb_buf_append_str(&line, ",\"value\":");
        bb_json_encode(result->value, BB_JSON_ENCODED, &line);
    }
    if (result->error_data.size > 0) {
        bb_buf_append_str(&line, ",\"data\":");
        bb_json_encode(result->error_data, BB_JSON_ENCODED, &line);
    }
    bb_buf_append_str(&line, "}\n");
    (void)!write(STDOUT_FILENO, line.data, line.size);
    bb_buf_fini(&line);
}

static void take_json(struct bb_ctx *ctx, const json_t *json, struct bb_buf *to)
{
    char *text = json_dumps(json, JSON_ENCODE_ANY);

    bb_buf_clear(to);
    if (text == NULL || bb_json_decode(ctx, bb_slice_str(text), true, to) != BB_OK) {
        bb_buf_clear(to);
        (void)bb_json_decode(ctx, bb_slice_str("{}"), false, to);
    }
    free(text);
}

static void run_call(struct bb_ctx *ctx, struct watch *watch, struct bb_vm_bundle *bundle,
                     const json_t *json)
{
    struct owed owed = { .count = 0 };
    struct bb_buf args;
    struct bb_vm_call *call = NULL;
    struct bb_vm_result result;
    json_int_t timeout_ms = json_integer_value(json_object_get(json, "timeoutMs"));
    const char *seed = json_string_value(json_object_get(json, "seed"));

    bb_buf_init(&args);
    take_json(ctx, json_object_get(json, "args"), &args);
    struct bb_vm_call_options options = {
        .path = bb_slice_str(json_string_value(json_object_get(json, "path"))),
        .args = bb_buf_slice(&args),
        .now_ms = (uint64_t)json_integer_value(json_object_get(json, "nowMs")),
        .arg = &owed,
    };
    memcpy(options.seed, seed == NULL ? "0123456789abcdef" : seed, sizeof(options.seed));
    const uint64_t due_ms = now_ms() + (uint64_t)(timeout_ms == 0 ? 60000 : timeout_ms);
    pthread_mutex_lock(&watch->mutex);
    watch->due_ms = due_ms;
    pthread_mutex_unlock(&watch->mutex);
    (void)bb_vm_call_begin(ctx, watch->vm, bundle, &options, &call);
    const bool is_abandoned = json_is_true(json_object_get(json, "abandon"));
    while (!is_abandoned && !bb_vm_call_is_done(call)) {
        if (!answer(call, &owed)) {
            (void)usleep(1000);
        }
    }
    pthread_mutex_lock(&watch->mutex);
    watch->due_ms = 0;
    pthread_mutex_unlock(&watch->mutex);
    const uint64_t end_ms = now_ms();
    if (is_abandoned) {
        static const char LINE[] = "{\"end\":\"ABANDONED\"}\n";
        (void)!write(STDOUT_FILENO, LINE, sizeof(LINE) - 1);
    } else {
        bb_vm_call_result(call, &result);
        print_result(&result, end_ms > due_ms ? end_ms - due_ms : 0);
    }
    bb_vm_call_end(call);
    bb_vm_idle(watch->vm, 1000);
    bb_buf_fini(&args);
}

static struct bb_vm_bundle *load(struct bb_ctx *ctx, struct bb_vm *vm, const json_t *list)
{
    struct bb_vm_module modules[64];
    struct bb_vm_bundle *bundle = NULL;
    const size_t count = json_array_size(list);

    bb_assert(count <= BB_COUNT_OF(modules));
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        modules[i].path = bb_slice_str(json_string_value(json_object_get(item, "path")));
        modules[i].source = bb_slice_str(json_string_value(json_object_get(item, "source")));
        modules[i].source_map = bb_slice_str(json_string_value(json_object_get(item, "map")));
    }
    return bb_vm_load(ctx, vm, modules, count, &bundle) == BB_OK ? bundle : NULL;
}

static int fail(const struct bb_ctx *ctx)
{
    (void)dprintf(STDERR_FILENO, "%s\n", ctx->error);
    return 1;
}

int bb_vm_program_main(const struct bb_vm_program *program)
{
    struct bb_ctx ctx = { .env = NULL };
    struct watch watch = { .mutex = PTHREAD_MUTEX_INITIALIZER };
    json_t *input = json_loadf(stdin, 0, NULL);
    pthread_t thread;
    char what[64];

    if (input == NULL) {
        return 2;
    }
    const struct bb_vm_options options = {
        .heap_bytes = (size_t)json_integer_value(json_object_get(input, "heapMb")) << 20,
        .runtime = program->runtime,
        .runtime_count = program->runtime_count,
    };
    if (bb_vm_open(&ctx, &options, host, &watch.vm) != BB_OK) {
        return fail(&ctx);
    }
    struct bb_vm_bundle *bundle = load(&ctx, watch.vm, json_object_get(input, "modules"));
    if (bundle == NULL || pthread_create(&thread, NULL, watch_main, &watch) != 0) {
        return fail(&ctx);
    }
    if (json_is_true(json_object_get(input, "seal")) &&
        bb_vm_lock_down(&ctx, what, sizeof(what)) != BB_OK) {
        return fail(&ctx);
    }
    const json_t *calls = json_object_get(input, "calls");
    for (size_t i = 0; i < json_array_size(calls) && !bb_vm_must_recycle(watch.vm); i++) {
        run_call(&ctx, &watch, bundle, json_array_get(calls, i));
    }
    return 0;
}
