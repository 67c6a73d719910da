/* The handlers that run one function and answer with its envelope. */
#include "action.h"
#include "answer.h"
#include "call.h"
#include "key.h"
#include "known.h"
#include "routes.h"

#define KEY_MAX 256u

/* One request that runs a function; lives in the request's arena. */
struct api {
    struct call call;
    struct action action;
    struct gateway *gateway;
    struct bb_http_request *request;
    struct bb_buf body; /* the envelope as BBV; args borrow from it */
    struct caller caller;
    enum bb_json_format format;
    bool is_ours; /* a system function that was not named by the caller */
    uint8_t client_key[32], client_digest[32];
};

/* ---- the answer ---- */

static void respond_shared(struct gateway *gateway, struct bb_http_request *request,
                           const struct outcome *outcome, struct bb_http_buffer *json)
{
    struct bb_buf *text = &gateway->json;
    size_t size;

    gateway_success_begin(text);
    size = text->size;
    gateway_success_end(text, outcome);
    bb_http_respond_shared(request, 200, "application/json", BB_SLICE_EMPTY,
                           bb_slice(text->data, size), json,
                           bb_slice(text->data + size, text->size - size));
}

/* `json`: of the value, which others are answered with, too; or NULL. */
static void answer(struct api *api, struct outcome outcome, struct bb_http_buffer *json)
{
    struct gateway *gateway = api->gateway;
    const Bb__Proto__CallReply *reply = outcome.reply;
    struct bb_ctx ctx = *gateway->ctx;
    int http;

    outcome.format = api->format;
    outcome.shows_errors = gateway->shows_errors || api->caller.is_admin || api->caller.is_action;

    /* What a worker sends was checked there; a value that cannot be read must not stop the gateway.
     */
    if (outcome.status == BB_OK && json == NULL && reply->value.len > 0 &&
        bb_value_validate(&ctx, bb_pb_slice(reply->value)) != BB_OK) {
        bb_error(gateway->ctx, "gateway.bad_value", "path=%s why=\"%s\"", api->call.path,
                 ctx.error);
        outcome.status = BB_INTERNAL;
        outcome.error = "A worker's answer could not be read.";
    }
    bb_buf_clear(&gateway->json);
    bb_buf_fini(&api->body);
    if (json != NULL) {
        respond_shared(gateway, api->request, &outcome, json);
        return;
    }
    http = gateway_envelope(&gateway->json, &outcome, false);
    gateway_respond_json(api->request, http, bb_buf_slice(&gateway->json));
    if (gateway->json.capacity > 1u << 20) {
        bb_buf_fini(&gateway->json);
        bb_buf_init(&gateway->json);
    }
}

static void start_action(struct bb_ctx *ctx, struct api *api);

static void on_done(struct call *call, int status, const char *error,
                    const Bb__Proto__CallReply *reply)
{
    struct api *api = call->arg;
    struct bb_ctx ctx = *api->gateway->ctx;
    struct bb_http_buffer *json;

    /* Whatever it is turned out to be an action. */
    if (status == BB_WRONG_KIND && call->kind == BB__PROTO__FUNCTION_KIND__KIND_ANY &&
        api->gateway->bus != NULL) {
        start_action(&ctx, api);
        return;
    }
    json = status == BB_OK ? gateway_known_json(call, reply) : NULL;
    answer(api,
           (struct outcome){ .status = status,
                             .error = error,
                             .reply = reply,
                             .kind = call->kind,
                             .request_id = call->request_id },
           json);
    bb_http_buffer_release(json);
}

static void on_action_done(struct action *action, int status, const char *error,
                           const Bb__Proto__CallReply *reply)
{
    answer(action->arg,
           (struct outcome){ .status = status,
                             .error = error,
                             .reply = reply,
                             .kind = BB__PROTO__FUNCTION_KIND__KIND_ACTION,
                             .request_id = action->id },
           NULL);
}

/* ---- the question ---- */

static void hash_parts(const struct bb_slice *parts, size_t count, uint8_t to[32])
{
    struct bb_sha256 sha;
    static const uint8_t zero = 0;

    bb_sha256_init(&sha);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            bb_sha256_update(&sha, &zero, 1);
        bb_sha256_update(&sha, parts[i].data, parts[i].size);
    }
    bb_sha256_final(&sha, to);
}

static int take_headers(struct bb_ctx *ctx, struct api *api)
{
    struct bb_slice after = bb_http_header(api->request, "bitbend-after");
    struct bb_slice key = bb_http_header(api->request, "idempotency-key");
    int rc = gateway_parse_tx(ctx, api->gateway, after, "BitBend-After", &api->call.min_tx);

    if (rc != BB_OK)
        return rc;
    if (key.data == NULL || api->call.kind == BB__PROTO__FUNCTION_KIND__KIND_QUERY)
        return BB_OK;
    if (key.size == 0 || key.size > KEY_MAX)
        return bb_fail(ctx, BB_BAD_REQUEST, "Idempotency-Key must have 1 to %u bytes", KEY_MAX);
    hash_parts((const struct bb_slice[]){ api->caller.identity, key }, 2, api->client_key);
    hash_parts((const struct bb_slice[]){ bb_slice_str(api->call.path), api->call.args }, 2,
               api->client_digest);
    api->call.client_key = api->client_key;
    api->call.client_digest = api->client_digest;
    api->call.client_key_ms = gateway_key_ms(key);
    return BB_OK;
}

/* BitBend-Debug: trace, cpu-profile, heap-profile, heap-snapshot; several are separated by commas.
 */
static int take_debug(struct bb_ctx *ctx, struct api *api)
{
    static const struct {
        const char *name;
        Bb__Proto__Profile profile;
    } kinds[] = { { "trace", BB__PROTO__PROFILE__PROFILE_NONE },
                  { "cpu-profile", BB__PROTO__PROFILE__PROFILE_CPU },
                  { "heap-profile", BB__PROTO__PROFILE__PROFILE_HEAP },
                  { "heap-snapshot", BB__PROTO__PROFILE__PROFILE_SNAPSHOT } };
    struct bb_slice header = bb_http_header(api->request, "bitbend-debug");

    if (header.size > 0 && !api->caller.is_admin)
        return bb_fail(ctx, BB_FORBIDDEN, "BitBend-Debug needs the admin key.");
    while (header.size > 0) {
        const uint8_t *comma = memchr(header.data, ',', header.size);
        size_t size = comma == NULL ? header.size : (size_t)(comma - header.data), kind = 0;
        struct bb_slice word = bb_slice(header.data, size);
        while (kind < BB_COUNT_OF(kinds) && !bb_slice_equal(word, bb_slice_str(kinds[kind].name)))
            kind++;
        if (kind == BB_COUNT_OF(kinds)) {
            return bb_fail(
                ctx, BB_BAD_REQUEST,
                "BitBend-Debug knows trace, cpu-profile, heap-profile and heap-snapshot, "
                "not \"%.*s\"",
                BB_SLICE_ARG(word));
        }
        api->call.wants_trace |= kind == 0;
        api->call.profile = kind == 0 ? api->call.profile : kinds[kind].profile;
        size += size < header.size;
        header = bb_slice(header.data + size, header.size - size);
    }
    return BB_OK;
}

static int check_path(struct bb_ctx *ctx, const struct api *api)
{
    bool is_scheduler = strcmp(api->call.path, "_system:createJob") == 0 ||
                        strcmp(api->call.path, "_system:cancelJob") == 0;

    if (api->call.path[0] == '_' && !api->caller.is_admin && !api->is_ours &&
        !(is_scheduler && api->caller.is_action))
        return bb_fail(ctx, BB_FORBIDDEN, "System functions need the admin key.");
    return BB_OK;
}

static struct api *api_new(struct gateway *gateway, struct bb_http_request *request,
                           Bb__Proto__FunctionKind kind)
{
    struct api *api = bb_arena_zero(bb_http_arena(request), 1, sizeof(*api));

    bb_assert(api != NULL);
    api->gateway = gateway;
    api->request = request;
    api->call.kind = kind;
    api->call.done = on_done;
    api->call.arg = api;
    bb_buf_init(&api->body);
    return api;
}

static void on_gone(void *arg)
{
    struct api *api = arg;

    gateway_call_leave(&api->call);
}

/* What was asked for becomes a part of the arguments of a system function: {path, args, ..} */
static struct bb_value_builder *begin_system(const struct api *api)
{
    struct bb_value_builder *builder = bb_value_builder_new();

    bb_value_begin_object(builder);
    bb_value_field_name(builder, bb_slice_str("path"));
    bb_value_put_string(builder, bb_slice_str(api->call.path));
    bb_value_field_name(builder, bb_slice_str("args"));
    bb_value_put_value(builder, api->call.args);
    return builder;
}

static void end_system(struct api *api, struct bb_value_builder *builder, const char *path)
{
    struct bb_slice args;

    bb_value_end_object(builder);
    args = bb_value_finish(builder);
    bb_buf_clear(&api->body);
    bb_buf_append_slice(&api->body, args);
    bb_value_builder_free(builder);
    api->call.kind = BB__PROTO__FUNCTION_KIND__KIND_MUTATION;
    api->call.path = path;
    api->call.args = bb_buf_slice(&api->body);
    api->is_ours = true;
}

/* A job's mutation runs only while its attempt does. */
static void fence(struct api *api)
{
    struct bb_value_builder *builder;

    if (api->caller.job.size == 0 || api->call.path[0] == '_' ||
        api->call.kind != BB__PROTO__FUNCTION_KIND__KIND_MUTATION)
        return;
    builder = begin_system(api);
    bb_value_field_name(builder, bb_slice_str("jobId"));
    bb_value_put_string(builder, api->caller.job);
    bb_value_field_name(builder, bb_slice_str("attempt"));
    bb_value_put_float64(builder, (double)api->caller.attempt);
    end_system(api, builder, "_system:jobMutation");
}

/* Send it off, or answer why not. `rc` is what came before. */
static void api_go(struct bb_ctx *ctx, struct api *api, int rc)
{
    if (rc == BB_OK)
        rc = check_path(ctx, api);
    if (rc == BB_OK) {
        fence(api);
        api->call.is_admin = api->caller.is_admin || api->caller.is_action || api->is_ours;
        api->call.identity = api->caller.identity;
        api->call.wants_json = true;
        api->call.format = api->format;
        rc = take_headers(ctx, api);
    }
    if (rc == BB_OK)
        rc = take_debug(ctx, api);
    if (rc == BB_OK)
        rc = gateway_call_start(ctx, api->gateway, &api->call);
    if (rc == BB_OK) {
        bb_http_on_gone(api->request, on_gone, api);
        if (bb_http_is_gone(api->request))
            on_gone(api);
        return;
    }
    bb_buf_fini(&api->body);
    gateway_refuse(ctx, api->request, rc);
}

static int take_body(struct bb_ctx *ctx, struct api *api, const char *path)
{
    struct ask ask = { .path = path };
    int rc = gateway_body_value(ctx, api->request, &api->body);

    if (rc == BB_OK) {
        rc = gateway_ask_envelope(ctx, bb_http_arena(api->request), bb_buf_slice(&api->body), path,
                                  &ask);
    }
    api->call.path = ask.path;
    api->call.args = ask.args;
    api->format = ask.format;
    return rc;
}

/* GET /api/query?path=&args=&format= */
static int take_url(struct bb_ctx *ctx, struct api *api)
{
    struct bb_slice path;
    struct bb_slice args;
    struct bb_slice format;
    int rc = bb_http_parameter(ctx, api->request, "path", &path);

    if (rc == BB_OK)
        rc = bb_http_parameter(ctx, api->request, "args", &args);
    if (rc == BB_OK)
        rc = bb_http_parameter(ctx, api->request, "format", &format);
    if (rc == BB_OK)
        rc = gateway_ask_path(ctx, bb_http_arena(api->request), path, &api->call.path);
    if (rc == BB_OK)
        rc = gateway_ask_format(ctx, format, &api->format);
    if (rc == BB_OK && args.size > 0)
        rc = bb_json_decode(ctx, args, false, &api->body);
    if (rc == BB_OK) {
        rc = gateway_ask_args(ctx, args.size > 0 ? bb_buf_slice(&api->body) : BB_SLICE_EMPTY,
                              &api->call.args);
    }
    return rc;
}

static void run(struct gateway *gateway, struct bb_http_request *request,
                Bb__Proto__FunctionKind kind, const char *path)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct api *api = api_new(gateway, request, kind);
    int rc = gateway_caller(&ctx, gateway, request, &api->caller);

    if (rc == BB_OK) {
        rc = bb_http_method(request) == BB_HTTP_POST ? take_body(&ctx, api, path)
                                                     : take_url(&ctx, api);
    }
    api_go(&ctx, api, rc);
}

void gateway_api_query(struct gateway *gateway, struct bb_http_request *request)
{
    run(gateway, request, BB__PROTO__FUNCTION_KIND__KIND_QUERY, NULL);
}

void gateway_api_mutation(struct gateway *gateway, struct bb_http_request *request)
{
    run(gateway, request, BB__PROTO__FUNCTION_KIND__KIND_MUTATION, NULL);
}

void gateway_api_function(struct gateway *gateway, struct bb_http_request *request)
{
    run(gateway, request, BB__PROTO__FUNCTION_KIND__KIND_ANY, NULL);
}

void gateway_api_run(struct gateway *gateway, struct bb_http_request *request)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct bb_slice text = bb_http_path(request);
    const char *path = NULL;
    size_t skip = strlen("/api/run/");
    int rc = bb_http_unescape(&ctx, bb_http_arena(request),
                              bb_slice(text.data + skip, text.size - skip), false, &text);

    if (rc == BB_OK)
        rc = gateway_ask_run_path(&ctx, bb_http_arena(request), text, &path);
    if (rc == BB_OK) {
        run(gateway, request, BB__PROTO__FUNCTION_KIND__KIND_ANY, path);
    } else {
        gateway_refuse(&ctx, request, rc);
    }
}

static void on_action_gone(void *arg)
{
    struct api *api = arg;

    gateway_action_leave(&api->action);
}

static void start_action(struct bb_ctx *ctx, struct api *api)
{
    struct action *action = &api->action;
    struct bb_slice ends = bb_value_field_str(bb_buf_slice(&api->body), "cancelOnDisconnect");
    int rc;

    action->ends_when_left = ends.data != NULL && bb_value_tag(ends) == BB_TAG_TRUE;
    action->path = api->call.path;
    action->args = api->call.args;
    action->identity = api->caller.identity;
    action->may_call_internal = api->caller.is_admin || api->caller.is_action;
    action->done = on_action_done;
    action->arg = api;
    rc = gateway_action_start(ctx, api->gateway, action);
    if (rc != BB_OK) {
        bb_buf_fini(&api->body);
        gateway_refuse(ctx, api->request, rc);
        return;
    }
    bb_http_on_gone(api->request, on_action_gone, api);
    if (bb_http_is_gone(api->request))
        on_action_gone(api);
}

/* A job that runs it as soon as a runner is free; the answer is the job's id. */
static void start_job(struct bb_ctx *ctx, struct api *api)
{
    struct bb_value_builder *builder = begin_system(api);

    bb_value_field_name(builder, bb_slice_str("mayCallInternal"));
    bb_value_put_bool(builder, api->caller.is_admin || api->caller.is_action);
    if (api->caller.identity.size > 0) {
        bb_value_field_name(builder, bb_slice_str("identity"));
        bb_value_put_string(builder, api->caller.identity);
    }
    end_system(api, builder, "_system:createJob");
    api_go(ctx, api, BB_OK);
}

/* {path, args, format?, cancelOnDisconnect?}; ?wait=false */
void gateway_api_action(struct gateway *gateway, struct bb_http_request *request)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct api *api = api_new(gateway, request, BB__PROTO__FUNCTION_KIND__KIND_ACTION);
    struct bb_slice wait = BB_SLICE_EMPTY;
    int rc = gateway_caller(&ctx, gateway, request, &api->caller);

    if (rc == BB_OK)
        rc = bb_http_parameter(&ctx, request, "wait", &wait);
    if (rc == BB_OK)
        rc = take_body(&ctx, api, NULL);
    if (rc != BB_OK) {
        bb_buf_fini(&api->body);
        gateway_refuse(&ctx, request, rc);
    } else if (bb_slice_equal_str(wait, "false")) {
        start_job(&ctx, api);
    } else {
        start_action(&ctx, api);
    }
}

void gateway_api_ping(struct gateway *gateway, struct bb_http_request *request)
{
    (void)gateway;
    bb_http_respond(request, 200, "text/plain; charset=utf-8", BB_SLICE_EMPTY,
                    bb_slice_str("pong"));
}

/* {path, args, ts}: the query as it was at that moment. */
void gateway_api_query_at_ts(struct gateway *gateway, struct bb_http_request *request)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct api *api = api_new(gateway, request, BB__PROTO__FUNCTION_KIND__KIND_QUERY);
    struct bb_slice ts;
    int rc = gateway_caller(&ctx, gateway, request, &api->caller);

    if (rc == BB_OK)
        rc = take_body(&ctx, api, NULL);
    if (rc == BB_OK) {
        ts = bb_value_field_str(bb_buf_slice(&api->body), "ts");
        if (ts.data == NULL || bb_value_tag(ts) != BB_TAG_STRING) {
            rc = bb_fail(&ctx, BB_BAD_REQUEST, "the body has no text field `ts`");
        } else {
            rc = gateway_parse_ts(&ctx, gateway, bb_value_bytes(ts), &api->call.at_tx);
        }
    }
    api_go(&ctx, api, rc);
}

static void on_ts_done(struct call *call, int status, const char *error,
                       const Bb__Proto__CallReply *reply)
{
    struct api *api = call->arg;
    struct gateway *gateway = api->gateway;

    if (status != BB_OK) {
        bb_http_respond_error(api->request,
                              bb_status_in_function(status) ? 500 : bb_status_http(status),
                              bb_status_name(status), error == NULL ? "" : error);
        return;
    }
    bb_buf_clear(&gateway->json);
    bb_buf_append_str(&gateway->json, "{\"ts\":\"");
    gateway_append_ts(&gateway->json, reply->tx != 0 ? reply->tx : reply->read_tx);
    bb_buf_append_str(&gateway->json, "\"}");
    gateway_respond_json(api->request, 200, bb_buf_slice(&gateway->json));
}

/* The newest moment: that of a query which runs now. */
void gateway_api_query_ts(struct gateway *gateway, struct bb_http_request *request)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct api *api = api_new(gateway, request, BB__PROTO__FUNCTION_KIND__KIND_QUERY);
    int rc = gateway_caller(&ctx, gateway, request, &api->caller);

    if (rc == BB_OK) {
        api->caller.is_admin = true; /* for this one system query, whose result is not shown */
        api->call.path = "_system:status";
        rc = gateway_ask_args(&ctx, BB_SLICE_EMPTY, &api->call.args);
        api->call.done = on_ts_done;
    }
    api_go(&ctx, api, rc);
}

/* {modules: [{path, source, sourceMap}], dryRun?} becomes one system mutation. */
void gateway_api_deploy(struct gateway *gateway, struct bb_http_request *request)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct api *api = api_new(gateway, request, BB__PROTO__FUNCTION_KIND__KIND_MUTATION);
    int rc = gateway_require_admin(&ctx, gateway, request);

    if (rc == BB_OK)
        rc = gateway_body_value(&ctx, request, &api->body);
    if (rc == BB_OK && (bb_value_tag(bb_buf_slice(&api->body)) != BB_TAG_OBJECT ||
                        bb_value_field_str(bb_buf_slice(&api->body), "modules").data == NULL)) {
        rc = bb_fail(&ctx, BB_BAD_REQUEST,
                     "the body must be {modules: [{path, source, sourceMap}], dryRun?}");
    }
    api->caller.is_admin = true;
    api->call.path = "_system:deploy";
    api->call.args = bb_buf_slice(&api->body);
    api->call.limit_us = GATEWAY_DEPLOY_US;
    api_go(&ctx, api, rc);
}
