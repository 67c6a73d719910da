/* The two places where a service touches the system itself: the data folder and the sandbox. */
#include <stdio.h>

#include "cgroup.h"
#include "folder.h"
#include "parts.h"
#include "sandbox.h"

/* ---- services/storage/folder.h: all replicas are of one cluster ---- */

int storage_folder_open(struct bb_ctx *ctx, const char *dir, bool is_temporary,
                        struct folder *folder)
{
    (void)ctx;
    (void)is_temporary;
    *folder = (struct folder){ .lock_fd = -1 };
    (void)snprintf(folder->dir, sizeof folder->dir, "%s", dir); /* a short name */
    bb_put_le64(folder->cluster, sim.seed);
    return BB_OK;
}

int storage_folder_own(struct bb_ctx *ctx, struct folder *folder, uint64_t node)
{
    (void)ctx;
    folder->node = node;
    bb_put_le64(folder->incarnation, node);
    return BB_OK;
}

void storage_folder_set_cluster(struct folder *folder, const uint8_t *cluster)
{
    memcpy(folder->cluster, cluster, FOLDER_CLUSTER);
}

int storage_folder_seal(struct bb_ctx *ctx, struct folder *folder)
{
    (void)ctx;
    (void)folder;
    return BB_OK;
}

void storage_folder_close(struct folder *folder)
{
    (void)folder;
}

void storage_folder_path(const struct folder *folder, const char *name, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/%s", folder->dir, name); /* short names */
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
