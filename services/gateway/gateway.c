/*
 * The gateway's life: everything is built on the owner loop, serves when workers answer and the
 * feed is followed, and ends by saying good-bye to every stream.
 */
#include "gateway.h"

#include "action.h"
#include "auth.h"
#include "call.h"
#include "endpoint.h"
#include "feed.h"
#include "forward.h"
#include "memo.h"
#include "nats.h"
#include "options.h"
#include "routes.h"
#include "stream.h"
#include "subscribe.h"
#include "txfeed.h"
#include "websocket.h"

#include "bb/conf.h"
#include "bb/gateway_service.h"

#define CHECK_MS      20u
#define CHECK_IDLE_MS 250u
#define STOP_LIMIT_MS 7000u

/* The service's state: the gateway and what only its life needs. */
struct life {
    struct gateway gateway;
    struct bb_timer *check;
    bool is_ready;
};

void gateway_random(struct gateway *gateway, uint8_t to[32])
{
    uint8_t block[40];

    memcpy(block, gateway->random_key, 32);
    bb_put_le64(block + 32, gateway->random_count++);
    bb_sha256(bb_slice(block, sizeof(block)), to);
}

/* ---- ready or not ---- */

static void on_check(void *arg)
{
    struct life *life = arg;
    struct gateway *gateway = &life->gateway;
    bool has_workers = gateway_workers_any_up(gateway->workers);
    bool is_following = bb_follow_is_following(gateway->feed);
    bool is_ready = has_workers && is_following && !gateway->is_stopping;

    if (is_ready == life->is_ready)
        return;
    life->is_ready = is_ready;
    if (is_ready) {
        bb_service_ready(gateway->service);
        gateway_subscriptions_retry(gateway);
    } else if (!gateway->is_stopping) {
        bb_service_not_ready(gateway->service,
                             has_workers ? "no storage node answers" : "no worker answers");
    }
    bb_timer_start(life->check, is_ready ? CHECK_IDLE_MS : CHECK_MS,
                   is_ready ? CHECK_IDLE_MS : CHECK_MS);
}

/* ---- start ---- */

static int load_admin_key(struct bb_ctx *ctx, struct gateway *gateway, const struct bb_conf *conf)
{
    const char *key = bb_conf_text(conf, "admin-key");
    const char *file = bb_conf_text(conf, "admin-key-file");
    struct bb_buf content;
    size_t size = 0;
    int rc;

    if (key != NULL && key[0] != '\0') {
        bb_buf_append_str(&gateway->admin_key, key);
        return BB_OK;
    }
    if (file == NULL || file[0] == '\0')
        return BB_OK;
    bb_buf_init(&content);
    rc = bb_file_read_all(ctx, file, &content);
    while (rc == BB_OK && size < content.size && content.data[size] > ' ')
        size++;
    if (rc == BB_OK && size == 0) {
        rc = bb_fail(ctx, BB_BAD_REQUEST,
                     "the first line of %s, which should hold the admin key, is empty", file);
    }
    if (rc == BB_OK)
        bb_buf_append(&gateway->admin_key, content.data, size);
    bb_buf_fini(&content);
    return rc;
}

static void open_memo(struct bb_ctx *ctx, struct gateway *gateway, size_t bytes_max)
{
    gateway->json_hits = bb_metric("bb_gateway_json_hits_total", BB_COUNTER,
                                   "Answers whose value neither crossed from the worker nor was "
                                   "encoded, as both were here from an answer before.");
    gateway->json_bytes =
        bb_metric("bb_gateway_json_bytes", BB_GAUGE, "Memory of the JSON that is kept for that.");
    bb_random(ctx, &gateway->memo_seed, sizeof(gateway->memo_seed));
    gateway->memo = bytes_max == 0 ? NULL : gateway_memo_new(bytes_max);
}

static int open_http(struct bb_ctx *ctx, struct gateway *gateway, const struct bb_conf *conf)
{
    const char *folder = bb_conf_text(conf, "static");
    struct bb_http_options options = { .listen = bb_conf_text(conf, "listen"),
                                       .connections_max =
                                           (size_t)bb_conf_number(conf, "connections-max"),
                                       .body_max = (size_t)bb_conf_number(conf, "body-max"),
                                       .handle = gateway_route,
                                       .accepts_brotli = gateway_accepts_brotli,
                                       .wants_stream = gateway_endpoint_wants_stream,
                                       .decorate = gateway_decorate,
                                       .arg = gateway };
    int rc = BB_OK;

    if (folder != NULL && folder[0] != '\0')
        rc = bb_http_files_open(ctx, gateway->loop, folder, &gateway->files);
    return rc == BB_OK ? bb_http_open(ctx, gateway->loop, &options, &gateway->http) : rc;
}

static int start(struct bb_ctx *ctx, struct bb_service *service, void **state)
{
    struct life *life = bb_alloc_zero(1, sizeof(*life));
    struct gateway *gateway = &life->gateway;
    const struct bb_conf *conf = bb_service_conf(service);
    int rc;

    *state = life;
    gateway->magic = GATEWAY_MAGIC;
    bb_list_init(&gateway->logs);
    gateway->service = service;
    gateway->loop = bb_service_loop(service);
    gateway->ctx = bb_loop_ctx(gateway->loop);
    gateway->shows_errors = bb_conf_bool(conf, "show-errors");
    gateway->calls = bb_metric("bb_gateway_calls_total", BB_COUNTER, "Function calls that ended.");
    gateway->call_errors = bb_metric("bb_gateway_call_errors_total", BB_COUNTER,
                                     "Function calls that ended with an error of any kind.");
    gateway->call_time =
        bb_histogram("bb_gateway_call_seconds", "From acceptance of a call to its answer.");
    bb_random(ctx, gateway->random_key, sizeof(gateway->random_key));
    open_memo(ctx, gateway, (size_t)bb_conf_number(conf, "json-bytes"));
    rc = load_admin_key(ctx, gateway, conf);
    if (rc == BB_OK) {
        rc = gateway_workers_open(ctx, gateway, bb_conf_text(conf, "workers"),
                                  (size_t)bb_conf_number(conf, "calls-max"));
    }
    if (rc == BB_OK) {
        gateway->session_queries_max = (size_t)bb_conf_number(conf, "session-queries");
        gateway->session_bytes_max = (size_t)bb_conf_number(conf, "session-bytes");
        gateway_subscriptions_open(ctx, gateway, conf);
        gateway_websockets_open(gateway);
        gateway_txfeed_open(gateway, (size_t)bb_conf_number(conf, "feed-bytes"));
        rc = gateway_auth_open(ctx, gateway, conf);
    }
    if (rc == BB_OK)
        rc = gateway_feed_open(ctx, gateway, bb_conf_text(conf, "storage"));
    if (rc == BB_OK)
        rc = gateway_forward_open(ctx, gateway, conf);
    if (rc == BB_OK)
        rc = gateway_nats_open(ctx, gateway, conf);
    if (rc == BB_OK) {
        gateway_actions_open(gateway, conf);
        rc = gateway_bus_open(ctx, gateway, conf);
    }
    /* Last: whoever can connect is served, even while workers are still starting. */
    if (rc == BB_OK)
        rc = gateway_endpoints_open(ctx, gateway, conf);
    if (rc == BB_OK)
        rc = open_http(ctx, gateway, conf);
    if (rc != BB_OK)
        return rc;
    gateway_actions_listening(gateway, bb_conf_text(conf, "listen"));
    life->check = bb_timer_new(gateway->loop, on_check, life);
    bb_timer_start(life->check, CHECK_MS, CHECK_MS);
    bb_info(ctx, "gateway.listening", "address=%s port=%u", bb_conf_text(conf, "listen"),
            (unsigned)bb_http_port(gateway->http));
    return BB_OK;
}

/* ---- end ---- */

static void on_endpoints_stopped(void *arg)
{
    struct gateway *gateway = arg;

    bb_service_stopped(gateway->service);
}

static void on_http_stopped(void *arg)
{
    struct gateway *gateway = arg;

    gateway_endpoints_stop(gateway, STOP_LIMIT_MS, on_endpoints_stopped, gateway);
}

static void stop(struct bb_service *service, void *state)
{
    struct life *life = state;
    struct gateway *gateway = &life->gateway;

    (void)service;
    gateway->is_stopping = true;
    bb_timer_stop(life->check);
    gateway_txfeed_bye(gateway);
    gateway_streams_bye(gateway);
    gateway_websockets_bye(gateway);
    gateway_admin_bye(gateway);
    bb_http_stop(gateway->http, STOP_LIMIT_MS, on_http_stopped, gateway);
}

/* Calls under way end and answer before the server that they answer through is closed. */
static void close_gateway(struct bb_service *service, void *state)
{
    struct life *life = state;
    struct gateway *gateway = &life->gateway;

    (void)service;
    gateway->is_stopping = true;
    bb_timer_free(life->check);
    gateway_subscriptions_stop(gateway);
    gateway_txfeed_stop(gateway);
    gateway_nats_close(gateway);
    gateway_bus_close(gateway);
    gateway_actions_stop(gateway);
    gateway_endpoints_close(gateway);
    gateway_workers_close(gateway->workers);
    gateway_feed_close(gateway);
    gateway_nats_free(gateway);
    gateway_bus_free(gateway);
    gateway_actions_close(gateway);
    gateway_forward_close(gateway);
    bb_http_close(gateway->http);
    gateway_endpoints_free(gateway);
    gateway_websockets_close(gateway);
    gateway_auth_close(gateway);
    gateway_subscriptions_close(gateway->subscriptions);
    gateway_txfeed_close(gateway->txfeed);
    bb_http_files_close(gateway->files);
    gateway_memo_free(gateway->memo);
    bb_buf_fini(&gateway->admin_key);
    bb_buf_fini(&gateway->json);
    gateway->magic = 0;
    bb_free(life);
}

const struct bb_service_def bb_gateway_service = { .name = "gateway",
                                                   .summary =
                                                       "serves the HTTP API and live queries",
                                                   .options = gateway_options,
                                                   .start = start,
                                                   .stop = stop,
                                                   .close = close_gateway };
