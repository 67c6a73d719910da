#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "suite.h"

#include "port.h"

/* ---- start and stop ---- */

static void run(void *arg)
{
    struct suite *suite = arg;

    bb_loop_run(suite->loop);
}

static void run_task(struct bb_task *task)
{
    struct suite *suite = bb_container(task, struct suite, task);

    suite->work(suite);
    bb_mutex_lock(suite->mutex);
    suite->is_task_done = true;
    bb_cond_signal(suite->cond);
    bb_mutex_unlock(suite->mutex);
}

void on_owner(struct suite *suite, void (*work)(struct suite *suite))
{
    suite->work = work;
    suite->task.run = run_task;
    suite->is_task_done = false;
    bb_loop_post(suite->loop, &suite->task);
    bb_mutex_lock(suite->mutex);
    while (!suite->is_task_done)
        bb_cond_wait(suite->cond, suite->mutex);
    bb_mutex_unlock(suite->mutex);
}

static void on_event(void *arg, enum bb_service_state state)
{
    struct suite *suite = arg;

    if (state == BB_SERVICE_READY)
        suite->is_ready = true;
}

void suite_start_with(struct suite *suite, const char *workers, const char *storages)
{
    struct bb_ctx ctx = { .env = bb_env_real() };
    const struct bb_option *const tables[] = { bb_gateway_service.options, bb_service_options,
                                               NULL };
    char listen[32];
    char name[] = "bb-gateway";
    char *argv[] = { name, NULL };

    memset(suite, 0, sizeof(*suite));
    suite->tx = 1000;
    suite->port = test_free_port();
    suite->mutex = bb_mutex_new();
    suite->cond = bb_cond_new();
    suite->loop = bb_loop_new(bb_env_real(), NULL, "suite");
    open_worker(suite);
    cr_assert_eq(bb_server_open(&ctx, suite->loop,
                                &(struct bb_server_options){ .url = "inproc://test-hung",
                                                             .handle = handle_hung,
                                                             .arg = suite },
                                &suite->hung),
                 BB_OK);
    cr_assert_eq(bb_server_open(&ctx, suite->loop,
                                &(struct bb_server_options){ .url = "inproc://test-storage",
                                                             .handle = handle_storage,
                                                             .arg = suite },
                                &suite->storage),
                 BB_OK);
    cr_assert_eq(bb_server_open(&ctx, suite->loop,
                                &(struct bb_server_options){ .url = "inproc://test-second",
                                                             .handle = handle_second,
                                                             .arg = suite },
                                &suite->second),
                 BB_OK);
    suite->thread = bb_thread_start("suite", run, suite);
    cr_assert_eq(bb_conf_parse(&ctx, "gateway", "", tables, 1, argv, &suite->conf), BB_OK, "%s",
                 ctx.error);
    (void)snprintf(listen, sizeof(listen), "127.0.0.1:%u", (unsigned)suite->port);
    cr_assert_eq(bb_conf_set(&ctx, suite->conf, "listen", listen), BB_OK);
    cr_assert_eq(bb_conf_set(&ctx, suite->conf, "workers", workers), BB_OK);
    cr_assert_eq(bb_conf_set(&ctx, suite->conf, "storage", storages), BB_OK);
    cr_assert_eq(bb_conf_set(&ctx, suite->conf, "admin-key", "secret"), BB_OK);
    cr_assert_eq(bb_service_start(&ctx, &bb_gateway_service, suite->conf, bb_env_real(), NULL,
                                  on_event, suite, &suite->service),
                 BB_OK, "%s", ctx.error);
    for (int i = 0; i < 2000 && !suite->is_ready; i++)
        usleep(10000);
    cr_assert(suite->is_ready);
}

void suite_start(struct suite *suite)
{
    suite_start_with(suite, "inproc://test-worker", "inproc://test-storage");
}

static void answer_tail(struct suite *suite)
{
    reply_tail(suite, NULL);
}

void suite_stop(struct suite *suite)
{
    bb_service_stop(suite->service);
    bb_service_join(suite->service);
    bb_conf_free(suite->conf);
    on_owner(suite, answer_tail);
    bb_loop_stop(suite->loop);
    bb_thread_join(suite->thread);
    bb_server_close(suite->worker);
    bb_server_close(suite->storage);
    bb_server_close(suite->second);
    bb_server_close(suite->hung);
    bb_loop_free(suite->loop);
    bb_mutex_free(suite->mutex);
    bb_cond_free(suite->cond);
}

/* ---- the client ---- */

int dial(const struct suite *suite)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(suite->port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

const char *get_until(int fd, const char *stop)
{
    static char text[65536];
    size_t size = 0;
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

    text[0] = '\0';
    while (size < sizeof(text) - 1 && poll(&poll_fd, 1, 8000) == 1) {
        ssize_t got = recv(fd, text + size, sizeof(text) - 1 - size, 0);

        if (got <= 0)
            break;
        size += (size_t)got;
        text[size] = '\0';
        if (stop != NULL && strstr(text, stop) != NULL)
            break;
    }
    return text;
}

const char *ask(const struct suite *suite, const char *line, const char *headers, const char *body)
{
    char request[4096];
    int fd = dial(suite);
    const char *answer;

    (void)snprintf(request, sizeof(request),
                   "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n%s",
                   line, headers, strlen(body), body);
    cr_assert_eq(send(fd, request, strlen(request), 0), (ssize_t)strlen(request));
    answer = get_until(fd, NULL);
    (void)close(fd);
    return answer;
}

void expect_in(const char *text, const char *part)
{
    cr_expect(strstr(text, part) != NULL, "`%s` is missing in: %.600s", part, text);
}
