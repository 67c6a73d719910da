#include "listener.h"

#include <stdlib.h>

#include "pgwire.h"

#define LAST "select * from messages where channel = $1 order by key desc limit 50"

static const struct bb_slice channel = { (const uint8_t *)"0", 1 };

/* A statement alone sees one state at each level; this one spares the server predicate locks. */
void listener_greet(struct bb_buf *to)
{
    pgwire_greet(to, "read committed");
}

static void ask(struct listener *listener, struct bb_buf *to)
{
    listener->phase = LISTENER_ASKS;
    listener->has_news = false;
    pgwire_execute(to, &channel, 1);
    pgwire_sync(to);
}

/* A row: how many values, then the size (-1: null) and the bytes of each. */
static void take_row(struct listener *listener, struct bb_slice row)
{
    for (size_t at = 2; at + 4 <= row.size;) {
        uint32_t size = bb_get_be32(row.data + at);

        at += 4;
        if (size == UINT32_MAX)
            continue;
        bb_assert(size <= row.size - at);
        bb_buf_append(&listener->rows, row.data + at, size);
        bb_buf_append_byte(&listener->rows, '\n');
        at += size;
    }
}

/* The answer to what was sent last is whole. True: it was the rows. */
static bool ready(struct listener *listener, struct bb_buf *to)
{
    switch (listener->phase) {
    case LISTENER_GREETS:
        listener->phase = LISTENER_LISTENS;
        pgwire_query(to, "listen news");
        return false;
    case LISTENER_LISTENS:
        pgwire_prepare(to, LAST, PGWIRE_INT4, 1);
        ask(listener, to);
        return false;
    case LISTENER_ASKS:
        listener->phase = LISTENER_WAITS;
        return true;
    case LISTENER_WAITS:
        return false;
    }
    BB_UNREACHABLE("a phase");
}

static bool take_message(struct listener *listener, struct bb_slice message, struct bb_buf *to)
{
    struct bb_slice body = bb_slice(message.data + 5, message.size - 5);

    if (message.data[0] == 'Z')
        return ready(listener, to);
    if (message.data[0] == 'A')
        listener->has_news = true;
    if (message.data[0] == 'D')
        take_row(listener, body);
    if (message.data[0] == 'E') {
        (void)fprintf(stderr, "the server refused: %.*s\n", (int)body.size,
                      (const char *)body.data);
        exit(1);
    }
    return false;
}

bool listener_take(struct listener *listener, struct bb_slice came, struct bb_buf *to)
{
    struct bb_buf *in = &listener->in;
    bool is_whole = false;
    size_t at = 0;

    bb_buf_append_slice(in, came);
    for (;;) {
        struct bb_slice rest = bb_slice(in->data + at, in->size - at);
        size_t size = pgwire_size(rest);

        if (size == 0)
            break;
        is_whole |= take_message(listener, bb_slice(rest.data, size), to);
        at += size;
    }
    memmove(in->data, in->data + at, in->size - at);
    in->size -= at;
    if (listener->phase == LISTENER_WAITS && listener->has_news)
        ask(listener, to);
    return is_whole;
}
