/* Frames of strangers: any bytes in any pieces give the same steps, and never more than the bound.
 */
#include "frame.h"

#define MESSAGE_MAX 4096u

/* All steps of the bytes as one hash. */
static uint64_t run(struct bb_slice bytes, size_t piece)
{
    struct http_frames frames;
    uint64_t hash = 0;

    http_frames_init(&frames, MESSAGE_MAX);
    for (size_t at = 0; at < bytes.size;) {
        size_t part = bytes.size - at < piece ? bytes.size - at : piece;
        size_t used = 0;
        enum http_frame_step step =
            http_frames_feed(&frames, bb_slice(bytes.data + at, part), &used);

        bb_assert(used <= part && (used > 0 || step != HTTP_FRAME_MORE));
        bb_assert(http_frames_bytes(&frames) <= MESSAGE_MAX);
        at += used;
        if (step == HTTP_FRAME_MORE)
            continue;
        hash = hash * 31 + (uint64_t)step;
        if (step == HTTP_FRAME_BAD) {
            hash = hash * 31 + frames.code;
            continue;
        }
        bb_assert(frames.payload.size <= MESSAGE_MAX);
        if (step == HTTP_FRAME_TEXT)
            bb_assert(bb_utf8_is_valid(frames.payload));
        hash = bb_hash64(frames.payload, hash);
    }
    http_frames_fini(&frames);
    return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bb_slice bytes;

    if (size < 1)
        return 0;
    bytes = bb_slice(data + 1, size - 1);
    bb_assert(run(bytes, size) == run(bytes, (size_t)data[0] % 61 + 1));
    return 0;
}
