/* The sequenced feed: one Follow under way at all times. */
#include "link.h"

/* Short, so that a sequencer that is paused, or whose host is gone, is left within a second. */
#define FOLLOW_WAIT_MS    400u
#define FOLLOW_TIMEOUT_MS 1000u
#define FOLLOW_BYTES      (4u << 20)

/* ---- the feed ---- */

static void tell_copies(struct worker *worker, const Bb__Proto__TxBody *body, uint64_t tx)
{
    for (size_t i = 0; i < body->n_writes; i++) {
        const Bb__Proto__Write *write = body->writes[i];
        if (!write->is_index_only) {
            worker_copies_written(worker->copies, bb_pb_slice(write->doc_key), tx);
        }
        for (size_t k = 0; k < write->n_keys; k++) {
            worker_copies_written(worker->copies, bb_pb_slice(write->keys[k]->key), tx);
        }
    }
}

/* All keys that the record names, its documents' and those in indexes. */
static size_t keys_of(const Bb__Proto__TxBody *body, struct bb_slice *keys)
{
    size_t count = 0;
    for (size_t i = 0; i < body->n_writes; i++) {
        const Bb__Proto__Write *write = body->writes[i];
        if (!write->is_index_only && write->doc_key.len > 0) {
            keys[count++] = bb_pb_slice(write->doc_key);
        }
        for (size_t k = 0; k < write->n_keys; k++) {
            keys[count++] = bb_pb_slice(write->keys[k]->key);
        }
    }
    return count;
}

static void tell_results(struct worker *worker, struct bb_arena *arena,
                         const Bb__Proto__TxBody *body, uint64_t tx)
{
    size_t count = 0;
    if (worker->results == NULL) {
        return;
    }
    for (size_t i = 0; i < body->n_writes; i++) {
        count += 1 + body->writes[i]->n_keys;
    }
    struct bb_slice *keys = bb_arena_alloc(arena, (count + 1) * sizeof(*keys));
    bb_assert(keys != NULL);
    worker_results_written(worker->results, tx, keys, keys_of(body, keys));
}

static void forget_results(struct worker *worker)
{
    if (worker->results != NULL) {
        worker_results_forget(worker->results, worker->feed.cursor);
    }
}

static bool apply_record(struct worker *worker, struct bb_arena *arena, ProtobufCBinaryData bytes)
{
    Bb__Proto__TxRecord *record;
    Bb__Proto__TxBody *body;
    if (bb_unpack(worker->ctx, arena, &bb__proto__tx_record__descriptor, bb_pb_slice(bytes),
                  &record) != BB_OK ||
        bb_unpack(worker->ctx, arena, &bb__proto__tx_body__descriptor, bb_pb_slice(record->body),
                  &body) != BB_OK) {
        bb_error(worker->ctx, "worker.feed_corrupt", "after=%" PRIu64, worker->feed.cursor);
        return false;
    }
    if (!worker_feed_applied(&worker->feed, record->tx, record->prev)) {
        bb_warn(worker->ctx, "worker.feed_gap", "cursor=%" PRIu64 " prev=%" PRIu64,
                worker->feed.cursor, record->prev);
        return false;
    }
    uint32_t tables = worker_cache_apply(worker->ctx, worker->cache, body, record->tx);
    tell_copies(worker, body, record->tx);
    tell_results(worker, arena, body, record->tx);
    if (tables != 0) {
        worker_catalogs_written(worker->catalogs, record->tx, tables);
        worker->wants_catalog = true;
    }
    return true;
}

static void apply_records(struct worker *worker, const Bb__Proto__FollowReply *reply)
{
    for (size_t i = 0; i < reply->n_records; i++) {
        if (!apply_record(worker, worker->scratch, reply->records[i])) {
            worker_feed_lost(&worker->feed);
            forget_results(worker);
            return;
        }
    }
}

static void enter_epoch(struct worker *worker, enum feed_verdict verdict)
{
    const struct feed *feed = &worker->feed;
    if (verdict == FEED_RESET) {
        worker_cache_reset(worker->cache, feed->base);
    } else {
        worker_cache_drop_after(worker->cache, feed->claim_tx);
    }
    worker_copies_forget(worker->copies);
    forget_results(worker);
    worker_catalogs_forget(worker->catalogs);
    worker->wants_catalog = true;
    bb_info(worker->ctx, "worker.epoch",
            "epoch=%" PRIu64 " claim=%" PRIu64 " cursor=%" PRIu64 " kept=%s", feed->epoch,
            feed->claim_tx, feed->cursor, verdict == FEED_RESET ? "nothing" : "cache");
    worker_epoch_changed(worker);
}

/* The first record names its predecessor; the others are checked one by one. */
static uint64_t first_prev(struct worker *worker, const Bb__Proto__FollowReply *reply)
{
    Bb__Proto__TxRecord *record;
    if (reply->n_records == 0 ||
        bb_unpack(worker->ctx, worker->scratch, &bb__proto__tx_record__descriptor,
                  bb_pb_slice(reply->records[0]), &record) != BB_OK) {
        return UINT64_MAX;
    }
    return record->prev;
}

/*
 * A sequencer that is cut off from storage answers as ever, and one that stands by refers back to
 * the one that is active: so each is asked in turn, not oftener than it takes for one to be that.
 */
static void look_around(struct worker *worker, const struct feed_reply *reply)
{
    uint64_t now = worker_now(worker);
    uint64_t since = worker->looked_us > worker->heard_us ? worker->looked_us : worker->heard_us;
    if (worker_feed_is_left(reply, since, now)) {
        worker->looked_us = now;
        worker_link_look(worker, worker->follow_asked);
    }
}

static void followed(void *arg, int status, struct bb_slice bytes)
{
    struct worker *worker = arg;
    Bb__Proto__SequencerReply *reply = NULL;
    worker->is_following = false;
    status = worker_link_open_reply(worker, status, bytes, BB__PROTO__SEQUENCER_REPLY__OP_FOLLOW,
                                    &reply);
    bool is_answer = status == BB_OK && (reply->status == BB_OK || reply->status == BB_TOO_OLD);
    if (!is_answer) {
        if (status != BB_CANCELLED) {
            worker->follow_at_us = worker_now(worker) + LINK_RETRY_US;
            worker_link_failed(worker, worker->follow_asked, reply);
        }
        return;
    }
    const Bb__Proto__FollowReply *follow = reply->follow;
    struct feed_reply marks = {
        .status = (int)reply->status,
        .epoch = follow->epoch,
        .claim_tx = follow->claim_tx,
        .sequenced = follow->sequenced,
        .durable = follow->durable,
        .has_records = follow->n_records > 0,
        .lacks_lease = follow->lacks_lease,
        .first_prev = first_prev(worker, follow),
    };
    enum feed_verdict verdict = worker_feed_reply(&worker->feed, &marks);
    if (worker_feed_is_served(&marks, verdict)) {
        worker->heard_us = worker_now(worker);
    }
    if (verdict == FEED_GOES_ON) {
        worker_chains_heard(worker, follow->holds, follow->n_holds, false);
        worker_chains_hot(worker, follow);
    } else {
        worker->hot_seen = 0;
    }
    switch (verdict) {
    case FEED_STALE:
        worker->follow_at_us = worker_now(worker) + LINK_RETRY_US;
        worker_link_failed(worker, worker->follow_asked, NULL);
        break;
    case FEED_GOES_ON:
        apply_records(worker, follow);
        worker_progress(worker);
        look_around(worker, &marks);
        break;
    case FEED_NEW_EPOCH:
    case FEED_RESET:
        enter_epoch(worker, verdict);
        worker_progress(worker);
        break;
    }
}

void worker_follow_send(struct worker *worker)
{
    Bb__Proto__Follow follow;
    bb__proto__follow__init(&follow);
    union {
        const char *in;
        char *out;
    } name = { .in = worker->name };
    follow.epoch = worker->feed.epoch;
    follow.after = worker->feed.cursor;
    follow.durable_seen = worker->feed.durable;
    follow.max_bytes = FOLLOW_BYTES;
    follow.wait_ms = FOLLOW_WAIT_MS;
    follow.worker = name.out;
    follow.session = worker->session;
    follow.hot_seen = worker->hot_seen;
    Bb__Proto__SequencerRequest request;
    bb__proto__sequencer_request__init(&request);
    request.op_case = BB__PROTO__SEQUENCER_REQUEST__OP_FOLLOW;
    request.follow = &follow;
    if (worker_link_ask(worker, &request, FOLLOW_TIMEOUT_MS, &worker->follow_asked, followed) ==
        BB_OK) {
        worker->is_following = true;
    } else {
        worker->follow_at_us = worker_now(worker) + LINK_RETRY_US;
    }
}
