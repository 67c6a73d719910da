/* The places where a service touches the system itself: the lock of its folder, and the sandbox. */
#include "cgroup.h"
#include "folder.h"
#include "parts.h"
#include "sandbox.h"
#include "zygote.h"

/* ---- services/storage/lock.c: a node runs one process at a time ---- */

int storage_folder_lock(struct bb_ctx *ctx, struct folder *folder)
{
    (void)ctx;
    (void)folder;
    return BB_OK;
}

int storage_folder_temporary(struct bb_ctx *ctx, struct folder *folder)
{
    (void)folder;
    return bb_fail(ctx, BB_UNSUPPORTED, "a simulated disk is temporary anyway");
}

void storage_folder_close(struct folder *folder)
{
    (void)folder;
}

/* ---- services/worker/sandbox.h ---- */

struct sandbox {
    const char *none;
};

int worker_sandbox_new(struct bb_ctx *ctx, const struct sandbox_options *options,
                       struct sandbox **sandbox)
{
    (void)ctx;
    (void)options;
    *sandbox = bb_alloc_zero(1, sizeof **sandbox);
    return BB_OK;
}

struct cgroups *worker_cgroups_new(const struct cgroup_options *options)
{
    (void)options;
    return NULL;
}

void worker_cgroups_free(struct cgroups *cgroups)
{
    (void)cgroups;
}

const char *worker_cgroups_holds(const struct cgroups *cgroups)
{
    (void)cgroups;
    return "";
}

const char *worker_cgroups_lacks(const struct cgroups *cgroups)
{
    (void)cgroups;
    return "simulated";
}

const char *const *worker_cgroup_argv(struct cgroups *cgroups, size_t index,
                                      const char *const *argv)
{
    (void)cgroups;
    (void)index;
    return argv;
}

bool worker_cgroup_was_killed(const struct cgroups *cgroups, size_t index)
{
    (void)cgroups;
    (void)index;
    return false;
}

void worker_sandbox_free(struct sandbox *sandbox)
{
    bb_free(sandbox);
}

/* ---- services/worker/zygote.h: there is none ---- */

int worker_zygote_new(struct worker *worker, const char *mode, struct zygote **zygote)
{
    (void)worker;
    (void)mode;
    *zygote = NULL;
    return BB_OK;
}

void worker_zygote_free(struct zygote *zygote)
{
    (void)zygote;
}

enum zygote_help worker_zygote_help(const struct zygote *zygote)
{
    (void)zygote;
    return ZYGOTE_NEVER;
}

int worker_zygote_fork(struct zygote *zygote, const struct slot *slot, int fd)
{
    (void)zygote;
    (void)slot;
    (void)fd;
    return BB_IO;
}

void worker_zygote_judge(struct zygote *zygote, bool was_ready)
{
    (void)zygote;
    (void)was_ready;
}

void worker_zygote_watch(struct zygote *zygote, uint64_t now_us)
{
    (void)zygote;
    (void)now_us;
}

void worker_zygote_stop(struct zygote *zygote)
{
    (void)zygote;
}

bool worker_zygote_is_gone(const struct zygote *zygote)
{
    (void)zygote;
    return true;
}

/* ---- libs/rt/child.c ---- */

struct bb_child *bb_child_adopt(struct bb_loop *loop, int64_t pid,
                                void (*on_exit)(void *arg, int exit_code, int signal), void *arg)
{
    (void)loop;
    (void)pid;
    (void)on_exit;
    (void)arg;
    BB_UNREACHABLE("nobody forks here");
}

const char *const *worker_sandbox_argv(const struct sandbox *sandbox)
{
    return &sandbox->none;
}

const char *const *worker_sandbox_envp(const struct sandbox *sandbox)
{
    return &sandbox->none;
}

bool worker_sandbox_accepts(const struct sandbox *sandbox, const char *sealed)
{
    (void)sandbox;
    (void)sealed;
    return true;
}

const char *worker_sandbox_holds(const struct sandbox *sandbox)
{
    (void)sandbox;
    return "";
}

const char *worker_sandbox_lacks(const struct sandbox *sandbox)
{
    return worker_sandbox_holds(sandbox);
}
