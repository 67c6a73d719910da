#include <stdio.h>

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
    { "json", BB_OPTION_BOOL, "false", 0, 0, NULL, "print JSON" },
    { "config", BB_OPTION_TEXT, NULL, 0, 0, "FILE", "options as `name = value` lines" },
    { NULL, BB_OPTION_TEXT, NULL, 0, 0, NULL, NULL },
};

int main(int argc, char **argv)
{
    const struct bb_option *tables[] = { options, NULL };
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct bb_conf *conf = NULL;

    int rc = bb_conf_parse(&ctx, "ctl", "Looks at a BitBend suite: bb-ctl status.", tables, argc,
                           argv, &conf);
    if (rc == BB_CANCELLED)
        return 0;
    if (rc != BB_OK) {
        (void)fprintf(stderr, "bb-ctl: %s\n", ctx.error);
        return 2;
    }
    int code = 2;
    if (bb_conf_rest_count(conf) != 1 || strcmp(bb_conf_rest(conf, 0), "status") != 0) {
        (void)fprintf(stderr,
                      "bb-ctl: the command is missing or unknown; there is: status (see --help)\n");
    } else if (bb_conf_text(conf, "storage") != NULL || bb_conf_text(conf, "sequencer") != NULL ||
               bb_conf_text(conf, "worker") != NULL) {
        code = ctl_status_direct(&ctx, conf);
    } else {
        code = ctl_status_http(&ctx, conf);
    }
    bb_conf_free(conf);
    return code;
}
