/* Tokens and key sets of strangers: any bytes are refused or understood, and never a crash. */
#include "bb/jwt.h"

static void try_token(struct bb_slice bytes, const struct bb_jwt_keys *keys)
{
    struct bb_ctx ctx = { .status = BB_OK };
    struct bb_jwt *jwt = NULL;
    struct bb_buf identity;

    if (bb_jwt_parse(&ctx, bytes, &jwt) != BB_OK) {
        bb_assert(jwt == NULL && ctx.error[0] != '\0');
        return;
    }
    bb_assert(bb_jwt_issuer(jwt) != NULL && bb_jwt_algorithm(jwt) != NULL);
    bb_assert(bb_jwt_verify(&ctx, jwt, keys) != BB_OK); /* nobody guesses a signature */
    (void)bb_jwt_check_time(&ctx, jwt, 1700000000000000u, 60);
    (void)bb_jwt_is_for(jwt, "app");
    bb_buf_init(&identity);
    bb_jwt_append_identity(jwt, &identity);
    bb_assert(identity.size > 2 && bb_utf8_is_valid(bb_buf_slice(&identity)));
    bb_buf_fini(&identity);
    bb_jwt_free(jwt);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char set[] = "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
                              "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";
    struct bb_ctx ctx = { .status = BB_OK };
    struct bb_jwt_keys *keys = NULL;
    struct bb_jwt_keys *given = NULL;

    bb_assert(bb_jwt_keys_parse(&ctx, bb_slice_str(set), &keys) == BB_OK);
    try_token(bb_slice(data, size), keys);
    if (bb_jwt_keys_parse(&ctx, bb_slice(data, size), &given) == BB_OK)
        bb_assert(bb_jwt_keys_count(given) > 0 && bb_jwt_keys_count(given) <= BB_JWT_KEYS_MAX);
    bb_jwt_keys_free(given);
    bb_jwt_keys_free(keys);
    return 0;
}
