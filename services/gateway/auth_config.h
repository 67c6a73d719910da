/*
 * Which issuers' tokens an application accepts: `auth.config.ts` as the deployment keeps it, or the
 * file of --auth-config. Pure decoding.
 *
 *   {"providers": [
 *     {"domain": "https://id.example", "applicationID": "app"},           OpenID Connect:
 * discovered
 *     {"type": "customJwt", "issuer": "https://a.example", "jwks": "https://a.example/keys",
 *      "algorithm": "ES256", "applicationID": "app"}]}                    the last two may be
 * absent
 *
 * `jwks` is a URL, a `data:` URL, or the key set itself.
 */
#ifndef GATEWAY_AUTH_CONFIG_H
#define GATEWAY_AUTH_CONFIG_H

#include "bb/base.h"
#include "bb/jwt.h"

#define AUTH_PROVIDERS_MAX 32u

struct auth_provider {
    char *issuer;             /* without a slash at its end */
    char *audience;           /* NULL: tokens for anybody */
    char *algorithm;          /* NULL: any that is supported */
    char *keys_url;           /* NULL: discovered, unless the keys are given */
    struct bb_jwt_keys *keys; /* NULL: not here yet */
    bool is_inline;           /* the keys are given and never change */
};

struct auth_config {
    size_t count;
    struct auth_provider providers[AUTH_PROVIDERS_MAX];
};

/* BB_BAD_REQUEST says which provider is wrong and how; then `config` is empty. */
int gateway_auth_config_parse(struct bb_ctx *ctx, struct bb_slice json, struct auth_config *config);
void gateway_auth_config_fini(struct auth_config *config);
/* Does a token's `iss` name this provider? A slash at the end does not count. */
bool gateway_auth_is_issuer(const struct auth_provider *provider, const char *issuer);
/* The answer of OpenID Connect discovery: where the keys are. BB_BAD_REQUEST: it is of another
 * issuer, or names no keys. The caller frees `url`. */
int gateway_auth_discovered(struct bb_ctx *ctx, const char *issuer, struct bb_slice json,
                            char **url);

#endif
