/*
 * The memory that a slot's process may have, by a cgroup (v2) of its own: where this process may
 * make some, which is in a container or a unit whose cgroup is delegated to it. Elsewhere slots run
 * without, and `lacks` says why.
 *
 * Cgroups are named after this process; what one that died left behind is removed at the next
 * start.
 */
#ifndef WORKER_CGROUP_H
#define WORKER_CGROUP_H

#include "bb/base.h"

struct cgroup_options {
    const char *mount; /* /sys/fs/cgroup */
    const char *self;  /* /proc/self/cgroup */
    int64_t pid;
    uint64_t bytes_max; /* of one slot; 0: make none */
};
struct cgroups;

/* Always there, perhaps without any right. */
struct cgroups *worker_cgroups_new(const struct cgroup_options *options);
/* Removes them; the slots are gone. Accepts NULL. */
void worker_cgroups_free(struct cgroups *cgroups);
/* "memory-cgroup" or ""; and why there is none. */
const char *worker_cgroups_holds(const struct cgroups *cgroups);
const char *worker_cgroups_lacks(const struct cgroups *cgroups);
/* The command line `argv` as a process that enters the cgroup of slot `index` first; `argv` itself
 * when there is none. Lives until the next call. */
const char *const *worker_cgroup_argv(struct cgroups *cgroups, size_t index,
                                      const char *const *argv);
/* The same for a process that is there already: its `cgroup.procs`, open for writing; -1: there is
 * none. The caller closes it. */
int worker_cgroup_open(struct cgroups *cgroups, size_t index);
/* Has the kernel ended a process of this slot for want of memory since one of the two? */
bool worker_cgroup_was_killed(const struct cgroups *cgroups, size_t index);

#endif
