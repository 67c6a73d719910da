/*
 * Files of a node: written is in the page cache and survives the process, synced survives the
 * power. A full disk refuses writes; a power loss keeps a part of what was appended since the sync.
 */
#include "parts.h"

#include <stdio.h>

struct file {
    struct bb_list link;
    char *path;
    struct bb_buf data, synced;
    bool is_in_dir; /* the folder was synced since it was made */
    bool is_dir;
    struct file *replaced; /* by a rename that is not safe yet */
};
struct bb_file {
    struct file *file;
    struct sim_node *node;
    bool is_append;
};

struct sim_disk *sim_disk_new(void)
{
    struct sim_disk *disk = bb_alloc_zero(1, sizeof *disk);

    bb_list_init(&disk->files);
    bb_list_init(&disk->kvs);
    return disk;
}

void sim_disk_wipe(struct sim_disk *disk)
{
    bb_list_init(&disk->files);
    bb_list_init(&disk->kvs);
}

/* A part of what was appended may have come to the disk, the last sector torn. */
static void lose(struct file *file)
{
    bool is_appended = file->data.size >= file->synced.size &&
                       (file->synced.size == 0 ||
                        memcmp(file->data.data, file->synced.data, file->synced.size) == 0);

    if (is_appended) {
        file->data.size = file->synced.size + sim_below(file->data.size - file->synced.size + 1);
        if (file->data.size > file->synced.size && sim_chance(300000))
            file->data.data[file->data.size - 1] ^= 0x5a;
        return;
    }
    bb_buf_clear(&file->data);
    bb_buf_append_slice(&file->data, bb_buf_slice(&file->synced));
}

void sim_disk_power_loss(struct sim_disk *disk)
{
    bb_list_each_safe(item, &disk->files) {
        struct file *file = bb_container(item, struct file, link);
        if (!file->is_in_dir && sim_chance(500000)) {
            if (file->replaced != NULL)
                bb_list_push_back(&disk->files, &file->replaced->link);
            bb_list_remove(item);
            continue;
        }
        lose(file);
    }
    sim_kv_power_loss(disk);
}

uint64_t sim_sync_time(const struct sim_node *node)
{
    uint64_t time_us = sim.weather.sync_us + sim_below(sim.weather.sync_jitter_us + 1);

    if (node->disk->slow_until_us > sim.now_us)
        time_us += sim_below(400000);
    if (sim_chance(sim.weather.stall_ppm))
        time_us += sim_below(sim.weather.stall_us);
    return time_us;
}

static struct file *find(struct sim_node *node, const char *path)
{
    bb_list_each(item, &node->disk->files) {
        struct file *file = bb_container(item, struct file, link);
        if (strcmp(file->path, path) == 0)
            return file;
    }
    return NULL;
}

bool sim_disk_file(const struct sim_disk *disk, const char *path, struct bb_slice *bytes)
{
    bb_list_each(item, &disk->files) {
        struct file *file = bb_container(item, struct file, link);
        if (strcmp(file->path, path) == 0) {
            *bytes = bb_buf_slice(&file->data);
            return true;
        }
    }
    return false;
}

void sim_disk_forget(struct sim_disk *disk, const char *path)
{
    bb_list_each_safe(item, &disk->files) {
        struct file *file = bb_container(item, struct file, link);
        if (strcmp(file->path, path) == 0)
            bb_list_remove(item);
    }
}

static int no_space(struct bb_ctx *ctx, const char *path)
{
    return bb_fail(ctx, BB_NO_SPACE, "%s: no space left on device", path);
}

/* ---- the operations of bb/env.h ---- */

static uint64_t now_us(struct bb_env *env)
{
    return sim.now_us + sim_node_of(env)->boot_us;
}

static uint64_t wall_us(struct bb_env *env)
{
    return (uint64_t)((int64_t)(SIM_WALL_US + sim.now_us) + sim_node_of(env)->skew_us);
}

static void fill_random(struct bb_env *env, void *to, size_t size)
{
    uint8_t *bytes = to;

    (void)env;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)sim_random();
}

static int open_file(struct bb_ctx *ctx, struct bb_env *env, const char *path,
                     enum bb_open_mode mode, struct bb_file **file)
{
    struct sim_node *node = sim_node_of(env);
    struct file *found = find(node, path);

    if (found == NULL && mode == BB_OPEN_READ)
        return bb_fail(ctx, BB_NOT_FOUND, "%s: no such file", path);
    if (found != NULL && mode == BB_OPEN_CREATE)
        return bb_fail(ctx, BB_EXISTS, "%s: it exists", path);
    if (found == NULL && node->disk->is_full)
        return no_space(ctx, path);
    if (found == NULL) {
        found = bb_alloc_zero(1, sizeof *found);
        found->path = bb_strdup(path);
        bb_buf_init(&found->data);
        bb_buf_init(&found->synced);
        bb_list_push_back(&node->disk->files, &found->link);
    }
    *file = bb_alloc_zero(1, sizeof **file);
    **file = (struct bb_file){ .file = found, .node = node, .is_append = mode == BB_OPEN_APPEND };
    return BB_OK;
}

static int read_file(struct bb_ctx *ctx, struct bb_file *file, uint64_t offset, void *to,
                     size_t size, size_t *done)
{
    const struct bb_buf *data = &file->file->data;

    (void)ctx;
    *done = offset >= data->size ? 0 : data->size - (size_t)offset;
    if (*done > size)
        *done = size;
    if (*done > 0)
        memcpy(to, data->data + offset, *done);
    return BB_OK;
}

static int write_file(struct bb_ctx *ctx, struct bb_file *file, uint64_t offset, const void *from,
                      size_t size)
{
    struct bb_buf *data = &file->file->data;

    sim_failpoint("disk.write");
    if (file->is_append)
        offset = data->size;
    if (file->node->disk->is_full && offset + size > data->size)
        return no_space(ctx, file->file->path);
    if (data->size < offset + size) {
        size_t more = (size_t)offset + size - data->size;
        memset(bb_buf_reserve(data, more), 0, more);
        data->size += more;
    }
    if (size > 0)
        memcpy(data->data + offset, from, size);
    sim_failpoint("disk.written");
    return BB_OK;
}

static int sync_file(struct bb_ctx *ctx, struct bb_file *file)
{
    (void)ctx;
    sim_failpoint("disk.sync");
    sim_fiber_sleep(sim_sync_time(file->node));
    bb_buf_clear(&file->file->synced);
    bb_buf_append_slice(&file->file->synced, bb_buf_slice(&file->file->data));
    sim_failpoint("disk.synced");
    return BB_OK;
}

static int truncate_file(struct bb_ctx *ctx, struct bb_file *file, uint64_t size)
{
    (void)ctx;
    while (file->file->data.size < size)
        bb_buf_append_byte(&file->file->data, 0);
    file->file->data.size = (size_t)size;
    return BB_OK;
}

static int size_of_file(struct bb_ctx *ctx, struct bb_file *file, uint64_t *size)
{
    (void)ctx;
    *size = file->file->data.size;
    return BB_OK;
}

static void close_file(struct bb_file *file)
{
    bb_free(file);
}

static int remove_file(struct bb_ctx *ctx, struct bb_env *env, const char *path)
{
    struct file *file = find(sim_node_of(env), path);

    if (file == NULL)
        return bb_fail(ctx, BB_NOT_FOUND, "%s: no such file", path);
    bb_list_remove(&file->link);
    sim_kv_removed(sim_node_of(env)->disk, path);
    return BB_OK;
}

static int rename_file(struct bb_ctx *ctx, struct bb_env *env, const char *from, const char *to)
{
    struct file *file = find(sim_node_of(env), from);
    struct file *old = find(sim_node_of(env), to);

    if (file == NULL)
        return bb_fail(ctx, BB_NOT_FOUND, "%s: no such file", from);
    if (old != NULL) {
        bb_list_remove(&old->link);
        file->replaced = old;
        file->is_in_dir = false;
    }
    file->path = bb_strdup(to);
    return BB_OK;
}

static int make_dir(struct bb_ctx *ctx, struct bb_env *env, const char *path)
{
    struct sim_node *node = sim_node_of(env);

    (void)ctx;
    if (find(node, path) == NULL) {
        struct file *made = bb_alloc_zero(1, sizeof *made);
        made->path = bb_strdup(path);
        made->is_dir = made->is_in_dir = true;
        bb_buf_init(&made->data);
        bb_buf_init(&made->synced);
        bb_list_push_back(&node->disk->files, &made->link);
    }
    return BB_OK;
}

static bool is_in(const struct file *file, const char *dir)
{
    size_t size = strlen(dir);

    return strncmp(file->path, dir, size) == 0 && file->path[size] == '/' &&
           strchr(file->path + size + 1, '/') == NULL;
}

static int sync_dir(struct bb_ctx *ctx, struct bb_env *env, const char *path)
{
    (void)ctx;
    bb_list_each(item, &sim_node_of(env)->disk->files) {
        struct file *file = bb_container(item, struct file, link);
        if (is_in(file, path)) {
            file->is_in_dir = true;
            file->replaced = NULL;
        }
    }
    return BB_OK;
}

static int list_dir(struct bb_ctx *ctx, struct bb_env *env, const char *path,
                    void (*each)(void *arg, const char *name), void *arg)
{
    const char *last = "";

    if (find(sim_node_of(env), path) == NULL)
        return bb_fail(ctx, BB_NOT_FOUND, "%s: no such folder", path);
    for (;;) { /* the smallest name after the last one */
        const char *next = NULL;
        bb_list_each(item, &sim_node_of(env)->disk->files) {
            const struct file *file = bb_container(item, struct file, link);
            const char *name = file->path + strlen(path) + 1;
            if (is_in(file, path) && strcmp(name, last) > 0 &&
                (next == NULL || strcmp(name, next) < 0))
                next = name;
        }
        if (next == NULL)
            return BB_OK;
        last = next;
        each(arg, next);
    }
}

static int free_bytes(struct bb_ctx *ctx, struct bb_env *env, const char *path, uint64_t *bytes)
{
    (void)ctx;
    (void)path;
    *bytes = sim_node_of(env)->disk->is_full ? 0 : UINT64_C(1) << 40;
    return BB_OK;
}

const struct bb_env_ops sim_env_ops = {
    .now_us = now_us,
    .wall_us = wall_us,
    .random = fill_random,
    .open = open_file,
    .read = read_file,
    .write = write_file,
    .sync = sync_file,
    .truncate = truncate_file,
    .size = size_of_file,
    .close = close_file,
    .rename = rename_file,
    .remove = remove_file,
    .make_dir = make_dir,
    .sync_dir = sync_dir,
    .list_dir = list_dir,
    .free_bytes = free_bytes,
};
