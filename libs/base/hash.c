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

bool bb_equal_constant_time(struct bb_slice a, struct bb_slice b)
{
    uint8_t different = 0;

    if (a.size != b.size)
        return false;
    for (size_t i = 0; i < a.size; i++)
        different |= a.data[i] ^ b.data[i];
    return different == 0;
}
