#include <criterion/criterion.h>
#include <stdio.h>

#include "replog_internal.h"

static struct bb_replog_frame sample(void)
{
    return (struct bb_replog_frame){ .kind = BB_REPLOG_APPEND,
                                     .epoch = 3,
                                     .seq = 7,
                                     .base_tx = BB_TX(1763716000000000),
                                     .last_tx = BB_TX(1763716000000042),
                                     .count = 2,
                                     .payload = bb_slice_str("thirteen byte") };
}

Test(frame, comes_back_as_it_went_in)
{
    struct bb_replog_frame in = sample(), out;
    struct bb_ctx ctx = { 0 };
    uint8_t entry[128];
    size_t size = bb_replog_frame_size(in.payload.size);
    cr_assert_eq(size % 8, 0);
    bb_replog_frame_encode(&in, entry);
    cr_assert_eq(bb_replog_frame_decode(&ctx, bb_slice(entry, size), &out), BB_OK);
    cr_assert_eq(out.kind, in.kind);
    cr_assert_eq(out.epoch, in.epoch);
    cr_assert_eq(out.seq, in.seq);
    cr_assert_eq(out.base_tx.us, in.base_tx.us);
    cr_assert_eq(out.last_tx.us, in.last_tx.us);
    cr_assert_eq(out.count, in.count);
    cr_assert(bb_slice_equal(out.payload, in.payload));
}

Test(frame, any_flipped_bit_is_noticed)
{
    struct bb_replog_frame in = sample(), out;
    struct bb_ctx ctx = { 0 };
    uint8_t entry[128];
    size_t size = bb_replog_frame_size(in.payload.size);
    bb_replog_frame_encode(&in, entry);
    for (size_t bit = 0; bit < (BB_REPLOG_FRAME_HEADER + in.payload.size) * 8; bit++) {
        entry[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_neq(bb_replog_frame_decode(&ctx, bb_slice(entry, size), &out), BB_OK,
                      "bit %zu was flipped", bit);
        entry[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t cut = 0; cut < size; cut++)
        cr_assert_neq(bb_replog_frame_decode(&ctx, bb_slice(entry, cut), &out), BB_OK);
}

Test(frame, is_the_golden_one)
{
    struct bb_replog_frame in = sample();
    uint8_t entry[128], golden[128];
    size_t size = bb_replog_frame_size(in.payload.size);
    FILE *file = fopen("tests/golden/log/entry.1.bin", "rb");
    cr_assert_not_null(file);
    bb_replog_frame_encode(&in, entry);
    cr_assert_eq(fread(golden, 1, sizeof golden, file), size);
    fclose(file);
    cr_assert_eq(memcmp(golden, entry, size), 0);
}

Test(manifest, comes_back_and_damage_is_noticed)
{
    struct bb_ctx ctx = { 0 };
    struct bb_buf bytes;
    struct bb_slice application;
    uint64_t index;
    bb_buf_init(&bytes);
    replog_manifest_encode(99, bb_slice_str("the application's part"), &bytes);
    cr_assert_eq(replog_manifest_decode(&ctx, bb_buf_slice(&bytes), &index, &application), BB_OK);
    cr_assert_eq(index, 99);
    cr_assert(bb_slice_equal_str(application, "the application's part"));
    for (size_t i = 0; i < 24 + application.size; i++) {
        bytes.data[i] ^= 4;
        cr_assert_neq(replog_manifest_decode(&ctx, bb_buf_slice(&bytes), &index, &application),
                      BB_OK, "byte %zu", i);
        bytes.data[i] ^= 4;
    }
    bb_buf_fini(&bytes);
}
