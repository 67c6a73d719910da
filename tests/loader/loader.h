/*
 * A closed-loop load generator for BitBend and for the systems it is compared with, each over the
 * protocol that its clients use: N connections on one thread, one operation each at a time.
 *
 * A protocol is a small state machine over the bytes of a connection; main.c owns sockets, time and
 * counting, so that all systems pay the same for being measured.
 */
#ifndef LOADER_H
#define LOADER_H

#include "bb/base.h"

#define PORTS_MAX 8

enum work {
    WORK_INCREMENT, /* add 1 to the counter `keys[0]` */
    WORK_TRANSFER,  /* move 1 from account `keys[0]` to `keys[1]` */
    WORK_GET,       /* read the counter `keys[0]` */
    WORK_SCAN,      /* read the 100 documents of the group `keys[0]` */
    WORK_POST       /* add a message to the list that subscribers watch */
};

struct connection {
    int fd;
    uint64_t sent_us;      /* when the operation under way began */
    uint64_t next_us;      /* when the next one is due; 0: one is under way */
    unsigned keys[2];      /* what it is about */
    struct bb_buf in, out; /* `in`: what came and is not dealt with yet */
    struct bb_buf message; /* the protocol's: of an answer that comes in parts */
    /* The protocol's own. */
    unsigned phase;
    bool has_failed, must_retry;
    uint32_t stream;
    uint64_t revisions[2], values[2];
    size_t window;
    char name[64];
};

struct loader {
    unsigned ports[PORTS_MAX], port_count, connections, keys;
    double seconds, warmup, zipf;
    unsigned pace_ms; /* from the begin of one operation to that of the next; 0: at once */
    enum work work;
    const char *route, *path; /* of BitBend's function */
    uint64_t seed, retries;
    double *shares; /* of the keys up to each, when they follow Zipf's law */
};

enum step {
    STEP_MORE,  /* the answer is not whole; what was put into `out` goes out */
    STEP_READY, /* the greeting is over: the first operation may begin */
    STEP_DONE,  /* the operation has ended well */
    STEP_FAILED
};

struct protocol {
    const char *name;
    void (*greet)(const struct loader *loader, struct connection *connection); /* NULL: none */
    void (*begin)(const struct loader *loader, struct connection *connection); /* an operation */
    enum step (*look)(struct loader *loader, struct connection *connection);
};
extern const struct protocol loader_http, loader_redis, loader_postgres, loader_etcd;

static inline unsigned loader_key_count(const struct loader *loader)
{
    return loader->work == WORK_TRANSFER ? 2 : 1;
}
/* What a subscriber finds in the message: when it was sent, by CLOCK_MONOTONIC. */
#define LOADER_MESSAGE "@@%" PRIu64 "@@ a message of the length that people write to one another"
/* Forget the first `size` bytes of what came. */
static inline void loader_take(struct connection *connection, size_t size)
{
    memmove(connection->in.data, connection->in.data + size, connection->in.size - size);
    connection->in.size -= size;
}
void loader_append(struct bb_buf *to, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
