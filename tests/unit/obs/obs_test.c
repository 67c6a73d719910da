#include <criterion/criterion.h>

#include "bb/obs.h"

#include <stdio.h>
#include <unistd.h>

/* Log one event into a pipe and read the line back. */
static size_t log_line(bool is_json, enum bb_log_level level, const char *fields, char *line,
                       size_t size)
{
    int ends[2];

    cr_assert_eq(pipe(ends), 0);
    struct bb_log *log = bb_log_new(ends[1], "storage", BB_LOG_INFO, is_json);
    struct bb_ctx ctx = { .log = log, .trace_id = 0x2a };
    bb_log_event(&ctx, level, "raft.elected", "%s", fields);
    (void)close(ends[1]);
    ssize_t done = read(ends[0], line, size - 1);
    cr_assert_geq(done, 0);
    line[done] = '\0';
    (void)close(ends[0]);
    bb_log_free(log);
    return (size_t)done;
}

Test(log, an_event_is_one_line_with_its_fields)
{
    char line[8192];

    (void)log_line(false, BB_LOG_WARN, "term=4 why=\"a\nb\"", line, sizeof line);
    cr_assert_not_null(
        strstr(line, "Z warn storage raft.elected trace=000000000000002a term=4 why=\"a b\"\n"),
        "%s", line);
    cr_assert_eq(strchr(line, '\n'), line + strlen(line) - 1);
}

Test(log, a_line_below_the_level_is_not_written)
{
    char line[8192];

    cr_assert_eq(log_line(false, BB_LOG_DEBUG, "a=1", line, sizeof line), 0);
}

Test(log, json_has_each_field_under_its_name)
{
    char line[8192];

    (void)log_line(true, BB_LOG_INFO, "term=4 why=\"say \\\"no\\\" twice\"", line, sizeof line);
    cr_assert_not_null(strstr(line, "\"service\":\"storage\",\"event\":\"raft.elected\","
                                    "\"trace\":\"000000000000002a\",\"term\":\"4\","
                                    "\"why\":\"say \\\"no\\\" twice\"}\n"),
                       "%s", line);
}

Test(log, a_long_text_is_cut_and_json_stays_closed)
{
    char fields[6000];
    char line[8192];

    memset(fields, 1, sizeof fields);
    memcpy(fields, "text=", 5);
    fields[sizeof fields - 1] = '\0';
    size_t size = log_line(true, BB_LOG_INFO, fields, line, sizeof line);
    cr_assert_leq(size, 4096);
    cr_assert_str_eq(line + size - 3, "\"}\n");
}

Test(log, quote_escapes_and_never_overruns)
{
    char to[8];

    cr_assert_str_eq(bb_log_quote("a\"b", to, sizeof to), "\"a\\\"b\"");
    cr_assert_str_eq(bb_log_quote("abcdefghij", to, sizeof to), "\"abcd\"");
    cr_assert_str_eq(bb_log_quote("\n\n\n\n\n", to, sizeof to), "\"\\n\\n\"");
}

Test(metric, the_same_name_is_the_same_metric)
{
    struct bb_metric *a = bb_metric("bb_test_total", BB_COUNTER, "A test.");
    struct bb_metric *b = bb_metric("bb_test_total", BB_COUNTER, "A test.");

    cr_assert_eq(a, b);
    bb_metric_add(a, 3);
    bb_metric_add(b, 4);
    cr_assert_eq(bb_metric_get(a), 7);
    bb_metric_set(a, -2);
    cr_assert_eq(bb_metric_get(b), -2);
}

Test(metric, a_histogram_gives_quantiles_within_its_buckets)
{
    struct bb_histogram *histogram = bb_histogram("bb_test_seconds", "A test.");

    cr_assert_eq(bb_histogram_quantile(histogram, 0.5), 0);
    for (uint64_t us = 1; us <= 1000; us++)
        bb_histogram_observe(histogram, us);
    uint64_t median = bb_histogram_quantile(histogram, 0.5);
    cr_assert(median >= 480 && median <= 520, "%" PRIu64, median);
    cr_assert_leq(bb_histogram_quantile(histogram, 1.0), 1024);
    bb_histogram_observe(histogram, UINT64_MAX);
    cr_assert_gt(bb_histogram_quantile(histogram, 1.0), UINT64_C(1) << 38);
}

Test(metric, all_are_rendered_for_prometheus)
{
    struct bb_buf text;

    bb_buf_init(&text);
    bb_metric_set(bb_metric("bb_test_gauge", BB_GAUGE, "A level."), 5);
    bb_histogram_observe(bb_histogram("bb_test2_seconds", "A test."), 20);
    bb_metrics_render(&text);
    bb_buf_append_byte(&text, '\0');
    const char *found = (const char *)text.data;
    cr_assert_not_null(strstr(found, "# TYPE bb_test_gauge gauge\nbb_test_gauge 5\n"));
    cr_assert_not_null(strstr(found, "bb_test2_seconds_bucket{le=\"0.000016\"} 0\n"));
    cr_assert_not_null(strstr(found, "bb_test2_seconds_bucket{le=\"0.000032\"} 1\n"));
    cr_assert_not_null(strstr(found, "bb_test2_seconds_bucket{le=\"+Inf\"} 1\n"));
    cr_assert_not_null(strstr(found, "bb_test2_seconds_sum 0.000020\nbb_test2_seconds_count 1\n"));
    bb_buf_fini(&text);
}
