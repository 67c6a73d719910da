#include "client.h"

#include <unistd.h>

/* The request should have ended by itself before: the library now and then loses one whose
 * connection broke. The next one goes over a connection of its own. */
static void on_lost(void *arg)
{
    struct client *client = arg;
    client->is_lost = true;
    uv_stop(bb_loop_uv(client->loop));
}

static void connect_anew(struct client *client)
{
    char url[256];
    snprintf(url, sizeof url, "%s", bb_peer_url(client->peer));
    bb_peer_close(client->peer); /* ends the request with BB_CANCELLED */
    check(!client->is_waiting);
    client->is_lost = false;
    client->status = BB_TIMEOUT;
    check(bb_peer_open(client->ctx, client->loop, &(struct bb_peer_options){ .url = url },
                       &client->peer) == BB_OK);
}

void client_open(struct client *client, const char *url)
{
    memset(client, 0, sizeof *client);
    client->loop = bb_loop_new(bb_env_real(), NULL, "client");
    client->ctx = bb_loop_ctx(client->loop);
    client->arena = bb_arena_new(0);
    client->lost = bb_timer_new(client->loop, on_lost, client);
    bb_random(client->ctx, client->holder, sizeof client->holder);
    check(bb_peer_open(client->ctx, client->loop, &(struct bb_peer_options){ .url = url },
                       &client->peer) == BB_OK);
}

void client_close(struct client *client)
{
    bb_timer_free(client->lost);
    bb_peer_close(client->peer);
    bb_loop_free(client->loop);
    bb_arena_free(client->arena);
}

static void on_reply(void *arg, int status, struct bb_slice bytes)
{
    struct client *client = arg;
    client->status = status;
    if (status == BB_OK) {
        client->status = bb_unpack(client->ctx, client->arena,
                                   &bb__proto__storage_reply__descriptor, bytes, &client->reply);
        if (client->status == BB_OK)
            client->status = (int)client->reply->status;
    }
    client->is_waiting = false;
    uv_stop(bb_loop_uv(client->loop)); /* else the loop may sleep once more before it returns */
}

void client_send(struct client *client, Bb__Proto__StorageRequest *request, uint32_t timeout_ms)
{
    check(!client->is_waiting);
    bb_arena_reset(client->arena);
    client->reply = NULL;
    client->is_waiting = true;
    bb_timer_start(client->lost, timeout_ms + 5000, 0);
    check(bb_peer_request(client->ctx, client->peer, &request->base, timeout_ms, on_reply,
                          client) == BB_OK);
}

int client_wait(struct client *client)
{
    while (client->is_waiting && !client->is_lost)
        uv_run(bb_loop_uv(client->loop), UV_RUN_ONCE);
    bb_timer_stop(client->lost);
    if (client->is_waiting)
        connect_anew(client);
    client->is_lost = false;
    return client->status;
}

int client_call(struct client *client, Bb__Proto__StorageRequest *request, uint32_t timeout_ms)
{
    client_send(client, request, timeout_ms);
    return client_wait(client);
}

void client_send_claim(struct client *client, uint64_t want)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Claim claim;
    char address[] = "tcp://test:1";
    bb__proto__claim__init(&claim);
    claim.holder = bb_slice_pb(bb_slice(client->holder, sizeof client->holder));
    claim.want = want;
    claim.address = address;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_CLAIM;
    request.claim = &claim;
    client_send(client, &request, 5000);
}

int client_claim(struct client *client, uint64_t want)
{
    client_send_claim(client, want);
    int rc = client_wait(client);
    if (rc == BB_OK) {
        client->epoch = client->reply->claim->epoch;
        client->seq = client->reply->claim->last_seq;
        client->tx = client->reply->claim->last_tx;
    }
    return rc;
}

void client_claim_next(struct client *client)
{
    bool is_claimed = false;
    for (int i = 0; i < 500 && !is_claimed; i++) {
        is_claimed = client_info(client) == BB_OK &&
                     client_claim(client, client->reply->info->epoch + 1) == BB_OK;
        if (!is_claimed)
            usleep(10000);
    }
    check(is_claimed);
}

int client_renew(struct client *client)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Renew renew = BB__PROTO__RENEW__INIT;
    renew.epoch = client->epoch;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_RENEW;
    request.renew = &renew;
    return client_call(client, &request, 5000);
}

void client_key(uint64_t number, uint8_t key[20])
{
    memset(key, 0, 20);
    bb_put_be32(key, CLIENT_INDEX);
    bb_put_be64(key + 12, number);
}

uint64_t client_batch(uint64_t base_tx, uint64_t first, size_t count, size_t document_size,
                      struct bb_buf *batch)
{
    uint8_t *document = bb_alloc_zero(1, document_size + 8);
    uint64_t tx = base_tx;
    for (size_t k = 0; k < count; k++) {
        Bb__Proto__Write write = BB__PROTO__WRITE__INIT;
        Bb__Proto__Write *writes[1] = { &write };
        Bb__Proto__TxRecord record = BB__PROTO__TX_RECORD__INIT;
        Bb__Proto__TxBody body;
        uint8_t key[20], length[4];
        struct bb_buf packed;
        bb__proto__tx_body__init(&body);
        bb_buf_init(&packed);
        client_key(first + k, key);
        bb_put_le64(document, tx + 10);
        write.table = 10;
        write.id = bb_slice_pb(bb_slice(key + 4, 16));
        write.doc_key = bb_slice_pb(bb_slice(key, sizeof key));
        write.doc = bb_slice_pb(bb_slice(document, document_size + 8));
        write.doc_op = BB__PROTO__KEY_OP__KEY_PUT;
        body.n_writes = 1;
        body.writes = writes;
        bb_pack_append(&packed, &body.base);
        record.prev = tx;
        record.tx = tx += 10;
        record.body = bb_slice_pb(bb_buf_slice(&packed));
        bb_put_le32(length, (uint32_t)protobuf_c_message_get_packed_size(&record.base));
        bb_buf_append(batch, length, sizeof length);
        bb_pack_append(batch, &record.base);
        bb_buf_fini(&packed);
    }
    bb_free(document);
    return tx;
}

int client_append_raw(struct client *client, uint64_t epoch, uint64_t seq, uint64_t base_tx,
                      uint64_t last_tx, struct bb_slice batch)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Append append = BB__PROTO__APPEND__INIT;
    append.epoch = epoch;
    append.seq = seq;
    append.base_tx = base_tx;
    append.last_tx = last_tx;
    append.batch = bb_slice_pb(batch);
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_APPEND;
    request.append = &append;
    return client_call(client, &request, 10000);
}

int client_append(struct client *client, uint64_t first, size_t count, size_t document_size)
{
    struct bb_buf batch;
    bb_buf_init(&batch);
    uint64_t last = client_batch(client->tx, first, count, document_size, &batch);
    int rc = client_append_raw(client, client->epoch, client->seq + 1, client->tx, last,
                               bb_buf_slice(&batch));
    if (rc == BB_OK) {
        client->seq += 1;
        client->tx = last;
    }
    bb_buf_fini(&batch);
    return rc;
}

int client_get(struct client *client, uint64_t at, uint64_t number, uint64_t *tx)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Read read = BB__PROTO__READ__INIT;
    Bb__Proto__ReadOp op = BB__PROTO__READ_OP__INIT;
    Bb__Proto__ReadOp *ops[1] = { &op };
    uint8_t key[20];
    client_key(number, key);
    op.low = bb_slice_pb(bb_slice(key, sizeof key));
    read.tx = at;
    read.n_ops = 1;
    read.ops = ops;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_READ;
    request.read = &read;
    int rc = client_call(client, &request, 5000);
    *tx = 0;
    if (rc == BB_OK) {
        const Bb__Proto__ReadReply *reply = client->reply->read;
        check(reply->n_results == 1);
        check(reply->results[0]->is_complete);
        if (reply->results[0]->n_entries > 0) {
            *tx = reply->results[0]->entries[0]->tx;
            check(bb_get_le64(reply->results[0]->entries[0]->value.data) == *tx);
        }
    }
    return rc;
}

void client_send_tail(struct client *client, uint64_t after, uint32_t max_bytes, uint32_t wait_ms)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Tail tail = BB__PROTO__TAIL__INIT;
    tail.after = after;
    tail.max_bytes = max_bytes;
    tail.wait_ms = wait_ms;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_TAIL;
    request.tail = &tail;
    client_send(client, &request, wait_ms + 5000);
}

int client_tail(struct client *client, uint64_t after, uint32_t max_bytes, uint32_t wait_ms)
{
    client_send_tail(client, after, max_bytes, wait_ms);
    return client_wait(client);
}

int client_info(struct client *client)
{
    Bb__Proto__StorageRequest request = BB__PROTO__STORAGE_REQUEST__INIT;
    Bb__Proto__Info info = BB__PROTO__INFO__INIT;
    request.op_case = BB__PROTO__STORAGE_REQUEST__OP_INFO;
    request.info = &info;
    return client_call(client, &request, 5000);
}
