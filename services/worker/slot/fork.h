/*
 * From a zygote to a slot: one system call that makes the process, with the namespaces that it
 * shall have, as a child of the zygote's own parent; then what takes its rights away, in the child.
 *
 * The C library's fork cannot do that. Of what it does beside the system call, the number of the
 * thread in the library's own record is what anybody misses (signals to a thread go by it), and the
 * kernel writes that when it is told where: slot_fork_init finds the place, and says so when it
 * cannot.
 *
 * The engine keeps its heap out of children (MADV_DONTFORK), which is right for those that become
 * other programs at once. Here all memory comes along again.
 *
 * Threads: the caller's is the only one in the child; in the parent nobody else may be busy, so
 * that no lock is held which the child would wait for.
 */
#ifndef SLOT_FORK_H
#define SLOT_FORK_H

#include <sys/types.h>

#include "bb/base.h"

/* What a slot shall do without. Bits, also in the supervisor's requests. */
enum slot_rights {
    SLOT_OWN_NAMESPACES = 1, /* network, IPC, names, mounts, processes */
    SLOT_OWN_USERS = 2,      /* a user namespace */
    SLOT_NOBODY = 4,         /* user and group 65534, no other groups */
    SLOT_NO_CAPABILITIES = 8,
    SLOT_NO_NEW_PRIVILEGES = 16,
    SLOT_ENDS_WITH_PARENT = 32
};

struct slot_fork {
    pid_t *tid;        /* in the C library's record of this thread */
    void *robust_list; /* of the same: the kernel forgets it in a child */
    size_t robust_size;
};

/* Once, when all memory that a child needs is there. BB_UNSUPPORTED: this C library is not what we
 * know, or there is no /proc. */
int slot_fork_init(struct bb_ctx *ctx, struct slot_fork *fork);
/* As fork(): 0 in the child, else its number as this process sees it, or -1 with errno. */
pid_t slot_fork(const struct slot_fork *fork, unsigned rights);
/* In the child: in whole, or a status that says why not; then the process must end. Enters the
 * cgroup whose `cgroup.procs` is open as `cgroup_fd` (-1: none), keeps descriptors 0 to 2 and
 * `socket_fd`, which becomes 3. */
int slot_fork_settle(struct bb_ctx *ctx, unsigned rights, int socket_fd, int cgroup_fd);

#endif
