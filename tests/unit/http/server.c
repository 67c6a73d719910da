/* The server over real loopback sockets, its loop in a thread of its own. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bb/env.h"
#include "bb/http.h"

/* A server that answers with what it was asked. */
struct host {
    struct bb_loop *loop;
    struct bb_http *http;
    struct bb_http_files *files;
    struct bb_thread *thread;
    struct bb_http_request *held;
    struct bb_http_buffer *shared;
    struct bb_http_stream *stream;
    struct bb_task task;
    struct bb_mutex *mutex;
    struct bb_cond *cond;
    int ended; /* streams */
    int gone;
    enum bb_http_end end;
    bool is_stopped, is_task_done, is_so;
    void (*work)(struct host *host);
    bool (*condition)(const struct host *host);
    struct bb_http_options options;
};

static void on_stream_end(void *arg, enum bb_http_end end)
{
    struct host *host = arg;

    bb_mutex_lock(host->mutex);
    host->ended++;
    host->end = end;
    host->stream = NULL;
    bb_cond_broadcast(host->cond);
    bb_mutex_unlock(host->mutex);
}

static void on_gone(void *arg)
{
    struct host *host = arg;

    host->gone++;
}

static void handle(void *arg, struct bb_http_request *request)
{
    struct host *host = arg;
    struct bb_slice path = bb_http_path(request);

    if (bb_slice_equal_str(path, "/hold")) {
        host->held = request;
        bb_http_on_gone(request, on_gone, host);
    } else if (bb_slice_equal_str(path, "/stream")) {
        host->stream = bb_http_stream_begin(
            request, "text/event-stream",
            &(struct bb_http_stream_events){ .on_end = on_stream_end, .arg = host });
    } else if (bb_slice_equal_str(path, "/shared")) {
        bb_http_respond_shared(request, 200, "text/plain", BB_SLICE_EMPTY, bb_slice_str("<"),
                               host->shared, bb_slice_str(">"));
    } else if (bb_slice_equal_str(path, "/big")) {
        struct bb_buf body = { 0 };

        memset(bb_buf_reserve(&body, 3 << 20), 'b', 3 << 20);
        body.size = 3 << 20;
        bb_http_respond(request, 200, "text/plain", BB_SLICE_EMPTY, bb_buf_slice(&body));
        bb_buf_fini(&body);
    } else if (host->files != NULL) {
        bb_http_files_serve(host->files, request);
    } else {
        struct bb_buf body = { 0 };

        bb_buf_printf(&body, "%.*s %.*s [%.*s]", BB_SLICE_ARG(bb_http_method_name(request)),
                      BB_SLICE_ARG(path), BB_SLICE_ARG(bb_http_body(request)));
        bb_http_respond(request, 200, "text/plain", BB_SLICE_EMPTY, bb_buf_slice(&body));
        bb_buf_fini(&body);
    }
}

static bool accepts_brotli(void *arg, struct bb_slice path)
{
    (void)arg;
    return bb_slice_equal_str(path, "/deploy");
}

static void run(void *arg)
{
    struct host *host = arg;

    bb_loop_run(host->loop);
}

static void on_stopped(void *arg)
{
    struct host *host = arg;

    host->is_stopped = true;
    bb_loop_stop(host->loop);
}

static void run_task(struct bb_task *task)
{
    struct host *host = bb_container(task, struct host, task);

    host->work(host);
    bb_mutex_lock(host->mutex);
    host->is_task_done = true;
    bb_cond_broadcast(host->cond);
    bb_mutex_unlock(host->mutex);
}

/* Do something on the server's thread and wait for it. */
static void on_owner(struct host *host, void (*work)(struct host *host))
{
    host->work = work;
    host->task.run = run_task;
    host->is_task_done = false;
    bb_loop_post(host->loop, &host->task);
    bb_mutex_lock(host->mutex);
    while (!host->is_task_done)
        bb_cond_wait(host->cond, host->mutex);
    bb_mutex_unlock(host->mutex);
}

static void look(struct host *host)
{
    host->is_so = host->condition(host);
}

/* Until the server's thread finds it so; 20 s at most. */
static void await(struct host *host, bool (*condition)(const struct host *host))
{
    host->condition = condition;
    on_owner(host, look);
    for (int i = 0; i < 20000 && !host->is_so; i++) {
        usleep(1000);
        on_owner(host, look);
    }
    cr_assert(host->is_so);
}

static bool is_held(const struct host *host)
{
    return host->held != NULL;
}

static bool is_left(const struct host *host)
{
    return bb_http_is_gone(host->held);
}

static void host_start(struct host *host, const char *folder)
{
    struct bb_ctx ctx = { .env = bb_env_real() };

    host->loop = bb_loop_new(bb_env_real(), NULL, "http");
    host->mutex = bb_mutex_new();
    host->cond = bb_cond_new();
    host->options.listen = "127.0.0.1:0";
    host->options.handle = handle;
    host->options.accepts_brotli = accepts_brotli;
    host->options.arg = host;
    cr_assert_eq(bb_http_open(&ctx, host->loop, &host->options, &host->http), BB_OK, "%s",
                 ctx.error);
    if (folder != NULL)
        cr_assert_eq(bb_http_files_open(&ctx, host->loop, folder, &host->files), BB_OK);
    host->thread = bb_thread_start("http", run, host);
}

static void stop_http(struct host *host)
{
    bb_http_stop(host->http, 2000, on_stopped, host);
}

static void host_stop(struct host *host)
{
    on_owner(host, stop_http);
    bb_thread_join(host->thread);
    cr_expect(host->is_stopped);
    bb_http_close(host->http);
    bb_http_files_close(host->files);
    bb_loop_free(host->loop);
    bb_mutex_free(host->mutex);
    bb_cond_free(host->cond);
}

static int dial(const struct host *host)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(bb_http_port(host->http)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    cr_assert_geq(fd, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void put(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* What comes until the other side closes, `stop` was seen, or 3 s of silence. */
static char *get_until(int fd, const char *stop)
{
    static char text[8 << 20];
    size_t size = 0;
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

    text[0] = '\0';
    while (size < sizeof(text) - 1 && poll(&poll_fd, 1, 3000) == 1) {
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

static void expect_in(const char *text, const char *part)
{
    cr_expect(strstr(text, part) != NULL, "`%s` is missing in: %.300s", part, text);
}

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;

    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part))
        count++;
    return count;
}

static const char *once(struct host *host, const char *request)
{
    int fd = dial(host);
    const char *answer;

    put(fd, request);
    answer = get_until(fd, NULL);
    (void)close(fd);
    return answer;
}

Test(server, pipelined_requests_are_answered_in_order)
{
    struct host host = { .ended = 0 };
    int fd;
    char *answer;
    const char *a;
    const char *b;

    host_start(&host, NULL);
    fd = dial(&host);
    put(fd, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none"
            "POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n"
            "GET /c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    answer = get_until(fd, NULL);
    (void)close(fd);
    cr_expect_eq(count_of(answer, "HTTP/1.1 200 OK"), 3u, "%s", answer);
    a = strstr(answer, "POST /a [one]");
    b = strstr(answer, "POST /b [two]");
    cr_assert(a != NULL && b != NULL && strstr(b, "GET /c []") != NULL && a < b);
    host_stop(&host);
}

/* A host that answers /shared with a buffer of this size, from "start" to "end". */
static void start_sharing(struct host *host, size_t size)
{
    struct bb_buf text = { 0 };

    memset(bb_buf_reserve(&text, size), 's', size);
    text.size = size;
    memcpy(text.data, "start", 5);
    memcpy(text.data + size - 3, "end", 3);
    host->shared = bb_http_buffer_new(bb_buf_slice(&text));
    bb_buf_fini(&text);
    host_start(host, NULL);
}

/* Nobody but us holds the buffer any more. */
static void stop_sharing(struct host *host)
{
    host_stop(host);
    cr_expect_eq(host->shared->reference_count, 1u);
    bb_http_buffer_release(host->shared);
}

Test(server, shared_bytes_are_sent_in_their_place)
{
    static const size_t sizes[] = { 8, 4096, 4097, 30000, 400000 };

    for (size_t i = 0; i < BB_COUNT_OF(sizes); i++) {
        struct host host = { .ended = 0 };
        int fd;
        char length[64];
        const char *at;

        start_sharing(&host, sizes[i]);
        fd = dial(&host);
        for (int round = 0; round < 9; round++)
            put(fd, "GET /shared HTTP/1.1\r\nHost: x\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n");
        put(fd,
            "HEAD /shared HTTP/1.1\r\nHost: x\r\n\r\nGET /c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        at = get_until(fd, NULL);
        (void)close(fd);
        (void)snprintf(length, sizeof(length), "Content-Length: %zu\r\n", sizes[i] + 2);
        cr_expect_eq(count_of(at, length), 10u);
        for (int round = 0; round < 9; round++) {
            at = strstr(at, "\r\n\r\n<start");
            cr_assert_not_null(at);
            at += 5 + sizes[i];
            cr_assert_eq(strncmp(at - 3, "end>HTTP/1.1 200 OK", 19), 0);
            at = strstr(at, "GET /a []HTTP/1.1 200 OK");
            cr_assert_not_null(at);
        }
        at = strstr(at, "\r\n\r\nHTTP/1.1 200 OK");
        cr_assert(at != NULL && strstr(at, "GET /c []") != NULL);
        stop_sharing(&host);
    }
}

Test(server, shared_bytes_of_a_client_that_leaves_or_never_reads_are_let_go)
{
    struct host host = { .ended = 0 };
    int fds[4];

    start_sharing(&host, 3 << 20);
    for (size_t i = 0; i < BB_COUNT_OF(fds); i++) {
        fds[i] = dial(&host);
        put(fds[i],
            "GET /shared HTTP/1.1\r\nHost: x\r\n\r\nGET /shared HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    for (size_t i = 0; i < BB_COUNT_OF(fds); i++) {
        char some[1000];

        cr_assert_eq(recv(fds[i], some, sizeof(some), MSG_WAITALL), (ssize_t)sizeof(some));
        if (i % 2 == 0)
            (void)close(fds[i]);
    }
    expect_in(once(&host, "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), "GET /a []");
    stop_sharing(&host); /* the others are cut off */
    (void)close(fds[1]);
    (void)close(fds[3]);
}

static void answer_held(struct host *host)
{
    cr_assert_not_null(host->held);
    bb_http_respond(host->held, 200, "text/plain", BB_SLICE_EMPTY, bb_slice_str("late"));
    host->held = NULL;
}

static void check_gone(struct host *host)
{
    cr_assert_not_null(host->held);
    cr_expect(bb_http_is_gone(host->held));
    cr_expect_eq(host->gone, 1);
}

static void check_waits(struct host *host)
{
    cr_assert_not_null(host->held);
    cr_expect(!bb_http_is_gone(host->held));
    cr_expect_eq(host->gone, 0);
}

Test(server, a_slow_answer_holds_back_the_ones_after_it)
{
    struct host host = { .ended = 0 };
    int fd;
    char *answer;

    host_start(&host, NULL);
    fd = dial(&host);
    put(fd,
        "GET /hold HTTP/1.1\r\nHost: x\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    await(&host, is_held);
    on_owner(&host, answer_held);
    answer = get_until(fd, NULL);
    (void)close(fd);
    cr_assert(strstr(answer, "late") != NULL && strstr(strstr(answer, "late"), "GET /next") != NULL,
              "%s", answer);
    host_stop(&host);
}

Test(server, an_answer_to_a_client_that_left_goes_nowhere)
{
    struct host host = { .ended = 0 };
    int fd;

    host_start(&host, NULL);
    fd = dial(&host);
    put(fd, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    await(&host, is_held);
    on_owner(&host, check_waits);
    (void)close(fd);
    await(&host, is_left);
    on_owner(&host, check_gone);
    on_owner(&host, answer_held);
    expect_in(once(&host, "GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), "GET /ok");
    host_stop(&host);
}

Test(server, a_client_that_closed_its_half_counts_as_gone_and_hears_the_answer)
{
    struct host host = { .ended = 0 };
    int fd;

    host_start(&host, NULL);
    fd = dial(&host);
    put(fd, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    await(&host, is_held);
    (void)shutdown(fd, SHUT_WR);
    await(&host, is_left);
    on_owner(&host, check_gone);
    on_owner(&host, answer_held);
    expect_in(get_until(fd, NULL), "late");
    (void)close(fd);
    cr_expect_eq(host.gone, 1, "once");
    host_stop(&host);
}

Test(server, head_has_the_length_and_no_body)
{
    struct host host = { .ended = 0 };
    const char *answer;

    host_start(&host, NULL);
    answer = once(&host, "HEAD /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    expect_in(answer, "Content-Length: 10\r\n");
    cr_expect(strstr(answer, "HEAD /x") == NULL);
    host_stop(&host);
}

Test(server, keep_alive_follows_the_version)
{
    struct host host = { .ended = 0 };
    int fd;

    host_start(&host, NULL);
    expect_in(once(&host, "GET /x HTTP/1.0\r\n\r\n"), "Connection: close");
    fd = dial(&host);
    put(fd, "GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    expect_in(get_until(fd, "[]"), "Connection: keep-alive");
    put(fd, "GET /y HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_in(get_until(fd, "[]"), "GET /y");
    (void)close(fd);
    host_stop(&host);
}

Test(server, expect_100_is_answered_before_the_body)
{
    struct host host = { .ended = 0 };
    int fd;

    host_start(&host, NULL);
    fd = dial(&host);
    put(fd, "POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    expect_in(get_until(fd, "\r\n\r\n"), "HTTP/1.1 100 Continue");
    put(fd, "hi");
    expect_in(get_until(fd, "[hi]"), "200 OK");
    (void)close(fd);
    host_stop(&host);
}

Test(server, a_body_over_the_limit_is_refused_without_reading_it)
{
    struct host host = { .options.body_max = 1000 };
    int fd;
    size_t sent = 0;
    static char block[65536];

    host_start(&host, NULL);
    fd = dial(&host);
    put(fd, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 104857600\r\n\r\n");
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 400; i++) {
        ssize_t got = send(fd, block, sizeof(block), MSG_NOSIGNAL);

        if (got > 0)
            sent += (size_t)got;
        else
            usleep(1000);
    }
    cr_expect_lt(sent, (size_t)64 << 20, "all of it was read");
    expect_in(get_until(fd, "}"), "413 Content Too Large");
    (void)close(fd);
    expect_in(
        once(&host, "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n"),
        "BodyTooLarge");
    host_stop(&host);
}

Test(server, slow_heads_and_bodies_get_408)
{
    struct host host = { .options = { .header_timeout_ms = 100, .body_timeout_ms = 100 } };

    host_start(&host, NULL);
    expect_in(once(&host, "GET /x HTTP/1.1\r\nHost:"), "408 Request Timeout");
    expect_in(once(&host, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab"),
              "The body of the request");
    host_stop(&host);
}

Test(server, idle_connections_are_closed)
{
    struct host host = { .options = { .idle_timeout_ms = 100 } };

    host_start(&host, NULL);
    cr_expect_str_eq(once(&host, ""), "");
    host_stop(&host);
}

Test(server, compressed_bodies_are_refused_except_brotli_where_welcome)
{
    /* brotli of "hello" */
    static const char brotli[] =
        "POST /deploy HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Encoding: br\r\n"
        "Content-Length: 9\r\n\r\n\x0b\x02\x80hello\x03";
    struct host host = { .ended = 0 };
    int fd;

    host_start(&host, NULL);
    expect_in(
        once(&host,
             "POST /x HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"),
        "415 Unsupported Media Type");
    expect_in(
        once(&host,
             "POST /x HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx"),
        "415");
    expect_in(
        once(
            &host,
            "POST /deploy HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx"),
        "not valid brotli");
    fd = dial(&host);
    cr_assert_eq(send(fd, brotli, sizeof(brotli) - 1, 0), (ssize_t)sizeof(brotli) - 1);
    expect_in(get_until(fd, NULL), "[hello]");
    (void)close(fd);
    host_stop(&host);
}

Test(server, connections_beyond_the_limit_get_503)
{
    static const char ok[] = "GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    struct host host = { .options = { .connections_max = 2 } };
    int a;
    int b;
    const char *answer = "";

    host_start(&host, NULL);
    a = dial(&host);
    b = dial(&host);
    expect_in(once(&host, ""), "503 Service Unavailable");
    (void)close(a);
    (void)close(b);
    /* Until the server has noticed. */
    for (int i = 0; i < 1000 && strstr(answer, "200 OK") == NULL; i++) {
        int fd = dial(&host);

        (void)send(fd, ok, sizeof(ok) - 1,
                   MSG_NOSIGNAL); /* one that is refused may be closed already */
        answer = get_until(fd, NULL);
        (void)close(fd);
        usleep(1000);
    }
    expect_in(answer, "200 OK");
    host_stop(&host);
}

Test(server, large_answers_arrive_whole_and_in_order)
{
    struct host host = { .ended = 0 };
    int fd;
    char *answer;

    host_start(&host, NULL);
    fd = dial(&host);
    put(fd,
        "GET /big HTTP/1.1\r\nHost: x\r\n\r\nGET /after HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    answer = get_until(fd, NULL);
    (void)close(fd);
    cr_expect_eq(strspn(strstr(answer, "bbbb"), "b"), (size_t)3 << 20);
    expect_in(strstr(answer, "bbbb"), "GET /after []");
    host_stop(&host);
}

static void send_event(struct host *host)
{
    struct bb_http_buffer *event = bb_http_buffer_new(bb_slice_str("event: value\ndata: 1\n\n"));

    bb_http_stream_send(host->stream, event);
    bb_http_buffer_release(event);
}

static void close_stream(struct host *host)
{
    if (host->stream != NULL)
        bb_http_stream_close(host->stream);
}

static bool wait_ended(struct host *host, uint32_t limit_ms)
{
    bool ended;

    bb_mutex_lock(host->mutex);
    while (host->ended == 0 && bb_cond_wait_ms(host->cond, host->mutex, limit_ms))
        ;
    ended = host->ended > 0;
    bb_mutex_unlock(host->mutex);
    return ended;
}

Test(stream, the_head_comes_at_once_and_events_follow)
{
    struct host host = { .ended = 0 };
    int fd;
    char *text;

    host_start(&host, NULL);
    fd = dial(&host);
    put(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    text = get_until(fd, "\r\n\r\n");
    expect_in(text, "Content-Type: text/event-stream");
    expect_in(text, "X-Accel-Buffering: no");
    cr_expect(strstr(text, "Content-Length") == NULL);
    on_owner(&host, send_event);
    expect_in(get_until(fd, "\n\n"), "data: 1");
    on_owner(&host, close_stream);
    cr_expect_str_eq(get_until(fd, NULL), "");
    cr_expect(wait_ended(&host, 1000));
    cr_expect_eq(host.end, BB_HTTP_END_OURS);
    (void)close(fd);
    host_stop(&host);
}

Test(stream, a_client_that_leaves_is_noticed_without_writing)
{
    struct host host = { .ended = 0 };
    int fd;

    host_start(&host, NULL);
    fd = dial(&host);
    put(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    (void)get_until(fd, "\r\n\r\n");
    (void)close(fd);
    cr_expect(wait_ended(&host, 1000));
    cr_expect_eq(host.end, BB_HTTP_END_GONE);
    host_stop(&host);
}

static void flood(struct host *host)
{
    struct bb_buf bytes = { 0 };
    struct bb_http_buffer *event;

    memset(bb_buf_reserve(&bytes, 100000), 'e', 100000);
    bytes.size = 100000;
    event = bb_http_buffer_new(bb_buf_slice(&bytes));
    for (int i = 0; i < 100 && host->stream != NULL; i++)
        bb_http_stream_send(host->stream, event);
    bb_http_buffer_release(event);
    bb_buf_fini(&bytes);
}

Test(stream, a_stuck_reader_is_dropped_when_its_queue_is_full)
{
    struct host host = { .ended = 0 };
    int fd;

    host_start(&host, NULL);
    fd = dial(&host);
    put(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    (void)get_until(fd, "\r\n\r\n");
    on_owner(&host, flood);
    cr_expect(wait_ended(&host, 1000));
    cr_expect_eq(host.end, BB_HTTP_END_FULL);
    (void)close(fd);
    host_stop(&host);
}

static void send_blocking(struct host *host)
{
    struct bb_buf bytes = { 0 };
    struct bb_http_buffer *event;

    memset(bb_buf_reserve(&bytes, 8 << 20), 'e', 8 << 20);
    bytes.size = 8 << 20;
    event = bb_http_buffer_new(bb_buf_slice(&bytes));
    bb_http_stream_send(host->stream, event);
    bb_http_buffer_release(event);
    bb_buf_fini(&bytes);
}

Test(stream, a_reader_that_takes_nothing_for_too_long_is_dropped)
{
    struct host host = { .options = { .stall_timeout_ms = 300 } };
    int fd;

    host_start(&host, NULL);
    fd = dial(&host);
    put(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    (void)get_until(fd, "\r\n\r\n");
    on_owner(&host, send_blocking);
    cr_expect(wait_ended(&host, 4000));
    cr_expect_eq(host.end, BB_HTTP_END_STUCK);
    (void)close(fd);
    host_stop(&host);
}

Test(server, an_address_in_use_is_named)
{
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct host host = { .ended = 0 };
    struct bb_http *other = NULL;
    struct bb_loop *loop;
    char address[32];

    host_start(&host, NULL);
    loop = bb_loop_new(bb_env_real(), NULL, "other");
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", (unsigned)bb_http_port(host.http));
    host.options.listen = address;
    cr_expect_eq(bb_http_open(&ctx, loop, &host.options, &other), BB_ADDRESS_IN_USE);
    expect_in(ctx.error, address);
    host.options.listen = "nonsense";
    cr_expect_eq(bb_http_open(&ctx, loop, &host.options, &other), BB_BAD_REQUEST);
    bb_loop_free(loop);
    host_stop(&host);
}

Test(files, are_served_safely)
{
    char folder[] = "/tmp/bb-http-XXXXXX";
    char command[512];
    struct host host = { .ended = 0 };
    const char *answer;
    char etag[64] = "";
    char request[256];

    cr_assert_not_null(mkdtemp(folder));
    (void)snprintf(
        command, sizeof(command),
        "cd %s && mkdir sub && echo '<p>hi' > index.html && echo sub > sub/index.html && echo x > .secret "
        "&& echo 'let a' > a.js && ln -s /etc/passwd link && echo y > 'b c.txt'",
        folder);
    cr_assert_eq(system(command), 0);
    host_start(&host, folder);
#define GET(path) once(&host, "GET " path " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = GET("/");
    expect_in(answer, "<p>hi");
    expect_in(answer, "text/html");
    cr_assert_not_null(strstr(answer, "ETag: "));
    (void)snprintf(etag, sizeof(etag), "%.18s", strstr(answer, "ETag: ") + 6);
    (void)snprintf(request, sizeof(request),
                   "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIf-None-Match: %s\r\n\r\n",
                   etag);
    expect_in(once(&host, request), "304 Not Modified");
    expect_in(GET("/a.js"), "text/javascript");
    expect_in(GET("/sub/"), "sub");
    expect_in(GET("/b%20c.txt"), "y");
    expect_in(GET("/.secret"), "404 Not Found");
    expect_in(GET("/../etc/passwd"), "404 Not Found");
    expect_in(GET("/%2e%2e/%2e%2e/etc/passwd"), "404 Not Found");
    expect_in(GET("/sub/..%2f..%2f..%2fetc/passwd"), "404 Not Found");
    expect_in(GET("/link"), "404 Not Found");
    expect_in(GET("/sub"), "404 Not Found");
    expect_in(GET("/none"), "404 Not Found");
    expect_in(GET("/%zz"), "400 Bad Request");
    host_stop(&host);
    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    cr_expect_eq(system(command), 0);
}
