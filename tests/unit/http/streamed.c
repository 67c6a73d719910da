/* Bodies that are taken as they come, and responses that are sent as they come. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bb/env.h"
#include "bb/http.h"

#define HIGH_WATER (256u << 10)

/* What one request became. */
struct work {
    struct host *host;
    struct bb_http_request *request;
    struct bb_http_stream *stream;
    size_t count;
    bool is_echo, has_body_ended;
};

struct host {
    struct bb_loop *loop;
    struct bb_http *http;
    struct bb_thread *thread;
    struct work work;
    struct bb_task task;
    struct bb_mutex *mutex;
    struct bb_cond *cond;
    size_t queued_max; /* bytes that waited for a client */
    int whole, broken, gone, ended;
    bool is_pausing; /* the body is never resumed */
};

static void on_sent(void *arg)
{
    struct work *work = arg;

    if (work->request != NULL)
        bb_http_body_pause(work->request, false);
}

static void on_stream_end(void *arg, enum bb_http_end end)
{
    struct work *work = arg;

    (void)end;
    work->stream = NULL;
    work->host->ended++;
}

static void on_data(void *arg, struct bb_slice bytes)
{
    struct work *work = arg;
    size_t queued;

    work->count += bytes.size;
    if (work->host->is_pausing) {
        bb_http_body_pause(work->request, true);
        return;
    }
    if (work->stream == NULL)
        return;
    bb_http_response_send(work->stream, bytes);
    (void)bb_http_stream_queued(work->stream, &queued);
    if (queued > work->host->queued_max)
        work->host->queued_max = queued;
    if (queued > HIGH_WATER)
        bb_http_body_pause(work->request, true);
}

static void on_body_end(void *arg, bool is_whole)
{
    struct work *work = arg;
    struct bb_http_request *request = work->request;
    char text[64];

    work->request = NULL;
    *(is_whole ? &work->host->whole : &work->host->broken) += 1;
    if (work->is_echo && work->stream != NULL) {
        bb_http_response_end(work->stream);
    } else if (!work->is_echo) {
        (void)snprintf(text, sizeof text, "%zu bytes", work->count);
        bb_http_respond(request, 200, "text/plain", BB_SLICE_EMPTY, bb_slice_str(text));
    }
}

static void on_gone(void *arg)
{
    ((struct host *)arg)->gone++;
}

static void handle(void *arg, struct bb_http_request *request)
{
    struct host *host = arg;
    struct work *work = &host->work;
    struct bb_slice path = bb_http_path(request);
    const struct bb_http_stream_events events = { .on_end = on_stream_end,
                                                  .on_sent = on_sent,
                                                  .arg = work };

    *work = (struct work){ .host = host, .request = request };
    work->is_echo = bb_slice_equal_str(path, "/echo");
    if (bb_slice_equal_str(path, "/no")) {
        work->request = NULL;
        bb_http_respond(request, 403, "text/plain", BB_SLICE_EMPTY, bb_slice_str("never"));
        return;
    }
    if (!bb_http_body_is_open(request)) {
        /* A response of three parts. */
        work->request = NULL;
        work->stream =
            bb_http_response_begin(request, 201, bb_slice_str("Content-Type: text/x\r\n"),
                                   bb_slice_equal_str(path, "/known") ? 9 : -1, &events);
        for (int i = 0; i < 3 && work->stream != NULL; i++)
            bb_http_response_send(work->stream, bb_slice_str("abc"));
        if (bb_slice_equal_str(path, "/cut")) {
            bb_http_stream_close(work->stream);
        } else if (work->stream != NULL) {
            bb_http_response_end(work->stream);
        }
        return;
    }
    if (work->is_echo) {
        work->stream = bb_http_response_begin(request, 200, BB_SLICE_EMPTY, -1, &events);
    } else {
        bb_http_on_gone(request, on_gone, host);
    }
    bb_http_body_begin(request, &(struct bb_http_body_events){
                                    .on_data = on_data, .on_end = on_body_end, .arg = work });
}

static bool wants_stream(void *arg, const struct bb_http_request *request)
{
    (void)arg;
    return !bb_slice_equal_str(bb_http_path(request), "/whole");
}

static void run(void *arg)
{
    bb_loop_run(((struct host *)arg)->loop);
}

static void on_stopped(void *arg)
{
    bb_loop_stop(((struct host *)arg)->loop);
}

static void stop_http(struct bb_task *task)
{
    struct host *host = bb_container(task, struct host, task);

    bb_http_stop(host->http, 2000, on_stopped, host);
}

static void host_start(struct host *host)
{
    const struct bb_http_options options = { .listen = "127.0.0.1:0",
                                             .handle = handle,
                                             .body_max = 1000,
                                             .wants_stream = wants_stream,
                                             .arg = host };
    struct bb_ctx ctx = { .env = bb_env_real() };

    host->loop = bb_loop_new(bb_env_real(), NULL, "http");
    cr_assert_eq(bb_http_open(&ctx, host->loop, &options, &host->http), BB_OK, "%s", ctx.error);
    host->thread = bb_thread_start("http", run, host);
}

static void host_stop(struct host *host)
{
    host->task.run = stop_http;
    bb_loop_post(host->loop, &host->task);
    bb_thread_join(host->thread);
    bb_http_close(host->http);
    bb_loop_free(host->loop);
}

/* Until the server's thread has counted that many; 20 s at most. */
static void await(const int *count, int wanted)
{
    for (int i = 0; i < 20000 && __atomic_load_n(count, __ATOMIC_ACQUIRE) < wanted; i++)
        usleep(1000);
    cr_assert_geq(__atomic_load_n(count, __ATOMIC_ACQUIRE), wanted);
}

static int dial(const struct host *host)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(bb_http_port(host->http)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void put(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static const char *get_all(int fd)
{
    static char text[1 << 20];
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
    size_t size = 0;

    while (size < sizeof(text) - 1 && poll(&poll_fd, 1, 5000) == 1) {
        ssize_t got = recv(fd, text + size, sizeof(text) - 1 - size, 0);
        if (got <= 0)
            break;
        size += (size_t)got;
    }
    text[size] = '\0';
    return text;
}

static void expect_in(const char *text, const char *part)
{
    cr_expect(strstr(text, part) != NULL, "`%s` is missing in: %.300s", part, text);
}

static const char *once(struct host *host, const char *request)
{
    int fd = dial(host);

    put(fd, request);
    const char *answer = get_all(fd);
    (void)close(fd);
    return answer;
}

Test(streamed, a_response_is_chunked_or_has_its_length)
{
    struct host host = { 0 };

    host_start(&host);
    const char *answer = once(&host, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_in(answer, "HTTP/1.1 201 Created\r\nContent-Type: text/x\r\nTransfer-Encoding: chunked");
    expect_in(answer, "\r\n\r\n3\r\nabc\r\n3\r\nabc\r\n3\r\nabc\r\n0\r\n\r\n");
    answer = once(&host, "GET /known HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_in(answer, "Content-Length: 9\r\n");
    expect_in(answer, "\r\n\r\nabcabcabc");
    answer = once(&host, "GET /x HTTP/1.0\r\n\r\n");
    expect_in(answer, "\r\n\r\nabcabcabc");
    cr_expect_null(strstr(answer, "chunked"));
    answer = once(&host, "HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_expect_null(strstr(answer, "abc"));
    answer = once(&host, "GET /cut HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_in(answer, "3\r\nabc\r\n");
    cr_expect_null(strstr(answer, "\r\n0\r\n\r\n"), "a client must see that it is cut off");
    host_stop(&host);
    cr_expect_eq(host.ended, 5);
}

Test(streamed, bodies_of_both_framings_arrive_whole_and_the_connection_goes_on)
{
    struct host host = { 0 };
    int fd;

    host_start(&host);
    fd = dial(&host);
    put(fd, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe");
    usleep(30000);
    put(fd,
        "lloPOST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n4;x=y\r\nmo");
    usleep(30000);
    put(fd, "re\r\n0\r\n\r\nPOST /whole HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n");
    const char *answer = get_all(fd);
    (void)close(fd);
    expect_in(answer, "5 bytes");
    expect_in(answer, "7 bytes");
    expect_in(answer, "413 Content Too Large"); /* where it is not taken as it comes */
    host_stop(&host);
    cr_expect_eq(host.whole, 2);
}

/* 32 MB through a server whose client reads late: memory stays bounded, all arrives. */
Test(streamed, an_echo_holds_back_who_sends_when_nobody_reads, .timeout = 60)
{
    enum {
        TOTAL = 32 << 20,
        PIECE = 100000
    };
    static uint8_t piece[PIECE];
    static uint8_t got[1 << 16];
    struct host host = { 0 };
    size_t sent = 0, received = 0;
    char head[128];
    int fd;

    host_start(&host);
    fd = dial(&host);
    (void)snprintf(head, sizeof head,
                   "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", TOTAL);
    put(fd, head);
    cr_assert_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    for (int idle = 0; idle < 10;) { /* until it takes no more */
        size_t size = TOTAL - sent < PIECE ? TOTAL - sent : PIECE;
        ssize_t done = size == 0 ? -1 : send(fd, piece, size, MSG_NOSIGNAL);
        sent += done > 0 ? (size_t)done : 0;
        idle = done > 0 ? 0 : idle + 1;
        if (done <= 0)
            usleep(20000);
    }
    cr_expect_lt(sent, (size_t)TOTAL, "who does not read cannot send for ever");
    for (bool is_open = true; is_open;) {
        struct pollfd poll_fd = { .fd = fd,
                                  .events = (short)(POLLIN | (sent < TOTAL ? POLLOUT : 0)) };
        cr_assert_eq(poll(&poll_fd, 1, 10000), 1, "after %zu of %zu bytes", received, sent);
        if ((poll_fd.revents & POLLOUT) != 0) {
            size_t size = TOTAL - sent < PIECE ? TOTAL - sent : PIECE;
            ssize_t done = send(fd, piece, size, MSG_NOSIGNAL);
            sent += done > 0 ? (size_t)done : 0;
        }
        if ((poll_fd.revents & (POLLIN | POLLHUP)) != 0) {
            ssize_t done = recv(fd, got, sizeof got, 0);
            is_open = done > 0;
            received += done > 0 ? (size_t)done : 0;
        }
    }
    (void)close(fd);
    cr_expect_gt(received, (size_t)TOTAL, "with the frames of the chunks");
    host_stop(&host);
    cr_expect_eq(host.whole, 1);
    cr_expect_lt(host.queued_max, (size_t)HIGH_WATER + (128u << 10));
}

Test(streamed, an_answer_before_the_body_is_read_arrives)
{
    static char much[1 << 20];
    struct host host = { 0 };
    int fd;

    host_start(&host);
    fd = dial(&host);
    put(fd, "POST /no HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n");
    memset(much, 'x', sizeof much - 1);
    put(fd, much);
    expect_in(get_all(fd), "403 Forbidden");
    (void)close(fd);
    host_stop(&host);
}

Test(streamed, a_client_that_leaves_or_breaks_the_framing_ends_the_body)
{
    static const char *const bad[] = {
        "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
        "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
    };
    struct host host = { 0 };

    host_start(&host);
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        int fd = dial(&host);
        put(fd, bad[i]);
        usleep(30000);
        (void)close(fd);
        await(&host.broken, (int)i + 1);
    }
    await(&host.ended, 1);
    host_stop(&host);
    cr_expect_eq(host.broken, 3);
    cr_expect_eq(host.whole, 0);
    cr_expect_eq(host.ended, 1, "the stream of the echo");
}

Test(streamed, a_client_that_leaves_while_it_is_held_back_is_noticed_or_harmless)
{
    static char much[600000];
    struct host host = { .is_pausing = true };
    int fd;

    host_start(&host);
    fd = dial(&host);
    put(fd, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n");
    memset(much, 'x', sizeof much - 1);
    (void)send(fd, much, sizeof much - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    usleep(50000);
    (void)close(fd);
    usleep(50000);
    host_stop(&host);
    cr_expect_leq(host.work.count, (size_t)(192u << 10));
}
