#include <criterion/criterion.h>

#include "bb/conf.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct bb_option options[] = {
    { "listen", BB_OPTION_TEXT, "tcp://127.0.0.1:1", 0, 0, "URL", "Where to listen." },
    { "flush-ms", BB_OPTION_NUMBER, "50", 1, 1000, "MS", "How often." },
    { "cache-bytes", BB_OPTION_SIZE, "64M", 0, 0, "BYTES", "How much." },
    { "memory", BB_OPTION_BOOL, "false", 0, 0, NULL, "No disk." },
    { "config", BB_OPTION_TEXT, NULL, 0, 0, "FILE", "A file." },
    { NULL, BB_OPTION_TEXT, NULL, 0, 0, NULL, NULL },
};

static int parse(struct bb_ctx *ctx, struct bb_conf **conf, const char *const *arguments)
{
    const struct bb_option *const tables[] = { options, NULL };
    char *argv[16];
    char copies[16][64];
    int argc = 1;

    argv[0] = copies[0];
    (void)snprintf(copies[0], sizeof copies[0], "bb-test");
    for (; arguments[argc - 1] != NULL; argc++) {
        (void)snprintf(copies[argc], sizeof copies[argc], "%s", arguments[argc - 1]);
        argv[argc] = copies[argc];
    }
    argv[argc] = NULL;
    return bb_conf_parse(ctx, "test", "A test.", tables, argc, argv, conf);
}
#define PARSE(...) parse(&ctx, &conf, (const char *const[]){ __VA_ARGS__, NULL })

Test(conf, flags_come_in_both_forms_and_the_rest_is_kept)
{
    struct bb_ctx ctx = { .status = 0 };
    struct bb_conf *conf = NULL;

    cr_assert_eq(PARSE("--flush-ms", "7", "one", "--cache-bytes=2K", "--memory", "--", "--two"),
                 BB_OK, "%s", ctx.error);
    cr_assert_eq(bb_conf_number(conf, "flush-ms"), 7);
    cr_assert_eq(bb_conf_number(conf, "cache-bytes"), 2048);
    cr_assert(bb_conf_bool(conf, "memory"));
    cr_assert_str_eq(bb_conf_text(conf, "listen"), "tcp://127.0.0.1:1");
    cr_assert_null(bb_conf_text(conf, "config"));
    cr_assert(bb_conf_is_default(conf, "listen"));
    cr_assert_not(bb_conf_is_default(conf, "memory"));
    cr_assert_eq(bb_conf_rest_count(conf), 2);
    cr_assert_str_eq(bb_conf_rest(conf, 0), "one");
    cr_assert_str_eq(bb_conf_rest(conf, 1), "--two");
    bb_conf_free(conf);
}

Test(conf, a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default)
{
    struct bb_ctx ctx = { .status = 0 };
    struct bb_conf *conf = NULL;
    char path[] = "/tmp/bb-conf-XXXXXX";
    int fd = mkstemp(path);
    static const char text[] =
        "# a comment\n\n flush-ms = 3 \ncache-bytes=5\nlisten = in the file\n";

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, sizeof text - 1), (ssize_t)sizeof text - 1);
    (void)close(fd);
    cr_assert_eq(setenv("BB_TEST_CACHE_BYTES", "6", 1), 0);
    cr_assert_eq(setenv("BB_TEST_FLUSH_MS", "4", 1), 0);
    cr_assert_eq(PARSE("--flush-ms=5", "--config", path), BB_OK, "%s", ctx.error);
    cr_assert_eq(bb_conf_number(conf, "flush-ms"), 5);
    cr_assert_eq(bb_conf_number(conf, "cache-bytes"), 6);
    cr_assert_str_eq(bb_conf_text(conf, "listen"), "in the file");
    cr_assert_not(bb_conf_bool(conf, "memory"));
    bb_conf_free(conf);
    (void)unlink(path);
}

Test(conf, an_error_names_option_origin_value_and_what_is_allowed)
{
    struct bb_ctx ctx = { .status = 0 };
    struct bb_conf *conf = NULL;

    cr_assert_eq(PARSE("--flush-ms=2000"), BB_BAD_REQUEST);
    cr_assert_str_eq(ctx.error, "option flush-ms: 2000 (flag --flush-ms) is out of bounds; "
                                "allowed: 1 to 1000");
    cr_assert_eq(PARSE("--flush-ms=abc"), BB_BAD_REQUEST);
    cr_assert_eq(PARSE("--flush-ms=99999999999999999999"), BB_BAD_REQUEST);
    cr_assert_eq(PARSE("--cache-bytes=5X"), BB_BAD_REQUEST);
    cr_assert_eq(PARSE("--cache-bytes=99999999999T"), BB_BAD_REQUEST);
    cr_assert_eq(PARSE("--memory=maybe"), BB_BAD_REQUEST);
    cr_assert_eq(PARSE("--flush-ms"), BB_BAD_REQUEST);
    cr_assert_eq(PARSE("--unknown"), BB_BAD_REQUEST);
    cr_assert_str_eq(ctx.error, "no option has the name --unknown; see --help");
    cr_assert_eq(PARSE("-x"), BB_BAD_REQUEST);
    cr_assert_eq(PARSE("--config=/nowhere/at/all"), BB_BAD_REQUEST);
    cr_assert_eq(setenv("BB_TEST_FLUSH_MS", "0", 1), 0);
    cr_assert_eq(PARSE("x"), BB_BAD_REQUEST);
    cr_assert_not_null(strstr(ctx.error, "environment BB_TEST_FLUSH_MS"), "%s", ctx.error);
}

Test(conf, a_line_of_the_file_that_is_wrong_is_named)
{
    struct bb_ctx ctx = { .status = 0 };
    struct bb_conf *conf = NULL;
    static const char *const cases[] = { "flush-ms 3\n", "\nnothing = 3\n", "flush-ms = x\n" };

    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        char path[] = "/tmp/bb-conf-XXXXXX";
        int fd = mkstemp(path);
        cr_assert_geq(fd, 0);
        cr_assert_eq(write(fd, cases[i], strlen(cases[i])), (ssize_t)strlen(cases[i]));
        (void)close(fd);
        cr_assert_eq(PARSE("--config", path), BB_BAD_REQUEST);
        cr_assert_not_null(strstr(ctx.error, i == 1 ? "line 2" : "line 1"), "%s", ctx.error);
        (void)unlink(path);
    }
}

Test(conf, help_and_version_end_the_program)
{
    struct bb_ctx ctx = { .status = 0 };
    struct bb_conf *conf = NULL;

    cr_assert_not_null(freopen("/dev/null", "w", stdout));
    cr_assert_eq(PARSE("--help"), BB_CANCELLED);
    cr_assert_eq(PARSE("--help-markdown"), BB_CANCELLED);
    cr_assert_eq(PARSE("--version"), BB_CANCELLED);
}

Test(conf, a_value_set_from_code_is_checked_like_a_flag)
{
    struct bb_ctx ctx = { .status = 0 };
    struct bb_conf *conf = NULL;

    cr_assert_eq(PARSE("--flush-ms=5"), BB_OK);
    cr_assert_eq(bb_conf_set(&ctx, conf, "flush-ms", "0"), BB_BAD_REQUEST);
    cr_assert_eq(bb_conf_number(conf, "flush-ms"), 5);
    cr_assert_eq(bb_conf_set(&ctx, conf, "flush-ms", "9"), BB_OK);
    cr_assert_eq(bb_conf_number(conf, "flush-ms"), 9);
    bb_conf_free(conf);
}

Test(conf, asking_for_an_option_that_is_in_no_table_is_a_bug, .signal = SIGABRT)
{
    struct bb_ctx ctx = { .status = 0 };
    struct bb_conf *conf = NULL;

    cr_assert_eq(PARSE("x"), BB_OK);
    (void)bb_conf_text(conf, "none");
}
