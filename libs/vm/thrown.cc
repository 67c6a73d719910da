/*
 * What a function threw becomes a status, a text, data and a stack that names the lines that were
 * written, with what caused it.
 */
#include "vm_internal.hh"

namespace bb
{

enum {
    MESSAGE_MAX = 16 * 1024,
    STACK_MAX = 16 * 1024,
    DATA_MAX = 1024 * 1024,
    CAUSES_MAX = 8, /* of one error */
    CAUSES_DEEP = 4
};

/* At most `size_max` bytes in whole characters, and how much is left out. */
static std::string cut(std::string text, size_t size_max)
{
    const size_t size = text.size();

    if (size <= size_max) {
        return text;
    }
    while (size_max > 0 && ((unsigned char)text[size_max] & 0xc0) == 0x80) {
        size_max--;
    }
    text.resize(size_max);
    return text + "... (" + std::to_string(size - size_max) + " bytes more)";
}

/* ---- what it may be about ---- */

struct hint {
    const char *end; /* of the message */
    const char *text;
};

#define NO_WRITES  "a query only reads: make the function a mutation"
#define NO_THREADS "queries and mutations have no threads: use an action"
#define NO_BROWSER \
    "queries and mutations run in V8 alone, without a browser or Node.js: use an action"

/* What is not there cannot say so itself, as packages ask whether it is there. */
static const struct hint HINTS[] = {
    { "db.insert is not a function", NO_WRITES },
    { "db.patch is not a function", NO_WRITES },
    { "db.replace is not a function", NO_WRITES },
    { "db.delete is not a function", NO_WRITES },
    { "db.put is not a function", NO_WRITES },
    { "db.retract is not a function", NO_WRITES },
    { "runMutation is not a function", NO_WRITES },
    { "(reading 'runAfter')", "only mutations and actions have ctx.scheduler" },
    { "(reading 'runAt')", "only mutations and actions have ctx.scheduler" },
    { "runAction is not a function",
      "queries and mutations call no actions: a mutation starts one with ctx.scheduler.runAfter" },
    { "Intl is not defined",
      "queries and mutations have no locale, so that they give the same everywhere: format where it "
      "is shown, or use an action" },
    { "Atomics is not defined", NO_THREADS },
    { "SharedArrayBuffer is not defined", NO_THREADS },
    { "Worker is not defined", NO_THREADS },
    { "MessageChannel is not defined", NO_THREADS },
    { "BroadcastChannel is not defined", NO_THREADS },
    { "require is not defined", "use import" },
    { "Buffer is not defined",
      "queries and mutations run without Node.js: use Uint8Array with TextEncoder and TextDecoder, "
      "or an action" },
    { "global is not defined", "use globalThis" },
    { "window is not defined", NO_BROWSER },
    { "document is not defined", NO_BROWSER },
    { "navigator is not defined", NO_BROWSER },
    { "localStorage is not defined", NO_BROWSER },
    { "process.nextTick is not a function", "use queueMicrotask" },
    { "process.hrtime is not a function",
      "time stands still in queries and mutations: Date.now() is the moment of the call" },
    { "WebAssembly.instantiateStreaming is not a function",
      "import the .wasm file, it is a WebAssembly.Module" },
    { "WebAssembly.compileStreaming is not a function",
      "import the .wasm file, it is a WebAssembly.Module" },
};

static std::string hint_of(const std::string &message)
{
    for (const struct hint &hint : HINTS) {
        if (message.ends_with(hint.end)) {
            return std::string(" (") + hint.text + ")";
        }
    }
    return "";
}

/* ---- the stack ---- */

/* "    at list (messages.ts:12:5)" lines without the indent and the head, which holds `message`. */
static std::string frames_of(const std::string &stack, const std::string &message)
{
    std::string frames;
    const size_t head = stack.find(message);
    size_t at = stack.find("\n    at ", head == std::string::npos ? 0 : head + message.size());

    while (at != std::string::npos && frames.size() < STACK_MAX) {
        const size_t end = stack.find('\n', at + 1);
        frames += frames.empty() ? "" : "\n";
        frames += stack.substr(at + 5, end == std::string::npos ? end : end - at - 5);
        at = end == std::string::npos ? end : stack.find("\n    at ", end);
    }
    return frames;
}

/* SyntaxErrors of a module's compilation have no frame: V8 keeps the place in the message. */
static std::string place_of(struct bb_vm *vm, v8::Local<v8::Value> error)
{
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::Message> message = v8::Exception::CreateMessage(isolate, error);
    vm_module *module = find_module(vm, utf8_of(isolate, message->GetScriptResourceName()));
    const int line = message->GetLineNumber(isolate->GetCurrentContext()).FromMaybe(0);
    const int column = message->GetStartColumn(isolate->GetCurrentContext()).FromMaybe(-1) + 1;

    if (module == nullptr || line <= 0 || column <= 0) {
        return "";
    }
    struct vm_position found = { module->path.c_str(), (uint32_t)line, (uint32_t)column };
    vm_source_map *map = map_of(module);
    if (map != nullptr) {
        (void)vm_source_map_find(map, found.line, found.column, &found);
    }
    return "at " + std::string(found.source) + ":" + std::to_string(found.line) + ":" +
           std::to_string(found.column);
}

/* "TypeError: x is not a function" */
static std::string named_text(v8::Isolate *isolate, v8::Local<v8::Object> error)
{
    const std::string name = utf8_of(isolate, field(isolate, error, str(isolate, "name")));
    const std::string text = utf8_of(isolate, field(isolate, error, str(isolate, "message")));

    return (name.empty() ? "Error" : name) + ": " + text;
}

static std::string stack_of(struct bb_vm *vm, v8::Local<v8::Object> error)
{
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::Value> stack = field(isolate, error, str(isolate, "stack"));
    const std::string text = utf8_of(isolate, field(isolate, error, str(isolate, "message")));
    const std::string frames =
        stack->IsString() ? frames_of(utf8_of(isolate, stack), text) : std::string();

    return frames.empty() && error->IsNativeError() ? place_of(vm, error) : frames;
}

static void add_causes(struct bb_vm *vm, v8::Local<v8::Object> error, int depth, std::string *to);

static void add_cause(struct bb_vm *vm, const char *what, v8::Local<v8::Value> cause, int depth,
                      std::string *to)
{
    const bool is_error = cause->IsNativeError();
    const std::string text =
        is_error ? named_text(vm->isolate, cause.As<v8::Object>()) : text_of_thrown(vm, cause);

    if (to->size() > STACK_MAX) {
        return;
    }
    *to += (to->empty() ? "[" : "\n[") + std::string(what) + "] " + cut(text, STACK_MAX / 16);
    if (is_error) {
        const std::string frames = stack_of(vm, cause.As<v8::Object>());
        *to += frames.empty() ? "" : "\n" + frames;
        add_causes(vm, cause.As<v8::Object>(), depth + 1, to);
    }
}

/* Of an AggregateError. */
static void add_errors(struct bb_vm *vm, v8::Local<v8::Array> errors, int depth, std::string *to)
{
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::Value> one;

    for (uint32_t i = 0; i < std::min(errors->Length(), (uint32_t)CAUSES_MAX); i++) {
        if (vm->why.load() < 0 && errors->Get(isolate->GetCurrentContext(), i).ToLocal(&one)) {
            add_cause(vm, "error", one, depth, to);
        }
    }
}

/* What stands behind it: `cause`, the errors of an AggregateError, both of a SuppressedError. */
static void add_causes(struct bb_vm *vm, v8::Local<v8::Object> error, int depth, std::string *to)
{
    v8::Isolate *isolate = vm->isolate;

    if (depth >= CAUSES_DEEP) {
        return;
    }
    for (const char *name : { "cause", "error", "suppressed" }) {
        v8::Local<v8::Value> cause = field(isolate, error, str(isolate, name));
        const bool is_one =
            strcmp(name, "cause") == 0 ? !cause->IsNullOrUndefined() : cause->IsNativeError();
        if (is_one && !cause->StrictEquals(error)) {
            add_cause(vm, name, cause, depth, to);
        }
    }
    v8::Local<v8::Value> errors = field(isolate, error, str(isolate, "errors"));
    if (errors->IsArray()) {
        add_errors(vm, errors.As<v8::Array>(), depth, to);
    }
}

/* ---- all of it ---- */

static void encode_data(struct bb_vm_call *call, v8::Local<v8::Object> error)
{
    struct bb_vm *vm = call->vm;
    struct bb_buf *to = &call->error_data;
    const EncodeOptions options = { "data", false, true, DATA_MAX };
    v8::TryCatch caught(vm->isolate);
    std::string problem;

    bb_buf_clear(to);
    if (encode(vm, field(vm->isolate, error, str(vm->isolate, "data")), options, to, &problem)) {
        if (to->size == 1 && to->data[0] == BB_TAG_UNDEFINED) {
            bb_buf_clear(to);
        }
        if (to->size <= DATA_MAX) {
            return;
        }
        problem = "it has " + std::to_string(to->size) + " bytes, the limit is " +
                  std::to_string(DATA_MAX);
    } else if (problem.empty() && caught.HasCaught() && !caught.HasTerminated()) {
        problem = "a getter of it threw " + text_of_thrown(vm, caught.Exception());
    }
    call->message =
        cut(call->message, MESSAGE_MAX / 2) + " (its data cannot be sent: " + problem + ")";
    bb_buf_clear(to);
}

static std::string text_of_error(struct bb_vm_call *call, v8::Local<v8::Object> error)
{
    v8::Isolate *isolate = call->vm->isolate;

    if (call->result.status != BB_SERVER_ERROR) {
        return utf8_of(isolate, field(isolate, error, str(isolate, "message")));
    }
    if (!error->IsNativeError()) {
        return text_of_thrown(call->vm, error);
    }
    const std::string text = named_text(isolate, error);
    return text + hint_of(text);
}

/* User code may run in getters; what it throws is dropped. */
void describe_error(struct bb_vm_call *call, v8::Local<v8::Value> reason)
{
    struct bb_vm *vm = call->vm;
    v8::Isolate *isolate = vm->isolate;
    v8::HandleScope handles(isolate);
    v8::TryCatch quiet(isolate);

    call->result.end = BB_VM_ERROR;
    call->result.status = BB_SERVER_ERROR;
    if (!reason->IsObject()) {
        call->message =
            cut(reason->IsSymbol() ? text_of_thrown(vm, reason) : utf8_of(isolate, reason),
                MESSAGE_MAX);
        return;
    }
    v8::Local<v8::Object> error = reason.As<v8::Object>();
    const bool is_application = is_application_error(vm, error);
    call->result.status = is_application ? BB_USER_ERROR : host_status(vm, error);
    call->message = text_of_error(call, error);
    if (is_application) {
        encode_data(call, error);
    }
    call->message = cut(call->message, MESSAGE_MAX);
    call->stack = stack_of(vm, error);
    if (reason->IsNativeError()) {
        add_causes(vm, error, 0, &call->stack);
    }
}

} // namespace bb
