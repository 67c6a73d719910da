#include "txfeed_record.h"

#include "bb/wire.h"
#include "bb/wire_validate.h"

#define TABLES_MAX     100u
#define TABLE_NAME_MAX 512u

/* ---- views ---- */

bool gateway_txfeed_view_equal(const struct txfeed_view *a, const struct txfeed_view *b)
{
    return a->include == b->include && a->format == b->format && a->hides_acks == b->hides_acks &&
           a->hides_identity == b->hides_identity && bb_slice_equal(a->tables, b->tables);
}

bool gateway_txfeed_view_has(const struct txfeed_view *view, uint32_t number, const char *name)
{
    struct bb_slice rest = view->tables;

    if (rest.size == 0)
        return number >= BB_TABLE_USER_MIN;
    while (name != NULL && rest.size > 0) {
        size_t size = strlen((const char *)rest.data) + 1;

        if (strcmp((const char *)rest.data, name) == 0)
            return true;
        rest = bb_slice(rest.data + size, rest.size - size);
    }
    return false;
}

int gateway_txfeed_parse_include(struct bb_ctx *ctx, struct bb_slice text,
                                 enum txfeed_include *include)
{
    static const char *const names[] = {
        [TXFEED_KEYS] = "keys",
        [TXFEED_AFTER] = "after",
        [TXFEED_DIFF] = "diff",
        [TXFEED_BOTH] = "both",
    };

    *include = TXFEED_AFTER;
    if (text.size == 0)
        return BB_OK;
    for (unsigned i = 0; i < BB_COUNT_OF(names); i++) {
        if (bb_slice_equal_str(text, names[i])) {
            *include = (enum txfeed_include)i;
            return BB_OK;
        }
    }
    return bb_fail(ctx, BB_BAD_REQUEST, "`include` must be keys, after, diff or both");
}

int gateway_txfeed_parse_tables(struct bb_ctx *ctx, struct bb_slice text, struct bb_buf *to)
{
    unsigned count = 0;

    while (text.size > 0) {
        const uint8_t *comma = memchr(text.data, ',', text.size);
        size_t size = comma == NULL ? text.size : (size_t)(comma - text.data);

        if (size == 0 || size > TABLE_NAME_MAX || memchr(text.data, '\0', size) != NULL) {
            return bb_fail(ctx, BB_BAD_REQUEST,
                           "`tables` must be names of tables, separated by commas");
        }
        if (++count > TABLES_MAX)
            return bb_fail(ctx, BB_BAD_REQUEST, "`tables` names more than %u tables", TABLES_MAX);
        bb_buf_append(to, text.data, size);
        bb_buf_append_byte(to, '\0');
        size += comma != NULL;
        text = bb_slice(text.data + size, text.size - size);
    }
    return BB_OK;
}

/* ---- reading a record ---- */

/* What was stored was checked when it was written; a document that cannot be read all the same must
 * not stop the gateway. */
static int check_documents(struct bb_ctx *ctx, const Bb__Proto__TxBody *body)
{
    int rc = BB_OK;

    for (size_t i = 0; rc == BB_OK && i < body->n_writes; i++) {
        const Bb__Proto__Write *write = body->writes[i];

        if (write->doc.len > 0)
            rc = bb_value_validate(ctx, bb_pb_slice(write->doc));
        if (rc == BB_OK && write->before.len > 0)
            rc = bb_value_validate(ctx, bb_pb_slice(write->before));
    }
    return rc;
}

int gateway_txfeed_unpack(struct bb_ctx *ctx, struct bb_arena *arena, struct bb_slice bytes,
                          Bb__Proto__TxRecord **record, Bb__Proto__TxBody **body)
{
    int rc = bb_unpack(ctx, arena, &bb__proto__tx_record__descriptor, bytes, record);

    if (rc == BB_OK)
        rc = bb_tx_record_validate(ctx, *record);
    if (rc == BB_OK) {
        rc = bb_unpack(ctx, arena, &bb__proto__tx_body__descriptor, bb_pb_slice((*record)->body),
                       body);
    }
    if (rc == BB_OK)
        rc = bb_tx_body_validate(ctx, *body);
    return rc == BB_OK ? check_documents(ctx, *body) : rc;
}

void gateway_txfeed_learn(struct txfeed_tables *tables, const Bb__Proto__TxBody *body)
{
    for (size_t i = 0; i < body->n_writes; i++) {
        if (body->writes[i]->table != BB_TABLE_TABLES)
            continue;
        gateway_txfeed_tables_learn(tables, bb_pb_slice(body->writes[i]->doc));
        gateway_txfeed_tables_learn(tables, bb_pb_slice(body->writes[i]->before));
    }
}

/* ---- writing JSON ---- */

static const char *op_name(Bb__Proto__KeyOp op)
{
    switch (op) {
    case BB__PROTO__KEY_OP__KEY_PUT:
        return "insert";
    case BB__PROTO__KEY_OP__KEY_REMOVE:
        return "delete";
    case BB__PROTO__KEY_OP__KEY_TOUCH:
    case _BB__PROTO__KEY_OP_IS_INT_SIZE:
        break;
    }
    return "update";
}

static bool is_object(struct bb_slice value)
{
    return value.size > 0 && bb_value_tag(value) == BB_TAG_OBJECT;
}

static void append_document(struct bb_buf *to, const char *name, struct bb_slice document,
                            enum bb_json_format format)
{
    bb_buf_printf(to, ",\"%s\":", name);
    if (document.size == 0)
        bb_buf_append_str(to, "null");
    else
        bb_json_encode(document, format, to);
}

/* "fields":{name: new value}, "removed":[name]. */
static void append_diff(struct bb_buf *to, struct bb_slice before, struct bb_slice after,
                        enum bb_json_format format)
{
    size_t count = 0;

    bb_buf_append_str(to, ",\"fields\":{");
    for (size_t i = 0; i < bb_value_count(after); i++) {
        struct bb_slice name = bb_value_name_at(after, i);
        struct bb_slice old = bb_value_field(before, name);

        if (old.data != NULL && bb_slice_equal(old, bb_value_at(after, i)))
            continue;
        if (count++ > 0)
            bb_buf_append_byte(to, ',');
        bb_json_string(to, name);
        bb_buf_append_byte(to, ':');
        bb_json_encode(bb_value_at(after, i), format, to);
    }
    bb_buf_append_str(to, "},\"removed\":[");
    count = 0;
    for (size_t i = 0; i < bb_value_count(before); i++) {
        struct bb_slice name = bb_value_name_at(before, i);

        if (bb_value_field(after, name).data != NULL)
            continue;
        if (count++ > 0)
            bb_buf_append_byte(to, ',');
        bb_json_string(to, name);
    }
    bb_buf_append_byte(to, ']');
}

static void append_values(struct bb_buf *to, const Bb__Proto__Write *write,
                          const struct txfeed_view *view)
{
    struct bb_slice before = bb_pb_slice(write->before);
    struct bb_slice after = bb_pb_slice(write->doc);

    if (write->table == BB_TABLE_ENVIRONMENT)
        return; /* secrets leave through their own functions only */
    switch (view->include) {
    case TXFEED_KEYS:
        return;
    case TXFEED_BOTH:
        append_document(to, "before", before, view->format);
        append_document(to, "after", after, view->format);
        return;
    case TXFEED_AFTER:
        append_document(to, "after", after, view->format);
        return;
    case TXFEED_DIFF:
        /* An insert has no fields before it, a delete none after it: the ids say all. */
        if (is_object(before) && is_object(after))
            append_diff(to, before, after, view->format);
        else if (after.size > 0)
            append_document(to, "after", after, view->format);
        return;
    }
    BB_UNREACHABLE("all kinds are listed");
}

static void append_change(struct bb_buf *to, const Bb__Proto__Write *write, const char *name,
                          const struct txfeed_view *view)
{
    char id_text[BB_ID_TEXT_MAX];
    struct bb_id id;

    memcpy(id.bytes, write->id.data, sizeof(id.bytes));
    bb_buf_append_str(to, "{\"table\":");
    if (name == NULL)
        bb_buf_printf(to, "\"#%" PRIu32 "\"", write->table);
    else
        bb_json_string(to, bb_slice_str(name));
    bb_buf_append_str(to, ",\"id\":\"");
    bb_buf_append(to, id_text, bb_id_text(write->table, &id, id_text));
    bb_buf_printf(to, "\",\"op\":\"%s\"", op_name(write->doc_op));
    append_values(to, write, view);
    bb_buf_append_byte(to, '}');
}

static bool is_ack(const Bb__Proto__TxBody *body)
{
    bool moved = false;

    for (size_t i = 0; i < body->n_writes; i++) {
        if (body->writes[i]->table != BB_TABLE_CONSUMERS)
            return false;
        moved = true;
    }
    return moved;
}

static void append_head(struct bb_buf *to, const Bb__Proto__TxRecord *record,
                        const Bb__Proto__TxBody *body, bool hides_identity)
{
    bb_buf_printf(to, "{\"tx\":%" PRIu64 ",\"prev\":%" PRIu64 ",\"time\":%" PRIu64 ",\"fn\":",
                  record->tx, record->prev, record->tx / 1000);
    bb_json_string(to, bb_utf8_is_valid(bb_slice_str(body->function)) ? bb_slice_str(body->function)
                                                                      : BB_SLICE_EMPTY);
    bb_buf_append_str(to, ",\"identity\":");
    /* JSON of the gateway's own making. */
    if (body->identity.len > 0 && !hides_identity)
        bb_buf_append_slice(to, bb_pb_slice(body->identity));
    else
        bb_buf_append_str(to, "null");
    bb_buf_append_str(to, ",\"requestId\":\"");
    bb_hex_append(to, bb_pb_slice(body->request_id));
    bb_buf_append_str(to, "\",\"changes\":[");
}

bool gateway_txfeed_encode(struct bb_buf *to, const Bb__Proto__TxRecord *record,
                           const Bb__Proto__TxBody *body, const struct txfeed_tables *tables,
                           const struct txfeed_view *view)
{
    size_t start = to->size;
    size_t count = 0;

    if (view->hides_acks && is_ack(body))
        return false;
    append_head(to, record, body, view->hides_identity);
    for (size_t i = 0; i < body->n_writes; i++) {
        const Bb__Proto__Write *write = body->writes[i];
        const char *name = gateway_txfeed_table_name(tables, write->table);

        /* The filling of an index changes no document. */
        if (write->is_index_only || !gateway_txfeed_view_has(view, write->table, name))
            continue;
        if (count++ > 0)
            bb_buf_append_byte(to, ',');
        append_change(to, write, name, view);
    }
    bb_buf_append_str(to, "]}");
    if (count == 0 && view->tables.size > 0) {
        to->size = start;
        return false;
    }
    return true;
}
