#include "bb/obs.h"

#include <math.h>
#include <stdatomic.h>

/* Bucket i counts values <= 2^i us; the last one reaches six days. */
#define BUCKET_COUNT 40

struct bb_metric {
    struct bb_metric *next;
    char *name, *help;
    enum bb_metric_kind kind;
    _Atomic int64_t value;
};

struct bb_histogram {
    struct bb_histogram *next;
    char *name, *help;
    _Atomic uint64_t sum_us;
    _Atomic uint64_t bucket[BUCKET_COUNT];
};

/* The process's registry: lists that only grow at the head, so any thread may walk them. */
static _Atomic(struct bb_metric *) metrics;
static _Atomic(struct bb_histogram *) histograms;

static struct bb_metric *find_metric(const char *name)
{
    struct bb_metric *metric = atomic_load_explicit(&metrics, memory_order_acquire);

    while (metric != NULL && strcmp(metric->name, name) != 0)
        metric = metric->next;
    return metric;
}

static struct bb_histogram *find_histogram(const char *name)
{
    struct bb_histogram *histogram = atomic_load_explicit(&histograms, memory_order_acquire);

    while (histogram != NULL && strcmp(histogram->name, name) != 0)
        histogram = histogram->next;
    return histogram;
}

struct bb_metric *bb_metric(const char *name, enum bb_metric_kind kind, const char *help)
{
    struct bb_metric *found = find_metric(name);
    struct bb_metric *head = atomic_load_explicit(&metrics, memory_order_acquire);

    if (found != NULL)
        return found;
    struct bb_metric *metric = bb_alloc_zero(1, sizeof *metric);
    metric->name = bb_strdup(name);
    metric->help = bb_strdup(help);
    metric->kind = kind;
    do {
        /* Another thread may have registered the same name since. */
        found = find_metric(name);
        if (found != NULL) {
            bb_free(metric->name);
            bb_free(metric->help);
            bb_free(metric);
            return found;
        }
        metric->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&metrics, &head, metric, memory_order_acq_rel,
                                                    memory_order_acquire));
    return metric;
}

void bb_metric_add(struct bb_metric *metric, int64_t delta)
{
    atomic_fetch_add_explicit(&metric->value, delta, memory_order_relaxed);
}

void bb_metric_set(struct bb_metric *metric, int64_t value)
{
    atomic_store_explicit(&metric->value, value, memory_order_relaxed);
}

int64_t bb_metric_get(const struct bb_metric *metric)
{
    return atomic_load_explicit(&metric->value, memory_order_relaxed);
}

struct bb_histogram *bb_histogram(const char *name, const char *help)
{
    struct bb_histogram *found = find_histogram(name);
    struct bb_histogram *head = atomic_load_explicit(&histograms, memory_order_acquire);

    if (found != NULL)
        return found;
    struct bb_histogram *histogram = bb_alloc_zero(1, sizeof *histogram);
    histogram->name = bb_strdup(name);
    histogram->help = bb_strdup(help);
    do {
        found = find_histogram(name);
        if (found != NULL) {
            bb_free(histogram->name);
            bb_free(histogram->help);
            bb_free(histogram);
            return found;
        }
        histogram->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&histograms, &head, histogram,
                                                    memory_order_acq_rel, memory_order_acquire));
    return histogram;
}

static size_t bucket_of(uint64_t us)
{
    size_t bucket = us <= 1 ? 0 : (size_t)(64 - __builtin_clzll(us - 1));

    return bucket < BUCKET_COUNT ? bucket : BUCKET_COUNT - 1;
}

void bb_histogram_observe(struct bb_histogram *histogram, uint64_t us)
{
    atomic_fetch_add_explicit(&histogram->bucket[bucket_of(us)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&histogram->sum_us, us, memory_order_relaxed);
}

uint64_t bb_histogram_quantile(const struct bb_histogram *histogram, double quantile)
{
    uint64_t bucket[BUCKET_COUNT];
    uint64_t count = 0;

    for (size_t i = 0; i < BUCKET_COUNT; i++) {
        bucket[i] = atomic_load_explicit(&histogram->bucket[i], memory_order_relaxed);
        count += bucket[i];
    }
    if (count == 0)
        return 0;
    double wanted = quantile * (double)count;
    double below = 0;
    for (size_t i = 0; i < BUCKET_COUNT; i++) {
        double here = (double)bucket[i];
        if (bucket[i] > 0 && below + here >= wanted) {
            /* Inside a bucket the values are taken as evenly spread. */
            double low = i == 0 ? 0 : (double)(UINT64_C(1) << (i - 1));
            double high = (double)(UINT64_C(1) << i);
            double part = wanted <= below ? 0 : (wanted - below) / here;
            return (uint64_t)llround(low + part * (high - low));
        }
        below += here;
    }
    return UINT64_C(1) << (BUCKET_COUNT - 1);
}

static void render_histogram(struct bb_buf *to, const struct bb_histogram *histogram)
{
    uint64_t count = 0;
    uint64_t sum_us = atomic_load_explicit(&histogram->sum_us, memory_order_relaxed);

    bb_buf_printf(to, "# HELP %s %s\n# TYPE %s histogram\n", histogram->name, histogram->help,
                  histogram->name);
    for (size_t i = 0; i < BUCKET_COUNT; i++) {
        count += atomic_load_explicit(&histogram->bucket[i], memory_order_relaxed);
        if (i >= 4 && i <= 26) { /* 16 us to 67 s; the others only add to the sums */
            bb_buf_printf(to, "%s_bucket{le=\"%.6f\"} %" PRIu64 "\n", histogram->name,
                          (double)(UINT64_C(1) << i) / 1e6, count);
        }
    }
    bb_buf_printf(to, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", histogram->name, count);
    bb_buf_printf(to, "%s_sum %.6f\n%s_count %" PRIu64 "\n", histogram->name, (double)sum_us / 1e6,
                  histogram->name, count);
}

void bb_metrics_render(struct bb_buf *to)
{
    for (struct bb_metric *metric = atomic_load_explicit(&metrics, memory_order_acquire);
         metric != NULL; metric = metric->next) {
        bb_buf_printf(to, "# HELP %s %s\n# TYPE %s %s\n%s %" PRId64 "\n", metric->name,
                      metric->help, metric->name, metric->kind == BB_COUNTER ? "counter" : "gauge",
                      metric->name, bb_metric_get(metric));
    }
    for (struct bb_histogram *histogram = atomic_load_explicit(&histograms, memory_order_acquire);
         histogram != NULL; histogram = histogram->next)
        render_histogram(to, histogram);
}
