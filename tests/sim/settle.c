/*
 * The end of a run: the faults are over and everybody is healthy. All that was asked is answered,
 * all subscriptions come to show the newest state, all feeds come to the newest transaction; then
 * the history is judged.
 */
#include <stdio.h>

#include "parts.h"
#include "world.h"

#define WAIT_US      20000
#define APART_WRITES 50  /* of a load of seconds, at the least */
#define PATIENCE_MAX 300 /* looks at one subscription; longer than a lost long poll may take */

static unsigned watch_number, patience, look_number;
static uint64_t newest_tx;

static void next_watch(void *arg);

/* ---- the feeds, then the verdict ---- */

static void end(void)
{
    sim_trace("all is settled at %" PRIu64, newest_tx);
    if (world.scenario->is_steady && sim_storage_term() != world.term)
        sim_fail("steady: nothing befell the storage nodes, and they came from term %" PRIu64
                 " to %" PRIu64,
                 world.term, sim_storage_term());
    if (world.whole_us != 0 && (world.written_late < APART_WRITES || world.refused_late > 0))
        sim_fail("apart: one way is cut, and %" PRIu64 " writes went through, %" PRIu64
                 " calls did not",
                 world.written_late, world.refused_late);
    sim.is_over = true;
}

static void wait_for_feeds(void *arg)
{
    (void)arg;
    if (!sim_followers_have(newest_tx)) {
        (void)sim_after(NULL, WAIT_US, wait_for_feeds, NULL);
        return;
    }
    sim_agree(newest_tx, end);
}

static void on_everything(struct bb_slice reply)
{
    struct bb_slice log = bb_value_field_str(reply, "value");

    newest_tx = (uint64_t)bb_value_float64(bb_value_field_str(reply, "tx"));
    check_add_txn(&world.history, &(struct check_txn){ .id = bb_slice_str("checker"),
                                                       .start_us = sim.now_us,
                                                       .end_us = sim.now_us,
                                                       .at = newest_tx,
                                                       .is_newest = true,
                                                       .log = log });
    wait_for_feeds(NULL);
}

static void look_at_everything(void)
{
    char body[1024] = "{\"path\":\"kv:look\",\"args\":{\"id\":\"all\",\"ops\":[";
    size_t used = strlen(body);

    used += (size_t)snprintf(body + used, sizeof body - used,
                             "[\"scan\",\"a\",\"z\",0,false],[\"vscan\",0,1000000]");
    for (unsigned i = 0; i <= world.scenario->hot_keys; i++) {
        used += (size_t)snprintf(body + used, sizeof body - used,
                                 ",[\"r\",\"l%u\"],[\"r\",\"g%u\"],[\"ri\",\"x%u\"]", i, i, i);
    }
    (void)snprintf(body + used, sizeof body - used, "]}}");
    sim_client_ask("kv:look", body, "all", on_everything);
}

/* ---- subscriptions ---- */

static bool shows(struct bb_slice value)
{
    return watch_number < world.scenario->watches
               ? sim_watch_shows(watch_number, value)
               : sim_session_shows(watch_number - world.scenario->watches, value);
}

static void tell(void)
{
    if (watch_number < world.scenario->watches) {
        sim_watch_tell(watch_number);
    } else {
        sim_session_tell(watch_number - world.scenario->watches);
    }
}

static void on_watch_answer(struct bb_slice reply)
{
    if (shows(bb_value_field_str(reply, "value"))) {
        watch_number++;
        patience = 0;
    } else if (++patience > PATIENCE_MAX) {
        tell();
        return;
    }
    uint64_t delay_us = patience == 0 ? 1 : patience < 50 ? WAIT_US : 10 * WAIT_US;
    (void)sim_after(NULL, delay_us, next_watch, NULL);
}

static void next_watch(void *arg)
{
    char body[256];
    char key[32];

    (void)arg;
    unsigned watches = world.scenario->watches;
    if (watch_number == watches + sim_session_queries()) {
        look_at_everything();
        return;
    }
    (void)snprintf(key, sizeof key, "look-%u", look_number++);
    (void)snprintf(body, sizeof body,
                   "{\"path\":\"kv:look\",\"args\":{\"id\":\"%s\",\"ops\":[%s]}}",
                   watch_number < watches ? "w" : "s",
                   watch_number < watches ? sim_watch_steps(watch_number)
                                          : sim_session_steps(watch_number - watches));
    sim_client_ask("kv:look", body, key, on_watch_answer);
}

/* ---- requests ---- */

static void wait_for_clients(void *arg)
{
    (void)arg;
    if (world.busy_clients > 0 || !sim_operator_is_done()) {
        (void)sim_after(NULL, WAIT_US, wait_for_clients, NULL);
        return;
    }
    sim_trace("all requests are answered");
    next_watch(NULL);
}

void sim_settle(void)
{
    world.is_settling = true;
    sim_faults_end();
    wait_for_clients(NULL);
}
