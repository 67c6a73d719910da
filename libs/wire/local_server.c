/* The answering side of an address of this process. */
#include "local.h"

#include <stdatomic.h>

#include "bb/obs.h"

/* What holds a request until it is answered, also when the server has closed meanwhile. */
struct local_exchange {
    struct bb_exchange base;
    struct bb_list all;
    struct local_exchange *next_free;
    struct wire_local_server *server;
    /* Whoever takes it out answers it: a reply on any thread, or the server's close. */
    _Atomic(struct wire_errand *) errand;
    struct bb_buf request;
};

struct wire_local_server {
    struct bb_loop *loop;
    struct wire_door *door;
    struct wire_host *host;
    struct bb_task task; /* takes those that wait; in the inbox while `is_posted` */
    atomic_bool is_posted, is_closing;
    _Atomic(struct local_exchange *) free; /* any thread pushes, the owner takes all */
    struct local_exchange *spare;          /* the owner's */
    struct bb_list all, waiting;           /* exchanges; errands beyond the most at once */
    size_t at_once_max;
    atomic_size_t at_once;
    atomic_bool has_waiting;
    /* One for the opener, one for each exchange that is held, one for the task. */
    atomic_size_t references;
    void (*handle)(void *arg, struct bb_exchange *exchange, struct bb_slice request);
    void *arg;
};

static void release(struct wire_local_server *server)
{
    if (atomic_fetch_sub(&server->references, 1) != 1)
        return;
    while (!bb_list_is_empty(&server->all)) {
        struct local_exchange *exchange =
            bb_container(server->all.next, struct local_exchange, all);
        bb_list_remove(&exchange->all);
        bb_buf_fini(&exchange->request);
        bb_arena_free(exchange->base.arena);
        bb_free(exchange);
    }
    wire_host_release(server->host);
    bb_free(server);
}

/* ---- a request comes ---- */

static struct local_exchange *exchange_take(struct wire_local_server *server)
{
    if (server->spare == NULL)
        server->spare = atomic_exchange_explicit(&server->free, NULL, memory_order_acquire);
    struct local_exchange *exchange = server->spare;
    if (exchange != NULL) {
        server->spare = exchange->next_free;
        return exchange;
    }
    exchange = bb_alloc_zero(1, sizeof *exchange);
    exchange->base.kind = WIRE_EXCHANGE_LOCAL;
    exchange->server = server;
    bb_buf_init(&exchange->request);
    bb_list_push_back(&server->all, &exchange->all);
    return exchange;
}

static void give_back(struct local_exchange *exchange)
{
    struct wire_local_server *server = exchange->server;
    struct local_exchange *head = atomic_load_explicit(&server->free, memory_order_relaxed);

    do {
        exchange->next_free = head;
    } while (!atomic_compare_exchange_weak_explicit(&server->free, &head, exchange,
                                                    memory_order_release, memory_order_relaxed));
}

static void begin(struct wire_local_server *server, struct wire_errand *errand)
{
    struct local_exchange *exchange = exchange_take(server);
    struct bb_buf old = exchange->request;

    exchange->request = errand->request;
    errand->request = old;
    atomic_store(&exchange->errand, errand);
    (void)atomic_fetch_add(&server->references, 1);
    (void)atomic_fetch_add(&server->at_once, 1);
    server->handle(server->arg, &exchange->base, bb_buf_slice(&exchange->request));
}

static bool has_room(struct wire_local_server *server)
{
    return atomic_load(&server->at_once) < server->at_once_max;
}

static void begin_waiting(struct wire_local_server *server)
{
    while (!bb_list_is_empty(&server->waiting) && has_room(server)) {
        struct wire_errand *errand = bb_container(server->waiting.next, struct wire_errand, waits);
        bb_list_remove(&errand->waits);
        begin(server, errand);
    }
    atomic_store(&server->has_waiting, !bb_list_is_empty(&server->waiting));
    /* A reply between the two lines above has not seen that somebody waits. */
    if (!bb_list_is_empty(&server->waiting) && has_room(server))
        begin_waiting(server);
}

static void take(void *arg, struct wire_item *oldest)
{
    struct wire_local_server *server = arg;

    while (oldest != NULL) {
        struct wire_errand *errand = bb_container(oldest, struct wire_errand, item);
        oldest = oldest->next;
        if (bb_list_is_empty(&server->waiting) && has_room(server)) {
            begin(server, errand);
        } else {
            bb_list_push_back(&server->waiting, &errand->waits);
        }
    }
    if (!bb_list_is_empty(&server->waiting))
        begin_waiting(server);
}

static void on_room(struct bb_task *task)
{
    struct wire_local_server *server = bb_container(task, struct wire_local_server, task);

    atomic_store(&server->is_posted, false);
    if (!atomic_load(&server->is_closing))
        begin_waiting(server);
    release(server);
}

/* ---- its answer ---- */

static void made_room(struct wire_local_server *server)
{
    (void)atomic_fetch_sub(&server->at_once, 1);
    if (!atomic_load(&server->has_waiting) || atomic_exchange(&server->is_posted, true))
        return;
    (void)atomic_fetch_add(&server->references, 1);
    if (!wire_host_post(server->host, server->loop, &server->task))
        release(server);
}

void wire_local_reply(struct bb_exchange *base, const ProtobufCMessage *message)
{
    struct local_exchange *exchange = bb_container(base, struct local_exchange, base);
    struct wire_local_server *server = exchange->server;
    struct wire_errand *errand = atomic_exchange(&exchange->errand, NULL);

    if (errand != NULL) {
        /* As in nng_server.c: an empty message ends the asker's wait. */
        if (wire_pack_into(NULL, message, &errand->reply) != BB_OK) {
            bb_error(bb_loop_ctx(server->loop), "wire.reply_too_large", "message=%s",
                     message->descriptor->short_name);
            bb_buf_clear(&errand->reply);
        }
        wire_errand_end(errand, BB_OK);
    }
    /* The message may borrow from both, so they go only now. */
    wire_trim(&exchange->request);
    if (exchange->base.arena != NULL)
        bb_arena_reset(exchange->base.arena);
    give_back(exchange);
    made_room(server);
    release(server);
}

/* ---- open and close ---- */

int wire_local_server_open(struct bb_ctx *ctx, struct bb_loop *loop,
                           const struct bb_server_options *options,
                           struct wire_local_server **opened)
{
    struct wire_local_server *server = bb_alloc_zero(1, sizeof *server);

    server->loop = loop;
    server->task.run = on_room;
    server->handle = options->handle;
    server->arg = options->arg;
    server->at_once_max =
        options->context_count == 0 ? WIRE_CONTEXTS_DEFAULT : options->context_count;
    atomic_init(&server->references, 1);
    bb_list_init(&server->all);
    bb_list_init(&server->waiting);
    server->door = wire_door_new(loop, take, server);
    int rc = wire_host_open(options->url, server->door, &server->host);
    if (rc != BB_OK) {
        (void)wire_door_close(server->door);
        release(server);
        return wire_fail_in_use(ctx, options->url);
    }
    *opened = server;
    return BB_OK;
}

void wire_local_server_close(struct wire_local_server *server)
{
    bb_assert(!atomic_exchange(&server->is_closing, true));
    wire_host_close(server->host);
    struct wire_item *oldest = wire_door_close(server->door);
    while (oldest != NULL) {
        struct wire_errand *errand = bb_container(oldest, struct wire_errand, item);
        oldest = oldest->next;
        wire_errand_end(errand, BB_PEER_GONE);
    }
    while (!bb_list_is_empty(&server->waiting)) {
        struct wire_errand *errand = bb_container(server->waiting.next, struct wire_errand, waits);
        bb_list_remove(&errand->waits);
        wire_errand_end(errand, BB_PEER_GONE);
    }
    bb_list_each(item, &server->all) {
        struct local_exchange *exchange = bb_container(item, struct local_exchange, all);
        struct wire_errand *errand = atomic_exchange(&exchange->errand, NULL);
        if (errand != NULL)
            wire_errand_end(errand, BB_PEER_GONE);
    }
    release(server);
}
