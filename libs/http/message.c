#include "message.h"

#include <http_parser.h>
#include <strings.h>

bool http_equal_nocase(struct bb_slice text, const char *other)
{
    return text.size == strlen(other) &&
           (text.size == 0 || strncasecmp((const char *)text.data, other, text.size) == 0);
}

static struct bb_slice trim(struct bb_slice text)
{
    while (text.size > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = bb_slice(text.data + 1, text.size - 1);
    while (text.size > 0 && (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t'))
        text.size--;
    return text;
}

bool http_list_has(struct bb_slice value, const char *token)
{
    while (value.size > 0) {
        const uint8_t *comma = memchr(value.data, ',', value.size);
        size_t size = comma == NULL ? value.size : (size_t)(comma - value.data);

        if (http_equal_nocase(trim(bb_slice(value.data, size)), token))
            return true;
        size += comma != NULL;
        value = bb_slice(value.data + size, value.size - size);
    }
    return false;
}

void http_message_init(struct http_message *message, size_t body_max)
{
    memset(message, 0, sizeof(*message));
    message->body_max = body_max;
    bb_buf_init(&message->head);
    bb_buf_init(&message->body);
}

void http_message_fini(struct http_message *message)
{
    bb_buf_fini(&message->head);
    bb_buf_fini(&message->body);
}

void http_message_clear(struct http_message *message)
{
    struct bb_buf head = message->head;
    struct bb_buf body = message->body;
    size_t body_max = message->body_max;

    /* A large body's memory is not kept for a small one. */
    if (body.capacity > 65536) {
        bb_buf_fini(&body);
        bb_buf_init(&body);
    }
    bb_buf_clear(&head);
    bb_buf_clear(&body);
    memset(message, 0, offsetof(struct http_message, fields));
    memset(&message->field_count, 0, sizeof(*message) - offsetof(struct http_message, field_count));
    message->body_max = body_max;
    message->head = head;
    message->body = body;
}

bool http_message_is_empty(const struct http_message *message)
{
    return message->state == HTTP_STATE_HEAD && message->head.size == 0;
}

struct bb_slice http_message_field(const struct http_message *message, const char *name)
{
    for (size_t i = 0; i < message->field_count; i++) {
        if (http_equal_nocase(message->fields[i].name, name))
            return message->fields[i].value;
    }
    return BB_SLICE_EMPTY;
}

enum http_step http_message_refuse(struct http_message *message, int status, const char *code,
                                   const char *text)
{
    message->state = HTTP_STATE_BAD;
    message->bad = (struct http_bad){ .status = status, .code = code, .text = text };
    return HTTP_STEP_BAD;
}

enum http_step http_message_refuse_request(struct http_message *message, const char *text)
{
    return http_message_refuse(message, 400, "BadRequest", text);
}

enum http_step http_message_refuse_body(struct http_message *message)
{
    return http_message_refuse(
        message, 413, "BodyTooLarge",
        "The body of the request is larger than the server accepts (20 MiB unless configured). "
        "Send less at once.");
}

/* ---- the head ---- */

static int on_url(http_parser *parser, const char *at, size_t size)
{
    struct http_message *message = parser->data;

    message->target = bb_slice(at, size);
    return 0;
}

static int on_field(http_parser *parser, const char *at, size_t size)
{
    struct http_message *message = parser->data;

    if (message->field_count == HTTP_FIELDS_MAX)
        return 1;
    message->fields[message->field_count++] =
        (struct http_field){ .name = bb_slice(at, size), .value = bb_slice(at, 0) };
    return 0;
}

static int on_value(http_parser *parser, const char *at, size_t size)
{
    struct http_message *message = parser->data;

    message->fields[message->field_count - 1].value = trim(bb_slice(at, size));
    return 0;
}

/* The body is ours: tell the parser there is none, and that no other protocol follows. */
static int on_head(http_parser *parser)
{
    struct http_message *message = parser->data;

    message->is_chunked = (parser->flags & F_CHUNKED) != 0;
    message->has_length = (parser->flags & F_CONTENTLENGTH) != 0;
    message->content_length = message->has_length ? parser->content_length : 0;
    message->keeps_alive = http_should_keep_alive(parser) != 0;
    parser->upgrade = 0;
    return 1;
}

static enum bb_http_method method_of(unsigned method)
{
    switch (method) {
    case HTTP_GET:
        return BB_HTTP_GET;
    case HTTP_HEAD:
        return BB_HTTP_HEAD;
    case HTTP_POST:
        return BB_HTTP_POST;
    case HTTP_PUT:
        return BB_HTTP_PUT;
    case HTTP_PATCH:
        return BB_HTTP_PATCH;
    case HTTP_DELETE:
        return BB_HTTP_DELETE;
    case HTTP_OPTIONS:
        return BB_HTTP_OPTIONS;
    default:
        return BB_HTTP_OTHER;
    }
}

/* "METHOD target HTTP/1.x", one blank each: whatever else a library would let pass is refused. */
static bool request_line_is_strict(struct bb_slice head)
{
    const uint8_t *end = memchr(head.data, '\r', head.size);
    size_t size = end == NULL ? 0 : (size_t)(end - head.data);
    size_t blanks = 0;

    for (size_t i = 0; i < size; i++) {
        if (head.data[i] <= ' ' || head.data[i] == 0x7f) {
            if (head.data[i] != ' ')
                return false;
            blanks++;
        }
    }
    return blanks == 2 && size > 9 &&
           (memcmp(end - 9, " HTTP/1.1", 9) == 0 || memcmp(end - 9, " HTTP/1.0", 9) == 0);
}

static enum http_step check_fields(struct http_message *message)
{
    size_t hosts = 0;
    size_t codings = 0;
    struct bb_slice coding = http_message_field(message, "transfer-encoding");
    struct bb_slice expect = http_message_field(message, "expect");

    for (size_t i = 0; i < message->field_count; i++) {
        hosts += http_equal_nocase(message->fields[i].name, "host");
        codings += http_equal_nocase(message->fields[i].name, "transfer-encoding");
    }
    if (hosts > 1)
        return http_message_refuse_request(message, "The request has more than one Host header.");
    if (hosts == 0 && !message->is_http_1_0) {
        return http_message_refuse_request(
            message, "The request has no Host header; HTTP/1.1 requires one.");
    }
    if (codings > 0 && (message->has_length || message->is_http_1_0)) {
        return http_message_refuse_request(
            message, "The request has Transfer-Encoding together with Content-Length, "
                     "or in HTTP/1.0.");
    }
    if (codings > 1 || (codings == 1 && !http_equal_nocase(coding, "chunked"))) {
        return http_message_refuse_request(message,
                                           "The only transfer coding that is accepted is chunked.");
    }
    if (expect.data != NULL && !http_equal_nocase(expect, "100-continue")) {
        return http_message_refuse(message, 417, "BadRequest",
                                   "The only expectation that is accepted is 100-continue.");
    }
    message->wants_continue = expect.data != NULL && !message->is_http_1_0;
    return HTTP_STEP_HEAD;
}

/* "http://host/path", as proxies are asked and every server must take (RFC 9112, 3.2.2): the path.
 */
static struct bb_slice origin_form(struct bb_slice target)
{
    static const char *const schemes[] = { "http://", "https://" };

    for (size_t i = 0; i < BB_COUNT_OF(schemes); i++) {
        size_t at = strlen(schemes[i]);

        if (target.size < at || strncasecmp((const char *)target.data, schemes[i], at) != 0)
            continue;
        while (at < target.size && target.data[at] != '/' && target.data[at] != '?')
            at++;
        if (at == target.size)
            return bb_slice_str("/");
        return bb_slice(target.data + at, target.size - at);
    }
    return target;
}

static enum http_step parse_head(struct http_message *message)
{
    static const http_parser_settings settings = { .on_url = on_url,
                                                   .on_header_field = on_field,
                                                   .on_header_value = on_value,
                                                   .on_headers_complete = on_head };
    http_parser parser;
    struct bb_slice head = bb_buf_slice(&message->head);
    const uint8_t *blank;
    const uint8_t *question;
    size_t used;

    if (!request_line_is_strict(head)) {
        return http_message_refuse_request(message,
                                           "The request line is not `METHOD target HTTP/1.1`.");
    }
    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = message;
    used = http_parser_execute(&parser, &settings, (const char *)head.data, head.size);
    if (HTTP_PARSER_ERRNO(&parser) == HPE_CB_header_field) {
        return http_message_refuse(message, 431, "HeadersTooLarge",
                                   "The request has more than 100 header fields.");
    }
    if (HTTP_PARSER_ERRNO(&parser) != HPE_OK || used != head.size) {
        return http_message_refuse_request(message,
                                           http_errno_description(HTTP_PARSER_ERRNO(&parser)));
    }
    message->is_http_1_0 = parser.http_minor == 0;
    message->method = method_of(parser.method);
    blank = memchr(head.data, ' ', head.size);
    bb_assert(blank != NULL);
    message->method_name = bb_slice(head.data, (size_t)(blank - head.data));
    if (message->target.size == 0)
        return http_message_refuse_request(message, "The request has no target.");
    message->target = origin_form(message->target);
    message->path = message->target;
    question = memchr(message->target.data, '?', message->target.size);
    if (question != NULL) {
        message->path.size = (size_t)(question - message->target.data);
        message->query = bb_slice(question + 1, message->target.size - message->path.size - 1);
    }
    return check_fields(message);
}

/* One byte of the head. HTTP_STEP_HEAD: it was the last one. */
static enum http_step scan(struct http_message *message, uint8_t byte)
{
    bool is_field = message->line_count > 0;

    if (message->previous == '\r' && byte != '\n') {
        return http_message_refuse_request(message,
                                           "A carriage return without a line feed in the head.");
    }
    if (byte == '\n') {
        if (message->previous != '\r') {
            return http_message_refuse_request(
                message, "A line feed without a carriage return in the head.");
        }
        if (message->line_size == 0)
            return HTTP_STEP_HEAD;
        if (is_field && !message->has_colon)
            return http_message_refuse_request(message, "A header line without a colon.");
        message->line_count++;
        message->line_size = 0;
        message->has_colon = false;
        message->previous = 0;
        return HTTP_STEP_MORE;
    }
    message->previous = byte;
    if (byte == '\r')
        return HTTP_STEP_MORE;
    if (byte == 0)
        return http_message_refuse_request(message, "A zero byte in the head.");
    if (is_field && !message->has_colon) {
        if (byte == ' ' || byte == '\t') {
            return http_message_refuse_request(
                message, message->line_size == 0 ? "A folded header line."
                                                 : "A blank before the colon of a header line.");
        }
        if (byte == ':' && message->line_size == 0)
            return http_message_refuse_request(message, "A header line without a name.");
        message->has_colon = byte == ':';
    }
    message->line_size++;
    if (!is_field && message->line_size > HTTP_LINE_MAX) {
        return http_message_refuse(message, 431, "HeadersTooLarge",
                                   "The request line is longer than 8 KB.");
    }
    return HTTP_STEP_MORE;
}

static enum http_step feed_head(struct http_message *message, struct bb_slice bytes, size_t *used)
{
    size_t i = 0;

    /* Empty lines before a request are allowed (RFC 9112, 2.2); they are skipped. */
    if (message->head.size == 0 && message->line_count == 0 && message->line_size == 0) {
        while (i + 1 < bytes.size && bytes.data[i] == '\r' && bytes.data[i + 1] == '\n')
            i += 2;
    }
    bytes = bb_slice(bytes.data + i, bytes.size - i);
    *used = i;
    for (i = 0; i < bytes.size; i++) {
        enum http_step step = scan(message, bytes.data[i]);

        if (step == HTTP_STEP_BAD)
            return step;
        if (step == HTTP_STEP_HEAD) {
            bb_buf_append(&message->head, bytes.data, i + 1);
            *used += i + 1;
            if (message->head.size > HTTP_HEAD_MAX) {
                return http_message_refuse(message, 431, "HeadersTooLarge",
                                           "The headers are larger than 32 KB.");
            }
            message->state = HTTP_STATE_BODY_START;
            return parse_head(message);
        }
        if (message->head.size + i > HTTP_HEAD_MAX) {
            return http_message_refuse(message, 431, "HeadersTooLarge",
                                       "The headers are larger than 32 KB.");
        }
    }
    bb_buf_append(&message->head, bytes.data, bytes.size);
    *used += bytes.size;
    return HTTP_STEP_MORE;
}

enum http_step http_message_feed(struct http_message *message, struct bb_slice bytes, size_t *used)
{
    *used = 0;
    bb_assert(message->state != HTTP_STATE_DONE);
    if (message->state == HTTP_STATE_BAD)
        return HTTP_STEP_BAD;
    if (message->state == HTTP_STATE_HEAD)
        return feed_head(message, bytes, used);
    return http_body_feed(message, bytes, used);
}
