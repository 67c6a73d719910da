/* The long poll: where it begins, which node is asked, what comes. */
#include "follow_internal.h"

#define TAIL_BYTES (4u << 20)
/* How long a Tail waits for news, and how much later it is given up. A node that hangs keeps its
 * connections: where another one could go on, that is found out soon. When all of them are slow,
 * each round gives them twice as long, so that one is heard in the end. */
#define TAIL_WAIT_MS 10000u
#define TAIL_LATE_MS 5000u
#define SOON_WAIT_MS 1000u
#define SOON_LATE_MS 1000u
#define ROUNDS_MAX   4u
#define PAUSE_MS     50u

static_assert(BEHIND_NODES_MAX == BB_NODES_MAX, "a place is a number in struct behind");

static void ask_tail(struct bb_follow *follow);
static void ask_start(struct bb_follow *follow);

/* ---- which node ---- */

static void set_following(struct bb_follow *follow, bool is_following)
{
    if (follow->is_following == is_following)
        return;
    follow->is_following = is_following;
    bb_info(follow->ctx, is_following ? "feed.following" : "feed.lost", "storage=%s tx=%" PRIu64,
            bb_peer_url(bb_nodes_current_peer(follow->nodes)), follow->cursor);
    if (follow->user.changed != NULL)
        follow->user.changed(follow->user.arg, is_following);
}

static void go_on(void *arg)
{
    struct bb_follow *follow = arg;

    bb_nodes_leave(follow->nodes);
    if (follow->has_begun) {
        ask_tail(follow);
    } else {
        ask_start(follow);
    }
}

/* Another node that is there, after a pause. */
static void pass_over(struct bb_follow *follow)
{
    set_following(follow, false);
    bb_nodes_pass_over(follow->nodes);
    bb_timer_start(follow->pause, PAUSE_MS, 0);
}

/* The present one does not answer. */
static void try_next(struct bb_follow *follow)
{
    follow_behind_leave(&follow->behind, bb_nodes_current(follow->nodes));
    pass_over(follow);
}

/* What the present node's newest transaction says about it, and about the history. */
static enum behind_verdict judge(struct bb_follow *follow, uint64_t last_tx)
{
    size_t node = bb_nodes_current(follow->nodes);

    /* One that was removed is behind for ever; that says nothing about the history. */
    if (last_tx < follow->cursor && !bb_nodes_is_member(follow->nodes, node))
        return BEHIND_LAGS;
    follow->behind.count = bb_nodes_count(follow->nodes);
    enum behind_verdict verdict = follow_behind_say(&follow->behind, node, last_tx, follow->cursor,
                                                    bb_loop_now_us(follow->loop));

    if (verdict == BEHIND_HISTORY) {
        bb_warn(follow->ctx, "feed.history_went_back", "cursor=%" PRIu64 " newest=%" PRIu64,
                follow->cursor, last_tx);
    }
    return verdict;
}

/* ---- where it begins ---- */

int follow_unpack(struct bb_follow *follow, int status, struct bb_slice bytes,
                  Bb__Proto__StorageReply **reply)
{
    struct bb_ctx ctx = *follow->ctx;

    if (status == BB_OK) {
        status =
            bb_unpack(&ctx, follow->arena, &bb__proto__storage_reply__descriptor, bytes, reply);
    }
    if (status == BB_OK)
        status = bb_storage_reply_validate(&ctx, *reply);
    return status;
}

static bool is_other_cluster(const struct bb_follow *follow, ProtobufCBinaryData id)
{
    return follow->has_cluster_id && id.len > 0 && memcmp(follow->cluster_id, id.data, id.len) != 0;
}

/* From where the node is. False: it lags behind what we have seen. */
static bool begin_with(struct bb_follow *follow, const Bb__Proto__InfoReply *info)
{
    bool is_new = follow->is_void || is_other_cluster(follow, info->cluster_id);
    enum behind_verdict verdict = is_new ? BEHIND_HISTORY : judge(follow, info->last_tx);

    if (verdict == BEHIND_LAGS)
        return false;
    if (info->cluster_id.len > 0)
        memcpy(follow->cluster_id, info->cluster_id.data, info->cluster_id.len);
    follow->has_cluster_id = info->cluster_id.len > 0;
    follow->cursor = info->last_tx;
    follow->has_begun = true;
    follow->is_void = false;
    follow->user.begin(follow->user.arg, follow->cursor, verdict == BEHIND_HISTORY);
    return true;
}

static void on_start(void *arg, int status, struct bb_slice bytes)
{
    struct bb_follow *follow = arg;
    Bb__Proto__StorageReply *reply = NULL;
    bool has_begun = false;

    if (follow->is_closing)
        return;
    status = follow_unpack(follow, status, bytes, &reply);
    bool is_usable = status == BB_OK && reply->status == BB_OK &&
                     reply->op_case == BB__PROTO__STORAGE_REPLY__OP_INFO &&
                     reply->info->cluster_id.len <= sizeof(follow->cluster_id);
    if (is_usable)
        has_begun = begin_with(follow, reply->info);
    bb_arena_reset(follow->arena);
    if (has_begun) {
        ask_tail(follow);
    } else if (is_usable) {
        pass_over(follow);
    } else {
        try_next(follow);
    }
}

static void ask_start(struct bb_follow *follow)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Info info = BB__PROTO__INFO__INIT;
    struct bb_ctx ctx = *follow->ctx;

    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_INFO;
    request.info = &info;
    if (bb_peer_request(&ctx, bb_nodes_current_peer(follow->nodes), &request.base, FOLLOW_INFO_MS,
                        on_start, follow) != BB_OK)
        try_next(follow);
}

/* ---- what comes ---- */

/* BB_GAP: it does not follow on what we have. */
static int take_record(struct bb_ctx *ctx, struct bb_follow *follow, struct bb_slice bytes)
{
    Bb__Proto__TxRecord *record = NULL;
    Bb__Proto__TxBody *body = NULL;
    struct follow_peek peek;

    if (follow->user.wants != NULL && follow_peek(bytes, &follow->user, &peek) && !peek.is_wanted &&
        peek.prev == follow->cursor && peek.tx > peek.prev) {
        follow->cursor = peek.tx;
        return BB_OK;
    }
    int rc = bb_unpack(ctx, follow->arena, &bb__proto__tx_record__descriptor, bytes, &record);

    if (rc == BB_OK)
        rc = bb_tx_record_validate(ctx, record);
    if (rc == BB_OK && (record->prev != follow->cursor || record->tx <= record->prev)) {
        return bb_fail(ctx, BB_GAP, "record %" PRIu64 " follows %" PRIu64 ", we are at %" PRIu64,
                       record->tx, record->prev, follow->cursor);
    }
    if (rc == BB_OK) {
        rc = bb_unpack(ctx, follow->arena, &bb__proto__tx_body__descriptor,
                       bb_pb_slice(record->body), &body);
    }
    if (rc != BB_OK)
        return rc;
    follow->cursor = record->tx;
    follow->user.record(follow->user.arg, bytes, record, body);
    return BB_OK;
}

static void take_records(struct bb_follow *follow, const Bb__Proto__TailReply *tail)
{
    struct bb_ctx ctx = *follow->ctx;

    for (size_t i = 0; i < tail->n_records; i++) {
        int rc = take_record(&ctx, follow, bb_pb_slice(tail->records[i]));

        if (rc != BB_OK) {
            bb_warn(follow->ctx, "feed.gap", "status=%s why=\"%s\"", bb_status_name(rc), ctx.error);
            follow->has_begun = false;
            return;
        }
    }
    if (follow->user.advance != NULL)
        follow->user.advance(follow->user.arg, follow->cursor);
}

/* False: the node lags behind what we have seen. */
static bool take_tail(struct bb_follow *follow, const Bb__Proto__TailReply *tail)
{
    enum behind_verdict verdict = judge(follow, tail->last_tx);

    if (verdict == BEHIND_LAGS)
        return false;
    set_following(follow, true);
    if (verdict == BEHIND_HISTORY) {
        follow->has_begun = false;
        follow->is_void = true;
    } else {
        take_records(follow, tail);
    }
    return true;
}

/* No node has what comes next, or can read it: storage says so after it has asked all of them. */
static bool is_lost(int status, const Bb__Proto__StorageReply *reply)
{
    if (status == BB_TX_TRUNCATED || status == BB_TX_IN_FUTURE)
        return true;
    return (status == BB_CORRUPT || status == BB_IO) && reply != NULL &&
           (int)reply->status == status && reply->op_case == BB__PROTO__STORAGE_REPLY__OP_TAIL;
}

static void on_tail(void *arg, int status, struct bb_slice bytes)
{
    struct bb_follow *follow = arg;
    Bb__Proto__StorageReply *reply = NULL;
    bool is_away = false;
    bool lags = false;

    if (follow->is_closing)
        return;
    follow->late = status == BB_TIMEOUT ? follow->late + 1 : 0;
    status = follow_unpack(follow, status, bytes, &reply);
    if (status == BB_OK)
        status = (int)reply->status;
    if (status == BB_OK && reply->op_case == BB__PROTO__STORAGE_REPLY__OP_TAIL) {
        lags = !take_tail(follow, reply->tail);
    } else if (is_lost(status, reply)) {
        bb_warn(follow->ctx, "feed.position", "cursor=%" PRIu64 " status=%s", follow->cursor,
                bb_status_name(status));
        follow->has_begun = false;
    } else {
        is_away = true;
    }
    bb_arena_reset(follow->arena);
    if (lags) {
        pass_over(follow);
    } else if (is_away) {
        try_next(follow);
    } else {
        go_on(follow);
    }
}

/* How much longer than it may wait for news. */
static uint32_t late_ms(const struct bb_follow *follow)
{
    size_t count = bb_nodes_count(follow->nodes);
    size_t rounds = follow->late / count;

    if (count == 1)
        return TAIL_LATE_MS;
    return SOON_LATE_MS << (rounds < ROUNDS_MAX ? rounds : ROUNDS_MAX);
}

static void ask_tail(struct bb_follow *follow)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Tail tail = BB__PROTO__TAIL__INIT;
    struct bb_ctx ctx = *follow->ctx;
    uint32_t wait_ms = bb_nodes_count(follow->nodes) == 1 ? TAIL_WAIT_MS : SOON_WAIT_MS;

    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_TAIL;
    request.tail = &tail;
    tail.after = follow->cursor;
    tail.max_bytes = TAIL_BYTES;
    /* The first answer shows that the node is there; it need not wait for news. */
    tail.wait_ms = follow->is_following ? wait_ms : 0;
    if (bb_peer_request(&ctx, bb_nodes_current_peer(follow->nodes), &request.base,
                        tail.wait_ms + late_ms(follow), on_tail, follow) != BB_OK)
        try_next(follow);
}

/* ---- the rest ---- */

bool bb_follow_is_following(const struct bb_follow *follow)
{
    return follow->is_following;
}

bool bb_follow_has_begun(const struct bb_follow *follow)
{
    return follow->has_begun;
}

uint64_t bb_follow_cursor(const struct bb_follow *follow)
{
    return follow->cursor;
}

struct bb_slice bb_follow_cluster(const struct bb_follow *follow)
{
    return follow->has_cluster_id ? bb_slice(follow->cluster_id, sizeof(follow->cluster_id))
                                  : BB_SLICE_EMPTY;
}

static void on_left(void *arg, size_t place)
{
    struct bb_follow *follow = arg;

    follow_behind_leave(&follow->behind, place);
}

int bb_follow_open(struct bb_ctx *ctx, struct bb_loop *loop, const char *urls,
                   const struct bb_follow_user *user, struct bb_follow **out)
{
    struct bb_follow *follow = bb_alloc_zero(1, sizeof(*follow));
    struct bb_nodes_options options = { .urls = urls, .left = on_left, .arg = follow };

    *out = follow;
    follow->loop = loop;
    follow->ctx = bb_loop_ctx(loop);
    follow->user = *user;
    follow->arena = bb_arena_new(0);
    follow->pause = bb_timer_new(loop, go_on, follow);
    int rc = bb_nodes_open(ctx, loop, &options, &follow->nodes);
    if (rc != BB_OK)
        return rc;
    ask_start(follow);
    return BB_OK;
}

void bb_follow_close(struct bb_follow *follow)
{
    if (follow == NULL)
        return;
    follow->is_closing = true;
    bb_nodes_close(follow->nodes);
    bb_timer_free(follow->pause);
    bb_arena_free(follow->arena);
    bb_free(follow);
}
