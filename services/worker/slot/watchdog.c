#include "watchdog.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bb/env.h"
#include "slot.h"

/* While calls come, the thread looks at the clock this often; after a second without any it sleeps
 * until the next call wakes it. */
enum {
    TICK_MS = 10,
    IDLE_TICKS = 100
};

struct slot_watchdog {
    struct bb_env *env;
    int fd, wake_fd;
    struct bb_mutex *mutex; /* guards what follows, and that a stop hits the call it is meant for */
    struct bb_vm *vm;
    bool is_running, has_fired;
    uint64_t deadline_us;
    _Atomic bool is_asleep;
    _Atomic uint64_t entered; /* counts, so that the thread sees that calls come */
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

static void look(struct slot_watchdog *watchdog)
{
    bb_mutex_lock(watchdog->mutex);
    if (watchdog->is_running && watchdog->vm != NULL &&
        watchdog->env->ops->now_us(watchdog->env) >= watchdog->deadline_us) {
        watchdog->has_fired = true;
        bb_vm_terminate(watchdog->vm, BB_VM_TIMEOUT);
    }
    bb_mutex_unlock(watchdog->mutex);
}

static void run(void *arg)
{
    struct slot_watchdog *watchdog = arg;
    uint64_t seen = 0;
    int quiet = 0;

    for (;;) {
        uint64_t entered = atomic_load(&watchdog->entered);
        quiet = entered == seen ? quiet + 1 : 0;
        seen = entered;
        bb_mutex_lock(watchdog->mutex);
        bool is_running = watchdog->is_running;
        bb_mutex_unlock(watchdog->mutex);
        if (quiet > IDLE_TICKS && !is_running) {
            atomic_store(&watchdog->is_asleep, true);
            /* A call that came in between has not seen that it must wake us. */
            wait_for(watchdog, atomic_load(&watchdog->entered) == seen ? -1 : 0);
            atomic_store(&watchdog->is_asleep, false);
            quiet = 0;
        } else {
            wait_for(watchdog, TICK_MS);
        }
        look(watchdog);
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
    bb_mutex_unlock(watchdog->mutex);
    atomic_fetch_add(&watchdog->entered, 1);
    if (atomic_load(&watchdog->is_asleep)) {
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
