/* Fills new indexes and cleans removed ones: one `_system:backfill` after the other while the
 * catalog shows an index that lacks older documents, then one `_system:clean` after the other while
 * it shows one whose entries are still there. The functions check and write under the ordinary
 * conflict check, so several workers that do this at once cost time and nothing else. Filling goes
 * first, and the two take turns when it fails. */
#include "bb/value.h"

#include "worker.h"

#define PAUSE_US       2000u
#define AFTER_ERROR_US 1000000u
#define BACKFILL       "_system:backfill"
#define CLEAN          "_system:clean"

struct backfill {
    bool is_running;
    bool is_clean_next; /* filling failed: what is to be cleaned does not wait for it */
    uint64_t not_before_us;
};

struct backfill *worker_backfill_new(void)
{
    return bb_alloc_zero(1, sizeof(struct backfill));
}

void worker_backfill_free(struct backfill *backfill)
{
    bb_free(backfill);
}

static void step_ended(struct worker *worker, struct call *call, int status, const char *error)
{
    struct backfill *backfill = worker->backfill;
    bool is_clean = strcmp(call->request->path, CLEAN) == 0;
    backfill->is_running = false;
    backfill->is_clean_next = status != BB_OK && !is_clean;
    uint64_t pause = PAUSE_US;
    if (status != BB_OK) {
        bb_warn(worker->ctx, is_clean ? "worker.clean_failed" : "worker.backfill_failed",
                "call=%" PRIu64 " status=%s what=\"%s\"", call->id, bb_status_name(status),
                error == NULL ? "" : error);
        pause = AFTER_ERROR_US;
    }
    backfill->not_before_us = worker_now(worker) + pause;
}

static void run_step(struct worker *worker, const struct catalog *catalog, bool is_clean)
{
    struct bb_value_builder *to = bb_value_builder_new();
    bb_value_begin_object(to);
    bb_value_field_name(to, bb_slice_str("table"));
    bb_value_put_string(to, is_clean ? catalog->clean_table : catalog->backfill_table);
    bb_value_field_name(to, bb_slice_str("index"));
    bb_value_put_string(to, is_clean ? catalog->clean_index : catalog->backfill_index);
    if (is_clean) {
        bb_value_field_name(to, bb_slice_str("id"));
        bb_value_put_int64(to, catalog->clean_id);
    }
    bb_value_end_object(to);
    worker_call_own(worker, is_clean ? CLEAN : BACKFILL, bb_value_finish(to), step_ended);
    bb_value_builder_free(to);
}

void worker_backfill_watch(struct worker *worker, uint64_t now_us)
{
    struct backfill *backfill = worker->backfill;
    const struct catalog *catalog = worker_catalogs_newest(worker->catalogs);
    if (backfill->is_running || worker->is_stopping || now_us < backfill->not_before_us ||
        catalog == NULL || catalog->to != UINT64_MAX) {
        return;
    }
    bool has_backfill = catalog->backfill_table.data != NULL;
    bool has_clean = catalog->clean_table.data != NULL;
    if (!has_backfill && !has_clean) {
        return;
    }
    bool is_clean = has_clean && (!has_backfill || backfill->is_clean_next);
    backfill->is_running = true;
    run_step(worker, catalog, is_clean);
}
