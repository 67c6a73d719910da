#include <stdio.h>
#include <string.h>

#include "bb/conf.h"
#include "bb/env.h"

#include "ctl.h"

static const struct bb_option options[] = {
    { "url", BB_OPTION_TEXT, NULL, 0, 0, "URL", "gateway to ask, e.g. http://127.0.0.1:3210" },
    { "admin-key", BB_OPTION_TEXT, NULL, 0, 0, "KEY", "admin key of the suite" },
    { "data", BB_OPTION_TEXT, ".bitbend", 0, 0, "DIR",
      "folder of an embedded suite; its dev.json names URL and key" },
    { "storage", BB_OPTION_TEXT, NULL, 0, 0, "URLS",
      "storage replicas to ask directly, e.g. tcp://127.0.0.1:3501" },
    { "sequencer", BB_OPTION_TEXT, NULL, 0, 0, "URLS",
      "sequencers to ask directly, e.g. tcp://127.0.0.1:3511" },
    { "worker", BB_OPTION_TEXT, NULL, 0, 0, "URLS",
      "workers to ask directly, e.g. tcp://127.0.0.1:3521" },
    { "part", BB_OPTION_TEXT, "all", 0, 0, "PART", "inspect: log, data, feed or all" },
    { "entries", BB_OPTION_BOOL, "false", 0, 0, NULL,
      "inspect: each entry of the log and each record of the feed" },
    { "json", BB_OPTION_BOOL, "false", 0, 0, NULL, "print JSON" },
    { "config", BB_OPTION_TEXT, NULL, 0, 0, "FILE", "options as `name = value` lines" },
    { NULL, BB_OPTION_TEXT, NULL, 0, 0, NULL, NULL },
};

static int run(struct bb_ctx *ctx, const struct bb_conf *conf)
{
    size_t count = bb_conf_rest_count(conf);
    const char *command = count == 0 ? "" : bb_conf_rest(conf, 0);

    if (strcmp(command, "inspect") == 0) {
        return ctl_inspect(ctx, conf);
    }
    if (strcmp(command, "members") == 0) {
        return ctl_members(ctx, conf);
    }
    if (count == 1 && strcmp(command, "status") == 0) {
        bool is_direct = bb_conf_text(conf, "storage") != NULL ||
                         bb_conf_text(conf, "sequencer") != NULL ||
                         bb_conf_text(conf, "worker") != NULL;
        return is_direct ? ctl_status_direct(ctx, conf) : ctl_status_http(ctx, conf);
    }
    if (count == 1 && (strcmp(command, "hash") == 0 || strcmp(command, "compact") == 0)) {
        return ctl_care(ctx, conf, command[0] == 'h');
    }
    (void)fprintf(stderr, "bb-ctl: the command is missing or unknown; there are: status, members, "
                          "inspect DIR, hash, compact (see --help)\n");
    return 2;
}

int main(int argc, char **argv)
{
    const struct bb_option *tables[] = { options, NULL };
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct bb_conf *conf = NULL;

    int rc = bb_conf_parse(
        &ctx, "ctl",
        "Looks at a BitBend suite and cares for it: bb-ctl status, members, inspect DIR, hash, compact.",
        tables, argc, argv, &conf);
    if (rc == BB_CANCELLED)
        return 0;
    if (rc != BB_OK) {
        (void)fprintf(stderr, "bb-ctl: %s\n", ctx.error);
        return 2;
    }
    int code = run(&ctx, conf);
    bb_conf_free(conf);
    return code;
}
