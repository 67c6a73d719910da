/*
 * A closed-loop HTTP load generator: N keep-alive connections on one thread, one request each at a
 * time.
 *
 *   load --port P[,P..] [--connections 64] [--seconds 5] [--warmup 1] --route /api/mutation
 *        --path bench:increment [--keys 10000] [--seed 1] [--zipf 1.5]
 *
 * Each request calls the function with {"key": <uniform in [0, keys)>}; with --zipf, with
 * {"from", "to"}, two different keys of that distribution. Connections take the ports in turn. One
 * JSON object on stdout: ops_s, p50_ms, p99_ms, max_ms, errors, cpu_us_per_op (its own). An answer
 * counts as an error unless it is HTTP 200 and holds "status":"success".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bb/base.h"

#define CONNECTIONS_MAX 4096
#define PORTS_MAX       8
#define BUCKETS         100000 /* of 10 us: up to 1 s */

struct options {
    unsigned ports[PORTS_MAX], port_count, connections, keys;
    double seconds, warmup, zipf;
    const char *route, *path;
    uint64_t seed;
    double *shares; /* of the keys up to each, when they follow Zipf's law */
};
struct connection {
    int fd;
    uint64_t sent_us;
    size_t fill;
    char in[65536];
};
struct totals {
    uint64_t done, errors, max_us, buckets[BUCKETS];
    bool is_counting;
};

static uint64_t now_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static _Noreturn void die(const char *what)
{
    char text[128];

    (void)fprintf(stderr, "load: %s: %s\n", what, bb_strerror(errno, text, sizeof text));
    exit(1);
}

static uint64_t next_random(struct options *options)
{
    options->seed ^= options->seed << 13;
    options->seed ^= options->seed >> 7;
    options->seed ^= options->seed << 17;
    return options->seed;
}

static void make_shares(struct options *options)
{
    double sum = 0;

    options->shares = bb_alloc(options->keys * sizeof(double));
    for (unsigned key = 0; key < options->keys; key++)
        options->shares[key] = sum += pow(key + 1.0, -options->zipf);
}

/* The first key whose share reaches a uniform number. */
static unsigned zipf_key(struct options *options)
{
    double top = options->shares[options->keys - 1];
    double wanted = (double)(next_random(options) >> 11) * 0x1p-53 * top;
    unsigned low = 0;
    unsigned high = options->keys - 1;

    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (options->shares[middle] > wanted)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void write_args(struct options *options, char *to, size_t size)
{
    if (options->shares == NULL) {
        (void)snprintf(to, size, "{\"key\":%u}", (unsigned)(next_random(options) % options->keys));
        return;
    }
    unsigned from = zipf_key(options);
    unsigned into = zipf_key(options);
    (void)snprintf(to, size, "{\"from\":%u,\"to\":%u}", from,
                   into == from ? (into + 1) % options->keys : into);
}

static void send_request(struct options *options, struct connection *connection)
{
    char args[64];
    char body[256];
    char request[1024];

    write_args(options, args, sizeof args);
    int size = snprintf(body, sizeof body, "{\"path\":\"%s\",\"args\":%s,\"format\":\"json\"}",
                        options->path, args);
    int length =
        snprintf(request, sizeof request,
                 "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                 "Content-Length: %d\r\n\r\n%s",
                 options->route, size, body);
    connection->sent_us = now_us();
    connection->fill = 0;
    if (send(connection->fd, request, (size_t)length, MSG_NOSIGNAL) != length)
        die("send");
}

static void open_connection(struct options *options, unsigned port, struct connection *connection,
                            int epoll)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = connection };
    int one = 1;

    connection->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connection->fd < 0 ||
        connect(connection->fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0)
        die("epoll_ctl");
    send_request(options, connection);
}

/* True when the whole answer is in; the head names its length. */
static bool is_whole(const struct connection *connection)
{
    const char *end = memmem(connection->in, connection->fill, "\r\n\r\n", 4);
    const char *length;

    if (end == NULL)
        return false;
    length = strcasestr(connection->in, "content-length:");
    if (length == NULL || length > end)
        return true;
    size_t body = strtoul(length + 15, NULL, 10);
    return connection->fill >= (size_t)(end + 4 - connection->in) + body;
}

static void count(struct totals *totals, const struct connection *connection)
{
    uint64_t us = now_us() - connection->sent_us;

    if (!totals->is_counting)
        return;
    totals->done++;
    totals->buckets[us / 10 < BUCKETS ? us / 10 : BUCKETS - 1]++;
    if (us > totals->max_us)
        totals->max_us = us;
    if (strncmp(connection->in, "HTTP/1.1 200", 12) != 0 ||
        memmem(connection->in, connection->fill, "\"status\":\"success\"", 18) == NULL) {
        if (totals->errors++ == 0)
            (void)fprintf(stderr, "load: first error: %.*s\n", (int)connection->fill,
                          connection->in);
    }
}

static double quantile_ms(const struct totals *totals, double quantile)
{
    uint64_t wanted = (uint64_t)((double)totals->done * quantile);
    uint64_t seen = 0;

    for (size_t i = 0; i < BUCKETS; i++) {
        seen += totals->buckets[i];
        if (seen > wanted)
            return (double)i / 100.0;
    }
    return 1000;
}

static void run(struct options *options, struct connection *connections, struct totals *totals)
{
    struct epoll_event events[256];
    int epoll = epoll_create1(0);
    uint64_t start = now_us();
    uint64_t count_from = start + (uint64_t)(options->warmup * 1e6);
    uint64_t end = count_from + (uint64_t)(options->seconds * 1e6);

    for (unsigned i = 0; i < options->connections; i++)
        open_connection(options, options->ports[i % options->port_count], &connections[i], epoll);
    while (now_us() < end) {
        int ready = epoll_wait(epoll, events, 256, 100);
        if (!totals->is_counting && now_us() >= count_from)
            totals->is_counting = true;
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            ssize_t got = recv(connection->fd, connection->in + connection->fill,
                               sizeof connection->in - 1 - connection->fill, 0);
            if (got <= 0)
                die("the server closed a connection");
            connection->fill += (size_t)got;
            connection->in[connection->fill] = '\0';
            if (!is_whole(connection))
                continue;
            count(totals, connection);
            send_request(options, connection);
        }
    }
    (void)close(epoll);
}

static double own_cpu_us(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void read_ports(struct options *options, const char *text)
{
    for (char *end; *text != '\0' && options->port_count < PORTS_MAX; text = end + (*end == ',')) {
        options->ports[options->port_count++] = (unsigned)strtoul(text, &end, 10);
        if (end == text)
            break;
    }
}

int main(int argc, char **argv)
{
    struct options options = {
        .connections = 64, .keys = 10000, .seconds = 5, .warmup = 1, .seed = 88172645463325252ull
    };

    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i];
        const char *value = argv[i + 1];
        if (strcmp(name, "--port") == 0)
            read_ports(&options, value);
        else if (strcmp(name, "--connections") == 0)
            options.connections = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(name, "--keys") == 0)
            options.keys = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(name, "--zipf") == 0)
            options.zipf = strtod(value, NULL);
        else if (strcmp(name, "--seconds") == 0)
            options.seconds = strtod(value, NULL);
        else if (strcmp(name, "--warmup") == 0)
            options.warmup = strtod(value, NULL);
        else if (strcmp(name, "--route") == 0)
            options.route = value;
        else if (strcmp(name, "--path") == 0)
            options.path = value;
        else if (strcmp(name, "--seed") == 0)
            options.seed = strtoul(value, NULL, 10) * 2654435761u + 1;
        else
            return 2;
    }
    if (options.port_count == 0 || options.ports[0] == 0 || options.route == NULL ||
        options.path == NULL || options.keys == 0 || options.connections == 0 ||
        options.connections > CONNECTIONS_MAX) {
        (void)fprintf(stderr,
                      "load: --port, --route and --path are needed; see the head of load.c\n");
        return 2;
    }
    struct connection *connections = bb_alloc_zero(options.connections, sizeof *connections);
    struct totals *totals = bb_alloc_zero(1, sizeof *totals);
    if (options.zipf > 0)
        make_shares(&options);
    run(&options, connections, totals);
    (void)printf(
        "{\"ops_s\":%.0f,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.1f,\"errors\":%" PRIu64
        ",\"ops\":%" PRIu64 ",\"loader_cpu_us_per_op\":%.1f}\n",
        (double)totals->done / options.seconds, quantile_ms(totals, 0.5), quantile_ms(totals, 0.99),
        (double)totals->max_us / 1000, totals->errors, totals->done,
        own_cpu_us() / (double)(totals->done == 0 ? 1 : totals->done));
    bb_free(connections);
    bb_free(totals);
    bb_free(options.shares);
    return 0;
}
