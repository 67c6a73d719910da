/*
 * Shared inside libs/http: the server, its connections and what they carry.
 *
 * A connection is in one of these situations, told by its fields:
 *   idle       request == NULL, stream == NULL
 *   receiving  request != NULL, !is_handling
 *   handling   request != NULL, is_handling: the owner has it; later bytes wait in `rest`, but
 * those of a body that the owner takes as it comes (http_takes_body) streaming  stream != NULL:
 * events, or the messages of a WebSocket lingering  an error was answered; what still comes is
 * dropped until the client hangs up closing    uv_close was called; memory goes with its callback
 */
#ifndef BB_HTTP_SERVER_H
#define BB_HTTP_SERVER_H

#include <uv.h>

#include "bb/http.h"
#include "bb/obs.h"
#include "frame.h"
#include "message.h"

#define HTTP_MAGIC            0x68747470u
#define HTTP_READ_SIZE        65536u
#define HTTP_REST_MAX         65536u     /* pipelined bytes that wait, before reading stops */
#define HTTP_OUT_MAX          (1u << 20) /* unsent answers, before pipelined requests wait */
#define HTTP_LINGER_BYTES     (4u << 20)
#define HTTP_LINGER_MS        2000u
#define HTTP_REQUEST_POOL     64u
#define HTTP_PIECES_MAX       4u
#define HTTP_COPIED_MAX       4096u /* shared bytes that are copied all the same */
#define HTTP_SOCKET_QUEUE_MAX 32u   /* events of a blocked WebSocket, before reading stops */
#define HTTP_TICK_MS          500u
#define HTTP_ARENA_MAX        (64u << 20)

struct http_socket;

struct bb_http {
    uint32_t magic;
    uint32_t handle_count; /* open uv handles; the memory goes with the last one */
    struct bb_loop *loop;
    struct bb_http_options options;
    char *listen;
    uint16_t port;
    uv_tcp_t listener;
    uv_idle_t flusher; /* active while `dirty` is not empty */
    bool is_listening, is_stopping, is_closed;
    struct bb_timer *tick;
    struct bb_list connections;
    size_t connection_count;
    struct bb_list dirty; /* connections that have something to write */
    struct bb_list idle_requests;
    size_t idle_request_count;
    size_t bodies_bytes;
    uint64_t stop_deadline_us;
    void (*stopped)(void *arg);
    void *stopped_arg;
    uint8_t *read_buffer;
    struct bb_metric *requests, *refused, *open, *streams;
};

struct bb_http_request {
    struct bb_list link; /* in idle_requests */
    struct bb_http *http;
    struct http_connection *connection; /* NULL: the client left */
    struct http_message message;
    struct bb_buf decoded; /* a body that came compressed */
    bool is_decoded;
    bool is_body_open, is_body_begun,
        is_body_paused; /* of a body that the owner takes as it comes */
    struct bb_http_body_events body_events;
    struct bb_arena *arena;
    void *data;
    void (*gone)(void *arg); /* NULL: not wanted, or called */
    void *gone_arg;
};

struct bb_http_stream {
    struct http_connection *connection;
    struct bb_http_stream_events events;
    struct bb_http_buffer **queue;
    uint32_t queue_count, queue_capacity;
    uint32_t writing_count; /* events handed to the kernel's queue, not taken yet */
    size_t bytes;           /* of both */
    enum bb_http_end end;
    bool is_ending;
    bool owes_sent;               /* on_sent is due */
    bool is_chunked, has_no_body; /* of a response */
    struct http_socket *socket;   /* NULL: a stream of events */
};

/* Bytes that others send, too: they come behind the first `at` bytes of `out`. */
struct http_piece {
    size_t at;
    struct bb_http_buffer *buffer;
};

struct http_connection {
    uv_tcp_t tcp;
    struct bb_http *http;
    struct bb_list link;  /* in connections */
    struct bb_list dirty; /* in http->dirty, or alone */
    struct bb_http_request *request;
    struct bb_http_stream *stream;
    struct bb_buf rest;
    struct bb_buf out;
    struct http_piece pieces[HTTP_PIECES_MAX]; /* shared bytes among those of `out` */
    unsigned piece_count;
    size_t piece_bytes;
    size_t writing_bytes;
    size_t counted_body;  /* its part of bodies_bytes */
    uint64_t deadline_us; /* 0: none */
    uint64_t stalled_us;  /* since when the write under way makes no progress */
    size_t stalled_size;
    size_t lingered;
    bool is_handling, is_feeding, is_reading, is_writing, is_eof, is_lingering, is_closing;
    bool closes_after_write;
};

/* The rest of the request's body is the owner's, piece by piece. */
static inline bool http_takes_body(const struct http_connection *connection)
{
    return connection->request != NULL && connection->request->is_body_open;
}

/* connection.c */
void http_connection_accept(struct bb_http *http);
void http_connection_close(struct http_connection *connection, enum bb_http_end end);
void http_connection_tick(struct http_connection *connection, uint64_t now_us);
/* The request was answered: read on. */
void http_connection_next(struct http_connection *connection);
/* The client of a WebSocket has taken what was queued: read on. */
void http_connection_resume(struct http_connection *connection);

/* write.c: there is something to send; send it. */
void http_connection_dirty(struct http_connection *connection);
void http_connection_flush(struct http_connection *connection);
/* The connection's references to shared bytes. */
void http_connection_drop_pieces(struct http_connection *connection);
/* Hand the queue of a stream to the kernel as far as it goes; who waits for that hears of it with
 * the next flush. */
void http_connection_make_room(struct http_connection *connection);

/* request.c */
struct bb_http_request *http_request_take(struct bb_http *http);
void http_request_release(struct bb_http_request *request);
void http_request_free(struct bb_http_request *request);
/* No more of the body comes; tells the owner. */
void http_request_body_end(struct bb_http_request *request, bool is_whole);
/* The client left while the owner has the request. */
void http_request_gone(struct bb_http_request *request);
/* Appends status line, common and given lines, and the empty line. `length` < 0: no Content-Length.
 */
void http_head_append(struct bb_http_request *request, struct bb_buf *to, int status,
                      const char *content_type, int64_t length, bool closes,
                      struct bb_slice headers);

/* stream.c; the request is not gone. */
struct bb_http_stream *http_stream_new(struct bb_http_request *request, int status,
                                       const char *content_type, int64_t length,
                                       struct bb_slice headers,
                                       const struct bb_http_stream_events *events);
void http_stream_ended(struct bb_http_stream *stream);

/* socket.c */
/* Returns what cannot be looked at before the client has taken what is queued for it. */
struct bb_slice http_socket_read(struct http_connection *connection, struct bb_slice bytes);
void http_socket_free(struct http_socket *socket, struct bb_http *http); /* accepts NULL */

/* server.c */
void http_on_idle(uv_idle_t *handle);
void http_handle_closed(struct bb_http *http);

#endif
