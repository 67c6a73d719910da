/* What requests ask for, and what answers look like. */
#include <criterion/criterion.h>

#include "answer.h"
#include "ask.h"
#include "bb/wire.h"

#define CHECK_PATH(call, text, wanted)                                                    \
    do {                                                                                  \
        const char *path = NULL;                                                          \
        cr_expect_eq(call(&ctx, arena, bb_slice_str(text), &path), BB_OK, "%s: %s", text, \
                     ctx.error);                                                          \
        if (path != NULL)                                                                 \
            cr_expect_str_eq(path, wanted);                                               \
    } while (0)

Test(ask, paths_take_one_form)
{
    struct bb_ctx ctx = { .status = BB_OK };
    struct bb_arena *arena = bb_arena_new(0);
    static const char *const wrong[] = { "", ":", ":f", "m:", "a b:c", "m.js:", "\x01:f" };

    CHECK_PATH(gateway_ask_path, "messages:list", "messages:list");
    CHECK_PATH(gateway_ask_path, "dir/mod.js:fn", "dir/mod:fn");
    CHECK_PATH(gateway_ask_path, "dir/mod", "dir/mod:default");
    CHECK_PATH(gateway_ask_path, "dir/mod.js", "dir/mod:default");
    CHECK_PATH(gateway_ask_path, "a:b:c", "a:b:c");
    CHECK_PATH(gateway_ask_run_path, "messages/list", "messages:list");
    CHECK_PATH(gateway_ask_run_path, "dir/messages/list", "dir/messages:list");
    CHECK_PATH(gateway_ask_run_path, "dir/messages:list", "dir/messages:list");
    CHECK_PATH(gateway_ask_run_path, "messages", "messages:default");
    for (size_t i = 0; i < BB_COUNT_OF(wrong); i++) {
        const char *path = NULL;

        cr_expect_eq(gateway_ask_path(&ctx, arena, bb_slice_str(wrong[i]), &path), BB_BAD_REQUEST,
                     "%s", wrong[i]);
    }
    bb_arena_free(arena);
}

static int envelope(struct bb_ctx *ctx, struct bb_arena *arena, const char *json, struct ask *ask,
                    struct bb_buf *body)
{
    int rc;

    bb_buf_clear(body);
    rc = bb_json_decode(ctx, bb_slice_str(json), false, body);
    return rc == BB_OK ? gateway_ask_envelope(ctx, arena, bb_buf_slice(body), NULL, ask) : rc;
}

Test(ask, envelopes_are_decoded)
{
    struct bb_ctx ctx = { .status = BB_OK };
    struct bb_arena *arena = bb_arena_new(0);
    struct bb_buf body = { 0 };
    struct ask ask;
    static const char *const good[] = {
        "{\"path\":\"a:b\"}", "{\"path\":\"a:b\",\"args\":[]}",
        "{\"path\":\"a:b\",\"args\":[{}],\"format\":\"json\"}",
        "{\"path\":\"a:b\",\"args\":{},\"format\":null,\"other\":1,\"componentPath\":\"\"}"
    };
    static const char *const wrong[] = { "[]",
                                         "1",
                                         "{}",
                                         "{\"path\":1}",
                                         "{\"path\":\"a:b\",\"args\":1}",
                                         "{\"path\":\"a:b\",\"args\":[1]}",
                                         "{\"path\":\"a:b\",\"args\":[{},{}]}",
                                         "{\"path\":\"a:b\",\"format\":\"xml\"}",
                                         "{\"path\":\"a:b\",\"componentPath\":\"c\"}",
                                         "{\"path\":\"a:b\",\"format\":1}" };

    for (size_t i = 0; i < BB_COUNT_OF(good); i++) {
        cr_expect_eq(envelope(&ctx, arena, good[i], &ask, &body), BB_OK, "%s: %s", good[i],
                     ctx.error);
        cr_expect_eq(bb_value_tag(ask.args), BB_TAG_OBJECT);
        cr_expect_eq(bb_value_count(ask.args), 0u);
        cr_expect_eq(bb_value_validate(&ctx, ask.args), BB_OK);
    }
    cr_expect_eq(envelope(&ctx, arena,
                          "{\"path\":\"a:b\",\"args\":[{\"n\":{\"$integer\":\"AQAAAAAAAAA=\"}}],"
                          "\"format\":\"convex_encoded_json\"}",
                          &ask, &body),
                 BB_OK);
    cr_expect_eq(ask.format, BB_JSON_ENCODED);
    cr_expect_eq(bb_value_int64(bb_value_field_str(ask.args, "n")), 1);
    for (size_t i = 0; i < BB_COUNT_OF(wrong); i++)
        cr_expect_eq(envelope(&ctx, arena, wrong[i], &ask, &body), BB_BAD_REQUEST, "%s", wrong[i]);
    cr_expect_eq(envelope(&ctx, arena, "{\"path\":}", &ask, &body), BB_BAD_JSON);
    bb_buf_fini(&body);
    bb_arena_free(arena);
}

Test(ask, only_the_right_key_opens)
{
    struct bb_ctx ctx = { .status = BB_OK };
    struct bb_arena *arena = bb_arena_new(0);
    struct bb_slice key = bb_slice_str("name|secret");
    struct caller caller;
    static const char *const wrong[] = { "BitBend name|secre", "BitBend name|secrets",
                                         "BitBend ",           "name|secret",
                                         "Basic name|secret",  "Bearer name|secret",
                                         "BitBend :e30=",      "Convex name|secret:x" };

    cr_expect_eq(gateway_authorize(&ctx, arena, key, BB_SLICE_EMPTY, &caller), BB_OK);
    cr_expect_not(caller.is_admin);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(
            gateway_authorize(&ctx, arena, key,
                              bb_slice_str(i == 0 ? "BitBend name|secret" : "convex name|secret"),
                              &caller),
            BB_OK);
        cr_expect(caller.is_admin);
    }
    cr_expect_eq(gateway_authorize(&ctx, arena, key,
                                   bb_slice_str("Convex name|secret:eyJhIjoxfQ=="), &caller),
                 BB_OK);
    cr_expect(bb_slice_equal_str(caller.identity, "{\"a\":1}"));
    /* {"issuer":"i","subject":"s"}, as tools send it: what a function looks users up by is added.
     */
    cr_expect_eq(gateway_authorize(
                     &ctx, arena, key,
                     bb_slice_str("Convex name|secret:eyJpc3N1ZXIiOiJpIiwic3ViamVjdCI6InMifQ=="),
                     &caller),
                 BB_OK);
    cr_expect(bb_slice_equal_str(
        caller.identity, "{\"issuer\":\"i\",\"subject\":\"s\",\"tokenIdentifier\":\"i|s\"}"));
    for (size_t i = 0; i < BB_COUNT_OF(wrong); i++) {
        cr_expect_eq(gateway_authorize(&ctx, arena, key, bb_slice_str(wrong[i]), &caller),
                     BB_UNAUTHORIZED, "%s", wrong[i]);
        cr_expect_not(caller.is_admin);
    }
    /* Without a key nothing opens, an empty one neither. */
    cr_expect_eq(gateway_authorize(&ctx, arena, BB_SLICE_EMPTY, bb_slice_str("BitBend x"), &caller),
                 BB_UNAUTHORIZED);
    cr_expect_eq(
        gateway_authorize(&ctx, arena, BB_SLICE_EMPTY, bb_slice_str("BitBend :e30="), &caller),
        BB_UNAUTHORIZED);
    bb_arena_free(arena);
}

/* ---- answers ---- */

static const uint8_t request_id[16] = { 0xab, 0xcd };

static const char *render(struct bb_buf *to, const struct outcome *outcome, bool is_part, int http)
{
    bb_buf_clear(to);
    cr_expect_eq(gateway_envelope(to, outcome, is_part), http);
    bb_buf_append_byte(to, '\0');
    return (const char *)to->data;
}

Test(answer, envelopes_have_one_shape)
{
    Bb__Proto__CallReply reply;
    Bb__Proto__LogLine line;
    Bb__Proto__LogLine *lines[] = { &line };
    struct bb_buf out = { 0 };
    char level[] = "log";
    char text[] = "'hi'";
    char stack[] = "at list (messages.ts:12:5)\nat x";
    struct outcome outcome = { .reply = &reply,
                               .kind = BB__PROTO__FUNCTION_KIND__KIND_MUTATION,
                               .request_id = request_id,
                               .format = BB_JSON_CLEAN,
                               .shows_errors = true };
    uint8_t one[] = { BB_TAG_INT64, 1, 0, 0, 0, 0, 0, 0, 0 };

    bb__proto__call_reply__init(&reply);
    bb__proto__log_line__init(&line);
    line.level = level;
    line.text = text;
    reply.value = bb_slice_pb(bb_slice(one, sizeof(one)));
    reply.tx = 7;
    reply.n_logs = 1;
    reply.logs = lines;
    cr_expect_str_eq(
        render(&out, &outcome, false, 200),
        "{\"status\":\"success\",\"value\":\"1\",\"tx\":7,\"logLines\":[\"[LOG] 'hi'\"]}");
    reply.tx = 0;
    reply.read_tx = 6;
    outcome.shows_errors = false;
    outcome.format = BB_JSON_ENCODED;
    cr_expect_str_eq(
        render(&out, &outcome, false, 200),
        "{\"status\":\"success\",\"value\":{\"$integer\":\"AQAAAAAAAAA=\"},\"tx\":null,\"readTx\":6,"
        "\"logLines\":[]}");
    outcome.kind = BB__PROTO__FUNCTION_KIND__KIND_QUERY;
    cr_expect(strstr(render(&out, &outcome, false, 200), "\"tx\":6,") != NULL, "%s", out.data);

    outcome.shows_errors = true;
    outcome.status = BB_SERVER_ERROR;
    outcome.error = "Uncaught Error: kaput";
    reply.stack = stack;
    cr_expect_str_eq(
        render(&out, &outcome, false, 200),
        "{\"status\":\"error\",\"code\":\"ServerError\",\"errorMessage\":\"[Request ID: abcd000000000000] "
        "Server Error\\nUncaught Error: kaput\\n    at list (messages.ts:12:5)\\n    at x\","
        "\"logLines\":[\"[LOG] 'hi'\"]}");
    bb_buf_fini(&out);
}

Test(answer, errors_are_redacted_but_their_data_is_not)
{
    Bb__Proto__CallReply reply;
    struct bb_buf out = { 0 };
    uint8_t one[] = { BB_TAG_INT64, 1, 0, 0, 0, 0, 0, 0, 0 };
    struct outcome outcome = {
        .status = BB_USER_ERROR, .error = "secret", .reply = &reply, .request_id = request_id
    };

    bb__proto__call_reply__init(&reply);
    reply.error_data = bb_slice_pb(bb_slice(one, sizeof(one)));
    outcome.format = BB_JSON_CLEAN;
    cr_expect_str_eq(
        render(&out, &outcome, false, 200),
        "{\"status\":\"error\",\"code\":\"UserError\",\"errorMessage\":\"[Request ID: abcd000000000000] "
        "Server Error\",\"errorData\":\"1\",\"logLines\":[]}");
    outcome.status = BB_SERVER_ERROR;
    cr_expect(strstr(render(&out, &outcome, false, 200), "errorData") == NULL);
    cr_expect(strstr((const char *)out.data, "secret") == NULL);
    bb_buf_fini(&out);
}

Test(answer, what_happens_outside_a_function_has_its_own_status)
{
    struct bb_buf out = { 0 };
    struct outcome outcome = { .status = BB_FUNCTION_NOT_FOUND,
                               .error = "a:b",
                               .request_id = request_id };

    cr_expect_str_eq(
        render(&out, &outcome, false, 404),
        "{\"code\":\"FunctionNotFound\",\"message\":\"Could not find function: a:b\"}");
    cr_expect_str_eq(
        render(&out, &outcome, true, 200),
        "{\"status\":\"error\",\"code\":\"FunctionNotFound\",\"errorMessage\":\"Could not find function: "
        "a:b\",\"logLines\":[]}");
    outcome.status = BB_OVERLOADED;
    outcome.error = NULL;
    cr_expect_str_eq(render(&out, &outcome, false, 503),
                     "{\"code\":\"Overloaded\",\"message\":\"Overloaded\"}");
    bb_buf_fini(&out);
}
