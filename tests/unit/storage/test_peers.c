#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bb/env.h"

#include "options.h"
#include "peers.h"

static int parse(struct bb_ctx *ctx, struct peers *peers, const char *first, const char *second,
                 const char *third)
{
    const struct bb_option *tables[] = { storage_options, NULL };
    char *argv[] = { strdup("storage"), strdup(first), strdup(second), strdup(third) };
    struct bb_conf *conf;
    cr_assert_eq(bb_conf_parse(ctx, "storage", "", tables, 4, argv, &conf), BB_OK, "%s",
                 ctx->error);
    int rc = storage_peers_init(ctx, conf, peers);
    storage_peers_fini(peers);
    for (int i = 0; i < 4; i++)
        free(argv[i]);
    /* Texts of the options that were copied stay; what peers point to is gone. */
    bb_conf_free(conf);
    return rc;
}

Test(peers, options_say_who_this_node_is)
{
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct peers peers;
    cr_assert_eq(parse(&ctx, &peers, "--raft-id=2", "--raft-listen=0.0.0.0:3502",
                       "--peers=1=one:3502,2=two:3502"),
                 BB_OK, "%s", ctx.error);
    cr_assert_eq(peers.id, 2);
    cr_assert_eq(peers.voter_count, 2);
    cr_assert_str_eq(peers.address, "two:3502", "its own row names it");
    cr_assert_str_eq(peers.url, "tcp://127.0.0.1:3501", "as `listen` says");
    cr_assert_eq(parse(&ctx, &peers, "--raft-listen=127.0.0.1:3502", "--join", "--raft-id=4"),
                 BB_OK);
    cr_assert(peers.is_joining);
    cr_assert_str_eq(peers.address, "127.0.0.1:3502");
    cr_assert_eq(parse(&ctx, &peers, "--advertise=tcp://me:1", "--readers=1", "--raft-id=1"),
                 BB_OK);
    cr_assert_str_eq(peers.url, "tcp://me:1");
    cr_assert_eq(peers.listen[0], 0);
}

Test(peers, odd_options_are_refused_with_what_to_do)
{
    static const struct {
        const char *first, *second, *says;
    } cases[] = {
        { "--peers=1=one:3502", "--raft-id=1", "--raft-listen" },
        { "--join", "--raft-id=1", "--raft-listen" },
        { "--raft-listen=127.0.0.1:1", "--peers=2=two:3502", "not among them" },
        { "--raft-listen=127.0.0.1:1", "--peers=1=one", "is not like" },
        { "--raft-listen=127.0.0.1:1", "--peers=x=one:2", "is not like" },
        { "--raft-listen=127.0.0.1:1", "--peers=1=one:99999", "is not like" },
        { "--raft-listen=127.0.0.1:1", "--peers=1=one:1,1=two:1", "twice" },
        { "--raft-listen=127.0.0.1:1", "--peers=1=one:1,2=one:1", "twice" },
        { "--raft-listen=0.0.0.0:3502", "--join", "--raft-address" },
        { "--raft-listen=127.0.0.1:1", "--raft-address=nowhere", "--raft-address" },
        { "--secret-file=/does/not/exist", "--raft-id=1", "/does/not/exist" },
    };
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct peers peers;
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        int rc = parse(&ctx, &peers, cases[i].first, cases[i].second, "--readers=1");
        cr_assert_neq(rc, BB_OK, "case %zu", i);
        cr_assert(strstr(ctx.error, cases[i].says) != NULL, "case %zu: %s", i, ctx.error);
    }
}

Test(peers, short_secret_is_refused_and_a_line_end_is_no_part_of_it)
{
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct peers peers;
    char path[] = "/tmp/bb-secret-XXXXXX", option[64];
    int fd = mkstemp(path);
    snprintf(option, sizeof option, "--secret-file=%s", path);
    cr_assert_eq(write(fd, "123456789012345\n", 16), 16);
    cr_assert_eq(parse(&ctx, &peers, option, "--readers=1", "--raft-id=1"), BB_BAD_REQUEST);
    cr_assert(strstr(ctx.error, "15 characters") != NULL, "%s", ctx.error);
    cr_assert_eq(pwrite(fd, "1234567890123456\n", 17, 0), 17);
    cr_assert_eq(parse(&ctx, &peers, option, "--readers=1", "--raft-id=1"), BB_OK, "%s", ctx.error);
    close(fd);
    unlink(path);
}
