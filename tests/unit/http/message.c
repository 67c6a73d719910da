/* The request reader: what is a request, what is refused, however it is cut into pieces. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "message.h"

/* Feed `text` in pieces of `piece` bytes; gives the last step. */
static enum http_step feed(struct http_message *message, const char *text, size_t size,
                           size_t piece)
{
    enum http_step step = HTTP_STEP_MORE;
    size_t at = 0;

    while ((at < size || message->state == HTTP_STATE_BODY_START) && step != HTTP_STEP_DONE &&
           step != HTTP_STEP_BAD) {
        size_t part = size - at < piece ? size - at : piece;
        size_t used = 0;

        step = http_message_feed(message, bb_slice(text + at, part), &used);
        cr_assert_leq(used, part);
        at += used;
    }
    return step;
}

static enum http_step feed_str(struct http_message *message, const char *text, size_t piece)
{
    return feed(message, text, strlen(text), piece);
}

#define HOST "Host: x\r\n"

Test(message, a_whole_request_is_read_in_any_pieces)
{
    static const char text[] =
        "POST /api/query?a=b HTTP/1.1\r\n" HOST "X-Empty:\r\nContent-Length: 5\r\n\r\nhello";

    for (size_t piece = 1; piece < sizeof(text); piece++) {
        struct http_message message;

        http_message_init(&message, 1000);
        cr_assert_eq(feed_str(&message, text, piece), HTTP_STEP_DONE, "piece %zu: %s", piece,
                     message.bad.text);
        cr_expect_eq(message.method, BB_HTTP_POST);
        cr_expect(bb_slice_equal_str(message.path, "/api/query"));
        cr_expect(bb_slice_equal_str(message.query, "a=b"));
        cr_expect(bb_slice_equal_str(http_message_field(&message, "HOST"), "x"));
        cr_expect_eq(http_message_field(&message, "x-empty").size, 0u);
        cr_expect(bb_slice_equal_str(bb_buf_slice(&message.body), "hello"));
        cr_expect(message.keeps_alive);
        http_message_fini(&message);
    }
}

Test(message, chunked_bodies_are_put_together)
{
    static const char text[] = "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                               "3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n";

    for (size_t piece = 1; piece < sizeof(text); piece++) {
        struct http_message message;

        http_message_init(&message, 1000);
        cr_assert_eq(feed_str(&message, text, piece), HTTP_STEP_DONE, "piece %zu: %s", piece,
                     message.bad.text);
        cr_expect(bb_slice_equal_str(bb_buf_slice(&message.body), "abc0123456789"));
        http_message_fini(&message);
    }
}

Test(message, what_smuggles_requests_is_refused)
{
    static const struct {
        const char *name, *text;
    } cases[] = {
        { "bare line feed in the request line", "GET / HTTP/1.1\n" HOST "\r\n" },
        { "bare line feed after a header", "GET / HTTP/1.1\r\nHost: x\n\r\n" },
        { "bare line feed at the end", "GET / HTTP/1.1\r\n" HOST "\n" },
        { "bare carriage return", "GET / HTTP/1.1\r\nHost: x\ry\r\n\r\n" },
        { "blank before the colon", "GET / HTTP/1.1\r\nHost : x\r\n\r\n" },
        { "tab before the colon", "GET / HTTP/1.1\r\n" HOST "A\t: x\r\n\r\n" },
        { "folded header", "GET / HTTP/1.1\r\n" HOST "A: x\r\n y\r\n\r\n" },
        { "folded header with a tab", "GET / HTTP/1.1\r\n" HOST "A: x\r\n\ty: z\r\n\r\n" },
        { "no host", "GET / HTTP/1.1\r\n\r\n" },
        { "two hosts", "GET / HTTP/1.1\r\n" HOST HOST "\r\n" },
        { "HTTP/0.9", "GET /\r\n\r\n" },
        { "HTTP/2.0", "GET / HTTP/2.0\r\n" HOST "\r\n" },
        { "HTTP/1.2", "GET / HTTP/1.2\r\n" HOST "\r\n" },
        { "two blanks in the request line", "GET  / HTTP/1.1\r\n" HOST "\r\n" },
        { "no colon", "GET / HTTP/1.1\r\n" HOST "nonsense\r\n\r\n" },
        { "no name", "GET / HTTP/1.1\r\n" HOST ": x\r\n\r\n" },
        { "length and coding",
          "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" },
        { "coding and length",
          "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n" },
        { "two lengths",
          "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc" },
        { "signed length", "POST / HTTP/1.1\r\n" HOST "Content-Length: +3\r\n\r\nabc" },
        { "other coding", "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n" },
        { "a coding before chunked",
          "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" },
        { "coding twice", "POST / HTTP/1.1\r\n" HOST
                          "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" },
        { "coding in 1.0",
          "POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
        { "chunk size with a blank",
          "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n" },
        { "chunk size with bare line feed",
          "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n" },
        { "chunk longer than its size",
          "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n" },
        { "chunk without size",
          "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n\r\nabc" },
        { "chunk size too large",
          "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n" },
        { "another expectation",
          "POST / HTTP/1.1\r\n" HOST "Expect: beer\r\nContent-Length: 1\r\n\r\n" },
    };

    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        for (size_t piece = 1; piece < 200; piece += 33) {
            struct http_message message;

            http_message_init(&message, 1000);
            cr_expect_eq(feed_str(&message, cases[i].text, piece), HTTP_STEP_BAD,
                         "%s (pieces of %zu)", cases[i].name, piece);
            http_message_fini(&message);
        }
    }
}

Test(message, a_target_in_absolute_form_is_that_of_its_path)
{
    static const char *const cases[][2] = { { "http://x/api/ping?a=b", "/api/ping" },
                                            { "HTTPS://x:80/", "/" },
                                            { "http://x", "/" },
                                            { "http://x?a=b", "" },
                                            { "/http://x/y", "/http://x/y" } };

    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        struct http_message message;
        char text[100];

        (void)snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n" HOST "\r\n", cases[i][0]);
        http_message_init(&message, 1000);
        cr_assert_eq(feed_str(&message, text, 1000), HTTP_STEP_DONE, "%s", cases[i][0]);
        cr_expect(bb_slice_equal_str(message.path, cases[i][1]), "%s", cases[i][0]);
        http_message_fini(&message);
    }
}

Test(message, a_zero_byte_in_the_head_is_refused)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n";
    struct http_message message;

    http_message_init(&message, 1000);
    cr_expect_eq(feed(&message, text, sizeof(text) - 1, 1000), HTTP_STEP_BAD);
    http_message_fini(&message);
}

static int status_of(struct bb_buf *text, size_t body_max)
{
    struct http_message message;
    int status;

    http_message_init(&message, body_max);
    cr_expect_eq(feed(&message, (const char *)text->data, text->size, 4096), HTTP_STEP_BAD);
    status = message.bad.status;
    http_message_fini(&message);
    bb_buf_fini(text);
    return status;
}

Test(message, each_limit_has_its_own_answer)
{
    struct bb_buf text = { 0 };

    bb_buf_append_str(&text, "GET /");
    for (int i = 0; i < 9000; i++)
        bb_buf_append_byte(&text, 'a');
    bb_buf_append_str(&text, " HTTP/1.1\r\n" HOST "\r\n");
    cr_expect_eq(status_of(&text, 1000), 431, "request line");

    bb_buf_append_str(&text, "GET / HTTP/1.1\r\n" HOST);
    for (int i = 0; i < 120; i++)
        bb_buf_printf(&text, "A%d: b\r\n", i);
    bb_buf_append_str(&text, "\r\n");
    cr_expect_eq(status_of(&text, 1000), 431, "field count");

    bb_buf_append_str(&text, "GET / HTTP/1.1\r\n" HOST "Big: ");
    for (int i = 0; i < 40000; i++)
        bb_buf_append_byte(&text, 'a');
    bb_buf_append_str(&text, "\r\n\r\n");
    cr_expect_eq(status_of(&text, 1000), 431, "header bytes");

    bb_buf_append_str(&text, "POST / HTTP/1.1\r\n" HOST "Content-Length: 1001\r\n\r\n");
    cr_expect_eq(status_of(&text, 1000), 413, "declared body");

    bb_buf_append_str(&text,
                      "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3e9\r\n");
    cr_expect_eq(status_of(&text, 1000), 413, "chunked body");
}

Test(message, h2c_upgrades_are_ignored)
{
    struct http_message message;

    http_message_init(&message, 1000);
    cr_expect_eq(feed_str(&message,
                          "POST / HTTP/1.1\r\n" HOST
                          "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                          "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nContent-Length: 2\r\n\r\nhi",
                          1000),
                 HTTP_STEP_DONE, "%s", message.bad.text);
    cr_expect(bb_slice_equal_str(bb_buf_slice(&message.body), "hi"));
    http_message_fini(&message);
}

Test(message, what_follows_a_request_is_not_touched)
{
    static const char text[] = "GET /a HTTP/1.1\r\n" HOST "\r\nGET /b HTTP/1.1\r\n" HOST "\r\n";
    struct http_message message;
    size_t used = 0;
    size_t first = (sizeof(text) - 1) / 2;

    http_message_init(&message, 1000);
    cr_expect_eq(http_message_feed(&message, bb_slice(text, sizeof(text) - 1), &used),
                 HTTP_STEP_HEAD);
    cr_expect_eq(used, first);
    cr_expect_eq(http_message_feed(&message, bb_slice(text + used, sizeof(text) - 1 - used), &used),
                 HTTP_STEP_DONE);
    cr_expect_eq(used, 0u);
    http_message_clear(&message);
    cr_expect(http_message_is_empty(&message));
    cr_expect_eq(feed_str(&message, text + first, 7), HTTP_STEP_DONE);
    cr_expect(bb_slice_equal_str(message.path, "/b"));
    http_message_fini(&message);
}
