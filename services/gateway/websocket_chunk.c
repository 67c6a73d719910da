/*
 * A large transition goes as the pieces of its text (TransitionChunk): clients that know these are
 * not silent for as long as one message takes, and count what came.
 */
#include "websocket_internal.h"

#define CHUNK_BYTES  (4u << 20)
#define CHUNKED_FROM (5u << 20)
/* The first version of the npm package that puts pieces together. */
#define CHUNKS_MAJOR 1u
#define CHUNKS_MINOR 28u

static uint32_t take_decimal(struct bb_slice *text)
{
    uint32_t number = 0;

    while (text->size > 0 && text->data[0] >= '0' && text->data[0] <= '9' && number < 100000) {
        number = number * 10 + (uint32_t)(text->data[0] - '0');
        *text = bb_slice(text->data + 1, text->size - 1);
    }
    return number;
}

bool gateway_websocket_takes_chunks(struct bb_slice version)
{
    uint32_t major = take_decimal(&version);
    uint32_t minor;

    if (version.size == 0 || version.data[0] != '.')
        return false;
    version = bb_slice(version.data + 1, version.size - 1);
    minor = take_decimal(&version);
    return major > CHUNKS_MAJOR || (major == CHUNKS_MAJOR && minor >= CHUNKS_MINOR);
}

/* The end of the piece that begins at `start`, not within a character. */
static size_t piece_end(struct bb_slice text, size_t start)
{
    size_t end = text.size - start > CHUNK_BYTES ? start + CHUNK_BYTES : text.size;

    while (end < text.size && (text.data[end] & 0xc0) == 0x80)
        end--;
    return end;
}

static size_t count_pieces(struct bb_slice text)
{
    size_t count = 0;

    for (size_t at = 0; at < text.size; at = piece_end(text, at))
        count++;
    return count;
}

struct bb_http_buffer *gateway_websocket_pack(struct bb_slice json, bool takes_chunks, uint64_t id)
{
    size_t count = takes_chunks && json.size > CHUNKED_FROM ? count_pieces(json) : 1;
    struct bb_http_buffer *whole;
    struct bb_buf frames;
    struct bb_buf message;
    size_t at = 0;

    if (count == 1)
        return bb_http_socket_text(json);
    bb_buf_init(&frames);
    bb_buf_init(&message);
    for (size_t i = 0; i < count; i++) {
        size_t end = piece_end(json, at);
        struct bb_http_buffer *frame;

        bb_buf_clear(&message);
        bb_buf_append_str(&message, "{\"type\":\"TransitionChunk\",\"chunk\":");
        bb_json_string(&message, bb_slice(json.data + at, end - at));
        bb_buf_printf(&message,
                      ",\"partNumber\":%zu,\"totalParts\":%zu,\"transitionId\":\"%" PRIu64 "\"}", i,
                      count, id);
        frame = bb_http_socket_text(bb_buf_slice(&message));
        bb_buf_append(&frames, frame->data, frame->size);
        bb_http_buffer_release(frame);
        at = end;
    }
    whole = bb_http_buffer_new(bb_buf_slice(&frames));
    bb_buf_fini(&frames);
    bb_buf_fini(&message);
    return whole;
}
