/* Batches of a log's segments from a disk that lies. */
#include "bb/replog_look.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void see(void *arg, const struct bb_replog_look_entry *entry)
{
    uint64_t *seen = arg;
    bb_assert(!entry->has_frame || entry->frame.payload.size < entry->bytes);
    *seen += 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bb_ctx ctx = { .env = NULL };
    const struct bb_replog_look_entry first = { .file = "fuzz", .index = 1 };
    size_t used = 0;
    uint64_t count = 0, seen = 0;

    if (bb_replog_look_batch(&ctx, bb_slice(data, size), &first, &used, &count, see, &seen) ==
        BB_OK) {
        bb_assert(used <= size && seen == count);
    }
    return 0;
}
