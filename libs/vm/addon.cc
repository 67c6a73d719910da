/*
 * The add-on: Node.js loads it and calls run(..), which starts the program on a thread of its own
 * and never returns: the program's result ends the process.
 */
#include <pthread.h>
#include <unistd.h>

#include "vm_internal.hh"

/* Generated: the runtime's files. */
extern "C" const struct bb::bb_vm_text bb_vm_runtime[];
extern "C" const size_t bb_vm_runtime_count;

enum {
    STACK_BYTES = 8 << 20,
    EXIT_NO_THREAD = 1
};

/* Set once, when the add-on is loaded, before any thread of ours exists. */
static node::MultiIsolatePlatform *loaded_platform;

namespace
{

struct Start {
    struct bb_vm_program program = {};
    std::vector<struct bb_slice> runtime;
    std::string argument;
};

void *run_program(void *arg)
{
    Start *start = static_cast<Start *>(arg);

    /* Never by returning: Node's own way to end does not work in a sealed process. */
    _exit(bb_vm_program_main(&start->program));
}

bool is_true(v8::Isolate *isolate, v8::Local<v8::Value> object, const char *name)
{
    v8::Local<v8::Value> value;
    return object->IsObject() &&
           object.As<v8::Object>()
               ->Get(isolate->GetCurrentContext(), bb::str(isolate, name))
               .ToLocal(&value) &&
           value->IsTrue();
}

/* run(fd, {isJitless, isUnsealed}, testCase) */
void run(const v8::FunctionCallbackInfo<v8::Value> &info)
{
    v8::Isolate *isolate = info.GetIsolate();
    Start start;
    pthread_attr_t attributes;
    pthread_t thread;

    for (size_t i = 0; i < bb_vm_runtime_count; i++) {
        start.runtime.push_back(bb_slice(bb_vm_runtime[i].begin,
                                         (size_t)(bb_vm_runtime[i].end - bb_vm_runtime[i].begin)));
    }
    start.argument = info[2]->IsString() ? bb::utf8_of(isolate, info[2]) : "";
    start.program.fd = info[0]->Int32Value(isolate->GetCurrentContext()).FromMaybe(3);
    start.program.is_jitless = is_true(isolate, info[1], "isJitless");
    start.program.is_unsealed = is_true(isolate, info[1], "isUnsealed");
    start.program.runtime = start.runtime.data();
    start.program.runtime_count = start.runtime.size();
    start.program.argument = bb_slice(start.argument.data(), start.argument.size());
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    if (pthread_create(&thread, &attributes, run_program, &start) != 0) {
        _exit(EXIT_NO_THREAD);
    }
    pthread_join(thread, nullptr);
}

} // namespace

node::MultiIsolatePlatform *bb::platform()
{
    return loaded_platform;
}

NODE_MODULE_INIT()
{
    (void)module;
    loaded_platform = node::GetMultiIsolatePlatform(node::GetCurrentEnvironment(context));
    NODE_SET_METHOD(exports.As<v8::Object>(), "run", run);
}
