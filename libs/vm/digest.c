#include "digest.h"

#define BLOCK_MAX 128

/* A hash under way: whole blocks go into the state at once, the rest waits in `block`. */
struct progress {
    enum vm_hash hash;
    union {
        uint32_t w[5];
        uint64_t q[8];
        struct bb_sha256 sha256;
    } state;
    uint8_t block[BLOCK_MAX];
    size_t used;
    uint64_t total;
};

static const uint32_t sha1_start[5] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476,
                                        0xc3d2e1f0 };
static const uint64_t sha384_start[8] = { 0xcbbb9d5dc1059ed8, 0x629a292a367cd507,
                                          0x9159015a3070dd17, 0x152fecd8f70e5939,
                                          0x67332667ffc00b31, 0x8eb44a8768581511,
                                          0xdb0c2e0d64f98fa7, 0x47b5481dbefa4fa4 };
static const uint64_t sha512_start[8] = { 0x6a09e667f3bcc908, 0xbb67ae8584caa73b,
                                          0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
                                          0x510e527fade682d1, 0x9b05688c2b3e6c1f,
                                          0x1f83d9abfb41bd6b, 0x5be0cd19137e2179 };
/* The first 64 bits of the fractions of the cube roots of the first 80 primes. */
static const uint64_t sha512_k[80] = {
    0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc,
    0x3956c25bf348b538, 0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118,
    0xd807aa98a3030242, 0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2,
    0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235, 0xc19bf174cf692694,
    0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65,
    0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5,
    0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4,
    0xc6e00bf33da88fc2, 0xd5a79147930aa725, 0x06ca6351e003826f, 0x142929670a0e6e70,
    0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df,
    0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b,
    0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30,
    0xd192e819d6ef5218, 0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8,
    0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8,
    0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3,
    0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
    0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b,
    0xca273eceea26619c, 0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178,
    0x06f067aa72176fba, 0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b,
    0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c,
    0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817
};

static uint64_t big_endian(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++)
        value = value << 8 | bytes[i];
    return value;
}

static void put_big_endian(uint8_t *bytes, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
}

static uint32_t left(uint32_t x, unsigned by)
{
    return x << by | x >> (32 - by);
}

static uint64_t right(uint64_t x, unsigned by)
{
    return x >> by | x << (64 - by);
}

static void sha1_block(uint32_t state[5], const uint8_t *block)
{
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];

    for (size_t i = 0; i < 16; i++)
        w[i] = (uint32_t)big_endian(block + 4 * i, 4);
    for (size_t i = 16; i < 80; i++)
        w[i] = left(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (size_t i = 0; i < 80; i++) {
        uint32_t f = i < 20   ? ((b & c) | (~b & d)) + 0x5a827999
                     : i < 40 ? (b ^ c ^ d) + 0x6ed9eba1
                     : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc
                              : (b ^ c ^ d) + 0xca62c1d6;
        uint32_t next = left(a, 5) + f + e + w[i];
        e = d;
        d = c;
        c = left(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

static void sha512_block(uint64_t state[8], const uint8_t *block)
{
    uint64_t w[80], v[8];

    for (size_t i = 0; i < 16; i++)
        w[i] = big_endian(block + 8 * i, 8);
    for (size_t i = 16; i < 80; i++) {
        uint64_t s0 = right(w[i - 15], 1) ^ right(w[i - 15], 8) ^ w[i - 15] >> 7;
        uint64_t s1 = right(w[i - 2], 19) ^ right(w[i - 2], 61) ^ w[i - 2] >> 6;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    memcpy(v, state, sizeof v);
    for (size_t i = 0; i < 80; i++) {
        uint64_t s1 = right(v[4], 14) ^ right(v[4], 18) ^ right(v[4], 41);
        uint64_t t1 = v[7] + s1 + ((v[4] & v[5]) ^ (~v[4] & v[6])) + sha512_k[i] + w[i];
        uint64_t s0 = right(v[0], 28) ^ right(v[0], 34) ^ right(v[0], 39);
        uint64_t t2 = s0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (size_t i = 0; i < 8; i++)
        state[i] += v[i];
}

size_t vm_hash_block(enum vm_hash hash)
{
    return hash == VM_SHA1 || hash == VM_SHA256 ? 64 : 128;
}

static void start(struct progress *progress, enum vm_hash hash)
{
    *progress = (struct progress){ .hash = hash };
    switch (hash) {
    case VM_SHA1:
        memcpy(progress->state.w, sha1_start, sizeof sha1_start);
        break;
    case VM_SHA256:
        bb_sha256_init(&progress->state.sha256);
        break;
    case VM_SHA384:
        memcpy(progress->state.q, sha384_start, sizeof sha384_start);
        break;
    case VM_SHA512:
        memcpy(progress->state.q, sha512_start, sizeof sha512_start);
        break;
    }
}

static void add(struct progress *progress, const uint8_t *data, size_t size)
{
    const size_t block = vm_hash_block(progress->hash);

    if (progress->hash == VM_SHA256) {
        bb_sha256_update(&progress->state.sha256, data, size);
        return;
    }
    progress->total += size;
    while (size > 0) {
        size_t part = block - progress->used < size ? block - progress->used : size;
        memcpy(progress->block + progress->used, data, part);
        progress->used += part;
        data += part;
        size -= part;
        if (progress->used < block)
            continue;
        if (progress->hash == VM_SHA1) {
            sha1_block(progress->state.w, progress->block);
        } else {
            sha512_block(progress->state.q, progress->block);
        }
        progress->used = 0;
    }
}

static size_t finish(struct progress *progress, uint8_t digest[VM_DIGEST_MAX])
{
    static const uint8_t padding[BLOCK_MAX] = { 0x80 };
    const size_t block = vm_hash_block(progress->hash), length = block / 8;
    uint8_t bits[16] = { 0 };

    if (progress->hash == VM_SHA256) {
        bb_sha256_final(&progress->state.sha256, digest);
        return 32;
    }
    put_big_endian(bits + length - 8, progress->total << 3, 8);
    add(progress, padding, 1 + (2 * block - 1 - length - progress->used) % block);
    add(progress, bits, length);
    bb_assert(progress->used == 0);
    if (progress->hash == VM_SHA1) {
        for (size_t i = 0; i < 5; i++)
            put_big_endian(digest + 4 * i, progress->state.w[i], 4);
        return 20;
    }
    for (size_t i = 0; i < 8; i++)
        put_big_endian(digest + 8 * i, progress->state.q[i], 8);
    return progress->hash == VM_SHA384 ? 48 : 64;
}

size_t vm_digest(enum vm_hash hash, struct bb_slice data, uint8_t digest[VM_DIGEST_MAX])
{
    struct progress progress;

    start(&progress, hash);
    if (data.size > 0)
        add(&progress, data.data, data.size);
    return finish(&progress, digest);
}

size_t vm_hmac(enum vm_hash hash, struct bb_slice key, struct bb_slice data,
               uint8_t digest[VM_DIGEST_MAX])
{
    const size_t block = vm_hash_block(hash);
    uint8_t padded[BLOCK_MAX] = { 0 };
    struct progress progress;

    if (key.size > block) {
        memcpy(padded, digest, vm_digest(hash, key, digest));
    } else if (key.size > 0) {
        memcpy(padded, key.data, key.size);
    }
    for (size_t i = 0; i < block; i++)
        padded[i] ^= 0x36;
    start(&progress, hash);
    add(&progress, padded, block);
    if (data.size > 0)
        add(&progress, data.data, data.size);
    const size_t size = finish(&progress, digest);
    for (size_t i = 0; i < block; i++)
        padded[i] ^= 0x36 ^ 0x5c;
    start(&progress, hash);
    add(&progress, padded, block);
    add(&progress, digest, size);
    return finish(&progress, digest);
}
