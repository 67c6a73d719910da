/* BitBend: POST of a function's name and arguments, as any HTTP client does it. */
#include <stdio.h>
#include <stdlib.h>

#include "loader.h"

static void begin(const struct loader *loader, struct connection *connection)
{
    char args[160];
    char body[320];

    if (loader->work == WORK_TRANSFER)
        (void)snprintf(args, sizeof args, "{\"from\":%u,\"to\":%u}", connection->keys[0],
                       connection->keys[1]);
    else if (loader->work == WORK_POST)
        (void)snprintf(args, sizeof args, "{\"key\":0,\"text\":\"" LOADER_MESSAGE "\"}",
                       connection->sent_us);
    else
        (void)snprintf(args, sizeof args, "{\"key\":%u}", connection->keys[0]);
    int size = snprintf(body, sizeof body, "{\"path\":\"%s\",\"args\":%s,\"format\":\"json\"}",
                        loader->path, args);
    loader_append(&connection->out,
                  "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                  "Content-Length: %d\r\n\r\n%s",
                  loader->route, size, body);
}

static enum step look(struct loader *loader, struct connection *connection)
{
    static const char ok[] = "HTTP/1.1 200";
    const char *text = (const char *)connection->in.data;
    const char *end = memmem(text, connection->in.size, "\r\n\r\n", 4);

    (void)loader;
    if (end == NULL)
        return STEP_MORE;
    const char *length = memmem(text, (size_t)(end - text), "Content-Length: ", 16);
    size_t body = length == NULL ? 0 : strtoul(length + 16, NULL, 10);
    size_t whole = (size_t)(end + 4 - text) + body;
    if (connection->in.size < whole)
        return STEP_MORE;
    bool is_ok = strncmp(text, ok, sizeof ok - 1) == 0 &&
                 memmem(end, body + 4, "\"status\":\"success\"", 18) != NULL;
    if (is_ok)
        loader_take(connection, whole);
    return is_ok ? STEP_DONE : STEP_FAILED;
}

const struct protocol loader_http = { .name = "http", .begin = begin, .look = look };
