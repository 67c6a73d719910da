/* The whole gateway over real sockets, against a scripted worker and a scripted storage node. */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "suite.h"

Test(service, calls_reach_the_worker_and_answers_come_back)
{
    struct suite suite;
    const char *text;

    suite_start(&suite);
    text = ask(&suite, "POST /api/query", "", "{\"path\":\"t:seen\",\"args\":[{\"a\":1}]}");
    expect_in(text, "200 OK");
    expect_in(text, "\"status\":\"success\"");
    expect_in(text, "\"args\":{\"a\":1}");
    expect_in(text, "\"isAdmin\":\"0\"");
    expect_in(text, "\"kind\":\"1\"");
    expect_in(text, "\"hasTime\":\"1\"");
    expect_in(text, "\"tx\":1000");
    expect_in(text, "\"logLines\":[]");
    expect_in(ask(&suite, "POST /api/mutation", "Idempotency-Key: k\r\n", "{\"path\":\"t:seen\"}"),
              "\"keySize\":\"32\"");
    expect_in(ask(&suite, "POST /api/function", ADMIN, "{\"path\":\"t:seen\",\"args\":{}}"),
              "\"isAdmin\":\"1\"");
    expect_in(ask(&suite, "POST /api/run/t/seen", "", "{\"args\":{}}"), "\"kind\":\"0\"");
    expect_in(ask(&suite, "GET /api/query?path=t:seen&args=%7B%22b%22%3A2%7D", "", ""),
              "\"args\":{\"b\":2}");
    expect_in(ask(&suite, "POST /api/query", "BitBend-After: 77\r\n", "{\"path\":\"t:seen\"}"),
              "\"minTx\":\"77\"");
    expect_in(ask(&suite, "POST /api/query", "",
                  "{\"path\":\"t:seen\",\"format\":\"convex_encoded_json\"}"),
              "{\"$integer\":\"AAAAAAAAAAA=\"}");
    text = ask(&suite, "POST /api/query", "", "{\"path\":\"t:throw\"}");
    expect_in(text, "200 OK");
    expect_in(text, "Server Error\",");
    cr_expect(strstr(text, "kaput") == NULL);
    expect_in(ask(&suite, "POST /api/query", ADMIN, "{\"path\":\"t:throw\"}"),
              "Server Error\\nUncaught Error: kaput");
    suite_stop(&suite);
}

static void commit_in_an_hour(struct suite *suite)
{
    suite->tx = bb_wall_us(bb_loop_ctx(suite->loop)) + UINT64_C(3600) * 1000000;
    commit(suite);
}

/* The clock of the sequencer's host is ahead, or the one of the gateway's behind. */
Test(service, k17_a_tx_that_was_given_out_exists_whatever_the_clock_says)
{
    struct suite suite;
    char header[128];
    const char *text;
    int fd;

    suite_start(&suite);
    on_owner(&suite, commit_in_an_hour);
    (void)snprintf(header, sizeof header, "\"feedTx\":%" PRIu64, (uint64_t)suite.tx);
    do {
        text = ask(&suite, "GET /api/admin/status", ADMIN, "");
    } while (strstr(text, header) == NULL);
    (void)snprintf(header, sizeof header, "BitBend-After: %" PRIu64 "\r\n", (uint64_t)suite.tx);
    text = ask(&suite, "POST /api/query", header, "{\"path\":\"t:seen\"}");
    expect_in(text, "\"status\":\"success\"");
    (void)snprintf(header, sizeof header, "BitBend-After: %" PRIu64 "\r\n",
                   (uint64_t)suite.tx + 3000000);
    expect_in(ask(&suite, "POST /api/query", header, "{\"path\":\"t:seen\"}"), "TxInFuture");
    fd = dial(&suite);
    (void)snprintf(header, sizeof header,
                   "GET /api/subscribe?path=t:count HTTP/1.1\r\nLast-Event-ID: %" PRIu64 "\r\n\r\n",
                   (uint64_t)suite.tx);
    cr_assert_eq(send(fd, header, strlen(header), 0), (ssize_t)strlen(header));
    text = get_until(fd, "event: value");
    cr_expect(strstr(text, "resync") == NULL, "%s", text);
    (void)close(fd);
    suite_stop(&suite);
}

Test(service, what_is_wrong_outside_a_function_has_its_own_answer)
{
    static const struct {
        const char *line, *headers, *body, *status, *code;
    } cases[] = {
        { "POST /api/query", "", "{\"path\":", "400", "BadJson" },
        { "POST /api/query", "", "", "400", "BadJson" },
        { "POST /api/query", "", "{}", "400", "BadRequest" },
        { "POST /api/query", "", "{\"path\":\"t:none\"}", "404", "FunctionNotFound" },
        { "POST /api/query", "Authorization: BitBend wrong\r\n", "{\"path\":\"t:seen\"}", "401",
          "Unauthorized" },
        { "POST /api/query", "Authorization: Bearer x.y.z\r\n", "{\"path\":\"t:seen\"}", "401",
          "Unauthorized" },
        { "POST /api/function", "", "{\"path\":\"_system:status\"}", "403", "Forbidden" },
        { "POST /api/query", "BitBend-After: 9999999999999999999\r\n", "{\"path\":\"t:seen\"}",
          "400", "TxInFuture" },
        { "POST /api/query", "BitBend-After: x\r\n", "{\"path\":\"t:seen\"}", "400", "BadRequest" },
        { "POST /api/query_at_ts", "", "{\"path\":\"t:seen\",\"ts\":\"x\"}", "400", "BadRequest" },
        { "POST /api/action", "", "{\"path\":\"t:seen\"}", "501", "Unsupported" },
        { "GET /api/mutation", "", "", "405", "MethodNotAllowed" },
        { "POST /api/nothing", "", "", "404", "NotFound" },
        { "GET /nothing", "", "", "404", "NotFound" },
        { "POST /api/deploy", "", "{\"modules\":[]}", "401", "Unauthorized" },
        { "POST /api/deploy", ADMIN, "{}", "400", "BadRequest" },
        { "GET /api/admin/status", "", "", "401", "Unauthorized" },
        { "GET /api/admin/logs", "", "", "401", "Unauthorized" },
        { "GET /api/subscribe", "", "", "400", "BadRequest" },
        { "GET /api/subscribe?path=t:count&args=%7B", "", "", "400", "BadJson" },
        { "GET /api/subscribe?path=_system:status", "", "", "403", "Forbidden" },
        { "GET /api/subscribe?path=t:count&token=x", "", "", "401", "Unauthorized" },
        { "POST /api/query", "Content-Encoding: gzip\r\n", "x", "415", "UnsupportedEncoding" },
    };
    struct suite suite;

    suite_start(&suite);
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        const char *text = ask(&suite, cases[i].line, cases[i].headers, cases[i].body);
        char code[64];

        (void)snprintf(code, sizeof(code), "{\"code\":\"%s\",\"message\":\"", cases[i].code);
        cr_expect(strncmp(text + 9, cases[i].status, 3) == 0, "%s %s: %.200s", cases[i].line,
                  cases[i].body, text);
        cr_expect(strstr(text, code) != NULL, "%s %s: %.600s", cases[i].line, cases[i].body, text);
    }
    expect_in(ask(&suite, "OPTIONS /api/query",
                  "Origin: http://a\r\nAccess-Control-Request-Headers: x-y\r\n", ""),
              "Access-Control-Allow-Headers: x-y");
    expect_in(ask(&suite, "POST /api/query", "Origin: http://a\r\n", "{}"),
              "Access-Control-Allow-Origin: http://a\r\n");
    expect_in(ask(&suite, "GET /api/ping", "", ""), "\r\n\r\npong");
    suite_stop(&suite);
}

Test(service, several_reads_happen_at_one_moment)
{
    struct suite suite;
    const char *text;

    suite_start(&suite);
    text = ask(&suite, "POST /api/query_batch", "",
               "{\"queries\":[{\"path\":\"t:seen\"},{\"path\":\"t:none\"},{\"path\":\"t:seen\"}]}");
    expect_in(text, "\"atTx\":\"0\"");
    expect_in(text, "{\"status\":\"error\",\"code\":\"FunctionNotFound\"");
    expect_in(text, "\"atTx\":\"1000\"");
    expect_in(ask(&suite, "POST /api/query_ts", "", ""), "{\"ts\":\"6AMAAAAAAAA=\"}");
    expect_in(
        ask(&suite, "POST /api/query_at_ts", "", "{\"path\":\"t:seen\",\"ts\":\"6AMAAAAAAAA=\"}"),
        "\"atTx\":\"1000\"");
    expect_in(ask(&suite, "POST /api/query_batch", "", "{\"queries\":[]}"), "{\"results\":[]}");
    suite_stop(&suite);
}

Test(service, a_call_of_a_dead_worker_runs_again_under_the_same_id)
{
    struct suite suite;

    suite_start(&suite);
    expect_in(ask(&suite, "POST /api/mutation", "", "{\"path\":\"t:die\"}"), "\"value\":\"2\"");
    cr_expect(suite.is_same_id);
    suite_stop(&suite);
}

/* A deploy has 30 s: time enough on any machine for what takes 3 s at most. */
Test(service, the_calls_of_a_worker_that_hangs_go_to_another_one, .timeout = 25)
{
    struct suite suite;

    suite_start_with(&suite, "inproc://test-hung,inproc://test-worker", "inproc://test-storage");
    /* Both are known to be there. */
    for (int i = 0; i < 1000; i++) {
        if (strstr(ask(&suite, "GET /api/admin/status", ADMIN, ""), "\"isUp\":false") == NULL)
            break;
        usleep(10000);
    }
    expect_in(ask(&suite, "POST /api/deploy", ADMIN, "{\"modules\":[]}"),
              "Could not find function");
    cr_expect_gt(suite.silent_count, 0, "it had the call first");
    expect_in(ask(&suite, "POST /api/mutation", "", "{\"path\":\"t:seen\"}"), "200 OK");
    on_owner(&suite, wake_hung);
    expect_in(ask(&suite, "POST /api/mutation", "", "{\"path\":\"t:seen\"}"), "200 OK");
    suite_stop(&suite);
}

/* The first time may be that of all workers, the others of which were not asked since. */
Test(service, the_calls_of_a_worker_go_to_another_one_when_it_is_cut_twice, .timeout = 25)
{
    struct suite suite;

    suite_start_with(&suite, "inproc://test-hung,inproc://test-worker", "inproc://test-storage");
    on_owner(&suite, cut_hung_later);
    for (int i = 0; i < 1000; i++) {
        if (strstr(ask(&suite, "GET /api/admin/status", ADMIN, ""), "\"isUp\":false") == NULL)
            break;
        usleep(10000);
    }
    expect_in(ask(&suite, "POST /api/deploy", ADMIN, "{\"modules\":[]}"),
              "Could not find function");
    cr_expect_gt(suite.silent_count, 0, "it had the call first");
    cr_expect_eq(suite.cut_probes_kept, 4, "%d", suite.cut_probes_kept);
    on_owner(&suite, wake_hung);
    suite_stop(&suite);
}

Test(service, a_second_attempt_that_did_not_run_says_nothing_about_the_first)
{
    struct suite suite;

    suite_start(&suite);
    expect_in(ask(&suite, "POST /api/mutation", "", "{\"path\":\"t:lost\"}"),
              "\"code\":\"OutcomeUnknown\"");
    suite_stop(&suite);
}

Test(service, a_call_whose_client_leaves_is_cancelled_once)
{
    static const char *const requests[] = {
        "POST /api/mutation HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n\r\n{\"path\":\"t:hold\"}",
        "POST /api/query_batch HTTP/1.1\r\nHost: x\r\nContent-Length: 49\r\n\r\n"
        "{\"queries\":[{\"path\":\"t:hold\"},{\"path\":\"t:seen\"}]}",
    };
    static const char *const texts[] = { "it did not run", "the client left" };
    struct suite suite;

    suite_start(&suite);
    for (int i = 0; i < 2; i++) {
        int fd = dial(&suite);
        int calls = suite.calls;
        const char *text;

        cr_assert_eq(send(fd, requests[i], strlen(requests[i]), 0), (ssize_t)strlen(requests[i]));
        for (int k = 0; k < 2000 && suite.calls == calls; k++)
            usleep(10000);
        usleep(100000);
        cr_expect_eq(suite.cancels, i);
        (void)shutdown(fd, SHUT_WR); /* looks the same, and hears what became of it */
        text = get_until(fd, NULL);
        expect_in(text, "503 Service Unavailable");
        expect_in(text, texts[i]);
        cr_expect_eq(suite.cancels, i + 1);
        cr_expect_eq(suite.calls, calls + 1, "nothing is sent again, or sent anew");
        (void)close(fd);
    }
    suite_stop(&suite);
}

Test(service, without_a_worker_a_call_waits_and_then_is_refused, .timeout = 20)
{
    struct suite suite;
    const char *text;

    suite_start(&suite);
    on_owner(&suite, close_worker);
    usleep(100000);
    text = ask(&suite, "POST /api/query", "", "{\"path\":\"t:seen\"}");
    expect_in(text, "503 Service Unavailable");
    expect_in(text, "Retry-After: ");
    expect_in(text, "\"code\":\"Unavailable\"");
    suite_stop(&suite);
}

Test(service, b18_a_subscriber_sees_the_result_of_a_commit)
{
    static const char request[] = "GET /api/subscribe?path=t:count HTTP/1.1\r\nHost: x\r\n\r\n";
    struct suite suite;
    const char *text;
    int fd;

    suite_start(&suite);
    fd = dial(&suite);
    cr_assert_eq(send(fd, request, sizeof(request) - 1, 0), (ssize_t)sizeof(request) - 1);
    text = get_until(fd, "\"tx\":1000}\n\n");
    expect_in(text, "Content-Type: text/event-stream");
    expect_in(text, ": ok\nretry: ");
    expect_in(text, "event: value\nid: 1000\ndata: {\"value\":\"0\",\"tx\":1000}\n\n");
    for (int i = 1; i < 20; i++) {
        char wanted[96];

        on_owner(&suite, commit);
        (void)snprintf(wanted, sizeof(wanted),
                       "event: value\nid: %d\ndata: {\"value\":\"%d\",\"tx\":%d}\n\n", 1000 + i, i,
                       1000 + i);
        expect_in(get_until(fd, "\n\n"), wanted);
        for (int k = 0; k < 200 && suite.tail == NULL; k++)
            usleep(1000);
    }
    expect_in(ask(&suite, "GET /api/admin/status", ADMIN, ""),
              "\"subscribers\":1,\"liveQueries\":1,\"feedTx\":1019");
    bb_service_stop(suite.service);
    text = get_until(fd, NULL);
    expect_in(text, "event: bye\nretry: ");
    (void)close(fd);
    suite_stop(&suite);
}

static void end_first_storage(struct suite *suite)
{
    bb_server_close(suite->storage);
    suite->storage = NULL;
    reply_tail(suite, NULL); /* goes nowhere */
}

Test(service, a_storage_node_that_lags_is_not_another_history)
{
    static const char request[] = "GET /api/subscribe?path=t:count HTTP/1.1\r\nHost: x\r\n\r\n";
    struct suite suite;
    const char *text;
    int fd;

    suite_start_with(&suite, "inproc://test-worker", "inproc://test-storage,inproc://test-second");
    suite.second_lags = true;
    fd = dial(&suite);
    cr_assert_eq(send(fd, request, sizeof(request) - 1, 0), (ssize_t)sizeof(request) - 1);
    expect_in(get_until(fd, "\"tx\":1000}\n\n"), "event: value\nid: 1000\n");
    suite.second_asked = 0;
    on_owner(&suite, end_first_storage);
    for (int i = 0; i < 500 && suite.second_asked < 3; i++)
        usleep(10000);
    cr_assert_geq(suite.second_asked, 3);
    suite.second_lags = false;
    for (int i = 0; i < 500 && suite.tail == NULL; i++)
        usleep(10000);
    on_owner(&suite, commit);
    text = get_until(fd, "\"tx\":1001}\n\n");
    expect_in(text, "event: value\nid: 1001\n");
    cr_expect(strstr(text, "resync") == NULL, "%s", text);
    (void)close(fd);
    suite_stop(&suite);
}

/* Nothing takes the position of a consumer back that went beyond what there is. */
Test(service, a_gateway_that_does_not_follow_takes_no_acknowledgement)
{
    static const char body[] = "{\"tx\":4000000000000000}";
    struct suite suite;
    const char *text;

    suite_start(&suite);
    do {
        text = ask(&suite, "GET /api/admin/status", ADMIN, "");
    } while (strstr(text, "\"isFollowing\":true") == NULL);
    expect_in(ask(&suite, "POST /api/tx/consumers/mailer/ack", ADMIN, body), "TxInFuture");
    on_owner(&suite, end_first_storage);
    do {
        text = ask(&suite, "GET /api/admin/status", ADMIN, "");
    } while (strstr(text, "\"isFollowing\":false") == NULL);
    expect_in(ask(&suite, "POST /api/tx/consumers/mailer/ack", ADMIN, body), "Unavailable");
    suite_stop(&suite);
}

Test(service, the_admin_api_shows_what_runs)
{
    struct suite suite;
    const char *text;

    suite_start(&suite);
    text = ask(&suite, "GET /api/admin/status", ADMIN, "");
    expect_in(text, "\"slots\":3");
    expect_in(text, "\"lastTx\":1000");
    expect_in(text, "\"clusterId\":\"01000000000000000000000000000000\"");
    text = ask(&suite, "GET /api/admin/logs?cursor=4&wait=10", ADMIN, "");
    expect_in(text, "{\"cursor\":\"5\",\"entries\":[{\"time\":0,\"path\":\"m:f\"");
    suite_stop(&suite);
}
