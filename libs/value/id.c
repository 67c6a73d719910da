#include "bb/value.h"

/* Document ids as text: docs/formats/key.md. */

static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

/* Fletcher's checksum with both sums modulo 256. */
static void checksum(const uint8_t *bytes, size_t size, uint8_t sums[2])
{
    uint8_t a = 0;
    uint8_t c = 0;

    for (size_t i = 0; i < size; i++) {
        a = (uint8_t)(a + bytes[i]);
        c = (uint8_t)(c + a);
    }
    sums[0] = a;
    sums[1] = c;
}

size_t bb_id_text(uint32_t table, const struct bb_id *id, char text[BB_ID_TEXT_MAX])
{
    uint8_t bytes[5 + sizeof id->bytes + 2];
    size_t size = bb_varint_put(bytes, table);
    size_t length = 0;
    uint32_t bits = 0;
    unsigned bit_count = 0;

    memcpy(bytes + size, id->bytes, sizeof id->bytes);
    size += sizeof id->bytes;
    checksum(bytes, size, bytes + size);
    size += 2;
    for (size_t i = 0; i < size; i++) {
        bits = bits << 8 | bytes[i];
        bit_count += 8;
        while (bit_count >= 5) {
            bit_count -= 5;
            text[length++] = alphabet[bits >> bit_count & 31];
        }
        bits &= (1u << bit_count) - 1;
    }
    if (bit_count > 0)
        text[length++] = alphabet[bits << (5 - bit_count) & 31];
    bb_assert(length <= BB_ID_TEXT_MAX);
    return length;
}

static int digit_of(uint8_t c)
{
    const char *found = c == 0 ? NULL : memchr(alphabet, c, 32);

    return found == NULL ? -1 : (int)(found - alphabet);
}

int bb_id_parse(struct bb_ctx *ctx, struct bb_slice text, uint32_t *table, struct bb_id *id)
{
    uint8_t bytes[24];
    uint8_t sums[2];
    size_t size = 0;
    uint32_t bits = 0;
    unsigned bit_count = 0;
    uint64_t number = 0;

    if (text.size < 31 || text.size > BB_ID_TEXT_MAX) {
        return bb_fail(ctx, BB_BAD_ID, "\"%.*s\" is not a document id: it has %zu characters",
                       (int)(text.size < 60 ? text.size : 60), (const char *)text.data, text.size);
    }
    for (size_t i = 0; i < text.size; i++) {
        int digit = digit_of(text.data[i]);
        if (digit < 0)
            return bb_fail(ctx, BB_BAD_ID, "\"%.*s\" is not a document id", BB_SLICE_ARG(text));
        bits = bits << 5 | (uint32_t)digit;
        bit_count += 5;
        if (bit_count >= 8) {
            bit_count -= 8;
            bytes[size++] = (uint8_t)(bits >> bit_count);
            bits &= (1u << bit_count) - 1;
        }
    }
    size_t used = bb_varint_get(bb_slice(bytes, size), &number);
    if (bit_count >= 5 || bits != 0 || used == 0 || number > UINT32_MAX ||
        size != used + sizeof id->bytes + 2)
        return bb_fail(ctx, BB_BAD_ID, "\"%.*s\" is not a document id", BB_SLICE_ARG(text));
    checksum(bytes, size - 2, sums);
    if (memcmp(sums, bytes + size - 2, 2) != 0) {
        return bb_fail(ctx, BB_BAD_ID, "\"%.*s\" is not a document id: its checksum is wrong",
                       BB_SLICE_ARG(text));
    }
    *table = (uint32_t)number;
    memcpy(id->bytes, bytes + used, sizeof id->bytes);
    return BB_OK;
}

void bb_id_of_key(uint32_t table, struct bb_slice key, struct bb_id *id)
{
    struct bb_sha256 sha;
    uint8_t head[4];
    uint8_t digest[32];

    bb_put_be32(head, table);
    bb_sha256_init(&sha);
    bb_sha256_update(&sha, head, sizeof head);
    bb_sha256_update(&sha, key.data, key.size);
    bb_sha256_final(&sha, digest);
    memcpy(id->bytes, digest, 14);
    id->bytes[14] = id->bytes[15] = 0;
}

const char *bb_system_table_name(uint32_t number)
{
    static const char *const names[BB_TABLE_COUNT_SYSTEM] = {
        [BB_TABLE_TABLES] = "_tables",
        [BB_TABLE_INDEXES] = "_indexes",
        [BB_TABLE_FUNCTIONS] = "_functions",
        [BB_TABLE_MODULES] = "_modules",
        [BB_TABLE_DEPLOYMENT] = "_deployment",
        [BB_TABLE_REQUESTS] = "_requests",
        [BB_TABLE_ENVIRONMENT] = "_environment",
        [BB_TABLE_CONSUMERS] = "_consumers",
        [BB_TABLE_JOBS] = "_jobs",
        [BB_TABLE_CRONS] = "_crons",
        [BB_TABLE_LEASES] = "_leases",
        [BB_TABLE_CODE] = "_code",
    };

    return number < BB_TABLE_COUNT_SYSTEM ? names[number] : NULL;
}
