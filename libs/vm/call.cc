/*
 * One call: begin, wait for the host, go on, end.
 */
#include <algorithm>

#include "vm_internal.hh"

enum {
    RESULT_BYTES_MAX = 48 << 20,
    /* Of running: in this long a script allocates a few megabytes, whatever it does. */
    HEAP_LOOK_NS = 500000
};

namespace bb
{

/* The scopes that every entry into V8 needs. */
struct Entered {
    Entered(struct bb_vm *vm, const Realm *realm)
        : isolate(vm->isolate), handles(vm->isolate), context(realm->context.Get(vm->isolate))
    {
    }
    explicit Entered(const struct bb_vm_call *call) : Entered(call->vm, call->realm)
    {
    }
    v8::Isolate::Scope isolate;
    v8::HandleScope handles;
    v8::Context::Scope context;
};

static void end_with(struct bb_vm_call *call, enum bb_vm_end end, int status, std::string message)
{
    call->result.end = end;
    call->result.status = status;
    call->message = std::move(message);
}

/* After a stop: the module that was being loaded, or "". */
static std::string loading_path(struct bb_vm_call *call)
{
    v8::Isolate *isolate = call->vm->isolate;
    v8::TryCatch quiet(isolate);
    v8::Local<v8::Value> path;

    return call->realm->loading_path.Get(isolate)
                   ->Call(isolate->GetCurrentContext(), v8::Undefined(isolate), 0, nullptr)
                   .ToLocal(&path)
               ? utf8_of(isolate, path)
               : "";
}

/* The flags decide, not the exception: they were set before the script was stopped. */
static void end_terminated(struct bb_vm_call *call)
{
    struct bb_vm *vm = call->vm;
    const int why = vm->why.load();

    vm->isolate->CancelTerminateExecution();
    call->stack.clear();
    bb_buf_clear(&call->value);
    bb_buf_clear(&call->error_data);
    vm->must_recycle = true;
    if (vm->is_out_of_memory.load()) {
        end_with(call, BB_VM_OUT_OF_MEMORY, BB_OUT_OF_MEMORY,
                 "the function needed more than " + std::to_string(vm->heap_bytes >> 20) +
                     " MB of memory: read and keep less at once");
    } else if (why == BB_VM_TIMEOUT) {
        call->loading = loading_path(call);
        end_with(call, BB_VM_TIMEOUT, BB_FUNCTION_TIMEOUT,
                 "the function ran longer than it may: do less in one function");
    } else {
        end_with(call, BB_VM_INTERNAL, BB_INTERNAL, "the function was stopped");
    }
}

static void end_fulfilled(struct bb_vm_call *call, v8::Local<v8::Value> value)
{
    struct bb_vm *vm = call->vm;
    const EncodeOptions options = { "result", false, true, RESULT_BYTES_MAX };
    v8::TryCatch caught(vm->isolate);
    std::string problem;

    if (!call->rejections.empty()) {
        describe_error(call, call->rejections.front().reason.Get(vm->isolate));
        return;
    }
    if (encode(vm, value, options, &call->value, &problem)) {
        end_with(call, BB_VM_VALUE, BB_OK, "");
    } else if (!problem.empty()) {
        end_with(call, BB_VM_ERROR, BB_NOT_ENCODABLE, problem);
    } else if (caught.HasCaught() && !caught.HasTerminated()) {
        describe_error(call, caught.Exception());
    }
}

static size_t heap_used(struct bb_vm *vm)
{
    v8::HeapStatistics heap;

    vm->isolate->GetHeapStatistics(&heap);
    return vm->heap_used = heap.used_heap_size();
}

/* V8 calls on_near_limit when it collects; one huge allocation may come without that. The garbage
 * of calls before this one stays below half of the limit, so what is above the limit is this
 * call's. To ask V8 costs more than half a microsecond: calls too short to allocate much are looked
 * at together. */
static void check_heap(struct bb_vm_call *call)
{
    struct bb_vm *vm = call->vm;
    const uint64_t ran_ns = call->run_ns + (clock_ns() - call->entered_ns);

    vm->call_count++;
    vm->unchecked_ns += ran_ns;
    if (vm->unchecked_ns < HEAP_LOOK_NS) {
        return;
    }
    vm->unchecked_ns = 0;
    if (heap_used(vm) <= vm->heap_bytes / 2) {
        return;
    }
    if (vm->heap_used > vm->heap_bytes && !vm->is_out_of_memory.exchange(true)) {
        int none = -1;
        (void)vm->why.compare_exchange_strong(none, (int)BB_VM_OUT_OF_MEMORY);
    }
    vm->isolate->LowMemoryNotification();
    vm->must_recycle |= heap_used(vm) > vm->heap_bytes / 2;
}

/* Did the function leave something behind that the next one would meet? */
static void check_sound(struct bb_vm_call *call)
{
    struct bb_vm *vm = call->vm;
    v8::Isolate *isolate = vm->isolate;
    v8::TryCatch quiet(isolate);
    v8::Local<v8::Value> is_sound, is_known = v8::Boolean::New(isolate, is_regexp_class_known(vm));

    if (!vm->is_sound.Get(isolate)
             ->Call(vm->home.context.Get(isolate), v8::Undefined(isolate), 1, &is_known)
             .ToLocal(&is_sound) ||
        !is_sound->IsTrue()) {
        vm->must_recycle = true;
    }
    if (vm->why.load() >= 0) {
        isolate->CancelTerminateExecution();
    }
    check_heap(call);
}

static void drain(struct bb_vm_call *call)
{
    v8::TryCatch quiet(call->vm->isolate);

    call->vm->isolate->PerformMicrotaskCheckpoint();
}

/* After the microtasks ran: is the call over, and how? */
static void settle(struct bb_vm_call *call)
{
    struct bb_vm *vm = call->vm;
    v8::Isolate *isolate = vm->isolate;

    if (vm->why.load() < 0 && !call->promise.IsEmpty()) {
        v8::Local<v8::Promise> promise = call->promise.Get(isolate);
        switch (promise->State()) {
        case v8::Promise::kPending:
            if (call->open_ticket_count > 0) {
                return;
            }
            end_with(call, BB_VM_NEVER_RESOLVED, BB_NEVER_RESOLVED,
                     "the function awaits a promise that nothing will ever resolve");
            break;
        case v8::Promise::kFulfilled:
            end_fulfilled(call, promise->Result());
            break;
        case v8::Promise::kRejected:
            describe_error(call, promise->Result());
            break;
        }
    }
    call->is_done = true;
    /* Getters of the result or the error may have queued work: it ends here, not in the next. */
    drain(call);
    if (call->profile != nullptr) {
        /* Of a call that was stopped, too: then most of all. */
        isolate->CancelTerminateExecution();
        profile_stop(call, &call->profiled);
    }
    if (vm->why.load() >= 0) {
        end_terminated(call);
    } else {
        check_sound(call);
        if (vm->why.load() >= 0) {
            end_terminated(call);
        }
    }
}

static v8::MaybeLocal<v8::String> path_string(struct bb_vm *vm, struct bb_slice path)
{
    const std::string_view text(reinterpret_cast<const char *>(path.data), path.size);
    Path &kept = vm->paths[std::hash<std::string_view>()(text) % PATH_CACHE_SIZE];
    v8::Local<v8::String> made;

    if (!kept.string.IsEmpty() && kept.text == text) {
        return kept.string.Get(vm->isolate);
    }
    if (!v8::String::NewFromUtf8(vm->isolate, text.data(), v8::NewStringType::kInternalized,
                                 (int)text.size())
             .ToLocal(&made)) {
        return v8::MaybeLocal<v8::String>();
    }
    kept.text = text;
    kept.string.Reset(vm->isolate, made);
    return made;
}

static void start(struct bb_vm_call *call, const struct bb_vm_call_options *options)
{
    struct bb_vm *vm = call->vm;
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::Context> context = isolate->GetCurrentContext();
    v8::TryCatch caught(isolate);
    v8::Local<v8::Value> arguments[5], returned;
    v8::Local<v8::String> path;
    v8::Local<v8::Object> view;

    arguments[0] = v8::Null(isolate);
    if (call->bundle != nullptr && view_of(call->bundle, call->realm).ToLocal(&view)) {
        arguments[0] = view;
    }
    if (path_string(vm, options->path).ToLocal(&path) &&
        decode(vm, options->args).ToLocal(&arguments[2])) {
        arguments[1] = path;
        arguments[3] = vm->kinds[options->is_mutation].Get(isolate);
        arguments[4] = v8::Number::New(isolate, (double)options->snapshot);
        if (call->realm->invoke.Get(isolate)
                ->Call(context, v8::Undefined(isolate), 5, arguments)
                .ToLocal(&returned) &&
            returned->IsPromise()) {
            call->promise.Reset(isolate, returned.As<v8::Promise>());
            returned.As<v8::Promise>()->MarkAsHandled();
            return;
        }
    }
    if (caught.HasCaught() && !caught.HasTerminated()) {
        describe_error(call, caught.Exception());
    } else {
        end_with(call, BB_VM_INTERNAL, BB_INTERNAL, "the runtime returned no promise");
    }
}

/* Where a call begins is where its function's module runs. */
static void enter_realm(struct bb_vm_call *call, const struct bb_vm_call_options *options)
{
    struct bb_vm *vm = call->vm;

    call->realm = &vm->home;
    if (!vm->wants_contexts || call->bundle == nullptr ||
        !needs_context(call->bundle, std::string(reinterpret_cast<const char *>(options->path.data),
                                                 options->path.size))) {
        return;
    }
    Realm *own = own_realm(call);
    if (own != nullptr) {
        call->realm = own;
    }
}

/* A promise is settled in the realm that it is of. */
struct Settled {
    Settled(struct bb_vm_call *call, v8::Local<v8::Promise::Resolver> resolver)
        : context(call->own == nullptr || resolver.IsEmpty()
                      ? call->vm->isolate->GetCurrentContext()
                      : resolver->GetCreationContextChecked(call->vm->isolate))
    {
    }
    v8::Context::Scope context;
};

} // namespace bb

int bb_vm_call_begin(struct bb_ctx *ctx, struct bb_vm *vm, struct bb_vm_bundle *bundle,
                     const struct bb_vm_call_options *options, struct bb_vm_call **call)
{
    bb_assert(vm->call == nullptr && !vm->must_recycle);
    bb::Entered entered(vm, &vm->home);
    struct bb_vm_call *made = new bb_vm_call;
    const uint64_t begun_ns = bb::clock_ns();

    /* Whoever stops a script says why before: to cancel what was not asked for takes V8's locks. */
    if (vm->why.exchange(-1) >= 0) {
        vm->isolate->CancelTerminateExecution();
    }
    made->vm = vm;
    made->ctx = ctx;
    made->bundle = bundle;
    made->arg = options->arg;
    made->entered_ns = begun_ns;
    made->generation = ++vm->generation;
    made->now_ms = options->now_ms;
    memcpy(made->random, options->seed, sizeof made->random);
    /* All zero is the one state that xorshift never leaves. */
    made->random[0] |= (made->random[0] | made->random[1] | made->random[2] | made->random[3]) == 0;
    bb_buf_init(&made->value);
    bb_buf_init(&made->error_data);
    bb_buf_init(&made->profiled);
    vm->call = made;
    *call = made;
    if (options->profile != BB_VM_PROFILE_NONE) {
        bb::profile_start(made, options->profile);
    }
    bb::enter_realm(made, options);
    {
        v8::Context::Scope realm(made->realm->context.Get(vm->isolate));
        bb::start(made, options);
        bb::drain(made);
        bb::settle(made);
    }
    made->run_ns += bb::clock_ns() - begun_ns;
    return BB_OK;
}

bool bb_vm_call_is_done(const struct bb_vm_call *call)
{
    return call->is_done;
}

/* The resolver of an open ticket, which is closed by this; empty when there is none. */
static v8::Local<v8::Promise::Resolver> take_ticket(struct bb_vm_call *call,
                                                    struct bb_vm_ticket ticket)
{
    const size_t index = (size_t)(ticket.v & UINT32_MAX);

    if (ticket.v >> 32 != (call->generation & UINT32_MAX) || index >= call->tickets.size() ||
        call->tickets[index].IsEmpty() || call->is_done) {
        return v8::Local<v8::Promise::Resolver>();
    }
    v8::Local<v8::Promise::Resolver> resolver = call->tickets[index].Get(call->vm->isolate);
    call->tickets[index].Reset();
    call->open_ticket_count--;
    return resolver;
}

int bb_vm_resolve(struct bb_vm_call *call, struct bb_vm_ticket ticket, struct bb_slice value)
{
    bb::Entered entered(call);
    v8::TryCatch quiet(call->vm->isolate);
    v8::Local<v8::Promise::Resolver> resolver = take_ticket(call, ticket);
    bb::Settled settled(call, resolver);
    v8::Local<v8::Value> decoded;

    if (resolver.IsEmpty()) {
        return BB_NOT_FOUND;
    }
    if (bb::decode(call->vm, value).ToLocal(&decoded)) {
        std::ignore = resolver->Resolve(call->vm->isolate->GetCurrentContext(), decoded);
    } else if (quiet.HasCaught() && !quiet.HasTerminated()) {
        std::ignore = resolver->Reject(call->vm->isolate->GetCurrentContext(), quiet.Exception());
    }
    return BB_OK;
}

int bb_vm_reject(struct bb_vm_call *call, struct bb_vm_ticket ticket, int status,
                 struct bb_slice message)
{
    bb::Entered entered(call);
    v8::TryCatch quiet(call->vm->isolate);
    v8::Local<v8::Promise::Resolver> resolver = take_ticket(call, ticket);
    bb::Settled settled(call, resolver);

    if (resolver.IsEmpty()) {
        return BB_NOT_FOUND;
    }
    std::ignore = resolver->Reject(call->vm->isolate->GetCurrentContext(),
                                   bb::make_error(call->vm, status,
                                                  reinterpret_cast<const char *>(message.data),
                                                  message.size));
    return BB_OK;
}

void bb_vm_run(struct bb_vm_call *call)
{
    if (call->is_done) {
        return;
    }
    bb::Entered entered(call);
    const uint64_t begun_ns = bb::clock_ns();

    call->entered_ns = begun_ns;
    if (call->vm->why.load() < 0) {
        bb::drain(call);
    }
    bb::settle(call);
    call->run_ns += bb::clock_ns() - begun_ns;
}

enum bb_vm_isolation bb_vm_call_isolation(const struct bb_vm_call *call)
{
    bb::Entered entered(call->vm, &call->vm->home);

    if (call->own != nullptr) {
        return BB_VM_CONTEXT;
    }
    return call->bundle == nullptr || bb::is_all_shared(call->bundle) ? BB_VM_SHARED
                                                                      : BB_VM_PER_CALL;
}

bool bb_vm_host_is_open(const struct bb_vm_call *call)
{
    return call->is_host_open;
}

void bb_vm_call_result(struct bb_vm_call *call, struct bb_vm_result *result)
{
    bb_assert(call->is_done);
    *result = call->result;
    result->value = call->result.end == BB_VM_VALUE ? bb_buf_slice(&call->value) : BB_SLICE_EMPTY;
    result->message = bb_slice(call->message.data(), call->message.size());
    result->error_data = bb_buf_slice(&call->error_data);
    result->stack = bb_slice(call->stack.data(), call->stack.size());
    result->profile = bb_buf_slice(&call->profiled);
    result->loading = bb_slice(call->loading.data(), call->loading.size());
    result->saw_random = call->saw_random;
    result->saw_time = call->saw_time;
    result->must_recycle = call->vm->must_recycle;
    result->cpu_us = call->run_ns / 1000;
    result->heap_bytes = call->vm->heap_used;
}

void bb_vm_call_end(struct bb_vm_call *call)
{
    struct bb_vm *vm = call->vm;
    {
        bb::Entered entered(vm, &vm->home);

        if (!call->is_done) {
            /* Abandoned while it waits: what it has changed so far must not reach the next call. */
            bb::check_sound(call);
            if (call->profile != nullptr) {
                bb::profile_stop(call, &call->profiled);
            }
        }
        vm->call = nullptr;
        if (call->own != nullptr) {
            bb::drop_own_realm(call);
        }
        if (call->bundle != nullptr && call->bundle->is_instantiated && !vm->must_recycle) {
            bb::reset_bundle(call->bundle);
        }
        for (struct bb_vm_bundle *bundle : call->bundles) {
            bb_vm_unload(bundle);
        }
        bb_buf_fini(&call->value);
        bb_buf_fini(&call->error_data);
        bb_buf_fini(&call->profiled);
        delete call;
    }
}
