#include "rt.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "bb/obs.h"

#define CONNECTION_MAX 32
#define REQUEST_MAX    8192
#define TIMEOUT_MS     5000
#define BACKLOG        64

struct rt_admin {
    uv_tcp_t listener;
    struct bb_list connections;
    size_t connection_count;
    const char *(*not_ready)(void *arg);
    void *arg;
    bool is_closing;
    size_t open_handles; /* the listener and two for each connection; the last one frees */
};

struct connection {
    struct bb_list link;
    struct rt_admin *admin;
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_write_t write;
    size_t open_handles;
    bool is_closing, is_answered;
    size_t fill;
    char request[REQUEST_MAX];
    struct bb_buf response;
};

static void admin_release(struct rt_admin *admin)
{
    bb_assert(admin->open_handles > 0);
    if (--admin->open_handles == 0)
        bb_free(admin);
}

static void on_connection_closed(uv_handle_t *handle)
{
    struct connection *connection = handle->data;
    struct rt_admin *admin = connection->admin;

    if (--connection->open_handles == 0) {
        bb_buf_fini(&connection->response);
        bb_free(connection);
    }
    admin_release(admin);
}

static void close_connection(struct connection *connection)
{
    if (connection->is_closing)
        return;
    connection->is_closing = true;
    bb_list_remove(&connection->link);
    connection->admin->connection_count--;
    uv_close((uv_handle_t *)&connection->tcp, on_connection_closed);
    uv_close((uv_handle_t *)&connection->timer, on_connection_closed);
}

static void on_written(uv_write_t *write, int status)
{
    (void)status;
    close_connection(write->data);
}

static void answer(struct connection *connection, int http_status, const char *reason,
                   struct bb_slice body, const char *type)
{
    connection->is_answered = true;
    bb_buf_printf(&connection->response,
                  "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                  "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
                  http_status, reason, type, body.size);
    bb_buf_append_slice(&connection->response, body);
    uv_buf_t out =
        uv_buf_init((char *)connection->response.data, (unsigned)connection->response.size);
    connection->write.data = connection;
    (void)uv_read_stop((uv_stream_t *)&connection->tcp);
    if (uv_write(&connection->write, (uv_stream_t *)&connection->tcp, &out, 1, on_written) != 0)
        close_connection(connection);
}

static void answer_text(struct connection *connection, int http_status, const char *reason,
                        const char *text)
{
    char body[512];

    (void)snprintf(body, sizeof body, "%s\n", text);
    answer(connection, http_status, reason, bb_slice_str(body), "text/plain; charset=utf-8");
}

static void serve(struct connection *connection, struct bb_slice path)
{
    if (bb_slice_equal_str(path, "/healthz")) {
        answer_text(connection, 200, "OK", "ok");
    } else if (bb_slice_equal_str(path, "/readyz")) {
        const char *why = connection->admin->not_ready(connection->admin->arg);
        char text[400];
        (void)snprintf(text, sizeof text, "not ready: %s", why == NULL ? "" : why);
        if (why == NULL) {
            answer_text(connection, 200, "OK", "ready");
        } else {
            answer_text(connection, 503, "Service Unavailable", text);
        }
    } else if (bb_slice_equal_str(path, "/metrics")) {
        struct bb_buf body;
        bb_buf_init(&body);
        bb_metrics_render(&body);
        answer(connection, 200, "OK", bb_buf_slice(&body),
               "text/plain; version=0.0.4; charset=utf-8");
        bb_buf_fini(&body);
    } else {
        answer_text(connection, 404, "Not Found", "there are /healthz, /readyz and /metrics");
    }
}

/* The request line is all that matters; the head must be whole so that the client is done sending.
 */
static void parse(struct connection *connection)
{
    const char *request = connection->request;
    size_t size = connection->fill;

    if (memmem(request, size, "\r\n\r\n", 4) == NULL) {
        if (size == REQUEST_MAX) {
            answer_text(connection, 431, "Request Header Fields Too Large",
                        "the head of a request may have 8 KB");
        }
        return;
    }
    const char *end = memmem(request, size, "\r\n", 2);
    const char *method_end = memchr(request, ' ', (size_t)(end - request));
    if (method_end == NULL) {
        answer_text(connection, 400, "Bad Request", "this is no HTTP/1.1 request");
        return;
    }
    const char *path = method_end + 1;
    const char *path_end = memchr(path, ' ', (size_t)(end - path));
    if (path_end == NULL || end - path_end < 8 || memcmp(path_end + 1, "HTTP/1.", 7) != 0) {
        answer_text(connection, 400, "Bad Request", "this is no HTTP/1.1 request");
        return;
    }
    if (method_end - request != 3 || memcmp(request, "GET", 3) != 0) {
        answer_text(connection, 405, "Method Not Allowed", "only GET is known here");
        return;
    }
    const char *query = memchr(path, '?', (size_t)(path_end - path));
    serve(connection, bb_slice(path, (size_t)((query == NULL ? path_end : query) - path)));
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct connection *connection = handle->data;

    (void)suggested;
    *buf = uv_buf_init(connection->request + connection->fill,
                       (unsigned)(REQUEST_MAX - connection->fill));
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct connection *connection = stream->data;

    (void)buf;
    if (size < 0) {
        close_connection(connection);
        return;
    }
    connection->fill += (size_t)size;
    if (size > 0 && !connection->is_answered)
        parse(connection);
}

static void on_timeout(uv_timer_t *timer)
{
    close_connection(timer->data);
}

static void on_connect(uv_stream_t *listener, int status)
{
    struct rt_admin *admin = listener->data;

    if (status != 0)
        return;
    struct connection *connection = bb_alloc_zero(1, sizeof *connection);
    connection->admin = admin;
    connection->open_handles = 2;
    admin->open_handles += 2;
    admin->connection_count++;
    bb_list_push_back(&admin->connections, &connection->link);
    bb_assert(uv_tcp_init(listener->loop, &connection->tcp) == 0);
    bb_assert(uv_timer_init(listener->loop, &connection->timer) == 0);
    connection->tcp.data = connection;
    connection->timer.data = connection;
    /* One more than fits is taken and closed, or it would wake us for ever. */
    if (uv_accept(listener, (uv_stream_t *)&connection->tcp) != 0 ||
        admin->connection_count > CONNECTION_MAX ||
        uv_timer_start(&connection->timer, on_timeout, TIMEOUT_MS, 0) != 0 ||
        uv_read_start((uv_stream_t *)&connection->tcp, on_alloc, on_read) != 0)
        close_connection(connection);
}

/* HOST:PORT; a host in brackets is IPv6; names are looked up, which may block: this is at start. */
static int resolve(struct bb_ctx *ctx, uv_loop_t *uv, const char *address,
                   struct sockaddr_storage *to)
{
    char host[256];
    const char *colon = strrchr(address, ':');
    char *end = NULL;
    unsigned long port = colon == NULL ? 65536 : strtoul(colon + 1, &end, 10);

    if (port > 65535 || end == colon + 1 || *end != '\0' ||
        (size_t)(colon - address) >= sizeof host)
        return bb_fail(ctx, BB_BAD_REQUEST, "\"%s\" is no HOST:PORT", address);
    (void)snprintf(host, sizeof host, "%.*s", (int)(colon - address), address);
    size_t size = strlen(host);
    if (size >= 2 && host[0] == '[' && host[size - 1] == ']') {
        host[size - 1] = '\0';
        memmove(host, host + 1, size - 1);
    }
    if (uv_ip4_addr(host, (int)port, (struct sockaddr_in *)to) == 0 ||
        uv_ip6_addr(host, (int)port, (struct sockaddr_in6 *)to) == 0)
        return BB_OK;
    uv_getaddrinfo_t request;
    struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM };
    int rc = uv_getaddrinfo(uv, &request, NULL, host, NULL, &hints);
    if (rc != 0) {
        return bb_fail(ctx, BB_BAD_REQUEST, "the host of %s is not known: %s", address,
                       uv_strerror(rc));
    }
    memcpy(to, request.addrinfo->ai_addr, request.addrinfo->ai_addrlen);
    uv_freeaddrinfo(request.addrinfo);
    ((struct sockaddr_in *)to)->sin_port = htons((uint16_t)port);
    return BB_OK;
}

static void on_listener_closed(uv_handle_t *handle)
{
    admin_release(handle->data);
}

int rt_admin_open(struct bb_ctx *ctx, struct bb_loop *loop, const char *address,
                  const char *(*not_ready)(void *arg), void *arg, struct rt_admin **admin)
{
    struct sockaddr_storage where = { .ss_family = 0 };
    int rc = resolve(ctx, bb_loop_uv(loop), address, &where);

    if (rc != BB_OK)
        return rc;
    struct rt_admin *opened = bb_alloc_zero(1, sizeof *opened);
    bb_list_init(&opened->connections);
    opened->not_ready = not_ready;
    opened->arg = arg;
    opened->open_handles = 1;
    bb_assert(uv_tcp_init(bb_loop_uv(loop), &opened->listener) == 0);
    opened->listener.data = opened;
    rc = uv_tcp_bind(&opened->listener, (const struct sockaddr *)&where, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&opened->listener, BACKLOG, on_connect);
    if (rc == 0) {
        *admin = opened;
        return BB_OK;
    }
    uv_close((uv_handle_t *)&opened->listener, on_listener_closed);
    if (rc == UV_EADDRINUSE) {
        return bb_fail(ctx, BB_ADDRESS_IN_USE,
                       "the admin port %s is taken by another process: stop that one or choose "
                       "another with --admin-listen HOST:PORT (off: none)",
                       address);
    }
    return bb_fail(ctx, BB_IO, "the admin port %s cannot be opened: %s", address, uv_strerror(rc));
}

void rt_admin_close(struct rt_admin *admin)
{
    if (admin == NULL)
        return;
    bb_assert(!admin->is_closing);
    admin->is_closing = true;
    bb_list_each_safe(item, &admin->connections)
        close_connection(bb_container(item, struct connection, link));
    uv_close((uv_handle_t *)&admin->listener, on_listener_closed);
}

unsigned rt_admin_port(const struct rt_admin *admin)
{
    struct sockaddr_storage name;
    int size = sizeof name;

    if (uv_tcp_getsockname(&admin->listener, (struct sockaddr *)&name, &size) != 0)
        return 0;
    return ntohs(((struct sockaddr_in *)&name)->sin_port); /* at the same place in IPv6 */
}
