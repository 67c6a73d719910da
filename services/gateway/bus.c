#include "bus.h"

#include <stdio.h>
#include <stdlib.h>

#include "action.h"
#include "nats.h"

#include "bb/conf.h"
#include "bb/nats.h"

#define RECONNECT_WAIT_MS 200
#define WRITE_MS          2000
#define PING_MS           10000
#define PENDING_BYTES     (64 << 20)
#define PENDING_MESSAGES  65536
#define SUBJECT_MAX       256u
#define BUCKETS           256u
#define CLOSE_STEPS       100u
#define CLOSE_STEP_MS     50u

/* What a thread of the library tells the owner. */
struct arrival {
    struct bb_list link;
    bool is_beat, is_no_one;
    uint64_t id;
    struct bb_buf data;
};

struct bus {
    struct gateway *gateway;
    char *url, *shown_url;
    char prefix[SUBJECT_MAX], inbox[SUBJECT_MAX];
    natsConnection *connection;
    natsSubscription *replies, *beats;
    struct bb_list buckets[BUCKETS]; /* bus_request by id */
    uint64_t next_id;
    bool is_up; /* as the owner has told everybody */
    struct bb_task task;
    struct bb_mutex *mutex;
    struct bb_cond *cond;
    /* under the mutex */
    struct bb_list arrivals;
    bool is_posted, is_connected, is_closing;
    unsigned open_count; /* callbacks of the library that tell of an end and have not come yet */
};

/* ---- threads of the library ---- */

static void post(struct bus *bus)
{
    if (!bus->is_posted && !bus->is_closing) {
        bus->is_posted = true;
        bb_loop_post(bus->gateway->loop, &bus->task);
    }
}

static void on_message(natsConnection *connection, natsSubscription *subscription, natsMsg *msg,
                       void *arg)
{
    struct bus *bus = arg;
    struct arrival *arrival = bb_alloc_zero(1, sizeof(*arrival));
    const char *subject = natsMsg_GetSubject(msg);
    size_t skip = strlen(bus->inbox);

    (void)connection;
    (void)subscription;
    arrival->is_beat = strncmp(subject, bus->inbox, skip) != 0;
    if (!arrival->is_beat)
        arrival->id = strtoull(subject + skip, NULL, 10);
    arrival->is_no_one = natsMsg_IsNoResponders(msg);
    bb_buf_init(&arrival->data);
    bb_buf_append(&arrival->data, natsMsg_GetData(msg), (size_t)natsMsg_GetDataLength(msg));
    natsMsg_Destroy(msg);
    bb_mutex_lock(bus->mutex);
    bb_list_push_back(&bus->arrivals, &arrival->link);
    post(bus);
    bb_mutex_unlock(bus->mutex);
}

static void set_connected(struct bus *bus, bool is_connected)
{
    bb_mutex_lock(bus->mutex);
    bus->is_connected = is_connected;
    post(bus);
    bb_mutex_unlock(bus->mutex);
}

static void on_connected(natsConnection *connection, void *arg)
{
    (void)connection;
    set_connected(arg, true);
}

static void on_disconnected(natsConnection *connection, void *arg)
{
    (void)connection;
    set_connected(arg, false);
}

static void one_less(void *arg)
{
    struct bus *bus = arg;

    bb_mutex_lock(bus->mutex);
    bus->open_count--;
    bb_cond_broadcast(bus->cond);
    bb_mutex_unlock(bus->mutex);
}

static void on_closed(natsConnection *connection, void *arg)
{
    (void)connection;
    one_less(arg);
}

/* ---- the owner ---- */

static struct bus_request *find(struct bus *bus, uint64_t id)
{
    bb_list_each(item, &bus->buckets[id % BUCKETS]) {
        struct bus_request *request = bb_container(item, struct bus_request, link);

        if (request->id == id)
            return request;
    }
    return NULL;
}

static void hand_over(struct bus *bus, const struct arrival *arrival)
{
    struct bus_request *request;

    if (arrival->is_beat) {
        gateway_actions_beat(bus->gateway, bb_buf_slice(&arrival->data));
        return;
    }
    request = find(bus, arrival->id);
    if (request != NULL)
        request->on_reply(request, arrival->is_no_one, bb_buf_slice(&arrival->data));
}

static void take_arrivals(struct bus *bus, struct bb_list *to, bool *is_connected)
{
    bb_list_init(to);
    bb_mutex_lock(bus->mutex);
    bus->is_posted = false;
    while (!bb_list_is_empty(&bus->arrivals)) {
        struct bb_list *first = bus->arrivals.next;

        bb_list_remove(first);
        bb_list_push_back(to, first);
    }
    *is_connected = bus->is_connected;
    bb_mutex_unlock(bus->mutex);
}

static void on_task(struct bb_task *task)
{
    struct bus *bus = bb_container(task, struct bus, task);
    struct bb_list arrivals;
    bool is_connected;

    take_arrivals(bus, &arrivals, &is_connected);
    while (!bb_list_is_empty(&arrivals)) {
        struct arrival *arrival = bb_container(arrivals.next, struct arrival, link);

        bb_list_remove(&arrival->link);
        if (!bus->gateway->is_stopping || !arrival->is_beat)
            hand_over(bus, arrival);
        bb_buf_fini(&arrival->data);
        bb_free(arrival);
    }
    if (is_connected == bus->is_up)
        return;
    bus->is_up = is_connected;
    bb_info(bus->gateway->ctx, is_connected ? "gateway.bus_up" : "gateway.bus_away", "url=%s",
            bus->shown_url);
    gateway_actions_bus_changed(bus->gateway);
}

bool gateway_bus_is_up(const struct gateway *gateway)
{
    return gateway->bus != NULL && gateway->bus->is_up;
}

const char *gateway_bus_url(const struct gateway *gateway)
{
    return gateway->bus == NULL ? "" : gateway->bus->shown_url;
}

void gateway_bus_init(struct bus_request *request)
{
    bb_list_init(&request->link);
}

void gateway_bus_forget(struct bus_request *request)
{
    bb_list_remove(&request->link);
}

int gateway_bus_request(struct bb_ctx *ctx, struct gateway *gateway, const char *what,
                        struct bus_request *request, struct bb_slice payload)
{
    struct bus *bus = gateway->bus;
    char subject[SUBJECT_MAX + 64];
    char reply[SUBJECT_MAX + 32];
    natsStatus status;

    bb_assert(bb_list_is_empty(&request->link));
    if (!gateway_bus_is_up(gateway))
        return bb_fail(ctx, BB_UNAVAILABLE, "the NATS server does not answer");
    request->id = bus->next_id++;
    (void)snprintf(subject, sizeof(subject), "%s%s", bus->prefix, what);
    (void)snprintf(reply, sizeof(reply), "%s%" PRIu64, bus->inbox, request->id);
    status = natsConnection_PublishRequest(bus->connection, subject, reply, payload.data,
                                           (int)payload.size);
    if (status != NATS_OK)
        return bb_fail(ctx, BB_UNAVAILABLE, "NATS: %s", natsStatus_GetText(status));
    bb_list_push_back(&bus->buckets[request->id % BUCKETS], &request->link);
    return BB_OK;
}

void gateway_bus_publish(struct gateway *gateway, const char *what, struct bb_slice payload)
{
    struct bus *bus = gateway->bus;
    char subject[SUBJECT_MAX + 64];

    if (!gateway_bus_is_up(gateway))
        return;
    (void)snprintf(subject, sizeof(subject), "%s%s", bus->prefix, what);
    (void)natsConnection_Publish(bus->connection, subject, payload.data, (int)payload.size);
}

/* ---- open and close ---- */

static natsStatus set_options(struct bus *bus, natsOptions *options)
{
    natsStatus status = natsOptions_SetURL(options, bus->url);

    if (status == NATS_OK)
        status = natsOptions_SetTimeout(options, BB_NATS_TIMEOUT_MS);
    if (status == NATS_OK)
        status = natsOptions_SetName(options, "bb-gateway");
    if (status == NATS_OK)
        status = natsOptions_SetSendAsap(options, true);
    if (status == NATS_OK)
        status = natsOptions_SetWriteDeadline(options, WRITE_MS);
    if (status == NATS_OK)
        status = natsOptions_SetPingInterval(options, PING_MS);
    if (status == NATS_OK)
        status = natsOptions_SetMaxReconnect(options, -1);
    if (status == NATS_OK)
        status = natsOptions_SetReconnectWait(options, RECONNECT_WAIT_MS);
    if (status == NATS_OK)
        status = natsOptions_SetReconnectedCB(options, on_connected, bus);
    if (status == NATS_OK)
        status = natsOptions_SetDisconnectedCB(options, on_disconnected, bus);
    if (status == NATS_OK)
        status = natsOptions_SetClosedCB(options, on_closed, bus);
    if (status == NATS_OK)
        status = natsOptions_SetRetryOnFailedConnect(options, true, on_connected, bus);
    return status;
}

static natsStatus subscribe(struct bus *bus, natsSubscription **subscription, const char *subject)
{
    natsStatus status =
        natsConnection_Subscribe(subscription, bus->connection, subject, on_message, bus);

    if (status == NATS_OK)
        status = natsSubscription_SetPendingLimits(*subscription, PENDING_MESSAGES, PENDING_BYTES);
    if (status == NATS_OK)
        status = natsSubscription_SetOnCompleteCB(*subscription, one_less, bus);
    if (status == NATS_OK)
        bus->open_count++;
    return status;
}

static natsStatus connect_bus(struct bus *bus)
{
    natsOptions *options = NULL;
    char subject[SUBJECT_MAX + 8];
    natsStatus status = natsOptions_Create(&options);

    if (status == NATS_OK)
        status = set_options(bus, options);
    if (status == NATS_OK) {
        status = natsConnection_Connect(&bus->connection, options);
        bus->open_count += bus->connection != NULL;
        if (status == NATS_OK)
            set_connected(bus, true);
        if (status == NATS_NOT_YET_CONNECTED)
            status = NATS_OK; /* it goes on trying */
    }
    natsOptions_Destroy(options);
    (void)snprintf(subject, sizeof(subject), "%s*", bus->inbox);
    if (status == NATS_OK)
        status = subscribe(bus, &bus->replies, subject);
    (void)snprintf(subject, sizeof(subject), "%srunner", bus->prefix);
    if (status == NATS_OK)
        status = subscribe(bus, &bus->beats, subject);
    return status;
}

int gateway_bus_open(struct bb_ctx *ctx, struct gateway *gateway, const struct bb_conf *conf)
{
    const char *url = bb_conf_text(conf, "nats");
    uint8_t random[32];
    struct bb_buf hex;
    struct bus *bus;
    natsStatus status;

    if (url == NULL || url[0] == '\0')
        return BB_OK;
    int rc = bb_nats_check(ctx, url);
    if (rc != BB_OK)
        return rc;
    bus = bb_alloc_zero(1, sizeof(*bus));
    gateway->bus = bus;
    bus->gateway = gateway;
    bus->url = bb_strdup(url);
    bus->shown_url = bb_nats_shown(url);
    bus->next_id = 1;
    bus->mutex = bb_mutex_new();
    bus->cond = bb_cond_new();
    bus->task.run = on_task;
    bb_list_init(&bus->arrivals);
    for (size_t i = 0; i < BUCKETS; i++)
        bb_list_init(&bus->buckets[i]);
    (void)snprintf(bus->prefix, sizeof(bus->prefix), "bb.%s.", bb_conf_text(conf, "deployment"));
    gateway_random(gateway, random);
    bb_buf_init(&hex);
    bb_hex_append(&hex, bb_slice(random, 12));
    (void)snprintf(bus->inbox, sizeof(bus->inbox), "_INBOX.bb%.*s.",
                   BB_SLICE_ARG(bb_buf_slice(&hex)));
    bb_buf_fini(&hex);
    status = connect_bus(bus);
    if (status != NATS_OK)
        return bb_fail(ctx, BB_BAD_REQUEST, "option nats: %s: %s", bus->shown_url,
                       natsStatus_GetText(status));
    return BB_OK;
}

void gateway_bus_close(struct gateway *gateway)
{
    struct bus *bus = gateway->bus;

    if (bus == NULL)
        return;
    if (bus->connection != NULL)
        natsConnection_Close(bus->connection);
    /* Its threads tell when they are done with us. */
    bb_mutex_lock(bus->mutex);
    for (unsigned i = 0; bus->open_count > 0 && i < CLOSE_STEPS; i++)
        (void)bb_cond_wait_ms(bus->cond, bus->mutex, CLOSE_STEP_MS);
    bus->is_closing = true;
    bb_mutex_unlock(bus->mutex);
    bb_loop_drain(gateway->loop); /* its task may be on its way */
}

void gateway_bus_free(struct gateway *gateway)
{
    struct bus *bus = gateway->bus;

    if (bus == NULL)
        return;
    gateway->bus = NULL;
    natsSubscription_Destroy(bus->replies);
    natsSubscription_Destroy(bus->beats);
    natsConnection_Destroy(bus->connection);
    while (!bb_list_is_empty(&bus->arrivals)) {
        struct arrival *arrival = bb_container(bus->arrivals.next, struct arrival, link);

        bb_list_remove(&arrival->link);
        bb_buf_fini(&arrival->data);
        bb_free(arrival);
    }
    bb_cond_free(bus->cond);
    bb_mutex_free(bus->mutex);
    bb_free(bus->url);
    bb_free(bus->shown_url);
    bb_free(bus);
}
