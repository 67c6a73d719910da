/* Redis: RESP2; what reads and writes is a Lua script, which is Redis's transaction. */
#include <stdio.h>
#include <stdlib.h>

#include "loader.h"

static const char *const scripts[] = {
    [WORK_INCREMENT] = "local v = tonumber(redis.call('GET', KEYS[1]) or '0') + 1 "
                       "redis.call('SET', KEYS[1], v) return v",
    [WORK_TRANSFER] = "local f = tonumber(redis.call('GET', KEYS[1]) or '1000') - 1 "
                      "local t = tonumber(redis.call('GET', KEYS[2]) or '1000') + 1 "
                      "redis.call('SET', KEYS[1], f) redis.call('SET', KEYS[2], t) return 1",
    [WORK_GET] = "return redis.call('GET', KEYS[1])",
    [WORK_SCAN] = "return redis.call('MGET', unpack(redis.call('ZRANGE', KEYS[1], 0, 99)))",
    [WORK_POST] =
        "redis.call('LPUSH', 'last', ARGV[1]) redis.call('LTRIM', 'last', 0, 49) "
        "return redis.call('PUBLISH', 'news', cjson.encode(redis.call('LRANGE', 'last', 0, 49)))",
};

static void greet(const struct loader *loader, struct connection *connection)
{
    const char *script = scripts[loader->work];

    loader_append(&connection->out, "*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$%zu\r\n%s\r\n",
                  strlen(script), script);
}

static void append_key(struct bb_buf *to, const char *table, unsigned key)
{
    char name[32];
    int size = snprintf(name, sizeof name, "%s/%u", table, key);

    loader_append(to, "$%d\r\n%s\r\n", size, name);
}

/* As long as a message with what BitBend adds to it. */
static void post(struct connection *connection)
{
    char text[256];
    int size = snprintf(text, sizeof text, LOADER_MESSAGE "%0110d", connection->sent_us, 0);

    loader_append(&connection->out, "*4\r\n$7\r\nEVALSHA\r\n$40\r\n%s\r\n$1\r\n0\r\n$%d\r\n%s\r\n",
                  connection->name, size, text);
}

static void begin(const struct loader *loader, struct connection *connection)
{
    const char *table = loader->work == WORK_TRANSFER ? "account"
                        : loader->work == WORK_SCAN   ? "group"
                                                      : "counter";
    unsigned count = loader_key_count(loader);

    if (loader->work == WORK_POST) {
        post(connection);
        return;
    }
    if (loader->work == WORK_GET) {
        loader_append(&connection->out, "*2\r\n$3\r\nGET\r\n");
    } else {
        loader_append(&connection->out, "*%u\r\n$7\r\nEVALSHA\r\n$40\r\n%s\r\n$1\r\n%u\r\n",
                      3 + count, connection->name, count);
    }
    for (unsigned i = 0; i < count; i++)
        append_key(&connection->out, table, connection->keys[i]);
}

/* The size of the reply at `at`; 0: it is not whole. */
static size_t reply_size(const char *at, size_t size)
{
    const char *line = memmem(at, size, "\r\n", 2);

    if (line == NULL)
        return 0;
    size_t head = (size_t)(line - at) + 2;
    long count = strtol(at + 1, NULL, 10);
    if (at[0] == '$' && count >= 0)
        return size >= head + (size_t)count + 2 ? head + (size_t)count + 2 : 0;
    if (at[0] != '*')
        return head;
    for (long i = 0; i < count; i++) {
        size_t item = reply_size(at + head, size - head);
        if (item == 0)
            return 0;
        head += item;
    }
    return head;
}

static enum step look(struct loader *loader, struct connection *connection)
{
    const char *text = (const char *)connection->in.data;
    size_t size = reply_size(text, connection->in.size);

    (void)loader;
    if (size == 0)
        return STEP_MORE;
    if (text[0] == '-')
        return STEP_FAILED;
    if (connection->phase == 0) {
        connection->phase = 1;
        memcpy(connection->name, text + 5, 40);
        loader_take(connection, size);
        return STEP_READY;
    }
    loader_take(connection, size);
    return STEP_DONE;
}

const struct protocol loader_redis = {
    .name = "redis", .greet = greet, .begin = begin, .look = look
};
