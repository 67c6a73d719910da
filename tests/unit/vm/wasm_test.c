#include <criterion/criterion.h>

#include "wasm.h"

#define HEAD 0, 'a', 's', 'm', 1, 0, 0, 0

static int harden(const uint8_t *data, size_t size, struct bb_buf *out, struct bb_ctx *ctx)
{
    uint32_t memory_count;

    bb_buf_init(out);
    return vm_wasm_harden(ctx, bb_slice(data, size), out, &memory_count);
}

Test(wasm, a_quotient_is_followed_by_the_choice_of_the_canonical_nan)
{
    /* (func (param f64 f64) (result f64) (f64.div (local.get 0) (local.get 1))) */
    static const uint8_t module[] = { HEAD, 1,  7, 1, 0x60, 2, 0x7c, 0x7c, 1,    0x7c, 3,    2,   1,
                                      0,    10, 9, 1, 7,    0, 0x20, 0,    0x20, 1,    0xa3, 0x0b };
    static const uint8_t wanted[] = { 0xa3, 0x22, 3,    0x44, 0,    0, 0,    0,    0,   0,
                                      0xf8, 0x7f, 0x20, 3,    0x20, 3, 0x61, 0x1b, 0x0b };
    struct bb_ctx ctx = { 0 };
    struct bb_buf out;

    cr_assert_eq(harden(module, sizeof module, &out, &ctx), BB_OK, "%s", ctx.error);
    cr_assert_gt(out.size, sizeof wanted);
    cr_assert_arr_eq(out.data + out.size - sizeof wanted, wanted, sizeof wanted);
    bb_buf_fini(&out);
}

Test(wasm, whole_numbers_stay_as_they_are)
{
    /* (func (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))) */
    static const uint8_t module[] = { HEAD, 1,  6, 1, 0x60, 1,    0x7f, 1, 0x7f, 3,    2,    1,
                                      0,    10, 9, 1, 7,    0x00, 0x20, 0, 0x41, 0x01, 0x6a, 0x0b };
    struct bb_ctx ctx = { 0 };
    struct bb_buf out;

    cr_assert_eq(harden(module, sizeof module, &out, &ctx), BB_OK, "%s", ctx.error);
    cr_assert_eq(out.size, sizeof module);
    cr_assert_arr_eq(out.data, module, sizeof module);
    bb_buf_fini(&out);
}

Test(wasm, what_is_cut_off_anywhere_is_refused)
{
    static const uint8_t module[] = { HEAD, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 10, 4, 1, 2, 0, 0x0b };

    for (size_t size = 0; size < sizeof module; size++) {
        struct bb_ctx ctx = { 0 };
        struct bb_buf out;
        bool is_whole = size == 8 || size == 14; /* between sections, without a function */
        cr_expect_eq(harden(module, size, &out, &ctx) == BB_OK, is_whole, "%zu bytes: %s", size,
                     ctx.error);
        bb_buf_fini(&out);
    }
}

Test(wasm, what_is_not_available_is_refused_by_name)
{
    static const struct {
        const char *what;
        uint8_t bytes[24];
        size_t size;
    } cases[] = {
        { "without threads", { HEAD, 5, 4, 1, 3, 1, 1 }, 14 },
        { "64-bit memory", { HEAD, 5, 3, 1, 4, 1 }, 13 },
        { "more than one memory", { HEAD, 5, 5, 2, 0, 1, 0, 1 }, 15 },
        { "garbage collection", { HEAD, 1, 3, 1, 0x5f, 0 }, 13 },
        { "out of order", { HEAD, 5, 1, 0, 1, 1, 0 }, 14 },
        { "unknown kind", { HEAD, 13, 1, 0 }, 11 },
    };

    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        struct bb_ctx ctx = { 0 };
        struct bb_buf out;
        cr_expect_eq(harden(cases[i].bytes, cases[i].size, &out, &ctx), BB_BAD_REQUEST);
        cr_expect_not_null(strstr(ctx.error, cases[i].what), "%s: %s", cases[i].what, ctx.error);
        bb_buf_fini(&out);
    }
}
