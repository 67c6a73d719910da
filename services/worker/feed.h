/*
 * Where a worker stands in the sequenced feed: epoch, cursor and marks, and what a reply of the
 * sequencer means for what the worker holds (PROTOCOL.md section 1). Decisions only.
 */
#ifndef WORKER_FEED_H
#define WORKER_FEED_H

#include "bb/base.h"

struct feed {
    uint64_t epoch;    /* 0: no contact yet */
    uint64_t cursor;   /* newest sequenced tx whose record was applied: the newest snapshot */
    uint64_t durable;  /* newest durable tx that is known, of this epoch's line */
    uint64_t base;     /* the feed was entered here; reads need durable >= base */
    uint64_t claim_tx; /* last tx of this epoch's claim */
};

enum feed_verdict {
    FEED_STALE,     /* of a dead epoch: ignore it */
    FEED_GOES_ON,   /* apply the records */
    FEED_NEW_EPOCH, /* drop what lies above claim_tx, go on from there */
    FEED_RESET      /* drop everything, go on from `cursor` */
};

struct feed_reply {
    int status; /* BB_OK or BB_TOO_OLD */
    uint64_t epoch, claim_tx, sequenced, durable;
    bool has_records;
    bool lacks_lease;    /* who answers may have been followed by another one */
    uint64_t first_prev; /* `prev` of the first record */
};

/* Take a reply's marks in. The cursor moves with feed_applied, record by record. After RESET and
 * NEW_EPOCH the records of the reply are not applied: follow again from the cursor. */
enum feed_verdict worker_feed_reply(struct feed *feed, const struct feed_reply *reply);
/* A sequencer that commits has answered: one whose lease is gone may be cut off itself. One that
 * was met only now counts once without: its lease comes a moment after its claim. */
bool worker_feed_is_served(const struct feed_reply *reply, enum feed_verdict verdict);
/* Its answers go on (FEED_GOES_ON) and have lacked the lease since `served_us`: if another one was
 * active by now, nobody would hear of it from here. */
bool worker_feed_is_left(const struct feed_reply *reply, uint64_t served_us, uint64_t now_us);
/* False: there is a gap before this record; reset by worker_feed_lost. */
bool worker_feed_applied(struct feed *feed, uint64_t tx, uint64_t prev);
/* Records are missing: the next contact starts anew. */
void worker_feed_lost(struct feed *feed);
/* Reads and runs may start. */
bool worker_feed_is_usable(const struct feed *feed);
/* A durable mark that another reply named. False: of another epoch. */
bool worker_feed_durable(struct feed *feed, uint64_t epoch, uint64_t durable);

/* What became of a transaction that was sequenced as `tx` in `epoch`, as seen from the feed's
 * state. */
enum feed_fate {
    FATE_PENDING, /* same epoch, not durable yet */
    FATE_DURABLE, /* it happened for good */
    FATE_UNKNOWN  /* ask again with the same request id */
};
enum feed_fate worker_feed_fate(const struct feed *feed, uint64_t epoch, uint64_t tx);
/* A snapshot taken in `epoch` at `tx` is a moment of the present line of history. */
bool worker_feed_snapshot_holds(const struct feed *feed, uint64_t epoch, uint64_t tx);

#endif
