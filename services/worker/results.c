#include "results.h"

#include "bb/recent.h"
#include "bb/value.h"

#include "result_ranges.h"
#include "sightings.h"

#define BUCKET_BYTES   1024u /* of memory for each: most results are larger */
#define BUCKETS_MIN    64u
#define RECENT_BYTES   (256u << 10)
#define RECENT_RECORDS 1024u /* are kept after somebody may have asked for them */

struct result {
    struct result *next;  /* in its bucket */
    struct bb_list clock; /* in the order in which they are looked at when there is no room */
    struct bb_list doomed;
    uint64_t hash;
    uint64_t since;                             /* when it was evaluated */
    uint64_t number;                            /* no other one has or had it */
    struct bb_slice path, args, identity, seed; /* identity, seed: if they matter */
    bool is_used;                               /* since the hand passed */
    bool is_for_admin;
    size_t bytes, use_count;
    Bb__Proto__SlotDone done;
    struct result_use uses[]; /* then: pointers to messages of ranges, then bytes */
};

struct results {
    struct result **buckets;
    size_t bucket_count; /* a power of two */
    struct bb_list clock;
    struct result_ranges *ranges;
    struct sightings *sightings;
    struct bb_recent recent;
    uint64_t idle_records; /* since somebody may have asked for the newest keys */
    uint64_t seed, last_number;
    size_t bytes, bytes_max;
    uint8_t deployment[20]; /* key of the row that every run reads */
    struct results_stats stats;
};

/* ---- life ---- */

struct results *worker_results_new(size_t bytes_max, uint64_t seed)
{
    struct results *results = bb_alloc_zero(1, sizeof(*results));
    struct bb_id id;
    results->bucket_count = BUCKETS_MIN;
    while (results->bucket_count < bytes_max / BUCKET_BYTES) {
        results->bucket_count *= 2;
    }
    results->buckets = bb_alloc_zero(results->bucket_count, sizeof(struct result *));
    results->ranges = worker_result_ranges_new();
    results->sightings = worker_sightings_new();
    results->seed = seed;
    results->bytes_max = bytes_max;
    bb_list_init(&results->clock);
    bb_recent_init(&results->recent, RECENT_BYTES);
    bb_id_of_key(BB_TABLE_DEPLOYMENT, bb_slice_str("current"), &id);
    bb_put_be32(results->deployment, BB_INDEX_BY_ID(BB_TABLE_DEPLOYMENT));
    memcpy(results->deployment + 4, id.bytes, sizeof(id.bytes));
    return results;
}

static struct result **bucket_of(struct results *results, uint64_t hash)
{
    return &results->buckets[hash >> 1 & (results->bucket_count - 1)]; /* see() sets the lowest */
}

static void drop(struct results *results, struct result *result)
{
    struct result **at = bucket_of(results, result->hash);
    while (*at != result) {
        at = &(*at)->next;
    }
    *at = result->next;
    bb_list_remove(&result->clock);
    bb_list_remove(&result->doomed);
    for (size_t i = 0; i < result->use_count; i++) {
        worker_result_ranges_remove(results->ranges, &result->uses[i]);
    }
    results->bytes -= result->bytes;
    results->stats.count--;
    bb_free(result);
}

static void drop_all(struct results *results)
{
    while (!bb_list_is_empty(&results->clock)) {
        drop(results, bb_container(results->clock.next, struct result, clock));
    }
    bb_assert(results->bytes == 0 && results->stats.count == 0);
}

void worker_results_free(struct results *results)
{
    if (results == NULL) {
        return;
    }
    drop_all(results);
    worker_result_ranges_free(results->ranges);
    worker_sightings_free(results->sightings);
    bb_recent_fini(&results->recent);
    bb_free(results->buckets);
    bb_free(results);
}

void worker_results_forget(struct results *results, uint64_t cursor)
{
    drop_all(results);
    bb_recent_clear(&results->recent, cursor);
}

struct results_stats worker_results_stats(const struct results *results)
{
    struct results_stats stats = results->stats;
    stats.bytes = results->bytes + worker_result_ranges_bytes(results->ranges);
    return stats;
}

/* ---- the feed ---- */

static void doom(void *arg, struct result *result)
{
    struct bb_list *doomed = arg;
    bb_list_remove(&result->doomed); /* it may have read more than one of the keys */
    bb_list_push_back(doomed, &result->doomed);
}

void worker_results_written(struct results *results, uint64_t tx, const struct bb_slice *keys,
                            size_t count)
{
    struct bb_list doomed;
    bb_recent_add(&results->recent, tx, keys, count, results->idle_records++ < RECENT_RECORDS);
    if (results->stats.count == 0) {
        return;
    }
    bb_list_init(&doomed);
    for (size_t i = 0; i < count; i++) {
        worker_result_ranges_at(results->ranges, keys[i], doom, &doomed);
    }
    while (!bb_list_is_empty(&doomed)) {
        struct result *result = bb_container(doomed.next, struct result, doomed);
        bb_assert(result->since < tx);
        /* What is written between any two times that it is asked for is not worth being kept. */
        worker_sightings_forget(results->sightings, result->hash);
        results->stats.dropped++;
        drop(results, result);
    }
}

/* ---- finding ---- */

static bool matches(const struct result *result, const struct result_query *query)
{
    bool is_open = (!result->done.saw_identity ||
                    (!query->is_shared && bb_slice_equal(result->identity, query->identity))) &&
                   (!result->done.saw_random || bb_slice_equal(result->seed, query->seed));
    return is_open && bb_slice_equal(result->args, query->args) &&
           bb_slice_equal(result->path, query->path);
}

static struct result *find_in(struct results *results, const struct result_query *query,
                              uint64_t hash)
{
    for (struct result *result = *bucket_of(results, hash); result != NULL; result = result->next) {
        if (result->hash == hash && matches(result, query)) {
            return result;
        }
    }
    return NULL;
}

/* The one for everybody, or the caller's own. */
static struct result *find(struct results *results, const struct result_query *query,
                           const struct result_sight *sight)
{
    struct result *result = find_in(results, query, sight->hash);
    return result != NULL || query->is_shared ? result : find_in(results, query, sight->own_hash);
}

/* True: for the first time in this call. */
static bool see(struct results *results, const struct result_query *query,
                struct result_sight *sight)
{
    if (sight->hash != 0) {
        return false;
    }
    sight->hash = bb_hash64(query->args, bb_hash64(query->path, results->seed)) | 1;
    sight->own_hash = bb_hash64(query->identity, sight->hash) & ~UINT64_C(1);
    return true;
}

const Bb__Proto__SlotDone *worker_results_find(struct results *results,
                                               const struct result_query *query,
                                               struct result_sight *sight, uint64_t snapshot)
{
    bool is_first = see(results, query, sight);
    struct result *result = results->stats.count == 0 ? NULL : find(results, query, sight);
    if (result != NULL && result->since <= snapshot && (!result->is_for_admin || query->is_admin)) {
        result->is_used = true;
        results->stats.hits++;
        sight->number = result->number;
        return &result->done;
    }
    if (is_first) {
        results->stats.misses++;
        sight->was_seen = worker_sightings_add(results->sightings, sight->hash);
        sight->was_own_seen = query->identity.size > 0 && !query->is_shared
                                  ? worker_sightings_add(results->sightings, sight->own_hash)
                                  : sight->was_seen;
    }
    if (sight->was_seen) {
        results->idle_records = 0; /* what is written from now on will be asked for */
    }
    return NULL;
}

/* ---- keeping ---- */

static struct bb_slice of_pb(ProtobufCBinaryData data)
{
    return bb_slice(data.data, data.len);
}

/* In order, without an overlap, not too much, and with what every run reads. */
static bool are_ranges_whole(const struct results *results, const Bb__Proto__SlotDone *done)
{
    struct bb_slice deployment = bb_slice(results->deployment, sizeof(results->deployment));
    struct bb_slice end = BB_SLICE_EMPTY;
    bool has_deployment = false;
    size_t bytes = 0;
    for (size_t i = 0; i < done->n_reads; i++) {
        struct bb_slice low = of_pb(done->reads[i]->low);
        struct bb_slice high = of_pb(done->reads[i]->high);
        if (bb_slice_compare(end, low) > 0 || bb_slice_compare(low, high) >= 0) {
            return false;
        }
        has_deployment |=
            bb_slice_compare(low, deployment) <= 0 && bb_slice_compare(deployment, high) < 0;
        bytes += low.size + high.size;
        end = high;
    }
    return has_deployment && bytes <= RESULT_KEYS_MAX;
}

static bool may_keep(const struct results *results, const struct result_query *query,
                     const struct result_sight *sight, const Bb__Proto__SlotDone *done)
{
    bool came_before = done->saw_identity ? sight->was_own_seen : sight->was_seen;
    bool is_plain = done->status == BB_OK && done->body.len == 0 && done->n_logs == 0 &&
                    done->profile.len == 0 && done->trace[0] == '\0' && !done->saw_time &&
                    !(done->saw_identity && query->is_shared);
    return came_before && is_plain && done->value.len <= RESULT_VALUE_MAX &&
           done->n_reads <= RESULT_RANGES_MAX && are_ranges_whole(results, done);
}

/* Is the key inside of what was read? */
static bool is_read(void *arg, struct bb_slice key)
{
    const Bb__Proto__SlotDone *done = arg;
    size_t from = 0;
    size_t to = done->n_reads;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (bb_slice_compare(of_pb(done->reads[middle]->low), key) <= 0) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return from > 0 && bb_slice_compare(key, of_pb(done->reads[from - 1]->high)) < 0;
}

/* Nothing of what it read was written behind its moment, as far as the cursor. */
static bool holds_still(const struct results *results, uint64_t snapshot,
                        const Bb__Proto__SlotDone *done)
{
    union {
        const Bb__Proto__SlotDone *in;
        void *out;
    } arg = { .in = done };
    uint64_t hit_tx;
    return !bb_recent_hits(&results->recent, snapshot, is_read, arg.out, &hit_tx);
}

static struct bb_slice copy(uint8_t **at, struct bb_slice from)
{
    struct bb_slice to = bb_slice(*at, from.size);
    if (from.size > 0) {
        memcpy(*at, from.data, from.size);
    }
    *at += from.size;
    return to;
}

static void copy_done(struct result *result, const Bb__Proto__SlotDone *done, uint8_t **at)
{
    ProtobufCBinaryData value = { .len = done->value.len, .data = *at };
    (void)copy(at, of_pb(done->value));
    bb__proto__slot_done__init(&result->done);
    result->done.value = value;
    result->done.saw_identity = done->saw_identity;
    result->done.saw_random = done->saw_random;
}

static struct result *result_new(const struct result_query *query, const Bb__Proto__SlotDone *done)
{
    struct bb_slice identity = done->saw_identity ? query->identity : BB_SLICE_EMPTY;
    struct bb_slice seed = done->saw_random ? query->seed : BB_SLICE_EMPTY;
    size_t size = sizeof(struct result) +
                  done->n_reads * (sizeof(struct result_use) + sizeof(Bb__Proto__Range *)) +
                  query->path.size + query->args.size + identity.size + seed.size + done->value.len;
    struct result *result = bb_alloc(size);
    *result = (struct result){ .bytes = size,
                               .use_count = done->n_reads,
                               .is_for_admin = query->is_admin };
    Bb__Proto__Range **reads = (Bb__Proto__Range **)(void *)&result->uses[done->n_reads];
    uint8_t *at = (uint8_t *)&reads[done->n_reads];
    result->path = copy(&at, query->path);
    result->args = copy(&at, query->args);
    result->identity = copy(&at, identity);
    result->seed = copy(&at, seed);
    copy_done(result, done, &at);
    result->done.n_reads = done->n_reads;
    result->done.reads = reads;
    bb_list_init(&result->clock);
    bb_list_init(&result->doomed);
    return result;
}

static void register_ranges(struct results *results, struct result *result,
                            const Bb__Proto__SlotDone *done)
{
    for (size_t i = 0; i < result->use_count; i++) {
        result->uses[i].result = result;
        worker_result_ranges_add(results->ranges, &result->uses[i], of_pb(done->reads[i]->low),
                                 of_pb(done->reads[i]->high));
        result->done.reads[i] = worker_result_range_message(&result->uses[i]);
    }
}

/* What was not used since the hand came by goes first. */
static void make_room(struct results *results)
{
    while (worker_results_stats(results).bytes > results->bytes_max &&
           !bb_list_is_empty(&results->clock)) {
        struct result *result = bb_container(results->clock.next, struct result, clock);
        if (result->is_used) {
            result->is_used = false;
            bb_list_remove(&result->clock);
            bb_list_push_back(&results->clock, &result->clock);
        } else {
            drop(results, result);
        }
    }
}

void worker_results_add(struct results *results, const struct result_query *query,
                        const struct result_sight *sight, uint64_t snapshot,
                        const Bb__Proto__SlotDone *done)
{
    if (!may_keep(results, query, sight, done) || !holds_still(results, snapshot, done)) {
        return;
    }
    uint64_t hash = done->saw_identity ? sight->own_hash : sight->hash;
    struct result *old = find_in(results, query, hash);
    if (old != NULL && !(old->is_for_admin && !query->is_admin)) {
        return; /* another run of it ended before */
    }
    if (old != NULL) {
        drop(results, old);
    }
    struct result *result = result_new(query, done);
    struct result **bucket = bucket_of(results, hash);
    result->hash = hash;
    result->since = snapshot;
    result->number = ++results->last_number;
    result->next = *bucket;
    *bucket = result;
    bb_list_push_back(&results->clock, &result->clock);
    register_ranges(results, result, done);
    results->bytes += result->bytes;
    results->stats.count++;
    results->stats.kept++;
    make_room(results);
}
