/* No issuer can be asked here. */
#include "../../services/gateway/auth_fetch.h"

struct auth_fetcher *gateway_auth_fetcher_new(struct bb_loop *loop)
{
    (void)loop;
    return NULL;
}

void gateway_auth_fetcher_free(struct auth_fetcher *fetcher)
{
    (void)fetcher;
}

int gateway_auth_fetch(struct bb_ctx *ctx, struct auth_fetcher *fetcher, const char *issuer,
                       const char *url,
                       void (*done)(void *arg, int status, const char *error, struct bb_slice json),
                       void *arg)
{
    (void)fetcher;
    (void)url;
    (void)done;
    (void)arg;
    return bb_fail(ctx, BB_UNAVAILABLE, "%s cannot be asked", issuer);
}
