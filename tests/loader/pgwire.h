/*
 * Messages of PostgreSQL's protocol version 3, as far as the programs of the benchmarks send and
 * read them: one prepared statement "w" with integers or texts as arguments.
 */
#ifndef PGWIRE_H
#define PGWIRE_H

#include <stdio.h>

#include "bb/base.h"

static inline void pgwire_be(struct bb_buf *to, uint32_t value, unsigned size)
{
    uint8_t bytes[4];

    bb_put_be32(bytes, value);
    bb_buf_append(to, bytes + 4 - size, size);
}

/* A message of `type` (0: the first, which has none); the length is filled in by pgwire_end. */
static inline size_t pgwire_begin(struct bb_buf *to, char type)
{
    if (type != 0)
        bb_buf_append(to, &type, 1);
    pgwire_be(to, 0, 4);
    return to->size - 4;
}
static inline void pgwire_end(struct bb_buf *to, size_t begin)
{
    bb_put_be32(to->data + begin, (uint32_t)(to->size - begin));
}
static inline void pgwire_text(struct bb_buf *to, const char *text)
{
    bb_buf_append(to, text, strlen(text) + 1);
}

/* The greeting; `isolation` of its transactions, or NULL for the server's default. */
static inline void pgwire_greet(struct bb_buf *to, const char *isolation)
{
    size_t begin = pgwire_begin(to, 0);

    pgwire_be(to, 196608, 4);
    pgwire_text(to, "user");
    pgwire_text(to, "postgres");
    pgwire_text(to, "database");
    pgwire_text(to, "postgres");
    if (isolation != NULL) {
        pgwire_text(to, "default_transaction_isolation");
        pgwire_text(to, isolation);
    }
    pgwire_text(to, "");
    pgwire_end(to, begin);
}

static inline void pgwire_query(struct bb_buf *to, const char *statement)
{
    size_t begin = pgwire_begin(to, 'Q');

    pgwire_text(to, statement);
    pgwire_end(to, begin);
}

#define PGWIRE_INT4 23
#define PGWIRE_TEXT 25

static inline void pgwire_prepare(struct bb_buf *to, const char *statement, uint32_t type,
                                  unsigned count)
{
    size_t begin = pgwire_begin(to, 'P');

    pgwire_text(to, "w");
    pgwire_text(to, statement);
    pgwire_be(to, count, 2);
    for (unsigned i = 0; i < count; i++)
        pgwire_be(to, type, 4);
    pgwire_end(to, begin);
}

static inline void pgwire_execute(struct bb_buf *to, const struct bb_slice *arguments,
                                  unsigned count)
{
    size_t begin = pgwire_begin(to, 'B');

    pgwire_text(to, "");
    pgwire_text(to, "w");
    pgwire_be(to, 0, 2); /* arguments as text */
    pgwire_be(to, count, 2);
    for (unsigned i = 0; i < count; i++) {
        pgwire_be(to, (uint32_t)arguments[i].size, 4);
        bb_buf_append_slice(to, arguments[i]);
    }
    pgwire_be(to, 0, 2);
    pgwire_end(to, begin);
    begin = pgwire_begin(to, 'E');
    pgwire_text(to, "");
    pgwire_be(to, 0, 4);
    pgwire_end(to, begin);
}

static inline void pgwire_sync(struct bb_buf *to)
{
    pgwire_end(to, pgwire_begin(to, 'S'));
}

/* The size of the message at the beginning of `from`, its type included; 0: it is not whole. */
static inline size_t pgwire_size(struct bb_slice from)
{
    size_t size = from.size < 5 ? 0 : 1 + (size_t)bb_get_be32(from.data + 1);

    return size > from.size ? 0 : size;
}

#endif
