#include "rt.h"

#include <sys/timerfd.h>
#include <unistd.h>
#include <uv.h>

/* libuv's timers count milliseconds; this one is the kernel's. */
struct bb_alarm {
    uv_poll_t poll;
    int fd;
    bool is_set;
    void (*fire)(void *arg);
    void *arg;
};

static void on_expired(uv_poll_t *poll, int status, int events)
{
    struct bb_alarm *alarm = poll->data;
    uint64_t times;

    (void)status;
    (void)events;
    /* Nothing to read: it was set anew or stopped after it had expired. */
    if (read(alarm->fd, &times, sizeof times) != sizeof times || !alarm->is_set)
        return;
    alarm->is_set = false;
    alarm->fire(alarm->arg);
}

static void set(struct bb_alarm *alarm, uint64_t us)
{
    struct itimerspec when = { .it_value = { .tv_sec = (time_t)(us / 1000000),
                                             .tv_nsec = (long)(us % 1000000) * 1000 } };

    bb_assert(timerfd_settime(alarm->fd, 0, &when, NULL) == 0);
    alarm->is_set = us != 0;
}

struct bb_alarm *bb_alarm_new(struct bb_loop *loop, void (*fire)(void *arg), void *arg)
{
    struct bb_alarm *alarm = bb_alloc_zero(1, sizeof *alarm);

    alarm->fire = fire;
    alarm->arg = arg;
    alarm->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    bb_assert(alarm->fd >= 0);
    bb_assert(uv_poll_init(bb_loop_uv(loop), &alarm->poll, alarm->fd) == 0);
    alarm->poll.data = alarm;
    bb_assert(uv_poll_start(&alarm->poll, UV_READABLE, on_expired) == 0);
    return alarm;
}

void bb_alarm_set(struct bb_alarm *alarm, uint64_t us)
{
    set(alarm, us == 0 ? 1 : us);
}

void bb_alarm_stop(struct bb_alarm *alarm)
{
    if (alarm->is_set)
        set(alarm, 0);
}

static void on_alarm_closed(uv_handle_t *handle)
{
    struct bb_alarm *alarm = handle->data;

    (void)close(alarm->fd);
    bb_free(alarm);
}

void bb_alarm_free(struct bb_alarm *alarm)
{
    if (alarm != NULL)
        uv_close((uv_handle_t *)&alarm->poll, on_alarm_closed);
}
