/* The whole service against a storage node that follows a script. */
#include "suite.h"

Test(service, what_is_submitted_becomes_durable_and_is_followed, .timeout = 20)
{
    struct suite suite = { .stopped = 0 };
    uint64_t tx = 0;

    suite_start(&suite, "plain");
    first_contact(&suite);
    cr_assert_eq(submit(&suite, 1, 0, &tx), BB_OK);
    const Bb__Proto__FollowReply *reply = follow(&suite, 1, 0, 0);
    cr_assert_eq(reply->n_records, 1);
    cr_assert_eq(reply->sequenced, tx);
    wait_durable(&suite, tx);
    cr_assert_eq(suite.storage.last_tx, tx);
    suite_stop(&suite);
}

static void mark_begin(struct suite *suite)
{
    Bb__Proto__SequencerRequest request;
    Bb__Proto__Mark mark;

    bb__proto__sequencer_request__init(&request);
    bb__proto__mark__init(&mark);
    request.op_case = BB__PROTO__SEQUENCER_REQUEST__OP_MARK;
    request.mark = &mark;
    ask_begin(suite, &request);
}

/* The tx of the mark that was asked for. */
static uint64_t mark_end(struct suite *suite)
{
    const Bb__Proto__SequencerReply *reply = ask_end(suite);

    cr_assert_eq(reply->status, BB_OK, "%s", reply->error);
    return reply->mark->durable;
}

static void on_moment(void *arg)
{
    struct suite *suite = arg;

    bb_loop_stop(suite->loop);
}

/* Does nothing come within a moment that is long beside an answer's way? */
static bool is_silent(struct suite *suite)
{
    struct bb_timer *timer = bb_timer_new(suite->loop, on_moment, suite);

    bb_timer_start(timer, 200, 0);
    bb_loop_run(suite->loop);
    bb_timer_free(timer);
    return !suite->is_answered;
}

/* A commit that storage has, without an answer to the Append that brought it. */
static uint64_t submit_held(struct suite *suite, unsigned number, uint64_t snapshot)
{
    uint64_t tx = 0;

    suite->storage.trouble = HOLD_THE_ANSWER;
    cr_assert_eq(submit(suite, number, snapshot, &tx), BB_OK);
    while (suite->storage.held == NULL)
        continue;
    cr_assert_eq(suite->storage.last_tx, tx);
    return tx;
}

Test(service, a_mark_is_the_durable_tx_under_a_lease, .timeout = 20)
{
    struct suite suite = { .stopped = 0 };
    uint64_t tx = 0;

    suite_start(&suite, "mark");
    first_contact(&suite);
    cr_assert_eq(submit(&suite, 1, 0, &tx), BB_OK);
    wait_durable(&suite, tx);
    mark_begin(&suite);
    cr_assert_eq(mark_end(&suite), tx);
    suite_stop(&suite);
}

/* Storage's own feed may have told of the commit by then: a mark is not older than that. */
Test(service, a_mark_is_not_older_than_what_storage_took_before_it, .timeout = 20)
{
    struct suite suite = { .stopped = 0 };

    suite_start(&suite, "mark-held");
    first_contact(&suite);
    uint64_t tx = submit_held(&suite, 1, 0);
    mark_begin(&suite);
    cr_assert(is_silent(&suite), "answered while the Append is under way");
    release_append(&suite.storage);
    cr_assert_eq(mark_end(&suite), tx);
    suite_stop(&suite);
}

Test(service, a_mark_waits_for_no_append_that_began_after_it, .timeout = 20)
{
    struct suite suite = { .stopped = 0 };
    uint64_t second = 0;

    suite_start(&suite, "mark-load");
    first_contact(&suite);
    uint64_t first = submit_held(&suite, 1, 0);
    cr_assert_eq(submit(&suite, 2, first, &second), BB_OK);
    mark_begin(&suite);
    cr_assert(is_silent(&suite));
    suite.storage.trouble = HOLD_THE_ANSWER;
    release_append(&suite.storage);
    cr_assert_eq(mark_end(&suite), first);
    while (suite.storage.held == NULL)
        continue;
    release_append(&suite.storage);
    wait_durable(&suite, second);
    suite_stop(&suite);
}

Test(service, a_mark_is_refused_when_storage_takes_nothing_for_long, .timeout = 20)
{
    struct suite suite = { .stopped = 0 };
    struct bb_ctx ctx = { .env = bb_env_real() };
    uint64_t tx = 0;

    suite_start(&suite, "mark-deaf");
    first_contact(&suite);
    suite.storage.is_deaf = true;
    cr_assert_eq(submit(&suite, 1, 0, &tx), BB_OK);
    while (suite.storage.appends == 0)
        continue;
    uint64_t start_us = bb_now_us(&ctx);
    mark_begin(&suite);
    const Bb__Proto__SequencerReply *reply = ask_end(&suite);
    cr_assert_eq(reply->status, BB_UNAVAILABLE);
    cr_assert_str_eq(reply->error, "storage does not answer");
    cr_assert_lt(bb_now_us(&ctx) - start_us, 12000000);
    suite.storage.is_deaf = false;
    mark_begin(&suite);
    cr_assert_eq(mark_end(&suite), tx);
    suite_stop(&suite);
}

Test(service, a_batch_of_unknown_outcome_is_sent_again_and_counts_once, .timeout = 20)
{
    static const enum trouble troubles[] = { REFUSE_ONCE, LOSE_THE_ANSWER };

    for (size_t i = 0; i < BB_COUNT_OF(troubles); i++) {
        struct suite suite = { .stopped = 0 };
        uint64_t tx = 0;
        suite_start(&suite, i == 0 ? "refused" : "lost");
        first_contact(&suite);
        suite.storage.trouble = troubles[i];
        cr_assert_eq(submit(&suite, 1, 0, &tx), BB_OK);
        wait_durable(&suite, tx);
        cr_assert_eq(suite.storage.appends, 2);
        cr_assert_eq(suite.storage.distinct, 1);
        suite_stop(&suite);
    }
}

Test(service, a_fenced_sequencer_ends_without_another_answer, .timeout = 20)
{
    struct suite suite = { .stopped = 0 };
    uint64_t tx = 0;

    suite_start(&suite, "fenced");
    first_contact(&suite);
    suite.storage.trouble = FENCE;
    cr_assert_eq(submit(&suite, 1, 0, &tx), BB_OK, "sequenced only; nobody has heard of it");
    while (suite.stopped == 0)
        continue;
    suite_stop(&suite);
}

Test(service, junk_gets_a_bad_request, .timeout = 20)
{
    struct suite suite = { .stopped = 0 };
    Bb__Proto__SequencerRequest request;

    suite_start(&suite, "junk");
    bb__proto__sequencer_request__init(&request);
    const Bb__Proto__SequencerReply *reply = ask(&suite, &request);
    cr_assert_eq(reply->status, BB_BAD_REQUEST);
    suite_stop(&suite);
}

Test(service, a_stop_brings_what_is_sequenced_to_storage, .timeout = 20)
{
    struct suite suite = { .stopped = 0 };
    uint64_t tx = 0;

    suite_start(&suite, "drain");
    first_contact(&suite);
    for (unsigned i = 1; i <= 100; i++)
        cr_assert_eq(submit(&suite, i, tx, &tx), BB_OK);
    suite.storage.trouble = REFUSE_ONCE;
    cr_assert_eq(submit(&suite, 101, tx, &tx), BB_OK);
    bb_service_stop(suite.service);
    while (suite.stopped == 0)
        continue;
    cr_assert_eq(suite.storage.last_tx, tx);
    suite_stop(&suite);
}

/* The outcome of a Finish that read nothing. */

Test(service, a_finish_waits_a_moment_for_the_lease, .timeout = 20)
{
    struct suite suite = { .storage.unanswered_renewals = 1 };

    suite_start(&suite, "finish"); /* it is active with the first lease still to come */
    first_contact(&suite);
    cr_assert_eq(finish(&suite), BB_OK);
    suite_stop(&suite);
}

Test(service, a_finish_without_a_lease_is_refused_in_the_end, .timeout = 20)
{
    struct suite suite = { .storage.unanswered_renewals = 1000 };

    suite_start(&suite, "leaseless");
    first_contact(&suite);
    cr_assert_eq(finish(&suite), BB_OVERLOADED);
    suite_stop(&suite);
}

/* The long period alone would take eight times 300 ms: the mark is given up before. */
Test(service, a_leader_that_cannot_say_yet_who_holds_the_epoch_is_asked_again_soon, .timeout = 20)
{
    struct suite suite = { .storage.unanswered_renewals = 8 };

    suite_start(&suite, "again-soon");
    first_contact(&suite);
    mark_begin(&suite);
    cr_assert_eq(mark_end(&suite), 0);
    cr_assert_eq(suite.storage.unanswered_renewals, 0);
    suite_stop(&suite);
}

Test(service, the_feed_says_whether_there_is_a_lease, .timeout = 20)
{
    struct suite suite = { .storage.unanswered_renewals = 1000 };

    suite_start(&suite, "feed-lease");
    first_contact(&suite);
    cr_assert(follow(&suite, 0, 0, 0)->lacks_lease);
    suite.storage.unanswered_renewals = 0;
    while (follow(&suite, 0, 0, 0)->lacks_lease)
        continue;
    suite_stop(&suite);
}

Test(service, a_stop_does_not_wait_long_for_a_storage_that_takes_nothing, .timeout = 20)
{
    struct suite suite = { .stopped = 0 };
    struct bb_ctx ctx = { .env = bb_env_real() };
    uint64_t tx = 0;

    suite_start(&suite, "deaf");
    first_contact(&suite);
    suite.storage.is_deaf = true;
    cr_assert_eq(submit(&suite, 1, 0, &tx), BB_OK);
    uint64_t start_us = bb_now_us(&ctx);
    suite_stop(&suite);
    cr_assert_lt(bb_now_us(&ctx) - start_us, 12000000);
}

Test(service, after_a_take_over_every_id_of_the_log_is_known, .timeout = 20)
{
    struct suite suite = { .storage = { .last_seq = 3, .last_tx = 30, .empty_tails = 2 } };
    uint64_t tx = 0;

    suite_start(&suite, "ids");
    const Bb__Proto__FollowReply *reply = follow(&suite, 0, 0, 0);
    cr_assert_eq(reply->claim_tx, 30);
    for (unsigned n = 1; n <= 3; n++) {
        cr_assert_eq(submit(&suite, n, 30, &tx), BB_DUPLICATE, "id %u", n);
        cr_assert_eq(tx, 10 * n);
    }
    cr_assert_eq(submit(&suite, 4, 30, &tx), BB_OK);
    suite_stop(&suite);
}

Test(service, after_a_take_over_ids_are_known_that_could_not_be_read_for_a_moment, .timeout = 20)
{
    struct suite suite = { .storage = { .last_seq = 3, .last_tx = 30, .unread_tails = 5 } };
    uint64_t tx = 0;

    suite_start(&suite, "unread");
    cr_assert_eq(follow(&suite, 0, 0, 0)->claim_tx, 30);
    for (unsigned n = 1; n <= 3; n++)
        cr_assert_eq(submit(&suite, n, 30, &tx), BB_DUPLICATE, "id %u", n);
    suite_stop(&suite);
}

/* Asks until the answer is as it should be: the service looks for storage at its own pace. */
static const Bb__Proto__SequencerInfoReply *info_when(struct suite *suite, bool is_standby)
{
    Bb__Proto__SequencerRequest request;
    Bb__Proto__SequencerInfo info;

    bb__proto__sequencer_request__init(&request);
    bb__proto__sequencer_info__init(&info);
    request.op_case = BB__PROTO__SEQUENCER_REQUEST__OP_INFO;
    request.info = &info;
    for (;;) {
        const Bb__Proto__SequencerReply *reply = ask(suite, &request);
        if (reply->info->is_standby == is_standby && reply->info->ids == 3)
            return reply->info;
    }
}

Test(service, p13_a_standby_refers_to_the_active_one_and_knows_its_ids_before_it_claims,
     .timeout = 20)
{
    struct suite suite = { .storage = { .last_seq = 3, .last_tx = 30, .is_held = true } };
    Bb__Proto__SequencerRequest request;
    Bb__Proto__Follow message;
    uint64_t tx = 0;

    suite_start(&suite, "standby");
    cr_assert_str_eq(info_when(&suite, true)->holder, "inproc://the-other-one");
    bb__proto__sequencer_request__init(&request);
    bb__proto__follow__init(&message);
    message.wait_ms = 5000;
    request.op_case = BB__PROTO__SEQUENCER_REQUEST__OP_FOLLOW;
    request.follow = &message;
    cr_assert_eq(ask(&suite, &request)->status, BB_NOT_LEADER);
    cr_assert_str_eq(suite.reply->holder, "inproc://the-other-one");
    suite.storage.is_held = false; /* it died */
    (void)info_when(&suite, false);
    cr_assert_eq(follow(&suite, 0, 0, 0)->claim_tx, 30);
    cr_assert_str_eq(info_when(&suite, false)->holder, "inproc://sequencer-standby");
    for (unsigned n = 1; n <= 3; n++)
        cr_assert_eq(submit(&suite, n, 30, &tx), BB_DUPLICATE, "id %u", n);
    suite_stop(&suite);
}

Test(service, p13_a_standby_goes_on_following_after_a_moment_without_a_holder, .timeout = 20)
{
    struct suite suite = { .storage = { .last_seq = 3, .last_tx = 30, .is_held = true } };

    suite_start(&suite, "moment");
    (void)info_when(&suite, true);
    suite.storage.is_unnamed = true; /* what it asked for is answered meanwhile */
    (void)info_when(&suite, false);
    suite.storage.is_unnamed = false;
    (void)info_when(&suite, true);
    unsigned tails = suite.storage.tails;
    while (suite.storage.tails < tails + 3)
        continue;
    suite_stop(&suite);
}

/* Whoever has one of the ids that nobody knows any more sends it for 30 s. */
Test(service, p13_a_take_over_without_the_newest_ids_waits_until_they_are_old, .timeout = 30)
{
    struct bb_ctx ctx = { .env = bb_env_real() };
    struct suite suite = {
        .storage = { .last_seq = 3, .last_tx = bb_wall_us(&ctx) - 28000000, .has_lost_all = true }
    };
    uint64_t lost_us = suite.storage.last_tx;

    suite_start(&suite, "lost");
    cr_assert_eq(follow(&suite, 0, 0, 0)->claim_tx, lost_us);
    cr_assert_geq(bb_wall_us(&ctx), lost_us + 30000000);
    suite_stop(&suite);
}

/* A damaged file has them no more than none; a node that is down may come back until then. */
Test(service, p13_a_take_over_does_not_wait_for_ever_for_ids_that_cannot_be_read, .timeout = 60)
{
    static const uint32_t statuses[] = { BB_CORRUPT, BB_IO, BB_UNAVAILABLE };
    struct bb_ctx ctx = { .env = bb_env_real() };

    for (size_t i = 0; i < BB_COUNT_OF(statuses); i++) {
        struct suite suite = { .storage = { .last_seq = 3,
                                            .last_tx = bb_wall_us(&ctx) - 29000000,
                                            .has_lost_all = true,
                                            .lost_status = statuses[i] } };
        uint64_t lost_us = suite.storage.last_tx;

        suite_start(&suite, bb_status_name((int)statuses[i]));
        cr_assert_eq(follow(&suite, 0, 0, 0)->claim_tx, lost_us);
        cr_assert_geq(bb_wall_us(&ctx), lost_us + 30000000);
        suite_stop(&suite);
    }
}

Test(service, a_hole_in_the_feed_at_a_take_over_ends_the_service, .timeout = 20)
{
    struct suite suite = { .storage = { .last_seq = 3, .last_tx = 30, .has_hole = true } };

    suite_start(&suite, "hole");
    while (suite.stopped == 0)
        continue;
    suite_stop(&suite);
}
