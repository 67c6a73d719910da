#include "issuer.h"

#include <criterion/criterion.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>

void issuer_init(struct issuer *issuer)
{
    issuer->rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    issuer->p256 = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "prime256v1");
    issuer->ed25519 = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    cr_assert(issuer->rsa != NULL && issuer->p256 != NULL && issuer->ed25519 != NULL);
}

void issuer_fini(struct issuer *issuer)
{
    EVP_PKEY_free(issuer->rsa);
    EVP_PKEY_free(issuer->p256);
    EVP_PKEY_free(issuer->ed25519);
}

void base64url_append(struct bb_buf *to, struct bb_slice from)
{
    size_t start = to->size;

    bb_base64_append(to, from);
    while (to->size > start && to->data[to->size - 1] == '=')
        to->size--;
    for (size_t i = start; i < to->size; i++) {
        if (to->data[i] == '+')
            to->data[i] = '-';
        else if (to->data[i] == '/')
            to->data[i] = '_';
    }
}

static void append_number(struct bb_buf *json, const EVP_PKEY *key, const char *parameter,
                          const char *name, size_t size)
{
    BIGNUM *number = NULL;
    uint8_t bytes[512];

    cr_assert_eq(EVP_PKEY_get_bn_param(key, parameter, &number), 1);
    if (size == 0)
        size = (size_t)BN_num_bytes(number);
    cr_assert_eq(BN_bn2binpad(number, bytes, (int)size), (int)size);
    bb_buf_printf(json, ",\"%s\":\"", name);
    base64url_append(json, bb_slice(bytes, size));
    bb_buf_append_byte(json, '"');
    BN_free(number);
}

static void begin_key(struct bb_buf *json, const char *type, const char *id)
{
    bb_buf_printf(json, "{\"kty\":\"%s\"", type);
    if (id != NULL)
        bb_buf_printf(json, ",\"kid\":\"%s\",\"use\":\"sig\"", id);
}

void issuer_keys(const struct issuer *issuer, bool has_ids, struct bb_buf *json)
{
    uint8_t raw[32];
    size_t size = sizeof(raw);

    bb_buf_append_str(json, "{\"keys\":[");
    begin_key(json, "RSA", has_ids ? "r" : NULL);
    append_number(json, issuer->rsa, OSSL_PKEY_PARAM_RSA_N, "n", 0);
    append_number(json, issuer->rsa, OSSL_PKEY_PARAM_RSA_E, "e", 0);
    bb_buf_append_str(json, "},");
    begin_key(json, "EC", has_ids ? "e" : NULL);
    bb_buf_append_str(json, ",\"crv\":\"P-256\"");
    append_number(json, issuer->p256, OSSL_PKEY_PARAM_EC_PUB_X, "x", 32);
    append_number(json, issuer->p256, OSSL_PKEY_PARAM_EC_PUB_Y, "y", 32);
    bb_buf_append_str(json, "},");
    begin_key(json, "OKP", has_ids ? "d" : NULL);
    cr_assert_eq(EVP_PKEY_get_raw_public_key(issuer->ed25519, raw, &size), 1);
    bb_buf_append_str(json, ",\"crv\":\"Ed25519\",\"x\":\"");
    base64url_append(json, bb_slice(raw, size));
    bb_buf_append_str(json, "\"}]}");
}

static void append_raw_es256(struct bb_buf *token, const uint8_t *der, size_t size)
{
    const uint8_t *at = der;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)size);
    uint8_t raw[64];

    cr_assert_not_null(pair);
    cr_assert_eq(BN_bn2binpad(ECDSA_SIG_get0_r(pair), raw, 32), 32);
    cr_assert_eq(BN_bn2binpad(ECDSA_SIG_get0_s(pair), raw + 32, 32), 32);
    base64url_append(token, bb_slice(raw, sizeof(raw)));
    ECDSA_SIG_free(pair);
}

void issuer_sign(const struct issuer *issuer, const char *algorithm, const char *id,
                 const char *claims, struct bb_buf *token)
{
    bool is_ed25519 = strcmp(algorithm, "EdDSA") == 0;
    bool is_es256 = strcmp(algorithm, "ES256") == 0;
    EVP_PKEY *key = is_ed25519 ? issuer->ed25519 : is_es256 ? issuer->p256 : issuer->rsa;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    struct bb_buf header = { 0 };
    uint8_t signature[512];
    size_t size = sizeof(signature);

    bb_buf_printf(&header, "{\"alg\":\"%s\",\"typ\":\"JWT\"", algorithm);
    if (id != NULL)
        bb_buf_printf(&header, ",\"kid\":\"%s\"", id);
    bb_buf_append_byte(&header, '}');
    bb_buf_clear(token);
    base64url_append(token, bb_buf_slice(&header));
    bb_buf_append_byte(token, '.');
    base64url_append(token, bb_slice_str(claims));
    cr_assert_eq(EVP_DigestSignInit(context, NULL, is_ed25519 ? NULL : EVP_sha256(), NULL, key), 1);
    cr_assert_eq(EVP_DigestSign(context, signature, &size, token->data, token->size), 1);
    bb_buf_append_byte(token, '.');
    if (is_es256)
        append_raw_es256(token, signature, size);
    else
        base64url_append(token, bb_slice(signature, size));
    EVP_MD_CTX_free(context);
    bb_buf_fini(&header);
}
