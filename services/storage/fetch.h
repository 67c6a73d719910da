/*
 * Bringing a checkpoint from another replica: asked for piece by piece, written beside the data,
 * checked, and left open for the store to take over. Nothing of this replica changes before.
 */
#ifndef STORAGE_FETCH_H
#define STORAGE_FETCH_H

#include "bb/rt.h"
#include "bb/store.h"

#include "checkpoint.h"

struct bb_peer;
struct storage_fetch;
struct storage_fetch_options {
    struct bb_loop *loop;
    struct bb_pool *pool; /* for the file; outlives the fetch */
    struct bb_store *store;
    /* The replica that sends: its address, or a connection that is the caller's and asked for anew
     * with each request (NULL: none now). */
    const char *url;
    struct bb_peer *(*find_peer)(void *arg);
    struct checkpoint_head wanted; /* the state reaches this at least */
    bool is_volatile;
    /* Once, on the owner thread, never from inside start. BB_OK: `incoming` can be installed and
     * `fence` is its state; both live until the fetch is freed. BB_BUSY, BB_NOT_YET, BB_PEER_GONE,
     * BB_CORRUPT, BB_NO_SPACE, ..: nothing of it is left. */
    void (*done)(void *arg, int status, const char *error, struct bb_store_incoming *incoming,
                 const struct fence *fence);
    void *arg;
};
/* BB_BUSY: the store is being copied. Then `done` is not called. */
int storage_fetch_start(struct bb_ctx *ctx, const struct storage_fetch_options *options,
                        struct storage_fetch **fetch);
/* After `done`: closes what was not taken over, on the pool, then calls `freed`. */
void storage_fetch_free(struct storage_fetch *fetch, void (*freed)(void *arg), void *arg);
uint64_t storage_fetch_bytes(const struct storage_fetch *fetch); /* that have come */
/* Ends it as soon as can be: `done` hears BB_CANCELLED. */
void storage_fetch_cancel(struct storage_fetch *fetch);

#endif
