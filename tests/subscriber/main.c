/*
 * Many subscribers in one cheap process, the same for BitBend and for what it is compared with.
 *
 * Each connection sends its greeting and then only reads; PostgreSQL's asks again when it is
 * notified, and its answer counts when it is whole. A write carries its time as "@@<us>@@" of
 * CLOCK_MONOTONIC; a subscriber that sees a newer time than before counts one delivery, and how
 * long it took. Prints "ready" when every connection has got something, and one JSON object when
 * its input is closed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bb/base.h"
#include "listener.h"

#define SAMPLES_MAX (4u << 20)
#define WRITES_MAX  (1u << 18)

struct subscriber {
    int fd;
    uint64_t newest; /* time of the newest write that it has seen */
    uint64_t number; /* being read */
    unsigned ats;    /* of "@@" that were read */
    bool is_number, has_heard;
    struct listener listener; /* of PostgreSQL */
};

struct write_seen {
    uint64_t time_us, slowest_us;
    unsigned count;
};

struct run {
    const char *mode, *path;
    unsigned port, connections, queries;
    struct subscriber *subscribers;
    unsigned heard_count;
    uint64_t ready_us; /* when all had heard; 0: not yet. Older writes are no deliveries */
    uint32_t *samples;
    size_t sample_count, delivery_count;
    struct write_seen *writes; /* by time, a ring of hash places */
    uint32_t *slowest;
    size_t slowest_count;
};

static uint64_t now_us(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_nsec / 1000u;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- what was delivered ---- */

static void note_slowest(struct run *run, uint64_t time_us, uint64_t late_us)
{
    struct write_seen *seen = &run->writes[time_us % WRITES_MAX];

    if (seen->time_us != time_us)
        *seen = (struct write_seen){ .time_us = time_us };
    if (late_us > seen->slowest_us)
        seen->slowest_us = late_us;
    if (++seen->count == run->connections && run->slowest_count < WRITES_MAX)
        run->slowest[run->slowest_count++] = (uint32_t)seen->slowest_us;
}

static void note(struct run *run, struct subscriber *subscriber, uint64_t time_us)
{
    uint64_t late_us;

    /* A list shows the newest first; the older ones in it are no news, and cost no look at the
     * clock. */
    if (time_us <= subscriber->newest)
        return;
    late_us = now_us() - time_us;
    subscriber->newest = time_us;
    if (run->ready_us == 0 || time_us < run->ready_us)
        return;
    run->delivery_count++;
    if (run->sample_count < SAMPLES_MAX)
        run->samples[run->sample_count++] = (uint32_t)late_us;
    note_slowest(run, time_us, late_us);
}

static void look(struct run *run, struct subscriber *subscriber, const char *text, size_t size)
{
    const char *end = text + size;

    while (text < end) {
        if (!subscriber->is_number && subscriber->ats == 0) {
            text = memchr(text, '@', (size_t)(end - text));
            if (text == NULL)
                return;
        }
        if (*text == '@') {
            if (subscriber->ats == 0 && subscriber->is_number) {
                note(run, subscriber, subscriber->number);
                subscriber->is_number = false;
                subscriber->ats = 0;
                text++; /* the second one closes; what follows begins anew */
                if (text < end)
                    text++;
                continue;
            }
            if (++subscriber->ats == 2) {
                subscriber->is_number = true;
                subscriber->number = 0;
                subscriber->ats = 0;
            }
        } else if (subscriber->is_number && *text >= '0' && *text <= '9') {
            subscriber->number = subscriber->number * 10 + (uint64_t)(*text - '0');
        } else {
            subscriber->is_number = false;
            subscriber->ats = 0;
        }
        text++;
    }
}

/* ---- greetings ---- */

static void greet_http(const struct run *run, unsigned index, struct bb_buf *to)
{
    struct bb_buf body = { 0 };

    if (strcmp(run->mode, "subscribe") == 0) {
        bb_buf_printf(to,
                      "GET /api/subscribe?path=%s&args=%%7B%%22key%%22%%3A%u%%7D HTTP/1.1\r\nHost: "
                      "x\r\n\r\n",
                      run->path, run->queries == 0 ? 0 : index);
        return;
    }
    bb_buf_append_str(&body, "{\"queries\":[");
    for (unsigned i = 0; i < run->queries; i++)
        bb_buf_printf(&body, "%s{\"id\":%u,\"path\":\"%s\",\"args\":{\"key\":%u}}",
                      i == 0 ? "" : ",", i, run->path, index * run->queries + i);
    bb_buf_append_str(&body, "]}");
    bb_buf_printf(to,
                  "POST /api/sync HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  "Content-Length: %zu\r\n\r\n",
                  body.size);
    bb_buf_append_slice(to, bb_buf_slice(&body));
    bb_buf_fini(&body);
}

static void greet(const struct run *run, unsigned index, struct bb_buf *to)
{
    if (strcmp(run->mode, "redis") == 0)
        bb_buf_printf(to, "*2\r\n$9\r\nSUBSCRIBE\r\n$%zu\r\n%s\r\n", strlen(run->path), run->path);
    else if (strcmp(run->mode, "postgres") == 0)
        listener_greet(to);
    else
        greet_http(run, index, to);
}

/* Empties `text`. What goes out after the greeting is so short that the socket always takes it. */
static void send_all(const struct subscriber *subscriber, struct bb_buf *text)
{
    for (size_t sent = 0; sent < text->size;) {
        ssize_t part = write(subscriber->fd, text->data + sent, text->size - sent);

        if (part < 0)
            die("write");
        sent += (size_t)part;
    }
    bb_buf_clear(text);
}

static void open_one(struct run *run, unsigned index, int poll_fd)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)run->port) };
    struct subscriber *subscriber = &run->subscribers[index];
    struct epoll_event event = { .events = EPOLLIN, .data.u32 = index };
    struct bb_buf text = { 0 };
    int one = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    subscriber->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (subscriber->fd < 0 ||
        connect(subscriber->fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
        die("connect");
    (void)setsockopt(subscriber->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    greet(run, index, &text);
    send_all(subscriber, &text);
    bb_buf_fini(&text);
    (void)fcntl(subscriber->fd, F_SETFL, O_NONBLOCK);
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, subscriber->fd, &event) != 0)
        die("epoll_ctl");
}

/* ---- the loop ---- */

static void hear(struct run *run, struct subscriber *subscriber)
{
    subscriber->has_heard = true;
    if (++run->heard_count == run->connections) {
        run->ready_us = now_us();
        (void)printf("ready\n");
        (void)fflush(stdout);
    }
}

static void read_listener(struct run *run, struct subscriber *subscriber, struct bb_slice came)
{
    static struct bb_buf out;
    struct bb_buf *rows = &subscriber->listener.rows;

    if (listener_take(&subscriber->listener, came, &out)) {
        if (!subscriber->has_heard)
            hear(run, subscriber);
        look(run, subscriber, (const char *)rows->data, rows->size);
        bb_buf_clear(rows);
    }
    send_all(subscriber, &out);
}

static void read_one(struct run *run, struct subscriber *subscriber)
{
    static char buffer[1 << 18];
    ssize_t size = read(subscriber->fd, buffer, sizeof(buffer));

    if (size == 0 || (size < 0 && errno != EAGAIN)) {
        (void)fprintf(stderr, "a subscriber was disconnected\n");
        exit(1);
    }
    if (size <= 0)
        return;
    if (strcmp(run->mode, "postgres") == 0) {
        read_listener(run, subscriber, bb_slice(buffer, (size_t)size));
        return;
    }
    if (!subscriber->has_heard && (strcmp(run->mode, "redis") == 0 ||
                                   memmem(buffer, (size_t)size, "data: {\"tx\"", 11) != NULL ||
                                   memmem(buffer, (size_t)size, "data: {\"value\"", 14) != NULL))
        hear(run, subscriber);
    look(run, subscriber, buffer, (size_t)size);
}

static int compare(const void *a, const void *b)
{
    const uint32_t *x = a;
    const uint32_t *y = b;

    return *x < *y ? -1 : *x > *y;
}

static double at(const uint32_t *list, size_t count, double share)
{
    size_t index = (size_t)((double)count * share);

    return count == 0 ? 0 : list[index < count ? index : count - 1] / 1000.0;
}

static void report(struct run *run)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    qsort(run->samples, run->sample_count, sizeof(uint32_t), compare);
    qsort(run->slowest, run->slowest_count, sizeof(uint32_t), compare);
    (void)printf("{\"deliveries\":%zu,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"slowest_p50_ms\":%.3f,"
                 "\"slowest_p99_ms\":%.3f,\"writes_seen_by_all\":%zu,\"driver_cpu_s\":%.2f}\n",
                 run->delivery_count, at(run->samples, run->sample_count, 0.5),
                 at(run->samples, run->sample_count, 0.99),
                 at(run->slowest, run->slowest_count, 0.5),
                 at(run->slowest, run->slowest_count, 0.99), run->slowest_count,
                 (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                     (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
}

static void loop(struct run *run, int poll_fd)
{
    struct epoll_event events[256];

    for (;;) {
        int count = epoll_wait(poll_fd, events, 256, -1);

        for (int i = 0; i < count; i++) {
            char byte;

            if (events[i].data.u32 != UINT32_MAX)
                read_one(run, &run->subscribers[events[i].data.u32]);
            else if (read(STDIN_FILENO, &byte, 1) <= 0)
                return;
        }
    }
}

int main(int argc, char **argv)
{
    struct run run = { .connections = 1 };
    struct epoll_event input = { .events = EPOLLIN, .data.u32 = UINT32_MAX };
    int poll_fd = epoll_create1(0);

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--mode") == 0)
            run.mode = argv[i + 1];
        else if (strcmp(argv[i], "--path") == 0)
            run.path = argv[i + 1];
        else if (strcmp(argv[i], "--port") == 0)
            run.port = (unsigned)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--connections") == 0)
            run.connections = (unsigned)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--queries") == 0)
            run.queries = (unsigned)atoi(argv[i + 1]);
    }
    if (run.mode == NULL || (run.path == NULL && strcmp(run.mode, "postgres") != 0)) {
        (void)fprintf(stderr, "subscriber --mode subscribe|sync|redis|postgres --port N "
                              "--connections N [--path FUNCTION|CHANNEL] [--queries N]\n");
        return 2;
    }
    run.subscribers = bb_alloc_zero(run.connections, sizeof(struct subscriber));
    run.samples = bb_alloc_zero(SAMPLES_MAX, sizeof(uint32_t));
    run.writes = bb_alloc_zero(WRITES_MAX, sizeof(struct write_seen));
    run.slowest = bb_alloc_zero(WRITES_MAX, sizeof(uint32_t));
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &input) != 0)
        die("standard input");
    for (unsigned i = 0; i < run.connections; i++)
        open_one(&run, i, poll_fd);
    loop(&run, poll_fd);
    report(&run);
    return 0;
}
