/*
 * Mutations of a WebSocket client: one at a time, in order, exactly once. The client names each by
 * its session and a number, and sends it again after a reconnect.
 */
#include "answer.h"
#include "websocket_internal.h"

/* ---- life ---- */

static void mutation_free(struct websocket_mutation *mutation)
{
    bb_list_remove(&mutation->link);
    bb_free(mutation->path);
    bb_buf_fini(&mutation->args);
    bb_buf_fini(&mutation->identity);
    bb_free(mutation);
}

/* The same request has the same key, and with other contents another digest. */
static void name_mutation(struct websocket_mutation *mutation, struct bb_slice session_id)
{
    struct bb_sha256 sha;
    uint8_t number[4];
    static const uint8_t zero = 0;

    bb_put_le32(number, mutation->request_id);
    bb_sha256_init(&sha);
    bb_sha256_update(&sha, "websocket", 10);
    bb_sha256_update(&sha, session_id.data, session_id.size);
    bb_sha256_update(&sha, &zero, 1);
    bb_sha256_update(&sha, number, sizeof(number));
    bb_sha256_final(&sha, mutation->key);
    bb_sha256_init(&sha);
    bb_sha256_update(&sha, mutation->path, strlen(mutation->path));
    bb_sha256_update(&sha, &zero, 1);
    bb_sha256_update(&sha, mutation->args.data, mutation->args.size);
    bb_sha256_final(&sha, mutation->digest);
}

/* ---- answers ---- */

static void begin_response(struct bb_buf *json, const char *type, uint32_t request_id,
                           bool is_success)
{
    bb_buf_clear(json);
    bb_buf_printf(json,
                  "{\"type\":\"%s\",\"requestId\":%" PRIu32 ",\"success\":%s,\"result\":", type,
                  request_id, is_success ? "true" : "false");
}

void gateway_websocket_respond_failure(struct websocket_client *client, const char *type,
                                       uint32_t request_id, const char *message)
{
    struct bb_buf json;

    bb_buf_init(&json);
    begin_response(&json, type, request_id, false);
    bb_json_string(&json, bb_slice_str(message));
    bb_buf_append_str(&json, ",\"logLines\":[]}");
    gateway_websocket_send(client, bb_buf_slice(&json));
    bb_buf_fini(&json);
}

void gateway_websocket_respond(struct websocket_client *client, const char *type,
                               uint32_t request_id, const struct outcome *outcome)
{
    struct bb_buf json;
    struct bb_buf text;
    struct bb_slice data;

    bb_buf_init(&json);
    bb_buf_init(&text);
    begin_response(&json, type, request_id, outcome->status == BB_OK);
    if (outcome->status == BB_OK) {
        struct bb_slice value = bb_pb_slice(outcome->reply->value);
        uint64_t tx = outcome->reply->tx != 0 ? outcome->reply->tx : outcome->reply->read_tx;

        if (value.size > 0)
            bb_json_encode(value, BB_JSON_ENCODED, &json);
        else
            bb_buf_append_str(&json, "null");
        if (outcome->kind != BB__PROTO__FUNCTION_KIND__KIND_ACTION) {
            bb_buf_append_str(&json, ",\"ts\":");
            gateway_websocket_append_ts(&json, tx);
        }
    } else {
        gateway_error_message(&text, outcome);
        bb_json_string(&json, bb_utf8_is_valid(bb_buf_slice(&text)) ? bb_buf_slice(&text)
                                                                    : bb_slice_str("Server Error"));
        data = outcome->reply != NULL && outcome->status == BB_USER_ERROR
                   ? bb_pb_slice(outcome->reply->error_data)
                   : BB_SLICE_EMPTY;
        if (data.size > 0) {
            bb_buf_append_str(&json, ",\"errorData\":");
            bb_json_encode(data, BB_JSON_ENCODED, &json);
        }
    }
    gateway_log_lines(&json, outcome);
    bb_buf_append_byte(&json, '}');
    gateway_websocket_send(client, bb_buf_slice(&json));
    bb_buf_fini(&json);
    bb_buf_fini(&text);
}

/* What the suite could not do now, or nobody knows: the client comes back and sends it again. */
static bool is_passing(int status)
{
    return !bb_status_in_function(status) && bb_status_http(status) >= 500;
}

static void on_done(struct call *call, int status, const char *error,
                    const Bb__Proto__CallReply *reply)
{
    struct websocket_mutation *mutation = call->arg;
    struct websocket_client *client = mutation->client;
    struct gateway *gateway = mutation->websockets->gateway;
    struct bb_ctx ctx = *gateway->ctx;
    struct outcome outcome = { .status = status,
                               .error = error,
                               .reply = reply,
                               .kind = call->kind,
                               .request_id = call->request_id,
                               .format = BB_JSON_ENCODED,
                               .shows_errors = gateway->shows_errors || call->is_admin };

    if (client == NULL || client->is_closing) {
        if (client != NULL)
            client->running = NULL;
        mutation_free(mutation);
        return;
    }
    client->running = NULL;
    if (status == BB_OK && reply->value.len > 0 &&
        bb_value_validate(&ctx, bb_pb_slice(reply->value)) != BB_OK) {
        bb_error(gateway->ctx, "gateway.bad_value", "path=%s why=\"%s\"", call->path, ctx.error);
        outcome.status = BB_INTERNAL;
        outcome.error = "A worker's answer could not be read.";
        gateway_websocket_respond(client, "MutationResponse", mutation->request_id, &outcome);
    } else if (is_passing(status)) {
        gateway_websocket_shut(client, 1013,
                               status == BB_OVERLOADED
                                   ? "TooManyConcurrentRequests: try again later"
                                   : "InternalServerError: the mutation is sent again");
    } else {
        gateway_websocket_respond(client, "MutationResponse", mutation->request_id, &outcome);
        if (status == BB_OK)
            gateway_session_reach(client->session, reply->tx != 0 ? reply->tx : reply->read_tx);
    }
    mutation_free(mutation);
    if (client->is_closing)
        return;
    gateway_websocket_run_next(client);
    gateway_websocket_release(client);
}

/* ---- one after the other ---- */

static void start(struct websocket_client *client, struct websocket_mutation *mutation)
{
    struct websockets *websockets = client->websockets;
    struct bb_ctx ctx = *websockets->gateway->ctx;

    client->mutation_count--;
    client->mutation_bytes -= mutation->size_bytes;
    bb_list_remove(&mutation->link);
    bb_list_push_back(&websockets->running, &mutation->link);
    client->running = mutation;
    mutation->call = (struct call){ .kind = BB__PROTO__FUNCTION_KIND__KIND_MUTATION,
                                    .path = mutation->path,
                                    .args = bb_buf_slice(&mutation->args),
                                    .identity = bb_buf_slice(&mutation->identity),
                                    .is_admin = mutation->is_admin,
                                    .client_key = mutation->key,
                                    .client_digest = mutation->digest,
                                    .done = on_done,
                                    .arg = mutation };
    bb_metric_add(websockets->mutations, 1);
    if (gateway_call_start(&ctx, websockets->gateway, &mutation->call) == BB_OK)
        return;
    client->running = NULL;
    mutation_free(mutation);
    gateway_websocket_shut(client, 1013, "TooManyConcurrentRequests: too many calls are under way");
}

void gateway_websocket_run_next(struct websocket_client *client)
{
    size_t bytes;

    if (client->is_closing || client->running != NULL || bb_list_is_empty(&client->mutations) ||
        bb_http_stream_queued(client->http, &bytes) >= WEBSOCKET_REPLIES_MAX)
        return;
    start(client, bb_container(client->mutations.next, struct websocket_mutation, link));
}

void gateway_websocket_mutate(struct bb_ctx *ctx, struct websocket_client *client,
                              const struct websocket_message *message)
{
    struct websocket_mutation *mutation;
    struct bb_arena *arena;
    const char *path;
    int rc;

    if (client->mutation_count >= WEBSOCKET_MUTATIONS_MAX ||
        client->mutation_bytes + message->args.size > WEBSOCKET_QUEUE_BYTES) {
        gateway_websocket_shut(client, 1013, "TooManyConcurrentRequests: too many mutations wait");
        return;
    }
    arena = bb_arena_new(0);
    rc = gateway_ask_path(ctx, arena, message->path, &path);
    if (rc == BB_OK && client->is_expired)
        rc = bb_fail(ctx, BB_UNAUTHORIZED, "The token has expired.");
    if (rc == BB_OK && message->has_component)
        rc = bb_fail(ctx, BB_BAD_REQUEST, "Could not find the component: there are none here.");
    if (rc == BB_OK && path[0] == '_' && !gateway_session_is_admin(client->session))
        rc = bb_fail(ctx, BB_FORBIDDEN, "System functions need the admin key.");
    if (rc != BB_OK) {
        gateway_websocket_respond_failure(client, "MutationResponse", message->request_id,
                                          ctx->error);
        bb_arena_free(arena);
        return;
    }
    mutation = bb_alloc_zero(1, sizeof(*mutation));
    mutation->client = client;
    mutation->websockets = client->websockets;
    mutation->request_id = message->request_id;
    mutation->path = bb_strdup(path);
    bb_buf_append_slice(&mutation->args, message->args);
    bb_buf_append_slice(&mutation->identity, gateway_session_identity(client->session));
    mutation->is_admin = gateway_session_is_admin(client->session);
    mutation->size_bytes = sizeof(*mutation) + message->args.size;
    name_mutation(mutation, bb_buf_slice(&client->session_id));
    bb_list_push_back(&client->mutations, &mutation->link);
    client->mutation_count++;
    client->mutation_bytes += mutation->size_bytes;
    bb_arena_free(arena);
    gateway_websocket_run_next(client);
}

void gateway_websocket_leave_mutations(struct websocket_client *client)
{
    /* The one that runs ends; a client that comes back sends it again and hears its outcome. */
    if (client->running != NULL)
        client->running->client = NULL;
    client->running = NULL;
    while (!bb_list_is_empty(&client->mutations))
        mutation_free(bb_container(client->mutations.next, struct websocket_mutation, link));
}
