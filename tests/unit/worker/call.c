#include <criterion/criterion.h>
#include <signal.h>

#include "call.h"

static Bb__Proto__Call plain_request(void)
{
    Bb__Proto__Call request;
    bb__proto__call__init(&request);
    return request;
}

static struct feed feed_at(uint64_t cursor, uint64_t durable)
{
    return (struct feed){
        .epoch = 2, .cursor = cursor, .durable = durable, .base = 10, .claim_tx = 10
    };
}

Test(call, a_query_runs_at_a_durable_moment_after_its_mark)
{
    Bb__Proto__Call request = plain_request();
    struct call call = { .kind = FUNCTION_QUERY, .request = &request };
    struct feed feed = feed_at(100, 80);
    cr_assert_eq(worker_call_moment(&call, &feed), MOMENT_MARK);
    call.has_mark = true;
    call.mark = 90;
    cr_assert_eq(worker_call_moment(&call, &feed), MOMENT_WAIT);
    cr_assert_eq(call.wait_tx, 90);
    cr_assert(call.waits_for_durable);
    feed.durable = 95;
    cr_assert_eq(worker_call_moment(&call, &feed), MOMENT_OK);
    cr_assert_eq(call.snapshot, 95);
}

Test(call, b16_a_call_has_five_seconds_whatever_was_asked_and_a_deploy_may_have_more)
{
    struct bb_slice path = bb_slice_str("messages:send"), deploy = bb_slice_str("_system:deploy");
    cr_assert_eq(worker_call_time_ms(path, 0), 5000);
    cr_assert_eq(worker_call_time_ms(path, 1200), 1200);
    cr_assert_eq(worker_call_time_ms(path, 30000), 5000);
    cr_assert_eq(worker_call_time_ms(bb_slice_str("_system:deployed"), 30000), 5000);
    cr_assert_eq(worker_call_time_ms(deploy, 20000), 20000);
    cr_assert_eq(worker_call_time_ms(deploy, 60000), 30000);
}

Test(call, a_query_never_runs_beyond_the_records_that_were_applied)
{
    Bb__Proto__Call request = plain_request();
    request.is_live = true;
    struct call call = { .kind = FUNCTION_QUERY, .request = &request };
    struct feed feed = feed_at(70, 90); /* a mark may be ahead of the feed */
    cr_assert_eq(worker_call_moment(&call, &feed), MOMENT_OK);
    cr_assert_eq(call.snapshot, 70);
    request.min_tx = 75;
    cr_assert_eq(worker_call_moment(&call, &feed), MOMENT_WAIT);
    request.is_live = false;
    request.min_tx = 0;
    request.at_tx = 33;
    cr_assert_eq(worker_call_moment(&call, &feed), MOMENT_OK);
    cr_assert_eq(call.snapshot, 33);
    request.at_tx = 80;
    cr_assert_eq(worker_call_moment(&call, &feed), MOMENT_WAIT);
}

Test(call, a_mutation_runs_at_the_newest_sequenced_moment)
{
    Bb__Proto__Call request = plain_request();
    struct call call = { .kind = FUNCTION_MUTATION, .request = &request };
    struct feed feed = feed_at(100, 80);
    cr_assert_eq(worker_call_moment(&call, &feed), MOMENT_OK);
    cr_assert_eq(call.snapshot, 100);
    cr_assert_eq(call.epoch, 2);
    feed.base = 90; /* entered a moment ago: what lies between is not known yet */
    cr_assert_eq(worker_call_moment(&call, &feed), MOMENT_WAIT);
}

Test(call, every_run_of_a_mutation_ends_at_the_sequencer)
{
    struct call call = { .kind = FUNCTION_MUTATION };
    cr_assert_eq(worker_call_after_run(&call, BB_OK, true), RUN_SUBMIT);
    cr_assert_eq(worker_call_after_run(&call, BB_OK, false), RUN_FINISH);
    cr_assert_eq(worker_call_after_run(&call, BB_USER_ERROR, true), RUN_FINISH);
    cr_assert_eq(worker_call_after_run(&call, BB_DOCUMENT_NOT_FOUND, false), RUN_FINISH);
    cr_assert_eq(worker_call_after_run(&call, BB_FUNCTION_TIMEOUT, false), RUN_ANSWER);
    cr_assert_eq(worker_call_after_run(&call, BB_TOO_OLD, false), RUN_AGAIN);
    call.is_void = true;
    cr_assert_eq(worker_call_after_run(&call, BB_OK, true), RUN_AGAIN);
    call = (struct call){ .kind = FUNCTION_QUERY };
    cr_assert_eq(worker_call_after_run(&call, BB_USER_ERROR, false), RUN_ANSWER);
    cr_assert_eq(worker_call_after_run(&call, BB_OK, false), RUN_ANSWER);
    cr_assert_eq(worker_call_after_run(&call, BB_NEEDS_IDENTITY, false), RUN_ANSWER);
}

Test(call, a_function_that_waited_for_most_of_its_time_was_not_too_slow)
{
    struct call call = { .attempts = 1, .started_us = 1000000, .deadline_us = 6000000 };
    call.run_started_us = 5500000;
    cr_assert(worker_call_had_no_time(&call));
    call.run_started_us = 3000000;
    cr_assert_not(worker_call_had_no_time(&call));
    call.run_started_us = 5500000;
    call.losses = 1; /* its earlier runs had time */
    cr_assert_not(worker_call_had_no_time(&call));
}

Test(call, the_value_of_a_duplicate_is_read_from_the_log_even_if_this_body_was_sent_before)
{
    struct feed feed = feed_at(100, 80);
    struct call call = { .kind = FUNCTION_MUTATION, .epoch = 2, .snapshot = 90 };
    cr_assert_eq(worker_call_after_outcome(&call, &feed, BB_DUPLICATE), OUTCOME_DUPLICATE);
    call.is_maybe_sequenced = true;
    cr_assert_eq(worker_call_after_outcome(&call, &feed, BB_DUPLICATE), OUTCOME_DUPLICATE);
    cr_assert_eq(worker_call_after_outcome(&call, &feed, BB_CONFLICT), OUTCOME_AGAIN);
    cr_assert_eq(worker_call_after_outcome(&call, &feed, BB_OVERLOADED), OUTCOME_RESUBMIT);
    cr_assert_eq(worker_call_after_outcome(&call, &feed, BB_TOO_LARGE), OUTCOME_FAILED);
    cr_assert_eq(worker_call_after_outcome(&call, &feed, BB_CANCELLED), OUTCOME_FAILED);
}

Test(call, a_body_whose_snapshot_was_rolled_back_while_it_was_under_way_is_never_sent_again)
{
    struct feed feed = { .epoch = 3, .cursor = 200, .durable = 200, .claim_tx = 100 };
    struct call call = {
        .kind = FUNCTION_MUTATION, .state = CALL_SUBMITTED, .epoch = 2, .snapshot = 101
    };
    cr_assert_eq(worker_call_after_outcome(&call, &feed, BB_UNAVAILABLE), OUTCOME_VOID);
    cr_assert_eq(worker_call_after_outcome(&call, &feed, BB_FENCED), OUTCOME_VOID);
    call.snapshot = 100; /* the claim names it: it did happen */
    cr_assert_eq(worker_call_after_outcome(&call, &feed, BB_UNAVAILABLE), OUTCOME_RESUBMIT);
    feed.epoch = 4;
    cr_assert_eq(worker_call_after_outcome(&call, &feed, BB_UNAVAILABLE), OUTCOME_VOID);
}

Test(call, who_waited_for_a_number_of_a_dead_epoch_looks_again)
{
    struct feed feed = { .epoch = 1, .cursor = 100, .durable = 90, .base = 100, .claim_tx = 50 };
    Bb__Proto__Call request = plain_request();
    struct call call = { .kind = FUNCTION_QUERY, .state = CALL_WAIT_TX, .request = &request };
    request.is_live = true;
    cr_assert_eq(worker_call_moment(&call, &feed), MOMENT_WAIT); /* 100 is to be durable */
    struct feed_reply reply = {
        .status = BB_OK, .epoch = 2, .claim_tx = 95, .sequenced = 95, .durable = 95
    };
    cr_assert_eq(worker_feed_reply(&feed, &reply), FEED_RESET);
    worker_call_wait_anew(&call);
    cr_assert(worker_call_has_come(&call, &feed)); /* and 100 never comes */
    cr_assert_eq(worker_call_moment(&call, &feed), MOMENT_OK);
    cr_assert_eq(call.snapshot, 95);
}

Test(call, a_loss_against_a_dead_epoch_waits_for_none_of_its_numbers)
{
    struct feed feed = { .epoch = 3, .cursor = 100, .durable = 100, .claim_tx = 100 };
    /* The old sequencer answered late: "run again at 999". */
    struct call call = { .kind = FUNCTION_MUTATION, .wait_epoch = 2, .wait_tx = 999 };
    cr_assert(worker_call_has_come(&call, &feed));
    call.wait_epoch = 3;
    cr_assert_not(worker_call_has_come(&call, &feed));
    feed.cursor = 999;
    cr_assert(worker_call_has_come(&call, &feed));
    call.wait_epoch = 4; /* the feed is not there yet */
    cr_assert_not(worker_call_has_come(&call, &feed));
}

Test(call, a_new_epoch_resubmits_only_what_stands_on_history)
{
    Bb__Proto__SlotDone done;
    bb__proto__slot_done__init(&done);
    struct feed feed = { .epoch = 3, .cursor = 100, .durable = 100, .claim_tx = 100 };
    struct call call = { .kind = FUNCTION_MUTATION,
                         .state = CALL_WAIT_DURABLE,
                         .epoch = 2,
                         .snapshot = 95,
                         .tx = 99,
                         .tx_epoch = 2,
                         .done = &done };
    cr_assert_eq(worker_call_after_epoch(&call, &feed), EPOCH_KEEPS); /* it is in the log */
    call.tx = 101;
    cr_assert_eq(worker_call_after_epoch(&call, &feed), EPOCH_RESUBMIT);
    call.snapshot = 101;
    call.tx = 102;
    cr_assert_eq(worker_call_after_epoch(&call, &feed), EPOCH_AGAIN); /* built on what never was */
    call.snapshot = 95;
    call.is_duplicate = true; /* the body that counts is not this one */
    cr_assert_eq(worker_call_after_epoch(&call, &feed), EPOCH_AGAIN);
    call.is_duplicate = false;
    feed.epoch = 4; /* an epoch was missed: numbers say nothing */
    cr_assert_eq(worker_call_after_epoch(&call, &feed), EPOCH_AGAIN);
    call.state = CALL_TO_SUBMIT;
    feed.epoch = 3;
    cr_assert_eq(worker_call_after_epoch(&call, &feed), EPOCH_KEEPS);
    call.snapshot = 101;
    cr_assert_eq(worker_call_after_epoch(&call, &feed), EPOCH_AGAIN);
}

Test(call, nobody_hears_failed_of_an_outcome_that_nobody_knows)
{
    Bb__Proto__SlotDone done;
    bb__proto__slot_done__init(&done);
    uint8_t body[1] = { 0 };
    done.body = (ProtobufCBinaryData){ .len = 1, .data = body };
    struct call call = { .state = CALL_QUEUED, .deadline_us = 1000, .done = &done };
    cr_assert_eq(worker_call_overdue(&call, 999), BB_OK);
    cr_assert_eq(worker_call_overdue(&call, 1000), BB_OVERLOADED);
    call.state = CALL_SUBMITTED;
    cr_assert_eq(worker_call_overdue(&call, 1000), BB_OK); /* the disk may be late */
    cr_assert_eq(worker_call_overdue(&call, 10000000), BB_OUTCOME_UNKNOWN);
    call.state = CALL_WAIT_DURABLE;
    cr_assert_eq(worker_call_overdue(&call, 10000000), BB_OUTCOME_UNKNOWN);
    call.state = CALL_TO_SUBMIT;
    cr_assert_eq(worker_call_overdue(&call, 10000000), BB_UNAVAILABLE);
    call.is_maybe_sequenced = true;
    cr_assert_eq(worker_call_overdue(&call, 10000000), BB_OUTCOME_UNKNOWN);
    call.state = CALL_RUNNING;
    cr_assert_eq(worker_call_overdue(&call, 10000000), BB_OK);
}

Test(call, a_value_is_empty_only_when_the_log_says_so)
{
    cr_assert(worker_call_is_value_known(BB_OK, 1));
    cr_assert(worker_call_is_value_known(BB_TX_TRUNCATED, 0)); /* too long ago */
    cr_assert(worker_call_is_value_known(BB_CORRUPT, 0));      /* no node can read it */
    cr_assert_not(worker_call_is_value_known(BB_OK, 0));       /* a node that is behind */
    cr_assert_not(worker_call_is_value_known(BB_NOT_YET, 0));
    cr_assert_not(worker_call_is_value_known(BB_NOT_LEADER, 0));
}

Test(call, a_failure_of_a_later_run_says_nothing_about_an_earlier_body)
{
    struct call call = { .kind = FUNCTION_MUTATION };
    cr_assert_eq(worker_call_tells(&call, BB_FUNCTION_TIMEOUT), BB_FUNCTION_TIMEOUT);
    call.is_outcome_open = true;
    cr_assert_eq(worker_call_tells(&call, BB_FUNCTION_TIMEOUT), BB_OUTCOME_UNKNOWN);
    cr_assert_eq(worker_call_tells(&call, BB_OVERLOADED), BB_OUTCOME_UNKNOWN);
    cr_assert_eq(worker_call_tells(&call, BB_OK), BB_OK);
    /* The first run was sequenced; that the second one threw changes nothing. */
    Bb__Proto__SlotDone done;
    bb__proto__slot_done__init(&done);
    call =
        (struct call){ .state = CALL_WAIT_DURABLE, .tx = 7, .is_duplicate = true, .done = &done };
    cr_assert_eq(worker_call_overdue(&call, 10000000), BB_OUTCOME_UNKNOWN);
}

Test(call, who_waits_for_a_tx_hears_that_it_did_not_come)
{
    Bb__Proto__Call request = plain_request();
    struct call call = { .state = CALL_WAIT_TX, .deadline_us = 1000, .request = &request };
    cr_assert_eq(worker_call_overdue(&call, 1000), BB_UNAVAILABLE);
    call.losses = 2;
    cr_assert_eq(worker_call_overdue(&call, 1000), BB_OVERLOADED);
    request.min_tx = 77;
    cr_assert_eq(worker_call_overdue(&call, 1000), BB_TIMEOUT);
}

Test(call, only_what_has_not_begun_is_dropped_when_its_client_leaves)
{
    Bb__Proto__Call request = plain_request();
    char exchange;
    for (enum call_state state = CALL_ARRIVED; state < CALL_STATE_COUNT; state++) {
        struct call call = { .state = state, .request = &request };
        cr_assert(!worker_call_may_drop(&call), "a call of the worker itself has no client");
        call.exchange = (struct bb_exchange *)(void *)&exchange;
        cr_assert_eq(worker_call_may_drop(&call), state < CALL_RUNNING, "state %d", (int)state);
        call.is_outcome_open = true;
        cr_assert(!worker_call_may_drop(&call), "a body of it may have happened");
    }
}

Test(call, states_move_along_the_table)
{
    struct call call = { .state = CALL_ARRIVED };
    worker_call_move(&call, CALL_QUEUED);
    worker_call_move(&call, CALL_RUNNING);
    worker_call_move(&call, CALL_TO_SUBMIT);
    worker_call_move(&call, CALL_SUBMITTED);
    worker_call_move(&call, CALL_WAIT_DURABLE);
    worker_call_move(&call, CALL_DONE);
}

Test(call, a_move_against_the_table_stops_the_process, .signal = SIGABRT)
{
    struct call call = { .state = CALL_QUEUED };
    worker_call_move(&call, CALL_SUBMITTED);
}
