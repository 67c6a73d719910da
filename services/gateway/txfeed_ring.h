/*
 * The newest transactions, as they came from storage, with the text that consumers of each view
 * get: made once, sent to all. Decisions only.
 *
 * Everything after `floor_tx` up to `newest_tx` is here; who stands further back reads storage.
 * Ownership: records are copied; texts are counted buffers. Threads: one. Durability: none.
 */
#ifndef GATEWAY_TXFEED_RING_H
#define GATEWAY_TXFEED_RING_H

#include "bb/http.h"
#include "txfeed_record.h"

/* A record in the form of one view: an event of a stream that holds the JSON of the record. */
struct txfeed_text {
    struct txfeed_text *next;
    const struct txfeed_view *view;
    struct bb_http_buffer *event; /* NULL: the view does not show it */
    size_t json_at, json_size;    /* in the event's data */
};

struct txfeed_item {
    uint64_t tx, prev;
    struct txfeed_text *texts;
    size_t size; /* of what is counted */
    struct bb_slice bytes;
};

struct txfeed_ring {
    struct txfeed_item **items; /* circular */
    size_t capacity, first, count;
    size_t bytes, bytes_max;
    uint64_t floor_tx, newest_tx;
};

void gateway_txfeed_ring_init(struct txfeed_ring *ring, size_t bytes_max);
void gateway_txfeed_ring_fini(struct txfeed_ring *ring);
/* Forget all; what lies up to `tx` is not here. */
void gateway_txfeed_ring_clear(struct txfeed_ring *ring, uint64_t tx);
/* `prev` is the newest of the ring, else everything before is forgotten. Oldest records go when the
 * bound is reached. */
void gateway_txfeed_ring_add(struct txfeed_ring *ring, uint64_t prev, uint64_t tx,
                             struct bb_slice bytes);
/* The first record after `position`. NULL: there is none, or `position` lies before the floor. */
struct txfeed_item *gateway_txfeed_ring_after(const struct txfeed_ring *ring, uint64_t position);
/* The item's text in this view, NULL: not made yet. */
struct txfeed_text *gateway_txfeed_ring_text(const struct txfeed_item *item,
                                             const struct txfeed_view *view);
/* Keep a text with its item; takes the reference to `event`. Older items may go. */
struct txfeed_text *gateway_txfeed_ring_keep(struct txfeed_ring *ring, struct txfeed_item *item,
                                             const struct txfeed_view *view,
                                             struct bb_http_buffer *event, size_t json_at,
                                             size_t json_size);
/* The view ends: its texts go. */
void gateway_txfeed_ring_drop_view(struct txfeed_ring *ring, const struct txfeed_view *view);

#endif
