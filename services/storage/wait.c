/*
 * Requests that wait: a read for a tx to be applied, a tail for something to come, a claim for a
 * lease to end. All are few and are looked at together when something was applied or a deadline
 * passed.
 */
#include "storage.h"

static void arm(struct storage *node)
{
    uint64_t now = bb_loop_now_us(node->loop);
    uint64_t first = 0;

    bb_list_each(item, &node->waiters) {
        const struct storage_waiter *waiter = bb_container(item, struct storage_waiter, link);
        uint64_t due = waiter->deadline_us;
        if (waiter->kind == STORAGE_WAIT_CLAIM) {
            due = node->lease_us + (uint64_t)STORAGE_LEASE_MS * 1000;
            due = due < waiter->deadline_us && due > now ? due : waiter->deadline_us;
        }
        if (first == 0 || due < first) {
            first = due;
        }
    }
    if (first == 0) {
        node->wait_timer_us = 0;
        bb_timer_stop(node->wait_timer);
    } else if (first != node->wait_timer_us) {
        node->wait_timer_us = first;
        bb_timer_start(node->wait_timer, first > now ? (first - now) / 1000 + 1 : 1, 0);
    }
}

void storage_wait(struct storage *node, enum storage_wait kind, struct bb_exchange *exchange,
                  const Bb__Proto__StorageRequest *request, uint64_t deadline_us)
{
    struct storage_waiter *waiter = bb_arena_zero(bb_exchange_arena(exchange), 1, sizeof *waiter);

    if (waiter == NULL) {
        storage_refuse(exchange, BB_TOO_LARGE, "the request leaves no memory for its answer");
        return;
    }
    waiter->kind = kind;
    waiter->exchange = exchange;
    waiter->request = request;
    waiter->deadline_us = deadline_us;
    bb_list_push_back(&node->waiters, &waiter->link);
    if (kind == STORAGE_WAIT_TAIL) {
        node->tail_count += 1;
        bb_metric_set(node->tails_waiting, (int64_t)node->tail_count);
    }
    arm(node);
}

/* Whether a waiter's time has come; `is_late`: it gets the answer of those who waited in vain. */
static bool is_due(const struct storage *node, const struct storage_waiter *waiter, uint64_t now,
                   bool *is_late)
{
    uint64_t newest = node->fence.last_tx.us;
    const Bb__Proto__Tail *tail;

    *is_late = now >= waiter->deadline_us || node->is_stopping;
    switch (waiter->kind) {
    case STORAGE_WAIT_READ:
        return *is_late || (node->has_been_ready && waiter->request->read->tx <= newest);
    case STORAGE_WAIT_TAIL:
        tail = waiter->request->tail;
        return *is_late ||
               (node->has_been_ready &&
                (newest > tail->after || (tail->durable_seen != 0 && newest > tail->durable_seen)));
    case STORAGE_WAIT_CLAIM:
        return *is_late || now >= node->lease_us + (uint64_t)STORAGE_LEASE_MS * 1000;
    }
    BB_UNREACHABLE("all kinds are listed");
}

/* A tail that waited in vain gets an answer without records, which is no error. */
static void end_tail(struct storage *node, struct storage_waiter *waiter)
{
    Bb__Proto__TailReply tail = BB__PROTO__TAIL_REPLY__INIT;
    Bb__Proto__StorageReply reply = storage_new_reply();

    if (!node->has_been_ready) {
        storage_refuse(waiter->exchange, BB_NOT_YET, "this storage node is starting");
        return;
    }
    tail.last_tx = bb_feed_newest(node->feed).us;
    tail.earliest = bb_feed_earliest(node->feed).us;
    tail.epoch = node->fence.epoch;
    reply.op_case = BB__PROTO__STORAGE_REPLY__OP_TAIL;
    reply.tail = &tail;
    storage_reply(waiter->exchange, &reply);
}

static void end_waiter(struct storage *node, struct storage_waiter *waiter, bool is_late)
{
    bb_list_remove(&waiter->link);
    switch (waiter->kind) {
    case STORAGE_WAIT_READ:
        if (is_late) {
            storage_refuse(waiter->exchange, BB_NOT_YET,
                           "that transaction is not applied here yet");
        } else {
            storage_read(node, waiter->exchange, waiter->request);
        }
        return;
    case STORAGE_WAIT_TAIL:
        node->tail_count -= 1;
        bb_metric_set(node->tails_waiting, (int64_t)node->tail_count);
        if (is_late) {
            end_tail(node, waiter);
        } else {
            storage_tail(node, waiter->exchange, waiter->request);
        }
        return;
    case STORAGE_WAIT_CLAIM:
        if (is_late) {
            storage_refuse(waiter->exchange, BB_NOT_YET, "another sequencer still holds its epoch");
        } else {
            storage_claim(node, waiter->exchange, waiter->request);
        }
        return;
    }
}

void storage_wake(struct storage *node)
{
    uint64_t now = bb_loop_now_us(node->loop);

    bb_list_each_safe(item, &node->waiters) {
        struct storage_waiter *waiter = bb_container(item, struct storage_waiter, link);
        bool is_late;
        if (is_due(node, waiter, now, &is_late)) {
            end_waiter(node, waiter, is_late);
        }
    }
    arm(node);
}
