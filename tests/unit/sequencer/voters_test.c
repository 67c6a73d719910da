/* Several storage nodes: who is asked where, and who gets a batch. */
#include "suite.h"

#include <unistd.h>

static void name_voter(struct naming *naming, uint64_t id, const char *url)
{
    size_t n = naming->count++;

    (void)snprintf(naming->urls[n], sizeof naming->urls[n], "%s", url);
    bb__proto__voter__init(&naming->voters[n]);
    naming->voters[n].id = id;
    naming->voters[n].url = naming->urls[n];
}

/* Wait until a RENEW came that was sent after this call: two begin and the second one comes. */
static void wait_renewed(struct storage *storage)
{
    unsigned before = storage->renewals;

    while (storage->renewals < before + 2)
        continue;
}

Test(voters, a_voter_is_asked_where_it_is_however_often_others_came_and_went, .timeout = 20)
{
    struct suite suite = { .storage.node = 1 };
    struct storage moved = { .node = 9, .url = "inproc://storage-moved" };
    struct naming many = { .count = 0 }, later = { .count = 0 };
    char url[64];

    suite_start(&suite, "voters");
    storage_start(&moved);
    name_voter(&many, 1, suite.storage.url);
    for (uint64_t id = 2; many.count < SEQUENCER_VOTER_MAX; id++) {
        (void)snprintf(url, sizeof url, "inproc://storage-gone-%" PRIu64, id);
        name_voter(&many, id, url);
    }
    suite.storage.names = &many;
    first_contact(&suite);
    wait_renewed(&suite.storage);
    cr_assert_eq(moved.renewals, 0);
    name_voter(&later, 1, suite.storage.url);
    name_voter(&later, 9, moved.url);
    suite.storage.names = &later;
    wait_renewed(&moved);
    cr_assert_eq(finish(&suite), BB_OK, "the lease is that of the two that vote now");
    suite_stop(&suite);
    storage_stop(&moved);
}

Test(voters, a_voter_that_was_moved_is_asked_at_its_new_url, .timeout = 20)
{
    struct suite suite = { .storage.node = 1 };
    char urls[2][96];
    struct storage old = { .node = 2, .url = urls[0] }, moved = { .node = 2, .url = urls[1] };
    struct naming before = { .count = 0 }, after = { .count = 0 };

    for (int i = 0; i < 2; i++)
        (void)snprintf(urls[i], sizeof urls[i], "ipc:///tmp/bb-voter-%d-%d", (int)getpid(), i);
    suite_start(&suite, "moves");
    storage_start(&old);
    name_voter(&before, 1, suite.storage.url);
    name_voter(&before, 2, old.url);
    suite.storage.names = &before;
    first_contact(&suite);
    wait_renewed(&old);
    storage_stop(&old);
    storage_start(&moved);
    name_voter(&after, 1, suite.storage.url);
    name_voter(&after, 2, moved.url);
    suite.storage.names = &after;
    wait_renewed(&moved);
    cr_assert_eq(finish(&suite), BB_OK);
    suite_stop(&suite);
    storage_stop(&moved);
}

/* Two storage nodes; the first one leads, has a batch of tx `*tx`, and answers nothing any more. */
static void hang_with_a_batch(struct suite *suite, const char *name, struct storage *next,
                              struct naming *both, uint64_t *tx)
{
    suite_start(suite, name);
    storage_start(next);
    name_voter(both, 1, suite->storage.url);
    name_voter(both, 2, next->url);
    suite->storage.names = both;
    first_contact(suite);
    wait_renewed(next);
    next->last_seq = suite->storage.last_seq;
    next->last_tx = suite->storage.last_tx;
    suite->storage.trouble = HOLD_THE_ANSWER; /* until the end: no timeout helps here */
    cr_assert_eq(submit(suite, 1, 0, tx), BB_OK);
    while (suite->storage.held == NULL)
        continue;
}

Test(voters, a_batch_that_a_hung_leader_has_goes_to_the_next_one, .timeout = 20)
{
    struct suite suite = { .storage.node = 1 };
    struct storage next = { .node = 2, .url = "inproc://storage-next" };
    struct naming both = { .count = 0 };
    uint64_t tx = 0;

    hang_with_a_batch(&suite, "hung", &next, &both, &tx);
    next.leads = 2;
    unsigned renewals = next.renewals;
    wait_durable(&suite, tx);
    /* As soon as a RENEW names it: after 2 s, when the first copy is given up, there were six. */
    cr_assert_leq(next.renewals_at_append, renewals + 4);
    release_append(&suite.storage); /* it wakes up: its answer is that of nobody's question */
    cr_assert_eq(submit(&suite, 2, tx, &tx), BB_OK);
    wait_durable(&suite, tx);
    cr_assert_eq(suite.storage.appends, 1);
    cr_assert_eq(next.distinct, 2);
    suite_stop(&suite);
    storage_stop(&next);
}

Test(voters, a_new_leader_that_is_not_ready_does_not_send_the_batch_back_to_the_hung_one,
     .timeout = 20)
{
    struct suite suite = { .storage.node = 1 };
    struct storage next = { .node = 2, .url = "inproc://storage-elected" };
    struct naming both = { .count = 0 };
    uint64_t tx = 0;

    hang_with_a_batch(&suite, "unready", &next, &both, &tx);
    next.trouble = NOT_READY_ONCE;
    suite.storage.trouble = LOSE_THE_ANSWER; /* of a second copy */
    next.leads = 2;
    unsigned renewals = next.renewals;
    wait_durable(&suite, tx);
    /* Two words of the leader: after 2 s, when the second copy is given up, there were six. */
    cr_assert_leq(next.renewals, renewals + 4);
    suite_stop(&suite);
    storage_stop(&next);
}

Test(voters, the_answer_to_an_older_copy_of_a_batch_makes_it_durable, .timeout = 20)
{
    struct suite suite = { .storage.node = 1, .doc_bytes = 8 << 20 }; /* it may take 4 s */
    struct storage next = { .node = 2, .url = "inproc://storage-deaf" };
    struct naming both = { .count = 0 };
    uint64_t tx = 0;

    hang_with_a_batch(&suite, "older", &next, &both, &tx);
    next.is_deaf = true;
    next.leads = 2;
    while (next.appends == 0)
        continue;
    release_append(&suite.storage);
    wait_durable(&suite, tx);
    cr_assert_eq(next.distinct, 0);
    next.last_tx = suite.storage.last_tx;
    next.last_seq = suite.storage.last_seq;
    next.is_deaf = false;
    suite.doc_bytes = 0;
    cr_assert_eq(submit(&suite, 2, tx, &tx), BB_OK);
    wait_durable(&suite, tx);
    cr_assert_eq(next.distinct, 1);
    suite_stop(&suite);
    storage_stop(&next);
}

Test(voters, the_answer_to_an_older_batch_says_nothing_of_the_next_one, .timeout = 20)
{
    struct suite suite = { .storage.node = 1 };
    struct storage next = { .node = 2, .url = "inproc://storage-second" };
    struct naming both = { .count = 0 };
    uint64_t first = 0, second = 0;

    hang_with_a_batch(&suite, "late", &next, &both, &first);
    next.leads = 2;
    wait_durable(&suite, first);
    next.trouble = HOLD_THE_ANSWER;
    cr_assert_eq(submit(&suite, 2, first, &second), BB_OK);
    while (next.held == NULL)
        continue;
    release_append(&suite.storage);
    wait_renewed(&suite.storage);
    cr_assert_eq(follow(&suite, 1, first, 0)->durable, first);
    release_append(&next);
    wait_durable(&suite, second);
    suite_stop(&suite);
    storage_stop(&next);
}
