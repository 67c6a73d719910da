/*
 * The cache against a model: random transactions, feed steps, reads at random moments whose needs
 * are answered late and out of order, evictions and rolled-back epochs. Whatever happens, a read at
 * S sees exactly the database at S. Beside it, slots that keep answers and hear of their ends with
 * each call: what they keep is exact, too.
 */
#include <criterion/criterion.h>

#include "bb/value.h"

#include "cache.h"
#include "copies.h"

#define DOCS      24
#define TXS_MAX   4000
#define READS_MAX 6
#define SLOTS     3
#define RANGES    64
#define TABLE     10u
#define INDEX     0x80000000u

struct doc {
    bool is_there;
    uint8_t field; /* what the index is on */
    uint8_t content;
    uint64_t tx;
};
struct state {
    struct doc doc[DOCS];
};
struct need_under_way {
    struct read_need need;
    uint64_t at;
};
struct open_read {
    bool is_open;
    struct bb_arena *arena;
    struct cache_read read;
    struct need_under_way needs[128];
    size_t need_count, answers;
};
/* What a slot keeps of a document: what it was in [from, to). */
struct kept {
    uint64_t from, to; /* from == 0: nothing */
    bool is_there;
    uint8_t content;
};
/* And what it keeps of a range. */
struct kept_range {
    uint64_t number, from, to; /* number == 0: nothing */
    uint8_t low[32], high[32];
    size_t low_size, high_size;
    bool is_descending, is_complete, has_documents;
    size_t count;
    uint8_t content[DOCS];
    uint8_t doc[DOCS];
};
struct keeper {
    struct kept doc[DOCS];
    struct kept_range range[RANGES];
    size_t range_at;
};
struct world {
    struct bb_ctx ctx;
    struct cache *cache;
    struct copies *copies;
    struct keeper slots[SLOTS];
    uint64_t recalled, ranges_recalled;
    struct state history[TXS_MAX];
    uint64_t last, cursor, durable;
    struct open_read open[READS_MAX];
    uint64_t random;
    uint64_t compared;
};

static uint64_t rnd(struct world *world, uint64_t below)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return world->random % below;
}

static struct bb_slice doc_key(struct bb_arena *arena, size_t doc)
{
    uint8_t *key = bb_arena_zero(arena, 1, 20);
    bb_put_be32(key, BB_INDEX_BY_ID(TABLE));
    key[4] = (uint8_t)doc;
    return bb_slice(key, 20);
}

static struct bb_slice index_key(struct bb_arena *arena, uint8_t field, size_t doc)
{
    uint8_t *key = bb_arena_zero(arena, 1, 30);
    bb_put_be32(key, INDEX);
    key[4] = field;
    key[14] = (uint8_t)doc;
    return bb_slice(key, 30);
}

static ProtobufCBinaryData pb(struct bb_slice slice)
{
    return (ProtobufCBinaryData){ .len = slice.size, .data = (uint8_t *)(uintptr_t)slice.data };
}

/* ---- transactions ---- */

static void sequence(struct world *world)
{
    if (world->last + 1 >= TXS_MAX) {
        return;
    }
    struct state *before = &world->history[world->last];
    struct state *after = &world->history[world->last + 1];
    *after = *before;
    uint64_t tx = ++world->last;
    for (uint64_t writes = 1 + rnd(world, 3); writes > 0; writes--) {
        struct doc *doc = &after->doc[rnd(world, DOCS)];
        if (doc->tx == tx) {
            continue; /* one write of a document in a transaction */
        }
        bool is_removed = doc->is_there && rnd(world, 3) == 0;
        *doc = (struct doc){ .is_there = !is_removed,
                             .field = rnd(world, 2) ? doc->field : (uint8_t)rnd(world, 8),
                             .content = (uint8_t)rnd(world, 256),
                             .tx = tx };
    }
}

static void feed(struct world *world)
{
    if (world->cursor == world->last) {
        return;
    }
    uint64_t tx = ++world->cursor;
    struct bb_arena *arena = bb_arena_new(0);
    Bb__Proto__Write writes[DOCS];
    Bb__Proto__Write *list[DOCS];
    Bb__Proto__TxBody body;
    bb__proto__tx_body__init(&body);
    body.writes = list;
    for (size_t i = 0; i < DOCS; i++) {
        const struct doc *old = &world->history[tx - 1].doc[i];
        const struct doc *new = &world->history[tx].doc[i];
        if (new->tx != tx || (!old->is_there && !new->is_there)) {
            continue;
        }
        Bb__Proto__Write *write = &writes[body.n_writes];
        bb__proto__write__init(write);
        write->table = TABLE;
        write->doc_key = pb(doc_key(arena, i));
        write->doc_op = !new->is_there  ? BB__PROTO__KEY_OP__KEY_REMOVE
                        : old->is_there ? BB__PROTO__KEY_OP__KEY_TOUCH
                                        : BB__PROTO__KEY_OP__KEY_PUT;
        write->doc = pb(bb_arena_dup(arena, bb_slice(&new->content, 1)));
        write->keys = bb_arena_alloc(arena, 2 * sizeof(Bb__Proto__IndexKey *));
        bool is_same = old->is_there && new->is_there && old->field == new->field;
        for (int side = 0; side < 2; side++) {
            const struct doc *doc = side == 0 ? old : new;
            if (!doc->is_there || (is_same && side == 0)) {
                continue;
            }
            Bb__Proto__IndexKey *key = bb_arena_alloc(arena, sizeof(*key));
            bb__proto__index_key__init(key);
            key->op = is_same     ? BB__PROTO__KEY_OP__KEY_TOUCH
                      : side == 0 ? BB__PROTO__KEY_OP__KEY_REMOVE
                                  : BB__PROTO__KEY_OP__KEY_PUT;
            key->key = pb(index_key(arena, doc->field, i));
            write->keys[write->n_keys++] = key;
        }
        list[body.n_writes++] = write;
    }
    (void)worker_cache_apply(&world->ctx, world->cache, &body, tx);
    for (size_t i = 0; i < body.n_writes; i++) {
        worker_copies_written(world->copies, bb_slice(list[i]->doc_key.data, list[i]->doc_key.len),
                              tx);
        for (size_t k = 0; k < list[i]->n_keys; k++) {
            const Bb__Proto__IndexKey *key = list[i]->keys[k];
            worker_copies_written(world->copies, bb_slice(key->key.data, key->key.len), tx);
        }
    }
    bb_arena_free(arena);
}

/* ---- what is true ---- */

struct row {
    struct bb_slice key;
    uint8_t content;
    uint64_t tx;
};

static int by_key(const void *a, const void *b)
{
    return bb_slice_compare(((const struct row *)a)->key, ((const struct row *)b)->key);
}

/* All rows of [low, high) at `at`, in order; a get has an empty `high`. */
static size_t truth(struct world *world, struct bb_arena *arena, struct bb_slice low,
                    struct bb_slice high, bool is_descending, uint64_t at, struct row rows[DOCS])
{
    size_t count = 0;
    bool is_index = bb_get_be32(low.data) == INDEX;
    for (size_t i = 0; i < DOCS; i++) {
        const struct doc *doc = &world->history[at].doc[i];
        struct bb_slice key = is_index ? index_key(arena, doc->field, i) : doc_key(arena, i);
        bool is_in = high.size == 0
                         ? bb_slice_equal(key, low)
                         : bb_slice_compare(key, low) >= 0 && bb_slice_compare(key, high) < 0;
        if (doc->is_there && is_in) {
            rows[count++] = (struct row){ .key = key, .content = doc->content, .tx = doc->tx };
        }
    }
    qsort(rows, count, sizeof(rows[0]), by_key);
    for (size_t i = 0; is_descending && i < count / 2; i++) {
        struct row swap = rows[i];
        rows[i] = rows[count - 1 - i];
        rows[count - 1 - i] = swap;
    }
    return count;
}

/* ---- what slots keep ---- */

static size_t doc_of(struct bb_slice key)
{
    return bb_get_be32(key.data) == INDEX ? key.data[14] : key.data[4];
}

static void give_range_to_slot(struct world *world, struct cache_read *read)
{
    size_t slot = rnd(world, SLOTS);
    struct bb_slice low, high;
    uint64_t since = worker_cache_since_range(world->cache, read, &low, &high);
    uint64_t number =
        since == 0 ? 0 : worker_copies_add_range(world->copies, slot, low, high, world->cursor);
    if (number == 0) {
        return;
    }
    cr_assert_leq(since, read->snapshot);
    struct keeper *keeper = &world->slots[slot];
    struct kept_range *range = &keeper->range[keeper->range_at++ % RANGES];
    *range = (struct kept_range){
        .number = number,
        .from = since,
        .to = UINT64_MAX,
        .low_size = read->low.size,
        .high_size = read->high.size,
        .is_descending = read->is_descending,
        .is_complete = read->is_complete,
        .has_documents = bb_get_be32(read->low.data) != INDEX || read->doc_index != 0,
        .count = read->entry_count,
    };
    memcpy(range->low, read->low.data, read->low.size);
    memcpy(range->high, read->high.data, read->high.size);
    for (size_t i = 0; i < read->entry_count; i++) {
        range->doc[i] = (uint8_t)doc_of(read->entries[i].key);
        range->content[i] = range->has_documents ? read->entries[i].value.data[0] : 0;
    }
}

static void use_range(struct world *world, const struct kept_range *range, uint64_t snapshot)
{
    struct bb_arena *arena = bb_arena_new(0);
    struct row rows[DOCS];
    if (range->number == 0 || snapshot < range->from || snapshot >= range->to) {
        bb_arena_free(arena);
        return;
    }
    size_t count =
        truth(world, arena, bb_slice(range->low, range->low_size),
              bb_slice(range->high, range->high_size), range->is_descending, snapshot, rows);
    cr_assert(range->is_complete ? range->count == count : range->count <= count,
              "%zu entries are kept, %zu are there", range->count, count);
    for (size_t i = 0; i < range->count; i++) {
        cr_assert_eq(range->doc[i], doc_of(rows[i].key), "entry %zu at %" PRIu64, i, snapshot);
        cr_assert(!range->has_documents || range->content[i] == rows[i].content);
    }
    world->ranges_recalled++;
    bb_arena_free(arena);
}

static void hear_of_ranges(struct keeper *keeper, const struct copies_news *news)
{
    for (size_t r = 0; r < RANGES; r++) {
        struct kept_range *range = &keeper->range[r];
        for (size_t i = 0; i < news->range_end_count; i++) {
            if (range->number == news->range_ends[i].number && news->range_ends[i].tx < range->to) {
                range->to = news->range_ends[i].tx;
            }
        }
        if (news->forgets) {
            range->number = 0;
        }
    }
}

/* A slot is given the answer of a get, and keeps it when it may. */
static void give_to_slot(struct world *world, struct cache_read *read)
{
    if (read->high.size > 0) {
        give_range_to_slot(world, read);
        return;
    }
    size_t slot = rnd(world, SLOTS);
    uint64_t since = worker_cache_since(world->cache, read->low, read->snapshot);
    if (since != 0 && worker_copies_add(world->copies, slot, read->low, world->cursor)) {
        bool is_there = read->entry_count > 0;
        world->slots[slot].doc[read->low.data[4]] =
            (struct kept){ .from = since,
                           .to = UINT64_MAX,
                           .is_there = is_there,
                           .content = is_there ? read->entries[0].value.data[0] : 0 };
    }
}

/* A slot gets a call at a random moment: it hears the news, and uses what it keeps. */
static void start_in_slot(struct world *world)
{
    size_t slot = rnd(world, SLOTS);
    struct kept *docs = world->slots[slot].doc;
    struct copies_news news = worker_copies_tell(world->copies, slot);
    uint64_t snapshot = rnd(world, world->cursor + 1);
    cr_assert(news.keeps);
    hear_of_ranges(&world->slots[slot], &news);
    for (size_t i = 0; i < RANGES; i++) {
        use_range(world, &world->slots[slot].range[i], snapshot);
        use_range(world, &world->slots[slot].range[i], world->cursor);
    }
    for (size_t i = 0; news.forgets && i < DOCS; i++) {
        docs[i].from = 0;
    }
    for (size_t i = 0; i < news.end_count; i++) {
        struct kept *kept = &docs[news.ends[i].key[4]];
        if (kept->from != 0 && kept->from < news.ends[i].tx && news.ends[i].tx < kept->to) {
            kept->to = news.ends[i].tx;
        }
    }
    for (size_t i = 0; i < DOCS; i++) {
        const struct doc *doc = &world->history[snapshot].doc[i];
        if (docs[i].from == 0 || snapshot < docs[i].from || snapshot >= docs[i].to) {
            continue;
        }
        cr_assert_eq(docs[i].is_there, doc->is_there, "document %zu at %" PRIu64, i, snapshot);
        cr_assert(!doc->is_there || docs[i].content == doc->content);
        world->recalled++;
    }
}

/* ---- reads ---- */

static void compare(struct world *world, struct open_read *open)
{
    struct cache_read *read = &open->read;
    struct row rows[DOCS];
    size_t count =
        truth(world, open->arena, read->low, read->high, read->is_descending, read->snapshot, rows);
    cr_assert_eq(read->status, BB_OK);
    size_t expected = read->limit > 0 && read->limit < count ? read->limit : count;
    if (read->is_bypass && !read->is_complete) {
        cr_assert_leq(read->entry_count, expected);
        expected = read->entry_count;
    }
    cr_assert_eq(read->entry_count, expected, "at %" PRIu64 ": %zu entries, not %zu",
                 read->snapshot, read->entry_count, expected);
    bool has_documents = bb_get_be32(read->low.data) != INDEX || read->doc_index != 0;
    for (size_t i = 0; i < expected; i++) {
        cr_assert(bb_slice_equal(read->entries[i].key, rows[i].key));
        if (has_documents) {
            cr_assert_eq(read->entries[i].value.size, 1);
            cr_assert_eq(read->entries[i].value.data[0], rows[i].content);
            cr_assert_eq(read->entries[i].tx, rows[i].tx);
        } else {
            cr_assert_eq(read->entries[i].value.size, 0);
        }
    }
    if (read->is_complete) {
        cr_assert_eq(expected, count);
    }
    if (read->is_complete || read->high.size > 0) {
        give_to_slot(world, read);
    }
    world->compared++;
}

static void close_read(struct open_read *open)
{
    bb_arena_free(open->arena);
    open->is_open = false;
}

static void step(struct world *world, struct open_read *open)
{
    if (worker_cache_step(world->cache, &open->read)) {
        compare(world, open);
        close_read(open);
        return;
    }
    uint64_t newest = world->durable < world->cursor ? world->durable : world->cursor;
    for (size_t i = 0; i < open->read.need_count; i++) {
        uint64_t at = open->read.snapshot < newest ? open->read.snapshot : newest;
        open->needs[open->need_count++] = (struct need_under_way){
            .need = open->read.needs[i],
            .at = open->read.is_bypass ? open->read.snapshot : at,
        };
        cr_assert_lt(open->need_count, BB_COUNT_OF(open->needs));
    }
}

static void begin_read(struct world *world, struct open_read *open)
{
    struct bb_arena *arena = bb_arena_new(0);
    *open = (struct open_read){ .is_open = true, .arena = arena };
    bool is_index = rnd(world, 2) == 0;
    bool is_get = rnd(world, 3) == 0;
    struct bb_slice a, b;
    if (is_get || !is_index) {
        a = doc_key(arena, rnd(world, DOCS));
        b = doc_key(arena, rnd(world, DOCS));
        is_index = false;
    } else {
        a = index_key(arena, (uint8_t)rnd(world, 8), 0);
        b = index_key(arena, (uint8_t)rnd(world, 9), 0);
    }
    bool is_ordered = bb_slice_compare(a, b) < 0;
    /* Mostly moments that the cache may know, sometimes one that it has let go. */
    uint64_t oldest = rnd(world, 8) == 0 ? 0 : worker_cache_floor(world->cache);
    open->read = (struct cache_read){
        .arena = arena,
        .low = is_get || is_ordered ? a : b,
        .high = is_get       ? BB_SLICE_EMPTY
                : is_ordered ? b
                             : a,
        .is_descending = !is_get && rnd(world, 2) == 0,
        .limit = is_get || rnd(world, 2) ? 0 : 1 + (uint32_t)rnd(world, 5),
        .doc_index = is_index && rnd(world, 3) ? BB_INDEX_BY_ID(TABLE) : 0,
        .snapshot = oldest + rnd(world, world->cursor - oldest + 1),
    };
    step(world, open);
}

/* Storage answers one need, perhaps with a part of it only. */
static void answer(struct world *world, struct open_read *open)
{
    if (open->need_count == 0) {
        return;
    }
    size_t pick = rnd(world, open->need_count);
    struct need_under_way under_way = open->needs[pick];
    open->needs[pick] = open->needs[--open->need_count];
    struct row rows[DOCS];
    const struct read_need *need = &under_way.need;
    size_t count =
        truth(world, open->arena, need->low, need->high, need->is_descending, under_way.at, rows);
    bool is_complete = true;
    if (need->limit > 0 && need->limit < count) {
        count = need->limit;
        is_complete = false;
    }
    if (need->high.size > 0 && count > 1 && rnd(world, 3) == 0) {
        count = 1 + rnd(world, count - 1);
        is_complete = false;
    }
    bool has_documents = bb_get_be32(need->low.data) != INDEX || need->doc_index != 0;
    struct fill_entry entries[DOCS];
    for (size_t i = 0; i < count; i++) {
        entries[i] = (struct fill_entry){ .key = rows[i].key };
        if (has_documents) {
            entries[i].value = bb_arena_dup(open->arena, bb_slice(&rows[i].content, 1));
            entries[i].tx = rows[i].tx;
        }
    }
    struct cache_fill fill = {
        .at = under_way.at, .entries = entries, .count = count, .is_complete = is_complete
    };
    worker_cache_fill(&world->ctx, world->cache, &open->read, need, &fill);
    cr_assert_lt(open->answers++, 20 * DOCS, "what was answered is known");
    if (open->need_count == 0) {
        step(world, open);
    }
}

static uint64_t horizon(struct world *world)
{
    uint64_t least = world->durable < world->cursor ? world->durable : world->cursor;
    uint64_t floor = worker_cache_floor(world->cache);
    for (size_t i = 0; i < READS_MAX; i++) {
        const struct open_read *open = &world->open[i];
        if (open->is_open && open->read.snapshot >= floor && open->read.snapshot < least) {
            least = open->read.snapshot;
        }
        for (size_t n = 0; open->is_open && n < open->need_count; n++) {
            if (open->needs[n].at >= floor && open->needs[n].at < least) {
                least = open->needs[n].at;
            }
        }
    }
    return least;
}

/* The sequencer died: what is not durable never happened. */
static void new_epoch(struct world *world)
{
    for (size_t i = 0; i < READS_MAX; i++) {
        if (world->open[i].is_open && world->open[i].read.snapshot > world->durable) {
            close_read(&world->open[i]);
        }
    }
    if (world->cursor > world->durable) {
        world->cursor = world->durable;
        worker_cache_drop_after(world->cache, world->durable);
    }
    worker_copies_forget(world->copies);
    world->last = world->durable;
}

static uint64_t run(uint64_t seed, size_t cache_bytes)
{
    struct world *world = bb_alloc_zero(1, sizeof(*world));
    world->random = seed * 0x9e3779b97f4a7c15u + 1;
    world->cache = worker_cache_new(cache_bytes);
    worker_cache_reset(world->cache, 0);
    world->copies = worker_copies_new(SLOTS);
    for (int i = 0; i < 20000 && world->last + 1 < TXS_MAX; i++) {
        struct open_read *open = &world->open[rnd(world, READS_MAX)];
        switch (rnd(world, 16)) {
        case 0:
        case 1:
            sequence(world);
            break;
        case 2:
        case 3:
            feed(world);
            break;
        case 4:
            world->durable += rnd(world, world->last - world->durable + 1);
            break;
        case 5:
            worker_cache_prune(world->cache, horizon(world));
            break;
        case 6:
            if (rnd(world, 40) == 0) {
                new_epoch(world);
            } else if (rnd(world, 80) == 0 && world->durable == world->cursor) {
                worker_cache_reset(world->cache, world->cursor);
                worker_copies_forget(world->copies);
            }
            break;
        case 7:
            start_in_slot(world);
            break;
        default:
            if (open->is_open) {
                answer(world, open);
            } else {
                begin_read(world, open);
            }
            break;
        }
    }
    uint64_t compared = world->compared;
    for (size_t i = 0; i < READS_MAX; i++) {
        if (world->open[i].is_open) {
            close_read(&world->open[i]);
        }
    }
    struct cache_stats stats = worker_cache_stats(world->cache);
    cr_assert_gt(stats.hits, 0);
    cr_assert_gt(world->recalled, 0);
    cr_assert_gt(world->ranges_recalled, 0);
    worker_copies_free(world->copies);
    worker_cache_free(world->cache);
    bb_free(world);
    return compared;
}

Test(cache, a_read_sees_exactly_its_moment)
{
    uint64_t compared = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        compared += run(seed, 64u << 20);
    }
    cr_assert_gt(compared, 20000);
}

Test(cache, a_read_sees_exactly_its_moment_while_ranges_are_evicted)
{
    uint64_t compared = 0;
    for (uint64_t seed = 101; seed <= 130; seed++) {
        compared += run(seed, 3000);
    }
    cr_assert_gt(compared, 10000);
}
