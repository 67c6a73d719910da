/* Which issuers are accepted: what a config may say, and what discovery may answer. */
#include "auth_config.h"

#include <criterion/criterion.h>

#define KEY \
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"

static int parse(struct bb_ctx *ctx, const char *provider, struct auth_config *config)
{
    struct bb_buf json = { 0 };
    int rc;

    bb_buf_printf(&json, "{\"providers\":[%s]}", provider);
    rc = gateway_auth_config_parse(ctx, bb_buf_slice(&json), config);
    bb_buf_fini(&json);
    return rc;
}

Test(auth_config, providers_are_understood)
{
    static const struct {
        const char *json, *issuer, *url;
        bool is_inline;
    } cases[] = {
        { "{\"domain\":\"id.example/\",\"applicationID\":\"a\"}", "https://id.example", NULL,
          false },
        { "{\"domain\":\"http://127.0.0.1:99\",\"applicationID\":\"a\"}", "http://127.0.0.1:99",
          NULL, false },
        { "{\"type\":\"customJwt\",\"issuer\":\"i\",\"jwks\":\"https://k\"}", "i", "https://k",
          false },
        { "{\"type\":\"customJwt\",\"issuer\":\"i\",\"jwks\":{\"keys\":[" KEY "]}}", "i", NULL,
          true },
        { "{\"type\":\"customJwt\",\"issuer\":\"i\",\"jwks\":\"data:text/plain;charset=utf-8;base64,"
          "eyJrZXlzIjpbeyJrdHkiOiJPS1AiLCJjcnYiOiJFZDI1NTE5IiwieCI6IjExcVlBWUt4Q3JmVlNfN1R5V1FIT2c3"
          "aGN2UGFwaU1scndJYWFQY0hVUm8ifV19\"}",
          "i", NULL, true },
        { "{\"type\":\"customJwt\",\"issuer\":\"i\",\"jwks\":\"data:application/json,%7B%22keys%22%3A%5B"
          "%7B%22kty%22:%22OKP%22,%22crv%22:%22Ed25519%22,%22x%22:"
          "%2211qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo%22%7D%5D%7d\"}",
          "i", NULL, true },
    };
    struct bb_ctx ctx = { .status = BB_OK };
    struct auth_config config;

    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        const struct auth_provider *provider = &config.providers[0];

        cr_assert_eq(parse(&ctx, cases[i].json, &config), BB_OK, "%s: %s", cases[i].json,
                     ctx.error);
        cr_assert_eq(config.count, 1);
        cr_expect_str_eq(provider->issuer, cases[i].issuer);
        cr_expect_eq(provider->is_inline, cases[i].is_inline);
        cr_expect_eq(provider->keys != NULL, cases[i].is_inline);
        cr_expect(cases[i].url == NULL ? provider->keys_url == NULL
                                       : strcmp(provider->keys_url, cases[i].url) == 0);
        gateway_auth_config_fini(&config);
    }
    cr_assert_eq(parse(&ctx, cases[0].json, &config), BB_OK);
    cr_expect(gateway_auth_is_issuer(&config.providers[0], "https://id.example/"));
    cr_expect(gateway_auth_is_issuer(&config.providers[0], "https://id.example"));
    cr_expect_not(gateway_auth_is_issuer(&config.providers[0], "https://id.example.evil"));
    cr_expect_not(gateway_auth_is_issuer(&config.providers[0], ""));
    gateway_auth_config_fini(&config);
}

Test(auth_config, what_is_wrong_is_refused_with_the_number_of_the_provider)
{
    static const char *const bad[] = {
        "1",
        "{}",
        "{\"domain\":\"id.example\"}",
        "{\"domain\":\"http://id.example\",\"applicationID\":\"a\"}",
        "{\"domain\":\"http://127.0.0.1.evil\",\"applicationID\":\"a\"}",
        "{\"type\":\"saml\",\"domain\":\"id.example\",\"applicationID\":\"a\"}",
        "{\"type\":\"customJwt\",\"jwks\":\"https://k\"}",
        "{\"type\":\"customJwt\",\"issuer\":\"i\"}",
        "{\"type\":\"customJwt\",\"issuer\":\"i\",\"jwks\":\"file:///etc/passwd\"}",
        "{\"type\":\"customJwt\",\"issuer\":\"i\",\"jwks\":\"data:nothing\"}",
        "{\"type\":\"customJwt\",\"issuer\":\"i\",\"jwks\":{\"keys\":[]}}",
        "{\"type\":\"customJwt\",\"issuer\":\"i\",\"jwks\":\"https://k\",\"algorithm\":\"HS256\"}",
    };
    struct bb_ctx ctx = { .status = BB_OK };
    struct auth_config config;

    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        cr_expect_eq(parse(&ctx, bad[i], &config), BB_BAD_REQUEST, "%s", bad[i]);
        cr_expect(strstr(ctx.error, "provider 0: ") != NULL, "%s", ctx.error);
        cr_expect_eq(config.count, 0);
    }
    cr_expect_eq(gateway_auth_config_parse(&ctx, bb_slice_str("[]"), &config), BB_BAD_REQUEST);
    cr_expect_eq(gateway_auth_config_parse(&ctx, bb_slice_str("{"), &config), BB_BAD_REQUEST);
}

Test(auth_config, discovery_answers_for_the_issuer_that_was_asked)
{
    static const struct {
        const char *json;
        int status;
    } cases[] = {
        { "{\"issuer\":\"https://id.example/\",\"jwks_uri\":\"https://id.example/k\"}", BB_OK },
        { "{\"issuer\":\"https://evil.example\",\"jwks_uri\":\"https://id.example/k\"}",
          BB_BAD_REQUEST },
        { "{\"issuer\":\"https://id.example\",\"jwks_uri\":\"http://id.example/k\"}",
          BB_BAD_REQUEST },
        { "{\"issuer\":\"https://id.example\"}", BB_BAD_REQUEST },
        { "<html>", BB_BAD_REQUEST },
    };
    struct bb_ctx ctx = { .status = BB_OK };

    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        char *url = NULL;

        cr_expect_eq(
            gateway_auth_discovered(&ctx, "https://id.example", bb_slice_str(cases[i].json), &url),
            cases[i].status, "%s", cases[i].json);
        cr_expect_eq(url != NULL, cases[i].status == BB_OK);
        bb_free(url);
    }
}
