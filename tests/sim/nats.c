/* Nothing is published here. */
#include "../../services/gateway/nats.h"

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
