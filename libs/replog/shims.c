/*
 * The guards around libraft's disk and network calls. The library drops the error of a failed write
 * of a term, a vote or an entry and goes on; here such an error ends the process. A write that
 * hangs is noticed by the watchdog, counted in ticks of the loop, so that a paused process does not
 * count its pause. Loading shows the application the entries that the snapshot covers and its disk
 * lacks.
 */
#include "replog_internal.h"

#include "bb/failpoint.h"

struct wrapped_append {
    struct bb_list link;
    struct raft_io_append request; /* what the library's disk code gets */
    struct bb_replog *replog;
    struct raft_io_append *caller;
    raft_io_append_cb done;
    uint64_t bytes;
};

struct wrapped_put {
    struct raft_io_snapshot_put request;
    struct bb_replog *replog;
    struct raft_io_snapshot_put *caller;
    raft_io_snapshot_put_cb done;
};

static struct bb_replog *replog_of(struct raft_io *io)
{
    return bb_container(io, struct bb_replog, io);
}

/* ---- writes ---- */

static void append_done(struct raft_io_append *request, int status)
{
    struct wrapped_append *append = request->data;
    struct bb_replog *replog = append->replog;

    if (status != 0 && !replog->is_closing) {
        replog_die_of_disk(replog, REPLOG_EXIT_APPEND, "append", raft_strerror(status));
    }
    bb_failpoint(replog->ctx.env, BB_FAILPOINT_LOG_APPEND_AFTER);
    bb_list_remove(&append->link);
    replog->append_bytes -= append->bytes;
    replog->append_ticks = 0;
    append->done(append->caller, status);
    bb_free(append);
}

static int wrapped_append(struct raft_io *io, struct raft_io_append *request,
                          const struct raft_entry entries[], unsigned count, raft_io_append_cb done)
{
    struct bb_replog *replog = replog_of(io);
    struct wrapped_append *append = bb_alloc_zero(1, sizeof *append);
    int rc;

    append->replog = replog;
    append->caller = request;
    append->done = done;
    append->request.data = append;
    for (unsigned i = 0; i < count; i++) {
        append->bytes += entries[i].buf.len;
        replog_flow_note(replog, entries[i].buf.len);
        replog_life_note(replog, entries[i].buf.len);
    }
    replog->log_bytes += append->bytes;
    replog->append_bytes += append->bytes;
    if (bb_list_is_empty(&replog->appends)) {
        replog->append_ticks = 0;
    }
    bb_list_push_back(&replog->appends, &append->link);
    bb_failpoint(replog->ctx.env, BB_FAILPOINT_LOG_APPEND_BEFORE);
    rc = replog->real.append(io, &append->request, entries, count, append_done);
    if (rc != 0) {
        replog_die_of_disk(replog, REPLOG_EXIT_APPEND, "append", io->errmsg);
    }
    return 0;
}

/* Before libraft's own file has it: whoever ends between the two has told nobody yet. */
static void write_ballot(struct bb_replog *replog, const char *what, raft_term term, raft_id vote)
{
    struct bb_ctx ctx = { .env = replog->ctx.env };

    if (replog_ballots_write(&ctx, &replog->ballots, term, vote) != BB_OK) {
        replog_die_of_disk(replog, REPLOG_EXIT_IO, what, ctx.error);
    }
}

static int wrapped_set_term(struct raft_io *io, raft_term term)
{
    struct bb_replog *replog = replog_of(io);
    write_ballot(replog, "write of the term", term, 0);
    if (replog->real.set_term(io, term) != 0) {
        replog_die_of_disk(replog, REPLOG_EXIT_IO, "write of the term", io->errmsg);
    }
    return 0;
}

static int wrapped_set_vote(struct raft_io *io, raft_id server_id)
{
    struct bb_replog *replog = replog_of(io);
    write_ballot(replog, "write of the vote", replog->ballots.newest.term, server_id);
    if (replog->real.set_vote(io, server_id) != 0) {
        replog_die_of_disk(replog, REPLOG_EXIT_IO, "write of the vote", io->errmsg);
    }
    return 0;
}

static int wrapped_truncate(struct raft_io *io, raft_index index)
{
    struct bb_replog *replog = replog_of(io);
    if (index <= replog->logged) {
        replog_die(replog, REPLOG_EXIT_IO, "truncate",
                   "the node that leads lacks entries that were committed",
                   "keep its folder: it has what others may have lost");
    }
    if (replog->real.truncate(io, index) != 0) {
        replog_die_of_disk(replog, REPLOG_EXIT_IO, "truncate", io->errmsg);
    }
    return 0;
}

static void put_done(struct raft_io_snapshot_put *request, int status)
{
    struct wrapped_put *put = request->data;
    struct bb_replog *replog = put->replog;

    if (status != 0 && !replog->is_closing) {
        replog_die_of_disk(replog, REPLOG_EXIT_IO, "write of a snapshot", raft_strerror(status));
    }
    bb_failpoint(replog->ctx.env, BB_FAILPOINT_LOG_SNAPSHOT_AFTER);
    replog->snapshots_in_flight -= 1;
    replog->snapshot_ticks = 0;
    put->done(put->caller, status);
    bb_free(put);
}

static int wrapped_snapshot_put(struct raft_io *io, unsigned trailing,
                                struct raft_io_snapshot_put *request,
                                const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb done)
{
    struct bb_replog *replog = replog_of(io);
    struct wrapped_put *put = bb_alloc_zero(1, sizeof *put);

    put->replog = replog;
    put->caller = request;
    put->done = done;
    put->request.data = put;
    replog->snapshots_in_flight += 1;
    replog->snapshot_ticks = 0;
    bb_failpoint(replog->ctx.env, BB_FAILPOINT_LOG_SNAPSHOT_BEFORE);
    if (replog->real.snapshot_put(io, trailing, &put->request, snapshot, put_done) != 0) {
        replog_die_of_disk(replog, REPLOG_EXIT_IO, "write of a snapshot", io->errmsg);
    }
    return 0;
}

/* ---- sending a snapshot ---- */

struct wrapped_get {
    struct raft_io_snapshot_get request;
    struct bb_replog *replog;
    struct raft_io_snapshot_get *caller;
    raft_io_snapshot_get_cb done;
};

static void got(struct raft_io_snapshot_get *request, struct raft_snapshot *snapshot, int status)
{
    struct wrapped_get *get = request->data;

    if (status == 0) {
        get->replog->got_index = snapshot->index;
        get->replog->got_term = snapshot->term;
        replog_hold_begin(get->replog, snapshot->index);
        get->done(get->caller, snapshot, status); /* sends it */
    }
    /* Else the library would free parts of its message that it has not set: it leaks instead, and
     * is lost as if on its way. */
    bb_free(get);
}

static int wrapped_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *request,
                                raft_io_snapshot_get_cb done)
{
    struct bb_replog *replog = replog_of(io);
    struct wrapped_get *get = bb_alloc_zero(1, sizeof *get);
    int rc;

    get->replog = replog;
    get->caller = request;
    get->done = done;
    get->request.data = get;
    rc = replog->real.snapshot_get(io, &get->request, got);
    if (rc != 0) {
        bb_free(get);
    }
    return rc;
}

/*
 * The library decides to send the snapshot that it knows and reads the newest that is there, which
 * may be one that was being written. It then corrects the index in its message and not the term.
 * The node that gets it has a wrong term under a committed index for ever, and takes nothing any
 * more.
 */
static int wrapped_send(struct raft_io *io, struct raft_io_send *request,
                        const struct raft_message *message, raft_io_send_cb done)
{
    struct bb_replog *replog = replog_of(io);
    struct raft_message right = *message;

    if (message->type == RAFT_INSTALL_SNAPSHOT &&
        message->install_snapshot.last_index == replog->got_index) {
        right.install_snapshot.last_term = replog->got_term;
    }
    /* It waits for one that may lead: who is asked with no index says no. */
    if (message->type == RAFT_REQUEST_VOTE &&
        message->request_vote.last_log_index < replog->committed) {
        right.request_vote.last_log_index = right.request_vote.last_log_term = 0;
    }
    return replog_renew_send(replog, request, &right, done);
}

/* ---- time ---- */

/*
 * What the disk writes at a time is one entry, or a few that lie in one file. A leader whose disk
 * hangs gets further entries for as long as others commit them: they do not count.
 */
static uint64_t append_ticks_max(const struct bb_replog *replog)
{
    const struct wrapped_append *first =
        bb_container(replog->appends.next, struct wrapped_append, link);
    uint64_t others = replog->append_bytes - first->bytes;

    if (others > REPLOG_APPEND_BATCH_BYTES) {
        others = REPLOG_APPEND_BATCH_BYTES;
    }
    return REPLOG_APPEND_TICKS_MAX + (first->bytes + others) / REPLOG_APPEND_TICK_BYTES;
}

void replog_watch(struct bb_replog *replog)
{
    replog_room_tick(replog);
    if (!bb_list_is_empty(&replog->appends) && ++replog->append_ticks >= append_ticks_max(replog)) {
        replog_die_of_disk(replog, REPLOG_EXIT_HANG, "append", "no answer for 3 s or more");
    }
    if (replog->snapshots_in_flight > 0 && ++replog->snapshot_ticks >= REPLOG_SNAPSHOT_TICKS_MAX) {
        replog_die_of_disk(replog, REPLOG_EXIT_HANG, "write of a snapshot", "no answer for 30 s");
    }
}

/* ---- loading ---- */

static void entries_free(struct raft_entry *entries, size_t count)
{
    const void *batch = NULL;

    for (size_t i = 0; i < count; i++) {
        if (entries[i].batch == NULL) {
            raft_free(entries[i].buf.base);
        } else if (entries[i].batch != batch) {
            batch = entries[i].batch;
            raft_free(entries[i].batch);
        }
    }
    raft_free(entries);
}

/*
 * Gives each of the entries memory of its own. Those of a file lie in one piece, which the library
 * frees with the last of them that its log has, also while a message that is being sent still holds
 * others, and again when that is sent (log.c: isBatchReferenced looks at the log alone).
 */
static void entries_part(struct raft_entry *entries, size_t count)
{
    for (size_t first = 0, next; first < count; first = next) {
        void *batch = entries[first].batch;
        next = first + 1;
        while (next < count && batch != NULL && entries[next].batch == batch) {
            next++;
        }
        if (next - first == 1) {
            continue;
        }
        for (size_t i = first; i < next; i++) {
            size_t size = entries[i].buf.len;
            /* The library gives it back by free, as all that is its own. */
            void *own = bb_alloc(size);
            if (size > 0) {
                memcpy(own, entries[i].buf.base, size);
            }
            entries[i].batch = entries[i].buf.base = own;
        }
        raft_free(batch);
    }
}

static void snapshot_free(struct raft_snapshot *snapshot)
{
    if (snapshot == NULL) {
        return;
    }
    for (unsigned i = 0; i < snapshot->n_bufs; i++) {
        raft_free(snapshot->bufs[i].base);
    }
    raft_free(snapshot->bufs);
    raft_configuration_close(&snapshot->configuration);
    raft_free(snapshot);
}

/* What a start makes of libraft's files and of the ballots. */
struct settling {
    raft_term term;
    raft_id vote;
    bool raft_is_behind;   /* its files have yet to say so */
    bool ballot_is_behind; /* so has the ballot */
    bool makes_ballots;    /* anew: there are none that hold */
};

/* Without peers nothing was promised to anybody: the later term does. */
static void settle_alone(struct bb_replog *replog, struct settling *settling)
{
    uint64_t ours = replog->ballots.newest.term;

    bb_warn(&replog->ctx, "replog.ballot",
            "dir=%s term=%llu ballot_term=%" PRIu64 " effect=\"the later one is taken\"",
            replog->dir, settling->term, ours);
    settling->makes_ballots = true;
    if (ours > settling->term) {
        settling->raft_is_behind = true;
        settling->term = ours;
        settling->vote = 0;
    }
}

static int settle_match(struct bb_replog *replog, struct settling *settling)
{
    const struct replog_ballot *newest = &replog->ballots.newest;

    switch (replog_ballots_match(&replog->ballots, settling->term, settling->vote)) {
    case REPLOG_BALLOT_SAME:
        return 0;
    case REPLOG_BALLOT_AHEAD:
        settling->raft_is_behind = true;
        settling->term = newest->term;
        settling->vote = newest->vote;
        return 0;
    case REPLOG_BALLOT_BEHIND:
        bb_warn(&replog->ctx, "replog.ballot",
                "dir=%s term=%llu vote=%llu ballot_term=%" PRIu64 " ballot_vote=%" PRIu64
                " effect=\"the later one is taken\"",
                replog->dir, settling->term, settling->vote, newest->term, newest->vote);
        settling->ballot_is_behind = true;
        return 0;
    case REPLOG_BALLOT_OTHER:
        break;
    }
    if (replog->listen == NULL) {
        settle_alone(replog, settling);
        return 0;
    }
    (void)snprintf(replog->io.errmsg, sizeof replog->io.errmsg,
                   "metadata1 and 2 say term %llu, vote %llu, its file ballot says term %" PRIu64
                   ", vote %" PRIu64 "; one is damaged or older (if a version that keeps no ballot "
                   "ran last: remove ballot)",
                   settling->term, settling->vote, newest->term, newest->vote);
    return RAFT_CORRUPT;
}

static int ballot_failed(struct bb_replog *replog, const struct bb_ctx *ctx, int rc)
{
    (void)snprintf(replog->io.errmsg, sizeof replog->io.errmsg, "%.200s", ctx->error);
    return rc == BB_CORRUPT ? RAFT_CORRUPT : RAFT_IOERR;
}

/*
 * What this node has promised, by libraft's files, which are given, and the ballots. A folder of a
 * version that kept no ballots gets them. Writes nothing: what is refused stays as it is.
 */
static int settle(struct bb_replog *replog, struct settling *settling)
{
    struct bb_ctx ctx = { .env = replog->ctx.env };
    int rc = replog_ballots_read(&ctx, replog->dir, &replog->ballots);

    if (rc == BB_OK) {
        return settle_match(replog, settling);
    }
    if (rc == BB_NOT_FOUND) {
        settling->makes_ballots = true;
        return 0;
    }
    if (rc == BB_CORRUPT && replog->listen == NULL) {
        settle_alone(replog, settling);
        return 0;
    }
    return ballot_failed(replog, &ctx, rc);
}

/* Both say the same when this returns 0. `written` is the term in libraft's files. */
static int settle_write(struct bb_replog *replog, const struct settling *settling,
                        raft_term written)
{
    struct bb_ctx ctx = { .env = replog->ctx.env };
    struct replog_ballots *ballots = &replog->ballots;
    uint64_t term = settling->term, vote = settling->vote;
    int raft_status = 0;
    int rc;

    if (settling->makes_ballots) {
        rc = replog_ballots_create(&ctx, replog->dir, term, vote, ballots);
    } else {
        rc = replog_ballots_open(&ctx, replog->dir, ballots);
    }
    if (rc == BB_OK && settling->ballot_is_behind) {
        rc = replog_ballots_write(&ctx, ballots, term, vote);
    }
    if (rc != BB_OK) {
        return ballot_failed(replog, &ctx, rc);
    }
    if (settling->raft_is_behind && term != written) {
        raft_status = replog->real.set_term(&replog->io, term);
    }
    if (raft_status == 0 && settling->raft_is_behind && vote != 0) {
        raft_status = replog->real.set_vote(&replog->io, vote);
    }
    return raft_status;
}

/* No entry is of a later term than the node has seen. */
static bool term_fits(struct bb_replog *replog, uint64_t term, uint64_t newest)
{
    if (newest > term) {
        (void)snprintf(replog->io.errmsg, sizeof replog->io.errmsg,
                       "it has entries of term %" PRIu64 ", and has seen no term after %" PRIu64,
                       newest, term);
    }
    return newest <= term;
}

/* Whether the log that was loaded fits to data applied up to replog->applied. */
static bool log_fits(struct bb_replog *replog, uint64_t covered, uint64_t start, size_t count)
{
    uint64_t applied = replog->applied;
    uint64_t last = start + count - 1;

    if (applied < covered && start > applied + 1) {
        (void)snprintf(replog->io.errmsg, sizeof replog->io.errmsg,
                       "it starts at entry %" PRIu64 ", the data ends at entry %" PRIu64, start,
                       applied);
        return false;
    }
    /*
     * Who has a vote and a log that lost its end would help to elect a node that never had that
     * end. libraft takes a damaged entry for the end of the log.
     */
    if (last < replog->logged) {
        (void)snprintf(replog->io.errmsg, sizeof replog->io.errmsg,
                       "it ends at entry %" PRIu64 ", and had all up to entry %" PRIu64, last,
                       replog->logged);
        return false;
    }
    /* With peers the state machine may be ahead: it applies what is committed before its own write.
     */
    if (replog->listen == NULL && last < applied) {
        (void)snprintf(replog->io.errmsg, sizeof replog->io.errmsg,
                       "it ends at entry %" PRIu64 ", the data at entry %" PRIu64, last, applied);
        return false;
    }
    return true;
}

static int wrapped_load(struct raft_io *io, raft_term *term, raft_id *voted_for,
                        struct raft_snapshot **snapshot, raft_index *start_index,
                        struct raft_entry *entries[], size_t *count)
{
    struct bb_replog *replog = replog_of(io);
    struct settling settling;
    uint64_t covered, newest, index;
    int rc = replog->real.load(io, term, voted_for, snapshot, start_index, entries, count);

    if (rc != 0) {
        return rc;
    }
    covered = *snapshot == NULL ? 0 : (*snapshot)->index;
    newest = *count > 0 ? (*entries)[*count - 1].term : *snapshot == NULL ? 0 : (*snapshot)->term;
    settling = (struct settling){ .term = *term, .vote = *voted_for };
    rc = settle(replog, &settling);
    if (rc == 0 && (!term_fits(replog, settling.term, newest) ||
                    !log_fits(replog, covered, *start_index, *count))) {
        rc = RAFT_CORRUPT;
    }
    if (rc == 0) {
        rc = settle_write(replog, &settling, *term);
    }
    if (rc != 0) {
        entries_free(*entries, *count);
        snapshot_free(*snapshot);
        return rc;
    }
    *term = settling.term;
    *voted_for = settling.vote;
    entries_part(*entries, *count);
    for (size_t k = 0; k < *count; k++) {
        const struct raft_entry *entry = &(*entries)[k];
        index = *start_index + k;
        replog_note_size(replog, index, entry->buf.len);
        replog_flow_note(replog, entry->buf.len);
        if (index > covered) {
            replog->log_bytes += entry->buf.len;
        } else if (entry->type == RAFT_COMMAND && index > replog->applied) {
            replog_show(replog, index, &entry->buf);
        }
    }
    return 0;
}

void replog_wrap_io(struct bb_replog *replog)
{
    struct raft_io *io = &replog->io;

    replog_blocks_start();
    replog_aio_start();
    replog_crc_start();
    replog->real = (struct replog_real_io){
        .load = io->load,
        .set_term = io->set_term,
        .set_vote = io->set_vote,
        .append = io->append,
        .truncate = io->truncate,
        .snapshot_put = io->snapshot_put,
        .snapshot_get = io->snapshot_get,
        .send = io->send,
    };
    io->load = wrapped_load;
    io->set_term = wrapped_set_term;
    io->set_vote = wrapped_set_vote;
    io->append = wrapped_append;
    io->truncate = wrapped_truncate;
    io->snapshot_put = wrapped_snapshot_put;
    io->snapshot_get = wrapped_snapshot_get;
    io->send = wrapped_send;
    replog_wrap_recv(replog);
}
