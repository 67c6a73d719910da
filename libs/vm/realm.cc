/*
 * The realm: V8's own globals, then ours, then the runtime, then the freeze.
 */
#include "vm_internal.hh"

namespace bb
{

/* In this order; each is the body of function (host, internals). */
static const char *const BEFORE_RUNTIME[] = { "sharing.js",    "modules.js",   "stack.js",
                                              "fields.js",     "text.js",      "events.js",
                                              "crypto.js",     "url_parse.js", "url_machine.js",
                                              "url.js",        "globals.js",   "wasm.js",
                                              "determinism.js" };
static const char *const AFTER_RUNTIME[] = { "harden.js" };

static struct bb_slice text_named(const char *name)
{
    for (size_t i = 0; i < bb_vm_js_count; i++) {
        if (strcmp(bb_vm_js[i].name, name) == 0) {
            return bb_slice(bb_vm_js[i].begin, (size_t)(bb_vm_js[i].end - bb_vm_js[i].begin));
        }
    }
    BB_UNREACHABLE("every file of the list is built in");
}

static std::string first_line_of(struct bb_vm *vm, const v8::TryCatch &caught)
{
    v8::Isolate *isolate = vm->isolate;

    if (!caught.HasCaught() || caught.Message().IsEmpty()) {
        return "unknown reason";
    }
    v8::Local<v8::Message> message = caught.Message();
    return utf8_of(isolate, message->Get()) + " (" +
           utf8_of(isolate, message->GetScriptResourceName()) + ":" +
           std::to_string(message->GetLineNumber(isolate->GetCurrentContext()).FromMaybe(0)) + ")";
}

static bool run(struct bb_vm *vm, const char *name, struct bb_slice source,
                v8::Local<v8::Value> arguments[2], v8::Local<v8::Value> *result)
{
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::Context> context = isolate->GetCurrentContext();
    const std::string full_name = std::string("bitbend:") + name;
    v8::Local<v8::String> text;

    if (!str_of(isolate, source).ToLocal(&text)) {
        return false;
    }
    v8::Local<v8::String> parameters[] = { str(isolate, "host"), str(isolate, "internals") };
    v8::ScriptOrigin origin(str(isolate, full_name.c_str()));
    v8::ScriptCompiler::Source unit(text, origin);
    v8::Local<v8::Function> function;
    return v8::ScriptCompiler::CompileFunction(context, &unit, 2, parameters).ToLocal(&function) &&
           function->Call(context, v8::Undefined(isolate), 2, arguments).ToLocal(result);
}

static bool take_function(struct bb_vm *vm, v8::Local<v8::Value> from, const char *name,
                          v8::Global<v8::Function> *to)
{
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::Value> value;

    if (!from->IsObject() ||
        !from.As<v8::Object>()
             ->Get(isolate->GetCurrentContext(), str(isolate, name))
             .ToLocal(&value) ||
        !value->IsFunction()) {
        return false;
    }
    to->Reset(isolate, value.As<v8::Function>());
    return true;
}

static bool run_all(struct bb_vm *vm, const struct bb_vm_options *options,
                    v8::Local<v8::Value> arguments[2], const char **what)
{
    v8::Local<v8::Value> result;

    for (const char *name : BEFORE_RUNTIME) {
        *what = name;
        if (!run(vm, name, text_named(name), arguments, &result)) {
            return false;
        }
    }
    *what = "modules.js, stack.js and fields.js";
    if (!take_function(vm, arguments[1], "makeBundle", &vm->make_bundle) ||
        !take_function(vm, arguments[1], "stackText", &vm->stack_text) ||
        !take_function(vm, arguments[1], "fieldsOf", &vm->fields_of) ||
        !take_function(vm, arguments[1], "thrownText", &vm->thrown_text) ||
        !take_function(vm, arguments[1], "loadingPath", &vm->loading_path)) {
        return false;
    }
    for (size_t i = 0; i < options->runtime_count; i++) {
        const std::string name = "runtime" + std::to_string(i) + ".js";
        *what = "the runtime";
        if (!run(vm, name.c_str(), options->runtime[i], arguments, &result)) {
            return false;
        }
    }
    *what = "the runtime's invoke";
    if (!take_function(vm, result, "invoke", &vm->invoke)) {
        return false;
    }
    for (const char *name : AFTER_RUNTIME) {
        *what = name;
        if (!run(vm, name, text_named(name), arguments, &result)) {
            return false;
        }
    }
    return take_function(vm, arguments[1], "isSound", &vm->is_sound);
}

static void remember_symbols(struct bb_vm *vm, v8::Local<v8::Context> context)
{
    v8::Isolate *isolate = vm->isolate;

    vm->status_key.Reset(isolate, v8::Private::New(isolate, str(isolate, "status")));
    vm->code_symbol.Reset(isolate, v8::Symbol::For(isolate, str(isolate, "bitbend.code")));
    vm->error_symbol.Reset(isolate, v8::Symbol::For(isolate, str(isolate, "bitbend.error")));
    vm->convex_symbol.Reset(isolate, v8::Symbol::For(isolate, str(isolate, "ConvexError")));
    vm->kinds[0].Reset(isolate, str(isolate, "query"));
    vm->kinds[1].Reset(isolate, str(isolate, "mutation"));
    vm->object_prototype.Reset(isolate,
                               v8::Object::New(isolate)->GetPrototypeV2().As<v8::Object>());
    (void)context;
}

int open_realm(struct bb_ctx *ctx, struct bb_vm *vm, const struct bb_vm_options *options)
{
    v8::Isolate *isolate = vm->isolate;
    v8::HandleScope handles(isolate);
    v8::Local<v8::Context> context = v8::Context::New(isolate);
    v8::Context::Scope context_scope(context);
    v8::TryCatch caught(isolate);
    v8::Local<v8::Object> internals = v8::Object::New(isolate);
    const char *what = "";

    context->AllowCodeGenerationFromStrings(false);
    context->SetErrorMessageForCodeGenerationFromStrings(
        str(isolate, "eval and new Function are not available in queries and mutations: the code "
                     "that runs is the code that was deployed. Write a function instead, or use an "
                     "action"));
    vm->context.Reset(isolate, context);
    remember_symbols(vm, context);
    install_natives(vm, internals);
    install_errors(vm, internals);
    install_encoder(vm, internals);
    install_bundles(vm, internals);
    v8::Local<v8::Value> host = v8::Function::New(context, host_function, v8::Local<v8::Value>(), 1,
                                                  v8::ConstructorBehavior::kThrow)
                                    .ToLocalChecked();
    v8::Local<v8::Value> arguments[] = { host, internals };
    if (!run_all(vm, options, arguments, &what)) {
        return bb_fail(ctx, BB_INTERNAL, "start of the realm: %s: %s", what,
                       first_line_of(vm, caught).c_str());
    }
    vm->is_open = true;
    return BB_OK;
}

} // namespace bb
