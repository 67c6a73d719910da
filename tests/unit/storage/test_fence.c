#include <criterion/criterion.h>
#include <stdio.h>

#include "fence.h"

static uint64_t entry_index;

static struct fence_answer apply(struct fence *fence, struct bb_replog_frame *frame)
{
    struct fence_answer answer;
    uint8_t entry[512];
    bb_replog_frame_encode(frame, entry);
    storage_fence_apply(fence, ++entry_index,
                        bb_slice(entry, bb_replog_frame_size(frame->payload.size)), frame, &answer);
    return answer;
}

static struct fence_answer claim(struct fence *fence, uint64_t want, uint8_t who)
{
    struct bb_buf payload;
    uint8_t holder[FENCE_HOLDER] = { who };
    bb_buf_init(&payload);
    storage_fence_claim_encode(bb_slice(holder, sizeof holder), bb_slice_str("tcp://sequencer"),
                               &payload);
    struct bb_replog_frame frame = { .kind = BB_REPLOG_CLAIM,
                                     .epoch = want,
                                     .payload = bb_buf_slice(&payload) };
    struct fence_answer answer = apply(fence, &frame);
    bb_buf_fini(&payload);
    return answer;
}

static struct fence_answer append(struct fence *fence, uint64_t epoch, uint64_t seq, uint64_t base,
                                  uint64_t last, const char *batch)
{
    struct bb_replog_frame frame = { .kind = BB_REPLOG_APPEND,
                                     .epoch = epoch,
                                     .seq = seq,
                                     .base_tx = BB_TX(base),
                                     .last_tx = BB_TX(last),
                                     .payload = bb_slice_str(batch) };
    return apply(fence, &frame);
}

Test(fence, claim_takes_the_next_epoch_and_only_that)
{
    struct fence fence = { 0 };
    cr_assert_eq(claim(&fence, 2, 'a').status, BB_FENCED);
    cr_assert_eq(claim(&fence, 1, 'a').status, BB_OK);
    cr_assert_eq(claim(&fence, 1, 'b').status, BB_FENCED);
    struct fence_answer again = claim(&fence, 1, 'a');
    cr_assert_eq(again.status, BB_OK, "the same claim again gets the same answer");
    cr_assert_eq(again.epoch, 1);
    cr_assert_eq(claim(&fence, 2, 'b').status, BB_OK);
    cr_assert_eq(claim(&fence, 2, 'a').status, BB_FENCED);
    cr_assert_eq(fence.epoch, 2);
    cr_assert_str_eq(fence.address, "tcp://sequencer");
}

Test(fence, k14_batch_of_a_dead_epoch_is_fenced)
{
    struct fence fence = { 0 };
    cr_assert_eq(append(&fence, 1, 1, 0, 10, "x").status, BB_FENCED, "nobody has claimed");
    claim(&fence, 1, 'a');
    cr_assert(append(&fence, 1, 1, 0, 10, "x").is_new);
    claim(&fence, 2, 'b');
    struct fence_answer late = append(&fence, 1, 2, 10, 20, "y");
    cr_assert_eq(late.status, BB_FENCED);
    cr_assert(!late.is_new);
    cr_assert(append(&fence, 2, 2, 10, 15, "z").is_new);
    cr_assert_eq(fence.last_tx.us, 15);
}

Test(fence, repeated_batch_is_answered_as_done_and_not_applied_again)
{
    struct fence fence = { 0 };
    char batch[32];
    claim(&fence, 1, 'a');
    for (uint64_t seq = 1; seq <= 100; seq++) {
        snprintf(batch, sizeof batch, "batch %d", (int)seq);
        cr_assert(append(&fence, 1, seq, seq * 10 - 10, seq * 10, batch).is_new);
    }
    for (uint64_t seq = 1; seq <= 100; seq++) {
        snprintf(batch, sizeof batch, "batch %d", (int)seq);
        struct fence_answer answer = append(&fence, 1, seq, seq * 10 - 10, seq * 10, batch);
        cr_assert(!answer.is_new);
        cr_assert_eq(answer.status, seq > 100 - FENCE_DIGESTS ? BB_OK : BB_FENCED, "batch %d",
                     (int)seq);
        cr_assert_eq(answer.last_seq, 100);
    }
    cr_assert_eq(append(&fence, 1, 100, 990, 1000, "another").status, BB_FENCED);
}

Test(fence, gap_and_wrong_base_are_refused_without_effect)
{
    struct fence fence = { 0 };
    claim(&fence, 1, 'a');
    cr_assert(append(&fence, 1, 1, 0, 10, "x").is_new);
    struct fence_answer gap = append(&fence, 1, 3, 20, 30, "z");
    cr_assert_eq(gap.status, BB_GAP);
    cr_assert_eq(gap.last_seq, 1);
    cr_assert_eq(append(&fence, 1, 2, 11, 20, "y").status, BB_FENCED);
    cr_assert_eq(append(&fence, 1, 2, 10, 10, "y").status, BB_FENCED);
    cr_assert_eq(fence.last_seq, 1);
    cr_assert(append(&fence, 1, 2, 10, 20, "y").is_new);
}

Test(fence, state_comes_back_as_it_was_and_damage_is_noticed)
{
    struct fence fence = { .cluster = { 1, 2, 3 } }, again;
    struct bb_ctx ctx = { 0 };
    struct bb_buf bytes;
    claim(&fence, 1, 'a');
    append(&fence, 1, 1, 0, 10, "x");
    fence.log_node = 7;
    fence.logged = 2;
    bb_buf_init(&bytes);
    storage_fence_encode(&fence, &bytes);
    cr_assert_eq(storage_fence_decode(&ctx, bb_buf_slice(&bytes), &again), BB_OK);
    cr_assert_eq(again.index, fence.index);
    cr_assert_eq(again.chain, fence.chain);
    cr_assert_eq(again.epoch, 1);
    cr_assert_eq(again.last_seq, 1);
    cr_assert_eq(again.last_tx.us, 10);
    cr_assert_eq(memcmp(again.cluster, fence.cluster, FENCE_CLUSTER), 0);
    cr_assert_eq(memcmp(again.holder, fence.holder, FENCE_HOLDER), 0);
    cr_assert_eq(memcmp(again.digests, fence.digests, sizeof fence.digests), 0);
    cr_assert_str_eq(again.address, fence.address);
    cr_assert_eq(again.log_node, 7);
    cr_assert_eq(again.logged, 2);
    for (size_t cut = 0; cut < bytes.size; cut++)
        cr_assert_neq(storage_fence_decode(&ctx, bb_slice(bytes.data, cut), &again), BB_OK);
    bytes.data[0] = 9;
    cr_assert_eq(storage_fence_decode(&ctx, bb_buf_slice(&bytes), &again), BB_WRONG_VERSION);
    bb_buf_fini(&bytes);
}

Test(fence, golden_state_is_what_is_written_and_older_ones_are_read)
{
    static struct fence fence, again;
    struct bb_ctx ctx = { 0 };
    struct bb_buf bytes;
    uint8_t golden[1024];
    claim(&fence, 1, 'a');
    append(&fence, 1, 1, 0, 10, "x");
    fence.log_node = 7;
    fence.logged = 2;
    bb_buf_init(&bytes);
    storage_fence_encode(&fence, &bytes);
    FILE *file = fopen("tests/golden/log/state.3.bin", "rb");
    cr_assert_not_null(file);
    cr_assert_eq(fread(golden, 1, sizeof golden, file), bytes.size);
    fclose(file);
    cr_assert_eq(memcmp(bytes.data, golden, bytes.size), 0);
    golden[0] = 2; /* ended with the members, of which there are none: a count */
    cr_assert_eq(storage_fence_decode(&ctx, bb_slice(golden, bytes.size - 16), &again), BB_OK);
    cr_assert_eq(again.index, 2);
    cr_assert_eq(again.logged, 0);
    golden[0] = 1; /* ended with the address */
    cr_assert_eq(storage_fence_decode(&ctx, bb_slice(golden, bytes.size - 20), &again), BB_OK);
    cr_assert_eq(again.index, 2);
    cr_assert_eq(again.logged, 0);
    bb_buf_fini(&bytes);
}

Test(fence, chain_tells_histories_apart)
{
    struct fence a = { 0 }, b = { 0 };
    entry_index = 0;
    claim(&a, 1, 'a');
    append(&a, 1, 1, 0, 10, "x");
    entry_index = 0;
    claim(&b, 1, 'a');
    append(&b, 1, 1, 0, 10, "y");
    cr_assert_neq(a.chain, b.chain);
}
