#include "server.h"

#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "bb/env.h"

#define HTTP_CONNECTIONS_DEFAULT 10000u
#define HTTP_BODY_DEFAULT        (20u << 20)
#define HTTP_BODIES_DEFAULT      ((size_t)512 << 20)

/* Runs once in the turn of the loop after something was written, before the loop sleeps. */
void http_on_idle(uv_idle_t *handle)
{
    struct bb_http *http = bb_cast(struct bb_http, handle->data, HTTP_MAGIC);
    struct bb_list batch;

    (void)uv_idle_stop(handle);
    /* Who has more to send when this is sent waits for the next turn, so that others are served. */
    bb_list_push_back(&http->dirty, &batch);
    bb_list_remove(&http->dirty);
    while (!bb_list_is_empty(&batch)) {
        struct http_connection *connection =
            bb_container(batch.next, struct http_connection, dirty);

        bb_list_remove(&connection->dirty);
        http_connection_flush(connection);
    }
}

static void stop_if_empty(struct bb_http *http)
{
    void (*stopped)(void *arg) = http->stopped;

    if (!http->is_stopping || http->connection_count > 0 || stopped == NULL)
        return;
    http->stopped = NULL;
    stopped(http->stopped_arg);
}

static void on_tick(void *arg)
{
    struct bb_http *http = bb_cast(struct bb_http, arg, HTTP_MAGIC);
    uint64_t now = bb_loop_now_us(http->loop);
    bool is_late = http->is_stopping && now >= http->stop_deadline_us;

    bb_list_each_safe(item, &http->connections) {
        struct http_connection *connection = bb_container(item, struct http_connection, link);

        if (is_late) {
            http_connection_close(connection, BB_HTTP_END_OURS);
        } else {
            http_connection_tick(connection, now);
        }
    }
    stop_if_empty(http);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct bb_http *http = bb_cast(struct bb_http, listener->data, HTTP_MAGIC);

    if (status == 0 && !http->is_stopping)
        http_connection_accept(http);
}

/* "host:port" or "[v6]:port" into its parts. */
static bool split_address(const char *listen, char host[256], char port[8])
{
    const char *colon = strrchr(listen, ':');
    size_t host_size;

    if (colon == NULL || strlen(colon + 1) == 0 || strlen(colon + 1) >= 8)
        return false;
    host_size = (size_t)(colon - listen);
    if (host_size >= 2 && listen[0] == '[' && colon[-1] == ']') {
        listen++;
        host_size -= 2;
    }
    if (host_size == 0 || host_size >= 256)
        return false;
    memcpy(host, listen, host_size);
    host[host_size] = '\0';
    memcpy(port, colon + 1, strlen(colon + 1) + 1);
    return strspn(port, "0123456789") == strlen(port) && strtoul(port, NULL, 10) <= 65535;
}

static int resolve(struct bb_ctx *ctx, const char *listen, struct sockaddr_storage *address)
{
    char host[256];
    char port[8];
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
    struct addrinfo *found = NULL;

    if (!split_address(listen, host, port)) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "`%s` is not an address to listen at; write host:port, like 127.0.0.1:3210",
                       listen);
    }
    if (getaddrinfo(host, port, &hints, &found) != 0 || found == NULL) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "the host of `%s` is not known on this machine; use 127.0.0.1 or 0.0.0.0",
                       listen);
    }
    memcpy(address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return BB_OK;
}

static int listen_at(struct bb_ctx *ctx, struct bb_http *http)
{
    struct sockaddr_storage address = { 0 };
    int address_size = sizeof(address);
    int rc = resolve(ctx, http->listen, &address);

    if (rc != BB_OK)
        return rc;
    rc = uv_tcp_init(bb_loop_uv(http->loop), &http->listener);
    bb_assert(rc == 0);
    http->listener.data = http;
    http->handle_count++;
    http->is_listening = true;
    rc = uv_tcp_bind(&http->listener, (const struct sockaddr *)&address, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&http->listener, 511, on_connection);
    if (rc == UV_EADDRINUSE) {
        return bb_fail(
            ctx, BB_ADDRESS_IN_USE,
            "the address %s is in use by another program; stop that one or listen elsewhere",
            http->listen);
    }
    if (rc == UV_EADDRNOTAVAIL) {
        return bb_fail(ctx, BB_BAD_REQUEST, "the address %s does not belong to this machine",
                       http->listen);
    }
    if (rc == UV_EACCES) {
        return bb_fail(ctx, BB_BAD_REQUEST, "listening at %s is not allowed; use a port above 1023",
                       http->listen);
    }
    if (rc != 0)
        return bb_fail(ctx, BB_IO, "cannot listen at %s: %s", http->listen, uv_strerror(rc));
    rc = uv_tcp_getsockname(&http->listener, (struct sockaddr *)&address, &address_size);
    bb_assert(rc == 0);
    /* Port and family lie at the same place in the IPv4 and IPv6 forms. */
    http->port = (uint16_t)ntohs(((const struct sockaddr_in *)(const void *)&address)->sin_port);
    return BB_OK;
}

/* Best effort: a lower limit shows as connections that are not accepted before ours is reached. */
static void raise_file_limit(size_t connections_max)
{
    struct rlimit limit;
    rlim_t wanted = connections_max + 256;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

int bb_http_open(struct bb_ctx *ctx, struct bb_loop *loop, const struct bb_http_options *options,
                 struct bb_http **http_out)
{
    struct bb_http *http = bb_alloc_zero(1, sizeof(*http));
    int rc;

    (void)signal(SIGPIPE, SIG_IGN);
    http->magic = HTTP_MAGIC;
    http->loop = loop;
    http->options = *options;
    http->listen = bb_strdup(options->listen);
    if (http->options.connections_max == 0)
        http->options.connections_max = HTTP_CONNECTIONS_DEFAULT;
    if (http->options.body_max == 0)
        http->options.body_max = HTTP_BODY_DEFAULT;
    if (http->options.bodies_max == 0)
        http->options.bodies_max = HTTP_BODIES_DEFAULT;
    if (http->options.header_timeout_ms == 0)
        http->options.header_timeout_ms = 10000;
    if (http->options.body_timeout_ms == 0)
        http->options.body_timeout_ms = 60000;
    if (http->options.idle_timeout_ms == 0)
        http->options.idle_timeout_ms = 75000;
    if (http->options.stall_timeout_ms == 0)
        http->options.stall_timeout_ms = 30000;
    raise_file_limit(http->options.connections_max);
    bb_list_init(&http->connections);
    bb_list_init(&http->dirty);
    bb_list_init(&http->idle_requests);
    http->requests =
        bb_metric("bb_http_requests_total", BB_COUNTER, "Requests that were received whole.");
    http->refused = bb_metric("bb_http_refused_total", BB_COUNTER,
                              "Requests that broke a rule or a limit of the HTTP server.");
    http->open = bb_metric("bb_http_connections", BB_GAUGE, "Open HTTP connections.");
    http->streams = bb_metric("bb_http_streams", BB_GAUGE, "Open event streams.");
    rc = listen_at(ctx, http);
    if (rc != BB_OK) {
        bb_http_close(http);
        return rc;
    }
    http->read_buffer = bb_alloc(HTTP_READ_SIZE);
    http->tick = bb_timer_new(loop, on_tick, http);
    bb_timer_start(http->tick, HTTP_TICK_MS, HTTP_TICK_MS);
    rc = uv_idle_init(bb_loop_uv(loop), &http->flusher);
    bb_assert(rc == 0);
    http->flusher.data = http;
    http->handle_count++;
    *http_out = http;
    return BB_OK;
}

uint16_t bb_http_port(const struct bb_http *http)
{
    return http->port;
}

size_t bb_http_connections(const struct bb_http *http)
{
    return http->connection_count;
}

/* The last uv handle is gone, and nobody holds the server any more. */
void http_handle_closed(struct bb_http *http)
{
    bb_assert(http->handle_count > 0);
    http->handle_count--;
    if (http->handle_count > 0 || !http->is_closed)
        return;
    bb_free(http->read_buffer);
    bb_free(http->listen);
    http->magic = 0;
    bb_free(http);
}

static void on_handle_closed(uv_handle_t *handle)
{
    http_handle_closed(handle->data);
}

static void close_listener(struct bb_http *http)
{
    if (!http->is_listening)
        return;
    http->is_listening = false;
    uv_close((uv_handle_t *)&http->listener, on_handle_closed);
}

void bb_http_stop(struct bb_http *http, uint32_t limit_ms, void (*done)(void *arg), void *arg)
{
    http->is_stopping = true;
    http->stopped = done;
    http->stopped_arg = arg;
    http->stop_deadline_us = bb_loop_now_us(http->loop) + (uint64_t)limit_ms * 1000;
    close_listener(http);
    bb_list_each_safe(item, &http->connections) {
        struct http_connection *connection = bb_container(item, struct http_connection, link);

        if (connection->is_handling || connection->stream != NULL)
            continue;
        /* Nothing is under way, but an answer may not have left yet. */
        connection->closes_after_write = true;
        http_connection_dirty(connection);
    }
    bb_timer_start(http->tick, 1, 20);
}

void bb_http_close(struct bb_http *http)
{
    if (http == NULL)
        return;
    http->is_closed = true;
    http->is_stopping = true;
    http->stopped = NULL;
    bb_timer_free(http->tick);
    http->tick = NULL;
    bb_list_each_safe(item, &http->connections) {
        struct http_connection *connection = bb_container(item, struct http_connection, link);

        http_connection_close(connection, BB_HTTP_END_OURS);
    }
    while (!bb_list_is_empty(&http->idle_requests)) {
        struct bb_http_request *request =
            bb_container(http->idle_requests.next, struct bb_http_request, link);

        bb_list_remove(&request->link);
        http_request_free(request);
    }
    /* One reference of our own, so that a server that never listened goes the same way. */
    http->handle_count++;
    close_listener(http);
    if (http->read_buffer != NULL)
        uv_close((uv_handle_t *)&http->flusher, on_handle_closed);
    http_handle_closed(http);
}
