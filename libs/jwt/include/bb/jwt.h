/*
 * JSON Web Tokens (RFC 7519) of users: parsed, their signatures verified with the public keys of
 * their issuer (RFC 7517), and turned into what functions see. Signatures are libcrypto's.
 *
 * - RS256, ES256 and EdDSA (Ed25519); RSA keys of 2048 bits or more. A key serves only the
 * algorithm of its kind, so a token cannot choose how it is checked; there is no `none` and no
 * shared secret.
 * - A token has at most 16 KB, a set of keys 64 keys.
 *
 * Ownership: all is copied. Threads: any, one at a time for an object. Durability: none.
 */
#ifndef BB_JWT_H
#define BB_JWT_H

#include "bb/base.h"

#define BB_JWT_SIZE_MAX 16384u
#define BB_JWT_KEYS_MAX 64u

/* ---- public keys ---- */

struct bb_jwt_keys;
/* From the JSON of a key set {"keys": [..]}. Keys of other kinds and uses are passed over.
 * BB_BAD_REQUEST says what is wrong, also when no key is left. */
int bb_jwt_keys_parse(struct bb_ctx *ctx, struct bb_slice json, struct bb_jwt_keys **keys);
size_t bb_jwt_keys_count(const struct bb_jwt_keys *keys);
void bb_jwt_keys_free(struct bb_jwt_keys *keys); /* accepts NULL */

/* ---- one token ---- */

struct bb_jwt;
/* Nothing of it is verified yet. BB_UNAUTHORIZED says what is wrong. */
int bb_jwt_parse(struct bb_ctx *ctx, struct bb_slice token, struct bb_jwt **jwt);
void bb_jwt_free(struct bb_jwt *jwt); /* accepts NULL */
const char *bb_jwt_issuer(const struct bb_jwt *jwt);
const char *bb_jwt_algorithm(const struct bb_jwt *jwt);
bool bb_jwt_is_for(const struct bb_jwt *jwt, const char *audience);
/* BB_OK; BB_NOT_FOUND: no key of the set is the one that it names (or, naming none, fits);
 * BB_UNAUTHORIZED: the signature is wrong. */
int bb_jwt_verify(struct bb_ctx *ctx, const struct bb_jwt *jwt, const struct bb_jwt_keys *keys);
/* Is it valid at this moment of the wall clock? It must expire. `skew_s`: how far clocks may
 * differ. BB_UNAUTHORIZED. */
int bb_jwt_check_time(struct bb_ctx *ctx, const struct bb_jwt *jwt, uint64_t wall_us,
                      uint32_t skew_s);
uint64_t bb_jwt_expires_us(const struct bb_jwt *jwt); /* wall clock */
/* Appends what functions see, as JSON with sorted names: tokenIdentifier, issuer, subject, the
 * standard claims under their names in JavaScript (givenName, ..), and all others but those that
 * say when and for whom the token was made: two tokens of one user give the same text. */
void bb_jwt_append_identity(const struct bb_jwt *jwt, struct bb_buf *json);

#endif
