/*
 * Shared inside the gateway: the one object that holds all its state, used on the owner thread
 * only.
 */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include "worker.pb-c.h"

#include "bb/env.h"
#include "bb/http.h"
#include "bb/obs.h"
#include "bb/rt.h"
#include "bb/value.h"
#include "bb/wire.h"

#define GATEWAY_MAGIC          0x67617465u
#define GATEWAY_CALL_US        5000000u /* a call, from acceptance to answer */
#define GATEWAY_DEPLOY_US      30000000u
#define GATEWAY_CLOCK_SLACK_US 2000000u    /* a tx may lie this far beyond our clock */
#define GATEWAY_ARGS_MAX       (16u << 20) /* encoded arguments of one call */
#define GATEWAY_BRANCHES_MAX   64u         /* queries of one batch */

struct workers;
struct subscriptions;
struct txfeed;
struct streams;
struct websockets;
struct nats_publisher;
struct forward;
struct bus;
struct actions;
struct auth;
struct endpoints;
struct memo;
struct bb_follow;

struct gateway {
    uint32_t magic;
    struct bb_service *service;
    struct bb_loop *loop;
    struct bb_ctx *ctx; /* the loop's */
    struct bb_http *http;
    struct bb_http_files *files;
    struct workers *workers;
    struct bb_follow *feed;
    struct subscriptions *subscriptions;
    struct txfeed *txfeed;
    struct streams *streams;
    struct websockets *websockets;
    struct nats_publisher *nats; /* NULL: nothing is published */
    struct forward *forward;
    struct bus *bus; /* NULL: no actions */
    struct actions *actions;
    struct auth *auth; /* who callers are */
    struct endpoints *endpoints;
    struct memo *memo; /* NULL: nothing is kept */
    uint64_t memo_seed;
    size_t session_queries_max, session_bytes_max;
    struct bb_list logs; /* requests for log lines that wait */
    struct bb_buf admin_key;
    uint8_t random_key[32]; /* request ids and seeds are hashes of it and a counter */
    uint64_t random_count;
    bool shows_errors, is_stopping;
    struct bb_buf json;    /* the answer that is being written */
    struct bb_slice *keys; /* of the record that is being told; they live in it */
    size_t key_count, key_capacity;
    struct bb_metric *calls, *call_errors, *json_hits, *json_bytes;
    struct bb_histogram *call_time;
};

/* 32 fresh random bytes. */
void gateway_random(struct gateway *gateway, uint8_t to[32]);

#endif
