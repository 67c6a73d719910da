#include <criterion/criterion.h>

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "sequencer.pb-c.h"

#include "bb/env.h"
#include "bb/wire.h"

#include "port.h"

/* A loop, a server that tells back what it is asked, and a peer of it. */
struct stand {
    struct bb_loop *loop;
    struct bb_server *server;
    struct bb_peer *peer;
    uint16_t port;
    char url[64];
    struct bb_exchange *kept[16]; /* requests that are answered later */
    size_t kept_count, keep_max;
    size_t asked, answered, wanted;
    int last_status;
    uint64_t told[64];
    size_t last_size;
};

static void answer(struct bb_exchange *exchange, struct bb_slice bytes)
{
    Bb__Proto__SequencerReply reply;
    Bb__Proto__SequencerRequest *request = NULL;
    struct bb_ctx ctx = { .env = bb_env_real() };

    bb__proto__sequencer_reply__init(&reply);
    cr_assert_eq(bb_unpack(&ctx, bb_exchange_arena(exchange),
                           &bb__proto__sequencer_request__descriptor, bytes, &request),
                 BB_OK);
    reply.status = (uint32_t)request->trace_id;
    if (request->op_case == BB__PROTO__SEQUENCER_REQUEST__OP_STATUS_OF) {
        size_t size = request->status_of->request_id.len;
        reply.error = bb_arena_zero(bb_exchange_arena(exchange), size + 1, 1);
        cr_assert_not_null(reply.error);
        memset(reply.error, 'x', size);
    }
    bb_exchange_reply(exchange, &reply.base);
}

static void handle(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
{
    struct stand *stand = arg;

    stand->asked++;
    if (stand->kept_count < stand->keep_max)
        stand->kept[stand->kept_count++] = exchange;
    else
        answer(exchange, bytes);
}

static void on_reply(void *arg, int status, struct bb_slice bytes)
{
    struct stand *stand = arg;
    Bb__Proto__SequencerReply *reply = NULL;

    stand->last_status = status;
    stand->last_size = bytes.size;
    if (status == BB_OK) {
        reply = bb__proto__sequencer_reply__unpack(NULL, bytes.size, bytes.data);
        cr_assert_not_null(reply);
        if (reply->status < BB_COUNT_OF(stand->told))
            stand->told[reply->status]++;
        bb__proto__sequencer_reply__free_unpacked(reply, NULL);
    }
    if (++stand->answered == stand->wanted)
        bb_loop_stop(stand->loop);
}

static void stand_open(struct stand *stand, size_t context_count)
{
    *stand = (struct stand){ .loop = bb_loop_new(bb_env_real(), NULL, "test"),
                             .port = test_free_port() };
    (void)snprintf(stand->url, sizeof stand->url, "tcp://127.0.0.1:%u", stand->port);
    struct bb_server_options server = {
        .url = stand->url, .context_count = context_count, .handle = handle, .arg = stand
    };
    struct bb_peer_options peer = { .url = stand->url, .outstanding_max = 64 };
    struct bb_ctx *ctx = bb_loop_ctx(stand->loop);
    cr_assert_eq(bb_server_open(ctx, stand->loop, &server, &stand->server), BB_OK, "%s",
                 ctx->error);
    cr_assert_eq(bb_peer_open(ctx, stand->loop, &peer, &stand->peer), BB_OK);
}

static void stand_close(struct stand *stand)
{
    Bb__Proto__SequencerReply reply;

    bb__proto__sequencer_reply__init(&reply);
    bb_peer_close(stand->peer);
    bb_server_close(stand->server);
    for (size_t i = 0; i < stand->kept_count; i++)
        bb_exchange_reply(stand->kept[i], &reply.base); /* after close: only frees */
    bb_loop_free(stand->loop);
}

static void ask(struct stand *stand, struct bb_peer *peer, uint64_t number, size_t size,
                uint32_t timeout_ms)
{
    Bb__Proto__SequencerRequest request;
    Bb__Proto__StatusOf status_of;

    bb__proto__sequencer_request__init(&request);
    bb__proto__status_of__init(&status_of);
    request.trace_id = number;
    if (size > 0) {
        status_of.request_id.len = size;
        status_of.request_id.data = bb_alloc_zero(1, size);
        request.op_case = BB__PROTO__SEQUENCER_REQUEST__OP_STATUS_OF;
        request.status_of = &status_of;
    }
    cr_assert_eq(
        bb_peer_request(bb_loop_ctx(stand->loop), peer, &request.base, timeout_ms, on_reply, stand),
        BB_OK);
    if (size > 0)
        bb_free(status_of.request_id.data);
}

static void run_until(struct stand *stand, size_t answered)
{
    stand->wanted = answered;
    if (stand->answered < answered)
        bb_loop_run(stand->loop);
}

/* On a thread of nng. */
static void on_aio(void *arg)
{
    atomic_store((atomic_bool *)arg, true);
}

static void turn(struct stand *stand)
{
    ask(stand, stand->peer, 1, 0, 5000);
    run_until(stand, stand->answered + 1);
}

/* The loop turns until nng has come back. */
static void turn_until(struct stand *stand, atomic_bool *is_done)
{
    while (!atomic_load(is_done))
        turn(stand);
    atomic_store(is_done, false);
}

/* What goes over the connection is nng's protocol: nodes of either kind understand each other. */
Test(sp, a_requester_of_nng_is_answered, .timeout = 20)
{
    struct stand stand;
    nng_socket socket;
    nng_aio *aio;
    atomic_bool is_done = false;
    nng_ctx context;
    nng_msg *message;
    Bb__Proto__SequencerRequest request;

    stand_open(&stand, 8);
    bb__proto__sequencer_request__init(&request);
    request.trace_id = 21;
    cr_assert_eq(nng_req0_open(&socket), 0);
    cr_assert_eq(nng_dial(socket, stand.url, NULL, NNG_FLAG_NONBLOCK), 0);
    cr_assert_eq(nng_ctx_open(&context, socket), 0);
    cr_assert_eq(nng_aio_alloc(&aio, on_aio, &is_done), 0);
    nng_msg_alloc(&message, bb__proto__sequencer_request__get_packed_size(&request));
    bb__proto__sequencer_request__pack(&request, nng_msg_body(message));
    nng_aio_set_msg(aio, message);
    nng_aio_set_timeout(aio, 5000);
    nng_ctx_send(context, aio);
    turn_until(&stand, &is_done);
    cr_assert_eq(nng_aio_result(aio), 0);
    nng_ctx_recv(context, aio);
    turn_until(&stand, &is_done);
    cr_assert_eq(nng_aio_result(aio), 0, "%s", nng_strerror(nng_aio_result(aio)));
    message = nng_aio_get_msg(aio);
    Bb__Proto__SequencerReply *reply =
        bb__proto__sequencer_reply__unpack(NULL, nng_msg_len(message), nng_msg_body(message));
    cr_assert_eq(reply->status, 21);
    bb__proto__sequencer_reply__free_unpacked(reply, NULL);
    nng_msg_free(message);
    nng_aio_free(aio);
    nng_close(socket);
    stand_close(&stand);
}

Test(sp, a_replier_of_nng_is_asked, .timeout = 20)
{
    struct stand stand;
    nng_socket socket;
    nng_aio *aio;
    atomic_bool is_done = false;
    nng_msg *message;
    struct bb_peer *peer = NULL;
    char url[64];
    Bb__Proto__SequencerReply reply;

    stand_open(&stand, 8);
    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", test_free_port());
    cr_assert_eq(nng_rep0_open(&socket), 0);
    cr_assert_eq(nng_listen(socket, url, NULL, 0), 0);
    cr_assert_eq(nng_aio_alloc(&aio, on_aio, &is_done), 0);
    struct bb_peer_options options = { .url = url, .outstanding_max = 4 };
    cr_assert_eq(bb_peer_open(bb_loop_ctx(stand.loop), stand.loop, &options, &peer), BB_OK);
    ask(&stand, peer, 5, 0, 10000);
    nng_recv_aio(socket, aio);
    turn_until(&stand, &is_done);
    cr_assert_eq(nng_aio_result(aio), 0);
    message = nng_aio_get_msg(aio);
    Bb__Proto__SequencerRequest *asked =
        bb__proto__sequencer_request__unpack(NULL, nng_msg_len(message), nng_msg_body(message));
    cr_assert_eq(asked->trace_id, 5);
    bb__proto__sequencer_request__free_unpacked(asked, NULL);
    nng_msg_clear(message);
    bb__proto__sequencer_reply__init(&reply);
    reply.status = 33;
    uint8_t packed[64];
    nng_msg_append(message, packed, bb__proto__sequencer_reply__pack(&reply, packed));
    cr_assert_eq(nng_sendmsg(socket, message, 0), 0);
    while (stand.told[33] == 0)
        turn(&stand);
    bb_peer_close(peer);
    nng_aio_free(aio);
    nng_close(socket);
    stand_close(&stand);
}

Test(sp, large_messages_arrive_whole_among_small_ones, .timeout = 60)
{
    const size_t sizes[] = { 1, 60000, 70000, 3000000, 100, 20000000, 0, 65528 };
    struct stand stand;

    stand_open(&stand, 64);
    turn(&stand); /* else the first ones wait for a connection while the others are made */
    stand.told[1] = stand.answered = 0;
    for (size_t i = 0; i < BB_COUNT_OF(sizes); i++)
        ask(&stand, stand.peer, i, sizes[i], 30000);
    run_until(&stand, BB_COUNT_OF(sizes));
    for (size_t i = 0; i < BB_COUNT_OF(sizes); i++)
        cr_assert_eq(stand.told[i], 1, "message %zu: %" PRIu64 " answers, the last one %s", i,
                     stand.told[i], bb_status_name(stand.last_status));
    ask(&stand, stand.peer, 1, 20000000, 30000);
    run_until(&stand, BB_COUNT_OF(sizes) + 1);
    cr_assert_gt(stand.last_size, 20000000);
    stand_close(&stand);
}

static void answer_kept(void *arg)
{
    struct stand *stand = arg;
    Bb__Proto__SequencerReply reply;
    size_t count = stand->kept_count;

    cr_assert_eq(stand->asked, 4, "no more are under way than may be");
    stand->keep_max = stand->kept_count = 0;
    bb__proto__sequencer_reply__init(&reply);
    reply.status = 63;
    for (size_t i = 0; i < count; i++)
        bb_exchange_reply(stand->kept[i], &reply.base);
}

Test(sp, requests_beyond_the_most_at_once_wait_and_are_answered, .timeout = 20)
{
    struct stand stand;

    stand_open(&stand, 4);
    stand.keep_max = 4;
    for (size_t i = 0; i < 60; i++)
        ask(&stand, stand.peer, i, 1000, 15000);
    struct bb_timer *timer = bb_timer_new(stand.loop, answer_kept, &stand);
    bb_timer_start(timer, 200, 0);
    run_until(&stand, 60);
    cr_assert_eq(stand.told[63], 4);
    for (size_t i = 4; i < 60; i++)
        cr_assert_eq(stand.told[i], 1, "request %zu", i);
    bb_timer_free(timer);
    stand_close(&stand);
}

/* The reply to a request whose time was over must not become that of another one. */
Test(sp, a_late_reply_is_nobodys, .timeout = 20)
{
    struct stand stand;
    Bb__Proto__SequencerReply reply;

    stand_open(&stand, 8);
    stand.keep_max = 1;
    ask(&stand, stand.peer, 2, 0, 50);
    run_until(&stand, 1);
    cr_assert_eq(stand.last_status, BB_TIMEOUT);
    stand.kept_count = stand.keep_max = 0;
    ask(&stand, stand.peer, 3, 0, 5000);
    bb__proto__sequencer_reply__init(&reply);
    reply.status = 2;
    bb_exchange_reply(stand.kept[0], &reply.base);
    run_until(&stand, 2);
    cr_assert_eq(stand.last_status, BB_OK);
    cr_assert_eq(stand.told[2], 0);
    cr_assert_eq(stand.told[3], 1);
    stand_close(&stand);
}

/* Timers come before sockets, and a thread may have to wait for its processor. */
Test(sp, a_reply_that_lies_there_already_is_no_timeout, .timeout = 20)
{
    struct stand stand;
    struct bb_loop *other = bb_loop_new(bb_env_real(), NULL, "asker");
    struct bb_peer_options options = { .outstanding_max = 4 };
    struct bb_peer *peer = NULL;

    stand_open(&stand, 8);
    options.url = stand.url;
    cr_assert_eq(bb_peer_open(bb_loop_ctx(other), other, &options, &peer), BB_OK);
    for (int i = 0; i < 5; i++) { /* both loops turn on this thread, so neither of them sleeps */
        turn(&stand);
        (void)uv_run(bb_loop_uv(other), UV_RUN_NOWAIT);
    }
    ask(&stand, peer, 4, 0, 30);
    (void)uv_run(bb_loop_uv(other), UV_RUN_NOWAIT);
    for (int i = 0; i < 5; i++)
        turn(&stand);
    usleep(100000);
    while (stand.told[4] == 0 && stand.last_status == BB_OK)
        (void)uv_run(bb_loop_uv(other), UV_RUN_NOWAIT);
    cr_assert_eq(stand.told[4], 1, "%s", bb_status_name(stand.last_status));
    bb_peer_close(peer);
    bb_loop_free(other);
    stand_close(&stand);
}

Test(sp, a_name_is_looked_up_and_nonsense_refused, .timeout = 20)
{
    const char *bad[] = { "tcp://",      "tcp://:1",      "tcp://host",
                          "tcp://host:", "tcp://host:x1", "tcp://127.0.0.1:70000" };
    struct stand stand;
    struct bb_peer *peer = NULL;
    char url[64];

    stand_open(&stand, 8);
    (void)snprintf(url, sizeof url, "tcp://localhost:%u", stand.port);
    struct bb_peer_options options = { .url = url, .outstanding_max = 4 };
    cr_assert_eq(bb_peer_open(bb_loop_ctx(stand.loop), stand.loop, &options, &peer), BB_OK);
    ask(&stand, peer, 9, 0, 10000);
    run_until(&stand, 1);
    cr_assert_eq(stand.told[9], 1, "%s", bb_status_name(stand.last_status));
    bb_peer_close(peer);
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        options.url = bad[i];
        cr_assert_eq(bb_peer_open(bb_loop_ctx(stand.loop), stand.loop, &options, &peer),
                     BB_BAD_REQUEST, "%s", bad[i]);
    }
    stand_close(&stand);
}

/* ---- names with several addresses ---- */

/* The resolver of this program: "several.test" has an address where nobody listens, one where
 * somebody listens and says nothing, and the server's. All others are numbers or this machine. */
static const char *const several[] = { "127.0.0.2", "127.0.0.3", "127.0.0.1" };

#define SEEN_BY_LIBUV __attribute__((visibility("default")))

SEEN_BY_LIBUV int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                              struct addrinfo **found)
{
    bool is_several = host != NULL && strcmp(host, "several.test") == 0;
    struct addrinfo **last = found;

    (void)hints;
    *found = NULL;
    for (size_t i = is_several ? 0 : 2; i < BB_COUNT_OF(several); i++) {
        struct sockaddr_in *address = calloc(1, sizeof *address);
        *last = calloc(1, sizeof **last);
        cr_assert(address != NULL && *last != NULL);
        cr_assert_eq(uv_ip4_addr(several[i], service == NULL ? 0 : atoi(service), address), 0);
        (*last)->ai_family = AF_INET;
        (*last)->ai_socktype = SOCK_STREAM;
        (*last)->ai_addrlen = sizeof *address;
        (*last)->ai_addr = (struct sockaddr *)address;
        last = &(*last)->ai_next;
    }
    return 0;
}

SEEN_BY_LIBUV void freeaddrinfo(struct addrinfo *found)
{
    while (found != NULL) {
        struct addrinfo *next = found->ai_next;
        free(found->ai_addr);
        free(found);
        found = next;
    }
}

static int listen_raw(const char *host, uint16_t port)
{
    struct sockaddr_in address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    cr_assert_geq(fd, 0);
    cr_assert_eq(uv_ip4_addr(host, port, &address), 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(fd, 4), 0);
    return fd;
}

Test(sp, the_addresses_of_a_name_are_tried_in_turn, .timeout = 30)
{
    struct stand stand;
    struct bb_peer *peer = NULL;
    char url[64];

    stand_open(&stand, 8);
    int silent = listen_raw("127.0.0.3", stand.port);
    (void)snprintf(url, sizeof url, "tcp://several.test:%u", stand.port);
    struct bb_peer_options options = { .url = url, .outstanding_max = 4 };
    cr_assert_eq(bb_peer_open(bb_loop_ctx(stand.loop), stand.loop, &options, &peer), BB_OK);
    for (int i = 0; i < 100 && !bb_peer_is_connected(peer); i++) {
        turn(&stand);
        usleep(50000);
    }
    ask(&stand, peer, 7, 0, 10000);
    run_until(&stand, stand.answered + 1);
    cr_assert_eq(stand.told[7], 1, "%s", bb_status_name(stand.last_status));
    bb_peer_close(peer);
    (void)close(silent);
    stand_close(&stand);
}

/* ---- somebody else at the port ---- */

static int dial_raw(const struct stand *stand)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(stand->port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval wait = { .tv_sec = 5 };

    cr_assert_geq(fd, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

Test(sp, what_is_no_message_ends_its_own_connection_only, .timeout = 20)
{
#define HELLO "\0SP\0\0\x30\0\0"
    const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        { "GET / HTTP/1.1\r\n\r\n", 18 },
        { "\0SP\0\0\x31\0\0", 8 },                            /* a replier */
        { HELLO "\xff\xff\xff\xff\xff\xff\xff\xff....", 20 }, /* no such length */
        { HELLO "\0\0\0\0\x7f\xff\xff\xff....", 20 },         /* more than may be */
    };
    struct stand stand;

    stand_open(&stand, 8);
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        int fd = dial_raw(&stand);
        char got[8];
        ssize_t size;
        cr_assert_eq(write(fd, cases[i].bytes, cases[i].size), (ssize_t)cases[i].size);
        for (int round = 0; round < 4; round++)
            turn(&stand);
        do {
            size = recv(fd, got, sizeof got, 0);
        } while (size > 0);
        cr_assert(size == 0 || errno == ECONNRESET, "case %zu: errno %d", i, errno);
        (void)close(fd);
    }
    turn(&stand);
    stand_close(&stand);
}

/* Whether the other side has ended the connection. */
static bool is_ended(int fd)
{
    char bytes[64];
    ssize_t size;

    do {
        size = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    } while (size > 0);
    return size == 0 || errno == ECONNRESET;
}

Test(sp, connections_that_say_nothing_are_few_and_end, .timeout = 60)
{
    struct stand stand;
    int fds[400];
    size_t ended = 0;

    stand_open(&stand, 8);
    while (!bb_peer_is_connected(stand.peer))
        turn(&stand);
    for (size_t i = 0; i < BB_COUNT_OF(fds); i++) {
        fds[i] = dial_raw(&stand);
        turn(&stand);
    }
    ask(&stand, stand.peer, 3, 0, 10000);
    run_until(&stand, stand.answered + 1);
    cr_assert_eq(stand.told[3], 1, "%s", bb_status_name(stand.last_status));
    for (size_t i = 0; i < BB_COUNT_OF(fds); i++)
        ended += is_ended(fds[i]);
    cr_assert_geq(ended, BB_COUNT_OF(fds) - 256, "only %zu have ended", ended);
    for (int i = 0; i < 400 && !is_ended(fds[BB_COUNT_OF(fds) - 1]); i++) {
        turn(&stand);
        usleep(50000);
    }
    for (size_t i = 0; i < BB_COUNT_OF(fds); i++)
        cr_assert(is_ended(fds[i]), "connection %zu", i);
    ask(&stand, stand.peer, 4, 0, 10000);
    run_until(&stand, stand.answered + 1);
    cr_assert_eq(stand.told[4], 1, "the one that greeted has lost its connection");
    for (size_t i = 0; i < BB_COUNT_OF(fds); i++)
        (void)close(fds[i]);
    stand_close(&stand);
}

/* Else what was sent to a machine that vanished is sent again for a quarter of an hour. */
Test(sp, a_side_that_confirms_nothing_is_given_up, .timeout = 20)
{
    struct stand stand;
    size_t found = 0;

    stand_open(&stand, 8);
    ask(&stand, stand.peer, 1, 0, 10000);
    run_until(&stand, 1);
    for (int fd = 0; fd < 256; fd++) {
        struct sockaddr_in other;
        socklen_t size = sizeof other;
        unsigned timeout_ms = 0;
        socklen_t timeout_size = sizeof timeout_ms;
        if (getpeername(fd, (struct sockaddr *)&other, &size) != 0 || other.sin_family != AF_INET)
            continue;
        cr_assert_eq(getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, &timeout_size), 0);
        cr_assert_eq(timeout_ms, 10000);
        found++;
    }
    cr_assert_eq(found, 2, "%zu connections", found);
    stand_close(&stand);
}

/* A process that hangs keeps its connection; what is sent again and again must not pile up here. */
Test(sp, a_peer_that_reads_nothing_gets_a_bounded_number_of_bytes, .timeout = 60)
{
    struct stand stand;
    struct bb_peer *peer = NULL;
    char url[64];
    uint16_t port = test_free_port();
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    cr_assert_eq(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(listener, 1), 0);
    stand_open(&stand, 8);
    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", port);
    struct bb_peer_options options = { .url = url, .outstanding_max = 4 };
    cr_assert_eq(bb_peer_open(bb_loop_ctx(stand.loop), stand.loop, &options, &peer), BB_OK);
    turn(&stand);
    int fd = accept(listener, NULL, NULL);
    cr_assert_eq(write(fd, "\0SP\0\0\x31\0\0", 8), 8);
    while (!bb_peer_is_connected(peer))
        turn(&stand);
    for (int i = 0; i < 40; i++) {
        ask(&stand, peer, 1, 4000000, 40);
        run_until(&stand, stand.answered + 1);
        cr_assert_eq(stand.last_status, BB_TIMEOUT);
    }
    size_t sent = 0;
    for (ssize_t size = 1; size > 0; turn(&stand)) {
        char bytes[65536];
        for (int i = 0; i < 64; i++) {
            size = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
            sent += size > 0 ? (size_t)size : 0;
        }
    }
    cr_assert_lt(sent, 40000000, "%zu of 160 MB were kept for it", sent);
    bb_peer_close(peer);
    (void)close(fd);
    (void)close(listener);
    stand_close(&stand);
}

/* Bytes may come one by one, and a request without an id has nobody who waits for its answer. */
Test(sp, messages_are_cut_where_the_network_likes, .timeout = 30)
{
    const char bytes[] = HELLO "\0\0\0\0\0\0\0\0"                     /* nothing */
                               "\0\0\0\0\0\0\0\4\0\0\0\1"             /* words without an end */
                               "\0\0\0\0\0\0\0\x08\0\0\0\7\x80\0\0\1" /* over another hop */
                               "\0\0\0\0\0\0\0\4\x80\0\0\2";
    const char wanted[] = "\0SP\0\0\x31\0\0"
                          "\0\0\0\0\0\0\0\x08\0\0\0\7\x80\0\0\1"
                          "\0\0\0\0\0\0\0\4\x80\0\0\2";
    struct stand stand;
    char got[sizeof wanted - 1];
    size_t there = 0;

    stand_open(&stand, 8);
    int fd = dial_raw(&stand);
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    for (size_t i = 0; i < sizeof bytes - 1; i++) {
        cr_assert_eq(write(fd, bytes + i, 1), 1);
        turn(&stand);
    }
    for (int round = 0; round < 3; round++)
        turn(&stand);
    while (there < sizeof got) {
        ssize_t size = recv(fd, got + there, sizeof got - there, 0);
        cr_assert_gt(size, 0, "after %zu bytes", there);
        there += (size_t)size;
    }
    cr_assert_arr_eq(got, wanted, sizeof got);
    (void)close(fd);
    stand_close(&stand);
}
