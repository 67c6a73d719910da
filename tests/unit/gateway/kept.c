/* Results that a worker keeps, and whose JSON the gateway keeps: the value crosses once. */
#include <stdio.h>
#include <stdlib.h>

#include "suite.h"

static const char *ask_kept(struct suite *suite, const char *format)
{
    char body[100];

    (void)snprintf(body, sizeof(body), "{\"path\":\"t:kept\",\"format\":\"%s\"}", format);
    return ask(suite, "POST /api/query", "", body);
}

/* Asks `times`, and gets what the worker keeps now; `left_out` values were not sent again. */
static void expect_kept(struct suite *suite, const char *format, int times, int left_out)
{
    int before = suite->left_out;
    char wanted[200], end[100];

    (void)snprintf(wanted, sizeof(wanted),
                   "{\"status\":\"success\",\"value\":\"kept %" PRIu64 " of %" PRIu64 " \\\"xxx",
                   suite->number, suite->source);
    for (int i = 0; i < times; i++) {
        const char *text = ask_kept(suite, format);

        expect_in(text, wanted);
        (void)snprintf(end, sizeof(end), "xxx\",\"tx\":%" PRIu64 ",\"logLines\":[]}", suite->tx++);
        expect_in(text, end);
        cr_expect_eq(strlen(strstr(text, "\r\n\r\n") + 4),
                     strtoul(strstr(text, "Content-Length: ") + 16, NULL, 10));
    }
    cr_expect_eq(suite->left_out - before, left_out);
}

Test(kept, a_kept_result_crosses_once_and_is_the_same_ever_after)
{
    struct suite suite;

    suite_start(&suite);
    expect_kept(&suite, "json", 3, 0); /* not kept there: each is sent */
    suite.source = 5;
    suite.number = 1;
    expect_kept(&suite, "json", 4, 3);
    expect_kept(&suite, "convex_encoded_json", 3, 2); /* another text of it */
    suite.number = 2;                                 /* something was written */
    expect_kept(&suite, "json", 3, 2);
    suite.source = 6; /* the worker was started again, and counts from 1 */
    expect_kept(&suite, "json", 3, 2);
    suite.number = 1;
    expect_kept(&suite, "json", 2, 1);
    suite.source = 5;
    expect_kept(&suite, "convex_encoded_json", 1, 1);
    suite.number = 0;
    expect_kept(&suite, "json", 2, 0);
    suite_stop(&suite);
}

Test(kept, a_batch_takes_kept_results_too)
{
    struct suite suite;

    suite_start(&suite);
    suite.source = 5;
    suite.number = 1;
    for (int i = 0; i < 3; i++) {
        const char *text = ask(&suite, "POST /api/query_batch", "",
                               "{\"queries\":[{\"path\":\"t:kept\"},{\"path\":\"t:count\"}]}");

        expect_in(text, "{\"results\":[{\"status\":\"success\",\"value\":\"kept 1 of 5 ");
        expect_in(text,
                  "xxx\",\"tx\":1000,\"logLines\":[]},{\"status\":\"success\",\"value\":\"0\"");
    }
    cr_expect_eq((int)suite.left_out, 2);
    suite_stop(&suite);
}

Test(kept, a_value_that_is_left_out_and_not_known_is_no_answer)
{
    struct suite suite;

    suite_start(&suite);
    suite.source = 5;
    suite.number = 1;
    suite.is_liar = true;
    expect_in(ask_kept(&suite, "json"), "500 Internal");
    suite.is_liar = false;
    expect_kept(&suite, "json", 2, 1);
    suite.is_liar = true;
    suite.number = 2;
    expect_in(ask_kept(&suite, "json"), "500 Internal");
    suite.source = 6;
    suite.number = 1;
    expect_in(ask_kept(&suite, "json"), "500 Internal");
    suite_stop(&suite);
}
