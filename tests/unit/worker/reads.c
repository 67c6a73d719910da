/* Reads that storage does not answer: a second node is asked, and both questions end. */
#include <criterion/criterion.h>

#include "bb/env.h"

#include "worker.h"

#define HEDGED_US 300000u

struct world {
    struct bb_env env;
    struct bb_env_ops env_ops;
    struct bb_ctx ctx;
    struct bb_loop *loop;
    struct worker worker;
    struct reading *reading;
};

/* No time goes by, however busy the machine is. */
static uint64_t still(struct bb_env *env)
{
    (void)env;
    return 1000000;
}

static void make(struct world *w, const char *urls)
{
    *w = (struct world){ .env_ops = *bb_env_real()->ops,
                         .loop = bb_loop_new(bb_env_real(), NULL, "reads"),
                         .worker = { .feed = { .epoch = 1, .cursor = 100, .durable = 100 } } };
    struct worker *worker = &w->worker;
    w->env_ops.now_us = still;
    w->env.ops = &w->env_ops;
    w->ctx = *bb_loop_ctx(w->loop);
    w->ctx.env = &w->env;
    worker->ctx = &w->ctx;
    worker->cache = worker_cache_new(1 << 20);
    worker->scratch = bb_arena_new(0);
    worker->count.fetches = bb_metric("fetches", BB_COUNTER, "");
    worker->count.hedges = bb_metric("hedges", BB_COUNTER, "");
    bb_list_init(&worker->readings);
    bb_list_init(&worker->fetches);
    cr_assert_eq(bb_nodes_open(&w->ctx, w->loop, &(struct bb_nodes_options){ .urls = urls },
                               &worker->storage),
                 BB_OK);
}

/* One document, of the first node. */
static void ask(struct world *w)
{
    w->reading = worker_reading_new(&w->worker, 100, UINT64_MAX);
    *worker_reading_reads(w->reading, 1) = (struct cache_read){ .arena = w->reading->arena,
                                                                .low = bb_slice_str("document"),
                                                                .limit = 1,
                                                                .snapshot = 100,
                                                                .bytes_max = 1000 };
    cr_assert_not(worker_reading_start(w->reading));
    worker_reads_turn(&w->worker);
}

static size_t outstanding(const struct world *w, size_t node)
{
    return bb_peer_outstanding(bb_nodes_peer(w->worker.storage, node));
}

static void done(struct world *w)
{
    worker_reading_free(w->reading); /* its call is over; what is under way still names it */
    worker_link_close(&w->worker);
    worker_cache_free(w->worker.cache);
    bb_arena_free(w->worker.scratch);
    bb_free(w->worker.pending);
    bb_loop_free(w->loop);
}

Test(reads, two_questions_under_way_end_with_the_worker)
{
    struct world w;
    make(&w, "inproc://nobody-0,inproc://nobody-1");
    ask(&w);
    cr_assert_eq(outstanding(&w, 0), 1);
    worker_reads_overdue(&w.worker, still(NULL) + HEDGED_US);
    cr_assert_eq(outstanding(&w, 0), 1);
    cr_assert_eq(outstanding(&w, 1), 1);
    worker_reads_overdue(&w.worker, still(NULL) + 2 * HEDGED_US);
    cr_assert_eq(outstanding(&w, 0) + outstanding(&w, 1), 2, "no third time");
    done(&w);
}

Test(reads, a_slow_node_is_kept_when_no_other_is_there)
{
    struct world w;
    make(&w, "inproc://nobody-0,ipc:///nobody/there");
    ask(&w);
    worker_reads_overdue(&w.worker, still(NULL) + HEDGED_US);
    cr_assert_eq(bb_nodes_current(w.worker.storage), 0);
    cr_assert_eq(outstanding(&w, 1), 0);
    done(&w);
}
