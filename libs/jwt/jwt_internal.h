/* Shared inside libs/jwt. */
#ifndef JWT_INTERNAL_H
#define JWT_INTERNAL_H

#include <openssl/evp.h>

#include "bb/jwt.h"

enum jwt_algorithm {
    JWT_RS256,
    JWT_ES256,
    JWT_EDDSA
};

struct jwt_key {
    enum jwt_algorithm algorithm;
    char *id; /* NULL: it has none */
    EVP_PKEY *key;
};

struct bb_jwt_keys {
    size_t count;
    struct jwt_key keys[BB_JWT_KEYS_MAX];
};

/* base64url without padding, as JSON Web Signatures have it. */
int jwt_base64url_decode(struct bb_ctx *ctx, struct bb_slice text, struct bb_buf *to);
bool jwt_algorithm_parse(const char *name, enum jwt_algorithm *algorithm);
/* True: the signature is the key's. */
bool jwt_signature_fits(const struct jwt_key *key, struct bb_slice text, struct bb_slice signature);

#endif
