/* What must be known before a call can run: its moment, the catalog, the function, its client key.
 */
#include <stdio.h>

#include "bb/value.h"

#include "worker.h"

/* ---- the catalog ---- */

static void catalog_came(struct reading *reading, void *arg)
{
    struct worker *worker = arg;
    struct catalog *catalog;
    worker->catalog_reading = NULL;
    int status = reading->status;
    uint64_t snapshot = reading->snapshot;
    if (status == BB_OK) {
        bool is_newest = worker_feed_is_usable(&worker->feed) && snapshot >= worker->feed.durable;
        status = worker_catalogs_add(worker->ctx, worker->catalogs, snapshot, is_newest,
                                     reading->reads, &catalog);
    }
    worker_reading_free(reading);
    if (status == BB_CORRUPT) {
        bb_error(worker->ctx, "worker.catalog_corrupt", "what=\"%s\"", worker->ctx->error);
    }
    /* Whoever waited looks again, at a moment of its own. */
    struct bb_list *head = &worker->calls[CALL_PREPARING];
    for (struct bb_list *item = head->prev, *before; item != head; item = before) {
        before = item->prev;
        struct call *call = bb_container(item, struct call, link);
        if (call->reading != NULL) {
            continue;
        }
        if (status == BB_CORRUPT) {
            worker_answer(worker, call, BB_INTERNAL,
                          "the catalog of deployed functions is damaged");
        } else if (status == BB_TOO_OLD && snapshot != 0 && call->request->at_tx == snapshot) {
            worker_answer(worker, call, BB_TX_TRUNCATED, WORKER_TOO_OLD_TEXT);
        } else {
            worker_call_requeue(worker, call);
        }
    }
}

/* True: known at once. */
static bool load_catalog(struct worker *worker, uint64_t snapshot)
{
    if (worker->catalog_reading != NULL) {
        return false;
    }
    struct reading *reading =
        worker_reading_new(worker, snapshot, worker_now(worker) + CALL_US_MAX);
    worker_catalog_reads(reading->arena, snapshot, worker_reading_reads(reading, CATALOG_READS));
    reading->done = catalog_came;
    reading->arg = worker;
    worker->catalog_reading = reading;
    if (!worker_reading_start(reading)) {
        return false;
    }
    catalog_came(reading, worker);
    return true;
}

void worker_want_catalog(struct worker *worker)
{
    if (worker->wants_catalog && worker_feed_is_usable(&worker->feed)) {
        worker->wants_catalog = false;
        if (worker_catalogs_at(worker->catalogs, worker->feed.cursor) == NULL) {
            (void)load_catalog(worker, worker->feed.cursor); /* it comes when it comes */
        }
    }
}

/* ---- the function ---- */

static const char *kind_text(enum function_kind kind)
{
    return kind == FUNCTION_QUERY ? "query" : kind == FUNCTION_MUTATION ? "mutation" : "action";
}

static enum function_kind system_kind(struct bb_slice path)
{
    static const char *const mutations[] = { "_system:deploy",       "_system:backfill",
                                             "_system:clean",        "_system:openConsumer",
                                             "_system:ackConsumer",  "_system:removeConsumer",
                                             "_system:runJob",       "_system:failJob",
                                             "_system:queueActions", "_system:requeueActions",
                                             "_system:startJob",     "_system:finishJob",
                                             "_system:renewJobs",    "_system:progressJob",
                                             "_system:sweepJobs",    "_system:cancelJob",
                                             "_system:cleanJobs",    "_system:createJob",
                                             "_system:runCron",      "_system:resetCrons",
                                             "_system:takeLease",    "_system:changeEnvironment",
                                             "_system:putCode",      "_system:dropCode",
                                             "_system:jobMutation",  "_system:forget" };
    for (size_t i = 0; i < BB_COUNT_OF(mutations); i++) {
        if (bb_slice_equal_str(path, mutations[i])) {
            return FUNCTION_MUTATION;
        }
    }
    return FUNCTION_QUERY;
}

static void not_found(struct worker *worker, struct call *call, const struct catalog *catalog)
{
    struct bb_slice path = bb_slice_str(call->request->path);
    struct bb_buf text;
    bb_buf_init(&text);
    bb_buf_printf(&text, "Could not find function \"%.*s\"", BB_SLICE_ARG(path));
    if (!catalog->has_deployment) {
        bb_buf_append_str(&text, ": nothing has been deployed yet, run `npx bitbend dev` or "
                                 "`npx bitbend deploy`");
    } else {
        struct bb_buf near;
        bb_buf_init(&near);
        worker_catalog_near(catalog, path, &near);
        if (near.size > 0) {
            bb_buf_printf(&text, ". Did you mean %.*s?", BB_SLICE_ARG(bb_buf_slice(&near)));
        } else {
            bb_buf_append_str(&text, ". Did you forget to run `npx bitbend dev` or "
                                     "`npx bitbend deploy`?");
        }
        bb_buf_fini(&near);
    }
    bb_buf_append_byte(&text, 0);
    worker_answer(worker, call, BB_FUNCTION_NOT_FOUND, (const char *)text.data);
    bb_buf_fini(&text);
}

static void wrong_kind(struct worker *worker, struct call *call, enum function_kind kind)
{
    char text[512];
    if (kind == FUNCTION_ACTION) {
        (void)snprintf(text, sizeof(text),
                       "\"%s\" is an action; queries and mutations run here. Call it with "
                       "client.action(..) or POST /api/action.",
                       call->request->path);
    } else {
        (void)snprintf(text, sizeof(text),
                       "\"%s\" is a %s, not a %s. Call it with client.%s(..) or POST /api/%s.",
                       call->request->path, kind_text(kind),
                       kind_text((enum function_kind)call->request->kind), kind_text(kind),
                       kind_text(kind));
    }
    worker_answer(worker, call, BB_WRONG_KIND, text);
}

/* A catalog that is behind what the caller may have seen cannot be the reason of a refusal. */
static bool must_ask_first(struct worker *worker, struct call *call)
{
    if (call->has_mark || call->request->at_tx != 0) {
        return false;
    }
    worker_call_to(worker, call, CALL_WAIT_MARK);
    return true;
}

/* False: the call was answered or waits. */
static bool resolve(struct worker *worker, struct call *call, const struct catalog *catalog)
{
    struct bb_slice path = bb_slice_str(call->request->path);
    enum function_kind kind;
    if (call->is_system) {
        kind = system_kind(path);
        call->path = path;
    } else {
        const struct function *function = worker_catalog_find(catalog, path);
        if (function == NULL || (function->is_internal && !call->request->is_admin)) {
            if (!must_ask_first(worker, call)) {
                not_found(worker, call, catalog);
            }
            return false;
        }
        kind = function->kind;
        call->path = function->path;
    }
    bool is_expected = call->request->kind == BB__PROTO__FUNCTION_KIND__KIND_ANY ||
                       (int)call->request->kind == (int)kind;
    if (kind == FUNCTION_ACTION || !is_expected) {
        if (!must_ask_first(worker, call)) {
            wrong_kind(worker, call, kind);
        }
        return false;
    }
    call->kind = kind;
    return true;
}

/* ---- the client's key ---- */

struct bb_slice worker_key_point(struct bb_arena *arena, const Bb__Proto__Call *request,
                                 bool is_end)
{
    uint8_t *key = bb_arena_alloc(arena, 21);
    bb_assert(key != NULL);
    bb_put_be32(key, BB_INDEX_BY_ID(BB_TABLE_REQUESTS));
    memcpy(key + 4, request->client_key.data, 16);
    key[20] = 0;
    return bb_slice(key, is_end ? 21 : 20);
}

/* A key without a row: nobody used it, or the row is gone. */
static bool judge_age(struct worker *worker, struct call *call)
{
    switch (worker_outcome_key_age(call->request->client_key_ms, call->snapshot,
                                   bb_wall_us(worker->ctx), worker->outcomes_ms)) {
    case OUTCOME_KEY_USABLE:
        return true;
    case OUTCOME_KEY_OLD:
        worker_answer(worker, call, BB_KEY_EXPIRED,
                      "this Idempotency-Key was made longer ago than outcomes are kept: whether "
                      "the mutation ran is not known any more; it does not run now");
        return false;
    case OUTCOME_KEY_EARLY:
        worker_answer(worker, call, BB_BAD_REQUEST,
                      "this Idempotency-Key was made in the future, by its own time: set the clock "
                      "of the machine that made it");
        return false;
    }
    BB_UNREACHABLE("age of a key");
}

/* True: nobody used the key, the call may run. False: it is answered. */
static bool judge_key(struct worker *worker, struct call *call, const struct cache_read *read)
{
    if (read->entry_count == 0) {
        return judge_age(worker, call);
    }
    struct bb_slice row = read->entries[0].value;
    struct bb_slice digest = bb_value_field_str(row, "digest");
    bool is_same =
        digest.data != NULL && bb_value_tag(digest) == BB_TAG_BYTES &&
        bb_slice_equal(bb_value_bytes(digest), bb_pb_slice(call->request->client_digest));
    if (!is_same) {
        worker_answer(
            worker, call, BB_KEY_REUSED,
            "this Idempotency-Key was used before for another function or other arguments; "
            "use a fresh key for a new request");
        return false;
    }
    struct bb_slice value = bb_value_field_str(row, "value");
    call->value = value.data == NULL ? BB_SLICE_EMPTY : bb_arena_dup(call->arena, value);
    call->has_value = true;
    call->done = NULL;
    call->tx = read->entries[0].tx;
    call->tx_epoch = call->epoch;
    worker_chain_leave(worker, call);
    worker_call_to(worker, call, CALL_WAIT_DURABLE);
    worker_progress(worker);
    return false;
}

static void key_came(struct reading *reading, void *arg)
{
    struct call *call = bb_cast(struct call, arg, CALL_MAGIC);
    struct worker *worker = reading->worker;
    call->reading = NULL;
    worker_reading_free(reading);
    worker_call_requeue(worker, call); /* the row, or its absence, is in the cache now */
}

static enum prepared check_key(struct worker *worker, struct call *call)
{
    struct reading *reading = worker_reading_new(worker, call->snapshot, call->deadline_us);
    struct cache_read *read = worker_reading_reads(reading, 1);
    *read = (struct cache_read){ .arena = reading->arena,
                                 .low = worker_key_point(reading->arena, call->request, false),
                                 .snapshot = call->snapshot };
    reading->done = key_came;
    reading->arg = call;
    if (!worker_reading_start(reading)) {
        call->reading = reading;
        worker_call_to(worker, call, CALL_PREPARING);
        return PREPARED_MOVED;
    }
    bool may_run = false;
    if (reading->status == BB_OK) {
        may_run = judge_key(worker, call, read);
    } else {
        worker_answer(worker, call, BB_INTERNAL, "the row of the Idempotency-Key cannot be read");
    }
    worker_reading_free(reading);
    return may_run ? PREPARED_RUNS : PREPARED_MOVED;
}

/* ---- the code ---- */

static void code_came(struct reading *reading, void *arg)
{
    struct call *call = bb_cast(struct call, arg, CALL_MAGIC);
    struct worker *worker = reading->worker;
    bool is_gone = reading->status == BB_TOO_OLD && call->request->at_tx != 0;
    call->reading = NULL;
    if (reading->status == BB_OK && reading->reads[0].is_complete) {
        worker_slot_start(worker, call->slot, call, &reading->reads[0]);
    } else if (is_gone) { /* another try would ask for the same moment */
        worker_answer(worker, call, BB_TX_TRUNCATED, WORKER_TOO_OLD_TEXT);
    } else {
        worker_slot_unreserve(call->slot);
        worker_call_requeue(worker, call);
    }
    worker_reading_free(reading);
}

static void load_code(struct worker *worker, struct call *call)
{
    struct reading *reading = worker_reading_new(worker, call->snapshot, call->deadline_us);
    *worker_reading_reads(reading, 1) = worker_catalog_modules_read(reading->arena, call->snapshot);
    reading->done = code_came;
    reading->arg = call;
    call->reading = reading;
    if (worker_reading_start(reading)) {
        code_came(reading, call);
    }
}

/* ---- all of it ---- */

/* The call's moment; false: it waits for one. */
static bool has_moment(struct worker *worker, struct call *call)
{
    switch (worker_call_moment(call, &worker->feed)) {
    case MOMENT_OK:
        return true;
    case MOMENT_WAIT:
        call->wait_epoch = 0;
        worker_call_to(worker, call, CALL_WAIT_TX);
        return false;
    case MOMENT_MARK:
        worker_call_to(worker, call, CALL_WAIT_MARK);
        return false;
    }
    BB_UNREACHABLE("moment");
}

/* Mutations that would lose against each other go one after the other. */
static enum prepared line_up(struct worker *worker, struct call *call)
{
    if (worker_chain_queue(worker, call)) {
        return PREPARED_MOVED;
    }
    uint64_t least = call->is_in_lane ? worker_lane_least(worker->lanes, call->lane) : 0;
    if (call->snapshot < least) {
        /* It holds its lane, and runs when the write before it has come with the feed. */
        call->wait_tx = least;
        call->wait_epoch = worker->feed.epoch;
        call->waits_for_durable = false;
        worker_call_to(worker, call, CALL_WAIT_TX);
        return PREPARED_MOVED;
    }
    return PREPARED_RUNS;
}

bool worker_prepare_after(struct worker *worker, struct call *call, const struct call *before)
{
    if (worker_call_is_late(worker, call)) {
        return false;
    }
    call->epoch = before->epoch;
    call->snapshot = before->snapshot;
    worker_call_requeue(worker, call);
    if (!resolve(worker, call, before->catalog) || call->kind != FUNCTION_MUTATION) {
        return false;
    }
    if (call->request->client_key.len >= 16 && check_key(worker, call) != PREPARED_RUNS) {
        return false;
    }
    worker_catalog_release(call->catalog);
    call->catalog = worker_catalog_retain(before->catalog);
    worker_slot_start_after(worker, call, before);
    return true;
}

enum prepared worker_prepare(struct worker *worker, struct call *call)
{
    struct catalog *catalog = NULL;
    for (enum function_kind before = call->kind;; before = call->kind) {
        if (!has_moment(worker, call)) {
            return PREPARED_MOVED;
        }
        catalog = worker_catalogs_at(worker->catalogs, call->snapshot);
        if (catalog == NULL && load_catalog(worker, call->snapshot)) {
            catalog = worker_catalogs_at(worker->catalogs, call->snapshot);
        }
        if (catalog == NULL) {
            worker_call_to(worker, call, CALL_PREPARING);
            return PREPARED_MOVED;
        }
        if (!resolve(worker, call, catalog)) {
            return PREPARED_MOVED;
        }
        if (call->kind == before) {
            break; /* the moment was chosen by the kind that it has */
        }
    }
    if (worker_recall(worker, call)) {
        return PREPARED_MOVED;
    }
    enum prepared lined_up = line_up(worker, call);
    if (lined_up != PREPARED_RUNS) {
        return lined_up;
    }
    if (call->kind == FUNCTION_MUTATION && call->request->client_key.len >= 16) {
        enum prepared checked = check_key(worker, call);
        if (checked != PREPARED_RUNS) {
            return checked;
        }
    }
    struct slot *idle = worker_slot_free(worker, catalog, worker_call_class(worker, call));
    struct slot *busy = worker_call_may_go_ahead(worker, call)
                            ? worker_slot_ahead(worker, catalog, idle != NULL)
                            : NULL;
    if (idle == NULL && busy == NULL) {
        return PREPARED_MOVED; /* one that meant to go ahead: it stays where it is */
    }
    worker_catalog_release(call->catalog);
    call->catalog = worker_catalog_retain(catalog);
    if (busy != NULL) {
        worker_slot_start_ahead(worker, busy, call);
        return PREPARED_RUNS;
    }
    worker_slot_reserve(idle, call);
    if (worker_slot_knows_code(call->slot, catalog)) {
        worker_slot_start(worker, call->slot, call, NULL);
    } else {
        worker_call_to(worker, call, CALL_PREPARING);
        load_code(worker, call);
    }
    return PREPARED_RUNS;
}
