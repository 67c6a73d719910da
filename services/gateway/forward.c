#include "forward.h"

#include <stdio.h>

#include "gateway.pb-c.h"

#include "bb/conf.h"
#include "bb/wire_validate.h"
#include "sync.h"

#define PEERS_MAX  64u
#define TIMEOUT_MS 5000u
#define CONTEXTS   64u
#define MAC_SIZE   8u

struct peer {
    char address[256];
    struct bb_peer *peer;
    uint64_t used; /* by `uses`: the least used lately makes room */
};

struct forward {
    struct gateway *gateway;
    struct bb_server *server;
    struct bb_arena *arena;
    uint8_t key[32];
    char address[256]; /* ours; empty: others cannot reach this gateway */
    struct peer peers[PEERS_MAX];
    size_t peer_count;
    uint64_t uses;
    bool is_closing;
};

/* ---- names ---- */

/* 32 bytes of the key, a purpose and what it is for. */
static void derive(const struct forward *forward, const char *purpose, struct bb_slice what,
                   uint8_t to[32])
{
    struct bb_buf bytes;

    bb_buf_init(&bytes);
    bb_buf_append(&bytes, forward->key, sizeof(forward->key));
    bb_buf_append_str(&bytes, purpose);
    bb_buf_append_slice(&bytes, what);
    bb_sha256(bb_buf_slice(&bytes), to);
    bb_buf_fini(&bytes);
}

/* The same operation hides and shows. */
static void mask(const struct forward *forward, const uint8_t id[STREAM_ID_SIZE], uint8_t *bytes,
                 size_t size)
{
    uint8_t block[32];

    for (size_t i = 0; i < size; i++) {
        if (i % sizeof(block) == 0) {
            uint8_t seed[STREAM_ID_SIZE + 4];

            memcpy(seed, id, STREAM_ID_SIZE);
            bb_put_le32(seed + STREAM_ID_SIZE, (uint32_t)i);
            derive(forward, "mask", bb_slice(seed, sizeof(seed)), block);
        }
        bytes[i] ^= block[i % sizeof(block)];
    }
}

static void sign(const struct forward *forward, const uint8_t id[STREAM_ID_SIZE],
                 struct bb_slice address, uint8_t mac[32])
{
    struct bb_buf bytes;

    bb_buf_init(&bytes);
    bb_buf_append(&bytes, id, STREAM_ID_SIZE);
    bb_buf_append_slice(&bytes, address);
    derive(forward, "sign", bb_buf_slice(&bytes), mac);
    bb_buf_fini(&bytes);
}

void gateway_forward_name(const struct gateway *gateway, const uint8_t id[STREAM_ID_SIZE],
                          struct bb_buf *to)
{
    const struct forward *forward = gateway->forward;
    uint8_t address[256];
    uint8_t mac[32];
    size_t size = strlen(forward->address);

    bb_hex_append(to, bb_slice(id, STREAM_ID_SIZE));
    if (size == 0)
        return;
    memcpy(address, forward->address, size);
    sign(forward, id, bb_slice(address, size), mac);
    mask(forward, id, address, size);
    bb_buf_append_byte(to, '.');
    bb_hex_append(to, bb_slice(address, size));
    bb_buf_append_byte(to, '.');
    bb_hex_append(to, bb_slice(mac, MAC_SIZE));
}

static int not_ours(struct bb_ctx *ctx)
{
    return bb_fail(ctx, BB_NOT_FOUND, "There is no such session; open a new one at /api/sync.");
}

/* The next part of a name, up to a dot or the end, from hex. */
static bool take_part(struct bb_ctx *ctx, struct bb_slice *rest, struct bb_buf *part)
{
    const uint8_t *dot = rest->size > 0 ? memchr(rest->data, '.', rest->size) : NULL;
    size_t size = dot == NULL ? rest->size : (size_t)(dot - rest->data);

    bb_buf_clear(part);
    if (bb_hex_decode(ctx, bb_slice(rest->data, size), part) != BB_OK)
        return false;
    size += dot != NULL;
    *rest = bb_slice(rest->data + size, rest->size - size);
    return true;
}

static bool parse_address(struct bb_ctx *ctx, const struct forward *forward, struct bb_slice rest,
                          struct bb_buf *part, struct session_name *name)
{
    uint8_t mac[32];
    size_t size;

    if (!take_part(ctx, &rest, part) || part->size == 0 || part->size >= sizeof(name->address))
        return false;
    size = part->size;
    memcpy(name->address, part->data, size);
    name->address[size] = '\0';
    mask(forward, name->id, (uint8_t *)name->address, size);
    sign(forward, name->id, bb_slice((uint8_t *)name->address, size), mac);
    if (!take_part(ctx, &rest, part) || rest.size > 0 || part->size != MAC_SIZE)
        return false;
    name->is_here = strcmp(name->address, forward->address) == 0;
    return bb_equal_constant_time(bb_buf_slice(part), bb_slice(mac, MAC_SIZE));
}

int gateway_forward_parse(struct bb_ctx *ctx, const struct gateway *gateway, struct bb_slice text,
                          struct session_name *name)
{
    struct bb_slice rest = text;
    struct bb_buf part;
    bool is_ours;

    bb_buf_init(&part);
    is_ours = text.size < 1024 && take_part(ctx, &rest, &part) && part.size == STREAM_ID_SIZE;
    if (is_ours) {
        memcpy(name->id, part.data, STREAM_ID_SIZE);
        name->is_here = true;
        if (rest.size > 0)
            is_ours = parse_address(ctx, gateway->forward, rest, &part, name);
    }
    bb_buf_fini(&part);
    return is_ours ? BB_OK : not_ours(ctx);
}

/* ---- sending ---- */

struct passing {
    struct gateway *gateway;
    struct bb_http_request *request;
};

static void on_reply(void *arg, int status, struct bb_slice bytes)
{
    struct passing *passing = arg;
    struct forward *forward = passing->gateway->forward;
    struct bb_ctx ctx = *passing->gateway->ctx;
    Bb__Proto__GatewayReply *reply = NULL;

    if (status == BB_OK) {
        status =
            bb_unpack(&ctx, forward->arena, &bb__proto__gateway_reply__descriptor, bytes, &reply);
    }
    if (status != BB_OK) {
        /* That gateway is gone, and its sessions with it: their clients open new ones. */
        status = bb_fail(&ctx, BB_UNAVAILABLE,
                         "The gateway of this session does not answer; the session may be over.");
    } else if (reply->status != BB_OK) {
        status = bb_fail(&ctx, (int)reply->status, "%s", reply->error);
    }
    if (status == BB_OK)
        gateway_respond_json(passing->request, 200, bb_pb_slice(reply->body));
    else
        gateway_refuse(&ctx, passing->request, status);
    bb_arena_reset(forward->arena);
    bb_free(passing);
}

static struct peer *find_peer(struct bb_ctx *ctx, struct forward *forward, const char *address)
{
    struct peer *peer = NULL;

    for (size_t i = 0; i < forward->peer_count; i++) {
        if (strcmp(forward->peers[i].address, address) == 0)
            return &forward->peers[i];
    }
    if (forward->peer_count < PEERS_MAX) {
        peer = &forward->peers[forward->peer_count];
    } else {
        for (size_t i = 0; i < PEERS_MAX; i++) {
            struct peer *other = &forward->peers[i];

            if (bb_peer_outstanding(other->peer) == 0 && (peer == NULL || other->used < peer->used))
                peer = other;
        }
        if (peer == NULL)
            return NULL;
        bb_peer_close(peer->peer);
        peer->peer = NULL;
    }
    if (bb_peer_open(ctx, forward->gateway->loop, &(struct bb_peer_options){ .url = address },
                     &peer->peer) != BB_OK) {
        /* An address that never worked: the last place takes over this one. */
        if (forward->peer_count == PEERS_MAX)
            *peer = forward->peers[--forward->peer_count];
        return NULL;
    }
    if (peer == &forward->peers[forward->peer_count])
        forward->peer_count++;
    (void)snprintf(peer->address, sizeof(peer->address), "%s", address);
    return peer;
}

void gateway_forward(struct gateway *gateway, struct bb_http_request *request,
                     const struct session_name *name, const struct caller *caller)
{
    struct forward *forward = gateway->forward;
    Bb__Proto__GatewayRequest message = BB__PROTO__GATEWAY_REQUEST__INIT;
    Bb__Proto__ChangeSession change = BB__PROTO__CHANGE_SESSION__INIT;
    struct bb_ctx ctx = *gateway->ctx;
    struct peer *peer = find_peer(&ctx, forward, name->address);
    struct passing *passing;

    message.op_case = BB__PROTO__GATEWAY_REQUEST__OP_CHANGE;
    message.change = &change;
    change.session = bb_slice_pb(bb_slice(name->id, STREAM_ID_SIZE));
    change.body = bb_slice_pb(bb_http_body(request));
    change.identity = bb_slice_pb(caller->identity);
    change.is_admin = caller->is_admin;
    change.expires_us = caller->expires_us;
    passing = bb_alloc_zero(1, sizeof(*passing));
    *passing = (struct passing){ gateway, request };
    if (peer != NULL)
        peer->used = ++forward->uses;
    if (peer == NULL ||
        bb_peer_request(&ctx, peer->peer, &message.base, TIMEOUT_MS, on_reply, passing) != BB_OK) {
        bb_free(passing);
        gateway_refuse(&ctx, request,
                       bb_fail(&ctx, BB_UNAVAILABLE,
                               "The gateway of this session cannot be asked now; try again."));
    }
}

/* ---- receiving ---- */

static void on_request(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
{
    struct gateway *gateway = arg;
    struct bb_ctx ctx = *gateway->ctx;
    Bb__Proto__GatewayRequest *request = NULL;
    Bb__Proto__GatewayReply reply;
    struct bb_buf answer;
    int rc = bb_unpack(&ctx, bb_exchange_arena(exchange), &bb__proto__gateway_request__descriptor,
                       bytes, &request);

    bb_buf_init(&answer);
    bb__proto__gateway_reply__init(&reply);
    if (rc == BB_OK)
        rc = bb_gateway_request_validate(&ctx, request);
    if (rc == BB_OK) {
        const Bb__Proto__ChangeSession *change = request->change;
        struct caller caller = { .is_admin = change->is_admin,
                                 .identity = bb_pb_slice(change->identity),
                                 .expires_us = change->expires_us };

        rc = gateway_sync_change(&ctx, gateway, change->session.data, bb_pb_slice(change->body),
                                 &caller, &answer);
    }
    reply.status = (uint32_t)rc;
    if (rc != BB_OK)
        reply.error = ctx.error;
    reply.body = bb_slice_pb(bb_buf_slice(&answer));
    bb_exchange_reply(exchange, &reply.base);
    bb_buf_fini(&answer);
}

/* ---- open and close ---- */

int gateway_forward_open(struct bb_ctx *ctx, struct gateway *gateway, const struct bb_conf *conf)
{
    const char *listen = bb_conf_text(conf, "peer-listen");
    const char *address = bb_conf_text(conf, "peer-address");
    struct forward *forward = bb_alloc_zero(1, sizeof(*forward));
    struct bb_slice key = bb_buf_slice(&gateway->admin_key);

    gateway->forward = forward;
    forward->gateway = gateway;
    forward->arena = bb_arena_new(0);
    if (key.size == 0)
        key = bb_slice(gateway->random_key, sizeof(gateway->random_key));
    bb_sha256(key, forward->key);
    if (listen == NULL || listen[0] == '\0')
        return BB_OK;
    if (address == NULL || address[0] == '\0')
        address = listen;
    if (strlen(address) >= sizeof(forward->address))
        return bb_fail(ctx, BB_BAD_REQUEST, "option peer-address: at most 255 characters");
    (void)snprintf(forward->address, sizeof(forward->address), "%s", address);
    return bb_server_open(
        ctx, gateway->loop,
        &(struct bb_server_options){
            .url = listen, .context_count = CONTEXTS, .handle = on_request, .arg = gateway },
        &forward->server);
}

void gateway_forward_close(struct gateway *gateway)
{
    struct forward *forward = gateway->forward;

    if (forward == NULL)
        return;
    bb_server_close(forward->server);
    for (size_t i = 0; i < forward->peer_count; i++)
        bb_peer_close(forward->peers[i].peer);
    bb_arena_free(forward->arena);
    bb_free(forward);
    gateway->forward = NULL;
}
