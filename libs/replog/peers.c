/*
 * Connections between nodes: libraft's TCP transport with our handshake (auth.h) after its own.
 * libraft hands over a stream when TCP stands and gets it when both sides have proved that they
 * know the secret and the other node may take part.
 *
 * A handshake reads exactly the bytes it expects, so that what follows is left to libraft, and is
 * handed over only when each of its writes has ended. It takes 2 s at most.
 */
#include "auth.h"
#include "replog_internal.h"

#define HANDSHAKE_MAGIC 0x6b616873u /* "shak" */
#define WARN_PAUSE_US   2000000u
enum {
    HANDSHAKE_TICKS_MAX = 20,
    HANDSHAKES_MAX = 64, /* incoming ones at a time */
    MESSAGE_MAX = AUTH_VERDICT + AUTH_PROOF
};

enum handshake_state {
    HANDSHAKE_CONNECTING,     /* client: TCP does not stand yet */
    HANDSHAKE_AWAITS_HELLO,   /* server */
    HANDSHAKE_AWAITS_ANSWER,  /* client: the server's hello and proof */
    HANDSHAKE_AWAITS_PROOF,   /* server */
    HANDSHAKE_AWAITS_VERDICT, /* client */
    HANDSHAKE_DONE,           /* all read, the last writes are under way */
    HANDSHAKE_CLOSING
};

struct replog_handshake {
    uint32_t magic;
    enum handshake_state state;
    struct bb_list link;
    struct bb_replog *replog;
    uv_stream_t *stream;
    uint64_t peer;
    bool is_client;
    bool is_refused; /* server: the peer reads the verdict */
    uint64_t ticks;
    size_t writes;                  /* under way */
    struct raft_uv_connect connect; /* client: what the real transport gets */
    struct raft_uv_connect *caller; /* client: what libraft waits with */
    raft_uv_connect_cb done;
    int status;    /* client: what libraft will be told */
    char *address; /* server: of the peer, as it says */
    uint8_t client_hello[AUTH_HELLO], server_hello[AUTH_HELLO];
    uint8_t message[MESSAGE_MAX]; /* being read */
    size_t wanted, have;
};

struct handshake_write {
    uv_write_t request;
    struct replog_handshake *handshake;
    uint8_t bytes[MESSAGE_MAX];
};

static struct bb_replog *replog_of(struct raft_uv_transport *transport)
{
    return bb_container(transport, struct bb_replog, transport);
}

/* ---- the end of a handshake ---- */

/* Once: the library's transport may say twice that it is closed. */
static void maybe_closed(struct bb_replog *replog)
{
    raft_uv_transport_close_cb closed = replog->peers.closed;

    if (closed != NULL && replog->peers.is_real_closed &&
        bb_list_is_empty(&replog->peers.handshakes)) {
        replog->peers.closed = NULL;
        closed(&replog->transport);
    }
}

static void handshake_free(struct replog_handshake *shake)
{
    struct bb_replog *replog = shake->replog;

    bb_list_remove(&shake->link);
    replog->peers.incoming -= shake->is_client ? 0 : 1;
    bb_free(shake->address);
    shake->magic = 0;
    bb_free(shake);
    if (replog->peers.is_closing) {
        maybe_closed(replog);
    }
}

static void on_stream_closed(uv_handle_t *handle)
{
    struct replog_handshake *shake =
        bb_cast(struct replog_handshake, handle->data, HANDSHAKE_MAGIC);

    bb_assert(shake->writes == 0);
    raft_free(handle);
    if (shake->is_client) {
        shake->done(shake->caller, NULL, shake->status);
    }
    handshake_free(shake);
}

static void end(struct replog_handshake *shake, int status)
{
    if (shake->state == HANDSHAKE_CLOSING || shake->state == HANDSHAKE_CONNECTING) {
        return; /* the real transport ends those */
    }
    shake->state = HANDSHAKE_CLOSING;
    shake->status = status;
    uv_close((uv_handle_t *)shake->stream, on_stream_closed);
}

/* A peer tries again each 100 ms: its trouble is told now and then only. */
static void warn_refused(const struct replog_handshake *shake, const char *why)
{
    struct bb_replog *replog = shake->replog;
    uint64_t now = bb_loop_now_us(replog->loop);
    char text[BB_ERROR_MAX];

    if (replog->peers.warned_us == 0 || now > replog->peers.warned_us + WARN_PAUSE_US) {
        replog->peers.warned_us = now;
        bb_warn(&replog->ctx, "replog.peer_refused", "peer=%" PRIu64 " is_client=%d why=%s",
                shake->peer, shake->is_client, bb_log_quote(why, text, sizeof text));
    }
}

static void BB_PRINTF(2, 3) refuse(struct replog_handshake *shake, const char *format, ...)
{
    char why[BB_ERROR_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, sizeof why, format, args); /* cut is fine */
    va_end(args);
    warn_refused(shake, why);
    end(shake, RAFT_NOCONNECTION);
}

/* The connection that brings what the peer sends: the library reads it from now on. */
static void note_source(struct bb_replog *replog, uint64_t peer, const uv_stream_t *stream)
{
    struct replog_peers *peers = &replog->peers;
    uv_os_fd_t fd = -1;
    size_t at = 0;

    while (at < BB_REPLOG_MEMBERS_MAX - 1 && peers->sources[at].peer != peer &&
           peers->sources[at].peer != 0)
        at++;
    (void)uv_fileno((const uv_handle_t *)stream, &fd); /* else it is -1, which never has anything */
    replog_source_init(&peers->sources[at], peer, fd);
}

uint64_t replog_peers_received(struct bb_replog *replog, uint64_t id)
{
    for (size_t i = 0; i < BB_REPLOG_MEMBERS_MAX; i++) {
        if (replog->peers.sources[i].peer == id)
            return replog_source_received(&replog->peers.sources[i]);
    }
    return 0;
}

static void hand_over(struct replog_handshake *shake)
{
    struct bb_replog *replog = shake->replog;
    uv_stream_t *stream = shake->stream;

    shake->stream = NULL;
    if (shake->is_client) {
        shake->done(shake->caller, stream, 0);
    } else {
        note_source(replog, shake->peer, stream);
        replog->peers.accept(&replog->transport, shake->peer, shake->address, stream);
    }
    handshake_free(shake);
}

static void maybe_done(struct replog_handshake *shake)
{
    if (shake->state == HANDSHAKE_DONE && shake->writes == 0) {
        hand_over(shake);
    }
}

/* ---- reading and writing ---- */

static void on_written(uv_write_t *request, int status)
{
    struct handshake_write *write = bb_container(request, struct handshake_write, request);
    struct replog_handshake *shake = write->handshake;

    bb_free(write);
    shake->writes -= 1;
    if (status != 0) {
        end(shake, RAFT_NOCONNECTION);
    } else {
        maybe_done(shake);
    }
}

/* `first`, then `second` if it is not NULL. */
static void say(struct replog_handshake *shake, const uint8_t *first, size_t first_size,
                const uint8_t *second, size_t second_size)
{
    struct handshake_write *write = bb_alloc_zero(1, sizeof *write);
    uv_buf_t buffer;

    bb_assert(first_size + second_size <= MESSAGE_MAX);
    write->handshake = shake;
    memcpy(write->bytes, first, first_size);
    if (second_size > 0) {
        memcpy(write->bytes + first_size, second, second_size);
    }
    buffer = uv_buf_init((char *)write->bytes, (unsigned)(first_size + second_size));
    shake->writes += 1;
    if (uv_write(&write->request, shake->stream, &buffer, 1, on_written) != 0) {
        shake->writes -= 1;
        bb_free(write);
        end(shake, RAFT_NOCONNECTION);
    }
}

static void expect(struct replog_handshake *shake, enum handshake_state state, size_t size)
{
    if (shake->state != HANDSHAKE_CLOSING) {
        shake->state = state;
        shake->wanted = size;
        shake->have = 0;
    }
}

static void own_hello(struct replog_handshake *shake, uint8_t to[AUTH_HELLO])
{
    struct bb_replog *replog = shake->replog;
    struct auth_hello hello = { .to = shake->peer };

    replog->callbacks.identity(replog->callbacks.arg, &hello.self);
    hello.self.id = replog->id;
    bb_random(&replog->ctx, hello.nonce, sizeof hello.nonce);
    replog_auth_hello_encode(&hello, to);
}

static bool is_admitted(struct replog_handshake *shake, const struct bb_replog_identity *peer,
                        char *why, size_t size)
{
    struct bb_replog *replog = shake->replog;

    return replog->callbacks.admit == NULL ||
           replog->callbacks.admit(replog->callbacks.arg, peer, why, size);
}

static int check_names(struct replog_handshake *shake, struct bb_ctx *ctx,
                       const struct auth_hello *hello)
{
    if (hello->self.id != shake->peer || hello->to != shake->replog->id) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "node %" PRIu64 " answers at the address of node %" PRIu64
                       " and wants node %" PRIu64,
                       hello->self.id, shake->peer, hello->to);
    }
    return BB_OK;
}

/* ---- what was read ---- */

static void server_got_hello(struct replog_handshake *shake)
{
    struct bb_ctx ctx = shake->replog->ctx;
    struct auth_hello hello;
    uint8_t proof[AUTH_PROOF];
    int rc;

    memcpy(shake->client_hello, shake->message, AUTH_HELLO);
    rc = replog_auth_hello_decode(&ctx, shake->client_hello, &hello);
    if (rc == BB_OK) {
        rc = check_names(shake, &ctx, &hello);
    }
    if (rc != BB_OK) {
        refuse(shake, "%s", ctx.error);
        return;
    }
    own_hello(shake, shake->server_hello);
    replog_auth_prove(shake->replog->secret, 'S', shake->client_hello, shake->server_hello, NULL,
                      proof);
    say(shake, shake->server_hello, AUTH_HELLO, proof, AUTH_PROOF);
    expect(shake, HANDSHAKE_AWAITS_PROOF, AUTH_PROOF);
}

static void client_got_answer(struct replog_handshake *shake)
{
    struct bb_ctx ctx = shake->replog->ctx;
    struct auth_hello hello;
    uint8_t proof[AUTH_PROOF];
    char why[AUTH_REASON_MAX];
    int rc;

    memcpy(shake->server_hello, shake->message, AUTH_HELLO);
    rc = replog_auth_hello_decode(&ctx, shake->server_hello, &hello);
    if (rc == BB_OK) {
        rc = check_names(shake, &ctx, &hello);
    }
    if (rc != BB_OK) {
        refuse(shake, "%s", ctx.error);
    } else if (!replog_auth_check(shake->replog->secret, 'S', shake->client_hello,
                                  shake->server_hello, NULL, shake->message + AUTH_HELLO)) {
        refuse(shake, "it does not know the cluster's secret");
    } else if (!is_admitted(shake, &hello.self, why, sizeof why)) {
        refuse(shake, "%s", why);
    } else {
        replog_auth_prove(shake->replog->secret, 'C', shake->client_hello, shake->server_hello,
                          NULL, proof);
        say(shake, proof, AUTH_PROOF, NULL, 0);
        expect(shake, HANDSHAKE_AWAITS_VERDICT, AUTH_VERDICT + AUTH_PROOF);
    }
}

static void server_got_proof(struct replog_handshake *shake)
{
    struct bb_ctx ctx = shake->replog->ctx;
    struct auth_hello hello;
    uint8_t verdict[AUTH_VERDICT], proof[AUTH_PROOF];
    char why[AUTH_REASON_MAX] = "";
    bool is_good;

    if (!replog_auth_check(shake->replog->secret, 'C', shake->client_hello, shake->server_hello,
                           NULL, shake->message)) {
        refuse(shake, "it does not know the cluster's secret");
        return;
    }
    bb_assert(replog_auth_hello_decode(&ctx, shake->client_hello, &hello) == BB_OK);
    is_good = is_admitted(shake, &hello.self, why, sizeof why);
    replog_auth_verdict_encode(is_good, why, verdict);
    replog_auth_prove(shake->replog->secret, 'V', shake->client_hello, shake->server_hello, verdict,
                      proof);
    say(shake, verdict, AUTH_VERDICT, proof, AUTH_PROOF);
    if (is_good) {
        expect(shake, HANDSHAKE_DONE, 0);
        maybe_done(shake);
    } else {
        /* The peer reads the verdict and hangs up, or the time is over. */
        warn_refused(shake, why);
        shake->is_refused = true;
    }
}

static void client_got_verdict(struct replog_handshake *shake)
{
    struct bb_replog *replog = shake->replog;
    char why[AUTH_REASON_MAX];

    if (!replog_auth_check(replog->secret, 'V', shake->client_hello, shake->server_hello,
                           shake->message, shake->message + AUTH_VERDICT)) {
        refuse(shake, "its verdict is not its own");
    } else if (!replog_auth_verdict_decode(shake->message, why)) {
        if (replog->callbacks.refused != NULL) {
            replog->callbacks.refused(replog->callbacks.arg, shake->peer, why);
        }
        refuse(shake, "it refuses this node: %s", why);
    } else {
        expect(shake, HANDSHAKE_DONE, 0);
        maybe_done(shake);
    }
}

static void got_message(struct replog_handshake *shake)
{
    switch (shake->state) {
    case HANDSHAKE_AWAITS_HELLO:
        server_got_hello(shake);
        return;
    case HANDSHAKE_AWAITS_ANSWER:
        client_got_answer(shake);
        return;
    case HANDSHAKE_AWAITS_PROOF:
        server_got_proof(shake);
        return;
    case HANDSHAKE_AWAITS_VERDICT:
        client_got_verdict(shake);
        return;
    case HANDSHAKE_CONNECTING:
    case HANDSHAKE_DONE:
    case HANDSHAKE_CLOSING:
        break;
    }
    BB_UNREACHABLE("nothing is read in these states");
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct replog_handshake *shake =
        bb_cast(struct replog_handshake, handle->data, HANDSHAKE_MAGIC);

    (void)suggested;
    *buffer =
        uv_buf_init((char *)shake->message + shake->have, (unsigned)(shake->wanted - shake->have));
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    struct replog_handshake *shake =
        bb_cast(struct replog_handshake, stream->data, HANDSHAKE_MAGIC);

    (void)buffer;
    if (size < 0) {
        refuse(shake, "it hung up: it has another secret, or its log says what it has "
                      "against this node");
        return;
    }
    shake->have += (size_t)size;
    if (shake->have < shake->wanted) {
        return;
    }
    if (shake->state == HANDSHAKE_AWAITS_VERDICT ||
        (shake->state == HANDSHAKE_AWAITS_PROOF && shake->wanted == AUTH_PROOF)) {
        (void)uv_read_stop(stream); /* what comes next may be for libraft; it cannot fail */
    }
    got_message(shake);
}

/* ---- the transport that libraft sees ---- */

static struct replog_handshake *handshake_new(struct bb_replog *replog, uint64_t peer,
                                              bool is_client)
{
    struct replog_handshake *shake = bb_alloc_zero(1, sizeof *shake);

    shake->magic = HANDSHAKE_MAGIC;
    shake->replog = replog;
    shake->peer = peer;
    shake->is_client = is_client;
    bb_list_push_back(&replog->peers.handshakes, &shake->link);
    return shake;
}

/*
 * Each node has a connection of its own to each other, and what comes back comes by another one:
 * nothing carries the acknowledgements, which the kernel delays by 40 ms, and libraft leaves
 * Nagle's algorithm on, which waits for them. It is only slower without.
 */
static void send_at_once(uv_stream_t *stream)
{
    (void)uv_tcp_nodelay((uv_tcp_t *)stream, 1);
}

static void on_connected(struct raft_uv_connect *request, uv_stream_t *stream, int status)
{
    struct replog_handshake *shake = bb_container(request, struct replog_handshake, connect);

    if (status != 0) {
        shake->done(shake->caller, NULL, status);
        handshake_free(shake);
        return;
    }
    send_at_once(stream);
    shake->stream = stream;
    stream->data = shake;
    shake->state = HANDSHAKE_AWAITS_ANSWER;
    if (shake->replog->peers.is_closing) {
        end(shake, RAFT_CANCELED);
        return;
    }
    own_hello(shake, shake->client_hello);
    say(shake, shake->client_hello, AUTH_HELLO, NULL, 0);
    expect(shake, HANDSHAKE_AWAITS_ANSWER, AUTH_HELLO + AUTH_PROOF);
    if (shake->state != HANDSHAKE_CLOSING && uv_read_start(stream, on_alloc, on_read) != 0) {
        end(shake, RAFT_NOCONNECTION);
    }
}

static int peers_connect(struct raft_uv_transport *transport, struct raft_uv_connect *request,
                         raft_id id, const char *address, raft_uv_connect_cb done)
{
    struct bb_replog *replog = replog_of(transport);
    struct replog_handshake *shake = handshake_new(replog, id, true);
    const char *known = replog->callbacks.address == NULL
                            ? NULL
                            : replog->callbacks.address(replog->callbacks.arg, id);
    int rc;

    shake->state = HANDSHAKE_CONNECTING;
    shake->caller = request;
    shake->done = done;
    rc = replog->peers.real_connect(transport, &shake->connect, id, known == NULL ? address : known,
                                    on_connected);
    if (rc != 0) {
        handshake_free(shake);
    }
    return rc;
}

static void on_accepted(struct raft_uv_transport *transport, raft_id id, const char *address,
                        uv_stream_t *stream)
{
    struct bb_replog *replog = replog_of(transport);
    struct replog_handshake *shake = handshake_new(replog, id, false);

    replog->peers.incoming += 1;
    send_at_once(stream);
    shake->stream = stream;
    stream->data = shake;
    shake->address = bb_strdup(address);
    shake->state = HANDSHAKE_AWAITS_HELLO;
    shake->wanted = AUTH_HELLO;
    if (replog->peers.incoming > HANDSHAKES_MAX || uv_read_start(stream, on_alloc, on_read) != 0) {
        end(shake, RAFT_NOCONNECTION);
    }
}

static int peers_listen(struct raft_uv_transport *transport, raft_uv_accept_cb accept)
{
    struct bb_replog *replog = replog_of(transport);

    replog->peers.accept = accept;
    if (replog->listen == NULL) {
        return 0; /* no peers: nothing opens a port that would admit anyone */
    }
    return replog->peers.real_listen(transport, on_accepted);
}

static void on_real_closed(struct raft_uv_transport *transport)
{
    struct bb_replog *replog = replog_of(transport);

    replog->peers.is_real_closed = true;
    maybe_closed(replog);
}

static void peers_close(struct raft_uv_transport *transport, raft_uv_transport_close_cb closed)
{
    struct bb_replog *replog = replog_of(transport);

    replog->peers.is_closing = true;
    replog->peers.closed = closed;
    bb_list_each(item, &replog->peers.handshakes) {
        end(bb_container(item, struct replog_handshake, link), RAFT_CANCELED);
    }
    replog->peers.real_close(transport, on_real_closed);
}

void replog_wrap_transport(struct bb_replog *replog)
{
    struct raft_uv_transport *transport = &replog->transport;

    replog->peers.real_listen = transport->listen;
    replog->peers.real_connect = transport->connect;
    replog->peers.real_close = transport->close;
    transport->listen = peers_listen;
    transport->connect = peers_connect;
    transport->close = peers_close;
}

void replog_peers_tick(struct bb_replog *replog)
{
    bb_list_each(item, &replog->peers.handshakes) {
        struct replog_handshake *shake = bb_container(item, struct replog_handshake, link);
        if (shake->stream == NULL || ++shake->ticks != HANDSHAKE_TICKS_MAX) {
            continue;
        }
        if (shake->is_refused) {
            end(shake, RAFT_NOCONNECTION);
        } else {
            refuse(shake, "no answer for 2 s");
        }
    }
}
