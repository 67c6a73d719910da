/* Log entries, manifests and ballots from a disk that lies. */
#include "replog_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bb_ctx ctx = { .env = NULL };
    struct bb_replog_frame frame;
    struct bb_slice application;
    uint64_t index;

    if (bb_replog_frame_decode(&ctx, bb_slice(data, size), &frame) == BB_OK) {
        uint8_t *again = bb_replog_entry_new(size);
        bb_assert(frame.payload.size <= size);
        bb_replog_frame_encode(&frame, again);
        bb_assert(bb_replog_frame_size(frame.payload.size) == size);
        bb_replog_entry_free(again);
    }
    if (replog_manifest_decode(&ctx, bb_slice(data, size), &index, &application) == BB_OK) {
        bb_assert(application.size <= size);
    }
    struct replog_ballot ballot;
    if (replog_ballot_decode(&ctx, bb_slice(data, size), &ballot) == BB_OK) {
        uint8_t again[REPLOG_BALLOT_BYTES];
        replog_ballot_encode(&ballot, again);
        bb_assert(memcmp(again, data, sizeof again) == 0);
    }
    return 0;
}
