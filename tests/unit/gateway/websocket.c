/* Messages of compatible clients: what is understood, what is refused, what is answered. */
#include <criterion/criterion.h>

#include "websocket.h"
#include "websocket_message.h"

static void put(struct bb_buf *to, const char *json)
{
    struct bb_ctx ctx = { .status = BB_OK };

    bb_buf_clear(to);
    cr_assert_eq(bb_json_decode(&ctx, bb_slice_str(json), false, to), BB_OK, "%s: %s", json,
                 ctx.error);
}

static int decode(struct bb_buf *value, const char *json, struct websocket_message *message)
{
    struct bb_ctx ctx = { .status = BB_OK };
    int rc;

    put(value, json);
    rc = gateway_websocket_decode(&ctx, bb_buf_slice(value), message);
    if (rc != BB_OK)
        cr_assert_gt(strlen(ctx.error), 5);
    return rc;
}

Test(websocket, messages_are_understood)
{
    struct websocket_message message;
    struct bb_buf value = { 0 };

    cr_assert_eq(decode(&value,
                        "{\"type\":\"Connect\",\"sessionId\":\"s-1\",\"connectionCount\":0,"
                        "\"lastCloseReason\":null,\"maxObservedTimestamp\":\"AQAAAAAAAAA=\","
                        "\"clientTs\":1.5}",
                        &message),
                 BB_OK);
    cr_assert_eq(message.kind, WEBSOCKET_CONNECT);
    cr_assert(bb_slice_equal_str(message.session_id, "s-1"));
    cr_assert_eq(message.max_observed, 1);
    cr_assert_eq(decode(&value, "{\"type\":\"Connect\",\"sessionId\":\"s\"}", &message), BB_OK);
    cr_assert_eq(message.max_observed, 0);
    cr_assert_eq(decode(&value,
                        "{\"type\":\"ModifyQuerySet\",\"baseVersion\":3,\"newVersion\":4,"
                        "\"modifications\":[{}]}",
                        &message),
                 BB_OK);
    cr_assert_eq(message.kind, WEBSOCKET_MODIFY);
    cr_assert_eq(message.base_version, 3);
    cr_assert_eq(message.new_version, 4);
    cr_assert_eq(bb_value_count(message.modifications), 1);
    cr_assert_eq(decode(&value,
                        "{\"type\":\"Mutation\",\"requestId\":9,\"udfPath\":\"m:f\","
                        "\"args\":[{\"a\":1}],\"componentPath\":\"c\"}",
                        &message),
                 BB_OK);
    cr_assert_eq(message.kind, WEBSOCKET_MUTATION);
    cr_assert_eq(message.request_id, 9);
    cr_assert_eq(bb_value_count(message.args), 1);
    cr_assert(message.has_component);
    cr_assert_eq(decode(&value,
                        "{\"type\":\"Action\",\"requestId\":0,\"udfPath\":\"m:f\",\"args\":[{}]}",
                        &message),
                 BB_OK);
    cr_assert_not(message.has_component);
    cr_assert_eq(decode(&value,
                        "{\"type\":\"Authenticate\",\"tokenType\":\"Admin\",\"value\":\"k\","
                        "\"baseVersion\":0,\"impersonating\":{}}",
                        &message),
                 BB_OK);
    cr_assert_eq(message.token_kind, WEBSOCKET_TOKEN_ADMIN);
    cr_assert_eq(bb_value_tag(message.impersonating), BB_TAG_OBJECT);
    cr_assert_eq(decode(&value,
                        "{\"type\":\"Authenticate\",\"tokenType\":\"None\",\"baseVersion\":2}",
                        &message),
                 BB_OK);
    cr_assert_eq(message.token_kind, WEBSOCKET_TOKEN_NONE);
    cr_assert_eq(decode(&value, "{\"type\":\"Event\",\"event\":[1,{}]}", &message), BB_OK);
    cr_assert_eq(message.kind, WEBSOCKET_EVENT);
    bb_buf_fini(&value);
}

Test(websocket, bad_messages_are_refused_with_a_reason)
{
    static const char *const bad[] = {
        "1",
        "[]",
        "{}",
        "{\"type\":1}",
        "{\"type\":\"Shout\"}",
        "{\"type\":\"Connect\"}",
        "{\"type\":\"Connect\",\"sessionId\":\"\"}",
        "{\"type\":\"Connect\",\"sessionId\":\"s\",\"maxObservedTimestamp\":5}",
        "{\"type\":\"Connect\",\"sessionId\":\"s\",\"maxObservedTimestamp\":\"AQ==\"}",
        "{\"type\":\"ModifyQuerySet\",\"baseVersion\":-1,\"newVersion\":0,\"modifications\":[]}",
        "{\"type\":\"ModifyQuerySet\",\"baseVersion\":0,\"newVersion\":0.5,\"modifications\":[]}",
        "{\"type\":\"ModifyQuerySet\",\"baseVersion\":0,\"newVersion\":1}",
        "{\"type\":\"Mutation\",\"requestId\":1,\"udfPath\":\"m:f\"}",
        "{\"type\":\"Mutation\",\"requestId\":1,\"udfPath\":\"m:f\",\"args\":[1]}",
        "{\"type\":\"Mutation\",\"requestId\":1,\"udfPath\":\"m:f\",\"args\":[{},{}]}",
        "{\"type\":\"Mutation\",\"requestId\":1,\"args\":[{}]}",
        "{\"type\":\"Mutation\",\"requestId\":5e9,\"udfPath\":\"m:f\",\"args\":[{}]}",
        "{\"type\":\"Authenticate\",\"tokenType\":\"Other\",\"value\":\"\",\"baseVersion\":0}",
        "{\"type\":\"Authenticate\",\"tokenType\":\"User\",\"baseVersion\":0}",
        "{\"type\":\"Authenticate\",\"tokenType\":\"None\"}",
    };
    struct websocket_message message;
    struct bb_buf value = { 0 };

    for (size_t i = 0; i < BB_COUNT_OF(bad); i++)
        cr_assert_eq(decode(&value, bad[i], &message), BB_BAD_REQUEST, "%s", bad[i]);
    bb_buf_fini(&value);
}

Test(websocket, modifications_add_and_remove)
{
    static const struct {
        const char *json;
        int status;
    } cases[] = {
        { "{\"type\":\"Remove\",\"queryId\":7}", BB_OK },
        { "{\"type\":\"Remove\"}", BB_BAD_REQUEST },
        { "{\"type\":\"Add\",\"queryId\":7,\"udfPath\":\"m:q\",\"args\":[{}],\"journal\":\"j\"}",
          BB_OK },
        { "{\"type\":\"Add\",\"queryId\":7,\"udfPath\":\"m:q\",\"args\":[{}],\"journal\":null}",
          BB_OK },
        { "{\"type\":\"Add\",\"queryId\":7,\"args\":[{}]}", BB_BAD_REQUEST },
        { "{\"type\":\"Swap\",\"queryId\":7}", BB_BAD_REQUEST },
        { "7", BB_BAD_REQUEST },
    };
    struct bb_ctx ctx = { .status = BB_OK };
    struct websocket_modification modification;
    struct bb_buf value = { 0 };

    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        put(&value, cases[i].json);
        cr_assert_eq(
            gateway_websocket_decode_modification(&ctx, bb_buf_slice(&value), &modification),
            cases[i].status, "%s", cases[i].json);
        if (cases[i].status != BB_OK)
            continue;
        cr_assert_eq(modification.query_id, 7);
        cr_assert_eq(modification.is_add, i > 1);
        cr_assert_eq(modification.journal.size, i == 2 ? 1 : 0);
    }
    bb_buf_fini(&value);
}

Test(websocket, a_page_keeps_its_end)
{
    struct bb_buf args = { 0 };
    struct bb_buf wanted = { 0 };
    struct bb_buf got = { 0 };

    put(&args, "{\"paginationOpts\":{\"numItems\":5,\"cursor\":null,\"id\":1},\"x\":1}");
    cr_assert(gateway_websocket_page_is_open(bb_buf_slice(&args)));
    gateway_websocket_page_end(bb_buf_slice(&args), bb_slice_str("end"), &got);
    put(&wanted, "{\"paginationOpts\":{\"numItems\":5,\"cursor\":null,\"id\":1,"
                 "\"endCursor\":\"end\"},\"x\":1}");
    cr_assert(bb_slice_equal(bb_buf_slice(&got), bb_buf_slice(&wanted)));
    cr_assert_not(gateway_websocket_page_is_open(bb_buf_slice(&got)));
    put(&args, "{\"x\":{\"numItems\":5}}");
    cr_assert_not(gateway_websocket_page_is_open(bb_buf_slice(&args)));
    put(&args, "{\"page\":[],\"isDone\":true,\"continueCursor\":\"c\"}");
    cr_assert(bb_slice_equal_str(gateway_websocket_page_cursor(bb_buf_slice(&args)), "c"));
    put(&args, "{\"page\":[],\"isDone\":true}");
    cr_assert_null(gateway_websocket_page_cursor(bb_buf_slice(&args)).data);
    put(&args, "[1]");
    cr_assert_null(gateway_websocket_page_cursor(bb_buf_slice(&args)).data);
    bb_buf_fini(&args);
    bb_buf_fini(&wanted);
    bb_buf_fini(&got);
}

Test(websocket, transitions_have_the_form_that_clients_read)
{
    struct websocket_version start = { .tx = 0 };
    struct websocket_version end = { .query_set = 1, .identity = 2, .tx = 258 };
    struct bb_buf json = { 0 };

    gateway_websocket_begin_transition(&json, &start, &end);
    gateway_websocket_add_result(&json, 1, false, bb_slice_str("[1]"), BB_SLICE_EMPTY);
    gateway_websocket_add_result(&json, 2, true,
                                 bb_slice_str("{\"code\":\"UserError\",\"errorMessage\":\"no\"}"),
                                 bb_slice_str("j"));
    gateway_websocket_add_failure(&json, 3, "bad \"path\"");
    gateway_websocket_add_removed(&json, 4);
    gateway_websocket_end_transition(&json);
    bb_buf_append_byte(&json, '\0');
    cr_assert_str_eq(
        (const char *)json.data,
        "{\"type\":\"Transition\",\"startVersion\":{\"querySet\":0,\"identity\":0,"
        "\"ts\":\"AAAAAAAAAAA=\"},\"endVersion\":{\"querySet\":1,\"identity\":2,"
        "\"ts\":\"AgEAAAAAAAA=\"},\"modifications\":["
        "{\"type\":\"QueryUpdated\",\"queryId\":1,\"logLines\":[],\"journal\":null,\"value\":[1]},"
        "{\"type\":\"QueryFailed\",\"queryId\":2,\"logLines\":[],\"journal\":\"j\","
        "\"code\":\"UserError\",\"errorMessage\":\"no\"},"
        "{\"type\":\"QueryFailed\",\"queryId\":3,\"logLines\":[],\"journal\":null,"
        "\"errorMessage\":\"bad \\\"path\\\"\"},"
        "{\"type\":\"QueryRemoved\",\"queryId\":4}]}");
    bb_buf_fini(&json);
}

Test(websocket, only_one_part_stands_between_api_and_sync)
{
    static const char *const right[] = { "/api/1.48.0/sync", "/api/x/sync" };
    static const char *const wrong[] = { "/api/sync",    "/api//sync",  "/api/a/b/sync",
                                         "/api/x/syncs", "/app/x/sync", "/api/sync/abc",
                                         "/sync",        "/api/x/sync/" };

    for (size_t i = 0; i < BB_COUNT_OF(right); i++)
        cr_assert(gateway_websocket_is_path(bb_slice_str(right[i])), "%s", right[i]);
    for (size_t i = 0; i < BB_COUNT_OF(wrong); i++)
        cr_assert_not(gateway_websocket_is_path(bb_slice_str(wrong[i])), "%s", wrong[i]);
}
