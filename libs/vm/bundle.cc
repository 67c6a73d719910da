/*
 * The modules of one deployment. A module is compiled once, as a function; each call runs those
 * that it reaches anew (js/modules.js), so that no variable of a module outlives a call.
 */
#include <algorithm>

#include "vm_internal.hh"

namespace bb
{

static struct bb_slice slice_of(const std::string &text)
{
    return bb_slice(text.data(), text.size());
}

/* In the context of one call: the code is compiled for all of them together. */
static v8::MaybeLocal<v8::Function> bind(struct bb_vm *vm, const bb_vm_bundle *bundle,
                                         vm_module *module)
{
    return bind_script(vm, script_name(bundle, module), slice_of(module->source),
                       "exports, require, module, globalThis, self", &module->script);
}

/* The stack of a SyntaxError has no frame of the text itself: V8 keeps the place in the message. */
static void name_place(struct bb_vm *vm, vm_module *module, const v8::TryCatch &caught)
{
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::Context> context = isolate->GetCurrentContext();
    v8::Local<v8::Message> message = caught.Message();
    v8::Local<v8::Value> stack;
    struct vm_position at = {};

    if (message.IsEmpty() || !caught.Exception()->IsNativeError()) {
        return;
    }
    v8::Local<v8::Object> error = caught.Exception().As<v8::Object>();
    const int line = message->GetLineNumber(context).FromMaybe(0);
    const int column = message->GetStartColumn(context).FromMaybe(-1) + 1;
    if (line <= 0 || column <= 0 || !error->Get(context, str(isolate, "stack")).ToLocal(&stack) ||
        !written_position_in(module, (uint32_t)line, (uint32_t)column, &at)) {
        return;
    }
    std::string text = utf8_of(isolate, stack);
    const std::string place = "\n    at " + std::string(at.source) + ":" + std::to_string(at.line) +
                              ":" + std::to_string(at.column);
    const size_t frames = text.find("\n    at ");
    text.insert(frames == std::string::npos ? text.size() : frames, place);
    std::ignore = error->DefineOwnProperty(context, str(isolate, "stack"),
                                           str(isolate, text.c_str()), v8::DontEnum);
}

/* With a `suffix` the function is made for this once. */
static v8::MaybeLocal<v8::Function> compile(struct bb_vm *vm, const bb_vm_bundle *bundle,
                                            vm_module *module, const std::string &suffix)
{
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::Context> context = isolate->GetCurrentContext();
    v8::Local<v8::String> source, name;

    if (suffix.empty() && !module->factory.IsEmpty()) {
        return module->factory.Get(isolate);
    }
    const std::string script = script_name(bundle, module);
    const std::string text = suffix.empty() ? std::string() : module->source + suffix;
    const std::string &whole = suffix.empty() ? module->source : text;
    if (!str_of(isolate, slice_of(whole)).ToLocal(&source) ||
        !str_of(isolate, slice_of(script)).ToLocal(&name)) {
        throw_error(vm, BB_SERVER_ERROR, "the module " + module->path + " is too large");
        return v8::MaybeLocal<v8::Function>();
    }
    v8::Local<v8::String> parameters[] = { str(isolate, "exports"), str(isolate, "require"),
                                           str(isolate, "module"), str(isolate, "globalThis"),
                                           str(isolate, "self") };
    v8::ScriptOrigin origin(name);
    v8::ScriptCompiler::Source unit(source, origin);
    v8::Local<v8::Function> factory;
    if (!v8::ScriptCompiler::CompileFunction(context, &unit, 5, parameters).ToLocal(&factory)) {
        return v8::MaybeLocal<v8::Function>();
    }
    if (suffix.empty()) {
        module->factory.Reset(isolate, factory);
    }
    return factory;
}

static struct bb_vm_bundle *bundle_of(v8::Local<v8::Value> data)
{
    return static_cast<struct bb_vm_bundle *>(data.As<v8::External>()->Value());
}

static bool is_wasm(const vm_module *module)
{
    return module->path.size() > 5 &&
           module->path.compare(module->path.size() - 5, 5, ".wasm") == 0;
}

static void note_script(vm_module *module, int id)
{
    std::vector<int> &ids = module->script_ids;

    if (std::find(ids.begin(), ids.end(), id) == ids.end()) {
        ids.push_back(id);
    }
}

/* factoryOf(path, suffix?): the module's function, and the suffix is code that runs after it; of a
 * WebAssembly file its text. */
static void factory_of(const v8::FunctionCallbackInfo<v8::Value> &info)
{
    struct bb_vm_bundle *bundle = bundle_of(info.Data());
    auto found = bundle->by_path.find(utf8_of(info.GetIsolate(), info[0]));
    const std::string suffix =
        info.Length() > 1 ? utf8_of(info.GetIsolate(), info[1]) : std::string();
    v8::Local<v8::Function> factory;
    v8::Local<v8::String> text;

    if (found == bundle->by_path.end()) {
        return;
    }
    vm_module *module = bundle->modules[found->second].get();
    const bool is_home = realm_of(info.GetIsolate()->GetCurrentContext()) == &bundle->vm->home;
    bundle->is_instantiated |= is_home;
    if (is_wasm(module)) {
        if (str_of(info.GetIsolate(), slice_of(module->source)).ToLocal(&text)) {
            info.GetReturnValue().Set(text);
        }
        return;
    }
    v8::TryCatch caught(info.GetIsolate());
    if ((is_home ? compile(bundle->vm, bundle, module, suffix) : bind(bundle->vm, bundle, module))
            .ToLocal(&factory)) {
        note_script(module, factory->ScriptId());
        info.GetReturnValue().Set(factory);
        return;
    }
    if (caught.HasCaught() && !caught.HasTerminated()) {
        name_place(bundle->vm, module, caught);
    }
    caught.ReThrow();
}

/* needsContext(path) */
static void needs_context_of(const v8::FunctionCallbackInfo<v8::Value> &info)
{
    struct bb_vm_bundle *bundle = bundle_of(info.Data());
    auto found = bundle->by_path.find(utf8_of(info.GetIsolate(), info[0]));

    info.GetReturnValue().Set(found != bundle->by_path.end() &&
                              bundle->modules[found->second]->needs_context);
}

/* elsewhere(path, args, info): the runtime's invoke, in the call's own context. */
static void run_elsewhere(const v8::FunctionCallbackInfo<v8::Value> &info)
{
    cross_to_own(info, bundle_of(info.Data()));
}

static v8::Local<v8::Function> bundle_function(struct bb_vm_bundle *bundle,
                                               v8::FunctionCallback callback)
{
    v8::Isolate *isolate = bundle->vm->isolate;

    return v8::Function::New(isolate->GetCurrentContext(), callback,
                             v8::External::New(isolate, bundle), 1, v8::ConstructorBehavior::kThrow)
        .ToLocalChecked();
}

/* In the current context, which is that of `realm`. */
static bool make_view(struct bb_vm_bundle *bundle, Realm *realm, v8::Global<v8::Object> *to)
{
    struct bb_vm *vm = bundle->vm;
    v8::Isolate *isolate = vm->isolate;
    v8::Local<v8::Context> context = isolate->GetCurrentContext();
    v8::LocalVector<v8::Value> paths(isolate);
    v8::Local<v8::String> path;
    v8::Local<v8::Value> made, view, reset;

    for (const auto &module : bundle->modules) {
        if (!str_of(isolate, slice_of(module->path)).ToLocal(&path)) {
            return false;
        }
        paths.push_back(path);
    }
    v8::Local<v8::Value> arguments[] = { bundle_function(bundle, factory_of),
                                         v8::Array::New(isolate, paths.data(), paths.size()),
                                         bundle_function(bundle, needs_context_of),
                                         bundle_function(bundle, run_elsewhere) };
    if (!realm->make_bundle.Get(isolate)
             ->Call(context, v8::Undefined(isolate), 4, arguments)
             .ToLocal(&made) ||
        !made.As<v8::Object>()->Get(context, str(isolate, "view")).ToLocal(&view) ||
        !made.As<v8::Object>()->Get(context, str(isolate, "reset")).ToLocal(&reset)) {
        return false;
    }
    to->Reset(isolate, view.As<v8::Object>());
    if (realm == &vm->home) {
        bundle->reset.Reset(isolate, reset.As<v8::Function>());
    }
    return true;
}

v8::MaybeLocal<v8::Object> view_of(struct bb_vm_bundle *bundle, Realm *realm)
{
    v8::Isolate *isolate = bundle->vm->isolate;
    View made{ bundle, v8::Global<v8::Object>() };

    if (realm == &bundle->vm->home) {
        return bundle->view.Get(isolate);
    }
    for (const View &view : realm->views) {
        if (view.bundle == bundle) {
            return view.object.Get(isolate);
        }
    }
    if (!make_view(bundle, realm, &made.object)) {
        return v8::MaybeLocal<v8::Object>();
    }
    realm->views.push_back(std::move(made));
    return realm->views.back().object.Get(isolate);
}

/* "dir/messages:list" and "dir/messages.js:list" are of dir/messages.js. */
bool needs_context(const struct bb_vm_bundle *bundle, const std::string &function)
{
    const size_t colon = function.rfind(':');
    std::string path = function.substr(0, colon);

    if (!path.ends_with(".js")) {
        path += ".js";
    }
    auto found = bundle->by_path.find(path);
    return found != bundle->by_path.end() && bundle->modules[found->second]->needs_context;
}

static void add_module(struct bb_vm_bundle *bundle, std::string path, std::string source,
                       std::string map)
{
    auto module = std::make_unique<vm_module>();

    module->path = std::move(path);
    module->source = std::move(source);
    module->map_json = std::move(map);
    bundle->by_path[module->path] = bundle->modules.size();
    bundle->modules.push_back(std::move(module));
}

static struct bb_vm_bundle *new_bundle(struct bb_vm *vm)
{
    struct bb_vm_bundle *bundle = new bb_vm_bundle;

    bundle->vm = vm;
    bundle->id = ++vm->bundle_count;
    vm->bundles.push_back(bundle);
    return bundle;
}

std::string script_name(const struct bb_vm_bundle *bundle, const vm_module *module)
{
    return "bundle" + std::to_string(bundle->id) + ":" + module->path;
}

vm_module *find_module(struct bb_vm *vm, const std::string &script)
{
    const size_t colon = script.find(':');

    for (struct bb_vm_bundle *bundle : vm->bundles) {
        if (colon != std::string::npos &&
            script.compare(0, colon, "bundle" + std::to_string(bundle->id)) == 0) {
            auto found = bundle->by_path.find(script.substr(colon + 1));
            return found == bundle->by_path.end() ? nullptr : bundle->modules[found->second].get();
        }
    }
    return nullptr;
}

vm_module *find_script(struct bb_vm *vm, uint32_t script_id)
{
    for (struct bb_vm_bundle *bundle : vm->bundles) {
        for (const auto &module : bundle->modules) {
            for (const int id : module->script_ids) {
                if ((uint32_t)id == script_id) {
                    return module.get();
                }
            }
        }
    }
    return nullptr;
}

void reset_bundle(struct bb_vm_bundle *bundle)
{
    v8::Isolate *isolate = bundle->vm->isolate;
    v8::TryCatch quiet(isolate);

    bundle->is_instantiated = false;
    std::ignore = bundle->reset.Get(isolate)->Call(isolate->GetCurrentContext(),
                                                   v8::Undefined(isolate), 0, nullptr);
}

/* After a call: did it need no instance of its own? */
bool is_all_shared(const struct bb_vm_bundle *bundle)
{
    v8::Isolate *isolate = bundle->vm->isolate;
    v8::Local<v8::Context> context = isolate->GetCurrentContext();
    v8::TryCatch quiet(isolate);
    v8::Local<v8::Value> function, answer;
    v8::Local<v8::Object> view = bundle->view.Get(isolate);

    return view->Get(context, str(isolate, "isAllShared")).ToLocal(&function) &&
           function->IsFunction() &&
           function.As<v8::Function>()->Call(context, view, 0, nullptr).ToLocal(&answer) &&
           answer->IsTrue();
}

static bool read_module(struct bb_vm_bundle *bundle, v8::Local<v8::Value> value)
{
    v8::Isolate *isolate = bundle->vm->isolate;
    v8::Local<v8::Context> context = isolate->GetCurrentContext();
    v8::Local<v8::Value> path, source, map;

    if (!value->IsObject() ||
        !value.As<v8::Object>()->Get(context, str(isolate, "path")).ToLocal(&path) ||
        !value.As<v8::Object>()->Get(context, str(isolate, "source")).ToLocal(&source) ||
        !value.As<v8::Object>()->Get(context, str(isolate, "sourceMap")).ToLocal(&map) ||
        !path->IsString() || !source->IsString()) {
        throw_error(bundle->vm, BB_BAD_ARGUMENTS, "a module is {path, source, sourceMap?}");
        return false;
    }
    add_module(bundle, utf8_of(isolate, path), utf8_of(isolate, source),
               map->IsString() ? utf8_of(isolate, map) : "");
    return true;
}

/* compile([{path, source, sourceMap?}]): a bundle that lives as long as the call. */
static void compile_bundle(const v8::FunctionCallbackInfo<v8::Value> &info)
{
    v8::Isolate *isolate = info.GetIsolate();
    struct bb_vm *vm = vm_of(isolate);

    if (vm->call == nullptr || !info[0]->IsArray()) {
        throw_error(vm, BB_BAD_ARGUMENTS, "compile takes a list of modules, inside of a call");
        return;
    }
    struct bb_vm_bundle *bundle = new_bundle(vm);
    vm->call->bundles.push_back(bundle);
    v8::Local<v8::Array> list = info[0].As<v8::Array>();
    for (uint32_t i = 0; i < list->Length(); i++) {
        v8::Local<v8::Value> item;
        if (!list->Get(isolate->GetCurrentContext(), i).ToLocal(&item) ||
            !read_module(bundle, item)) {
            return;
        }
    }
    if (make_view(bundle, &vm->home, &bundle->view)) {
        info.GetReturnValue().Set(bundle->view.Get(isolate));
    }
}

void install_bundles(struct bb_vm *vm, v8::Local<v8::Object> internals)
{
    set_native(vm, internals, "compile", compile_bundle);
}

} // namespace bb

static std::string copy(struct bb_slice slice)
{
    return std::string(reinterpret_cast<const char *>(slice.data), slice.size);
}

int bb_vm_load(struct bb_ctx *ctx, struct bb_vm *vm, const struct bb_vm_module *modules,
               size_t module_count, struct bb_vm_bundle **bundle)
{
    v8::Isolate::Scope isolate_scope(vm->isolate);
    v8::HandleScope handles(vm->isolate);
    v8::Context::Scope context_scope(vm->home.context.Get(vm->isolate));
    v8::TryCatch quiet(vm->isolate);
    struct bb_vm_bundle *made = bb::new_bundle(vm);

    for (size_t i = 0; i < module_count; i++) {
        bb::add_module(made, copy(modules[i].path), copy(modules[i].source),
                       copy(modules[i].source_map));
        made->modules.back()->needs_context = modules[i].needs_context;
        vm->wants_contexts |= modules[i].needs_context;
    }
    if (!bb::make_view(made, &vm->home, &made->view)) {
        bb_vm_unload(made);
        return bb_fail(ctx, BB_INTERNAL, "load of %zu modules: V8 made no view of them",
                       module_count);
    }
    *bundle = made;
    return BB_OK;
}

void bb_vm_unload(struct bb_vm_bundle *bundle)
{
    if (bundle == nullptr) {
        return;
    }
    std::erase(bundle->vm->bundles, bundle);
    for (const auto &module : bundle->modules) {
        vm_source_map_free(module->map);
    }
    delete bundle;
}
