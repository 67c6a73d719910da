/*
 * bb/wire.h over a network that is late, loses, repeats, reorders and is cut.
 *
 * A request to a process that is not there waits for it, as a dialer does, then ends with
 * BB_PEER_GONE; one whose process dies ends with that at once. What meets a cut is lost, or comes
 * when the cut is over, as TCP would deliver it.
 */
#include "parts.h"

#include <stdio.h>

#define CONNECT_WAIT_US 1500000
#define CONNECT_STEP_US 20000
#define CUT_STEP_US     30000

/* ---- the network ---- */

uint64_t sim_latency(void)
{
    return sim.weather.latency_us + sim_below(sim.weather.jitter_us + 1);
}

bool sim_is_cut(const struct sim_node *from, const struct sim_node *to)
{
    return from != NULL && to != NULL && sim.cut[from->index][to->index] > sim.now_us;
}

void sim_cut(struct sim_node *from, struct sim_node *to, uint64_t us)
{
    sim_trace("cut %s -> %s for %.3f s", from->name, to->name, (double)us / 1e6);
    sim.cut[from->index][to->index] = sim.now_us + us;
}

void sim_heal(void)
{
    memset(sim.cut, 0, sizeof sim.cut);
}

struct packet {
    struct sim_node *from, *to;
    uint32_t from_life, to_life;
    void (*run)(void *arg);
    void *arg;
};

static void arrive(void *arg)
{
    struct packet *packet = arg;

    if (sim_is_cut(packet->from, packet->to)) {
        if (sim_chance(200000)) {
            bb_free(packet);
            return;
        }
        (void)sim_after(NULL, CUT_STEP_US + sim_below(CUT_STEP_US), arrive, packet);
        return;
    }
    if (packet->to->life == packet->to_life)
        (void)sim_at(packet->to, sim.now_us, packet->run, packet->arg);
    bb_free(packet);
}

void sim_send(struct sim_node *from, struct sim_node *to, void (*run)(void *arg), void *arg)
{
    if (sim_chance(sim.weather.loss_ppm))
        return;
    struct packet *packet = bb_alloc(sizeof *packet);
    *packet = (struct packet){
        .from = from, .to = to, .from_life = from->life, .to_life = to->life, .run = run, .arg = arg
    };
    (void)sim_after(NULL, sim_latency(), arrive, packet);
}

/* ---- requests ---- */

enum call_state {
    CALL_OPEN,     /* on its way, or being handled */
    CALL_ANSWERED, /* at the server */
    CALL_ENDED     /* `done` was called */
};
struct call {
    struct bb_list link; /* of sim_calls while open */
    enum call_state state;
    struct bb_peer *peer;
    struct sim_node *client, *server;
    uint32_t client_life, server_life;
    bool is_delivered;
    uint64_t connect_until_us;
    struct bb_slice request;
    struct sim_event *deadline;
    bb_peer_reply_fn *done;
    void *arg;
};
struct bb_peer {
    char *url;
    struct sim_node *node;
    size_t outstanding, outstanding_max;
    bool is_closing;
};
struct sim_server {
    struct bb_list link;
    char *url;
    struct sim_node *node;
    void (*handle)(void *arg, struct bb_exchange *exchange, struct bb_slice request);
    void *arg;
};
struct bb_server {
    struct sim_server server;
};
struct bb_exchange {
    struct call *call;
    struct bb_arena *arena;
    bool is_copy; /* its answer goes nowhere */
    struct sim_node *server;
};

static struct bb_list calls; /* open ones */

static struct bb_list *open_calls(void)
{
    if (calls.next == NULL)
        bb_list_init(&calls);
    return &calls;
}

static struct sim_server *find_server(const char *url)
{
    for (size_t i = 0; i < sim.node_count; i++) {
        bb_list_each(item, &sim.nodes[i].servers) {
            struct sim_server *server = bb_container(item, struct sim_server, link);
            if (strcmp(server->url, url) == 0)
                return server;
        }
    }
    return NULL;
}

/* tcp://NAME:port is at the node of that name. */
struct sim_node *sim_url_node(const char *url)
{
    for (size_t i = 0; i < sim.node_count; i++) {
        size_t size = strlen(sim.nodes[i].name);
        if (strncmp(url, "tcp://", 6) == 0 && strncmp(url + 6, sim.nodes[i].name, size) == 0 &&
            url[6 + size] == ':')
            return &sim.nodes[i];
    }
    return NULL;
}

static void finish(struct call *call, int status, struct bb_slice reply)
{
    if (call->state == CALL_ENDED)
        return;
    call->state = CALL_ENDED;
    bb_list_remove(&call->link);
    sim_cancel(call->deadline);
    call->peer->outstanding--;
    call->done(call->arg, status, reply);
}

struct ending {
    struct call *call;
    int status;
    struct bb_slice reply;
};

static void end_call(void *arg)
{
    struct ending *ending = arg;
    struct sim_node *node = ending->call->client;

    finish(ending->call, ending->status, ending->reply);
    sim_loop_touch(node);
    bb_free(ending);
}

static void end_later(struct call *call, int status, uint64_t delay_us)
{
    struct ending *ending = bb_alloc_zero(1, sizeof *ending);

    ending->call = call;
    ending->status = status;
    if (call->client->life == call->client_life)
        (void)sim_after(call->client, delay_us, end_call, ending);
}

static void on_deadline(void *arg)
{
    struct call *call = arg;

    call->deadline = NULL;
    finish(call, BB_TIMEOUT, BB_SLICE_EMPTY);
    sim_loop_touch(call->client);
}

/* ---- at the server ---- */

static void handle(void *arg)
{
    struct bb_exchange *exchange = arg;
    struct call *call = exchange->call;
    struct sim_server *server = find_server(call->peer->url);

    if (server == NULL)
        return;
    exchange->server = server->node;
    sim_trace_bytes(call->request);
    server->handle(server->arg, exchange, call->request);
    sim_loop_touch(server->node);
}

static struct bb_exchange *exchange_new(struct call *call)
{
    struct bb_exchange *exchange = bb_alloc_zero(1, sizeof *exchange);

    exchange->call = call;
    exchange->arena = bb_arena_new(0);
    return exchange;
}

static void connect_and_deliver(void *arg)
{
    struct call *call = arg;
    struct sim_node *to = sim_url_node(call->peer->url);

    if (call->state == CALL_ENDED || call->client->life != call->client_life)
        return;
    bool is_there = to != NULL && find_server(call->peer->url) != NULL;
    if (is_there && sim_is_cut(call->client, to)) {
        if (!sim_chance(100000)) /* else it is lost; the deadline ends it */
            (void)sim_after(NULL, CUT_STEP_US, connect_and_deliver, call);
        return;
    }
    if (!is_there) {
        if (sim.now_us >= call->connect_until_us) {
            end_later(call, BB_PEER_GONE, 0);
        } else {
            (void)sim_after(NULL, CONNECT_STEP_US, connect_and_deliver, call);
        }
        return;
    }
    call->server = to;
    call->server_life = to->life;
    call->is_delivered = true;
    (void)sim_at(to, sim.now_us, handle, exchange_new(call));
    if (sim_chance(sim.weather.duplicate_ppm)) {
        struct bb_exchange *copy = exchange_new(call);
        copy->is_copy = true;
        (void)sim_after(to, sim_latency() * (1 + sim_below(20)), handle, copy);
    }
}

struct bb_arena *bb_exchange_arena(struct bb_exchange *exchange)
{
    return exchange->arena;
}

static void reply_arrives(void *arg)
{
    struct ending *ending = arg;
    struct call *call = ending->call;

    if (call->client->life != call->client_life || call->state == CALL_ENDED)
        return;
    if (sim_is_cut(call->server, call->client)) {
        if (!sim_chance(100000))
            (void)sim_after(NULL, CUT_STEP_US, reply_arrives, ending);
        return;
    }
    (void)sim_at(call->client, sim.now_us, end_call, ending);
}

void bb_exchange_reply(struct bb_exchange *exchange, const ProtobufCMessage *message)
{
    struct call *call = exchange->call;
    struct bb_buf packed;

    bb_buf_init(&packed);
    bb_pack_append(&packed, message);
    if (!exchange->is_copy && call->state == CALL_OPEN) {
        struct ending *ending = bb_alloc_zero(1, sizeof *ending);
        call->state = CALL_ANSWERED;
        ending->call = call;
        ending->status = BB_OK;
        ending->reply = bb_buf_slice(&packed);
        sim_trace_bytes(ending->reply);
        sim_failpoint("wire.reply");
        if (!sim_chance(sim.weather.loss_ppm))
            (void)sim_after(NULL, sim_latency(), reply_arrives, ending);
    } else {
        bb_buf_fini(&packed);
    }
    bb_arena_free(exchange->arena);
    bb_free(exchange);
}

int bb_server_open(struct bb_ctx *ctx, struct bb_loop *loop,
                   const struct bb_server_options *options, struct bb_server **server)
{
    struct bb_server *opened = bb_alloc_zero(1, sizeof *opened);

    (void)ctx;
    (void)loop;
    opened->server = (struct sim_server){ .url = bb_strdup(options->url),
                                          .node = sim.current,
                                          .handle = options->handle,
                                          .arg = options->arg };
    bb_list_push_back(&sim.current->servers, &opened->server.link);
    *server = opened;
    return BB_OK;
}

void bb_server_close(struct bb_server *server)
{
    if (server != NULL)
        bb_list_remove(&server->server.link);
}

/* ---- at the client ---- */

int bb_peer_open(struct bb_ctx *ctx, struct bb_loop *loop, const struct bb_peer_options *options,
                 struct bb_peer **peer)
{
    struct bb_peer *opened = bb_alloc_zero(1, sizeof *opened);

    (void)ctx;
    (void)loop;
    opened->url = bb_strdup(options->url);
    opened->node = sim.current;
    opened->outstanding_max = options->outstanding_max == 0 ? 256 : options->outstanding_max;
    *peer = opened;
    return BB_OK;
}

void bb_peer_close(struct bb_peer *peer)
{
    if (peer == NULL)
        return;
    peer->is_closing = true;
    bb_list_each_safe(item, open_calls()) {
        struct call *call = bb_container(item, struct call, link);
        if (call->peer == peer)
            finish(call, BB_CANCELLED, BB_SLICE_EMPTY);
    }
    /* Its memory stays: packets on their way may still name it. */
}

const char *bb_peer_url(const struct bb_peer *peer)
{
    return peer->url;
}

bool bb_peer_is_connected(const struct bb_peer *peer)
{
    (void)peer;
    return true; /* nobody knows before a request has failed */
}

size_t bb_peer_outstanding(const struct bb_peer *peer)
{
    return peer->outstanding;
}

int bb_peer_request(struct bb_ctx *ctx, struct bb_peer *peer, const ProtobufCMessage *message,
                    uint32_t timeout_ms, bb_peer_reply_fn *done, void *arg)
{
    struct bb_buf packed;

    if (peer->is_closing)
        return bb_fail(ctx, BB_CANCELLED, "the connection to %s is closing", peer->url);
    if (peer->outstanding >= peer->outstanding_max)
        return bb_fail(ctx, BB_OVERLOADED, "too many requests to %s are under way", peer->url);
    sim_failpoint("wire.request");
    bb_buf_init(&packed);
    bb_pack_append(&packed, message);
    struct call *call = bb_alloc_zero(1, sizeof *call);
    *call = (struct call){ .peer = peer,
                           .client = peer->node,
                           .client_life = peer->node->life,
                           .connect_until_us = sim.now_us + CONNECT_WAIT_US,
                           .request = bb_buf_slice(&packed),
                           .done = done,
                           .arg = arg };
    bb_list_push_back(open_calls(), &call->link);
    peer->outstanding++;
    call->deadline = sim_after(peer->node, (uint64_t)timeout_ms * 1000, on_deadline, call);
    if (!sim_chance(sim.weather.loss_ppm))
        (void)sim_after(NULL, sim_latency(), connect_and_deliver, call);
    return BB_OK;
}

/* Of the dead node: its servers are gone, who waits for it hears so, its own requests are over. */
void sim_wire_died(struct sim_node *node)
{
    bb_list_init(&node->servers);
    bb_list_each_safe(item, open_calls()) {
        struct call *call = bb_container(item, struct call, link);
        if (call->client == node && call->client_life != node->life) {
            bb_list_remove(&call->link);
            call->state = CALL_ENDED;
        } else if (call->is_delivered && call->server == node && call->state == CALL_OPEN &&
                   call->server_life != node->life) {
            end_later(call, BB_PEER_GONE, sim_latency());
        }
    }
}
