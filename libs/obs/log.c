#include "bb/obs.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096
#define SERVICE_MAX    32

struct bb_log {
    int fd;
    enum bb_log_level level_min;
    bool is_json;
    char service[SERVICE_MAX];
};

/* A line that is built in place and never grows beyond its array. */
struct line {
    char text[LINE_MAX_BYTES];
    size_t size;
};

static const char *level_name(enum bb_log_level level)
{
    switch (level) {
    case BB_LOG_DEBUG:
        return "debug";
    case BB_LOG_INFO:
        return "info";
    case BB_LOG_WARN:
        return "warn";
    case BB_LOG_ERROR:
        return "error";
    }
    return "error";
}

/* One byte is kept free for the newline. */
static void line_byte(struct line *line, char byte)
{
    if (line->size < sizeof line->text - 1)
        line->text[line->size++] = byte;
}

static void line_str(struct line *line, const char *text)
{
    for (; *text != '\0'; text++)
        line_byte(line, *text);
}

static void line_json_bytes(struct line *line, const char *text, size_t size)
{
    /* Cut long before the end, so that what closes the object still fits. */
    for (size_t i = 0; i < size && line->size < sizeof line->text - 256; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') {
            line_byte(line, '\\');
            line_byte(line, (char)c);
        } else if (c < 0x20) {
            char escaped[8];
            (void)snprintf(escaped, sizeof escaped, "\\u%04x", c);
            line_str(line, escaped);
        } else {
            line_byte(line, (char)c);
        }
    }
}

static void line_time(struct line *line)
{
    struct timespec now;
    struct tm parts;
    char text[64];

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &parts);
    size_t size = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    (void)snprintf(text + size, sizeof text - size, ".%06ldZ", now.tv_nsec / 1000);
    line_str(line, text);
}

/* Fields are `name=value name="quoted value"`; what has another form becomes part of "text". */
static void line_json_fields(struct line *line, const char *fields)
{
    const char *at = fields;

    while (*at != '\0' && line->size < sizeof line->text - 256) {
        while (*at == ' ')
            at++;
        const char *name = at;
        while (*at != '\0' && *at != ' ' && *at != '=')
            at++;
        if (*at != '=' || at == name) {
            line_str(line, ",\"text\":\"");
            line_json_bytes(line, name, strlen(name));
            line_byte(line, '"');
            return;
        }
        line_str(line, ",\"");
        line_json_bytes(line, name, (size_t)(at - name));
        line_str(line, "\":\"");
        at++;
        if (*at == '"') {
            at++;
            while (*at != '\0' && *at != '"') {
                if (*at == '\\' && at[1] != '\0')
                    at++;
                line_json_bytes(line, at, 1);
                at++;
            }
            if (*at == '"')
                at++;
        } else {
            const char *value = at;
            while (*at != '\0' && *at != ' ')
                at++;
            line_json_bytes(line, value, (size_t)(at - value));
        }
        line_byte(line, '"');
    }
}

static void line_text(struct line *line, const struct bb_log *log, enum bb_log_level level,
                      uint64_t trace_id, const char *event, const char *fields)
{
    line_time(line);
    line_byte(line, ' ');
    line_str(line, level_name(level));
    line_byte(line, ' ');
    line_str(line, log->service);
    line_byte(line, ' ');
    line_str(line, event);
    if (trace_id != 0) {
        char text[32];
        (void)snprintf(text, sizeof text, " trace=%016" PRIx64, trace_id);
        line_str(line, text);
    }
    if (fields[0] != '\0') {
        line_byte(line, ' ');
        /* One event is one line, whatever a text holds. */
        for (const char *c = fields; *c != '\0'; c++)
            line_byte(line, (char)((unsigned char)*c < 0x20 ? ' ' : *c));
    }
}

static void line_json(struct line *line, const struct bb_log *log, enum bb_log_level level,
                      uint64_t trace_id, const char *event, const char *fields)
{
    line_str(line, "{\"time\":\"");
    line_time(line);
    line_str(line, "\",\"level\":\"");
    line_str(line, level_name(level));
    line_str(line, "\",\"service\":\"");
    line_json_bytes(line, log->service, strlen(log->service));
    line_str(line, "\",\"event\":\"");
    line_json_bytes(line, event, strlen(event));
    line_byte(line, '"');
    if (trace_id != 0) {
        char text[48];
        (void)snprintf(text, sizeof text, ",\"trace\":\"%016" PRIx64 "\"", trace_id);
        line_str(line, text);
    }
    line_json_fields(line, fields);
    line_byte(line, '}');
}

struct bb_log *bb_log_new(int fd, const char *service, enum bb_log_level level_min, bool is_json)
{
    struct bb_log *log = bb_alloc_zero(1, sizeof *log);

    log->fd = fd;
    log->level_min = level_min;
    log->is_json = is_json;
    (void)snprintf(log->service, sizeof log->service, "%s", service);
    return log;
}

void bb_log_free(struct bb_log *log)
{
    bb_free(log);
}

void bb_log_event(struct bb_ctx *ctx, enum bb_log_level level, const char *event,
                  const char *format, ...)
{
    if (ctx == NULL || ctx->log == NULL || level < ctx->log->level_min)
        return;
    /* Room is left for the head of the line and, in JSON, for escapes. */
    char fields[LINE_MAX_BYTES / 2];
    struct line line = { .size = 0 };
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(fields, sizeof fields, format, arguments);
    va_end(arguments);
    if (ctx->log->is_json) {
        line_json(&line, ctx->log, level, ctx->trace_id, event, fields);
    } else {
        line_text(&line, ctx->log, level, ctx->trace_id, event, fields);
    }
    line.text[line.size++] = '\n';
    ssize_t done;
    do {
        done = write(ctx->log->fd, line.text, line.size);
    } while (done < 0 && errno == EINTR);
    (void)done; /* there is nowhere to tell that the log cannot be written */
}

const char *bb_log_quote(const char *text, char *to, size_t size)
{
    size_t fill = 0;

    bb_assert(size >= 3);
    to[fill++] = '"';
    for (; *text != '\0' && fill + 3 < size; text++) {
        if (*text == '"' || *text == '\\' || *text == '\n') {
            to[fill++] = '\\';
            to[fill++] = (char)(*text == '\n' ? 'n' : *text);
        } else {
            to[fill++] = *text;
        }
    }
    to[fill++] = '"';
    to[fill] = '\0';
    return to;
}
