#include "endpoint.h"

#include <stdio.h>
#include <strings.h>

#include "action.h"
#include "answer.h"

#include "bb/conf.h"

#define INLINE_MAX   65536u       /* bodies of requests up to this size travel with the action */
#define QUEUED_BYTES (256u << 10) /* that wait for who is slower, before the other one is held */
#define QUEUED_MAX   32u
#define PREFIX       "/http"
#define RUNNER_PATH  "/api/runner/http/"

struct endpoints {
    struct bb_http *http; /* the second server; NULL: none */
    struct bb_list all;
    size_t body_max, response_max;
};

/* One request of a client, until all that belongs to it has ended. */
struct endpoint {
    struct bb_list link;
    struct gateway *gateway;
    struct action action;
    struct bb_buf question, args, allow, identity;
    char *label; /* of the route, for logs */
    /* The client: its request until it is answered, then maybe a stream. */
    struct bb_http_request *client;
    struct bb_http_request *body; /* its body is not all taken, whether it is answered or not */
    struct bb_http_stream *to_client;
    size_t taken, sent; /* bytes of the two bodies */
    /* The runner's connections. */
    struct bb_http_stream *to_runner;    /* carries the client's body */
    struct bb_http_request *from_runner; /* its body is the response's */
    bool is_action_open, was_begun;
};

static void release_if_over(struct endpoint *endpoint)
{
    if (endpoint->is_action_open || endpoint->client != NULL || endpoint->body != NULL ||
        endpoint->to_client != NULL || endpoint->to_runner != NULL || endpoint->from_runner != NULL)
        return;
    bb_list_remove(&endpoint->link);
    bb_buf_fini(&endpoint->question);
    bb_buf_fini(&endpoint->args);
    bb_buf_fini(&endpoint->allow);
    bb_buf_fini(&endpoint->identity);
    bb_free(endpoint->label);
    bb_free(endpoint);
}

/* ---- answering the client ---- */

/* The client's body is of no use any more. */
static void close_to_runner(struct endpoint *endpoint, bool is_whole)
{
    if (endpoint->to_runner == NULL)
        return;
    if (is_whole) {
        bb_http_response_end(endpoint->to_runner);
    } else {
        bb_http_stream_close(endpoint->to_runner);
    }
}

static void respond(struct endpoint *endpoint, int status, struct bb_slice headers,
                    struct bb_slice body)
{
    struct bb_http_request *client = endpoint->client;

    endpoint->client = endpoint->body = NULL;
    close_to_runner(endpoint, false);
    bb_http_respond(client, status, NULL, headers, body);
}

static void respond_failure(struct endpoint *endpoint, int http_status, const char *code,
                            const char *message)
{
    struct bb_buf headers, body;

    bb_buf_init(&headers);
    bb_buf_init(&body);
    bb_buf_append_str(&headers, "Content-Type: application/json\r\n");
    if (http_status == 503)
        bb_buf_append_str(&headers, "Retry-After: 1\r\n");
    if (http_status == 405)
        bb_buf_printf(&headers, "Allow: %.*s\r\n", BB_SLICE_ARG(bb_buf_slice(&endpoint->allow)));
    gateway_failure(&body, code, message);
    respond(endpoint, http_status, bb_buf_slice(&headers), bb_buf_slice(&body));
    bb_buf_fini(&headers);
    bb_buf_fini(&body);
}

/* The handler failed: what it was is for developers only. */
static void respond_thrown(struct endpoint *endpoint, int status, const char *error,
                           const Bb__Proto__CallReply *reply)
{
    const struct outcome outcome = { .status = status,
                                     .error = error,
                                     .reply = reply,
                                     .kind = BB__PROTO__FUNCTION_KIND__KIND_ACTION,
                                     .request_id = endpoint->action.id,
                                     .shows_errors = endpoint->gateway->shows_errors };
    struct bb_buf text;

    bb_buf_init(&text);
    gateway_error_message(&text, &outcome);
    bb_buf_append_byte(&text, '\0');
    respond_failure(endpoint, status == BB_FUNCTION_TIMEOUT ? 504 : 500,
                    status == BB_FUNCTION_TIMEOUT ? "FunctionTimeout" : "ServerError",
                    (const char *)text.data);
    bb_buf_fini(&text);
}

/* ---- what a handler answered ---- */

static bool is_token(struct bb_slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (byte <= ' ' || byte >= 127 || strchr("\"(),/:;<=>?@[\\]{}", byte) != NULL)
            return false;
    }
    return text.size > 0;
}

static bool is_field_value(struct bb_slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '\r' || text.data[i] == '\n' || text.data[i] == 0)
            return false;
    }
    return true;
}

static bool is_one_of(struct bb_slice name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (name.size == strlen(names[i]) &&
            strncasecmp((const char *)name.data, names[i], name.size) == 0)
            return true;
    }
    return false;
}

static bool is_text(struct bb_slice value)
{
    return value.data != NULL && bb_value_tag(value) == BB_TAG_STRING;
}

/* Header lines of a list of pairs; framing is ours. `length`: what it says of the body, or -1. */
static int take_headers(struct bb_ctx *ctx, struct bb_slice list, struct bb_buf *lines,
                        int64_t *length)
{
    static const char *const ours[] = { "connection", "keep-alive", "transfer-encoding", "upgrade",
                                        "trailer",    "te",         "proxy-connection" };
    static const char *const lengths[] = { "content-length" };

    *length = -1;
    if (list.data == NULL || bb_value_tag(list) != BB_TAG_ARRAY)
        return bb_fail(ctx, BB_BAD_REQUEST, "a response without a list of headers");
    for (size_t i = 0; i < bb_value_count(list); i++) {
        struct bb_slice pair = bb_value_at(list, i);
        bool is_pair = bb_value_tag(pair) == BB_TAG_ARRAY && bb_value_count(pair) == 2 &&
                       is_text(bb_value_at(pair, 0)) && is_text(bb_value_at(pair, 1));
        struct bb_slice name = is_pair ? bb_value_bytes(bb_value_at(pair, 0)) : BB_SLICE_EMPTY;
        struct bb_slice value = is_pair ? bb_value_bytes(bb_value_at(pair, 1)) : BB_SLICE_EMPTY;
        if (!is_token(name) || !is_field_value(value))
            return bb_fail(ctx, BB_BAD_REQUEST, "a response with a malformed header");
        if (is_one_of(name, lengths, BB_COUNT_OF(lengths))) {
            *length = 0;
            for (size_t k = 0; k < value.size && k < 15; k++)
                *length = value.data[k] >= '0' && value.data[k] <= '9'
                              ? *length * 10 + (value.data[k] - '0')
                              : -1;
        } else if (!is_one_of(name, ours, BB_COUNT_OF(ours))) {
            bb_buf_printf(lines, "%.*s: %.*s\r\n", BB_SLICE_ARG(name), BB_SLICE_ARG(value));
        }
    }
    return BB_OK;
}

static int take_status(struct bb_ctx *ctx, struct bb_slice head, int *status)
{
    struct bb_slice value = bb_value_field_str(head, "status");
    double number =
        value.data != NULL && bb_value_tag(value) == BB_TAG_FLOAT64 ? bb_value_float64(value) : 0;

    *status = number >= 200 && number <= 599 ? (int)number : 0;
    return *status == 0 ? bb_fail(ctx, BB_BAD_REQUEST, "a response without a status") : BB_OK;
}

/* {status, headers, body}: a response that came whole, with the reply. */
static void respond_inline(struct endpoint *endpoint, struct bb_slice value)
{
    struct bb_ctx ctx = *endpoint->gateway->ctx;
    struct bb_slice body = bb_value_field_str(value, "body");
    struct bb_buf lines;
    int64_t length;
    int status = 0;

    bb_buf_init(&lines);
    int rc = take_status(&ctx, value, &status);
    if (rc == BB_OK)
        rc = take_headers(&ctx, bb_value_field_str(value, "headers"), &lines, &length);
    if (rc == BB_OK) {
        bool has_body = body.data != NULL && bb_value_tag(body) == BB_TAG_BYTES;
        respond(endpoint, status, bb_buf_slice(&lines),
                has_body ? bb_value_bytes(body) : BB_SLICE_EMPTY);
    } else {
        bb_error(endpoint->gateway->ctx, "gateway.bad_response", "path=%s why=\"%s\"",
                 endpoint->action.path, ctx.error);
        respond_failure(endpoint, 500, "ServerError", "The handler's response cannot be sent.");
    }
    bb_buf_fini(&lines);
}

static bool is_inside(int status)
{
    return bb_status_http(status) == 200;
}

static void on_action_done(struct action *action, int status, const char *error,
                           const Bb__Proto__CallReply *reply)
{
    struct endpoint *endpoint = action->arg;
    struct bb_ctx ctx = *endpoint->gateway->ctx;

    endpoint->is_action_open = false;
    if (endpoint->client == NULL) {
        /* It was answered by a stream, which ends by itself, or goes nowhere. */
        if (status != BB_OK && endpoint->to_client != NULL)
            bb_http_stream_close(endpoint->to_client);
    } else if (endpoint->allow.size > 0) {
        respond_failure(endpoint, 405, "MethodNotAllowed", error);
    } else if (status == BB_OK && bb_value_validate(&ctx, bb_pb_slice(reply->value)) == BB_OK &&
               bb_value_tag(bb_pb_slice(reply->value)) == BB_TAG_OBJECT) {
        respond_inline(endpoint, bb_pb_slice(reply->value));
    } else if (status == BB_OK) {
        respond_failure(endpoint, 500, "InternalError", "A runner's answer could not be read.");
    } else if (is_inside(status)) {
        respond_thrown(endpoint, status, error, reply);
    } else {
        respond_failure(endpoint, bb_status_http(status), bb_status_name(status),
                        error == NULL ? "" : error);
    }
    release_if_over(endpoint);
}

/* ---- which route ---- */

static int on_answer(struct bb_ctx *ctx, struct action *action, struct bb_slice value,
                     struct bb_buf *fields)
{
    struct endpoint *endpoint = action->arg;
    struct bb_slice route = bb_value_field_str(value, "route");
    struct bb_slice allow = bb_value_field_str(value, "allow");

    if (route.data == NULL) {
        size_t count =
            allow.data != NULL && bb_value_tag(allow) == BB_TAG_ARRAY ? bb_value_count(allow) : 0;
        for (size_t i = 0; i < count; i++) {
            bb_buf_printf(&endpoint->allow, "%s%.*s", i > 0 ? ", " : "",
                          BB_SLICE_ARG(bb_value_bytes(bb_value_at(allow, i))));
        }
        return bb_fail(ctx, BB_NOT_FOUND,
                       count > 0 ? "http.ts has this path for other methods only."
                                 : "http.ts has no route for this path.");
    }
    struct bb_slice method = bb_value_field_str(route, "method");
    struct bb_slice path = bb_value_field_str(route, "path");
    if (!is_text(method) || !is_text(path))
        return bb_fail(ctx, BB_INTERNAL, "A worker's answer could not be read.");
    size_t size = bb_value_bytes(method).size + bb_value_bytes(path).size + 8;
    endpoint->label = bb_alloc(size);
    (void)snprintf(endpoint->label, size, "http:%.*s %.*s", BB_SLICE_ARG(bb_value_bytes(method)),
                   BB_SLICE_ARG(bb_value_bytes(path)));
    action->path = endpoint->label;
    bb_buf_append_str(fields, ",\"kind\":\"http\",\"route\":");
    bb_json_encode(route, BB_JSON_ENCODED, fields);
    bb_buf_append_str(fields, ",\"params\":");
    bb_json_encode(bb_value_field_str(value, "params"), BB_JSON_ENCODED, fields);
    return BB_OK;
}

static void put_text(struct bb_value_builder *to, const char *name, struct bb_slice text)
{
    bb_value_field_name(to, bb_slice_str(name));
    bb_value_put_string(to, text);
}

static void write_question(struct endpoint *endpoint, struct bb_slice path)
{
    struct bb_value_builder *to = bb_value_builder_new();

    bb_value_begin_object(to);
    put_text(to, "method", bb_http_method_name(endpoint->client));
    put_text(to, "path", path);
    bb_value_end_object(to);
    bb_buf_append_slice(&endpoint->question, bb_value_finish(to));
    bb_value_builder_free(to);
}

static void write_url(struct endpoint *endpoint, struct bb_slice path, struct bb_buf *url)
{
    struct bb_http_request *client = endpoint->client;
    struct bb_slice host = bb_http_header(client, "host");
    struct bb_slice query = bb_http_query(client);
    struct bb_slice scheme = bb_http_header(client, "x-forwarded-proto");

    bb_buf_printf(url, "%s://%.*s%.*s", bb_slice_equal_str(scheme, "https") ? "https" : "http",
                  BB_SLICE_ARG(host.size > 0 ? host : bb_slice_str("localhost")),
                  BB_SLICE_ARG(path));
    if (query.size > 0)
        bb_buf_printf(url, "?%.*s", BB_SLICE_ARG(query));
}

static void put_headers(struct endpoint *endpoint, struct bb_value_builder *to)
{
    static const char *const ours[] = { "connection", "keep-alive",       "transfer-encoding",
                                        "upgrade",    "proxy-connection", "expect" };
    struct bb_slice name, value;

    bb_value_field_name(to, bb_slice_str("headers"));
    bb_value_begin_array(to);
    for (size_t i = 0; bb_http_field(endpoint->client, i, &name, &value); i++) {
        if (is_one_of(name, ours, BB_COUNT_OF(ours)) || !bb_utf8_is_valid(value))
            continue;
        bb_value_begin_array(to);
        bb_value_put_string(to, name);
        bb_value_put_string(to, value);
        bb_value_end_array(to);
    }
    bb_value_end_array(to);
}

/* {request: {method, url, headers, body, isStreamed}} */
static void write_args(struct endpoint *endpoint, struct bb_slice path)
{
    struct bb_value_builder *to = bb_value_builder_new();
    struct bb_slice body = bb_http_body(endpoint->client);
    struct bb_buf url;

    bb_buf_init(&url);
    write_url(endpoint, path, &url);
    bb_value_begin_object(to);
    bb_value_field_name(to, bb_slice_str("request"));
    bb_value_begin_object(to);
    put_text(to, "method", bb_http_method_name(endpoint->client));
    put_text(to, "url", bb_buf_slice(&url));
    put_headers(endpoint, to);
    bb_value_field_name(to, bb_slice_str("body"));
    if (body.size > 0) {
        bb_value_put_bytes(to, body);
    } else {
        bb_value_null(to);
    }
    bb_value_field_name(to, bb_slice_str("isStreamed"));
    bb_value_put_bool(to, endpoint->body != NULL);
    bb_value_end_object(to);
    bb_value_end_object(to);
    bb_buf_append_slice(&endpoint->args, bb_value_finish(to));
    bb_value_builder_free(to);
    bb_buf_fini(&url);
}

/* ---- the client ---- */

static void on_client_gone(void *arg)
{
    struct endpoint *endpoint = arg;

    /* Its request ends with the action's end. */
    gateway_action_leave(&endpoint->action);
}

/* A user's token says who calls; any other Authorization is the handler's to judge. */
static void take_identity(struct endpoint *endpoint)
{
    struct bb_ctx ctx = *endpoint->gateway->ctx;
    struct bb_slice header = bb_http_header(endpoint->client, "authorization");
    struct caller caller;

    if (header.size > 7 && strncasecmp((const char *)header.data, "Bearer ", 7) == 0 &&
        gateway_caller(&ctx, endpoint->gateway, endpoint->client, &caller) == BB_OK)
        bb_buf_append_slice(&endpoint->identity, caller.identity);
}

static void start(struct gateway *gateway, struct bb_http_request *client, struct bb_slice path)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct endpoint *endpoint = bb_alloc_zero(1, sizeof(*endpoint));
    struct endpoints *endpoints = gateway->endpoints;

    bb_list_push_back(&endpoints->all, &endpoint->link);
    endpoint->gateway = gateway;
    endpoint->client = client;
    endpoint->body = bb_http_body_is_open(client) ? client : NULL;
    if (endpoint->body != NULL && bb_http_body_length(client) > (int64_t)endpoints->body_max) {
        respond_failure(endpoint, 413, "BodyTooLarge",
                        "The body of the request is larger than this server takes (--body-max).");
        release_if_over(endpoint);
        return;
    }
    if (gateway->is_stopping) {
        respond_failure(endpoint, 503, "Unavailable", "This gateway ends.");
        release_if_over(endpoint);
        return;
    }
    write_question(endpoint, path);
    write_args(endpoint, path);
    take_identity(endpoint);
    endpoint->action = (struct action){ .path = "http:",
                                        .args = bb_buf_slice(&endpoint->args),
                                        .question = "_system:httpRoute",
                                        .question_args = bb_buf_slice(&endpoint->question),
                                        .on_answer = on_answer,
                                        .identity = bb_buf_slice(&endpoint->identity),
                                        .ends_when_left = true,
                                        .done = on_action_done,
                                        .arg = endpoint };
    int rc = gateway_action_start(&ctx, gateway, &endpoint->action);
    if (rc != BB_OK) {
        respond_failure(endpoint, bb_status_http(rc), bb_status_name(rc), ctx.error);
        release_if_over(endpoint);
        return;
    }
    endpoint->is_action_open = true;
    bb_http_on_gone(client, on_client_gone, endpoint);
    if (bb_http_is_gone(client))
        on_client_gone(endpoint);
}

bool gateway_endpoint_is_path(struct bb_slice path)
{
    return bb_slice_equal_str(path, PREFIX) || bb_slice_starts_with(path, bb_slice_str(PREFIX "/"));
}

void gateway_api_endpoint(struct gateway *gateway, struct bb_http_request *request)
{
    struct bb_slice path = bb_http_path(request);
    size_t skip = sizeof(PREFIX) - 1;

    start(gateway, request,
          path.size == skip ? bb_slice_str("/") : bb_slice(path.data + skip, path.size - skip));
}

static bool is_large(const struct bb_http_request *request)
{
    int64_t length = bb_http_body_length(request);

    return length < 0 || length > (int64_t)INLINE_MAX;
}

bool gateway_endpoint_wants_stream(void *arg, const struct bb_http_request *request)
{
    struct bb_slice path = bb_http_path(request);

    (void)arg;
    return (gateway_endpoint_is_path(path) && is_large(request)) ||
           (bb_http_method(request) == BB_HTTP_POST &&
            bb_slice_starts_with(path, bb_slice_str(RUNNER_PATH)));
}

/* ---- the body of the request, to the runner ---- */

static bool is_full(const struct bb_http_stream *stream)
{
    size_t bytes;
    size_t count = bb_http_stream_queued(stream, &bytes);

    return bytes > QUEUED_BYTES || count > QUEUED_MAX;
}

static void on_client_data(void *arg, struct bb_slice bytes)
{
    struct endpoint *endpoint = arg;

    endpoint->taken += bytes.size;
    if (endpoint->taken > endpoint->gateway->endpoints->body_max) {
        if (endpoint->client != NULL) {
            respond_failure(endpoint, 413, "BodyTooLarge",
                            "The body of the request is larger than this server takes "
                            "(--body-max).");
        }
        if (endpoint->to_client != NULL)
            bb_http_stream_close(endpoint->to_client);
        gateway_action_leave(&endpoint->action);
        return;
    }
    if (endpoint->to_runner == NULL)
        return; /* nobody reads on: it is dropped */
    bb_http_response_send(endpoint->to_runner, bytes);
    if (is_full(endpoint->to_runner))
        bb_http_body_pause(endpoint->body, true);
}

static void on_client_body_end(void *arg, bool is_whole)
{
    struct endpoint *endpoint = arg;

    endpoint->body = NULL;
    close_to_runner(endpoint, is_whole);
    release_if_over(endpoint);
}

static void on_to_runner_sent(void *arg)
{
    struct endpoint *endpoint = arg;

    if (endpoint->body != NULL)
        bb_http_body_pause(endpoint->body, false);
}

static void on_to_runner_end(void *arg, enum bb_http_end end)
{
    struct endpoint *endpoint = arg;

    (void)end;
    endpoint->to_runner = NULL;
    if (endpoint->body != NULL)
        bb_http_body_pause(endpoint->body, true); /* nobody reads on */
    release_if_over(endpoint);
}

/* GET: the runner reads what the client sends. */
static void begin_to_runner(struct endpoint *endpoint, struct bb_http_request *request)
{
    const struct bb_http_stream_events events = { .on_end = on_to_runner_end,
                                                  .on_sent = on_to_runner_sent,
                                                  .arg = endpoint };

    if (endpoint->body == NULL || endpoint->was_begun) {
        bb_http_respond_error(request, 410, "Gone",
                              "The body of the request is not there any more.");
        return;
    }
    endpoint->was_begun = true;
    endpoint->to_runner = bb_http_response_begin(request, 200, BB_SLICE_EMPTY,
                                                 bb_http_body_length(endpoint->body), &events);
    if (endpoint->to_runner == NULL)
        return;
    bb_http_body_begin(endpoint->body, &(struct bb_http_body_events){ .on_data = on_client_data,
                                                                      .on_end = on_client_body_end,
                                                                      .arg = endpoint });
}

/* ---- the body of the response, from the runner ---- */

static void answer_runner(struct endpoint *endpoint, int status, const char *code,
                          const char *message)
{
    struct bb_http_request *request = endpoint->from_runner;

    endpoint->from_runner = NULL;
    if (request != NULL)
        bb_http_respond_error(request, status, code, message);
}

static void on_runner_data(void *arg, struct bb_slice bytes)
{
    struct endpoint *endpoint = arg;
    size_t max = endpoint->gateway->endpoints->response_max;

    endpoint->sent += bytes.size;
    if (endpoint->to_client == NULL) {
        answer_runner(endpoint, 410, "Gone", "The client has left.");
    } else if (max > 0 && endpoint->sent > max) {
        bb_warn(endpoint->gateway->ctx, "gateway.response_too_large", "path=%s max=%zu",
                endpoint->action.path, max);
        answer_runner(endpoint, 413, "BodyTooLarge", "The response is too large.");
        bb_http_stream_close(endpoint->to_client);
    } else {
        bb_http_response_send(endpoint->to_client, bytes);
        if (endpoint->from_runner != NULL && is_full(endpoint->to_client))
            bb_http_body_pause(endpoint->from_runner, true);
    }
    release_if_over(endpoint);
}

static void on_runner_body_end(void *arg, bool is_whole)
{
    struct endpoint *endpoint = arg;

    if (endpoint->to_client != NULL && is_whole) {
        bb_http_response_end(endpoint->to_client);
    } else if (endpoint->to_client != NULL) {
        bb_http_stream_close(endpoint->to_client); /* the client sees that it is cut off */
    }
    struct bb_http_request *request = endpoint->from_runner;
    endpoint->from_runner = NULL;
    if (request != NULL)
        gateway_respond_json(request, 200, bb_slice_str("{}"));
    release_if_over(endpoint);
}

static void on_to_client_sent(void *arg)
{
    struct endpoint *endpoint = arg;

    if (endpoint->from_runner != NULL)
        bb_http_body_pause(endpoint->from_runner, false);
}

static void on_to_client_end(void *arg, enum bb_http_end end)
{
    struct endpoint *endpoint = arg;

    endpoint->to_client = NULL;
    answer_runner(endpoint, 410, "Gone", "The client has left.");
    close_to_runner(endpoint, false);
    if (end != BB_HTTP_END_OURS && endpoint->is_action_open)
        gateway_action_leave(&endpoint->action);
    release_if_over(endpoint);
}

/* The head of a response: base64 of JSON {status, headers}. */
static int decode_head(struct bb_ctx *ctx, const struct bb_http_request *request,
                       struct bb_buf *value)
{
    struct bb_buf json;

    bb_buf_init(&json);
    int rc = bb_base64_decode(ctx, bb_http_header(request, "bitbend-response"), &json);
    if (rc == BB_OK)
        rc = bb_json_decode(ctx, bb_buf_slice(&json), false, value);
    if (rc == BB_OK && bb_value_tag(bb_buf_slice(value)) != BB_TAG_OBJECT)
        rc = bb_fail(ctx, BB_BAD_REQUEST, "BitBend-Response is no object");
    bb_buf_fini(&json);
    return rc;
}

/* POST: the runner sends what the client shall get. */
static void begin_to_client(struct endpoint *endpoint, struct bb_http_request *request)
{
    const struct bb_http_stream_events events = { .on_end = on_to_client_end,
                                                  .on_sent = on_to_client_sent,
                                                  .arg = endpoint };
    struct bb_ctx ctx = *endpoint->gateway->ctx;
    struct bb_http_request *client = endpoint->client;
    struct bb_buf head, lines;
    int64_t length = -1;
    int status = 0;

    if (client == NULL || bb_http_is_gone(client)) {
        bb_http_respond_error(request, 410, "Gone", "The client has left.");
        return;
    }
    bb_buf_init(&head);
    bb_buf_init(&lines);
    int rc = decode_head(&ctx, request, &head);
    if (rc == BB_OK)
        rc = take_status(&ctx, bb_buf_slice(&head), &status);
    if (rc == BB_OK)
        rc =
            take_headers(&ctx, bb_value_field_str(bb_buf_slice(&head), "headers"), &lines, &length);
    if (rc != BB_OK) {
        gateway_refuse(&ctx, request, rc);
        goto out;
    }
    endpoint->client = NULL;
    endpoint->to_client =
        bb_http_response_begin(client, status, bb_buf_slice(&lines), length, &events);
    bb_assert(endpoint->to_client != NULL);
    endpoint->from_runner = request;
    if (bb_http_body_is_open(request)) {
        bb_http_body_begin(request, &(struct bb_http_body_events){ .on_data = on_runner_data,
                                                                   .on_end = on_runner_body_end,
                                                                   .arg = endpoint });
    } else {
        on_runner_body_end(endpoint, true);
    }
out:
    bb_buf_fini(&head);
    bb_buf_fini(&lines);
}

static struct endpoint *find(struct gateway *gateway, struct bb_slice hex)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct endpoint *found = NULL;
    struct bb_buf id;

    bb_buf_init(&id);
    if (bb_hex_decode(&ctx, hex, &id) == BB_OK && id.size == 16) {
        bb_list_each(item, &gateway->endpoints->all) {
            struct endpoint *endpoint = bb_container(item, struct endpoint, link);

            if (memcmp(endpoint->action.id, id.data, 16) == 0)
                found = endpoint;
        }
    }
    bb_buf_fini(&id);
    return found;
}

void gateway_api_runner_http(struct gateway *gateway, struct bb_http_request *request)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct bb_slice path = bb_http_path(request);
    struct bb_slice rest =
        bb_slice(path.data + sizeof(RUNNER_PATH) - 1, path.size - (sizeof(RUNNER_PATH) - 1));
    struct bb_slice what =
        rest.size > 33 ? bb_slice(rest.data + 33, rest.size - 33) : BB_SLICE_EMPTY;
    struct endpoint *endpoint = rest.size > 33 ? find(gateway, bb_slice(rest.data, 32)) : NULL;
    bool is_post = bb_http_method(request) == BB_HTTP_POST;
    struct caller caller;
    int rc = gateway_caller(&ctx, gateway, request, &caller);

    if (rc == BB_OK && !caller.is_admin && !caller.is_action)
        rc = bb_fail(&ctx, BB_UNAUTHORIZED, "This is for runners only.");
    if (rc == BB_OK &&
        (endpoint == NULL || !bb_slice_equal_str(what, is_post ? "response" : "request"))) {
        rc = bb_fail(&ctx, BB_NOT_FOUND, "There is no such request at this gateway.");
    }
    if (rc != BB_OK) {
        gateway_refuse(&ctx, request, rc);
    } else if (is_post) {
        begin_to_client(endpoint, request);
    } else {
        begin_to_runner(endpoint, request);
    }
}

/* ---- the second server, and the end ---- */

static void route_site(void *arg, struct bb_http_request *request)
{
    start(bb_cast(struct gateway, arg, GATEWAY_MAGIC), request, bb_http_path(request));
}

static bool site_wants_stream(void *arg, const struct bb_http_request *request)
{
    (void)arg;
    return is_large(request);
}

int gateway_endpoints_open(struct bb_ctx *ctx, struct gateway *gateway, const struct bb_conf *conf)
{
    struct endpoints *endpoints = bb_alloc_zero(1, sizeof(*endpoints));
    const char *listen = bb_conf_text(conf, "http-actions-listen");

    gateway->endpoints = endpoints;
    bb_list_init(&endpoints->all);
    endpoints->body_max = (size_t)bb_conf_number(conf, "body-max");
    endpoints->response_max = (size_t)bb_conf_number(conf, "http-response-max");
    if (listen == NULL || listen[0] == '\0')
        return BB_OK;
    const struct bb_http_options options = { .listen = listen,
                                             .connections_max =
                                                 (size_t)bb_conf_number(conf, "connections-max"),
                                             .body_max = endpoints->body_max,
                                             .handle = route_site,
                                             .wants_stream = site_wants_stream,
                                             .arg = gateway };
    int rc = bb_http_open(ctx, gateway->loop, &options, &endpoints->http);
    if (rc == BB_OK) {
        bb_info(ctx, "gateway.endpoints_listening", "address=%s port=%u", listen,
                (unsigned)bb_http_port(endpoints->http));
    }
    return rc;
}

void gateway_endpoints_stop(struct gateway *gateway, uint32_t limit_ms, void (*done)(void *arg),
                            void *arg)
{
    if (gateway->endpoints->http == NULL) {
        done(arg);
    } else {
        bb_http_stop(gateway->endpoints->http, limit_ms, done, arg);
    }
}

void gateway_endpoints_close(struct gateway *gateway)
{
    struct endpoints *endpoints = gateway->endpoints;

    if (endpoints == NULL)
        return;
    bb_list_each_safe(item, &endpoints->all) {
        struct endpoint *endpoint = bb_container(item, struct endpoint, link);

        if (endpoint->to_client != NULL)
            bb_http_stream_close(endpoint->to_client);
        close_to_runner(endpoint, false);
        answer_runner(endpoint, 503, "Unavailable", "This gateway ends.");
        release_if_over(endpoint);
    }
    bb_http_close(endpoints->http);
    endpoints->http = NULL;
}

void gateway_endpoints_free(struct gateway *gateway)
{
    struct endpoints *endpoints = gateway->endpoints;

    if (endpoints == NULL)
        return;
    bb_list_each_safe(item, &endpoints->all) {
        struct endpoint *endpoint = bb_container(item, struct endpoint, link);

        endpoint->body = NULL; /* it went with its server */
        release_if_over(endpoint);
    }
    bb_assert(bb_list_is_empty(&endpoints->all));
    bb_free(endpoints);
    gateway->endpoints = NULL;
}
