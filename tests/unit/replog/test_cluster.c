/* Several nodes over real sockets and disks: who leads, who is let in, what is never lost. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster.h"

static void start_all(struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->voter_count; i++)
        cluster_start(cluster, i);
    cluster_until(cluster, cluster_has_leader);
}

Test(replog_cluster, three_voters_apply_what_is_acknowledged_in_one_order, .timeout = 60)
{
    struct cluster cluster;
    cluster_init(&cluster, 3, 3);
    start_all(&cluster);
    cluster_write(&cluster, 50, 200);
    cluster_until(&cluster, cluster_is_equal);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_geq(cluster.nodes[i].count, 50);
        cluster_check_ledger(&cluster, i);
    }
    cluster_fini(&cluster);
}

static bool all_are_current(struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->node_count; i++) {
        if (cluster->nodes[i].is_up && !cluster->nodes[i].role.is_current)
            return false;
    }
    return true;
}

/* Of the TCP connections of this process; `at_once`: of those that do not wait to fill a packet. */
static size_t count_connections(size_t *at_once)
{
    size_t count = 0;

    *at_once = 0;
    for (int fd = 0; fd < 1024; fd++) {
        struct sockaddr_storage peer;
        socklen_t size = sizeof peer, length = sizeof(int);
        int no_delay = 0;
        if (getpeername(fd, (struct sockaddr *)&peer, &size) != 0 || peer.ss_family != AF_INET ||
            getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, &length) != 0)
            continue;
        count += 1;
        *at_once += no_delay != 0;
    }
    return count;
}

Test(replog_cluster, small_messages_do_not_wait_for_acknowledgements, .timeout = 60)
{
    struct cluster cluster;
    size_t count, at_once;

    cluster_init(&cluster, 3, 3);
    start_all(&cluster);
    cluster_write(&cluster, 5, 200);
    count = count_connections(&at_once);
    cr_assert_geq(count, 8); /* to each follower and back, both ends */
    cr_assert_eq(at_once, count);
    cluster_fini(&cluster);
}

static size_t sent_count;
static int (*real_send)(struct raft_io *io, struct raft_io_send *request,
                        const struct raft_message *message, raft_io_send_cb done);

static int count_send(struct raft_io *io, struct raft_io_send *request,
                      const struct raft_message *message, raft_io_send_cb done)
{
    sent_count += message->type == RAFT_APPEND_ENTRIES;
    return real_send(io, request, message, done);
}

/* How many heartbeats one pulse of the node sends when some are due. */
static size_t pulse(struct bb_replog *replog)
{
    real_send = replog->real.send;
    replog->real.send = count_send;
    sent_count = 0;
    usleep((REPLOG_HEARTBEAT_MS + 10) * 1000);
    bb_replog_pulse(replog);
    replog->real.send = real_send;
    return sent_count;
}

Test(replog_cluster, b22_leader_in_a_long_turn_says_that_it_is_alive, .timeout = 60)
{
    struct cluster cluster;
    cluster_init(&cluster, 3, 3);
    start_all(&cluster);
    cluster_write(&cluster, 5, 200);
    cluster_until(&cluster, cluster_is_equal);
    struct cluster_node *leader = cluster_leader(&cluster);
    uint64_t term = leader->role.term;
    cr_assert_eq(pulse(leader->replog), 2);
    cr_assert_eq(pulse(cluster.nodes[leader == &cluster.nodes[0] ? 1 : 0].replog), 0);
    /* What the others said meanwhile lies there unread: that is no reason to step down. */
    leader->replog->raft.election_timer_start = 0;
    (void)pulse(leader->replog);
    cr_assert(replog_is_leader(leader->replog));
    cluster_write(&cluster, 5, 200);
    cr_assert_eq(leader->role.term, term);
    cluster_fini(&cluster);
}

Test(replog_cluster, b22_leaders_that_go_lose_nothing_acknowledged, .timeout = 120)
{
    struct cluster cluster;
    cluster_init(&cluster, 3, 3);
    start_all(&cluster);
    for (int round = 0; round < 4; round++) {
        cluster_write(&cluster, 20, 300);
        size_t leader = cluster_leader(&cluster)->id - 1;
        cluster_propose(&cluster, 300); /* whatever becomes of it */
        cluster_kill(&cluster, leader);
        cluster_write(&cluster, 20, 300);
        cluster_start(&cluster, leader);
        cluster_until(&cluster, all_are_current);
    }
    cluster_until(&cluster, cluster_is_equal);
    for (size_t i = 0; i < 3; i++)
        cluster_check_ledger(&cluster, i);
    /* All of them at once. */
    for (size_t i = 0; i < 3; i++)
        cluster_kill(&cluster, i);
    start_all(&cluster);
    cluster_write(&cluster, 5, 300);
    cluster_until(&cluster, cluster_is_equal);
    for (size_t i = 0; i < 3; i++)
        cluster_check_ledger(&cluster, i);
    cluster_fini(&cluster);
}

Test(replog_cluster, minority_does_not_lead_nor_acknowledge, .timeout = 60)
{
    struct cluster cluster;
    cluster_init(&cluster, 3, 3);
    start_all(&cluster);
    cluster_write(&cluster, 5, 100);
    size_t leader = cluster_leader(&cluster)->id - 1;
    for (size_t i = 0; i < 3; i++) {
        if (i != leader)
            cluster_kill(&cluster, i);
    }
    size_t before = cluster.acknowledged_count;
    cluster_propose(&cluster, 100);
    cluster_run_ms(&cluster, 2000);
    cr_assert_eq(cluster.acknowledged_count, before);
    cr_assert_null(cluster_leader(&cluster), "a leader without a majority steps down");
    cluster_fini(&cluster);
}

Test(replog_cluster, node_with_another_secret_is_not_let_in, .timeout = 60)
{
    struct cluster cluster;
    cluster_init(&cluster, 3, 3);
    cluster.nodes[2].secret = "a secret that was guessed";
    start_all(&cluster);
    cluster_write(&cluster, 10, 100);
    cluster_run_ms(&cluster, 1500);
    cr_assert_neq(cluster_leader(&cluster)->id, 3);
    cr_assert_eq(cluster.nodes[2].count, 0);
    cr_assert_eq(cluster.nodes[2].role.leader, 0, "it does not even hear who leads");
    /* With the right one it is let in and gets all. */
    cluster_kill(&cluster, 2);
    cluster.nodes[2].secret = cluster.nodes[0].secret;
    cluster_start(&cluster, 2);
    cluster_until(&cluster, cluster_is_equal);
    cluster_check_ledger(&cluster, 2);
    cluster_fini(&cluster);
}

static bool second_was_refused(struct cluster *cluster)
{
    return cluster->nodes[1].was_refused;
}

static bool one_was_refused(struct cluster *cluster)
{
    return cluster->nodes[0].was_refused || cluster->nodes[1].was_refused ||
           cluster->nodes[2].was_refused;
}

Test(replog_cluster, node_that_lost_its_disk_is_not_let_in_under_its_old_name, .timeout = 60)
{
    struct cluster cluster;
    cluster_init(&cluster, 3, 3);
    start_all(&cluster);
    cluster_write(&cluster, 10, 100);
    struct cluster_node *lost = &cluster.nodes[cluster_leader(&cluster)->id % 3]; /* a follower */
    cluster_kill(&cluster, lost->id - 1);
    lost->incarnation[0] ^= 1;
    cluster_start(&cluster, lost->id - 1);
    cluster_until(&cluster, one_was_refused);
    cr_assert(lost->was_refused);
    cluster_write(&cluster, 10, 100);
    cr_assert_eq(lost->role.leader, 0);
    cluster_fini(&cluster);
}

Test(replog_cluster, b22_node_that_forgot_all_gives_no_vote_to_one_that_is_behind, .timeout = 60)
{
    struct cluster cluster;
    cluster_init(&cluster, 3, 3);
    start_all(&cluster);
    cluster_write(&cluster, 5, 100);
    cluster_until(&cluster, cluster_is_equal);
    cluster_kill(&cluster, 2);
    cluster_write(&cluster, 10, 100);
    cluster_kill(&cluster, 0);
    cluster_kill(&cluster, 1);
    /* The third one does not know that the second was another one. */
    cluster_lose_disk(&cluster, 1);
    cluster_start(&cluster, 1);
    cluster_start(&cluster, 2);
    cluster_run_ms(&cluster, 3000);
    cr_assert_null(cluster_leader(&cluster), "ten acknowledged values would be lost");
    cluster_start(&cluster, 0);
    cluster_until(&cluster, cluster_has_leader);
    cluster_until(&cluster, cluster_is_equal);
    for (size_t i = 0; i < 3; i++)
        cluster_check_ledger(&cluster, i);
    cluster_fini(&cluster);
}

/* Names of segments begin with their first index. */
static int is_last_segment(const struct dirent *entry)
{
    return strtoull(entry->d_name, NULL, 10) > 1 && strchr(entry->d_name, '-') != NULL;
}

static void lose_last_segment(const struct cluster_node *node)
{
    struct dirent **names;
    char path[512];
    int count = scandir(node->dir, &names, is_last_segment, alphasort);
    cr_assert_gt(count, 0, "no segment but the first");
    snprintf(path, sizeof path, "%s/%s", node->dir, names[count - 1]->d_name);
    cr_assert_eq(unlink(path), 0);
    while (count > 0)
        free(names[--count]);
    free(names);
}

Test(replog_cluster, b22_log_that_lost_its_end_is_refused, .timeout = 60)
{
    struct cluster cluster;
    cluster_init(&cluster, 3, 3);
    start_all(&cluster);
    cluster_write(&cluster, 5, 100);
    for (int round = 0; round < 2; round++) { /* a segment ends where its node does */
        cluster_until(&cluster, cluster_is_equal);
        cluster_run_ms(&cluster, 100); /* the followers' disks have it as well */
        for (size_t i = 0; i < 3; i++)
            cluster_kill(&cluster, i);
        if (round == 0) {
            start_all(&cluster);
            cluster_write(&cluster, 10, 100);
        }
    }
    cr_assert_geq(cluster.nodes[1].logged, 15);
    lose_last_segment(&cluster.nodes[1]);
    cr_assert_eq(cluster_try_start(&cluster, 1), BB_CORRUPT,
                 "it would vote for a log without them");
    cr_assert_not_null(strstr(cluster.ctx.error, "and had all up to entry"), "%s",
                       cluster.ctx.error);
    cluster_start(&cluster, 0);
    cluster_start(&cluster, 2);
    cluster_until(&cluster, cluster_has_leader);
    cluster_write(&cluster, 5, 100);
    cluster_until(&cluster, cluster_is_equal);
    cluster_check_ledger(&cluster, 0);
    cluster_fini(&cluster);
}

Test(replog_cluster, b22_leader_that_lacks_what_was_committed_is_not_followed, .timeout = 60,
     .exit_code = REPLOG_EXIT_IO)
{
    struct cluster cluster;
    cluster_init(&cluster, 3, 3);
    start_all(&cluster);
    cluster_write(&cluster, 10, 100);
    cluster_until(&cluster, cluster_is_equal);
    cluster_run_ms(&cluster, 100);
    for (size_t i = 0; i < 3; i++)
        cluster_kill(&cluster, i);
    /* Most have lost all they had, and nobody saw it. */
    cluster_lose_disk(&cluster, 1);
    cluster_lose_disk(&cluster, 2);
    for (int term = 0; term < 4; term++) { /* a later one than those of what was lost */
        cluster_kill(&cluster, 1);
        cluster_kill(&cluster, 2);
        cluster_start(&cluster, 1);
        cluster_start(&cluster, 2);
        cluster_until(&cluster, cluster_has_leader);
    }
    cluster_write(&cluster, 3, 100);
    cluster_start(&cluster, 0);
    cluster_run_ms(&cluster, 5000);
    cr_assert_fail("what was acknowledged was taken out of the last log that had it");
}

Test(replog_cluster, refused_node_hears_why, .timeout = 60)
{
    struct cluster cluster;
    cluster_init(&cluster, 2, 2);
    cluster.nodes[0].refuses_peers = true;
    cluster_start(&cluster, 0);
    cluster_start(&cluster, 1);
    cluster_until(&cluster, second_was_refused);
    cr_assert_str_eq(cluster.nodes[1].why, "node 2 is not wanted");
    cr_assert_null(cluster_leader(&cluster));
    cluster_fini(&cluster);
}

/* What a scanner or a fuzzer would send. */
static void send_garbage(struct cluster *cluster, const char *address, const char *bytes,
                         size_t size)
{
    struct sockaddr_in name = { .sin_family = AF_INET };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    uv_ip4_addr("127.0.0.1", atoi(strchr(address, ':') + 1), &name);
    cr_assert_eq(connect(fd, (struct sockaddr *)&name, sizeof name), 0);
    cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
    cluster_run_ms(cluster, 50);
    close(fd);
}

Test(replog_cluster, garbage_on_the_port_changes_nothing, .timeout = 60)
{
    struct cluster cluster;
    /* libraft's own handshake: version 1, node 2, an address of 8 bytes; then a wrong hello. */
    char preamble[24 + 8 + 200] = { 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 8 };
    cluster_init(&cluster, 3, 3);
    start_all(&cluster);
    cluster_write(&cluster, 5, 100);
    memcpy(preamble + 24, "name:99", 8);
    memset(preamble + 32, 0x5a, 200);
    for (size_t i = 0; i < 3; i++) {
        send_garbage(&cluster, cluster.nodes[i].address, "GET / HTTP/1.1\r\n\r\n", 18);
        send_garbage(&cluster, cluster.nodes[i].address, preamble, sizeof preamble);
        send_garbage(&cluster, cluster.nodes[i].address, preamble, 40);
    }
    cluster_write(&cluster, 5, 100);
    cluster_until(&cluster, cluster_is_equal);
    cluster_fini(&cluster);
}

Test(replog_cluster, leadership_is_handed_over_and_held_writes_are_not_lost, .timeout = 60)
{
    struct cluster cluster;
    cluster_init(&cluster, 3, 3);
    start_all(&cluster);
    for (int round = 0; round < 5; round++) {
        cluster_write(&cluster, 10, 1000);
        struct cluster_node *before = cluster_leader(&cluster);
        cluster.is_changed = false;
        cluster_propose(&cluster, 1000);
        cr_assert_eq(
            bb_replog_transfer(&cluster.ctx, before->replog, 0, cluster_on_changed, &cluster),
            BB_OK, "%s", cluster.ctx.error);
        cr_assert(cluster_propose(&cluster, 1000), "held, not refused");
        cr_assert_eq(
            bb_replog_transfer(&cluster.ctx, before->replog, 0, cluster_on_changed, &cluster),
            BB_BUSY);
        cluster_until(&cluster, cluster_is_changed);
        cr_assert_eq(cluster.change_status, BB_OK);
        cluster_until(&cluster, cluster_has_leader);
        cr_assert_neq(cluster_leader(&cluster)->id, before->id);
        cluster_until(&cluster, cluster_is_quiet);
    }
    cr_assert_eq(cluster.unknown_count, 0);
    cr_assert_eq(cluster.refused_count, 5, "what was held went back to whoever proposed it");
    cluster_until(&cluster, cluster_is_equal);
    for (size_t i = 0; i < 3; i++)
        cluster_check_ledger(&cluster, i);
    cluster_fini(&cluster);
}

Test(replog_cluster, transfer_to_a_dead_node_gives_up_and_writes_go_on, .timeout = 60)
{
    struct cluster cluster;
    cluster_init(&cluster, 3, 3);
    start_all(&cluster);
    struct cluster_node *leader = cluster_leader(&cluster);
    size_t dead = leader->id % 3;
    cluster_kill(&cluster, dead);
    cluster_write(&cluster, 5, 100);
    cr_assert_eq(
        bb_replog_transfer(&cluster.ctx, leader->replog, dead + 1, cluster_on_changed, &cluster),
        BB_OK);
    cluster_propose(&cluster, 100);
    cluster_until(&cluster, cluster_is_changed);
    cr_assert_eq(cluster.change_status, BB_TIMEOUT);
    cluster_write(&cluster, 5, 100);
    cr_assert_eq(
        bb_replog_transfer(&cluster.ctx, leader->replog, leader->id, cluster_on_changed, &cluster),
        BB_NOT_FOUND);
    cluster_fini(&cluster);
}

static int change(struct cluster *cluster, int rc)
{
    if (rc != BB_OK)
        return rc;
    /* Writes go on meanwhile. */
    for (int i = 0; i < 2000 && !cluster->is_changed; i++)
        cluster_write(cluster, 1, 500);
    cluster_until(cluster, cluster_is_changed);
    cluster->is_changed = false;
    return cluster->change_status;
}

/* As an operator does it: the leader may change meanwhile, and then nobody knows. */
static void remove_surely(struct cluster *cluster, uint64_t id)
{
    struct bb_replog_member members[BB_REPLOG_MEMBERS_MAX];
    size_t count =
        bb_replog_members(cluster_leader(cluster)->replog, members, BB_COUNT_OF(members));
    size_t left = count;

    for (int tries = 0; left == count; tries++) {
        cr_assert_lt(tries, 200, "%s", cluster->ctx.error);
        cluster_until(cluster, cluster_has_leader);
        (void)change(cluster, bb_replog_remove(&cluster->ctx, cluster_leader(cluster)->replog, id,
                                               cluster_on_changed, cluster));
        cluster_write(cluster, 1, 500);
        left = bb_replog_members(cluster_leader(cluster)->replog, members, BB_COUNT_OF(members));
    }
    cr_assert_eq(left, count - 1);
}

static bool third_leads(struct cluster *cluster)
{
    return cluster_has_leader(cluster) && cluster_leader(cluster)->id == 3;
}

/* A node that was away gets it in one message with others; libraft notes it wrongly then. */
Test(replog_cluster, a_change_that_comes_among_other_entries_is_known_as_done, .timeout = 60)
{
    struct cluster cluster;
    cluster_init(&cluster, 4, 3);
    start_all(&cluster);
    cluster_write(&cluster, 5, 100);
    if (cluster_leader(&cluster)->id == 3) {
        cr_assert_eq(change(&cluster, bb_replog_transfer(&cluster.ctx, cluster.nodes[2].replog, 1,
                                                         cluster_on_changed, &cluster)),
                     BB_OK);
        cluster_until(&cluster, cluster_has_leader);
    }
    cluster_kill(&cluster, 2);
    cluster_write(&cluster, 5, 100);
    struct bb_replog *leader = cluster_leader(&cluster)->replog;
    cr_assert_eq(change(&cluster, bb_replog_add(&cluster.ctx, leader, 4, cluster.nodes[3].address,
                                                cluster_on_changed, &cluster)),
                 BB_OK);
    cluster_write(&cluster, 5, 100);
    cluster_start(&cluster, 2);
    cluster_write(&cluster, 5, 100);
    cluster_until(&cluster, cluster_is_equal);
    for (int tries = 0; !third_leads(&cluster) && tries < 20; tries++) {
        (void)change(&cluster, bb_replog_transfer(&cluster.ctx, cluster_leader(&cluster)->replog, 3,
                                                  cluster_on_changed, &cluster));
        cluster_until(&cluster, cluster_has_leader);
    }
    cluster_until(&cluster, third_leads);
    remove_surely(&cluster, 4);
    cluster_fini(&cluster);
}

Test(replog_cluster, one_voter_grows_to_three_and_shrinks_under_load, .timeout = 120)
{
    struct cluster cluster;
    struct bb_replog_member members[BB_REPLOG_MEMBERS_MAX];
    cluster_init(&cluster, 3, 1);
    cluster_start(&cluster, 0);
    cluster_until(&cluster, cluster_has_leader);
    cluster_write(&cluster, 30, 500);
    struct bb_replog *leader = cluster.nodes[0].replog;
    for (size_t i = 1; i < 3; i++) {
        cluster_start(&cluster, i);
        uint64_t id = cluster.nodes[i].id;
        cr_assert_eq(
            change(&cluster, bb_replog_add(&cluster.ctx, leader, id, cluster.nodes[i].address,
                                           cluster_on_changed, &cluster)),
            BB_OK);
        cr_assert_eq(change(&cluster, bb_replog_assign(&cluster.ctx, leader, id, BB_REPLOG_STANDBY,
                                                       cluster_on_changed, &cluster)),
                     BB_OK);
        cr_assert_eq(change(&cluster, bb_replog_assign(&cluster.ctx, leader, id, BB_REPLOG_VOTER,
                                                       cluster_on_changed, &cluster)),
                     BB_OK);
    }
    cr_assert_eq(bb_replog_members(leader, members, BB_REPLOG_MEMBERS_MAX), 3);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(members[i].id, i + 1);
        cr_assert_eq(members[i].role, BB_REPLOG_VOTER);
    }
    cluster_until(&cluster, cluster_is_equal);
    /* The first one dies and goes; the others go on. */
    cluster_kill(&cluster, 0);
    cluster_write(&cluster, 10, 500);
    remove_surely(&cluster, 1);
    leader = cluster_leader(&cluster)->replog;
    uint64_t next = cluster_leader(&cluster)->id;
    cluster_until(&cluster, cluster_is_equal);
    cluster_check_ledger(&cluster, 1);
    cluster_check_ledger(&cluster, 2);
    /* Odd requests are told apart and change nothing. */
    struct bb_ctx *ctx = &cluster.ctx;
    cr_assert_eq(bb_replog_add(ctx, leader, next, "x:1", cluster_on_changed, &cluster), BB_EXISTS);
    cr_assert_eq(bb_replog_remove(ctx, leader, 9, cluster_on_changed, &cluster), BB_NOT_FOUND);
    cr_assert_eq(bb_replog_assign(ctx, leader, 9, BB_REPLOG_VOTER, cluster_on_changed, &cluster),
                 BB_NOT_FOUND);
    cr_assert_eq(bb_replog_assign(ctx, leader, next, BB_REPLOG_VOTER, cluster_on_changed, &cluster),
                 BB_EXISTS);
    struct bb_replog *follower = cluster.nodes[next == 2 ? 2 : 1].replog;
    cr_assert_eq(bb_replog_remove(ctx, follower, 2, cluster_on_changed, &cluster), BB_NOT_LEADER);
    cluster_fini(&cluster);
}

Test(replog_cluster, node_that_cannot_be_reached_is_not_made_a_voter, .timeout = 60)
{
    struct cluster cluster;
    cluster_init(&cluster, 2, 1);
    cluster_start(&cluster, 0);
    cluster_until(&cluster, cluster_has_leader);
    struct bb_replog *leader = cluster.nodes[0].replog;
    cr_assert_eq(change(&cluster, bb_replog_add(&cluster.ctx, leader, 2, cluster.nodes[1].address,
                                                cluster_on_changed, &cluster)),
                 BB_OK);
    cr_assert_eq(
        bb_replog_assign(&cluster.ctx, leader, 2, BB_REPLOG_VOTER, cluster_on_changed, &cluster),
        BB_OK);
    cr_assert_eq(bb_replog_remove(&cluster.ctx, leader, 2, cluster_on_changed, &cluster), BB_BUSY);
    cluster_until(&cluster, cluster_is_changed);
    cr_assert_eq(cluster.change_status, BB_PEER_GONE);
    cluster_write(&cluster, 3, 100);
    cluster_fini(&cluster);
}

Test(replog_cluster, node_that_fell_behind_the_cut_log_is_brought_forward, .timeout = 120)
{
    struct cluster cluster;
    cluster_init(&cluster, 3, 3);
    cluster.snapshot_bytes = 256 << 10;
    start_all(&cluster);
    cluster_write(&cluster, 20, 1000);
    size_t away = cluster_leader(&cluster)->id % 3;
    cluster_kill(&cluster, away);
    size_t had = cluster.nodes[away].count;
    cluster_write(&cluster, 400, 8000); /* about twelve cuts */
    cluster_start(&cluster, away);
    cluster_until(&cluster, cluster_is_equal);
    cr_assert_geq(cluster.nodes[away].fetch_count, 1, "it had %d of %d", (int)had,
                  (int)cluster.nodes[away].count);
    cluster_write(&cluster, 50, 1000);
    cluster_until(&cluster, cluster_is_equal);
    cluster_check_ledger(&cluster, away);
    /* And it goes on from there after a restart. */
    cluster_kill(&cluster, away);
    cluster_start(&cluster, away);
    cluster_write(&cluster, 50, 1000);
    cluster_until(&cluster, cluster_is_equal);
    cluster_check_ledger(&cluster, away);
    cluster_fini(&cluster);
}

static bool is_asked_for_a_state(struct cluster *cluster)
{
    size_t count = 0;

    for (size_t i = 0; i < cluster->node_count; i++) {
        count += cluster->nodes[i].fetch_count;
    }
    return count > 0;
}

/* How often a node is brought a state while as much is written as makes a dozen cuts. */
static size_t bring_under_load(uint64_t hold_bytes_max)
{
    struct cluster cluster;

    cluster_init(&cluster, 3, 3);
    cluster.snapshot_bytes = 256 << 10;
    cluster.hold_bytes_max = hold_bytes_max;
    start_all(&cluster);
    cluster_write(&cluster, 20, 1000);
    size_t away = cluster_leader(&cluster)->id % 3;
    cluster_kill(&cluster, away);
    cluster_write(&cluster, 400, 8000);
    cluster.is_way_shut = true;
    cluster_start(&cluster, away);
    cluster_until(&cluster, is_asked_for_a_state);
    cluster_write(&cluster, 400, 8000);
    cluster.is_way_shut = false;
    cluster_until(&cluster, cluster_is_equal);
    cluster_check_ledger(&cluster, away);
    size_t count = cluster.nodes[away].fetch_count;
    cluster_fini(&cluster);
    return count;
}

Test(replog_cluster, b22_log_is_kept_for_a_node_while_a_state_is_on_its_way, .timeout = 120)
{
    cr_assert_eq(bring_under_load(0), 1);
}

Test(replog_cluster, log_that_is_kept_for_a_node_is_bounded, .timeout = 120)
{
    cr_assert_gt(bring_under_load(1 << 20), 1, "the first state was too old when it came");
}

Test(replog_cluster, restart_with_data_behind_the_cut_log_replays, .timeout = 120)
{
    struct cluster cluster;
    cluster_init(&cluster, 3, 3);
    cluster.snapshot_bytes = 256 << 10;
    for (size_t i = 0; i < 3; i++)
        cluster.nodes[i].durable_lag = 40;
    start_all(&cluster);
    cluster_write(&cluster, 300, 8000);
    cluster_until(&cluster, cluster_is_equal);
    for (size_t i = 0; i < 3; i++) {
        cluster_kill(&cluster, i);
        cluster.nodes[i].count -= 40; /* what a killed node's disk lacks */
    }
    start_all(&cluster);
    cluster_write(&cluster, 10, 100);
    cluster_until(&cluster, cluster_is_equal);
    for (size_t i = 0; i < 3; i++)
        cluster_check_ledger(&cluster, i);
    cluster_fini(&cluster);
}

Test(replog_cluster, port_that_others_reach_needs_a_secret, .timeout = 20)
{
    struct cluster cluster;
    struct bb_replog *replog;
    cluster_init(&cluster, 1, 1);
    struct bb_replog_options options = {
        .dir = cluster.nodes[0].dir, .id = 1, .address = "a:1", .listen = "0.0.0.0:19999"
    };
    cr_assert_eq(bb_replog_open(&cluster.ctx, cluster.loop, &options, &replog), BB_BAD_REQUEST);
    cr_assert(strstr(cluster.ctx.error, "--secret-file") != NULL, "%s", cluster.ctx.error);
    options.listen = "localhost:19999";
    cr_assert_eq(bb_replog_open(&cluster.ctx, cluster.loop, &options, &replog), BB_BAD_REQUEST);
    cr_assert(strstr(cluster.ctx.error, "numeric") != NULL, "%s", cluster.ctx.error);
    cluster_fini(&cluster);
}

static void same_always(struct bb_env *env, void *to, size_t size)
{
    (void)env;
    memset(to, 0x5a, size);
}

static unsigned random_after_start(struct bb_env *env)
{
    struct cluster cluster;
    cluster_init(&cluster, 1, 1);
    cluster.ctx.env = env;
    cluster_start(&cluster, 0);
    unsigned random = cluster.nodes[0].replog->raft.random;
    cluster_fini(&cluster);
    return random;
}

/* Nodes that draw the same numbers begin their elections at the same moments, and nobody wins. */
Test(replog_cluster, elections_are_spread_by_the_randomness_of_the_environment, .timeout = 20)
{
    struct bb_env_ops ops = *bb_env_real()->ops;
    struct bb_env same = { .ops = &ops };
    ops.random = same_always;
    cr_assert_eq(random_after_start(&same), random_after_start(&same));
    cr_assert_neq(random_after_start(bb_env_real()), random_after_start(bb_env_real()));
}
