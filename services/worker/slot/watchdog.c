#include "watchdog.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bb/env.h"
#include "slot.h"

#define AGAIN_US 10000u /* what does not stop at once is stopped again */

struct slot_watchdog {
    struct bb_env *env;
    int fd, wake_fd;
    struct bb_mutex *mutex; /* guards what follows, and that a stop hits the call it is meant for */
    struct bb_vm *vm;
    bool is_running, has_fired;
    uint64_t deadline_us;
    /* When the thread looks at the clock again. Calls mostly have later deadlines than the one that
     * it waits for, and need not wake it: it looks, finds the newest one, and sleeps again. */
    uint64_t look_us;
};

/* BB_PEER_GONE ends the process: nobody is there to hear of anything. */
static void wait_for(struct slot_watchdog *watchdog, int timeout_ms)
{
    struct pollfd waits[2] = { { .fd = watchdog->fd, .events = POLLRDHUP },
                               { .fd = watchdog->wake_fd, .events = POLLIN } };
    uint64_t count;

    if (poll(waits, 2, timeout_ms) <= 0)
        return;
    if ((waits[0].revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0)
        _exit(BB_SLOT_EXIT_OK);
    if ((waits[1].revents & POLLIN) != 0)
        (void)!read(watchdog->wake_fd, &count, sizeof count); /* only wakes */
}

/* Stops a call whose time is over. When to look again; UINT64_MAX: when a call wakes us. */
static uint64_t look(struct slot_watchdog *watchdog, uint64_t now_us)
{
    uint64_t next_us;

    bb_mutex_lock(watchdog->mutex);
    bool is_over = now_us >= watchdog->deadline_us;
    if (is_over && watchdog->is_running && watchdog->vm != NULL) {
        watchdog->has_fired = true;
        bb_vm_terminate(watchdog->vm, BB_VM_TIMEOUT);
        next_us = now_us + AGAIN_US;
    } else {
        /* Between two calls it waits as it would for the last one: the next one need not wake it.
         */
        next_us = is_over ? UINT64_MAX : watchdog->deadline_us;
    }
    watchdog->look_us = next_us;
    bb_mutex_unlock(watchdog->mutex);
    return next_us;
}

static void run(void *arg)
{
    struct slot_watchdog *watchdog = arg;

    for (;;) {
        uint64_t now_us = watchdog->env->ops->now_us(watchdog->env);
        uint64_t next_us = look(watchdog, now_us);
        wait_for(watchdog, next_us == UINT64_MAX ? -1 : (int)((next_us - now_us + 999) / 1000));
    }
}

int slot_watchdog_open(struct bb_ctx *ctx, int fd, struct slot_watchdog **out)
{
    char reason[128];
    struct slot_watchdog *watchdog = bb_alloc_zero(1, sizeof *watchdog);

    watchdog->env = ctx->env;
    watchdog->fd = fd;
    watchdog->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (watchdog->wake_fd < 0) {
        bb_free(watchdog);
        return bb_fail(ctx, BB_IO, "eventfd: %s", bb_strerror(errno, reason, sizeof reason));
    }
    watchdog->mutex = bb_mutex_new();
    (void)bb_thread_start("slot-watchdog", run, watchdog); /* lives as long as the process */
    *out = watchdog;
    return BB_OK;
}

void slot_watchdog_attach(struct slot_watchdog *watchdog, struct bb_vm *vm)
{
    bb_mutex_lock(watchdog->mutex);
    watchdog->vm = vm;
    bb_mutex_unlock(watchdog->mutex);
}

void slot_watchdog_enter(struct slot_watchdog *watchdog, uint64_t deadline_us)
{
    bb_mutex_lock(watchdog->mutex);
    watchdog->is_running = true;
    watchdog->has_fired = false;
    watchdog->deadline_us = deadline_us;
    bool is_late = watchdog->look_us > deadline_us;
    bb_mutex_unlock(watchdog->mutex);
    if (is_late) {
        uint64_t one = 1;
        (void)!write(watchdog->wake_fd, &one, sizeof one); /* full: it wakes anyway */
    }
}

bool slot_watchdog_leave(struct slot_watchdog *watchdog)
{
    bb_mutex_lock(watchdog->mutex);
    watchdog->is_running = false;
    bool has_fired = watchdog->has_fired;
    bb_mutex_unlock(watchdog->mutex);
    return has_fired;
}
