/*
 * The realm: V8's own globals, then ours, then the runtime, then the freeze.
 */
#include "vm_internal.hh"

namespace bb
{

/* In this order; each is the body of function (host, internals). */
static const char *const BEFORE_RUNTIME[] = { "sharing.js", "modules.js",    "stack.js",
                                              "fields.js",  "text.js",       "events.js",
                                              "crypto.js",  "urls",          "globals.js",
                                              "wasm.js",    "determinism.js" };
/* In a context of one call these run when somebody asks for one of their globals. */
static const char *const URLS[] = { "url_parse.js", "url_machine.js", "url.js" };
static const char *const AFTER_RUNTIME[] = { "harden.js" };

enum {
    REALM_SLOT = 1 /* of a context's embedder data; 0 is the debugger's */
};

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

/* For the realm that is made once. */
static v8::MaybeLocal<v8::Function> compile(struct bb_vm *vm, const std::string &name,
                                            struct bb_slice source)
{
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::String> text;

    if (!str_of(isolate, source).ToLocal(&text)) {
        return v8::MaybeLocal<v8::Function>();
    }
    v8::Local<v8::String> parameters[] = { str(isolate, "host"), str(isolate, "internals") };
    v8::ScriptOrigin origin(str(isolate, name.c_str()));
    v8::ScriptCompiler::Source unit(text, origin);
    return v8::ScriptCompiler::CompileFunction(isolate->GetCurrentContext(), &unit, 2, parameters);
}

/* For those of single calls: all of them run the code that was compiled for the first. */
static v8::MaybeLocal<v8::Function> compile_once(struct bb_vm *vm, const std::string &name,
                                                 struct bb_slice source)
{
    return bind_script(vm, name, source, "host, internals", &vm->scripts[name]);
}

/* The head is a line of its own, which is not counted: places are those in the source. */
static bool compile_unbound(struct bb_vm *vm, const std::string &name, struct bb_slice source,
                            const char *parameters, v8::Global<v8::UnboundScript> *script)
{
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::String> text, file;
    v8::Local<v8::UnboundScript> unbound;
    const std::string whole =
        std::string("(function (") + parameters + ") {\n" +
        std::string(reinterpret_cast<const char *>(source.data), source.size) + "\n})";

    if (!str_of(isolate, bb_slice(whole.data(), whole.size())).ToLocal(&text) ||
        !str_of(isolate, bb_slice(name.data(), name.size())).ToLocal(&file)) {
        return false;
    }
    v8::ScriptOrigin origin(file, -1);
    v8::ScriptCompiler::Source unit(text, origin);
    if (!v8::ScriptCompiler::CompileUnboundScript(isolate, &unit).ToLocal(&unbound)) {
        return false;
    }
    script->Reset(isolate, unbound);
    return true;
}

v8::MaybeLocal<v8::Function> bind_script(struct bb_vm *vm, const std::string &name,
                                         struct bb_slice source, const char *parameters,
                                         v8::Global<v8::UnboundScript> *script)
{
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::Context> context = isolate->GetCurrentContext();
    v8::Local<v8::Value> function;

    if (script->IsEmpty() && !compile_unbound(vm, name, source, parameters, script)) {
        return v8::MaybeLocal<v8::Function>();
    }
    if (!script->Get(isolate)->BindToCurrentContext()->Run(context).ToLocal(&function) ||
        !function->IsFunction()) {
        return v8::MaybeLocal<v8::Function>();
    }
    return function.As<v8::Function>();
}

static bool run(struct bb_vm *vm, const Realm *realm, const char *name, struct bb_slice source,
                v8::Local<v8::Value> arguments[2], v8::Local<v8::Value> *result)
{
    v8::Isolate *isolate = vm->isolate;
    const std::string full_name = std::string("bitbend:") + name;
    v8::Local<v8::Function> function;

    return (realm->is_own ? compile_once(vm, full_name, source) : compile(vm, full_name, source))
               .ToLocal(&function) &&
           function->Call(isolate->GetCurrentContext(), v8::Undefined(isolate), 2, arguments)
               .ToLocal(result);
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

static bool run_named(struct bb_vm *vm, const Realm *realm, const char *name,
                      v8::Local<v8::Value> arguments[2], v8::Local<v8::Value> *result)
{
    return run(vm, realm, name, text_named(name), arguments, result);
}

static bool run_urls(struct bb_vm *vm, const Realm *realm, v8::Local<v8::Value> arguments[2])
{
    v8::Local<v8::Value> result;

    for (const char *name : URLS) {
        if (!run_named(vm, realm, name, arguments, &result)) {
            return false;
        }
    }
    return true;
}

/* loadUrls(): what was left out when the context was made. */
static void load_urls(const v8::FunctionCallbackInfo<v8::Value> &info)
{
    struct bb_vm *vm = vm_of(info.GetIsolate());
    v8::Local<v8::Value> arguments[] = { v8::Undefined(info.GetIsolate()), info[0] };

    (void)run_urls(vm, realm_of(info.GetIsolate()->GetCurrentContext()), arguments);
}

static bool run_all(struct bb_vm *vm, Realm *realm, v8::Local<v8::Value> arguments[2],
                    const char **what)
{
    v8::Local<v8::Value> result;

    for (const char *name : BEFORE_RUNTIME) {
        *what = name;
        const bool is_urls = strcmp(name, "urls") == 0;
        if (!(is_urls ? realm->is_own || run_urls(vm, realm, arguments)
                      : run_named(vm, realm, name, arguments, &result))) {
            return false;
        }
    }
    *what = "modules.js, stack.js and fields.js";
    if (!take_function(vm, arguments[1], "makeBundle", &realm->make_bundle) ||
        !take_function(vm, arguments[1], "stackText", &realm->stack_text) ||
        (!realm->is_own && !take_function(vm, arguments[1], "fieldsOf", &vm->fields_of)) ||
        !take_function(vm, arguments[1], "thrownText", &realm->thrown_text) ||
        !take_function(vm, arguments[1], "loadingPath", &realm->loading_path)) {
        return false;
    }
    for (size_t i = 0; i < vm->runtime.size(); i++) {
        const std::string name = "runtime" + std::to_string(i) + ".js";
        *what = "the runtime";
        if (!run(vm, realm, name.c_str(), vm->runtime[i], arguments, &result)) {
            return false;
        }
    }
    *what = "the runtime's invoke";
    if (!take_function(vm, result, "invoke", &realm->invoke)) {
        return false;
    }
    (void)take_function(vm, result, "serve", &realm->serve); /* it may have none */
    if (realm->is_own) {
        return true; /* and nothing is frozen: it is thrown away */
    }
    for (const char *name : AFTER_RUNTIME) {
        *what = name;
        if (!run_named(vm, realm, name, arguments, &result)) {
            return false;
        }
    }
    return take_function(vm, arguments[1], "isSound", &vm->is_sound);
}

static void remember_symbols(struct bb_vm *vm)
{
    v8::Isolate *isolate = vm->isolate;

    vm->status_key.Reset(isolate, v8::Private::New(isolate, str(isolate, "status")));
    vm->code_symbol.Reset(isolate, v8::Symbol::For(isolate, str(isolate, "bitbend.code")));
    vm->error_symbol.Reset(isolate, v8::Symbol::For(isolate, str(isolate, "bitbend.error")));
    vm->convex_symbol.Reset(isolate, v8::Symbol::For(isolate, str(isolate, "ConvexError")));
    vm->kinds[0].Reset(isolate, str(isolate, "query"));
    vm->kinds[1].Reset(isolate, str(isolate, "mutation"));
}

Realm *realm_of(v8::Local<v8::Context> context)
{
    return static_cast<Realm *>(context->GetAlignedPointerFromEmbedderData(REALM_SLOT));
}

/* What V8 makes of a context before any script of ours has run in it. */
static v8::Local<v8::Context> new_context(struct bb_vm *vm, Realm *realm)
{
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::Context> context = v8::Context::New(isolate);

    context->SetAlignedPointerInEmbedderData(REALM_SLOT, realm);
    context->AllowCodeGenerationFromStrings(false);
    context->SetErrorMessageForCodeGenerationFromStrings(
        str(isolate, "eval and new Function are not available in queries and mutations: the code "
                     "that runs is the code that was deployed. Write a function instead, or use an "
                     "action"));
    realm->context.Reset(isolate, context);
    return context;
}

bool build_realm(struct bb_vm *vm, Realm *realm, const char **what)
{
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::Context> context = new_context(vm, realm);
    v8::Context::Scope context_scope(context);
    v8::Local<v8::Object> internals = v8::Object::New(isolate);

    realm->object_prototype.Reset(isolate, internals->GetPrototypeV2().As<v8::Object>());
    internals->Set(context, str(isolate, "isOwn"), v8::Boolean::New(isolate, realm->is_own))
        .Check();
    install_natives(vm, internals);
    install_errors(vm, internals);
    install_encoder(vm, internals);
    install_bundles(vm, internals);
    install_crossing(vm, internals);
    set_native(vm, internals, "loadUrls", load_urls);
    v8::Local<v8::Value> host = v8::Function::New(context, host_function, v8::Local<v8::Value>(), 1,
                                                  v8::ConstructorBehavior::kThrow)
                                    .ToLocalChecked();
    v8::Local<v8::Value> arguments[] = { host, internals };
    return run_all(vm, realm, arguments, what);
}

int open_realm(struct bb_ctx *ctx, struct bb_vm *vm, const struct bb_vm_options *options)
{
    v8::Isolate *isolate = vm->isolate;
    v8::HandleScope handles(isolate);
    v8::TryCatch caught(isolate);
    const char *what = "";

    vm->runtime.assign(options->runtime, options->runtime + options->runtime_count);
    remember_symbols(vm);
    if (!build_realm(vm, &vm->home, &what)) {
        v8::Context::Scope context_scope(vm->home.context.Get(isolate));
        return bb_fail(ctx, BB_INTERNAL, "start of the realm: %s: %s", what,
                       first_line_of(vm, caught).c_str());
    }
    v8::Context::Scope context_scope(vm->home.context.Get(isolate));
    watch_regexp(vm);
    vm->is_open = true;
    return BB_OK;
}

} // namespace bb
