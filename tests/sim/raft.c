/*
 * bb/replog.h over the simulated network and disks: Raft (Ongaro, Ousterhout 2014) with pre-vote
 * and a leader that steps down when it hears no majority. What a real log does to the storage node
 * happens here too: leaders change, proposals end without a known outcome, entries that were never
 * committed go away, what was not synced is lost with the power.
 *
 * Not here: snapshots and changes of membership. The log is cut on a node up to what its data and
 * feed call durable, if all nodes have it; a node that needs a cut entry again fails the run.
 */
#include "bb/replog.h"

#include <stdio.h>

#include "parts.h"

#define HEARTBEAT_US   50000
#define ELECTION_US    300000
#define QUORUM_US      600000
#define ENTRIES_A_TIME 64
#define KEPT_ENTRIES   20

struct entry {
    uint64_t term;
    struct bb_slice bytes; /* empty: the log's own */
};
/* What the disk of a node holds. */
struct sim_raft {
    uint64_t term, voted_for;
    struct entry *entries; /* entry i is at i - 1 */
    uint64_t count, capacity, synced;
    uint64_t first; /* entries before it were cut */
    struct bb_replog *live;
};
struct pending {
    struct bb_list link;
    uint64_t index, term;
    bb_replog_done_fn *done;
    void *tag;
};
enum role {
    FOLLOWER,
    CANDIDATE,
    LEADER
};
struct bb_replog {
    struct sim_node *node;
    struct sim_raft *disk;
    struct bb_replog_callbacks callbacks;
    uint64_t id;
    enum role role;
    uint64_t leader, heard_us; /* from the leader, or a majority */
    bool is_pre, has_vote[SIM_NODES_MAX];
    uint64_t match[SIM_NODES_MAX], next[SIM_NODES_MAX], acked_us[SIM_NODES_MAX];
    uint64_t commit, applied, ready_index;
    uint64_t leader_commit;
    uint64_t verified; /* follower: up to here the log is the leader's */
    struct bb_list proposals;
    struct bb_replog_status told;
    bool is_started, is_closed, is_syncing, is_sync_due, has_told;
};

enum kind {
    VOTE,
    VOTED,
    APPEND,
    APPENDED
};
struct message {
    enum kind kind;
    struct sim_node *from, *to;
    uint64_t term;
    bool is_pre, is_granted;
    uint64_t last_index, last_term; /* VOTE; APPEND: of the entry before */
    uint64_t commit, match;
    size_t count;
    struct entry entries[ENTRIES_A_TIME];
};

/* ---- the group ---- */

static size_t voter_count(void)
{
    size_t count = 0;

    for (size_t i = 0; i < sim.node_count; i++)
        count += sim.nodes[i].role == SIM_STORAGE;
    return count;
}

#define each_peer(replog, peer)                                                               \
    for (struct sim_node * (peer) = sim.nodes; (peer) < sim.nodes + sim.node_count; (peer)++) \
        if ((peer)->role == SIM_STORAGE && (peer) != (replog)->node)

static uint64_t id_of(const struct sim_node *node)
{
    return node->index + 1;
}

static uint64_t term_at(const struct sim_raft *disk, uint64_t index)
{
    return index == 0 || index > disk->count ? 0 : disk->entries[index - 1].term;
}

static void add_entry(struct sim_raft *disk, struct entry entry)
{
    if (disk->count == disk->capacity) {
        disk->capacity = disk->capacity == 0 ? 256 : disk->capacity * 2;
        disk->entries = bb_realloc(disk->entries, disk->capacity * sizeof *disk->entries);
    }
    disk->entries[disk->count++] = entry;
}

static void on_message(void *arg);

static void send(struct bb_replog *replog, struct sim_node *to, const struct message *message)
{
    struct message *sent = bb_alloc(sizeof *sent);

    *sent = *message;
    sent->from = replog->node;
    sent->to = to;
    sent->term = sent->is_pre && sent->kind == VOTE ? replog->disk->term + 1 : replog->disk->term;
    sim_send(replog->node, to, on_message, sent);
}

/* ---- what the application hears ---- */

static void tell(struct bb_replog *replog)
{
    struct bb_replog_status status;

    bb_replog_status(replog, &status);
    bool is_news =
        !replog->has_told || status.term != replog->told.term ||
        status.leader != replog->told.leader || status.is_ready != replog->told.is_ready ||
        status.is_current != replog->told.is_current || status.is_leader != replog->told.is_leader;
    if (!is_news || replog->is_closed)
        return;
    replog->has_told = true;
    replog->told = status;
    sim_trace("raft: term %" PRIu64 " leader %" PRIu64 "%s", status.term, status.leader,
              status.is_ready ? " ready" : "");
    replog->callbacks.role(replog->callbacks.arg, &status);
}

static struct pending *pending_at(struct bb_replog *replog, uint64_t index, uint64_t term)
{
    bb_list_each(item, &replog->proposals) {
        struct pending *pending = bb_container(item, struct pending, link);
        if (pending->index == index && pending->term == term)
            return pending;
    }
    return NULL;
}

static void end_pending(struct pending *pending, int status)
{
    bb_list_remove(&pending->link);
    pending->done(pending->tag, status);
    bb_free(pending);
}

/* The log was cut so far that only `kept` entries of what is durable here stay, if all have it. */
static void cut_log(struct bb_replog *replog)
{
    uint64_t durable = replog->callbacks.durable_index(replog->callbacks.arg);
    uint64_t least = durable;

    each_peer(replog, peer) if (peer->raft == NULL || peer->raft->live == NULL ||
                                peer->raft->synced < least) least = peer->raft == NULL ? 0
                                                                    : peer->raft->synced < least
                                                                        ? peer->raft->synced
                                                                        : 0;
    if (least > KEPT_ENTRIES && least - KEPT_ENTRIES > replog->disk->first)
        replog->disk->first = least - KEPT_ENTRIES;
}

static void apply(struct bb_replog *replog)
{
    while (replog->applied < replog->commit && !replog->is_closed) {
        uint64_t index = replog->applied + 1;
        const struct entry entry = replog->disk->entries[index - 1];
        struct pending *pending = pending_at(replog, index, entry.term);
        if (entry.bytes.size > 0 && index < replog->disk->first) {
            sim_fail("%s needs entry %" PRIu64 " again, the log begins at %" PRIu64
                     ": something was called durable and was not",
                     replog->node->name, index, replog->disk->first);
        }
        replog->applied = index;
        if (entry.bytes.size > 0) {
            struct bb_replog_entry shown = { .index = index,
                                             .bytes = entry.bytes,
                                             .tag = pending == NULL ? NULL : pending->tag };
            sim_failpoint("raft.apply");
            replog->callbacks.apply(replog->callbacks.arg, &shown);
            sim_failpoint("raft.applied");
        }
        if (pending != NULL)
            end_pending(pending, BB_OK);
    }
    tell(replog);
    sim_loop_touch(replog->node);
}

/* ---- terms ---- */

static void step_down(struct bb_replog *replog, uint64_t term, uint64_t leader)
{
    struct sim_raft *disk = replog->disk;

    if (term > disk->term) {
        disk->term = term;
        disk->voted_for = 0;
    }
    bool was_leader = replog->role == LEADER;
    replog->role = FOLLOWER;
    replog->leader = leader;
    replog->verified = replog->commit;
    replog->leader_commit = 0;
    if (was_leader) {
        while (!bb_list_is_empty(&replog->proposals))
            end_pending(bb_container(replog->proposals.next, struct pending, link),
                        BB_OUTCOME_UNKNOWN);
    }
    tell(replog);
}

static void send_entries(struct bb_replog *replog, struct sim_node *peer)
{
    struct sim_raft *disk = replog->disk;
    struct message message = { .kind = APPEND, .commit = replog->commit };
    uint64_t next = replog->next[peer->index];

    message.last_index = next - 1;
    message.last_term = term_at(disk, next - 1);
    for (; message.count < ENTRIES_A_TIME && next <= disk->count; next++)
        message.entries[message.count++] = disk->entries[next - 1];
    replog->next[peer->index] = next; /* as if all arrived; an answer that says less puts it back */
    send(replog, peer, &message);
}

static void replicate(struct bb_replog *replog)
{
    each_peer(replog, peer) send_entries(replog, peer);
}

/* The newest entry of this term that a majority has. */
static void advance(struct bb_replog *replog)
{
    for (uint64_t index = replog->disk->synced; index > replog->commit; index--) {
        size_t have = 1;
        if (term_at(replog->disk, index) != replog->disk->term)
            break;
        each_peer(replog, peer) have += replog->match[peer->index] >= index;
        if (have > voter_count() / 2) {
            replog->commit = index;
            apply(replog);
            return;
        }
    }
}

/* ---- the disk ---- */

static uint64_t agreed(const struct bb_replog *replog)
{
    return replog->verified < replog->disk->synced ? replog->verified : replog->disk->synced;
}

/* A follower applies what is committed, the leader's, and on its own disk. */
static void follow_commit(struct bb_replog *replog)
{
    uint64_t have = agreed(replog);
    uint64_t commit = replog->leader_commit < have ? replog->leader_commit : have;

    if (commit > replog->commit) {
        replog->commit = commit;
        apply(replog);
    }
}

static void write_more(struct bb_replog *replog);

struct write {
    struct bb_replog *replog;
    uint64_t upto, term;
};

static void on_written(void *arg)
{
    struct write *write = arg;
    struct bb_replog *replog = write->replog;
    struct sim_raft *disk = replog->disk;

    replog->is_syncing = false;
    sim_failpoint("raft.sync");
    if (term_at(disk, write->upto) == write->term && write->upto > disk->synced)
        disk->synced = write->upto;
    sim_failpoint("raft.synced");
    if (replog->role == LEADER) {
        advance(replog);
    } else if (replog->leader != 0) {
        struct message message = { .kind = APPENDED, .is_granted = true, .match = agreed(replog) };
        send(replog, &sim.nodes[replog->leader - 1], &message);
        follow_commit(replog);
    }
    bb_free(write);
    write_more(replog);
}

/* One write under way takes all that gathered. */
static void write_more(struct bb_replog *replog)
{
    struct sim_raft *disk = replog->disk;

    if (replog->is_syncing || disk->synced >= disk->count)
        return;
    struct write *write = bb_alloc(sizeof *write);
    *write =
        (struct write){ .replog = replog, .upto = disk->count, .term = term_at(disk, disk->count) };
    replog->is_syncing = true;
    (void)sim_after(replog->node, sim_sync_time(replog->node), on_written, write);
}

/* ---- elections ---- */

static void become_leader(struct bb_replog *replog)
{
    replog->role = LEADER;
    replog->leader = replog->id;
    replog->heard_us = sim.now_us;
    each_peer(replog, peer)
    {
        replog->match[peer->index] = 0;
        replog->next[peer->index] = replog->disk->count + 1;
        replog->acked_us[peer->index] = sim.now_us;
    }
    add_entry(replog->disk, (struct entry){ .term = replog->disk->term });
    replog->ready_index = replog->disk->count;
    tell(replog);
    write_more(replog);
    replicate(replog);
}

static void ask_votes(struct bb_replog *replog, bool is_pre)
{
    struct sim_raft *disk = replog->disk;
    struct message message = { .kind = VOTE,
                               .is_pre = is_pre,
                               .last_index = disk->count,
                               .last_term = term_at(disk, disk->count) };

    replog->role = CANDIDATE;
    replog->is_pre = is_pre;
    replog->leader = 0;
    memset(replog->has_vote, 0, sizeof replog->has_vote);
    replog->has_vote[replog->node->index] = true;
    if (!is_pre) {
        disk->term++;
        disk->voted_for = replog->id;
    }
    tell(replog);
    if (voter_count() == 1) {
        if (is_pre) {
            ask_votes(replog, false);
        } else {
            become_leader(replog);
        }
        return;
    }
    each_peer(replog, peer) send(replog, peer, &message);
}

static bool hears_majority(const struct bb_replog *replog)
{
    size_t heard = 1;

    each_peer(replog, peer) heard += replog->acked_us[peer->index] + QUORUM_US > sim.now_us;
    return heard > voter_count() / 2;
}

static void on_tick(void *arg)
{
    struct bb_replog *replog = arg;

    if (replog->is_closed)
        return;
    (void)sim_after(replog->node, HEARTBEAT_US + sim_below(5000), on_tick, replog);
    if (replog->role == LEADER) {
        if (hears_majority(replog)) {
            replicate(replog);
        } else {
            step_down(replog, replog->disk->term, 0);
        }
    } else if (sim.now_us > replog->heard_us + ELECTION_US) {
        replog->heard_us = sim.now_us + sim_below(ELECTION_US);
        ask_votes(replog, true);
    }
    cut_log(replog);
}

static void on_vote(struct bb_replog *replog, const struct message *message)
{
    struct sim_raft *disk = replog->disk;
    uint64_t last_term = term_at(disk, disk->count);
    bool is_current = message->last_term > last_term ||
                      (message->last_term == last_term && message->last_index >= disk->count);
    bool has_leader = replog->role == LEADER ||
                      (replog->leader != 0 && sim.now_us < replog->heard_us + ELECTION_US);
    struct message answer = { .kind = VOTED, .is_pre = message->is_pre };

    if (message->is_pre) {
        answer.is_granted = is_current && !has_leader && message->term > disk->term;
    } else {
        bool is_free = disk->voted_for == 0 || disk->voted_for == id_of(message->from);
        answer.is_granted = message->term == disk->term && is_current && is_free;
        if (answer.is_granted) {
            disk->voted_for = id_of(message->from);
            replog->heard_us = sim.now_us + sim_below(ELECTION_US);
        }
    }
    send(replog, message->from, &answer);
}

static void on_voted(struct bb_replog *replog, const struct message *message)
{
    size_t votes = 0;

    if (replog->role != CANDIDATE || replog->is_pre != message->is_pre || !message->is_granted)
        return;
    replog->has_vote[message->from->index] = true;
    for (size_t i = 0; i < sim.node_count; i++)
        votes += replog->has_vote[i];
    if (votes <= voter_count() / 2)
        return;
    if (replog->is_pre) {
        ask_votes(replog, false);
    } else {
        become_leader(replog);
    }
}

/* ---- entries ---- */

static void refuse(struct bb_replog *replog, const struct message *message)
{
    struct message answer = { .kind = APPENDED, .match = replog->disk->synced };

    if (answer.match >= message->last_index && message->last_index > 0)
        answer.match = message->last_index - 1;
    send(replog, message->from, &answer);
}

static void take_entries(struct bb_replog *replog, const struct message *message)
{
    struct sim_raft *disk = replog->disk;

    for (size_t i = 0; i < message->count; i++) {
        uint64_t index = message->last_index + 1 + i;
        if (index <= disk->count && term_at(disk, index) == message->entries[i].term)
            continue;
        if (index <= disk->count) {
            bb_assert(index > replog->commit); /* what is committed never changes */
            disk->count = index - 1;
            if (disk->synced > disk->count)
                disk->synced = disk->count;
        }
        if (replog->node->disk->is_full)
            sim_die(70, "the log cannot be written: no space left on device");
        add_entry(disk, message->entries[i]);
    }
}

static void on_append(struct bb_replog *replog, const struct message *message)
{
    struct sim_raft *disk = replog->disk;
    uint64_t upto = message->last_index + message->count;

    replog->heard_us = sim.now_us;
    if (replog->role != FOLLOWER || replog->leader != id_of(message->from))
        step_down(replog, message->term, id_of(message->from));
    if (message->last_index > disk->count ||
        term_at(disk, message->last_index) != message->last_term) {
        refuse(replog, message);
        return;
    }
    take_entries(replog, message);
    write_more(replog);
    if (upto > replog->verified)
        replog->verified = upto;
    if (disk->synced >= disk->count) {
        struct message answer = { .kind = APPENDED, .is_granted = true, .match = agreed(replog) };
        send(replog, message->from, &answer);
    }
    replog->leader_commit = message->commit;
    follow_commit(replog);
}

static void on_appended(struct bb_replog *replog, const struct message *message)
{
    size_t from = message->from->index;

    if (replog->role != LEADER || message->term != replog->disk->term)
        return;
    replog->acked_us[from] = sim.now_us;
    if (!message->is_granted) {
        replog->next[from] = message->match + 1;
        send_entries(replog, message->from);
        return;
    }
    uint64_t match = message->match < replog->next[from] ? message->match : replog->next[from] - 1;
    if (match > replog->match[from])
        replog->match[from] = match;
    advance(replog);
    if (replog->match[from] + 1 < replog->next[from] && sim_chance(100000))
        replog->next[from] = replog->match[from] + 1; /* something may be lost: send it again */
}

static void on_message(void *arg)
{
    struct message *message = arg;
    struct bb_replog *replog = message->to->raft == NULL ? NULL : message->to->raft->live;

    if (replog != NULL && !replog->is_closed && replog->is_started) {
        if (message->term > replog->disk->term && !(message->is_pre && message->kind == VOTE))
            step_down(replog, message->term, 0);
        bool is_old = message->term < replog->disk->term;
        if (message->kind == VOTE) {
            on_vote(replog, message);
        } else if (message->kind == VOTED && !is_old) {
            on_voted(replog, message);
        } else if (message->kind == APPEND && is_old) {
            refuse(replog, message); /* its term tells the old leader */
        } else if (message->kind == APPEND) {
            on_append(replog, message);
        } else if (message->kind == APPENDED) {
            on_appended(replog, message);
        }
        if (message->to->raft->live == replog)
            sim_loop_touch(replog->node);
    }
    bb_free(message);
}

/* ---- bb/replog.h ---- */

int bb_replog_open(struct bb_ctx *ctx, struct bb_loop *loop,
                   const struct bb_replog_options *options, struct bb_replog **out)
{
    struct bb_replog *replog = bb_alloc_zero(1, sizeof *replog);

    (void)loop;
    if (sim.current->disk->is_full)
        return bb_fail(ctx, BB_NO_SPACE, "no room for the log");
    replog->node = sim.current;
    replog->callbacks = options->callbacks;
    replog->id = id_of(sim.current);
    replog->applied = options->applied;
    bb_list_init(&replog->proposals);
    if (sim.current->raft == NULL) {
        sim.current->raft = bb_alloc_zero(1, sizeof *sim.current->raft);
        sim.current->raft->first = 1;
    }
    replog->disk = sim.current->raft;
    replog->disk->live = replog;
    *out = replog;
    return BB_OK;
}

int bb_replog_start(struct bb_ctx *ctx, struct bb_replog *replog)
{
    (void)ctx;
    replog->is_started = true;
    replog->heard_us = sim.now_us + sim_below(ELECTION_US);
    if (replog->applied + 1 < replog->disk->first && replog->disk->first > 1) {
        sim_fail("%s: data and feed reach entry %" PRIu64 ", the log begins at %" PRIu64,
                 replog->node->name, replog->applied, replog->disk->first);
    }
    /* What the application has was committed. */
    replog->commit = replog->applied;
    bb_assert(replog->commit <= replog->disk->count);
    (void)sim_after(replog->node, sim_below(HEARTBEAT_US), on_tick, replog);
    if (voter_count() == 1)
        ask_votes(replog, true);
    return BB_OK;
}

struct closing {
    void (*closed)(void *arg);
    void *arg;
};

static void on_closed(void *arg)
{
    struct closing *closing = arg;

    closing->closed(closing->arg);
    bb_free(closing);
}

void bb_replog_close(struct bb_replog *replog, void (*closed)(void *arg), void *arg)
{
    while (!bb_list_is_empty(&replog->proposals))
        end_pending(bb_container(replog->proposals.next, struct pending, link), BB_OUTCOME_UNKNOWN);
    replog->is_closed = true;
    replog->disk->live = NULL;
    if (closed != NULL) {
        struct closing *closing = bb_alloc(sizeof *closing);
        *closing = (struct closing){ .closed = closed, .arg = arg };
        (void)sim_after(replog->node, 100, on_closed, closing);
    }
}

void bb_replog_free(struct bb_replog *replog)
{
    if (replog != NULL && !replog->is_closed)
        bb_replog_close(replog, NULL, NULL);
}

uint8_t *bb_replog_entry_new(size_t size)
{
    return bb_alloc(size);
}

void bb_replog_entry_free(uint8_t *entry)
{
    bb_free(entry);
}

int bb_replog_propose_take(struct bb_ctx *ctx, struct bb_replog *replog, uint8_t *entry,
                           size_t size, bb_replog_done_fn *done, void *tag)
{
    struct bb_replog_status status;
    const char *why = NULL;
    int rc = BB_OK;

    bb_replog_status(replog, &status);
    if (!status.is_leader) {
        rc = BB_NOT_LEADER;
        why = "this storage node does not lead";
    } else if (!status.is_ready) {
        rc = BB_NOT_YET;
        why = "this storage node leads and is not ready yet";
    } else if (replog->node->disk->is_full) {
        rc = BB_NO_SPACE;
        why = "the log's disk is full";
    }
    if (rc != BB_OK) {
        bb_free(entry);
        return bb_fail(ctx, rc, "%s", why);
    }
    add_entry(replog->disk,
              (struct entry){ .term = replog->disk->term, .bytes = bb_slice(entry, size) });
    struct pending *pending = bb_alloc_zero(1, sizeof *pending);
    *pending = (struct pending){
        .index = replog->disk->count, .term = replog->disk->term, .done = done, .tag = tag
    };
    bb_list_push_back(&replog->proposals, &pending->link);
    sim_failpoint("raft.propose");
    write_more(replog);
    replicate(replog);
    return BB_OK;
}

/* The simulated log never asks for a state: it is never cut. */
void bb_replog_fetched(struct bb_replog *replog, int status, uint64_t applied)
{
    (void)replog;
    (void)status;
    (void)applied;
    BB_UNREACHABLE("nothing was asked for");
}

void bb_replog_status(const struct bb_replog *replog, struct bb_replog_status *status)
{
    bool is_leader = replog->role == LEADER && !replog->is_closed;

    *status = (struct bb_replog_status){
        .term = replog->disk->term,
        .leader = replog->leader,
        .applied = replog->applied,
        .last_index = replog->disk->count,
        .is_leader = is_leader,
        .is_ready = is_leader && replog->applied >= replog->ready_index,
        .is_voter = true,
    };
    status->is_current = is_leader ? status->is_ready
                                   : replog->leader != 0 && replog->leader_commit > 0 &&
                                         replog->applied >= replog->leader_commit;
}

/* ---- the group does not change here ---- */

size_t bb_replog_members(const struct bb_replog *replog, struct bb_replog_member *to, size_t max)
{
    size_t count = 0;

    (void)replog;
    for (size_t i = 0; i < sim.node_count && count < max; i++) {
        if (sim.nodes[i].role == SIM_STORAGE) {
            to[count++] = (struct bb_replog_member){ .id = id_of(&sim.nodes[i]),
                                                     .role = BB_REPLOG_VOTER,
                                                     .address = sim.nodes[i].name };
        }
    }
    return count;
}

static int refuse_change(struct bb_ctx *ctx)
{
    return bb_fail(ctx, BB_UNSUPPORTED, "the simulated log keeps its members");
}

int bb_replog_add(struct bb_ctx *ctx, struct bb_replog *replog, uint64_t id, const char *address,
                  bb_replog_change_fn *done, void *arg)
{
    (void)replog, (void)id, (void)address, (void)done, (void)arg;
    return refuse_change(ctx);
}

int bb_replog_assign(struct bb_ctx *ctx, struct bb_replog *replog, uint64_t id,
                     enum bb_replog_role role, bb_replog_change_fn *done, void *arg)
{
    (void)replog, (void)id, (void)role, (void)done, (void)arg;
    return refuse_change(ctx);
}

int bb_replog_remove(struct bb_ctx *ctx, struct bb_replog *replog, uint64_t id,
                     bb_replog_change_fn *done, void *arg)
{
    (void)replog, (void)id, (void)done, (void)arg;
    return refuse_change(ctx);
}

int bb_replog_transfer(struct bb_ctx *ctx, struct bb_replog *replog, uint64_t id,
                       bb_replog_change_fn *done, void *arg)
{
    (void)replog, (void)id, (void)done, (void)arg;
    return bb_fail(ctx, BB_NOT_FOUND, "the simulated log hands nothing over");
}

void sim_raft_died(struct sim_node *node, bool is_power_loss)
{
    struct sim_raft *disk = node->raft;

    (void)is_power_loss; /* the log is written past the page cache */
    if (disk == NULL)
        return;
    disk->live = NULL;
    /* Of what was being written a part may be there, and was not acknowledged. */
    disk->count = disk->synced + sim_below(disk->count - disk->synced + 1);
    disk->synced = disk->count;
}
