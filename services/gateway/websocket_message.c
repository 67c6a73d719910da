#include "websocket_message.h"

#include <math.h>

#define VERSION_MAX 4294967295.0

/* ---- fields ---- */

static bool is_missing(struct bb_slice value)
{
    return value.data == NULL || bb_value_tag(value) == BB_TAG_NULL;
}

static bool is_text(struct bb_slice value)
{
    return value.data != NULL && bb_value_tag(value) == BB_TAG_STRING;
}

static int take_text(struct bb_ctx *ctx, struct bb_slice object, const char *name,
                     struct bb_slice *text)
{
    struct bb_slice value = bb_value_field_str(object, name);

    if (!is_text(value))
        return bb_fail(ctx, BB_BAD_REQUEST, "`%s` must be a text", name);
    *text = bb_value_bytes(value);
    return BB_OK;
}

static int take_number(struct bb_ctx *ctx, struct bb_slice object, const char *name, uint32_t *to)
{
    struct bb_slice value = bb_value_field_str(object, name);
    double number =
        value.data != NULL && bb_value_tag(value) == BB_TAG_FLOAT64 ? bb_value_float64(value) : -1;

    if (number < 0 || number > VERSION_MAX || floor(number) != number)
        return bb_fail(ctx, BB_BAD_REQUEST, "`%s` must be a whole number", name);
    *to = (uint32_t)number;
    return BB_OK;
}

/* A list with one object, as clients send arguments. */
static int take_args(struct bb_ctx *ctx, struct bb_slice object, struct bb_slice *args)
{
    struct bb_slice value = bb_value_field_str(object, "args");

    if (value.data != NULL && bb_value_tag(value) == BB_TAG_ARRAY && bb_value_count(value) == 1)
        value = bb_value_at(value, 0);
    if (value.data == NULL || bb_value_tag(value) != BB_TAG_OBJECT)
        return bb_fail(ctx, BB_BAD_REQUEST, "`args` must be a list with one object");
    *args = value;
    return BB_OK;
}

static bool names_component(struct bb_slice object)
{
    struct bb_slice value = bb_value_field_str(object, "componentPath");

    return is_text(value) && bb_value_bytes(value).size > 0;
}

static int take_ts(struct bb_ctx *ctx, struct bb_slice value, uint64_t *tx)
{
    struct bb_buf bytes;
    int rc = BB_OK;

    if (is_missing(value))
        return BB_OK;
    bb_buf_init(&bytes);
    if (is_text(value))
        rc = bb_base64_decode(ctx, bb_value_bytes(value), &bytes);
    if (rc == BB_OK && bytes.size == 8)
        *tx = bb_get_le64(bytes.data);
    else
        rc = bb_fail(ctx, BB_BAD_REQUEST, "`maxObservedTimestamp` must be 8 bytes as base64");
    bb_buf_fini(&bytes);
    return rc;
}

/* ---- messages ---- */

static int decode_connect(struct bb_ctx *ctx, struct bb_slice value,
                          struct websocket_message *message)
{
    int rc = take_text(ctx, value, "sessionId", &message->session_id);

    if (rc == BB_OK &&
        (message->session_id.size == 0 || message->session_id.size > WEBSOCKET_SESSION_ID_MAX))
        rc = bb_fail(ctx, BB_BAD_REQUEST, "`sessionId` must have 1 to %u bytes",
                     WEBSOCKET_SESSION_ID_MAX);
    if (rc == BB_OK && !is_missing(bb_value_field_str(value, "connectionCount")))
        rc = take_number(ctx, value, "connectionCount", &message->connection_count);
    if (rc == BB_OK)
        rc =
            take_ts(ctx, bb_value_field_str(value, "maxObservedTimestamp"), &message->max_observed);
    return rc;
}

static int decode_modify(struct bb_ctx *ctx, struct bb_slice value,
                         struct websocket_message *message)
{
    int rc = take_number(ctx, value, "baseVersion", &message->base_version);

    if (rc == BB_OK)
        rc = take_number(ctx, value, "newVersion", &message->new_version);
    message->modifications = bb_value_field_str(value, "modifications");
    if (rc == BB_OK && (message->modifications.data == NULL ||
                        bb_value_tag(message->modifications) != BB_TAG_ARRAY))
        rc = bb_fail(ctx, BB_BAD_REQUEST, "`modifications` must be a list");
    return rc;
}

static int decode_request(struct bb_ctx *ctx, struct bb_slice value,
                          struct websocket_message *message)
{
    int rc = take_number(ctx, value, "requestId", &message->request_id);

    if (rc == BB_OK)
        rc = take_text(ctx, value, "udfPath", &message->path);
    if (rc == BB_OK)
        rc = take_args(ctx, value, &message->args);
    message->has_component = names_component(value);
    return rc;
}

static int decode_authenticate(struct bb_ctx *ctx, struct bb_slice value,
                               struct websocket_message *message)
{
    struct bb_slice kind = BB_SLICE_EMPTY;
    int rc = take_number(ctx, value, "baseVersion", &message->base_version);

    if (rc == BB_OK)
        rc = take_text(ctx, value, "tokenType", &kind);
    if (rc != BB_OK)
        return rc;
    message->impersonating = bb_value_field_str(value, "impersonating");
    if (is_missing(message->impersonating))
        message->impersonating = BB_SLICE_EMPTY;
    else if (bb_value_tag(message->impersonating) != BB_TAG_OBJECT)
        rc = bb_fail(ctx, BB_BAD_REQUEST, "`impersonating` must be an object");
    if (rc != BB_OK)
        return rc;
    if (bb_slice_equal_str(kind, "None")) {
        message->token_kind = WEBSOCKET_TOKEN_NONE;
        return BB_OK;
    }
    message->token_kind =
        bb_slice_equal_str(kind, "Admin") ? WEBSOCKET_TOKEN_ADMIN : WEBSOCKET_TOKEN_USER;
    if (message->token_kind == WEBSOCKET_TOKEN_USER && !bb_slice_equal_str(kind, "User"))
        return bb_fail(ctx, BB_BAD_REQUEST, "`tokenType` must be User, Admin or None");
    return take_text(ctx, value, "value", &message->token);
}

static int decode_event(struct bb_ctx *ctx, struct bb_slice value,
                        struct websocket_message *message)
{
    (void)ctx;
    (void)value;
    (void)message;
    return BB_OK;
}

int gateway_websocket_decode(struct bb_ctx *ctx, struct bb_slice value,
                             struct websocket_message *message)
{
    static const struct {
        const char *name;
        int (*decode)(struct bb_ctx *ctx, struct bb_slice value, struct websocket_message *message);
    } kinds[] = {
        [WEBSOCKET_CONNECT] = { "Connect", decode_connect },
        [WEBSOCKET_MODIFY] = { "ModifyQuerySet", decode_modify },
        [WEBSOCKET_MUTATION] = { "Mutation", decode_request },
        [WEBSOCKET_ACTION] = { "Action", decode_request },
        [WEBSOCKET_AUTHENTICATE] = { "Authenticate", decode_authenticate },
        [WEBSOCKET_EVENT] = { "Event", decode_event },
    };
    struct bb_slice type = BB_SLICE_EMPTY;
    int rc = BB_OK;

    *message = (struct websocket_message){ .kind = WEBSOCKET_EVENT };
    if (bb_value_tag(value) != BB_TAG_OBJECT)
        return bb_fail(ctx, BB_BAD_REQUEST, "a message must be an object with a `type`");
    rc = take_text(ctx, value, "type", &type);
    for (unsigned i = 0; rc == BB_OK && i < BB_COUNT_OF(kinds); i++) {
        if (bb_slice_equal_str(type, kinds[i].name)) {
            message->kind = (enum websocket_kind)i;
            return kinds[i].decode(ctx, value, message);
        }
    }
    return rc != BB_OK ? rc
                       : bb_fail(ctx, BB_BAD_REQUEST, "there is no message of type \"%.*s\"",
                                 type.size > 40 ? 40 : (int)type.size, (const char *)type.data);
}

int gateway_websocket_decode_modification(struct bb_ctx *ctx, struct bb_slice value,
                                          struct websocket_modification *modification)
{
    struct bb_slice type = BB_SLICE_EMPTY;
    struct bb_slice journal;
    int rc;

    *modification = (struct websocket_modification){ .is_add = false };
    if (bb_value_tag(value) != BB_TAG_OBJECT)
        return bb_fail(ctx, BB_BAD_REQUEST, "a modification must be an object");
    rc = take_text(ctx, value, "type", &type);
    if (rc == BB_OK)
        rc = take_number(ctx, value, "queryId", &modification->query_id);
    if (rc != BB_OK || bb_slice_equal_str(type, "Remove"))
        return rc;
    if (!bb_slice_equal_str(type, "Add"))
        return bb_fail(ctx, BB_BAD_REQUEST, "a modification is of type Add or Remove");
    modification->is_add = true;
    rc = take_text(ctx, value, "udfPath", &modification->path);
    if (rc == BB_OK)
        rc = take_args(ctx, value, &modification->args);
    journal = bb_value_field_str(value, "journal");
    if (is_text(journal))
        modification->journal = bb_value_bytes(journal);
    modification->has_component = names_component(value);
    return rc;
}

/* ---- pages ---- */

bool gateway_websocket_page_is_open(struct bb_slice args)
{
    struct bb_slice options = bb_value_field_str(args, "paginationOpts");

    return options.data != NULL && bb_value_tag(options) == BB_TAG_OBJECT &&
           is_missing(bb_value_field_str(options, "endCursor")) &&
           bb_value_field_str(options, "numItems").data != NULL;
}

void gateway_websocket_page_end(struct bb_slice args, struct bb_slice journal, struct bb_buf *to)
{
    struct bb_value_builder *builder = bb_value_builder_new();
    struct bb_buf options;

    bb_value_begin_object(builder);
    bb_value_field_name(builder, bb_slice_str("endCursor"));
    bb_value_put_string(builder, journal);
    bb_value_end_object(builder);
    bb_buf_init(&options);
    bb_value_merge(bb_value_field_str(args, "paginationOpts"), bb_value_finish(builder), &options);
    bb_value_builder_clear(builder);
    bb_value_begin_object(builder);
    bb_value_field_name(builder, bb_slice_str("paginationOpts"));
    bb_value_put_value(builder, bb_buf_slice(&options));
    bb_value_end_object(builder);
    bb_value_merge(args, bb_value_finish(builder), to);
    bb_buf_fini(&options);
    bb_value_builder_free(builder);
}

struct bb_slice gateway_websocket_page_cursor(struct bb_slice result)
{
    struct bb_slice page;
    struct bb_slice cursor;

    if (result.size == 0 || bb_value_tag(result) != BB_TAG_OBJECT)
        return BB_SLICE_EMPTY;
    page = bb_value_field_str(result, "page");
    cursor = bb_value_field_str(result, "continueCursor");
    if (page.data == NULL || bb_value_tag(page) != BB_TAG_ARRAY || !is_text(cursor) ||
        bb_value_field_str(result, "isDone").data == NULL)
        return BB_SLICE_EMPTY;
    return bb_value_bytes(cursor);
}

/* ---- answers ---- */

void gateway_websocket_append_ts(struct bb_buf *to, uint64_t tx)
{
    uint8_t bytes[8];

    bb_put_le64(bytes, tx);
    bb_buf_append_byte(to, '"');
    bb_base64_append(to, bb_slice(bytes, sizeof(bytes)));
    bb_buf_append_byte(to, '"');
}

static void append_version(struct bb_buf *to, const struct websocket_version *version)
{
    bb_buf_printf(to,
                  "{\"querySet\":%" PRIu32 ",\"identity\":%" PRIu32 ",\"ts\":", version->query_set,
                  version->identity);
    gateway_websocket_append_ts(to, version->tx);
    bb_buf_append_byte(to, '}');
}

void gateway_websocket_begin_transition(struct bb_buf *to, const struct websocket_version *start,
                                        const struct websocket_version *end)
{
    bb_buf_append_str(to, "{\"type\":\"Transition\",\"startVersion\":");
    append_version(to, start);
    bb_buf_append_str(to, ",\"endVersion\":");
    append_version(to, end);
    bb_buf_append_str(to, ",\"modifications\":[");
}

static void begin_modification(struct bb_buf *to, const char *type, uint32_t query_id)
{
    if (to->size > 0 && to->data[to->size - 1] == '}')
        bb_buf_append_byte(to, ',');
    bb_buf_printf(to, "{\"type\":\"%s\",\"queryId\":%" PRIu32, type, query_id);
}

void gateway_websocket_add_result(struct bb_buf *to, uint32_t query_id, bool is_failure,
                                  struct bb_slice json, struct bb_slice journal)
{
    begin_modification(to, is_failure ? "QueryFailed" : "QueryUpdated", query_id);
    bb_buf_append_str(to, ",\"logLines\":[],\"journal\":");
    if (journal.size > 0)
        bb_json_string(to, journal);
    else
        bb_buf_append_str(to, "null");
    if (is_failure) {
        bb_buf_append_byte(to, ',');
        bb_buf_append(to, json.data + 1, json.size - 1); /* code, errorMessage, errorData */
    } else {
        bb_buf_append_str(to, ",\"value\":");
        bb_buf_append_slice(to, json);
        bb_buf_append_byte(to, '}');
    }
}

void gateway_websocket_add_failure(struct bb_buf *to, uint32_t query_id, const char *message)
{
    begin_modification(to, "QueryFailed", query_id);
    bb_buf_append_str(to, ",\"logLines\":[],\"journal\":null,\"errorMessage\":");
    bb_json_string(to, bb_slice_str(message));
    bb_buf_append_byte(to, '}');
}

void gateway_websocket_add_removed(struct bb_buf *to, uint32_t query_id)
{
    begin_modification(to, "QueryRemoved", query_id);
    bb_buf_append_byte(to, '}');
}

void gateway_websocket_end_transition(struct bb_buf *to)
{
    bb_buf_append_str(to, "]}");
}

void gateway_websocket_auth_error(struct bb_buf *to, const char *error, uint32_t base_version,
                                  bool is_answer)
{
    bb_buf_append_str(to, "{\"type\":\"AuthError\",\"error\":");
    bb_json_string(to, bb_slice_str(error));
    bb_buf_printf(to, ",\"baseVersion\":%" PRIu32 ",\"authUpdateAttempted\":%s}", base_version,
                  is_answer ? "true" : "false");
}
