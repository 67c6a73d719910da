#include "fixture.h"

#include <stdlib.h>

static struct bb_arena *memory;

static int compare_rows(const void *a, const void *b)
{
    return bb_slice_compare(((const struct world_row *)a)->key, ((const struct world_row *)b)->key);
}

struct bb_slice value_of(const char *json)
{
    struct bb_ctx ctx = { 0 };
    struct bb_buf buf;

    bb_buf_init(&buf);
    ctx.arena = memory;
    cr_assert_eq(bb_json_decode(&ctx, bb_slice_str(json), true, &buf), BB_OK, "%s: %s", json,
                 ctx.error);
    struct bb_slice copy = bb_arena_dup(memory, bb_buf_slice(&buf));
    bb_buf_fini(&buf);
    return copy;
}

const char *json_of(struct bb_slice value)
{
    struct bb_buf buf;

    bb_buf_init(&buf);
    bb_json_encode(value, BB_JSON_ENCODED, &buf);
    const char *text = bb_arena_str(memory, bb_buf_slice(&buf));
    bb_buf_fini(&buf);
    return text;
}

static void set_catalog(struct world *world, const char *slow)
{
    static char json[4096];

    (void)snprintf(
        json, sizeof json,
        "{\"tables\":[{\"name\":\"messages\",\"number\":{\"$integer\":\"EScAAAAAAAA=\"},\"indexes\":["
        "{\"name\":\"by_channel\",\"id\":{\"$integer\":\"AAAAgAAAAAA=\"},\"fields\":[\"channel\"],"
        "\"state\":\"ready\"},"
        "{\"name\":\"by_author\",\"id\":{\"$integer\":\"AQAAgAAAAAA=\"},\"fields\":[\"author\",\"n\"],"
        "\"state\":\"ready\"},"
        "{\"name\":\"slow\",\"id\":{\"$integer\":\"AgAAgAAAAAA=\"},%s}]},"
        "{\"name\":\"users\",\"number\":{\"$integer\":\"EicAAAAAAAA=\"},\"indexes\":[]}]}",
        slow);
    cr_assert_eq(bb_txn_catalog_new(&world->ctx, value_of(json), &world->catalog), BB_OK, "%s",
                 world->ctx.error);
    world->options.catalog = world->catalog;
}

void world_slow_index(struct world *world, const char *fields)
{
    bb_txn_catalog_free(world->catalog);
    set_catalog(world, fields);
    world_begin(world, 7);
}

void world_init(struct world *world)
{
    *world = (struct world){ .page_max = 0 };
    memory = bb_arena_new(0);
    world->ctx.arena = memory;
    set_catalog(world, "\"fields\":[\"n\"],\"state\":\"backfilling\","
                       "\"done\":{\"$integer\":\"AwAAAAAAAAA=\"},"
                       "\"total\":{\"$integer\":\"CQAAAAAAAAA=\"}");
    world->txn = bb_txn_new();
    world->options = (struct bb_txn_options){ .catalog = world->catalog,
                                              .now_ms = 1790000000000,
                                              .is_mutation = true };
    bb_txn_limits_default(&world->options.limits);
    world_begin(world, 1);
}

void world_fini(struct world *world)
{
    bb_txn_kept_free(world->kept);
    free(world->kept_ranges);
    world_free_copy(world);
    bb_txn_free(world->txn);
    bb_txn_catalog_free(world->catalog);
    bb_arena_free(memory);
}

void world_begin(struct world *world, uint8_t seed)
{
    memset(world->options.seed, seed, sizeof world->options.seed);
    bb_txn_begin(world->txn, &world->options);
    world->hop_count = world->entry_count = 0;
}

static size_t first_not_below(const struct world *world, struct bb_slice key)
{
    size_t low = 0;
    size_t high = world->row_count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (bb_slice_compare(world->rows[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const struct world_row *find_row(const struct world *world, struct bb_slice key)
{
    size_t at = first_not_below(world, key);

    return at < world->row_count && bb_slice_equal(world->rows[at].key, key) ? &world->rows[at]
                                                                             : NULL;
}

static struct bb_slice joined(const struct world *world, const struct world_row *entry,
                              uint32_t doc_index)
{
    struct bb_slice key = entry->key;
    uint8_t doc_key[20];

    if (doc_index == 0)
        return entry->value;
    bb_put_be32(doc_key, doc_index);
    memcpy(doc_key + 4, key.data + key.size - 16, 16);
    const struct world_row *row = find_row(world, bb_slice(doc_key, sizeof doc_key));
    cr_assert_not_null(row, "an index entry without a document");
    return row->value;
}

/* ---- what is kept ---- */

void world_keep(struct world *world, size_t bytes_max)
{
    bb_txn_kept_free(world->kept);
    world->kept = bb_txn_kept_new(bytes_max);
    world->moment = 1;
    world->kept_count = world->recalled = 0;
}

static struct bb_slice key_after(struct bb_slice key)
{
    uint8_t *after = bb_arena_zero(memory, 1, key.size + 1);

    memcpy(after, key.data, key.size);
    return bb_slice(after, key.size + 1);
}

/* What the answer of a scan says something about, by its number. */
static uint64_t number_range(struct world *world, const struct bb_txn_read *read,
                             const struct bb_txn_answer *answer)
{
    struct world_range range = { .low = bb_arena_dup(memory, read->low),
                                 .high = bb_arena_dup(memory, read->high),
                                 .number = ++world->numbers };

    if (!answer->is_complete && answer->entry_count == 0)
        return 0;
    if (!answer->is_complete && read->is_descending)
        range.low = bb_arena_dup(memory, answer->entries[answer->entry_count - 1].key);
    else if (!answer->is_complete)
        range.high = key_after(answer->entries[answer->entry_count - 1].key);
    world->kept_ranges = realloc(world->kept_ranges, (world->kept_count + 1) * sizeof range);
    world->kept_ranges[world->kept_count++] = range;
    return range.number;
}

static void keep_answer(struct world *world, const struct bb_txn_read *read,
                        struct bb_txn_answer answer)
{
    if (world->kept == NULL)
        return;
    answer.since = world->moment;
    if (read->high.size > 0)
        answer.number = number_range(world, read, &answer);
    bb_txn_kept_answer(world->kept, read, &answer);
}

static void end_kept(struct world *world, struct bb_slice key)
{
    if (world->kept == NULL)
        return;
    bb_txn_kept_end(world->kept, key, world->moment);
    for (size_t i = 0; i < world->kept_count;) {
        struct world_range *range = &world->kept_ranges[i];
        if (bb_slice_compare(key, range->low) < 0 || bb_slice_compare(key, range->high) >= 0) {
            i++;
            continue;
        }
        bb_txn_kept_end_range(world->kept, range->number, world->moment);
        *range = world->kept_ranges[--world->kept_count];
    }
}

static void answer_one(struct world *world, size_t index, const struct bb_txn_read *read)
{
    struct bb_txn_entry *entries = calloc(world->row_count + 1, sizeof *entries);
    size_t count = 0;
    bool is_complete = true;

    if (read->high.size == 0) {
        const struct world_row *row = find_row(world, read->low);
        if (row != NULL)
            entries[count++] = (struct bb_txn_entry){ .key = row->key, .value = row->value };
    } else {
        size_t low = first_not_below(world, read->low);
        size_t high = first_not_below(world, read->high);
        uint32_t limit = read->limit;
        if (world->page_max != 0 && world->page_max < limit)
            limit = world->page_max;
        for (size_t i = 0; low + i < high; i++) {
            const struct world_row *row =
                &world->rows[read->is_descending ? high - 1 - i : low + i];
            if (count == limit) {
                is_complete = false;
                break;
            }
            entries[count++] =
                (struct bb_txn_entry){ .key = row->key,
                                       .value = joined(world, row, read->doc_index) };
        }
    }
    world->entry_count += count;
    cr_assert_eq(bb_txn_feed(&world->ctx, world->txn, index, entries, count, is_complete), BB_OK,
                 "%s", world->ctx.error);
    keep_answer(world, read,
                (struct bb_txn_answer){
                    .entries = entries, .entry_count = count, .is_complete = is_complete });
    free(entries);
}

void world_answer(struct world *world)
{
    const struct bb_txn_read *reads;
    size_t count = bb_txn_wanted(world->txn, &reads);

    cr_assert_gt(count, 0, "pending, and nothing is wanted");
    world->hop_count++;
    if (world->kept != NULL) {
        uint32_t missing[64];
        size_t missing_count;
        cr_assert_leq(count, BB_COUNT_OF(missing));
        cr_assert_eq(bb_txn_recall(&world->ctx, world->txn, world->kept, world->moment, missing,
                                   &missing_count),
                     BB_OK);
        world->recalled += count - missing_count;
        for (size_t i = 0; i < missing_count; i++) {
            struct bb_txn_read read = reads[missing[i]];
            answer_one(world, missing[i], &read);
        }
        bb_txn_fed(world->txn);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct bb_txn_read read = reads[i];
        answer_one(world, i, &read);
    }
    bb_txn_fed(world->txn);
}

void world_end(struct world *world, struct bb_txn_output *output)
{
    const struct bb_txn_finish finish = { .request_id = S("0123456789abcdef"),
                                          .function = S("messages:send") };

    cr_assert_eq(bb_txn_end(&world->ctx, world->txn, &finish, output), BB_OK, "%s",
                 world->ctx.error);
}

static void set_row(struct world *world, struct bb_slice key, struct bb_slice value)
{
    size_t at = first_not_below(world, key);

    if (at < world->row_count && bb_slice_equal(world->rows[at].key, key)) {
        world->rows[at].value = bb_arena_dup(memory, value);
        return;
    }
    if (world->row_count == world->row_capacity) {
        world->row_capacity = world->row_capacity * 2 + 64;
        world->rows = realloc(world->rows, world->row_capacity * sizeof *world->rows);
    }
    memmove(&world->rows[at + 1], &world->rows[at], (world->row_count - at) * sizeof *world->rows);
    world->rows[at].key = bb_arena_dup(memory, key);
    world->rows[at].value = bb_arena_dup(memory, value);
    world->row_count++;
}

static void drop_row(struct world *world, struct bb_slice key)
{
    size_t at = first_not_below(world, key);

    cr_assert(at < world->row_count && bb_slice_equal(world->rows[at].key, key),
              "an entry is removed that was not there");
    world->row_count--;
    memmove(&world->rows[at], &world->rows[at + 1], (world->row_count - at) * sizeof *world->rows);
}

static struct bb_slice of_pb(ProtobufCBinaryData data)
{
    return bb_slice(data.data, data.len);
}

Bb__Proto__TxBody *world_unpack(struct bb_slice body)
{
    Bb__Proto__TxBody *message = bb__proto__tx_body__unpack(NULL, body.size, body.data);

    cr_assert_not_null(message);
    return message;
}

void world_apply(struct world *world, struct bb_slice body)
{
    Bb__Proto__TxBody *message = world_unpack(body);

    world->moment++;
    for (size_t i = 0; i < message->n_writes; i++) {
        const Bb__Proto__Write *write = message->writes[i];
        struct bb_slice doc_key = of_pb(write->doc_key);
        end_kept(world, doc_key);
        const struct world_row *before = find_row(world, doc_key);
        if (!write->is_index_only) {
            cr_assert(bb_slice_equal(before == NULL ? BB_SLICE_EMPTY : before->value,
                                     of_pb(write->before)),
                      "`before` is not what was there");
            if (write->doc_op == BB__PROTO__KEY_OP__KEY_REMOVE)
                drop_row(world, doc_key);
            else
                set_row(world, doc_key, of_pb(write->doc));
        }
        for (size_t j = 0; j < write->n_keys; j++) {
            struct bb_slice key = of_pb(write->keys[j]->key);
            end_kept(world, key);
            if (j > 0)
                cr_assert_lt(bb_slice_compare(of_pb(write->keys[j - 1]->key), key), 0);
            if (write->keys[j]->op == BB__PROTO__KEY_OP__KEY_REMOVE)
                drop_row(world, key);
            else if (write->keys[j]->op == BB__PROTO__KEY_OP__KEY_PUT)
                set_row(world, key, BB_SLICE_EMPTY);
            else
                cr_assert_not_null(find_row(world, key), "an entry is touched that is not there");
        }
    }
    bb__proto__tx_body__free_unpacked(message, NULL);
}

bool world_commit(struct world *world)
{
    struct bb_txn_output output;

    world_end(world, &output);
    if (output.body.size == 0)
        return false;
    world_apply(world, output.body);
    return true;
}

void world_copy(struct world *to, const struct world *from)
{
    to->row_count = to->row_capacity = from->row_count;
    to->rows = calloc(from->row_count + 1, sizeof *to->rows);
    memcpy(to->rows, from->rows, from->row_count * sizeof *to->rows);
    qsort(to->rows, to->row_count, sizeof *to->rows, compare_rows);
}

void world_free_copy(struct world *copy)
{
    free(copy->rows);
    copy->rows = NULL;
}

/* ---- shorthands ---- */

const char *plain(struct bb_slice document)
{
    struct bb_value_builder *builder = bb_value_builder_new();

    if (document.data == NULL) {
        bb_value_builder_free(builder);
        return "none";
    }
    bb_value_begin_object(builder);
    for (size_t i = 0; i < bb_value_count(document); i++) {
        struct bb_slice name = bb_value_name_at(document, i);
        if (name.data[0] == '_')
            continue;
        bb_value_field_name(builder, name);
        bb_value_put_value(builder, bb_value_at(document, i));
    }
    bb_value_end_object(builder);
    const char *text = json_of(bb_value_finish(builder));
    bb_value_builder_free(builder);
    return text;
}

const char *must_insert(struct world *world, const char *table, const char *json)
{
    struct bb_buf id;

    bb_buf_init(&id);
    cr_assert_eq(WORLD_RUN(world, bb_txn_insert(&world->ctx, world->txn, BB_TXN_USER, S(table),
                                                value_of(json), &id)),
                 BB_OK, "%s", world->ctx.error);
    const char *text = bb_arena_str(memory, bb_buf_slice(&id));
    bb_buf_fini(&id);
    return text;
}

struct bb_slice must_get(struct world *world, const char *id)
{
    struct bb_slice document;

    cr_assert_eq(WORLD_RUN(world, bb_txn_get(&world->ctx, world->txn, BB_TXN_USER, BB_SLICE_EMPTY,
                                             S(id), &document)),
                 BB_OK, "%s", world->ctx.error);
    return document;
}

const char *must_scan(struct world *world, const char *table, const char *index, const char *range,
                      bool is_descending, uint32_t want)
{
    const struct bb_txn_scan_options options = { .table = S(table),
                                                 .index = S(index),
                                                 .range = range == NULL ? BB_SLICE_EMPTY
                                                                        : value_of(range),
                                                 .is_descending = is_descending };
    struct bb_value_builder *rows = bb_value_builder_new();
    struct bb_buf text;
    uint32_t scan;
    uint32_t total = 0;
    bool is_done = false;

    bb_buf_init(&text);
    bb_buf_append_str(&text, "[");
    cr_assert_eq(bb_txn_scan_open(&world->ctx, world->txn, &options, &scan), BB_OK, "%s",
                 world->ctx.error);
    while (!is_done && (want == 0 || total < want)) {
        uint32_t count;
        cr_assert_eq(WORLD_RUN(world, (bb_value_builder_clear(rows), bb_value_begin_array(rows),
                                       bb_txn_scan_next(&world->ctx, world->txn, scan,
                                                        want == 0 ? 0 : want - total, 0, rows,
                                                        &count, &is_done))),
                     BB_OK, "%s", world->ctx.error);
        bb_value_end_array(rows);
        struct bb_slice page = bb_value_finish(rows);
        cr_assert_eq(bb_value_count(page), count);
        for (size_t i = 0; i < count; i++, total++)
            bb_buf_printf(&text, "%s%s", total == 0 ? "" : ",", plain(bb_value_at(page, i)));
    }
    bb_buf_append_str(&text, "]");
    const char *result = bb_arena_str(memory, bb_buf_slice(&text));
    bb_buf_fini(&text);
    bb_value_builder_free(rows);
    return result;
}
