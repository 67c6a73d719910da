#include "auth.h"

#include <assert.h>

enum {
    HELLO_MAGIC_AT = 0,
    HELLO_VERSION_AT = 4,
    HELLO_FROM_AT = 8,
    HELLO_TO_AT = 16,
    HELLO_NONCE_AT = 24,
    HELLO_CLUSTER_AT = 56,
    HELLO_INCARNATION_AT = 72
};
static_assert(HELLO_INCARNATION_AT + 16 == (int)AUTH_HELLO,
              "the hello's size is part of the protocol");

#define HELLO_MAGIC   0x50524242u /* "BBRP" */
#define HELLO_VERSION 1u

void replog_auth_hello_encode(const struct auth_hello *hello, uint8_t to[AUTH_HELLO])
{
    bb_put_le32(to + HELLO_MAGIC_AT, HELLO_MAGIC);
    bb_put_le32(to + HELLO_VERSION_AT, HELLO_VERSION);
    bb_put_le64(to + HELLO_FROM_AT, hello->self.id);
    bb_put_le64(to + HELLO_TO_AT, hello->to);
    memcpy(to + HELLO_NONCE_AT, hello->nonce, AUTH_NONCE);
    memcpy(to + HELLO_CLUSTER_AT, hello->self.cluster, sizeof hello->self.cluster);
    memcpy(to + HELLO_INCARNATION_AT, hello->self.incarnation, sizeof hello->self.incarnation);
}

int replog_auth_hello_decode(struct bb_ctx *ctx, const uint8_t from[AUTH_HELLO],
                             struct auth_hello *hello)
{
    if (bb_get_le32(from + HELLO_MAGIC_AT) != HELLO_MAGIC) {
        return bb_fail(ctx, BB_BAD_REQUEST, "the other side is no storage node");
    }
    if (bb_get_le32(from + HELLO_VERSION_AT) != HELLO_VERSION) {
        return bb_fail(ctx, BB_WRONG_VERSION, "the other side speaks version %" PRIu32,
                       bb_get_le32(from + HELLO_VERSION_AT));
    }
    hello->self.id = bb_get_le64(from + HELLO_FROM_AT);
    hello->to = bb_get_le64(from + HELLO_TO_AT);
    memcpy(hello->nonce, from + HELLO_NONCE_AT, AUTH_NONCE);
    memcpy(hello->self.cluster, from + HELLO_CLUSTER_AT, sizeof hello->self.cluster);
    memcpy(hello->self.incarnation, from + HELLO_INCARNATION_AT, sizeof hello->self.incarnation);
    return BB_OK;
}

void replog_auth_prove(struct bb_slice secret, char letter, const uint8_t client[AUTH_HELLO],
                       const uint8_t server[AUTH_HELLO], const uint8_t *verdict,
                       uint8_t proof[AUTH_PROOF])
{
    uint8_t text[1 + 2 * AUTH_HELLO + AUTH_VERDICT];
    size_t size = 1 + 2 * AUTH_HELLO;

    text[0] = (uint8_t)letter;
    memcpy(text + 1, client, AUTH_HELLO);
    memcpy(text + 1 + AUTH_HELLO, server, AUTH_HELLO);
    if (verdict != NULL) {
        memcpy(text + size, verdict, AUTH_VERDICT);
        size += AUTH_VERDICT;
    }
    bb_hmac_sha256(secret, bb_slice(text, size), proof);
}

bool replog_auth_check(struct bb_slice secret, char letter, const uint8_t client[AUTH_HELLO],
                       const uint8_t server[AUTH_HELLO], const uint8_t *verdict,
                       const uint8_t proof[AUTH_PROOF])
{
    uint8_t expected[AUTH_PROOF];

    replog_auth_prove(secret, letter, client, server, verdict, expected);
    return bb_equal_constant_time(bb_slice(expected, AUTH_PROOF), bb_slice(proof, AUTH_PROOF));
}

void replog_auth_verdict_encode(bool is_admitted, const char *why, uint8_t to[AUTH_VERDICT])
{
    size_t size = is_admitted ? 0 : strlen(why);

    memset(to, 0, AUTH_VERDICT);
    bb_put_le32(to, is_admitted ? 0 : 1);
    if (size >= AUTH_REASON_MAX) {
        size = AUTH_REASON_MAX - 1;
    }
    if (size > 0) {
        memcpy(to + 4, why, size);
    }
}

bool replog_auth_verdict_decode(const uint8_t from[AUTH_VERDICT], char why[AUTH_REASON_MAX])
{
    memcpy(why, from + 4, AUTH_REASON_MAX);
    why[AUTH_REASON_MAX - 1] = 0;
    return bb_get_le32(from) == 0;
}
