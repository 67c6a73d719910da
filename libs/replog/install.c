/*
 * A leader whose log was cut sends its snapshot, which is a manifest only. When the state here does
 * not include what the manifest names, the message is held while the application brings the state
 * from another node; then the log gets it as if it had just come. The leader sends it again now and
 * then; a newer one takes its place when no state could be brought for it. The log itself drops a
 * message that has become stale: the state that was brought is good all the same.
 *
 * A message is also held while the log writes a snapshot of its own: libraft 0.22 crashes when both
 * meet.
 */
#include "replog_internal.h"

#define FIRST_ENTRY 1u /* who belongs to the group; each first start writes the same one */

static struct bb_replog *replog_of(struct raft_io *io)
{
    return bb_container(io, struct bb_replog, io);
}

static void install_free(struct raft_message *message)
{
    raft_configuration_close(&message->install_snapshot.conf);
    raft_free(message->install_snapshot.data.base);
}

static void drop_held(struct bb_replog *replog)
{
    struct replog_held *held = &replog->held;

    if (held->is_held) {
        install_free(&held->message);
        bb_free(held->address);
        held->address = NULL;
        held->is_held = false;
    }
}

static void drop_newer(struct bb_replog *replog)
{
    struct replog_held *held = &replog->held;

    if (held->newer_address != NULL) {
        install_free(&held->newer);
        bb_free(held->newer_address);
        held->newer_address = NULL;
    }
}

/* While a state is being brought: the newest of those that come. */
static void hold_newer(struct bb_replog *replog, struct raft_message *message)
{
    struct replog_held *held = &replog->held;
    uint64_t index = message->install_snapshot.last_index;

    if (index <= held->message.install_snapshot.last_index ||
        (held->newer_address != NULL && index <= held->newer.install_snapshot.last_index)) {
        install_free(message);
        return;
    }
    drop_newer(replog);
    held->newer = *message;
    held->newer_address = bb_strdup(message->server_address);
}

static void hold(struct bb_replog *replog, const struct raft_message *message)
{
    struct replog_held *held = &replog->held;

    drop_held(replog);
    held->message = *message;
    held->address = bb_strdup(message->server_address);
    held->message.server_address = held->address;
    held->is_held = true;
    held->wait_ticks = 0;
    held->durable_ticks = 0;
}

/* What the application is asked about. An unreadable manifest is one that nothing covers. */
static struct bb_slice manifest_of(struct bb_replog *replog, const struct raft_message *message)
{
    const struct raft_buffer *data = &message->install_snapshot.data;
    struct bb_slice application = BB_SLICE_EMPTY;
    uint64_t index;

    if (replog_manifest_decode(&replog->ctx, bb_slice(data->base, data->len), &index,
                               &application) != BB_OK) {
        bb_error(&replog->ctx, "replog.manifest", "from=%llu why=\"%s\"", message->server_id,
                 replog->ctx.error);
    }
    return application;
}

static bool is_covered(struct bb_replog *replog, const struct raft_message *message)
{
    struct bb_slice manifest = manifest_of(replog, message);

    return manifest.size > 0 && replog->callbacks.covers(replog->callbacks.arg, manifest);
}

/*
 * The log begins behind the snapshot once it has it, while the data ends at the last entry that was
 * the application's. Those between are the log's own; nothing else would tell so at the next start,
 * which would take them for a hole.
 */
static void note_own(struct bb_replog *replog, uint64_t last)
{
    if (replog->shown < last &&
        replog_write_own(&replog->ctx, replog, replog->shown, last) != BB_OK) {
        replog_die_of_disk(replog, REPLOG_EXIT_IO, "install", replog->ctx.error);
    }
}

/*
 * With the snapshot the log forgets all that was in it, and it may be the only place on the disk
 * for what was applied here last. Nothing is applied meanwhile, so the data soon has it too.
 */
static bool is_durable(const struct bb_replog *replog)
{
    return replog->callbacks.durable_index(replog->callbacks.arg) >= replog->shown ||
           replog->held.durable_ticks >= REPLOG_DURABLE_TICKS_MAX;
}

/* Gives the held message to the log, or has the state brought that it needs. */
static void seek_install(struct bb_replog *replog)
{
    struct replog_held *held = &replog->held;
    struct raft_message message = held->message;
    char *address = held->address;

    if (!held->is_held || held->is_fetching || replog->snapshots_in_flight > 0) {
        return;
    }
    if (is_covered(replog, &message)) {
        if (!is_durable(replog)) {
            held->durable_ticks += 1;
            return;
        }
        held->is_held = false;
        held->address = NULL;
        note_own(replog, message.install_snapshot.last_index);
        replog->real.recv(&replog->io, &message); /* owns what the message points to */
        bb_free(address);
        return;
    }
    if (held->wait_ticks > 0) {
        return;
    }
    if (replog->callbacks.fetch == NULL || manifest_of(replog, &message).size == 0) {
        drop_held(replog);
        return;
    }
    bb_info(&replog->ctx, "replog.fetch", "from=%llu index=%llu applied=%" PRIu64,
            message.server_id, message.install_snapshot.last_index, replog->applied);
    held->is_fetching = true;
    replog->callbacks.fetch(replog->callbacks.arg, message.server_id,
                            manifest_of(replog, &message));
}

/*
 * libraft 0.22 notes a change of the members that comes behind other entries of one message under
 * the index of the first of them. It never finds out then that the change was committed: a node
 * that leads later refuses every change, and its next snapshot names the members of before. So a
 * message ends before a change, which comes again as the first of another message; to the library
 * the rest was lost on its way.
 */
static void cut_before_change(struct raft_append_entries *message)
{
    for (unsigned i = 1; i < message->n_entries; i++) {
        if (message->entries[i].type == RAFT_CHANGE) {
            message->n_entries = i; /* all entries of a message are one block of memory */
            return;
        }
    }
}

/*
 * libraft 0.22 takes the lesser of the leader's commit index and the message's last entry for its
 * own commit index, also when that is less than what it had: entries that come again, because the
 * answers to them got lost, turn it back. The next snapshot has that index then and the state of
 * what was applied, and the next start refuses it. A message promises nothing beyond its entries.
 */
static void cap_commit(struct raft_append_entries *message)
{
    uint64_t last = message->prev_log_index + message->n_entries;

    if (message->leader_commit > last) {
        message->leader_commit = last;
    }
}

/*
 * A voter whose disk was lost starts as on its first day, and has forgotten what it acknowledged.
 * Others know its folder and refuse it, but one that is far behind does not, and would lead with
 * the forgetful one's vote, without what the two have lost. So a log with nothing but its first
 * entry helps only those that have no more either: the first start of a group.
 *
 * One that was started on an older copy of its folder has forgotten some of it. What others know to
 * be committed every leader has, so a candidate without it is one that only the forgetful elect.
 */
static bool may_vote(const struct bb_replog *replog, const struct raft_message *message)
{
    return message->request_vote.last_log_index >= replog->committed &&
           (message->request_vote.last_log_index <= FIRST_ENTRY ||
            raft_last_index(replog_raft(replog)) > FIRST_ENTRY);
}

static struct raft_server *self_of(struct bb_replog *replog)
{
    struct raft_configuration *members = &replog_raft(replog)->configuration;

    for (unsigned i = 0; i < members->n; i++) {
        if (members->servers[i].id == replog->raft.id) {
            return &members->servers[i];
        }
    }
    return NULL;
}

/*
 * Raft counts votes by the candidate's list of voters, whatever the voter's own list says. libraft
 * 0.22 gives none where the own log does not say that this node votes, and such a node never
 * forgets its leader either. When a leader is killed whose log alone has a promotion, the group
 * would wait for that one vote for ever. So the node is a voter while it is asked.
 */
static void vote(struct bb_replog *replog, struct raft_message *message)
{
    struct raft_server *self = self_of(replog);
    int role = self == NULL ? RAFT_VOTER : self->role;

    if (!may_vote(replog, message)) {
        return;
    }
    if (role == RAFT_VOTER) {
        replog->real.recv(&replog->io, message);
        return;
    }
    if (bb_loop_now_us(replog->loop) - replog->heard_us >= REPLOG_ELECTION_MS * UINT64_C(1000)) {
        message->request_vote.disrupt_leader = true;
    }
    self->role = RAFT_VOTER;
    replog->real.recv(&replog->io, message);
    self = self_of(replog);
    if (self != NULL) {
        self->role = role;
    }
}

/* What a leader says about its commits tells a follower whether it lags. */
static void pass_on(struct bb_replog *replog, struct raft_message *message)
{
    bool is_append = message->type == RAFT_APPEND_ENTRIES;
    uint64_t from = message->server_id;
    uint64_t term = is_append ? message->append_entries.term : 0;
    uint64_t commit = is_append ? message->append_entries.leader_commit : 0;
    const char *address;
    raft_id leader;

    if (is_append) {
        cut_before_change(&message->append_entries);
        cap_commit(&message->append_entries);
    }
    if (message->type == RAFT_APPEND_ENTRIES_RESULT) {
        replog_flow_heard(replog, message);
    }
    if (message->type == RAFT_REQUEST_VOTE) {
        vote(replog, message);
    } else {
        replog->real.recv(&replog->io, message);
    }
    raft_leader(&replog->raft, &leader, &address);
    if (is_append && leader == from && term == raft_current_term(&replog->raft)) {
        replog->heard_us = bb_loop_now_us(replog->loop);
        replog->heard_term = term;
        replog->heard_commit = commit;
    }
    if (replog_is_leader(replog) != replog->told.is_leader || term > replog->told.term) {
        replog_seek_ready(replog);
    }
    replog_transfer_step(replog);
}

/*
 * A leader sends its newest snapshot with every heartbeat until it hears that one is here. What
 * came is older by now, and goes on with the log that is kept for it (hold.c): another state is
 * only needed if the leader still says so when it knows.
 */
static bool is_sent_too_early(struct bb_replog *replog, const struct raft_message *message)
{
    struct replog_held *held = &replog->held;
    bool has_one = held->is_held && is_covered(replog, &held->message);

    return (held->quiet_ticks > 0 || has_one) && !is_covered(replog, message);
}

void replog_recv(struct raft_io *io, struct raft_message *message)
{
    struct bb_replog *replog = replog_of(io);

    if (message->type != RAFT_INSTALL_SNAPSHOT) {
        pass_on(replog, message);
    } else if (replog->held.is_fetching && !replog->is_closing) {
        hold_newer(replog, message);
    } else if (replog->is_closing || is_sent_too_early(replog, message)) {
        install_free(message);
    } else {
        hold(replog, message);
        seek_install(replog);
    }
}

static int wrapped_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick,
                         raft_io_recv_cb recv)
{
    struct bb_replog *replog = replog_of(io);

    replog->real.recv = recv;
    replog->real.tick = tick;
    return replog->real.start(io, msecs, replog_life_raft_tick, replog_recv);
}

void replog_wrap_recv(struct bb_replog *replog)
{
    replog->real.start = replog->io.start;
    replog->io.start = wrapped_start;
}

void replog_install_tick(struct bb_replog *replog)
{
    if (replog->held.wait_ticks > 0) {
        replog->held.wait_ticks -= 1;
    }
    if (replog->held.quiet_ticks > 0) {
        replog->held.quiet_ticks -= 1;
    }
    seek_install(replog);
}

void replog_install_close(struct bb_replog *replog)
{
    drop_held(replog);
    drop_newer(replog);
}

static void take_newer(struct bb_replog *replog)
{
    struct replog_held *held = &replog->held;

    if (held->newer_address == NULL) {
        return;
    }
    drop_held(replog);
    held->message = held->newer;
    held->address = held->newer_address;
    held->message.server_address = held->address;
    held->is_held = true;
    held->newer_address = NULL;
}

void bb_replog_fetched(struct bb_replog *replog, int status, uint64_t applied)
{
    bb_assert(replog->held.is_fetching);
    replog->held.is_fetching = false;
    bb_info(&replog->ctx, "replog.fetched", "status=%s applied=%" PRIu64 " before=%" PRIu64,
            bb_status_name(status), applied, replog->applied);
    if (status == BB_OK) {
        replog->held.quiet_ticks = REPLOG_QUIET_TICKS;
    }
    if (status == BB_OK && applied > replog->shown) {
        replog->shown = applied;
    }
    if (status == BB_OK && applied > replog->applied) {
        replog->applied = applied;
    } else if (status != BB_OK) {
        take_newer(replog);
        replog->held.wait_ticks = REPLOG_FETCH_PAUSE_TICKS;
    }
    drop_newer(replog);
    seek_install(replog);
}
