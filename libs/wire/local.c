/*
 * Addresses of this process (inproc://name), without nng: a request is a struct that goes from the
 * inbox of one loop to the inbox of another, and its bytes are packed and unpacked as everywhere.
 * nng would hand each of its four steps to a thread of its own, which costs several wake-ups.
 *
 * An errand has one owner at a time, and pushing it into a door hands it over. What is shared, an
 * open address and an asker that may leave before its answer comes, is behind a lock that is held
 * for the push alone.
 */
#include "local.h"

#include <stdatomic.h>

#define KEPT_BYTES_MAX (64u << 10) /* memory that an idle buffer may keep */

struct wire_desk {
    struct bb_mutex *mutex;
    struct wire_door *door; /* NULL: closed */
    atomic_size_t references;
};

struct wire_host {
    struct bb_list link; /* in `hosts` while it is open */
    char *url;
    struct bb_mutex *mutex;
    struct wire_door *door; /* NULL: closed */
    atomic_size_t references;
};

/* All open addresses, newest first; guarded by the lock. */
struct registry {
    struct bb_mutex *mutex;
    struct bb_list hosts;
};
static _Atomic(struct registry *) registry;

static struct registry *the_registry(void)
{
    struct registry *found = atomic_load(&registry);

    if (found != NULL)
        return found;
    struct registry *made = bb_alloc_zero(1, sizeof *made);
    made->mutex = bb_mutex_new();
    bb_list_init(&made->hosts);
    if (atomic_compare_exchange_strong(&registry, &found, made))
        return made; /* it lives as long as the process */
    bb_mutex_free(made->mutex);
    bb_free(made);
    return found;
}

/* ---- desks ---- */

struct wire_desk *wire_desk_new(struct wire_door *door)
{
    struct wire_desk *desk = bb_alloc_zero(1, sizeof *desk);

    desk->mutex = bb_mutex_new();
    desk->door = door;
    atomic_init(&desk->references, 1);
    return desk;
}

void wire_desk_retain(struct wire_desk *desk)
{
    (void)atomic_fetch_add(&desk->references, 1);
}

void wire_desk_release(struct wire_desk *desk)
{
    if (atomic_fetch_sub(&desk->references, 1) != 1)
        return;
    bb_mutex_free(desk->mutex);
    bb_free(desk);
}

void wire_desk_close(struct wire_desk *desk, void (*detach)(void *arg), void *arg)
{
    bb_mutex_lock(desk->mutex);
    desk->door = NULL;
    detach(arg);
    bb_mutex_unlock(desk->mutex);
    wire_desk_release(desk);
}

/* ---- errands ---- */

void wire_trim(struct bb_buf *buf)
{
    if (buf->capacity > KEPT_BYTES_MAX) {
        bb_buf_fini(buf);
        bb_buf_init(buf);
    }
    bb_buf_clear(buf);
}

void wire_errand_free(struct wire_errand *errand)
{
    bb_buf_fini(&errand->request);
    bb_buf_fini(&errand->reply);
    wire_desk_release(errand->desk);
    bb_free(errand);
}

void wire_errand_end(struct wire_errand *errand, int status)
{
    struct wire_desk *desk = errand->desk;

    errand->status = status;
    bb_mutex_lock(desk->mutex);
    bool is_open = desk->door != NULL;
    if (is_open)
        wire_door_push(desk->door, &errand->item);
    bb_mutex_unlock(desk->mutex);
    if (!is_open)
        wire_errand_free(errand);
}

/* ---- hosts ---- */

static struct wire_host *find(struct registry *all, const char *url)
{
    bb_list_each(item, &all->hosts) {
        struct wire_host *host = bb_container(item, struct wire_host, link);
        if (strcmp(host->url, url) == 0)
            return host;
    }
    return NULL;
}

int wire_host_open(const char *url, struct wire_door *door, struct wire_host **host)
{
    struct registry *all = the_registry();
    int rc = BB_ADDRESS_IN_USE;

    bb_mutex_lock(all->mutex);
    if (find(all, url) == NULL) {
        struct wire_host *made = bb_alloc_zero(1, sizeof *made);
        made->url = bb_strdup(url);
        made->mutex = bb_mutex_new();
        made->door = door;
        atomic_init(&made->references, 1);
        bb_list_push_front(&all->hosts, &made->link);
        *host = made;
        rc = BB_OK;
    }
    bb_mutex_unlock(all->mutex);
    return rc;
}

struct wire_host *wire_host_find(const char *url)
{
    struct registry *all = the_registry();

    bb_mutex_lock(all->mutex);
    struct wire_host *host = find(all, url);
    if (host != NULL)
        (void)atomic_fetch_add(&host->references, 1);
    bb_mutex_unlock(all->mutex);
    return host;
}

void wire_host_release(struct wire_host *host)
{
    if (host == NULL || atomic_fetch_sub(&host->references, 1) != 1)
        return;
    bb_mutex_free(host->mutex);
    bb_free(host->url);
    bb_free(host);
}

void wire_host_close(struct wire_host *host)
{
    struct registry *all = the_registry();

    bb_mutex_lock(all->mutex);
    bb_list_remove(&host->link);
    bb_mutex_unlock(all->mutex);
    bb_mutex_lock(host->mutex);
    host->door = NULL;
    bb_mutex_unlock(host->mutex);
}

bool wire_host_post(struct wire_host *host, struct bb_loop *loop, struct bb_task *task)
{
    bb_mutex_lock(host->mutex);
    bool is_open = host->door != NULL;
    if (is_open)
        bb_loop_post(loop, task);
    bb_mutex_unlock(host->mutex);
    return is_open;
}

bool wire_host_send(struct wire_host *host, struct wire_errand *errand)
{
    bb_mutex_lock(host->mutex);
    bool is_open = host->door != NULL;
    if (is_open)
        wire_door_push(host->door, &errand->item);
    bb_mutex_unlock(host->mutex);
    return is_open;
}

int wire_pack_into(struct bb_ctx *ctx, const ProtobufCMessage *message, struct bb_buf *to)
{
    size_t size = protobuf_c_message_get_packed_size(message);

    if (size > BB_WIRE_MESSAGE_MAX)
        return wire_fail_too_large(ctx, size);
    wire_trim(to);
    size_t done = protobuf_c_message_pack(message, bb_buf_reserve(to, size));
    bb_assert(done == size);
    to->size = size;
    return BB_OK;
}
