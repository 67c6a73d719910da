#include "server.h"

#define STREAM_SEND_BUFFER 65536

/* ---- shared bytes ---- */

struct bb_http_buffer *bb_http_buffer_new(struct bb_slice from)
{
    struct bb_http_buffer *buffer = bb_alloc(sizeof(*buffer) + from.size);

    buffer->reference_count = 1;
    buffer->size = from.size;
    if (from.size > 0)
        memcpy(buffer->data, from.data, from.size);
    return buffer;
}

struct bb_http_buffer *bb_http_buffer_retain(struct bb_http_buffer *buffer)
{
    buffer->reference_count++;
    return buffer;
}

void bb_http_buffer_release(struct bb_http_buffer *buffer)
{
    if (buffer == NULL)
        return;
    bb_assert(buffer->reference_count > 0);
    if (--buffer->reference_count == 0)
        bb_free(buffer);
}

/* ---- streams ---- */

const char *bb_http_end_name(enum bb_http_end end)
{
    switch (end) {
    case BB_HTTP_END_GONE:
        return "gone";
    case BB_HTTP_END_STUCK:
        return "stuck";
    case BB_HTTP_END_FULL:
        return "full";
    case BB_HTTP_END_OURS:
        return "ours";
    }
    BB_UNREACHABLE("all ends are listed");
}

struct bb_http_stream *http_stream_new(struct bb_http_request *request, int status,
                                       const char *content_type, int64_t length,
                                       struct bb_slice headers,
                                       const struct bb_http_stream_events *events)
{
    struct http_connection *connection = request->connection;
    struct bb_http_stream *stream;
    int send_buffer = STREAM_SEND_BUFFER;

    bb_assert(connection->request == request && connection->is_handling);
    http_head_append(request, &connection->out, status, content_type, length, status != 101,
                     headers);
    /* The kernel would take up to 4 MB for a reader that is stuck, and nobody would see it. */
    (void)uv_send_buffer_size((uv_handle_t *)&connection->tcp, &send_buffer);
    stream = bb_alloc_zero(1, sizeof(*stream));
    stream->events = *events;
    stream->end = BB_HTTP_END_GONE;
    bb_metric_add(request->http->streams, 1);
    stream->connection = connection;
    connection->stream = stream;
    /* A body that still comes keeps the request. */
    if (!http_takes_body(connection)) {
        connection->request = NULL;
        connection->is_handling = false;
        connection->deadline_us = 0;
        bb_buf_fini(&connection->rest);
        bb_buf_init(&connection->rest);
        http_request_release(request);
    }
    http_connection_dirty(connection);
    /* Reading goes on: it is how a client that hangs up is noticed. */
    http_connection_next(connection);
    return stream;
}

struct bb_http_stream *bb_http_stream_begin(struct bb_http_request *request,
                                            const char *content_type,
                                            const struct bb_http_stream_events *events)
{
    if (bb_http_is_gone(request)) {
        bb_http_respond(request, 200, content_type, BB_SLICE_EMPTY, BB_SLICE_EMPTY);
        return NULL;
    }
    return http_stream_new(
        request, 200, content_type, -1,
        bb_slice_str("Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n"), events);
}

struct bb_http_stream *bb_http_response_begin(struct bb_http_request *request, int status,
                                              struct bb_slice headers, int64_t length,
                                              const struct bb_http_stream_events *events)
{
    static const char chunked[] = "Transfer-Encoding: chunked\r\n";
    bool has_no_body =
        request->message.method == BB_HTTP_HEAD || status == 204 || status == 304 || status < 200;
    bool is_chunked = length < 0 && !has_no_body && !request->message.is_http_1_0;
    struct bb_buf lines;

    if (bb_http_is_gone(request)) {
        bb_http_respond(request, status, NULL, BB_SLICE_EMPTY, BB_SLICE_EMPTY);
        return NULL;
    }
    bb_buf_init(&lines);
    bb_buf_append_slice(&lines, headers);
    if (is_chunked)
        bb_buf_append_str(&lines, chunked);
    struct bb_http_stream *stream =
        http_stream_new(request, status, NULL, status == 204 || status < 200 ? -1 : length,
                        bb_buf_slice(&lines), events);
    bb_buf_fini(&lines);
    stream->is_chunked = is_chunked;
    stream->has_no_body = has_no_body;
    return stream;
}

void bb_http_response_send(struct bb_http_stream *stream, struct bb_slice bytes)
{
    struct bb_http_buffer *buffer;
    struct bb_buf framed;

    if (bytes.size == 0 || stream->has_no_body)
        return;
    bb_buf_init(&framed);
    if (stream->is_chunked)
        bb_buf_printf(&framed, "%zx\r\n", bytes.size);
    bb_buf_append_slice(&framed, bytes);
    if (stream->is_chunked)
        bb_buf_append_str(&framed, "\r\n");
    buffer = bb_http_buffer_new(bb_buf_slice(&framed));
    bb_buf_fini(&framed);
    bb_http_stream_send(stream, buffer);
    bb_http_buffer_release(buffer);
}

void bb_http_response_end(struct bb_http_stream *stream)
{
    if (stream->is_chunked) {
        struct bb_http_buffer *last = bb_http_buffer_new(bb_slice_str("0\r\n\r\n"));

        bb_http_stream_send(stream, last);
        bb_http_buffer_release(last);
    }
    bb_http_stream_close(stream);
}

void http_stream_ended(struct bb_http_stream *stream)
{
    bb_metric_add(stream->connection->http->streams, -1);
    for (uint32_t i = 0; i < stream->queue_count; i++)
        bb_http_buffer_release(stream->queue[i]);
    bb_free(stream->queue);
    stream->events.on_end(stream->events.arg, stream->end);
    http_socket_free(stream->socket, stream->connection->http);
    bb_free(stream);
}

void bb_http_stream_send(struct bb_http_stream *stream, struct bb_http_buffer *buffer)
{
    size_t waiting = 0; /* bytes that are queued already, without what is being written */

    if (stream->is_ending || stream->connection->closes_after_write)
        return;
    for (uint32_t i = 0; i < stream->queue_count; i++)
        waiting += stream->queue[i]->size;
    /* Much was sent in one turn to a client that does take it: it has not been told yet. */
    if ((stream->queue_count >= BB_HTTP_STREAM_EVENTS_MAX || waiting >= BB_HTTP_STREAM_BYTES_MAX) &&
        !stream->connection->is_writing) {
        http_connection_make_room(stream->connection);
        if (stream->is_ending)
            return;
        waiting = 0;
    }
    if (stream->queue_count >= BB_HTTP_STREAM_EVENTS_MAX || waiting >= BB_HTTP_STREAM_BYTES_MAX) {
        http_connection_close(stream->connection, BB_HTTP_END_FULL);
        return;
    }
    if (stream->queue_count == stream->queue_capacity) {
        stream->queue_capacity = stream->queue_capacity == 0 ? 2 : stream->queue_capacity * 2;
        stream->queue =
            bb_realloc(stream->queue, stream->queue_capacity * sizeof(struct bb_http_buffer *));
    }
    stream->queue[stream->queue_count++] = bb_http_buffer_retain(buffer);
    stream->bytes += buffer->size;
    http_connection_dirty(stream->connection);
}

bool bb_http_stream_is_blocked(const struct bb_http_stream *stream)
{
    return stream->connection->is_writing;
}

size_t bb_http_stream_queued(const struct bb_http_stream *stream, size_t *bytes)
{
    *bytes = stream->bytes;
    return stream->queue_count + stream->writing_count;
}

void bb_http_stream_close(struct bb_http_stream *stream)
{
    if (stream->is_ending)
        return;
    stream->end = BB_HTTP_END_OURS;
    stream->is_ending = true;
    stream->connection->closes_after_write = true;
    http_connection_dirty(stream->connection);
}
