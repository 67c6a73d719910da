/* Addresses of NATS servers; streams are tested against a real server by the integration tests. */
#include "bb/nats.h"

#include <criterion/criterion.h>

static void expect_shown(const char *urls, const char *shown)
{
    char *made = bb_nats_shown(urls);

    cr_expect_str_eq(made, shown);
    bb_free(made);
}

Test(nats, what_opens_a_server_is_not_shown)
{
    expect_shown("nats://127.0.0.1:4222", "nats://127.0.0.1:4222");
    expect_shown("nats://name:word@host:4222", "nats://host:4222");
    expect_shown("nats://token@a,tls://u:p@b:1,nats://c", "nats://a,tls://b:1,nats://c");
    expect_shown("token@a", "a");
    expect_shown("", "");
}

Test(nats, other_protocols_are_refused_without_showing_the_password)
{
    struct bb_ctx ctx = { 0 };

    cr_expect_eq(bb_nats_check(&ctx, "nats://a"), BB_OK);
    cr_expect_eq(bb_nats_check(&ctx, "tls://a"), BB_OK);
    cr_expect_eq(bb_nats_check(&ctx, "http://me:secret@a:1"), BB_BAD_REQUEST);
    cr_expect_str_eq(ctx.error, "option nats: http://a:1 is no nats:// or tls:// url");
}
