/* Queries that are answered by a result that holds still, without a slot; and what is kept of those
 * that were run. Decided in results.c. */
#include "worker.h"

static bool may_recall(const struct worker *worker, const struct call *call)
{
    const Bb__Proto__Call *request = call->request;
    return worker->results != NULL && call->kind == FUNCTION_QUERY && !call->is_system &&
           !request->wants_trace && request->profile == BB__PROTO__PROFILE__PROFILE_NONE;
}

static struct result_query query_of(const struct call *call)
{
    const Bb__Proto__Call *request = call->request;
    return (struct result_query){ .path = bb_slice_str(request->path),
                                  .args = bb_pb_slice(request->args),
                                  .identity = bb_pb_slice(request->identity),
                                  .seed = bb_pb_slice(request->seed),
                                  .is_shared = request->is_shared,
                                  .is_admin = request->is_admin };
}

bool worker_recall(struct worker *worker, struct call *call)
{
    if (!may_recall(worker, call)) {
        return false;
    }
    bb_assert(call->epoch == worker->feed.epoch && call->snapshot <= worker->feed.cursor);
    const struct result_query query = query_of(call);
    bool is_first = call->sight.hash == 0;
    const Bb__Proto__SlotDone *done =
        worker_results_find(worker->results, &query, &call->sight, call->snapshot);
    if (done == NULL) {
        bb_metric_add(worker->count.result_misses, is_first);
        return false;
    }
    bb_metric_add(worker->count.result_hits, 1);
    call->done = done; /* for as long as the answer takes to be packed */
    worker_answer(worker, call, BB_OK, NULL);
    return true;
}

bool worker_recall_early(struct worker *worker, struct call *call)
{
    return may_recall(worker, call) && worker_call_moment(call, &worker->feed) == MOMENT_OK &&
           worker_recall(worker, call);
}

void worker_recall_keep(struct worker *worker, struct call *call)
{
    /* A moment of an epoch that is over may be one that the new one knows, and may not be. */
    if (!may_recall(worker, call) || call->is_void || call->epoch != worker->feed.epoch) {
        return;
    }
    const struct result_query query = query_of(call);
    worker_results_add(worker->results, &query, &call->sight, call->snapshot, call->done);
}
