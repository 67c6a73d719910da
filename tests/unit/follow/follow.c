/* A follower of the feed against scripted storage nodes in the same loop. */
#include "bb/follow.h"

#include <criterion/criterion.h>

#include "bb/env.h"
#include "bb/wire.h"

/* The initialisers that protoc-c makes for messages with texts cast const away. */
#pragma GCC diagnostic ignored "-Wcast-qual"

#define NODES      4u
#define LIMIT_MS   20000u
#define HANG_MS    10000u /* five times what it takes to find out */
#define CLUSTER_OF 16u

static const char *const urls[NODES] = { "inproc://follow-0", "inproc://follow-1",
                                         "inproc://follow-2", "inproc://follow-3" };

struct world;
struct node {
    struct world *world;
    struct bb_server *server;
    uint64_t last_tx;
    uint64_t gap_at;   /* this transaction is left out of what is shown; 0: none */
    uint64_t earliest; /* what lies before is truncated, or: */
    uint32_t lack;     /* what is said of it; 0: BB_TX_TRUNCATED */
    uint8_t cluster;
    const uint8_t *members; /* numbers of nodes, ended by 0: what its Info names; NULL: none */
    bool has_writes;        /* each transaction writes to table 1 + tx % 3, and to table 9 */
    struct bb_exchange *tail;
    uint64_t tail_after;
};

struct world {
    struct bb_loop *loop;
    struct node nodes[NODES];
    struct bb_follow *follow;
    struct bb_timer *look, *limit;
    struct bb_buf told; /* what the user was told, a word each */
    const char *awaited;
    bool has_failed;
    unsigned limit_ms; /* 0: LIMIT_MS */
    unsigned slow_ms;  /* what an answer to a Tail takes */
    struct bb_timer *slow[NODES];
    bool (*wants)(void *arg, uint32_t table);
};

/* ---- nodes ---- */

static ProtobufCBinaryData pack(struct bb_arena *arena, const ProtobufCMessage *message)
{
    struct bb_buf bytes;

    bb_buf_init(&bytes);
    bb_pack_append(&bytes, message);
    ProtobufCBinaryData packed = bb_slice_pb(bb_arena_dup(arena, bb_buf_slice(&bytes)));
    bb_buf_fini(&bytes);
    return packed;
}

static ProtobufCBinaryData record_of(struct bb_arena *arena, uint64_t tx, bool has_writes)
{
    Bb__Proto__TxRecord record = BB__PROTO__TX_RECORD__INIT;
    Bb__Proto__TxBody body = BB__PROTO__TX_BODY__INIT;
    Bb__Proto__Write writes[2] = { BB__PROTO__WRITE__INIT, BB__PROTO__WRITE__INIT };
    Bb__Proto__Write *list[2] = { &writes[0], &writes[1] };

    writes[0].table = 9;
    writes[1].table = 1 + (uint32_t)tx % 3;
    body.n_writes = has_writes ? 2 : 0;
    body.writes = list;
    record.tx = tx;
    record.prev = tx - 1;
    record.body = pack(arena, &body.base);
    return pack(arena, &record.base);
}

static void reply_tail(struct node *node)
{
    Bb__Proto__StorageReply reply = BB__PROTO__STORAGE_REPLY__INIT;
    Bb__Proto__TailReply tail = BB__PROTO__TAIL_REPLY__INIT;
    ProtobufCBinaryData records[64];
    struct bb_exchange *exchange = node->tail;

    node->tail = NULL;
    tail.records = records;
    tail.last_tx = node->last_tx;
    tail.earliest = node->earliest;
    reply.op_case = BB__PROTO__STORAGE_REPLY__OP_TAIL;
    reply.tail = &tail;
    if (node->tail_after < node->earliest) {
        reply.status = node->lack != 0 ? node->lack : BB_TX_TRUNCATED;
    } else {
        for (uint64_t tx = node->tail_after + 1; tx <= node->last_tx && tail.n_records < 64; tx++) {
            if (tx != node->gap_at)
                records[tail.n_records++] =
                    record_of(bb_exchange_arena(exchange), tx, node->has_writes);
        }
        node->gap_at = 0;
    }
    bb_exchange_reply(exchange, &reply.base);
}

static size_t name_members(const struct node *node, Bb__Proto__Voter *rows, Bb__Proto__Voter **list)
{
    size_t count = 0;

    for (; node->members != NULL && node->members[count] != 0; count++) {
        bb__proto__voter__init(&rows[count]);
        rows[count].id = node->members[count];
        rows[count].url = (char *)urls[node->members[count] - 1];
        list[count] = &rows[count];
    }
    return count;
}

static void reply_info(struct node *node, struct bb_exchange *exchange)
{
    Bb__Proto__StorageReply reply = BB__PROTO__STORAGE_REPLY__INIT;
    Bb__Proto__InfoReply info = BB__PROTO__INFO_REPLY__INIT;
    uint8_t id[CLUSTER_OF] = { node->cluster };

    Bb__Proto__Voter rows[NODES], *list[NODES];

    info.last_tx = info.applied_index = node->last_tx;
    info.node = (uint64_t)(node - node->world->nodes) + 1;
    info.n_voters = name_members(node, rows, list);
    info.voters = list;
    info.cluster_id = bb_slice_pb(bb_slice(id, sizeof id));
    reply.op_case = BB__PROTO__STORAGE_REPLY__OP_INFO;
    reply.info = &info;
    bb_exchange_reply(exchange, &reply.base);
}

static void on_slow(void *arg)
{
    struct node *node = arg;

    if (node->tail != NULL)
        reply_tail(node);
}

static void handle(void *arg, struct bb_exchange *exchange, struct bb_slice bytes)
{
    struct node *node = arg;
    struct bb_ctx ctx = *bb_loop_ctx(node->world->loop);
    Bb__Proto__StorageRequest *request = NULL;

    cr_assert_eq(bb_unpack(&ctx, bb_exchange_arena(exchange),
                           &bb__proto__storage_request__descriptor, bytes, &request),
                 BB_OK);
    if (request->op_case != BB__PROTO__STORAGE_REQUEST__OP_TAIL) {
        reply_info(node, exchange);
        return;
    }
    node->tail = exchange;
    node->tail_after = request->tail->after;
    if (node->world->slow_ms != 0) {
        bb_timer_start(node->world->slow[node - node->world->nodes], node->world->slow_ms, 0);
        return;
    }
    if (request->tail->wait_ms == 0 || node->tail_after < node->last_tx ||
        node->tail_after < node->earliest)
        reply_tail(node);
}

/* ---- the user ---- */

static void tell_begin(void *arg, uint64_t cursor, bool is_new_history)
{
    struct world *world = arg;

    bb_buf_printf(&world->told, "%s%" PRIu64 " ", is_new_history ? "anew" : "begin", cursor);
}

static void tell_record(void *arg, struct bb_slice bytes, const Bb__Proto__TxRecord *record,
                        const Bb__Proto__TxBody *body)
{
    struct world *world = arg;

    cr_expect_gt(bytes.size, 0);
    cr_expect_eq(body->n_writes, world->nodes[0].has_writes ? 2 : 0);
    bb_buf_printf(&world->told, "%" PRIu64 " ", record->tx);
}

static void tell_changed(void *arg, bool is_following)
{
    struct world *world = arg;

    bb_buf_append_str(&world->told, is_following ? "up " : "lost ");
}

/* ---- the world ---- */

static bool was_told(struct world *world, const char *text)
{
    size_t size = strlen(text);

    return world->told.size >= size &&
           memcmp(world->told.data + world->told.size - size, text, size) == 0;
}

static void on_look(void *arg)
{
    struct world *world = arg;

    if (was_told(world, world->awaited))
        bb_loop_stop(world->loop);
}

static void on_limit(void *arg)
{
    struct world *world = arg;

    world->has_failed = true;
    bb_loop_stop(world->loop);
}

/* Until what was told ends so. */
static void await(struct world *world, const char *text)
{
    world->awaited = text;
    bb_timer_start(world->look, 1, 1);
    bb_timer_start(world->limit, world->limit_ms == 0 ? LIMIT_MS : world->limit_ms, 0);
    bb_loop_run(world->loop);
    bb_timer_stop(world->look);
    bb_timer_stop(world->limit);
    cr_assert_not(world->has_failed, "told: %.*s; awaited: %s", (int)world->told.size,
                  (const char *)world->told.data, text);
}

static void commit(struct node *node, uint64_t count)
{
    node->last_tx += count;
    if (node->tail != NULL)
        reply_tail(node);
}

static void open_node(struct world *world, size_t index, uint64_t last_tx)
{
    struct node *node = &world->nodes[index];
    struct bb_ctx ctx = *bb_loop_ctx(world->loop);

    *node = (struct node){ .world = world, .last_tx = last_tx, .cluster = 1 };
    cr_assert_eq(bb_server_open(&ctx, world->loop,
                                &(struct bb_server_options){
                                    .url = urls[index], .handle = handle, .arg = node },
                                &node->server),
                 BB_OK);
}

static void close_node(struct node *node)
{
    bb_server_close(node->server);
    node->server = NULL;
    node->tail = NULL;
}

static void open_world(struct world *world, const char *urls)
{
    const struct bb_follow_user user = {
        .arg = world,
        .wants = world->wants,
        .begin = tell_begin,
        .record = tell_record,
        .changed = tell_changed,
    };
    struct bb_ctx ctx = *bb_loop_ctx(world->loop);

    bb_buf_init(&world->told);
    world->look = bb_timer_new(world->loop, on_look, world);
    world->limit = bb_timer_new(world->loop, on_limit, world);
    cr_assert_eq(bb_follow_open(&ctx, world->loop, urls, &user, &world->follow), BB_OK);
}

static void close_world(struct world *world)
{
    bb_follow_close(world->follow);
    for (size_t i = 0; i < NODES; i++)
        bb_server_close(world->nodes[i].server);
    bb_timer_free(world->look);
    bb_timer_free(world->limit);
    bb_loop_free(world->loop);
    bb_buf_fini(&world->told);
}

Test(follow, begins_at_the_newest_and_tells_each_record_once_in_order)
{
    struct world world = { .loop = bb_loop_new(bb_env_real(), NULL, "follow") };

    open_node(&world, 0, 5);
    open_world(&world, "inproc://follow-0");
    await(&world, "begin5 up ");
    commit(&world.nodes[0], 2);
    await(&world, "up 6 7 ");
    commit(&world.nodes[0], 1);
    await(&world, "6 7 8 ");
    cr_expect_eq(bb_follow_cursor(world.follow), 8);
    close_world(&world);
}

static bool wants_second(void *arg, uint32_t table)
{
    (void)arg;
    return table == 2;
}

Test(follow, records_without_a_table_that_is_wanted_only_move_the_cursor)
{
    struct world world = { .loop = bb_loop_new(bb_env_real(), NULL, "follow"),
                           .wants = wants_second };

    open_node(&world, 0, 5);
    world.nodes[0].has_writes = true;
    open_world(&world, "inproc://follow-0");
    await(&world, "begin5 up ");
    commit(&world.nodes[0], 5);
    await(&world, "up 7 10 ");
    cr_expect_eq(bb_follow_cursor(world.follow), 10);
    commit(&world.nodes[0], 2);
    world.nodes[0].gap_at = 14;
    commit(&world.nodes[0], 3);
    await(&world, "7 10 13 begin15 ");
    close_world(&world);
}

Test(follow, a_gap_and_a_truncated_position_lead_to_another_beginning)
{
    struct world world = { .loop = bb_loop_new(bb_env_real(), NULL, "follow") };

    open_node(&world, 0, 5);
    open_world(&world, "inproc://follow-0");
    await(&world, "begin5 up ");
    world.nodes[0].gap_at = 7;
    commit(&world.nodes[0], 3);
    await(&world, "up 6 begin8 ");
    world.nodes[0].earliest = 20;
    commit(&world.nodes[0], 22);
    await(&world, "begin8 begin30 ");
    close_world(&world);
}

/* The node says so after it has asked the others: none of them can read what comes next. */
Test(follow, a_damaged_position_leads_to_another_beginning)
{
    static const uint32_t lacks[] = { BB_CORRUPT, BB_IO };
    struct world world = { .loop = bb_loop_new(bb_env_real(), NULL, "follow") };

    open_node(&world, 0, 5);
    open_world(&world, "inproc://follow-0");
    await(&world, "begin5 up ");
    for (size_t i = 0; i < BB_COUNT_OF(lacks); i++) {
        world.nodes[0].lack = lacks[i];
        world.nodes[0].earliest = world.nodes[0].last_tx + 15;
        commit(&world.nodes[0], 22);
        await(&world, i == 0 ? "begin5 up begin27 " : "up begin27 begin49 ");
    }
    close_world(&world);
}

Test(follow, another_node_goes_on_where_the_first_went_away)
{
    struct world world = { .loop = bb_loop_new(bb_env_real(), NULL, "follow") };

    open_node(&world, 0, 5);
    open_node(&world, 1, 5);
    open_world(&world, "inproc://follow-0,inproc://follow-1");
    await(&world, "begin5 up ");
    commit(&world.nodes[0], 1);
    await(&world, "up 6 ");
    close_node(&world.nodes[0]);
    world.nodes[1].last_tx = 8;
    await(&world, "up 6 lost up 7 8 ");
    close_world(&world);
}

Test(follow, a_node_that_hangs_is_passed_over)
{
    struct world world = { .loop = bb_loop_new(bb_env_real(), NULL, "follow"),
                           .limit_ms = HANG_MS };

    open_node(&world, 0, 5);
    open_node(&world, 1, 5);
    open_world(&world, "inproc://follow-0,inproc://follow-1");
    await(&world, "begin5 up ");
    world.nodes[1].last_tx = 7; /* the other one has its Tail and is silent */
    await(&world, "up lost up 6 7 ");
    close_world(&world);
}

Test(follow, nodes_that_take_long_for_an_answer_are_followed)
{
    struct world world = { .loop = bb_loop_new(bb_env_real(), NULL, "follow") };

    open_node(&world, 0, 5);
    open_node(&world, 1, 5);
    world.slow_ms = 1300;
    for (size_t i = 0; i < 2; i++)
        world.slow[i] = bb_timer_new(world.loop, on_slow, &world.nodes[i]);
    open_world(&world, "inproc://follow-0,inproc://follow-1");
    await(&world, "begin5 up ");
    for (size_t i = 0; i < 2; i++)
        bb_timer_free(world.slow[i]);
    close_world(&world);
}

Test(follow, a_node_that_lags_is_passed_over)
{
    struct world world = { .loop = bb_loop_new(bb_env_real(), NULL, "follow") };

    open_node(&world, 0, 5);
    open_node(&world, 1, 3);
    open_world(&world, "inproc://follow-0,inproc://follow-1");
    await(&world, "begin5 up ");
    close_node(&world.nodes[0]);
    await(&world, "up lost ");
    open_node(&world, 0, 6);
    await(&world, "lost up 6 ");
    close_world(&world);
}

Test(follow, a_single_node_whose_data_went_back_is_another_history)
{
    struct world world = { .loop = bb_loop_new(bb_env_real(), NULL, "follow") };

    open_node(&world, 0, 5);
    open_world(&world, "inproc://follow-0");
    await(&world, "begin5 up ");
    world.nodes[0].last_tx = 2;
    commit(&world.nodes[0], 0);
    await(&world, "anew2 ");
    world.nodes[0].cluster = 2;
    world.nodes[0].earliest = 9;
    commit(&world.nodes[0], 10);
    await(&world, "anew2 anew12 ");
    close_world(&world);
}

/* The members were 1 and 2 and are 3 and 4. The one that is followed lags for ever, and answers. */
Test(follow, members_that_came_are_followed_and_one_that_was_removed_is_left)
{
    static const uint8_t members[] = { 3, 4, 0 };
    struct world world = { .loop = bb_loop_new(bb_env_real(), NULL, "follow") };

    for (size_t i = 0; i < NODES; i++)
        open_node(&world, i, 5);
    world.nodes[1].members = members;
    open_world(&world, "inproc://follow-0,inproc://follow-1");
    await(&world, "begin5 up ");
    for (size_t i = 1; i < NODES; i++)
        world.nodes[i].last_tx = 7;
    await(&world, "up 6 7 ");
    close_node(&world.nodes[0]);
    close_node(&world.nodes[1]);
    commit(&world.nodes[2], 1);
    commit(&world.nodes[3], 1);
    await(&world, "6 7 8 ");
    close_node(&world.nodes[2]);
    commit(&world.nodes[3], 1);
    await(&world, "8 lost up 9 ");
    close_world(&world);
}

Test(follow, urls_are_checked)
{
    struct world world = { .loop = bb_loop_new(bb_env_real(), NULL, "follow") };
    const struct bb_follow_user user = { .begin = tell_begin };
    struct bb_ctx ctx = *bb_loop_ctx(world.loop);

    cr_expect_eq(bb_follow_open(&ctx, world.loop, ",", &user, &world.follow), BB_BAD_REQUEST);
    cr_expect_str_eq(ctx.error, "option storage: names no storage node");
    bb_follow_close(world.follow);
    bb_loop_free(world.loop);
}
