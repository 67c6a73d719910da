#include <criterion/criterion.h>

#include "sequencer.pb-c.h"

#include "bb/wire.h"

Test(frame, comes_out_as_it_went_in_however_it_is_cut)
{
    struct bb_ctx ctx = { .status = 0 };
    struct bb_buf bytes;
    Bb__Proto__Range range;
    struct bb_slice frame;
    size_t used = 0;

    bb_buf_init(&bytes);
    bb__proto__range__init(&range);
    bb_frame_append(&bytes, &range.base); /* an empty message */
    range.low = bb_slice_pb(bb_slice_str("abc"));
    bb_frame_append(&bytes, &range.base);
    cr_assert_eq(bytes.size, 4 + 4 + 5);
    cr_assert_eq(bb_frame_next(&ctx, bb_buf_slice(&bytes), &frame, &used), BB_OK);
    cr_assert_eq(used, 4);
    cr_assert_eq(frame.size, 0);
    for (size_t size = 0; size < 9; size++)
        cr_assert_eq(bb_frame_next(&ctx, bb_slice(bytes.data + 4, size), &frame, &used),
                     BB_PENDING);
    cr_assert_eq(bb_frame_next(&ctx, bb_slice(bytes.data + 4, 9), &frame, &used), BB_OK);
    cr_assert_eq(used, 9);
    cr_assert_eq(frame.size, 5);
    bb_buf_fini(&bytes);
}

Test(frame, a_length_beyond_the_limit_is_refused_before_it_is_read)
{
    struct bb_ctx ctx = { .status = 0 };
    uint8_t head[4];
    struct bb_slice frame;
    size_t used = 0;

    bb_put_le32(head, BB_WIRE_MESSAGE_MAX + 1);
    cr_assert_eq(bb_frame_next(&ctx, bb_slice(head, 4), &frame, &used), BB_TOO_LARGE);
}

Test(unpack, malformed_and_too_large_are_told_apart)
{
    struct bb_ctx ctx = { .status = 0 };
    struct bb_arena *arena = bb_arena_new(4096);
    Bb__Proto__Submit submit;
    Bb__Proto__Commit commits[100];
    Bb__Proto__Commit *list[100];
    Bb__Proto__Submit *parsed = NULL;
    struct bb_buf bytes;

    bb_buf_init(&bytes);
    bb__proto__submit__init(&submit);
    for (size_t i = 0; i < 100; i++) {
        bb__proto__commit__init(&commits[i]);
        list[i] = &commits[i];
    }
    submit.n_commits = 10;
    submit.commits = list;
    bb_pack_append(&bytes, &submit.base);
    cr_assert_eq(
        bb_unpack(&ctx, arena, &bb__proto__submit__descriptor, bb_buf_slice(&bytes), &parsed),
        BB_OK);
    cr_assert_eq(parsed->n_commits, 10);
    cr_assert_eq(bb_unpack(&ctx, arena, &bb__proto__submit__descriptor,
                           bb_slice(bytes.data, bytes.size - 1), &parsed),
                 BB_BAD_REQUEST);
    bb_buf_clear(&bytes);
    submit.n_commits = 100;
    bb_pack_append(&bytes, &submit.base);
    bb_arena_reset(arena);
    cr_assert_eq(
        bb_unpack(&ctx, arena, &bb__proto__submit__descriptor, bb_buf_slice(&bytes), &parsed),
        BB_TOO_LARGE);
    bb_buf_fini(&bytes);
    bb_arena_free(arena);
}
