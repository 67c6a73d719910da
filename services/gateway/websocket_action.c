/*
 * Actions of a WebSocket client: all at once, each sent to a runner one time. One whose client has
 * left goes on, and nobody hears of its end.
 */
#include "action.h"
#include "answer.h"
#include "websocket_internal.h"

struct websocket_action {
    struct bb_list link;             /* in client->actions */
    struct websocket_client *client; /* NULL: it has left */
    struct gateway *gateway;
    struct action action;
    uint32_t request_id;
    char *path;
    struct bb_buf args, identity;
    bool is_admin;
};

static void action_free(struct websocket_action *item)
{
    bb_list_remove(&item->link);
    if (item->client != NULL)
        item->client->action_count--;
    bb_free(item->path);
    bb_buf_fini(&item->args);
    bb_buf_fini(&item->identity);
    bb_free(item);
}

static void on_done(struct action *action, int status, const char *error,
                    const Bb__Proto__CallReply *reply)
{
    struct websocket_action *item = action->arg;
    struct bb_ctx ctx = *item->gateway->ctx;
    struct outcome outcome = { .status = status,
                               .error = error,
                               .reply = reply,
                               .kind = BB__PROTO__FUNCTION_KIND__KIND_ACTION,
                               .request_id = action->id,
                               .format = BB_JSON_ENCODED,
                               .shows_errors = item->gateway->shows_errors || item->is_admin };

    if (status == BB_OK && reply->value.len > 0 &&
        bb_value_validate(&ctx, bb_pb_slice(reply->value)) != BB_OK) {
        outcome.status = BB_INTERNAL;
        outcome.error = "A runner's answer could not be read.";
    }
    if (item->client != NULL && !item->client->is_closing)
        gateway_websocket_respond(item->client, "ActionResponse", item->request_id, &outcome);
    action_free(item);
}

static struct websocket_action *action_new(struct websocket_client *client,
                                           const struct websocket_message *message,
                                           const char *path)
{
    struct websocket_action *item = bb_alloc_zero(1, sizeof(*item));

    item->client = client;
    item->gateway = client->websockets->gateway;
    item->request_id = message->request_id;
    item->path = bb_strdup(path);
    item->is_admin = gateway_session_is_admin(client->session);
    bb_buf_append_slice(&item->args, message->args);
    bb_buf_append_slice(&item->identity, gateway_session_identity(client->session));
    bb_list_push_back(&client->actions, &item->link);
    client->action_count++;
    item->action.path = item->path;
    item->action.args = bb_buf_slice(&item->args);
    item->action.identity = bb_buf_slice(&item->identity);
    item->action.may_call_internal = item->is_admin;
    item->action.done = on_done;
    item->action.arg = item;
    return item;
}

static int start(struct bb_ctx *ctx, struct websocket_client *client,
                 const struct websocket_message *message, const char *path)
{
    struct websocket_action *item = action_new(client, message, path);
    int rc = gateway_action_start(ctx, item->gateway, &item->action);

    if (rc != BB_OK)
        action_free(item);
    return rc;
}

void gateway_websocket_act(struct bb_ctx *ctx, struct websocket_client *client,
                           const struct websocket_message *message)
{
    struct bb_arena *arena = bb_arena_new(0);
    const char *path;
    int rc = gateway_ask_path(ctx, arena, message->path, &path);

    if (rc == BB_OK && client->is_expired)
        rc = bb_fail(ctx, BB_UNAUTHORIZED, "The token has expired.");
    if (rc == BB_OK && message->has_component)
        rc = bb_fail(ctx, BB_BAD_REQUEST, "Could not find the component: there are none here.");
    if (rc == BB_OK && client->action_count >= WEBSOCKET_ACTIONS_MAX)
        rc = bb_fail(ctx, BB_OVERLOADED, "Too many actions of this client are under way.");
    if (rc == BB_OK)
        rc = start(ctx, client, message, path);
    if (rc != BB_OK) {
        gateway_websocket_respond_failure(client, "ActionResponse", message->request_id,
                                          ctx->error);
    }
    bb_arena_free(arena);
}

void gateway_websocket_leave_actions(struct websocket_client *client)
{
    while (!bb_list_is_empty(&client->actions)) {
        struct websocket_action *item =
            bb_container(client->actions.next, struct websocket_action, link);

        bb_list_remove(&item->link);
        item->client = NULL;
    }
}
