/* Histories in memory and as lines of JSON. */
#include "checkers.h"

#include <stdio.h>

#define SOURCES_MAX 16 /* storage nodes that are followed */

void check_add_txn(struct check_history *history, const struct check_txn *txn)
{
    if (history->txn_count == history->txn_capacity) {
        history->txn_capacity = history->txn_capacity == 0 ? 256 : history->txn_capacity * 2;
        history->txns = bb_realloc(history->txns, history->txn_capacity * sizeof *history->txns);
    }
    history->txns[history->txn_count++] = *txn;
}

void check_add_record(struct check_history *history, const struct check_record *record)
{
    if (history->record_count == history->record_capacity) {
        history->record_capacity =
            history->record_capacity == 0 ? 256 : history->record_capacity * 2;
        history->records =
            bb_realloc(history->records, history->record_capacity * sizeof *history->records);
    }
    history->records[history->record_count++] = *record;
}

void check_add_job(struct check_history *history, const struct check_job *job)
{
    if (history->job_count == history->job_capacity) {
        history->job_capacity = history->job_capacity == 0 ? 256 : history->job_capacity * 2;
        history->jobs = bb_realloc(history->jobs, history->job_capacity * sizeof *history->jobs);
    }
    history->jobs[history->job_count++] = *job;
}

void check_add_run(struct check_history *history, const struct check_run *run)
{
    if (history->run_count == history->run_capacity) {
        history->run_capacity = history->run_capacity == 0 ? 256 : history->run_capacity * 2;
        history->runs = bb_realloc(history->runs, history->run_capacity * sizeof *history->runs);
    }
    history->runs[history->run_count++] = *run;
}

void check_add_scheduled(struct check_history *history, const struct check_scheduled *scheduled)
{
    if (history->scheduled_count == history->scheduled_capacity) {
        history->scheduled_capacity =
            history->scheduled_capacity == 0 ? 256 : history->scheduled_capacity * 2;
        history->scheduled = bb_realloc(history->scheduled,
                                        history->scheduled_capacity * sizeof *history->scheduled);
    }
    history->scheduled[history->scheduled_count++] = *scheduled;
}

void check_free(struct check_history *history)
{
    bb_free(history->txns);
    bb_free(history->records);
    bb_free(history->jobs);
    bb_free(history->runs);
    bb_free(history->scheduled);
}

uint32_t check_source(const struct check_history *history)
{
    struct {
        uint32_t source;
        size_t count;
    } found[SOURCES_MAX] = { 0 };
    size_t best = 0;

    for (size_t i = 0; i < history->record_count; i++) {
        size_t at = 0;
        while (found[at].count > 0 && found[at].source != history->records[i].source)
            bb_assert(++at < SOURCES_MAX);
        found[at].source = history->records[i].source;
        found[at].count++;
        best = found[at].count > found[best].count ? at : best;
    }
    return found[best].source;
}

void check_found(struct check_report *report, const char *name, const char *format, ...)
{
    char text[480];
    va_list arguments;

    report->count++;
    if (report->text.size > 20000)
        return;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments); /* cut is fine */
    va_end(arguments);
    bb_buf_printf(&report->text, "%s: %s\n", name, text);
}

/* ---- reading ---- */

static uint64_t number(struct bb_slice line, const char *name)
{
    struct bb_slice value = bb_value_field_str(line, name);

    return value.data != NULL && bb_value_tag(value) == BB_TAG_FLOAT64
               ? (uint64_t)bb_value_float64(value)
               : 0;
}

static struct bb_slice text(struct bb_slice line, const char *name)
{
    struct bb_slice value = bb_value_field_str(line, name);

    return value.data != NULL && bb_value_tag(value) == BB_TAG_STRING ? bb_value_bytes(value)
                                                                      : BB_SLICE_EMPTY;
}

static struct bb_slice log_of(struct bb_slice line)
{
    struct bb_slice value = bb_value_field_str(line, "log");

    return value.data != NULL && bb_value_tag(value) == BB_TAG_ARRAY ? value : BB_SLICE_EMPTY;
}

static enum check_outcome outcome_of(struct bb_slice line)
{
    struct bb_slice outcome = text(line, "outcome");

    return bb_slice_equal_str(outcome, "failed")    ? CHECK_FAILED
           : bb_slice_equal_str(outcome, "unknown") ? CHECK_UNKNOWN
                                                    : CHECK_OK;
}

/* False: it is about something else. */
static bool add_job_line(struct bb_slice line, struct check_history *history)
{
    struct bb_slice type = text(line, "type");

    if (bb_slice_equal_str(type, "job")) {
        uint64_t max = number(line, "max");
        check_add_job(history, &(struct check_job){ .id = text(line, "id"),
                                                    .state = text(line, "state"),
                                                    .is_mutation = bb_slice_equal_str(
                                                        text(line, "kind"), "mutation"),
                                                    .attempts_max = max == 0 ? 1 : max,
                                                    .due_us = number(line, "due") });
    } else if (bb_slice_equal_str(type, "run")) {
        check_add_run(history, &(struct check_run){ .job = text(line, "job"),
                                                    .attempt = number(line, "attempt"),
                                                    .start_us = number(line, "start") });
    } else if (bb_slice_equal_str(type, "scheduled")) {
        check_add_scheduled(history, &(struct check_scheduled){ .id = text(line, "id"),
                                                                .outcome = outcome_of(line) });
    } else {
        return false;
    }
    return true;
}

static void add_line(struct bb_slice line, struct check_history *history)
{
    struct bb_slice newest = bb_value_field_str(line, "newest");
    struct bb_slice finish = bb_value_field_str(line, "finish");
    struct bb_slice resent = bb_value_field_str(line, "resent");

    if (add_job_line(line, history))
        return;
    if (bb_slice_equal_str(text(line, "type"), "record")) {
        check_add_record(history,
                         &(struct check_record){ .source = (uint32_t)number(line, "source"),
                                                 .tx = number(line, "tx"),
                                                 .prev = number(line, "prev"),
                                                 .id = text(line, "id"),
                                                 .log = log_of(line) });
        return;
    }
    check_add_txn(history,
                  &(struct check_txn){
                      .id = text(line, "id"),
                      .start_us = number(line, "start"),
                      .end_us = number(line, "end"),
                      .outcome = outcome_of(line),
                      .tx = number(line, "tx"),
                      .at = number(line, "at"),
                      .is_newest = newest.data == NULL || bb_value_tag(newest) != BB_TAG_FALSE,
                      .is_finish = finish.data != NULL && bb_value_tag(finish) == BB_TAG_TRUE,
                      .is_resent = resent.data != NULL && bb_value_tag(resent) == BB_TAG_TRUE,
                      .watch = (uint32_t)number(line, "watch"),
                      .log = log_of(line) });
}

int check_read(struct bb_ctx *ctx, struct bb_slice lines, struct check_history *history)
{
    size_t count = 0;

    while (lines.size > 0) {
        const uint8_t *end = memchr(lines.data, '\n', lines.size);
        size_t size = end == NULL ? lines.size : (size_t)(end - lines.data);
        struct bb_buf value;
        count++;
        if (size > 0 && lines.data[0] == '{') {
            bb_buf_init(&value);
            int rc = bb_json_decode(ctx, bb_slice(lines.data, size), false, &value);
            if (rc != BB_OK)
                return bb_fail(ctx, rc, "line %zu: %s", count, ctx->error);
            add_line(bb_arena_dup(ctx->arena, bb_buf_slice(&value)), history);
            bb_buf_fini(&value);
        }
        size += end != NULL;
        lines = bb_slice(lines.data + size, lines.size - size);
    }
    return BB_OK;
}

/* ---- writing ---- */

static void append_text(struct bb_buf *lines, const char *name, struct bb_slice value)
{
    if (value.size > 0) {
        bb_buf_printf(lines, ",\"%s\":", name);
        bb_json_string(lines, value);
    }
}

static void append_log(struct bb_buf *lines, struct bb_slice log)
{
    if (log.size > 0) {
        bb_buf_append_str(lines, ",\"log\":");
        bb_json_encode(log, BB_JSON_ENCODED, lines);
    }
    bb_buf_append_str(lines, "}\n");
}

void check_write(const struct check_history *history, struct bb_buf *lines)
{
    static const char *const outcomes[] = { "ok", "failed", "unknown" };

    for (size_t i = 0; i < history->record_count; i++) {
        const struct check_record *record = &history->records[i];
        bb_buf_printf(lines,
                      "{\"type\":\"record\",\"source\":%" PRIu32 ",\"tx\":%" PRIu64
                      ",\"prev\":%" PRIu64,
                      record->source, record->tx, record->prev);
        append_text(lines, "id", record->id);
        append_log(lines, record->log);
    }
    for (size_t i = 0; i < history->txn_count; i++) {
        const struct check_txn *txn = &history->txns[i];
        bb_buf_printf(lines,
                      "{\"type\":\"txn\",\"start\":%" PRIu64 ",\"end\":%" PRIu64
                      ",\"outcome\":\"%s\",\"tx\":%" PRIu64 ",\"at\":%" PRIu64
                      ",\"newest\":%s,\"finish\":%s,\"resent\":%s,\"watch\":%" PRIu32,
                      txn->start_us, txn->end_us, outcomes[txn->outcome], txn->tx, txn->at,
                      txn->is_newest ? "true" : "false", txn->is_finish ? "true" : "false",
                      txn->is_resent ? "true" : "false", txn->watch);
        append_text(lines, "id", txn->id);
        append_log(lines, txn->log);
    }
}

/* The same request sent twice at once is one transaction, which was told twice. */
static void merge_twins(const struct check_history *history, struct check_history *merged)
{
    size_t capacity = 64;
    size_t *places;

    while (capacity < history->txn_count * 2)
        capacity *= 2;
    places = bb_alloc_zero(capacity, sizeof *places); /* of the first with an id, + 1 */
    *merged = *history;
    merged->txns = NULL;
    merged->txn_count = merged->txn_capacity = 0;
    for (size_t i = 0; i < history->txn_count; i++) {
        const struct check_txn *txn = &history->txns[i];
        size_t at = (size_t)bb_hash64(txn->id, txn->tx) & (capacity - 1);
        struct check_txn *twin = NULL;
        for (; txn->tx != 0 && txn->id.size > 0 && places[at] != 0;
             at = (at + 1) & (capacity - 1)) {
            struct check_txn *other = &merged->txns[places[at] - 1];
            if (other->tx == txn->tx && bb_slice_equal(other->id, txn->id)) {
                twin = other;
                break;
            }
        }
        if (twin == NULL) {
            check_add_txn(merged, txn);
            if (txn->tx != 0 && txn->id.size > 0)
                places[at] = merged->txn_count;
            continue;
        }
        twin->start_us = twin->start_us < txn->start_us ? twin->start_us : txn->start_us;
        twin->end_us = twin->end_us < txn->end_us ? twin->end_us : txn->end_us;
    }
    bb_free(places);
}

void check_all(const struct check_history *history, struct check_report *report)
{
    struct check_history merged;

    merge_twins(history, &merged);
    check_feed(history, report);
    check_once(history, report);
    check_order(&merged, report);
    check_real_time(&merged, report);
    check_cycles(&merged, report);
    check_jobs(history, report);
    bb_free(merged.txns);
}
