/* A signature of a token against one key. */
#include <openssl/bn.h>
#include <openssl/ecdsa.h>

#include "jwt_internal.h"

#define ES256_SIZE 64u

/* As tokens carry it, two numbers of 32 bytes, into what libcrypto takes. NULL: not of that form.
 */
static unsigned char *der_of(struct bb_slice raw, int *size)
{
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r;
    BIGNUM *s;
    unsigned char *der = NULL;

    *size = 0;
    if (raw.size != ES256_SIZE || pair == NULL) {
        ECDSA_SIG_free(pair);
        return NULL;
    }
    r = BN_bin2bn(raw.data, ES256_SIZE / 2, NULL);
    s = BN_bin2bn(raw.data + ES256_SIZE / 2, ES256_SIZE / 2, NULL);
    if (r == NULL || s == NULL || ECDSA_SIG_set0(pair, r, s) != 1) {
        BN_free(r);
        BN_free(s);
    } else {
        *size = i2d_ECDSA_SIG(pair, &der);
    }
    ECDSA_SIG_free(pair);
    return der;
}

static bool verify(const struct jwt_key *key, struct bb_slice text, const unsigned char *signature,
                   size_t size)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    const EVP_MD *hash = key->algorithm == JWT_EDDSA ? NULL : EVP_sha256();
    bool fits = context != NULL && EVP_DigestVerifyInit(context, NULL, hash, NULL, key->key) == 1 &&
                EVP_DigestVerify(context, signature, size, text.data, text.size) == 1;

    EVP_MD_CTX_free(context);
    return fits;
}

bool jwt_signature_fits(const struct jwt_key *key, struct bb_slice text, struct bb_slice signature)
{
    unsigned char *der;
    int size;
    bool fits;

    if (key->algorithm != JWT_ES256)
        return verify(key, text, signature.data, signature.size);
    der = der_of(signature, &size);
    fits = der != NULL && size > 0 && verify(key, text, der, (size_t)size);
    OPENSSL_free(der);
    return fits;
}
