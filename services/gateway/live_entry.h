/*
 * Shared between live.c, which decides, and live_entry.c, which keeps the entries, their ranges and
 * results.
 */
#ifndef GATEWAY_LIVE_ENTRY_H
#define GATEWAY_LIVE_ENTRY_H

#include "bb/recent.h"
#include "live.h"

struct live {
    const struct live_ops *ops;
    void *arg;
    struct bb_ctx ctx;
    struct live_options options;
    struct live_entry **buckets;
    size_t bucket_count, entry_count;
    struct bb_interval_index ranges;
    struct bb_recent ring;
    uint64_t cursor;
    struct bb_list due;   /* entries that should run, in order */
    struct bb_list later; /* entries that wait for a retry */
    struct bb_list again; /* entries that failed and may not fail later, in order of again_us */
    struct bb_list idle;  /* entries that nobody watches, those that were hit first, then oldest */
    struct bb_list runs;  /* entries that run and are counted, in order of run_us */
    size_t running_count;
    size_t long_count; /* of those that run and take long */
    uint32_t history;  /* counts restarts: answers to older questions mean nothing */
    size_t bytes;
    struct bb_buf deployment_low, deployment_high; /* the row that every deploy writes */
    struct bb_buf catalog_low, catalog_high;       /* all rows that say what can run */
    bool is_starting;                              /* in gateway_live_go */
};

/* The entry of this key; NULL when there is none. A shared one is found whatever the identity. */
struct live_entry *gateway_live_entry_find(struct live *live, const struct live_key *key,
                                           bool is_shared);
struct live_entry *gateway_live_entry_add(struct live *live, const struct live_key *key,
                                          bool is_shared);
/* Nobody watches it and it does not run. */
void gateway_live_entry_free(struct live_entry *entry);
/* The new ranges replace the old. Every run also depends on the deployment, and one that failed on
 * everything that a deploy or the background work after it may change. Copies all. */
void gateway_live_entry_register(struct live_entry *entry, const struct live_range *ranges,
                                 size_t count, bool is_failure);
/* One reference, the caller's. */
struct live_result *gateway_live_result_new(struct live *live, const struct live_answer *answer);

#endif
