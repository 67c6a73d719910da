#include "manifest.h"

enum {
    MANIFEST_VERSION_AT = 0,
    MANIFEST_ZERO_AT = 4,
    MANIFEST_CLUSTER_AT = 8,
    MANIFEST_INDEX_AT = 24,
    MANIFEST_CHAIN_AT = 32,
    MANIFEST_END = 40
};
#define MANIFEST_VERSION  2u
#define MANIFEST_VERSION1 1u /* without members */

void storage_manifest_encode(const struct storage_manifest_of *manifest, struct bb_buf *to)
{
    uint8_t *at = bb_buf_reserve(to, MANIFEST_END);

    bb_put_le32(at + MANIFEST_VERSION_AT, MANIFEST_VERSION);
    bb_put_le32(at + MANIFEST_ZERO_AT, 0);
    memcpy(at + MANIFEST_CLUSTER_AT, manifest->cluster, FENCE_CLUSTER);
    bb_put_le64(at + MANIFEST_INDEX_AT, manifest->index);
    bb_put_le64(at + MANIFEST_CHAIN_AT, manifest->chain);
    to->size += MANIFEST_END;
    storage_members_encode(&manifest->members, to);
}

int storage_manifest_decode(struct bb_ctx *ctx, struct bb_slice from,
                            struct storage_manifest_of *manifest)
{
    struct bb_slice rest;
    uint32_t version;

    if (from.size < MANIFEST_END) {
        return bb_fail(ctx, BB_CORRUPT, "a manifest of %zu bytes", from.size);
    }
    version = bb_get_le32(from.data + MANIFEST_VERSION_AT);
    if (version != MANIFEST_VERSION && version != MANIFEST_VERSION1) {
        return bb_fail(ctx, BB_WRONG_VERSION, "a manifest of format %" PRIu32, version);
    }
    *manifest = (struct storage_manifest_of){
        .index = bb_get_le64(from.data + MANIFEST_INDEX_AT),
        .chain = bb_get_le64(from.data + MANIFEST_CHAIN_AT),
    };
    memcpy(manifest->cluster, from.data + MANIFEST_CLUSTER_AT, FENCE_CLUSTER);
    rest = bb_slice(from.data + MANIFEST_END, from.size - MANIFEST_END);
    if (version == MANIFEST_VERSION) {
        int rc = storage_members_decode(ctx, &rest, &manifest->members);
        if (rc != BB_OK) {
            return rc;
        }
    }
    return rest.size == 0 ? BB_OK : bb_fail(ctx, BB_CORRUPT, "a manifest of %zu bytes", from.size);
}
