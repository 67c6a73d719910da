/*
 * The life of a replicated log: open, lead, propose, close.
 */
#include "replog_internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SNAPSHOT_BYTES     (16ull << 20)
#define HOLD_BYTES         (256ull << 20)
#define ADDRESS_IF_NO_PEER "127.0.0.1:1"

_Noreturn void replog_die(struct bb_replog *replog, int exit_code, const char *what,
                          const char *reason, const char *then)
{
    bb_error(&replog->ctx, "replog.fatal", "dir=%s what=\"%s\" reason=\"%s\" exit=%d", replog->dir,
             what, reason, exit_code);
    (void)fprintf(
        stderr, "bitbend: the log in %s cannot go on: %s failed (%s). The process ends here; %s.\n",
        replog->dir, what, reason, then);
    _exit(exit_code);
}

int replog_status_of(int raft_status)
{
    switch (raft_status) {
    case 0:
        return BB_OK;
    case RAFT_NOMEM:
        return BB_NO_MEMORY;
    case RAFT_NOTLEADER:
        return BB_NOT_LEADER;
    case RAFT_NOSPACE:
        return BB_NO_SPACE;
    case RAFT_CORRUPT:
    case RAFT_MALFORMED:
        return BB_CORRUPT;
    case RAFT_LEADERSHIPLOST:
    case RAFT_SHUTDOWN:
    case RAFT_CANCELED:
        return BB_OUTCOME_UNKNOWN;
    default:
        return BB_IO;
    }
}

/* ---- role ---- */

bool replog_is_leader(const struct bb_replog *replog)
{
    return replog->raft.state == RAFT_LEADER;
}

void bb_replog_status(const struct bb_replog *replog, struct bb_replog_status *status)
{
    struct raft *raft = replog_raft(replog);
    const char *address;
    raft_id leader;

    *status =
        (struct bb_replog_status){ .applied = replog->applied, .log_bytes = replog->log_bytes };
    if (!replog->is_started || replog->is_closing) {
        return;
    }
    raft_leader(raft, &leader, &address);
    status->term = raft_current_term(raft);
    status->leader = leader;
    status->last_index = raft_last_index(raft);
    status->is_leader = replog_is_leader(replog);
    status->is_ready = replog->is_ready && status->is_leader;
    status->is_voter = raft_role(raft) == RAFT_VOTER;
    status->is_current = status->is_leader ? status->is_ready
                                           : leader != 0 && replog->heard_term == status->term &&
                                                 raft_last_applied(raft) >= replog->heard_commit;
}

static void tell_role(struct bb_replog *replog)
{
    struct bb_replog_status now;

    bb_replog_status(replog, &now);
    if (now.term == replog->told.term && now.leader == replog->told.leader &&
        now.is_ready == replog->told.is_ready && now.is_leader == replog->told.is_leader &&
        now.is_current == replog->told.is_current && now.is_voter == replog->told.is_voter) {
        return;
    }
    replog->told = now;
    bb_info(&replog->ctx, "replog.role",
            "term=%" PRIu64 " leader=%" PRIu64
            " is_leader=%d is_ready=%d is_current=%d applied=%" PRIu64,
            now.term, now.leader, now.is_leader, now.is_ready, now.is_current, now.applied);
    replog->callbacks.role(replog->callbacks.arg, &now);
}

static void barrier_done(struct raft_barrier *request, int status)
{
    struct bb_replog *replog = bb_cast(struct bb_replog, request->data, REPLOG_MAGIC);

    replog->has_barrier = false;
    if (replog->is_closing) {
        return;
    }
    if (status == 0 && replog_is_leader(replog) &&
        replog->barrier_term == raft_current_term(&replog->raft)) {
        replog->is_ready = true;
    }
    tell_role(replog);
}

/* A new leader is ready when an entry of its own term is applied. */
void replog_seek_ready(struct bb_replog *replog)
{
    int rc;

    if (!replog_is_leader(replog) || replog->barrier_term != raft_current_term(&replog->raft)) {
        replog->is_ready = false;
    }
    if (replog_is_leader(replog) && !replog->is_ready && !replog->has_barrier) {
        replog->barrier.data = replog;
        replog->barrier_term = raft_current_term(&replog->raft);
        rc = raft_barrier(&replog->raft, &replog->barrier, barrier_done);
        replog_room_note(replog, rc);
        if (rc == 0) {
            replog->has_barrier = true;
        } else if (rc != RAFT_NOSPACE && rc != RAFT_NOTLEADER) {
            replog_die(replog, REPLOG_EXIT_IO, "barrier", raft_strerror(rc), REPLOG_THEN_START);
        }
    }
    tell_role(replog);
}

void bb_replog_cut(struct bb_replog *replog)
{
    if (replog->is_started && !replog->is_closing) {
        replog->is_snapshot_due = true;
        raft_set_snapshot_threshold(&replog->raft, 1);
    }
}

/* By bytes, not by entries: the library counts entries only. */
static void seek_snapshot(struct bb_replog *replog)
{
    if (!replog->is_snapshot_due && replog->log_bytes > replog->snapshot_bytes) {
        replog->is_snapshot_due = true;
        raft_set_snapshot_threshold(&replog->raft, 1);
    }
}

static void on_tick(uv_timer_t *timer)
{
    struct bb_replog *replog = bb_cast(struct bb_replog, timer->data, REPLOG_MAGIC);

    if (replog->is_closing) {
        return;
    }
    replog_watch(replog);
    replog_install_tick(replog);
    replog_peers_tick(replog);
    seek_snapshot(replog);
    replog_seek_ready(replog);
}

/* ---- open and start ---- */

static int fail_raft(struct bb_ctx *ctx, const struct bb_replog *replog, int rc, const char *what,
                     const char *reason)
{
    if (rc == RAFT_CORRUPT || rc == RAFT_MALFORMED) {
        return bb_fail(ctx, BB_CORRUPT, "the log in %s cannot be used: %s. %s", replog->dir, reason,
                       replog->listen == NULL
                           ? "Nothing was changed; restore the data folder as a whole from a backup"
                           : "Replace this node: an empty folder, and a new number");
    }
    return bb_fail(ctx, replog_status_of(rc), "%s of the log in %s failed: %s", what, replog->dir,
                   reason[0] == 0 ? raft_strerror(rc) : reason);
}

/* The first start of a new cluster. A folder that has a log already is left as it is. */
static int bootstrap(struct bb_ctx *ctx, struct bb_replog *replog)
{
    struct raft_configuration configuration;
    int rc;

    if (replog->applied > 0 || replog->is_joining) {
        return BB_OK; /* the log must be there, loading says if it is not; or a leader sends it */
    }
    raft_configuration_init(&configuration);
    rc = replog->voter_count > 0
             ? 0
             : raft_configuration_add(&configuration, replog->id, replog->address, RAFT_VOTER);
    for (size_t i = 0; i < replog->voter_count && rc == 0; i++) {
        rc = raft_configuration_add(&configuration, replog->voters[i].id, replog->voters[i].address,
                                    RAFT_VOTER);
    }
    if (rc == 0) {
        rc = raft_bootstrap(&replog->raft, &configuration);
    }
    raft_configuration_close(&configuration);
    if (rc != 0 && rc != RAFT_CANTBOOTSTRAP) {
        return fail_raft(ctx, replog, rc, "first start", replog->io.errmsg);
    }
    return BB_OK;
}

/* The library takes "a.b.c.d:port" and says nothing useful about anything else. */
static bool is_numeric_address(const char *address)
{
    char host[64];
    struct sockaddr_in parsed;
    const char *colon = strchr(address, ':');
    size_t size = colon == NULL ? 0 : (size_t)(colon - address);
    long port = colon == NULL ? 0 : strtol(colon + 1, NULL, 10);

    if (size == 0 || size >= sizeof host || port <= 0 || port > 65535) {
        return false;
    }
    memcpy(host, address, size);
    host[size] = 0;
    return uv_ip4_addr(host, (int)port, &parsed) == 0;
}

/* Whoever reaches the port and knows the secret takes part: without one nobody else may reach it.
 */
static int check_listen(struct bb_ctx *ctx, const struct bb_replog *replog)
{
    if (!is_numeric_address(replog->listen)) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "the log cannot listen on %s: give a numeric address and a port, such as "
                       "127.0.0.1:3502",
                       replog->listen);
    }
    if (replog->secret.size == 0 && strncmp(replog->listen, "127.", 4) != 0) {
        return bb_fail(
            ctx, BB_BAD_REQUEST,
            "storage nodes that listen on %s need a secret: name a file that all of them "
            "have with --secret-file, or listen on 127.0.0.1",
            replog->listen);
    }
    return BB_OK;
}

static int open_raft(struct bb_ctx *ctx, struct bb_replog *replog)
{
    struct uv_loop_s *uv = bb_loop_uv(replog->loop);
    unsigned seed;
    int rc;

    replog_heap_start();
    replog->transport.version = 1; /* before init */
    rc = raft_uv_tcp_init(&replog->transport, uv);
    if (rc != 0) {
        return fail_raft(ctx, replog, rc, "start", "no transport");
    }
    replog->has_transport = true;
    if (replog->listen != NULL) {
        rc = check_listen(ctx, replog);
        if (rc != BB_OK) {
            return rc;
        }
        if (raft_uv_tcp_set_bind_address(&replog->transport, replog->listen) != 0) {
            return fail_raft(ctx, replog, RAFT_INVALID, "start", "no room for the address");
        }
    }
    replog_wrap_transport(replog);
    rc = raft_uv_init(&replog->io, uv, replog->dir, &replog->transport);
    if (rc != 0) {
        return fail_raft(ctx, replog, rc, "start", replog->io.errmsg);
    }
    replog->has_io = true;
    raft_uv_set_auto_recovery(&replog->io, false);
    raft_uv_set_disk_retry(&replog->io, 60000);
    raft_uv_set_connect_retry_delay(&replog->io, 100);

    replog_machine_init(replog);
    rc = raft_init(&replog->raft, &replog->io, &replog->fsm, replog->id, replog->address);
    if (rc != 0) {
        return fail_raft(ctx, replog, rc, "start", raft_errmsg(&replog->raft));
    }
    replog->has_raft = true;
    /* The library's own seed is made of milliseconds since the machine's start and of the clock:
     * two nodes of one machine had the same one now and then, and then elected themselves at the
     * same moments for ever. */
    bb_random(ctx, &seed, sizeof seed);
    raft_seed(&replog->raft, seed);
    raft_set_election_timeout(&replog->raft, REPLOG_ELECTION_MS);
    raft_set_heartbeat_timeout(&replog->raft, REPLOG_HEARTBEAT_MS);
    /* Not how long a state may take: after this the leader looks again where a node stands. */
    raft_set_install_snapshot_timeout(&replog->raft, 2000);
    raft_set_pre_vote(&replog->raft, true);
    raft_set_snapshot_threshold(&replog->raft, REPLOG_THRESHOLD_NEVER);
    raft_set_snapshot_trailing(&replog->raft, REPLOG_TRAILING_MAX);
    rc = bootstrap(ctx, replog);
    if (rc != BB_OK) {
        return rc;
    }
    replog_wrap_io(replog);
    return BB_OK;
}

int bb_replog_open(struct bb_ctx *ctx, struct bb_loop *loop,
                   const struct bb_replog_options *options, struct bb_replog **out)
{
    struct bb_replog *replog = bb_alloc_zero(1, sizeof *replog);
    struct bb_ctx *own = bb_loop_ctx(loop);
    int rc;

    bb_assert(options->id > 0);
    replog->magic = REPLOG_MAGIC;
    replog->loop = loop;
    replog->ctx = (struct bb_ctx){ .env = own->env, .log = own->log };
    replog->callbacks = options->callbacks;
    replog->dir = bb_strdup(options->dir);
    replog->address = bb_strdup(options->address == NULL ? ADDRESS_IF_NO_PEER : options->address);
    replog->listen = options->listen == NULL ? NULL : bb_strdup(options->listen);
    replog->id = options->id;
    replog->applied = options->applied;
    replog->shown = options->applied;
    replog->logged = options->logged;
    replog->snapshot_bytes =
        options->snapshot_bytes == 0 ? SNAPSHOT_BYTES : options->snapshot_bytes;
    replog->hold_bytes_max = options->hold_bytes_max == 0 ? HOLD_BYTES : options->hold_bytes_max;
    replog->trailing_max = REPLOG_TRAILING_MAX;
    replog->secret = bb_slice_dup(options->secret);
    replog->voters = options->voters;
    replog->voter_count = options->voter_count;
    replog->is_joining = options->is_joining;
    bb_list_init(&replog->proposals);
    bb_list_init(&replog->appends);
    bb_list_init(&replog->room.waiting);
    bb_list_init(&replog->peers.handshakes);
    (void)signal(SIGPIPE,
                 SIG_IGN); /* cannot fail for a known signal; a dead peer must not end us */

    rc = ctx->env->ops->make_dir(ctx, ctx->env, replog->dir);
    if (rc == BB_OK) {
        rc = replog_check_free_space(ctx, replog,
                                     options->free_bytes_min == 0 ? REPLOG_FREE_BYTES_MIN
                                                                  : options->free_bytes_min);
    }
    if (rc == BB_OK) {
        rc = replog_clear_half_start(ctx, replog);
    }
    if (rc == BB_OK) {
        rc = replog_read_own(ctx, replog);
    }
    if (rc == BB_OK && replog->listen == NULL) {
        rc = replog_check_tail(ctx, replog);
    }
    if (rc == BB_OK) {
        rc = open_raft(ctx, replog);
    }
    if (rc != BB_OK) {
        bb_replog_free(replog);
        return rc;
    }
    uv_timer_init(bb_loop_uv(loop), &replog->tick);
    replog->tick.data = replog;
    uv_timer_init(bb_loop_uv(loop), &replog->hand_on);
    replog->hand_on.data = replog;
    uv_timer_init(bb_loop_uv(loop), &replog->room.retry);
    replog->room.retry.data = replog;
    replog->handles_open = 3;
    *out = replog;
    return BB_OK;
}

int bb_replog_start(struct bb_ctx *ctx, struct bb_replog *replog)
{
    int rc = raft_start(&replog->raft);

    if (rc != 0) {
        return fail_raft(ctx, replog, rc, "start", raft_errmsg(&replog->raft));
    }
    replog->is_started = true;
    uv_timer_start(&replog->tick, on_tick, REPLOG_TICK_MS, REPLOG_TICK_MS);
    seek_snapshot(replog);
    replog_seek_ready(replog);
    return BB_OK;
}

uint64_t bb_replog_logged(struct bb_replog *replog)
{
    uint64_t stored = replog->is_started && !replog->is_closing ? replog->raft.last_stored : 0;
    uint64_t both = stored < replog->shown ? stored : replog->shown;

    if (both > replog->logged) {
        replog->logged = both;
    }
    return replog->logged;
}

void bb_replog_committed(struct bb_replog *replog, uint64_t index)
{
    if (index > replog->committed)
        replog->committed = index;
}

/* ---- close ---- */

static void closed_all(struct bb_replog *replog)
{
    if (replog->has_transport) {
        raft_uv_tcp_close(&replog->transport);
        replog->has_transport = false;
    }
    replog->is_closed = true;
    if (replog->is_pumped) {
        uv_stop(bb_loop_uv(replog->loop)); /* else it may sleep once more before it returns */
    }
    if (replog->closed != NULL) {
        replog->closed(replog->closed_arg);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct bb_replog *replog = bb_cast(struct bb_replog, handle->data, REPLOG_MAGIC);

    if (--replog->handles_open == 0) {
        closed_all(replog);
    }
}

static void on_raft_closed(struct raft *raft)
{
    struct bb_replog *replog = bb_container(raft, struct bb_replog, raft);

    raft_uv_close(&replog->io);
    replog->has_raft = replog->has_io = false;
    /* The transport goes one turn of the loop later: it may say twice that it is closed. */
    if (replog->handles_open > 0) {
        uv_close((uv_handle_t *)&replog->tick, on_timer_closed);
        uv_close((uv_handle_t *)&replog->hand_on, on_timer_closed);
        uv_close((uv_handle_t *)&replog->room.retry, on_timer_closed);
    } else {
        closed_all(replog);
    }
}

void bb_replog_close(struct bb_replog *replog, void (*closed)(void *arg), void *arg)
{
    bb_assert(!replog->is_closing);
    replog->is_closing = true;
    replog->closed = closed;
    replog->closed_arg = arg;
    replog_install_close(replog);
    replog_room_close(replog);
    replog_change_close(replog);
    if (replog->has_raft) {
        raft_close(&replog->raft, on_raft_closed);
        return;
    }
    if (replog->has_io) {
        raft_uv_close(&replog->io);
    }
    closed_all(replog);
}

static void secret_free(struct bb_replog *replog)
{
    union {
        const uint8_t *in;
        uint8_t *out;
    } bytes = { .in = replog->secret.data };

    if (replog->secret.size > 0) {
        explicit_bzero(bytes.out, replog->secret.size);
    }
    bb_free(bytes.out);
}

void bb_replog_free(struct bb_replog *replog)
{
    if (replog == NULL) {
        return;
    }
    if (!replog->is_closing) {
        bb_replog_close(replog, NULL, NULL);
    }
    replog->is_pumped = true;
    while (!replog->is_closed) {
        uv_run(bb_loop_uv(replog->loop), UV_RUN_ONCE);
    }
    bb_assert(bb_list_is_empty(&replog->proposals));
    replog_ballots_close(&replog->ctx, &replog->ballots);
    bb_free(replog->dir);
    bb_free(replog->address);
    bb_free(replog->listen);
    secret_free(replog);
    bb_free(replog);
}

/* ---- proposals ---- */

uint8_t *bb_replog_entry_new(size_t size)
{
    uint8_t *entry = raft_malloc(size);
    bb_assert(entry != NULL);
    return entry;
}

void bb_replog_entry_free(uint8_t *entry)
{
    raft_free(entry);
}

static void proposal_done(struct raft_apply *request, int status, void *result)
{
    struct replog_proposal *proposal = bb_container(request, struct replog_proposal, request);
    struct bb_replog *replog = proposal->replog;
    bb_replog_done_fn *done = proposal->done;
    void *tag = proposal->tag;

    (void)result; /* the application wrote its answer to the tag */
    bb_list_remove(&proposal->link);
    bb_free(proposal);
    done(tag, status == 0 ? BB_OK : BB_OUTCOME_UNKNOWN);
    replog_transfer_step(replog);
}

bool replog_submit(struct bb_replog *replog, struct replog_proposal *proposal, int *raft_status)
{
    struct raft_buffer buffer = { .base = proposal->entry, .len = proposal->size };

    bb_list_push_back(&replog->proposals, &proposal->link);
    *raft_status = raft_apply(&replog->raft, &proposal->request, &buffer, 1, proposal_done);
    replog_room_note(replog, *raft_status);
    if (*raft_status == 0) {
        seek_snapshot(replog);
        return true;
    }
    if (*raft_status != RAFT_NOTLEADER && *raft_status != RAFT_NOSPACE) {
        /* The entry may be in the log, or its memory freed: nothing safe is left to do. */
        replog_die(replog, REPLOG_EXIT_IO, "proposal", raft_strerror(*raft_status),
                   REPLOG_THEN_START);
    }
    bb_list_remove(&proposal->link);
    return false;
}

int bb_replog_propose_take(struct bb_ctx *ctx, struct bb_replog *replog, uint8_t *entry,
                           size_t size, bb_replog_done_fn *done, void *tag)
{
    struct replog_proposal *proposal;
    int rc;

    bb_assert(tag != NULL && size % 8 == 0 && size >= BB_REPLOG_FRAME_HEADER);
    if (size >= BB_REPLOG_LARGE) {
        bb_replog_pulse(replog); /* the library makes two copies of it and a checksum */
    }
    if (size > BB_REPLOG_ENTRY_MAX) {
        raft_free(entry);
        return bb_fail(ctx, BB_TOO_LARGE, "log entry of %zu bytes; the limit is %u", size,
                       BB_REPLOG_ENTRY_MAX);
    }
    if (!replog->is_started || replog->is_closing || !replog_is_leader(replog)) {
        raft_free(entry);
        return bb_fail(ctx, BB_NOT_LEADER, "this storage node does not lead");
    }
    if (!replog->is_ready) {
        raft_free(entry);
        return bb_fail(ctx, BB_NOT_YET, "this storage node leads and is not ready yet");
    }
    proposal = bb_alloc_zero(1, sizeof *proposal);
    proposal->replog = replog;
    memcpy(proposal->head, entry, sizeof proposal->head);
    proposal->size = size;
    proposal->done = done;
    proposal->tag = tag;
    if (replog_room_submit(replog, proposal, entry, &rc)) {
        return BB_OK;
    }
    bb_free(proposal);
    raft_free(entry);
    return bb_fail(ctx, replog_status_of(rc), "the log takes no entry: %s",
                   rc == RAFT_NOSPACE ? replog_room_why(replog)
                                      : "this node does not lead any more");
}
