/* Nothing is published here, and there are no runners. */
#include "../../services/gateway/nats.h"
#include "../../services/gateway/bus.h"

int gateway_bus_open(struct bb_ctx *ctx, struct gateway *gateway, const struct bb_conf *conf)
{
    (void)ctx;
    (void)gateway;
    (void)conf;
    return BB_OK;
}

void gateway_bus_close(struct gateway *gateway)
{
    (void)gateway;
}

void gateway_bus_free(struct gateway *gateway)
{
    (void)gateway;
}

bool gateway_bus_is_up(const struct gateway *gateway)
{
    (void)gateway;
    return false;
}

const char *gateway_bus_url(const struct gateway *gateway)
{
    (void)gateway;
    return "";
}

void gateway_bus_init(struct bus_request *request)
{
    bb_list_init(&request->link);
}

void gateway_bus_forget(struct bus_request *request)
{
    bb_list_remove(&request->link);
}

int gateway_bus_request(struct bb_ctx *ctx, struct gateway *gateway, const char *what,
                        struct bus_request *request, struct bb_slice payload)
{
    (void)gateway;
    (void)what;
    (void)request;
    (void)payload;
    return bb_fail(ctx, BB_UNAVAILABLE, "there is no NATS server");
}

void gateway_bus_publish(struct gateway *gateway, const char *what, struct bb_slice payload)
{
    (void)gateway;
    (void)what;
    (void)payload;
}

int gateway_nats_open(struct bb_ctx *ctx, struct gateway *gateway, const struct bb_conf *conf)
{
    (void)ctx;
    (void)gateway;
    (void)conf;
    return BB_OK;
}

void gateway_nats_close(struct gateway *gateway)
{
    (void)gateway;
}

void gateway_nats_free(struct gateway *gateway)
{
    (void)gateway;
}

void gateway_nats_advance(struct gateway *gateway)
{
    (void)gateway;
}

void gateway_nats_append_status(const struct gateway *gateway, struct bb_buf *json)
{
    (void)gateway;
    (void)json;
}
