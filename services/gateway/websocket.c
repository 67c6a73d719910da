#include "websocket.h"

#include "auth.h"
#include "feed.h"
#include "routes.h"
#include "websocket_internal.h"

#define TICK_MS 250u

/* ---- sending ---- */

void gateway_websocket_send(struct websocket_client *client, struct bb_slice json)
{
    struct bb_http_buffer *buffer = bb_http_socket_text(json);

    client->seconds = 0;
    bb_http_stream_send(client->http, buffer);
    bb_http_buffer_release(buffer);
}

void gateway_websocket_shut(struct websocket_client *client, uint16_t code, const char *reason)
{
    if (client->is_closing)
        return;
    client->is_closing = true;
    bb_info(client->websockets->gateway->ctx, "gateway.websocket_closed", "code=%u why=\"%s\"",
            (unsigned)code, reason);
    bb_http_socket_close(client->http, code, reason);
}

/* ---- messages ---- */

static void connect_client(struct websocket_client *client, const struct websocket_message *message)
{
    struct gateway *gateway = client->websockets->gateway;
    struct session_options options = { .owner = &client->sink, .after_tx = message->max_observed };

    /* What it has seen lies beyond all clocks: it is of another history. */
    if (message->max_observed > bb_follow_cursor(gateway->feed) &&
        message->max_observed > bb_wall_us(gateway->ctx) + GATEWAY_CLOCK_SLACK_US) {
        options.is_resync = true;
        options.after_tx = 0;
    }
    bb_buf_append_slice(&client->session_id, message->session_id);
    client->hold_until_us = bb_loop_now_us(gateway->loop) + WEBSOCKET_HOLD_US;
    client->is_back = message->connection_count > 0;
    client->session = gateway_session_new(gateway_sessions(gateway), &options);
}

static int take_token(struct bb_ctx *ctx, struct gateway *gateway, struct bb_arena *arena,
                      const struct websocket_message *message, struct caller *caller)
{
    const char *header;
    int rc;

    *caller = (struct caller){ .is_admin = false };
    if (message->token_kind == WEBSOCKET_TOKEN_NONE)
        return BB_OK;
    if (message->token_kind == WEBSOCKET_TOKEN_USER)
        return gateway_auth_token(ctx, gateway, arena, message->token, caller);
    header = bb_arena_printf(arena, "BitBend %.*s", BB_SLICE_ARG(message->token));
    rc = gateway_auth_caller(ctx, gateway, arena, bb_slice_str(header), caller);
    if (rc == BB_OK && message->impersonating.size > 0)
        caller->identity = gateway_ask_identity(arena, message->impersonating);
    return rc;
}

static void refuse_token(struct websocket_client *client, const char *why, uint32_t base_version,
                         bool is_answer)
{
    struct bb_buf error;

    bb_buf_init(&error);
    gateway_websocket_auth_error(&error, why, base_version, is_answer);
    gateway_websocket_send(client, bb_buf_slice(&error));
    bb_buf_fini(&error);
}

static void authenticate(struct bb_ctx *ctx, struct websocket_client *client,
                         const struct websocket_message *message)
{
    struct bb_arena *arena = bb_arena_new(0);
    struct caller caller;
    int rc;

    if (message->base_version != client->identity) {
        gateway_websocket_shut(client, 1002,
                               "BadRequest: the version of the identity does not follow");
        bb_arena_free(arena);
        return;
    }
    rc = take_token(ctx, client->websockets->gateway, arena, message, &caller);
    if (rc == BB_OK) {
        client->identity++;
        client->is_expired = false;
        gateway_session_become(client->session, caller.identity, caller.is_admin,
                               caller.expires_us);
    } else if (rc == BB_UNAVAILABLE) {
        gateway_websocket_shut(client, 1013,
                               "InternalServerError: the keys of the issuer are away");
    } else {
        refuse_token(client, ctx->error, message->base_version, true);
    }
    bb_arena_free(arena);
}

/* Nothing more is shown or done in the old name; the client comes with a new token. */
static void on_expired(struct sink *sink, struct session *session)
{
    struct websocket_client *client = bb_container(sink, struct websocket_client, sink);

    (void)session;
    client->is_expired = true;
    if (!client->is_closing)
        refuse_token(client, "The token has expired.", client->identity - 1, false);
}

static void handle(struct bb_ctx *ctx, struct websocket_client *client,
                   const struct websocket_message *message)
{
    bool is_connect = message->kind == WEBSOCKET_CONNECT;

    if (message->kind == WEBSOCKET_EVENT)
        return;
    if (is_connect == (client->session != NULL)) {
        gateway_websocket_shut(client, 1002,
                               is_connect ? "BadRequest: Connect came twice"
                                          : "BadRequest: the first message is Connect");
        return;
    }
    switch (message->kind) {
    case WEBSOCKET_CONNECT:
        connect_client(client, message);
        break;
    case WEBSOCKET_MODIFY:
        gateway_websocket_modify(ctx, client, message);
        break;
    case WEBSOCKET_MUTATION:
        gateway_websocket_mutate(ctx, client, message);
        break;
    case WEBSOCKET_ACTION:
        gateway_websocket_act(ctx, client, message);
        break;
    case WEBSOCKET_AUTHENTICATE:
        authenticate(ctx, client, message);
        break;
    case WEBSOCKET_EVENT:
        break;
    }
}

static void on_message(void *arg, struct bb_slice text)
{
    struct websocket_client *client = bb_cast(struct websocket_client, arg, WEBSOCKET_MAGIC);
    struct bb_ctx ctx = *client->websockets->gateway->ctx;
    struct websocket_message message;
    struct bb_buf value;
    struct bb_buf reason;
    int rc;

    if (client->is_closing)
        return;
    bb_buf_init(&value);
    rc = bb_json_decode(&ctx, text, false, &value);
    if (rc == BB_OK)
        rc = gateway_websocket_decode(&ctx, bb_buf_slice(&value), &message);
    if (rc == BB_OK) {
        handle(&ctx, client, &message);
    } else {
        bb_buf_init(&reason);
        bb_buf_printf(&reason, "BadRequest: %s", ctx.error);
        bb_buf_append_byte(&reason, '\0');
        gateway_websocket_shut(client, 1008, (const char *)reason.data);
        bb_buf_fini(&reason);
    }
    bb_buf_fini(&value);
}

/* ---- begin and end ---- */

static void client_free(struct websocket_client *client)
{
    struct websockets *websockets = client->websockets;

    client->is_closing = true;
    gateway_websocket_leave_mutations(client);
    gateway_websocket_leave_actions(client);
    gateway_session_free(client->session);
    gateway_websocket_forget_queries(client);
    bb_list_remove(&client->link);
    websockets->count--;
    bb_metric_set(websockets->clients_now, (int64_t)websockets->count);
    bb_buf_fini(&client->session_id);
    client->magic = 0;
    bb_free(client);
}

static void on_end(void *arg, enum bb_http_end end)
{
    struct websocket_client *client = bb_cast(struct websocket_client, arg, WEBSOCKET_MAGIC);

    if (end == BB_HTTP_END_STUCK || end == BB_HTTP_END_FULL) {
        bb_info(client->websockets->gateway->ctx, "gateway.stream_dropped", "why=%s",
                bb_http_end_name(end));
    }
    client_free(client);
}

static void on_sent(void *arg)
{
    struct websocket_client *client = bb_cast(struct websocket_client, arg, WEBSOCKET_MAGIC);

    gateway_websocket_run_next(client);
    gateway_websocket_release(client);
}

static void on_pong(void *arg)
{
    struct websocket_client *client = bb_cast(struct websocket_client, arg, WEBSOCKET_MAGIC);

    client->awaits_pong = false;
    gateway_websocket_release(client);
}

/* "/api/1.48.0/sync": one part between. */
bool gateway_websocket_is_path(struct bb_slice path)
{
    static const char before[] = "/api/";
    static const char after[] = "/sync";
    size_t size = path.size;

    if (size <= sizeof(before) - 1 + sizeof(after) - 1 ||
        memcmp(path.data, before, sizeof(before) - 1) != 0 ||
        memcmp(path.data + size - (sizeof(after) - 1), after, sizeof(after) - 1) != 0)
        return false;
    return memchr(path.data + sizeof(before) - 1, '/',
                  size - (sizeof(before) - 1) - (sizeof(after) - 1)) == NULL;
}

void gateway_api_websocket(struct gateway *gateway, struct bb_http_request *request)
{
    struct websockets *websockets = gateway->websockets;
    struct bb_slice path = bb_http_path(request);
    struct websocket_client *client;

    if (!bb_http_wants_socket(request)) {
        bb_http_respond_error(request, 400, "BadRequest",
                              "This path is a WebSocket: open it as one.");
        return;
    }
    if (gateway->is_stopping) {
        bb_http_respond_error(request, 503, "Unavailable",
                              "This gateway is stopping; connect again.");
        return;
    }
    client = bb_alloc_zero(1, sizeof(*client));
    client->magic = WEBSOCKET_MAGIC;
    client->takes_chunks = gateway_websocket_takes_chunks(
        bb_slice(path.data + strlen("/api/"), path.size - strlen("/api/")));
    client->sink = (struct sink){ .deliver = gateway_websocket_deliver,
                                  .is_blocked = gateway_websocket_is_blocked,
                                  .expired = on_expired };
    client->websockets = websockets;
    bb_list_init(&client->notes);
    bb_list_init(&client->pages);
    bb_list_init(&client->mutations);
    bb_list_init(&client->actions);
    client->http =
        bb_http_socket_begin(request, &(struct bb_http_socket_events){ .on_message = on_message,
                                                                       .on_end = on_end,
                                                                       .on_sent = on_sent,
                                                                       .on_pong = on_pong,
                                                                       .arg = client });
    if (client->http == NULL) {
        bb_free(client);
        return;
    }
    bb_list_push_back(&websockets->clients, &client->link);
    websockets->count++;
    bb_metric_set(websockets->clients_now, (int64_t)websockets->count);
    if (websockets->count == 1)
        bb_timer_start(websockets->tick, TICK_MS, TICK_MS);
}

/* ---- what the feed brings ---- */

void gateway_websockets_record(struct gateway *gateway, uint64_t tx, struct bb_slice request_id)
{
    struct websockets *websockets = gateway->websockets;

    bb_list_each(item, &websockets->running) {
        struct websocket_mutation *mutation = bb_container(item, struct websocket_mutation, link);

        if (request_id.size == sizeof(mutation->call.request_id) &&
            memcmp(mutation->call.request_id, request_id.data, request_id.size) == 0)
            mutation->committed_tx = tx;
    }
}

/* ---- time ---- */

static void tick_client(struct websocket_client *client, bool is_second)
{
    static const char ping[] = "{\"type\":\"Ping\"}";

    gateway_websocket_release(client);
    if (!is_second || client->is_closing)
        return;
    client->seconds++;
    if (client->session == NULL && client->seconds >= WEBSOCKET_CONNECT_S)
        gateway_websocket_shut(client, 1002, "BadRequest: no Connect came");
    else if (client->seconds >= WEBSOCKET_PING_SECONDS && client->session != NULL &&
             !bb_http_stream_is_blocked(client->http))
        gateway_websocket_send(client, bb_slice_str(ping));
}

static void on_tick(void *arg)
{
    struct websockets *websockets = arg;

    websockets->ticks++;
    if (websockets->count == 0)
        bb_timer_stop(websockets->tick);
    bb_list_each_safe(item, &websockets->clients) {
        tick_client(bb_container(item, struct websocket_client, link),
                    websockets->ticks % (1000u / TICK_MS) == 0);
    }
}

static void on_later(void *arg)
{
    struct websockets *websockets = arg;

    websockets->is_later = false;
    bb_list_each_safe(item, &websockets->clients)
        gateway_websocket_fix_pages(bb_container(item, struct websocket_client, link));
}

void gateway_websocket_later(struct websockets *websockets)
{
    if (!websockets->is_later)
        bb_timer_start(websockets->later, 0, 0);
    websockets->is_later = true;
}

/* ---- all of them ---- */

void gateway_websockets_open(struct gateway *gateway)
{
    struct websockets *websockets = bb_alloc_zero(1, sizeof(*websockets));

    gateway->websockets = websockets;
    websockets->gateway = gateway;
    bb_list_init(&websockets->clients);
    bb_list_init(&websockets->running);
    websockets->clients_now =
        bb_metric("bb_gateway_websockets", BB_GAUGE, "WebSockets of compatible clients.");
    websockets->mutations = bb_metric("bb_gateway_websocket_mutations_total", BB_COUNTER,
                                      "Mutations that came over WebSockets.");
    websockets->transitions = bb_metric("bb_gateway_websocket_transitions_total", BB_COUNTER,
                                        "Transitions sent to WebSockets.");
    websockets->tick = bb_timer_new(gateway->loop, on_tick, websockets);
    websockets->later = bb_timer_new(gateway->loop, on_later, websockets);
}

void gateway_websockets_bye(struct gateway *gateway)
{
    bb_list_each_safe(item, &gateway->websockets->clients) {
        gateway_websocket_shut(bb_container(item, struct websocket_client, link), 1012,
                               "InternalServerError: the server restarts");
    }
}

void gateway_websockets_close(struct gateway *gateway)
{
    struct websockets *websockets = gateway->websockets;

    if (websockets == NULL)
        return;
    bb_assert(websockets->count == 0 && bb_list_is_empty(&websockets->running));
    bb_timer_free(websockets->tick);
    bb_timer_free(websockets->later);
    bb_free(websockets);
    gateway->websockets = NULL;
}

size_t gateway_websockets_count(const struct gateway *gateway)
{
    return gateway->websockets->count;
}
