/*
 * Clients of the HTTP API: random transactions, repeated under the same key until somebody answers,
 * and what they were told as a history.
 */
#include <stdio.h>

#include "parts.h"
#include "world.h"

#define ANSWER_US   9000000
#define RETRY_US    40000
#define TRIES_MAX   400
#define STEPS_BYTES 1024
#define BODY_BYTES  (STEPS_BYTES + 128) /* the steps, and what is around them */
#define NEVER       UINT64_MAX
#define FILL_MIN    500000u

struct sim_world world;

/* One request, until it has been answered. */
struct request {
    struct client *client;
    char id[32], path[16];
    char key[96];
    uint64_t told_tx; /* by an earlier answer; 0: none yet */
    uint64_t made_us; /* the key */
    char body[BODY_BYTES];
    bool is_query;
    unsigned tries, tries_max;
    uint64_t first_us, start_us;
    struct sim_http_call *call;
    struct sim_event *timeout;
    void (*done)(struct bb_slice reply); /* of the checker */
    bool is_twin;                        /* the same request once more at the same time */
};
struct client {
    struct sim_node *node;
    unsigned number, count;
    unsigned open; /* requests under way */
    char uuid[40];
};
static struct client clients[SIM_NODES_MAX];
static struct client checker;

struct sim_node *sim_any_gateway(void)
{
    struct sim_node *found = NULL;
    size_t count = 0;

    for (size_t i = 0; i < sim.node_count; i++) {
        if (sim.nodes[i].role == SIM_GATEWAY && sim_below(++count) == 0)
            found = &sim.nodes[i];
    }
    return found;
}

/* ---- answers ---- */

static struct bb_slice parse(struct bb_slice json)
{
    struct bb_ctx ctx = { .env = NULL };
    struct bb_buf value;

    bb_buf_init(&value);
    if (bb_json_decode(&ctx, json, false, &value) != BB_OK) {
        sim_fail("an answer is no JSON: %s: %.*s", ctx.error, BB_SLICE_ARG(json));
        return BB_SLICE_EMPTY;
    }
    return bb_buf_slice(&value); /* kept: the history borrows */
}

static uint64_t number(struct bb_slice object, const char *name)
{
    struct bb_slice value = bb_value_field_str(object, name);

    return value.data != NULL && bb_value_tag(value) == BB_TAG_FLOAT64
               ? (uint64_t)bb_value_float64(value)
               : 0;
}

static bool is_text(struct bb_slice object, const char *name, const char *text)
{
    struct bb_slice value = bb_value_field_str(object, name);

    return value.data != NULL && bb_value_tag(value) == BB_TAG_STRING &&
           bb_slice_equal_str(bb_value_bytes(value), text);
}

static struct bb_slice array_of(struct bb_slice object, const char *name)
{
    struct bb_slice value = bb_value_field_str(object, name);

    return value.data != NULL && bb_value_tag(value) == BB_TAG_ARRAY ? value : BB_SLICE_EMPTY;
}

static void record(const struct request *request, enum check_outcome outcome, struct bb_slice reply)
{
    struct check_txn txn = {
        .id = bb_slice_dup(bb_slice_str(request->id)),
        .start_us = request->is_query ? request->start_us : request->first_us,
        .end_us = sim.now_us,
        .outcome = outcome,
        .is_newest = true,
        .is_resent = request->tries > 1,
    };

    if (outcome == CHECK_OK && request->is_query) {
        txn.at = number(reply, "tx");
    } else if (outcome == CHECK_OK) {
        txn.tx = number(reply, "tx");
        txn.at = txn.tx == 0 ? number(reply, "readTx") : 0;
        txn.is_finish = txn.tx == 0;
    }
    if (outcome != CHECK_UNKNOWN)
        txn.log = array_of(reply, outcome == CHECK_OK ? "value" : "errorData");
    if (outcome == CHECK_UNKNOWN)
        txn.end_us = NEVER;
    check_add_txn(&world.history, &txn);
}

static void next_request(void *arg);

static void finish(struct request *request)
{
    struct client *client = request->client;

    sim_cancel(request->timeout);
    client->open--;
    if (client->open == 0 && client != &checker) {
        world.busy_clients--;
        (void)sim_after(client->node, 1 + sim_below(world.scenario->think_us * 2), next_request,
                        client);
    }
    bb_free(request);
}

static void send_request(void *arg);
static struct request *request_new(struct client *client, bool is_query, const char *path,
                                   const char *id);
static uint64_t kept_us(void);
static void repeat_late(const struct request *answered, uint64_t tx);
static void on_late_answer(struct request *request, struct bb_slice reply);

static void try_again(struct request *request, bool is_known)
{
    if (request->tries >= request->tries_max) {
        if (request->told_tx == 0 && (!is_known || request->tries > 1))
            record(request, CHECK_UNKNOWN, BB_SLICE_EMPTY);
        finish(request);
        return;
    }
    world.retried++;
    (void)sim_after(request->client->node, RETRY_US + sim_below(RETRY_US * 2), send_request,
                    request);
}

static bool is_late_load(void)
{
    return world.whole_us != 0 && sim.now_us >= world.whole_us && !world.is_settling;
}

static void on_answer(void *arg, int status, struct bb_slice body)
{
    struct request *request = arg;

    sim_cancel(request->timeout);
    request->timeout = NULL;
    if (status == 0 || status == 503) {
        world.refused += status == 503;
        world.refused_late += is_late_load();
        try_again(request, false);
        return;
    }
    struct bb_slice reply = parse(body);
    if (reply.data == NULL)
        return;
    if (request->told_tx != 0) {
        on_late_answer(request, reply);
        return;
    }
    if (kept_us() != 0 && is_text(reply, "code", "IdempotencyKeyExpired")) {
        record(request, CHECK_UNKNOWN, BB_SLICE_EMPTY); /* its answers were lost for so long */
        finish(request);
        return;
    }
    bool is_error = is_text(reply, "status", "error");
    bool is_mine = is_text(reply, "code", "UserError");
    if (status != 200 || (is_error && !is_mine)) {
        sim_fail("%s %s got %d %.*s", request->id, request->body, status, BB_SLICE_ARG(body));
        return;
    }
    world.answered++;
    world.written_late += is_late_load() && !request->is_query && !is_error;
    if (request->done != NULL) {
        void (*done)(struct bb_slice) = request->done;
        finish(request);
        done(reply);
        return;
    }
    record(request, is_error ? CHECK_FAILED : CHECK_OK, reply);
    if (!is_error && !request->is_query)
        repeat_late(request, number(reply, "tx"));
    finish(request);
}

/* ---- keys with a time: the same request once more, long after its answer ---- */

#define LATE_US  4500000
#define SLACK_US 500000 /* of the clocks */

static uint64_t kept_us(void)
{
    return (uint64_t)world.scenario->outcome_s * 1000000;
}

static void make_key(struct request *request)
{
    struct client *client = request->client;
    char digits[16];
    size_t at = sizeof digits - 1;
    uint64_t ms = (SIM_WALL_US + sim.now_us) / 1000;

    digits[at] = '\0';
    for (; ms > 0; ms /= 36)
        digits[--at] = "0123456789abcdefghijklmnopqrstuvwxyz"[ms % 36];
    if (client->uuid[0] == '\0')
        (void)snprintf(client->uuid, sizeof client->uuid, "%08x-0000-4000-8000-%012x",
                       (unsigned)sim_below(UINT32_MAX), client->number);
    request->made_us = sim.now_us;
    (void)snprintf(request->key, sizeof request->key, "%s-%s-%u", digits + at, client->uuid,
                   client->count);
}

static void repeat_late(const struct request *answered, uint64_t tx)
{
    struct client *client = answered->client;

    if (kept_us() == 0 || tx == 0 || answered->told_tx != 0 || !sim_chance(300000))
        return;
    struct request *request = request_new(client, false, answered->path, answered->id);
    memcpy(request->key, answered->key, sizeof request->key);
    memcpy(request->body, answered->body, sizeof request->body);
    request->told_tx = tx;
    request->made_us = answered->made_us;
    (void)sim_after(client->node, sim_below(LATE_US), send_request, request);
}

/* What was told once is told again, or it is too long ago; it never runs again (the feed tells). */
static void on_late_answer(struct request *request, struct bb_slice reply)
{
    uint64_t age_us = sim.now_us - request->made_us;

    if (is_text(reply, "code", "IdempotencyKeyExpired")) {
        world.expired++;
        if (age_us + SLACK_US < kept_us())
            sim_fail("once: the key of %s expired after %" PRIu64 " ms", request->id,
                     age_us / 1000);
    } else if (number(reply, "tx") != request->told_tx) {
        sim_fail("once: %s was told tx %" PRIu64 " and, %" PRIu64 " ms later, tx %" PRIu64,
                 request->id, request->told_tx, age_us / 1000, number(reply, "tx"));
    }
    finish(request);
}

static void on_timeout(void *arg)
{
    struct request *request = arg;

    request->timeout = NULL;
    sim_http_leave(request->call);
    try_again(request, false);
}

static void send_request(void *arg)
{
    struct request *request = arg;
    char headers[160];
    struct sim_http_ask ask = { .client = request->client->node,
                                .gateway = sim_any_gateway(),
                                .method = "POST",
                                .path = request->is_query ? "/api/query" : "/api/mutation",
                                .headers = headers,
                                .body = bb_slice_str(request->body),
                                .on_answer = on_answer,
                                .arg = request };

    (void)snprintf(headers, sizeof headers, "%s%s\nauthorization: BitBend key\n",
                   request->is_query ? "x-none: " : "idempotency-key: ", request->key);
    request->start_us = sim.now_us;
    request->tries++;
    request->call = sim_http_send(&ask);
    request->timeout = sim_after(request->client->node, ANSWER_US, on_timeout, request);
}

static struct request *request_new(struct client *client, bool is_query, const char *path,
                                   const char *id)
{
    struct request *request = bb_alloc_zero(1, sizeof *request);

    request->client = client;
    request->is_query = is_query;
    request->first_us = sim.now_us;
    request->tries_max = TRIES_MAX;
    (void)snprintf(request->id, sizeof request->id, "%s", id);       /* short */
    (void)snprintf(request->key, sizeof request->key, "%s", id);     /* short */
    (void)snprintf(request->path, sizeof request->path, "%s", path); /* short */
    client->open++;
    return request;
}

/* ---- what to ask ---- */

static unsigned any_key(void)
{
    return (unsigned)sim_below(world.scenario->hot_keys);
}

static void append_steps(char *to, size_t size, const char *format, ...) BB_PRINTF(3, 4);
static void append_steps(char *to, size_t size, const char *format, ...)
{
    size_t used = strlen(to);
    va_list arguments;

    va_start(arguments, format);
    int added = vsnprintf(to + used, size - used, format, arguments);
    va_end(arguments);
    bb_assert(added >= 0 && (size_t)added < size - used);
}

static void reads(char *steps)
{
    unsigned key = any_key();
    unsigned kind = (unsigned)sim_below(7);

    if (kind == 0) {
        append_steps(steps, STEPS_BYTES, "[\"scan\",\"a\",\"b\",0,false]");
    } else if (kind == 1) {
        append_steps(steps, STEPS_BYTES, "[\"scan\",\"l\",\"y\",%u,%s]", 1 + (unsigned)sim_below(6),
                     sim_chance(500000) ? "true" : "false");
    } else if (kind == 2) {
        append_steps(steps, STEPS_BYTES, "[\"vscan\",%u,%u]", (unsigned)sim_below(60),
                     60 + (unsigned)sim_below(60));
    } else if (kind == 3) {
        append_steps(steps, STEPS_BYTES, "[\"ri\",\"a%u\"],[\"ri\",\"x%u\"]", key, key);
    } else if (kind == 4) {
        append_steps(steps, STEPS_BYTES, "[\"r\",\"l%u\"],[\"r\",\"l%u\"]", key, key + 1);
    } else if (kind == 5) {
        append_steps(steps, STEPS_BYTES, "[\"scan\",\"p%u\",\"p%u\",0,false]", key % 9,
                     key % 9 + 1);
    } else {
        append_steps(steps, STEPS_BYTES, "[\"r\",\"n%u\"],[\"r\",\"g%u\"]", key, key);
    }
}

static void writes(char *steps, unsigned kind, unsigned unique)
{
    unsigned a = any_key();
    unsigned b = any_key();

    switch (kind) {
    case 0:
        append_steps(steps, STEPS_BYTES, "[\"append\",\"l%u\",%u]", a, unique);
        if (sim_chance(400000) && a != b)
            append_steps(steps, STEPS_BYTES, ",[\"append\",\"l%u\",%u]", b, unique);
        return;
    case 1:
        append_steps(steps, STEPS_BYTES, "[\"r\",\"g%u\"],[\"w\",\"g%u\",%u]", a, a, unique);
        return;
    case 2:
        append_steps(steps, STEPS_BYTES, "[\"transfer\",\"a%u\",\"a%u\",%u]", a, a == b ? a + 1 : b,
                     1 + (unsigned)sim_below(9));
        return;
    case 3:
        a = a % 10;
        append_steps(steps, STEPS_BYTES, "[\"take\",\"t%u\",\"t%u\"]", a, a ^ 1u);
        return;
    case 4:
        a = a % 9;
        append_steps(steps, STEPS_BYTES, "[\"guard\",\"p%u\",\"p%u\",0,false,3,\"p%u-%u\",%u]", a,
                     a + 1, a, unique, unique);
        return;
    case 5:
        append_steps(steps, STEPS_BYTES, "[\"add\",\"n%u\",1]", a);
        return;
    case 6:
        append_steps(steps, STEPS_BYTES, "[\"w\",\"x%u\",%u]", a, (unsigned)sim_below(120));
        return;
    default:
        append_steps(steps, STEPS_BYTES, "[\"d\",\"x%u\"]", a);
        return;
    }
}

static unsigned pick(const unsigned *weights, unsigned count)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < count; i++)
        sum += weights[i];
    unsigned at = (unsigned)sim_below(sum);
    for (unsigned i = 0; i < count; i++) {
        if (at < weights[i])
            return i;
        at -= weights[i];
    }
    BB_UNREACHABLE("weights");
}

/* Reads a range as a whole and writes a key of its own into it, or away from it: nothing but the
 * check of the range keeps two of these apart. */
static void scan_and_write(char *steps, unsigned client)
{
    unsigned key = (unsigned)sim_below(3);

    if (sim_chance(500000)) {
        append_steps(steps, STEPS_BYTES, "[\"scan\",\"y\",\"z\",0,false]");
    } else {
        append_steps(steps, STEPS_BYTES, "[\"vscan\",200,230]");
    }
    if (sim_chance(300000)) {
        append_steps(steps, STEPS_BYTES, ",[\"d\",\"y%u-%u\"]", client, key);
    } else {
        append_steps(steps, STEPS_BYTES, ",[\"w\",\"y%u-%u\",%u]", client, key,
                     200 + (unsigned)sim_below(40));
    }
}

static void write_steps(char *steps, bool *is_query, unsigned unique)
{
    const struct sim_mix *mix = &world.scenario->mix;
    const unsigned weights[] = { mix->append,  mix->registers, mix->transfer, mix->take, mix->guard,
                                 mix->counter, mix->blind,     mix->erase,    mix->scan, mix->query,
                                 mix->look,    mix->fail,      mix->fill };
    unsigned kind = pick(weights, BB_COUNT_OF(weights));

    *is_query = kind == 9;
    if (kind < 8) {
        writes(steps, kind, unique);
    } else if (kind == 8) {
        scan_and_write(steps, unique / 100000);
    } else if (kind == 12) {
        append_steps(steps, STEPS_BYTES, "[\"fill\",\"x%u\",%u,%u]", any_key(),
                     (unsigned)sim_below(120), FILL_MIN + (unsigned)sim_below(FILL_MIN));
    } else if (kind == 11) {
        reads(steps);
        append_steps(steps, STEPS_BYTES, ",[\"w\",\"x%u\",1],[\"throw\"]", any_key());
    } else {
        reads(steps);
    }
}

/* Every other query is one that others ask, too, some times in a row: a worker may keep its result.
 */
static const char *share(char *steps, unsigned count, const char *id)
{
    static char shared[STEPS_BYTES];

    if (count % 2 != 0)
        return id;
    if (count % 8 == 0 || shared[0] == '\0') {
        memcpy(shared, steps, STEPS_BYTES);
    } else {
        memcpy(steps, shared, STEPS_BYTES);
    }
    return "q";
}

static void next_request(void *arg)
{
    struct client *client = arg;
    char id[32];
    char steps[STEPS_BYTES] = "";
    bool is_query = false;

    if (sim.now_us >= world.load_until_us)
        return;
    unsigned unique = client->number * 100000 + client->count++;
    (void)snprintf(id, sizeof id, "c%u-%u", client->number, client->count);
    write_steps(steps, &is_query, unique);
    const char *shown = is_query ? share(steps, client->count, id) : id;
    world.busy_clients++;
    /* Now and then the same twice at once, as an impatient proxy does. */
    unsigned copies = !is_query && sim_chance(50000) ? 2 : 1;
    bool is_impatient = !is_query && sim_chance(20000);
    for (unsigned i = 0; i < copies; i++) {
        struct request *request =
            request_new(client, is_query, is_query ? "kv:look" : "kv:run", id);
        (void)snprintf(request->body, sizeof request->body,
                       "{\"path\":\"%s\",\"args\":{\"id\":\"%s\",\"ops\":[%s]}}", request->path,
                       shown, steps);
        request->tries_max = is_impatient ? 1 : TRIES_MAX;
        if (kept_us() != 0 && !is_query)
            make_key(request);
        send_request(request);
    }
}

void sim_client_ask(const char *path, const char *body, const char *key,
                    void (*done)(struct bb_slice reply))
{
    struct request *request = request_new(&checker, strcmp(path, "kv:look") == 0, path, key);

    request->done = done;
    (void)snprintf(request->body, sizeof request->body, "%s", body); /* short */
    (void)sim_after(checker.node, 1, send_request, request);
}

void sim_clients_start(void)
{
    char name[24];

    for (unsigned i = 0; i < world.scenario->clients; i++) {
        (void)snprintf(name, sizeof name, "client-%u", i + 1);
        clients[i] = (struct client){ .node = sim_node_add(SIM_CLIENT, name), .number = i + 1 };
        clients[i].node->is_up = true;
        (void)sim_after(clients[i].node, sim_below(500000), next_request, &clients[i]);
    }
}

void sim_checker_start(void)
{
    checker.node = world.checker = sim_node_add(SIM_CLIENT, "checker");
    checker.node->is_up = true;
}
