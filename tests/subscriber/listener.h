/*
 * A subscriber of PostgreSQL: it listens to the channel "news", and when it is notified it asks for
 * the last 50 rows again. News that come while an answer is under way are one more question after
 * it, however many they are. No sockets here: bytes that came go in, bytes to send come out.
 */
#ifndef LISTENER_H
#define LISTENER_H

#include "bb/base.h"

enum listener_phase {
    LISTENER_GREETS,
    LISTENER_LISTENS, /* LISTEN is under way: what is written from its answer on is heard of */
    LISTENER_ASKS,
    LISTENER_WAITS
};

struct listener {
    enum listener_phase phase;
    bool has_news;
    struct bb_buf in, rows; /* `rows`: values of an answer, a line each */
};

void listener_greet(struct bb_buf *to);

/* Takes what came. True: a whole answer is in `rows`, which the caller empties. Ends the program
 * when the server refuses something. */
bool listener_take(struct listener *listener, struct bb_slice came, struct bb_buf *to);

#endif
