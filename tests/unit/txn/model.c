/*
 * Random transactions against a naive model: an array of documents, copied at each savepoint. After
 * each commit the world's indexes must be exactly what the documents say. And serializability from
 * the inside: when another transaction writes nothing into the read ranges, running again gives the
 * same results.
 */
#include "fixture.h"

enum {
    TABLE = 10001,
    DOCS_MAX = 400,
    ROUNDS = 60,
    STEPS = 40
};

struct model_doc {
    char id[40];
    bool is_there;
    int author, n; /* n < 0: the field is missing */
    double creation_time;
};
struct model {
    struct model_doc docs[DOCS_MAX];
    size_t count;
};

static uint64_t random_state;

static uint32_t roll(uint32_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 11) % below;
}

static struct world w;
static struct model *model;

/* ---- results of a run, as one hash ---- */

static uint64_t results;

static void note(const char *text)
{
    results = bb_hash64(bb_slice_str(text), results);
}

/* ---- operations ---- */

static struct bb_slice document_of(int author, int n)
{
    char json[64];

    if (n < 0)
        (void)snprintf(json, sizeof json, "{\"author\":\"a%d\"}", author);
    else
        (void)snprintf(json, sizeof json, "{\"author\":\"a%d\",\"n\":%d}", author, n);
    return value_of(json);
}

static struct model_doc *some_doc(void)
{
    return model->count == 0 ? NULL : &model->docs[roll((uint32_t)model->count)];
}

static void do_insert(void)
{
    int author = (int)roll(3);
    int n = (int)roll(12) - 1;
    struct bb_buf id;

    if (model->count == DOCS_MAX)
        return;
    bb_buf_init(&id);
    cr_assert_eq(
        bb_txn_insert(&w.ctx, w.txn, BB_TXN_USER, S("messages"), document_of(author, n), &id),
        BB_OK, "%s", w.ctx.error);
    struct model_doc *doc = &model->docs[model->count++];
    *doc = (struct model_doc){ .is_there = true, .author = author, .n = n };
    memcpy(doc->id, id.data, id.size);
    doc->creation_time =
        bb_value_float64(bb_value_field_str(must_get(&w, doc->id), "_creationTime"));
    note(doc->id);
    bb_buf_fini(&id);
}

static void do_change(bool is_replace)
{
    struct model_doc *doc = some_doc();
    int author = (int)roll(3);
    int n = (int)roll(12) - 1;

    if (doc == NULL)
        return;
    struct bb_slice given =
        is_replace || n >= 0 ? document_of(author, n) : value_of("{\"n\":{\"$undefined\":null}}");
    int rc = WORLD_RUN(&w, (is_replace ? bb_txn_replace : bb_txn_patch)(
                               &w.ctx, w.txn, BB_TXN_USER, BB_SLICE_EMPTY, S(doc->id), given));
    cr_assert_eq(rc, doc->is_there ? BB_OK : BB_DOCUMENT_NOT_FOUND, "%s", w.ctx.error);
    if (!doc->is_there)
        return;
    if (is_replace || n >= 0)
        doc->author = author;
    doc->n = n;
}

static void do_delete(void)
{
    struct model_doc *doc = some_doc();

    if (doc == NULL)
        return;
    int rc = WORLD_RUN(&w, bb_txn_delete(&w.ctx, w.txn, BB_TXN_USER, BB_SLICE_EMPTY, S(doc->id)));
    cr_assert_eq(rc, doc->is_there ? BB_OK : BB_DOCUMENT_NOT_FOUND);
    doc->is_there = false;
}

static void do_get(void)
{
    const struct model_doc *doc = some_doc();
    char expected[64];

    if (doc == NULL)
        return;
    if (!doc->is_there)
        (void)snprintf(expected, sizeof expected, "none");
    else if (doc->n < 0)
        (void)snprintf(expected, sizeof expected, "{\"author\":\"a%d\"}", doc->author);
    else
        (void)snprintf(expected, sizeof expected, "{\"author\":\"a%d\",\"n\":%d}", doc->author,
                       doc->n);
    const char *found = plain(must_get(&w, doc->id));
    cr_assert_str_eq(found, expected);
    note(found);
}

static int compare_docs(const void *a, const void *b)
{
    const struct model_doc *x = *(const struct model_doc *const *)a;
    const struct model_doc *y = *(const struct model_doc *const *)b;
    uint32_t table;
    struct bb_id left, right;

    if (x->n != y->n)
        return x->n < y->n ? -1 : 1;
    if (x->creation_time < y->creation_time || x->creation_time > y->creation_time)
        return x->creation_time < y->creation_time ? -1 : 1;
    (void)bb_id_parse(NULL, S(x->id), &table, &left);
    (void)bb_id_parse(NULL, S(y->id), &table, &right);
    return memcmp(&left, &right, sizeof left);
}

/* by_author with eq author, bounds on n, a direction and a number wanted. */
static void do_scan(void)
{
    const struct model_doc *hits[DOCS_MAX];
    struct bb_buf expected;
    char range[128];
    size_t hit_count = 0;
    int author = (int)roll(3), low = (int)roll(10), high = low + (int)roll(6);
    bool is_descending = roll(2) == 1;
    uint32_t want = roll(2) == 0 ? 0 : 1 + roll(8);

    for (size_t i = 0; i < model->count; i++) {
        const struct model_doc *doc = &model->docs[i];
        if (doc->is_there && doc->author == author && doc->n >= low && doc->n < high)
            hits[hit_count++] = doc;
    }
    qsort(hits, hit_count, sizeof hits[0], compare_docs);
    bb_buf_init(&expected);
    bb_buf_append_str(&expected, "[");
    for (size_t i = 0; i < hit_count && (want == 0 || i < want); i++) {
        const struct model_doc *doc = hits[is_descending ? hit_count - 1 - i : i];
        bb_buf_printf(&expected, "%s{\"author\":\"a%d\",\"n\":%d}", i == 0 ? "" : ",", doc->author,
                      doc->n);
    }
    bb_buf_append(&expected, "]", 2);
    (void)snprintf(range, sizeof range,
                   "[[\"eq\",\"author\",\"a%d\"],[\"gte\",\"n\",%d],[\"lt\",\"n\",%d]]", author,
                   low, high);
    w.page_max = roll(6);
    const char *found = must_scan(&w, "messages", "by_author", range, is_descending, want);
    cr_assert_str_eq(found, (const char *)expected.data, "%s %s want %u", range,
                     is_descending ? "desc" : "asc", want);
    note(found);
    bb_buf_fini(&expected);
}

static void run_steps(int depth);

static void do_sub_transaction(int depth)
{
    struct model *saved = malloc(sizeof *saved);
    size_t mark = bb_txn_savepoint(w.txn);

    memcpy(saved, model, sizeof *saved);
    run_steps(depth + 1);
    if (roll(2) == 0) {
        bb_txn_rollback(w.txn, mark);
        /* Ids that were given stay given: their documents are gone. */
        for (size_t i = saved->count; i < model->count; i++)
            model->docs[i].is_there = false;
        memcpy(model->docs, saved->docs, saved->count * sizeof saved->docs[0]);
    }
    free(saved);
}

static void run_steps(int depth)
{
    int steps = 1 + (int)roll(depth == 0 ? STEPS : 8);

    for (int i = 0; i < steps; i++) {
        switch (roll(12)) {
        case 0:
        case 1:
        case 2:
            do_insert();
            break;
        case 3:
            do_change(false);
            break;
        case 4:
            do_change(true);
            break;
        case 5:
            do_delete();
            break;
        case 6:
            do_get();
            break;
        case 7:
            if (depth < 3)
                do_sub_transaction(depth);
            break;
        default:
            do_scan();
            break;
        }
    }
}

/* ---- the world must be what the model says ---- */

static void check_world(void)
{
    size_t live = 0;
    size_t entries = 0;

    for (size_t i = 0; i < model->count; i++)
        live += model->docs[i].is_there;
    for (size_t i = 0; i < w.row_count; i++)
        entries += bb_get_be32(w.rows[i].key.data) != BB_INDEX_BY_ID(TABLE);
    cr_assert_eq(w.row_count - entries, live);
    cr_assert_eq(entries, live * 4, "by_creation_time, by_channel, by_author, slow");
}

/* The random numbers of one transaction; `results` holds the hash of all it saw. */
static void run_transaction(uint64_t seed, struct bb_txn_output *output)
{
    random_state = seed * 0x9e3779b97f4a7c15ull + 1;
    results = 1;
    world_begin(&w, (uint8_t)seed);
    bb_put_le64(w.options.seed, seed);
    bb_txn_begin(w.txn, &w.options);
    run_steps(0);
    world_end(&w, output);
}

Test(txn_model, random_transactions_agree_with_a_map, .timeout = 120)
{
    struct bb_txn_output output;

    world_init(&w);
    for (uint64_t seed = 1; seed <= 10; seed++) {
        model = calloc(1, sizeof *model);
        w.row_count = 0;
        for (uint64_t round = 0; round < ROUNDS; round++) {
            run_transaction(seed * 1000 + round, &output);
            if (output.body.size > 0)
                world_apply(&w, output.body);
            check_world();
        }
        free(model);
    }
    world_fini(&w);
}

/* A row of transactions at one snapshot, each on top of the one before; some roll back. */
static void run_row(uint64_t seed, size_t length)
{
    struct bb_slice bodies[8];
    size_t body_count = 0;
    struct model *saved = malloc(sizeof *saved);

    for (size_t i = 0; i < length; i++) {
        struct bb_txn_output output;
        random_state = (seed * 8 + i) * 0x9e3779b97f4a7c15ull + 1;
        bb_put_le64(w.options.seed, seed * 8 + i);
        memcpy(saved, model, sizeof *saved);
        if (i == 0)
            bb_txn_begin(w.txn, &w.options);
        else
            bb_txn_begin_after(w.txn, &w.options);
        run_steps(0);
        const struct bb_txn_finish finish = { .request_id = S("0123456789abcdef"),
                                              .function = S("messages:send"),
                                              .is_rolled_back = roll(4) == 0 };
        cr_assert_eq(bb_txn_end(&w.ctx, w.txn, &finish, &output), BB_OK);
        if (finish.is_rolled_back) {
            cr_assert_eq(output.body.size, 0);
            memcpy(model, saved, sizeof *saved);
        } else if (output.body.size > 0) {
            bodies[body_count++] = bb_arena_dup(w.ctx.arena, output.body);
        }
    }
    for (size_t i = 0; i < body_count; i++) {
        world_apply(&w, bodies[i]);
    }
    free(saved);
}

Test(txn_model, transactions_on_top_of_each_other_agree_with_a_map, .timeout = 120)
{
    world_init(&w);
    for (uint64_t seed = 1; seed <= 10; seed++) {
        model = calloc(1, sizeof *model);
        w.row_count = 0;
        for (uint64_t round = 0; round < ROUNDS / 4; round++) {
            run_row(seed * 1000 + round, 1 + round % 6);
            check_world();
        }
        free(model);
    }
    world_fini(&w);
}

/* The same with answers that are kept: what a scan sees of own writes, what a row of transactions
 * leaves behind, and reads of documents that a scan has given, must not depend on who answers. */
Test(txn_model, transactions_that_recall_what_was_read_agree_with_a_map, .timeout = 120)
{
    static const size_t sizes[] = { 4 << 20, 4 << 20, 20 << 10 };
    size_t recalled = 0;

    world_init(&w);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct bb_txn_output output;
        model = calloc(1, sizeof *model);
        w.row_count = 0;
        world_keep(&w, sizes[seed % 3]);
        for (uint64_t round = 0; round < ROUNDS / 4; round++) {
            run_row(seed * 5000 + round, 1 + round % 4);
            check_world();
            for (uint64_t again = 0; again < 3; again++) {
                /* What fails is not applied: the model is set back. */
                struct model *saved = malloc(sizeof *saved);
                memcpy(saved, model, sizeof *saved);
                run_transaction(seed * 1000 + round % 4, &output);
                memcpy(model, saved, sizeof *saved);
                free(saved);
            }
        }
        recalled += w.recalled;
        free(model);
    }
    cr_assert_gt(recalled, 300, "%zu", recalled);
    world_fini(&w);
}

static bool is_hit(const struct bb_txn_output *output, struct bb_slice body)
{
    Bb__Proto__TxBody *message = world_unpack(body);
    bool hit = false;

    for (size_t i = 0; i < output->range_count; i++) {
        for (size_t j = 0; j < message->n_writes; j++) {
            const Bb__Proto__Write *write = message->writes[j];
            for (size_t k = 0; k <= write->n_keys; k++) {
                ProtobufCBinaryData raw = k == 0 ? write->doc_key : write->keys[k - 1]->key;
                struct bb_slice key = bb_slice(raw.data, raw.len);
                hit |= bb_slice_compare(key, output->ranges[i].low) >= 0 &&
                       bb_slice_compare(key, output->ranges[i].high) < 0;
            }
        }
    }
    bb__proto__tx_body__free_unpacked(message, NULL);
    return hit;
}

/* A few reads only, so that others have a chance to miss them. */
static void run_reads(uint64_t seed, struct bb_txn_output *output)
{
    random_state = seed * 0x9e3779b97f4a7c15ull + 1;
    results = 1;
    world_begin(&w, 7);
    for (int i = 0; i < 3; i++) {
        char range[128];
        int low = (int)roll(10);
        (void)snprintf(range, sizeof range,
                       "[[\"eq\",\"author\",\"a%u\"],[\"gte\",\"n\",%d],[\"lt\",\"n\",%d]]",
                       roll(3), low, low + (int)roll(6));
        note(must_scan(&w, "messages", "by_author", range, roll(2) == 1, roll(4)));
    }
    world_end(&w, output);
}

Test(txn_model, b13_writes_outside_the_read_ranges_change_no_result, .timeout = 120)
{
    struct bb_txn_output output, other;
    size_t missed = 0, hit = 0, changed_by_hits = 0;

    world_init(&w);
    model = calloc(1, sizeof *model);
    for (uint64_t round = 0; round < 20; round++) {
        run_transaction(round + 1, &output);
        if (output.body.size > 0)
            world_apply(&w, output.body);
    }
    for (uint64_t round = 0; round < 1500; round++) {
        struct world before;
        /* One small write of somebody else, kept aside. */
        random_state = round * 77777 + 13;
        world_begin(&w, (uint8_t)round);
        const struct model_doc *doc = some_doc();
        if (doc != NULL && doc->is_there)
            (void)WORLD_RUN(&w, bb_txn_patch(&w.ctx, w.txn, BB_TXN_USER, BB_SLICE_EMPTY, S(doc->id),
                                             document_of((int)roll(3), (int)roll(12))));
        else
            must_insert(&w, "messages", json_of(document_of((int)roll(3), (int)roll(12))));
        world_end(&w, &other);
        if (other.body.size == 0)
            continue;
        struct bb_slice body = bb_slice_dup(other.body);
        run_reads(round, &output);
        uint64_t seen = results;
        bool must_conflict = is_hit(&output, body);
        world_copy(&before, &w);
        world_apply(&w, body);
        run_reads(round, &output);
        if (!must_conflict) {
            missed++;
            cr_assert_eq(results, seen, "round %d: a result changed and no range was hit",
                         (int)round);
        } else {
            hit++;
            changed_by_hits += results != seen;
        }
        free(w.rows);
        w.rows = before.rows;
        w.row_count = w.row_capacity = before.row_count;
        bb_free((void *)(uintptr_t)body.data);
    }
    cr_log_info("%zu writes missed all ranges, %zu hit one, %zu of these changed a result", missed,
                hit, changed_by_hits);
    cr_assert_gt(missed, 50);
    cr_assert_gt(hit, 50);
    cr_assert_gt(changed_by_hits, hit / 4, "ranges are not much wider than what was read");
    free(model);
    world_fini(&w);
}
