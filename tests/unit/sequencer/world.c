#include "world.h"

#include <criterion/criterion.h>

static uint64_t now_us(struct bb_env *env)
{
    return bb_container(env, struct world, env)->now_us;
}

static uint64_t wall_us(struct bb_env *env)
{
    return bb_container(env, struct world, env)->wall_us;
}

static const struct bb_env_ops ops = { .now_us = now_us, .wall_us = wall_us };

void world_init(struct world *world, uint64_t claim_tx)
{
    struct sequencer_limits limits = {
        .window_us = 5000000, .batch_bytes = 1000, .ids_max = 100, .seed = 7
    };

    *world = (struct world){ .env = { .ops = &ops }, .now_us = 1000, .wall_us = WALL_START };
    world->ctx.env = &world->env;
    world->ctx.arena = bb_arena_new(0);
    sequencer_core_init(&world->core, &limits);
    sequencer_core_claimed(&world->ctx, &world->core, 1, 10, claim_tx);
    sequencer_core_activate(&world->core);
}

void world_fini(struct world *world)
{
    sequencer_core_fini(&world->core);
    bb_arena_free(world->ctx.arena);
}

void world_advance(struct world *world, uint64_t us)
{
    world->now_us += us;
    world->wall_us += us;
}

void world_id(unsigned number, uint8_t id[16])
{
    memset(id, 0, 16);
    bb_put_be32(id, number);
}

/* The key of a letter: index 1, the letter; and a 0 byte behind it, which makes the range's end. */
static void make_key(char letter, uint8_t key[6])
{
    memcpy(key, "\0\0\0\1?\0", 6);
    key[4] = (uint8_t)letter;
}

static size_t make_body(const struct want *want, const uint8_t *id, struct bb_buf *to)
{
    Bb__Proto__TxBody body;
    Bb__Proto__Write writes[16];
    Bb__Proto__Write *list[16];
    uint8_t *doc = bb_alloc_zero(1, want->padding + 1);
    uint8_t keys[16][6];

    bb__proto__tx_body__init(&body);
    body.request_id = bb_slice_pb(bb_slice(id, 16));
    for (size_t i = 0; want->writes[i] != '\0'; i++) {
        bb__proto__write__init(&writes[i]);
        writes[i].table = 10001;
        writes[i].id = body.request_id;
        make_key(want->writes[i], keys[i]);
        writes[i].doc_key =
            bb_slice_pb(bb_slice(keys[i], want->key_bytes == 0 ? 5 : want->key_bytes));
        writes[i].doc = bb_slice_pb(bb_slice(doc, want->padding + 1));
        writes[i].doc_op = BB__PROTO__KEY_OP__KEY_TOUCH;
        list[body.n_writes++] = &writes[i];
    }
    body.writes = list;
    bb_pack_append(to, &body.base);
    bb_free(doc);
    return to->size;
}

/* A commit and all that it points to. */
struct built {
    Bb__Proto__Commit commit;
    Bb__Proto__Range ranges[16];
    Bb__Proto__Range *list[16];
    struct bb_buf body;
    uint8_t keys[16][6];
    uint8_t id[16];
};

static void build(struct built *built, const struct want *want)
{
    Bb__Proto__Commit *commit = &built->commit;

    bb_buf_init(&built->body);
    world_id(want->id, built->id);
    bb__proto__commit__init(commit);
    commit->request_id = bb_slice_pb(bb_slice(built->id, 16));
    commit->snapshot = want->snapshot;
    for (size_t i = 0; want->reads != NULL && want->reads[i] != '\0'; i++) {
        make_key(want->reads[i], built->keys[i]);
        bb__proto__range__init(&built->ranges[i]);
        built->ranges[i].low = bb_slice_pb(bb_slice(built->keys[i], 5));
        built->ranges[i].high = bb_slice_pb(bb_slice(built->keys[i], 6));
        built->list[commit->n_reads++] = &built->ranges[i];
    }
    commit->reads = built->list;
    if (want->writes != NULL) {
        (void)make_body(want, built->id, &built->body);
        commit->body = bb_slice_pb(bb_buf_slice(&built->body));
    }
}

void world_commit_row(struct world *world, const struct want *wants, size_t count,
                      Bb__Proto__Outcome *outcomes)
{
    struct built *built = bb_alloc_zero(count, sizeof *built);
    Bb__Proto__Commit *commits[WORLD_ROW_MAX];
    Bb__Proto__Outcome *list[WORLD_ROW_MAX];

    bb_assert(count <= WORLD_ROW_MAX);
    for (size_t i = 0; i < count; i++) {
        build(&built[i], &wants[i]);
        built[i].commit.follows = i > 0;
        commits[i] = &built[i].commit;
        bb__proto__outcome__init(&outcomes[i]);
        list[i] = &outcomes[i];
    }
    bb_arena_reset(world->ctx.arena);
    sequencer_core_commit(&world->ctx, &world->core, wants->epoch == 0 ? 1 : wants->epoch, 1,
                          commits, count, !wants->lacks_lease, list);
    for (size_t i = 0; i < count; i++)
        bb_buf_fini(&built[i].body);
    bb_free(built);
}

int world_commit(struct world *world, struct want want, uint64_t *tx)
{
    Bb__Proto__Outcome outcome;

    world_commit_row(world, &want, 1, &outcome);
    if (tx != NULL)
        *tx = outcome.tx;
    return (int)outcome.status;
}

void world_storage_done(struct world *world)
{
    cr_assert_eq(sequencer_core_appended(&world->ctx, &world->core, BB_OK, false, 0),
                 SEQUENCER_DONE);
}
