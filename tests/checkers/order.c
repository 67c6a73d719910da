/*
 * All transactions again, one after the other, in the order of tx, in a model; each read must be
 * what the model gives at its place. This proves the order and the as-of promise at once.
 */
#include <stdlib.h>

#include "checkers.h"

/*
 * A thrown transaction tells no moment, and one that changed nothing is told the one that it read
 * at though it was checked later: each must fit a moment between those of its neighbours in time.
 */
struct failed {
    const struct check_txn *txn;
    uint64_t low, high;
    bool has_matched;
};

static int by_tx(const void *a, const void *b)
{
    const struct check_record *left = a;
    const struct check_record *right = b;

    return (left->tx > right->tx) - (left->tx < right->tx);
}

static int by_moment(const void *a, const void *b)
{
    const struct check_txn *left = *(const struct check_txn *const *)a;
    const struct check_txn *right = *(const struct check_txn *const *)b;

    return (left->at > right->at) - (left->at < right->at);
}

/* The transactions that happened: the feed's, else those that clients were told of. */
static struct check_record *happened(const struct check_history *history, size_t *count)
{
    struct check_record *list =
        bb_alloc((history->record_count + history->txn_count + 1) * sizeof *list);

    uint32_t source = check_source(history);

    *count = 0;
    for (size_t i = 0; i < history->record_count; i++) {
        if (history->records[i].source == source)
            list[(*count)++] = history->records[i];
    }
    for (size_t i = 0; history->record_count == 0 && i < history->txn_count; i++) {
        const struct check_txn *txn = &history->txns[i];
        if (txn->tx != 0 && txn->outcome == CHECK_OK) {
            list[(*count)++] =
                (struct check_record){ .tx = txn->tx, .id = txn->id, .log = txn->log };
        }
    }
    qsort(list, *count, sizeof *list, by_tx);
    return list;
}

static void window(const struct check_history *history, struct failed *failed)
{
    failed->high = UINT64_MAX;
    for (size_t i = 0; i < history->txn_count; i++) {
        const struct check_txn *txn = &history->txns[i];
        uint64_t place = txn->tx != 0 ? txn->tx : txn->at;
        if (txn->outcome != CHECK_OK || place == 0)
            continue;
        if (txn->end_us < failed->txn->start_us && place > failed->low)
            failed->low = place;
        if (txn->tx != 0 && txn->start_us > failed->txn->end_us && txn->tx - 1 < failed->high)
            failed->high = txn->tx - 1;
    }
}

static size_t collect(const struct check_history *history, const struct check_txn ***reads,
                      struct failed **failed, size_t *failed_count)
{
    size_t count = 0;

    *reads = bb_alloc((history->txn_count + 1) * sizeof(void *));
    *failed = bb_alloc_zero(history->txn_count + 1, sizeof **failed);
    *failed_count = 0;
    for (size_t i = 0; i < history->txn_count; i++) {
        const struct check_txn *txn = &history->txns[i];
        if (txn->outcome == CHECK_OK && txn->tx == 0 && txn->at != 0)
            (*reads)[count++] = txn;
        bool is_loose = txn->outcome == CHECK_FAILED || (txn->is_finish && txn->at != 0);
        if (is_loose && txn->log.size > 0) {
            struct failed *one = &(*failed)[(*failed_count)++];
            one->txn = txn;
            window(history, one);
        }
    }
    qsort(*reads, count, sizeof(void *), by_moment);
    return count;
}

/* ---- what holds after every transaction ---- */

static double number(struct bb_slice value)
{
    return value.data != NULL && bb_value_tag(value) == BB_TAG_FLOAT64 ? bb_value_float64(value)
                                                                       : 0;
}

/* Keys a..: accounts that began with 100. t0 and t1, t2 and t3, ..: pairs that began with 5 each
 * and never fall below nothing together. p0.., p1..: at most three keys each. */
static void check_state(const struct check_model *model, uint64_t tx, struct check_report *report)
{
    double sum = 0;
    size_t guarded[10] = { 0 };
    double pairs[5] = { 0 };

    for (size_t i = 0; i < model->count; i++) {
        struct bb_slice key = model->pairs[i].key;
        unsigned digit = key.size > 1 ? (unsigned)key.data[1] - '0' : 10;
        if (key.data[0] == 'a')
            sum += number(model->pairs[i].value) - 100;
        if (key.data[0] == 't' && digit < 10)
            pairs[digit / 2] += number(model->pairs[i].value) - 5;
        if (key.data[0] == 'p' && digit < 10)
            guarded[digit]++;
    }
    if (sum != 0)
        check_found(report, "bank", "after %" PRIu64 " the accounts hold %g too much", tx, sum);
    for (size_t i = 0; i < 5; i++) {
        if (pairs[i] < -10)
            check_found(report, "skew", "after %" PRIu64 " pair %zu is below zero", tx, i);
    }
    for (size_t i = 0; i < 10; i++) {
        if (guarded[i] > 3)
            check_found(report, "phantom", "after %" PRIu64 " range p%zu holds %zu", tx, i,
                        guarded[i]);
    }
}

/* ---- the run ---- */

static void check_one_read(struct check_model *model, const struct check_txn *txn,
                           struct check_report *report)
{
    struct bb_buf why;

    bb_buf_init(&why);
    if (!check_model_run(model, txn->log, &why)) {
        check_found(report, txn->watch != 0 ? "as-of-push" : "as-of", "%.*s at %" PRIu64 " %.*s",
                    BB_SLICE_ARG(txn->id), txn->at, BB_SLICE_ARG(bb_buf_slice(&why)));
    }
    bb_buf_fini(&why);
}

static void try_failed(const struct check_model *model, struct failed *failed, size_t count,
                       uint64_t from, uint64_t to)
{
    for (size_t i = 0; i < count; i++) {
        struct check_model copy;
        struct bb_buf why;
        if (failed[i].has_matched || failed[i].low >= to || failed[i].high < from)
            continue;
        bb_buf_init(&why);
        check_model_copy(model, &copy);
        failed[i].has_matched = check_model_run(&copy, failed[i].txn->log, &why);
        check_model_free(&copy);
        bb_buf_fini(&why);
    }
}

void check_order(const struct check_history *history, struct check_report *report)
{
    struct check_model model = { .count = 0 };
    const struct check_txn **reads;
    struct failed *failed;
    size_t count;
    size_t failed_count;
    size_t read = 0;
    size_t read_count = collect(history, &reads, &failed, &failed_count);
    struct check_record *list = happened(history, &count);

    for (size_t i = 0; i <= count; i++) {
        uint64_t from = i == 0 ? 0 : list[i - 1].tx;
        uint64_t to = i == count ? UINT64_MAX : list[i].tx;
        for (; read < read_count && reads[read]->at < to; read++)
            check_one_read(&model, reads[read], report);
        try_failed(&model, failed, failed_count, from, to);
        if (i == count)
            break;
        struct bb_buf why;
        bb_buf_init(&why);
        if (!check_model_run(&model, list[i].log, &why)) {
            check_found(report, "serializable", "%.*s, tx %" PRIu64 ", %.*s",
                        BB_SLICE_ARG(list[i].id), list[i].tx, BB_SLICE_ARG(bb_buf_slice(&why)));
        }
        bb_buf_fini(&why);
        if (i > 0 && list[i].tx == list[i - 1].tx)
            check_found(report, "serializable", "tx %" PRIu64 " was given twice", list[i].tx);
        check_state(&model, list[i].tx, report);
    }
    for (size_t i = 0; i < failed_count; i++) {
        if (!failed[i].has_matched)
            check_found(report, failed[i].txn->is_finish ? "stale-finish" : "as-of-thrown",
                        "%.*s read what was not so at any time while it ran",
                        BB_SLICE_ARG(failed[i].txn->id));
    }
    check_model_free(&model);
    bb_free(reads);
    bb_free(failed);
    bb_free(list);
}
