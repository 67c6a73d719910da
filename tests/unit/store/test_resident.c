/* What is mapped of the data file stays below a bound, however much of it is read. */
#include <criterion/criterion.h>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "bb/kv.h"
#include "world.h"

enum {
    MB = 1 << 20,
    TEXT = 3 * MB,
    TEXTS = 32
};

static struct world world;

/* 96 MB of data; at most `bound` of files is to be mapped beyond what the process has without. */
static size_t begin(size_t bound)
{
    char *text = malloc(TEXT);
    memset(text, 't', TEXT - 1);
    text[TEXT - 1] = 0;
    world_init(&world, 1);
    bb_store_abandon(world.store);
    size_t before = bb_kv_resident();
    cr_assert_gt(before, 0);
    world.options.is_volatile = true;
    world.options.resident_max = before + bound;
    cr_assert_eq(bb_store_open(&world.ctx, &world.options, &world.store), BB_OK);
    for (uint32_t i = 0; i < TEXTS; i++) {
        struct change change = { .doc = i, .text = text, .field = "f" };
        world_write(&world, &change, 1);
        cr_assert_eq(bb_store_flush(&world.ctx, world.store), BB_OK, "%s", world.ctx.error);
    }
    free(text);
    return before;
}

/* Reads the document and each of its pages. */
static void read_one(uint32_t doc)
{
    uint8_t key[20];
    size_t left = (size_t)16 * MB, sum = 0;
    struct bb_store_snapshot *snapshot = NULL;
    struct bb_store_result result;
    struct bb_store_op op = { .low = world_doc_key(doc, key) };
    bb_arena_reset(world.ctx.arena);
    cr_assert_eq(bb_store_snapshot_open(&world.ctx, world.store, 0, BB_TX(0), &snapshot), BB_OK);
    cr_assert_eq(bb_store_read(&world.ctx, snapshot, &op, &left, &result), BB_OK);
    cr_assert_eq(result.count, 1);
    for (size_t i = 0; i < result.entries[0].value.size; i += 4096) {
        sum += result.entries[0].value.data[i] == 't';
    }
    cr_assert_gt(sum, (TEXT / 4096) - 2, "it is what was written");
    bb_store_snapshot_close(snapshot);
}

Test(resident, b24_mapped_pages_of_the_data_stay_below_a_bound)
{
    const size_t bound = (size_t)24 * MB;
    size_t before = begin(bound), worst = 0;
    world.now_us += 7000000; /* what is only in memory ends: all is read from the file */
    cr_assert_eq(bb_store_flush(&world.ctx, world.store), BB_OK);
    for (uint32_t i = 0; i < 3 * TEXTS; i++) {
        read_one(i % TEXTS);
        size_t now = bb_kv_resident();
        worst = now > worst ? now : worst;
    }
    cr_assert_leq(worst, before + bound + (size_t)8 * MB, "%zu MB mapped, %zu without the data",
                  worst / MB, before / MB);
    struct bb_store_stats stats;
    bb_store_stats(&world.ctx, world.store, &stats);
    cr_assert_gt(stats.data_bytes, (size_t)90 * MB);
    cr_assert_gt(stats.trims, 3);
    cr_assert_gt(stats.resident_bytes, 0);
    struct bb_store_sum sum;
    cr_assert_eq(bb_store_hash(&world.ctx, world.store, 1, BB_TX(0), &sum), BB_OK);
    cr_assert_gt(sum.bytes, (size_t)90 * MB, "the hash reads all of it");
    cr_assert_leq(bb_kv_resident(), before + bound + (size_t)8 * MB);
    world_fini(&world);
}

Test(resident, a_store_below_the_bound_lets_go_of_nothing)
{
    begin((size_t)1024 * MB);
    for (uint32_t i = 0; i < TEXTS; i++) {
        read_one(i);
    }
    struct bb_store_stats stats;
    bb_store_stats(&world.ctx, world.store, &stats);
    cr_assert_eq(stats.trims, 0);
    world_fini(&world);
}

/* Counts the calls: the C library's own is the next one. */
static size_t walks;

int malloc_trim(size_t pad)
{
    (void)pad;
    walks++;
    return 0;
}

/* It holds the locks of the allocator, which all threads need, and the chunk's blocks are not of
 * it. */
Test(resident, b24_a_generation_that_ends_does_not_walk_the_allocator)
{
    begin((size_t)1024 * MB);
    struct bb_store_stats before, after;
    bb_store_stats(&world.ctx, world.store, &before);
    walks = 0;
    world.now_us += 7000000;
    cr_assert_eq(bb_store_flush(&world.ctx, world.store), BB_OK);
    bb_store_stats(&world.ctx, world.store, &after);
    cr_assert_lt(after.memory_bytes + (size_t)80 * MB, before.memory_bytes, "the chunks are gone");
    cr_assert_eq(walks, 0);
    world_fini(&world);
}

static size_t bound_of(size_t wanted)
{
    struct bb_store_stats stats;
    world_init(&world, 1);
    bb_store_abandon(world.store);
    world.options.resident_max = wanted;
    cr_assert_eq(bb_store_open(&world.ctx, &world.options, &world.store), BB_OK);
    bb_store_stats(&world.ctx, world.store, &stats);
    world_fini(&world);
    return stats.resident_max;
}

Test(resident, without_a_bound_a_quarter_of_the_memory_may_be_mapped)
{
    size_t quarter = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE) / 4;
    cr_assert_eq(bound_of(0), quarter > (size_t)512 * MB ? quarter : (size_t)512 * MB);
    cr_assert_eq(bound_of((size_t)400 * MB), (size_t)400 * MB);
    cr_assert_eq(bound_of(1), (size_t)32 * MB, "less would let go at each read");
}
