#include "world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "common.pb-c.h"

static uint64_t clock_now(struct bb_env *env)
{
    return ((struct world *)(void *)env)->now_us;
}

uint64_t world_random(struct world *world, uint64_t limit)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return world->random % limit;
}

static void open_store(struct world *world)
{
    int rc = bb_store_open(&world->ctx, &world->options, &world->store);
    cr_assert_eq(rc, BB_OK, "%s", world->ctx.error);
}

void world_init(struct world *world, uint64_t seed)
{
    memset(world, 0, sizeof(*world));
    world->ops = *bb_env_real()->ops;
    world->ops.now_us = clock_now;
    world->env.ops = &world->ops;
    world->now_us = 1000000;
    world->ctx = (struct bb_ctx){ .env = &world->env, .arena = bb_arena_new(0) };
    world->random = seed * 0x9e3779b97f4a7c15u + 1;
    world->tx = 1000;
    folder_make(&world->folder, NULL);
    world->options = (struct bb_store_options){ .dir = world->folder.path,
                                                .reader_count = READERS,
                                                .map_bytes = 1u << 30,
                                                .gather = (enum bb_store_gather)(seed % 3),
                                                .gather_runs = 1 + (uint32_t)(seed % 5),
                                                .has_no_thread = true };
    open_store(world);
    /* The first entry sets the tx from which on transactions count. */
    struct bb_store_state state = { .index = 1, .epoch = 1, .opaque = bb_slice_str("claim") };
    cr_assert_eq(bb_store_apply(&world->ctx, world->store, &state, BB_SLICE_EMPTY), BB_OK);
    world->log = bb_alloc_zero(1, sizeof(world->log[0]));
    world->log_count = world->log_capacity = 1;
    world->log[0].state = state;
}

void world_fini(struct world *world)
{
    cr_assert_eq(bb_store_close(&world->ctx, world->store), BB_OK, "%s", world->ctx.error);
    for (size_t i = 0; i < world->version_count; i++) {
        bb_free((void *)(uintptr_t)world->versions[i].key.data);
        bb_free((void *)(uintptr_t)world->versions[i].value.data);
    }
    for (size_t i = 0; i < world->log_count; i++) {
        bb_buf_fini(&world->log[i].batch);
    }
    bb_free(world->versions);
    bb_free(world->log);
    bb_arena_free(world->ctx.arena);
    folder_remove(&world->folder);
}

/* ---- transactions ---- */

struct bb_slice world_doc_key(uint32_t doc, uint8_t key[20])
{
    memset(key, 0, 20);
    bb_put_be32(key, DOC_INDEX);
    bb_put_be32(key + 4, doc * 2654435761u);
    bb_put_be32(key + 16, doc);
    return bb_slice(key, 20);
}

static struct bb_slice index_key(uint32_t doc, const struct doc *content, uint8_t *key)
{
    uint8_t doc_key[20];
    (void)world_doc_key(doc, doc_key);
    bb_put_be32(key, BY_FIELD);
    memcpy(key + 4, content->field, content->field_size);
    memcpy(key + 4 + content->field_size, doc_key + 4, 16);
    return bb_slice(key, 4 + content->field_size + 16);
}

static void remember(struct world *world, struct bb_slice key, struct bb_slice value, uint64_t tx,
                     bool is_remove)
{
    if (world->version_count == world->version_capacity) {
        world->version_capacity = world->version_capacity * 2 + 64;
        world->versions =
            bb_realloc(world->versions, world->version_capacity * sizeof(world->versions[0]));
    }
    world->versions[world->version_count++] = (struct version){
        .key = bb_slice_dup(key), .value = bb_slice_dup(value), .tx = tx, .is_remove = is_remove
    };
}

static ProtobufCBinaryData pb(struct bb_arena *arena, struct bb_slice slice)
{
    struct bb_slice copy = bb_arena_dup(arena, slice);
    return (ProtobufCBinaryData){ .len = copy.size, .data = (uint8_t *)(uintptr_t)copy.data };
}

static void add_key(struct world *world, Bb__Proto__Write *write, struct bb_slice key,
                    Bb__Proto__KeyOp op, uint64_t tx)
{
    struct bb_arena *arena = world->ctx.arena;
    Bb__Proto__IndexKey *index = bb_arena_alloc(arena, sizeof(*index));
    bb__proto__index_key__init(index);
    index->key = pb(arena, key);
    index->op = op;
    write->keys[write->n_keys++] = index;
    if (op != BB__PROTO__KEY_OP__KEY_TOUCH) {
        remember(world, key, BB_SLICE_EMPTY, tx, op == BB__PROTO__KEY_OP__KEY_REMOVE);
    }
}

static Bb__Proto__Write *make_write(struct world *world, uint32_t number, const struct doc *after,
                                    struct bb_slice text, uint64_t tx)
{
    struct bb_arena *arena = world->ctx.arena;
    struct doc *before = &world->docs[number];
    uint8_t doc_key[20], old_key[800], new_key[800];
    Bb__Proto__Write *write = bb_arena_alloc(arena, sizeof(*write));
    bb__proto__write__init(write);
    write->keys = bb_arena_zero(arena, 2, sizeof(write->keys[0]));
    write->doc_key = pb(arena, world_doc_key(number, doc_key));
    write->doc_op = !after->exists   ? BB__PROTO__KEY_OP__KEY_REMOVE
                    : before->exists ? BB__PROTO__KEY_OP__KEY_TOUCH
                                     : BB__PROTO__KEY_OP__KEY_PUT;
    if (after->exists) {
        write->doc = pb(arena, text);
    }
    remember(world, bb_slice(doc_key, 20), after->exists ? text : BB_SLICE_EMPTY, tx,
             !after->exists);
    struct bb_slice old = before->exists ? index_key(number, before, old_key) : BB_SLICE_EMPTY;
    struct bb_slice new = after->exists ? index_key(number, after, new_key) : BB_SLICE_EMPTY;
    if (old.size > 0 && bb_slice_equal(old, new)) {
        add_key(world, write, old, BB__PROTO__KEY_OP__KEY_TOUCH, tx);
    } else {
        if (old.size > 0) {
            add_key(world, write, old, BB__PROTO__KEY_OP__KEY_REMOVE, tx);
        }
        if (new.size > 0) {
            add_key(world, write, new, BB__PROTO__KEY_OP__KEY_PUT, tx);
        }
    }
    *before = *after;
    return write;
}

static void append_record(struct bb_buf *batch, Bb__Proto__Write **writes, size_t count,
                          uint64_t prev, uint64_t tx)
{
    Bb__Proto__TxBody body;
    Bb__Proto__TxRecord record;
    bb__proto__tx_body__init(&body);
    bb__proto__tx_record__init(&record);
    body.writes = writes;
    body.n_writes = count;
    uint8_t *bytes = bb_alloc(bb__proto__tx_body__get_packed_size(&body) + 1);
    record.tx = tx;
    record.prev = prev;
    record.body = (ProtobufCBinaryData){ bb__proto__tx_body__pack(&body, bytes), bytes };
    uint8_t size[4];
    size_t packed = bb__proto__tx_record__get_packed_size(&record);
    bb_put_le32(size, (uint32_t)packed);
    bb_buf_append(batch, size, 4);
    (void)bb__proto__tx_record__pack(&record, bb_buf_reserve(batch, packed));
    batch->size += packed;
    bb_free(bytes);
}

static void apply_batch(struct world *world, struct bb_buf batch)
{
    struct bb_store_state state = { .index = world->log_count + 1,
                                    .epoch = 1,
                                    .last_seq = ++world->seq,
                                    .last_tx = BB_TX(world->tx),
                                    .opaque = bb_slice_str("digests") };
    if (world->log_count == world->log_capacity) {
        world->log_capacity *= 2;
        world->log = bb_realloc(world->log, world->log_capacity * sizeof(world->log[0]));
    }
    world->log[world->log_count++] = (struct entry){ .state = state, .batch = batch };
    int rc = bb_store_apply(&world->ctx, world->store, &state, bb_buf_slice(&batch));
    cr_assert_eq(rc, BB_OK, "%s", world->ctx.error);
    bb_arena_reset(world->ctx.arena);
}

static uint64_t last_tx(const struct world *world)
{
    return world->log[world->log_count - 1].state.last_tx.us;
}

uint64_t world_write(struct world *world, const struct change *changes, size_t count)
{
    struct bb_buf batch;
    bb_buf_init(&batch);
    uint64_t prev = last_tx(world);
    world->tx++;
    Bb__Proto__Write **writes = bb_arena_zero(world->ctx.arena, count, sizeof(writes[0]));
    for (size_t i = 0; i < count; i++) {
        struct doc after = world->docs[changes[i].doc];
        after.exists = changes[i].text != NULL;
        if (changes[i].field != NULL) {
            after.field_size = strlen(changes[i].field);
            memcpy(after.field, changes[i].field, after.field_size);
        }
        writes[i] =
            make_write(world, changes[i].doc, &after, bb_slice_str(changes[i].text), world->tx);
    }
    append_record(&batch, writes, count, prev, world->tx);
    apply_batch(world, batch);
    return world->tx;
}

static void random_doc(struct world *world, uint32_t number, struct doc *after)
{
    *after = world->docs[number];
    if (after->exists && world_random(world, 5) == 0) {
        after->exists = false;
        return;
    }
    if (!after->exists || world_random(world, 2) == 0) {
        /* Some fields make keys that LMDB cannot hold whole, and that agree far. */
        bool is_long = world_random(world, 4) == 0;
        after->field_size = is_long ? 440 + world_random(world, 200) : world_random(world, 8);
        memset(after->field, 'f', after->field_size);
        if (after->field_size > 0) {
            after->field[after->field_size - 1] = (uint8_t)world_random(world, 256);
            after->field[0] = (uint8_t)('f' + world_random(world, 2));
        }
    }
    after->exists = true;
}

void world_apply(struct world *world)
{
    struct bb_buf batch;
    bb_buf_init(&batch);
    uint64_t prev = last_tx(world);
    uint64_t transactions = 1 + world_random(world, 4);
    for (uint64_t t = 0; t < transactions; t++) {
        world->tx += 1 + world_random(world, 3);
        Bb__Proto__Write *writes[DOCS];
        size_t count = 0;
        for (uint32_t number = 0; number < DOCS; number++) {
            struct doc after;
            char text[40];
            if (world_random(world, 12) != 0) {
                continue;
            }
            random_doc(world, number, &after);
            if (!after.exists && !world->docs[number].exists) {
                continue;
            }
            (void)snprintf(text, sizeof(text), "doc %u at %" PRIu64, number, world->tx);
            writes[count++] = make_write(world, number, &after, bb_slice_str(text), world->tx);
        }
        append_record(&batch, writes, count, prev, world->tx);
        prev = world->tx;
    }
    apply_batch(world, batch);
}

/* ---- restarts ---- */

void world_replay(struct world *world)
{
    struct bb_store_state state;
    bb_store_state(&world->ctx, world->store, &state);
    for (size_t i = 0; i < world->log_count; i++) {
        const struct entry *entry = &world->log[i];
        int rc =
            bb_store_apply(&world->ctx, world->store, &entry->state, bb_buf_slice(&entry->batch));
        cr_assert_eq(rc, entry->state.index <= state.index ? BB_DUPLICATE : BB_OK, "%s",
                     world->ctx.error);
    }
}

void world_crash(struct world *world)
{
    bb_store_abandon(world->store);
    open_store(world);
    world_replay(world);
}

void world_restart(struct world *world)
{
    cr_assert_eq(bb_store_close(&world->ctx, world->store), BB_OK);
    open_store(world);
    struct bb_store_state state;
    bb_store_state(&world->ctx, world->store, &state);
    cr_assert_eq(state.index, world->log_count, "nothing is left to apply again");
    cr_assert_eq(state.last_tx.us, last_tx(world));
    cr_assert(bb_slice_equal(state.opaque, world->log[world->log_count - 1].state.opaque));
}

/* ---- comparing ---- */

static const struct version *model_get(const struct world *world, struct bb_slice key, uint64_t at)
{
    for (size_t i = world->version_count; i-- > 0;) {
        const struct version *version = &world->versions[i];
        if (version->tx <= at && bb_slice_equal(version->key, key)) {
            return version->is_remove ? NULL : version;
        }
    }
    return NULL;
}

static int compare_versions(const void *a, const void *b)
{
    const struct version *const *left = a, *const *right = b;
    return bb_slice_compare((*left)->key, (*right)->key);
}

/* All keys of [low, high) at `at`, in order; the caller frees the list. */
static size_t model_scan(const struct world *world, struct bb_slice low, struct bb_slice high,
                         uint64_t at, const struct version ***list)
{
    size_t count = 0;
    *list = bb_alloc((world->version_count + 1) * sizeof((*list)[0]));
    for (size_t i = 0; i < world->version_count; i++) {
        const struct version *version = &world->versions[i];
        if (bb_slice_compare(version->key, low) >= 0 && bb_slice_compare(version->key, high) < 0 &&
            model_get(world, version->key, at) == version) {
            (*list)[count++] = version;
        }
    }
    qsort(*list, count, sizeof((*list)[0]), compare_versions);
    return count;
}

static void check_entry(const struct world *world, const struct bb_store_entry *entry,
                        const struct version *expected, bool is_joined, uint64_t at)
{
    uint8_t doc_key[20];
    cr_assert(bb_slice_equal(entry->key, expected->key), "at %" PRIu64, at);
    if (bb_get_be32(entry->key.data) == DOC_INDEX) {
        cr_assert(bb_slice_equal(entry->value, expected->value));
        cr_assert_eq(entry->tx.us, expected->tx);
        return;
    }
    if (!is_joined) {
        cr_assert_eq(entry->value.size, 0);
        cr_assert_eq(entry->tx.us, 0);
        return;
    }
    bb_put_be32(doc_key, DOC_INDEX);
    memcpy(doc_key + 4, entry->key.data + entry->key.size - 16, 16);
    const struct version *doc = model_get(world, bb_slice(doc_key, 20), at);
    cr_assert_not_null(doc);
    cr_assert(bb_slice_equal(entry->value, doc->value), "at %" PRIu64, at);
    cr_assert_eq(entry->tx.us, doc->tx);
}

static void check_range(struct world *world, struct bb_store_snapshot *snapshot, uint64_t at,
                        struct bb_slice low, struct bb_slice high)
{
    const struct version **expected;
    struct bb_store_result result;
    size_t count = model_scan(world, low, high, at, &expected), bytes = 1 << 20;
    struct bb_store_op op = { .low = low,
                              .high = high,
                              .is_descending = world_random(world, 2) == 1,
                              .limit = (uint32_t)world_random(world, 12),
                              .doc_index = world_random(world, 2) == 1 ? DOC_INDEX : 0 };
    int rc = bb_store_read(&world->ctx, snapshot, &op, &bytes, &result);
    cr_assert_eq(rc, BB_OK, "at %" PRIu64 ": %s", at, world->ctx.error);
    size_t wanted = op.limit == 0 || op.limit > count ? count : op.limit;
    cr_assert_eq(result.count, wanted, "%zu entries at %" PRIu64 ", not %zu", result.count, at,
                 wanted);
    cr_assert_eq(result.is_complete, wanted == count);
    for (size_t i = 0; i < wanted; i++) {
        check_entry(world, &result.entries[i], expected[op.is_descending ? count - 1 - i : i],
                    op.doc_index != 0, at);
    }
    bb_free(expected);
}

static void check_gets(struct world *world, struct bb_store_snapshot *snapshot, uint64_t at)
{
    for (uint32_t doc = 0; doc < DOCS; doc += 3) {
        uint8_t key[20];
        struct bb_store_op op = { .low = world_doc_key(doc, key) };
        struct bb_store_result result;
        size_t bytes = 1 << 20;
        const struct version *expected = model_get(world, op.low, at);
        cr_assert_eq(bb_store_read(&world->ctx, snapshot, &op, &bytes, &result), BB_OK);
        cr_assert(result.is_complete);
        cr_assert_eq(result.count, expected == NULL ? 0 : 1);
        if (expected != NULL) {
            check_entry(world, &result.entries[0], expected, false, at);
        }
    }
}

void world_check(struct world *world, uint64_t at)
{
    struct bb_store_snapshot *snapshot;
    int rc = bb_store_snapshot_open(&world->ctx, world->store, world_random(world, READERS),
                                    BB_TX(at), &snapshot);
    cr_assert_eq(rc, BB_OK, "%s", world->ctx.error);
    cr_assert_eq(bb_store_snapshot_tx(snapshot).us, at);
    check_gets(world, snapshot, at);
    uint8_t ends[2][8];
    bb_put_be32(ends[0], BY_FIELD);
    bb_put_be32(ends[1], BY_FIELD + 1);
    check_range(world, snapshot, at, bb_slice(ends[0], 4), bb_slice(ends[1], 4));
    bb_put_be32(ends[0], DOC_INDEX);
    check_range(world, snapshot, at, bb_slice(ends[0], 4), bb_slice(ends[1], 4));
    for (int i = 0; i < 3; i++) {
        uint8_t low[800], high[800];
        struct doc a = { 0 }, b = { 0 };
        random_doc(world, 0, &a);
        random_doc(world, 1, &b);
        check_range(world, snapshot, at, index_key(0, &a, low), index_key(1, &b, high));
    }
    bb_store_snapshot_close(snapshot);
    bb_arena_reset(world->ctx.arena);
}

uint64_t world_random_tx(struct world *world, uint64_t oldest)
{
    uint64_t newest = last_tx(world);
    return oldest + world_random(world, newest - oldest + 1);
}

const char *world_text(struct world *world, uint32_t doc, uint64_t at)
{
    struct bb_store_snapshot *snapshot;
    struct bb_store_result result;
    uint8_t key[20];
    size_t bytes = 1 << 20;
    int rc = bb_store_snapshot_open(&world->ctx, world->store, 0, BB_TX(at), &snapshot);
    cr_assert_eq(rc, BB_OK, "%s", world->ctx.error);
    struct bb_store_op op = { .low = world_doc_key(doc, key) };
    cr_assert_eq(bb_store_read(&world->ctx, snapshot, &op, &bytes, &result), BB_OK);
    const char *text =
        result.count == 0 ? NULL : bb_arena_str(world->ctx.arena, result.entries[0].value);
    bb_store_snapshot_close(snapshot);
    return text;
}
