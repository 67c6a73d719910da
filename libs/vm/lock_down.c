/*
 * The last door: what the slot's process may ask of the kernel from here on. Everything that opens,
 * connects, executes or forks is refused with EPERM, in all threads of the process, Node's too.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <seccomp.h>

#include "bb/vm.h"

/* By name: what a machine does not have (arm64 lacks some) is left out. */
static const char *const allowed[] = {
    "read",
    "write",
    "readv",
    "writev",
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "poll",
    "ppoll",
    "epoll_wait",
    "epoll_pwait",
    "epoll_ctl",
    "close",
    "futex",
    "mmap",
    "munmap",
    "mprotect",
    "madvise",
    "brk",
    "mremap",
    "clock_gettime",
    "clock_nanosleep",
    "nanosleep",
    "gettid",
    "getpid",
    "getrandom",
    "sched_yield",
    "sched_getaffinity",
    "sched_getparam",
    "sched_getscheduler",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigaction",
    "exit",
    "exit_group",
    "set_robust_list",
    "rseq",
    "sigaltstack",
    "getrusage",
    "pkey_alloc",
    "pkey_mprotect",
    "membarrier",
    "restart_syscall",
    "fstat",
};

static int refuse_forks(scmp_filter_ctx filter)
{
    /* A thread is a clone that shares all; anything else would be a process. glibc asks by clone3
     * first, whose flags a filter cannot see, and takes clone when there is none. */
    int rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                              SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    return rc != 0 ? rc : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

/* Signals to itself: the profiler's and aborts. Names of threads and of memory. */
static int allow_some(scmp_filter_ctx filter)
{
    const unsigned names[] = { PR_SET_NAME, PR_GET_NAME, 0x53564d41 /* PR_SET_VMA */ };
    int rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                              SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));

    for (size_t i = 0; i < BB_COUNT_OF(names) && rc == 0; i++) {
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
                              SCMP_A0(SCMP_CMP_EQ, names[i], 0));
    }
    return rc;
}

static int allow_list(scmp_filter_ctx filter)
{
    for (size_t i = 0; i < BB_COUNT_OF(allowed); i++) {
        const int number = seccomp_syscall_resolve_name(allowed[i]);
        if (number == __NR_SCMP_ERROR) {
            continue;
        }
        /* A call that this machine does not have has a negative number: nothing to allow. */
        const int rc = number < 0 ? 0 : seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
        if (rc != 0) {
            return rc;
        }
    }
    const int rc = allow_some(filter);
    return rc != 0 ? rc : refuse_forks(filter);
}

int bb_vm_lock_down(struct bb_ctx *ctx, char *what, size_t what_size)
{
    char text[128];
    scmp_filter_ctx filter = NULL;
    int rc;

    bb_assert(what_size > 0);
    what[0] = '\0';
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return bb_fail(ctx, BB_UNSUPPORTED, "no-new-privileges: %s",
                       bb_strerror(errno, text, sizeof(text)));
    }
    filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL) {
        return bb_fail(ctx, BB_UNSUPPORTED, "seccomp: no filter can be made on this machine");
    }
    rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (rc == 0) {
        rc = allow_list(filter);
    }
    if (rc == 0) {
        rc = seccomp_load(filter);
    }
    seccomp_release(filter);
    (void)snprintf(what, what_size, rc == 0 ? "seccomp,no-new-privs" : "no-new-privs");
    if (rc != 0) {
        return bb_fail(ctx, BB_UNSUPPORTED, "seccomp: %s", bb_strerror(-rc, text, sizeof(text)));
    }
    return BB_OK;
}
