/* `GET /api/subscribe`: the event stream of one query. */
#include "stream.h"

struct question {
    const char *path;
    struct bb_slice args;
    struct caller caller;
    struct stream_options options;
};

static int take_caller(struct bb_ctx *ctx, struct gateway *gateway, struct bb_http_request *request,
                       struct question *question)
{
    struct bb_slice path;
    int rc = gateway_stream_caller(ctx, gateway, request, &question->caller);

    if (rc == BB_OK)
        rc = bb_http_parameter(ctx, request, "path", &path);
    if (rc == BB_OK)
        rc = gateway_ask_path(ctx, bb_http_arena(request), path, &question->path);
    if (rc == BB_OK && question->path[0] == '_' && !question->caller.is_admin)
        rc = bb_fail(ctx, BB_FORBIDDEN, "System functions need the admin key.");
    return rc;
}

static int take_question(struct bb_ctx *ctx, struct gateway *gateway,
                         struct bb_http_request *request, struct question *question,
                         struct bb_buf *args)
{
    struct bb_slice args_json = BB_SLICE_EMPTY;
    struct bb_slice format;
    struct bb_slice refresh;
    int rc = take_caller(ctx, gateway, request, question);

    if (rc == BB_OK)
        rc = bb_http_parameter(ctx, request, "args", &args_json);
    if (rc == BB_OK && args_json.size > 0)
        rc = bb_json_decode(ctx, args_json, false, args);
    if (rc == BB_OK)
        rc = gateway_ask_args(ctx, args_json.size > 0 ? bb_buf_slice(args) : BB_SLICE_EMPTY,
                              &question->args);
    if (rc == BB_OK)
        rc = bb_http_parameter(ctx, request, "format", &format);
    if (rc == BB_OK)
        rc = gateway_ask_format(ctx, format, &question->options.format);
    if (rc == BB_OK)
        rc = bb_http_parameter(ctx, request, "refreshMs", &refresh);
    if (rc == BB_OK)
        rc = gateway_stream_refresh(ctx, refresh, &question->options.refresh_us);
    if (rc == BB_OK)
        rc = gateway_stream_after(ctx, gateway, request, &question->options);
    question->options.caller = &question->caller;
    return rc;
}

static void begin(struct bb_ctx *ctx, struct gateway *gateway, struct bb_http_request *request,
                  const struct question *question)
{
    char *path = bb_strdup(question->path); /* the request ends when the stream begins */
    struct stream *stream = gateway_stream_begin(gateway, request, &question->options);

    if (stream != NULL &&
        gateway_session_add(ctx, stream->session, 1, path, question->args, NULL) == BB_OK) {
        (void)gateway_session_go(stream->session);
    } else if (stream != NULL) {
        /* Memory was checked before the stream began; what is left of it went meanwhile. */
        bb_http_stream_close(stream->http);
    }
    bb_free(path);
}

void gateway_api_subscribe(struct gateway *gateway, struct bb_http_request *request)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct question question = { .options = { .kind = RESULT_SUBSCRIBE } };
    struct bb_buf args;
    int rc;

    bb_buf_init(&args);
    rc = take_question(&ctx, gateway, request, &question, &args);
    if (rc == BB_OK)
        rc = gateway_stream_check_room(&ctx, gateway);
    if (rc == BB_OK)
        begin(&ctx, gateway, request, &question);
    else
        gateway_refuse(&ctx, request, rc);
    bb_buf_fini(&args);
}
