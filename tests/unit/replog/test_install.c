/* A snapshot that comes from a leader: held until the application has brought the state. */
#include <criterion/criterion.h>

#include "log.h"

struct install_world {
    struct log_world log;
    uint64_t covered;   /* manifests up to this number are covered */
    size_t fetch_count; /* how often the application was asked */
    uint64_t fetch_from, fetch_manifest;
    size_t delivered; /* messages that the log got */
    uint64_t delivered_index;
};

/* What the log would be called with; it owns the message's memory. */
static struct install_world *the_world;

static void count_delivered(struct raft_io *io, struct raft_message *message)
{
    (void)io;
    cr_assert_str_eq(message->server_address, "leader:1");
    the_world->delivered++;
    the_world->delivered_index = message->install_snapshot.last_index;
    raft_configuration_close(&message->install_snapshot.conf);
    raft_free(message->install_snapshot.data.base);
}

static bool covers(void *arg, struct bb_slice manifest)
{
    struct install_world *world = bb_container(arg, struct install_world, log);
    return bb_get_le64(manifest.data) <= world->covered;
}

static void fetch(void *arg, uint64_t from, struct bb_slice manifest)
{
    struct install_world *world = bb_container(arg, struct install_world, log);
    world->fetch_count++;
    world->fetch_from = from;
    world->fetch_manifest = bb_get_le64(manifest.data);
}

static void start(struct install_world *world)
{
    memset(world, 0, sizeof *world);
    the_world = world;
    log_init(&world->log);
    world->log.options.callbacks.covers = covers;
    world->log.options.callbacks.fetch = fetch;
    cr_assert_eq(log_start(&world->log), BB_OK, "%s", world->log.ctx.error);
    world->log.replog->real.recv = count_delivered;
    world->log.durable_index = 1000;
}

/* The message that a leader sends whose snapshot's manifest is `number`. */
static void receive(struct install_world *world, uint64_t from, uint64_t number)
{
    char address[] = "leader:1";
    struct raft_message message = { .type = RAFT_INSTALL_SNAPSHOT,
                                    .server_id = from,
                                    .server_address = address };
    struct raft_install_snapshot *install = &message.install_snapshot;
    struct bb_buf manifest;
    uint8_t bytes[8];
    bb_put_le64(bytes, number);
    bb_buf_init(&manifest);
    replog_manifest_encode(number, bb_slice(bytes, sizeof bytes), &manifest);
    install->last_index = number;
    raft_configuration_init(&install->conf);
    cr_assert_eq(raft_configuration_add(&install->conf, 1, "a:1", RAFT_VOTER), 0);
    install->data.base = raft_malloc(manifest.size);
    install->data.len = manifest.size;
    memcpy(install->data.base, manifest.data, manifest.size);
    bb_buf_fini(&manifest);
    replog_recv(&world->log.replog->io, &message);
    memset(address, 'x', sizeof address - 1); /* the sender's memory is gone after the call */
}

static void stop(struct install_world *world)
{
    log_stop(&world->log);
    log_fini(&world->log);
}

Test(replog_install, state_that_is_here_already_is_not_brought, .timeout = 20)
{
    struct install_world world;
    start(&world);
    world.covered = 50;
    receive(&world, 2, 50);
    cr_assert_eq(world.delivered, 1);
    cr_assert_eq(world.fetch_count, 0);
    stop(&world);
}

Test(replog_install, message_is_held_until_the_state_is_brought_and_others_are_dropped,
     .timeout = 20)
{
    struct install_world world;
    start(&world);
    receive(&world, 2, 50);
    receive(&world, 2, 50);
    receive(&world, 2, 60);
    cr_assert_eq(world.fetch_count, 1);
    cr_assert_eq(world.fetch_from, 2);
    cr_assert_eq(world.fetch_manifest, 50);
    cr_assert_eq(world.delivered, 0);
    world.covered = 55;
    bb_replog_fetched(world.log.replog, BB_OK, 55);
    cr_assert_eq(world.delivered, 1);
    cr_assert_eq(world.delivered_index, 50);
    struct bb_replog_status status;
    bb_replog_status(world.log.replog, &status);
    cr_assert_eq(status.applied, 55);
    /* What was sent before the leader can know of it is no reason to have another one brought. */
    receive(&world, 2, 60);
    cr_assert_eq(world.fetch_count, 1);
    /* One that asks for more later is looked at anew. */
    log_run_ms(&world.log, 1500);
    receive(&world, 3, 60);
    cr_assert_eq(world.fetch_count, 2);
    cr_assert_eq(world.fetch_from, 3);
    bb_replog_fetched(world.log.replog, BB_CANCELLED, 0);
    stop(&world);
}

static uint64_t delivered_commit;

static void keep_commit(struct raft_io *io, struct raft_message *message)
{
    (void)io;
    delivered_commit = message->append_entries.leader_commit;
}

/* libraft would turn its commit index back to the third. */
Test(replog_install, message_promises_nothing_beyond_its_entries, .timeout = 20)
{
    struct install_world world;
    struct raft_message message = { .type = RAFT_APPEND_ENTRIES, .server_id = 2 };
    start(&world);
    world.log.replog->real.recv = keep_commit;
    message.append_entries.prev_log_index = 3;
    message.append_entries.leader_commit = 9;
    replog_recv(&world.log.replog->io, &message);
    cr_assert_eq(delivered_commit, 3);
    message.append_entries.leader_commit = 2;
    replog_recv(&world.log.replog->io, &message);
    cr_assert_eq(delivered_commit, 2);
    stop(&world);
}

static struct raft_request_vote asked;
static int role_when_asked;

static void keep_vote(struct raft_io *io, struct raft_message *message)
{
    (void)io;
    asked = message->request_vote;
    role_when_asked = the_world->log.replog->raft.configuration.servers[0].role;
}

/* The candidate knows of the promotion. libraft gives no vote else, nor forgets the leader. */
Test(replog_install, node_that_does_not_know_of_its_promotion_votes, .timeout = 20)
{
    struct install_world world;
    struct raft_message message = { .type = RAFT_REQUEST_VOTE, .server_id = 2 };
    start(&world);
    struct raft_server *self = &world.log.replog->raft.configuration.servers[0];
    world.log.replog->real.recv = keep_vote;
    message.request_vote.last_log_index = 10;
    replog_recv(&world.log.replog->io, &message);
    cr_assert_eq(role_when_asked, RAFT_VOTER);
    cr_assert_not(asked.disrupt_leader, "a voter forgets its leader by itself");
    self->role = RAFT_STANDBY;
    replog_recv(&world.log.replog->io, &message);
    cr_assert_eq(role_when_asked, RAFT_VOTER);
    cr_assert(asked.disrupt_leader);
    cr_assert_eq(self->role, RAFT_STANDBY);
    /* A leader that is heard stays. */
    world.log.replog->heard_us = bb_loop_now_us(world.log.replog->loop);
    message.request_vote.disrupt_leader = false;
    replog_recv(&world.log.replog->io, &message);
    cr_assert_not(asked.disrupt_leader);
    self->role = RAFT_VOTER;
    stop(&world);
}

static unsigned votes_asked;
static void count_vote(struct raft_io *io, struct raft_message *message)
{
    (void)io;
    (void)message;
    votes_asked++;
}

/* Others that were stopped with it know what it has forgotten, if it has. */
Test(replog_install, b22_candidate_that_lacks_what_a_member_knows_to_be_committed_gets_no_vote,
     .timeout = 20)
{
    struct install_world world;
    struct raft_message message = { .type = RAFT_REQUEST_VOTE, .server_id = 2 };
    start(&world);
    world.log.replog->real.recv = count_vote;
    message.request_vote.last_log_index = 10;
    replog_recv(&world.log.replog->io, &message);
    cr_assert_eq(votes_asked, 1);
    bb_replog_committed(world.log.replog, 11);
    bb_replog_committed(world.log.replog, 7);
    replog_recv(&world.log.replog->io, &message);
    cr_assert_eq(votes_asked, 1, "it is not even considered");
    message.request_vote.last_log_index = 11;
    replog_recv(&world.log.replog->io, &message);
    cr_assert_eq(votes_asked, 2);
    stop(&world);
}

Test(replog_install, newer_message_takes_the_place_of_one_for_which_no_state_could_be_brought,
     .timeout = 20)
{
    struct install_world world;
    start(&world);
    receive(&world, 2, 50);
    receive(&world, 2, 70);
    receive(&world, 2, 60);
    bb_replog_fetched(world.log.replog, BB_PEER_GONE, 0);
    log_run_ms(&world.log, 1500);
    cr_assert_eq(world.fetch_count, 2);
    cr_assert_eq(world.fetch_manifest, 70);
    world.covered = 70;
    bb_replog_fetched(world.log.replog, BB_OK, 70);
    cr_assert_eq(world.delivered_index, 70);
    stop(&world);
}

Test(replog_install, state_that_could_not_be_brought_is_asked_for_again, .timeout = 20)
{
    struct install_world world;
    start(&world);
    receive(&world, 2, 50);
    bb_replog_fetched(world.log.replog, BB_PEER_GONE, 0);
    cr_assert_eq(world.fetch_count, 1, "not at once");
    log_run_ms(&world.log, 1500);
    cr_assert_eq(world.fetch_count, 2);
    bb_replog_fetched(world.log.replog, BB_PEER_GONE, 0);
    /* Another leader's message takes the place of the one that is held. */
    receive(&world, 3, 70);
    log_run_ms(&world.log, 1500);
    cr_assert_eq(world.fetch_count, 3);
    cr_assert_eq(world.fetch_from, 3);
    world.covered = 70;
    bb_replog_fetched(world.log.replog, BB_OK, 70);
    cr_assert_eq(world.delivered_index, 70);
    cr_assert_eq(world.delivered, 1);
    stop(&world);
}

Test(replog_install, message_is_held_while_the_log_writes_a_snapshot_of_its_own, .timeout = 20)
{
    struct install_world world;
    start(&world);
    world.covered = 50;
    world.log.replog->snapshots_in_flight = 1;
    receive(&world, 2, 50);
    cr_assert_eq(world.delivered, 0);
    world.log.replog->snapshots_in_flight = 0;
    log_run_ms(&world.log, 300);
    cr_assert_eq(world.delivered, 1);
    stop(&world);
}

/* What the disk has: index 9 of term 3; the library believed in an older one. */
static int get_newest(struct raft_io *io, struct raft_io_snapshot_get *request,
                      raft_io_snapshot_get_cb done)
{
    struct raft_snapshot snapshot = { .index = 9, .term = 3 };
    (void)io;
    done(request, &snapshot, 0);
    return 0;
}

static void ignore_snapshot(struct raft_io_snapshot_get *request, struct raft_snapshot *snapshot,
                            int status)
{
    (void)request;
    (void)snapshot;
    (void)status;
}

static uint64_t sent_term;

static int note_sent(struct raft_io *io, struct raft_io_send *request,
                     const struct raft_message *message, raft_io_send_cb done)
{
    (void)io;
    (void)request;
    (void)done;
    sent_term = message->install_snapshot.last_term;
    return 0;
}

Test(replog_install, snapshot_goes_out_with_its_own_term, .timeout = 20)
{
    struct install_world world;
    struct raft_io_snapshot_get get;
    struct raft_io_send send;
    struct raft_message message = { .type = RAFT_INSTALL_SNAPSHOT };
    start(&world);
    struct bb_replog *replog = world.log.replog;
    struct replog_real_io real = replog->real;
    replog->real.snapshot_get = get_newest;
    replog->real.send = note_sent;
    cr_assert_eq(replog->io.snapshot_get(&replog->io, &get, ignore_snapshot), 0);
    message.install_snapshot.last_index = 9;
    message.install_snapshot.last_term = 2; /* of the one that was newest before */
    cr_assert_eq(replog->io.send(&replog->io, &send, &message, NULL), 0);
    cr_assert_eq(sent_term, 3);
    message.install_snapshot.last_index = 7;
    cr_assert_eq(replog->io.send(&replog->io, &send, &message, NULL), 0);
    cr_assert_eq(sent_term, 2, "another one than was read");
    replog->real = real;
    stop(&world);
}

Test(replog_install, entries_of_the_log_s_own_behind_the_state_are_no_hole_at_the_next_start,
     .timeout = 20)
{
    struct install_world world;
    start(&world);
    receive(&world, 2, 224);
    world.covered = 224; /* the last of the application's is 222 */
    bb_replog_fetched(world.log.replog, BB_OK, 222);
    cr_assert_eq(world.delivered_index, 224);
    struct bb_replog *replog = world.log.replog;
    static const struct {
        uint64_t data, counts_as;
    } cases[] = { { 221, 221 }, { 222, 224 }, { 223, 224 }, { 224, 224 }, { 230, 230 } };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        replog->applied = cases[i].data;
        cr_assert_eq(replog_read_own(&world.log.ctx, replog), BB_OK);
        cr_assert_eq(replog->applied, cases[i].counts_as);
    }
    stop(&world);
}

Test(replog_install, damaged_file_of_own_entries_is_refused, .timeout = 20)
{
    struct install_world world;
    char path[300];
    start(&world);
    world.covered = 50;
    receive(&world, 2, 50);
    cr_assert_eq(world.delivered, 1);
    (void)snprintf(path, sizeof path, "%s/own", world.log.replog->dir);
    cr_assert_eq(bb_file_write_all(&world.log.ctx, path, bb_slice("BBLO", 4), 0600), BB_OK);
    cr_assert_eq(replog_read_own(&world.log.ctx, world.log.replog), BB_CORRUPT);
    stop(&world);
}

Test(replog_install, log_keeps_what_is_applied_until_the_disk_has_it_elsewhere, .timeout = 20)
{
    struct install_world world;
    start(&world);
    world.log.replog->shown = world.log.replog->applied = 40;
    world.log.durable_index = 39;
    world.covered = 50;
    receive(&world, 2, 50);
    log_run_ms(&world.log, 300);
    cr_assert_eq(world.delivered, 0);
    world.log.durable_index = 40;
    log_run_ms(&world.log, 300);
    cr_assert_eq(world.delivered, 1);
    cr_assert_eq(world.fetch_count, 0);
    stop(&world);
}
