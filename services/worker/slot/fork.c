#include "fork.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    NOBODY = 65534,
    SOCKET_FD = 3,
    CAPABILITY_MAX = 63
};

/* ---- the process ---- */

/* What is no file's. The kernel refuses a few of its own, which children have anyway. */
static int keep_memory(struct bb_ctx *ctx)
{
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "re");

    if (maps == NULL)
        return bb_fail(ctx, BB_UNSUPPORTED, "there is no /proc/self/maps");
    while (fgets(line, sizeof line, maps) != NULL) {
        uintptr_t from, to;
        unsigned long inode;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %*s %*s %lu", &from, &to, &inode) == 3 &&
            inode == 0) {
            (void)syscall(SYS_madvise, from, to - from, MADV_DOFORK);
        }
    }
    (void)fclose(maps);
    return BB_OK;
}

/* The head of the robust list stands behind the thread's number, a number that is not used any
 * more, and one pointer, since 2003. */
int slot_fork_init(struct bb_ctx *ctx, struct slot_fork *fork)
{
    *fork = (struct slot_fork){ .tid = NULL };
    if (syscall(SYS_get_robust_list, 0, &fork->robust_list, &fork->robust_size) != 0 ||
        fork->robust_list == NULL) {
        return bb_fail(ctx, BB_UNSUPPORTED, "this C library keeps no robust list");
    }
    void *record = (char *)fork->robust_list - sizeof(void *) - 2 * sizeof(pid_t);
    pid_t *tid = record;
    if (*tid != (pid_t)syscall(SYS_gettid))
        return bb_fail(ctx, BB_UNSUPPORTED, "this C library keeps its threads in another way");
    fork->tid = tid;
    return keep_memory(ctx);
}

static unsigned long flags_of(unsigned rights)
{
    unsigned long flags = CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD;

    if ((rights & SLOT_OWN_NAMESPACES) != 0)
        flags |= CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWPID;
    return (rights & SLOT_OWN_USERS) != 0 ? flags | CLONE_NEWUSER : flags;
}

/* clone and not clone3, which containers refuse. */
pid_t slot_fork(const struct slot_fork *fork, unsigned rights)
{
#if defined(__x86_64__)
    long pid = syscall(SYS_clone, flags_of(rights), NULL, NULL, fork->tid, 0);
#else
    long pid = syscall(SYS_clone, flags_of(rights), NULL, NULL, 0, fork->tid);
#endif
    if (pid == 0)
        (void)syscall(SYS_set_robust_list, fork->robust_list, fork->robust_size);
    return (pid_t)pid;
}

/* ---- its rights ---- */

static int failed(struct bb_ctx *ctx, const char *what)
{
    char text[128];

    return bb_fail(ctx, BB_IO, "%s: %s", what, bb_strerror(errno, text, sizeof text));
}

static int set_files(struct bb_ctx *ctx, int socket_fd)
{
    if (dup2(socket_fd, SOCKET_FD) != SOCKET_FD ||
        syscall(SYS_close_range, SOCKET_FD + 1, ~0u, 0) != 0) {
        return failed(ctx, "descriptors of a slot");
    }
    return BB_OK;
}

static int drop_bounding_set(struct bb_ctx *ctx)
{
    for (int capability = 0; capability <= CAPABILITY_MAX; capability++) {
        if (prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1 &&
            prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) {
            return failed(ctx, "capabilities that a slot may get");
        }
    }
    return BB_OK;
}

/* Of this thread, the only one: the C library's functions would ask threads that are gone. */
static int become_nobody(struct bb_ctx *ctx)
{
    if (syscall(SYS_setgroups, 0, NULL) != 0 ||
        syscall(SYS_setresgid, NOBODY, NOBODY, NOBODY) != 0 ||
        syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY) != 0) {
        return failed(ctx, "user of a slot");
    }
    return BB_OK;
}

static int drop_capabilities(struct bb_ctx *ctx)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    const struct __user_cap_data_struct none[2] = { { .effective = 0 } };

    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 ||
        syscall(SYS_capset, &header, none) != 0) {
        return failed(ctx, "capabilities of a slot");
    }
    return BB_OK;
}

/* In this order: each step needs what the later ones take. Mounts follow those of the host. */
static int drop_rights(struct bb_ctx *ctx, unsigned rights)
{
    int rc = BB_OK;

    if ((rights & SLOT_OWN_NAMESPACES) != 0 && mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0)
        return failed(ctx, "mounts of a slot");
    if ((rights & SLOT_NO_CAPABILITIES) != 0)
        rc = drop_bounding_set(ctx);
    if (rc == BB_OK && (rights & SLOT_NOBODY) != 0)
        rc = become_nobody(ctx);
    if (rc == BB_OK && (rights & SLOT_NO_CAPABILITIES) != 0)
        rc = drop_capabilities(ctx);
    if (rc == BB_OK && (rights & SLOT_NO_NEW_PRIVILEGES) != 0 &&
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return failed(ctx, "no-new-privileges of a slot");
    }
    return rc;
}

int slot_fork_settle(struct bb_ctx *ctx, unsigned rights, int socket_fd, int cgroup_fd)
{
    if (cgroup_fd >= 0 && write(cgroup_fd, "0", 1) != 1)
        return failed(ctx, "cgroup of a slot");
    int rc = set_files(ctx, socket_fd);
    if (rc == BB_OK)
        rc = drop_rights(ctx, rights);
    if (rc != BB_OK)
        return rc;
    /* After the change of user, which resets both. */
    if ((rights & SLOT_ENDS_WITH_PARENT) != 0 && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        return failed(ctx, "end of a slot with its supervisor");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return failed(ctx, "memory of a slot");
    (void)prctl(PR_SET_NAME, "bb-slot", 0, 0, 0);
    (void)setpgid(0, 0); /* the terminal's ^C is for the supervisor */
    return BB_OK;
}
