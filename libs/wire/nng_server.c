#include "wire.h"

#include <nng/protocol/reqrep0/rep.h>
#include <stdatomic.h>

#include "bb/obs.h"

#define SEND_MS 10000

enum phase {
    RECEIVING,
    HANDLING,
    SENDING
};

struct nng_exchange {
    struct bb_exchange base;
    struct wire_item item;
    struct wire_nng_server *server;
    nng_ctx ctx;
    nng_aio *aio;
    enum phase phase; /* changes hands with the exchange, from thread to thread */
    nng_msg *request;
};

struct wire_nng_server {
    struct bb_loop *loop;
    nng_socket socket;
    struct wire_door *door;
    struct nng_exchange *exchanges;
    size_t exchange_count;
    void (*handle)(void *arg, struct bb_exchange *exchange, struct bb_slice request);
    void *arg;
    atomic_bool is_closing;
    /* One for the opener and one for each exchange that a handler holds; the last one frees. */
    atomic_size_t references;
};

static void release(struct wire_nng_server *server)
{
    if (atomic_fetch_sub(&server->references, 1) != 1)
        return;
    for (size_t i = 0; i < server->exchange_count; i++) {
        struct nng_exchange *exchange = &server->exchanges[i];
        nng_msg_free(nng_aio_get_msg(exchange->aio)); /* a send that never began */
        nng_aio_free(exchange->aio);
        if (exchange->request != NULL)
            nng_msg_free(exchange->request);
        bb_arena_free(exchange->base.arena);
    }
    bb_free(server->exchanges);
    bb_free(server);
}

static void receive(struct nng_exchange *exchange)
{
    exchange->phase = RECEIVING;
    nng_aio_set_timeout(exchange->aio, NNG_DURATION_INFINITE);
    nng_ctx_recv(exchange->ctx, exchange->aio);
}

/* On a thread of nng. */
static void on_aio(void *arg)
{
    struct nng_exchange *exchange = arg;
    int rc = nng_aio_result(exchange->aio);

    if (exchange->phase == SENDING) {
        if (rc != 0) {
            nng_msg_free(nng_aio_get_msg(exchange->aio)); /* a failed send leaves it with us */
            nng_aio_set_msg(exchange->aio, NULL);
        }
        if (rc != NNG_ECLOSED && rc != NNG_ECANCELED)
            receive(exchange); /* the asker may be gone: that ends nothing here */
        return;
    }
    if (rc == NNG_ECLOSED || rc == NNG_ECANCELED)
        return;
    if (rc != 0) {
        receive(exchange);
        return;
    }
    exchange->request = nng_aio_get_msg(exchange->aio);
    nng_aio_set_msg(exchange->aio, NULL);
    exchange->phase = HANDLING;
    wire_door_push(exchange->server->door, &exchange->item);
}

static void take(void *arg, struct wire_item *oldest)
{
    struct wire_nng_server *server = arg;

    while (oldest != NULL) {
        struct nng_exchange *exchange = bb_container(oldest, struct nng_exchange, item);
        oldest = oldest->next;
        atomic_fetch_add(&server->references, 1);
        server->handle(server->arg, &exchange->base,
                       bb_slice(nng_msg_body(exchange->request), nng_msg_len(exchange->request)));
    }
}

static int open_exchanges(struct wire_nng_server *server, size_t count)
{
    server->exchanges = bb_alloc_zero(count, sizeof *server->exchanges);
    for (size_t i = 0; i < count; i++) {
        struct nng_exchange *exchange = &server->exchanges[i];
        exchange->server = server;
        int rc = nng_ctx_open(&exchange->ctx, server->socket);
        if (rc == 0)
            rc = nng_aio_alloc(&exchange->aio, on_aio, exchange);
        if (rc != 0)
            return rc;
        server->exchange_count++;
    }
    return 0;
}

static int listen_at(struct wire_nng_server *server, const char *url)
{
    nng_listener listener;
    int rc = nng_listener_create(&listener, server->socket, url);

    if (rc != 0)
        return rc;
    (void)nng_listener_set_size(listener, NNG_OPT_RECVMAXSZ, BB_WIRE_MESSAGE_MAX);
    (void)nng_listener_set_bool(listener, NNG_OPT_TCP_KEEPALIVE,
                                true); /* fails where there is none */
    if (strncmp(url, "ipc:", 4) == 0)
        (void)nng_listener_set_int(listener, NNG_OPT_IPC_PERMISSIONS, 0600);
    return nng_listener_start(listener, 0);
}

int wire_nng_server_open(struct bb_ctx *ctx, struct bb_loop *loop,
                         const struct bb_server_options *options, struct wire_nng_server **server)
{
    struct wire_nng_server *opened = bb_alloc_zero(1, sizeof *opened);

    opened->loop = loop;
    opened->handle = options->handle;
    opened->arg = options->arg;
    atomic_init(&opened->references, 1);
    opened->door = wire_door_new(loop, take, opened);
    int rc = nng_rep0_open(&opened->socket);
    if (rc == 0)
        rc = nng_socket_set_size(opened->socket, NNG_OPT_RECVMAXSZ, BB_WIRE_MESSAGE_MAX);
    if (rc == 0) {
        rc = open_exchanges(opened, options->context_count == 0 ? WIRE_CONTEXTS_DEFAULT
                                                                : options->context_count);
    }
    if (rc == 0)
        rc = listen_at(opened, options->url);
    if (rc != 0) {
        if (rc == NNG_EADDRINUSE) {
            rc = wire_fail_in_use(ctx, options->url);
        } else {
            rc = bb_fail(ctx, rc == NNG_EADDRINVAL || rc == NNG_EINVAL ? BB_BAD_REQUEST : BB_IO,
                         "listening at %s: %s", options->url, nng_strerror(rc));
        }
        wire_nng_server_close(opened);
        return rc;
    }
    for (size_t i = 0; i < opened->exchange_count; i++)
        receive(&opened->exchanges[i]);
    *server = opened;
    return BB_OK;
}

void wire_nng_server_close(struct wire_nng_server *server)
{
    if (server == NULL)
        return;
    bb_assert(!atomic_exchange(&server->is_closing, true));
    /* Before the socket is closed: no thread of nng may begin to receive while that happens. */
    for (size_t i = 0; i < server->exchange_count; i++)
        nng_aio_stop(server->exchanges[i].aio);
    if (nng_socket_id(server->socket) > 0)
        (void)nng_close(server->socket);
    (void)wire_door_close(server->door); /* requests that nobody has seen end with the exchanges */
    release(server);
}

void wire_nng_reply(struct bb_exchange *base, const ProtobufCMessage *message)
{
    struct nng_exchange *exchange = bb_container(base, struct nng_exchange, base);
    struct wire_nng_server *server = exchange->server;
    nng_msg *packed = NULL;

    bb_assert(exchange->phase == HANDLING);
    int rc = atomic_load(&server->is_closing) ? BB_CANCELLED : wire_pack(NULL, message, &packed);
    /* Whoever builds a reply bounds it. If not, an empty message, which is no valid reply, at least
     * ends the asker's wait. */
    if (rc == BB_TOO_LARGE) {
        bb_error(bb_loop_ctx(server->loop), "wire.reply_too_large", "message=%s",
                 message->descriptor->short_name);
        rc = nng_msg_alloc(&packed, 0) == 0 ? BB_OK : BB_NO_MEMORY;
    }
    /* The message may borrow from both, so they go only now. */
    nng_msg_free(exchange->request);
    exchange->request = NULL;
    if (exchange->base.arena != NULL)
        bb_arena_reset(exchange->base.arena);
    if (rc == BB_OK) {
        exchange->phase = SENDING;
        nng_aio_set_msg(exchange->aio, packed);
        nng_aio_set_timeout(exchange->aio, SEND_MS);
        nng_ctx_send(exchange->ctx, exchange->aio);
    }
    release(server);
}
