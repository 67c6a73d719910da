/*
 * One request as it comes in: head (message.c, the only file that knows the parser library), then
 * body (body.c: framing is ours, because it must be stricter than the library).
 */
#ifndef BB_HTTP_MESSAGE_H
#define BB_HTTP_MESSAGE_H

#include "bb/http.h"

#define HTTP_LINE_MAX       8192u  /* request line */
#define HTTP_HEAD_MAX       32768u /* all of the head */
#define HTTP_FIELDS_MAX     100u
#define HTTP_CHUNK_LINE_MAX 1024u
#define HTTP_TRAILER_MAX    8192u

enum http_step {
    HTTP_STEP_MORE, /* everything was used, more is needed */
    HTTP_STEP_HEAD, /* the head is whole; feed again for the body */
    HTTP_STEP_DONE, /* the request is whole */
    HTTP_STEP_BAD   /* `bad` says why; the connection cannot go on */
};

struct http_field {
    struct bb_slice name, value;
};

enum http_state {
    HTTP_STATE_HEAD,
    HTTP_STATE_BODY_START, /* between the head and its body */
    HTTP_STATE_LENGTH,     /* a body of known length */
    HTTP_STATE_CHUNK_SIZE,
    HTTP_STATE_CHUNK_EXTENSION,
    HTTP_STATE_CHUNK_LF,
    HTTP_STATE_CHUNK_DATA,
    HTTP_STATE_CHUNK_DATA_CR,
    HTTP_STATE_CHUNK_DATA_LF,
    HTTP_STATE_TRAILER,
    HTTP_STATE_DONE,
    HTTP_STATE_BAD
};

struct http_bad {
    int status; /* HTTP */
    const char *code;
    const char *text;
};

struct http_message {
    enum http_state state;
    size_t body_max;
    struct bb_buf head, body;
    /* the head's scanner */
    size_t line_size, line_count;
    uint8_t previous;
    bool has_colon;
    /* what the head says; slices into `head` */
    enum bb_http_method method;
    struct bb_slice method_name, target, path, query;
    struct http_field fields[HTTP_FIELDS_MAX];
    size_t field_count;
    bool is_http_1_0, keeps_alive, is_chunked, has_length, wants_continue;
    uint64_t content_length;
    bool is_streamed; /* body_max does not hold; whoever feeds takes from `body` as it comes */
    /* the body's decoder */
    uint64_t remaining;
    size_t chunk_digits, chunk_line, trailer_size;
    struct http_bad bad;
};

void http_message_init(struct http_message *message, size_t body_max);
void http_message_fini(struct http_message *message);
void http_message_clear(struct http_message *message); /* ready for the next request */
/* Has a byte of it been seen? */
bool http_message_is_empty(const struct http_message *message);
enum http_step http_message_feed(struct http_message *message, struct bb_slice bytes, size_t *used);
struct bb_slice http_message_field(const struct http_message *message, const char *name);
/* Whether the comma list `value` holds `token`, in any case. */
bool http_list_has(struct bb_slice value, const char *token);
bool http_equal_nocase(struct bb_slice text, const char *other);

/* body.c: after the head. */
enum http_step http_body_feed(struct http_message *message, struct bb_slice bytes, size_t *used);
/* The message is bad: remember why. */
enum http_step http_message_refuse(struct http_message *message, int status, const char *code,
                                   const char *text);
enum http_step http_message_refuse_request(struct http_message *message, const char *text);
enum http_step http_message_refuse_body(struct http_message *message);

/* Brotli, bounded: BB_TOO_LARGE beyond `max` bytes, BB_BAD_REQUEST when malformed. Appends to `to`.
 */
int http_unbrotli(struct bb_ctx *ctx, struct bb_slice from, size_t max, struct bb_buf *to);

#endif
