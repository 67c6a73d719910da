/*
 * The host interface: a script that got hold of the one door out of its realm may send any
 * operation with any arguments that can be encoded, in any order. Each is refused with a status or
 * answered with a value; the process goes on.
 */
#include "bb/env.h"
#include "call.h"

#define PROGRAM_OPS 24

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In the engine's place: does a call with a context of its own ask? */
static bool is_open;

bool bb_vm_host_is_open(const struct bb_vm_call *call)
{
    (void)call;
    return is_open;
}

struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t next(struct input *input)
{
    if (input->size == 0)
        return 0;
    input->size--;
    return *input->data++;
}

static const char *const words[] = { "messages",
                                     "users",
                                     "_modules",
                                     "_tables",
                                     "by_channel",
                                     "by_author",
                                     "slow",
                                     "by_id",
                                     "channel",
                                     "author",
                                     "n",
                                     "eq",
                                     "gt",
                                     "gte",
                                     "lt",
                                     "lte",
                                     "_id",
                                     "_key",
                                     "by_creation_time",
                                     "",
                                     "$x",
                                     "LOG",
                                     "a\xc3\xa4",
                                     "__proto__" };

static void put_value(struct input *input, struct bb_value_builder *builder, unsigned depth)
{
    uint8_t kind = next(input), count;

    switch (kind % (depth == 0 ? 9u : 12u)) {
    case 0:
        bb_value_null(builder);
        break;
    case 1:
        bb_value_put_bool(builder, next(input) % 2 == 0);
        break;
    case 2:
        bb_value_put_int64(builder, (int64_t)((uint64_t)next(input) << (next(input) % 64)));
        break;
    case 3:
        bb_value_put_float64(builder, next(input) % 2 == 0 ? next(input) : -1e300 * next(input));
        break;
    case 4:
    case 5:
    case 6:
        bb_value_put_string(builder, bb_slice_str(words[next(input) % BB_COUNT_OF(words)]));
        break;
    case 7:
        count = next(input) % 40;
        count = count > input->size ? (uint8_t)input->size : count;
        bb_value_put_bytes(builder, bb_slice(input->data, count));
        break;
    case 8:
        bb_value_undefined(builder);
        break;
    case 9:
    case 10:
        bb_value_begin_array(builder);
        for (count = next(input) % 5; count > 0; count--)
            put_value(input, builder, depth - 1);
        bb_value_end_array(builder);
        break;
    default:
        bb_value_begin_object(builder);
        for (count = next(input) % 4; count > 0; count--) {
            bb_value_field_name(builder, bb_slice_str(words[next(input) % BB_COUNT_OF(words)]));
            put_value(input, builder, depth - 1);
        }
        bb_value_end_object(builder);
        break;
    }
}

static struct bb_slice arguments(struct slot *slot, struct input *input,
                                 struct bb_value_builder *builder)
{
    bb_value_builder_clear(builder);
    bb_value_begin_array(builder);
    for (uint8_t count = next(input) % 8; count > 0; count--)
        put_value(input, builder, 3);
    bb_value_end_array(builder);
    return bb_arena_dup(slot->call_arena, bb_value_finish(builder));
}

static struct bb_txn_catalog *catalog_of(struct bb_ctx *ctx)
{
    static const char json[] =
        "{\"tables\":[{\"name\":\"messages\",\"number\":{\"$integer\":\"EScAAAAAAAA=\"},\"indexes\":["
        "{\"name\":\"by_channel\",\"id\":{\"$integer\":\"AAAAgAAAAAA=\"},\"fields\":[\"channel\"],"
        "\"state\":\"ready\"},{\"name\":\"by_author\",\"id\":{\"$integer\":\"AQAAgAAAAAA=\"},"
        "\"fields\":[\"author\",\"n\"],\"state\":\"ready\"},{\"name\":\"slow\",\"id\":"
        "{\"$integer\":\"AgAAgAAAAAA=\"},\"fields\":[\"n\"],\"state\":\"backfilling\",\"done\":"
        "{\"$integer\":\"AAAAAAAAAAA=\"},\"total\":{\"$integer\":\"AAAAAAAAAAA=\"}}]},"
        "{\"name\":\"users\",\"number\":{\"$integer\":\"EicAAAAAAAA=\"},\"indexes\":[]}]}";
    struct bb_txn_catalog *catalog = NULL;
    struct bb_buf value;

    bb_buf_init(&value);
    bool is_made = bb_json_decode(ctx, bb_slice_str(json), true, &value) == BB_OK &&
                   bb_txn_catalog_new(ctx, bb_buf_slice(&value), &catalog) == BB_OK;
    bb_assert(is_made);
    bb_buf_fini(&value);
    return catalog;
}

static struct slot *slot_new(void)
{
    struct slot *slot = bb_alloc_zero(1, sizeof *slot);

    slot->ctx.env = bb_env_real();
    slot->call_arena = bb_arena_new(0);
    slot->frame_arena = bb_arena_new(0);
    slot->ctx.arena = slot->frame_arena;
    slot->txn = bb_txn_new();
    slot->builder = bb_value_builder_new();
    bb_txn_limits_default(&slot->limits.txn);
    slot->limits.txn.document_bytes = 1 << 20;
    slot->limits.log_lines = 8;
    bb_buf_init(&slot->answer);
    return slot;
}

static void check(struct slot *slot, int rc, const struct bb_buf *out)
{
    if (rc == BB_OK && out->size > 0) {
        rc = bb_value_validate(&slot->ctx, bb_buf_slice(out));
        bb_assert(rc == BB_OK);
    }
    bb_assert(rc == BB_OK || rc == BB_PENDING || slot->ctx.error[0] != '\0');
}

/* Storage has nothing: what waits goes on. */
static void settle(struct slot *slot, struct bb_buf *out)
{
    const struct bb_txn_read *reads;

    for (unsigned rounds = 0; slot->call->pending != NULL && rounds < 64; rounds++) {
        size_t count = bb_txn_wanted(slot->txn, &reads);
        for (size_t i = 0; i < count; i++)
            (void)bb_txn_feed(&slot->ctx, slot->txn, i, NULL, 0, true);
        bb_txn_fed(slot->txn);
        for (struct slot_pending **at = &slot->call->pending; *at != NULL;) {
            struct slot_pending *pending = *at;
            bb_buf_clear(out);
            int rc = slot_host_again(&slot->ctx, slot, pending, out);
            check(slot, rc, out);
            if (rc == BB_PENDING) {
                at = &pending->next;
                continue;
            }
            *at = pending->next;
            slot_free_copy(pending->args);
            bb_free(pending);
        }
    }
    bb_assert(slot->call->pending == NULL);
    slot->call->pending_end = &slot->call->pending;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct slot *slot;
    static struct bb_txn_catalog *catalog;
    struct input input = { data, size };
    Bb__Proto__SlotStart start;
    struct bb_txn_output output;
    struct bb_buf out;

    if (slot == NULL) {
        slot = slot_new();
        catalog = catalog_of(&slot->ctx);
    }
    const struct bb_txn_options options = { .catalog = catalog,
                                            .limits = slot->limits.txn,
                                            .now_ms = 1,
                                            .is_mutation = next(&input) % 4 != 0,
                                            .is_traced = next(&input) % 2 == 0 };
    const struct bb_txn_finish how = { .function = bb_slice_str("f") };
    struct bb_value_builder *builder = bb_value_builder_new();

    is_open = size % 2 == 1;
    bb__proto__slot_start__init(&start);
    slot->call_memory = (struct slot_call){ .start = &start };
    slot->call = &slot->call_memory;
    slot->call->pending_end = &slot->call->pending;
    bb_txn_begin(slot->txn, &options);
    bb_buf_init(&out);
    for (unsigned i = 0; i < PROGRAM_OPS && input.size > 0; i++) {
        uint32_t op = next(&input) % 26u;
        struct bb_slice args = arguments(slot, &input, builder);
        bb_buf_clear(&out);
        slot->ctx.error[0] = '\0';
        int rc = slot_host(&slot->ctx, slot, NULL, op, args, (struct bb_vm_ticket){ i }, &out);
        check(slot, rc, &out);
        if (next(&input) % 2 == 0)
            settle(slot, &out);
    }
    settle(slot, &out);
    if (bb_txn_end(&slot->ctx, slot->txn, &how, &output) == BB_OK && options.is_traced) {
        bb_buf_clear(&out);
        bb_txn_trace(slot->txn, &out);
    }
    bb_buf_fini(&out);
    bb_value_builder_free(builder);
    bb_arena_reset(slot->call_arena);
    bb_arena_reset(slot->frame_arena);
    return 0;
}
