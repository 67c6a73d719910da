/* PostgreSQL: the protocol version 3 with one prepared statement; a transaction that could not be
 * serialized is run again, as an application must. */
#include "loader.h"
#include "pgwire.h"

static const char *const statements[] = {
    [WORK_INCREMENT] = "select increment($1)",
    [WORK_TRANSFER] = "select transfer($1, $2)",
    [WORK_GET] = "select value from counters where key = $1",
    [WORK_SCAN] = "select * from documents where grp = $1 order by key limit 100",
    [WORK_POST] = "select post($1)",
};

static void greet(const struct loader *loader, struct connection *connection)
{
    (void)loader;
    pgwire_greet(&connection->out, NULL);
}

static void prepare(const struct loader *loader, struct connection *connection)
{
    pgwire_prepare(&connection->out, statements[loader->work],
                   loader->work == WORK_POST ? PGWIRE_TEXT : PGWIRE_INT4, loader_key_count(loader));
    pgwire_sync(&connection->out);
}

static void execute(const struct loader *loader, struct connection *connection)
{
    char texts[2][256];
    struct bb_slice arguments[2];
    unsigned count = loader_key_count(loader);

    for (unsigned i = 0; i < count; i++) {
        /* A message is as long as one with what BitBend adds to it. */
        if (loader->work == WORK_POST)
            (void)snprintf(texts[i], sizeof texts[i], LOADER_MESSAGE "%060d", connection->sent_us,
                           0);
        else
            (void)snprintf(texts[i], sizeof texts[i], "%u", connection->keys[i]);
        arguments[i] = bb_slice_str(texts[i]);
    }
    pgwire_execute(&connection->out, arguments, count);
    pgwire_sync(&connection->out);
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

    while (step == STEP_MORE) {
        const uint8_t *message = connection->in.data + at;
        size_t size = pgwire_size(bb_slice(message, connection->in.size - at));
        if (size == 0)
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
