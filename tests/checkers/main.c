/*
 * check FILE: judges a history of real processes; a line for each thing that is wrong, and 1.
 * check --expect NAME FILE: 0 only if NAME is among what is wrong ("nothing": nothing is).
 */
#include <stdio.h>
#include <stdlib.h>

#include "bb/env.h"

#include "checkers.h"

static bool has_name(struct bb_slice text, const char *name)
{
    size_t size = strlen(name);

    while (text.size > 0) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t line = end == NULL ? text.size : (size_t)(end - text.data) + 1;
        if (line > size && memcmp(text.data, name, size) == 0 && text.data[size] == ':')
            return true;
        text = bb_slice(text.data + line, text.size - line);
    }
    return false;
}

static int judge(const struct check_report *report, const char *expected)
{
    (void)fwrite(report->text.data == NULL ? (const uint8_t *)"" : report->text.data, 1,
                 report->text.size, stdout);
    if (expected == NULL)
        return report->count == 0 ? 0 : 1;
    if (strcmp(expected, "nothing") == 0 ? report->count == 0
                                         : has_name(bb_buf_slice(&report->text), expected))
        return 0;
    (void)printf("expected %s\n", expected);
    return 1;
}

int main(int argc, char **argv)
{
    bool expects = argc == 4 && strcmp(argv[1], "--expect") == 0;
    struct bb_ctx ctx = { .env = bb_env_real(), .arena = bb_arena_new(0) };
    struct check_history history = { .txn_count = 0 };
    struct check_report report = { .count = 0 };
    struct bb_buf lines;

    if (argc != 2 && !expects) {
        (void)fprintf(stderr, "usage: check [--expect NAME] FILE\n");
        return 2;
    }
    bb_buf_init(&lines);
    int rc = bb_file_read_all(&ctx, argv[argc - 1], &lines);
    if (rc == BB_OK)
        rc = check_read(&ctx, bb_buf_slice(&lines), &history);
    if (rc != BB_OK) {
        (void)fprintf(stderr, "%s\n", ctx.error);
        return 2;
    }
    check_all(&history, &report);
    (void)printf("%zu transactions, %zu records, %zu jobs\n", history.txn_count,
                 history.record_count, history.job_count);
    int result = judge(&report, expects ? argv[2] : NULL);
    check_free(&history);
    bb_buf_fini(&report.text);
    bb_buf_fini(&lines);
    bb_arena_free(ctx.arena);
    return result;
}
