#include "conf.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CONF_LINE_MAX 4096

void conf_environment_name(const char *service, const char *option, char *name, size_t size)
{
    (void)snprintf(name, size, "BB_%s_%s", service, option);
    for (char *c = name; *c != '\0'; c++)
        *c = (char)(*c == '-' ? '_' : toupper((unsigned char)*c));
}

static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t size = strlen(text);
    while (size > 0 && isspace((unsigned char)text[size - 1]))
        text[--size] = '\0';
    return text;
}

static int read_line(struct bb_ctx *ctx, struct bb_conf *conf, char *line, const char *origin)
{
    char *name = trim(line);

    if (name[0] == '\0' || name[0] == '#')
        return BB_OK;
    char *equals = strchr(name, '=');
    if (equals == NULL) {
        return bb_fail(ctx, BB_BAD_REQUEST, "%s: \"%.64s\" has no \"=\"; write name = value",
                       origin, name);
    }
    *equals = '\0';
    name = trim(name);
    struct conf_value *value = conf_find(conf, name);
    if (value == NULL) {
        return bb_fail(ctx, BB_BAD_REQUEST, "%s: no option has the name \"%.64s\"; see --help",
                       origin, name);
    }
    return conf_put(ctx, value, trim(equals + 1), CONF_FILE, origin);
}

int conf_read_file(struct bb_ctx *ctx, struct bb_conf *conf, const char *path)
{
    char line[CONF_LINE_MAX];
    char origin[96];
    char text[128];
    int number = 0;
    int rc = BB_OK;

    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return bb_fail(ctx, BB_BAD_REQUEST, "option config: %s cannot be read: %s", path,
                       bb_strerror(errno, text, sizeof text));
    }
    while (rc == BB_OK && fgets(line, sizeof line, file) != NULL) {
        number++;
        (void)snprintf(origin, sizeof origin, "file %.60s line %d", path, number);
        if (strlen(line) == sizeof line - 1) {
            rc = bb_fail(ctx, BB_BAD_REQUEST, "%s: longer than %zu bytes", origin, sizeof line - 2);
        } else {
            rc = read_line(ctx, conf, line, origin);
        }
    }
    if (rc == BB_OK && ferror(file) != 0)
        rc = bb_fail(ctx, BB_BAD_REQUEST, "option config: %s cannot be read", path);
    (void)fclose(file); /* only read */
    return rc;
}

static int read_environment(struct bb_ctx *ctx, struct bb_conf *conf, const char *service)
{
    for (size_t i = 0; i < conf->count; i++) {
        char name[128];
        char origin[160];
        conf_environment_name(service, conf->values[i].option->name, name, sizeof name);
        const char *text = getenv(name); /* NOLINT(concurrency-mt-unsafe): before any thread */
        if (text == NULL)
            continue;
        (void)snprintf(origin, sizeof origin, "environment %s", name);
        int rc = conf_put(ctx, &conf->values[i], text, CONF_ENVIRONMENT, origin);
        if (rc != BB_OK)
            return rc;
    }
    return BB_OK;
}

static void keep_rest(struct bb_conf *conf, const char *argument)
{
    conf->rest = bb_realloc(conf->rest, (conf->rest_count + 1) * sizeof *conf->rest);
    conf->rest[conf->rest_count++] = bb_strdup(argument);
}

enum special {
    SPECIAL_NONE,
    SPECIAL_HELP,
    SPECIAL_MARKDOWN,
    SPECIAL_VERSION
};

/* One flag at argv[*at]; moves *at over a value that is an argument of its own. */
static int read_flag(struct bb_ctx *ctx, struct bb_conf *conf, int argc, char **argv, int *at)
{
    char name[64];
    char origin[96];
    const char *flag = argv[*at] + 2;
    const char *equals = strchr(flag, '=');
    size_t size = equals == NULL ? strlen(flag) : (size_t)(equals - flag);

    if (size >= sizeof name)
        return bb_fail(ctx, BB_BAD_REQUEST, "no option has the name --%.64s...; see --help", flag);
    memcpy(name, flag, size);
    name[size] = '\0';
    struct conf_value *value = conf_find(conf, name);
    if (value == NULL)
        return bb_fail(ctx, BB_BAD_REQUEST, "no option has the name --%s; see --help", name);
    (void)snprintf(origin, sizeof origin, "flag --%s", name);
    const char *text = equals == NULL ? NULL : equals + 1;
    if (text == NULL && value->option->kind == BB_OPTION_BOOL)
        text = "true";
    if (text == NULL) {
        if (*at + 1 >= argc) {
            return bb_fail(ctx, BB_BAD_REQUEST, "option --%s needs a value: --%s %s", name, name,
                           value->option->argument == NULL ? "VALUE" : value->option->argument);
        }
        text = argv[++*at];
    }
    return conf_put(ctx, value, text, CONF_FLAG, origin);
}

static int read_flags(struct bb_ctx *ctx, struct bb_conf *conf, int argc, char **argv,
                      enum special *special)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            for (i++; i < argc; i++)
                keep_rest(conf, argv[i]);
            break;
        }
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *special = SPECIAL_HELP;
        } else if (strcmp(argv[i], "--help-markdown") == 0) {
            *special = SPECIAL_MARKDOWN;
        } else if (strcmp(argv[i], "--version") == 0) {
            *special = SPECIAL_VERSION;
        } else if (argv[i][0] == '-' && argv[i][1] == '-') {
            int rc = read_flag(ctx, conf, argc, argv, &i);
            if (rc != BB_OK)
                return rc;
        } else if (argv[i][0] == '-' && argv[i][1] != '\0') {
            return bb_fail(ctx, BB_BAD_REQUEST, "%.64s is no option: options start with two dashes",
                           argv[i]);
        } else {
            keep_rest(conf, argv[i]);
        }
    }
    return BB_OK;
}

static void add_tables(struct bb_conf *conf, const struct bb_option *const *tables)
{
    size_t count = 0;

    for (const struct bb_option *const *table = tables; *table != NULL; table++) {
        for (const struct bb_option *option = *table; option->name != NULL; option++)
            count++;
    }
    conf->values = bb_alloc_zero(count, sizeof *conf->values);
    for (const struct bb_option *const *table = tables; *table != NULL; table++) {
        for (const struct bb_option *option = *table; option->name != NULL; option++) {
            bb_assert(conf_find(conf, option->name) == NULL); /* a name stands for one option */
            conf->values[conf->count++].option = option;
        }
    }
}

static int fill(struct bb_ctx *ctx, struct bb_conf *conf, const char *service, int argc,
                char **argv, enum special *special)
{
    for (size_t i = 0; i < conf->count; i++) {
        const char *text = conf->values[i].option->default_value;
        int rc =
            text == NULL ? BB_OK : conf_put(ctx, &conf->values[i], text, CONF_DEFAULT, "default");
        if (rc != BB_OK)
            return rc;
    }
    int rc = read_flags(ctx, conf, argc, argv, special);
    if (rc != BB_OK || *special != SPECIAL_NONE)
        return rc;
    rc = read_environment(ctx, conf, service);
    if (rc != BB_OK)
        return rc;
    /* The file is the weakest of the three, but its name may come from the two others. */
    struct conf_value *config = conf_find(conf, "config");
    if (config != NULL && config->text != NULL)
        rc = conf_read_file(ctx, conf, config->text);
    return rc;
}

int bb_conf_parse(struct bb_ctx *ctx, const char *service, const char *summary,
                  const struct bb_option *const *tables, int argc, char **argv,
                  struct bb_conf **conf)
{
    struct bb_conf *parsed = bb_alloc_zero(1, sizeof *parsed);
    enum special special = SPECIAL_NONE;

    add_tables(parsed, tables);
    int rc = fill(ctx, parsed, service, argc, argv, &special);
    if (rc == BB_OK && special != SPECIAL_NONE) {
        if (special == SPECIAL_HELP) {
            conf_print_help(parsed, service, summary);
        } else if (special == SPECIAL_MARKDOWN) {
            conf_print_markdown(parsed, service, summary);
        } else {
            (void)printf("bb-%s %s\n", service, bb_version());
        }
        rc = BB_CANCELLED;
    }
    if (rc != BB_OK) {
        bb_conf_free(parsed);
        return rc;
    }
    *conf = parsed;
    return BB_OK;
}

void bb_conf_free(struct bb_conf *conf)
{
    if (conf == NULL)
        return;
    for (size_t i = 0; i < conf->count; i++)
        bb_free(conf->values[i].text);
    for (size_t i = 0; i < conf->rest_count; i++)
        bb_free(conf->rest[i]);
    bb_free(conf->values);
    bb_free(conf->rest);
    bb_free(conf);
}
