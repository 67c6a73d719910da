/*
 * Reads from storage: what the cache needs, gathered into few messages. Two small ones are under
 * way at a time; what comes meanwhile goes into the next, so that messages grow with the load. A
 * large range is asked for by itself and holds nobody up. A small one that is not answered for a
 * while is asked of another node as well, as the first one may hang; the first answer counts
 * (hedged requests, Dean and Barroso, "The Tail at Scale", 2013).
 */
#include "worker.h"

#define FETCH_ITEMS_MAX   1024u
#define FETCH_TIMEOUT_MS  2000u
#define HEDGE_US          200000u
#define RETRY_US          5000u
#define KEPT_US           1000000u /* of history that stays readable in the cache, in tx */
#define READING_BYTES_MAX (64u << 20)
#define SMALL_FETCHES_MAX 2u   /* under way; as many as storage has reader threads by default */
#define SMALL_ENTRIES     128u /* of a range that may wait for others, and others for it */

/* One need of one read. */
struct fetch_item {
    struct reading *reading;
    size_t read;
    struct read_need need; /* its slices live in the reading's arena */
    uint64_t at;           /* when it was sent, or would have been: the moment it is read at */
};
struct ask {
    struct fetch *fetch;
    size_t node; /* of storage */
};
/* One Read message under way. */
struct fetch {
    struct bb_list link;
    struct worker *worker;
    uint64_t at, sent_us;
    struct ask asks[2]; /* the second one: the hedge */
    unsigned asked, outstanding;
    bool is_small, is_answered;
    size_t count;
    struct fetch_item items[];
};

struct reading *worker_reading_new(struct worker *worker, uint64_t snapshot, uint64_t deadline_us)
{
    struct reading *reading = bb_alloc_zero(1, sizeof(*reading));
    bb_list_init(&reading->link);
    reading->worker = worker;
    reading->arena = bb_arena_new(READING_BYTES_MAX);
    reading->snapshot = snapshot;
    reading->deadline_us = deadline_us;
    return reading;
}

struct cache_read *worker_reading_reads(struct reading *reading, size_t count)
{
    reading->reads = bb_arena_zero(reading->arena, count + 1, sizeof(struct cache_read));
    reading->count = reading->reads == NULL ? 0 : count;
    return reading->reads;
}

void worker_reading_free(struct reading *reading)
{
    if (reading == NULL) {
        return;
    }
    bb_list_remove(&reading->link);
    if (reading->outstanding > 0) {
        reading->is_cancelled = true; /* what is under way still names it */
        return;
    }
    bb_arena_free(reading->arena);
    bb_free(reading);
}

static void pend(struct worker *worker, struct fetch_item item)
{
    if (worker->pending_count == worker->pending_capacity) {
        worker->pending_capacity =
            worker->pending_capacity == 0 ? 64 : worker->pending_capacity * 2;
        worker->pending =
            bb_realloc(worker->pending, worker->pending_capacity * sizeof(struct fetch_item));
    }
    worker->pending[worker->pending_count++] = item;
}

/* Step all reads. True: all answered, or one has failed. */
static bool step(struct reading *reading)
{
    struct worker *worker = reading->worker;
    for (size_t i = 0; i < reading->count && reading->status == BB_OK; i++) {
        struct cache_read *read = &reading->reads[i];
        if (worker_cache_step(worker->cache, read)) {
            reading->status = read->status;
            continue;
        }
        for (size_t n = 0; n < read->need_count; n++) {
            pend(worker,
                 (struct fetch_item){ .reading = reading, .read = i, .need = read->needs[n] });
            reading->outstanding++;
        }
    }
    return reading->outstanding == 0;
}

bool worker_reading_start(struct reading *reading)
{
    if (step(reading)) {
        return true;
    }
    bb_list_push_back(&reading->worker->readings, &reading->link);
    return false;
}

/* One item of the reading has come to an end. */
static void item_done(struct reading *reading)
{
    bb_assert(reading->outstanding > 0);
    if (--reading->outstanding > 0) {
        return;
    }
    if (reading->is_cancelled) {
        worker_reading_free(reading);
        return;
    }
    if (reading->status != BB_OK || step(reading)) {
        bb_list_remove(&reading->link);
        reading->done(reading, reading->arg);
    }
}

/* Where an item is read: everything in (that moment, snapshot] is in the cache. */
static uint64_t moment_of(const struct worker *worker, const struct fetch_item *item)
{
    uint64_t snapshot = item->reading->snapshot;
    uint64_t newest =
        worker->feed.durable < worker->feed.cursor ? worker->feed.durable : worker->feed.cursor;
    bool is_bypass = item->reading->reads[item->read].is_bypass;
    return is_bypass || snapshot < newest ? snapshot : newest;
}

/* A moment that is gone is so for those that asked for it; others shared their message with them.
 */
static bool is_gone_for(const struct worker *worker, const struct fetch_item *item, int status)
{
    return status == BB_TOO_OLD && moment_of(worker, item) <= item->at;
}

static void item_failed(struct worker *worker, const struct fetch_item *item, int status)
{
    struct reading *reading = item->reading;
    bool may_wait = !is_gone_for(worker, item, status) && worker_now(worker) < reading->deadline_us;
    if (may_wait && !reading->is_cancelled && reading->status == BB_OK) {
        pend(worker, *item);
        return;
    }
    if (reading->status == BB_OK) {
        reading->status = status == BB_TOO_OLD ? BB_TOO_OLD : BB_UNAVAILABLE;
    }
    item_done(reading);
}

static void item_filled(struct worker *worker, const struct fetch_item *item, uint64_t at,
                        const Bb__Proto__ReadResult *result)
{
    struct reading *reading = item->reading;
    struct fill_entry *entries =
        bb_arena_alloc(worker->scratch, (result->n_entries + 1) * sizeof(*entries));
    bb_assert(entries != NULL);
    for (size_t i = 0; i < result->n_entries; i++) {
        const Bb__Proto__Entry *entry = result->entries[i];
        entries[i] = (struct fill_entry){ .key = bb_pb_slice(entry->key),
                                          .value = bb_pb_slice(entry->value),
                                          .tx = entry->tx };
    }
    struct cache_fill fill = {
        .at = at, .entries = entries, .count = result->n_entries, .is_complete = result->is_complete
    };
    worker_cache_fill(worker->ctx, worker->cache, &reading->reads[item->read], &item->need, &fill);
}

static int check_reply(struct worker *worker, const struct fetch *fetch,
                       const Bb__Proto__StorageReply *reply)
{
    if (reply->status != BB_OK) {
        return (int)reply->status;
    }
    if (reply->op_case != BB__PROTO__STORAGE_REPLY__OP_READ ||
        reply->read->n_results != fetch->count) {
        return bb_fail(worker->ctx, BB_CORRUPT, "storage answered a read with something else");
    }
    /* "The newest" was asked for because nothing was known: it must still be nothing. */
    return fetch->at == 0 && reply->read->tx != 0 ? BB_TOO_OLD : BB_OK;
}

static void fetch_begun(struct fetch *fetch)
{
    bb_list_push_back(&fetch->worker->fetches, &fetch->link);
    fetch->worker->small_fetches += fetch->is_small;
}

static void fetch_ended(struct fetch *fetch)
{
    bb_list_remove(&fetch->link);
    fetch->worker->small_fetches -= fetch->is_small;
}

static void fetch_failed(struct fetch *fetch, int status)
{
    struct worker *worker = fetch->worker;
    fetch_ended(fetch);
    worker->fetch_at_us = worker_now(worker) + RETRY_US;
    for (size_t i = 0; i < fetch->count; i++) {
        item_failed(worker, &fetch->items[i], status);
    }
    bb_free(fetch);
}

static void fetch_filled(struct fetch *fetch, const Bb__Proto__ReadReply *reply)
{
    struct worker *worker = fetch->worker;
    fetch_ended(fetch);
    fetch->is_answered = true;
    for (size_t i = 0; i < fetch->count; i++) {
        item_filled(worker, &fetch->items[i], fetch->at, reply->results[i]);
    }
    /* Only now: what follows may use the scratch arena. */
    for (size_t i = 0; i < fetch->count; i++) {
        item_done(fetch->items[i].reading);
    }
    if (fetch->outstanding == 0) {
        bb_free(fetch);
    }
}

static void fetched(void *arg, int status, struct bb_slice bytes)
{
    const struct ask *ask = arg;
    struct fetch *fetch = ask->fetch;
    struct worker *worker = fetch->worker;
    Bb__Proto__StorageReply *reply = NULL;
    fetch->outstanding--;
    if (fetch->is_answered) {
        bb_assert(fetch->outstanding == 0);
        bb_free(fetch);
        return;
    }
    bb_arena_reset(worker->scratch);
    if (status == BB_OK) {
        status = bb_unpack(worker->ctx, worker->scratch, &bb__proto__storage_reply__descriptor,
                           bytes, &reply);
    }
    if (status == BB_OK) {
        status = check_reply(worker, fetch, reply);
    }
    if (status == BB_OK) {
        fetch_filled(fetch, reply->read);
        return;
    }
    bb_debug(worker->ctx, "worker.fetch_failed", "status=%s", bb_status_name(status));
    bb_nodes_failed(worker->storage, ask->node);
    if (fetch->outstanding == 0) { /* else the other node may answer */
        fetch_failed(fetch, status);
    }
}

/* The present storage node. */
static int ask_for(struct worker *worker, struct fetch *fetch)
{
    bb_arena_reset(worker->scratch);
    Bb__Proto__ReadOp *ops = bb_arena_alloc(worker->scratch, fetch->count * sizeof(*ops));
    Bb__Proto__ReadOp **list = bb_arena_alloc(worker->scratch, fetch->count * sizeof(void *));
    bb_assert(ops != NULL && list != NULL);
    for (size_t i = 0; i < fetch->count; i++) {
        const struct read_need *need = &fetch->items[i].need;
        bb__proto__read_op__init(&ops[i]);
        ops[i].low = bb_slice_pb(need->low);
        ops[i].high = bb_slice_pb(need->high);
        ops[i].is_descending = need->is_descending;
        ops[i].limit = need->limit;
        ops[i].doc_index = need->doc_index;
        list[i] = &ops[i];
    }
    Bb__Proto__Read read;
    bb__proto__read__init(&read);
    read.tx = fetch->at;
    read.n_ops = fetch->count;
    read.ops = list;
    Bb__Proto__StorageRequest request;
    bb__proto__storage_request__init(&request);
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_READ;
    request.read = &read;
    struct ask *ask = &fetch->asks[fetch->asked];
    *ask = (struct ask){ .fetch = fetch, .node = bb_nodes_current(worker->storage) };
    int rc = bb_peer_request(worker->ctx, bb_nodes_current_peer(worker->storage), &request.base,
                             FETCH_TIMEOUT_MS, fetched, ask);
    if (rc == BB_OK) {
        fetch->asked++;
        fetch->outstanding++;
    }
    return rc;
}

static void send_fetch(struct worker *worker, struct fetch *fetch)
{
    bb_nodes_leave(worker->storage);
    if (!bb_peer_is_connected(bb_nodes_current_peer(worker->storage))) {
        bb_nodes_pass_over(worker->storage); /* it ended while nothing was asked */
    }
    fetch_begun(fetch);
    bb_metric_add(worker->count.fetches, 1);
    fetch->sent_us = worker_now(worker);
    int rc = ask_for(worker, fetch);
    if (rc != BB_OK) {
        fetch_failed(fetch, rc);
    }
}

/* What comes next is asked of the other node alone. */
static void hedge(struct worker *worker, struct fetch *fetch)
{
    size_t slow = fetch->asks[0].node;
    bb_nodes_failed(worker->storage, slow);
    if (!bb_peer_is_connected(bb_nodes_current_peer(worker->storage))) {
        bb_nodes_choose(worker->storage, slow); /* no other one is there */
    }
    if (bb_nodes_current(worker->storage) != slow && ask_for(worker, fetch) == BB_OK) {
        bb_metric_add(worker->count.hedges, 1);
    }
}

/*
 * Sets the moment of each item; those that nobody waits for any more are done. All that go through
 * the cache share the oldest one, so that one message asks for all: what was written between it and
 * a reading's snapshot is in the cache, which the oldest reading keeps there.
 */
static void set_moments(struct worker *worker, struct fetch_item *items, size_t count)
{
    uint64_t shared = UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        struct fetch_item *item = &items[i];
        if (item->reading->is_cancelled) {
            item_done(item->reading);
            item->reading = NULL;
            continue;
        }
        item->at = moment_of(worker, item);
        bool is_shared = !item->reading->reads[item->read].is_bypass;
        shared = is_shared && item->at < shared ? item->at : shared;
    }
    for (size_t i = 0; i < count; i++) {
        struct fetch_item *item = &items[i];
        if (item->reading != NULL && !item->reading->reads[item->read].is_bypass) {
            item->at = shared;
        }
    }
}

static bool is_small(const struct fetch_item *item)
{
    const struct read_need *need = &item->need;
    return need->high.size == 0 || (need->limit > 0 && need->limit <= SMALL_ENTRIES);
}

/* One message for items[0] and all behind it that can go with it. */
static void send_alike(struct worker *worker, struct fetch_item *items, size_t count)
{
    struct fetch *fetch = bb_alloc(sizeof(*fetch) + count * sizeof(struct fetch_item));
    *fetch = (struct fetch){ .worker = worker, .at = items->at, .is_small = is_small(items) };
    bb_list_init(&fetch->link);
    for (size_t i = 0; i < count && fetch->count < FETCH_ITEMS_MAX; i++) {
        bool is_alike = items[i].reading != NULL && items[i].at == fetch->at &&
                        is_small(&items[i]) == fetch->is_small;
        if (is_alike) {
            fetch->items[fetch->count++] = items[i];
            items[i].reading = NULL;
        }
    }
    send_fetch(worker, fetch);
}

bool worker_reads_are_held(const struct worker *worker)
{
    return worker->small_fetches >= SMALL_FETCHES_MAX;
}

void worker_reads_turn(struct worker *worker)
{
    if (worker->pending_count == 0 || worker_now(worker) < worker->fetch_at_us) {
        return;
    }
    struct fetch_item *items = worker->pending;
    size_t count = worker->pending_count;
    worker->pending = NULL;
    worker->pending_count = worker->pending_capacity = 0;
    set_moments(worker, items, count);
    for (size_t i = 0; i < count; i++) {
        if (items[i].reading == NULL) {
            continue;
        }
        if (worker_reads_are_held(worker) && is_small(&items[i])) {
            pend(worker, items[i]);
        } else {
            send_alike(worker, items + i, count - i);
        }
    }
    bb_free(items);
}

/* What reads past the cache asks nothing of it. */
static uint64_t pin(const struct worker *worker, uint64_t least, uint64_t tx)
{
    return tx < least && tx >= worker_cache_floor(worker->cache) ? tx : least;
}

void worker_reads_overdue(struct worker *worker, uint64_t now_us)
{
    bb_list_each_safe(item, &worker->readings) {
        struct reading *reading = bb_container(item, struct reading, link);
        if (now_us >= reading->deadline_us) {
            bb_list_remove(&reading->link);
            reading->status = BB_UNAVAILABLE;
            reading->done(reading, reading->arg);
        }
    }
    bb_list_each(item, &worker->fetches) {
        struct fetch *fetch = bb_container(item, struct fetch, link);
        if (fetch->is_small && fetch->asked == 1 && now_us >= fetch->sent_us + HEDGE_US) {
            hedge(worker, fetch);
        }
    }
}

uint64_t worker_horizon(const struct worker *worker)
{
    uint64_t least =
        worker->feed.durable < worker->feed.cursor ? worker->feed.durable : worker->feed.cursor;
    /* Live queries are evaluated at moments that gateways name, a little behind the newest. */
    struct cache_stats stats = worker_cache_stats(worker->cache);
    if (stats.bytes - stats.leaving < worker->cache_bytes_max) {
        least = least > KEPT_US ? least - KEPT_US : 0;
    }
    for (size_t i = 0; i < worker->slot_count; i++) {
        uint64_t tx;
        if (worker_slot_snapshot(worker, i, &tx)) {
            least = pin(worker, least, tx);
        }
    }
    bb_list_each(item, &worker->readings) {
        least = pin(worker, least, bb_container(item, struct reading, link)->snapshot);
    }
    bb_list_each(item, &worker->fetches) {
        least = pin(worker, least, bb_container(item, struct fetch, link)->at);
    }
    return least;
}
