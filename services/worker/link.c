/* Connections to the sequencer and to storage, and what is asked when. */
#include "link.h"

static int open_sequencers(struct worker *worker, const char *urls, struct peers *peers)
{
    const char *next = urls;
    while (*next != '\0' && peers->count < WORKER_PEERS_MAX) {
        size_t size = strcspn(next, ", ");
        if (size > 0) {
            char url[256];
            if (size >= sizeof(url)) {
                return bb_fail(worker->ctx, BB_BAD_REQUEST, "the address %s is too long", next);
            }
            memcpy(url, next, size);
            url[size] = '\0';
            struct bb_peer_options options = { .url = url, .outstanding_max = 1024 };
            int rc = bb_peer_open(worker->ctx, worker->loop, &options, &peers->peer[peers->count]);
            if (rc != BB_OK) {
                return rc;
            }
            peers->count++;
        }
        next += size;
        next += strspn(next, ", ");
    }
    return peers->count > 0 ? BB_OK : bb_fail(worker->ctx, BB_BAD_REQUEST, "no address given");
}

int worker_link_open(struct worker *worker)
{
    struct bb_conf *conf = bb_service_conf(worker->service);
    worker->submitted = bb_alloc_zero(LINK_SUBMIT_MAX, sizeof(struct call *));
    const struct bb_nodes_options storage = { .urls = bb_conf_text(conf, "storage"),
                                              .outstanding_max = 1024 };
    int rc = open_sequencers(worker, bb_conf_text(conf, "sequencer"), &worker->sequencer);
    return rc != BB_OK ? rc : bb_nodes_open(worker->ctx, worker->loop, &storage, &worker->storage);
}

/* What was asked ends here, and is not asked of one that is closed already. */
static void close_peers(struct peers *peers)
{
    size_t count = peers->count;
    peers->count = 0;
    for (size_t i = 0; i < count; i++) {
        bb_peer_close(peers->peer[i]);
    }
}

void worker_link_close(struct worker *worker)
{
    close_peers(&worker->sequencer);
    bb_nodes_close(worker->storage);
    worker->storage = NULL;
    bb_free(worker->submitted);
}

int worker_link_open_reply(struct worker *worker, int status, struct bb_slice bytes,
                           Bb__Proto__SequencerReply__OpCase op, Bb__Proto__SequencerReply **reply)
{
    bb_arena_reset(worker->scratch);
    if (status == BB_OK) {
        status = bb_unpack(worker->ctx, worker->scratch, &bb__proto__sequencer_reply__descriptor,
                           bytes, reply);
    }
    if (status != BB_OK) {
        return status;
    }
    if ((*reply)->op_case != op) {
        return (*reply)->status != BB_OK ? (int)(*reply)->status : BB_UNAVAILABLE;
    }
    return BB_OK;
}

int worker_link_ask(struct worker *worker, Bb__Proto__SequencerRequest *request,
                    uint32_t timeout_ms, size_t *asked, bb_peer_reply_fn *done)
{
    *asked = worker->sequencer.current;
    return bb_peer_request(worker->ctx, worker_peer(&worker->sequencer), &request->base, timeout_ms,
                           done, worker);
}

void worker_link_failed(struct worker *worker, size_t asked, const Bb__Proto__SequencerReply *reply)
{
    struct peers *peers = &worker->sequencer;
    if (peers->current != asked) {
        return; /* another question has failed before */
    }
    for (size_t i = 0; reply != NULL && i < peers->count; i++) {
        if (i != asked && strcmp(bb_peer_url(peers->peer[i]), reply->holder) == 0) {
            peers->current = i;
            return;
        }
    }
    worker_peer_rotate(peers);
}

void worker_link_look(struct worker *worker, size_t asked)
{
    struct peers *peers = &worker->sequencer;
    for (size_t i = 1; i < peers->count && peers->current == asked; i++) {
        size_t next = (asked + i) % peers->count;
        if (bb_peer_is_connected(peers->peer[next])) {
            peers->current = next;
        }
    }
}

void worker_link_turn(struct worker *worker)
{
    uint64_t now = worker_now(worker);
    if (!worker->is_following && now >= worker->follow_at_us) {
        worker_follow_send(worker);
    }
    if (!worker->is_marking && worker->feed.epoch != 0 && now >= worker->mark_at_us &&
        worker_mark_is_due(worker)) {
        worker_mark_send(worker);
    }
    if (!worker->is_submitting && worker->feed.epoch != 0 && now >= worker->submit_at_us &&
        (!bb_list_is_empty(&worker->calls[CALL_TO_SUBMIT]) ||
         worker_lanes_have_talk(worker->lanes, now))) {
        worker_submit_send(worker);
    }
}
