#include "action.h"

#include <stdio.h>

#include "action_reply.h"

#include "bb/conf.h"
#include "bb/wire.h"

#define TICK_MS        100u
#define FREE_WAIT_US   5000000u  /* for a runner that is free */
#define ACCEPT_US      5000000u  /* from sending to a runner's word that it has it */
#define SILENCE_US     10000000u /* of a runner: it is dead */
#define BUS_AWAY_US    60000000u /* NATS is away while an action runs */
#define INLINE_MAX     (512u << 10)
#define RUNNERS_MAX    256u
#define RUNNER_GONE_US 60000000u

/* What a runner said last. */
struct runner {
    char id[40];
    uint64_t heard_us;
    int64_t running, slots, version;
};

struct actions {
    struct bb_list all;
    size_t count, count_max;
    struct bb_timer *timer;
    bool is_ticking, is_stopping;
    char address[300]; /* where runners reach this gateway's HTTP */
    struct runner runners[RUNNERS_MAX];
    size_t runner_count;
    uint64_t bus_since_us; /* it is up, or away */
    struct bb_metric *running;
};

static uint64_t now_us(const struct gateway *gateway)
{
    return bb_loop_now_us(gateway->loop);
}

/* ---- the end ---- */

static void finish(struct action *action, int status, const char *error,
                   const Bb__Proto__CallReply *reply)
{
    struct actions *actions = action->gateway->actions;

    bb_assert(action->state != ACTION_OVER);
    action->state = ACTION_OVER;
    gateway_bus_forget(&action->request);
    bb_list_remove(&action->link);
    actions->count--;
    bb_metric_set(actions->running, (int64_t)actions->count);
    bb_buf_fini(&action->asked);
    bb_buf_fini(&action->payload);
    bb_buf_fini(&action->fields);
    action->done(action, status, error, reply);
}

static void fail_unknown(struct action *action, const char *what)
{
    char text[400];

    (void)snprintf(text, sizeof(text),
                   "%s Whether the action %s took effect is not known; it is not run again.", what,
                   action->path);
    finish(action, BB_OUTCOME_UNKNOWN, text, NULL);
}

static void to_state(struct action *action, enum action_state state)
{
    action->state = state;
    action->since_us = now_us(action->gateway);
}

static void start_ticking(struct gateway *gateway)
{
    struct actions *actions = gateway->actions;

    if (!actions->is_ticking && !actions->is_stopping)
        bb_timer_start(actions->timer, TICK_MS, TICK_MS);
    actions->is_ticking = true;
}

/* ---- a runner's answer ---- */

static void wait_for_runner(struct action *action)
{
    if (action->state != ACTION_WAITING)
        to_state(action, ACTION_WAITING);
    start_ticking(action->gateway);
}

static void take_reply(struct action *action, struct bb_slice json)
{
    struct bb_ctx ctx = *action->gateway->ctx;
    struct action_reply reply;
    int rc = gateway_action_reply_decode(&ctx, json, &reply);

    if (rc != BB_OK) {
        bb_error(action->gateway->ctx, "gateway.bad_runner_reply", "path=%s why=\"%s\"",
                 action->path, ctx.error);
        fail_unknown(action, "A runner's answer could not be read.");
    } else if (reply.is_busy) {
        gateway_bus_forget(&action->request);
        wait_for_runner(action);
    } else if (reply.accepted.size > 0) {
        if (action->state == ACTION_SENT) {
            (void)snprintf(action->runner, sizeof(action->runner), "%.*s",
                           BB_SLICE_ARG(reply.accepted));
            to_state(action, ACTION_RUNNING);
            if (action->is_left && action->ends_when_left) {
                action->is_left = false;
                gateway_action_leave(action);
            }
        }
    } else {
        finish(action, reply.status, reply.error, &reply.reply);
    }
    gateway_action_reply_fini(&reply);
}

static void on_reply(struct bus_request *request, bool is_no_one, struct bb_slice data)
{
    struct action *action = bb_container(request, struct action, request);

    if (is_no_one) {
        gateway_bus_forget(&action->request);
        wait_for_runner(action);
    } else {
        take_reply(action, data);
    }
}

/* ---- sending ---- */

static void send_action(struct action *action)
{
    struct gateway *gateway = action->gateway;
    struct bb_ctx ctx = *gateway->ctx;
    int rc = gateway_bus_request(&ctx, gateway, "action", &action->request,
                                 bb_buf_slice(&action->payload));

    if (rc != BB_OK) {
        wait_for_runner(action);
        return;
    }
    to_state(action, ACTION_SENT);
    start_ticking(gateway);
}

static void append_field(struct bb_buf *to, const char *name, struct bb_slice text)
{
    bb_buf_printf(to, ",\"%s\":", name);
    bb_json_string(to, text);
}

static void write_args(const struct action *action, struct bb_buf *to)
{
    bb_json_encode(action->args, BB_JSON_ENCODED, to);
}

/* `found`: what a worker says of the function, {version, environment}. */
static void write_payload(struct action *action, struct bb_slice found)
{
    struct bb_slice environment = bb_value_field_str(found, "environment");
    int64_t version = (int64_t)bb_value_float64(bb_value_field_str(found, "version"));
    struct actions *actions = action->gateway->actions;
    struct bb_buf *to = &action->payload;
    struct bb_buf args;

    bb_buf_init(&args);
    write_args(action, &args);
    bb_buf_clear(to);
    bb_buf_append_str(to, "{\"id\":\"");
    bb_hex_append(to, bb_slice(action->id, sizeof(action->id)));
    bb_buf_printf(to, "\",\"version\":%" PRIi64, version);
    append_field(to, "path", bb_slice_str(action->path));
    append_field(to, "gateway", bb_slice_str(actions->address));
    if (environment.data != NULL && bb_value_tag(environment) == BB_TAG_STRING)
        append_field(to, "environment", bb_value_bytes(environment));
    if (action->identity.size > 0)
        append_field(to, "identity", action->identity);
    bb_buf_append_slice(to, bb_buf_slice(&action->fields));
    if (args.size > INLINE_MAX) {
        bb_buf_append_str(to, ",\"argsRef\":true}");
    } else {
        bb_buf_append_str(to, ",\"args\":");
        bb_buf_append_slice(to, bb_buf_slice(&args));
        bb_buf_append_byte(to, '}');
    }
    bb_buf_fini(&args);
}

static void on_asked(struct call *call, int status, const char *error,
                     const Bb__Proto__CallReply *reply)
{
    struct action *action = call->arg;
    struct bb_ctx ctx = *action->gateway->ctx;
    struct bb_slice version = BB_SLICE_EMPTY;

    if (status == BB_OK && bb_value_validate(&ctx, bb_pb_slice(reply->value)) == BB_OK &&
        bb_value_tag(bb_pb_slice(reply->value)) == BB_TAG_OBJECT) {
        version = bb_value_field_str(bb_pb_slice(reply->value), "version");
        if (action->on_answer != NULL)
            status = action->on_answer(&ctx, action, bb_pb_slice(reply->value), &action->fields);
        error = ctx.error;
    }
    if (status == BB_OK && (version.data == NULL || bb_value_tag(version) != BB_TAG_FLOAT64)) {
        status = BB_INTERNAL;
        error = "A worker's answer could not be read.";
    }
    if (status != BB_OK) {
        finish(action, status, error, NULL);
        return;
    }
    if (action->is_left && action->ends_when_left) {
        finish(action, BB_CANCELLED, "The client has left.", NULL);
        return;
    }
    write_payload(action, bb_pb_slice(reply->value));
    action->offered_us = now_us(action->gateway);
    send_action(action);
}

static int ask(struct bb_ctx *ctx, struct action *action)
{
    struct bb_value_builder *builder = bb_value_builder_new();
    struct call *call = &action->call;
    bool is_other = action->question != NULL;

    bb_value_begin_object(builder);
    bb_value_field_name(builder, bb_slice_str("path"));
    bb_value_put_string(builder, bb_slice_str(action->path));
    bb_value_field_name(builder, bb_slice_str("mayCallInternal"));
    bb_value_put_bool(builder, action->may_call_internal);
    bb_value_end_object(builder);
    bb_buf_init(&action->asked);
    bb_buf_append_slice(&action->asked,
                        is_other ? action->question_args : bb_value_finish(builder));
    bb_value_builder_free(builder);
    *call = (struct call){ .kind = BB__PROTO__FUNCTION_KIND__KIND_QUERY,
                           .path = is_other ? action->question : "_system:action",
                           .args = bb_buf_slice(&action->asked),
                           .is_admin = true,
                           .done = on_asked,
                           .arg = action };
    return gateway_call_start(ctx, action->gateway, call);
}

int gateway_action_start(struct bb_ctx *ctx, struct gateway *gateway, struct action *action)
{
    struct actions *actions = gateway->actions;
    uint8_t random[32];
    int rc;

    if (gateway->bus == NULL) {
        return bb_fail(ctx, BB_UNSUPPORTED,
                       "Actions are not available: this gateway was started without --nats, so it "
                       "reaches no runner. Use a query or a mutation.");
    }
    if (!gateway_bus_is_up(gateway) || actions->is_stopping) {
        return bb_fail(ctx, BB_UNAVAILABLE,
                       "Actions cannot run now: the NATS server, through which runners are "
                       "reached, does not answer. Try again.");
    }
    if (actions->count >= actions->count_max)
        return bb_fail(ctx, BB_OVERLOADED, "Too many actions are under way; try again.");
    gateway_random(gateway, random);
    memcpy(action->id, random, sizeof(action->id));
    action->gateway = gateway;
    action->is_left = false;
    gateway_bus_init(&action->request);
    action->request.on_reply = on_reply;
    bb_buf_init(&action->payload);
    bb_buf_init(&action->fields);
    rc = ask(ctx, action);
    if (rc != BB_OK) {
        bb_buf_fini(&action->asked);
        return rc;
    }
    to_state(action, ACTION_ASKING);
    bb_list_push_back(&actions->all, &action->link);
    actions->count++;
    bb_metric_set(actions->running, (int64_t)actions->count);
    return BB_OK;
}

void gateway_action_leave(struct action *action)
{
    struct bb_buf json;

    if (action->is_left || action->state == ACTION_OVER)
        return;
    action->is_left = true;
    if (!action->ends_when_left)
        return;
    if (action->state == ACTION_ASKING) {
        gateway_call_leave(&action->call);
        return;
    }
    bb_buf_init(&json);
    bb_buf_append_str(&json, "{\"id\":\"");
    bb_hex_append(&json, bb_slice(action->id, sizeof(action->id)));
    bb_buf_append_str(&json, "\"}");
    gateway_bus_publish(action->gateway, "action.cancel", bb_buf_slice(&json));
    bb_buf_fini(&json);
}

/* ---- runners ---- */

static struct runner *find_runner(struct actions *actions, const char *id)
{
    for (size_t i = 0; i < actions->runner_count; i++) {
        if (strcmp(actions->runners[i].id, id) == 0)
            return &actions->runners[i];
    }
    return NULL;
}

static void forget_runner(struct actions *actions, struct runner *runner)
{
    *runner = actions->runners[--actions->runner_count];
}

static void forget_silent(struct actions *actions, uint64_t now)
{
    for (size_t i = actions->runner_count; i-- > 0;) {
        if (now - actions->runners[i].heard_us > RUNNER_GONE_US)
            forget_runner(actions, &actions->runners[i]);
    }
}

static struct runner *add_runner(struct actions *actions, const char *id)
{
    struct runner *runner = find_runner(actions, id);

    if (runner != NULL || actions->runner_count == RUNNERS_MAX)
        return runner;
    runner = &actions->runners[actions->runner_count++];
    *runner = (struct runner){ .heard_us = 0 };
    (void)snprintf(runner->id, sizeof(runner->id), "%s", id);
    return runner;
}

/* Those that wait for a free one are offered again at once. */
static void offer_again(struct gateway *gateway)
{
    bb_list_each_safe(item, &gateway->actions->all) {
        struct action *action = bb_container(item, struct action, link);

        if (action->state == ACTION_WAITING)
            send_action(action);
    }
}

void gateway_actions_beat(struct gateway *gateway, struct bb_slice json)
{
    struct actions *actions = gateway->actions;
    struct bb_ctx ctx = *gateway->ctx;
    struct runner_beat beat;
    struct runner *runner;

    if (gateway_runner_beat_decode(&ctx, json, &beat) != BB_OK)
        return;
    runner = beat.is_gone ? find_runner(actions, beat.id) : add_runner(actions, beat.id);
    if (runner == NULL)
        return;
    if (beat.is_gone) {
        forget_runner(actions, runner);
        return;
    }
    runner->heard_us = now_us(gateway);
    runner->running = beat.running;
    runner->slots = beat.slots;
    runner->version = beat.version;
    if (beat.running < beat.slots)
        offer_again(gateway);
}

void gateway_actions_bus_changed(struct gateway *gateway)
{
    struct actions *actions = gateway->actions;

    if (actions == NULL)
        return;
    actions->bus_since_us = now_us(gateway);
    /* What was sent may be with a runner, or lost with the server. */
    bb_list_each_safe(item, &actions->all) {
        struct action *action = bb_container(item, struct action, link);

        if (action->state == ACTION_SENT || action->state == ACTION_RUNNING)
            action->since_us = actions->bus_since_us;
    }
}

static bool is_runner_silent(struct actions *actions, const struct action *action, uint64_t now)
{
    const struct runner *runner = find_runner(actions, action->runner);
    uint64_t heard = runner == NULL ? 0 : runner->heard_us;

    heard = heard > action->since_us ? heard : action->since_us;
    return now - heard > SILENCE_US;
}

static size_t living_runners(struct gateway *gateway)
{
    const struct actions *actions = gateway->actions;
    uint64_t now = now_us(gateway);
    size_t count = 0;

    for (size_t i = 0; i < actions->runner_count; i++)
        count += now - actions->runners[i].heard_us < SILENCE_US;
    return count;
}

static void give_up_waiting(struct action *action)
{
    finish(action, BB_UNAVAILABLE,
           !gateway_bus_is_up(action->gateway)
               ? "Actions cannot run now: the NATS server does not answer. Try again."
           : living_runners(action->gateway) == 0
               ? "No runner is connected: actions cannot run now. Is the runner started?"
               : "All runners are busy with other actions; try again, or start more runners.",
           NULL);
}

static void check(struct action *action, uint64_t now)
{
    struct actions *actions = action->gateway->actions;
    bool is_up = gateway_bus_is_up(action->gateway);

    switch (action->state) {
    case ACTION_WAITING:
        if (now - action->offered_us > FREE_WAIT_US || !is_up) {
            give_up_waiting(action);
        } else {
            send_action(action);
        }
        break;
    case ACTION_SENT:
        if (now - action->since_us > ACCEPT_US)
            fail_unknown(action, "No runner has confirmed that it runs the action.");
        break;
    case ACTION_RUNNING:
        if (is_up && is_runner_silent(actions, action, now)) {
            fail_unknown(action, "The runner was lost while it ran the action.");
        } else if (!is_up && now - action->since_us > BUS_AWAY_US) {
            fail_unknown(action, "The NATS server was lost while the action ran.");
        }
        break;
    case ACTION_ASKING:
    case ACTION_OVER:
        break;
    }
}

static void on_tick(void *arg)
{
    struct gateway *gateway = arg;
    struct actions *actions = gateway->actions;
    uint64_t now = now_us(gateway);

    bb_list_each_safe(item, &actions->all)
        check(bb_container(item, struct action, link), now);
    forget_silent(actions, now);
    if (bb_list_is_empty(&actions->all)) {
        bb_timer_stop(actions->timer);
        actions->is_ticking = false;
    }
}

/* ---- arguments and results that are too large for a message ---- */

static struct action *find_action(struct gateway *gateway, struct bb_slice hex)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct action *found = NULL;
    struct bb_buf id;

    bb_buf_init(&id);
    if (bb_hex_decode(&ctx, hex, &id) == BB_OK && id.size == 16) {
        bb_list_each(item, &gateway->actions->all) {
            struct action *action = bb_container(item, struct action, link);

            if (memcmp(action->id, id.data, 16) == 0)
                found = action;
        }
    }
    bb_buf_fini(&id);
    return found;
}

/* The action that the last part of the path names, which a runner has. */
static int named_action(struct bb_ctx *ctx, struct gateway *gateway,
                        struct bb_http_request *request, struct action **action)
{
    struct bb_slice path = bb_http_path(request);
    size_t slash = path.size;
    int rc = gateway_require_admin(ctx, gateway, request);

    while (slash > 0 && path.data[slash - 1] != '/')
        slash--;
    *action = find_action(gateway, bb_slice(path.data + slash, path.size - slash));
    if (rc == BB_OK && (*action == NULL || (*action)->state == ACTION_ASKING)) {
        rc = bb_fail(ctx, BB_NOT_FOUND,
                     "There is no such action under way at this gateway: nobody waits for it.");
    }
    return rc;
}

void gateway_api_runner_args(struct gateway *gateway, struct bb_http_request *request)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct action *action;
    struct bb_buf json;
    int rc = named_action(&ctx, gateway, request, &action);

    if (rc != BB_OK) {
        gateway_refuse(&ctx, request, rc);
        return;
    }
    bb_buf_init(&json);
    write_args(action, &json);
    gateway_respond_json(request, 200, bb_buf_slice(&json));
    bb_buf_fini(&json);
}

void gateway_api_runner_result(struct gateway *gateway, struct bb_http_request *request)
{
    struct bb_ctx ctx = *gateway->ctx;
    struct action *action;
    int rc = named_action(&ctx, gateway, request, &action);

    if (rc != BB_OK) {
        gateway_refuse(&ctx, request, rc);
        return;
    }
    take_reply(action, bb_http_body(request));
    gateway_respond_json(request, 200, bb_slice_str("{}"));
}

/* ---- open and close ---- */

void gateway_actions_open(struct gateway *gateway, const struct bb_conf *conf)
{
    struct actions *actions = bb_alloc_zero(1, sizeof(*actions));
    const char *address = bb_conf_text(conf, "http-address");

    gateway->actions = actions;
    bb_list_init(&actions->all);
    actions->count_max = (size_t)bb_conf_number(conf, "calls-max");
    actions->timer = bb_timer_new(gateway->loop, on_tick, gateway);
    actions->running = bb_metric("bb_gateway_actions", BB_GAUGE, "Actions that are under way.");
    if (address != NULL && address[0] != '\0')
        (void)snprintf(actions->address, sizeof(actions->address), "%s", address);
}

void gateway_actions_listening(struct gateway *gateway, const char *listen)
{
    struct actions *actions = gateway->actions;
    const char *colon = strrchr(listen, ':');
    int host = colon == NULL ? 0 : (int)(colon - listen);

    if (actions->address[0] == '\0') {
        (void)snprintf(actions->address, sizeof(actions->address), "http://%.*s:%u", host, listen,
                       (unsigned)bb_http_port(gateway->http));
    }
}

void gateway_actions_stop(struct gateway *gateway)
{
    struct actions *actions = gateway->actions;

    if (actions == NULL)
        return;
    actions->is_stopping = true;
    bb_timer_stop(actions->timer);
    bb_list_each_safe(item, &actions->all) {
        struct action *action = bb_container(item, struct action, link);

        if (action->state == ACTION_WAITING) {
            finish(action, BB_UNAVAILABLE, "This gateway ends.", NULL);
        } else if (action->state != ACTION_ASKING) {
            fail_unknown(action, "This gateway ends.");
        }
    }
}

void gateway_actions_close(struct gateway *gateway)
{
    struct actions *actions = gateway->actions;

    if (actions == NULL)
        return;
    bb_assert(bb_list_is_empty(&actions->all));
    gateway->actions = NULL;
    bb_timer_free(actions->timer);
    bb_free(actions);
}

static void append_runner(const struct runner *runner, uint64_t now, struct bb_buf *json)
{
    uint64_t age = now - runner->heard_us;
    int64_t left = runner->slots - runner->running;

    bb_buf_append_str(json, "{\"id\":");
    bb_json_string(json, bb_slice_str(runner->id));
    bb_buf_printf(json,
                  ",\"isUp\":%s,\"running\":%" PRIi64 ",\"slots\":%" PRIi64 ",\"free\":%" PRIi64
                  ",\"version\":%" PRIi64 ",\"beatAgeMs\":%" PRIu64 "}",
                  age < SILENCE_US ? "true" : "false", runner->running, runner->slots,
                  left > 0 ? left : 0, runner->version, age / 1000);
}

void gateway_actions_append_status(struct gateway *gateway, struct bb_buf *json)
{
    struct actions *actions = gateway->actions;
    uint64_t now = now_us(gateway);

    if (actions == NULL)
        return; /* the gateway ends */
    forget_silent(actions, now);
    bb_buf_printf(json, ",\"actions\":%zu,\"runners\":[", actions->count);
    for (size_t i = 0; i < actions->runner_count; i++) {
        if (i > 0)
            bb_buf_append_byte(json, ',');
        append_runner(&actions->runners[i], now, json);
    }
    bb_buf_append_byte(json, ']');
}
