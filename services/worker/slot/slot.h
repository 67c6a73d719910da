/*
 * The slot program: one V8 isolate that runs calls for its supervisor, over an inherited socket.
 *
 * The add-on (libs/vm/build.mk) starts bb_slot_main on a thread of its own with an 8 MB stack and
 * ends the process with its result: `_exit(bb_slot_main(&options))`. Exit codes:
 * docs/formats/slot.md.
 *
 * Or it is a zygote first, which opens the isolate and is copied for each slot. Threads of ours
 * begin after that.
 *
 * Threads: bb_slot_main owns the isolate; one watchdog thread of its own terminates scripts at
 * their deadline and ends the process when the supervisor is gone.
 */
#ifndef BB_SLOT_H
#define BB_SLOT_H

#include "bb/base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bb_slot_exit {
    BB_SLOT_EXIT_OK = 0,        /* told to stop, supervisor gone, or recycled after an answer */
    BB_SLOT_EXIT_START = 1,     /* could not start; a line on stderr says why */
    BB_SLOT_EXIT_PROTOCOL = 70, /* the supervisor sent what cannot be understood */
    BB_SLOT_EXIT_FATAL = 77,    /* fatal V8 error */
    BB_SLOT_EXIT_MEMORY = 78    /* out of memory */
};

struct bb_slot_options {
    int fd; /* 3: one end of a socketpair, the supervisor has the other */
    /* services/worker/runtime/ *.js in byte order of their names, handed to bb_vm_open. */
    const struct bb_slice *runtime;
    size_t runtime_count;
    bool is_jitless;
    /* Not 0: a zygote (zygote.h), whose slots have a heap of so many MB; `fd` is the supervisor's
     * socket for requests. */
    uint32_t zygote_heap_mb;
    /* Called once, when the realm is up and before SlotReady: takes away what the slot does not
     * need any more (seccomp) and writes into `what` what holds ("seccomp,no-new-privs"). May be
     * NULL. Not BB_OK: the process ends with BB_SLOT_EXIT_START. */
    int (*seal)(struct bb_ctx *ctx, char *what, size_t what_size);
};

/* Serves calls until the supervisor says stop or is gone; returns an enum bb_slot_exit. */
int bb_slot_main(const struct bb_slot_options *options);

#ifdef __cplusplus
}
#endif

#endif
