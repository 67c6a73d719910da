/*
 * Messages between replicated logs: streams, which are late and keep their order. A cut loses what
 * meets it, or gives it when it is over; a process that is gone gets nothing of what was sent to
 * it. Who connects is admitted as in libs/replog/peers.c, by the services' own decisions.
 */
#include <stdio.h>
#include <stdlib.h>

#include "raft_io.h"
#include "replog_internal.h"

#define CUT_STEP_US 30000

struct sent {
    struct bb_list link;
    struct sim_raft_life *life;
    struct raft_io_send *request; /* NULL: it was ended */
};
/* A message on its way; it owns its memory until the library of the other node gets it. */
struct parcel {
    struct sim_node *from, *to;
    uint32_t from_life, to_life;
    raft_id from_id, to_id;
    char *address; /* the sender's */
    struct raft_message message;
};

/* ---- copies ---- */

static void copy_entries(struct raft_append_entries *message)
{
    const struct raft_entry *from = message->entries;
    size_t size = 8;

    if (message->n_entries == 0) {
        message->entries = NULL;
        return;
    }
    message->entries = raft_malloc(message->n_entries * sizeof *message->entries);
    for (unsigned i = 0; i < message->n_entries; i++)
        size += from[i].buf.len;
    uint8_t *at = raft_malloc(size);
    uint8_t *batch = at;
    for (unsigned i = 0; i < message->n_entries; i++) {
        message->entries[i] = from[i];
        message->entries[i].batch = batch;
        message->entries[i].buf.base = at;
        memcpy(at, from[i].buf.base, from[i].buf.len);
        at += from[i].buf.len;
    }
}

static void copy_install(struct raft_install_snapshot *message)
{
    const struct raft_configuration from = message->conf;
    const void *bytes = message->data.base;

    raft_configuration_init(&message->conf);
    for (unsigned i = 0; i < from.n; i++) {
        int rc = raft_configuration_add(&message->conf, from.servers[i].id, from.servers[i].address,
                                        from.servers[i].role);
        bb_assert(rc == 0);
    }
    message->data.base = raft_malloc(message->data.len);
    memcpy(message->data.base, bytes, message->data.len);
}

static void copy_parts(struct raft_message *message)
{
    if (message->type == RAFT_APPEND_ENTRIES)
        copy_entries(&message->append_entries);
    if (message->type == RAFT_INSTALL_SNAPSHOT)
        copy_install(&message->install_snapshot);
}

/* ---- who is there ---- */

/* Each storage node has a port of its own: "127.0.0.1:7001" is the first one's. */
static struct sim_node *node_at(const char *address)
{
    const char *colon = strchr(address, ':');
    unsigned long port = colon == NULL ? 0 : strtoul(colon + 1, NULL, 10);
    unsigned long number = 7000;

    for (size_t i = 0; i < sim.node_count; i++) {
        if (sim.nodes[i].role == SIM_STORAGE && ++number == port)
            return &sim.nodes[i];
    }
    return NULL;
}

static struct sim_raft_life *life_of(const struct sim_node *node)
{
    return node->raft == NULL ? NULL : node->raft->life;
}

static struct bb_replog *replog_of(const struct sim_raft_life *life)
{
    return bb_container(life->io, struct bb_replog, io);
}

/* What `asked` says to a connection of `asking`. */
static bool admits(struct sim_raft_life *asked, struct sim_raft_life *asking)
{
    const struct bb_replog_callbacks *of = &replog_of(asked)->callbacks;
    const struct bb_replog_callbacks *by = &replog_of(asking)->callbacks;
    struct bb_replog_identity identity;
    char why[128];

    by->identity(by->arg, &identity);
    identity.id = asking->id;
    return of->admit(of->arg, &identity, why, sizeof why);
}

static void on_refused(void *arg)
{
    struct sim_raft_life *life = arg;
    const struct bb_replog_callbacks *callbacks = &replog_of(life)->callbacks;

    if (!life->is_closed)
        callbacks->refused(callbacks->arg, 0, "refused");
}

/* A connection from one life of a process to one of another is admitted once, by both. */
static bool is_admitted(struct sim_raft_life *to, struct sim_raft_life *from,
                        const struct parcel *parcel)
{
    uint32_t *known = &to->admitted[parcel->from->index];

    if (*known == parcel->from_life + 1)
        return true;
    if (from == NULL || parcel->from->life != parcel->from_life)
        return false; /* nobody is there any more to answer */
    if (to->id != parcel->to_id || !admits(from, to))
        return false;
    if (!admits(to, from)) {
        (void)sim_after(from->node, sim_latency(), on_refused, from);
        return false;
    }
    *known = parcel->from_life + 1;
    return true;
}

/* ---- on the way ---- */

static void on_delivered(void *arg)
{
    struct parcel *parcel = arg;
    struct sim_raft_life *to = life_of(parcel->to);

    if (to != NULL && !to->is_closed && to->recv != NULL &&
        is_admitted(to, life_of(parcel->from), parcel)) {
        parcel->message.server_id = parcel->from_id;
        parcel->message.server_address = parcel->address;
        sim_failpoint("raft.receive");
        to->recv(to->io, &parcel->message);
        sim_loop_touch(parcel->to);
    }
    bb_free(parcel); /* what the message points to is the library's, or stays */
}

static void arrive(void *arg)
{
    struct parcel *parcel = arg;

    if (sim_is_cut(parcel->from, parcel->to)) {
        bb_free(parcel);
        return;
    }
    if (parcel->to->life == parcel->to_life)
        (void)sim_at(parcel->to, sim.now_us, on_delivered, parcel);
}

#define HEAD_BYTES 100

uint64_t sim_raft_transfer_us(uint64_t bytes)
{
    uint64_t rate = sim.weather.bytes_per_s;

    return rate == 0 ? 0 : bytes * 1000000 / rate;
}

static uint64_t size_of(const struct raft_message *message)
{
    uint64_t size = HEAD_BYTES;

    for (unsigned i = 0;
         message->type == RAFT_APPEND_ENTRIES && i < message->append_entries.n_entries; i++)
        size += message->append_entries.entries[i].buf.len;
    return size;
}

/* One after the other; when this one has left. */
static uint64_t leave(struct sim_raft_life *life, const struct parcel *parcel)
{
    size_t to = parcel->to->index;
    uint64_t bytes = size_of(&parcel->message);
    uint64_t start_us = life->left_us[to] > sim.now_us ? life->left_us[to] : sim.now_us;

    life->sent_bytes[to] += bytes;
    life->left_us[to] = start_us + sim_raft_transfer_us(bytes);
    return life->left_us[to];
}

static struct sim_raft_life *life_of_id(raft_id id)
{
    for (size_t i = 0; i < sim.node_count; i++) {
        struct sim_raft_life *life = life_of(&sim.nodes[i]);
        if (life != NULL && !life->is_closed && life->id == id)
            return life;
    }
    return NULL;
}

uint64_t sim_raft_received(struct sim_raft_life *life, raft_id id)
{
    const struct sim_raft_life *from = life_of_id(id);

    if (from == NULL || life->admitted[from->node->index] != from->node->life + 1)
        return 0;
    uint64_t *seen = &life->seen_bytes[from->node->index];
    uint64_t left_us = from->left_us[life->node->index];
    uint64_t rest =
        left_us > sim.now_us ? (left_us - sim.now_us) * sim.weather.bytes_per_s / 1000000 : 0;
    if (!sim_is_cut(from->node, life->node))
        *seen = 1 + from->sent_bytes[life->node->index] - rest;
    return *seen;
}

static void dispatch(struct sim_raft_life *life, struct parcel *parcel)
{
    uint64_t at_us = leave(life, parcel) + sim_latency();
    uint64_t *last_us = &life->last_arrival_us[parcel->to->index];

    if (sim_is_cut(parcel->from, parcel->to)) {
        if (sim_chance(800000)) {
            bb_free(parcel);
            return; /* it waited for a connection too long */
        }
        at_us = sim.cut[parcel->from->index][parcel->to->index] + sim_below(CUT_STEP_US);
    }
    if (sim_chance(sim.weather.loss_ppm)) {
        bb_free(parcel);
        return; /* with its connection */
    }
    if (at_us <= *last_us)
        at_us = *last_us + 1;
    *last_us = at_us;
    (void)sim_at(NULL, at_us, arrive, parcel);
}

static void on_sent(void *arg)
{
    struct sent *sent = arg;
    struct raft_io_send *request = sent->request;

    if (request == NULL)
        return;
    bb_list_remove(&sent->link);
    bb_free(sent);
    request->cb(request, 0);
}

int sim_raft_send(struct raft_io *io, struct raft_io_send *request,
                  const struct raft_message *message, raft_io_send_cb done)
{
    struct sim_raft_life *life = sim_raft_life_of(io);
    const struct bb_replog_callbacks *callbacks = &replog_of(life)->callbacks;
    const char *known =
        callbacks->address == NULL ? NULL : callbacks->address(callbacks->arg, message->server_id);
    struct sim_node *to = node_at(known == NULL ? message->server_address : known);
    struct sent *sent = bb_alloc(sizeof *sent);

    request->cb = done;
    *sent = (struct sent){ .life = life, .request = request };
    bb_list_push_back(&life->sends, &sent->link);
    (void)sim_after(life->node, 1 + sim_below(100), on_sent, sent);
    sim_failpoint("raft.send");
    if (to == NULL || to == life->node)
        return 0;
    struct parcel *parcel = bb_alloc(sizeof *parcel);
    *parcel = (struct parcel){ .from = life->node,
                               .to = to,
                               .from_life = life->node->life,
                               .to_life = to->life,
                               .from_id = life->id,
                               .to_id = message->server_id,
                               .address = bb_strdup(life->address),
                               .message = *message };
    copy_parts(&parcel->message);
    dispatch(life, parcel);
    return 0;
}

void sim_raft_net_close(struct sim_raft_life *life)
{
    while (!bb_list_is_empty(&life->sends)) {
        struct sent *sent = bb_container(life->sends.next, struct sent, link);
        struct raft_io_send *request = sent->request;
        bb_list_remove(&sent->link);
        sent->request = NULL;
        request->cb(request, RAFT_CANCELED);
    }
}
