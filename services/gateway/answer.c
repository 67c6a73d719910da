#include "answer.h"

#include "bb/wire.h"

static void append_key(struct bb_buf *to, const char *key)
{
    if (to->size > 0 && to->data[to->size - 1] != '{')
        bb_buf_append_byte(to, ',');
    bb_json_string(to, bb_slice_str(key));
    bb_buf_append_byte(to, ':');
}

static void append_value(struct bb_buf *to, struct bb_slice value, enum bb_json_format format)
{
    if (value.size == 0) {
        bb_buf_append_str(to, "null");
    } else {
        bb_json_encode(value, format, to);
    }
}

/* Lines as clients print them: "[LOG] 'text'". */
void gateway_log_lines(struct bb_buf *to, const struct outcome *outcome)
{
    append_key(to, "logLines");
    bb_buf_append_byte(to, '[');
    for (size_t i = 0;
         outcome->shows_errors && outcome->reply != NULL && i < outcome->reply->n_logs; i++) {
        const Bb__Proto__LogLine *line = outcome->reply->logs[i];
        struct bb_buf text;

        bb_buf_init(&text);
        bb_buf_append_byte(&text, '[');
        for (const char *c = line->level; *c != '\0'; c++)
            bb_buf_append_byte(&text, (uint8_t)(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c));
        bb_buf_append_str(&text, "] ");
        bb_buf_append_str(&text, line->text);
        if (i > 0)
            bb_buf_append_byte(to, ',');
        bb_json_string(to, bb_buf_slice(&text));
        bb_buf_fini(&text);
    }
    bb_buf_append_byte(to, ']');
}

/* "TypeError: x is .." names its class already; so does "Mine: .." of a class of the application.
 */
static bool names_class(const char *text, bool is_thrown)
{
    size_t size = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$");

    if (size == 0 || strncmp(text + size, ": ", 2) != 0)
        return false;
    return (is_thrown && *text >= 'A' && *text <= 'Z') ||
           (size >= 5 && strncmp(text + size - 5, "Error", 5) == 0);
}

static void append_stack(struct bb_buf *to, const char *stack)
{
    while (*stack != '\0') {
        size_t size = strcspn(stack, "\n");

        while (size > 0 && *stack == ' ') {
            stack++;
            size--;
        }
        if (size > 0) {
            bb_buf_append_str(to, "\n    ");
            bb_buf_append(to, stack, size);
        }
        stack += size;
        stack += *stack == '\n';
    }
}

void gateway_error_message(struct bb_buf *to, const struct outcome *outcome)
{
    const char *text = outcome->error == NULL || outcome->error[0] == '\0'
                           ? bb_status_name(outcome->status)
                           : outcome->error;

    if (!bb_status_in_function(outcome->status)) {
        /* The npm client knows an unknown function by these words. */
        if (outcome->status == BB_FUNCTION_NOT_FOUND && strstr(text, "Could not find") == NULL)
            bb_buf_append_str(to, "Could not find function: ");
        bb_buf_append_str(to, text);
        return;
    }
    bb_buf_append_str(to, "[Request ID: ");
    bb_hex_append(to, bb_slice(outcome->request_id, 8));
    bb_buf_append_str(to, "] Server Error");
    if (!outcome->shows_errors)
        return;
    /* What was thrown looks as in a console; a limit says its own sentence. */
    bb_buf_append_byte(to, '\n');
    if (outcome->status == BB_SERVER_ERROR || outcome->status == BB_USER_ERROR) {
        if (strncmp(text, "Uncaught ", 9) == 0)
            text += 9;
        bb_buf_append_str(to, names_class(text, outcome->status == BB_SERVER_ERROR)
                                  ? "Uncaught "
                                  : "Uncaught Error: ");
    }
    bb_buf_append_str(to, text);
    if (outcome->reply != NULL && outcome->reply->stack != NULL)
        append_stack(to, outcome->reply->stack);
}

void gateway_error_fields(struct bb_buf *to, const struct outcome *outcome)
{
    struct bb_buf text;

    bb_buf_init(&text);
    gateway_error_message(&text, outcome);
    append_key(to, "code");
    bb_json_string(to, bb_slice_str(bb_status_name(outcome->status)));
    append_key(to, "errorMessage");
    bb_json_string(to, bb_buf_slice(&text));
    if (outcome->reply != NULL && outcome->status == BB_USER_ERROR &&
        outcome->reply->error_data.len > 0) {
        append_key(to, "errorData");
        append_value(to, bb_pb_slice(outcome->reply->error_data), outcome->format);
    }
    bb_buf_fini(&text);
}

void gateway_failure(struct bb_buf *to, const char *code, const char *message)
{
    bb_buf_append_str(to, "{\"code\":");
    bb_json_string(to, bb_slice_str(code));
    bb_buf_append_str(to, ",\"message\":");
    bb_json_string(to, bb_slice_str(message));
    bb_buf_append_byte(to, '}');
}

/* What the caller asked for with BitBend-Debug, as JSON that the slot made. */
static void append_debug(struct bb_buf *to, const struct outcome *outcome)
{
    const Bb__Proto__CallReply *reply = outcome->reply;

    if (reply != NULL && reply->trace != NULL && reply->trace[0] == '{') {
        append_key(to, "trace");
        bb_buf_append_str(to, reply->trace);
    }
    if (reply != NULL && reply->profile.len > 0) {
        append_key(to, "profile");
        bb_buf_append_slice(to, bb_pb_slice(reply->profile));
    }
}

void gateway_success_begin(struct bb_buf *to)
{
    bb_buf_append_str(to, "{\"status\":\"success\",\"value\":");
}

void gateway_success_end(struct bb_buf *to, const struct outcome *outcome)
{
    const Bb__Proto__CallReply *reply = outcome->reply;
    Bb__Proto__FunctionKind kind =
        reply->kind != BB__PROTO__FUNCTION_KIND__KIND_ANY ? reply->kind : outcome->kind;
    bool is_query = kind == BB__PROTO__FUNCTION_KIND__KIND_QUERY;
    uint64_t tx = is_query && reply->tx == 0 ? reply->read_tx : reply->tx;

    /* A query's tx is the moment it was read at; a mutation that changed nothing has none. */
    if (kind == BB__PROTO__FUNCTION_KIND__KIND_ACTION) {
        /* An action is no transaction. */
    } else if (tx != 0 || is_query) {
        bb_buf_printf(to, ",\"tx\":%" PRIu64, tx);
    } else {
        bb_buf_printf(to, ",\"tx\":null,\"readTx\":%" PRIu64, reply->read_tx);
    }
    if (reply->is_value_lost)
        bb_buf_append_str(to, ",\"valueKept\":false");
    gateway_log_lines(to, outcome);
    append_debug(to, outcome);
    bb_buf_append_byte(to, '}');
}

int gateway_envelope(struct bb_buf *to, const struct outcome *outcome, bool is_part)
{
    struct bb_buf text;

    if (outcome->status == BB_OK) {
        bb_assert(outcome->reply != NULL);
        gateway_success_begin(to);
        if (outcome->json.size > 0)
            bb_buf_append_slice(to, outcome->json);
        else
            append_value(to, bb_pb_slice(outcome->reply->value), outcome->format);
        gateway_success_end(to, outcome);
        return 200;
    }
    if (is_part || bb_status_in_function(outcome->status)) {
        bb_buf_append_str(to, "{\"status\":\"error\"");
        gateway_error_fields(to, outcome);
        gateway_log_lines(to, outcome);
        append_debug(to, outcome);
        bb_buf_append_byte(to, '}');
        return 200;
    }
    bb_buf_init(&text);
    gateway_error_message(&text, outcome);
    bb_buf_append_byte(&text, '\0');
    gateway_failure(to, bb_status_name(outcome->status), (const char *)text.data);
    bb_buf_fini(&text);
    return bb_status_http(outcome->status);
}
