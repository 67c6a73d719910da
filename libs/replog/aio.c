/*
 * The kernel's contexts for asynchronous writes are used again.
 *
 * libraft makes one for each file of the log and destroys it with the file, on its loop. To destroy
 * one, the kernel waits until no processor can see it any more (an RCU grace period): 30 to 45 ms
 * in which nothing is committed, at every 8 MB of the log. A context without a write under way is
 * like a new one, so it is kept for the next file. libraft calls the kernel by syscall(), which is
 * replaced here as posix_fallocate is in blocks.c: all calls but four pass through.
 */
#include "replog_internal.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/aio_abi.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uv.h>

#define CONTEXTS_MAX 16 /* known at a time; others come and go as libraft says */
#define SPARES_MAX   4

struct context {
    aio_context_t id;
    long under_way; /* given to the kernel, and not yet heard of */
    unsigned size;  /* writes that it was made for; 0: nothing is here */
    bool is_spare;
};

union call {
    void *object;
    long (*function)(long number, ...);
};

static _Atomic(void *) next_one; /* the syscall() of libc */
static uv_once_t once = UV_ONCE_INIT;
static uv_mutex_t mutex;
static struct context contexts[CONTEXTS_MAX];

void replog_aio_start(void)
{
    atomic_store_explicit(&next_one, dlsym(RTLD_NEXT, "syscall"), memory_order_release);
}

static long pass(long number, const long *with)
{
    union call next = { .object = atomic_load_explicit(&next_one, memory_order_acquire) };

    if (next.object == NULL) {
        replog_aio_start(); /* somebody calls before a log was opened */
        next.object = atomic_load_explicit(&next_one, memory_order_relaxed);
    }
    if (next.object == NULL) {
        errno = ENOSYS;
        return -1;
    }
    return next.function(number, with[0], with[1], with[2], with[3], with[4], with[5]);
}

static void make_mutex(void)
{
    bb_assert(uv_mutex_init(&mutex) == 0);
}

static void lock(void)
{
    uv_once(&once, make_mutex);
    uv_mutex_lock(&mutex);
}

/* ---- under the lock ---- */

static struct context *find(aio_context_t id)
{
    for (size_t i = 0; i < CONTEXTS_MAX; i++) {
        if (contexts[i].size != 0 && contexts[i].id == id)
            return &contexts[i];
    }
    return NULL;
}

static struct context *find_spare(unsigned size)
{
    for (size_t i = 0; i < CONTEXTS_MAX; i++) {
        if (contexts[i].is_spare && contexts[i].size == size)
            return &contexts[i];
    }
    return NULL;
}

static void know(aio_context_t id, unsigned size)
{
    for (size_t i = 0; i < CONTEXTS_MAX; i++) {
        if (contexts[i].size == 0) {
            contexts[i] = (struct context){ .id = id, .size = size };
            return;
        }
    }
}

static size_t count_spares(void)
{
    size_t count = 0;

    for (size_t i = 0; i < CONTEXTS_MAX; i++)
        count += contexts[i].is_spare;
    return count;
}

static void add(aio_context_t id, long writes)
{
    struct context *context;

    lock();
    context = find(id);
    if (context != NULL)
        context->under_way += writes;
    uv_mutex_unlock(&mutex);
}

/* ---- what libraft calls ---- */

static long setup(const long *with)
{
    unsigned size = (unsigned)with[0];
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): an argument of a system call */
    aio_context_t *id = (aio_context_t *)with[1];
    struct context *spare;
    long rc;

    lock();
    spare = size == 0 || *id != 0 ? NULL : find_spare(size);
    if (spare != NULL) {
        spare->is_spare = false;
        *id = spare->id;
    }
    uv_mutex_unlock(&mutex);
    if (spare != NULL)
        return 0;
    rc = pass(SYS_io_setup, with);
    if (rc == 0) {
        lock();
        know(*id, size);
        uv_mutex_unlock(&mutex);
    }
    return rc;
}

/* One with a write under way is destroyed, which waits for it. */
static long destroy(const long *with)
{
    struct context *context;
    bool is_kept = false;

    lock();
    context = find((aio_context_t)with[0]);
    if (context != NULL && !context->is_spare) {
        is_kept = context->under_way == 0 && count_spares() < SPARES_MAX;
        context->is_spare = is_kept;
        if (!is_kept)
            *context = (struct context){ .size = 0 };
    }
    uv_mutex_unlock(&mutex);
    return is_kept ? 0 : pass(SYS_io_destroy, with);
}

/* Counted before, as one may be done before this returns. */
static long submit(const long *with)
{
    aio_context_t id = (aio_context_t)with[0];
    long taken;

    add(id, with[1]);
    taken = pass(SYS_io_submit, with);
    add(id, (taken > 0 ? taken : 0) - with[1]);
    return taken;
}

static long hear(const long *with)
{
    long heard = pass(SYS_io_getevents, with);

    if (heard > 0)
        add((aio_context_t)with[0], -heard);
    return heard;
}

/* Takes as many arguments as a call has at most, like that of libc; a call does not look at what it
 * was not given. */
__attribute__((visibility("default"), no_sanitize("address"))) long syscall(long number, ...)
{
    long with[6];
    va_list arguments;

    va_start(arguments, number);
    for (size_t i = 0; i < 6; i++)
        with[i] = va_arg(arguments, long);
    va_end(arguments);
    switch (number) {
    case SYS_io_setup:
        return setup(with);
    case SYS_io_destroy:
        return destroy(with);
    case SYS_io_submit:
        return submit(with);
    case SYS_io_getevents:
        return hear(with);
    default:
        return pass(number, with);
    }
}
