#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "server.h"

#define USER_TIMEOUT_MS 30000

static void read_start(struct http_connection *connection);
static void feed(struct http_connection *connection, struct bb_slice bytes);

static uint64_t after_ms(struct http_connection *connection, uint32_t ms)
{
    return bb_loop_now_us(connection->http->loop) + (uint64_t)ms * 1000;
}

/* ---- the end ---- */

static void on_closed(uv_handle_t *handle)
{
    struct http_connection *connection = handle->data;
    struct bb_http *http = connection->http;
    struct bb_http_stream *stream = connection->stream;

    connection->stream = NULL;
    if (stream != NULL)
        http_stream_ended(stream);
    bb_buf_fini(&connection->rest);
    bb_buf_fini(&connection->out);
    http_connection_drop_pieces(connection);
    bb_free(connection);
    http_handle_closed(http);
}

/* Accepts a connection that is closing already. Streams hear of it later, by on_end. */
void http_connection_close(struct http_connection *connection, enum bb_http_end end)
{
    struct bb_http *http = connection->http;
    struct bb_http_request *request = connection->request;

    if (connection->is_closing)
        return;
    connection->is_closing = true;
    if (connection->stream != NULL && !connection->stream->is_ending) {
        connection->stream->is_ending = true;
        connection->stream->end = end;
    }
    http->bodies_bytes -= connection->counted_body;
    connection->counted_body = 0;
    bool takes_body = http_takes_body(connection);
    bool is_answered = connection->stream != NULL;
    if (request != NULL) {
        connection->request = NULL;
        request->connection = NULL;
        if (!connection->is_handling)
            http_request_release(request);
    }
    bb_list_remove(&connection->dirty);
    bb_list_remove(&connection->link);
    http->connection_count--;
    bb_metric_add(http->open, -1);
    /* The owner frees its state when the server closes: it hears of its streams before that. */
    if (http->is_closed && connection->stream != NULL) {
        struct bb_http_stream *stream = connection->stream;

        connection->stream = NULL;
        http_stream_ended(stream);
    }
    uv_close((uv_handle_t *)&connection->tcp, on_closed);
    if (request == NULL || !connection->is_handling)
        return;
    if (takes_body)
        http_request_body_end(request, false);
    if (is_answered) {
        http_request_release(request);
    } else {
        http_request_gone(request);
    }
}

/* ---- reading ---- */

static void read_stop(struct http_connection *connection)
{
    if (connection->is_reading)
        (void)uv_read_stop((uv_stream_t *)&connection->tcp);
    connection->is_reading = false;
}

/* The request cannot be taken: answer, then drop what still comes. */
static void refuse(struct http_connection *connection, int status, const char *code,
                   const char *text)
{
    struct bb_http_request *request = connection->request;

    bb_metric_add(connection->http->refused, 1);
    connection->is_lingering = true;
    connection->is_handling = true;
    bb_http_respond_error(request, status, code, text);
    connection->deadline_us = after_ms(connection, HTTP_LINGER_MS);
}

static bool method_has_body(const struct http_message *message)
{
    return message->is_chunked || message->content_length > 0;
}

/* The head is whole: what can be refused before the body is read. */
static bool head_is_fine(struct http_connection *connection)
{
    struct bb_http *http = connection->http;
    struct http_message *message = &connection->request->message;
    struct bb_slice coding = http_message_field(message, "content-encoding");

    if (coding.data != NULL && coding.size > 0 && !http_equal_nocase(coding, "identity")) {
        bool is_brotli = http_equal_nocase(coding, "br");

        if (!is_brotli || http->options.accepts_brotli == NULL ||
            !http->options.accepts_brotli(http->options.arg, message->path)) {
            refuse(connection, 415, bb_status_name(BB_UNSUPPORTED_ENCODING),
                   "This Content-Encoding is not accepted here; send the body as it is.");
            return false;
        }
    }
    connection->request->is_body_open =
        method_has_body(message) && http->options.wants_stream != NULL &&
        http->options.wants_stream(http->options.arg, connection->request);
    message->is_streamed = connection->request->is_body_open;
    if (!message->is_streamed && message->content_length > message->body_max) {
        (void)http_message_refuse_body(message);
        refuse(connection, message->bad.status, message->bad.code, message->bad.text);
        return false;
    }
    if (!message->is_streamed &&
        http->bodies_bytes + message->content_length > http->options.bodies_max) {
        refuse(connection, 503, "Overloaded",
               "The server is receiving too much at once; try again.");
        return false;
    }
    if (message->wants_continue && method_has_body(message)) {
        bb_buf_append_str(&connection->out, "HTTP/1.1 100 Continue\r\n\r\n");
        http_connection_dirty(connection);
    }
    connection->deadline_us = after_ms(connection, http->options.body_timeout_ms);
    return true;
}

/* The request is whole: decode and hand over. */
static void hand_over(struct http_connection *connection)
{
    struct bb_http *http = connection->http;
    struct bb_http_request *request = connection->request;
    struct bb_slice coding = http_message_field(&request->message, "content-encoding");

    http->bodies_bytes -= connection->counted_body;
    connection->counted_body = 0;
    if (http_equal_nocase(coding, "br")) {
        struct bb_ctx ctx = *bb_loop_ctx(http->loop);
        int rc = http_unbrotli(&ctx, bb_buf_slice(&request->message.body), http->options.body_max,
                               &request->decoded);

        if (rc != BB_OK) {
            refuse(connection, rc == BB_TOO_LARGE ? 413 : 400,
                   rc == BB_TOO_LARGE ? "BodyTooLarge" : "BadRequest", ctx.error);
            return;
        }
        request->is_decoded = true;
    }
    connection->is_handling = true;
    connection->deadline_us = 0;
    bb_metric_add(http->requests, 1);
    http->options.handle(http->options.arg, request);
}

/* The head is whole, and the owner takes the body as it comes. */
static void hand_over_head(struct http_connection *connection)
{
    struct bb_http *http = connection->http;

    connection->is_handling = true;
    connection->deadline_us = 0;
    bb_metric_add(http->requests, 1);
    http->options.handle(http->options.arg, connection->request);
}

/* Returns false: all that came was used, or the connection goes on no more, or the body is over. */
static bool tell_body(struct http_connection *connection, enum http_step step)
{
    struct bb_http_request *request = connection->request;
    struct bb_buf *body = &request->message.body;

    connection->deadline_us = after_ms(connection, connection->http->options.body_timeout_ms);
    if (step == HTTP_STEP_BAD) {
        http_connection_close(connection, BB_HTTP_END_GONE);
        return false;
    }
    if (body->size > 0) {
        request->body_events.on_data(request->body_events.arg, bb_buf_slice(body));
        /* It may have been answered, or its client closed. */
        if (connection->request != request || !request->is_body_open)
            return false;
        bb_buf_clear(body);
    }
    if (step != HTTP_STEP_DONE)
        return false;
    bool is_answered = connection->stream != NULL;
    connection->deadline_us = 0;
    http_request_body_end(request, true);
    if (is_answered && connection->request == request) {
        connection->request = NULL;
        connection->is_handling = false;
        http_request_release(request);
    } else if (connection->request == request && connection->is_eof) {
        http_request_gone(request);
    }
    return false;
}

static bool count_body(struct http_connection *connection)
{
    struct bb_http *http = connection->http;
    size_t size = connection->request->message.body.size;

    http->bodies_bytes += size - connection->counted_body;
    connection->counted_body = size;
    return http->bodies_bytes <= http->options.bodies_max;
}

static bool must_wait(const struct http_connection *connection)
{
    if (http_takes_body(connection) && connection->is_handling) {
        return connection->is_closing || connection->is_lingering ||
               connection->closes_after_write || !connection->request->is_body_begun ||
               connection->request->is_body_paused;
    }
    return connection->is_handling || connection->is_closing || connection->is_lingering ||
           connection->closes_after_write || connection->stream != NULL ||
           connection->out.size + connection->piece_bytes + connection->writing_bytes >
               HTTP_OUT_MAX;
}

/* One step of the request at the front of `bytes`. False: nothing more to do with them now. */
static bool feed_step(struct http_connection *connection, struct bb_slice *bytes)
{
    struct bb_http *http = connection->http;
    struct bb_http_request *request = connection->request;
    enum http_step step;
    size_t used;

    if (request == NULL) {
        request = connection->request = http_request_take(http);
        request->connection = connection;
        connection->deadline_us = after_ms(connection, http->options.header_timeout_ms);
    }
    step = http_message_feed(&request->message, *bytes, &used);
    *bytes = bb_slice(bytes->data + used, bytes->size - used);
    if (http_takes_body(connection))
        return tell_body(connection, step);
    switch (step) {
    case HTTP_STEP_MORE:
        if (!count_body(connection)) {
            refuse(connection, 503, "Overloaded",
                   "The server is receiving too much at once; try again.");
        }
        return false;
    case HTTP_STEP_HEAD:
        if (!head_is_fine(connection))
            return false;
        if (request->is_body_open)
            hand_over_head(connection);
        return true;
    case HTTP_STEP_BAD:
        refuse(connection, request->message.bad.status, request->message.bad.code,
               request->message.bad.text);
        return false;
    case HTTP_STEP_DONE:
        hand_over(connection);
        return true;
    }
    BB_UNREACHABLE("all steps are listed");
}

/* Work through what came, request by request; what cannot be looked at yet is kept in `rest`. */
static void feed(struct http_connection *connection, struct bb_slice bytes)
{
    bool goes_on = true;

    connection->is_feeding = true;
    while (goes_on && !must_wait(connection) &&
           (bytes.size > 0 || (connection->request != NULL &&
                               connection->request->message.state == HTTP_STATE_BODY_START)))
        goes_on = feed_step(connection, &bytes);
    connection->is_feeding = false;
    if (connection->is_closing || connection->is_lingering ||
        (connection->stream != NULL && !http_takes_body(connection)))
        return;
    if (bytes.size > 0)
        bb_buf_append_slice(&connection->rest, bytes);
    if (connection->rest.size > HTTP_REST_MAX)
        read_stop(connection);
}

void http_connection_next(struct http_connection *connection)
{
    struct bb_buf rest;

    if (connection->is_feeding || connection->is_closing)
        return;
    if (connection->rest.size > 0 && !must_wait(connection)) {
        rest = connection->rest;
        bb_buf_init(&connection->rest);
        feed(connection, bb_buf_slice(&rest));
        bb_buf_fini(&rest);
    }
    if (connection->is_eof && http_takes_body(connection) && connection->rest.size == 0) {
        http_connection_close(connection, BB_HTTP_END_GONE);
        return;
    }
    if (!connection->is_closing && !connection->is_lingering &&
        connection->rest.size <= HTTP_REST_MAX && !connection->is_eof)
        read_start(connection);
}

static void read_socket(struct http_connection *connection, struct bb_slice bytes)
{
    bytes = http_socket_read(connection, bytes);
    if (bytes.size == 0 || connection->is_closing)
        return;
    bb_buf_append_slice(&connection->rest, bytes);
    read_stop(connection);
}

void http_connection_resume(struct http_connection *connection)
{
    struct bb_buf rest = connection->rest;

    if (connection->is_closing || connection->is_reading || connection->is_eof ||
        connection->stream == NULL || connection->stream->socket == NULL)
        return;
    bb_buf_init(&connection->rest);
    read_socket(connection, bb_buf_slice(&rest));
    bb_buf_fini(&rest);
    if (!connection->is_closing && connection->rest.size == 0)
        read_start(connection);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buffer)
{
    struct http_connection *connection = handle->data;

    (void)size;
    *buffer = uv_buf_init((char *)connection->http->read_buffer, HTTP_READ_SIZE);
}

static void on_end(struct http_connection *connection, bool is_error)
{
    read_stop(connection);
    connection->is_eof = true;
    /* The end of the body may have been read, and not been told. */
    if (!is_error && http_takes_body(connection) && connection->rest.size > 0)
        return;
    if (http_takes_body(connection)) {
        http_connection_close(connection, BB_HTTP_END_GONE);
        return;
    }
    /* A client that only closed its half still hears the answer of what is under way. */
    if (!is_error && connection->is_handling && !connection->is_lingering &&
        connection->stream == NULL) {
        http_request_gone(connection->request);
        return;
    }
    if (!is_error && connection->request == NULL && connection->stream == NULL &&
        !connection->is_lingering && (connection->out.size > 0 || connection->is_writing)) {
        connection->closes_after_write = true;
        http_connection_dirty(connection);
        return;
    }
    http_connection_close(connection, BB_HTTP_END_GONE);
}

static void on_read(uv_stream_t *tcp, ssize_t size, const uv_buf_t *buffer)
{
    struct http_connection *connection = tcp->data;
    struct bb_slice bytes = bb_slice(buffer->base, size > 0 ? (size_t)size : 0);

    if (size < 0) {
        on_end(connection, size != UV_EOF);
        return;
    }
    if (!connection->is_closing && connection->stream != NULL && connection->stream->socket != NULL)
        read_socket(connection, bytes);
    if (connection->is_closing || (connection->stream != NULL && !http_takes_body(connection)))
        return;
    if (connection->is_lingering) {
        connection->lingered += bytes.size;
        if (connection->lingered > HTTP_LINGER_BYTES)
            read_stop(connection);
        return;
    }
    if (connection->rest.size > 0 || must_wait(connection)) {
        bb_buf_append_slice(&connection->rest, bytes);
        if (connection->rest.size > HTTP_REST_MAX)
            read_stop(connection);
        return;
    }
    feed(connection, bytes);
}

static void read_start(struct http_connection *connection)
{
    if (connection->is_reading)
        return;
    if (uv_read_start((uv_stream_t *)&connection->tcp, on_alloc, on_read) == 0) {
        connection->is_reading = true;
    } else {
        http_connection_close(connection, BB_HTTP_END_GONE);
    }
}

/* ---- time ---- */

/* Does the client take nothing of what is being written? */
static bool is_stalled(struct http_connection *connection, uint64_t now_us)
{
    size_t size = uv_stream_get_write_queue_size((const uv_stream_t *)&connection->tcp);

    if (!connection->is_writing)
        return false;
    if (size != connection->stalled_size) {
        connection->stalled_size = size;
        connection->stalled_us = now_us;
    }
    return now_us >
           connection->stalled_us + (uint64_t)connection->http->options.stall_timeout_ms * 1000;
}

void http_connection_tick(struct http_connection *connection, uint64_t now_us)
{
    if (is_stalled(connection, now_us)) {
        http_connection_close(connection, BB_HTTP_END_STUCK);
        return;
    }
    if (connection->deadline_us == 0 || now_us < connection->deadline_us)
        return;
    if (http_takes_body(connection) && connection->is_handling && !connection->is_lingering) {
        /* While it is paused, it is not the client who is slow. */
        if (!must_wait(connection))
            http_connection_close(connection, BB_HTTP_END_GONE);
        return;
    }
    if (connection->is_lingering || connection->request == NULL) {
        if (!connection->is_writing)
            http_connection_close(connection, BB_HTTP_END_GONE);
        return;
    }
    refuse(connection, 408, bb_status_name(BB_REQUEST_TIMEOUT),
           connection->request->message.state == HTTP_STATE_HEAD
               ? "The headers of the request did not arrive in time."
               : "The body of the request did not arrive in time.");
}

/* ---- the beginning ---- */

static void set_options(struct http_connection *connection)
{
    unsigned timeout_ms = USER_TIMEOUT_MS;
    uv_os_fd_t fd;

    (void)uv_tcp_nodelay(&connection->tcp, 1);
    if (uv_fileno((const uv_handle_t *)&connection->tcp, &fd) == 0) {
        /* Best effort: our own stall timeout covers kernels without it. */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
    }
}

void http_connection_accept(struct bb_http *http)
{
    static const char full[] =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 75\r\n"
        "Retry-After: 1\r\nConnection: close\r\n\r\n"
        "{\"code\":\"Overloaded\",\"message\":\"The server has too many connections open.\"}";
    struct http_connection *connection = bb_alloc_zero(1, sizeof(*connection));
    int rc = uv_tcp_init(bb_loop_uv(http->loop), &connection->tcp);

    bb_assert(rc == 0);
    connection->http = http;
    connection->tcp.data = connection;
    http->handle_count++;
    bb_list_init(&connection->dirty);
    bb_list_push_back(&http->connections, &connection->link);
    http->connection_count++;
    bb_metric_add(http->open, 1);
    rc = uv_accept((uv_stream_t *)&http->listener, (uv_stream_t *)&connection->tcp);
    if (rc != 0) {
        http_connection_close(connection, BB_HTTP_END_GONE);
        return;
    }
    if (http->connection_count > http->options.connections_max) {
        bb_metric_add(http->refused, 1);
        bb_buf_append(&connection->out, full, sizeof(full) - 1);
        connection->is_lingering = true;
        connection->deadline_us = after_ms(connection, HTTP_LINGER_MS);
        http_connection_dirty(connection);
        read_start(connection);
        return;
    }
    set_options(connection);
    connection->deadline_us = after_ms(connection, http->options.idle_timeout_ms);
    read_start(connection);
}
