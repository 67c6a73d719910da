#include "model.h"

static struct bb_slice key_of(const struct model_version *version)
{
    return bb_slice(version->key, version->key_size);
}

void model_put(struct model *model, struct bb_slice key, uint64_t tx, enum bb_mvcc_kind kind,
               uint64_t value)
{
    for (size_t i = 0; i < model->count; i++) {
        struct model_version *version = &model->versions[i];
        if (!version->is_dropped && version->tx == tx && bb_slice_equal(key_of(version), key)) {
            version->is_dropped = true;
        }
    }
    if (model->count == model->capacity) {
        model->capacity = model->capacity * 2 + 64;
        model->versions = bb_realloc(model->versions, model->capacity * sizeof(model->versions[0]));
    }
    struct model_version *version = &model->versions[model->count++];
    *version =
        (struct model_version){ .key_size = key.size, .tx = tx, .kind = kind, .value = value };
    memcpy(version->key, key.data, key.size);
}

void model_put_older(struct model *model, struct bb_slice key, uint64_t tx, enum bb_mvcc_kind kind,
                     uint64_t value)
{
    if (model_get(model, key, tx) == NULL) {
        model_put(model, key, tx, kind, value);
    }
}

const struct model_version *model_get(const struct model *model, struct bb_slice key, uint64_t at)
{
    const struct model_version *best = NULL;
    for (size_t i = 0; i < model->count; i++) {
        const struct model_version *version = &model->versions[i];
        if (!version->is_dropped && version->tx <= at && bb_slice_equal(key_of(version), key) &&
            (best == NULL || version->tx > best->tx)) {
            best = version;
        }
    }
    return best;
}

const struct model_version *model_seek(const struct model *model, struct bb_slice key,
                                       bool or_equal, bool backward, uint64_t at)
{
    const struct model_version *best = NULL;
    for (size_t i = 0; i < model->count; i++) {
        const struct model_version *version = &model->versions[i];
        int order = bb_slice_compare(key_of(version), key);
        if (version->is_dropped || version->tx > at) {
            continue;
        }
        if (order == 0 ? !or_equal : (order < 0) != backward) {
            continue;
        }
        if (best != NULL) {
            int closer = bb_slice_compare(key_of(version), key_of(best));
            if (closer != 0 ? (closer > 0) != backward : version->tx < best->tx) {
                continue;
            }
        }
        best = version;
    }
    return best;
}

static bool has_newer(const struct model *model, const struct model_version *than, uint64_t above)
{
    for (size_t i = 0; i < model->count; i++) {
        const struct model_version *version = &model->versions[i];
        if (!version->is_dropped && version->tx > above &&
            bb_slice_equal(key_of(version), key_of(than))) {
            return true;
        }
    }
    return false;
}

void model_prune(struct model *model, uint64_t oldest, bool keep_last)
{
    for (size_t i = 0; i < model->count; i++) {
        struct model_version *version = &model->versions[i];
        if (version->is_dropped || version->tx > oldest) {
            continue;
        }
        bool is_last = model_get(model, key_of(version), oldest) == version;
        if (!is_last || (!keep_last && !has_newer(model, version, oldest))) {
            version->is_dropped = true;
            i = (size_t)-1; /* what is last may have changed only for other keys; begin again */
        }
    }
}

void model_drop_after(struct model *model, uint64_t newest)
{
    for (size_t i = 0; i < model->count; i++) {
        model->versions[i].is_dropped |= model->versions[i].tx > newest;
    }
}

void model_drop_key_after(struct model *model, struct bb_slice key, uint64_t newest)
{
    for (size_t i = 0; i < model->count; i++) {
        struct model_version *version = &model->versions[i];
        version->is_dropped |= version->tx > newest && bb_slice_equal(key_of(version), key);
    }
}

void model_settle_key(struct model *model, struct bb_slice key, uint64_t oldest)
{
    const struct model_version *last = model_get(model, key, oldest);
    for (size_t i = 0; i < model->count; i++) {
        struct model_version *version = &model->versions[i];
        bool goes = version != last || version->kind == BB_MVCC_REMOVE;
        if (version->tx <= oldest && bb_slice_equal(key_of(version), key) && goes) {
            version->is_dropped = true;
        }
    }
}

void model_drop_range(struct model *model, struct bb_slice low, struct bb_slice high, uint64_t upto)
{
    for (size_t i = 0; i < model->count; i++) {
        struct model_version *version = &model->versions[i];
        if (version->tx <= upto && bb_slice_compare(key_of(version), low) >= 0 &&
            bb_slice_compare(key_of(version), high) < 0) {
            version->is_dropped = true;
        }
    }
}

void model_free(struct model *model)
{
    bb_free(model->versions);
}
