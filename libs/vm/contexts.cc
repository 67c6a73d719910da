/*
 * Contexts of single calls, for modules that change built-in objects: made ahead, used once, thrown
 * away. And the way from one realm to the other: values cross as copies.
 */
#include "vm_internal.hh"

namespace bb
{

enum {
    READY_MAX = 4, /* made ahead; about 0.5 MB each */
    ARGUMENTS_MAX = 4,
    CROSSING_BYTES_MAX = 48 << 20,
    /* Contexts are freed by full collections only, which V8 makes as the heap grows. In so many
     * calls it has made some, or it is made to; then most of them must be gone. */
    LOOK_AFTER = 128,
    ALIVE_MAX = 256
};

static std::unique_ptr<Realm> make_context(struct bb_vm *vm)
{
    v8::HandleScope handles(vm->isolate);
    v8::TryCatch quiet(vm->isolate);
    auto made = std::make_unique<Realm>();
    const char *what = "";

    made->is_own = true;
    return build_realm(vm, made.get(), &what) ? std::move(made) : nullptr;
}

Realm *own_realm(struct bb_vm_call *call)
{
    struct bb_vm *vm = call->vm;

    if (call->own == nullptr && !vm->ready.empty()) {
        call->own = std::move(vm->ready.back());
        vm->ready.pop_back();
    } else if (call->own == nullptr) {
        call->own = make_context(vm);
    }
    return call->own.get();
}

static size_t alive(struct bb_vm *vm)
{
    v8::HeapStatistics heap;

    vm->isolate->GetHeapStatistics(&heap);
    return heap.number_of_native_contexts();
}

/* Are the contexts of calls before this one gone? If not, something holds them: this process is not
 * to go on. */
static void look_at_contexts(struct bb_vm *vm)
{
    vm->context_count = 0;
    if (alive(vm) <= ALIVE_MAX) {
        return;
    }
    vm->isolate->LowMemoryNotification();
    vm->must_recycle |= alive(vm) > ALIVE_MAX;
}

void drop_own_realm(struct bb_vm_call *call)
{
    struct bb_vm *vm = call->vm;

    call->crossings.clear();
    call->tickets.clear();
    call->rejections.clear();
    call->promise.Reset();
    call->realm = &vm->home;
    call->own.reset();
    if (++vm->context_count >= LOOK_AFTER) {
        look_at_contexts(vm);
    }
}

/* ---- from one realm to the other ---- */

static bool carry(struct bb_vm *vm, Realm *from, v8::Local<v8::Value> value, Realm *to,
                  v8::Local<v8::Value> *carried, std::string *problem)
{
    const EncodeOptions options = { "value", true, false, CROSSING_BYTES_MAX };
    struct bb_buf bytes;
    bool is_carried;

    bb_buf_init(&bytes);
    {
        v8::Context::Scope context(from->context.Get(vm->isolate));
        is_carried = encode(vm, value, options, &bytes, problem);
    }
    if (is_carried) {
        v8::Context::Scope context(to->context.Get(vm->isolate));
        is_carried = decode(vm, bb_buf_slice(&bytes)).ToLocal(carried);
    }
    bb_buf_fini(&bytes);
    return is_carried;
}

static void cross_back(const v8::FunctionCallbackInfo<v8::Value> &info, bool is_fulfilled)
{
    v8::Isolate *isolate = info.GetIsolate();
    vm_crossing *crossing = static_cast<vm_crossing *>(info.Data().As<v8::External>()->Value());
    struct bb_vm_call *call = crossing->call;
    v8::HandleScope handles(isolate);
    v8::TryCatch quiet(isolate);
    v8::Local<v8::Promise::Resolver> resolver = crossing->resolver.Get(isolate);
    v8::Local<v8::Context> context = resolver->GetCreationContextChecked(isolate);
    Realm *from = realm_of(isolate->GetCurrentContext()), *to = realm_of(context);
    v8::Local<v8::Value> value;
    std::string problem;

    const bool is_carried = is_fulfilled && carry(call->vm, from, info[0], to, &value, &problem);
    v8::Context::Scope context_scope(context);
    if (is_carried) {
        std::ignore = resolver->Resolve(context, value);
    } else if (!problem.empty()) {
        std::ignore = resolver->Reject(
            context, make_error(call->vm, BB_NOT_ENCODABLE, problem.data(), problem.size()));
    } else if (!quiet.HasTerminated()) {
        std::ignore = resolver->Reject(
            context, carry_error(call, from, quiet.HasCaught() ? quiet.Exception() : info[0]));
    }
}

static void on_fulfilled(const v8::FunctionCallbackInfo<v8::Value> &info)
{
    cross_back(info, true);
}

static void on_rejected(const v8::FunctionCallbackInfo<v8::Value> &info)
{
    cross_back(info, false);
}

/* The promise of the other realm answers the one that this realm gets. */
static bool follow(struct bb_vm_call *call, v8::Local<v8::Context> context,
                   v8::Local<v8::Promise> promise, v8::Local<v8::Promise::Resolver> resolver)
{
    v8::Isolate *isolate = call->vm->isolate;
    v8::Local<v8::Function> fulfilled, rejected;
    v8::Local<v8::Promise> followed;

    call->crossings.push_back(std::make_unique<vm_crossing>());
    vm_crossing *crossing = call->crossings.back().get();
    crossing->call = call;
    crossing->resolver.Reset(isolate, resolver);
    v8::Local<v8::External> data = v8::External::New(isolate, crossing);
    return v8::Function::New(context, on_fulfilled, data).ToLocal(&fulfilled) &&
           v8::Function::New(context, on_rejected, data).ToLocal(&rejected) &&
           promise->Then(context, fulfilled, rejected).ToLocal(&followed);
}

/* What is thrown at once is as good as what is thrown later. */
static void reject_now(struct bb_vm_call *call, Realm *from, const v8::TryCatch &caught,
                       v8::Local<v8::Promise::Resolver> resolver)
{
    v8::Local<v8::Context> context = resolver->GetCreationContextChecked(call->vm->isolate);
    v8::Context::Scope context_scope(context);

    std::ignore = resolver->Reject(context, carry_error(call, from, caught.Exception()));
}

/* function(bundle's view, ...arguments) of the other realm. */
static void cross(const v8::FunctionCallbackInfo<v8::Value> &info, Realm *to,
                  v8::Local<v8::Function> function, v8::Local<v8::Value> view)
{
    v8::Isolate *isolate = info.GetIsolate();
    struct bb_vm *vm = vm_of(isolate);
    v8::Local<v8::Context> here = isolate->GetCurrentContext();
    v8::Local<v8::Context> there = to->context.Get(isolate);
    v8::Local<v8::Promise::Resolver> resolver;
    v8::Local<v8::Value> arguments[1 + ARGUMENTS_MAX], returned;
    std::string problem;

    arguments[0] = view;
    for (int i = 0; i < ARGUMENTS_MAX; i++) {
        if (!carry(vm, realm_of(here), info[i], to, &arguments[i + 1], &problem)) {
            if (!problem.empty()) {
                throw_error(vm, BB_NOT_ENCODABLE, problem);
            }
            return;
        }
    }
    if (!v8::Promise::Resolver::New(here).ToLocal(&resolver)) {
        return;
    }
    info.GetReturnValue().Set(resolver->GetPromise());
    v8::Context::Scope context_scope(there);
    v8::TryCatch caught(isolate);
    if (function->Call(there, v8::Undefined(isolate), 1 + ARGUMENTS_MAX, arguments)
            .ToLocal(&returned) &&
        returned->IsPromise()) {
        (void)follow(vm->call, there, returned.As<v8::Promise>(), resolver);
    } else if (caught.HasTerminated()) {
        caught.ReThrow();
    } else if (caught.HasCaught()) {
        reject_now(vm->call, to, caught, resolver);
    }
}

void cross_to_own(const v8::FunctionCallbackInfo<v8::Value> &info, struct bb_vm_bundle *bundle)
{
    v8::Isolate *isolate = info.GetIsolate();
    struct bb_vm *vm = vm_of(isolate);
    Realm *own = vm->call == nullptr ? nullptr : own_realm(vm->call);
    v8::Local<v8::Object> view;

    if (own == nullptr || realm_of(isolate->GetCurrentContext()) == own) {
        throw_error(vm, BB_INTERNAL, "there is no context to run it in");
        return;
    }
    v8::Context::Scope context_scope(own->context.Get(isolate));
    if (view_of(bundle, own).ToLocal(&view)) {
        v8::Context::Scope back(vm->home.context.Get(isolate));
        cross(info, own, own->invoke.Get(isolate), view);
    }
}

/* home(name, args): what code in a context of its own may ask of the shared realm, whose
 * hands are not tied: the runtime's serve decides. */
static void cross_home(const v8::FunctionCallbackInfo<v8::Value> &info)
{
    struct bb_vm *vm = vm_of(info.GetIsolate());

    if (vm->call == nullptr || vm->home.serve.IsEmpty()) {
        throw_error(vm, BB_NOT_AVAILABLE_HERE, "this is there while a function runs only");
        return;
    }
    cross(info, &vm->home, vm->home.serve.Get(info.GetIsolate()),
          v8::Number::New(info.GetIsolate(), (double)vm->call->generation));
}

void install_crossing(struct bb_vm *vm, v8::Local<v8::Object> internals)
{
    set_native(vm, internals, "home", cross_home);
}

} // namespace bb

bool bb_vm_can_prepare(const struct bb_vm *vm)
{
    return vm->wants_contexts && !vm->must_recycle && vm->ready.size() < bb::READY_MAX;
}

void bb_vm_prepare(struct bb_vm *vm)
{
    bb_assert(vm->call == nullptr);
    v8::Isolate::Scope isolate_scope(vm->isolate);
    std::unique_ptr<bb::Realm> made = bb::make_context(vm);

    if (made == nullptr || vm->is_out_of_memory.load()) {
        vm->must_recycle = true; /* without room for it no call has any, either */
    } else {
        vm->ready.push_back(std::move(made));
    }
}
