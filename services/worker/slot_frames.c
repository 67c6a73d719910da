/* Frames between the supervisor and a slot: calls out, reads and results in. */
#include "bb/value.h"

#include "slot.h"

#define SILENCE_US        200000u
#define HINT_BYTES_MAX    8192u        /* a larger document is asked for */
#define READ_BYTES_MAX    (4u << 20)   /* of one scan; the slot asks for more */
#define RESULTS_BYTES_MAX (40u << 20)  /* of one frame */
#define RANGE_BYTES_MAX   (512u << 10) /* larger answers of scans are not kept */
#define REVOKED_MAX_US    (CALL_US_MAX + 1000000u)

/* ---- calls out ---- */

bool worker_slot_knows_code(const struct slot *slot, const struct catalog *catalog)
{
    for (size_t i = 0; i < slot->known_count; i++) {
        if (slot->known[i].code == catalog->code) {
            return true;
        }
    }
    return false;
}

bool worker_slot_has_deployment(const struct slot *slot, const struct catalog *catalog)
{
    for (size_t i = 0; i < slot->known_count; i++) {
        if (slot->known[i].deployment == catalog->id) {
            return true;
        }
    }
    return false;
}

static struct bb_slice bytes_field(struct bb_slice row, const char *name)
{
    struct bb_slice value = bb_value_field_str(row, name);
    if (value.data == NULL) {
        return BB_SLICE_EMPTY;
    }
    enum bb_tag tag = bb_value_tag(value);
    bool has_bytes = tag == BB_TAG_STRING || tag == BB_TAG_BYTES;
    return has_bytes ? bb_value_bytes(value) : BB_SLICE_EMPTY;
}

static void fill_modules(struct bb_arena *arena, const struct cache_read *rows,
                         Bb__Proto__SlotDeployment *to)
{
    Bb__Proto__SlotModule *modules =
        bb_arena_alloc(arena, (rows->entry_count + 1) * sizeof(*modules));
    Bb__Proto__SlotModule **list = bb_arena_alloc(arena, (rows->entry_count + 1) * sizeof(void *));
    bb_assert(modules != NULL && list != NULL);
    for (size_t i = 0; i < rows->entry_count; i++) {
        struct bb_slice row = rows->entries[i].value;
        bb__proto__slot_module__init(&modules[i]);
        modules[i].path = bb_arena_str(arena, bytes_field(row, "_key"));
        modules[i].source = bb_slice_pb(bytes_field(row, "source"));
        modules[i].source_map = bb_slice_pb(bytes_field(row, "map"));
        struct bb_slice context = bb_value_field_str(row, "context");
        modules[i].needs_context = context.data != NULL && bb_value_tag(context) == BB_TAG_TRUE;
        list[i] = &modules[i];
    }
    to->n_modules = rows->entry_count;
    to->modules = list;
}

static void retire_oldest(struct slot *slot)
{
    Bb__Proto__SlotRetire retire;
    bb__proto__slot_retire__init(&retire);
    retire.deployment = slot->known[0].deployment;
    Bb__Proto__ToSlot message;
    bb__proto__to_slot__init(&message);
    message.op_case = BB__PROTO__TO_SLOT__OP_RETIRE;
    message.retire = &retire;
    worker_slot_send(slot, &message);
    slot->known_count--;
    memmove(slot->known, slot->known + 1, slot->known_count * sizeof(slot->known[0]));
}

void worker_slot_give(struct slot *slot, const struct catalog *catalog,
                      const struct cache_read *modules)
{
    struct worker *worker = slot->worker;
    Bb__Proto__SlotDeployment deployment;
    bb__proto__slot_deployment__init(&deployment);
    deployment.deployment = catalog->id;
    deployment.catalog = bb_slice_pb(catalog->value);
    for (size_t i = 0; i < slot->known_count; i++) {
        if (slot->known[i].deployment == catalog->id) {
            return;
        }
        if (slot->known[i].code == catalog->code) {
            deployment.same_code_as = slot->known[i].deployment;
        }
    }
    bb_arena_reset(worker->scratch);
    if (deployment.same_code_as == 0) {
        bb_assert(modules != NULL);
        fill_modules(worker->scratch, modules, &deployment);
    }
    Bb__Proto__ToSlot message;
    bb__proto__to_slot__init(&message);
    message.op_case = BB__PROTO__TO_SLOT__OP_DEPLOYMENT;
    message.deployment = &deployment;
    worker_slot_send(slot, &message);
    if (slot->known_count == SLOT_KNOWN_MAX) {
        retire_oldest(slot);
    }
    slot->known[slot->known_count].deployment = catalog->id;
    slot->known[slot->known_count++].code = catalog->code;
}

/* The document at the call's moment, if the cache has it, nothing newer is known, and its end will
 * be told. */
static bool fill_hint(struct worker *worker, const struct slot *slot, uint64_t snapshot,
                      struct bb_slice key, Bb__Proto__SlotHint *hint)
{
    struct cache_read read = {
        .arena = worker->scratch, .low = key, .snapshot = snapshot, .bytes_max = READ_BYTES_MAX
    };
    if (worker_copies_has(worker->copies, slot->index, key)) {
        return false;
    }
    uint64_t since = worker_cache_since(worker->cache, key, snapshot);
    if (since == 0 || !worker_cache_step(worker->cache, &read) || read.status != BB_OK ||
        !read.is_complete || read.bytes > HINT_BYTES_MAX ||
        !worker_copies_add(worker->copies, slot->index, key, worker->feed.cursor)) {
        return false;
    }
    bb__proto__slot_hint__init(hint);
    hint->key = bb_slice_pb(key);
    hint->since = since;
    if (read.entry_count > 0) {
        hint->value = bb_slice_pb(read.entries[0].value);
    }
    return true;
}

/* Documents that the call will most likely get. */
static void fill_hints(struct worker *worker, const struct slot *slot, const struct call *call,
                       Bb__Proto__SlotStart *begin)
{
    struct bb_slice documents[HINTS_MAX + PATTERNS_MAX];
    size_t count = worker_hints_of(worker->hints, call->lane_keys[0], documents);
    for (size_t i = 0; i < call->foreseen_count; i++) {
        if (call->foreseen[i].is_sure) {
            documents[count++] = bb_slice(call->foreseen[i].key, COPIES_KEY_SIZE);
        }
    }
    if (count == 0) {
        return;
    }
    Bb__Proto__SlotHint *hints = bb_arena_alloc(worker->scratch, count * sizeof(*hints));
    begin->hints = bb_arena_alloc(worker->scratch, count * sizeof(*begin->hints));
    bb_assert(hints != NULL && begin->hints != NULL);
    for (size_t i = 0; i < count; i++) {
        if (fill_hint(worker, slot, call->snapshot, documents[i], &hints[begin->n_hints])) {
            begin->hints[begin->n_hints] = &hints[begin->n_hints];
            begin->n_hints++;
        }
    }
}

/* What has become of the documents that the slot keeps: after the hints, of which one may have
 * fallen out of the table for the next. */
static void fill_news(struct worker *worker, const struct slot *slot, Bb__Proto__SlotStart *begin)
{
    struct copies_news news = worker_copies_tell(worker->copies, slot->index);
    if (news.forgets) {
        begin->n_hints = 0; /* ends of them may be among what is not told */
    }
    begin->coherent = news.keeps ? worker->feed.cursor : 0;
    begin->forgets = news.forgets;
    begin->ended_keys =
        bb_arena_alloc(worker->scratch, (news.end_count + 1) * sizeof(struct bb_slice));
    begin->ended_at = bb_arena_alloc(worker->scratch, (news.end_count + 1) * sizeof(uint64_t));
    bb_assert(begin->ended_keys != NULL && begin->ended_at != NULL);
    for (size_t i = 0; i < news.end_count; i++) {
        begin->ended_keys[i] = bb_slice_pb(bb_slice(news.ends[i].key, COPIES_KEY_SIZE));
        begin->ended_at[i] = news.ends[i].tx;
    }
    begin->n_ended_keys = begin->n_ended_at = news.end_count;
    begin->ended_ranges =
        bb_arena_alloc(worker->scratch, (news.range_end_count + 1) * sizeof(uint64_t));
    begin->ended_ranges_at =
        bb_arena_alloc(worker->scratch, (news.range_end_count + 1) * sizeof(uint64_t));
    bb_assert(begin->ended_ranges != NULL && begin->ended_ranges_at != NULL);
    for (size_t i = 0; i < news.range_end_count; i++) {
        begin->ended_ranges[i] = news.range_ends[i].number;
        begin->ended_ranges_at[i] = news.range_ends[i].tx;
    }
    begin->n_ended_ranges = begin->n_ended_ranges_at = news.range_end_count;
}

/* `after`: the call that it runs on top of; 0: none. */
static void send_start(struct worker *worker, struct slot *slot, struct call *call, uint64_t after)
{
    uint64_t now = worker_now(worker);
    call->expected_us = worker_pace_of(&worker->pace, call->lane_keys[1]);
    slot->expected_us += call->expected_us;
    const Bb__Proto__Call *request = call->request;
    Bb__Proto__SlotStart begin;
    bb__proto__slot_start__init(&begin);
    begin.call = call->id;
    begin.deployment = call->catalog->id;
    begin.kind = (Bb__Proto__FunctionKind)call->kind;
    begin.path = bb_arena_str(call->arena, call->path);
    begin.args = request->args;
    begin.snapshot = call->snapshot;
    /* A mutation is never earlier than what it reads, whatever this machine's clock says. */
    uint64_t wall_us = call->kind == FUNCTION_QUERY ? 0 : bb_wall_us(worker->ctx);
    begin.now_ms = (wall_us > call->snapshot ? wall_us : call->snapshot) / 1000;
    begin.seed = request->seed;
    begin.identity = request->identity;
    begin.is_shared = request->is_shared;
    uint64_t left_ms = now < call->deadline_us ? (call->deadline_us - now) / 1000 : 0;
    begin.timeout_ms = left_ms == 0 ? 1 : (uint32_t)left_ms;
    begin.request_id = request->request_id;
    if (call->kind == FUNCTION_MUTATION) {
        begin.client_key = request->client_key;
        begin.client_digest = request->client_digest;
    }
    begin.wants_trace = request->wants_trace;
    begin.after = after;
    begin.expected_us = call->expected_us;
    begin.profile = request->profile;
    bb_arena_reset(worker->scratch);
    fill_hints(worker, slot, call, &begin);
    fill_news(worker, slot, &begin);
    bb_metric_add(worker->count.slot_hints, (int64_t)begin.n_hints);
    Bb__Proto__ToSlot message;
    bb__proto__to_slot__init(&message);
    message.op_case = BB__PROTO__TO_SLOT__OP_START;
    message.start = &begin;
    worker_slot_send(slot, &message);
    call->run_started_us = now;
    worker_call_to(worker, call, CALL_RUNNING);
}

/* The slot has turned to its call. */
static void begin_to_hold(struct slot *slot)
{
    struct worker *worker = slot->worker;
    slot->held_from_us = slot->used_us = worker_now(worker);
    slot->is_held = slot->call != NULL && worker_call_class(worker, slot->call) == SPARE_LONG;
}

void worker_slot_start(struct worker *worker, struct slot *slot, struct call *call,
                       const struct cache_read *modules)
{
    bb_assert(slot->state == SLOT_RESERVED && slot->call == call);
    worker_slot_give(slot, call->catalog, modules);
    slot->expected_us = 0;
    send_start(worker, slot, call, 0);
    slot->state = SLOT_BUSY;
    slot->is_overdue = false;
    slot->ahead_count = 0;
    begin_to_hold(slot);
    if (call->is_in_lane) {
        worker_chain_started(worker, call);
    }
}

static void put_behind(struct slot *slot, struct call *call)
{
    bb_assert(slot != NULL && slot->state == SLOT_BUSY && slot->call != NULL && call->slot == NULL);
    call->slot = slot;
    bb_list_push_back(&slot->behind, &call->slot_link);
    slot->behind_count++;
}

void worker_slot_start_after(struct worker *worker, struct call *call, const struct call *before)
{
    struct slot *slot = before->slot;
    put_behind(slot, call);
    send_start(worker, slot, call, before->id);
}

void worker_slot_start_ahead(struct worker *worker, struct slot *slot, struct call *call)
{
    put_behind(slot, call);
    slot->ahead_count++;
    send_start(worker, slot, call, 0);
}

/* The call of a slot has ended: the next one that it was given is under way there. */
static void next_call(struct slot *slot, const Bb__Proto__SlotDone *done)
{
    uint64_t now = worker_now(slot->worker);
    slot->expected_us -= slot->call->expected_us;
    slot->call->slot = NULL;
    slot->call = NULL;
    slot->is_overdue = false; /* that was said of the one that has ended */
    if (done->must_recycle) {
        slot->state = SLOT_ENDING;
    } else if (slot->revoked_count > 0) {
        slot->end_by_us = now + REVOKED_MAX_US;
    } else if (bb_list_is_empty(&slot->behind)) {
        slot->state = SLOT_IDLE;
    } else {
        slot->call = bb_container(slot->behind.next, struct call, slot_link);
        slot->call->run_started_us = now;
        slot->behind_count--;
        bb_list_remove(&slot->call->slot_link);
    }
    begin_to_hold(slot);
}

/* ---- reads ---- */

/* The slot may keep the answer of a get that is still true. */
static void let_keep_document(struct slot *slot, const struct reading *reading,
                              const struct cache_read *read, Bb__Proto__SlotReadResult *result)
{
    struct worker *worker = slot->worker;
    uint64_t since = worker_cache_since(worker->cache, read->low, reading->snapshot);
    bool is_kept = since != 0 &&
                   worker_copies_add(worker->copies, slot->index, read->low, worker->feed.cursor);
    result->since = is_kept ? since : 0;
}

/* And that of a scan. */
static void let_keep_range(struct slot *slot, struct cache_read *read,
                           Bb__Proto__SlotReadResult *result)
{
    struct worker *worker = slot->worker;
    struct bb_slice low, high;
    uint64_t since = worker_cache_since_range(worker->cache, read, &low, &high);
    if (since != 0 && read->bytes <= RANGE_BYTES_MAX) {
        result->range =
            worker_copies_add_range(worker->copies, slot->index, low, high, worker->feed.cursor);
        result->since = result->range != 0 ? since : 0;
    }
}

static void send_results(struct slot *slot, struct reading *reading)
{
    struct worker *worker = slot->worker;
    struct bb_arena *arena = reading->arena;
    Bb__Proto__SlotReadResults results;
    bb__proto__slot_read_results__init(&results);
    results.call = slot->call->id;
    results.batch = slot->batch;
    size_t bytes = 0;
    Bb__Proto__SlotReadResult *list = bb_arena_alloc(arena, reading->count * sizeof(*list) + 1);
    Bb__Proto__SlotReadResult **pointers =
        bb_arena_alloc(arena, reading->count * sizeof(void *) + 1);
    for (size_t i = 0; i < reading->count && reading->status == BB_OK; i++) {
        struct cache_read *read = &reading->reads[i];
        bytes += read->bytes;
        Bb__Proto__SlotEntry *entries =
            bb_arena_alloc(arena, read->entry_count * sizeof(*entries) + 1);
        Bb__Proto__SlotEntry **entry_list =
            bb_arena_alloc(arena, read->entry_count * sizeof(void *) + 1);
        if (list == NULL || pointers == NULL || entries == NULL || entry_list == NULL ||
            bytes > RESULTS_BYTES_MAX) {
            reading->status = BB_TOO_LARGE;
            break;
        }
        for (size_t k = 0; k < read->entry_count; k++) {
            bb__proto__slot_entry__init(&entries[k]);
            entries[k].key = bb_slice_pb(read->entries[k].key);
            entries[k].value = bb_slice_pb(read->entries[k].value);
            entry_list[k] = &entries[k];
        }
        bb__proto__slot_read_result__init(&list[i]);
        list[i].n_entries = read->entry_count;
        list[i].entries = entry_list;
        list[i].is_complete = read->is_complete;
        if (read->high.size > 0) {
            let_keep_range(slot, read, &list[i]);
        } else if (read->is_complete) {
            let_keep_document(slot, reading, read, &list[i]);
            worker_foreseen_learn(worker, slot->call, read);
        }
        pointers[i] = &list[i];
    }
    static char too_large[] = "one read would deliver more than 16 MiB: read less at a time, with "
                              "an index range, take(n) or paginate";
    static char silent[] = "the database did not answer a read in time";
    if (reading->status == BB_OK) {
        results.n_results = reading->count;
        results.results = pointers;
    } else if (reading->status == BB_TOO_LARGE) {
        results.status = BB_READ_LIMIT;
        results.error = too_large;
    } else {
        results.status = (uint32_t)reading->status;
        results.error = silent;
    }
    Bb__Proto__ToSlot message;
    bb__proto__to_slot__init(&message);
    message.op_case = BB__PROTO__TO_SLOT__OP_READS;
    message.reads = &results;
    worker_slot_send(slot, &message);
}

static void reads_came(struct reading *reading, void *arg)
{
    struct slot *slot = bb_cast(struct slot, arg, SLOT_MAGIC);
    if (slot->reading != NULL) {
        slot->held_from_us += worker_now(slot->worker) - slot->reading_from_us;
    }
    slot->reading = NULL;
    send_results(slot, reading);
    worker_reading_free(reading);
}

/* It runs a query that is run elsewhere now. */
static bool is_revoked(const struct slot *slot)
{
    return slot->call == NULL && slot->revoked_count > 0;
}

static int on_revoked(struct slot *slot, const Bb__Proto__FromSlot *message)
{
    static char elsewhere[] = "the call is run elsewhere";
    bool is_done = message->op_case == BB__PROTO__FROM_SLOT__OP_DONE;
    if (!is_done) {
        Bb__Proto__SlotReadResults results;
        bb__proto__slot_read_results__init(&results);
        results.call = message->reads->call;
        results.batch = message->reads->batch;
        results.status = BB_TOO_OLD;
        results.error = elsewhere;
        Bb__Proto__ToSlot answer;
        bb__proto__to_slot__init(&answer);
        answer.op_case = BB__PROTO__TO_SLOT__OP_READS;
        answer.reads = &results;
        worker_slot_send(slot, &answer);
        return BB_OK;
    }
    slot->revoked_count--; /* they end in the order that they were sent */
    if (message->done->must_recycle) {
        slot->state = SLOT_ENDING;
        slot->end_by_us = 0;
    } else if (slot->revoked_count == 0 && slot->state == SLOT_BUSY) {
        slot->state = SLOT_IDLE;
        slot->end_by_us = 0;
    }
    begin_to_hold(slot);
    return BB_OK;
}

static int hear_revoked(struct slot *slot, struct bb_slice frame)
{
    struct worker *worker = slot->worker;
    Bb__Proto__FromSlot *message;
    bb_arena_reset(worker->scratch);
    int rc =
        bb_unpack(worker->ctx, worker->scratch, &bb__proto__from_slot__descriptor, frame, &message);
    return rc == BB_OK ? on_revoked(slot, message) : rc;
}

static void learn(struct worker *worker, const struct call *call, const Bb__Proto__SlotReads *reads)
{
    for (size_t i = 0; i < reads->n_ops && i < HINTS_MAX; i++) {
        if (reads->ops[i]->high.len == 0) {
            worker_hints_learn(worker->hints, call->lane_keys[0], bb_pb_slice(reads->ops[i]->low));
        }
    }
}

static int on_reads(struct slot *slot, struct bb_slice frame)
{
    struct worker *worker = slot->worker;
    struct call *call = slot->call;
    if (call == NULL || slot->reading != NULL) {
        return bb_fail(worker->ctx, BB_BAD_REQUEST, "reads without a call, or while others wait");
    }
    /* Earlier than the slot's own limit: a database that is silent is no fault of the function. */
    struct reading *reading =
        worker_reading_new(worker, call->snapshot, call->deadline_us - SILENCE_US);
    Bb__Proto__FromSlot *message;
    int rc =
        bb_unpack(worker->ctx, reading->arena, &bb__proto__from_slot__descriptor, frame, &message);
    if (rc != BB_OK || message->reads->call != call->id) {
        worker_reading_free(reading);
        return rc;
    }
    const Bb__Proto__SlotReads *reads = message->reads;
    struct cache_read *list = worker_reading_reads(reading, reads->n_ops);
    for (size_t i = 0; list != NULL && i < reads->n_ops; i++) {
        const Bb__Proto__SlotReadOp *op = reads->ops[i];
        list[i] = (struct cache_read){ .arena = reading->arena,
                                       .low = bb_pb_slice(op->low),
                                       .high = bb_pb_slice(op->high),
                                       .is_descending = op->is_descending,
                                       .limit = op->limit,
                                       .doc_index = op->doc_index,
                                       .snapshot = call->snapshot,
                                       .bytes_max = READ_BYTES_MAX };
    }
    reading->done = reads_came;
    reading->arg = slot;
    slot->batch = reads->batch;
    learn(worker, call, reads);
    bb_metric_add(worker->count.slot_reads, (int64_t)reads->n_ops);
    if (call->is_void || worker_chain_meets(worker, call, reads)) {
        reading->status = BB_CONFLICT; /* its moment was rolled back, or others are before it */
    } else if (list == NULL) {
        reading->status = BB_TOO_LARGE;
    }
    if (reading->status != BB_OK || worker_reading_start(reading)) {
        reads_came(reading, slot);
    } else {
        slot->reading = reading;
        slot->reading_from_us = worker_now(worker);
    }
    return BB_OK;
}

/* ---- results ---- */

static int on_done(struct slot *slot, struct bb_slice frame)
{
    struct worker *worker = slot->worker;
    struct call *call = slot->call;
    if (call == NULL || call->state != CALL_RUNNING) {
        return bb_fail(worker->ctx, BB_BAD_REQUEST, "a result without a call");
    }
    Bb__Proto__FromSlot *message;
    int rc =
        bb_unpack(worker->ctx, call->arena, &bb__proto__from_slot__descriptor, frame, &message);
    if (rc != BB_OK || message->done->call != call->id) {
        return rc != BB_OK ? rc : bb_fail(worker->ctx, BB_BAD_REQUEST, "a result of another call");
    }
    if (slot->reading != NULL) { /* the function did not wait for it */
        worker_reading_free(slot->reading);
        slot->reading = NULL;
    }
    bb_metric_add(worker->count.slot_recalled, message->done->recalled);
    if (message->done->status == BB_FUNCTION_TIMEOUT) {
        worker_pace_held(&worker->pace, call->lane_keys[1], message->done->took_us);
    } else {
        worker_pace_observe(&worker->pace, call->lane_keys[1], message->done->took_us);
    }
    worker_foreseen_judge(worker, call, message->done);
    next_call(slot, message->done);
    worker_call_ran(worker, call, message->done);
    return BB_OK;
}

static int on_ready(struct slot *slot, const Bb__Proto__SlotReady *ready)
{
    if (!worker_sandbox_accepts(slot->worker->sandbox, ready->sandbox)) {
        return bb_fail(slot->worker->ctx, BB_UNSUPPORTED,
                       "--sandbox=require: this machine lets a slot have no seccomp filter (it "
                       "holds \"%s\"); use --sandbox=auto to run without",
                       ready->sandbox);
    }
    if (slot->state == SLOT_STARTING) {
        slot->state = SLOT_IDLE;
        worker_zygote_judge(slot->worker->zygote, true);
        bb_info(slot->worker->ctx, "worker.slot_ready",
                "slot=%zu pid=%" PRId64 " v8=%s sandbox=%s ms=%" PRIu64, slot->index,
                bb_child_pid(slot->child), ready->v8_version, ready->sandbox,
                (worker_now(slot->worker) - slot->started_us) / 1000);
    }
    return BB_OK;
}

static int on_other(struct slot *slot, struct bb_slice frame)
{
    struct worker *worker = slot->worker;
    Bb__Proto__FromSlot *message;
    bb_arena_reset(worker->scratch);
    int rc =
        bb_unpack(worker->ctx, worker->scratch, &bb__proto__from_slot__descriptor, frame, &message);
    if (rc != BB_OK) {
        return rc;
    }
    if (message->op_case == BB__PROTO__FROM_SLOT__OP_READY) {
        return on_ready(slot, message->ready);
    }
    bool is_notice = message->op_case == BB__PROTO__FROM_SLOT__OP_NOTICE;
    if (is_notice && strcmp(message->notice->level, "debug") == 0) {
        bb_debug(worker->ctx, "worker.slot_notice", "slot=%zu text=\"%s\"", slot->index,
                 message->notice->text);
    } else if (is_notice) {
        bb_info(worker->ctx, "worker.slot_notice", "slot=%zu level=%s text=\"%s\"", slot->index,
                message->notice->level, message->notice->text);
    }
    return BB_OK;
}

/* The first byte of a message tells its one field: where to unpack it depends on that. */
int worker_slot_frame(struct slot *slot, struct bb_slice frame)
{
    enum {
        FIELD_READS = 2 << 3 | 2,
        FIELD_DONE = 3 << 3 | 2
    };
    bool is_of_call =
        frame.size > 0 && (frame.data[0] == FIELD_READS || frame.data[0] == FIELD_DONE);
    if (is_of_call && is_revoked(slot)) {
        return hear_revoked(slot, frame);
    }
    if (frame.size > 0 && frame.data[0] == FIELD_READS) {
        return on_reads(slot, frame);
    }
    if (frame.size > 0 && frame.data[0] == FIELD_DONE) {
        return on_done(slot, frame);
    }
    return on_other(slot, frame);
}
