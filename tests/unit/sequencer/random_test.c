#include <criterion/criterion.h>

#include "world.h"

/*
 * Random lives of a core, held against a model that keeps the whole history: commits on random
 * snapshots, a storage node that takes batches and loses answers, a follower that sees everything.
 */
#define STEPS   3000
#define KEYS    6
#define COMMITS 20000

struct model {
    struct world world;
    uint64_t random;
    struct {
        uint64_t tx;
        char writes[KEYS + 1];
    } history[COMMITS];
    size_t count;
    uint64_t storage_seq, storage_tx;
    size_t stored; /* records, in order */
    bool is_sent;
    uint64_t follow_after, follow_durable;
    size_t followed;
    unsigned next_id;
};

static uint64_t next_random(struct model *m)
{
    m->random = m->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return m->random >> 33;
}

static void choose_keys(struct model *m, char *to)
{
    size_t size = 0;

    for (char key = 'a'; key < 'a' + KEYS; key++) {
        if (next_random(m) % 4 == 0)
            to[size++] = key;
    }
    if (size == 0)
        to[size++] = 'a';
    to[size] = '\0';
}

/* Was one of `keys` written after `snapshot`? */
static bool model_conflicts(const struct model *m, const char *keys, uint64_t snapshot)
{
    for (size_t i = m->count; i > 0 && m->history[i - 1].tx > snapshot; i--) {
        if (strpbrk(m->history[i - 1].writes, keys) != NULL)
            return true;
    }
    return false;
}

static void remember(struct model *m, uint64_t tx, const char *writes)
{
    cr_assert(m->count == 0 || tx > m->history[m->count - 1].tx);
    m->history[m->count].tx = tx;
    memcpy(m->history[m->count].writes, writes, strlen(writes) + 1);
    m->count++;
}

static void step_commit(struct model *m)
{
    struct sequencer_core *core = &m->world.core;
    char reads[KEYS + 1];
    char writes[KEYS + 1];
    uint64_t tx = 0;

    choose_keys(m, reads);
    choose_keys(m, writes);
    size_t back = next_random(m) % 8;
    uint64_t snapshot =
        back == 0 || back > m->count ? core->sequenced : m->history[m->count - back].tx;
    bool is_finish = next_random(m) % 5 == 0;
    struct want want = { .id = m->next_id++,
                         .snapshot = snapshot,
                         .reads = reads,
                         .writes = is_finish ? NULL : writes };
    bool is_below = snapshot < bb_occ_floor(core->window).us;
    int status = world_commit(&m->world, want, &tx);
    if (status == BB_OVERLOADED)
        return;
    int expected = is_below || model_conflicts(m, reads, snapshot) ? BB_CONFLICT : BB_OK;
    cr_assert_eq(status, expected, "commit %u", want.id);
    if (status != BB_OK || is_finish)
        return;
    remember(m, tx, writes);
    cr_assert_eq(world_commit(&m->world, want, &tx), BB_DUPLICATE);
    cr_assert_eq(tx, m->history[m->count - 1].tx);
}

/* A row of commits at one snapshot, each on top of the ones before. */
static void step_row(struct model *m)
{
    struct sequencer_core *core = &m->world.core;
    char reads[WORLD_ROW_MAX][KEYS + 1];
    char writes[WORLD_ROW_MAX][KEYS + 1];
    struct want wants[WORLD_ROW_MAX];
    int expected[WORLD_ROW_MAX];
    Bb__Proto__Outcome outcomes[WORLD_ROW_MAX];
    size_t count = 2 + next_random(m) % (WORLD_ROW_MAX - 1);
    size_t back = next_random(m) % 3;
    uint64_t snapshot =
        back == 0 || back > m->count ? core->sequenced : m->history[m->count - back].tx;
    bool is_below = snapshot < bb_occ_floor(core->window).us;

    for (size_t i = 0; i < count; i++) {
        choose_keys(m, reads[i]);
        choose_keys(m, writes[i]);
        bool is_finish = next_random(m) % 5 == 0;
        wants[i] = (struct want){ .id = m->next_id++,
                                  .snapshot = snapshot,
                                  .reads = reads[i],
                                  .writes = is_finish ? NULL : writes[i] };
        bool has_lost = is_below || model_conflicts(m, reads[i], snapshot);
        for (size_t k = 0; k < i; k++)
            has_lost |= expected[k] == BB_CONFLICT && wants[k].writes != NULL &&
                        strpbrk(reads[i], writes[k]) != NULL;
        expected[i] = has_lost ? BB_CONFLICT : BB_OK;
    }
    world_commit_row(&m->world, wants, count, outcomes);
    for (size_t i = 0; i < count; i++) {
        if (outcomes[i].status == BB_OVERLOADED)
            return;
        cr_assert_eq((int)outcomes[i].status, expected[i], "commit %u", wants[i].id);
        if (expected[i] == BB_OK && wants[i].writes != NULL)
            remember(m, outcomes[i].tx, writes[i]);
    }
}

/* What a storage node does with the Append under way, then what the sequencer hears of it. */
static void step_storage(struct model *m)
{
    struct sequencer_core *core = &m->world.core;

    if (!core->is_appending)
        m->is_sent = sequencer_core_next_append(core) != NULL;
    if (!m->is_sent)
        return;
    const struct sequencer_append *append = &core->append;
    uint64_t luck = next_random(m) % 4;
    if (luck != 0 && append->seq == m->storage_seq + 1) { /* it arrives */
        cr_assert_eq(append->base_tx, m->storage_tx);
        for (size_t at = 0; at < append->batch.size; m->stored++)
            at += 4 + bb_get_le32(append->batch.data + at);
        m->storage_seq = append->seq;
        m->storage_tx = append->last_tx;
        cr_assert_eq(m->history[m->stored - 1].tx, append->last_tx, "a prefix of the history");
    }
    int status = luck < 2 ? BB_TIMEOUT : luck == 2 ? BB_GAP : BB_OK;
    enum sequencer_verdict verdict =
        sequencer_core_appended(&m->world.ctx, core, status, status == BB_GAP, m->storage_seq);
    cr_assert_neq(verdict, SEQUENCER_OVER);
    cr_assert_eq(verdict == SEQUENCER_DONE, luck >= 2);
    cr_assert_leq(core->durable, m->storage_tx, "durable is never ahead of storage");
}

static void step_follow(struct model *m)
{
    struct sequencer_core *core = &m->world.core;
    uint64_t first = 0;
    uint64_t end = 0;

    int rc = sequencer_core_follow(core, 1, m->follow_after, m->follow_durable, 500, &first, &end);
    if (rc == BB_PENDING)
        return;
    if (rc == BB_TOO_OLD) { /* it slept too long: on from the newest */
        m->follow_after = core->sequenced;
        m->followed = m->count;
        return;
    }
    cr_assert_eq(rc, BB_OK);
    for (uint64_t i = first; i < end; i++) {
        m->follow_after = sequencer_ring_at(&core->ring, i)->tx;
        cr_assert_eq(m->follow_after, m->history[m->followed++].tx, "in order, without a gap");
    }
    m->follow_durable = core->durable;
}

static void live(uint64_t seed)
{
    struct model *m = bb_alloc_zero(1, sizeof *m);

    m->random = seed;
    m->next_id = 1;
    m->storage_seq = 10;
    m->storage_tx = m->follow_after = 5;
    world_init(&m->world, 5);
    for (int step = 0; step < STEPS; step++) {
        if (m->count > COMMITS - WORLD_ROW_MAX)
            break;
        switch (next_random(m) % 7) {
        case 6:
            step_row(m);
            break;
        case 0:
        case 1:
        case 2:
            step_commit(m);
            break;
        case 3:
            step_storage(m);
            break;
        case 4:
            step_follow(m);
            break;
        default:
            world_advance(&m->world, next_random(m) % 100000);
            sequencer_core_tick(&m->world.ctx, &m->world.core);
            break;
        }
    }
    while (m->world.core.durable < m->world.core.sequenced)
        step_storage(m);
    cr_assert_eq(m->stored, m->count, "each transaction is stored once");
    cr_assert_gt(m->count, 100);
    world_fini(&m->world);
    bb_free(m);
}

Test(core, decides_as_the_whole_history_would_and_stores_each_transaction_once)
{
    for (uint64_t seed = 1; seed <= 30; seed++)
        live(seed);
}
