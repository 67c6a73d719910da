/* Compaction, checkpoints that are taken over, and the hash by which replicas are compared. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "world.h"

static struct world world, other;

static void flush(struct world *of)
{
    cr_assert_eq(bb_store_flush(&of->ctx, of->store), BB_OK, "%s", of->ctx.error);
}

static bool is_there(const struct world *of, const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", of->folder.path, name);
    return access(path, F_OK) == 0;
}

static struct bb_store_sum hash_at(struct world *of, uint64_t at)
{
    struct bb_store_sum sum;
    int rc = bb_store_hash(&of->ctx, of->store, 0, BB_TX(at), &sum);
    cr_assert_eq(rc, BB_OK, "%s", of->ctx.error);
    return sum;
}

/* What happens while a file is written: called for each write of a copy. */
static void (*meanwhile)(void);
static struct bb_env_ops real_ops;

static int write_and_go_on(struct bb_ctx *ctx, struct bb_file *file, uint64_t offset,
                           const void *from, size_t size)
{
    int rc = real_ops.write(ctx, file, offset, from, size);
    if (rc == BB_OK && meanwhile != NULL) {
        meanwhile();
    }
    return rc;
}

static void begin_with(uint64_t seed)
{
    meanwhile = NULL;
    world_init(&world, seed);
    real_ops = world.ops;
    world.ops.write = write_and_go_on;
}

static void begin(void)
{
    begin_with(13);
    cr_assert_eq(world.options.gather, BB_STORE_GATHER_ALWAYS);
}

/* What runs leave in the file is not counted as free while they come. */
static void begin_without_runs(void)
{
    begin_with(11);
    cr_assert_eq(world.options.gather, BB_STORE_GATHER_NEVER);
}

static void end(void)
{
    world_fini(&world);
}

static void many(struct world *of, int count)
{
    for (int i = 0; i < count; i++) {
        world_apply(of);
    }
}

/* ---- compaction ---- */

static void write_and_flush(void)
{
    many(&world, 3);
    flush(&world);
    many(&world, 2);
}

Test(store_copy, compaction_keeps_every_moment_while_writes_and_flushes_go_on, .init = begin,
     .fini = end)
{
    struct bb_store_compaction compaction;
    many(&world, 30);
    flush(&world);
    many(&world, 5);
    uint64_t before = bb_store_applied(world.store).us;
    struct bb_store_snapshot *snapshot;
    struct bb_ctx ctx = { .env = world.ctx.env, .arena = bb_arena_new(0) };
    cr_assert_eq(bb_store_snapshot_open(&ctx, world.store, 1, BB_TX_NONE, &snapshot), BB_OK);
    meanwhile = write_and_flush;
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(bb_store_compact(&ctx, world.store, &compaction), BB_OK, "%s", ctx.error);
        world_check(&world, bb_store_applied(world.store).us);
        world_check(&world, before);
        many(&world, 2);
        flush(&world);
        world_check(&world, bb_store_applied(world.store).us);
        world_check(&world, before);
    }
    bb_store_snapshot_close(snapshot);
    bb_arena_free(ctx.arena);
    meanwhile = NULL;
    cr_assert(!is_there(&world, "next"));
    world.now_us += 10000000;
    flush(&world);
    world_crash(&world);
    world_check(&world, bb_store_applied(world.store).us);
    world_restart(&world);
    world_check(&world, bb_store_applied(world.store).us);
}

Test(store_copy, compaction_after_transactions_that_changed_nothing, .init = begin, .fini = end)
{
    struct bb_store_compaction compaction;
    many(&world, 5);
    flush(&world);
    uint64_t before = bb_store_applied(world.store).us;
    cr_assert_gt(world_write(&world, NULL, 0), before);
    flush(&world);
    cr_assert_eq(bb_store_compact(&world.ctx, world.store, &compaction), BB_OK, "%s",
                 world.ctx.error);
    world_check(&world, before);
    world_check(&world, bb_store_applied(world.store).us);
    many(&world, 5);
    flush(&world);
    world_check(&world, bb_store_applied(world.store).us);
}

static uint64_t file_bytes(void)
{
    char path[256];
    struct stat info;
    (void)snprintf(path, sizeof(path), "%s/data.mdb", world.folder.path);
    cr_assert_eq(stat(path, &info), 0);
    return (uint64_t)info.st_size;
}

/* Documents with texts of `size` bytes, all in one transaction each. */
static void put_large(size_t size, uint8_t letter)
{
    char *text = bb_alloc(size + 1);
    memset(text, letter, size);
    text[size] = 0;
    for (uint32_t doc = 0; doc < DOCS; doc++) {
        struct change change = { .doc = doc, .text = text, .field = "f" };
        (void)world_write(&world, &change, 1);
    }
    bb_free(text);
}

Test(store_copy, compaction_gives_the_space_back, .init = begin_without_runs, .fini = end)
{
    struct bb_store_compaction compaction;
    uint64_t used, free_bytes;
    put_large(100000, 'a');
    flush(&world);
    put_large(10, 'b');
    flush(&world);
    put_large(11, 'c');
    flush(&world);
    uint64_t large = file_bytes();
    cr_assert_gt(large, DOCS * 100000);
    cr_assert_eq(bb_store_free_bytes(&world.ctx, world.store, &used, &free_bytes), BB_OK);
    cr_assert_gt(free_bytes, large / 2);
    cr_assert_eq(bb_store_compact(&world.ctx, world.store, &compaction), BB_OK);
    cr_assert_eq(compaction.before_bytes, used);
    cr_assert_lt(compaction.after_bytes, used - free_bytes + 100000);
    cr_assert_lt(file_bytes(), used - free_bytes + 100000);
    world_check(&world, bb_store_applied(world.store).us);
    cr_assert_eq(bb_store_free_bytes(&world.ctx, world.store, &used, &free_bytes), BB_OK);
    cr_assert_lt(free_bytes, 100000);
}

Test(store_copy, compaction_that_costs_too_much_is_given_up_and_nothing_changes)
{
    struct bb_store_compaction compaction;
    world_init(&world, 12);
    real_ops = world.ops;
    world.ops.write = write_and_go_on;
    world.options.memory_max = 1u << 20;
    world_restart(&world);
    put_large(100000, 'a');
    flush(&world);
    meanwhile = write_and_flush;
    put_large(40000, 'b');
    cr_assert_eq(bb_store_compact(&world.ctx, world.store, &compaction), BB_OVERLOADED);
    cr_assert(strstr(world.ctx.error, "try again") != NULL, "%s", world.ctx.error);
    meanwhile = NULL;
    cr_assert(!is_there(&world, "next"));
    world_check(&world, bb_store_applied(world.store).us);
    flush(&world);
    world.now_us += 10000000;
    flush(&world);
    cr_assert_eq(bb_store_compact(&world.ctx, world.store, &compaction), BB_OK, "%s",
                 world.ctx.error);
    world_check(&world, bb_store_applied(world.store).us);
    world_fini(&world);
}

static int fail_write(struct bb_ctx *ctx, struct bb_file *file, uint64_t offset, const void *from,
                      size_t size)
{
    (void)file, (void)offset, (void)from, (void)size;
    return bb_fail(ctx, BB_NO_SPACE, "the disk is full");
}

Test(store_copy, compaction_on_a_full_disk_leaves_the_store_as_it_was, .init = begin, .fini = end)
{
    struct bb_store_compaction compaction;
    many(&world, 20);
    flush(&world);
    world.ops.write = fail_write;
    cr_assert_eq(bb_store_compact(&world.ctx, world.store, &compaction), BB_NO_SPACE);
    world.ops.write = real_ops.write;
    many(&world, 2);
    flush(&world);
    world_check(&world, bb_store_applied(world.store).us);
    cr_assert_eq(bb_store_compact(&world.ctx, world.store, &compaction), BB_OK);
}

static void try_a_second(void)
{
    struct bb_store_compaction compaction;
    struct bb_store_copy *copy;
    struct bb_store_state state;
    char path[256];
    struct bb_ctx ctx = { .env = world.ctx.env };
    cr_assert_eq(bb_store_compact(&ctx, world.store, &compaction), BB_BUSY);
    cr_assert_eq(bb_store_copy_open(&ctx, world.store, 0, &copy, &state), BB_BUSY);
    cr_assert_eq(bb_store_incoming_begin(&ctx, world.store, path, sizeof(path)), BB_BUSY);
}

Test(store_copy, one_copy_at_a_time, .init = begin, .fini = end)
{
    struct bb_store_compaction compaction;
    many(&world, 5);
    meanwhile = try_a_second;
    cr_assert_eq(bb_store_compact(&world.ctx, world.store, &compaction), BB_OK);
}

Test(store_copy, a_half_written_copy_is_removed_at_the_next_start, .init = begin, .fini = end)
{
    char path[256];
    static const char *const names[] = { "next", "incoming" };
    for (size_t i = 0; i < BB_COUNT_OF(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", world.folder.path, names[i]);
        cr_assert_eq(mkdir(path, 0700), 0);
        (void)snprintf(path, sizeof(path), "%s/%s/data.mdb", world.folder.path, names[i]);
        FILE *file = fopen(path, "w");
        (void)fputs("half", file);
        (void)fclose(file);
    }
    many(&world, 3);
    world_crash(&world);
    cr_assert(!is_there(&world, "next"));
    cr_assert(!is_there(&world, "incoming"));
}

/* ---- a checkpoint of another replica ---- */

/* Streams `from` into the file that `to` named; returns the state that was promised. */
static struct bb_store_state stream(struct world *from, const char *path)
{
    struct bb_store_copy *copy;
    struct bb_store_state state;
    static uint8_t chunk[50000];
    size_t done = sizeof(chunk);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    cr_assert_eq(bb_store_copy_open(&from->ctx, from->store, 0, &copy, &state), BB_OK, "%s",
                 from->ctx.error);
    while (done == sizeof(chunk)) {
        cr_assert_eq(bb_store_copy_read(&from->ctx, copy, chunk, sizeof(chunk), &done), BB_OK, "%s",
                     from->ctx.error);
        cr_assert_eq(write(fd, chunk, done), (ssize_t)done);
    }
    bb_store_copy_close(copy);
    (void)close(fd);
    return state;
}

/* Two replicas of one history: `other` has all of it, `world` the first `count` entries. */
static void begin_pair(size_t behind)
{
    meanwhile = NULL;
    world_init(&other, 21);
    many(&other, 20);
    flush(&other);
    many(&other, 20);
    world_init(&world, 21);
    for (size_t i = 1; i < other.log_count - behind; i++) {
        const struct entry *entry = &other.log[i];
        cr_assert_eq(
            bb_store_apply(&world.ctx, world.store, &entry->state, bb_buf_slice(&entry->batch)),
            BB_OK);
        if (i == 10) {
            flush(&world);
        }
    }
}

/* Entries of the other's log from number `first` on. */
static void follow(size_t first)
{
    for (size_t i = first; i < other.log_count; i++) {
        cr_assert_eq(bb_store_apply(&world.ctx, world.store, &other.log[i].state,
                                    bb_buf_slice(&other.log[i].batch)),
                     BB_OK, "%s", world.ctx.error);
    }
}

static int install(struct bb_store_state *state)
{
    char path[256];
    struct bb_store_incoming *incoming;
    cr_assert_eq(bb_store_incoming_begin(&world.ctx, world.store, path, sizeof(path)), BB_OK, "%s",
                 world.ctx.error);
    (void)stream(&other, path);
    int rc = bb_store_incoming_open(&world.ctx, world.store, &incoming, state);
    cr_assert_eq(rc, BB_OK, "%s", world.ctx.error);
    rc = bb_store_install(&world.ctx, world.store, incoming);
    bb_store_incoming_close(incoming);
    bb_store_incoming_discard(&world.ctx, world.store);
    cr_assert(!is_there(&world, "incoming"));
    return rc;
}

Test(store_copy, a_replica_that_fell_behind_takes_over_a_checkpoint_and_goes_on)
{
    struct bb_store_state state;
    begin_pair(20);
    uint64_t old = bb_store_applied(world.store).us;
    struct bb_store_snapshot *snapshot;
    cr_assert_eq(bb_store_snapshot_open(&world.ctx, world.store, 1, BB_TX(old), &snapshot), BB_OK);
    struct bb_store_sum before = hash_at(&world, old);
    cr_assert_eq(install(&state), BB_OK, "%s", world.ctx.error);
    cr_assert_eq(state.index, other.log_count);
    cr_assert_eq(bb_store_applied(world.store).us, state.last_tx.us);
    cr_assert_eq(bb_store_oldest(world.store).us, state.last_tx.us);
    struct bb_store_snapshot *refused;
    cr_assert_eq(bb_store_snapshot_open(&world.ctx, world.store, 0, BB_TX(old), &refused),
                 BB_TOO_OLD, "what lies between is not known here");
    bb_store_snapshot_close(snapshot);

    /* What comes after it is applied as anywhere. */
    many(&other, 3);
    follow(state.index);
    struct bb_store_sum here = hash_at(&world, 0), there = hash_at(&other, 0);
    cr_assert_eq(here.tx.us, there.tx.us);
    cr_assert_eq(here.hash, there.hash);
    cr_assert_eq(here.entries, there.entries);
    cr_assert_neq(here.hash, before.hash);
    flush(&world);
    cr_assert_eq(hash_at(&world, 0).hash, there.hash, "a flush changes no content");
    bb_store_abandon(world.store);
    cr_assert_eq(bb_store_open(&world.ctx, &world.options, &world.store), BB_OK);
    cr_assert_eq(hash_at(&world, 0).hash, there.hash, "it lasts");
    world_fini(&world);
    world_fini(&other);
}

Test(store_copy, a_checkpoint_never_moves_a_replica_backwards)
{
    struct bb_store_state state;
    struct bb_store_incoming *incoming;
    char path[256];
    begin_pair(10);
    cr_assert_eq(bb_store_incoming_begin(&world.ctx, world.store, path, sizeof(path)), BB_OK);
    (void)stream(&other, path);
    cr_assert_eq(bb_store_incoming_open(&world.ctx, world.store, &incoming, &state), BB_OK);
    /* While it came, the log went on by itself. */
    many(&other, 2);
    follow(state.index - 10);
    struct bb_store_sum before = hash_at(&world, 0);
    cr_assert_eq(bb_store_install(&world.ctx, world.store, incoming), BB_DUPLICATE);
    bb_store_incoming_close(incoming);
    bb_store_incoming_discard(&world.ctx, world.store);
    cr_assert(!is_there(&world, "incoming"));
    cr_assert_eq(hash_at(&world, 0).hash, before.hash);
    cr_assert_eq(hash_at(&other, 0).hash, before.hash);
    cr_assert_eq(install(&state), BB_DUPLICATE, "the same moment is not newer");
    world_fini(&world);
    world_fini(&other);
}

Test(store_copy, an_empty_replica_is_seeded)
{
    struct bb_store_state state;
    begin_pair(40);
    cr_assert_eq(install(&state), BB_OK, "%s", world.ctx.error);
    cr_assert_eq(hash_at(&world, 0).hash, hash_at(&other, 0).hash);
    world_fini(&world);
    world_fini(&other);
}

Test(store_copy, a_checkpoint_that_is_none_is_refused)
{
    char path[256];
    struct bb_store_incoming *incoming;
    struct bb_store_state state;
    begin_pair(40);
    cr_assert_eq(bb_store_incoming_begin(&world.ctx, world.store, path, sizeof(path)), BB_OK);
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 10000; i++) {
        (void)fputs("no store", file);
    }
    (void)fclose(file);
    cr_assert_eq(bb_store_incoming_open(&world.ctx, world.store, &incoming, &state),
                 BB_WRONG_VERSION);
    bb_store_incoming_discard(&world.ctx, world.store);
    cr_assert_eq(bb_store_incoming_begin(&world.ctx, world.store, path, sizeof(path)), BB_OK);
    bb_store_incoming_discard(&world.ctx, world.store);
    world_fini(&world);
    world_fini(&other);
}

/* ---- looking ---- */

static uint64_t seen_entries;
static uint32_t seen_last;
static void see(void *arg, uint32_t index, uint64_t entries, uint64_t bytes)
{
    (void)arg;
    cr_assert_gt(index, seen_last);
    cr_assert_gt(bytes, entries * 4);
    seen_last = index;
    seen_entries += entries;
}

Test(store_copy, a_stopped_store_has_the_hash_that_it_had_when_it_ran)
{
    struct bb_store_look look;
    world_init(&world, 31);
    many(&world, 30);
    struct bb_store_sum running = hash_at(&world, 0);
    cr_assert_eq(bb_store_look(&world.ctx, world.folder.path, &look, see, NULL), BB_BUSY);
    cr_assert_eq(bb_store_close(&world.ctx, world.store), BB_OK);
    cr_assert_eq(bb_store_look(&world.ctx, world.folder.path, &look, see, NULL), BB_OK, "%s",
                 world.ctx.error);
    cr_assert_eq(look.sum.hash, running.hash);
    cr_assert_eq(look.sum.tx.us, running.tx.us);
    cr_assert_eq(look.sum.entries, running.entries);
    cr_assert_eq(seen_entries, running.entries);
    cr_assert(look.has_state);
    cr_assert_eq(look.state.index, world.log_count);
    cr_assert_geq(look.used_bytes, 8192);
    cr_assert_eq(bb_store_open(&world.ctx, &world.options, &world.store), BB_OK);
    cr_assert_eq(hash_at(&world, 0).hash, running.hash);
    world_fini(&world);
}
