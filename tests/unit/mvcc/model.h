/*
 * What a multi-version map must do, in the most naive way: a list of all versions that were put.
 * The random tests do everything twice, here and in the real map, and compare.
 */
#ifndef TESTS_MVCC_MODEL_H
#define TESTS_MVCC_MODEL_H

#include "bb/mvcc.h"

struct model_version {
    uint8_t key[12];
    size_t key_size;
    uint64_t tx;
    enum bb_mvcc_kind kind;
    uint64_t value;
    bool is_dropped;
};
struct model {
    struct model_version *versions;
    size_t count, capacity;
};

void model_put(struct model *model, struct bb_slice key, uint64_t tx, enum bb_mvcc_kind kind,
               uint64_t value);
void model_put_older(struct model *model, struct bb_slice key, uint64_t tx, enum bb_mvcc_kind kind,
                     uint64_t value);
/* The newest version <= at of the key; NULL: none. */
const struct model_version *model_get(const struct model *model, struct bb_slice key, uint64_t at);
/* The first key >= `key` (or, backwards, the last one < `key`) with a version <= at. */
const struct model_version *model_seek(const struct model *model, struct bb_slice key,
                                       bool or_equal, bool backward, uint64_t at);
void model_prune(struct model *model, uint64_t oldest, bool keep_last);
void model_drop_after(struct model *model, uint64_t newest);
void model_drop_key_after(struct model *model, struct bb_slice key, uint64_t newest);
void model_settle_key(struct model *model, struct bb_slice key, uint64_t oldest);
void model_drop_range(struct model *model, struct bb_slice low, struct bb_slice high,
                      uint64_t upto);
void model_free(struct model *model);

#endif
