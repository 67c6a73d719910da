/*
 * WebSocket frames (RFC 6455): bytes of a client into messages, messages into frames of a server.
 * Decisions only; no extensions, so reserved bits are refused.
 */
#ifndef BB_HTTP_FRAME_H
#define BB_HTTP_FRAME_H

#include "bb/base.h"

#define HTTP_FRAME_CONTROL_MAX 125u
#define HTTP_FRAME_HEAD_MAX    14u

enum http_opcode {
    HTTP_OPCODE_CONTINUATION = 0,
    HTTP_OPCODE_TEXT = 1,
    HTTP_OPCODE_BINARY = 2,
    HTTP_OPCODE_CLOSE = 8,
    HTTP_OPCODE_PING = 9,
    HTTP_OPCODE_PONG = 10
};

enum http_frame_step {
    HTTP_FRAME_MORE, /* everything was used, more is needed */
    HTTP_FRAME_TEXT, /* a whole message, valid UTF-8, in `payload` */
    HTTP_FRAME_PING,
    HTTP_FRAME_PONG,
    HTTP_FRAME_CLOSE, /* `code` (1005: none was sent); nothing follows */
    HTTP_FRAME_BAD    /* `code` and `why` say what is wrong; the connection cannot go on */
};

struct http_frames {
    size_t message_max;
    uint8_t head[HTTP_FRAME_HEAD_MAX];
    size_t head_size; /* bytes of it that are here */
    bool has_head;    /* it is whole: what follows is payload */
    bool is_final;
    unsigned opcode;
    uint64_t size, taken; /* of the payload */
    uint8_t mask[4];
    bool is_in_message; /* fragments of a text came, its last one not */
    bool is_delivered;  /* `message` was given out: the next feed begins anew */
    bool is_over;
    struct bb_buf message;
    uint8_t control[HTTP_FRAME_CONTROL_MAX];
    /* the result of a step; valid until the next one */
    struct bb_slice payload;
    uint16_t code;
    const char *why;
};

void http_frames_init(struct http_frames *frames, size_t message_max);
void http_frames_fini(struct http_frames *frames);
/* Up to the next step that is not MORE. After CLOSE or BAD everything is dropped. */
enum http_frame_step http_frames_feed(struct http_frames *frames, struct bb_slice bytes,
                                      size_t *used);
/* Memory of messages that are not whole. */
size_t http_frames_bytes(const struct http_frames *frames);

/* Appends a whole frame, unmasked. */
void http_frame_append(struct bb_buf *to, enum http_opcode opcode, struct bb_slice payload);
/* A close frame; the reason is cut to what fits. */
void http_frame_append_close(struct bb_buf *to, uint16_t code, const char *reason);
/* May a peer name this code in a close frame? */
bool http_close_code_is_valid(uint16_t code);

#endif
