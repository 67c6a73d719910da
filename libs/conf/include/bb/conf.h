/*
 * One table of options gives flags (--name value, --name=value), environment variables
 * (BB_<SERVICE>_<NAME>), a file (`name = value` lines, # comments; --config FILE), `--help`,
 * `--help-markdown` for the reference page, and `--version`.
 * Strength: flag over environment over file over default. An unknown or bad value is an error that
 * names the option, where it came from, the value and what is allowed.
 */
#ifndef BB_CONF_H
#define BB_CONF_H

#include "bb/base.h"

enum bb_option_kind {
    BB_OPTION_TEXT,
    BB_OPTION_NUMBER,
    BB_OPTION_SIZE,
    BB_OPTION_BOOL
};

/* A table ends with a row whose name is NULL. */
struct bb_option {
    const char *name;          /* "listen", "slow-ms" */
    enum bb_option_kind kind;  /* SIZE: bytes, accepts 64K, 8M, 2G; BOOL: --name, --name=false */
    const char *default_value; /* NULL: none, bb_conf_text gives NULL */
    uint64_t min, max;         /* NUMBER and SIZE; both 0: any */
    const char *argument;      /* for --help: "URL" */
    const char *help;          /* one sentence */
};

struct bb_conf;

/* BB_OK; BB_BAD_REQUEST with the text in ctx; BB_CANCELLED when --help or --version was printed and
 * the program should end with 0. `service` names the environment prefix and the title. Arguments
 * that are no options are kept as rest (see below). `tables` ends with NULL. */
int bb_conf_parse(struct bb_ctx *ctx, const char *service, const char *summary,
                  const struct bb_option *const *tables, int argc, char **argv,
                  struct bb_conf **conf);
void bb_conf_free(struct bb_conf *conf); /* accepts NULL */

/* An option that is in no table is a bug: assert. Texts live as long as the conf. */
const char *bb_conf_text(const struct bb_conf *conf, const char *name);
uint64_t bb_conf_number(const struct bb_conf *conf, const char *name);
bool bb_conf_bool(const struct bb_conf *conf, const char *name);
bool bb_conf_is_default(const struct bb_conf *conf, const char *name);
/* Change a value from code (bb-solo sets addresses); checked like a flag. */
int bb_conf_set(struct bb_ctx *ctx, struct bb_conf *conf, const char *name, const char *value);
size_t bb_conf_rest_count(const struct bb_conf *conf);
const char *bb_conf_rest(const struct bb_conf *conf, size_t index);
/* The version all programs print. */
const char *bb_version(void);

#endif
