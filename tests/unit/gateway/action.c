/* What runners say, and the tokens that actions call back with. */
#include <criterion/criterion.h>

#include "action_reply.h"
#include "token.h"

#include "bb/env.h"
#include "bb/wire.h"

#define TOKEN                                                                                         \
    "bbact1."                                                                                         \
    "eyJpZCI6IngiLCJqb2IiOiJqMSIsImF0dGVtcHQiOjMsImlkZW50aXR5Ijoie1wic3ViamVjdFwiOlwiYWRhPz5cIn0iLCJ" \
    "leHAiOjQxMDI0NDQ4MDAwMDB9.2cc34009e845eae86e13886b61bb0ef8b7724ce3f5f837cbccfe50e6657bba43"
#define TOKEN_OVER                  \
    "bbact1."                       \
    "eyJpZCI6IngiLCJleHAiOjEwMDB9." \
    "56ed42d81e5fbc3281cc9b420b94654842033913d5520b47235c22e4336fec07"

static int check(struct bb_arena *arena, const char *key, const char *token, struct caller *caller)
{
    struct bb_ctx ctx = { .env = bb_env_real() };

    *caller = (struct caller){ .is_admin = false };
    return gateway_token_check(&ctx, arena, bb_slice_str(key), bb_slice_str(token), caller);
}

Test(action, a_token_tells_whose_action_and_which_attempt)
{
    struct bb_arena *arena = bb_arena_new(0);
    struct caller caller;

    cr_assert_eq(check(arena, "admin-key", TOKEN, &caller), BB_OK);
    cr_expect(caller.is_action);
    cr_expect_not(caller.is_admin);
    cr_expect(bb_slice_equal_str(caller.identity, "{\"subject\":\"ada?>\"}"));
    cr_expect(bb_slice_equal_str(caller.job, "j1"));
    cr_expect_eq(caller.attempt, 3);
    bb_arena_free(arena);
}

Test(action, a_token_of_another_key_or_time_or_text_is_none)
{
    struct bb_arena *arena = bb_arena_new(0);
    struct caller caller;
    static const char *const wrong[] = { "",       "bbact1.", "bbact1.e30", "bbact1.e30.00",
                                         "e30.00", TOKEN "0", TOKEN_OVER };

    cr_expect_eq(check(arena, "another", TOKEN, &caller), BB_UNAUTHORIZED);
    cr_expect_eq(check(arena, "", TOKEN, &caller), BB_UNAUTHORIZED);
    for (size_t i = 0; i < BB_COUNT_OF(wrong); i++) {
        cr_expect_eq(check(arena, "admin-key", wrong[i], &caller), BB_UNAUTHORIZED, "%s", wrong[i]);
        cr_expect_not(caller.is_action);
    }
    bb_arena_free(arena);
}

static int decode(const char *json, struct action_reply *reply)
{
    struct bb_ctx ctx = { .status = BB_OK };

    return gateway_action_reply_decode(&ctx, bb_slice_str(json), reply);
}

Test(action, replies_are_decoded)
{
    struct action_reply reply;

    cr_assert_eq(decode("{\"accepted\":\"r1\"}", &reply), BB_OK);
    cr_expect(bb_slice_equal_str(reply.accepted, "r1"));
    gateway_action_reply_fini(&reply);

    cr_assert_eq(decode("{\"busy\":true}", &reply), BB_OK);
    cr_expect(reply.is_busy);
    gateway_action_reply_fini(&reply);

    cr_assert_eq(decode("{\"status\":\"success\",\"value\":{\"$integer\":\"BwAAAAAAAAA=\"},"
                        "\"logLines\":[{\"level\":\"log\",\"text\":\"hi\",\"time\":5},7]}",
                        &reply),
                 BB_OK);
    cr_expect_eq(reply.status, BB_OK);
    cr_expect_eq(bb_value_int64(bb_pb_slice(reply.reply.value)), 7);
    cr_assert_eq(reply.reply.n_logs, 1);
    cr_expect_str_eq(reply.reply.logs[0]->text, "hi");
    gateway_action_reply_fini(&reply);

    cr_assert_eq(decode("{\"status\":\"error\",\"code\":\"UserError\",\"errorMessage\":\"no\","
                        "\"errorData\":[1],\"stack\":\"at f\"}",
                        &reply),
                 BB_OK);
    cr_expect_eq(reply.status, BB_USER_ERROR);
    cr_expect_str_eq(reply.error, "no");
    cr_expect_str_eq(reply.reply.stack, "at f");
    cr_expect_eq(bb_value_count(bb_pb_slice(reply.reply.error_data)), 1);
    gateway_action_reply_fini(&reply);
}

Test(action, nonsense_of_a_runner_is_refused)
{
    static const char *const wrong[] = { "",
                                         "7",
                                         "{}",
                                         "{\"status\":\"fine\"}",
                                         "{\"status\":\"error\",\"code\":\"Ok\"}",
                                         "{\"status\":\"error\",\"code\":\"NoSuchCode\"}" };
    static const char *const beats[] = { "[]", "{}", "{\"id\":\"\"}",
                                         "{\"id\":\"0123456789012345678901234567890123456789\"}" };

    for (size_t i = 0; i < BB_COUNT_OF(wrong); i++) {
        struct action_reply reply;

        cr_expect_neq(decode(wrong[i], &reply), BB_OK, "%s", wrong[i]);
        gateway_action_reply_fini(&reply);
    }
    for (size_t i = 0; i < BB_COUNT_OF(beats); i++) {
        struct bb_ctx ctx = { .status = BB_OK };
        struct runner_beat beat;

        cr_expect_neq(gateway_runner_beat_decode(&ctx, bb_slice_str(beats[i]), &beat), BB_OK, "%s",
                      beats[i]);
    }
}

Test(action, a_runner_says_how_much_room_it_has)
{
    struct bb_ctx ctx = { .status = BB_OK };
    struct runner_beat beat;

    cr_assert_eq(
        gateway_runner_beat_decode(
            &ctx, bb_slice_str("{\"id\":\"r\",\"running\":2,\"slots\":8,\"version\":3}"), &beat),
        BB_OK);
    cr_expect_str_eq(beat.id, "r");
    cr_expect_eq(beat.running, 2);
    cr_expect_eq(beat.slots, 8);
    cr_expect_eq(beat.version, 3);
    cr_expect_not(beat.is_gone);
}
