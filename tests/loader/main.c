/*
 *   loader --port P[,P..] [--protocol http] [--work increment] [--connections 64] [--seconds 5]
 *          [--warmup 1] [--keys 10000] [--seed 1] [--zipf 1.5] [--route /api/mutation]
 *          [--path bench:increment] [--pace-ms 50]
 *
 * Protocols: http (BitBend), postgres, redis, etcd. Work: increment, transfer, get, scan, post, on
 * keys that are uniform in [0, keys), or by Zipf's law; http names a function instead and gives it
 * {"key"}, {"from", "to"} for a transfer, or {"key": 0, "text"} for a post. Connections take the
 * ports in turn. The clock starts when all connections have greeted and the warm-up is over: then a
 * line "counting" goes to stdout, at the end one JSON object. A failed operation is an error, and
 * the connection goes on with the next.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "loader.h"

#define CONNECTIONS_MAX 4096
#define BUCKETS         200000 /* of 10 us: up to 2 s */
#define READ_SIZE       65536

struct totals {
    uint64_t done, errors, max_us, buckets[BUCKETS];
    bool is_counting;
};
struct run {
    struct loader loader;
    const struct protocol *protocol;
    struct connection *connections;
    struct totals totals;
    unsigned ready_count;           /* connections that have greeted */
    uint64_t count_from_us, end_us; /* 0: not all are ready */
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

    (void)fprintf(stderr, "loader: %s: %s\n", what, bb_strerror(errno, text, sizeof text));
    exit(1);
}

void loader_append(struct bb_buf *to, const char *format, ...)
{
    char text[2048];
    va_list list;

    va_start(list, format);
    int size = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    bb_assert(size >= 0 && (size_t)size < sizeof text);
    bb_buf_append(to, text, (size_t)size);
}

/* ---- keys ---- */

static uint64_t next_random(struct loader *loader)
{
    loader->seed ^= loader->seed << 13;
    loader->seed ^= loader->seed >> 7;
    loader->seed ^= loader->seed << 17;
    return loader->seed;
}

static void make_shares(struct loader *loader)
{
    double sum = 0;

    loader->shares = bb_alloc(loader->keys * sizeof(double));
    for (unsigned key = 0; key < loader->keys; key++)
        loader->shares[key] = sum += pow(key + 1.0, -loader->zipf);
}

static unsigned next_key(struct loader *loader)
{
    if (loader->shares == NULL)
        return (unsigned)(next_random(loader) % loader->keys);
    /* The first key whose share reaches a uniform number. */
    double top = loader->shares[loader->keys - 1];
    double wanted = (double)(next_random(loader) >> 11) * 0x1p-53 * top;
    unsigned low = 0;
    unsigned high = loader->keys - 1;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (loader->shares[middle] > wanted)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void next_keys(struct loader *loader, struct connection *connection)
{
    connection->keys[0] = next_key(loader);
    connection->keys[1] = next_key(loader);
    if (connection->keys[1] == connection->keys[0])
        connection->keys[1] = (connection->keys[0] + 1) % loader->keys;
}

/* ---- connections ---- */

static void flush(struct connection *connection)
{
    struct bb_buf *out = &connection->out;

    if (out->size > 0 &&
        send(connection->fd, out->data, out->size, MSG_NOSIGNAL) != (ssize_t)out->size)
        die("send"); /* requests are small: the kernel takes them whole */
    bb_buf_clear(out);
}

static void begin(struct run *run, struct connection *connection)
{
    next_keys(&run->loader, connection);
    connection->sent_us = now_us();
    connection->next_us = 0;
    run->protocol->begin(&run->loader, connection);
}

/* At once, or when its time comes. */
static void go_on(struct run *run, struct connection *connection)
{
    if (run->loader.pace_ms == 0 || connection->sent_us == 0)
        begin(run, connection);
    else
        connection->next_us = connection->sent_us + (uint64_t)run->loader.pace_ms * 1000;
}

static void open_connection(struct run *run, unsigned port, struct connection *connection,
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
    bb_buf_init(&connection->in);
    bb_buf_init(&connection->out);
    bb_buf_init(&connection->message);
    if (run->protocol->greet != NULL)
        run->protocol->greet(&run->loader, connection);
    else
        begin(run, connection);
    flush(connection);
}

static void count(struct totals *totals, const struct connection *connection, enum step step)
{
    uint64_t us = now_us() - connection->sent_us;

    if (step == STEP_FAILED && totals->errors == 0) {
        (void)fprintf(stderr, "loader: first error: %.*s\n", (int)connection->in.size,
                      (const char *)connection->in.data);
    }
    if (!totals->is_counting)
        return;
    totals->done++;
    totals->errors += step == STEP_FAILED;
    totals->buckets[us / 10 < BUCKETS ? us / 10 : BUCKETS - 1]++;
    if (us > totals->max_us)
        totals->max_us = us;
}

static void receive(struct run *run, struct connection *connection)
{
    uint8_t *to = bb_buf_reserve(&connection->in, READ_SIZE);
    ssize_t got = recv(connection->fd, to, READ_SIZE, 0);

    if (got <= 0)
        die("the server closed a connection");
    connection->in.size += (size_t)got;
    enum step step = run->protocol->look(&run->loader, connection);
    if (step == STEP_DONE || step == STEP_FAILED)
        count(&run->totals, connection, step);
    if (step == STEP_FAILED) {
        bb_buf_clear(&connection->in);
        connection->has_failed = connection->must_retry = false;
    }
    if (step == STEP_READY)
        run->ready_count++;
    if (step != STEP_MORE)
        go_on(run, connection);
    flush(connection);
}

/* Begins what is due; how long nothing else is. */
static int begin_due(struct run *run)
{
    int wait_ms = 100;

    for (unsigned i = 0; run->loader.pace_ms > 0 && i < run->loader.connections; i++) {
        struct connection *connection = &run->connections[i];
        uint64_t now = now_us();
        if (connection->next_us == 0)
            continue;
        if (connection->next_us <= now) {
            begin(run, connection);
            flush(connection);
        } else if ((connection->next_us - now) / 1000 < (uint64_t)wait_ms) {
            wait_ms = (int)((connection->next_us - now) / 1000) + 1;
        }
    }
    return wait_ms;
}

/* False: the time is over. */
static bool keep_time(struct run *run)
{
    uint64_t now = now_us();

    if (run->end_us == 0 && run->ready_count == run->loader.connections) {
        run->count_from_us = now + (uint64_t)(run->loader.warmup * 1e6);
        run->end_us = run->count_from_us + (uint64_t)(run->loader.seconds * 1e6);
    }
    if (run->end_us != 0 && !run->totals.is_counting && now >= run->count_from_us) {
        run->totals.is_counting = true;
        run->loader.retries = 0;
        (void)puts("counting");
        (void)fflush(stdout);
    }
    return run->end_us == 0 || now < run->end_us;
}

static void run_all(struct run *run)
{
    struct epoll_event events[256];
    int epoll = epoll_create1(0);
    struct loader *loader = &run->loader;

    for (unsigned i = 0; i < loader->connections; i++) {
        open_connection(run, loader->ports[i % loader->port_count], &run->connections[i], epoll);
    }
    if (run->protocol->greet == NULL)
        run->ready_count = loader->connections;
    while (keep_time(run)) {
        int ready = epoll_wait(epoll, events, 256, begin_due(run));
        for (int i = 0; i < ready; i++)
            receive(run, events[i].data.ptr);
    }
    (void)close(epoll);
}

/* ---- results ---- */

static double quantile_ms(const struct totals *totals, double quantile)
{
    uint64_t wanted = (uint64_t)((double)totals->done * quantile);
    uint64_t seen = 0;

    for (size_t i = 0; i < BUCKETS; i++) {
        seen += totals->buckets[i];
        if (seen > wanted)
            return (double)i / 100.0;
    }
    return BUCKETS / 100.0;
}

static double own_cpu_us(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void print(const struct run *run)
{
    const struct totals *totals = &run->totals;
    double done = (double)(totals->done == 0 ? 1 : totals->done);

    (void)printf(
        "{\"ops_s\":%.0f,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.1f,\"errors\":%" PRIu64
        ",\"ops\":%" PRIu64,
        (double)totals->done / run->loader.seconds, quantile_ms(totals, 0.5),
        quantile_ms(totals, 0.99), (double)totals->max_us / 1000, totals->errors, totals->done);
    if (run->protocol != &loader_http)
        (void)printf(",\"retries\":%" PRIu64, run->loader.retries);
    (void)printf(",\"loader_cpu_us_per_op\":%.1f}\n", own_cpu_us() / done);
}

/* ---- options ---- */

static bool read_ports(struct loader *loader, const char *text)
{
    for (char *end; *text != '\0'; text = end + (*end == ',')) {
        if (loader->port_count == PORTS_MAX)
            return false;
        loader->ports[loader->port_count++] = (unsigned)strtoul(text, &end, 10);
        if (end == text)
            return false;
    }
    return loader->port_count > 0 && loader->ports[0] != 0;
}

static bool read_protocol(struct run *run, const char *name)
{
    const struct protocol *all[] = { &loader_http, &loader_postgres, &loader_redis, &loader_etcd };

    run->protocol = NULL;
    for (size_t i = 0; i < BB_COUNT_OF(all); i++) {
        if (strcmp(all[i]->name, name) == 0)
            run->protocol = all[i];
    }
    return run->protocol != NULL;
}

static bool read_work(struct loader *loader, const char *name)
{
    static const char *const names[] = { [WORK_INCREMENT] = "increment",
                                         [WORK_TRANSFER] = "transfer",
                                         [WORK_GET] = "get",
                                         [WORK_SCAN] = "scan",
                                         [WORK_POST] = "post" };

    for (size_t i = 0; i < BB_COUNT_OF(names); i++) {
        if (strcmp(names[i], name) == 0) {
            loader->work = (enum work)i;
            return true;
        }
    }
    return false;
}

static bool read_option(struct run *run, const char *name, const char *value)
{
    struct loader *loader = &run->loader;

    if (strcmp(name, "--port") == 0)
        return read_ports(loader, value);
    if (strcmp(name, "--protocol") == 0)
        return read_protocol(run, value);
    if (strcmp(name, "--work") == 0)
        return read_work(loader, value);
    if (strcmp(name, "--connections") == 0)
        loader->connections = (unsigned)strtoul(value, NULL, 10);
    else if (strcmp(name, "--keys") == 0)
        loader->keys = (unsigned)strtoul(value, NULL, 10);
    else if (strcmp(name, "--zipf") == 0)
        loader->zipf = strtod(value, NULL);
    else if (strcmp(name, "--seconds") == 0)
        loader->seconds = strtod(value, NULL);
    else if (strcmp(name, "--pace-ms") == 0)
        loader->pace_ms = (unsigned)strtoul(value, NULL, 10);
    else if (strcmp(name, "--warmup") == 0)
        loader->warmup = strtod(value, NULL);
    else if (strcmp(name, "--route") == 0)
        loader->route = value;
    else if (strcmp(name, "--path") == 0)
        loader->path = value;
    else if (strcmp(name, "--seed") == 0)
        loader->seed = strtoul(value, NULL, 10) * 2654435761u + 1;
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    struct run *run = bb_alloc_zero(1, sizeof *run);
    struct loader *loader = &run->loader;
    bool is_fine = true;

    *loader = (struct loader){
        .connections = 64, .keys = 10000, .seconds = 5, .warmup = 1, .seed = 88172645463325252ull
    };
    run->protocol = &loader_http;
    for (int i = 1; is_fine && i < argc; i += 2)
        is_fine = i + 1 < argc && read_option(run, argv[i], argv[i + 1]);
    bool is_named =
        run->protocol != &loader_http || (loader->route != NULL && loader->path != NULL);
    if (!is_fine || !is_named || loader->port_count == 0 || loader->keys == 0 ||
        loader->connections == 0 || loader->connections > CONNECTIONS_MAX) {
        (void)fprintf(stderr, "loader: see the head of tests/loader/main.c for what it takes\n");
        return 2;
    }
    run->connections = bb_alloc_zero(loader->connections, sizeof *run->connections);
    if (loader->zipf > 0)
        make_shares(loader);
    run_all(run);
    print(run);
    return 0;
}
