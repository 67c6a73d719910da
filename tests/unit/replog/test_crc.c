/* The checksum that libraft's own is exchanged for. */
#include <criterion/criterion.h>

#include <stdlib.h>

#include "replog_internal.h"

/* libraft's own one, by the linker; and the name by which libraft calls what it gets. */
unsigned __real_byteCrc32(const void *from, size_t size, unsigned crc);
unsigned byteCrc32(const void *from, size_t size, unsigned crc);

Test(replog, blocks_of_the_log_have_the_checksum_of_libraft)
{
    uint8_t bytes[300];
    uint32_t state = 1;

    for (size_t i = 0; i < sizeof bytes; i++) {
        state = state * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(state >> 24);
    }
    for (size_t from = 0; from < 9; from++) {
        for (size_t size = 0; size + from <= sizeof bytes; size++) {
            unsigned start = size % 3 == 0 ? 0 : state + (unsigned)size;
            cr_assert_eq(__wrap_byteCrc32(bytes + from, size, start),
                         __real_byteCrc32(bytes + from, size, start), "%zu bytes at %zu", size,
                         from);
        }
    }
    cr_assert_eq(__wrap_byteCrc32("123456789", 9, 0xffffffffu), 0x0376e6e7u); /* CRC-32/MPEG-2 */
}

Test(replog, libraft_calls_the_quick_checksum)
{
    /* Not known to the compiler, who would say that two names are two functions. */
    unsigned (*volatile called)(const void *from, size_t size, unsigned crc) = byteCrc32;

    cr_assert_eq(called, __wrap_byteCrc32);
}
