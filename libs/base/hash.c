#include "bb/base.h"

/*
 * CRC-32C (Castagnoli), as iSCSI (RFC 3720): the SSE 4.2 instruction where the machine has it, else
 * a table made at compile time would be 1 KB; the bitwise form is enough for machines without it.
 */
static uint32_t crc32c_plain(uint32_t crc, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1u)));
    }
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_fast(uint32_t crc, const uint8_t *data,
                                                              size_t size)
{
    uint64_t wide = crc;

    while (size >= 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        wide = __builtin_ia32_crc32di(wide, word);
        data += 8;
        size -= 8;
    }
    crc = (uint32_t)wide;
    while (size > 0) {
        crc = __builtin_ia32_crc32qi(crc, *data++);
        size--;
    }
    return crc;
}
#endif

uint32_t bb_crc32c(uint32_t seed, const void *data, size_t size)
{
    uint32_t crc = ~seed;

#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc32c_fast(crc, data, size);
#endif
    return ~crc32c_plain(crc, data, size);
}

/* XXH64 by Yann Collet: the specification's algorithm, written anew. */
#define P1 0x9E3779B185EBCA87ull
#define P2 0xC2B2AE3D27D4EB4Full
#define P3 0x165667B19E3779F9ull
#define P4 0x85EBCA77C2B2AE63ull
#define P5 0x27D4EB2F165667C5ull

static uint64_t rotate(uint64_t v, int bits)
{
    return v << bits | v >> (64 - bits);
}

static uint64_t xx_round(uint64_t lane, uint64_t word)
{
    return rotate(lane + word * P2, 31) * P1;
}

static uint64_t xx_merge(uint64_t hash, uint64_t lane)
{
    return (hash ^ xx_round(0, lane)) * P1 + P4;
}

uint64_t bb_hash64(struct bb_slice data, uint64_t seed)
{
    const uint8_t *at = data.data;
    size_t left = data.size;
    uint64_t hash;

    if (left >= 32) {
        uint64_t a = seed + P1 + P2;
        uint64_t b = seed + P2;
        uint64_t c = seed;
        uint64_t d = seed - P1;
        while (left >= 32) {
            a = xx_round(a, bb_get_le64(at));
            b = xx_round(b, bb_get_le64(at + 8));
            c = xx_round(c, bb_get_le64(at + 16));
            d = xx_round(d, bb_get_le64(at + 24));
            at += 32;
            left -= 32;
        }
        hash = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18);
        hash = xx_merge(xx_merge(xx_merge(xx_merge(hash, a), b), c), d);
    } else {
        hash = seed + P5;
    }
    hash += data.size;
    while (left >= 8) {
        hash = rotate(hash ^ xx_round(0, bb_get_le64(at)), 27) * P1 + P4;
        at += 8;
        left -= 8;
    }
    if (left >= 4) {
        hash = rotate(hash ^ (uint64_t)bb_get_le32(at) * P1, 23) * P2 + P3;
        at += 4;
        left -= 4;
    }
    while (left > 0) {
        hash = rotate(hash ^ *at++ * P5, 11) * P1;
        left--;
    }
    hash = (hash ^ hash >> 33) * P2;
    hash = (hash ^ hash >> 29) * P3;
    return hash ^ hash >> 32;
}

/* ---- SHA-256, FIPS 180-4; HMAC, RFC 2104 ---- */

static const uint32_t sha_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2
};

static uint32_t rotate_right(uint32_t v, int bits)
{
    return v >> bits | v << (32 - bits);
}

static void sha_block(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[64];
    uint32_t s[8];

    for (size_t i = 0; i < 16; i++)
        w[i] = bb_get_be32(block + 4 * i);
    for (size_t i = 16; i < 64; i++) {
        uint32_t x = w[i - 15];
        uint32_t y = w[i - 2];
        w[i] = w[i - 16] + (rotate_right(x, 7) ^ rotate_right(x, 18) ^ x >> 3) + w[i - 7] +
               (rotate_right(y, 17) ^ rotate_right(y, 19) ^ y >> 10);
    }
    memcpy(s, state, sizeof s);
    for (size_t i = 0; i < 64; i++) {
        uint32_t one = s[7] +
                       (rotate_right(s[4], 6) ^ rotate_right(s[4], 11) ^ rotate_right(s[4], 25)) +
                       ((s[4] & s[5]) ^ (~s[4] & s[6])) + sha_k[i] + w[i];
        uint32_t two = (rotate_right(s[0], 2) ^ rotate_right(s[0], 13) ^ rotate_right(s[0], 22)) +
                       ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof s[0]);
        s[4] += one;
        s[0] = one + two;
    }
    for (size_t i = 0; i < 8; i++)
        state[i] += s[i];
}

void bb_sha256_init(struct bb_sha256 *sha)
{
    static const uint32_t start[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    memcpy(sha->state, start, sizeof start);
    sha->length = 0;
    sha->fill = 0;
}

void bb_sha256_update(struct bb_sha256 *sha, const void *data, size_t size)
{
    const uint8_t *at = data;

    sha->length += size;
    while (size > 0) {
        if (sha->fill == 0 && size >= 64) {
            sha_block(sha->state, at);
            at += 64;
            size -= 64;
            continue;
        }
        size_t take = 64 - sha->fill < size ? 64 - sha->fill : size;
        memcpy(sha->block + sha->fill, at, take);
        sha->fill += take;
        at += take;
        size -= take;
        if (sha->fill == 64) {
            sha_block(sha->state, sha->block);
            sha->fill = 0;
        }
    }
}

void bb_sha256_final(struct bb_sha256 *sha, uint8_t digest[32])
{
    static const uint8_t padding[64] = { 0x80 };
    uint8_t length[8];

    bb_put_be64(length, sha->length * 8);
    bb_sha256_update(sha, padding, sha->fill < 56 ? 56 - sha->fill : 120 - sha->fill);
    bb_sha256_update(sha, length, sizeof length);
    bb_assert(sha->fill == 0);
    for (size_t i = 0; i < 8; i++)
        bb_put_be32(digest + 4 * i, sha->state[i]);
}

void bb_sha256(struct bb_slice data, uint8_t digest[32])
{
    struct bb_sha256 sha;

    bb_sha256_init(&sha);
    bb_sha256_update(&sha, data.data, data.size);
    bb_sha256_final(&sha, digest);
}

void bb_hmac_sha256(struct bb_slice key, struct bb_slice data, uint8_t digest[32])
{
    uint8_t block[64] = { 0 };
    uint8_t pad[64];
    struct bb_sha256 sha;

    if (key.size > sizeof block) {
        bb_sha256(key, block);
    } else if (key.size > 0) {
        memcpy(block, key.data, key.size);
    }
    for (size_t i = 0; i < sizeof pad; i++)
        pad[i] = block[i] ^ 0x36;
    bb_sha256_init(&sha);
    bb_sha256_update(&sha, pad, sizeof pad);
    bb_sha256_update(&sha, data.data, data.size);
    bb_sha256_final(&sha, digest);
    for (size_t i = 0; i < sizeof pad; i++)
        pad[i] = block[i] ^ 0x5c;
    bb_sha256_init(&sha);
    bb_sha256_update(&sha, pad, sizeof pad);
    bb_sha256_update(&sha, digest, 32);
    bb_sha256_final(&sha, digest);
}

bool bb_equal_constant_time(struct bb_slice a, struct bb_slice b)
{
    uint8_t different = 0;

    if (a.size != b.size)
        return false;
    for (size_t i = 0; i < a.size; i++)
        different |= a.data[i] ^ b.data[i];
    return different == 0;
}
