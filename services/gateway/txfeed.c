#include "txfeed.h"

#include <stdio.h>

#include "routes.h"
#include "stream.h"
#include "txfeed_internal.h"
#include "txfeed_rule.h"

#define TICK_MS   100u
#define RETRY_MS  1000u
#define LINGER_US 60000000u /* how long records are kept after the last reader has left */

/* ---- views ---- */

struct txfeed_shared_view *gateway_txfeed_view_share(struct txfeed *txfeed,
                                                     const struct txfeed_view *view)
{
    struct txfeed_shared_view *shared;

    bb_list_each(item, &txfeed->views) {
        shared = bb_container(item, struct txfeed_shared_view, link);
        if (gateway_txfeed_view_equal(&shared->view, view)) {
            shared->reference_count++;
            return shared;
        }
    }
    shared = bb_alloc(sizeof(*shared));
    shared->view = *view;
    shared->view.tables = view->tables.size > 0 ? bb_slice_dup(view->tables) : BB_SLICE_EMPTY;
    shared->reference_count = 1;
    bb_list_push_back(&txfeed->views, &shared->link);
    return shared;
}

void gateway_txfeed_view_release(struct txfeed *txfeed, struct txfeed_shared_view *view)
{
    union {
        const uint8_t *in;
        uint8_t *out;
    } cast = { .in = view->view.tables.data };

    if (--view->reference_count > 0)
        return;
    gateway_txfeed_ring_drop_view(&txfeed->ring, &view->view);
    bb_list_remove(&view->link);
    bb_free(cast.out);
    bb_free(view);
}

uint64_t gateway_txfeed_head(const struct txfeed *txfeed)
{
    return bb_follow_cursor(txfeed->gateway->feed);
}

/* ---- the question ---- */

struct question {
    struct caller caller;
    struct txfeed_view view;
    struct bb_slice consumer;
    enum txfeed_from from;
    uint64_t position, wait_us;
    size_t limit;
    bool is_poll;
};

/* Nobody's are refused at once; of users the application's rule decides. */
static int check_rights(struct bb_ctx *ctx, struct gateway *gateway,
                        struct bb_http_request *request, struct question *question)
{
    int rc = gateway_stream_caller(ctx, gateway, request, &question->caller);

    if (rc == BB_OK && !question->caller.is_admin && question->caller.identity.size == 0) {
        rc =
            bb_fail(ctx, BB_FORBIDDEN,
                    "The transaction feed needs the admin key (`Authorization: BitBend <key>`), or "
                    "the token of a user that the application's feedRule admits.");
    }
    return rc;
}

/* A user names the tables, all of them the application's. */
static int check_tables(struct bb_ctx *ctx, struct question *question)
{
    struct bb_slice tables = question->view.tables;

    if (question->caller.is_admin)
        return BB_OK;
    if (tables.size == 0 || question->consumer.data != NULL) {
        return bb_fail(ctx, BB_FORBIDDEN,
                       "Users read the feed of tables that they name (`tables=a,b`); all tables, "
                       "and named consumers, need the admin key.");
    }
    for (size_t at = 0; at < tables.size;) {
        struct bb_slice name = bb_slice_str((const char *)tables.data + at);

        if (name.data[0] == '_') {
            return bb_fail(ctx, BB_FORBIDDEN, "The table %.*s needs the admin key.",
                           BB_SLICE_ARG(name));
        }
        at += name.size + 1;
    }
    question->view.hides_identity = true;
    return BB_OK;
}

static int take_from(struct bb_ctx *ctx, const struct gateway *gateway,
                     struct bb_http_request *request, struct question *question)
{
    struct bb_slice last = bb_http_header(request, "last-event-id");
    struct bb_slice from = BB_SLICE_EMPTY;
    int rc = bb_http_parameter(ctx, request, "from", &from);

    if (rc != BB_OK)
        return rc;
    if (last.size > 0) {
        question->from = TXFEED_FROM_TX;
        return gateway_parse_tx(ctx, gateway, last, "Last-Event-ID", &question->position);
    }
    if (from.size == 0 || bb_slice_equal_str(from, "now")) {
        question->from = TXFEED_FROM_NOW;
        return BB_OK;
    }
    if (bb_slice_equal_str(from, "earliest") || bb_slice_equal_str(from, "start")) {
        question->from = TXFEED_FROM_EARLIEST;
        return BB_OK;
    }
    question->from = TXFEED_FROM_TX;
    return gateway_parse_tx(ctx, gateway, from, "`from` (a tx, earliest or now)",
                            &question->position);
}

/* Decimal seconds as microseconds. */
static int parse_seconds(struct bb_ctx *ctx, struct bb_slice text, uint64_t *us)
{
    uint64_t value = 0;
    uint64_t unit = 0; /* of the next digit behind the point; 0: before it */

    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];

        if (byte == '.' && unit == 0 && i > 0) {
            unit = 100000;
        } else if (byte < '0' || byte > '9' || text.size > 12) {
            return bb_fail(ctx, BB_BAD_REQUEST, "`wait` must be a number of seconds");
        } else if (i > 0 && unit > 0) {
            value += unit * (uint64_t)(byte - '0');
            unit /= 10;
            if (unit == 0)
                unit = 1; /* more digits than microseconds have: they count little */
        } else {
            value = value * 10 + (uint64_t)(byte - '0') * 1000000;
        }
    }
    if (value > TXFEED_WAIT_MAX_US) {
        return bb_fail(ctx, BB_BAD_REQUEST, "`wait` must be at most %u seconds",
                       TXFEED_WAIT_MAX_US / 1000000u);
    }
    *us = value;
    return BB_OK;
}

static int take_poll(struct bb_ctx *ctx, struct bb_http_request *request, struct question *question)
{
    struct bb_slice limit = BB_SLICE_EMPTY;
    struct bb_slice wait = BB_SLICE_EMPTY;
    uint64_t number = 0;
    int rc = bb_http_parameter(ctx, request, "limit", &limit);

    if (rc == BB_OK)
        rc = bb_http_parameter(ctx, request, "wait", &wait);
    question->is_poll = limit.data != NULL || wait.data != NULL;
    if (rc == BB_OK)
        rc = parse_seconds(ctx, wait, &question->wait_us);
    for (size_t i = 0; rc == BB_OK && i < limit.size; i++) {
        if (limit.data[i] < '0' || limit.data[i] > '9' || limit.size > 9)
            rc = bb_fail(ctx, BB_BAD_REQUEST, "`limit` must be a number of records");
        number = number * 10 + (uint64_t)(limit.data[i] - '0');
    }
    if (rc == BB_OK && limit.size > 0 && (number == 0 || number > TXFEED_LIMIT_MAX))
        rc = bb_fail(ctx, BB_BAD_REQUEST, "`limit` must be 1 to %u", TXFEED_LIMIT_MAX);
    question->limit = limit.size > 0 ? (size_t)number : TXFEED_LIMIT;
    return rc;
}

static int take_view(struct bb_ctx *ctx, struct bb_http_request *request, struct question *question,
                     struct bb_buf *tables)
{
    struct bb_slice include = BB_SLICE_EMPTY;
    struct bb_slice format = BB_SLICE_EMPTY;
    struct bb_slice names = BB_SLICE_EMPTY;
    int rc = bb_http_parameter(ctx, request, "include", &include);

    if (rc == BB_OK)
        rc = bb_http_parameter(ctx, request, "format", &format);
    if (rc == BB_OK)
        rc = bb_http_parameter(ctx, request, "tables", &names);
    if (rc == BB_OK)
        rc = gateway_txfeed_parse_include(ctx, include, &question->view.include);
    if (rc == BB_OK)
        rc = gateway_ask_format(ctx, format, &question->view.format);
    if (rc == BB_OK)
        rc = gateway_txfeed_parse_tables(ctx, names, tables);
    question->view.tables = bb_buf_slice(tables);
    return rc;
}

/* A position is a moment of one deployment: whoever names its own is told when it is another's. */
static int check_cluster(struct bb_ctx *ctx, const struct gateway *gateway,
                         struct bb_http_request *request)
{
    struct bb_slice named = BB_SLICE_EMPTY;
    struct bb_slice own = bb_follow_cluster(gateway->feed);
    struct bb_buf text;
    int rc = bb_http_parameter(ctx, request, "cluster", &named);

    bb_buf_init(&text);
    bb_hex_append(&text, own);
    if (rc == BB_OK && named.size > 0 && own.size > 0 &&
        !bb_slice_equal(named, bb_buf_slice(&text))) {
        rc = bb_fail(ctx, BB_BAD_REQUEST,
                     "The position is of another deployment (cluster %.*s); this one is %.*s.",
                     named.size > 64 ? 64 : (int)named.size, (const char *)named.data,
                     BB_SLICE_ARG(bb_buf_slice(&text)));
    }
    bb_buf_fini(&text);
    return rc;
}

static int take_question(struct bb_ctx *ctx, struct gateway *gateway,
                         struct bb_http_request *request, struct question *question,
                         struct bb_buf *tables)
{
    int rc = check_rights(ctx, gateway, request, question);

    if (rc == BB_OK)
        rc = take_from(ctx, gateway, request, question);
    if (rc == BB_OK)
        rc = take_poll(ctx, request, question);
    if (rc == BB_OK)
        rc = take_view(ctx, request, question, tables);
    if (rc == BB_OK)
        rc = check_cluster(ctx, gateway, request);
    if (rc == BB_OK)
        rc = bb_http_parameter(ctx, request, "consumer", &question->consumer);
    if (rc == BB_OK && question->consumer.data != NULL)
        rc = gateway_txfeed_check_name(ctx, question->consumer);
    if (rc == BB_OK)
        rc = check_tables(ctx, question);
    /* An acknowledgement is a transaction: a consumer that saw it would answer with another one. */
    question->view.hides_acks = question->consumer.data != NULL;
    if (rc == BB_OK && gateway->is_stopping)
        rc = bb_fail(ctx, BB_UNAVAILABLE, "This gateway is stopping; connect again.");
    if (rc == BB_OK && gateway->txfeed->reader_count >= TXFEED_READERS_MAX) {
        rc = bb_fail(ctx, BB_OVERLOADED,
                     "Too many consumers of the feed are open; try again later.");
    }
    return rc;
}

static char *name_dup(struct bb_slice name)
{
    char *copy = bb_alloc(name.size + 1);

    memcpy(copy, name.data, name.size);
    copy[name.size] = '\0';
    return copy;
}

void gateway_api_tx(struct gateway *gateway, struct bb_http_request *request)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct txfeed *txfeed = gateway->txfeed;
    struct question question = { .limit = 0 };
    struct txfeed_reader *reader;
    struct bb_buf tables;
    uint64_t now = bb_loop_now_us(gateway->loop);
    int rc;

    bb_buf_init(&tables);
    rc = take_question(&ctx, gateway, request, &question, &tables);
    if (rc != BB_OK) {
        bb_buf_fini(&tables);
        gateway_refuse(&ctx, request, rc);
        return;
    }
    reader = gateway_txfeed_reader_new(txfeed, request,
                                       gateway_txfeed_view_share(txfeed, &question.view));
    bb_buf_fini(&tables);
    reader->from = question.from;
    reader->position = question.position;
    reader->is_poll = question.is_poll;
    reader->limit = question.limit;
    reader->has_event_id = bb_http_header(request, "last-event-id").size > 0;
    reader->heard_us = now;
    reader->arrive_us = now + TXFEED_ARRIVE_US;
    reader->deadline_us = now + question.wait_us;
    reader->is_patient = question.is_poll && question.wait_us > 0;
    if (question.consumer.size > 0)
        reader->consumer = name_dup(question.consumer);
    if (txfeed->reader_count == 1)
        bb_timer_start(txfeed->tick, TICK_MS, TICK_MS);
    gateway_txfeed_load_tables(txfeed);
    if (bb_http_is_gone(request)) {
        gateway_txfeed_reader_fail(reader, BB_CANCELLED, "The client has left.", 0);
        return;
    }
    if (!question.caller.is_admin)
        rc = gateway_txfeed_rule_ask(&ctx, reader, &question.caller);
    if (rc == BB_OK) {
        gateway_txfeed_go(reader);
    } else {
        gateway_txfeed_reader_fail(reader, rc, ctx.error, 0);
    }
}

/* ---- what the feed brings ---- */

void gateway_txfeed_record(struct gateway *gateway, struct bb_slice bytes,
                           const Bb__Proto__TxRecord *record, const Bb__Proto__TxBody *body)
{
    struct txfeed *txfeed = gateway->txfeed;
    struct bb_ctx ctx = *gateway->ctx;

    if (txfeed->has_tables || txfeed->is_loading_tables) {
        for (size_t i = 0; i < body->n_writes; i++) {
            const Bb__Proto__Write *write = body->writes[i];

            if (write->table == BB_TABLE_TABLES && write->doc.len > 0 &&
                bb_value_validate(&ctx, bb_pb_slice(write->doc)) == BB_OK)
                gateway_txfeed_tables_learn(&txfeed->tables, bb_pb_slice(write->doc));
        }
    }
    if (txfeed->reader_count > 0 || bb_loop_now_us(gateway->loop) < txfeed->left_us + LINGER_US) {
        gateway_txfeed_ring_add(&txfeed->ring, record->prev, record->tx, bytes);
    } else {
        gateway_txfeed_ring_clear(&txfeed->ring, record->tx);
    }
}

void gateway_txfeed_advance(struct gateway *gateway, uint64_t cursor)
{
    (void)cursor;
    if (gateway->txfeed->reader_count > 0)
        gateway_txfeed_go_all(gateway->txfeed);
}

void gateway_txfeed_skip(struct gateway *gateway, uint64_t cursor, bool is_new_history)
{
    struct txfeed *txfeed = gateway->txfeed;

    gateway_txfeed_ring_clear(&txfeed->ring, cursor);
    if (!is_new_history)
        return;
    gateway_txfeed_tables_fini(&txfeed->tables);
    gateway_txfeed_tables_init(&txfeed->tables);
    txfeed->has_tables = false;
    bb_list_each_safe(item, &txfeed->readers) {
        struct txfeed_reader *reader = bb_container(item, struct txfeed_reader, link);

        if (reader->is_found && !reader->is_ended) {
            gateway_txfeed_reader_fail(
                reader, BB_TX_IN_FUTURE,
                "The data of this deployment was replaced by another history; begin anew.", 0);
        }
    }
}

/* ---- open and close ---- */

static void on_tick(void *arg)
{
    struct txfeed *txfeed = bb_cast(struct txfeed, arg, TXFEED_MAGIC);
    uint64_t now = bb_loop_now_us(txfeed->gateway->loop);

    if (txfeed->reader_count == 0) {
        bb_timer_stop(txfeed->tick);
        return;
    }
    gateway_txfeed_load_tables(txfeed);
    bb_list_each_safe(item, &txfeed->readers)
        gateway_txfeed_reader_tick(bb_container(item, struct txfeed_reader, link), now);
}

void gateway_txfeed_tick_now(struct txfeed *txfeed)
{
    bb_timer_start(txfeed->tick, 0, TICK_MS);
}

void gateway_txfeed_open(struct gateway *gateway, size_t ring_bytes)
{
    struct txfeed *txfeed = bb_alloc_zero(1, sizeof(*txfeed));
    char hello[64];

    gateway->txfeed = txfeed;
    txfeed->magic = TXFEED_MAGIC;
    txfeed->gateway = gateway;
    gateway_txfeed_ring_init(&txfeed->ring, ring_bytes);
    gateway_txfeed_tables_init(&txfeed->tables);
    bb_list_init(&txfeed->readers);
    bb_list_init(&txfeed->queue);
    bb_list_init(&txfeed->views);
    txfeed->arena = bb_arena_new(0);
    (void)snprintf(hello, sizeof(hello), ": ok\nretry: %u\n\n", RETRY_MS);
    txfeed->hello = bb_http_buffer_new(bb_slice_str(hello));
    txfeed->readers_now =
        bb_metric("bb_gateway_feed_readers", BB_GAUGE, "Consumers of the transaction feed.");
    txfeed->records = bb_metric("bb_gateway_feed_records_total", BB_COUNTER,
                                "Transactions sent to consumers of the feed.");
    txfeed->pulls = bb_metric("bb_gateway_feed_pages_total", BB_COUNTER,
                              "Pages that consumers behind the head read from storage.");
    txfeed->shared = bb_metric("bb_gateway_feed_shared_total", BB_COUNTER,
                               "Transactions whose text another consumer had made.");
    txfeed->tick = bb_timer_new(gateway->loop, on_tick, txfeed);
}

void gateway_txfeed_bye(struct gateway *gateway)
{
    struct txfeed *txfeed = gateway->txfeed;

    bb_list_each_safe(item, &txfeed->readers)
        gateway_txfeed_reader_bye(bb_container(item, struct txfeed_reader, link));
}

void gateway_txfeed_stop(struct gateway *gateway)
{
    if (gateway->txfeed == NULL)
        return;
    gateway_txfeed_bye(gateway);
    gateway->txfeed->is_closing = true;
}

void gateway_txfeed_close(struct txfeed *txfeed)
{
    if (txfeed == NULL)
        return;
    bb_assert(txfeed->reader_count == 0);
    bb_timer_free(txfeed->tick);
    gateway_txfeed_ring_fini(&txfeed->ring);
    gateway_txfeed_tables_fini(&txfeed->tables);
    bb_buf_fini(&txfeed->tables_from);
    bb_buf_fini(&txfeed->text);
    bb_arena_free(txfeed->arena);
    bb_http_buffer_release(txfeed->hello);
    txfeed->magic = 0;
    bb_free(txfeed);
}

size_t gateway_txfeed_reader_count(const struct gateway *gateway)
{
    return gateway->txfeed->reader_count;
}

size_t gateway_txfeed_queued_bytes(const struct gateway *gateway)
{
    size_t total = 0;

    bb_list_each(item, &gateway->txfeed->readers) {
        struct txfeed_reader *reader = bb_container(item, struct txfeed_reader, link);
        size_t bytes = 0;

        if (reader->stream != NULL)
            (void)bb_http_stream_queued(reader->stream, &bytes);
        total += bytes + reader->records.size;
    }
    return total;
}
