/* Questions that the owner has for storage nodes. */
#include "follow_internal.h"

struct question {
    struct bb_follow *follow;
    void (*done)(void *arg, int status, const Bb__Proto__StorageReply *reply);
    void *arg;
};

static void on_answer(void *arg, int status, struct bb_slice bytes)
{
    struct question *question = arg;
    struct bb_follow *follow = question->follow;
    Bb__Proto__StorageReply *reply = NULL;

    status = follow_unpack(follow, status, bytes, &reply);
    question->done(question->arg, status, status == BB_OK ? reply : NULL);
    bb_arena_reset(follow->arena);
    bb_free(question);
}

int bb_follow_ask(struct bb_ctx *ctx, struct bb_follow *follow,
                  const Bb__Proto__StorageRequest *request, uint32_t timeout_ms,
                  void (*done)(void *arg, int status, const Bb__Proto__StorageReply *reply),
                  void *arg)
{
    struct question *question = bb_alloc(sizeof(*question));

    *question = (struct question){ .follow = follow, .done = done, .arg = arg };
    int rc = bb_peer_request(ctx, bb_nodes_current_peer(follow->nodes), &request->base, timeout_ms,
                             on_answer, question);
    if (rc != BB_OK)
        bb_free(question);
    return rc;
}

struct info_question {
    struct bb_follow *follow;
    struct bb_peer *node;
    void (*done)(void *arg, const char *url, int status, const Bb__Proto__InfoReply *info);
    void *arg;
};

static void on_info(void *arg, int status, struct bb_slice bytes)
{
    struct info_question *question = arg;
    struct bb_follow *follow = question->follow;
    Bb__Proto__StorageReply *reply = NULL;
    const Bb__Proto__InfoReply *info = NULL;

    status = follow_unpack(follow, status, bytes, &reply);
    if (status == BB_OK && reply->status == BB_OK &&
        reply->op_case == BB__PROTO__STORAGE_REPLY__OP_INFO)
        info = reply->info;
    question->done(question->arg, bb_peer_url(question->node),
                   info == NULL ? BB_UNAVAILABLE : BB_OK, info);
    bb_arena_reset(follow->arena);
    bb_free(question);
}

static bool ask_node(struct bb_follow *follow, const struct info_question *what)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Info info = BB__PROTO__INFO__INIT;
    struct info_question *question = bb_alloc(sizeof(*question));
    struct bb_ctx ctx = *follow->ctx;

    *question = *what;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_INFO;
    request.info = &info;
    bool is_asked = bb_peer_request(&ctx, what->node, &request.base, FOLLOW_INFO_MS, on_info,
                                    question) == BB_OK;
    if (!is_asked)
        bb_free(question);
    return is_asked;
}

size_t bb_follow_ask_info(struct bb_follow *follow,
                          void (*done)(void *arg, const char *url, int status,
                                       const Bb__Proto__InfoReply *info),
                          void *arg)
{
    size_t count = 0;

    for (size_t i = 0; i < BB_NODES_MAX; i++) {
        struct bb_peer *node = bb_nodes_peer(follow->nodes, i);
        if (node != NULL)
            count += ask_node(follow, &(struct info_question){ follow, node, done, arg });
    }
    return count;
}
