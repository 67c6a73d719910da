#include "feed.h"

#define LEFT_US 800000u /* a standby may be active 0.9 s after the last RENEW of a lease */

static void enter(struct feed *feed, const struct feed_reply *reply)
{
    uint64_t cursor = reply->sequenced > reply->claim_tx ? reply->sequenced : reply->claim_tx;
    *feed = (struct feed){
        .epoch = reply->epoch,
        .cursor = cursor,
        .base = cursor,
        .durable = reply->durable,
        .claim_tx = reply->claim_tx,
    };
}

enum feed_verdict worker_feed_reply(struct feed *feed, const struct feed_reply *reply)
{
    if (reply->epoch < feed->epoch || reply->epoch == 0) {
        return FEED_STALE;
    }
    if (feed->epoch == 0) {
        enter(feed, reply);
        return FEED_RESET;
    }
    if (reply->epoch == feed->epoch) {
        bool has_gap = reply->has_records && reply->first_prev != feed->cursor;
        if (reply->status == BB_TOO_OLD || has_gap) {
            enter(feed, reply);
            return FEED_RESET;
        }
        if (reply->durable > feed->durable) {
            feed->durable = reply->durable;
        }
        return FEED_GOES_ON;
    }
    /* What the worker holds up to the claim is history only if the claim follows the worker's own
     * epoch directly, and only if no record up to the claim is missing. */
    bool is_successor = reply->epoch == feed->epoch + 1;
    bool has_all = feed->cursor >= reply->claim_tx && feed->durable <= reply->claim_tx &&
                   feed->base <= reply->claim_tx;
    if (!is_successor || !has_all) {
        enter(feed, reply);
        return FEED_RESET;
    }
    feed->epoch = reply->epoch;
    feed->claim_tx = reply->claim_tx;
    feed->cursor = reply->claim_tx;
    feed->durable = reply->claim_tx; /* a claim is in the log behind all that it names */
    return FEED_NEW_EPOCH;
}

bool worker_feed_is_served(const struct feed_reply *reply, enum feed_verdict verdict)
{
    return verdict == FEED_GOES_ON ? !reply->lacks_lease : verdict != FEED_STALE;
}

bool worker_feed_is_left(const struct feed_reply *reply, uint64_t served_us, uint64_t now_us)
{
    return reply->lacks_lease && now_us >= served_us + LEFT_US;
}

bool worker_feed_applied(struct feed *feed, uint64_t tx, uint64_t prev)
{
    if (prev != feed->cursor || tx <= prev) {
        return false;
    }
    feed->cursor = tx;
    return true;
}

void worker_feed_lost(struct feed *feed)
{
    feed->epoch = 0;
}

bool worker_feed_is_usable(const struct feed *feed)
{
    return feed->epoch != 0 && feed->durable >= feed->base;
}

bool worker_feed_durable(struct feed *feed, uint64_t epoch, uint64_t durable)
{
    if (epoch != feed->epoch) {
        return false;
    }
    if (durable > feed->durable) {
        feed->durable = durable;
    }
    return true;
}

enum feed_fate worker_feed_fate(const struct feed *feed, uint64_t epoch, uint64_t tx)
{
    if (feed->epoch == epoch) {
        return tx <= feed->durable ? FATE_DURABLE : FATE_PENDING;
    }
    bool is_successor = feed->epoch == epoch + 1;
    return is_successor && tx <= feed->claim_tx ? FATE_DURABLE : FATE_UNKNOWN;
}

bool worker_feed_snapshot_holds(const struct feed *feed, uint64_t epoch, uint64_t tx)
{
    return feed->epoch == epoch || (feed->epoch == epoch + 1 && tx <= feed->claim_tx);
}
