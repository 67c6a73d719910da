/*
 * One isolate from open to close.
 */
#include <ctime>

#include "limits.hh"
#include "platform.hh"

static const size_t DEFAULT_BYTES = (size_t)64 << 20;

#define VM_YOUNG_BYTES (6u << 20)
#define SETTLE_NS      100000000u

namespace bb
{

/* Not the thread's own CPU clock: reading that is a system call, and this runs twice a call. */
uint64_t clock_ns()
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A rejection counts when the call ends and nobody has handled it by then. */
static void on_rejection(v8::PromiseRejectMessage message)
{
    v8::Isolate *isolate = v8::Isolate::GetCurrent();
    struct bb_vm_call *call = vm_of(isolate)->call;

    if (call == nullptr) {
        return;
    }
    if (message.GetEvent() == v8::kPromiseRejectWithNoHandler) {
        call->rejections.push_back(
            vm_rejection{ v8::Global<v8::Promise>(isolate, message.GetPromise()),
                          v8::Global<v8::Value>(isolate, message.GetValue()) });
    } else if (message.GetEvent() == v8::kPromiseHandlerAddedAfterReject) {
        std::erase_if(call->rejections, [&](const vm_rejection &rejection) {
            return rejection.promise == message.GetPromise();
        });
    }
}

static void init_isolate(struct bb_vm *vm, const struct bb_vm_options *options)
{
    v8::Isolate::CreateParams params;

    vm->heap_bytes = options->heap_bytes == 0 ? DEFAULT_BYTES : options->heap_bytes;
    vm->allocator =
        new_allocator(options->buffer_bytes == 0 ? DEFAULT_BYTES : options->buffer_bytes);
    vm->tasks = std::make_shared<Tasks>();
    vm->tasks->self = vm->tasks;
    vm->platform = platform();
    params.array_buffer_allocator = vm->allocator.get();
    params.constraints.ConfigureDefaultsFromHeapSize(0, vm->heap_bytes);
    /* Little of a call outlives it: a small nursery is emptied cheaply and stays in the cache. */
    params.constraints.set_max_young_generation_size_in_bytes(VM_YOUNG_BYTES);
    /* Made on the thread that runs it: V8 takes the limit of the stack here. */
    vm->isolate = v8::Isolate::Allocate();
    vm->platform->RegisterIsolate(vm->isolate, vm->tasks.get());
    v8::Isolate::Initialize(vm->isolate, params);
    vm->isolate->SetData(0, vm);
    vm->isolate->SetMicrotasksPolicy(v8::MicrotasksPolicy::kExplicit);
    vm->isolate->SetAllowAtomicsWait(false);
    vm->isolate->SetPromiseRejectCallback(on_rejection);
    vm->isolate->SetPrepareStackTraceCallback(prepare_stack);
    set_limits(vm);
}

} // namespace bb

int bb_vm_open(struct bb_ctx *ctx, const struct bb_vm_options *options, bb_vm_host_fn *host,
               struct bb_vm **vm)
{
    struct bb_vm *made = new bb_vm;

    if (bb::platform() == nullptr) {
        delete made;
        return bb_fail(ctx, BB_INTERNAL, "V8 is there only inside of Node.js: load the add-on");
    }
    made->host = host;
    bb_buf_init(&made->scratch);
    bb_buf_init(&made->answer);
    bb::init_isolate(made, options);
    /* For as long as it lives: to enter it anew for each call costs V8 a search for the thread. */
    made->isolate->Enter();
    const int rc = bb::open_realm(ctx, made, options);
    if (rc != BB_OK) {
        /* The process ends after this; an isolate in an unknown state is not worth a clean end. */
        return rc;
    }
    *vm = made;
    return BB_OK;
}

void bb_vm_close(struct bb_vm *vm)
{
    if (vm == nullptr) {
        return;
    }
    bb_assert(vm->call == nullptr);
    while (!vm->bundles.empty()) {
        bb_vm_unload(vm->bundles.back());
    }
    bb::unwatch_regexp(vm);
    v8::Isolate *isolate = vm->isolate;
    node::MultiIsolatePlatform *platform = vm->platform;
    std::unique_ptr<bb::Allocator> allocator = std::move(vm->allocator);
    std::shared_ptr<bb::Tasks> tasks = vm->tasks;
    bb_buf_fini(&vm->scratch);
    bb_buf_fini(&vm->answer);
    delete vm;
    isolate->Exit();
    platform->DisposeIsolate(isolate);
}

void bb_vm_terminate(struct bb_vm *vm, enum bb_vm_end why)
{
    int none = -1;

    (void)vm->why.compare_exchange_strong(none, (int)why);
    vm->isolate->TerminateExecution();
}

void bb_vm_settle(struct bb_vm *vm)
{
    v8::Isolate::Scope isolate_scope(vm->isolate);

    vm->isolate->LowMemoryNotification();
    vm->tasks->run(vm->isolate, SETTLE_NS);
}

void bb_vm_idle(struct bb_vm *vm, uint32_t budget_us)
{
    v8::Isolate::Scope isolate_scope(vm->isolate);

    vm->tasks->run(vm->isolate, (uint64_t)budget_us * 1000);
}

bool bb_vm_must_recycle(const struct bb_vm *vm)
{
    return vm->must_recycle;
}

const char *bb_vm_version(void)
{
    return v8::V8::GetVersion();
}
