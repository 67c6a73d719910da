/*
 * The answering side of a TCP address.
 *
 * Replies of the owner thread are packed straight into what the connection sends next; those of
 * other threads come through a door. Requests beyond the most at once stay unread, in the kernel
 * after a while, as do those of a connection that does not read its replies.
 */
#include "sp.h"

#include <stdatomic.h>
#include <sys/resource.h>
#include <uv.h>

#include "bb/obs.h"

#define LINKS_MAX     4096
#define STRANGERS_MAX 256  /* connections that have not greeted yet */
#define STRANGER_MS   5000 /* and how long each may take for it */
#define BACKLOG       256
#define UNSENT_MAX                                                                \
    (4u << 20) /* replies that a connection has not taken: no more requests of it \
                */
#define WORD      4
#define WORD_LAST 0x80

/* One connection. */
struct wire_sp_link {
    struct bb_list all; /* in server->strangers until it has greeted, then in server->links */
    uint64_t since_us;
    struct wire_sp_server *server;
    struct wire_sp_stream *stream;
    struct bb_list exchanges;
    bool is_refused; /* there was no room for its next request */
    bool is_known;   /* it has greeted */
};

struct wire_sp_exchange {
    struct bb_exchange base;
    struct wire_item item; /* on its way to the owner, with the reply */
    struct bb_list all;    /* in server->all */
    struct bb_list held;   /* in link->exchanges, or in server->free */
    struct wire_sp_server *server;
    struct wire_sp_link *link; /* the owner's; NULL: the asker is gone */
    uint8_t words[SP_WORDS_MAX];
    size_t words_size;
    struct bb_buf request, reply;
};

struct wire_sp_server {
    struct bb_loop *loop;
    uv_tcp_t *listener;
    struct bb_mutex *mutex; /* guards `door` */
    struct wire_door *door; /* NULL: closed */
    struct bb_list links, all, free;
    struct bb_list strangers; /* oldest first */
    struct bb_timer *timer;   /* runs while there are strangers */
    size_t link_count, link_max, stranger_count, at_once, at_once_max;
    void (*handle)(void *arg, struct bb_exchange *exchange, struct bb_slice request);
    void *arg;
    /* One for the opener and one for each exchange that a handler holds; the last one frees. */
    atomic_size_t references;
};

static void release(struct wire_sp_server *server)
{
    if (atomic_fetch_sub(&server->references, 1) != 1)
        return;
    while (!bb_list_is_empty(&server->all)) {
        struct wire_sp_exchange *exchange =
            bb_container(server->all.next, struct wire_sp_exchange, all);
        bb_list_remove(&exchange->all);
        bb_buf_fini(&exchange->request);
        bb_buf_fini(&exchange->reply);
        bb_arena_free(exchange->base.arena);
        bb_free(exchange);
    }
    bb_mutex_free(server->mutex);
    bb_free(server);
}

/* ---- requests ---- */

static struct wire_sp_exchange *exchange_take(struct wire_sp_link *link)
{
    struct wire_sp_server *server = link->server;
    struct wire_sp_exchange *exchange;

    if (bb_list_is_empty(&server->free)) {
        exchange = bb_alloc_zero(1, sizeof *exchange);
        exchange->base.kind = WIRE_EXCHANGE_SP;
        exchange->server = server;
        bb_buf_init(&exchange->request);
        bb_buf_init(&exchange->reply);
        bb_list_push_back(&server->all, &exchange->all);
    } else {
        exchange = bb_container(server->free.next, struct wire_sp_exchange, held);
        bb_list_remove(&exchange->held);
    }
    exchange->link = link;
    bb_list_push_back(&link->exchanges, &exchange->held);
    return exchange;
}

/* How many bytes the words before the request take; 0: they have no end. */
static size_t words_of(struct bb_slice bytes)
{
    for (size_t at = 0; at + WORD <= bytes.size && at < SP_WORDS_MAX; at += WORD) {
        if ((bytes.data[at] & WORD_LAST) != 0)
            return at + WORD;
    }
    return 0;
}

static bool on_message(void *arg, struct bb_slice bytes)
{
    struct wire_sp_link *link = arg;
    struct wire_sp_server *server = link->server;
    size_t words = words_of(bytes);

    link->is_refused =
        server->at_once >= server->at_once_max || wire_sp_stream_unsent(link->stream) > UNSENT_MAX;
    if (link->is_refused)
        return false;
    if (words == 0)
        return true; /* nobody waits for an answer to this */
    struct wire_sp_exchange *exchange = exchange_take(link);
    memcpy(exchange->words, bytes.data, words);
    exchange->words_size = words;
    wire_trim(&exchange->request);
    bb_buf_append(&exchange->request, bytes.data + words, bytes.size - words);
    server->at_once++;
    (void)atomic_fetch_add(&server->references, 1);
    server->handle(server->arg, &exchange->base, bb_buf_slice(&exchange->request));
    return true;
}

/* ---- replies ---- */

/* Where the reply's `size` bytes go; NULL: nobody waits for them. */
static uint8_t *add_reply(struct wire_sp_exchange *exchange, size_t size)
{
    if (exchange->link == NULL)
        return NULL;
    uint8_t *at = wire_sp_stream_add(exchange->link->stream, exchange->words_size + size);
    memcpy(at, exchange->words, exchange->words_size);
    return at + exchange->words_size;
}

/* On the owner thread: its answer is on its way. */
static void give_back(struct wire_sp_exchange *exchange)
{
    struct wire_sp_server *server = exchange->server;

    bb_list_remove(&exchange->held);
    bb_list_push_front(&server->free, &exchange->held);
    exchange->link = NULL;
    wire_trim(&exchange->request);
    if (exchange->base.arena != NULL)
        bb_arena_reset(exchange->base.arena);
    if (server->at_once-- == server->at_once_max) {
        bb_list_each(item, &server->links) {
            struct wire_sp_link *link = bb_container(item, struct wire_sp_link, all);
            if (link->is_refused)
                wire_sp_stream_resume(link->stream);
        }
    }
    release(server);
}

static void take_replies(void *arg, struct wire_item *oldest)
{
    (void)arg;
    while (oldest != NULL) {
        struct wire_sp_exchange *exchange = bb_container(oldest, struct wire_sp_exchange, item);
        oldest = oldest->next;
        uint8_t *at = add_reply(exchange, exchange->reply.size);
        if (at != NULL && exchange->reply.size > 0)
            memcpy(at, exchange->reply.data, exchange->reply.size);
        wire_trim(&exchange->reply);
        give_back(exchange);
    }
}

/* As in nng_server.c: an empty message ends the asker's wait. */
static size_t size_of(const struct wire_sp_server *server, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);

    if (size <= BB_WIRE_MESSAGE_MAX)
        return size;
    bb_error(bb_loop_ctx(server->loop), "wire.reply_too_large", "message=%s",
             message->descriptor->short_name);
    return 0;
}

static void reply_here(struct wire_sp_exchange *exchange, const ProtobufCMessage *message)
{
    size_t size = size_of(exchange->server, message);
    uint8_t *at = add_reply(exchange, size);

    if (at != NULL && size > 0)
        (void)protobuf_c_message_pack(message, at);
    give_back(exchange);
}

static void reply_there(struct wire_sp_exchange *exchange, const ProtobufCMessage *message)
{
    struct wire_sp_server *server = exchange->server;

    bb_mutex_lock(server->mutex);
    bool is_open = server->door != NULL;
    size_t size = is_open ? size_of(server, message) : 0;
    bb_mutex_unlock(server->mutex);
    if (size > 0) {
        (void)protobuf_c_message_pack(message, bb_buf_reserve(&exchange->reply, size));
        exchange->reply.size = size;
    }
    bb_mutex_lock(server->mutex);
    is_open = server->door != NULL;
    if (is_open)
        wire_door_push(server->door, &exchange->item);
    bb_mutex_unlock(server->mutex);
    if (!is_open)
        release(server);
}

void wire_sp_reply(struct bb_exchange *base, const ProtobufCMessage *message)
{
    struct wire_sp_exchange *exchange = bb_container(base, struct wire_sp_exchange, base);
    struct wire_sp_server *server = exchange->server;

    bb_mutex_lock(server->mutex);
    bool is_open = server->door != NULL;
    bool is_here = is_open && bb_loop_is_owner(server->loop);
    bb_mutex_unlock(server->mutex);
    if (!is_open) {
        release(server);
    } else if (is_here) {
        reply_here(exchange, message);
    } else {
        reply_there(exchange, message);
    }
}

/* ---- connections ---- */

static void link_free(struct wire_sp_link *link)
{
    while (!bb_list_is_empty(&link->exchanges)) {
        struct wire_sp_exchange *exchange =
            bb_container(link->exchanges.next, struct wire_sp_exchange, held);
        bb_list_remove(&exchange->held);
        exchange->link = NULL;
    }
    bb_list_remove(&link->all);
    link->server->link_count--;
    link->server->stranger_count -= link->is_known ? 0 : 1;
    bb_free(link);
}

static void on_up(void *arg)
{
    struct wire_sp_link *link = arg;
    struct wire_sp_server *server = link->server;

    link->is_known = true;
    server->stranger_count--;
    bb_list_remove(&link->all);
    bb_list_push_back(&server->links, &link->all);
}

static void on_drained(void *arg)
{
    (void)arg; /* what was refused comes again by itself */
}

static void on_gone(void *arg)
{
    link_free(arg);
}

static const struct wire_sp_user user = {
    .up = on_up, .message = on_message, .drained = on_drained, .gone = on_gone
};

static void link_close(struct wire_sp_link *link)
{
    wire_sp_stream_close(link->stream);
    link_free(link);
}

static struct wire_sp_link *oldest(struct bb_list *links)
{
    return bb_container(links->next, struct wire_sp_link, all);
}

static void links_close(struct bb_list *links)
{
    while (!bb_list_is_empty(links))
        link_close(oldest(links));
}

/* Who opens connections and says nothing shall not take the places of others. */
static void end_late_strangers(void *arg)
{
    struct wire_sp_server *server = arg;
    uint64_t now_us = bb_loop_now_us(server->loop);
    struct bb_list *strangers = &server->strangers;

    while (!bb_list_is_empty(strangers) &&
           now_us >= oldest(strangers)->since_us + STRANGER_MS * UINT64_C(1000))
        link_close(oldest(strangers));
    if (!bb_list_is_empty(strangers))
        bb_timer_start(server->timer, STRANGER_MS / 5, 0);
}

static void link_add(struct wire_sp_server *server, struct wire_sp_link *link)
{
    link->server = server;
    link->since_us = bb_loop_now_us(server->loop);
    bb_list_init(&link->exchanges);
    if (bb_list_is_empty(&server->strangers))
        bb_timer_start(server->timer, STRANGER_MS, 0);
    bb_list_push_back(&server->strangers, &link->all);
    server->link_count++;
    server->stranger_count++;
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct wire_sp_server *server = listener->data;

    if (status != 0)
        return;
    if (server->stranger_count >= STRANGERS_MAX)
        link_close(oldest(&server->strangers));
    struct wire_sp_link *link = bb_alloc_zero(1, sizeof *link);
    link_add(server, link);
    link->stream = wire_sp_stream_accept(server->loop, listener, &user, link);
    if (link->stream == NULL || server->link_count > server->link_max)
        link_close(link);
}

/* ---- open and close ---- */

/* Connections leave at least half of the files that a process may have open to its own work. */
static size_t most_links(void)
{
    rlim_t wanted = (rlim_t)2 * LINKS_MAX;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return LINKS_MAX;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* what it does not give is less to have */
    }
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur < wanted ? (size_t)limit.rlim_cur / 2 : LINKS_MAX;
}

static void on_listener_closed(uv_handle_t *handle)
{
    bb_free(handle);
}

static int listen_at(struct wire_sp_server *server, const char *url)
{
    struct sockaddr_storage address;
    int rc = wire_sp_resolve(server->loop, url, &address);

    if (rc != BB_OK)
        return rc;
    rc = uv_tcp_bind(server->listener, (const struct sockaddr *)&address, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)server->listener, BACKLOG, on_connection);
    return rc == 0 ? BB_OK : rc == UV_EADDRINUSE ? BB_ADDRESS_IN_USE : BB_IO;
}

int wire_sp_server_open(struct bb_ctx *ctx, struct bb_loop *loop,
                        const struct bb_server_options *options, struct wire_sp_server **server)
{
    struct wire_sp_server *opened = bb_alloc_zero(1, sizeof *opened);

    opened->loop = loop;
    opened->handle = options->handle;
    opened->arg = options->arg;
    opened->at_once_max =
        options->context_count == 0 ? WIRE_CONTEXTS_DEFAULT : options->context_count;
    opened->mutex = bb_mutex_new();
    opened->door = wire_door_new(loop, take_replies, opened);
    atomic_init(&opened->references, 1);
    bb_list_init(&opened->links);
    bb_list_init(&opened->strangers);
    opened->link_max = most_links();
    opened->timer = bb_timer_new(loop, end_late_strangers, opened);
    bb_list_init(&opened->all);
    bb_list_init(&opened->free);
    opened->listener = bb_alloc_zero(1, sizeof *opened->listener);
    bb_assert(uv_tcp_init(bb_loop_uv(loop), opened->listener) == 0);
    opened->listener->data = opened;
    int rc = listen_at(opened, options->url);
    if (rc == BB_OK) {
        *server = opened;
        return BB_OK;
    }
    wire_sp_server_close(opened);
    if (rc == BB_ADDRESS_IN_USE)
        return wire_fail_in_use(ctx, options->url);
    return bb_fail(ctx, rc, "listening at %s: %s", options->url,
                   rc == BB_BAD_REQUEST ? "it is no tcp://HOST:PORT"
                                        : "this machine has no such address");
}

void wire_sp_server_close(struct wire_sp_server *server)
{
    if (server == NULL)
        return;
    bb_mutex_lock(server->mutex);
    struct wire_door *door = server->door;
    server->door = NULL;
    bb_mutex_unlock(server->mutex);
    bb_assert(door != NULL);
    uv_close((uv_handle_t *)server->listener, on_listener_closed);
    take_replies(server, wire_door_close(door));
    links_close(&server->strangers);
    links_close(&server->links);
    bb_timer_free(server->timer);
    release(server);
}
