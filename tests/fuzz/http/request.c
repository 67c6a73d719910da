/* Any bytes, in any pieces, give the same request or the same refusal, and never a crash. */
#include <stdlib.h>

#include "message.h"

#define BODY_MAX 65536u

static enum http_step feed(struct http_message *message, struct bb_slice bytes, size_t piece,
                           size_t *total)
{
    enum http_step step = HTTP_STEP_MORE;

    *total = 0;
    while ((*total < bytes.size || message->state == HTTP_STATE_BODY_START) &&
           step != HTTP_STEP_DONE && step != HTTP_STEP_BAD) {
        size_t size = bytes.size - *total < piece ? bytes.size - *total : piece;
        size_t used = 0;

        step = http_message_feed(message, bb_slice(bytes.data + *total, size), &used);
        bb_assert(used <= size);
        *total += used;
    }
    return step;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_message whole;
    struct http_message pieces;
    size_t whole_used = 0;
    size_t pieces_used = 0;
    size_t piece;
    enum http_step a;
    enum http_step b;

    if (size < 1)
        return 0;
    piece = (size_t)data[0] % 61 + 2;
    data++;
    size--;
    http_message_init(&whole, BODY_MAX);
    http_message_init(&pieces, BODY_MAX);
    a = feed(&whole, bb_slice(data, size), size + 1, &whole_used);
    b = feed(&pieces, bb_slice(data, size), piece, &pieces_used);
    if (a == HTTP_STEP_DONE && b == HTTP_STEP_DONE) {
        bb_assert(whole_used == pieces_used);
        bb_assert(bb_slice_equal(bb_buf_slice(&whole.body), bb_buf_slice(&pieces.body)));
        bb_assert(whole.field_count == pieces.field_count && whole.body.size <= BODY_MAX);
        for (size_t i = 0; i < whole.field_count; i++)
            bb_assert(bb_slice_equal(whole.fields[i].value, pieces.fields[i].value));
    }
    /* Only empty lines before the request may look different in pieces. */
    if (size > 0 && data[0] != '\r')
        bb_assert((a == HTTP_STEP_DONE) == (b == HTTP_STEP_DONE));
    http_message_fini(&whole);
    http_message_fini(&pieces);
    return 0;
}
