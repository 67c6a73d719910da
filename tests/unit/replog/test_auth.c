#include <criterion/criterion.h>

#include "auth.h"

struct shake {
    uint8_t client[AUTH_HELLO], server[AUTH_HELLO], verdict[AUTH_VERDICT], proof[AUTH_PROOF];
};

static void make(struct shake *shake)
{
    struct auth_hello client = { .self = { .id = 1 }, .to = 2, .nonce = { 1, 2, 3 } };
    struct auth_hello server = { .self = { .id = 2 }, .to = 1, .nonce = { 4, 5, 6 } };
    memset(client.self.cluster, 9, 16);
    memset(client.self.incarnation, 8, 16);
    replog_auth_hello_encode(&client, shake->client);
    replog_auth_hello_encode(&server, shake->server);
    replog_auth_verdict_encode(true, "", shake->verdict);
}

Test(replog_auth, hello_comes_back_as_it_was)
{
    struct bb_ctx ctx = { 0 };
    struct shake shake;
    struct auth_hello hello;
    make(&shake);
    cr_assert_eq(replog_auth_hello_decode(&ctx, shake.client, &hello), BB_OK);
    cr_assert_eq(hello.self.id, 1);
    cr_assert_eq(hello.to, 2);
    cr_assert_eq(hello.nonce[2], 3);
    cr_assert_eq(hello.self.cluster[15], 9);
    cr_assert_eq(hello.self.incarnation[15], 8);
    shake.client[4] = 2;
    cr_assert_eq(replog_auth_hello_decode(&ctx, shake.client, &hello), BB_WRONG_VERSION);
    shake.client[0] ^= 1;
    cr_assert_eq(replog_auth_hello_decode(&ctx, shake.client, &hello), BB_BAD_REQUEST);
}

Test(replog_auth, proof_holds_for_its_letter_secret_and_every_byte_only)
{
    struct bb_slice secret = bb_slice_str("secret"), other = bb_slice_str("Secret");
    struct shake shake;
    make(&shake);
    replog_auth_prove(secret, 'S', shake.client, shake.server, NULL, shake.proof);
    cr_assert(replog_auth_check(secret, 'S', shake.client, shake.server, NULL, shake.proof));
    cr_assert_not(replog_auth_check(secret, 'C', shake.client, shake.server, NULL, shake.proof));
    cr_assert_not(replog_auth_check(other, 'S', shake.client, shake.server, NULL, shake.proof));
    cr_assert_not(replog_auth_check(secret, 'S', shake.server, shake.client, NULL, shake.proof));
    for (size_t i = 0; i < AUTH_HELLO; i++) {
        shake.client[i] ^= 0x10;
        cr_assert_not(replog_auth_check(secret, 'S', shake.client, shake.server, NULL, shake.proof),
                      "byte %zu", i);
        shake.client[i] ^= 0x10;
    }
    replog_auth_prove(secret, 'V', shake.client, shake.server, shake.verdict, shake.proof);
    cr_assert(
        replog_auth_check(secret, 'V', shake.client, shake.server, shake.verdict, shake.proof));
    shake.verdict[0] ^= 1;
    cr_assert_not(
        replog_auth_check(secret, 'V', shake.client, shake.server, shake.verdict, shake.proof));
}

Test(replog_auth, verdict_tells_why)
{
    uint8_t verdict[AUTH_VERDICT];
    char why[AUTH_REASON_MAX], text[300];
    replog_auth_verdict_encode(true, "ignored", verdict);
    cr_assert(replog_auth_verdict_decode(verdict, why));
    cr_assert_str_eq(why, "");
    replog_auth_verdict_encode(false, "because", verdict);
    cr_assert_not(replog_auth_verdict_decode(verdict, why));
    cr_assert_str_eq(why, "because");
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    replog_auth_verdict_encode(false, text, verdict);
    cr_assert_not(replog_auth_verdict_decode(verdict, why));
    cr_assert_eq(strlen(why), AUTH_REASON_MAX - 1);
    memset(verdict, 0xff, sizeof verdict);
    cr_assert_not(replog_auth_verdict_decode(verdict, why));
    cr_assert_eq(strlen(why), AUTH_REASON_MAX - 1);
}
