#include <criterion/criterion.h>

#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "sequencer.pb-c.h"

#include "bb/env.h"
#include "bb/wire.h"

#include "port.h"

#define PEERS       24
#define RESTARTS    20
#define RUDE_US     200000
#define ANSWERED_US 4000000 /* a request finds out within 1.5 s that a dialer has stopped */

/* Many peers of one server that comes and goes, all on one loop. */
struct crowd {
    struct bb_loop *loop;
    struct bb_server *server;
    const char *url;
    struct guest {
        struct crowd *crowd;
        struct bb_peer *peer;
    } guests[PEERS];
    size_t answered;
    uint64_t asked_us;
};

static void handle(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
{
    Bb__Proto__SequencerReply reply;

    (void)arg;
    (void)bytes;
    bb__proto__sequencer_reply__init(&reply);
    bb_exchange_reply(exchange, &reply.base);
}

static void ask(struct guest *guest);

/* A service sends again what found nobody; so does this. */
static void on_reply(void *arg, int status, struct bb_slice bytes)
{
    struct guest *guest = arg;
    struct crowd *crowd = guest->crowd;

    (void)bytes;
    if (status == BB_CANCELLED)
        return;
    crowd->answered += status == BB_OK;
    if (crowd->answered == PEERS || bb_loop_now_us(crowd->loop) > crowd->asked_us + ANSWERED_US)
        bb_loop_stop(crowd->loop);
    else if (status != BB_OK)
        ask(guest);
}

static void ask(struct guest *guest)
{
    Bb__Proto__SequencerRequest message;

    bb__proto__sequencer_request__init(&message);
    cr_assert_eq(bb_peer_request(bb_loop_ctx(guest->crowd->loop), guest->peer, &message.base, 5000,
                                 on_reply, guest),
                 BB_OK);
}

static void crowd_open(struct crowd *crowd, const char *url)
{
    struct bb_peer_options options = { .url = url, .outstanding_max = 4 };

    *crowd = (struct crowd){ .loop = bb_loop_new(bb_env_real(), NULL, "test"), .url = url };
    for (size_t i = 0; i < PEERS; i++) {
        struct guest *guest = &crowd->guests[i];
        guest->crowd = crowd;
        cr_assert_eq(bb_peer_open(bb_loop_ctx(crowd->loop), crowd->loop, &options, &guest->peer),
                     BB_OK);
    }
}

static void crowd_serve(struct crowd *crowd)
{
    struct bb_server_options options = { .url = crowd->url, .handle = handle, .arg = crowd };
    struct bb_ctx *ctx = bb_loop_ctx(crowd->loop);

    cr_assert_eq(bb_server_open(ctx, crowd->loop, &options, &crowd->server), BB_OK, "%s",
                 ctx->error);
}

/* One request of each peer. */
static void crowd_ask(struct crowd *crowd)
{
    crowd->answered = 0;
    crowd->asked_us = bb_loop_now_us(crowd->loop);
    for (size_t i = 0; i < PEERS; i++)
        ask(&crowd->guests[i]);
    bb_loop_run(crowd->loop);
    cr_assert_eq(crowd->answered, PEERS, "%zu of %d peers of %s have a connection again",
                 crowd->answered, PEERS, crowd->url);
}

static void crowd_close(struct crowd *crowd)
{
    for (size_t i = 0; i < PEERS; i++)
        bb_peer_close(crowd->guests[i].peer);
    bb_server_close(crowd->server);
    bb_loop_free(crowd->loop);
}

struct place {
    char url[64];
    union {
        struct sockaddr any;
        struct sockaddr_un un;
        struct sockaddr_in in;
    } address;
    socklen_t size;
};

static void place_ipc(struct place *place)
{
    *place = (struct place){ .size = sizeof(struct sockaddr_un) };
    place->address.un.sun_family = AF_UNIX;
    (void)snprintf(place->address.un.sun_path, sizeof place->address.un.sun_path,
                   "/tmp/bb-reconnect-%d", (int)getpid());
    (void)snprintf(place->url, sizeof place->url, "ipc:///tmp/bb-reconnect-%d", (int)getpid());
}

static void place_tcp(struct place *place)
{
    uint16_t port = test_free_port();

    *place = (struct place){ .size = sizeof(struct sockaddr_in) };
    (void)snprintf(place->url, sizeof place->url, "tcp://127.0.0.1:%u", port);
    place->address.in.sin_family = AF_INET;
    place->address.in.sin_port = htons(port);
    place->address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

static int listen_at(const struct place *place)
{
    int one = 1;
    int fd = socket(place->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    cr_assert_geq(fd, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    cr_assert_eq(bind(fd, &place->address.any, place->size), 0);
    cr_assert_eq(listen(fd, PEERS), 0);
    return fd;
}

/* A server that dies as soon as somebody has connected, over and over: to write to it fails. */
static void be_rude(const struct place *place, int fd, struct bb_loop *loop)
{
    struct linger reset = { .l_onoff = 1 };
    uint64_t end_us = bb_loop_now_us(loop) + RUDE_US;

    while (bb_loop_now_us(loop) < end_us) {
        int connection = accept(fd, NULL, NULL);
        if (connection < 0)
            continue;
        (void)shutdown(connection, SHUT_WR);
        (void)setsockopt(connection, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        (void)close(connection);
    }
    (void)close(fd);
    if (place->address.any.sa_family == AF_UNIX)
        (void)unlink(place->address.un.sun_path);
}

static void check_rude(const struct place *place)
{
    struct crowd crowd;
    int fd = listen_at(place);

    crowd_open(&crowd, place->url);
    be_rude(place, fd, crowd.loop);
    crowd_serve(&crowd);
    crowd_ask(&crowd);
    crowd_close(&crowd);
}

/* It makes nng's dialers stop for ever, most of them with ipc and some with tcp. */
Test(peer, one_whose_server_died_during_the_greeting_dials_anew, .timeout = 30)
{
    struct place place;

    place_ipc(&place);
    check_rude(&place);
    place_tcp(&place);
    check_rude(&place);
}

static void check_restarts(const struct place *place)
{
    struct crowd crowd;

    crowd_open(&crowd, place->url);
    for (int i = 0; i < RESTARTS; i++) {
        crowd_serve(&crowd);
        /* Every other server dies while the peers connect. */
        if (i % 2 == 0)
            crowd_ask(&crowd);
        bb_server_close(crowd.server);
        crowd.server = NULL;
    }
    crowd_serve(&crowd);
    crowd_ask(&crowd);
    crowd_close(&crowd);
}

Test(peer, a_server_may_come_and_go_many_times, .timeout = 60)
{
    struct place place;

    place_ipc(&place);
    check_restarts(&place);
    place_tcp(&place);
    check_restarts(&place);
}
