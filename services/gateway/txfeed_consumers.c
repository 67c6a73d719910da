/*
 * Durable consumers: the position of a named consumer is a row of `_consumers`, moved by
 * acknowledgement. The rows are read and written by system functions, as transactions.
 */
#include <stdio.h>

#include "answer.h"
#include "ask.h"
#include "routes.h"
#include "txfeed_internal.h"

#include "bb/wire.h"

int gateway_txfeed_check_name(struct bb_ctx *ctx, struct bb_slice name)
{
    bool is_fine = name.size > 0 && name.size <= TXFEED_CONSUMER_NAME;

    for (size_t i = 0; is_fine && i < name.size; i++) {
        uint8_t byte = name.data[i];

        is_fine = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                  (byte >= '0' && byte <= '9') || byte == '-' || byte == '_' || byte == '.';
    }
    return is_fine ? BB_OK
                   : bb_fail(ctx, BB_BAD_REQUEST,
                             "the name of a consumer has 1 to %u letters, digits, - _ or .",
                             TXFEED_CONSUMER_NAME);
}

/* {name, tx, isReset} */
static void write_args(struct bb_buf *to, const char *name, const uint64_t *tx, bool is_reset)
{
    struct bb_value_builder *builder = bb_value_builder_new();

    bb_value_begin_object(builder);
    if (name != NULL) {
        bb_value_field_name(builder, bb_slice_str("name"));
        bb_value_put_string(builder, bb_slice_str(name));
    }
    if (tx != NULL) {
        bb_value_field_name(builder, bb_slice_str("tx"));
        bb_value_put_int64(builder, (int64_t)*tx);
    }
    if (is_reset) {
        bb_value_field_name(builder, bb_slice_str("isReset"));
        bb_value_put_bool(builder, true);
    }
    bb_value_end_object(builder);
    bb_buf_append_slice(to, bb_value_finish(builder));
    bb_value_builder_free(builder);
}

/* The result of a call, or data == NULL. */
static struct bb_slice value_of(struct gateway *gateway, int status,
                                const Bb__Proto__CallReply *reply)
{
    struct bb_ctx ctx = *gateway->ctx;

    if (status != BB_OK || bb_value_validate(&ctx, bb_pb_slice(reply->value)) != BB_OK ||
        bb_value_tag(bb_pb_slice(reply->value)) != BB_TAG_OBJECT)
        return BB_SLICE_EMPTY;
    return bb_pb_slice(reply->value);
}

static bool state_is(struct bb_slice value, const char *state)
{
    struct bb_slice field = bb_value_field_str(value, "state");

    return field.data != NULL && bb_value_tag(field) == BB_TAG_STRING &&
           bb_slice_equal_str(bb_value_bytes(field), state);
}

static uint64_t tx_of(struct bb_slice value)
{
    struct bb_slice field = bb_value_field_str(value, "tx");

    return field.data != NULL && bb_value_tag(field) == BB_TAG_FLOAT64 &&
                   bb_value_float64(field) >= 0 && bb_value_float64(field) < 9e15
               ? (uint64_t)bb_value_float64(field)
               : 0;
}

/* ---- opening one for a reader ---- */

struct txfeed_open {
    struct call call;
    struct gateway *gateway;
    struct txfeed_reader *reader; /* NULL: it has left */
    struct bb_buf args;
};

static void on_opened(struct call *call, int status, const char *error,
                      const Bb__Proto__CallReply *reply)
{
    struct txfeed_open *open = call->arg;
    struct txfeed_reader *reader = open->reader;
    struct bb_slice value = value_of(open->gateway, status, reply);

    if (reader != NULL)
        reader->open = NULL;
    if (reader != NULL && value.data != NULL && state_is(value, "full")) {
        gateway_txfeed_reader_fail(
            reader, BB_FULL, "There are too many consumers; remove some that are not used.", 0);
    } else if (reader != NULL && value.data != NULL) {
        /* Where a stream ended lies after what was acknowledged before. */
        if (!reader->has_event_id || tx_of(value) > reader->position)
            reader->position = tx_of(value);
        reader->is_consumer_open = true;
        reader->from = TXFEED_FROM_TX;
        gateway_txfeed_found(reader);
    } else if (reader != NULL) {
        status = bb_status_in_function(status) || status == BB_OK ? BB_INTERNAL : status;
        gateway_txfeed_reader_fail(reader, status, error == NULL ? "" : error, 0);
    }
    bb_buf_fini(&open->args);
    bb_free(open);
}

void gateway_txfeed_consumer_open(struct txfeed_reader *reader)
{
    struct gateway *gateway = reader->txfeed->gateway;
    struct txfeed_open *open = bb_alloc_zero(1, sizeof(*open));
    struct bb_ctx ctx = *gateway->ctx;
    int rc;

    open->gateway = gateway;
    open->reader = reader;
    bb_buf_init(&open->args);
    write_args(&open->args, reader->consumer, &reader->position, false);
    open->call = (struct call){ .kind = BB__PROTO__FUNCTION_KIND__KIND_MUTATION,
                                .path = "_system:openConsumer",
                                .args = bb_buf_slice(&open->args),
                                .is_admin = true,
                                .done = on_opened,
                                .arg = open };
    reader->open = open;
    rc = gateway_call_start(&ctx, gateway, &open->call);
    if (rc == BB_OK)
        return;
    reader->open = NULL;
    bb_buf_fini(&open->args);
    bb_free(open);
    gateway_txfeed_reader_fail(reader, rc, ctx.error, 0);
}

void gateway_txfeed_consumer_leave(struct txfeed_reader *reader)
{
    if (reader->open != NULL) {
        reader->open->reader = NULL;
        gateway_call_leave(&reader->open->call);
    }
    reader->open = NULL;
}

/* ---- the API: list, acknowledge, move, remove ---- */

struct consumer_work {
    struct call call;
    struct gateway *gateway;
    struct bb_http_request *request;
    struct bb_buf args;
    bool is_list;
};

static void on_done(struct call *call, int status, const char *error,
                    const Bb__Proto__CallReply *reply)
{
    struct consumer_work *work = call->arg;
    struct gateway *gateway = work->gateway;
    struct bb_http_request *request = work->request;
    struct bb_ctx ctx = *gateway->ctx;
    struct bb_buf json;

    bb_buf_init(&json);
    if (status != BB_OK || bb_value_validate(&ctx, bb_pb_slice(reply->value)) != BB_OK) {
        status = status == BB_OK || bb_status_in_function(status) ? BB_INTERNAL : status;
        bb_http_respond_error(request, bb_status_http(status), bb_status_name(status),
                              error == NULL ? "" : error);
    } else if (work->is_list) {
        bb_buf_append_str(&json, "{\"consumers\":");
        bb_json_encode(bb_pb_slice(reply->value), BB_JSON_CLEAN, &json);
        bb_buf_printf(&json, ",\"closed\":%" PRIu64 "}", gateway_txfeed_head(gateway->txfeed));
        gateway_respond_json(request, 200, bb_buf_slice(&json));
    } else if (bb_value_tag(bb_pb_slice(reply->value)) == BB_TAG_OBJECT &&
               state_is(bb_pb_slice(reply->value), "missing")) {
        bb_http_respond_error(request, 404, "NotFound", "There is no consumer of this name.");
    } else {
        bb_json_encode(bb_pb_slice(reply->value), BB_JSON_CLEAN, &json);
        gateway_respond_json(request, 200, bb_buf_slice(&json));
    }
    bb_buf_fini(&json);
    bb_buf_fini(&work->args);
    bb_free(work);
}

static void start(struct bb_ctx *ctx, struct consumer_work *work, Bb__Proto__FunctionKind kind,
                  const char *path)
{
    int rc;

    work->call = (struct call){ .kind = kind,
                                .path = path,
                                .args = bb_buf_slice(&work->args),
                                .is_admin = true,
                                .done = on_done,
                                .arg = work };
    rc = gateway_call_start(ctx, work->gateway, &work->call);
    if (rc == BB_OK)
        return;
    gateway_refuse(ctx, work->request, rc);
    bb_buf_fini(&work->args);
    bb_free(work);
}

static struct consumer_work *work_new(struct gateway *gateway, struct bb_http_request *request)
{
    struct consumer_work *work = bb_alloc_zero(1, sizeof(*work));

    work->gateway = gateway;
    work->request = request;
    bb_buf_init(&work->args);
    return work;
}

void gateway_api_consumers(struct gateway *gateway, struct bb_http_request *request)
{
    struct bb_ctx ctx = *gateway->ctx;
    int rc = gateway_require_admin(&ctx, gateway, request);
    struct consumer_work *work;

    if (rc != BB_OK) {
        gateway_refuse(&ctx, request, rc);
        return;
    }
    work = work_new(gateway, request);
    work->is_list = true;
    write_args(&work->args, NULL, NULL, false);
    start(&ctx, work, BB__PROTO__FUNCTION_KIND__KIND_QUERY, "_system:consumers");
}

/* The body's {tx}. */
static int take_tx(struct bb_ctx *ctx, struct gateway *gateway,
                   const struct bb_http_request *request, uint64_t *tx)
{
    struct bb_buf body;
    struct bb_slice field = BB_SLICE_EMPTY;
    int rc;

    bb_buf_init(&body);
    rc = gateway_body_value(ctx, request, &body);
    if (rc == BB_OK && bb_value_tag(bb_buf_slice(&body)) == BB_TAG_OBJECT)
        field = bb_value_field_str(bb_buf_slice(&body), "tx");
    if (rc == BB_OK && (field.data == NULL || bb_value_tag(field) != BB_TAG_FLOAT64 ||
                        bb_value_float64(field) < 0 || bb_value_float64(field) > 9e15 ||
                        bb_value_float64(field) != (double)(uint64_t)bb_value_float64(field)))
        rc = bb_fail(ctx, BB_BAD_REQUEST, "the body must be {tx}, the tx of a record");
    if (rc == BB_OK)
        *tx = (uint64_t)bb_value_float64(field);
    bb_buf_fini(&body);
    /* A position moves forward only: one that may lie in the future is not taken. */
    if (rc == BB_OK && !bb_follow_is_following(gateway->feed)) {
        rc = bb_fail(ctx, BB_UNAVAILABLE,
                     "this gateway does not follow storage's feed right now; try again");
    }
    /* The record may have come from a gateway that is ahead of this one. */
    if (rc == BB_OK)
        rc = gateway_check_tx(ctx, gateway, "`tx`", *tx);
    return rc;
}

/* POST /api/tx/consumers/NAME/ack {tx}, POST /api/tx/consumers/NAME {tx}, DELETE the same. */
void gateway_api_consumer(struct gateway *gateway, struct bb_http_request *request)
{
    static const char prefix[] = "/api/tx/consumers/";
    static const char ack[] = "/ack";
    struct bb_ctx ctx = *gateway->ctx;
    struct bb_slice name = bb_http_path(request);
    bool is_delete = bb_http_method(request) == BB_HTTP_DELETE;
    bool is_ack = false;
    uint64_t tx = 0;
    struct consumer_work *work;
    char text[TXFEED_CONSUMER_NAME + 1];
    int rc = gateway_require_admin(&ctx, gateway, request);

    name = bb_slice(name.data + sizeof(prefix) - 1, name.size - (sizeof(prefix) - 1));
    if (!is_delete && name.size > sizeof(ack) - 1 &&
        memcmp(name.data + name.size - (sizeof(ack) - 1), ack, sizeof(ack) - 1) == 0) {
        is_ack = true;
        name.size -= sizeof(ack) - 1;
    }
    if (rc == BB_OK)
        rc = gateway_txfeed_check_name(&ctx, name);
    if (rc == BB_OK && !is_delete)
        rc = take_tx(&ctx, gateway, request, &tx);
    if (rc != BB_OK) {
        gateway_refuse(&ctx, request, rc);
        return;
    }
    (void)snprintf(text, sizeof(text), "%.*s", BB_SLICE_ARG(name));
    work = work_new(gateway, request);
    write_args(&work->args, text, is_delete ? NULL : &tx, !is_delete && !is_ack);
    start(&ctx, work, BB__PROTO__FUNCTION_KIND__KIND_MUTATION,
          is_delete ? "_system:removeConsumer" : "_system:ackConsumer");
}
