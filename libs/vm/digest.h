/*
 * The hashes of crypto.subtle and HMAC over them (FIPS 180-4, RFC 2104).
 *
 * Pure functions: nothing is kept, nothing allocates.
 */
#ifndef VM_DIGEST_H
#define VM_DIGEST_H

#include "bb/base.h"

#define VM_DIGEST_MAX 64

enum vm_hash {
    VM_SHA1,
    VM_SHA256,
    VM_SHA384,
    VM_SHA512
};

/* Writes `digest` and returns how many bytes it has. */
size_t vm_digest(enum vm_hash hash, struct bb_slice data, uint8_t digest[VM_DIGEST_MAX]);
/* Bytes that HMAC takes a key for without hashing it first. */
size_t vm_hash_block(enum vm_hash hash);
size_t vm_hmac(enum vm_hash hash, struct bb_slice key, struct bb_slice data,
               uint8_t digest[VM_DIGEST_MAX]);

#endif
