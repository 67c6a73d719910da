#include <criterion/criterion.h>

#include "bb/value.h"
#include "bb/wire.h"
#include "bb/wire_validate.h"

#include <stdio.h>

static struct bb_ctx ctx;
static uint8_t zeros[64];

static ProtobufCBinaryData bytes(size_t size)
{
    return bb_slice_pb(bb_slice(zeros, size));
}

static ProtobufCBinaryData text(const char *from)
{
    return bb_slice_pb(bb_slice_str(from));
}

struct body {
    Bb__Proto__TxBody body;
    Bb__Proto__Write write;
    Bb__Proto__Write *writes[1];
    Bb__Proto__IndexKey key;
    Bb__Proto__IndexKey *keys[1];
};

/* A body that is right. */
static void body_init(struct body *b)
{
    bb__proto__tx_body__init(&b->body);
    bb__proto__write__init(&b->write);
    bb__proto__index_key__init(&b->key);
    b->writes[0] = &b->write;
    b->keys[0] = &b->key;
    b->body.n_writes = 1;
    b->body.writes = b->writes;
    b->body.request_id = bytes(16);
    b->write.table = 10001;
    b->write.id = bytes(16);
    b->write.doc = text("x");
    b->write.doc_key = text("k");
    b->write.doc_op = BB__PROTO__KEY_OP__KEY_PUT;
    b->write.n_keys = 1;
    b->write.keys = b->keys;
    b->key.key = text("i");
    b->key.op = BB__PROTO__KEY_OP__KEY_PUT;
}

Test(validate, a_transaction_body_is_complete)
{
    struct body b;
    static uint8_t long_key[BB_KEY_MAX + 1];
    char bad_text[] = "a\xff";

    body_init(&b);
    cr_assert_eq(bb_tx_body_validate(&ctx, &b.body), BB_OK, "%s", ctx.error);
    for (int i = 0; i < 12; i++) {
        int op = 0;
        body_init(&b);
        switch (i) {
        case 0:
            b.body.request_id = bytes(15);
            break;
        case 1:
            b.write.id = bytes(17);
            break;
        case 2:
            b.write.doc_key = bytes(0);
            break;
        case 3:
            b.key.key = bytes(0);
            break;
        case 4:
            b.key.key = bb_slice_pb(bb_slice(long_key, sizeof long_key));
            break;
        case 5:
            b.write.table = 0;
            break;
        case 6:
            b.writes[0] = NULL;
            break;
        case 7:
            b.keys[0] = NULL;
            break;
        case 8:
            b.write.doc = bytes(0);
            break;
        case 9:
            b.write.doc_op = BB__PROTO__KEY_OP__KEY_REMOVE;
            break;
        case 10:
            b.body.function = bad_text;
            break;
        default:
            op = 99;
            memcpy(&b.key.op, &op, sizeof op);
            break;
        }
        cr_assert_eq(bb_tx_body_validate(&ctx, &b.body), BB_BAD_REQUEST, "case %d", i);
    }
}

Test(validate, a_range_has_low_below_high)
{
    Bb__Proto__SequencerRequest request;
    Bb__Proto__Submit submit;
    Bb__Proto__Commit commit;
    Bb__Proto__Commit *commits[] = { &commit };
    Bb__Proto__Range range;
    Bb__Proto__Range *ranges[] = { &range };
    static const struct {
        const char *low, *high;
        int status;
    } cases[] = {
        { "a", "b", BB_OK },          { "", "b", BB_OK },           { "a", "aa", BB_OK },
        { "a", "a", BB_BAD_REQUEST }, { "b", "a", BB_BAD_REQUEST }, { "a", "", BB_BAD_REQUEST },
    };

    bb__proto__sequencer_request__init(&request);
    bb__proto__submit__init(&submit);
    bb__proto__commit__init(&commit);
    bb__proto__range__init(&range);
    request.op_case = BB__PROTO__SEQUENCER_REQUEST__OP_SUBMIT;
    request.submit = &submit;
    submit.n_commits = 1;
    submit.commits = commits;
    commit.request_id = bytes(16);
    commit.n_reads = 1;
    commit.reads = ranges;
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        range.low = text(cases[i].low);
        range.high = text(cases[i].high);
        cr_assert_eq(bb_sequencer_request_validate(&ctx, &request), cases[i].status, "case %zu", i);
    }
}

Test(validate, a_request_names_an_operation_and_carries_it)
{
    Bb__Proto__StorageRequest storage;
    Bb__Proto__SequencerRequest sequencer;
    Bb__Proto__WorkerRequest worker;
    Bb__Proto__ToSlot to;
    Bb__Proto__FromSlot from;

    bb__proto__storage_request__init(&storage);
    bb__proto__sequencer_request__init(&sequencer);
    bb__proto__worker_request__init(&worker);
    bb__proto__to_slot__init(&to);
    bb__proto__from_slot__init(&from);
    cr_assert_eq(bb_storage_request_validate(&ctx, &storage), BB_BAD_REQUEST);
    cr_assert_eq(bb_sequencer_request_validate(&ctx, &sequencer), BB_BAD_REQUEST);
    cr_assert_eq(bb_worker_request_validate(&ctx, &worker), BB_BAD_REQUEST);
    cr_assert_eq(bb_to_slot_validate(&ctx, &to), BB_BAD_REQUEST);
    cr_assert_eq(bb_from_slot_validate(&ctx, &from), BB_BAD_REQUEST);
    storage.op_case = BB__PROTO__STORAGE_REQUEST__OP_INFO; /* named, and not there */
    cr_assert_eq(bb_storage_request_validate(&ctx, &storage), BB_BAD_REQUEST);
}

Test(validate, a_reply_may_lack_its_result_only_when_it_failed)
{
    Bb__Proto__StorageReply storage;
    Bb__Proto__SequencerReply sequencer;
    Bb__Proto__WorkerReply worker;

    bb__proto__storage_reply__init(&storage);
    bb__proto__sequencer_reply__init(&sequencer);
    bb__proto__worker_reply__init(&worker);
    cr_assert_eq(bb_storage_reply_validate(&ctx, &storage), BB_BAD_REQUEST);
    cr_assert_eq(bb_sequencer_reply_validate(&ctx, &sequencer), BB_BAD_REQUEST);
    cr_assert_eq(bb_worker_reply_validate(&ctx, &worker), BB_BAD_REQUEST);
    storage.status = sequencer.status = worker.status = BB_OVERLOADED;
    cr_assert_eq(bb_storage_reply_validate(&ctx, &storage), BB_OK);
    cr_assert_eq(bb_sequencer_reply_validate(&ctx, &sequencer), BB_OK);
    cr_assert_eq(bb_worker_reply_validate(&ctx, &worker), BB_OK);
}

Test(validate, a_read_is_a_key_or_a_range)
{
    Bb__Proto__StorageRequest request;
    Bb__Proto__Read read;
    Bb__Proto__ReadOp op;
    Bb__Proto__ReadOp *ops[] = { &op };
    static const struct {
        const char *low, *high;
        int status;
    } cases[] = {
        { "a", "", BB_OK },
        { "a", "b", BB_OK },
        { "", "", BB_BAD_REQUEST },
        { "b", "a", BB_BAD_REQUEST },
    };

    bb__proto__storage_request__init(&request);
    bb__proto__read__init(&read);
    bb__proto__read_op__init(&op);
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_READ;
    request.read = &read;
    read.n_ops = 1;
    read.ops = ops;
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        op.low = text(cases[i].low);
        op.high = text(cases[i].high);
        cr_assert_eq(bb_storage_request_validate(&ctx, &request), cases[i].status, "case %zu", i);
    }
}

Test(validate, a_call_has_ids_a_path_and_whole_hashes)
{
    char path[] = "m:f";
    char empty[] = "";

    for (int i = 0; i < 6; i++) {
        Bb__Proto__WorkerRequest request;
        Bb__Proto__Call call;
        bb__proto__worker_request__init(&request);
        bb__proto__call__init(&call);
        request.op_case = BB__PROTO__WORKER_REQUEST__OP_CALL;
        request.call = &call;
        call.request_id = bytes(i == 1 ? 0 : 16);
        call.seed = bytes(i == 2 ? 15 : 16);
        call.path = i == 3 ? empty : path;
        call.client_key = bytes(i == 4 ? 31 : 32);
        call.client_digest = bytes(i == 5 ? 0 : 32);
        cr_assert_eq(bb_worker_request_validate(&ctx, &request), i == 0 ? BB_OK : BB_BAD_REQUEST,
                     "case %d", i);
    }
}

Test(validate, a_cancel_names_calls_by_whole_ids)
{
    for (int i = 0; i < 3; i++) {
        Bb__Proto__WorkerRequest request;
        Bb__Proto__Cancel cancel;
        ProtobufCBinaryData ids[] = { bytes(16), bytes(i == 1 ? 15 : 16) };
        bb__proto__worker_request__init(&request);
        bb__proto__cancel__init(&cancel);
        request.op_case = BB__PROTO__WORKER_REQUEST__OP_CANCEL;
        request.cancel = &cancel;
        cancel.n_request_ids = i == 2 ? 0 : 2;
        cancel.request_ids = ids;
        cr_assert_eq(bb_worker_request_validate(&ctx, &request), i == 0 ? BB_OK : BB_BAD_REQUEST,
                     "case %d", i);
    }
}
