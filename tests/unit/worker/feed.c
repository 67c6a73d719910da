#include <criterion/criterion.h>

#include "feed.h"

static struct feed following(void)
{
    return (struct feed){ .epoch = 3, .cursor = 120, .durable = 110, .base = 50, .claim_tx = 40 };
}

Test(feed, first_contact_enters_at_the_newest_and_waits_until_that_is_durable)
{
    struct feed feed = { 0 };
    struct feed_reply reply = {
        .status = BB_TOO_OLD, .epoch = 3, .claim_tx = 40, .sequenced = 100, .durable = 90
    };
    cr_assert_eq(worker_feed_reply(&feed, &reply), FEED_RESET);
    cr_assert_eq(feed.cursor, 100);
    cr_assert_not(worker_feed_is_usable(&feed));
    reply = (struct feed_reply){ .status = BB_OK, .epoch = 3, .sequenced = 100, .durable = 100 };
    cr_assert_eq(worker_feed_reply(&feed, &reply), FEED_GOES_ON);
    cr_assert(worker_feed_is_usable(&feed));
}

Test(feed, an_empty_database_is_usable_at_once)
{
    struct feed feed = { 0 };
    struct feed_reply reply = { .status = BB_TOO_OLD, .epoch = 1 };
    cr_assert_eq(worker_feed_reply(&feed, &reply), FEED_RESET);
    cr_assert(worker_feed_is_usable(&feed));
}

Test(feed, records_move_the_cursor_and_a_gap_shows)
{
    struct feed feed = following();
    cr_assert(worker_feed_applied(&feed, 125, 120));
    cr_assert_eq(feed.cursor, 125);
    cr_assert_not(worker_feed_applied(&feed, 130, 126));
    struct feed_reply reply = { .status = BB_OK,
                                .epoch = 3,
                                .sequenced = 140,
                                .durable = 130,
                                .has_records = true,
                                .first_prev = 126 };
    cr_assert_eq(worker_feed_reply(&feed, &reply), FEED_RESET);
    cr_assert_eq(feed.cursor, 140);
}

Test(feed, a_dead_epoch_is_ignored)
{
    struct feed feed = following();
    struct feed_reply reply = { .status = BB_OK, .epoch = 2, .sequenced = 500, .durable = 500 };
    cr_assert_eq(worker_feed_reply(&feed, &reply), FEED_STALE);
    cr_assert_eq(feed.durable, 110);
    cr_assert_not(worker_feed_durable(&feed, 2, 500));
    cr_assert_eq(feed.durable, 110);
}

Test(feed, a_sequencer_without_a_lease_is_followed_and_does_not_count_as_one)
{
    struct feed feed = following();
    struct feed_reply reply = { .status = BB_OK, .epoch = 3, .sequenced = 120, .durable = 115 };
    cr_assert(worker_feed_is_served(&reply, worker_feed_reply(&feed, &reply)));
    reply.lacks_lease = true;
    reply.durable = 120;
    enum feed_verdict verdict = worker_feed_reply(&feed, &reply);
    cr_assert_eq(verdict, FEED_GOES_ON);
    cr_assert_eq(feed.durable, 120);
    cr_assert_not(worker_feed_is_served(&reply, verdict));
    reply = (struct feed_reply){
        .status = BB_OK, .epoch = 4, .claim_tx = 120, .sequenced = 120, .lacks_lease = true
    };
    cr_assert(worker_feed_is_served(&reply, worker_feed_reply(&feed, &reply)), "it was elected");
    reply = (struct feed_reply){ .status = BB_OK, .epoch = 3 };
    cr_assert_not(worker_feed_is_served(&reply, worker_feed_reply(&feed, &reply)));
}

Test(feed, a_sequencer_that_goes_on_without_a_lease_is_left_when_another_one_may_be_active)
{
    struct feed_reply reply = { .status = BB_OK, .epoch = 3 };
    cr_assert_not(worker_feed_is_left(&reply, 1000000, 9000000));
    reply.lacks_lease = true;
    cr_assert_not(worker_feed_is_left(&reply, 1000000, 1600000), "a lease may come late");
    cr_assert(worker_feed_is_left(&reply, 1000000, 1900000), "a claim is granted after 0.9 s");
}

Test(feed, the_next_epoch_keeps_what_its_claim_names)
{
    struct feed feed = following();
    struct feed_reply reply = {
        .status = BB_TOO_OLD, .epoch = 4, .claim_tx = 115, .sequenced = 115, .durable = 115
    };
    cr_assert_eq(worker_feed_reply(&feed, &reply), FEED_NEW_EPOCH);
    cr_assert_eq(feed.cursor, 115);
    cr_assert_eq(feed.durable, 115);
    cr_assert_eq(worker_feed_fate(&feed, 3, 115), FATE_DURABLE);
    cr_assert_eq(worker_feed_fate(&feed, 3, 116), FATE_UNKNOWN);
    cr_assert(worker_feed_snapshot_holds(&feed, 3, 115));
    cr_assert_not(worker_feed_snapshot_holds(&feed, 3, 118));
}

Test(feed, records_missing_up_to_the_claim_or_a_skipped_epoch_reset)
{
    struct feed feed = following();
    struct feed_reply reply = {
        .status = BB_TOO_OLD, .epoch = 4, .claim_tx = 130, .sequenced = 135, .durable = 130
    };
    cr_assert_eq(worker_feed_reply(&feed, &reply), FEED_RESET);
    cr_assert_eq(feed.cursor, 135);
    feed = following();
    reply = (struct feed_reply){
        .status = BB_TOO_OLD, .epoch = 5, .claim_tx = 115, .sequenced = 115, .durable = 115
    };
    cr_assert_eq(worker_feed_reply(&feed, &reply), FEED_RESET);
    /* What happened in an epoch before the last one cannot be told from numbers. */
    cr_assert_eq(worker_feed_fate(&feed, 3, 111), FATE_UNKNOWN);
    cr_assert_not(worker_feed_snapshot_holds(&feed, 3, 111));
}

Test(feed, durable_beyond_the_claim_is_never_trusted)
{
    struct feed feed = following();
    struct feed_reply reply = {
        .status = BB_TOO_OLD, .epoch = 4, .claim_tx = 100, .sequenced = 100, .durable = 100
    };
    cr_assert_eq(worker_feed_reply(&feed, &reply), FEED_RESET);
}
