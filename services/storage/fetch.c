#include "fetch.h"

#include <stdio.h>

#include "bb/env.h"
#include "bb/obs.h"
#include "bb/wire.h"
#include "bb/wire_validate.h"

#include "storage.pb-c.h"

enum {
    REQUEST_MS = 30000, /* the sender may flush before its first piece */
    RETRIES_MAX = 5,    /* of one piece; a sender that restarted has forgotten it anyway */
    RETRY_MS = 200,
    SYNC_BYTES = 8 << 20,
    PATH_BYTES = 4200
};

enum fetch_step {
    FETCH_BEGIN, /* the folder for the file */
    FETCH_WRITE, /* one piece */
    FETCH_OPEN,  /* all has come: sync, look at it */
    FETCH_CLOSE, /* what is left, when it was installed or when it failed */
};

/* A request under way. */
struct question {
    struct storage_fetch *fetch; /* NULL: nobody waits for the answer any more */
};

struct storage_fetch {
    struct bb_job job; /* one at a time */
    enum fetch_step step;
    struct storage_fetch_options options;
    struct bb_ctx ctx;         /* the owner's */
    struct bb_peer *peer;      /* NULL: the caller's is used */
    struct question *question; /* NULL: none is under way */
    struct bb_timer *retry;
    struct bb_arena *arena; /* of the last reply */
    unsigned retries;
    bool is_cancelled, is_told, is_ending;

    /* The owner's, or the pool's while a job is under way. */
    uint64_t id, offset, hash, synced;
    struct bb_slice piece; /* in the arena */
    uint32_t crc;
    struct checkpoint_head head;
    struct checkpoint_tail tail;
    bool has_tail, has_begun;
    struct bb_file *file;
    char path[PATH_BYTES];
    struct bb_store_incoming *incoming;
    struct fence fence;
    int status;
    char error[BB_ERROR_MAX];

    void (*freed)(void *arg);
    void *freed_arg;
};

/* ---- on the pool ---- */

static int begin(struct bb_ctx *ctx, struct storage_fetch *fetch)
{
    int rc = bb_store_incoming_begin(ctx, fetch->options.store, fetch->path, sizeof fetch->path);

    if (rc == BB_OK) {
        fetch->has_begun = true;
        rc = ctx->env->ops->open(ctx, ctx->env, fetch->path, BB_OPEN_CREATE, &fetch->file);
    }
    return rc;
}

static int write_piece(struct bb_ctx *ctx, struct storage_fetch *fetch)
{
    struct bb_slice piece = fetch->piece;
    int rc;

    if (bb_crc32c(0, piece.data, piece.size) != fetch->crc) {
        return bb_fail(ctx, BB_CORRUPT, "a piece of the checkpoint was damaged on its way");
    }
    rc = ctx->env->ops->write(ctx, fetch->file, fetch->offset, piece.data, piece.size);
    if (rc != BB_OK) {
        return rc;
    }
    fetch->offset += piece.size;
    fetch->hash = storage_checkpoint_hash(fetch->hash, piece);
    /* In small steps, so that the log's own writes do not wait for one large one. */
    if (fetch->offset - fetch->synced >= SYNC_BYTES && !fetch->options.is_volatile) {
        fetch->synced = fetch->offset;
        rc = ctx->env->ops->sync(ctx, fetch->file);
    }
    return rc;
}

static int open_all(struct bb_ctx *ctx, struct storage_fetch *fetch)
{
    struct bb_store_state state;
    int rc = BB_OK;

    if (fetch->tail.total != fetch->offset || fetch->tail.hash != fetch->hash) {
        return bb_fail(ctx, BB_CORRUPT,
                       "the checkpoint has %" PRIu64 " bytes and should have %" PRIu64
                       ", or their hash is another one",
                       fetch->offset, fetch->tail.total);
    }
    if (!fetch->options.is_volatile) {
        rc = ctx->env->ops->sync(ctx, fetch->file);
    }
    ctx->env->ops->close(fetch->file);
    fetch->file = NULL;
    if (rc == BB_OK) {
        rc = bb_store_incoming_open(ctx, fetch->options.store, &fetch->incoming, &state);
    }
    if (rc == BB_OK) {
        rc = storage_fence_decode(ctx, state.opaque, &fetch->fence);
    }
    if (rc == BB_OK && fetch->fence.index != state.index) {
        rc = bb_fail(ctx, BB_CORRUPT, "the checkpoint and its state are of different moments");
    }
    if (rc == BB_OK) {
        rc = storage_checkpoint_check(ctx, &fetch->fence, &fetch->head, &fetch->options.wanted);
    }
    return rc;
}

static void close_all(struct bb_ctx *ctx, struct storage_fetch *fetch)
{
    ctx->env->ops->close(fetch->file);
    fetch->file = NULL;
    bb_store_incoming_close(fetch->incoming);
    fetch->incoming = NULL;
    if (fetch->has_begun) {
        bb_store_incoming_discard(ctx, fetch->options.store);
        fetch->has_begun = false;
    }
}

static void fetch_work(struct bb_job *job, size_t thread_index)
{
    struct storage_fetch *fetch = bb_container(job, struct storage_fetch, job);
    struct bb_ctx ctx = { .env = fetch->ctx.env, .log = fetch->ctx.log };
    int rc = BB_OK;

    (void)thread_index;
    switch (fetch->step) {
    case FETCH_BEGIN:
        rc = begin(&ctx, fetch);
        break;
    case FETCH_WRITE:
        rc = write_piece(&ctx, fetch);
        break;
    case FETCH_OPEN:
        rc = open_all(&ctx, fetch);
        break;
    case FETCH_CLOSE:
        close_all(&ctx, fetch);
        return; /* the status is the one that led here */
    }
    fetch->status = rc;
    if (rc != BB_OK) {
        memcpy(fetch->error, ctx.error, sizeof fetch->error);
    }
}

/* ---- on the owner thread ---- */

static void submit(struct storage_fetch *fetch, enum fetch_step step)
{
    struct bb_ctx ctx = { .env = fetch->ctx.env };

    fetch->step = step;
    /* One job at a time, and the pool's queue has room for all who use it. */
    int rc = bb_pool_submit(&ctx, fetch->options.pool, &fetch->job);
    bb_assert(rc == BB_OK);
}

static void ignore_reply(void *arg, int status, struct bb_slice bytes)
{
    (void)arg;
    (void)status;
    (void)bytes;
}

static struct bb_peer *peer_of(const struct storage_fetch *fetch)
{
    return fetch->peer != NULL ? fetch->peer : fetch->options.find_peer(fetch->options.arg);
}

/* So that the sender need not find out by itself; if it gets lost, it will. */
static void give_up(struct storage_fetch *fetch)
{
    Bb__Proto__Checkpoint checkpoint = BB__PROTO__CHECKPOINT__INIT;
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    struct bb_ctx ctx = { .env = fetch->ctx.env };

    struct bb_peer *peer = peer_of(fetch);

    if (fetch->id == 0 || fetch->has_tail || peer == NULL) {
        return;
    }
    checkpoint.id = fetch->id;
    checkpoint.is_given_up = true;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_CHECKPOINT;
    request.checkpoint = &checkpoint;
    (void)bb_peer_request(&ctx, peer, &request.base, REQUEST_MS, ignore_reply, NULL);
}

static void fail(struct storage_fetch *fetch, int status, const char *error)
{
    give_up(fetch);
    fetch->status = status;
    (void)snprintf(fetch->error, sizeof fetch->error, "%s", error); /* cut is fine */
    submit(fetch, FETCH_CLOSE);
}

static void on_reply(void *arg, int status, struct bb_slice bytes);

static void ask(struct storage_fetch *fetch)
{
    Bb__Proto__Checkpoint checkpoint = BB__PROTO__CHECKPOINT__INIT;
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    static const uint8_t nothing[FENCE_CLUSTER];
    const uint8_t *cluster = fetch->options.wanted.cluster;
    struct bb_ctx ctx = { .env = fetch->ctx.env };
    struct bb_peer *peer;
    int rc;

    bb_assert(fetch->question == NULL);
    checkpoint.id = fetch->id;
    checkpoint.offset = fetch->offset;
    if (fetch->id == 0) {
        checkpoint.index_min = fetch->options.wanted.index;
        if (memcmp(cluster, nothing, FENCE_CLUSTER) != 0) {
            checkpoint.cluster_id = bb_slice_pb(bb_slice(cluster, FENCE_CLUSTER));
        }
    }
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_CHECKPOINT;
    request.checkpoint = &checkpoint;
    peer = peer_of(fetch);
    if (peer == NULL) {
        fail(fetch, BB_PEER_GONE, "nobody knows where the replica that sends is");
        return;
    }
    fetch->question = bb_alloc(sizeof *fetch->question);
    *fetch->question = (struct question){ fetch };
    rc = bb_peer_request(&ctx, peer, &request.base, REQUEST_MS, on_reply, fetch->question);
    if (rc != BB_OK) {
        bb_free(fetch->question);
        fetch->question = NULL;
        fail(fetch, rc, ctx.error);
    }
}

static void on_retry(void *arg)
{
    struct storage_fetch *fetch = arg;

    if (fetch->is_cancelled) {
        fail(fetch, BB_CANCELLED, "the fetch was cancelled");
    } else {
        ask(fetch);
    }
}

static int take_reply(struct bb_ctx *ctx, struct storage_fetch *fetch, struct bb_slice bytes)
{
    Bb__Proto__StorageReply *reply;
    const Bb__Proto__CheckpointReply *piece;
    int rc;

    bb_arena_reset(fetch->arena);
    rc = bb_unpack(ctx, fetch->arena, &bb__proto__storage_reply__descriptor, bytes, &reply);
    if (rc == BB_OK) {
        rc = bb_storage_reply_validate(ctx, reply);
    }
    if (rc != BB_OK) {
        return rc;
    }
    if (reply->status != BB_OK) {
        return bb_fail(ctx, (int)reply->status, "%s", reply->error);
    }
    if (reply->op_case != BB__PROTO__STORAGE_REPLY__OP_CHECKPOINT) {
        return bb_fail(ctx, BB_CORRUPT, "the sender did not answer with a checkpoint");
    }
    piece = reply->checkpoint;
    if (piece->data.len > CHECKPOINT_PIECE || piece->id == 0 ||
        (fetch->id != 0 && piece->id != fetch->id) ||
        (piece->data.len == 0 && piece->tail.len == 0)) {
        return bb_fail(ctx, BB_CORRUPT, "the sender answered with a piece of another checkpoint");
    }
    if (fetch->id == 0) {
        rc = storage_checkpoint_head_decode(ctx, bb_pb_slice(piece->head), &fetch->head);
    }
    if (rc == BB_OK && piece->tail.len > 0) {
        rc = storage_checkpoint_tail_decode(ctx, bb_pb_slice(piece->tail), &fetch->tail);
        fetch->has_tail = true;
    }
    fetch->id = piece->id;
    fetch->piece = bb_pb_slice(piece->data);
    fetch->crc = piece->crc;
    return rc;
}

static void on_reply(void *arg, int status, struct bb_slice bytes)
{
    struct question *question = arg;
    struct storage_fetch *fetch = question->fetch;
    struct bb_ctx ctx = { .status = BB_OK };
    int rc;

    bb_free(question);
    if (fetch == NULL) {
        return;
    }
    fetch->question = NULL;
    ctx.env = fetch->ctx.env;
    if ((status == BB_PEER_GONE || status == BB_TIMEOUT) && fetch->id != 0 &&
        fetch->retries < RETRIES_MAX) {
        fetch->retries += 1;
        bb_timer_start(fetch->retry, RETRY_MS, 0);
        return;
    }
    if (status != BB_OK) {
        fail(fetch, status, "the replica that sends the checkpoint cannot be reached");
        return;
    }
    rc = take_reply(&ctx, fetch, bytes);
    if (rc == BB_BUSY && fetch->id != 0 && fetch->retries < RETRIES_MAX) {
        fetch->retries += 1; /* it reads the piece that was asked for before */
        bb_timer_start(fetch->retry, RETRY_MS, 0);
        return;
    }
    if (rc != BB_OK) {
        fail(fetch, rc, ctx.error);
        return;
    }
    fetch->retries = 0;
    submit(fetch, FETCH_WRITE);
}

static void tell(struct storage_fetch *fetch)
{
    bb_assert(!fetch->is_told);
    fetch->is_told = true;
    fetch->options.done(fetch->options.arg, fetch->status, fetch->error,
                        fetch->status == BB_OK ? fetch->incoming : NULL, &fetch->fence);
}

static void end(struct storage_fetch *fetch)
{
    void (*freed)(void *arg) = fetch->freed;
    void *arg = fetch->freed_arg;

    bb_peer_close(fetch->peer);
    bb_timer_free(fetch->retry);
    bb_arena_free(fetch->arena);
    bb_free(fetch);
    freed(arg);
}

static void fetch_done(struct bb_job *job)
{
    struct storage_fetch *fetch = bb_container(job, struct storage_fetch, job);

    if (fetch->step == FETCH_CLOSE && fetch->is_ending) {
        end(fetch);
    } else if (fetch->step == FETCH_CLOSE ||
               (fetch->step == FETCH_OPEN && fetch->status == BB_OK)) {
        tell(fetch);
    } else if (fetch->status != BB_OK) {
        give_up(fetch);
        submit(fetch, FETCH_CLOSE);
    } else if (fetch->is_cancelled) {
        fail(fetch, BB_CANCELLED, "the fetch was cancelled");
    } else if (fetch->has_tail) {
        submit(fetch, FETCH_OPEN);
    } else {
        ask(fetch);
    }
}

int storage_fetch_start(struct bb_ctx *ctx, const struct storage_fetch_options *options,
                        struct storage_fetch **out)
{
    struct bb_ctx *own = bb_loop_ctx(options->loop);
    struct storage_fetch *fetch = bb_alloc_zero(1, sizeof *fetch);
    struct bb_peer_options peer = { .url = options->url };

    fetch->options = *options;
    fetch->ctx = (struct bb_ctx){ .env = own->env, .log = own->log };
    if (options->find_peer == NULL) {
        int rc = bb_peer_open(ctx, options->loop, &peer, &fetch->peer);
        if (rc != BB_OK) {
            bb_free(fetch);
            return rc;
        }
    }
    fetch->options.url = NULL; /* it may not live as long */
    fetch->arena = bb_arena_new(0);
    fetch->retry = bb_timer_new(options->loop, on_retry, fetch);
    fetch->job.work = fetch_work;
    fetch->job.done = fetch_done;
    fetch->job.loop = options->loop;
    *out = fetch;
    submit(fetch, FETCH_BEGIN);
    return BB_OK;
}

void storage_fetch_free(struct storage_fetch *fetch, void (*freed)(void *arg), void *arg)
{
    bb_assert(fetch->is_told && !fetch->is_ending);
    fetch->is_ending = true;
    fetch->freed = freed;
    fetch->freed_arg = arg;
    submit(fetch, FETCH_CLOSE);
}

uint64_t storage_fetch_bytes(const struct storage_fetch *fetch)
{
    return fetch->offset;
}

void storage_fetch_cancel(struct storage_fetch *fetch)
{
    fetch->is_cancelled = true;
    /* A sender may take long for its first piece. Its answer has nobody to come to. */
    if (fetch->question != NULL) {
        fetch->question->fetch = NULL;
        fetch->question = NULL;
        fail(fetch, BB_CANCELLED, "the fetch was cancelled");
    }
}
