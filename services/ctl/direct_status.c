/* Asks every named process one question over nng and prints the answers in order. */
#include <stdio.h>
#include <unistd.h>

#include "sequencer.pb-c.h"
#include "storage.pb-c.h"
#include "worker.pb-c.h"

#include "bb/env.h"
#include "bb/rt.h"
#include "bb/value.h"
#include "bb/wire.h"

#include "ctl.h"

#define TIMEOUT_MS  3000u
#define TARGETS_MAX 64u

enum kind {
    KIND_STORAGE,
    KIND_SEQUENCER,
    KIND_WORKER
};
static const char *const kind_names[] = { "storage", "sequencer", "worker" };

struct inquiry;
struct target {
    struct inquiry *inquiry;
    enum kind kind;
    char url[256];
    struct bb_peer *peer;
    struct bb_buf answer; /* a JSON object's fields */
};
struct inquiry {
    struct bb_loop *loop;
    struct target targets[TARGETS_MAX];
    size_t count, waiting, failed;
};

static void describe_storage(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice reply,
                             struct bb_buf *to)
{
    Bb__Proto__StorageReply *message = NULL;

    if (bb_unpack(ctx, arena, &bb__proto__storage_reply__descriptor, reply, &message) != BB_OK ||
        message->op_case != BB__PROTO__STORAGE_REPLY__OP_INFO || message->info == NULL)
        return;
    const Bb__Proto__InfoReply *info = message->info;
    bb_buf_printf(to,
                  "\"node\":%" PRIu64 ",\"term\":%" PRIu64 ",\"leader\":%" PRIu64
                  ",\"isVoter\":%s,\"isCurrent\":%s,\"epoch\":%" PRIu64 ",\"lastTx\":%" PRIu64
                  ",\"appliedIndex\":%" PRIu64 ",\"flushedTx\":%" PRIu64
                  ",\"isLeader\":%s,\"dataBytes\":%" PRIu64 ",\"logBytes\":%" PRIu64,
                  info->node, info->term, info->leader, info->is_voter ? "true" : "false",
                  info->is_current ? "true" : "false", info->epoch, info->last_tx,
                  info->applied_index, info->flushed_tx, info->is_leader ? "true" : "false",
                  info->data_bytes, info->log_bytes);
}

static void describe_sequencer(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice reply,
                               struct bb_buf *to)
{
    Bb__Proto__SequencerReply *message = NULL;

    if (bb_unpack(ctx, arena, &bb__proto__sequencer_reply__descriptor, reply, &message) != BB_OK ||
        message->op_case != BB__PROTO__SEQUENCER_REPLY__OP_INFO || message->info == NULL)
        return;
    const Bb__Proto__SequencerInfoReply *info = message->info;
    bb_buf_printf(to,
                  "\"epoch\":%" PRIu64 ",\"sequenced\":%" PRIu64 ",\"durable\":%" PRIu64
                  ",\"isActive\":%s,\"isStandby\":%s,\"commits\":%" PRIu64 ",\"conflicts\":%" PRIu64
                  ",\"ids\":%" PRIu64 ",\"holder\":",
                  info->epoch, info->sequenced, info->durable, info->is_active ? "true" : "false",
                  info->is_standby ? "true" : "false", info->commits, info->conflicts, info->ids);
    bb_json_string(to, bb_slice_str(info->holder));
}

static void describe_worker(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice reply,
                            struct bb_buf *to)
{
    Bb__Proto__WorkerReply *message = NULL;

    if (bb_unpack(ctx, arena, &bb__proto__worker_reply__descriptor, reply, &message) != BB_OK ||
        message->op_case != BB__PROTO__WORKER_REPLY__OP_INFO || message->info == NULL)
        return;
    const Bb__Proto__WorkerInfoReply *info = message->info;
    bb_buf_printf(to,
                  "\"slots\":%" PRIu32 ",\"busy\":%" PRIu32 ",\"spare\":%" PRIu32
                  ",\"durable\":%" PRIu64 ",\"calls\":%" PRIu64 ",\"retries\":%" PRIu64
                  ",\"cacheHits\":%" PRIu64 ",\"cacheMisses\":%" PRIu64,
                  info->slots, info->slots_busy, info->spare_slots, info->durable, info->calls,
                  info->retries, info->cache_hits, info->cache_misses);
}

static void on_reply(void *arg, int status, struct bb_slice reply)
{
    struct target *target = arg;
    struct inquiry *inquiry = target->inquiry;
    struct bb_ctx *ctx = bb_loop_ctx(inquiry->loop);
    struct bb_arena *arena = bb_arena_new(1 << 20);

    if (status == BB_OK) {
        if (target->kind == KIND_STORAGE) {
            describe_storage(ctx, arena, reply, &target->answer);
        } else if (target->kind == KIND_SEQUENCER) {
            describe_sequencer(ctx, arena, reply, &target->answer);
        } else {
            describe_worker(ctx, arena, reply, &target->answer);
        }
    }
    if (target->answer.size == 0) {
        bb_buf_printf(&target->answer, "\"error\":\"%s\"",
                      status == BB_OK ? "unexpected answer" : bb_status_name(status));
        inquiry->failed++;
    }
    bb_arena_free(arena);
    if (--inquiry->waiting == 0)
        bb_loop_stop(inquiry->loop);
}

static int ask(struct bb_ctx *ctx, struct target *target)
{
    Bb__Proto__Info info = BB__PROTO__INFO__INIT;
    Bb__Proto__SequencerInfo sequencer_info = BB__PROTO__SEQUENCER_INFO__INIT;
    Bb__Proto__WorkerInfo worker_info = BB__PROTO__WORKER_INFO__INIT;
    Bb__Proto__StorageRequest storage = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__SequencerRequest sequencer = BB__PROTO__SEQUENCER_REQUEST__INIT;
    Bb__Proto__WorkerRequest worker = BB__PROTO__WORKER_REQUEST__INIT;
    struct bb_peer_options options = { .url = target->url, .outstanding_max = 1 };
    const ProtobufCMessage *message = &worker.base;

    storage.op_case = BB__PROTO__STORAGE_REQUEST__OP_INFO;
    storage.info = &info;
    sequencer.op_case = BB__PROTO__SEQUENCER_REQUEST__OP_INFO;
    sequencer.info = &sequencer_info;
    worker.op_case = BB__PROTO__WORKER_REQUEST__OP_INFO;
    worker.info = &worker_info;
    if (target->kind == KIND_STORAGE) {
        message = &storage.base;
    } else if (target->kind == KIND_SEQUENCER) {
        message = &sequencer.base;
    }
    int rc = bb_peer_open(ctx, target->inquiry->loop, &options, &target->peer);
    if (rc == BB_OK)
        rc = bb_peer_request(ctx, target->peer, message, TIMEOUT_MS, on_reply, target);
    return rc;
}

static void add_targets(struct inquiry *inquiry, enum kind kind, const char *urls)
{
    while (urls != NULL && *urls != '\0' && inquiry->count < TARGETS_MAX) {
        size_t length = strcspn(urls, ",");
        struct target *target = &inquiry->targets[inquiry->count++];
        target->inquiry = inquiry;
        target->kind = kind;
        (void)snprintf(target->url, sizeof target->url, "%.*s", (int)length, urls);
        urls += length + (urls[length] == ',');
    }
}

static void print(const struct inquiry *inquiry, bool is_json)
{
    if (is_json)
        (void)printf("[");
    for (size_t i = 0; i < inquiry->count; i++) {
        const struct target *target = &inquiry->targets[i];
        if (is_json) {
            (void)printf("%s{\"kind\":\"%s\",\"url\":\"%s\",%.*s}", i == 0 ? "" : ",",
                         kind_names[target->kind], target->url, (int)target->answer.size,
                         (char *)target->answer.data);
        } else {
            (void)printf("%-10s %-28s %.*s\n", kind_names[target->kind], target->url,
                         (int)target->answer.size, (char *)target->answer.data);
        }
    }
    if (is_json)
        (void)printf("]\n");
}

int ctl_status_direct(struct bb_ctx *ctx, const struct bb_conf *conf)
{
    struct inquiry *inquiry = bb_alloc_zero(1, sizeof *inquiry);

    inquiry->loop = bb_loop_new(ctx->env, NULL, "ctl");
    for (size_t kind = 0; kind < BB_COUNT_OF(kind_names); kind++)
        add_targets(inquiry, (enum kind)kind, bb_conf_text(conf, kind_names[kind]));
    inquiry->waiting = inquiry->count;
    for (size_t i = 0; i < inquiry->count; i++) {
        if (ask(ctx, &inquiry->targets[i]) == BB_OK)
            continue;
        (void)fprintf(stderr, "bb-ctl: %s: %s\n", inquiry->targets[i].url, ctx->error);
        inquiry->failed++;
        inquiry->waiting--;
    }
    if (inquiry->waiting > 0)
        bb_loop_run(inquiry->loop);
    print(inquiry, bb_conf_bool(conf, "json"));
    int code = inquiry->failed == 0 ? 0 : 1;
    (void)fflush(stdout);
    /* Sockets of processes that do not answer would hold up a careful end. */
    _exit(code);
}
