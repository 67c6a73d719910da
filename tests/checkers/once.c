/* The feed as a chain, each request once, and time: three walks over sorted lists. */
#include <stdlib.h>

#include "checkers.h"

/* ---- feed ---- */

static int by_source(const void *a, const void *b)
{
    const struct check_record *left = a;
    const struct check_record *right = b;

    if (left->source != right->source)
        return left->source < right->source ? -1 : 1;
    return (left->tx > right->tx) - (left->tx < right->tx);
}

/* Every source names the same transactions; they may begin later and end earlier. */
static void compare_sources(const struct check_record *first, size_t first_count,
                            const struct check_record *other, size_t other_count,
                            struct check_report *report)
{
    size_t k = 0;

    for (size_t i = 0; i < other_count; i++) {
        while (k < first_count && first[k].tx < other[i].tx)
            k++;
        if (k < first_count && first[k].tx != other[i].tx) {
            check_found(report, "feed",
                        "source %" PRIu32 " has tx %" PRIu64 ", source %" PRIu32 " has not",
                        other[i].source, other[i].tx, first->source);
        } else if (k < first_count && !bb_slice_equal(first[k].log, other[i].log)) {
            check_found(report, "feed", "tx %" PRIu64 " is not the same in two sources",
                        other[i].tx);
        }
    }
}

void check_feed(const struct check_history *history, struct check_report *report)
{
    size_t count = history->record_count;
    struct check_record *list = bb_alloc((count + 1) * sizeof *list);
    size_t first_count = 0;

    if (count > 0)
        memcpy(list, history->records, count * sizeof *list);
    qsort(list, count, sizeof *list, by_source);
    for (size_t i = 0; i < count; i++) {
        bool follows = i > 0 && list[i].source == list[i - 1].source;
        if (follows && list[i].prev != list[i - 1].tx) {
            check_found(report, "feed",
                        "source %" PRIu32 ": tx %" PRIu64 " says it follows %" PRIu64
                        ", it came after %" PRIu64,
                        list[i].source, list[i].tx, list[i].prev, list[i - 1].tx);
        }
    }
    while (first_count < count && list[first_count].source == list[0].source)
        first_count++;
    for (size_t from = first_count; from < count;) {
        size_t to = from;
        while (to < count && list[to].source == list[from].source)
            to++;
        compare_sources(list, first_count, list + from, to - from, report);
        from = to;
    }
    bb_free(list);
}

/* ---- once ---- */

static int record_by_id(const void *a, const void *b)
{
    const struct check_record *left = a;
    const struct check_record *right = b;

    return bb_slice_compare(left->id, right->id);
}

static int txn_by_id(const void *a, const void *b)
{
    const struct check_txn *left = *(const struct check_txn *const *)a;
    const struct check_txn *right = *(const struct check_txn *const *)b;

    return bb_slice_compare(left->id, right->id);
}

/*
 * `has_twin`: the same request was sent twice at once. One copy may be told that it failed or
 * changed nothing, which nobody remembers, and the other one may run later and do something. The
 * same holds when it was sent again through another gateway after the first one had died, while the
 * first copy still ran.
 */
static void check_told(const struct check_txn *txn, const struct check_record *record,
                       bool has_twin, struct check_report *report)
{
    bool did_nothing = txn->outcome == CHECK_FAILED || txn->tx == 0;

    if (txn->outcome == CHECK_UNKNOWN || ((has_twin || txn->is_resent) && did_nothing))
        return;
    if (txn->outcome == CHECK_FAILED && record != NULL) {
        check_found(report, "once", "%.*s was told to have failed and is tx %" PRIu64,
                    BB_SLICE_ARG(txn->id), record->tx);
    } else if (txn->outcome == CHECK_OK && txn->tx == 0 && record != NULL) {
        check_found(report, "once", "%.*s was told to have changed nothing and is tx %" PRIu64,
                    BB_SLICE_ARG(txn->id), record->tx);
    } else if (txn->outcome == CHECK_OK && txn->tx != 0 && record == NULL) {
        check_found(report, "once", "%.*s was acknowledged as tx %" PRIu64 " and is lost",
                    BB_SLICE_ARG(txn->id), txn->tx);
    } else if (txn->outcome == CHECK_OK && txn->tx != 0 &&
               (record->tx != txn->tx || !bb_slice_equal(record->log, txn->log))) {
        check_found(report, "once", "%.*s was told as tx %" PRIu64 ", it is tx %" PRIu64 "%s",
                    BB_SLICE_ARG(txn->id), txn->tx, record->tx,
                    record->tx == txn->tx ? " with another result" : "");
    }
}

/* Without a feed: the same id is never told two outcomes. */
static void check_pairs(const struct check_txn *const *txns, size_t count,
                        struct check_report *report)
{
    for (size_t i = 1; i < count; i++) {
        const struct check_txn *a = txns[i - 1];
        const struct check_txn *b = txns[i];
        if (bb_slice_equal(a->id, b->id) && a->outcome == CHECK_OK && b->outcome == CHECK_OK &&
            a->tx != 0 && b->tx != 0 && a->tx != b->tx) {
            check_found(report, "once", "%.*s happened as tx %" PRIu64 " and as tx %" PRIu64,
                        BB_SLICE_ARG(a->id), a->tx, b->tx);
        }
    }
}

void check_once(const struct check_history *history, struct check_report *report)
{
    struct check_record *records = bb_alloc((history->record_count + 1) * sizeof *records);
    const struct check_txn **txns = bb_alloc((history->txn_count + 1) * sizeof(void *));
    uint32_t source = check_source(history);
    size_t record_count = 0;
    size_t txn_count = 0;

    for (size_t i = 0; i < history->record_count; i++) {
        if (history->records[i].id.size > 0 && history->records[i].source == source)
            records[record_count++] = history->records[i];
    }
    for (size_t i = 0; i < history->txn_count; i++) {
        if (history->txns[i].id.size > 0)
            txns[txn_count++] = &history->txns[i];
    }
    qsort(records, record_count, sizeof *records, record_by_id);
    qsort(txns, txn_count, sizeof(void *), txn_by_id);
    for (size_t i = 1; i < record_count; i++) {
        if (bb_slice_equal(records[i].id, records[i - 1].id)) {
            check_found(report, "once", "%.*s happened twice, as tx %" PRIu64 " and %" PRIu64,
                        BB_SLICE_ARG(records[i].id), records[i - 1].tx, records[i].tx);
        }
    }
    check_pairs(txns, txn_count, report);
    for (size_t i = 0; history->record_count > 0 && i < txn_count; i++) {
        struct check_record wanted = { .id = txns[i]->id };
        bool has_twin = (i > 0 && bb_slice_equal(txns[i - 1]->id, wanted.id)) ||
                        (i + 1 < txn_count && bb_slice_equal(txns[i + 1]->id, wanted.id));
        check_told(txns[i], bsearch(&wanted, records, record_count, sizeof *records, record_by_id),
                   has_twin, report);
    }
    bb_free(records);
    bb_free(txns);
}

/* ---- real time ---- */

static int by_start(const void *a, const void *b)
{
    const struct check_txn *left = *(const struct check_txn *const *)a;
    const struct check_txn *right = *(const struct check_txn *const *)b;

    return (left->start_us > right->start_us) - (left->start_us < right->start_us);
}

static int by_end(const void *a, const void *b)
{
    const struct check_txn *left = *(const struct check_txn *const *)a;
    const struct check_txn *right = *(const struct check_txn *const *)b;

    return (left->end_us > right->end_us) - (left->end_us < right->end_us);
}

static uint64_t place_of(const struct check_txn *txn)
{
    return txn->tx != 0 ? txn->tx : txn->at;
}

static void check_after(const struct check_txn *txn, const struct check_txn *newest,
                        struct check_report *report)
{
    uint64_t place = place_of(txn);
    bool is_behind =
        newest != NULL && (place < place_of(newest) || (txn->tx != 0 && place == place_of(newest)));

    if (txn->is_newest && !txn->is_finish && is_behind) {
        check_found(report, "real-time",
                    "%.*s began at %" PRIu64 " us and is at %" PRIu64 ", though %.*s at %" PRIu64
                    " had ended at %" PRIu64 " us",
                    BB_SLICE_ARG(txn->id), txn->start_us, place, BB_SLICE_ARG(newest->id),
                    place_of(newest), newest->end_us);
    }
}

void check_real_time(const struct check_history *history, struct check_report *report)
{
    size_t count = 0;
    const struct check_txn **starts = bb_alloc((history->txn_count + 1) * sizeof(void *));
    const struct check_txn **ends = bb_alloc((history->txn_count + 1) * sizeof(void *));
    const struct check_txn *newest = NULL;
    size_t ended = 0;

    for (size_t i = 0; i < history->txn_count; i++) {
        const struct check_txn *txn = &history->txns[i];
        if (txn->outcome == CHECK_OK && place_of(txn) != 0) {
            starts[count] = ends[count] = txn;
            count++;
        }
    }
    qsort(starts, count, sizeof(void *), by_start);
    qsort(ends, count, sizeof(void *), by_end);
    for (size_t i = 0; i < count; i++) {
        for (; ended < count && ends[ended]->end_us < starts[i]->start_us; ended++) {
            if (newest == NULL || place_of(ends[ended]) > place_of(newest))
                newest = ends[ended];
        }
        check_after(starts[i], newest, report);
    }
    /* Pushes of one subscription, in the order in which they came. */
    for (size_t i = 0; i < history->txn_count; i++) {
        const struct check_txn *txn = &history->txns[i];
        for (size_t k = i; txn->watch != 0 && k > 0; k--) {
            const struct check_txn *before = &history->txns[k - 1];
            if (before->watch != txn->watch)
                continue;
            if (before->at > txn->at) {
                check_found(report, "real-time",
                            "subscription %" PRIu32 " went back from %" PRIu64 " to %" PRIu64,
                            txn->watch, before->at, txn->at);
            }
            break;
        }
    }
    bb_free(starts);
    bb_free(ends);
}
