/*
 * The end of the log, looked at before the library does. After a crash the file that was being
 * written ends in a batch that is whole, or in one that is torn, and behind a torn one nothing
 * whole can stand: batches are written one after the other. The library ends at the first batch
 * whose checksum is wrong, wherever that is; with a disk that has lost something in the middle it
 * would start without entries that were acknowledged. So whole batches behind a broken one are a
 * reason to refuse, for a node without peers. One that follows a leader may write several batches
 * at once, of which a loss of power keeps any; what it lacks then it gets from the others again.
 *
 * The library's files, format 1: a u64 format, then batches: a CRC of the header, a CRC of the
 * data, the header (u64 count; per entry u64 term, u8 type, 3 bytes, u32 size), the data. Numbers
 * are little-endian, the CRC is that of CRC-32/MPEG-2 with 0 as its initial value.
 */
#include <stdio.h>

#include "replog_internal.h"

#define FILE_HEADER   8u
#define BATCH_HEADER  8u /* both checksums */
#define ENTRY_HEADER  16u
#define ENTRIES_MAX   256u /* the library sends at most 32 at once */
#define TYPE_MAX      3u   /* command, barrier, change */
#define CRC_POLYNOME  0x04c11db7u
#define OPEN_FILE_MAX ((uint64_t)64 << 20) /* a file of one largest entry, and room */

struct tail_crc {
    uint32_t table[256];
};

static void crc_init(struct tail_crc *crc)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i << 24;
        for (int bit = 0; bit < 8; bit++) {
            value = (value & 0x80000000u) != 0 ? (value << 1) ^ CRC_POLYNOME : value << 1;
        }
        crc->table[i] = value;
    }
}

static uint32_t crc_of(const struct tail_crc *crc, struct bb_slice bytes)
{
    uint32_t value = 0;

    for (size_t i = 0; i < bytes.size; i++) {
        value = (value << 8) ^ crc->table[(value >> 24) ^ bytes.data[i]];
    }
    return value;
}

/*
 * Adds up the data of `count` entries; false when these are no headers of entries. Cheap, and
 * looked at before any checksum: the bytes may be what a user stored.
 */
static bool entries_size(const uint8_t *headers, uint64_t count, uint64_t *size)
{
    *size = 0;
    for (uint64_t i = 0; i < count; i++) {
        const uint8_t *entry = headers + i * ENTRY_HEADER;
        if (entry[8] == 0 || entry[8] > TYPE_MAX || entry[9] != 0 || entry[10] != 0 ||
            entry[11] != 0) {
            return false;
        }
        *size += bb_get_le32(entry + 12);
    }
    return true;
}

/* Bytes of the batch that `from` begins with; 0: none that is whole begins here. */
static size_t whole_batch(const struct tail_crc *crc, struct bb_slice from)
{
    uint64_t count, data = 0;
    size_t header;

    if (from.size < BATCH_HEADER + 8) {
        return 0;
    }
    count = bb_get_le64(from.data + BATCH_HEADER);
    header = 8 + (size_t)count * ENTRY_HEADER;
    if (count == 0 || count > ENTRIES_MAX || header > from.size - BATCH_HEADER ||
        !entries_size(from.data + BATCH_HEADER + 8, count, &data) ||
        data > from.size - BATCH_HEADER - header) {
        return 0;
    }
    if (bb_get_le32(from.data) != crc_of(crc, bb_slice(from.data + BATCH_HEADER, header)) ||
        bb_get_le32(from.data + 4) !=
            crc_of(crc, bb_slice(from.data + BATCH_HEADER + header, (size_t)data))) {
        return 0;
    }
    return BATCH_HEADER + header + (size_t)data;
}

bool replog_tail_is_sound(struct bb_slice file, uint64_t *broken_at)
{
    struct tail_crc crc;
    size_t at = FILE_HEADER, size;

    crc_init(&crc);
    while (at < file.size &&
           (size = whole_batch(&crc, bb_slice(file.data + at, file.size - at))) > 0) {
        at += size;
    }
    *broken_at = at;
    /* Sizes of data are multiples of 8, so batches begin at such places only. */
    for (at += 8; at + BATCH_HEADER + 8 <= file.size; at += 8) {
        if (whole_batch(&crc, bb_slice(file.data + at, file.size - at)) > 0) {
            return false;
        }
    }
    return true;
}

static int check_file(struct bb_ctx *ctx, const struct bb_replog *replog, const char *name)
{
    struct bb_file *file = NULL;
    struct bb_buf bytes;
    uint64_t size = 0, broken_at;
    size_t done = 0;
    char path[4096];

    (void)snprintf(path, sizeof path, "%s/%s", replog->dir, name); /* raft allows less */
    bb_buf_init(&bytes);
    int rc = ctx->env->ops->open(ctx, ctx->env, path, BB_OPEN_READ, &file);
    if (rc == BB_OK) {
        rc = ctx->env->ops->size(ctx, file, &size);
    }
    if (rc == BB_OK && size > OPEN_FILE_MAX) {
        rc = bb_fail(ctx, BB_CORRUPT, "%s has %" PRIu64 " bytes, more than the log ever writes",
                     path, size);
    }
    if (rc == BB_OK) {
        rc = ctx->env->ops->read(ctx, file, 0, bb_buf_reserve(&bytes, (size_t)size), (size_t)size,
                                 &done);
    }
    if (rc == BB_OK && !replog_tail_is_sound(bb_slice(bytes.data, done), &broken_at)) {
        rc = bb_fail(ctx, BB_CORRUPT,
                     "the log in %s cannot be used: %s is damaged at byte %" PRIu64
                     ", and whole entries come after it. Nothing was changed; restore the data "
                     "folder from a backup",
                     replog->dir, name, broken_at);
    }
    ctx->env->ops->close(file);
    bb_buf_fini(&bytes);
    return rc;
}

struct tail_names {
    struct bb_buf list; /* each with its zero */
};

static void note_open_file(void *arg, const char *name)
{
    struct tail_names *names = arg;

    if (strncmp(name, "open-", 5) == 0) {
        bb_buf_append_slice(&names->list, bb_slice(name, strlen(name) + 1));
    }
}

int replog_check_tail(struct bb_ctx *ctx, const struct bb_replog *replog)
{
    struct tail_names names;
    int rc;

    bb_buf_init(&names.list);
    rc = ctx->env->ops->list_dir(ctx, ctx->env, replog->dir, note_open_file, &names);
    for (size_t at = 0; rc == BB_OK && at < names.list.size;) {
        const char *name = (const char *)names.list.data + at;
        rc = check_file(ctx, replog, name);
        at += strlen(name) + 1;
    }
    bb_buf_fini(&names.list);
    return rc;
}
