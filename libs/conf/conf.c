#include "conf.h"

#ifndef BB_VERSION
#define BB_VERSION "0.1.0"
#endif

static const struct conf_value *must_find(const struct bb_conf *conf, const char *name)
{
    const struct conf_value *value = conf_find(conf, name);

    bb_assert(value != NULL); /* asking for an option that is in no table */
    return value;
}

const char *bb_conf_text(const struct bb_conf *conf, const char *name)
{
    return must_find(conf, name)->text;
}

uint64_t bb_conf_number(const struct bb_conf *conf, const char *name)
{
    const struct conf_value *value = must_find(conf, name);
    uint64_t number = 0;

    bb_assert(value->option->kind == BB_OPTION_NUMBER || value->option->kind == BB_OPTION_SIZE);
    if (value->text != NULL)
        bb_assert(conf_number(value->text, value->option->kind == BB_OPTION_SIZE, &number));
    return number;
}

bool bb_conf_bool(const struct bb_conf *conf, const char *name)
{
    const struct conf_value *value = must_find(conf, name);
    bool is_true = false;

    bb_assert(value->option->kind == BB_OPTION_BOOL);
    if (value->text != NULL)
        bb_assert(conf_bool(value->text, &is_true));
    return is_true;
}

bool bb_conf_is_default(const struct bb_conf *conf, const char *name)
{
    return must_find(conf, name)->strength == CONF_DEFAULT;
}

int bb_conf_set(struct bb_ctx *ctx, struct bb_conf *conf, const char *name, const char *value)
{
    struct conf_value *found = conf_find(conf, name);

    bb_assert(found != NULL);
    return conf_put(ctx, found, value, CONF_FLAG, "set by the program");
}

size_t bb_conf_rest_count(const struct bb_conf *conf)
{
    return conf->rest_count;
}

const char *bb_conf_rest(const struct bb_conf *conf, size_t index)
{
    bb_assert(index < conf->rest_count);
    return conf->rest[index];
}

const char *bb_version(void)
{
    return BB_VERSION;
}
