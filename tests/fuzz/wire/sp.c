/*
 * Any bytes in pieces of any size, from a process that reaches the port of a service, and from one
 * that a service asks. Connections end or go on; nothing is read beyond what came, and the service
 * still answers those who speak properly. Memory that an announced length may cost is bounded.
 */
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "bb/env.h"
#include "bb/wire.h"

#include "sequencer.pb-c.h"

#define TURNS 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
    struct bb_loop *loop;
    struct bb_server *server;
    int fake; /* where the peer that is lied to connects */
    uint16_t port, fake_port;
    size_t asked;
};

static void turn(struct world *world)
{
    for (int i = 0; i < TURNS; i++)
        (void)uv_run(bb_loop_uv(world->loop), UV_RUN_NOWAIT);
}

static void handle(void *arg, struct bb_exchange *exchange, struct bb_slice request)
{
    struct world *world = arg;
    Bb__Proto__SequencerReply reply;
    uint8_t sum = 0;

    for (size_t i = 0; i < request.size; i++)
        sum = (uint8_t)(sum + request.data[i]); /* all of it may be read */
    bb__proto__sequencer_reply__init(&reply);
    reply.status = sum;
    world->asked++;
    bb_exchange_reply(exchange, &reply.base);
}

static void on_reply(void *arg, int status, struct bb_slice reply)
{
    uint8_t sum = 0;

    (void)arg;
    bb_assert(status == BB_OK || reply.size == 0);
    for (size_t i = 0; i < reply.size; i++)
        sum = (uint8_t)(sum + reply.data[i]);
    (void)sum;
}

static struct sockaddr_in local(uint16_t port)
{
    return (struct sockaddr_in){ .sin_family = AF_INET,
                                 .sin_port = htons(port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static void world_open(struct world *world)
{
    struct bb_server_options options = { .context_count = 4, .handle = handle, .arg = world };
    struct bb_ctx ctx = { .env = bb_env_real() };
    char url[64];
    int rc;

    world->loop = bb_loop_new(bb_env_real(), NULL, "fuzz");
    world->port = (uint16_t)(12000 + getpid() % 10000);
    do {
        (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", ++world->port);
        options.url = url;
        rc = bb_server_open(&ctx, world->loop, &options, &world->server);
    } while (rc == BB_ADDRESS_IN_USE);
    bb_assert(rc == BB_OK);
    world->fake = socket(AF_INET, SOCK_STREAM, 0);
    world->fake_port = world->port;
    do {
        struct sockaddr_in address = local(++world->fake_port);
        rc = bind(world->fake, (struct sockaddr *)&address, sizeof address);
    } while (rc != 0);
    bb_assert(listen(world->fake, 8) == 0);
}

/* Sends the input in pieces, whose size is its first byte. */
static void talk(struct world *world, int fd, const uint8_t *data, size_t size)
{
    size_t piece = 1 + data[0];
    uint8_t got[4096];

    for (size_t at = 1; at < size; at += piece) {
        size_t count = size - at < piece ? size - at : piece;
        if (send(fd, data + at, count, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            break;
        turn(world);
    }
    while (recv(fd, got, sizeof got, MSG_DONTWAIT) > 0)
        continue;
    (void)close(fd);
    turn(world);
}

static void as_requester(struct world *world, const uint8_t *data, size_t size)
{
    struct sockaddr_in address = local(world->port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    bb_assert(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    turn(world);
    talk(world, fd, data, size);
}

static void as_replier(struct world *world, const uint8_t *data, size_t size)
{
    Bb__Proto__SequencerRequest request;
    struct bb_peer *peer = NULL;
    struct bb_peer_options options = { .outstanding_max = 4 };
    struct bb_ctx ctx = { .env = bb_env_real() };
    char url[64];

    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", world->fake_port);
    options.url = url;
    bb_assert(bb_peer_open(&ctx, world->loop, &options, &peer) == BB_OK);
    bb__proto__sequencer_request__init(&request);
    for (int i = 0; i < 3; i++)
        bb_assert(bb_peer_request(&ctx, peer, &request.base, 1000, on_reply, world) == BB_OK);
    turn(world);
    int fd = accept(world->fake, NULL, NULL);
    bb_assert(fd >= 0);
    talk(world, fd, data, size);
    bb_peer_close(peer);
    turn(world);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world world;

    if (size < 2)
        return 0;
    if (world.loop == NULL)
        world_open(&world);
    if ((data[0] & 1) != 0)
        as_requester(&world, data, size);
    else
        as_replier(&world, data, size);
    return 0;
}
