#include "local.h"
#include "sp.h"

/* One of the three. */
struct bb_peer {
    char *url;
    struct wire_local_peer *local;
    struct wire_sp_peer *tcp;
    struct wire_nng_peer *remote;
};

int bb_peer_open(struct bb_ctx *ctx, struct bb_loop *loop, const struct bb_peer_options *options,
                 struct bb_peer **peer)
{
    struct bb_peer *opened = bb_alloc_zero(1, sizeof *opened);
    int rc = BB_OK;

    opened->url = bb_strdup(options->url);
    if (wire_is_local(options->url)) {
        opened->local = wire_local_peer_open(loop, options);
    } else if (wire_sp_is_url(options->url)) {
        rc = wire_sp_peer_open(ctx, loop, options, &opened->tcp);
    } else {
        rc = wire_nng_peer_open(ctx, loop, options, &opened->remote);
    }
    if (rc == BB_OK) {
        *peer = opened;
    } else {
        bb_peer_close(opened);
    }
    return rc;
}

void bb_peer_close(struct bb_peer *peer)
{
    if (peer == NULL)
        return;
    if (peer->local != NULL)
        wire_local_peer_close(peer->local);
    wire_sp_peer_close(peer->tcp);
    wire_nng_peer_close(peer->remote);
    bb_free(peer->url);
    bb_free(peer);
}

const char *bb_peer_url(const struct bb_peer *peer)
{
    return peer->url;
}

size_t bb_peer_outstanding(const struct bb_peer *peer)
{
    if (peer->local != NULL)
        return wire_local_peer_outstanding(peer->local);
    if (peer->tcp != NULL)
        return wire_sp_peer_outstanding(peer->tcp);
    return wire_nng_peer_outstanding(peer->remote);
}

bool bb_peer_is_connected(const struct bb_peer *peer)
{
    if (peer->local != NULL)
        return true;
    if (peer->tcp != NULL)
        return wire_sp_peer_is_connected(peer->tcp);
    return wire_nng_peer_is_connected(peer->remote);
}

int bb_peer_request(struct bb_ctx *ctx, struct bb_peer *peer, const ProtobufCMessage *message,
                    uint32_t timeout_ms, bb_peer_reply_fn *done, void *arg)
{
    if (peer->local != NULL)
        return wire_local_peer_request(ctx, peer->local, message, timeout_ms, done, arg);
    if (peer->tcp != NULL)
        return wire_sp_peer_request(ctx, peer->tcp, message, timeout_ms, done, arg);
    return wire_nng_peer_request(ctx, peer->remote, message, timeout_ms, done, arg);
}
