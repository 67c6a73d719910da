#include "folder.h"

#include <stdio.h>
#include <stdlib.h>

#include "bb/env.h"

#define VERSION_TEXT_FORMAT "bitbend-data %d\ncluster "
#define NODE_TEXT           "node "

void storage_folder_path(const struct folder *folder, const char *name, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/%s", folder->dir, name); /* open checked the length */
}

/* ---- version ---- */

/* "node 2 HEX", the third line; folders of before do not have it. */
static int read_node(struct bb_ctx *ctx, struct folder *folder, struct bb_slice text)
{
    struct bb_buf id;
    char *end = NULL;
    int rc = BB_CORRUPT;

    if (!bb_slice_starts_with(text, bb_slice_str(NODE_TEXT))) {
        return BB_OK;
    }
    folder->node = strtoull((const char *)text.data + strlen(NODE_TEXT), &end, 10);
    text = bb_slice(end, (size_t)((const char *)text.data + text.size - end));
    bb_buf_init(&id);
    if (folder->node > 0 && text.size >= 1 + 2 * FOLDER_INCARNATION) {
        rc = bb_hex_decode(ctx, bb_slice(text.data + 1, (size_t)2 * FOLDER_INCARNATION), &id);
    }
    if (rc == BB_OK) {
        memcpy(folder->incarnation, id.data, FOLDER_INCARNATION);
    }
    bb_buf_fini(&id);
    return rc;
}

static int read_version(struct bb_ctx *ctx, struct folder *folder, struct bb_slice text)
{
    char head[64];
    struct bb_buf id;
    size_t size = (size_t)snprintf(head, sizeof head, VERSION_TEXT_FORMAT, FOLDER_FORMAT);
    int rc = BB_CORRUPT;

    if (!bb_slice_starts_with(text, bb_slice_str("bitbend-data "))) {
        return bb_fail(
            ctx, BB_CORRUPT,
            "the file VERSION in %s is damaged, or another program wrote it. Nothing was "
            "changed; restore the folder from a backup, or replace the node: an empty "
            "folder, and a new number",
            folder->dir);
    }
    if (!bb_slice_starts_with(text, bb_slice(head, size))) {
        return bb_fail(ctx, BB_WRONG_VERSION,
                       "the folder %s holds data of another version (%.*s; this program reads "
                       "bitbend-data %d): start the version of BitBend that wrote it, or name "
                       "another folder with --data",
                       folder->dir, (int)strcspn((const char *)text.data, "\n"),
                       (const char *)text.data, FOLDER_FORMAT);
    }
    bb_buf_init(&id);
    if (text.size >= size + 32) {
        rc = bb_hex_decode(ctx, bb_slice(text.data + size, 32), &id);
    }
    if (rc == BB_OK) {
        memcpy(folder->cluster, id.data, FOLDER_CLUSTER);
        text = bb_slice(text.data + size + 32, text.size - size - 32);
        rc =
            text.size == 0 ? BB_OK : read_node(ctx, folder, bb_slice(text.data + 1, text.size - 1));
    }
    if (rc != BB_OK) {
        rc = bb_fail(ctx, BB_CORRUPT,
                     "the file VERSION in %s is damaged: restore the folder from a backup, or "
                     "replace the node: an empty folder, and a new number",
                     folder->dir);
    }
    bb_buf_fini(&id);
    return rc;
}

static int load_version(struct bb_ctx *ctx, struct folder *folder)
{
    char path[FOLDER_PATH_MAX + 16];
    struct bb_buf text;
    int rc;

    storage_folder_path(folder, "VERSION", path, sizeof path);
    bb_buf_init(&text);
    rc = bb_file_read_all(ctx, path, &text);
    if (rc == BB_NOT_FOUND) {
        folder->is_new = folder->is_dirty = true;
        bb_random(ctx, folder->cluster, FOLDER_CLUSTER);
        rc = BB_OK;
    } else if (rc == BB_OK) {
        bb_buf_append_byte(&text, 0);
        text.size -= 1;
        rc = read_version(ctx, folder, bb_buf_slice(&text));
    }
    bb_buf_fini(&text);
    return rc;
}

int storage_folder_open(struct bb_ctx *ctx, const char *dir, bool is_temporary,
                        struct folder *folder)
{
    int rc;

    *folder = (struct folder){ .lock_fd = -1 };
    if (is_temporary) {
        rc = storage_folder_temporary(ctx, folder);
    } else if (dir == NULL || dir[0] == 0 || strlen(dir) >= FOLDER_PATH_MAX) {
        rc = bb_fail(ctx, BB_BAD_REQUEST, "name the data folder with --data");
    } else {
        (void)snprintf(folder->dir, sizeof folder->dir, "%s", dir); /* its length was checked */
        rc = ctx->env->ops->make_dir(ctx, ctx->env, dir);
    }
    if (rc == BB_OK) {
        rc = storage_folder_lock(ctx, folder);
    }
    if (rc == BB_OK) {
        rc = load_version(ctx, folder);
    }
    if (rc != BB_OK) {
        storage_folder_close(folder);
    }
    return rc;
}

int storage_folder_own(struct bb_ctx *ctx, struct folder *folder, uint64_t node)
{
    if (folder->node == 0) {
        folder->node = node;
        bb_random(ctx, folder->incarnation, FOLDER_INCARNATION);
        folder->is_dirty = true;
    }
    if (folder->node != node) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "the folder %s belongs to storage node %" PRIu64 ", not to node %" PRIu64
                       ": start it with --raft-id %" PRIu64 ", or name another folder with --data",
                       folder->dir, folder->node, node, folder->node);
    }
    return BB_OK;
}

void storage_folder_set_cluster(struct folder *folder, const uint8_t *cluster)
{
    if (memcmp(folder->cluster, cluster, FOLDER_CLUSTER) != 0) {
        memcpy(folder->cluster, cluster, FOLDER_CLUSTER);
        folder->is_dirty = true;
    }
}

int storage_folder_seal(struct bb_ctx *ctx, struct folder *folder)
{
    char path[FOLDER_PATH_MAX + 16];
    struct bb_buf text;
    int rc;

    if (!folder->is_dirty) {
        return BB_OK;
    }
    storage_folder_path(folder, "VERSION", path, sizeof path);
    bb_buf_init(&text);
    bb_buf_printf(&text, VERSION_TEXT_FORMAT, FOLDER_FORMAT);
    bb_hex_append(&text, bb_slice(folder->cluster, FOLDER_CLUSTER));
    bb_buf_printf(&text, "\n" NODE_TEXT "%" PRIu64 " ", folder->node);
    bb_hex_append(&text, bb_slice(folder->incarnation, FOLDER_INCARNATION));
    bb_buf_append_byte(&text, '\n');
    rc = bb_file_write_all(ctx, path, bb_buf_slice(&text), 0600);
    bb_buf_fini(&text);
    if (rc == BB_OK) {
        folder->is_new = folder->is_dirty = false;
    }
    return rc;
}
