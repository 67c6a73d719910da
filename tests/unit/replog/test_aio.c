/* The kernel's contexts for asynchronous writes, as libraft gets them. */
#include <criterion/criterion.h>

#include <dlfcn.h>
#include <errno.h>
#include <linux/aio_abi.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "replog_internal.h"

static aio_context_t make(unsigned size)
{
    aio_context_t id = 0;

    cr_assert_eq(syscall(SYS_io_setup, size, &id), 0);
    cr_assert_neq(id, 0);
    return id;
}

static void write_to(aio_context_t id, int fd, struct iocb *write)
{
    static const char bytes[8] = "content";

    *write = (struct iocb){ .aio_lio_opcode = IOCB_CMD_PWRITE,
                            .aio_fildes = (uint32_t)fd,
                            .aio_buf = (uint64_t)(uintptr_t)bytes,
                            .aio_nbytes = sizeof bytes };
    cr_assert_eq(syscall(SYS_io_submit, id, 1L, &write), 1);
}

static long hear(aio_context_t id)
{
    struct io_event events[4];

    return syscall(SYS_io_getevents, id, 1L, 4L, events, NULL);
}

static int make_file(void)
{
    char name[] = "/tmp/bb-aio-XXXXXX";
    int fd = mkstemp(name);

    cr_assert_geq(fd, 0);
    cr_assert_eq(unlink(name), 0);
    return fd;
}

Test(replog, a_context_whose_writes_are_done_is_used_again)
{
    int fd = make_file();
    struct iocb write;
    aio_context_t first = make(1), other;

    for (int i = 0; i < 3; i++) {
        write_to(first, fd, &write);
        cr_assert_eq(hear(first), 1);
        cr_assert_eq(syscall(SYS_io_destroy, first), 0);
        other = make(2); /* of another size */
        cr_assert_neq(other, first);
        cr_assert_eq(syscall(SYS_io_destroy, other), 0);
        cr_assert_eq(make(1), first);
    }
    write_to(first, fd, &write); /* it is a living one */
    cr_assert_eq(hear(first), 1);
    (void)close(fd);
}

/* Its event would come to whoever has the context next. */
Test(replog, a_context_with_a_write_under_way_is_destroyed)
{
    int fd = make_file();
    struct iocb write;
    aio_context_t id = make(1);

    write_to(id, fd, &write);
    cr_assert_eq(syscall(SYS_io_destroy, id), 0);
    cr_assert_eq(hear(id), -1);
    cr_assert_eq(syscall(SYS_io_destroy, id), -1);
    (void)close(fd);
}

Test(replog, few_contexts_are_kept)
{
    aio_context_t ids[12];
    size_t alive = 0;

    for (size_t i = 0; i < 12; i++)
        ids[i] = make(1);
    for (size_t i = 0; i < 12; i++)
        cr_assert_eq(syscall(SYS_io_destroy, ids[i]), 0);
    for (size_t i = 0; i < 12; i++) {
        struct io_event event;
        struct timespec now = { 0, 0 };
        alive += syscall(SYS_io_getevents, ids[i], 0L, 1L, &event, &now) == 0;
    }
    cr_assert_eq(alive, 4);
}

Test(replog, other_calls_to_the_kernel_pass)
{
    cr_assert_eq(syscall(SYS_getpid), getpid());
    cr_assert_eq(syscall(SYS_close, -1L), -1);
    cr_assert_eq(errno, EBADF);
}

/* Else libraft would go on to call the one of libc. */
Test(replog, libraft_finds_the_program_s_way_to_the_kernel)
{
    union {
        void *object;
        long (*function)(long number, ...);
    } found = { .object = dlsym(RTLD_DEFAULT, "syscall") };

    replog_aio_start();
    cr_assert_eq(found.function, syscall);
    cr_assert_neq(found.object, dlsym(RTLD_NEXT, "syscall"));
}
