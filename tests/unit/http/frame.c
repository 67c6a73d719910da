/* WebSocket frames: what is a message, what is refused with which code, however it is cut. */
#include <criterion/criterion.h>

#include "frame.h"
#include "handshake.h"

/* ---- a client's frames ---- */

static void put_frame(struct bb_buf *to, unsigned first, struct bb_slice payload, bool is_masked)
{
    static const uint8_t mask[4] = { 0x11, 0xf0, 0x00, 0xff };
    uint8_t head[14] = { (uint8_t)first };
    size_t size = 2;

    if (payload.size < 126) {
        head[1] = (uint8_t)payload.size;
    } else if (payload.size < 65536) {
        head[1] = 126;
        head[2] = (uint8_t)(payload.size >> 8);
        head[3] = (uint8_t)payload.size;
        size = 4;
    } else {
        head[1] = 127;
        bb_put_be64(head + 2, payload.size);
        size = 10;
    }
    if (is_masked) {
        head[1] |= 0x80;
        memcpy(head + size, mask, 4);
        size += 4;
    }
    bb_buf_append(to, head, size);
    for (size_t i = 0; i < payload.size; i++)
        bb_buf_append_byte(to, is_masked ? payload.data[i] ^ mask[i & 3] : payload.data[i]);
}

static void put(struct bb_buf *to, unsigned first, const char *text)
{
    put_frame(to, first, bb_slice_str(text), true);
}

/* What comes of the bytes, in pieces: "T:text P:payload C1000 B1002". */
static void run(struct bb_buf *seen, struct bb_slice bytes, size_t piece, size_t message_max)
{
    struct http_frames frames;

    http_frames_init(&frames, message_max);
    bb_buf_clear(seen);
    for (size_t at = 0; at < bytes.size;) {
        size_t part = bytes.size - at < piece ? bytes.size - at : piece;
        size_t used = 0;
        enum http_frame_step step =
            http_frames_feed(&frames, bb_slice(bytes.data + at, part), &used);

        cr_assert_leq(used, part);
        cr_assert(used == part || step != HTTP_FRAME_MORE);
        cr_assert_leq(http_frames_bytes(&frames), message_max);
        at += used;
        switch (step) {
        case HTTP_FRAME_MORE:
            break;
        case HTTP_FRAME_TEXT:
            bb_buf_printf(seen, "T:%.*s ", BB_SLICE_ARG(frames.payload));
            break;
        case HTTP_FRAME_PING:
            bb_buf_printf(seen, "P:%.*s ", BB_SLICE_ARG(frames.payload));
            break;
        case HTTP_FRAME_PONG:
            bb_buf_append_str(seen, "O ");
            break;
        case HTTP_FRAME_CLOSE:
            bb_buf_printf(seen, "C%u:%.*s ", frames.code, BB_SLICE_ARG(frames.payload));
            break;
        case HTTP_FRAME_BAD:
            cr_assert_gt(strlen(frames.why), 5);
            bb_buf_printf(seen, "B%u ", frames.code);
            break;
        }
    }
    http_frames_fini(&frames);
    bb_buf_append_byte(seen, '\0');
}

static void expect(const struct bb_buf *bytes, const char *wanted)
{
    struct bb_buf seen = { 0 };

    for (size_t piece = 1; piece <= bytes->size; piece += piece < 20 ? 1 : 977) {
        run(&seen, bb_buf_slice(bytes), piece, 70000);
        cr_assert_str_eq((const char *)seen.data, wanted, "pieces of %zu", piece);
    }
    bb_buf_fini(&seen);
}

#define TEXT  0x81u
#define CLOSE 0x88u
#define PING  0x89u
#define PONG  0x8au

Test(frame, messages_fragments_and_pings_in_any_pieces)
{
    struct bb_buf bytes = { 0 };

    put(&bytes, TEXT, "{\"a\":1}");
    put(&bytes, TEXT, "");
    put(&bytes, 0x01, "frag");
    put(&bytes, PING, "are you there");
    put(&bytes, 0x00, "");
    put(&bytes, PONG, "");
    put(&bytes, 0x80, "ments \xc3\xa4");
    put(&bytes, PING, "");
    put(&bytes, CLOSE,
        "\x03\xe8"
        "bye");
    put(&bytes, TEXT, "never seen");
    expect(&bytes, "T:{\"a\":1} T: P:are you there O T:fragments \xc3\xa4 P: C1000:bye ");
    bb_buf_fini(&bytes);
}

Test(frame, lengths_of_all_three_forms)
{
    static const size_t sizes[] = { 125, 126, 127, 65535, 65536, 70000 };

    for (size_t i = 0; i < BB_COUNT_OF(sizes); i++) {
        struct bb_buf bytes = { 0 };
        struct bb_buf seen = { 0 };
        uint8_t *text = bb_alloc(sizes[i]);

        memset(text, 'x', sizes[i]);
        put_frame(&bytes, TEXT, bb_slice(text, sizes[i]), true);
        put(&bytes, TEXT, "after");
        for (size_t piece = 1000; piece <= bytes.size + 1000; piece += 31000) {
            run(&seen, bb_buf_slice(&bytes), piece, 70000);
            cr_assert_eq(seen.size, sizes[i] + strlen("T: T:after ") + 1, "%zu", sizes[i]);
        }
        bb_free(text);
        bb_buf_fini(&bytes);
        bb_buf_fini(&seen);
    }
}

Test(frame, what_breaks_the_protocol_has_its_code)
{
    static const struct {
        const char *name, *wanted;
        unsigned first;
        const char *payload;
        size_t size;
        bool is_unmasked;
    } cases[] = {
        { "unmasked", "B1002 ", TEXT, "x", 1, true },
        { "reserved bit", "B1002 ", 0xc1, "x", 1, false },
        { "binary", "B1003 ", 0x82, "x", 1, false },
        { "reserved data opcode", "B1002 ", 0x83, "x", 1, false },
        { "reserved control opcode", "B1002 ", 0x8b, "", 0, false },
        { "fragmented ping", "B1002 ", 0x09, "x", 1, false },
        { "continuation of nothing", "B1002 ", 0x80, "x", 1, false },
        { "not UTF-8", "B1007 ", TEXT, "\xff", 1, false },
        { "a cut character", "B1007 ", TEXT, "a\xc3", 2, false },
        { "half a close code", "B1002 ", CLOSE, "\x03", 1, false },
        { "close 1005", "B1002 ", CLOSE, "\x03\xed", 2, false },
        { "close 999", "B1002 ", CLOSE, "\x03\xe7", 2, false },
        { "close 2999", "B1002 ", CLOSE, "\x0b\xb7", 2, false },
        { "close reason not UTF-8", "B1007 ", CLOSE, "\x03\xe8\xff", 3, false },
        { "close 4000", "C4000: ", CLOSE, "\x0f\xa0", 2, false },
        { "close without code", "C1005: ", CLOSE, "", 0, false },
    };

    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        struct bb_buf bytes = { 0 };
        struct bb_buf seen = { 0 };

        put_frame(&bytes, cases[i].first, bb_slice(cases[i].payload, cases[i].size),
                  !cases[i].is_unmasked);
        put(&bytes, TEXT, "never seen");
        for (size_t piece = 1; piece <= bytes.size; piece++) {
            run(&seen, bb_buf_slice(&bytes), piece, 1000);
            cr_assert_str_eq((const char *)seen.data, cases[i].wanted, "%s", cases[i].name);
        }
        bb_buf_fini(&bytes);
        bb_buf_fini(&seen);
    }
}

Test(frame, sizes_are_bounded_before_anything_is_kept)
{
    struct bb_buf bytes = { 0 };
    struct bb_buf seen = { 0 };
    uint8_t huge[14] = { TEXT, 0x80 | 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    uint8_t long_form[8] = { TEXT, 0x80 | 126, 0, 5 };
    uint8_t *text = bb_alloc_zero(1, 600);

    run(&seen, bb_slice(huge, sizeof(huge)), 3, 1000);
    cr_assert_str_eq((const char *)seen.data, "B1009 ");
    run(&seen, bb_slice(long_form, sizeof(long_form)), 8, 1000);
    cr_assert_str_eq((const char *)seen.data, "B1002 ", "not the shortest form");
    /* Fragments count together. */
    memset(text, 'x', 600);
    put_frame(&bytes, 0x01, bb_slice(text, 600), true);
    put_frame(&bytes, 0x80, bb_slice(text, 600), true);
    run(&seen, bb_buf_slice(&bytes), 100, 1000);
    cr_assert_str_eq((const char *)seen.data, "B1009 ");
    /* A ping that is too long. */
    bb_buf_clear(&bytes);
    put_frame(&bytes, PING, bb_slice(text, 126), true);
    run(&seen, bb_buf_slice(&bytes), 1, 1000);
    cr_assert_str_eq((const char *)seen.data, "B1002 ");
    /* A new message inside of another one. */
    bb_buf_clear(&bytes);
    put(&bytes, 0x01, "a");
    put(&bytes, TEXT, "b");
    run(&seen, bb_buf_slice(&bytes), 1, 1000);
    cr_assert_str_eq((const char *)seen.data, "B1002 ");
    bb_free(text);
    bb_buf_fini(&bytes);
    bb_buf_fini(&seen);
}

/* ---- a server's frames ---- */

Test(frame, frames_of_the_server_are_whole_and_unmasked)
{
    struct bb_buf frame = { 0 };
    uint8_t *text = bb_alloc_zero(1, 70000);
    char reason[300];

    http_frame_append(&frame, HTTP_OPCODE_TEXT, bb_slice_str("hi"));
    cr_assert(bb_slice_equal(bb_buf_slice(&frame), bb_slice("\x81\x02hi", 4)));
    bb_buf_clear(&frame);
    http_frame_append(&frame, HTTP_OPCODE_TEXT, bb_slice(text, 126));
    cr_assert_eq(memcmp(frame.data, "\x81\x7e\x00\x7e", 4), 0);
    bb_buf_clear(&frame);
    http_frame_append(&frame, HTTP_OPCODE_TEXT, bb_slice(text, 70000));
    cr_assert_eq(memcmp(frame.data, "\x81\x7f\x00\x00\x00\x00\x00\x01\x11\x70", 10), 0);
    cr_assert_eq(frame.size, 70010);
    bb_buf_clear(&frame);
    /* A reason that does not fit is cut between characters. */
    memset(reason, 'r', sizeof(reason) - 1);
    reason[sizeof(reason) - 1] = '\0';
    memcpy(reason + 122, "\xc3\xa4", 2);
    http_frame_append_close(&frame, 1013, reason);
    cr_assert_eq(memcmp(frame.data, "\x88\x7c\x03\xf5", 4), 0);
    cr_assert_eq(frame.size, 2 + 2 + 122);
    bb_free(text);
    bb_buf_fini(&frame);
}

/* ---- the handshake ---- */

static const char *check(const char *head)
{
    struct http_message message;
    size_t used;
    const char *trouble;

    http_message_init(&message, 1000);
    cr_assert_eq(http_message_feed(&message, bb_slice_str(head), &used), HTTP_STEP_HEAD);
    cr_assert(http_wants_socket(&message));
    trouble = http_check_handshake(&message);
    http_message_fini(&message);
    return trouble;
}

#define HEAD \
    "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

Test(frame, the_handshake_is_checked_and_answered)
{
    struct bb_buf accept = { 0 };

    http_accept_append(&accept, bb_slice_str("dGhlIHNhbXBsZSBub25jZQ=="));
    cr_assert(bb_slice_equal_str(bb_buf_slice(&accept), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    cr_assert_eq(accept.size, HTTP_ACCEPT_SIZE);
    bb_buf_fini(&accept);
    cr_assert_null(check(HEAD KEY "Sec-WebSocket-Version: 13\r\n\r\n"));
    cr_assert_not_null(check(HEAD KEY "\r\n"));
    cr_assert_not_null(check(HEAD KEY "Sec-WebSocket-Version: 8\r\n\r\n"));
    cr_assert_not_null(check(HEAD "Sec-WebSocket-Version: 13\r\n\r\n"));
    cr_assert_not_null(
        check(HEAD "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2hvcnQ=\r\n\r\n"));
    cr_assert_not_null(check("POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                             "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" KEY "\r\n"));
}
