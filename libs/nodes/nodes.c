/* Connections to the storage nodes of a table, and the question who the members are. */
#include <inttypes.h>
#include <string.h>

#include "bb/obs.h"
#include "bb/wire_validate.h"

#include "table.h"

#define FIRST_MS 200u
#define ROUND_MS 2000u
#define INFO_MS  1500u /* a round's questions have ended when the next one begins */

struct node {
    struct bb_nodes *owner;
    struct bb_peer *peer; /* NULL: the place is empty */
};
struct bb_nodes {
    struct bb_loop *loop;
    struct bb_ctx *ctx; /* the loop's */
    struct bb_nodes_options options;
    struct nodes_table table;
    struct node list[BB_NODES_MAX];
    size_t current;
    struct bb_timer *round;
    struct bb_arena *arena;
    bool is_closing;
};

static void look(struct bb_nodes *nodes)
{
    for (size_t i = 0; i < BB_NODES_MAX; i++) {
        struct nodes_row *row = &nodes->table.rows[i];
        if (nodes->list[i].peer == NULL)
            continue;
        row->is_connected = bb_peer_is_connected(nodes->list[i].peer);
        row->is_idle = i != nodes->current && bb_peer_outstanding(nodes->list[i].peer) == 0;
    }
}

static int open_place(struct bb_ctx *ctx, struct bb_nodes *nodes, size_t place)
{
    struct nodes_row *row = &nodes->table.rows[place];
    struct bb_peer_options options = { .url = row->url,
                                       .outstanding_max = nodes->options.outstanding_max };

    nodes->list[place].owner = nodes;
    int rc = bb_peer_open(ctx, nodes->loop, &options, &nodes->list[place].peer);
    if (rc != BB_OK) {
        nodes->list[place].peer = NULL;
        row->is_used = false;
    }
    return rc;
}

/* ---- what they say ---- */

static void open_new(struct bb_nodes *nodes)
{
    struct bb_ctx ctx = *nodes->ctx;

    for (size_t i = 0; i < BB_NODES_MAX; i++) {
        const struct nodes_row *row = &nodes->table.rows[i];
        if (!row->is_used || nodes->list[i].peer != NULL)
            continue;
        if (open_place(&ctx, nodes, i) == BB_OK) {
            bb_info(nodes->ctx, "storage.found", "node=%" PRIu64 " url=%s", row->id, row->url);
        } else {
            bb_warn(nodes->ctx, "storage.found", "why=\"%s\"", ctx.error);
        }
    }
}

static void hear(struct bb_nodes *nodes, size_t place, const Bb__Proto__InfoReply *info)
{
    const struct nodes_said said = { .id = info->node,
                                     .index = info->applied_index,
                                     .voters = info->voters,
                                     .voter_count = info->n_voters };

    look(nodes);
    nodes_table_hear(&nodes->table, place, &said, bb_loop_now_us(nodes->loop));
    open_new(nodes);
}

static void on_info(void *arg, int status, struct bb_slice bytes)
{
    struct node *node = arg;
    struct bb_nodes *nodes = node->owner;
    struct bb_ctx ctx = *nodes->ctx;
    Bb__Proto__StorageReply *reply = NULL;

    if (nodes->is_closing || status != BB_OK)
        return;
    status = bb_unpack(&ctx, nodes->arena, &bb__proto__storage_reply__descriptor, bytes, &reply);
    if (status == BB_OK)
        status = bb_storage_reply_validate(&ctx, reply);
    if (status == BB_OK && reply->status == BB_OK &&
        reply->op_case == BB__PROTO__STORAGE_REPLY__OP_INFO)
        hear(nodes, (size_t)(node - nodes->list), reply->info);
    bb_arena_reset(nodes->arena);
}

static void ask(struct bb_nodes *nodes, struct node *node)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Info info = BB__PROTO__INFO__INIT;
    struct bb_ctx ctx = *nodes->ctx;

    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_INFO;
    request.info = &info;
    /* One that is busy says it in the next round. */
    (void)bb_peer_request(&ctx, node->peer, &request.base, INFO_MS, on_info, node);
}

static void drop_old(struct bb_nodes *nodes)
{
    size_t place;

    while (nodes_table_drop(&nodes->table, bb_loop_now_us(nodes->loop), &place)) {
        struct bb_peer *peer = nodes->list[place].peer;

        bb_info(nodes->ctx, "storage.left", "url=%s", bb_peer_url(peer));
        nodes->list[place].peer = NULL;
        bb_peer_close(peer);
        if (nodes->options.left != NULL)
            nodes->options.left(nodes->options.arg, place);
    }
}

static void on_round(void *arg)
{
    struct bb_nodes *nodes = arg;

    look(nodes);
    drop_old(nodes);
    for (size_t i = 0; i < BB_NODES_MAX; i++) {
        if (nodes->list[i].peer != NULL && nodes->table.rows[i].is_connected)
            ask(nodes, &nodes->list[i]);
    }
}

/* ---- the rest ---- */

static int open_option(struct bb_ctx *ctx, struct bb_nodes *nodes, size_t *count)
{
    struct bb_slice rest = bb_slice_str(nodes->options.urls);
    struct bb_slice url;
    size_t place;

    while (bb_slice_next_item(&rest, &url)) {
        int rc = nodes_table_add(ctx, &nodes->table, url, &place);

        if (rc == BB_OK)
            rc = open_place(ctx, nodes, place);
        if (rc != BB_OK)
            return rc;
        ++*count;
    }
    return *count > 0 ? BB_OK
                      : bb_fail(ctx, BB_BAD_REQUEST, "option storage: names no storage node");
}

int bb_nodes_open(struct bb_ctx *ctx, struct bb_loop *loop, const struct bb_nodes_options *options,
                  struct bb_nodes **out)
{
    struct bb_nodes *nodes = bb_alloc_zero(1, sizeof *nodes);
    size_t count = 0;

    *out = nodes;
    nodes->loop = loop;
    nodes->ctx = bb_loop_ctx(loop);
    nodes->options = *options;
    nodes->arena = bb_arena_new(0);
    nodes->round = bb_timer_new(loop, on_round, nodes);
    int rc = open_option(ctx, nodes, &count);
    nodes->options.urls = NULL; /* the caller's */
    /* The only node, in this very process, has none beside it. */
    if (rc == BB_OK && (count > 1 || strncmp(nodes->table.rows[0].url, "inproc:", 7) != 0))
        bb_timer_start(nodes->round, FIRST_MS, ROUND_MS);
    return rc;
}

void bb_nodes_close(struct bb_nodes *nodes)
{
    if (nodes == NULL)
        return;
    nodes->is_closing = true;
    for (size_t i = 0; i < BB_NODES_MAX; i++)
        bb_peer_close(nodes->list[i].peer);
    bb_timer_free(nodes->round);
    bb_arena_free(nodes->arena);
    bb_free(nodes);
}

struct bb_peer *bb_nodes_peer(const struct bb_nodes *nodes, size_t place)
{
    return place < BB_NODES_MAX ? nodes->list[place].peer : NULL;
}

size_t bb_nodes_current(const struct bb_nodes *nodes)
{
    return nodes->current;
}

size_t bb_nodes_count(const struct bb_nodes *nodes)
{
    size_t count = 0;

    for (size_t i = 0; i < BB_NODES_MAX; i++)
        count += nodes_table_is_member(&nodes->table, i);
    return count > 0 ? count : 1;
}

bool bb_nodes_is_member(const struct bb_nodes *nodes, size_t place)
{
    return place < BB_NODES_MAX && nodes_table_is_member(&nodes->table, place);
}

void bb_nodes_pass_over(struct bb_nodes *nodes)
{
    if (nodes->is_closing)
        return; /* what was asked ends here, and is not asked of one that is closed already */
    look(nodes);
    nodes->current = nodes_table_next(&nodes->table, nodes->current);
}

void bb_nodes_failed(struct bb_nodes *nodes, size_t asked)
{
    if (nodes->current == asked)
        bb_nodes_pass_over(nodes);
}

void bb_nodes_choose(struct bb_nodes *nodes, size_t place)
{
    bb_assert(bb_nodes_peer(nodes, place) != NULL);
    nodes->current = place;
}

void bb_nodes_leave(struct bb_nodes *nodes)
{
    if (bb_nodes_is_member(nodes, nodes->current) || nodes->is_closing)
        return;
    look(nodes);
    size_t next = nodes_table_next(&nodes->table, nodes->current);
    if (bb_nodes_is_member(nodes, next) && nodes->table.rows[next].is_connected)
        nodes->current = next;
}
