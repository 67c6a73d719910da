#include "conf.h"

#include <stdio.h>

static const char *argument_of(const struct bb_option *option)
{
    if (option->argument != NULL)
        return option->argument;
    switch (option->kind) {
    case BB_OPTION_TEXT:
        return "TEXT";
    case BB_OPTION_NUMBER:
        return "N";
    case BB_OPTION_SIZE:
        return "BYTES";
    case BB_OPTION_BOOL:
        return "";
    }
    return "";
}

static void bounds_of(const struct bb_option *option, char *text, size_t size)
{
    text[0] = '\0';
    if (option->min != 0 || option->max != 0)
        (void)snprintf(text, size, "%" PRIu64 " to %" PRIu64, option->min, option->max);
}

void conf_print_help(const struct bb_conf *conf, const char *service, const char *summary)
{
    (void)printf("bb-%s: %s\n\nOptions (also as environment variables BB_..., and as lines "
                 "\"name = value\" of a file):\n",
                 service, summary);
    for (size_t i = 0; i < conf->count; i++) {
        const struct bb_option *option = conf->values[i].option;
        char flag[96];
        char bounds[64];
        char variable[128];
        bounds_of(option, bounds, sizeof bounds);
        conf_environment_name(service, option->name, variable, sizeof variable);
        (void)snprintf(flag, sizeof flag, "--%s %s", option->name, argument_of(option));
        (void)printf("  %-26s %s\n", flag, option->help);
        (void)printf("  %-26s [%s", "", variable);
        if (option->default_value != NULL)
            (void)printf("; default %s", option->default_value);
        if (bounds[0] != '\0')
            (void)printf("; %s", bounds);
        (void)printf("]\n");
    }
    (void)printf("  %-26s This text.\n  %-26s The same as a page of the reference.\n"
                 "  %-26s The version.\n",
                 "--help", "--help-markdown", "--version");
}

void conf_print_markdown(const struct bb_conf *conf, const char *service, const char *summary)
{
    (void)printf("# bb-%s\n\n%s\n\n| option | environment | default | allowed | meaning |\n"
                 "|---|---|---|---|---|\n",
                 service, summary);
    for (size_t i = 0; i < conf->count; i++) {
        const struct bb_option *option = conf->values[i].option;
        const char *argument = argument_of(option);
        char bounds[64];
        char variable[128];
        bounds_of(option, bounds, sizeof bounds);
        conf_environment_name(service, option->name, variable, sizeof variable);
        (void)printf("| `--%s%s%s` | `%s` | %s | %s | %s |\n", option->name,
                     argument[0] == '\0' ? "" : " ", argument, variable,
                     option->default_value == NULL ? "" : option->default_value, bounds,
                     option->help);
    }
}
