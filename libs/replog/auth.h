/*
 * The words by which two nodes prove to each other that they know the cluster's secret; pure.
 *
 *   client -> server  HELLO(client)
 *   server -> client  HELLO(server), PROOF 'S'
 *   client -> server  PROOF 'C'
 *   server -> client  VERDICT, PROOF 'V'
 *
 * A proof is HMAC-SHA256 with the secret over its letter, both hellos and, for 'V', the verdict.
 * Each hello has 32 fresh random bytes, so nothing can be played again. It proves who is at the
 * other end of a connection; what is said afterwards is not protected. docs/formats/raft.md.
 */
#ifndef REPLOG_AUTH_H
#define REPLOG_AUTH_H

#include "bb/replog.h"

enum {
    AUTH_HELLO = 88,
    AUTH_NONCE = 32,
    AUTH_PROOF = 32,
    AUTH_VERDICT = 128, /* a status and a sentence */
    AUTH_REASON_MAX = AUTH_VERDICT - 4
};

struct auth_hello {
    struct bb_replog_identity self;
    uint64_t to; /* the node that is meant */
    uint8_t nonce[AUTH_NONCE];
};
void replog_auth_hello_encode(const struct auth_hello *hello, uint8_t to[AUTH_HELLO]);
/* BB_BAD_REQUEST, BB_WRONG_VERSION. */
int replog_auth_hello_decode(struct bb_ctx *ctx, const uint8_t from[AUTH_HELLO],
                             struct auth_hello *hello);

/* `verdict` is NULL but for 'V'. */
void replog_auth_prove(struct bb_slice secret, char letter, const uint8_t client[AUTH_HELLO],
                       const uint8_t server[AUTH_HELLO], const uint8_t *verdict,
                       uint8_t proof[AUTH_PROOF]);
bool replog_auth_check(struct bb_slice secret, char letter, const uint8_t client[AUTH_HELLO],
                       const uint8_t server[AUTH_HELLO], const uint8_t *verdict,
                       const uint8_t proof[AUTH_PROOF]);

/* `why` is cut to what fits. */
void replog_auth_verdict_encode(bool is_admitted, const char *why, uint8_t to[AUTH_VERDICT]);
/* True: admitted. Else `why` says why not. */
bool replog_auth_verdict_decode(const uint8_t from[AUTH_VERDICT], char why[AUTH_REASON_MAX]);

#endif
