#include "sp.h"

#include <netdb.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <uv.h>

#define GREETING    8
#define LENGTH      8
#define READ_MIN    (64u << 10)
#define READ_STEP   (1u << 20)   /* memory that an announced length gets before its bytes come */
#define KEPT_MAX    (256u << 10) /* memory that an idle buffer may keep */
#define KEEPALIVE_S 30
#define UNHEARD_MS                                                                \
    10000 /* what was sent and nobody has confirmed for so long ends a connection \
           */
#define HOST_MAX 256
#define PORT_MAX 65535

struct wire_sp_stream {
    uv_tcp_t tcp;
    struct bb_loop *loop;
    const struct wire_sp_user *user;
    void *arg;
    uint16_t speaks; /* what this side is */
    struct bb_buf in, out, leaving;
    size_t in_start; /* where the bytes that nobody has taken begin */
    uv_connect_t connecting;
    uv_getaddrinfo_t resolving;
    size_t attempt; /* which of the addresses that a name has */
    uv_write_t writing;
    struct bb_task turn; /* sends, and goes on with what was refused */
    bool is_open;        /* the kernel has a connection */
    bool is_up;
    bool is_writing;
    bool is_posted;
    bool is_refused; /* the user takes no message now */
    bool is_reading;
    bool is_closed;
    unsigned holders; /* the handle, a name that is looked up, the posted task */
};

/* ---- urls ---- */

#define SCHEME "tcp://"

bool wire_sp_is_url(const char *url)
{
    return strncmp(url, SCHEME, sizeof SCHEME - 1) == 0;
}

/* Host (NULL: any) and port of a url. */
static bool split(const char *url, char *host, size_t size, const char **port)
{
    const char *start = url + sizeof SCHEME - 1;
    const char *colon = strrchr(start, ':');
    size_t length = colon == NULL ? 0 : (size_t)(colon - start);

    if (length == 0 || length >= size || colon[1] == '\0')
        return false;
    if (start[0] == '[' && start[length - 1] == ']') {
        start++;
        length -= 2;
    }
    memcpy(host, start, length);
    host[length] = '\0';
    *port = colon + 1;
    return strspn(*port, "0123456789") == strlen(*port) && strlen(*port) <= 5 &&
           atoi(*port) <= PORT_MAX;
}

bool wire_sp_is_well_formed(const char *url)
{
    char host[HOST_MAX];
    const char *port;

    return split(url, host, sizeof host, &port);
}

static const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };

int wire_sp_resolve(struct bb_loop *loop, const char *url, void *address)
{
    struct addrinfo wanted = hints;
    uv_getaddrinfo_t request;
    char host[HOST_MAX];
    const char *port;

    if (!split(url, host, sizeof host, &port))
        return BB_BAD_REQUEST;
    bool is_any = strcmp(host, "*") == 0;
    wanted.ai_flags = AI_PASSIVE;
    wanted.ai_family = is_any ? AF_INET : AF_UNSPEC;
    if (uv_getaddrinfo(bb_loop_uv(loop), &request, NULL, is_any ? NULL : host, port, &wanted) != 0)
        return BB_IO;
    memcpy(address, request.addrinfo->ai_addr, request.addrinfo->ai_addrlen);
    uv_freeaddrinfo(request.addrinfo);
    return BB_OK;
}

/* ---- life ---- */

static void let_go(struct wire_sp_stream *stream)
{
    bb_assert(stream->holders > 0);
    if (--stream->holders > 0)
        return;
    bb_buf_fini(&stream->in);
    bb_buf_fini(&stream->out);
    bb_buf_fini(&stream->leaving);
    bb_free(stream);
}

static void on_closed(uv_handle_t *handle)
{
    let_go(handle->data);
}

static void close_handle(struct wire_sp_stream *stream)
{
    stream->is_closed = true;
    stream->is_open = false;
    uv_close((uv_handle_t *)&stream->tcp, on_closed);
}

static void fail(struct wire_sp_stream *stream)
{
    if (stream->is_closed)
        return;
    close_handle(stream);
    stream->user->gone(stream->arg);
}

static void run_turn(struct bb_task *task);

static struct wire_sp_stream *stream_new(struct bb_loop *loop, uint16_t speaks,
                                         const struct wire_sp_user *user, void *arg)
{
    struct wire_sp_stream *stream = bb_alloc_zero(1, sizeof *stream);

    stream->loop = loop;
    stream->user = user;
    stream->arg = arg;
    stream->speaks = speaks;
    stream->turn.run = run_turn;
    stream->holders = 1;
    bb_buf_init(&stream->in);
    bb_buf_init(&stream->out);
    bb_buf_init(&stream->leaving);
    bb_assert(uv_tcp_init(bb_loop_uv(loop), &stream->tcp) == 0);
    stream->tcp.data = stream;
    return stream;
}

static void post_turn(struct wire_sp_stream *stream)
{
    if (stream->is_posted)
        return;
    stream->is_posted = true;
    stream->holders++;
    bb_loop_post(stream->loop, &stream->turn);
}

static void trim(struct bb_buf *buf)
{
    bb_buf_clear(buf);
    if (buf->capacity > KEPT_MAX) {
        bb_buf_fini(buf);
        bb_buf_init(buf);
    }
}

/* ---- writing ---- */

static void on_written(uv_write_t *request, int status)
{
    struct wire_sp_stream *stream = request->data;

    stream->is_writing = false;
    trim(&stream->leaving);
    if (status != 0) {
        fail(stream);
    } else if (!stream->is_closed) {
        post_turn(stream);
    }
}

/* What the kernel does not take now goes to libuv. False: the connection is broken. */
static bool send_out(struct wire_sp_stream *stream)
{
    uv_buf_t all = uv_buf_init((char *)stream->out.data, (unsigned)stream->out.size);
    int taken = uv_try_write((uv_stream_t *)&stream->tcp, &all, 1);

    if (taken < 0 && taken != UV_EAGAIN)
        return false;
    size_t sent = taken < 0 ? 0 : (size_t)taken;
    if (sent == stream->out.size) {
        trim(&stream->out);
        return true;
    }
    struct bb_buf empty = stream->leaving;
    stream->leaving = stream->out;
    stream->out = empty;
    all = uv_buf_init((char *)stream->leaving.data + sent, (unsigned)(stream->leaving.size - sent));
    stream->writing.data = stream;
    stream->is_writing =
        uv_write(&stream->writing, (uv_stream_t *)&stream->tcp, &all, 1, on_written) == 0;
    return stream->is_writing;
}

uint8_t *wire_sp_stream_add(struct wire_sp_stream *stream, size_t size)
{
    uint8_t *at = bb_buf_reserve(&stream->out, LENGTH + size);

    bb_assert(stream->is_up);
    bb_put_be64(at, size);
    stream->out.size += LENGTH + size;
    post_turn(stream);
    return at + LENGTH;
}

size_t wire_sp_stream_unsent(const struct wire_sp_stream *stream)
{
    return stream->out.size + stream->leaving.size;
}

/* ---- reading ---- */

static bool take_greeting(struct wire_sp_stream *stream)
{
    const uint8_t *at = stream->in.data + stream->in_start;
    uint16_t wanted = stream->speaks == SP_REQUESTER ? SP_REPLIER : SP_REQUESTER;
    const uint8_t greeting[GREETING] = { 0, 'S', 'P', 0, 0, (uint8_t)wanted, 0, 0 };

    if (memcmp(at, greeting, GREETING) != 0)
        return false;
    stream->in_start += GREETING;
    stream->is_up = true;
    stream->user->up(stream->arg);
    return true;
}

/* How many bytes the next item has, with its length; 0: not known yet. */
static uint64_t next_size(const struct wire_sp_stream *stream)
{
    size_t there = stream->in.size - stream->in_start;

    if (!stream->is_up)
        return GREETING;
    if (there < LENGTH)
        return 0;
    uint64_t size = bb_get_be64(stream->in.data + stream->in_start);
    return size > UINT64_MAX - LENGTH ? UINT64_MAX : LENGTH + size;
}

/* False: what the other side sends is no message. */
static bool take_items(struct wire_sp_stream *stream)
{
    while (!stream->is_closed && !stream->is_refused) {
        uint64_t size = next_size(stream);
        if (size > LENGTH + SP_WORDS_MAX + BB_WIRE_MESSAGE_MAX)
            return false;
        if (size == 0 || stream->in.size - stream->in_start < size)
            return true;
        if (!stream->is_up) {
            if (!take_greeting(stream))
                return false;
            continue;
        }
        struct bb_slice bytes =
            bb_slice(stream->in.data + stream->in_start + LENGTH, (size_t)size - LENGTH);
        stream->is_refused = !stream->user->message(stream->arg, bytes);
        if (!stream->is_refused)
            stream->in_start += (size_t)size;
    }
    return true;
}

static void compact(struct wire_sp_stream *stream)
{
    size_t rest = stream->in.size - stream->in_start;

    if (rest == 0) {
        trim(&stream->in);
    } else if (stream->in_start > 0) {
        memmove(stream->in.data, stream->in.data + stream->in_start, rest);
        stream->in.size = rest;
    }
    stream->in_start = 0;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct wire_sp_stream *stream = handle->data;
    uint64_t size = next_size(stream);
    size_t missing = size > stream->in.size ? (size_t)(size - stream->in.size) : 0;

    (void)suggested;
    missing = missing > READ_STEP ? READ_STEP : missing;
    missing = missing < READ_MIN ? READ_MIN : missing;
    *buffer = uv_buf_init((char *)bb_buf_reserve(&stream->in, missing), (unsigned)missing);
}

static void on_read(uv_stream_t *tcp, ssize_t size, const uv_buf_t *buffer);

static void read_if_wanted(struct wire_sp_stream *stream)
{
    bool is_wanted = stream->is_open && !stream->is_refused;

    if (is_wanted == stream->is_reading || stream->is_closed)
        return;
    stream->is_reading = is_wanted;
    if (is_wanted) {
        bb_assert(uv_read_start((uv_stream_t *)&stream->tcp, on_alloc, on_read) == 0);
    } else {
        (void)uv_read_stop((uv_stream_t *)&stream->tcp); /* it cannot fail */
    }
}

/* The stream is not touched any more by callers when it was closed meanwhile. */
static void take_in(struct wire_sp_stream *stream)
{
    stream->holders++;
    if (!take_items(stream)) {
        fail(stream);
    } else if (!stream->is_closed) {
        compact(stream);
        read_if_wanted(stream);
    }
    let_go(stream);
}

static void on_read(uv_stream_t *tcp, ssize_t size, const uv_buf_t *buffer)
{
    struct wire_sp_stream *stream = tcp->data;

    (void)buffer;
    if (size < 0) {
        fail(stream);
    } else if (size > 0) {
        stream->in.size += (size_t)size;
        take_in(stream);
    }
}

void wire_sp_stream_resume(struct wire_sp_stream *stream)
{
    if (stream->is_refused)
        post_turn(stream);
}

static void run_turn(struct bb_task *task)
{
    struct wire_sp_stream *stream = bb_container(task, struct wire_sp_stream, turn);

    stream->is_posted = false;
    if (stream->is_open && !stream->is_writing && stream->out.size > 0 && !send_out(stream))
        fail(stream);
    if (stream->is_up && stream->is_open && wire_sp_stream_unsent(stream) == 0)
        stream->user->drained(stream->arg);
    if (stream->is_open && stream->is_refused) {
        stream->is_refused = false;
        take_in(stream);
    }
    let_go(stream);
}

/* ---- begin and end ---- */

static void begin(struct wire_sp_stream *stream)
{
    const uint8_t greeting[GREETING] = { 0, 'S', 'P', 0, 0, (uint8_t)stream->speaks, 0, 0 };
    unsigned unheard_ms = UNHEARD_MS;
    uv_os_fd_t fd;

    /* None is needed to be right. Without the last one a machine that vanishes is missed only after
     * a quarter of an hour, and one that comes back is not tried for minutes. */
    (void)uv_tcp_nodelay(&stream->tcp, 1);
    (void)uv_tcp_keepalive(&stream->tcp, 1, KEEPALIVE_S);
    if (uv_fileno((const uv_handle_t *)&stream->tcp, &fd) == 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unheard_ms, sizeof unheard_ms);
    stream->is_open = true;
    bb_buf_append(&stream->out, greeting, sizeof greeting);
    post_turn(stream);
    read_if_wanted(stream);
}

static void on_connected(uv_connect_t *request, int status)
{
    struct wire_sp_stream *stream = request->data;

    if (stream->is_closed)
        return;
    if (status != 0) {
        fail(stream);
    } else {
        begin(stream);
    }
}

static const struct sockaddr *choose(const struct addrinfo *found, size_t attempt)
{
    size_t count = 0;

    for (const struct addrinfo *one = found; one != NULL; one = one->ai_next)
        count++;
    for (attempt %= count; attempt > 0; attempt--)
        found = found->ai_next;
    return found->ai_addr;
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct wire_sp_stream *stream = request->data;

    stream->connecting.data = stream;
    if (!stream->is_closed &&
        (status != 0 || uv_tcp_connect(&stream->connecting, &stream->tcp,
                                       choose(found, stream->attempt), on_connected) != 0))
        fail(stream);
    uv_freeaddrinfo(found);
    let_go(stream);
}

/* Numbers need no looking up, which takes a thread. */
static bool read_numbers(const char *host, const char *port, struct sockaddr_storage *address)
{
    int number = atoi(port);
    union {
        struct sockaddr_storage any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } parsed = { 0 };

    if (uv_ip4_addr(host, number, &parsed.v4) != 0 && uv_ip6_addr(host, number, &parsed.v6) != 0)
        return false;
    *address = parsed.any;
    return true;
}

struct wire_sp_stream *wire_sp_stream_dial(struct bb_loop *loop, const char *url, size_t attempt,
                                           const struct wire_sp_user *user, void *arg)
{
    struct wire_sp_stream *stream = stream_new(loop, SP_REQUESTER, user, arg);
    struct sockaddr_storage address;
    char host[HOST_MAX];
    const char *port;
    int rc = UV_EINVAL;

    stream->attempt = attempt;
    stream->connecting.data = stream->resolving.data = stream;
    if (split(url, host, sizeof host, &port)) {
        if (read_numbers(host, port, &address)) {
            rc = uv_tcp_connect(&stream->connecting, &stream->tcp, (struct sockaddr *)&address,
                                on_connected);
        } else {
            rc = uv_getaddrinfo(bb_loop_uv(loop), &stream->resolving, on_resolved, host, port,
                                &hints);
            stream->holders += rc == 0;
        }
    }
    if (rc == 0)
        return stream;
    close_handle(stream);
    return NULL;
}

struct wire_sp_stream *wire_sp_stream_accept(struct bb_loop *loop, void *listener,
                                             const struct wire_sp_user *user, void *arg)
{
    struct wire_sp_stream *stream = stream_new(loop, SP_REPLIER, user, arg);

    if (uv_accept(listener, (uv_stream_t *)&stream->tcp) != 0) {
        close_handle(stream);
        return NULL;
    }
    begin(stream);
    return stream;
}

void wire_sp_stream_close(struct wire_sp_stream *stream)
{
    if (stream == NULL || stream->is_closed)
        return;
    if (stream->is_open && !stream->is_writing && stream->out.size > 0)
        (void)send_out(stream); /* the rest is lost, as with any connection that ends */
    close_handle(stream);
}
