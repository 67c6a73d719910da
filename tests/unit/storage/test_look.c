/* Looking at the folder of a stopped node: log, data and feed tell what was written. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bb/replog_look.h"
#include "bb/storage_service.h"
#include "bb/store.h"

#include "client.h"
#include "storage.h"

#define URL "inproc://test-look"

enum {
    BATCHES = 40,
    PER_BATCH = 3
};

struct look_world {
    char dir[64];
    struct bb_ctx ctx;
    uint64_t last_tx;
    uint64_t appends, claims, last_index, last_seq;
    uint64_t segments, damaged;
    uint64_t records, feed_tx;
};

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

static void on_event(void *arg, enum bb_service_state state)
{
    (void)arg, (void)state;
}

/* A node writes some batches and ends. */
static void begin(struct look_world *world)
{
    const struct bb_option *tables[] = { bb_service_options, bb_storage_service.options, NULL };
    char name[] = "test", *argv[] = { name, NULL };
    struct bb_conf *conf;
    struct bb_service *service;
    struct client client;
    memset(world, 0, sizeof *world);
    world->ctx.env = bb_env_real();
    world->ctx.arena = bb_arena_new(0);
    snprintf(world->dir, sizeof world->dir, "/tmp/bb-look-XXXXXX");
    cr_assert_not_null(mkdtemp(world->dir));
    cr_assert_eq(bb_conf_parse(&world->ctx, "storage", "", tables, 1, argv, &conf), BB_OK);
    cr_assert_eq(bb_conf_set(&world->ctx, conf, "data", world->dir), BB_OK);
    cr_assert_eq(bb_conf_set(&world->ctx, conf, "listen", URL), BB_OK);
    cr_assert_eq(bb_service_start(&world->ctx, &bb_storage_service, conf, world->ctx.env, NULL,
                                  on_event, NULL, &service),
                 BB_OK, "%s", world->ctx.error);
    client_open(&client, URL);
    client_claim_next(&client);
    for (uint64_t i = 0; i < BATCHES; i++)
        cr_assert_eq(client_append(&client, i * PER_BATCH, PER_BATCH, 1000), BB_OK);
    world->last_tx = client.tx;
    client_close(&client);
    bb_service_stop(service);
    bb_service_join(service);
    bb_conf_free(conf);
}

static void end(struct look_world *world)
{
    bb_arena_free(world->ctx.arena);
    nftw(world->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void see_segment(void *arg, const struct bb_replog_look_segment *segment)
{
    struct look_world *world = arg;
    world->segments++;
    world->damaged += segment->damage != NULL;
    if (segment->damage != NULL)
        cr_assert(strstr(segment->damage, "checksum") != NULL, "%s", segment->damage);
}

static void see_entry(void *arg, const struct bb_replog_look_entry *entry)
{
    struct look_world *world = arg;
    cr_assert_eq(entry->index, world->last_index + 1, "each entry once and in order");
    cr_assert_null(entry->damage);
    world->last_index = entry->index;
    if (entry->kind != BB_REPLOG_LOOK_ENTRY)
        return;
    cr_assert(entry->has_frame);
    if (entry->frame.kind == BB_REPLOG_CLAIM)
        world->claims++;
    if (entry->frame.kind == BB_REPLOG_APPEND) {
        cr_assert_eq(entry->frame.seq, world->last_seq + 1);
        cr_assert_eq(entry->frame.base_tx.us, world->last_seq * PER_BATCH * 10);
        world->last_seq = entry->frame.seq;
        world->appends++;
    }
}

static void look_at_log(struct look_world *world)
{
    char path[128];
    struct bb_replog_look look = { .segment = see_segment, .entry = see_entry, .arg = world };
    snprintf(path, sizeof path, "%s/raft", world->dir);
    world->segments = world->damaged = world->appends = world->claims = 0;
    world->last_index = world->last_seq = 0;
    cr_assert_eq(bb_replog_look(&world->ctx, path, &look), BB_OK, "%s", world->ctx.error);
    cr_assert_gt(look.term, 0);
}

Test(look, the_log_tells_each_entry_and_where_it_is_damaged, .timeout = 30)
{
    struct look_world world;
    begin(&world);
    look_at_log(&world);
    cr_assert_eq(world.appends, BATCHES);
    cr_assert_eq(world.claims, 1);
    cr_assert_eq(world.damaged, 0);

    /* One bit in the middle of the first segment with something in it. */
    char path[512];
    snprintf(path, sizeof path, "%s/raft", world.dir);
    DIR *dir = opendir(path);
    for (const struct dirent *item = readdir(dir); item != NULL; item = readdir(dir)) {
        if (strncmp(item->d_name, "0000", 4) == 0)
            snprintf(path, sizeof path, "%s/raft/%s", world.dir, item->d_name);
    }
    closedir(dir);
    int fd = open(path, O_RDWR);
    uint8_t byte;
    cr_assert_eq(pread(fd, &byte, 1, 60000), 1);
    byte ^= 4;
    cr_assert_eq(pwrite(fd, &byte, 1, 60000), 1);
    close(fd);
    look_at_log(&world);
    cr_assert_eq(world.damaged, 1);
    cr_assert(world.appends > 5 && world.appends < BATCHES, "what lies before it is told");
    end(&world);
}

static void see_feed_segment(void *arg, const struct bb_feed_look_segment *segment)
{
    struct look_world *world = arg;
    world->segments++;
    cr_assert_null(segment->damage);
    cr_assert_eq(segment->last.us, world->feed_tx);
}

static void see_record(void *arg, struct bb_txtime prev, struct bb_txtime tx,
                       struct bb_slice record)
{
    struct look_world *world = arg;
    cr_assert_eq(prev.us, world->feed_tx);
    cr_assert_gt(record.size, 1000);
    world->feed_tx = tx.us;
    world->records++;
}

Test(look, the_feed_and_the_data_tell_what_they_hold, .timeout = 30)
{
    struct look_world world;
    struct bb_store_look data;
    struct fence fence;
    char path[128];
    begin(&world);
    struct bb_feed_look feed = { .segment = see_feed_segment, .record = see_record, .arg = &world };
    snprintf(path, sizeof path, "%s/feed", world.dir);
    cr_assert_eq(bb_feed_look(&world.ctx, path, &feed), BB_OK, "%s", world.ctx.error);
    cr_assert_eq(world.records, BATCHES * PER_BATCH);
    cr_assert_eq(world.feed_tx, world.last_tx);
    cr_assert_eq(world.segments, 1);

    snprintf(path, sizeof path, "%s/store", world.dir);
    cr_assert_eq(bb_store_look(&world.ctx, path, &data, NULL, NULL), BB_OK, "%s", world.ctx.error);
    cr_assert_eq(data.state.last_tx.us, world.last_tx);
    cr_assert_eq(data.state.last_seq, BATCHES);
    cr_assert_eq(data.sum.entries, BATCHES * PER_BATCH);
    cr_assert_eq(storage_fence_decode(&world.ctx, data.state.opaque, &fence), BB_OK);
    cr_assert_eq(fence.index, data.state.index);
    end(&world);
}

/* ---- the log is the truth ---- */

struct rebuild {
    struct bb_ctx *ctx;
    struct bb_store *store;
    uint64_t index;
};

/* A record of the feed as a batch of its own. */
static void rebuild_one(void *arg, struct bb_txtime prev, struct bb_txtime tx,
                        struct bb_slice record)
{
    struct rebuild *rebuild = arg;
    struct bb_store_state state = { .index = ++rebuild->index, .last_tx = tx };
    struct bb_buf batch;
    uint8_t size[4];
    (void)prev;
    bb_buf_init(&batch);
    bb_put_le32(size, (uint32_t)record.size);
    bb_buf_append(&batch, size, sizeof size);
    bb_buf_append_slice(&batch, record);
    cr_assert_eq(bb_store_apply(rebuild->ctx, rebuild->store, &state, bb_buf_slice(&batch)), BB_OK,
                 "%s", rebuild->ctx->error);
    bb_buf_fini(&batch);
}

Test(look, t7_the_present_state_is_rebuilt_from_the_log_alone, .timeout = 30)
{
    struct look_world world;
    struct bb_store_look data;
    struct bb_store_sum sum;
    char path[128], rebuilt[160];
    begin(&world);
    snprintf(path, sizeof path, "%s/store", world.dir);
    cr_assert_eq(bb_store_look(&world.ctx, path, &data, NULL, NULL), BB_OK);
    snprintf(rebuilt, sizeof rebuilt, "%s/rebuilt", world.dir);
    struct rebuild rebuild = { .ctx = &world.ctx };
    struct bb_store_options options = { .dir = rebuilt, .reader_count = 1, .has_no_thread = true };
    cr_assert_eq(bb_store_open(&world.ctx, &options, &rebuild.store), BB_OK);
    struct bb_feed_look feed = { .record = rebuild_one, .arg = &rebuild };
    snprintf(path, sizeof path, "%s/feed", world.dir);
    cr_assert_eq(bb_feed_look(&world.ctx, path, &feed), BB_OK);
    cr_assert_eq(rebuild.index, BATCHES * PER_BATCH);
    cr_assert_eq(bb_store_hash(&world.ctx, rebuild.store, 0, BB_TX_NONE, &sum), BB_OK);
    cr_assert_eq(sum.hash, data.sum.hash, "documents and indexes, byte by byte");
    cr_assert_eq(sum.entries, data.sum.entries);
    cr_assert_eq(bb_store_close(&world.ctx, rebuild.store), BB_OK);
    end(&world);
}
