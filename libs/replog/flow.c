/*
 * Large entries on their way to other nodes.
 *
 * When libraft has heard nothing of a node since it last looked, 50 ms ago as a rule, it sends all
 * that this node has not acknowledged once more, and again with each heartbeat. An entry of
 * megabytes takes longer than that to the disk of the other side: its copies filled the connection,
 * heartbeats waited behind them, and the nodes elected a leader that did the same. A connection
 * loses nothing of what it has taken, so a large entry goes once: until the node has it, or its
 * connection broke, or time for a second attempt has come, what would bring it again goes as a
 * heartbeat.
 *
 * What one message carries, and what is under way to a node that lags, is bounded by bytes.
 */
#include "replog_internal.h"

#define FLOW_PATIENCE_US   1000000u
#define FLOW_BYTES_PER_US  8u          /* of patience: 8 MB/s */
#define FLOW_UNDER_WAY_MAX (16u << 20) /* bytes to one node, but for one larger entry */
#define FLOW_ENTRIES_MAX   32u         /* libraft's own bound */

struct large_send {
    struct raft_io_send request; /* what the library's network code gets */
    struct bb_replog *replog;
    struct raft_io_send *caller;
    raft_io_send_cb done;
    uint64_t to, number; /* whose flow, and which */
    bool is_large;
};

/* ---- the flow to a node ---- */

static struct replog_flow *find(struct bb_replog *replog, uint64_t id)
{
    for (size_t i = 0; i < BB_REPLOG_MEMBERS_MAX; i++) {
        if (replog->flows[i].id == id)
            return &replog->flows[i];
    }
    return NULL;
}

/* A node's, or one that nobody uses now; NULL: more nodes than there can be. */
static struct replog_flow *get(struct bb_replog *replog, uint64_t id)
{
    struct replog_flow *flow = find(replog, id);

    for (size_t i = 0; flow == NULL && i < BB_REPLOG_MEMBERS_MAX; i++) {
        if (replog->flows[i].last == 0)
            flow = &replog->flows[i];
    }
    if (flow != NULL)
        flow->id = id;
    return flow;
}

static uint64_t patience_end_us(const struct bb_replog *replog, const struct replog_flow *flow)
{
    return bb_loop_now_us(replog->loop) + FLOW_PATIENCE_US + flow->bytes / FLOW_BYTES_PER_US;
}

static bool is_under_way(const struct bb_replog *replog, const struct replog_flow *flow)
{
    return flow->last != 0 && flow->term == raft_current_term(replog_raft(replog)) &&
           (flow->is_leaving || bb_loop_now_us(replog->loop) < flow->until_us);
}

/* ---- sending ---- */

/* The large entries of a message, from the first to the last of them. False: it has none. */
static bool find_large(const struct raft_append_entries *message, struct replog_flow *large)
{
    *large = (struct replog_flow){ .term = message->term };
    for (unsigned i = 0; i < message->n_entries; i++) {
        size_t size = message->entries[i].buf.len;
        if (size < BB_REPLOG_LARGE)
            continue;
        large->last = message->prev_log_index + 1 + i;
        large->first = large->first == 0 ? large->last : large->first;
        large->bytes += size;
    }
    return large->last != 0;
}

static void on_sent(struct raft_io_send *request, int status)
{
    struct large_send *send = request->data;
    struct raft_io_send *caller = send->caller;
    raft_io_send_cb done = send->done;
    struct replog_flow *flow = find(send->replog, send->to);

    if (flow != NULL && flow->number == send->number && send->is_large) {
        flow->is_leaving = false;
        flow->until_us = patience_end_us(send->replog, flow);
    }
    if (flow != NULL && flow->number == send->number && status != 0)
        flow->last = 0; /* the connection broke, with whatever was on it */
    bb_free(send);
    done(caller, status);
}

/* Watched: a broken connection shows by any message that it does not take. */
static int send_watched(struct bb_replog *replog, struct replog_flow *flow, bool is_large,
                        struct raft_io_send *request, const struct raft_message *message,
                        raft_io_send_cb done)
{
    struct large_send *send = bb_alloc_zero(1, sizeof *send);
    int rc;

    send->replog = replog;
    send->caller = request;
    send->done = done;
    send->to = flow->id;
    send->number = flow->number;
    send->is_large = is_large;
    send->request.data = send;
    rc = replog->real.send(&replog->io, &send->request, message, on_sent);
    if (rc != 0) {
        bb_free(send);
        flow->last = 0;
    }
    return rc;
}

/* What is under way stays out, and what comes behind it in the message too: to the library it was
 * lost, and comes again when it is its turn. */
static void leave_out(const struct replog_flow *flow, struct raft_append_entries *message)
{
    uint64_t first = message->prev_log_index + 1;
    uint64_t before = flow->first > first ? flow->first - first : 0;

    if (first <= flow->last && message->n_entries > before)
        message->n_entries = (unsigned)before;
}

static void begin(struct bb_replog *replog, struct replog_flow *flow,
                  const struct replog_flow *large)
{
    bool is_more = is_under_way(replog, flow);

    *flow = (struct replog_flow){ .id = flow->id,
                                  .number = ++replog->flow_number,
                                  .first = is_more ? flow->first : large->first,
                                  .last = large->last,
                                  .term = large->term,
                                  .bytes = large->bytes + (is_more ? flow->bytes : 0),
                                  .is_leaving = true };
}

int replog_flow_send(struct bb_replog *replog, struct raft_io_send *request,
                     const struct raft_message *message, raft_io_send_cb done)
{
    struct replog_flow *flow = find(replog, message->server_id);
    struct raft_message once = *message;
    struct replog_flow large;
    bool is_large = false;

    if (message->type == RAFT_APPEND_ENTRIES) {
        if (flow != NULL && is_under_way(replog, flow))
            leave_out(flow, &once.append_entries);
        is_large = find_large(&once.append_entries, &large);
    }
    if (is_large) {
        flow = get(replog, message->server_id);
        is_large = flow != NULL;
        if (is_large)
            begin(replog, flow, &large);
    }
    if (flow == NULL || flow->last == 0)
        return replog->real.send(&replog->io, request, &once, done);
    return send_watched(replog, flow, is_large, request, &once, done);
}

/* ---- what the node says ---- */

void replog_flow_heard(struct bb_replog *replog, const struct raft_message *message)
{
    const struct raft_append_entries_result *result = &message->append_entries_result;
    struct replog_flow *flow = find(replog, message->server_id);

    if (flow == NULL || flow->last == 0 || result->term != flow->term)
        return;
    if (result->last_log_index >= flow->last) {
        /* Stored, or refused for what follows while it is being stored. */
        flow->last = result->rejected > 0 ? flow->last : 0;
    } else if (result->rejected > 0) {
        flow->last = 0; /* it has not come and will not */
    } else if (result->last_log_index >= flow->first) {
        flow->first = result->last_log_index + 1;
    }
}

/* ---- how much at once ---- */

void replog_flow_note(struct bb_replog *replog, size_t bytes)
{
    struct replog_sizes *recent = &replog->recent;
    size_t largest = FLOW_UNDER_WAY_MAX / FLOW_ENTRIES_MAX;

    recent->bytes[recent->count++ % REPLOG_TRAILING_MAX] = bytes;
    if (bytes <= largest && !recent->has_large)
        return;
    for (size_t i = 0; i < REPLOG_TRAILING_MAX; i++)
        largest = recent->bytes[i] > largest ? recent->bytes[i] : largest;
    recent->has_large = largest > FLOW_UNDER_WAY_MAX / FLOW_ENTRIES_MAX;
    raft_set_max_inflight_entries(
        &replog->raft, largest > FLOW_UNDER_WAY_MAX ? 1 : (unsigned)(FLOW_UNDER_WAY_MAX / largest));
}
