#include "cluster.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT_STEP 211

/* ---- the application of a node ---- */

static void on_apply(void *arg, const struct bb_replog_entry *entry)
{
    struct cluster_node *node = arg;
    struct bb_replog_frame frame;
    cr_assert_eq(bb_replog_frame_decode(&node->cluster->ctx, entry->bytes, &frame), BB_OK);
    cr_assert_lt(node->count, (size_t)CLUSTER_VALUES);
    if (node->count > 0)
        cr_assert_gt(entry->index, node->indexes[node->count - 1], "shown twice");
    node->values[node->count] = bb_get_le64(frame.payload.data);
    node->indexes[node->count++] = entry->index;
}

static uint64_t newest_of(const struct cluster_node *node)
{
    return node->count == 0 ? 0 : node->indexes[node->count - 1];
}

static uint64_t on_durable_index(void *arg)
{
    struct cluster_node *node = arg;
    return node->count <= node->durable_lag ? 0
                                            : node->indexes[node->count - 1 - node->durable_lag];
}

static void on_manifest(void *arg, struct bb_buf *to)
{
    uint8_t bytes[8];
    bb_put_le64(bytes, newest_of(arg));
    bb_buf_append(to, bytes, sizeof bytes);
}

/* The sender's number behind what it was. */
static void on_renew(void *arg, struct bb_slice manifest, struct bb_buf *to)
{
    const struct cluster_node *node = arg;
    uint8_t bytes[8];

    bb_put_le64(bytes, (uint64_t)(node - node->cluster->nodes) + 1);
    bb_buf_append(to, manifest.data, 8);
    bb_buf_append(to, bytes, sizeof bytes);
}

static bool on_covers(void *arg, struct bb_slice manifest)
{
    return bb_get_le64(manifest.data) <= newest_of(arg);
}

/* A checkpoint: all that the other node has. */
static void bring(struct bb_task *task);
struct transport {
    struct bb_task task;
    struct cluster_node *to;
    uint64_t from;
    size_t count; /* values of the state, as of when it was asked for */
};
static void on_fetch(void *arg, uint64_t from, struct bb_slice manifest)
{
    struct cluster_node *node = arg;
    struct transport *transport = bb_alloc_zero(1, sizeof *transport);
    cr_assert_eq(manifest.size, 16, "as it was when it was cut");
    cr_assert_eq(bb_get_le64(manifest.data + 8), from);
    node->fetch_count++;
    node->fetch_from = from;
    *transport = (struct transport){ .task = { .run = bring },
                                     .to = node,
                                     .from = from,
                                     .count = node->cluster->nodes[from - 1].count };
    bb_loop_post(node->cluster->loop, &transport->task);
}

static void bring(struct bb_task *task)
{
    struct transport *transport = bb_container(task, struct transport, task);
    struct cluster_node *to = transport->to;
    struct cluster_node *from = &to->cluster->nodes[transport->from - 1];
    if (to->cluster->is_way_shut && to->is_up) {
        bb_loop_post(to->cluster->loop, task);
        return;
    }
    if (to->is_up && from->is_up) {
        memcpy(to->values, from->values, transport->count * sizeof *to->values);
        memcpy(to->indexes, from->indexes, transport->count * sizeof *to->indexes);
        to->count = transport->count;
        bb_replog_fetched(to->replog, BB_OK, newest_of(to));
    } else if (to->is_up) {
        bb_replog_fetched(to->replog, BB_PEER_GONE, 0);
    }
    bb_free(transport);
}

static void on_role(void *arg, const struct bb_replog_status *status)
{
    ((struct cluster_node *)arg)->role = *status;
}

static void on_identity(void *arg, struct bb_replog_identity *self)
{
    struct cluster_node *node = arg;
    memset(self->cluster, 7, sizeof self->cluster);
    memcpy(self->incarnation, node->incarnation, sizeof self->incarnation);
}

static bool on_admit(void *arg, const struct bb_replog_identity *peer, char *why, size_t size)
{
    struct cluster_node *node = arg;
    const struct cluster_node *known = &node->cluster->nodes[peer->id - 1];
    if (node->refuses_peers || memcmp(known->known, peer->incarnation, 16) != 0) {
        snprintf(why, size, "node %d is not wanted", (int)peer->id);
        return false;
    }
    return true;
}

static void on_refused(void *arg, uint64_t peer, const char *why)
{
    struct cluster_node *node = arg;
    (void)peer;
    node->was_refused = true;
    snprintf(node->why, sizeof node->why, "%s", why);
}

static const char *on_address(void *arg, uint64_t id)
{
    struct cluster_node *node = arg;
    return node->cluster->nodes[id - 1].address;
}

/* ---- life ---- */

static bool is_free(unsigned port)
{
    struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int rc = bind(fd, (struct sockaddr *)&name, sizeof name);
    close(fd);
    return rc == 0;
}

/* The first of `count` ports; below the ephemeral ones, so that no outgoing connection takes them
 * meanwhile. */
static unsigned free_ports(size_t count)
{
    for (unsigned tries = 0; tries < 500; tries++) {
        unsigned port = 12000 + ((unsigned)getpid() * 37 + tries * 101) % 18000;
        size_t found = 0;
        while (found < count && is_free(port + (unsigned)found * PORT_STEP))
            found++;
        if (found == count)
            return port;
    }
    cr_assert_fail("no free ports");
    return 0;
}

void cluster_init(struct cluster *cluster, size_t node_count, size_t voter_count)
{
    memset(cluster, 0, sizeof *cluster);
    cluster->ctx.env = bb_env_real();
    cluster->loop = bb_loop_new(cluster->ctx.env, NULL, "cluster");
    cluster->node_count = node_count;
    cluster->voter_count = voter_count;
    unsigned port = free_ports(node_count);
    for (size_t i = 0; i < node_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        node->cluster = cluster;
        node->id = i + 1;
        node->secret = "the secret of all nodes";
        node->is_joining = i >= voter_count;
        node->values = bb_alloc_zero(CLUSTER_VALUES, sizeof *node->values);
        node->indexes = bb_alloc_zero(CLUSTER_VALUES, sizeof *node->indexes);
        memset(node->incarnation, (int)i + 1, sizeof node->incarnation);
        memcpy(node->known, node->incarnation, sizeof node->known);
        snprintf(node->dir, sizeof node->dir, "/tmp/bb-replog-XXXXXX");
        cr_assert_not_null(mkdtemp(node->dir));
        snprintf(node->address, sizeof node->address, "127.0.0.1:%u",
                 port + (unsigned)i * PORT_STEP);
        cluster->voters[i] = (struct bb_replog_voter){ node->id, node->address };
    }
}

int cluster_try_start(struct cluster *cluster, size_t number)
{
    struct cluster_node *node = &cluster->nodes[number];
    struct bb_replog_options options = {
        .dir = node->dir,
        .id = node->id,
        .address = node->address,
        .listen = node->address,
        .voters = cluster->voters,
        .voter_count = cluster->voter_count,
        .is_joining = node->is_joining,
        .secret = bb_slice_str(node->secret),
        .applied = newest_of(node),
        .logged = node->logged,
        .snapshot_bytes = cluster->snapshot_bytes,
        .hold_bytes_max = node->cluster->hold_bytes_max,
        .callbacks = { .apply = on_apply,
                       .durable_index = on_durable_index,
                       .manifest = on_manifest,
                       .renew = on_renew,
                       .covers = on_covers,
                       .fetch = on_fetch,
                       .role = on_role,
                       .identity = on_identity,
                       .admit = on_admit,
                       .refused = on_refused,
                       .address = on_address,
                       .arg = node },
    };
    cr_assert(!node->is_up);
    memset(&node->role, 0, sizeof node->role);
    int rc = bb_replog_open(&cluster->ctx, cluster->loop, &options, &node->replog);
    if (rc != BB_OK)
        return rc;
    rc = bb_replog_start(&cluster->ctx, node->replog);
    node->is_up = rc == BB_OK;
    if (rc != BB_OK)
        bb_replog_free(node->replog);
    return rc;
}

void cluster_start(struct cluster *cluster, size_t number)
{
    cr_assert_eq(cluster_try_start(cluster, number), BB_OK, "%s", cluster->ctx.error);
}

void cluster_kill(struct cluster *cluster, size_t number)
{
    struct cluster_node *node = &cluster->nodes[number];
    (void)cluster;
    if (node->is_up) {
        node->is_up = false;
        node->logged = bb_replog_logged(node->replog);
        bb_replog_free(node->replog);
    }
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

void cluster_lose_disk(struct cluster *cluster, size_t number)
{
    struct cluster_node *node = &cluster->nodes[number];
    cr_assert(!node->is_up);
    nftw(node->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    cr_assert_eq(mkdir(node->dir, 0700), 0);
    node->count = 0;
    node->logged = 0;
}

void cluster_fini(struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->node_count; i++) {
        cluster_kill(cluster, i);
        nftw(cluster->nodes[i].dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        bb_free(cluster->nodes[i].values);
        bb_free(cluster->nodes[i].indexes);
    }
    bb_loop_free(cluster->loop);
}

/* ---- running ---- */

struct cluster_node *cluster_leader(struct cluster *cluster)
{
    struct cluster_node *leader = NULL;
    for (size_t i = 0; i < cluster->node_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        if (node->is_up && node->role.is_ready &&
            (leader == NULL || node->role.term > leader->role.term))
            leader = node;
    }
    return leader;
}

bool cluster_has_leader(struct cluster *cluster)
{
    return cluster_leader(cluster) != NULL;
}

bool cluster_is_changed(struct cluster *cluster)
{
    return cluster->is_changed;
}

bool cluster_is_quiet(struct cluster *cluster)
{
    return cluster->under_way == 0;
}

void cluster_on_changed(void *arg, int status)
{
    struct cluster *cluster = arg;
    cluster->is_changed = true;
    cluster->change_status = status;
}

bool cluster_is_equal(struct cluster *cluster)
{
    const struct cluster_node *first = NULL;
    for (size_t i = 0; i < cluster->node_count; i++) {
        const struct cluster_node *node = &cluster->nodes[i];
        if (!node->is_up)
            continue;
        if (first == NULL)
            first = node;
        if (node->count != first->count ||
            memcmp(node->values, first->values, node->count * sizeof *node->values) != 0)
            return false;
    }
    return true;
}

static void on_time(void *arg)
{
    struct cluster *cluster = arg;
    cluster->is_timed_out = true;
    uv_stop(bb_loop_uv(cluster->loop));
}

void cluster_run_ms(struct cluster *cluster, uint64_t ms)
{
    struct bb_timer *timer = bb_timer_new(cluster->loop, on_time, cluster);
    cluster->is_timed_out = false;
    bb_timer_start(timer, ms, 0);
    while (!cluster->is_timed_out)
        uv_run(bb_loop_uv(cluster->loop), UV_RUN_ONCE);
    bb_timer_free(timer);
}

void cluster_until(struct cluster *cluster, bool (*is_true)(struct cluster *cluster))
{
    struct bb_timer *timer = bb_timer_new(cluster->loop, on_time, cluster);
    cluster->is_timed_out = false;
    bb_timer_start(timer, 20000, 0);
    while (!is_true(cluster)) {
        uv_run(bb_loop_uv(cluster->loop), UV_RUN_ONCE);
        bb_loop_drain(cluster->loop);
        cr_assert(!cluster->is_timed_out, "still not so after 20 s");
    }
    bb_timer_free(timer);
}

struct proposal {
    struct cluster *cluster;
    uint64_t value;
};

static void on_done(void *tag, int status)
{
    struct proposal *proposal = tag;
    struct cluster *cluster = proposal->cluster;
    cluster->under_way--;
    if (status == BB_OK) {
        cluster->acknowledged[cluster->acknowledged_count++] = proposal->value;
    } else if (status == BB_NOT_LEADER) {
        cluster->refused_count++;
    } else {
        cr_assert_eq(status, BB_OUTCOME_UNKNOWN);
        cluster->unknown_count++;
    }
    bb_free(proposal);
}

bool cluster_propose(struct cluster *cluster, size_t size)
{
    struct cluster_node *leader = cluster_leader(cluster);
    if (leader == NULL)
        return false;
    uint64_t value = ++cluster->next_value;
    uint8_t *payload = bb_alloc_zero(1, size);
    struct bb_replog_frame frame = { .kind = BB_REPLOG_APPEND,
                                     .epoch = 1,
                                     .seq = value,
                                     .count = 1,
                                     .payload = bb_slice(payload, size) };
    uint8_t *entry = bb_replog_entry_new(bb_replog_frame_size(size));
    struct proposal *proposal = bb_alloc_zero(1, sizeof *proposal);
    *proposal = (struct proposal){ cluster, value };
    bb_put_le64(payload, value);
    bb_replog_frame_encode(&frame, entry);
    bb_free(payload);
    if (bb_replog_propose_take(&cluster->ctx, leader->replog, entry, bb_replog_frame_size(size),
                               on_done, proposal) != BB_OK) {
        bb_free(proposal);
        return false;
    }
    cluster->under_way++;
    return true;
}

void cluster_write(struct cluster *cluster, size_t count, size_t size)
{
    size_t wanted = cluster->acknowledged_count + count;
    while (cluster->acknowledged_count < wanted) {
        if (!cluster_propose(cluster, size))
            cluster_until(cluster, cluster_has_leader);
        cluster_until(cluster, cluster_is_quiet);
    }
}

void cluster_check_ledger(struct cluster *cluster, size_t number)
{
    const struct cluster_node *node = &cluster->nodes[number];
    size_t at = 0;
    for (size_t i = 0; i < cluster->acknowledged_count; i++) {
        while (at < node->count && node->values[at] != cluster->acknowledged[i])
            at++;
        cr_assert_lt(at, node->count, "node %d lacks acknowledged value %d", (int)node->id,
                     (int)cluster->acknowledged[i]);
    }
}
