/*
 * WebSockets: a request that became one shares the writing side with event streams; what it reads
 * goes through frame.c.
 */
#include "handshake.h"
#include "server.h"

#define CLOSE_WAIT_MS 2000u /* for the client's half of a close */

struct http_socket {
    struct bb_http_socket_events events;
    struct http_frames frames;
    size_t counted; /* its part of bodies_bytes */
};

bool bb_http_wants_socket(const struct bb_http_request *request)
{
    return http_wants_socket(&request->message);
}

/* ---- sending ---- */

struct bb_http_buffer *bb_http_socket_text(struct bb_slice text)
{
    struct bb_http_buffer *buffer;
    struct bb_buf frame;

    bb_buf_init(&frame);
    http_frame_append(&frame, HTTP_OPCODE_TEXT, text);
    buffer = bb_http_buffer_new(bb_buf_slice(&frame));
    bb_buf_fini(&frame);
    return buffer;
}

static void send_frame(struct bb_http_stream *stream, const struct bb_buf *frame)
{
    struct bb_http_buffer *buffer = bb_http_buffer_new(bb_buf_slice(frame));

    bb_http_stream_send(stream, buffer);
    bb_http_buffer_release(buffer);
}

void bb_http_socket_ping(struct bb_http_stream *stream)
{
    struct bb_buf frame;

    if (stream->is_ending)
        return;
    bb_buf_init(&frame);
    http_frame_append(&frame, HTTP_OPCODE_PING, BB_SLICE_EMPTY);
    send_frame(stream, &frame);
    bb_buf_fini(&frame);
}

void bb_http_socket_close(struct bb_http_stream *stream, uint16_t code, const char *reason)
{
    struct http_connection *connection = stream->connection;
    struct bb_buf frame;

    if (stream->is_ending)
        return;
    bb_buf_init(&frame);
    http_frame_append_close(&frame, code, reason);
    send_frame(stream, &frame);
    bb_buf_fini(&frame);
    if (stream->is_ending)
        return; /* its queue was full */
    stream->is_ending = true;
    stream->end = BB_HTTP_END_OURS;
    connection->deadline_us =
        bb_loop_now_us(connection->http->loop) + (uint64_t)CLOSE_WAIT_MS * 1000;
}

/* ---- receiving ---- */

static void count_bytes(struct http_connection *connection, struct http_socket *socket)
{
    size_t bytes = http_frames_bytes(&socket->frames);

    connection->http->bodies_bytes += bytes - socket->counted;
    socket->counted = bytes;
}

static void answer_close(struct http_connection *connection, uint16_t code)
{
    struct bb_http_stream *stream = connection->stream;
    struct bb_buf frame;

    if (!stream->is_ending) {
        bb_buf_init(&frame);
        if (code == 1005)
            http_frame_append(&frame, HTTP_OPCODE_CLOSE, BB_SLICE_EMPTY);
        else
            http_frame_append_close(&frame, code, "");
        send_frame(stream, &frame);
        bb_buf_fini(&frame);
        stream->is_ending = true;
        stream->end = BB_HTTP_END_GONE;
    }
    /* After a close that was ours nothing is left to say. */
    connection->closes_after_write = true;
    http_connection_dirty(connection);
}

static void answer_ping(struct bb_http_stream *stream, struct bb_slice payload)
{
    struct bb_buf frame;

    bb_buf_init(&frame);
    http_frame_append(&frame, HTTP_OPCODE_PONG, payload);
    send_frame(stream, &frame);
    bb_buf_fini(&frame);
}

/* The client does not take the answers to what it has sent: no more is read before it does. */
static bool must_pause(const struct http_connection *connection)
{
    return connection->is_writing && connection->stream->queue_count >= HTTP_SOCKET_QUEUE_MAX;
}

struct bb_slice http_socket_read(struct http_connection *connection, struct bb_slice bytes)
{
    struct bb_http_stream *stream = connection->stream;
    struct http_socket *socket = stream->socket;

    while (bytes.size > 0 && !connection->is_closing && !must_pause(connection)) {
        size_t used;
        enum http_frame_step step = http_frames_feed(&socket->frames, bytes, &used);

        bytes = bb_slice(bytes.data + used, bytes.size - used);
        count_bytes(connection, socket);
        switch (step) {
        case HTTP_FRAME_MORE:
            break;
        case HTTP_FRAME_PONG:
            if (!stream->is_ending && socket->events.on_pong != NULL)
                socket->events.on_pong(socket->events.arg);
            break;
        case HTTP_FRAME_TEXT:
            if (!stream->is_ending)
                socket->events.on_message(socket->events.arg, socket->frames.payload);
            break;
        case HTTP_FRAME_PING:
            answer_ping(stream, socket->frames.payload);
            break;
        case HTTP_FRAME_CLOSE:
            answer_close(connection, socket->frames.code);
            break;
        case HTTP_FRAME_BAD:
            bb_http_socket_close(stream, socket->frames.code, socket->frames.why);
            break;
        }
    }
    if (!connection->is_closing &&
        connection->http->bodies_bytes > connection->http->options.bodies_max)
        bb_http_socket_close(stream, 1013, "The server is receiving too much at once; try again.");
    return bytes;
}

/* ---- begin and end ---- */

static void on_end(void *arg, enum bb_http_end end)
{
    struct http_socket *socket = arg;

    socket->events.on_end(socket->events.arg, end);
}

static void on_sent(void *arg)
{
    struct http_socket *socket = arg;

    if (socket->events.on_sent != NULL)
        socket->events.on_sent(socket->events.arg);
}

void http_socket_free(struct http_socket *socket, struct bb_http *http)
{
    if (socket == NULL)
        return;
    http->bodies_bytes -= socket->counted;
    http_frames_fini(&socket->frames);
    bb_free(socket);
}

struct bb_http_stream *bb_http_socket_begin(struct bb_http_request *request,
                                            const struct bb_http_socket_events *events)
{
    const char *trouble = http_check_handshake(&request->message);
    struct http_socket *socket;
    struct bb_http_stream *stream;
    struct bb_buf headers;

    if (trouble != NULL || bb_http_is_gone(request)) {
        bb_http_respond_error(request, 400, "BadRequest", trouble == NULL ? "" : trouble);
        return NULL;
    }
    bb_buf_init(&headers);
    bb_buf_append_str(&headers,
                      "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
    http_accept_append(&headers, bb_http_header(request, "sec-websocket-key"));
    bb_buf_append_str(&headers, "\r\n");
    socket = bb_alloc_zero(1, sizeof(*socket));
    socket->events = *events;
    http_frames_init(&socket->frames, request->http->options.body_max);
    stream = http_stream_new(
        request, 101, NULL, -1, bb_buf_slice(&headers),
        &(struct bb_http_stream_events){ .on_end = on_end, .on_sent = on_sent, .arg = socket });
    stream->socket = socket;
    bb_buf_fini(&headers);
    return stream;
}
