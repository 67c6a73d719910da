#include "routes.h"

#include <stdio.h>

#include "bb/follow.h"

#include "answer.h"
#include "auth.h"
#include "endpoint.h"
#include "websocket.h"

#define METHOD(m) (1u << (m))
#define GETS      (METHOD(BB_HTTP_GET) | METHOD(BB_HTTP_HEAD))
#define POSTS     METHOD(BB_HTTP_POST)

struct route {
    const char *path; /* ends with '/': a prefix */
    unsigned methods;
    void (*handle)(struct gateway *gateway, struct bb_http_request *request);
};

static const struct route routes[] = {
    { "/api/query", GETS | POSTS, gateway_api_query },
    { "/api/mutation", POSTS, gateway_api_mutation },
    { "/api/function", POSTS, gateway_api_function },
    { "/api/run/", POSTS, gateway_api_run },
    { "/api/action", POSTS, gateway_api_action },
    { "/api/runner/logs", POSTS, gateway_api_runner_logs },
    { "/api/runner/args/", METHOD(BB_HTTP_GET), gateway_api_runner_args },
    { "/api/runner/result/", POSTS, gateway_api_runner_result },
    { "/api/runner/http/", METHOD(BB_HTTP_GET) | POSTS, gateway_api_runner_http },
    { "/api/query_ts", POSTS, gateway_api_query_ts },
    { "/api/query_at_ts", POSTS, gateway_api_query_at_ts },
    { "/api/query_batch", POSTS, gateway_api_query_batch },
    { "/api/subscribe", METHOD(BB_HTTP_GET), gateway_api_subscribe },
    { "/api/tx", METHOD(BB_HTTP_GET), gateway_api_tx },
    { "/api/tx/consumers", METHOD(BB_HTTP_GET), gateway_api_consumers },
    { "/api/tx/consumers/", POSTS | METHOD(BB_HTTP_DELETE), gateway_api_consumer },
    { "/api/sync", METHOD(BB_HTTP_GET) | POSTS, gateway_api_sync },
    { "/api/sync/", POSTS, gateway_api_sync_change },
    { "/api/ping", GETS, gateway_api_ping },
    { "/ping", GETS, gateway_api_ping },
    { "/api/deploy", POSTS, gateway_api_deploy },
    { "/api/admin/status", GETS, gateway_admin_status },
    { "/api/admin/logs", GETS, gateway_admin_logs },
};

/* ---- shared by handlers ---- */

void gateway_refuse(struct bb_ctx *ctx, struct bb_http_request *request, int status)
{
    bb_http_respond_error(request, bb_status_http(status), bb_status_name(status), ctx->error);
}

void gateway_respond_json(struct bb_http_request *request, int http_status, struct bb_slice json)
{
    bb_http_respond(request, http_status, "application/json",
                    bb_slice_str(http_status == 503 ? "Retry-After: 1\r\n" : ""), json);
}

int gateway_caller(struct bb_ctx *ctx, struct gateway *gateway, struct bb_http_request *request,
                   struct caller *caller)
{
    return gateway_auth_caller(ctx, gateway, bb_http_arena(request),
                               bb_http_header(request, "authorization"), caller);
}

int gateway_require_admin(struct bb_ctx *ctx, struct gateway *gateway,
                          struct bb_http_request *request)
{
    struct caller caller;
    int rc = gateway_caller(ctx, gateway, request, &caller);

    if (rc == BB_OK && !caller.is_admin) {
        rc = bb_fail(ctx, BB_UNAUTHORIZED,
                     "This needs the admin key: send `Authorization: BitBend <key>`.");
    }
    return rc;
}

int gateway_body_value(struct bb_ctx *ctx, const struct bb_http_request *request, struct bb_buf *to)
{
    return bb_json_decode(ctx, bb_http_body(request), false, to);
}

int gateway_check_tx(struct bb_ctx *ctx, const struct gateway *gateway, const char *what,
                     uint64_t tx)
{
    uint64_t wall = bb_wall_us(ctx);
    uint64_t newest = bb_follow_cursor(gateway->feed);

    /* The clock of the sequencer may be ahead of this one: what it has given out does exist. */
    if (bb_follow_is_following(gateway->feed) &&
        tx > (wall > newest ? wall : newest) + GATEWAY_CLOCK_SLACK_US) {
        return bb_fail(ctx, BB_TX_IN_FUTURE,
                       "%s: %" PRIu64 " lies beyond the clock; no such tx exists yet", what, tx);
    }
    return BB_OK;
}

int gateway_parse_tx(struct bb_ctx *ctx, const struct gateway *gateway, struct bb_slice text,
                     const char *what, uint64_t *tx)
{
    *tx = 0;
    if (text.size > 19) {
        return bb_fail(ctx, BB_BAD_REQUEST, "%s must be a transaction time, a decimal number",
                       what);
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return bb_fail(ctx, BB_BAD_REQUEST, "%s must be a transaction time, a decimal number",
                           what);
        }
        *tx = *tx * 10 + (uint64_t)(text.data[i] - '0');
    }
    return gateway_check_tx(ctx, gateway, what, *tx);
}

int gateway_parse_ts(struct bb_ctx *ctx, const struct gateway *gateway, struct bb_slice text,
                     uint64_t *tx)
{
    struct bb_buf bytes;
    int rc;

    bb_buf_init(&bytes);
    rc = bb_base64_decode(ctx, text, &bytes);
    if (rc == BB_OK && bytes.size == 8) {
        *tx = bb_get_le64(bytes.data);
    } else {
        rc = bb_fail(ctx, BB_BAD_REQUEST,
                     "`ts` must be what /api/query_ts answered: 8 bytes as base64");
    }
    bb_buf_fini(&bytes);
    if (rc == BB_OK && *tx == 0) {
        rc = bb_fail(
            ctx, BB_BAD_REQUEST,
            "`ts` is 0, and no transaction has that number; send what /api/query_ts answered");
    }
    return rc == BB_OK ? gateway_check_tx(ctx, gateway, "`ts`", *tx) : rc;
}

void gateway_append_ts(struct bb_buf *to, uint64_t tx)
{
    uint8_t bytes[8];

    bb_put_le64(bytes, tx);
    bb_base64_append(to, bb_slice(bytes, sizeof(bytes)));
}

/* ---- every answer ---- */

/* Pages of other origins may call: the API trusts no cookies, so mirroring the origin gives nothing
 * away. */
void gateway_decorate(void *arg, const struct bb_http_request *request, struct bb_buf *headers)
{
    struct bb_slice origin = bb_http_header(request, "origin");

    (void)arg;
    /* Endpoints of the application say themselves who may read them. */
    if (origin.size == 0 || gateway_endpoint_is_path(bb_http_path(request)))
        return;
    bb_buf_printf(headers,
                  "Access-Control-Allow-Origin: %.*s\r\nAccess-Control-Allow-Credentials: true\r\n"
                  "Access-Control-Expose-Headers: Retry-After\r\nVary: Origin\r\n",
                  BB_SLICE_ARG(origin));
}

bool gateway_accepts_brotli(void *arg, struct bb_slice path)
{
    (void)arg;
    return bb_slice_equal_str(path, "/api/deploy");
}

static void answer_preflight(struct bb_http_request *request)
{
    struct bb_slice wanted = bb_http_header(request, "access-control-request-headers");
    struct bb_buf headers;

    bb_buf_init(&headers);
    bb_buf_append_str(&headers, "Access-Control-Allow-Methods: GET, HEAD, POST, DELETE, OPTIONS\r\n"
                                "Access-Control-Max-Age: 7200\r\n");
    if (wanted.size > 0)
        bb_buf_printf(&headers, "Access-Control-Allow-Headers: %.*s\r\n", BB_SLICE_ARG(wanted));
    bb_http_respond(request, 204, NULL, bb_buf_slice(&headers), BB_SLICE_EMPTY);
    bb_buf_fini(&headers);
}

static void refuse_method(struct bb_http_request *request, const struct route *route)
{
    char headers[64];
    struct bb_buf body;
    bool gets = (route->methods & METHOD(BB_HTTP_GET)) != 0;
    bool posts = (route->methods & POSTS) != 0;

    bb_buf_init(&body);
    (void)snprintf(headers, sizeof(headers), "Allow: %s%s%s%s\r\n", gets ? "GET" : "",
                   gets && posts ? ", " : "", posts ? "POST" : "",
                   (route->methods & METHOD(BB_HTTP_DELETE)) != 0 ? ", DELETE" : "");
    gateway_failure(&body, "MethodNotAllowed",
                    posts ? "This path does not know the method; use POST."
                          : "This path does not know the method; use GET.");
    bb_http_respond(request, 405, "application/json", bb_slice_str(headers), bb_buf_slice(&body));
    bb_buf_fini(&body);
}

static const struct route *find_route(struct bb_slice path)
{
    for (size_t i = 0; i < BB_COUNT_OF(routes); i++) {
        size_t size = strlen(routes[i].path);

        if (routes[i].path[size - 1] == '/'
                ? path.size > size && memcmp(path.data, routes[i].path, size) == 0
                : bb_slice_equal_str(path, routes[i].path))
            return &routes[i];
    }
    return NULL;
}

void gateway_route(void *arg, struct bb_http_request *request)
{
    struct gateway *gateway = bb_cast(struct gateway, arg, GATEWAY_MAGIC);
    struct bb_slice path = bb_http_path(request);
    const struct route *route = find_route(path);

    if (gateway_endpoint_is_path(path)) {
        gateway_api_endpoint(gateway, request);
    } else if (bb_http_method(request) == BB_HTTP_OPTIONS) {
        answer_preflight(request);
    } else if (route != NULL && (METHOD(bb_http_method(request)) & route->methods) == 0) {
        refuse_method(request, route);
    } else if (route != NULL) {
        route->handle(gateway, request);
    } else if (gateway_websocket_is_path(path)) {
        gateway_api_websocket(gateway, request);
    } else if (gateway->files != NULL && !bb_slice_starts_with(path, bb_slice_str("/api/"))) {
        bb_http_files_serve(gateway->files, request);
    } else {
        bb_http_respond_error(request, 404, "NotFound", "There is no such path in this API.");
    }
}
