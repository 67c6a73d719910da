#include "live_entry.h"

#include "bb/env.h"
#include "bb/value.h"

#define BUCKETS_MIN    64u
#define RETRY_FIRST_US 50000u
#define RETRY_MAX_US   2000000u
/* A function that never ends costs its five seconds this often, as long as somebody watches. */
#define AGAIN_US 30000000u

/* ---- what runs ---- */

/* Start what is due, as far as the bound allows. */
static void start_due(struct live *live)
{
    if (live->is_starting)
        return;
    live->is_starting = true;
    while (!bb_list_is_empty(&live->due) && live->running_count < live->options.running_max) {
        struct live_entry *entry = bb_container(live->due.next, struct live_entry, due);

        bb_list_remove(&entry->due);
        bb_assert(entry->is_due && !entry->is_running);
        bb_list_remove(&entry->again);
        entry->is_due = false;
        entry->is_running = true;
        entry->history = live->history;
        live->running_count++;
        live->ops->evaluate(live->arg, entry,
                            entry->due_tx > live->cursor ? entry->due_tx : live->cursor);
    }
    live->is_starting = false;
}

/* The entry must run again and see `tx`. One that nobody watches goes to the front of the idle
 * ones, where drop_idle_due finds it. */
static void make_due(struct live_entry *entry, uint64_t tx)
{
    struct live *live = entry->live;

    if (tx > entry->due_tx)
        entry->due_tx = tx;
    if (entry->is_due)
        return;
    entry->is_due = true;
    if (!bb_list_is_empty(&entry->idle)) {
        bb_list_remove(&entry->idle);
        bb_list_push_front(&live->idle, &entry->idle);
    } else if (!entry->is_running && bb_list_is_empty(&entry->due)) {
        bb_list_push_back(&live->due, &entry->due);
    }
}

static void make_due_later(struct live_entry *entry)
{
    struct live *live = entry->live;
    uint32_t shift = entry->failures < 6 ? entry->failures : 6;
    uint64_t delay = (uint64_t)RETRY_FIRST_US << shift;

    entry->failures++;
    entry->is_due = true;
    entry->retry_us = bb_now_us(&live->ctx) + (delay < RETRY_MAX_US ? delay : RETRY_MAX_US);
    bb_list_remove(&entry->due);
    bb_list_push_back(&live->later, &entry->due);
}

static bool key_hits(void *arg, struct bb_slice key)
{
    const struct live_entry *entry = arg;

    for (size_t i = 0; i < entry->range_count; i++)
        if (gateway_interval_holds(entry->ranges[i].low, entry->ranges[i].high, key))
            return true;
    return false;
}

/* ---- answers ---- */

static void attach(struct live_entry *entry, struct live_subscriber *subscriber);

/* The function looks at who calls: everybody gets an entry of their own identity. */
static void split(struct live_entry *entry)
{
    struct live *live = entry->live;

    entry->is_split = true;
    entry->due_tx = 0;
    while (!bb_list_is_empty(&entry->subscribers)) {
        struct live_subscriber *subscriber =
            bb_container(entry->subscribers.next, struct live_subscriber, link);
        struct live_key key = entry->key;
        struct live_entry *own;

        key.identity = subscriber->identity;
        own = gateway_live_entry_find(live, &key, false);
        if (own == NULL)
            own = gateway_live_entry_add(live, &key, false);
        bb_list_remove(&subscriber->link);
        entry->subscriber_count--;
        subscriber->version = 0;
        attach(own, subscriber);
    }
    entry->idle_us = bb_now_us(&live->ctx);
    bb_list_remove(&entry->idle);
    bb_list_push_back(&live->idle, &entry->idle);
}

static void take_result(struct live_entry *entry, const struct live_answer *answer)
{
    bool is_failure = answer->end == LIVE_FAILURE;
    bool is_equal = entry->has_result && entry->is_failure == is_failure &&
                    entry->hash[0] == answer->hash[0] && entry->hash[1] == answer->hash[1];

    entry->tx = answer->tx;
    if (is_equal)
        return;
    entry->has_result = true;
    entry->is_failure = is_failure;
    entry->hash[0] = answer->hash[0];
    entry->hash[1] = answer->hash[1];
    entry->version++;
    bb_buf_fini(&entry->payload);
    bb_buf_init(&entry->payload);
    bb_buf_append_slice(&entry->payload, answer->payload);
}

void gateway_live_answered(struct live_entry *entry, const struct live_answer *answer)
{
    struct live *live = entry->live;
    uint64_t hit_tx = 0;

    bb_assert(entry->is_running);
    entry->is_running = false;
    entry->running = NULL;
    live->running_count--;
    if (bb_list_is_empty(&entry->subscribers)) {
        /* Nobody waits for it: what it says may be out of date before anybody comes. */
        gateway_live_entry_free(entry);
    } else if (entry->history != live->history) {
        make_due(entry, 0);
    } else if (answer->end == LIVE_AWAY ||
               (answer->end != LIVE_NEEDS_IDENTITY && answer->tx < entry->tx)) {
        make_due_later(entry);
    } else if (answer->end == LIVE_NEEDS_IDENTITY) {
        bb_assert(entry->is_shared);
        split(entry);
    } else {
        entry->failures = 0;
        entry->is_due = false;
        gateway_live_entry_register(entry, answer->ranges, answer->range_count,
                                    answer->end == LIVE_FAILURE);
        take_result(entry, answer);
        gateway_live_entry_account(entry);
        /* The ring knows exactly what was written in (T, cursor]; whatever hit the old ranges while
         * this ran is in there, too. */
        if (gateway_ring_hits(&live->ring, answer->tx, key_hits, entry, &hit_tx))
            make_due(entry, hit_tx);
        bb_list_each(item, &entry->subscribers) {
            struct live_subscriber *subscriber = bb_container(item, struct live_subscriber, link);

            if (subscriber->tx > answer->tx)
                make_due(entry, subscriber->tx);
        }
        if (answer->is_passing) {
            entry->again_us = bb_now_us(&live->ctx) + AGAIN_US;
            bb_list_push_back(&live->again, &entry->again);
        }
        live->ops->publish(live->arg, entry);
    }
    start_due(live);
}

/* ---- subscribers ---- */

uint64_t gateway_live_result_tx(const struct live_entry *entry)
{
    /* Nothing up to the cursor touched what it was read from: the result holds there as well. */
    if (!entry->is_due && !entry->is_running && entry->live->cursor > entry->tx)
        return entry->live->cursor;
    return entry->tx;
}

bool gateway_live_can_send(const struct live_subscriber *subscriber)
{
    const struct live_entry *entry = subscriber->entry;

    return entry->has_result && subscriber->version != entry->version &&
           gateway_live_result_tx(entry) >= subscriber->tx;
}

void gateway_live_sent(struct live_subscriber *subscriber, uint64_t tx)
{
    bb_assert(tx >= subscriber->tx);
    subscriber->tx = tx;
    subscriber->version = subscriber->entry->version;
}

static void attach(struct live_entry *entry, struct live_subscriber *subscriber)
{
    struct live *live = entry->live;
    bool was_idle = !bb_list_is_empty(&entry->idle);

    subscriber->entry = entry;
    bb_list_push_back(&entry->subscribers, &subscriber->link);
    entry->subscriber_count++;
    bb_list_remove(&entry->idle);
    if (was_idle && entry->is_due)
        bb_list_push_back(&live->due, &entry->due); /* hit, and not dropped yet */
    if (entry->is_running || entry->is_due)
        return; /* its answer is on the way */
    if (entry->has_result && gateway_live_result_tx(entry) >= subscriber->tx)
        live->ops->publish(live->arg, entry);
    else
        make_due(entry, subscriber->tx);
}

int gateway_live_subscribe(struct bb_ctx *ctx, struct live *live, const struct live_key *key,
                           struct live_subscriber *subscriber, uint64_t after_tx)
{
    struct live_entry *entry = gateway_live_entry_find(live, key, true);

    if (entry != NULL && entry->is_split)
        entry = gateway_live_entry_find(live, key, false);
    if (entry == NULL) {
        const struct live_entry *shared = gateway_live_entry_find(live, key, true);

        if (!gateway_live_has_room(live))
            return bb_fail(ctx, BB_OVERLOADED, "Too many live queries are open; try again later.");
        entry = gateway_live_entry_add(live, key, shared == NULL);
    }
    bb_list_init(&subscriber->link);
    subscriber->version = 0;
    subscriber->tx = after_tx;
    attach(entry, subscriber);
    start_due(live);
    return BB_OK;
}

void gateway_live_unsubscribe(struct live_subscriber *subscriber)
{
    struct live_entry *entry = subscriber->entry;
    struct live *live = entry->live;

    bb_list_remove(&subscriber->link);
    subscriber->entry = NULL;
    entry->subscriber_count--;
    if (entry->subscriber_count > 0 || entry->is_running)
        return;
    if (entry->is_due || !entry->has_result) {
        gateway_live_entry_free(entry);
        return;
    }
    entry->idle_us = bb_now_us(&live->ctx);
    bb_list_push_back(&live->idle, &entry->idle);
}

void gateway_live_forget(struct live_subscriber *subscriber)
{
    struct live_entry *entry = subscriber->entry;

    subscriber->tx = 0;
    entry->due_tx = entry->live->cursor;
    bb_list_each(item, &entry->subscribers) {
        const struct live_subscriber *other = bb_container(item, struct live_subscriber, link);

        if (other->tx > entry->due_tx)
            entry->due_tx = other->tx;
    }
    if (!entry->is_running && !entry->is_due && entry->has_result)
        entry->live->ops->publish(entry->live->arg, entry);
    gateway_live_retry_now(entry->live);
}

/* ---- the feed ---- */

struct hit {
    struct live *live;
    uint64_t tx;
};

static void on_hit(void *arg, struct interval *node)
{
    const struct hit *hit = arg;
    struct live_entry *entry = node->owner;

    if (hit->tx > entry->tx && !entry->is_running)
        make_due(entry, hit->tx);
}

void gateway_live_write(struct live *live, uint64_t tx, const struct bb_slice *keys,
                        size_t key_count)
{
    struct hit hit = { .live = live, .tx = tx };

    gateway_ring_add(&live->ring, tx, keys, key_count, live->entry_count > 0);
    for (size_t i = 0; i < key_count && live->ranges.count > 0; i++)
        gateway_interval_stab(&live->ranges, keys[i], on_hit, &hit);
}

/* Entries that nobody watches need not run: the next subscriber starts afresh. */
static void drop_idle_due(struct live *live)
{
    while (!bb_list_is_empty(&live->idle)) {
        struct live_entry *entry = bb_container(live->idle.next, struct live_entry, idle);

        if (!entry->is_due)
            return;
        gateway_live_entry_free(entry);
    }
}

void gateway_live_advance(struct live *live, uint64_t cursor)
{
    if (cursor > live->cursor)
        live->cursor = cursor;
    drop_idle_due(live);
    start_due(live);
}

static void all_due(struct live *live, uint64_t tx)
{
    for (size_t i = 0; i < live->bucket_count; i++) {
        for (struct live_entry *entry = live->buckets[i]; entry != NULL; entry = entry->next)
            if (!entry->is_split && !entry->is_running)
                make_due(entry, tx);
    }
    drop_idle_due(live);
}

void gateway_live_skip(struct live *live, uint64_t cursor)
{
    if (cursor > live->cursor)
        live->cursor = cursor;
    /* What runs now finds that the ring does not reach back to it, and runs again. */
    gateway_ring_clear(&live->ring, live->cursor);
    all_due(live, live->cursor);
    start_due(live);
}

void gateway_live_restart(struct live *live, uint64_t cursor)
{
    live->cursor = cursor;
    live->history++;
    gateway_ring_clear(&live->ring, cursor);
    for (size_t i = 0; i < live->bucket_count; i++) {
        for (struct live_entry *entry = live->buckets[i]; entry != NULL; entry = entry->next) {
            entry->tx = 0;
            entry->due_tx = 0;
            entry->version++;
            entry->has_result = false;
            bb_list_each(item, &entry->subscribers) {
                struct live_subscriber *subscriber =
                    bb_container(item, struct live_subscriber, link);

                subscriber->tx = 0;
                live->ops->resync(live->arg, subscriber);
            }
        }
    }
    all_due(live, 0);
    start_due(live);
}

void gateway_live_retry_now(struct live *live)
{
    while (!bb_list_is_empty(&live->later)) {
        struct bb_list *item = live->later.next;

        bb_list_remove(item);
        bb_list_push_back(&live->due, item);
    }
    start_due(live);
}

static void try_again(struct live *live, uint64_t now)
{
    while (!bb_list_is_empty(&live->again)) {
        struct live_entry *entry = bb_container(live->again.next, struct live_entry, again);

        if (now < entry->again_us)
            return;
        bb_list_remove(&entry->again);
        if (entry->subscriber_count > 0)
            make_due(entry, 0);
        else
            gateway_live_entry_free(entry);
    }
}

void gateway_live_tick(struct live *live)
{
    uint64_t now = bb_now_us(&live->ctx);

    try_again(live, now);

    bb_list_each_safe(item, &live->later) {
        struct live_entry *entry = bb_container(item, struct live_entry, due);

        if (now < entry->retry_us)
            continue;
        bb_list_remove(item);
        bb_list_push_back(&live->due, item);
    }
    bb_list_each_safe(item, &live->idle) {
        struct live_entry *entry = bb_container(item, struct live_entry, idle);

        if (now < entry->idle_us + live->options.idle_us)
            break;
        gateway_live_entry_free(entry);
    }
    start_due(live);
}

/* ---- the whole ---- */

struct live *gateway_live_new(struct bb_ctx *ctx, const struct live_options *options)
{
    struct live *live = bb_alloc_zero(1, sizeof(*live));
    struct bb_id id;

    live->ops = options->ops;
    live->arg = options->arg;
    live->ctx = (struct bb_ctx){ .env = ctx->env, .log = ctx->log };
    live->options = *options;
    live->bucket_count = BUCKETS_MIN;
    live->buckets = bb_alloc_zero(BUCKETS_MIN, sizeof(struct live_entry *));
    gateway_interval_index_init(&live->ranges);
    gateway_ring_init(&live->ring, options->ring_bytes_max);
    bb_list_init(&live->due);
    bb_list_init(&live->later);
    bb_list_init(&live->again);
    bb_list_init(&live->idle);
    bb_id_of_key(BB_TABLE_DEPLOYMENT, bb_slice_str("current"), &id);
    bb_key_by_id(&live->deployment_low, BB_TABLE_DEPLOYMENT, &id);
    bb_key_by_id(&live->deployment_high, BB_TABLE_DEPLOYMENT, &id);
    bb_buf_append_byte(&live->deployment_high, 0);
    bb_key_append_u32(&live->catalog_low, BB_INDEX_BY_ID(BB_TABLE_TABLES));
    bb_key_append_u32(&live->catalog_high, BB_INDEX_BY_ID(BB_TABLE_DEPLOYMENT + 1u));
    return live;
}

void gateway_live_free(struct live *live)
{
    if (live == NULL)
        return;
    for (size_t i = 0; i < live->bucket_count; i++) {
        while (live->buckets[i] != NULL) {
            live->buckets[i]->is_running = false;
            gateway_live_entry_free(live->buckets[i]);
        }
    }
    gateway_ring_fini(&live->ring);
    bb_buf_fini(&live->deployment_low);
    bb_buf_fini(&live->deployment_high);
    bb_buf_fini(&live->catalog_low);
    bb_buf_fini(&live->catalog_high);
    bb_free(live->buckets);
    bb_free(live);
}

bool gateway_live_has_room(const struct live *live)
{
    return live->bytes < live->options.bytes_max;
}

uint64_t gateway_live_cursor(const struct live *live)
{
    return live->cursor;
}

size_t gateway_live_entry_count(const struct live *live)
{
    return live->entry_count;
}

size_t gateway_live_range_count(const struct live *live)
{
    return live->ranges.count;
}

size_t gateway_live_bytes(const struct live *live)
{
    return live->bytes;
}
