/*
 * Starts storage, sequencer, worker and scheduler, which share an owner thread, and the gateway,
 * which has one of its own, over inproc, and ends them in reverse order. A part that ends by itself
 * ends the whole suite: whoever started us starts us again, and recovery is what the parts are
 * built for.
 */
#include "bb/solo_service.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bb/env.h"
#include "bb/gateway_service.h"
#include "bb/obs.h"
#include "bb/scheduler_service.h"
#include "bb/sequencer_service.h"
#include "bb/storage_service.h"
#include "bb/worker_service.h"

#include "layout.h"
#include "options.h"

#define PORTS_SEARCHED 100u

enum part_id {
    PART_STORAGE,
    PART_SEQUENCER,
    PART_WORKER,
    PART_SCHEDULER,
    PART_GATEWAY,
    PART_COUNT
};

struct solo;
struct part {
    struct solo *solo;
    const struct bb_service_def *def;
    struct bb_conf *conf;
    struct bb_service *service;
    bool is_ready, is_stopped;
};
struct event {
    struct bb_task task;
    struct part *part;
    enum bb_service_state state;
};
struct solo {
    struct bb_service *service;
    struct part parts[PART_COUNT];
    struct solo_layout layout;
    struct bb_buf admin_key;
    char data[4096], url[400], host[256];
    unsigned port;
    bool is_memory, is_stopping, is_closing, is_ready;
    uint64_t started_us;
};

static const struct bb_service_def *const defs[PART_COUNT] = {
    [PART_STORAGE] = &bb_storage_service, [PART_SEQUENCER] = &bb_sequencer_service,
    [PART_WORKER] = &bb_worker_service,   [PART_SCHEDULER] = &bb_scheduler_service,
    [PART_GATEWAY] = &bb_gateway_service,
};

static void stop_next(struct solo *solo)
{
    for (size_t i = PART_COUNT; i-- > 0;) {
        struct part *part = &solo->parts[i];
        if (part->service == NULL || part->is_stopped)
            continue;
        bb_service_stop(part->service);
        return;
    }
    bb_service_stopped(solo->service);
}

static void announce(struct solo *solo)
{
    struct bb_ctx *ctx = bb_loop_ctx(bb_service_loop(solo->service));

    for (size_t i = 0; i < PART_COUNT; i++) {
        if (!solo->parts[i].is_ready)
            return;
    }
    if (solo->is_ready)
        return;
    solo->is_ready = true;
    if (solo_write_dev_json(ctx, solo->data, solo->url, bb_buf_slice(&solo->admin_key)) != BB_OK)
        bb_warn(ctx, "solo.dev_json", "error=\"%s\"", ctx->error);
    bb_service_ready(solo->service);
    bb_info(ctx, "solo.ready", "url=%s ms=%" PRIu64, solo->url,
            (bb_now_us(ctx) - solo->started_us) / 1000);
    (void)printf("bitbend: ready %s\n", solo->url);
    (void)fflush(stdout);
}

static void on_event_task(struct bb_task *task)
{
    struct event *event = bb_container(task, struct event, task);
    struct part *part = event->part;
    struct solo *solo = part->solo;

    if (solo->is_closing) {
        bb_free(event);
        return;
    }
    if (event->state == BB_SERVICE_READY) {
        part->is_ready = true;
        announce(solo);
    } else if (event->state == BB_SERVICE_STOPPED) {
        part->is_stopped = true;
        if (!solo->is_stopping) {
            struct bb_ctx *ctx = bb_loop_ctx(bb_service_loop(solo->service));
            bb_error(ctx, "solo.part_ended", "part=%s", part->def->name);
            (void)fprintf(stderr, "bitbend: %s ended by itself; the suite stops\n",
                          part->def->name);
            (void)fflush(stderr);
            solo_remove_dev_json(ctx, solo->data);
            /* The others may wait for the one that ended: nothing is lost by leaving at once. */
            _exit(1);
        }
        stop_next(solo);
    }
    bb_free(event);
}

/* Any thread. */
static void on_event(void *arg, enum bb_service_state state)
{
    struct part *part = arg;
    struct event *event = bb_alloc_zero(1, sizeof *event);

    event->task.run = on_event_task;
    event->part = part;
    event->state = state;
    bb_loop_post(bb_service_loop(part->solo->service), &event->task);
}

static int set(struct bb_ctx *ctx, struct part *part, const char *name, const char *value)
{
    return bb_conf_set(ctx, part->conf, name, value);
}

/* The part's options: its environment variables and defaults, then what the suite decides. */
static int configure(struct bb_ctx *ctx, struct solo *solo, struct part *part)
{
    static char program[] = "bb-solo";
    char *argv[] = { program, NULL };
    const struct bb_option *tables[] = { part->def->options, bb_service_options, NULL };

    int rc = bb_conf_parse(ctx, part->def->name, part->def->summary, tables, 1, argv, &part->conf);
    if (rc == BB_OK)
        rc = set(ctx, part, "admin-listen", "");
    (void)solo;
    return rc;
}

static int configure_all(struct bb_ctx *ctx, struct solo *solo, const struct bb_conf *conf)
{
    struct part *storage = &solo->parts[PART_STORAGE];
    struct part *sequencer = &solo->parts[PART_SEQUENCER];
    struct part *worker = &solo->parts[PART_WORKER];
    struct part *scheduler = &solo->parts[PART_SCHEDULER];
    struct part *gateway = &solo->parts[PART_GATEWAY];
    const char *show_errors = bb_conf_bool(conf, "show-errors") ? "true" : "false";
    char text[64], spare_slots[32], outcome_seconds[32], cache_bytes[32], results_bytes[32],
        json_bytes[32], memtable_bytes[32], resident_bytes[32];
    int rc = BB_OK;

    for (size_t i = 0; i < PART_COUNT && rc == BB_OK; i++)
        rc = configure(ctx, solo, &solo->parts[i]);
    if (rc != BB_OK)
        return rc;
    (void)snprintf(text, sizeof text, "%" PRIu64, bb_conf_number(conf, "slots"));
    (void)snprintf(spare_slots, sizeof spare_slots, "%" PRIu64,
                   bb_conf_number(conf, "spare-slots"));
    (void)snprintf(outcome_seconds, sizeof outcome_seconds, "%" PRIu64,
                   bb_conf_number(conf, "outcome-seconds"));
    (void)snprintf(cache_bytes, sizeof cache_bytes, "%" PRIu64,
                   bb_conf_number(conf, "cache-bytes"));
    (void)snprintf(results_bytes, sizeof results_bytes, "%" PRIu64,
                   bb_conf_number(conf, "results-bytes"));
    (void)snprintf(json_bytes, sizeof json_bytes, "%" PRIu64, bb_conf_number(conf, "json-bytes"));
    (void)snprintf(memtable_bytes, sizeof memtable_bytes, "%" PRIu64,
                   bb_conf_number(conf, "memtable-bytes"));
    (void)snprintf(resident_bytes, sizeof resident_bytes, "%" PRIu64,
                   bb_conf_number(conf, "map-resident-bytes"));
    const struct {
        struct part *part;
        const char *name, *value;
    } settings[] = {
        { storage, "listen", "inproc://bb-storage" },
        { storage, "data", solo->data },
        { storage, "memtable-bytes", memtable_bytes },
        { storage, "map-resident-bytes", resident_bytes },
        { sequencer, "listen", "inproc://bb-sequencer" },
        { sequencer, "storage", "inproc://bb-storage" },
        { worker, "listen", "inproc://bb-worker" },
        { worker, "storage", "inproc://bb-storage" },
        { worker, "sequencer", "inproc://bb-sequencer" },
        { worker, "slots", text },
        { worker, "spare-slots", spare_slots },
        { worker, "outcome-seconds", outcome_seconds },
        { worker, "cache-bytes", cache_bytes },
        { worker, "results-bytes", results_bytes },
        { worker, "node", solo->layout.node },
        { worker, "addon", solo->layout.addon },
        { worker, "slot-js", solo->layout.slot_js },
        { worker, "sandbox", bb_conf_text(conf, "sandbox") },
        { worker, "slot-start", bb_conf_text(conf, "slot-start") },
        { worker, "show-errors", show_errors },
        { scheduler, "workers", "inproc://bb-worker" },
        { scheduler, "storage", "inproc://bb-storage" },
        { scheduler, "lease-ms", "0" }, /* there is no other */
        { scheduler, "deployment", bb_conf_text(conf, "deployment") },
        { gateway, "workers", "inproc://bb-worker" },
        { gateway, "storage", "inproc://bb-storage" },
        { gateway, "show-errors", show_errors },
        { gateway, "json-bytes", json_bytes },
        { gateway, "admin-key", (const char *)solo->admin_key.data },
        { gateway, "deployment", bb_conf_text(conf, "deployment") },
    };
    for (size_t i = 0; i < BB_COUNT_OF(settings) && rc == BB_OK; i++)
        rc = set(ctx, settings[i].part, settings[i].name, settings[i].value);
    if (rc == BB_OK && bb_conf_text(conf, "static") != NULL)
        rc = set(ctx, gateway, "static", bb_conf_text(conf, "static"));
    if (rc == BB_OK && bb_conf_text(conf, "nats") != NULL)
        rc = set(ctx, gateway, "nats", bb_conf_text(conf, "nats"));
    if (rc == BB_OK && bb_conf_text(conf, "nats") != NULL)
        rc = set(ctx, scheduler, "nats", bb_conf_text(conf, "nats"));
    return rc;
}

static int start_part(struct bb_ctx *ctx, struct solo *solo, struct part *part)
{
    struct bb_ctx *loop_ctx = bb_loop_ctx(bb_service_loop(solo->service));
    struct bb_service *storage = solo->parts[PART_STORAGE].service;

    /* A commit goes back and forth between these: one thread, no wake-ups. HTTP has its own. */
    if (storage != NULL && part->def != &bb_gateway_service) {
        return bb_service_start_beside(ctx, storage, part->def, part->conf, on_event, part,
                                       &part->service);
    }
    return bb_service_start(ctx, part->def, part->conf, loop_ctx->env, loop_ctx->log, on_event,
                            part, &part->service);
}

/* The gateway's port is the one thing that may be taken by somebody else. */
static int start_gateway(struct bb_ctx *ctx, struct solo *solo, bool may_search)
{
    struct part *part = &solo->parts[PART_GATEWAY];
    unsigned last = solo->port + (may_search ? PORTS_SEARCHED : 0);
    int rc;

    for (unsigned port = solo->port;; port++) {
        char listen[300];
        (void)snprintf(listen, sizeof listen, "%s:%u", solo->host, port);
        (void)snprintf(solo->url, sizeof solo->url, "http://%s", listen);
        rc = set(ctx, part, "listen", listen);
        if (rc == BB_OK)
            rc = start_part(ctx, solo, part);
        if (rc != BB_ADDRESS_IN_USE || port >= last || port >= 65535)
            return rc;
    }
}

static int parse_listen(struct bb_ctx *ctx, struct solo *solo, const char *listen)
{
    const char *colon = strrchr(listen, ':');
    char *end = NULL;

    if (colon == NULL || colon == listen || (size_t)(colon - listen) >= sizeof solo->host) {
        return bb_fail(ctx, BB_BAD_REQUEST, "--listen %s: HOST:PORT is wanted, e.g. 127.0.0.1:3210",
                       listen);
    }
    memcpy(solo->host, listen, (size_t)(colon - listen));
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (end == colon + 1 || *end != '\0' || port == 0 || port > 65535) {
        return bb_fail(ctx, BB_BAD_REQUEST, "--listen %s: the port is a number from 1 to 65535",
                       listen);
    }
    solo->port = (unsigned)port;
    return BB_OK;
}

static int prepare_data(struct bb_ctx *ctx, struct solo *solo, const struct bb_conf *conf)
{
    const char *data = bb_conf_text(conf, "data");

    solo->is_memory = bb_conf_bool(conf, "memory");
    if (data[0] == 0 || strlen(data) >= sizeof solo->data)
        return bb_fail(ctx, BB_BAD_REQUEST, "name the data folder with --data");
    /* With --memory the folder still keeps dev.json and the key, so that tools find the suite. */
    (void)snprintf(solo->data, sizeof solo->data, "%s", data);
    return ctx->env->ops->make_dir(ctx, ctx->env, solo->data);
}

static int solo_start(struct bb_ctx *ctx, struct bb_service *service, void **state)
{
    const struct bb_conf *conf = bb_service_conf(service);
    struct solo *solo = bb_alloc_zero(1, sizeof *solo);

    *state = solo;
    solo->service = service;
    solo->started_us = bb_now_us(ctx);
    for (size_t i = 0; i < PART_COUNT; i++)
        solo->parts[i] = (struct part){ .solo = solo, .def = defs[i] };
    int rc = parse_listen(ctx, solo, bb_conf_text(conf, "listen"));
    if (rc == BB_OK)
        rc = solo_layout_find(ctx, conf, &solo->layout);
    if (rc == BB_OK)
        rc = prepare_data(ctx, solo, conf);
    if (rc == BB_OK)
        rc = solo_admin_key(ctx, solo->data, &solo->admin_key);
    bb_buf_append_byte(&solo->admin_key, '\0');
    solo->admin_key.size--;
    if (rc == BB_OK)
        rc = configure_all(ctx, solo, conf);
    if (rc == BB_OK && solo->is_memory)
        rc = set(ctx, &solo->parts[PART_STORAGE], "memory", "true");
    /* The gateway first: a taken port is found before anything else was done. */
    if (rc == BB_OK)
        rc = start_gateway(ctx, solo, bb_conf_bool(conf, "port-search"));
    for (size_t i = 0; i < PART_GATEWAY && rc == BB_OK; i++)
        rc = start_part(ctx, solo, &solo->parts[i]);
    return rc;
}

static void solo_stop(struct bb_service *service, void *state)
{
    struct solo *solo = state;

    (void)service;
    solo->is_stopping = true;
    solo_remove_dev_json(bb_loop_ctx(bb_service_loop(service)), solo->data);
    stop_next(solo);
}

static void solo_close(struct bb_service *service, void *state)
{
    struct solo *solo = state;

    (void)service;
    if (solo == NULL)
        return;
    solo->is_closing = true;
    for (size_t i = PART_COUNT; i-- > 0;) {
        if (solo->parts[i].service != NULL) {
            if (!solo->is_stopping) /* a start that failed half-way */
                bb_service_stop(solo->parts[i].service);
            bb_service_join(solo->parts[i].service);
        }
        bb_conf_free(solo->parts[i].conf);
    }
    bb_buf_fini(&solo->admin_key);
    bb_free(solo);
}

const struct bb_service_def bb_solo_service = {
    .name = "solo",
    .summary =
        "The embedded BitBend suite: storage, sequencer, worker, scheduler and gateway in one process.",
    .options = solo_options,
    .start = solo_start,
    .stop = solo_stop,
    .close = solo_close,
};
