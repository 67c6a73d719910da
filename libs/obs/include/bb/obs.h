/*
 * What a person sees of a running service: structured log lines and metrics.
 *
 * A log line is an event with fields: `2026-01-02T03:04:05.678901Z info storage raft.elected
 * term=4`, or the same as one JSON object a line. Threads: all functions may be called from any
 * thread; a counter is one relaxed atomic add.
 */
#ifndef BB_OBS_H
#define BB_OBS_H

#include "bb/base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bb_log_level {
    BB_LOG_DEBUG,
    BB_LOG_INFO,
    BB_LOG_WARN,
    BB_LOG_ERROR
};

/* Lines go to `fd` with one write each. `service` is copied. */
struct bb_log *bb_log_new(int fd, const char *service, enum bb_log_level level_min, bool is_json);
void bb_log_free(struct bb_log *log); /* accepts NULL */
void bb_log_event(struct bb_ctx *ctx, enum bb_log_level level, const char *event,
                  const char *format, ...) BB_PRINTF(4, 5);
/* `fields` is printf: "term=%" PRIu64 " why=%s"; use bb_log_quote for text that may hold blanks. */
#define bb_debug(ctx, event, ...) bb_log_event((ctx), BB_LOG_DEBUG, (event), __VA_ARGS__)
#define bb_info(ctx, event, ...)  bb_log_event((ctx), BB_LOG_INFO, (event), __VA_ARGS__)
#define bb_warn(ctx, event, ...)  bb_log_event((ctx), BB_LOG_WARN, (event), __VA_ARGS__)
#define bb_error(ctx, event, ...) bb_log_event((ctx), BB_LOG_ERROR, (event), __VA_ARGS__)

/* `text` between double quotes with \" \\ and \n escaped, cut to `size` - 1 bytes; returns `to`. */
const char *bb_log_quote(const char *text, char *to, size_t size);

/* ---- metrics: registered once, kept for the life of the process ---- */

struct bb_metric;
enum bb_metric_kind {
    BB_COUNTER,
    BB_GAUGE
};
/* Same name: the same metric. Names: bb_storage_apply_total. */
struct bb_metric *bb_metric(const char *name, enum bb_metric_kind kind, const char *help);
void bb_metric_add(struct bb_metric *metric, int64_t delta);
void bb_metric_set(struct bb_metric *metric, int64_t value);
int64_t bb_metric_get(const struct bb_metric *metric);

/* A histogram of microseconds with powers-of-two buckets; also gives
 * bb_x_seconds_{bucket,sum,count}. */
struct bb_histogram;
struct bb_histogram *bb_histogram(const char *name, const char *help);
void bb_histogram_observe(struct bb_histogram *histogram, uint64_t us);
/* The value below which `quantile` (0..1) of the observations lie, in microseconds; 0 if none. */
uint64_t bb_histogram_quantile(const struct bb_histogram *histogram, double quantile);

/* All metrics in Prometheus' text format. */
void bb_metrics_render(struct bb_buf *to);

#ifdef __cplusplus
}
#endif

#endif
