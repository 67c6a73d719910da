/*
 * How a slot's process is started: which programs stand before Node.js to take its rights away, as
 * far as this machine allows. Found out once, at start.
 */
#ifndef WORKER_SANDBOX_H
#define WORKER_SANDBOX_H

#include "bb/base.h"

struct sandbox_options {
    const char *mode;                   /* auto, off, require */
    const char *node, *addon, *slot_js; /* NULL or empty: where the build puts them */
    unsigned heap_mb;                   /* of a slot */
};
struct sandbox;

/* BB_NOT_FOUND: a file is missing; BB_BAD_REQUEST: the mode; BB_UNSUPPORTED: `require`, and this
 * machine cannot. Starts some short processes and waits for them (some 10 ms). */
int worker_sandbox_new(struct bb_ctx *ctx, const struct sandbox_options *options,
                       struct sandbox **sandbox);
void worker_sandbox_free(struct sandbox *sandbox); /* accepts NULL */
/* The whole command line, ends with NULL; and the whole environment. Live as long as the sandbox.
 */
const char *const *worker_sandbox_argv(const struct sandbox *sandbox);
const char *const *worker_sandbox_envp(const struct sandbox *sandbox);
/* The same of a zygote, whose slots have a heap of so many MB: it keeps what it needs to take their
 * rights away, which are these (`enum slot_rights`). */
const char *const *worker_sandbox_zygote_argv(const struct sandbox *sandbox);
unsigned worker_sandbox_rights(const struct sandbox *sandbox);
/* "namespaces,uid,no-new-privs", and why not more; for the log and for `status`. */
/* A slot says what it has taken from itself: with `require` that must not be nothing. */
bool worker_sandbox_accepts(const struct sandbox *sandbox, const char *sealed);
const char *worker_sandbox_holds(const struct sandbox *sandbox);
const char *worker_sandbox_lacks(const struct sandbox *sandbox);

#endif
