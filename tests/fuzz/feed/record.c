/* Segment headers and records from a disk that lies. */
#include "feed_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bb_ctx ctx = { .env = NULL };
    struct bb_slice left = bb_slice(data, size);
    struct feed_record record;
    size_t used, needed;
    struct feed_header header;

    (void)feed_header_decode(&ctx, left, "fuzz", &header); /* only that it ends well */
    while (feed_record_decode(left, &record, &used, &needed) == BB_OK) {
        bb_assert(used <= left.size && record.bytes.size < used);
        left = bb_slice(left.data + used, left.size - used);
    }
    return 0;
}
