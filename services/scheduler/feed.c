/* The durable feed: a long poll to one storage node, another one when that is away. Only what it
 * says about rows of _jobs and _crons counts here. */
#include <stdio.h>

#include "bb/wire_validate.h"

#include "scheduler.h"

#define STORAGES_MAX 16u
#define TAIL_BYTES   (4u << 20)
#define TAIL_WAIT_MS 10000u
#define INFO_MS      2000u
#define PAUSE_MS     50u

struct scheduler_feed {
    struct scheduler *scheduler;
    struct bb_peer *storages[STORAGES_MAX];
    size_t count, current;
    struct bb_timer *pause;
    struct bb_arena *arena;
    uint64_t cursor;
    bool has_cursor; /* else where the feed begins must be asked first */
    bool is_following, is_closing;
};

static void ask_start(struct scheduler_feed *feed);
static void ask_tail(struct scheduler_feed *feed);

/* ---- rows ---- */

static bool number_of(struct bb_slice row, const char *name, double *number)
{
    struct bb_slice value = bb_value_field_str(row, name);

    if (value.data == NULL || bb_value_tag(value) != BB_TAG_FLOAT64)
        return false;
    *number = bb_value_float64(value);
    return true;
}

static void take_job(struct scheduler_feed *feed, const struct bb_id *id, struct bb_slice row)
{
    struct scheduler *scheduler = feed->scheduler;
    struct bb_slice name = bb_value_field_str(row, "lane");
    struct bb_slice attempt = bb_value_field_str(row, "attempt");
    struct scheduler_job job = { .id = *id };
    enum scheduler_lane lane = LANE_COUNT;

    if (name.data != NULL && bb_value_tag(name) == BB_TAG_STRING)
        lane = scheduler_lane_of(bb_value_bytes(name));
    if (attempt.data != NULL && bb_value_tag(attempt) == BB_TAG_INT64)
        job.attempt = bb_value_int64(attempt);
    if (lane == LANE_COUNT || !number_of(row, "wake", &job.wake)) {
        scheduler_core_gone(scheduler->core, id);
    } else {
        scheduler_core_see(scheduler->core, lane, &job, scheduler_now(scheduler));
    }
}

static void take_cron(struct scheduler_feed *feed, const struct bb_id *id, struct bb_slice row)
{
    struct scheduler *scheduler = feed->scheduler;
    struct scheduler_job job = { .id = *id };

    if (number_of(row, "next", &job.wake))
        scheduler_core_see(scheduler->core, LANE_CRON, &job, scheduler_now(scheduler));
}

static void take_write(struct bb_ctx *ctx, struct scheduler_feed *feed,
                       const Bb__Proto__Write *write)
{
    struct bb_slice row = bb_pb_slice(write->doc);
    struct bb_id id;

    if ((write->table != BB_TABLE_JOBS && write->table != BB_TABLE_CRONS) || write->is_index_only ||
        write->id.len != sizeof id.bytes)
        return;
    memcpy(id.bytes, write->id.data, sizeof id.bytes);
    bool is_there =
        row.size > 0 && bb_value_validate(ctx, row) == BB_OK && bb_value_tag(row) == BB_TAG_OBJECT;
    if (!is_there) {
        scheduler_core_gone(feed->scheduler->core, &id);
    } else if (write->table == BB_TABLE_JOBS) {
        take_job(feed, &id, row);
    } else {
        take_cron(feed, &id, row);
    }
}

/* BB_GAP: it does not follow on what we have. */
static int take_record(struct bb_ctx *ctx, struct scheduler_feed *feed, ProtobufCBinaryData bytes)
{
    Bb__Proto__TxRecord *record = NULL;
    Bb__Proto__TxBody *body = NULL;
    int rc =
        bb_unpack(ctx, feed->arena, &bb__proto__tx_record__descriptor, bb_pb_slice(bytes), &record);

    if (rc == BB_OK)
        rc = bb_tx_record_validate(ctx, record);
    if (rc == BB_OK && (record->prev != feed->cursor || record->tx <= record->prev)) {
        return bb_fail(ctx, BB_GAP, "record %" PRIu64 " follows %" PRIu64 ", we are at %" PRIu64,
                       record->tx, record->prev, feed->cursor);
    }
    if (rc == BB_OK) {
        rc = bb_unpack(ctx, feed->arena, &bb__proto__tx_body__descriptor, bb_pb_slice(record->body),
                       &body);
    }
    if (rc != BB_OK)
        return rc;
    for (size_t i = 0; i < body->n_writes; i++)
        take_write(ctx, feed, body->writes[i]);
    feed->cursor = record->tx;
    return BB_OK;
}

/* ---- following ---- */

static void begin_anew(struct scheduler_feed *feed, const char *why)
{
    bb_warn(feed->scheduler->ctx, "scheduler.feed_anew", "cursor=%" PRIu64 " why=\"%s\"",
            feed->cursor, why);
    feed->has_cursor = false;
}

static void set_following(struct scheduler_feed *feed, bool is_following)
{
    if (feed->is_following == is_following)
        return;
    feed->is_following = is_following;
    bb_info(feed->scheduler->ctx, is_following ? "scheduler.feed_following" : "scheduler.feed_lost",
            "storage=%s tx=%" PRIu64, bb_peer_url(feed->storages[feed->current]), feed->cursor);
    scheduler_tell_health(feed->scheduler);
}

static void go_on(void *arg)
{
    struct scheduler_feed *feed = arg;

    if (feed->has_cursor) {
        ask_tail(feed);
    } else {
        ask_start(feed);
    }
}

static void try_next(struct scheduler_feed *feed)
{
    set_following(feed, false);
    for (size_t i = 1, first = feed->current; i < feed->count; i++) {
        feed->current = (first + i) % feed->count;
        if (bb_peer_is_connected(feed->storages[feed->current]))
            break;
    }
    bb_timer_start(feed->pause, PAUSE_MS, 0);
}

static int unpack_reply(struct scheduler_feed *feed, int status, struct bb_slice bytes,
                        Bb__Proto__StorageReply **reply)
{
    struct bb_ctx ctx = *feed->scheduler->ctx;

    if (status == BB_OK)
        status = bb_unpack(&ctx, feed->arena, &bb__proto__storage_reply__descriptor, bytes, reply);
    if (status == BB_OK)
        status = bb_storage_reply_validate(&ctx, *reply);
    if (status == BB_OK)
        status = (int)(*reply)->status;
    return status;
}

/* What is known was true at an older moment, or of another history: begin with pages. */
static void begin_at(struct scheduler_feed *feed, uint64_t cursor)
{
    struct scheduler *scheduler = feed->scheduler;

    feed->cursor = cursor;
    feed->has_cursor = true;
    scheduler->generation++;
    scheduler_core_reset(scheduler->core);
    scheduler_turn(scheduler);
}

static void on_start(void *arg, int status, struct bb_slice bytes)
{
    struct scheduler_feed *feed = arg;
    Bb__Proto__StorageReply *reply = NULL;

    if (feed->is_closing)
        return;
    status = unpack_reply(feed, status, bytes, &reply);
    bool is_usable = status == BB_OK && reply->op_case == BB__PROTO__STORAGE_REPLY__OP_INFO;
    if (is_usable)
        begin_at(feed, reply->info->last_tx);
    bb_arena_reset(feed->arena);
    if (is_usable) {
        ask_tail(feed);
    } else {
        try_next(feed);
    }
}

static void ask_start(struct scheduler_feed *feed)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Info info = BB__PROTO__INFO__INIT;
    struct bb_ctx ctx = *feed->scheduler->ctx;

    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_INFO;
    request.info = &info;
    if (bb_peer_request(&ctx, feed->storages[feed->current], &request.base, INFO_MS, on_start,
                        feed) != BB_OK)
        try_next(feed);
}

static void take_records(struct scheduler_feed *feed, const Bb__Proto__TailReply *tail)
{
    struct bb_ctx ctx = *feed->scheduler->ctx;

    set_following(feed, true);
    for (size_t i = 0; i < tail->n_records; i++) {
        if (take_record(&ctx, feed, tail->records[i]) != BB_OK) {
            begin_anew(feed, ctx.error);
            return;
        }
    }
    if (tail->n_records > 0)
        scheduler_turn(feed->scheduler);
}

static void on_tail(void *arg, int status, struct bb_slice bytes)
{
    struct scheduler_feed *feed = arg;
    Bb__Proto__StorageReply *reply = NULL;
    bool is_away = false;

    if (feed->is_closing)
        return;
    status = unpack_reply(feed, status, bytes, &reply);
    if (status == BB_OK && reply->op_case == BB__PROTO__STORAGE_REPLY__OP_TAIL) {
        /* Another history, or a node that is far behind: both are found out by asking anew. */
        if (reply->tail->last_tx < feed->cursor && feed->count == 1) {
            begin_anew(feed, "the newest transaction lies before the cursor");
        } else {
            take_records(feed, reply->tail);
        }
    } else if (status == BB_TX_TRUNCATED || status == BB_TX_IN_FUTURE) {
        begin_anew(feed, bb_status_name(status));
    } else {
        is_away = true;
    }
    bb_arena_reset(feed->arena);
    if (is_away) {
        try_next(feed);
    } else {
        go_on(feed);
    }
}

static void ask_tail(struct scheduler_feed *feed)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Tail tail = BB__PROTO__TAIL__INIT;
    struct bb_ctx ctx = *feed->scheduler->ctx;

    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_TAIL;
    request.tail = &tail;
    tail.after = feed->cursor;
    tail.max_bytes = TAIL_BYTES;
    /* The first answer shows that the node is there; it need not wait for news. */
    tail.wait_ms = feed->is_following ? TAIL_WAIT_MS : 0;
    if (bb_peer_request(&ctx, feed->storages[feed->current], &request.base, TAIL_WAIT_MS + 5000,
                        on_tail, feed) != BB_OK)
        try_next(feed);
}

bool scheduler_feed_has_cursor(const struct scheduler *scheduler)
{
    return scheduler->feed->has_cursor;
}

uint64_t scheduler_feed_cursor(const struct scheduler *scheduler)
{
    return scheduler->feed->cursor;
}

bool scheduler_feed_is_following(const struct scheduler *scheduler)
{
    return scheduler->feed->is_following;
}

/* ---- open and close ---- */

static int add_storage(struct bb_ctx *ctx, struct scheduler_feed *feed, struct bb_slice url)
{
    char text[512];

    if (feed->count == STORAGES_MAX || url.size >= sizeof text) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "option storage: at most %u urls of at most 511 characters", STORAGES_MAX);
    }
    (void)snprintf(text, sizeof text, "%.*s", BB_SLICE_ARG(url));
    int rc = bb_peer_open(ctx, feed->scheduler->loop, &(struct bb_peer_options){ .url = text },
                          &feed->storages[feed->count]);
    feed->count += rc == BB_OK;
    return rc;
}

int scheduler_feed_open(struct bb_ctx *ctx, struct scheduler *scheduler, const char *urls)
{
    struct scheduler_feed *feed = bb_alloc_zero(1, sizeof *feed);
    struct bb_slice rest = bb_slice_str(urls);

    scheduler->feed = feed;
    feed->scheduler = scheduler;
    feed->arena = bb_arena_new(0);
    feed->pause = bb_timer_new(scheduler->loop, go_on, feed);
    while (rest.size > 0) {
        const uint8_t *comma = memchr(rest.data, ',', rest.size);
        size_t size = comma == NULL ? rest.size : (size_t)(comma - rest.data);
        int rc = size == 0 ? BB_OK : add_storage(ctx, feed, bb_slice(rest.data, size));
        if (rc != BB_OK)
            return rc;
        size += comma != NULL;
        rest = bb_slice(rest.data + size, rest.size - size);
    }
    if (feed->count == 0)
        return bb_fail(ctx, BB_BAD_REQUEST, "option storage: names no storage node");
    ask_start(feed);
    return BB_OK;
}

void scheduler_feed_close(struct scheduler *scheduler)
{
    struct scheduler_feed *feed = scheduler->feed;

    if (feed == NULL)
        return;
    feed->is_closing = true;
    for (size_t i = 0; i < feed->count; i++)
        bb_peer_close(feed->storages[i]);
    bb_timer_free(feed->pause);
    bb_arena_free(feed->arena);
    bb_free(feed);
    scheduler->feed = NULL;
}
