#include "stream.h"

#include <stdio.h>

#include "auth.h"

#include "bb/conf.h"

#define HEARTBEAT_SECONDS 15u
#define REFRESH_MS_MAX    60000u
#define COPY_MAX          (1u << 20) /* the buffer that events are written in shrinks to this */

struct streams {
    struct bb_list all;
    size_t count;
    uint64_t seconds;
    struct stream **places; /* by the number in the id */
    size_t place_count, place_next;
    struct bb_http_buffer *heartbeat, *hello;
    uint32_t retry_ms, refresh_us;
};

/* ---- events ---- */

static void append_failure(struct bb_buf *to, struct bb_slice json)
{
    bb_buf_append(to, json.data, json.size - 1); /* without the closing brace */
}

static void write_subscribe(struct bb_buf *to, const struct stream *stream,
                            const struct session_event *event)
{
    struct live_result *result = event->changes[0].result;
    struct bb_slice json = gateway_result_json(result, stream->format);

    bb_buf_printf(to, "event: %s\nid: %" PRIu64 "\ndata: ", result->is_failure ? "failed" : "value",
                  event->tx);
    if (result->is_failure) {
        append_failure(to, json); /* {code, errorMessage, errorData */
    } else {
        bb_buf_append_str(to, "{\"value\":");
        bb_buf_append_slice(to, json);
    }
    bb_buf_printf(to, ",\"tx\":%" PRIu64 "}\n\n", event->tx);
}

static void write_change(struct bb_buf *to, const struct stream *stream,
                         const struct session_change *change)
{
    struct bb_slice json = gateway_result_json(change->result, stream->format);
    uint64_t hash[2];

    gateway_session_hash(change->result, hash);
    bb_buf_printf(to, "{\"id\":%" PRIu32 ",\"hash\":\"%016" PRIx64 "%016" PRIx64 "\",\"%s\":",
                  change->query_id, hash[0], hash[1],
                  change->result->is_failure ? "failed" : "value");
    bb_buf_append_slice(to, json);
    bb_buf_append_byte(to, '}');
}

static void write_sync(struct bb_buf *to, const struct stream *stream,
                       const struct session_event *event)
{
    bb_buf_printf(to, "event: changes\nid: %" PRIu64 "\ndata: {\"tx\":%" PRIu64, event->tx,
                  event->tx);
    if (event->set_version != stream->set_version)
        bb_buf_printf(to, ",\"set\":%" PRIu32, event->set_version);
    if (event->identity_version != stream->identity_version)
        bb_buf_printf(to, ",\"identity\":%" PRIu32, event->identity_version);
    if (event->is_resync)
        bb_buf_append_str(to, ",\"resync\":true");
    bb_buf_append_str(to, ",\"changes\":[");
    for (size_t i = 0; i < event->change_count; i++) {
        if (i > 0)
            bb_buf_append_byte(to, ',');
        write_change(to, stream, &event->changes[i]);
    }
    bb_buf_append_str(to, "]}\n\n");
}

static struct bb_http_buffer *make_event(struct stream *stream, const struct session_event *event)
{
    struct bb_buf *bytes = &stream->gateway->json;
    struct bb_http_buffer *buffer;

    bb_buf_clear(bytes);
    if (stream->kind == RESULT_SUBSCRIBE) {
        if (event->is_resync)
            bb_buf_append_str(bytes, "event: resync\ndata: {}\n\n");
        if (event->change_count > 0)
            write_subscribe(bytes, stream, event);
    } else {
        write_sync(bytes, stream, event);
    }
    buffer = bb_http_buffer_new(bb_buf_slice(bytes));
    if (bytes->capacity > COPY_MAX) {
        bb_buf_fini(bytes);
        bb_buf_init(bytes);
    }
    return buffer;
}

/* Many sessions see the same single change: its event is made once. */
static bool is_common(const struct stream *stream, const struct session_event *event)
{
    return event->change_count == 1 && !event->is_resync &&
           (stream->kind == RESULT_SUBSCRIBE ||
            (event->set_version == stream->set_version &&
             event->identity_version == stream->identity_version));
}

/* What only this session wanted need not be kept in two forms. */
static void forget_encoded(const struct session_event *event)
{
    for (size_t i = 0; i < event->change_count; i++) {
        struct live_result *result = event->changes[i].result;

        if (result->reference_count <= 2) /* its entry and this round */
            gateway_result_forget(NULL, result);
    }
}

static void deliver(struct sink *sink, struct session *session, const struct session_event *event)
{
    struct stream *stream = bb_container(sink, struct stream, sink);
    struct bb_http_buffer *buffer = NULL;
    bool common = is_common(stream, event);

    (void)session;
    if (stream->kind == RESULT_SUBSCRIBE && event->change_count == 0 && !event->is_resync)
        return;
    if (common) {
        buffer = gateway_result_event(event->changes[0].result, stream->kind, stream->format,
                                      event->changes[0].query_id, event->tx);
    }
    if (buffer != NULL) {
        bb_http_stream_send(stream->http, buffer);
        return;
    }
    buffer = make_event(stream, event);
    stream->set_version = event->set_version;
    stream->identity_version = event->identity_version;
    if (common) {
        gateway_result_keep_event(event->changes[0].result, stream->kind, stream->format,
                                  event->changes[0].query_id, event->tx, buffer);
    }
    forget_encoded(event);
    bb_http_stream_send(stream->http, buffer);
    bb_http_buffer_release(buffer);
}

static bool is_blocked(const struct sink *sink)
{
    const struct stream *stream =
        (const void *)((const uint8_t *)(const void *)sink - offsetof(struct stream, sink));

    return bb_http_stream_is_blocked(stream->http);
}

#define EXPIRED "{\"code\":\"Unauthorized\",\"errorMessage\":\"The token has expired.\""

/* The session goes on as nobody's; the stream of one query cannot change its user and ends. */
static void on_expired(struct sink *sink, struct session *session)
{
    struct stream *stream = bb_container(sink, struct stream, sink);
    char text[160];

    if (stream->kind != RESULT_SUBSCRIBE) {
        gateway_stream_send(stream, bb_slice_str("event: expired\ndata: " EXPIRED "}\n\n"));
        (void)gateway_session_identify(session, BB_SLICE_EMPTY, false);
        return;
    }
    (void)snprintf(text, sizeof(text), "event: failed\ndata: " EXPIRED ",\"tx\":%" PRIu64 "}\n\n",
                   gateway_session_tx(session));
    gateway_stream_send(stream, bb_slice_str(text));
    bb_http_stream_close(stream->http);
}

/* ---- life ---- */

static void on_drain(void *arg)
{
    struct stream *stream = arg;

    gateway_session_wake(stream->session);
}

static void on_end(void *arg, enum bb_http_end end)
{
    struct stream *stream = arg;
    struct streams *streams = stream->gateway->streams;

    if (end == BB_HTTP_END_STUCK || end == BB_HTTP_END_FULL)
        bb_info(stream->gateway->ctx, "gateway.stream_dropped", "why=%s", bb_http_end_name(end));
    gateway_session_free(stream->session);
    bb_list_remove(&stream->link);
    streams->count--;
    if (stream->kind == RESULT_SYNC) {
        uint32_t place = bb_get_le32(stream->id);

        streams->places[place] = NULL;
        if (place < streams->place_next)
            streams->place_next = place;
    }
    bb_free(stream);
}

/* The number of a free place and 12 bytes that nobody guesses. */
static void name_stream(struct stream *stream)
{
    struct streams *streams = stream->gateway->streams;
    uint8_t random[32];
    size_t place = streams->place_next;

    while (place < streams->place_count && streams->places[place] != NULL)
        place++;
    if (place == streams->place_count) {
        size_t count = place == 0 ? 16 : place * 2;

        streams->places = bb_realloc(streams->places, count * sizeof(struct stream *));
        memset(streams->places + place, 0, (count - place) * sizeof(struct stream *));
        streams->place_count = count;
    }
    streams->places[place] = stream;
    streams->place_next = place + 1;
    gateway_random(stream->gateway, random);
    bb_put_le32(stream->id, (uint32_t)place);
    memcpy(stream->id + 4, random, STREAM_ID_SIZE - 4);
}

struct stream *gateway_stream_find(struct gateway *gateway, const uint8_t id[STREAM_ID_SIZE])
{
    struct streams *streams = gateway->streams;
    uint32_t place = bb_get_le32(id);
    struct stream *stream = place < streams->place_count ? streams->places[place] : NULL;

    if (stream == NULL ||
        !bb_equal_constant_time(bb_slice(stream->id, STREAM_ID_SIZE), bb_slice(id, STREAM_ID_SIZE)))
        return NULL;
    return stream;
}

struct stream *gateway_stream_begin(struct gateway *gateway, struct bb_http_request *request,
                                    const struct stream_options *options)
{
    struct streams *streams = gateway->streams;
    struct stream *stream = bb_alloc_zero(1, sizeof(*stream));
    struct session_options session = { .identity = options->caller->identity,
                                       .expires_us = options->caller->expires_us,
                                       .is_admin = options->caller->is_admin,
                                       .after_tx = options->after_tx,
                                       .is_resync = options->is_resync,
                                       .resends = options->kind == RESULT_SUBSCRIBE,
                                       .refresh_us = options->refresh_us > streams->refresh_us
                                                         ? options->refresh_us
                                                         : streams->refresh_us,
                                       .owner = stream };

    stream->sink =
        (struct sink){ .deliver = deliver, .is_blocked = is_blocked, .expired = on_expired };
    stream->gateway = gateway;
    stream->kind = options->kind;
    stream->format = options->format;
    stream->beat = (uint32_t)(streams->count % HEARTBEAT_SECONDS);
    stream->session = gateway_session_new(gateway_sessions(gateway), &session);
    stream->http = bb_http_stream_begin(
        request, "text/event-stream; charset=utf-8",
        &(struct bb_http_stream_events){ .on_end = on_end, .on_drain = on_drain, .arg = stream });
    if (stream->http == NULL) {
        gateway_session_free(stream->session);
        bb_free(stream);
        return NULL;
    }
    bb_list_push_back(&streams->all, &stream->link);
    streams->count++;
    if (stream->kind == RESULT_SYNC)
        name_stream(stream);
    bb_http_stream_send(stream->http, streams->hello);
    return stream;
}

void gateway_stream_send(struct stream *stream, struct bb_slice bytes)
{
    struct bb_http_buffer *buffer = bb_http_buffer_new(bytes);

    bb_http_stream_send(stream->http, buffer);
    bb_http_buffer_release(buffer);
}

int gateway_stream_caller(struct bb_ctx *ctx, struct gateway *gateway,
                          struct bb_http_request *request, struct caller *caller)
{
    struct bb_slice token;
    int rc = gateway_caller(ctx, gateway, request, caller);

    if (rc == BB_OK)
        rc = bb_http_parameter(ctx, request, "token", &token);
    if (rc == BB_OK && token.size > 0 && !caller->is_admin)
        rc = gateway_auth_token(ctx, gateway, bb_http_arena(request), token, caller);
    return rc;
}

int gateway_stream_refresh(struct bb_ctx *ctx, struct bb_slice text, uint32_t *refresh_us)
{
    uint32_t ms = 0;

    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || ms > REFRESH_MS_MAX)
            ms = REFRESH_MS_MAX + 1;
        else
            ms = ms * 10 + (uint32_t)(text.data[i] - '0');
    }
    if (ms > REFRESH_MS_MAX) {
        return bb_fail(ctx, BB_BAD_REQUEST, "`refreshMs` must be milliseconds, at most %u",
                       REFRESH_MS_MAX);
    }
    *refresh_us = ms * 1000u;
    return BB_OK;
}

int gateway_stream_check_room(struct bb_ctx *ctx, struct gateway *gateway)
{
    if (gateway->is_stopping)
        return bb_fail(ctx, BB_UNAVAILABLE, "This gateway is stopping; connect again.");
    if (!gateway_live_has_room(gateway_sessions_live(gateway_sessions(gateway))))
        return bb_fail(ctx, BB_OVERLOADED, "Too many live queries are open; try again later.");
    return BB_OK;
}

int gateway_stream_after(struct bb_ctx *ctx, const struct gateway *gateway,
                         const struct bb_http_request *request, struct stream_options *options)
{
    struct bb_slice after = bb_http_header(request, "last-event-id");
    int rc;

    if (after.size == 0)
        after = bb_http_header(request, "bitbend-after");
    rc = gateway_parse_tx(ctx, gateway, after, "Last-Event-ID", &options->after_tx);
    if (rc != BB_TX_IN_FUTURE)
        return rc;
    options->is_resync = true;
    options->after_tx = 0;
    return BB_OK;
}

/* ---- all streams ---- */

void gateway_streams_second(struct gateway *gateway)
{
    struct streams *streams = gateway->streams;

    streams->seconds++;
    bb_list_each_safe(item, &streams->all) {
        struct stream *stream = bb_container(item, struct stream, link);

        if (stream->beat == streams->seconds % HEARTBEAT_SECONDS &&
            !bb_http_stream_is_blocked(stream->http))
            bb_http_stream_send(stream->http, streams->heartbeat);
    }
}

static struct bb_http_buffer *text_buffer(const char *text)
{
    return bb_http_buffer_new(bb_slice_str(text));
}

void gateway_streams_open(struct gateway *gateway, const struct bb_conf *conf)
{
    struct streams *streams = bb_alloc_zero(1, sizeof(*streams));
    char hello[64];

    gateway->streams = streams;
    bb_list_init(&streams->all);
    streams->retry_ms = (uint32_t)bb_conf_number(conf, "retry-ms");
    streams->refresh_us = (uint32_t)bb_conf_number(conf, "refresh-ms") * 1000u;
    (void)snprintf(hello, sizeof(hello), ": ok\nretry: %u\n\n", streams->retry_ms);
    streams->hello = text_buffer(hello);
    streams->heartbeat = text_buffer(":\n\n");
}

void gateway_streams_bye(struct gateway *gateway)
{
    struct streams *streams = gateway->streams;

    bb_list_each_safe(item, &streams->all) {
        struct stream *stream = bb_container(item, struct stream, link);
        char text[96];
        uint8_t random[32];
        uint32_t retry_ms;

        gateway_random(gateway, random);
        retry_ms = streams->retry_ms / 2 + bb_get_le32(random) % (streams->retry_ms + 1);
        (void)snprintf(text, sizeof(text), "event: bye\nretry: %" PRIu32 "\ndata: {}\n\n",
                       retry_ms);
        gateway_stream_send(stream, bb_slice_str(text));
        bb_http_stream_close(stream->http);
    }
}

void gateway_streams_close(struct gateway *gateway)
{
    struct streams *streams = gateway->streams;

    if (streams == NULL)
        return;
    bb_assert(streams->count == 0);
    bb_http_buffer_release(streams->hello);
    bb_http_buffer_release(streams->heartbeat);
    bb_free(streams->places);
    bb_free(streams);
    gateway->streams = NULL;
}
