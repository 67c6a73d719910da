#include "bb/env.h"
#include "call.h"
#include "ops.h"

enum {
    LOG_TEXT_MAX = 4096,
};

struct operation {
    struct bb_ctx *ctx;
    struct slot *slot;
    struct bb_slice args;
    uint32_t *scan;
    struct bb_buf *out;
    bool is_open; /* for code that may have changed the runtime's built-in objects */
};

/* ---- arguments: the runtime gives them, but some of them come from user code as they are ---- */

static struct bb_slice argument(const struct operation *operation, size_t at)
{
    return at < bb_value_count(operation->args) ? bb_value_at(operation->args, at) : BB_SLICE_EMPTY;
}

static bool is_string(struct bb_slice value)
{
    return value.size > 0 && bb_value_tag(value) == BB_TAG_STRING;
}

/* Empty when it is null or missing. */
static struct bb_slice text(const struct operation *operation, size_t at)
{
    struct bb_slice value = argument(operation, at);

    return is_string(value) ? bb_value_bytes(value) : BB_SLICE_EMPTY;
}

static struct bb_slice bytes(const struct operation *operation, size_t at)
{
    struct bb_slice value = argument(operation, at);
    bool is_bytes = value.size > 0 && bb_value_tag(value) == BB_TAG_BYTES;

    return is_bytes ? bb_value_bytes(value) : BB_SLICE_EMPTY;
}

static uint32_t number(const struct operation *operation, size_t at)
{
    struct bb_slice value = argument(operation, at);

    if (value.size == 0 || bb_value_tag(value) != BB_TAG_FLOAT64)
        return 0;
    double number = bb_value_float64(value);
    return number > 0 && number < UINT32_MAX ? (uint32_t)number : 0;
}

static bool flag(const struct operation *operation, size_t at)
{
    struct bb_slice value = argument(operation, at);

    return value.size > 0 && bb_value_tag(value) == BB_TAG_TRUE;
}

static struct bb_slice array(const struct operation *operation, size_t at)
{
    struct bb_slice value = argument(operation, at);

    return value.size > 0 && bb_value_tag(value) == BB_TAG_ARRAY ? value : BB_SLICE_EMPTY;
}

static enum bb_txn_access access_of(const struct operation *operation)
{
    uint32_t access = number(operation, 0);

    return access == 2 && !operation->is_open ? BB_TXN_PRIVILEGED
           : access == 1                      ? BB_TXN_SYSTEM
                                              : BB_TXN_USER;
}

static int need_id(const struct operation *operation, size_t at)
{
    if (!is_string(argument(operation, at)))
        return bb_fail(operation->ctx, BB_BAD_ID, "An id must be a string, such as document._id.");
    return BB_OK;
}

static int need_key(const struct operation *operation, size_t at)
{
    if (!is_string(argument(operation, at)))
        return bb_fail(operation->ctx, BB_BAD_ID, "A key must be a string that is not empty.");
    return BB_OK;
}

/* ---- answers ---- */

static void answer(struct operation *operation)
{
    bb_buf_append_slice(operation->out, bb_value_finish(operation->slot->builder));
}

static void answer_number(struct operation *operation, double value)
{
    bb_value_builder_clear(operation->slot->builder);
    bb_value_put_float64(operation->slot->builder, value);
    answer(operation);
}

static void answer_text(struct operation *operation, struct bb_slice value)
{
    bb_value_builder_clear(operation->slot->builder);
    bb_value_put_string(operation->slot->builder, value);
    answer(operation);
}

static void answer_null(struct operation *operation)
{
    bb_buf_append_byte(operation->out, BB_TAG_NULL);
}

static int answer_document(struct operation *operation, int rc, struct bb_slice document)
{
    if (rc != BB_OK)
        return rc;
    if (document.data == NULL) {
        answer_null(operation);
    } else {
        bb_buf_append_slice(operation->out, document);
    }
    return BB_OK;
}

/* ---- reading ---- */

static int get(struct operation *operation)
{
    struct bb_slice document = BB_SLICE_EMPTY;
    int rc = need_id(operation, 2);

    if (rc == BB_OK) {
        rc = bb_txn_get(operation->ctx, operation->slot->txn, access_of(operation),
                        text(operation, 1), text(operation, 2), &document);
    }
    return answer_document(operation, rc, document);
}

static int get_by_key(struct operation *operation)
{
    struct bb_slice document = BB_SLICE_EMPTY;
    int rc = need_key(operation, 2);

    if (rc == BB_OK) {
        rc = bb_txn_get_by_key(operation->ctx, operation->slot->txn, access_of(operation),
                               text(operation, 1), text(operation, 2), &document);
    }
    return answer_document(operation, rc, document);
}

static int normalize_id(struct operation *operation)
{
    bool is_id = false;
    int rc = bb_txn_normalize_id(operation->ctx, operation->slot->txn, access_of(operation),
                                 text(operation, 1), text(operation, 2), &is_id);

    if (rc == BB_OK)
        bb_buf_append_byte(operation->out, is_id ? BB_TAG_TRUE : BB_TAG_FALSE);
    return rc;
}

static int page(struct operation *operation, uint32_t scan, uint32_t want, uint32_t prefetch)
{
    struct bb_value_builder *builder = operation->slot->builder;
    uint32_t row_count;
    bool is_done = false;

    bb_value_builder_clear(builder);
    bb_value_begin_array(builder);
    bb_value_put_float64(builder, scan);
    bb_value_begin_array(builder);
    int rc = bb_txn_scan_next(operation->ctx, operation->slot->txn, scan, want, prefetch, builder,
                              &row_count, &is_done);
    if (rc != BB_OK)
        return rc;
    bb_value_end_array(builder);
    bb_value_put_bool(builder, is_done);
    bb_value_end_array(builder);
    answer(operation);
    return BB_OK;
}

static int scan(struct operation *operation)
{
    if (*operation->scan == SLOT_NO_SCAN) {
        const struct bb_txn_scan_options options = { .access = access_of(operation),
                                                     .table = text(operation, 1),
                                                     .index = text(operation, 2),
                                                     .range = array(operation, 3),
                                                     .is_descending = flag(operation, 4) };
        int rc = bb_txn_scan_open(operation->ctx, operation->slot->txn, &options, operation->scan);
        if (rc != BB_OK)
            return rc;
    }
    return page(operation, *operation->scan, number(operation, 5), number(operation, 6));
}

static int scan_open(struct operation *operation)
{
    struct bb_slice cursors = array(operation, 6);
    size_t count = cursors.size == 0 ? 0 : bb_value_count(cursors);
    struct bb_slice cursor = count > 0 ? bb_value_at(cursors, 0) : BB_SLICE_EMPTY;
    struct bb_slice end = count > 1 ? bb_value_at(cursors, 1) : BB_SLICE_EMPTY;
    const struct bb_txn_scan_options options = {
        .access = access_of(operation),
        .table = text(operation, 1),
        .index = text(operation, 2),
        .range = array(operation, 3),
        .is_descending = flag(operation, 4),
        .filter = text(operation, 5),
        .cursor = is_string(cursor) ? bb_value_bytes(cursor) : BB_SLICE_EMPTY,
        .end_cursor = is_string(end) ? bb_value_bytes(end) : BB_SLICE_EMPTY
    };
    uint32_t opened;
    int rc = bb_txn_scan_open(operation->ctx, operation->slot->txn, &options, &opened);

    if (rc == BB_OK)
        answer_number(operation, opened);
    return rc;
}

static int scan_cursor(struct operation *operation)
{
    struct bb_value_builder *builder = operation->slot->builder;
    struct bb_buf cursor;
    bool is_end;

    bb_buf_init(&cursor);
    int rc = bb_txn_scan_cursor(operation->ctx, operation->slot->txn, number(operation, 0), &cursor,
                                &is_end);
    if (rc == BB_OK) {
        bb_value_builder_clear(builder);
        bb_value_begin_array(builder);
        bb_value_put_string(builder, bb_buf_slice(&cursor));
        bb_value_put_bool(builder, is_end);
        bb_value_end_array(builder);
        answer(operation);
    }
    bb_buf_fini(&cursor);
    return rc;
}

static int count(struct operation *operation)
{
    uint32_t max = number(operation, 4);
    uint64_t counted = 0;
    int rc = BB_OK;

    if (*operation->scan == SLOT_NO_SCAN) {
        const struct bb_txn_scan_options options = { .access = access_of(operation),
                                                     .table = text(operation, 1),
                                                     .index = text(operation, 2),
                                                     .range = array(operation, 3),
                                                     .is_keys_only = true,
                                                     .is_untracked = flag(operation, 5) };
        rc = bb_txn_scan_open(operation->ctx, operation->slot->txn, &options, operation->scan);
    }
    if (rc == BB_OK) {
        rc = bb_txn_scan_count(operation->ctx, operation->slot->txn, *operation->scan,
                               max == 0 ? UINT64_MAX : max, &counted);
    }
    if (rc == BB_OK)
        answer_number(operation, (double)counted);
    return rc;
}

/* ---- writing ---- */

static int insert(struct operation *operation)
{
    struct bb_buf id;
    int rc;

    bb_buf_init(&id);
    rc = bb_txn_insert(operation->ctx, operation->slot->txn, access_of(operation),
                       text(operation, 1), argument(operation, 2), &id);
    if (rc == BB_OK)
        answer_text(operation, bb_buf_slice(&id));
    bb_buf_fini(&id);
    return rc;
}

static int change(struct operation *operation, bool is_replace)
{
    int rc = need_id(operation, 2);

    if (rc != BB_OK)
        return rc;
    rc = (is_replace ? bb_txn_replace : bb_txn_patch)(operation->ctx, operation->slot->txn,
                                                      access_of(operation), text(operation, 1),
                                                      text(operation, 2), argument(operation, 3));
    return answer_document(operation, rc, BB_SLICE_EMPTY);
}

static int delete (struct operation *operation)
{
    int rc = need_id(operation, 2);

    if (rc == BB_OK) {
        rc = bb_txn_delete(operation->ctx, operation->slot->txn, access_of(operation),
                           text(operation, 1), text(operation, 2));
    }
    return answer_document(operation, rc, BB_SLICE_EMPTY);
}

static int put(struct operation *operation)
{
    struct bb_buf id;
    int rc = need_key(operation, 2);

    bb_buf_init(&id);
    if (rc == BB_OK) {
        rc = bb_txn_put(operation->ctx, operation->slot->txn, access_of(operation),
                        text(operation, 1), text(operation, 2), argument(operation, 3),
                        flag(operation, 4), &id);
    }
    if (rc == BB_OK)
        answer_text(operation, bb_buf_slice(&id));
    bb_buf_fini(&id);
    return rc;
}

static int retract(struct operation *operation)
{
    struct bb_slice names = array(operation, 3);
    uint64_t done = 0;
    int rc = BB_OK;

    if (names.size == 0) {
        rc = bb_fail(operation->ctx, BB_BAD_ID,
                     "retract takes a list of ids or {table, keys: [..]}.");
    }
    if (rc == BB_OK) {
        rc = bb_txn_retract(operation->ctx, operation->slot->txn, access_of(operation),
                            text(operation, 1), flag(operation, 2), names, &done);
    }
    if (rc == BB_OK)
        answer_number(operation, (double)done);
    return rc;
}

static int backfill(struct operation *operation)
{
    struct bb_value_builder *builder = operation->slot->builder;
    uint32_t rows = 0;
    bool is_done = false;
    int rc = bb_txn_backfill(operation->ctx, operation->slot->txn, number(operation, 0),
                             text(operation, 1), number(operation, 2), &rows, &is_done);

    if (rc != BB_OK)
        return rc;
    bb_value_builder_clear(builder);
    bb_value_begin_array(builder);
    bb_value_put_float64(builder, rows);
    bb_value_put_bool(builder, is_done);
    bb_value_end_array(builder);
    answer(operation);
    return BB_OK;
}

static int clean(struct operation *operation)
{
    struct bb_value_builder *builder = operation->slot->builder;
    struct bb_txn *txn = operation->slot->txn;
    struct bb_slice last = BB_SLICE_EMPTY;
    uint32_t rows = 0;
    bool is_done = false;
    int rc = BB_OK;

    if (*operation->scan == SLOT_NO_SCAN) {
        rc = bb_txn_clean_open(operation->ctx, txn, number(operation, 0), number(operation, 1),
                               bytes(operation, 2), operation->scan);
    }
    if (rc == BB_OK) {
        rc = bb_txn_clean(operation->ctx, txn, *operation->scan, number(operation, 3), &rows, &last,
                          &is_done);
    }
    if (rc != BB_OK)
        return rc;
    bb_value_builder_clear(builder);
    bb_value_begin_array(builder);
    bb_value_put_float64(builder, rows);
    bb_value_put_bytes(builder, last);
    bb_value_put_bool(builder, is_done);
    bb_value_end_array(builder);
    answer(operation);
    return BB_OK;
}

/* ---- the call itself ---- */

static void log_line(struct operation *operation, const char *level, struct bb_slice line)
{
    struct slot *slot = operation->slot;
    struct slot_call *call = slot->call;
    uint32_t max = slot->limits.log_lines;

    if (call->logs == NULL)
        call->logs = bb_arena_zero(slot->call_arena, (size_t)max + 1, sizeof *call->logs);
    if (call->log_count >= max) {
        if (call->is_logs_cut)
            return;
        call->is_logs_cut = true;
        level = "WARN";
        line = bb_slice_str("more lines were dropped: the limit of one call is reached");
    }
    Bb__Proto__LogLine *made = bb_arena_alloc(slot->call_arena, sizeof *made);
    bb__proto__log_line__init(made);
    /* Cut between characters. */
    size_t size = line.size < LOG_TEXT_MAX ? line.size : LOG_TEXT_MAX;
    while (size < line.size && size > 0 && (line.data[size] & 0xc0) == 0x80)
        size--;
    made->level = bb_arena_str(slot->call_arena, bb_slice_str(level));
    made->text = bb_arena_str(slot->call_arena, bb_slice(line.data, size));
    made->time_us = bb_wall_us(operation->ctx);
    call->logs[call->log_count++] = made;
}

static int log_op(struct operation *operation)
{
    struct bb_slice level = text(operation, 0);
    char name[16] = "INFO";

    if (level.size > 0 && level.size < sizeof name) {
        memcpy(name, level.data, level.size);
        name[level.size] = '\0';
    }
    log_line(operation, name,
             bb_txn_redact(operation->slot->txn, operation->slot->call_arena, text(operation, 1)));
    return BB_OK;
}

static int redact(struct operation *operation)
{
    const struct slot *slot = operation->slot;

    answer_text(operation, bb_txn_redact(slot->txn, slot->call_arena, text(operation, 0)));
    return BB_OK;
}

static int identity(struct operation *operation)
{
    struct slot_call *call = operation->slot->call;

    call->saw_identity = true;
    if (call->start->is_shared)
        return bb_fail(operation->ctx, BB_NEEDS_IDENTITY, "the result depends on who asks");
    if (call->start->identity.len == 0) {
        answer_null(operation);
    } else {
        answer_text(operation, bb_slice(call->start->identity.data, call->start->identity.len));
    }
    return BB_OK;
}

static int variable(struct operation *operation)
{
    struct bb_slice value;

    int rc = bb_txn_environment(operation->ctx, operation->slot->txn, text(operation, 0), &value);
    if (rc != BB_OK)
        return rc;
    if (value.data == NULL) {
        answer_null(operation);
    } else {
        answer_text(operation, value);
    }
    return BB_OK;
}

static int variables(struct operation *operation)
{
    struct bb_value_builder *builder = operation->slot->builder;

    bb_value_builder_clear(builder);
    bb_value_begin_array(builder);
    bb_txn_environment_names(operation->slot->txn, builder);
    bb_value_end_array(builder);
    answer(operation);
    return BB_OK;
}

/* A handle that this transaction did not give out: of what is not our runtime. */
static int check_handle(const struct operation *operation, uint32_t op)
{
    const struct bb_txn *txn = operation->slot->txn;
    bool is_ours = op == SLOT_OP_BACKFILL || op == SLOT_OP_CLEAN || op == SLOT_OP_NAME;

    if (is_ours && operation->is_open)
        return bb_fail(operation->ctx, BB_NOT_AVAILABLE_HERE, "functions cannot do this");
    bool is_scan = op == SLOT_OP_SCAN_NEXT || op == SLOT_OP_SCAN_CURSOR || op == SLOT_OP_BACKFILL;

    if (is_scan && !bb_txn_has_scan(txn, number(operation, 0))) {
        return bb_fail(operation->ctx, BB_INTERNAL, "there is no scan %" PRIu32,
                       number(operation, 0));
    }
    if (op == SLOT_OP_ROLLBACK && number(operation, 0) > bb_txn_savepoint(txn))
        return bb_fail(operation->ctx, BB_INTERNAL, "there is no such savepoint");
    return BB_OK;
}

static int run(struct operation *operation, uint32_t op)
{
    struct bb_txn *txn = operation->slot->txn;
    int rc = check_handle(operation, op);

    if (rc != BB_OK)
        return rc;

    switch ((enum slot_op)op) {
    case SLOT_OP_GET:
        return get(operation);
    case SLOT_OP_GET_BY_KEY:
        return get_by_key(operation);
    case SLOT_OP_NORMALIZE_ID:
        return normalize_id(operation);
    case SLOT_OP_SCAN:
        return scan(operation);
    case SLOT_OP_SCAN_NEXT:
        return page(operation, number(operation, 0), number(operation, 1), number(operation, 2));
    case SLOT_OP_SCAN_OPEN:
        return scan_open(operation);
    case SLOT_OP_SCAN_CURSOR:
        return scan_cursor(operation);
    case SLOT_OP_COUNT:
        return count(operation);
    case SLOT_OP_INSERT:
        return insert(operation);
    case SLOT_OP_PATCH:
        return change(operation, false);
    case SLOT_OP_REPLACE:
        return change(operation, true);
    case SLOT_OP_DELETE:
        return delete (operation);
    case SLOT_OP_PUT:
        return put(operation);
    case SLOT_OP_RETRACT:
        return retract(operation);
    case SLOT_OP_SAVEPOINT:
        answer_number(operation, (double)bb_txn_savepoint(txn));
        return BB_OK;
    case SLOT_OP_ROLLBACK:
        bb_txn_rollback(txn, number(operation, 0));
        return BB_OK;
    case SLOT_OP_LOG:
        return log_op(operation);
    case SLOT_OP_IDENTITY:
        return identity(operation);
    case SLOT_OP_BACKFILL:
        return backfill(operation);
    case SLOT_OP_CLEAN:
        return clean(operation);
    case SLOT_OP_VARIABLE:
        return variable(operation);
    case SLOT_OP_VARIABLES:
        return variables(operation);
    case SLOT_OP_NAME:
        operation->slot->call->name = bb_arena_str(operation->slot->call_arena, text(operation, 0));
        return BB_OK;
    case SLOT_OP_REDACT:
        return redact(operation);
    }
    return bb_fail(operation->ctx, BB_INTERNAL, "unknown host operation %" PRIu32, op);
}

/* Some failures are the call's, whatever the script makes of the exception. */
static void remember(struct slot *slot, int rc)
{
    struct slot_call *call = slot->call;

    if (call->sticky_status != BB_OK ||
        (rc != BB_NEEDS_IDENTITY && rc != BB_READ_LIMIT && rc != BB_WRITE_LIMIT &&
         rc != BB_BAD_REQUEST && rc != BB_CORRUPT && rc != BB_INTERNAL))
        return;
    call->sticky_status = rc;
    memcpy(call->sticky_error, slot->ctx.error, sizeof call->sticky_error);
}

int slot_host(struct bb_ctx *ctx, void *arg, struct bb_vm_call *vm_call, uint32_t op,
              struct bb_slice args, struct bb_vm_ticket ticket, struct bb_buf *out)
{
    struct slot *slot = arg;
    struct slot_call *call = slot->call;
    uint32_t opened = SLOT_NO_SCAN;
    struct operation operation = { .ctx = ctx,
                                   .slot = slot,
                                   .args = args,
                                   .scan = &opened,
                                   .out = out,
                                   .is_open = bb_vm_host_is_open(vm_call) };

    call->vm = vm_call;
    int rc = run(&operation, op);
    remember(slot, rc);
    if (rc != BB_PENDING)
        return rc;
    struct slot_pending *pending = bb_alloc(sizeof *pending);
    *pending = (struct slot_pending){ .op = op,
                                      .scan = opened,
                                      .args = bb_slice_dup(args),
                                      .ticket = ticket,
                                      .is_open = operation.is_open };
    *call->pending_end = pending;
    call->pending_end = &pending->next;
    return BB_PENDING;
}

int slot_host_again(struct bb_ctx *ctx, struct slot *slot, struct slot_pending *pending,
                    struct bb_buf *out)
{
    struct operation operation = { .ctx = ctx,
                                   .slot = slot,
                                   .args = pending->args,
                                   .scan = &pending->scan,
                                   .out = out,
                                   .is_open = pending->is_open };
    int rc = run(&operation, pending->op);

    remember(slot, rc);
    return rc;
}
