/*
 * Who belongs to the cluster, and who leads it by agreement.
 *
 * A transfer that is simply asked for fails often with libraft 0.22: it tells the other node to
 * begin an election before that one has all of the log. So proposals are held first, then what is
 * under way ends, and only when the other node has everything the election is asked for.
 */
#include "replog_internal.h"

#define TRANSFER_US      1000000u /* proposals are held this long at most */
#define TRANSFER_STEP_MS 2

static const int raft_roles[] = { [BB_REPLOG_SPARE] = RAFT_SPARE,
                                  [BB_REPLOG_STANDBY] = RAFT_STANDBY,
                                  [BB_REPLOG_VOTER] = RAFT_VOTER };

static enum bb_replog_role role_of(int raft_role)
{
    switch (raft_role) {
    case RAFT_VOTER:
        return BB_REPLOG_VOTER;
    case RAFT_STANDBY:
        return BB_REPLOG_STANDBY;
    default:
        return BB_REPLOG_SPARE;
    }
}

size_t bb_replog_members(const struct bb_replog *replog, struct bb_replog_member *to, size_t max)
{
    const struct raft_configuration *members = &replog->raft.configuration;
    size_t count = members->n < max ? members->n : max;

    for (size_t i = 0; i < count; i++) {
        to[i] = (struct bb_replog_member){ .id = members->servers[i].id,
                                           .role = role_of(members->servers[i].role),
                                           .address = members->servers[i].address };
    }
    return count;
}

/* ---- changes ---- */

static int may_change(struct bb_ctx *ctx, const struct bb_replog *replog)
{
    if (!replog->is_started || replog->is_closing || !replog_is_leader(replog)) {
        return bb_fail(ctx, BB_NOT_LEADER, "this storage node does not lead");
    }
    if (!replog->is_ready) {
        return bb_fail(ctx, BB_NOT_YET, "this storage node leads and is not ready yet");
    }
    if (replog->change.is_changing || replog->change.is_transferring ||
        replog->raft.transfer != NULL) {
        return bb_fail(ctx, BB_BUSY, "another change of the members is under way");
    }
    if (replog->snapshots_in_flight > 0) {
        return bb_fail(ctx, BB_BUSY, "the log is being cut; try again in a moment");
    }
    return BB_OK;
}

static void changed(struct raft_change *request, int status)
{
    struct bb_replog *replog = bb_cast(struct bb_replog, request->data, REPLOG_MAGIC);
    int rc = status == RAFT_NOCONNECTION ? BB_PEER_GONE : replog_status_of(status);

    bb_info(&replog->ctx, "replog.changed", "status=%s", bb_status_name(rc));
    replog->change.is_changing = false;
    replog->change.done(replog->change.arg, rc);
}

static int begin(struct bb_ctx *ctx, struct bb_replog *replog, int rc, uint64_t id,
                 bb_replog_change_fn *done, void *arg)
{
    switch (rc) {
    case 0:
        replog->change.is_changing = true;
        replog->change.done = done;
        replog->change.arg = arg;
        return BB_OK;
    case RAFT_DUPLICATEID:
        return bb_fail(ctx, BB_EXISTS, "there is a node %" PRIu64 " already", id);
    case RAFT_DUPLICATEADDRESS:
        return bb_fail(ctx, BB_EXISTS, "another node has that address");
    case RAFT_BADROLE:
        return bb_fail(ctx, BB_EXISTS, "node %" PRIu64 " has that role already", id);
    case RAFT_BADID:
    case RAFT_NOTFOUND:
        return bb_fail(ctx, BB_NOT_FOUND, "there is no node %" PRIu64, id);
    case RAFT_CANTCHANGE:
        return bb_fail(ctx, BB_BUSY, "another change of the members is under way");
    case RAFT_NOTLEADER:
        return bb_fail(ctx, BB_NOT_LEADER, "this storage node does not lead");
    case RAFT_NOSPACE:
        return bb_fail(ctx, BB_NO_SPACE, "the log has no room: %s", replog_room_why(replog));
    default:
        /* The library may have kept the request: nothing safe is left to do. */
        replog_die(replog, REPLOG_EXIT_IO, "change of the members", raft_strerror(rc),
                   REPLOG_THEN_START);
    }
}

int bb_replog_add(struct bb_ctx *ctx, struct bb_replog *replog, uint64_t id, const char *address,
                  bb_replog_change_fn *done, void *arg)
{
    int rc = may_change(ctx, replog);

    if (rc != BB_OK) {
        return rc;
    }
    if (replog->raft.configuration.n >= BB_REPLOG_MEMBERS_MAX) {
        return bb_fail(ctx, BB_FULL, "there are %u nodes already", replog->raft.configuration.n);
    }
    replog->change.request.data = replog;
    rc = raft_add(&replog->raft, &replog->change.request, id, address, changed);
    return begin(ctx, replog, rc, id, done, arg);
}

int bb_replog_assign(struct bb_ctx *ctx, struct bb_replog *replog, uint64_t id,
                     enum bb_replog_role role, bb_replog_change_fn *done, void *arg)
{
    int rc = may_change(ctx, replog);

    if (rc != BB_OK) {
        return rc;
    }
    replog->change.request.data = replog;
    rc = raft_assign(&replog->raft, &replog->change.request, id, raft_roles[role], changed);
    return begin(ctx, replog, rc, id, done, arg);
}

int bb_replog_remove(struct bb_ctx *ctx, struct bb_replog *replog, uint64_t id,
                     bb_replog_change_fn *done, void *arg)
{
    int rc = may_change(ctx, replog);

    if (rc != BB_OK) {
        return rc;
    }
    replog->change.request.data = replog;
    rc = raft_remove(&replog->raft, &replog->change.request, id, changed);
    return begin(ctx, replog, rc, id, done, arg);
}

/* ---- transfer ---- */

static void transfer_over(struct bb_replog *replog, int status)
{
    struct replog_change *change = &replog->change;

    bb_info(&replog->ctx, "replog.transferred", "to=%" PRIu64 " status=%s", change->target,
            bb_status_name(status));
    change->is_transferring = false;
    uv_timer_stop(&replog->hand_on);
    replog_seek_ready(replog);
    replog_room_step(replog);
    change->done(change->arg, status);
}

static void transferred(struct raft_transfer *request)
{
    struct bb_replog *replog = bb_cast(struct bb_replog, request->data, REPLOG_MAGIC);

    if (replog->change.is_transferring && !replog->is_closing) {
        transfer_over(replog, replog_is_leader(replog) ? BB_TIMEOUT : BB_OK);
    }
}

static uint64_t match_of(const struct bb_replog *replog, uint64_t id)
{
    raft_index index = 0;
    return raft_match_index(replog_raft(replog), id, &index) == 0 ? index : 0;
}

uint64_t bb_replog_acknowledged(const struct bb_replog *replog, uint64_t id)
{
    bool is_up = replog->is_started && !replog->is_closing && replog_is_leader(replog);

    return is_up ? match_of(replog, id) : 0;
}

/* The voter that has most of the log; 0: there is no other. */
static uint64_t best_target(const struct bb_replog *replog)
{
    const struct raft_configuration *members = &replog->raft.configuration;
    uint64_t best = 0, best_match = 0;

    for (unsigned i = 0; i < members->n; i++) {
        const struct raft_server *server = &members->servers[i];
        uint64_t match;
        if (server->id == replog->id || server->role != RAFT_VOTER) {
            continue;
        }
        match = match_of(replog, server->id);
        if (best == 0 || match > best_match) {
            best = server->id;
            best_match = match;
        }
    }
    return best;
}

void replog_transfer_step(struct bb_replog *replog)
{
    struct replog_change *change = &replog->change;
    int rc;

    if (!change->is_transferring || replog->is_closing) {
        return;
    }
    if (!replog_is_leader(replog)) {
        transfer_over(replog, BB_OK); /* the library would wait until it hears who leads now */
        return;
    }
    if (bb_loop_now_us(replog->loop) >= change->deadline_us) {
        if (!change->is_transfer_sent) {
            transfer_over(replog,
                          BB_TIMEOUT); /* else the library ends it, after an election's time */
        }
        return;
    }
    if (change->is_transfer_sent || !bb_list_is_empty(&replog->proposals) ||
        match_of(replog, change->target) != raft_last_index(&replog->raft)) {
        return;
    }
    change->transfer.data = replog;
    change->is_transfer_sent = true;
    rc = raft_transfer(&replog->raft, &change->transfer, change->target, transferred);
    if (rc != 0) {
        transfer_over(replog, BB_TIMEOUT);
    }
}

static void on_hand_on(uv_timer_t *timer)
{
    replog_transfer_step(bb_cast(struct bb_replog, timer->data, REPLOG_MAGIC));
}

int bb_replog_transfer(struct bb_ctx *ctx, struct bb_replog *replog, uint64_t id,
                       bb_replog_change_fn *done, void *arg)
{
    struct replog_change *change = &replog->change;
    int rc = may_change(ctx, replog);

    if (rc != BB_OK) {
        return rc;
    }
    if (id == 0) {
        id = best_target(replog);
    }
    rc = id == 0 || id == replog->id ? BB_NOT_FOUND : BB_OK;
    for (unsigned i = 0; rc == BB_OK && i <= replog->raft.configuration.n; i++) {
        if (i == replog->raft.configuration.n) {
            rc = BB_NOT_FOUND;
        } else if (replog->raft.configuration.servers[i].id == id &&
                   replog->raft.configuration.servers[i].role == RAFT_VOTER) {
            break;
        }
    }
    if (rc != BB_OK) {
        return bb_fail(ctx, rc, "there is no other voter to hand the leadership to");
    }
    change->is_transferring = true;
    change->is_transfer_sent = false;
    change->target = id;
    change->deadline_us = bb_loop_now_us(replog->loop) + TRANSFER_US;
    change->done = done;
    change->arg = arg;
    uv_timer_start(&replog->hand_on, on_hand_on, 0, TRANSFER_STEP_MS);
    return BB_OK;
}

void replog_change_close(struct bb_replog *replog)
{
    if (replog->change.is_transferring) {
        replog->change.is_transferring = false;
        replog->change.done(replog->change.arg, BB_CANCELLED);
    }
}
