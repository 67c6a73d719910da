#include <sys/socket.h>

#include "server.h"

#define IOV_MAX_COUNT (2 + 2 * HTTP_PIECES_MAX + BB_HTTP_STREAM_EVENTS_MAX)

/* What one write call carries when the kernel did not take all at once. */
struct write_job {
    uv_write_t write;
    struct http_connection *connection;
    struct bb_buf bytes;
    size_t event_count, event_bytes;
    struct http_piece pieces[HTTP_PIECES_MAX];
    unsigned piece_count;
    struct bb_http_buffer *events[];
};

void http_connection_dirty(struct http_connection *connection)
{
    struct bb_http *http = connection->http;

    if (connection->is_closing || !bb_list_is_empty(&connection->dirty))
        return;
    if (bb_list_is_empty(&http->dirty))
        (void)uv_idle_start(&http->flusher, http_on_idle);
    bb_list_push_back(&http->dirty, &connection->dirty);
}

static size_t queue_count(const struct http_connection *connection)
{
    return connection->stream == NULL ? 0 : connection->stream->queue_count;
}

/* The response has ended before the body of its request: closing now would take it from the client.
 */
static void linger(struct http_connection *connection)
{
    struct bb_http_request *request = connection->request;
    uv_os_fd_t fd;

    connection->closes_after_write = false;
    connection->is_lingering = true;
    connection->deadline_us =
        bb_loop_now_us(connection->http->loop) + (uint64_t)HTTP_LINGER_MS * 1000;
    connection->request = NULL;
    connection->is_handling = false;
    http_request_body_end(request, false);
    http_request_release(request);
    if (uv_fileno((const uv_handle_t *)&connection->tcp, &fd) == 0)
        (void)shutdown(fd, SHUT_WR);
}

/* Everything that was to be sent is with the kernel. */
static void all_written(struct http_connection *connection)
{
    struct bb_http_stream *stream = connection->stream;

    if (connection->closes_after_write && http_takes_body(connection)) {
        linger(connection);
    } else if (connection->closes_after_write) {
        http_connection_close(connection, BB_HTTP_END_OURS);
    } else if (connection->is_lingering) {
        uv_os_fd_t fd;

        /* The client sees the end of the answer; what it still sends is dropped, up to a bound. */
        if (uv_fileno((const uv_handle_t *)&connection->tcp, &fd) == 0)
            (void)shutdown(fd, SHUT_WR);
    } else if (stream == NULL && connection->rest.size > 0 && connection->request == NULL) {
        http_connection_next(connection);
    }
}

static void release_pieces(struct http_piece *pieces, unsigned *count)
{
    while (*count > 0)
        bb_http_buffer_release(pieces[--*count].buffer);
}

void http_connection_drop_pieces(struct http_connection *connection)
{
    release_pieces(connection->pieces, &connection->piece_count);
    connection->piece_bytes = 0;
}

static void job_free(struct write_job *job)
{
    release_pieces(job->pieces, &job->piece_count);
    for (size_t i = 0; i < job->event_count; i++)
        bb_http_buffer_release(job->events[i]);
    bb_buf_fini(&job->bytes);
    bb_free(job);
}

/* The owner may send more, or close. */
static void tell_sent(struct http_connection *connection)
{
    struct bb_http_stream *stream = connection->stream;

    if (!connection->is_closing && stream != NULL && !stream->is_ending &&
        stream->events.on_sent != NULL)
        stream->events.on_sent(stream->events.arg);
}

static void on_written(uv_write_t *write, int status)
{
    struct write_job *job = write->data;
    struct http_connection *connection = job->connection;
    struct bb_http_stream *stream = connection->stream;

    connection->is_writing = false;
    connection->writing_bytes = 0;
    if (stream != NULL) {
        stream->writing_count -= (uint32_t)job->event_count;
        stream->bytes -= job->event_bytes;
    }
    job_free(job);
    if (connection->is_closing)
        return;
    if (status < 0) {
        http_connection_close(connection, BB_HTTP_END_GONE);
        return;
    }
    if (stream != NULL && stream->queue_count == 0 && connection->out.size == 0) {
        if (!stream->is_ending && stream->events.on_drain != NULL)
            stream->events.on_drain(stream->events.arg);
        tell_sent(connection);
    }
    http_connection_dirty(connection);
    http_connection_resume(connection);
}

/* The kernel took `sent` bytes; the rest goes to libuv, which waits for the socket. */
static void write_rest(struct http_connection *connection, uv_buf_t *parts, unsigned part_count,
                       size_t sent)
{
    size_t events = queue_count(connection);
    struct write_job *job =
        bb_alloc_zero(1, sizeof(*job) + events * sizeof(struct bb_http_buffer *));

    job->connection = connection;
    job->write.data = job;
    job->bytes = connection->out;
    bb_buf_init(&connection->out);
    memcpy(job->pieces, connection->pieces, sizeof(job->pieces));
    job->piece_count = connection->piece_count;
    connection->piece_count = 0;
    connection->piece_bytes = 0;
    job->event_count = events;
    for (size_t i = 0; i < events; i++) {
        job->events[i] = connection->stream->queue[i];
        job->event_bytes += job->events[i]->size;
    }
    if (events > 0) {
        connection->stream->queue_count = 0;
        connection->stream->writing_count = (uint32_t)events;
    }
    while (sent >= parts->len) {
        sent -= parts->len;
        parts++;
        part_count--;
    }
    parts->base += sent;
    parts->len -= sent;
    for (unsigned i = 0; i < part_count; i++)
        connection->writing_bytes += parts[i].len;
    connection->is_writing = true;
    connection->stalled_us = bb_loop_now_us(connection->http->loop);
    connection->stalled_size = connection->writing_bytes;
    if (uv_write(&job->write, (uv_stream_t *)&connection->tcp, parts, part_count, on_written) < 0) {
        connection->is_writing = false;
        job_free(job);
        http_connection_close(connection, BB_HTTP_END_GONE);
    }
}

/* What is to be written beside the events of a stream; returns how many parts. */
static unsigned out_parts(const struct http_connection *connection, uv_buf_t *parts)
{
    char *out = (char *)connection->out.data;
    size_t from = 0;
    unsigned count = 0;

    for (unsigned i = 0; i < connection->piece_count; i++) {
        const struct http_piece *piece = &connection->pieces[i];

        parts[count++] = uv_buf_init(out + from, (unsigned)(piece->at - from));
        parts[count++] = uv_buf_init((char *)piece->buffer->data, (unsigned)piece->buffer->size);
        from = piece->at;
    }
    if (connection->out.size > from)
        parts[count++] = uv_buf_init(out + from, (unsigned)(connection->out.size - from));
    return count;
}

/* True: the kernel has all of it. */
static bool write_queue(struct http_connection *connection)
{
    struct bb_http_stream *stream = connection->stream;
    uv_buf_t parts[IOV_MAX_COUNT];
    unsigned part_count = out_parts(connection, parts);
    size_t total = connection->out.size + connection->piece_bytes;
    int sent;

    for (size_t i = 0; i < queue_count(connection); i++) {
        struct bb_http_buffer *event = stream->queue[i];

        parts[part_count++] = uv_buf_init((char *)event->data, (unsigned)event->size);
        total += event->size;
    }
    if (total == 0)
        return true;
    sent = uv_try_write((uv_stream_t *)&connection->tcp, parts, part_count);
    if (sent < 0 && sent != UV_EAGAIN) {
        http_connection_close(connection, BB_HTTP_END_GONE);
        return false;
    }
    if (sent < 0)
        sent = 0;
    if ((size_t)sent < total) {
        write_rest(connection, parts, part_count, (size_t)sent);
        return false;
    }
    if (connection->out.capacity > 65536 || stream != NULL) {
        bb_buf_fini(&connection->out);
        bb_buf_init(&connection->out);
    }
    bb_buf_clear(&connection->out);
    http_connection_drop_pieces(connection);
    for (size_t i = 0; i < queue_count(connection); i++) {
        stream->bytes -= stream->queue[i]->size;
        bb_http_buffer_release(stream->queue[i]);
    }
    if (stream != NULL)
        stream->queue_count = 0;
    return true;
}

void http_connection_make_room(struct http_connection *connection)
{
    if (connection->is_writing || connection->is_closing || !write_queue(connection))
        return;
    connection->stream->owes_sent = true;
    http_connection_dirty(connection);
}

void http_connection_flush(struct http_connection *connection)
{
    if (!connection->is_closing && http_takes_body(connection))
        http_connection_next(connection); /* the owner asked for more of the body */
    struct bb_http_stream *stream = connection->stream;
    bool owes_sent = queue_count(connection) > 0 || (stream != NULL && stream->owes_sent);

    if (connection->is_writing || connection->is_closing)
        return;
    if (stream != NULL)
        stream->owes_sent = false;
    if (!write_queue(connection))
        return;
    all_written(connection);
    if (owes_sent)
        tell_sent(connection);
}
