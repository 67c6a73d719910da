#include "log.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

static void on_apply(void *arg, const struct bb_replog_entry *entry)
{
    struct log_world *world = arg;
    struct bb_replog_frame frame;
    cr_assert_eq(bb_replog_frame_decode(&world->ctx, entry->bytes, &frame), BB_OK, "%s",
                 world->ctx.error);
    cr_assert_lt(world->applied_count, LOG_APPLIED_MAX);
    world->applied[world->applied_count] = bb_get_le64(frame.payload.data);
    world->indexes[world->applied_count++] = entry->index;
    world->tagged_count += entry->tag != NULL;
}

static uint64_t on_durable_index(void *arg)
{
    return ((struct log_world *)arg)->durable_index;
}

static void on_manifest(void *arg, struct bb_buf *to)
{
    struct log_world *world = arg;
    uint8_t bytes[8];
    world->manifest_index =
        world->applied_count == 0 ? 0 : world->indexes[world->applied_count - 1];
    bb_put_le64(bytes, world->manifest_index);
    bb_buf_append(to, bytes, sizeof bytes);
}

static bool on_covers(void *arg, struct bb_slice manifest)
{
    struct log_world *world = arg;
    uint64_t newest = world->applied_count == 0 ? world->options.applied
                                                : world->indexes[world->applied_count - 1];
    return manifest.size == 8 && bb_get_le64(manifest.data) <= newest && !world->refuses_manifest;
}

static void on_role(void *arg, const struct bb_replog_status *status)
{
    struct log_world *world = arg;
    world->role = *status;
    if (world->wants_ready && status->is_ready)
        uv_stop(bb_loop_uv(world->loop));
}

static void on_done(void *tag, int status)
{
    struct log_world *world = tag;
    world->done_count++;
    world->under_way--;
    world->done_status = status;
    if (world->done_count == world->wanted)
        uv_stop(bb_loop_uv(world->loop));
}

static void on_closed(void *arg)
{
    struct log_world *world = arg;
    world->is_closed = true;
}

void log_init(struct log_world *world)
{
    memset(world, 0, sizeof *world);
    snprintf(world->dir, sizeof world->dir, "/tmp/bb-replog-XXXXXX");
    cr_assert_not_null(mkdtemp(world->dir));
    world->ctx.env = bb_env_real();
    world->options = (struct bb_replog_options){
        .dir = world->dir,
        .id = 1,
        .callbacks = { .apply = on_apply,
                       .durable_index = on_durable_index,
                       .manifest = on_manifest,
                       .covers = on_covers,
                       .role = on_role,
                       .arg = world },
    };
}

int log_open(struct log_world *world)
{
    world->loop = bb_loop_new(world->ctx.env, NULL, "log");
    world->applied_count = world->tagged_count = 0;
    int rc = bb_replog_open(&world->ctx, world->loop, &world->options, &world->replog);
    if (rc != BB_OK)
        bb_loop_free(world->loop);
    return rc;
}

int log_start(struct log_world *world)
{
    int rc = log_open(world);
    if (rc != BB_OK)
        return rc;
    rc = bb_replog_start(&world->ctx, world->replog);
    if (rc != BB_OK) {
        bb_replog_free(world->replog);
        bb_loop_free(world->loop);
        return rc;
    }
    world->wants_ready = true;
    if (!world->role.is_ready)
        uv_run(bb_loop_uv(world->loop), UV_RUN_DEFAULT);
    world->wants_ready = false;
    return BB_OK;
}

void log_propose(struct log_world *world, uint64_t value, size_t size)
{
    uint8_t *payload = bb_alloc_zero(1, size);
    struct bb_replog_frame frame = { .kind = BB_REPLOG_APPEND,
                                     .epoch = 1,
                                     .seq = value,
                                     .count = 1,
                                     .payload = bb_slice(payload, size) };
    uint8_t *entry = bb_replog_entry_new(bb_replog_frame_size(size));
    bb_put_le64(payload, value);
    bb_replog_frame_encode(&frame, entry);
    cr_assert_eq(bb_replog_propose_take(&world->ctx, world->replog, entry,
                                        bb_replog_frame_size(size), on_done, world),
                 BB_OK, "%s", world->ctx.error);
    world->under_way++;
    bb_free(payload);
}

void log_run(struct log_world *world, size_t done_count)
{
    world->wanted = done_count;
    if (world->done_count < done_count)
        uv_run(bb_loop_uv(world->loop), UV_RUN_DEFAULT);
    cr_assert_eq(world->done_count, done_count);
}

static void on_time(void *arg)
{
    uv_stop(bb_loop_uv(((struct log_world *)arg)->loop));
}

void log_run_ms(struct log_world *world, uint64_t ms)
{
    struct bb_timer *timer = bb_timer_new(world->loop, on_time, world);
    bb_timer_start(timer, ms, 0);
    uv_run(bb_loop_uv(world->loop), UV_RUN_DEFAULT);
    bb_timer_free(timer);
}

void log_stop(struct log_world *world)
{
    bb_replog_close(world->replog, on_closed, world);
    bb_replog_free(world->replog);
    cr_assert(world->is_closed);
    bb_loop_free(world->loop);
    world->is_closed = false;
    world->role.is_ready = false;
    world->done_count = 0;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

void log_fini(struct log_world *world)
{
    nftw(world->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
