/*
 * What a call will most likely get comes into the cache before the call has a slot. A slot that has
 * to ask sleeps, and with it the calls behind it; here only the call waits, and what many calls
 * need goes to storage in one message. Which documents these are: patterns.c.
 */
#include "worker.h"

#define FORESEE_US_MAX 100000u /* then it runs without */

static void came(struct reading *reading, void *arg)
{
    struct call *call = bb_cast(struct call, arg, CALL_MAGIC);
    struct worker *worker = reading->worker;
    call->reading = NULL;
    worker_reading_free(reading); /* answered or not: it is the slot's to ask for what is missing */
    worker_call_to(worker, call, CALL_QUEUED);
}

/* Those that are worth a read; how many. */
static size_t unknown(struct worker *worker, struct call *call,
                      struct bb_slice documents[PATTERNS_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < call->foreseen_count; i++) {
        struct bb_slice key = bb_slice(call->foreseen[i].key, COPIES_KEY_SIZE);
        if (call->foreseen[i].is_sure &&
            worker_cache_since(worker->cache, key, worker->feed.cursor) == 0) {
            documents[count++] = key;
        }
    }
    return count;
}

/* True: the call waits for them. */
static bool read_ahead(struct worker *worker, struct call *call)
{
    struct bb_slice documents[PATTERNS_MAX];
    size_t count = unknown(worker, call, documents);
    if (count == 0) {
        return false;
    }
    uint64_t until_us = worker_now(worker) + FORESEE_US_MAX;
    struct reading *reading = worker_reading_new(
        worker, worker->feed.cursor, until_us < call->deadline_us ? until_us : call->deadline_us);
    struct cache_read *reads = worker_reading_reads(reading, count);
    bb_assert(reads != NULL);
    for (size_t i = 0; i < count; i++) {
        reads[i] = (struct cache_read){ .arena = reading->arena,
                                        .low = documents[i],
                                        .snapshot = worker->feed.cursor };
    }
    reading->done = came;
    reading->arg = call;
    if (worker_reading_start(reading)) {
        worker_reading_free(reading);
        return false;
    }
    call->reading = reading;
    bb_metric_add(worker->count.foreseen, (int64_t)count);
    return true;
}

void worker_call_queue(struct worker *worker, struct call *call)
{
    bool can_wait = !call->is_system && !call->is_low_priority && call->foreseen_count == 0 &&
                    worker_feed_is_usable(&worker->feed);
    if (can_wait) {
        call->foreseen_count = worker_patterns_of(worker->patterns, call->lane_keys[1],
                                                  bb_pb_slice(call->request->args), call->foreseen);
    }
    bool waits = can_wait && read_ahead(worker, call);
    worker_call_to(worker, call, waits ? CALL_PREPARING : CALL_QUEUED);
}

static bool is_among(const Bb__Proto__SlotDone *done, struct bb_slice key)
{
    for (size_t i = 0; i < done->n_reads; i++) {
        if (bb_slice_compare(bb_pb_slice(done->reads[i]->low), key) <= 0 &&
            bb_slice_compare(key, bb_pb_slice(done->reads[i]->high)) < 0) {
            return true;
        }
    }
    return false;
}

void worker_foreseen_judge(struct worker *worker, const struct call *call,
                           const Bb__Proto__SlotDone *done)
{
    if (done->status != BB_OK || call->is_void) {
        return; /* it may have ended before it came to its reads */
    }
    for (size_t i = 0; i < call->foreseen_count; i++) {
        const struct foreseen *foreseen = &call->foreseen[i];
        worker_patterns_judge(worker->patterns, call->lane_keys[1], foreseen,
                              is_among(done, bb_slice(foreseen->key, COPIES_KEY_SIZE)));
    }
}

void worker_foreseen_learn(struct worker *worker, const struct call *call,
                           const struct cache_read *read)
{
    for (size_t i = 0; i < call->foreseen_count; i++) {
        if (bb_slice_equal(bb_slice(call->foreseen[i].key, COPIES_KEY_SIZE), read->low)) {
            return;
        }
    }
    if (!call->is_system) {
        worker_patterns_learn(worker->patterns, call->lane_keys[1],
                              bb_pb_slice(call->request->args), read->low,
                              read->entry_count == 0 ? BB_SLICE_EMPTY : read->entries[0].value);
    }
}
