/*
 * A sequencer's and a reader's side of the storage protocol, one call at a time: each call runs the
 * client's own loop until the answer is there.
 */
#ifndef TESTS_STORAGE_CLIENT_H
#define TESTS_STORAGE_CLIENT_H

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "bb/env.h"
#include "bb/wire.h"

#include "common.pb-c.h"
#include "storage.pb-c.h"

/* Works in any process: a test's, and those that a test starts. */
#define check(condition) \
    ((condition)         \
         ? (void)0       \
         : (fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition), abort()))

/* The by_id index of table 10. */
#define CLIENT_INDEX 40u

struct client {
    struct bb_ctx *ctx;
    struct bb_loop *loop;
    struct bb_peer *peer;
    struct bb_arena *arena; /* of the last reply */
    bool is_waiting;
    bool is_lost; /* it waited much longer than it may */
    struct bb_timer *lost;
    int status; /* of the last exchange */
    Bb__Proto__StorageReply *reply;
    uint64_t epoch, seq, tx; /* as a sequencer that holds the epoch */
    uint8_t holder[16];
};

void client_open(struct client *client, const char *url);
void client_close(struct client *client);
/* One call in two steps. */
void client_send(struct client *client, Bb__Proto__StorageRequest *request, uint32_t timeout_ms);
int client_wait(struct client *client);

/* The status of the exchange, or of the reply when there is one. */
int client_call(struct client *client, Bb__Proto__StorageRequest *request, uint32_t timeout_ms);

void client_send_claim(struct client *client, uint64_t want);
int client_claim(struct client *client, uint64_t want);
/* Claims the next epoch; retries while the node starts. */
void client_claim_next(struct client *client);
int client_renew(struct client *client);
/* A batch that follows the client's seq and tx: transaction k puts a document under the key of
 * `first + k` that tells its tx. The client's seq and tx move on when it is acknowledged. */
int client_append(struct client *client, uint64_t first, size_t count, size_t document_size);
/* The same with everything chosen; `batch` from client_batch. */
int client_append_raw(struct client *client, uint64_t epoch, uint64_t seq, uint64_t base_tx,
                      uint64_t last_tx, struct bb_slice batch);
/* Transactions base_tx + 10, base_tx + 20, ...; returns the last. */
uint64_t client_batch(uint64_t base_tx, uint64_t first, size_t count, size_t document_size,
                      struct bb_buf *batch);
void client_key(uint64_t number, uint8_t key[20]);
/* The tx that wrote key `number` last, at `at`; 0: no such key. */
int client_get(struct client *client, uint64_t at, uint64_t number, uint64_t *tx);
void client_send_tail(struct client *client, uint64_t after, uint32_t max_bytes, uint32_t wait_ms);
int client_tail(struct client *client, uint64_t after, uint32_t max_bytes, uint32_t wait_ms);
int client_info(struct client *client);

#endif
