#include <criterion/criterion.h>

#include "bb/env.h"
#include "bb/rt.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "port.h"

struct small {
    struct bb_service *service;
    struct bb_timer *timer;
    bool is_closed;
};

/* Not freed with their services, so that a late look at one is seen. */
static struct small smalls[4];
static atomic_int small_count;
static atomic_int late_hooks; /* of services that were closed */

static void on_batch(void *arg)
{
    if (((struct small *)arg)->is_closed)
        atomic_fetch_add(&late_hooks, 1);
}

static void on_ready(void *arg)
{
    bb_service_ready(((struct small *)arg)->service);
}

static int small_start(struct bb_ctx *ctx, struct bb_service *service, void **state)
{
    if (bb_conf_bool(bb_service_conf(service), "broken"))
        return bb_fail(ctx, BB_NO_SPACE, "there is no room");
    struct small *small = &smalls[atomic_fetch_add(&small_count, 1)];
    small->service = service;
    small->timer = bb_timer_new(bb_service_loop(service), on_ready, small);
    bb_timer_start(small->timer, 50, 0);
    bb_loop_on_batch(bb_service_loop(service), on_batch, small);
    bb_service_not_ready(service, "still thinking");
    *state = small;
    return BB_OK;
}

static void small_stop(struct bb_service *service, void *state)
{
    (void)state;
    bb_service_stopped(service);
}

static void small_close(struct bb_service *service, void *state)
{
    struct small *small = state;

    (void)service;
    bb_timer_free(small->timer);
    small->is_closed = true;
}

static const struct bb_option small_options[] = {
    { "broken", BB_OPTION_BOOL, "false", 0, 0, NULL, "Does not start." },
    { NULL, BB_OPTION_TEXT, NULL, 0, 0, NULL, NULL },
};
static const struct bb_service_def small_def = { .name = "small",
                                                 .summary = "A test.",
                                                 .options = small_options,
                                                 .start = small_start,
                                                 .stop = small_stop,
                                                 .close = small_close };

struct run {
    struct bb_ctx ctx;
    struct bb_conf *conf;
    struct bb_service *service;
    atomic_int ready, stopped;
    unsigned port;
};

static void on_event(void *arg, enum bb_service_state state)
{
    struct run *run = arg;

    if (state == BB_SERVICE_READY)
        atomic_fetch_add(&run->ready, 1);
    if (state == BB_SERVICE_STOPPED)
        atomic_fetch_add(&run->stopped, 1);
}

static void run_prepare(struct run *run, const char *admin, bool is_broken)
{
    static char program[] = "small";
    char *argv[] = { program, NULL };
    const struct bb_option *const tables[] = { small_options, bb_service_options, NULL };

    *run = (struct run){ .ctx = { .env = bb_env_real() } };
    cr_assert_eq(bb_conf_parse(&run->ctx, "small", "", tables, 1, argv, &run->conf), BB_OK);
    cr_assert_eq(bb_conf_set(&run->ctx, run->conf, "admin-listen", admin), BB_OK);
    cr_assert_eq(bb_conf_set(&run->ctx, run->conf, "broken", is_broken ? "true" : "false"), BB_OK);
}

static int run_start(struct run *run, const char *admin, bool is_broken)
{
    run_prepare(run, admin, is_broken);
    return bb_service_start(&run->ctx, &small_def, run->conf, run->ctx.env, NULL, on_event, run,
                            &run->service);
}

static int run_start_beside(struct run *run, const struct run *other, bool is_broken)
{
    run_prepare(run, "off", is_broken);
    return bb_service_start_beside(&run->ctx, other->service, &small_def, run->conf, on_event, run,
                                   &run->service);
}

static void run_end(struct run *run)
{
    bb_service_stop(run->service);
    bb_service_join(run->service);
    bb_conf_free(run->conf);
}

struct question {
    struct bb_task task;
    const struct bb_loop *other;
    atomic_int answer; /* 1: the same thread, 2: another one */
};

static void ask(struct bb_task *task)
{
    struct question *question = bb_container(task, struct question, task);

    atomic_store(&question->answer, bb_loop_is_owner(question->other) ? 1 : 2);
}

static bool share_a_thread(const struct run *a, const struct run *b)
{
    struct question question = { .task = { .run = ask }, .other = bb_service_loop(b->service) };

    bb_loop_post(bb_service_loop(a->service), &question.task);
    while (atomic_load(&question.answer) == 0)
        continue;
    return atomic_load(&question.answer) == 1;
}

/* Send `request` to the admin port and read all that comes. */
static void http(unsigned port, const char *request, char *reply, size_t size)
{
    struct sockaddr_in where = { .sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t fill = 0;
    ssize_t got = 0;

    cr_assert_eq(connect(fd, (const struct sockaddr *)&where, sizeof where), 0);
    (void)send(fd, request, strlen(request), MSG_NOSIGNAL);
    while (fill < size - 1 && (got = read(fd, reply + fill, size - 1 - fill)) > 0)
        fill += (size_t)got;
    reply[fill] = '\0';
    (void)close(fd);
}

static unsigned free_port(char *address, size_t size)
{
    unsigned port = test_free_port();

    (void)snprintf(address, size, "127.0.0.1:%u", port);
    return port;
}

Test(service, the_admin_port_tells_life_readiness_and_metrics, .timeout = 20)
{
    struct run run;
    char address[32];
    char reply[65536];
    char huge[10000];
    unsigned port = free_port(address, sizeof address);

    cr_assert_eq(run_start(&run, address, false), BB_OK, "%s", run.ctx.error);
    http(port, "GET /readyz HTTP/1.1\r\n\r\n", reply, sizeof reply);
    cr_assert_not_null(strstr(reply, "503"), "%s", reply);
    cr_assert_not_null(strstr(reply, "still thinking"));
    while (run.ready == 0)
        continue;
    static const struct {
        const char *request, *expected;
    } cases[] = {
        { "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK" },
        { "GET /healthz?x=1 HTTP/1.0\r\n\r\n", "200 OK" },
        { "GET /metrics HTTP/1.1\r\n\r\n", "200 OK" },
        { "GET /nothing HTTP/1.1\r\n\r\n", "404 Not Found" },
        { "POST /healthz HTTP/1.1\r\n\r\n", "405 Method" },
        { "\r\n\r\n", "400 Bad" },
        { "GET /healthz\r\n\r\n", "400 Bad" },
        { "junk junk junk\r\n\r\n", "400 Bad" },
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        http(port, cases[i].request, reply, sizeof reply);
        cr_assert_not_null(strstr(reply, cases[i].expected), "case %zu: %s", i, reply);
    }
    memset(huge, 'a', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    http(port, huge, reply, sizeof reply); /* 431, or a reset when it had more to send */
    http(port, "GET /healthz HTTP/1.1\r\n\r\n", reply, sizeof reply);
    cr_assert_not_null(strstr(reply, "200 OK"), "it goes on after junk");
    bb_service_stop(run.service);
    bb_service_join(run.service);
    cr_assert_eq(run.stopped, 1);
    bb_conf_free(run.conf);
}

Test(service, a_start_that_fails_says_why_and_leaves_nothing, .timeout = 20)
{
    struct run run;

    cr_assert_eq(run_start(&run, "off", true), BB_NO_SPACE);
    cr_assert_str_eq(run.ctx.error, "there is no room");
    cr_assert_eq(run.stopped, 0);
    bb_conf_free(run.conf);
}

Test(service, services_share_a_thread_and_each_may_end_first, .timeout = 20)
{
    struct run first;
    struct run broken;
    struct run second;
    struct run third;

    cr_assert_eq(run_start(&first, "off", false), BB_OK);
    cr_assert_eq(run_start_beside(&second, &first, false), BB_OK);
    cr_assert_eq(run_start_beside(&broken, &first, true), BB_NO_SPACE);
    cr_assert_str_eq(broken.ctx.error, "there is no room");
    bb_conf_free(broken.conf);
    cr_expect(share_a_thread(&first, &second));
    while (first.ready == 0 || second.ready == 0)
        continue;
    run_end(&first);
    cr_expect_eq(first.stopped, 1);
    cr_expect_eq(second.stopped, 0);
    cr_assert_eq(run_start_beside(&third, &second, false), BB_OK);
    cr_expect(share_a_thread(&second, &third));
    while (third.ready == 0)
        continue;
    run_end(&third);
    run_end(&second);
    cr_expect_eq(second.stopped, 1);
    cr_expect_eq(third.stopped, 1);
    cr_expect_eq(late_hooks, 0);
}

Test(service, nobody_joins_a_thread_whose_services_have_ended, .timeout = 20)
{
    struct run first;
    struct run second;
    int rc = BB_OK;

    cr_assert_eq(run_start(&first, "off", false), BB_OK);
    bb_service_stop(first.service);
    while (first.stopped == 0)
        continue;
    /* Its thread goes on for a moment, and may be joined then. */
    for (useconds_t us = 50000; rc == BB_OK && us < 5000000; us *= 3) {
        (void)usleep(us);
        rc = run_start_beside(&second, &first, false);
        if (rc == BB_OK)
            run_end(&second);
    }
    cr_assert_eq(rc, BB_UNAVAILABLE);
    cr_assert_str_eq(second.ctx.error, "the service whose thread it shares has ended");
    bb_conf_free(second.conf);
    bb_service_join(first.service);
    bb_conf_free(first.conf);
}

Test(service, an_admin_port_that_is_taken_is_a_sentence_that_says_what_to_do, .timeout = 20)
{
    struct run first;
    struct run second;
    char address[32];

    (void)free_port(address, sizeof address);
    cr_assert_eq(run_start(&first, address, false), BB_OK);
    cr_assert_eq(run_start(&second, address, false), BB_ADDRESS_IN_USE);
    cr_assert_not_null(strstr(second.ctx.error, "--admin-listen"), "%s", second.ctx.error);
    bb_service_stop(first.service);
    bb_service_join(first.service);
    bb_conf_free(first.conf);
    bb_conf_free(second.conf);
}

/* ---- as a program, in a child ---- */

static pid_t start_program(const char *option)
{
    pid_t pid = fork();

    if (pid == 0) {
        static char program[] = "small";
        static char off[] = "--admin-listen=off";
        char copy[64];
        (void)snprintf(copy, sizeof copy, "%s", option);
        char *argv[] = { program, off, copy, NULL };
        cr_assert_not_null(freopen("/dev/null", "w", stderr));
        _exit(bb_service_main(&small_def, 3, argv));
    }
    return pid;
}

static int exit_code_of(pid_t pid)
{
    int status = 0;

    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(service, a_program_ends_with_0_on_sigterm_1_when_it_cannot_start_2_on_bad_options,
     .timeout = 20)
{
    int code = -1;

    /* A program that is told before it listens ends by the signal. */
    for (useconds_t us = 200000; code == -1 && us < 8000000; us *= 3) {
        pid_t pid = start_program("--log-level=error");

        (void)usleep(us);
        cr_assert_eq(kill(pid, SIGTERM), 0);
        code = exit_code_of(pid);
    }
    cr_assert_eq(code, 0);
    cr_assert_eq(exit_code_of(start_program("--broken")), 1);
    cr_assert_eq(exit_code_of(start_program("--nonsense")), 2);
    cr_assert_eq(exit_code_of(start_program("--log-level=loud")), 2);
}
