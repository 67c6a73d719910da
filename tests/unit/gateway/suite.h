/* The whole gateway over real sockets, against workers and storage nodes that follow a script. Only
 * what stands behind the gateway is not real.
 */
#ifndef TEST_GATEWAY_SUITE_H
#define TEST_GATEWAY_SUITE_H

#include <criterion/criterion.h>

#include <stdatomic.h>

#include "storage.pb-c.h"
#include "worker.pb-c.h"

#include "bb/conf.h"
#include "bb/env.h"
#include "bb/gateway_service.h"
#include "bb/wire.h"

#define ADMIN "Authorization: BitBend secret\r\n"

/* The suite behind the gateway. Everything but what is atomic belongs to its loop's thread. */
struct suite {
    struct bb_loop *loop;
    struct bb_thread *thread;
    struct bb_server *worker, *storage;
    struct bb_exchange *tail; /* the gateway's long poll */
    struct bb_exchange *held; /* a call that waits to be cancelled */
    uint8_t held_id[16];
    struct bb_exchange *dead; /* the call that the worker died of */
    uint64_t tail_after;
    struct bb_server *hung; /* another worker, which falls silent with a deploy */
    struct bb_exchange *silent[16];
    atomic_int silent_count;
    bool is_cut_later;          /* or keeps that and says when asked that no sequencer answers it */
    bool has_deployed;          /* or the other one has */
    int cut_probes;             /* so often */
    atomic_int cut_probes_kept; /* and the other one had not got the call */
    struct bb_server *second;   /* another storage node, or NULL */
    atomic_bool second_lags;    /* it is behind the first */
    atomic_int second_asked;
    atomic_uint_fast64_t tx;
    atomic_int counter, calls, deaths, cancels;
    atomic_uint_fast64_t source, number; /* of the result that the worker keeps; 0: it keeps none */
    atomic_int left_out;                 /* values that the gateway had */
    atomic_bool is_liar;                 /* it leaves out what the gateway does not have */
    uint8_t died_id[16];
    atomic_bool is_same_id;
    struct bb_task task;
    void (*work)(struct suite *suite);
    struct bb_mutex *mutex;
    struct bb_cond *cond;
    bool is_task_done;
    /* the gateway */
    struct bb_service *service;
    struct bb_conf *conf;
    atomic_bool is_ready;
    uint16_t port;
};

/* Starts what `workers` and `storages` name of inproc://test-worker, test-hung, test-storage and
 * test-second, and a gateway that asks them; it is ready.
 */
void suite_start_with(struct suite *suite, const char *workers, const char *storages);
/* One worker, one storage node. */
void suite_start(struct suite *suite);
void suite_stop(struct suite *suite);
/* Runs `work` on the suite's loop and waits for its end. */
void on_owner(struct suite *suite, void (*work)(struct suite *suite));

/* ---- the client ---- */

/* A connection to the gateway. The caller closes it. */
int dial(const struct suite *suite);
/* What comes until `stop` is among it, or until the end with NULL. Valid until the next one. */
const char *get_until(int fd, const char *stop);
/* A request on a connection of its own, whose answer is returned like get_until's. */
const char *ask(const struct suite *suite, const char *line, const char *headers, const char *body);
void expect_in(const char *text, const char *part);

/* ---- what stands behind it; all on the suite's loop ---- */

void handle_worker(void *arg, struct bb_exchange *exchange, struct bb_slice bytes);
void handle_hung(void *arg, struct bb_exchange *exchange, struct bb_slice bytes);
void handle_storage(void *arg, struct bb_exchange *exchange, struct bb_slice bytes);
void handle_second(void *arg, struct bb_exchange *exchange, struct bb_slice bytes);
void open_worker(struct suite *suite);
void close_worker(struct suite *suite);
/* What it keeps silent of is the deploy: it says that it is cut, that it is not, and that it is. */
void cut_hung_later(struct suite *suite);
/* The worker that fell silent answers all that it was asked meanwhile, and ends. */
void wake_hung(struct suite *suite);
/* Answers the gateway's long poll, with a record or, NULL, without. */
void reply_tail(struct suite *suite, ProtobufCBinaryData *record);
/* A transaction that wrote key k2, seen in the feed. */
void commit(struct suite *suite);

#endif
