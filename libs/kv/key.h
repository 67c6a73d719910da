/*
 * How a key of up to 8 KB is stored under LMDB's limit of 511 bytes. Internal to libs/kv.
 *
 * A key is *long* when it has more than 467 bytes, or exactly 467 with 0xff at position 450 (it
 * would look like a stored long one). Stored form of a long key: first 450 bytes, 0xff, the first
 * 16 bytes of the key's SHA-256; the value is then u16 LE key size, key, value. All other keys are
 * stored as they are. So a stored key is a long one exactly when it has 467 bytes with 0xff at 450.
 *
 * The stored order differs from the order of the keys only among keys of more than 450 bytes that
 * share their first 450: a *group*. Everything that is not in the group sorts before or after all
 * of it.
 */
#ifndef BB_KV_KEY_H
#define BB_KV_KEY_H

#include "bb/base.h"

#define KV_PREFIX_SIZE 450
#define KV_HASH_SIZE   16
#define KV_STORED_MAX  (KV_PREFIX_SIZE + 1 + KV_HASH_SIZE)

struct kv_stored_key {
    struct bb_slice bytes; /* the key itself, or `space` */
    bool is_long;
    uint8_t space[KV_STORED_MAX];
};
void kv_key_store(struct kv_stored_key *stored, struct bb_slice key);

/* Is the entry stored under `stored` one with a long key? */
static inline bool kv_key_is_long(struct bb_slice stored)
{
    return stored.size == KV_STORED_MAX && stored.data[KV_PREFIX_SIZE] == 0xff;
}
static inline bool kv_key_in_group(struct bb_slice stored)
{
    return stored.size > KV_PREFIX_SIZE;
}
/* Bytes in front of the value of a long key. */
static inline size_t kv_long_header_size(size_t key_size)
{
    return 2 + key_size;
}
void kv_long_header_put(uint8_t *to, struct bb_slice key);
/* Key and value of a stored entry; false: malformed. */
bool kv_entry_load(struct bb_slice stored_key, struct bb_slice stored_value, struct bb_slice *key,
                   struct bb_slice *value);

#endif
