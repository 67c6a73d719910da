#include "frame.h"

#define FINAL    0x80u
#define RESERVED 0x70u
#define MASKED   0x80u
#define KEPT_MAX 65536u /* memory of a message that is kept for the next one */

void http_frames_init(struct http_frames *frames, size_t message_max)
{
    *frames = (struct http_frames){ .message_max = message_max };
}

void http_frames_fini(struct http_frames *frames)
{
    bb_buf_fini(&frames->message);
}

size_t http_frames_bytes(const struct http_frames *frames)
{
    return frames->is_delivered ? 0 : frames->message.size;
}

bool http_close_code_is_valid(uint16_t code)
{
    return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
           (code >= 3000 && code <= 4999);
}

static enum http_frame_step refuse(struct http_frames *frames, uint16_t code, const char *why)
{
    frames->is_over = true;
    frames->code = code;
    frames->why = why;
    return HTTP_FRAME_BAD;
}

static bool is_control(unsigned opcode)
{
    return opcode >= HTTP_OPCODE_CLOSE;
}

/* ---- the head of a frame ---- */

/* How many bytes the head has, as far as its beginning tells. */
static size_t head_need(const struct http_frames *frames)
{
    unsigned size = frames->head_size < 2 ? 0 : frames->head[1] & 0x7fu;

    if (frames->head_size < 2)
        return 2;
    return 2 + (size == 126 ? 2u : size == 127 ? 8u : 0u) + 4;
}

static enum http_frame_step check_head(struct http_frames *frames)
{
    bool starts = frames->opcode == HTTP_OPCODE_TEXT || frames->opcode == HTTP_OPCODE_BINARY;

    if ((frames->head[0] & RESERVED) != 0)
        return refuse(frames, 1002, "a reserved bit is set; no extension was agreed on");
    if ((frames->head[1] & MASKED) == 0)
        return refuse(frames, 1002, "frames of a client must be masked");
    if (frames->opcode == HTTP_OPCODE_BINARY)
        return refuse(frames, 1003, "messages are text");
    if (is_control(frames->opcode)) {
        if (frames->opcode > HTTP_OPCODE_PONG)
            return refuse(frames, 1002, "an unknown kind of frame");
        if (!frames->is_final || frames->size > HTTP_FRAME_CONTROL_MAX)
            return refuse(frames, 1002, "a control frame is too long or in fragments");
        return HTTP_FRAME_MORE;
    }
    if (frames->opcode > HTTP_OPCODE_BINARY)
        return refuse(frames, 1002, "an unknown kind of frame");
    if (starts == frames->is_in_message)
        return refuse(frames, 1002, "a fragment is missing or out of place");
    if (frames->size > frames->message_max - frames->message.size)
        return refuse(frames, 1009, "the message is larger than the server accepts");
    return HTTP_FRAME_MORE;
}

static enum http_frame_step take_head(struct http_frames *frames)
{
    unsigned size = frames->head[1] & 0x7fu;
    const uint8_t *at = frames->head + 2;

    frames->is_final = (frames->head[0] & FINAL) != 0;
    frames->opcode = frames->head[0] & 0x0fu;
    frames->size = size;
    if (size == 126) {
        frames->size = (uint64_t)at[0] << 8 | at[1];
        at += 2;
    } else if (size == 127) {
        frames->size = bb_get_be64(at);
        at += 8;
    }
    /* The shortest form is the only one. */
    if ((size == 126 && frames->size < 126) || (size == 127 && frames->size < 65536))
        return refuse(frames, 1002, "the length of a frame is not in its shortest form");
    memcpy(frames->mask, at, sizeof(frames->mask));
    frames->has_head = true;
    frames->taken = 0;
    return check_head(frames);
}

static enum http_frame_step feed_head(struct http_frames *frames, struct bb_slice *bytes)
{
    while (!frames->has_head && bytes->size > 0) {
        frames->head[frames->head_size++] = bytes->data[0];
        *bytes = bb_slice(bytes->data + 1, bytes->size - 1);
        /* What is wrong with the first two bytes needs no more. */
        if (frames->head_size == 2 && (frames->head[1] & MASKED) == 0)
            return refuse(frames, 1002, "frames of a client must be masked");
        if (frames->head_size == head_need(frames))
            return take_head(frames);
    }
    return HTTP_FRAME_MORE;
}

/* ---- its payload ---- */

static void unmask(struct http_frames *frames, uint8_t *to, struct bb_slice from)
{
    for (size_t i = 0; i < from.size; i++)
        to[i] = from.data[i] ^ frames->mask[(frames->taken + i) & 3];
}

static void feed_payload(struct http_frames *frames, struct bb_slice *bytes)
{
    uint64_t left = frames->size - frames->taken;
    size_t size = left < bytes->size ? (size_t)left : bytes->size;

    if (size == 0)
        return;
    if (is_control(frames->opcode)) {
        unmask(frames, frames->control + frames->taken, bb_slice(bytes->data, size));
    } else {
        unmask(frames, bb_buf_reserve(&frames->message, size), bb_slice(bytes->data, size));
        frames->message.size += size;
    }
    frames->taken += size;
    *bytes = bb_slice(bytes->data + size, bytes->size - size);
}

static enum http_frame_step end_close(struct http_frames *frames)
{
    struct bb_slice payload = bb_slice(frames->control, (size_t)frames->size);

    if (payload.size == 1)
        return refuse(frames, 1002, "a close frame has half a code");
    frames->code = 1005;
    if (payload.size >= 2) {
        frames->code = (uint16_t)(payload.data[0] << 8 | payload.data[1]);
        payload = bb_slice(payload.data + 2, payload.size - 2);
        if (!http_close_code_is_valid(frames->code))
            return refuse(frames, 1002, "a close code that must not be sent");
        if (!bb_utf8_is_valid(payload))
            return refuse(frames, 1007, "the reason of a close frame is not UTF-8");
    }
    frames->payload = payload;
    frames->is_over = true;
    return HTTP_FRAME_CLOSE;
}

static enum http_frame_step end_frame(struct http_frames *frames)
{
    frames->has_head = false;
    frames->head_size = 0;
    switch (frames->opcode) {
    case HTTP_OPCODE_CLOSE:
        return end_close(frames);
    case HTTP_OPCODE_PING:
    case HTTP_OPCODE_PONG:
        frames->payload = bb_slice(frames->control, (size_t)frames->size);
        return frames->opcode == HTTP_OPCODE_PING ? HTTP_FRAME_PING : HTTP_FRAME_PONG;
    default:
        break;
    }
    frames->is_in_message = !frames->is_final;
    if (!frames->is_final)
        return HTTP_FRAME_MORE;
    if (!bb_utf8_is_valid(bb_buf_slice(&frames->message)))
        return refuse(frames, 1007, "the message is not UTF-8");
    frames->payload = bb_buf_slice(&frames->message);
    frames->is_delivered = true;
    return HTTP_FRAME_TEXT;
}

static void forget_delivered(struct http_frames *frames)
{
    if (!frames->is_delivered)
        return;
    frames->is_delivered = false;
    if (frames->message.capacity > KEPT_MAX) {
        bb_buf_fini(&frames->message);
        bb_buf_init(&frames->message);
    }
    bb_buf_clear(&frames->message);
}

enum http_frame_step http_frames_feed(struct http_frames *frames, struct bb_slice bytes,
                                      size_t *used)
{
    size_t total = bytes.size;
    enum http_frame_step step = HTTP_FRAME_MORE;

    forget_delivered(frames);
    if (frames->is_over) {
        *used = total;
        return HTTP_FRAME_MORE;
    }
    /* A head without payload ends its frame with its last byte. */
    while (step == HTTP_FRAME_MORE && bytes.size > 0) {
        if (!frames->has_head)
            step = feed_head(frames, &bytes);
        if (step != HTTP_FRAME_MORE || !frames->has_head)
            continue;
        feed_payload(frames, &bytes);
        if (frames->taken == frames->size)
            step = end_frame(frames);
    }
    *used = total - bytes.size;
    return step;
}

/* ---- frames of a server ---- */

void http_frame_append(struct bb_buf *to, enum http_opcode opcode, struct bb_slice payload)
{
    uint8_t head[10] = { (uint8_t)(FINAL | (unsigned)opcode) };
    size_t size = 2;

    if (payload.size < 126) {
        head[1] = (uint8_t)payload.size;
    } else if (payload.size < 65536) {
        head[1] = 126;
        head[2] = (uint8_t)(payload.size >> 8);
        head[3] = (uint8_t)payload.size;
        size = 4;
    } else {
        head[1] = 127;
        bb_put_be64(head + 2, payload.size);
        size = 10;
    }
    bb_buf_append(to, head, size);
    bb_buf_append_slice(to, payload);
}

void http_frame_append_close(struct bb_buf *to, uint16_t code, const char *reason)
{
    uint8_t payload[HTTP_FRAME_CONTROL_MAX];
    size_t size = strlen(reason);

    if (size > sizeof(payload) - 2)
        size = sizeof(payload) - 2;
    while (size > 0 && !bb_utf8_is_valid(bb_slice(reason, size)))
        size--;
    payload[0] = (uint8_t)(code >> 8);
    payload[1] = (uint8_t)code;
    memcpy(payload + 2, reason, size);
    http_frame_append(to, HTTP_OPCODE_CLOSE, bb_slice(payload, size + 2));
}
