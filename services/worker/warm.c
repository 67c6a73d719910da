/*
 * Slots get new code before a call needs it: once the newest deployment is known, its modules go to
 * all slots that have nothing to do and do not have them; there they are made ready (slot/warm.c).
 */
#include "slot.h"

#define ENDS_MAX 3u

struct warm {
    uint64_t code;           /* the newest */
    unsigned ends;           /* slots that ended by themselves since it came */
    struct reading *reading; /* of the modules; NULL: none is under way */
    struct catalog *catalog; /* whose they are */
};

struct warm *worker_warm_new(void)
{
    return bb_alloc_zero(1, sizeof(struct warm));
}

void worker_warm_reset(struct warm *warm)
{
    worker_reading_free(warm->reading);
    worker_catalog_release(warm->catalog);
    warm->reading = NULL;
    warm->catalog = NULL;
}

void worker_warm_free(struct warm *warm)
{
    if (warm == NULL) {
        return;
    }
    worker_warm_reset(warm);
    bb_free(warm);
}

bool worker_warm_is_off(const struct warm *warm)
{
    return warm != NULL && warm->ends >= ENDS_MAX;
}

void worker_warm_ended(struct worker *worker)
{
    struct warm *warm = worker->warm;
    if (warm == NULL || worker->is_stopping || ++warm->ends != ENDS_MAX) {
        return;
    }
    bb_warn(
        worker->ctx, "worker.warm_off",
        "slots=%u hint=\"a module takes too long to load, or too much memory; modules are loaded "
        "by the calls that need them from now on\"",
        warm->ends);
}

static bool lacks_code(const struct slot *slot, const struct catalog *catalog)
{
    return slot->state == SLOT_IDLE && slot->call == NULL && !worker_slot_knows_code(slot, catalog);
}

static bool is_needed(const struct worker *worker, const struct catalog *catalog)
{
    for (size_t i = 0; i < worker->slot_count; i++) {
        if (lacks_code(&worker->slots[i], catalog)) {
            return true;
        }
    }
    return false;
}

static void modules_came(struct reading *reading, void *arg)
{
    struct worker *worker = arg;
    struct warm *warm = worker->warm;
    bool is_there = reading->status == BB_OK && reading->reads[0].is_complete;
    for (size_t i = 0; is_there && i < worker->slot_count; i++) {
        if (lacks_code(&worker->slots[i], warm->catalog)) {
            worker_slot_give(&worker->slots[i], warm->catalog, &reading->reads[0]);
        }
    }
    warm->reading = NULL;
    worker_catalog_release(warm->catalog);
    warm->catalog = NULL;
    worker_reading_free(reading);
}

void worker_warm_watch(struct worker *worker, uint64_t now_us)
{
    struct warm *warm = worker->warm;
    if (warm->reading != NULL || worker->is_stopping || !worker_feed_is_usable(&worker->feed)) {
        return;
    }
    uint64_t snapshot = worker->feed.cursor;
    struct catalog *catalog = worker_catalogs_at(worker->catalogs, snapshot);
    if (catalog == NULL || !catalog->has_deployment || !is_needed(worker, catalog)) {
        return;
    }
    if (warm->code != catalog->code) {
        warm->code = catalog->code;
        warm->ends = 0;
    }
    struct reading *reading = worker_reading_new(worker, snapshot, now_us + CALL_US_MAX);
    *worker_reading_reads(reading, 1) = worker_catalog_modules_read(reading->arena, snapshot);
    reading->done = modules_came;
    reading->arg = worker;
    warm->reading = reading;
    warm->catalog = worker_catalog_retain(catalog);
    if (worker_reading_start(reading)) {
        modules_came(reading, worker);
    }
}
