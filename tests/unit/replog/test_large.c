/* Large entries on their way, and connections that somebody else reads. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"

#define LARGE ((size_t)1 << 20)
#define SMALL ((size_t)1000)
#define PEER  7u

/* What the network was given; it says when it has taken it. */
static struct raft_io_send *taken[8];
static raft_io_send_cb taken_done[8];
static size_t taken_count;
static unsigned sent_entries;

static int take(struct raft_io *io, struct raft_io_send *request,
                const struct raft_message *message, raft_io_send_cb done)
{
    (void)io;
    sent_entries = message->append_entries.n_entries;
    taken[taken_count] = request;
    taken_done[taken_count++] = done;
    return 0;
}

static void ignore(struct raft_io_send *request, int status)
{
    (void)request;
    (void)status;
}

static void end_sends(int status)
{
    for (size_t i = 0; i < taken_count; i++) {
        if (taken_done[i] != NULL)
            taken_done[i](taken[i], status);
    }
    taken_count = 0;
}

struct large_world {
    struct log_world log;
    struct replog_real_io real;
};

static void start(struct large_world *world)
{
    log_init(&world->log);
    cr_assert_eq(log_start(&world->log), BB_OK, "%s", world->log.ctx.error);
    world->real = world->log.replog->real;
    world->log.replog->real.send = take;
    taken_count = 0;
}

static void stop(struct large_world *world)
{
    end_sends(0);
    world->log.replog->real = world->real;
    log_stop(&world->log);
    log_fini(&world->log);
}

static struct raft_io_send request;

/* How many of the entries, which begin at `first`, went out. */
static unsigned send_entries(struct large_world *world, uint64_t first, const size_t *sizes,
                             unsigned count)
{
    struct bb_replog *replog = world->log.replog;
    struct raft_entry entries[4] = { { .term = 1 } };
    struct raft_message message = { .type = RAFT_APPEND_ENTRIES, .server_id = PEER };

    for (unsigned i = 0; i < count; i++)
        entries[i].buf.len = sizes[i];
    message.append_entries.term = raft_current_term(&replog->raft);
    message.append_entries.prev_log_index = first - 1;
    message.append_entries.entries = entries;
    message.append_entries.n_entries = count;
    cr_assert_eq(replog->io.send(&replog->io, &request, &message, ignore), 0);
    return sent_entries;
}

static unsigned send_large(struct large_world *world)
{
    return send_entries(world, 11, (const size_t[]){ LARGE }, 1);
}

static void answer(struct large_world *world, uint64_t rejected, uint64_t last)
{
    struct bb_replog *replog = world->log.replog;
    struct raft_message message = { .type = RAFT_APPEND_ENTRIES_RESULT, .server_id = PEER };

    message.append_entries_result.term = raft_current_term(&replog->raft);
    message.append_entries_result.rejected = rejected;
    message.append_entries_result.last_log_index = last;
    replog_flow_heard(replog, &message);
}

Test(replog_large, entry_goes_once_until_the_node_has_it, .timeout = 20)
{
    struct large_world world;
    start(&world);
    cr_assert_eq(send_large(&world), 1);
    cr_assert_eq(send_large(&world), 0, "a copy while the first one is leaving");
    end_sends(0);
    cr_assert_eq(send_large(&world), 0, "a copy while the node writes it");
    answer(&world, 0, 10);
    cr_assert_eq(send_large(&world), 0, "an answer to a heartbeat is none to the entry");
    answer(&world, 0, 11);
    cr_assert_eq(send_large(&world), 1);
    stop(&world);
}

Test(replog_large, entry_goes_again_when_its_connection_broke, .timeout = 20)
{
    struct large_world world;
    start(&world);
    cr_assert_eq(send_large(&world), 1);
    end_sends(RAFT_IOERR);
    cr_assert_eq(send_large(&world), 1);
    end_sends(0);
    cr_assert_eq(send_large(&world), 0);
    end_sends(RAFT_IOERR); /* of a heartbeat */
    cr_assert_eq(send_large(&world), 1);
    stop(&world);
}

Test(replog_large, entry_goes_again_when_the_node_lacks_it, .timeout = 20)
{
    struct large_world world;
    start(&world);
    cr_assert_eq(send_large(&world), 1);
    answer(&world, 12, 11); /* it has it, and refuses what follows on something else */
    cr_assert_eq(send_large(&world), 0);
    answer(&world, 10, 9);
    cr_assert_eq(send_large(&world), 1);
    stop(&world);
}

Test(replog_large, what_is_small_comes_again_up_to_the_large_one, .timeout = 20)
{
    const size_t sizes[] = { SMALL, SMALL, LARGE, SMALL };
    struct large_world world;
    start(&world);
    cr_assert_eq(send_entries(&world, 9, sizes, 2), 2);
    cr_assert_eq(send_entries(&world, 9, sizes, 2), 2);
    cr_assert_eq(send_entries(&world, 9, sizes, 4), 4);
    cr_assert_eq(send_entries(&world, 9, sizes, 4), 2);
    cr_assert_eq(send_entries(&world, 12, sizes, 1), 1, "what follows is not under way");
    stop(&world);
}

Test(replog_large, a_second_large_entry_follows_the_first, .timeout = 20)
{
    const size_t sizes[] = { LARGE, LARGE };
    struct large_world world;
    start(&world);
    cr_assert_eq(send_entries(&world, 11, sizes, 1), 1);
    cr_assert_eq(send_entries(&world, 12, sizes, 1), 1);
    cr_assert_eq(send_entries(&world, 11, sizes, 2), 0);
    answer(&world, 0, 11);
    cr_assert_eq(send_entries(&world, 12, sizes, 1), 0);
    answer(&world, 0, 12);
    cr_assert_eq(send_entries(&world, 12, sizes, 1), 1);
    stop(&world);
}

Test(replog_large, few_large_entries_are_under_way_at_once, .timeout = 20)
{
    struct large_world world;
    start(&world);
    struct raft *raft = &world.log.replog->raft;
    cr_assert_eq(raft->max_inflight_entries, 32);
    replog_flow_note(world.log.replog, (size_t)4 << 20);
    cr_assert_eq(raft->max_inflight_entries, 4);
    replog_flow_note(world.log.replog, (size_t)20 << 20);
    cr_assert_eq(raft->max_inflight_entries, 1);
    for (size_t i = 0; i < REPLOG_TRAILING_MAX; i++)
        replog_flow_note(world.log.replog, SMALL);
    cr_assert_eq(raft->max_inflight_entries, 32);
    stop(&world);
}

/* ---- a leader that is busy ---- */

#define SECOND_US UINT64_C(1000000)

static bool waits(struct replog_life life, uint64_t silent_us, uint64_t received, uint64_t now_us)
{
    struct replog_silence silence = { .us = silent_us, .received = received, .now_us = now_us };

    return replog_life_waits(&life, &silence);
}

Test(replog_large, a_leader_that_writes_or_sends_a_large_entry_is_waited_for)
{
    struct replog_life wrote = { .spoken = 100, .large_us = 5 * SECOND_US };
    struct replog_life sends = { .spoken = 100 };

    cr_assert(waits(wrote, SECOND_US, 100, 6 * SECOND_US));
    cr_assert(waits(sends, SECOND_US, 4u << 20, 6 * SECOND_US));
    cr_assert(!waits(sends, SECOND_US, 100, 6 * SECOND_US), "it has nothing to do");
    cr_assert(!waits(wrote, SECOND_US, 100, 100 * SECOND_US), "that was long ago");
    cr_assert(!waits(wrote, SECOND_US, 0, 6 * SECOND_US), "its connection has ended");
    cr_assert(!waits(wrote, 2 * SECOND_US, 100, 7 * SECOND_US), "it hangs");
    cr_assert(!waits(sends, 2 * SECOND_US, 4u << 20, 7 * SECOND_US), "it hangs");
}

/* ---- a connection that somebody else reads ---- */

/* Both ends of a connection. */
static void connect_both(int ends[2])
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert_eq(bind(listener, (struct sockaddr *)&address, size), 0);
    cr_assert_eq(listen(listener, 1), 0);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(ends[0], (struct sockaddr *)&address, size), 0);
    ends[1] = accept(listener, NULL, NULL);
    cr_assert_geq(ends[1], 0);
    (void)close(listener);
}

Test(replog_source, counts_what_came_whoever_reads_it, .timeout = 20)
{
    struct replog_source source;
    uint8_t bytes[3000] = { 0 };
    int ends[2];
    int others[2];

    connect_both(ends);
    replog_source_init(&source, PEER, ends[1]);
    uint64_t before = replog_source_received(&source);
    cr_assert_eq(write(ends[0], bytes, sizeof bytes), (ssize_t)sizeof bytes);
    while (replog_source_received(&source) < before + sizeof bytes)
        usleep(1000);
    cr_assert_eq(read(ends[1], bytes, 1000), 1000);
    cr_assert_eq(replog_source_received(&source), before + sizeof bytes);
    (void)close(ends[1]);
    cr_assert_eq(replog_source_received(&source), 0, "it is gone");
    connect_both(others);
    cr_assert(others[0] == ends[1] || others[1] == ends[1], "the number is another one's now");
    cr_assert_eq(replog_source_received(&source), 0);
}
