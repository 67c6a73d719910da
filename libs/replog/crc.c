/*
 * The checksum of the log's blocks, eight bytes at a step.
 *
 * libraft computes a CRC-32 of all that it writes and reads byte by byte, each step waiting for a
 * look into a table: a fifth of a storage node's time. Its one is exchanged when programs are
 * linked (--wrap). The polynomial is 0x04c11db7, highest bit first; nothing is turned round.
 *
 * Source: Kounavis and Berry, "A systematic approach to building high performance software-based
 * CRC generators", 2005 (slicing by 8).
 */
#include "replog_internal.h"

#include <uv.h>

#define POLYNOMIAL 0x04c11db7u
#define SLICES     8

static uint32_t tables[SLICES][256]; /* [n]: a byte with n zero bytes behind it */
static uv_once_t once = UV_ONCE_INIT;

static void make_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte << 24;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc << 1) ^ ((crc & 0x80000000u) != 0 ? POLYNOMIAL : 0);
        tables[0][byte] = crc;
    }
    for (size_t slice = 1; slice < SLICES; slice++) {
        for (size_t byte = 0; byte < 256; byte++) {
            uint32_t before = tables[slice - 1][byte];
            tables[slice][byte] = (before << 8) ^ tables[0][before >> 24];
        }
    }
}

static uint32_t big_endian(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static uint32_t step(uint32_t crc, const uint8_t *bytes)
{
    uint32_t high = crc ^ big_endian(bytes), low = big_endian(bytes + 4);

    return tables[7][high >> 24] ^ tables[6][high >> 16 & 0xff] ^ tables[5][high >> 8 & 0xff] ^
           tables[4][high & 0xff] ^ tables[3][low >> 24] ^ tables[2][low >> 16 & 0xff] ^
           tables[1][low >> 8 & 0xff] ^ tables[0][low & 0xff];
}

unsigned __wrap_byteCrc32(const void *from, size_t size, unsigned crc)
{
    const uint8_t *bytes = from;

    uv_once(&once, make_tables);
    for (; size >= SLICES; size -= SLICES, bytes += SLICES)
        crc = step(crc, bytes);
    for (; size > 0; size--, bytes++)
        crc = (crc << 8) ^ tables[0][(crc >> 24) ^ *bytes];
    return crc;
}

void replog_crc_start(void)
{
    uv_once(&once, make_tables);
}
