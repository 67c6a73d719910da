#include "conf.h"

#include <ctype.h>
#include <stdio.h>

struct conf_value *conf_find(const struct bb_conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->count; i++) {
        if (strcmp(conf->values[i].option->name, name) == 0)
            return &conf->values[i];
    }
    return NULL;
}

bool conf_number(const char *text, bool with_suffix, uint64_t *number)
{
    uint64_t value = 0;
    unsigned shift = 0;
    const char *at = text;

    if (*at < '0' || *at > '9')
        return false;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
            return false;
    }
    if (with_suffix && *at != '\0') {
        switch (toupper((unsigned char)*at)) {
        case 'K':
            shift = 10;
            break;
        case 'M':
            shift = 20;
            break;
        case 'G':
            shift = 30;
            break;
        case 'T':
            shift = 40;
            break;
        default:
            return false;
        }
        at++;
    }
    if (*at != '\0' || (shift != 0 && value >> (64 - shift) != 0))
        return false;
    *number = value << shift;
    return true;
}

bool conf_bool(const char *text, bool *is_true)
{
    static const char *const yes[] = { "true", "yes", "on", "1" };
    static const char *const no[] = { "false", "no", "off", "0" };

    for (size_t i = 0; i < BB_COUNT_OF(yes); i++) {
        if (strcmp(text, yes[i]) == 0) {
            *is_true = true;
            return true;
        }
        if (strcmp(text, no[i]) == 0) {
            *is_true = false;
            return true;
        }
    }
    return false;
}

static int check(struct bb_ctx *ctx, const struct bb_option *option, const char *text,
                 const char *origin)
{
    uint64_t number = 0;
    bool is_true = false;
    bool is_bounded = option->min != 0 || option->max != 0;
    bool is_size = option->kind == BB_OPTION_SIZE;
    const char *kind = NULL;

    switch (option->kind) {
    case BB_OPTION_TEXT:
        return BB_OK;
    case BB_OPTION_BOOL:
        if (conf_bool(text, &is_true))
            return BB_OK;
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "option %s: \"%.64s\" (%s) is neither true nor false; allowed: true, false",
                       option->name, text, origin);
    case BB_OPTION_NUMBER:
        kind = "a number";
        break;
    case BB_OPTION_SIZE:
        kind = "a size in bytes (like 4096, 64K, 8M or 2G)";
        break;
    }
    if (!conf_number(text, is_size, &number)) {
        if (is_bounded) {
            return bb_fail(ctx, BB_BAD_REQUEST,
                           "option %s: \"%.64s\" (%s) is not %s; allowed: %" PRIu64 " to %" PRIu64,
                           option->name, text, origin, kind, option->min, option->max);
        }
        return bb_fail(ctx, BB_BAD_REQUEST, "option %s: \"%.64s\" (%s) is not %s", option->name,
                       text, origin, kind);
    }
    if (is_bounded && (number < option->min || number > option->max)) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "option %s: %.64s (%s) is out of bounds; allowed: %" PRIu64 " to %" PRIu64,
                       option->name, text, origin, option->min, option->max);
    }
    return BB_OK;
}

int conf_put(struct bb_ctx *ctx, struct conf_value *value, const char *text, int strength,
             const char *origin)
{
    int rc = check(ctx, value->option, text, origin);

    if (rc != BB_OK)
        return rc;
    if (strength < value->strength)
        return BB_OK;
    char *copy = bb_strdup(text);
    bb_free(value->text);
    value->text = copy;
    value->strength = strength;
    (void)snprintf(value->origin, sizeof value->origin, "%s", origin);
    return BB_OK;
}
