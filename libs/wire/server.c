#include "local.h"

/* Structs of small sub-messages take several times the bytes that they come as. */
#define ARENA_MAX ((size_t)4 * BB_WIRE_MESSAGE_MAX)

/* One of the two. */
struct bb_server {
    struct wire_local_server *local;
    struct wire_nng_server *remote;
};

int bb_server_open(struct bb_ctx *ctx, struct bb_loop *loop,
                   const struct bb_server_options *options, struct bb_server **server)
{
    struct bb_server *opened = bb_alloc_zero(1, sizeof *opened);
    int rc = wire_is_local(options->url)
                 ? wire_local_server_open(ctx, loop, options, &opened->local)
                 : wire_nng_server_open(ctx, loop, options, &opened->remote);

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
    wire_nng_server_close(server->remote);
    bb_free(server);
}

void bb_exchange_reply(struct bb_exchange *exchange, const ProtobufCMessage *message)
{
    if (exchange->is_local) {
        wire_local_reply(exchange, message);
    } else {
        wire_nng_reply(exchange, message);
    }
}

struct bb_arena *bb_exchange_arena(struct bb_exchange *exchange)
{
    if (exchange->arena == NULL)
        exchange->arena = bb_arena_new(ARENA_MAX);
    return exchange->arena;
}
