#include <brotli/decode.h>

#include "message.h"

int http_unbrotli(struct bb_ctx *ctx, struct bb_slice from, size_t max, struct bb_buf *to)
{
    BrotliDecoderState *state = BrotliDecoderCreateInstance(NULL, NULL, NULL);
    BrotliDecoderResult result = BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT;
    const uint8_t *in = from.data;
    size_t in_size = from.size;
    size_t total = 0;
    int rc = BB_OK;

    bb_assert(state != NULL);
    while (result == BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT && total <= max) {
        size_t room = 65536;
        uint8_t *out = bb_buf_reserve(to, room);
        size_t left = room;

        result = BrotliDecoderDecompressStream(state, &in_size, &in, &left, &out, NULL);
        to->size += room - left;
        total += room - left;
    }
    if (total > max) {
        rc = bb_fail(ctx, BB_TOO_LARGE, "the decoded body is larger than %zu bytes", max);
    } else if (result != BROTLI_DECODER_RESULT_SUCCESS || in_size > 0) {
        rc = bb_fail(ctx, BB_BAD_REQUEST, "the body is not valid brotli");
    }
    BrotliDecoderDestroyInstance(state);
    return rc;
}
