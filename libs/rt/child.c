#include "bb/rt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#define INHERITED_FD 3
#define POLL_MS      20

/*
 * The end of a child is a readable pidfd on the owner's loop: SIGCHLD is one for the whole process,
 * and a process may have many loops. Where the kernel has no pidfd, a timer asks.
 */
struct bb_child {
    struct bb_loop *loop;
    pid_t pid;
    int pidfd;
    bool is_gone;
    bool is_handle_open;
    union {
        uv_poll_t poll;
        uv_timer_t timer;
    } handle;
    void (*on_exit)(void *arg, int exit_code, int signal);
    void *arg;
    bool is_freed;
};

static void on_handle_closed(uv_handle_t *handle)
{
    struct bb_child *child = handle->data;

    child->is_handle_open = false;
    if (child->pidfd >= 0)
        (void)close(child->pidfd);
    child->pidfd = -1;
    if (child->is_freed)
        bb_free(child);
}

static void reap(struct bb_child *child)
{
    int status = 0;
    pid_t pid;

    do {
        pid = waitpid(child->pid, &status, WNOHANG);
    } while (pid < 0 && errno == EINTR);
    if (child->is_gone || pid == 0)
        return;
    child->is_gone = true;
    uv_close((uv_handle_t *)&child->handle, on_handle_closed);
    int exit_code = pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    int signal = pid > 0 && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    child->on_exit(child->arg, exit_code, signal);
}

static void on_pidfd(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    reap(poll->data);
}

static void on_poll_timer(uv_timer_t *timer)
{
    reap(timer->data);
}

static void watch(struct bb_child *child)
{
    uv_loop_t *uv = bb_loop_uv(child->loop);

    child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
    if (child->pidfd >= 0) {
        (void)fcntl(child->pidfd, F_SETFD, FD_CLOEXEC);
        if (uv_poll_init(uv, &child->handle.poll, child->pidfd) == 0) {
            child->handle.poll.data = child;
            bb_assert(uv_poll_start(&child->handle.poll, UV_READABLE, on_pidfd) == 0);
            child->is_handle_open = true;
            return;
        }
        (void)close(child->pidfd);
        child->pidfd = -1;
    }
    bb_assert(uv_timer_init(uv, &child->handle.timer) == 0);
    child->handle.timer.data = child;
    bb_assert(uv_timer_start(&child->handle.timer, on_poll_timer, POLL_MS, POLL_MS) == 0);
    child->is_handle_open = true;
}

/* Descriptors of the child: 0 from /dev/null, 1 and 2 to the log, 3 what it inherits, no others. */
static int set_files(posix_spawn_file_actions_t *actions, const struct bb_child_options *options)
{
    int rc;
    int first_closed = options->inherit_fd >= 0 ? INHERITED_FD + 1 : INHERITED_FD;

    if (options->log_fd >= 0) {
        rc = posix_spawn_file_actions_adddup2(actions, options->log_fd, STDOUT_FILENO);
        if (rc == 0)
            rc = posix_spawn_file_actions_adddup2(actions, options->log_fd, STDERR_FILENO);
    } else {
        rc = posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        if (rc == 0)
            rc = posix_spawn_file_actions_addopen(actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    }
    if (rc == 0 && options->inherit_fd >= 0)
        rc = posix_spawn_file_actions_adddup2(actions, options->inherit_fd, INHERITED_FD);
    if (rc == 0)
        rc = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(actions, first_closed);
    return rc;
}

/* Signals as in a fresh process, and a group of its own: the terminal's ^C is for us, not for it.
 */
static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none;
    sigset_t all;

    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int rc = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                      POSIX_SPAWN_SETPGROUP);
    if (rc == 0)
        rc = posix_spawnattr_setsigmask(attributes, &none);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(attributes, &all);
    if (rc == 0)
        rc = posix_spawnattr_setpgroup(attributes, 0);
    return rc;
}

/* posix_spawn wants pointers to char that it does not write through. */
static char *const *spawn_list(const char *const *list)
{
    union {
        const char *const *in;
        char *const *out;
    } cast = { .in = list };

    return cast.out;
}

struct bb_child *bb_child_adopt(struct bb_loop *loop, int64_t pid,
                                void (*on_exit)(void *arg, int exit_code, int signal), void *arg)
{
    struct bb_child *child = bb_alloc_zero(1, sizeof *child);

    bb_assert(on_exit != NULL && pid > 0);
    child->loop = loop;
    child->pid = (pid_t)pid;
    child->on_exit = on_exit;
    child->arg = arg;
    watch(child);
    return child;
}

int bb_child_start(struct bb_ctx *ctx, struct bb_loop *loop, const struct bb_child_options *options,
                   struct bb_child **child)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    pid_t pid = 0;
    char text[128];

    bb_assert(options->on_exit != NULL);
    bb_assert(posix_spawn_file_actions_init(&actions) == 0);
    bb_assert(posix_spawnattr_init(&attributes) == 0);
    int rc = set_files(&actions, options);
    if (rc == 0)
        rc = set_attributes(&attributes);
    if (rc == 0) {
        rc = posix_spawn(&pid, options->argv[0], &actions, &attributes, spawn_list(options->argv),
                         spawn_list(options->envp));
    }
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (rc != 0) {
        return bb_fail(ctx, rc == ENOENT ? BB_NOT_FOUND : BB_IO, "start of %s: %s",
                       options->argv[0], bb_strerror(rc, text, sizeof text));
    }
    *child = bb_child_adopt(loop, pid, options->on_exit, options->arg);
    return BB_OK;
}

int64_t bb_child_pid(const struct bb_child *child)
{
    return child->pid;
}

void bb_child_kill(struct bb_child *child, int signal)
{
    if (!child->is_gone)
        (void)kill(child->pid, signal); /* not reaped yet, so the number is still its own */
}

void bb_child_free(struct bb_child *child)
{
    if (child == NULL)
        return;
    bb_assert(child->is_gone);
    child->is_freed = true;
    if (!child->is_handle_open)
        bb_free(child);
}
