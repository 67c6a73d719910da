#include "sequencer.h"

#include "bb/env.h"

#define FOLLOWERS_MAX    128
#define FOLLOW_BYTES     (1u << 20)
#define FOLLOW_BYTES_MAX (8u << 20)
#define FOLLOW_WAIT_MAX  30000
#define MARK_WAIT_MS     2000
#define SUBMIT_WAIT_MS   700 /* two RENEWs; commits in the same message wait with it */

void sequencer_reply_error(struct bb_exchange *exchange, int status, const char *error)
{
    Bb__Proto__SequencerReply reply;
    char text[BB_ERROR_MAX];

    bb__proto__sequencer_reply__init(&reply);
    reply.status = (uint32_t)status;
    size_t size = strlen(error);
    if (size >= sizeof text)
        size = sizeof text - 1;
    memcpy(text, error, size);
    text[size] = '\0';
    reply.error = text;
    bb_exchange_reply(exchange, &reply.base);
}

bool sequencer_refer(struct sequencer *sequencer, struct bb_exchange *exchange)
{
    Bb__Proto__SequencerReply reply;
    static char text[] = "this sequencer stands by; another one is active";

    if (!sequencer->is_standby || sequencer->phase >= SEQUENCER_LOADING)
        return false;
    bb__proto__sequencer_reply__init(&reply);
    reply.status = BB_NOT_LEADER;
    reply.error = text;
    reply.holder = sequencer->holder_address;
    bb_exchange_reply(exchange, &reply.base);
    return true;
}

bool sequencer_has_lease(struct sequencer *sequencer)
{
    return sequencer_lease_holds(&sequencer->lease, bb_now_us(sequencer->ctx));
}

static bool is_serving(const struct sequencer *sequencer)
{
    return sequencer->phase == SEQUENCER_ACTIVE || sequencer->phase == SEQUENCER_DRAINING;
}

/* ---- follow ---- */

void sequencer_describe_hold(const struct sequencer_core *core,
                             const struct sequencer_reserve *reserve, uint64_t number,
                             Bb__Proto__Hold *hold)
{
    bb__proto__hold__init(hold);
    hold->number = number;
    if (reserve == NULL)
        return;
    hold->state =
        reserve->is_held ? BB__PROTO__HOLD_STATE__HOLD_HELD : BB__PROTO__HOLD_STATE__HOLD_QUEUED;
    hold->is_wanted = reserve->is_wanted;
    hold->tx = core->sequenced;
}

#define HOLDS_MAX 64

/* Reservations and hot ranges, as far as they fit: the rest comes with a later answer. */
struct lane_news {
    Bb__Proto__Hold holds[HOLDS_MAX], *hold_list[HOLDS_MAX];
    Bb__Proto__Range hot[SEQUENCER_HOT_MAX], *hot_list[SEQUENCER_HOT_MAX];
};

static void add_lane_news(const struct sequencer_core *core, const struct sequencer_waiter *waiter,
                          struct lane_news *news, Bb__Proto__FollowReply *follow)
{
    const struct sequencer_lanes *lanes = &core->lanes;

    bb_list_each(item, &lanes->reserves) {
        const struct sequencer_reserve *reserve =
            bb_container(item, struct sequencer_reserve, link);
        if (reserve->session != waiter->session || follow->n_holds == HOLDS_MAX)
            continue;
        news->hold_list[follow->n_holds] = &news->holds[follow->n_holds];
        sequencer_describe_hold(core, reserve, reserve->number, &news->holds[follow->n_holds++]);
    }
    uint64_t oldest =
        lanes->hot_number < SEQUENCER_HOT_MAX ? 1 : lanes->hot_number - SEQUENCER_HOT_MAX + 1;
    uint64_t first = waiter->hot_seen + 1 > oldest ? waiter->hot_seen + 1 : oldest;
    for (uint64_t number = first; number <= lanes->hot_number; number++) {
        size_t at = (size_t)(number % SEQUENCER_HOT_MAX);
        Bb__Proto__Range *range = &news->hot[follow->n_hot];
        bb__proto__range__init(range);
        range->low = bb_slice_pb(lanes->hot[at].low);
        range->high = bb_slice_pb(lanes->hot[at].high);
        news->hot_list[follow->n_hot++] = range;
    }
    follow->holds = news->hold_list;
    follow->hot = news->hot_list;
    follow->hot_seen = lanes->hot_number;
}

#define LATELY_US 1000000

/* Notes that this one follows; how many do. */
static uint32_t count_supervisors(struct sequencer *sequencer, uint64_t session)
{
    uint64_t now_us = bb_now_us(sequencer->ctx);
    struct sequencer_supervisor *place = &sequencer->supervisors[0];
    uint32_t count = 0;

    for (size_t i = 0; i < SEQUENCER_SUPERVISORS_MAX; i++) {
        struct sequencer_supervisor *one = &sequencer->supervisors[i];
        if (one->session == session) {
            place = one;
            break;
        }
        place = one->at_us < place->at_us ? one : place;
    }
    *place = (struct sequencer_supervisor){ .session = session, .at_us = now_us };
    for (size_t i = 0; i < SEQUENCER_SUPERVISORS_MAX; i++)
        count += sequencer->supervisors[i].at_us + LATELY_US > now_us;
    return count;
}

static void reply_follow(struct sequencer *sequencer, const struct sequencer_waiter *waiter,
                         int status, uint64_t first, uint64_t end)
{
    struct lane_news news;
    struct sequencer_core *core = &sequencer->core;
    size_t count = (size_t)(end - first);
    Bb__Proto__SequencerReply reply;
    Bb__Proto__FollowReply follow;
    ProtobufCBinaryData *records = count == 0 ? NULL : bb_alloc(count * sizeof *records);

    bb__proto__sequencer_reply__init(&reply);
    bb__proto__follow_reply__init(&follow);
    for (size_t i = 0; i < count; i++)
        records[i] = bb_slice_pb(sequencer_ring_at(&core->ring, first + i)->bytes);
    follow.epoch = core->epoch;
    follow.claim_tx = core->claim_tx;
    follow.n_records = count;
    follow.records = records;
    follow.sequenced = core->sequenced;
    follow.durable = core->durable;
    follow.lacks_lease = !sequencer_has_lease(sequencer);
    follow.supervisors = count_supervisors(sequencer, waiter->session);
    add_lane_news(core, waiter, &news, &follow);
    reply.status = (uint32_t)status;
    reply.op_case = BB__PROTO__SEQUENCER_REPLY__OP_FOLLOW;
    reply.follow = &follow;
    bb_exchange_reply(waiter->exchange, &reply.base);
    bb_free(records);
}

/* False: there is nothing to tell yet. */
static bool try_follow(struct sequencer *sequencer, struct sequencer_waiter *waiter, bool is_last)
{
    uint64_t first = 0;
    uint64_t end = 0;

    if (!is_serving(sequencer)) {
        if (sequencer_refer(sequencer, waiter->exchange))
            return true;
        if (is_last)
            sequencer_reply_error(waiter->exchange, BB_UNAVAILABLE, sequencer->waits_for);
        return is_last;
    }
    int rc = sequencer_core_follow(&sequencer->core, waiter->epoch, waiter->after,
                                   waiter->durable_seen, waiter->max_bytes, &first, &end);
    bool is_granted = sequencer->core.lanes.version != waiter->lanes_seen;
    if (rc == BB_PENDING && !is_last && !is_granted)
        return false;
    reply_follow(sequencer, waiter, rc == BB_PENDING ? BB_OK : rc, first, end);
    return true;
}

void sequencer_follow(struct sequencer *sequencer, struct bb_exchange *exchange,
                      const Bb__Proto__Follow *follow)
{
    uint32_t wait_ms = follow->wait_ms < FOLLOW_WAIT_MAX ? follow->wait_ms : FOLLOW_WAIT_MAX;
    struct sequencer_waiter waiter = {
        .exchange = exchange,
        .until_us = bb_now_us(sequencer->ctx) + (uint64_t)wait_ms * 1000,
        .epoch = follow->epoch,
        .after = follow->after,
        .durable_seen = follow->durable_seen,
        .session = follow->session,
        .hot_seen = follow->hot_seen,
        .lanes_seen = sequencer->core.lanes.version,
        .max_bytes = follow->max_bytes == 0 ? FOLLOW_BYTES : follow->max_bytes,
    };

    if (waiter.max_bytes > FOLLOW_BYTES_MAX)
        waiter.max_bytes = FOLLOW_BYTES_MAX;
    if (try_follow(sequencer, &waiter, wait_ms == 0))
        return;
    if (sequencer->follower_count >= FOLLOWERS_MAX) {
        sequencer_reply_error(exchange, BB_BUSY, "too many follow this sequencer");
        return;
    }
    struct sequencer_waiter *parked = bb_alloc(sizeof *parked);
    *parked = waiter;
    bb_list_push_back(&sequencer->followers, &parked->link);
    sequencer->follower_count++;
}

/* ---- marks ---- */

static void reply_mark(struct sequencer *sequencer, struct bb_exchange *exchange)
{
    Bb__Proto__SequencerReply reply;
    Bb__Proto__MarkReply mark;

    bb__proto__sequencer_reply__init(&reply);
    bb__proto__mark_reply__init(&mark);
    mark.epoch = sequencer->core.epoch;
    mark.durable = sequencer->core.durable;
    reply.op_case = BB__PROTO__SEQUENCER_REPLY__OP_MARK;
    reply.mark = &mark;
    bb_exchange_reply(exchange, &reply.base);
}

/*
 * Storage may hold, and its feed may have shown, what the Append under way brings: a mark that is
 * asked for now is not older than that.
 */
void sequencer_mark(struct sequencer *sequencer, struct bb_exchange *exchange)
{
    const struct sequencer_core *core = &sequencer->core;

    if (sequencer_refer(sequencer, exchange))
        return;
    if (is_serving(sequencer) && sequencer_has_lease(sequencer) && !core->is_appending) {
        reply_mark(sequencer, exchange);
        return;
    }
    struct sequencer_waiter *parked = bb_alloc_zero(1, sizeof *parked);
    parked->exchange = exchange;
    parked->epoch = core->epoch;
    parked->after = core->is_appending ? core->append.last_tx : 0;
    parked->until_us = bb_now_us(sequencer->ctx) + (uint64_t)MARK_WAIT_MS * 1000;
    bb_list_push_back(&sequencer->marks, &parked->link);
}

void sequencer_submit_later(struct sequencer *sequencer, struct bb_exchange *exchange,
                            const Bb__Proto__Submit *submit)
{
    struct sequencer_waiter *parked = bb_alloc_zero(1, sizeof *parked);

    parked->exchange = exchange;
    parked->submit = submit;
    parked->until_us = bb_now_us(sequencer->ctx) + (uint64_t)SUBMIT_WAIT_MS * 1000;
    bb_list_push_back(&sequencer->submits, &parked->link);
}

void sequencer_wake_waiters(struct sequencer *sequencer, bool refuse)
{
    uint64_t now_us = bb_now_us(sequencer->ctx);
    bool can_mark = is_serving(sequencer) && sequencer_has_lease(sequencer);
    struct bb_list due;

    bb_list_each_safe(item, &sequencer->followers) {
        struct sequencer_waiter *waiter = bb_container(item, struct sequencer_waiter, link);
        if (!try_follow(sequencer, waiter, refuse || now_us >= waiter->until_us))
            continue;
        bb_list_remove(item);
        sequencer->follower_count--;
        bb_free(waiter);
    }
    bb_list_each_safe(item, &sequencer->marks) {
        struct sequencer_waiter *waiter = bb_container(item, struct sequencer_waiter, link);
        bool has_come =
            waiter->epoch != sequencer->core.epoch || sequencer->core.durable >= waiter->after;
        if (can_mark && has_come) {
            reply_mark(sequencer, waiter->exchange);
        } else if (sequencer_refer(sequencer, waiter->exchange)) {
            /* it is answered */
        } else if (refuse || now_us >= waiter->until_us) {
            sequencer_reply_error(waiter->exchange, BB_UNAVAILABLE, sequencer->waits_for);
        } else {
            continue;
        }
        bb_list_remove(item);
        bb_free(waiter);
    }
    /* A Submit that frees a hold wakes waiters from inside: none of them may be in this list then.
     */
    bb_list_init(&due);
    bb_list_each_safe(item, &sequencer->submits) {
        const struct sequencer_waiter *waiter = bb_container(item, struct sequencer_waiter, link);
        if (is_serving(sequencer) && !can_mark && !refuse && now_us < waiter->until_us)
            continue;
        bb_list_remove(item);
        bb_list_push_back(&due, item);
    }
    while (!bb_list_is_empty(&due)) {
        struct sequencer_waiter *parked = bb_container(due.next, struct sequencer_waiter, link);
        struct sequencer_waiter waiter = *parked;
        bb_list_remove(&parked->link);
        bb_free(parked);
        sequencer_submit(sequencer, waiter.exchange, waiter.submit, false);
    }
}
