/*
 * Who is alive, told apart from who has been heard.
 *
 * A message counts when all of it has come. While a large one comes, nothing else does on its
 * connection: a follower that hears nothing for an election timeout would take its leader for dead,
 * and a leader that gets no answers would step down. So when the leader is silent and bytes of it
 * still come, the follower behaves as if a heartbeat had come, and answers it. A leader that hangs
 * sends no bytes but those that the kernels hold already, and is replaced soon after those are
 * through, and one that stepped down asks for votes in messages that are too small to count. One
 * whose connection has ended is missed at once, so that there can be more patience with one that is
 * busy: a process that is killed ends its connections, one that works does not.
 *
 * Time that this process did not see counts for nobody either: a loop that was busy for long finds
 * its timers due before it looks at what has come meanwhile. The library hears of the time only
 * when the connections have been read once more. And a leader that nobody answers steps down later
 * than followers that hear nothing elect another one: they may all be busy with what it sent.
 *
 * A large entry costs a leader several copies in one turn of its loop, in which it neither reads
 * nor answers; where processors are short that takes longer than others wait. So it sends
 * heartbeats between the copies, and for a minute after a large entry, or while one comes, its
 * followers have more patience with a connection that stands.
 */
#include "replog_internal.h"

#include <stdio.h>

#define SILENT_US    100000u
#define SIGN_BYTES   1024u /* a request for a vote has a tenth of it */
#define LATE_US      (REPLOG_HEARTBEAT_MS * UINT64_C(3000))
#define STEP_DOWN_MS 1000u
#define LOST_MS      100u /* and as much again, by chance: followers miss it together */
#define NEVER_MS     (24u * 3600 * 1000)
/* Who has had to do with so much may be silent for so long, and then for as long as others. Batches
 * of many small writes stay below. */
#define BUSY_BYTES  (2u << 20)
#define BUSY_FOR_US 60000000u
#define BUSY_US     1500000u

/* As an empty message of the leader that names no entry and no commit: it changes nothing but the
 * time when the leader was heard, and is answered. */
static void hear(struct bb_replog *replog, uint64_t leader, const char *address)
{
    char copy[256];
    struct raft_message message = { .type = RAFT_APPEND_ENTRIES,
                                    .server_id = leader,
                                    .server_address = copy };

    message.append_entries.term = raft_current_term(&replog->raft);
    if (snprintf(copy, sizeof copy, "%s", address) >= (int)sizeof copy)
        return;
    replog->heard_us = replog->life.sign_us = bb_loop_now_us(replog->loop);
    replog->real.recv(&replog->io, &message);
}

/* The follower's patience ends soon. */
static void miss(struct bb_replog *replog)
{
    struct raft *raft = &replog->raft;
    raft_time patience_ms = raft->follower_state.randomized_election_timeout;
    uint8_t chance;

    bb_random(&replog->ctx, &chance, sizeof chance);
    raft_time due_ms = replog->io.time(&replog->io) + LOST_MS + chance * LOST_MS / 256;
    if (due_ms > patience_ms && due_ms < raft->election_timer_start + patience_ms)
        raft->election_timer_start = due_ms - patience_ms;
}

void replog_life_note(struct bb_replog *replog, size_t bytes)
{
    if (bytes >= BUSY_BYTES)
        replog->life.large_us = bb_loop_now_us(replog->loop);
}

static bool had_large(const struct replog_life *life, uint64_t now_us)
{
    return life->large_us != 0 && now_us - life->large_us < BUSY_FOR_US;
}

bool replog_life_waits(const struct replog_life *life, const struct replog_silence *silence)
{
    bool comes = silence->received >= life->spoken + BUSY_BYTES;

    return silence->received > 0 && silence->us >= SILENT_US && silence->us < BUSY_US &&
           (comes || had_large(life, silence->now_us));
}

/* The follower's patience begins anew. */
static void put_off(struct bb_replog *replog)
{
    replog->raft.election_timer_start = replog->io.time(&replog->io);
}

static void look_at_leader(struct bb_replog *replog)
{
    struct replog_life *life = &replog->life;
    const char *address = NULL;
    raft_id leader = 0;

    raft_leader(&replog->raft, &leader, &address);
    if (leader == 0 || address == NULL || replog->raft.state != RAFT_FOLLOWER) {
        life->leader = 0;
        return;
    }
    uint64_t before = leader == life->leader ? life->received : 0;
    uint64_t received = replog_peers_received(replog, leader);
    uint64_t now_us = bb_loop_now_us(replog->loop);
    uint64_t silent_us = now_us - replog->heard_us;
    bool is_silent = silent_us >= SILENT_US;
    bool has_moved = before > 0 && received >= before + SIGN_BYTES;
    life->leader = leader;
    if (before == 0 || (!is_silent && replog->heard_us != life->sign_us))
        life->spoken = received;
    struct replog_silence silence = { .us = silent_us, .received = received, .now_us = now_us };
    if (replog_life_waits(life, &silence))
        put_off(replog);
    if (is_silent && before > 0 && received > 0 && !has_moved)
        return; /* the few that came count with those that follow */
    life->received = received;
    if (before > 0 && received == 0) {
        miss(replog);
    } else if (is_silent && has_moved) {
        hear(replog, leader, address);
    }
}

void bb_replog_pulse(struct bb_replog *replog)
{
    if (!replog->is_started || replog->is_closing || !replog_is_leader(replog))
        return;
    uv_update_time(bb_loop_uv(replog->loop));
    raft_set_election_timeout(&replog->raft, NEVER_MS); /* answers may lie there unread */
    replog->real.tick(&replog->io);
    raft_set_election_timeout(&replog->raft, REPLOG_ELECTION_MS);
}

static void tell_time(struct bb_replog *replog)
{
    bool was_leader = replog_is_leader(replog);
    bool is_busy = had_large(&replog->life, bb_loop_now_us(replog->loop));
    unsigned step_down_ms = STEP_DOWN_MS + (is_busy ? BUSY_US / 1000 : 0);

    raft_set_election_timeout(&replog->raft, was_leader ? step_down_ms : REPLOG_ELECTION_MS);
    replog->real.tick(&replog->io);
    raft_set_election_timeout(&replog->raft, REPLOG_ELECTION_MS);
    if (was_leader && replog->raft.state == RAFT_FOLLOWER)
        replog->raft.follower_state.randomized_election_timeout /= 2; /* it was of the other one */
}

void replog_life_raft_tick(struct raft_io *io)
{
    struct bb_replog *replog = bb_container(io, struct bb_replog, io);
    struct replog_life *life = &replog->life;
    uint64_t now_us = bb_loop_now_us(replog->loop);
    bool is_late = life->ticked_us != 0 && now_us - life->ticked_us > LATE_US;

    if (replog->is_closing)
        return;
    life->ticked_us = now_us;
    life->has_skipped = is_late && !life->has_skipped;
    if (life->has_skipped) {
        bb_replog_pulse(replog);
        return;
    }
    look_at_leader(replog);
    tell_time(replog);
}
