#include "core.h"

#include "bb/env.h"
#include "bb/wire.h"
#include "bb/wire_validate.h"

void sequencer_core_init(struct sequencer_core *core, const struct sequencer_limits *limits)
{
    *core = (struct sequencer_core){ .limits = *limits };
    core->ids = sequencer_ids_new(limits->ids_max);
    core->window = bb_occ_new(BB_TX_NONE, SEQUENCER_WINDOW_BYTES, limits->seed);
    sequencer_ring_init(&core->ring, 0);
    sequencer_lanes_init(&core->lanes);
    bb_buf_init(&core->batch);
}

void sequencer_core_fini(struct sequencer_core *core)
{
    sequencer_ids_free(core->ids);
    bb_occ_free(core->window);
    sequencer_ring_fini(&core->ring);
    sequencer_lanes_fini(&core->lanes);
    bb_buf_fini(&core->batch);
}

/* ---- the epoch ---- */

int sequencer_core_check_clock(struct bb_ctx *ctx, const uint64_t *walls_us, size_t count,
                               size_t voters)
{
    uint64_t wall_us = bb_wall_us(ctx);
    size_t agreeing = 0;

    for (size_t i = 0; i < count; i++) {
        if (wall_us <= walls_us[i] + SEQUENCER_CLOCK_AHEAD_US)
            agreeing++;
    }
    if (agreeing >= voters / 2 + 1)
        return BB_OK;
    return bb_fail(ctx, BB_UNAVAILABLE,
                   "only %zu of %zu storage nodes answered with a clock at most 5 s behind this "
                   "one's: set the clock of this host",
                   agreeing, voters);
}

void sequencer_core_claimed(struct bb_ctx *ctx, struct sequencer_core *core, uint64_t epoch,
                            uint64_t last_seq, uint64_t last_tx)
{
    bb_assert(!core->is_active && epoch != 0);
    core->epoch = epoch;
    core->seq = last_seq;
    core->claim_tx = core->sequenced = core->durable = last_tx;
    sequencer_clock_init(&core->clock, bb_now_us(ctx), bb_wall_us(ctx));
    bb_occ_raise_floor(core->window, BB_TX(last_tx));
    core->ring.floor = last_tx;
}

void sequencer_core_load_id(struct sequencer_core *core, struct bb_slice id, struct bb_txtime tx)
{
    struct bb_txtime known;

    bb_assert(id.size == SEQUENCER_ID_BYTES && !core->is_active);
    if (sequencer_ids_find(core->ids, id.data, &known) == SEQUENCER_ID_UNKNOWN)
        sequencer_ids_add(core->ids, id.data, SEQUENCER_ID_SEQUENCED, tx);
    if (tx.us > SEQUENCER_IDS_US)
        sequencer_ids_expire(core->ids, BB_TX(tx.us - SEQUENCER_IDS_US));
}

void sequencer_core_activate(struct sequencer_core *core)
{
    bb_assert(core->epoch != 0);
    core->is_active = true;
}

/* ---- commits ---- */

static bool is_overloaded(struct bb_ctx *ctx, const struct sequencer_core *core, size_t more)
{
    if (core->pending_bytes + more > SEQUENCER_PENDING_MAX)
        return true;
    if (core->durable_number == core->ring.next)
        return false;
    uint64_t oldest_us = sequencer_ring_at(&core->ring, core->durable_number)->at_us;
    return bb_now_us(ctx) > oldest_us + SEQUENCER_PENDING_US;
}

/* `*lost`: 1 + the index of the read that was overwritten. */
static bool is_still_valid(const struct sequencer_core *core, uint64_t epoch,
                           const Bb__Proto__Commit *commit, uint32_t *lost)
{
    if (epoch != core->epoch || commit->snapshot > core->sequenced ||
        commit->snapshot < bb_occ_floor(core->window).us)
        return false;
    if (commit->snapshot == core->sequenced)
        return true; /* nothing was written since */
    for (size_t i = 0; i < commit->n_reads; i++) {
        const Bb__Proto__Range *range = commit->reads[i];
        struct bb_txtime newest =
            bb_occ_newest_in(core->window, bb_pb_slice(range->low), bb_pb_slice(range->high),
                             BB_TX(commit->snapshot));
        if (newest.us != 0) {
            *lost = (uint32_t)i + 1;
            return false;
        }
    }
    return true;
}

/* Every key of every write, touched ones too: whoever read the document or its range has lost. */
static void remember_writes(struct sequencer_core *core, const Bb__Proto__TxBody *body, uint64_t tx)
{
    for (size_t i = 0; i < body->n_writes; i++) {
        const Bb__Proto__Write *write = body->writes[i];
        /* Filling or cleaning an index changes no document: whoever read one has nothing to lose.
         */
        if (!write->is_index_only)
            bb_occ_add(core->window, bb_pb_slice(write->doc_key), BB_TX(tx));
        for (size_t k = 0; k < write->n_keys; k++)
            bb_occ_add(core->window, bb_pb_slice(write->keys[k]->key), BB_TX(tx));
    }
}

static uint64_t sequence(struct bb_ctx *ctx, struct sequencer_core *core,
                         const Bb__Proto__Commit *commit, const Bb__Proto__TxBody *body)
{
    uint64_t now_us = bb_now_us(ctx);
    uint64_t tx = sequencer_clock_read(&core->clock, now_us);
    Bb__Proto__TxRecord record;

    if (tx <= core->sequenced)
        tx = core->sequenced + 1;
    bb__proto__tx_record__init(&record);
    record.tx = tx;
    record.prev = core->sequenced;
    record.body = commit->body;
    size_t size = protobuf_c_message_get_packed_size(&record.base);
    uint8_t *bytes = bb_alloc(size);
    size_t done = protobuf_c_message_pack(&record.base, bytes);
    bb_assert(done == size);
    sequencer_ring_take(&core->ring, tx, now_us, bytes, size);
    core->pending_bytes += size;
    remember_writes(core, body, tx);
    sequencer_ids_add(core->ids, commit->request_id.data, SEQUENCER_ID_SEQUENCED, BB_TX(tx));
    core->sequenced = tx;
    core->commits++;
    return tx;
}

/* Storage takes no shorter key. What it refuses must never get a tx: it would be sent for ever. */
static bool has_whole_keys(const Bb__Proto__TxBody *body)
{
    for (size_t i = 0; i < body->n_writes; i++) {
        const Bb__Proto__Write *write = body->writes[i];
        if (write->doc_key.len < SEQUENCER_KEY_MIN)
            return false;
        for (size_t k = 0; k < write->n_keys; k++) {
            if (write->keys[k]->key.len < SEQUENCER_KEY_MIN)
                return false;
        }
    }
    return true;
}

/* The body must be ours to read and carry the id it is committed under: the id is what a later
 * sequencer finds in the log. */
static int read_body(struct bb_ctx *ctx, const Bb__Proto__Commit *commit, Bb__Proto__TxBody **body)
{
    int rc = bb_unpack(ctx, ctx->arena, &bb__proto__tx_body__descriptor, bb_pb_slice(commit->body),
                       body);

    if (rc == BB_OK)
        rc = bb_tx_body_validate(ctx, *body);
    if (rc == BB_OK &&
        !bb_slice_equal(bb_pb_slice((*body)->request_id), bb_pb_slice(commit->request_id)))
        rc = bb_fail(ctx, BB_BAD_REQUEST, "the body of a commit carries another request id");
    if (rc == BB_OK && !has_whole_keys(*body))
        rc = bb_fail(ctx, BB_BAD_REQUEST, "a key in the body of a commit names no index");
    return rc;
}

/* ---- a row of commits ---- */

struct row {
    struct sequencer_core *core;
    uint64_t epoch, session;
    bool has_lease;
    Bb__Proto__Commit *const *commits;
    Bb__Proto__TxBody **bodies;
    size_t count;
    /* What a commit of the row wrote that is not sequenced now: whoever follows and read that has
     * lost. */
    const Bb__Proto__TxBody **failed;
    size_t failed_count;
    bool is_broken; /* nothing that follows can be trusted */
};

/* What holds before anything of the row is sequenced. The id comes first: a retry whose first run
 * was sequenced must hear of that, whatever has changed since. */
static int check(struct bb_ctx *ctx, const struct row *row, size_t i, Bb__Proto__Outcome *outcome)
{
    struct sequencer_core *core = row->core;
    const Bb__Proto__Commit *commit = row->commits[i];
    struct bb_txtime tx = BB_TX_NONE;

    enum sequencer_id_state state = sequencer_ids_find(core->ids, commit->request_id.data, &tx);
    outcome->tx = state == SEQUENCER_ID_SEQUENCED ? tx.us : core->sequenced;
    if (state == SEQUENCER_ID_SEQUENCED)
        return BB_DUPLICATE;
    /* Somebody may have been told that it changed nothing: a late run of it must not. */
    if (state == SEQUENCER_ID_DEAD || (state == SEQUENCER_ID_FINISHED && commit->body.len > 0))
        return BB_CANCELLED;
    if (commit->body.len > SEQUENCER_BODY_MAX)
        return BB_TOO_LARGE;
    if (commit->body.len > 0) {
        int rc = read_body(ctx, commit, &row->bodies[i]);
        if (rc != BB_OK)
            return rc;
    }
    return is_still_valid(core, row->epoch, commit, &outcome->lost) ? BB_OK : BB_CONFLICT;
}

static bool reads_key(const Bb__Proto__Commit *commit, ProtobufCBinaryData key, uint32_t *lost)
{
    for (size_t i = 0; i < commit->n_reads; i++) {
        const Bb__Proto__Range *range = commit->reads[i];
        if (bb_slice_compare(bb_pb_slice(range->low), bb_pb_slice(key)) <= 0 &&
            bb_slice_compare(bb_pb_slice(key), bb_pb_slice(range->high)) < 0) {
            *lost = (uint32_t)i + 1;
            return true;
        }
    }
    return false;
}

/* Has it read what a failed commit of its row wrote? */
static bool reads_failed(const struct row *row, const Bb__Proto__Commit *commit, uint32_t *lost)
{
    for (size_t f = 0; f < row->failed_count; f++) {
        const Bb__Proto__TxBody *body = row->failed[f];
        for (size_t w = 0; w < body->n_writes; w++) {
            const Bb__Proto__Write *write = body->writes[w];
            if (reads_key(commit, write->doc_key, lost))
                return true;
            for (size_t k = 0; k < write->n_keys; k++) {
                if (reads_key(commit, write->keys[k]->key, lost))
                    return true;
            }
        }
    }
    return false;
}

/* A hold of an older reservation is in the way of one of its writes. */
static bool is_held_up(const struct row *row, const Bb__Proto__Commit *commit,
                       const Bb__Proto__TxBody *body, uint32_t *lost)
{
    const struct sequencer_lanes *lanes = &row->core->lanes;

    for (size_t w = 0; w < body->n_writes && lanes->held_count > 0; w++) {
        const Bb__Proto__Write *write = body->writes[w];
        ProtobufCBinaryData key = write->doc_key;
        bool is_held = sequencer_lanes_block(lanes, row->session, commit->hold, bb_pb_slice(key));
        for (size_t k = 0; k < write->n_keys && !is_held; k++) {
            key = write->keys[k]->key;
            is_held = sequencer_lanes_block(lanes, row->session, commit->hold, bb_pb_slice(key));
        }
        if (is_held) {
            (void)reads_key(commit, key, lost);
            return true;
        }
    }
    return false;
}

/* One that changed nothing, or failed. */
static int finish(struct bb_ctx *ctx, struct row *row, const Bb__Proto__Commit *commit, int status,
                  enum sequencer_id_state state, Bb__Proto__Outcome *outcome)
{
    if (status != BB_OK)
        return status;
    outcome->tx = 0;
    if (!row->has_lease)
        return BB_OVERLOADED;
    if (state == SEQUENCER_ID_UNKNOWN) {
        uint64_t now = sequencer_clock_read(&row->core->clock, bb_now_us(ctx));
        sequencer_ids_add(row->core->ids, commit->request_id.data, SEQUENCER_ID_FINISHED,
                          BB_TX(now));
    }
    return BB_OK;
}

/* `status`: of check. The status of the outcome, and what the rest of the row must know. */
static int settle(struct bb_ctx *ctx, struct row *row, size_t i, int status,
                  Bb__Proto__Outcome *outcome)
{
    const Bb__Proto__Commit *commit = row->commits[i];
    const Bb__Proto__TxBody *body = row->bodies[i];
    struct bb_txtime tx = BB_TX_NONE;
    enum sequencer_id_state state =
        sequencer_ids_find(row->core->ids, commit->request_id.data, &tx);

    /* All ids were looked up before anything of the row was settled: its twin may be by now. */
    if (status == BB_OK && state == SEQUENCER_ID_SEQUENCED) {
        outcome->tx = tx.us;
        status = BB_DUPLICATE;
    } else if (status == BB_OK && state == SEQUENCER_ID_FINISHED && commit->body.len > 0) {
        status = BB_CANCELLED;
    }
    if (status == BB_OK && (row->is_broken || reads_failed(row, commit, &outcome->lost)))
        status = BB_CONFLICT;
    if (commit->body.len == 0)
        return finish(ctx, row, commit, status, state, outcome);
    if (status == BB_OK && is_held_up(row, commit, body, &outcome->lost)) {
        row->core->held_up++;
        status = BB_BUSY;
    }
    if (status == BB_OK && is_overloaded(ctx, row->core, commit->body.len))
        status = BB_OVERLOADED;
    if (status == BB_OK) {
        outcome->tx = sequence(ctx, row->core, commit, body);
    } else if (status == BB_CONFLICT && body != NULL) {
        row->failed[row->failed_count++] = body;
    } else {
        row->is_broken = true;
    }
    return status;
}

void sequencer_core_commit(struct bb_ctx *ctx, struct sequencer_core *core, uint64_t epoch,
                           uint64_t session, Bb__Proto__Commit *const *commits, size_t count,
                           bool has_lease, Bb__Proto__Outcome *const *outcomes)
{
    struct row row = { .core = core,
                       .epoch = epoch,
                       .session = session,
                       .has_lease = has_lease,
                       .commits = commits,
                       .bodies = bb_arena_zero(ctx->arena, count, sizeof(void *)),
                       .count = count,
                       .failed = bb_arena_zero(ctx->arena, count, sizeof(void *)),
                       .is_broken = commits[0]->follows };

    bb_assert(core->is_active && row.bodies != NULL && row.failed != NULL);
    for (size_t i = 0; i < count; i++)
        outcomes[i]->status = (uint32_t)check(ctx, &row, i, outcomes[i]);
    for (size_t i = 0; i < count; i++) {
        int status = settle(ctx, &row, i, (int)outcomes[i]->status, outcomes[i]);
        outcomes[i]->status = (uint32_t)status;
        core->conflicts += status == BB_CONFLICT;
        if (status == BB_CONFLICT && outcomes[i]->lost != 0)
            sequencer_lanes_heat(&core->lanes, commits[i]->reads[outcomes[i]->lost - 1],
                                 bb_now_us(ctx));
    }
    bb_assert(core->sequenced >= core->durable);
}

/* ---- to storage ---- */

const struct sequencer_append *sequencer_core_next_append(struct sequencer_core *core)
{
    if (core->is_appending || core->append_number == core->ring.next)
        return NULL;
    bb_buf_clear(&core->batch);
    while (core->append_number < core->ring.next) {
        const struct sequencer_record *record = sequencer_ring_at(&core->ring, core->append_number);
        if (core->batch.size > 0 &&
            core->batch.size + record->bytes.size + 4 > core->limits.batch_bytes)
            break;
        bb_put_le32(bb_buf_reserve(&core->batch, 4), (uint32_t)record->bytes.size);
        core->batch.size += 4;
        bb_buf_append_slice(&core->batch, record->bytes);
        core->append.last_tx = record->tx;
        core->append_number++;
    }
    core->append.epoch = core->epoch;
    core->append.seq = ++core->seq;
    core->append.base_tx = core->durable;
    core->append.batch = bb_buf_slice(&core->batch);
    core->is_appending = true;
    return &core->append;
}

static void move_durable(struct sequencer_core *core)
{
    bb_assert(core->append.last_tx > core->durable);
    core->durable = core->append.last_tx;
    core->is_appending = false;
    while (core->durable_number < core->append_number) {
        core->pending_bytes -= sequencer_ring_at(&core->ring, core->durable_number)->bytes.size;
        core->durable_number++;
    }
    bb_assert(core->durable <= core->sequenced);
}

bool sequencer_core_is_under_way(const struct sequencer_core *core, uint64_t epoch, uint64_t seq)
{
    return core->is_appending && core->append.epoch == epoch && core->append.seq == seq;
}

bool sequencer_core_is_done(const struct sequencer_core *core, int status, bool has_last_seq,
                            uint64_t last_seq)
{
    if (status == BB_OK || status == BB_DUPLICATE)
        return true;
    /* It was done, and the answer had got lost. */
    return status == BB_GAP && has_last_seq && last_seq >= core->append.seq;
}

enum sequencer_verdict sequencer_core_appended(struct bb_ctx *ctx, struct sequencer_core *core,
                                               int status, bool has_last_seq, uint64_t last_seq)
{
    bb_assert(core->is_appending);
    if (sequencer_core_is_done(core, status, has_last_seq, last_seq)) {
        move_durable(core);
        return SEQUENCER_DONE;
    }
    if (status == BB_FENCED)
        return SEQUENCER_OVER;
    if (status == BB_GAP && has_last_seq && last_seq + 1 < core->append.seq) {
        (void)bb_fail(ctx, BB_CORRUPT,
                      "storage has batch %" PRIu64 " of this epoch as its last one, but "
                      "acknowledged %" PRIu64,
                      last_seq, core->append.seq - 1);
        return SEQUENCER_OVER;
    }
    /* A node that is not ready may follow another one by now. */
    if (status == BB_NOT_LEADER || status == BB_NOT_YET || status == BB_PEER_GONE ||
        status == BB_TIMEOUT)
        return SEQUENCER_OTHER_LEADER;
    return SEQUENCER_AGAIN;
}

/* ---- followers ---- */

int sequencer_core_follow(const struct sequencer_core *core, uint64_t epoch, uint64_t after,
                          uint64_t durable_seen, size_t max_bytes, uint64_t *first, uint64_t *end)
{
    size_t bytes = 0;

    if (epoch != core->epoch || after > core->sequenced || after < core->ring.floor)
        return BB_TOO_OLD;
    *first = *end = sequencer_ring_seek(&core->ring, after);
    while (*end < core->ring.next) {
        bytes += sequencer_ring_at(&core->ring, *end)->bytes.size;
        if (*end > *first && bytes > max_bytes)
            break;
        (*end)++;
    }
    return *end > *first || core->durable > durable_seen ? BB_OK : BB_PENDING;
}

int sequencer_core_status_of(struct bb_ctx *ctx, struct sequencer_core *core, struct bb_slice id,
                             struct bb_txtime *tx)
{
    bb_assert(id.size == SEQUENCER_ID_BYTES);
    switch (sequencer_ids_find(core->ids, id.data, tx)) {
    case SEQUENCER_ID_SEQUENCED:
        return BB_OK;
    case SEQUENCER_ID_DEAD:
    case SEQUENCER_ID_FINISHED:
        break;
    case SEQUENCER_ID_UNKNOWN:
        sequencer_ids_add(core->ids, id.data, SEQUENCER_ID_DEAD,
                          BB_TX(sequencer_clock_read(&core->clock, bb_now_us(ctx))));
        break;
    }
    *tx = BB_TX_NONE;
    return BB_NOT_FOUND;
}

void sequencer_core_tick(struct bb_ctx *ctx, struct sequencer_core *core)
{
    uint64_t now_us = bb_now_us(ctx);

    if (core->epoch == 0)
        return;
    sequencer_clock_slew(&core->clock, now_us, bb_wall_us(ctx));
    uint64_t clock_us = sequencer_clock_read(&core->clock, now_us);
    uint64_t floor = clock_us > core->limits.window_us ? clock_us - core->limits.window_us : 0;
    /* A snapshot at the newest tx must stay good however long nothing is written. */
    if (floor > core->sequenced)
        floor = core->sequenced;
    bb_occ_raise_floor(core->window, BB_TX(floor));
    sequencer_lanes_turn(&core->lanes, now_us);
    sequencer_ring_expire(&core->ring, core->durable, floor, SEQUENCER_RING_BYTES);
    if (clock_us > SEQUENCER_IDS_US)
        sequencer_ids_expire(core->ids, BB_TX(clock_us - SEQUENCER_IDS_US));
}
