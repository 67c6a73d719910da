/* bb/obs.h's log lines as lines of the trace, and what else would reach for the real world. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>

#define EXIT_LOG 72 /* of libs/replog */

struct bb_log {
    int unused;
};

struct bb_log *bb_log_new(int fd, const char *service, enum bb_log_level level_min, bool is_json)
{
    (void)fd;
    (void)service;
    (void)level_min;
    (void)is_json;
    return bb_alloc_zero(1, sizeof(struct bb_log));
}

void bb_log_free(struct bb_log *log)
{
    bb_free(log);
}

void bb_log_event(struct bb_ctx *ctx, enum bb_log_level level, const char *event,
                  const char *format, ...)
{
    static const char *const names[] = { "debug", "info", "warn", "ERROR" };
    char text[320];
    va_list arguments;

    if (strcmp(event, "replog.fetch") == 0 || strcmp(event, "replog.fetched") == 0)
        sim.current->is_reseeding = strcmp(event, "replog.fetch") == 0;
    if (ctx->log == NULL || (level == BB_LOG_DEBUG && !sim.is_verbose))
        return;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments); /* cut is fine */
    va_end(arguments);
    sim_trace("%s %s %s", names[level], event, text);
}

const char *bb_log_quote(const char *text, char *to, size_t size)
{
    (void)snprintf(to, size, "\"%s\"", text); /* cut is fine */
    return to;
}

/* The linker sends the services' _exit here. */
_Noreturn void __wrap__exit(int code);
_Noreturn void __wrap__exit(int code)
{
    if (code == EXIT_LOG) /* no write of a term, a vote or a snapshot fails here */
        sim_fail("%s: its log cannot go on", sim.current->name);
    sim_die(code, "_exit");
}
