#include "key.h"

void kv_key_store(struct kv_stored_key *stored, struct bb_slice key)
{
    stored->is_long = key.size > KV_STORED_MAX || kv_key_is_long(key);
    if (!stored->is_long) {
        stored->bytes = key;
        return;
    }
    uint8_t digest[32];
    bb_sha256(key, digest);
    memcpy(stored->space, key.data, KV_PREFIX_SIZE);
    stored->space[KV_PREFIX_SIZE] = 0xff;
    memcpy(stored->space + KV_PREFIX_SIZE + 1, digest, KV_HASH_SIZE);
    stored->bytes = bb_slice(stored->space, KV_STORED_MAX);
}

void kv_long_header_put(uint8_t *to, struct bb_slice key)
{
    to[0] = (uint8_t)key.size;
    to[1] = (uint8_t)(key.size >> 8);
    memcpy(to + 2, key.data, key.size);
}

bool kv_entry_load(struct bb_slice stored_key, struct bb_slice stored_value, struct bb_slice *key,
                   struct bb_slice *value)
{
    if (!kv_key_is_long(stored_key)) {
        *key = stored_key;
        *value = stored_value;
        return true;
    }
    if (stored_value.size < 2) {
        return false;
    }
    size_t size = (size_t)stored_value.data[0] | (size_t)stored_value.data[1] << 8;
    if (stored_value.size < 2 + size || size < KV_STORED_MAX) {
        return false;
    }
    *key = bb_slice(stored_value.data + 2, size);
    *value = bb_slice(stored_value.data + 2 + size, stored_value.size - 2 - size);
    return memcmp(key->data, stored_key.data, KV_PREFIX_SIZE) == 0;
}
