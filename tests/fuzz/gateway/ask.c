/* Bodies, paths and Authorization headers of strangers. */
#include "ask.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bb_ctx ctx = { .status = BB_OK };
    struct bb_arena *arena = bb_arena_new(1 << 20);
    struct bb_slice text = bb_slice(data, size);
    struct bb_buf value = { 0 };
    struct ask ask = { .path = NULL };
    struct caller caller;
    const char *path = NULL;

    if (bb_json_decode(&ctx, text, false, &value) == BB_OK &&
        gateway_ask_envelope(&ctx, arena, bb_buf_slice(&value), NULL, &ask) == BB_OK) {
        bb_assert(ask.path != NULL && strchr(ask.path, ':') != NULL);
        bb_assert(bb_value_tag(ask.args) == BB_TAG_OBJECT);
        bb_assert(bb_value_validate(&ctx, ask.args) == BB_OK);
    }
    if (gateway_ask_run_path(&ctx, arena, text, &path) == BB_OK)
        bb_assert(strchr(path, ':') != NULL);
    if (gateway_authorize(&ctx, arena, bb_slice_str("key"), text, &caller) != BB_OK)
        bb_assert(!caller.is_admin);
    bb_buf_fini(&value);
    bb_arena_free(arena);
    return 0;
}
