/*
 * An HTTP/1.1 server on the owner loop: requests in, with whole bodies or bodies that are taken as
 * they come; responses and streams out, and files from a folder.
 *
 * - A request is answered exactly once: by a response or by becoming a stream. Requests of one
 *   connection are handed over one at a time, so pipelined ones are answered in order.
 * - What is written during one turn of the loop leaves with one system call per connection.
 * - Everything is bounded: request line 8 KB, headers 32 KB and 100 fields, body, time,
 * connections, the queue of a stream. Each bound has its own answer, `{code, message}` as JSON.
 * - Framing is strict, as behind a proxy everything else is request smuggling: no bare line feeds,
 * no blank before a colon, no folded fields, one Host, HTTP/1.0 or 1.1, never two ways to say a
 * length.
 *
 * Threads: all functions are called on the owner thread of the loop. Durability: none.
 */
#ifndef BB_HTTP_H
#define BB_HTTP_H

#include "bb/base.h"
#include "bb/rt.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bb_http;
struct bb_http_request;
struct bb_http_stream;

enum bb_http_method {
    BB_HTTP_GET,
    BB_HTTP_HEAD,
    BB_HTTP_POST,
    BB_HTTP_PUT,
    BB_HTTP_PATCH,
    BB_HTTP_DELETE,
    BB_HTTP_OPTIONS,
    BB_HTTP_OTHER
};

/* ---- bytes shared by many streams and responses: immutable, counted ---- */

struct bb_http_buffer {
    uint32_t reference_count;
    size_t size;
    uint8_t data[];
};
/* A copy of `from` with one reference, the caller's. */
struct bb_http_buffer *bb_http_buffer_new(struct bb_slice from);
struct bb_http_buffer *bb_http_buffer_retain(struct bb_http_buffer *buffer);
void bb_http_buffer_release(struct bb_http_buffer *buffer); /* accepts NULL */

/* ---- server ---- */

struct bb_http_options {
    const char *listen;         /* host:port, [v6]:port; port 0: any, see bb_http_port */
    size_t connections_max;     /* beyond: 503; 0: 10,000 */
    size_t body_max;            /* bytes, after decoding too; 0: 20 MiB */
    size_t bodies_max;          /* bytes of all bodies that are being received; 0: 512 MiB */
    uint32_t header_timeout_ms; /* from the first byte; 0: 10 s */
    uint32_t body_timeout_ms;   /* from the end of the headers; 0: 60 s */
    uint32_t idle_timeout_ms;   /* between requests; 0: 75 s */
    uint32_t stall_timeout_ms;  /* a client that takes nothing of what is sent; 0: 30 s */
    /* Called once for each request, when it is whole; or, see wants_stream, when its head is. */
    void (*handle)(void *arg, struct bb_http_request *request);
    /* May be NULL. Whether a body with `Content-Encoding: br` is welcome at this path (without
     * query). */
    bool (*accepts_brotli)(void *arg, struct bb_slice path);
    /* May be NULL. Whether the body of this request, of which only the head is there, shall be
     * taken as it comes (bb_http_body_begin). No limit of size holds for it then. */
    bool (*wants_stream)(void *arg, const struct bb_http_request *request);
    /* May be NULL. Header lines ("Name: value\r\n") for every response, errors of this library too.
     */
    void (*decorate)(void *arg, const struct bb_http_request *request, struct bb_buf *headers);
    void *arg;
};
/* BB_ADDRESS_IN_USE and BB_BAD_REQUEST name the address and say what to do. Copies `listen`. */
int bb_http_open(struct bb_ctx *ctx, struct bb_loop *loop, const struct bb_http_options *options,
                 struct bb_http **http);
uint16_t bb_http_port(const struct bb_http *http);
size_t bb_http_connections(const struct bb_http *http);
/* Graceful end: refuses new connections, closes idle ones, lets requests under way be answered and
 * streams be closed by their owner, for at most `limit_ms`; then calls `done`, once, never from
 * inside bb_http_stop. */
void bb_http_stop(struct bb_http *http, uint32_t limit_ms, void (*done)(void *arg), void *arg);
/* Closes what is left without an answer and frees. Accepts NULL. The loop must not run afterwards
 * with requests of this server unanswered; `handle` will not be called again. */
void bb_http_close(struct bb_http *http);

/* ---- request: its slices live until it is answered ---- */

enum bb_http_method bb_http_method(const struct bb_http_request *request);
struct bb_slice bb_http_method_name(const struct bb_http_request *request);
struct bb_slice bb_http_path(const struct bb_http_request *request);  /* as sent, without query */
struct bb_slice bb_http_query(const struct bb_http_request *request); /* without '?', as sent */
/* The first field with this name in any case; data == NULL when there is none. */
struct bb_slice bb_http_header(const struct bb_http_request *request, const char *name);
struct bb_slice bb_http_body(const struct bb_http_request *request); /* decoded */
struct bb_arena *bb_http_arena(struct bb_http_request *request);
/* The value of a query parameter, percent-decoded into the request's arena; data == NULL: missing.
 * `+` is a blank. BB_BAD_REQUEST: malformed escape or not UTF-8. */
int bb_http_parameter(struct bb_ctx *ctx, struct bb_http_request *request, const char *name,
                      struct bb_slice *value);
/* Percent-decoding (no `+`) into an arena. BB_BAD_REQUEST as above. */
int bb_http_unescape(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice text,
                     bool plus_is_blank, struct bb_slice *to);
/* As the head says: -1 for a body whose length is not known before. */
int64_t bb_http_body_length(const struct bb_http_request *request);
/* Field `index` of the head; false beyond the last one. */
bool bb_http_field(const struct bb_http_request *request, size_t index, struct bb_slice *name,
                   struct bb_slice *value);

/* ---- a body that is taken as it comes (bb_http_options.wants_stream) ---- */

/*
 * `on_data`: bytes of the body, which live during the call. `on_end`: once, last; `is_whole` false
 * when the client left, was too slow, or broke the framing: then nothing of the request may be used
 * any more but to answer it, if it is not answered. Neither comes after the request was answered by
 * bb_http_respond, nor when the server closes; after bb_http_response_begin they go on.
 */
struct bb_http_body_events {
    void (*on_data)(void *arg, struct bb_slice bytes);
    void (*on_end)(void *arg, bool is_whole);
    void *arg;
};
/* Is there a body to take, and not all of it was? */
bool bb_http_body_is_open(const struct bb_http_request *request);
/* Starts them, not from inside of this call. Until then nothing of the body is read. */
void bb_http_body_begin(struct bb_http_request *request, const struct bb_http_body_events *events);
/* While it is paused at most 128 KB more are read from the client, and nothing is told. */
void bb_http_body_pause(struct bb_http_request *request, bool is_paused);

/* What the owner wants to remember with the request. */
void bb_http_set_data(struct bb_http_request *request, void *data);
void *bb_http_data(const struct bb_http_request *request);
/* The client left: whatever is answered goes nowhere. Asking is optional. */
bool bb_http_is_gone(const struct bb_http_request *request);
/* `gone` is called, at most once, when the client leaves before the request is answered or has
 * become a stream; not when the server closes. The request is answered all the same, later. A
 * client that closed only its half counts as gone, as the two look alike, and hears the answer. */
void bb_http_on_gone(struct bb_http_request *request, void (*gone)(void *arg), void *arg);

/* ---- response: these end the request ---- */

/* `headers` are whole lines, each ended by CRLF; may be empty. Copies all. Adds Content-Length; a
 * HEAD request gets no body. `content_type` NULL: no such line. */
void bb_http_respond(struct bb_http_request *request, int status, const char *content_type,
                     struct bb_slice headers, struct bb_slice body);
/* The body is `before`, `shared`, `after`; of a large `shared` a reference is taken (the caller
 * keeps its own) instead of a copy. */
void bb_http_respond_shared(struct bb_http_request *request, int status, const char *content_type,
                            struct bb_slice headers, struct bb_slice before,
                            struct bb_http_buffer *shared, struct bb_slice after);
/* {code, message} as JSON; 503 with Retry-After. */
void bb_http_respond_error(struct bb_http_request *request, int status, const char *code,
                           const char *message);

/* ---- stream ---- */

/* Why a stream ended: as a word for logs and metrics. */
enum bb_http_end {
    BB_HTTP_END_GONE,  /* the client left */
    BB_HTTP_END_STUCK, /* the client took nothing for too long */
    BB_HTTP_END_FULL,  /* its queue was full */
    BB_HTTP_END_OURS   /* bb_http_stream_close */
};
const char *bb_http_end_name(enum bb_http_end end);

#define BB_HTTP_STREAM_EVENTS_MAX 64u
#define BB_HTTP_STREAM_BYTES_MAX  (1u << 20)
/*
 * `on_end` is called exactly once, last, on the owner thread and never from inside begin or send;
 * the stream is gone when it returns. `on_drain` (may be NULL): a blocked stream has sent all it
 * had. `on_sent` (may be NULL): all that was queued is with the kernel, whether the stream was
 * blocked or not; for who sends a long text piece by piece.
 */
struct bb_http_stream_events {
    void (*on_end)(void *arg, enum bb_http_end end);
    void (*on_drain)(void *arg);
    void (*on_sent)(void *arg);
    void *arg;
};
/* The head goes out at once, with this content type and lines that keep proxies from buffering.
 * NULL when the client has left already: the request is done and no event will come. */
struct bb_http_stream *bb_http_stream_begin(struct bb_http_request *request,
                                            const char *content_type,
                                            const struct bb_http_stream_events *events);
/* Queues a reference to `buffer` (the caller keeps its own). When 64 events or 1 MB are queued
 * already behind those that the kernel does not take, the stream ends with END_FULL; a single event
 * may be larger than that. */
void bb_http_stream_send(struct bb_http_stream *stream, struct bb_http_buffer *buffer);
/* The client does not take what was sent: newest state should wait for on_drain. */
bool bb_http_stream_is_blocked(const struct bb_http_stream *stream);
/* What is queued and not with the kernel yet: events, and their bytes. */
size_t bb_http_stream_queued(const struct bb_http_stream *stream, size_t *bytes);
/* Sends what is queued, then closes; on_end follows. */
void bb_http_stream_close(struct bb_http_stream *stream);

/* ---- a response that is sent as it comes: a stream that carries anything ---- */

/*
 * The head goes out at once. `headers` are whole lines, without those that say a length. `length`:
 * of the body, or -1. NULL when the client has left already: the request is done and no event will
 * come. The events are those of a stream.
 */
struct bb_http_stream *bb_http_response_begin(struct bb_http_request *request, int status,
                                              struct bb_slice headers, int64_t length,
                                              const struct bb_http_stream_events *events);
/* Copies. The bounds are those of bb_http_stream_send: who sends waits for on_sent meanwhile. */
void bb_http_response_send(struct bb_http_stream *stream, struct bb_slice bytes);
/* The body is whole: sends what is queued, then closes. (bb_http_stream_close without it: the
 * client sees that the body was cut off.) */
void bb_http_response_end(struct bb_http_stream *stream);

/* ---- WebSocket: a stream whose client sends text messages, too ---- */

/* Does the request ask to become a WebSocket? */
bool bb_http_wants_socket(const struct bb_http_request *request);

/*
 * `on_message` gets each whole message (UTF-8, at most body_max bytes), which lives during the
 * call; the socket may be closed from inside. `on_end` and `on_sent` as those of a stream. Pings
 * are answered here; a client that breaks the protocol is closed with the code that says so.
 */
struct bb_http_socket_events {
    void (*on_message)(void *arg, struct bb_slice text);
    void (*on_end)(void *arg, enum bb_http_end end);
    void (*on_sent)(void *arg); /* may be NULL */
    void (*on_pong)(void *arg); /* may be NULL; the answer to bb_http_socket_ping */
    void *arg;
};
/* NULL: the client has left, or its handshake was refused; the request is done. What is sent with
 * bb_http_stream_send must come from bb_http_socket_text. */
struct bb_http_stream *bb_http_socket_begin(struct bb_http_request *request,
                                            const struct bb_http_socket_events *events);
/* A text message as the bytes of its frame, with one reference, the caller's. */
struct bb_http_buffer *bb_http_socket_text(struct bb_slice text);
/* The client answers with a pong, behind all that it has sent until then. */
void bb_http_socket_ping(struct bb_http_stream *stream);
/* Sends what is queued and a close frame, waits up to 2 s for the client's; on_end follows. Nothing
 * is received any more. */
void bb_http_socket_close(struct bb_http_stream *stream, uint16_t code, const char *reason);

/* ---- files of one folder ---- */

struct bb_http_files;
/* BB_NOT_FOUND: no such folder. */
int bb_http_files_open(struct bb_ctx *ctx, struct bb_loop *loop, const char *folder,
                       struct bb_http_files **files);
/* After the server has been closed. Accepts NULL. */
void bb_http_files_close(struct bb_http_files *files);
/* Answers a GET or HEAD: the file, `index.html` of a folder, 304 by ETag, or 404. Dotfiles, paths
 * that leave the folder and listings do not exist. Reads on a pool thread. */
void bb_http_files_serve(struct bb_http_files *files, struct bb_http_request *request);

#ifdef __cplusplus
}
#endif

#endif
