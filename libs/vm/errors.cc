/*
 * Errors of the host become exceptions, and what is thrown goes from one realm to the other. What
 * is told about an error that nobody caught: thrown.cc.
 */
#include "vm_internal.hh"

namespace bb
{

enum {
    CAUSES_DEEP = 4
};

std::string utf8_of(v8::Isolate *isolate, v8::Local<v8::Value> value)
{
    v8::TryCatch quiet(isolate);
    v8::String::Utf8Value text(isolate, value);

    return *text == nullptr ? std::string() : std::string(*text, (size_t)text.length());
}

v8::Local<v8::Value> make_error(struct bb_vm *vm, int status, const char *message, size_t size)
{
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::Context> context = isolate->GetCurrentContext();
    v8::Local<v8::String> text;

    if (!str_of(isolate, bb_slice(message, size)).ToLocal(&text)) {
        text = v8::String::Empty(isolate);
    }
    v8::Local<v8::Value> error = v8::Exception::Error(text);
    v8::Local<v8::Object> object = error.As<v8::Object>();
    std::ignore = object->DefineOwnProperty(context, str(isolate, "code"),
                                            str(isolate, bb_status_name(status)), v8::DontEnum);
    std::ignore =
        object->SetPrivate(context, vm->status_key.Get(isolate), v8::Integer::New(isolate, status));
    return error;
}

void throw_error(struct bb_vm *vm, int status, const std::string &message)
{
    vm->isolate->ThrowException(make_error(vm, status, message.data(), message.size()));
}

vm_source_map *map_of(vm_module *module)
{
    if (!module->is_map_tried) {
        module->is_map_tried = true;
        module->map =
            vm_source_map_parse(bb_slice(module->map_json.data(), module->map_json.size()));
        module->map_json = std::string();
    }
    return module->map;
}

static bool is_package_source(const char *source)
{
    return strstr(source, "node_modules/bitbend/") != nullptr ||
           strstr(source, "libs/js/bitbend/") != nullptr ||
           strstr(source, "bitbend-out/_deps/") != nullptr; /* what the bundler adds itself */
}

bool written_position(struct bb_vm *vm, const std::string &script, uint32_t line, uint32_t column,
                      struct vm_position *found)
{
    return written_position_in(find_module(vm, script), line, column, found);
}

bool written_position_in(vm_module *module, uint32_t line, uint32_t column,
                         struct vm_position *found)
{
    if (module == nullptr) {
        return false;
    }
    *found = { module->path.c_str(), line, column };
    vm_source_map *map = map_of(module);
    return map == nullptr || vm_source_map_find(map, line, column, found);
}

/* position(script, line, column): "messages.ts:12:5", or undefined for what is not the
 * application's. */
static void position(const v8::FunctionCallbackInfo<v8::Value> &info)
{
    v8::Isolate *isolate = info.GetIsolate();
    struct bb_vm *vm = vm_of(isolate);
    struct vm_position found = {};

    if (!info[1]->IsUint32() || !info[2]->IsUint32() ||
        !written_position(vm, utf8_of(isolate, info[0]), info[1].As<v8::Uint32>()->Value(),
                          info[2].As<v8::Uint32>()->Value(), &found) ||
        is_package_source(found.source)) {
        return;
    }
    const std::string text = std::string(found.source) + ":" + std::to_string(found.line) + ":" +
                             std::to_string(found.column);
    v8::Local<v8::String> place;
    if (str_of(isolate, bb_slice(text.data(), text.size())).ToLocal(&place)) {
        info.GetReturnValue().Set(place);
    }
}

/* internals.error(code, message): as the host would throw it. */
static void new_error(const v8::FunctionCallbackInfo<v8::Value> &info)
{
    v8::Isolate *isolate = info.GetIsolate();
    const int status = bb_status_by_name(utf8_of(isolate, info[0]).c_str());
    const std::string message = utf8_of(isolate, info[1]);

    info.GetReturnValue().Set(make_error(vm_of(isolate), status < 0 ? BB_SERVER_ERROR : status,
                                         message.data(), message.size()));
}

void install_errors(struct bb_vm *vm, v8::Local<v8::Object> internals)
{
    set_native(vm, internals, "position", position);
    set_native(vm, internals, "error", new_error);
}

v8::MaybeLocal<v8::Value> prepare_stack(v8::Local<v8::Context> context, v8::Local<v8::Value> error,
                                        v8::Local<v8::Array> sites)
{
    v8::Isolate *isolate = v8::Isolate::GetCurrent();
    struct bb_vm *vm = vm_of(isolate);
    v8::Local<v8::Value> arguments[] = { error, sites };

    if (vm->home.stack_text.IsEmpty()) {
        return str(isolate, "Error");
    }
    /* That of the shared realm, whatever context it is of: nobody has changed what it works with.
     */
    std::ignore = context;
    return vm->home.stack_text.Get(isolate)->Call(vm->home.context.Get(isolate),
                                                  v8::Undefined(isolate), 2, arguments);
}

/* ---- what a function threw ---- */

v8::Local<v8::Value> field(v8::Isolate *isolate, v8::Local<v8::Object> object,
                           v8::Local<v8::Value> key)
{
    v8::Local<v8::Value> value;
    /* A getter that was stopped once would not be stopped again. */
    const bool is_stopped = vm_of(isolate)->why.load() >= 0;
    return !is_stopped && object->Get(isolate->GetCurrentContext(), key).ToLocal(&value)
               ? value
               : v8::Undefined(isolate).As<v8::Value>();
}

int host_status(struct bb_vm *vm, v8::Local<v8::Object> error)
{
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::Value> status, code;

    if (error->GetPrivate(isolate->GetCurrentContext(), vm->status_key.Get(isolate))
            .ToLocal(&status) &&
        status->IsInt32()) {
        return status.As<v8::Int32>()->Value();
    }
    code = field(isolate, error, vm->code_symbol.Get(isolate));
    if (code->IsString()) {
        const int named = bb_status_by_name(utf8_of(isolate, code).c_str());
        if (named >= 0 && bb_status_in_function(named)) {
            return named;
        }
    }
    return BB_SERVER_ERROR;
}

bool is_application_error(struct bb_vm *vm, v8::Local<v8::Object> error)
{
    v8::Isolate *isolate = vm->isolate;
    return field(isolate, error, vm->error_symbol.Get(isolate))->IsTrue() ||
           field(isolate, error, vm->convex_symbol.Get(isolate))->IsTrue();
}

std::string text_of_thrown(struct bb_vm *vm, v8::Local<v8::Value> thrown)
{
    v8::Isolate *isolate = vm->isolate;
    v8::TryCatch quiet(isolate);
    v8::Local<v8::Value> text;

    if (vm->why.load() >= 0) {
        return ""; /* stopped meanwhile: no more of its getters */
    }
    return realm_of(isolate->GetCurrentContext())
                   ->thrown_text.Get(isolate)
                   ->Call(isolate->GetCurrentContext(), v8::Undefined(isolate), 1, &thrown)
                   .ToLocal(&text)
               ? utf8_of(isolate, text)
               : "an object that cannot be shown";
}

/* ---- from one realm to the other ---- */

static v8::Local<v8::Value> error_named(const std::string &name, v8::Local<v8::String> text)
{
    return name == "TypeError"        ? v8::Exception::TypeError(text)
           : name == "RangeError"     ? v8::Exception::RangeError(text)
           : name == "SyntaxError"    ? v8::Exception::SyntaxError(text)
           : name == "ReferenceError" ? v8::Exception::ReferenceError(text)
                                      : v8::Exception::Error(text);
}

static void put_field(v8::Isolate *isolate, v8::Local<v8::Object> to, v8::Local<v8::Name> name,
                      v8::Local<v8::Value> value, v8::PropertyAttribute how)
{
    std::ignore = to->DefineOwnProperty(isolate->GetCurrentContext(), name, value, how);
}

static void copy_data(struct bb_vm *vm, Realm *from, v8::Local<v8::Object> error,
                      v8::Local<v8::Object> to)
{
    v8::Isolate *isolate = vm->isolate;
    const EncodeOptions options = { "data", true, false, (size_t)1 << 20 };
    struct bb_buf bytes;
    std::string problem;
    bool is_encoded;
    v8::Local<v8::Value> data;

    bb_buf_init(&bytes);
    {
        v8::Context::Scope context(from->context.Get(isolate));
        is_encoded =
            encode(vm, field(isolate, error, str(isolate, "data")), options, &bytes, &problem);
    }
    if (is_encoded && decode(vm, bb_buf_slice(&bytes)).ToLocal(&data)) {
        put_field(isolate, to, str(isolate, "data"), data, v8::None);
    }
    bb_buf_fini(&bytes);
}

/* An application's error is known by its symbols, in whatever realm. */
static void copy_marks(struct bb_vm *vm, Realm *from, v8::Local<v8::Object> error,
                       v8::Local<v8::Object> to)
{
    v8::Isolate *isolate = vm->isolate;

    if (!is_application_error(vm, error)) {
        return;
    }
    for (const v8::Global<v8::Symbol> *mark : { &vm->error_symbol, &vm->convex_symbol }) {
        v8::Local<v8::Symbol> symbol = mark->Get(isolate);
        if (field(isolate, error, symbol)->IsTrue()) {
            put_field(isolate, to, symbol, v8::True(isolate), v8::None);
        }
    }
    put_field(isolate, to, str(isolate, "code"), str(isolate, "UserError"), v8::None);
    copy_data(vm, from, error, to);
}

static v8::Local<v8::Value> carry(struct bb_vm_call *call, Realm *from, v8::Local<v8::Value> reason,
                                  int depth)
{
    struct bb_vm *vm = call->vm;
    v8::Isolate *isolate = vm->isolate;
    v8::EscapableHandleScope handles(isolate);
    v8::TryCatch quiet(isolate);
    v8::Local<v8::String> text;
    std::string message, name, stack;
    int status = BB_SERVER_ERROR;

    if (!reason->IsObject()) {
        return handles.Escape(reason);
    }
    v8::Local<v8::Object> error = reason.As<v8::Object>();
    {
        v8::Context::Scope context(from->context.Get(isolate));
        status = host_status(vm, error);
        name = utf8_of(isolate, field(isolate, error, str(isolate, "name")));
        message = reason->IsNativeError()
                      ? utf8_of(isolate, field(isolate, error, str(isolate, "message")))
                      : text_of_thrown(vm, error);
        stack = utf8_of(isolate, field(isolate, error, str(isolate, "stack")));
    }
    if (!str_of(isolate, bb_slice(message.data(), message.size())).ToLocal(&text)) {
        text = v8::String::Empty(isolate);
    }
    const bool is_ours = status != BB_SERVER_ERROR;
    v8::Local<v8::Object> made =
        (is_ours ? make_error(vm, status, message.data(), message.size()) : error_named(name, text))
            .As<v8::Object>();
    if (!stack.empty() && stack != "undefined") {
        put_field(isolate, made, str(isolate, "stack"), str(isolate, stack.c_str()), v8::DontEnum);
    }
    if (!is_ours) {
        put_field(isolate, made, str(isolate, "name"), str(isolate, name.c_str()), v8::DontEnum);
        copy_marks(vm, from, error, made);
    }
    v8::Local<v8::Value> cause = field(isolate, error, str(isolate, "cause"));
    if (cause->IsNativeError() && depth < CAUSES_DEEP) {
        put_field(isolate, made, str(isolate, "cause"), carry(call, from, cause, depth + 1),
                  v8::DontEnum);
    }
    return handles.Escape(made);
}

v8::Local<v8::Value> carry_error(struct bb_vm_call *call, Realm *from, v8::Local<v8::Value> reason)
{
    return carry(call, from, reason, 0);
}

} // namespace bb
