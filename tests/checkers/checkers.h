/*
 * Judges of histories: what clients saw, and the feed if it was kept, against what a database that
 * runs one transaction after the other, in the order of tx and of real time, would have shown.
 *
 * A transaction tells what it did as a log, an array of steps (docs: tests/checkers/README.md):
 * reads with what they gave, writes with what they wrote. The same for the simulation and for real
 * processes, which write histories as lines of JSON.
 */
#ifndef CHECKERS_H
#define CHECKERS_H

#include "bb/base.h"
#include "bb/value.h"

enum check_outcome {
    CHECK_OK,
    CHECK_FAILED, /* it threw: nothing of it stays, and what it read was so */
    CHECK_UNKNOWN /* nobody was told */
};
struct check_txn {
    struct bb_slice id; /* of the request; empty: a query or a push */
    uint64_t start_us, end_us;
    enum check_outcome outcome;
    uint64_t tx;    /* of a transaction that wrote; 0: it did not */
    uint64_t at;    /* without tx: the moment that it read at; 0: not told */
    bool is_finish; /* a mutation that changed nothing */
    bool is_resent; /* sent again after an answer got lost: the copy before may still run */
    bool is_newest; /* it must not be older than what ended before it began */
    uint32_t watch; /* a push: of which subscription; 0: none */
    struct bb_slice log;
};
struct check_record {
    uint32_t source; /* which feed */
    uint64_t tx, prev;
    struct bb_slice id, log; /* of the transaction's value; empty: of the suite itself */
};
/* A job as its row says at the end, a run of it as its effects say, and what was told of it. */
struct check_job {
    struct bb_slice id, state;
    bool is_mutation;
    uint64_t attempts_max; /* of an action: how often it may run */
    uint64_t due_us;
};
struct check_run {
    struct bb_slice job;
    uint64_t attempt, start_us;
};
struct check_scheduled {
    struct bb_slice id;
    enum check_outcome outcome;
};
struct check_history {
    struct check_txn *txns;
    size_t txn_count, txn_capacity;
    struct check_record *records;
    size_t record_count, record_capacity;
    struct check_job *jobs;
    size_t job_count, job_capacity;
    struct check_run *runs;
    size_t run_count, run_capacity;
    struct check_scheduled *scheduled;
    size_t scheduled_count, scheduled_capacity;
};
void check_free(struct check_history *history);
/* Whose records say what happened: of all sources the one with the most. Each begins with the first
 * transaction, and one that was told that its position is gone ends early. 0: there are none. */
uint32_t check_source(const struct check_history *history);
struct check_report {
    struct bb_buf text; /* a line each */
    size_t count;
};

/* Slices are borrowed and must live as long as the history. */
void check_add_txn(struct check_history *history, const struct check_txn *txn);
void check_add_record(struct check_history *history, const struct check_record *record);
void check_add_job(struct check_history *history, const struct check_job *job);
void check_add_run(struct check_history *history, const struct check_run *run);
void check_add_scheduled(struct check_history *history, const struct check_scheduled *scheduled);
/* Lines of JSON; their content lives in `arena`. */
int check_read(struct bb_ctx *ctx, struct bb_slice lines, struct check_history *history);
void check_write(const struct check_history *history, struct bb_buf *lines);

/* `name` is the rule that was broken; the first word of the line. */
void check_found(struct check_report *report, const char *name, const char *format, ...)
    BB_PRINTF(3, 4);

/* All of them. */
void check_all(const struct check_history *history, struct check_report *report);
/* feed: gap-free, the same from every source. */
void check_feed(const struct check_history *history, struct check_report *report);
/* once: each request happened at most once, as it was told, and nothing told is lost. */
void check_once(const struct check_history *history, struct check_report *report);
/* serializable, as-of: each read is what the transactions before it, in the order of tx, left;
 * bank, skew, phantom: what holds after each of them. */
void check_order(const struct check_history *history, struct check_report *report);
/* real-time: what ended before another began comes before it; a subscription never goes back. */
void check_real_time(const struct check_history *history, struct check_report *report);
/* G0, G1a, G1c, G2: cycles among the transactions, found without looking at any tx. */
void check_cycles(const struct check_history *history, struct check_report *report);

/* job-lost, job-twice, job-early, job-phantom: what was promised of jobs. */
void check_jobs(const struct check_history *history, struct check_report *report);

/* ---- shared by the checkers ---- */

/* The state: keys and values, in order. */
struct check_model {
    struct check_pair {
        struct bb_slice key, value;
    } * pairs;
    size_t count, capacity;
};
struct bb_slice check_model_get(const struct check_model *model, struct bb_slice key);
void check_model_put(struct check_model *model, struct bb_slice key, struct bb_slice value);
/* Runs the log of a transaction: its writes are applied, its reads compared. False: a read is not
 * what the model gives; `why` says which. */
bool check_model_run(struct check_model *model, struct bb_slice log, struct bb_buf *why);
void check_model_copy(const struct check_model *from, struct check_model *to);
void check_model_free(struct check_model *model);

#endif
