#include "message.h"

static int hex_digit(uint8_t byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    if (byte >= 'a' && byte <= 'f')
        return byte - 'a' + 10;
    if (byte >= 'A' && byte <= 'F')
        return byte - 'A' + 10;
    return -1;
}

/* After a chunk's size line: its data, or the trailer after the last one. */
static enum http_step chunk_begin(struct http_message *message)
{
    message->chunk_digits = 0;
    message->chunk_line = 0;
    if (message->remaining == 0) {
        message->state = HTTP_STATE_TRAILER;
        message->line_size = 0;
        message->previous = 0;
        return HTTP_STEP_MORE;
    }
    if (!message->is_streamed && message->remaining > message->body_max - message->body.size)
        return http_message_refuse_body(message);
    message->state = HTTP_STATE_CHUNK_DATA;
    return HTTP_STEP_MORE;
}

static enum http_step chunk_size_byte(struct http_message *message, uint8_t byte)
{
    int digit = hex_digit(byte);

    if (++message->chunk_line > HTTP_CHUNK_LINE_MAX)
        return http_message_refuse_request(message, "A chunk's size line is longer than 1 KB.");
    if (digit >= 0) {
        if (++message->chunk_digits > 15)
            return http_message_refuse_request(message, "A chunk's size is too large.");
        message->remaining = message->remaining << 4 | (uint64_t)digit;
        return HTTP_STEP_MORE;
    }
    if (message->chunk_digits == 0)
        return http_message_refuse_request(message, "A chunk without a size.");
    if (byte == ';') {
        message->state = HTTP_STATE_CHUNK_EXTENSION;
    } else if (byte == '\r') {
        message->state = HTTP_STATE_CHUNK_LF;
    } else {
        return http_message_refuse_request(message, "A chunk's size is not a hexadecimal number.");
    }
    return HTTP_STEP_MORE;
}

static enum http_step chunk_extension_byte(struct http_message *message, uint8_t byte)
{
    if (++message->chunk_line > HTTP_CHUNK_LINE_MAX)
        return http_message_refuse_request(message, "A chunk's size line is longer than 1 KB.");
    if (byte == '\n' || byte == 0) {
        return http_message_refuse_request(
            message, "A line feed without a carriage return in a chunk's size line.");
    }
    if (byte == '\r')
        message->state = HTTP_STATE_CHUNK_LF;
    return HTTP_STEP_MORE;
}

/* Trailer fields are read and dropped. */
static enum http_step trailer_byte(struct http_message *message, uint8_t byte)
{
    if (++message->trailer_size > HTTP_TRAILER_MAX) {
        return http_message_refuse(message, 431, "HeadersTooLarge",
                                   "The trailer is larger than 8 KB.");
    }
    if ((byte == '\n') != (message->previous == '\r')) {
        return http_message_refuse_request(message,
                                           "A line of the trailer does not end with CR LF.");
    }
    message->previous = byte;
    if (byte == '\n') {
        if (message->line_size == 0) {
            message->state = HTTP_STATE_DONE;
            return HTTP_STEP_DONE;
        }
        message->line_size = 0;
        message->previous = 0;
    } else if (byte != '\r') {
        message->line_size++;
    }
    return HTTP_STEP_MORE;
}

static enum http_step framing_byte(struct http_message *message, uint8_t byte)
{
    switch (message->state) {
    case HTTP_STATE_CHUNK_SIZE:
        return chunk_size_byte(message, byte);
    case HTTP_STATE_CHUNK_EXTENSION:
        return chunk_extension_byte(message, byte);
    case HTTP_STATE_CHUNK_LF:
        if (byte != '\n') {
            return http_message_refuse_request(
                message, "A carriage return without a line feed after a chunk's size.");
        }
        return chunk_begin(message);
    case HTTP_STATE_CHUNK_DATA_CR:
        message->state = HTTP_STATE_CHUNK_DATA_LF;
        return byte == '\r'
                   ? HTTP_STEP_MORE
                   : http_message_refuse_request(message, "A chunk is longer than its size.");
    case HTTP_STATE_CHUNK_DATA_LF:
        message->state = HTTP_STATE_CHUNK_SIZE;
        message->remaining = 0;
        return byte == '\n' ? HTTP_STEP_MORE
                            : http_message_refuse_request(
                                  message, "A carriage return without a line feed after a chunk.");
    case HTTP_STATE_TRAILER:
        return trailer_byte(message, byte);
    case HTTP_STATE_HEAD:
    case HTTP_STATE_BODY_START:
    case HTTP_STATE_LENGTH:
    case HTTP_STATE_CHUNK_DATA:
    case HTTP_STATE_DONE:
    case HTTP_STATE_BAD:
        break;
    }
    BB_UNREACHABLE("a state that takes no framing bytes");
}

static enum http_step body_begin(struct http_message *message)
{
    if (message->is_chunked) {
        message->state = HTTP_STATE_CHUNK_SIZE;
        return HTTP_STEP_MORE;
    }
    if (!message->is_streamed && message->content_length > message->body_max)
        return http_message_refuse_body(message);
    message->remaining = message->content_length;
    message->state = message->remaining == 0 ? HTTP_STATE_DONE : HTTP_STATE_LENGTH;
    if (message->remaining > 0 && message->remaining <= 65536)
        (void)bb_buf_reserve(&message->body, (size_t)message->remaining);
    return message->state == HTTP_STATE_DONE ? HTTP_STEP_DONE : HTTP_STEP_MORE;
}

/* Content up to the end of the body or of the chunk. */
static enum http_step take_content(struct http_message *message, struct bb_slice bytes,
                                   size_t *used)
{
    size_t size = bytes.size < message->remaining ? bytes.size : (size_t)message->remaining;

    bb_buf_append(&message->body, bytes.data, size);
    message->remaining -= size;
    *used += size;
    if (message->remaining > 0)
        return HTTP_STEP_MORE;
    if (message->state == HTTP_STATE_CHUNK_DATA) {
        message->state = HTTP_STATE_CHUNK_DATA_CR;
        return HTTP_STEP_MORE;
    }
    message->state = HTTP_STATE_DONE;
    return HTTP_STEP_DONE;
}

enum http_step http_body_feed(struct http_message *message, struct bb_slice bytes, size_t *used)
{
    enum http_step step = HTTP_STEP_MORE;

    if (message->state == HTTP_STATE_BODY_START)
        step = body_begin(message);
    while (step == HTTP_STEP_MORE && *used < bytes.size) {
        if (message->state == HTTP_STATE_LENGTH || message->state == HTTP_STATE_CHUNK_DATA) {
            step = take_content(message, bb_slice(bytes.data + *used, bytes.size - *used), used);
        } else {
            step = framing_byte(message, bytes.data[(*used)++]);
        }
    }
    return step;
}
