#include "live_entry.h"

#include "bb/env.h"
#include "bb/value.h"

#define BUCKETS_MIN    64u
#define RETRY_FIRST_US 50000u
#define RETRY_MAX_US   2000000u
/* A function that never ends costs its five seconds this often, as long as somebody watches. */
#define AGAIN_US 30000000u
/* A run that takes longer leaves its place to another one: few that never end must not keep all
 * others waiting. So many may do so. */
#define LONG_US       500000u
#define LONG_RUNS_MAX 64u

/* ---- where a result holds ---- */

static bool holds_at(const struct live_entry *entry, uint64_t tx)
{
    if (entry->result == NULL || entry->is_void || tx < entry->from_tx)
        return false;
    return entry->hit_tx == 0 ? tx <= entry->live->cursor : tx < entry->hit_tx;
}

static bool is_open(const struct live_entry *entry)
{
    return entry->result != NULL && !entry->is_void && entry->hit_tx == 0;
}

/* The result holds no longer. An unwatched entry goes to the front of the idle ones, where
 * drop_idle_hit finds it. */
static void tell_hit(struct live_entry *entry)
{
    struct live *live = entry->live;

    if (!bb_list_is_empty(&entry->idle)) {
        bb_list_remove(&entry->idle);
        bb_list_push_front(&live->idle, &entry->idle);
    }
    bb_list_each(item, &entry->watches) {
        live->ops->hit(live->arg, bb_container(item, struct live_watch, link));
    }
}

static void make_void(struct live_entry *entry)
{
    bool was_open = is_open(entry);

    entry->is_void = true;
    if (was_open)
        tell_hit(entry);
}

/* ---- what runs ---- */

static void make_due(struct live_entry *entry)
{
    if (!entry->is_running && bb_list_is_empty(&entry->due))
        bb_list_push_back(&entry->live->due, &entry->due);
}

static void make_due_later(struct live_entry *entry)
{
    struct live *live = entry->live;
    uint32_t shift = entry->failures < 6 ? entry->failures : 6;
    uint64_t delay = (uint64_t)RETRY_FIRST_US << shift;

    entry->failures++;
    entry->retry_us = bb_now_us(&live->ctx) + (delay < RETRY_MAX_US ? delay : RETRY_MAX_US);
    bb_list_remove(&entry->due);
    bb_list_push_back(&live->later, &entry->due);
}

/* Whoever waits for a moment at which the newest result holds has it. */
static void settle(struct live_entry *entry)
{
    struct live *live = entry->live;

    bb_list_each_safe(item, &entry->waiting) {
        struct live_watch *watch = bb_container(item, struct live_watch, waiting);

        if (!holds_at(entry, watch->wait_tx))
            continue;
        bb_list_remove(&watch->waiting);
        live->ops->came(live->arg, watch, entry->result);
    }
}

static uint64_t oldest_wanted(const struct live_entry *entry)
{
    uint64_t oldest = UINT64_MAX;

    bb_list_each(item, &entry->waiting) {
        const struct live_watch *watch = bb_container(item, struct live_watch, waiting);

        if (watch->wait_tx < oldest)
            oldest = watch->wait_tx;
    }
    return oldest;
}

void gateway_live_go(struct live *live)
{
    if (live->is_starting)
        return;
    live->is_starting = true;
    while (!bb_list_is_empty(&live->due) && live->running_count < live->options.running_max) {
        struct live_entry *entry = bb_container(live->due.next, struct live_entry, due);

        bb_list_remove(&entry->due);
        bb_assert(!entry->is_running);
        settle(entry);
        if (bb_list_is_empty(&entry->waiting))
            continue;
        entry->is_running = true;
        entry->runs_long = false;
        entry->run_us = bb_now_us(&live->ctx);
        bb_list_push_back(&live->runs, &entry->run);
        entry->run_tx = oldest_wanted(entry);
        entry->history = live->history;
        live->running_count++;
        live->ops->evaluate(live->arg, entry, entry->run_tx);
    }
    live->is_starting = false;
}

static bool key_hits(void *arg, struct bb_slice key)
{
    const struct live_entry *entry = arg;

    for (size_t i = 0; i < entry->range_count; i++) {
        if (bb_interval_holds(entry->ranges[i].low, entry->ranges[i].high, key))
            return true;
    }
    return false;
}

/* ---- answers ---- */

static void attach(struct live_entry *entry, struct live_watch *watch)
{
    watch->entry = entry;
    bb_list_push_back(&entry->watches, &watch->link);
    entry->watch_count++;
    bb_list_remove(&entry->idle);
}

/* The function looks at who calls: everybody gets an entry of their own identity. */
static void split(struct live_entry *entry)
{
    struct live *live = entry->live;

    entry->is_split = true;
    entry->is_void = true;
    while (!bb_list_is_empty(&entry->watches)) {
        struct live_watch *watch = bb_container(entry->watches.next, struct live_watch, link);
        bool is_waiting = !bb_list_is_empty(&watch->waiting);
        struct live_key key = entry->key;
        struct live_entry *own;

        key.identity = watch->identity;
        own = gateway_live_entry_find(live, &key, false);
        if (own == NULL)
            own = gateway_live_entry_add(live, &key, false);
        bb_list_remove(&watch->link);
        bb_list_remove(&watch->waiting);
        entry->watch_count--;
        attach(own, watch);
        /* What it holds is of the shared entry: it must hear of its own. */
        live->ops->hit(live->arg, watch);
        if (is_waiting) {
            bb_list_push_back(&own->waiting, &watch->waiting);
            make_due(own);
        }
    }
    entry->idle_us = bb_now_us(&live->ctx);
    bb_list_remove(&entry->idle);
    bb_list_push_back(&live->idle, &entry->idle);
}

/* The newest result now. Equal ones stay the same object, which keeps what was encoded. */
static void take_result(struct live_entry *entry, const struct live_answer *answer)
{
    struct live *live = entry->live;
    const struct live_result *old = entry->result;
    bool is_failure = answer->end == LIVE_FAILURE;
    bool was_open = is_open(entry);
    uint64_t hit_tx = 0;

    gateway_live_entry_register(entry, answer->ranges, answer->range_count, is_failure);
    if (old == NULL || old->is_failure != is_failure || old->hash[0] != answer->hash[0] ||
        old->hash[1] != answer->hash[1]) {
        gateway_live_release(entry->result);
        entry->result = gateway_live_result_new(live, answer);
    }
    entry->from_tx = entry->run_tx;
    entry->hit_tx = 0;
    entry->is_void = false;
    bb_list_remove(&entry->again);
    if (answer->is_passing) {
        entry->again_us = bb_now_us(&live->ctx) + AGAIN_US;
        bb_list_push_back(&live->again, &entry->again);
    }
    /* The ring knows exactly what was written in (T, cursor]; whatever hit the old ranges while
     * this ran is in there, too. */
    if (bb_recent_hits(&live->ring, entry->run_tx, key_hits, entry, &hit_tx)) {
        entry->hit_tx = hit_tx;
        tell_hit(entry);
    }
    bb_assert(!was_open || entry->hit_tx == 0 || entry->hit_tx > entry->from_tx);
}

/* A moment before that of the newest result: for those who wanted exactly that one. */
static void serve_older(struct live_entry *entry, const struct live_answer *answer)
{
    struct live *live = entry->live;
    struct live_result *result = gateway_live_result_new(live, answer);

    bb_list_each_safe(item, &entry->waiting) {
        struct live_watch *watch = bb_container(item, struct live_watch, waiting);

        if (watch->wait_tx != entry->run_tx)
            continue;
        bb_list_remove(&watch->waiting);
        live->ops->came(live->arg, watch, result);
    }
    gateway_live_release(result);
}

static struct live_watch *find_too_old(struct live_entry *entry)
{
    bb_list_each(item, &entry->waiting) {
        struct live_watch *watch = bb_container(item, struct live_watch, waiting);

        if (watch->wait_tx <= entry->run_tx)
            return watch;
    }
    return NULL;
}

/* One that hears of it may stop waiting for others, too. */
static void refuse_old(struct live_entry *entry)
{
    struct live *live = entry->live;
    struct live_watch *watch;

    while ((watch = find_too_old(entry)) != NULL) {
        bb_list_remove(&watch->waiting);
        live->ops->too_old(live->arg, watch);
    }
}

static void take_answer(struct live_entry *entry, const struct live_answer *answer)
{
    switch (answer->end) {
    case LIVE_AWAY:
        if (!bb_list_is_empty(&entry->waiting))
            make_due_later(entry);
        return;
    case LIVE_NEEDS_IDENTITY:
        bb_assert(entry->is_shared);
        split(entry);
        return;
    case LIVE_TOO_OLD:
        refuse_old(entry);
        break;
    case LIVE_VALUE:
    case LIVE_FAILURE:
        entry->failures = 0;
        if (entry->result == NULL || entry->is_void || entry->run_tx >= entry->from_tx) {
            take_result(entry, answer);
            settle(entry);
        } else {
            serve_older(entry, answer);
        }
        break;
    }
    if (!bb_list_is_empty(&entry->waiting))
        make_due(entry);
}

void gateway_live_answered(struct live_entry *entry, const struct live_answer *answer)
{
    struct live *live = entry->live;

    bb_assert(entry->is_running);
    entry->is_running = false;
    bb_list_remove(&entry->run);
    *(entry->runs_long ? &live->long_count : &live->running_count) -= 1;
    if (bb_list_is_empty(&entry->watches)) {
        /* Nobody waits for it: what it says may be out of date before anybody comes. */
        gateway_live_entry_free(entry);
    } else if (entry->history != live->history) {
        if (!bb_list_is_empty(&entry->waiting))
            make_due(entry);
    } else {
        take_answer(entry, answer);
    }
}

/* ---- watching ---- */

static struct live_entry *find(struct live *live, const struct live_key *key)
{
    struct live_entry *entry = gateway_live_entry_find(live, key, true);

    if (entry != NULL && entry->is_split)
        entry = gateway_live_entry_find(live, key, false);
    return entry;
}

static void watch_in(struct live *live, const struct live_key *key, struct live_watch *watch)
{
    struct live_entry *entry = find(live, key);

    if (entry == NULL) {
        bool is_shared = gateway_live_entry_find(live, key, true) == NULL;

        entry = gateway_live_entry_add(live, key, is_shared);
    }
    bb_list_init(&watch->link);
    bb_list_init(&watch->waiting);
    attach(entry, watch);
}

int gateway_live_watch(struct bb_ctx *ctx, struct live *live, const struct live_key *key,
                       struct live_watch *watch)
{
    if (!gateway_live_has_room(live) && find(live, key) == NULL) {
        return bb_fail(ctx, BB_OVERLOADED,
                       "Live queries have used up their memory (--live-bytes) on this gateway; try "
                       "again later.");
    }
    watch_in(live, key, watch);
    return BB_OK;
}

void gateway_live_rewatch(struct live_watch *watch, const struct live_key *key)
{
    struct live *live = watch->entry->live;

    gateway_live_unwatch(watch);
    watch_in(live, key, watch);
}

void gateway_live_unwatch(struct live_watch *watch)
{
    struct live_entry *entry = watch->entry;
    struct live *live = entry->live;

    bb_list_remove(&watch->waiting);
    bb_list_remove(&watch->link);
    watch->entry = NULL;
    entry->watch_count--;
    if (entry->watch_count > 0 || entry->is_running)
        return;
    if (!is_open(entry)) {
        gateway_live_entry_free(entry);
        return;
    }
    bb_list_remove(&entry->due);
    entry->idle_us = bb_now_us(&live->ctx);
    bb_list_push_back(&live->idle, &entry->idle);
}

struct live_result *gateway_live_get(const struct live_watch *watch, uint64_t tx)
{
    bb_assert(tx <= watch->entry->live->cursor);
    return holds_at(watch->entry, tx) ? watch->entry->result : NULL;
}

bool gateway_live_is_current(const struct live_watch *watch, const struct live_result *result)
{
    return is_open(watch->entry) && watch->entry->result == result;
}

void gateway_live_want(struct live_watch *watch, uint64_t tx)
{
    bb_assert(bb_list_is_empty(&watch->waiting) && tx <= watch->entry->live->cursor);
    watch->wait_tx = tx;
    bb_list_push_back(&watch->entry->waiting, &watch->waiting);
    make_due(watch->entry);
}

void gateway_live_unwant(struct live_watch *watch)
{
    bb_list_remove(&watch->waiting);
}

uint64_t gateway_live_wanted_tx(const struct live_watch *watch)
{
    const struct live_entry *entry = watch->entry;
    uint64_t running_tx = entry->is_running ? entry->run_tx : 0;
    uint64_t newest = 0;

    /* The newest comes last but for restarted rounds, which are seldom. */
    if (!bb_list_is_empty(&entry->waiting))
        newest = bb_container(entry->waiting.prev, struct live_watch, waiting)->wait_tx;
    return newest > running_tx ? newest : 0;
}

/* ---- the feed ---- */

struct hit {
    struct live *live;
    uint64_t tx;
};

static void on_hit(void *arg, struct bb_interval *node)
{
    const struct hit *hit = arg;
    struct live_entry *entry = node->owner;

    if (!is_open(entry) || hit->tx <= entry->from_tx)
        return;
    entry->hit_tx = hit->tx;
    tell_hit(entry);
}

void gateway_live_write(struct live *live, uint64_t tx, const struct bb_slice *keys,
                        size_t key_count)
{
    struct hit hit = { .live = live, .tx = tx };

    bb_recent_add(&live->ring, tx, keys, key_count, live->entry_count > 0);
    for (size_t i = 0; i < key_count && live->ranges.count > 0; i++)
        bb_interval_stab(&live->ranges, keys[i], on_hit, &hit);
}

/* Entries that nobody watches need not run: whoever comes next starts afresh. */
static void drop_idle_hit(struct live *live)
{
    while (!bb_list_is_empty(&live->idle)) {
        struct live_entry *entry = bb_container(live->idle.next, struct live_entry, idle);

        if (entry->is_split || is_open(entry))
            return;
        gateway_live_entry_free(entry);
    }
}

void gateway_live_advance(struct live *live, uint64_t cursor)
{
    if (cursor > live->cursor)
        live->cursor = cursor;
    drop_idle_hit(live);
}

static void all_void(struct live *live)
{
    for (size_t i = 0; i < live->bucket_count; i++) {
        for (struct live_entry *entry = live->buckets[i]; entry != NULL; entry = entry->next)
            make_void(entry);
    }
    drop_idle_hit(live);
}

void gateway_live_skip(struct live *live, uint64_t cursor)
{
    if (cursor > live->cursor)
        live->cursor = cursor;
    /* What runs now finds that the ring does not reach back to it, and holds at its moment only. */
    bb_recent_clear(&live->ring, live->cursor);
    all_void(live);
}

void gateway_live_restart(struct live *live, uint64_t cursor)
{
    live->cursor = cursor;
    live->history++;
    bb_recent_clear(&live->ring, cursor);
    for (size_t i = 0; i < live->bucket_count; i++) {
        for (struct live_entry *entry = live->buckets[i]; entry != NULL; entry = entry->next) {
            while (!bb_list_is_empty(&entry->waiting))
                bb_list_remove(entry->waiting.next);
            bb_list_remove(&entry->due);
        }
    }
    all_void(live);
}

void gateway_live_retry_now(struct live *live)
{
    while (!bb_list_is_empty(&live->later)) {
        struct bb_list *item = live->later.next;

        bb_list_remove(item);
        bb_list_push_back(&live->due, item);
    }
}

static void try_again(struct live *live, uint64_t now)
{
    while (!bb_list_is_empty(&live->again)) {
        struct live_entry *entry = bb_container(live->again.next, struct live_entry, again);

        if (now < entry->again_us)
            return;
        bb_list_remove(&entry->again);
        make_void(entry);
    }
}

static void leave_places(struct live *live, uint64_t now)
{
    while (!bb_list_is_empty(&live->runs) && live->long_count < LONG_RUNS_MAX) {
        struct live_entry *entry = bb_container(live->runs.next, struct live_entry, run);

        if (now < entry->run_us + LONG_US)
            return;
        bb_list_remove(&entry->run);
        entry->runs_long = true;
        live->running_count--;
        live->long_count++;
    }
}

void gateway_live_tick(struct live *live)
{
    uint64_t now = bb_now_us(&live->ctx);

    leave_places(live, now);
    try_again(live, now);
    drop_idle_hit(live);
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
    bb_interval_index_init(&live->ranges);
    bb_recent_init(&live->ring, options->ring_bytes_max);
    bb_list_init(&live->due);
    bb_list_init(&live->later);
    bb_list_init(&live->again);
    bb_list_init(&live->runs);
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
            bb_list_remove(&live->buckets[i]->run);
            gateway_live_entry_free(live->buckets[i]);
        }
    }
    bb_recent_fini(&live->ring);
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

size_t gateway_live_running(const struct live *live)
{
    return live->running_count + live->long_count;
}

void gateway_live_set_running_max(struct live *live, size_t running_max)
{
    live->options.running_max = running_max;
}
