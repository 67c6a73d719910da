/*
 * Sessions: several live queries on one stream, whose set changes, and which come back with the
 * hashes of what they hold. After each event all that a session shows must hold at the event's tx,
 * the queries that it does not name too.
 */
#include <stdio.h>

#include "parts.h"
#include "world.h"

#define QUERIES      4 /* of the opening set; one more comes and goes */
#define RECONNECT_US 30000

struct query {
    const char *steps;
    bool is_in; /* of the set, as far as an event has told */
    char hash[40];
    struct bb_slice log;
};
struct session {
    struct sim_node *node, *gateway;
    unsigned number;
    uint32_t watch;
    uint64_t tx;
    char name[80]; /* of the open one; empty: none */
    struct query queries[QUERIES + 1];
    uint64_t set;     /* the change of the set that events must cover */
    bool wants_extra; /* the extra query is in the set that was asked for */
    bool is_changing;
    struct sim_http_call *call;
};
static struct session sessions[16];

static const char *const steps_of[QUERIES + 1] = {
    "[\"scan\",\"a\",\"b\",0,false]",
    "[\"r\",\"l0\"],[\"r\",\"n0\"]",
    "[\"scan\",\"l\",\"y\",3,true]",
    "[\"ri\",\"x0\"],[\"r\",\"x1\"],[\"ri\",\"g0\"]",
    "[\"vscan\",20,70]",
};

static void open_session(void *arg);

/* ---- what comes ---- */

static uint64_t number(struct bb_slice object, const char *name)
{
    struct bb_slice value = bb_value_field_str(object, name);

    return value.data != NULL && bb_value_tag(value) == BB_TAG_FLOAT64
               ? (uint64_t)bb_value_float64(value)
               : 0;
}

static void take_change(struct session *session, struct bb_slice change)
{
    uint64_t id = number(change, "id");
    struct bb_slice hash = bb_value_field_str(change, "hash");
    struct bb_slice log = bb_value_field_str(change, "value");

    if (id == 0 || id > QUERIES + 1 || log.data == NULL) {
        sim_fail("session %u: a change that is none", session->number);
        return;
    }
    struct query *query = &session->queries[id - 1];
    query->log = log;
    (void)snprintf(query->hash, sizeof query->hash, "%.*s", BB_SLICE_ARG(bb_value_bytes(hash)));
}

/* All that it shows now, at this tx. */
static void record(const struct session *session)
{
    for (unsigned i = 0; i < QUERIES + 1; i++) {
        const struct query *query = &session->queries[i];
        if (!query->is_in || query->log.data == NULL)
            continue;
        check_add_txn(&world.history, &(struct check_txn){ .start_us = sim.now_us,
                                                           .end_us = sim.now_us,
                                                           .at = session->tx,
                                                           .watch = session->watch,
                                                           .log = query->log });
    }
}

static void take_changes(struct session *session, struct bb_slice event)
{
    struct bb_slice changes = bb_value_field_str(event, "changes");
    struct bb_slice resync = bb_value_field_str(event, "resync");
    uint64_t set = number(event, "set");

    if (resync.data != NULL)
        session->watch = sim_watch_number();
    session->tx = number(event, "tx");
    for (unsigned i = 0; set != 0 && i < QUERIES; i++)
        session->queries[i].is_in = true;
    if (set != 0 && set >= session->set)
        session->queries[QUERIES].is_in = session->wants_extra;
    for (size_t i = 0; i < bb_value_count(changes); i++)
        take_change(session, bb_value_at(changes, i));
    record(session);
}

static void on_event(struct session *session, const char *text)
{
    struct bb_ctx ctx = { .env = NULL };
    const char *data = strstr(text, "data: ");
    struct bb_buf value;

    if (strncmp(text, "event: refused", 14) == 0) {
        sim_fail("session %u was refused: %s", session->number, text);
        return;
    }
    if (data == NULL || strncmp(text, "event: ", 7) != 0)
        return;
    bb_buf_init(&value);
    if (bb_json_decode(&ctx, bb_slice(data + 6, strcspn(data + 6, "\n")), false, &value) != BB_OK) {
        sim_fail("session %u: %s", session->number, text);
        return;
    }
    struct bb_slice event = bb_buf_slice(&value);
    if (strncmp(text, "event: session", 14) == 0) {
        (void)snprintf(session->name, sizeof session->name, "%.*s",
                       BB_SLICE_ARG(bb_value_bytes(bb_value_field_str(event, "session"))));
    } else if (strncmp(text, "event: changes", 14) == 0) {
        take_changes(session, event);
    }
}

static void on_bytes(void *arg, struct bb_slice bytes)
{
    char *text = bb_alloc(bytes.size + 1);

    memcpy(text, bytes.data, bytes.size);
    text[bytes.size] = '\0';
    for (char *at = text; at != NULL && *at != '\0' && !sim.is_over;) {
        char *end = strstr(at, "\n\n");
        if (end != NULL)
            *end = '\0';
        on_event(arg, at);
        at = end == NULL ? NULL : end + 2;
    }
    bb_free(text);
}

static void on_end(void *arg)
{
    struct session *session = arg;

    session->call = NULL;
    session->name[0] = '\0';
    (void)sim_after(session->node, RECONNECT_US + sim_below(RECONNECT_US), open_session, session);
}

static void on_refused(void *arg, int status, struct bb_slice body)
{
    if (status != 0 && status != 503)
        sim_fail("opening a session got %d: %.*s", status, BB_SLICE_ARG(body));
    on_end(arg);
}

/* ---- opening ---- */

static void append_query(struct bb_buf *to, const struct session *session, unsigned index)
{
    const struct query *query = &session->queries[index];

    bb_buf_printf(to, "%s{\"id\":%u,\"path\":\"kv:look\",\"args\":{\"id\":\"s\",\"ops\":[%s]}",
                  to->data[to->size - 1] == '[' ? "" : ",", index + 1, query->steps);
    if (query->hash[0] != '\0')
        bb_buf_printf(to, ",\"hash\":\"%s\"", query->hash);
    bb_buf_append_byte(to, '}');
}

static void open_session(void *arg)
{
    struct session *session = arg;
    struct bb_buf body;

    if (session->call != NULL)
        return;
    session->gateway = sim_any_gateway();
    session->set = 1;
    session->is_changing = false;
    bb_buf_init(&body);
    bb_buf_append_str(&body, "{\"queries\":[");
    for (unsigned i = 0; i < QUERIES + 1; i++) {
        session->queries[i].is_in = false;
        if (i < QUERIES || session->wants_extra)
            append_query(&body, session, i);
    }
    bb_buf_append_str(&body, "]");
    if (session->tx != 0)
        bb_buf_printf(&body, ",\"after\":%" PRIu64, session->tx);
    bb_buf_append_str(&body, "}");
    struct sim_http_ask ask = { .client = session->node,
                                .gateway = session->gateway,
                                .method = "POST",
                                .path = "/api/sync",
                                .body = bb_buf_slice(&body),
                                .on_answer = on_refused,
                                .on_bytes = on_bytes,
                                .on_end = on_end,
                                .arg = session };
    session->call = sim_http_send(&ask);
    bb_buf_fini(&body);
}

/* ---- changes of the set ---- */

struct change {
    struct session *session;
    struct sim_http_call *call;
};

static void on_changed(void *arg, int status, struct bb_slice body)
{
    struct change *change = arg;
    struct session *session = change->session;
    struct bb_ctx ctx = { .env = NULL };
    struct bb_buf value;

    /* Another stream began meanwhile: that one's set is what it asked for. */
    bool is_other = change->call != session->call;
    bb_free(change);
    if (is_other)
        return;
    session->is_changing = false;
    if (status == 200) {
        bb_buf_init(&value);
        if (bb_json_decode(&ctx, body, false, &value) == BB_OK)
            session->set = number(bb_buf_slice(&value), "set");
        bb_buf_fini(&value);
    } else if (session->call != NULL) { /* nobody knows which set it has: begin anew */
        sim_http_leave(session->call);
        on_end(session);
    }
}

static void change_set(struct session *session)
{
    char path[128];
    struct bb_buf body;
    struct change *change;

    if (session->name[0] == '\0' || session->is_changing)
        return;
    session->is_changing = true;
    session->wants_extra = !session->wants_extra;
    session->set = UINT64_MAX; /* until the answer tells which one it is */
    session->queries[QUERIES].is_in = false;
    session->queries[QUERIES].hash[0] = '\0';
    session->queries[QUERIES].log = BB_SLICE_EMPTY;
    bb_buf_init(&body);
    if (session->wants_extra) {
        bb_buf_append_str(&body, "{\"add\":[");
        append_query(&body, session, QUERIES);
        bb_buf_append_str(&body, "]}");
    } else {
        bb_buf_printf(&body, "{\"remove\":[%u]}", QUERIES + 1);
    }
    change = bb_alloc(sizeof *change);
    *change = (struct change){ .session = session, .call = session->call };
    (void)snprintf(path, sizeof path, "/api/sync/%s", session->name);
    (void)sim_http_send(&(struct sim_http_ask){ .client = session->node,
                                                .gateway = session->gateway,
                                                .method = "POST",
                                                .path = path,
                                                .body = bb_buf_slice(&body),
                                                .on_answer = on_changed,
                                                .arg = change });
    bb_buf_fini(&body);
}

static void on_turn(void *arg)
{
    struct session *session = arg;

    if (!world.is_settling) {
        change_set(session);
        (void)sim_after(session->node, 50000 + sim_below(400000), on_turn, session);
    }
}

void sim_sessions_start(void)
{
    for (unsigned i = 0; i < world.scenario->sessions; i++) {
        struct session *session = &sessions[i];
        *session =
            (struct session){ .node = world.checker, .number = i + 1, .watch = sim_watch_number() };
        for (unsigned k = 0; k < QUERIES + 1; k++)
            session->queries[k].steps = steps_of[k];
        (void)sim_after(session->node, sim_below(300000), open_session, session);
        (void)sim_after(session->node, 300000 + sim_below(300000), on_turn, session);
    }
}

void sim_sessions_drop(void)
{
    for (unsigned i = 0; i < world.scenario->sessions; i++) {
        struct session *session = &sessions[i];
        if (session->call == NULL || sim_chance(500000))
            continue;
        if (sim_chance(300000)) {
            sim_http_stall(session->call, sim_below(2000000));
        } else {
            sim_http_leave(session->call);
            on_end(session);
        }
    }
}

/* ---- at the end ---- */

bool sim_session_shows(unsigned index, struct bb_slice value)
{
    const struct query *query = &sessions[index / QUERIES].queries[index % QUERIES];

    return query->log.data != NULL && bb_slice_equal(query->log, value);
}

unsigned sim_session_queries(void)
{
    return world.scenario->sessions * QUERIES;
}

const char *sim_session_steps(unsigned index)
{
    return steps_of[index % QUERIES];
}

void sim_session_tell(unsigned index)
{
    const struct session *session = &sessions[index / QUERIES];
    const struct query *query = &session->queries[index % QUERIES];
    struct bb_buf text;

    bb_buf_init(&text);
    if (query->log.data != NULL)
        bb_json_encode(query->log, BB_JSON_CLEAN, &text);
    sim_fail("live: session %u still shows %.*s of %" PRIu64 " long after the last write",
             session->number, BB_SLICE_ARG(bb_buf_slice(&text)), session->tx);
    bb_buf_fini(&text);
}
