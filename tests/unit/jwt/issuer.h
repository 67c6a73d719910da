/* An issuer of tokens with a key of each kind. */
#ifndef TEST_ISSUER_H
#define TEST_ISSUER_H

#include <openssl/evp.h>

#include "bb/jwt.h"

struct issuer {
    EVP_PKEY *rsa, *p256, *ed25519;
};

void issuer_init(struct issuer *issuer);
void issuer_fini(struct issuer *issuer);
/* The key set: ids "r", "e", "d", or none. */
void issuer_keys(const struct issuer *issuer, bool has_ids, struct bb_buf *json);
/* A signed token. `id` NULL: it names no key. */
void issuer_sign(const struct issuer *issuer, const char *algorithm, const char *id,
                 const char *claims, struct bb_buf *token);
void base64url_append(struct bb_buf *to, struct bb_slice from);

#endif
