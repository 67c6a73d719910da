/*
 * Work that running storage nodes do on request: compaction, and the hash that shows whether they
 * hold the same.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "storage.pb-c.h"

#include "bb/env.h"
#include "bb/rt.h"
#include "bb/wire.h"
#include "bb/wire_validate.h"

#include "ctl.h"

enum {
    CARE_TIMEOUT_MS = 3600000, /* all of the data is read */
    INFO_TIMEOUT_MS = 5000,
    URL_BYTES = 512,
    NODES_MAX = 16
};

struct node {
    char url[URL_BYTES];
    struct bb_peer *peer;
    struct bb_arena *arena; /* of the last reply */
    Bb__Proto__StorageReply *reply;
    struct care *care;
    int status;
};
struct care {
    struct bb_ctx *ctx;
    struct bb_loop *loop;
    struct node nodes[NODES_MAX];
    size_t count, waiting;
    bool is_json;
};

static void on_reply(void *arg, int status, struct bb_slice bytes)
{
    struct node *node = arg;
    struct care *care = node->care;
    struct bb_ctx *ctx = bb_loop_ctx(care->loop);

    node->status = status;
    if (status == BB_OK) {
        node->status =
            bb_unpack(ctx, node->arena, &bb__proto__storage_reply__descriptor, bytes, &node->reply);
    }
    if (node->status == BB_OK) {
        node->status = bb_storage_reply_validate(ctx, node->reply);
    }
    if (node->status == BB_OK) {
        node->status = (int)node->reply->status;
    }
    if (--care->waiting == 0) {
        bb_loop_stop(care->loop);
    }
}

/* Asks all nodes the same at once and waits for all; how many answered well. */
static size_t ask_all(struct care *care, const Bb__Proto__StorageRequest *request,
                      uint32_t timeout_ms)
{
    size_t good = 0;

    for (size_t i = 0; i < care->count; i++) {
        struct node *node = &care->nodes[i];
        bb_arena_reset(node->arena);
        node->reply = NULL;
        node->status =
            bb_peer_request(care->ctx, node->peer, &request->base, timeout_ms, on_reply, node);
        care->waiting += node->status == BB_OK;
    }
    if (care->waiting > 0) {
        bb_loop_run(care->loop);
    }
    for (size_t i = 0; i < care->count; i++) {
        good += care->nodes[i].status == BB_OK;
    }
    return good;
}

static void complain(const struct care *care)
{
    for (size_t i = 0; i < care->count; i++) {
        const struct node *node = &care->nodes[i];
        if (node->status != BB_OK) {
            (void)fprintf(stderr, "bb-ctl: %s: %s%s%s\n", node->url, bb_status_name(node->status),
                          node->reply == NULL ? "" : ": ",
                          node->reply == NULL ? "" : node->reply->error);
        }
    }
}

static int open_all(struct bb_ctx *ctx, const struct bb_conf *conf, struct care *care)
{
    const char *urls = bb_conf_text(conf, "storage");

    care->ctx = ctx;
    care->is_json = bb_conf_bool(conf, "json");
    care->loop = bb_loop_new(ctx->env, NULL, "ctl");
    while (urls != NULL && *urls != '\0' && care->count < NODES_MAX) {
        size_t length = strcspn(urls, ",");
        struct node *node = &care->nodes[care->count++];
        (void)snprintf(node->url, sizeof node->url, "%.*s", (int)length, urls); /* cut: not found */
        node->care = care;
        node->arena = bb_arena_new((size_t)4 << 20);
        int rc = bb_peer_open(ctx, care->loop, &(struct bb_peer_options){ .url = node->url },
                              &node->peer);
        if (rc != BB_OK) {
            return rc;
        }
        urls += length + (urls[length] == ',');
    }
    if (care->count == 0) {
        return bb_fail(ctx, BB_BAD_REQUEST,
                       "name the storage nodes: --storage tcp://127.0.0.1:3501");
    }
    return BB_OK;
}

/* ---- compaction ---- */

static int compact(struct care *care)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Compact message = BB__PROTO__COMPACT__INIT;
    size_t good;

    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_COMPACT;
    request.compact = &message;
    good = ask_all(care, &request, CARE_TIMEOUT_MS);
    for (size_t i = 0; i < care->count; i++) {
        const struct node *node = &care->nodes[i];
        if (node->status != BB_OK || node->reply->compact == NULL) {
            continue;
        }
        const Bb__Proto__CompactReply *reply = node->reply->compact;
        (void)printf(care->is_json ? "{\"url\":\"%s\",\"beforeBytes\":%" PRIu64
                                     ",\"afterBytes\":%" PRIu64 ",\"tookUs\":%" PRIu64 "}\n"
                                   : "%s: %" PRIu64 " bytes before, %" PRIu64 " after, in %" PRIu64
                                     " us\n",
                     node->url, reply->before_bytes, reply->after_bytes, reply->took_us);
    }
    complain(care);
    return good == care->count ? 0 : 1;
}

/* ---- the hash ---- */

/* The newest tx that all of them have. */
static int find_tx(struct care *care, uint64_t *tx)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Info info = BB__PROTO__INFO__INIT;

    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_INFO;
    request.info = &info;
    *tx = UINT64_MAX;
    if (ask_all(care, &request, INFO_TIMEOUT_MS) < care->count) {
        return BB_PEER_GONE;
    }
    for (size_t i = 0; i < care->count; i++) {
        const Bb__Proto__StorageReply *reply = care->nodes[i].reply;
        if (reply->info == NULL) {
            return BB_CORRUPT;
        }
        *tx = reply->info->last_tx < *tx ? reply->info->last_tx : *tx;
    }
    return BB_OK;
}

static int hash(struct care *care)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__StateHash message = BB__PROTO__STATE_HASH__INIT;
    const Bb__Proto__StateHashReply *first = NULL;
    bool is_equal = true;

    if (find_tx(care, &message.tx) != BB_OK) {
        complain(care);
        return 1;
    }
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_STATE_HASH;
    request.state_hash = &message;
    size_t good = ask_all(care, &request, CARE_TIMEOUT_MS);
    for (size_t i = 0; i < care->count; i++) {
        const struct node *node = &care->nodes[i];
        if (node->status != BB_OK || node->reply->state_hash == NULL) {
            continue;
        }
        const Bb__Proto__StateHashReply *reply = node->reply->state_hash;
        (void)printf(care->is_json ? "{\"url\":\"%s\",\"tx\":%" PRIu64 ",\"hash\":\"%016" PRIx64
                                     "\",\"entries\":%" PRIu64 ",\"contentBytes\":%" PRIu64 "}\n"
                                   : "%s: tx %" PRIu64 " hash %016" PRIx64 ", %" PRIu64
                                     " entries of %" PRIu64 " bytes\n",
                     node->url, reply->tx, reply->hash, reply->entries, reply->bytes);
        is_equal = is_equal && (first == NULL || first->hash == reply->hash);
        first = first == NULL ? reply : first;
    }
    complain(care);
    if (!is_equal) {
        (void)fprintf(stderr, "bb-ctl: the nodes hold different data at one tx\n");
    }
    return good == care->count && is_equal ? 0 : 1;
}

int ctl_care(struct bb_ctx *ctx, const struct bb_conf *conf, bool is_hash)
{
    struct care *care = bb_alloc_zero(1, sizeof *care);
    int code = 2;

    if (open_all(ctx, conf, care) == BB_OK) {
        code = is_hash ? hash(care) : compact(care);
    } else {
        (void)fprintf(stderr, "bb-ctl: %s\n", ctx->error);
    }
    (void)fflush(stdout);
    /* Sockets of processes that do not answer would hold up a careful end. */
    _exit(code);
}
