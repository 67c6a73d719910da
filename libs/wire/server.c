#include "local.h"
#include "sp.h"

/* Structs of small sub-messages take several times the bytes that they come as. */
#define ARENA_MAX ((size_t)4 * BB_WIRE_MESSAGE_MAX)

/* One of the three. */
struct bb_server {
    struct wire_local_server *local;
    struct wire_sp_server *tcp;
    struct wire_nng_server *remote;
};

int bb_server_open(struct bb_ctx *ctx, struct bb_loop *loop,
                   const struct bb_server_options *options, struct bb_server **server)
{
    struct bb_server *opened = bb_alloc_zero(1, sizeof *opened);
    int rc;

    if (wire_is_local(options->url)) {
        rc = wire_local_server_open(ctx, loop, options, &opened->local);
    } else if (wire_sp_is_url(options->url)) {
        rc = wire_sp_server_open(ctx, loop, options, &opened->tcp);
    } else {
        rc = wire_nng_server_open(ctx, loop, options, &opened->remote);
    }
    if (rc == BB_OK) {
        *server = opened;
    } else {
        bb_free(opened);
    }
    return rc;
}

void bb_server_close(struct bb_server *server)
{
    if (server == NULL)
        return;
    if (server->local != NULL)
        wire_local_server_close(server->local);
    wire_sp_server_close(server->tcp);
    wire_nng_server_close(server->remote);
    bb_free(server);
}

void bb_exchange_reply(struct bb_exchange *exchange, const ProtobufCMessage *message)
{
    switch (exchange->kind) {
    case WIRE_EXCHANGE_LOCAL:
        wire_local_reply(exchange, message);
        return;
    case WIRE_EXCHANGE_SP:
        wire_sp_reply(exchange, message);
        return;
    case WIRE_EXCHANGE_NNG:
        wire_nng_reply(exchange, message);
        return;
    }
    BB_UNREACHABLE("all kinds are listed");
}

struct bb_arena *bb_exchange_arena(struct bb_exchange *exchange)
{
    if (exchange->arena == NULL)
        exchange->arena = bb_arena_new(ARENA_MAX);
    return exchange->arena;
}
