/*
 * V8 behind a C header: one isolate with one hardened realm, run by one owner thread.
 *
 * - Values cross as BBV (bb/value.h). The host is one function; the runtime's JavaScript calls it
 * as `host(op, ...args)`: BB_OK returns the value, BB_PENDING a promise, anything else throws an
 * Error with `code` (bb_status_name) and the text of ctx->error.
 * - Nothing blocks: waiting is the owner's job. Only bb_vm_terminate may come from another thread.
 * - Per call the modules that the function reaches are instantiated afresh; nothing leaks over.
 */
#ifndef BB_VM_H
#define BB_VM_H

#include "bb/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bb_vm;        /* isolate and realm */
struct bb_vm_bundle; /* compiled modules of one deployment */
struct bb_vm_call;   /* one running call */
struct bb_vm_ticket {
    uint64_t v; /* a promise that the host owes */
};

enum bb_vm_end {
    BB_VM_VALUE,          /* result is set */
    BB_VM_ERROR,          /* the function threw: error is set */
    BB_VM_TIMEOUT,        /* terminated by deadline */
    BB_VM_OUT_OF_MEMORY,  /* near-heap limit: recycle the slot */
    BB_VM_NEVER_RESOLVED, /* queue empty, no ticket open, promise pending */
    BB_VM_INTERNAL
};

struct bb_vm_options {
    size_t heap_bytes;   /* 0: 64 MB */
    size_t buffer_bytes; /* array buffers; 0: 64 MB */
    bool is_jitless;
    /* Sources that make up the runtime, run once, in order, after hardening's capture and before
     * the freeze: each is the body of `function (host, internals)`. They must live as long as the
     * vm: they run again in each context of a call. The last one returns an object
     * { invoke(bundle, path, args, kind, snapshot) -> promise, ... }; see docs/decisions and
     * libs/vm/README.md. */
    const struct bb_slice *runtime;
    size_t runtime_count;
};

struct bb_vm_module {
    struct bb_slice path;       /* "messages.js" */
    struct bb_slice source;     /* body of function (exports, require, module), UTF-8 */
    struct bb_slice source_map; /* JSON, may be empty; parsed lazily, only for errors */
    bool needs_context;         /* its top level changes built-in objects */
};

/* What a call shares with others. */
enum bb_vm_isolation {
    BB_VM_SHARED, /* built-in objects, which are frozen, and instances of modules that keep nothing
                   */
    BB_VM_PER_CALL, /* built-in objects */
    BB_VM_CONTEXT   /* nothing: a context of its own, which is not frozen */
};

enum bb_vm_profile {
    BB_VM_PROFILE_NONE,
    BB_VM_PROFILE_CPU,     /* .cpuprofile: where its time went */
    BB_VM_PROFILE_HEAP,    /* .heapprofile: what it allocated, and where */
    BB_VM_PROFILE_SNAPSHOT /* .heapsnapshot: what the heap holds when it ends */
};

struct bb_vm_call_options {
    struct bb_slice path; /* "dir/module:function" or "_system:name" */
    struct bb_slice args; /* BBV object */
    bool is_mutation;     /* the kind that invoke gets: "query" or "mutation" */
    uint64_t snapshot;    /* for invoke, as a number */
    uint64_t now_ms;      /* what Date sees */
    uint8_t seed[16];     /* Math.random, crypto */
    void *arg;            /* for the host function */
    enum bb_vm_profile profile;
};

struct bb_vm_result {
    enum bb_vm_end end;
    struct bb_slice value; /* BBV, when VALUE */
    int status; /* BB_USER_ERROR, BB_SERVER_ERROR or another IN status, when ERROR; for the
                   other ends the IN status that names it */
    struct bb_slice message;    /* text for the user; of an ordinary throw "TypeError: boom" */
    struct bb_slice error_data; /* BBV, of a BitBendError; may be empty */
    struct bb_slice stack;      /* mapped to the source: "at list (messages.ts:12:5)\n..." */
    struct bb_slice loading;    /* when TIMEOUT: the module whose top level ran, or empty */
    struct bb_slice profile;    /* JSON that Chrome DevTools opens; empty: none, or too large */
    bool saw_random, saw_time;
    bool must_recycle; /* end this process after the answer */
    uint64_t cpu_us; /* how long JavaScript ran, by the clock; waiting for the host is not in it */
    uint64_t heap_bytes;
};

/* BB_OK: `out` holds one BBV value. BB_PENDING: the ticket stays open. Else: thrown into the
 * script. */
typedef int bb_vm_host_fn(struct bb_ctx *ctx, void *arg, struct bb_vm_call *call, uint32_t op,
                          struct bb_slice args /* BBV array */, struct bb_vm_ticket ticket,
                          struct bb_buf *out);

/* One at a time on a thread. */
int bb_vm_open(struct bb_ctx *ctx, const struct bb_vm_options *options, bb_vm_host_fn *host,
               struct bb_vm **vm);
void bb_vm_close(struct bb_vm *vm); /* accepts NULL */

/* Compiles lazily; a syntax error shows when the module is first reached. Copies what it needs. */
int bb_vm_load(struct bb_ctx *ctx, struct bb_vm *vm, const struct bb_vm_module *modules,
               size_t module_count, struct bb_vm_bundle **bundle);
void bb_vm_unload(struct bb_vm_bundle *bundle);

/* Runs to the first wait. One call at a time. `bundle` may be NULL for system functions. */
int bb_vm_call_begin(struct bb_ctx *ctx, struct bb_vm *vm, struct bb_vm_bundle *bundle,
                     const struct bb_vm_call_options *options, struct bb_vm_call **call);
bool bb_vm_call_is_done(const struct bb_vm_call *call);
/* Settle a ticket without running anything; several, then bb_vm_run once. `value` is BBV. */
int bb_vm_resolve(struct bb_vm_call *call, struct bb_vm_ticket ticket, struct bb_slice value);
int bb_vm_reject(struct bb_vm_call *call, struct bb_vm_ticket ticket, int status,
                 struct bb_slice message);
void bb_vm_run(struct bb_vm_call *call); /* drains microtasks to the next wait or the end */
/* While the host answers: is it code that may have changed the built-in objects under our feet?
 * Such code gets what users may have and nothing else. */
bool bb_vm_host_is_open(const struct bb_vm_call *call);
/* What the call came to share so far. */
enum bb_vm_isolation bb_vm_call_isolation(const struct bb_vm_call *call);
/* When is_done. Slices live until call_end. */
void bb_vm_call_result(struct bb_vm_call *call, struct bb_vm_result *result);
void bb_vm_call_end(struct bb_vm_call *call); /* also for a call that is abandoned while it waits */
/* The process must end before another call begins: an abandoned call can be the reason, too. */
bool bb_vm_must_recycle(const struct bb_vm *vm);

/* ANY thread: sets the flag, then TerminateExecution. A call that waits ends as soon as it runs. */
void bb_vm_terminate(struct bb_vm *vm, enum bb_vm_end why);
/* Before the process is copied: leaves a heap without garbage, of which copies share what they only
 * read. Other threads have nothing to do after it. */
void bb_vm_settle(struct bb_vm *vm);
void bb_vm_idle(struct bb_vm *vm, uint32_t budget_us); /* foreground tasks, idle GC */
/* Contexts of calls are made ahead: while this is true, bb_vm_prepare makes one (about 1 ms). */
bool bb_vm_can_prepare(const struct bb_vm *vm);
void bb_vm_prepare(struct bb_vm *vm);
const char *bb_vm_version(void);

/* From here on no thread of this process opens, connects, executes or forks (seccomp): call it
 * once, when the realm and all threads are up. `what` gets what holds, such as
 * "seccomp,no-new-privs", also when BB_UNSUPPORTED says what this machine refused. */
int bb_vm_lock_down(struct bb_ctx *ctx, char *what, size_t what_size);

/* What the add-on does when Node.js has loaded it: on a thread of its own with an 8 MB stack it
 * calls bb_vm_program_main, which the program that is linked into it defines, and ends the process
 * with the result. `runtime` are the texts that the build put into the add-on, in byte order of
 * their names. */
struct bb_vm_program {
    int fd; /* first argument of run() in slot.cjs */
    bool is_jitless, is_unsealed;
    const struct bb_slice *runtime;
    size_t runtime_count;
    struct bb_slice argument; /* third argument of run(), may be empty */
};
int bb_vm_program_main(const struct bb_vm_program *program);

#ifdef __cplusplus
}
#endif

#endif
