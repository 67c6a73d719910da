/* PostgreSQL: the protocol version 3 with one prepared statement; a transaction that could not be
 * serialized is run again, as an application must. */
#include <stdio.h>

#include "loader.h"

static const char *const statements[] = {
    [WORK_INCREMENT] = "select increment($1)",
    [WORK_TRANSFER] = "select transfer($1, $2)",
    [WORK_GET] = "select value from counters where key = $1",
    [WORK_SCAN] = "select * from documents where grp = $1 order by key limit 100",
};

static void append_be(struct bb_buf *to, uint32_t value, unsigned size)
{
    uint8_t bytes[4];

    bb_put_be32(bytes, value);
    bb_buf_append(to, bytes + 4 - size, size);
}

/* A message of `type` (0: the first, which has none); the length is filled in by message_end. */
static size_t message_begin(struct bb_buf *to, char type)
{
    if (type != 0)
        bb_buf_append(to, &type, 1);
    append_be(to, 0, 4);
    return to->size - 4;
}
static void message_end(struct bb_buf *to, size_t begin)
{
    bb_put_be32(to->data + begin, (uint32_t)(to->size - begin));
}
static void append_text(struct bb_buf *to, const char *text)
{
    bb_buf_append(to, text, strlen(text) + 1);
}
static void sync_now(struct bb_buf *to)
{
    message_end(to, message_begin(to, 'S'));
}

static void greet(const struct loader *loader, struct connection *connection)
{
    struct bb_buf *to = &connection->out;
    size_t begin = message_begin(to, 0);

    (void)loader;
    append_be(to, 196608, 4);
    append_text(to, "user");
    append_text(to, "postgres");
    append_text(to, "database");
    append_text(to, "postgres");
    append_text(to, "");
    message_end(to, begin);
}

static void prepare(const struct loader *loader, struct connection *connection)
{
    struct bb_buf *to = &connection->out;
    unsigned count = loader_key_count(loader);
    size_t begin = message_begin(to, 'P');

    append_text(to, "w");
    append_text(to, statements[loader->work]);
    append_be(to, count, 2);
    for (unsigned i = 0; i < count; i++)
        append_be(to, 23, 4); /* int4 */
    message_end(to, begin);
    sync_now(to);
}

static void execute(const struct loader *loader, struct connection *connection)
{
    struct bb_buf *to = &connection->out;
    unsigned count = loader_key_count(loader);
    size_t begin = message_begin(to, 'B');

    append_text(to, "");
    append_text(to, "w");
    append_be(to, 0, 2); /* arguments as text */
    append_be(to, count, 2);
    for (unsigned i = 0; i < count; i++) {
        char text[16];
        int size = snprintf(text, sizeof text, "%u", connection->keys[i]);
        append_be(to, (uint32_t)size, 4);
        bb_buf_append(to, text, (size_t)size);
    }
    append_be(to, 0, 2);
    message_end(to, begin);
    begin = message_begin(to, 'E');
    append_text(to, "");
    append_be(to, 0, 4);
    message_end(to, begin);
    sync_now(to);
}

/* Is it a failure that running again can mend? Its fields are a letter and a text each. */
static bool is_serialization(const uint8_t *fields, size_t size)
{
    return memmem(fields, size, "C40001", 7) != NULL || memmem(fields, size, "C40P01", 7) != NULL;
}

/* The answer to a whole command is in. */
static enum step ready(struct loader *loader, struct connection *connection)
{
    if (connection->must_retry) {
        connection->must_retry = false;
        loader->retries++;
        execute(loader, connection);
        return STEP_MORE;
    }
    if (connection->has_failed)
        return STEP_FAILED;
    if (connection->phase == 0) {
        prepare(loader, connection);
        connection->phase = 1;
        return STEP_MORE;
    }
    if (connection->phase == 1) {
        connection->phase = 2;
        return STEP_READY;
    }
    return STEP_DONE;
}

static enum step look(struct loader *loader, struct connection *connection)
{
    size_t at = 0;
    enum step step = STEP_MORE;

    while (step == STEP_MORE && connection->in.size - at >= 5) {
        const uint8_t *message = connection->in.data + at;
        size_t size = 1 + (size_t)bb_get_be32(message + 1);
        if (connection->in.size - at < size)
            break;
        at += size;
        if (message[0] == 'E' && is_serialization(message + 5, size - 5))
            connection->must_retry = true;
        else if (message[0] == 'E')
            connection->has_failed = true;
        else if (message[0] == 'Z')
            step = ready(loader, connection);
    }
    if (step != STEP_FAILED)
        loader_take(connection, at);
    return step;
}

const struct protocol loader_postgres = {
    .name = "postgres", .greet = greet, .begin = execute, .look = look
};
