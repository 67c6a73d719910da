/*
 * What the C++ files of libs/vm share: the isolate's and the call's state, and small helpers.
 *
 * Threads: all of it belongs to the owner thread but for `struct bb_vm::why` and the task queue.
 */
#ifndef BB_VM_INTERNAL_HH
#define BB_VM_INTERNAL_HH

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

#include <node.h>
#include <v8.h>

#define _Noreturn __attribute__((noreturn))
extern "C" {
#include "bb/status.h"
}
#include "bb/value.h"
#include "bb/vm.h"

extern "C" {
#include "snapshot_map.h"
#include "source_map.h"
}

namespace bb
{

class Tasks;     /* platform.cc */
class Allocator; /* limits.cc */
struct Profile;  /* profile.cc */

enum {
    KEY_CACHE_MAX = 8192,
    SHAPE_CACHE_MAX = 512,
    PATH_CACHE_SIZE = 16
};

/* So that a text that lies elsewhere is looked for as it is. */
struct TextHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const
    {
        return std::hash<std::string_view>()(text);
    }
};
template <typename T> using TextMap = std::unordered_map<std::string, T, TextHash, std::equal_to<>>;

/* A field list whose objects are made by a generated literal once it has been seen a few times. */
struct Shape {
    uint32_t seen = 0;
    std::vector<v8::Global<v8::String>> keys;
    v8::Global<v8::Function> factory;
};

/* What is known of a list of keys whose objects are encoded at once: see js/fields.js. */
struct Fields {
    std::string head;            /* the object up to its values; their ends are zero */
    std::string names;           /* sorted, one after the other */
    std::vector<uint32_t> order; /* by sorted place: which of the keys */
    std::vector<uint32_t> ends;  /* of the names, by sorted place */
};

/* A deployment's modules as the JavaScript of a realm sees them (js/modules.js). */
struct View {
    struct bb_vm_bundle *bundle;
    v8::Global<v8::Object> object;
};

/* A world of built-in objects with our JavaScript in it. Calls share one, which is frozen; modules
 * that change built-in objects get another, which serves one call (contexts.cc). */
struct Realm {
    v8::Global<v8::Context> context;
    v8::Global<v8::Function> invoke;       /* of the runtime */
    v8::Global<v8::Function> serve;        /* of the runtime, in the shared one: for the others */
    v8::Global<v8::Function> make_bundle;  /* js/modules.js: a bundle's view for one call */
    v8::Global<v8::Function> stack_text;   /* js/stack.js */
    v8::Global<v8::Function> thrown_text;  /* js/stack.js: of what is no Error */
    v8::Global<v8::Function> loading_path; /* js/modules.js: whose top level runs, or "" */
    v8::Global<v8::Object> object_prototype;
    std::vector<View> views; /* of bundles; those of the shared realm are the bundles' own */
    bool is_own = false;     /* of one call */
};

/* As V8 knows it: the same string each time, whose hash is known, for the maps of the runtime. */
struct Path {
    std::string text;
    v8::Global<v8::String> string;
};

struct Text {
    const char *name;
    const uint8_t *data;
    size_t size;
};

} // namespace bb

struct bb_vm {
    v8::Isolate *isolate = nullptr;
    std::unique_ptr<bb::Allocator> allocator;
    std::shared_ptr<bb::Tasks> tasks;
    node::MultiIsolatePlatform *platform = nullptr;
    bb::Realm home;                      /* the one that calls share */
    v8::Global<v8::Function> is_sound;   /* js/harden.js: nothing was left behind */
    v8::Global<v8::Object> regexp;       /* RegExp.prototype */
    uintptr_t regexp_class = 0;          /* its hidden class (sound.cc); 0: look closely */
    v8::Global<v8::String> kinds[2];     /* "query", "mutation" */
    bb::Path paths[bb::PATH_CACHE_SIZE]; /* of functions called lately, by hash */
    std::vector<std::unique_ptr<bb::Realm>> ready; /* contexts made ahead */
    bool wants_contexts = false;                   /* a bundle is loaded that needs them */
    uint64_t context_count = 0;                    /* used since their number was looked at */
    std::vector<struct bb_slice> runtime;
    std::unordered_map<std::string, v8::Global<v8::UnboundScript>> scripts; /* ours, for contexts */
    v8::Global<v8::Private> status_key;   /* on errors that come from the host: their BB status */
    v8::Global<v8::Symbol> code_symbol;   /* Symbol.for("bitbend.code") */
    v8::Global<v8::Symbol> error_symbol;  /* Symbol.for("bitbend.error") */
    v8::Global<v8::Symbol> convex_symbol; /* Symbol.for("ConvexError") */
    bb_vm_host_fn *host = nullptr;
    struct bb_vm_call *call = nullptr; /* the running one */
    std::vector<struct bb_vm_bundle *> bundles;
    bb::TextMap<v8::Global<v8::String>> keys;
    bb::TextMap<bb::Shape> shapes;
    bb::TextMap<bb::Shape>::value_type *recent_shapes[4] = {}; /* of what was decoded last */
    uint32_t next_recent_shape = 0;
    v8::Global<v8::Function> fields_of; /* js/fields.js */
    std::vector<std::unique_ptr<bb::Fields>> fields;
    void *encoder = nullptr;    /* the one that is at work, innermost */
    std::string shape_probe;    /* scratch */
    struct bb_buf scratch;      /* host arguments */
    struct bb_buf answer;       /* host answers */
    std::atomic<int> why{ -1 }; /* enum bb_vm_end of a termination; -1: none */
    std::atomic<bool> is_out_of_memory{ false };
    size_t heap_bytes = 0; /* the limit */
    size_t heap_used = 0;  /* when it was last looked at */
    uint64_t call_count = 0;
    uint64_t unchecked_ns = 0; /* calls have run this long since the heap was looked at */
    bool must_recycle = false;
    uint64_t generation = 0;   /* of calls, part of their tickets */
    uint64_t bundle_count = 0; /* ever made: their ids */
    bool is_open = false;      /* the realm is up and frozen */
};

struct vm_module {
    std::string path, source, map_json;
    v8::Global<v8::Function> factory;     /* in the shared realm */
    v8::Global<v8::UnboundScript> script; /* gives the factory, in the contexts of single calls */
    std::vector<int> script_ids;          /* V8's names of what was compiled of it */
    bool needs_context = false;
    struct vm_source_map *map = nullptr;
    bool is_map_tried = false;
};

struct bb_vm_bundle {
    struct bb_vm *vm = nullptr;
    uint64_t id = 0;
    std::vector<std::unique_ptr<vm_module>> modules;
    std::unordered_map<std::string, size_t> by_path;
    v8::Global<v8::Object> view;    /* how JavaScript sees it, see js/modules.js */
    v8::Global<v8::Function> reset; /* forgets the instances of the modules */
    bool is_instantiated = false;   /* something was asked for that may have made one */
};

/* A call that crosses from one realm to the other: whom the answer is for. */
struct vm_crossing {
    struct bb_vm_call *call;
    v8::Global<v8::Promise::Resolver> resolver;
};

struct vm_rejection {
    v8::Global<v8::Promise> promise;
    v8::Global<v8::Value> reason;
};

struct bb_vm_call {
    struct bb_vm *vm = nullptr;
    struct bb_ctx *ctx = nullptr;
    struct bb_vm_bundle *bundle = nullptr;
    void *arg = nullptr;
    uint64_t generation = 0;
    uint64_t now_ms = 0;
    uint32_t random[4] = { 0, 0, 0, 0 };
    bool saw_random = false, saw_time = false;
    uint32_t wasm_memory_count = 0;
    bool is_done = false;
    bb::Realm *realm = nullptr;     /* where it began */
    std::unique_ptr<bb::Realm> own; /* its context, once it has needed one */
    bool is_host_open = false;      /* while the host answers: to code of the call's own context */
    std::vector<std::unique_ptr<vm_crossing>> crossings;
    v8::Global<v8::Promise> promise;
    std::vector<v8::Global<v8::Promise::Resolver>> tickets;
    size_t open_ticket_count = 0;
    std::vector<vm_rejection> rejections;
    std::vector<struct bb_vm_bundle *> bundles; /* made by internals.compile */
    uint64_t run_ns = 0;
    uint64_t entered_ns = 0; /* when it last began to run, or to go on */
    struct bb_vm_result result = {};
    struct bb_buf value, error_data, profiled;
    bb::Profile *profile = nullptr; /* under way */
    std::string message, stack, loading;
};

namespace bb
{

inline struct bb_vm *vm_of(v8::Isolate *isolate)
{
    return static_cast<struct bb_vm *>(isolate->GetData(0));
}
inline v8::Local<v8::String> str(v8::Isolate *isolate, const char *text)
{
    return v8::String::NewFromUtf8(isolate, text).ToLocalChecked();
}
/* Is it the context that calls share? Most calls know no other. */
inline bool is_home(const struct bb_vm *vm, v8::Local<v8::Context> context)
{
    return vm->call == nullptr || vm->call->own == nullptr || vm->home.context == context;
}
v8::MaybeLocal<v8::String> str_of(v8::Isolate *isolate, struct bb_slice utf8);
std::string utf8_of(v8::Isolate *isolate, v8::Local<v8::Value> value); /* "" when it cannot */
uint64_t clock_ns();

/* platform.cc: Node's platform, known from when the add-on is loaded. */
node::MultiIsolatePlatform *platform();

/* decode.cc */
v8::MaybeLocal<v8::Value> decode(struct bb_vm *vm, struct bb_slice value);
v8::Local<v8::String> key_string(struct bb_vm *vm, const uint8_t *data, size_t size);
bool is_ascii(const uint8_t *data, size_t size);

/* encode.cc. `root` begins the path in errors; with keeps_undefined a field that is undefined is
 * encoded as such, else left out. False: `error` says what and where, or, when it is empty, an
 * exception is pending. */
struct EncodeOptions {
    const char *root;
    bool keeps_undefined;
    bool checks_names; /* as clients take them; what the host gets it checks by itself */
    size_t size_max;
};
bool encode(struct bb_vm *vm, v8::Local<v8::Value> value, const EncodeOptions &options,
            struct bb_buf *to, std::string *error);
bool append_utf8(v8::Isolate *isolate, v8::Local<v8::String> text, struct bb_buf *to);

void install_encoder(struct bb_vm *vm, v8::Local<v8::Object> internals);

/* errors.cc */
v8::Local<v8::Value> make_error(struct bb_vm *vm, int status, const char *message, size_t size);
void install_errors(struct bb_vm *vm, v8::Local<v8::Object> internals);
void throw_error(struct bb_vm *vm, int status, const std::string &message);
vm_source_map *map_of(vm_module *module);
/* A field of what was thrown; undefined when it throws, or the call was stopped. */
v8::Local<v8::Value> field(v8::Isolate *isolate, v8::Local<v8::Object> object,
                           v8::Local<v8::Value> key);
/* The status of an error that the host or the runtime made, else BB_SERVER_ERROR. */
int host_status(struct bb_vm *vm, v8::Local<v8::Object> error);
bool is_application_error(struct bb_vm *vm, v8::Local<v8::Object> error);
std::string text_of_thrown(struct bb_vm *vm, v8::Local<v8::Value> thrown);
/* What was thrown in realm `from`, as an error of the current one. */
v8::Local<v8::Value> carry_error(struct bb_vm_call *call, Realm *from, v8::Local<v8::Value> reason);
/* The place in what was written; false: it is no script of a bundle. What `found` names lives as
 * long as the bundle. */
bool written_position(struct bb_vm *vm, const std::string &script, uint32_t line, uint32_t column,
                      struct vm_position *found);
bool written_position_in(vm_module *module, uint32_t line, uint32_t column,
                         struct vm_position *found);
v8::MaybeLocal<v8::Value> prepare_stack(v8::Local<v8::Context> context, v8::Local<v8::Value> error,
                                        v8::Local<v8::Array> sites);

/* bundle.cc */
void install_bundles(struct bb_vm *vm, v8::Local<v8::Object> internals);
v8::MaybeLocal<v8::Object> view_of(struct bb_vm_bundle *bundle, Realm *realm);
/* Does the module of this function change built-in objects? */
bool needs_context(const struct bb_vm_bundle *bundle, const std::string &function);
void reset_bundle(struct bb_vm_bundle *bundle);
bool is_all_shared(const struct bb_vm_bundle *bundle);
/* "bundle3:messages.js": unique, so that a frame of a stack finds its source map. */
std::string script_name(const struct bb_vm_bundle *bundle, const vm_module *module);
vm_module *find_module(struct bb_vm *vm, const std::string &script); /* nullptr: none */
vm_module *find_script(struct bb_vm *vm, uint32_t script_id);        /* nullptr: none */

/* natives.cc: functions that our JavaScript and the runtime get as `internals`. */
void install_natives(struct bb_vm *vm, v8::Local<v8::Object> internals);
void set_native(struct bb_vm *vm, v8::Local<v8::Object> object, const char *name,
                v8::FunctionCallback callback);

/* realm.cc */
int open_realm(struct bb_ctx *ctx, struct bb_vm *vm, const struct bb_vm_options *options);
bool build_realm(struct bb_vm *vm, Realm *realm, const char **what);
Realm *realm_of(v8::Local<v8::Context> context);
/* A function with this body, in the current context; compiled when `script` is empty, and kept
 * there. */
v8::MaybeLocal<v8::Function> bind_script(struct bb_vm *vm, const std::string &name,
                                         struct bb_slice source, const char *parameters,
                                         v8::Global<v8::UnboundScript> *script);

/* thrown.cc */
/* The end of the call by an error that nobody caught. */
void describe_error(struct bb_vm_call *call, v8::Local<v8::Value> reason);

/* sound.cc */
void watch_regexp(struct bb_vm *vm); /* in the shared context, when its realm is up */
void unwatch_regexp(struct bb_vm *vm);
/* Is it as it was made, but for the values that its properties have? */
bool is_regexp_class_known(struct bb_vm *vm);

/* contexts.cc */
Realm *own_realm(struct bb_vm_call *call); /* nullptr: the call was stopped meanwhile */
void drop_own_realm(struct bb_vm_call *call);
/* The runtime's invoke in the call's own context, with (path, args, info): a promise of a copy. */
void cross_to_own(const v8::FunctionCallbackInfo<v8::Value> &info, struct bb_vm_bundle *bundle);
void install_crossing(struct bb_vm *vm, v8::Local<v8::Object> internals);

/* profile.cc */
void profile_start(struct bb_vm_call *call, enum bb_vm_profile kind);
void profile_stop(struct bb_vm_call *call, struct bb_buf *to);

/* host.cc */
void host_function(const v8::FunctionCallbackInfo<v8::Value> &info);

/* limits.cc */
std::unique_ptr<Allocator> new_allocator(size_t budget);
void set_limits(struct bb_vm *vm);

/* generated from the files in js/ */
extern "C" const struct bb_vm_text {
    const char *name;
    const unsigned char *begin, *end;
} bb_vm_js[];
extern "C" const size_t bb_vm_js_count;

} // namespace bb

#endif
