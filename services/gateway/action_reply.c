#include "action_reply.h"

#include <stdio.h>

#include "bb/wire.h"

#define LINES_MAX 1000u

static struct bb_slice text_field(struct bb_slice object, const char *name)
{
    struct bb_slice field = bb_value_field_str(object, name);

    return field.data != NULL && bb_value_tag(field) == BB_TAG_STRING ? bb_value_bytes(field)
                                                                      : BB_SLICE_EMPTY;
}

static int64_t number_field(struct bb_slice object, const char *name)
{
    struct bb_slice field = bb_value_field_str(object, name);
    double number =
        field.data != NULL && bb_value_tag(field) == BB_TAG_FLOAT64 ? bb_value_float64(field) : 0;

    return number >= 0 && number < 9e15 ? (int64_t)number : 0;
}

static char *text_of(struct bb_arena *arena, struct bb_slice text)
{
    char *copy = bb_arena_printf(arena, "%.*s", BB_SLICE_ARG(text));

    bb_assert(copy != NULL);
    return copy;
}

static void take_lines(struct action_reply *reply, struct bb_slice lines)
{
    size_t count = bb_value_count(lines) < LINES_MAX ? bb_value_count(lines) : LINES_MAX;

    reply->reply.logs = bb_arena_zero(reply->arena, count + 1, sizeof(*reply->reply.logs));
    for (size_t i = 0; i < count; i++) {
        struct bb_slice item = bb_value_at(lines, i);
        Bb__Proto__LogLine *line;

        if (bb_value_tag(item) != BB_TAG_OBJECT)
            continue;
        line = bb_arena_zero(reply->arena, 1, sizeof(*line));
        bb__proto__log_line__init(line);
        line->level = text_of(reply->arena, text_field(item, "level"));
        line->text = text_of(reply->arena, text_field(item, "text"));
        line->time_us = (uint64_t)number_field(item, "time") * 1000;
        reply->reply.logs[reply->reply.n_logs++] = line;
    }
}

static int take_error(struct bb_ctx *ctx, struct action_reply *reply, struct bb_slice value)
{
    struct bb_slice data = bb_value_field_str(value, "errorData");
    struct bb_slice stack = text_field(value, "stack");
    const char *code = text_of(reply->arena, text_field(value, "code"));

    reply->status = bb_status_by_name(code);
    if (reply->status <= BB_OK)
        return bb_fail(ctx, BB_BAD_REQUEST, "a runner answered with the unknown code \"%s\"", code);
    reply->error = text_of(reply->arena, text_field(value, "errorMessage"));
    if (data.data != NULL)
        reply->reply.error_data = bb_slice_pb(data);
    if (stack.size > 0)
        reply->reply.stack = text_of(reply->arena, stack);
    return BB_OK;
}

int gateway_action_reply_decode(struct bb_ctx *ctx, struct bb_slice json,
                                struct action_reply *reply)
{
    struct bb_slice value;
    struct bb_slice status;
    struct bb_slice lines;
    int rc;

    *reply = (struct action_reply){ .status = BB_OK };
    bb__proto__call_reply__init(&reply->reply);
    reply->reply.kind = BB__PROTO__FUNCTION_KIND__KIND_ACTION;
    reply->arena = bb_arena_new(0);
    rc = bb_json_decode(ctx, json, false, &reply->value);
    if (rc != BB_OK)
        return rc;
    value = bb_buf_slice(&reply->value);
    if (bb_value_tag(value) != BB_TAG_OBJECT)
        return bb_fail(ctx, BB_BAD_REQUEST, "a runner's answer is no object");
    reply->is_busy = bb_value_field_str(value, "busy").data != NULL;
    reply->accepted = text_field(value, "accepted");
    if (reply->accepted.size > 0 || reply->is_busy)
        return BB_OK;
    lines = bb_value_field_str(value, "logLines");
    if (lines.data != NULL && bb_value_tag(lines) == BB_TAG_ARRAY)
        take_lines(reply, lines);
    status = text_field(value, "status");
    if (bb_slice_equal_str(status, "error"))
        return take_error(ctx, reply, value);
    if (!bb_slice_equal_str(status, "success"))
        return bb_fail(ctx, BB_BAD_REQUEST, "a runner's answer has no status");
    status = bb_value_field_str(value, "value");
    if (status.data != NULL)
        reply->reply.value = bb_slice_pb(status);
    return BB_OK;
}

void gateway_action_reply_fini(struct action_reply *reply)
{
    bb_buf_fini(&reply->value);
    bb_arena_free(reply->arena);
}

int gateway_runner_beat_decode(struct bb_ctx *ctx, struct bb_slice json, struct runner_beat *beat)
{
    struct bb_buf bytes;
    struct bb_slice value;
    struct bb_slice id;
    struct bb_slice gone;
    int rc;

    bb_buf_init(&bytes);
    rc = bb_json_decode(ctx, json, false, &bytes);
    value = bb_buf_slice(&bytes);
    if (rc == BB_OK && bb_value_tag(value) != BB_TAG_OBJECT)
        rc = bb_fail(ctx, BB_BAD_REQUEST, "what a runner tells is no object");
    if (rc == BB_OK) {
        id = text_field(value, "id");
        gone = bb_value_field_str(value, "gone");
        if (id.size == 0 || id.size >= sizeof(beat->id))
            rc = bb_fail(ctx, BB_BAD_REQUEST, "a runner has no id");
        (void)snprintf(beat->id, sizeof(beat->id), "%.*s", BB_SLICE_ARG(id));
        beat->running = number_field(value, "running");
        beat->slots = number_field(value, "slots");
        beat->version = number_field(value, "version");
        beat->is_gone = gone.data != NULL && bb_value_tag(gone) == BB_TAG_TRUE;
    }
    bb_buf_fini(&bytes);
    return rc;
}
