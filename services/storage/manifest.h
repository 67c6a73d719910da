/*
 * What the log's snapshots hold in place of the data: which moment they stand for.
 * docs/formats/log.md.
 */
#ifndef STORAGE_MANIFEST_H
#define STORAGE_MANIFEST_H

#include "fence.h"

struct storage_manifest_of {
    uint8_t cluster[FENCE_CLUSTER];
    uint64_t index; /* of the entry decided last */
    uint64_t chain;
    struct members members; /* who may have what it names */
};
void storage_manifest_encode(const struct storage_manifest_of *manifest, struct bb_buf *to);
/* BB_CORRUPT, BB_WRONG_VERSION. */
int storage_manifest_decode(struct bb_ctx *ctx, struct bb_slice from,
                            struct storage_manifest_of *manifest);

#endif
