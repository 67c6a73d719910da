/* bb/http.h in memory: whole requests in, responses and event streams out. */
#include "http.h"

#include <stdio.h>

#include "bb/http.h"

#include "parts.h"

struct bb_http {
    struct bb_list link;
    struct sim_node *node;
    struct bb_http_options options;
    struct bb_list calls;
    bool is_stopping;
    void (*stopped)(void *arg);
    void *stopped_arg;
};
struct chunk {
    struct bb_list link;
    struct bb_http_buffer *buffer;
};
/* One exchange, both ends of it: a request until it is answered, then perhaps a stream. */
struct sim_http_call {
    struct sim_http_ask ask;
    uint32_t client_life, gateway_life;
    struct bb_http *http;
    struct bb_list link; /* of the server's calls while it has it */
    bool is_at_server, is_answered, is_stream, has_left, is_over;
    struct bb_arena *arena;
    struct bb_slice body;
    void *data;
    void (*gone)(void *arg);
    void *gone_arg;
    struct bb_http_stream_events events;
    struct bb_list queue;
    size_t queued;
    size_t queued_bytes;
    uint64_t stalled_until_us, last_us;
    bool is_sending, must_close, was_blocked;
    enum bb_http_end end;
};
struct bb_http_request {
    struct sim_http_call call;
};
struct bb_http_stream {
    struct sim_http_call call;
};

static struct bb_list servers;

static struct bb_http *server_of(struct sim_node *node)
{
    if (servers.next == NULL)
        bb_list_init(&servers);
    bb_list_each(item, &servers) {
        struct bb_http *http = bb_container(item, struct bb_http, link);
        if (http->node == node)
            return http;
    }
    return NULL;
}

/* ---- to the client ---- */

struct news {
    struct sim_http_call *call;
    int status;
    struct bb_slice bytes;
    bool is_end, is_stream;
};

static void hear(void *arg)
{
    struct news *news = arg;
    struct sim_http_call *call = news->call;

    if (!call->has_left && !call->is_over) {
        if (news->is_end) {
            call->is_over = true;
            if (call->is_stream && call->ask.on_end != NULL) {
                call->ask.on_end(call->ask.arg);
            } else if (!call->is_stream) {
                call->ask.on_answer(call->ask.arg, 0, BB_SLICE_EMPTY);
            }
        } else if (news->is_stream) {
            call->ask.on_bytes(call->ask.arg, news->bytes);
        } else {
            call->is_over = true;
            call->ask.on_answer(call->ask.arg, news->status, news->bytes);
        }
    }
    bb_free(news);
}

/* In order; a cut holds it up, and then it may be lost with its connection. */
static void travel(void *arg)
{
    struct news *news = arg;
    struct sim_http_call *call = news->call;

    if (call->ask.client->life != call->client_life)
        return;
    if (sim_is_cut(call->ask.gateway, call->ask.client)) {
        (void)sim_after(NULL, 30000, travel, news);
        return;
    }
    uint64_t at_us = sim.now_us > call->last_us ? sim.now_us : call->last_us + 1;
    call->last_us = at_us;
    (void)sim_at(call->ask.client, at_us, hear, news);
}

static void tell(struct sim_http_call *call, const struct news *what)
{
    struct news *news = bb_alloc(sizeof *news);
    uint64_t at_us = sim.now_us + sim_latency();

    *news = *what;
    news->call = call;
    at_us = at_us > call->last_us ? at_us : call->last_us + 1;
    call->last_us = at_us;
    (void)sim_at(NULL, at_us, travel, news);
}

/* ---- the server ---- */

int bb_http_open(struct bb_ctx *ctx, struct bb_loop *loop, const struct bb_http_options *options,
                 struct bb_http **http)
{
    struct bb_http *opened = bb_alloc_zero(1, sizeof *opened);

    (void)ctx;
    (void)loop;
    opened->node = sim.current;
    opened->options = *options;
    bb_list_init(&opened->calls);
    (void)server_of(sim.current);
    bb_list_push_back(&servers, &opened->link);
    *http = opened;
    return BB_OK;
}

uint16_t bb_http_port(const struct bb_http *http)
{
    (void)http;
    return 80;
}

size_t bb_http_connections(const struct bb_http *http)
{
    size_t count = 0;

    bb_list_each(item, &http->calls)
        count++;
    return count;
}

static void check_stopped(void *arg)
{
    struct bb_http *http = arg;

    if (!bb_list_is_empty(&http->calls)) {
        (void)sim_after(http->node, 10000, check_stopped, http);
        return;
    }
    http->stopped(http->stopped_arg);
    sim_loop_touch(http->node);
}

void bb_http_stop(struct bb_http *http, uint32_t limit_ms, void (*done)(void *arg), void *arg)
{
    (void)limit_ms;
    http->is_stopping = true;
    http->stopped = done;
    http->stopped_arg = arg;
    (void)sim_after(http->node, 1000, check_stopped, http);
}

static void drop_calls(struct bb_http *http)
{
    bb_list_each_safe(item, &http->calls) {
        struct sim_http_call *call = bb_container(item, struct sim_http_call, link);
        bb_list_remove(item);
        call->is_at_server = false;
        tell(call, &(struct news){ .is_end = true });
    }
}

void bb_http_close(struct bb_http *http)
{
    if (http == NULL)
        return;
    drop_calls(http);
    bb_list_remove(&http->link);
}

void sim_http_died(struct sim_node *node)
{
    struct bb_http *http = server_of(node);

    if (http != NULL) {
        drop_calls(http);
        bb_list_remove(&http->link);
    }
}

/* ---- requests ---- */

static struct sim_http_call *of(const struct bb_http_request *request)
{
    union {
        const struct bb_http_request *in;
        struct sim_http_call *out;
    } cast = { .in = request };

    return cast.out;
}

enum bb_http_method bb_http_method(const struct bb_http_request *request)
{
    return strcmp(of(request)->ask.method, "GET") == 0 ? BB_HTTP_GET : BB_HTTP_POST;
}

struct bb_slice bb_http_method_name(const struct bb_http_request *request)
{
    return bb_slice_str(of(request)->ask.method);
}

struct bb_slice bb_http_path(const struct bb_http_request *request)
{
    return bb_slice_str(of(request)->ask.path);
}

struct bb_slice bb_http_query(const struct bb_http_request *request)
{
    return bb_slice_str(of(request)->ask.query);
}

struct bb_slice bb_http_header(const struct bb_http_request *request, const char *name)
{
    const char *at = of(request)->ask.headers;
    size_t size = strlen(name);

    while (at != NULL && *at != '\0') {
        const char *end = strchr(at, '\n');
        if (strncmp(at, name, size) == 0 && at[size] == ':')
            return bb_slice(at + size + 2, (size_t)(end - at) - size - 2);
        at = end + 1;
    }
    return BB_SLICE_EMPTY;
}

struct bb_slice bb_http_body(const struct bb_http_request *request)
{
    return of(request)->body;
}

struct bb_arena *bb_http_arena(struct bb_http_request *request)
{
    return request->call.arena;
}

static int hex(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
}

int bb_http_unescape(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice text,
                     bool plus_is_blank, struct bb_slice *to)
{
    uint8_t *out = bb_arena_alloc(arena, text.size + 1);
    size_t size = 0;

    (void)ctx;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '%' && i + 2 < text.size) {
            out[size++] = (uint8_t)(hex(text.data[i + 1]) << 4 | hex(text.data[i + 2]));
            i += 2;
        } else {
            out[size++] = plus_is_blank && text.data[i] == '+' ? ' ' : text.data[i];
        }
    }
    *to = bb_slice(out, size);
    return BB_OK;
}

int bb_http_parameter(struct bb_ctx *ctx, struct bb_http_request *request, const char *name,
                      struct bb_slice *value)
{
    const char *at = request->call.ask.query;
    size_t size = strlen(name);

    *value = BB_SLICE_EMPTY;
    while (at != NULL && *at != '\0') {
        size_t length = strcspn(at, "&");
        if (strncmp(at, name, size) == 0 && at[size] == '=') {
            return bb_http_unescape(ctx, request->call.arena,
                                    bb_slice(at + size + 1, length - size - 1), true, value);
        }
        at += length + (at[length] == '&');
    }
    return BB_OK;
}

void bb_http_set_data(struct bb_http_request *request, void *data)
{
    request->call.data = data;
}

void *bb_http_data(const struct bb_http_request *request)
{
    return of(request)->data;
}

bool bb_http_is_gone(const struct bb_http_request *request)
{
    return of(request)->has_left;
}

void bb_http_on_gone(struct bb_http_request *request, void (*gone)(void *arg), void *arg)
{
    request->call.gone = gone;
    request->call.gone_arg = arg;
}

/* ---- bodies as they come: clients here send none ---- */

bool bb_http_body_is_open(const struct bb_http_request *request)
{
    (void)request;
    return false;
}

int64_t bb_http_body_length(const struct bb_http_request *request)
{
    return (int64_t)bb_http_body(request).size;
}

bool bb_http_field(const struct bb_http_request *request, size_t index, struct bb_slice *name,
                   struct bb_slice *value)
{
    (void)request;
    (void)index;
    (void)name;
    (void)value;
    return false;
}

void bb_http_body_begin(struct bb_http_request *request, const struct bb_http_body_events *events)
{
    (void)request;
    (void)events;
    BB_UNREACHABLE("no body is open");
}

void bb_http_body_pause(struct bb_http_request *request, bool is_paused)
{
    (void)request;
    (void)is_paused;
    BB_UNREACHABLE("no body is open");
}

struct bb_http_stream *bb_http_response_begin(struct bb_http_request *request, int status,
                                              struct bb_slice headers, int64_t length,
                                              const struct bb_http_stream_events *events)
{
    (void)request;
    (void)status;
    (void)headers;
    (void)length;
    (void)events;
    BB_UNREACHABLE("there is no runner");
}

void bb_http_response_send(struct bb_http_stream *stream, struct bb_slice bytes)
{
    (void)stream;
    (void)bytes;
    BB_UNREACHABLE("there is no runner");
}

void bb_http_response_end(struct bb_http_stream *stream)
{
    (void)stream;
    BB_UNREACHABLE("there is no runner");
}

/* ---- answers ---- */

static void answered(struct sim_http_call *call)
{
    call->is_answered = true;
    call->is_at_server = false;
    bb_list_remove(&call->link);
    bb_arena_free(call->arena);
}

void bb_http_respond(struct bb_http_request *request, int status, const char *content_type,
                     struct bb_slice headers, struct bb_slice body)
{
    struct sim_http_call *call = &request->call;

    (void)content_type;
    (void)headers;
    sim_trace_bytes(body);
    tell(call, &(struct news){ .status = status, .bytes = bb_slice_dup(body) });
    answered(call);
}

void bb_http_respond_shared(struct bb_http_request *request, int status, const char *content_type,
                            struct bb_slice headers, struct bb_slice before,
                            struct bb_http_buffer *shared, struct bb_slice after)
{
    struct bb_buf body;

    bb_buf_init(&body);
    bb_buf_append_slice(&body, before);
    bb_buf_append(&body, shared->data, shared->size);
    bb_buf_append_slice(&body, after);
    bb_http_respond(request, status, content_type, headers, bb_buf_slice(&body));
    bb_buf_fini(&body);
}

void bb_http_respond_error(struct bb_http_request *request, int status, const char *code,
                           const char *message)
{
    struct bb_buf body;

    bb_buf_init(&body);
    bb_buf_printf(&body, "{\"code\":\"%s\",\"message\":\"-\"}", code);
    (void)message;
    bb_http_respond(request, status, "application/json", BB_SLICE_EMPTY, bb_buf_slice(&body));
    bb_buf_fini(&body);
}

/* ---- streams ---- */

struct bb_http_buffer *bb_http_buffer_new(struct bb_slice from)
{
    struct bb_http_buffer *buffer = bb_alloc(sizeof *buffer + from.size);

    buffer->reference_count = 1;
    buffer->size = from.size;
    memcpy(buffer->data, from.data, from.size);
    return buffer;
}

struct bb_http_buffer *bb_http_buffer_retain(struct bb_http_buffer *buffer)
{
    buffer->reference_count++;
    return buffer;
}

void bb_http_buffer_release(struct bb_http_buffer *buffer)
{
    if (buffer != NULL && --buffer->reference_count == 0)
        bb_free(buffer);
}

const char *bb_http_end_name(enum bb_http_end end)
{
    static const char *const names[] = { "gone", "stuck", "full", "ours" };

    return names[end];
}

struct bb_http_stream *bb_http_stream_begin(struct bb_http_request *request,
                                            const char *content_type,
                                            const struct bb_http_stream_events *events)
{
    struct sim_http_call *call = &request->call;

    (void)content_type;
    if (call->has_left) {
        answered(call);
        return NULL;
    }
    call->is_stream = call->is_answered = true;
    call->events = *events;
    bb_list_init(&call->queue);
    bb_arena_free(call->arena);
    return (struct bb_http_stream *)(void *)call;
}

static void end_stream(void *arg)
{
    struct sim_http_call *call = arg;

    if (!call->is_at_server)
        return;
    call->is_at_server = false;
    bb_list_remove(&call->link);
    tell(call, &(struct news){ .is_end = true });
    call->events.on_end(call->events.arg, call->end);
    sim_loop_touch(call->http->node);
}

static void send_queue(void *arg)
{
    struct sim_http_call *call = arg;

    call->is_sending = false;
    if (!call->is_at_server)
        return;
    if (call->stalled_until_us > sim.now_us) {
        call->is_sending = true;
        (void)sim_at(call->http->node, call->stalled_until_us, send_queue, call);
        return;
    }
    while (!bb_list_is_empty(&call->queue)) {
        struct chunk *chunk = bb_container(call->queue.next, struct chunk, link);
        bb_list_remove(&chunk->link);
        tell(call, &(struct news){
                       .is_stream = true,
                       .bytes = bb_slice_dup(bb_slice(chunk->buffer->data, chunk->buffer->size)) });
        bb_http_buffer_release(chunk->buffer);
        bb_free(chunk);
    }
    call->queued = call->queued_bytes = 0;
    if (call->must_close) {
        end_stream(call);
        return;
    }
    if (call->was_blocked && call->events.on_drain != NULL) {
        call->was_blocked = false;
        call->events.on_drain(call->events.arg);
    }
    if (call->events.on_sent != NULL)
        call->events.on_sent(call->events.arg);
    sim_loop_touch(call->http->node);
}

static void send_soon(struct sim_http_call *call)
{
    if (!call->is_sending) {
        call->is_sending = true;
        (void)sim_after(call->http->node, 1 + sim_below(50), send_queue, call);
    }
}

static void end_soon(struct sim_http_call *call, enum bb_http_end end)
{
    call->end = end;
    (void)sim_after(call->http->node, 1, end_stream, call);
}

void bb_http_stream_send(struct bb_http_stream *stream, struct bb_http_buffer *buffer)
{
    struct sim_http_call *call = &stream->call;

    if (!call->is_at_server || call->must_close)
        return;
    if (call->queued >= BB_HTTP_STREAM_EVENTS_MAX ||
        call->queued_bytes >= BB_HTTP_STREAM_BYTES_MAX) {
        end_soon(call, BB_HTTP_END_FULL);
        return;
    }
    struct chunk *chunk = bb_alloc_zero(1, sizeof *chunk);
    chunk->buffer = bb_http_buffer_retain(buffer);
    bb_list_push_back(&call->queue, &chunk->link);
    call->queued++;
    call->queued_bytes += buffer->size;
    send_soon(call);
}

bool bb_http_stream_is_blocked(const struct bb_http_stream *stream)
{
    union {
        const struct bb_http_stream *in;
        struct sim_http_call *out;
    } cast = { .in = stream };
    bool is_blocked = cast.out->stalled_until_us > sim.now_us && cast.out->queued > 0;

    cast.out->was_blocked |= is_blocked;
    return is_blocked;
}

size_t bb_http_stream_queued(const struct bb_http_stream *stream, size_t *bytes)
{
    *bytes = stream->call.queued_bytes;
    return stream->call.queued;
}

void bb_http_stream_close(struct bb_http_stream *stream)
{
    stream->call.must_close = true;
    stream->call.end = BB_HTTP_END_OURS;
    send_soon(&stream->call);
}

/* ---- files: none ---- */

int bb_http_files_open(struct bb_ctx *ctx, struct bb_loop *loop, const char *folder,
                       struct bb_http_files **files)
{
    (void)loop;
    (void)folder;
    (void)files;
    return bb_fail(ctx, BB_NOT_FOUND, "the simulator serves no files");
}

void bb_http_files_close(struct bb_http_files *files)
{
    (void)files;
}

void bb_http_files_serve(struct bb_http_files *files, struct bb_http_request *request)
{
    (void)files;
    bb_http_respond_error(request, 404, "NotFound", "no files");
}

/* ---- the client ---- */

static void reach(void *arg)
{
    struct sim_http_call *call = arg;
    struct bb_http *http = server_of(call->ask.gateway);

    if (call->ask.client->life != call->client_life || call->is_over || call->has_left)
        return;
    if (sim_is_cut(call->ask.client, call->ask.gateway)) {
        (void)sim_after(NULL, 30000, reach, call);
        return;
    }
    if (http == NULL || http->is_stopping) {
        tell(call, &(struct news){ .is_end = true });
        return;
    }
    call->http = http;
    call->gateway_life = call->ask.gateway->life;
    call->arena = bb_arena_new(0);
    bb_list_push_back(&http->calls, &call->link);
    call->is_at_server = true;
    (void)sim_at(http->node, sim.now_us, sim_http_handle, call);
}

void sim_http_handle(void *arg)
{
    struct sim_http_call *call = arg;
    struct bb_http *http = call->http;

    if (!call->is_at_server)
        return;
    http->options.handle(http->options.arg, (struct bb_http_request *)(void *)call);
    sim_loop_touch(http->node);
}

struct sim_http_call *sim_http_send(const struct sim_http_ask *ask)
{
    struct bb_http_request *made = bb_alloc_zero(1, sizeof *made);
    struct sim_http_call *call = &made->call;

    call->ask = *ask;
    call->ask.path = bb_strdup(ask->path);
    call->ask.query = bb_strdup(ask->query == NULL ? "" : ask->query);
    call->ask.headers = bb_strdup(ask->headers == NULL ? "" : ask->headers);
    call->body = bb_slice_dup(ask->body);
    call->client_life = ask->client->life;
    bb_list_init(&call->link);
    sim_trace_bytes(call->body);
    (void)sim_after(NULL, sim_latency(), reach, call);
    return call;
}

static void notice_gone(void *arg)
{
    struct sim_http_call *call = arg;

    if (!call->is_at_server)
        return;
    if (call->is_stream) {
        call->end = BB_HTTP_END_GONE;
        end_stream(call);
    } else if (call->gone != NULL) {
        call->gone(call->gone_arg);
        sim_loop_touch(call->http->node);
    }
}

void sim_http_leave(struct sim_http_call *call)
{
    if (call->has_left)
        return;
    call->has_left = true;
    if (call->is_at_server)
        (void)sim_after(call->http->node, sim_latency(), notice_gone, call);
}

void sim_http_stall(struct sim_http_call *call, uint64_t us)
{
    call->stalled_until_us = sim.now_us + us;
}

/* ---- WebSockets: nobody here opens one ---- */

bool bb_http_wants_socket(const struct bb_http_request *request)
{
    (void)request;
    return false;
}

struct bb_http_stream *bb_http_socket_begin(struct bb_http_request *request,
                                            const struct bb_http_socket_events *events)
{
    (void)request;
    (void)events;
    BB_UNREACHABLE("no request asks for a WebSocket");
}

struct bb_http_buffer *bb_http_socket_text(struct bb_slice text)
{
    return bb_http_buffer_new(text);
}

void bb_http_socket_ping(struct bb_http_stream *stream)
{
    (void)stream;
}

void bb_http_socket_close(struct bb_http_stream *stream, uint16_t code, const char *reason)
{
    (void)code;
    (void)reason;
    bb_http_stream_close(stream);
}
