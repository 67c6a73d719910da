/* Single documents: get, insert, patch, replace, delete, put, retract; and what the body says. */
#include "fixture.h"

static struct world w;

static void setup(void)
{
    world_init(&w);
}

static void teardown(void)
{
    world_fini(&w);
}

TestSuite(txn_write, .init = setup, .fini = teardown);

static int patch(const char *id, const char *json)
{
    return WORLD_RUN(
        &w, bb_txn_patch(&w.ctx, w.txn, BB_TXN_USER, BB_SLICE_EMPTY, S(id), value_of(json)));
}

static int delete_doc(const char *id)
{
    return WORLD_RUN(&w, bb_txn_delete(&w.ctx, w.txn, BB_TXN_USER, BB_SLICE_EMPTY, S(id)));
}

static int put(const char *key, const char *json, bool is_whole)
{
    struct bb_buf id;

    bb_buf_init(&id);
    int rc = WORLD_RUN(&w, bb_txn_put(&w.ctx, w.txn, BB_TXN_USER, S("users"), S(key),
                                      value_of(json), is_whole, &id));
    bb_buf_fini(&id);
    return rc;
}

Test(txn_write, a_document_is_seen_at_once_and_after_the_commit)
{
    const char *id = must_insert(&w, "messages", "{\"channel\":\"a\",\"n\":1}");

    cr_assert_str_eq(plain(must_get(&w, id)), "{\"channel\":\"a\",\"n\":1}");
    cr_assert_eq(w.hop_count, 0, "an own document needs no read");
    cr_assert(world_commit(&w));
    world_begin(&w, 2);
    cr_assert_str_eq(plain(must_get(&w, id)), "{\"channel\":\"a\",\"n\":1}");
    cr_assert_eq(w.hop_count, 1);
    cr_assert_str_eq(plain(must_get(&w, id)), "{\"channel\":\"a\",\"n\":1}");
    cr_assert_eq(w.hop_count, 1, "what is known is not read again");
}

Test(txn_write, the_same_seed_gives_the_same_bytes)
{
    struct bb_txn_output first;
    struct bb_txn_output second;

    must_insert(&w, "messages", "{\"n\":1}");
    must_insert(&w, "messages", "{\"n\":2}");
    world_end(&w, &first);
    struct bb_slice kept = bb_slice_dup(first.body);
    world_begin(&w, 1);
    must_insert(&w, "messages", "{\"n\":1}");
    must_insert(&w, "messages", "{\"n\":2}");
    world_end(&w, &second);
    cr_assert(bb_slice_equal(kept, second.body));
    world_begin(&w, 2);
    must_insert(&w, "messages", "{\"n\":1}");
    must_insert(&w, "messages", "{\"n\":2}");
    world_end(&w, &second);
    cr_assert_not(bb_slice_equal(kept, second.body), "another seed gives other ids");
    bb_free((void *)(uintptr_t)kept.data);
}

Test(txn_write, creation_times_rise_inside_a_transaction)
{
    double last = 0;

    for (int i = 0; i < 100; i++) {
        struct bb_slice document = must_get(&w, must_insert(&w, "users", "{}"));
        double time = bb_value_float64(bb_value_field_str(document, "_creationTime"));
        if (i == 0)
            cr_assert_float_eq(time, 1790000000000, 0);
        cr_assert_gt(time, last);
        last = time;
    }
    cr_assert_lt(last, 1790000000001.0);
}

Test(txn_write, a_patch_changes_fields_and_removes_undefined_ones)
{
    const char *id = must_insert(&w, "messages", "{\"a\":1,\"b\":{\"c\":1},\"d\":\"x\"}");

    cr_assert(world_commit(&w));
    world_begin(&w, 2);
    cr_assert_eq(patch(id, "{\"a\":{\"$undefined\":null},\"b\":2,\"e\":[1]}"), BB_OK, "%s",
                 w.ctx.error);
    cr_assert_str_eq(plain(must_get(&w, id)), "{\"b\":2,\"d\":\"x\",\"e\":[1]}");
    struct bb_txn_output output;
    world_end(&w, &output);
    Bb__Proto__TxBody *body = world_unpack(output.body);
    cr_assert_eq(body->n_writes, 1);
    cr_assert_eq(body->writes[0]->doc_op, BB__PROTO__KEY_OP__KEY_TOUCH);
    cr_assert_gt(body->writes[0]->before.len, 0);
    bb__proto__tx_body__free_unpacked(body, NULL);
}

Test(txn_write, every_old_and_new_index_key_is_named)
{
    const char *id = must_insert(&w, "messages", "{\"channel\":\"a\",\"author\":\"me\",\"n\":1}");
    struct bb_txn_output output;

    cr_assert(world_commit(&w));
    world_begin(&w, 2);
    cr_assert_eq(patch(id, "{\"channel\":\"b\"}"), BB_OK);
    world_end(&w, &output);
    Bb__Proto__TxBody *body = world_unpack(output.body);
    int puts = 0, removes = 0, touches = 0;
    for (size_t i = 0; i < body->writes[0]->n_keys; i++) {
        puts += body->writes[0]->keys[i]->op == BB__PROTO__KEY_OP__KEY_PUT;
        removes += body->writes[0]->keys[i]->op == BB__PROTO__KEY_OP__KEY_REMOVE;
        touches += body->writes[0]->keys[i]->op == BB__PROTO__KEY_OP__KEY_TOUCH;
    }
    cr_assert_eq(removes, 1, "by_channel, old");
    cr_assert_eq(puts, 2, "by_channel, new; slow, which may lack it");
    cr_assert_eq(touches, 2, "by_creation_time, by_author");
    bb__proto__tx_body__free_unpacked(body, NULL);
}

Test(txn_write, t12_what_changes_nothing_has_no_body)
{
    const char *id = must_insert(&w, "messages", "{\"n\":1}");
    struct bb_txn_output output;

    cr_assert(world_commit(&w));
    world_begin(&w, 2);
    cr_assert_eq(patch(id, "{\"n\":1}"), BB_OK);
    cr_assert_not(world_commit(&w));
    world_begin(&w, 3);
    cr_assert_eq(patch(id, "{\"n\":2}"), BB_OK);
    cr_assert_eq(patch(id, "{\"n\":1}"), BB_OK);
    cr_assert_eq(delete_doc(must_insert(&w, "users", "{}")), BB_OK);
    world_end(&w, &output);
    cr_assert_eq(output.body.size, 0, "the net effect is empty");
    cr_assert_eq(output.range_count, 5, "deployment, two tables, two documents");
}

Test(txn_write, a_rollback_undoes_writes_and_keeps_reads)
{
    const char *id = must_insert(&w, "messages", "{\"n\":1}");
    struct bb_txn_output output;

    cr_assert(world_commit(&w));
    world_begin(&w, 2);
    size_t outer = bb_txn_savepoint(w.txn);
    cr_assert_eq(patch(id, "{\"n\":2}"), BB_OK);
    size_t inner = bb_txn_savepoint(w.txn);
    cr_assert_eq(delete_doc(id), BB_OK);
    const char *other = must_insert(&w, "messages", "{\"n\":9}");
    bb_txn_rollback(w.txn, inner);
    cr_assert_str_eq(plain(must_get(&w, id)), "{\"n\":2}");
    cr_assert_str_eq(plain(must_get(&w, other)), "none");
    bb_txn_rollback(w.txn, outer);
    cr_assert_str_eq(plain(must_get(&w, id)), "{\"n\":1}");
    world_end(&w, &output);
    cr_assert_eq(output.body.size, 0);
    cr_assert_eq(output.range_count, 4, "deployment, table, both documents");
}

Test(txn_write, what_a_thrown_call_wrote_is_not_in_the_body)
{
    const struct bb_txn_finish finish = { .is_rolled_back = true };
    struct bb_txn_output output;

    must_insert(&w, "messages", "{\"n\":1}");
    cr_assert_eq(bb_txn_end(&w.ctx, w.txn, &finish, &output), BB_OK);
    cr_assert_eq(output.body.size, 0);
    cr_assert_gt(output.range_count, 0);
}

Test(txn_write, t10_put_inserts_then_merges_and_t15_retracts_missing_keys)
{
    struct bb_slice document;

    cr_assert_eq(put("alice", "{\"a\":1,\"b\":2}", false), BB_OK, "%s", w.ctx.error);
    cr_assert(world_commit(&w));
    world_begin(&w, 2);
    cr_assert_eq(put("alice", "{\"b\":3}", false), BB_OK, "%s", w.ctx.error);
    cr_assert_eq(WORLD_RUN(&w, bb_txn_get_by_key(&w.ctx, w.txn, BB_TXN_USER, S("users"), S("alice"),
                                                 &document)),
                 BB_OK);
    cr_assert_str_eq(plain(document), "{\"a\":1,\"b\":3}");
    cr_assert_eq(put("alice", "{\"c\":1}", true), BB_OK);
    cr_assert_eq(WORLD_RUN(&w, bb_txn_get_by_key(&w.ctx, w.txn, BB_TXN_USER, S("users"), S("alice"),
                                                 &document)),
                 BB_OK);
    cr_assert_str_eq(plain(document), "{\"c\":1}");
    cr_assert(bb_slice_equal_str(bb_value_bytes(bb_value_field_str(document, "_key")), "alice"));
    cr_assert_str_eq(must_scan(&w, "users", "by_key", "[[\"eq\",\"_key\",\"alice\"]]", false, 0),
                     "[{\"c\":1}]");
    cr_assert(world_commit(&w));
    world_begin(&w, 3);
    cr_assert_eq(put("alice", "{\"c\":1}", true), BB_OK);
    cr_assert_not(world_commit(&w), "the same again is no transaction");
}

Test(txn_write, t16_retract_skips_what_is_not_there)
{
    uint64_t count;
    const char *id = must_insert(&w, "users", "{}");

    cr_assert_eq(put("k", "{}", false), BB_OK);
    cr_assert(world_commit(&w));
    world_begin(&w, 2);
    cr_assert_eq(WORLD_RUN(&w, bb_txn_retract(&w.ctx, w.txn, BB_TXN_USER, S("users"), true,
                                              value_of("[\"k\",\"nobody\",\"k\"]"), &count)),
                 BB_OK, "%s", w.ctx.error);
    cr_assert_eq(count, 1);
    cr_assert_eq(w.hop_count, 1, "all are read together");
    char list[128];
    (void)snprintf(list, sizeof list, "[\"%s\"]", id);
    cr_assert_eq(WORLD_RUN(&w, bb_txn_retract(&w.ctx, w.txn, BB_TXN_USER, BB_SLICE_EMPTY, false,
                                              value_of(list), &count)),
                 BB_OK);
    cr_assert_eq(count, 1);
    cr_assert(world_commit(&w));
    cr_assert_eq(w.row_count, 0, "nothing is left");
}

Test(txn_write, system_fields_may_come_back_unchanged_only)
{
    const char *id = must_insert(&w, "messages", "{\"n\":1}");
    struct bb_slice document = must_get(&w, id);

    cr_assert_eq(bb_txn_replace(&w.ctx, w.txn, BB_TXN_USER, BB_SLICE_EMPTY, S(id), document), BB_OK,
                 "%s", w.ctx.error);
    cr_assert_eq(patch(id, "{\"_id\":\"x\"}"), BB_NOT_ENCODABLE);
    cr_assert_eq(patch(id, "{\"_creationTime\":1}"), BB_NOT_ENCODABLE);
    cr_assert_eq(patch(id, "{\"_key\":\"x\"}"), BB_NOT_ENCODABLE);
    cr_assert_not_null(strstr(w.ctx.error, "put"), "%s", w.ctx.error);
}

Test(txn_write, mistakes_are_named)
{
    struct bb_buf id;
    struct bb_slice document;
    char long_text[10000];
    char json[10100];

    bb_buf_init(&id);
    cr_assert_eq(bb_txn_insert(&w.ctx, w.txn, BB_TXN_USER, S("nothing"), value_of("{}"), &id),
                 BB_TABLE_NOT_FOUND);
    cr_assert_not_null(strstr(w.ctx.error, "\"nothing\""));
    cr_assert_not_null(strstr(w.ctx.error, "schema.ts"));
    cr_assert_eq(bb_txn_insert(&w.ctx, w.txn, BB_TXN_USER, S("_tables"), value_of("{}"), &id),
                 BB_TABLE_NOT_FOUND);
    cr_assert_eq(bb_txn_insert(&w.ctx, w.txn, BB_TXN_USER, S("users"), value_of("[1]"), &id),
                 BB_NOT_ENCODABLE);
    cr_assert_eq(bb_txn_get(&w.ctx, w.txn, BB_TXN_USER, BB_SLICE_EMPTY, S("garbage"), &document),
                 BB_BAD_ID);
    const char *user = must_insert(&w, "users", "{}");
    cr_assert_eq(bb_txn_get(&w.ctx, w.txn, BB_TXN_USER, S("messages"), S(user), &document),
                 BB_BAD_ID);
    cr_assert_not_null(strstr(w.ctx.error, "\"users\""), "%s", w.ctx.error);
    cr_assert_eq(delete_doc(user), BB_OK);
    cr_assert_eq(delete_doc(user), BB_DOCUMENT_NOT_FOUND);
    cr_assert_eq(patch(user, "{}"), BB_DOCUMENT_NOT_FOUND);
    cr_assert_not_null(strstr(w.ctx.error, user), "%s", w.ctx.error);
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    (void)snprintf(json, sizeof json, "{\"channel\":\"%s\"}", long_text);
    cr_assert_eq(bb_txn_insert(&w.ctx, w.txn, BB_TXN_USER, S("messages"), value_of(json), &id),
                 BB_KEY_TOO_LARGE);
    cr_assert_not_null(strstr(w.ctx.error, "messages.by_channel"), "%s", w.ctx.error);
    bb_buf_fini(&id);
}

Test(txn_write, a_query_cannot_write)
{
    struct bb_buf id;

    bb_buf_init(&id);
    w.options.is_mutation = false;
    world_begin(&w, 1);
    cr_assert_eq(bb_txn_insert(&w.ctx, w.txn, BB_TXN_USER, S("users"), value_of("{}"), &id),
                 BB_READ_ONLY);
    bb_buf_fini(&id);
}

Test(txn_write, documents_beyond_the_limit_are_not_even_asked_for)
{
    const struct bb_txn_read *reads;
    uint64_t count;

    w.options.limits.read_documents = 3;
    world_begin(&w, 1);
    cr_assert_eq(WORLD_RUN(&w, bb_txn_retract(&w.ctx, w.txn, BB_TXN_USER, S("users"), true,
                                              value_of("[\"a\",\"b\",\"c\"]"), &count)),
                 BB_OK, "%s", w.ctx.error);
    world_begin(&w, 1);
    cr_assert_eq(bb_txn_retract(&w.ctx, w.txn, BB_TXN_USER, S("users"), true,
                                value_of("[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\"]"), &count),
                 BB_READ_LIMIT);
    cr_assert_not_null(strstr(w.ctx.error, "3 documents"), "%s", w.ctx.error);
    cr_assert_eq(bb_txn_wanted(w.txn, &reads), 3u);
}

Test(txn_write, limits_name_themselves)
{
    struct bb_buf id;
    int rc = BB_OK;

    bb_buf_init(&id);
    w.options.limits.write_documents = 10;
    world_begin(&w, 1);
    for (int i = 0; i < 11; i++)
        rc = bb_txn_insert(&w.ctx, w.txn, BB_TXN_USER, S("users"), value_of("{}"), &id);
    cr_assert_eq(rc, BB_WRITE_LIMIT);
    cr_assert_not_null(strstr(w.ctx.error, "10 documents"), "%s", w.ctx.error);
    w.options.limits.write_bytes = 1000;
    world_begin(&w, 1);
    for (int i = 0; i < 10; i++)
        rc =
            bb_txn_insert(&w.ctx, w.txn, BB_TXN_USER, S("users"),
                          value_of("{\"text\":\"0123456789012345678901234567890123456789\"}"), &id);
    cr_assert_eq(rc, BB_WRITE_LIMIT);
    cr_assert_not_null(strstr(w.ctx.error, "1000 bytes"), "%s", w.ctx.error);
    w.options.limits.document_bytes = 100;
    world_begin(&w, 1);
    const char *small = must_insert(&w, "users", "{\"text\":\"0123456789\"}");
    cr_assert_eq(patch(small, "{\"more\":\"012345678901234567890123456789\"}"),
                 BB_DOCUMENT_TOO_LARGE);
    cr_assert_not_null(strstr(w.ctx.error, "100"), "%s", w.ctx.error);
    bb_buf_fini(&id);
}

Test(txn_write, a_client_key_adds_its_row)
{
    static const uint8_t key[32] = { 1, 2, 3 };
    static const uint8_t digest[32] = { 9 };
    const struct bb_txn_finish finish = { .request_id = S("0123456789abcdef"),
                                          .function = S("messages:send"),
                                          .value = value_of("42"),
                                          .client_key = bb_slice(key, sizeof key),
                                          .client_digest = bb_slice(digest, sizeof digest) };
    struct bb_txn_output output;

    must_insert(&w, "users", "{}");
    cr_assert_eq(bb_txn_end(&w.ctx, w.txn, &finish, &output), BB_OK);
    Bb__Proto__TxBody *body = world_unpack(output.body);
    cr_assert_eq(body->n_writes, 2);
    const Bb__Proto__Write *row = body->writes[1];
    cr_assert_eq(row->table, BB_TABLE_REQUESTS);
    cr_assert_eq(memcmp(row->id.data, key, 16), 0);
    struct bb_slice document = bb_slice(row->doc.data, row->doc.len);
    cr_assert_eq(bb_value_validate(&w.ctx, document), BB_OK, "%s", w.ctx.error);
    cr_assert(bb_slice_equal(bb_value_bytes(bb_value_field_str(document, "digest")),
                             bb_slice(digest, sizeof digest)));
    cr_assert_float_eq(bb_value_float64(bb_value_field_str(document, "value")), 42, 0);
    bb__proto__tx_body__free_unpacked(body, NULL);
    world_begin(&w, 2);
    cr_assert_eq(bb_txn_end(&w.ctx, w.txn, &finish, &output), BB_OK);
    cr_assert_eq(output.body.size, 0, "nothing changed: nothing is recorded");
}

Test(txn_write, a_client_key_is_used_once_in_a_row_of_transactions)
{
    static const uint8_t key[32] = { 1, 2, 3 };
    const struct bb_txn_finish keyed = { .request_id = S("0123456789abcdef"),
                                         .function = S("messages:send"),
                                         .client_key = bb_slice(key, sizeof key),
                                         .client_digest = bb_slice(key, sizeof key) };
    struct bb_txn_finish thrown = keyed;
    struct bb_txn_output output;

    thrown.is_rolled_back = true;
    must_insert(&w, "users", "{}");
    cr_assert_eq(bb_txn_end(&w.ctx, w.txn, &thrown, &output), BB_OK);
    bb_put_le64(w.options.seed, 1);
    bb_txn_begin_after(w.txn, &w.options);
    must_insert(&w, "users", "{}");
    cr_assert_eq(bb_txn_end(&w.ctx, w.txn, &keyed, &output), BB_OK, "nothing was written before");
    bb_put_le64(w.options.seed, 2);
    bb_txn_begin_after(w.txn, &w.options);
    must_insert(&w, "users", "{}");
    cr_assert_eq(bb_txn_end(&w.ctx, w.txn, &keyed, &output), BB_CONFLICT);
    cr_assert_eq(output.body.size, 0);
}
