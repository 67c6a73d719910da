/* A zygote without an engine: what it makes of a request, and what its slots have and have not. */
#include <criterion/criterion.h>

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fork.h"
#include "zygote.h"
#include "zygote_wire.h"

#define SLOT_EXIT 7

/* What a slot finds when it looks around. */
struct report {
    int32_t pid, uid, gid, group_count, descriptor_count, death_signal;
    bool knows_its_thread, is_dumpable, has_no_new_privileges, has_bounding_set;
    uint64_t capabilities;
};

static volatile sig_atomic_t is_told;

static void on_signal(int signal)
{
    (void)signal;
    is_told = 1;
}

static void *tell(void *arg)
{
    const pthread_t *thread = arg;
    (void)pthread_kill(*thread, SIGUSR1);
    return NULL;
}

/* As the engine's profiler does: another thread stops this one by what the C library knows of it.
 */
static bool knows_its_thread(void)
{
    pthread_t self = pthread_self(), other;
    (void)signal(SIGUSR1, on_signal);
    if (pthread_create(&other, NULL, tell, &self) != 0) {
        return false;
    }
    (void)pthread_join(other, NULL);
    return is_told != 0;
}

static int32_t count_descriptors(void)
{
    int32_t count = -1; /* its own */
    DIR *folder = opendir("/proc/self/fd");
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        count += entry->d_name[0] != '.';
    }
    (void)closedir(folder);
    return count;
}

static uint64_t capabilities(const char *name)
{
    char line[256];
    uint64_t mask = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            mask = strtoull(line + strlen(name), NULL, 16);
        }
    }
    (void)fclose(file);
    return mask;
}

static _Noreturn void be_slot(void)
{
    int death_signal = 0;
    char byte;
    (void)prctl(PR_GET_PDEATHSIG, &death_signal);
    const struct report report = { .pid = getpid(),
                                   .uid = (int32_t)getuid(),
                                   .gid = (int32_t)getgid(),
                                   .group_count = getgroups(0, NULL),
                                   .descriptor_count = count_descriptors(),
                                   .death_signal = death_signal,
                                   .knows_its_thread = knows_its_thread(),
                                   .is_dumpable = prctl(PR_GET_DUMPABLE) != 0,
                                   .has_no_new_privileges =
                                       prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1,
                                   .has_bounding_set = capabilities("CapBnd:") != 0,
                                   .capabilities =
                                       capabilities("CapPrm:") | capabilities("CapEff:") };
    (void)!write(3, &report, sizeof(report));
    (void)!read(3, &byte, 1); /* until the supervisor says a byte, or is gone */
    _exit(SLOT_EXIT);
}

struct world {
    int control;
    pid_t zygote;
};

static struct world start_zygote(void)
{
    int ends[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    struct world world = { .control = ends[0], .zygote = fork() };
    if (world.zygote == 0) {
        struct bb_ctx ctx = { 0 };
        (void)close(ends[0]);
        int rc = slot_zygote_serve(&ctx, ends[1]);
        if (rc == BB_OK) {
            be_slot();
        }
        _exit(rc == BB_PEER_GONE ? 0 : 1);
    }
    (void)close(ends[1]);
    return world;
}

static struct zygote_answer hear(const struct world *world)
{
    uint8_t bytes[ZYGOTE_ANSWER_BYTES];
    cr_assert_eq(recv(world->control, bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
    return zygote_get_answer(bytes);
}

static void send_request(const struct world *world, struct zygote_request request, int fd)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { .bytes = { 0 } };
    uint8_t bytes[ZYGOTE_REQUEST_BYTES];
    struct iovec data = { .iov_base = bytes, .iov_len = sizeof(bytes) };
    struct msghdr message = { .msg_iov = &data,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof(control.bytes) };
    zygote_put_request(bytes, request);
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    cr_assert_eq(sendmsg(world->control, &message, 0), (ssize_t)sizeof(bytes));
}

/* Its process, or minus the errno; our end of its socket in `socket_fd`. */
static pid_t make_slot(const struct world *world, uint32_t number, unsigned rights, int *socket_fd)
{
    int ends[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    send_request(world, (struct zygote_request){ .slot = number, .rights = rights }, ends[1]);
    (void)close(ends[1]);
    struct zygote_answer answer = hear(world);
    cr_assert_eq(answer.slot, number);
    *socket_fd = ends[0];
    return answer.pid;
}

static struct report report_of(int socket_fd)
{
    struct report report = { 0 };
    cr_assert_eq(recv(socket_fd, &report, sizeof(report), MSG_WAITALL), (ssize_t)sizeof(report));
    return report;
}

static void check_end(pid_t pid, int exit_code)
{
    int status = 0;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == exit_code, "status %x", status);
}

static void stop_zygote(struct world *world)
{
    (void)close(world->control);
    check_end(world->zygote, 0);
}

Test(zygote, makes_slots_that_are_children_of_its_supervisor)
{
    struct world world = start_zygote();
    cr_assert_eq(hear(&world).slot, ZYGOTE_IS_UP);
    for (uint32_t number = 0; number < 5; number++) {
        int fd;
        pid_t pid = make_slot(&world, number, 0, &fd);
        cr_assert_gt(pid, 0);
        struct report report = report_of(fd);
        cr_assert_eq(report.pid, pid);
        cr_assert(report.knows_its_thread);
        cr_assert_not(report.is_dumpable);
        cr_assert_eq(report.descriptor_count, 4, "%d descriptors", report.descriptor_count);
        (void)close(fd);
        check_end(pid, SLOT_EXIT);
    }
    stop_zygote(&world);
}

Test(zygote, leaves_its_slots_alive_when_it_is_killed)
{
    struct world world = start_zygote();
    int fd;
    cr_assert_eq(hear(&world).slot, ZYGOTE_IS_UP);
    pid_t pid = make_slot(&world, 1, SLOT_ENDS_WITH_PARENT, &fd);
    struct report report = report_of(fd);
    cr_assert_eq(report.death_signal, SIGKILL);
    (void)kill(world.zygote, SIGKILL);
    (void)waitpid(world.zygote, NULL, 0);
    cr_assert_eq(write(fd, "", 1), 1);
    check_end(pid, SLOT_EXIT);
}

/* The slot does not read its socket: nobody but the kernel ends it. */
Test(zygote, slots_end_with_their_supervisor)
{
    int ends[2];
    char byte;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    pid_t supervisor = fork();
    if (supervisor == 0) {
        struct world world = start_zygote();
        (void)hear(&world);
        send_request(&world, (struct zygote_request){ .rights = SLOT_ENDS_WITH_PARENT }, ends[1]);
        _exit(hear(&world).pid > 0 && report_of(ends[0]).death_signal == SIGKILL ? 0 : 1);
    }
    (void)close(ends[1]);
    check_end(supervisor, 0);
    cr_assert_eq(recv(ends[0], &byte, 1, 0), 0);
}

Test(zygote, takes_the_rights_of_its_slots)
{
    const unsigned rights = SLOT_OWN_NAMESPACES | SLOT_NOBODY | SLOT_NO_CAPABILITIES |
                            SLOT_NO_NEW_PRIVILEGES | SLOT_ENDS_WITH_PARENT;
    struct world world = start_zygote();
    int fd;
    cr_assert_eq(hear(&world).slot, ZYGOTE_IS_UP);
    pid_t pid = make_slot(&world, 9, rights, &fd);
    if (pid < 0) {
        stop_zygote(&world);
        cr_skip_test("this machine does not let us unshare");
    }
    struct report report = report_of(fd);
    cr_assert_eq(report.pid, 1, "it is the first of its own namespace");
    cr_assert(report.uid == 65534 && report.gid == 65534 && report.group_count == 0);
    cr_assert_eq(report.capabilities, 0);
    cr_assert_not(report.has_bounding_set);
    cr_assert(report.has_no_new_privileges);
    cr_assert_eq(report.death_signal, SIGKILL);
    cr_assert(report.knows_its_thread);
    cr_assert_eq(report.descriptor_count, 4);
    (void)close(fd);
    check_end(pid, SLOT_EXIT);
    stop_zygote(&world);
}

/* What does not say which socket is no request: it ends, and another one is started. */
Test(zygote, ends_over_what_is_no_request)
{
    struct world world = start_zygote();
    cr_assert_eq(hear(&world).slot, ZYGOTE_IS_UP);
    cr_assert_eq(write(world.control, "12345678", 8), 8);
    check_end(world.zygote, 1);
    (void)close(world.control);
}
