/* Results that are kept, against a model that computes every query again at its moment. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "bb/value.h"

#include "result_ranges.h"
#include "results.h"
#include "sightings.h"

#define KEYS      32
#define QUERIES   24
#define VERSIONS  4096
#define RUNS      12
#define KEY_SIZE  20
#define PARTS_MAX 4

/* ---- a database of versions ---- */

#define NUMBERS 65536u

struct world {
    struct results *results;
    uint64_t random;
    uint64_t versions[KEYS][VERSIONS]; /* txs that wrote it, in order */
    size_t version_count[KEYS];
    uint64_t told[NUMBERS]; /* the value of each number of a result */
    uint64_t cursor;
    uint8_t deployment[KEY_SIZE];
    uint64_t deployments[VERSIONS];
    size_t deployment_count;
};

/* What a query reads: the deployment, and up to PARTS_MAX points or ranges. */
struct part {
    unsigned low, high; /* keys [low, high); high == low: the one alone */
};

static uint64_t next(struct world *w, uint64_t below)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (w->random >> 33) % below;
}

static struct bb_slice key_of(uint8_t bytes[KEY_SIZE], unsigned number)
{
    memset(bytes, 'k', KEY_SIZE);
    bytes[KEY_SIZE - 1] = (uint8_t)(2 * number); /* room between any two */
    return bb_slice(bytes, KEY_SIZE);
}

static void world_init(struct world *w, uint64_t seed, size_t bytes_max)
{
    struct bb_id id;
    *w = (struct world){ .random = seed, .cursor = 1000 };
    w->results = worker_results_new(bytes_max, seed);
    bb_id_of_key(BB_TABLE_DEPLOYMENT, bb_slice_str("current"), &id);
    bb_put_be32(w->deployment, BB_INDEX_BY_ID(BB_TABLE_DEPLOYMENT));
    memcpy(w->deployment + 4, id.bytes, sizeof(id.bytes));
    worker_results_forget(w->results, w->cursor);
}

static uint64_t newest(const uint64_t *versions, size_t count, uint64_t at)
{
    while (count > 0 && versions[count - 1] > at) {
        count--;
    }
    return count == 0 ? 0 : versions[count - 1];
}

/* ---- queries ---- */

static size_t parts_of(unsigned query, struct part parts[PARTS_MAX])
{
    struct world fixed = { .random = 77 + query };
    size_t count = 1 + next(&fixed, PARTS_MAX - 1);
    unsigned from = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned low = from + (unsigned)next(&fixed, KEYS / PARTS_MAX);
        unsigned size = next(&fixed, 2) == 0 ? 0 : 1 + (unsigned)next(&fixed, KEYS / PARTS_MAX);
        parts[i] = (struct part){ low, low + size > KEYS ? KEYS : low + size };
        from = parts[i].high + 1;
        if (from + KEYS / PARTS_MAX >= KEYS) {
            return i + 1;
        }
    }
    return count;
}

/* Some look at who asks, some at chance. */
static bool looks_at_identity(unsigned query)
{
    return query % 4 == 1;
}

static bool looks_at_chance(unsigned query)
{
    return query % 6 == 2;
}

static uint64_t value_at(const struct world *w, unsigned query, const struct result_query *asked,
                         uint64_t at)
{
    struct part parts[PARTS_MAX];
    size_t count = parts_of(query, parts);
    uint64_t hash = newest(w->deployments, w->deployment_count, at);
    if (looks_at_identity(query)) {
        hash = bb_hash64(asked->identity, hash);
    }
    if (looks_at_chance(query)) {
        hash = bb_hash64(asked->seed, hash);
    }
    for (size_t i = 0; i < count; i++) {
        for (unsigned key = parts[i].low; key < parts[i].high || key == parts[i].low; key++) {
            uint64_t version = newest(w->versions[key], w->version_count[key], at);
            hash = bb_hash64(bb_slice(&version, sizeof(version)), hash + key);
        }
    }
    return hash;
}

struct answer {
    Bb__Proto__SlotDone done;
    Bb__Proto__Range ranges[PARTS_MAX + 1], *list[PARTS_MAX + 1];
    uint8_t ends[PARTS_MAX + 1][2][KEY_SIZE + 1];
    uint64_t value;
};

static void put_range(struct answer *answer, const uint8_t *low, const uint8_t *high,
                      size_t high_size)
{
    size_t at = answer->done.n_reads++;
    memcpy(answer->ends[at][0], low, KEY_SIZE);
    memset(answer->ends[at][1], 0, KEY_SIZE + 1);
    memcpy(answer->ends[at][1], high, KEY_SIZE);
    bb__proto__range__init(&answer->ranges[at]);
    answer->ranges[at].low = (ProtobufCBinaryData){ .len = KEY_SIZE, .data = answer->ends[at][0] };
    answer->ranges[at].high =
        (ProtobufCBinaryData){ .len = high_size, .data = answer->ends[at][1] };
    answer->list[at] = &answer->ranges[at];
}

static void run(const struct world *w, unsigned query, const struct result_query *asked,
                uint64_t at, struct answer *answer)
{
    struct part parts[PARTS_MAX];
    size_t count = parts_of(query, parts);
    *answer = (struct answer){ .value = value_at(w, query, asked, at) };
    bb__proto__slot_done__init(&answer->done);
    put_range(answer, w->deployment, w->deployment, KEY_SIZE + 1);
    for (size_t i = 0; i < count; i++) {
        uint8_t low[KEY_SIZE], high[KEY_SIZE];
        bool is_point = parts[i].high == parts[i].low;
        (void)key_of(low, parts[i].low);
        (void)key_of(high, parts[i].high);
        put_range(answer, low, high, is_point ? KEY_SIZE + 1 : KEY_SIZE);
    }
    answer->done.reads = answer->list;
    answer->done.value =
        (ProtobufCBinaryData){ .len = sizeof(answer->value), .data = (uint8_t *)&answer->value };
    answer->done.saw_identity = looks_at_identity(query);
    answer->done.saw_random = looks_at_chance(query);
}

static struct result_query ask(unsigned query, unsigned who)
{
    static char paths[QUERIES][8];
    static const char *const people[] = { "", "{\"subject\":\"ann\"}", "{\"subject\":\"bob\"}" };
    static const char *const seeds[] = { "0123456789abcdef", "fedcba9876543210" };
    (void)snprintf(paths[query], sizeof(paths[query]), "f:q%u", query);
    return (struct result_query){ .path = bb_slice_str(paths[query]),
                                  .args = bb_slice_str("args"),
                                  .identity = bb_slice_str(people[who % 3]),
                                  .seed = bb_slice_str(seeds[who / 3 % 2]),
                                  .is_shared = who >= 6 && !looks_at_identity(query),
                                  .is_admin = who % 5 == 4 };
}

/* ---- random histories ---- */

struct pending {
    unsigned query, who;
    uint64_t at;
    struct result_sight sight;
};

static void write_some(struct world *w)
{
    uint8_t bytes[4][KEY_SIZE];
    struct bb_slice keys[4];
    size_t count = 0;
    w->cursor += 1 + next(w, 3);
    for (size_t left = next(w, 4); left > 0; left--) {
        unsigned key = (unsigned)next(w, KEYS);
        uint64_t *versions = w->versions[key];
        size_t *had = &w->version_count[key];
        if (*had > 0 && versions[*had - 1] == w->cursor) {
            continue;
        }
        versions[(*had)++] = w->cursor;
        keys[count] = key_of(bytes[count], key);
        count++;
    }
    if (next(w, 40) == 0) {
        w->deployments[w->deployment_count++] = w->cursor;
        keys[count++] = bb_slice(w->deployment, KEY_SIZE);
    }
    worker_results_written(w->results, w->cursor, keys, count);
}

/* What came after `tx` never happened. */
static void roll_back(struct world *w, uint64_t tx)
{
    for (size_t key = 0; key < KEYS; key++) {
        while (w->version_count[key] > 0 && w->versions[key][w->version_count[key] - 1] > tx) {
            w->version_count[key]--;
        }
    }
    while (w->deployment_count > 0 && w->deployments[w->deployment_count - 1] > tx) {
        w->deployment_count--;
    }
    w->cursor = tx;
    worker_results_forget(w->results, tx);
}

static void look(struct world *w, struct pending *pending, size_t *count)
{
    unsigned query = (unsigned)next(w, QUERIES);
    unsigned who = (unsigned)next(w, 9);
    const struct result_query asked = ask(query, who);
    struct pending made = { .query = query, .who = who, .at = w->cursor - next(w, 12) };
    const Bb__Proto__SlotDone *done = worker_results_find(w->results, &asked, &made.sight, made.at);
    if (done == NULL) {
        if (*count < RUNS) {
            pending[(*count)++] = made;
        }
        return;
    }
    uint64_t wanted = value_at(w, query, &asked, made.at);
    uint64_t found;
    cr_assert_eq(done->value.len, sizeof(found));
    memcpy(&found, done->value.data, sizeof(found));
    cr_assert_eq(found, wanted, "query %u at %" PRIu64 " of %" PRIu64, query, made.at, w->cursor);
    cr_assert(made.sight.number > 0 && made.sight.number < NUMBERS);
    uint64_t *told = &w->told[made.sight.number];
    cr_assert(*told == 0 || *told == found, "number %" PRIu64 " was of another value",
              made.sight.number);
    *told = found;
    struct answer answer;
    run(w, query, &asked, made.at, &answer);
    cr_assert_eq(done->n_reads, answer.done.n_reads);
    for (size_t i = 0; i < done->n_reads; i++) {
        cr_assert(bb_slice_equal(bb_slice(done->reads[i]->low.data, done->reads[i]->low.len),
                                 bb_slice(answer.ranges[i].low.data, answer.ranges[i].low.len)));
        cr_assert(bb_slice_equal(bb_slice(done->reads[i]->high.data, done->reads[i]->high.len),
                                 bb_slice(answer.ranges[i].high.data, answer.ranges[i].high.len)));
    }
}

static void end_one(struct world *w, struct pending *pending, size_t *count)
{
    if (*count == 0) {
        return;
    }
    size_t at = next(w, *count);
    const struct result_query asked = ask(pending[at].query, pending[at].who);
    struct answer answer;
    run(w, pending[at].query, &asked, pending[at].at, &answer);
    worker_results_add(w->results, &asked, &pending[at].sight, pending[at].at, &answer.done);
    pending[at] = pending[--*count];
}

static struct results_stats history(uint64_t seed, size_t bytes_max)
{
    static struct world world;
    struct world *w = &world;
    struct pending pending[RUNS];
    size_t count = 0;
    world_init(w, seed, bytes_max);
    for (unsigned step = 0; step < 4000; step++) {
        uint64_t what = next(w, 1000);
        if (what < 150) {
            write_some(w);
        } else if (what < 600) {
            look(w, pending, &count);
        } else if (what < 998) {
            end_one(w, pending, &count);
        } else {
            roll_back(w, w->cursor - next(w, 20));
            count = 0; /* what ran in an epoch that is over is not kept */
        }
        cr_assert_leq(worker_results_stats(w->results).bytes, bytes_max);
    }
    struct results_stats stats = worker_results_stats(w->results);
    worker_results_free(w->results);
    return stats;
}

Test(results, what_is_found_is_what_a_run_at_that_moment_gives, .timeout = 60)
{
    uint64_t hits = 0;
    uint64_t dropped = 0;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct results_stats stats = history(seed, 1u << 20);
        hits += stats.hits;
        dropped += stats.dropped;
    }
    cr_assert_gt(hits, 3000u, "it looked at %" PRIu64, hits);
    cr_assert_gt(dropped, 1000u, "%" PRIu64 " were ended by a write", dropped);
}

Test(results, memory_is_bounded_and_what_is_left_is_right, .timeout = 60)
{
    uint64_t hits = 0;
    for (uint64_t seed = 101; seed <= 120; seed++) {
        hits += history(seed, 4096).hits;
    }
    cr_assert_gt(hits, 100u, "it looked at %" PRIu64, hits);
}

/* ---- what is kept ---- */

static struct world calm;

/* Asks and runs twice, as two callers do one after the other; what is there then? */
static const Bb__Proto__SlotDone *after_two(const struct result_query *asked,
                                            void (*change)(struct answer *answer))
{
    struct answer answer;
    for (unsigned i = 0; i < 2; i++) {
        struct result_sight sight = { 0 };
        const Bb__Proto__SlotDone *found =
            worker_results_find(calm.results, asked, &sight, calm.cursor);
        if (found != NULL) {
            return found; /* it had come before */
        }
        run(&calm, 0, asked, calm.cursor, &answer);
        if (change != NULL) {
            change(&answer);
        }
        worker_results_add(calm.results, asked, &sight, calm.cursor, &answer.done);
    }
    struct result_sight sight = { 0 };
    return worker_results_find(calm.results, asked, &sight, calm.cursor);
}

static void start_calm(void)
{
    world_init(&calm, 1, 1u << 20);
}

static void end_calm(void)
{
    worker_results_free(calm.results);
}

static void saw_time(struct answer *answer)
{
    answer->done.saw_time = true;
}

static void failed(struct answer *answer)
{
    answer->done.status = BB_USER_ERROR;
}

static void wrote(struct answer *answer)
{
    answer->done.body = answer->done.value;
}

static void logged(struct answer *answer)
{
    static Bb__Proto__LogLine line, *lines[] = { &line };
    bb__proto__log_line__init(&line);
    answer->done.n_logs = 1;
    answer->done.logs = lines;
}

static void was_traced(struct answer *answer)
{
    static char trace[] = "{}";
    answer->done.trace = trace;
}

static void is_large(struct answer *answer)
{
    static uint8_t large[RESULT_VALUE_MAX + 1];
    answer->done.value = (ProtobufCBinaryData){ .len = sizeof(large), .data = large };
}

static void lacks_deployment(struct answer *answer)
{
    answer->done.n_reads--;
    answer->done.reads++;
}

static void is_out_of_order(struct answer *answer)
{
    Bb__Proto__Range *first = answer->list[0];
    answer->list[0] = answer->list[1];
    answer->list[1] = first;
}

static void saw_identity(struct answer *answer)
{
    answer->done.saw_identity = true;
}

static void saw_random(struct answer *answer)
{
    answer->done.saw_random = true;
}

Test(results, only_what_depends_on_nothing_else_is_kept, .init = start_calm, .fini = end_calm)
{
    static void (*const changes[])(struct answer *) = { saw_time,         failed,         wrote,
                                                        logged,           was_traced,     is_large,
                                                        lacks_deployment, is_out_of_order };
    const struct result_query asked = ask(0, 0);
    for (size_t i = 0; i < BB_COUNT_OF(changes); i++) {
        cr_expect_null(after_two(&asked, changes[i]), "change %zu", i);
        cr_expect_eq(worker_results_stats(calm.results).kept, 0u);
    }
    cr_expect_not_null(after_two(&asked, NULL));
}

Test(results, a_query_that_comes_once_is_not_kept, .init = start_calm, .fini = end_calm)
{
    const struct result_query asked = ask(0, 0);
    struct result_sight sight = { 0 };
    struct answer answer;
    cr_assert_null(worker_results_find(calm.results, &asked, &sight, calm.cursor));
    cr_assert_null(worker_results_find(calm.results, &asked, &sight, calm.cursor),
                   "the same call looks once more");
    run(&calm, 0, &asked, calm.cursor, &answer);
    worker_results_add(calm.results, &asked, &sight, calm.cursor, &answer.done);
    cr_expect_eq(worker_results_stats(calm.results).count, 0u);
    cr_expect_eq(worker_results_stats(calm.results).misses, 1u);
}

Test(results, what_looked_at_the_caller_is_the_callers_own, .init = start_calm, .fini = end_calm)
{
    const struct result_query ann = ask(0, 1);
    const struct result_query bob = ask(0, 2);
    struct result_query nobody = ask(0, 0);
    struct result_sight sights[3] = { { 0 } };
    cr_assert_not_null(after_two(&ann, saw_identity));
    cr_expect_null(worker_results_find(calm.results, &bob, &sights[0], calm.cursor));
    cr_expect_null(worker_results_find(calm.results, &nobody, &sights[1], calm.cursor));
    nobody.is_shared = true;
    cr_expect_null(worker_results_find(calm.results, &nobody, &sights[2], calm.cursor));
}

Test(results, what_was_run_for_everybody_and_caught_the_refusal_is_not_kept, .init = start_calm,
     .fini = end_calm)
{
    struct result_query nobody = ask(0, 0);
    nobody.is_shared = true;
    cr_expect_null(after_two(&nobody, saw_identity));
}

Test(results, what_did_not_look_at_the_caller_is_everybodys, .init = start_calm, .fini = end_calm)
{
    const struct result_query ann = ask(0, 1);
    struct result_query shared = ask(0, 0);
    struct result_sight sights[2] = { { 0 } };
    shared.is_shared = true;
    cr_assert_not_null(after_two(&ann, NULL));
    const struct result_query bob = ask(0, 2);
    cr_expect_not_null(worker_results_find(calm.results, &bob, &sights[0], calm.cursor));
    cr_expect_not_null(worker_results_find(calm.results, &shared, &sights[1], calm.cursor));
}

Test(results, chance_is_that_of_the_seed, .init = start_calm, .fini = end_calm)
{
    const struct result_query one = ask(0, 0);
    const struct result_query other = ask(0, 3);
    struct result_sight sight = { 0 };
    cr_assert_not(bb_slice_equal(one.seed, other.seed));
    cr_assert_not_null(after_two(&one, saw_random));
    cr_expect_null(worker_results_find(calm.results, &other, &sight, calm.cursor));
}

Test(results, what_was_run_for_an_admin_is_not_for_others_until_one_has_run_it, .init = start_calm,
     .fini = end_calm)
{
    struct result_query asked = ask(0, 0);
    asked.is_admin = true;
    cr_assert_not_null(after_two(&asked, NULL));
    asked.is_admin = false;
    cr_expect_not_null(after_two(&asked, NULL), "it may not be internal, as a run has shown");
    asked.is_admin = true;
    struct result_sight sight = { 0 };
    cr_expect_not_null(worker_results_find(calm.results, &asked, &sight, calm.cursor));
}

Test(results, before_its_moment_a_result_says_nothing, .init = start_calm, .fini = end_calm)
{
    const struct result_query asked = ask(0, 0);
    struct result_sight sight = { 0 };
    cr_assert_not_null(after_two(&asked, NULL));
    cr_expect_null(worker_results_find(calm.results, &asked, &sight, calm.cursor - 1));
}

Test(results, what_was_written_while_it_ran_is_seen, .init = start_calm, .fini = end_calm)
{
    struct part parts[PARTS_MAX];
    size_t count = parts_of(0, parts);
    const struct result_query asked = ask(0, 0);
    for (size_t i = 0; i < 2; i++) {
        uint8_t bytes[KEY_SIZE];
        struct result_sight sight = { 0 };
        struct answer answer;
        uint64_t at = calm.cursor;
        (void)worker_results_find(calm.results, &asked, &sight, at);
        run(&calm, 0, &asked, at, &answer);
        struct bb_slice key = key_of(bytes, parts[count - 1].low);
        worker_results_written(calm.results, ++calm.cursor, &key, 1);
        worker_results_add(calm.results, &asked, &sight, at, &answer.done);
        cr_expect_eq(worker_results_stats(calm.results).count, 0u);
    }
    cr_expect_not_null(after_two(&asked, NULL));
}

/* ---- sightings ---- */

Test(sightings, what_came_is_known_for_a_while_and_not_for_ever)
{
    struct sightings *sightings = worker_sightings_new();
    cr_expect_not(worker_sightings_add(sightings, 0x1234567890abcdef));
    cr_expect(worker_sightings_add(sightings, 0x1234567890abcdef));
    worker_sightings_forget(sightings, 0x1234567890abcdef);
    cr_expect_not(worker_sightings_add(sightings, 0x1234567890abcdef));
    for (uint64_t i = 0; i < 200000; i++) {
        (void)worker_sightings_add(sightings, bb_hash64(bb_slice(&i, sizeof(i)), 1));
    }
    cr_expect_not(worker_sightings_add(sightings, 0x1234567890abcdef));
    worker_sightings_free(sightings);
}
