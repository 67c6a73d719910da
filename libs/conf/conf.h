/* Shared inside libs/conf: the values that were found and where each came from. */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "bb/conf.h"

struct conf_value {
    const struct bb_option *option;
    char *text;      /* NULL: none */
    char origin[96]; /* "flag --x", "environment BB_A_X", "file F line 3", "default" */
    int strength;    /* a stronger origin is not overwritten */
};

enum {
    CONF_DEFAULT,
    CONF_FILE,
    CONF_ENVIRONMENT,
    CONF_FLAG
};

struct bb_conf {
    struct conf_value *values;
    size_t count;
    char **rest;
    size_t rest_count;
};

struct conf_value *conf_find(const struct bb_conf *conf, const char *name);
/* Check `text` against the option's kind and bounds, then keep a copy. Weaker than what is there:
 * nothing happens but the check. */
int conf_put(struct bb_ctx *ctx, struct conf_value *value, const char *text, int strength,
             const char *origin);
/* False: not a number of this kind. */
bool conf_number(const char *text, bool with_suffix, uint64_t *number);
bool conf_bool(const char *text, bool *is_true);
void conf_environment_name(const char *service, const char *option, char *name, size_t size);
int conf_read_file(struct bb_ctx *ctx, struct bb_conf *conf, const char *path);
void conf_print_help(const struct bb_conf *conf, const char *service, const char *summary);
void conf_print_markdown(const struct bb_conf *conf, const char *service, const char *summary);

#endif
