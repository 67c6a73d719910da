/* Subscribers: one stream each, that comes back after every loss and says what it saw last. */
#include <stdio.h>

#include "parts.h"
#include "world.h"

#define RECONNECT_US 30000

struct watch {
    struct sim_node *node;
    unsigned number;
    uint32_t watch; /* of the history: a new one after each resync */
    char steps[128];
    uint64_t tx;
    struct bb_slice log; /* what it shows */
    struct sim_http_call *call;
};
static struct watch watches[64];
static uint32_t next_watch = 1;

static const char *const questions[] = {
    "[\"scan\",\"a\",\"b\",0,false]",   "[\"r\",\"l0\"],[\"r\",\"n0\"]",
    "[\"scan\",\"l\",\"y\",3,true]",    "[\"vscan\",20,70]",
    "[\"scan\",\"p0\",\"p4\",0,false]", "[\"ri\",\"x0\"],[\"r\",\"x1\"],[\"ri\",\"g0\"]",
};

static void connect_watch(void *arg);

uint32_t sim_watch_number(void)
{
    return next_watch++;
}

/* ---- what comes ---- */

static struct bb_slice line_of(struct bb_slice event, const char *name)
{
    const char *text = (const char *)event.data;
    const char *at = strstr(text, name);

    if (at == NULL)
        return BB_SLICE_EMPTY;
    at += strlen(name);
    return bb_slice(at, strcspn(at, "\n"));
}

static void take_value(struct watch *watch, struct bb_slice event)
{
    struct bb_ctx ctx = { .env = NULL };
    struct bb_buf value;

    bb_buf_init(&value);
    if (bb_json_decode(&ctx, line_of(event, "data: "), false, &value) != BB_OK) {
        sim_fail("a push is no JSON: %.*s", BB_SLICE_ARG(event));
        return;
    }
    struct bb_slice data = bb_buf_slice(&value);
    watch->tx = (uint64_t)bb_value_float64(bb_value_field_str(data, "tx"));
    watch->log = bb_value_field_str(data, "value");
    check_add_txn(&world.history, &(struct check_txn){ .start_us = sim.now_us,
                                                       .end_us = sim.now_us,
                                                       .at = watch->tx,
                                                       .watch = watch->watch,
                                                       .log = watch->log });
}

static void on_event(struct watch *watch, const char *text)
{
    if (strncmp(text, "event: value", 12) == 0) {
        take_value(watch, bb_slice_str(text));
    } else if (strncmp(text, "event: resync", 13) == 0) {
        watch->tx = 0;
        watch->watch = next_watch++;
    } else if (strncmp(text, "event: failed", 13) == 0) {
        sim_fail("subscription %u failed: %s", watch->number, text);
    }
}

static void on_bytes(void *arg, struct bb_slice bytes)
{
    char *text = bb_alloc(bytes.size + 1);

    memcpy(text, bytes.data, bytes.size);
    text[bytes.size] = '\0';
    for (char *at = text; at != NULL && *at != '\0' && !sim.is_over;) {
        char *end = strstr(at, "\n\n"); /* one chunk may hold several events */
        if (end != NULL)
            *end = '\0';
        on_event(arg, at);
        at = end == NULL ? NULL : end + 2;
    }
    bb_free(text);
}

static void on_end(void *arg)
{
    struct watch *watch = arg;

    watch->call = NULL;
    (void)sim_after(watch->node, RECONNECT_US + sim_below(RECONNECT_US), connect_watch, watch);
}

static void on_answer(void *arg, int status, struct bb_slice body)
{
    if (status != 0 && status != 503)
        sim_fail("a subscription got %d: %.*s", status, BB_SLICE_ARG(body));
    on_end(arg);
}

/* ---- connecting ---- */

static void append_escaped(struct bb_buf *to, const char *text)
{
    for (; *text != '\0'; text++)
        bb_buf_printf(to, "%%%02x", (unsigned)(uint8_t)*text);
}

static void connect_watch(void *arg)
{
    struct watch *watch = arg;
    char headers[64] = "";
    char args[256];
    struct bb_buf query;

    (void)snprintf(args, sizeof args, "{\"id\":\"w\",\"ops\":[%s]}", watch->steps);
    bb_buf_init(&query);
    bb_buf_append_str(&query, "path=kv:look&args=");
    append_escaped(&query, args);
    bb_buf_append_byte(&query, 0);
    if (watch->tx != 0)
        (void)snprintf(headers, sizeof headers, "last-event-id: %" PRIu64 "\n", watch->tx);
    struct sim_http_ask ask = { .client = watch->node,
                                .gateway = sim_any_gateway(),
                                .method = "GET",
                                .path = "/api/subscribe",
                                .query = (const char *)query.data,
                                .headers = headers,
                                .on_answer = on_answer,
                                .on_bytes = on_bytes,
                                .on_end = on_end,
                                .arg = watch };
    watch->call = sim_http_send(&ask);
    bb_buf_fini(&query);
}

void sim_watches_start(void)
{
    for (unsigned i = 0; i < world.scenario->watches; i++) {
        struct watch *watch = &watches[i];
        *watch = (struct watch){ .node = world.checker, .number = i + 1, .watch = next_watch++ };
        (void)snprintf(watch->steps, sizeof watch->steps, "%s",
                       questions[i % BB_COUNT_OF(questions)]);
        (void)sim_after(watch->node, sim_below(300000), connect_watch, watch);
    }
}

/* A client moves on to another network, or stops to read for a while. */
void sim_watches_drop(void)
{
    for (unsigned i = 0; i < world.scenario->watches; i++) {
        struct watch *watch = &watches[i];
        if (watch->call == NULL || sim_chance(500000))
            continue;
        if (sim_chance(300000)) {
            sim_http_stall(watch->call, sim_below(2000000));
        } else {
            sim_http_leave(watch->call);
            on_end(watch);
        }
    }
}

/* ---- at the end ---- */

/* It shows what a query answers now. */
bool sim_watch_shows(unsigned number, struct bb_slice value)
{
    return watches[number].log.data != NULL && bb_slice_equal(watches[number].log, value);
}

const char *sim_watch_steps(unsigned number)
{
    return watches[number].steps;
}

void sim_watch_tell(unsigned number)
{
    const struct watch *watch = &watches[number];
    struct bb_buf text;

    bb_buf_init(&text);
    if (watch->log.data != NULL)
        bb_json_encode(watch->log, BB_JSON_CLEAN, &text);
    sim_fail("live: subscription %u still shows %.*s of %" PRIu64 " long after the last write",
             watch->number, BB_SLICE_ARG(bb_buf_slice(&text)), watch->tx);
    bb_buf_fini(&text);
}
