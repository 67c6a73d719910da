/* JSON Web Keys into libcrypto's. */
#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>

#include "jwt_internal.h"

#define RSA_BITS_MIN 2048
#define P256_SIZE    32u

/* ---- base64url ---- */

int jwt_base64url_decode(struct bb_ctx *ctx, struct bb_slice text, struct bb_buf *to)
{
    struct bb_buf standard;
    int rc;

    bb_buf_init(&standard);
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];

        if (byte == '+' || byte == '/' || byte == '=') {
            bb_buf_fini(&standard);
            return bb_fail(ctx, BB_BAD_REQUEST, "not base64url");
        }
        bb_buf_append_byte(&standard, byte == '-' ? '+' : byte == '_' ? '/' : byte);
    }
    while (standard.size % 4 != 0)
        bb_buf_append_byte(&standard, '=');
    rc = bb_base64_decode(ctx, bb_buf_slice(&standard), to);
    bb_buf_fini(&standard);
    return rc;
}

static bool take_bytes(struct bb_ctx *ctx, const json_t *jwk, const char *name, struct bb_buf *to)
{
    const char *text = json_string_value(json_object_get(jwk, name));

    bb_buf_init(to);
    return text != NULL && jwt_base64url_decode(ctx, bb_slice_str(text), to) == BB_OK &&
           to->size > 0;
}

/* ---- kinds of keys ---- */

static EVP_PKEY *make_key(const char *type, OSSL_PARAM_BLD *builder)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY *key = NULL;

    if (context != NULL && parameters != NULL && EVP_PKEY_fromdata_init(context) > 0 &&
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters) <= 0)
        key = NULL;
    OSSL_PARAM_free(parameters);
    EVP_PKEY_CTX_free(context);
    return key;
}

static EVP_PKEY *rsa_key(struct bb_slice modulus, struct bb_slice exponent)
{
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    BIGNUM *n = BN_bin2bn(modulus.data, (int)modulus.size, NULL);
    BIGNUM *e = BN_bin2bn(exponent.data, (int)exponent.size, NULL);
    EVP_PKEY *key = NULL;

    if (builder != NULL && n != NULL && e != NULL && BN_num_bits(n) >= RSA_BITS_MIN &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) > 0 &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) > 0)
        key = make_key("RSA", builder);
    BN_free(n);
    BN_free(e);
    OSSL_PARAM_BLD_free(builder);
    return key;
}

static EVP_PKEY *p256_key(struct bb_slice x, struct bb_slice y)
{
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    uint8_t point[1 + 2 * P256_SIZE] = { 4 }; /* uncompressed */
    EVP_PKEY *key = NULL;

    if (x.size == P256_SIZE && y.size == P256_SIZE) {
        memcpy(point + 1, x.data, P256_SIZE);
        memcpy(point + 1 + P256_SIZE, y.data, P256_SIZE);
        if (builder != NULL &&
            OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) >
                0 &&
            OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point,
                                             sizeof(point)) > 0)
            key = make_key("EC", builder);
    }
    OSSL_PARAM_BLD_free(builder);
    return key;
}

static EVP_PKEY *key_of(struct bb_ctx *ctx, const json_t *jwk, const char *type,
                        enum jwt_algorithm *algorithm)
{
    const char *curve = json_string_value(json_object_get(jwk, "crv"));
    bool is_rsa = strcmp(type, "RSA") == 0;
    struct bb_buf a;
    struct bb_buf b;
    EVP_PKEY *key = NULL;

    bb_buf_init(&b);
    if (!take_bytes(ctx, jwk, is_rsa ? "n" : "x", &a)) {
        bb_buf_fini(&a);
        return NULL;
    }
    if (is_rsa && take_bytes(ctx, jwk, "e", &b)) {
        *algorithm = JWT_RS256;
        key = rsa_key(bb_buf_slice(&a), bb_buf_slice(&b));
    } else if (strcmp(type, "EC") == 0 && curve != NULL && strcmp(curve, "P-256") == 0 &&
               take_bytes(ctx, jwk, "y", &b)) {
        *algorithm = JWT_ES256;
        key = p256_key(bb_buf_slice(&a), bb_buf_slice(&b));
    } else if (strcmp(type, "OKP") == 0 && curve != NULL && strcmp(curve, "Ed25519") == 0) {
        *algorithm = JWT_EDDSA;
        key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, a.data, a.size);
    }
    bb_buf_fini(&a);
    bb_buf_fini(&b);
    return key;
}

/* ---- sets ---- */

bool jwt_algorithm_parse(const char *name, enum jwt_algorithm *algorithm)
{
    static const char *const names[] = {
        [JWT_RS256] = "RS256", [JWT_ES256] = "ES256", [JWT_EDDSA] = "EdDSA"
    };

    for (size_t i = 0; i < BB_COUNT_OF(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *algorithm = (enum jwt_algorithm)i;
            return true;
        }
    }
    return false;
}

/* One that verifies tokens; others are of no concern. */
static void add_key(struct bb_ctx *ctx, struct bb_jwt_keys *keys, const json_t *jwk)
{
    const char *type = json_string_value(json_object_get(jwk, "kty"));
    const char *use = json_string_value(json_object_get(jwk, "use"));
    const char *named = json_string_value(json_object_get(jwk, "alg"));
    const char *id = json_string_value(json_object_get(jwk, "kid"));
    enum jwt_algorithm algorithm = JWT_RS256;
    enum jwt_algorithm wanted;
    EVP_PKEY *key;

    if (type == NULL || (use != NULL && strcmp(use, "sig") != 0) || keys->count == BB_JWT_KEYS_MAX)
        return;
    key = key_of(ctx, jwk, type, &algorithm);
    if (key == NULL)
        return;
    if (named != NULL && (!jwt_algorithm_parse(named, &wanted) || wanted != algorithm)) {
        EVP_PKEY_free(key);
        return;
    }
    keys->keys[keys->count++] =
        (struct jwt_key){ algorithm, id == NULL ? NULL : bb_strdup(id), key };
}

int bb_jwt_keys_parse(struct bb_ctx *ctx, struct bb_slice json, struct bb_jwt_keys **parsed)
{
    json_error_t error;
    json_t *root = json_loadb((const char *)json.data, json.size, JSON_REJECT_DUPLICATES, &error);
    const json_t *list = json_object_get(root, "keys");
    struct bb_jwt_keys *keys;
    size_t index;
    json_t *jwk;

    if (!json_is_array(list)) {
        int rc = bb_fail(ctx, BB_BAD_REQUEST, "a key set is {\"keys\": [..]}: %s",
                         root == NULL ? error.text : "there is no list `keys`");

        json_decref(root);
        return rc;
    }
    keys = bb_alloc_zero(1, sizeof(*keys));
    json_array_foreach(list, index, jwk) add_key(ctx, keys, jwk);
    json_decref(root);
    if (keys->count == 0) {
        bb_jwt_keys_free(keys);
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "the key set has no key for RS256 (2048 bits or more), ES256 or EdDSA "
                       "(Ed25519)");
    }
    *parsed = keys;
    return BB_OK;
}

size_t bb_jwt_keys_count(const struct bb_jwt_keys *keys)
{
    return keys->count;
}

void bb_jwt_keys_free(struct bb_jwt_keys *keys)
{
    if (keys == NULL)
        return;
    for (size_t i = 0; i < keys->count; i++) {
        EVP_PKEY_free(keys->keys[i].key);
        bb_free(keys->keys[i].id);
    }
    bb_free(keys);
}
