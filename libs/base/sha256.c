#include "bb/base.h"

/*
 * SHA-256, FIPS 180-4; HMAC, RFC 2104. Each document that is named by a key costs a block: with the
 * instructions of the processor where it has them. The build for the sanitizers goes without, so
 * that the tests prove the plain form too.
 */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define HAS_FAST_BLOCK
#include <cpuid.h>
#include <immintrin.h>
#endif

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

static void schedule(uint32_t w[64], const uint8_t *block)
{
    for (size_t i = 0; i < 16; i++)
        w[i] = bb_get_be32(block + 4 * i);
    for (size_t i = 16; i < 64; i++) {
        uint32_t x = w[i - 15];
        uint32_t y = w[i - 2];
        w[i] = w[i - 16] + (rotate_right(x, 7) ^ rotate_right(x, 18) ^ x >> 3) + w[i - 7] +
               (rotate_right(y, 17) ^ rotate_right(y, 19) ^ y >> 10);
    }
}

static void block_plain(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[64];
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];

    schedule(w, block);
    for (size_t i = 0; i < 64; i++) {
        uint32_t one = h + (rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25)) +
                       ((e & f) ^ (~e & g)) + sha_k[i] + w[i];
        uint32_t two = (rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22)) +
                       ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + one;
        d = c;
        c = b;
        b = a;
        a = one + two;
    }
    const uint32_t sums[8] = { a, b, c, d, e, f, g, h };
    for (size_t i = 0; i < 8; i++)
        state[i] += sums[i];
}

#ifdef HAS_FAST_BLOCK
/* Four rounds a step: `abef` and `cdgh` are the state as the instructions want it, `m` the last
 * sixteen words of the schedule. */
__attribute__((target("sha,sse4.1"))) static void block_fast(uint32_t state[8],
                                                             const uint8_t *block)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    const __m128i dcba = _mm_shuffle_epi32(_mm_loadu_si128((const void *)state), 0xb1);
    const __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const void *)(state + 4)), 0x1b);
    __m128i abef = _mm_alignr_epi8(dcba, hgfe, 8), cdgh = _mm_blend_epi16(hgfe, dcba, 0xf0);
    const __m128i abef_before = abef, cdgh_before = cdgh;
    __m128i m[4];

#pragma GCC unroll 16
    for (size_t i = 0; i < 16; i++) {
        __m128i *now = &m[i % 4];
        if (i < 4) {
            *now = _mm_shuffle_epi8(_mm_loadu_si128((const void *)(block + 16 * i)), swap);
        } else {
            const __m128i last = m[(i + 3) % 4];
            const __m128i seven_ago = _mm_alignr_epi8(last, m[(i + 2) % 4], 4);
            *now = _mm_sha256msg2_epu32(
                _mm_add_epi32(_mm_sha256msg1_epu32(*now, m[(i + 1) % 4]), seven_ago), last);
        }
        const __m128i words = _mm_add_epi32(*now, _mm_loadu_si128((const void *)(sha_k + 4 * i)));
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, words);
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(words, 0x0e));
    }
    abef = _mm_shuffle_epi32(_mm_add_epi32(abef, abef_before), 0x1b);
    cdgh = _mm_shuffle_epi32(_mm_add_epi32(cdgh, cdgh_before), 0xb1);
    _mm_storeu_si128((void *)state, _mm_blend_epi16(abef, cdgh, 0xf0));
    _mm_storeu_si128((void *)(state + 4), _mm_alignr_epi8(cdgh, abef, 8));
}

/* To ask the processor costs more than many blocks, and much more in a virtual machine: once. */
static bool has_fast_block(void)
{
    static _Atomic int known; /* 0: not yet; 1: no; 2: yes */
    unsigned a, b = 0, c = 0, d;

    if (known == 0) {
        const bool has_sse41 = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_SSE4_1) != 0;
        b = 0;
        const bool has_sha = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;
        known = has_sse41 && has_sha ? 2 : 1;
    }
    return known == 2;
}
#endif

static void sha_block(uint32_t state[8], const uint8_t *block)
{
#ifdef HAS_FAST_BLOCK
    if (has_fast_block()) {
        block_fast(state, block);
        return;
    }
#endif
    block_plain(state, block);
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
