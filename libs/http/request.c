#include <stdio.h>

#include "bb/value.h"
#include "server.h"

/* ---- the pool ---- */

struct bb_http_request *http_request_take(struct bb_http *http)
{
    struct bb_http_request *request;

    if (!bb_list_is_empty(&http->idle_requests)) {
        request = bb_container(http->idle_requests.next, struct bb_http_request, link);
        bb_list_remove(&request->link);
        http->idle_request_count--;
        return request;
    }
    request = bb_alloc_zero(1, sizeof(*request));
    bb_list_init(&request->link);
    request->http = http;
    request->arena = bb_arena_new(HTTP_ARENA_MAX);
    http_message_init(&request->message, http->options.body_max);
    bb_buf_init(&request->decoded);
    return request;
}

void http_request_free(struct bb_http_request *request)
{
    http_message_fini(&request->message);
    bb_buf_fini(&request->decoded);
    bb_arena_free(request->arena);
    bb_free(request);
}

void http_request_release(struct bb_http_request *request)
{
    struct bb_http *http = request->http;

    if (http->is_closed || http->idle_request_count >= HTTP_REQUEST_POOL) {
        http_request_free(request);
        return;
    }
    http_message_clear(&request->message);
    bb_buf_fini(&request->decoded);
    bb_buf_init(&request->decoded);
    bb_arena_reset(request->arena);
    request->is_decoded = false;
    request->is_body_open = request->is_body_begun = request->is_body_paused = false;
    request->data = NULL;
    request->gone = NULL;
    request->connection = NULL;
    bb_list_push_back(&http->idle_requests, &request->link);
    http->idle_request_count++;
}

/* ---- what the owner asks ---- */

enum bb_http_method bb_http_method(const struct bb_http_request *request)
{
    return request->message.method;
}

struct bb_slice bb_http_method_name(const struct bb_http_request *request)
{
    return request->message.method_name;
}

struct bb_slice bb_http_path(const struct bb_http_request *request)
{
    return request->message.path;
}

struct bb_slice bb_http_query(const struct bb_http_request *request)
{
    return request->message.query;
}

struct bb_slice bb_http_header(const struct bb_http_request *request, const char *name)
{
    return http_message_field(&request->message, name);
}

struct bb_slice bb_http_body(const struct bb_http_request *request)
{
    return bb_buf_slice(request->is_decoded ? &request->decoded : &request->message.body);
}

int64_t bb_http_body_length(const struct bb_http_request *request)
{
    return request->message.is_chunked ? -1 : (int64_t)request->message.content_length;
}

bool bb_http_field(const struct bb_http_request *request, size_t index, struct bb_slice *name,
                   struct bb_slice *value)
{
    if (index >= request->message.field_count)
        return false;
    *name = request->message.fields[index].name;
    *value = request->message.fields[index].value;
    return true;
}

/* ---- a body as it comes ---- */

bool bb_http_body_is_open(const struct bb_http_request *request)
{
    return request->is_body_open;
}

void bb_http_body_begin(struct bb_http_request *request, const struct bb_http_body_events *events)
{
    bb_assert(request->is_body_open && !request->is_body_begun);
    request->body_events = *events;
    request->is_body_begun = true;
    /* What is there already is told when the loop is about to sleep. */
    if (request->connection != NULL)
        http_connection_dirty(request->connection);
}

void bb_http_body_pause(struct bb_http_request *request, bool is_paused)
{
    if (request->is_body_paused == is_paused)
        return;
    request->is_body_paused = is_paused;
    if (!is_paused && request->connection != NULL)
        http_connection_dirty(request->connection);
}

void http_request_body_end(struct bb_http_request *request, bool is_whole)
{
    request->is_body_open = false;
    if (request->is_body_begun && !request->http->is_closed)
        request->body_events.on_end(request->body_events.arg, is_whole);
}

struct bb_arena *bb_http_arena(struct bb_http_request *request)
{
    return request->arena;
}

void bb_http_set_data(struct bb_http_request *request, void *data)
{
    request->data = data;
}

void *bb_http_data(const struct bb_http_request *request)
{
    return request->data;
}

bool bb_http_is_gone(const struct bb_http_request *request)
{
    return request->connection == NULL || request->connection->is_eof;
}

void bb_http_on_gone(struct bb_http_request *request, void (*gone)(void *arg), void *arg)
{
    request->gone = gone;
    request->gone_arg = arg;
}

void http_request_gone(struct bb_http_request *request)
{
    void (*gone)(void *arg) = request->gone;

    request->gone = NULL;
    if (gone != NULL && !request->http->is_closed)
        gone(request->gone_arg);
}

static int hex_of(uint8_t byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

int bb_http_unescape(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice text,
                     bool plus_is_blank, struct bb_slice *to)
{
    uint8_t *out = bb_arena_alloc(arena, text.size + 1);
    size_t size = 0;

    if (out == NULL)
        return bb_fail(ctx, BB_TOO_LARGE, "the URL is too large");
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];

        if (byte == '%') {
            int high = i + 2 < text.size ? hex_of(text.data[i + 1]) : -1;
            int low = i + 2 < text.size ? hex_of(text.data[i + 2]) : -1;

            if (high < 0 || low < 0)
                return bb_fail(ctx, BB_BAD_REQUEST, "a malformed %% escape in the URL");
            byte = (uint8_t)(high << 4 | low);
            i += 2;
        } else if (byte == '+' && plus_is_blank) {
            byte = ' ';
        }
        out[size++] = byte;
    }
    if (!bb_utf8_is_valid(bb_slice(out, size)))
        return bb_fail(ctx, BB_BAD_REQUEST, "the URL is not UTF-8");
    *to = bb_slice(out, size);
    return BB_OK;
}

int bb_http_parameter(struct bb_ctx *ctx, struct bb_http_request *request, const char *name,
                      struct bb_slice *value)
{
    struct bb_slice query = request->message.query;
    size_t name_size = strlen(name);

    *value = BB_SLICE_EMPTY;
    while (query.size > 0) {
        const uint8_t *and = memchr(query.data, '&', query.size);
        size_t size = and == NULL ? query.size : (size_t)(and-query.data);

        if (size > name_size && query.data[name_size] == '=' &&
            memcmp(query.data, name, name_size) == 0) {
            return bb_http_unescape(ctx, request->arena,
                                    bb_slice(query.data + name_size + 1, size - name_size - 1),
                                    true, value);
        }
        size += and != NULL;
        query = bb_slice(query.data + size, query.size - size);
    }
    return BB_OK;
}

/* ---- the answer ---- */

static const char *reason_of(int status)
{
    switch (status) {
    case 101:
        return "Switching Protocols";
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 201:
        return "Created";
    case 202:
        return "Accepted";
    case 206:
        return "Partial Content";
    case 301:
        return "Moved Permanently";
    case 302:
        return "Found";
    case 303:
        return "See Other";
    case 304:
        return "Not Modified";
    case 307:
        return "Temporary Redirect";
    case 308:
        return "Permanent Redirect";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 409:
        return "Conflict";
    case 410:
        return "Gone";
    case 413:
        return "Content Too Large";
    case 415:
        return "Unsupported Media Type";
    case 417:
        return "Expectation Failed";
    case 422:
        return "Unprocessable Content";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return "Status";
    }
}

void http_head_append(struct bb_http_request *request, struct bb_buf *to, int status,
                      const char *content_type, int64_t length, bool closes,
                      struct bb_slice headers)
{
    struct bb_http *http = request->http;

    bb_buf_printf(to, "HTTP/1.1 %d %s\r\n", status, reason_of(status));
    if (content_type != NULL)
        bb_buf_printf(to, "Content-Type: %s\r\n", content_type);
    if (length >= 0)
        bb_buf_printf(to, "Content-Length: %" PRId64 "\r\n", length);
    bb_buf_append_slice(to, headers);
    if (http->options.decorate != NULL)
        http->options.decorate(http->options.arg, request, to);
    if (closes) {
        bb_buf_append_str(to, "Connection: close\r\n");
    } else if (request->message.is_http_1_0) {
        bb_buf_append_str(to, "Connection: keep-alive\r\n");
    }
    bb_buf_append_str(to, "\r\n");
}

/* Bytes that are not copied, if that is worth it. */
static void append_shared(struct http_connection *connection, struct bb_http_buffer *buffer)
{
    if (buffer->size <= HTTP_COPIED_MAX || connection->piece_count == HTTP_PIECES_MAX) {
        bb_buf_append(&connection->out, buffer->data, buffer->size);
        return;
    }
    connection->pieces[connection->piece_count++] =
        (struct http_piece){ connection->out.size, bb_http_buffer_retain(buffer) };
    connection->piece_bytes += buffer->size;
}

static void respond(struct bb_http_request *request, int status, const char *content_type,
                    struct bb_slice headers, struct bb_slice before, struct bb_http_buffer *shared,
                    struct bb_slice after)
{
    size_t size = before.size + (shared == NULL ? 0 : shared->size) + after.size;
    struct http_connection *connection = request->connection;
    bool has_body = status >= 200 && status != 204 && status != 304;
    bool closes;

    if (connection == NULL) {
        http_request_release(request);
        return;
    }
    bb_assert(connection->request == request && connection->is_handling);
    if (request->is_body_open && !connection->is_lingering) {
        /* What is left of the body is dropped. */
        request->is_body_open = false;
        connection->is_lingering = true;
        connection->deadline_us = bb_loop_now_us(request->http->loop) + HTTP_LINGER_MS * 1000ull;
    }
    closes = connection->is_lingering || connection->is_eof || request->http->is_stopping ||
             !request->message.keeps_alive;
    http_head_append(request, &connection->out, status, content_type, has_body ? (int64_t)size : -1,
                     closes, headers);
    if (has_body && request->message.method != BB_HTTP_HEAD) {
        bb_buf_append_slice(&connection->out, before);
        if (shared != NULL)
            append_shared(connection, shared);
        bb_buf_append_slice(&connection->out, after);
    }
    connection->request = NULL;
    connection->is_handling = false;
    if (closes && !connection->is_lingering)
        connection->closes_after_write = true;
    if (!connection->is_lingering) {
        connection->deadline_us = bb_loop_now_us(request->http->loop) +
                                  (uint64_t)request->http->options.idle_timeout_ms * 1000;
    }
    http_request_release(request);
    http_connection_dirty(connection);
    http_connection_next(connection);
}

void bb_http_respond(struct bb_http_request *request, int status, const char *content_type,
                     struct bb_slice headers, struct bb_slice body)
{
    respond(request, status, content_type, headers, body, NULL, BB_SLICE_EMPTY);
}

void bb_http_respond_shared(struct bb_http_request *request, int status, const char *content_type,
                            struct bb_slice headers, struct bb_slice before,
                            struct bb_http_buffer *shared, struct bb_slice after)
{
    respond(request, status, content_type, headers, before, shared, after);
}

void bb_http_respond_error(struct bb_http_request *request, int status, const char *code,
                           const char *message)
{
    struct bb_buf body;

    bb_buf_init(&body);
    bb_buf_append_str(&body, "{\"code\":");
    bb_json_string(&body, bb_slice_str(code));
    bb_buf_append_str(&body, ",\"message\":");
    bb_json_string(&body, bb_slice_str(message));
    bb_buf_append_byte(&body, '}');
    bb_http_respond(request, status, "application/json",
                    bb_slice_str(status == 503 ? "Retry-After: 1\r\n" : ""), bb_buf_slice(&body));
    bb_buf_fini(&body);
}
