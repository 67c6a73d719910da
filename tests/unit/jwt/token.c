/* Tokens: which are genuine, which are refused and why, and what functions see of them. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "issuer.h"

#define CLAIMS "\"iss\":\"https://id.example\",\"sub\":\"ann\",\"aud\":[\"app\",\"b\"],\"exp\":2000"

static int check(struct bb_ctx *ctx, struct bb_slice token, const struct bb_jwt_keys *keys)
{
    struct bb_jwt *jwt = NULL;
    int rc = bb_jwt_parse(ctx, token, &jwt);

    if (rc == BB_OK)
        rc = bb_jwt_verify(ctx, jwt, keys);
    bb_jwt_free(jwt);
    return rc;
}

static struct bb_jwt_keys *keys_of(const struct issuer *issuer, bool has_ids)
{
    struct bb_ctx ctx = { .status = BB_OK };
    struct bb_jwt_keys *keys = NULL;
    struct bb_buf json = { 0 };

    issuer_keys(issuer, has_ids, &json);
    cr_assert_eq(bb_jwt_keys_parse(&ctx, bb_buf_slice(&json), &keys), BB_OK, "%s", ctx.error);
    cr_assert_eq(bb_jwt_keys_count(keys), 3);
    bb_buf_fini(&json);
    return keys;
}

Test(jwt, the_three_algorithms_verify_and_a_changed_byte_does_not)
{
    static const char *const algorithms[][2] = { { "RS256", "r" },
                                                 { "ES256", "e" },
                                                 { "EdDSA", "d" } };
    struct bb_ctx ctx = { .status = BB_OK };
    struct issuer issuer;
    struct issuer other;
    struct bb_buf token = { 0 };

    issuer_init(&issuer);
    issuer_init(&other);
    for (int has_ids = 0; has_ids < 2; has_ids++) {
        struct bb_jwt_keys *keys = keys_of(&issuer, has_ids == 1);

        for (size_t i = 0; i < BB_COUNT_OF(algorithms); i++) {
            const char *id = has_ids == 1 ? algorithms[i][1] : NULL;

            issuer_sign(&issuer, algorithms[i][0], id, "{" CLAIMS "}", &token);
            cr_expect_eq(check(&ctx, bb_buf_slice(&token), keys), BB_OK, "%s %s: %s",
                         algorithms[i][0], id, ctx.error);
            issuer_sign(&other, algorithms[i][0], id, "{" CLAIMS "}", &token);
            cr_expect_eq(check(&ctx, bb_buf_slice(&token), keys), BB_UNAUTHORIZED, "%s",
                         algorithms[i][0]);
            issuer_sign(&issuer, algorithms[i][0], id, "{" CLAIMS "}", &token);
            token.data[token.size - 20] ^= 1;
            cr_expect_eq(check(&ctx, bb_buf_slice(&token), keys), BB_UNAUTHORIZED, "%s",
                         algorithms[i][0]);
        }
        issuer_sign(&issuer, "RS256", "unknown", "{" CLAIMS "}", &token);
        cr_expect_eq(check(&ctx, bb_buf_slice(&token), keys), has_ids == 1 ? BB_NOT_FOUND : BB_OK);
        bb_jwt_keys_free(keys);
    }
    bb_buf_fini(&token);
    issuer_fini(&issuer);
    issuer_fini(&other);
}

/* An attacker who chooses the algorithm: the public key as a shared secret, no signature at all. */
Test(jwt, the_token_does_not_choose_how_it_is_checked)
{
    static const char *const headers[] = {
        "{\"alg\":\"none\"}",  "{\"alg\":\"HS256\"}",
        "{\"alg\":\"RS512\"}", "{}",
        "{\"alg\":7}",         "{\"alg\":\"RS256\",\"crit\":[\"x\"]}"
    };
    struct bb_ctx ctx = { .status = BB_OK };
    struct issuer issuer;
    struct bb_jwt_keys *keys;
    struct bb_buf token = { 0 };

    issuer_init(&issuer);
    keys = keys_of(&issuer, true);
    for (size_t i = 0; i < BB_COUNT_OF(headers); i++) {
        bb_buf_clear(&token);
        base64url_append(&token, bb_slice_str(headers[i]));
        bb_buf_append_byte(&token, '.');
        base64url_append(&token, bb_slice_str("{" CLAIMS "}"));
        bb_buf_append_str(&token, ".");
        cr_expect_eq(check(&ctx, bb_buf_slice(&token), keys), BB_UNAUTHORIZED, "%s", headers[i]);
    }
    issuer_sign(&issuer, "ES256", "r", "{" CLAIMS "}", &token);
    cr_expect_eq(check(&ctx, bb_buf_slice(&token), keys), BB_NOT_FOUND, "r is no key for ES256");
    bb_jwt_keys_free(keys);
    bb_buf_fini(&token);
    issuer_fini(&issuer);
}

Test(jwt, what_is_no_token_is_refused_with_a_reason)
{
    static const char *const bad[] = { "",
                                       ".",
                                       "..",
                                       "a.b.c",
                                       "e30.e30.e30.e30",
                                       "e30.e30.",
                                       "W10.W10.AA",
                                       "eyJhbGciOiJSUzI1NiJ9.e30.AA",
                                       "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.AA",
                                       "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4Iiwic3ViIjoieSJ9.A+" };
    struct bb_ctx ctx = { .status = BB_OK };
    struct bb_jwt *jwt = NULL;
    struct bb_buf large = { 0 };

    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        cr_expect_eq(bb_jwt_parse(&ctx, bb_slice_str(bad[i]), &jwt), BB_UNAUTHORIZED, "%s", bad[i]);
        cr_expect(strstr(ctx.error, "not valid: ") != NULL, "%s", ctx.error);
    }
    memset(bb_buf_reserve(&large, BB_JWT_SIZE_MAX + 1), 'a', BB_JWT_SIZE_MAX + 1);
    large.size = BB_JWT_SIZE_MAX + 1;
    cr_expect_eq(bb_jwt_parse(&ctx, bb_buf_slice(&large), &jwt), BB_UNAUTHORIZED);
    bb_buf_fini(&large);
}

Test(jwt, time_counts_with_the_skew_of_clocks)
{
    static const struct {
        const char *claims;
        uint64_t now_s;
        int status;
    } cases[] = {
        { "{" CLAIMS "}", 1999, BB_OK },
        { "{" CLAIMS "}", 2059, BB_OK },
        { "{" CLAIMS "}", 2060, BB_UNAUTHORIZED },
        { "{" CLAIMS ",\"nbf\":1000}", 940, BB_OK },
        { "{" CLAIMS ",\"nbf\":1000}", 939, BB_UNAUTHORIZED },
        { "{" CLAIMS ",\"iat\":1000.5}", 939, BB_UNAUTHORIZED },
        { "{" CLAIMS ",\"iat\":1000.5}", 941, BB_OK },
        { "{\"iss\":\"i\",\"sub\":\"s\"}", 1, BB_UNAUTHORIZED },
        { "{\"iss\":\"i\",\"sub\":\"s\",\"exp\":\"2000\"}", 1, BB_UNAUTHORIZED },
        { "{\"iss\":\"i\",\"sub\":\"s\",\"exp\":1e300}", 1, BB_UNAUTHORIZED },
    };
    struct bb_ctx ctx = { .status = BB_OK };
    struct issuer issuer;
    struct bb_buf token = { 0 };

    issuer_init(&issuer);
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        struct bb_jwt *jwt = NULL;

        issuer_sign(&issuer, "EdDSA", NULL, cases[i].claims, &token);
        cr_assert_eq(bb_jwt_parse(&ctx, bb_buf_slice(&token), &jwt), BB_OK, "%s", ctx.error);
        cr_expect_eq(bb_jwt_check_time(&ctx, jwt, cases[i].now_s * 1000000, 60), cases[i].status,
                     "%s at %d", cases[i].claims, (int)cases[i].now_s);
        bb_jwt_free(jwt);
    }
    bb_buf_fini(&token);
    issuer_fini(&issuer);
}

Test(jwt, functions_see_the_user_and_not_the_token)
{
    static const char claims[] =
        "{" CLAIMS ",\"iat\":1,\"nbf\":2,\"jti\":\"x\",\"given_name\":\"Ann\",\"email\":\"a@b\","
        "\"tokenIdentifier\":\"forged\",\"subject\":\"forged\",\"roles\":[\"x\",{\"y\":1}],"
        "\"picture\":\"p\"}";
    struct bb_ctx ctx = { .status = BB_OK };
    struct issuer issuer;
    struct bb_buf token = { 0 };
    struct bb_buf identity = { 0 };
    struct bb_jwt *jwt = NULL;

    issuer_init(&issuer);
    issuer_sign(&issuer, "EdDSA", NULL, claims, &token);
    cr_assert_eq(bb_jwt_parse(&ctx, bb_buf_slice(&token), &jwt), BB_OK);
    cr_expect_str_eq(bb_jwt_issuer(jwt), "https://id.example");
    cr_expect(bb_jwt_is_for(jwt, "b"));
    cr_expect_not(bb_jwt_is_for(jwt, "c"));
    cr_expect_eq(bb_jwt_expires_us(jwt), 2000000000u);
    bb_jwt_append_identity(jwt, &identity);
    bb_buf_append_byte(&identity, '\0');
    cr_expect_str_eq((char *)identity.data,
                     "{\"email\":\"a@b\",\"givenName\":\"Ann\",\"issuer\":\"https://id.example\","
                     "\"pictureUrl\":\"p\",\"roles\":[\"x\",{\"y\":1}],\"subject\":\"ann\","
                     "\"tokenIdentifier\":\"https://id.example|ann\"}");
    bb_jwt_free(jwt);
    bb_buf_fini(&token);
    bb_buf_fini(&identity);
    issuer_fini(&issuer);
}

Test(jwt, key_sets_without_a_usable_key_say_so)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"keys\":{}}",
        "{\"keys\":[]}",
        "{\"keys\":[1,null,{}]}",
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}",
        "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AAAA\",\"e\":\"AQAB\"}]}",
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}]}",
        ("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\","
         "\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
         "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}"),
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\"}]}",
        ("{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"use\":\"enc\","
         "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}"),
    };
    struct bb_ctx ctx = { .status = BB_OK };
    struct bb_jwt_keys *keys = NULL;

    for (size_t i = 0; i < BB_COUNT_OF(bad); i++)
        cr_expect_eq(bb_jwt_keys_parse(&ctx, bb_slice_str(bad[i]), &keys), BB_BAD_REQUEST, "%s",
                     bad[i]);
}
