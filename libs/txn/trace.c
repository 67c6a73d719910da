/* What a transaction read and wrote, for people. */
#include <stdlib.h>

#include "txn_internal.h"

enum {
    DOCUMENTS_MAX = 1000
};

static void put_scan(const struct txn_scan *scan, struct bb_buf *json)
{
    bb_buf_append_str(json, "{\"table\":");
    bb_json_string(json, scan->table->name);
    bb_buf_append_str(json, ",\"index\":");
    bb_json_string(json, scan->index->name);
    bb_buf_append_str(json, ",\"range\":");
    if (scan->asked.size > 0) {
        bb_json_encode(scan->asked, BB_JSON_CLEAN, json);
    } else {
        bb_buf_append_str(json, "[]");
    }
    bb_buf_printf(json, ",\"order\":\"%s\",\"low\":\"", scan->is_descending ? "desc" : "asc");
    bb_hex_append(json, scan->low);
    bb_buf_append_str(json, "\",\"high\":\"");
    bb_hex_append(json, scan->high);
    bb_buf_printf(json, "\",\"keysOnly\":%s,\"rows\":%" PRIu64 ",\"bytes\":%" PRIu64 "}",
                  scan->is_keys_only ? "true" : "false",
                  scan->is_keys_only ? scan->counted : scan->rows_total, scan->bytes_total);
}

static int by_key(const void *a, const void *b)
{
    const struct txn_doc *x = *(struct txn_doc *const *)a, *y = *(struct txn_doc *const *)b;

    return memcmp(&x->point, &y->point, sizeof x->point);
}

/* Those that were read or written by their ids, in the order of their keys. */
static size_t find_points(const struct bb_txn *txn, struct txn_doc **found)
{
    size_t count = 0;

    for (size_t i = 0; i < txn->bucket_count; i++) {
        for (struct txn_doc *doc = txn->buckets[i]; doc != NULL; doc = doc->next) {
            if ((doc->is_point || doc->is_dirty) && !txn_table_is_system(doc->table))
                found[count++] = doc;
        }
    }
    qsort(found, count, sizeof *found, by_key);
    return count;
}

static void put_document(const struct txn_doc *doc, struct bb_buf *json)
{
    char id[BB_ID_TEXT_MAX];
    size_t size = bb_id_text(doc->table->number, &doc->id, id);

    bb_buf_append_str(json, "{\"table\":");
    bb_json_string(json, doc->table->name);
    bb_buf_append_str(json, ",\"id\":");
    bb_json_string(json, bb_slice(id, size));
    bb_buf_printf(json, ",\"read\":%s,\"written\":%s,\"bytes\":%zu}",
                  doc->is_point ? "true" : "false", doc->is_dirty ? "true" : "false",
                  txn_doc_now(doc).size);
}

void bb_txn_trace(const struct bb_txn *txn, struct bb_buf *json)
{
    struct txn_doc **found = bb_arena_alloc(txn->arena, (txn->doc_count + 1) * sizeof *found);
    size_t count = find_points(txn, found);

    bb_buf_append_str(json, "\"scans\":[");
    for (size_t i = 0; i < txn->scan_count; i++) {
        if (i > 0)
            bb_buf_append_byte(json, ',');
        put_scan(txn->scans[i], json);
    }
    bb_buf_append_str(json, "],\"documents\":[");
    for (size_t i = 0; i < count && i < DOCUMENTS_MAX; i++) {
        if (i > 0)
            bb_buf_append_byte(json, ',');
        put_document(found[i], json);
    }
    bb_buf_printf(json,
                  "],\"ranges\":%zu,\"rows\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"written\":%zu}",
                  txn->range_count, txn->read_documents, txn->read_bytes, txn->written_count);
}
